"""What is to be learnt from a step where it is not what happened: a wrapper tells it by `info["learn"]`.

That is a reward and a termination. Wrappers further out know nothing of it: one that repeats an action gives the sum of
the rewards and the info of its last step alone, one that ends episodes says so by its own `terminated`. `hand_on` makes
of each such wrapper one that hands on what is to be learnt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium

KEY = "learn"
_Step = tuple[Any, Any, bool, bool, dict[str, Any]]


def told(info: Mapping[str, Any]) -> tuple[float, bool]:
    """The reward and the termination of `info["learn"]`; `TypeError` where they are no such pair."""
    pair = info[KEY]
    try:
        reward, end = pair
        return float(reward), bool(end)
    except (TypeError, ValueError):
        raise TypeError(f'info["learn"] is {pair!r:.60}, not a pair (reward, terminated)') from None


def hand_on(env: gymnasium.Env[Any, Any], within: gymnasium.Env[Any, Any] | None = None) -> None:
    """Have `env`, which stands around `within`, hand on what its steps tell; both step as they did otherwise.

    Around each wrapper in turn, from the environment itself (`within` None) to the outermost one.
    """
    steps = _Steps(env.step, None if within is None else within.step)
    env.step = steps  # type: ignore[method-assign]  # of this one: a layer more would hide it from those further out


class _Steps:
    """`step` of one layer, with what was told by those that one step of the layer around it takes."""

    def __init__(self, step: Callable[[Any], Any], within: Any) -> None:
        self._step = step
        self._within: _Steps | None = within if isinstance(within, _Steps) else None
        self._begin()

    def _begin(self) -> None:
        self._tells = self._end = self._terminated = False
        self._rewards: list[Any] = []
        self._last: Any = None  # what the last step told, as it was told

    def __call__(self, action: Any) -> Any:
        within = self._within
        if within is not None:
            within._begin()
        given = self._step(action)
        if not (isinstance(given, tuple) and len(given) == 5 and isinstance(given[4], dict)):
            return given  # which breaks the contract, as is told elsewhere
        if within is not None and within._tells:
            given = within._told_by(given)
        _, reward, terminated, _, info = given
        self._last = info.get(KEY)
        end = terminated
        if self._last is not None:
            self._tells = True
            reward, end = told(info)
        self._rewards.append(reward)
        self._end, self._terminated = self._end or bool(end), self._terminated or bool(terminated)
        return given

    def _told_by(self, given: _Step) -> _Step:
        """The step of the layer around this one; unless it tells of its own, with all that this one was told.

        An end that the layer around it has added is one to learn from.
        """
        obs, reward, terminated, truncated, info = given
        if info.get(KEY) is not self._last:
            return given
        whole = sum(map(float, self._rewards)), self._end or bool(terminated and not self._terminated)
        return obs, reward, terminated, truncated, {**info, KEY: whole}


__all__ = ["KEY", "hand_on", "told"]
