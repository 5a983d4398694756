"""Before an extension starts: nothing that ran would be another run, and tests stay tests."""

import pytest

from sweeps.core.check.growth import check_growth
from sweeps.core.definition.command import parse
from sweeps.core.definition.growth import Growth, grow
from sweeps.core.definition.settings import UsageError
from sweeps.core.definition.sweep import Sweep
from sweeps.core.protocol.plan import Plan, make_plan
from sweeps.core.store.state import SweepState, fold
from tests.sweeps.tiny import COMPARE, PLAN

CELL = {
    "world_model.integrator": "heun",
    "world_model.substeps": 2,
    "wm_batch_size": 64,
    "epochs": 300,
}


def planned(*plans: Plan) -> SweepState:
    return fold(
        {"event": "planned", "time": "t", "trial_id": plan.trial_id} | plan.event()
        for plan in plans
    )


def growth_of(sweep: Sweep, *words: str) -> Growth[Sweep]:
    return grow(sweep, parse(sweep, ["--extend", "somewhere", *words])[0])


def compared() -> SweepState:
    return planned(
        *(
            make_plan(COMPARE, arm, "confirm", cell, seed)
            for arm, cell in COMPARE.confirmed()
            for seed in (42, 123)
        )
    )


def test_what_ran_and_is_composed_alike_today_may_be_extended() -> None:
    check_growth(growth_of(COMPARE, "seeds=4", "arms=[mlp,flow,coarse,flow_v2]"), compared())


def test_presets_that_have_changed_since_are_refused_once_an_arm_with_the_key() -> None:
    state = compared()
    for record in state.trials.values():
        if record.arm == "flow":
            record.config["optim"]["wm_lr"] = 0.5
    with pytest.raises(UsageError) as refused:
        check_growth(growth_of(COMPARE, "seeds=4"), state)
    (line,) = refused.value.lines
    assert line.startswith("--extend cannot change optim.wm_lr of c") and "(flow)" in line
    assert ": 0.5 then, " in line


def test_smaller_parts_of_a_batch_are_no_other_run() -> None:
    state = compared()
    next(iter(state.trials.values())).config["microbatches"] = 2
    check_growth(growth_of(COMPARE, "seeds=4"), state)


def tuned(*seeds: int) -> SweepState:
    screened = make_plan(PLAN, "flow", "screen", CELL, 0)
    tests = [make_plan(PLAN, "flow", "confirm", CELL, seed) for seed in seeds]
    return planned(screened, *tests)


@pytest.mark.parametrize("words", [["screen.trials=9"], ["select.top=3"], ["select.seeds=2"]])
def test_choosing_again_after_a_look_at_test_seeds_wants_others(words: list[str]) -> None:
    with pytest.raises(UsageError, match=r"1000, 1001, 1002; .* at least 3 with confirm.seeds=6"):
        check_growth(growth_of(PLAN, *words), tuned(1000, 1001, 1002))
    check_growth(growth_of(PLAN, *words, "confirm.seeds=6"), tuned(1000, 1001, 1002))


def test_before_any_look_and_for_a_choice_that_stays_no_other_seeds_are_wanted() -> None:
    check_growth(growth_of(PLAN, "screen.trials=9"), tuned())
    check_growth(growth_of(PLAN, "confirm.seeds=4"), tuned(1000, 1001, 1002))


def test_a_configuration_that_cannot_be_composed_any_more_is_told() -> None:
    state = tuned()
    (record,) = state.trials.values()
    record.params = dict(record.params) | {"world_model.gone": 1}
    with pytest.raises(UsageError, match="cannot be composed again"):
        check_growth(growth_of(PLAN, "screen.trials=9"), state)
