"""Observations and rewards normalised by running statistics, every seed by its own.

Each step of the N sub-environments of a seed updates its statistics, and then

    obs ← clip((obs − mean) / √(var + ε), ±10)        reward ← clip(reward / √(var of the discounted return R + ε), ±10)

What is counted differs (`--normalise-as`), and with it the scale of rewards:

- `vecnormalize`, as Stable-Baselines3's VecNormalize: the observations to act on next, those after an autoreset; and
  R ← γ R + r, which is 0 again after the last step of an episode.
- `gymnasium`, as its NormalizeObservation and NormalizeReward around one sub-environment, with CleanRL's clipping: the
  last observation of an episode too, before the first of the next; and R ← γ R (1 − terminated) + r, which goes on over
  a truncation and takes the last reward of an episode into the next. Several sub-environments share their statistics
  here, where CleanRL's have some each.

`next_obs` is normalised by the same statistics as the observation of its time. A transition keeps the numbers of the
time when it was taken: a replay memory does not normalise anew what it samples, as Gymnasium's wrappers do not (and
Stable-Baselines3's off-policy algorithms do). Evaluation and films see observations by the statistics as training left
them, and the environment's own rewards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import Space
from gymnasium.spaces import Box

from rlrepro.agent import Policy, Transition
from rlrepro.errors import Problem
from rlrepro.networks import is_image
from rlrepro.settings import Settings
from rlrepro.stateful import Stateful
from rlrepro.streams import Streams
from rlrepro.vector import EnvBatch, VectorEnv

EPSILON = 1e-8
CLIP = 10.0
_FIRST_COUNT = 1e-4  # how much the mean 0 and the variance 1 of the beginning weigh, in values
OBS_MEAN, OBS_VAR = "normalise/obs_mean", "normalise/obs_var"  #: their names in policy.safetensors


class Moments(Stateful):
    """Mean and variance `[S, ...]` of the values that each seed has met, in float64.

    Batches are joined by Chan, Golub & LeVeque (1979), "Updating formulae and a pairwise algorithm for computing
    sample variances".
    """

    STATE = ("mean", "var", "count")

    def __init__(self, num_seeds: int, shape: tuple[int, ...]) -> None:
        self.mean, self.var = np.zeros((num_seeds, *shape)), np.ones((num_seeds, *shape))
        self.count = np.full((num_seeds, *[1] * len(shape)), _FIRST_COUNT)

    def update(self, values: np.ndarray, seeds: Any = slice(None)) -> None:
        """Count `values` `[S, N, ...]` in; where `seeds` are given, those of these alone."""
        values = np.ascontiguousarray(values, np.float64)  # one layout: sums run in one order, whatever stands beside
        num = values.shape[1]
        mean = np.add.reduce(values, 1) / num
        var = np.add.reduce(np.square(values - mean[:, None]), 1) / num
        count = self.count[seeds]
        total, delta = count + num, mean - self.mean[seeds]
        self.mean[seeds] += delta * (num / total)
        self.var[seeds] = (self.var[seeds] * count + var * num + np.square(delta) * (count * num / total)) / total
        self.count[seeds] = total


class Statistics(Stateful):
    """What a group of seeds is normalised by: moments of observations (`obs`), of discounted returns (`returns`)."""

    STATE = ("obs", "returns", "running")

    def __init__(
        self,
        num_seeds: int,
        num_envs: int,
        obs_shape: tuple[int, ...] | None,
        reward_gamma: float | None,
        normalise_as: str = "vecnormalize",
    ) -> None:
        """None for `obs_shape` leaves observations as they are; None for `reward_gamma`, the discount, rewards."""
        self.across_episodes = normalise_as == "gymnasium"
        self.obs = None if obs_shape is None else Moments(num_seeds, obs_shape)
        self.returns = None if reward_gamma is None else Moments(num_seeds, ())
        self.gamma = reward_gamma or 0.0
        self.running = np.zeros((num_seeds, num_envs))  #: R

    @staticmethod
    def of_settings(settings: Settings, space: Space[Any], num_seeds: int) -> Statistics | None:
        """Those that the settings ask for, None for none; `Problem` where `space` cannot be normalised."""
        if not (settings.normalise_obs or settings.normalise_reward):
            return None
        obs_shape = normalised_space(space).shape if settings.normalise_obs else None
        reward_gamma = float(settings.hyperparameters["gamma"]) if settings.normalise_reward else None
        return Statistics(num_seeds, settings.num_envs, obs_shape, reward_gamma, settings.normalise_as)

    def begin(self, obs: np.ndarray) -> np.ndarray:
        """New episodes of all sub-environments; their first observations `[S, N, ...]`, counted and normalised."""
        self.running = np.zeros_like(self.running)
        if self.obs is not None:
            self.obs.update(obs)
        return self.normalised(obs)

    def observations(
        self, next_obs: np.ndarray, obs: np.ndarray, ended: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The successors `[S, N, ...]` and the observations to act on next, counted and normalised.

        The two differ where episodes `ended` `[S, N]`; None says that none did.
        """
        if self.obs is None:
            return next_obs, obs
        self.obs.update(next_obs if self.across_episodes else obs)
        successors = self.normalised(next_obs)
        if ended is None:
            return successors, successors
        if not self.across_episodes:
            return successors, self.normalised(obs)
        for n in range(ended.shape[1]):
            seeds = np.flatnonzero(ended[:, n])
            self.obs.update(obs[seeds, n : n + 1], seeds)
        where = ended.reshape(*ended.shape, *[1] * (obs.ndim - 2))
        return successors, np.where(where, self.normalised(obs), successors)

    def normalised(self, obs: np.ndarray) -> np.ndarray:
        """Observations `[S, B, ...]` by the statistics as they are."""
        return obs if self.obs is None else normalised(obs, self.obs.mean, self.obs.var)

    def reward(self, reward: np.ndarray, terminated: np.ndarray, ended: np.ndarray) -> np.ndarray:
        """Rewards `[S, N]`, counted and normalised; `terminated`, or `ended`, which episodes they were the last of."""
        if self.returns is None:
            return reward
        past = self.running * ~terminated if self.across_episodes else self.running
        self.running = past * self.gamma + reward
        self.returns.update(self.running)
        if not self.across_episodes:
            self.running[ended] = 0.0
        return _clipped(reward / np.sqrt(self.returns.var + EPSILON)[:, None])

    def named(self) -> dict[str, np.ndarray]:
        """What of them a finished policy needs, by name, `[S, ...]`."""
        return {} if self.obs is None else {OBS_MEAN: self.obs.mean, OBS_VAR: self.obs.var}


