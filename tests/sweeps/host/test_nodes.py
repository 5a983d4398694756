"""Which node can run a trial, and whether one, or the head, is gone."""

import dataclasses
import math
import socket
import time
from pathlib import Path

import pytest
import yaml

from sweeps.core.check.sweep import check
from sweeps.core.definition.settings import UsageError
from sweeps.core.driver.main import main
from sweeps.core.host import machine, nodes
from sweeps.core.host.nodes import HeadWatch, Node, node_types, this_machine, unmet
from sweeps.core.protocol.plan import Plan, make_plan
from sweeps.core.protocol.requests import Resources
from tests.sweeps.tiny import PLAN, ROOT, RUN, asked

GIB = 2**30
SWEEP = asked(*RUN, "task=point-mass", "arms=[mlp,flow]", "epochs=100")
SMALL = Node("small", 2, 0, 4 * GIB)
GPUS = Node("gpus", 8, 2, 1 * GIB, ("A100",))


def plan(arm: str, resources: Resources, cell: dict[str, object] | None = None) -> Plan:
    made = make_plan(SWEEP, arm, "confirm", {"task": "point-mass"}, 1000)
    return dataclasses.replace(made, resources=resources, cell=cell or {})


def refused(resources: Resources, *found: Node) -> str:
    (line,) = unmet([plan("flow", resources)], found)
    return line.removeprefix("flow: no node can run a trial: ")


def test_a_node_that_has_everything_is_enough() -> None:
    small, gpu = Resources(2, 0, 3 * GIB), Resources(8, 2, GIB, "A100")
    assert unmet([plan("mlp", small), plan("flow", gpu)], [SMALL, GPUS]) == []


@pytest.mark.parametrize(
    ("resources", "told"),
    [
        (
            Resources(9, 0, GIB),
            "it needs 9 CPUs, 0 GPUs and 1.0 GiB; the largest, gpus, has 8 CPUs, 2 GPUs (A100) "
            "and 1.0 GiB: num_threads or trial.cpus can be 8 at the most",
        ),
        (
            Resources(1, 0, 5 * GIB),
            "it needs 1 CPUs, 0 GPUs and 5.0 GiB; the largest, small, has 2 CPUs, 0 GPUs and "
            "4.0 GiB: trial.memory can be 4.0 at the most, or choose a smaller preset",
        ),
        (
            Resources(1, 3, GIB),
            "it needs 1 CPUs, 3 GPUs and 1.0 GiB; the largest, gpus, has 8 CPUs, 2 GPUs (A100) "
            "and 1.0 GiB: trial.gpus can be 2 at the most",
        ),
        (
            Resources(1, 0.5, GIB, "H100"),
            "it needs 1 CPUs, 0.5 GPUs (H100) and 1.0 GiB; the largest, gpus, has 8 CPUs, 2 GPUs "
            "(A100) and 1.0 GiB: it has no H100",
        ),
        (
            # Each is there, on no node both.
            Resources(1, 1, 3 * GIB),
            "it needs 1 CPUs, 1 GPUs and 3.0 GiB; the largest, gpus, has 8 CPUs, 2 GPUs (A100) "
            "and 1.0 GiB: trial.memory can be 1.0 at the most, or choose a smaller preset",
        ),
    ],
)
def test_what_no_node_can_meet_is_told_with_the_node_that_comes_nearest(
    resources: Resources, told: str
) -> None:
    assert refused(resources, SMALL, GPUS) == told


def test_only_the_arm_that_cannot_run_is_named() -> None:
    fits, not_there = Resources(1, 0, GIB), Resources(1, 0, 99 * GIB)
    (line,) = unmet([plan("mlp", fits), plan("flow", not_there)], [SMALL])
    assert line.startswith("flow: no node can run a trial: it needs")
    cells = [
        plan("flow", fits, {"world_model.substeps": 1}),
        plan("flow", not_there, {"world_model.substeps": 8}),
    ]
    (line,) = unmet([plan("mlp", fits), *cells], [SMALL])
    assert line.startswith("flow (substeps=8): no node")
    (line,) = unmet([plan("mlp", not_there), plan("flow", not_there)], [SMALL])
    assert line.startswith("no node can run a trial")


def test_a_cluster_without_nodes_for_trials_says_so() -> None:
    assert refused(Resources(1, 0, GIB)).endswith("; there is no node for trials")


