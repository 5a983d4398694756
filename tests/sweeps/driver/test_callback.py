"""What Tune tells: errors of ours are kept for the end, never raised into Tune's loop."""

import dataclasses
import os
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorUnavailableError, RayActorError
from ray.tune.schedulers import TrialScheduler

from sweeps.core.driver.callback import EventCallback, classify, describe, error_of
from sweeps.core.driver.scheduler import RungScheduler
from sweeps.core.driver.search import StageSearch
from sweeps.core.protocol.plan import Plan, make_plan
from sweeps.core.protocol.ranking import rank
from sweeps.core.protocol.recorder import Recorder
from sweeps.core.protocol.retries import Retries
from sweeps.core.protocol.rungs import Brackets, Decision
from sweeps.core.store.events import EventLog, read_events
from sweeps.core.worker.jobs import make_job
from tests.sweeps.tiny import PLAN

HERE = "0001"  # the driver's node
EVALUATED = {"kind": "evaluated", "attempt": 1, "epoch": 10, "env_steps": 10**9, "score": 1.0}


class Setting:
    """A recorder over one planned trial, as Tune would show it."""

    def __init__(self, folder: Path) -> None:
        self.log = EventLog(folder, "driver")
        self.recorder = Recorder(self.log)
        self.plan = make_plan(PLAN, "flow", "screen", {"world_model.substeps": 1}, 0)
        self.recorder.planned(self.plan)
        self.trial = self.of(self.plan, folder)
        self.errors: list[Exception] = []
        self.again: list[str] = []
        self.kills = 0
        retries = Retries(
            folder, self.recorder, self.again.append, lambda: 8 * 2**30, lambda: self.kills
        )
        self.lost_nodes: set[str] = set()
        self.callback = EventCallback(
            self.recorder,
            retries,
            self.errors.append,
            self.lost_nodes.__contains__,
            lambda node_id: node_id != HERE,
        )

    def of(self, plan: Plan, folder: Path, error: Exception | None = None) -> Any:
        config = make_job(plan, folder, "flow_tuning", {}).to_dict()
        path = folder / "error.pkl"
        path.write_bytes(pickle.dumps(error))
        # Tune's own answer comes from a copy that is not there yet.
        return SimpleNamespace(
            config=config, get_error=lambda: None, pickled_error_file=str(path) if error else None
        )

    def result(self, result: dict[str, Any]) -> None:
        self.callback.on_trial_result(iteration=1, trials=[], trial=self.trial, result=result)

    def error(self, trial: Any) -> None:
        self.callback.on_trial_error(iteration=1, trials=[], trial=trial)

    @property
    def record(self) -> Any:
        return self.recorder.state.trials[self.plan.trial_id]


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return Setting(tmp_path)


def test_a_log_that_cannot_be_written_is_an_error_for_the_end(setting: Setting) -> None:
    setting.log.close()
    setting.result(EVALUATED)
    (error,) = setting.errors
    assert isinstance(error, OSError)


def test_an_error_of_the_scheduler_lets_the_trial_go_on(setting: Setting) -> None:
    setting.log.close()
    scheduler = RungScheduler(Brackets((0.5,), 2.0), setting.recorder, setting.errors.append)
    decision = scheduler.on_trial_result(None, setting.trial, EVALUATED)
    assert decision == TrialScheduler.CONTINUE
    assert isinstance(setting.errors[0], OSError)


def test_only_the_screen_is_stopped_early(setting: Setting, tmp_path: Path) -> None:
    scheduler = RungScheduler(Brackets((0.5,), 2.0), setting.recorder, setting.errors.append)
    worse = EVALUATED | {"score": 0.0}
    assert scheduler.on_trial_result(None, setting.trial, EVALUATED) == TrialScheduler.CONTINUE
    rival = make_plan(PLAN, "flow", "screen", {"world_model.substeps": 2}, 0)
    setting.recorder.planned(rival)
    last = setting.of(rival, tmp_path)
    assert scheduler.on_trial_result(None, last, worse) == TrialScheduler.STOP
    for stage in ("select", "confirm"):
        plan = make_plan(PLAN, "flow", stage, {"world_model.substeps": 2}, 1000)
        trial = setting.of(plan, tmp_path)
        assert scheduler.on_trial_result(None, trial, worse) == TrialScheduler.CONTINUE