class NormalisedEnv(VectorEnv):
    """A `VectorEnv` whose observations and transitions are normalised; `reward` stays the environment's own."""

    def __init__(
        self, statistics: Statistics, batch: EnvBatch, seeds: Sequence[int], num_envs: int, name: str = "environment"
    ) -> None:
        super().__init__(batch, seeds, num_envs, name)
        self.statistics = statistics
        if statistics.obs is not None:
            self.observation_space = normalised_space(self.observation_space)

    def _reset(self, *purpose: str | int) -> np.ndarray:
        self.obs = self.statistics.begin(super()._reset(*purpose))
        return self.obs

    def step(self, action: np.ndarray, extras: Mapping[str, Any]) -> tuple[Transition, np.ndarray]:
        transition, obs = super().step(action, extras)  # its `obs` was ours already
        next_obs, self.obs = self.statistics.observations(transition.next_obs, obs, self.ended)
        ends = transition.terminated | transition.truncated  # with those that are only learnt from, as a lost life
        reward = self.statistics.reward(transition.reward, transition.terminated, ends)
        return transition._replace(reward=reward, next_obs=next_obs), self.obs

    def get_state(self) -> dict[str, Any]:
        """The environments, and the observations as they were seen: statistics may have gone on since."""
        return {**super().get_state(), "seen": self.obs}

    def set_state(self, state: Mapping[str, Any]) -> None:
        super().set_state(state)
        self.obs = np.array(state["seen"])


class NormalisedPolicy:
    """A policy that meets observations by the statistics as they are; evaluation changes neither."""

    def __init__(self, policy: Policy, statistics: Statistics) -> None:
        self.policy, self.statistics = policy, statistics

    def predict(self, obs: np.ndarray, streams: Streams, deterministic: bool) -> np.ndarray:
        return self.policy.predict(self.statistics.normalised(obs), streams, deterministic)

    def get_policy(self) -> Mapping[str, Any]:
        return {**self.policy.get_policy(), **self.statistics.named()}

    def set_policy(self, policy: Mapping[str, Any]) -> None:
        tensors = dict(policy)
        if self.statistics.obs is not None:
            self.statistics.obs.mean, self.statistics.obs.var = (
                np.asarray(tensors.pop(name)) for name in (OBS_MEAN, OBS_VAR)
            )
        self.policy.set_policy(tensors)


def normalised(obs: np.ndarray, mean: np.ndarray, var: np.ndarray) -> np.ndarray:
    """Observations `[S, B, ...]` by `mean` and `var` `[S, ...]`, in float32."""
    shape = (len(obs), 1, *obs.shape[2:])
    return _clipped((obs - mean.reshape(shape)) / np.sqrt(var.reshape(shape) + EPSILON)).astype(np.float32)


def _clipped(values: np.ndarray) -> np.ndarray:
    return np.minimum(np.maximum(values, -CLIP), CLIP)


def normalised_space(space: Space[Any]) -> Box:
    """What an agent sees of `space` once it is normalised; `Problem` where it cannot be."""
    if not isinstance(space, Box) or not np.issubdtype(space.dtype, np.floating):
        kind = f"a Box of {space.dtype}" if isinstance(space, Box) else f"{type(space).__name__}"
        raise Problem(f"--normalise-obs needs observations that are a Box of floats, not {kind}; leave it out")
    if is_image(space):
        raise Problem("--normalise-obs needs vectors, not images, whose planes are in [0, 1] already; leave it out")
    return Box(-np.inf, np.inf, space.shape, np.float32)
