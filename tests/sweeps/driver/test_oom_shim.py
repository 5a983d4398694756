"""The patch for trials that Ray's memory monitor kills, on Ray's own actor manager."""

from collections.abc import Iterator

import pytest
import ray
from ray.air.execution._internal.actor_manager import RayActorManager
from ray.air.execution._internal.tracked_actor import TrackedActor
from ray.air.execution._internal.tracked_actor_task import TrackedActorTask
from ray.air.execution.resources import ResourceRequest
from ray.air.execution.resources.fixed import FixedResourceManager
from ray.exceptions import OutOfMemoryError, RayActorError

from sweeps.core.driver import oom_shim
from sweeps.core.driver.callback import classify, describe


@pytest.fixture(autouse=True)
def _unpatched_afterwards() -> Iterator[None]:
    oom_shim.uninstall()
    yield
    oom_shim.uninstall()
    ray.shutdown()  # which Ray's actor manager starts by itself


def kill_for_memory() -> list[Exception]:
    """What the trial hears when the memory monitor kills its actor."""
    heard: list[Exception] = []
    resources = FixedResourceManager({"CPU": 1})
    request = ResourceRequest([{"CPU": 1}])
    resources.request_resources(request)
    manager = RayActorManager(resource_manager=resources)
    actor = TrackedActor(1)
    # What the manager notes when an actor starts; to start one would need a cluster.
    acquired = resources.acquire_resources(request)
    assert acquired is not None
    manager._live_actors_to_ray_actors_resources[actor] = (None, acquired)
    task = TrackedActorTask(actor, on_error=lambda _, error: heard.append(error))
    manager._actor_task_failed(tracked_actor_task=task, exception=OutOfMemoryError("node is full"))
    return heard


def test_without_the_patch_a_memory_kill_ends_the_whole_sweep() -> None:
    with pytest.raises(RuntimeError, match="Caught unexpected exception"):
        kill_for_memory()


def test_with_the_patch_it_is_the_death_of_one_actor() -> None:
    oom_shim.install()
    oom_shim.install()
    (error,) = kill_for_memory()
    assert isinstance(error, RayActorError)
    assert classify(error) == "oom_host"
    assert "killed for memory" in describe(error)


def test_a_killed_worker_is_not_taken_for_one_without_memory() -> None:
    # Ray lists the OOM killer among the possible causes of every sudden death.
    error = RayActorError(error_msg="worker died: possible causes (1) SIGKILL by OOM killer")
    assert classify(error) == "killed"
