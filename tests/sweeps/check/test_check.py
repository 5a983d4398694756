"""Nothing starts before the whole sweep is checked, and a refusal leaves nothing behind."""

import dataclasses
import os
import socket
from pathlib import Path

import pytest
import ray

from sweeps.core.check.lint.rules import lint
from sweeps.core.check.sweep import check
from sweeps.core.definition.command import parse
from sweeps.core.definition.settings import UsageError
from sweeps.core.definition.tune import Confirm, Screen, Select
from sweeps.core.driver.main import main
from sweeps.core.host import cluster
from sweeps.core.protocol.plan import make_plan
from sweeps.core.store.schema import ExitCode
from tests.sweeps.tiny import PLAN

REFUSED = {
    "unknown key": (["horzion=4"], "unknown key 'horzion'"),
    "wrong type": (["epochs=many"], "epochs must be a whole number, got 'many'"),
    "wrong type under a cap": (
        ["substeps=[1,two]", "max_nfe=4"],
        "substeps must be a whole number",
    ),
    "a list in a list": (["integrator=[[euler]]", "max_nfe=4"], "world_model.integrator must be"),
    "a cap that leaves nothing": (["max_nfe=1", "integrator=rk4"], "max_nfe=1 leaves no cell"),
    "a cap that leaves nothing beside a range": (
        ["max_nfe=1", "integrator=rk4", "optim.wm_lr=loguniform(1e-4,1e-3)"],
        "max_nfe=1 leaves no cell",
    ),
    "out of range": (["substeps=[0,2]"], "substeps must be at least 1, got 0"),
    "missing value": (["epochs="], "epochs needs a value"),
    "a mandatory value left open": (["optim.wm_lr=???"], "optim.wm_lr must be set, got '???'"),
    "unknown choice": (["integrator=[huen]"], "unknown world_model.integrator 'huen'"),
    "integrator on an MLP": (["world_model.kind=mlp"], "is an option of world_model.kind=flow"),
    "unknown task": (["task=dog"], "unknown task 'dog'"),
    "empty axis": (["integrator=[]"], "axis world_model.integrator is empty"),
    "overlapping seeds": (["confirm.seeds=[7]"], "confirm seed 7 is outside"),
    "a seed twice": (["select.seeds=[100,100]"], "select.seeds has a seed twice"),
    "a seed as an axis": (["seed=[1,2]"], "axis seed: seeds and evaluation belong to the stages"),
    "evaluation as an axis": (["evaluation.episodes=[1,2]"], "axis evaluation.episodes"),
    "a fixed seed": (["seed=3"], "seed is set by the stages"),
    "too many trials": (["screen.trials=20000", "epochs=int(1,100000)"], "trials are planned"),
    "an inconsistent pair": (["report_every=30"], "evaluation.every must be a multiple of"),
    "no such folder": (["--resume", "nowhere"], "--resume nowhere: no sweep there"),
    "no token": (["--address", "10.0.0.1:6379"], "no Ray token found for 10.0.0.1:6379"),
    "more memory than there is": (
        ["preset=317M", "buffer_capacity=10_000_000_000", "epochs=100_000_000"],
        "no node can run a trial",
    ),
    "more CPUs than there are": (["trial.cpus=4096"], "no node can run a trial"),
}


