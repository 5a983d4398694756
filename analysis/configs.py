"""What the arms of a comparison are, and in what exactly they differ."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis.frames import Frames
from analysis.load import reads

NOT_CONFIG = ("seed",)


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one with dotted keys; lists stay values."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


@reads
def config_frame(frames: Frames, *, stage: str = "confirm") -> pd.DataFrame:
    """Every configuration of a stage: task, arm, config_id, trials, parameters, nfe, config (flat).

    The seed is no part of a configuration.
    """
    trials = frames.trials[frames.trials["stage"] == stage]
    rows = []
    for key, group in trials.groupby(["task", "arm", "config_id"], sort=True):
        first = group.iloc[0]
        flat = flatten(json.loads(first["config_json"] or "{}"))
        config = {k: v for k, v in flat.items() if k not in NOT_CONFIG}
        row = dict(zip(("task", "arm", "config_id"), key, strict=True))
        about = {"parameters": first["parameters"], "nfe": first["nfe"]}
        rows.append(row | {"trials": len(group)} | about | {"config": config})
    names = ["task", "arm", "config_id", "trials", "parameters", "nfe", "config"]
    return pd.DataFrame(rows, columns=names)


def differences(configs: pd.DataFrame) -> pd.DataFrame:
    """Rows of `config_frame` side by side: key and one column a configuration, only keys whose
    values differ between them. A key that a configuration lacks shows as an en dash."""
    tasks = configs["task"].nunique()
    arms = configs.groupby(["task", "arm"])["config_id"].transform("size")
    names = []
    for row, repeated in zip(configs.to_dict("records"), arms, strict=True):
        parts = [row["arm"], row["config_id"] if repeated > 1 else "", row["task"]]
        names.append(" ".join(filter(None, parts if tasks > 1 else parts[:2])))
    flats = list(configs["config"])
    keys = sorted({key for flat in flats for key in flat})
    shown = {key: [_text(flat[key]) if key in flat else "–" for flat in flats] for key in keys}
    rows = [[key, *values] for key, values in shown.items() if len(set(values)) > 1]
    return pd.DataFrame(rows, columns=["key", *names])


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
