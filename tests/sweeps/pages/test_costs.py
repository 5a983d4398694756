"""The table of a dry run: a line a configuration, with what its run takes."""

import re

from flowpwm.cost import estimate
from sweeps.core.check.sweep import check
from sweeps.core.forecast.forecast import configurations, run_seconds
from sweeps.core.forecast.rates import Correction
from sweeps.core.pages.costs import cost_table
from tests.sweeps.tiny import COMPARE, PLAN, asked

NOMINAL = Correction()


def lines(table: str) -> list[str]:
    """A configuration each, those that were wrapped joined again."""
    return re.sub(r"\n {40,}", " ", table).splitlines()


def test_every_configuration_has_a_line_with_what_it_takes() -> None:
    plans = configurations(PLAN, check(PLAN))
    table = cost_table(plans, NOMINAL)
    title, *rows = lines(table)
    assert title.split() == ["params", "nfe", "FLOPs", "host", "asks", "for", "takes", "disk", "of"]
    assert max(map(len, table.splitlines())) <= 100
    # Of the screen as many cells as are tried, and the baseline once for the cell in the middle.
    assert len(rows) == len(plans) == PLAN.screen.trials + 1
    assert len(set(rows)) == len(rows)
    for plan, row in zip(plans, rows, strict=True):
        cost = estimate(plan.config)
        minutes = run_seconds(plan.config, cost, NOMINAL) / 60
        assert f"{cost.parameters['total'] / 1e3:.3g}k" in row
        assert f" {minutes:.1f} min " in row
        assert row.split()[1] == str(cost.nfe or "–")
        assert f" {plan.arm} " in f"{row} "
        assert "epochs=" not in row  # the same in all of them
        if plan.arm == "flow":
            assert f"substeps={plan.config.world_model.substeps}" in row


def test_a_gpu_has_a_column_where_one_is_asked_for() -> None:
    sweep = asked("device=cuda", "trial.gpus=0.5", "task=point-mass")
    title, *rows = lines(cost_table(configurations(sweep, check(sweep)), NOMINAL))
    assert "device" in title and len(rows) == 3


def test_seeds_of_a_configuration_share_a_line() -> None:
    plans = configurations(COMPARE, check(COMPARE))
    assert len(plans) == len(COMPARE.arms) * len(COMPARE.tasks)
    assert "task=reacher-easy" in cost_table(plans, NOMINAL)