@pytest.mark.parametrize(("words", "says"), REFUSED.values(), ids=REFUSED)
def test_a_bad_sweep_is_refused_in_one_line_with_code_2_and_leaves_nothing(
    words: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    assert main(PLAN, words) == ExitCode.USAGE
    error, *rest = capsys.readouterr().err.splitlines()
    assert says in error
    assert rest == ["Nothing was started."]
    assert list(tmp_path.iterdir()) == []
    assert not ray.is_initialized()


def test_a_results_folder_that_cannot_be_written_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("not a folder")
    assert main(PLAN, [f"results={tmp_path / 'file' / 'results'}"]) == ExitCode.STORAGE
    assert "is not writable" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "not a folder"


def test_every_problem_is_told_at_once() -> None:
    sweep, _ = parse(PLAN, ["integrator=[huen,eular]", "substeps=[0]"])
    with pytest.raises(UsageError) as caught:
        check(sweep)
    assert len(caught.value.lines) == 2  # each configuration tells of its first problem


def test_a_dry_run_shows_the_plan_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(PLAN, ["--dry-run", "horizon=8", "confirm.seeds=2"]) == ExitCode.OK
    page = capsys.readouterr().out
    for part in (
        "integrator[euler,midpoint,heun,rk4]",
        "test 1000, 1001",
        "world_model.kind mlp -> flow",
        "horizon 8 (16)",
        "WARN seeds: 2 test seeds give no usable interval: confirm.seeds=3 is the least",
    ):
        assert part in page
    assert max(map(len, page.splitlines())) <= 100
    assert list(tmp_path.iterdir()) == []


def test_every_configuration_of_every_arm_is_composed() -> None:
    # 32 cells of the flow arm; the baseline has 2 batch sizes of its own.
    sweep = dataclasses.replace(
        PLAN,
        space={
            "world_model.integrator": ("euler", "midpoint", "heun", "rk4"),
            "world_model.substeps": (1, 2, 4, 8),
            "wm_batch_size": (64, 128),
        },
    )
    assert check(sweep).configurations == 34


def test_a_space_too_large_to_list_is_checked_value_by_value() -> None:
    sweep, _ = parse(PLAN, ["wm_updates=int(1,9)", "optim.wm_lr=uniform(0.001,2.0)"])
    with pytest.raises(UsageError, match=r"optim\.wm_lr must be at most 1, got 2\.0"):
        check(sweep)


def test_an_empty_space_and_an_empty_seed_set_are_refused() -> None:
    sweep = dataclasses.replace(PLAN, space={}, select=Select(seeds=()), confirm=Confirm(seeds=()))
    with pytest.raises(UsageError) as caught:
        check(sweep)
    assert [line.split(":")[0] for line in caught.value.lines] == [
        "the space has no axis",
        "select.seeds is empty",
        "confirm.seeds is empty",
    ]


def test_the_number_of_trials_is_known_before() -> None:
    sweep = dataclasses.replace(PLAN, screen=Screen(trials=500), select=Select(top=3))
    cells = sweep.cell_count()
    assert sweep.planned_trials() == {"screen": cells, "select": 3, "confirm": 6}


def test_a_trial_asks_for_the_threads_and_the_memory_of_its_configuration() -> None:
    cell = {"world_model.substeps": 1, "epochs": 10}
    small = make_plan(PLAN, "flow", "screen", cell, 0)
    threads = dataclasses.replace(PLAN, fixed={"num_threads": 3})
    assert small.resources.num_cpus == 1.0
    assert make_plan(threads, "flow", "screen", cell, 0).resources.num_cpus == 3.0
    assert small.resources.memory_bytes >= small.cost.host_memory_bytes
    assert small.resources.memory_bytes % 2**28 == 0
    large = make_plan(PLAN, "flow", "screen", cell | {"wm_batch_size": 8192}, 0)
    assert large.resources.memory_bytes > small.resources.memory_bytes


def test_a_token_in_a_file_is_enough_for_a_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    with pytest.raises(UsageError, match="no Ray token"):
        cluster.prepare("10.0.0.1:6379")
    (tmp_path / "token").write_text("t")
    with socket.create_server(("127.0.0.1", 0)) as server:
        cluster.prepare(f"127.0.0.1:{server.getsockname()[1]}")
    assert os.environ["RAY_AUTH_MODE"] == "token"


@pytest.mark.parametrize("address", ["127.0.0.1:1", "10.0.0.1", "ray://10.0.0.1:10001", "a/b:1"])
def test_an_address_where_no_cluster_answers_is_refused_at_once(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("t")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    with pytest.raises(UsageError, match="--address"):
        cluster.prepare(address)


def test_auto_finds_the_cluster_that_noted_its_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("t")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    with pytest.raises(UsageError, match="no Ray cluster runs here"):
        cluster.prepare("auto")
    (tmp_path / "ray").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        (tmp_path / "ray" / "ray_current_cluster").write_text(address)
        cluster.prepare("auto")


def test_values_that_a_cap_leaves_out_altogether_are_named() -> None:
    sweep, _ = parse(PLAN, ["integrator=[euler,rk4]", "substeps=[1,2,8]", "max_nfe=4"])
    (left_out,) = [found.text for found in lint(sweep, check(sweep)) if "max_nfe" in found.text]
    assert left_out == "max_nfe=4 leaves out substeps=8: raise it, or set max_nfe=0"
