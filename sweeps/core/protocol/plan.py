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
from sweeps.core.definition.axes import Cell, cell_text
from sweeps.core.definition.sweep import Sweep
from sweeps.core.protocol.requests import NOTHING_KNOWN, Resources, Sizing, needed
from sweeps.core.store.state import TrialRecord


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
    fellows: tuple[Plan, ...] = ()  # other seeds of it, trained in the same process

    @property
    def all(self) -> tuple[Plan, ...]:
        """It, and those that are trained with it."""
        return self, *self.fellows

    @property
    def name(self) -> str:
        """Its arm and cell, for people."""
        cell = cell_text(self.cell).replace(" ", ", ")
        return f"{self.arm} ({cell})" if cell else self.arm

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
    sweep: Sweep,
    arm: str,
    stage: str,
    cell: Mapping[str, Any],
    seed: int,
    sizing: Sizing = NOTHING_KNOWN,
) -> Plan:
    """Compose and weigh a trial; `sizing` says how its request is made. Raises ConfigError."""
    return _plan(
        compose_trial(sweep, arm, stage, cell, seed), arm, stage, dict(cell), sweep, sizing
    )


def sized(plan: Plan, sweep: Sweep, sizing: Sizing) -> Plan:
    """The same trial with a request made anew."""
    return dataclasses.replace(plan, resources=needed(plan.config, plan.cost, sweep, sizing))


def plan_again(record: TrialRecord, sweep: Sweep, sizing: Sizing = NOTHING_KNOWN) -> Plan:
    """The plan of a trial that an earlier driver planned. Raises ConfigError."""
    config = from_dict(record.config)
    plan = _plan(config, record.arm, record.stage, dict(record.params), sweep, sizing)
    # The name that its files carry stays, even if a later version would hash to another one.
    plan = dataclasses.replace(plan, trial_id=record.trial_id, config_id=record.config_id)
    if not any(failure.step for failure in record.failures):
        return plan
    return dataclasses.replace(plan, resources=Resources.from_dict(record.resources))


def _plan(
    config: RunConfig, arm: str, stage: str, cell: Cell, sweep: Sweep, sizing: Sizing
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
        resources=needed(config, cost, sweep, sizing),
        cost=cost,
    )


def differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Keys of two flat configurations with different values; on what machine is left aside."""
    return [
        key
        for key in dict.fromkeys([*new, *old])
        if key not in MACHINE and (key not in old or key not in new or old[key] != new[key])
    ]
