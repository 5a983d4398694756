"""The smallest real sweep: point-mass, networks of 32 units, a handful of short trials."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import pyarrow as pa

from sweeps.core.definition import compare
from sweeps.core.definition.command import parse
from sweeps.core.definition.compare import Compare
from sweeps.core.definition.tune import Confirm, Screen, Select, Tune
from sweeps.core.host.processes import alive_after
from sweeps.core.store.events import fold, read_events
from sweeps.core.store.state import SweepState

ROOT = Path(__file__).parents[2]
AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent", "")
#: A sweep with every kind of axis; its numbers are the tests' own.
PLAN = Tune(
    name="flow_tuning",
    tasks=("cartpole-swingup",),
    presets="laptop",
    arms={"mlp": "mlp", "flow": "flow"},
    baseline="mlp",
    space={
        "world_model.integrator": ("euler", "midpoint", "heun", "rk4"),
        "world_model.substeps": (1, 2, 4, 8),
        "wm_batch_size": (64, 128),
        "epochs": (300,),
    },
    screen=Screen(trials=8, seed=0, rungs=(0.25, 0.5), reduction=2.0),
    select=Select(top=2, seeds=(100,)),
    confirm=Confirm(seeds=(1000, 1001, 1002), episodes=30),
)
#: A sweep that compares three arms on two tasks.
COMPARE = Compare(
    name="single_task",
    tasks=("point-mass", "reacher-easy"),
    presets="laptop",
    arms={"mlp": "mlp", "flow": "flow", "coarse": "flow_v1 wm_batch_size=32"},
    baseline="mlp",
    confirm=compare.Confirm(seeds=(42, 123)),
)
RUN = [  # settings of a run
    "num_envs=8",
    "horizon=4",
    "wm_batch_size=16",
    "world_model.latent_dim=32",
    "world_model.units=[32,32]",
    "world_model.encoder_units=[32]",
    "policy.units=[32]",
    "critic.units=[32]",
    "wm_updates=1",
    "wm_warmup_updates=5",
    "critic_iterations=1",
    "critic_minibatches=1",
    "actor_updates=1",
    "actor_batch_size=16",
    "report_every=2",
    "evaluation.every=10",
    "evaluation.episodes=2",
]
EPOCHS = 50
SIZES = ["task=point-mass", *RUN, "confirm.episodes=3"]
# Without rungs every decision depends on scores alone, never on which trial was first.
SWEEP = [
    *SIZES,
    f"epochs={EPOCHS}",
    "integrator=[euler,heun]",
    "substeps=[1,2]",
    "screen.trials=3",
    "screen.rungs=[]",
    "select.top=2",
    "confirm.seeds=2",
]


def environment(**extra: str) -> dict[str, str]:
    """That of a user's shell: the settings of the test process for Ray are not in it.

    But for the niceness of Ray's workers, which would starve beside other tests.
    """
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "TUNE_", "WANDB_"))}
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    ours = {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0"}
    return kept | ours | extra


def asked(*words: str) -> Compare:
    """The comparing sweep, as these words change it."""
    return parse(COMPARE, words)[0]


class Process:
    """A sweep in a process of its own, with its output in a file.

    `before` is put in front of its command, `extra` is added to its environment.
    """

    def __init__(
        self,
        cwd: Path,
        *words: str,
        script: str = "flow_tuning",
        before: Sequence[str] = (),
        **extra: str,
    ) -> None:
        cwd.mkdir(parents=True, exist_ok=True)
        self.cwd = cwd
        self.output = cwd / f"output-{len(list(cwd.glob('output-*')))}.txt"
        with self.output.open("w") as file:
            self.popen = subprocess.Popen(
                [*before, sys.executable, str(ROOT / "sweeps" / f"{script}.py"), *words],
                cwd=cwd,
                env=environment(**extra),
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def text(self) -> str:
        return self.output.read_text()

    def wait_for(self, condition: Callable[[], bool], timeout_s: float = 400) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert self.popen.poll() is None, f"ended with {self.popen.returncode}:\n{self.text}"
            assert time.monotonic() < deadline, self.text
            time.sleep(0.2)

    def send(self, number: signal.Signals) -> float:
        """Signal the driver alone; seconds until it was gone."""
        began = time.monotonic()
        self.popen.send_signal(number)
        self.popen.wait(60)
        return time.monotonic() - began

    def end(self, timeout_s: float = 600) -> int:
        return self.popen.wait(timeout_s)

    def kill(self) -> None:
        """Whatever is left of it, after a test that failed."""
        if self.popen.poll() is None:
            self.popen.kill()
            self.popen.wait(10)


def latest(cwd: Path, script: str = "flow_tuning") -> Path:
    """The run folder of the newest sweep started in `cwd`."""
    return (cwd / "results" / script / "latest").resolve()


def state_of(folder: Path) -> SweepState:
    return fold(read_events(folder))


def science(table: pa.Table, but: re.Pattern[str] | None = None) -> list[dict[str, object]]:
    """The rows without what differs between equal runs (attempts, times, rates, memory)."""
    free = re.compile(r"attempt|time|rate/|memory|_at$|log_path|wall")
    names = [name for name in table.column_names if not free.search(name)]
    names = [name for name in names if but is None or not but.search(name)]
    return (
        table.select(names)
        .sort_by(
            [("trial_id", "ascending"), *([("epoch", "ascending")] if "epoch" in names else [])]
        )
        .to_pylist()
    )


def alive(tree: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still run ten seconds from now.

    But for two agents of Ray's, which look for the head that was killed for a minute.
    """
    left = alive_after(tree, 10)
    if left and all(_name(p) in AGENTS for p in left):
        left = alive_after(left, 80)
    return left


def _name(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.NoSuchProcess:
        return ""
