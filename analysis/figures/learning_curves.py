"""Return over environment steps: the mean of each arm with its interval, every seed thin."""

from __future__ import annotations

from matplotlib.figure import Figure

from analysis.curves import curves, seed_curves
from analysis.figures.style import colours, panel, short_numbers
from analysis.figures.view import View


def panels(view: View) -> list[str]:
    """Tasks with a confirmed trial that was evaluated."""
    return sorted(seed_curves(view.frames, score=view.score)["task"].unique())


def draw(view: View, task: str) -> Figure:
    """The confirm stage on one task."""
    seeds = seed_curves(view.frames, score=view.score)
    seeds = seeds[seeds["task"] == task]
    means = curves(view.frames, score=view.score)
    means = means[means["task"] == task]
    colour = colours(view.frames.trials["arm"])
    figure, axes = panel()
    for (arm, _), trial in seeds.groupby(["arm", "trial_id"]):
        dashed = "--" if trial["status"].iloc[0] == "STOPPED" else "-"
        axes.plot(trial["x"], trial["value"], dashed, color=colour[str(arm)], lw=0.7, alpha=0.35)
    for arm, mean in means.groupby("arm"):
        name, n = str(arm), int(mean["n"].max())
        axes.plot(mean["env_steps"], mean["est"], color=colour[name], lw=2, label=f"{name} (n={n})")
        known = mean.dropna(subset=["lo"])
        axes.fill_between(
            known["env_steps"], known["lo"], known["hi"], color=colour[name], alpha=0.18, lw=0
        )
    axes.set_title(task, fontsize=11, loc="left")
    axes.set_xlabel("environment steps", fontsize=10)
    axes.set_ylabel(view.score_label, fontsize=10)
    # A t interval of three seeds can leave the plot far behind; the seeds set the frame.
    low, high = float(seeds["value"].min()), float(seeds["value"].max())
    margin = 0.15 * (high - low) or 1.0
    axes.set_ylim(low - margin, high + margin)
    short_numbers(axes.xaxis)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure
