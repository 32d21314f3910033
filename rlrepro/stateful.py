"""The state of an agent, from the names of its parts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from rlrepro.errors import Problem, nearest


class Stateful:
    """What its class and the bases name in `STATE` is its state: all that a resume needs.

    A part is an attribute: something with `get_state` and `set_state` of its own (a `Stack`, an optimiser, `Streams`),
    a tensor, an array, a number, or a dict of these; it keeps its place in memory, unless a tensor or an array comes
    back in another shape or type. None has no state, and what two names stand for is kept once. A class may do without
    this and write both methods by hand.
    """

    STATE: tuple[str, ...] = ()

    def get_state(self) -> dict[str, Any]:
        return {name: _state_of(part) for name, part in self._parts() if part is not None}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """The inverse of `get_state`, with arrays where that gave tensors. Raises `KeyError` for a part left out."""
        for name, part in self._parts():
            if part is None and name not in state:
                continue
            restored = _restored(part, state[name])
            if restored is not part:
                setattr(self, name, restored)

    def _parts(self) -> Iterator[tuple[str, Any]]:
        seen: list[Any] = []
        for kind in reversed(type(self).__mro__):
            for name in vars(kind).get("STATE", ()):
                if not hasattr(self, name):
                    near = nearest(name, vars(self))
                    raise Problem(f"{type(self).__name__} has no attribute {name!r}, which its STATE names{near}")
                part = getattr(self, name)
                if any(part is other for other in seen):
                    continue
                if part is not None and not isinstance(part, (bool, int, float, str)):
                    seen.append(part)
                yield name, part


def forgotten(agent: Any) -> list[str]:
    """The attributes of an agent that no `STATE` names: a `Stack`, an optimiser, `Streams`, or a table of such.

    What the memory holds is the memory's, and what a part holds is that part's.
    """
    if getattr(type(agent), "get_state", None) is not Stateful.get_state:  # it says by itself what its state is
        return []
    named = {name for kind in type(agent).__mro__ for name in vars(kind).get("STATE", ())}
    kept = {id(one) for part in (agent.memory, *(getattr(agent, n, None) for n in named)) for one in _within(part)}
    return [
        name
        for name, part in vars(agent).items()
        if name not in named
        if name != "memory"
        if any(hasattr(one, "set_state") and id(one) not in kept for one in _items(part))
    ]


def _items(part: Any) -> list[Any]:
    """A part, or those of a table or a list of several."""
    return list(part.values() if isinstance(part, dict) else part) if isinstance(part, dict | list | tuple) else [part]


def _within(part: Any, depth: int = 3) -> Iterator[Any]:
    """A part and what it holds, so many levels deep."""
    yield part
    if depth:
        for one in [*getattr(part, "__dict__", {}).values(), *(_items(part) if isinstance(part, dict | list) else ())]:
            yield from _within(one, depth - 1)


def _state_of(part: Any) -> Any:
    if isinstance(part, dict):
        return {name: _state_of(one) for name, one in part.items()}
    if isinstance(part, torch.Tensor):
        return part.detach()
    return part.get_state() if hasattr(part, "get_state") else part


@torch.no_grad()
def _restored(part: Any, saved: Any) -> Any:
    """The part with what `_state_of` gave of it."""
    if isinstance(part, dict):
        if lacking := part.keys() - saved.keys():
            raise KeyError(sorted(lacking)[0])
        part.update({name: _restored(part.get(name), one) for name, one in saved.items()})
        return part
    if isinstance(part, torch.Tensor):
        tensor = torch.as_tensor(saved)
        same = (tensor.shape, tensor.dtype) == (part.shape, part.dtype)
        return part.copy_(tensor) if same else tensor.to(part.device, copy=True)
    if isinstance(part, np.ndarray):
        array = np.asarray(saved)
        if (array.shape, array.dtype) != (part.shape, part.dtype):
            return array.copy()
        part[...] = array
        return part
    if hasattr(part, "set_state"):
        part.set_state(saved)
        return part
    return saved


__all__ = ["Stateful"]
