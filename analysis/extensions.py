"""What it does to a verdict that there were looks before it, in plain sentences.

Intervals and p values hold for a number of seeds, and for arms, that were settled before any result
was seen. Whoever adds seeds until the answer pleases finds a difference more often than 1 time in
20; whoever adds an arm after a look at test seeds may have made it for them. Neither can be
corrected afterwards, since the first look used up all of the 5 %. So the verdict stays as it is,
and is told together with the looks that were had.
"""

from __future__ import annotations

from analysis.frames import SUPERSEDED, Frames
from analysis.load import reads
from analysis.verdict import ALPHA
from sweeps.core.store.events import Extension

_SEEDS = "confirm.seeds"


@reads
def looks(frames: Frames) -> list[str]:
    """A sentence for every way in which a look at results may have shaped the verdict."""
    seen = [extension for extension in frames.extensions if extension.scored]
    return [
        *_more_seeds(frames, seen),
        *_more_arms(seen),
        *_chosen_again(frames, seen),
        *_tested_before(frames),
    ]


def _more_seeds(frames: Frames, seen: list[Extension]) -> list[str]:
    trials = frames.trials
    spent = set(trials.loc[trials["stage"] == SUPERSEDED, "seed"])
    # A look at seeds that do not count any more is no look at this verdict.
    added = [e for e in seen if _SEEDS in e.added and set(e.seeds) - spent]
    if not added:
        return []
    k = len(added) + 1
    seeds = "; ".join(f"{e.added[_SEEDS]} after {_trials(e)}" for e in added)
    return [
        f"Seeds were added after a look: {seeds}. With {k} looks the chance of a wrong win or lose "
        f"is up to {min(1.0, k * ALPHA):.0%} instead of {ALPHA:.0%}; seeds that are fixed in "
        "advance have no such cost."
    ]


def _more_arms(seen: list[Extension]) -> list[str]:
    return [
        f"Arms were added after a look: {extension.added['arms']} after {_trials(extension)}. An "
        "arm that is chosen with these seeds in view does better on them than on others; test it "
        "on new seeds."
        for extension in seen
        if "arms" in extension.added
    ]


def _chosen_again(frames: Frames, seen: list[Extension]) -> list[str]:
    again = [e for e in seen if e.added.keys() - {_SEEDS, "arms", "tasks"}]
    if frames.spec.get("kind") != "tune" or not again:
        return []
    what = "; ".join(f"{name} {text}" for e in again for name, text in e.added.items())
    text = f"Chosen again after a look ({what}): "
    if len(frames.winners) < 2:
        return [text + "the winner stayed."]
    old, new = frames.winners[-2:]
    return [
        text + f"{new} took the place of {old}. The verdict is on test seeds that nothing had run "
        "on before; runs on the earlier ones stay in the tables and do not count. It is verdict "
        f"{len(frames.winners)} of this sweep: each is wrong with a chance of up to {ALPHA:.0%}."
    ]


def _tested_before(frames: Frames) -> list[str]:
    started = frames.events.loc[frames.events["event"] == "warm_started", "payload"]
    return [
        f"Warm start: test seeds {', '.join(map(str, payload['tested']))} were used before, by the "
        "sweeps that this one learned from. Its screen did not see those results, but whoever "
        "asked for it may have; only on other seeds is a verdict independent of theirs."
        for payload in started
        if payload.get("tested")
    ]


def _trials(extension: Extension) -> str:
    return f"{extension.scored} scored trial{'s' if extension.scored > 1 else ''}"
