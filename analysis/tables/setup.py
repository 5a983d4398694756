"""What was run, and on what: configurations, their differences, versions and hardware."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis import page
from analysis.checklist import checklist
from analysis.configs import config_frame, differences, flatten
from analysis.frames import Frames

_CODE = {"key": "code name", "value": "code"}


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


def tuning(frames: Frames) -> str:
    """How hyperparameters were tuned, question by question."""
    table = checklist(frames)
    kinds = {"question": "wide", "answer": "name", "evidence": "wide"}
    note = "After the checklist of Eimer, Lindauer and Raileanu (2023), from what was recorded."
    return page.section("How it was tuned", page.table(table, kinds), note=note)


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
