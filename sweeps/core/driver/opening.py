"""What is settled before a sweep starts: its place, its forecast, its first page."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from sweeps.core.check.checked import Checked
from sweeps.core.check.findings import Finding
from sweeps.core.definition.options import Options
from sweeps.core.definition.settings import UsageError
from sweeps.core.definition.sweep import Sweep
from sweeps.core.driver.interrupt import Interrupts
from sweeps.core.forecast.caps import LEAST_S, Caps, folder_bytes, gpu_hours
from sweeps.core.forecast.forecast import Forecast, forecast_text, size_text
from sweeps.core.forecast.outlook import Outlook, look_ahead
from sweeps.core.host.nodes import this_machine, unmet
from sweeps.core.pages import parts
from sweeps.core.pages.console import Console
from sweeps.core.pages.start import start_page
from sweeps.core.protocol.plan import Plan
from sweeps.core.protocol.requests import Sizing, gib
from sweeps.core.store.folder import (
    RunFolder,
    StorageError,
    create_run_folder,
    probe_writable,
    sweep_folder,
)
from sweeps.core.store.records import TrialRecord
from sweeps.core.store.state import SweepState

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
    state: SweepState,
    place: Path,
) -> Outlook:
    """What is left of the sweep will take; where it starts at once, after a canary of at most a
    minute.

    Raises UsageError where the disk of `place` is too small.
    """
    # What this machine takes says nothing of a cluster's nodes, and a dry run starts nothing.
    canary = not (options.dry_run or options.no_canary or options.address or options.folder)
    if canary:
        console.page(parts.row("forecast", "looking at earlier trials, or trying a few epochs"))
    return look_ahead(
        sweep,
        checked,
        at_once(checked, options),
        results_of(options),
        here,
        gpu_bytes,
        ended=[trial for trial in state.trials.values() if trial.final],
        with_canary=canary,
        should_stop=lambda: interrupts.requested,
        settle=lambda forecast: _refuse_small_disk(forecast, options, place),
    )


def _refuse_small_disk(forecast: Forecast, options: Options, place: Path) -> None:
    # Much of what a resumed sweep needs is written already.
    excused = options.yes or options.dry_run or options.resume is not None
    if not excused and forecast.disk_bytes > shutil.disk_usage(place).free:
        told = _disk_text(forecast, place)
        raise UsageError(f"disk: {told}; make room, or start all the same with --yes")


def _disk_text(forecast: Forecast, place: Path) -> str:
    needed, free = size_text(forecast.disk_bytes), size_text(shutil.disk_usage(place).free)
    return f"up to {needed} are needed, {free} are free in {place}"


def with_forecast(
    checked: Checked,
    outlook: Outlook,
    caps: Caps,
    place: Path,
    trials: Iterable[TrialRecord],
    folder: Path | None,
) -> Checked:
    """The check with what the forecast adds; `trials` and `folder` are of a sweep gone on with."""
    limits = _limits(outlook.forecast, caps, place, trials, folder)
    return checked.with_findings(*outlook.findings, *limits)


def _limits(
    forecast: Forecast,
    caps: Caps,
    place: Path,
    trials: Iterable[TrialRecord],
    folder: Path | None,
) -> Iterator[Finding]:
    used = folder_bytes(folder) if folder is not None else 0
    yield from caps.findings(forecast, gpu_hours(trials), used)
    if forecast.disk_bytes > DISK_SHARE * shutil.disk_usage(place).free:
        yield Finding("disk", _disk_text(forecast, place))


def seen_again(
    forecast: Forecast, caps: Caps, trials: Iterable[TrialRecord], folder: Path
) -> list[str]:
    """Lines on a forecast for nodes that are known by now."""
    text = forecast_text(forecast, shutil.disk_usage(folder).free, datetime.now())
    return [
        parts.row("forecast", f"{forecast.slots} trials at a time: {text}"),
        *(
            parts.row("", str(finding))
            for finding in _limits(forecast, caps, folder, trials, folder)
        ),
    ]


def with_shortage(sweep: Sweep, checked: Checked, options: Options, sizing: Sizing) -> Checked:
    """The check, if this machine can run what is asked for; on a cluster that is seen later.

    Raises UsageError with a line for every arm that cannot run. In a dry run these are findings:
    a plan for a larger machine can be looked at on a smaller one.
    """
    problems: list[str] = []
    if not options.address:
        here = [this_machine()]
        problems = unmet(checked.demanding, here) or unmet(checked.programs(sweep, sizing), here)
    if problems and not options.dry_run:
        raise UsageError(*problems)
    return checked.with_findings(*(Finding("machine", problem) for problem in problems))


def with_requests(sweep: Sweep, checked: Checked, options: Options, sizing: Sizing) -> Checked:
    """The check with requests by what earlier runs held, and with what is to be said of that."""
    told = []
    if sweep.memory_per_trial:
        asked = sweep.memory_per_trial * 2**30
        expected = {p.arm: sizing.host(p.config, p.cost) for p in _by_size(checked.demanding)}
        told = [
            f"{arm}: {held.why}; trial.memory={sweep.memory_per_trial:g} is less than "
            f"{gib(held.wanted_bytes)}, which would leave room"
            for arm, held in expected.items()
            if held.known and held.seen_bytes > asked
        ]
    checked = checked.sized(sweep, sizing)
    here = this_machine()
    if options.address is None and checked.largest.resources.memory_bytes > here.memory_bytes:
        told.append(
            f"runs like {checked.largest.name} held up to "
            f"{gib(checked.largest.resources.memory_bytes)}; this machine has only "
            f"{gib(here.memory_bytes)}, and they may be stopped at that"
        )
    return checked.with_findings(*(Finding("memory", text) for text in told))


def _by_size(plans: Iterable[Plan]) -> list[Plan]:
    """The largest last, so that of one arm it is the one that stays."""
    return sorted(plans, key=lambda plan: plan.cost.host_memory_bytes)


def at_once(checked: Checked, options: Options) -> int:
    """Trials that run at a time here; 0 on a cluster, whose size is not known yet."""
    if options.address is not None:
        return 0
    return max(1, this_machine().room_for(checked.largest.resources))


def page(
    sweep: Sweep,
    checked: Checked,
    options: Options,
    where: str,
    outlook: Outlook,
    extra: Sequence[str] = (),
) -> str:
    """The first page of the sweep; `extra` are its lines on what there is already."""
    free = shutil.disk_usage(_nearest(options.folder or options.results)).free
    text = forecast_text(outlook.forecast, free, datetime.now())
    now = at_once(checked, options)
    return start_page(sweep, checked, now, where, text, extra, outlook.sizing)


def results_of(options: Options) -> Path:
    """The folder in which sweeps lie: for one that is gone on in, two above its own."""
    return options.results if options.folder is None else options.folder.resolve().parent.parent


def _nearest(place: Path) -> Path:
    """The folder itself, or the nearest above it that exists."""
    place = place.absolute()
    while not place.exists():
        place = place.parent
    return place


def caps_of(options: Options) -> Caps:
    """The caps that are asked for. Refuses a time in which nothing could be reached."""
    limit = options.time_limit_s
    if limit is not None and limit < LEAST_S:
        raise UsageError(
            f"--time-limit must be at least {LEAST_S:.0f}s, got {limit:g}s: to start and to save "
            "takes that long"
        )
    return Caps(limit, options.max_gpu_hours, options.max_disk_bytes)


def results_place(sweep: Sweep, options: Options) -> Path:
    """Where results will lie; makes nothing.

    Raises StorageError where that cannot be written, UsageError where it may not be.
    """
    wanted = options.folder or options.results
    place = wanted
    try:
        if options.folder is None:
            sweep_folder(options.results, sweep.name)
        place = _nearest(wanted)
        with tempfile.TemporaryFile(dir=place):  # it has no name, and is gone with this line
            return place
    except OSError as error:
        reason = f"{place} is not writable ({error.strerror})"
        raise StorageError(f"cannot write results to {wanted}: {reason}") from error
    except ValueError as error:
        raise UsageError(f"cannot write results to {wanted}: {error}") from error


def own_folder(sweep: Sweep, options: Options) -> RunFolder:
    """A new run folder, or the one that is gone on in, owned by this process.

    Raises FolderOwned where another one lives in it, StorageError where it cannot be made.
    """
    if options.folder is not None:
        probe_writable(options.folder)
        return RunFolder(options.folder.resolve()).claim()
    return create_run_folder(options.results, sweep.name)
