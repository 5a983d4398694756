"""The command of a sweep: parse, check, own a folder, run, and the exit code."""

from __future__ import annotations

import atexit
import contextlib
import gc
import sys
from collections.abc import Sequence

from sweeps.core.check.lint.earlier import earlier_runs
from sweeps.core.check.lint.rules import lint
from sweeps.core.check.sweep import check
from sweeps.core.definition.again import SUPERVISE
from sweeps.core.definition.asked import places_told
from sweeps.core.definition.settings import UsageError
from sweeps.core.definition.sweep import Sweep
from sweeps.core.definition.usage import usage
from sweeps.core.driver import opening
from sweeps.core.driver.beginning import begin
from sweeps.core.driver.interrupt import Interrupted, Interrupts
from sweeps.core.driver.resume import open_run
from sweeps.core.driver.run import REFUSED, Run
from sweeps.core.driver.supervisor import replace_this_process
from sweeps.core.forecast.forecast import configurations
from sweeps.core.host import cluster, machine
from sweeps.core.pages.console import Console
from sweeps.core.pages.costs import cost_table
from sweeps.core.protocol.requests import Sizing
from sweeps.core.store.events import EventLog
from sweeps.core.store.folder import FolderOwned, StorageError
from sweeps.core.store.patience import PATIENCE_S, Patience
from sweeps.core.store.schema import ExitCode


def main(sweep: Sweep, words: Sequence[str]) -> int:
    """Run `sweep` as the command line asks; returns a `schema.ExitCode`."""
    if SUPERVISE in words:
        replace_this_process(sweep.name, words)
    atexit.register(gc.freeze)  # the interpreter's last collections would take over a second
    interrupts = Interrupts()
    interrupts.install()
    try:
        return _main(sweep, words, interrupts)
    except UsageError as error:
        for line in error.lines:
            print(f"error: {line}", file=sys.stderr)
        print("Nothing was started.", file=sys.stderr)
        return ExitCode.USAGE
    except FolderOwned as error:
        print(f"error: {error}", file=sys.stderr)
        return ExitCode.OWNED
    except StorageError as error:
        print(f"error: {error}", file=sys.stderr)
        print("Nothing was started.", file=sys.stderr)
        return ExitCode.STORAGE
    except Interrupted:
        print(f"interrupted by {interrupts.signal_name} before anything started", file=sys.stderr)
        return ExitCode.INTERRUPTED
    finally:
        interrupts.uninstall()


def _main(sweep: Sweep, words: Sequence[str], interrupts: Interrupts) -> int:
    beginning = begin(sweep, words)
    sweep, options = beginning.sweep, beginning.options
    if options.help:
        print(usage(sweep))
        return ExitCode.OK
    console = Console(quiet=options.quiet)
    gpu_bytes = machine.gpu_memory_bytes()
    sizing = Sizing(gpu_bytes)
    with places_told(options.given):
        checked = check(sweep, many=options.yes, sizing=sizing)
    earlier = earlier_runs(options.results, sweep.tasks, without=options.folder)
    checked = checked.with_findings(*lint(sweep, checked, earlier))
    beginning.check()
    cluster.prepare(options.address)
    checked = opening.with_shortage(sweep, checked, options, sizing)
    place = opening.results_place(sweep, options)
    caps = opening.caps_of(options)
    here = machine.environment(words)
    beginning = beginning.looking_back(here)
    outlook = opening.forecast_of(
        sweep, checked, options, here, gpu_bytes, console, interrupts, beginning.state, place
    )
    checked = opening.with_requests(sweep, checked, options, outlook.sizing)
    trials = beginning.state.trials.values()
    checked = opening.with_forecast(checked, outlook, caps, place, trials, options.folder)
    checked, extra = beginning.warned(checked), beginning.rows()
    if options.dry_run:
        page = opening.page(sweep, checked, options, "(dry run)", outlook, extra)
        console.page(page, always=True)
        plans = configurations(sweep, checked, outlook.sizing)
        console.page(f"\n{cost_table(plans, outlook.correction)}", always=True)
        return ExitCode.OK
    if interrupts.requested:
        raise Interrupted
    folder = opening.own_folder(sweep, options)
    try:
        beginning.check_again()
        patience = Patience(
            PATIENCE_S,
            lambda: interrupts.requested,
            lambda text: console.page(f"WARN {text}", always=True),
        )
        with EventLog(folder.path, "driver", patience) as log:
            run = Run(sweep, options, checked, folder, console, interrupts, outlook, caps, extra)
            run.recorder, warning = open_run(
                folder.path,
                log,
                sweep,
                here,
                checked.findings,
                extended=beginning.growth is not None,
                retry_failed=options.retry_failed,
            )
            if beginning.warm is not None:
                run.recorder.sweep("warm_started", **beginning.warm.event())
            if warning:
                console.page(warning, always=True)
            interrupts.tell_workers_by(folder.stop_file)
            return run.supervise()
    except OSError as error:
        if error.errno not in REFUSED:
            raise
        print(f"error: cannot write results to {folder.path}: {error}", file=sys.stderr)
        return ExitCode.STORAGE
    finally:
        with contextlib.suppress(OSError):
            folder.release()
