"""Two-hot rewards against values worked by hand."""

import math

import pytest
import torch

from flowpwm import twohot


def test_a_value_between_two_bins_is_spread_in_proportion() -> None:
    # 21 bins over [-10, 10] stand 1 apart; symlog(x) = 0.25 lies a quarter of the way from 0 to 1.
    code = twohot.encode(torch.tensor(math.expm1(0.25)), num_bins=21)
    expected = torch.zeros(21)
    expected[10], expected[11] = 0.75, 0.25
    assert torch.allclose(code, expected, atol=1e-6)


@pytest.mark.parametrize(("value", "bin"), [(1e9, 20), (-1e9, 0), (0.0, 10)])
def test_both_ends_clamp_and_never_wrap_around(value: float, bin: int) -> None:
    code = twohot.encode(torch.tensor(value), num_bins=21)
    assert code[bin] == pytest.approx(1.0)
    assert code.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("value", [-300.0, -1.0, 0.0, 0.03, 2.0, 1000.0])
def test_decoding_the_log_of_a_code_gives_the_value_back(value: float) -> None:
    code = twohot.encode(torch.tensor(value, dtype=torch.float64), num_bins=101)
    assert float(twohot.decode((code + 1e-300).log())) == pytest.approx(value, abs=1e-9, rel=1e-9)


def test_cross_entropy_of_uniform_logits_is_the_log_of_the_bins() -> None:
    logits = torch.zeros(3, 101)
    assert torch.allclose(
        twohot.cross_entropy(logits, torch.tensor([0.0, 1.0, -5.0])),
        torch.full((3,), math.log(101)),
    )


def test_symexp_inverts_symlog() -> None:
    x = torch.tensor([-1e3, -0.5, 0.0, 2.0, 1e4], dtype=torch.float64)
    assert torch.allclose(twohot.symexp(twohot.symlog(x)), x)


def test_regressing_logits_to_a_scalar_would_blind_the_actor() -> None:
    """The defect that cross-entropy is here to prevent: equal logits decode to 0 whatever r is."""
    equal = torch.full((4, 101), 1.7)
    assert twohot.decode(equal).abs().max() < 1e-5


def test_a_reward_that_is_not_a_number_stays_visible() -> None:
    code = twohot.encode(torch.tensor([1.0, float("nan")]), 101)
    assert code[0].isfinite().all() and code[1].isnan().any()
    rewards = torch.tensor([1.0, float("nan")])
    assert twohot.cross_entropy(torch.zeros(2, 101), rewards).isnan().tolist() == [False, True]
