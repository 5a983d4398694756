"""The series: rows survive kills, full disks and new metrics."""

import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from sweeps.core.store.series import (
    SeriesWriter,
    iter_series,
    next_attempt,
    read_series,
    series_schema,
)
from sweeps.core.store.streams import stream_batches


def row(epoch: int, **metrics: object) -> dict[str, object]:
    return {"epoch": epoch, "env_steps": 10 * epoch, **metrics}


def test_rows_come_back_with_their_key_and_types(tmp_path: Path) -> None:
    with SeriesWriter(tmp_path, "t", 1, dtypes={"count": "i8"}) as series:
        loss = np.float32(0.25)
        series.report(row(1, **{"loss/actor": loss, "memory/host_bytes": 2**40, "count": 7}))
        series.report(row(2, **{"loss/actor": math.nan, "time/wall_s": 1e-9}))
        series.report(row(3, **{"loss/actor": None}))
    table = read_series(tmp_path, "reports")
    assert table["trial_id"].to_pylist() == ["t"] * 3
    assert table["attempt"].to_pylist() == [1] * 3
    assert table["env_steps"].to_pylist() == [10, 20, 30]
    # NaN was measured, null was not.
    assert table["loss/actor"].null_count == 1
    assert math.isnan(table["loss/actor"][1].as_py())
    assert table["memory/host_bytes"].to_pylist() == [2**40, None, None]
    assert table["time/wall_s"].to_pylist() == [None, 1e-9, None]
    types = {field.name: field.type for field in table.schema}
    assert types["loss/actor"] == pa.float32()
    assert types["time/wall_s"] == pa.float64()
    assert types["memory/host_bytes"] == types["count"] == pa.int64()
    assert not any(pa.types.is_dictionary(kind) for kind in types.values())


def test_a_metric_that_appears_later_starts_a_new_part(tmp_path: Path) -> None:
    with SeriesWriter(tmp_path, "t", 1) as series:
        series.report(row(1, a=1.0))
        series.flush()
        series.report(row(2, a=2.0, b=20.0))
        series.flush()
        series.report(row(3, b=30.0))
    names = sorted(path.name for path in (tmp_path / "series" / "t").iterdir())
    assert names == ["reports-001-000.arrows", "reports-001-001.arrows"]
    table = read_series(tmp_path, "reports")
    assert table["a"].to_pylist() == [1.0, 2.0, None]
    assert table["b"].to_pylist() == [None, 20.0, 30.0]
    assert series_schema(tmp_path, "reports").names[-2:] == ["a", "b"]


def test_rows_are_flushed_by_count_and_by_age(tmp_path: Path) -> None:
    now = [0.0]
    series = SeriesWriter(tmp_path, "t", 1, max_rows=3, max_age_s=60.0, clock=lambda: now[0])
    for epoch, seen in ((1, 0), (2, 0), (3, 3), (4, 3)):
        series.report(row(epoch))
        assert read_series(tmp_path, "reports").num_rows == seen
    now[0] = 60.0
    series.report(row(5))
    assert read_series(tmp_path, "reports").num_rows == 5
    series.close()


def test_an_attempt_has_one_writer(tmp_path: Path) -> None:
    assert next_attempt(tmp_path, "t") == 1
    first = SeriesWriter(tmp_path, "t", 1)
    assert next_attempt(tmp_path, "t") == 2
    with pytest.raises(FileExistsError):
        SeriesWriter(tmp_path, "t", 1)
    first.close()
    assert next_attempt(tmp_path, "t") == 2  # though it wrote no row
    assert next_attempt(tmp_path, "u") == 1
    assert read_series(tmp_path, "reports").num_rows == 0


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        ("reports", {"epoch": 1}, "needs 'env_steps'"),
        ("reports", row(1, loss="high"), "'loss' of reports must be float, got 'high'"),
        ("reports", row(1, x_bytes=math.nan), "'x_bytes' of reports must be int64, got nan"),
        ("evals", row(1, retrun_mean=1.0), r"no column \['retrun_mean'\]; known: trial_id, "),
        ("evals", row(1, returns=3.0), "'returns' of evals must be list"),
    ],
)
def test_a_wrong_row_is_refused_at_once_and_the_next_is_written(
    kind: str, values: dict[str, object], message: str, tmp_path: Path
) -> None:
    with SeriesWriter(tmp_path, "t", 1) as series:
        add = series.report if kind == "reports" else series.evaluation
        with pytest.raises(ValueError, match=message):
            add(values)
        add(row(2))
    assert read_series(tmp_path, kind)["epoch"].to_pylist() == [2]


