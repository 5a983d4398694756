"""The first page of a sweep, and all that a dry run shows: what runs, on what, what to mind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from flowpwm.config import flatten
from sweeps.core.check.checked import Checked
from sweeps.core.definition.axes import axis_text, last_name, value_text
from sweeps.core.definition.compare import Compare
from sweeps.core.definition.sweep import Sweep
from sweeps.core.definition.tune import Tune
from sweeps.core.host.machine import git_commit
from sweeps.core.pages.parts import row, seeds_text
from sweeps.core.protocol.grid import is_enumerable
from sweeps.core.protocol.plan import Plan
from sweeps.core.protocol.requests import NOTHING_KNOWN, Sizing, gib, needed

#: What runs of one arm may differ in, or what lines of their own say.
_APART = ("task", "seed", "mode", "dataset", "init_world_model", "evaluation.episodes")


def start_page(
    sweep: Sweep,
    checked: Checked,
    concurrency: int,
    where: str,
    forecast: str = "",
    extra: Sequence[str] = (),
    sizing: Sizing = NOTHING_KNOWN,
) -> str:
    """One screen of text; `concurrency` trials run at a time (0: not known)."""
    now = datetime.now().strftime("%Y-%m-%d %H:%M")
    commit = git_commit()
    if isinstance(sweep, Tune):
        own = _tune_rows(sweep, checked)
    else:
        assert isinstance(sweep, Compare)
        own = _compare_rows(sweep, checked)
    lines = [
        f"{sweep.name}  {now}  {f'git {commit}  ' if commit else ''}{where}",
        *([row("goal", sweep.goal)] if sweep.goal else []),
        *own,
        *extra,
        row("trials", _trials(checked, concurrency)),
        *_programs(sweep, checked, sizing),
        *_corrections(sweep, checked, sizing),
        *([row("forecast", forecast)] if forecast else []),
        row("reference", _reference(sweep, checked)),
        row("checks", _checks(sweep, checked)),
        *(row("", str(finding)) for finding in checked.findings),
    ]
    return "\n".join(lines)


def _tune_rows(sweep: Tune, checked: Checked) -> Iterator[str]:
    trials, cells = sweep.planned_trials(), sweep.cell_count()
    size = f"{cells:.0f} cells" if cells < float("inf") else "endless"
    if sweep.max_nfe:
        size += f" of nfe <= {sweep.max_nfe}"
    how = "grid" if is_enumerable(sweep) else "Optuna TPE"
    rungs = " ".join(f"{fraction:.0%}" for fraction in sweep.screen.rungs) or "none"
    unit = "epochs" if checked.largest.progress == "epoch" else "env steps"
    spared = f" (less {sweep.screen.margin:g} SE)" if sweep.screen.margin else ""
    shared = [last_name(axis) for axis in sweep.shared(sweep.space)]
    copied = f" with the winner's {', '.join(shared)}" if shared else ""
    space = " x ".join(axis_text(key, axis) for key, axis in sweep.space.items())
    yield row("space", f"{space}   {size}, {trials['screen']} tried ({how})")
    yield row(
        "arms",
        f"{sweep.candidate} (tuned) vs baseline {sweep.baseline}{copied} (not tuned itself)",
    )
    yield row("differ in", _difference(sweep, checked, sweep.candidate))
    yield row("task", _tasks(sweep))
    yield from _data(checked)
    yield row(
        "seeds",
        f"tune {_seeds(sweep, 'screen')} | select {_seeds(sweep, 'select')} | "
        f"test {_seeds(sweep, 'confirm')}   {_score(checked)}",
    )
    yield row(
        "schedule",
        f"screen {trials['screen']} trials, halving in {unit} at {rungs} of a run's "
        f"budget, 1 in {sweep.screen.reduction:g} goes on{spared}, one bracket an epochs value; "
        f"select {trials['select']} and confirm {trials['confirm']} trials to their end",
    )


def _compare_rows(sweep: Compare, checked: Checked) -> Iterator[str]:
    yield row("baseline", f"{sweep.baseline}: {sweep.arms[sweep.baseline] or '(as the presets)'}")
    for arm in sweep.candidates:
        label = "arms" if arm == sweep.candidates[0] else ""
        yield row(label, f"{arm}: {_difference(sweep, checked, arm)}", indent=2)
    yield row("tasks", _tasks(sweep))
    yield from _data(checked)
    for key, axis in sweep.space.items():
        yield row("axis", f"{axis_text(key, axis)}{_only(sweep, key)}: each value by itself")
    for key, value in sweep.fixed.items():
        if key not in _APART:
            yield row("fixed", f"{key}={value_text(value)}{_only(sweep, key)}")
    pairs = f"; compared in pairs: {sweep.shared_state}" if sweep.shared_state else ""
    yield row("seeds", f"{_seeds(sweep, 'confirm')}{pairs}   {_score(checked)}")
    runs, seeds = len(checked.plans), len(sweep.confirm.seeds)
    yield row(
        "schedule",
        f"{runs * seeds} trials = {runs} runs x {seeds} seeds, every one to its end; "
        "no early stopping, nothing is tuned",
    )


def _only(sweep: Compare, key: str) -> str:
    """Which arms a key is for, where it is not for all."""
    has = [arm for arm in sweep.arms if key in sweep.keys(arm)]
    return "" if len(has) == len(sweep.arms) else f" ({', '.join(has)} only)"


def _tasks(sweep: Sweep) -> str:
    return f"{', '.join(sweep.tasks)}   presets {sweep.presets or '(none)'}"


def _data(checked: Checked) -> Iterator[str]:
    """The mode, and what it reads."""
    found = {
        key: list(dict.fromkeys(str(getattr(plan.config, key)) for plan in checked.plans))
        for key in ("mode", "dataset", "init_world_model")
    }
    if found["mode"] != ["online"] or found["init_world_model"] != [""]:
        named = {key: ", ".join(filter(None, values)) for key, values in found.items()}
        shown = [f"{key} {text}" for key, text in named.items() if text]
        yield row("mode", "; ".join(shown).removeprefix("mode "))


def _score(checked: Checked) -> str:
    tried = checked.largest.config.evaluation.episodes
    tested = checked.plans[0].config.evaluation.episodes
    episodes = f"{tested} episodes each"
    if tried != tested:
        episodes = f"{tried} episodes each ({tested} on test seeds)"
    return f"score: mean return of the last 5 evaluations, {episodes}"


def _difference(sweep: Sweep, checked: Checked, arm: str) -> str:
    """Everything in which an arm differs from the baseline, by dotted key; axes aside."""
    base = flatten(checked.of(sweep.baseline).config)
    ours = flatten(checked.of(arm).config)
    changed = [
        f"{key} {value_text(base[key])} -> {value_text(value)}"
        for key, value in ours.items()
        if key in base and base[key] != value and key not in sweep.space
    ]
    parts = ["; ".join(changed)]
    for name, has, lacks in ((arm, ours, base), (sweep.baseline, base, ours)):
        own = [
            f"{key}={value_text(value)}"
            for key, value in has.items()
            if key not in lacks and key not in sweep.space
        ]
        parts.append(f"only {name}: {', '.join(own)}" if own else "")
    return "; ".join(filter(None, parts)) or "nothing but what the axes set"


def _trials(checked: Checked, concurrency: int) -> str:
    at_once = f", {concurrency} at a time" if concurrency else ""
    return f"{_request(checked.largest)}{at_once}; {_budgets(checked)}"


def _programs(sweep: Sweep, checked: Checked, sizing: Sizing) -> Iterator[str]:
    """Where seeds train together: how many, and what the largest of their processes asks for."""
    if programs := checked.programs(sweep, sizing):
        largest = max(programs, key=lambda plan: plan.resources.memory_bytes)
        stages = " and ".join(stage for stage in sweep.STAGES if stage != "screen")
        yield row(
            "programs",
            f"up to {max(len(plan.all) for plan in programs)} seeds of a configuration in one "
            f"process ({stages}): {_request(largest)}",
        )


def _request(plan: Plan) -> str:
    needs = plan.resources
    kind = f" ({needs.accelerator})" if needs.accelerator else ""
    gpus = f", {needs.num_gpus:g} GPU{kind}" if needs.num_gpus else ""
    return f"{needs.num_cpus:g} CPU{gpus}, {needs.memory_bytes / 2**30:.2g} GiB each"


def _corrections(sweep: Sweep, checked: Checked, sizing: Sizing) -> Iterator[str]:
    """What runs like the largest of each arm held, where that changes what it asks for."""
    largest: dict[str, Plan] = {}
    for plan in sorted(checked.demanding, key=lambda plan: plan.resources.memory_bytes):
        largest[plan.arm] = plan
    for arm, plan in largest.items():
        plain = needed(plan.config, plan.cost, sweep, Sizing(sizing.gpu_bytes))
        ours = plan.resources
        host, device = (of(plan.config, plan.cost) for of in (sizing.host, sizing.device))
        if ours.memory_bytes != plain.memory_bytes:
            change = f"{gib(ours.memory_bytes)} instead of {gib(plain.memory_bytes)}"
            yield row("memory", f"{arm} asks for {change}: {host.why}")
        if ours.num_gpus != plain.num_gpus:
            change = f"{ours.num_gpus:g} GPU instead of {plain.num_gpus:g}"
            yield row("GPU share", f"{arm} asks for {change}: {device.why}")


def _budgets(checked: Checked) -> str:
    plans: list[Plan] = sorted((checked.largest, *checked.plans), key=lambda plan: plan.budget)
    low, high = plans[0], plans[-1]
    return f"up to {high.budget_text}" + (
        f", at least {low.budget:,}" if low.budget < high.budget else ""
    )


def _reference(sweep: Sweep, checked: Checked) -> str:
    """Where the baseline leaves the published settings, which are the defaults."""
    ours, reference = flatten(checked.of(sweep.baseline).config), sweep.keys(sweep.baseline)
    changed = [
        f"{key} {value_text(ours[key])} ({value_text(value)})"
        for key, value in reference.items()
        if ours.get(key) != value and key not in sweep.space and key not in _APART
    ]
    return f"differs in {', '.join(changed)}" if changed else "as published (defaults)"


def _checks(sweep: Sweep, checked: Checked) -> str:
    rest = "seed sets disjoint" if isinstance(sweep, Tune) else "no two runs the same"
    return f"ok: {checked.configurations} configurations composed, {rest}"


def _seeds(sweep: Sweep, stage: str) -> str:
    return seeds_text(sweep.seeds(stage))
