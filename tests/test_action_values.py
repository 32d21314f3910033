"""How agents with action values act: when at random, and how often."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from rlrepro.agent import Setup, Transition
from rlrepro.agents import c51, dqn, pqn, qrdqn, rainbow, sac_discrete
from rlrepro.agents.ppo import PPO
from rlrepro.errors import Problem
from rlrepro.prioritised import PrioritisedReplay
from rlrepro.streams import Streams
from rlrepro.value_networks import of_action

SEEDS, BATCH, ACTIONS = (1, 2), 4000, 4
CLASSES = {"dqn": dqn.DQN, "c51": c51.C51, "qrdqn": qrdqn.QRDQN, "pqn": pqn.PQN}
OTHERS = {"rainbow": rainbow.Rainbow, "sac_discrete": sac_discrete.SACDiscrete}
REPLAYED = {"learning_starts": 0, "buffer_size": 16, "batch_size": 8, "train_every": 1, "num_steps": 1}


def built(name: str, **options: Any) -> Any:
    space = gymnasium.spaces.Box(-1, 1, (3,), np.float32)
    setup = Setup(space, gymnasium.spaces.Discrete(ACTIONS), SEEDS, 1, 1000)
    kind: Any = {**CLASSES, **OTHERS}[name]
    return kind(setup, kind.Config(hidden=(8,), **options))


def weighted_batch(agent: Any) -> Transition:
    """A batch of last steps, with rewards of both signs, from a full prioritised memory; its weights are set anew."""
    rng = np.random.default_rng(3)
    for _ in range(16):
        obs = rng.normal(size=(len(SEEDS), 1, 3)).astype(np.float32)
        over, no = np.ones((len(SEEDS), 1), bool), np.zeros((len(SEEDS), 1), bool)
        reward, action = rng.normal(size=over.shape), rng.integers(ACTIONS, size=over.shape)
        agent.memory.add(Transition(obs, action, reward, obs, over, no, {}))
    batch = agent.prioritised_replay.sample()
    weight = torch.linspace(0.1, 1.0, 8).expand(len(SEEDS), 8)
    return batch._replace(extras={**batch.extras, "weight": weight})


def assert_priorities(agent: Any, batch: Transition, error: torch.Tensor, exponent: float) -> None:
    """(|δ| + ε)^α (Schaul et al., 2016, Section 3.3)."""
    expected = (error.abs().double().numpy() + PrioritisedReplay.EPSILON) ** exponent
    np.testing.assert_allclose(agent.prioritised_replay._tree.get(batch.extras["index"].numpy()), expected, rtol=1e-5)


def explored(agent: Any, deterministic: bool) -> np.ndarray:
    """The part of actions `[S]` that are not the greedy one, times A / (A − 1): ε."""
    obs = np.random.default_rng(0).normal(size=(len(SEEDS), BATCH, 3)).astype(np.float32)
    greedy = agent.predict(obs, Streams(SEEDS, "other"), deterministic=True)
    found = agent.predict(obs, Streams(SEEDS, "evaluation"), deterministic)
    return np.asarray((found != greedy).mean(1)) * ACTIONS / (ACTIONS - 1)


@pytest.mark.parametrize("name", CLASSES)
def test_evaluations_are_greedy_or_have_the_last_epsilon(name: str) -> None:
    agent = built(name, epsilon_end=0.3)
    assert (explored(agent, True) == 0).all()
    np.testing.assert_allclose(explored(agent, False), 0.3, atol=0.03)


def test_dqn_may_be_evaluated_with_an_epsilon_of_its_own() -> None:
    """Mnih et al. (2015) explore with 0.1 in the end, and evaluate with 0.05."""
    agent = built("dqn", epsilon_end=0.3, epsilon_eval=0.1)
    assert (explored(agent, True) == 0).all()
    np.testing.assert_allclose(explored(agent, False), 0.1, atol=0.02)


@pytest.mark.parametrize("name", ["dqn", "c51", "qrdqn", "rainbow", "sac_discrete"])
def test_until_learning_starts_actions_are_uniformly_random(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    unexploring = {} if name in ("rainbow", "sac_discrete") else {"epsilon_start": 0.0, "epsilon_end": 0.0}
    agent = built(name, learning_starts=50, **unexploring)
    monkeypatch.setattr(agent, "_greedy_on_host", lambda *_: 1 / 0, raising=False)
    monkeypatch.setattr(agent, "outputs", lambda *_: 1 / 0, raising=False)
    obs = np.zeros((len(SEEDS), BATCH, 3), np.float32)
    action, _ = agent.act(obs, 49)
    shares = np.stack([np.bincount(row, minlength=ACTIONS) for row in action]) / BATCH
    np.testing.assert_allclose(shares, 1 / ACTIONS, atol=0.04)
    with pytest.raises(ZeroDivisionError):  # then the network is asked
        agent.act(obs, 50)


def test_discrete_sac_acts_by_its_policy() -> None:
    """As softmax has it of logits that are the same everywhere; deterministic, the likeliest."""
    agent = built("sac_discrete", learning_starts=0)
    logits = torch.tensor([0.0, 1.0, 2.0, -1.0])
    with torch.no_grad():
        named = agent.actor.named()
        named["actor.weight_1"].zero_()
        named["actor.bias_1"][:, 0, :ACTIONS] = logits
    obs = np.zeros((len(SEEDS), BATCH, 3), np.float32)
    expected = logits.softmax(0).expand(len(SEEDS), ACTIONS).numpy()
    for action in (agent.act(obs, 0)[0], agent.predict(obs, Streams(SEEDS, "evaluation"), deterministic=False)):
        shares = np.stack([np.bincount(row, minlength=ACTIONS) for row in action]) / BATCH
        np.testing.assert_allclose(shares, expected, atol=0.04)
    assert (agent.predict(obs, Streams(SEEDS, "evaluation"), deterministic=True) == 2).all()


def test_discrete_sac_s_value_is_the_best_action_s_by_the_lesser_critic() -> None:
    agent = built("sac_discrete")
    with torch.no_grad():
        for name, parameter in agent.critic.named().items():
            if "weight_1" in name:
                parameter.zero_()
            elif "bias_1" in name:
                q = [1.0, 5.0, 2.0, 0.0] if ".0." in name else [4.0, 0.0, 3.0, 9.0]
                parameter[:, 0, :ACTIONS] = torch.tensor(q)
    np.testing.assert_allclose(agent.value_of(np.zeros((len(SEEDS), 2, 3), np.float32)), 2.0)  # of (1, 0, 2, 0)


@pytest.mark.parametrize("name", ["dqn", "c51", "qrdqn"])
def test_epsilon_falls_over_its_fraction_of_the_run(name: str) -> None:
    agent = built(name, epsilon_start=0.9, epsilon_end=0.1, exploration_fraction=0.4)  # of 1,000 steps
    assert [agent.epsilon(step) for step in (0, 200, 400, 900)] == pytest.approx([0.9, 0.5, 0.1, 0.1])


def test_prioritised_dqn_weighs_squares_and_keeps_absolute_errors() -> None:
    agent = built("dqn", prioritised=True, alpha=0.5, loss="squared", **REPLAYED)
    batch = weighted_batch(agent)
    with torch.no_grad():
        error = (
            of_action(agent.q_values(batch.obs), batch.action) - batch.reward
        )  # the last step's target is its reward
    assert (error > 0.1).any()
    assert (error < -0.1).any()
    expected = (batch.extras["weight"] * error.square()).mean(1)
    torch.testing.assert_close(agent.loss(batch)[0].detach(), expected, rtol=1e-5, atol=0)
    agent.update(batch, 0)
    assert_priorities(agent, batch, error, 0.5)


def test_the_error_of_a_loss_is_no_metric_and_needed_where_priorities_are(monkeypatch: pytest.MonkeyPatch) -> None:
    uniform, prioritised = (built("dqn", **REPLAYED, prioritised=flag) for flag in (False, True))
    batch = weighted_batch(prioritised)
    assert "error" in uniform.loss(batch)[1]
    assert "error" not in uniform.update(batch, 0)
    loss = prioritised.loss
    monkeypatch.setattr(prioritised, "loss", lambda batch: (loss(batch)[0], {}))
    with pytest.raises(Problem, match="DQN draws by priority, and its loss gives no metric `error`"):
        prioritised.update(batch, 0)


def test_rainbow_explores_by_its_noise_and_keeps_unweighted_divergences(monkeypatch: pytest.MonkeyPatch) -> None:
    space = gymnasium.spaces.Box(-1, 1, (3,), np.float32)
    setup = Setup(space, gymnasium.spaces.Discrete(ACTIONS), SEEDS, 1, 1000)
    agent = rainbow.Rainbow(setup, rainbow.Rainbow.Config(hidden=(8,), omega=0.5, **REPLAYED))
    batch = weighted_batch(agent)
    told: list[torch.Tensor] = []
    learn = agent.gradient_step

    def spied(*given: Any) -> Any:
        metrics = learn(*given)
        told.append(metrics["error"].clone())
        return metrics

    monkeypatch.setattr(agent, "gradient_step", spied)
    agent.update(batch, 0)
    assert_priorities(agent, batch, told[0], 0.5)
    obs = np.random.default_rng(0).normal(size=(len(SEEDS), BATCH, 3)).astype(np.float32)
    assert (agent.act(obs, 0)[0] != agent.act(obs, 0)[0]).any()
    mean = agent.predict(obs, agent.exploration, True)
    np.testing.assert_array_equal(mean, agent.predict(obs, agent.exploration, True))
    same = np.broadcast_to(obs[:, :1], obs.shape).copy()  # else sub-environments that meet never part again
    for actions in (agent.act(same, 0)[0], agent.predict(same, agent.exploration, False)):
        assert (actions != actions[:, :1]).any(1).all()
    mean = agent.predict(same, agent.exploration, True)
    np.testing.assert_array_equal(mean, np.broadcast_to(mean[:, :1], mean.shape))


def test_values_of_actions_are_picked_with_atoms_and_without() -> None:
    values, action = torch.randn(2, 3, ACTIONS, 5), torch.randint(ACTIONS, (2, 3))
    for s in range(2):
        for b in range(3):
            assert torch.equal(of_action(values, action)[s, b], values[s, b, action[s, b]])
            assert of_action(values[..., 0], action)[s, b] == values[s, b, action[s, b], 0]


class Negated(dqn.DQN):
    """Values of its own, of what the network gives."""

    def q_values(self, obs: torch.Tensor) -> torch.Tensor:
        return -super().q_values(obs)


def test_a_subclass_acts_by_the_values_that_it_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = built("dqn")
    monkeypatch.setitem(CLASSES, "dqn", Negated)
    other = built("dqn")
    obs = np.random.default_rng(0).normal(size=(len(SEEDS), 1, 3)).astype(np.float32)
    values, streams = plain.q_values(torch.from_numpy(obs)).detach().numpy(), Streams(SEEDS, "other")
    assert np.array_equal(plain.predict(obs, streams, deterministic=True), values.argmax(-1))
    assert np.array_equal(other.predict(obs, streams, deterministic=True), values.argmin(-1))


def test_a_policy_of_a_subclass_s_own_outputs_acts_by_them() -> None:
    class Shifted(PPO):
        def policy_outputs(self, inputs: torch.Tensor) -> torch.Tensor:
            return super().policy_outputs(inputs) + torch.tensor([0.0, 100.0, 0.0])

    setup = Setup(gymnasium.spaces.Box(-1, 1, (3,), np.float32), gymnasium.spaces.Discrete(3), SEEDS, 4, 1000)
    obs = np.random.default_rng(0).normal(size=(len(SEEDS), 4, 3)).astype(np.float32)
    assert (Shifted(setup, PPO.Config()).predict(obs, Streams(SEEDS, "other"), deterministic=True) == 1).all()


def test_what_a_subclass_shows_its_networks_it_acts_by(monkeypatch: pytest.MonkeyPatch) -> None:
    class Blind(dqn.DQN):
        def inputs(self, obs: torch.Tensor) -> torch.Tensor:
            return torch.ones_like(super().inputs(obs))

    class BlindPPO(PPO):
        def inputs(self, obs: torch.Tensor) -> torch.Tensor:
            return torch.ones_like(super().inputs(obs))

    monkeypatch.setitem(CLASSES, "dqn", Blind)
    setup = Setup(gymnasium.spaces.Box(-1, 1, (3,), np.float32), gymnasium.spaces.Discrete(3), SEEDS, 9, 1000)
    obs = 9 * np.random.default_rng(0).normal(size=(len(SEEDS), 9, 3)).astype(np.float32)
    for agent in (built("dqn"), BlindPPO(setup, PPO.Config())):
        actions = agent.predict(obs, Streams(SEEDS, "other"), deterministic=True)
        assert (actions == actions[:, :1]).all()
