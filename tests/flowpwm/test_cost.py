"""The cost model: exact counts, sane growth, and memory beside what a real run takes."""

import subprocess
import sys

import pytest

from flowpwm.agent import Agent
from flowpwm.config import compose
from flowpwm.cost import estimate
from flowpwm.networks import count_parameters


def test_parameters_are_those_of_the_real_networks() -> None:
    config = compose("walker-stand laptop flow")
    agent = Agent(config)
    counts = estimate(config).parameters
    real = count_parameters(agent)
    # The policy's noise scale is a parameter too, and counted with it.
    assert counts["total"] == real
    assert sum(v for k, v in counts.items() if k != "total") == real


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
