"""Files in the published form are read without running them, and ours are such files."""

import pickletools
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensordict
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from published_chunks import Arrays, random_episodes, write_archive, write_published
from torch import Tensor

from flowpwm.datasets import DatasetError
from flowpwm.datasets.chunks import Chunk, read_chunk, verify_checksums, write_chunk
from flowpwm.datasets.published import META_WORLD, PUBLISHED, layout_of
from flowpwm.envs import MT30
from flowpwm.envs.tasks import task_set

MT30_LAYOUT = PUBLISHED["mt30"]
# As listed on the page of the published files.
GLOBALS = {
    "torch._utils _rebuild_tensor_v2",
    "torch device",
    "torch FloatStorage",
    "torch IntStorage",
    "torch Size",
    "collections OrderedDict",
    "tensordict.tensordict TensorDict",
    "tensordict.utils _StringOnlyDict",
}


def some(rows: int = 5) -> Arrays:
    return random_episodes([4, 0, 4], {0: (24, 6), 4: (6, 2)}, rows, 24, 6)


def tensors(arrays: Arrays) -> dict[str, Tensor]:
    return {key: torch.from_numpy(array) for key, array in arrays.items()}


def same(chunk: Chunk, arrays: Arrays) -> bool:
    return all(
        np.array_equal(getattr(chunk, key).numpy(), array, equal_nan=True)
        for key, array in arrays.items()
    )


def pickle_of(path: Path) -> bytes:
    with zipfile.ZipFile(path) as archive:
        [name] = [name for name in archive.namelist() if name.endswith("data.pkl")]
        return archive.read(name)


def test_a_file_written_byte_by_byte_in_the_published_form_is_read(tmp_path: Path) -> None:
    arrays = some()
    write_published(tmp_path / "chunk_0.pt", arrays)
    assert same(read_chunk(tmp_path / "chunk_0.pt", MT30_LAYOUT), arrays)


def test_a_file_of_the_present_tensordict_is_read(tmp_path: Path) -> None:
    arrays = some()
    torch.save(tensordict.TensorDict(tensors(arrays), [3, 5]), tmp_path / "new.pt")
    assert b"tensordict._td" in pickle_of(tmp_path / "new.pt")
    assert same(read_chunk(tmp_path / "new.pt", MT30_LAYOUT), arrays)


def test_tensordict_reads_our_file_as_one_of_its_own(tmp_path: Path) -> None:
    arrays = some()
    write_chunk(tmp_path / "chunk_0.pt", **tensors(arrays))
    loaded = torch.load(tmp_path / "chunk_0.pt", weights_only=False)
    assert type(loaded) is tensordict.TensorDict
    assert loaded.batch_size == (3, 5) and set(loaded.keys()) == set(arrays)
    assert all(np.array_equal(loaded[key].numpy(), arrays[key], equal_nan=True) for key in arrays)
    assert loaded["task"].dtype == torch.int32


def test_our_file_names_the_same_classes_as_the_published_ones(tmp_path: Path) -> None:
    write_chunk(tmp_path / "chunk_0.pt", **tensors(some()))
    named = [
        argument
        for opcode, argument, _ in pickletools.genops(pickle_of(tmp_path / "chunk_0.pt"))
        if opcode.name == "GLOBAL"
    ]
    assert set(named) == GLOBALS
    write_published(tmp_path / "by_hand.pt", some())
    by_hand = [
        argument
        for opcode, argument, _ in pickletools.genops(pickle_of(tmp_path / "by_hand.pt"))
        if opcode.name == "GLOBAL"
    ]
    assert set(by_hand) == GLOBALS


