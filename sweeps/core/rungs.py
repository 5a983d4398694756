"""Asynchronous successive halving as pure data: who goes on at which rung. Knows nothing of Ray.

A trial's progress is counted in environment steps, or in epochs where it trains from a dataset.

Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning", in its stopping form: a
trial that reaches a rung is compared at once with those that reached it before.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Decision:
    """What happened to a trial at a rung; `milestone` in the trial's unit of progress."""

    bracket: str
    milestone: int
    trial_id: str
    score: float | None
    cutoff: float | None
    go_on: bool


@dataclass
class Bracket:
    """The rungs of trials that share a budget. Scores are better when higher."""

    name: str
    milestones: tuple[int, ...]
    reduction: float
    scores: dict[int, dict[str, float]] = field(default_factory=dict)

    def judge(self, trial_id: str, progress: int, score: float | None) -> list[Decision]:
        """Decide at every rung up to `progress` that the trial has not passed yet.

        Of n trials at a rung the best ceil(n / reduction) go on, so the first one always does. A
        trial that skips rungs (its evaluations are sparse) is judged at each with the same score.
        """
        made = []
        for milestone in self.milestones:
            rung = self.scores.setdefault(milestone, {})
            if milestone > progress or trial_id in rung:
                continue
            decision = self._decide(rung, milestone, trial_id, score)
            made.append(decision)
            if not decision.go_on:
                break
        return made

    def _decide(
        self, rung: dict[str, float], milestone: int, trial_id: str, score: float | None
    ) -> Decision:
        if score is None or not math.isfinite(score):
            rung[trial_id] = -math.inf
            return Decision(self.name, milestone, trial_id, None, None, go_on=False)
        rung[trial_id] = score
        keep = math.ceil(len(rung) / self.reduction)
        cutoff = sorted(rung.values(), reverse=True)[keep - 1]
        return Decision(self.name, milestone, trial_id, score, cutoff, go_on=score >= cutoff)

    def replay(self, milestone: int, trial_id: str, score: float | None) -> None:
        """Take over a decision of an earlier driver, without deciding again."""
        self.scores.setdefault(milestone, {})[trial_id] = -math.inf if score is None else score


class Brackets:
    """One bracket for every budget: runs of different length are never compared midway.

    The learning rate falls over a run's own epochs, so at equal steps the longer run lags behind.
    """

    def __init__(self, fractions: Sequence[float], reduction: float) -> None:
        self.fractions = tuple(fractions)
        self.reduction = reduction
        self.brackets: dict[str, Bracket] = {}

    def of(self, epochs: int, budget: int) -> Bracket:
        """The bracket of trials with this budget, in epochs and in their unit of progress."""
        bracket = self._named(f"{epochs} epochs, {budget} steps")
        milestones = {round(fraction * budget) for fraction in self.fractions}
        bracket.milestones = tuple(sorted(milestones))
        return bracket

    def replay(self, decided: Iterable[tuple[str, int, str, float | None]]) -> None:
        """Take over (bracket, milestone, trial_id, score) in the order they were decided."""
        for name, milestone, trial_id, score in decided:
            self._named(name).replay(milestone, trial_id, score)

    def _named(self, name: str) -> Bracket:
        return self.brackets.setdefault(name, Bracket(name, (), self.reduction))
