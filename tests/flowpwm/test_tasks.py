"""Several tasks in one model: padding, masks, task vectors, and how each task is scored."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from flowpwm import updates
from flowpwm.agent import Agent
from flowpwm.alone import Alone
from flowpwm.envs import MT30, UnknownTask, make
from flowpwm.envs.tasks import task_set
from flowpwm.envs.together import TaskEnvs
from flowpwm.evaluate import Evaluator
from flowpwm.losses import Imagined
from flowpwm.networks import Ensemble
from flowpwm.policies import POLICIES
from flowpwm.state import TrainState
from flowpwm.train import collect, train
from flowpwm.world_models import WORLD_MODELS, make_world_model
from tests.flowpwm.tiny import THREE_TASKS, tasks_of, tiny

NAMES = THREE_TASKS.split("+")
OBS, ACT = 24, 6  # the walker's, the widest


def three_tasks(preset: str = "flow", **changes: object) -> TrainState:
    return TrainState.start(
        tiny(f"{THREE_TASKS} {preset}", num_envs=6, world_model__task_dim=4, **changes)
    )


def test_a_set_pads_to_its_widest_task_and_masks_what_a_task_has_not() -> None:
    tasks = task_set(THREE_TASKS)
    assert tasks.names == ("reacher-easy", "cartpole-swingup", "walker-stand")
    assert (len(tasks), tasks.obs_dim, tasks.action_dim) == (3, 24, 6)
    assert tasks.action_mask().sum(1).tolist() == [2, 1, 6]
    assert tasks.action_mask()[0].tolist() == [True, True, False, False, False, False]
    assert [tasks.index(name) for name in NAMES] == [0, 1, 2]
    with pytest.raises(ValueError, match="cheetah-run is not one of the 3 tasks reacher-easy"):
        tasks.index("cheetah-run")


def test_a_named_set_has_the_order_of_the_published_ids() -> None:
    assert task_set("mt30").names == MT30
    assert task_set("mt30").index("walker-stand") == 0
    assert (task_set("mt30").obs_dim, task_set("mt30").action_dim) == (24, 6)


def test_a_part_that_is_unknown_or_there_twice_is_named() -> None:
    with pytest.raises(UnknownTask, match=r"unknown task 'reacher-esy'.*mean 'reacher-easy'"):
        task_set("walker-stand+reacher-esy")
    with pytest.raises(ValueError, match=r"'walker-stand\+walker-stand' names a task twice"):
        task_set("walker-stand+walker-stand")


def test_a_set_terminates_where_any_of_its_tasks_does() -> None:
    assert not task_set(THREE_TASKS).terminates
    assert task_set("reacher-easy+ant").terminates


def test_tasks_stepped_together_do_what_they_do_alone() -> None:
    envs = TaskEnvs(task_set(THREE_TASKS), tuple(NAMES), each=2, seed=5)
    assert envs.task.tolist() == [0, 0, 1, 1, 2, 2]
    alone = [make(name, 2, seed=5) for name in NAMES]
    rng = np.random.default_rng(0)
    obs = envs.reset()
    expected = [env.reset() for env in alone]
    for _ in range(4):
        for i, (env, own) in enumerate(zip(alone, expected, strict=True)):
            block = obs[2 * i : 2 * i + 2]
            assert np.array_equal(block[:, : env.obs_dim], own)
            assert (block[:, env.obs_dim :] == 0).all()
        # What a task does not have is ignored, whatever it is.
        action = rng.uniform(-1, 1, (6, ACT))
        step = envs.step(action)
        steps = [
            env.step(action[2 * i : 2 * i + 2, : env.action_dim]) for i, env in enumerate(alone)
        ]
        for name in ("reward", "terminated", "truncated"):
            assert np.array_equal(
                getattr(step, name), np.concatenate([getattr(one, name) for one in steps])
            )
        obs, expected = step.obs, [one.obs for one in steps]


def test_tasks_stepped_together_go_on_from_their_saved_state_and_refuse_another() -> None:
    tasks = task_set(THREE_TASKS)
    one, two = (TaskEnvs(tasks, tuple(NAMES), each=1, seed=seed) for seed in (5, 6))
    action = np.full((3, ACT), 0.3)
    one.reset()
    one.step(action)
    two.load_state_dict(one.state_dict())
    for a, b in zip(one.step(action), two.step(action), strict=True):
        assert np.array_equal(a, b)
    other = TaskEnvs(tasks, ("walker-stand",), each=1, seed=5)
    with pytest.raises(ValueError, match=r"saved tasks are \['cartpole.*here \['walker-stand'\]"):
        other.load_state_dict(one.state_dict())


def first_layer(network: nn.Module) -> Tensor:
    """The weights that meet a network's input, [outputs, inputs]."""
    layer = next(m for m in network.modules() if isinstance(m, (nn.Linear, Ensemble)))
    weight = layer.layers[0].weight[0].T if isinstance(layer, Ensemble) else layer.weight
    assert isinstance(weight, Tensor)
    return weight


