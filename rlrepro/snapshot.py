"""The state of a Gymnasium environment as plain data, where the environment can give it.

An environment offers its state with `get_state()` and `set_state(state)`, plain data in and out (a wrapper whose class
says `holds_all = True` that of everything inside too). Of any other, the attributes of every wrapper and of the
environment are read as they stand: numbers, text, arrays, containers of these, random generators, MuJoCo's world and
Atari's emulator; what two of them hold, as a generator of another name, stays one thing. What else it holds (Box2D's
world) cannot be read so; `rlrepro.replayed` has another way for some of these. Whether a restored environment goes on
as the first one did is not believed but tried, by `can_restore`.
"""

from __future__ import annotations

import collections
import copy
import functools
import types
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import numpy as np

from rlrepro import checkpoint, learnt
from rlrepro.errors import close_quietly

_CONSTANT = (gymnasium.Space, gymnasium.envs.registration.EnvSpec)
_OF_LIBRARIES = {"builtins", "functools", "operator", "numpy"}  # whose callables are functions
REPLAYED = "__replayed__"  #: in a state that is of `rlrepro.replayed`
_WORLD, _EMULATOR = "__mujoco__", "__ale__"
_SKIPPED = {"env", "render_mode", "metadata", "spec", learnt.KEPT}
_CONTAINERS: dict[type, str] = {list: "list", set: "set", dict: "dict", collections.deque: "deque"}  # that may change
_KINDS: dict[str, Callable[[list[Any]], Any]] = {"list": list, "set": set}
_DRAWING = {"clock", "screen", "surf", "window", "viewer"}  # what environments draw with, where it is not plain data


class Unrestorable(Exception):
    """The environment holds something that is not plain data; the message names it."""


class NotNow(Unrestorable):
    """The episode that is running cannot be brought back; the next one can."""


def take(env: gymnasium.Env[Any, Any]) -> list[Any]:
    """The state of each layer, from the outermost wrapper to the environment itself."""
    met = _Met()
    return [
        _own_state(layer) if _offers_state(layer) else _read(_attributes(layer), layer, met) for layer in layers(env)
    ]


def put_back(env: gymnasium.Env[Any, Any], state: list[Any]) -> None:
    """Make `env`, built in the same way, the environment that `state` was taken of."""
    made: list[Any] = []
    if (num := sum(1 for _ in layers(env))) != len(state):
        raise Unrestorable(f"its state is of {len(state)} layers, and it has {num}")
    for layer, saved in zip(layers(env), state, strict=True):
        if _offers_state(layer):
            layer.set_state(saved)  # type: ignore[attr-defined]
        elif REPLAYED in saved:
            raise Unrestorable("it was brought back by its actions once, and is not now")
        else:
            for name, value in saved.items():
                if name == _WORLD:
                    _set_world(layer, _write(value, made))
                elif name == _EMULATOR:
                    _set_emulator(layer, _write(value, made))
                elif isinstance(value, dict) and "__object__" in value:
                    for key, item in value["__object__"].items():
                        setattr(getattr(layer, name), key, _write(item, made))
                else:
                    setattr(layer, name, _write(value, made))


def readable(env: gymnasium.Env[Any, Any]) -> list[Any]:
    """As `take`, without the attributes that are no plain data."""
    met = _Met()
    return [
        copy.deepcopy(_own_state(layer)) if _offers_state(layer) else _read(_by_name(layer), layer, met, strict=False)
        for layer in layers(env)
    ]


def unreadable(env: gymnasium.Env[Any, Any]) -> dict[tuple[int, str], Any]:
    """Those attributes, by the layer's number and the name."""
    return {
        (number, name): value
        for number, (layer, read) in enumerate(zip(layers(env), readable(env), strict=True))
        for name, value in ({} if _offers_state(layer) else _by_name(layer)).items()
        if name not in read and not _is_left_out(name, value, layer)
    }


def _by_name(layer: Any) -> dict[str, Any]:
    """A layer's attributes in the order of their names: one that was restored may have got them in another."""
    return dict(sorted(_attributes(layer).items()))


def can_restore(
    make: Callable[[], gymnasium.Env[Any, Any]], num_steps: int = 20, num_earlier: int = 0, at: int | None = None
) -> str | None:
    """None when a copy restored in the middle of an episode goes on for `num_steps` like the original; else the reason.

    That is after `at` steps of it (`num_steps`), and `num_earlier` episodes of `num_steps`.
    """
    first, second = make(), make()
    try:
        first.reset(seed=1)
        first.action_space.seed(1)
        for _ in range(num_earlier):
            _walk(first, num_steps)
            first.reset()
        _walk(first, num_steps if at is None else at)
        second.reset(seed=2)
        put_back(second, checkpoint.as_loaded(take(first)))
        first.action_space.seed(2)
        for _ in range(num_steps):
            action = first.action_space.sample()  # of one space: the two may share theirs
            (one, ended), (other, _) = _step(first, action), _step(second, action)
            if one != other:
                return "a restored copy did not go on like the original"
            if ended:
                first.reset()
                second.reset()
        if _begun(first) != _begun(second):
            return "a restored copy did not begin its next episode like the original"
    except Unrestorable as error:
        return str(error)
    except checkpoint.NotPlain as error:
        return f"{type(first.unwrapped).__name__}.get_state() gives more than plain data: {error}"
    except Exception as error:
        return f"restoring it raised {type(error).__name__}"
    finally:
        close_quietly(first)
        close_quietly(second)
    return None


