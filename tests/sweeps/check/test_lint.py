"""The lint: what weakens a sweep is said, with numbers, and nothing else is."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path

import pytest

from sweeps.core.check.findings import Finding, listed
from sweeps.core.check.lint import budgets, confounded, devices, power, protocol, space
from sweeps.core.check.lint.rules import lint
from sweeps.core.check.sweep import check
from sweeps.core.definition.command import parse
from sweeps.core.definition.sweep import Sweep
from sweeps.core.driver.main import main
from sweeps.core.driver.resume import open_run
from sweeps.core.reference.welch import detectable, seeds_to_detect
from sweeps.core.store.events import EventLog
from sweeps.core.store.schema import ExitCode
from tests.sweeps.tiny import PLAN, asked

FLOWS = ["arms=[mlp,flow_v1,flow_v2,flow_v3]", "task=point-mass"]


def tuned(*words: str) -> Sweep:
    return parse(PLAN, words)[0]


def comparing(*words: str, **arms: str) -> Sweep:
    """A comparison of these arms on point-mass."""
    own = [f"arms.{name}={text}" for name, text in arms.items()]
    return asked("task=point-mass", f"arms=[{','.join(arms)}]", *own, *words)


def told(module, sweep: Sweep, *earlier) -> list[str]:
    """What one rule says of a sweep."""
    return [finding.text for finding in module.findings(sweep, check(sweep), *earlier)]


# Confounded settings.


def test_variants_that_change_two_things_at_once_are_named_with_their_values() -> None:
    assert told(confounded, asked(*FLOWS)) == [
        "world_model.integrator and world_model.substeps change together over arms flow_v1 "
        "(heun, 2), flow_v2 (heun, 4), flow_v3 (euler, 8): their effects cannot be told apart"
    ]


def test_one_change_an_arm_is_not_confounded() -> None:
    fine, heun = "flow world_model.substeps=4", "flow world_model.integrator=heun"
    assert told(confounded, comparing(mlp="mlp", flow="flow", fine=fine, heun=heun)) == []


def test_a_second_arm_with_one_of_two_changes_tells_them_apart() -> None:
    both = "flow world_model.wm_rollout_weight=0 world_model.flow_matching_weight=1"
    (text,) = told(confounded, comparing(mlp="mlp", flow="flow", both=both))
    assert text.startswith("world_model.wm_rollout_weight and world_model.flow_matching_weight")
    one = "flow world_model.flow_matching_weight=1"
    assert told(confounded, comparing(mlp="mlp", flow="flow", both=both, one=one)) == []


def test_a_batch_that_goes_with_the_world_model_is_confounded_with_it() -> None:
    (text,) = told(confounded, comparing(mlp="mlp", flow="flow wm_batch_size=512"))
    assert text.startswith(
        "wm_batch_size and world_model.kind change together over arms mlp (256, mlp), "
        "flow (512, flow)"
    )


def test_axes_and_grids_cross_their_values() -> None:
    sweep = asked("arms=[mlp,flow]", "substeps=[1,2]", "integrator=[euler,heun]", "epochs=[50,100]")
    assert told(confounded, sweep) == []
    assert told(confounded, tuned()) == []


def test_what_a_machine_does_differently_is_no_effect() -> None:
    flow = "flow num_threads=2 microbatches=2 report_every=40"
    assert told(confounded, comparing(mlp="mlp", flow=flow)) == []


def test_dependence_is_found_by_rank_where_no_two_settings_are_equal() -> None:
    # c is on exactly where a or b is: three columns, two of them independent.
    either = [{"a": 0, "b": 0, "c": 0}, {"a": 1, "b": 0, "c": 1}, {"a": 0, "b": 1, "c": 1}]
    assert confounded.confounded(either) == [("a", "b", "c")]
    # One more arm with both of them on: three rows beside the first, and c is their maximum.
    assert confounded.confounded([*either, {"a": 1, "b": 1, "c": 1}]) == []
    # A half of the 2 x 2 x 2 design tells main effects apart, as theory says.
    half = [dict(zip("abc", cell, strict=True)) for cell in ((0, 0, 0), (0, 1, 1), (1, 0, 1))]
    assert confounded.confounded([*half, {"a": 1, "b": 1, "c": 0}]) == []


def test_groups_that_do_not_depend_on_one_another_are_told_apart() -> None:
    first = {"a": 0, "b": 0, "c": 0, "d": 0, "e": 0}
    rows = [first, first | {"a": 1, "b": 1}, first | {"c": True, "d": [1]}, first | {"e": 2}]
    assert confounded.confounded(rows) == [("a", "b"), ("c", "d")]


def test_a_whole_grid_is_never_confounded() -> None:
    cells = itertools.product([1, 2, 4], ["euler", "heun"], [128, 256])
    assert confounded.confounded([dict(zip("abc", cell, strict=True)) for cell in cells]) == []


# Budgets and FLOPs.


def test_equal_arms_have_nothing_to_be_told() -> None:
    assert told(budgets, comparing(mlp="mlp", slow="mlp optim.wm_lr=1e-3")) == []


def test_unequal_batches_are_told_with_their_sizes() -> None:
    texts = told(budgets, asked("task=point-mass"))
    assert texts[0] == (
        "unequal wm_batch_size: mlp 256, coarse 32; wm_batch_size=... sets it for all arms"
    )


def test_unequal_lengths_are_told_in_epochs_steps_and_updates() -> None:
    assert told(budgets, comparing(mlp="mlp", long="mlp epochs=900")) == [
        "unequal epochs: mlp 600, long 900; epochs=... sets it for all arms",
        # 32 environments x 8 steps an epoch; 100 warm-up updates and 4 an epoch; 4 of the actor.
        "over a run: steps: mlp 153,600, long 230,400; world-model updates: mlp 2,500, long 3,700; "
        "actor updates: mlp 2,400, long 3,600; critic updates: mlp 9,600, long 14,400",
    ]


def test_flops_that_differ_at_equal_steps_are_told_as_a_ratio() -> None:
    sweep = asked(*FLOWS)
    plans = {plan.arm: plan for plan in check(sweep).plans}
    (text,) = told(budgets, sweep)
    for arm in ("flow_v1", "flow_v2", "flow_v3"):
        ratio = plans[arm].work_flops / plans["mlp"].work_flops
        assert ratio > 1.1 and f"{arm} {ratio:.2f}" in text


def test_the_flops_of_a_tune_sweep_are_those_of_its_cheapest_and_its_dearest_cell() -> None:
    # The dearest that is allowed: rk4 with one substep, or heun with two.
    (text,) = told(budgets, tuned("max_nfe=4", "integrator=[euler,heun]", "substeps=[1,2]"))
    low, high = map(float, text.rpartition("flow ")[2].split(" to "))
    assert 1 < low < high < 4
    (wider,) = told(budgets, tuned("max_nfe=0"))
    assert float(wider.rpartition(" to ")[2]) > high  # rk4 with eight
    # One more axis, which costs nothing, also where it has no list of values.
    assert told(budgets, tuned("max_nfe=0", "optim.wm_lr=loguniform(1e-4,1e-3)")) == [wider]


# Devices.


def test_a_gpu_that_no_run_uses_is_told() -> None:
    assert told(devices, tuned("trial.gpus=0.5")) == [
        "trial.gpus=0.5 holds a GPU that no run uses: device is cpu; add device=cuda"
    ]
    assert not told(devices, tuned("trial.gpus=0.5", "device=cuda"))
    assert not told(devices, tuned())


@pytest.mark.parametrize(("flag", "slow"), [("avx512_bf16", False), ("sse", True)])
def test_bf16_that_a_processor_emulates_is_told(
    monkeypatch: pytest.MonkeyPatch, flag: str, slow: bool
) -> None:
    able = {"architecture": "x86_64", flag: True}
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: able)
    lines = told(devices, tuned("precision=bf16"))
    assert ["several times slower" in line for line in lines] == [True] * slow
    assert not told(devices, tuned("precision=bf16", "device=cuda"))
    assert not told(devices, tuned())


# Seeds and scores.


def test_few_seeds_are_told_with_the_word_that_gives_more() -> None:
    def of(*words: str) -> str:
        return " ".join(told(protocol, asked(*words)))

    assert "1 test seed: no interval is possible, nothing can be concluded" in of("seeds=1")
    assert "2 test seeds give no usable interval: seeds=3 is the least" in of("seeds=2")
    assert "seed" not in of("seeds=3")
    assert "confirm.seeds=3 is the least" in " ".join(told(protocol, tuned("confirm.seeds=2")))


def test_a_short_horizon_and_too_few_evaluations_are_told() -> None:
    assert told(protocol, asked("seeds=3", "horizon=4", "epochs=120")) == [
        "horizon 4; the published reference uses 16",
        "3 evaluations a run: a score is the mean of the last 5",
    ]
    assert told(protocol, asked("seeds=3", "horizon=16", "epochs=200")) == []


# The space.


def test_a_space_larger_than_its_budget_says_how_much_of_it_is_tried() -> None:
    text, *_ = told(space, tuned("screen.trials=5"))
    assert text == (
        "5 of the 32 cells are tried, too few to tell integrator, substeps, wm_batch_size apart; "
        "screen.trials=32 tries them all"
    )
    # 12 cells tell 1 + 3 + 3 + 1 effects apart.
    assert told(space, tuned("screen.trials=12"))[0].startswith("12 of the 32 cells are tried; ")
    assert told(space, tuned("screen.trials=32")) == []


def test_more_trials_than_cells_and_more_finalists_than_trials_are_told() -> None:
    assert told(space, tuned("screen.trials=40", "select.top=33")) == [
        "screen.trials=40, but the space has 32 cells",
        "select.top=33 is more than the screen has configurations",
    ]


def test_a_space_without_an_end_is_not_counted() -> None:
    assert told(space, tuned("optim.wm_lr=loguniform(1e-4,1e-3)")) == []


def test_long_lists_are_cut_and_counted() -> None:
    lists = [listed(["a", "b", "c"][:n], most) for n, most in ((1, 2), (2, 2), (3, 2), (3, 3))]
    assert lists == ["a", "a and b", "a, b and 1 more", "a, b and c"]


# Power.


def test_too_little_power_is_told_with_what_would_be_enough() -> None:
    sweep = tuned("confirm.seeds=3")
    (text,) = told(power, sweep, [])
    # On record for cartpole-swingup: sd 45.0 (mlp, 772.7) and 5.9 (flow), five seeds each.
    sd = ((45.0**2 + 5.9**2) / 2) ** 0.5
    least, needed = detectable(sd, 3), seeds_to_detect(0.05 * 772.7, sd)
    assert text == (
        f"3 seeds find a difference of {least:.0f} ({least / 772.7:.0%}) on cartpole-swingup in 8 "
        f"of 10 sweeps; the margin is 39 (5%), confirm.seeds={needed} would find that (noise over "
        "seeds 32: on record for laptop runs of 153,600 env steps)"
    )
    assert told(power, tuned(f"confirm.seeds={needed}"), []) == []


def test_a_comparison_in_pairs_is_said_to_need_fewer_seeds() -> None:
    sweep = asked("task=cartpole-swingup", "arms=[mlp,flow]", "seeds=3")
    (welch,) = told(power, sweep, [])
    (paired,) = told(power, dataclasses.replace(sweep, shared_state="one frozen world model"), [])
    assert paired == f"{welch}; compared in pairs, as here, fewer may do"


def test_a_task_without_a_record_has_unknown_noise() -> None:
    (text,) = told(power, asked("task=[cup-spin,fish-swim]", "seeds=5"), [])
    assert text.startswith("the noise over seeds on cup-spin and fish-swim is not known here")


def test_without_an_interval_there_is_no_power_to_speak_of() -> None:
    assert told(power, asked("seeds=2"), []) == []


def test_of_many_weak_tasks_the_weakest_are_told_and_the_rest_counted() -> None:
    known = "cartpole-swingup,reacher-easy,pendulum-swingup,walker-stand,ant"
    *each, rest = told(power, asked(f"task=[{known}]", "seeds=3", "arms=[mlp,flow]"), [])
    assert len(each) == power.MOST_TASKS and rest == "likewise on 1 more tasks"
    assert "on pendulum-swingup in 8 of 10 sweeps, before Holm's correction over 5;" in each[0]


# Where it is shown.


def test_a_dry_run_shows_findings_under_the_checks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(PLAN, ["--dry-run", "--time-limit", "1m"]) == ExitCode.OK
    page = capsys.readouterr().out
    checks = page[page.index("\nchecks ") :]
    for rule in ("power", "flops", "space", "time"):
        assert f"\n           WARN {rule}: " in checks
    assert "alone needs about" in checks
    assert max(map(len, page.splitlines())) <= 100
    assert list(tmp_path.iterdir()) == []


def test_the_findings_are_written_once_beside_the_spec(tmp_path: Path) -> None:
    (tmp_path / "events").mkdir()
    first, later = Finding("seeds", "too few"), Finding("disk", "full")
    with EventLog(tmp_path, "driver") as log:
        open_run(tmp_path, log, PLAN, {}, [first])
    with EventLog(tmp_path, "driver") as log:
        open_run(tmp_path, log, PLAN, {}, [later])
    assert json.loads((tmp_path / "lint.json").read_text()) == {
        "findings": [{"rule": "seeds", "text": "too few", "level": "warn"}]
    }


def test_the_lint_leaves_the_check_as_it_was() -> None:
    checked = check(PLAN)
    findings = lint(PLAN, checked)
    assert findings and checked.findings == ()
    assert checked.with_findings(*findings) == dataclasses.replace(
        checked, findings=tuple(findings)
    )
