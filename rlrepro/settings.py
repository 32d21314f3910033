"""The settings of a run, one plain, saved whole, and how a value is held against its flag. No torch is imported."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rlrepro.errors import Problem, nearest
from rlrepro.flags import train_parser
from rlrepro.plugins.agents import find_agent

SETTINGS_FORMAT = 1
_STEPS = ("total_timesteps", "num_envs")
#: settings that follow from others unless they are chosen: what is said in `sources` of one that does, and from which
DERIVED = {
    "log_every": ("a 200th of total_timesteps", _STEPS),
    "eval_every": ("a tenth of total_timesteps", _STEPS),
    "checkpoint_every": ("a tenth of total_timesteps", _STEPS),
    "processes": ("one a core of the CPU, at most one a seed; one on a CUDA device", ("seeds", "seed", "device")),
    "env_processes": (
        "the cores that training on a CUDA device leaves free",
        ("seeds", "seed", "device", "num_envs", "processes", "agent"),
    ),
}


def num_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything that decides what a run does. `to_json` is enough to start it again."""

    env: str
    agent: str
    seeds: tuple[int, ...]
    total_timesteps: int
    num_envs: int
    device: str
    env_kwargs: Mapping[str, Any]
    wrappers: tuple[str, ...]
    log_every: int
    eval_every: int
    eval_episodes: int
    final_eval_episodes: int
    checkpoint_every: int
    capture_video: bool
    processes: int
    check_env: bool
    hyperparameters: Mapping[str, Any]
    sources: Mapping[str, str]  #: where each hyperparameter's value came from, and which settings were derived
    # These came later: a file without them is read as if it had the default.
    normalise_obs: bool = False
    normalise_reward: bool = False
    eval_deterministic: bool = True
    stackable: bool = True  #: False: each seed has a process of its own, `processes` of them at a time
    compile: bool = False
    env_processes: int = 1  #: which step environments that have no vector form; 1: the process that trains
    normalise_as: str = "vecnormalize"  #: whose rules, see `rlrepro.normalise`
    frames_per_step: int = 1  #: told by the environment: what papers count in frames is env steps × this

    def to_json(self) -> str:
        return _to_json(dataclasses.asdict(self))

    def digest(self) -> str:
        """What tells these settings from others; a setting that came later tells nothing by its default."""
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        values = dataclasses.asdict(self)
        told = {name: value for name, value in values.items() if value != defaults[name]}
        return hashlib.sha256(_to_json(told).encode()).hexdigest()

    @staticmethod
    def from_json(text: str, place: str) -> Settings:
        values = settings_dict(text, place)
        needed = {field.name for field in dataclasses.fields(Settings) if field.default is dataclasses.MISSING}
        missing = needed - set(values)
        if missing:
            raise Problem(f"{place} lacks {', '.join(sorted(missing))}")
        for name in ("seeds", "wrappers"):
            values[name] = tuple(values[name])
        values["hyperparameters"] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in values["hyperparameters"].items()
        }
        return Settings(**values)

    @property
    def named_code(self) -> tuple[str, ...]:
        """The agent, the environment and the wrappers, each of which may be code of a person's own."""
        return (self.agent, self.env, *self.wrappers)

    def config(self, config_class: type[Any]) -> Any:
        """The agent's `Config` with these hyperparameters; `Problem` where one is none that its flag takes."""
        parser = train_parser(find_agent(self.agent), config_class)
        values = dict(self.hyperparameters)
        for field in dataclasses.fields(config_class):
            value = values.get(field.name, field.default)
            if value is field.default or (type(value), value) == (type(field.default), field.default):
                continue  # which may be anything, if no flag gave it
            try:
                values[field.name] = as_flag(parser, field.name, value, is_run_setting=False)
            except argparse.ArgumentTypeError as error:
                raise Problem(f"{self.agent}: {field.name}: {error}") from None
        return config_class(**values)

    def lengthened(self, total_timesteps: int) -> Settings:
        """The same to `total_timesteps`: what followed from the length stays as it is."""
        sources = {name: told for name, told in self.sources.items() if DERIVED.get(name, ("", ()))[1] != _STEPS}
        return dataclasses.replace(self, total_timesteps=total_timesteps, sources=sources)

    @property
    def end_step(self) -> int:
        """The env step at which a run ends: the loop takes whole steps of all sub-environments."""
        return -(-self.total_timesteps // self.num_envs) * self.num_envs

    def groups(self) -> list[tuple[int, ...]]:
        """The seeds of each process; at most `processes` run at the same time."""
        count = min(self.processes, len(self.seeds)) if self.stackable else len(self.seeds)
        quotient, rest = divmod(len(self.seeds), count)
        groups, start = [], 0
        for index in range(count):
            end = start + quotient + (index < rest)
            groups.append(self.seeds[start:end])
            start = end
        return groups


@dataclasses.dataclass(frozen=True)
class Job:
    """What one process is to do."""

    settings: Settings
    run_path: Path
    seeds: tuple[int, ...]
    resume_step: int | None = None  #: the checkpoint to go on from; None begins at the start
    was_end: bool = False  #: the run was to end at `resume_step`, and was made longer since

    @property
    def is_first(self) -> bool:
        """Whether it is the one that tells what concerns all."""
        return self.settings.seeds[0] in self.seeds


def read_settings(file: str, flag: str = "") -> str:
    """The text of a settings file; `Problem` where it has none."""
    try:
        return Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise Problem(f"{flag}{file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Problem(f"{flag}{file} is not a settings file") from None


def _to_json(values: Mapping[str, Any]) -> str:
    return json.dumps({"format": SETTINGS_FORMAT, **values}, indent=2) + "\n"


def settings_dict(text: str, place: str) -> dict[str, Any]:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Problem(f"{place} is not a settings file: {error}") from None
    if not isinstance(values, dict) or values.pop("format", None) != SETTINGS_FORMAT:
        raise Problem(f"{place} is not a settings file of this version (format {SETTINGS_FORMAT})")
    known = [field.name for field in dataclasses.fields(Settings)]
    for name in values:
        if name not in known:
            raise Problem(f"{place}: unknown setting {name!r}{nearest(name, known)}")
    _check_values(values, place)
    return values


#: what JSON has of a field of `Settings`, by what it is declared as
_KINDS: dict[Any, Callable[[Any], bool]] = {
    "int": lambda value: type(value) is int,
    "bool": lambda value: isinstance(value, bool),
    "str": lambda value: isinstance(value, str),
    "tuple[int, ...]": lambda value: isinstance(value, list) and all(type(one) is int for one in value),
    "tuple[str, ...]": lambda value: isinstance(value, list) and all(isinstance(one, str) for one in value),
    "Mapping[str, Any]": lambda value: isinstance(value, dict),
    "Mapping[str, str]": lambda value: isinstance(value, dict),
}


def _check_values(values: dict[str, Any], place: str) -> None:
    """Each value as its flag would take it; `Problem` names the first that is none."""
    flags = {action.dest: action for action in train_parser(None)._actions}
    kinds = {field.name: _KINDS[field.type] for field in dataclasses.fields(Settings)}
    for name, value in values.items():
        if not kinds[name](value) or (name in ("env", "agent", "seeds") and not value):
            raise Problem(f"{place}: {name} cannot be {value!r}")
        parse: Any = flags[name].type if name in flags else None
        text = "".join(f"{seed}," for seed in value) if name == "seeds" else str(value)
        if parse is not None and name != "env_kwargs":
            try:
                parse(text)
            except argparse.ArgumentTypeError as error:
                raise Problem(f"{place}: {name}: {error}") from None


def card_value(parser: argparse.ArgumentParser, name: str, value: Any, is_run_setting: bool = False) -> Any:
    """A card's value of a hyperparameter (or of a setting of every run), held against its flag.

    A number written as text becomes a number, and 1e6 a whole one where its flag takes those; all else stays as it is.
    `argparse.ArgumentTypeError` where the flag would refuse it.
    """
    made = as_flag(parser, name, value, is_run_setting)
    is_other = (isinstance(made, int | float) and isinstance(value, str)) or (type(made), type(value)) == (int, float)
    return made if is_other else value


def as_flag(parser: argparse.ArgumentParser, name: str, value: Any, is_run_setting: bool) -> Any:
    """What the flag of a hyperparameter (or of a setting of every run) makes of a value."""
    flags = {action.dest: action for action in parser._actions}
    action = flags.get(name if is_run_setting else f"hyper_{name}")
    if action is None:
        raise argparse.ArgumentTypeError("is no flag of this agent")
    if isinstance(action, argparse.BooleanOptionalAction):
        if not isinstance(value, bool):
            raise argparse.ArgumentTypeError(f"{value!r} is neither true nor false")
        return value
    if isinstance(value, bool) or not isinstance(value, int | float | str | list | tuple):
        raise argparse.ArgumentTypeError(f"cannot be {value!r}")
    text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    parse: Any = action.type
    made = text if parse is None else parse(text)
    if isinstance(made, tuple) and len(made) == 1 and not isinstance(value, list | tuple):
        raise argparse.ArgumentTypeError(f"{value} is one number where a list is expected: [{value}] is a list of one")
    return made


def taken(
    parser: argparse.ArgumentParser, values: Mapping[str, Any], place: str, are_hyperparameters: bool = False
) -> dict[str, Any]:
    """Values of hyperparameters, and else of settings too, as their flags take them; `Problem` names a wrong one.

    What is no flag is left out: it is told elsewhere.
    """
    known = {action.dest for action in parser._actions}
    found = {}
    for name, value in values.items():
        is_setting = f"hyper_{name}" not in known
        if is_setting and (are_hyperparameters or name not in known):
            continue
        try:
            found[name] = as_flag(parser, name, value, is_setting)
        except argparse.ArgumentTypeError as error:
            raise Problem(f"{place}: {name}: {error}") from None
    return found
