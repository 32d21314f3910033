"""What is to be learnt from a step where it is not what happened: a wrapper tells it by `info["learn"]`.

That is a reward and a termination. Wrappers further out know nothing of it: one that repeats an action gives the sum of
the rewards and the info of its last step alone, one that ends episodes says so by its own `terminated`. `hand_on` makes
of each such wrapper one that hands on what is to be learnt.
"""

from __future__ import annotations

import contextlib
import copyreg
import functools
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium

KEY = "learn"
#: the attribute of a layer under which the steps that it takes stand while the layer around it takes one of its own
KEPT = "_rlrepro_steps"
_Step = tuple[Any, Any, bool, bool, dict[str, Any]]


def told(info: Mapping[str, Any]) -> tuple[float, bool]:
    """The reward and the termination of `info["learn"]`; `TypeError` where they are no such pair."""
    pair = info[KEY]
    try:
        reward, end = pair
        return float(reward), bool(end)
    except (TypeError, ValueError):
        raise TypeError(f'info["learn"] is {pair!r:.60}, not a pair (reward, terminated)') from None


def hand_on(env: gymnasium.Env[Any, Any]) -> None:
    """Have `env` hand on what the layer within tells; for each in turn, from the environment itself to the outermost.

    It becomes one of a class that overrides `step` of its own class: copies of it step themselves, what holds
    `env.step` holds a method, and no layer more hides what it has from those further out.
    """
    cls: Any = type(env)
    if not hasattr(cls, "_hands_on"):
        with contextlib.suppress(TypeError):  # of a class whose instances can be of no other
            env.__class__ = _handing_on(cls)


@functools.cache
def _handing_on(cls: Any) -> Any:
    own, is_wrapper = cls.step, issubclass(cls, gymnasium.Wrapper)

    def step(self: Any, action: Any) -> Any:
        if is_wrapper and (within := _within(self)) is not None:
            given = _stepped(own, self, within, action)
        else:
            given = own(self, action)
        held = self.__dict__
        if KEPT in held and _is_step(given):  # a tuple: a copy of this layer keeps its own steps from here on
            _, reward, terminated, _, info = given
            held[KEPT] = (*held[KEPT], (info.get(KEY), reward, terminated))
        return given

    def reduced(self: Any, protocol: Any) -> Any:
        whole = super(made, self).__reduce_ex__(protocol)
        if not isinstance(whole, tuple) or whole[0] is not copyreg.__newobj__:  # type: ignore[attr-defined]
            return whole
        return _made_again, (cls, *whole[1][1:]), *whole[2:]

    names = {name: getattr(cls, name) for name in ("__module__", "__qualname__", "__doc__")}
    parts = {**names, "__slots__": (), "_hands_on": True, "step": step, "__reduce_ex__": reduced}
    made = type(cls)(cls.__name__, (cls,), parts)
    return made


def _made_again(cls: Any, *arguments: Any) -> Any:
    """What a copy or a pickle of a layer begins with."""
    made = _handing_on(cls)
    return made.__new__(made, *arguments)


def _within(layer: Any) -> Any:
    """The next layer inside that hands on, or None."""
    while isinstance(layer, gymnasium.Wrapper):
        layer = layer.env
        if hasattr(type(layer), "_hands_on"):
            return layer
    return None


def _stepped(own: Callable[[Any, Any], Any], layer: Any, within: Any, action: Any) -> Any:
    """A layer's own step, with what was told by the steps that it takes within."""
    held = within.__dict__
    held[KEPT] = ()
    try:
        given = own(layer, action)
    finally:
        steps = held.pop(KEPT, ())
    for pair, *_ in steps:
        if pair is not None:
            return _with_all_told(given, steps) if _is_step(given) else given
    return given


def _is_step(given: Any) -> bool:
    """Whether it is what a step gives; what is not breaks the contract, as is told elsewhere."""
    return isinstance(given, tuple) and len(given) == 5 and isinstance(given[4], dict)


def _with_all_told(given: _Step, steps: tuple[tuple[Any, Any, bool], ...]) -> _Step:
    """A step with what was told in all `steps` within it, unless its layer tells of its own.

    An end that the layer has added is one to learn from.
    """
    obs, reward, terminated, truncated, info = given
    if info.get(KEY) is not steps[-1][0]:
        return given
    pairs = [(float(one), bool(end)) if pair is None else told({KEY: pair}) for pair, one, end in steps]
    is_added = terminated and not any(end for *_, end in steps)
    whole = sum(one for one, _ in pairs), any(end for _, end in pairs) or bool(is_added)
    return obs, reward, terminated, truncated, {**info, KEY: whole}


__all__ = ["KEPT", "KEY", "hand_on", "told"]
