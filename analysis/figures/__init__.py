"""The figures of a report, one file each. A new figure is a file and an entry in FIGURES."""

from __future__ import annotations

from analysis.figures import (
    differences,
    heatmap,
    learning_curves,
    parameters,
    peak_final,
    screening_curves,
    seeds,
)
from analysis.figures.view import FigureEntry, View

__all__ = ["FIGURES", "FigureEntry", "View"]

FIGURES: dict[str, FigureEntry] = {
    "differences": FigureEntry(
        "Differences",
        "Candidate minus baseline with its 95% interval. The grey box is the margin within which a "
        "difference does not matter.",
        differences.panels,
        differences.draw,
    ),
    "seeds": FigureEntry(
        "Every seed",
        "Final score of each test seed. The bar beside the dots is the mean with its 95% t "
        "interval; lines join runs of the same seed.",
        seeds.panels,
        seeds.draw,
    ),
    "learning_curves": FigureEntry(
        "Learning curves",
        "Test seeds. Thick: mean over seeds with its 95% t interval; thin: each seed.",
        learning_curves.panels,
        learning_curves.draw,
    ),
    "peak_final": FigureEntry(
        "Peak and final",
        "How much of its best score a run kept to the end. The peak is a maximum and so biased "
        "upwards; it decides nothing here.",
        peak_final.panels,
        peak_final.draw,
    ),
    "screening_curves": FigureEntry(
        "Screening runs",
        "One run per configuration on the tuning seed; dashed where the scheduler stopped it.",
        screening_curves.panels,
        screening_curves.draw,
    ),
    "parameters": FigureEntry(
        "Screening score by hyperparameter",
        "Dots are configurations; hollow ones were stopped early, at a smaller budget, and are not "
        "averaged. Bars: mean with its 95% t interval. Screening scores are biased.",
        parameters.panels,
        parameters.draw,
    ),
    "heatmap": FigureEntry(
        "Integrator and substeps",
        "Mean screening score of whole runs, with their number. Screening scores are biased.",
        heatmap.panels,
        heatmap.draw,
    ),
}
