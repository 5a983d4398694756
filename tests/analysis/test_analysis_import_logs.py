"""Old logs and registries, in the form in which they are found, become a sweep."""

import random
from pathlib import Path

import pytest

import analysis
from analysis.importing.pwm_log import read_pwm_log
from analysis.importing.registry_table import read_registry

OOM = (
    "slurmstepd: error: Detected 1 oom_kill event in StepId=123.batch. "
    "Some of the step tasks have been OOM Killed.\n"
)
MISSING = (
    "Traceback (most recent call last):\n"
    "omegaconf.errors.MissingMandatoryValue: Missing mandatory value: "
    "world_model_config.action_dims\n"
)


def line(n: int, total: int, r: float, end: str = "\n") -> str:
    """A progress line of a single task."""
    return (
        f"[{n}/{total}]  R:{r:.2f}  T:0.0  H:812.0  S:{n * 2048}  FPS:4096  pi_loss:-1.20  "
        f"pi_grad:0.40/0.30  v_loss:3.10  wm_loss:0.90  rew_loss:0.20  dyn_loss:0.10{end}"
    )


def single(*returns: float, total: int = 0) -> str:
    """A log with a line an epoch, and what stands between lines."""
    between = "value iter 3/8, loss = 0.12\rwm iter 2/8, loss = 0.40\r"
    total = total or len(returns)
    return "".join(between + line(n, total, r) for n, r in enumerate(returns, start=1))


