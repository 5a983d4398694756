"""Play the checkpoints of a sweep's finished trials on unseen episodes, and record the returns.

    python -m sweeps.core.evaluate RUN_FOLDER [TRIAL_ID ...] [--which best|last] [--episodes 100]

Without trial ids: every trial that reached its budget. What was recorded before is only told again.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from flowpwm import checkpoint
from flowpwm.checks import ConfigError, at_least, did_you_mean
from flowpwm.compose import from_dict
from flowpwm.config import EvaluationConfig
from flowpwm.envs.base import SimulationFailed
from flowpwm.evaluate import Evaluator
from flowpwm.modes import MODES
from flowpwm.report import Evaluation
from sweeps.core.definition.settings import UsageError
from sweeps.core.store.compact import compact
from sweeps.core.store.events import EventLog, fold, read_events
from sweeps.core.store.folder import FolderOwned, RunFolder
from sweeps.core.store.records import Played, TrialRecord
from sweeps.core.store.schema import DONE_STATUSES, ExitCode
from sweeps.core.store.state import SweepState

WRITER = "evaluate"
UNSEEN_SEED = 2_000_003
_STATISTICS = ("return_mean", "return_median", "return_iqm", "return_std")


@dataclass(frozen=True)
class Request:
    """Which checkpoint of each trial is played, and on which episodes of each task."""

    which: str = "best"
    episodes: int = 100
    seed: int = UNSEEN_SEED


def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate as the command line asks; returns a `schema.ExitCode`."""
    options = _parser().parse_args(argv)
    request = Request(options.which, options.episodes, options.seed)
    torch.set_num_threads(1)
    try:
        for line in evaluate(options.folder, options.trials, request):
            print(line, flush=True)
    except UsageError as error:
        for line in error.lines:
            print(f"error: {line}", file=sys.stderr)
        return ExitCode.USAGE
    except (checkpoint.CheckpointError, ConfigError) as error:
        print(f"error: {error}", file=sys.stderr)
        return ExitCode.USAGE
    except (SimulationFailed, FloatingPointError) as error:
        print(f"failed: {error}", file=sys.stderr)
        return ExitCode.ERROR
    except OSError as error:
        print(f"error: cannot write results to {options.folder}: {error}", file=sys.stderr)
        return ExitCode.STORAGE
    except KeyboardInterrupt:
        print("interrupted; the trials above are recorded", file=sys.stderr)
        return ExitCode.INTERRUPTED
    return ExitCode.OK


def evaluate(folder: Path, trial_ids: Sequence[str], request: Request) -> Iterator[str]:
    """Play, record and tell of one trial after another; a line for each.

    Everything is checked before the first episode. An `evaluated` event holds the returns of every
    task; the tables are brought up to date at the end, unless the sweep still runs and will do so.

    Raises:
        UsageError: no sweep there; an unknown trial, one that is not done or has no checkpoint; a
            seed that it was trained or tuned with.
        CheckpointError: a checkpoint is damaged.
        OSError: the folder cannot be written.
    """
    state = fold(read_events(folder))
    if not state.trials:
        raise UsageError(f"{folder}: no sweep there, or none that has planned a trial")
    trials = _chosen(state, trial_ids)
    if problems := [line for trial in trials for line in _problems(folder, trial, request)]:
        raise UsageError(*problems)
    before = {trial.trial_id: _recorded(trial, request) for trial in trials}
    for trial in trials:
        if (known := before[trial.trial_id]) is not None:
            yield f"{_line(trial, known)} (recorded before)"
    new = [trial for trial in trials if before[trial.trial_id] is None]
    if not new:
        return
    with EventLog(folder, WRITER) as log:
        for trial in new:
            yield _line(trial, _evaluate(folder, trial, request, log))
    if state.finished:
        _compact(folder)


def _evaluate(folder: Path, trial: TrialRecord, request: Request, log: EventLog) -> Played:
    place = _place(trial, request)
    played = _play(folder / place, request)
    payload = dataclasses.asdict(played)
    del payload["time"]  # the event has its own
    log.append("evaluated", trial.trial_id, attempt=trial.attempt, checkpoint=place, **payload)
    return played


