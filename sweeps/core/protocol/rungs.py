"""Asynchronous successive halving as pure data: who goes on at which rung. Knows nothing of Ray.

A trial's progress is counted in environment steps, or in epochs where it trains from a dataset.

Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning", in its stopping form: a
trial that reaches a rung is compared at once with those that reached it before.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sweeps.core.store.state import Past, Rung

_EARLIER = "earlier "


@dataclass(frozen=True)
class Decision:
    """What happened to a trial at a rung; `milestone` in the trial's unit of progress."""

    bracket: str
    milestone: int
    trial_id: str
    score: float | None
    cutoff: float | None
    go_on: bool
    variance: float | None = None  # of the score, as the trial's last evaluations show it


@dataclass
class Bracket:
    """The rungs of trials that share a budget. Scores are better when higher.

    `margin` spares trials that noise may have put below the cut: so many standard errors of a
    score below it they still go on. The standard error is `score_se`, or where that is 0 pooled
    over the variances of the trials at the rung.
    """

    name: str
    milestones: tuple[int, ...]
    reduction: float
    margin: float = 0.0
    score_se: float = 0.0
    scores: dict[int, dict[str, float]] = field(default_factory=dict)
    variances: dict[int, list[float]] = field(default_factory=dict)

    def judge(
        self, trial_id: str, progress: int, score: float | None, variance: float | None = None
    ) -> list[Decision]:
        """Decide at every rung up to `progress` that the trial has not passed yet.

        Of n trials at a rung the best ceil(n / reduction) go on, so the first one always does. A
        trial that skips rungs (its evaluations are sparse) is judged at each with the same score.
        `variance` is that of the score, None where nothing says it.
        """
        made = []
        for milestone in self.milestones:
            rung = self.scores.setdefault(milestone, {})
            if milestone > progress or trial_id in rung:
                continue
            decision = self._decide(rung, milestone, trial_id, score, variance)
            made.append(decision)
            if not decision.go_on:
                break
        return made

    def _decide(
        self,
        rung: dict[str, float],
        milestone: int,
        trial_id: str,
        score: float | None,
        variance: float | None,
    ) -> Decision:
        rung.pop(_EARLIER + trial_id, None)  # the same run is not compared with itself
        if score is None or not math.isfinite(score):
            rung[trial_id] = -math.inf
            return Decision(self.name, milestone, trial_id, None, None, go_on=False)
        rung[trial_id] = score
        self._note(milestone, variance)
        keep = math.ceil(len(rung) / self.reduction)
        cutoff = sorted(rung.values(), reverse=True)[keep - 1]
        go_on = score >= cutoff - self.margin * self._standard_error(milestone)
        return Decision(self.name, milestone, trial_id, score, cutoff, go_on, variance)

    def _note(self, milestone: int, variance: float | None) -> None:
        if variance is not None:
            self.variances.setdefault(milestone, []).append(variance)

    def _standard_error(self, milestone: int) -> float:
        if self.score_se:
            return self.score_se
        variances = self.variances.get(milestone)
        return math.sqrt(statistics.fmean(variances)) if variances else 0.0

    def replay(
        self, milestone: int, trial_id: str, score: float | None, variance: float | None = None
    ) -> None:
        """Take over a decision of an earlier driver, without deciding again."""
        self.scores.setdefault(milestone, {})[trial_id] = -math.inf if score is None else score
        self._note(milestone, variance)


class Brackets:
    """One bracket for every budget: runs of different length are never compared midway.

    The learning rate falls over a run's own epochs, so at equal steps the longer run lags behind.
    """

    def __init__(
        self,
        fractions: Sequence[float],
        reduction: float,
        *,
        margin: float = 0.0,
        score_se: float = 0.0,
    ) -> None:
        self.fractions = tuple(fractions)
        self.reduction = reduction
        self.margin = margin
        self.score_se = score_se
        self.brackets: dict[str, Bracket] = {}

    def of(self, epochs: int, budget: int) -> Bracket:
        """The bracket of trials with this budget, in epochs and in their unit of progress."""
        bracket = self._named(f"{epochs} epochs, {budget} steps")
        milestones = {round(fraction * budget) for fraction in self.fractions}
        bracket.milestones = tuple(sorted(milestones))
        return bracket

    def replay(self, decided: Iterable[Decision | Rung]) -> None:
        """Take over the decisions of an earlier driver, in their order."""
        for rung in decided:
            bracket = self._named(rung.bracket)
            bracket.replay(rung.milestone, rung.trial_id, rung.score, rung.variance)

    def warm(self, past: Iterable[Past]) -> None:
        """Fill rungs with what trials of earlier sweeps scored there.

        Without them the first trial at a rung goes on whatever its score. Only rungs of this sweep
        are in `past`: same budget, same milestone.
        """
        for rung in (rung for trial in past for rung in trial.rungs):
            bracket, name = self._named(rung.bracket), _EARLIER + rung.trial_id
            bracket.replay(rung.milestone, name, rung.score, rung.variance)

    def _named(self, name: str) -> Bracket:
        new = Bracket(name, (), self.reduction, self.margin, self.score_se)
        return self.brackets.setdefault(name, new)
