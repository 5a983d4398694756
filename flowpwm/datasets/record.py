"""Chunk files from policies of our own: whole real episodes, in the form of the published ones."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32

from flowpwm.checks import at_least, within
from flowpwm.datasets.chunks import write_chunk
from flowpwm.datasets.errors import DatasetError
from flowpwm.datasets.folders import whole_folder
from flowpwm.datasets.published import Layout, layout_of
from flowpwm.envs import VectorEnv, make, spec

_RANDOM = -1  # in place of a policy's number

# Observations of one task, in its own width, to actions in [-1, 1].
Act = Callable[[Float32[np.ndarray, "B o"]], Float[np.ndarray, "B a"]]


@dataclass(frozen=True)
class Recording:
    """How much is played of every task, and how far from the policies.

    A share of `random_share` of the episodes acts uniformly at random; the others follow a policy
    with Gaussian noise on every action, whose scale runs evenly from 0 to `noise` over the
    episodes: from aimless to greedy, as a replay buffer holds them. With `correlation` what is
    random in an action lasts for some steps, which takes a system further than white noise does.
    """

    task_set: str = "mt30"
    episodes: int = 1000
    random_share: float = 0.2
    noise: float = 0.3
    correlation: float = 0.0  # of what is random in an action with that of the step before
    seed: int = 0
    num_envs: int = 64  # episodes played side by side
    chunk_episodes: int = 2000  # a file holds at most so many; memory holds two files
    num_threads: int = 1

    def __post_init__(self) -> None:
        for name in ("episodes", "num_envs", "chunk_episodes", "num_threads"):
            at_least(name, getattr(self, name), 1)
        for name in ("noise", "seed"):
            at_least(name, getattr(self, name), 0)
        within("random_share", self.random_share, 0.0, 1.0)
        within("correlation", self.correlation, 0.0, 0.999)


class Episodes(NamedTuple):
    """Whole episodes of T - 1 steps of one task, in its own widths."""

    obs: Float32[np.ndarray, "E T o"]
    action: Float32[np.ndarray, "E S a"]
    reward: Float32[np.ndarray, "E S"]


def play(env: VectorEnv, act: Act) -> Episodes:
    """One episode in every environment, from `reset` to its end.

    Raises DatasetError where one ends before its time: chunk files have no place for that.
    """
    length = env.episode_length
    obs = np.empty((env.num_envs, length + 1, env.obs_dim), np.float32)
    action = np.empty((env.num_envs, length, env.action_dim), np.float32)
    reward = np.empty((env.num_envs, length), np.float32)
    obs[:, 0] = env.reset()
    for t in range(length):
        action[:, t] = act(obs[:, t])
        step = env.step(action[:, t])
        obs[:, t + 1], reward[:, t] = step.final_obs, step.reward
        if step.terminated.any() or (t + 1 < length and step.truncated.any()):
            raise DatasetError(f"{env.spec.name}: an episode ended after {t + 1} of {length} steps")
    return Episodes(obs, action, reward)


def record(
    out: Path,
    policies: Mapping[str, Sequence[Act]],
    recording: Recording,
    say: Callable[[str], None] = lambda _: None,
    about: Mapping[str, object] | None = None,
) -> None:
    """Play every task of `policies` and write `out` with chunk_0.pt, chunk_1.pt, ...

    Several policies of a task take turns; a task without any is played at random. `about` is kept
    in `made.json` beside the files.

    Raises:
      DatasetError: a task is not in the task set, episodes terminate or differ in length, `out`
        exists or the disk is too small. Nothing is left of `out`.
    """
    layout = layout_of(recording.task_set)
    players = {task: _Player(task, acts, recording, layout) for task, acts in policies.items()}
    lengths = {task: spec(task).episode_length for task in players}
    if enders := [task for task in players if spec(task).terminates]:
        raise DatasetError(
            f"{', '.join(enders)}: episodes can end before their time, and chunk files hold whole "
            "ones only"
        )
    if len(set(lengths.values())) != 1:
        raise DatasetError(f"one dataset holds episodes of one length, got {lengths}")
    rows = len(players) * recording.episodes * (max(lengths.values()) + 1)
    with whole_folder(out, rows * 4 * (layout.obs_dim + layout.action_dim + 2)) as folder:
        files = _Files(folder, layout, recording.chunk_episodes)
        at_once = min(recording.num_envs, recording.chunk_episodes)
        for first in range(0, recording.episodes, at_once):
            last = min(first + at_once, recording.episodes)
            for task, player in players.items():
                files.add(layout.index(task), player.play(slice(first, last)))
            say(f"{last:,d} of {recording.episodes:,d} episodes of each of {len(players)} tasks")
        files.flush()
        made = {"made_by": "flowpwm make-dataset", "tasks": list(players)} | dict(about or {})
        made |= dataclasses.asdict(recording)
        (folder / "made.json").write_text(json.dumps(made, indent=1), encoding="utf-8")


class _Player:
    """Plays the episodes of one task: who acts in each, and with how much noise."""

    def __init__(self, task: str, policies: Sequence[Act], recording: Recording, layout: Layout):
        self.task, self.policies, self.num_threads = task, policies, recording.num_threads
        self.correlation = recording.correlation
        self.rng = np.random.default_rng((recording.seed, layout.index(task)))
        share = recording.random_share if policies else 1.0
        at_random = round(share * recording.episodes)
        following = np.arange(recording.episodes - at_random)
        policy = np.concatenate([np.full(at_random, _RANDOM), following % max(len(policies), 1)])
        noise = np.linspace(0.0, recording.noise, len(following))
        # Shuffled: every file is to hold something of everything.
        order = self.rng.permutation(recording.episodes)
        self.policy = policy[order]
        self.noise = np.concatenate([np.zeros(at_random), noise])[order]

    def play(self, episodes: slice) -> Episodes:
        """Play some of the episodes, side by side."""
        policy, noise = self.policy[episodes], self.noise[episodes, None]
        shape = (len(policy), spec(self.task).action_dim)
        keep, normal = self.correlation, self.rng.standard_normal(shape)

        def act(obs: Float32[np.ndarray, "B o"]) -> Float32[np.ndarray, "B a"]:
            nonlocal normal
            # uniform, and correlated as the noise is
            action = 2.0 * torch.special.ndtr(torch.from_numpy(normal)).numpy() - 1.0
            for i, one in enumerate(self.policies):
                action[policy == i] = one(obs[policy == i]) if (policy == i).any() else 0.0
            action += noise * normal
            normal = keep * normal + math.sqrt(1 - keep**2) * self.rng.standard_normal(shape)
            return action.clip(-1.0, 1.0).astype(np.float32)

        env = make(self.task, len(policy), int(self.rng.integers(2**31)), self.num_threads)
        try:
            return play(env, act)
        finally:
            env.close()


class _Files:
    """Collects episodes, pads them to the widest task, and writes a file when it is full."""

    def __init__(self, folder: Path, layout: Layout, chunk_episodes: int):
        self.folder, self.layout, self.chunk_episodes = folder, layout, chunk_episodes
        self.pending: list[tuple[int, Episodes]] = []
        self.written = 0

    def add(self, task_id: int, episodes: Episodes) -> None:
        """Take episodes of one task."""
        held = sum(len(other.reward) for _, other in self.pending)
        if held + len(episodes.reward) > self.chunk_episodes:
            self.flush()
        self.pending.append((task_id, episodes))

    def flush(self) -> None:
        """Write what is held."""
        count = sum(len(episodes.reward) for _, episodes in self.pending)
        rows = self.pending[0][1].obs.shape[1]
        obs = torch.zeros(count, rows, self.layout.obs_dim)
        action = torch.zeros(count, rows, self.layout.action_dim)
        reward = torch.zeros(count, rows)
        task = torch.zeros(count, rows, dtype=torch.int32)
        action[:, 0], reward[:, 0] = math.nan, math.nan  # nothing led into the first observation
        first = 0
        for task_id, episodes in self.pending:
            own = slice(first, first + len(episodes.reward))
            first = own.stop
            obs[own, :, : episodes.obs.shape[2]] = torch.from_numpy(episodes.obs)
            action[own, 1:, : episodes.action.shape[2]] = torch.from_numpy(episodes.action)
            reward[own, 1:] = torch.from_numpy(episodes.reward)
            task[own] = task_id
        write_chunk(self.folder / f"chunk_{self.written}.pt", obs, action, reward, task)
        self.written, self.pending = self.written + 1, []
