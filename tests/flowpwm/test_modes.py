"""The contract of every listed mode: what it learns from, what it trains, what it asks for."""

from __future__ import annotations

import dataclasses
import shutil
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from flowpwm import checkpoint
from flowpwm.checkpoint import CheckpointError
from flowpwm.checks import ConfigError
from flowpwm.config import RunConfig, env_steps_per_epoch
from flowpwm.datasets import OfflineDataset
from flowpwm.modes import MODES
from flowpwm.preflight import preflight
from flowpwm.report import SCORE_WINDOW, Evaluation
from flowpwm.state import TrainState
from flowpwm.train import train
from tests.flowpwm.tiny import DATA_TASKS, run, science, tiny, weights

OFFLINE = [name for name, mode in MODES.items() if not mode.online]
TWO = "pendulum-swingup+reacher-easy"
PARTS = {"world_model": "world_model", "policy": "actor", "critic": "critic"}


@pytest.fixture(scope="module")
def world_model(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose world model a run can start from."""
    folder = tmp_path_factory.mktemp("world_model") / "best"
    state, _ = run(settings("pretrain", dataset, None, epochs=2, seed=11))
    checkpoint.save(state, folder, resumable=False)
    return folder


def settings(
    mode: str, dataset: Path, world_model: Path | None, task: str = DATA_TASKS, **changes: object
) -> RunConfig:
    """A run in a mode, with the folders that the mode needs."""
    folders = {}
    if not MODES[mode].online:
        folders["dataset"] = str(dataset)
    if MODES[mode].init == "required":
        folders["init_world_model"] = str(world_model)
    sizes = {
        "num_envs": 3 * len(task.split("+")),
        "epochs": 4,
        "evaluation__every": 4,
        "evaluation__episodes": 1,
        "world_model__task_dim": 3,
        "world_model__task_set": DATA_TASKS,
    }
    return tiny(f"{task} flow", **(sizes | folders | {"mode": mode} | changes))


def test_the_table_has_the_five_ways_to_train() -> None:
    table = {
        name: (mode.online, mode.trains_world_model, mode.trains_policy, mode.init)
        for name, mode in MODES.items()
    }
    assert table == {
        "online": (True, True, True, "optional"),
        "pretrain": (False, True, False, "optional"),
        "policy_frozen": (False, False, True, "required"),
        "policy_finetune": (False, True, True, "required"),
        "joint": (False, True, True, "refused"),
    }


@pytest.mark.parametrize("mode", MODES)
def test_a_mode_trains_what_it_says_and_leaves_the_rest_bit_for_bit(
    mode: str, dataset: Path, world_model: Path
) -> None:
    state = TrainState.start(settings(mode, dataset, world_model, epochs=2))
    says = {
        "world_model": MODES[mode].trains_world_model,
        "policy": MODES[mode].trains_policy,
        "critic": MODES[mode].trains_policy,
    }
    assert set(state.optimisers) == {PARTS[part] for part, trains in says.items() if trains}
    before = {name: p.detach().clone() for name, p in state.agent.named_parameters()}
    next(train(state))
    for name, parameter in state.agent.named_parameters():
        assert torch.equal(before[name], parameter) != says[name.split(".")[0]], name


@pytest.mark.parametrize("mode", MODES)
def test_a_mode_reports_what_it_trains_and_where_it_learned_it(
    mode: str, dataset: Path, world_model: Path
) -> None:
    config = settings(mode, dataset, world_model, TWO, epochs=2, evaluation__every=2)
    state, reports = run(config)
    online, learns, acts, _, _ = dataclasses.astuple(MODES[mode])
    for name in ("loss/dynamics", "loss/world_model", "grad/world_model", "lr/world_model"):
        assert (name in reports[0].metrics) == learns, name
    for name in ("loss/actor", "loss/critic", "lr/critic", "actor/std", "actor/return_scale"):
        assert (name in reports[0].metrics) == acts, name
    assert "model/latent_error_1" in reports[0].metrics
    assert [len(report.evaluations) for report in reports] == ([0, 2] if acts else [0, 0])
    assert (reports[1].score is not None) == (state.evaluator is not None) == acts
    assert reports[1].is_best == acts

    an_epoch = 8 * 6 if online else 0
    assert env_steps_per_epoch(config) == an_epoch
    assert [(r.epoch, r.env_steps) for r in reports] == [(1, an_epoch), (2, 2 * an_epoch)]
    assert (state.acting is not None) == ("buffer/transitions" in reports[0].metrics) == online
    assert isinstance(state.experience, OfflineDataset) != online
    assert len(state.experience) == (2 * an_epoch if online else 2 * 3 * 500)


@pytest.mark.parametrize("mode", MODES)
def test_an_epoch_has_its_updates_and_only_a_fresh_world_model_a_warm_up(
    mode: str, dataset: Path, world_model: Path
) -> None:
    state = TrainState.start(settings(mode, dataset, world_model))
    state.evaluator = None
    epochs = train(state)
    # Of the world model 2; of the actor 1, and 4 minibatches of the critic.
    an_epoch = 2 * MODES[mode].trains_world_model + (1 + 4) * MODES[mode].trains_policy
    warm_up = 0 if MODES[mode].init == "required" else 3
    next(epochs)
    assert state.updates == an_epoch + warm_up
    next(epochs)
    assert state.updates == 2 * an_epoch + warm_up


@pytest.mark.parametrize("mode", [name for name, mode in MODES.items() if mode.init != "refused"])
def test_a_run_starts_from_the_world_model_that_it_names(
    mode: str, dataset: Path, world_model: Path
) -> None:
    config = settings(mode, dataset, world_model, init_world_model=str(world_model))
    state = TrainState.start(config)
    _, source = checkpoint.load_agent(world_model)
    loaded, expected = state.agent.world_model.state_dict(), source.world_model.state_dict()
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[name], expected[name]) for name in expected)
    # Nothing else is taken over.
    assert not torch.equal(state.agent.policy.mean[0].weight, source.policy.mean[0].weight)
    assert state.epoch == state.updates == 0
    # It knows something already: no warm-up.
    state.evaluator = None
    next(train(state))
    assert state.updates == 2 * MODES[mode].trains_world_model + 5 * MODES[mode].trains_policy


def test_a_policy_of_one_task_sees_that_tasks_data_alone(dataset: Path, world_model: Path) -> None:
    config = settings("policy_frozen", dataset, world_model, task="cartpole-swingup")
    state = TrainState.start(config)
    assert len(state.experience) == 3 * 500
    obs, task = state.experience.sample_obs(100, torch.Generator().manual_seed(0))
    assert (task == 1).all()
    # Position, cosine and sine of the pole and their speeds: 5 of 6 numbers.
    assert (obs[:, 5:] == 0).all() and torch.allclose(obs[:, 1:3].norm(dim=1), torch.ones(100))


@pytest.mark.slow
@pytest.mark.parametrize("mode", OFFLINE)
def test_a_run_in_any_mode_resumes_bit_for_bit(
    mode: str, dataset: Path, world_model: Path, tmp_path: Path
) -> None:
    config = settings(mode, dataset, world_model, TWO)
    whole, reports = run(config)
    first = TrainState.start(config)
    early = list(islice(train(first), 2))
    checkpoint.save(first, tmp_path / "last")
    resumed = checkpoint.load(tmp_path / "last", config)
    assert resumed.epoch == 2
    _, late = run(config, resumed)
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(resumed), strict=True))
    assert [science(r) for r in reports] == [science(r) for r in early + late]
    assert whole.score == resumed.score and whole.updates == resumed.updates


def test_a_run_is_not_resumed_on_other_data(dataset: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(dataset, tmp_path / "data")
    config = settings("pretrain", copied, None)
    state = TrainState.start(config)
    checkpoint.save(state, tmp_path / "last")
    assert checkpoint.load(tmp_path / "last", config).epoch == 0
    manifest = copied / "dataset.json"
    digests = TrainState.start(config).experience.manifest.tasks["reacher-easy"].sha256
    manifest.write_text(manifest.read_text().replace(digests["reward"], "0" * 64))
    with pytest.raises(CheckpointError, match=r"last: .*data: not the data that the saved run was"):
        checkpoint.load(tmp_path / "last", config)


REFUSED = [
    (
        {"mode": "???"},
        "mode must be set, got '???'",
    ),
    (
        {"mode": "joined", "dataset": "d"},
        "unknown mode 'joined'; known: online, pretrain, policy_frozen, policy_finetune, joint. "
        "Did you mean 'joint'?",
    ),
    (
        {"dataset": "d"},
        "dataset is set ('d') but mode is online, which acts in the environment; offline modes: "
        "pretrain, policy_frozen, policy_finetune, joint",
    ),
    *(
        (
            {"mode": mode},
            f"dataset must be set in mode {mode}: the folder of a dataset (of convert-dataset or "
            "make-dataset)",
        )
        for mode in OFFLINE
    ),
    *(
        (
            {"mode": mode, "dataset": "d"},
            f"init_world_model must be set in mode {mode}: the folder of a world model",
        )
        for mode in ("policy_frozen", "policy_finetune")
    ),
    (
        {"mode": "joint", "dataset": "d", "init_world_model": "w"},
        "mode joint starts from scratch, but init_world_model is 'w'; use policy_finetune to start "
        "from it",
    ),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED)
def test_a_mode_with_folders_too_many_or_too_few_is_refused_in_one_line(
    changes: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        tiny(**changes)
    assert str(caught.value) == message


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_composes_with_the_folders_that_it_needs(mode: str) -> None:
    config = settings(mode, Path("data"), Path("model"))
    assert config.mode == mode


def test_folders_that_are_not_what_their_key_asks_for_are_named(
    dataset: Path, world_model: Path, tmp_path: Path
) -> None:
    for key, config, reason in (
        ("dataset", settings("pretrain", tmp_path / "none", None), "is not a folder; .* dataset"),
        ("dataset", settings("pretrain", tmp_path, None), "holds no dataset.json; .* dataset"),
        (
            "init_world_model",
            settings("policy_frozen", dataset, tmp_path),
            "holds no manifest.json; expected the folder of a world model",
        ),
    ):
        with pytest.raises(ConfigError, match=f"^{key}: {tmp_path}.* {reason}") as caught:
            preflight(config)
        assert "\n" not in str(caught.value)
        with pytest.raises(ConfigError):
            TrainState.start(config)


def test_folders_that_do_not_fit_the_configuration_are_refused_before_anything_starts(
    dataset: Path, world_model: Path
) -> None:
    preflight(settings("policy_frozen", dataset, world_model))
    larger = settings("policy_frozen", dataset, world_model, world_model__latent_dim=24)
    other = settings(
        "pretrain",
        dataset,
        None,
        task="point-mass",
        world_model__task_set="point-mass",
        world_model__task_dim=0,
    )
    for config, message in (
        (larger, f"{world_model}.*latent_dim.*16.*24|{world_model}.*latent_dim.*24.*16"),
        (other, f"{dataset}: no task 'point-mass'; found: pendulum-swingup, cartpole-swingup"),
    ):
        with pytest.raises(ConfigError, match=message) as caught:
            preflight(config)
        assert "\n" not in str(caught.value)


STILL = {
    # Rates so small that nothing changes: every evaluation is like the first.
    "optim__wm_lr": 1e-30,
    "optim__actor_lr": 1e-30,
    "optim__critic_lr": 1e-30,
    "optim__schedule": "constant",
    "epochs": 12,
    "horizon": 2,
    "wm_updates": 1,
    "evaluation__every": 2,
    "evaluation__episodes": 1,
}


def test_a_score_that_does_not_improve_ends_a_run_after_its_patience() -> None:
    state, reports = run(tiny(**STILL, patience=3))
    # Evaluated at 2, the best, then at 4, 6 and 8.
    assert state.epoch == reports[-1].epoch == 8 and state.finished
    assert [r.epoch for r in reports if r.is_best] == [2]
    assert list(train(state)) == []
    assert run(tiny(**STILL))[0].epoch == 12


def test_patience_is_remembered_over_a_resume(tmp_path: Path) -> None:
    config = tiny(**STILL, patience=3)
    first = TrainState.start(config)
    list(islice(train(first), 5))
    checkpoint.save(first, tmp_path / "last")
    resumed = checkpoint.load(tmp_path / "last", config)
    assert not resumed.finished
    assert run(config, resumed)[0].epoch == 8
    checkpoint.save(resumed, tmp_path / "last")
    again = checkpoint.load(tmp_path / "last", config)
    assert again.finished and list(train(again)) == []


@pytest.mark.parametrize(("patience", "last"), [(3, 5), (4, 8), (0, 8)])
def test_patience_counts_evaluations_since_the_best_score_worked_by_hand(
    patience: int, last: int
) -> None:
    state = TrainState.start(tiny(epochs=8, horizon=2, evaluation__every=1, patience=patience))
    assert state.evaluator is not None
    returns = iter([10.0, 20.0, 0.0, 0.0, 30.0, 100.0, 0.0, 0.0])

    def scripted(_: object) -> tuple[Evaluation, ...]:
        return (Evaluation("point-mass", np.array([next(returns)]), np.array([64]), "by hand"),)

    state.evaluator = scripted  # type: ignore[assignment]
    reports = list(train(state))
    assert SCORE_WINDOW == 5
    # Means of the newest five: the second is the best until the sixth.
    by_hand = [10.0, 15.0, 10.0, 7.5, 12.0, 30.0, 26.0, 26.0]
    assert [report.score for report in reports] == by_hand[:last]
    # The weights worth keeping are those of the best evaluation, whatever came before and after.
    assert [r.epoch for r in reports if r.is_best] == [
        epoch for epoch in (1, 2, 5, 6) if epoch <= last
    ]
    assert state.finished


def test_a_checkpoint_goes_on_without_the_folder_that_the_run_started_from(
    dataset: Path, world_model: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "weights"
    shutil.copytree(world_model, moved)
    config = settings("policy_finetune", dataset, moved)
    state = TrainState.start(config)
    next(train(state))
    checkpoint.save(state, tmp_path / "last")
    shutil.rmtree(moved)
    resumed = checkpoint.load(tmp_path / "last", config)
    for kept, loaded in zip(state.agent.parameters(), resumed.agent.parameters(), strict=True):
        assert torch.equal(kept, loaded)
    with pytest.raises(ConfigError, match=r"init_world_model: .*weights is not a folder"):
        TrainState.start(config)
