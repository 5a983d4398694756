"""Learning from data made here: pretrain, policy_frozen, policy_finetune and joint, end to end.

    python -m benchmarks.offline CHECKPOINT [CHECKPOINT ...] --work FOLDER [--seeds 0 1 2]

A dataset of each task comes from the policies of its checkpoints (good and early ones, as in a
replay buffer), noisy and random play; then the commands of the README run as they stand, for both
world models and every seed. Reports returns (20 episodes from unseen starts) beside the data's own,
and what fine-tuning does to the world model: the correlation of decoded with true reward, and the
errors 1 and 16 steps ahead, on sequences of a second dataset that nothing was trained on. Finished
runs in FOLDER are not repeated. Writes benchmarks/results/offline.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks.record import provenance, write
from flowpwm import checkpoint
from flowpwm.config import EvaluationConfig
from flowpwm.datasets import open_dataset, read_manifest
from flowpwm.diagnostics import model_metrics
from flowpwm.evaluate import Evaluator
from flowpwm.modes import MODES

AHEAD = 16  # steps, of the longer errors
KINDS = ("mlp", "flow")
EPISODES = EvaluationConfig(episodes=20, seed=2_000_003)


def command(*words: object) -> None:
    """`python -m flowpwm ...`; what it prints goes to the terminal."""
    subprocess.run([sys.executable, "-m", "flowpwm", *map(str, words)], check=True)


def dataset(sources: list[Path], folder: Path, episodes: int, seed: int) -> Path:
    """A dataset of the one task of all `sources`, made once."""
    made = folder / "data"
    if not made.exists():
        chunks = folder / "chunks"
        words = ("make-dataset", chunks, "--checkpoint", *sources, "--episodes", episodes)
        command(*words, "--noise", 0.6, "--correlation", 0.8, "--seed", seed)
        command("convert-dataset", chunks, "--out", made)
    return made


def last_report(out: Path) -> dict[str, Any]:
    """What a training last said of itself."""
    return json.loads((out / "reports.jsonl").read_text(encoding="utf-8").splitlines()[-1])


def finished(out: Path) -> bool:
    """Whether a training ran to its end; one that was cut off goes on when asked for again."""
    if not (out / "reports.jsonl").exists():
        return False
    config, _ = checkpoint.load_agent(out / "last")
    return last_report(out)["epoch"] == config.epochs


def stage(mode: str, task: str, settings: list[str], out: Path) -> tuple[dict[str, Any], Path]:
    """One training; its return, if it trains a policy, and its cost."""
    if not finished(out):
        command("train", task, *settings, f"mode={mode}", "--out", out)
    row: dict[str, Any] = {"cpu_minutes": round(last_report(out)["time/cpu_s"] / 60, 1)}
    if MODES[mode].trains_policy:
        config, agent = checkpoint.load_agent(out / "last")
        row["return"] = round(Evaluator(config, EPISODES)(agent)[0].mean, 1)
    return row, out / "last"


def model_quality(trained: Path, held_out: Path) -> dict[str, float]:
    """`model_metrics` on sequences of data that the model never saw."""
    config, agent = checkpoint.load_agent(trained)
    data = open_dataset(held_out, config.covered_tasks, config.task_names, "cpu")
    sequences = data.sample(2048, AHEAD, torch.Generator().manual_seed(0))
    metrics = model_metrics(agent.world_model, sequences)
    return {name.removeprefix("model/"): round(value, 4) for name, value in metrics.items()}


def chain(task: str, kind: str, seed: int, settings: list[str], work: Path) -> dict[str, Any]:
    """All four ways of training on the datasets in `work`."""
    data, held_out = work / "train/data", work / "held_out/data"
    base = ["laptop", "offline_laptop", kind, f"seed={seed}", f"dataset={data}", *settings]
    out = work / f"{kind}_{seed}"
    result: dict[str, Any] = {"task": task, "kind": kind, "seed": seed}
    _, pretrained = stage("pretrain", task, base, out / "pretrain")
    result["pretrain"] = model_quality(pretrained, held_out)
    for mode in ("policy_frozen", "policy_finetune", "joint"):
        start = [f"init_world_model={pretrained}"] if mode != "joint" else []
        result[mode], trained = stage(mode, task, [*base, *start], out / mode)
        result[mode] |= model_quality(trained, held_out)
        print(f"{task} {kind} seed {seed} {mode}: {result[mode]}", flush=True)
    return result


def main() -> None:
    """Make the data, run every chain, write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkpoints", type=Path, nargs="+", metavar="CHECKPOINT")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--episodes", type=int, default=400)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--set", nargs="*", default=[], help="key=value, for every training")
    options = parser.parse_args()
    provenance()
    sources: dict[str, list[Path]] = {}
    for folder in options.checkpoints:
        sources.setdefault(checkpoint.load_agent(folder)[0].task, []).append(folder)
    behaviour, chains = {}, []
    for task, played in sources.items():
        work = options.work / task
        made = dataset(played, work / "train", options.episodes, seed=0)
        dataset(played, work / "held_out", max(10, options.episodes // 10), seed=1)
        summary = read_manifest(made).tasks[task]
        behaviour[task] = {
            "policies": len(played),
            "episodes": summary.episodes,
            "return_mean": round(summary.return_mean, 1),
            "return_min": round(summary.return_min, 1),
            "return_max": round(summary.return_max, 1),
        }
        for kind in KINDS:
            for seed in options.seeds:
                chains.append(chain(task, kind, seed, options.set, work))
    print(write("offline", {"settings": options.set, "behaviour": behaviour, "chains": chains}))


if __name__ == "__main__":
    main()
