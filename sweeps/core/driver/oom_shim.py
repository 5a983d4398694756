"""A patch of Ray 2.60: a trial killed by Ray's memory monitor must not end the whole sweep.

`RayActorManager` knows two kinds of errors; `OutOfMemoryError` is neither and ends `Tuner.fit()`
whatever `max_failures` says. Named as the death of an actor, which it is, the trial is retried
from its checkpoint. A test shows that the patch is still needed; without need it goes.
"""

from __future__ import annotations

from typing import Any

from ray.air.execution._internal.actor_manager import RayActorManager
from ray.exceptions import RayActorError, RayError, RayTaskError

_UNPATCHED = RayActorManager._actor_task_failed


def _actor_task_failed(self: Any, tracked_actor_task: Any, exception: Exception) -> None:
    if isinstance(exception, RayError) and not isinstance(exception, (RayActorError, RayTaskError)):
        exception = RayActorError(error_msg=f"{type(exception).__name__}: {exception}")
    _UNPATCHED(self, tracked_actor_task=tracked_actor_task, exception=exception)


def install() -> None:
    """Patch this process; a second call changes nothing."""
    RayActorManager._actor_task_failed = _actor_task_failed


def uninstall() -> None:
    """Take the patch off again."""
    RayActorManager._actor_task_failed = _UNPATCHED
