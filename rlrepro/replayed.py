"""The state of an environment that cannot give it as plain data: how its episode began, and the actions since.

Box2D's world, or a grid of objects, is no numbers to be written down. But an environment that makes such things anew at
each reset comes to the same place from the same beginning by the same actions. What else it holds, its generator among
it, is plain data, and is put back to what it was before the reset. Whether it comes to where it was is not believed:
all observations and rewards on the way, and all numbers and texts that are found in it there, must be what they were.
"""

from __future__ import annotations

import enum
import functools
import logging
import pathlib
import re
import struct
import types
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import gymnasium
import numpy as np

from rlrepro import checkpoint, snapshot
from rlrepro.errors import close_quietly, one_line

LONGEST = 10_000  #: actions of an episode that are kept: more would take too long to be taken again
_NEVER_CHANGE = (enum.Enum, pathlib.PurePath, frozenset, range, bytes, complex, slice, np.dtype, re.Pattern)
_NO_STATE = (logging.Logger, types.ModuleType, types.BuiltinFunctionType, type, gymnasium.Space)
_FUNCTIONS = (types.FunctionType, types.MethodType, functools.partial)
_CONTAINERS = (tuple, list, set, dict, deque)
_REST = struct.Struct("<d??")  # of a step: reward, terminated, truncated
_DEEP, _MANY = 8, 20_000  # how far, and among how many objects, is looked
_CLOCKS = {"episode_start_time", "time_queue"}  # of Gymnasium's RecordEpisodeStatistics


