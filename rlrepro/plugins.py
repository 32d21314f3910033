"""Finds agents, environments and wrappers: by name, entry point, `package.module:Name`, or file.

The core imports neither agents nor environments: it asks here. What an agent's file says of its hyperparameters is read
without importing it (`rlrepro.agent_description`), and so without torch.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import functools
import importlib
import importlib.metadata
import importlib.util
import inspect
import re
import sys
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from rlrepro import agent as agent_module
from rlrepro.agent_description import Description, read_description
from rlrepro.errors import BadArgument, Problem, close_quietly, nearest, one_line
from rlrepro.importing import check_module, existing_file, import_plugin, installed, load_entry_point, registered
from rlrepro.learnt import hand_on

if TYPE_CHECKING:
    import gymnasium
    from gymnasium.envs.registration import EnvSpec

    from rlrepro.vector import EnvBatch

_EXTRAS = {
    "mujoco": "mujoco",
    "Box2D": "box2d",
    "box2d": "box2d",
    "ale_py": "atari",
    "moviepy": "video",
    "pygame": "video",
    "imageio": "mujoco",
    "minatar": "minatar",
    "minigrid": "minigrid",
}
_AGENT_PARTS = ["Config", "act", "predict", "update", "get_state", "set_state", "get_policy", "set_policy"]
#: the defaults that a hyperparameter may have, by what it is declared as
_KINDS: Mapping[Any, tuple[type, ...]] = {"int": (int,), "float": (float, int), "bool": (bool,), "str": (str,)}
_BATCH_PARTS = ["observation_space", "action_space", "reset", "step", "to_learn", "get_state", "set_state"]
#: settings of a run that an agent's preset may give
IN_A_PRESET = (
    "total_timesteps", "num_envs", "device", "normalise_obs", "normalise_reward", "normalise_as", "log_every",
    "eval_every", "eval_episodes", "final_eval_episodes", "checkpoint_every", "capture_video", "check_env",
    "eval_deterministic", "compile", "processes", "env_processes",
)  # fmt: skip
_TRAINER_PARTS = ["Config", "train", "predict", "get_policy", "set_policy"]


# --- agents


@dataclasses.dataclass(frozen=True)
class AgentSource:
    """An agent that was found and not yet imported."""

    name: str  #: as it was asked for; a file's path made absolute
    module: str | None
    file: Path | None
    attribute: str
    variant: str | None = None  #: its name in the mapping that `attribute` is, for one of a family

    def load(self) -> type[Any]:
        """The agent's class; this imports it, and torch with it."""
        if self.variant is not None:
            return self._whole(variants(self.name.partition(":")[0])[self.variant])
        module = import_plugin(self.module, self.file, f"agent {self.name!r}")
        found = getattr(module, self.attribute, None)
        if found is None:
            classes = [
                name
                for name, value in vars(module).items()
                if isinstance(value, type) and (hasattr(value, "act") or agent_module.owns_loop(value))
            ]
            where = self.file or module.__name__
            raise Problem(f"agent {self.name!r}: {where} has no {self.attribute!r}{nearest(self.attribute, classes)}")
        return self._whole(found)

    def _whole(self, found: Any) -> type[Any]:
        parts, page = _AGENT_PARTS, "write-an-agent"
        if agent_module.owns_loop(found):
            parts, page = _TRAINER_PARTS, "bring-your-own-training"
        missing = [part for part in parts if not hasattr(found, part)]
        if missing:
            raise Problem(f"agent {self.name!r} has no {' and no '.join(missing)}; see docs/{page}.md")
        return found

    @property
    def owns_loop(self) -> bool:
        """Whether it is a `Trainer`; this imports it."""
        return agent_module.owns_loop(self.load())

    def description(self) -> Description:
        """Its `Config`, its `PRESETS` and whether it is stackable, without importing it where that can be."""
        if "torch" not in sys.modules and self.variant is None:
            try:
                read = read_description(self.module, self.file, self.attribute)
            except Exception:  # anything unusual in the file: its own import knows best
                read = None
            if read is not None:
                return read
        found = self.load()
        stackable = getattr(found, "stackable", True) and not agent_module.owns_loop(found)
        return found.Config, getattr(found, "PRESETS", {}), stackable

    def check(self, config: Any, presets: Mapping[str, Mapping[str, Any]], flags: Collection[str]) -> None:
        """`Problem` where its hyperparameters cannot be settings; `flags` are those of every run."""
        if not dataclasses.is_dataclass(config):
            decorator = "write @dataclasses.dataclass(frozen=True) above it"
            raise Problem(f"agent {self.name!r}: its Config is not a dataclass: {decorator}")
        for name in _passed_over(config):
            what = f"its Config sets {name!r}, which would be no hyperparameter"
            how = f"write {name}: TYPE = hyper(…), and @dataclasses.dataclass(frozen=True) above the class"
            raise Problem(f"agent {self.name!r}: {what}: {how}")
        fields = {field.name: field for field in dataclasses.fields(config)}
        for name, field in fields.items():
            flag = "--" + name.replace("_", "-")
            if flag in flags:
                raise Problem(f"agent {self.name!r}: its hyperparameter {name!r} has the name of the flag {flag}")
            if not isinstance(field.default, bool | int | float | str | tuple):
                raise Problem(
                    f"agent {self.name!r}: its hyperparameter {name!r} needs a default that is a number, a truth "
                    "value, a text or a tuple of numbers"
                )
            kind = getattr(field.type, "__name__", field.type)
            if type(field.default) not in _KINDS.get(kind, (type(field.default),)):
                raise Problem(
                    f"agent {self.name!r}: its hyperparameter {name!r} is declared as {kind}, and its default is "
                    f"{field.default!r}"
                )
            if (why := _default_fault(field)) is not None:
                raise Problem(f"agent {self.name!r}: its hyperparameter {name!r} {why}")
        if not isinstance(presets, Mapping) or not all(isinstance(one, Mapping) for one in presets.values()):
            raise Problem(f"agent {self.name!r}: its PRESETS are not a mapping of names to mappings of settings")
        known = {*fields, "source", *IN_A_PRESET}
        for key, preset in presets.items():
            for name in preset:
                if name not in known:
                    is_flag = "--" + name.replace("_", "-") in flags
                    why = "which no preset may set" if is_flag else f"which is no setting{nearest(name, known)}"
                    raise Problem(f"agent {self.name!r}: its preset {key!r} sets {name!r}, {why}")


