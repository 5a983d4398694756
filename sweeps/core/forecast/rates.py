"""How long work takes on this hardware: nominal rates, corrected by what runs really took."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from flowpwm.config import RunConfig, env_steps_per_epoch
from flowpwm.cost import GPU_CALL_S, GPU_FLOP_S, Cost
from flowpwm.modes import MODES
from flowpwm.work import Work, episode_steps
from sweeps.core.protocol.requests import one_in_ten_exceeds


class Rates(NamedTuple):
    """Seconds for a FLOP of a matrix product, a number put out by a layer, a layer's call."""

    flop: float
    number: float
    call: float

    def of(self, work: Work) -> float:
        """Seconds that `work` takes."""
        return work.flops * self.flop + work.numbers * self.number + work.calls * self.call


# One thread of a server's CPU, fitted to updates of 0.2 and 5 million parameters.
NOMINAL = {"cpu": Rates(1e-11, 2.5e-9, 4.6e-5), "cuda": Rates(GPU_FLOP_S, 1e-11, GPU_CALL_S)}
#: Seconds of one step of one environment, physics and reward, where none was measured.
ENV_STEP_S = 5e-5
#: What a trial takes besides its epochs: a worker, imports, environments, its last checkpoint.
START_S = 6.0


@dataclass(frozen=True)
class Measured:
    """What a run took: seconds an epoch by kind of work, seconds an evaluation, peak bytes.

    `environment_s` and `learning_s` are per epoch; `evaluation_s` per evaluation, None where none
    was seen. Of a seed that was trained `together` with others they are its share.
    """

    config: RunConfig
    cost: Cost
    environment_s: float
    learning_s: float
    evaluation_s: float | None = None
    host_peak_bytes: int = 0
    device_peak_bytes: int = 0
    together: int = 1


class Seconds(NamedTuple):
    """Of one epoch, and of one evaluation."""

    environment: float
    learning: float
    evaluation: float


@dataclass(frozen=True)
class Correction:
    """Measured over nominal. `learning` is by kind of world model, `env_step_s` by task.

    A forecast lies between itself divided and multiplied by `spread`. `source` says in words where
    this comes from.
    """

    learning: Mapping[str, float] = field(default_factory=dict)
    env_step_s: Mapping[str, float] = field(default_factory=dict)
    spread: float = 2.0
    source: str = "nominal rates, nothing measured"

    def seconds(self, config: RunConfig, cost: Cost, together: int = 1) -> Seconds:
        """What an epoch and an evaluation of this configuration should take.

        Of one of so many seeds that are trained `together` as one program: its share, as they
        start the kernels of their updates once for all.
        """
        rates = NOMINAL[config.device]
        # Threads share the products; what is short or waits for Python gains nothing.
        rates = rates._replace(flop=rates.flop / config.num_threads)
        work = cost.work
        factor = _known(self.learning, config.world_model.kind, 1.0)
        step_s = _known(self.env_step_s, config.task, ENV_STEP_S)
        updates = work.world_model.plus(work.actor, work.critic)
        learning = rates.of(updates._replace(calls=updates.calls / together)) * factor
        acting = rates.of(work.environment) * factor
        stepping = env_steps_per_epoch(config) * step_s
        episodes = config.evaluation.episodes * len(config.task_names)
        playing = rates.of(work.evaluation) * factor + (
            episodes * episode_steps(config) * step_s if MODES[config.mode].trains_policy else 0.0
        )
        return Seconds(acting + stepping, learning, playing)


def warmup_share(config: RunConfig, cost: Cost) -> float:
    """The first epoch's extra updates of the world model, in epochs of learning."""
    work = cost.work
    learning = work.world_model.plus(work.actor, work.critic).flops
    if config.init_world_model or not learning:
        return 0.0
    return config.wm_warmup_updates / config.wm_updates * work.world_model.flops / learning


def correction(measured: Sequence[Measured], source: str) -> Correction:
    """What runs on this hardware say about the next ones; nominal if there are none."""
    if not measured:
        return Correction()
    plain = Correction()
    learning = _by(
        (run.config.world_model.kind, run.learning_s / nominal.learning)
        for run in measured
        if run.learning_s > 0 and (nominal := _said(plain, run)).learning > 0
    )
    halfway = Correction(learning=learning, env_step_s={})
    env_step_s = _by(
        (run.config.task, max(0.0, run.environment_s - _acting(halfway, run)) / steps)
        for run in measured
        if (steps := env_steps_per_epoch(run.config))
    )
    found = Correction(learning=learning, env_step_s=env_step_s)
    errors = [
        abs(math.log((run.environment_s + run.learning_s) / (said.environment + said.learning)))
        for run in measured
        if (said := _said(found, run)) and run.environment_s + run.learning_s > 0
    ]
    # Runs that set the correction lie close to it: a few of them say little about its error.
    spread = max(1.15, math.exp(one_in_ten_exceeds(errors))) if len(measured) >= 5 else 1.35
    return Correction(learning, env_step_s, spread, source)


def _said(found: Correction, run: Measured) -> Seconds:
    return found.seconds(run.config, run.cost, run.together)


def _acting(halfway: Correction, run: Measured) -> float:
    """Seconds of an epoch's acting that are the networks', not the simulator's."""
    rates = NOMINAL[run.config.device]
    factor = _known(halfway.learning, run.config.world_model.kind, 1.0)
    return rates.of(run.cost.work.environment) * factor


def _by(pairs: Iterable[tuple[str, float]]) -> dict[str, float]:
    groups: dict[str, list[float]] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return {key: statistics.median(values) for key, values in groups.items()}


def _known(values: Mapping[str, float], key: str, default: float) -> float:
    """The value of `key`, or what the others say together, or `default`."""
    if key in values:
        return values[key]
    positive = [value for value in values.values() if value > 0]
    return statistics.geometric_mean(positive) if positive else default