@pytest.mark.parametrize("write", [write_archive, write_published])
def test_code_in_a_file_is_refused_and_not_run(tmp_path: Path, write: Callable[..., None]) -> None:
    mark = tmp_path / "was_run"
    source = f"open({str(mark)!r}, 'w').close()"
    call = b"cbuiltins\nexec\nX" + len(source).to_bytes(4, "little") + source.encode() + b"\x85R"
    path = tmp_path / "chunk_0.pt"
    if write is write_archive:
        write_archive(path, b"\x80\x02" + call + b".", {})
    else:
        write_published(path, some(), smuggled=call)
    with pytest.raises(DatasetError, match=r"chunk_0.pt: not a readable chunk file .*exec"):
        read_chunk(path, MT30_LAYOUT)
    assert not mark.exists()
    torch.load(path, weights_only=False)  # the same file does run where it is trusted
    assert mark.exists()


def test_what_may_be_loaded_elsewhere_in_the_program_stays_as_it_was(tmp_path: Path) -> None:
    write_published(tmp_path / "chunk_0.pt", some())
    before = set(torch.serialization.get_safe_globals())
    assert before  # tensordict's
    read_chunk(tmp_path / "chunk_0.pt", MT30_LAYOUT)
    with pytest.raises(DatasetError):
        read_chunk(tmp_path / "absent.pt", MT30_LAYOUT)
    assert set(torch.serialization.get_safe_globals()) == before


def test_reading_needs_no_tensordict(tmp_path: Path) -> None:
    write_published(tmp_path / "chunk_0.pt", some())
    code = (
        "import sys; from pathlib import Path; from flowpwm.datasets.chunks import read_chunk;"
        "from flowpwm.datasets.published import PUBLISHED;"
        f"read_chunk(Path({str(tmp_path / 'chunk_0.pt')!r}), PUBLISHED['mt30']);"
        "print('tensordict' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def without(key: str) -> Callable[[Arrays], Arrays]:
    return lambda arrays: {name: array for name, array in arrays.items() if name != key}


WRONG: dict[str, tuple[Callable[[Arrays], Arrays], str]] = {
    "a missing key": (
        without("reward"),
        r"keys are \['obs', 'action', 'task'\]; expected \['obs', ",
    ),
    "an unknown key": (
        lambda arrays: arrays | {"terminated": arrays["task"]},
        r"keys are .*'terminated'\]; expected \['obs', ",
    ),
    "another type": (
        lambda arrays: arrays | {"obs": arrays["obs"].astype(np.float64)},
        r"obs is float64 \[3, 5, 24\]; expected float32 \[episodes, rows, 24\], as in mt30",
    ),
    "another width": (
        lambda arrays: arrays | {"obs": np.zeros((3, 5, 39), np.float32)},
        r"obs is float32 \[3, 5, 39\]; expected float32 \[episodes, rows, 24\], as in mt30",
    ),
    "another number of episodes": (
        lambda arrays: arrays | {"reward": arrays["reward"][:2].copy()},
        r"reward is float32 \[2, 5\]; expected float32 \[episodes, rows\]",
    ),
    "ids that are no numbers": (
        lambda arrays: arrays | {"task": arrays["reward"]},
        r"task is float32 \[3, 5\]; expected int32 \[episodes, rows\]",
    ),
    "a single row": (
        lambda arrays: {name: array[:, :1].copy() for name, array in arrays.items()},
        r"episodes of 1 rows; expected at least 2",
    ),
}


@pytest.mark.parametrize(("change", "says"), WRONG.values(), ids=WRONG)
def test_another_form_is_one_line_naming_the_file(
    tmp_path: Path, change: Callable[[Arrays], Arrays], says: str
) -> None:
    write_published(tmp_path / "chunk_3.pt", change(some()))
    with pytest.raises(DatasetError, match=r"chunk_3.pt: " + says) as refused:
        read_chunk(tmp_path / "chunk_3.pt", MT30_LAYOUT)
    assert "\n" not in str(refused.value)


def test_the_loaders_own_episode_numbers_are_passed_over(tmp_path: Path) -> None:
    arrays = some()
    write_published(tmp_path / "chunk_0.pt", arrays | {"episode": arrays["task"]})
    assert same(read_chunk(tmp_path / "chunk_0.pt", MT30_LAYOUT), arrays)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not a readable chunk file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "not a readable chunk file"),
        (None, "no such file"),
    ],
)
def test_what_is_no_archive_is_said_so(tmp_path: Path, content: bytes | None, says: str) -> None:
    path = tmp_path / "chunk_0.pt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DatasetError, match=rf"chunk_0.pt: {says}") as refused:
        read_chunk(path, MT30_LAYOUT)
    assert "\n" not in str(refused.value)


