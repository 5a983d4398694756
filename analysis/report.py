"""The report of a sweep: one HTML file that needs neither script nor network."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from analysis import page, tables
from analysis.checks import warnings_of
from analysis.compare import compare
from analysis.figures import FIGURES, View
from analysis.figures.style import svg
from analysis.figures.view import Part
from analysis.files import place_of, write
from analysis.frames import Frames
from analysis.load import reads
from analysis.overall import overall
from analysis.paper import paper as write_paper
from analysis.scores import WINDOW
from analysis.standings import ALONE, is_alone
from analysis.status import counts
from analysis.verdict import headlines, number, overall_sentence
from sweeps.core.reference.margins import MEAN_MARGIN

MANY_PANELS = 12


@reads
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
    paper: str | Path | None = None,
) -> Path:
    """Write the report to `out` (default: report.html in the sweep's folder) and return its path.

    paper: a folder for LaTeX tables, vector figures and `checklist.md` as well.

    Works at any time of a sweep; what has not happened yet is not shown. The other arguments are
    those of `compare`.

    Raises:
        InputError: as `compare`.
        OSError: `out` cannot be written.
    """
    path = place_of(frames, out, "report.html")
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
    write(path, page.page(f"{frames.name} – FlowPWM", _body(view)))
    if paper is not None:
        write_paper(view, paper)
    return path


def _body(view: View) -> list[str]:
    return [part(view) for part in _PARTS]


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
    return page.section("Warnings", page.bullets(lines, "warnings"), tables.missing(view))


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


def _names(part: Part) -> list[str]:
    return [name for name, entry in FIGURES.items() if entry.part == part]


def _captions(part: Part) -> str:
    return " ".join(FIGURES[name].caption for name in _names(part))


def _sections(part: Part) -> Callable[[View], str]:
    """What draws every figure of a part as a section of its own."""
    return lambda view: "".join(_figure_section(view, name) for name in _names(part))


def _comparison(view: View) -> str:
    return page.section(
        "Comparison",
        tables.comparison(view.comparison),
        tables.together(view.together),
        tables.per_seed(view),
        _figures(view, *_names("comparison")),
        note=f"Test seeds only, on which nothing was chosen. {_captions('comparison')}",
    )


def _together(view: View) -> str:
    drawings = _figures(view, *_names("together"))
    table = tables.aggregates(view) if drawings else ""
    return page.section("All tasks together", table, drawings, note=_captions("together"))


def _stability(view: View) -> str:
    parts = _figures(view, *_names("stability")), tables.collapsed(view)
    return page.section("Stability", *parts, note=_captions("stability"))


def _cost(view: View) -> str:
    drawings = _figures(view, *_names("cost"))
    return page.section("Cost", drawings, tables.costs(view), note=f"{_captions('cost')} {_COST}")


_COST = (
    "Scores at equal budgets are those of the smoothed curve at the largest budget that every run "
    "reached; a median that fewer than half of the runs got to is not known."
)
#: The parts of the page, in order; a part without contents is left out.
_PARTS: tuple[Callable[[View], str], ...] = (
    _head,
    _verdict,
    _warnings,
    _comparison,
    _sections("learning"),
    _together,
    _stability,
    tables.arms,
    _cost,
    _sections("hyperparameters"),
    _sections("screening"),
    tables.screening,
    _sections("resources"),
    lambda view: tables.failed_trials(view.frames),
    _sections("timeline"),
    lambda view: tables.tuning(view.frames),
    lambda view: tables.configurations(view.frames),
    lambda view: tables.environment(view.frames),
    tables.downloads,
)
