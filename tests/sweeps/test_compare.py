"""The sweep that compares: which runs it has, what is refused, what its page says."""

import dataclasses
from pathlib import Path

import pytest

from sweeps.core.check.lint.rules import lint
from sweeps.core.check.sweep import check
from sweeps.core.definition.compare import Compare
from sweeps.core.definition.settings import UsageError
from sweeps.core.definition.usage import usage
from sweeps.core.driver.main import main
from sweeps.core.pages.start import start_page
from sweeps.core.protocol.plan import Plan, make_plan
from sweeps.core.protocol.recorder import Recorder
from sweeps.core.protocol.stages import CompareStages
from sweeps.core.store.events import EventLog, read_events
from sweeps.core.store.schema import ExitCode
from tests.sweeps.tiny import COMPARE, asked


def runs(sweep: Compare) -> list[tuple[str, ...]]:
    return [(arm, *map(str, cell.values())) for arm, cell in sweep.confirmed()]


def configs(sweep: Compare) -> dict[str, Plan]:
    plans = (make_plan(sweep, arm, "confirm", cell, 42) for arm, cell in sweep.confirmed())
    return {" ".join([plan.arm, *map(str, plan.cell.values())]): plan for plan in plans}


def test_every_arm_runs_on_every_task() -> None:
    assert runs(COMPARE) == [
        ("mlp", "point-mass"),
        ("flow", "point-mass"),
        ("coarse", "point-mass"),
        ("mlp", "reacher-easy"),
        ("flow", "reacher-easy"),
        ("coarse", "reacher-easy"),
    ]
    assert COMPARE.planned_trials() == {"confirm": 12}


def test_an_axis_of_all_arms_multiplies_all_and_one_of_some_arms_only_those() -> None:
    sweep = asked(
        "task=point-mass", "epochs=[100,200]", "world_model.substeps=[2,4]", "arms=[mlp,flow]"
    )
    assert runs(sweep) == [
        ("mlp", "point-mass", "100"),
        ("flow", "point-mass", "100", "2"),
        ("flow", "point-mass", "100", "4"),
        ("mlp", "point-mass", "200"),
        ("flow", "point-mass", "200", "2"),
        ("flow", "point-mass", "200", "4"),
    ]


def test_what_is_fixed_goes_before_an_arm_and_an_arm_before_the_presets() -> None:
    seen = configs(COMPARE)
    batches = {name: plan.config.wm_batch_size for name, plan in seen.items()}
    assert batches["flow point-mass"] == 256 and batches["coarse point-mass"] == 32
    seen = configs(asked("wm_batch_size=16", "world_model.substeps=3"))
    assert {plan.config.wm_batch_size for plan in seen.values()} == {16}
    # Substeps mean nothing to an MLP; for the arms that have them the word counts.
    substeps = {name: getattr(p.config.world_model, "substeps", 0) for name, p in seen.items()}
    assert substeps["mlp point-mass"] == 0
    assert substeps["flow point-mass"] == substeps["coarse point-mass"] == 3


def test_trial_names_differ_between_tasks_arms_cells_and_seeds() -> None:
    sweep = asked("epochs=[100,200]")
    ids = {
        make_plan(sweep, arm, "confirm", cell, seed).trial_id
        for seed in sweep.confirm.seeds
        for arm, cell in sweep.confirmed()
    }
    assert len(ids) == 2 * 12


@pytest.mark.parametrize(
    ("words", "seeds"),
    [
        ([], (42, 123)),
        (["seeds=[42,123,456]"], (42, 123, 456)),
        (["seeds=[7]"], (7,)),
        (["seeds=3"], (1000, 1001, 1002)),
    ],
)
def test_seeds_are_a_count_or_any_list(words: list[str], seeds: tuple[int, ...]) -> None:
    assert asked(*words).confirm.seeds == seeds


def test_tasks_are_a_list_with_or_without_brackets() -> None:
    assert asked("task=cheetah-run,walker-run").tasks == ("cheetah-run", "walker-run")
    assert asked("task=[cheetah-run, walker-run]").tasks == ("cheetah-run", "walker-run")
    assert asked("task=cheetah-run+walker-run").tasks == ("cheetah-run+walker-run",)
    assert asked("preset=1M cheetah-run walker-run").tasks == ("cheetah-run", "walker-run")


