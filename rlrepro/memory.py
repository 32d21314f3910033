"""What an agent learns from: storage, and when to learn. `rlrepro.replay` has the memory that is sampled from.

A memory takes steps `[S, N, ...]` as NumPy arrays and gives batches as tensors on the agent's device.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from rlrepro.agent import Transition
from rlrepro.errors import AgentFault
from rlrepro.streams import Streams

_FIELDS = Transition._fields[:-1]


class Rollout:
    """The last `num_steps` steps of every sub-environment: one batch `[S, T, N, ...]` when they are full.

    The batch shares its storage with the memory: it is good until the next `add`.
    """

    def __init__(self, num_steps: int, device: str = "cpu") -> None:
        self.num_steps, self.device = num_steps, device
        self._store: dict[str, np.ndarray] = {}
        self._filled = 0

    def add(self, transition: Transition) -> None:
        values = flat(transition)
        if not self._store:
            self._store = {
                name: np.zeros((len(v), self.num_steps, *v.shape[1:]), stored(v.dtype)) for name, v in values.items()
            }
        check_same(values, self._store)
        for name, value in values.items():
            self._store[name][:, self._filled] = value
        self._filled += 1

    def ready(self, step: int) -> Iterator[Transition]:
        if self._filled == self.num_steps:
            self._filled = 0
            yield as_transition({name: torch.from_numpy(array).to(self.device) for name, array in self._store.items()})

    def cut(self) -> None:
        if self._filled:
            last = self._filled - 1
            self._store["truncated"][:, last] |= ~self._store["terminated"][:, last]

    def get_state(self) -> dict[str, Any]:
        return {"filled": self._filled, "store": {k: v[:, : self._filled] for k, v in self._store.items()}}

    def set_state(self, state: Mapping[str, Any]) -> None:
        self._filled = state["filled"]
        self._store = {}
        for name, value in state.get("store", {}).items():
            array = np.asarray(value)
            self._store[name] = np.zeros((len(array), self.num_steps, *array.shape[2:]), array.dtype)
            self._store[name][:, : self._filled] = array


_OBSERVED = "obs", "next_obs"  # of which zero may be none: a Discrete space that begins elsewhere


class Episodes:
    """Whole episodes: a batch `[S, E, T, ...]` when a seed has `num_episodes` of them, padded after each end.

    Seeds end their episodes at different times, and each must learn as it would alone. So a batch holds only the
    seeds that are ready now (`extras["ready"]` `[S]`; leave the others' parameters as they are), and T is the
    least power of two that its own longest episode fits in; seeds with different T come in batches of their own.
    `extras["valid"]` `[S, E, T]` is false on padding, where the last observation goes on, and on seeds that are not
    ready; all else is zero there.
    """

    def __init__(self, num_episodes: int, device: str = "cpu") -> None:
        self.num_episodes, self.device = num_episodes, device
        self._running: list[list[list[dict[str, np.ndarray]]]] = []
        self._whole: list[list[dict[str, np.ndarray]]] = []

    def add(self, transition: Transition) -> None:
        values = flat(transition)
        num_seeds, num_envs = values["reward"].shape
        if not self._running:
            check_free(values, "ready", "valid")
            self._running = [[[] for _ in range(num_envs)] for _ in range(num_seeds)]
            self._whole = [[] for _ in range(num_seeds)]
        ended = values["terminated"] | values["truncated"]
        for seed in range(num_seeds):
            for env in range(num_envs):
                running = self._running[seed][env]
                running.append({name: value[seed, env].copy() for name, value in values.items()})
                if ended[seed, env]:
                    self._whole[seed].append({name: np.stack([step[name] for step in running]) for name in values})
                    running.clear()

    def ready(self, step: int) -> Iterator[Transition]:
        while ready := [seed for seed, whole in enumerate(self._whole) if len(whole) >= self.num_episodes]:
            lengths = {seed: max(len(e["reward"]) for e in self._whole[seed][: self.num_episodes]) for seed in ready}
            padded = {seed: 1 << (length - 1).bit_length() for seed, length in lengths.items()}
            for width in sorted(set(padded.values())):
                yield self._batch([seed for seed in ready if padded[seed] == width], width)

    def _batch(self, ready: list[int], width: int) -> Transition:
        example = self._whole[ready[0]][0]
        shape = (len(self._whole), self.num_episodes, width)
        batch = {name: np.zeros((*shape, *value.shape[1:]), stored(value.dtype)) for name, value in example.items()}
        for name in _OBSERVED:
            batch[name][:] = example[name][-1]
        valid = np.zeros(shape, bool)
        for seed in ready:
            for row, episode in enumerate(self._whole[seed][: self.num_episodes]):
                length = len(episode["reward"])
                valid[seed, row, :length] = True
                for name, value in episode.items():
                    batch[name][seed, row, :length] = value
                for name in _OBSERVED:
                    batch[name][seed, row, length:] = episode[name][-1]
            del self._whole[seed][: self.num_episodes]
        is_ready = np.isin(np.arange(shape[0]), ready)
        return as_transition(
            {
                name: torch.from_numpy(value).to(self.device)
                for name, value in (batch | {"valid": valid, "ready": is_ready}).items()
            }
        )

    def cut(self) -> None:
        for envs in self._running:
            for steps in envs:
                steps.clear()

    def get_state(self) -> dict[str, Any]:
        def packed(steps: list[dict[str, np.ndarray]]) -> dict[str, Any]:
            return {name: np.stack([step[name] for step in steps]) for name in steps[0]} if steps else {}

        if not self._running:
            return {}
        return {
            "running": [[packed(steps) for steps in envs] for envs in self._running],
            "whole": list(self._whole),
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        def unpacked(arrays: Mapping[str, Any]) -> list[dict[str, np.ndarray]]:
            length = len(next(iter(arrays.values()))) if arrays else 0
            return [{name: np.asarray(value)[t] for name, value in arrays.items()} for t in range(length)]

        self._running = [[unpacked(arrays) for arrays in envs] for envs in state.get("running", [])]
        self._whole = [
            [{name: np.asarray(value) for name, value in episode.items()} for episode in episodes]
            for episodes in state.get("whole", [])
        ]


def minibatch_size(num_transitions: int, num_minibatches: int) -> int:
    """Transitions of one of the equal parts of a rollout; `ValueError` where they would not be equal."""
    if num_transitions % num_minibatches:
        raise ValueError(
            f"--num-envs × --num-steps = {num_transitions} transitions do not divide into "
            f"--num-minibatches {num_minibatches} equal parts"
        )
    return num_transitions // num_minibatches


def refuse_no_deviation(num_transitions: int, what: str, remedy: str) -> None:
    """`ValueError` where advantages are to be normalised over one transition alone."""
    if num_transitions == 1:
        raise ValueError(f"a {what} of one transition has no deviation to normalise advantages by; take {remedy}")


def epochs(orders: Streams, num_epochs: int, size: int, *parts: torch.Tensor) -> Iterator[Iterator[list[torch.Tensor]]]:
    """The minibatches of a rollout `[S, L, ...]`, epoch by epoch, each in an order that the seeds' streams draw.

    The orders of all epochs are drawn at once: a seed's stream must not hang on when other seeds end.
    """
    for order in orders.permutations(num_epochs, parts[0].shape[1]).swapaxes(0, 1):
        yield minibatches(order, size, *parts)


def minibatches(order: np.ndarray, size: int, *parts: torch.Tensor) -> Iterator[list[torch.Tensor]]:
    """The parts of a rollout `[S, L, ...]` in each seed's own `order` `[S, L]`, `size` at a time, the last fewer.

    Each part of a minibatch has storage of its own, so that a seed's bits do not depend on where it stands.
    """
    rows = torch.from_numpy(order + order.shape[1] * np.arange(len(order))[:, None]).to(
        parts[0].device, non_blocking=True
    )
    for index in rows.split(size, 1):
        chosen = index.reshape(-1)  # of the seeds' parts, one after another
        yield [part.flatten(0, 1).index_select(0, chosen).unflatten(0, index.shape) for part in parts]


def flat(transition: Transition) -> dict[str, np.ndarray]:
    """The fields and extras by name."""
    return dict(zip(_FIELDS, transition, strict=False), **transition.extras)


def check_free(values: Mapping[str, np.ndarray], *names: str) -> None:
    """`AgentFault` where an agent's extras have a name under which a memory adds something of its own."""
    if taken := [name for name in names if name in values]:
        raise AgentFault(
            f"the agent's act gives an extra named {taken[0]!r}, which its memory adds to every transition: rename it"
        )


def check_same(values: Mapping[str, np.ndarray], kept: Mapping[str, Any]) -> None:
    """`AgentFault` where a step has other extras than those before it: stale ones would be learnt in their place."""
    if values.keys() != kept.keys():
        before, now = ([name for name in one if name not in _FIELDS] for one in (kept, values))
        raise AgentFault(f"the agent's act gives the extras {now or 'none'}, where it gave {before or 'none'} before")


def as_transition(values: Mapping[str, torch.Tensor]) -> Transition:
    extras = {name: value for name, value in values.items() if name not in _FIELDS}
    return Transition(**{name: values[name] for name in _FIELDS}, extras=extras)


def stored(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Learning is in float32; what comes as float64 (rewards) is stored so."""
    return np.dtype(np.float32) if dtype == np.float64 else dtype
