"""Composition, and one clear line for everything that is wrong."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowpwm.checks import ConfigError
from flowpwm.compose import compose, from_dict, presets
from flowpwm.config import config_id, env_steps_per_epoch, flatten, to_dict
from flowpwm.envs import ENVS, MT30
from flowpwm.envs.tasks import TASK_SETS, task_set
from flowpwm.world_models.flow import FlowWorldModelConfig
from flowpwm.world_models.mlp import MLPWorldModelConfig


def test_presets_compose_left_to_right_and_overrides_win() -> None:
    config = compose("cheetah-run 48M flow_v2", {"world_model.substeps": 8, "seed": 3})
    assert isinstance(config.world_model, FlowWorldModelConfig)
    assert (config.task, config.seed) == ("cheetah-run", 3)
    assert config.world_model.units == (1792, 1792)
    assert (config.world_model.integrator, config.world_model.substeps) == ("heun", 8)


def test_a_preset_says_only_what_it_changes() -> None:
    before, after = flatten(compose("point-mass")), flatten(compose("point-mass 1M"))
    changed = {key for key in before if before[key] != after[key]}
    assert changed == {"world_model.latent_dim", "world_model.units"}


@pytest.mark.parametrize("preset", [p for p in presets() if p not in {*ENVS, *TASK_SETS}])
def test_every_preset_composes_with_every_task_that_it_covers(preset: str) -> None:
    model = presets()[preset].get("world_model", {})
    several = "task_dim" in model and "task_set" not in model
    for task in ENVS:
        if several:
            task = f"{task}+{next(other for other in ENVS if other != task)}"
        covered = model.get("task_set", task)
        if task == covered or task in task_set(covered).names:
            config = compose(f"{task} {preset}")
            assert config.task == task
            assert from_dict(to_dict(config)) == config
        else:
            with pytest.raises(ConfigError, match=f"'{covered}' does not cover task '{task}'"):
                compose(f"{task} {preset}")


@pytest.mark.parametrize(
    ("preset", "overrides", "message"),
    [
        ("", {}, "task must be set; known: "),
        ("point-mas", {}, "unknown preset 'point-mas'.*Did you mean 'point-mass'"),
        ("point-mass", {"horzion": 4}, "unknown key horzion. Did you mean 'horizon'"),
        (
            "point-mass",
            {"world_model.unit": [4]},
            "unknown key world_model.unit.*mean 'units'",
        ),
        ("point-mass", {"horizon": "16"}, "horizon must be a whole number, got '16'"),
        ("point-mass", {"horizon": 1.5}, "horizon must be a whole number, got 1.5"),
        ("point-mass", {"horizon": True}, "horizon must be a whole number, got True"),
        ("point-mass", {"horizon": 0}, "horizon must be at least 1, got 0"),
        ("point-mass", {"seed": -1}, "seed must lie in"),
        ("point-mass", {"seed": 2**32}, "seed must lie in"),
        ("point-mass", {"discount": float("nan")}, "discount must lie in"),
        ("point-mass", {"optim.wm_lr": "1e-4"}, "optim.wm_lr must be a number, got '1e-4'"),
        ("point-mass", {"optim.wm_lr": float("inf")}, "optim.wm_lr must be positive and finite"),
        ("point-mass", {"optim.wm_lr": 2.0}, "optim.wm_lr must be at most 1, got 2.0"),
        (
            "point-mass",
            {"optim.betas": [0.9]},
            r"betas must be two numbers in \[0, 1\), got \[0.9\]",
        ),
        ("point-mass", {"optim.betas": [0.9, 1.0]}, "optim.betas must be two numbers"),
        (
            "point-mass",
            {"critic_minibatches": 2049},
            r"at most horizon \* actor_batch_size \(2048\)",
        ),
        ("point-mass", {"optim.schedule": "cosin"}, "unknown optim.schedule 'cosin'"),
        ("point-mass", {"task": "reacher-esy"}, "unknown task 'reacher-esy'.*'reacher-easy'"),
        ("point-mass", {"task": "???"}, "task must be set"),
        ("point-mass", {"epochs": None}, "epochs must be set, got None"),
        ("point-mass", {"world_model": 3}, "world_model is a group of options, got 3"),
        ("point-mass", {"optim": 3}, "optim is a group of options, got 3"),
        ("point-mass", {"epochs": {"a": 1}}, "epochs must be a whole number"),
        ("point-mass", {"world_model.units": 64}, "world_model.units must be a list, got 64"),
        ("point-mass", {"world_model.units": []}, "at least one layer"),
        ("point-mass", {"world_model.units": [64, "a"]}, r"world_model.units\[1\] must be a whole"),
        ("point-mass", {"world_model.kind": "flwo"}, "unknown world_model.kind 'flwo'"),
        (
            "point-mass mlp",
            {"world_model.integrator": "heun"},
            "world_model.integrator is an option of world_model.kind=flow, but .*kind=mlp",
        ),
        ("point-mass", {"policy.substeps": 2}, "policy.substeps is an option of policy.kind=flow"),
        ("point-mass flow", {"world_model.substeps": 2.5}, "substeps must be a whole number"),
        ("point-mass", {"task": "${oc.env:HOME}"}, "must be a plain value"),
        ("point-mass", {"evaluation.every": 7}, "multiple of report_every"),
        ("point-mass", {"buffer_capacity": 10}, "buffer_capacity must be at least 2048"),
        ("point-mass+reacher-esy", {}, "unknown task 'reacher-esy'.*Did you mean 'reacher-easy'"),
        ("point-mass+", {}, "unknown task ''"),
        ("point-mass+reacher-easy+point-mass", {}, r"'point-mass\+.*' names a task twice"),
        ("mt31", {}, "unknown preset 'mt31'.*Did you mean 'mt30'"),
        (
            "point-mass+reacher-easy",
            {},
            "world_model.task_dim must be at least 1 for tasks 'point-mass.reacher-easy', got 0",
        ),
        (
            "point-mass",
            {"world_model.task_dim": 96},
            "world_model.task_dim must be 0 for the one task 'point-mass', got 96",
        ),
        (
            "point-mass",
            {"wm_batch_size": 4096, "buffer_capacity": 2048},
            r"wm_batch_size must be at most buffer_capacity \(2048\), got 4096",
        ),
        ("point-mass 5M", {"world_model.units": {}}, "a group of .*: one of world_model.units$"),
        ("point-mass 5M", {"world_model": [1]}, "a group of .*: one of world_model$"),
        ("point-mass", {"epochs": 2**63}, r"epochs must be below 2\*\*63, got 9223372036854775808"),
        ("point-mass", {"world_model.task_dim": -1}, "world_model.task_dim must be at least 0"),
        (
            "point-mass",
            {"world_model.task_set": "point-mass+reacher-easy"},
            "world_model.task_dim must be at least 1 for tasks 'point-mass.reacher-easy', got 0",
        ),
        (
            "point-mass",
            {"world_model.task_set": "mt30", "world_model.task_dim": 64},
            "world_model.task_set 'mt30' does not cover task 'point-mass'",
        ),
        (
            "walker-run+point-mass",
            {"world_model.task_set": "mt30", "world_model.task_dim": 64},
            "world_model.task_set 'mt30' does not cover task 'point-mass'",
        ),
        (
            "point-mass",
            {"world_model.task_set": "mt3", "world_model.task_dim": 64},
            "unknown task 'mt3'",
        ),
        (
            "point-mass+reacher-easy",
            {"world_model.task_dim": 8, "num_envs": 33},
            "num_envs must be a multiple of the 2 tasks, got 33",
        ),
        (
            "mt30",
            {"world_model.task_dim": 64},
            "num_envs must be a multiple of the 30 tasks, got 128",
        ),
        (
            "point-mass",
            {"reward_timing": "pre_step"},
            "reward_timing 'pre_step' does not fit task 'point-mass'; it has post_step",
        ),
        (
            "ant+point-mass",
            {"reward_timing": "pre_step", "world_model.task_dim": 8},
            "reward_timing 'pre_step' does not fit task 'point-mass'; it has post_step",
        ),
        ("ant", {"reward_timing": "prestep"}, "'prestep' does not fit task 'ant'; it has .*pre_"),
        ("point-mass", {"microbatches": 0}, "microbatches must be at least 1, got 0"),
        (
            "point-mass",
            {"microbatches": 65, "actor_batch_size": 64},
            r"at most wm_batch_size \(256\) and actor_batch_size \(64\), got 65",
        ),
        ("point-mass", {"patience": -1}, "patience must be at least 0, got -1"),
        (
            "point-mass",
            {"mode": "pretrain", "dataset": "x", "patience": 3},
            "patience must be 0 in mode pretrain, got 3",
        ),
        ("point-mass", {"optim.decay_start": 1.0}, r"optim.decay_start must lie in \[0.0, 0.99\]"),
        ("point-mass", {"world_model.reward_loss": "mse"}, "unknown world_model.reward_loss 'mse'"),
        (
            "point-mass flow",
            {"world_model.velocity_head": "softmax"},
            "unknown world_model.velocity_head 'softmax'; known: linear, simnorm",
        ),
        (
            "point-mass mlp",
            {"world_model.velocity_head": "simnorm"},
            "world_model.velocity_head is an option of world_model.kind=flow",
        ),
        *(
            (
                "point-mass",
                {f"{part}.activation": "relu"},
                f"unknown {part}.activation 'relu'; known: ",
            )
            for part in ("world_model", "policy", "critic")
        ),
        ("point-mass", {"exploration_correlation": 1.0}, r"must lie in \[0.0, 0.999\], got 1.0"),
        (
            "point-mass",
            {"world_model.observation_transform": "log"},
            "unknown world_model.observation_transform 'log'; known: symlog, periodic, none",
        ),
        (
            "point-mass",
            {"optim.final_lr": 1e-3},
            r"optim.final_lr must lie in \[0.0, 0.0003\], got 0.001",
        ),
        (
            "point-mass flow",
            {"world_model.velocity_head": "simnorm"},
            "world_model.velocity_head=simnorm is an ablation .* world_model.chart=simplex",
        ),
    ],
)
def test_bad_input_is_named_in_one_line(preset: str, overrides: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        compose(preset, overrides)
    assert "\n" not in str(caught.value)


def test_tasks_are_one_several_joined_or_a_named_set() -> None:
    sizes = {"world_model.task_dim": 8, "num_envs": 30}
    joined = compose("reacher-easy+walker-stand flow", sizes)
    assert joined.task == "reacher-easy+walker-stand"
    assert compose("", {"task": "reacher-easy+walker-stand"} | sizes).task == joined.task
    named = compose("mt30 flow", sizes)
    assert named.task == "mt30" and task_set(named.task).names == MT30
    inside = compose("reacher-easy", sizes | {"world_model.task_set": "mt30"})
    assert inside.task == "reacher-easy"
    for config in (joined, named, inside):
        assert from_dict(to_dict(config)) == config


def test_a_reward_timing_that_a_task_offers_is_taken() -> None:
    assert compose("ant", {"reward_timing": "pre_step"}).reward_timing == "pre_step"
    assert compose("ant").reward_timing == "post_step"


def test_baseline_and_flow_differ_in_the_flow_alone() -> None:
    baseline, flow = (flatten(compose(f"cheetah-run laptop {kind}")) for kind in ("mlp", "flow"))
    changed = {key for key in baseline if flow[key] != baseline[key]}
    assert changed == {"world_model.kind"}
    own = {f.name for f in dataclasses.fields(FlowWorldModelConfig)}
    shared = {f.name for f in dataclasses.fields(MLPWorldModelConfig)}
    assert flow.keys() - baseline.keys() == {f"world_model.{key}" for key in own - shared}
    assert baseline.keys() <= flow.keys()


KEYS = list(flatten(compose("point-mass flow")))
JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers())
)


@settings(max_examples=300, deadline=None)
@given(key=st.sampled_from(KEYS), value=JUNK)
def test_any_value_anywhere_composes_or_is_refused_in_one_line(key: str, value: object) -> None:
    try:
        compose("point-mass flow", {key: value})
    except ConfigError as error:
        assert str(error)


def test_the_id_knows_the_configuration_but_not_seed_or_evaluation() -> None:
    base = compose("point-mass flow")
    same = compose("point-mass flow", {"seed": 9, "evaluation.episodes": 100})
    other = compose("point-mass flow", {"world_model.substeps": 4})
    assert config_id(base) == config_id(same) != config_id(other)


def test_an_epoch_is_horizon_times_environments() -> None:
    sizes = {"num_envs": 32, "horizon": 16}
    assert env_steps_per_epoch(compose("point-mass", sizes)) == 512
    offline = {"mode": "pretrain", "dataset": "data"}
    assert env_steps_per_epoch(compose("point-mass", sizes | offline)) == 0


def test_the_default_baseline_is_the_mlp() -> None:
    assert isinstance(compose("point-mass").world_model, MLPWorldModelConfig)
    assert compose("point-mass").horizon == 16


def test_training_never_starts_where_the_evaluation_does() -> None:
    with pytest.raises(ConfigError, match=r"seed must differ from evaluation.seed \(7\)"):
        compose("point-mass laptop", {"seed": 7, "evaluation.seed": 7})


def test_a_retraction_that_could_divide_by_nothing_is_refused() -> None:
    options = {
        "world_model.chart": "simplex",
        "world_model.retraction": "rescale",
        "world_model.project_velocity": False,
    }
    with pytest.raises(ConfigError, match="a group can sum to 0"):
        compose("point-mass laptop flow", options)


def test_a_retraction_of_a_chart_that_needs_none_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"retraction=rescale needs world_model\.chart=simplex"):
        compose("point-mass laptop flow", {"world_model.retraction": "rescale"})
