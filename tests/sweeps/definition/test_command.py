"""The command line: values, axes, settings, and every mistake in one clear line."""

from pathlib import Path

import pytest
import yaml

from sweeps.core.definition.axes import Range
from sweeps.core.definition.command import parse
from sweeps.core.definition.settings import UsageError
from sweeps.core.definition.tune import Tune
from sweeps.core.definition.usage import usage
from sweeps.core.definition.values import parse_value
from tests.sweeps.tiny import COMPARE, PLAN


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("-1_000", -1000),
        ("1e-4", 1e-4),
        (".5", 0.5),
        ("2.", 2.0),
        ("true", True),
        ("null", None),
        ("none", "none"),
        ("heun", "heun"),
        ("'3'", "3"),
        ("[1, 2.5, rk4]", [1, 2.5, "rk4"]),
        ("[]", []),
        ("[[1,2],[3]]", [[1, 2], [3]]),
        ("012", 12),
        ("16:30", "16:30"),
        ("uniform(0, 1)", Range(0, 1)),
        ("loguniform(1e-4,1e-2)", Range(1e-4, 1e-2, log=True)),
        ("int(1,8)", Range(1, 8, integer=True)),
        ("__import__('os')", "__import__('os')"),
    ],
)
def test_a_word_means_what_it_looks_like(text: str, value: object) -> None:
    parsed = parse_value(text)
    assert parsed == value and type(parsed) is type(value)


@pytest.mark.parametrize(
    "text",
    ["[1,2", "[1,(2]", "[1]2]", "uniform(1)", "uniform(2,1)", "loguniform(0,1)", "int(1,2.5)"],
)
def test_brackets_and_ranges_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        parse_value(text)


def test_an_axis_goes_by_its_full_or_its_last_name() -> None:
    by_last, _ = parse(PLAN, ["substeps=[2,4]", "epochs=10"])
    by_full, _ = parse(PLAN, ["world_model.substeps=[2,4]", "epochs=[10]"])
    assert by_last == by_full
    assert by_last.space["world_model.substeps"] == (2, 4)
    assert by_last.space["epochs"] == (10,)


def test_a_key_of_the_configuration_is_fixed_for_all_arms_and_a_list_makes_an_axis() -> None:
    sweep, _ = parse(PLAN, ["horizon=8", "optim.actor_lr=[1e-4,1e-3]", "policy.units=[64,64]"])
    assert sweep.fixed == {"horizon": 8, "policy.units": [64, 64]}
    assert sweep.space["optim.actor_lr"] == (1e-4, 1e-3)


def test_settings_of_the_stages() -> None:
    words = ["screen.trials=5", "screen.rungs=[]", "select.top=3", "confirm.seeds=4"]
    sweep, _ = parse(PLAN, [*words, "select.seeds=[107,109]", "screen.episodes=2", "wandb=off"])
    assert (sweep.screen.trials, sweep.screen.rungs, sweep.screen.episodes) == (5, (), 2)
    assert (sweep.select.top, sweep.select.seeds) == (3, (107, 109))
    assert sweep.confirm.seeds == (1000, 1001, 1002, 1003)


def test_presets_may_name_the_task() -> None:
    sweep, _ = parse(PLAN, ["preset=1M cheetah-run"])
    assert (sweep.presets, sweep.task) == ("1M", "cheetah-run")


