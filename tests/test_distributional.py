"""Targets and losses of distributions: C51's projection, the quantile Huber loss, PQN's λ-returns and its update."""

import copy
import math
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rlrepro.agent import Setup, Transition
from rlrepro.agents.c51 import C51
from rlrepro.agents.pqn import PQN
from rlrepro.agents.qrdqn import QRDQN
from rlrepro.agents.rainbow import Rainbow
from rlrepro.schedules import linear
from rlrepro.streams import Streams
from rlrepro.targets import categorical_projection, quantile_huber
from tests.agreement import close


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def algorithm_1(probs: np.ndarray, reward: float, discount: float, v_min: float, v_max: float) -> np.ndarray:
    """Bellemare et al. (2017), Algorithm 1, one atom at a time."""
    count = len(probs)
    spacing, m = (v_max - v_min) / (count - 1), np.zeros(count)
    for j in range(count):
        moved = min(max(reward + discount * (v_min + j * spacing), v_min), v_max)
        b = min((moved - v_min) / spacing, count - 1)
        lower, upper = math.floor(b), math.ceil(b)
        if lower == upper:  # the paper's line loses this mass
            m[lower] += probs[j]
        else:
            m[lower] += probs[j] * (upper - b)
            m[upper] += probs[j] * (b - lower)
    return m


@settings(deadline=None, max_examples=200)
@given(
    st.integers(2, 101),
    st.floats(-30, 30),
    st.sampled_from([0.0, 0.5, 0.9, 0.99**3, 1.0]),
    st.floats(-20, 5),
    st.floats(0.5, 40),
    st.integers(0, 2**31),
)
def test_the_projection_equals_algorithm_1(
    count: int, reward: float, discount: float, v_min: float, span: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet(np.full(count, 0.3))
    rewards = np.array([reward, 0.0, round(reward), rng.normal()])
    found = categorical_projection(
        torch.from_numpy(np.tile(probs, (2, 2, 1))).float(),
        torch.from_numpy(rewards).view(2, 2).float(),
        torch.full((2, 2), discount),
        v_min,
        v_min + span,
    ).view(4, count)
    atoms = np.linspace(v_min, v_min + span, count)
    for row, one in enumerate(rewards):
        expected = algorithm_1(probs, one, discount, v_min, v_min + span)
        # float32: a place's error times the number of atoms
        np.testing.assert_allclose(found[row], expected, atol=3e-5 * (1 + 100 / span))
        assert found[row].sum() == pytest.approx(1.0, abs=1e-5), "mass is conserved"
        assert (found[row] >= -1e-6).all()
        if atoms[0] <= one + discount * atoms[0] and one + discount * atoms[-1] <= atoms[-1]:
            mean = (found[row].double().numpy() * atoms).sum()
            assert mean == pytest.approx(one + discount * (probs * atoms).sum(), abs=1e-3), "so is the mean, unclipped"


def test_the_projection_worked_by_hand() -> None:
    """Atoms −1, 0, 1; r = ¼, γ = ½: they move to −¼, ¼, ¾. Terminated: all to ¼. Far away: all to the last atom."""
    probs = torch.tensor([[0.2, 0.3, 0.5]]).expand(3, 3)
    reward, discount = torch.tensor([0.25, 0.25, 50.0]), torch.tensor([0.5, 0.0, 0.5])
    found = categorical_projection(probs, reward, discount, -1.0, 1.0)
    expected = [[0.05, 0.15 + 0.225 + 0.125, 0.075 + 0.375], [0.0, 0.75, 0.25], [0.0, 0.0, 1.0]]
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.agrees("c51", "a float64 loop")
def test_c51_s_loss_equals_a_loop() -> None:
    """With termination, truncation, a target network that is another, and its own choice of a*."""
    agent = C51(
        Setup(gymnasium.spaces.Box(-1, 1, (3,)), gymnasium.spaces.Discrete(3), (1, 2), 1, 1000),
        C51.Config(num_atoms=11, v_min=-4, v_max=4, min_prob=0.0, gamma=0.9),
    )
    with torch.no_grad():
        agent.online.matrix.mul_(3.0)
        agent.target.matrix.add_(torch.randn(agent.target.matrix.shape, generator=torch.Generator().manual_seed(1)))
    rng = np.random.default_rng(0)
    obs, next_obs = (torch.from_numpy(rng.standard_normal((2, 16, 3), np.float32)) for _ in range(2))
    action, ends = torch.from_numpy(rng.integers(0, 3, (2, 16))), torch.from_numpy(rng.random((2, 2, 16)) < 0.3)
    batch = Transition(obs, action, torch.from_numpy(rng.standard_normal((2, 16), np.float32)), next_obs, *ends, {})
    loss, metrics = agent.loss(batch)
    atoms = np.linspace(-4, 4, 11)

    def probabilities(stack: Any, obs: torch.Tensor) -> np.ndarray:
        with torch.no_grad():
            logits = stack.q(obs).view(2, 16, 3, 11).double().numpy()
        return np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)

    now, later = probabilities(agent.online, obs), probabilities(agent.target, next_obs)
    for row in range(2):
        total, value = 0.0, 0.0
        for i in range(16):
            best = int((later[row, i] @ atoms).argmax())
            discount = 0.0 if batch.terminated[row, i] else 0.9
            m = algorithm_1(later[row, i, best], batch.reward[row, i].item(), discount, -4, 4)
            p = now[row, i, action[row, i]]
            total, value = total - (m * np.log(p)).sum(), value + p @ atoms
        close("loss", loss[row], total / 16)
        assert metrics["losses/q_values"][row].item() == pytest.approx(value / 16, rel=1e-4, abs=1e-5)


