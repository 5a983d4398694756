"""What is settled before a sweep starts: its place, its forecast, its first page."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from sweeps.core.check.checked import Checked
from sweeps.core.driver.interrupt import Interrupts
from sweeps.core.forecast.forecast import forecast_text, size_text
from sweeps.core.forecast.limits import Limits
from sweeps.core.forecast.outlook import Outlook, look_ahead
from sweeps.core.host.nodes import this_machine, unmet
from sweeps.core.pages import parts
from sweeps.core.pages.console import Console
from sweeps.core.pages.start import start_page
from sweeps.core.protocol.plan import Plan
from sweeps.core.protocol.requests import Sizing, gib
from sweeps.core.spec.command import Options
from sweeps.core.spec.settings import UsageError
from sweeps.core.spec.sweep import Sweep
from sweeps.core.store.folder import RunFolder, StorageError, create_run_folder

#: A sweep that will fill more of the free disk than this is warned of.
DISK_SHARE = 0.8


def forecast_of(
    sweep: Sweep,
    checked: Checked,
    options: Options,
    here: Mapping[str, Any],
    gpu_bytes: int,
    console: Console,
    interrupts: Interrupts,
) -> Outlook:
    """What the sweep will take; where it starts at once, after a canary of at most a minute."""
    # What this machine takes says nothing of a cluster's nodes, and a dry run starts nothing.
    canary = not (options.dry_run or options.no_canary or options.address or options.resume)
    if canary:
        console.page(parts.row("forecast", "looking at earlier trials, or trying a few epochs"))
    return look_ahead(
        sweep,
        checked,
        at_once(checked, options),
        options.results,
        here,
        gpu_bytes,
        with_canary=canary,
        should_stop=lambda: interrupts.requested,
    )


def with_warnings(
    checked: Checked, options: Options, outlook: Outlook, limits: Limits, place: Path
) -> Checked:
    """The check with what the forecast adds. Raises UsageError where the disk is too small."""
    needed, free = outlook.forecast.disk_bytes, shutil.disk_usage(place).free
    told = f"disk: up to {size_text(needed)} are needed, {size_text(free)} are free in {place}"
    warnings = [*checked.warnings, *outlook.warnings, *limits.warnings(outlook.forecast)]
    if needed > free and options.resume is None:
        if not (options.yes or options.dry_run):
            raise UsageError(f"{told}; make room, or start all the same with --yes")
        warnings.append(told)
    elif needed > DISK_SHARE * free:
        warnings.append(told)
    return dataclasses.replace(checked, warnings=tuple(warnings))


def with_shortage(checked: Checked, options: Options) -> Checked:
    """The check, if this machine can run what is asked for; on a cluster that is seen later.

    Raises UsageError with a line for every arm that cannot run. In a dry run these are warnings:
    a plan for a larger machine can be looked at on a smaller one.
    """
    problems = [] if options.address else unmet(checked.demanding, [this_machine()])
    if problems and not options.dry_run:
        raise UsageError(*problems)
    told = (f"not on this machine: {problem}" for problem in problems)
    return dataclasses.replace(checked, warnings=(*checked.warnings, *told))


def with_requests(sweep: Sweep, checked: Checked, options: Options, sizing: Sizing) -> Checked:
    """The check with requests by what earlier runs held, and with what is to be said of that."""
    warnings = []
    if sweep.memory_per_trial:
        asked = sweep.memory_per_trial * 2**30
        expected = {p.arm: sizing.host(p.config, p.cost) for p in _by_size(checked.demanding)}
        warnings = [
            f"memory: {arm}: {held.why}; trial.memory={sweep.memory_per_trial:g} is less than "
            f"{gib(held.wanted_bytes)}, which would leave room"
            for arm, held in expected.items()
            if held.known and held.seen_bytes > asked
        ]
    checked = checked.sized(sweep, sizing)
    here = this_machine()
    if options.address is None and checked.largest.resources.memory_bytes > here.memory_bytes:
        warnings.append(
            f"memory: runs like {checked.largest.name} held up to "
            f"{gib(checked.largest.resources.memory_bytes)}; this machine has only "
            f"{gib(here.memory_bytes)}, and they may be stopped at that"
        )
    return dataclasses.replace(checked, warnings=(*checked.warnings, *warnings))


def _by_size(plans: Iterable[Plan]) -> list[Plan]:
    """The largest last, so that of one arm it is the one that stays."""
    return sorted(plans, key=lambda plan: plan.cost.host_memory_bytes)


def at_once(checked: Checked, options: Options) -> int:
    """Trials that run at a time here; 0 on a cluster, whose size is not known yet."""
    if options.address is not None:
        return 0
    needs, here = checked.largest.resources, this_machine()
    fit = min(here.cpus // needs.num_cpus, here.memory_bytes // needs.memory_bytes)
    if needs.num_gpus:
        # What is left of several GPUs does not add up to a share.
        each = int(1 / needs.num_gpus) if needs.num_gpus < 1 else 1 / needs.num_gpus
        fit = min(fit, here.gpus * each)
    return max(1, int(fit))


def page(sweep: Sweep, checked: Checked, options: Options, where: str, outlook: Outlook) -> str:
    """The first page of the sweep."""
    free = shutil.disk_usage(_nearest(options.resume or options.results)).free
    text = forecast_text(outlook.forecast, free, datetime.now())
    return start_page(sweep, checked, at_once(checked, options), where, text, outlook.sizing)


def _nearest(place: Path) -> Path:
    """The folder itself, or the nearest above it that exists."""
    place = place.absolute()
    while not place.exists():
        place = place.parent
    return place


def results_place(options: Options) -> Path:
    """Where results will lie. Refuses a folder that cannot be written, without making it."""
    place = _nearest(options.resume or options.results)
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        raise UsageError(f"cannot write results to {options.results}: {place} is not writable")
    return place


def own_folder(sweep: Sweep, options: Options) -> RunFolder:
    """A new run folder, or the one that is resumed, owned by this process.

    Raises FolderOwned where another one lives in it, UsageError where it cannot be made.
    """
    if options.resume is not None:
        return RunFolder(options.resume.resolve()).claim()
    try:
        return create_run_folder(options.results, sweep.name)
    except StorageError as error:
        raise UsageError(str(error)) from error
