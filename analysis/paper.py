"""Tables and figures for a paper: LaTeX with booktabs, vector figures as wide as a column."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.text import Text

from analysis.checklist import as_markdown
from analysis.figures import FIGURES, View
from analysis.verdict import interval, number

#: Of a two-column page of most conferences and journals (inches), and the text that fits it (pt).
COLUMN = 3.3
TEXT_PT = 7.5
_SPECIAL = {
    **{c: "\\" + c for c in "&%$#_{}"},
    "\\": "\\textbackslash{}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "\N{MINUS SIGN}": "$-$",
    "\N{PLUS-MINUS SIGN}": "$\\pm$",
    "\N{EN DASH}": "--",
}


def paper(view: View, out: str | Path) -> list[Path]:
    """Write `comparison.tex`, `arms.tex`, `aggregates.tex`, `<figure>-<panel>.pdf` and
    `checklist.md` to the folder `out`; returns the files. What there is nothing of is left out.

    Every table is a whole `tabular` for `\\input`, with its n, method and intervals; it needs the
    package booktabs.

    Raises:
        OSError: `out` cannot be written.
    """
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, table in _tables(view).items():
        if not table.empty:
            path = folder / f"{name}.tex"
            path.write_text(tabular(table), encoding="utf-8")
            written.append(path)
    names = [name for name, entry in FIGURES.items() if entry.in_paper]
    written += [path for name in names for path in _figures(view, name, folder)]
    checklist = folder / "checklist.md"
    checklist.write_text(as_markdown(view.frames), encoding="utf-8")
    return [*written, checklist]


def tabular(table: pd.DataFrame) -> str:
    """A table as LaTeX; words are set to the left, numbers to the right."""
    words = [not table[name].map(_is_number).all() for name in table.columns]
    lines = [
        "% \\usepackage{booktabs}",
        f"\\begin{{tabular}}{{{''.join('l' if word else 'r' for word in words)}}}",
        "\\toprule",
        _line(table.columns),
        "\\midrule",
        *(_line(row) for row in table.itertuples(index=False, name=None)),
        "\\bottomrule",
        "\\end{tabular}",
    ]
    return "\n".join([*lines, ""])


def _tables(view: View) -> Mapping[str, pd.DataFrame]:
    comparison = pd.DataFrame(
        {
            "Task": f"{row['task']} {row['cell']}".strip(),
            "Candidate": row["candidate"],
            "Candidate mean": number(row["candidate_mean"]),
            "Baseline mean": number(row["baseline_mean"]),
            "Difference": number(row["est"], sign=True),
            "95 % interval": interval(row["lo"], row["hi"]),
            "n": str(row["n"]),
            "Test": row["method"],
            "Verdict": row["verdict"],
        }
        for row in view.comparison.to_dict("records")
    )
    rows = view.aggregates.to_dict("records")
    aggregates = pd.DataFrame(
        {
            "Arm": row["label"],
            "Statistic": str(row["statistic"]).replace("_", " "),
            "Estimate": number(row["est"]),
            "95 % interval": interval(row["lo"], row["hi"], sign=False),
            "n": str(row["n"]),
            "Tasks": str(row["tasks"]),
            "Method": row["method"],
        }
        for row in rows
    )
    costs = pd.DataFrame(
        {
            "Task": f"{row['task']} {row['cell']}".strip(),
            "Arm": row["label"],
            "Quantity": row["quantity"].replace("_", " ").replace("env steps", "environment steps"),
            "Unit": row["unit"] or "\N{EN DASH}",
            "Estimate": number(row["est"]),
            "95 % interval": interval(row["lo"], row["hi"], sign=False) or "\N{EN DASH}",
            "n": str(row["n"]),
            "Method": row["method"],
        }
        for row in view.costs.to_dict("records")
    )
    return {"comparison": comparison, "aggregates": aggregates, "costs": costs}


def _figures(view: View, name: str, folder: Path) -> Iterator[Path]:
    entry = FIGURES[name]
    for panel in entry.panels(view):
        figure = fit_column(entry.draw(view, panel))
        path = folder / f"{name}-{re.sub(r'[^A-Za-z0-9.=-]+', '-', panel)}.pdf"
        # Type 42 keeps text as text; without a date the same sweep gives the same file.
        with mpl.rc_context({"pdf.fonttype": 42}):
            figure.savefig(path, metadata={"CreationDate": None})
        yield path


def fit_column(figure: Figure, width: float = COLUMN) -> Figure:
    """The figure `width` inches wide, its text in proportion but for what would be too small."""
    had_width, had_height = figure.get_size_inches()
    share = width / had_width
    figure.set_size_inches(width, had_height * share)
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        text.set_fontsize(max(float(text.get_fontsize()) * share, TEXT_PT - 2))
    return figure


def _line(cells: Any) -> str:
    return " & ".join(_escaped(cell) for cell in cells) + " \\\\"


def _escaped(cell: object) -> str:
    return "".join(_SPECIAL.get(c, c) for c in str(cell))


def _is_number(cell: object) -> bool:
    return bool(re.fullmatch(r"[\N{MINUS SIGN}+]?[\d,.]+|\N{EN DASH}", str(cell)))
