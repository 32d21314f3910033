"""Uniform random actions: the reference below which nothing has been learnt."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

import gymnasium
import numpy as np

from rlrepro.agent import Metrics, Setup, Transition, UnsupportedSpace
from rlrepro.stateful import Stateful
from rlrepro.streams import Streams


class Forget(Stateful):
    """A memory that keeps nothing and is never ready."""

    def add(self, transition: Transition) -> None:
        """Nothing to do."""

    def ready(self, step: int) -> Iterator[Transition]:
        return iter(())

    def cut(self) -> None:
        """Nothing to do."""


class Random(Stateful):
    """Actions drawn uniformly from a Discrete or a bounded Box space, each seed from a stream of its own."""

    STATE = ("streams",)
    host_only = True

    @dataclasses.dataclass(frozen=True)
    class Config:
        pass

    PRESETS = {"*": {"num_envs": 4, "total_timesteps": 20_000, "source": "ours: enough for a reference score"}}
    PROBE = None

    def __init__(self, setup: Setup, config: Config) -> None:
        self.space = setup.action_space
        bounded = isinstance(self.space, gymnasium.spaces.Box) and self.space.is_bounded()
        if not bounded and not isinstance(self.space, gymnasium.spaces.Discrete):
            raise UnsupportedSpace(f"Discrete or bounded Box actions, not {self.space}")
        self.streams = Streams(setup.seeds, "policy")
        self.memory = Forget()

    def act(self, obs: np.ndarray, step: int) -> tuple[np.ndarray, Mapping[str, np.ndarray]]:
        return self.predict(obs, self.streams, deterministic=False), {}

    def predict(self, obs: np.ndarray, streams: Streams, deterministic: bool) -> np.ndarray:
        num_envs = obs.shape[1]
        if isinstance(self.space, gymnasium.spaces.Discrete):
            return streams.integers(int(self.space.n), num_envs)
        assert isinstance(self.space, gymnasium.spaces.Box)
        unit = streams.uniform(num_envs, math.prod(self.space.shape)).reshape(*obs.shape[:2], *self.space.shape)
        low, high = self.space.low.astype(np.float64), self.space.high.astype(np.float64)
        if np.issubdtype(self.space.dtype, np.integer):  # each whole number as likely as any other
            return np.floor(low + unit * (high - low + 1.0)).astype(self.space.dtype)
        return (low + unit * (high - low)).astype(self.space.dtype)

    def update(self, batch: Transition, step: int) -> Metrics:
        return {}

    def get_policy(self) -> dict[str, Any]:
        return {}

    def set_policy(self, policy: Mapping[str, Any]) -> None:
        """It has none."""
