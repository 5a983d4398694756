"""Plain Ray Tune with its defaults, as `benchmarks.faults` compares it.

    python benchmarks/plain_tune.py FOLDER [--restore] [--hungry]

Four trials that count to STEPS, with a report and a checkpoint at every step. Beside what Tune
keeps, each appends what it did to did.txt beside FOLDER, for the count of steps done twice. With
--hungry the first trial takes 50 MB more at every step.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from ray import tune

TRIALS, STEPS = 4, 150
STEP_S = 0.1
CHECKPOINT_BYTES = 300_000
NAME = "plain"


def count(config: dict[str, Any]) -> None:
    """One trial."""
    done, kept = 0, []
    if (checkpoint := tune.get_checkpoint()) is not None:
        with checkpoint.as_directory() as folder:
            done = json.loads((Path(folder) / "state.json").read_text())["step"]
    for step in range(done + 1, STEPS + 1):
        time.sleep(STEP_S)
        if config["hungry"] and config["index"] == 0:
            kept.append(b"1" * 50_000_000)
        with open(config["did"], "a") as file:
            file.write(f"{config['index']} {step} {os.getpid()}\n")
        with tempfile.TemporaryDirectory() as folder:
            state = {"step": step, "weights": "0" * CHECKPOINT_BYTES}
            (Path(folder) / "state.json").write_text(json.dumps(state))
            checkpoint = tune.Checkpoint.from_directory(folder)
            tune.report({"step": step, "index": config["index"]}, checkpoint=checkpoint)


def main() -> None:
    """Run or restore."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--restore", action="store_true")
    parser.add_argument("--hungry", action="store_true")
    options = parser.parse_args()
    folder = options.folder.resolve()
    if options.restore:
        tuner = tune.Tuner.restore(str(folder / NAME), trainable=count)
    else:
        space = {
            "index": tune.grid_search(list(range(TRIALS))),
            "did": str(folder.parent / "did.txt"),
            "hungry": options.hungry,
        }
        run = tune.RunConfig(name=NAME, storage_path=str(folder))
        tuner = tune.Tuner(count, param_space=space, run_config=run)
    print(f"errors: {tuner.fit().num_errors}")


if __name__ == "__main__":
    main()