@pytest.mark.parametrize("trial_id", ["../x", "a/b", "", ".", "a\nb"])
def test_a_trial_id_cannot_leave_the_folder(trial_id: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="trial id must be"):
        SeriesWriter(tmp_path, trial_id, 1)


@pytest.mark.filterwarnings("ignore:.*arrows")
def test_a_stream_cut_at_any_byte_gives_its_whole_batches(tmp_path: Path) -> None:
    series = SeriesWriter(tmp_path, "t", 1)
    path = tmp_path / "series" / "t" / "reports-001-000.arrows"
    ends = []
    for epoch in range(1, 4):
        series.report(row(epoch, loss=float(epoch)))
        series.flush()
        ends.append(path.stat().st_size)
    series.close()
    data = path.read_bytes()
    for size in range(len(data) + 1):
        path.write_bytes(data[:size])
        whole = sum(end <= size for end in ends)
        epochs = [value for batch in stream_batches(path) for value in batch["epoch"].to_pylist()]
        assert epochs == list(range(1, whole + 1)), size
    path.write_bytes(data[: ends[0] + 100])
    with pytest.warns(UserWarning, match=r"reports-001-000\.arrows: cut or damaged"):
        assert sum(batch.num_rows for batch in stream_batches(path)) == 1


@pytest.mark.filterwarnings("ignore:.*arrows")
def test_a_flipped_bit_never_changes_a_row(tmp_path: Path) -> None:
    with SeriesWriter(tmp_path, "t", 1) as series:
        for epoch in range(1, 4):
            series.report(row(epoch, loss=0.1 * epoch))
            series.flush()
    path = tmp_path / "series" / "t" / "reports-001-000.arrows"
    data = path.read_bytes()
    right = read_series(tmp_path, "reports").to_pylist()
    generator = np.random.default_rng(7)
    for _ in range(300):
        bit = int(generator.integers(len(data) * 8))
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        rows = read_series(tmp_path, "reports").to_pylist()
        assert all(row in right for row in rows), bit
        assert set(series_schema(tmp_path, "reports").names) <= set(right[0]), bit


def test_a_full_disk_loses_no_row_and_leaves_whole_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int, data: memoryview) -> int:
        real(fd, data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    real = os.write
    series = SeriesWriter(tmp_path, "t", 1)
    series.report(row(1, a=1.0))
    series.flush()
    for epoch, metric in ((2, "a"), (3, "b"), (4, "b")):  # b needs a new part
        series.report(row(epoch, **{metric: float(epoch)}))
        monkeypatch.setattr("sweeps.core.store.durable.os.write", full)
        with pytest.raises(OSError, match="No space"):
            series.flush()
        with pytest.raises(OSError, match="No space"):
            series.flush()
        monkeypatch.undo()
        assert read_series(tmp_path, "reports").num_rows == epoch - 1
        series.flush()
        assert read_series(tmp_path, "reports").num_rows == epoch
    series.close()
    table = read_series(tmp_path, "reports")
    assert table["epoch"].to_pylist() == [1, 2, 3, 4]
    assert table["b"].to_pylist() == [None, None, 3.0, 4.0]


def test_selections_read_what_was_asked_for(sweep: Path) -> None:
    table = read_series(sweep, "reports", columns=["loss/actor"], trials=["c2-s0"])
    assert table.column_names == ["trial_id", "attempt", "epoch", "env_steps", "loss/actor"]
    assert table["epoch"].to_pylist() == [1, 2, 3, 3, 4, 5]
    assert [trial for trial, _ in iter_series(sweep, "evals")] == ["c1-s0", "c2-s0"]
    with pytest.raises(ValueError, match="unknown kind 'rows'; known: reports, evals"):
        read_series(sweep, "rows")


WRITER = """
import sys
from pathlib import Path
from sweeps.core.store.series import SeriesWriter
series = SeriesWriter(Path(sys.argv[1]), "t", 1)
for epoch in range(1, 10**9):
    series.report({"epoch": epoch, "env_steps": epoch, "loss": epoch / 2})
    if epoch % 10 == 0:
        series.flush()
        print(epoch, flush=True)
"""


@pytest.mark.fault
def test_a_writer_killed_at_work_keeps_every_flushed_row(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    for line in child.stdout:
        if int(line) == 100:
            child.send_signal(signal.SIGKILL)
            break
    flushed = [int(line) for line in child.stdout] or [100]
    child.wait()
    epochs = read_series(tmp_path, "reports")["epoch"].to_pylist()
    assert epochs == list(range(1, len(epochs) + 1))
    assert len(epochs) >= flushed[-1]
