"""Training: reproducible, resumable bit for bit, honest about divergence, flat in memory."""

import dataclasses
import subprocess
import sys
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from flowpwm import checkpoint
from flowpwm.alone import Alone
from flowpwm.averages import Averages
from flowpwm.config import RunConfig
from flowpwm.envs import make
from flowpwm.evaluate import Evaluator
from flowpwm.experience import Sequences
from flowpwm.report import METRICS, Evaluation
from flowpwm.state import TrainState
from flowpwm.train import collect, learning_rate, train
from flowpwm.updates import Diverged
from flowpwm.world_models import WORLD_MODELS
from tests.flowpwm.tiny import one_task, run, science, tiny, weights

ROOT = Path(__file__).parents[2]
RUNS = [
    ("point-mass", "mlp"),
    ("point-mass", "flow"),
    ("cartpole-swingup", "mlp"),
    ("reacher-easy", "flow"),
    ("point-mass+reacher-easy", "flow"),
]


def test_runs_of_every_kind_are_resumed() -> None:
    assert {kind for _, kind in RUNS} == set(WORLD_MODELS)


@pytest.mark.slow
@pytest.mark.parametrize(("task", "kind"), RUNS)
def test_a_run_resumed_in_the_middle_is_bit_equal_to_an_uninterrupted_one(
    task: str, kind: str, tmp_path: Path
) -> None:
    config = tiny(
        f"{task} {kind}",
        world_model__task_dim=2 if "+" in task else 0,
        # Before and after the break, where episodes are short.
        evaluation__every=3 if task == "point-mass" else 6,
        evaluation__episodes=2,
        exploration_correlation=0.5 if kind == "flow" else 0.0,
        world_model__target_momentum=0.9 if task == "reacher-easy" else 0.0,
    )
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
    assert len(reports[-1].evaluations) == len(task.split("+"))
    for last, again in zip(reports[-1].evaluations, late[-1].evaluations, strict=True):
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


@pytest.mark.slow
def test_a_seed_reproduces_a_run_and_another_seed_does_not() -> None:
    one, two, other = (run(tiny(seed=s))[0] for s in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(weights(one), weights(two), strict=True))
    encoders = [state.agent.world_model.encoder[0].weight for state in (one, other)]
    assert not torch.equal(*encoders)


@pytest.mark.slow
def test_how_often_a_run_is_looked_at_does_not_change_it() -> None:
    often = run(tiny(evaluation__every=1))[0]
    rarely = run(tiny(evaluation__every=6, report_every=3))[0]
    assert all(torch.equal(a, b) for a, b in zip(weights(often), weights(rarely), strict=True))


@pytest.mark.slow
def test_the_world_model_learns_from_sequences_of_its_own_length() -> None:
    """By default as long as what the policy imagines; an epoch's environment steps stay."""

    def sampled(config: RunConfig) -> tuple[TrainState, set[tuple[int, int]]]:
        state = TrainState.start(config)
        sample, shapes = state.experience.sample, set()

        def watched(batch: int, horizon: int, generator: torch.Generator) -> Sequences:
            shapes.add((batch, horizon))
            return sample(batch, horizon, generator)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(state.experience, "sample", watched)
            run(config, state)
        return state, shapes

    _, shapes = sampled(tiny())
    assert shapes == {(8, 8), (256, 8)}  # updates; diagnosis
    short, shapes = sampled(tiny(wm_horizon=3))
    assert shapes == {(8, 3), (256, 8)}
    same, _ = run(tiny(wm_horizon=8))
    default, _ = run(tiny())
    assert all(torch.equal(a, b) for a, b in zip(weights(same), weights(default), strict=True))
    assert short.env_steps == default.env_steps == 6 * 8 * 4


def test_starting_a_run_leaves_the_global_random_state_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    TrainState.start(tiny()).close()
    assert torch.equal(torch.rand(3), expected)


