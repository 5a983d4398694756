"""What each configuration of a sweep should take: the table below the page of a dry run."""

from __future__ import annotations

import textwrap
from collections.abc import Container, Sequence

from sweeps.core.definition.axes import cell_text, value_text
from sweeps.core.forecast.forecast import run_seconds, size_text
from sweeps.core.forecast.rates import Correction
from sweeps.core.pages.parts import WIDTH
from sweeps.core.protocol.plan import Plan
from sweeps.core.protocol.requests import gib


def cost_table(plans: Sequence[Plan], found: Correction) -> str:
    """A line a plan: what one run of it should take if it goes to its end.

    FLOPs are of the matrix products of an epoch; `host` and `device` is memory that the run should
    hold, `asks for` what its trial reserves, `disk` its checkpoints while it trains.
    """
    values: dict[str, set[str]] = {}
    for plan in plans:
        for key, value in plan.cell.items():
            values.setdefault(key, set()).add(value_text(value))
    varied = {key for key, different in values.items() if len(different) > 1}
    costs = [_cost(plan, found) for plan in plans]
    titles = [title for title in costs[0] if any(cost[title] for cost in costs)]
    widths = {title: max(len(title), *(len(cost[title]) for cost in costs)) for title in titles}
    lines = []
    for cost, name in [
        ({title: title for title in titles}, "of"),
        *zip(costs, (_name(plan, varied) for plan in plans), strict=True),
    ]:
        numbers = "  ".join((cost[title] or "–").rjust(widths[title]) for title in titles) + "  "
        lines += textwrap.wrap(
            name,
            WIDTH,
            initial_indent=numbers,
            subsequent_indent=" " * (len(numbers) + 2),
            break_on_hyphens=False,
        )
    return "\n".join(lines)


def _name(plan: Plan, keys: Container[str]) -> str:
    shown = {key: value for key, value in plan.cell.items() if key in keys}
    return f"{plan.arm} {cell_text(shown)}".strip()


def _cost(plan: Plan, found: Correction) -> dict[str, str]:
    cost = plan.cost
    device = cost.device_memory_bytes
    return {
        "params": _count(cost.parameters["total"]),
        "nfe": str(cost.nfe or ""),
        "FLOPs": f"{cost.flops_per_epoch:.2g}".replace("e+0", "e"),
        "host": size_text(cost.host_memory_bytes),
        "device": size_text(device) if device else "",
        "asks for": gib(plan.resources.memory_bytes),
        "takes": _time(run_seconds(plan.config, cost, found)),
        "disk": size_text(cost.checkpoint_bytes),
    }


def _count(number: int) -> str:
    return f"{number / 1e6:.3g}M" if number >= 1e6 else f"{number / 1e3:.3g}k"


def _time(seconds: float) -> str:
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours >= 1 else f"{seconds / 60:.1f} min"