class Replayed(gymnasium.Wrapper[Any, Any, Any, Any]):
    """An environment whose `set_state` takes again the actions of the episode that was running."""

    holds_all = True  #: see `rlrepro.snapshot`

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        self._why_lost = "it has not begun"
        self._seed: int | None = None
        self._before: list[Any] = []  # what could be read before the reset
        self._names: list[list[str]] = []  # the attributes that there were then
        self._actions: list[Any] = []
        self._met = 0  # a checksum of all observations and rewards since the reset

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self._why_lost = "its reset had options" if options else ""
        self._seed, self._before, self._actions = seed, snapshot.readable(self.env), []
        self._names = [list(vars(layer)) for layer in snapshot.layers(self.env)]
        obs, info = self.env.reset(seed=seed, options=options)
        self._met = zlib.crc32(np.asarray(obs).tobytes())
        return obs, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        if not self._why_lost:
            if len(self._actions) == LONGEST:
                self._why_lost = f"its episode is longer than {LONGEST:,} steps"
            else:
                self._actions.append(action.copy() if isinstance(action, np.ndarray) else action)
        given = self.env.step(action)
        obs, reward, terminated, truncated, _ = given
        met = zlib.crc32(np.asarray(obs).tobytes(), self._met)
        self._met = zlib.crc32(_REST.pack(reward, terminated, truncated), met)
        return given

    def get_state(self) -> dict[str, Any]:
        """`NotNow` where the episode has no state, and the next one will have."""
        if self._why_lost:
            raise snapshot.NotNow(f"{self._name} gives no state now: {self._why_lost}")
        return {
            snapshot.REPLAYED: True,
            "before": self._before,
            "names": self._names,
            "seed": self._seed,
            "actions": _packed(self._actions, self._name),
            "met": self._met,
            "found": self._found(),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """`Unrestorable` where it does not come to where it was."""
        if snapshot.REPLAYED not in state:
            raise snapshot.Unrestorable(f"{self._name} gave its state as plain data once, and does not now")
        try:
            for layer, names in zip(snapshot.layers(self.env), state["names"], strict=True):
                for name in vars(layer).keys() - set(names):  # of a reset that this one had before
                    delattr(layer, name)
            snapshot.put_back(self.env, state["before"])
            self.reset(seed=state["seed"])
            for action in _unpacked(state["actions"]):
                self.step(action)
            came_there = (self._met, self._found()) == (state["met"], state["found"])
        except snapshot.Unrestorable:
            raise
        except (Exception, SystemExit) as error:
            raise snapshot.Unrestorable(f"{self._name} raised {one_line(error)} on its way again") from error
        if not came_there:
            raise snapshot.Unrestorable(f"{self._name} does not come to where it was by the actions that it took")

    @property
    def _name(self) -> str:
        return type(self.env.unwrapped).__name__

    def _found(self) -> str:
        """A digest of the numbers and texts in it."""
        read = [_in_order(one) for one in snapshot.readable(self.env)]
        for one in read:
            for name in _CLOCKS & set(one):
                del one[name]
        return checkpoint.digest([read, _leaves(self.env)])


def _packed(actions: list[Any], name: str) -> dict[str, Any]:
    """Actions as an array, with what each was: an environment may tell an int from a number of NumPy's."""
    types = {(type(one), getattr(one, "dtype", None), np.shape(one)) for one in actions}
    kinds = {_kind_of(one) for one in actions}
    if len(types) > 1 or "" in kinds:
        raise snapshot.NotNow(f"{name} gives no state now: its actions are not numbers or arrays of one kind")
    return {"taken": np.array(actions), "kind": "".join(kinds)}


def _kind_of(action: Any) -> str:
    if isinstance(action, np.ndarray):
        return "array"
    if isinstance(action, np.generic):
        return "scalar"
    return "plain" if type(action) in (int, float) else ""


def _unpacked(packed: dict[str, Any]) -> Iterator[Any]:
    for action in packed["taken"]:
        yield action.item() if packed["kind"] == "plain" else np.array(action) if packed["kind"] == "array" else action


def _in_order(read: Any) -> Any:
    """Tables by their keys: in another process they may have been filled in another order."""
    if isinstance(read, dict):
        ordered = {name: _in_order(value) for name, value in read.items()}
        if read.get("__container__") == "dict":
            ordered["items"] = sorted(ordered["items"], key=lambda pair: repr(pair[0]))
        return ordered
    return [_in_order(one) for one in read] if isinstance(read, list) else read


def why_not(make: Callable[[], gymnasium.Env[Any, Any]]) -> str | None:
    """None where a copy that is brought back by its actions goes on like the original; else the reason.

    What lives on over a reset, as BipedalWalker's world, may be another after many episodes than after one.
    """
    if lives_on := _lives_on(make):
        return lives_on
    for num_earlier, at in ((3, 50), (3, 1), (3, 0), (0, 20)):
        if why := snapshot.can_restore(lambda: Replayed(make()), 50, num_earlier, at):
            return f"replaying its actions: {why}"
    return None


def _lives_on(make: Callable[[], gymnasium.Env[Any, Any]]) -> str:
    """What is no plain data and is the same after a reset; "" where there is no such thing."""
    env = make()
    try:
        env.reset(seed=1)
        env.action_space.seed(1)
        for _ in range(3):
            env.step(env.action_space.sample())
            held = _held_by(_parts(env).values(), env)
            env.reset()
            for (_, name), value in _parts(env).items():
                both = held.keys() & _held_by([value], env).keys()
                if both:
                    is_much = both == {_TOO_MUCH}
                    return f"{name} {'holds too much to be looked through' if is_much else 'lives on over a reset'}"
    except (Exception, SystemExit):  # it breaks, which is told elsewhere
        return ""
    finally:
        close_quietly(env)
    return ""


def _parts(env: gymnasium.Env[Any, Any]) -> dict[tuple[int, str], Any]:
    """The attributes that are no plain data, and functions, which may hold things too, by layer and name."""
    functions = {
        (number, name): value
        for number, layer in enumerate(snapshot.layers(env))
        for name, value in vars(layer).items()
        if isinstance(value, _FUNCTIONS)
    }
    found = {**snapshot.unreadable(env), **functions}
    names = [type(layer).__name__ for layer in snapshot.layers(env)]
    return {(number, f"{names[number]}.{name}"): value for (number, name), value in found.items()}


_TOO_MUCH = 0  # stands among ids for what was not looked at


def _held_by(values: Iterable[Any], env: gymnasium.Env[Any, Any]) -> dict[int, Any]:
    """The objects that may change, by id, among these and what they hold; not the environment's layers."""
    found: dict[int, Any] = {}
    layers = {id(layer) for layer in snapshot.layers(env)}
    held = list(values)
    for _ in range(_DEEP):
        inner: list[Any] = []
        for one in held:
            if _is_constant(one) or id(one) in layers or id(one) in found:
                continue
            if len(found) > _MANY:
                return {**found, _TOO_MUCH: None}
            if not (isinstance(one, (*_CONTAINERS, *_FUNCTIONS, np.ndarray)) or _is_frozen(one)):
                found[id(one)] = one
            inner += [value for _, value in _inside(one)]
        held = inner
    if any(not _is_constant(one) and id(one) not in layers and id(one) not in found for one in held):
        found[_TOO_MUCH] = None
    return found


def _leaves(env: gymnasium.Env[Any, Any]) -> list[Any]:
    """The plain data inside what is none, in an order of its own, as far as is looked."""
    layers = {id(layer) for layer in snapshot.layers(env)}
    seen: set[int] = set()
    leaves: list[Any] = []
    held = [(repr(name), value) for name, value in sorted(snapshot.unreadable(env).items())]
    for _ in range(_DEEP):
        inner: list[tuple[str, Any]] = []
        for place, one in held:
            if type(one) in checkpoint.AS_IT_IS or isinstance(one, np.generic):
                leaves.append([place, one])
            elif isinstance(one, np.random.Generator):
                leaves.append([place, repr(one.bit_generator.state)])
            elif isinstance(one, np.ndarray) and one.dtype != object:
                leaves.append([place, str(one.dtype), list(one.shape), one.tobytes().hex()])
            elif not _is_constant(one) and id(one) not in layers and id(one) not in seen and len(seen) < _MANY:
                seen.add(id(one))
                inner += [(f"{place}.{name}", value) for name, value in _inside(one)]
        held = inner
    return leaves


def _inside(one: Any) -> list[tuple[str, Any]]:
    """What a thing holds, by names."""
    if isinstance(one, dict):
        pairs = sorted(one.items(), key=lambda pair: repr(pair[0]))
        return [(f"{number}{part}", value) for number, pair in enumerate(pairs) for part, value in enumerate(pair)]
    if isinstance(one, set):
        return [(str(number), value) for number, value in enumerate(sorted(one, key=repr))]
    if isinstance(one, (tuple, list, deque)) or (isinstance(one, np.ndarray) and one.dtype == object):
        return [(str(number), value) for number, value in enumerate(one.flat if isinstance(one, np.ndarray) else one)]
    if isinstance(one, types.MethodType):
        return [("self", one.__self__), ("function", one.__func__)]
    if isinstance(one, functools.partial):
        return [("function", one.func), ("arguments", one.args), ("named", one.keywords)]
    if isinstance(one, types.FunctionType):
        cells = [cell.cell_contents for cell in one.__closure__ or () if cell != types.CellType()]
        return [("closed over", cells), ("defaults", one.__defaults__), ("named", one.__kwdefaults__)]
    slots = [name for kind in type(one).__mro__ for name in _slots_of(kind)]
    held = {**{name: getattr(one, name) for name in slots if hasattr(one, name)}, **getattr(one, "__dict__", {})}
    return sorted(held.items())


def _slots_of(kind: type) -> list[str]:
    slots = kind.__dict__.get("__slots__", ())
    return [name for name in ([slots] if isinstance(slots, str) else slots) if name not in ("__dict__", "__weakref__")]


def _is_frozen(one: Any) -> bool:
    return bool(getattr(getattr(type(one), "__dataclass_params__", None), "frozen", False))


def _is_constant(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.dtype != object
    return type(value) in checkpoint.AS_IT_IS or isinstance(value, (np.generic, *_NEVER_CHANGE, *_NO_STATE))
