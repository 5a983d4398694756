"""Every trial of the screen stage: whole ones solid, stopped ones dashed up to their rung."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.curves import seed_curves
from analysis.figures.style import COLOURS, GREY, opacity, panel, short_numbers
from analysis.figures.view import View
from analysis.scores import DONE


def panels(view: View) -> list[str]:
    """Tasks that were screened."""
    return sorted(_rows(view)["task"].unique())


def draw(view: View, task: str) -> Figure:
    """One line a trial."""
    rows = _rows(view)
    rows = rows[rows["task"] == task]
    figure, axes = panel()
    counts = {"whole": 0, "stopped": 0, "other": 0}
    alpha = opacity(rows["trial_id"].nunique())
    for _, trial in rows.groupby("trial_id"):
        status = trial["status"].iloc[0]
        kind = "whole" if status in DONE else "stopped" if status == "STOPPED" else None
        style, colour = ("--", GREY) if kind == "stopped" else ("-", COLOURS[0])
        if kind is None:
            style, colour = ":", COLOURS[1]
        counts[kind or "other"] += 1
        axes.plot(trial["x"], trial["value"], style, color=colour, lw=1.1, alpha=alpha)
        if kind != "whole":
            last = trial.iloc[-1]
            axes.plot([last["x"]], [last["value"]], "x", color=colour, ms=4)
    looks = {
        "whole": Line2D([], [], color=COLOURS[0]),
        "stopped": Line2D([], [], color=GREY, ls="--", marker="x", ms=4),
        "other": Line2D([], [], color=COLOURS[1], ls=":", marker="x", ms=4),
    }
    names = {"whole": "whole", "stopped": "stopped early", "other": "failed or running"}
    shown = [kind for kind, n in counts.items() if n]
    axes.set_title(task, fontsize=11, loc="left")
    axes.set_xlabel(view.progress_label, fontsize=10)
    axes.set_ylabel(view.score_label, fontsize=10)
    short_numbers(axes.xaxis)
    figure.legend(
        [looks[kind] for kind in shown],
        [f"{names[kind]} ({counts[kind]})" for kind in shown],
        loc="outside lower center",
        ncols=3,
        frameon=False,
        fontsize=9,
    )
    return figure


def _rows(view: View):
    rows = seed_curves(view.frames, score=view.score, stage=None)
    return rows[rows["stage"] == "screen"]