D, E = 16, 4
KINDS = [("mlp", "gaussian"), ("flow", "flow")]  # of world model and policy
Network = tuple[nn.Module, Callable[[dict[str, Tensor]], Tensor], dict[str, int]]


def networks(kind: str, policy: str) -> dict[str, Network]:
    """Every network: itself, how it is called, and its inputs with their widths in order."""
    config = tiny(f"reacher-easy+point-mass {kind}", world_model__task_dim=E, policy__kind=policy)
    agent = Agent(config)
    agent.world_model = model = make_world_model(
        config.world_model, tasks_of((6, 2), (5, 2), terminates=True)
    )
    for parameter in agent.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.5)
    context = {"z": D, "e": E}
    found: dict[str, Network] = {
        "encoder": (model.encoder, lambda x: model.encode(x["obs"], x["e"]), {"obs": 6, "e": E}),
        "reward": (
            model.reward_head,
            lambda x: model.reward_logits(x["z"], x["e"], x["a"]),
            context | {"a": 2},
        ),
        "policy": (
            agent.policy,
            lambda x: agent.policy.pre_tanh(x["z"], x["e"], None),
            context if policy == "gaussian" else context | {"x": 2, "tau": 1},
        ),
        "critic": (agent.critic, lambda x: agent.critic(x["z"], x["e"])[0], context),
    }
    assert model.continuation_head is not None
    found["continuation"] = (
        model.continuation_head,
        lambda x: model.continuation(x["z"], x["e"])[..., None],
        context,
    )
    if kind == "mlp":
        found["dynamics"] = (
            model.dynamics,
            lambda x: model.next(x["z"], x["e"], x["a"]),
            context | {"a": 2},
        )
    else:
        found["velocity"] = (
            model.velocity_head,
            lambda x: model.velocity(x["z"], x["e"], x["a"], x["tau"]),
            context | {"a": 2, "tau": 1},
        )
    return found


@pytest.mark.parametrize(("kind", "policy"), KINDS)
def test_every_network_takes_latent_then_task_then_action(kind: str, policy: str) -> None:
    """A network whose first layer keeps the columns of one input listens to that input alone."""
    torch.manual_seed(0)
    for name, (network, call, widths) in networks(kind, policy).items():
        weight = first_layer(network)
        whole = weight.detach().clone()
        assert whole.shape[1] == sum(widths.values()), name
        inputs = {key: torch.rand(3, width) for key, width in widths.items()}
        first = 0
        for key, width in widths.items():
            with torch.no_grad():
                weight.zero_()
                weight[:, first : first + width] = whole[:, first : first + width]
                before = call(inputs)
                for other in widths:
                    moved = call(inputs | {other: torch.rand(3, widths[other])})
                    # What a policy's ODE starts from, and its time, are no arguments.
                    inner = name == "policy" and other in ("x", "tau")
                    same = torch.allclose(moved, before, atol=1e-6)
                    assert same == (other != key or inner), (name, key, other)
                weight.copy_(whole)
            first += width


@pytest.mark.parametrize(("kind", "policy"), KINDS)
def test_another_task_changes_what_every_network_says(kind: str, policy: str) -> None:
    torch.manual_seed(0)
    for name, (_, call, widths) in networks(kind, policy).items():
        inputs = {key: torch.rand(3, width) for key, width in widths.items()}
        with torch.no_grad():
            one, two = call(inputs), call(inputs | {"e": torch.rand(3, E)})
        assert (one - two).abs().amax(-1).min() > 1e-5, name


