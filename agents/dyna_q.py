"""Tabular Dyna-Q (Sutton, 1990), as in Sutton & Barto, 2nd ed., section 8.2, p. 164.

After each real step: (d) Q-learning on it, and (e) Model(S, A) ← R, S'; then (f), n times: a pair (S, A) seen before,
R and S' from the model, and

    Q(S, A) ← Q(S, A) + α (R + γ max_a Q(S', a) − Q(S, A))

The step Q ← Q + α (target − Q), with α / N^ω (planning counts in N too), and ε-greedy actions are `rlrepro.tabular`'s
(`Tabular.learn`).
The model is a table, for deterministic worlds: it keeps what came of a pair the last time. Pairs are drawn uniformly,
where the book draws a state and then one of its actions: the same once every action has been taken in every state seen.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from rlrepro.agent import Metrics, Setup, Transition, hyper
from rlrepro.sources import CONSTANT_STEP_SIZE
from rlrepro.streams import Streams
from rlrepro.tabular import Tabular, one_env


class DynaQ(Tabular):
    """Q-learning from real steps and from `planning_steps` remembered ones after each."""

    STATE = ("model", "known", "num_known", "draws")

    @dataclasses.dataclass(frozen=True)
    class Config:
        planning_steps: int = hyper(
            5, "planning steps after each real one (n)", "secondary: Sutton & Barto, Example 8.1", low=0
        )
        step_size: float = hyper(0.1, "α", "secondary: Sutton & Barto, Example 8.1", low=0, high=1)
        step_size_decay: float = hyper(0.0, "ω of α / N(s, a)^ω", CONSTANT_STEP_SIZE, low=0, high=1)
        gamma: float = hyper(0.95, "discount factor", "secondary: Sutton & Barto, Example 8.1", low=0, high=1)
        epsilon: float = hyper(0.1, "of ε-greedy", "secondary: Sutton & Barto, Example 8.1", low=0, high=1)
        initial_value: float = hyper(0.0, "Q before the first update", "secondary: Sutton & Barto, Example 8.1")

    PRESETS = {"*": {"num_envs": 1, "total_timesteps": 10_000, "source": "ours: enough for the maze of Example 8.1"}}

    def __init__(self, setup: Setup, config: Config) -> None:
        super().__init__(setup, config)
        self.model = {
            "reward": self.table(0.0),
            "next_state": self.table(0, np.int64),
            "terminated": self.table(0, bool),
            "is_known": self.table(0, bool),
        }
        # The pairs seen so far, in the order in which they came, as state × actions + action.
        self.known = np.zeros((setup.num_seeds, self.states.num * self.num_actions), np.int64)
        self.num_known = np.zeros(setup.num_seeds, np.int64)
        self.draws = Streams(setup.seeds, "planning")

    def update(self, batch: Transition, step: int) -> Metrics:
        state, next_state = self.states(batch.obs), self.states(batch.next_obs)
        errors = np.zeros(len(self.rows))
        for n in range(self.setup.num_envs):
            action, reward, terminated, _ = one_env(batch, n)
            errors += abs(self._q_learning(state[:, n], action, reward, next_state[:, n], terminated))
            self._remember(state[:, n], action, reward, next_state[:, n], terminated)
            if self.config.planning_steps:
                self._plan()
        return self.metrics(errors / self.setup.num_envs, self.first_values().max(-1))

    def _q_learning(
        self, state: np.ndarray, action: np.ndarray, reward: np.ndarray, next_state: np.ndarray, terminated: np.ndarray
    ) -> np.ndarray:
        best = self.q[self.rows, next_state].max(-1)
        return self.learn(state, action, reward + self.config.gamma * ~terminated * best)

    def _remember(
        self, state: np.ndarray, action: np.ndarray, reward: np.ndarray, next_state: np.ndarray, terminated: np.ndarray
    ) -> None:
        pair = self.rows, state, action
        self.model["reward"][pair], self.model["terminated"][pair] = reward, terminated
        self.model["next_state"][pair] = next_state
        new = ~self.model["is_known"][pair]
        self.known[self.rows[new], self.num_known[new]] = (state * self.num_actions + action)[new]
        self.num_known += new
        self.model["is_known"][pair] = True

    def _plan(self) -> None:
        """Step (f)."""
        which = (self.draws.uniform(self.config.planning_steps) * self.num_known[:, None]).astype(np.int64)
        for drawn in self.known[self.rows[:, None], which].T:
            state, action = np.divmod(drawn, self.num_actions)
            pair = self.rows, state, action
            reward, next_state, terminated = (self.model[name][pair] for name in ("reward", "next_state", "terminated"))
            self._q_learning(state, action, reward, next_state, terminated)