@pytest.mark.agrees("c51", "PyTorch's modules")
@pytest.mark.parametrize(("max_grad_norm", "min_prob"), [(0.0, 1e-5), (0.1, 1e-5), (0.0, 0.08)])
def test_c51_s_updates_equal_those_of_plain_modules(max_grad_norm: float, min_prob: float) -> None:
    """Six steps of Adam, with copies to the target among them, against modules in float64 and Algorithm 1 in loops.

    Of 11 atoms about half have a probability below 0.08.
    """
    seeds, size = (1, 2), 12
    config = C51.Config(
        num_atoms=11, v_min=-4, v_max=4, gamma=0.9, hidden=(8, 8), learning_rate=0.01, max_grad_norm=max_grad_norm,
        min_prob=min_prob, learning_starts=0, train_every=1, target_every=3,
    )  # fmt: skip
    agent = C51(Setup(gymnasium.spaces.Box(-1, 1, (3,)), gymnasium.spaces.Discrete(3), seeds, 1, 1000), config)
    models = [
        nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 33)).double() for _ in seeds
    ]

    def parameters(row: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for layer, dense in enumerate(models[row][::2]):
            fan_out, fan_in = dense.weight.shape
            yield agent.online.named()[f"q.weight_{layer}"][row, :fan_in, :fan_out], dense.weight.detach().T
            yield agent.online.named()[f"q.bias_{layer}"][row, 0, :fan_out], dense.bias.detach()

    for row in range(len(seeds)):
        for mine, theirs in parameters(row):
            theirs.copy_(mine)
    targets = copy.deepcopy(models)
    optimisers = [torch.optim.Adam(model.parameters(), 0.01, eps=config.adam_eps) for model in models]
    rng, atoms, clipped_places = np.random.default_rng(0), np.linspace(-4, 4, 11), 0
    for step in range(6):
        obs, next_obs = (torch.from_numpy(rng.standard_normal((2, size, 3), np.float32)) for _ in range(2))
        action, ends = torch.from_numpy(rng.integers(0, 3, (2, size))), torch.from_numpy(rng.random((2, 2, size)) < 0.3)
        reward = torch.from_numpy(rng.standard_normal((2, size), np.float32))
        agent.update(Transition(obs, action, reward, next_obs, *ends, {}), step)
        for row, model in enumerate(models):
            log_p = torch.log_softmax(model(obs[row].double()).view(size, 3, 11), -1)
            later = torch.softmax(targets[row](next_obs[row].double()).view(size, 3, 11), -1).detach().numpy()
            loss = torch.zeros((), dtype=torch.float64)
            for i in range(size):
                discount = 0.0 if ends[0, row, i] else 0.9
                m = algorithm_1(later[i, int((later[i] @ atoms).argmax())], reward[row, i].item(), discount, -4, 4)
                p = log_p[i, action[row, i]].exp()
                clipped = p.clamp(min_prob, 1 - min_prob).log()
                clipped_places += int((p < min_prob).sum())
                loss = loss - (torch.from_numpy(m) * clipped).sum() / size
            optimisers[row].zero_grad()
            loss.backward()
            if max_grad_norm:
                assert nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm).item() > max_grad_norm
            optimisers[row].step()
            if (step + 1) % 3 == 0:
                targets[row].load_state_dict(model.state_dict())
            for mine, theirs in parameters(row):
                close("weights", mine, theirs)
    assert (clipped_places > 0) == (min_prob == 0.08)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from([0.0, 0.3, 1.0, 2.5]), st.integers(0, 2**31))
