"""Networks of action values against plain torch networks, and that a seed's row stands alone."""

import math
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_seeds import Case, assert_rows_stand_alone, threads, vectors
from torch import nn
from torch.nn import functional

from rlrepro.agent import Setup
from rlrepro.agents.dqn import DQN
from rlrepro.agents.ppo import PPO
from rlrepro.networks import MLP, MinAtarCNN, NatureCNN, image_network, is_image
from rlrepro.optimisers import RAdam
from rlrepro.seeds import Stack
from rlrepro.streams import Streams
from rlrepro.value_networks import ValueNetwork, value_network

SEEDS = (3, 11, 42)
VECTOR, PLANES = Box(-9, 9, (5,), np.float32), Box(0, 1, (10, 10, 4), bool)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def planes(*shape: int, seed: int = 0) -> torch.Tensor:
    return normal(*shape, 10, 10, 4, seed=seed) > 0.5


def perturbed(network: ValueNetwork) -> Stack:
    """With biases, scales and shifts that matter, where nothing is padded."""
    stack = Stack(SEEDS, q=network)
    with torch.no_grad():
        for name, view in stack.named().items():
            if any(part in name for part in ("bias", "scale", "shift")) and view.count_nonzero() == view.numel():
                view.add_(0.3 * normal(*view.shape, seed=len(name)))
    return stack


def linear(p: dict[str, torch.Tensor], layer: str, x: torch.Tensor) -> torch.Tensor:
    return x @ p[f"weight_{layer}"] + p[f"bias_{layer}"]


def parameters_of(stack: Stack, row: int) -> dict[str, torch.Tensor]:
    return {name.removeprefix("q."): view[row].double().detach() for name, view in stack.named().items()}


def gradients(stack: Stack) -> dict[str, torch.Tensor]:
    other = stack.target_copy()
    other.load(stack.gradient)
    return other.named()


def test_plain_networks_are_those_that_they_always_were() -> None:
    assert isinstance(value_network(VECTOR, (8,), 3), MLP)
    assert type(value_network(PLANES, (8,), 3)) is MinAtarCNN
    assert type(value_network(Box(0, 255, (4, 84, 84), np.uint8), (8,), 3)) is NatureCNN


@pytest.mark.parametrize("atoms", [1, 5])
def test_dueling_streams_meet_as_in_equation_9(atoms: int) -> None:
    stack, x = perturbed(ValueNetwork(VECTOR, (12, 7), 3, atoms, dueling=True)), normal(3, 6, 5)
    out = stack.q(x).unflatten(-1, (3, atoms))
    for row in range(3):
        p = parameters_of(stack, row)
        torso = linear(p, "torso_0", x[row].double()).relu()
        value = linear(p, "value", linear(p, "value_hidden", torso).relu())[:, :atoms]
        advantage = linear(p, "advantage", linear(p, "advantage_hidden", torso).relu())[:, : 3 * atoms]
        for i in range(6):
            for a in range(3):
                for z in range(atoms):
                    every = [advantage[i, other * atoms + z] for other in range(3)]
                    expected = value[i, z] + every[a] - sum(every) / 3
                    assert out[row, i, a, z].item() == pytest.approx(expected.item(), rel=1e-4, abs=1e-5)
    (out - stack.q(x).unflatten(-1, (3, atoms)).mean(-2, keepdim=True)).square().sum().backward()
    value_gradient = gradients(stack)["q.weight_value"]
    assert value_gradient.abs().max() < 1e-4, "differences of actions do not move V"


