"""Return over steps or hours: the mean of each arm with its interval, every seed thin."""

from __future__ import annotations

from matplotlib.figure import Figure

from analysis.curves import AXES, axis_of, curves, seed_curves
from analysis.figures.style import colours, panel, short_numbers
from analysis.figures.view import View, in_places


def panels(view: View) -> list[str]:
    """Tasks, and cells on them, with a confirmed trial that was evaluated."""
    return in_places(seed_curves(view.frames, score=view.score))


def draw(view: View, name: str) -> Figure:
    """The confirm stage at one place, over environment steps, or epochs."""
    return _draw(view, name, axis_of(view.frames), view.progress_label)


def draw_over_hours(view: View, name: str) -> Figure:
    """The same over what it cost."""
    return _draw(view, name, view.hours, view.hours_label)


def _draw(view: View, name: str, axis: str, label: str) -> Figure:
    assert axis in AXES
    seeds = seed_curves(view.frames, score=view.score, x=axis)
    seeds = seeds[(seeds["place"] == name) & seeds["x"].notna()]
    means = curves(view.frames, score=view.score, x=axis, by="label")
    means = means[means["task"] == seeds["task"].iloc[0]]
    if "cell" in means:
        means = means[means["cell"] == seeds["cell"].iloc[0]]
    colour = colours(view.confirmed["label"])
    figure, axes = panel()
    for (arm, _), trial in seeds.groupby(["label", "trial_id"]):
        dashed = "--" if trial["status"].iloc[0] == "STOPPED" else "-"
        axes.plot(trial["x"], trial["value"], dashed, color=colour[str(arm)], lw=0.7, alpha=0.35)
    for key, mean in means.groupby("label"):
        arm, n = str(key), int(mean["n"].max())
        if axis == view.hours:
            # Seeds end at different hours: where some are missing the mean would jump.
            mean = mean[mean["n"] == n]
        axes.plot(mean[axis], mean["est"], color=colour[arm], lw=2, label=f"{arm} (n={n})")
        known = mean.dropna(subset=["lo"])
        axes.fill_between(
            known[axis], known["lo"], known["hi"], color=colour[arm], alpha=0.18, lw=0
        )
    axes.set_title(name, fontsize=11, loc="left")
    axes.set_xlabel(label, fontsize=10)
    axes.set_ylabel(view.score_label, fontsize=10)
    # A t interval of three seeds can leave the plot far behind; the seeds set the frame.
    low, high = float(seeds["value"].min()), float(seeds["value"].max())
    margin = 0.15 * (high - low) or 1.0
    axes.set_ylim(low - margin, high + margin)
    short_numbers(axes.xaxis)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure
