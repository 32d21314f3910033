"""On images, from the same weights: updates of A2C, PPO, DQN and QR-DQN are those of Stable-Baselines3's CnnPolicy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from sb3_contrib import QRDQN as SB3QRDQN
from stable_baselines3 import A2C as SB3A2C
from stable_baselines3 import DQN as SB3DQN
from stable_baselines3 import PPO as SB3PPO
from stable_baselines3.common.vec_env import DummyVecEnv
from test_against_sb3 import NUM_ENVS, NUM_STEPS, SEEDS, Recorded, close, feed, perturb, train_sb3
from torch import nn

from rlrepro.agent import Setup, Transition
from rlrepro.agents import a2c, dqn, ppo, qrdqn
from rlrepro.seeds import Stack

pytestmark = pytest.mark.usefixtures("one_thread")

SPACE, ACTIONS = gymnasium.spaces.Box(0, 255, (2, 36, 36), np.uint8), gymnasium.spaces.Discrete(3)
RATE = 2e-4
BATCH = 64  # what `train_sb3` asks for


class Noise(gymnasium.Env):
    """Images of noise; a reward for bright ones."""

    observation_space, action_space = SPACE, ACTIONS

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return self._look(), {}

    def _look(self) -> np.ndarray:
        return self.np_random.integers(0, 1 + self.np_random.integers(255), SPACE.shape).astype(np.uint8)

    def step(self, action: int) -> Any:
        obs = self._look()
        return obs, float(obs.mean() / 64 - action), False, False, {}


Pairs = Iterator[tuple[str, torch.Tensor, torch.Tensor]]


def pairs(stack: Stack, name: str, row: int, extractor: Any, *heads: nn.Linear) -> Pairs:
    """Each parameter of a seed's network, ours and theirs as ours has it; the padding left out, which stays 0."""
    named = {key.removeprefix(f"{name}."): value[row] for key, value in stack.named().items()}
    for index in range(3):
        conv = extractor.cnn[2 * index]
        yield f"conv {index}", named[f"conv_{index}"], conv.weight.detach()
        yield f"bias of conv {index}", named[f"conv_bias_{index}"], conv.bias.detach()
    dense = extractor.linear[0]
    yield "dense", named["weight_0"], dense.weight.detach().T
    yield "bias of dense", named["bias_0"][0], dense.bias.detach()
    start = 0
    for head in heads:
        columns = np.s_[start : start + head.out_features]
        yield "head", named["weight_1"][:, columns], head.weight.detach().T
        yield "bias of the head", named["bias_1"][0, columns], head.bias.detach()
        start += head.out_features
    assert not named["weight_1"][:, start:].any()


@torch.no_grad()
def take_over(found: Pairs) -> None:
    for _, ours, theirs in found:
        ours.copy_(theirs)


def compare(found: Pairs) -> None:
    for what, ours, theirs in found:
        close(what, ours, theirs)


# --- A2C and PPO: a rollout by SB3, then a whole update by each


def collected(algorithm: Any, seed: int, **options: Any) -> Any:
    envs = DummyVecEnv([lambda n=n: Recorded(Noise(), seed=10 * seed + n) for n in range(NUM_ENVS)])  # type: ignore[misc]
    model = algorithm("CnnPolicy", envs, n_steps=NUM_STEPS, seed=seed, device="cpu", learning_rate=RATE, **options)
    torch.manual_seed(seed)
    perturb(model.policy.parameters(), 0.02)
    _, callback = model._setup_learn(NUM_STEPS * NUM_ENVS)
    model.collect_rollouts(envs, callback, model.rollout_buffer, NUM_STEPS)
    return model


def of_policy(stack: Stack, row: int, model: Any) -> Pairs:
    policy = model.policy
    return pairs(stack, "shared", row, policy.features_extractor, policy.action_net, policy.value_net)


@pytest.mark.agrees("a2c", "Stable-Baselines3")
def test_a2c_on_images_has_sb3_s_parameters_after_an_update() -> None:
    models = [collected(SB3A2C, seed, ent_coef=0.02, vf_coef=0.3) for seed in SEEDS]
    options: dict[str, Any] = {"entropy_coef": 0.02, "value_coef": 0.3, "learning_rate": RATE, "optimiser": "rmsprop"}
    agent = a2c.A2C(Setup(SPACE, ACTIONS, SEEDS, NUM_ENVS, 10**6), a2c.A2C.Config(num_steps=NUM_STEPS, **options))
    for row, model in enumerate(models):
        take_over(of_policy(agent.stack, row, model))
    agent.update(feed(agent, models), 0)  # type: ignore[arg-type]
    for row, model in enumerate(models):
        model.train()
        compare(of_policy(agent.stack, row, model))


@pytest.mark.agrees("ppo", "Stable-Baselines3")
def test_ppo_on_images_has_sb3_s_parameters_after_an_update() -> None:
    """Two epochs of one minibatch, whose order says nothing: in the second the ratios are no longer 1."""
    size = NUM_STEPS * NUM_ENVS
    theirs = {"ent_coef": 0.01, "vf_coef": 0.25, "clip_range": 0.002, "n_epochs": 2, "batch_size": size}
    models = [collected(SB3PPO, seed, **theirs) for seed in SEEDS]
    ours: dict[str, Any] = {"entropy_coef": 0.01, "value_coef": 0.5, "clip_range": 0.002, "num_epochs": 2}
    config = ppo.PPO.Config(
        num_steps=NUM_STEPS, num_minibatches=1, learning_rate=RATE, anneal=False, clip_value_loss=False, **ours
    )
    agent = ppo.PPO(Setup(SPACE, ACTIONS, SEEDS, NUM_ENVS, 10**6), config)
    for row, model in enumerate(models):
        take_over(of_policy(agent.stack, row, model))
    metrics = agent.update(feed(agent, models), 0)
    assert (metrics["losses/clipfrac"] > 0).all()
    for row, model in enumerate(models):
        model.train()
        compare(of_policy(agent.stack, row, model))


# --- DQN and QR-DQN: steps on given batches


def batch_of(step: int) -> Transition:
    generator = np.random.default_rng(step)
    obs, next_obs = torch.from_numpy(generator.integers(0, 256, (2, len(SEEDS), BATCH, *SPACE.shape), np.uint8))
    action = torch.from_numpy(generator.integers(0, 3, (len(SEEDS), BATCH)))
    reward = torch.from_numpy(3 * generator.standard_normal((len(SEEDS), BATCH), np.float32))
    terminated, truncated = torch.from_numpy(generator.random((2, len(SEEDS), BATCH)) < 0.2)
    return Transition(obs, action, reward, next_obs, terminated, truncated, {})


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("dqn", marks=pytest.mark.agrees("dqn", "Stable-Baselines3")),
        pytest.param("qrdqn", marks=pytest.mark.agrees("qrdqn", "sb3-contrib")),
    ],
)
def test_value_learners_on_images_have_sb3_s_networks_after_some_steps(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = {"gamma": 0.9, "tau": 1.0, "max_grad_norm": 10.0}
    head, target_head = ("q_net", "q_net_target") if name == "dqn" else ("quantile_net", "quantile_net_target")
    often: dict[str, Any] = {"learning_starts": 0, "train_every": 1, "target_every": 2, "learning_rate": 5e-4}
    models: list[Any] = []
    for seed in SEEDS:
        cls, more = (SB3DQN, {}) if name == "dqn" else (SB3QRDQN, {"policy_kwargs": {"n_quantiles": 5}})
        env = DummyVecEnv([Noise])
        options = {"buffer_size": 100, "target_update_interval": 2, "learning_rate": 5e-4, **common, **more}
        models.append(cls("CnnPolicy", env, seed=seed, device="cpu", **options))
        perturb(getattr(models[-1], target_head).parameters(), 0.02)
        models[-1]._setup_learn(1000)
    if name == "dqn":
        agent: Any = dqn.DQN(Setup(SPACE, ACTIONS, SEEDS, 1, 10**6), dqn.DQN.Config(loss="huber", **common, **often))
    else:
        config = qrdqn.QRDQN.Config(
            num_quantiles=5, adam_eps=models[0].policy.optimizer.defaults["eps"], **common, **often
        )
        agent = qrdqn.QRDQN(Setup(SPACE, ACTIONS, SEEDS, 1, 10**6), config)

    def networks(row: int) -> Iterator[Pairs]:
        for stack, which in ((agent.online, head), (agent.target, target_head)):
            network = getattr(models[row], which)
            last = network.q_net[0] if name == "dqn" else network.quantile_net[0]
            yield pairs(stack, "q", row, network.features_extractor, _by_action(last) if name == "qrdqn" else last)

    for row in range(len(SEEDS)):
        for found in networks(row):
            take_over(found)
    for step in range(4):
        agent.update(batch_of(step), step)
        for row, model in enumerate(models):
            train_sb3(monkeypatch, model, batch_of(step), row)
            model._on_step()
            for found in networks(row):
                compare(found)


def _by_action(last: nn.Linear) -> nn.Linear:
    """sb3-contrib's head has a column a quantile and action, the action last; ours has the quantile last."""
    turned = nn.Linear(last.in_features, last.out_features)
    order = np.arange(last.out_features).reshape(-1, 3).T.ravel()
    turned.weight.data, turned.bias.data = last.weight.data[order], last.bias.data[order]
    return turned
