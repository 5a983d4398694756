"""Results in the forms that others read: CSV, TD-MPC2's curves, rliable's arrays, a model card."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.compare import arm_scores
from analysis.curves import seed_curves
from analysis.frames import Frames
from analysis.load import reads
from analysis.names import check
from analysis.overall import conclusions
from analysis.summarize import summarize
from analysis.verdict import interval, number


@reads
def export(
    frames: Frames, out: str | Path, *, formats: Collection[str] | None = None
) -> list[Path]:
    """Write the results to the folder `out` and return the files, all of FORMATS by default.

    csv: trials, evaluations, reports and the summary as `<name>.csv`; returns of episodes as JSON.
    tdmpc2: `tdmpc2/<label>/<task>.csv` with step, reward, seed, as TD-MPC2 keeps its results.
    rliable: `scores.npz`, for each label an array [runs, tasks] of final scores of the seeds that
    have all tasks, beside `tasks` (names). card: `README.md` with a `model-index`, for a repository
    of weights on Hugging Face. All but csv are of the confirm stage.

    Raises:
        InputError: an unknown format.
        OSError: `out` cannot be written.
    """
    formats = [formats] if isinstance(formats, str) else formats
    names = list(FORMATS) if formats is None else list(formats)
    for name in names:
        check("format", name, FORMATS)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    return [path for name in names for path in FORMATS[name](frames, folder)]


def _csv(frames: Frames, folder: Path) -> list[Path]:
    texts = [None if x is None else json.dumps(list(x)) for x in frames.evals["returns"]]
    evals = frames.evals.assign(returns=pd.Series(texts, index=frames.evals.index))
    tables = {
        "trials": frames.trials,
        "evals": evals,
        "reports": frames.reports,
        "summary": summarize(frames),
    }
    return [_write(table, folder / f"{name}.csv") for name, table in tables.items()]


def _tdmpc2(frames: Frames, folder: Path) -> list[Path]:
    rows = seed_curves(frames)
    paths = []
    for (label, where), group in rows.groupby(["label", "place"], sort=True):
        path = folder / "tdmpc2" / _safe(str(label)) / f"{_safe(str(where))}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        curve = group.rename(columns={"x": "step", "value": "reward"})
        curve = curve.sort_values(["seed", "step"])[["step", "reward", "seed"]]
        paths.append(_write(curve.astype({"step": "int64"}), path))
    return paths


def _rliable(frames: Frames, folder: Path) -> list[Path]:
    scores = arm_scores(frames)
    scores = scores[scores["counts"]]
    if scores.empty:
        return []
    tasks = sorted(scores["place"].unique())
    arrays = {"tasks": np.asarray(tasks)}
    for label, group in scores.groupby("label", sort=True):
        wide = group.pivot_table(index="seed", columns="place", values="value").reindex(
            columns=tasks
        )
        arrays[str(label)] = wide.dropna().to_numpy(float)
    path = folder / "scores.npz"
    np.savez(path, **arrays)  # pyright: ignore[reportArgumentType]
    return [path]


def _card(frames: Frames, folder: Path) -> list[Path]:
    table = summarize(frames)
    table = table[(table["stage"] == "confirm") & (table["n"] > 0)]
    lines = ["---", "library_name: flowpwm", "tags:", "- reinforcement-learning", "model-index:"]
    for arm, group in table.groupby("arm", sort=True):
        lines += [f"- name: {json.dumps(str(arm))}", "  results:"]
        for row in group.to_dict("records"):
            lines += [
                "  - task:",
                "      type: reinforcement-learning",
                "    dataset:",
                f"      name: {json.dumps(row['task'])}",
                f"      type: {json.dumps(row['task'])}",
                "    metrics:",
                "    - type: mean_reward",
                f"      value: {json.dumps(_with_spread(row))}",
                f"      name: {json.dumps('mean over ' + str(row['n']) + ' seeds')}",
            ]
    lines += ["---", "", f"# {frames.name}", "", *(f"{text}\n" for text in conclusions(frames))]
    lines += ["| task | arm | score | 95 % interval | n | method |", "|---|---|---|---|---|---|"]
    for row in table.to_dict("records"):
        bounds = interval(row["lo"], row["hi"], sign=False) or "–"
        cells = (row["task"], row["arm"], number(row["est"]), bounds, row["n"], row["method"])
        lines.append(f"| {' | '.join(str(cell) for cell in cells)} |")
    path = folder / "README.md"
    path.write_text("\n".join([*lines, ""]), encoding="utf-8")
    return [path]


def _with_spread(row: Mapping[Any, float]) -> str:
    """As model cards say it: the mean and the standard deviation over seeds."""
    spread = row["sd"]
    return f"{row['est']:.2f} +/- {spread:.2f}" if not pd.isna(spread) else f"{row['est']:.2f}"


def _write(table: pd.DataFrame, path: Path) -> Path:
    table.to_csv(path, index=False)
    return path


def _safe(name: str) -> str:
    """A name that is one part of a path."""
    return "".join(c if c.isalnum() or c in "._=-" else "-" for c in name).strip(".") or "_"


FORMATS: Mapping[str, Callable[[Frames, Path], list[Path]]] = {
    "csv": _csv,
    "tdmpc2": _tdmpc2,
    "rliable": _rliable,
    "card": _card,
}
