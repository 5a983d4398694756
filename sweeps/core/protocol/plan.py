"""One trial before it runs: its whole configuration, its name, what it needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flowpwm.compose import compose, from_dict
from flowpwm.config import MACHINE, RunConfig, config_id, env_steps_per_epoch, to_dict
from flowpwm.cost import Cost, estimate
from flowpwm.modes import MODES
from sweeps.core.spec.axes import Cell
from sweeps.core.spec.sweep import Sweep
from sweeps.core.store.state import TrialRecord

# A request is a limit as well, and an estimate of the first order may be off by this.
HOST_HEADROOM = 1.25
# Requests are rounded up to this, so that trials of like size can take each other's worker over.
MEMORY_STEP_BYTES = 256 * 2**20
# Context, kernels and allocator slack of a CUDA process, beside what the estimate counts.
CUDA_PROCESS_BYTES = 1536 * 2**20
# W&B's processes beside a trial: its Python, its service, its monitor.
WANDB_BYTES = 128 * 2**20


@dataclass(frozen=True)
class Resources:
    """What a trial asks Ray for. Ray schedules by it; it does not enforce it."""

    num_cpus: float
    num_gpus: float
    memory_bytes: int

    def to_dict(self) -> dict[str, float | int]:
        """For events and jobs."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class Plan:
    """A trial: one configuration on one seed, in one stage of one arm."""

    trial_id: str
    config_id: str
    arm: str
    stage: str
    cell: Cell
    config: RunConfig
    resources: Resources
    cost: Cost

    @property
    def progress(self) -> str:
        """What says how far a run is: "env_steps", or "epoch" where it never acts."""
        return "env_steps" if MODES[self.config.mode].online else "epoch"

    @property
    def budget(self) -> int:
        """`progress` of a run that came to its end."""
        if self.progress == "epoch":
            return self.config.epochs
        return self.config.epochs * env_steps_per_epoch(self.config)

    @property
    def budget_text(self) -> str:
        """The budget with its unit."""
        return f"{self.budget:,} {'epochs' if self.progress == 'epoch' else 'env steps'}"

    @property
    def work_flops(self) -> float:
        """Expected work, to weigh progress by."""
        return self.config.epochs * self.cost.flops_per_epoch

    def event(self) -> dict[str, Any]:
        """The payload of the `planned` event."""
        return {
            "arm": self.arm,
            "stage": self.stage,
            "config_id": self.config_id,
            "seed": self.config.seed,
            "task": self.config.task,
            "config": to_dict(self.config),
            "params": {key: value for key, value in self.cell.items() if key != "task"},
            "resources": self.resources.to_dict(),
            "parameters": self.cost.parameters["total"],
            "nfe": self.cost.nfe,
        }


def compose_trial(
    sweep: Sweep, arm: str, stage: str, cell: Mapping[str, Any], seed: int
) -> RunConfig:
    """The configuration of a trial. Raises ConfigError."""
    overrides = sweep.overrides(arm, stage, cell) | {"seed": seed}
    return compose(sweep.preset_of(arm), overrides)


def make_plan(
    sweep: Sweep, arm: str, stage: str, cell: Mapping[str, Any], seed: int, gpu_bytes: int = 0
) -> Plan:
    """Compose and weigh a trial; `gpu_bytes` is the memory of one GPU. Raises ConfigError."""
    return _plan(
        compose_trial(sweep, arm, stage, cell, seed), arm, stage, dict(cell), sweep, gpu_bytes
    )


def plan_again(record: TrialRecord, sweep: Sweep, gpu_bytes: int = 0) -> Plan:
    """The plan of a trial that an earlier driver planned. Raises ConfigError."""
    config = from_dict(record.config)
    plan = _plan(config, record.arm, record.stage, dict(record.params), sweep, gpu_bytes)
    # The name that its files carry stays, even if a later version would hash to another one.
    plan = dataclasses.replace(plan, trial_id=record.trial_id, config_id=record.config_id)
    if not any(failure.step for failure in record.failures):
        return plan
    given = {key: record.resources[key] for key in plan.resources.to_dict()}
    return dataclasses.replace(plan, resources=Resources(**given))


def _plan(
    config: RunConfig, arm: str, stage: str, cell: Cell, sweep: Sweep, gpu_bytes: int
) -> Plan:
    cost = estimate(config)
    identity = config_id(config)
    return Plan(
        trial_id=f"{identity}-s{config.seed}",
        config_id=identity,
        arm=arm,
        stage=stage,
        cell=cell,
        config=config,
        resources=needed(config, cost, sweep, gpu_bytes),
        cost=cost,
    )


def needed(config: RunConfig, cost: Cost, sweep: Sweep, gpu_bytes: int = 0) -> Resources:
    """CPUs by threads, memory by the estimate, a GPU or the share of one that the trial fills."""
    wanted = int(HOST_HEADROOM * cost.host_memory_bytes)
    wanted += WANDB_BYTES if "wandb" in sweep.trackers else 0
    memory = -(-wanted // MEMORY_STEP_BYTES) * MEMORY_STEP_BYTES
    if sweep.memory_per_trial:
        memory = round(sweep.memory_per_trial * 2**30)
    gpus = sweep.gpus_per_trial
    if not gpus and config.device == "cuda":
        gpus = _gpu_share(cost.device_memory_bytes, gpu_bytes)
    return Resources(sweep.cpus_per_trial or float(config.num_threads), gpus, memory)


def _gpu_share(needed_bytes: int, gpu_bytes: int) -> float:
    """1 / (trials that fit on a GPU), at most 8 of them; a whole GPU where its size is unknown."""
    if not gpu_bytes:
        return 1.0
    wanted = int(1.25 * needed_bytes) + CUDA_PROCESS_BYTES
    fit = max(1, min(8, gpu_bytes // wanted))
    return round(1.0 / fit, 4)


def differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Keys of two flat configurations with different values; on what machine is left aside."""
    return [
        key
        for key in dict.fromkeys([*new, *old])
        if key not in MACHINE and (key not in old or key not in new or old[key] != new[key])
    ]
