"""What the page shows as files: links that hold their CSV themselves."""

from __future__ import annotations

import pandas as pd

from analysis import page
from analysis.figures import View
from analysis.summarize import summarize

#: A larger table would be most of the page (characters of CSV).
LARGEST = 500_000


def downloads(view: View) -> str:
    """A link for every table; those that are too large are named."""
    tables = {
        "comparison": view.comparison,
        "overall": view.together,
        "aggregates": view.aggregates,
        "cost": view.costs,
        "summary": summarize(view.frames, score=view.score, window=view.window),
        "scores": view.scores,
    }
    texts = {name: _csv(table) for name, table in tables.items() if len(table)}
    links = [page.download(f"{n}.csv", t) for n, t in texts.items() if len(t) <= LARGEST]
    large = [f"{name}.csv" for name, text in texts.items() if len(text) > LARGEST]
    left_out = f"Too large for this page: {', '.join(large)}." if large else ""
    return page.section(
        "Downloads",
        page.links(links),
        page.paragraph(left_out, "note") if large else "",
        note="The tables of this page; all of the sweep: python -m analysis export.",
    )


def _csv(table: pd.DataFrame) -> str:
    return table.to_csv(index=False)
