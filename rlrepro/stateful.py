"""The state of an agent, from the names of its parts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch


class Stateful:
    """What its class and the bases name in `STATE` is its state: all that a resume needs.

    A part is an attribute: something with `get_state` and `set_state` of its own (a `Stack`, an optimiser, `Streams`),
    a tensor or an array, which keeps its place in memory, a number, or a dict of these. None has no state, and an
    object that has two names is kept once. A class may do without this and write both methods by hand.
    """

    STATE: tuple[str, ...] = ()

    def get_state(self) -> dict[str, Any]:
        return {name: _state_of(part) for name, part in self._parts()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """The inverse of `get_state`, with arrays where that gave tensors. Raises `KeyError` for a part left out."""
        for name, part in self._parts():
            setattr(self, name, _restored(part, state[name]))

    def _parts(self) -> Iterator[tuple[str, Any]]:
        seen: list[Any] = []
        for kind in reversed(type(self).__mro__):
            for name in vars(kind).get("STATE", ()):
                part = getattr(self, name)
                if part is None or any(part is other for other in seen):
                    continue
                if hasattr(part, "get_state"):
                    seen.append(part)
                yield name, part


def _state_of(part: Any) -> Any:
    if isinstance(part, Mapping):
        return {name: _state_of(one) for name, one in part.items()}
    if isinstance(part, torch.Tensor):
        return part.detach()
    return part.get_state() if hasattr(part, "get_state") else part


@torch.no_grad()
def _restored(part: Any, saved: Any) -> Any:
    """The part with what `_state_of` gave of it."""
    if isinstance(part, Mapping):
        return {name: _restored(one, saved[name]) for name, one in part.items()}
    if isinstance(part, torch.Tensor):
        return part.copy_(torch.as_tensor(saved))
    if isinstance(part, np.ndarray):
        part[...] = saved
        return part
    if hasattr(part, "set_state"):
        part.set_state(saved)
        return part
    return saved


__all__ = ["Stateful"]
