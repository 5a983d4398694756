"""The cost model: exact counts, sane growth, and memory beside what a real run takes."""

import subprocess
import sys
from pathlib import Path

import pytest

from flowpwm import checkpoint
from flowpwm.agent import Agent
from flowpwm.compose import compose
from flowpwm.cost import MOST_SEEDS_AT_ONCE, PROCESS_BYTES, estimate, seeds_that_pay
from flowpwm.networks import count_parameters
from flowpwm.state import TrainState
from flowpwm.train import train


@pytest.mark.parametrize(
    ("preset", "changes", "there"),
    [
        ("walker-stand laptop flow", {}, {"decoder"}),
        ("walker-stand laptop mlp", {"world_model.reconstruction_weight": 0.0}, set()),
        (
            "reacher-easy+walker-stand laptop flow flow_policy",
            {"world_model.task_dim": 8},
            {"decoder", "embedding"},
        ),
        ("ant laptop mlp", {}, {"decoder", "continuation"}),
        (
            "walker-stand laptop flow",
            {"world_model.inverse_dynamics_weight": 1.0, "world_model.target_momentum": 0.9},
            {"decoder", "inverse"},
        ),
    ],
)
def test_parameters_are_those_of_the_real_networks(
    preset: str, changes: dict[str, float], there: set[str]
) -> None:
    config = compose(preset, changes)
    agent = Agent(config)
    counts = estimate(config).parameters
    real = count_parameters(agent)
    # The policy's noise scale is a parameter too, and counted with it.
    assert counts["total"] == real
    assert sum(v for k, v in counts.items() if k != "total") == real
    optional = {"decoder", "embedding", "inverse", "continuation"}
    assert {part for part in optional if counts[part]} == there


def test_the_task_vectors_worked_by_hand() -> None:
    counts = estimate(
        compose("mt30 5M flow", {"world_model.task_dim": 64, "num_envs": 120})
    ).parameters
    assert counts["embedding"] == 30 * 64
    # Inputs 24 + 64 to 256 units with LayerNorm, then to 512 latents with LayerNorm.
    assert counts["encoder"] == (88 * 256 + 3 * 256) + (256 * 512 + 3 * 512)


def test_a_mode_costs_what_it_trains() -> None:
    def flops(mode: str) -> float:
        folders = {"dataset": "d"} if mode != "online" else {}
        if mode.startswith("policy"):
            folders["init_world_model"] = "w"
        config = compose("cheetah-run laptop flow", {"mode": mode} | folders)
        return estimate(config).flops_per_epoch

    assert flops("pretrain") + flops("policy_frozen") == pytest.approx(flops("joint"))
    assert flops("joint") == flops("policy_finetune") < flops("online")


def test_short_sequences_cost_the_world_model_alone_less() -> None:
    whole = estimate(compose("walker-walk 5M")).flops_per_epoch
    half = estimate(compose("walker-walk 5M", {"wm_horizon": 8})).flops_per_epoch
    world_model = estimate(compose("walker-walk 5M", {"wm_updates": 16})).flops_per_epoch - whole
    # The last observation of each of 8 x 256 sequences is encoded however short they are.
    last = 6 * 8 * 256 * estimate(compose("walker-walk 5M")).parameters["encoder"]
    assert whole - half == pytest.approx((world_model - last) / 2, rel=1e-6)


def test_parts_of_a_batch_save_the_memory_of_activations() -> None:
    one, two, four = (
        estimate(compose("cheetah-run 48M flow", {"microbatches": parts})).host_memory_bytes
        for parts in (1, 2, 4)
    )
    # Halved, and halved again; the rest stays.
    assert one - two == pytest.approx(2 * (two - four), rel=1e-6)
    assert one - two > 500 * 2**20


@pytest.mark.parametrize(
    ("preset", "calls"),
    [("mlp", 0), ("flow_v1", 4), ("flow_v2", 8), ("flow_v3", 8)],
)
def test_nfe_is_substeps_times_stages(preset: str, calls: int) -> None:
    assert estimate(compose(f"cheetah-run 5M {preset}")).nfe == calls


def test_flops_grow_with_substeps_by_the_rollouts_share() -> None:
    one = estimate(compose("cheetah-run 5M flow", {"world_model.substeps": 1})).flops_per_epoch
    two = estimate(compose("cheetah-run 5M flow", {"world_model.substeps": 2})).flops_per_epoch
    four = estimate(compose("cheetah-run 5M flow", {"world_model.substeps": 4})).flops_per_epoch
    assert four - two == pytest.approx(2 * (two - one))


