"""Which hyperparameters mattered: found where they did, refused where nobody can tell."""

import itertools

import numpy as np
import pytest

import analysis
from tests.analysis.conftest import Factory, SweepFolder


def screen(folder: SweepFolder, cells, score) -> analysis.Frames:
    for number, params in enumerate(cells):
        name = f"c{number:04d}"
        folder.trial("flow", 0, [score(params)] * 6, stage="screen", config_id=name, params=params)
    return folder.frames()


GRID = [
    {"world_model.substeps": k, "wm_batch_size": b}
    for k, b in itertools.product((1, 2, 4), (128, 256))
]


def test_marginal_means_are_over_whatever_else_varied(new_sweep: Factory) -> None:
    frames = screen(new_sweep(), GRID, lambda p: 100.0 * p["world_model.substeps"])
    table = analysis.importance(frames)
    assert set(table["method"]) == {"n=2: no uncertainty", "mean, t"}
    by = table.set_index(["parameter", "value"])["est"]
    assert by["world_model.substeps", "4"] == 400.0
    assert by["wm_batch_size", "128"] == by["wm_batch_size", "256"] == pytest.approx(700 / 3)
    pairs = analysis.importance(frames, method="interactions")
    assert set(pairs["parameter"]) in (
        {"world_model.substeps x wm_batch_size"},
        {"wm_batch_size x world_model.substeps"},
    )
    assert len(pairs) == 6


def test_parameters_that_changed_together_are_named(new_sweep: Factory) -> None:
    # V1 to V3 of the users: heun 2, heun 4, euler 8.
    cells = [
        {"world_model.integrator": i, "world_model.substeps": k}
        for i, k in (("heun", 2), ("heun", 4), ("euler", 8))
    ]
    frames = screen(new_sweep(), cells, lambda p: 1.0 * p["world_model.substeps"])
    text = r"world_model\.integrator and world_model\.substeps changed together"
    with pytest.raises(analysis.InputError, match=text):
        analysis.importance(frames)


def test_from_fifty_trials_on_pedanova_finds_what_mattered(new_sweep: Factory) -> None:
    rng = np.random.default_rng(0)
    cells = [
        {"optim.lr": float(10 ** rng.uniform(-5, -2)), "substeps": int(rng.choice([1, 2, 4, 8]))}
        for _ in range(60)
    ]
    frames = screen(
        new_sweep(),
        cells,
        lambda p: 500 - 100 * abs(np.log10(p["optim.lr"]) + 3) + rng.normal(0, 5),
    )
    table = analysis.importance(frames).set_index("parameter")
    assert table.loc["optim.lr", "est"] > 3 * table.loc["substeps", "est"]
    assert table["est"].sum() == pytest.approx(1.0)
    assert set(table["method"]) == {"ped-anova, best tenth"}


def test_what_cannot_be_told_is_refused(new_sweep: Factory) -> None:
    frames = screen(new_sweep("few"), GRID, lambda p: 1.0)
    with pytest.raises(analysis.InputError, match="ped-anova needs 50 whole trials, there are 6"):
        analysis.importance(frames, method="ped-anova")
    with pytest.raises(analysis.InputError, match="unknown method 'anova'"):
        analysis.importance(frames, method="anova")
    same = screen(new_sweep("same"), [{"a": 1}, {"a": 1}], lambda p: 1.0)
    with pytest.raises(analysis.InputError, match="no hyperparameter varied"):
        analysis.importance(same)