def test_reports_come_on_their_grid_with_known_metrics() -> None:
    extra = {"world_model__inverse_dynamics_weight": 1.0}
    _, reports = run(tiny(epochs=7, report_every=2, evaluation__every=4, **extra))
    assert [r.epoch for r in reports] == [2, 4, 6, 7]
    assert [r.epoch for r in reports if r.evaluations] == [4, 7]
    assert reports[0].env_steps == 2 * 32
    for name in METRICS:
        # Episodes end or not, rewards vary or not; a point mass has no final states.
        optional = name.startswith("train/") or name in (
            "model/reward_correlation",
            "loss/continuation",
        )
        assert optional or any(name in r.metrics for r in reports), name
    assert all(np.isfinite(v) for r in reports for v in r.metrics.values())
    spent = [r.metrics["time/cpu_s"] for r in reports]
    assert 0 < spent[0] < spent[1] < spent[2] < spent[3]


def test_latents_that_hardly_move_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    state = TrainState.start(tiny())
    reports = train(state)
    next(reports)
    assert not caplog.records
    encode = state.agent.world_model.encode
    # What a collapsed encoder looks like: spread over the batch, still along every sequence.
    state.agent.world_model.encode = lambda obs, e: (
        encode(obs, e) * 1e-4 + torch.rand(obs.shape[-2], 1).expand(*obs.shape[:-1], 16)
        if obs.ndim == 3
        else encode(obs, e)
    )
    next(reports)
    assert "the encoder is collapsing" in caplog.text


def test_host_memory_does_not_grow_with_the_epochs() -> None:
    """Graphs kept alive with the metrics would: of this small run many times the bound.

    In a process of its own and without the tests' shape checks, after the buffer is full.
    """
    code = """
import sys
import torch
from flowpwm.memory import host_bytes
from flowpwm.state import TrainState
from flowpwm.train import train
from tests.flowpwm.tiny import tiny

torch.set_num_threads(1)
config = tiny(epochs=250, horizon=4, wm_updates=1, buffer_capacity=200, evaluation__every=125)
for report in train(TrainState.start(config)):
    print(host_bytes())
"""
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout
    megabytes = np.array(out.split(), dtype=float)[50:] / 2**20
    assert len(megabytes) == 200
    slope = np.polyfit(np.arange(200), megabytes, 1)[0]
    assert slope < 0.05


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


def test_every_update_moves_the_running_average_of_the_encoder() -> None:
    state = TrainState.start(tiny("point-mass mlp", world_model__target_momentum=0.75))
    assert state.acting is not None
    collect(state, state.acting)
    model = state.agent.world_model
    assert model.target_encoder is not None
    before = [p.clone() for p in model.target_encoder.parameters()]
    for _ in range(2):
        Alone(state).world_model()
        expected = [
            0.75 * old + 0.25 * new.detach()
            for old, new in zip(before, model.encoder.parameters(), strict=True)
        ]
        before = [p.clone() for p in model.target_encoder.parameters()]
        assert all(torch.allclose(a, b) for a, b in zip(before, expected, strict=True))
    assert not torch.equal(before[0], next(model.encoder.parameters()))
    state.close()


@pytest.mark.parametrize("network", ["world_model", "policy", "critic"])
def test_a_diverging_run_names_the_loss_and_the_epoch(network: str) -> None:
    state = TrainState.start(tiny())
    next(iter(train(state)))
    broken = {
        "world_model": (state.agent.world_model.reward_head[-1].bias, "loss/world_model"),
        "policy": (state.agent.policy.log_std, "loss/actor"),
        "critic": (state.agent.critic.ensemble.layers[-1].bias, "loss/actor"),
    }
    parameter, named = broken[network]
    epochs = train(state)
    with torch.no_grad():
        parameter.fill_(float("nan"))
    if network == "policy":  # it acts before it learns
        with pytest.raises(
            ValueError, match=r"point-mass: the action of environments .* not finite"
        ):
            next(epochs)
        assert state.acting is not None
        state.acting = None  # as in a run from a dataset
        epochs = train(state)
    with pytest.raises(Diverged, match=rf"{named} is nan in epoch 2"):
        list(epochs)


def test_a_gradient_that_is_not_finite_is_named_where_the_loss_still_is() -> None:
    state = TrainState.start(tiny())
    next(iter(train(state)))
    state.agent.critic.ensemble.layers[-1].bias.register_hook(lambda g: g * float("inf"))
    before = weights(state)
    with pytest.raises(Diverged, match=r"grad/critic is (nan|inf) in epoch 2"):
        list(train(state))
    assert len(before) == len(weights(state))
    assert all(torch.isfinite(p).all() for p in weights(state))


