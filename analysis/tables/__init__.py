"""The tables of a report, as HTML."""

from analysis.tables.arms import arms, screening
from analysis.tables.costs import aggregates, costs
from analysis.tables.downloads import downloads
from analysis.tables.setup import configurations, environment, tuning
from analysis.tables.trials import collapsed, failed_trials, missing
from analysis.tables.verdicts import comparison, per_seed, together

__all__ = [
    "aggregates",
    "arms",
    "collapsed",
    "comparison",
    "configurations",
    "costs",
    "downloads",
    "environment",
    "failed_trials",
    "missing",
    "per_seed",
    "screening",
    "together",
    "tuning",
]
