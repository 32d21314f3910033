"""Transitions of n steps, made in front of any memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from rlrepro.agent import Memory, Transition
from rlrepro.memory import check_free, flat


class NStep:
    """In front of a memory: transitions of `num_steps` steps, each sub-environment's on its own.

    The one that began at t has the reward Σ_{k<m} γ^k r_{t+k}, the successor and ends of step t+m−1, and
    `extras["discount"]` = γ^m, where m is `num_steps`, or less where the episode ends before (Hessel et al.,
    2018, eq. 2). It goes on to the memory `num_steps` − 1 steps after its first, however long it is, so that every
    seed's memory fills alike; what began in the last `num_steps` − 1 steps of a run is never learnt from.
    """

    def __init__(self, memory: Memory, num_steps: int, gamma: float) -> None:
        self.memory, self.num_steps, self.gamma = memory, num_steps, gamma
        self._window: list[dict[str, np.ndarray]] = []

    def add(self, transition: Transition) -> None:
        step = {name: np.array(value) for name, value in flat(transition).items()}
        if not self._window:
            check_free(step, "discount")
        self._window.append(step)
        if len(self._window) == self.num_steps:
            self.memory.add(self._joined())
            self._window.pop(0)

    def _joined(self) -> Transition:
        """The transition that the oldest step begins."""
        joined = dict(self._window[0])
        reward = joined["reward"].astype(np.float64)
        discount = np.full(reward.shape, self.gamma)
        running = ~(joined["terminated"] | joined["truncated"])
        for step in self._window[1:]:
            if not running.any():
                break
            reward += np.where(running, discount * step["reward"], 0.0)
            discount = np.where(running, discount * self.gamma, discount)
            for name in ("next_obs", "terminated", "truncated"):
                value = step[name]
                joined[name] = np.where(running.reshape(*running.shape, *[1] * (value.ndim - 2)), value, joined[name])
            running = running & ~(step["terminated"] | step["truncated"])
        joined |= {"reward": reward, "discount": discount}
        return Transition(**{name: joined.pop(name) for name in Transition._fields[:-1]}, extras=joined)

    def ready(self, step: int) -> Iterator[Transition]:
        return self.memory.ready(step)

    def cut(self) -> None:
        if self._window:
            self._window[-1]["truncated"] |= ~self._window[-1]["terminated"]
        self.memory.cut()

    def get_state(self) -> dict[str, Any]:
        names = self._window[0] if self._window else ()
        window = {name: np.stack([step[name] for step in self._window], 1) for name in names}
        return {"window": window, "memory": self.memory.get_state()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        window = {name: np.asarray(value) for name, value in state.get("window", {}).items()}
        length = len(next(iter(window.values()))[0]) if window else 0
        self._window = [{name: value[:, k].copy() for name, value in window.items()} for k in range(length)]
        self.memory.set_state(state["memory"])