def test_the_learning_rate_falls_linearly_to_its_end_or_stays() -> None:
    config = tiny(epochs=10, optim__actor_lr=1e-3, optim__final_lr=1e-4)
    assert learning_rate(config, "actor", 0) == 1e-3
    assert learning_rate(config, "actor", 5) == pytest.approx(5.5e-4)
    assert learning_rate(config, "actor", 10) == pytest.approx(1e-4)
    late = tiny(epochs=10, optim__actor_lr=1e-3, optim__final_lr=0.0, optim__decay_start=0.5)
    rates = [learning_rate(late, "actor", epoch) for epoch in (0, 5, 6, 10)]
    assert rates == pytest.approx([1e-3, 1e-3, 8e-4, 0.0])
    assert learning_rate(tiny(optim__schedule="constant"), "critic", 5) == 5e-4


def test_the_learning_rate_falls_along_a_cosine() -> None:
    sizes = {"optim__schedule": "cosine", "optim__actor_lr": 1e-3, "optim__final_lr": 1e-4}
    rates = [learning_rate(tiny(epochs=12, **sizes), "actor", epoch) for epoch in (0, 4, 6, 8, 12)]
    # 1e-4 + 9e-4 (1 + cos(pi epoch / 12)) / 2: the cosines are 1, 1/2, 0, -1/2 and -1
    assert rates == pytest.approx([1e-3, 7.75e-4, 5.5e-4, 3.25e-4, 1e-4])
    late = tiny(epochs=12, **sizes, optim__decay_start=0.5)
    rates = [learning_rate(late, "actor", epoch) for epoch in (0, 6, 8, 9, 10, 12)]
    assert rates == pytest.approx([1e-3, 1e-3, 7.75e-4, 5.5e-4, 3.25e-4, 1e-4])


def test_every_network_is_stepped_at_its_scheduled_rate() -> None:
    _, reports = run(tiny(epochs=4, optim__schedule="cosine"))
    config = tiny(epochs=4, optim__schedule="cosine")
    for report in reports:
        for network in ("world_model", "actor", "critic"):
            expected = learning_rate(config, network, report.epoch - 1)
            assert report.metrics[f"lr/{network}"] == pytest.approx(expected)


def test_every_network_is_trained() -> None:
    state = TrainState.start(tiny(epochs=2))
    before = {name: p.detach().clone() for name, p in state.agent.named_parameters()}
    list(train(state))
    for name, parameter in state.agent.named_parameters():
        empty = name == "world_model.embedding.weight"  # of a single task
        assert torch.equal(before[name], parameter) == empty, name


@pytest.mark.parametrize("keep", [0.0, 0.8])
def test_every_step_acts_on_the_encoded_real_observation(keep: float) -> None:
    """Replayed by hand: the same environments, one encode per real observation."""
    state = TrainState.start(tiny(exploration_correlation=keep))
    assert state.acting is not None
    noise = state.acting.noise.clone()
    collect(state, state.acting)
    buffer, config = state.acting.buffer, state.config
    generator = torch.Generator().manual_seed(config.seed)
    env = make("point-mass", config.num_envs, seed=config.seed)
    e = state.agent.world_model.embed(one_task(4))
    obs = env.reset()
    for t in range(config.horizon):
        # Fresh noise is mixed in such that the variance stays 1.
        noise = keep * noise + (1 - keep**2) ** 0.5 * torch.randn(4, 2, generator=generator)
        with torch.no_grad():
            z = state.agent.world_model.encode(torch.as_tensor(obs), e)
            action = state.agent.policy(z, e, noise)
        step = env.step(action.numpy())
        assert torch.equal(buffer.field("obs")[t], torch.as_tensor(obs))
        assert torch.allclose(buffer.field("action")[t], action, atol=1e-6)
        assert torch.equal(buffer.field("reward")[t], torch.as_tensor(step.reward))
        assert torch.equal(buffer.field("next_obs")[t], torch.as_tensor(step.final_obs))
        obs = step.obs


