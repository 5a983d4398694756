"""Chunk files from our own policies hold what the environments did, in the published form."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from flowpwm import checkpoint
from flowpwm.__main__ import main
from flowpwm.checks import ConfigError
from flowpwm.compose import compose
from flowpwm.datasets import DatasetError, convert, open_dataset
from flowpwm.datasets.chunks import Chunk, read_chunk
from flowpwm.datasets.published import layout_of
from flowpwm.datasets.record import Recording, play, record
from flowpwm.envs import MT30, make, spec
from flowpwm.envs.tasks import task_set
from flowpwm.state import TrainState

PENDULUM, REACHER = MT30.index("pendulum-swingup"), MT30.index("reacher-easy")


def chunks_of(folder: Path, name: str = "mt30") -> list[Chunk]:
    paths = sorted(folder.glob("chunk_*.pt"), key=lambda path: int(path.stem[6:]))
    return [read_chunk(path, layout_of(name)) for path in paths]


def joined(chunks: list[Chunk]) -> Chunk:
    return Chunk(*(torch.cat(fields) for fields in zip(*chunks, strict=True)))


def forward(obs: np.ndarray) -> np.ndarray:
    """A policy of the point mass: towards the origin."""
    return np.clip(-obs[:, :2], -1, 1)


def test_played_actions_lead_to_the_stored_observations_and_rewards() -> None:
    rng = np.random.default_rng(0)
    env = make("reacher-easy", 3, seed=5)
    start = {}

    def act(obs: np.ndarray) -> np.ndarray:
        start.setdefault("state", env.state_dict())
        return rng.uniform(-1, 1, (len(obs), 2)).astype(np.float32)

    episodes = play(env, act)
    again = make("reacher-easy", 3, seed=99)
    again.load_state_dict(start["state"])
    for t in range(500):
        step = again.step(episodes.action[:, t])
        assert np.array_equal(step.final_obs, episodes.obs[:, t + 1])
        assert np.array_equal(step.reward, episodes.reward[:, t])
    assert step.truncated.all()
    env.close(), again.close()


def test_files_are_in_the_published_form_and_hold_every_episode(tmp_path: Path) -> None:
    recording = Recording(episodes=5, num_envs=2, chunk_episodes=4, seed=3)
    record(tmp_path / "made", {"pendulum-swingup": [], "reacher-easy": []}, recording)
    chunks = chunks_of(tmp_path / "made")
    assert [len(chunk.obs) for chunk in chunks] == [4, 4, 2]
    for chunk in chunks:
        assert set(chunk.task[:, 0].tolist()) == {PENDULUM, REACHER}  # something of each
    whole = joined(chunks)
    assert whole.obs.shape == (10, 501, 24) and whole.action.shape == (10, 501, 6)
    assert whole.task.dtype == torch.int32 and (whole.task == whole.task[:, :1]).all()
    assert whole.action[:, 0].isnan().all() and whole.reward[:, 0].isnan().all()
    assert not whole.action[:, 1:].isnan().any() and not whole.reward[:, 1:].isnan().any()
    pendulum = whole.task[:, 0] == PENDULUM
    assert pendulum.sum() == 5
    assert not whole.obs[pendulum, :, 3:].any() and not whole.action[pendulum, 1:, 1:].any()
    assert len(torch.unique(whole.obs[:, 1], dim=0)) == 10  # no episode twice


def test_what_is_recorded_converted_and_sampled_is_what_was_played(tmp_path: Path) -> None:
    recording = Recording("point-mass", episodes=6, num_envs=4, seed=1)
    record(tmp_path / "made", {"point-mass": [forward]}, recording)
    convert(tmp_path / "made", tmp_path / "out", "point-mass")
    data = open_dataset(tmp_path / "out", task_set("point-mass"), ("point-mass",), "cpu")
    batch = data.sample(500, 8, torch.Generator().manual_seed(0))
    env = make("point-mass", 500, seed=0)
    env.reset()
    for t in range(8):
        state = env.state_dict()
        obs = batch.obs[t].numpy().astype(np.float64)
        state["simulation"] = {"position": obs[:, :2], "velocity": obs[:, 2:]}
        env.load_state_dict(state)
        step = env.step(batch.action[t].numpy())
        seen = batch.mask[t].numpy()
        assert seen.mean() > 0.8
        # the state was rounded to float32 on its way
        assert np.allclose(step.final_obs[seen], batch.obs[t + 1].numpy()[seen], atol=1e-6)
        assert np.allclose(step.reward[seen], batch.reward[t].numpy()[seen], atol=1e-6)


def distance_to_policy(chunk: Chunk) -> Tensor:
    """Root mean square difference of an episode's actions to those of `forward`."""
    acted = torch.from_numpy(forward(chunk.obs[:, :-1].flatten(0, 1).numpy())).view(-1, 64, 2)
    return (chunk.action[:, 1:] - acted).square().mean((1, 2)).sqrt()


