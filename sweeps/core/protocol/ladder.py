"""What a trial that ran out of memory is tried with next. Pure: knows neither Ray nor files.

Three steps, each at most once and in this order: its batches in twice as many parts, half as much
memory again, alone on its device or node. None of them changes what is trained.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from flowpwm.config import RunConfig, wrong_microbatches
from sweeps.core.protocol.requests import MEMORY_STEP_BYTES, Resources

STEPS = ("microbatches", "memory", "alone")
MORE_MEMORY = 1.5
#: Failure classes that are answered by a step.
MEMORY_CLASSES = ("oom_host", "oom_gpu")


@dataclass(frozen=True)
class Step:
    """What the next attempt runs with; `name` is one of STEPS."""

    name: str
    microbatches: int
    resources: Resources

    def to_dict(self) -> dict[str, Any]:
        """For the `requeued` event."""
        return {"step": self.name, "microbatches": self.microbatches} | self.resources.to_dict()


def next_step(
    cause: str,
    taken: Collection[str],
    config: RunConfig,
    resources: Resources,
    node_memory_bytes: int,
) -> Step | None:
    """The next step of a trial that failed with `cause`, None where it has to give up.

    `taken` are the steps that it was tried with already, `node_memory_bytes` is what the largest
    node has for trials (0: not known, and then memory is not raised).
    """
    last = max((STEPS.index(name) for name in taken if name in STEPS), default=-1)
    possible = _possible(cause, config, resources, node_memory_bytes)
    return next((step for step in possible if STEPS.index(step.name) > last), None)


def _possible(
    cause: str, config: RunConfig, resources: Resources, node_memory_bytes: int
) -> Iterator[Step]:
    """Every step that would help, in order. Batches lie on the device, whose memory is meant."""
    parts = config.microbatches
    on_device = cause == "oom_gpu" or config.device == "cpu"
    if on_device and not wrong_microbatches(
        2 * parts, config.wm_batch_size, config.actor_batch_size
    ):
        yield Step("microbatches", 2 * parts, resources)
    if cause == "oom_gpu":
        # Of a GPU's memory a trial may fill its share.
        share = resources.num_gpus
        more = math.floor(10_000 * MORE_MEMORY * share) / 10_000  # Ray counts in ten-thousandths
        if share < more < 1:
            yield Step("memory", parts, dataclasses.replace(resources, num_gpus=more))
        if share < 1:
            yield Step("alone", parts, dataclasses.replace(resources, num_gpus=1.0))
        return
    # In whole steps, so that the rounding of Ray's own sums never makes the request impossible.
    whole = node_memory_bytes // MEMORY_STEP_BYTES * MEMORY_STEP_BYTES
    wanted = math.ceil(MORE_MEMORY * resources.memory_bytes / MEMORY_STEP_BYTES)
    for name, memory in (("memory", min(wanted * MEMORY_STEP_BYTES, whole)), ("alone", whole)):
        if memory > resources.memory_bytes:
            yield Step(name, parts, dataclasses.replace(resources, memory_bytes=memory))


def fitting(resources: Resources, node_memory_bytes: int) -> Resources:
    """The same, on a node that has less than an earlier one had: a request has to be possible."""
    whole = node_memory_bytes // MEMORY_STEP_BYTES * MEMORY_STEP_BYTES
    if not 0 < whole < resources.memory_bytes:
        return resources
    return dataclasses.replace(resources, memory_bytes=whole)


def step_text(step: str, cause: str, microbatches: int, resources: Resources) -> str:
    """A step in words, with its number; any other name is a repetition."""
    if step not in STEPS:
        return "once more"
    memory = f"{resources.memory_bytes / 2**30:.1f} GiB"
    on_gpu = cause == "oom_gpu"
    own = "a GPU" if on_gpu else f"a node ({memory})"
    with_what = {
        "microbatches": f"with microbatches {microbatches}",
        "memory": f"with {resources.num_gpus:g} of a GPU" if on_gpu else f"with {memory}",
        "alone": f"with {own} of its own",
    }
    return f"{with_what[step]} ({STEPS.index(step) + 1}/{len(STEPS)})"
