"""What a trial asks for: by its configuration, corrected by what runs like it have held.

The rule for memory, on the host as on a GPU. Runs are like a configuration if they are of the same
kind of world model, task, mode and device, and their estimate is within a factor of two of its own.
Each held so many times its estimate; the factor is what one in ten of them exceeds, but at least a
half. Fewer than three whole runs may only raise it. The request is the estimate times this factor,
or the most that a run of the very same configuration ever held, whichever is more, and a quarter
on top: what was seen then lies at 80 % of the request, where the watchdog begins to warn.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

from flowpwm.config import RunConfig, config_id
from flowpwm.cost import PROCESS_BYTES, Cost
from sweeps.core.definition.sweep import Sweep

# A request is a limit as well, and an estimate of the first order may be off by this.
HEADROOM = 1.25
# Requests are rounded up to this, so that trials of like size can take each other's worker over.
MEMORY_STEP_BYTES = 256 * 2**20
# Context, kernels and allocator slack of a CUDA process, beside what the estimate counts.
CUDA_PROCESS_BYTES = 1536 * 2**20
# W&B's processes beside a trial: its Python, its service, its monitor.
WANDB_BYTES = 128 * 2**20
MOST_ON_A_GPU = 8
#: Whole runs that may lower a request; runs whose estimates differ by more are not alike.
FEWEST_RUNS, LIKE_FACTOR = 3, 2.0
#: One odd run must not decide alone.
LEAST_FACTOR = 0.5


@dataclass(frozen=True)
class Resources:
    """What a trial asks Ray for. Ray schedules by it; it does not enforce it.

    `accelerator` is the type that it has to run on, as Ray calls it; '' for any.
    """

    num_cpus: float
    num_gpus: float
    memory_bytes: int
    accelerator: str = ""

    def to_dict(self) -> dict[str, float | int | str]:
        """For events and jobs."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`; what an older version did not know has its default."""
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(**{name: plain[name] for name in names if name in plain})


@dataclass(frozen=True)
class Peak:
    """The most memory that one run held; `device_bytes` is 0 where it is not known.

    `whole`: it came to its end, so that it will not have held more a little later.
    """

    config: RunConfig
    cost: Cost
    host_bytes: int
    device_bytes: int = 0
    whole: bool = True

    @cached_property
    def likeness(self) -> tuple[object, ...]:
        """What it has in common with runs that are like it."""
        return _likeness(self.config)

    @cached_property
    def identity(self) -> tuple[object, ...]:
        """What it has in common with runs of the same configuration."""
        return _identity(self.config)


@dataclass(frozen=True)
class Expected:
    """Memory that a run will hold at the most, head-room included, and where that comes from."""

    wanted_bytes: int
    factor: float = 1.0  # of the estimate
    runs: int = 0  # that the factor comes from
    held_bytes: int = 0  # by a run of the same configuration; 0: none is known

    @property
    def seen_bytes(self) -> float:
        """The same without head-room."""
        return self.wanted_bytes / HEADROOM

    @property
    def known(self) -> bool:
        """Whether earlier runs have a say in it."""
        return bool(self.runs or self.held_bytes)

    @property
    def why(self) -> str:
        """The correction in words."""
        runs = f"{self.runs} run{'s' if self.runs > 1 else ''} like it"
        if not self.held_bytes:
            return f"{runs} held {self.factor:.2g} times the estimate"
        return f"a run of it held {gib(self.held_bytes)}, {self.factor:.2g} times the estimate"