@pytest.mark.parametrize("kind", WORLD_MODELS)
def test_the_task_vectors_get_a_gradient_and_learn(kind: str) -> None:
    state = three_tasks(kind)
    before = state.agent.world_model.embedding.weight.detach().clone()
    assert state.acting is not None
    collect(state, state.acting)
    Alone(state).world_model()
    gradient = state.agent.world_model.embedding.weight.grad
    assert gradient is not None
    assert (gradient.abs().amax(1) > 0).all()
    after = state.agent.world_model.embedding.weight.detach()
    assert ((after - before).abs().amax(1) > 1e-5).all()


def test_the_actor_does_not_train_the_task_vectors() -> None:
    state = three_tasks()
    assert state.acting is not None
    collect(state, state.acting)
    before = state.agent.world_model.embedding.weight.detach().clone()
    Alone(state).actor()
    assert torch.equal(state.agent.world_model.embedding.weight, before)


def test_task_vectors_beyond_norm_1_say_no_more_than_those_of_norm_1() -> None:
    state = three_tasks()
    model = state.agent.world_model
    task, obs = torch.tensor([0, 1, 2]), torch.rand(3, OBS)
    with torch.no_grad():
        nn.init.normal_(model.embedding.weight)
        model.embedding.weight.mul_(4 / model.embedding.weight.norm(dim=1, keepdim=True))
        e = model.embed(task)
        z = model.encode(obs, e)
        assert torch.allclose(e.norm(dim=1), torch.ones(3))
        model.embedding.weight.mul_(10.0)
        assert torch.allclose(model.encode(obs, model.embed(task)), z, atol=1e-6)
        model.embedding.weight.mul_(1 / 80)
        assert torch.allclose(model.embed(task).norm(dim=1), torch.full((3,), 0.5))


def test_every_network_learns_from_several_tasks() -> None:
    state = three_tasks(epochs=2, evaluation__every=1000)
    before = {name: p.detach().clone() for name, p in state.agent.named_parameters()}
    collect(state, state.acting)
    for _ in range(3):
        Alone(state).world_model()
        steps = Alone(state)
        steps.critic(steps.actor())
    for name, parameter in state.agent.named_parameters():
        assert not torch.equal(before[name], parameter), name


def played(state: TrainState) -> TrainState:
    """The same run with one epoch's steps in its buffer."""
    assert state.acting is not None
    collect(state, state.acting)
    return state


WIDTHS = {0: (6, 2), 1: (5, 1), 2: (24, 6)}


def test_stored_observations_and_actions_are_0_beyond_a_tasks_own() -> None:
    state = played(three_tasks())
    sequences = state.experience.sample(200, 8, torch.Generator().manual_seed(0))
    for task, (obs_dim, action_dim) in WIDTHS.items():
        own = sequences.task == task
        assert own.sum() > 20
        assert (sequences.obs[:, own, obs_dim:] == 0).all()
        assert (sequences.action[:, own, action_dim:] == 0).all()
        # and not before
        assert (sequences.obs[:, own, :obs_dim].abs().amax((0, 1)) > 0).all()
        assert (sequences.action[:, own, :action_dim].abs().amax((0, 1)) > 0).all()


@pytest.mark.parametrize("policy", POLICIES)
def test_actions_are_0_beyond_a_tasks_own_with_and_without_noise(policy: str) -> None:
    agent = three_tasks(policy__kind=policy).agent
    generator = torch.Generator().manual_seed(0)
    for parameter in agent.policy.parameters():
        nn.init.normal_(parameter, generator=generator)
    task = torch.tensor([2, 0, 1])
    obs = np.random.default_rng(0).normal(size=(3, OBS)).astype(np.float32)
    for noise in (None, torch.randn(3, ACT)):
        action = agent.act(obs, task, noise)
        assert (action != 0).sum(1).tolist() == [6, 2, 1]
        assert (action[1, 2:] == 0).all() and (action[2, 1:] == 0).all()


