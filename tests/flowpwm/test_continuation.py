"""Final states: stored as such, foretold by a head, worth nothing beyond; ends of time are none."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from flowpwm import checkpoint
from flowpwm.alone import Alone
from flowpwm.envs import ENVS, make
from flowpwm.envs.tasks import task_set
from flowpwm.state import TrainState
from flowpwm.train import collect, train
from flowpwm.world_models import WORLD_MODELS, WorldModel, make_world_model
from tests.flowpwm.conftest import DEADLY
from tests.flowpwm.test_world_models import linear_system, loss_of, small
from tests.flowpwm.tiny import one_task, run, science, tasks_of, tiny, weights


def has_head(model: WorldModel) -> bool:
    z, e = torch.zeros(2, model.config.latent_dim), torch.zeros(1, model.config.task_dim)
    return model.continuation(z, e) is not None


@pytest.mark.parametrize("task", ENVS)
def test_a_task_has_the_head_if_it_can_terminate(task: str) -> None:
    model = make_world_model(small("mlp"), task_set(task))
    assert has_head(model) == ENVS[task].terminates
    assert any("continuation" in name for name, _ in model.named_parameters()) == has_head(model)


def test_one_task_that_can_terminate_is_enough_and_weight_0_is_none() -> None:
    assert has_head(make_world_model(small("flow", task_dim=2), task_set("reacher-easy+ant")))
    assert not has_head(make_world_model(small("flow", continuation_weight=0.0), task_set("ant")))


def mortal(kind: str, **changes: object) -> WorldModel:
    torch.manual_seed(0)
    return make_world_model(small(kind, **changes), tasks_of((3, 2), terminates=True))


LIMIT = 0.8


def deadly_system(batch: int = 64):
    """The linear system, where a first coordinate beyond the limit is the end."""
    data = linear_system(batch, seed=3, horizon=4)
    terminated = data.obs[1:, :, 0] > LIMIT
    alive_before = terminated.int().cumsum(0) - terminated.int() == 0
    return data._replace(terminated=terminated, mask=alive_before)


@pytest.mark.parametrize("kind", WORLD_MODELS)
def test_the_loss_is_the_cross_entropy_of_the_future_where_there_is_data(kind: str) -> None:
    model = mortal(kind)
    data = deadly_system()
    _, parts = loss_of(model, data)
    # An untrained head says one half of everything.
    assert float(parts["continuation"]) == pytest.approx(np.log(2), rel=1e-5)
    assert model.continuation_head is not None
    with torch.no_grad():
        model.continuation_head[-1].bias.fill_(2.0)
    _, parts = loss_of(model, data)
    weight = model.step_weights(data.mask)
    dead = float((weight * data.terminated).sum())
    assert 0.05 < dead < 0.5
    # -log p of a sigmoid of 2, or of its complement
    by_hand = (1 - dead) * np.log(1 + np.exp(-2.0)) + dead * np.log(1 + np.exp(2.0))
    assert float(parts["continuation"]) == pytest.approx(by_hand, rel=1e-5)


@pytest.mark.parametrize("kind", WORLD_MODELS)
def test_the_head_learns_which_states_are_final(kind: str) -> None:
    model = mortal(kind, continuation_weight=5.0)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3, fused=True)
    generator = torch.Generator().manual_seed(0)
    data = deadly_system()
    for _ in range(150):
        loss, _ = loss_of(model, data, generator)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        e = model.embed(data.task)
        goes_on = model.continuation(model.encode(data.obs[1:], e), e)
        rolled = model.continuation(model.rollout(model.encode(data.obs[0], e), e, data.action), e)
    assert goes_on is not None and rolled is not None
    for said in (goes_on, rolled):
        dead, alive = said[data.mask & data.terminated], said[data.mask & ~data.terminated]
        assert dead.median() < 0.2 and alive.median() > 0.8
        right = (dead < 0.5).sum() + (alive > 0.5).sum()
        assert right > 0.9 * (len(dead) + len(alive))


def played(task: str, epochs: int = 20, **changes: object) -> TrainState:
    state = TrainState.start(tiny(f"{task} flow", epochs=epochs, evaluation__every=1000, **changes))
    assert state.acting is not None
    for _ in range(epochs):
        collect(state, state.acting)
    return state


def test_the_buffer_tells_final_states_from_the_end_of_time(mortal_mass: str) -> None:
    """Replayed by hand with the stored actions."""
    state = played(mortal_mass)
    assert state.acting is not None
    buffer, config = state.acting.buffer, state.config
    env = make(mortal_mass, config.num_envs, seed=config.seed)
    env.reset()
    for t in range(buffer.filled):
        step = env.step(buffer.field("action")[t].numpy())
        assert np.array_equal(buffer.field("terminated")[t].numpy(), step.terminated)
        assert np.array_equal(buffer.field("end")[t].numpy(), step.terminated | step.truncated)
        assert np.array_equal(buffer.field("next_obs")[t].numpy(), step.final_obs)
    assert buffer.field("terminated").any()
    assert (buffer.field("end") & ~buffer.field("terminated")).any()
    # The observation of death is kept, not that of the next life.
    touched = buffer.field("next_obs")[..., :2].abs().amax(-1) >= DEADLY
    assert torch.equal(touched, buffer.field("terminated"))


def test_a_run_learns_where_it_dies(mortal_mass: str) -> None:
    sizes = {
        "world_model__encoder_units": [64],
        "world_model__units": [64],
        "world_model__continuation_weight": 10.0,
        "world_model__dynamics_weight": 1.0,
    }
    state = played(mortal_mass, 120, **sizes, horizon=2, wm_batch_size=64, optim__wm_lr=3e-3)
    for _ in range(200):
        Alone(state).world_model()
    assert state.acting is not None
    buffer, model = state.acting.buffer, state.agent.world_model
    e = model.embed(one_task(4))
    with torch.no_grad():
        goes_on = model.continuation(model.encode(buffer.field("next_obs"), e), e)
    assert goes_on is not None
    dead, truncated = (
        goes_on[buffer.field("terminated")],
        goes_on[buffer.field("end") & ~buffer.field("terminated")],
    )
    assert dead.mean() < goes_on[~buffer.field("terminated")].mean() - 0.2
    assert truncated.mean() > dead.mean() + 0.2


def test_a_run_reports_the_heads_loss_only_where_there_is_one(mortal_mass: str) -> None:
    for task, expected in ((mortal_mass, True), ("point-mass", False)):
        _, reports = run(tiny(f"{task} mlp", epochs=1, evaluation__every=1))
        assert ("loss/continuation" in reports[0].metrics) == expected


def test_evaluated_episodes_end_where_they_terminate(mortal_mass: str) -> None:
    state = TrainState.start(tiny(f"{mortal_mass} mlp", evaluation__episodes=20))
    with torch.no_grad():
        state.agent.policy.mean[-1].weight.zero_()
        state.agent.policy.mean[-1].bias.fill_(0.8)  # into the upper right corner
    assert state.evaluator is not None
    (result,) = state.evaluator(state.agent)
    env = make(mortal_mass, 20, seed=state.config.evaluation.seed)
    env.reset()
    returns, lengths, alive = np.zeros(20), np.zeros(20, int), np.ones(20, bool)
    action = torch.tanh(torch.full((20, 2), 0.8)).numpy()
    for _ in range(64):
        step = env.step(action)
        returns += np.where(alive, step.reward, 0.0)
        lengths += alive
        alive &= ~step.terminated
    assert not alive.any() and lengths.min() < lengths.max() < 64
    assert np.array_equal(result.lengths, lengths)
    assert np.allclose(result.returns, returns)


def test_a_run_whose_episodes_terminate_resumes_bit_for_bit(
    mortal_mass: str, tmp_path: Path
) -> None:
    config = tiny(f"{mortal_mass} flow")
    whole, reports = run(config)
    first = TrainState.start(config)
    early = list(islice(train(first), 4))
    checkpoint.save(first, tmp_path / "last")
    resumed = checkpoint.load(tmp_path / "last", config)
    _, late = run(config, resumed)
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(resumed), strict=True))
    assert [science(r) for r in reports] == [science(r) for r in early + late]
