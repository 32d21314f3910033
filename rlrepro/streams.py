"""A random stream per seed and purpose; without torch, which processes that only step environments need not import."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

_BLOCK = 4096  # numbers drawn at once from a seed's stream: one call for many steps


def seed_sequence(seed: int, *purpose: str | int) -> np.random.SeedSequence:
    """The seed sequence of one purpose of one seed; every random number of a run comes from one of these."""
    return np.random.SeedSequence(seed, spawn_key=[zlib.crc32(str(part).encode()) for part in purpose])


def env_seed(seed: int, *purpose: str | int) -> int:
    """An integer for `env.reset(seed=...)`."""
    return int(seed_sequence(seed, *purpose).generate_state(1)[0])


class Streams:
    """One random stream per seed, for one purpose. Every draw has shape `[S, *shape]`.

    Small draws are served from blocks, since one step of a small agent takes less time than one call a seed.
    """

    def __init__(self, seeds: Sequence[int], *purpose: str | int) -> None:
        self.generators = [np.random.Generator(np.random.PCG64(seed_sequence(seed, *purpose))) for seed in seeds]
        self._blocks: dict[str, tuple[np.ndarray, int]] = {}

    def uniform(self, *shape: int) -> np.ndarray:
        """float64 in [0, 1)."""
        return self._take("uniform", shape, lambda generator, size: generator.random(size))

    def normal(self, *shape: int) -> np.ndarray:
        """float32 standard normal."""
        return self._take("normal", shape, lambda generator, size: generator.standard_normal(size, dtype=np.float32))

    def gumbel(self, *shape: int) -> np.ndarray:
        """float32 standard Gumbel: argmax of logits + Gumbel noise is a sample of their softmax."""
        return self._take("gumbel", shape, lambda generator, size: generator.gumbel(size=size).astype(np.float32))

    def integers(self, high: int, *shape: int) -> np.ndarray:
        """int64 in [0, high); `high` may differ from call to call."""
        return (self.uniform(*shape) * high).astype(np.int64)

    def permutations(self, count: int, length: int) -> np.ndarray:
        """`count` permutations of `length` numbers a seed: int64 `[S, count, length]`."""
        rows = np.broadcast_to(np.arange(length), (count, length))
        return np.stack([generator.permuted(rows, axis=1) for generator in self.generators])

    def _take(self, kind: str, shape: tuple[int, ...], draw: Callable[..., np.ndarray]) -> np.ndarray:
        key = f"{kind}{shape}"
        block, cursor = self._blocks.get(key, _EMPTY)
        if cursor == len(block):
            block, cursor = self._next(key, (max(1, _BLOCK // max(1, math.prod(shape))), *shape), draw), 0
        self._blocks[key] = block, cursor + 1
        return block[cursor]

    def _next(self, key: str, size: tuple[int, ...], draw: Callable[..., np.ndarray]) -> np.ndarray:
        """The next block of a kind of draw, `[n, S, ...]`."""
        return np.stack([draw(generator, size) for generator in self.generators], axis=1)

    def get_state(self) -> dict[str, Any]:
        blocks = {key: block[cursor:].swapaxes(0, 1) for key, (block, cursor) in self._blocks.items()}
        return {
            "generators": [generator.bit_generator.state for generator in self.generators],
            "blocks": blocks,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        for generator, saved in zip(self.generators, state["generators"], strict=True):
            generator.bit_generator.state = saved
        self._blocks = {
            key: (np.asarray(rows).swapaxes(0, 1).copy(), 0) for key, rows in state.get("blocks", {}).items()
        }


class SteadyStreams(Streams):
    """Streams that give draws of one kind and shape alone: other threads draw the next block while one is used.

    For a device: what is drawn for it would take as long as what it does with it. The numbers are those of `Streams`.
    """

    _LENGTH = 131_072  # numbers of a seed in a block: two of them are in each checkpoint

    def __init__(self, seeds: Sequence[int], *purpose: str | int) -> None:
        super().__init__(seeds, *purpose)
        self._key = ""
        self._ahead: tuple[np.ndarray, list[Future[None]]] | None = None
        self._threads = ThreadPoolExecutor(4, "streams")

    def _next(self, key: str, size: tuple[int, ...], draw: Callable[..., np.ndarray]) -> np.ndarray:
        if self._key not in ("", key):
            raise ValueError(f"steady streams give draws of one kind: {self._key}, not {key} too")
        self._key, size = key, (max(1, self._LENGTH // math.prod(size[1:])), *size[1:])
        if self._ahead is None:
            self._begin(size, draw)
        block = self._finished()
        assert block is not None
        self._begin(size, draw)
        return block

    def _begin(self, size: tuple[int, ...], draw: Callable[..., np.ndarray]) -> None:
        kind = draw(self.generators[0], (0,)).dtype
        block = np.empty((size[0], len(self.generators), *size[1:]), kind)

        def fill(row: int) -> None:
            block[:, row] = draw(self.generators[row], size)

        self._ahead = block, [self._threads.submit(fill, row) for row in range(len(self.generators))]

    def _finished(self) -> np.ndarray | None:
        """The block that is drawn ahead, whole."""
        if self._ahead is None:
            return None
        block, parts = self._ahead
        for part in parts:
            part.result()
        return block

    def get_state(self) -> dict[str, Any]:
        ahead = self._finished()  # by which the generators have gone on
        state = super().get_state()
        if ahead is not None:
            rest = ahead.swapaxes(0, 1)
            state["blocks"] = {key: np.concatenate([rows, rest], 1) for key, rows in state["blocks"].items()}
        return state

    def set_state(self, state: Mapping[str, Any]) -> None:
        self._finished()
        self._ahead = None
        super().set_state(state)


def streams_for(device: str, seeds: Sequence[int], *purpose: str | int) -> Streams:
    """Streams for draws of one kind and shape that are brought to a device."""
    return (Streams if device == "cpu" else SteadyStreams)(seeds, *purpose)


_EMPTY = (np.empty(0), 0)
