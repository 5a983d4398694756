"""Protocols of a tune sweep against each other, in simulated worlds and over recorded runs.

    python -m benchmarks.protocols [--reps 60] [--recorded FOLDER]

The staged sweep (screen with rungs, select, confirm on fresh seeds), ASHA with Optuna on one seed,
random search on one seed and three seeds of everything, at about equal cost, by
`python -m sweeps.core.simulate`: synthetic worlds with a third, as much and twice as much noise
between seeds as between configurations, and the recorded runs of FOLDER, of which each plays one.
Writes benchmarks/results/protocols.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.record import provenance, write

RHOS = (0.3, 1.0, 2.0)
RECORDED = Path("benchmarks/recorded")
#: One seed to screen, two to select and two to confirm: no recorded run is seen twice.
PROTOCOL = ("screen.rungs=[0.25,0.5]", "select.seeds=2", "confirm.seeds=2")
#: Half of the recorded cells, and so few that a bad choice of them is likely.
SIZES = {
    "recorded": ("screen.trials=24", "select.top=4"),
    "few": ("screen.trials=8", "select.top=3"),
}


def play(reps: int, *words: str) -> dict[str, Any]:
    """What the simulation says; its page goes to the terminal."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "played.json"
        command = [sys.executable, "-m", "sweeps.core.simulate", "--reps", str(reps), *words]
        subprocess.run([*command, "--seed", "1", "--json", str(path)], check=True)
        return json.loads(path.read_text())


def main() -> None:
    """Play all worlds and write the record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--reps", type=int, default=60)
    parser.add_argument("--recorded", type=Path, default=RECORDED)
    options = parser.parse_args()
    provenance()
    found = {f"rho {rho:g}": play(options.reps, "--rho", f"{rho:g}") for rho in RHOS}
    for name, size in SIZES.items():
        found[name] = play(options.reps, "--recorded", str(options.recorded), *PROTOCOL, *size)
    print(write("protocols", found))


if __name__ == "__main__":
    main()
