"""A user's own Gymnasium environment is trained on, evaluated and resumed like a built-in task."""

import logging
from itertools import islice
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch

from flowpwm import checkpoint
from flowpwm.state import TrainState
from flowpwm.train import collect, train
from tests.flowpwm.tiny import run, tiny


def pendulum(num_envs: int) -> gymnasium.vector.VectorEnv:
    """Gymnasium's pendulum, which cannot be saved in the middle of an episode."""
    return gymnasium.make_vec("Pendulum-v1", num_envs=num_envs, vectorization_mode="sync")


TASK = f"{__name__}:pendulum"


def test_a_users_environment_is_trained_on_and_evaluated() -> None:
    state, reports = run(tiny(f"{TASK} flow", epochs=3, evaluation__every=3))
    (evaluation,) = reports[-1].evaluations
    assert evaluation.task == TASK
    assert evaluation.lengths.tolist() == [200] * 3
    assert (evaluation.returns < 0).all()
    assert state.evaluator is not None
    (again,) = state.evaluator(state.agent)
    assert np.array_equal(again.returns, evaluation.returns)


def test_it_joins_built_in_tasks() -> None:
    config = tiny(f"point-mass+{TASK} flow", world_model__task_dim=2, epochs=1, evaluation__every=1)
    state, (report,) = run(config)
    assert [evaluation.task for evaluation in report.evaluations] == ["point-mass", TASK]
    assert state.acting is not None
    assert (
        state.acting.buffer.field("obs")[:8, 2:, 3:] == 0
    ).all()  # of 4 numbers a pendulum has 3


def test_where_episodes_cannot_go_on_after_a_resume_nothing_crosses_the_break(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = tiny(f"{TASK} flow", evaluation__every=6, evaluation__episodes=1)
    first = TrainState.start(config)
    list(islice(train(first), 2))
    checkpoint.save(first, tmp_path / "last")
    with caplog.at_level(logging.WARNING):
        resumed = checkpoint.load(tmp_path / "last", config)
    assert "cannot continue its saved episodes" in caplog.text
    assert resumed.acting is not None and first.acting is not None
    assert not np.array_equal(resumed.acting.obs, first.acting.obs)
    collect(resumed, resumed.acting)
    buffer = resumed.acting.buffer
    assert (
        not buffer.field("end")[:15].any()
        and buffer.field("end")[15].all()
        and not buffer.field("end")[16:24].any()
    )
    # The last step before the break is the last of its sequence.
    sequences = buffer.sample(500, 4, torch.Generator().manual_seed(0))
    follows = torch.isclose(sequences.obs[1:-1], buffer.field("next_obs")[15][None, :1]).all(-1)
    assert follows.any() and not (sequences.mask[1:] & follows).any()
    assert run(config, resumed)[0].finished
