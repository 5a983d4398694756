"""Our Mish is torch's: values, slopes, and what `torch.func` makes of it."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from flowpwm.activations import CHUNK, Mish

X = torch.cat([torch.linspace(-120, 120, 4001), torch.tensor([0.0, -0.0, 1e-30, -1e-30, 1e30])])


@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-6), (torch.float64, 1e-14)])
def test_values_and_slopes_are_torchs(dtype: torch.dtype, close: float) -> None:
    x = X.to(dtype).requires_grad_()
    ours, theirs = Mish()(x), F.mish(x)
    assert torch.allclose(ours, theirs, rtol=close, atol=close)
    (slope,) = torch.autograd.grad(ours.sum(), x)
    (expected,) = torch.autograd.grad(theirs.sum(), x)
    assert torch.allclose(slope, expected, rtol=10 * close, atol=10 * close)
    with torch.no_grad():
        assert torch.equal(Mish()(x), ours)


def test_the_slope_is_that_of_finite_differences() -> None:
    x = torch.randn(3, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(Mish(), (x,))
    assert torch.autograd.gradcheck(Mish(), (x,), check_forward_ad=True)


def test_any_shape_and_layout_will_do() -> None:
    large = torch.randn(3, CHUNK + 5)
    for x in (large, large.T, large[:, ::2], torch.randn(0, 4), torch.tensor(0.5)):
        assert torch.allclose(Mish()(x), F.mish(x), atol=1e-6)
        y = Mish()(x.clone().requires_grad_())
        assert y.shape == x.shape


def test_it_is_mapped_and_differentiated_forward_as_torchs_is() -> None:
    x, v = torch.randn(2, 4, 5), torch.randn(2, 4, 5)
    weight = torch.randn(2, 5, 5, requires_grad=True)

    def loss(weight: torch.Tensor, x: torch.Tensor, mish: torch.nn.Module) -> torch.Tensor:
        return mish(x @ weight).square().mean()

    for mish in (Mish(), torch.nn.Mish()):
        total = torch.func.vmap(lambda w, x, m=mish: loss(w, x, m))(weight, x).sum()
        (gradient,) = torch.autograd.grad(total, weight)
        value, slope = torch.func.jvp(mish, (x,), (v,))
        if isinstance(mish, Mish):
            ours = gradient, value, slope
        else:
            for one, two in zip(ours, (gradient, value, slope), strict=True):
                assert torch.allclose(one, two, atol=1e-5)


def test_no_number_stays_none() -> None:
    assert Mish()(torch.tensor([float("nan"), 1.0])).isnan().tolist() == [True, False]
    assert Mish()(torch.tensor([float("inf")])).item() == float("inf")