def repeats(make: Callable[[], gymnasium.Env[Any, Any]]) -> bool:
    """Whether two copies that are reset with one seed go the same way by the same actions."""
    first, second = make(), make()
    try:
        for env in (first, second):
            env.reset(seed=1)
        first.action_space.seed(1)
        for _ in range(40):
            action = first.action_space.sample()
            (one, ended), (other, _) = _step(first, action), _step(second, action)
            if one != other:
                return False
            if ended:
                first.reset()
                second.reset()
        if _begun(first) != _begun(second):
            return False
    except Exception:  # it breaks, which is told elsewhere
        return True
    finally:
        close_quietly(first)
        close_quietly(second)
    return True


def _walk(env: gymnasium.Env[Any, Any], num_steps: int) -> None:
    for _ in range(num_steps):
        if _step(env, env.action_space.sample())[1]:
            env.reset()


def _begun(env: gymnasium.Env[Any, Any]) -> bytes:
    """The first observation of the next episode."""
    return np.asarray(gymnasium.spaces.flatten(env.observation_space, env.reset()[0])).tobytes()


def _step(env: gymnasium.Env[Any, Any], action: Any) -> tuple[tuple[Any, ...], bool]:
    obs, reward, terminated, truncated, _ = env.step(action)
    flat = gymnasium.spaces.flatten(env.observation_space, obs)
    return (np.asarray(flat).tobytes(), float(reward), terminated, truncated), bool(terminated or truncated)


def layers(env: gymnasium.Env[Any, Any]) -> Iterator[gymnasium.Env[Any, Any]]:
    """From the outermost wrapper to the environment, or to what holds the state of all inside."""
    while True:
        yield env
        if not isinstance(env, gymnasium.Wrapper) or getattr(type(env), "holds_all", False):
            return
        env = env.env


def _offers_state(layer: Any) -> bool:
    return all(callable(getattr(type(layer), name, None)) for name in ("get_state", "set_state"))


def _own_state(layer: Any) -> Any:
    return layer.get_state()


def _attributes(layer: Any) -> dict[str, Any]:
    """What a layer holds; of MuJoCo's and Atari's environments plain data in place of the engine's objects."""
    held = dict(vars(layer))
    if _has_emulator(layer):
        system = layer.ale.cloneSystemState().serialize()  # its random numbers too
        held[_EMULATOR] = np.frombuffer(system, np.uint8)
        return {name: one for name, one in held.items() if name not in ("ale", "_action_set")}
    if not _has_world(layer):
        return held
    for name in ("model", "data", "mujoco_renderer"):
        held.pop(name, None)
    return {**held, _WORLD: {name: getattr(layer.data, name) for name in _world_parts(layer)}}


def _has_emulator(layer: Any) -> bool:
    return type(getattr(layer, "ale", None)).__module__.partition(".")[0] == "ale_py"


def _has_world(layer: Any) -> bool:
    return type(getattr(layer, "data", None)).__module__.partition(".")[0] == "mujoco"


def _world_parts(layer: Any) -> list[str]:
    """The numbers and arrays of `mjData` that are as long in every state.

    The integration state alone would do for the physics (`mj_getState`), but tasks read positions and forces that the
    engine computed before its last step was over, and computing them again gives those after it.
    """
    data = layer.data
    varying = (
        "contact",
        "efc_",
        "iefc_",
        "island_",
        "map_",
        "efm_",
        "iacc",
        "ifrc",
        "plugin",
    )  # with the contacts; pointers
    names = [name for name in dir(type(data)) if not name.startswith(("_", *varying))]
    scalars = [name for name in names if name == "time" or name.startswith("flg_")]
    return [*scalars, *(name for name in names if isinstance(getattr(data, name, None), np.ndarray))]


def _set_world(layer: Any, saved: dict[str, Any]) -> None:
    for name, value in saved.items():
        if isinstance(value, np.ndarray):
            getattr(layer.data, name)[...] = value
        else:
            setattr(layer.data, name, value)


def _set_emulator(layer: Any, saved: np.ndarray) -> None:
    kind = type(layer.ale.cloneSystemState())
    layer.ale.restoreSystemState(kind(saved.tobytes()))


