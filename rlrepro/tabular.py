"""Tables of action values for S seeds at once: `[S, states, actions]` in float64, updates vectorised over seeds.

What the agents of Sutton & Barto's book share: observations as states, ε-greedy actions, step sizes, and a memory of
one step. N sub-environments of a seed learn one after the other; all act, and draw their next actions, before the
first of them learns.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Discrete, MultiBinary, MultiDiscrete

from rlrepro.agent import Setup, Transition, UnsupportedSpace
from rlrepro.distributions import num_discrete
from rlrepro.stateful import Stateful
from rlrepro.streams import Streams

MAX_STATES = 10**8  #: with two actions Q takes 1.6 GB a seed, all tables of an agent up to over five times that


class LastStep(Stateful):
    """The step that was just taken, `[S, N, ...]`, as NumPy arrays: what is learnt from at once and then forgotten."""

    STATE = ("begins",)

    def __init__(self, num_seeds: int, num_envs: int) -> None:
        self.begins = np.ones((num_seeds, num_envs), bool)  #: whether the next step is the first of an episode
        self._step: Transition | None = None

    def add(self, transition: Transition) -> None:
        self._step = transition
        self.begins = transition.terminated | transition.truncated

    def ready(self, step: int) -> Iterator[Transition]:
        if self._step is not None:
            yield self._step
        self._step = None

    def cut(self) -> None:
        self.begins = np.ones_like(self.begins)


class States:
    """Observations of a finite space as numbers from 0 to `num - 1`."""

    def __init__(self, space: gymnasium.Space[Any]) -> None:
        if isinstance(space, Discrete):
            self._sizes, self._start = np.array([space.n]), np.array([space.start])
        elif isinstance(space, MultiDiscrete):
            self._sizes, self._start = space.nvec.ravel(), np.asarray(space.start).ravel()
        elif isinstance(space, MultiBinary):
            self._sizes, self._start = np.full(math.prod(space.shape), 2), np.zeros(1, np.int64)
        else:
            raise UnsupportedSpace(
                f"Discrete, MultiDiscrete or MultiBinary observations, not {type(space).__name__} "
                "(sarsa_lambda tiles a Box)"
            )
        self.num = math.prod(int(size) for size in self._sizes)
        if self.num > MAX_STATES:
            raise UnsupportedSpace(f"observations of at most {MAX_STATES:,} states, not {self.num:,}")
        self._is_scalar = isinstance(space, Discrete)
        self._weights = np.append(np.cumprod(self._sizes[:0:-1])[::-1], 1).astype(np.int64)

    def __call__(self, obs: np.ndarray) -> np.ndarray:
        """`[S, N]` of observations `[S, N, ...]`."""
        if self._is_scalar:
            return obs.astype(np.int64) - self._start[0]
        return (obs.reshape(*obs.shape[:2], -1) - self._start) @ self._weights


def greedy(q: np.ndarray) -> np.ndarray:
    """The probability of each action `[..., A]` by the greedy policy: equal ones share it."""
    best = q == q.max(-1, keepdims=True)
    return best / best.sum(-1, keepdims=True)


def expectation(q: np.ndarray, epsilon: float) -> np.ndarray:
    """Σ_a π(a) q(a) `[...]` of q `[..., A]` for the ε-greedy policy."""
    return ((epsilon / q.shape[-1] + (1 - epsilon) * greedy(q)) * q).sum(-1)


def epsilon_greedy(q: np.ndarray, streams: Streams, epsilon: float) -> np.ndarray:
    """Actions `[S, N]` for values `[S, N, A]`: uniform with probability ε, else one of the best, drawn among equals."""
    draw = streams.uniform(q.shape[1], 2)
    best = q == q.max(-1, keepdims=True)
    which = (draw[..., 1] * best.sum(-1)).astype(np.int64)
    chosen = (best.cumsum(-1) > which[..., None]).argmax(-1)
    if epsilon == 0:
        return chosen
    return np.where(draw[..., 0] < epsilon, (draw[..., 1] * q.shape[-1]).astype(np.int64), chosen)


class Tabular(Stateful):
    """Action values in a table, ε-greedy behaviour. A subclass has `Config` and `update`; its tables are `tables`.

    The config has `step_size` α, `step_size_decay` ω (α / N(s, a)^ω at the N-th update of a pair), `epsilon` and
    `initial_value`.
    """

    STATE: tuple[str, ...] = ("tables", "exploration", "first_state")
    host_only = True

    def __init__(self, setup: Setup, config: Any) -> None:
        self.setup, self.config = setup, config
        self.states = States(setup.observation_space)
        self.num_actions = num_discrete(setup.action_space)
        self.rows = np.arange(setup.num_seeds)
        self.exploration = Streams(setup.seeds, "policy")
        self.memory = LastStep(setup.num_seeds, setup.num_envs)
        self.tables = {"q": self.table(config.initial_value)}
        if config.step_size_decay:
            self.tables["visits"] = self.table(0, np.int64)
        self.first_state = np.full(setup.num_seeds, -1)  # of sub-environment 0, whose value is told

    def table(self, value: float, dtype: Any = np.float64) -> np.ndarray:
        """`[S, states, actions]`."""
        return np.full((len(self.rows), self.states.num, self.num_actions), value, dtype)

    @property
    def q(self) -> np.ndarray:
        """The values that actions are chosen by, `[S, states, actions]`."""
        return self.tables["q"]

    def values_of(self, state: np.ndarray) -> np.ndarray:
        """The values `[S, N, A]` of the actions in `state` `[S, N]`."""
        return self.q[self.rows[:, None], state]

    def act(self, obs: np.ndarray, step: int) -> tuple[np.ndarray, Mapping[str, np.ndarray]]:
        """ε-greedy."""
        state = self.states(obs)
        if self.first_state[0] < 0:
            self.first_state = state[:, 0].copy()
        return epsilon_greedy(self.values_of(state), self.exploration, self.config.epsilon), {}

    def value_of(self, obs: np.ndarray) -> np.ndarray:
        """max_a Q(s, a), `[S, B]`, for `rlrepro probe`."""
        return self.values_of(self.states(obs)).max(-1)

    def predict(self, obs: np.ndarray, streams: Streams, deterministic: bool) -> np.ndarray:
        """Greedy, the first of equals; or ε-greedy, as in training."""
        q = self.values_of(self.states(obs))
        return q.argmax(-1) if deterministic else epsilon_greedy(q, streams, self.config.epsilon)

    def learn(self, state: np.ndarray, action: np.ndarray, target: np.ndarray, where: Any = True) -> np.ndarray:
        """Q(s, a) ← Q(s, a) + α (target − Q(s, a)) for one pair a seed `[S]`. target − Q(s, a) of before."""
        place = self.rows, state, action
        error = np.where(where, target - self.q[place], 0.0)
        self.q[place] += self.step_size(self.tables.get("visits"), place, where) * error
        return error

    def step_size(
        self, visits: np.ndarray | None, place: tuple[np.ndarray, ...], where: Any = True
    ) -> np.ndarray | float:
        """α / N(s, a)^ω for one pair a seed, N counting this update; without `visits` α."""
        alpha, decay = self.config.step_size, self.config.step_size_decay
        if visits is None:
            return alpha
        visits[place] += where
        return alpha / np.maximum(visits[place], 1.0) ** decay

    def metrics(self, error: np.ndarray, value: np.ndarray) -> dict[str, torch.Tensor]:
        """Metrics of an update: `error` `[S]`, the mean |δ|, and `value` `[S]`, of the first state seen."""
        return {"losses/td_error": torch.from_numpy(error), "values/first_state": torch.from_numpy(value)}

    def first_values(self) -> np.ndarray:
        """The action values `[S, A]` of the first state seen."""
        return self.q[self.rows, self.first_state]

    def get_policy(self) -> dict[str, torch.Tensor]:
        return {"q": torch.from_numpy(self.q.copy())}

    def set_policy(self, policy: Mapping[str, torch.Tensor]) -> None:
        self.tables["q"][...] = np.asarray(policy["q"])


class DrawnAhead(Tabular):
    """Tables whose updates need A', the action that is then taken: it is drawn with each update, for the next step."""

    STATE: tuple[str, ...] = ("next_action",)

    def __init__(self, setup: Setup, config: Any) -> None:
        super().__init__(setup, config)
        self.next_action = np.zeros((setup.num_seeds, setup.num_envs), np.int64)

    def act(self, obs: np.ndarray, step: int) -> tuple[np.ndarray, Mapping[str, np.ndarray]]:
        """A', which was drawn with the last update; ε-greedy where an episode begins."""
        action, extras = super().act(obs, step)
        return np.where(self.memory.begins, action, self.next_action), extras

    def draw_next(self, next_state: np.ndarray) -> np.ndarray:
        """A' `[S, N]` for the successors, ε-greedy; the actions of the next step."""
        self.next_action = epsilon_greedy(self.values_of(next_state), self.exploration, self.config.epsilon)
        return self.next_action


def one_env(batch: Transition, n: int) -> tuple[np.ndarray, ...]:
    """Action, reward, terminated, truncated `[S]` of sub-environment n."""
    return batch.action[:, n], batch.reward[:, n], batch.terminated[:, n], batch.truncated[:, n]
