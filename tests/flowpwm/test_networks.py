"""Blocks: SimNorm's simplices, initial weights, and the ensemble against separate networks."""

import pytest
import torch
from torch import nn

from flowpwm.networks import Ensemble, NormedLinear, SimNorm, count_parameters, mlp


def test_simnorm_puts_every_group_on_a_simplex() -> None:
    z = SimNorm()(10 * torch.randn(5, 32))
    assert (z >= 0).all()
    assert torch.allclose(z.view(5, 4, 8).sum(-1), torch.ones(5, 4), atol=1e-6)


def test_simnorm_of_equal_entries_is_uniform() -> None:
    assert torch.allclose(SimNorm()(torch.full((2, 16), 3.0)), torch.full((2, 16), 1 / 8))


def test_weights_are_small_and_biases_zero() -> None:
    net = mlp(64, [256], 32)
    weight = net[0].weight
    assert isinstance(weight, torch.Tensor)
    assert float(weight.detach().std()) == pytest.approx(0.02, rel=0.1)
    assert all((p == 0).all() for name, p in net.named_parameters() if name.endswith("0.bias"))


def test_a_zeroed_last_layer_starts_at_zero() -> None:
    assert (mlp(8, [16], 4, zero_last=True)(torch.randn(3, 8)) == 0).all()


def test_parameter_count_worked_by_hand() -> None:
    # 10*20+20 weights and biases, 2*20 LayerNorm, 20*5+5 for the plain last layer.
    assert count_parameters(mlp(10, [20], 5)) == 220 + 40 + 105


def test_an_ensemble_equals_its_members_run_one_by_one() -> None:
    ensemble = Ensemble(3, 6, [16, 8], 2)
    x = torch.randn(5, 6)
    together = ensemble(x)
    for member in range(3):
        net = nn.Sequential(NormedLinear(6, 16), NormedLinear(16, 8), nn.Linear(8, 2))
        with torch.no_grad():
            for layer, part in zip(net, ensemble.layers, strict=True):
                layer.weight.copy_(part.weight[member].T)
                layer.bias.copy_(part.bias[member, 0])
        assert torch.allclose(net(x), together[member], atol=1e-6)
