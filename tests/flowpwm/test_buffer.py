"""Sequences never cross an episode's end or the write head; starts are uniform."""

import numpy as np
import pytest
import torch

from flowpwm.buffer import Buffer


def empty(capacity: int) -> Buffer:
    """Of two environments: the first plays task 3, the second task 1."""
    return Buffer(capacity, obs_dim=2, action_dim=1, task=torch.tensor([3, 1]))


def filled(
    steps: int,
    capacity: int,
    ends: dict[int, list[int]] | None = None,
    deaths: dict[int, list[int]] | None = None,
) -> Buffer:
    """Two environments whose observation is [env, step] and reward is the step."""
    buffer = empty(capacity)

    def where(listed: dict[int, list[int]] | None, step: int) -> np.ndarray:
        return np.array([step in (listed or {}).get(env, []) for env in range(2)])

    for step in range(steps):
        obs = np.array([[0.0, step], [1.0, step]], dtype=np.float32)
        died = where(deaths, step)
        end = where(ends, step) | died
        buffer.add(obs, np.full((2, 1), step, np.float32), obs[:, 1], obs + 0.5, died, end)
    return buffer


def test_a_sequence_is_consecutive_steps_of_one_environment() -> None:
    buffer = filled(50, capacity=200)
    batch = buffer.sample(500, 4, torch.Generator().manual_seed(0))
    assert batch.obs.shape == (5, 500, 2) and batch.action.shape == (4, 500, 1)
    for t in range(3):
        both = batch.mask[t] & batch.mask[t + 1]
        assert torch.equal(batch.reward[t + 1][both], batch.reward[t][both] + 1)
        assert torch.equal(batch.obs[t][both][:, 0], batch.obs[t + 1][both][:, 0] - 0.5 * (t == 0))
    assert torch.equal(batch.obs[1], torch.stack([batch.obs[0, :, 0], batch.reward[0]], -1) + 0.5)


def test_steps_past_the_newest_transition_are_masked() -> None:
    batch = filled(10, capacity=200).sample(2000, 4, torch.Generator().manual_seed(0))
    start = batch.reward[0]
    for t in range(4):
        assert torch.equal(batch.mask[t], start + t < 10)


def test_the_write_head_is_never_crossed_once_the_ring_is_full() -> None:
    buffer = filled(37, capacity=40)  # 20 rows: steps 17..36 are held
    batch = buffer.sample(2000, 6, torch.Generator().manual_seed(0))
    assert float(batch.reward[0].min()) == 17 and float(batch.reward[0].max()) == 36
    for t in range(5):
        both = batch.mask[t] & batch.mask[t + 1]
        assert torch.equal(batch.reward[t + 1][both], batch.reward[t][both] + 1)
    assert len(buffer) == 40


def test_an_episodes_end_is_kept_and_nothing_after_it() -> None:
    buffer = filled(30, capacity=200, ends={0: [7], 1: [3, 4]})
    batch = buffer.sample(4000, 5, torch.Generator().manual_seed(0))
    env, start = batch.obs[0, :, 0], batch.reward[0]
    before_end = (env == 0) & (start == 6)
    assert before_end.any()
    # Steps 6 and 7 belong to the episode, 8 to the next one.
    assert batch.mask[:, before_end].float().mean(1).tolist() == [1, 1, 0, 0, 0]
    single = (env == 1) & (start == 4)
    assert batch.mask[:, single].float().mean(1).tolist() == [1, 0, 0, 0, 0]


def test_starts_are_uniform_over_all_transitions_of_short_and_long_episodes() -> None:
    buffer = filled(20, capacity=200, ends={0: list(range(0, 20, 2))})
    batch = buffer.sample(40_000, 8, torch.Generator().manual_seed(0))
    counts = torch.zeros(2, 20)
    counts.index_put_(
        (batch.obs[0, :, 0].long(), batch.reward[0].long()), torch.ones(40_000), accumulate=True
    )
    # 40 transitions, 1,000 draws each: a standard deviation of 31.
    assert (counts - 1000).abs().max() < 160


def test_a_restored_buffer_samples_the_same() -> None:
    buffer = filled(37, capacity=40, ends={0: [20]}, deaths={1: [30]})
    copy = empty(40)
    copy.load_state_dict(buffer.state_dict())
    one = buffer.sample(64, 4, torch.Generator().manual_seed(1))
    two = copy.sample(64, 4, torch.Generator().manual_seed(1))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_a_terminated_step_is_kept_apart_from_a_truncated_one() -> None:
    buffer = filled(30, capacity=200, ends={0: [7]}, deaths={1: [5]})
    batch = buffer.sample(4000, 4, torch.Generator().manual_seed(0))
    env, step = batch.obs[0, :, 0], batch.reward
    assert torch.equal(batch.terminated, (env == 1) & (step == 5))
    # Both end their episodes.
    for last, of in ((7, 0), (5, 1)):
        start = (env == of) & (step[0] == last)
        assert batch.mask[:, start].float().mean(1).tolist() == [1, 0, 0, 0]
    dying = (env == 1) & (step[0] == 4)
    assert (batch.terminated & batch.mask)[:, dying].float().mean(1).tolist() == [0, 1, 0, 0]


def test_a_sequence_carries_the_task_of_its_environment() -> None:
    buffer = filled(20, capacity=200)
    batch = buffer.sample(100, 3, torch.Generator().manual_seed(0))
    assert torch.equal(batch.task, torch.tensor([3, 1])[batch.obs[0, :, 0].long()])


def test_observations_are_drawn_uniformly_with_their_tasks() -> None:
    buffer = filled(37, capacity=40)  # 20 rows: steps 17..36 are held
    obs, task = buffer.sample_obs(40_000, torch.Generator().manual_seed(0))
    env, step = obs[:, 0].long(), obs[:, 1].long()
    assert torch.equal(task, torch.tensor([3, 1])[env])
    counts = torch.zeros(2, 37)
    counts.index_put_((env, step), torch.ones(40_000), accumulate=True)
    assert (counts[:, :17] == 0).all()
    assert (counts[:, 17:] - 1000).abs().max() < 160


@pytest.mark.parametrize("parts", [1, 2, 3, 5])
def test_parts_of_a_batch_put_together_are_the_batch(parts: int) -> None:
    batch = filled(30, capacity=200, ends={0: [7]}).sample(7, 4, torch.Generator().manual_seed(0))
    split = batch.split(parts)
    assert len(split) <= parts and sum(len(part.task) for part in split) == 7
    for i, (name, whole) in enumerate(zip(batch._fields, batch, strict=True)):
        together = torch.cat([part[i] for part in split], dim=0 if name == "task" else 1)
        assert torch.equal(together, whole), name


def test_an_empty_or_too_small_buffer_says_so() -> None:
    with pytest.raises(ValueError, match="empty buffer"):
        empty(40).sample(1, 1, torch.Generator())
    with pytest.raises(ValueError, match="capacity 1 holds no step of 2 environments"):
        empty(1)