def test_other_saved_values_are_named(tmp_path: Path) -> None:
    torch.save({"obs": torch.zeros(2)}, tmp_path / "weights.pt")
    with pytest.raises(DatasetError, match=r"weights.pt: holds a dict; expected a TensorDict"):
        read_chunk(tmp_path / "weights.pt", MT30_LAYOUT)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "chunk_0.pt"
    write_chunk(path, **tensors(some()))
    return path.read_bytes()


@given(data=st.data())
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_damage_to_the_pickle_or_the_end_of_a_file_is_a_dataset_error(
    whole: bytes, tmp_path: Path, data: st.DataObject
) -> None:
    path = tmp_path / "chunk_0.pt"
    if data.draw(st.booleans(), "cut"):
        path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1), "at")])
        with pytest.raises(DatasetError, match=r"chunk_0.pt"):
            read_chunk(path, MT30_LAYOUT)
        return
    damaged = bytearray(whole)
    pickled = pickle_of_bytes(whole)
    for _ in range(data.draw(st.integers(1, 3), "flips")):
        damaged[data.draw(st.sampled_from(pickled), "at")] = data.draw(st.integers(0, 255), "byte")
    path.write_bytes(bytes(damaged))
    try:
        chunk = read_chunk(path, MT30_LAYOUT)
    except DatasetError as error:
        assert "chunk_0.pt" in str(error) and "\n" not in str(error)
    else:
        assert chunk.obs.shape[2] == 24


def pickle_of_bytes(whole: bytes) -> range:
    start = whole.index(b"\x80\x02ctensordict")
    return range(start, whole.index(b"b.", start) + 2)


def test_checksums_find_a_flipped_bit_in_the_data(tmp_path: Path) -> None:
    arrays = some()
    path = tmp_path / "chunk_0.pt"
    write_chunk(path, **tensors(arrays))
    verify_checksums(path)
    damaged = bytearray(path.read_bytes())
    damaged[bytes(damaged).index(arrays["obs"][1].tobytes()) + 5] ^= 1
    path.write_bytes(bytes(damaged))
    with pytest.raises(DatasetError, match=r"chunk_0.pt: damaged, archive/data/0 does not match"):
        verify_checksums(path)
    path.write_bytes(b"not a zip file")
    with pytest.raises(DatasetError, match=r"chunk_0.pt: cannot be read"):
        verify_checksums(path)


def test_the_published_sets_have_the_sizes_of_their_tasks() -> None:
    tasks = task_set("mt30")
    assert (MT30_LAYOUT.names, MT30_LAYOUT.obs_dim, MT30_LAYOUT.action_dim) == (
        tasks.names,
        tasks.obs_dim,
        tasks.action_dim,
    )
    mt80 = PUBLISHED["mt80"]
    assert mt80.names == MT30 + META_WORLD and len(mt80.names) == 80 == len(set(mt80.names))
    assert mt80.index("hand-insert") == 79 and mt80.known == MT30


def test_tasks_of_ones_own_are_a_set_too() -> None:
    layout = layout_of("reacher-easy+point-mass")
    assert (layout.names, layout.obs_dim, layout.action_dim) == (
        ("reacher-easy", "point-mass"),
        6,
        2,
    )
    with pytest.raises(DatasetError, match=r"no task set 'mt3o': unknown task 'mt3o'"):
        layout_of("mt3o")
