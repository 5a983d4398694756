"""Which configurations go on: from scores to an order, by rules fixed before the sweep."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sweeps.core.reference.shrinkage import shrunk
from sweeps.core.store.schema import DONE_STATUSES
from sweeps.core.store.state import TrialRecord


@dataclass(frozen=True)
class Ranked:
    """A configuration and why it stands where it stands; best first in a list of these."""

    config_id: str
    score: float  # the mean, shrunk towards the mean of all where seeds are few and noisy
    mean: float
    n: int
    completed: bool
    progress: tuple[int, int]  # env steps and epochs; the former stay 0 in offline training

    def why(self) -> dict[str, float | int | str | bool]:
        """The entry of the `selected` event."""
        return {
            "config_id": self.config_id,
            "score": self.score,
            "mean": self.mean,
            "n": self.n,
            "completed": self.completed,
        }


def rank(trials: Iterable[TrialRecord]) -> list[Ranked]:
    """Configurations best first: those that reached their budget, then the stopped ones.

    Failed trials and trials without a score do not count. A stopped configuration ranks by how
    far it came, then by its score there.
    """
    counted = (*DONE_STATUSES, "STOPPED")
    scored = [t for t in trials if t.score is not None and t.status in counted]
    complete = _by_config(t for t in scored if t.status in DONE_STATUSES)
    stopped = _by_config(t for t in scored if t.status == "STOPPED" and t.config_id not in complete)
    ranked = _ranked(complete, completed=True)
    ranked.sort(key=lambda r: (-r.score, -r.mean, r.config_id))
    late = _ranked(stopped, completed=False)
    late.sort(key=lambda r: ([-x for x in r.progress], -r.score, r.config_id))
    return ranked + late


def _by_config(trials: Iterable[TrialRecord]) -> dict[str, list[TrialRecord]]:
    groups: dict[str, list[TrialRecord]] = {}
    for trial in trials:
        groups.setdefault(trial.config_id, []).append(trial)
    return groups


def _ranked(groups: Mapping[str, list[TrialRecord]], completed: bool) -> list[Ranked]:
    scores = {key: [t.score for t in ts if t.score is not None] for key, ts in groups.items()}
    shrunken = shrunk(scores)
    return [
        Ranked(
            key,
            shrunken[key],
            statistics.fmean(scores[key]),
            len(scores[key]),
            completed,
            max((t.env_steps, t.epochs_done) for t in groups[key]),
        )
        for key in groups
    ]
