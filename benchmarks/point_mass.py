"""Does it learn at all? Both world models on the 2-D point-mass, whose largest return is 64.

    python -m benchmarks.point_mass [--epochs 250] [--seeds 0 1]

16 environments; prints and keeps the mean return of the last evaluation of every run (100
episodes from start states that training never saw). Writes benchmarks/results/point_mass.json.
"""

from __future__ import annotations

import argparse
import time

import torch

from benchmarks.record import provenance, write
from flowpwm.compose import compose
from flowpwm.config import to_dict
from flowpwm.state import TrainState
from flowpwm.train import train


def final_return(kind: str, seed: int, epochs: int) -> dict[str, float]:
    """One run of one kind of world model."""
    config = compose(
        f"point-mass laptop {kind}",
        {
            "num_envs": 16,
            "epochs": epochs,
            "seed": seed,
            "report_every": 10,
            "evaluation.every": epochs - epochs % 10,
            "evaluation.episodes": 100,
        },
    )
    began = time.process_time()
    last = list(train(TrainState.start(config)))[-1]
    (evaluation,) = last.evaluations
    return {
        "return_mean": evaluation.mean,
        "return_min": float(evaluation.returns.min()),
        "env_steps": last.env_steps,
        "cpu_s": time.process_time() - began,
    }


def main() -> None:
    """Run every kind and seed, print a table, write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--epochs", type=int, default=250)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    options = parser.parse_args()
    torch.set_num_threads(1)
    provenance()
    results: dict[str, dict[str, dict[str, float]]] = {}
    for kind in ("mlp", "flow"):
        for seed in options.seeds:
            row = final_return(kind, seed, options.epochs)
            results.setdefault(kind, {})[str(seed)] = row
            print(
                f"{kind:5s} seed {seed}: return {row['return_mean']:.1f} "
                f"(worst episode {row['return_min']:.1f}) after {row['env_steps']:,} steps, "
                f"{row['cpu_s']:.0f} CPU-s"
            )
    settings = to_dict(compose("point-mass laptop flow"))
    write("point_mass", {"epochs": options.epochs, "runs": results, "config": settings})


if __name__ == "__main__":
    main()
