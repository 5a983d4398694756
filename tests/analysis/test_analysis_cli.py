"""python -m analysis: tables, CSV, JSON, files, and one line for what is wrong."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import pandas as pd
import pytest

from analysis.__main__ import main


def run(capsys, *args) -> tuple[int, str, str]:
    code = main([str(arg) for arg in args])
    out = capsys.readouterr()
    return code, out.out, out.err


def test_it_runs_as_a_module(phase3):
    done = subprocess.run(
        [sys.executable, "-m", "analysis", "compare", str(phase3.finish())],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.startswith("flow against mlp: worse on cheetah-run −13.7 [−16.0, −11.5]")
    assert "undetermined" in done.stdout


@pytest.mark.parametrize("command", ["status", "summary", "compare", "curves"])
def test_every_table_comes_as_text_csv_and_json(phase3, capsys, command):
    path = phase3.finish()
    code, text, _ = run(capsys, command, path)
    assert code == 0 and "cheetah-run" in text
    code, csv, _ = run(capsys, command, path, "--csv")
    table = pd.read_csv(io.StringIO(csv))
    assert code == 0 and "cheetah-run" in set(table["task"])
    code, text, _ = run(capsys, command, path, "--json")
    assert code == 0 and len(json.loads(text)) == len(table)


def test_compare_in_json_holds_the_numbers(phase3, capsys):
    _, text, _ = run(capsys, "compare", phase3.finish(), "--json", "--pair", "welch")
    rows = {row["task"]: row for row in json.loads(text)}
    assert rows["walker-stand"]["p_value"] == pytest.approx(0.14, abs=0.005)
    assert rows["reacher-easy"]["seeds_needed"] is None


def test_tables_and_reports_go_to_files(phase3, capsys, tmp_path):
    path = phase3.finish()
    code, out, _ = run(capsys, "compare", path, "--csv", "-o", tmp_path / "c.csv")
    assert code == 0 and out == f"wrote {tmp_path / 'c.csv'}\n"
    assert len(pd.read_csv(tmp_path / "c.csv")) == 3
    code, out, _ = run(capsys, "report", path)
    assert code == 0 and out == f"wrote {path.resolve() / 'report.html'}\n"
    code, out, _ = run(capsys, "report", path, "-o", tmp_path / "r.html", "--pair", "welch")
    assert code == 0 and "Welch t" in (tmp_path / "r.html").read_text()


def test_status_of_a_running_sweep_shows_progress(new_sweep, capsys):
    sweep = new_sweep()
    sweep.trial("flow", 0, [1.0] * 3, status="running", epochs=100, seconds_per_epoch=60.0)
    code, out, _ = run(capsys, "status", sweep.path)
    assert code == 0
    for part in ("RUNNING", "30/100", "30%", "30m00", "1h10", "8.0 GB"):
        assert part in out


@pytest.mark.parametrize("kind", ["tune", "compare"])
@pytest.mark.parametrize("words", [["summary"], ["compare"], ["curves"], ["compare", "--csv"]])
def test_a_sweep_without_results_says_so_and_has_an_exit_code(new_sweep, capsys, kind, words):
    command, *flags = words
    path = new_sweep(spec={"kind": kind, "space": {"epochs": [1, 2]}}).path
    code, out, err = run(capsys, command, path, *flags)
    assert (code, out) == (3, "")
    assert err.startswith(f"analysis: no results yet in {path}: ") and err.count("\n") == 1


def test_the_status_of_an_empty_sweep_is_an_answer(new_sweep, capsys):
    assert run(capsys, "status", new_sweep().path) == (0, "no trials yet\n", "")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["compare", "{}", "--score", "return_men"], "did you mean 'return_mean'"),
        (["compare", "{}", "--baseline", "mpl"], "did you mean 'mlp'"),
        (["compare", "{}", "--at", "soon"], "unknown at 'soon'"),
        (["curves", "{}", "--x", "gpu_hours"], "use x='wall_hours'"),
        (["summary", "{}", "--window", "0"], "window must be at least 1"),
        (["report", "{}", "--score", "x"], "unknown score 'x'"),
        (["status", "{}/nothing"], "no such folder"),
        (["summary", "{}/.."], ""),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(phase3, capsys, args, message):
    path = phase3.finish()
    if args[1] == "{}/..":
        args = ["summary", str(path.parent.parent)]
        message = "not the results folder of a sweep"
    code, out, err = run(capsys, *(arg.format(path) for arg in args))
    assert (code, out) == (2, "")
    assert message in err and err.count("\n") == 1 and err.startswith("analysis: ")


def test_unknown_commands_and_options_are_usage_errors(capsys):
    for args in (["compre", "x"], ["status"], ["compare", "x", "--pair", "maybe"]):
        with pytest.raises(SystemExit) as caught:
            main(args)
        assert caught.value.code == 2
    capsys.readouterr()


def test_a_file_that_cannot_be_written_is_an_error_not_a_traceback(phase3, capsys, tmp_path):
    code, _, err = run(capsys, "report", phase3.finish(), "-o", tmp_path / "no" / "r.html")
    assert code == 1 and err.count("\n") == 1


def test_a_reader_that_leaves_early_is_no_error(phase3):
    command = f"{sys.executable} -m analysis curves {phase3.finish()} --csv | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""
