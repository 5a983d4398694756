"""What an extension adds to a sweep, and what it keeps: lines of the first page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from sweeps.core.definition.compare import Compare
from sweeps.core.definition.growth import Growth
from sweeps.core.definition.sweep import Sweep
from sweeps.core.definition.tune import Tune
from sweeps.core.pages.parts import counts, row
from sweeps.core.store.state import SweepState


def growth_rows(growth: Growth[Sweep], state: SweepState, folder: Path | None) -> list[str]:
    """What is added, what stays as it is, what will run."""
    trials = state.trials.values()
    kept, unfinished = [t for t in trials if t.final], [t for t in trials if not t.final]
    goes_on = f"; {len(unfinished)} unfinished go on" if unfinished else ""
    return [
        row("extends", f"{folder}: {growth.text}"),
        row("kept", f"{counts(kept)}{goes_on}; nothing that is finished runs again"),
        row("to run", "; ".join(_to_run(growth, state))),
    ]


def _to_run(growth: Growth[Sweep], state: SweepState) -> Iterator[str]:
    sweep = growth.sweep
    if isinstance(sweep, Compare):
        yield from _compared(sweep, state)
        return
    assert isinstance(sweep, Tune)
    planned = Counter(trial.stage for trial in state.trials.values())
    if "screen" in growth.stages:
        yield f"up to {max(0, sweep.planned_trials()['screen'] - planned['screen'])} more of screen"
        yield f"select again, at most {sweep.planned_trials()['select']} trials"
    used = {trial.seed for trial in state.trials.values() if trial.stage == "confirm"}
    if fresh := [seed for seed in sweep.confirm.seeds if seed not in used]:
        yield f"confirm on seeds {', '.join(map(str, fresh))}, {2 * len(fresh)} trials"
    if used and "select" in growth.stages:
        shown = ", ".join(map(str, sorted(used)))
        yield f"another winner is tested on the new seeds alone; a look was had at {shown}"


def _compared(sweep: Compare, state: SweepState) -> Iterator[str]:
    planned = {(t.arm, t.task, str(t.params), t.seed) for t in state.trials.values()}
    new: dict[tuple[str, str], list[int]] = {}
    for arm, cell in sweep.confirmed():
        params = {key: value for key, value in cell.items() if key != "task"}
        for seed in sweep.confirm.seeds:
            if (arm, cell["task"], str(params), seed) not in planned:
                new.setdefault((arm, cell["task"]), []).append(seed)
    yield f"{sum(map(len, new.values()))} more trials"
    for (arm, task), seeds in new.items():
        shown = ", ".join(map(str, dict.fromkeys(seeds)))
        yield f"{arm} on {task}: seed{'s' if len(seeds) > 1 else ''} {shown}"