def _passed_over(config: Any) -> list[str]:
    """The values in the body of a `Config` that would silently be none of its fields, nor change one of its base's."""
    fields, annotated = {field.name for field in dataclasses.fields(config)}, inspect.get_annotations(config)
    own = {name: value for name, value in vars(config).items() if not name.startswith("__")}
    if "__dataclass_fields__" in vars(config):
        return [name for name in own if name in fields and name not in annotated]
    values = [name for name, value in own.items() if name in fields or isinstance(value, dataclasses.Field)]
    return list(dict.fromkeys((*annotated, *values)))


def unsourced(name: str, config: type[Any], presets: Mapping[str, Mapping[str, Any]]) -> str | None:
    """What is to be said of an agent whose values do not all say where they come from."""
    bare = [repr(field.name) for field in dataclasses.fields(config) if "source" not in field.metadata]
    bare += [f"the preset {key!r}" for key, preset in presets.items() if not preset.get("source")]
    if not bare:
        return None
    how = "made by hyper(…) a hyperparameter has one, a preset by its key 'source'"
    return f"agent {name!r} gives no source of {', '.join(bare)} ({how})"


def _default_fault(field: dataclasses.Field[Any]) -> str | None:
    """Why a hyperparameter cannot have its default, or that its source is empty."""
    about, values = field.metadata, field.default if isinstance(field.default, tuple) else (field.default,)
    low, high, choices = about.get("low"), about.get("high"), about.get("choices")
    if about.get("source") == "":
        return "has an empty source: a paper's table, code, or 'ours: why'"
    if (low, high) != (None, None) and any(isinstance(value, str) for value in values):
        return f"has bounds, and the default {field.default!r}, which is no number"
    if any((low is not None and value < low) or (high is not None and value > high) for value in values):
        return f"has the default {field.default!r}, outside its own bounds ({low} to {high})"
    if choices and field.default not in choices:
        return f"has the default {field.default!r}, which is none of its choices ({', '.join(map(str, choices))})"
    return None


