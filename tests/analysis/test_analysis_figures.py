"""Every figure on a tuned sweep, on one trial, on failures alone, on a thousand trials."""

import sys
import time
from typing import get_args

import numpy as np
import pytest
from matplotlib.figure import Figure

import analysis
from analysis.figures import FIGURES, FigureEntry, View
from analysis.figures.view import Part
from analysis.overall import overall
from tests.analysis.conftest import PHASE3, Factory, Finished

#: The module, which the function of its name hides.
report_module = sys.modules["analysis.report"]


def view_of(frames: analysis.Frames) -> View:
    return View(frames, analysis.compare(frames), together=overall(frames))


def drawn(view: View) -> dict[str, list[Figure]]:
    """Every panel of every figure, rendered."""
    found: dict[str, list[Figure]] = {}
    for name, entry in FIGURES.items():
        found[name] = [entry.draw(view, panel) for panel in entry.panels(view)]
        for figure in found[name]:
            figure.canvas.draw()
    return found


def texts(figure: Figure) -> str:
    """All that can be read in it."""
    from matplotlib.text import Text

    return "\n".join(t.get_text() for t in figure.findobj(Text) if isinstance(t, Text))


def test_a_tuned_sweep_has_every_figure_that_one_task_can_have(tuned: Finished) -> None:
    found = drawn(view_of(tuned.frames()))
    empty = {name for name, figures in found.items() if not figures}
    # It has one task, no decided rung, too few trials, and nothing was measured twice.
    assert empty <= {"aggregates", "profiles", "rungs", "importances", "confirmation", "pareto"}
    assert "n=" in texts(found["seeds"][0]) and "n=10" in texts(found["learning_curves"][0])
    assert "stopped" in texts(found["timeline"][0])
    assert "whole runs" in texts(found["parallel"][0])
    assert "biased" in texts(found["best_so_far"][0])


def test_several_tasks_are_put_together(phase3: Finished) -> None:
    found = drawn(view_of(phase3.frames()))
    assert len(found["aggregates"]) == len(found["profiles"]) == 1
    text = texts(found["aggregates"][0])
    assert "IQM" in text and "optimality gap" in text and "n=3" in text and "3 tasks" in text
    assert len(found["learning_curves"]) == len(found["learning_curves_hours"]) == len(PHASE3)


def test_rungs_show_who_was_stopped(new_sweep: Factory) -> None:
    folder = new_sweep(spec={"baseline": "mlp", "kind": "tune"})
    for number in range(6):
        name = folder.trial("flow", 0, [100.0 * number] * 6, stage="screen", config_id=f"c{number}")
        about = {"bracket": "60", "milestone": 40960, "score": 100.0 * number, "cutoff": 250.0}
        decision = "continue" if number > 2 else "stop"
        folder.log.append("rung", name, decision=decision, **about)
    (figure,) = drawn(view_of(folder.frames()))["rungs"]
    assert "n=6, 3 stopped" in texts(figure) and "40,960" in texts(figure)
    hollow = [line for line in figure.axes[0].lines if line.get_markerfacecolor() == "none"]
    assert [len(np.atleast_1d(line.get_ydata())) for line in hollow] == [3]


def test_the_winners_curse_is_what_lies_below_the_diagonal(new_sweep: Factory) -> None:
    folder = new_sweep(spec={"baseline": "mlp", "kind": "tune"})
    params = {"wm_batch_size": 256}
    folder.trial("flow", 0, [900.0] * 6, stage="screen", config_id="ca", params=params)
    # The budget of later stages is another, so their configurations have other names.
    for seed in (100, 101, 102):
        folder.trial("flow", seed, [700.0] * 6, stage="select", config_id="cb", params=params)
    for seed in (1000, 1001, 1002):
        folder.trial("flow", seed, [650.0] * 6, config_id="cc", params=params)
    (figure,) = drawn(view_of(folder.frames()))["confirmation"]
    points = [line for line in figure.axes[0].lines if line.get_marker() in ("s", "o")]
    at = [(float(x.get_xdata()[0]), float(x.get_ydata()[0])) for x in points]
    assert at == [(900.0, 700.0), (900.0, 650.0)]
    assert "selection seeds, n=3" in texts(figure) and "test seeds, n=3" in texts(figure)


def test_one_trial_failures_alone_and_nothing_at_all_draw_what_they_have(
    new_sweep: Factory,
) -> None:
    one = new_sweep("one")
    one.trial("flow", 1000, [1.0, 2.0])
    found = drawn(view_of(one.frames()))
    assert found["learning_curves"] and found["timeline"] and not found["differences"]
    failed = new_sweep("failed")
    for seed in range(3):
        failed.trial("flow", seed, [], status="failed", stage="screen")
    found = drawn(view_of(failed.frames()))
    assert found["timeline"] and not found["learning_curves"] and not found["best_so_far"]
    nothing = new_sweep("nothing")
    assert not any(drawn(view_of(nothing.frames(finish=False))).values())


def test_many_trials_are_drawn_and_reported_in_reasonable_time(new_sweep: Factory) -> None:
    # A tenth of what benchmarks/pages.py measures.
    folder = new_sweep(spec={"baseline": "mlp", "kind": "tune"})
    rng = np.random.default_rng(0)
    for number in range(100):
        params = {
            "world_model.substeps": int(rng.choice([1, 2, 4, 8])),
            "world_model.integrator": str(rng.choice(["euler", "heun"])),
            "optim.lr": float(10 ** rng.uniform(-5, -2)),
        }
        curve = np.cumsum(rng.normal(20, 15, 10))
        folder.trial(
            "flow", 0, curve, stage="screen", config_id=f"c{number:08x}", params=params, gpus=1.0
        )
    for seed in range(1000, 1003):
        for arm in ("mlp", "flow"):
            folder.trial(arm, seed, np.cumsum(rng.normal(20, 15, 10)), gpus=1.0)
    frames = folder.frames()
    found = drawn(view_of(frames))
    assert (
        found["parallel"] and found["importances"] and "106 trials" in texts(found["timeline"][0])
    )
    began = time.monotonic()
    path = analysis.report(frames)
    assert time.monotonic() - began < 30
    assert path.stat().st_size < 2_000_000


@pytest.mark.parametrize("part", get_args(Part))
def test_a_figure_of_any_part_is_drawn_by_being_listed(
    tuned: Finished, monkeypatch: pytest.MonkeyPatch, part: Part
) -> None:
    entry = FigureEntry("Mine", "", lambda _: ["here"], lambda *_: Figure(), part)
    monkeypatch.setattr(report_module, "FIGURES", {"mine": entry})
    assert 'aria-label="Mine: here"' in analysis.report(tuned.frames()).read_text(encoding="utf-8")
