"""`python -m flowpwm`: trains, resumes after a signal, evaluates, counts, and refuses clearly."""

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from flowpwm import checkpoint
from flowpwm.__main__ import main
from flowpwm.checks import ConfigError
from flowpwm.commands import COMMANDS, load
from flowpwm.commands.settings import parse_settings
from flowpwm.storage import sha256

TINY = [
    *("point-mass", "laptop", "flow", "epochs=4", "num_envs=4", "horizon=8", "report_every=1"),
    *("evaluation.every=2", "evaluation.episodes=2", "wm_batch_size=8", "wm_updates=1"),
    *("wm_warmup_updates=0", "actor_updates=1"),
]


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    """Commands that run in this process take signals over."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_folder_with_another_run_is_named_with_what_differs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *TINY, "--out", str(tmp_path)]) == 0
    capsys.readouterr()
    assert main(["train", *TINY, "seed=7", "horizon=5", "--out", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert told.count(f"--out {tmp_path} holds another run (") == 1 == told.count("horizon")
    assert "seed: 0 then, 7 now" in told and "choose another folder" in told


def test_train_then_evaluate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *TINY, "--out", str(tmp_path)]) == 0
    rows = [json.loads(line) for line in (tmp_path / "reports.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert [len(row["returns"].get("point-mass", ())) for row in rows] == [0, 2, 0, 2]
    assert main(["evaluate", str(tmp_path / "best"), "--episodes", "3"]) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1].startswith("point-mass (policy): return mean ")
    assert "over 3 episodes of mean length 64; " in printed and printed.endswith("% solved\n")
    assert main(["evaluate", str(tmp_path)]) == 2
    assert f"did you mean {tmp_path / 'best'}?" in capsys.readouterr().err


def test_every_report_is_kept_once_also_after_a_kill(tmp_path: Path) -> None:
    words = ["train", *TINY, "--out", str(tmp_path)]
    assert main(words) == 0
    reports = tmp_path / "reports.jsonl"
    rows = [json.loads(line) for line in reports.read_text().splitlines()]
    # Killed in epoch 6, after the report of 5 and in the middle of that of 6.
    with reports.open("a") as file:
        file.write(json.dumps(rows[-1] | {"epoch": 5}) + "\n" + '{"epoch": 6, "env_')
    assert main(words) == 0
    assert [json.loads(line) for line in reports.read_text().splitlines()] == rows


@pytest.mark.slow
def test_every_episode_of_an_evaluation_can_be_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *TINY, "--out", str(tmp_path)]) == 0
    words = ["evaluate", str(tmp_path / "last"), "--episodes", "2", "--plan"]
    assert main([*words, "--json", str(tmp_path / "played.json")]) == 0
    policy, plan = json.loads((tmp_path / "played.json").read_text())
    assert (policy["by"], plan["by"], policy["task"]) == ("policy", "plan", "point-mass")
    assert policy["lengths"] == [64] * 2 and len(policy["returns"]) == 2
    mean = sum(policy["returns"]) / 2
    assert f"(policy): return mean {mean:.1f}" in capsys.readouterr().out
    assert main([*words, "--json", str(tmp_path / "nowhere" / "played.json")]) == 2
    assert "there is no folder" in capsys.readouterr().err
    # Start states of the training would flatter it.
    assert main([*words, "--seed", "0"]) == 2
    assert "trained with: it has seen these start states" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_said_before_anything_is_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *TINY, "--out", "/proc/nowhere/run"]) == 1
    said = capsys.readouterr()
    assert said.err.startswith("failed: ") and "/proc/nowhere" in said.err
    assert "epoch" not in said.out and len(said.err.splitlines()) == 1


def test_two_trainings_into_one_folder_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (tmp_path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert main(["train", *TINY, "--out", str(tmp_path)]) == 2
    assert "another training writes there" in capsys.readouterr().err
    assert main(["train", *TINY, "--out", str(tmp_path)]) == 0


def test_more_threads_than_cpus_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """A thousand on two take minutes for an epoch of a fraction of a second."""
    assert main(["train", "point-mass", "laptop", "num_threads=1024"]) == 2
    assert re.fullmatch(
        r"error: num_threads must be at most \d+, the CPUs here, got 1024\n",
        capsys.readouterr().err,
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about a machine without a GPU")
def test_a_gpu_that_is_not_there_is_said_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *TINY, "device=cuda"]) == 2
    assert "finds no GPU here; use device=cpu" in capsys.readouterr().err


def test_an_interrupted_run_that_kept_nothing_cannot_be_resumed() -> None:
    words = [word if word != "epochs=4" else "epochs=100000" for word in TINY]
    command = [sys.executable, "-m", "flowpwm", "train", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    while not process.stdout.readline().startswith("epoch"):
        assert process.poll() is None
    os.kill(process.pid, signal.SIGTERM)
    out = process.communicate(timeout=30)[0]
    assert process.returncode == 1
    assert "without --out nothing was kept" in out


def test_a_signal_saves_and_the_same_command_goes_on(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "flowpwm", "train", *TINY, "--out", str(tmp_path)]
    command[command.index("epochs=4")] = "epochs=100000"
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    deadline = time.monotonic() + 60
    while not (tmp_path / "reports.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGTERM)
    out = process.communicate(timeout=30)[0]
    assert process.returncode == 75
    assert "interrupted at epoch" in out

    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("resuming ")
    process.kill()
    process.communicate()


def test_params_counts_every_part(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["params", "cheetah-run", "5M", "flow_v2"]) == 0
    out = capsys.readouterr().out
    assert "velocity evaluations an environment step: 8" in out
    assert "dynamics" in out and "GFLOP an epoch" in out


def test_params_of_a_flow_says_how_it_compares_with_an_mlp(
    capsys: pytest.CaptureFixture[str],
) -> None:
    counts = {}
    for kind in ("flow", "mlp"):
        assert main(["params", "cartpole-swingup", "laptop", kind]) == 0
        lines = capsys.readouterr().out.splitlines()
        counts[kind] = int(lines[2].split()[1].replace(",", ""))
        said = [line for line in lines if "against the MLP" in line]
        if kind == "flow":
            own = said
    assert not said and abs(counts["flow"] / counts["mlp"] - 1) < 0.01
    assert own[0].endswith(f"({counts['mlp']:,d})")


def test_params_of_several_tasks_counts_their_vectors(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["params", "reacher-easy+ant", "5M", "world_model.task_dim=96"]
    assert main(words) == 0
    counted = dict(line.split()[:2] for line in capsys.readouterr().out.splitlines()[:9])
    assert counted["embedding"] == "192" and counted["continuation"] != "0"


def test_every_command_says_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    printed = " ".join(capsys.readouterr().out.split())
    for name in COMMANDS:
        assert f"{name} {load(name).HELP}" in printed


def test_a_run_whose_patience_ends_says_so_and_is_done_when_asked_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    still = [f"optim.{network}_lr=1e-30" for network in ("wm", "actor", "critic")]
    words = ["train", *TINY, *still, "optim.schedule=constant", "patience=1", "epochs=40"]
    words += ["--out", str(tmp_path)]
    assert main(words) == 0
    assert "stopped early: no better score in 1 evaluations" in capsys.readouterr().out
    rows = (tmp_path / "reports.jsonl").read_text()
    assert [json.loads(line)["epoch"] for line in rows.splitlines()] == [1, 2, 3, 4]
    assert main(words) == 0
    assert f"{tmp_path / 'last'} at epoch 4 is finished" in capsys.readouterr().out
    assert (tmp_path / "reports.jsonl").read_text() == rows


def test_several_tasks_are_trained_and_evaluated_one_by_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*TINY[1:], "world_model.task_dim=4", "epochs=2", "--out", str(tmp_path)]
    assert main(["train", "point-mass+pendulum-spin", *words]) == 0
    assert " over 2 tasks" in capsys.readouterr().out
    assert main(["evaluate", str(tmp_path / "last"), "--episodes", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "point-mass (policy)",
        "pendulum-spin (policy)",
    ]
    assert "of mean length 64" in lines[0] and "of mean length 500" in lines[1]


def test_a_policy_is_evaluated_and_then_planned_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["world_model.units=[16]", "world_model.latent_dim=16", "epochs=2"]
    assert main(["train", *TINY, *words, "--out", str(tmp_path)]) == 0
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path / "last"), "--episodes", "1", "--plan"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["point-mass (policy)", "point-mass (plan)"]


def test_a_run_that_diverges_ends_with_code_1_and_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["train", *TINY, "world_model.dynamics_weight=3e38"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"diverged: (loss|grad)/world_model is (nan|inf) in epoch 1", line)


def test_what_was_trained_on_a_gpu_is_evaluated_without_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *TINY, "--out", str(tmp_path)]) == 0
    # Of a training on a GPU only this word differs.
    config, manifest = tmp_path / "best" / "config.json", tmp_path / "best" / "manifest.json"
    digest = sha256(config)
    config.write_text(config.read_text().replace('"cpu"', '"cuda"'))
    manifest.write_text(manifest.read_text().replace(digest, sha256(config)))
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path / "best"), "--episodes", "1"]) == 0
    assert "over 1 episodes" in capsys.readouterr().out


def test_a_world_model_is_pretrained_and_a_policy_learns_in_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From nothing to a policy by commands alone, as offline experiments go."""
    chunks, data = str(tmp_path / "chunks"), str(tmp_path / "data")
    assert main(["make-dataset", chunks, "--task", "pendulum-spin", "--episodes", "2"]) == 0
    assert main(["convert-dataset", chunks, "--out", data]) == 0
    assert "pendulum-spin" in capsys.readouterr().out

    words = ["pendulum-spin", *TINY[1:], f"dataset={data}", "evaluation.episodes=1"]
    model, policy = tmp_path / "model", tmp_path / "policy"
    assert main(["train", *words, "mode=pretrain", "--out", str(model)]) == 0
    assert "return -" in capsys.readouterr().out
    rows = [json.loads(line) for line in (model / "reports.jsonl").read_text().splitlines()]
    assert [(row["epoch"], row["env_steps"]) for row in rows] == [(n, 0) for n in (1, 2, 3, 4)]
    assert [(row["returns"], row["score"]) for row in rows] == [({}, None)] * 4

    assert main(["evaluate", str(model / "best")]) == 2
    error = capsys.readouterr().err
    assert error == f"error: {model / 'best'}: mode pretrain trains no policy to evaluate\n"

    words += ["mode=policy_frozen", f"init_world_model={model / 'best'}", "epochs=2"]
    assert main(["train", *words, "--out", str(policy)]) == 0
    assert main(["evaluate", str(policy / "best"), "--episodes", "1"]) == 0
    assert "pendulum-spin (policy): return mean" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        ["train", "point-mas"],
        ["params", "point-mass", "integrator=heun"],
        ["train", "point-mass+reacher-esy"],
        ["train", "mt30"],
        ["train", "point-mass", "mode=pretrain"],
        ["train", "point-mass", "seed=5", "--seeds", "1,2"],
        ["train", "point-mass", "recompute=true", "--seeds", "1,2"],
        ["train", "point-mass", "mode=pretrain", "dataset=/no/such/folder"],
        ["evaluate", "/no/such/folder"],
        ["convert-dataset", "/no/such/folder", "--out", "/no/such/out"],
        ["make-dataset", "/no/such/out"],
    ],
)
def test_bad_settings_end_with_code_2_and_one_line(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_settings_may_stand_on_either_side_of_an_option(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["params", "--config", "/no/such/file", "point-mass", "seed=5"]) == 2
    assert "/no/such/file" in capsys.readouterr().err
    assert main(["train", "point-mass", "--seeds", "3,4", "seed=5"]) == 2
    assert "seed= and --seeds are given" in capsys.readouterr().err
    for words in (["params", "point-mass", "--sed=5"], ["evaluate", "model", "point-mass"]):
        with pytest.raises(SystemExit, match="2"):
            main(words)
        assert f"unrecognized arguments: {words[-1]}" in capsys.readouterr().err


def test_what_is_no_folder_is_refused_before_anything_is_spent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    for place in ("file", "file/below"):
        assert main(["train", *TINY, "--out", str(tmp_path / place)]) == 2
        assert f"--out {tmp_path / place} is no folder to write to (" in capsys.readouterr().err


def test_evaluating_a_folder_without_a_checkpoint_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(tmp_path)]) == 2
    assert "no checkpoint" in capsys.readouterr().err