def test_the_quantile_huber_loss_and_its_gradient_equal_a_loop(n: int, m: int, kappa: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    theta, target, weight = rng.normal(size=(2, 3, n)), rng.normal(0, 2, (2, 3, m)), rng.random((2, 3))
    quantiles = torch.from_numpy(theta).requires_grad_()
    loss = quantile_huber(quantiles, torch.from_numpy(target), kappa)
    (loss * torch.from_numpy(weight)).sum().backward()
    for s in range(2):
        for b in range(3):
            total, slope = 0.0, np.zeros(n)
            for i in range(n):
                tau = (2 * i + 1) / (2 * n)
                for j in range(m):
                    u = target[s, b, j] - theta[s, b, i]
                    share = abs(tau - (u < 0)) / m
                    small = abs(u) <= kappa
                    total += share * (abs(u) if kappa == 0 else u * u / 2 if small else kappa * (abs(u) - kappa / 2))
                    slope[i] -= share * (np.sign(u) if kappa == 0 else u if small else kappa * np.sign(u))
            assert loss[s, b].item() == pytest.approx(total, rel=1e-9)
            np.testing.assert_allclose(quantiles.grad[s, b], weight[s, b] * slope, rtol=1e-6, atol=1e-9)


def test_the_quantile_loss_is_least_at_the_quantiles() -> None:
    """Of 0, 1, …, 99 with N = 4: 12, 37, 62 and 87 (τ̂ = ⅛, ⅜, ⅝, ⅞), to the nearest sample."""
    target = torch.arange(100.0).view(1, 1, 100)
    theta = torch.full((1, 1, 4), 50.0)
    for step in range(1500):
        theta.requires_grad_()
        quantile_huber(theta, target, 0.0).sum().backward()
        theta = (theta - 8 * 0.995**step * theta.grad).detach()
    np.testing.assert_allclose(theta.flatten(), [12, 37, 62, 87], atol=1.0)


@pytest.mark.agrees("qrdqn", "a float64 loop")
def test_qrdqn_s_loss_equals_a_loop() -> None:
    """The target network's own greedy action, targets without a successor where terminated, and mean quantiles."""
    rng, (size, num_actions, count, seeds) = np.random.default_rng(0), (12, 3, 5, (1, 2))
    agent = QRDQN(
        Setup(gymnasium.spaces.Box(-1, 1, (3,)), gymnasium.spaces.Discrete(num_actions), seeds, 1, 1000),
        QRDQN.Config(num_quantiles=count, gamma=0.9, kappa=0.5, hidden=(8,)),
    )
    agent.target.matrix.add_(0.3 * torch.randn_like(agent.target.matrix))
    obs, next_obs = torch.from_numpy(rng.standard_normal((2, 2, size, 3), np.float32))
    action, reward = torch.from_numpy(rng.integers(0, num_actions, (2, size))), torch.randn(2, size)
    ends = torch.from_numpy(rng.random((2, 2, size)) < 0.3)
    with torch.no_grad():
        online, target = (
            stack.q(x).view(2, size, num_actions, count).double().numpy()
            for stack, x in ((agent.online, obs), (agent.target, next_obs))
        )
    loss, metrics = agent.loss(Transition(obs, action, reward, next_obs, *ends, {}))
    for s in range(2):
        total = value = 0.0
        for b in range(size):
            theta, best = online[s, b, action[s, b]], max(range(num_actions), key=lambda a: target[s, b, a].sum())
            value += theta.sum() / count / size
            for i in range(count):
                for j in range(count):
                    u = reward[s, b].item() + (0.0 if ends[0, s, b] else 0.9 * target[s, b, best, j]) - theta[i]
                    huber = u * u / 2 if abs(u) <= 0.5 else 0.5 * (abs(u) - 0.25)
                    total += abs((2 * i + 1) / (2 * count) - (u < 0)) * huber / count / size
        close("loss", loss[s], total)
        close("Q", metrics["losses/q_values"][s], value, 1.0)
    assert torch.equal(metrics["losses/loss"], loss.detach())


# --- Rainbow


@pytest.mark.agrees("rainbow", "a float64 loop")
def test_rainbow_s_loss_equals_a_loop() -> None:
    """Double choice, discount, projection, KL and weights from the networks' probabilities, each with its own noise.

    Dueling streams and noisy layers have tests of their own (test_value_networks.py).
    """
    rng, (size, num_actions, seeds) = np.random.default_rng(0), (12, 3, (1, 2))
    config = Rainbow.Config(num_atoms=11, v_min=-3.0, v_max=3.0, hidden=(8, 8))
    agent = Rainbow(
        Setup(gymnasium.spaces.Box(-1, 1, (3,)), gymnasium.spaces.Discrete(num_actions), seeds, 1, 1000), config
    )
    agent.target.matrix.add_(0.3 * torch.randn_like(agent.target.matrix))
    obs, next_obs = torch.from_numpy(rng.standard_normal((2, 2, size, 3), np.float32))
    action, reward = torch.from_numpy(rng.integers(0, num_actions, (2, size))), torch.randn(2, size)
    discount, weight = torch.rand(2, size), torch.rand(2, size)
    terminated = torch.from_numpy(rng.random((2, size)) < 0.3)
    extras = {"discount": discount, "weight": weight}
    batch = Transition(obs, action, reward, next_obs, terminated, torch.zeros_like(terminated), extras)
    noise = copy.deepcopy(agent.layer_noise)
    loss, metrics = agent.loss(batch)
    with torch.no_grad():  # in the order in which the loss draws its noise
        chooses = agent.log_probs(agent.online, next_obs, noise).double().exp().numpy()
        values = agent.log_probs(agent.target, next_obs, noise).double().exp().numpy()
        predicted = agent.log_probs(agent.online, obs, noise).double().numpy()
    assert not np.allclose(chooses, values)
    atoms, expected = np.linspace(-3, 3, 11), np.zeros((2, size))
    for s in range(2):
        for i in range(size):
            best = max(range(num_actions), key=lambda a: float(chooses[s, i, a] @ atoms))
            gamma = 0.0 if terminated[s, i] else discount[s, i].item()
            m = algorithm_1(values[s, i, best], reward[s, i].item(), gamma, -3.0, 3.0)
            log_p = predicted[s, i, action[s, i]]
            expected[s, i] = sum(m[j] * (math.log(m[j]) - log_p[j]) for j in range(11) if m[j] > 0)
    close("KL", metrics["error"], expected)
    taken = [[np.exp(predicted[s, i, action[s, i]]) @ atoms for i in range(size)] for s in range(2)]
    close("Q", metrics["losses/q_values"], np.mean(taken, 1))
    close("loss", loss, (expected * weight.numpy()).mean(1))


@pytest.mark.agrees("rainbow", "PyTorch's modules")
def test_rainbow_s_updates_equal_those_of_plain_tensors() -> None:
    """Five clipped steps of Adam on noisy dueling networks: W = μ + σ ⊙ f(ε_in) f(ε_out)ᵀ in whole, in float64."""
    seeds, size, num_actions, num_atoms = (1, 2), 12, 3, 11
    config = Rainbow.Config(
        num_atoms=num_atoms, v_min=-3.0, v_max=3.0, hidden=(8, 8), learning_rate=0.01, max_grad_norm=0.05, sigma=0.5
    )
    agent = Rainbow(
        Setup(gymnasium.spaces.Box(-1, 1, (3,)), gymnasium.spaces.Discrete(num_actions), seeds, 1, 1000), config
    )

    def parameters(row: int) -> dict[str, torch.Tensor]:
        named = agent.online.named().items()
        return {name.removeprefix("q."): view[row].double().clone().requires_grad_() for name, view in named}

    def log_probs(p: Any, noise: Any, row: int, x: torch.Tensor) -> torch.Tensor:
        def dense(layer: str, x: torch.Tensor) -> torch.Tensor:
            into, out = noise[f"in_{layer}"][row].double(), noise[f"out_{layer}"][row].double()
            weight = p[f"weight_{layer}"] + p[f"sigma_weight_{layer}"] * (into.T @ out)
            return x @ weight + p[f"bias_{layer}"] + p[f"sigma_bias_{layer}"] * out

        x = dense("torso_0", x.double()).relu()
        value = dense("value", dense("value_hidden", x).relu())[:, :num_atoms]
        advantage = dense("advantage", dense("advantage_hidden", x).relu())[:, : num_actions * num_atoms]
        advantage = advantage.view(size, num_actions, num_atoms)
        return torch.log_softmax(value[:, None] + advantage - advantage.mean(1, keepdim=True), -1)

    models, targets = [parameters(row) for row in range(2)], [parameters(row) for row in range(2)]
    optimisers = [torch.optim.Adam(list(one.values()), 0.01, eps=config.adam_eps) for one in models]
    rng, atoms = np.random.default_rng(0), np.linspace(-3, 3, num_atoms)
    for _ in range(5):
        obs, next_obs = torch.from_numpy(rng.standard_normal((2, 2, size, 3), np.float32))
        action = torch.from_numpy(rng.integers(0, num_actions, (2, size)))
        reward, discount, weight = torch.from_numpy(rng.random((3, 2, size), np.float32))
        terminated = torch.from_numpy(rng.random((2, size)) < 0.3)
        extras = {"discount": discount, "weight": weight}
        streams = copy.deepcopy(agent.layer_noise)
        chooses, values, learns = (agent.network.draw(streams) for _ in range(3))
        ends = terminated, torch.zeros_like(terminated)
        agent.gradient_step(Transition(obs, action, reward, next_obs, *ends, extras))
        for row, p in enumerate(models):
            chosen = log_probs(p, chooses, row, next_obs[row]).exp().detach().numpy()
            later = log_probs(targets[row], values, row, next_obs[row]).exp().detach().numpy()
            log_p = log_probs(p, learns, row, obs[row])
            loss = torch.zeros((), dtype=torch.float64)
            for i in range(size):
                gamma = 0.0 if terminated[row, i] else discount[row, i].item()
                best = int((chosen[i] @ atoms).argmax())
                m = torch.from_numpy(algorithm_1(later[i, best], reward[row, i].item(), gamma, -3.0, 3.0))
                loss = loss - weight[row, i] * (m * log_p[i, action[row, i]]).sum() / size
            optimisers[row].zero_grad()
            loss.backward()
            assert nn.utils.clip_grad_norm_(list(p.values()), 0.05).item() > 0.05
            optimisers[row].step()
            for name, view in agent.online.named().items():
                close(name, view[row], p[name.removeprefix("q.")])


def test_rainbow_acts_at_random_until_it_learns_and_then_by_its_noise() -> None:
    config = Rainbow.Config(num_atoms=11, v_min=-3.0, v_max=3.0, hidden=(8, 8), learning_starts=6)
    agent = Rainbow(Setup(gymnasium.spaces.Box(-1, 1, (3,)), gymnasium.spaces.Discrete(3), (1, 2), 900, 9000), config)
    obs = np.broadcast_to(np.float32([0.5, -1.0, 0.25]), (2, 900, 3)).copy()
    with torch.no_grad():
        logits = agent.online.q(torch.from_numpy(obs)).view(2, 900, 3, 11).double()
    means = (torch.softmax(logits, -1).numpy() @ np.linspace(-3, 3, 11)).argmax(-1)
    assert (agent.predict(obs, Streams((1, 2), "evaluation"), True) == means).all()
    before, after = (agent.act(obs, step)[0] for step in (5, 6))
    for row in range(2):
        assert np.abs(np.bincount(before[row], minlength=3) - 300).max() < 5 * 300**0.5
        share = (after[row] == means[row]).mean()
        assert 0.4 < share < 1
        explored = agent.predict(obs, Streams((1, 2), "evaluation"), False)[row]
        assert (explored == means[row]).mean() == pytest.approx(share, abs=0.1)


def test_rainbow_s_seeds_learn_by_noise_of_their_own_that_goes_on_from_a_checkpoint() -> None:
    setup = Setup(gymnasium.spaces.Box(-1, 1, (3,)), gymnasium.spaces.Discrete(3), (1, 2), 1, 1000)
    agent, again = (Rainbow(setup, Rainbow.Config(num_atoms=11, hidden=(8,))) for _ in range(2))
    first = agent.layer_noise.normal(4)
    assert (first[0] != first[1]).all()
    again.set_state(agent.get_state())
    np.testing.assert_array_equal(agent.layer_noise.normal(4), again.layer_noise.normal(4))


# --- PQN


@pytest.mark.agrees("pqn", "a float64 loop")
@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**31), st.sampled_from([0.0, 0.65, 1.0]), st.booleans())
def test_pqn_s_returns_equal_a_loop(seed: int, q_lambda: float, across: bool) -> None:
    rng, (length, num_envs) = np.random.default_rng(seed), (6, 2)
    agent = PQN(
        Setup(gymnasium.spaces.Box(-1, 1, (3,)), gymnasium.spaces.Discrete(4), (1, 2), num_envs, 1000),
        PQN.Config(num_steps=length, num_minibatches=1, q_lambda=q_lambda, across_episodes=across, hidden=(8,)),
    )
    obs = torch.from_numpy(rng.standard_normal((2, length, num_envs, 3), np.float32))
    reward = torch.from_numpy(rng.standard_normal((2, length, num_envs), np.float32))
    ends = torch.from_numpy(rng.random((2, 2, length, num_envs)) < 0.3)
    found = agent.returns(Transition(obs, None, reward, obs + 0.1, *ends, {}))
    with torch.no_grad():
        best = agent.q_values((obs + 0.1).flatten(1, 2)).amax(-1).view(reward.shape).double().numpy()
    terminated, truncated = ends.numpy()
    expected = np.zeros(reward.shape)
    for s in range(2):
        for env in range(num_envs):
            following = 0.0
            for t in reversed(range(length)):
                at, last = (s, t, env), t == length - 1
                ended = terminated[at] or truncated[at]
                if across:  # CleanRL's file
                    value = 0.0 if ended else best[at]
                    tail = value if last else q_lambda * following + (1 - q_lambda) * value
                elif terminated[at]:
                    tail = 0.0
                elif truncated[at] or last:
                    tail = best[at]
                else:
                    tail = (1 - q_lambda) * best[at] + q_lambda * following
                following = reward[at].item() + 0.99 * tail
                expected[at] = following
    close("returns", found, expected)


