"""Reads the results folder of a sweep, finished or running, into pandas."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import pandas as pd
import pyarrow as pa

from analysis.frames import SUPERSEDED, Frames
from analysis.names import InputError, check, unknown
from analysis.several import joined
from sweeps.core.store.compact import DamagedTable, Tables, read_tables, trials_heard
from sweeps.core.store.events import SweepState, fold, read_events
from sweeps.core.store.schema import EVALS, REPORTS

_HEADER = ("writer", "seq", "time", "event", "trial_id", "schema", "crc")
_TIMES = ("started_at", "ended_at")
#: Heartbeats of a trial that tell how its memory grows.
HEARTBEATS = 20
_MARKS = ("events", "tables", "series", "sweep.yaml", "owner.json")
Source = Frames | str | Path | Sequence[str | Path]
_P = ParamSpec("_P")
_R = TypeVar("_R")


def reads(function: Callable[Concatenate[Frames, _P], _R]) -> Callable[Concatenate[Source, _P], _R]:
    """Lets a function of `Frames` take what `load` takes as well: a path, or several."""

    @wraps(function)
    def reading(frames: Source, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        loaded = frames if isinstance(frames, Frames) else load(frames)
        return function(loaded, *args, **kwargs)

    return reading


def load(
    path: str | Path | Sequence[str | Path],
    *,
    columns: Collection[str] | None = None,
    trials: Collection[str] | None = None,
    where: str | None = None,
) -> Frames:
    """Read `results/<sweep>/<run-id>`, `results/<sweep>/latest` or `results/<sweep>` (its latest);
    several paths become one `Frames` (see `analysis.several`).

    columns: the report metrics to read (all if None). trials: the trial ids to keep. where: a
    pandas query over `trials`, such as `"stage == 'confirm' and seed < 1005"`.
    A sweep that has not planned anything yet gives empty frames with all columns.

    Raises:
        InputError: no such folder, not a sweep, an unknown column or trial, a bad query.
    """
    columns = [columns] if isinstance(columns, str) else columns
    trials = [trials] if isinstance(trials, str) else trials
    if not isinstance(path, (str, Path)):
        if not path:
            raise InputError("no path to read")
        several = joined([load(one, columns=columns, where=where) for one in path])
        return several if trials is None else _only(several, trials)
    folder = locate(path)
    events = read_events(folder)
    state = fold(events)
    wanted: list[str] | None = None
    if trials is not None or where is not None:
        # Who is asked for is found first: of the others, nothing is read.
        every = _trials(_tables(folder, (), kinds=("trials",)).trials, state)
        wanted = _keep({"trials": every}, trials, where)["trials"]["trial_id"].tolist()
    tables = _tables(folder, columns, trials=wanted)
    frames = {
        "trials": _trials(tables.trials, state),
        "reports": tables.reports.to_pandas(split_blocks=True),
        "evals": tables.evals.to_pandas(),
    }
    return Frames(**frames, **_told(folder, events, state))


def trials_of(folder: Path) -> pd.DataFrame:
    """The trials of a run folder alone, with their times as text.

    Raises:
        InputError: its tables are damaged, and all that is left.
    """
    try:
        return read_tables(folder, kinds=("trials",)).trials.to_pandas()
    except DamagedTable as error:
        raise InputError(str(error)) from error


def load_heard(path: str | Path) -> Frames:
    """The sweep as its driver heard of it, however long its series are: `reports` and `evals` are
    empty, trials have no `peak`, and `events` has a choice of the heartbeats.

    Raises:
        InputError: as `load`.
    """
    folder = locate(path)
    events = read_events(folder, heartbeats=HEARTBEATS)
    if all(event["event"] == "note" for event in events):
        return load(folder, columns=[])  # it kept its tables only, or has not begun
    state = fold(events)
    return Frames(
        trials=_trials(trials_heard(state), state),
        reports=REPORTS.empty_table().to_pandas(),
        evals=EVALS.empty_table().to_pandas(),
        **_told(folder, events, state),
    )


def locate(path: str | Path) -> Path:
    """The run folder that `path` means.

    Raises:
        InputError: there is none; the line says what is there instead.
    """
    given = Path(path)
    if not given.exists():
        raise InputError(f"{given}: no such folder{_neighbours(given)}")
    if not given.is_dir():
        raise InputError(f"{given}: is a file; give the folder results/<sweep>/<run-id>")
    folder = given.resolve()
    if is_run(folder):
        return folder
    if (folder / "latest").is_dir():
        return (folder / "latest").resolve()
    inside = sorted(child.name for child in folder.iterdir() if _holds_a_sweep(child))
    hint = f"; it holds: {', '.join(inside[-8:])}" if inside else ""
    raise InputError(f"{given}: not the results folder of a sweep (it has no events/){hint}")


def is_run(folder: Path) -> bool:
    """Whether a folder is that of one run of a sweep."""
    return any((folder / mark).exists() for mark in _MARKS)


def _holds_a_sweep(folder: Path) -> bool:
    return (folder / "events").is_dir() or any(folder.glob("*/events"))


def _neighbours(path: Path) -> str:
    parent = path.parent
    if not parent.is_dir():
        return ""
    names = sorted(child.name for child in parent.iterdir() if _holds_a_sweep(child))
    return f"; {parent} holds: {', '.join(names[-8:])}" if names else ""


def _tables(
    folder: Path,
    columns: Collection[str] | None,
    *,
    kinds: Collection[str] = ("trials", "reports", "evals"),
    trials: Collection[str] | None = None,
) -> Tables:
    try:
        return read_tables(folder, columns, kinds=kinds, trials=trials)
    except DamagedTable as error:
        raise InputError(str(error)) from error
    except ValueError:
        known = read_tables(folder, kinds=("reports",)).reports.column_names
        for name in columns or ():
            check("report column", name, known)
        raise


def _only(frames: Frames, trials: Collection[str]) -> Frames:
    tables = {name: getattr(frames, name) for name in ("trials", "reports", "evals")}
    return replace(frames, **_keep(tables, trials, None))


def _keep(
    frames: dict[str, pd.DataFrame], trials: Collection[str] | None, where: str | None
) -> dict[str, pd.DataFrame]:
    kept = frames["trials"]
    if trials is not None:
        for trial_id in trials:
            check("trial", trial_id, kept["trial_id"])
        kept = kept[kept["trial_id"].isin(list(trials))]
    if where is not None:
        kept = _query(kept, where)
    if trials is None and where is None:
        return frames
    ids = set(kept["trial_id"])
    rest = {k: f[f["trial_id"].isin(ids)] for k, f in frames.items() if k != "trials"}
    return {"trials": kept} | rest


def _query(trials: pd.DataFrame, where: str) -> pd.DataFrame:
    try:
        mask = trials.eval(where)
    except pd.errors.UndefinedVariableError as error:
        raise unknown("trial column", str(error).split("'")[1], trials.columns) from error
    except (SyntaxError, ValueError, TypeError) as error:
        raise InputError(f"cannot read the query {where!r}: {error}") from error
    if not (isinstance(mask, pd.Series) and pd.api.types.is_bool_dtype(mask)):
        raise InputError(f"the query {where!r} does not say yes or no for a trial")
    return trials[mask.to_numpy(bool)]


def _told(folder: Path, events: list[dict[str, Any]], state: SweepState) -> dict[str, Any]:
    """What only the events say of a sweep."""
    return {
        "events": _event_frame(events),
        "path": folder,
        "spec": state.spec,
        "finished": state.finished,
        "extensions": tuple(state.extensions),
        "winners": tuple(state.winners),
    }


def _trials(table: pa.Table, state: SweepState) -> pd.DataFrame:
    trials = _times(table.to_pandas())
    spent = (trials["stage"] == "confirm") & trials["seed"].isin(state.spent_seeds)
    return trials.assign(stage=trials["stage"].mask(spent, SUPERSEDED))


def _times(trials: pd.DataFrame) -> pd.DataFrame:
    parsed = {name: pd.to_datetime(trials[name], utc=True, format="ISO8601") for name in _TIMES}
    return trials.assign(**parsed)


def _event_frame(events: list[dict[str, Any]]) -> pd.DataFrame:
    rows = [
        {name: event.get(name) for name in _HEADER[:5]}
        | {"payload": {k: v for k, v in event.items() if k not in _HEADER}}
        for event in events
    ]
    frame = pd.DataFrame(rows, columns=[*_HEADER[:5], "payload"])
    return frame.assign(time=pd.to_datetime(frame["time"], utc=True, format="ISO8601"))
