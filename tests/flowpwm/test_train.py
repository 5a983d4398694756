"""Training: reproducible, resumable bit for bit, honest about divergence, flat in memory."""

import json
import shutil
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from flowpwm import checkpoint
from flowpwm.checkpoint import CheckpointError
from flowpwm.config import RunConfig, compose
from flowpwm.evaluate import Evaluator
from flowpwm.report import METRICS, Evaluation, Report
from flowpwm.state import TrainState
from flowpwm.train import Diverged, learning_rate, train
from flowpwm.world_models import WORLD_MODELS

TINY = {
    "num_envs": 4,
    "horizon": 8,
    "epochs": 6,
    "report_every": 1,
    "evaluation.every": 3,
    "evaluation.episodes": 3,
    "wm_batch_size": 8,
    "wm_updates": 2,
    "wm_warmup_updates": 3,
    "actor_batch_size": 8,
    "critic_iterations": 1,
    "world_model.latent_dim": 16,
    "world_model.encoder_units": [16],
    "world_model.units": [16],
    "policy.units": [16],
    "critic.units": [16],
}


def tiny(preset: str = "point-mass flow", **changes: object) -> RunConfig:
    return compose(preset, TINY | {k.replace("__", "."): v for k, v in changes.items()})


def run(config: RunConfig, state: TrainState | None = None) -> tuple[TrainState, list[Report]]:
    state = state or TrainState.start(config)
    return state, list(train(state))


def weights(state: TrainState) -> list[torch.Tensor]:
    return [p.detach().clone() for p in state.agent.parameters()]


def science(report: Report) -> dict[str, float]:
    """Everything but clocks and memory."""
    return {
        k: v for k, v in report.metrics.items() if k.split("/")[0] not in ("time", "rate", "memory")
    }


TASKS = ["point-mass", "cartpole-swingup", "reacher-easy"]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("kind", WORLD_MODELS)
def test_a_run_resumed_in_the_middle_is_bit_equal_to_an_uninterrupted_one(
    task: str, kind: str, tmp_path: Path
) -> None:
    config = tiny(f"{task} {kind}")
    whole, reports = run(config)

    first = TrainState.start(config)
    early = list(islice(train(first), 4))
    checkpoint.save(first, tmp_path / "last")
    resumed = checkpoint.load(tmp_path / "last", config)
    assert resumed.epoch == 4
    _, late = run(config, resumed)

    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(resumed), strict=True))
    assert [science(r) for r in reports] == [science(r) for r in early + late]
    assert whole.best_score == resumed.best_score
    assert whole.score == resumed.score
    assert resumed.env_steps == 6 * 4 * 8
    last, again = reports[-1].evaluation, late[-1].evaluation
    assert last is not None and again is not None
    assert np.array_equal(last.returns, again.returns)


def test_a_run_stopped_between_two_reports_reports_the_same_means(tmp_path: Path) -> None:
    config = tiny(report_every=3)
    _, whole = run(config)
    first = TrainState.start(config)
    asked = iter([False, False, True])
    assert list(train(first, should_stop=lambda: next(asked))) == []
    checkpoint.save(first, tmp_path / "last")
    _, resumed = run(config, checkpoint.load(tmp_path / "last", config))
    assert [science(r) for r in whole] == [science(r) for r in resumed]


def test_a_seed_reproduces_a_run_and_another_seed_does_not() -> None:
    one, two, other = (run(tiny(seed=s))[0] for s in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(weights(one), weights(two), strict=True))
    assert not torch.equal(weights(one)[0], weights(other)[0])


def test_how_often_a_run_is_looked_at_does_not_change_it() -> None:
    often = run(tiny(evaluation__every=1))[0]
    rarely = run(tiny(evaluation__every=6, report_every=3))[0]
    assert all(torch.equal(a, b) for a, b in zip(weights(often), weights(rarely), strict=True))


def test_starting_a_run_leaves_the_global_random_state_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    TrainState.start(tiny()).close()
    assert torch.equal(torch.rand(3), expected)


def test_reports_come_on_their_grid_with_known_metrics() -> None:
    _, reports = run(tiny(epochs=7, report_every=2, evaluation__every=4))
    assert [r.epoch for r in reports] == [2, 4, 6, 7]
    assert [r.epoch for r in reports if r.evaluation] == [4, 7]
    assert reports[0].env_steps == 2 * 32
    for name in METRICS:
        optional = name.startswith("train/") or name == "model/reward_correlation"
        assert optional or any(name in r.metrics for r in reports), name
    assert all(np.isfinite(v) for r in reports for v in r.metrics.values())