@pytest.mark.parametrize("first_weights", ["orthogonal", "uniform"])
def test_pqn_starts_from_orthogonal_weights_and_no_biases_or_from_torch_s(first_weights: str) -> None:
    """Orthogonal: the rows of a wide weight, or the columns of a high one, are of length √2 and at right angles."""
    agent = PQN(
        Setup(gymnasium.spaces.Box(-1, 1, (3,)), gymnasium.spaces.Discrete(4), (1, 2), 1, 1000),
        PQN.Config(hidden=(16, 8), first_weights=first_weights),
    )
    for layer, fan_in, fan_out in (("torso_0", 3, 16), ("q_hidden", 16, 8), ("q", 8, 4)):
        weight = agent.online.named()[f"q.weight_{layer}"][:, :fan_in, :fan_out].double()
        bias = agent.online.named()[f"q.bias_{layer}"][:, 0, :fan_out]
        product = weight @ weight.mT if fan_in < fan_out else weight.mT @ weight
        two = 2 * torch.eye(min(fan_in, fan_out), dtype=torch.float64).expand_as(product)
        if first_weights == "orthogonal":
            close(layer, product, two)
            assert not bias.any()
        else:
            assert 0.8 / fan_in**0.5 < weight.abs().max() <= 1 / fan_in**0.5
            assert bias.all()
            assert bias.abs().max() <= 1 / fan_in**0.5


