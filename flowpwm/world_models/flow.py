"""Flow dynamics: the next latent is the end of an ODE whose velocity is learned by flow matching.

Lipman et al. 2023, "Flow Matching for Generative Modeling"; Liu et al. 2022, "Rectified Flow".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from flowpwm.checks import at_least, one_of
from flowpwm.integrators import INTEGRATORS, integrate
from flowpwm.networks import SIMNORM_GROUP, count_parameters, mlp
from flowpwm.world_models.base import Sequences, WorldModel, WorldModelConfig


def _uniform(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator, device=generator.device)


def _midpoint(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.full(shape, 0.5, device=generator.device)


def _logit_normal(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.sigmoid(torch.randn(shape, generator=generator, device=generator.device))


TAU_SAMPLING: dict[str, Callable[[tuple[int, ...], torch.Generator], Tensor]] = {
    "uniform": _uniform,
    "midpoint": _midpoint,
    "logit_normal": _logit_normal,
}


def _groups(x: Tensor) -> Tensor:
    return x.unflatten(-1, (-1, SIMNORM_GROUP))


def to_tangent(v: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
    """The part of `v` along the simplices: every group sums to 0, as z1 - z0 does."""
    groups = _groups(v)
    return (groups - groups.mean(-1, keepdim=True)).flatten(-2)


def to_simplex(z: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
    """The nearest point (Euclidean) of every group's simplex.

    Duchi et al. 2008, "Efficient projections onto the l1-ball", figure 1.
    """
    groups = _groups(z)
    descending = groups.sort(dim=-1, descending=True).values
    count = torch.arange(1, SIMNORM_GROUP + 1, device=z.device, dtype=z.dtype)
    excess = (descending.cumsum(-1) - 1) / count
    support = (descending > excess).sum(-1, keepdim=True)
    return torch.relu(groups - excess.gather(-1, support - 1)).flatten(-2)


def rescale(z: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
    """Negative entries cut to 0, then every group divided by its sum.

    A cheaper way back to the simplex than the projection. Never 0/0 where groups sum to 1, which
    a velocity along the simplices keeps.
    """
    groups = torch.relu(_groups(z))
    return (groups / groups.sum(-1, keepdim=True).clamp_min(1e-6)).flatten(-2)


RETRACTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "simplex": to_simplex,
    "rescale": rescale,
    "none": lambda z: z,
}


@dataclass(frozen=True)
class FlowWorldModelConfig(WorldModelConfig):
    """How the velocity is learned and integrated.

    `consistency` says where flow matching starts: at encoded latents (one batched velocity call a
    update, whatever the substeps) or at the model's own rolled-out ones. `wm_rollout_weight`
    weighs a squared error of the rolled-out latents beside it; at 0 nothing is rolled out.
    """

    kind: str = "flow"
    integrator: str = "euler"
    substeps: int = 2
    tau_sampling: str = "uniform"
    consistency: str = "teacher_forced"
    wm_rollout_weight: float = 1.0
    flow_matching_weight: float = 1.0
    project_velocity: bool = True
    retraction: str = "simplex"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("world_model.integrator", self.integrator, INTEGRATORS)
        one_of("world_model.tau_sampling", self.tau_sampling, TAU_SAMPLING)
        one_of("world_model.retraction", self.retraction, RETRACTIONS)
        one_of("world_model.consistency", self.consistency, ("teacher_forced", "rollout"))
        at_least("world_model.substeps", self.substeps, 1)
        at_least("world_model.wm_rollout_weight", self.wm_rollout_weight, 0)
        at_least("world_model.flow_matching_weight", self.flow_matching_weight, 0)
        # Both off would leave the dynamics untrained.
        at_least(
            "world_model.wm_rollout_weight + world_model.flow_matching_weight",
            self.wm_rollout_weight + self.flow_matching_weight,
            1e-6,
        )


class FlowWorldModel(WorldModel):
    """dz/dtau = v(z, a, tau) from this environment step's latent at tau=0 to the next's at 1."""

    config: FlowWorldModelConfig

    def __init__(self, config: FlowWorldModelConfig, obs_dim: int, action_dim: int):
        super().__init__(config, obs_dim, action_dim)
        joint = config.latent_dim + action_dim + 1
        # A plain head, since z1 - z0 has both signs; zero: it starts by standing still.
        self.velocity_head = mlp(joint, config.units, config.latent_dim, zero_last=True)
        self.retract = RETRACTIONS[config.retraction]

    def velocity(
        self,
        z: Float[Tensor, "*B D"],
        action: Float[Tensor, "*B A"],
        tau: Float[Tensor, "*B 1"],
    ) -> Float[Tensor, "*B D"]:
        """dz/dtau at a point of the path; along the simplices if `project_velocity`."""
        v = self.velocity_head(torch.cat([z, action, tau], dim=-1))
        return to_tangent(v) if self.config.project_velocity else v

    def next(self, z: Float[Tensor, "*B D"], action: Float[Tensor, "*B A"]) -> Tensor:
        """Integrate the velocity over one environment step, then retract."""
        one = torch.ones_like(z[..., :1])

        def velocity(z: Tensor, tau: float) -> Tensor:
            return self.velocity(z, action, one * tau)

        end = integrate(velocity, z, self.config.integrator, self.config.substeps)
        return self.retract(end)

    def needs_rollout(self) -> bool:
        """Only a rollout's error or a rolled-out start of flow matching asks for one."""
        return self.config.wm_rollout_weight > 0 or self.config.consistency == "rollout"

    def dynamics_loss(
        self,
        latents: Float[Tensor, "T B D"],
        rollout: Float[Tensor, "H B D"] | None,
        sequences: Sequences,
        weight: Float[Tensor, "H B"],
        generator: torch.Generator,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Flow matching plus the weighted squared error of the rollout."""
        config = self.config
        z1 = latents[1:].detach()
        # Both ends of the path are detached: with gradients through them the cheapest fit is an
        # encoder whose latents never move.
        z0 = latents[:-1].detach()
        if config.consistency == "rollout":
            assert rollout is not None
            z0 = torch.cat([z0[:1], rollout[:-1].detach()])
        matching = (weight * self.flow_matching_error(z0, z1, sequences.action, generator)).sum()
        loss = config.flow_matching_weight * matching
        parts = {"flow_matching": matching}
        if config.wm_rollout_weight > 0:
            error, _ = super().dynamics_loss(latents, rollout, sequences, weight, generator)
            loss = loss + config.wm_rollout_weight * error
            parts["rollout"] = error
        return loss, parts

    def flow_matching_error(
        self,
        z0: Float[Tensor, "*B D"],
        z1: Float[Tensor, "*B D"],
        action: Float[Tensor, "*B A"],
        generator: torch.Generator,
    ) -> Float[Tensor, "*B"]:
        """|v(z_tau, a, tau) - (z1 - z0)|^2 / D at z_tau = (1 - tau) z0 + tau z1, random tau.

        The conditional flow-matching loss of Lipman et al. 2023 (eq. 23, sigma_min = 0).
        """
        tau = TAU_SAMPLING[self.config.tau_sampling]((*z0.shape[:-1], 1), generator)
        z_tau = torch.lerp(z0, z1, tau)
        return (self.velocity(z_tau, action, tau) - (z1 - z0)).square().mean(-1)

    def dynamics_parameters(self) -> int:
        """Parameters of the velocity head."""
        return count_parameters(self.velocity_head)
