"""Every benchmark of speed and memory, one after the other, and their figures in one table.

    python -m benchmarks [NAME ...]

About forty minutes on two cores, which want to be left alone. What is about learning (`learning`,
`world_models`, `offline`, ...), about faults and about whole sweeps takes hours and is run by name:
`python -m benchmarks.learning`; so is `device`, which needs a GPU. Each writes its own
benchmarks/results/<name>.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.record import RESULTS

# What each result says in a line: its path in the JSON file, and a unit.
FIGURES: dict[str, Mapping[str, str]] = {
    "train_step": {
        "rows.5M mlp.world_model.cpu_s": "CPU-s a world-model update, 5M MLP",
        "rows.5M heun 4 matched.world_model.cpu_s": "the same, 5M flow (Heun, 4) by matching alone",
        "rows.5M heun 4 rollout.world_model.cpu_s": "the same, with the rollout in the loss",
        "rows.5M heun 4 matched.actor.cpu_s": "CPU-s an actor update, 5M flow",
        "rows.5M heun 4 matched.epoch_cpu_s": "CPU-s of updates an epoch, 5M flow",
        "rows.5M heun 4 matched.world_model.share_of_peak": "share of the peak of products",
    },
    "buffer": {"write_us": "us to write 128 transitions", "sample_ms": "ms to sample 256 x 17"},
    "env_step": {
        "tasks.cheetah-run.env_steps_per_cpu_s": "steps a CPU-s, cheetah-run",
        "tasks.cheetah-run.speedup": "times dm_control's own loop",
    },
    "memory_growth": {"slope_mb_per_epoch": "MB an epoch"},
    "together": {"seeds.3.cpu_s_per_seed": "CPU-s a seed and epoch, three at once"},
    "growth": {"epochs_per_s_of_trials.2": "epochs a second of two trials"},
    "sweep_overhead": {
        "trainings.sweep_to_bare.wall_s": "wall time of a sweep over that of its trainings"
    },
    "storage": {"bytes_a_row": "bytes a row", "everything.seconds": "s to read 5 million rows"},
    "pages": {"thousand.report_s": "s for a report of 1,020 trials"},
}


def figures(name: str) -> Iterator[tuple[str, Any]]:
    """What its result says, by what it means; nothing where it was never run."""
    path = RESULTS / f"{name}.json"
    if not path.exists():
        return
    result = json.loads(path.read_text(encoding="utf-8"))
    for place, meaning in FIGURES[name].items():
        value: Any = result
        for key in place.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        if value is not None:
            yield meaning, value


def main() -> int:
    """Run them, then print the table; 1 if one of them failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(FIGURES)}")
    parser.add_argument("--show", action="store_true", help="run nothing, show what is there")
    options = parser.parse_args()
    if unknown := set(options.names) - FIGURES.keys():
        parser.error(f"unknown {', '.join(sorted(unknown))}; known: {', '.join(FIGURES)}")
    names = options.names or list(FIGURES)
    failed = []
    for name in [] if options.show else names:
        print(f"== {name}", flush=True)
        command = [sys.executable, "-m", f"benchmarks.{name}"]
        if subprocess.run(command, check=False).returncode:
            failed.append(name)
    for name in names:
        for meaning, value in figures(name):
            print(f"{name:14} {value:12.4g}  {meaning}")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
