"""python -m analysis COMMAND PATH: what a sweep shows, as text, CSV, JSON or pages."""

from __future__ import annotations

import argparse
import atexit
import gc
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

import analysis
from analysis.arguments import parse
from analysis.cells import place
from analysis.checklist import as_markdown
from analysis.frames import Frames
from analysis.registry_page import markdown, registry_text
from analysis.runs import is_root, runs_below
from analysis.status import read
from analysis.status_page import overview_text, status_text
from analysis.verdict import headlines, interval, number

USAGE = 2
ERROR = 1
NO_RESULTS = 3


@dataclass(frozen=True)
class Command:
    """What a command computes, and how it reads on a terminal.

    `needs` is what an empty table lacks; '' where it is an answer, as for a status.
    """

    help: str
    table: Callable[[argparse.Namespace], pd.DataFrame]
    text: Callable[[argparse.Namespace, pd.DataFrame], str]
    needs: str = ""


class NoResults(Exception):
    """There is nothing to make a table of yet."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0, or after one line on stderr 2 if the input was wrong, 3 if there are no
    results yet, 1 if a file could not be read or written."""
    helps = {name: command.help for name, command in COMMANDS.items()}
    args = parse(sys.argv[1:] if argv is None else argv, helps)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _one_line
            text = DONE_BY.get(args.command, _tabular)(args)
    except analysis.InputError as error:
        print(f"analysis: {error}", file=sys.stderr)
        return USAGE
    except NoResults as error:
        print(f"analysis: {error}", file=sys.stderr)
        return NO_RESULTS
    except OSError as error:
        print(f"analysis: {error}", file=sys.stderr)
        return ERROR
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # The reader (head, less) has seen enough; Python would complain again at its exit.
        sys.stdout = open("/dev/null", "w")  # noqa: SIM115
    return 0


def _tabular(args: argparse.Namespace) -> str:
    command = COMMANDS[args.command]
    table = command.table(args)
    if table.empty and command.needs:
        raise NoResults(f"no results yet in {', '.join(args.path)}: {command.needs}")
    if args.csv:
        text = table.to_csv(index=False).rstrip("\n")
    elif args.json:
        text = table.to_json(orient="records", date_format="iso", indent=1)
    else:
        text = command.text(args, table)
    if args.out is None:
        return text
    args.out.write_text(text + "\n", encoding="utf-8")
    return f"wrote {args.out}"


def _report(args: argparse.Namespace) -> str:
    frames = _load(args)
    options = {name: getattr(args, name) for name in ("score", "window", "pair", "margin", "scale")}
    arms = {"baseline": args.baseline, "candidates": args.candidates}
    path = analysis.report(frames, args.out, paper=args.paper, **arms, **options)
    written = [path, *([args.paper] if args.paper is not None else [])]
    if args.interactive:
        page = path.with_name("interactive.html")
        written.append(analysis.interactive(frames, page, score=args.score, window=args.window))
    return "\n".join(f"wrote {path}" for path in written)


def _import_logs(args: argparse.Namespace) -> str:
    frames = analysis.import_logs(args.path, out=args.out, task=args.task)
    lines = [f"{len(frames.trials)} trials, {len(frames.reports):,} reports in {frames.path}"]
    lines += [f"contradiction: {line}" for line in analysis.contradictions(frames)]
    return "\n".join([*lines, f"next  python -m analysis report {frames.path}"])


def _example(args: argparse.Namespace) -> str:
    folder = analysis.example(args.path)
    return f"{folder}\nnext  python -m analysis compare {folder}"


def _export(args: argparse.Namespace) -> str:
    paths = analysis.export(_load(args), args.out, formats=args.formats)
    return "\n".join(f"wrote {path}" for path in paths)


def _compare(args: argparse.Namespace) -> pd.DataFrame:
    names = ("score", "at", "window", "pair", "margin", "scale", "correction")
    options = {name: getattr(args, name) for name in names}
    frames = _load(args)
    return analysis.compare(frames, args.baseline, args.candidates, **options)


def _compare_text(args: argparse.Namespace, table: pd.DataFrame) -> str:
    lines = headlines(table)
    if table["task"].nunique() > 1:
        names = ("score", "at", "window", "pair", "margin", "scale")
        options = {name: getattr(args, name) for name in names}
        together = analysis.overall(_load(args), args.baseline, args.candidates, **options)
        lines += [analysis.overall_sentence(row) for _, row in together.iterrows()]
    if len(table):
        shown = pd.DataFrame(
            {
                "task": [place(*key) for key in zip(table["task"], table["cell"], strict=True)],
                "candidate": table["candidate"],
                "mean": table["candidate_mean"].map(number),
                "baseline": table["baseline"],
                "mean ": table["baseline_mean"].map(number),
                "diff": [number(x, sign=True) for x in table["est"]],
                "95% interval": [
                    interval(lo, hi) for lo, hi in zip(table["lo"], table["hi"], strict=True)
                ],
                "n": table["n"],
                "method": table["method"],
                "verdict": table["verdict"],
                "why": table["reason"],
                "seeds needed": table["seeds_needed"].astype("string").fillna(""),
            }
        )
        lines += ["", shown.to_string(index=False)]
    return "\n".join(lines)