def find_agent(name: str) -> AgentSource:
    """An agent by the name of an entry point, as `family:variant`, `package.module:Class`, or `file.py:Class`."""
    points, families = installed("agents"), installed("agent_families")
    if name in points:
        return AgentSource(name, points[name].module, None, points[name].attr)
    place, colon, attribute = name.rpartition(":")
    if (place or name) in families:
        family = families[place or name]
        found = variants(place or name)
        if attribute not in found or not colon:
            shown = ", ".join(found)
            if not colon:
                raise Problem(f"--agent {name}: which one of the family? write {name}:{next(iter(found))} ({shown})")
            choices = [f"{place}:{one}" for one in found]
            raise Problem(f"unknown agent {name!r}{nearest(name, choices)} ({place} has {shown})")
        return AgentSource(name, family.module, None, family.attr, attribute)
    if place.endswith(".py") or name.endswith(".py"):
        if not colon or name.endswith(".py"):
            raise Problem(f"--agent {name}: which class of the file? write {name}:Class")
        return AgentSource(f"{existing_file(place)}:{attribute}", None, existing_file(place), attribute)
    if colon:
        check_module(place, f"--agent {name}", families)
        return AgentSource(name, place, None, attribute)
    known = ", ".join([*points, *(f"{family}:…" for family in families)]) or "none is installed"
    raise Problem(
        f"unknown agent {name!r}{nearest(name, [*points, *families])} "
        f"(installed: {known}; or package.module:Class, file.py:Class)"
    )


def variants(family: str) -> Mapping[str, type[Any]]:
    """The agents of a family: one entry point of `rlrepro.agent_families`, a mapping of names to classes."""
    found = load_entry_point(installed("agent_families")[family], f"agent family {family!r}")
    if not isinstance(found, Mapping) or not found:
        raise Problem(f"agent family {family!r} is a {type(found).__name__}, not a mapping of names to agent classes")
    return found


# --- environments


