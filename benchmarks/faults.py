"""The same six faults under plain Ray Tune with its defaults, and under our sweeps.

    python -m benchmarks.faults [--only F1 F2 ...]

F1: every running worker is killed once. F2: the driver is killed and the sweep started again.
F10: the same with SIGTERM in place of a kill.
F13: the disk is full for 20 s. F19: as F2, and the newest checkpoint of every running trial is cut
to half. F28: one trial takes memory until Ray's monitor kills it.

Plain Ray Tune is the control and may fail. Writes benchmarks/results/faults.json. F13 needs root to
mount a tmpfs.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import psutil

from benchmarks import plain_tune
from benchmarks.record import provenance, write
from sweeps.core.store.compact import read_tables
from tests.sweeps.chaos import Rows, cut_checkpoint, running_workers
from tests.sweeps.faults.disks import fill, make_room, mounted
from tests.sweeps.tiny import RUN, Process, latest

FULL_S = 20.0
ROOM_BYTES = 128 * 1024
MONITOR_BYTES = 2 * 2**30  # that may be taken before the monitor kills
WITHIN_S = 600.0
FAULTS = ("F1", "F2", "F10", "F13", "F19", "F28")
#: After these the process is gone, and a user starts it again.
RESTARTED = ("F2", "F10", "F19")

Keys = Counter[tuple[str, int]]


class System(Protocol):
    """A way to run trials: starts them in a folder, and knows what became of them."""

    name: str

    def start(self, cwd: Path, *, again: bool, hungry: bool, **extra: str) -> Process:
        """A process more."""
        ...

    def expected(self, hungry: bool) -> int:
        """Rows there have to be; of the trial that takes all memory none are asked for."""
        ...

    def workers(self, cwd: Path) -> dict[str, int]:
        """Trials at work and their processes."""
        ...

    def rows(self, cwd: Path) -> Keys:
        """Rows where a user reads them."""
        ...

    def done(self, cwd: Path) -> Keys:
        """Steps that were done."""
        ...

    def cut(self, cwd: Path, trial: str) -> None:
        """Cut the newest checkpoint of a trial."""
        ...


class Plain:
    """Ray Tune as it comes."""

    name = "plain Ray Tune"

    def start(self, cwd: Path, *, again: bool, hungry: bool, **extra: str) -> Process:
        """A process more."""
        words = [str(cwd / "out")]
        words += ["--restore"] if again else ["--hungry"] if hungry else []
        return Process(cwd, *words, script="../benchmarks/plain_tune", **extra)

    def expected(self, hungry: bool) -> int:
        """Rows there have to be."""
        return (plain_tune.TRIALS - hungry) * plain_tune.STEPS

    def workers(self, cwd: Path) -> dict[str, int]:
        """Trials at work and their processes."""
        newest = {words[0]: (int(words[1]), int(words[2])) for words in self._did(cwd)}
        return {
            trial: pid
            for trial, (step, pid) in newest.items()
            if step < plain_tune.STEPS and psutil.pid_exists(pid)
        }

    def rows(self, cwd: Path) -> Keys:
        """The lines of every result.json."""
        found: Keys = Counter()
        for path in (cwd / "out").rglob("result.json"):
            for line in path.read_text().splitlines():
                try:
                    row = json.loads(line)
                    found[str(row["index"]), row["step"]] += 1
                except (ValueError, KeyError):
                    continue  # cut
        return found

    def done(self, cwd: Path) -> Keys:
        """What the trials noted themselves."""
        return Counter((words[0], int(words[1])) for words in self._did(cwd))

    def cut(self, cwd: Path, trial: str) -> None:
        """Cut the newest checkpoint of a trial."""
        (place,) = (cwd / "out" / plain_tune.NAME).glob(f"count_*_index={trial}_*")
        for newest in sorted(place.glob("checkpoint_*"))[-1:]:
            state = newest / "state.json"
            state.write_bytes(state.read_bytes()[: state.stat().st_size // 2])

    def _did(self, cwd: Path) -> list[list[str]]:
        path = cwd / "did.txt"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line.split() for line in lines if len(line.split()) == 3]


class Ours:
    """A sweep that compares two arms; reports count as steps."""

    name = "flowpwm"
    SCRIPT, EPOCHS = "single_task", 600
    HUNGRY = "tests.sweeps.misbehaving:Leaky"

    def start(self, cwd: Path, *, again: bool, hungry: bool, **extra: str) -> Process:
        """A process more."""
        task = f"[point-mass,{self.HUNGRY}]" if hungry else "point-mass"
        words = [*RUN, "preset=laptop", f"task={task}", "arms=[mlp,flow]", f"epochs={self.EPOCHS}"]
        words += [f"seeds={1 if hungry else 2}", "trial.memory=3", "--no-canary", "--yes"]
        if again:
            words = ["--resume", str(latest(cwd, self.SCRIPT))]
        return Process(cwd, *words, script=self.SCRIPT, **extra)

    def expected(self, hungry: bool) -> int:
        """Rows there have to be; every second epoch has one."""
        return (2 if hungry else 4) * self.EPOCHS // 2

    def workers(self, cwd: Path) -> dict[str, int]:
        """Trials at work and their processes."""
        return running_workers(latest(cwd, self.SCRIPT)) if self._begun(cwd) else {}

    def rows(self, cwd: Path) -> Keys:
        """The table of reports."""
        if not self._begun(cwd):
            return Counter()
        tables = read_tables(latest(cwd, self.SCRIPT), kinds=["reports", "trials"])
        hungry = {t["trial_id"] for t in tables.trials.to_pylist() if t["task"] == self.HUNGRY}
        keys = zip(
            tables.reports["trial_id"].to_pylist(), tables.reports["epoch"].to_pylist(), strict=True
        )
        return Counter(key for key in keys if key[0] not in hungry)

    def done(self, cwd: Path) -> Keys:
        """Every row of every attempt."""
        return Rows(latest(cwd, self.SCRIPT)).counts if self._begun(cwd) else Counter()

    def cut(self, cwd: Path, trial: str) -> None:
        """Cut the newest checkpoint of a trial."""
        cut_checkpoint(latest(cwd, self.SCRIPT), trial)

    def _begun(self, cwd: Path) -> bool:
        return (cwd / "results" / self.SCRIPT / "latest").exists()


class Trial:
    """One fault under one system."""

    def __init__(self, system: System, fault: str, cwd: Path, ray: Path) -> None:
        self.system, self.fault, self.cwd = system, fault, cwd
        self.hungry = fault == "F28"
        self.extra = {"RAY_TMPDIR": str(ray)}
        if self.hungry:
            memory = psutil.virtual_memory()
            share = (memory.total - memory.available + MONITOR_BYTES) / memory.total
            self.extra["RAY_memory_usage_threshold"] = f"{share:.3f}"

    def run(self) -> dict[str, Any]:
        """What became of it."""
        process = self._start(again=False)
        before: Keys = Counter()
        recovered_s = None
        try:
            if not self.hungry:
                process.wait_for(lambda: self._share() > 0.3, WITHIN_S)
                before = self.system.done(self.cwd)
                self._hurt(process)
                known, began = self.system.done(self.cwd), time.monotonic()
                if self.fault in RESTARTED:
                    process = self._start(again=True)
                recovered_s = self._recovery(process, known, began)
            code: int | str = process.end(WITHIN_S)
        except AssertionError:  # it ended before
            code = process.end()
        except TimeoutError:
            code = "did not end"
        finally:
            process.kill()
        rows, done = self.system.rows(self.cwd), self.system.done(self.cwd)
        expected = self.system.expected(self.hungry)
        again = sum((done - Counter(dict.fromkeys(done, 1))).values())
        return {
            "fault": self.fault,
            "system": self.system.name,
            "rows_expected": expected,
            "rows_lost": max(expected - len(self._counted(rows)), 0),
            "rows_twice": rows.total() - len(rows),
            "done_before": before.total(),
            "done_again": again,
            "recovered": round(1 - again / before.total(), 3) if before.total() else None,
            "seconds_to_recover": recovered_s,
            "exit_code": code,
            "said": [_plain(line) for line in process.text.splitlines() if line.strip()][-4:],
        }

    def _start(self, *, again: bool) -> Process:
        return self.system.start(self.cwd, again=again, hungry=self.hungry, **self.extra)

    def _share(self) -> float:
        return len(self.system.done(self.cwd)) / self.system.expected(self.hungry)

    def _counted(self, rows: Keys) -> list[tuple[str, int]]:
        # Of the trial that takes all memory nothing is asked for.
        is_plain = isinstance(self.system, Plain)
        return [key for key in rows if not (self.hungry and is_plain and key[0] == "0")]

    def _hurt(self, process: Process) -> None:
        workers = self.system.workers(self.cwd)
        if self.fault == "F1":
            for pid in workers.values():
                psutil.Process(pid).kill()
        elif self.fault == "F13":
            fill(self.cwd.parent, ROOM_BYTES)
            time.sleep(FULL_S)
            make_room(self.cwd.parent)
        elif self.fault in RESTARTED:
            process.popen.send_signal(signal.SIGTERM if self.fault == "F10" else signal.SIGKILL)
            process.popen.wait(60)
            time.sleep(5)  # until its workers are gone
            if self.fault == "F19":
                for trial in workers:
                    self.system.cut(self.cwd, trial)

    def _recovery(self, process: Process, known: Keys, began: float) -> float | None:
        """Seconds to the first row that is new; None where none came."""
        while time.monotonic() - began < WITHIN_S:
            if self.system.done(self.cwd).keys() - known.keys():
                return round(time.monotonic() - began, 1)
            if process.popen.poll() is not None:
                return None
            time.sleep(0.2)
        return None


def _plain(line: str) -> str:
    """What was printed, without colours and without places of this machine."""
    bare = re.sub(r"\x1b\[[0-9;]*m", "", line).strip()
    return re.sub(r"(?<![^\s=])/\S+", "…", bare)[:300]


def table(results: Sequence[dict[str, Any]]) -> str:
    """The results as Markdown."""
    names = [name for name in results[0] if name != "said"]
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(str(row[name]) for name in names) + " |" for row in results]
    return "\n".join(lines)


def main() -> None:
    """Every fault under both systems."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=FAULTS, default=list(FAULTS))
    options = parser.parse_args()
    provenance()
    results: list[dict[str, Any]] = []
    root = Path(tempfile.mkdtemp(prefix="fpf"))
    try:
        for number, fault in enumerate(options.only):
            for system in (Plain(), Ours()):
                short = f"{number}{system.name[0]}"
                with mounted(root / short, "1g") as disk:
                    if fault == "F13" and disk is None:
                        continue
                    trial = Trial(system, fault, root / short / "work", root / f"r{short}")
                    results.append(trial.run())
                    print(json.dumps(results[-1], indent=1), flush=True)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    path = write("faults", {"results": results})
    print(table(results), path, sep="\n")


if __name__ == "__main__":
    main()
