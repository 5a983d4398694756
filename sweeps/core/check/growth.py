"""The check of an extension: nothing that ran would be another run, and tests stay tests.

A verdict on test seeds has been looked at. Whoever then tries more configurations chooses again
after that look, so the new winner has to be tested where nobody has looked yet: seeds that no
comparison of this sweep has used. They are demanded before anything starts. More seeds for a
choice that stays need no others; the report says that they were added after a look.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from flowpwm.checks import ConfigError
from flowpwm.config import flat_items, flatten
from sweeps.core.check.checked import refuse
from sweeps.core.definition.growth import Growth, difference
from sweeps.core.definition.sweep import Sweep
from sweeps.core.protocol.plan import compose_trial, differing
from sweeps.core.reference.welch import FEWEST_SEEDS
from sweeps.core.store.state import SweepState, TrialRecord

#: Differences that are told of one arm.
_MOST_KEYS = 5


def check_growth(growth: Growth[Sweep], state: SweepState) -> None:
    """Raise UsageError with a line for every reason not to extend the sweep of `state`."""
    records = list(state.trials.values())
    refuse([*_changed(growth.sweep, records), *_looked_at(growth, records)])


def _changed(sweep: Sweep, records: Iterable[TrialRecord]) -> Iterator[str]:
    """A line for every key in which trials of today's code would differ from those that ran."""
    told: set[tuple[str, str]] = set()
    # The seed is all in which trials of one configuration and stage differ.
    for record in {(record.config_id, record.stage): record for record in records}.values():
        cell = {"task": record.task, **record.params}
        old = dict(flat_items(record.config))
        try:
            new = flatten(compose_trial(sweep, record.arm, record.stage, cell, record.seed))
        except (ConfigError, KeyError) as error:
            yield f"--extend: {record.trial_id} ({record.arm}) cannot be composed again: {error}"
            continue
        changed = [k for k in differing(old, new) if (record.arm, k) not in told]
        for key in changed[:_MOST_KEYS]:
            told.add((record.arm, key))
            where = f"{key} of {record.trial_id} ({record.arm})"
            yield difference(
                "--extend",
                where,
                {where: old.get(key)},
                {where: new.get(key)},
                "the presets or defaults have changed since; start a new sweep",
            )


def _looked_at(growth: Growth[Sweep], records: Iterable[TrialRecord]) -> Iterator[str]:
    """Choosing again wants test seeds that no verdict was on."""
    used = {record.seed for record in records if record.stage == "confirm"}
    if "select" not in growth.stages or not used:
        return
    seeds = growth.sweep.confirm.seeds
    fresh, wanted = [s for s in seeds if s not in used], min(FEWEST_SEEDS, len(used))
    if len(fresh) < wanted:
        yield (
            f"--extend {growth.text}: another configuration may win, after a look at test seeds "
            f"{', '.join(map(str, sorted(used)))}; a new winner is tested on others. Add at "
            f"least {wanted} with confirm.seeds={len(seeds) + wanted - len(fresh)}"
        )
