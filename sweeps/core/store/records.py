"""What the events say about one trial: its record, and the parts of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from sweeps.core.store.schema import FINAL_STATUSES


@dataclass(frozen=True)
class Rung:
    """One decision of the scheduler. `milestone` is in env steps, or epochs of offline training."""

    trial_id: str
    bracket: str
    milestone: int
    score: float | None
    cutoff: float | None
    decision: str  # "continue" | "stop"
    attempt: int
    variance: float | None = None  # of the score, as the trial's last evaluations show it


@dataclass(frozen=True)
class Failure:
    """Why one attempt ended badly."""

    attempt: int
    failure_class: str
    message: str
    step: str = ""  # what the next attempt was given for it; '' where there was none


@dataclass(frozen=True)
class Note:
    """What somebody wrote about a trial or a sweep; it changes no state."""

    time: str
    text: str


@dataclass(frozen=True)
class Extension:
    """Something was added to a sweep: `added` by setting, in words. `scored` trials of its
    comparison had a score by then; `seeds` are the test seeds that they were planned on.
    """

    time: str
    added: dict[str, str]
    before: str  # the file that keeps the spec as it was
    scored: int
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Past:
    """A trial of an earlier sweep that is like those of this one's screen.

    `values` are its scores by progress, in env steps or in epochs of offline training. `exact` says
    that it came to its end on the very seed of the screen: run again it would be the same.
    """

    run: str  # its run folder
    trial_id: str
    config_id: str
    params: dict[str, Any]
    status: str
    score: float
    exact: bool
    values: tuple[tuple[int, float], ...] = ()
    rungs: tuple[Rung, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """For the `warm_started` event."""
        return asdict(self)

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Past:
        """The inverse of `to_dict`."""
        values = tuple((int(progress), float(score)) for progress, score in plain["values"])
        rungs = tuple(Rung(**rung) for rung in plain["rungs"])
        return cls(**(dict(plain) | {"values": values, "rungs": rungs}))


@dataclass(frozen=True)
class Played:
    """A checkpoint of a trial that ended, played again on unseen episodes.

    Over several tasks each statistic is the mean of those of the tasks; n counts the episodes of
    each. `tasks` has the same and the single returns by task.
    """

    time: str
    which: str  # "best" | "last"
    protocol: str
    seed: int
    n: int
    return_mean: float | None
    return_median: float | None
    return_iqm: float | None
    return_std: float | None
    tasks: tuple[dict[str, Any], ...] = ()


@dataclass
class TrialRecord:
    """What the events say about one (config, seed). `attempt` counts from 1; 0: not started."""

    trial_id: str
    arm: str = ""
    stage: str = ""
    config_id: str = ""
    task: str = ""
    seed: int = 0
    config: dict[str, Any] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    resources: dict[str, Any] = field(default_factory=dict)
    parameters: int | None = None
    nfe: int | None = None
    status: str = "PENDING"
    attempt: int = 0
    epochs_done: int = 0
    env_steps: int = 0
    score: float | None = None
    failure_class: str | None = None
    failure_message: str | None = None
    failures: list[Failure] = field(default_factory=list)
    log_path: str | None = None
    rungs: list[Rung] = field(default_factory=list)
    played: list[Played] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    taken_from: str | None = None  # the run that it ran in, where that was an earlier one
    gpu: str | None = None
    node: str | None = None  # host name of its last attempt
    node_id: str | None = None  # the same as Ray knows it
    job: dict[str, str] | None = None  # variables of its driver; None: `environment.json`
    wandb_group: str | None = None
    wandb_link: str | None = None
    planned_at: str | None = None
    queued_at: str | None = None
    started_at: str | None = None
    ended_at: str | None = None
    last_seen: str | None = None
    unsaved: int = 0  # checkpoints that storage did not take, in the last attempt
    host_memory_bytes: int | None = None  # the most of its last attempt so far
    host_memory_peak_bytes: int | None = None
    device_memory_peak_bytes: int | None = None  # of torch's allocator
    wall_time_by_attempt_s: dict[int, float] = field(default_factory=dict)
    gpus_by_attempt: dict[int, float] = field(default_factory=dict)  # where not as `resources` say
    together: int = 1  # seeds that its last attempt trained in one process, which share its hours

    @property
    def epochs(self) -> int | None:
        """The budget in epochs."""
        return self.config.get("epochs")

    @property
    def progress_unit(self) -> str:
        """What rungs are counted in: a run from a dataset takes no environment steps."""
        return "env steps" if self.config.get("mode", "online") == "online" else "epochs"

    @property
    def wall_time_s(self) -> float | None:
        """Seconds over all attempts, of each its share; None before the first report."""
        times = self.wall_time_by_attempt_s
        return sum(times.values()) if times else None

    @property
    def num_gpus(self) -> float:
        """GPUs, or the share of one, of its last attempt's process; before the first, as asked."""
        asked = float(self.resources.get("num_gpus") or 0.0)
        return self.gpus_by_attempt.get(self.attempt, asked)

    @property
    def gpu_s(self) -> float:
        """GPU-seconds over all attempts, each by the share of a GPU that it had."""
        last = float(self.resources.get("num_gpus") or 0.0)
        shares = self.gpus_by_attempt
        return sum(
            seconds * shares.get(attempt, last)
            for attempt, seconds in self.wall_time_by_attempt_s.items()
        )

    @property
    def final(self) -> bool:
        """Whether the trial is never started again."""
        return self.status in FINAL_STATUSES

    @property
    def stop_decided(self) -> bool:
        """Whether a rung stopped the trial, even if the crash came before its `stopped` event."""
        return any(rung.decision == "stop" for rung in self.rungs)
