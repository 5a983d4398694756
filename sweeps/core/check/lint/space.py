"""How much of the space of a tune sweep its budget reaches."""

from __future__ import annotations

import math
from collections.abc import Iterator

from sweeps.core.check.checked import Checked
from sweeps.core.check.findings import Finding
from sweeps.core.check.lint.confounded import confounded
from sweeps.core.definition.axes import Cell, Range, last_name
from sweeps.core.definition.sweep import Sweep
from sweeps.core.definition.tune import NFE_AXES, Tune
from sweeps.core.protocol.grid import Grid, is_enumerable


def findings(sweep: Sweep, checked: Checked) -> Iterator[Finding]:
    """Cells that are not tried, and numbers of trials that the space does not have."""
    if not isinstance(sweep, Tune):
        return
    cells, screened = sweep.cell_count(), sweep.planned_trials()["screen"]
    if sweep.screen.trials > cells:
        text = f"screen.trials={sweep.screen.trials}, but the space has {cells} cells"
        yield Finding("space", text)
    elif sweep.screen.trials < cells < math.inf:
        yield Finding(
            "space",
            f"{screened} of the {cells} cells are tried{_inseparable(sweep)}; "
            f"screen.trials={cells} tries them all",
        )
    yield from _left_out(sweep)
    if sweep.select.top > screened:
        text = f"select.top={sweep.select.top} is more than the screen has configurations"
        yield Finding("space", text)


def _inseparable(sweep: Tune) -> str:
    """Whether the cells that are tried say what each axis is worth by itself."""
    if not is_enumerable(sweep):
        return ""  # which they are, the search decides as it goes
    grid = Grid(sweep)
    tried: list[Cell] = []
    while len(tried) < sweep.screen.trials and (cell := grid.next()) is not None:
        tried.append(cell)
    axes = dict.fromkeys(last_name(key) for keys in confounded(tried) for key in keys)
    return f", too few to tell {', '.join(axes)} apart" if axes else ""


def _left_out(sweep: Tune) -> Iterator[Finding]:
    axes = {key: axis for key, axis in sweep.space.items() if not isinstance(axis, Range)}
    if not sweep.max_nfe or len(axes) < len(sweep.space):
        return
    pairs = sweep.affordable_pairs()
    for key in filter(axes.__contains__, NFE_AXES):
        tried = [pair[key] for pair in pairs]
        if missing := [str(value) for value in axes[key] if value not in tried]:
            yield Finding(
                "space",
                f"max_nfe={sweep.max_nfe} leaves out {last_name(key)}={','.join(missing)}: "
                "raise it, or set max_nfe=0",
            )