def test_arms_are_chosen_added_and_changed_by_word() -> None:
    assert asked("arms=[mlp,flow_v3]").arms == {"mlp": "mlp", "flow_v3": "flow_v3"}
    sweep = asked("arms.flow=flow policy.units=[64,64]", "arms.third=flow_v2")
    assert sweep.arms["flow"] == "flow policy.units=[64,64]"
    assert list(sweep.arms) == ["mlp", "flow", "coarse", "third"]
    assert sweep.arm_overrides("flow") == {"policy.units": [64, 64]}
    assert asked("baseline=flow").candidates == ("mlp", "coarse")
    assert asked("arms=[flow,flow_v2]", "baseline=flow_v2").baseline == "flow_v2"


def test_one_arm_may_run_by_itself() -> None:
    sweep = asked("arms=[flow]")
    assert (sweep.baseline, sweep.candidates) == ("flow", ())
    checked = check(sweep)
    findings = lint(sweep, checked)
    assert not [finding for finding in findings if finding.rule == "power"]
    page = start_page(sweep, checked.with_findings(*findings), 2, "(dry run)")
    assert "baseline   flow: flow" in page


def test_a_last_name_is_enough_where_only_one_key_has_it() -> None:
    assert asked("tau_sampling=midpoint").fixed == {"world_model.tau_sampling": "midpoint"}
    with pytest.raises(UsageError, match=r"'units' is short for .*world_model\.units"):
        asked("units=[64]")


def test_folders_are_made_absolute_since_trials_run_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sweep = asked("dataset=data/a", "arms.tuned=mlp init_world_model=w")
    assert sweep.fixed == {"dataset": str(tmp_path / "data" / "a")}
    assert sweep.arm_overrides("tuned") == {"init_world_model": str(tmp_path / "w")}
    assert asked("dataset=[a,b]").space == {"dataset": (str(tmp_path / "a"), str(tmp_path / "b"))}


def test_a_comparison_survives_its_file() -> None:
    sweep = asked("epochs=[100,200]", "horizon=8", "episodes=3", "arms.more=flow_v2")
    assert Compare.from_dict(sweep.to_dict()) == sweep
    assert list(Compare.from_dict(sweep.to_dict()).arms) == list(sweep.arms)


REFUSED = {
    "the same run twice": (
        ["arms.copy=flow"],
        "flow (task=point-mass) and copy (task=point-mass) are the same configuration",
    ),
    "no baseline": (["arms=[flow,coarse]"], "baseline 'mlp' is none of the arms flow, coarse"),
    "an unknown baseline": (["baseline=mpl"], "unknown baseline 'mpl'"),
    "an unknown arm": (["arms=[mlp,folw]"], "unknown arm or preset 'folw'"),
    "an arm that is set and left out": (
        ["arms=[mlp,flow]", "arms.x=flow_v2"],
        "arms.x is set, but arms=[mlp,flow] leaves it out",
    ),
    "a typo in an arm": (["arms.x=flow substep=2"], "x: unknown key substep."),
    "an option of another kind in an arm": (
        ["arms.x=mlp world_model.substeps=2"],
        "x: world_model.substeps is an option of world_model.kind=flow",
    ),
    "an unknown preset in an arm": (["arms.x=flw"], "unknown preset 'flw'"),
    "an unknown task": (["task=[point-mass,dog]"], "unknown task 'dog'"),
    "a task twice": (["task=[point-mass,point-mass]"], "task has 'point-mass' twice"),
    "a seed twice": (["seeds=[1,1]"], "seeds has a seed twice"),
    "a seed below 0": (["seeds=[-1]"], "seeds must be a count or a list of seeds"),
    "a fixed seed": (["seed=3"], "seed is fixed"),
    "a seed as an axis": (["seed=[1,2]"], "axis seed"),
    "a range as an axis": (["epochs=int(1,9)"], "axis epochs is the range int(1, 9)"),
    "early stopping": (["screen.trials=3"], "unknown key 'screen.trials'"),
    "an unknown key": (["horzion=4"], "unknown key 'horzion'. Did you mean 'horizon'?"),
    "too many trials": (["seeds=3000"], "18000 trials are planned"),
    "a value that no arm takes": (["epochs=0"], "epochs must be at least 1, got 0"),
}


