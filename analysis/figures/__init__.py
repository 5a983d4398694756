"""The figures of a report, one file each. A new figure is a file and an entry in FIGURES: the
report draws it in the part that it names, in the order of the entries.
"""

from __future__ import annotations

from analysis.figures import (
    aggregates,
    best_so_far,
    confirmation,
    differences,
    heatmap,
    importances,
    learning_curves,
    parallel,
    parameters,
    pareto,
    peak_final,
    profiles,
    resources,
    rungs,
    screening_curves,
    seeds,
    timeline,
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
        part="comparison",
        in_paper=True,
    ),
    "seeds": FigureEntry(
        "Every seed",
        "Final score of each test seed. The bar beside the dots is the mean with its 95% t "
        "interval; lines join runs of the same seed.",
        seeds.panels,
        seeds.draw,
        part="comparison",
        in_paper=True,
    ),
    "learning_curves": FigureEntry(
        "Learning curves",
        "Test seeds. Thick: mean over seeds with its 95% t interval; thin: each seed.",
        learning_curves.panels,
        learning_curves.draw,
        part="learning",
        in_paper=True,
    ),
    "learning_curves_hours": FigureEntry(
        "Learning curves over hours",
        "The same runs over what they cost, each interpolated between its evaluations.",
        learning_curves.panels,
        learning_curves.draw_over_hours,
        part="learning",
        in_paper=True,
    ),
    "aggregates": FigureEntry(
        "All tasks together",
        "Scores of test seeds in shares of the best possible one; 95% intervals: of the mean t, of "
        "the others a scaled stratified bootstrap.",
        aggregates.panels,
        aggregates.draw,
        part="together",
        in_paper=True,
    ),
    "profiles": FigureEntry(
        "Performance profiles",
        "The share of runs above every score, tasks weighing the same, with its pointwise 95% "
        "interval.",
        profiles.panels,
        profiles.draw,
        part="together",
        in_paper=True,
    ),
    "peak_final": FigureEntry(
        "Peak and final",
        "How much of its best score a run kept to the end. The peak is a maximum and so biased "
        "upwards; it decides nothing here.",
        peak_final.panels,
        peak_final.draw,
        part="stability",
        in_paper=True,
    ),
    "pareto": FigureEntry(
        "Score and cost",
        "Final score of test seeds over what a run cost; large: the mean with its 95% t interval. "
        "Dotted: what nothing else beats at less.",
        pareto.panels,
        pareto.draw,
        part="cost",
        in_paper=True,
    ),
    "parameters": FigureEntry(
        "Screening score by hyperparameter",
        "Dots are configurations; hollow ones were stopped early, at a smaller budget, and are not "
        "averaged. Bars: mean with its 95% t interval. Screening scores are biased.",
        parameters.panels,
        parameters.draw,
        part="hyperparameters",
    ),
    "heatmap": FigureEntry(
        "Integrator and substeps",
        "Mean screening score of whole runs, with their number. Screening scores are biased.",
        heatmap.panels,
        heatmap.draw,
        part="hyperparameters",
        in_paper=True,
    ),
    "parallel": FigureEntry(
        "Parallel coordinates",
        "A line is a screened configuration, its colour the score; the best tenth is thick, "
        "stopped ones are grey.",
        parallel.panels,
        parallel.draw,
        part="hyperparameters",
    ),
    "importances": FigureEntry(
        "Importance",
        "PED-ANOVA (Watanabe et al. 2023) over whole screening runs: how well each hyperparameter "
        "tells the best tenth from all. Drawn from 50 runs on, and only where no two of them "
        "changed together.",
        importances.panels,
        importances.draw,
        part="hyperparameters",
    ),
    "best_so_far": FigureEntry(
        "Best so far",
        "The best screening score by what had been spent: a maximum of noisy numbers, biased "
        "upwards.",
        best_so_far.panels,
        best_so_far.draw,
        part="hyperparameters",
    ),
    "screening_curves": FigureEntry(
        "Screening runs",
        "One run per configuration on the tuning seed; dashed where the scheduler stopped it.",
        screening_curves.panels,
        screening_curves.draw,
        part="screening",
    ),
    "rungs": FigureEntry(
        "Rungs",
        "The score of every trial at every rung: hollow ones were stopped there. The bar is the "
        "score that the last of them had to reach.",
        rungs.panels,
        rungs.draw,
        part="screening",
    ),
    "confirmation": FigureEntry(
        "Screening against fresh seeds",
        "Configurations that were measured again: below the diagonal they had looked better than "
        "they are. Bars are 95% t intervals.",
        confirmation.panels,
        confirmation.draw,
        part="screening",
        in_paper=True,
    ),
    "resources": FigureEntry(
        "Memory and throughput",
        "A line a trial, of its latest attempt, over its epochs.",
        resources.panels,
        resources.draw,
        part="resources",
    ),
    "timeline": FigureEntry(
        "Timeline",
        "From the first start of every trial to its end.",
        timeline.panels,
        timeline.draw,
        part="timeline",
    ),
}
