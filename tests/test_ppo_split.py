"""PPO with a critic fitted by itself: one update against plain torch in float64, and what makes it itself."""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from torch import nn

from rlrepro.agent import Setup, Transition, UnsupportedSpace
from rlrepro.agents.ppo_split import PPOSplit
from rlrepro.memory import epochs
from rlrepro.networks import xavier_uniform
from rlrepro.seeds import Stack
from rlrepro.streams import Streams
from tests.agreement import close

pytestmark = pytest.mark.usefixtures("one_thread")

SEEDS = (1, 2, 3)
NUM_STEPS, NUM_ENVS = 25, 3  # 75 transitions: minibatches of 32, 32 and 11
ACTIONS = {"box": Box(-1, 1, (2,)), "discrete": Discrete(3)}


def build(actions: str, seeds: Sequence[int] = SEEDS, **config: Any) -> PPOSplit:
    short = {"num_steps": NUM_STEPS, "batch_size": 32, "hidden": (9, 7)}
    setup = Setup(Box(-9, 9, (4,)), ACTIONS[actions], tuple(seeds), NUM_ENVS, 10**6)
    return PPOSplit(setup, PPOSplit.Config(**(short | config)))


def rollout(actions: str, number: int, seeds: Sequence[int] = SEEDS) -> Transition:
    """Random steps `[S, T, N, ...]` with ends of both kinds."""
    rng, shape = np.random.default_rng(number), (len(seeds), NUM_STEPS, NUM_ENVS)
    obs, next_obs = rng.standard_normal((2, *shape, 4), np.float32)
    action = rng.standard_normal((*shape, 2), np.float32) if actions == "box" else rng.integers(0, 3, shape)
    reward = 3 * rng.standard_normal(shape, np.float32) - 2
    terminated, truncated = rng.random((2, *shape)) < 0.1
    fields = obs, action, reward, next_obs, terminated, truncated & ~terminated
    return Transition(*map(torch.from_numpy, fields), {})


def plain(stack: Stack, network: str, row: int, activation: str) -> nn.Sequential:
    """The same network of one seed in float64, by torch."""
    named, sizes = stack.named(), stack.networks[network].sizes  # type: ignore[attr-defined]
    layers: list[nn.Module] = []
    for layer, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        linear = nn.Linear(fan_in, fan_out, dtype=torch.float64)
        linear.weight.data = named[f"{network}.weight_{layer}"][row, :fan_in, :fan_out].T.double()
        linear.bias.data = named[f"{network}.bias_{layer}"][row, 0, :fan_out].double()
        layers += [linear, nn.ReLU() if activation == "relu" else nn.Tanh()]
    return nn.Sequential(*layers[:-1])


