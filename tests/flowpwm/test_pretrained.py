"""Published world models come in whole and compute what they computed where they were made.

The files are made here in the formats of the published ones, by a TD-MPC2 forward pass of its own.
"""

import dataclasses
import json
import logging
import os
import shlex
import sys
import types
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowpwm import tdmpc2
from flowpwm.__main__ import main
from flowpwm.agent import Agent
from flowpwm.commands.settings import parse_settings
from flowpwm.compose import compose
from flowpwm.config import RunConfig, to_dict
from flowpwm.envs.tasks import task_set
from flowpwm.pretrained import check_fits, load_into, write_imported
from flowpwm.state import TrainState
from flowpwm.storage import CheckpointError, write_folder
from flowpwm.world_models import make_world_model
from flowpwm.world_models.mlp import MLPWorldModel

TASKS = "cartpole-swingup+reacher-easy+walker-stand"
N, OBS, ACT, E, D, UNITS, ENCODER, BINS = 3, 24, 6, 5, 16, 24, 32, 101


def normal(*shape: int, scale: float = 0.3) -> Tensor:
    return torch.randn(shape) * scale


def layer(name: str, rows: int, columns: int, norm: bool = True) -> dict[str, Tensor]:
    weights = {f"{name}.weight": normal(rows, columns), f"{name}.bias": normal(rows)}
    if norm:
        weights |= {f"{name}.ln.weight": 1 + normal(rows), f"{name}.ln.bias": normal(rows)}
    return weights


def published(
    task_dim: int = E, tasks: int = N, obs: int = OBS, act: int = ACT
) -> dict[str, Tensor]:
    """A world model in TD-MPC2's names with every weight random, the reward's last layer too."""
    joint = D + task_dim + act
    weights = {"_task_emb.weight": normal(tasks, task_dim)} if task_dim else {}
    if task_dim:
        # One row is longer than 1, as weights are that were not looked up since their last update.
        weights["_task_emb.weight"][1] *= 3 / weights["_task_emb.weight"][1].norm()
    weights |= layer("_encoder.state.0", ENCODER, obs + task_dim)
    weights |= layer("_encoder.state.1", ENCODER, ENCODER)
    weights |= layer("_encoder.state.2", D, ENCODER)
    weights |= layer("_dynamics.0", UNITS, joint) | layer("_dynamics.1", UNITS, UNITS)
    weights |= layer("_dynamics.2", D, UNITS)
    weights |= layer("_reward.0", UNITS, joint) | layer("_reward.1", UNITS, UNITS)
    return weights | layer("_reward.2", BINS, UNITS, norm=False)


def old_extras() -> dict[str, Tensor]:
    extras = layer("_pi.0", UNITS, D + E) | layer("_pi.1", 2 * ACT, UNITS, norm=False)
    for i, shape in enumerate([(5, UNITS, D), (5, UNITS), (5, UNITS), (5, UNITS), (5, BINS)]):
        extras |= {f"_Qs.params.{i}": normal(*shape), f"_target_Qs.params.{i}": normal(*shape)}
    return extras


def new_extras() -> dict[str, object]:
    extras: dict[str, object] = dict(layer("_pi.0", UNITS, D + E))
    for name in ("_Qs.params", "_detach_Qs_params", "_target_Qs_params"):
        extras |= {f"{name}.0.weight": normal(5, UNITS, D), f"{name}.0.ln.bias": normal(5, UNITS)}
        extras |= {
            f"{name}.__batch_size": torch.Size([5]),
            f"{name}.__device": torch.device("cuda:0"),
        }
    masks = torch.zeros(N, ACT)
    for row, size in zip(masks, (1, 2, 6), strict=True):
        row[:size] = 1
    extras |= {"log_std_min": torch.tensor(-10.0), "log_std_dif": torch.tensor(12.0)}
    return extras | {"_action_masks": masks}


def pwm_names(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.replace("_encoder.state.", "_encoder."): value for name, value in weights.items()}


