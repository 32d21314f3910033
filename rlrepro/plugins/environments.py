"""Finds environments, by entry point, Gymnasium id, `module:Id-v0`, `module:Class`, or file."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from rlrepro.errors import BadArgument, Problem, nearest
from rlrepro.plugins.env_source import EnvSource
from rlrepro.plugins.importing import (
    check_module,
    existing_file,
    import_plugin,
    installed,
    load_entry_point,
    registered,
)
from rlrepro.plugins.wrappers import find_wrapper

if TYPE_CHECKING:
    import gymnasium
    from gymnasium.envs.registration import EnvSpec


def find_env(name: str, kwargs: Mapping[str, Any] | None = None, wrappers: tuple[str, ...] = ()) -> EnvSource:
    """An environment by entry point, Gymnasium id, `module:Id-v0`, `module:Class` or `file.py[:Name]`."""
    found = [find_wrapper(wrapper) for wrapper in wrappers]
    resolved, factory, gym_id = _env_factory(name)
    return EnvSource(resolved, factory, gym_id, dict(kwargs or {}), tuple(found))


def _env_factory(name: str) -> tuple[str, Callable[..., Any], str | None]:
    import gymnasium

    points = installed("envs")
    if name in points:
        if name in gymnasium.registry:
            raise Problem(f"{name} is Gymnasium's, and an entry point of somebody else's: write {points[name].value}")
        return name, _class_factory(load_entry_point(points[name], f"environment {name!r}"), name), None
    place, colon, attribute = name.rpartition(":")
    if name.endswith(".py") or place.endswith(".py"):
        file, attribute = (existing_file(name), "") if name.endswith(".py") else (existing_file(place), attribute)
        module = import_plugin(None, file, f"environment {name!r}")
        own = registered[file]
        attribute = attribute or _only_env(module, file, sorted(own))
        if attribute in own:
            factory = _gym_factory(own[attribute])
            factory.spec = own[attribute]  # type: ignore[attr-defined]  # another may have that id in the registry
            return f"{file}:{attribute}", factory, attribute
        return f"{file}:{attribute}", *_from_module(module, attribute, name)
    if colon:
        check_module(place, f"--env {name}")
        return name, *_from_module(import_plugin(place, None, f"environment {name!r}"), attribute, name)
    if (retired := _retired(name)) is not None:  # whatever an imported package registers
        raise Problem(retired)
    if name in gymnasium.registry:
        return name, _gym_factory(name), name
    namespace = name.partition("/")[0] if "/" in name else ""
    if namespace == "ALE":
        try:
            importlib.import_module("ale_py")
        except ImportError:
            raise Problem(f"{name} needs the 'atari' extra: pip install 'rlrepro[atari]'") from None
        if name not in gymnasium.registry:
            gymnasium.register_envs(sys.modules["ale_py"])
    elif namespace in installed("env_namespaces"):
        register_namespace(namespace)
    if name in gymnasium.registry:
        return name, _gym_factory(name), name
    choices = [*points, *gymnasium.registry]
    if not namespace:
        known = set(_namespaces())
        alike = [one for one in gymnasium.registry if one.partition("/")[0] in known and _base(one) == _base(name)]
        if alike:
            found = next((one for one in alike if one.endswith(f"/{name}")), alike[-1])
            raise Problem(f"unknown environment {name!r}; did you mean {found!r}?")
    hint = nearest(name, choices, cutoff=0.7)  # "-v0" alone makes ids alike
    if guests := [f"{module}:{name}" for module in _packages_that_need_gymnasium()]:
        forms = f"an id that an installed package registers has its name before it ({', '.join(guests)})"
        raise Problem(f"unknown environment {name!r}{hint or ';'} {forms}, one that a file of yours has file.py:{name}")
    raise Problem(
        f"unknown environment {name!r}{hint} (a Gymnasium id, package.module:Id-v0, "
        "package.module:Class or file.py:Class; `rlrepro list envs` shows what is installed)"
    )


def _base(name: str) -> str:
    """An id without namespace, version and capitals."""
    return re.sub(r"-v\d+$", "", name.rpartition("/")[2]).lower()


def _namespaces() -> Iterator[str]:
    """The namespaces of ids (`ALE/Pong-v5`) whose packages are installed, registered."""
    for namespace in installed("env_namespaces"):
        with contextlib.suppress(Exception):  # its package is not there
            register_namespace(namespace)
            yield namespace
    with contextlib.suppress(Exception):
        import gymnasium

        gymnasium.register_envs(importlib.import_module("ale_py"))
        yield "ALE"


def register_namespace(namespace: str) -> None:
    """Register what stands behind `namespace/…` with Gymnasium: one entry point of `rlrepro.env_namespaces`."""
    load_entry_point(installed("env_namespaces")[namespace], f"environments {namespace}/…")()


def _packages_that_need_gymnasium() -> list[str]:
    """The modules of installed packages, other than our own needs, that may register environments."""
    modules = []
    for distribution in importlib.metadata.distributions():
        if distribution.name in ("gymnasium", "rlrepro", "stable_baselines3", "stable-baselines3", "shimmy"):
            continue
        if any(re.match(r"gymnasium\b", need) for need in distribution.requires or ()):
            top = distribution.read_text("top_level.txt")
            modules += top.split() if top else [distribution.name.replace("-", "_")]
    return sorted(set(modules))


def _gym_factory(of: str | EnvSpec) -> Callable[..., Any]:
    """By an id, or by what a file registered: another one may have registered that id too."""
    import gymnasium

    spec = gymnasium.spec(of) if isinstance(of, str) else of
    if spec.entry_point is None and spec.vector_entry_point is not None:
        from rlrepro.vector import VectorAsSingle

        return lambda **kwargs: VectorAsSingle(
            lambda: gymnasium.make_vec(of, num_envs=1, vectorization_mode="vector_entry_point", **kwargs), spec
        )
    return lambda **kwargs: gymnasium.make(of, disable_env_checker=True, **kwargs)


def _class_factory(cls: Any, name: str) -> Callable[..., Any]:
    """Make a class that is not registered, with the time limit that it states (`max_episode_steps`).

    A limit that is asked for reaches a constructor that takes it, too.
    """
    import gymnasium

    stated = getattr(cls, "max_episode_steps", None)
    stated = None if isinstance(stated, property) else stated
    takes_it = False
    with contextlib.suppress(TypeError, ValueError):  # it has no signature
        takes_it = "max_episode_steps" in inspect.signature(cls).parameters

    def make(max_episode_steps: int | None = stated, **kwargs: Any) -> gymnasium.Env[Any, Any]:
        limit = None if max_episode_steps == -1 else max_episode_steps
        if takes_it and limit not in (None, stated):
            kwargs["max_episode_steps"] = limit
        env = cls(**kwargs)
        if not isinstance(env, gymnasium.Env):
            raise Problem(f"environment {name!r} is a {type(env).__name__}, not a gymnasium.Env")
        return env if limit is None else gymnasium.wrappers.TimeLimit(env, limit)

    make.__wrapped__ = cls  # type: ignore[attr-defined]  # whose arguments `inspect.signature` then gives
    return make


def _from_module(module: ModuleType, attribute: str, name: str) -> tuple[Callable[..., Any], str | None]:
    import gymnasium

    if attribute in gymnasium.registry:
        return _gym_factory(attribute), attribute
    found = getattr(module, attribute, None)
    if callable(found):
        return _class_factory(found, name), None
    classes = [
        key for key, value in vars(module).items() if isinstance(value, type) and issubclass(value, gymnasium.Env)
    ]
    place = name.rpartition(":")[0]
    kind = BadArgument if place.endswith(".py") else Problem  # what a package has depends on its version
    raise kind(
        f"environment {name!r}: {place} neither registers nor defines {attribute!r}"
        f"{nearest(attribute, [*classes, *gymnasium.registry])}"
    )


def _only_env(module: ModuleType, file: Path, registered: list[str]) -> str:
    import gymnasium

    classes = [
        key
        for key, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, gymnasium.Env) and value.__module__ == module.__name__
    ]
    choices = registered or classes
    if len(choices) != 1:
        found = ", ".join(choices) or "no environment"
        raise Problem(f"--env {file}: which environment? write {file}:Name (it holds {found})")
    return choices[0]


def _retired(name: str) -> str | None:
    """What stands in the place of an id that Gymnasium has no more."""
    old = re.match(r"(Ant|HalfCheetah|Hopper|Humanoid\w*|Inverted\w+|Pusher|Reacher|Swimmer|Walker2d)-v[0-3]$", name)
    if old:
        return f"{name} is no longer part of Gymnasium; use {old[1]}-v5"
    atari = re.match(r"(\w+?)(NoFrameskip|Deterministic)-v\d$", name)
    if atari:
        return (
            f"{name}: Atari games go by ALE/{atari[1]}-v5 here, and --wrapper Atari2015 does what was done with the "
            f"older ids (ale_py:{name} is the old one by itself)"
        )
    return None
