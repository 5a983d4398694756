"""Every listed integrator converges at its stated order and costs what it says."""

import math

import pytest
import torch

from flowpwm.integrators import INTEGRATORS, integrate, nfe, nodes


def error(integrator: str, substeps: int) -> float:
    """Against the exact solution of dz/dtau = -2 z + tau from z(0) = 1, in float64."""
    z = torch.ones(1, dtype=torch.float64)
    end = integrate(lambda z, tau: -2 * z + tau, z, integrator, substeps)
    # z(tau) = 5/4 exp(-2 tau) + tau/2 - 1/4
    return abs(float(end) - (1.25 * math.exp(-2) + 0.25))


@pytest.mark.parametrize("integrator", INTEGRATORS)
def test_the_slope_of_log_error_over_log_step_is_the_order(integrator: str) -> None:
    coarse, fine = error(integrator, 16), error(integrator, 64)
    slope = math.log(coarse / fine) / math.log(4)
    assert slope == pytest.approx(INTEGRATORS[integrator].order, abs=0.15)


@pytest.mark.parametrize("integrator", INTEGRATORS)
@pytest.mark.parametrize("substeps", [1, 3])
def test_nodes_are_the_times_that_an_integration_asks_for(integrator: str, substeps: int) -> None:
    asked = set()

    def velocity(z: torch.Tensor, tau: float) -> torch.Tensor:
        asked.add(round(tau, 9))
        return -z

    integrate(velocity, torch.ones(1), integrator, substeps)
    assert [round(tau, 9) for tau in nodes(integrator, substeps)] == sorted(asked)


@pytest.mark.parametrize("integrator", INTEGRATORS)
@pytest.mark.parametrize("substeps", [1, 3])
def test_nfe_counts_the_velocity_calls(integrator: str, substeps: int) -> None:
    calls = []

    def velocity(z: torch.Tensor, tau: float) -> torch.Tensor:
        calls.append(tau)
        return -z

    integrate(velocity, torch.ones(2), integrator, substeps)
    assert len(calls) == nfe(integrator, substeps)
    assert min(calls) == 0.0 and max(calls) <= 1.0


@pytest.mark.parametrize("integrator", INTEGRATORS)
def test_a_tableau_is_consistent(integrator: str) -> None:
    tableau = INTEGRATORS[integrator]
    assert sum(tableau.b) == pytest.approx(1.0)
    for c, row in zip(tableau.c, tableau.a, strict=True):
        assert sum(row) == pytest.approx(c)


@pytest.mark.parametrize("integrator", INTEGRATORS)
def test_agrees_with_an_independent_adaptive_solver(integrator: str) -> None:
    from torchdiffeq import odeint

    weight = torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    z = torch.linspace(-1, 1, 4, dtype=torch.float64)

    def velocity(z: torch.Tensor, tau: float) -> torch.Tensor:
        return torch.tanh(z @ weight) * (1 + tau)

    reference = odeint(
        lambda tau, z: velocity(z, float(tau)),
        z,
        torch.tensor([0.0, 1.0], dtype=torch.float64),
        method="dopri5",
        rtol=1e-10,
        atol=1e-12,
    )
    assert isinstance(reference, torch.Tensor)
    end = integrate(velocity, z, integrator, 400)
    tolerance = {1: 1e-2, 2: 1e-4, 4: 1e-8}[INTEGRATORS[integrator].order]
    assert (end - reference[-1]).abs().max() < tolerance