@pytest.mark.parametrize("stage", ["screen", "select", "confirm"])
@pytest.mark.parametrize("score", [float("nan"), float("-inf")])
def test_a_score_that_is_not_finite_ends_a_trial_at_once(
    setting: Setting, tmp_path: Path, stage: str, score: float
) -> None:
    scheduler = RungScheduler(Brackets((0.5,), 2.0), setting.recorder, setting.errors.append)
    plan = make_plan(PLAN, "flow", stage, {"world_model.substeps": 4}, 7)
    setting.recorder.planned(plan)
    trial = setting.of(plan, tmp_path)
    first = EVALUATED | {"env_steps": 32, "score": 5.0}  # long before the first rung
    broken = EVALUATED | {"env_steps": 64, "score": score}
    assert scheduler.on_trial_result(None, trial, first) == TrialScheduler.CONTINUE
    setting.callback.on_trial_result(1, [], trial, first)
    assert scheduler.on_trial_result(None, trial, broken) == TrialScheduler.STOP
    setting.callback.on_trial_result(1, [], trial, broken)
    setting.callback.on_trial_complete(1, [], trial)
    record = setting.recorder.state.trials[plan.trial_id]
    assert (record.status, record.failure_class) == ("FAILED", "diverged")
    assert record.failure_message == f"score is {score} at env steps 64"
    assert rank([record]) == []
    assert setting.errors == []


def test_a_trial_that_has_no_score_yet_goes_on(setting: Setting) -> None:
    scheduler = RungScheduler(Brackets((0.5,), 2.0), setting.recorder, setting.errors.append)
    decision = scheduler.on_trial_result(None, setting.trial, EVALUATED | {"score": None})
    assert decision == TrialScheduler.CONTINUE
    assert setting.record.rungs == []


def test_rungs_of_a_run_from_a_dataset_are_counted_in_epochs(tmp_path: Path) -> None:
    log = EventLog(tmp_path, "driver")
    recorder = Recorder(log)
    errors: list[Exception] = []
    offline = dataclasses.replace(PLAN, fixed={"mode": "joint", "dataset": "somewhere"})
    scheduler = RungScheduler(Brackets((0.25, 0.5), 2.0), recorder, errors.append)
    retries = Retries(tmp_path, recorder, [].append, lambda: 0, lambda: 0)
    callback = EventCallback(recorder, retries, errors.append)
    decisions = []
    for substeps, score in ((1, 2.0), (2, 1.0)):
        cell = {"world_model.substeps": substeps, "epochs": 40}
        plan = make_plan(offline, "flow", "screen", cell, 0)
        assert (plan.progress, plan.budget, plan.budget_text) == ("epoch", 40, "40 epochs")
        recorder.planned(plan)
        config = make_job(plan, tmp_path, "flow_tuning", {}).to_dict()
        trial: Any = SimpleNamespace(config=config, get_error=lambda: None)
        for epoch in (5, 10):
            result = {"kind": "evaluated", "attempt": 1, "epoch": epoch, "env_steps": 0}
            callback.on_trial_result(1, [], trial, result | {"score": score})
            decisions.append(scheduler.on_trial_result(None, trial, result | {"score": score}))
    # Nothing at epoch 5; at epoch 10, a quarter of 40, the first goes on and the worse one stops.
    assert decisions == [TrialScheduler.CONTINUE] * 3 + [TrialScheduler.STOP]
    callback.on_trial_complete(1, [], trial)
    record = recorder.state.trials[plan.trial_id]
    assert [rung.milestone for rung in record.rungs] == [10]
    assert record.status == "STOPPED"
    assert errors == []
    ended = [event for event in read_events(tmp_path) if event["event"] == "stopped"]
    assert [event["message"] for event in ended] == ["below the cut at 10 epochs"]


def test_a_worker_that_dies_pauses_its_trial_and_too_many_deaths_fail_it(
    setting: Setting, tmp_path: Path
) -> None:
    setting.result(EVALUATED | {"kind": "started"})
    dead = setting.of(setting.plan, tmp_path, RayActorError(error_msg="The actor died"))
    for attempt in (1, 2, 3):
        setting.error(dead)
        assert setting.record.status == "INTERRUPTED"
        assert setting.again == [setting.plan.trial_id] * attempt
        setting.result(EVALUATED | {"kind": "started", "attempt": attempt + 1})
        assert (setting.record.status, setting.record.attempt) == ("RUNNING", attempt + 1)
    setting.error(dead)
    assert (setting.record.status, setting.record.failure_class) == ("FAILED", "killed")
    assert "worker process died" in setting.record.failure_message
    assert len(setting.again) == 3
    assert setting.record.resources == setting.plan.resources.to_dict()
    assert setting.errors == []


