"""Networks with a seed axis against one plain torch network for each seed."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete, Tuple
from torch import nn

from rlrepro.agent import UnsupportedSpace
from rlrepro.errors import Problem
from rlrepro.networks import (
    MLP,
    Constant,
    Convolutions,
    NatureCNN,
    Stacked,
    fan_in_uniform,
    features,
    features_on_host,
    is_image,
    no_image,
    num_features,
    orthogonal,
    tanh_,
)
from rlrepro.optimisers import Adam
from rlrepro.seeds import Stack
from rlrepro.value_networks import ValueNetwork

SEEDS = (3, 11, 42)
ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU}


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def close(found: torch.Tensor | None, expected: torch.Tensor | None) -> None:
    """Equal to 1e-5 of the largest number."""
    assert found is not None
    assert expected is not None
    assert found.shape == expected.shape
    worst, largest = (found - expected).abs().max().item(), expected.abs().max().item()
    assert worst <= 1e-5 * largest, f"off by {worst} where the largest is {largest}"


def used(stack: Stack, network: str, sizes: Sequence[int], layer: int, row: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A layer's weight `[in, out]` and bias `[out]` for one seed, padding left out."""
    named = stack.named()
    weight = named[f"{network}.weight_{layer}"][row, : sizes[layer], : sizes[layer + 1]]
    return weight, named[f"{network}.bias_{layer}"][row, 0, : sizes[layer + 1]]


def plain_mlp(stack: Stack, sizes: Sequence[int], activation: str, row: int) -> nn.Sequential:
    """The same network of one seed, by torch."""
    layers: list[nn.Module] = []
    for layer, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        linear = nn.Linear(fan_in, fan_out)
        weight, bias = used(stack, "net", sizes, layer, row)
        linear.weight.data, linear.bias.data = weight.T.clone(), bias.clone()
        layers += [linear, ACTIVATIONS[activation]()]
    return nn.Sequential(*layers[:-1])


def gradient_as_parameters(stack: Stack) -> Stack:
    """A stack whose parameters are the gradient, so that `named` cuts it up."""
    gradient = stack.target_copy()
    gradient.load(stack.gradient)
    return gradient


def mlp_stack(sizes: Sequence[int], activation: str = "tanh") -> Stack:
    stack = Stack(SEEDS, net=MLP(sizes, activation))
    for name, view in stack.named().items():
        if "bias" in name:  # orthogonal networks start from zero biases; these should matter
            view[..., : sizes[int(name[-1]) + 1]] = normal(*view.shape, seed=1)[..., : sizes[int(name[-1]) + 1]]
    return stack


SIZES = [(4, 64, 64, 1), (4, 64, 64, 2), (6, 50, 5), (3, 33, 7, 16), (17, 64, 17), (5, 2), (1, 8, 1)]


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("batch", [1, 32])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_mlp_equals_a_torch_network_per_seed(sizes: tuple[int, ...], batch: int, activation: str) -> None:
    stack = mlp_stack(sizes, activation)
    x, weight = normal(len(SEEDS), batch, sizes[0], seed=2), normal(len(SEEDS), batch, sizes[-1], seed=3).abs()
    ours = x.clone().requires_grad_()
    out = stack.net(ours)
    (out * weight).sum().backward()
    gradient = gradient_as_parameters(stack)
    with torch.no_grad():
        assert torch.equal(stack.net(x), out), "acting and learning see the same outputs"
    for row in range(len(SEEDS)):
        torch_net, plain = plain_mlp(stack, sizes, activation, row), x[row].clone().requires_grad_()
        expected = torch_net(plain)
        (expected * weight[row]).sum().backward()
        close(out[row].detach(), expected.detach())
        close(ours.grad[row], plain.grad)
        for layer, linear in enumerate(module for module in torch_net if isinstance(module, nn.Linear)):
            weight_gradient, bias_gradient = used(gradient, "net", sizes, layer, row)
            close(weight_gradient, linear.weight.grad.T)
            close(bias_gradient, linear.bias.grad)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("batch", [1, 8, 16, 17])
