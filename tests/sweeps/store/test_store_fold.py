"""The fold: what a resume starts from, for every order of events that a crash can leave."""

from pathlib import Path
from typing import Any

from sweeps.core.store.events import Failure, Rung, fold, read_events


def events(*entries: tuple[str, str | None, dict[str, Any]]) -> list[dict[str, Any]]:
    """Events one second apart."""
    return [
        {"event": name, "trial_id": trial, "seq": i, "time": f"2026-01-01T00:00:{i:02d}", **payload}
        for i, (name, trial, payload) in enumerate(entries)
    ]


PLANNED = ("planned", "t", {"arm": "flow", "config": {"epochs": 4}, "resources": {"num_cpus": 1}})


def test_the_written_sweep_folds_to_what_happened(sweep: Path) -> None:
    state = fold(read_events(sweep))
    assert state.spec == {"name": "toy"}
    assert (state.exit_code, state.finished, state.resumes) == (3, True, 0)
    c1, c2 = state.trials["c1-s0"], state.trials["c2-s0"]
    assert (c1.status, c1.attempt, c1.epochs_done, c1.env_steps) == ("COMPLETED", 1, 7, 700)
    assert (c1.epochs, c1.params, c1.nfe) == (7, {"world_model.substeps": 1}, 1)
    assert (c2.status, c2.attempt, c2.epochs_done) == ("FAILED", 2, 5)
    assert (c2.failure_class, c2.failure_message) == ("oom_host", "used 900 of 800 bytes")
    assert c2.wall_time_s == 1.5 + 2.0
    assert c2.host_memory_peak_bytes == 900
    assert state.unfinished() == []


def test_a_seed_of_a_program_pays_its_share_of_what_the_process_had() -> None:
    planned = ("planned", "t", {"resources": {"num_cpus": 1, "num_gpus": 0.125}})
    log = events(
        planned,
        ("started", "t", {"attempt": 1, "together": 8, "num_gpus": 1.0}),
        ("progress", "t", {"attempt": 1, "epoch": 2, "wall_time_s": 100.0}),
        ("interrupted", "t", {"attempt": 1}),
        ("started", "t", {"attempt": 2}),
        ("progress", "t", {"attempt": 2, "epoch": 4, "wall_time_s": 80.0}),
    )
    shared, alone = fold(log[:3]).trials["t"], fold(log).trials["t"]
    assert (shared.together, shared.num_gpus, shared.gpu_s) == (8, 1.0, 100.0)
    assert (alone.together, alone.num_gpus, alone.gpu_s) == (1, 0.125, 100.0 + 10.0)


def test_a_killed_driver_leaves_its_trials_to_be_resumed() -> None:
    log = events(
        PLANNED,
        ("planned", "u", {}),
        ("started", "t", {"attempt": 1}),
        ("progress", "t", {"attempt": 1, "epoch": 2, "env_steps": 20, "score": 0.5}),
        ("resumed", None, {}),
    )
    assert fold(log[:-1]).trials["t"].status == "RUNNING"
    state = fold(log)
    assert state.trials["t"].status == "INTERRUPTED"
    assert state.trials["u"].status == "PENDING"
    assert [trial.trial_id for trial in state.unfinished()] == ["t", "u"]
    assert (state.trials["t"].epochs_done, state.trials["t"].score) == (2, 0.5)
    assert state.resumes == 1


def test_a_resumed_sweep_is_not_finished_any_more() -> None:
    log = events(("sweep_finished", None, {"exit_code": 75}), ("resumed", None, {}))
    assert fold(log[:1]).finished
    state = fold(log)
    assert not state.finished
    assert state.exit_code is None


def test_a_resume_takes_up_what_storage_ended_unless_its_stage_has_chosen_without_it() -> None:
    failed = {"attempt": 1, "failure_class": "storage", "message": "No space left"}
    log = events(
        ("planned", "early", {"stage": "screen"}),
        ("planned", "late", {"stage": "confirm"}),
        ("planned", "broken", {"stage": "confirm"}),
        ("failed", "early", failed),
        ("selected", None, {"stage": "screen", "config_ids": []}),
        ("failed", "late", failed),
        ("failed", "broken", failed | {"failure_class": "error"}),
        ("stage_finished", None, {"stage": "confirm"}),
        ("sweep_finished", None, {"exit_code": 6}),
        ("resumed", None, {}),
    )
    state = fold(log)
    statuses = {trial.trial_id: trial.status for trial in state.trials.values()}
    assert statuses == {"early": "FAILED", "late": "INTERRUPTED", "broken": "FAILED"}
    assert state.stages == {"confirm": "running"}
    # Asked to, it takes up all that still counts.
    log[-1] |= {"retry_failed": True}
    statuses = {trial.trial_id: trial.status for trial in fold(log).trials.values()}
    assert statuses == {"early": "FAILED", "late": "INTERRUPTED", "broken": "INTERRUPTED"}


