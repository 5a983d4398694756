"""Each configuration by itself: those that were confirmed, and those that were tried."""

from __future__ import annotations

import pandas as pd

from analysis import page
from analysis.cells import by_config
from analysis.figures import View
from analysis.summarize import summarize
from analysis.verdict import interval, number
from sweeps.core.store.schema import PARAM_PREFIX


def arms(view: View) -> str:
    """Each arm of the confirm stage by itself."""
    table, at = _summary(view), by_config(view.frames)
    several = any(at.values())
    frame = pd.DataFrame(
        {
            "task": row["task"],
            "arm": row["arm"],
            **({"at": at[row["config_id"]]} if several else {}),
            "config": row["config_id"],
            "final": number(row["est"]),
            "95% interval": interval(row["lo"], row["hi"], sign=False) or "–",
            "n": row["n"],
            "method": row["method"],
            "IQM": number(row["iqm"]),
            "area under curve": number(row["aulc"]),
            "peak (biased)": number(row["peak"]),
            "final / peak": _ratio(row["final_peak"]),
            "largest fall": _ratio(row["drawdown"]),
            "collapsed": f"{row['collapsed']}/{row['n']}",
            "diverged": row["diverged"],
            "failed": row["failed"],
            "hours per seed": number(row["wall_hours"]),
        }
        for row in table[table["stage"] == "confirm"].to_dict("records")
    )
    words = ("task", "arm", "at", "config", "method")
    kinds = {str(name): "name" if name in words else "num" for name in frame.columns}
    return page.section("Arms", page.table(frame, kinds), note="Each arm by itself, test seeds.")


def screening(view: View) -> str:
    """The configurations that were tried, with the values that make them."""
    table = _summary(view)
    table = table[table["stage"] != "confirm"]
    trials = view.frames.trials
    names = [n for n in trials.columns if n.startswith(PARAM_PREFIX) and trials[n].nunique() > 1]
    values = trials.drop_duplicates("config_id").set_index("config_id")[names]
    rows = []
    for row in table.to_dict("records"):
        config = values.loc[row["config_id"]]
        states = [f"{row[k]} {k}" for k in ("stopped", "failed", "diverged", "running") if row[k]]
        rows.append(
            {"stage": row["stage"], "arm": row["arm"], "config": row["config_id"]}
            | {"final": number(row["est"]), "n": row["n"], "not averaged": ", ".join(states)}
            | {name.removeprefix(PARAM_PREFIX): _plain(config[name]) for name in names}
            | {"peak": number(row["peak"]), "task": row["task"]}
        )
    frame = pd.DataFrame(rows)
    words = ("stage", "task", "arm", "config", "not averaged")
    kinds = {str(name): "name" if name in words else "num" for name in frame.columns}
    shown = page.details(f"All {len(frame)} configurations tried", page.table(frame, kinds))
    note = "Used to choose, biased upwards, and no result. Best first within a stage."
    return page.section("Screening and selection", shown, note=note)


def _summary(view: View) -> pd.DataFrame:
    return summarize(view.frames, score=view.score, window=view.window, scale=view.scale)


def _ratio(value: float) -> str:
    return "–" if pd.isna(value) else f"{value:.2f}"


def _plain(value: object) -> str:
    if isinstance(value, float):
        return "–" if pd.isna(value) else f"{value:g}"
    return str(value)
