"""Settings that say how a machine computes: what they may change, and what they must not."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch

from flowpwm.alone import Alone
from flowpwm.checks import ConfigError
from flowpwm.compose import compose
from flowpwm.config import config_id
from flowpwm.cost import estimate, fitting
from flowpwm.state import TrainState
from flowpwm.train import collect
from tests.flowpwm.tiny import run, science, tiny, weights


def ready(**changes: Any) -> TrainState:
    """A run with an epoch of experience."""
    state = TrainState.start(tiny("point-mass flow", **changes))
    assert state.acting is not None
    collect(state, state.acting)
    return state


def kept_bytes(state: TrainState) -> int:
    """What a world model's loss keeps for its backward pass, each tensor once."""
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        Alone(state).world_model()
    return sum(kept.values())


@pytest.mark.slow
@pytest.mark.parametrize("integrator", ["euler", "rk4"])
def test_recomputed_rollouts_learn_the_same_and_keep_less(integrator: str) -> None:
    flow = {"world_model__integrator": integrator, "world_model__substeps": 2}
    (kept, _), (again, _) = (run(tiny(epochs=2, recompute=r, **flow)) for r in (False, True))
    for one, two in zip(weights(kept), weights(again), strict=True):
        assert torch.equal(one, two)
    large = flow | {"world_model__substeps": 8, "wm_batch_size": 64, "world_model__units": [64, 64]}
    whole, less = (kept_bytes(ready(recompute=r, **large)) for r in (False, True))
    # Of eight substeps and eight environment steps; what is not a rollout stays.
    assert less < whole / 3


def test_a_rollout_is_recomputed_where_the_device_is_too_small_for_it() -> None:
    config = compose("ant 48M flow", {"device": "cuda", "world_model.substeps": 8})
    wanted = estimate(config).device_memory_bytes
    assert fitting(config, wanted) is config
    smaller = fitting(config, wanted - 1)
    assert smaller.recompute and config_id(smaller) == config_id(config)
    assert estimate(smaller).device_memory_bytes < wanted / 2
    on_cpu = compose("ant 48M flow")
    assert fitting(on_cpu, 0) is on_cpu


@pytest.mark.parametrize("preset", ["point-mass mlp", "point-mass flow_v2 flow_policy"])
def test_with_bf16_products_a_run_learns_with_weights_in_float32(preset: str) -> None:
    (exact, told), (rounded, also) = (
        run(tiny(preset, epochs=2, precision=p)) for p in ("fp32", "bf16")
    )
    assert {p.dtype for p in weights(rounded)} == {torch.float32}
    moments = {
        value.dtype
        for optimiser in rounded.optimisers.values()
        for values in optimiser.state.values()
        for name, value in values.items()
        if name != "step"
    }
    assert moments == {torch.float32}
    assert any(
        not torch.equal(a, b) for a, b in zip(weights(exact), weights(rounded), strict=True)
    ), "nothing was rounded"
    one, two = science(told[0]), science(also[0])
    for name in ("loss/dynamics", "loss/reward", "loss/reconstruction", "loss/critic"):
        assert two[name] == pytest.approx(one[name], rel=0.05), name


def test_precision_is_part_of_what_is_trained_and_the_rest_is_not() -> None:
    plain = config_id(tiny())
    assert config_id(tiny(precision="bf16")) != plain
    assert config_id(tiny(compile=True, recompute=True)) == plain
    with pytest.raises(ConfigError, match="unknown precision 'fp8'; known: fp32, tf32, bf16"):
        tiny(precision="fp8")
    with pytest.raises(ConfigError, match="precision=tf32 needs device=cuda"):
        tiny(precision="tf32")


def test_gradients_are_formed_for_what_learns_and_nothing_else() -> None:
    state = ready()
    agent, steps = state.agent, Alone(state)
    steps.critic(steps.actor())
    assert all(p.grad is None for p in agent.world_model.parameters())
    assert any(p.grad is not None for p in agent.policy.parameters())
    assert all(p.requires_grad for p in agent.parameters()), "it is given back"


COMPILED = """
import torch
from tests.flowpwm.tiny import run, tiny, weights
from flowpwm.state import TrainState
torch.set_num_threads(1)
(plain, _), (fused, _) = (run(tiny({preset!r}, epochs=2, compile=c)) for c in (False, True))
start = weights(TrainState.start(plain.config))
moved = torch.cat([(a - b).flatten() for a, b in zip(weights(plain), start, strict=True)]).norm()
apart = [(a - b).flatten() for a, b in zip(weights(plain), weights(fused), strict=True)]
print("apart by", float(torch.cat(apart).norm() / moved))
"""


@pytest.mark.long
@pytest.mark.parametrize("preset", ["point-mass mlp", "point-mass flow_v2 flow_policy"])
def test_compiled_a_run_learns_the_same_up_to_rounding(preset: str) -> None:
    """In a process of its own: the tests' checks of shapes are no code that can be compiled."""
    program = COMPILED.format(preset=preset)
    command = [sys.executable, "-c", program]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert 0 < float(ran.stdout.split("apart by")[1]) < 0.02


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_no_update_waits_for_the_device() -> None:
    state = ready(device="cuda")
    steps = Alone(state)
    steps.world_model()
    steps.critic(steps.actor())  # what is made once is made
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        steps.world_model()
        steps.critic(steps.actor())
    finally:
        torch.cuda.set_sync_debug_mode("default")
