"""Blocks: simplices, initial weights, task vectors, the ensemble against separate networks."""

import pytest
import torch
from torch import nn

from flowpwm.activations import Mish
from flowpwm.agent import Agent
from flowpwm.networks import (
    ACTIVATIONS,
    Ensemble,
    SimNorm,
    TaskEmbedding,
    count_parameters,
    join,
    mlp,
)
from tests.flowpwm.tiny import tiny


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


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_an_ensemble_equals_its_members_run_one_by_one(activation: str) -> None:
    ensemble = Ensemble(3, 6, [16, 8], 2, activation)
    x = torch.randn(5, 6)
    together = ensemble(x)
    for member in range(3):
        net = mlp(6, [16, 8], 2, activation=activation)
        with torch.no_grad():
            for layer, part in zip(net, ensemble.layers, strict=True):
                layer.weight.copy_(part.weight[member].T)
                layer.bias.copy_(part.bias[member, 0])
        assert torch.allclose(net(x), together[member], atol=1e-6)


@pytest.mark.parametrize("part", ["world_model", "policy", "critic"])
def test_every_part_has_an_activation_of_its_own(part: str) -> None:
    """Mish is what published weights were trained with, and the default."""
    for chosen, other in ((Mish, nn.SiLU), (nn.SiLU, Mish)):
        changes = {} if chosen is Mish else {f"{part}__activation": "silu"}
        agent = Agent(tiny("ant flow", **changes))
        found = {type(module) for module in getattr(agent, part).modules()}
        assert chosen in found and other not in found


def test_a_task_vector_longer_than_1_is_scaled_to_1_and_a_shorter_one_is_left() -> None:
    embedding = TaskEmbedding(3, 2)
    assert float(embedding.weight.detach().abs().max()) <= 0.02
    with torch.no_grad():
        embedding.weight.copy_(torch.tensor([[3.0, 4.0], [0.3, -0.4], [0.0, 0.0]]))
    read = embedding(torch.tensor([0, 1, 2, 0]))
    expected = torch.tensor([[0.6, 0.8], [0.3, -0.4], [0.0, 0.0], [0.6, 0.8]])
    assert torch.allclose(read, expected)


def test_only_the_vectors_that_were_read_get_a_gradient() -> None:
    embedding = TaskEmbedding(3, 2)
    (embedding(torch.tensor([0, 2, 2])) @ torch.tensor([1.0, 10.0])).sum().backward()
    assert embedding.weight.grad is not None
    assert embedding.weight.grad.tolist() == [[1.0, 10.0], [0.0, 0.0], [2.0, 20.0]]


def test_an_embedding_of_width_0_holds_nothing_and_joins_to_nothing() -> None:
    embedding = TaskEmbedding(1, 0)
    assert count_parameters(embedding) == 0
    z = torch.randn(4, 5, 8)
    assert torch.equal(join(z, embedding(torch.zeros(5, dtype=torch.int64))), z)


def test_joined_inputs_keep_their_order_and_are_broadcast_over_time() -> None:
    z, e = torch.arange(6.0).view(3, 2, 1), torch.tensor([[10.0], [20.0]])
    action = 100 + z
    expected = [[t * 2.0 + b, 10.0 * (b + 1), 100.0 + t * 2 + b] for t in range(3) for b in (0, 1)]
    assert join(z, e, action).flatten(0, 1).tolist() == expected
