"""The pages of the terminal as text: what is about to run, what came out, how to go on."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from flowpwm.config import compose, flatten
from sweeps.core.check import Checked
from sweeps.core.grid import is_enumerable
from sweeps.core.machine import git_commit
from sweeps.core.plan import compose_trial
from sweeps.core.state import TrialRecord
from sweeps.core.sweep import Range, Sweep

WIDTH = 100
LABEL = 11


def row(label: str, text: str) -> str:
    """A labelled paragraph of the page."""
    indent = " " * LABEL
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=label.ljust(LABEL),
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def start_page(sweep: Sweep, checked: Checked, concurrency: int, where: str) -> str:
    """One screen: what runs, on what, and what to mind."""
    plan = checked.largest
    trials = sweep.planned_trials()
    cells = sweep.cell_count()
    size = f"{cells:.0f} cells" if cells < float("inf") else "endless"
    if sweep.max_nfe:
        size += f" of nfe <= {sweep.max_nfe}"
    how = "grid" if is_enumerable(sweep) else "Optuna TPE"
    needs = plan.resources
    gpus = f", {needs.num_gpus:g} GPU" if needs.num_gpus else ""
    rungs = " ".join(f"{fraction:.0%}" for fraction in sweep.screen.rungs) or "none"
    episodes = sweep.confirm.episodes or plan.config.evaluation.episodes
    now = datetime.now().strftime("%Y-%m-%d %H:%M")
    commit = git_commit()
    lines = [
        f"{sweep.name}  {now}  {f'git {commit}  ' if commit else ''}{where}",
        row("space", f"{space_text(sweep)}   {size}, {trials['screen']} tried ({how})"),
        row("arms", _arms(sweep)),
        row("differ in", _arm_difference(sweep)),
        row("task", f"{sweep.task}   presets {sweep.presets or '(none)'}"),
        row(
            "seeds",
            f"tune {_seeds(sweep, 'screen')} | select {_seeds(sweep, 'select')} | "
            f"test {_seeds(sweep, 'confirm')}   score: mean return of the last 5 evaluations, "
            f"{plan.config.evaluation.episodes} episodes each ({episodes} on test seeds)",
        ),
        row(
            "schedule",
            f"screen {trials['screen']} trials, halving in env steps at {rungs} of a run's "
            f"budget, 1 in {sweep.screen.reduction:g} goes on, one bracket an epochs value; select "
            f"{trials['select']} and confirm {trials['confirm']} trials to their end",
        ),
        row(
            "trials",
            f"{needs.num_cpus:g} CPU{gpus}, {needs.memory_bytes / 2**30:.2g} GiB each, "
            f"{concurrency} at a time; up to {plan.budget_env_steps:,} env steps",
        ),
        row("reference", _reference_difference(sweep)),
        row("checks", f"ok: {checked.configurations} configurations composed, seed sets disjoint"),
        *(row("", f"WARN {warning}") for warning in checked.warnings),
    ]
    return "\n".join(lines)


def space_text(sweep: Sweep) -> str:
    """The axes with their values; last names only."""
    parts = []
    for axis, values in sweep.space.items():
        name = axis.split(".")[-1]
        shown = values if isinstance(values, Range) else f"[{','.join(map(str, values))}]"
        parts.append(f"{name}{shown}")
    return " x ".join(parts)


def cell_text(cell: Mapping[str, Any]) -> str:
    """A configuration's place in the space, short."""
    return " ".join(f"{key.split('.')[-1]}={_number(value)}" for key, value in cell.items())


def _arms(sweep: Sweep) -> str:
    shared = [axis.split(".")[-1] for axis in sweep.shared(sweep.space)]
    copied = f" with the winner's {', '.join(shared)}" if shared else ""
    return f"{sweep.candidate} (tuned) vs baseline {sweep.baseline}{copied} (not tuned itself)"


def _arm_difference(sweep: Sweep) -> str:
    cell = {
        key: axis.low if isinstance(axis, Range) else axis[0] for key, axis in sweep.space.items()
    }
    seed = sweep.confirm.seeds[0]
    ours = flatten(compose_trial(sweep, sweep.candidate, "confirm", cell, seed))
    base = flatten(compose_trial(sweep, sweep.baseline, "confirm", sweep.shared(cell), seed))
    both = [
        f"{key} {base[key]} -> {ours[key]}"
        for key in ours
        if key in base and ours[key] != base[key] and key not in sweep.space
    ]
    only = {sweep.candidate: ours.keys() - base.keys(), sweep.baseline: base.keys() - ours.keys()}
    extra = [
        f"only {arm}: {', '.join(sorted(key.split('.')[-1] for key in keys))}"
        for arm, keys in only.items()
        if keys
    ]
    return "; ".join(both + extra) or "nothing"


def _reference_difference(sweep: Sweep) -> str:
    arm = sweep.arms[sweep.baseline]
    reference = flatten(compose(arm, {"task": sweep.task}))
    ours = flatten(compose(sweep.preset_of(sweep.baseline), {"task": sweep.task, **sweep.fixed}))
    changed = [
        f"{key} {_number(ours[key])} ({_number(reference[key])})"
        for key in reference
        if ours.get(key) != reference[key] and key not in sweep.space
    ]
    return "differs in " + ", ".join(changed) if changed else "as published (defaults)"


def _seeds(sweep: Sweep, stage: str) -> str:
    seeds = sweep.seeds(stage)
    if len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]}-{seeds[-1]}"
    return ",".join(map(str, seeds))


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value).replace(" ", "")


def duration(seconds: float) -> str:
    """7 s, 12m, 3h05m."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes}m" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02d}m"


def counts(trials: Iterable[TrialRecord]) -> str:
    """How many trials are how; causes of failures in brackets."""
    trials = list(trials)
    by_status = Counter(trial.status.lower() for trial in trials)
    parts = [f"{number} {status}" for status, number in sorted(by_status.items())]
    causes = Counter(t.failure_class for t in trials if t.status == "FAILED")
    if causes:
        parts.append("(" + ", ".join(f"{cause} {n}" for cause, n in sorted(causes.items())) + ")")
    return f"{len(trials)} trials: {', '.join(parts) or 'none'}"


def failures(trials: Sequence[TrialRecord], most: int = 5) -> list[str]:
    """A line for each failed trial: class, last line of the error, log."""
    failed = [t for t in trials if t.status == "FAILED"]
    lines = [
        f"FAIL {t.trial_id} {t.failure_class} at epoch {t.epochs_done}: {t.failure_message} "
        f"(log: {t.log_path or 'none'})"
        for t in failed[:most]
    ]
    return lines + ([f"... and {len(failed) - most} more"] if len(failed) > most else [])


def interrupted_page(
    sweep: Sweep, folder: Path, cause: str, trials: Sequence[TrialRecord], more: str = ""
) -> str:
    """What was reached and the command that goes on."""
    done = sum(trial.final for trial in trials)
    return "\n".join(
        [
            f"{sweep.name} interrupted by {cause}: {done} trials finished, all is saved",
            row("go on", f"python sweeps/{sweep.name}.py --resume {folder}{more}"),
        ]
    )
