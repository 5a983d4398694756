"""What trials ask for: the estimate, corrected by what runs like them held. Worked by hand."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from flowpwm.compose import compose, from_dict
from flowpwm.config import RunConfig, to_dict
from flowpwm.cost import Cost, estimate
from flowpwm.memory import device_fraction
from sweeps.core.check.sweep import check
from sweeps.core.definition.options import Options
from sweeps.core.driver.opening import with_requests
from sweeps.core.forecast import history
from sweeps.core.pages.start import start_page
from sweeps.core.protocol.plan import make_plan, plan_again
from sweeps.core.protocol.requests import (
    CUDA_PROCESS_BYTES,
    MEMORY_STEP_BYTES,
    NOTHING_KNOWN,
    Peak,
    Resources,
    Sizing,
    gpu_share,
    needed,
    one_in_ten_exceeds,
)
from sweeps.core.store.events import EventLog
from sweeps.core.store.state import TrialRecord
from tests.sweeps.tiny import RUN, asked

GIB = 2**30
SWEEP = asked(*RUN, "task=point-mass", "arms=[mlp,flow]", "epochs=100")
ON_GPU = asked(*RUN, "task=point-mass", "arms=[mlp,flow]", "epochs=100", "device=cuda")


def config(**changes: Any) -> RunConfig:
    return compose("point-mass flow", changes)


#: Estimates of 1 GiB on the host and 2 GiB on the GPU, whatever the configuration.
COST = dataclasses.replace(estimate(config()), host_memory_bytes=GIB, device_memory_bytes=2 * GIB)


def peaks(
    held: Sequence[float], of: RunConfig, *, estimate_gib: float = 1.0, whole: bool = True
) -> tuple[Peak, ...]:
    """Runs that held so many GiB where `estimate_gib` were expected."""
    cost = dataclasses.replace(COST, host_memory_bytes=int(estimate_gib * GIB))
    return tuple(Peak(of, cost, int(gib * GIB), whole=whole) for gib in held)


def wanted(found: Sequence[Peak], of: RunConfig, cost: Cost = COST) -> float:
    return Sizing(peaks=tuple(found)).host(of, cost).wanted_bytes / GIB


OURS, OTHER = config(wm_batch_size=64), config(wm_batch_size=128)


def test_where_nothing_is_known_it_is_the_estimate_and_a_quarter() -> None:
    assert wanted([], OURS) == 1.25


def test_three_whole_runs_like_it_set_the_factor_up_or_down() -> None:
    assert wanted(peaks([1.2, 1.6, 1.4], OTHER), OURS) == pytest.approx(1.25 * 1.6)
    assert wanted(peaks([0.7, 0.8, 0.6], OTHER), OURS) == pytest.approx(1.25 * 0.8)
    assert wanted(peaks([0.1, 0.2, 0.3], OTHER), OURS) == pytest.approx(1.25 * 0.5)


def test_of_many_runs_one_in_ten_may_have_held_more() -> None:
    held = [1.0 + i / 100 for i in range(19)] + [5.0]
    assert wanted(peaks(held, OTHER), OURS) == pytest.approx(1.25 * 1.17, abs=1e-6)


def test_a_few_runs_only_raise_it() -> None:
    assert wanted(peaks([0.6, 0.7], OTHER), OURS) == 1.25
    assert wanted(peaks([0.6, 1.5], OTHER), OURS) == pytest.approx(1.25 * 1.5)


def test_runs_that_were_cut_short_only_raise_it() -> None:
    assert wanted(peaks([0.5] * 9, OTHER, whole=False), OURS) == 1.25
    assert wanted(peaks([1.3], OTHER, whole=False), OURS) == pytest.approx(1.25 * 1.3)


def test_it_is_never_below_what_the_same_configuration_held() -> None:
    seen = [*peaks([0.7] * 30, OTHER), *peaks([3.0], OURS)]
    assert wanted(seen, OURS) == pytest.approx(1.25 * 3.0)
    other_seed = dataclasses.replace(OURS, seed=7)
    assert wanted(seen, other_seed) == pytest.approx(1.25 * 3.0)
    # In smaller parts it is another matter: that is why it was run in them.
    assert wanted(seen, dataclasses.replace(OURS, microbatches=2)) == pytest.approx(1.25 * 0.7)


@pytest.mark.parametrize(
    "unlike",
    [
        peaks([9.0], compose("point-mass mlp", {})),
        peaks([9.0], compose("reacher-easy flow", {})),
        peaks([9.0], config(device="cuda")),
        peaks([9.0], OTHER, estimate_gib=2.1),
        peaks([9.0], OTHER, estimate_gib=0.45),
    ],
)
def test_runs_of_another_kind_task_device_or_size_say_nothing(unlike: tuple[Peak, ...]) -> None:
    assert wanted(unlike, OURS) == 1.25


def test_the_value_that_one_in_ten_exceeds() -> None:
    assert one_in_ten_exceeds(range(1, 11)) == 9
    assert one_in_ten_exceeds([3, 1]) == 3
    assert one_in_ten_exceeds([]) == 0.0


def test_requests_are_whole_steps_and_a_word_of_the_user_goes_first() -> None:
    plan = make_plan(SWEEP, "flow", "confirm", {"task": "point-mass"}, 1000)
    known = Sizing(peaks=(Peak(plan.config, plan.cost, 3 * GIB),))
    assert needed(plan.config, plan.cost, SWEEP, known).memory_bytes == 3.75 * GIB
    assert 3.75 * GIB % MEMORY_STEP_BYTES == 0
    explicit = dataclasses.replace(SWEEP, memory_per_trial=2.0)
    assert needed(plan.config, plan.cost, explicit, known).memory_bytes == 2 * GIB


# Several trials on one GPU, by their predicted memory.


def on_gpu(sizing: Sizing) -> float:
    plan = make_plan(ON_GPU, "flow", "confirm", {"task": "point-mass"}, 1000)
    return needed(plan.config, COST, ON_GPU, sizing).num_gpus


def test_a_gpu_is_shared_by_as_many_trials_as_fit_and_at_most_eight() -> None:
    # Each is predicted to hold 2 GiB, a quarter on top, and 1.5 GiB for CUDA: 4 GiB.
    assert CUDA_PROCESS_BYTES == 1.5 * GIB
    assert on_gpu(Sizing(7 * GIB)) == 1.0
    assert on_gpu(Sizing(8 * GIB)) == 0.5
    assert on_gpu(Sizing(15 * GIB)) == 0.3333
    assert on_gpu(Sizing(80 * GIB)) == 0.125
    assert on_gpu(NOTHING_KNOWN) == 1.0  # a GPU of unknown size is taken whole
    assert gpu_share(100 * GIB, 80 * GIB) == 1.0  # the ladder's matter


def test_what_runs_held_on_the_gpu_corrects_its_share() -> None:
    plan = make_plan(ON_GPU, "flow", "confirm", {"task": "point-mass"}, 1000)
    small = tuple(Peak(plan.config, COST, GIB, GIB) for _ in range(3))  # half of the estimate
    assert on_gpu(Sizing(8 * GIB, small)) == 0.5  # 1.25 and 1.5: two fit, not three
    assert on_gpu(Sizing(9 * GIB, small)) == 0.3333
    large = (Peak(plan.config, COST, GIB, 4 * GIB),)
    assert on_gpu(Sizing(8 * GIB, large)) == 1.0


@pytest.mark.parametrize("fit", range(1, 9))
def test_the_trials_of_a_gpu_never_add_up_to_more_than_it_has(fit: int) -> None:
    gpu = fit * (1 * GIB + CUDA_PROCESS_BYTES)
    share = gpu_share(GIB, gpu)
    assert share * fit <= 1.0 and share * (fit + 1) > 1.0
    # What torch may allocate there is what was predicted, and CUDA's own fits beside it.
    fraction = device_fraction("cuda", share, gpu)
    assert fraction is None or fraction * gpu * 1.001 >= GIB


def test_a_share_and_a_type_of_gpu_are_words_of_the_command_line() -> None:
    sweep = asked("trial.gpus=0.25", "trial.accelerator=H100", "device=cuda")
    assert (sweep.gpus_per_trial, sweep.accelerator) == (0.25, "H100")
    plan = make_plan(sweep, "flow", "confirm", {"task": "point-mass"}, 1000)
    assert (plan.resources.num_gpus, plan.resources.accelerator) == (0.25, "H100")
    assert asked("trial.gpus=auto").gpus_per_trial == 0.0


def test_a_trial_that_is_resumed_asks_as_an_older_version_planned_it() -> None:
    plan = make_plan(SWEEP, "flow", "confirm", {"task": "point-mass"}, 1000)
    old = {"num_cpus": 1.0, "num_gpus": 0.0, "memory_bytes": 5 * GIB}
    assert Resources.from_dict(old) == Resources(1.0, 0.0, 5 * GIB)
    record = TrialRecord(plan.trial_id, "flow", "confirm", plan.config_id, resources=old)
    record.config = json.loads(json.dumps(to_dict(plan.config)))
    assert plan_again(record, SWEEP).resources == plan.resources


# From the results of earlier sweeps to the first page.


def results_with(folder: Path, held: Sequence[tuple[RunConfig, int, str]]) -> Path:
    """A results folder in which such trials ended, as `completed` or `failed`."""
    run = folder / "results" / "single_task" / "20250101T000000-0000"
    run.mkdir(parents=True)
    (run / "environment.json").write_text("{}")
    with EventLog(run, "driver") as log:
        for number, (done, memory, event) in enumerate(held):
            log.append("planned", f"c{number}-s0", config=to_dict(done), arm="flow")
            log.append("started", f"c{number}-s0", attempt=1)
            log.append("progress", f"c{number}-s0", attempt=1, host_memory_bytes=memory)
            log.append(event, f"c{number}-s0", attempt=1, host_memory_peak_bytes=memory - 1)
    return folder / "results"


def test_peaks_are_read_from_whatever_machine_they_were_recorded_on(tmp_path: Path) -> None:
    results = results_with(tmp_path, [(OURS, 3 * GIB, "completed"), (OTHER, 2 * GIB, "failed")])
    first, second = history.peaks(results)
    assert (first.config, first.host_bytes, first.whole) == (OURS, 3 * GIB, True)
    assert first.cost == estimate(OURS)
    assert (second.host_bytes, second.whole) == (2 * GIB, False)
    assert history.peaks(tmp_path / "none") == []


def test_of_a_large_sweep_no_more_trials_are_read_than_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = results_with(tmp_path, [(OURS, 3 * GIB, "completed")] * 5 + [(OTHER, 0, "failed")])
    monkeypatch.setattr(history, "MOST_TRIALS", 3)
    composed: list[object] = []
    monkeypatch.setattr(
        history, "from_dict", lambda plain: composed.append(plain) or from_dict(plain)
    )
    assert len(history.peaks(results)) == len(composed) == 3


def test_the_first_page_says_what_was_corrected_and_why() -> None:
    checked = check(SWEEP)
    flow = checked.of("flow")
    known = Sizing(peaks=(Peak(flow.config, flow.cost, 3 * GIB),))
    sized = with_requests(SWEEP, checked, Options(address="127.0.0.1:1"), known)
    assert sized.of("flow").resources.memory_bytes == 3.75 * GIB
    assert sized.of("mlp").resources == checked.of("mlp").resources
    page = " ".join(start_page(SWEEP, sized, 2, "here", sizing=known).split())
    plain = flow.resources.memory_bytes / GIB
    times = 3 * GIB / flow.cost.host_memory_bytes
    assert (
        f"memory flow asks for 3.75 GiB instead of {plain:.3g} GiB: "
        f"a run of it held 3 GiB, {times:.2g} times the estimate" in page
    )
    assert "mlp asks for" not in page
    assert sized.findings == checked.findings


def test_a_request_of_the_user_below_what_was_seen_stands_and_is_warned_of() -> None:
    sweep = dataclasses.replace(SWEEP, memory_per_trial=2.0)
    checked = check(sweep)
    flow = checked.of("flow")
    known = Sizing(peaks=(Peak(flow.config, flow.cost, 3 * GIB),))
    sized = with_requests(sweep, checked, Options(address="127.0.0.1:1"), known)
    assert sized.of("flow").resources.memory_bytes == 2 * GIB
    (told,) = map(str, sized.findings)
    assert told.startswith("WARN memory: flow: a run of it held 3 GiB")
    assert told.endswith("trial.memory=2 is less than 3.75 GiB, which would leave room")
    enough = dataclasses.replace(SWEEP, memory_per_trial=3.5)
    assert with_requests(enough, check(enough), Options(), known).findings == ()
