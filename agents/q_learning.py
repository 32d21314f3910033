"""Q-learning (Watkins, 1989) and double Q-learning (van Hasselt, 2010), as in Sutton & Barto, 2nd ed., ch. 6.

    Q(S, A) ← Q(S, A) + α (R + γ max_a Q(S', a) − Q(S, A))                        (6.8)

    with probability ½:  Q₁(S, A) ← Q₁(S, A) + α (R + γ Q₂(S', argmax_a Q₁(S', a)) − Q₁(S, A)),   else with 1 and 2
    exchanged                                                                     (6.10)

The step Q ← Q + α (target − Q), with α / N^ω, and ε-greedy actions are `rlrepro.tabular`'s (`Tabular.learn`).
With γ = 0, `step_size` 1 and `step_size_decay` 1, Q-learning is the sample-average method of ch. 2 (2.1). With ε = 1
on a deterministic task and `step_size` 1, it is asynchronous value iteration, in the order in which the pairs come.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from rlrepro.agent import Metrics, Setup, Transition, hyper
from rlrepro.sources import CONSTANT_STEP_SIZE
from rlrepro.streams import Streams
from rlrepro.tabular import Tabular, epsilon_greedy, one_env


class QLearning(Tabular):
    """Sutton & Barto, p. 131: learns the values of the greedy policy while it explores."""

    @dataclasses.dataclass(frozen=True)
    class Config:
        step_size: float = hyper(
            0.5, "α", "secondary: Sutton & Barto, Example 6.5 (Example 6.6 has none)", low=0, high=1
        )
        step_size_decay: float = hyper(0.0, "ω of α / N(s, a)^ω", CONSTANT_STEP_SIZE, low=0, high=1)
        gamma: float = hyper(1.0, "discount factor", "secondary: Sutton & Barto, Example 6.6", low=0, high=1)
        epsilon: float = hyper(0.1, "of ε-greedy", "secondary: Sutton & Barto, Example 6.6", low=0, high=1)
        initial_value: float = hyper(0.0, "Q before the first update", "ours: the box on p. 131 leaves it open")

    PRESETS = {"*": {"num_envs": 1, "total_timesteps": 50_000, "source": "ours: small tables"}}

    def update(self, batch: Transition, step: int) -> Metrics:
        state, next_state = self.states(batch.obs), self.states(batch.next_obs)
        errors = np.zeros(len(self.rows))
        for n in range(self.setup.num_envs):
            action, reward, terminated, _ = one_env(batch, n)
            best = self.q[self.rows, next_state[:, n]].max(-1)
            target = reward + self.config.gamma * ~terminated * best
            errors += abs(self.learn(state[:, n], action, target))  # (6.8)
        return self.metrics(errors / self.setup.num_envs, self.first_values().max(-1))


class DoubleQLearning(Tabular):
    """Sutton & Barto, p. 136: one table chooses, the other values. Behaves ε-greedily by their mean."""

    STATE = ("coin",)

    @dataclasses.dataclass(frozen=True)
    class Config:
        step_size: float = hyper(0.1, "α", "secondary: Sutton & Barto, Figure 6.5", low=0, high=1)
        step_size_decay: float = hyper(0.0, "ω of α / N(s, a)^ω", CONSTANT_STEP_SIZE, low=0, high=1)
        gamma: float = hyper(1.0, "discount factor", "secondary: Sutton & Barto, Figure 6.5", low=0, high=1)
        epsilon: float = hyper(0.1, "of ε-greedy", "secondary: Sutton & Barto, Figure 6.5", low=0, high=1)
        initial_value: float = hyper(0.0, "Q before the first update", "secondary: Sutton & Barto, Figure 6.5")

    PRESETS = {"*": {"num_envs": 1, "total_timesteps": 50_000, "source": "ours: as q_learning"}}

    def __init__(self, setup: Setup, config: Config) -> None:
        super().__init__(setup, config)
        self.both = np.stack([self.q, self.q])  # Q1 and Q2, kept as `tables`; `q` is their mean
        self.tables["q1"], self.tables["q2"] = self.both
        self.visits: np.ndarray | None = None
        if config.step_size_decay:
            self.visits = np.stack([self.tables["visits"]] * 2)  # each table's own updates (van Hasselt, Section 4)
            self.tables["visits"], self.tables["visits_2"] = self.visits
        self.coin = Streams(setup.seeds, "which table")

    def update(self, batch: Transition, step: int) -> Metrics:
        state, next_state = self.states(batch.obs), self.states(batch.next_obs)
        both, errors = self.both, np.zeros(len(self.rows))
        for n in range(self.setup.num_envs):
            action, reward, terminated, _ = one_env(batch, n)
            which = (self.coin.uniform() < 0.5).astype(np.int64)  # [S]: the table that learns
            pair = self.rows, state[:, n], action
            learnt = which, *pair
            chooser = both[which, self.rows, next_state[:, n]]
            best = epsilon_greedy(chooser[:, None], self.exploration, 0.0)[:, 0]  # greedy, drawn among equals
            value = both[1 - which, self.rows, next_state[:, n], best]
            error = reward + self.config.gamma * ~terminated * value - both[learnt]
            both[learnt] += self.step_size(self.visits, learnt) * error
            errors += abs(error)
            self.q[pair] = both[(slice(None), *pair)].mean(0)
        return self.metrics(errors / self.setup.num_envs, self.first_values().max(-1))
