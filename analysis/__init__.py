"""Reads the results of sweeps and says what they show. Needs neither Ray nor torch.

>>> frames = analysis.load("results/flow_tuning/latest")
>>> analysis.compare(frames)
"""

from __future__ import annotations

from analysis.compare import compare
from analysis.configs import config_frame, differences
from analysis.curves import curves, seed_curves
from analysis.extensions import looks
from analysis.figures import FIGURES, View
from analysis.load import Frames, load
from analysis.names import InputError
from analysis.notes import note
from analysis.outlook import overview
from analysis.overall import conclusions, overall
from analysis.registry import registry
from analysis.report import report
from analysis.scores import trial_scores
from analysis.standings import is_alone, standings
from analysis.status import counts, status
from analysis.summarize import failures, summarize
from analysis.verdict import headline, overall_sentence, sentence

__all__ = [
    "FIGURES",
    "Frames",
    "InputError",
    "View",
    "compare",
    "conclusions",
    "config_frame",
    "counts",
    "curves",
    "differences",
    "failures",
    "headline",
    "is_alone",
    "load",
    "looks",
    "note",
    "overall",
    "overall_sentence",
    "overview",
    "registry",
    "report",
    "seed_curves",
    "sentence",
    "standings",
    "status",
    "summarize",
    "trial_scores",
]