@dataclasses.dataclass(frozen=True)
class EnvSource:
    """An environment that can be made: a Gymnasium id or a class, its arguments and its wrappers."""

    name: str  #: as it was asked for; a file's path made absolute
    factory: Callable[..., gymnasium.Env[Any, Any]]
    gym_id: str | None  #: its Gymnasium id, where it has one
    kwargs: Mapping[str, Any]
    wrappers: tuple[Callable[[gymnasium.Env[Any, Any]], gymnasium.Env[Any, Any]], ...]

    def make(self, render_mode: str | None = None) -> gymnasium.Env[Any, Any]:
        """A new single environment, wrapped; observations that are a Tuple of Discretes as one MultiDiscrete."""
        kwargs = dict(self.kwargs)
        if render_mode is not None:
            kwargs["render_mode"] = render_mode
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", r"(?s).*is out of date", DeprecationWarning)
                env = self.factory(**kwargs)
        except (Exception, SystemExit) as error:
            if stray := self._stray_argument(error):
                raise BadArgument(stray) from error
            raise Problem(_why_not_made(self.name, error)) from error
        _check_made(env, self.name)
        if self.wrappers:
            hand_on(env)
        for wrapper in self.wrappers:
            try:
                env = wrapper(env)
            except (Exception, SystemExit) as error:
                name, creator = _unexpected(error), getattr(wrapper, "func", wrapper)
                if name in getattr(wrapper, "keywords", {}) and (stray := _stray(name, creator, leaving=1)):
                    raise BadArgument(f"--wrapper: {wrapper_name(wrapper)} {stray}") from error
                raise Problem(_why_not_made(f"{wrapper_name(wrapper)} around {self.name}", error)) from error
            _check_made(env, f"{wrapper_name(wrapper)} around {self.name}")
            hand_on(env)
        if type(getattr(env, "observation_space", None)).__name__ == "Tuple":
            from rlrepro.vector import TupleAsArray

            return TupleAsArray(env) if TupleAsArray.serves(env.observation_space) else env
        return env

    def _stray_argument(self, error: BaseException) -> str:
        """What to say of an error that an argument which the environment does not take has raised; "" of another."""
        if (name := _unexpected(error)) not in self.kwargs:
            return ""
        creator: Any = self.factory
        if self.gym_id is not None:
            from gymnasium.envs.registration import load_env_creator, spec

            creator = (getattr(self.factory, "spec", None) or spec(self.gym_id)).entry_point
            creator = load_env_creator(creator) if isinstance(creator, str) else creator
        stray = _stray(name, creator, also=("max_episode_steps",))
        return stray and f"--env-kwargs: {self.name} {stray}"

    def make_filmed(self) -> Any:
        """One of them that renders as RGB arrays. `Problem` where it does not."""
        try:
            env = self.make(render_mode="rgb_array")
        except Problem as problem:
            try:
                close_quietly(self.make())
            except Problem:
                raise problem from None  # it is not about filming
            why = one_line(problem.__cause__ or problem)
            raise Problem(f"{self.name} cannot be filmed: render_mode='rgb_array' makes it fail ({why})") from None
        if env.render_mode != "rgb_array":
            close_quietly(env)
            raise Problem(
                f"{self.name} cannot be filmed: made with render_mode='rgb_array', its own is {env.render_mode!r}"
            )
        return env

    def time_limit(self) -> int | None:
        """Env steps of the longest episode that it allows; None where it states none."""
        env = self.make()
        told = [-(-limit // steps) for limit, steps in _limits(env) if type(limit) is int and limit > 0]
        close_quietly(env)
        return min(told, default=None)

    def batch(self, num: int) -> EnvBatch:
        """`num` of them as one batch: in a vector form with a stream each where one is known, else one by one."""
        from rlrepro.vector import SyncEnvBatch

        return SyncEnvBatch(self.make, num) if self._form is None else self._form(num)

    @property
    def is_batched(self) -> bool:
        """Whether `batch` gives a vector form."""
        return self._form is not None

    @functools.cached_property
    def _form(self) -> Callable[[int], EnvBatch] | None:
        """How its vector form is made; None where none is known, or where only Gymnasium's own serves an argument.

        A form refuses a value by `NotImplementedError`, for which one is made, and a name by its signature.
        """
        point = installed("batched_envs").get(self.gym_id or "")
        if point is None or self.wrappers:
            return None
        import gymnasium

        what = f"the vector form of {self.gym_id}"
        form = load_entry_point(point, what)
        spec = getattr(self.factory, "spec", None) or gymnasium.spec(self.gym_id or "")
        registered = getattr(form, "registered_as", lambda: None)()
        if registered not in (None, (spec.entry_point, spec.kwargs)) or spec.additional_wrappers:
            return None  # somebody has registered another environment by that id
        kwargs = dict(self.kwargs)
        limit = kwargs.pop("max_episode_steps", None)  # as gymnasium.make takes it
        if limit is None:
            limit = spec.max_episode_steps
        elif type(limit) is not int or (limit < 1 and limit != -1):
            raise Problem(f"max_episode_steps {limit!r} is neither a whole number of at least 1 nor -1, for none")
        limit = None if limit == -1 else limit
        takes = inspect.signature(form)
        try:
            takes.bind_partial(1, limit)
        except TypeError as error:
            raise Problem(f"{what}, {point.value}, is to take (num, max_episode_steps): {error}") from None
        try:
            takes.bind(1, limit, **kwargs)
        except TypeError:
            return None
        try:
            one = form(1, limit, **kwargs)
        except NotImplementedError:
            return None
        if missing := [part for part in _BATCH_PARTS if not hasattr(one, part)]:
            near = nearest(missing[0], [name for name in dir(one) if not name.startswith("_")])
            raise Problem(
                f"{what}, {point.value}, has no {' and no '.join(missing)}{near}; see rlrepro.vector.EnvBatch"
            )
        close_quietly(one)
        return lambda num: form(num, limit, **kwargs)


def _unexpected(error: BaseException) -> str:
    """The argument that a call was given and does not take, or ""."""
    found = re.search(r"unexpected keyword argument '(\w+)'", str(error)) if isinstance(error, TypeError) else None
    return found[1] if found else ""


def _stray(name: str, creator: Any, also: Sequence[str] = (), leaving: int = 0) -> str:
    """What to say of an argument that `creator` does not take; "" where it does, or where that cannot be known.

    It takes those of its signature, but the first `leaving`, and `also` others.
    """
    with contextlib.suppress(TypeError, ValueError):  # a class of another language has no signature
        parameters = inspect.signature(creator).parameters.values()
        several = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
        takes = [one.name for one in parameters if one.kind not in several][leaving:]
        if name in takes:
            return ""  # it was an inner call that was given it
        takes += [one for one in also if one not in takes]
        told = f" (it takes {', '.join(takes)})" if takes else ""
        return f"takes no argument {name!r}{nearest(name, takes)}{told}"
    return ""


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
        raise Problem(f"unknown environment {name!r}{hint or ';'} {forms}")
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
    raise Problem(
        f"environment {name!r}: {name.rpartition(':')[0]} neither registers nor defines {attribute!r}"
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


def frames_per_step(env: gymnasium.Env[Any, Any]) -> int:
    """Frames of an emulator, or steps of what is wrapped, in one env step.

    What a wrapper tells (`frames_per_step`) is all of it; those of Gymnasium, and ale-py, tell of their own part. Where
    ale-py draws how many (`frameskip=(2, 5)`: 2 to 4), their mean, rounded.
    """
    *_, (layer, steps) = _layers(env)
    return steps * _frames(layer)


def _layers(env: Any) -> Iterator[tuple[Any, int]]:
    """Each layer from the outermost one, with how many of its steps are one of the whole; none beyond an emulator's."""
    import gymnasium

    steps = 1
    yield env, steps
    while isinstance(env, gymnasium.Wrapper) and "frames_per_step" not in vars(env):
        held = next((_SKIPS[kind.__name__] for kind in type(env).__mro__ if kind.__name__ in _SKIPS), None)
        steps *= getattr(env, held) if held else 1
        env = env.env
        yield env, steps


def _frames(layer: Any) -> int:
    """Of an emulator, in one step."""
    own = getattr(layer, "frames_per_step", getattr(layer, "_frameskip", 1))
    if isinstance(own, tuple):
        own = round((own[0] + own[1] - 1) / 2)
    return own if isinstance(own, int) else 1


def _limits(env: Any) -> Iterator[tuple[Any, int]]:
    """What the layers state as their longest episodes, each with how many of its steps are one of the whole."""
    for layer, steps in _layers(env):
        yield getattr(layer, "_max_episode_steps", None), steps  # of a TimeLimit
    spec = getattr(env.unwrapped, "spec", None)
    yield getattr(spec, "max_episode_steps", None), steps
    if any(kind.__name__ == "MiniGridEnv" for kind in type(env.unwrapped).__mro__):
        yield getattr(env.unwrapped, "max_steps", None), steps
    if layer is env.unwrapped:  # of ale-py
        yield getattr(spec, "kwargs", {}).get("max_num_frames_per_episode"), steps * _frames(layer)


#: Where Gymnasium's wrappers hold for how many steps they repeat an action.
_SKIPS = {"MaxAndSkipObservation": "_skip", "RepeatAction": "num_repeats", "AtariPreprocessing": "frame_skip"}


def _check_made(env: Any, what: str) -> None:
    """`Problem` where what was made is no environment with two spaces."""
    import gymnasium

    if not isinstance(env, gymnasium.Env):
        raise Problem(f"{what} is a {type(env).__name__}, not a gymnasium.Env")
    for name in ("observation_space", "action_space"):
        try:
            space = getattr(env, name)
        except Exception as error:  # a wrapper without super().__init__() raises whatever it meets
            raise Problem(f"{what} has no {name} ({one_line(error)})") from None
        if not isinstance(space, gymnasium.Space):
            raise Problem(f"the {name} of {what} is a {type(space).__name__}, not a gymnasium.Space")


def wrapper_name(wrapper: Any) -> str:
    """What a wrapper that was found is called in a message."""
    found = getattr(wrapper, "func", wrapper)
    return str(getattr(found, "__name__", type(found).__name__))


def find_wrapper(name: str) -> Callable[[gymnasium.Env[Any, Any]], gymnasium.Env[Any, Any]]:
    """A wrapper by entry point, Gymnasium's name, `module:Class` or `file.py:Class`, with `(key=value, …)` after it."""
    import gymnasium.wrappers

    text, arguments = _parted(name)
    kwargs = _arguments(arguments[1:], name) if arguments else {}
    points = installed("wrappers")
    place, colon, attribute = text.rpartition(":")
    if text.endswith(".py"):
        raise Problem(f"--wrapper {text}: which wrapper? write {text}:Name")
    if text in points:
        found = load_entry_point(points[text], f"wrapper {text!r}")
    elif colon:
        file = existing_file(place) if place.endswith(".py") else None
        if file is None:
            check_module(place, f"--wrapper {text}")
        module = import_plugin(place, file, f"wrapper {text!r}")
        found = getattr(module, attribute, None)
    else:
        try:
            found = getattr(gymnasium.wrappers, text, None)
        except ImportError as error:
            raise Problem(f"wrapper {text!r} could not be imported: {one_line(error)}") from None
    if not callable(found):
        choices = [*points, *(name for name in gymnasium.wrappers.__all__ if name != "vector")]
        if colon:
            where = f"file {place}" if place.endswith(".py") else f"module {place}"
            raise Problem(f"wrapper {text!r}: the {where} has no {attribute!r}{nearest(attribute, vars(module))}")
        raise Problem(
            f"unknown wrapper {text!r}{nearest(text, choices)} (`rlrepro list wrappers` shows what is installed)"
        )
    return functools.partial(found, **kwargs) if kwargs else found


def full_name(wrapper: str) -> str:
    """A wrapper's name with the path of its file made absolute: a run may be evaluated from another folder."""
    text, arguments = _parted(wrapper)
    place, _, attribute = text.rpartition(":")
    return f"{existing_file(place)}:{attribute}{arguments}" if place.endswith(".py") else wrapper


def _parted(wrapper: str) -> tuple[str, str]:
    """The name, and the arguments with their parenthesis; a folder's name may have one too."""
    found = re.fullmatch(r"(.*\.py:\w*|[^(]*)(\(.*)?", wrapper, re.DOTALL)
    return (found[1], found[2] or "") if found else (wrapper, "")


def _arguments(text: str, name: str) -> dict[str, Any]:
    try:
        call = ast.parse(f"f({text}", mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args:
            raise ValueError(text)
        names = [keyword.arg or "**" for keyword in call.keywords]
        if "**" in names or len(set(names)) < len(names):
            raise ValueError(text)
        return dict(zip(names, (ast.literal_eval(keyword.value) for keyword in call.keywords), strict=True))
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        raise BadArgument(f"--wrapper {name}: write its arguments as Name(key=value, key='text')") from None


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


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"


def _why_not_made(name: str, error: BaseException) -> str:
    """Why an environment could not be made; a missing extra is named with its pip command."""
    if isinstance(error, Problem):
        return str(error)
    if name.endswith("Pusher-v4") and "mujoco" in str(error).lower():
        return f"{name} does not run with MuJoCo 3 or later ({_version('mujoco')} is installed); use Pusher-v5"
    seen: BaseException | None = error
    while seen is not None:
        is_lacking = isinstance(seen, ImportError) or type(seen).__name__ == "DependencyNotInstalled"
        for module, extra in _EXTRAS.items() if is_lacking else ():
            if module.lower() in str(seen).lower():
                return f"{name} needs the {extra!r} extra: pip install 'rlrepro[{extra}]'"
        if is_lacking and re.search(r"cv2|opencv", str(seen), re.IGNORECASE):
            return f"{name} needs OpenCV: pip install opencv-python"
        seen = seen.__cause__ or seen.__context__
    return f"{name} could not be made: {one_line(error)}"