@pytest.mark.parametrize("sizes", [(4, 120, 84, 2), (3, 5, 7), (6, 1)])
def test_arrays_of_the_host_give_what_tensors_give(sizes: tuple[int, ...], batch: int, activation: str) -> None:
    stack = Stack(SEEDS, net=MLP(sizes, activation))
    x = normal(len(SEEDS), batch, sizes[0])
    with torch.no_grad():
        expected = stack.net(x)
    close(torch.from_numpy(stack.net.on_host(x.numpy())), expected)
    for parameter in stack.named().values():  # what NumPy sees are the parameters of now
        parameter.mul_(1.5)
    with torch.no_grad():
        moved = stack.net(x)
    close(torch.from_numpy(stack.net.on_host(x.numpy())), moved)
    assert not torch.equal(moved, expected)


@pytest.mark.parametrize("batch", [1, 4, 16])
def test_an_array_of_the_host_gives_a_seed_the_same_bits_alone_and_among_others(batch: int) -> None:
    sizes = (5, 120, 84, 3)
    x = normal(len(SEEDS), batch, sizes[0]).numpy()
    together = Stack(SEEDS, net=MLP(sizes, "relu")).net.on_host(x)
    for row, seed in enumerate(SEEDS):
        alone = Stack((seed,), net=MLP(sizes, "relu")).net.on_host(x[row : row + 1])
        assert np.array_equal(alone[0], together[row])


def test_the_layout_of_an_array_changes_no_bit() -> None:
    """An environment may give the transpose of its state; NumPy would sum that in another order for a lone seed."""
    sizes = (9, 64, 64, 2)
    x = np.random.default_rng(0).standard_normal((9, len(SEEDS), 1)).astype(np.float32).transpose(1, 2, 0)
    together = Stack(SEEDS, net=MLP(sizes, "tanh"))
    assert np.array_equal(together.net.on_host(x), together.net.on_host(np.ascontiguousarray(x)))
    for row, seed in enumerate(SEEDS):
        alone = Stack((seed,), net=MLP(sizes, "tanh")).net.on_host(x[row : row + 1])
        assert np.array_equal(alone[0], together.net.on_host(x)[row])


@pytest.mark.filterwarnings("error")
def test_a_network_that_diverged_acts_without_a_word() -> None:
    stack = Stack(SEEDS, net=MLP((3, 8, 2), "relu"))
    with torch.no_grad():
        stack.matrix.fill_(1e30)
        stack.matrix[:, 0] = torch.nan
    assert not np.isfinite(stack.net.on_host(np.ones((len(SEEDS), 1, 3), np.float32))).all()


def test_arrays_of_the_host_reach_networks_whose_inputs_are_padded_or_join_late() -> None:
    x = normal(len(SEEDS), 2, 7)
    for options in ({"input_gradient": True}, {"late": 2}, {"late": 2, "early": True}):
        stack = Stack(SEEDS, net=MLP((7, 8, 8, 1), "relu", **options))
        with torch.no_grad():
            close(torch.from_numpy(stack.net.on_host(x.numpy())), stack.net(x))


def test_gradients_add_up_where_a_network_is_called_twice() -> None:
    sizes = (4, 16, 3)
    stack = mlp_stack(sizes)
    x, y = normal(3, 8, 4, seed=2), normal(3, 5, 4, seed=3)
    (stack.net(x).square().sum() - 2 * stack.net(y).sum()).backward()
    gradient = gradient_as_parameters(stack)
    for row in range(len(SEEDS)):
        torch_net = plain_mlp(stack, sizes, "tanh", row)
        (torch_net(x[row]).square().sum() - 2 * torch_net(y[row]).sum()).backward()
        close(used(gradient, "net", sizes, 0, row)[0], torch_net[0].weight.grad.T)
        close(used(gradient, "net", sizes, 1, row)[1], torch_net[2].bias.grad)