def pwm_file(weights: dict[str, Tensor], **changes: object) -> dict[str, object]:
    moments = {"state": {0: {"exp_avg": normal(4), "step": torch.tensor(3.0)}}, "param_groups": []}
    file: dict[str, object] = {"actor": layer("mu_net.0", 4, D), "critic": layer("0", 4, D)}
    file |= {"world_model": state_dict(pwm_names(weights)), "world_model_opt": moments}
    return file | {"obs_rms": None, "rew_rms": None, "ret_rms": None} | changes


def state_dict(weights: dict[str, object]) -> OrderedDict[str, object]:
    """As a module gives it: versions of its parts hang on it."""
    state = OrderedDict(weights)
    state._metadata = OrderedDict({"": {"version": 1}})
    return state


LAYOUTS = {
    "TD-MPC2, before November 2024": lambda w: {"model": state_dict(w | old_extras())},
    "TD-MPC2, from November 2024 on": lambda w: {"model": state_dict(w | new_extras())},
    "PWM": pwm_file,
}
BARE = {
    "a bare state dict": lambda w: state_dict(w | old_extras()),
    "with an optimiser beside": lambda w: {"model": w | old_extras(), "optim": {"lr": normal(2)}},
    "PWM's names under model": lambda w: {"model": pwm_names(w)},
}


