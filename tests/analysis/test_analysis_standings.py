"""Every arm by itself, as the last page of a sweep tells it."""

import analysis


def test_a_standing_tells_score_steadiness_and_cost(new_sweep):
    sweep = new_sweep(spec={"kind": "compare", "baseline": "mlp", "arms": {"mlp": "", "flow": ""}})
    for seed, final in ((1, 90.0), (2, 100.0), (3, 110.0)):
        # 100 epochs of 36 s; a peak of 200, then 5 evaluations at the end's value
        sweep.trial("mlp", seed, [200.0] * 5 + [final] * 5)
        sweep.trial("flow", seed, [final] * 10, gpus=0.5)
    flow, mlp = sorted(analysis.standings(sweep.frames()))
    # t(2) = 4.303, sd 10, n 3; 90 is less than half of 200
    assert flow == (
        "flow on cheetah-run: 100.0 [75.2, 124.8] (n=3), final/peak 1.00, collapsed 0/3, "
        "30 GPU-minutes a run"
    )
    assert mlp == (
        "mlp on cheetah-run: 100.0 [75.2, 124.8] (n=3), final/peak 0.50, collapsed 1/3, "
        "1.00 hours a run"
    )


def test_many_arms_are_counted(new_sweep):
    sweep = new_sweep()
    for i in range(5):
        sweep.trial(f"arm{i}", 1, [float(i)] * 5)
    lines = analysis.standings(sweep.frames(), most=3)
    assert [line.split()[0] for line in lines] == ["arm4", "arm3", "arm2", "and"]
    assert lines[-1] == "and 2 more, which stand in the report"


def test_one_arm_has_a_standing_and_no_verdict(new_sweep):
    sweep = new_sweep(spec={"kind": "compare", "baseline": "mlp", "arms": {"mlp": "mlp"}})
    sweep.trial("mlp", 1, [50.0] * 5)
    frames = sweep.frames()
    assert analysis.conclusions(frames) == ["One arm: nothing is compared."]
    assert len(analysis.standings(frames)) == 1
    assert "One arm: nothing is compared." in analysis.report(frames).read_text()
