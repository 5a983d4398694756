"""Several seeds as one program learn what each learns by itself, up to rounding."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from flowpwm import checkpoint
from flowpwm.checks import ConfigError
from flowpwm.report import Report
from flowpwm.state import TrainState
from flowpwm.together import Together
from flowpwm.train import train
from tests.flowpwm.tiny import Doubled, run, science, tiny, weights

pytestmark = pytest.mark.slow

SEEDS = (3, 4, 5)


@pytest.fixture
def double() -> Iterator[None]:
    """Rounding is then so small that it is told from a mistake."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


# Who leaves, is saved or stops is no matter of the model: the cheapest.
CHEAP = "point-mass mlp"


def started(preset: str = CHEAP, **changes: Any) -> list[TrainState]:
    return [TrainState.start(tiny(preset, seed=seed, **changes)) for seed in SEEDS]


def doubled(state: TrainState) -> TrainState:
    state.experience = Doubled(state.experience)  # pyright: ignore[reportAttributeAccessIssue]
    return state


def finish(together: Together) -> dict[int, list[Report]]:
    reports: dict[int, list[Report]] = {}
    for i, report in together.train():
        reports.setdefault(i, []).append(report)
    return reports


def distance(one: TrainState, two: TrainState) -> float:
    """Of their weights, relative to how far training moved them."""
    start = weights(TrainState.start(one.config))
    moved = torch.cat([(a - b).flatten() for a, b in zip(weights(one), start, strict=True)]).norm()
    apart = [(a - b).flatten() for a, b in zip(weights(one), weights(two), strict=True)]
    return float(torch.cat(apart).norm() / moved)


MODELS = [
    ("point-mass mlp", {}),
    ("point-mass flow_v2", {}),
    ("point-mass flow", {"world_model.chart": "simplex", "world_model.integrator": "rk4"}),
    ("point-mass flow", {"world_model.wm_rollout_weight": 0.0, "world_model.chart": "simplex"}),
    ("point-mass flow", {"world_model.objective": "mean_flow", "microbatches": 3}),
    (
        "point-mass flow flow_policy",
        {"world_model.target_momentum": 0.9, "world_model.inverse_dynamics_weight": 1.0},
    ),
]


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize(("preset", "changes"), MODELS)
def test_each_seed_learns_what_it_learns_by_itself(preset: str, changes: dict[str, Any]) -> None:
    """In double precision, over the epochs of a tiny run: rounding stays below a millionth."""
    changes = {"epochs": 2, "evaluation__every": 2, "evaluation__episodes": 1} | changes
    together = Together([doubled(state) for state in started(preset, **changes)[:2]])
    reports = finish(together)
    for i, seed in enumerate(SEEDS[:2]):
        config = tiny(preset, seed=seed, **changes)
        alone, expected = run(config, doubled(TrainState.start(config)))
        assert distance(alone, together.states[i]) < 1e-6
        assert [r.epoch for r in reports[i]] == [r.epoch for r in expected]
        for ours, theirs in zip(reports[i], expected, strict=True):
            one, two = science(ours), science(theirs)
            assert one.keys() == two.keys()
            for name, value in two.items():
                assert one[name] == pytest.approx(value, rel=1e-4, abs=1e-6), name
            assert ours.is_best == theirs.is_best
            assert (ours.score is None) == (theirs.score is None)
            assert ours.score is None or ours.score == pytest.approx(theirs.score, rel=1e-4)


def test_seeds_do_not_touch_one_another() -> None:
    """The same seed beside others and beside none ends where it ends."""
    short = {"epochs": 2, "evaluation__every": 2}
    with_others, alone = Together(started(**short)), Together(started(**short)[:1])
    finish(with_others)
    finish(alone)
    assert distance(alone.states[0], with_others.states[0]) < 1e-3
    assert distance(with_others.states[0], with_others.states[1]) > 0.5