def test_latents_that_hardly_move_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    state = TrainState.start(tiny())
    reports = train(state)
    next(reports)
    assert not caplog.records
    encode = state.agent.world_model.encode
    # What a collapsed encoder looks like: spread over the batch, still along every sequence.
    state.agent.world_model.encode = lambda obs: (
        encode(obs) * 1e-4 + torch.rand(obs.shape[-2], 1).expand(*obs.shape[:-1], 16)
        if obs.ndim == 3
        else encode(obs)
    )
    next(reports)
    assert "the encoder is collapsing" in caplog.text


def test_an_mlp_has_no_flow_losses() -> None:
    _, reports = run(tiny("point-mass mlp"))
    assert "loss/flow_matching" not in reports[-1].metrics
    assert "loss/dynamics" in reports[-1].metrics


def test_asked_to_stop_it_ends_between_epochs_with_its_state_whole() -> None:
    state = TrainState.start(tiny())
    asked = iter([False, False, True])
    assert [r.epoch for r in train(state, should_stop=lambda: next(asked))] == [1, 2]
    assert state.epoch == 2
    assert [r.epoch for r in train(state)] == [3, 4, 5, 6]


def test_a_diverging_run_names_the_loss_and_the_epoch() -> None:
    state = TrainState.start(tiny())
    next(iter(train(state)))
    with torch.no_grad():
        state.agent.critic.ensemble.layers[-1].bias.fill_(float("nan"))
    with pytest.raises(Diverged, match=r"loss/actor is nan in epoch 2"):
        list(train(state))


def test_the_learning_rate_falls_linearly_to_its_end_or_stays() -> None:
    config = tiny(epochs=10, optim__actor_lr=1e-3, optim__final_lr=1e-4)
    assert learning_rate(config, "actor", 0) == 1e-3
    assert learning_rate(config, "actor", 5) == pytest.approx(5.5e-4)
    assert learning_rate(config, "actor", 10) == pytest.approx(1e-4)
    late = tiny(epochs=10, optim__actor_lr=1e-3, optim__final_lr=0.0, optim__decay_start=0.5)
    rates = [learning_rate(late, "actor", epoch) for epoch in (0, 5, 6, 10)]
    assert rates == pytest.approx([1e-3, 1e-3, 8e-4, 0.0])
    assert learning_rate(tiny(optim__schedule="constant"), "critic", 5) == 5e-4


def test_every_network_is_trained() -> None:
    state = TrainState.start(tiny(epochs=2))
    before = {name: p.detach().clone() for name, p in state.agent.named_parameters()}
    list(train(state))
    for name, parameter in state.agent.named_parameters():
        assert not torch.equal(before[name], parameter), name


def test_evaluation_is_the_sum_of_environment_rewards_of_re_encoded_observations() -> None:
    """Replayed by hand: the same env, one encode per real observation, one sum of its rewards."""
    from flowpwm.envs import make

    state = TrainState.start(tiny())
    list(train(state))
    config = state.config.evaluation
    result = Evaluator("point-mass", config)(state.agent)
    env = make("point-mass", config.episodes, seed=config.seed)
    obs, total = env.reset(), np.zeros(config.episodes)
    for _ in range(env.episode_length):
        with torch.no_grad():
            z = state.agent.world_model.encode(torch.as_tensor(obs))
            step = env.step(state.agent.policy(z, None).numpy())
        total += step.reward
        obs = step.obs
    assert np.allclose(result.returns, total)
    assert (result.lengths == env.episode_length).all()


def test_two_evaluations_of_one_policy_are_equal_whatever_came_between() -> None:
    state = TrainState.start(tiny())
    evaluator = Evaluator("reacher-easy", state.config.evaluation)
    agent = TrainState.start(tiny("reacher-easy flow")).agent
    assert np.array_equal(evaluator(agent).returns, evaluator(agent).returns)


def test_evaluation_statistics_worked_by_hand() -> None:
    result = Evaluation(np.array([0.0, 2.0, 4.0, 100.0]), np.full(4, 500), "p")
    assert (result.n, result.mean, result.median, result.iqm) == (4, 26.5, 3.0, 3.0)
    assert result.std == pytest.approx(np.std([0, 2, 4, 100], ddof=1))
    assert Evaluation(np.array([7.0]), np.array([1]), "p").std == 0.0


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunConfig, Path]:
    """Two checkpoints, of epoch 2 (previous) and 4 (last)."""
    folder = tmp_path_factory.mktemp("checkpoints") / "last"
    config = tiny()
    state = TrainState.start(config)
    for report in train(state):
        if report.epoch in (2, 4):
            checkpoint.save(state, folder)
        if report.epoch == 4:
            checkpoint.save(state, folder.with_name("best"), resumable=False)
            break
    return config, folder