def test_settings_are_presets_and_typed_values() -> None:
    config = parse_settings(["point-mass", "laptop", "flow", "optim.wm_lr=1e-4", "seed=3"])
    assert (config.optim.wm_lr, config.seed) == (1e-4, 3)
    with pytest.raises(ConfigError, match="cannot read epochs='\\['"):
        parse_settings(["point-mass", "epochs=["])


def test_several_seeds_are_trained_as_one_program_and_kept_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", *TINY, "--seeds", "3,4", "--out", str(tmp_path)]
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "seed 3: epoch" in told and "seed 4: epoch" in told
    for seed in (3, 4):
        folder = tmp_path / f"seed-{seed}"
        config, _ = checkpoint.load_agent(folder / "best")
        assert config.seed == seed
        rows = [json.loads(line) for line in (folder / "reports.jsonl").read_text().splitlines()]
        assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert main(words) == 0, "there is nothing left to do"
    assert f"{tmp_path / 'seed-3' / 'last'} at epoch 4 is finished" in capsys.readouterr().out
    assert main(["train", *TINY, "--out", str(tmp_path)]) == 2
    assert "holds seeds of --seeds" in capsys.readouterr().err
    assert main(["train", *TINY, "--seeds", "5,6", "--out", str(tmp_path / "seed-3")]) == 2
    assert "holds a single run" in capsys.readouterr().err
    for wrong, said in (
        ("3,3", "names one twice"),
        ("3;4", "needs numbers"),
        ("", "needs numbers"),
    ):
        assert main(["train", *TINY, "--seeds", wrong]) == 2
        assert said in capsys.readouterr().err
