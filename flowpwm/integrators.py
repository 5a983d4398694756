"""Fixed-step Runge-Kutta integrators of dz/dtau = v(z, tau) over tau in [0, 1]."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

Velocity = Callable[[Tensor, float], Tensor]


@dataclass(frozen=True)
class Tableau:
    """An explicit Runge-Kutta method: stage times c, stage weights a, solution weights b.

    Coefficients as in Hairer, Norsett & Wanner, "Solving Ordinary Differential Equations I", II.1.
    """

    order: int
    c: tuple[float, ...]
    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]

    @property
    def stages(self) -> int:
        """Velocity evaluations per substep."""
        return len(self.b)


INTEGRATORS: dict[str, Tableau] = {
    "euler": Tableau(1, c=(0.0,), a=((),), b=(1.0,)),
    "midpoint": Tableau(2, c=(0.0, 0.5), a=((), (0.5,)), b=(0.0, 1.0)),
    "heun": Tableau(2, c=(0.0, 1.0), a=((), (1.0,)), b=(0.5, 0.5)),
    "rk4": Tableau(
        4,
        c=(0.0, 0.5, 0.5, 1.0),
        a=((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)),
        b=(1 / 6, 1 / 3, 1 / 3, 1 / 6),
    ),
}


def nfe(integrator: str, substeps: int) -> int:
    """Velocity evaluations of one whole integration; compare integrators at equal nfe."""
    return INTEGRATORS[integrator].stages * substeps


def nodes(integrator: str, substeps: int) -> tuple[float, ...]:
    """The times tau at which an integration asks for the velocity, ascending, each once."""
    times = {(k + c) / substeps for k in range(substeps) for c in INTEGRATORS[integrator].c}
    return tuple(sorted(times))


def integrate(velocity: Velocity, z: Tensor, integrator: str, substeps: int) -> Tensor:
    """Carry `z` (any shape) from tau=0 to tau=1 in `substeps` steps of size 1/substeps."""
    tableau = INTEGRATORS[integrator]
    step = 1.0 / substeps
    for k in range(substeps):
        z = _step(tableau, velocity, z, k * step, step)
    return z


def _step(tableau: Tableau, velocity: Velocity, z: Tensor, tau: float, step: float) -> Tensor:
    slopes: list[Tensor] = []
    for c, row in zip(tableau.c, tableau.a, strict=True):
        slopes.append(velocity(_advance(z, slopes, row, step), tau + c * step))
    return _advance(z, slopes, tableau.b, step)


def _advance(z: Tensor, slopes: list[Tensor], weights: tuple[float, ...], step: float) -> Tensor:
    # Zero weights are skipped: each would cost a kernel and a node in the autograd graph.
    for slope, weight in zip(slopes, weights, strict=True):
        if weight:
            z = z.add(slope, alpha=weight * step)
    return z
