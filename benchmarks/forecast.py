"""Forecasts beside what runs really take: minutes and memory of varied configurations.

    python -m benchmarks.forecast [--seconds 8] [--at-once 1]

Every configuration trains for a few seconds in a process of its own, as a canary does; what an
epoch took and the peak of resident memory are held against the nominal forecast, and against the
forecast that one canary of each kind of world model has corrected (those two are not counted).
Prints the median and the worst factor between both; writes benchmarks/results/forecast.json.
"""

from __future__ import annotations

import argparse
import math
import statistics
from typing import Any

from benchmarks.record import provenance, write
from flowpwm.compose import compose
from flowpwm.cost import estimate
from sweeps.core.forecast import canary
from sweeps.core.forecast.rates import Correction, Measured, correction
from sweeps.core.protocol.plan import Plan
from sweeps.core.protocol.requests import Resources

#: The first of each kind is the canary.
CONFIGURATIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("cartpole-swingup laptop mlp", {}),
    ("cartpole-swingup laptop flow", {}),
    ("cartpole-swingup laptop flow", {"world_model.substeps": 4}),
    ("cartpole-swingup laptop flow", {"world_model.integrator": "heun"}),
    ("cartpole-swingup laptop flow", {"world_model.integrator": "rk4", "world_model.substeps": 2}),
    ("cartpole-swingup laptop flow", {"world_model.chart": "simplex"}),
    ("cartpole-swingup laptop flow", {"world_model.wm_rollout_weight": 0.0}),
    ("cartpole-swingup laptop flow", {"wm_batch_size": 64}),
    ("cartpole-swingup laptop flow", {"wm_batch_size": 512}),
    ("cartpole-swingup laptop mlp", {"wm_updates": 12, "actor_updates": 1}),
    ("cartpole-swingup laptop mlp", {"horizon": 16, "wm_horizon": 16}),
    ("cartpole-swingup laptop mlp", {"num_envs": 256}),
    ("cartpole-swingup laptop flow flow_policy", {}),
    ("pendulum-swingup laptop swing flow", {}),
    ("pendulum-swingup laptop swing mlp", {}),
    ("reacher-easy laptop turning flow", {}),
    ("walker-stand laptop mlp", {}),
    ("walker-stand laptop flow", {"world_model.substeps": 2}),
    ("cheetah-run laptop flow", {}),
    ("cheetah-run laptop mlp", {"world_model.units": [256, 256], "world_model.latent_dim": 256}),
    ("cheetah-run 1M flow", {"wm_batch_size": 128}),
    ("cheetah-run 1M mlp", {"wm_batch_size": 128}),
    ("cheetah-run 5M mlp", {"wm_batch_size": 64}),
    ("cheetah-run 5M flow_v1", {"wm_batch_size": 64}),
)
UNLIMITED = {"epochs": 100_000, "buffer_capacity": 20_000}


def plan_of(words: str, changes: dict[str, Any]) -> Plan:
    """A trial that is only ever a canary."""
    config = compose(words, UNLIMITED | changes)
    return Plan("", "", words, "", {}, config, Resources(1, 0, 0), estimate(config))


def row(run: Measured, name: str, plain: Correction, found: Correction) -> dict[str, Any]:
    """Seconds of an epoch and bytes, as they were and as they were forecast."""
    took = run.environment_s + run.learning_s

    def said(by: Correction) -> float:
        seconds = by.seconds(run.config, run.cost)
        return seconds.environment + seconds.learning

    return {
        "configuration": name,
        "epoch_s": round(took, 4),
        "nominal": round(took / said(plain), 3),
        "corrected": round(took / said(found), 3),
        "memory": round(run.host_peak_bytes / run.cost.host_memory_bytes, 3),
        "host_peak_mb": round(run.host_peak_bytes / 1e6),
    }


def summary(rows: list[dict[str, Any]], key: str) -> dict[str, float]:
    """By what factor forecasts were off, whichever way."""
    factors = [math.exp(abs(math.log(row[key]))) for row in rows]
    return {"median": round(statistics.median(factors), 3), "worst": round(max(factors), 3)}


def main() -> None:
    """Run every configuration, print a line each and the summary, write the record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=8.0, help="of training, each")
    parser.add_argument("--at-once", type=int, default=1, help="processes side by side")
    options = parser.parse_args()
    provenance()
    plans = [plan_of(*each) for each in CONFIGURATIONS]
    measured: list[Measured] = []
    for first in range(0, len(plans), options.at_once):
        group = plans[first : first + options.at_once]
        found, problems = canary.measure(group, options.seconds)
        if problems:
            raise SystemExit("\n".join(problems))
        measured += found
    found = correction(measured[:2], "two canaries")
    rows = []
    for run, (words, changes) in zip(measured, CONFIGURATIONS, strict=True):
        name = " ".join([words, *(f"{key}={value}" for key, value in changes.items())])
        rows.append(row(run, name, Correction(), found))
        print(rows[-1], flush=True)
    counted = rows[2:]
    result = {key: summary(counted, key) for key in ("nominal", "corrected", "memory")}
    print(result)
    print(write("forecast", {"at_once": options.at_once, "summary": result, "rows": rows}))


if __name__ == "__main__":
    main()