@pytest.mark.agrees("pqn", "PyTorch's modules")
@pytest.mark.parametrize("optimiser", ["radam", "adam"])
def test_pqn_s_update_equals_one_of_plain_modules(optimiser: str) -> None:
    """Three rollouts, 24 steps down the gradient, past RAdam's sixth, at which it begins to rectify."""
    rng, length, num_envs, seeds = np.random.default_rng(0), 16, 2, (1, 2)
    config = PQN.Config(num_steps=length, num_epochs=2, hidden=(10, 6), optimiser=optimiser, learning_rate=0.01)
    setup = Setup(gymnasium.spaces.Box(-1, 1, (3,)), gymnasium.spaces.Discrete(4), seeds, num_envs, 1000)
    agent = PQN(setup, config)
    shape = len(seeds), length, num_envs
    orders = copy.deepcopy(agent.order)
    models = [
        nn.Sequential(
            nn.Linear(3, 10), nn.LayerNorm(10), nn.ReLU(), nn.Linear(10, 6), nn.LayerNorm(6), nn.ReLU(), nn.Linear(6, 4)
        )
        for _ in seeds
    ]
    layers = {"torso_0": (0, 1), "q_hidden": (3, 4), "q": (6, None)}

    def parameters(row: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Ours, the padding left out, and the module's, `[out, in]` turned."""
        named = {name: values[row] for name, values in agent.online.named().items()}
        for layer, (dense, norm) in layers.items():
            module = models[row][dense]
            fan_out, fan_in = module.weight.shape
            yield named[f"q.weight_{layer}"][:fan_in, :fan_out], module.weight.detach().T
            yield named[f"q.bias_{layer}"][0, :fan_out], module.bias.detach()
            if norm is not None:
                yield named[f"q.scale_{layer}"][0], models[row][norm].weight.detach()
                yield named[f"q.shift_{layer}"][0], models[row][norm].bias.detach()

    for row in range(len(seeds)):
        for mine, theirs in parameters(row):
            mine.add_(0.1 * torch.randn_like(mine))  # layers' biases and norms are 0 and 1 at first
            theirs.copy_(mine)
    cls = {"radam": torch.optim.RAdam, "adam": torch.optim.Adam}[optimiser]
    optimisers = [cls(model.parameters(), lr=config.learning_rate) for model in models]
    clipped, norm = 0, config.max_grad_norm
    for iteration in range(3):
        obs = torch.from_numpy(rng.standard_normal((*shape, 3), np.float32))
        next_obs = torch.from_numpy(rng.standard_normal((*shape, 3), np.float32))
        reward = 5 * torch.from_numpy(rng.standard_normal(shape, np.float32))
        action = torch.from_numpy(rng.integers(0, 4, shape))
        ends = torch.from_numpy(rng.random((2, *shape)) < 0.1)
        batch = Transition(obs, action, reward, next_obs, *ends, {})
        returns = agent.returns(batch)  # equal a loop by the test above
        first_step = iteration * length * num_envs
        metrics = agent.update(batch, first_step + (length - 1) * num_envs)
        for row, permutations in enumerate(orders.permutations(config.num_epochs, length * num_envs)):
            rate = linear(config.learning_rate, 0.0, 1000, first_step)
            for index in permutations.reshape(-1, agent.minibatch_size):
                optimisers[row].param_groups[0]["lr"] = rate
                q = models[row](obs[row].flatten(0, 1)[index])
                q = q.gather(1, action[row].flatten()[index].unsqueeze(1)).squeeze(1)
                optimisers[row].zero_grad()
                loss = nn.functional.mse_loss(q, returns[row].flatten()[index])
                loss.backward()
                clipped += nn.utils.clip_grad_norm_(models[row].parameters(), norm).item() > norm
                optimisers[row].step()
            for mine, theirs in parameters(row):
                close("weights", mine, theirs)
            assert metrics["losses/td_loss"][row].item() == pytest.approx(loss.item(), rel=1e-4)
            assert metrics["losses/q_values"][row].item() == pytest.approx(q.mean().item(), rel=1e-4, abs=1e-4)
            assert metrics["charts/learning_rate"][row].item() == pytest.approx(rate)
    assert 0 < clipped < 48