def test_imagined_actions_are_0_beyond_a_tasks_own_and_have_no_entropy_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state = played(three_tasks(actor_batch_size=64))
    nn.init.normal_(state.agent.policy.mean[-1].weight, generator=torch.Generator().manual_seed(0))
    seen: list[tuple[Imagined, Tensor, Tensor]] = []
    imagine = updates.imagine

    def watch(*arguments) -> Imagined:
        seen.append((imagine(*arguments), *arguments[3:5]))
        return seen[-1][0]

    monkeypatch.setattr(updates, "imagine", watch)
    Alone(state).actor()
    ((imagined, e, mask),) = seen
    width = mask.sum(1).int()
    assert sorted(width.unique().tolist()) == [1, 2, 6]
    task = torch.tensor([{2: 0, 1: 1, 6: 2}[n] for n in width.tolist()])
    assert torch.equal(e, state.agent.world_model.embed(task))
    assert (imagined.pre_tanh[:, mask == 0] == 0).all()
    assert (imagined.pre_tanh[:, mask == 1].abs().amax(0) > 0).all()
    # a normal's entropy and log(1 - tanh^2), over a task's own components
    std = state.agent.policy.std().detach().double()
    log_slope = torch.log(1 - torch.tanh(imagined.pre_tanh.detach().double()) ** 2)
    each = log_slope + torch.log(std * math.sqrt(2 * math.pi * math.e))
    by_hand = torch.stack([each[:, i, : width[i]].sum(-1) for i in range(len(width))], dim=1)
    assert torch.allclose(imagined.entropy.detach().double(), by_hand, rtol=1e-4, atol=1e-4)


def test_what_a_task_does_not_have_teaches_the_policy_nothing() -> None:
    state = played(
        TrainState.start(
            tiny(
                "cartpole-swingup flow",
                world_model__task_set=THREE_TASKS,
                world_model__task_dim=4,
                actor_entropy_weight=1.0,
            )
        )
    )
    Alone(state).actor()
    last = state.agent.policy.mean[-1]
    for gradient in (last.weight.grad, last.bias.grad, state.agent.policy.log_std.grad):
        assert gradient is not None and len(gradient) == 6
        assert gradient[0].abs().max() > 0
        assert (gradient[1:] == 0).all()


def test_a_policy_of_one_task_learns_inside_a_model_of_several() -> None:
    """The second of three: its id is not 0, its sizes are not the widest."""
    config = tiny(
        "cartpole-swingup mlp",
        world_model__task_set=THREE_TASKS,
        world_model__task_dim=4,
        epochs=2,
        evaluation__episodes=2,
    )
    state = TrainState.start(config)
    before = state.agent.world_model.embedding.weight.detach().clone()
    reports = list(train(state))
    assert state.acting is not None
    assert state.acting.buffer.task.tolist() == [1] * 4
    assert state.acting.buffer.field("obs").shape[-1] == OBS
    changed = (state.agent.world_model.embedding.weight != before).any(1)
    assert changed.tolist() == [False, True, False]
    (evaluation,) = reports[-1].evaluations
    assert evaluation.task == "cartpole-swingup"
    assert (evaluation.n, evaluation.lengths.tolist()) == (2, [500, 500])


class ByHand:
    """Pushes along its observation, more for a later task: the same numbers in any batch."""

    def act(self, obs: np.ndarray, task: Tensor) -> Tensor:
        return torch.from_numpy(obs[:, :2]).clamp(-1, 1) / (1 + task[:, None])


def test_each_task_is_scored_as_it_would_be_alone() -> None:
    names = "reacher-easy+point-mass+cartpole-swingup"  # point-mass has the shortest episodes
    sizes = {"world_model__task_dim": 4, "evaluation__episodes": 2}
    together = Evaluator(tiny(names, num_envs=6, **sizes))(ByHand())
    assert [evaluation.task for evaluation in together] == names.split("+")
    assert [evaluation.lengths.tolist() for evaluation in together] == [
        [n] * 2 for n in (500, 64, 500)
    ]
    for evaluation in together:
        alone = tiny(evaluation.task, world_model__task_set=names, **sizes)
        (expected,) = Evaluator(alone)(ByHand())
        assert np.array_equal(evaluation.returns, expected.returns)
        assert np.array_equal(evaluation.lengths, expected.lengths)
        assert evaluation.protocol == expected.protocol
    assert len({evaluation.mean for evaluation in together}) == 3


def test_the_score_of_several_tasks_weighs_each_the_same() -> None:
    config = tiny(
        "point-mass+pendulum-spin",
        world_model__task_dim=4,
        epochs=1,
        evaluation__every=1,
        evaluation__episodes=2,
    )
    (report,) = train(TrainState.start(config))
    means = [evaluation.mean for evaluation in report.evaluations]
    assert len(means) == 2 and means[0] != means[1]
    assert report.score == pytest.approx(sum(means) / 2)
    assert report.return_mean == pytest.approx(sum(means) / 2)
