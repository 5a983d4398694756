"""The search for secrets finds what it is to find; one that found nothing would prove nothing."""

import gzip
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from leaks import hits

WORD = "canary-1f2e3d"
#: Rows in which nothing but compression hides the word.
ROWS = pa.table(
    {
        "text": [f"{WORD}-{i % 7}" for i in range(500)],
        "nested": [[{"key": f"value {i}"}] for i in range(500)],
    }
)


def plain(path: Path) -> None:
    path.write_text(f"key={WORD}")


def compressed(path: Path) -> None:
    path.with_name("log.gz").write_bytes(gzip.compress(WORD.encode() * 100))


def archived(path: Path) -> None:
    with zipfile.ZipFile(path.with_name("weights.pt"), "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data.pkl", WORD * 100)


def column(path: Path) -> None:
    pq.write_table(ROWS.select(["text"]), path.with_name("t.parquet"), compression="zstd")


def nested(path: Path) -> None:
    hidden = pa.table({"nested": [[{"key": f"{WORD} {i}"}] for i in range(500)]})
    pq.write_table(hidden, path.with_name("t.parquet"), compression="zstd")


def stream(path: Path) -> None:
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.OSFile(str(path.with_name("t.arrows")), "wb") as file:
        writer = pa.ipc.new_stream(file, ROWS.schema, options=options)
        writer.write_table(ROWS)  # never closed, as that of a worker that was killed


def name(path: Path) -> None:
    path.with_name(WORD).touch()


@pytest.mark.parametrize("leak", [plain, compressed, archived, column, nested, stream, name])
def test_a_secret_is_found_wherever_it_went(leak, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    pq.write_table(ROWS.select(["nested"]), tmp_path / "a" / "clean.parquet")
    assert hits(WORD, [tmp_path]) == []
    leak(tmp_path / "a" / "b.txt")
    assert len(hits(WORD, [tmp_path])) == 1
