"""One page for those who explore: trials in parallel coordinates and their curves, linked.

Needs plotly (`pip install flowpwm[interactive]`); the page holds plotly's script itself and loads
nothing. What is selected in one of its parts is selected in all.
"""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.curves import axis_of, seed_curves
from analysis.figures.style import COLOURS
from analysis.files import place_of, write
from analysis.frames import Frames
from analysis.load import reads
from analysis.names import InputError
from analysis.scores import WINDOW, trial_scores
from sweeps.core.store.schema import PARAM_PREFIX

#: Curves are thinned to so many points each.
POINTS = 200
_SCRIPT = Path(__file__).with_name("interactive.js")
_STYLE = """
body{margin:0;font:15px/1.4 system-ui,sans-serif;color:#111827}main{max-width:75rem;margin:0 auto;
padding:.8rem}h1{font-size:1.25rem;margin:.2rem 0}#told{min-height:1.4em;color:#4b5563}
table{border-collapse:collapse;font-size:.85rem;font-variant-numeric:tabular-nums}
th,td{padding:.2rem .6rem;text-align:left;border-bottom:1px solid #e5e7eb}
tr.chosen{background:#fff7ed}.scroll{overflow:auto;max-height:22rem}button{font:inherit}
"""


@reads
def interactive(
    frames: Frames,
    out: str | Path | None = None,
    *,
    score: str = "return_mean",
    window: int = WINDOW,
) -> Path:
    """Write the page to `out` (default: interactive.html in the sweep's folder), return its path.

    Drag along an axis of the parallel coordinates to select trials; click a curve or a row to
    select one. Scores are single runs: the page is for looking, its numbers decide nothing.

    Raises:
        InputError: plotly is not installed, unknown score, or no trial has been evaluated.
        OSError: `out` cannot be written.
    """
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise InputError(
            "interactive pages need plotly: pip install flowpwm[interactive]"
        ) from error
    path = place_of(frames, out, "interactive.html")
    trials = _trials(frames, score, window)
    if trials.empty:
        raise InputError("nothing to explore: no trial has been evaluated")
    data = {
        "trials": trials["trial_id"].tolist(),
        "words": _words(trials),
        "heads": ["trial", "stage", "arm", "task", "seed", "status", "final"],
        "dimensions": _dimensions(trials),
        "curves": _curves(frames, trials, score),
        "axis": axis_of(frames).replace("_", " "),
        "score": score,
    }
    # "</" in a string would end the script.
    told = json.dumps(data, allow_nan=False).replace("</", "<\\/")
    title = html.escape(f"{frames.name} – explore")
    body = (
        f"<h1>{title}</h1><p>Drag along an axis to select trials; click a curve or a row to select "
        'one. <button id="all" type="button">select all</button></p><p id="told"></p>'
        '<div id="parallel"></div><div id="curves"></div><div class="scroll"><table id="rows">'
        "</table></div>"
    )
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style></head><body><main>{body}</main>"
        f"<script>{get_plotlyjs()}</script>"
        f'<script type="application/json" id="data">{told}</script>'
        f"<script>{_SCRIPT.read_text(encoding='utf-8')}</script></body></html>\n"
    )
    return write(path, page)


def _trials(frames: Frames, score: str, window: int) -> pd.DataFrame:
    """One row a trial that was evaluated, over several tasks with their mean."""
    scores = trial_scores(frames, score=score, window=window)
    scores = scores[scores["final"].notna()]
    means = scores.groupby("trial_id", sort=False)[["final", "peak", "aulc"]].mean()
    params = [name for name in frames.trials.columns if name.startswith(PARAM_PREFIX)]
    about = ["trial_id", "stage", "arm", "task", "seed", "status", "epochs_done", *params]
    return frames.trials[about].merge(means, on="trial_id").reset_index(drop=True)


def _words(trials: pd.DataFrame) -> list[list[str]]:
    names = ("trial_id", "stage", "arm", "task", "seed", "status")
    return [
        [*(str(row[name]) for name in names), f"{row['final']:,.4g}"]
        for row in trials.to_dict("records")
    ]


def _dimensions(trials: pd.DataFrame) -> list[dict[str, Any]]:
    """What varied, then the score: the axes of plotly's parallel coordinates."""
    names = ["stage", "arm", "task", "seed"]
    names += [str(name) for name in trials.columns if str(name).startswith(PARAM_PREFIX)]
    varied = [name for name in names if trials[name].dropna().nunique() > 1]
    return [
        *(_dimension(name.removeprefix(PARAM_PREFIX), trials[name]) for name in varied),
        *(_dimension(name, trials[name], most=0) for name in ("peak", "final")),
    ]


def _dimension(label: str, values: pd.Series, most: int = 8) -> dict[str, Any]:
    """An axis; of up to `most` different values each has its place, whatever it measures."""
    numeric = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    if numeric and values.nunique() > most:
        low, high = float(values.min()), float(values.max())
        # A trial without the value stands at the foot of the axis.
        return {"label": label, "values": values.fillna(low).tolist(), "range": [low, high]}
    texts = [
        f"{v:g}" if numeric and not pd.isna(v) else "–" if pd.isna(v) else str(v) for v in values
    ]
    known = sorted(
        set(texts), key=lambda text: (float(text) if numeric and text != "–" else 0.0, text)
    )
    at = {text: i for i, text in enumerate(known)}
    return {
        "label": label,
        "values": [at[text] for text in texts],
        "range": [-0.2, len(known) - 0.8],
        "tickvals": list(range(len(known))),
        "ticktext": known,
    }


def _curves(frames: Frames, trials: pd.DataFrame, score: str) -> list[dict[str, Any]]:
    """A curve for every trial, in their order; over several tasks the mean at every evaluation."""
    rows = seed_curves(frames, score=score, stage=None).dropna(subset=["x", "value"])
    means = rows.groupby(["trial_id", "x"], sort=True)["value"].mean().reset_index("x")
    arms = {arm: COLOURS[i % len(COLOURS)] for i, arm in enumerate(sorted(trials["arm"].unique()))}
    found = []
    for trial_id, arm in zip(trials["trial_id"], trials["arm"], strict=True):
        curve = means.loc[[trial_id]] if trial_id in means.index else means.iloc[:0]
        picked = np.unique(np.linspace(0, len(curve) - 1, min(POINTS, len(curve))).astype(int))
        thin = curve.iloc[picked] if len(curve) else curve
        found.append(
            {"x": thin["x"].tolist(), "y": thin["value"].tolist(), "arm": arm, "colour": arms[arm]}
        )
    return found
