"""The tables of a report, as HTML."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis import page
from analysis.cells import by_config, place
from analysis.configs import config_frame, differences, flatten
from analysis.figures import View
from analysis.load import Frames
from analysis.summarize import failures, summarize
from analysis.verdict import interval, number
from sweeps.core.store.schema import PARAM_PREFIX

_CODE = {"key": "code name", "value": "code"}
_NOT_LEARNED = ' <span class="note">not learned</span>'
_RULE = (
    "Tie: the 90% interval lies within the margin (two one-sided tests at 5%). Win or lose: no "
    "tie, the 95% interval excludes 0, and so does Holm's correction. Undetermined: all else; "
    "seeds needed would find a true difference of the margin's size in 8 of 10 sweeps."
)


def comparison(table: pd.DataFrame) -> str:
    """The verdicts, and behind a fold the tests and reasons for them."""
    rows = table.to_dict("records")
    main = pd.DataFrame(
        {
            "task": place(row["task"], row["cell"]),
            "candidate": row["candidate"],
            "verdict": page.chip(row["verdict"]) + (_NOT_LEARNED if row["not_learned"] else ""),
            "difference": number(row["est"], sign=True),
            "95% interval": interval(row["lo"], row["hi"]) or "–",
            "%": "–" if pd.isna(row["percent"]) else f"{row['percent']:+.1f}".replace("-", "−"),
            "n": row["n"],
            "method": row["method"],
            "mean of candidate": number(row["candidate_mean"]),
            f"mean of {row['baseline']}": number(row["baseline_mean"]),
            "seeds needed": "–" if pd.isna(row["seeds_needed"]) else f"{row['seeds_needed']:,}",
        }
        for row in rows
    )
    more = pd.DataFrame(
        {
            "task": place(row["task"], row["cell"]),
            "candidate": row["candidate"],
            "why": row["reason"],
            "margin": f"±{number(row['margin'])}",
            "90% interval": interval(row["lo90"], row["hi90"]) or "–",
            "p": _p(row["p_value"]),
            "p (Holm)": _p(row["p_holm"]),
            "p paired": _p(row["p_paired"]),
            "p Welch": _p(row["p_welch"]),
            "seed correlation": "–" if pd.isna(row["seed_corr"]) else f"{row['seed_corr']:.3f}",
            "IQM difference, bootstrap": "–"
            if pd.isna(row["iqm_est"])
            else f"{number(row['iqm_est'], sign=True)} {interval(row['iqm_lo'], row['iqm_hi'])}",
        }
        for row in rows
    )
    if main.empty:
        return ""
    left = ("task", "candidate", "method", "verdict", "why")
    kinds = {str(name): "num" for name in (*main, *more) if name not in left}
    kinds |= {"task": "name", "candidate": "name", "verdict": "name", "method": "name"}
    return (
        page.table(main, kinds, raw=("verdict",))
        + page.paragraph(_RULE, "note")
        + page.details("Tests, margins and reasons", page.table(more, kinds | {"why": "wide"}))
    )


def together(table: pd.DataFrame) -> str:
    """All tasks as one, in shares of the best possible score."""
    frame = pd.DataFrame(
        {
            "at": row["cell"] or "–",
            "candidate": row["candidate"],
            "verdict": page.chip(row["verdict"]),
            "difference": number(row["est"], sign=True),
            "95% interval": interval(row["lo"], row["hi"]) or "–",
            "tasks": row["tasks"],
            "n": row["n"],
            "method": row["method"],
            "mean of candidate": number(row["candidate_mean"]),
            f"mean of {row['baseline']}": number(row["baseline_mean"]),
            "margin": f"±{number(row['margin'])}",
            "why": row["reason"],
        }
        for row in table.to_dict("records")
    )
    if frame.empty:
        return ""
    left = ("at", "candidate", "method", "verdict")
    kinds = {str(name): "name" if name in left else "num" for name in frame.columns}
    return page.paragraph(
        "All tasks together, each weighing the same, in shares of the best possible score:"
    ) + page.table(frame, kinds | {"why": "wide"}, raw=("verdict",))


def _p(value: float) -> str:
    return "–" if pd.isna(value) else f"{value:.2g}"


def per_seed(view: View) -> str:
    """Score of every test seed; the status of those that are no result."""
    rows = view.confirmed
    if rows.empty:
        return ""
    shown = [
        number(row["value"]) + (" *" if row["diverged"] else "")
        if row["counts"]
        else str(row["status"]).lower()
        for row in rows.to_dict("records")
    ]
    wide = rows.assign(shown=shown).pivot_table(
        index=["place", "label"], columns="seed", values="shown", aggfunc="first", fill_value="–"
    )
    frame = wide.reset_index().rename(columns={"place": "task", "label": "arm"})
    frame.columns = [str(name) for name in frame.columns]
    kinds = {name: "name" if name in ("task", "arm") else "num" for name in frame.columns}
    note = page.paragraph("* diverged, counts as 0", "note") if rows["diverged"].any() else ""
    return page.paragraph("Score of every test seed:") + page.table(frame, kinds) + note


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


def failed_trials(frames: Frames) -> str:
    """What failed, why, and where its log is."""
    table = failures(frames)
    shown = pd.DataFrame(
        {
            "trial": table["trial_id"],
            "class": table["failure_class"],
            "last line": table["last_line"],
            "epoch": [
                f"{done:,.0f} of {total:,.0f}"
                for done, total in zip(table["epochs_done"], table["epochs"], strict=True)
            ],
            "attempt": table["attempt"],
            "log": [path if isinstance(path, str) else "–" for path in table["log_path"]],
            "stage": table["stage"],
            "arm": table["arm"],
            "task": table["task"],
        }
    )
    kinds = dict.fromkeys(("trial", "class", "stage", "arm", "task"), "name")
    kinds |= {"attempt": "num", "epoch": "num", "last line": "wide", "log": "code"}
    return page.section("Failures", page.table(shown, kinds))


def configurations(frames: Frames) -> str:
    """The confirmed configurations and the exact difference between them."""
    configs = config_frame(frames)
    if configs.empty:
        return ""
    about = pd.DataFrame(
        {
            "task": configs["task"],
            "arm": configs["arm"],
            "config": configs["config_id"],
            "seeds": configs["trials"],
            "parameters": [_count(value) for value in configs["parameters"]],
            "velocity evaluations": [_count(value) for value in configs["nfe"]],
        }
    )
    different = differences(configs)
    code = {str(name): "code" for name in different.columns} | {"key": "code name"}
    whole = [
        page.details(
            f"{row['arm']} on {row['task']}: all {len(row['config'])} values",
            page.table(_pairs(row["config"]), _CODE),
        )
        for row in configs.to_dict("records")
    ]
    numbers = dict.fromkeys(("task", "arm", "config"), "name")
    numbers |= {"seeds": "num", "parameters": "num", "velocity evaluations": "num"}
    return page.section(
        "Configurations",
        page.table(about, numbers),
        page.paragraph("Everything in which the arms differ:"),
        page.table(different, code) or page.paragraph("nothing", "note"),
        *whole,
    )


def environment(frames: Frames) -> str:
    """What `environment.json` says; nothing if there is none."""
    path = frames.path / "environment.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ""
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        return page.section("Versions and hardware", page.paragraph(f"environment.json: {error}"))
    if not isinstance(found, dict):
        return ""
    pairs = _pairs(flatten(found))
    return page.section("Versions and hardware", page.table(pairs, _CODE))


def _pairs(flat: Mapping[str, Any]) -> pd.DataFrame:
    texts = [v if isinstance(v, str) else json.dumps(v, default=str) for v in flat.values()]
    return pd.DataFrame({"key": list(flat), "value": texts})


def _count(value: object) -> str:
    return f"{int(value):,}" if isinstance(value, (int, float)) and not pd.isna(value) else "–"