@dataclass(frozen=True)
class Sizing:
    """What requests are made from beside the configuration: a GPU's memory, and recorded peaks."""

    gpu_bytes: int = 0  # of the smallest GPU; 0: not known
    peaks: tuple[Peak, ...] = ()

    def host(self, config: RunConfig, cost: Cost) -> Expected:
        """Memory on the host."""
        return self._expected(
            config, cost, lambda cost: cost.host_memory_bytes, lambda peak: peak.host_bytes
        )

    def device(self, config: RunConfig, cost: Cost) -> Expected:
        """Memory on the GPU, without what CUDA itself takes."""
        return self._expected(
            config, cost, lambda cost: cost.device_memory_bytes, lambda peak: peak.device_bytes
        )

    def _expected(
        self,
        config: RunConfig,
        cost: Cost,
        estimate: Callable[[Cost], int],
        held: Callable[[Peak], int],
    ) -> Expected:
        predicted = estimate(cost)
        if not predicted:
            return Expected(0)
        likeness, identity = _likeness(config), _identity(config)
        like = [
            peak
            for peak in self.peaks
            if held(peak) and peak.likeness == likeness
            if 1 / LIKE_FACTOR <= estimate(peak.cost) / predicted <= LIKE_FACTOR
        ]
        same = max((held(peak) for peak in like if peak.identity == identity), default=0)
        factor, runs = _factor([(held(p) / estimate(p.cost), p.whole) for p in like])
        if same >= factor * predicted:
            return Expected(int(HEADROOM * same), same / predicted, runs, same)
        return Expected(int(HEADROOM * factor * predicted), factor, runs)


#: Requests by the configuration alone.
NOTHING_KNOWN = Sizing()


def _likeness(config: RunConfig) -> tuple[object, ...]:
    return config.world_model.kind, config.task, config.mode, config.device


def _identity(config: RunConfig) -> tuple[object, ...]:
    # The name of a configuration leaves out what changes no result, but much of its memory.
    return config_id(config), config.device, config.microbatches


def _factor(like: Sequence[tuple[float, bool]]) -> tuple[float, int]:
    """Peak over estimate to reckon with, and the number of runs that say so."""
    # A run that was cut short says nothing, unless it was over the estimate already.
    telling = [ratio for ratio, whole in like if whole or ratio > 1]
    if not telling:
        return 1.0, 0
    if sum(whole for _, whole in like) >= FEWEST_RUNS:
        return max(LEAST_FACTOR, one_in_ten_exceeds(telling)), len(telling)
    return max(1.0, *telling), len(telling)


def one_in_ten_exceeds(values: Collection[float]) -> float:
    """The smallest of the values that at most one in ten exceeds; 0 of none."""
    ordered = sorted(values)
    return ordered[math.ceil(0.9 * len(ordered)) - 1] if ordered else 0.0


def needed(config: RunConfig, cost: Cost, sweep: Sweep, sizing: Sizing, runs: int = 1) -> Resources:
    """CPUs by threads, memory by the rule above, a GPU or the share of one that the trial fills.

    Of so many `runs` in one process, which share its threads, its imports and its context.
    """
    wanted = runs * sizing.host(config, cost).wanted_bytes - (runs - 1) * PROCESS_BYTES
    wanted += runs * WANDB_BYTES if "wandb" in sweep.trackers else 0
    memory = whole_steps(wanted)
    if sweep.memory_per_trial:
        memory = round(runs * sweep.memory_per_trial * 2**30)
    # What is asked for by the trial: at most one GPU, on which a program runs as a whole.
    gpus = sweep.gpus_per_trial if runs == 1 else min(1.0, runs * sweep.gpus_per_trial)
    if not gpus and config.device == "cuda":
        gpus = gpu_share(runs * sizing.device(config, cost).wanted_bytes, sizing.gpu_bytes)
    cpus = sweep.cpus_per_trial or float(config.num_threads)
    return Resources(cpus, gpus, memory, sweep.accelerator)


def gpu_share(wanted_bytes: int, gpu_bytes: int) -> float:
    """1 / (trials that fit on a GPU), at most 8 of them; a whole GPU where its size is unknown."""
    if not gpu_bytes:
        return 1.0
    fit = max(1, min(MOST_ON_A_GPU, gpu_bytes // (wanted_bytes + CUDA_PROCESS_BYTES)))
    # Ray counts in ten-thousandths: rounded up, the last of six or seven would not fit.
    return math.floor(10_000 / fit) / 10_000


def whole_steps(wanted_bytes: float) -> int:
    """The next multiple of MEMORY_STEP_BYTES."""
    return math.ceil(wanted_bytes / MEMORY_STEP_BYTES) * MEMORY_STEP_BYTES


def gib(amount: float) -> str:
    """Bytes as people read memory."""
    return f"{amount / 2**30:.3g} GiB"
