"""The end of a sweep: tables, verdict, report, the last page, the exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from sweeps.core.definition.axes import cell_text
from sweeps.core.definition.quantity import duration
from sweeps.core.definition.sweep import Sweep
from sweeps.core.definition.tune import Tune
from sweeps.core.pages import parts
from sweeps.core.pages.console import Console
from sweeps.core.store.compact import compact
from sweeps.core.store.schema import DONE_STATUSES, ExitCode
from sweeps.core.store.state import SweepState, TrialRecord


def exit_code(trials: Sequence[TrialRecord], *, finished: bool) -> ExitCode:
    """The code of a sweep that ended by itself; `finished` if every stage had what it needs."""
    failed = [trial for trial in trials if trial.status == "FAILED"]
    if any(trial.failure_class == "storage" for trial in failed):
        return ExitCode.STORAGE
    if not any(trial.status in DONE_STATUSES for trial in trials):
        return ExitCode.ERROR
    return ExitCode.OK if finished and not failed else ExitCode.FAILED_TRIALS


def conclude(
    sweep: Sweep,
    folder: Path,
    shown: Path,
    state: SweepState,
    code: ExitCode,
    seconds: float,
    console: Console,
) -> ExitCode:
    """Write the tables and the report, print the last page, and return the final exit code."""
    compact(folder)
    trials = list(state.trials.values())
    console.page(
        f"{sweep.name} finished in {duration(seconds)}   {parts.counts(trials)}", always=True
    )
    for line in parts.failures(trials):
        console.page(line, always=True)
    try:
        lines = _verdict(sweep, folder, shown, state)
    except Exception as error:  # noqa: BLE001 - the results are safe, only their summary is not
        print(f"error: analysis failed: {type(error).__name__}: {error}", file=sys.stderr)
        print(f"the results are in {shown}", file=sys.stderr)
        return ExitCode.ERROR if code == ExitCode.OK else code
    console.page("\n".join([*lines, *parts.tracked(sweep, folder, shown)]), always=True)
    return code


def _verdict(sweep: Sweep, folder: Path, shown: Path, state: SweepState) -> list[str]:
    import analysis

    frames = analysis.load(folder)
    spent = state.spent_seeds
    confirmed = [
        trial
        for trial in state.trials.values()
        if trial.stage == "confirm" and trial.status in DONE_STATUSES and trial.seed not in spent
    ]
    done = {trial.arm for trial in confirmed}
    lines = []
    if sweep.baseline in done and (done & set(sweep.candidates) or len(sweep.arms) == 1):
        seeds = [seed for seed in sweep.confirm.seeds if seed not in spent]
        lines.append(f"RESULT on test seeds {parts.seeds_text(seeds)}")
        lines += [parts.row("", text) for text in analysis.conclusions(frames, sweep.baseline)]
        lines += [parts.row("WARN", text) for text in analysis.looks(frames)]
        lines += [parts.row("arm", text, indent=2) for text in analysis.standings(frames)]
    else:
        lines.append("RESULT none: baseline and a candidate need a completed trial on a test seed")
    winner = next((t for t in confirmed if t.arm in sweep.candidates), None)
    if winner is not None and isinstance(sweep, Tune):
        lines.append(parts.row("winner", f"{winner.config_id} {cell_text(winner.params)}"))
    page = analysis.report(frames, folder / "report.html")
    lines.append(parts.row("report", str(shown / Path(page).name)))
    lines.append(parts.command("next", f'import analysis; frames = analysis.load("{shown}")'))
    return lines
