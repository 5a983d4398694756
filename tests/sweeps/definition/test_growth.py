"""What may be added to a sweep that ran, and what is refused: a line for each setting."""

import dataclasses

import pytest

from sweeps.core.definition.axes import Range
from sweeps.core.definition.command import parse
from sweeps.core.definition.growth import Growth, grow
from sweeps.core.definition.settings import UsageError
from sweeps.core.definition.sweep import Sweep
from sweeps.core.definition.tune import Tune
from tests.sweeps.tiny import COMPARE, PLAN

RANGED = dataclasses.replace(PLAN, space={"optim.wm_lr": Range(1e-4, 1e-2, log=True)}, max_nfe=4)


def grown(sweep: Sweep, *words: str, **offered: str) -> Growth[Sweep]:
    asked, _ = parse(sweep, ["--extend", "somewhere", *words], offered=offered)
    return grow(sweep, asked)


def test_a_number_of_seeds_keeps_those_that_there_are_and_counts_them() -> None:
    # The sweep has 42 and 123; seeds of comparisons begin at 1000 where only a number is given.
    assert grown(COMPARE, "seeds=4").sweep.confirm.seeds == (42, 123, 1000, 1001)
    assert grown(PLAN, "confirm.seeds=5").sweep.confirm.seeds == (1000, 1001, 1002, 1003, 1004)
    assert grown(PLAN, "select.seeds=2").sweep.seeds("select") == (100, 101)


def test_without_extend_a_number_of_seeds_is_what_it_was() -> None:
    assert parse(COMPARE, ["seeds=2"])[0].confirm.seeds == (1000, 1001)


def test_what_was_there_stays_in_its_place_whatever_the_order_of_words() -> None:
    growth = grown(
        COMPARE,
        "seeds=[7,123,42]",
        "arms=[flow_v2,coarse,flow,mlp]",
        "task=[cartpole-swingup,reacher-easy,point-mass]",
    )
    assert growth.sweep.confirm.seeds == (42, 123, 7)
    assert list(growth.sweep.arms) == ["mlp", "flow", "coarse", "flow_v2"]
    assert growth.sweep.tasks == ("point-mass", "reacher-easy", "cartpole-swingup")
    assert growth.added == {
        "tasks": "cartpole-swingup",
        "arms": "flow_v2",
        "confirm.seeds": "7",
    }


def test_arms_of_the_script_can_be_added_by_their_name() -> None:
    growth = grown(COMPARE, "arms=[mlp,flow,coarse,mine]", mine="flow_v2 wm_batch_size=8")
    assert growth.sweep.arms["mine"] == "flow_v2 wm_batch_size=8"


@pytest.mark.parametrize(
    ("words", "stages"),
    [
        (["confirm.seeds=4"], ("confirm",)),
        (["screen.trials=9"], ("screen", "select", "confirm")),
        (["select.top=3"], ("screen", "select", "confirm")),
        (["wm_batch_size=[64,128,256]", "confirm.seeds=9"], ("screen", "select", "confirm")),
    ],
)
def test_more_to_choose_from_is_chosen_from_again(words: list[str], stages: object) -> None:
    assert grown(PLAN, *words).stages == stages


def test_a_range_may_get_wider_and_the_cap_higher() -> None:
    growth = grown(RANGED, "wm_lr=loguniform(1e-5,1e-2)", "max_nfe=8")
    assert growth.added == {
        "optim.wm_lr": "loguniform(0.0001, 0.01) -> loguniform(1e-05, 0.01)",
        "max_nfe": "4 -> 8",
    }
    assert grown(RANGED, "max_nfe=0").added == {"max_nfe": "4 -> any"}


@pytest.mark.parametrize(
    ("sweep", "words", "says"),
    [
        (COMPARE, ["seeds=[42]"], "--extend cannot take confirm.seeds 123 away"),
        (COMPARE, ["seeds=1"], "seeds=1 is fewer than the 2 that there are"),
        (COMPARE, ["task=point-mass"], "--extend cannot take tasks reacher-easy away"),
        (COMPARE, ["arms=[mlp,flow]"], "--extend cannot take arms coarse away"),
        (COMPARE, ["arms.flow='flow_v2'"], "cannot change arms.flow: 'flow' then"),
        (COMPARE, ["baseline=flow"], "cannot change baseline: 'mlp' then, 'flow' now"),
        (COMPARE, ["episodes=7"], "cannot change confirm.episodes: as the presets have it then"),
        (COMPARE, ["horizon=4"], "cannot change horizon: as the presets have it then, 4 now"),
        (COMPARE, ["epochs=[10,20]"], "cannot add axis epochs: what ran has no value on it"),
        (PLAN, ["screen.trials=7"], "cannot change screen.trials: 8 then, 7 now"),
        (PLAN, ["screen.rungs=[0.5]"], "cannot change screen.rungs"),
        (PLAN, ["screen.seed=3"], "cannot change screen.seed"),
        (PLAN, ["max_nfe=4"], "cannot change max_nfe: 0 then, 4 now"),
        (PLAN, ["substeps=[1,2]"], "cannot take world_model.substeps 4, 8 away"),
        (PLAN, ["substeps=int(1,8)"], "cannot change space.world_model.substeps"),
        (RANGED, ["wm_lr=loguniform(1e-3,1e-1)"], "cannot change space.optim.wm_lr"),
        (RANGED, ["wm_lr=uniform(1e-5,1)"], "cannot change space.optim.wm_lr"),
        (COMPARE, [], "--extend adds nothing"),
        (COMPARE, ["trial.memory=4"], "--extend adds nothing"),
    ],
)
def test_less_and_other_is_refused(sweep: Sweep, words: list[str], says: str) -> None:
    with pytest.raises(UsageError) as refused:
        grown(sweep, *words)
    assert any(says in line for line in refused.value.lines), refused.value.lines


def test_every_problem_is_told_at_once() -> None:
    with pytest.raises(UsageError) as refused:
        grown(PLAN, "screen.trials=1", "horizon=4", "screen.seed=9")
    assert len(refused.value.lines) == 3


def test_how_trials_run_may_change_along_with_what_is_added() -> None:
    sweep = grown(PLAN, "confirm.seeds=4", "trial.memory=4", "goal=more").sweep
    assert isinstance(sweep, Tune) and sweep.memory_per_trial == 4.0 and sweep.goal == "more"


@pytest.mark.parametrize(
    "flags", [["--resume", "a", "--extend", "b"], ["--extend=a", "--warm-start=b"]]
)
def test_a_sweep_begins_in_one_way(flags: list[str]) -> None:
    with pytest.raises(UsageError, match="exclude each other"):
        parse(PLAN, flags)