def test_ray_names_types_of_gpus_by_a_resource() -> None:
    found = Node.of("n", {"CPU": 8.0, "GPU": 1.0, "memory": 5.0, "accelerator_type:H100": 1.0})
    assert found == Node("n", 8, 1, 5, ("H100",))
    assert nodes.label("H100") == "accelerator_type:H100"
    assert Node.of("head", {"CPU": 0.0, "memory": 5.0}).for_trials is False


def test_what_an_autoscaler_may_start_counts(tmp_path: Path) -> None:
    path = tmp_path / "ray_bootstrap_config.yaml"
    assert node_types(path) == []
    path.write_text((ROOT / "cluster.yaml").read_text())
    found = [node for node in node_types(path) if node.for_trials]
    assert {(node.cpus, node.gpus, node.memory_bytes) for node in found} == {(8, 1, math.inf)}
    # Its GPUs have types that only the cloud knows.
    assert unmet([plan("flow", Resources(8, 1, 99 * GIB, "H100"))], found) == []
    (line,) = unmet([plan("flow", Resources(16, 1, GIB))], found)
    assert "a node of type" in line and "trial.cpus can be 8 at the most" in line
    config = yaml.safe_load(path.read_text())
    for kind in config["available_node_types"].values():
        kind["max_workers"] = 0
    path.write_text(yaml.safe_dump(config))
    assert node_types(path) == []
    path.write_text("{")
    assert node_types(path) == []


def test_this_machine_is_a_node_by_what_may_be_used_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "gpu_names", lambda: ["NVIDIA H100 80GB HBM3"] * 2)
    found = this_machine()
    assert (found.gpus, found.accelerators) == (2, ("H100",))
    assert found.cpus == machine.usable_cpus()


def test_a_local_sweep_is_refused_at_once_and_names_the_arm(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fit = ["task=point-mass", "arms=[mlp,flow]", "arms.flow=flow num_threads=1024"]
    assert main(SWEEP, [*fit, "--no-canary"]) == 2
    told = capsys.readouterr().err
    assert "error: flow: no node can run a trial: it needs 1024 CPUs" in told
    assert "this machine, has" in told and "mlp" not in told
    assert not (tmp_path / "results").exists()


def test_more_memory_than_the_machine_has_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(SWEEP, ["trial.memory=100000", "--no-canary"]) == 2
    told = capsys.readouterr().err
    assert "error: no node can run a trial: it needs 1 CPUs, 0 GPUs and 100000.0 GiB" in told


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("trial.gpus=1.5", "trial.gpus must be auto, a share of a GPU such as 0.5, or a whole"),
        ("trial.gpus=0", "got 0"),
        ("trial.gpus=some", "got 'some'"),
        ("trial.accelerator=3", "must be a type of GPU as Ray names it, such as H100, got 3"),
        ("trial.accelerator='a b'", "such as H100, got 'a b'"),
    ],
)
def test_gpus_and_their_types_are_checked(word: str, told: str) -> None:
    with pytest.raises(UsageError, match=told.replace("(", r"\(")):
        asked(word)


def test_a_type_of_gpu_for_runs_on_a_cpu_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        check(asked(*RUN, "task=point-mass", "arms=[mlp,flow]", "trial.accelerator=H100"))
    assert "trial.accelerator=H100 names a GPU, but device is cpu (mlp" in caught.value.lines[0]


def test_the_largest_cells_of_a_tune_sweep_are_weighed_for_both_arms() -> None:
    checked = check(dataclasses.replace(PLAN, max_nfe=4))
    assert {plan.arm for plan in checked.demanding} == {"mlp", "flow"}
    cells = [plan.cell for plan in checked.demanding if plan.arm == "flow"]
    assert all(PLAN.affordable(cell) for cell in cells)
    assert {cell["wm_batch_size"] for cell in cells} == {128}
    integrators = {cell["world_model.integrator"] for cell in cells}
    assert integrators == {"euler", "midpoint", "heun", "rk4"}


def test_a_head_is_gone_when_it_was_away_at_every_look_for_long_enough() -> None:
    def looks(count: int) -> list[bool]:
        time.sleep(0.02)
        return [(watch.is_gone(), time.sleep(0.02))[0] for _ in range(count)]

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        watch = HeadWatch(f"127.0.0.1:{port}", patience_s=0.03, every_s=0.01)
        assert not watch.is_away and looks(4) == [False] * 4
    assert watch.is_away and looks(2) == [False, False]
    with socket.create_server(("127.0.0.1", port)):  # started again
        assert looks(1) == [False]
    assert looks(4) == [False, False, True, True]
    assert watch.loss == f"the loss of Ray's head (127.0.0.1:{port})"