def test_a_second_attempt_clears_the_failure_and_keeps_its_record() -> None:
    failed = {"attempt": 1, "failure_class": "oom_gpu", "message": "m"}
    log = events(
        PLANNED,
        ("started", "t", {"attempt": 1, "log_path": "a.log"}),
        ("failed", "t", failed),
        ("started", "t", {"attempt": 2, "resources": {"num_cpus": 2}, "log_path": "b.log"}),
    )
    trial = fold(log).trials["t"]
    assert (trial.status, trial.failure_class, trial.ended_at) == ("RUNNING", None, None)
    assert trial.failures == [Failure(1, "oom_gpu", "m")]
    assert (trial.resources, trial.log_path) == ({"num_cpus": 2}, "b.log")
    assert trial.started_at == "2026-01-01T00:00:01"


def test_a_replaced_attempt_changes_nothing() -> None:
    log = events(
        PLANNED,
        ("started", "t", {"attempt": 2}),
        ("progress", "t", {"attempt": 2, "epoch": 3}),
        ("progress", "t", {"attempt": 1, "epoch": 9}),
        ("completed", "t", {"attempt": 1, "epoch": 9}),
        ("started", "t", {"attempt": 1}),
    )
    trial = fold(log).trials["t"]
    assert (trial.status, trial.attempt, trial.epochs_done) == ("RUNNING", 2, 3)


def test_a_heartbeat_read_after_the_end_does_not_bring_a_trial_back() -> None:
    log = events(
        PLANNED,
        ("started", "t", {"attempt": 1}),
        ("completed", "t", {"attempt": 1, "epoch": 4}),
        ("progress", "t", {"attempt": 1, "epoch": 3}),
    )
    trial = fold(log).trials["t"]
    assert (trial.status, trial.epochs_done) == ("COMPLETED", 4)


def test_a_trial_that_goes_back_to_a_checkpoint_shows_the_epoch_it_is_at() -> None:
    log = events(
        PLANNED,
        ("started", "t", {"attempt": 1}),
        ("progress", "t", {"attempt": 1, "epoch": 8, "wall_time_s": 4.0}),
        ("started", "t", {"attempt": 2}),
        ("progress", "t", {"attempt": 2, "epoch": 6, "wall_time_s": 1.0}),
        ("progress", "t", {"attempt": 2, "epoch": 7, "wall_time_s": 1.5}),
    )
    trial = fold(log).trials["t"]
    assert trial.epochs_done == 7
    assert trial.wall_time_s == 4.0 + 1.5


def test_rungs_are_kept_in_the_order_of_their_decisions_and_decided_once() -> None:
    def rung(trial: str, milestone: int, decision: str, attempt: int) -> tuple[str, str, dict]:
        payload = {"bracket": 0, "milestone": milestone, "score": 1.0, "cutoff": 0.5}
        return ("rung", trial, payload | {"decision": decision, "attempt": attempt})

    log = events(
        rung("b", 10, "continue", 1),
        rung("a", 10, "continue", 1),
        rung("b", 20, "stop", 1),
        ("started", "b", {"attempt": 2}),
        rung("b", 20, "continue", 2),  # again, after going back to a checkpoint
    )
    state = fold(log)
    assert [(r.trial_id, r.milestone, r.decision) for r in state.rungs] == [
        ("b", 10, "continue"),
        ("a", 10, "continue"),
        ("b", 20, "stop"),
    ]
    assert state.rungs[0] == Rung("b", "0", 10, 1.0, 0.5, "continue", 1)
    # The crash came before the `stopped` event: the decision stands.
    assert state.trials["b"].stop_decided
    assert not state.trials["a"].stop_decided