class Plain:
    """The algorithm for one seed, step by step."""

    def __init__(self, agent: PPOSplit, row: int) -> None:
        self.config = config = agent.config
        self.mean = plain(agent.stack, "actor", row, config.activation)
        self.critic = plain(agent.critic_stack, "critic", row, config.activation)
        parameters = list(self.mean.parameters())
        self.log_std: nn.Parameter | None = None
        if "log_std" in agent.stack.networks:
            self.log_std = nn.Parameter(agent.stack.named()["log_std.value"][row, 0].double())
            parameters.append(self.log_std)
        self.order = Streams([agent.setup.seeds[row]], "minibatches")
        self.adam = torch.optim.Adam(parameters, lr=config.learning_rate)
        self.value_adam = torch.optim.Adam(self.critic.parameters(), lr=config.value_learning_rate)

    def distribution(self, obs: torch.Tensor) -> torch.distributions.Distribution:
        if self.log_std is None:
            return torch.distributions.Categorical(logits=self.mean(obs))
        normal = torch.distributions.Normal(self.mean(obs), self.log_std.exp())
        return torch.distributions.Independent(normal, 1)

    def advantages(self, one: Transition, value: torch.Tensor, next_value: torch.Tensor) -> torch.Tensor:
        config, advantage = self.config, torch.zeros(NUM_STEPS, NUM_ENVS, dtype=torch.float64)
        for env in range(NUM_ENVS):
            later = 0.0
            for t in reversed(range(NUM_STEPS)):
                following = 0.0 if one.terminated[t, env] else config.gamma * next_value[t, env].item()
                delta = one.reward[t, env].item() + following - value[t, env].item()
                ended = bool(one.terminated[t, env] or one.truncated[t, env])
                later = delta if ended else delta + config.gamma * config.gae_lambda * later
                advantage[t, env] = later
        return advantage

    def minibatches(self, epochs: int) -> Iterator[np.ndarray]:
        for _ in range(epochs):
            order = self.order.permutations(1, NUM_STEPS * NUM_ENVS)[0, 0]
            for start in range(0, len(order), self.config.batch_size):
                yield order[start : start + self.config.batch_size]

    def update(self, one: Transition) -> dict[str, float]:
        config = self.config
        obs, next_obs = one.obs.double().flatten(0, 1), one.next_obs.double().flatten(0, 1)
        action = one.action.flatten(0, 1)
        with torch.no_grad():
            old_log_prob = self.distribution(obs).log_prob(action)
            value = self.critic(obs)[:, 0]
            next_value = self.critic(next_obs)[:, 0]
            shape = NUM_STEPS, NUM_ENVS
            advantage = self.advantages(one, value.view(shape), next_value.view(shape)).flatten()
        target = value + advantage
        advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        for rows in self.minibatches(config.num_value_epochs):
            value_loss = nn.functional.mse_loss(self.critic(obs[rows])[:, 0], target[rows])
            self.value_adam.zero_grad()
            value_loss.backward()
            self.value_adam.step()
        for rows in self.minibatches(config.num_epochs):
            distribution = self.distribution(obs[rows])
            ratio = (distribution.log_prob(action[rows]) - old_log_prob[rows]).exp()
            clipped = ratio.clamp(1 - config.clip_range, 1 + config.clip_range)
            gain = torch.min(ratio * advantage[rows], clipped * advantage[rows]).mean()
            entropy = distribution.entropy().mean()
            self.adam.zero_grad()
            (-gain - config.entropy_coef * entropy).backward()
            self.adam.step()
        return {
            "losses/policy_loss": -gain.item(),
            "losses/value_loss": value_loss.item(),
            "losses/entropy": entropy.item(),
            "losses/approx_kl": (ratio - 1 - ratio.log()).mean().item(),
            "losses/clipfrac": ((ratio - 1).abs() > config.clip_range).double().mean().item(),
            "losses/explained_variance": (1 - (target - value).var() / target.var()).item(),
        }


@pytest.mark.agrees("ppo_split", "PyTorch's modules")
@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("actions", ACTIONS)
def test_two_updates_are_those_of_plain_torch_in_float64(actions: str, activation: str) -> None:
    agent = build(actions, activation=activation, entropy_coef=0.03, learning_rate=3e-3, value_learning_rate=2e-3,
                  gamma=0.9, gae_lambda=0.8, clip_range=0.1, num_epochs=3, num_value_epochs=5)  # fmt: skip
    plains = [Plain(agent, row) for row in range(len(SEEDS))]
    for number in range(2):
        batch = rollout(actions, number)
        metrics = agent.update(batch, 0)
        for row, one in enumerate(plains):
            single = Transition(*(field[row] for field in batch[:-1]), {})
            for name, expected in one.update(single).items():
                assert metrics[name][row].item() == pytest.approx(expected, rel=2e-5, abs=2e-6), name
    assert 0 < metrics["losses/clipfrac"].mean() < 1
    for row, one in enumerate(plains):
        for stack, network, reference in (
            (agent.stack, "actor", one.mean),
            (agent.critic_stack, "critic", one.critic),
        ):
            found = plain(stack, network, row, activation).state_dict()
            for name, expected in reference.state_dict().items():
                close(f"{network} {name} of row {row}", found[name], expected)
        if one.log_std is not None:
            log_std = agent.stack.named()["log_std.value"][row, 0].double()
            close(f"log_std of row {row}", log_std, one.log_std.detach())


