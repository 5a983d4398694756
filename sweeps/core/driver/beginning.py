"""Where a sweep begins: from nothing, from its own folder, or with what earlier sweeps know."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweeps.core.check.checked import Checked
from sweeps.core.check.findings import Finding
from sweeps.core.check.growth import check_growth
from sweeps.core.definition.asked import places_told
from sweeps.core.definition.command import parse
from sweeps.core.definition.growth import Growth, NothingAdded, grow
from sweeps.core.definition.options import Options, options_of
from sweeps.core.definition.settings import UsageError
from sweeps.core.definition.sweep import Sweep
from sweeps.core.definition.tune import Tune
from sweeps.core.driver.resume import refuse_changes, stored_state, stored_sweep
from sweeps.core.driver.warm_start import WarmStart, look_back
from sweeps.core.pages.growth import growth_rows
from sweeps.core.store.state import SweepState


@dataclass(frozen=True)
class Beginning:
    """A sweep as it will run. `stored` is what its folder holds and `state` what ran there;
    `growth` is what is added to it, `warm` what its screen knows beforehand.
    """

    script: Sweep
    stored: Sweep
    sweep: Sweep
    options: Options
    state: SweepState
    growth: Growth[Sweep] | None = None
    warm: WarmStart | None = None

    def check(self) -> None:
        """Raise UsageError where what ran would be another run, or a test no test."""
        if self.growth is not None:
            check_growth(self.growth, self.state)

    def check_again(self) -> None:
        """The same once the folder is ours: raise UsageError if it has changed in between."""
        if self.growth is not None and stored_sweep(self.script, self.options) != self.stored:
            raise UsageError(f"{self.options.folder} was extended by another process: try again")

    def looking_back(self, here: Mapping[str, Any]) -> Beginning:
        """With what earlier sweeps know, where it was asked for. Raises UsageError."""
        if self.options.warm_start is None:
            return self
        try:
            warm = look_back(self.sweep, self.options.warm_start, here)
        except OSError as error:
            raise UsageError(f"--warm-start {self.options.warm_start}: {error}") from error
        return dataclasses.replace(self, warm=warm)

    def warned(self, checked: Checked) -> Checked:
        """The check with what a warm start adds."""
        more = self.warm.warnings if self.warm is not None else ()
        return checked.with_findings(*(Finding("warm start", text) for text in more))

    def rows(self) -> list[str]:
        """Lines of the first page on what there is already."""
        if self.growth is not None:
            return growth_rows(self.growth, self.state, self.options.folder)
        if self.warm is not None and isinstance(self.sweep, Tune):
            return self.warm.rows(self.sweep)
        return []


def begin(script: Sweep, words: Sequence[str]) -> Beginning:
    """The sweep of a script as the command line asks for it. Raises UsageError."""
    stored = stored_sweep(script, options_of(words))
    asked, options = parse(stored, words, offered=script.arms)
    if options.folder is None:
        return Beginning(script, stored, asked, options, SweepState())
    state, growth = stored_state(options), None
    with places_told(options.given):
        if options.extend is None:
            refuse_changes(stored, asked)
        elif (growth := _growth(stored, asked, state)) is not None:
            asked = growth.sweep
    return Beginning(script, stored, asked, options, state, growth)


def _growth(stored: Sweep, asked: Sweep, state: SweepState) -> Growth[Sweep] | None:
    """What is added; None where a driver that did not come to its end has added it already, so
    that the same command goes on.
    """
    try:
        return grow(stored, asked)
    except NothingAdded:
        if state.finished or not state.extensions:
            raise
        return None
