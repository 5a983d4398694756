"""Reads the results of sweeps and says what they show. Needs neither Ray nor torch.

>>> frames = analysis.load("results/flow_tuning/latest")
>>> analysis.compare(frames)
"""

from __future__ import annotations

from analysis.aggregate import aggregate, coverage, performance_profile, prob_improvement
from analysis.checklist import checklist
from analysis.choice import power, select
from analysis.compare import compare
from analysis.configs import config_frame, differences
from analysis.cost import cost
from analysis.curves import curves, seed_curves
from analysis.example import example
from analysis.export import export
from analysis.extensions import looks
from analysis.figures import FIGURES, View
from analysis.frames import Frames
from analysis.importance import importance
from analysis.importing.logs import contradictions, import_logs
from analysis.interactive import interactive
from analysis.load import load
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
    "aggregate",
    "checklist",
    "compare",
    "conclusions",
    "config_frame",
    "contradictions",
    "cost",
    "counts",
    "coverage",
    "curves",
    "differences",
    "example",
    "export",
    "failures",
    "headline",
    "import_logs",
    "importance",
    "interactive",
    "is_alone",
    "load",
    "looks",
    "note",
    "overall",
    "overall_sentence",
    "overview",
    "performance_profile",
    "power",
    "prob_improvement",
    "registry",
    "report",
    "seed_curves",
    "select",
    "sentence",
    "standings",
    "status",
    "summarize",
    "trial_scores",
]
