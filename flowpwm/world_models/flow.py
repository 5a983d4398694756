"""Flow dynamics: the next latent is the end of an ODE whose velocity is learned by flow matching.

Lipman et al. 2023, "Flow Matching for Generative Modeling"; Liu et al. 2022, "Rectified Flow".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from flowpwm.checks import ConfigError, at_least, one_of
from flowpwm.envs.tasks import TaskSet
from flowpwm.experience import Sequences
from flowpwm.integrators import INTEGRATORS, integrate, nodes
from flowpwm.networks import count_parameters, join, mlp
from flowpwm.world_models.base import WorldModel, WorldModelConfig
from flowpwm.world_models.charts import CHARTS, RETRACTIONS, to_tangent


def _nodes(shape: tuple[int, ...], generator: torch.Generator, nodes: Tensor) -> Tensor:
    return nodes[torch.randint(len(nodes), shape, generator=generator, device=nodes.device)]


def _uniform(shape: tuple[int, ...], generator: torch.Generator, nodes: Tensor) -> Tensor:
    return torch.rand(shape, generator=generator, device=nodes.device)


def _midpoint(shape: tuple[int, ...], generator: torch.Generator, nodes: Tensor) -> Tensor:
    return torch.full(shape, 0.5, device=nodes.device)


def _logit_normal(shape: tuple[int, ...], generator: torch.Generator, nodes: Tensor) -> Tensor:
    return torch.sigmoid(torch.randn(shape, generator=generator, device=nodes.device))


TAU_SAMPLING: dict[str, Callable[[tuple[int, ...], torch.Generator, Tensor], Tensor]] = {
    # Where the integrator will ask: elsewhere a point of the path also gives its end away.
    "nodes": _nodes,
    "uniform": _uniform,
    "midpoint": _midpoint,
    "logit_normal": _logit_normal,
}

OBJECTIVES = ("flow_matching", "mean_flow")


@dataclass(frozen=True)
class FlowWorldModelConfig(WorldModelConfig):
    """How the velocity is learned and integrated.

    `consistency` says where flow matching starts: at encoded latents (one batched velocity call a
    update, whatever the substeps) or at the model's own rolled-out ones. `wm_rollout_weight`
    weighs a squared error of the rolled-out latents beside it; at 0 nothing is rolled out, and
    `flow_matching_weight` should be 1.
    The ODE runs in the coordinates of `chart`; `retraction` is the way back from "simplex".
    With `mean_flow` the network gives the average velocity of a step instead of the velocity at a
    point (Geng et al. 2025, "Mean Flows for One-step Generative Modeling").
    """

    kind: str = "flow"
    integrator: str = "euler"
    substeps: int = 1
    tau_sampling: str = "uniform"
    consistency: str = "teacher_forced"
    wm_rollout_weight: float = 1.0
    # As heavy as the rollout's error, policies learned later or not at all (benchmarks/RESULTS.md).
    flow_matching_weight: float = 0.1
    objective: str = "flow_matching"
    chart: str = "logits"
    velocity_head: str = "linear"
    project_velocity: bool = True
    retraction: str = "simplex"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("world_model.integrator", self.integrator, INTEGRATORS)
        one_of("world_model.tau_sampling", self.tau_sampling, TAU_SAMPLING)
        one_of("world_model.retraction", self.retraction, RETRACTIONS)
        one_of("world_model.velocity_head", self.velocity_head, ("linear", "simnorm"))
        one_of("world_model.chart", self.chart, CHARTS)
        one_of("world_model.objective", self.objective, OBJECTIVES)
        if self.objective == "mean_flow" and self.integrator != "euler":
            raise ConfigError(
                "world_model.objective=mean_flow averages over whole steps and needs "
                f"world_model.integrator=euler, got {self.integrator!r}"
            )
        if self.retraction != "simplex" and self.chart != "simplex":
            raise ConfigError(
                f"world_model.retraction={self.retraction} needs world_model.chart=simplex: the "
                f"chart {self.chart!r} has a way back of its own"
            )
        if self.retraction == "rescale" and not self.project_velocity:
            raise ConfigError(
                "world_model.retraction=rescale needs world_model.project_velocity=true: without "
                "it a group can sum to 0, which no factor brings back to 1"
            )
        if self.velocity_head == "simnorm" and (
            self.chart != "simplex" or self.project_velocity or self.retraction != "none"
        ):
            raise ConfigError(
                "world_model.velocity_head=simnorm is an ablation of a velocity that cannot point "
                "back; world_model.chart=simplex, world_model.project_velocity=false and "
                "world_model.retraction=none go with it: each of the others mends it"
            )
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
    forward_in_time: Tensor  # how (tau, size of the step) change when the step's end stays

    def __init__(self, config: FlowWorldModelConfig, tasks: TaskSet):
        super().__init__(config, tasks)
        # tau, and for an average velocity the size of the step that starts there.
        self.times = 2 if config.objective == "mean_flow" else 1
        joint = config.latent_dim + config.task_dim + tasks.action_dim + self.times
        # A plain head, since z1 - z0 has both signs; zero: it starts by standing still. A SimNorm
        # head is an ablation: positive, it cannot point back.
        linear = config.velocity_head == "linear"
        self.velocity_head = mlp(
            joint,
            config.units,
            config.latent_dim,
            last="linear" if linear else "simnorm",
            zero_last=linear,
            activation=config.activation,
        )
        self.chart = CHARTS[config.chart]
        self.retract = self.chart.leave or RETRACTIONS[config.retraction]
        # Kept on the device: made anew in each update they would be copied there each time.
        self._nodes: Tensor | None = None
        self.register_buffer("forward_in_time", torch.tensor([1.0, -1.0]), persistent=False)

    def velocity(
        self,
        z: Float[Tensor, "*B D"],
        e: Float[Tensor, "*#B E"],
        action: Float[Tensor, "*B A"],
        times: Float[Tensor, "*B times"],
    ) -> Float[Tensor, "*B D"]:
        """dz/dtau at a point of the path; along the simplices if `project_velocity`.

        `times` holds tau and, for a mean flow, the size of the step.
        """
        v = self.velocity_head(join(z, e, action, times))
        return to_tangent(v) if self.config.project_velocity else v

    def next(
        self, z: Float[Tensor, "*B D"], e: Float[Tensor, "*#B E"], action: Float[Tensor, "*B A"]
    ) -> Tensor:
        """Integrate the velocity over one environment step, then retract."""
        velocity = partial(self._velocity_at, e, action, torch.ones_like(z[..., :1]))
        start = self.chart.enter(z)
        return self.retract(
            integrate(velocity, start, self.config.integrator, self.config.substeps)
        )

    def _velocity_at(self, e: Tensor, action: Tensor, one: Tensor, y: Tensor, tau: float) -> Tensor:
        times = [one * tau, one / self.config.substeps][: self.times]
        return self.velocity(y, e, action, torch.cat(times, dim=-1))

    def draw(self, horizon: int, batch: int, generator: torch.Generator) -> Float[Tensor, "H B N"]:
        """A tau for every transition and, for a mean flow, the size of a step from there."""
        draw = TAU_SAMPLING[self.config.tau_sampling]
        tau = draw((horizon, batch, 1), generator, self._asked(generator.device))
        if self.times == 1:
            return tau
        size, keep = torch.rand(2, *tau.shape, generator=generator, device=tau.device)
        # Half of the steps have size 0, where the average is the velocity itself.
        return torch.cat([tau, (1 - tau) * size * (keep < 0.5)], dim=-1)

    def _asked(self, device: torch.device) -> Float[Tensor, " nodes"]:
        """The times at which the integrator asks for the velocity."""
        if self._nodes is None or self._nodes.device != device:
            times = nodes(self.config.integrator, self.config.substeps)
            self._nodes = torch.tensor(times, device=device)
        return self._nodes

    def needs_rollout(self) -> bool:
        """Only a rollout's error or a rolled-out start of flow matching asks for one."""
        return self.config.wm_rollout_weight > 0 or self.config.consistency == "rollout"

    def dynamics_loss(
        self,
        latents: Float[Tensor, "T B D"],
        targets: Float[Tensor, "H B D"],
        rollout: Float[Tensor, "H B D"] | None,
        e: Float[Tensor, "B E"],
        sequences: Sequences,
        weight: Float[Tensor, "H B"],
        noise: Float[Tensor, "H B N"],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Flow matching plus the weighted squared error of the rollout."""
        config = self.config
        # Both ends of the path are detached: with gradients through them the cheapest fit is an
        # encoder whose latents never move.
        z0 = latents[:-1].detach()
        if config.consistency == "rollout":
            assert rollout is not None
            z0 = torch.cat([z0[:1], rollout[:-1].detach()])
        error = self.flow_matching_error(z0, targets, e, sequences.action, noise)
        matching = (weight * error).sum()
        loss = config.flow_matching_weight * matching
        parts = {"flow_matching": matching}
        if config.wm_rollout_weight > 0:
            error, _ = super().dynamics_loss(latents, targets, rollout, e, sequences, weight, noise)
            loss = loss + config.wm_rollout_weight * error
            parts["rollout"] = error
        return loss, parts

    def flow_matching_error(
        self,
        z0: Float[Tensor, "*B D"],
        z1: Float[Tensor, "*B D"],
        e: Float[Tensor, "*#B E"],
        action: Float[Tensor, "*B A"],
        times: Float[Tensor, "*B times"],
    ) -> Float[Tensor, "*B"]:
        """|v(z_tau, e, a, tau) - (z1 - z0)|^2 / D at z_tau = (1 - tau) z0 + tau z1.

        The conditional flow-matching loss of Lipman et al. 2023 (eq. 23, sigma_min = 0), in the
        coordinates of the chart and measured in those of the latent. For a mean flow over a step
        of size h the target gains h times the slope of the average velocity (Geng et al. 2025,
        eq. 10, with the step's start in the place of its end).
        """
        y0, y1 = self.chart.enter(z0), self.chart.enter(z1)
        tau = times[..., :1]
        y_tau, target = torch.lerp(y0, y1, tau), y1 - y0
        if self.times == 2:
            target = target + times[..., 1:] * self._slope(y_tau, e, action, times, target)
        error = self.velocity(y_tau, e, action, times) - target
        return self.chart.push(y_tau, error).square().mean(-1)

    @torch.no_grad()
    def _slope(self, y: Tensor, e: Tensor, action: Tensor, times: Tensor, v: Tensor) -> Tensor:
        """d/dtau of the average velocity along the path, the end of the step held fixed."""
        direction = self.forward_in_time.expand_as(times)
        return torch.func.jvp(
            lambda y, times: self.velocity(y, e, action, times), (y, times), (v, direction)
        )[1]

    def dynamics_parameters(self) -> int:
        """Parameters of the velocity head."""
        return count_parameters(self.velocity_head)
