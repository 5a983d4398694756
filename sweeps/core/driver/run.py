"""One driver over one run folder: supervise the stages, and say what came out."""

from __future__ import annotations

import contextlib
import errno
import functools
import importlib
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sweeps.core.check.checked import Checked
from sweeps.core.definition.again import command_of
from sweeps.core.definition.compare import Compare
from sweeps.core.definition.options import Options
from sweeps.core.definition.settings import UsageError
from sweeps.core.definition.sweep import Sweep
from sweeps.core.definition.tune import Tune
from sweeps.core.driver import joined, opening
from sweeps.core.driver.interrupt import Interrupted, Interrupts, leave
from sweeps.core.driver.outcome import conclude, exit_code
from sweeps.core.driver.warm_start import taken_over
from sweeps.core.forecast.caps import Caps
from sweeps.core.forecast.guard import DiskGuard
from sweeps.core.forecast.outlook import Outlook
from sweeps.core.forecast.remaining import Remaining
from sweeps.core.host import auth, cluster, machine
from sweeps.core.host.nodes import HeadWatch, Node
from sweeps.core.host.probe import survey
from sweeps.core.host.secrets import struck_out
from sweeps.core.pages import parts
from sweeps.core.pages.console import Console
from sweeps.core.protocol.recorder import Recorder
from sweeps.core.protocol.stages import CompareStages, NothingSucceeded, TuneStages, enumerate_or
from sweeps.core.store.durable import STORAGE_ERRORS
from sweeps.core.store.folder import RunFolder, StorageError
from sweeps.core.store.patience import PATIENCE_S
from sweeps.core.store.retention import Retention
from sweeps.core.store.schema import ExitCode
from sweeps.core.store.state import TrialRecord

HEARTBEAT_S = 10.0
POLL_S = 0.2
#: Errors of the folder's storage, after which the sweep ends with exit code 6.
REFUSED = STORAGE_ERRORS | {errno.EACCES}


