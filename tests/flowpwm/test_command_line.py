"""`python -m flowpwm`: trains, resumes after a signal, evaluates, counts, and refuses clearly."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flowpwm.__main__ import main, parse_settings
from flowpwm.checks import ConfigError

TINY = [
    *("point-mass", "laptop", "flow", "epochs=4", "num_envs=4", "horizon=8", "report_every=1"),
    *("evaluation.every=2", "evaluation.episodes=2", "wm_batch_size=8", "wm_updates=1"),
    *("wm_warmup_updates=0", "actor_updates=1"),
]


def test_train_then_evaluate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *TINY, "--out", str(tmp_path)]) == 0
    rows = [json.loads(line) for line in (tmp_path / "reports.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [2, 4]
    assert len(rows[0]["returns"]) == 2
    assert main(["evaluate", str(tmp_path / "best"), "--episodes", "3"]) == 0
    assert "over 3 episodes of mean length 64" in capsys.readouterr().out
    assert main(["evaluate", str(tmp_path)]) == 2
    assert f"did you mean {tmp_path / 'best'}?" in capsys.readouterr().err


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


@pytest.mark.parametrize(
    "words", [["train", "point-mas"], ["params", "point-mass", "integrator=heun"]]
)
def test_bad_settings_end_with_code_2_and_one_line(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_evaluating_a_folder_without_a_checkpoint_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(tmp_path)]) == 2
    assert "no checkpoint" in capsys.readouterr().err


def test_settings_are_presets_and_typed_values() -> None:
    config = parse_settings(["point-mass", "laptop", "flow", "optim.wm_lr=1e-4", "seed=3"])
    assert (config.optim.wm_lr, config.seed) == (1e-4, 3)
    with pytest.raises(ConfigError, match="cannot read 'epochs=\\['"):
        parse_settings(["point-mass", "epochs=["])
