"""The help page of a sweep."""

from __future__ import annotations

import textwrap
from typing import Any

from flowpwm.compose import compose, presets
from flowpwm.config import RunConfig, flatten
from flowpwm.envs import ENVS
from flowpwm.envs.tasks import TASK_SETS
from sweeps.core.definition.axes import axis_text, value_text
from sweeps.core.definition.compare import Compare
from sweeps.core.definition.options import FLAGS
from sweeps.core.definition.settings import settings_of
from sweeps.core.definition.sweep import Sweep
from sweeps.core.definition.tune import Tune


def usage(sweep: Sweep) -> str:
    """The help page of this sweep."""

    def entry(word: str, doc: str) -> str:
        start = f"  {word}".ljust(31) + " "
        return textwrap.fill(start + doc, 100, subsequent_indent=" " * 32, break_on_hyphens=False)

    several = isinstance(sweep, Compare)
    known = [name for name in presets() if name not in ENVS and name not in TASK_SETS]
    lines = [
        f"usage: python sweeps/{sweep.name}.py [key=value ...] [flags]",
        "",
        entry("preset='NAME ...'", f"now {sweep.presets!r}; known: {', '.join(known)}"),
        entry(
            "task=[NAME,...]" if several else "task=NAME",
            f"now {', '.join(sweep.tasks)}; known: {', '.join([*ENVS, *TASK_SETS])}",
        ),
        entry("arms=[NAME,...]", "only these arms, or presets as arms"),
        entry("arms.NAME='PRESET ... key=value'", "change an arm, or add one"),
        entry("baseline=NAME", f"now {sweep.baseline}"),
        entry("goal='...'", f"the question, now {sweep.goal!r}"),
        entry("results=FOLDER", "where results go, now 'results'"),
        "",
        "arms",
        *(entry(name, words or "(as the presets)") for name, words in sweep.arms.items()),
        "",
        "space" if isinstance(sweep, Tune) else "axes: each value is a comparison of its own",
        *(entry(axis, axis_text("", values)) for axis, values in sweep.space.items()),
        entry("KEY=[a,b]", "one more axis")
        if several
        else entry("KEY=[a,b] KEY=uniform(a,b)", "loguniform, int: one more axis"),
        entry("KEY=value", "fixed for every arm, KEY as below"),
        "",
        *(entry(name, setting.doc) for name, setting in settings_of(sweep).items()),
        "",
        *(entry(flag, doc) for flag, doc in FLAGS.items()),
        "",
        "keys of a run, as they are without presets, and those of flows",
        textwrap.fill(
            " ".join(f"{key}={value_text(value)}" for key, value in _defaults().items()),
            100,
            initial_indent="  ",
            subsequent_indent="  ",
            break_long_words=False,
            break_on_hyphens=False,
        ),
    ]
    return "\n".join(lines)


def _defaults() -> dict[str, Any]:
    """What a run is without presets, but for what every sweep says of its own."""
    task = next(iter(ENVS))
    values = flatten(compose(f"{task} flow flow_policy")) | flatten(RunConfig(task=task))
    return {key: value for key, value in values.items() if key not in ("task", "seed")}
