"""Prioritised experience replay (Schaul et al., 2016): transitions drawn in proportion to their priorities."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from rlrepro.agent import Transition
from rlrepro.memory import as_transition, check_free
from rlrepro.replay import Replay
from rlrepro.schedules import linear


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

    P(i) = p_i^α / Σ_k p_k^α with p_i = |δ_i| + ε. A new transition gets the largest p that its seed ever had, and 1
    at least, as in Baselines' code (Algorithm 1: the largest of those that are kept). A
    batch has one sample from each of B equal parts of the sum (Appendix B.2.1), and as extras its `index`, and
    `weight` = (N P(i))^−β divided by the batch's largest. β rises linearly from `beta` to 1 over `beta_steps` env
    steps. Whoever learns calls `update_priorities` with the new δ, which is not clipped; on Atari the paper clips
    rewards and δ to [−1, 1] (Section 4).
    """

    EPSILON = 1e-6  # the paper: "a small positive constant"

    def __init__(self, *args: Any, alpha: float, beta: float, beta_steps: int, **options: Any) -> None:
        super().__init__(*args, **options)
        self.alpha, self.beta, self.beta_steps = alpha, beta, beta_steps
        self.beta_now = beta
        num_seeds = len(self._streams.generators)
        self._tree = SumTree(num_seeds, self.capacity)
        self._largest = np.ones((num_seeds, 1))  # p^α

    def add(self, transition: Transition) -> None:
        start = self._next
        if not self._store:
            check_free(transition.extras, "index", "weight")
        super().add(transition)
        places = (start + np.arange(self._added)) % self.capacity
        places = np.broadcast_to(places, (len(self._largest), self._added))
        self._tree.set(places, np.broadcast_to(self._largest, places.shape))

    def ready(self, step: int) -> Iterator[Transition]:
        self.beta_now = linear(self.beta, 1.0, self.beta_steps, step)
        return super().ready(step)

    def sample(self) -> Transition:
        parts = self._streams.uniform(self.batch_size) + np.arange(self.batch_size)
        places = self._tree.find(parts * (self._tree.total[:, None] / self.batch_size))
        probability = self._tree.get(places) / self._tree.total[:, None]
        weight = (self._size * probability) ** -self.beta_now
        weight = (weight / weight.max(1, keepdims=True)).astype(np.float32)
        batch = self._gather(places)
        batch |= {"index": torch.from_numpy(places), "weight": torch.from_numpy(weight).to(self.device)}
        return as_transition(batch)

    def update_priorities(self, index: torch.Tensor, error: torch.Tensor) -> None:
        """From δ or |δ|, `[S, B]`, of the transitions at `extras["index"]`."""
        priority = (error.detach().abs().cpu().numpy().astype(np.float64) + self.EPSILON) ** self.alpha
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
