"""Settings of every test process: one thread, and a local Ray that talks to nobody."""

import os
from pathlib import Path
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

import pytest
import torch

torch.set_num_threads(1)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Where several processes run the tests, a file stays in one of them, for its fixtures.

    All files that start Ray stay in one: two of them at a time would starve each other. They take
    longest, so they come first; with them last the other processes would have nothing to do.
    """
    from xdist.scheduler import LoadFileScheduling

    config.option.loadscopereorder = False  # which would sort by numbers of tests

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = Path(nodeid.partition("::")[0])
            return "ray" if _starts_ray(path) else str(path)

    return ByFile(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that start Ray first, else in the order of their names."""
    items.sort(key=lambda item: not _starts_ray(item.path))


def _starts_ray(path: Path) -> bool:
    return "sweep" in path.name