def test_deaths_of_a_trial_that_gets_further_do_not_add_up(
    setting: Setting, tmp_path: Path
) -> None:
    dead = setting.of(setting.plan, tmp_path, RayActorError(error_msg="The actor died"))
    for attempt in range(1, 11):
        setting.result(EVALUATED | {"kind": "started", "attempt": attempt, "epoch": 10 * attempt})
        setting.result(EVALUATED | {"attempt": attempt, "epoch": 10 * attempt + 5})
        setting.error(dead)
    assert setting.record.status == "INTERRUPTED"
    assert len(setting.again) == 10
    for attempt in range(11, 15):  # from here on it gets nowhere
        setting.result(EVALUATED | {"kind": "started", "attempt": attempt, "epoch": 100})
        setting.error(dead)
    assert (setting.record.status, setting.record.failure_class) == ("FAILED", "killed")


@pytest.mark.parametrize("told", ["by Ray", "by its silence"])
def test_a_death_is_the_nodes_if_the_node_is_gone(
    setting: Setting, tmp_path: Path, told: str
) -> None:
    message = "The actor died because its node has died." if told == "by Ray" else "RPC error"
    dead = setting.of(setting.plan, tmp_path, RayActorError(error_msg=message))
    if told == "by its silence":
        setting.lost_nodes.add("ab12")
    for attempt in range(1, 8):  # more often than a worker may die
        where = {"node": "gpu7", "node_id": "ab12", "attempt": attempt}
        setting.result(EVALUATED | where | {"kind": "started"})
        setting.error(dead)
        assert setting.record.status == "INTERRUPTED"
    assert (setting.record.node, setting.record.failures) == ("gpu7", [])
    last = [e for e in read_events(tmp_path) if e["event"] == "interrupted"][-1]
    assert (last["cause"], last["attempt"]) == ("node", 7)
    assert last["message"].startswith("node gpu7 was lost")
    assert setting.errors == []


def test_a_worker_that_outlives_its_node_and_says_so_is_followed_by_another_attempt(
    setting: Setting, tmp_path: Path
) -> None:
    setting.result(EVALUATED | {"kind": "started", "node": "gpu7", "node_id": "ab12"})
    setting.result(EVALUATED | {"outcome": "interrupted", "abandoned": True})
    setting.callback.on_trial_complete(1, [], setting.trial)
    assert (setting.record.status, setting.record.failures) == ("INTERRUPTED", [])
    assert setting.again == [setting.plan.trial_id]
    (paused,) = [e for e in read_events(tmp_path) if e["event"] == "interrupted"]
    assert (paused["cause"], paused["attempt"]) == ("node", 1)
    assert setting.errors == []


def test_a_death_on_a_node_that_lives_is_the_trials(setting: Setting, tmp_path: Path) -> None:
    setting.lost_nodes.add("another")
    setting.result(EVALUATED | {"kind": "started", "node": "gpu7", "node_id": "ab12"})
    setting.error(setting.of(setting.plan, tmp_path, RayActorError(error_msg="The actor died")))
    (paused,) = [e for e in read_events(tmp_path) if e["event"] == "interrupted"]
    assert paused["cause"] == "killed"


@pytest.mark.parametrize(("node_id", "cause"), [("ab12", "node"), (HERE, "killed")])
def test_a_broken_connection_is_the_networks_if_there_is_a_network(
    setting: Setting, tmp_path: Path, node_id: str, cause: str
) -> None:
    setting.result(EVALUATED | {"kind": "started", "node": "gpu7", "node_id": node_id})
    error = ActorUnavailableError("RpcError: Connection reset by peer", b"a" * 16)
    setting.error(setting.of(setting.plan, tmp_path, error))
    (paused,) = [e for e in read_events(tmp_path) if e["event"] == "interrupted"]
    assert paused["cause"] == cause
    if cause == "node":
        told = "the connection to node gpu7 broke; goes on from its last checkpoint"
        assert paused["message"] == told
    assert setting.errors == []


