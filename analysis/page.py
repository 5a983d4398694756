"""The parts of an HTML page: text is escaped here and nowhere else."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

CSS = """
:root{color-scheme:light}
*{box-sizing:border-box}
body{margin:0;background:#fff;color:#111827;font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue",Arial,sans-serif;-webkit-text-size-adjust:100%}
main{max-width:62rem;margin:0 auto;padding:1rem}
h1{font-size:1.4rem;margin:.2rem 0;overflow-wrap:anywhere}
h2{font-size:1.15rem;margin:2.2rem 0 .4rem;padding-bottom:.2rem;border-bottom:1px solid #e5e7eb}
p{margin:.4rem 0;max-width:46rem}
.meta,.note{color:#4b5563;font-size:.9rem}
.verdict{margin:1rem 0;padding:.8rem 1rem;border-left:6px solid #6b7280;background:#f3f4f6;
border-radius:.3rem;font-size:1.08rem}
.verdict p{max-width:none;margin:0;overflow-wrap:anywhere}
.win{border-color:#009e73}.lose{border-color:#d55e00}.tie{border-color:#0072b2}
ul.warnings{padding:0;list-style:none;max-width:50rem}
.warnings li{margin:.35rem 0;padding:.35rem .7rem;background:#fff7ed;border-left:4px solid #d97706;
overflow-wrap:anywhere}
.scroll{overflow-x:auto;margin:.5rem 0;-webkit-overflow-scrolling:touch}
table{border-collapse:collapse;font-size:.85rem;font-variant-numeric:tabular-nums}
th,td{padding:.3rem .5rem;text-align:left;vertical-align:top;border-bottom:1px solid #e5e7eb}
th{border-bottom:2px solid #9ca3af;vertical-align:bottom;font-weight:600}
td.num{white-space:nowrap}td.num,th.num{text-align:right}
td.wide{min-width:14rem;overflow-wrap:anywhere}
td.code{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-size:.82rem;
overflow-wrap:anywhere;min-width:9rem}
td.name{white-space:nowrap}
.chip{display:inline-block;padding:0 .5rem;border-radius:1rem;color:#fff;background:#4b5563;
white-space:nowrap}
.chip.win{background:#00734f}.chip.lose{background:#a84a00}.chip.tie{background:#005a8f}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,20rem),1fr));gap:1rem}
figure{margin:0;break-inside:avoid}
figure svg{display:block;width:100%;max-width:30rem;height:auto}
details{margin:.5rem 0}
.links a{display:inline-block;margin-right:1rem}
summary{cursor:pointer;padding:.2rem 0}
@media (max-width:40rem){main{padding:.7rem}body{font-size:15px}th,td{padding:.3rem .45rem}}
@media print{body{font-size:10pt}main{max-width:none;padding:0}.scroll{overflow:visible}
.links{display:none}
h2{break-after:avoid}tr,.verdict,li{break-inside:avoid}
.verdict,.chip,.warnings li{-webkit-print-color-adjust:exact;print-color-adjust:exact}}
"""


def escape(value: object) -> str:
    """Text that is safe between tags and in attributes."""
    return html.escape(str(value), quote=True)


def page(title: str, body: Iterable[str]) -> str:
    """A whole document: no script, nothing loaded from anywhere."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        # Even a harmful string that got past the escaping could load and run nothing.
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none';style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{CSS}</style></head>\n"
        f"<body><main>\n{chr(10).join(body)}\n</main></body></html>\n"
    )


def section(title: str, *parts: str, note: str = "") -> str:
    """A heading, a line of explanation and the contents; nothing if there are no contents."""
    contents = [part for part in parts if part]
    if not contents:
        return ""
    lines = [f"<h2>{escape(title)}</h2>"]
    if note:
        lines.append(f'<p class="note">{escape(note)}</p>')
    return f"<section>{chr(10).join([*lines, *contents])}</section>"


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph, with a CSS class if `kind` is given."""
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def bullets(lines: Sequence[str], kind: str) -> str:
    """A list; nothing if it is empty."""
    if not lines:
        return ""
    return f'<ul class="{kind}">{"".join(f"<li>{escape(line)}</li>" for line in lines)}</ul>'


def chip(verdict: str) -> str:
    """A verdict as a coloured label."""
    return f'<span class="chip {escape(verdict)}">{escape(verdict)}</span>'


def table(
    frame: pd.DataFrame, kinds: Mapping[str, str] | None = None, raw: Sequence[str] = ()
) -> str:
    """A table that scrolls sideways where it does not fit; nothing if it has no rows.

    kinds: CSS class of a column's cells ("num", "wide", "code"). raw: columns that hold HTML made
    by this module.
    """
    if frame.empty:
        return ""
    kinds = kinds or {}

    def cell(tag: str, name: str, content: str) -> str:
        kind = f' class="{kinds[name]}"' if name in kinds else ""
        return f"<{tag}{kind}>{content}</{tag}>"

    head = "".join(cell("th", str(name), escape(name)) for name in frame.columns)
    rows = []
    for values in frame.itertuples(index=False, name=None):
        cells = [
            cell("td", str(name), value if name in raw else escape(value))
            for name, value in zip(frame.columns, values, strict=True)
        ]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def figures(drawings: Sequence[tuple[str, str]]) -> str:
    """Figures side by side where they fit: (description, svg)."""
    if not drawings:
        return ""
    parts = [
        f'<figure role="img" aria-label="{escape(name)}">{svg}</figure>' for name, svg in drawings
    ]
    return f'<div class="figures">{"".join(parts)}</div>'


def download(name: str, text: str) -> str:
    """A link that saves `text` as the file `name`, which the page holds itself."""
    held = base64.b64encode(text.encode()).decode("ascii")
    return f'<a download="{escape(name)}" href="data:text/csv;base64,{held}">{escape(name)}</a>'


def links(made: Sequence[str]) -> str:
    """Links that this module made, in a line; nothing if there are none."""
    return f'<p class="links">{" ".join(made)}</p>' if made else ""


def details(summary: str, contents: str) -> str:
    """Contents that are folded away at first; nothing if there are none."""
    if not contents:
        return ""
    return f"<details><summary>{escape(summary)}</summary>{contents}</details>"