def write(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_a_whole_log_is_a_trial_with_its_curve_and_cost(tmp_path: Path) -> None:
    nan = float("nan")
    write(tmp_path, "train_5M_flow_v2_101.out", single(nan, *[100.0 * i for i in range(1, 11)]))
    frames = analysis.import_logs(tmp_path)
    (trial,) = frames.trials.to_dict("records")
    assert (trial["arm"], trial["status"], trial["task"]) == ("flow-v2", "COMPLETED", "dflex_ant")
    assert trial["p_world_model.integrator"] == "heun" and trial["p_world_model.substeps"] == 4
    assert trial["epochs_done"] == trial["epochs"] == 11 and trial["env_steps"] == 11 * 2048
    assert trial["score"] == 800.0  # of the last five: 600 to 1000
    assert trial["wall_time_s"] == pytest.approx(11 * 2048 / 4096)
    assert len(frames.reports) == 11 and len(frames.evals) == 10  # none before an episode ended
    assert frames.reports["loss/world_model"].tolist() == pytest.approx([0.9] * 11)
    assert frames.reports["grad/actor"].iloc[0] == pytest.approx(0.4)
    assert frames.path == tmp_path.resolve() and sorted(tmp_path.iterdir()) == [
        tmp_path / "train_5M_flow_v2_101.out"
    ]


@pytest.mark.parametrize(
    ("end", "status", "kind"),
    [
        (OOM, "FAILED", "oom_host"),
        ("torch.cuda.OutOfMemoryError: CUDA out of memory.\n", "FAILED", "oom_gpu"),
        ("OSError: [Errno 28] No space left on device\n", "FAILED", "storage"),
        (MISSING, "FAILED", "error"),
        ("ValueError: shapes do not fit\n", "FAILED", "error"),
        (
            "slurmstepd: *** JOB 9 CANCELLED AT 2025-12-01T04:00 DUE TO TIME LIMIT ***\n",
            "CANCELLED",
            None,
        ),
        ("", "INTERRUPTED", None),
    ],
)
def test_how_a_log_ends_is_how_its_trial_ended(
    tmp_path: Path, end: str, status: str, kind: str | None
) -> None:
    write(tmp_path, "train_48M_flow_v2_1.out", single(1.0, 2.0, 3.0, total=20) + end)
    (trial,) = analysis.import_logs(tmp_path).trials.to_dict("records")
    assert trial["status"] == status and trial["epochs_done"] == 3
    assert (trial["failure_class"] if kind else None) == kind


def test_runs_that_peaked_and_fell_are_flagged_collapsed(tmp_path: Path) -> None:
    peak, final = 1222.15, 29.92  # docs/experiments.md, the 5M baseline
    curve = [peak * i / 50 for i in range(1, 51)] + [final] * 50
    write(tmp_path, "train_5M_baseline_7.out", single(*curve))
    steady = [1131.74 * min(1.0, i / 60) for i in range(1, 101)]
    write(tmp_path, "train_5M_flow_v1_8.out", single(*steady))
    table = analysis.summarize(analysis.import_logs(tmp_path)).set_index("arm")
    assert table.loc["mlp", "collapsed"] == 1 and table.loc["flow-v1", "collapsed"] == 0
    assert table.loc["mlp", "est"] == pytest.approx(final)


def test_what_is_cut_or_interleaved_is_counted_and_never_guessed(tmp_path: Path) -> None:
    whole = line(1, 9, 5.0) + line(2, 9, 6.0)
    mixed = line(3, 9, 7.0)[:40] + line(4, 9, 8.0)  # two processes in one line
    path = write(tmp_path, "train_5M_baseline_3.out", whole + mixed + line(5, 9, 9.0, end="")[:-3])
    log = read_pwm_log(path)
    assert sorted(log.attempts[0]) == [1, 2]
    assert "2 progress lines could not be read" in log.remarks


def test_bytes_that_are_no_text_cost_nothing_else(tmp_path: Path) -> None:
    raw = b"\xff\xfe gestartet f\xfcr Robert\n" + single(1.0, 2.0).encode() + b"\x80\x81"
    log = read_pwm_log(write(tmp_path, "train_5M_baseline_3.out", raw))
    assert sorted(log.attempts[0]) == [1, 2] and "holds bytes that are no text" in log.remarks


def test_a_log_that_begins_again_is_another_attempt(tmp_path: Path) -> None:
    text = single(1.0, 2.0, 3.0, total=4) + OOM + single(10.0, 20.0, 30.0, 40.0)
    write(tmp_path, "train_5M_baseline_3.out", text)
    frames = analysis.import_logs(tmp_path)
    (trial,) = frames.trials.to_dict("records")
    assert trial["attempt"] == 2 and trial["status"] == "COMPLETED" and trial["score"] == 25.0
    assert frames.reports["train/episode_return"].tolist() == [10.0, 20.0, 30.0, 40.0]
    assert any("reached its end and yet says" in text for text in analysis.contradictions(frames))


def test_logs_of_several_tasks_have_deterministic_evaluations(tmp_path: Path) -> None:
    parts = []
    for n in range(100, 1001, 100):
        parts.append(f"[{n}/1000]  AL:-0.500  VL:2.000  WML:0.300\n")
        if n % 200 == 0:
            parts.append(f"R: {n / 10:.2f}\n")
    parts += ["Final reward: 99.50\n", "Final reward with planning: 98.00\n"]
    write(tmp_path, "train_48M_mt_baseline_5.out", "".join(parts))
    frames = analysis.import_logs(tmp_path)
    (trial,) = frames.trials.to_dict("records")
    assert trial["task"] == "mt30" and trial["status"] == "EVALUATED"
    assert frames.evals["return_mean"].tolist() == [20.0, 40.0, 60.0, 80.0, 100.0]
    assert frames.evals["epoch"].tolist() == [200, 400, 600, 800, 1000]
    assert set(frames.evals["protocol"]) == {"10 deterministic episodes"}


REGISTRY = """# Experiments 2024-12-03

| Job ID | Experiment | Status | Final R | Started |
|--------|------------|--------|---------|---------|
| 102 | 48M baseline | **COMPLETED** | 24.57 | 2025-12-02 |
| 104_1 | 5M flow V3 | COMPLETED | 22.87 | 2024-12-02 |
| 104 | 5M flow V3 | FAILED | 978 | |
| 999 | 48M flow rk4 | QUEUED | | |

| Wish | Priority |
|---|---|
| rk4 | high |
"""


def test_a_registry_is_joined_by_job_and_contradictions_are_told(tmp_path: Path) -> None:
    write(tmp_path, "registry.md", REGISTRY)
    write(tmp_path, "train_48M_baseline_102.out", single(*[24.5] * 14_84, total=1500))
    write(tmp_path, "train_5M_flow_v3_104.out", single(*[22.9] * 20))
    frames = analysis.import_logs(tmp_path)
    told = "\n".join(analysis.contradictions(frames))
    assert "the registry says COMPLETED, the log interrupted at epoch 1,484 of 1,500" in told
    assert "the registry says COMPLETED and FAILED of one job" in told
    assert "final scores of 22.87 and 978" in told
    assert "a final score of 978, the log 22.9" in told
    assert "dates of 2024 and 2025" in told
    wished = frames.trials[frames.trials["trial_id"] == "registry-001"]
    assert wished["status"].tolist() == ["PENDING"] and wished["arm"].tolist() == ["flow-rk4"]
    assert len(read_registry(tmp_path / "registry.md")) == 4  # a table of wishes is none of runs


def test_an_import_can_be_kept_and_is_loaded_like_any_sweep(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    write(logs, "train_5M_baseline_1.out", single(*range(1, 30)))
    write(logs, "train_5M_flow_v1_2.out", single(*range(1, 30)))
    out = tmp_path / "results" / "old" / "run"
    frames = analysis.import_logs(logs, out=out)
    assert frames.trials.equals(analysis.load(out).trials)
    assert analysis.report(frames).stat().st_size > 10_000
    assert len(analysis.registry(out)) == 2
    with pytest.raises(analysis.InputError, match="exists; an import is a run folder of its own"):
        analysis.import_logs(logs, out=out)


def test_what_cannot_be_imported_is_said_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(analysis.InputError, match="no such file or folder"):
        analysis.import_logs(tmp_path / "nowhere")
    with pytest.raises(analysis.InputError, match="nothing to import"):
        analysis.import_logs(tmp_path)
    with pytest.raises(analysis.InputError, match="unknown pattern 'dreamer'"):
        analysis.import_logs(tmp_path, pattern="dreamer")
    other = write(tmp_path, "weights.pt", b"\x00")
    with pytest.raises(analysis.InputError, match="not a log"):
        analysis.import_logs(other)
    write(tmp_path, "empty.out", "")
    assert analysis.import_logs(tmp_path / "empty.out").trials["status"].tolist() == ["INTERRUPTED"]


def test_a_damaged_log_never_ends_in_a_traceback(tmp_path: Path) -> None:
    rng = random.Random(0)
    text = (single(*range(1, 40), total=50) + OOM + "R: 5.00\nFinal reward: 3.0\n").encode()
    for number in range(150):
        raw = bytearray(text)
        for _ in range(rng.randint(1, 30)):
            at = rng.randrange(len(raw))
            kind = rng.choice(("cut", "byte", "twice"))
            if kind == "cut":
                del raw[at : at + rng.randint(1, 200)]
            elif kind == "byte":
                raw[at] = rng.randrange(256)
            else:
                raw[at:at] = raw[at : at + rng.randint(1, 200)]
        log = read_pwm_log(write(tmp_path, f"train_5M_baseline_{number}.out", bytes(raw)))
        assert log.status in ("completed", "failed", "cancelled", "interrupted")
