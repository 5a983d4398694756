"""What simulated sweeps say: a page for the terminal, plain values for a file."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweeps.core.definition.tune import Tune
from sweeps.core.simulate.strategies import RIVALS
from sweeps.core.simulate.tournament import Comparison, Estimate

STAGED = "screen, select, confirm: the protocol above"
#: A mean so many standard errors away from 0 is called different from it.
CLEAR = 2.0
MEASURES = ("value", "optimism", "runs", "hours", "wall_hours")


@dataclass(frozen=True)
class Played:
    """How a protocol was played; `world` says what the worlds are like, `recorded` their folder."""

    reps: int
    seed: int
    workers: int
    recorded: str | None
    world: Mapping[str, float]


def header(sweep: Tune, played: Played) -> str:
    """The protocol and the worlds it is played in."""
    screen, cells = sweep.screen, sweep.cell_count()
    rungs = " ".join(f"{fraction:.0%}" for fraction in screen.rungs) or "none"
    kind = "synthetic" if played.recorded is None else "recorded"
    settings = "  ".join(f"{name} {value:.3g}" for name, value in played.world.items())
    rows = [
        f"protocol   screen {screen.trials} of {cells:.0f} cells, rungs {rungs}, "
        f"1 in {screen.reduction:g} goes on, margin {screen.margin:g}; "
        f"select {sweep.select.top} x {len(sweep.select.seeds)} seeds; "
        f"confirm {len(sweep.confirm.seeds)} seeds",
        f"worlds     {played.reps} {kind}, {settings}; seed {played.seed}, "
        f"{played.workers} workers",
    ]
    return "\n".join(rows)


def table(found: Comparison) -> str:
    """A line a strategy, with what it is."""
    rows = [
        "",
        _line("strategy", ["value", "optimism", "runs", "hours", "wall h", "staged is better by"]),
    ]
    for name in found.outcomes:
        numbers = [str(found.estimate(name, measure)) for measure in MEASURES]
        gain = "" if name == "staged" else str(found.gain(name))
        rows.append(_line(name, [*numbers, gain]))
    if found.best is not None:
        rows.append(_line("best cell", [str(found.best)]))
    rows += ["", *(f"{name:10} {_doc(name)}{_failures(found, name)}" for name in found.outcomes)]
    rows += ["", *conclusions(found)]
    return "\n".join(row.rstrip() for row in rows)


def conclusions(found: Comparison) -> list[str]:
    """What the table says, a sentence each: of the report's honesty, and of every rival's pick."""
    lines = []
    optimism = found.estimate("staged", "optimism")
    if _clear(optimism):
        side = "above" if optimism.mean > 0 else "below"
        lines.append(
            f"What the protocol reports is {_size(optimism)} {side} its pick's true value."
        )
    elif math.isfinite(optimism.se):
        lines.append("What the protocol reports is, on average, its pick's true value.")
    for name in found.outcomes:
        gain = found.gain(name)
        if name == "staged" or not math.isfinite(gain.se):
            continue
        if _clear(gain):
            word = "better" if gain.mean > 0 else "worse"
            lines.append(f"Its pick is {word} than that of {name}, by {_size(gain)}.")
        else:
            lines.append(
                f"Between its pick and that of {name} these {found.answered(name)} worlds show no "
                "difference."
            )
    return lines


def _clear(estimate: Estimate) -> bool:
    return abs(estimate.mean) > CLEAR * estimate.se


def _size(estimate: Estimate) -> str:
    return str(Estimate(abs(estimate.mean), estimate.se))


def _line(name: str, cells: Sequence[str]) -> str:
    return f"{name:10} " + "  ".join(f"{cell:>14}" for cell in cells)


def _doc(name: str) -> str:
    return STAGED if name == "staged" else RIVALS[name].doc


def _failures(found: Comparison, name: str) -> str:
    lost = len(found.outcomes[name]) - found.answered(name)
    return f"; {lost} sweeps came to no answer" if lost else ""


def plain(sweep: Tune, played: Played, found: Comparison) -> dict[str, Any]:
    """All of it in JSON types; null for what cannot be said."""
    return dataclasses.asdict(played) | {
        "sweep": sweep.to_dict(),
        "best": None if found.best is None else _pair(found.best),
        "strategies": {
            name: {
                "doc": _doc(name),
                "n": found.answered(name),
                **{measure: _pair(found.estimate(name, measure)) for measure in MEASURES},
                "staged_is_better_by": _pair(found.gain(name)),
            }
            for name in found.outcomes
        },
    }


def _pair(estimate: Estimate) -> dict[str, float | None]:
    pairs = dataclasses.asdict(estimate).items()
    return {key: number if math.isfinite(number) else None for key, number in pairs}