def test_flags_take_their_value_with_or_without_an_equals_sign() -> None:
    _, first = parse(PLAN, ["--resume", "a/b", "--address=10.0.0.1:6379", "--dry-run"])
    _, second = parse(PLAN, ["--resume=a/b", "--address", "10.0.0.1:6379", "--dry-run"])
    assert first == second
    assert (first.resume, first.dry_run) == (Path("a/b"), True)


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (["substep=2"], ["unknown key 'substep'. Did you mean 'substeps'?"]),
        (["horzion=4"], ["unknown key 'horzion'. Did you mean 'horizon'?"]),
        (["substeps=[]"], ["axis world_model.substeps is empty: give at least one value"]),
        (["substeps=[2,2]"], ["axis world_model.substeps has 2 twice"]),
        (["epochs="], ["epochs needs a value: epochs=..."]),
        (["epochs=3", "epochs=4"], ["epochs is given twice: '3' and '4'"]),
        (["--dry-rnu"], ["unknown word '--dry-rnu'; use key=value. Did you mean '--dry-run'?"]),
        (["--resume"], ["--resume needs a value after it"]),
        (["screen.trials=0"], ["screen.trials must be a whole number of at least 1, got 0"]),
        (["screen.trials=2.5"], ["screen.trials must be a whole number of at least 1, got 2.5"]),
        (["screen.trials=true"], ["screen.trials must be a whole number of at least 1, got True"]),
        (["screen.rungs=[2]"], ["screen.rungs must be fractions in (0, 1), as in [0.25, 0.5]"]),
        (["screen.reduction=1"], ["screen.reduction must be a number above 1, got 1"]),
        (["screen.margin=-1"], ["screen.margin must be a number of at least 0, got -1"]),
        (["wandb=yes"], ["wandb must be one of off, offline, online, got 'yes'"]),
        (["tensorboard=1"], ["tensorboard must be true or false, got 1"]),
        (["wandb_api_key=x"], ["wandb_api_key looks like a secret"]),
        (["task=cheetah"], ["unknown task 'cheetah'; known: point-mass"]),
        (["preset=laptpo"], ["unknown preset 'laptpo'; known: laptop"]),
        (["optim.wm_lr=loguniform(0,1)"], ["optim.wm_lr: 'loguniform(0,1)' needs bounds above 0"]),
        (["a=1", "b=2"], ["unknown key 'a'.", "unknown key 'b'."]),
        (["seeds=5"], ["unknown key 'seeds'. Did you mean 'select.seeds' or 'confirm.seeds'?"]),
        (["laptop"], ["unknown word 'laptop'; use key=value. Did you mean 'preset=laptop'?"]),
        (["ant"], ["unknown word 'ant'; use key=value. Did you mean 'task=ant'?"]),
        (
            ["preset=laptop,turning"],
            ["preset=laptop,turning: presets are separated by spaces, as in preset='laptop turn"],
        ),
    ],
)
def test_every_mistake_is_one_line_that_names_it(words: list[str], lines: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        parse(PLAN, words)
    assert len(caught.value.lines) == len(lines)
    for line, start in zip(caught.value.lines, lines, strict=True):
        assert line.startswith(start)
        assert "\n" not in line


def test_a_comparison_names_its_own_settings_and_each_arm_once() -> None:
    with pytest.raises(UsageError, match=r"'confirm.seeds'. Did you mean 'seeds'\?"):
        parse(COMPARE, ["confirm.seeds=5"])
    with pytest.raises(UsageError, match=r"Did you mean 'flow_v3'\?|Did you mean") as caught:
        parse(COMPARE, ["arms=[mlp,flow_v9]"])
    (line,) = caught.value.lines
    offered = line.partition("known: ")[2].partition(". Did")[0].split(", ")
    assert len(set(offered)) == len(offered) and {"mlp", "flow_v1", "laptop"} <= set(offered)
    assert "cheetah-run" not in offered


def test_a_secret_is_refused_without_being_shown() -> None:
    with pytest.raises(UsageError) as caught:
        parse(PLAN, ["wandb.api_key=hunter2"])
    assert "hunter2" not in str(caught.value)


def test_a_sweep_survives_its_file() -> None:
    sweep, _ = parse(PLAN, ["optim.actor_lr=loguniform(1e-4,1e-3)", "horizon=8", "screen.rungs=[]"])
    assert Tune.from_dict(sweep.to_dict()) == sweep


def test_the_help_names_every_axis_and_setting() -> None:
    page = usage(PLAN)
    for word in ("world_model.integrator", "screen.trials", "confirm.seeds", "--resume PATH"):
        assert word in page
    for word in ("317M", "flow_v2", "horizon=16", "optim.wm_lr=", "recompute=False"):
        assert word in page


def test_a_goal_is_a_sentence_whatever_it_looks_like() -> None:
    sweep, _ = parse(PLAN, ["goal=[12] = uniform(a, b),\n or not?"])
    assert sweep.goal == "[12] = uniform(a, b), or not?"
    again = Tune.from_dict(yaml.safe_load(yaml.safe_dump(sweep.to_dict())))
    assert again == sweep


def test_a_sweep_that_was_stored_before_there_were_goals_has_none() -> None:
    plain = PLAN.to_dict()
    del plain["goal"]
    assert Tune.from_dict(plain).goal == ""


def test_a_file_of_settings_means_what_the_same_words_mean(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(
        "task: reacher-easy\n"
        "screen: {trials: 4, rungs: [0.5]}\n"
        "confirm.seeds: 3\n"
        "substeps: [1, 2]\n"
        "optim:\n  wm_lr: loguniform(1e-4, 1e-3)\n"
        "horizon: 8\n"
        "goal: does it = help?\n"
        "arms:\n  flow: flow actor_updates=2\n"
    )
    words = ["task=reacher-easy", "screen.trials=4", "screen.rungs=[0.5]", "confirm.seeds=3"]
    words += ["substeps=[1,2]", "optim.wm_lr=loguniform(1e-4, 1e-3)", "horizon=8"]
    words += ["goal=does it = help?", "arms.flow=flow actor_updates=2"]
    assert parse(PLAN, ["--config", str(path)])[0] == parse(PLAN, words)[0]


def test_words_win_over_files_and_later_files_over_earlier_ones(tmp_path: Path) -> None:
    for name, text in (
        ("a", "horizon: 4\nepochs: 10\nseed: 1\n"),
        ("b", "horizon: 8\nepochs: 20\n"),
    ):
        (tmp_path / name).write_text(text)
    files = [f"--config={tmp_path / name}" for name in "ab"]
    sweep, options = parse(PLAN, [*files, "epochs=30"])
    assert sweep.fixed == {"horizon": 8, "seed": 1} and sweep.space["epochs"] == (30,)
    assert {key: setting.place for key, setting in options.given.items()} == {
        "horizon": f"{tmp_path / 'b'}:1",
        "seed": f"{tmp_path / 'a'}:3",
    }
