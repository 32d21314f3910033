"""Sarsa (Rummery & Niranjan, 1994), Expected Sarsa (van Seijen et al., 2009) and n-step Sarsa.

As in Sutton & Barto, 2nd ed., ch. 6 and 7.

    Q(S, A) ← Q(S, A) + α (R + γ Q(S', A') − Q(S, A))                                       (6.7)
    Q(S, A) ← Q(S, A) + α (R + γ Σ_a π(a | S') Q(S', a) − Q(S, A))                          (6.9)
    Q(S_τ, A_τ) ← Q(S_τ, A_τ) + α (G_τ:τ+n − Q(S_τ, A_τ)),
        G_τ:τ+n = R_τ+1 + γ R_τ+2 + … + γ^(n−1) R_τ+n + γ^n Q(S_τ+n, A_τ+n)                 (7.4), (7.5)

(6.7) is (7.4) and (7.5) with n = 1. A' is drawn before the update, and is the action that is then taken. Where the
time limit ends an episode, it is drawn for the true successor and bootstrapped from (`rlrepro.tabular.DrawnAhead`).
The step Q ← Q + α (target − Q), with α / N^ω, and ε-greedy actions are `rlrepro.tabular`'s (`Tabular.learn`).

With ε = 1 on a deterministic task and α = 1, Expected Sarsa is asynchronous policy evaluation of the random policy.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from rlrepro.agent import Metrics, Setup, Transition, hyper
from rlrepro.sources import CONSTANT_STEP_SIZE
from rlrepro.tabular import DrawnAhead, Tabular, expectation, one_env


class ExpectedSarsa(Tabular):
    """Sutton & Barto, section 6.6."""

    @dataclasses.dataclass(frozen=True)
    class Config:
        step_size: float = hyper(
            0.5, "α", "secondary: Sutton & Barto, Example 6.5 (Example 6.6 has none)", low=0, high=1
        )
        step_size_decay: float = hyper(0.0, "ω of α / N(s, a)^ω", CONSTANT_STEP_SIZE, low=0, high=1)
        gamma: float = hyper(1.0, "discount factor", "secondary: Sutton & Barto, Example 6.6", low=0, high=1)
        epsilon: float = hyper(0.1, "of ε-greedy", "secondary: Sutton & Barto, Example 6.6", low=0, high=1)
        initial_value: float = hyper(0.0, "Q before the first update", "ours: section 6.6 leaves it open")

    PRESETS = {"*": {"num_envs": 1, "total_timesteps": 50_000, "source": "ours: small tables"}}

    def update(self, batch: Transition, step: int) -> Metrics:
        state, next_state = self.states(batch.obs), self.states(batch.next_obs)
        errors = np.zeros(len(self.rows))
        for n in range(self.setup.num_envs):
            action, reward, terminated, _ = one_env(batch, n)
            value = expectation(self.q[self.rows, next_state[:, n]], self.config.epsilon)
            target = reward + self.config.gamma * ~terminated * value
            errors += abs(self.learn(state[:, n], action, target))  # (6.9)
        return self.metrics(errors / self.setup.num_envs, expectation(self.first_values(), self.config.epsilon))


class Sarsa(DrawnAhead):
    """Sutton & Barto, p. 130, and with `num_steps` n > 1 the n-step form, p. 147."""

    STATE = ("waiting", "pairs", "rewards")

    @dataclasses.dataclass(frozen=True)
    class Config:
        num_steps: int = hyper(1, "rewards in a target (n)", "secondary: Sutton & Barto, section 7.2", low=1, high=1000)
        step_size: float = hyper(0.5, "α", "secondary: Sutton & Barto, Example 6.5", low=0, high=1)
        step_size_decay: float = hyper(0.0, "ω of α / N(s, a)^ω", CONSTANT_STEP_SIZE, low=0, high=1)
        gamma: float = hyper(1.0, "discount factor", "secondary: Sutton & Barto, Example 6.5", low=0, high=1)
        epsilon: float = hyper(0.1, "of ε-greedy", "secondary: Sutton & Barto, Example 6.5", low=0, high=1)
        initial_value: float = hyper(0.0, "Q before the first update", "secondary: Sutton & Barto, Example 6.5")

    PRESETS = {"*": {"num_envs": 1, "total_timesteps": 50_000, "source": "ours: small tables"}}

    def __init__(self, setup: Setup, config: Config) -> None:
        super().__init__(setup, config)
        shape = setup.num_seeds, setup.num_envs
        # The steps that wait for their n-step return, the oldest first.
        self.waiting = np.zeros(shape, np.int64)  # how many
        self.pairs = np.zeros((*shape, config.num_steps, 2), np.int64)  # (S, A)
        self.rewards = np.zeros((*shape, config.num_steps))
        self.discounts = config.gamma ** np.arange(config.num_steps + 1)

    def act(self, obs: np.ndarray, step: int) -> tuple[np.ndarray, Mapping[str, np.ndarray]]:
        self.waiting[self.memory.begins] = 0  # of an episode that a resume cut off; an end leaves none
        return super().act(obs, step)

    def update(self, batch: Transition, step: int) -> Metrics:
        state, next_state = self.states(batch.obs), self.states(batch.next_obs)
        self.draw_next(next_state)
        errors, learnt = np.zeros(len(self.rows)), np.zeros(len(self.rows))
        for n in range(self.setup.num_envs):
            action, reward, terminated, truncated = one_env(batch, n)
            waiting = self.waiting[:, n]
            self.pairs[self.rows, n, waiting] = np.stack([state[:, n], action], -1)
            self.rewards[self.rows, n, waiting] = reward
            waiting += 1
            due = (waiting == self.config.num_steps) | terminated | truncated
            while due.any():
                errors += abs(self._learn_oldest(n, due, next_state[:, n], terminated))
                learnt += due
                due = (terminated | truncated) & (waiting > 0)
        with np.errstate(invalid="ignore"):  # NaN where a seed only waited
            return self.metrics(errors / learnt, self.first_values().max(-1))

    def _learn_oldest(self, n: int, due: np.ndarray, next_state: np.ndarray, terminated: np.ndarray) -> np.ndarray:
        """The update of the oldest waiting step of the seeds that are `due` `[S]`, which then waits no more."""
        waiting, pairs, rewards = self.waiting[:, n], self.pairs[:, n], self.rewards[:, n]
        counts = np.arange(self.config.num_steps) < waiting[:, None]
        value = self.q[self.rows, next_state, self.next_action[:, n]]
        target = (rewards * self.discounts[:-1] * counts).sum(-1) + self.discounts[waiting] * ~terminated * value
        error = self.learn(pairs[:, 0, 0], pairs[:, 0, 1], target, where=due)  # (7.5), G of (7.4)
        pairs[due, :-1], rewards[due, :-1] = pairs[due, 1:], rewards[due, 1:]
        waiting -= due
        return error
