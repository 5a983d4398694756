"""The command line of `python -m analysis`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from analysis.choice import STAGES
from analysis.compare import CORRECTIONS, PAIRINGS
from analysis.cost import THRESHOLD
from analysis.curves import AXES
from analysis.export import FORMATS
from analysis.importance import METHODS
from analysis.scores import WINDOW
from sweeps.core.reference.margins import MEAN_MARGIN


def parse(argv: Sequence[str], tables: Mapping[str, str]) -> argparse.Namespace:
    """The command and its options; `tables` has the help of every command that prints a table."""
    # `registry note` is a command of two words; a folder of that name is `./note`.
    if list(argv[:2]) == ["registry", "note"]:
        return _note_parser().parse_args(argv[2:], argparse.Namespace(command="note"))
    return _parser(tables).parse_args(argv)


def _note_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m analysis registry note",
        description="Append a note on a sweep, or on one of its trials; it may be running.",
    )
    _path(parser)
    parser.add_argument("trial_id", metavar="TRIAL_ID", nargs="?", help="default: the whole sweep")
    parser.add_argument("text", metavar="TEXT")
    return parser


def _parser(tables: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m analysis", description="What a sweep shows, finished or running."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in tables.items():
        one = commands.add_parser(name, help=text, description=text)
        form = _shared(one)
        if name == "registry":
            one.add_argument("path", metavar="PATH", nargs="+", help="runs, sweeps or results/")
            form.add_argument("--md", action="store_true", help="the whole table as Markdown")
            one.epilog = 'python -m analysis registry note PATH [TRIAL_ID] "text" appends a note'
        else:
            _path(one, several=name != "status")
    _reporting(commands.add_parser("report", help="write report.html"))
    _importing(commands.add_parser("import-logs", help="old PWM logs and registries as a sweep"))
    _exporting(commands.add_parser("export", help="CSV, TD-MPC2's and rliable's forms, a card"))
    example = commands.add_parser("example", help="copy the recorded sweep, to try all this on")
    example.add_argument(
        "path", metavar="DIR", nargs="?", default="results", help="default: results"
    )
    choices = commands.choices
    report = choices["report"]
    _compared(choices["compare"])
    _compared(report)
    for name in ("summary", "compare", "curves", "aggregate", "cost", "select", "importance"):
        _scored(choices[name])
    choices["cost"].add_argument(
        "--threshold", type=float, default=THRESHOLD, help="share of the best possible score"
    )
    choices["cost"].add_argument(
        "--price", type=float, help="of an hour, of a GPU where there is one"
    )
    choices["select"].add_argument("-k", type=int, default=3, help="how many go on (default: 3)")
    choices["select"].add_argument("--stage", choices=STAGES, help="default: the later of them")
    choices["importance"].add_argument("--method", choices=METHODS, default="auto")
    choices["compare"].add_argument("--at", type=_at, default="final", help=_AT)
    choices["summary"].add_argument("--at", type=_at, default="final", help=_AT)
    choices["curves"].add_argument("--x", choices=list(AXES), help="default: env_steps, or epochs")
    choices["curves"].add_argument("--stage", default="confirm", help="confirm, select or screen")
    return parser


def _reporting(report: argparse.ArgumentParser) -> None:
    _path(report, several=True)
    _scored(report)
    report.add_argument("-o", "--out", type=Path, help="the file (default: report.html in PATH)")
    report.add_argument(
        "--paper", type=Path, metavar="DIR", help="LaTeX tables, vector figures, checklist.md too"
    )
    report.add_argument(
        "--interactive", action="store_true", help="interactive.html beside the report too"
    )


def _importing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", nargs="+", help="logs, Markdown tables, folders")
    parser.add_argument("-o", "--out", type=Path, required=True, help="the new run folder")
    parser.add_argument("--task", help="what they trained on (default: dflex_ant, or mt30)")


def _exporting(parser: argparse.ArgumentParser) -> None:
    _path(parser, several=True)
    parser.add_argument("-o", "--out", type=Path, required=True, help="a folder")
    parser.add_argument("--formats", nargs="+", choices=list(FORMATS), help="default: all")


_AT = "final, peak, aulc or a number of env steps (offline: epochs); default: final"


def _path(parser: argparse.ArgumentParser, *, several: bool = False) -> None:
    text = "results/<sweep>/<run-id> or .../latest"
    if several:
        parser.add_argument("path", metavar="PATH", nargs="+", help=f"{text}; several are joined")
    else:
        parser.add_argument("path", metavar="PATH", help=text)


def _shared(parser: argparse.ArgumentParser) -> argparse._MutuallyExclusiveGroup:
    """What every table can be written as, and where to; returns the group of forms."""
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="the whole table as CSV")
    form.add_argument("--json", action="store_true", help="the whole table as JSON records")
    parser.add_argument("-o", "--out", type=Path, help="write to this file, not to the terminal")
    return form


def _scored(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--score", default="return_mean", help="column (default: return_mean)")
    if not parser.prog.endswith("curves"):
        parser.add_argument("--window", type=int, default=WINDOW, help="evaluations averaged")


def _compared(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--baseline", help="arm (default: the sweep's own, else mlp)")
    parser.add_argument("--candidates", nargs="+", help="arms (default: all others)")
    parser.add_argument("--pair", choices=PAIRINGS, default="auto")
    parser.add_argument(
        "--margin", type=float, default=MEAN_MARGIN, help="share of the baseline's mean"
    )
    parser.add_argument("--scale", type=float, help="best possible score (default: by task)")
    if parser.prog.endswith("compare"):
        parser.add_argument("--correction", choices=CORRECTIONS, default="holm")


def _at(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text
