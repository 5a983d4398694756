"""Whatever a user types or writes: one clear answer, quickly, and nothing has been started."""

from __future__ import annotations

import dataclasses
import importlib
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray

import analysis.__main__
import flowpwm.__main__
from sweeps.core.doctor import __main__ as doctor
from sweeps.core.driver.main import main
from sweeps.core.forecast import canary
from sweeps.flow_tuning import SWEEP
from tests.sweeps.check.bad_inputs import NOTES, ROOT, ROWS, SECRET_VALUE, TRAIN, TUNE, Row, page
from tests.sweeps.tiny import environment

#: CPU seconds that an answer may take: 2 are promised, coverage on a busy machine doubles them.
WORK_S = 5.0
MODULES: dict[str, Callable[[list[str]], int]] = {
    "flowpwm": flowpwm.__main__.main,
    "analysis": analysis.__main__.main,
    "sweeps.core.doctor": doctor.main,
}


def run(command: str) -> int:
    """The command in this process; its exit code."""
    _, first, *words = shlex.split(command)
    if first == "-m":
        program, words = MODULES[words[0]], words[1:]
    else:
        script = importlib.import_module(first.removesuffix(".py").replace("/", "."))
        program = lambda given: main(script.SWEEP, given)  # noqa: E731
    try:
        return int(program(words))
    except SystemExit as end:  # argparse
        assert isinstance(end.code, int)
        return end.code


def answer(printed: Any) -> list[str]:
    """The lines that say what is wrong."""
    lines = [*printed.err.splitlines(), *printed.out.splitlines()]
    told = (
        re.match(r"(?:analysis: |(?P<place>.*?)(?:python -m flowpwm.*: )?error: )(?P<what>.*)", x)
        for x in lines
    )
    return [f"{m['place'] or ''}{m['what']}" for m in told if m]


def fits(pattern: str, line: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("…"))), line) is not None


@pytest.fixture(autouse=True)
def nothing_starts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A test fails where anything is started: Ray, a canary, a training, a run folder."""

    def started(*_: object, **__: object) -> None:
        raise AssertionError("something was started")

    monkeypatch.setattr(ray, "init", started)
    monkeypatch.setattr(canary, "measure", started)
    monkeypatch.setattr("flowpwm.commands.train.train", started)
    home = tmp_path / "home"
    (home / ".ray").mkdir(parents=True)
    (home / ".ray" / "auth_token").touch(0o600)
    monkeypatch.setenv("HOME", str(home))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def written(row: Row) -> None:
    for name, content in row.files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(content.encode() if isinstance(content, str) else content)
    if row.prepare is not None:
        row.prepare(Path.cwd())


@pytest.mark.parametrize("row", ROWS, ids=[f"{row.number}-{i}" for i, row in enumerate(ROWS)])
def test_the_answer_to(row: Row, capsys: pytest.CaptureFixture[str]) -> None:
    written(row)
    before = sorted(Path.cwd().rglob("*"))
    began = time.process_time()
    code = run(row.command)
    took = time.process_time() - began
    printed = capsys.readouterr()
    everything = printed.out + printed.err
    assert code == row.code, everything
    assert "Traceback" not in everything
    assert SECRET_VALUE not in everything
    told = answer(printed)
    assert len(told) == len(row.says), told
    for pattern, line in zip(row.says, told, strict=True):
        assert fits(pattern, line), line
    assert row.warns in printed.out
    assert took < WORK_S
    assert sorted(Path.cwd().rglob("*")) == before


def test_every_kind_of_input_has_a_row_or_a_reason() -> None:
    assert {row.number for row in ROWS} | NOTES.keys() == set(range(1, 61))


def test_the_page_shows_the_table() -> None:
    assert (ROOT / "docs" / "bad-input.md").read_text(encoding="utf-8") == page()


@pytest.mark.parametrize(
    "name", ["../x", "a/b", "", "x" * 300, "a\nb", "CON", "-x", "..", "latest"]
)
def test_a_bad_name_of_a_sweep(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(dataclasses.replace(SWEEP, name=name), []) == 2
    (told,) = answer(capsys.readouterr())
    assert told == (
        f"invalid sweep name {name!r}: use 1 to 64 letters, digits, '.', '_' or '-', starting with "
        "a letter or digit, without '..', and no reserved name"
    )
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user for a moment")
def test_a_file_that_may_not_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    Path("sweep.yaml").write_text("horizon: 8\n")
    Path("sweep.yaml").chmod(0)
    os.seteuid(65534)
    try:
        assert run(f"{TUNE} --config sweep.yaml") == 2
    finally:
        os.seteuid(0)
    assert answer(capsys.readouterr()) == ["sweep.yaml: cannot be read (Permission denied)"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "told"),
    [
        (f"{TUNE} horzion=4", "error: unknown key 'horzion'. Did you mean 'horizon'?\n"),
        (f"{TRAIN} --config sweep.yaml", "error: task must be set; known: "),
    ],
)
def test_a_process_of_its_own_says_the_same(command: str, told: str) -> None:
    Path("sweep.yaml").write_text("preset: laptop flow\n")
    _, first, *words = shlex.split(command)
    words = [sys.executable, str(ROOT / first) if first.endswith(".py") else first, *words]
    done = subprocess.run(words, env=environment(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(told)
    assert [path.name for path in Path.cwd().iterdir()] == ["sweep.yaml"]