def test_the_work_of_the_critic_worked_by_hand() -> None:
    config = compose("cartpole-swingup laptop flow", {"critic_iterations": 2, "critic.members": 3})
    cost = estimate(config)
    # 4 actor updates, 2 iterations of 4 minibatches of 8 * 64 / 4 states, 3 members of 3 layers.
    minibatches, states = 4 * 2 * 4, 128
    critic = cost.work.critic
    assert critic.flops == 6 * minibatches * states * cost.parameters["critic"]
    assert critic.numbers == 3 * minibatches * states * 3 * (128 + 128 + 1)
    assert critic.calls == 3 * minibatches * 9


def test_parts_of_a_batch_start_more_kernels_and_compute_the_same() -> None:
    one = estimate(compose("cheetah-run laptop flow")).work
    two = estimate(compose("cheetah-run laptop flow", {"microbatches": 2})).work
    assert two.world_model.calls == 2 * one.world_model.calls
    assert two.actor.calls == 2 * one.actor.calls
    assert two.epoch.flops == one.epoch.flops and two.epoch.numbers == one.epoch.numbers


def test_a_model_that_only_matches_its_flow_rolls_nothing_out() -> None:
    rolled = estimate(compose("cheetah-run laptop flow")).work.world_model
    matched = estimate(
        compose("cheetah-run laptop flow", {"world_model.wm_rollout_weight": 0.0})
    ).work.world_model
    # Four steps of three layers, forward and twice as much backward, in each of four updates.
    assert rolled.calls - matched.calls == 4 * 3 * 4 * 3


def test_checkpoints_take_the_disk_that_was_foreseen(tmp_path: Path) -> None:
    config = compose("cartpole-swingup laptop flow", {"epochs": 8, "wm_warmup_updates": 0})
    state = TrainState.start(config)
    for _ in train(state):
        pass
    for name in ("best", "last"):
        for _ in range(2):  # the one before it stays
            checkpoint.save(state, tmp_path / name, resumable=name == "last")
    state.close()
    found = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert found == pytest.approx(estimate(config).checkpoint_bytes, rel=0.1)


def test_the_largest_sizes_can_be_counted_without_allocating_them() -> None:
    counts = estimate(compose("cheetah-run 317M flow")).parameters
    assert counts["dynamics"] > 20_000_000


def test_predicted_host_memory_covers_a_real_run_and_is_not_wild() -> None:
    # Long enough for every kind of update and an evaluation.
    settings = ["cartpole-swingup", "laptop", "flow", "epochs=12", "wm_warmup_updates=0"]
    code = (
        "import sys; from flowpwm.__main__ import main; "
        "from flowpwm.memory import host_peak_bytes; "
        "main(['train', *sys.argv[1:]]); print('peak', host_peak_bytes())"
    )
    out = subprocess.run(
        [sys.executable, "-c", code, *settings], capture_output=True, text=True, check=True
    ).stdout
    peak = int(out.split("peak ")[1])
    predicted = estimate(compose("cartpole-swingup laptop flow", {"epochs": 12})).host_memory_bytes
    assert peak < predicted < 3 * peak


def test_seeds_pay_as_one_program_on_a_gpu_that_starts_kernels_most_of_the_time() -> None:
    def pay(words: str, device_bytes: int = 0, **changes: object) -> int:
        config = compose(words, {"device": "cuda"} | changes)
        return seeds_that_pay(config, estimate(config), device_bytes)

    assert pay("cartpole-swingup laptop flow_v1") == MOST_SEEDS_AT_ONCE
    assert pay("ant 317M flow_v2", wm_batch_size=1024) == 1
    between = pay("ant 48M flow_v2", wm_batch_size=1024)
    assert 1 <= between <= pay("ant 5M flow_v2", wm_batch_size=1024) <= MOST_SEEDS_AT_ONCE
    # Never more than fit, never none, and none beside another that is recomputed.
    config = compose("cartpole-swingup laptop flow_v1", {"device": "cuda"})
    one = estimate(config).device_memory_bytes
    assert pay("cartpole-swingup laptop flow_v1", 3 * one) == 3
    assert pay("cartpole-swingup laptop flow_v1", 1) == 1
    assert pay("cartpole-swingup laptop flow_v1", recompute=True) == 1
    on_cpu = compose("cartpole-swingup laptop flow_v1")
    assert seeds_that_pay(on_cpu, estimate(on_cpu), 0) == 1


def test_several_runs_of_a_process_share_what_the_process_takes() -> None:
    cost = estimate(compose("cartpole-swingup laptop flow"))
    assert cost.host_bytes_of(1) == cost.host_memory_bytes
    assert cost.host_bytes_of(3) == 3 * cost.host_memory_bytes - 2 * PROCESS_BYTES
