"""A sweep script in small: makes a run folder or goes on in one, and ends as it is told to.

FAKE_SLURM/plan has a word for each launch: an exit code, where 75 waits for a signal, or `deaf`,
which is a driver whom the signal finds before it listens.
"""

import json
import os
import sys
import time
from pathlib import Path

from sweeps.core.driver.interrupt import Interrupts
from sweeps.core.host import auth, machine
from sweeps.core.store.folder import RunFolder, create_run_folder


def run(words: list[str]) -> int:
    """One launch; returns its exit code."""
    state = Path(os.environ["FAKE_SLURM"])
    log = state / "launches.jsonl"
    launch = len(log.read_text().splitlines()) if log.exists() else 0
    plan = (state / "plan").read_text().split()[launch]
    interrupts = Interrupts()
    if plan != "deaf":
        interrupts.install()
    if "--resume" in words:
        folder = RunFolder(Path(words[words.index("--resume") + 1])).claim()
    else:
        folder = create_run_folder(Path("results"), "small")
        text = json.dumps(machine.environment(words))
        (folder.path / "environment.json").write_text(text)
    token = auth.token_file()
    line = {
        "words": words,
        "folder": str(folder.path),
        "cwd": os.getcwd(),
        "token": token.read_text(),
        "token_mode": token.stat().st_mode & 0o777,
        "auth_mode": os.environ["RAY_AUTH_MODE"],
        "job": os.environ["SLURM_JOB_ID"],
    }
    with log.open("a") as file:
        print(json.dumps(line), file=file)
    while plan in ("75", "deaf") and not interrupts.requested:
        time.sleep(0.05)
    folder.release()
    return int(plan)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
