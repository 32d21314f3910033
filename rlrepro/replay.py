"""A replay memory: the last transitions of each seed, sampled uniformly. On a device it takes one launch a step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from rlrepro.agent import Transition, inherits
from rlrepro.graphs import Graphed, lasting
from rlrepro.memory import as_transition, check_same, flat, stored
from rlrepro.streams import Streams

_NONE_EARLY: tuple[int, list[np.ndarray]] = -1, []


class Replay:
    """The last `capacity` transitions of each seed, sampled uniformly: batches `[S, B, ...]`.

    Learns every `learn_every` env steps from `learning_starts` on, `num_batches` batches each time. Every seed
    samples with its own stream. On a device a batch is good until the next one.
    """

    def __init__(
        self,
        streams: Streams,
        capacity: int,
        batch_size: int,
        learning_starts: int,
        learn_every: int,
        num_batches: int = 1,
        device: str = "cpu",
    ) -> None:
        self._streams, self.capacity, self.batch_size = streams, capacity, batch_size
        self.learning_starts, self.learn_every, self.num_batches = learning_starts, learn_every, num_batches
        self.device, self._on_host = device, device == "cpu"
        self._store: dict[str, torch.Tensor] = {}
        self._rows: dict[str, np.ndarray] = {}  # the same memory, as arrays on the host
        self._flat: dict[str, np.ndarray] = {}  # the same again, all seeds' transitions in one row
        self._words: _Words | None = None  # the same memory on a device
        self._early = _NONE_EARLY  # a step, and the places of its batches that wait for it
        self._next = 0  # where the next transition goes
        self._size = 0  # how many a seed holds
        self._added = 0  # how many the last step brought
        self._ended: np.ndarray | None = None  # which episodes it ended, `[S, N]`

    def add(self, transition: Transition) -> None:
        values = flat(transition)
        if not self._store:
            self._allocate(values)
        check_same(values, self._store)
        count = self._added = values["reward"].shape[1]
        self._ended = transition.terminated | transition.truncated
        start, end = self._next, self._next + count
        if self._words is not None:
            self._words.put(values, np.arange(start, end) % self.capacity)
        else:
            columns: Any = slice(start, end) if end <= self.capacity else np.arange(start, end) % self.capacity
            for name, value in values.items():
                self._rows[name][:, columns] = value
        self._next = end % self.capacity
        self._size = min(self._size + count, self.capacity)

    def ready(self, step: int) -> Iterator[Transition]:
        """`step` counts the env steps before those just added, so that N sub-environments make N updates due."""
        begun, waiting = self._early
        if begun == step:
            self._early = _NONE_EARLY
            for places in waiting:
                yield as_transition(self._gather(places))
            return
        for _ in range(self._num_due(step, self._added)):
            yield self.sample()

    def prefetch(self, step: int, count: int) -> Iterator[Transition]:
        """Those of the batches due after the coming step of `count` sub-environments that have none of its transitions.

        A device learns from them while the environments take that step. All places are drawn here, as `ready` would
        draw them; it gives the rest. Nothing on the host, of a subclass with a `ready` or `sample` of its own, or when
        asked twice for one step.
        """
        if self._words is None or not inherits(self, Replay, "sample", "ready") or self._early[0] == step:
            return
        size, waiting = min(self._size + count, self.capacity), list[np.ndarray]()
        self._early = step, waiting
        for _ in range(self._num_due(step, count)):
            places = self._streams.integers(size, self.batch_size)
            if waiting or ((places - self._next) % self.capacity < count).any():
                waiting.append(places)  # and so do those behind it
            else:
                yield as_transition(self._gather(places))

    def _num_due(self, step: int, count: int) -> int:
        phases = (step + count) // self.learn_every - max(step, self.learning_starts) // self.learn_every
        return max(phases, 0) * self.num_batches

    @property
    def first_due(self) -> int:
        """The env step at which the first batch is due: the first multiple of `learn_every` after `learning_starts`."""
        return (self.learning_starts // self.learn_every + 1) * self.learn_every

    @property
    def ended(self) -> np.ndarray | None:
        """Which episodes the last step ended, `[S, N]`; None before the first."""
        return self._ended

    def sample(self) -> Transition:
        """One batch `[S, B, ...]`, with replacement."""
        return as_transition(self._gather(self._streams.integers(self._size, self.batch_size)))

    def _gather(self, places: np.ndarray) -> dict[str, torch.Tensor]:
        """What is stored at the places `[S, B]`."""
        index = places + self._offsets
        if self._on_host:  # NumPy takes a sixth of the time of index_select
            return {name: torch.from_numpy(rows.take(index, 0)) for name, rows in self._flat.items()}
        assert self._words is not None
        return self._words.take(index)

    def cut(self) -> None:
        """Transitions stand alone here; but `ended` says that new episodes begin."""
        if self._ended is not None:
            self._ended = np.ones_like(self._ended)

    def get_state(self) -> dict[str, Any]:
        if self._words is not None:
            self._words.flush()
        store = {name: rows[:, : self._size] for name, rows in self._store.items()}
        state = {
            "next": self._next, "size": self._size, "ended": self._ended, "store": store,
            "streams": self._streams.get_state(),
        }  # fmt: skip
        begun, waiting = self._early
        if begun >= 0:  # the step did not come about
            state |= {"early": begun, "waiting": np.stack(waiting, 1) if waiting else None}
        return state

    def set_state(self, state: Mapping[str, Any]) -> None:
        self._streams.set_state(state["streams"])
        self._store, self._rows, self._flat, self._words = {}, {}, {}, None
        waiting = state.get("waiting")
        self._early = state.get("early", -1), [] if waiting is None else list(np.asarray(waiting).swapaxes(0, 1))
        if state.get("store"):
            self._allocate({name: np.asarray(rows) for name, rows in state["store"].items()})
            for name, rows in state["store"].items():
                self._store[name][:, : state["size"]] = torch.as_tensor(rows)
        self._next, self._size, self._ended = state["next"], state["size"], state.get("ended")

    def _allocate(self, values: Mapping[str, np.ndarray]) -> None:
        """Storage `[S, capacity, ...]` for values `[S, n, ...]`."""
        num_seeds = len(next(iter(values.values())))
        self._offsets = np.arange(num_seeds)[:, None] * self.capacity
        if not self._on_host:
            self._words = _Words(values, self.capacity, self.device)
            self._store = self._words.fields(self._words.rows)
            return
        for name, value in values.items():
            rows = self._rows[name] = np.zeros((num_seeds, self.capacity, *value.shape[2:]), stored(value.dtype))
            self._store[name] = torch.from_numpy(rows)
            self._flat[name] = rows.reshape(num_seeds * self.capacity, *value.shape[2:])


class _Words:
    """Transitions `[S, capacity]` on a device, each a row of words: one launch brings steps there and takes a batch.

    Steps are held on the host until a batch is taken, or some have come together.
    """

    _ALIGNED = 16  # bytes: where a field may begin, for the device's matrix products
    _HELD = 64  # transitions of a seed

    def __init__(self, values: Mapping[str, np.ndarray], capacity: int, device: str) -> None:
        self._places: dict[str, tuple[slice, torch.dtype, tuple[int, ...]]] = {}
        end = 0
        for name, value in values.items():
            empty = np.zeros(value.shape[2:], stored(value.dtype))
            self._places[name] = slice(end, end + empty.nbytes), torch.from_numpy(empty).dtype, empty.shape
            end += -(-empty.nbytes // self._ALIGNED) * self._ALIGNED
        self.rows = torch.zeros(len(value), capacity, end // 8, dtype=torch.int64, device=device)
        self._held = torch.zeros(len(value), min(self._HELD, capacity), end // 8, dtype=torch.int64)
        self._held_fields = {name: field.numpy() for name, field in self.fields(self._held).items()}
        self._columns: list[int] = []  # where they belong
        self._batch = torch.empty(0, end // 8, dtype=torch.int64, device=device)
        self._batch_fields: dict[str, torch.Tensor] = {}
        self._exchange = Graphed(self._bring_and_fetch, device) if self.rows.is_cuda else self._bring_and_fetch

    def _bring_and_fetch(
        self, held: torch.Tensor, columns: torch.Tensor, index: torch.Tensor, batch: torch.Tensor
    ) -> None:
        device = self.rows.device
        if len(columns):
            self.rows.index_copy_(1, columns.to(device), held.to(device))
        torch.index_select(self.rows.flatten(0, 1), 0, index.to(device), out=batch)

    def fields(self, rows: torch.Tensor) -> dict[str, torch.Tensor]:
        """Rows `[S, n, words]` as what they hold, `[S, n, ...]`: views."""
        parts = rows.view(torch.uint8)
        return {
            name: parts[..., place].view(dtype).view(*rows.shape[:2], *shape)
            for name, (place, dtype, shape) in self._places.items()
        }

    def put(self, values: Mapping[str, np.ndarray], columns: np.ndarray) -> None:
        """Store `[S, n, ...]` in these columns."""
        most = self._held.shape[1]
        for start in range(0, len(columns), most):
            some = columns[start : start + most]
            if len(self._columns) + len(some) > most:
                self.flush()
            begin = len(self._columns)
            for name, field in self._held_fields.items():
                field[:, begin : begin + len(some)] = values[name][:, start : start + most]
            self._columns += some.tolist()

    def flush(self) -> None:
        """Bring what is held to the device."""
        held, columns = self._take_held()
        self.rows.index_copy_(1, columns.to(self.rows.device), held.to(self.rows.device))

    def _take_held(self) -> tuple[torch.Tensor, torch.Tensor]:
        columns, self._columns = torch.tensor(self._columns, dtype=torch.int64), []
        return self._held[:, : len(columns)], columns

    def take(self, index: np.ndarray) -> dict[str, torch.Tensor]:
        """What lies at places `[S, B]` of all seeds' rows, one after another; it is good until the next call."""
        if len(self._batch) != index.size:
            self._batch = self._batch.new_empty(index.size, self.rows.shape[2])
            lasting(self._batch)
            parts = self.fields(self._batch.unflatten(0, index.shape))
            self._batch_fields = {name: lasting(part) for name, part in parts.items()}
        self._exchange(*self._take_held(), torch.from_numpy(index.reshape(-1)), self._batch)
        return dict(self._batch_fields)
