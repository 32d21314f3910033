"""Wrappers in the usual Gymnasium form: a time-aware observation, a delayed reward, a reward scaled to learn from."""

import math
from typing import Any, SupportsFloat

import gymnasium as gym
import numpy as np
import numpy.typing as npt

Env = gym.Env[Any, Any]
Obs = npt.NDArray[np.floating[Any]]


class TimeFraction(gym.ObservationWrapper[Obs, Any, Obs], gym.utils.RecordConstructorArgs):
    """Appends the elapsed fraction of the time limit, 0 to 1, to a flat Box observation: `[n]` to `[n + 1]`.

    Where a time limit ends episodes, the state is Markov only with the time in it: Pardo et al., "Time Limits
    in Reinforcement Learning", ICML 2018. The limit is `max_episode_steps` or else the environment's own.
    """

    def __init__(self, env: Env, max_episode_steps: int | None = None) -> None:
        gym.utils.RecordConstructorArgs.__init__(self, max_episode_steps=max_episode_steps)
        super().__init__(env)
        box = env.observation_space
        if not isinstance(box, gym.spaces.Box) or len(box.shape) != 1 or box.dtype.kind != "f":
            raise ValueError(f"TimeFraction needs a flat Box of floats, not {box}")
        limit = _time_limit(env) if max_episode_steps is None else max_episode_steps
        if limit is None:
            raise ValueError("TimeFraction needs max_episode_steps: the environment has no time limit of its own")
        self.limit = limit
        self._elapsed = 0
        self.observation_space = gym.spaces.Box(
            np.append(box.low, box.dtype.type(0)),
            np.append(box.high, box.dtype.type(1)),
            dtype=box.dtype.type,
        )

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Obs, dict[str, Any]]:
        self._elapsed = 0
        return super().reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Obs, SupportsFloat, bool, bool, dict[str, Any]]:
        self._elapsed += 1
        return super().step(action)

    def observation(self, observation: Obs) -> Obs:
        return np.append(observation, observation.dtype.type(min(self._elapsed / self.limit, 1.0)))


def _time_limit(env: Env) -> int | None:
    """The least of an environment's time limits, in its steps: a wrapper may repeat each action."""
    limits, repeats, layer = [], 1, env
    while isinstance(layer, gym.Wrapper):
        limits.append((getattr(layer, "_max_episode_steps", None), repeats))  # of a TimeLimit
        if isinstance(layer, gym.wrappers.RepeatAction):
            repeats *= layer.num_repeats
        elif isinstance(layer, gym.wrappers.MaxAndSkipObservation):
            repeats *= layer._skip
        layer = layer.env
    limits.append((layer.spec and layer.spec.max_episode_steps, repeats))
    if any(kind.__name__ == "MiniGridEnv" for kind in type(layer).__mro__):
        limits.append((layer.max_steps, repeats))  # type: ignore[attr-defined]
    return min((-(-limit // steps) for limit, steps in limits if limit is not None and limit > 0), default=None)


class DelayedReward(gym.Wrapper[Any, Any, Any, Any], gym.utils.RecordConstructorArgs):
    """Pays rewards in sums: every `every` steps of an episode, and the rest at its end; 0 in between.

    Put it around the time limit, as around what `gymnasium.make` gives, or a truncation forfeits the last
    sum. With `every` beyond the longest episode, the return is all paid at the end. Where a wrapper within has a
    reward of its own to learn from, that is delayed likewise, and paid where what is learnt from ends.
    """

    def __init__(self, env: Env, every: int) -> None:
        if every < 1:
            raise ValueError(f"every must be at least 1, not {every}")
        gym.utils.RecordConstructorArgs.__init__(self, every=every)
        super().__init__(env)
        self.every = every
        self._begin()

    def _begin(self) -> None:
        self._elapsed, self._owed, self._owed_to_learn = 0, 0.0, 0.0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self._begin()
        return super().reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        obs, reward, terminated, truncated, info = super().step(action)
        learn_reward, learn_end = info.get("learn", (reward, terminated))
        self._elapsed += 1
        self._owed += float(reward)
        self._owed_to_learn += float(learn_reward)
        paid = learnt = 0.0
        due = terminated or truncated or self._elapsed % self.every == 0
        if due:
            paid, self._owed = self._owed, 0.0
        if due or learn_end:
            learnt, self._owed_to_learn = self._owed_to_learn, 0.0
        return obs, paid, terminated, truncated, {**info, "learn": (learnt, bool(learn_end))}


class ScaleReward(gym.Wrapper[Any, Any, Any, Any], gym.utils.RecordConstructorArgs):
    """Multiplies the reward that is learnt from by `scale`; returns stay the environment's own.

    What weighs rewards against entropy in soft actor-critic, its `reward scale` (Haarnoja et al., 2018,
    arXiv:1801.01290, Section 5.2). With a temperature that is learned it sets where that begins, and how large values
    are.
    """

    def __init__(self, env: Env, scale: float) -> None:
        if not (math.isfinite(scale) and scale > 0):
            raise ValueError(f"scale must be a finite number above 0, not {scale}")
        gym.utils.RecordConstructorArgs.__init__(self, scale=scale)
        super().__init__(env)
        self.scale = scale

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        obs, reward, terminated, truncated, info = super().step(action)
        learn_reward, learn_end = info.get("learn", (reward, terminated))  # of a wrapper within
        info = {**info, "learn": (self.scale * float(learn_reward), bool(learn_end))}
        return obs, reward, terminated, truncated, info
