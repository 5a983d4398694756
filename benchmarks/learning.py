"""What sweeps of fixed arms learned: returns with intervals, stability, cost, verdicts.

    python -m benchmarks.learning NAME RESULTS_FOLDER [RESULTS_FOLDER ...] [--against ARM ...]

Reads finished sweeps (`python sweeps/single_task.py ...`), prints Markdown tables, and writes
benchmarks/results/learning_<NAME>.json. Returns are means of the last 5 evaluations of 10 episodes
each, then over seeds, with the 95 % t interval; stability is the worst seed's final over its peak,
both smoothed over 5 evaluations; minutes are CPU time. `--against` adds the comparisons with
further baselines, such as the MLP trained with flow's FLOPs.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import pandas as pd

import analysis
from analysis.compare import arm_scores
from analysis.frames import Frames
from analysis.stats import mean_interval
from benchmarks.record import provenance, write

# TD-MPC2's returns near 1 M environment steps, three seeds: nicklashansen/tdmpc2@e9f5932, results/.
PUBLISHED = {
    "cartpole-swingup": 875.9,
    "pendulum-swingup": 819.4,
    "reacher-easy": 982.7,
    "walker-stand": 990.6,
    "walker-walk": 979.7,
    "cheetah-run": 844.4,
}
# What a world model is worth besides the return, at the last report.
MODEL_METRICS = (
    *("latent_error_1", "latent_error_h", "latent_movement"),
    *("reward_error", "reward_error_h", "reward_correlation"),
)


def trained(frames: Frames) -> dict[str, Any]:
    """The command and the commit that trained; where its results went says nothing."""
    text = (frames.path / "environment.json").read_text(encoding="utf-8")
    about = json.loads(text)
    words = [word for word in about["command"] if not word.startswith("results=")]
    return {"command": " ".join(words), "trained_at_commit": about["git"]}


def arms(frames: Frames) -> list[dict[str, Any]]:
    """One row an arm and task: return with interval, seeds, stability, environment steps, cost."""
    scores = arm_scores(frames)
    rows = []
    for (task, cell, label), group in scores.groupby(["task", "cell", "label"], sort=True):
        seeds = group[group["counts"]].sort_values("seed")
        interval = mean_interval(seeds["value"].to_numpy(float))
        reports = frames.reports[frames.reports["trial_id"].isin(seeds["trial_id"])]
        last = reports.sort_values("epoch").groupby("trial_id").last()
        rows.append(
            {
                "task": task,
                "cell": cell,
                "arm": label,
                "return": _number(interval.est),
                "lo": _number(interval.lo),
                "hi": _number(interval.hi),
                "n": len(seeds),
                "by_seed": {
                    str(seed): _number(value)
                    for seed, value in zip(seeds["seed"], seeds["value"], strict=True)
                },
                "final_over_peak": _number(seeds["final_peak"].min(), 3),
                "env_steps": int(seeds["env_steps"].max()),
                "cpu_minutes_per_run": _number(last["time/cpu_s"].mean() / 60),
                "tdmpc2_near_1M": PUBLISHED.get(str(task)),
                **{
                    name: _number(last[f"model/{name}"].mean(), 3)
                    for name in MODEL_METRICS
                    if f"model/{name}" in last
                },
            }
        )
    return rows


def verdicts(frames: Frames, against: list[str]) -> list[dict[str, Any]]:
    """Comparisons with the sweep's baseline and with each other one, by task and then together."""
    columns = ["task", "cell", "candidate", "baseline", "est", "lo", "hi", "n", "method"]
    columns += ["p_holm", "margin", "verdict", "reason"]
    tables = []
    for baseline in (None, *against):
        tables.append(analysis.compare(frames, baseline))
        together = analysis.overall(frames, baseline)
        tables.append(together.assign(task="all, share of best"))
    found = [table.reindex(columns=columns) for table in tables if len(table)]
    if not found:  # a single arm
        return []
    whole = pd.concat(found)
    return [
        {name: _number(value, 4) if isinstance(value, float) else value for name, value in row}
        for row in (zip(columns, values, strict=True) for values in whole.itertuples(index=False))
    ]


def _number(value: float, digits: int = 1) -> float | None:
    return None if math.isnan(value) else round(float(value), digits)


def _markdown(rows: list[dict[str, Any]], columns: list[str]) -> str:
    def cell(row: dict[str, Any], name: str) -> str:
        value = row.get(name)
        return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)

    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(cell(row, name) for name in columns) + " |" for row in rows]
    return "\n".join(lines)


def main() -> None:
    """Read every folder, print its tables, write the record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name")
    parser.add_argument("folders", nargs="+")
    parser.add_argument("--against", nargs="+", default=[], metavar="ARM")
    options = parser.parse_args()
    provenance()
    if len({Path(folder).resolve() for folder in options.folders}) < len(options.folders):
        parser.error("a folder is named twice")
    record = []
    for folder in options.folders:
        frames = analysis.load(folder)
        if not frames.finished:
            parser.error(f"{folder}: the sweep has not finished; its means would be of some seeds")
        differences = verdicts(frames, options.against)
        record.append(trained(frames) | {"arms": arms(frames), "verdicts": differences})
        columns = [name for name in record[-1]["arms"][0] if name != "by_seed"]
        print(_markdown(record[-1]["arms"], columns), "\n")
        if differences:
            print(_markdown(differences, list(differences[0])), "\n")
    path = write(f"learning_{options.name}", {"sweeps": record})
    print(path)


if __name__ == "__main__":
    main()