@dataclass
class Run:
    """One driver process over one run folder.

    Ray and Tune live in a thread of their own; the main thread keeps the signals, the terminal
    and the promise that a stop takes less than 20 s.
    """

    sweep: Sweep
    options: Options
    checked: Checked
    folder: RunFolder
    console: Console
    interrupts: Interrupts
    outlook: Outlook
    caps: Caps
    extra: Sequence[str] = ()
    recorder: Recorder = field(init=False)
    error: BaseException | None = None
    connected: bool = False
    stopped_as: ExitCode = ExitCode.INTERRUPTED
    guard: DiskGuard | None = None
    remaining: Remaining | None = None
    head: HeadWatch | None = None

    def __post_init__(self) -> None:
        self.sizing = self.outlook.sizing

    def supervise(self) -> int:
        """Run to the end, an interrupt or an error, and return the exit code."""
        began = time.monotonic()
        where = str(self._shown_folder)
        self.console.page(
            opening.page(self.sweep, self.checked, self.options, where, self.outlook, self.extra)
        )
        if self.recorder.state.stages.get("confirm") == "finished":
            return self._end(0.0)  # nothing is left but to say it again
        self.console.page(parts.row("ray", "starting; on a busy machine this takes up to a minute"))
        thread = threading.Thread(target=self._work, name="sweep", daemon=True)
        thread.start()
        beat = began
        while thread.is_alive() and not self.interrupts.overdue:
            thread.join(POLL_S if self.connected else POLL_S / 10)
            # Ray's native code takes SIGTERM when it comes up, and when it shuts down leaves one
            # that would end us without a word: for as long as one of these short waits.
            self.interrupts.install()
            self.console.tick()
            self._keep_caps()
            if time.monotonic() - beat >= HEARTBEAT_S:
                beat = time.monotonic()
                with contextlib.suppress(OSError):  # a full disk ends the sweep elsewhere
                    self.folder.heartbeat(self._remaining_s())
        self.interrupts.install()
        self.console.close()
        if thread.is_alive():
            return self._give_up()
        return self._end(time.monotonic() - began)

    def _remaining_s(self) -> float | None:
        left = self.remaining and self.remaining.seconds(self.recorder.trials())
        return left.est if left else None

    def _keep_caps(self) -> None:
        if self.interrupts.requested:
            return
        if limit := self.caps.reached(self.recorder.trials(), self.folder.path):
            # Started again with the same caps it would stop again: nobody shall do that by himself.
            self.stopped_as = ExitCode.CAPPED
            self.interrupts.request(limit)
        elif self.guard is not None and self.guard.starved_s(self._running()) >= PATIENCE_S:
            self.stopped_as = ExitCode.STORAGE
            self.interrupts.request("a full disk")
        elif self.head is not None and self.head.is_gone():
            self.interrupts.request(self.head.loss)

    def _work(self) -> None:
        try:
            with cluster.connected(self.options.address) as ray_cluster:
                self.head = HeadWatch(ray_cluster.head)
                self.connected = True
                try:
                    self._run_on(ray_cluster)
                except Exception as error:
                    if self.head.is_away:  # looked at before our own Ray is shut down
                        self._keep(error)
                        self.interrupts.request(self.head.loss)
                        raise Interrupted from None
                    raise
                finally:
                    self.connected = False  # from here on, looked after more often
        except BaseException as error:  # noqa: BLE001 - the main thread tells of it
            self.error = error

    def _run_on(self, ray_cluster: cluster.Cluster) -> None:
        if not ray_cluster.local:
            ray_cluster.require(self.checked.demanding)
            self._survey(ray_cluster)
            ray_cluster.require(self.checked.programs(self.sweep, self.sizing))
            self._look_again(ray_cluster.nodes)
        self.console.page(self._monitoring(ray_cluster))
        self._run_stages()

    def _survey(self, ray_cluster: cluster.Cluster) -> None:
        seen = survey(self.folder.path, ray_cluster.elsewhere)
        for line in joined.refuse(seen, machine.versions(), anyway=self.options.yes):
            self.console.page(f"WARN {line}", always=True)
        self.sizing = joined.with_gpus(self.sizing, seen, self.sweep.accelerator)
        self.console.page(parts.row("nodes", joined.text(ray_cluster.nodes)))

    def _look_again(self, nodes: Sequence[Node]) -> None:
        """The forecast once more, now that it is seen how many trials run at a time."""
        self.checked = self.checked.sized(self.sweep, self.sizing)
        needs = self.checked.largest.resources
        # Nodes that are still to be started come one by one; what then runs corrects the rest.
        if not (slots := sum(node.room_for(needs) for node in nodes if node.node_id)):
            return
        trials = self.recorder.trials()
        ended = [trial for trial in trials if trial.final]
        self.outlook = self.outlook.on(slots, self.sweep, self.checked, ended)
        told = opening.seen_again(self.outlook.forecast, self.caps, trials, self.folder.path)
        for line in told:
            self.console.page(line)

    def _run_stages(self) -> None:
        from sweeps.core.driver.engine import Engine
        from sweeps.core.driver.gauges import Gauges

        stages = self._stages()
        on_gpu = self.checked.largest.resources.num_gpus > 0
        self.guard = DiskGuard(self.folder.path, self._working_bytes, self._say)
        self.recorder.listeners.append(Retention(self.folder.path))
        engine = Engine(
            self.sweep,
            self.folder.path,
            self.recorder,
            self.interrupts,
            on_gpu=on_gpu,
            hold=self.guard.holds,
            give_up=self._give_up_on,
        )
        before = self.recorder.trials()
        self.remaining = remaining = Remaining(
            self.sweep, self.outlook.forecast, self.outlook.correction, before
        )
        self.console.watch(self.sweep, self.recorder, remaining)
        with Gauges(self.sweep.name, self.folder.path, self.recorder, remaining, self._say):
            engine.run(stages)
        # Ray takes seconds to end: meanwhile what the verdict needs is loaded.
        threading.Thread(target=importlib.import_module, args=["analysis"], daemon=True).start()

    def _working_bytes(self) -> int:
        """What the trials that run, and one more, may still save."""
        at_work = max(self.outlook.forecast.slots, self._running() + 1)
        return at_work * self.checked.largest.cost.checkpoint_bytes

    def _give_up_on(self, cause: str) -> None:
        self.stopped_as = ExitCode.ERROR
        self.interrupts.request(cause)

    def _running(self) -> int:
        return sum(trial.status == "RUNNING" for trial in self.recorder.trials())

    def _say(self, text: str) -> None:
        self.console.page(text, always=True)

    def _stages(self) -> TuneStages | CompareStages:
        if isinstance(self.sweep, Tune):
            source = enumerate_or(self._study, self.recorder.state.past)
            take_over = functools.partial(taken_over, self.folder.path, self.recorder)
            return TuneStages(self.sweep, self.recorder, source, self.sizing, take_over)
        assert isinstance(self.sweep, Compare)
        return CompareStages(self.sweep, self.recorder, self.sizing)

    def _study(self, sweep: Tune, known: list[TrialRecord]):
        from sweeps.core.protocol.study import Study

        return Study(self.folder.path, sweep, known, self.recorder.state.past)

    def _end(self, seconds: float) -> int:
        trials = self.recorder.trials()
        match self.error:
            case None | NothingSucceeded():
                code = exit_code(trials, finished=self.error is None)
                self.recorder.sweep("sweep_finished", exit_code=int(code))
                if self.error is not None:
                    print(f"error: {self.error}", file=sys.stderr)
                return conclude(
                    self.sweep,
                    self.folder.path,
                    self._shown_folder,
                    self.recorder.state,
                    code,
                    seconds,
                    self.console,
                )
            case Interrupted() if self.interrupts.reason is not None:
                return self._interrupted()
            case OSError() as error if error.errno in REFUSED:
                raise error
            case UsageError() as error:
                raise error
            case StorageError() as error:
                print(f"error: {error}", file=sys.stderr)
                return ExitCode.STORAGE
            case error:
                self._show(error)
                return ExitCode.ERROR

    def _interrupted(self) -> int:
        for trial in self.recorder.trials():
            if trial.status == "RUNNING":
                message = {"message": "was not heard of again; goes on from what it saved"}
                self.recorder.ended(trial.trial_id, "interrupted", message)
        cause = self.interrupts.reason or "a stop"
        trials = self.recorder.trials()
        page = parts.interrupted_page(self.sweep, cause, trials, self._go_on(cause))
        self.console.page(page, always=True)
        return self.stopped_as

    def _give_up(self) -> int:
        """Saving takes too long: leave everything as it was last saved."""
        code = self._interrupted()
        with contextlib.suppress(OSError):
            self.folder.release()
        leave(code)  # the thread of Tune still runs and would hold the interpreter

    def _keep(self, error: BaseException) -> Path:
        """Its traceback, in the log of the driver."""
        path = self.folder.path / "logs" / "driver.log"
        with path.open("a", encoding="utf-8") as file:
            file.write(struck_out("".join(traceback.format_exception(error))))
        return path

    def _show(self, error: BaseException) -> None:
        path, name = self._keep(error), type(error).__name__
        print(struck_out(f"error: {name}: {error} (traceback: {path})"), file=sys.stderr)
        print(f"what was reached is saved; go on with: {self._go_on()}", file=sys.stderr)

    def _go_on(self, cause: str = "") -> str:
        """The command that goes on, where and within what this one had to stay."""
        flags = self.caps.flags(cause)
        if self.options.address:
            flags.insert(0, f"--address {self.options.address}")
        if self.stopped_as == ExitCode.ERROR:
            flags.append("--retry-failed")
        return command_of(self.sweep.name, self._shown_folder, flags)

    def _monitoring(self, ray_cluster: cluster.Cluster) -> str:
        follow = f"python -m analysis status {self._shown_folder}"
        token = f"token: {auth.shown_token()}" if cluster.asks_for_token() else ""
        told = {
            "dashboard": ray_cluster.dashboard and f"{ray_cluster.dashboard}   {token}",
            "prometheus": ray_cluster.metrics,
            "follow": follow,
        }
        return "\n".join(parts.command(name, text) for name, text in told.items() if text)

    @property
    def _shown_folder(self) -> Path:
        path = self.folder.path
        with contextlib.suppress(ValueError):
            return path.relative_to(Path.cwd())
        return path