def test_the_gradient_of_one_network_through_another() -> None:
    """As in an actor's loss: −Q(s, π(s)) by π's parameters, and by Q's."""
    stack = Stack(SEEDS, actor=MLP((4, 16, 2)), critic=MLP((2, 16, 1), "relu"))
    x = normal(3, 8, 4)
    stack.critic(stack.actor(x)).sum().backward()
    through = stack.gradient.clone()
    stack.gradient.zero_()
    action = stack.actor(x).detach().requires_grad_()
    stack.critic(action).sum().backward()
    stack.actor(x).backward(action.grad)
    assert torch.equal(stack.gradient, through)
    assert all((part != 0).any() for part in gradient_as_parameters(stack).named().values())


def test_a_target_copy_takes_no_gradient_and_passes_it_to_its_input() -> None:
    stack = mlp_stack((4, 16, 4))
    lagged = stack.target_copy()
    x = normal(3, 8, 4)
    assert torch.equal(lagged.net(x), stack.net(x))
    assert not lagged.net(x).requires_grad
    lagged.net(stack.net(x)).sum().backward()
    assert not lagged.gradient.any()
    assert stack.gradient.any(1).all()


def test_nothing_is_recorded_without_gradients() -> None:
    stack = Stack(SEEDS, dense=MLP((3, 5)), other=Stacked(lambda: nn.Linear(3, 5)), vector=Constant(2))
    with torch.no_grad():
        outputs = [stack.dense(normal(3, 2, 3)), stack.other(normal(3, 2, 3)), stack.vector(normal(3, 2, 3))]
    assert not any(out.requires_grad for out in outputs)


@pytest.mark.parametrize("sizes", [(4, 64, 64, 1), (6, 50, 5), (3, 33, 7, 17)], ids=str)
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_padding_stays_zero_in_training(sizes: tuple[int, ...], activation: str) -> None:
    stack = mlp_stack(sizes, activation)
    optimiser = Adam(stack, 0.1)
    start = stack.matrix.detach().clone()
    for step in range(5):
        stack.gradient.zero_()
        (stack.net(normal(3, 8, sizes[0], seed=step)) - 1).square().sum().backward()
        optimiser.step()
    assert (stack.matrix != start).any(1).all()
    for row in range(len(SEEDS)):
        for layer in range(len(sizes) - 1):
            for part in used(stack, "net", sizes, layer, row):
                assert part.any()
                part.zero_()
    assert not stack.matrix.any(), "a number outside the parameters moved away from zero"


def test_a_policy_of_another_shape_is_refused_in_one_line() -> None:
    """Of one input number an earlier version had one row, which would be copied into each of four."""
    stack = Stack([0, 1], net=MLP((1, 8, 2)))
    named = {name: value.clone() for name, value in stack.named().items()}
    named["net.weight_0"] = named["net.weight_0"][:, :1]
    with pytest.raises(Problem, match=r"net\.weight_0 is of shape \[2, 1, 8\], not \[2, 4, 8\]"):
        stack.load_named(named)
    wide = Stack([0, 1], net=MLP((1, 64, 2)))
    with pytest.raises(Problem, match=r"parameters are of shape \[2, \d+\], not \[2, \d+\]: the checkpoint is of "):
        wide.set_state(stack.get_state())


@pytest.mark.parametrize("inputs", [1, 2, 3])
def test_one_input_number_is_padded_and_more_are_not(inputs: int) -> None:
    """On every processor, also one whose products over one number are alike for one seed and several."""
    columns = {1: 4}.get(inputs, inputs)
    assert MLP((inputs, 16, 2)).layout()["weight_0"] == (columns, 16)
    space = Box(-1, 1, (inputs,), np.float32)
    for noisy in (False, True):
        layout = ValueNetwork(space, (), 2, sigma=0.5 * noisy).layout()
        rows = {name: shape[0] for name, shape in layout.items() if "weight" in name}
        assert rows == dict.fromkeys(["weight_q", "sigma_weight_q"][: 1 + noisy], columns)