def _chosen(state: SweepState, trial_ids: Sequence[str]) -> list[TrialRecord]:
    if not trial_ids:
        # What was taken over from an earlier sweep has its checkpoints there.
        done = [
            trial
            for trial in state.trials.values()
            if trial.status in DONE_STATUSES and trial.taken_from is None
        ]
        if not done:
            raise UsageError("no trial of this sweep has reached its budget yet")
        return done
    unknown = [name for name in trial_ids if name not in state.trials]
    if unknown:
        hints = (did_you_mean(name, state.trials) for name in unknown)
        names = zip(unknown, hints, strict=True)
        raise UsageError(*(f"unknown trial {name!r}.{hint}" for name, hint in names))
    return [state.trials[name] for name in dict.fromkeys(trial_ids)]


def _problems(folder: Path, trial: TrialRecord, request: Request) -> Iterator[str]:
    """Why a trial cannot be evaluated as asked."""
    name = trial.trial_id
    if trial.status not in DONE_STATUSES:
        yield f"{name} is {trial.status.lower()}: only trials that reached their budget are played"
        return
    config = from_dict(trial.config)
    place = folder / _place(trial, request)
    if not MODES[config.mode].trains_policy:
        yield f"{name}: mode {config.mode} trains no policy to evaluate"
    elif not (place / "manifest.json").is_file():
        yield f"{name}: no checkpoint {place}"
    if request.seed == config.seed:
        yield f"--seed {request.seed} is the seed that {name} was trained with"
    if request.seed == config.evaluation.seed:
        yield f"--seed {request.seed} gives the episodes that chose the best weights of {name}"


def _place(trial: TrialRecord, request: Request) -> Path:
    """The checkpoint, relative to the run folder."""
    return Path("checkpoints", trial.trial_id, request.which)


def _recorded(trial: TrialRecord, request: Request) -> Played | None:
    """The same episodes of the same checkpoint, if they were played before."""
    asked = (request.which, request.episodes, request.seed)
    return next((p for p in trial.played if (p.which, p.n, p.seed) == asked), None)


def _play(place: Path, request: Request) -> Played:
    config, agent = checkpoint.load_agent(place)
    evaluator = Evaluator(config, EvaluationConfig(episodes=request.episodes, seed=request.seed))
    try:
        tasks = [_task(result) for result in evaluator(agent)]
    finally:
        evaluator.close()
    means = {name: statistics.fmean(task[name] for task in tasks) for name in _STATISTICS}
    return Played(
        time="",
        which=request.which,
        protocol=evaluator.protocol,
        seed=request.seed,
        n=request.episodes,
        **means,
        tasks=tuple(tasks),
    )


def _task(result: Evaluation) -> dict[str, Any]:
    return {
        "task": result.task,
        "protocol": result.protocol,
        "n": result.n,
        "return_mean": result.mean,
        "return_median": result.median,
        "return_iqm": result.iqm,
        "return_std": result.std,
        "length_mean": float(result.lengths.mean()),
        "success": result.success,
        "returns": result.returns.tolist(),
    }


def _line(trial: TrialRecord, played: Played) -> str:
    values = zip(
        ("return mean", "IQM", "median", "sd"),
        (played.return_mean, played.return_iqm, played.return_median, played.return_std),
        strict=True,
    )
    shown = ", ".join(f"{name} {'–' if x is None else f'{x:.1f}'}" for name, x in values)
    return (
        f"{trial.trial_id} {trial.arm} {played.which}: {shown} over {played.n} episodes "
        f"of {trial.task}"
    )


def _compact(folder: Path) -> None:
    try:
        with RunFolder(folder).claim():
            compact(folder)
    except FolderOwned:
        return  # its driver has come back, and compacts at its end


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sweeps.core.evaluate",
        description="Play checkpoints of finished trials on unseen episodes.",
    )
    parser.add_argument("folder", type=Path, metavar="RUN_FOLDER")
    parser.add_argument("trials", nargs="*", metavar="TRIAL_ID", help="default: all that are done")
    parser.add_argument("--which", choices=("best", "last"), default="best")
    parser.add_argument("--episodes", type=_positive, default=100, help="of each task")
    parser.add_argument("--seed", type=int, default=UNSEEN_SEED, help="of the start states")
    return parser


def _positive(text: str) -> int:
    try:
        at_least("episodes", int(text), 1)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
