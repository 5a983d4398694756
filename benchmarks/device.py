"""A large flow on the device it is meant for: speed by phase, and peaks of memory.

    python -m benchmarks.device [--epochs 200] [--set device=cpu epochs=4 ...]

Trains the 48M flow V2 (Heun, four substeps) on the Ant as users run it, without a sweep around it.
The first epoch, which warms up, is timed apart. Writes benchmarks/results/device.json, unless
`--set` makes it another training.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch

from benchmarks.record import provenance, write
from flowpwm.commands.settings import parse_settings
from flowpwm.config import flatten
from flowpwm.report import Report
from flowpwm.state import PHASES, TrainState
from flowpwm.train import train

PRESETS = ("ant", "48M", "ant_runs", "flow_v2")


def seconds(reports: list[Report], name: str) -> float:
    """Of an epoch after the first, by a clock of the reports."""
    first, last = reports[0], reports[-1]
    spent = last.metrics[f"time/{name}_s"] - first.metrics[f"time/{name}_s"]
    return spent / (last.epoch - first.epoch)


def main() -> None:
    """Train, print and keep what it took."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--set", nargs="*", default=[], help="key=value, for another training")
    options = parser.parse_args()
    provenance()
    own = ["device=cuda", f"epochs={options.epochs}", "report_every=1"]
    own += [f"evaluation.every={options.epochs}"]
    replaced = {word.partition("=")[0] for word in options.set}
    words = [word for word in own if word.partition("=")[0] not in replaced]
    config = parse_settings([*PRESETS, *words, *options.set])
    torch.set_num_threads(config.num_threads)
    state = TrainState.start(config)
    reports = list(train(state))
    last = reports[-1].metrics
    result: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if config.device == "cuda" else "cpu",
        "settings": {key: str(value) for key, value in flatten(config).items()},
        "parameters": state.agent.parameter_counts(),
        "epochs": reports[-1].epoch,
        "epochs_per_s": 1 / seconds(reports, "wall"),
        "first_epoch_s": reports[0].metrics["time/wall_s"],
        "wall_s_per_epoch": {phase: seconds(reports, phase) for phase in PHASES},
        "device_s_per_epoch": {phase: seconds(reports, f"{phase}_device") for phase in PHASES},
        "device_peak_bytes": last["memory/device_peak_bytes"],
        "host_peak_bytes": last["memory/host_peak_bytes"],
    }
    for name, value in result.items():
        if name != "settings":
            print(f"{name}: {value}")
    if not options.set:
        print(write("device", result))


if __name__ == "__main__":
    main()
