"""Differential semi-gradient Sarsa (Sutton & Barto, 2nd ed., section 10.3, p. 251), on a table.

For continuing tasks, valued by their average reward instead of a discounted return (10.11, 10.12):

    δ = R − R̄ + Q(S', A') − Q(S, A),    R̄ ← R̄ + β δ,    Q(S, A) ← Q(S, A) + α δ

A task that terminates is not one of these, and its ends are not told apart: it bootstraps from the last state, whose
values stay as they began unless that state is one to act in too.
The step Q ← Q + α (target − Q), with α / N^ω, and ε-greedy actions are `rlrepro.tabular`'s (`Tabular.learn`).
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from rlrepro.agent import Metrics, Setup, Transition, hyper
from rlrepro.sources import CONSTANT_STEP_SIZE
from rlrepro.tabular import DrawnAhead, one_env


class DifferentialSarsa(DrawnAhead):
    """Average-reward Sarsa for tasks that go on; a clock may cut them into episodes."""

    STATE = ("average_reward",)

    value_of = None  # type: ignore[assignment]  # its values are relative to R̄, and not discounted

    @dataclasses.dataclass(frozen=True)
    class Config:
        step_size: float = hyper(0.01, "α", "secondary: Sutton & Barto, Figure 10.5", low=0, high=1)
        step_size_decay: float = hyper(0.0, "ω of α / N(s, a)^ω", CONSTANT_STEP_SIZE, low=0, high=1)
        average_step_size: float = hyper(0.01, "β, of R̄", "secondary: Sutton & Barto, Figure 10.5", low=0, high=1)
        epsilon: float = hyper(0.1, "of ε-greedy", "secondary: Sutton & Barto, Figure 10.5", low=0, high=1)
        initial_value: float = hyper(0.0, "Q before the first update", "secondary: Sutton & Barto, p. 251")

    PRESETS = {"*": {"num_envs": 1, "total_timesteps": 2_000_000, "source": "secondary: Sutton & Barto, Figure 10.5"}}

    def __init__(self, setup: Setup, config: Config) -> None:
        super().__init__(setup, config)
        self.average_reward = np.zeros(setup.num_seeds)  # R̄

    def update(self, batch: Transition, step: int) -> Metrics:
        state, next_state = self.states(batch.obs), self.states(batch.next_obs)
        next_action = self.draw_next(next_state)
        errors = np.zeros(len(self.rows))
        for n in range(self.setup.num_envs):
            action, reward, _, _ = one_env(batch, n)
            value = self.q[self.rows, next_state[:, n], next_action[:, n]]
            error = self.learn(state[:, n], action, reward - self.average_reward + value)
            self.average_reward = self.average_reward + self.config.average_step_size * error
            errors += abs(error)
        average = torch.from_numpy(self.average_reward)
        metrics = self.metrics(errors / self.setup.num_envs, self.first_values().max(-1))
        return metrics | {"values/average_reward": average}