def test_behaviour_runs_from_greedy_over_noisy_to_random(tmp_path: Path) -> None:
    recording = Recording("point-mass", episodes=20, random_share=0.25, noise=0.4, seed=2)
    record(tmp_path / "made", {"point-mass": [forward]}, recording)
    distance = distance_to_policy(joined(chunks_of(tmp_path / "made", "point-mass")))
    ordered = distance.sort().values
    assert ordered[0] == 0  # the greedy one
    # 14 noisy ones: 0.4 i / 14, less where an action is clipped; then 5 uniform ones
    levels = torch.linspace(0, 0.4, 15)
    assert torch.allclose(ordered[:15], levels, atol=0.06)
    assert (ordered[15:] > 0.45).all()
    assert (distance.argsort().diff().abs() > 1).any()  # shuffled


@pytest.mark.parametrize("correlation", [0.0, 0.9])
def test_random_actions_stay_uniform_and_last_as_asked(tmp_path: Path, correlation: float) -> None:
    recording = Recording("point-mass", episodes=64, correlation=correlation)
    record(tmp_path / "made", {"point-mass": []}, recording)
    action = joined(chunks_of(tmp_path / "made", "point-mass")).action[:, 1:].double()
    # each quarter of [-1, 1] is met as often: 8,192 actions, fewer of them independent
    shares = torch.histc(action, 4, -1.0, 1.0) / action.numel()
    assert torch.allclose(shares, torch.full((4,), 0.25).double(), atol=0.04)
    normal = torch.special.ndtri((action + 1) / 2)
    lagged = torch.corrcoef(torch.stack([normal[:, :-1].flatten(), normal[:, 1:].flatten()]))
    assert lagged[0, 1].item() == pytest.approx(correlation, abs=0.04)


def test_noise_on_a_policy_lasts_as_asked(tmp_path: Path) -> None:
    def still(obs: np.ndarray) -> np.ndarray:
        return np.zeros((len(obs), 2), np.float32)

    recording = Recording("point-mass", episodes=64, random_share=0, noise=0.2, correlation=0.9)
    record(tmp_path / "made", {"point-mass": [still]}, recording)
    action = joined(chunks_of(tmp_path / "made", "point-mass")).action[:, 1:].double()
    noisy = action[action.std(dim=(1, 2)) > 0.05]
    lagged = torch.corrcoef(torch.stack([noisy[:, :-1].flatten(), noisy[:, 1:].flatten()]))
    assert lagged[0, 1].item() == pytest.approx(0.9, abs=0.04)


def test_several_policies_of_a_task_take_turns(tmp_path: Path) -> None:
    def still(obs: np.ndarray) -> np.ndarray:
        return np.zeros((len(obs), 2), np.float32)

    recording = Recording("point-mass", episodes=8, random_share=0, noise=0)
    record(tmp_path / "made", {"point-mass": [forward, still]}, recording)
    whole = joined(chunks_of(tmp_path / "made", "point-mass"))
    idle = ~whole.action[:, 1:].flatten(1).any(dim=1)
    assert idle.sum() == 4
    assert (distance_to_policy(whole)[~idle] == 0).all()