def copy(saved: tuple[RunConfig, Path], tmp_path: Path) -> tuple[RunConfig, Path]:
    shutil.copytree(saved[1].parent, tmp_path / "copy")
    return saved[0], tmp_path / "copy" / "last"


@pytest.mark.parametrize("name", ["agent.pt", "training.pt", "manifest.json", "config.json"])
@pytest.mark.parametrize("keep", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_checkpoint_falls_back_to_the_previous_one(
    saved: tuple[RunConfig, Path], tmp_path: Path, name: str, keep: float
) -> None:
    config, folder = copy(saved, tmp_path)
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: int(len(data) * keep)])
    assert checkpoint.load(folder, config).epoch == 2


def test_a_single_flipped_bit_is_noticed(saved: tuple[RunConfig, Path], tmp_path: Path) -> None:
    config, folder = copy(saved, tmp_path)
    rng = np.random.default_rng(0)
    for name in ("agent.pt", "training.pt"):
        data = bytearray((folder / name).read_bytes())
        for position in rng.integers(len(data), size=20):
            flipped = data.copy()
            flipped[position] ^= 1 << int(rng.integers(8))
            (folder / name).write_bytes(flipped)
            with pytest.raises(CheckpointError, match=f"{name}: damaged"):
                checkpoint.load_agent(folder)
        (folder / name).write_bytes(data)
    assert checkpoint.load(folder, config).epoch == 4


def test_with_no_valid_checkpoint_left_every_reason_is_given(
    saved: tuple[RunConfig, Path], tmp_path: Path
) -> None:
    config, folder = copy(saved, tmp_path)
    (folder / "agent.pt").write_bytes(b"")
    (folder.with_name("last.previous") / "manifest.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"agent.pt: damaged.*last.previous: no readable"):
        checkpoint.load(folder, config)
    with pytest.raises(CheckpointError, match="no checkpoint"):
        checkpoint.load(tmp_path / "absent", config)


def test_a_checkpoint_of_another_configuration_is_refused_by_its_keys(
    saved: tuple[RunConfig, Path],
) -> None:
    other = tiny(world_model__substeps=4, seed=7)
    with pytest.raises(CheckpointError, match=r"seed: 0 then, 7 now.*substeps: 2 then, 4 now"):
        checkpoint.load(saved[1], other)


def test_evaluation_settings_may_change_between_save_and_resume(
    saved: tuple[RunConfig, Path],
) -> None:
    assert checkpoint.load(saved[1], tiny(evaluation__episodes=5)).epoch == 4


def test_the_best_checkpoint_keeps_the_policy_only(saved: tuple[RunConfig, Path]) -> None:
    config, folder = saved
    best = folder.with_name("best")
    loaded, agent = checkpoint.load_agent(best)
    assert loaded == config
    assert (
        agent.act(np.zeros((2, agent.world_model.encoder[0].in_features), np.float32)).shape[0] == 2
    )
    with pytest.raises(CheckpointError, match="keeps a policy only"):
        checkpoint.load(best, config)


def test_a_save_that_fails_leaves_the_old_checkpoint_and_nothing_else(
    saved: tuple[RunConfig, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, folder = copy(saved, tmp_path)
    state = checkpoint.load(folder, config)
    before = sorted(p.name for p in folder.parent.iterdir())

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("flowpwm.checkpoint.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(state, folder)
    monkeypatch.undo()
    assert sorted(p.name for p in folder.parent.iterdir()) == before
    assert checkpoint.load(folder, config).epoch == 4


def test_a_checkpoint_executes_nothing_when_read(
    saved: tuple[RunConfig, Path], tmp_path: Path
) -> None:
    import hashlib
    import pickle

    class Bomb:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "exploded",))

    config, folder = copy(saved, tmp_path)
    data = pickle.dumps(Bomb())
    (folder / "training.pt").write_bytes(data)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["training.pt"] = hashlib.sha256(data).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert checkpoint.load(folder, config).epoch == 2  # the previous one
    assert not (tmp_path / "exploded").exists()