def test_named_parameters_are_views_and_load_named_is_the_inverse() -> None:
    stack, other = mlp_stack((4, 16, 2)), Stack((7, 8, 9), net=MLP((4, 16, 2)))
    assert not torch.equal(other.matrix, stack.matrix)
    other.load_named({name: value.clone() for name, value in stack.named().items()})
    assert torch.equal(other.matrix, stack.matrix)
    stack.named()["net.weight_0"].zero_()
    x = normal(3, 2, 4)
    assert torch.equal(stack.net(x), stack.net(torch.zeros_like(x)))


class PlainNature(nn.Module):
    def __init__(self, channels: int, flat: int, out: int) -> None:
        super().__init__()
        self.conv_0, self.conv_1 = nn.Conv2d(channels, 32, 8, 4), nn.Conv2d(32, 64, 4, 2)
        self.conv_2, self.dense_0, self.dense_1 = nn.Conv2d(64, 64, 3, 1), nn.Linear(flat, 512), nn.Linear(512, out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x / 255.0
        for conv in (self.conv_0, self.conv_1, self.conv_2):
            x = conv(x).relu()
        return self.dense_1(self.dense_0(x.flatten(1)).relu())


def matching(network: PlainNature) -> dict[str, nn.Parameter]:
    """Our name of each parameter of the plain network."""
    return {
        **{f"net.conv_{i}": getattr(network, f"conv_{i}").weight for i in range(3)},
        **{f"net.conv_bias_{i}": getattr(network, f"conv_{i}").bias for i in range(3)},
        **{f"net.weight_{i}": getattr(network, f"dense_{i}").weight for i in range(2)},
        **{f"net.bias_{i}": getattr(network, f"dense_{i}").bias for i in range(2)},
    }


def as_torch_has_it(name: str, value: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """One seed's parameter as torch shapes it: a dense weight `[out, in]`, a bias `[out]`, padding left out."""
    if "weight" in name:
        return value[:, : shape[0]].T
    return value[0, : shape[0]] if value.dim() == 2 else value


@pytest.mark.parametrize("shape", [(4, 84, 84), (1, 36, 40), (36, 44, 3)], ids=["Atari", "one channel", "last"])
def test_nature_cnn_equals_a_torch_network_per_seed(shape: tuple[int, ...]) -> None:
    last = shape[-1] == 3
    stack = Stack(SEEDS, net=NatureCNN(shape, 6))
    images = torch.randint(256, (3, 2, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    weight = normal(3, 2, 6)
    out = stack.net(images)
    (out * weight).sum().backward()
    gradient = gradient_as_parameters(stack).named()
    channels = shape[-1] if last else shape[0]
    for row in range(len(SEEDS)):
        network = PlainNature(channels, stack.named()["net.weight_0"].shape[1], 6)
        for name, parameter in matching(network).items():
            parameter.data = as_torch_has_it(name, stack.named()[name][row], parameter.shape).clone()
        x = images[row].float()
        expected = network(x.permute(0, 3, 1, 2) if last else x)
        (expected * weight[row]).sum().backward()
        close(out[row].detach(), expected.detach())
        for name, parameter in matching(network).items():
            close(as_torch_has_it(name, gradient[name][row], parameter.shape), parameter.grad)


FIRST = [(4, 84, 84), (1, 36, 40), (3, 210, 160), (2, 84, 84), (4, 10, 10), (20, 7, 7), (40, 64, 64), (1, 5, 3),
         (6, 8, 10)]  # fmt: skip
LAST = [(84, 84, 4), (84, 84, 6), (36, 44, 3), (36, 36, 1), (210, 160, 3), (8, 10, 2), (7, 7, 20), (4, 4, 3),
        (8, 10, 6), (12, 10, 5), (6, 9, 5), (64, 64, 40), *((10, 10, planes) for planes in range(1, 15))]  # fmt: skip


@pytest.mark.parametrize("shape", [*FIRST, *LAST], ids=str)
def test_the_channels_of_an_image_are_told_by_its_shape(shape: tuple[int, ...]) -> None:
    assert Convolutions(shape, ((16, 3, 1),)).channels_last == (shape in LAST)


@pytest.mark.parametrize("shape", [(4, 5, 3), (5, 4, 3), (10, 12, 10), (64, 64, 64), (10, 6, 10)], ids=str)
def test_an_image_that_can_be_read_in_two_ways_is_refused_with_both(shape: tuple[int, ...]) -> None:
    a, b, c = shape
    with pytest.raises(UnsupportedSpace, match=f"{a} channels of {b} × {c}, or {c} channels of {a} × {b}"):
        Convolutions(shape, ((16, 3, 1),))


def test_nature_cnn_names_the_smallest_image() -> None:
    NatureCNN((4, 36, 36), 2)
    with pytest.raises(UnsupportedSpace, match="36 × 36"):
        NatureCNN((4, 35, 36), 2)


def test_nature_cnn_starts_orthogonal_where_its_head_has_a_gain() -> None:
    named = Stack(SEEDS, net=NatureCNN((1, 36, 36), 3, heads=[(3, 0.01)])).named()
    for row in range(len(SEEDS)):
        head = named["net.weight_1"][row, :, :3]
        close(head.T @ head, 0.01**2 * torch.eye(3))
        dense = named["net.weight_0"][row]
        close(dense @ dense.T, 2 * torch.eye(len(dense)))


def test_the_parts_of_a_head_have_gains_of_their_own() -> None:
    """As a policy's and a value's, which are drawn apart (Huang et al., 2022, detail 2)."""
    named = Stack(SEEDS, net=NatureCNN((1, 36, 36), 4, heads=[(3, 0.01), (1, 1.0)])).named()
    for row in range(len(SEEDS)):
        policy, value = named["net.weight_1"][row].split((3, 1, named["net.weight_1"].shape[-1] - 4), -1)[:2]
        close(policy.T @ policy, 0.01**2 * torch.eye(3))
        close(value.T @ value, torch.eye(1))


MODULES: dict[str, Callable[[], nn.Module]] = {
    "dense": lambda: nn.Sequential(nn.Linear(12, 9), nn.ELU(), nn.LayerNorm(9), nn.Linear(9, 2)),
    "convolution": lambda: nn.Sequential(nn.Unflatten(-1, (3, 4)), nn.Conv1d(3, 5, 2), nn.SiLU(), nn.Flatten()),
    "no bias": lambda: nn.Linear(12, 3, bias=False),
}


@pytest.mark.parametrize("kind", MODULES)
def test_stacked_equals_the_module_per_seed(kind: str) -> None:
    stack = Stack(SEEDS, net=Stacked(MODULES[kind]))
    x = normal(3, 7, 12)
    ours = x.clone().requires_grad_()
    out = stack.net(ours)
    out.square().sum().backward()
    gradient = gradient_as_parameters(stack).named()
    for row in range(len(SEEDS)):
        module, plain = MODULES[kind](), x[row].clone().requires_grad_()
        for name, parameter in module.named_parameters():
            parameter.data = stack.named()[f"net.{name}"][row].clone()
        expected = module(plain)
        expected.square().sum().backward()
        close(out[row].detach(), expected.detach())
        close(ours.grad[row], plain.grad)
        for name, parameter in module.named_parameters():
            close(gradient[f"net.{name}"][row], parameter.grad)


def test_stacked_adds_up_gradients_and_leaves_torch_s_own_numbers_alone() -> None:
    network = Stacked(MODULES["dense"])
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    stack = Stack(SEEDS, net=network)
    assert torch.equal(torch.rand(3), expected)
    assert len({tuple(row.tolist()) for row in stack.matrix.detach()}) == len(SEEDS), "each seed its own start"
    x = normal(3, 7, 12)
    stack.net(x).sum().backward()
    once = stack.gradient.clone()
    stack.net(x).sum().backward()
    assert torch.equal(stack.gradient, 2 * once)


@pytest.mark.parametrize("layer", [nn.BatchNorm1d(4), nn.Dropout(0.1), nn.AlphaDropout(0.1)], ids=str)
def test_stacked_refuses_buffers_and_dropout(layer: nn.Module) -> None:
    with pytest.raises(ValueError, match="Sequential has buffers or dropout"):
        Stacked(lambda: nn.Sequential(nn.Linear(4, 4), layer))


def test_stacked_refuses_randomness_in_forward() -> None:
    class Noisy(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.dropout(super().forward(x), 0.5)

    stack = Stack(SEEDS, net=Stacked(lambda: Noisy(3, 3)))
    with pytest.raises(RuntimeError, match="random"):
        stack.net(normal(3, 2, 3))


def test_constant_is_a_learnt_vector_that_depends_on_no_input() -> None:
    stack = Stack(SEEDS, net=Constant(3, start=-0.5))
    out = stack.net(normal(3, 7, 12))
    assert torch.equal(out.detach(), torch.full((3, 1, 3), -0.5))
    (out.expand(3, 7, 3) * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    close(gradient_as_parameters(stack).named()["net.value"], torch.tensor([7.0, 14.0, 21.0]).expand(3, 1, 3))


@pytest.mark.parametrize("shape", [(4, 64), (64, 64), (64, 2), (32, 4, 8, 8), (64, 1, 2, 2)], ids=str)
def test_orthogonal_is_orthogonal_with_its_gain(shape: tuple[int, ...]) -> None:
    weight, bias = np.empty(shape), np.ones(shape[-1])
    orthogonal(1.5)(weight, bias, np.random.default_rng(0))
    matrix = weight.reshape(len(weight), -1)
    if len(matrix) < matrix.shape[1]:
        matrix = matrix.T
    np.testing.assert_allclose(matrix.T @ matrix, 1.5**2 * np.eye(matrix.shape[1]), atol=1e-12)
    assert not bias.any()


def test_orthogonal_is_uniform_over_signs() -> None:
    """QR alone leaves the signs of R in Q (Mezzadri, 2007): the first entry would never be positive."""
    firsts = []
    for seed in range(200):
        weight = np.empty((5, 3))
        orthogonal(1.0)(weight, np.empty(3), np.random.default_rng(seed))
        firsts.append(weight[0, 0])
    assert 70 < sum(first > 0 for first in firsts) < 130


@pytest.mark.parametrize(("shape", "module"), [((40, 50), nn.Linear(40, 50)), ((32, 4, 5, 5), nn.Conv2d(4, 32, 5))])
def test_fan_in_uniform_fills_the_bounds_that_torch_has(shape: tuple[int, ...], module: nn.Module) -> None:
    weight, bias = np.empty(shape), np.empty(5000)
    fan_in_uniform(weight, bias, np.random.default_rng(0))
    bound = 1 / math.sqrt(40 if len(shape) == 2 else 100)
    theirs = module.weight.detach()
    assert bound == pytest.approx(theirs.abs().max().item(), rel=0.01)
    for values in (weight, bias):
        assert 0.99 * bound < np.abs(values).max() <= bound
        assert values.var() == pytest.approx(bound**2 / 3, rel=0.1)
        assert values.mean() == pytest.approx(0, abs=0.1 * bound)


def test_padding_does_not_count_as_fan_in() -> None:
    stack = Stack(range(20), net=MLP((100, 50, 3)))
    for layer, fan_in in enumerate((100, 50)):
        for row in range(20):
            for part in used(stack, "net", (100, 50, 3), layer, row):
                assert part.abs().max() <= 1 / math.sqrt(fan_in)
        assert stack.named()[f"net.weight_{layer}"].abs().max() > 0.99 / math.sqrt(fan_in)


def test_tanh_is_torch_s_in_place() -> None:
    x = torch.cat([normal(1000) * 3, torch.tensor([0.0, -0.0, 1e-30, 20.0, -20.0, math.inf, -math.inf])])
    expected = x.double().tanh()
    assert tanh_(x) is x
    torch.testing.assert_close(x.double(), expected, rtol=1e-6, atol=0)
    assert tanh_(torch.tensor([math.nan])).isnan().all()


def test_features_of_discrete_observations_are_one_hot_from_its_start() -> None:
    space = Discrete(3, start=5)
    assert num_features(space) == 3
    found = features(space, torch.tensor([[5, 7], [6, 5]]))
    assert torch.equal(found, torch.tensor([[[1.0, 0, 0], [0, 0, 1]], [[0, 1, 0], [1, 0, 0]]]))
    with pytest.raises(RuntimeError):
        features(space, torch.tensor([[8]]))


@pytest.mark.parametrize(
    ("shape", "dtype"), [((3,), np.float32), ((2, 3), np.float64), ((1,), np.int64), ((), np.float32)], ids=str
)
def test_features_of_a_box_are_flat_floats(shape: tuple[int, ...], dtype: type) -> None:
    space = Box(-9, 9, shape, dtype)
    obs = torch.arange(2 * 4 * math.prod(shape)).view(2, 4, *shape).to(torch.from_numpy(np.zeros(1, dtype)).dtype)
    found = features(space, obs)
    assert num_features(space) == math.prod(shape)
    assert torch.equal(found, torch.arange(obs.numel(), dtype=torch.float32).view(2, 4, -1))


@pytest.mark.parametrize(
    "space",
    [Box(-1, 1, (3,), np.float32), Box(-1, 1, (2, 3), np.float64), Box(0, 9, (3,), np.int64), Discrete(4, start=2)],
)
def test_features_on_the_host_are_those_of_tensors(space: gymnasium.Space) -> None:
    space.seed(0)
    obs = np.stack([np.stack([np.asarray(space.sample()) for _ in range(2)]) for _ in SEEDS])
    found, expected = features_on_host(space, obs), features(space, torch.from_numpy(obs))
    assert found.dtype == np.float32
    assert np.array_equal(found, expected.numpy())


@pytest.mark.parametrize(
    "space",
    [Dict(a=Discrete(2)), Tuple((Discrete(2), Discrete(2))), MultiDiscrete([2, 2])],
    ids=lambda s: type(s).__name__,
)
def test_other_observation_spaces_are_refused_by_name(space: gymnasium.Space) -> None:
    with pytest.raises(UnsupportedSpace, match=rf"not {type(space).__name__} .*FlattenObservation"):
        num_features(space)


def test_images_are_three_axes_of_bytes() -> None:
    assert is_image(Box(0, 255, (36, 36, 3), np.uint8))
    assert not is_image(Box(0, 255, (36, 36), np.uint8))
    screens = Box(0, 1, (36, 36, 3), np.float32)
    assert not is_image(screens)
    assert no_image(screens).startswith(
        "observations [36, 36, 3] of float32, which networks take for 3,888 numbers: images are three axes of uint8"
    )
    assert no_image(Box(0, 255, (84, 84), np.uint8)).startswith("observations [84, 84] of uint8, which networks take")
    images = Box(0, 255, (36, 36, 3), np.uint8), Box(0, 1, (4, 4, 2), np.float32)
    for space in (*images, Box(0, 1, (9,)), Box(0, 1, (84, 84)), Box(0, 255, (9, 9), np.uint8), Discrete(3)):
        assert no_image(space) == ""
    assert not is_image(Discrete(3))
