"""python -m analysis status|summary|compare|curves|report PATH"""

from __future__ import annotations

import argparse
import math
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

import analysis
from analysis.cells import place
from analysis.compare import CORRECTIONS, PAIRINGS
from analysis.curves import AXES
from analysis.load import Frames
from analysis.scores import WINDOW
from analysis.status import read
from analysis.verdict import headlines, interval, number

USAGE = 2
ERROR = 1


@dataclass(frozen=True)
class Command:
    """What a command computes, and how it reads on a terminal."""

    help: str
    table: Callable[[argparse.Namespace], pd.DataFrame]
    text: Callable[[argparse.Namespace, pd.DataFrame], str]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0, or 2 after one line on stderr if the input was wrong."""
    args = _parser().parse_args(argv)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _one_line
            text = _report(args) if args.command == "report" else _tabular(args)
    except analysis.InputError as error:
        print(f"analysis: {error}", file=sys.stderr)
        return USAGE
    except OSError as error:
        print(f"analysis: {error}", file=sys.stderr)
        return ERROR
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # The reader (head, less) has seen enough; Python would complain again at its exit.
        sys.stdout = open("/dev/null", "w")  # noqa: SIM115
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m analysis", description="What a sweep shows, finished or running."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        _shared(commands.add_parser(name, help=command.help, description=command.help))
    report = commands.add_parser("report", help="write report.html")
    _path(report)
    _scored(report)
    report.add_argument("-o", "--out", type=Path, help="the file (default: report.html in PATH)")
    choices = commands.choices
    _compared(choices["compare"])
    _compared(report)
    for name in ("summary", "compare", "curves"):
        _scored(choices[name])
    choices["compare"].add_argument("--at", type=_at, default="final", help=_AT)
    choices["summary"].add_argument("--at", type=_at, default="final", help=_AT)
    choices["curves"].add_argument("--x", choices=list(AXES), help="default: env_steps, or epochs")
    choices["curves"].add_argument("--stage", default="confirm", help="confirm, select or screen")
    return parser


_AT = "final, peak, aulc or a number of env steps (offline: epochs); default: final"


def _path(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", help="results/<sweep>/<run-id> or .../latest")


def _shared(parser: argparse.ArgumentParser) -> None:
    _path(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="the whole table as CSV")
    form.add_argument("--json", action="store_true", help="the whole table as JSON records")
    parser.add_argument("-o", "--out", type=Path, help="write to this file, not to the terminal")


def _scored(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--score", default="return_mean", help="column (default: return_mean)")
    if not parser.prog.endswith("curves"):
        parser.add_argument("--window", type=int, default=WINDOW, help="evaluations averaged")


def _compared(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--baseline", help="arm (default: the sweep's own, else mlp)")
    parser.add_argument("--candidates", nargs="+", help="arms (default: all others)")
    parser.add_argument("--pair", choices=PAIRINGS, default="auto")
    parser.add_argument("--margin", type=float, default=0.05, help="share of the baseline's mean")
    parser.add_argument("--scale", type=float, help="best possible score (default: by task)")
    if parser.prog.endswith("compare"):
        parser.add_argument("--correction", choices=CORRECTIONS, default="holm")


def _at(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text


def _tabular(args: argparse.Namespace) -> str:
    command = COMMANDS[args.command]
    table = command.table(args)
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
    frames = analysis.load(args.path)
    options = {name: getattr(args, name) for name in ("score", "window", "pair", "margin", "scale")}
    path = analysis.report(
        frames, args.out, baseline=args.baseline, candidates=args.candidates, **options
    )
    return f"wrote {path}"


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


def _status_text(args: argparse.Namespace, table: pd.DataFrame) -> str:
    if table.empty:
        return "no trials yet"
    stages = analysis.counts(read(args.path))
    shown = table[["trial_id", "stage", "arm", "task", "seed", "status"]].assign(
        epochs=[
            f"{done:,.0f}/{total:,.0f}"
            for done, total in zip(table["epochs_done"], table["epochs"], strict=True)
        ],
        progress=[f"{p:.0%}" if not math.isnan(p) else "–" for p in table["progress"]],
        score=table["score"].map(number),
        elapsed=table["elapsed_s"].map(_duration),
        left=table["remaining_s"].map(_duration),
        peak=table["host_memory_peak_bytes"].map(_gigabytes),
        asked=table["memory_request_bytes"].map(_gigabytes),
        remark=table["remark"],
    )
    head = stages.assign(
        progress=[f"{p:.0%}" if not math.isnan(p) else "–" for p in stages["progress"]],
        left=stages["remaining_s"].map(_duration),
    ).drop(columns="remaining_s")
    return f"{head.to_string(index=False)}\n\n{shown.to_string(index=False)}"


def _summary_text(_: argparse.Namespace, table: pd.DataFrame) -> str:
    if table.empty:
        return "no trials yet"
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


def _plain(_: argparse.Namespace, table: pd.DataFrame) -> str:
    return "no evaluations yet" if table.empty else table.to_string(index=False)


def _load(args: argparse.Namespace) -> Frames:
    return analysis.load(args.path)


def _duration(seconds: float) -> str:
    if math.isnan(seconds):
        return "–"
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}h{m:02d}" if hours else f"{m}m{s:02d}"


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if not pd.isna(size) else "–"


def _one_line(message: Warning | str, *_: object, **__: object) -> None:
    print(f"analysis: {message}", file=sys.stderr)


COMMANDS = {
    "status": Command(
        "every trial: progress, score, time left, memory",
        lambda args: analysis.status(args.path),
        _status_text,
    ),
    "summary": Command(
        "every configuration: final score with interval, peak, stability, cost",
        lambda args: analysis.summarize(
            _load(args), score=args.score, at=args.at, window=args.window
        ),
        _summary_text,
    ),
    "compare": Command("candidates against the baseline, with a verdict", _compare, _compare_text),
    "curves": Command("learning curves with an interval over seeds", _curves, _plain),
}


if __name__ == "__main__":
    sys.exit(main())