@pytest.mark.parametrize("actions", ACTIONS)
def test_neither_fit_touches_the_other_s_parameters(actions: str) -> None:
    for still, moves in (("stack", "critic_stack"), ("critic_stack", "stack")):
        agent = build(actions, **{"learning_rate" if still == "stack" else "value_learning_rate": 0.0})
        before = {name: getattr(agent, name).matrix.detach().clone() for name in (still, moves)}
        agent.update(rollout(actions, 0), 0)
        assert torch.equal(getattr(agent, still).matrix, before[still])
        assert not torch.equal(getattr(agent, moves).matrix, before[moves])


def test_a_pass_meets_every_transition_once_in_an_order_of_its_own() -> None:
    agent = build("box", batch_size=64)
    length = 3000
    number = torch.arange(len(SEEDS) * length).view(len(SEEDS), length)
    minibatches = [part for epoch in epochs(agent.order, 2, agent.config.batch_size, number) for (part,) in epoch]
    assert [part.shape[1] for part in minibatches] == 2 * (46 * [64] + [56])
    passes = [torch.cat(minibatches[:47], 1), torch.cat(minibatches[47:], 1)]
    orders = [row - length * seed for one in passes for seed, row in enumerate(one)]
    for order in orders:
        assert torch.equal(order.sort().values, torch.arange(length))
    assert len({tuple(order.tolist()) for order in orders}) == 2 * len(SEEDS)


def test_a_policy_learns_which_action_pays() -> None:
    agent = build("discrete", seeds=(0, 1), learning_rate=0.01)
    obs = np.zeros((2, NUM_ENVS, 4), np.float32)
    for _ in range(6):
        for _ in range(NUM_STEPS):
            action, extras = agent.act(obs, 0)
            never = np.zeros(action.shape, bool)
            reward = (action == 1).astype(np.float64)
            agent.memory.add(Transition(obs, action, reward, obs, ~never, never, extras))
        (batch,) = agent.memory.ready(0)
        agent.update(batch, 0)
    probability = torch.softmax(agent.policy_outputs(torch.zeros(2, 1, 4)), -1)[:, 0, 1]
    assert (probability > 0.8).all()
    assert (agent.predict(obs, Streams((0, 1), "evaluation"), True) == 1).all()


def test_xavier_uniform_fills_the_bounds_that_torch_has() -> None:
    torch.manual_seed(0)
    weight, bias = np.empty((300, 200)), np.empty(200)
    xavier_uniform(math.sqrt(2))(weight, bias, np.random.default_rng(0))
    linear = nn.Linear(300, 200)
    nn.init.xavier_uniform_(linear.weight, gain=nn.init.calculate_gain("relu"))
    for found, torch_s in ((weight, linear.weight), (bias, linear.bias)):
        assert np.abs(found).max() == pytest.approx(torch_s.abs().max().item(), rel=0.02)
        assert found.std() == pytest.approx(torch_s.std().item(), rel=0.1)
        assert abs(found.mean()) < 4 * found.std() / math.sqrt(found.size)


@pytest.mark.parametrize(("activation", "hidden_gain"), [("relu", 2**0.5), ("tanh", 5 / 3)])
def test_networks_start_as_the_benchmark_s_do(activation: str, hidden_gain: float) -> None:
    agent = build("box", seeds=range(200), hidden=(32, 32), log_std_init=-0.5, activation=activation)
    for stack, network, head in ((agent.stack, "actor", 2), (agent.critic_stack, "critic", 1)):
        for layer, (fan_in, fan_out, gain) in enumerate(((4, 32, hidden_gain), (32, 32, hidden_gain), (32, head, 1.0))):
            weight = stack.named()[f"{network}.weight_{layer}"][:, :fan_in, :fan_out]
            assert weight.abs().max().item() == pytest.approx(gain * math.sqrt(6 / (fan_in + fan_out)), rel=1e-2)
    assert (agent.stack.named()["log_std.value"] == -0.5).all()


def test_images_and_a_rollout_of_one_transition_are_refused() -> None:
    with pytest.raises(UnsupportedSpace, match="not images"):
        PPOSplit(Setup(Box(0, 255, (84, 84, 3), np.uint8), Discrete(2), (0,), 1, 100), PPOSplit.Config())
    with pytest.raises(ValueError, match="--num-steps"):
        PPOSplit(Setup(Box(-1, 1, (3,)), Discrete(2), (0,), 1, 100), PPOSplit.Config(num_steps=1))
