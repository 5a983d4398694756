"""The canary: a few epochs of one configuration before a sweep, in a process of their own.

`python -m sweeps.core.forecast.canary SECONDS < config.json` trains and says on its last line what
it took. Several run side by side, as the trials will: on a full machine each is slower than alone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence

from flowpwm.config import to_dict
from sweeps.core.forecast.rates import Measured
from sweeps.core.protocol.plan import Plan

#: Skipped: they fill caches, find kernels and run before the buffer holds much.
WARM_EPOCHS = 2
#: Imports, simulators and the start of a GPU, beside the time that is asked for.
START_PATIENCE_S = 90.0
POLL_S = 0.2


def measure(
    plans: Sequence[Plan], seconds: float, should_stop: Callable[[], bool] = lambda: False
) -> tuple[list[Measured], list[str]]:
    """What an epoch of each plan takes while all of them run, and what went wrong.

    Every plan gets `seconds` after its start. One that fails is told of, and not measured. Once
    `should_stop` says so, what still runs is ended.
    """
    with _children(plans, seconds) as children:
        deadline = time.monotonic() + seconds + START_PATIENCE_S
        found: list[Measured] = []
        problems: list[str] = []
        for plan, child in zip(plans, children, strict=True):
            try:
                out, err = _outcome(child, deadline, should_stop)
            except subprocess.TimeoutExpired:
                problems.append(f"canary of {plan.arm}: not done after {seconds:.0f} s of training")
                continue
            if child.returncode:
                last = (err.strip().splitlines() or [f"ended with {child.returncode}"])[-1]
                problems.append(f"canary of {plan.arm} failed: {last}")
                continue
            told = json.loads(out.strip().splitlines()[-1])
            if told["epochs"]:
                del told["epochs"]
                found.append(Measured(plan.config, plan.cost, **told))
        return found, problems


def _outcome(
    child: subprocess.Popen[str], deadline: float, should_stop: Callable[[], bool]
) -> tuple[str, str]:
    """What it printed. Raises TimeoutExpired after the deadline, or when a stop is asked for."""
    while True:
        try:
            return child.communicate(timeout=POLL_S)
        except subprocess.TimeoutExpired:
            if time.monotonic() > deadline or should_stop():
                raise


@contextlib.contextmanager
def _children(plans: Sequence[Plan], seconds: float) -> Iterator[list[subprocess.Popen[str]]]:
    children = [
        subprocess.Popen(
            [sys.executable, "-m", "sweeps.core.forecast.canary", str(seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in plans
    ]
    try:
        for plan, child in zip(plans, children, strict=True):
            assert child.stdin is not None
            with contextlib.suppress(BrokenPipeError):  # it says itself why it ended
                child.stdin.write(json.dumps(to_dict(plan.config)))
                child.stdin.close()
            child.stdin = None
        yield children
    finally:
        for child in children:
            if child.poll() is None:
                child.kill()
            child.wait()


def main(words: Sequence[str]) -> int:
    """Train for the seconds that are asked for and print one line of JSON."""
    import torch

    from flowpwm.compose import from_dict
    from flowpwm.memory import device_peak_bytes, host_peak_bytes
    from flowpwm.state import TrainState
    from flowpwm.train import train

    seconds = float(words[0])
    config = from_dict(json.load(sys.stdin))
    # The first epoch's extra updates are counted by the forecast itself.
    config = dataclasses.replace(config, wm_warmup_updates=0)
    torch.set_num_threads(config.num_threads)
    state = TrainState.start(config)
    clocks: list[dict[str, float]] = []
    began = time.monotonic()

    def enough() -> bool:
        clocks.append(dict(state.seconds))
        return len(clocks) > WARM_EPOCHS + 1 and time.monotonic() - began >= seconds

    for _ in train(state, should_stop=enough):
        pass
    clocks.append(dict(state.seconds))
    evaluation_s = None
    if state.evaluator is not None:
        started = time.perf_counter()
        state.evaluator(state.agent)
        evaluation_s = time.perf_counter() - started
    first, last = clocks[min(WARM_EPOCHS, len(clocks) - 1)], clocks[-1]
    epochs = max(0, state.epoch - WARM_EPOCHS)

    def each(*phases: str) -> float:
        return sum(last[phase] - first[phase] for phase in phases) / max(1, epochs)

    told = {
        "epochs": epochs,
        "environment_s": each("environment"),
        "learning_s": each("world_model", "actor", "critic"),
        "evaluation_s": evaluation_s,
        "host_peak_bytes": host_peak_bytes(),
        "device_peak_bytes": device_peak_bytes(config.device),
    }
    state.close()
    print(json.dumps(told))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
