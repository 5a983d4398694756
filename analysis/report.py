"""The report of a sweep: one HTML file that needs neither script nor network."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from analysis import page, tables
from analysis.checks import warnings_of
from analysis.compare import compare
from analysis.figures import FIGURES, View
from analysis.figures.style import svg
from analysis.load import Frames
from analysis.overall import overall
from analysis.scores import WINDOW
from analysis.standings import ALONE, is_alone
from analysis.status import counts
from analysis.verdict import headlines, number, overall_sentence
from sweeps.core.reference.margins import MEAN_MARGIN

MANY_PANELS = 12


def report(
    frames: Frames,
    out: str | Path | None = None,
    *,
    baseline: str | None = None,
    candidates: Collection[str] | None = None,
    score: str = "return_mean",
    window: int = WINDOW,
    pair: str = "auto",
    margin: float = MEAN_MARGIN,
    scale: float | Mapping[str, float] | None = None,
) -> Path:
    """Write the report to `out` (default: report.html in the sweep's folder) and return its path.

    Works at any time of a sweep; what has not happened yet is not shown. The other arguments are
    those of `compare`.

    Raises:
        InputError: as `compare`.
        OSError: `out` cannot be written.
    """
    path = Path(out) if out is not None else frames.path / "report.html"
    options: dict[str, Any] = {
        "score": score,
        "window": window,
        "pair": pair,
        "margin": margin,
        "scale": scale,
    }
    comparison = compare(frames, baseline, candidates, **options)
    together = overall(frames, baseline, candidates, **options)
    view = View(frames, comparison, score, window, scale, together)
    html = page.page(f"{frames.name} – FlowPWM", _body(view))
    temp = path.with_name(f".{path.name}.tmp")
    temp.write_text(html, encoding="utf-8")
    os.replace(temp, path)
    return path


def _body(view: View) -> list[str]:
    return [
        _head(view),
        _verdict(view),
        _warnings(view),
        page.section(
            "Comparison",
            tables.comparison(view.comparison),
            tables.together(view.together),
            tables.per_seed(view),
            _figures(view, "differences", "seeds"),
            note="Test seeds only, on which nothing was chosen. "
            + FIGURES["differences"].caption
            + " "
            + FIGURES["seeds"].caption,
        ),
        _figure_section(view, "learning_curves"),
        _figure_section(view, "peak_final"),
        tables.arms(view),
        _figure_section(view, "heatmap"),
        _figure_section(view, "parameters"),
        _figure_section(view, "screening_curves"),
        tables.screening(view),
        tables.failed_trials(view.frames),
        tables.configurations(view.frames),
        tables.environment(view.frames),
    ]


def _head(view: View) -> str:
    frames = view.frames
    table = counts(frames)
    total = table.iloc[-1]
    state = "finished" if frames.finished else "not finished"
    line = f"{state}; {total['trials']} trials: {total['done']} done"
    for name in ("running", "waiting", "stopped", "failed", "cancelled"):
        if total[name]:
            line += f", {total[name]} {name}"
    times = frames.trials[["started_at", "ended_at"]]
    if times["started_at"].notna().any():
        line += f"; {times['started_at'].min():%Y-%m-%d %H:%M}"
        last = times.max(axis=None) if times["ended_at"].notna().any() else None
        line += f" to {last:%Y-%m-%d %H:%M} UTC" if last is not None else " UTC"
    if n := len(frames.extensions):
        line += f"; extended {'once' if n == 1 else f'{n} times'}"
    hours = frames.trials["wall_time_s"] / 3600
    gpu = float((hours * frames.trials["num_gpus"].fillna(0)).sum())
    cpu = float((hours * frames.trials["num_cpus"].fillna(0)).sum())
    line += f"; {number(gpu)} GPU-hours" if gpu else f"; {number(cpu)} CPU-hours" if cpu else ""
    return f"<h1>{page.escape(frames.name)}</h1>" + page.paragraph(line, "meta")


def _verdict(view: View) -> str:
    found = set(view.comparison["verdict"])
    kind = found.pop() if len(found) == 1 else ""
    score = f"mean of the last {view.window} evaluations of {view.score}"
    note = page.paragraph(f"Score: {score}. How it is decided stands below the table.", "meta")
    lines = [ALONE] if is_alone(view.frames) else headlines(view.comparison)
    lines += [overall_sentence(row) for _, row in view.together.iterrows()]
    text = "".join(page.paragraph(line) for line in lines)
    return f'<div class="verdict {kind}">{text}</div>{note}'


def _warnings(view: View) -> str:
    lines = warnings_of(
        view.frames, view.comparison, score=view.score, window=view.window, scale=view.scale
    )
    return page.section("Warnings", page.bullets(lines, "warnings"))


def _figures(view: View, *names: str) -> str:
    drawings = [
        (f"{FIGURES[name].title}: {panel}", svg(FIGURES[name].draw(view, panel), f"{name}{i}"))
        for name in names
        for i, panel in enumerate(FIGURES[name].panels(view)[:MANY_PANELS])
    ]
    return page.figures(drawings)


def _figure_section(view: View, name: str) -> str:
    entry = FIGURES[name]
    left_out = entry.panels(view)[MANY_PANELS:]
    more = page.paragraph(f"Not drawn: {', '.join(left_out)}.", "note") if left_out else ""
    return page.section(entry.title, _figures(view, name), more, note=entry.caption)
