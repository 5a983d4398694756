"""Which tasks a set of chunk files holds, in the order of their ids, and its widths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flowpwm.checks import did_you_mean
from flowpwm.datasets.errors import DatasetError
from flowpwm.envs import ENVS, MT30
from flowpwm.envs.tasks import task_set

# The 50 Meta-World tasks that follow MT30's in MT80 (Hansen et al., "TD-MPC2", arXiv:2310.16828).
META_WORLD: tuple[str, ...] = (
    "assembly",
    "basketball",
    "button-press-topdown",
    "button-press-topdown-wall",
    "button-press",
    "button-press-wall",
    "coffee-button",
    "coffee-pull",
    "coffee-push",
    "dial-turn",
    "disassemble",
    "door-open",
    "door-close",
    "drawer-close",
    "drawer-open",
    "faucet-open",
    "faucet-close",
    "hammer",
    "handle-press-side",
    "handle-press",
    "handle-pull-side",
    "handle-pull",
    "lever-pull",
    "peg-insert-side",
    "peg-unplug-side",
    "pick-out-of-hole",
    "pick-place",
    "pick-place-wall",
    "plate-slide",
    "plate-slide-side",
    "plate-slide-back",
    "plate-slide-back-side",
    "push-back",
    "push",
    "push-wall",
    "reach",
    "reach-wall",
    "shelf-place",
    "soccer",
    "stick-push",
    "stick-pull",
    "sweep-into",
    "sweep",
    "window-open",
    "window-close",
    "bin-picking",
    "box-close",
    "door-lock",
    "door-unlock",
    "hand-insert",
)


@dataclass(frozen=True)
class Layout:
    """Task ids are indices in `names`; narrower observations and actions are padded with zeros."""

    title: str
    names: tuple[str, ...]
    obs_dim: int
    action_dim: int

    @property
    def known(self) -> tuple[str, ...]:
        """The tasks that have an environment here."""
        return tuple(name for name in self.names if name in ENVS)

    def index(self, task: str) -> int:
        """The id of a task. Raises DatasetError where the set has none of that name."""
        if task not in self.names:
            hint = did_you_mean(task, self.names)
            raise DatasetError(f"{task!r} is no task of {self.title}.{hint}")
        return self.names.index(task)


PUBLISHED: Mapping[str, Layout] = {
    layout.title: layout
    for layout in (Layout("mt30", MT30, 24, 6), Layout("mt80", MT30 + META_WORLD, 39, 6))
}


def layout_of(name: str) -> Layout:
    """The layout of a published set, or of the task set that `name` means; raises DatasetError."""
    if name in PUBLISHED:
        return PUBLISHED[name]
    try:
        tasks = task_set(name)
    except ValueError as error:
        raise DatasetError(f"no task set {name!r}: {error}") from error
    return Layout(name, tasks.names, tasks.obs_dim, tasks.action_dim)
