"""The nodes of a Ray cluster: what each has, whether it still lives, whether the head does.

Imports Ray only where it is asked, since importing it reads settings that come from elsewhere.
"""

from __future__ import annotations

import dataclasses
import math
import socket
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sweeps.core.host import machine
from sweeps.core.protocol.plan import Plan
from sweeps.core.protocol.requests import Resources

CONNECT_S = 2.0
#: Where it is not known what type a GPU will be.
ANY = "any"
#: On the head of a cluster that `ray up` made: the file that its autoscaler works by.
AUTOSCALER_CONFIG = Path("~/ray_bootstrap_config.yaml")
_LABEL = "accelerator_type:"
#: What Ray itself asks for of such a resource: a node has 1, and any number of trials fit.
LABEL_SHARE = 0.001


@dataclass(frozen=True)
class Node:
    """What one node has for trials; `memory_bytes` may be infinite where it is not known."""

    name: str
    cpus: float
    gpus: float
    memory_bytes: float
    accelerators: tuple[str, ...] = ()
    node_id: str = ""

    @classmethod
    def of(cls, name: str, resources: dict[str, float], node_id: str = "") -> Node:
        """The node with these resources, as Ray names them."""
        labels = [key.removeprefix(_LABEL) for key in resources if key.startswith(_LABEL)]
        return cls(
            name,
            resources.get("CPU", 0),
            resources.get("GPU", 0),
            resources.get("memory", 0),
            tuple(sorted(labels)),
            node_id,
        )

    @property
    def for_trials(self) -> bool:
        """Whether any trial can run there; a head often has no CPUs on purpose."""
        return self.cpus > 0

    def lacks(self, wanted: Resources, seeds: int = 1) -> list[str]:
        """What it has too little of, and what to do about that; for so many seeds in a process."""
        found = []
        if self.cpus < wanted.num_cpus:
            found.append(f"num_threads or trial.cpus can be {self.cpus:g} at the most")
        if self.gpus < wanted.num_gpus:
            most = f"trial.gpus can be {self.gpus:g} at the most" if self.gpus else "it has no GPU"
            found.append(most)
        if self.memory_bytes < wanted.memory_bytes:
            most, less = max(self.memory_bytes, 0) / 2**30 / seeds, "choose a smaller preset"
            less += " or trial.together" if seeds > 1 else ""
            found.append(f"trial.memory can be {most:.1f} at the most, or {less}")
        if wanted.accelerator and not {wanted.accelerator, ANY} & {*self.accelerators}:
            found.append(f"it has no {wanted.accelerator}")
        return found

    def room_for(self, wanted: Resources) -> int:
        """How many trials like this run here at a time."""
        if self.lacks(wanted):
            return 0
        fit = min(self.cpus // wanted.num_cpus, self.memory_bytes // wanted.memory_bytes)
        if wanted.num_gpus:
            # What is left of several GPUs does not add up to a share.
            each = int(1 / wanted.num_gpus) if wanted.num_gpus < 1 else 1 / wanted.num_gpus
            fit = min(fit, self.gpus * each)
        return int(fit)

    def closeness(self, wanted: Resources) -> float:
        """How near it comes to a request, to find the one that is worth naming."""
        pairs = (
            (self.cpus, wanted.num_cpus),
            (self.gpus, wanted.num_gpus),
            (self.memory_bytes, wanted.memory_bytes),
            (wanted.accelerator in self.accelerators, bool(wanted.accelerator)),
        )
        return sum(min(1.0, has / asked) for has, asked in pairs if asked)

    def __str__(self) -> str:
        kind = f" ({', '.join(self.accelerators)})" if self.accelerators else ""
        memory = max(self.memory_bytes, 0) / 2**30
        return f"{self.cpus:g} CPUs, {self.gpus:g} GPUs{kind} and {memory:.1f} GiB"


def unmet(plans: Iterable[Plan], nodes: Sequence[Node]) -> list[str]:
    """A line for every arm of which some trial can run on none of the nodes, now or ever."""
    plans = list(plans)
    stuck = [p for p in plans if all(node.lacks(p.resources) for node in nodes)]
    # The largest last, so that of one arm it is the one that stays.
    stuck.sort(key=lambda plan: plan.resources.memory_bytes)
    if stuck and len(stuck) == len(plans) > 1:
        return [_problem(stuck[-1], nodes)]
    cells, failed = (Counter(plan.arm for plan in group) for group in (plans, stuck))
    return [
        f"{arm if failed[arm] == cells[arm] else worst.name}: {_problem(worst, nodes)}"
        for arm, worst in {plan.arm: plan for plan in stuck}.items()
    ]


def _problem(plan: Plan, nodes: Sequence[Node]) -> str:
    wanted, seeds = plan.resources, len(plan.all)
    needs = Node("", wanted.num_cpus, wanted.num_gpus, wanted.memory_bytes, _one(wanted))
    what = "a trial" if seeds == 1 else f"{seeds} seeds as one program (trial.together)"
    told = f"no node can run {what}: it needs {needs}"
    if not nodes:
        return f"{told}; there is no node for trials"
    nearest = max(nodes, key=lambda node: node.closeness(wanted))
    return f"{told}; the largest, {nearest.name}, has {nearest}: " + "; ".join(
        nearest.lacks(wanted, seeds)
    )


def _one(wanted: Resources) -> tuple[str, ...]:
    return (wanted.accelerator,) if wanted.accelerator else ()


def label(accelerator: str) -> str:
    """The resource by which Ray places a trial on this type of accelerator."""
    return f"{_LABEL}{accelerator}"


def live_nodes() -> list[Node]:
    """The nodes of the cluster that this process is connected to, now: they may come and go."""
    import ray

    return [
        Node.of(_name(node), node["Resources"], node["NodeID"])
        for node in ray.nodes()
        if node["Alive"]
    ]


def nodes_to_be() -> list[Node]:
    """The live nodes, and what an autoscaler may still start."""
    return [*live_nodes(), *node_types(AUTOSCALER_CONFIG.expanduser())]


def most_memory_bytes() -> int:
    """What the largest node is known to have for a trial, now; 0 where that is not known."""
    sizes = (node.memory_bytes for node in nodes_to_be() if node.for_trials)
    # A type of node that an autoscaler may start need not tell.
    return int(max((size for size in sizes if not math.isinf(size)), default=0))


def this_machine() -> Node:
    """This machine as the one node of a local Ray, before that is started."""
    names = machine.gpu_names()
    return Node(
        "this machine",
        machine.usable_cpus(),
        len(names),
        machine.usable_memory_bytes() - machine.HEAD_BYTES,
        tuple(sorted({_accelerator(name) for name in names})),
    )


def _accelerator(gpu_name: str) -> str:
    """The type of a GPU as Ray makes it from the name that its driver tells."""
    from ray._private.accelerators.nvidia_gpu import NvidiaGPUAcceleratorManager

    return NvidiaGPUAcceleratorManager._gpu_name_to_accelerator_type(gpu_name) or gpu_name


def node_types(config: Path) -> list[Node]:
    """What an autoscaler may still start, from the file that `ray up` leaves on the head.

    Empty where there is none. What a type does not tell is as much as is asked for.
    """
    try:
        types = yaml.safe_load(config.read_text(encoding="utf-8"))["available_node_types"]
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return []
    unknown = {"CPU": math.inf, "GPU": math.inf}
    return [
        dataclasses.replace(node, accelerators=node.accelerators or (ANY,))
        for name, kind in types.items()
        if kind.get("max_workers") != 0
        for told in [kind.get("resources") or unknown]
        for node in [Node.of(f"a node of type {name}", {"memory": math.inf} | told)]
    ]


def is_lost(node_id: str) -> bool:
    """Whether a node is gone: Ray says so, or nobody listens any more where its raylet did.

    Ray itself hears of it only after a while, and the workers' deaths come first.
    """
    import ray

    for node in ray.nodes():
        if node["NodeID"] == node_id:
            place = node["NodeManagerAddress"], node["NodeManagerPort"]
            return not node["Alive"] or not answers(*place)
    return False


def is_elsewhere(node_id: str) -> bool:
    """Whether it is another node than the one that this process runs on."""
    import ray

    return ray.get_runtime_context().get_node_id() != node_id


def answers(host: str, port: int) -> bool:
    """Whether somebody listens there."""
    try:
        socket.create_connection((host, port), timeout=CONNECT_S).close()
    except OSError:
        return False
    return True


class HeadWatch:
    """Tells when the head of a cluster has been away for `patience_s`.

    Ray's own patience ends after 60 s, with the end of this process: what is to be saved has to be
    asked for before. A head that is started again in time, as one with its state on disk can be,
    is none that is gone.
    """

    def __init__(self, address: str, patience_s: float = 20.0, every_s: float = 2.0) -> None:
        host, _, port = address.rpartition(":")
        self.address = address
        self._place = host, int(port)
        self._every_s, self._most_misses = every_s, patience_s / every_s
        self._looked, self._misses = time.monotonic(), 0

    @property
    def loss(self) -> str:
        """What its loss is called."""
        return f"the loss of Ray's head ({self.address})"

    @property
    def is_away(self) -> bool:
        """Whether it answers no more, at this moment."""
        return not answers(*self._place)

    def is_gone(self) -> bool:
        """Whether it was away at every look for so long; looks now and then."""
        if time.monotonic() - self._looked >= self._every_s:
            # Looks are counted, not seconds: of a machine that slept nobody looked meanwhile.
            self._misses = self._misses + 1 if self.is_away else 0
            self._looked = time.monotonic()
        return self._misses >= self._most_misses


def _name(node: dict[str, Any]) -> str:
    """A node in words: one machine may be several nodes, and a host name is not always unique."""
    host, address = node["NodeManagerHostname"], node["NodeManagerAddress"]
    return f"{host} ({address}, {node['NodeID'][:8]})"
