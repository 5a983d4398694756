"""The tables: the same from Parquet and on the spot, whatever was killed or damaged."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sweeps.core.store import compact as compact_module
from sweeps.core.store.compact import Tables, compact, read_tables
from sweeps.core.store.events import EventLog
from sweeps.core.store.parquet import DamagedTable, footer_crc, read_parquet, write_parquet
from sweeps.core.store.schema import EVALS, REPORTS, TRIALS, param_cell, param_type
from sweeps.core.store.series import SeriesWriter
from sweeps.core.store.views import latest_rows, peak, score

from .conftest import write_trial

KINDS = ("trials", "reports", "evals")


def plain(tables: Tables) -> dict[str, list[dict]]:
    return {kind: getattr(tables, kind).to_pylist() for kind in KINDS}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "tables").iterdir())


def test_a_row_repeated_after_a_resume_is_one_row_of_the_latest_attempt(sweep: Path) -> None:
    tables = read_tables(sweep)
    c2 = [row for row in tables.reports.to_pylist() if row["trial_id"] == "c2-s0"]
    assert [(row["epoch"], row["attempt"]) for row in c2] == [
        (1, 1),
        (2, 1),
        (3, 2),
        (4, 2),
        (5, 2),
    ]
    assert [row["loss/actor"] for row in c2] == [-1.0, -2.0, -3.0, -4.0, -5.0]
    returns = [row["returns"] for row in tables.evals.to_pylist() if row["trial_id"] == "c2-s0"]
    assert returns[1:3] == [[20.0, 22.0], [31.0, 33.0]]


def test_the_row_of_a_trial_is_worked_out_from_events_and_evaluations(sweep: Path) -> None:
    c1, c2 = read_tables(sweep).trials.to_pylist()
    # c1: returns 11, 21, ..., 71; the last five average 51, and no five average more.
    assert (c1["score"], c1["peak"]) == (51.0, 51.0)
    # c2: returns 11, 21, 32, 42, 52 of attempts 1, 1, 2, 2, 2.
    assert c2["score"] == pytest.approx((11 + 21 + 32 + 42 + 52) / 5)
    assert (c1["status"], c1["epochs"], c1["epochs_done"]) == ("COMPLETED", 7, 7)
    assert (c2["status"], c2["attempt"], c2["failure_class"]) == ("FAILED", 2, "oom_host")
    assert (c2["wall_time_s"], c2["host_memory_peak_bytes"]) == (3.5, 900)
    assert (c1["num_cpus"], c1["num_gpus"], c1["memory_request_bytes"]) == (1.0, 0.0, 1000)
    assert (c1["p_world_model.substeps"], c2["p_world_model.substeps"]) == (1, 4)
    assert c1["config_json"] == '{"epochs": 7, "world_model": {"substeps": 1}}'


def test_score_and_peak_are_means_of_five_evaluations() -> None:
    curve = np.array([0.0, 10.0, 10.0, 10.0, 10.0, 10.0, 0.0, 0.0])
    assert score(curve) == (10 + 10 + 10 + 0 + 0) / 5
    assert peak(curve) == 10.0
    assert score(curve[:3]) == peak(curve[:3]) == 20 / 3
    assert score(curve[:0]) is None
    assert peak(curve[:0]) is None
    assert np.isnan(score(np.array([1.0, np.nan])) or 0.0)
    assert peak(np.array([1.0] * 5 + [np.nan])) == 1.0


def test_of_two_rows_of_one_attempt_the_later_counts() -> None:
    table = pa.table(
        {"epoch": [2, 1, 2, 2, 1], "attempt": [1, 1, 2, 1, 1], "x": ["a", "b", "c", "d", "e"]}
    )
    assert latest_rows(table)["x"].to_pylist() == ["e", "c"]
    assert latest_rows(table.slice(0, 0)).num_rows == 0


def test_an_evaluation_of_several_tasks_is_a_row_each_and_repeated_ones_are_sorted_out() -> None:
    rows = [
        *[(2, "walk", 1, "a"), (2, "reach", 1, "b"), (4, "walk", 1, "c")],
        *[(4, "walk", 2, "d"), (4, "reach", 2, "e"), (2, "reach", 1, "f")],
    ]
    names = ("epoch", "task", "attempt", "x")
    table = pa.table(dict(zip(names, zip(*rows, strict=True), strict=True)))
    assert latest_rows(table)["x"].to_pylist() == ["a", "f", "d", "e"]
    assert latest_rows(table.slice(0, 0)).num_rows == 0


def test_the_score_of_a_trial_on_several_tasks_is_their_mean(tmp_path: Path) -> None:
    returns = {  # epoch -> task -> return; the last two epochs were repeated by a second attempt
        1: {"walk": 0.0, "reach": 100.0},
        2: {"walk": 20.0, "reach": 40.0},
        3: {"walk": 10.0, "reach": 30.0},
    }
    with EventLog(tmp_path, "driver") as log:
        log.append("planned", "c1-s0", arm="flow", stage="confirm", task="walk+reach")
        log.append("planned", "c2-s0", arm="flow", stage="confirm", task="walk")
    for attempt, epochs in ((1, (1, 2, 3)), (2, (2, 3))):
        with SeriesWriter(tmp_path, "c1-s0", attempt) as series:
            for epoch in epochs:
                for task, value in returns[epoch].items():
                    series.evaluation(
                        {"epoch": epoch, "env_steps": 0, "task": task}
                        | {"return_mean": value + (0 if attempt == 2 or epoch == 1 else 1e6)}
                    )
    with SeriesWriter(tmp_path, "c2-s0", 1) as series:
        series.evaluation({"epoch": 1, "env_steps": 0, "task": "walk", "return_mean": 7.0})
    for _ in range(2):  # built on the spot, then from Parquet
        tables = read_tables(tmp_path)
        assert [(r["epoch"], r["task"]) for r in tables.evals.to_pylist()[:6]] == [
            (epoch, task) for epoch in returns for task in ("walk", "reach")
        ]
        first, second = tables.trials.to_pylist()
        # Means over the tasks: 50, 30, 20; fewer than five evaluations are all averaged.
        assert first["score"] == pytest.approx(100 / 3)
        assert second["score"] == 7.0
        compact(tmp_path)


def test_parquet_gives_what_building_gives(sweep: Path) -> None:
    built = read_tables(sweep)
    manifest = compact(sweep)
    assert {kind: file.rows for kind, file in manifest.files.items()} == {
        "trials": 2,
        "reports": 7 + 5,
        "evals": 7 + 5,
    }
    shutil.rmtree(sweep / "series")  # so that only Parquet can answer
    shutil.rmtree(sweep / "events")
    read = read_tables(sweep)
    for kind in KINDS:
        assert getattr(read, kind).schema.equals(getattr(built, kind).schema), kind
    assert plain(read) == plain(built)


def test_compaction_twice_is_compaction_once(sweep: Path) -> None:
    assert compact(sweep) == compact(sweep)
    assert names(sweep) == [
        "MANIFEST-000001.json",
        "evals-000001.parquet",
        "reports-000001.parquet",
        "trials-000001.parquet",
    ]


def test_new_rows_make_a_new_generation_and_the_one_before_stays(sweep: Path) -> None:
    compact(sweep)
    for attempt, epochs in ((2, range(8, 9)), (3, range(9, 10))):
        write_trial(sweep, "c1-s0", attempt, epochs)
        assert read_tables(sweep).reports.num_rows == 12 + attempt - 1  # not the stale Parquet
        compact(sweep)
    assert [name[:15] for name in names(sweep) if name.startswith("MANIFEST")] == [
        "MANIFEST-000002",
        "MANIFEST-000003",
    ]
    assert compact(sweep).generation == 3


def test_a_sweep_without_rows_gives_empty_tables_with_their_columns(tmp_path: Path) -> None:
    with EventLog(tmp_path, "driver") as log:
        log.append("sweep_started", spec={})
    for _ in range(2):
        tables = read_tables(tmp_path)
        assert (tables.trials.num_rows, tables.reports.num_rows, tables.evals.num_rows) == (0, 0, 0)
        assert tables.trials.schema.names == TRIALS.names
        assert tables.reports.schema.names == REPORTS.names
        assert tables.evals.schema.names == EVALS.names
        compact(tmp_path)
    assert read_tables(tmp_path / "tables" / "..").trials.num_rows == 0


def test_columns_kinds_and_trials_select_the_same_from_both_sources(sweep: Path) -> None:
    def select() -> Tables:
        return read_tables(sweep, ["loss/actor"], kinds=["reports", "trials"], trials=["c2-s0"])

    built = select()
    compact(sweep)
    read = select()
    assert plain(built) == plain(read)
    assert read.reports.column_names == [*REPORTS.names, "loss/actor"]
    assert read.trials["trial_id"].to_pylist() == ["c2-s0"]
    assert read.evals.num_rows == 0
    assert [value is not None for value in read.trials["score"].to_pylist()] == [True]


def test_wrong_selections_name_the_choices(sweep: Path) -> None:
    for _ in range(2):
        with pytest.raises(ValueError, match=r"\['lss'\]; known: trial_id, .*loss/actor"):
            read_tables(sweep, ["lss"])
        compact(sweep)
    with pytest.raises(ValueError, match=r"unknown tables \['rows'\]; known: trials, "):
        read_tables(sweep, kinds=["rows"])
    with pytest.raises(FileNotFoundError, match="no results folder"):
        read_tables(sweep / "none")


@pytest.mark.fault
@pytest.mark.parametrize("earlier", [False, True], ids=["first", "second"])
@pytest.mark.parametrize("step", range(8))
def test_a_crash_at_any_step_of_compaction_leaves_the_tables_readable(
    step: int, earlier: bool, sweep: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if earlier:
        compact(sweep)
        write_trial(sweep, "c1-s0", 2, range(8, 9))
    right = plain(read_tables(sweep))
    calls = []

    def crashing(real: Callable, after: bool) -> Callable:
        def call(*args: object) -> object:
            calls.append(real)
            if len(calls) - 1 == step // 2 and not after:
                raise KeyboardInterrupt
            result = real(*args)
            if len(calls) - 1 == step // 2 and after:
                raise KeyboardInterrupt
            return result

        return call

    # Three tables and the manifest: before and after each becomes visible.
    for name in ("_write", "_write_manifest"):
        real = getattr(compact_module, name)
        monkeypatch.setattr(compact_module, name, crashing(real, after=step % 2 == 1))
    with pytest.raises(KeyboardInterrupt):
        compact(sweep)
    monkeypatch.undo()
    assert plain(read_tables(sweep)) == right
    compact(sweep)
    assert plain(read_tables(sweep)) == right
    kept = {"MANIFEST", "evals", "reports", "trials"}
    generations = {name.partition("-")[2][:6] for name in names(sweep)}
    assert {name.partition("-")[0] for name in names(sweep)} == kept
    assert len(names(sweep)) == 4 * len(generations)
    assert len(generations) <= 2


def test_a_half_written_parquet_is_left_under_no_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tables():
        yield EVALS.empty_table()
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_parquet(tmp_path / "t.parquet", EVALS, tables())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.fault
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore:damaged table")
def test_no_flipped_bit_of_a_parquet_file_reaches_a_reader(kind: str, sweep: Path) -> None:
    right = plain(read_tables(sweep))
    path = sweep / "tables" / compact(sweep).files[kind].name
    data = path.read_bytes()
    generator = np.random.default_rng(7)
    passed_over = 0
    for bit in generator.integers(len(data) * 8, size=60):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            read_parquet(path)
            intact = footer_crc(path) == footer_crc_of(data, path)
        except DamagedTable:
            intact = False
        passed_over += not intact
        assert plain(read_tables(sweep)) == right, bit
    assert passed_over > 30  # the others hit bytes that no reader looks at


def footer_crc_of(data: bytes, path: Path) -> int:
    whole = path.with_name("whole")
    whole.write_bytes(data)
    crc = footer_crc(whole)
    whole.unlink()
    return crc


@pytest.mark.fault
@pytest.mark.parametrize("size", [0, 7, 0.5, 0.99], ids=str)
def test_a_cut_parquet_file_is_put_aside_and_made_again(size: float, sweep: Path) -> None:
    right = plain(read_tables(sweep))
    path = sweep / "tables" / compact(sweep).files["reports"].name
    data = path.read_bytes()
    path.write_bytes(data[: int(size * len(data) if size < 1 else size)])
    with pytest.warns(UserWarning, match="damaged table passed over"):
        assert plain(read_tables(sweep)) == right
    assert compact(sweep).generation == 2
    assert (sweep / "tables" / f"bad_{path.name}").exists()
    assert plain(read_tables(sweep)) == right


@pytest.mark.fault
def test_without_events_the_generation_before_answers_for_a_damaged_one(sweep: Path) -> None:
    compact(sweep)
    right = plain(read_tables(sweep))
    write_trial(sweep, "c1-s0", 2, range(8, 9))
    files = compact(sweep).files
    shutil.rmtree(sweep / "events")
    assert read_tables(sweep).reports.num_rows == 13
    (sweep / "tables" / files["evals"].name).write_bytes(b"")
    with pytest.warns(UserWarning, match="damaged table passed over"):
        assert plain(read_tables(sweep)) == right
    for path in (sweep / "tables").glob("evals-*"):
        path.unlink()
    with (
        pytest.warns(UserWarning, match="damaged table"),
        pytest.raises(DamagedTable, match="no generation is whole"),
    ):
        read_tables(sweep)


@pytest.mark.fault
@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"manifest": "{}", "crc32": 1}', b"\xff"])
def test_a_damaged_manifest_is_passed_over(damage: bytes, sweep: Path) -> None:
    right = plain(read_tables(sweep))
    compact(sweep)
    (sweep / "tables" / "MANIFEST-000001.json").write_bytes(damage)
    with pytest.warns(UserWarning, match=r"MANIFEST-000001\.json: not a manifest"):
        assert plain(read_tables(sweep)) == right
    with pytest.warns(UserWarning, match="not a manifest"):
        assert compact(sweep).generation == 2


def test_the_files_are_encoded_as_planned(tmp_path: Path) -> None:
    rows = 200_000
    epochs = np.arange(rows)
    schema = pa.schema([*REPORTS, pa.field("loss", pa.float32())])
    table = pa.table(
        {
            "trial_id": np.repeat([f"c{i}-s0" for i in range(20)], rows // 20),
            "attempt": np.ones(rows, np.int32),
            "epoch": (epochs % (rows // 20)).astype(np.int32),
            "env_steps": epochs * 100,
            "loss": np.random.default_rng(0).normal(size=rows).astype(np.float32),
        }
    )
    halves = [table.slice(0, 90_000), table.slice(90_000)]
    assert write_parquet(tmp_path / "t.parquet", schema, halves) == rows
    meta = pq.ParquetFile(tmp_path / "t.parquet").metadata
    assert [meta.row_group(i).num_rows for i in range(meta.num_row_groups)] == [131_072, 68_928]
    columns = {
        meta.row_group(0).column(i).path_in_schema: meta.row_group(0).column(i) for i in range(5)
    }
    assert {column.compression for column in columns.values()} == {"ZSTD"}
    assert "BYTE_STREAM_SPLIT" in columns["loss"].encodings
    assert "RLE_DICTIONARY" in columns["trial_id"].encodings
    assert not any("RLE_DICTIONARY" in columns[name].encodings for name in ("loss", "epoch"))
    assert meta.metadata[b"flowpwm.schema_version"] == b"1"
    # A float of noise keeps its 4 bytes; keys cost next to nothing.
    assert (tmp_path / "t.parquet").stat().st_size / rows < 4.5
    one = read_parquet(tmp_path / "t.parquet", trials=["c7-s0"])
    assert one.num_rows == rows // 20
    assert read_parquet(tmp_path / "t.parquet").equals(table.cast(schema))


@pytest.mark.parametrize(
    ("values", "kind", "cells"),
    [
        ([1, None, 2], pa.int64(), [1, None, 2]),
        ([1, 2.5], pa.float64(), [1, 2.5]),
        ([True, False], pa.bool_(), [True, False]),
        ([True, 2], pa.string(), ["true", "2"]),
        (["heun", 3], pa.string(), ["heun", "3"]),
        ([[256, 256], None], pa.string(), ["[256, 256]", None]),
        ([None], pa.string(), [None]),
    ],
)
def test_a_parameter_column_has_the_narrowest_type(
    values: list, kind: pa.DataType, cells: list
) -> None:
    assert param_type(values) == kind
    assert [param_cell(value, kind) for value in values] == cells
