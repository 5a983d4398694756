"""Sweeps that were extended: what counts for the verdict, and what is said of the looks."""

import math
from typing import Any

import analysis

TUNE = {"kind": "tune", "baseline": "mlp", "confirm": {"seeds": [1000, 1001, 1002]}}


def extend(sweep: Any, added: dict[str, str], spec: dict[str, Any], *stages: str) -> None:
    sweep.log.append("extended", spec=spec, added=added, stages=stages, before="sweep-1.yaml")
    sweep.log.append("resumed")


def test_with_another_winner_the_verdict_is_on_the_fresh_seeds_alone(new_sweep) -> None:
    sweep = new_sweep(spec=TUNE)
    sweep.log.append("selected", stage="select", config_ids=["cold"])
    for seed in (1000, 1001, 1002):
        sweep.trial("flow", seed, [900.0 + seed % 10] * 5, config_id="cold")
        sweep.trial("mlp", seed, [100.0 + seed % 10] * 5)
    spec = TUNE | {"confirm": {"seeds": list(range(1000, 1006))}}
    added = {"screen.trials": "8 -> 16", "confirm.seeds": "1003, 1004, 1005"}
    extend(sweep, added, spec, "screen", "select", "confirm")
    sweep.log.append("selected", stage="select", config_ids=["cnew"])
    for seed in (1003, 1004, 1005):
        sweep.trial("flow", seed, [500.0 + seed % 10] * 5, config_id="cnew")
        # Another winner may share other values with the baseline, which is then another run.
        sweep.trial("mlp", seed, [400.0 + seed % 10] * 5, config_id="cbase2")
    frames = sweep.frames()
    (row,) = analysis.compare(frames).to_dict("records")
    assert (row["candidate"], row["n"]) == ("flow", 3)
    assert math.isclose(row["est"], 100.0)
    assert set(frames.trials.loc[frames.trials["stage"] == "superseded", "seed"]) == {
        1000,
        1001,
        1002,
    }
    (sentence,) = analysis.looks(frames)
    assert sentence.startswith("Chosen again after a look (screen.trials 8 -> 16; ")
    assert "cnew took the place of cold" in sentence and "verdict 2 of this sweep" in sentence
    heard = analysis.status(frames.path)
    assert (heard["stage"] == "superseded").sum() == 6


def test_with_the_winner_that_was_all_seeds_count_and_the_looks_are_told(
    new_sweep,
) -> None:
    sweep = new_sweep(spec=TUNE)
    for round_, seeds in enumerate(((1000, 1001), (1002, 1003))):
        if round_:
            added = {"screen.trials": "8 -> 16", "confirm.seeds": "1002, 1003"}
            extend(sweep, added, TUNE, "screen", "select", "confirm")
        sweep.log.append("selected", stage="select", config_ids=["cone"])
        for seed in seeds:
            sweep.trial("flow", seed, [900.0 + seed % 10] * 5, config_id="cone")
            sweep.trial("mlp", seed, [100.0 + seed % 10] * 5)
    frames = sweep.frames()
    assert list(analysis.compare(frames)["n"]) == [4]
    more, again = analysis.looks(frames)
    assert more.startswith("Seeds were added after a look: 1002, 1003 after 4 scored trials.")
    assert "With 2 looks" in more and "up to 10% instead of 5%" in more
    assert again.endswith("the winner stayed.")


def test_arms_that_are_added_after_a_look_are_told_and_before_it_are_not(
    new_sweep,
) -> None:
    sweep = new_sweep(spec={"kind": "compare", "baseline": "mlp"})
    extend(sweep, {"arms": "flow_v1"}, {"kind": "compare", "baseline": "mlp"}, "confirm")
    assert analysis.looks(sweep.frames(finish=False)) == []
    for seed in (1, 2):
        sweep.trial("flow", seed, [9.0] * 5)
        sweep.trial("mlp", seed, [8.0] * 5)
    extend(sweep, {"arms": "flow_v2"}, {"kind": "compare", "baseline": "mlp"}, "confirm")
    (sentence,) = analysis.looks(sweep.frames())
    assert sentence.startswith("Arms were added after a look: flow_v2 after 4 scored trials.")
    page = analysis.report(analysis.load(sweep.path)).read_text()
    assert "Arms were added after a look" in page and "extended 2 times" in page


def test_what_an_extension_will_plan_counts_as_still_to_come(new_sweep) -> None:
    from analysis.status import unplanned

    sweep = new_sweep(start=False)
    sweep.log.append("sweep_started", spec={}, trials={"confirm": 2})
    sweep.trial("flow", 1, [1.0])
    sweep.trial("mlp", 1, [1.0])
    sweep.log.append("stage_finished", stage="confirm")
    sweep.log.append("sweep_finished", exit_code=0)
    sweep.log.append("extended", spec={}, trials={"confirm": 6}, added={}, stages=["confirm"])
    assert unplanned(sweep.frames(finish=False)) == 4
    sweep.log.append("stage_finished", stage="confirm")
    assert unplanned(analysis.load(sweep.path)) == 0


def test_test_seeds_of_the_sweeps_that_were_learned_from_are_told(new_sweep) -> None:
    sweep = new_sweep()
    sweep.log.append("warm_started", path="results", trials=[], tested=[1000, 1001])
    (sentence,) = analysis.looks(sweep.frames(finish=False))
    assert sentence.startswith("Warm start: test seeds 1000, 1001 were used before")
