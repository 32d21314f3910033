"""What a replay memory may have beside uniform sampling: n-step transitions, priorities."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from rlrepro.agent import Memory, Transition
from rlrepro.memory import Replay, as_transition, flat
from rlrepro.schedules import linear


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


class SumTree:
    """Numbers `[S, capacity]` and their sums in a binary tree a seed: sampling in proportion to them takes log time.

    Node k's children are 2k and 2k + 1 and the leaves come last. A parent is always the sum of its children,
    computed anew, so a tree depends on its leaves alone, not on the order in which they came.
    """

    def __init__(self, num_seeds: int, capacity: int) -> None:
        self._depth = max(1, (capacity - 1).bit_length())
        self._width = 1 << self._depth
        self._nodes = np.zeros((num_seeds, 2 * self._width))
        self._flat = self._nodes.reshape(-1)
        self._roots = 2 * self._width * np.arange(num_seeds)[:, None]

    @property
    def total(self) -> np.ndarray:
        """Each seed's sum `[S]`."""
        return self._nodes[:, 1]

    def get(self, places: np.ndarray) -> np.ndarray:
        """The numbers at places `[S, B]`."""
        return self._flat[places + (self._roots + self._width)]

    def set(self, places: np.ndarray, values: np.ndarray) -> None:
        """Numbers `[S, B]` at places `[S, B]`; the last one stands where a place comes twice."""
        node = places + self._width
        self._flat[node + self._roots] = values
        for _ in range(self._depth):
            node >>= 1
            child = 2 * node + self._roots
            self._flat[node + self._roots] = self._flat[child] + self._flat[child + 1]

    def find(self, mass: np.ndarray) -> np.ndarray:
        """The places `[S, B]` at which the running sum of a seed's numbers passes `mass` `[S, B]`.

        Never a place whose number is 0, though rounding may carry `mass` past the last one.
        """
        node, mass = np.ones(mass.shape, np.int64), mass.copy()
        for _ in range(self._depth):
            child = 2 * node + self._roots
            left = self._flat[child]
            right = (mass >= left) & (self._flat[child + 1] > 0)
            mass -= left * right
            node = 2 * node + right
        return node - self._width


class PrioritisedReplay(Replay):
    """Proportional prioritisation (Schaul et al., 2016, Section 3.3 and Algorithm 1); batches `[S, B, ...]`.

    P(i) = p_i^α / Σ_k p_k^α with p_i = |δ_i| + ε, and 1 or the seed's largest p so far for a new transition. A
    batch has one sample from each of B equal parts of the sum (Appendix B.2.1), and as extras its `index`, and
    `weight` = (N P(i))^−β divided by the batch's largest. β rises linearly from `beta` to 1 over `beta_steps` env
    steps. Whoever learns calls `update_priorities` with the new |δ|, which is not clipped; on Atari the paper clips
    rewards and δ to [−1, 1] (Section 4).
    """

    EPSILON = 1e-6  # the paper: "a small positive constant"

    def __init__(self, *args: Any, alpha: float, beta: float, beta_steps: int, **options: Any) -> None:
        super().__init__(*args, **options)
        self.alpha, self.beta, self.beta_steps = alpha, beta, beta_steps
        self._beta = beta  # now
        num_seeds = len(self._streams.generators)
        self._tree = SumTree(num_seeds, self.capacity)
        self._largest = np.ones((num_seeds, 1))  # p^α

    def add(self, transition: Transition) -> None:
        start = self._next
        super().add(transition)
        places = (start + np.arange(self._added)) % self.capacity
        places = np.broadcast_to(places, (len(self._largest), self._added))
        self._tree.set(places, np.broadcast_to(self._largest, places.shape))

    def ready(self, step: int) -> Iterator[Transition]:
        self._beta = linear(self.beta, 1.0, self.beta_steps, step)
        return super().ready(step)

    def sample(self) -> Transition:
        parts = self._streams.uniform(self.batch_size) + np.arange(self.batch_size)
        places = self._tree.find(parts * (self._tree.total[:, None] / self.batch_size))
        probability = self._tree.get(places) / self._tree.total[:, None]
        weight = (self._size * probability) ** -self._beta
        weight = (weight / weight.max(1, keepdims=True)).astype(np.float32)
        batch = self._gather(places)
        batch |= {"index": torch.from_numpy(places), "weight": torch.from_numpy(weight).to(self.device)}
        return as_transition(batch)

    def update_priorities(self, index: torch.Tensor, error: torch.Tensor) -> None:
        """|δ| `[S, B]` of the transitions at `extras["index"]`."""
        priority = (error.detach().cpu().numpy().astype(np.float64) + self.EPSILON) ** self.alpha
        self._tree.set(index.numpy(), priority)
        np.maximum(self._largest, priority.max(1, keepdims=True), out=self._largest)

    def get_state(self) -> dict[str, Any]:
        places = np.broadcast_to(np.arange(self._size), (len(self._largest), self._size))
        return {**super().get_state(), "priorities": self._tree.get(places), "largest": self._largest}

    def set_state(self, state: Mapping[str, Any]) -> None:
        super().set_state(state)
        self._largest = np.array(state["largest"])
        self._tree = SumTree(len(self._largest), self.capacity)
        places = np.broadcast_to(np.arange(self._size), (len(self._largest), self._size))
        self._tree.set(places, np.asarray(state["priorities"]))


__all__ = ["NStep", "PrioritisedReplay", "Replay", "SumTree"]
