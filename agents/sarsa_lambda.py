"""Sarsa(λ) and True Online Sarsa(λ) with linear function approximation: Sutton & Barto, 2nd ed., section 12.7.

Q(s, a) is the sum of the weights w of the binary features that are active in (s, a): one per tiling where observations
are a Box (tile coding), the pair itself where they are finite. With x the features of (S, A), Q = wᵀx, Q' = wᵀx':

    Sarsa(λ), p. 305:         δ = R + γ Q' − Q;   z ← z + x (accumulating), or z_i ← 1 where x_i = 1 (replacing);
                              w ← w + α δ z;   z ← γ λ z
    True Online, p. 307:      δ = R + γ Q' − Q;   z ← γ λ z + (1 − α γ λ zᵀx) x               (dutch traces)
    (van Seijen et al., 2016) w ← w + α (δ + Q − Q_old) z − α (Q − Q_old) x;   Q_old ← Q'

Q' = 0 where S' is terminal. A' is drawn before the update, and is the action that is then taken. Where the time limit
ends an episode, it is drawn for the true successor and bootstrapped from; the traces begin anew with each episode. The
sub-environments of a seed share w and learn one after the other, each with z and Q_old of its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
import torch

from rlrepro.agent import Metrics, Setup, Transition, UnsupportedSpace, hyper
from rlrepro.distributions import num_discrete
from rlrepro.stateful import Stateful
from rlrepro.streams import Streams
from rlrepro.tabular import LastStep, States, epsilon_greedy
from rlrepro.tiles import TileCoder

MOST_WEIGHTS = 10**7  #: of an action, a limit of memory alone: a step visits only those whose trace is not 0


class SarsaLambda(Stateful):
    """Sarsa(λ) with accumulating, replacing or dutch traces; the last are True Online Sarsa(λ)."""

    STATE = ("w", "z", "q_old", "next_action", "exploration")
    host_only = True

    @dataclasses.dataclass(frozen=True)
    class Config:
        step_size: float = hyper(
            0.5, "α × the number of active features", "secondary: Sutton & Barto, Figure 12.10", low=0
        )
        trace_decay: float = hyper(
            0.9, "λ", "ours: between .84 and .92 of Sutton & Barto's Figure 12.10", low=0, high=1
        )
        traces: str = hyper(
            "replacing",
            "how they grow; dutch: True Online Sarsa(λ)",
            "secondary: Sutton & Barto, section 12.7",
            choices=("replacing", "accumulating", "dutch"),
        )
        gamma: float = hyper(1.0, "discount factor", "secondary: Sutton & Barto, Example 10.1", low=0, high=1)
        epsilon: float = hyper(0.0, "of ε-greedy", "secondary: Sutton & Barto, Example 10.1", low=0, high=1)
        num_tilings: int = hyper(
            8,
            "tilings of a Box",
            "secondary: Sutton & Barto, Example 10.1",
            low=1,
            high=1024,
            only="Box observations",
        )
        num_tiles: int = hyper(
            8,
            "tiles per dimension, in each tiling",
            "secondary: Sutton & Barto, Example 10.1, but wider",
            low=2,
            high=1024,
            only="Box observations",
        )
        unbounded: float = hyper(
            3.0,
            "± this for a bound that the space lacks; where the other lies beyond it, twice this from there",
            "ours: tiles need bounds",
            low=0.001,
            only="Box observations",
        )

    PRESETS = {"*": {"num_envs": 1, "total_timesteps": 100_000, "source": "ours: about 500 episodes of MountainCar"}}

    def __init__(self, setup: Setup, config: Config) -> None:
        self.setup, self.config = setup, config
        self.coder = _coder(setup.observation_space, config)
        num_features = self.coder.num if isinstance(self.coder, States) else self.coder.num_features
        self.alpha = config.step_size / (1 if isinstance(self.coder, States) else config.num_tilings)
        shape = setup.num_seeds, setup.num_envs
        self.w = np.zeros((setup.num_seeds, num_discrete(setup.action_space), num_features))
        self.z = np.zeros((*shape, *self.w.shape[1:]))
        self._traced: list[tuple[np.ndarray, ...]] = []  # by sub-environment where z is not 0; empty: not known
        self.q_old, self.next_action = np.zeros(shape), np.zeros(shape, np.int64)
        self.rows = np.arange(setup.num_seeds)
        self.exploration = Streams(setup.seeds, "policy")
        self.memory = LastStep(*shape)

    def features(self, obs: np.ndarray) -> np.ndarray:
        """The active features `[S, N, K]` of observations."""
        if isinstance(self.coder, States):
            return self.coder(obs)[..., None]
        return self.coder(obs.reshape(*obs.shape[:2], -1).astype(np.float64))

    def q(self, active: np.ndarray) -> np.ndarray:
        """The action values `[S, N, A]` of active features."""
        rows, actions = self.rows[:, None, None, None], np.arange(self.w.shape[1])[:, None]
        return self.w[rows, actions, active[:, :, None, :]].sum(-1)

    def act(self, obs: np.ndarray, step: int) -> tuple[np.ndarray, Mapping[str, np.ndarray]]:
        """A', which was drawn with the last update; ε-greedy where an episode begins, with traces of 0."""
        action = epsilon_greedy(self.q(self.features(obs)), self.exploration, self.config.epsilon)
        self.z[self.memory.begins] = 0.0
        self.q_old[self.memory.begins] = 0.0
        return np.where(self.memory.begins, action, self.next_action), {}

    def value_of(self, obs: np.ndarray) -> np.ndarray:
        """max_a q(s, a), `[S, B]`, for `rlrepro probe`."""
        return self.q(self.features(obs)).max(-1)

    def predict(self, obs: np.ndarray, streams: Streams, deterministic: bool) -> np.ndarray:
        """Greedy, the first of equals; or ε-greedy, as in training."""
        q = self.q(self.features(obs))
        return q.argmax(-1) if deterministic else epsilon_greedy(q, streams, self.config.epsilon)

    def update(self, batch: Transition, step: int) -> Metrics:
        active, next_active = self.features(batch.obs), self.features(batch.next_obs)
        next_q = self.q(next_active)
        self.next_action = epsilon_greedy(next_q, self.exploration, self.config.epsilon)
        alpha, gamma, gamma_lambda = self.alpha, self.config.gamma, self.config.gamma * self.config.trace_decay
        errors, values = np.zeros(len(self.rows)), np.zeros(len(self.rows))
        for n in range(self.setup.num_envs):
            z, q_old = self.z[:, n], self.q_old[:, n]
            x = self.rows[:, None], batch.action[:, n, None], active[:, n]  # where the features of (S, A) are 1
            x_next = self.rows[:, None], self.next_action[:, n, None], next_active[:, n]
            q, q_next = self.w[x].sum(-1), self.w[x_next].sum(-1) * ~batch.terminated[:, n]
            delta = batch.reward[:, n] + gamma * q_next - q
            errors += abs(delta)
            values += q
            on = self._nonzero_traces(n, x)
            if self.config.traces == "dutch":
                z[on] *= gamma_lambda
                z[x] += 1 - alpha * z[x].sum(-1, keepdims=True)  # γ λ is in z already
                self.w[on] += (alpha * (delta + q - q_old))[on[0]] * z[on]
                self.w[x] -= (alpha * (q - q_old))[:, None]
                q_old[:] = q_next
            else:
                z[x] = 1.0 if self.config.traces == "replacing" else z[x] + 1.0
                self.w[on] += (alpha * delta)[on[0]] * z[on]
                z[on] *= gamma_lambda
        num = self.setup.num_envs
        return {"losses/td_error": torch.from_numpy(errors / num), "losses/q_values": torch.from_numpy(values / num)}

    def _nonzero_traces(self, n: int, x: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        """Where traces of a sub-environment are not 0, and where x is 1: seeds, actions and features, each once."""
        if not self._traced:
            self._traced = [np.nonzero(self.z[:, m]) for m in range(self.setup.num_envs)]
        z, traced = self.z[:, n], self._traced[n]
        goes_on, is_new = z[traced] != 0, z[x] == 0
        old, new = (index[goes_on] for index in traced), (np.broadcast_to(index, is_new.shape)[is_new] for index in x)
        self._traced[n] = tuple(map(np.concatenate, zip(old, new, strict=True)))
        return self._traced[n]

    def set_state(self, state: Mapping[str, Any]) -> None:
        super().set_state(state)
        self._traced = []

    def get_policy(self) -> dict[str, torch.Tensor]:
        return {"w": torch.from_numpy(self.w.copy())}

    def set_policy(self, policy: Mapping[str, torch.Tensor]) -> None:
        self.w[...] = np.asarray(policy["w"])


def _coder(space: gymnasium.Space[Any], config: SarsaLambda.Config) -> States | TileCoder:
    if not isinstance(space, gymnasium.spaces.Box):
        return States(space)
    low, high, far = space.low.astype(np.float64), space.high.astype(np.float64), config.unbounded
    # The largest numbers of a type stand for no bound; those of a byte, or of a truth value, are some.
    if space.dtype.itemsize == 1:
        beyond = np.inf
    else:
        limits = np.iinfo(space.dtype) if space.dtype.kind in "iu" else np.finfo(space.dtype)
        beyond = min(float(limits.max), 1e30)
    has_low, has_high = low > -beyond, high < beyond
    lowest = np.where(has_high & (high <= -far), high - 2 * far, -far)
    highest = np.where(has_low & (low >= far), low + 2 * far, far)
    low, high = np.where(has_low, low, lowest), np.where(has_high, high, highest)
    high = np.where(low == high, low + 1, high)  # a constant: the same tile of each tiling
    if config.num_tilings * config.num_tiles**low.size > MOST_WEIGHTS:
        tilings, tiles = config.num_tilings, config.num_tiles
        raise UnsupportedSpace(
            f"a Box of few dimensions, which {tilings} tilings of {tiles} tiles each can cover, not {space}: "
            f"{tilings} × {tiles}^{low.size} weights an action are over {MOST_WEIGHTS:,}"
        )
    return TileCoder(low, high, config.num_tilings, config.num_tiles)