@pytest.mark.parametrize(("words", "says"), REFUSED.values(), ids=REFUSED)
def test_a_bad_comparison_is_refused_in_one_line_and_leaves_nothing(
    words: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(COMPARE, words) == ExitCode.USAGE
    error, *rest = capsys.readouterr().err.splitlines()
    assert says in error
    assert rest[-1] == "Nothing was started."
    assert list(tmp_path.iterdir()) == []


def test_the_page_says_in_what_exactly_each_arm_differs() -> None:
    sweep = asked("horizon=8", "world_model.substeps=3", "epochs=[100,200]", "goal=Which?")
    checked = check(sweep)
    page = start_page(sweep, checked.with_findings(*lint(sweep, checked)), 2, "(dry run)")
    lines = " ".join(page.split())
    for part in (
        "goal Which?",
        "baseline mlp: mlp",
        "flow: world_model.kind mlp -> flow; only flow: world_model.integrator=euler, "
        "world_model.substeps=3,",
        "coarse: wm_batch_size 256 -> 32; world_model.kind mlp -> flow; only coarse: "
        "world_model.integrator=heun,",
        "tasks point-mass, reacher-easy presets laptop",
        "axis epochs[100,200]: each value by itself",
        "fixed horizon=8",
        "fixed world_model.substeps=3 (flow, coarse only)",
        "seeds 42, 123 score: mean return of the last 5 evaluations, 10 episodes each",
        "24 trials = 12 runs x 2 seeds",
        "up to 51,200 env steps, at least 25,600",
        "horizon 8 (16)",
        "WARN seeds: 2 test seeds give no usable interval: seeds=3 is the least",
        "WARN reference: horizon 8; the published reference uses 16",
        "WARN budget: unequal wm_batch_size: mlp 256, coarse 32; wm_batch_size=... sets it for all",
    ):
        assert part in lines, part
    assert "epochs 100 ->" not in lines  # an axis is no difference between arms
    assert max(map(len, page.splitlines())) <= 100


def test_arms_that_share_a_model_are_said_to_be_compared_in_pairs() -> None:
    sweep = dataclasses.replace(COMPARE, shared_state="one frozen world model")
    page = " ".join(start_page(sweep, check(sweep), 2, "").split())
    assert "compared in pairs: one frozen world model" in page
    assert sweep.to_dict()["shared_state"] == "one frozen world model"


def test_a_plan_for_a_larger_machine_can_be_looked_at_but_not_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["trial.cpus=4096"]
    assert main(COMPARE, ["--dry-run", *words]) == ExitCode.OK
    assert "WARN machine: no node can run a trial" in capsys.readouterr().out
    assert main(COMPARE, words) == ExitCode.USAGE


def test_the_help_names_arms_tasks_and_seeds() -> None:
    page = usage(COMPARE)
    for word in ("task=[NAME,...]", "coarse", "flow_v1 wm_batch_size=32", "seeds", "--resume PATH"):
        assert word in page
    assert "screen." not in page


class Driver:
    """One driver process' worth of stages over the run folder."""

    def __init__(self, folder: Path, sweep: Compare = COMPARE) -> None:
        self.log = EventLog(folder, "driver")
        self.recorder = Recorder(self.log, read_events(folder))
        self.plans = CompareStages(sweep, self.recorder).plans()

    def next(self) -> Plan:
        plan = next(self.plans)
        assert plan is not None
        return plan

    def end(self, plan: Plan, event: str = "completed") -> None:
        where = {"attempt": 1, "epoch": 220, "env_steps": 640, "score": 1.0}
        self.recorder.started(plan.trial_id, where | {"epoch": 0})
        self.recorder.ended(plan.trial_id, event, where)


def test_there_is_one_stage_seed_by_seed_and_nothing_is_stopped_early(tmp_path: Path) -> None:
    driver = Driver(tmp_path)
    plans = [driver.next() for _ in range(12)]
    assert {plan.stage for plan in plans} == {"confirm"}
    assert [plan.config.seed for plan in plans] == [42] * 6 + [123] * 6
    assert next(driver.plans) is None
    for plan in plans[:-1]:
        driver.end(plan)
    assert next(driver.plans) is None
    driver.end(plans[-1], "failed")
    assert next(driver.plans, "over") == "over"
    assert driver.recorder.state.stages == {"confirm": "finished"}
    assert driver.recorder.state.trials[plans[0].trial_id].params == {}


def test_a_resume_starts_only_what_is_left(tmp_path: Path) -> None:
    sweep = asked("task=point-mass", "epochs=[100,200]", "arms=[mlp,flow]")
    first = Driver(tmp_path, sweep)
    done = [first.next() for _ in range(3)]
    for plan in done:
        first.end(plan)
    first.log.close()
    second = Driver(tmp_path, sweep)
    left = [second.next() for _ in range(5)]
    assert next(second.plans) is None
    names = [plan.trial_id for plan in (*done, *left)]
    assert len(set(names)) == 8
    planned = [e["trial_id"] for e in read_events(tmp_path) if e["event"] == "planned"]
    assert sorted(planned) == sorted(names)