def normed(w: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    x = x @ w[f"{name}.weight"].T + w[f"{name}.bias"]
    x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    return x * w[f"{name}.ln.weight"] + w[f"{name}.ln.bias"]


def mish(x: Tensor) -> Tensor:
    return x * torch.tanh(torch.log1p(torch.exp(x)))


def simplices(x: Tensor) -> Tensor:
    groups = torch.exp(x.reshape(*x.shape[:-1], -1, 8))
    return (groups / groups.sum(-1, keepdim=True)).reshape(x.shape)


def embedded(w: dict[str, Tensor], task: Tensor) -> Tensor:
    if "_task_emb.weight" not in w:
        return torch.zeros(len(task), 0)
    rows = F.embedding(task, w["_task_emb.weight"].clone(), max_norm=1.0)
    return rows


def outputs(
    w: dict[str, Tensor], obs: Tensor, task: Tensor, action: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Latents, next latents and reward logits as TD-MPC2 computes them."""
    w = {name: value.double() for name, value in w.items()}
    e = embedded(w, task)
    x = torch.cat([obs.double(), e], -1)
    x = mish(normed(w, "_encoder.state.0", x))
    x = mish(normed(w, "_encoder.state.1", x))
    z = simplices(normed(w, "_encoder.state.2", x))
    joint = torch.cat([z, e, action.double()], -1)
    x = mish(normed(w, "_dynamics.1", mish(normed(w, "_dynamics.0", joint))))
    after = simplices(normed(w, "_dynamics.2", x))
    x = mish(normed(w, "_reward.1", mish(normed(w, "_reward.0", joint))))
    return z, after, x @ w["_reward.2.weight"].T + w["_reward.2.bias"]


def save(values: object, path: Path) -> Path:
    torch.save(values, path)
    return path


@pytest.fixture
def weights() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return published()


@pytest.fixture
def model(weights: dict[str, Tensor], tmp_path: Path) -> tdmpc2.PublishedModel:
    return tdmpc2.read(save({"model": weights | old_extras()}, tmp_path / "small.pt"), TASKS)


@pytest.fixture
def imported(model: tdmpc2.PublishedModel, tmp_path: Path) -> Path:
    write_imported(model, tmp_path / "small.pt", tmp_path / "imported")
    return tmp_path / "imported"


@pytest.mark.parametrize("layout", [*LAYOUTS, *BARE])
def test_an_imported_model_reproduces_the_outputs_of_the_published_one(
    layout: str, weights: dict[str, Tensor], tmp_path: Path
) -> None:
    file = save((LAYOUTS | BARE)[layout](weights), tmp_path / "published.pt")
    read = tdmpc2.read(file, TASKS)
    if layout in LAYOUTS:
        assert read.layout == layout
    write_imported(read, file, tmp_path / "imported")
    model = make_world_model(read.config, task_set(TASKS))
    load_into(model, tmp_path / "imported")

    obs, action = torch.randn(64, OBS) * 3, torch.rand(64, ACT) * 2 - 1
    task = torch.arange(64) % N
    e = model.embed(task)
    with torch.no_grad():
        z = model.encode(obs, e)
        ours = z, model.next(z, e, action), model.reward_logits(z, e, action)
    for found, expected in zip(ours, outputs(weights, obs, task, action), strict=True):
        assert float((found - expected).abs().max() / expected.abs().max()) < 1e-6


def test_a_single_task_model_has_no_embedding(tmp_path: Path) -> None:
    torch.manual_seed(0)
    weights = published(task_dim=0, obs=24, act=6)
    read = tdmpc2.read(save({"model": weights}, tmp_path / "one.pt"), "walker-stand")
    assert read.config.task_dim == 0
    model = make_world_model(read.config, task_set("walker-stand"))
    model.load_state_dict(read.weights)
    obs, task = torch.randn(8, 24), torch.zeros(8, dtype=torch.int64)
    z, *_ = outputs(weights, obs, task, torch.zeros(8, 6))
    assert torch.allclose(model.encode(obs, model.embed(task)).double(), z, atol=1e-6)


def test_sizes_are_inferred_from_the_weights(weights: dict[str, Tensor], tmp_path: Path) -> None:
    read = tdmpc2.read(save({"model": weights}, tmp_path / "x.pt"), TASKS)
    config = read.config
    assert (config.task_set, config.task_dim, config.latent_dim) == (TASKS, E, D)
    assert (config.encoder_units, config.units) == ((ENCODER, ENCODER), (UNITS, UNITS))
    assert (config.num_bins, config.observation_transform) == (BINS, "none")


def test_the_48m_model_of_mt30_has_its_published_sizes_and_parameters(tmp_path: Path) -> None:
    """The shapes of mt30_48M_4900000.pt, all weights 0."""
    wide, latent, joint = 1792, 768, 768 + 64 + 6
    shapes: dict[str, tuple[int, ...]] = {"_task_emb.weight": (30, 64)}

    def add(name: str, rows: int, columns: int, norm: bool = True) -> None:
        for part in ("bias", "ln.weight", "ln.bias") if norm else ("bias",):
            shapes[f"{name}.{part}"] = (rows,)
        shapes[f"{name}.weight"] = (rows, columns)

    for i, (rows, columns) in enumerate([(wide, 88), (wide, wide), (wide, wide), (latent, wide)]):
        add(f"_encoder.state.{i}", rows, columns)
    for i, (rows, columns) in enumerate([(wide, joint), (wide, wide), (latent, wide)]):
        add(f"_dynamics.{i}", rows, columns)
    for i, (rows, columns) in enumerate([(wide, joint), (wide, wide), (101, wide)]):
        add(f"_reward.{i}", rows, columns, norm=i < 2)
    for i, shape in enumerate([(5, 1792, 838), (5, 1792), (5, 1792)]):
        shapes[f"_Qs.params.{i}"] = shape
    zeros = {name: torch.zeros(shape) for name, shape in shapes.items()}

    read = tdmpc2.read(save({"model": zeros}, tmp_path / "mt30_48M.pt"), "mt30")
    assert read.config.encoder_units == (1792, 1792, 1792)
    assert (read.config.units, read.config.latent_dim) == ((1792, 1792), 768)
    count = sum(w.numel() for w in read.weights.values())
    assert count == sum(z.numel() for name, z in zeros.items() if "_Qs" not in name)
    assert round(count / 1e6, 2) == 18.98
    assert read.dropped == {"_Qs": (3, 4 * 5 * 1792 * (838 + 2))}
    with torch.device("meta"):
        model = MLPWorldModel(read.config, task_set("mt30"))
    assert sum(p.numel() for p in model.parameters()) == count


def changed(weights: dict[str, Tensor], **changes: Tensor | None) -> dict[str, Tensor]:
    named = weights | {name.replace("__", "."): value for name, value in changes.items()}
    return {name: value for name, value in named.items() if value is not None}


BAD = {
    "another width": (
        {"_dynamics__1__weight": torch.zeros(UNITS + 1, UNITS)},
        r"_dynamics.1.bias is \[24\]; expected \[25\]",
    ),
    "a wrong norm": (
        {"_reward__0__ln__weight": torch.ones(7)},
        r"_reward.0.ln.weight is \[7\]; expected \[24\]",
    ),
    "other latents": (
        {"_encoder__state__2__weight": torch.zeros(8, ENCODER)},
        r"_encoder.state.2.weight is \[8, 32\]; expected \[16, 32\]",
    ),
    "a missing weight": ({"_dynamics__1__ln__bias": None}, r"1 weights are missing.*dynamics.1.ln"),
    "no reward head": (
        dict.fromkeys([f"_reward__{i}__weight" for i in range(3)]),
        "no weights of reward_head.0",
    ),
    "an unknown weight": (
        {"_dynamics__0__gamma": torch.zeros(3)},
        "_dynamics.0.gamma is no weight of such a world model",
    ),
    "pixels": ({"_encoder__rgb__0__weight": torch.zeros(3)}, "_encoder.rgb.0.weight is no weight"),
    "an embedding of nothing": ({"_task_emb__weight": None}, r"embedding is missing; expected \[3"),
    "half precision": (
        {"_reward__2__bias": torch.zeros(BINS, dtype=torch.float16)},
        "_reward.2.bias is torch.float16; expected torch.float32",
    ),
    "no tensor": ({"_reward__2__bias": "zeros"}, "_reward.2.bias is a str; expected a tensor"),
    "NaN": (
        {"_encoder__state__0__bias": torch.full((ENCODER,), torch.nan)},
        "_encoder.state.0.bias holds a value that is not finite",
    ),
    "both names": ({"_encoder__0__bias": torch.zeros(ENCODER)}, "both _encoder.state.0.bias and"),
    "another action mask": (
        {"_action_masks": torch.ones(N, ACT)},
        r"tasks have \[6, 6, 6\] action components; expected \[1, 2, 6\]",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_is_refused_in_one_line(
    case: str, weights: dict[str, Tensor], tmp_path: Path
) -> None:
    changes, message = BAD[case]
    file = save({"model": changed(weights, **changes)}, tmp_path / "bad.pt")
    with pytest.raises(CheckpointError, match=message) as caught:
        tdmpc2.read(file, TASKS)
    assert str(caught.value).startswith(f"{file}: ")
    assert "\n" not in str(caught.value)


def test_sizes_of_other_tasks_are_refused_with_those_found_and_expected(
    weights: dict[str, Tensor], tmp_path: Path
) -> None:
    file = save({"model": weights}, tmp_path / "x.pt")
    for tasks, message in (
        ("mt30", "3 tasks; expected 30, those of mt30"),
        ("cartpole-swingup+reacher-easy+cartpole-balance", "24 observation components; expected 6"),
        ("walker-stand", "3 tasks; expected 1, those of walker-stand"),
        ("walker-stnd", "unknown task 'walker-stnd'"),
        ("mt80", "mt80 has 50 tasks without an environment here"),
    ):
        with pytest.raises(CheckpointError, match=message):
            tdmpc2.read(file, tasks)


def test_one_reward_logit_is_refused(weights: dict[str, Tensor], tmp_path: Path) -> None:
    """PWM without bins predicts the reward as a number."""
    head = {"_reward__2__weight": normal(1, UNITS), "_reward__2__bias": normal(1)}
    file = save({"model": changed(weights, **head)}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match="num_bins must be at least 2, got 1"):
        tdmpc2.read(file, TASKS)


def test_files_that_are_no_checkpoints_are_refused(
    weights: dict[str, Tensor], tmp_path: Path
) -> None:
    whole = save({"model": weights}, tmp_path / "whole.pt").read_bytes()
    position = whole.index(weights["_dynamics.1.weight"].numpy().tobytes()[:64])
    flipped = bytearray(whole)
    flipped[position] ^= 1
    for content, message in (
        (whole[: len(whole) // 2], "not a readable checkpoint"),
        (b"", "not a readable checkpoint"),
        (b"weights", "not a readable checkpoint"),
        (bytes(flipped), "does not match its checksum"),
    ):
        (tmp_path / "bad.pt").write_bytes(content)
        with pytest.raises(CheckpointError, match=f"bad.pt: .*{message}"):
            tdmpc2.read(tmp_path / "bad.pt", TASKS)
    for values, message in (
        ([1, 2], "holds a list; expected a dictionary"),
        ({"model": {"policy.weight": normal(2)}}, "keys are policy.weight; expected a world model"),
        ({}, "keys are ; expected a world model"),
    ):
        with pytest.raises(CheckpointError, match=message):
            tdmpc2.read(save(values, tmp_path / "bad.pt"), TASKS)
    with pytest.raises(CheckpointError, match="no such file"):
        tdmpc2.read(tmp_path / "none.pt", TASKS)


class Malicious:
    """Unpickled as usual, it writes a file."""

    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.target}",)


def test_code_in_a_file_is_refused_and_not_run(weights: dict[str, Tensor], tmp_path: Path) -> None:
    target = tmp_path / "executed"
    file = save({"model": weights, "hook": Malicious(target)}, tmp_path / "bad.pt")
    with pytest.raises(CheckpointError, match=r"bad.pt: .*unsupported GLOBAL posix.system"):
        tdmpc2.read(file, TASKS)
    assert not target.exists()
    torch.load(file, weights_only=False)  # the file would do it
    assert target.exists()


def test_pwm_statistics_of_returns_are_left_out_and_of_inputs_refused(
    weights: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PWM pickles an object of a class of its own; it is read without that class."""
    module = types.ModuleType("pwm.utils.running_mean_std")
    made = type("RunningMeanStd", (), {"__module__": module.__name__})
    monkeypatch.setattr(module, "RunningMeanStd", made, raising=False)
    for name in ("pwm", "pwm.utils"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    statistics = made()
    statistics.__dict__.update(shape=(1,), mean=torch.zeros(1), var=torch.ones(1), count=1e-4)
    files = {}
    for key in ("ret_rms", "obs_rms", "rew_rms"):
        files[key] = save(pwm_file(weights, **{key: statistics}), tmp_path / f"{key}.pt")
    monkeypatch.undo()
    assert "pwm" not in sys.modules

    assert tdmpc2.read(files["ret_rms"], TASKS).layout == "PWM"
    for key, what in (("obs_rms", "observations"), ("rew_rms", "rewards")):
        with pytest.raises(CheckpointError, match=f"{key} is set.*{what} are not normalised here"):
            tdmpc2.read(files[key], TASKS)


def test_the_command_says_what_it_took_and_how_to_use_it(
    weights: dict[str, Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = save({"model": weights | old_extras()}, tmp_path / "small.pt"), tmp_path / "out"
    command = ["import-checkpoint", str(file), str(out), "--tasks", TASKS]
    assert main(command) == 0
    said = capsys.readouterr().out
    lines = [line.split() for line in said.splitlines()]
    count = sum(w.numel() for w in weights.values())
    assert f"together {len(weights)} tensors {count:,d} parameters".split() in lines
    # 24 x 21 weights with 3 x 24 more, then 12 x 24 with 12: 876 floats
    assert ["left", "out", "_pi", "6", "tensors", "3,504", "bytes"] in lines
    written = json.loads((out / "config.json").read_text())
    assert written["source"]["file"] == "small.pt"
    assert len(written["source"]["sha256"]) == 64
    assert sorted(p.name for p in out.iterdir()) == [
        "config.json",
        "manifest.json",
        "world_model.pt",
    ]

    words = shlex.split(said.splitlines()[-1])
    config = parse_settings([*words, "task=walker-stand", "dataset=somewhere"])
    assert config.mode == "policy_frozen"
    agent = Agent(config)
    load_into(agent.world_model, Path(config.init_world_model), agent.tasks)
    assert torch.equal(
        agent.world_model.state_dict()["encoder.0.bias"], weights["_encoder.state.0.bias"]
    )

    before = {p.name: p.read_bytes() for p in out.iterdir()}
    assert main(command) == 2
    assert "exists already" in capsys.readouterr().err
    assert before == {p.name: p.read_bytes() for p in out.iterdir()}
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []
    assert main(["import-checkpoint", str(tmp_path / "none.pt"), str(tmp_path / "new")]) == 2
    assert not (tmp_path / "new").exists()


def test_a_model_of_another_architecture_is_refused_with_all_that_differs(
    model: tdmpc2.PublishedModel, imported: Path
) -> None:
    tasks = task_set(TASKS)
    check_fits(model.config, tasks, imported)
    other = dataclasses.replace(model.config, units=(8,), observation_transform="symlog")
    with pytest.raises(
        CheckpointError,
        match=r"units is \[24, 24\], expected \[8\]; "
        r"world_model.observation_transform is none, expected symlog",
    ):
        load_into(make_world_model(other, tasks), imported)
    flow = compose("walker-stand flow").world_model
    with pytest.raises(CheckpointError, match="kind is mlp, expected flow"):
        check_fits(flow, tasks, imported)
    swapped = "reacher-easy+cartpole-swingup+walker-stand"
    other = dataclasses.replace(model.config, task_set=swapped)
    with pytest.raises(CheckpointError, match=r"tasks are cart.*walker-stand, expected reacher-"):
        load_into(make_world_model(other, task_set(swapped)), imported)


def test_a_folder_that_was_touched_is_refused(
    model: tdmpc2.PublishedModel, imported: Path, tmp_path: Path
) -> None:
    fresh = make_world_model(model.config, task_set(TASKS))
    file = imported / "world_model.pt"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(CheckpointError, match=r"world_model.pt: damaged or missing"):
        load_into(fresh, imported)
    (imported / "manifest.json").unlink()
    with pytest.raises(CheckpointError, match="imported: no world model"):
        load_into(fresh, imported)
    (tmp_path / "run" / "best").mkdir(parents=True)
    (tmp_path / "run" / "best" / "manifest.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"no world model; did you mean .*best\?"):
        load_into(fresh, tmp_path / "run")


SMALL = {"latent_dim": 16, "encoder_units": [16], "units": [16]}


def small(preset: str, **changes: object) -> RunConfig:
    options = {f"world_model.{key}": value for key, value in (SMALL | changes).items()}
    return compose(preset, options)


def checkpoint(config: RunConfig, folder: Path) -> Agent:
    """A folder with what a training checkpoint says of its networks."""
    agent = Agent.seeded(config)
    write_folder(folder, {"agent.pt": agent.state_dict(), "config.json": to_dict(config)}, {})
    return agent


@pytest.mark.parametrize("kind", ["mlp", "flow"])
def test_the_world_model_of_a_training_checkpoint_is_loaded(kind: str, tmp_path: Path) -> None:
    config = small(f"cartpole-swingup {kind}")
    saved = checkpoint(config, tmp_path / "best")
    agent = Agent.seeded(dataclasses.replace(config, seed=7))
    policy = [p.clone() for p in agent.policy.parameters()]
    load_into(agent.world_model, tmp_path / "best", agent.tasks)
    for name, value in saved.world_model.state_dict().items():
        assert torch.equal(agent.world_model.state_dict()[name], value), name
    assert all(torch.equal(a, b) for a, b in zip(policy, agent.policy.parameters(), strict=True))

    other = Agent(small(f"reacher-easy {kind}"))
    with pytest.raises(CheckpointError, match="tasks are cartpole-swingup, expected reacher-easy"):
        load_into(other.world_model, tmp_path / "best", other.tasks)


def test_a_velocity_head_of_another_kind_is_refused(tmp_path: Path) -> None:
    bare = {"chart": "simplex", "project_velocity": False, "retraction": "none"}
    checkpoint(small("cartpole-swingup flow", velocity_head="simnorm", **bare), tmp_path / "best")
    agent = Agent(small("cartpole-swingup flow", **bare))
    with pytest.raises(CheckpointError, match="velocity_head is simnorm, expected linear"):
        load_into(agent.world_model, tmp_path / "best", agent.tasks)


def test_a_head_that_never_learned_is_no_part_of_a_frozen_model(tmp_path: Path) -> None:
    checkpoint(small("ant flow", continuation_weight=0.0), tmp_path / "best")
    agent = Agent(small("ant flow"))
    load_into(agent.world_model, tmp_path / "best", agent.tasks)  # it will learn
    with pytest.raises(CheckpointError, match=r"set world_model.continuation_weight=0"):
        load_into(agent.world_model, tmp_path / "best", agent.tasks, frozen=True)


def test_a_missing_decoder_stays_as_initialised_and_one_too_many_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    without = checkpoint(small("cartpole-swingup", reconstruction_weight=0.0), tmp_path / "without")
    agent = Agent.seeded(small("cartpole-swingup"))
    assert agent.world_model.decoder is not None
    decoder = agent.world_model.decoder.weight.clone()
    load_into(agent.world_model, tmp_path / "without", agent.tasks)
    assert torch.equal(agent.world_model.decoder.weight, decoder)
    assert "has no decoder: it stays as initialised" in caplog.text
    encoder = without.world_model.encoder.state_dict()["0.weight"]
    assert torch.equal(agent.world_model.encoder.state_dict()["0.weight"], encoder)

    checkpoint(small("cartpole-swingup"), tmp_path / "with")
    other = Agent(small("cartpole-swingup", reconstruction_weight=0.0))
    load_into(other.world_model, tmp_path / "with", other.tasks)
    assert "has a decoder that this run does not use" in caplog.text


def test_a_running_average_that_was_not_saved_begins_at_the_saved_encoder(tmp_path: Path) -> None:
    saved = checkpoint(small("cartpole-swingup"), tmp_path / "without")
    averaged = small("cartpole-swingup", target_momentum=0.9)
    agent = Agent.seeded(dataclasses.replace(averaged, seed=7))
    load_into(agent.world_model, tmp_path / "without", agent.tasks)
    assert agent.world_model.target_encoder is not None
    for target, encoder in zip(
        agent.world_model.target_encoder.parameters(),
        saved.world_model.encoder.parameters(),
        strict=True,
    ):
        assert torch.equal(target, encoder)

    # One that was saved is as it was.
    nn.init.ones_(agent.world_model.target_encoder[0].weight)
    write_folder(
        tmp_path / "with", {"agent.pt": agent.state_dict(), "config.json": to_dict(averaged)}, {}
    )
    again = Agent.seeded(averaged)
    load_into(again.world_model, tmp_path / "with", again.tasks)
    assert again.world_model.target_encoder is not None
    assert (again.world_model.target_encoder[0].weight == 1).all()


def test_a_run_starts_from_the_world_model_that_it_names(tmp_path: Path) -> None:
    saved = checkpoint(small("point-mass"), tmp_path / "best")
    options = {"init_world_model": str(tmp_path / "best"), "num_envs": 2, "epochs": 1, "seed": 5}
    options |= {"world_model.activation": "mish"}
    named = {f"world_model.{key}": value for key, value in SMALL.items()}
    state = TrainState.start(compose("point-mass laptop", named | options))
    state.close()
    assert torch.equal(
        state.agent.world_model.reward_head[0].weight, saved.world_model.reward_head[0].weight
    )


def test_a_folder_that_lacks_what_it_should_hold_is_refused(tmp_path: Path) -> None:
    config = small("cartpole-swingup")
    agent = Agent(config)
    networks = {k: v for k, v in agent.state_dict().items() if k != "world_model.encoder.0.bias"}
    write_folder(tmp_path / "a", {"agent.pt": networks, "config.json": to_dict(config)}, {})
    with pytest.raises(CheckpointError, match=r"does not fit its configuration: .*encoder.0.bias"):
        load_into(agent.world_model, tmp_path / "a", agent.tasks)
    write_folder(tmp_path / "b", {"agent.pt": networks, "config.json": {"task": "x"}}, {})
    with pytest.raises(CheckpointError, match=r"config.json describes no world model"):
        load_into(agent.world_model, tmp_path / "b", agent.tasks)