def test_stages_and_selections_are_remembered() -> None:
    log = events(
        ("stage_started", None, {"stage": "screen"}),
        ("stage_finished", None, {"stage": "screen"}),
        ("selected", None, {"stage": "screen", "config_ids": ["c1"], "why": "top 1"}),
        ("stage_started", None, {"stage": "select"}),
    )
    state = fold(log)
    assert state.stages == {"screen": "finished", "select": "running"}
    assert state.decisions["screen"]["config_ids"] == ["c1"]
    assert state.decisions["screen"]["why"] == "top 1"


def test_planning_again_keeps_what_the_trial_has_done() -> None:
    log = events(
        PLANNED,
        ("started", "t", {"attempt": 1}),
        ("completed", "t", {"attempt": 1, "epoch": 4}),
        ("planned", "t", {"config": {"epochs": 4}, "arm": "flow"}),
    )
    assert fold(log).trials["t"].status == "COMPLETED"


def test_a_queued_trial_is_unfinished_and_one_that_never_began_is_only_planned() -> None:
    log = events(
        PLANNED,
        ("queued", "t", {}),
        ("planned", "u", {}),
        ("queued", "u", {}),
        ("started", "u", {"attempt": 1}),
        ("queued", "u", {}),  # its worker died, and it waits for another
        ("resumed", None, {"job": {"SLURM_JOB_ID": "8"}}),
        ("started", "u", {"attempt": 2}),
    )
    queued = fold(log[:2])
    assert queued.trials["t"].status == "QUEUED"
    assert queued.trials["t"].queued_at == "2026-01-01T00:00:01"
    assert [trial.trial_id for trial in queued.unfinished()] == ["t"]
    resumed = fold(log[:-1])
    assert resumed.trials["t"].status == "PENDING"
    assert resumed.trials["u"].status == "INTERRUPTED"
    assert resumed.trials["u"].job is None
    assert fold(log).trials["u"].job == {"SLURM_JOB_ID": "8"}


def test_notes_are_kept_in_order_and_change_nothing() -> None:
    log = events(
        PLANNED,
        ("started", "t", {"attempt": 1}),
        ("note", "t", {"text": "first\nof two lines"}),
        ("note", None, {"text": "on the sweep"}),
        ("completed", "t", {"attempt": 1, "epoch": 4}),
        ("note", "t", {"text": "second"}),
        ("note", "gone", {"text": "its plan is lost"}),
    )
    state = fold(log)
    without = fold(event for event in log if event["event"] != "note")
    assert [(n.time[-2:], n.text) for n in state.trials["t"].notes] == [
        ("02", "first\nof two lines"),
        ("05", "second"),
    ]
    assert [note.text for note in state.notes] == ["on the sweep", "its plan is lost"]
    state.trials["t"].notes.clear()
    state.notes.clear()
    assert state == without


PLAYED = {
    "attempt": 1,
    "which": "best",
    "protocol": "deterministic/2x/seed7",
    "seed": 7,
    "n": 2,
    "return_mean": 3.0,
    "tasks": [{"task": "point-mass", "return_mean": 3.0}],
}


def test_an_evaluated_trial_keeps_its_score_and_the_time_it_ended() -> None:
    log = events(
        PLANNED,
        ("started", "t", {"attempt": 1}),
        ("completed", "t", {"attempt": 1, "epoch": 4, "score": 9.0}),
        ("evaluated", "t", PLAYED),
        ("evaluated", "t", PLAYED | {"which": "last", "return_mean": 2.0}),
    )
    trial = fold(log).trials["t"]
    assert (trial.status, trial.final) == ("EVALUATED", True)
    assert (trial.score, trial.epochs_done) == (9.0, 4)
    assert trial.ended_at == "2026-01-01T00:00:02"
    assert [(p.which, p.return_mean, p.time[-2:]) for p in trial.played] == [
        ("best", 3.0, "03"),
        ("last", 2.0, "04"),
    ]


def test_a_trial_that_was_stopped_early_stays_so_whoever_plays_it_again() -> None:
    log = events(PLANNED, ("stopped", "t", {"attempt": 1}), ("evaluated", "t", PLAYED))
    trial = fold(log).trials["t"]
    assert (trial.status, len(trial.played)) == ("STOPPED", 1)


def test_a_torn_log_folds_to_a_prefix_of_the_story(sweep: Path) -> None:
    whole = read_events(sweep)
    for count in range(len(whole) + 1):
        state = fold(whole[:count])
        done = {trial.trial_id for trial in state.trials.values() if trial.final}
        ended = {e["trial_id"] for e in whole[:count] if e["event"] in ("completed", "failed")}
        assert done == ended