def _status(args: argparse.Namespace) -> pd.DataFrame:
    """The trials of a run, or the runs of a results root."""
    if is_root(args.path) and runs_below(args.path):
        return analysis.overview(args.path)
    args.frames = read(args.path)  # once: the text below needs it too
    return analysis.status(args.frames)


def _status_text(args: argparse.Namespace, table: pd.DataFrame) -> str:
    if "frames" in args:
        return status_text(args.frames, table)
    return overview_text(table)


def _registry(args: argparse.Namespace) -> pd.DataFrame:
    table = analysis.registry(args.path)
    assert isinstance(table, pd.DataFrame)
    return table


def _registry_text(args: argparse.Namespace, table: pd.DataFrame) -> str:
    return markdown(table) if args.md else registry_text(table)


def _note(args: argparse.Namespace) -> str:
    folder = analysis.note(args.path, args.text, args.trial_id)
    return f"noted on {args.trial_id or 'the sweep'} in {folder}"


def _summary_text(_: argparse.Namespace, table: pd.DataFrame) -> str:
    shown = table[["stage", "task", "arm", "config_id"]].assign(
        final=table["est"].map(number),
        interval=[
            interval(lo, hi, sign=False) for lo, hi in zip(table["lo"], table["hi"], strict=True)
        ],
        n=table["n"],
        method=table["method"],
        iqm=table["iqm"].map(number),
        peak_biased=table["peak"].map(number),
        final_peak=table["final_peak"].map(number),
        aulc=table["aulc"].map(number),
        collapsed=table["collapsed"],
        stopped=table["stopped"],
        failed=table["failed"],
        hours=table["wall_hours"].map(number),
    )
    note = "Only the confirm stage is a result; the others were used to choose and are biased."
    return f"{shown.to_string(index=False)}\n{note}"


def _curves(args: argparse.Namespace) -> pd.DataFrame:
    return analysis.curves(_load(args), score=args.score, x=args.x, stage=args.stage)


def _estimates(_: argparse.Namespace, table: pd.DataFrame) -> str:
    """A table with est, lo and hi: the three in one column, as people write them."""
    bounds = [interval(lo, hi, sign=False) for lo, hi in zip(table["lo"], table["hi"], strict=True)]
    shown = table.assign(est=table["est"].map(number), lo=bounds).drop(columns="hi")
    return shown.rename(columns={"lo": "95% interval"}).to_string(index=False)


def _plain(_: argparse.Namespace, table: pd.DataFrame) -> str:
    return table.to_string(index=False)


def _load(args: argparse.Namespace) -> Frames:
    return analysis.load(args.path if len(args.path) > 1 else args.path[0])


def _one_line(message: Warning | str, *_: object, **__: object) -> None:
    print(f"analysis: {message}", file=sys.stderr)


COMMANDS = {
    "status": Command(
        "every trial: progress, score, time left, memory; of a results root: every run",
        _status,
        _status_text,
    ),
    "summary": Command(
        "every configuration: final score with interval, peak, stability, cost",
        lambda args: analysis.summarize(
            _load(args), score=args.score, at=args.at, window=args.window
        ),
        _summary_text,
        needs="no trial was planned",
    ),
    "compare": Command(
        "candidates against the baseline, with a verdict",
        _compare,
        _compare_text,
        needs="the confirm stage does not have trials of both arms",
    ),
    "curves": Command(
        "learning curves with an interval over seeds",
        _curves,
        _plain,
        needs="the confirm stage does not have an evaluation",
    ),
    "aggregate": Command(
        "all tasks together: IQM, mean, median, optimality gap of each arm",
        lambda args: analysis.aggregate(_load(args), score=args.score, window=args.window),
        _estimates,
        needs="the confirm stage has no task on which every arm has a result",
    ),
    "cost": Command(
        "what runs cost, scores at equal budgets, and what it takes to a threshold",
        lambda args: analysis.cost(
            _load(args),
            threshold=args.threshold,
            price=args.price,
            score=args.score,
            window=args.window,
        ),
        _estimates,
        needs="the confirm stage does not have a whole run",
    ),
    "select": Command(
        "configurations ranked by their shrunk score, and which would go on",
        lambda args: analysis.select(
            _load(args), k=args.k, stage=args.stage, score=args.score, window=args.window
        ),
        _estimates,
        needs="nothing was screened",
    ),
    "importance": Command(
        "which hyperparameters mattered in the screening, where the design can tell",
        lambda args: analysis.importance(
            _load(args), method=args.method, score=args.score, window=args.window
        ),
        _estimates,
    ),
    "coverage": Command(
        "seeds planned on every task and what became of them",
        lambda args: analysis.coverage(_load(args)),
        _plain,
        needs="the confirm stage was not planned",
    ),
    "checklist": Command(
        "how hyperparameters were tuned, question by question (Eimer et al. 2023)",
        lambda args: analysis.checklist(_load(args)),
        lambda args, _: as_markdown(_load(args)).rstrip("\n"),
    ),
    "registry": Command(
        "every trial of every sweep, newest first: what, where, how long, what came out",
        _registry,
        _registry_text,
    ),
}
#: Commands that are no table.
DONE_BY: dict[str, Callable[[argparse.Namespace], str]] = {
    "report": _report,
    "note": _note,
    "import-logs": _import_logs,
    "export": _export,
    "example": _example,
}


if __name__ == "__main__":
    atexit.register(gc.freeze)  # the interpreter's last collections would take half a second
    sys.exit(main())
