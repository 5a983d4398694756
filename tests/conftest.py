"""Settings of every test process: one thread, and a local Ray that talks to nobody."""

import os
from typing import Any

# Before anything imports torch or Ray. Two threads on a busy machine make small tensors slower
# by a factor; the Ray settings keep all its sockets on the loopback device and its logs quiet.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
# Ray reads this once a process, when it is first used: later a cluster could not be joined.
os.environ["RAY_AUTH_MODE"] = "token"
os.environ.update(RAY_worker_niceness="0")  # workers would starve beside other tests
os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
os.environ["WANDB_MODE"] = "disabled"
os.environ["MPLBACKEND"] = "Agg"

import jaxtyping
import pytest
import torch

torch.set_num_threads(1)

RAY = "the files that start Ray"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Any:
    """A slow test trains for long: the shapes of what it calls are checked in all others."""
    jaxtyping.config.update("jaxtyping_disable", item.get_closest_marker("slow") is not None)
    return (yield)


def _scope(nodeid: str) -> str:
    """What stays in one process where several run the tests: a file, for its fixtures.

    All files that start Ray are one: two of them at a time would starve each other.
    """
    path = nodeid.partition("::")[0]
    return RAY if "sweep" in path.rpartition("/")[2] else path


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where several processes run the tests, one begins with what takes longest."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: _scope(item.nodeid) != RAY)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _scope(nodeid)

    return ByFile(config, log)