def test_layer_norm_and_its_gradients_are_torch_s() -> None:
    stack, x = perturbed(ValueNetwork(VECTOR, (12, 8), 3, layer_norm=True)), normal(3, 6, 5)
    (stack.q(x) * normal(3, 6, 3, seed=1)).sum().backward()
    found = gradients(stack)
    for row in range(3):
        p = {name: value.requires_grad_() for name, value in parameters_of(stack, row).items()}
        y = x[row].double()
        for layer, width in (("torso_0", 12), ("q_hidden", 8)):
            y = functional.layer_norm(linear(p, layer, y), (width,), p[f"scale_{layer}"][0], p[f"shift_{layer}"][0])
            y = y.relu()
        y = linear(p, "q", y)[:, :3]
        (y * normal(3, 6, 3, seed=1)[row]).sum().backward()
        torch.testing.assert_close(stack.q(x)[row].detach().double(), y.detach(), rtol=1e-5, atol=1e-5)
        for name, value in p.items():
            torch.testing.assert_close(found[f"q.{name}"][row].double(), value.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layer_norm", [False, True])
def test_the_minatar_network_is_a_torch_network(layer_norm: bool) -> None:
    network = ValueNetwork(PLANES, (), 6, layer_norm=layer_norm) if layer_norm else image_network(PLANES, 6)
    stack, x = perturbed(network) if layer_norm else Stack(SEEDS, q=network), planes(3, 5)
    found = stack.q(x).detach().double()
    for row in range(3):
        p = parameters_of(stack, row)
        y = functional.conv2d(x[row].movedim(-1, -3).double(), p["conv_0"], p["conv_bias_0"])
        assert y.shape == (5, 16, 8, 8)
        if layer_norm:
            y = functional.layer_norm(y.flatten(1), (1024,), p["scale_conv_0"][0], p["shift_conv_0"][0])
        y = y.flatten(1).relu()
        if layer_norm:
            y = linear(p, "q_hidden", y)
            y = functional.layer_norm(y, (128,), p["scale_q_hidden"][0], p["shift_q_hidden"][0]).relu()
            y = linear(p, "q", y)[:, :6]
        else:
            y = linear(p, "1", linear(p, "0", y).relu())[:, :6]
        torch.testing.assert_close(found[row], y, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("space", "image"),
    [
        (PLANES, True),
        (Box(0, 1, (10, 10, 10), bool), True),
        (Box(0, 1, (10, 10, 7), np.float32), True),
        (Box(0, 1, (4, 10, 10), np.float64), True),
        (Box(0, 255, (7, 7, 3), np.uint8), True),
        (Box(-1, 1, (10, 10, 4), np.float32), False),
        (Box(0, 1, (24, 24, 7), np.float32), True),
        (Box(0, 1, (25, 25, 7), np.float32), False),
        (Box(0, 1, (84, 84, 3), np.float32), False),
        (Box(0, 1, (10, 10), bool), False),
        (Box(0, 9, (10, 10, 4), np.int64), False),
    ],
    ids=str,
)
def test_small_planes_are_images(space: gymnasium.Space[Any], image: bool) -> None:
    assert is_image(space) == image
    if image:
        first, last = (space.shape[0], space.shape[-1]) if space.shape[0] != 4 else (10, 4)
        assert image_network(space, 3).layout()["conv_0"] == (16, last, 3, 3)
        assert first in (7, 10, 24)


def test_agents_learn_from_planes() -> None:
    setup = Setup(PLANES, gymnasium.spaces.Discrete(3), SEEDS, 2, 1000)
    for agent in (DQN(setup, DQN.Config(learning_starts=0)), PPO(setup, PPO.Config())):
        action, _ = agent.act(planes(3, 2).numpy(), 999)
        assert action.shape == (3, 2)


# --- noise


def noisy(hidden: tuple[int, ...] = (6,), sigma: float = 0.5) -> tuple[ValueNetwork, Stack]:
    network = ValueNetwork(VECTOR, hidden, 3, sigma=sigma)
    return network, Stack(SEEDS, q=network)


def test_noisy_layers_are_equation_9_with_factorised_noise() -> None:
    network, stack = noisy()
    x, noise = normal(3, 4, 5), network.draw(Streams(SEEDS, "noise"))
    mean = stack.q(x).detach()
    stack.q.noise = noise
    found = stack.q(x).detach()
    assert not torch.equal(found, mean)
    for row in range(3):
        p, y = parameters_of(stack, row), x[row].double().numpy()
        for layer, (fan_in, fan_out) in {"q_hidden": (5, 6), "q": (6, 3)}.items():
            into, out = (noise[f"{end}_{layer}"][row].flatten().double().numpy() for end in ("in", "out"))
            z = np.zeros((4, fan_out))
            for i in range(4):
                for j in range(fan_out):
                    z[i, j] = p[f"bias_{layer}"][0, j] + p[f"sigma_bias_{layer}"][0, j] * out[j]
                    for k in range(fan_in):
                        weight = p[f"weight_{layer}"][k, j] + p[f"sigma_weight_{layer}"][k, j] * into[k] * out[j]
                        z[i, j] += weight * y[i, k]
            y = np.maximum(z, 0) if layer == "q_hidden" else z
        np.testing.assert_allclose(found[row], y, rtol=1e-4, atol=1e-5)
    stack.q.noise = {}
    assert torch.equal(stack.q(x).detach(), mean), "without noise the means act"


def test_noise_has_the_moments_of_signed_roots_and_is_a_seed_s_own() -> None:
    """E f(ε) = 0, E f(ε)² = E|ε| = √(2/π), E f(ε)⁴ = 1."""
    network, _ = noisy((64, 64))
    streams = Streams(SEEDS, "noise")
    draws = [network.draw(streams) for _ in range(150)]
    f = torch.cat([torch.cat([part.flatten(1) for part in draw.values()], 1) for draw in draws], 1).double()
    count = f.shape[1]
    for row in range(3):
        assert abs(f[row].mean()) < 4 * (2 / math.pi) ** 0.25 / math.sqrt(count)
        assert f[row].square().mean().item() == pytest.approx(math.sqrt(2 / math.pi), abs=4 * 0.61 / math.sqrt(count))
        assert f[row].pow(4).mean().item() == pytest.approx(1.0, abs=4 * 1.42 / math.sqrt(count))
    assert abs(np.corrcoef(f)[0, 1]) < 4 / math.sqrt(count)
    alone, again = Streams(SEEDS[1:2], "noise"), Streams(SEEDS, "noise")
    for _ in range(3):
        one, every = network.draw(alone), network.draw(again)
        assert all(torch.equal(one[name][0], every[name][1]) for name in one)


def test_each_of_several_samples_perturbs_its_own_row() -> None:
    network, stack = noisy((6,))
    x = normal(3, 4, 5)
    each = stack.q.noise = network.draw(Streams(SEEDS, "noise"), samples=4)
    together = stack.q(x)
    for row in range(4):
        stack.q.noise = {name: part[:, row : row + 1] for name, part in each.items()}
        torch.testing.assert_close(together[:, row], stack.q(x)[:, row])
        assert not torch.allclose(together[:, row], stack.q(x.roll(1, 1))[:, row])
    assert not torch.equal(each["in_q"][:, 0], each["in_q"][:, 1])


def test_noise_starts_at_sigma_over_the_root_of_fan_in_and_is_learnt() -> None:
    network, stack = noisy((6,), 0.4)
    named = stack.named()
    assert named["q.sigma_weight_q_hidden"][:, :5, :6].unique().tolist() == pytest.approx([0.4 / math.sqrt(5)])
    assert named["q.sigma_bias_q"][:, :, :3].unique().tolist() == pytest.approx([0.4 / math.sqrt(6)])
    assert named["q.weight_q_hidden"].abs().max() <= 1 / math.sqrt(5)
    assert not named["q.sigma_weight_q"][:, :, 3:].any()
    noise = network.draw(Streams(SEEDS, "noise"))
    stack.q.noise = noise
    stack.q(normal(3, 4, 5)).sum().backward()
    found = gradients(stack)
    for layer in ("q_hidden", "q"):  # ∂/∂σ = ε ∂/∂μ
        both = noise[f"in_{layer}"].mT * noise[f"out_{layer}"]
        torch.testing.assert_close(found[f"q.sigma_weight_{layer}"], both * found[f"q.weight_{layer}"])
        torch.testing.assert_close(found[f"q.sigma_bias_{layer}"], noise[f"out_{layer}"] * found[f"q.bias_{layer}"])
        assert found[f"q.sigma_weight_{layer}"].any()
    for name, value in found.items():
        if name.endswith("_q"):
            assert not value[..., 3:].any(), "the padding stays zero"


# --- alone and among others


WIDTHS = st.sampled_from([1, 2, 3, 7, 8, 17, 32, 50, 84, 120])


class WithNoise(ValueNetwork):
    """Draws its noise itself, as an agent would before each use."""

    def forward(self, bound: Any, x: torch.Tensor) -> torch.Tensor:
        if self.sigma:
            shape = x.shape[1:]
            seeds = [int(1e6 * abs(float(row.flatten()[0]))) for row in x.detach().float()]
            bound.noise = self.draw(Streams(seeds, "noise", *map(str, shape)))
        return super().forward(bound, x)


@settings(deadline=None, derandomize=True, max_examples=40)
@given(
    st.lists(WIDTHS, min_size=0, max_size=2),
    st.sampled_from([1, 3, 4, 6, 17]),
    st.sampled_from([(2, 1), (3, 1), (2, 51), (3, 21), (6, 11), (18, 5)]),
    st.sampled_from([1, 2, 5, 32, 33, 128]),
    st.sampled_from([2, 3, 10]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
@example([120, 84], 4, (2, 1), 128, 10, False, False, True)
@example([50, 26], 4, (2, 21), 33, 3, True, True, False)
@example([], 1, (2, 1), 32, 2, False, False, False)  # a product over one number
@example([], 1, (2, 1), 32, 2, True, True, False)
def test_a_step_of_any_value_network_is_the_same_alone_and_among_others(
    hidden: list[int],
    inputs: int,
    outputs: tuple[int, int],
    batch: int,
    height: int,
    dueling: bool,
    noise: bool,
    layer_norm: bool,
) -> None:
    space = Box(-9, 9, (inputs,), np.float32)

    def build() -> ValueNetwork:
        return WithNoise(space, hidden, *outputs, dueling=dueling, sigma=0.5 * noise, layer_norm=layer_norm)

    with threads(1):
        assert_rows_stand_alone(build, Case(vectors(inputs), batch, height))


@pytest.mark.parametrize(("channels", "batch"), [(4, 32), (7, 5), (10, 1)])
def test_a_step_of_the_minatar_networks_is_the_same_alone_and_among_others(channels: int, batch: int) -> None:
    def image(rng: np.random.Generator, count: int) -> np.ndarray:
        return rng.random((count, 10, 10, channels)) < 0.3

    space = Box(0, 1, (10, 10, channels), bool)
    with threads(1):
        assert_rows_stand_alone(lambda: image_network(space, 6), Case(image, batch, 2))
        assert_rows_stand_alone(
            lambda: ValueNetwork(space, (), 3, 5, dueling=True, layer_norm=True), Case(image, batch, 2)
        )


def test_radam_is_torch_s_on_each_seed_and_goes_on_from_its_state() -> None:
    stack = Stack(SEEDS, net=MLP((3, 50, 2)))
    ours = RAdam(stack, 3e-3)
    theirs = []
    for row in range(3):
        parameter = nn.Parameter(stack.matrix.detach()[row].clone())
        theirs.append((parameter, torch.optim.RAdam([parameter], lr=3e-3)))
    for step in range(12):  # rectified from the sixth on
        stack.gradient.copy_(normal(*stack.gradient.shape, seed=step))
        if step == 8:
            state = ours.get_state()
            ours = RAdam(stack, 3e-3)
            ours.set_state(state)
        ours.step(3e-3)
        for row, (parameter, optimiser) in enumerate(theirs):
            parameter.grad = stack.gradient[row].clone()
            optimiser.step()
            assert torch.equal(stack.matrix[row], parameter)
