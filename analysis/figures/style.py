"""How figures look: colours that colour-blind readers tell apart, sizes that a phone can show."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

# Okabe and Ito's palette, the ones that also differ in lightness on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
GREY = "#6b7280"
GRID = "#e5e7eb"
WIDTH = 4.6
HEIGHT = 3.0

_RC: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 10.0,
    "svg.fonttype": "none",
    "axes.unicode_minus": True,
}


def colours(names: Iterable[str]) -> dict[str, str]:
    """A fixed colour for each name, by alphabet."""
    return {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(sorted(set(names)))}


def markers(names: Iterable[str]) -> dict[str, str]:
    """A fixed marker for each name, by alphabet: colour is never the only difference."""
    return {name: MARKERS[i % len(MARKERS)] for i, name in enumerate(sorted(set(names)))}


def panel(*, width: float = WIDTH, height: float = HEIGHT) -> tuple[Figure, Axes]:
    """A figure of one plot (inches), outside pyplot's global state."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(colors="#374151", labelsize=9)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def opacity(lines: int, most: float = 0.8) -> float:
    """Of each of so many lines: dozens are seen one by one, thousands as where they are dense."""
    return float(min(most, max(0.06, 30 / max(lines, 1))))


def short_numbers(axis: Axis) -> None:
    """Ticks such as 0.5M and 20k in place of powers of ten."""
    axis.set_major_formatter(FuncFormatter(lambda x, _: _short(x)))


def svg(figure: Figure, name: str) -> str:
    """The figure as an `<svg>` element; ids start with `name`, so that several fit one page."""
    buffer = io.StringIO()
    with mpl.rc_context({**_RC, "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    # Matplotlib numbers its groups from 1 in every figure; on one page ids must differ.
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r'(href="#|url\(#)', rf"\1{name}-", text)
    # The page scales the figure: a fixed size would overflow a phone.
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    return re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)


def _short(x: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(x) >= size:
            return f"{x / size:g}{unit}"
    return f"{x:g}".replace("-", "\N{MINUS SIGN}")
