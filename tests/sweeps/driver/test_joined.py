"""What follows from what the nodes of a cluster told."""

import math
from pathlib import Path

import pytest

from sweeps.core.definition.settings import UsageError
from sweeps.core.driver.joined import refuse, text, with_gpus
from sweeps.core.host import machine, probe
from sweeps.core.host.nodes import Node
from sweeps.core.host.probe import Seen
from sweeps.core.protocol.requests import Sizing
from sweeps.core.store.folder import StorageError

GIB = 2**30
OURS = {"Python": "3.11.7", "torch": "2.11.0", "FlowPWM": "abc"}
H100, A100 = Node("n1", 8, 1, 9 * GIB, ("H100",), "1"), Node("n2", 8, 1, 9 * GIB, ("A100",), "2")


def test_a_node_that_does_not_share_the_results_is_named() -> None:
    seen = [Seen(H100, "", OURS), Seen(A100, "/r is not the same folder there", {})]
    with pytest.raises(StorageError, match=r"^node n2: /r is not the same folder there$"):
        refuse(seen, OURS, anyway=True)


def test_other_versions_are_named_and_refused_unless_they_are_meant() -> None:
    seen = [Seen(H100, "", OURS), Seen(A100, "", OURS | {"torch": "2.12.0", "FlowPWM": "def"})]
    with pytest.raises(UsageError) as caught:
        refuse(seen, OURS, anyway=False)
    told = "node n2: torch 2.12.0 there, 2.11.0 here, FlowPWM def there, abc here"
    assert caught.value.lines[0] == told
    assert "--yes" in caught.value.lines[1]
    assert refuse(seen, OURS, anyway=True) == [told]
    # Without git nobody knows which code it is.
    assert refuse([Seen(A100, "", OURS | {"FlowPWM": ""})], OURS, anyway=False) == []


def test_a_node_that_did_not_answer_is_only_told_of() -> None:
    assert refuse([Seen(H100, "", {})], OURS, anyway=False) == ["node n1 did not answer"]


def test_trials_are_packed_by_the_smallest_gpu_that_they_may_get() -> None:
    seen = [Seen(H100, "", OURS, 80 * GIB), Seen(A100, "", OURS, 40 * GIB)]
    assert with_gpus(Sizing(), seen, "").gpu_bytes == 40 * GIB
    assert with_gpus(Sizing(), seen, "H100").gpu_bytes == 80 * GIB
    assert with_gpus(Sizing(24 * GIB), [Seen(H100, "", OURS)], "") == Sizing(24 * GIB)


def test_nodes_are_told_in_a_line() -> None:
    may_start = Node("a node of type spot", 8, 1, math.inf)
    assert text([H100, H100, may_start]) == (
        "2 x (8 CPUs, 1 GPUs (H100) and 9.0 GiB); "
        "may start: a node of type spot with 8 CPUs, 1 GPUs and inf GiB"
    )
    assert text([may_start]).startswith("none yet; may start")


def test_a_node_on_the_same_folder_answers_and_nothing_is_left(tmp_path: Path) -> None:
    asked = probe._Probe(tmp_path)
    asked.place()
    told = probe.look(str(tmp_path), asked.name, "1")
    asked.watch()
    assert told["storage"] == "" and asked.wrong_answer("1") == ""
    assert told["versions"] == machine.versions()
    asked.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_the_same_name_is_not_the_same_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "SHOWN_S", 0.2)
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    asked = probe._Probe(here)
    asked.place()
    told = probe.look(str(there), asked.name, "1")
    assert told["storage"] == (
        f"{there} is not the same folder there: it lacks what was just written here"
    )
    # A copy that is not written back would show only here.
    (there / asked.name).write_bytes((here / asked.name).read_bytes())
    assert probe.look(str(there), asked.name, "1")["storage"] == ""
    assert asked.wrong_answer("1").endswith("what it wrote is not to be seen")


def test_a_page_of_which_only_a_part_was_there_is_remembered(tmp_path: Path) -> None:
    asked = probe._Probe(tmp_path)
    asked.place()
    path = tmp_path / f"{asked.name}-1"
    path.write_bytes(b"A" * 100)
    asked.watch()
    assert probe.look(str(tmp_path), asked.name, "1")["storage"] == ""
    assert asked.wrong_answer("1").endswith("half a file was seen while it was replaced there")
