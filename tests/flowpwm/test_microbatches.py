"""A batch worked through in parts gives what the whole batch gives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from flowpwm.alone import Alone
from flowpwm.policies import POLICIES
from flowpwm.state import TrainState
from flowpwm.train import collect
from flowpwm.world_models import WORLD_MODELS
from flowpwm.world_models.flow import TAU_SAMPLING
from tests.flowpwm.tiny import Doubled, run, tiny, weights

# Seven samples: parts of 4 and 3, of 3, 3 and 1, and of one each.
BATCH, PARTS = 7, (2, 3, 7)


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    """Random numbers as 64-bit floats, so that only real differences are left."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def state_of(preset: str, parts: int, **changes: Any) -> TrainState:
    """Two tasks, one of which terminates, and an epoch of their steps in the buffer."""
    torch.set_default_dtype(torch.float32)
    config = tiny(
        f"point-mass+mortal-mass {preset}",
        world_model__task_dim=3,
        wm_batch_size=BATCH,
        actor_batch_size=BATCH,
        microbatches=parts,
        # So small that it always clips: what is clipped has to be the whole gradient.
        optim__wm_grad_norm=0.1,
        optim__actor_grad_norm=0.1,
        actor_entropy_weight=0.1,
        **changes,
    )
    state = TrainState.start(config)
    assert state.acting is not None
    for _ in range(4):
        collect(state, state.acting)
    torch.set_default_dtype(torch.float64)
    state.agent.double()
    generator = torch.Generator().manual_seed(1)
    for parameter in state.agent.parameters():
        if parameter.ndim > 1:  # heads that start at zero would hide what goes through them
            nn.init.normal_(parameter, std=0.3, generator=generator)
    state.experience = Doubled(state.experience)
    return state


def assert_same(one: TrainState, two: TrainState, module: str) -> None:
    """Gradients, what they changed, what was logged and the random numbers left."""
    pairs = zip(
        getattr(one.agent, module).named_parameters(),
        getattr(two.agent, module).parameters(),
        strict=True,
    )
    for (name, a), b in pairs:
        assert (a.grad is None) == (b.grad is None), name
        if a.grad is not None:
            assert b.grad is not None
            assert torch.allclose(a.grad, b.grad, rtol=1e-9, atol=1e-12), name
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-8), name
    assert one.averages.sums.keys() == two.averages.sums.keys()
    for name, value in one.averages.sums.items():
        assert float(two.averages.sums[name]) == pytest.approx(float(value), rel=1e-9), name
    assert one.averages.counts == two.averages.counts
    assert one.updates == two.updates
    assert torch.equal(one.generator.get_state(), two.generator.get_state())


MODELS = [
    *((kind, {}) for kind in WORLD_MODELS),
    ("mlp", {"reward_loss": "mse_broadcast"}),
    ("mlp", {"inverse_dynamics_weight": 1.0, "target_momentum": 0.9}),
    ("flow", {"inverse_dynamics_weight": 1.0, "target_momentum": 0.9}),
    ("flow", {"wm_rollout_weight": 0.0}),
    ("flow", {"consistency": "rollout"}),
    ("flow", {"consistency": "rollout", "wm_rollout_weight": 0.0, "integrator": "heun"}),
    (
        "flow",
        {
            "chart": "simplex",
            "velocity_head": "simnorm",
            "project_velocity": False,
            "retraction": "none",
        },
    ),
    *(("flow", {"tau_sampling": name}) for name in TAU_SAMPLING),
]


@pytest.mark.usefixtures("mortal_mass")
@pytest.mark.parametrize(("kind", "options"), MODELS)
def test_a_world_model_learns_the_same_from_parts_of_a_batch(
    kind: str, options: dict[str, Any]
) -> None:
    changes = {f"world_model__{name}": value for name, value in options.items()}
    whole = state_of(kind, 1, **changes)
    Alone(whole).world_model()
    assert "loss/continuation" in whole.averages.sums
    for parts in PARTS:
        split = state_of(kind, parts, **changes)
        Alone(split).world_model()
        assert_same(whole, split, "world_model")


@pytest.mark.usefixtures("mortal_mass")
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("kind", WORLD_MODELS)
def test_an_actor_learns_the_same_from_parts_of_a_batch_and_hands_on_the_same(
    kind: str, policy: str
) -> None:
    whole = state_of(kind, 1, policy__kind=policy)
    batch = Alone(whole).actor()
    for parts in PARTS:
        split = state_of(kind, parts, policy__kind=policy)
        other = Alone(split).actor()
        assert_same(whole, split, "policy")
        assert split.scale.std == pytest.approx(float(whole.scale.std), rel=1e-9)
        # In the same order, for the critic shuffles them into minibatches.
        for one, two in zip(batch, other, strict=True):
            assert torch.allclose(one, two, rtol=1e-9)


@pytest.mark.slow
def test_a_short_run_in_parts_stays_close_to_one_of_whole_batches() -> None:
    torch.set_default_dtype(torch.float32)
    config = {"epochs": 3, "actor_entropy_weight": 0.1, "evaluation__every": 1000}
    start = weights(TrainState.start(tiny(**config)))
    whole, split = (run(tiny(**config, microbatches=parts))[0] for parts in (1, 3))
    before, one, two = (
        torch.cat([p.flatten() for p in some]) for some in (start, weights(whole), weights(split))
    )
    moved = (one - before).norm()
    assert moved > 0
    assert (two - one).norm() < 1e-4 * moved