class _Met:
    """The mutable things that were read, in their order: one that is met again is named by its number."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}
        self._things: list[Any] = []  # which keeps them alive, and so their ids their own

    def __len__(self) -> int:
        return len(self._things)

    def again(self, thing: Any) -> dict[str, int] | None:
        """What stands for a thing that was met before; a new one is numbered."""
        number = self._numbers.setdefault(id(thing), len(self._things))
        if number < len(self._things):
            return {"__same__": number}
        self._things.append(thing)
        return None

    def forget(self, count: int) -> None:
        """All but the first `count`: what cannot be read is not put back either."""
        for thing in self._things[count:]:
            del self._numbers[id(thing)]
        del self._things[count:]


def _read(attributes: dict[str, Any], layer: Any, met: _Met, strict: bool = True) -> dict[str, Any]:
    """As plain data; what is none raises `Unrestorable`, or is left out where not `strict`."""
    read = {}
    for name, value in attributes.items():
        if _is_left_out(name, value, layer):
            continue
        count = len(met)
        try:
            read[name] = _plain_or_object(value, f"{type(layer).__name__}.{name}", met)
        except Unrestorable:
            met.forget(count)
            if strict and name not in _DRAWING:
                raise
    return read


def _is_left_out(name: str, value: Any, layer: Any) -> bool:
    return name in _SKIPPED or isinstance(value, _CONSTANT) or _is_function(value, layer)


def _is_function(value: Any, layer: Any) -> bool:
    """Whether it can be called and holds no state: not what is bound to an object other than the environment."""
    if isinstance(value, functools.partial):
        return all(
            _is_function(one, layer) for one in (value.func, *value.args, *value.keywords.values()) if callable(one)
        )
    if isinstance(value, type):
        return True
    if not callable(value) or type(value).__module__.partition(".")[0] not in _OF_LIBRARIES:
        return False
    holder = getattr(value, "__self__", None)
    return holder is None or isinstance(holder, type | types.ModuleType) or any(holder is one for one in layers(layer))


def _plain_or_object(value: Any, place: str, met: _Met) -> Any:
    """An object of Gymnasium's with plain attributes, as `RunningMeanStd`, is read like the layer that holds it."""
    try:
        return _plain(value, place, met)
    except Unrestorable:
        if not type(value).__module__.startswith("gymnasium.") or not hasattr(value, "__dict__"):
            raise
        return {"__object__": {name: _plain(item, f"{place}.{name}", met) for name, item in vars(value).items()}}


def _plain(value: Any, place: str, met: _Met) -> Any:
    if type(value) in checkpoint.AS_IT_IS:
        return value
    if isinstance(value, np.generic):  # np.float64 is a float too
        return {"__scalar__": _plain(np.asarray(value), place, met)}
    if type(value) is tuple:
        return {"__container__": "tuple", "items": [_plain(v, f"{place}[{i}]", met) for i, v in enumerate(value)]}
    if not isinstance(value, np.ndarray | np.random.Generator) and type(value) not in _CONTAINERS:
        raise Unrestorable(f"{place} is a {type(value).__name__}")
    if (same := met.again(value)) is not None:
        return same
    if isinstance(value, np.ndarray):
        if value.dtype == object:
            raise Unrestorable(f"{place} is an array of objects")
        if value.dtype.kind in "biuf":
            return value.copy()
        data = np.frombuffer(np.ascontiguousarray(value).tobytes(), np.uint8)  # text, bytes, dates
        return {"__bytes__": data, "dtype": value.dtype.str, "shape": list(value.shape)}
    if isinstance(value, np.random.Generator):
        return {"__generator__": type(value.bit_generator).__name__, "state": value.bit_generator.state}
    held = {"__container__": _CONTAINERS[type(value)], "maxlen": getattr(value, "maxlen", None)}
    if type(value) is dict:
        pairs = [[_plain(key, place, met), _plain(item, f"{place}[{key!r}]", met)] for key, item in value.items()]
        return {**held, "items": pairs}
    items = [_plain(item, f"{place}[{i}]", met) for i, item in enumerate(value)]
    return {**held, "items": sorted(items, key=repr) if type(value) is set else items}


def _write(value: Any, made: list[Any]) -> Any:
    """The inverse of `_plain`; `made` are the mutable things so far, in the order in which they were met."""
    if isinstance(value, np.ndarray):
        return _kept(value, made)
    if not isinstance(value, dict):
        return value
    if "__same__" in value:
        if made[value["__same__"]] is None:
            raise Unrestorable("it has a container that holds itself")
        return made[value["__same__"]]
    if "__scalar__" in value:
        return _write(value["__scalar__"], made)[()]
    if value.get("__container__") == "tuple":
        return tuple([_write(item, made) for item in value["items"]])
    return _kept(value, made)


def _kept(value: Any, made: list[Any]) -> Any:
    number = len(made)
    made.append(None)  # it was numbered before what it holds
    made[number] = _thing(value, made)
    return made[number]


def _thing(value: Any, made: list[Any]) -> Any:
    if isinstance(value, np.ndarray):
        return value.copy()
    if "__bytes__" in value:
        return np.frombuffer(value["__bytes__"].tobytes(), value["dtype"]).reshape(value["shape"]).copy()
    if "__generator__" in value:
        generator = np.random.Generator(getattr(np.random, value["__generator__"])())
        generator.bit_generator.state = value["state"]
        return generator
    kind = value["__container__"]
    if kind == "dict":
        return {_write(key, made): _write(item, made) for key, item in value["items"]}
    restored = [_write(item, made) for item in value["items"]]
    return collections.deque(restored, maxlen=value["maxlen"]) if kind == "deque" else _KINDS[kind](restored)