def test_the_same_seed_makes_the_same_data_and_another_one_other_data(tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("two", 1), ("three", 2)):
        recording = Recording("point-mass", episodes=3, seed=seed)
        record(tmp_path / name, {"point-mass": [forward]}, recording)
    one, two, three = (chunks_of(tmp_path / n, "point-mass")[0] for n in ("one", "two", "three"))
    assert torch.equal(one.obs, two.obs) and torch.equal(one.action[:, 1:], two.action[:, 1:])
    assert not torch.equal(one.obs[:, 0], three.obs[:, 0])


def test_what_files_cannot_hold_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "made"
    with pytest.raises(DatasetError, match=r"'point-mass' is no task of mt30"):
        record(out, {"point-mass": []}, Recording(episodes=1))
    with pytest.raises(DatasetError, match=r"ant: episodes can end before their time"):
        record(out, {"ant": []}, Recording("ant", episodes=1))
    with pytest.raises(DatasetError, match=r"episodes of one length, got {'point-mass': 64, 'reac"):
        both = {"point-mass": [], "reacher-easy": []}
        record(out, both, Recording("point-mass+reacher-easy", episodes=1))
    with pytest.raises(ConfigError, match=r"random_share must lie in \[0.0, 1.0\], got 1.5"):
        Recording(random_share=1.5)
    out.mkdir()
    with pytest.raises(DatasetError, match=r"made: exists"):
        record(out, {"point-mass": []}, Recording("point-mass", episodes=1))
    assert list(tmp_path.iterdir()) == [out] and not list(out.iterdir())


def test_an_episode_that_terminates_is_refused(tmp_path: Path) -> None:
    class Falling(type(make("point-mass", 1, 0))):
        def _advance(self, action: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            reward, terminated = super()._advance(action)
            return reward, terminated | (self._elapsed == 9)

    env = Falling(spec("point-mass"), 2, np.random.default_rng(0))
    with pytest.raises(DatasetError, match=r"point-mass: an episode ended after 10 of 64 steps"):
        play(env, forward)


def test_an_episode_that_is_cut_short_is_refused() -> None:
    class Short(type(make("point-mass", 1, 0))):
        def _out_of_time(self) -> np.ndarray:
            return self._elapsed >= 10

    env = Short(spec("point-mass"), 2, np.random.default_rng(0))
    with pytest.raises(DatasetError, match=r"point-mass: an episode ended after 10 of 64 steps"):
        play(env, forward)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a policy that was not trained, which is as good here."""
    folder = tmp_path_factory.mktemp("checkpoints") / "best"
    config = compose("pendulum-swingup laptop", {"num_envs": 2, "seed": 4})
    checkpoint.save(TrainState.start(config), folder, resumable=False)
    return folder


def test_the_command_plays_a_checkpoints_policy_and_further_tasks_at_random(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "made"
    command = ["make-dataset", str(out), "--checkpoint", f"{trained},{trained}"]
    command += ["--task", "reacher-easy", "--episodes", "4", "--random-share", "0"]
    assert main([*command, "--noise", "0"]) == 0
    assert "4 of 4 episodes of each of 2 tasks\n" in capsys.readouterr().out
    whole = joined(chunks_of(out))
    own = whole.task[:, 0] == PENDULUM
    obs = whole.obs[own, :-1, :3].flatten(0, 1)
    _, agent = checkpoint.load_agent(trained)
    expected = agent.act(obs.numpy(), torch.zeros(len(obs), dtype=torch.int64)).view(4, 500, 1)
    assert torch.allclose(whole.action[own, 1:, :1], expected, atol=1e-6)
    uniform = whole.action[~own, 1:, :2]
    assert abs(float(uniform.mean())) < 0.05 and float(uniform.std()) == pytest.approx(0.577, 0.05)
    made = json.loads((out / "made.json").read_text())
    assert made["checkpoints"] == [str(trained)] * 2 and made["noise"] == 0
    convert(out, tmp_path / "dataset")


def test_the_command_says_what_it_needs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["make-dataset", str(tmp_path / "made")]) == 2
    assert capsys.readouterr().err == "error: make-dataset needs --checkpoint or --task\n"
    assert main(["make-dataset", str(tmp_path / "made"), "--checkpoint", str(tmp_path)]) == 2
    assert "no checkpoint" in capsys.readouterr().err