def test_a_worker_that_ray_kills_for_memory_goes_to_the_ladder(
    setting: Setting, tmp_path: Path
) -> None:
    setting.result(EVALUATED | {"kind": "started"})
    killed = RayActorError(error_msg="OutOfMemoryError: the node is running low on memory")
    setting.error(setting.of(setting.plan, tmp_path, killed))
    assert setting.errors == []
    assert [failure.step for failure in setting.record.failures] == ["microbatches"]
    assert "killed for memory" in setting.record.failures[0].message
    assert setting.again == [setting.plan.trial_id]


def test_a_worker_that_dies_after_its_rung_stopped_it_is_not_started_again(
    setting: Setting, tmp_path: Path
) -> None:
    decision = Decision("b", 10, setting.plan.trial_id, 1.0, 2.0, go_on=False)
    setting.result(EVALUATED | {"kind": "started"})
    setting.recorder.decided(decision, EVALUATED)
    setting.error(setting.of(setting.plan, tmp_path, RayActorError(error_msg="died")))
    assert (setting.record.status, setting.again) == ("STOPPED", [])


def test_a_trial_that_had_not_begun_when_the_sweep_stopped_stays_planned(setting: Setting) -> None:
    setting.result({"outcome": "interrupted", "attempt": 0})
    assert setting.record.status == "PENDING"


def test_a_worker_that_cannot_start_is_an_error_and_not_a_kill() -> None:
    error = RayActorError(error_msg="error raised in its creation task, ImportError: no torch")
    assert classify(error) == "error"
    assert "could not start" in describe(error) and "no torch" in describe(error)


def test_a_search_that_waits_for_nothing_says_so_instead_of_waiting_for_ever() -> None:
    errors: list[Exception] = []
    search = StageSearch(iter([None]), lambda _: {}, lambda _: None, lambda: False, errors.append)
    assert search.suggest("t") == "FINISHED"
    assert "no longer runs" in str(errors[0])
    assert not search.exhausted


def search_of(setting: Setting, *, stop: bool = False) -> StageSearch:
    """One that hands out the plan of the setting."""
    return StageSearch(
        iter([setting.plan]),
        lambda plan: {"trial_id": plan.trial_id},
        setting.recorder.queued,
        lambda: stop,
        setting.errors.append,
    )


def test_after_a_stop_no_trial_is_handed_out(setting: Setting) -> None:
    search = search_of(setting, stop=True)
    assert search.suggest("t") == "FINISHED"
    assert not search.exhausted
    assert setting.record.status == "PENDING"


def test_a_trial_that_tune_has_taken_is_queued_until_its_worker_starts(
    setting: Setting, tmp_path: Path
) -> None:
    assert setting.record.status == "PENDING"
    assert search_of(setting).suggest("t") == {"trial_id": setting.plan.trial_id}
    assert setting.record.status == "QUEUED"
    assert [e["event"] for e in read_events(tmp_path)] == ["planned", "queued"]
    setting.result(EVALUATED | {"kind": "started", "gpu": "H100"})
    assert (setting.record.status, setting.record.gpu) == ("RUNNING", "H100")


def test_a_queue_that_cannot_be_written_ends_the_search_and_not_the_sweep(
    setting: Setting,
) -> None:
    setting.log.close()
    assert search_of(setting).suggest("t") == "FINISHED"
    assert isinstance(setting.errors[0], OSError)


def test_where_a_run_is_shown_is_known_from_its_first_result_on(setting: Setting) -> None:
    where = {"wandb_group": "flow_tuning-r1"}
    setting.result(EVALUATED | {"kind": "started"} | where)
    setting.result(EVALUATED | where | {"wandb_link": "https://wandb.example/r"})
    assert setting.record.wandb_group == "flow_tuning-r1"
    assert setting.record.wandb_link == "https://wandb.example/r"


def test_an_error_that_somebody_else_left_is_not_loaded(tmp_path: Path) -> None:
    ours, link = tmp_path / "error.pkl", tmp_path / "link.pkl"
    ours.write_bytes(pickle.dumps(RayActorError(error_msg="gone")))
    link.symlink_to(ours)
    assert isinstance(error_of(SimpleNamespace(pickled_error_file=str(ours))), RayActorError)
    assert error_of(SimpleNamespace(pickled_error_file=str(link))) is None
    assert error_of(SimpleNamespace(pickled_error_file=str(tmp_path / "none.pkl"))) is None
    assert error_of(SimpleNamespace(pickled_error_file=None)) is None
    if os.geteuid() == 0:  # only root can give a file away
        os.chown(ours, 12345, -1)
        assert error_of(SimpleNamespace(pickled_error_file=str(ours))) is None