@pytest.mark.parametrize("keep", [0.0, 0.8])
def test_acting_noise_is_standard_normal_and_correlated_as_asked(keep: float) -> None:
    state = TrainState.start(
        tiny(num_envs=500, horizon=1, buffer_capacity=500, exploration_correlation=keep)
    )
    assert state.acting is not None
    noises = []
    for _ in range(15):
        collect(state, state.acting)
        noises.append(state.acting.noise.clone())
    # It starts from 0: after 12 steps all but 0.8^24 of its variance is there.
    # 1,000 numbers each: a standard deviation of 0.03 of their own, and of correlations.
    for before, after in pairwise(noises[11:]):
        assert abs(float(after.mean())) < 0.15
        assert float(after.std()) == pytest.approx(1.0, abs=0.1)
        pair = torch.stack([before.flatten(), after.flatten()])
        assert float(torch.corrcoef(pair)[0, 1]) == pytest.approx(keep, abs=0.12)


def test_the_mean_over_episodes_counts_every_episode_once() -> None:
    averages = Averages()
    averages.add("return", 1400.0, 100)  # that ran out of time together
    for _ in range(28):
        averages.add("return", 100.0)  # that fell one by one
    assert averages.take()["return"] == pytest.approx((100 * 1400 + 28 * 100) / 128)


def test_the_end_of_an_episodes_time_is_no_end_of_its_future() -> None:
    state = TrainState.start(tiny(epochs=20, evaluation__every=1000))
    assert state.acting is not None
    for _ in range(20):  # 160 steps of episodes of 64
        collect(state, state.acting)
    buffer = state.acting.buffer
    assert buffer.field("end").nonzero()[:, 0].unique().tolist() == [63, 127]
    assert not buffer.field("terminated").any()
    # What is kept is where the episode ended, not where the next one begins.
    assert not torch.equal(buffer.field("next_obs")[63], buffer.field("obs")[64])
    assert torch.equal(buffer.field("next_obs")[62], buffer.field("obs")[63])


def test_evaluation_is_the_sum_of_environment_rewards_of_re_encoded_observations() -> None:
    """Replayed by hand: the same env, one encode per real observation, one sum of its rewards."""
    state = TrainState.start(tiny())
    list(train(state))
    config = state.config.evaluation
    (result,) = Evaluator(state.config)(state.agent)
    env = make("point-mass", config.episodes, seed=config.seed)
    e = state.agent.world_model.embed(one_task(config.episodes))
    obs, total = env.reset(), np.zeros(config.episodes)
    for _ in range(env.episode_length):
        with torch.no_grad():
            z = state.agent.world_model.encode(torch.as_tensor(obs), e)
            step = env.step(state.agent.policy(z, e, None).numpy())
        total += step.reward
        obs = step.obs
    assert np.allclose(result.returns, total)
    assert (result.lengths == env.episode_length).all()


def test_two_evaluations_of_one_policy_are_equal_whatever_came_between() -> None:
    config = tiny("reacher-easy flow")
    evaluator, agent = Evaluator(config), TrainState.start(config).agent
    (one,), (two,) = evaluator(agent), evaluator(agent)
    assert np.array_equal(one.returns, two.returns)


def test_evaluation_statistics_worked_by_hand() -> None:
    result = Evaluation("t", np.array([0.0, 2.0, 4.0, 100.0]), np.full(4, 500), "p")
    assert (result.n, result.mean, result.median, result.iqm) == (4, 26.5, 3.0, 3.0)
    assert result.success is None  # nothing says what solving it would be
    assert dataclasses.replace(result, threshold=3.5).success == 0.5
    assert result.std == pytest.approx(np.std([0, 2, 4, 100], ddof=1))
    assert Evaluation("t", np.array([7.0]), np.array([1]), "p").std == 0.0


@pytest.mark.parametrize("kind", WORLD_MODELS)
@pytest.mark.parametrize("field", ["obs", "next_obs", "reward"])
def test_a_number_that_is_not_finite_is_not_hidden_wherever_it_was_stored(
    kind: str, field: str
) -> None:
    state = TrainState.start(tiny(f"point-mass {kind}"))
    epochs = train(state)
    next(iter(epochs))
    state.experience.field(field)[0] = float("nan")  # a whole row, that many batches meet
    with pytest.raises(Diverged, match=r"(loss|grad)/(world_model|actor) is nan in epoch"):
        list(epochs)


def test_nothing_replaces_a_number_that_is_not_finite() -> None:
    sources = [path for top in ("flowpwm", "sweeps") for path in (ROOT / top).rglob("*.py")]
    assert len(sources) > 100
    assert [path.name for path in sources if "nan_to_num" in path.read_text()] == []
