"""When every trial ran, and how it ended."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.patches import Patch

from analysis.figures.style import COLOURS, GREY, panel
from analysis.figures.view import View

_LOOK = {
    "whole": COLOURS[0],
    "stopped": COLOURS[4],
    "failed": COLOURS[1],
    "running": COLOURS[2],
    "other": GREY,
}
_KIND = {
    "COMPLETED": "whole",
    "EVALUATED": "whole",
    "STOPPED": "stopped",
    "FAILED": "failed",
    "RUNNING": "running",
}
ALL = "all trials"
#: Up to here every trial has its name beside its bar.
NAMED = 24


def panels(view: View) -> list[str]:
    """One, if a trial has begun."""
    return [ALL] if view.frames.trials["started_at"].notna().any() else []


def draw(view: View, _: str) -> Figure:
    """A bar a trial from its first start to its end, in the order of their starts."""
    trials = view.frames.trials.dropna(subset=["started_at"]).sort_values("started_at")
    begin = trials["started_at"].min()
    last = trials[["started_at", "ended_at"]].max(axis=None)
    ends = trials["ended_at"].where(trials["ended_at"].notna(), last)
    lefts = (trials["started_at"] - begin).dt.total_seconds().to_numpy(float)
    widths = (ends - trials["started_at"]).dt.total_seconds().clip(lower=0).to_numpy(float)
    unit, size = _unit(float((lefts + widths).max()))
    lefts, widths = lefts / size, widths / size
    kinds = [_KIND.get(str(status), "other") for status in trials["status"]]
    figure, axes = panel(height=min(1.3 + 0.16 * len(trials), 6.0))
    # Trials of a moment would be bars of no width.
    widths = widths.clip(min=0.003 * max(float((lefts + widths).max()), 1e-9))
    axes.barh(range(len(trials)), widths, left=lefts, height=0.8, color=[_LOOK[k] for k in kinds])
    if len(trials) <= NAMED:
        names = [f"{t['stage']} {t['arm']} {t['seed']}" for t in trials.to_dict("records")]
        axes.set_yticks(range(len(trials)), names, fontsize=7)
    else:
        axes.set_ylabel(f"{len(trials):,} trials", fontsize=10)
        axes.set_yticks([])
    axes.set_ylim(len(trials) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(f"{unit} since {begin:%Y-%m-%d %H:%M} UTC", fontsize=10)
    shown = [kind for kind in _LOOK if kind in kinds]
    figure.legend(
        [Patch(color=_LOOK[kind]) for kind in shown],
        [f"{kind} ({kinds.count(kind)})" for kind in shown],
        loc="outside lower center",
        ncols=4,
        frameon=False,
        fontsize=9,
    )
    return figure


def _unit(seconds: float) -> tuple[str, float]:
    """What a span is told in, and how many seconds one of it has."""
    if seconds >= 7200:
        return "hours", 3600.0
    return ("minutes", 60.0) if seconds >= 120 else ("seconds", 1.0)