def test_a_seed_can_be_saved_any_time_and_go_on_alone_or_with_the_others(tmp_path: Path) -> None:
    short = {"epochs": 3, "evaluation__every": 3, "evaluation__episodes": 1}
    whole = Together(started(**short))
    finish(whole)
    cut = Together(started(**short))
    for i, report in cut.train():
        if report.epoch == 1:
            checkpoint.save(cut.states[i], tmp_path / str(i))
        if report.epoch == 2:
            break
    # A third of the program's bytes, not all of them.
    sizes = [(tmp_path / str(i) / "agent.pt").stat().st_size for i in range(3)]
    own = tmp_path / "own"
    checkpoint.save(started(**short)[0], own)
    assert max(sizes) < 1.1 * (own / "agent.pt").stat().st_size
    training = tmp_path / "0" / "training.pt"
    assert training.stat().st_size < 2 * (own / "training.pt").stat().st_size + 100_000

    configs = [tiny(CHEAP, seed=seed, **short) for seed in SEEDS]
    loaded = [checkpoint.load(tmp_path / str(i), config) for i, config in enumerate(configs)]
    again = Together(loaded)
    finish(again)
    single = checkpoint.load(tmp_path / "1", configs[1])
    list(train(single))
    assert distance(whole.states[0], again.states[0]) < 1e-3
    assert distance(whole.states[1], single) < 1e-3
    assert again.states[2].epoch == single.epoch == 3


def test_who_diverges_is_named_and_the_others_go_on() -> None:
    short = {"epochs": 4, "evaluation__every": 4, "evaluation__episodes": 1}
    together = Together(started(**short))
    seen: list[tuple[int, int]] = []
    for i, report in together.train():
        seen.append((i, report.epoch))
        if (i, report.epoch) == (2, 2):
            with torch.no_grad():
                together.states[1].agent.world_model.reward_head[-1].bias.fill_(float("nan"))
    assert list(together.diverged) == [1]
    assert str(together.diverged[1]) == "loss/world_model is nan in epoch 3"
    assert [epoch for i, epoch in seen if i == 1] == [1, 2]
    for i in (0, 2):
        assert [epoch for k, epoch in seen if k == i] == [1, 2, 3, 4]
        alone, _ = run(tiny(CHEAP, seed=SEEDS[i], **short))
        assert distance(alone, together.states[i]) < 1e-3


def test_who_runs_out_of_patience_leaves_and_the_others_go_on() -> None:
    changes = {"epochs": 5, "evaluation__every": 1, "evaluation__episodes": 1, "patience": 1}
    preset = "point-mass flow"
    together = Together(started(preset, **changes))
    finish(together)
    ends = [state.epoch for state in together.states]
    assert ends == [run(tiny(preset, seed=seed, **changes))[0].epoch for seed in SEEDS]
    assert len(set(ends)) > 1, "a test of leaving needs runs that end apart"


def test_who_is_behind_catches_up_before_all_go_on() -> None:
    short = {"epochs": 3, "evaluation__every": 3, "evaluation__episodes": 1}
    states = started(**short)
    list(zip(range(2), train(states[1]), strict=False))
    assert [state.epoch for state in states] == [0, 2, 0]
    together = Together(states)
    order = [(report.epoch, i) for i, report in together.train()]
    assert order[:4] == [(1, 0), (1, 2), (2, 0), (2, 2)]
    assert order[4:7] == [(3, 0), (3, 1), (3, 2)]
    for i in range(3):
        assert distance(run(tiny(CHEAP, seed=SEEDS[i], **short))[0], states[i]) < 1e-3


def test_the_time_is_shared_among_the_seeds() -> None:
    together = Together(started(epochs=3))
    finish(together)
    first, second, _ = together.states
    assert first.seconds["world_model"] == second.seconds["world_model"] > 0
    assert first.seconds["wall"] == pytest.approx(second.seconds["wall"], rel=0.5)


def test_somebody_can_stop_it_between_epochs() -> None:
    together = Together(started())
    asked: list[bool] = []

    def second_time() -> bool:
        asked.append(True)
        return len(asked) > 2

    for _ in together.train(second_time):
        pass
    assert [state.epoch for state in together.states] == [2, 2, 2]


def test_runs_that_are_no_program_are_refused() -> None:
    one = started()[0]
    with pytest.raises(ConfigError, match=r"in their seeds only, not in horizon"):
        Together([one, TrainState.start(tiny(CHEAP, seed=9, horizon=4))])
    with pytest.raises(ConfigError, match=r"seeds of their own, got \[3, 3\]"):
        Together([one, started()[0]])
