"""Finds agents, by name, entry point, `package.module:Class`, or file.

What an agent's file says of its hyperparameters is read without importing it
(`rlrepro.plugins.agent_description`), and so without torch.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from rlrepro import agent as agent_module
from rlrepro.errors import BadArgument, Problem, nearest
from rlrepro.plugins.agent_description import Description, read_description
from rlrepro.plugins.importing import check_module, existing_file, import_plugin, installed, load_entry_point

_AGENT_PARTS = ["Config", "act", "predict", "update", "get_state", "set_state", "get_policy", "set_policy"]
_TRAINER_PARTS = ["Config", "train", "predict", "get_policy", "set_policy"]
#: the defaults that a hyperparameter may have, by what it is declared as
_KINDS: Mapping[Any, tuple[type, ...]] = {"int": (int,), "float": (float, int), "bool": (bool,), "str": (str,)}
#: the spaces on which alone a hyperparameter may be used
_SPACES: tuple[str, ...] = get_args(agent_module.Only)
#: settings of a run that an agent's preset may give
IN_A_PRESET = (
    "total_timesteps", "num_envs", "device", "normalise_obs", "normalise_reward", "normalise_as", "log_every",
    "eval_every", "eval_episodes", "final_eval_episodes", "checkpoint_every", "capture_video", "check_env",
    "eval_deterministic", "compile", "processes", "env_processes",
)  # fmt: skip


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
            near = nearest(self.attribute, classes)
            kind = Problem if self.file is None else BadArgument  # what a package has depends on its version
            raise kind(f"agent {self.name!r}: {self.file or module.__name__} has no {self.attribute!r}{near}")
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

    def check_device(self, device: str) -> None:
        """`Problem` where a device is asked for that it would not compute on; any but the CPU imports it."""
        if device != "cpu" and getattr(self.load(), "host_only", False):
            raise Problem(f"--device {device}: {self.name} computes in NumPy, on the CPU alone; use --device cpu")

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
            needed = next(iter(field.metadata.get("needs") or (name,)))
            if needed not in fields:
                of = f"needs {needed!r}, which is none of its hyperparameters{nearest(needed, fields)}"
                raise Problem(f"agent {self.name!r}: {name!r} {of}")
            if (only := field.metadata.get("only")) not in (None, *_SPACES):
                expected = f"expected {', '.join(_SPACES)}{nearest(str(only), _SPACES)}"
                raise Problem(f"agent {self.name!r}: its hyperparameter {name!r} is of {only!r} only; {expected}")
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


def remarks(name: str, config: type[Any], presets: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """What is to be said of an agent before it trains."""
    return (*_unsourced(name, config, presets), *_taken_over(name, config))


def _taken_over(name: str, config: type[Any]) -> Iterator[str]:
    """Of hyperparameters that mean another thing than those of the same name of the agent that this one builds on."""
    bases = [one for one in config.__mro__ if dataclasses.is_dataclass(one)]
    for field in dataclasses.fields(config):
        owners = [one for one in bases if field.name in inspect.get_annotations(one)]
        meanings = [one.__dataclass_fields__[field.name].metadata.get("help") for one in owners]
        if len(set(meanings) - {None}) > 1:  # None: a default of its own, and no word of another meaning
            base = owners[1].__qualname__.removesuffix(".Config")
            yield (
                f"agent {name!r}: its {field.name} ({meanings[0]}) is {base}'s too ({meanings[1]}), whose code goes by "
                "it: give it another name, unless both are meant"
            )


def _unsourced(name: str, config: type[Any], presets: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Of values that do not say where they come from."""
    bare = [repr(field.name) for field in dataclasses.fields(config) if "source" not in field.metadata]
    bare += [f"the preset {key!r}" for key, preset in presets.items() if not preset.get("source")]
    if bare:
        how = "made by hyper(…) a hyperparameter has one, a preset by its key 'source'"
        yield f"agent {name!r} gives no source of {', '.join(bare)} ({how})"


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


def whole_agents() -> tuple[list[str], list[str]]:
    """The names of the agents that are installed and can be imported, and why each other one cannot."""
    names, broken = [], []
    for name in installed("agents"):
        try:
            find_agent(name).load()
        except Problem as problem:
            broken.append(f"{name} is left out: {problem}")
        else:
            names.append(name)
    return names, broken


def variants(family: str) -> Mapping[str, type[Any]]:
    """The agents of a family: one entry point of `rlrepro.agent_families`, a mapping of names to classes."""
    found = load_entry_point(installed("agent_families")[family], f"agent family {family!r}")
    if not isinstance(found, Mapping) or not found:
        raise Problem(f"agent family {family!r} is a {type(found).__name__}, not a mapping of names to agent classes")
    return found
