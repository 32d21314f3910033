"""What a command line asks for: flags, a settings file, presets and defaults resolved to the settings of a run.

What stands nearer wins: a flag, then a settings file, then the agent's preset for the environment's id, then its
preset for the kind of action space, then its preset for all, then the default. This module imports no torch.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium

from rlrepro.agent import source_of
from rlrepro.errors import BadArgument, Problem, close_quietly, nearest
from rlrepro.flags import DEFAULT_SEEDS, MAX_SEED, NORMALISERS, about_unknown, train_parser
from rlrepro.images import is_image
from rlrepro.plugins.agents import AgentSource, find_agent, remarks
from rlrepro.plugins.env_layers import frames_per_step
from rlrepro.plugins.env_source import EnvSource
from rlrepro.plugins.environments import find_env
from rlrepro.plugins.wrappers import full_name
from rlrepro.settings import DERIVED, Settings, num_cores, read_settings, settings_dict, taken


@dataclasses.dataclass(frozen=True)
class Request:
    """What a command line asks for."""

    settings: Settings
    run_dir: Path
    name: str | None
    notes: tuple[str, ...] = ()  #: for the person who asks


@dataclasses.dataclass(frozen=True)
class ResumeRequest:
    """A run that a command line wants gone on with."""

    path: Path
    total_timesteps: int | None  #: to be gone on with to there
    processes: int | None  #: that the seeds are dealt to this time


def parse_train(arguments: Sequence[str], of_card: bool = False) -> Request | ResumeRequest:
    """What a command line asks for, or one that is made of a card."""
    first = train_parser(None, add_help=False)
    known, _ = first.parse_known_args(arguments)
    if known.resume is not None:
        alone = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        alone.add_argument("--resume")
        alone.add_argument("--total-timesteps")
        alone.add_argument("--processes")
        _, others = alone.parse_known_args(arguments)
        if others:
            ours = "goes alone (or with --total-timesteps, --processes)"
            raise Problem(f"--resume {ours}, since a run keeps its settings; leave out {others[0]}")
        return ResumeRequest(Path(known.resume), known.total_timesteps, known.processes)
    saved = _saved(known.settings)
    agent = find_agent(known.agent or saved.get("agent", "ppo"))
    config_class, presets, stackable = agent.description()
    agent.check(config_class, presets, [flag for action in first._actions for flag in action.option_strings])
    parser = train_parser(agent, config_class, presets)
    presets = {
        key: {**preset, **taken(parser, preset, f"agent {agent.name!r}: its preset {key!r}")}
        for key, preset in presets.items()
    }
    values, unknown = parser.parse_known_args(arguments)
    if saved.get("agent") in (None, agent.name):
        kept = saved.get("hyperparameters", {})
        as_flags = taken(parser, kept, f"--settings {known.settings}", are_hyperparameters=True)
        saved["hyperparameters"] = {**kept, **as_flags}
    if unknown:
        raise Problem(f"unknown argument {unknown[0]!r}{about_unknown(unknown[0], arguments, parser)}")
    task = _task(values, saved)
    settings = _resolve(values, saved, agent, config_class, presets, stackable, task)
    if not of_card:
        _refuse_elsewhere(values, config_class, task)
    _refuse_unused(values, config_class, settings.hyperparameters, of_card)
    return Request(settings, values.run_dir, values.name, remarks(agent.name, config_class, presets))


def _kept(env_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments as the settings file gives them back, tuples as lists, so that a resumed run has the same."""
    for name, value in env_kwargs.items():
        if not _is_kept(value):
            raise Problem(
                f"--env-kwargs {name}: {value!r} is not made of numbers, texts, lists and tables with texts as keys"
            )
    return dict(json.loads(json.dumps(dict(env_kwargs))))


def _is_kept(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_kept, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_kept(one) for key, one in value.items())
    return value is None or isinstance(value, bool | int | float | str)


@dataclasses.dataclass(frozen=True)
class _Choices:
    """What was chosen for a run: by flags, by a settings file, by the agent's presets, the nearest of these first."""

    flags: argparse.Namespace  #: None: not given
    file: Mapping[str, Any]
    presets: Sequence[tuple[str, Mapping[str, Any]]]

    def pick(self, name: str, fallback: Any) -> Any:
        """The nearest choice of a run setting."""
        if getattr(self.flags, name, None) is not None:
            return getattr(self.flags, name)
        if name in self.file and not self._is_outdated(name):
            return self.file[name]
        preset = self._preset(name)
        return fallback if preset is None else preset[1]

    def is_derived(self, name: str) -> bool:
        """Whether a setting follows from others: nobody chose it, or a file that says so holds it still."""
        if getattr(self.flags, name) is not None:
            return False
        if name in self.file and not self._is_outdated(name):
            return self._was_derived(name)
        return self._preset(name) is None

    def hyperparameter(self, field: dataclasses.Field[Any], file: Mapping[str, Any], source: str) -> tuple[Any, str]:
        """Its value and where that came from: its default from `source`; `file` is one of the same agent's settings."""
        name, given = field.name, getattr(self.flags, f"hyper_{field.name}")
        if given is not None:
            return given, "flag"
        if name in file:
            return file[name], self.file.get("sources", {}).get(name, "settings file")
        preset = self._preset(name)
        if preset is not None:
            return preset[1], preset[0]
        return field.default, source or "default"

    def _preset(self, name: str) -> tuple[str, Any] | None:
        """What names the nearest preset that has it, and its value."""
        for key, preset in self.presets:
            if name in preset:
                return f"preset {key} ({preset.get('source', 'no source given')})", preset[name]
        return None

    def _was_derived(self, name: str) -> bool:
        return name in self.file.get("sources", {}) and name in DERIVED

    def _is_outdated(self, name: str) -> bool:
        """Whether a file's value was derived from what a flag now changes, or from another machine's cores."""
        if not self._was_derived(name):
            return False
        of_the_machine = name in ("processes", "env_processes")
        return of_the_machine or any(getattr(self.flags, one) is not None for one in DERIVED[name][1])


@dataclasses.dataclass(frozen=True)
class _Task:
    """The environment that is asked for, and what one of it showed."""

    name: str  #: as it was asked for
    source: EnvSource
    kwargs: Mapping[str, Any]
    wrappers: tuple[str, ...]
    frames_per_step: int
    observation_space: gymnasium.Space[Any]
    action_space: gymnasium.Space[Any]


def _task(values: argparse.Namespace, saved: Mapping[str, Any]) -> _Task:
    name = values.env or saved.get("env", "CartPole-v1")
    kwargs = _kept(values.env_kwargs if values.env_kwargs is not None else saved.get("env_kwargs", {}))
    wrappers = tuple(map(full_name, values.wrapper if values.wrapper is not None else saved.get("wrappers", ())))
    source = find_env(name, kwargs, wrappers)
    source.check_arguments()
    env = source.make()
    task = _Task(name, source, kwargs, wrappers, frames_per_step(env), env.observation_space, env.action_space)
    close_quietly(env)
    return task


def _resolve(
    values: argparse.Namespace,
    saved: Mapping[str, Any],
    agent: AgentSource,
    config_class: type[Any],
    presets: Mapping[str, Mapping[str, Any]],
    stackable: bool,
    task: _Task,
) -> Settings:
    source = task.source
    nearest_first = (source.gym_id or task.name, type(task.action_space).__name__, "*")
    choices = _Choices(values, saved, [(key, presets[key]) for key in nearest_first if key in presets])
    pick = choices.pick

    hyper, sources = _hyperparameters(choices, agent, config_class)
    seeds = _seeds(values, saved)
    total, num_envs = pick("total_timesteps", 100_000), pick("num_envs", 1)
    if total < num_envs:
        raise Problem(f"--total-timesteps {total} is less than one step of --num-envs {num_envs} sub-environments")
    device = pick("device", "cpu")
    agent.check_device(device)
    processes, env_processes = _processes(choices, len(seeds), num_envs, device, agent, stackable, source)
    derived = {name: told for name, (told, _) in DERIVED.items() if choices.is_derived(name)}
    if env_processes == 1:
        derived.pop("env_processes", None)  # as it is without the setting
    tenth = max(num_envs, total // 10)
    return Settings(
        env=source.name,
        agent=agent.name,
        seeds=seeds,
        total_timesteps=total,
        num_envs=num_envs,
        device=device,
        env_kwargs=dict(task.kwargs),
        wrappers=task.wrappers,
        log_every=pick("log_every", max(num_envs, total // 200)),
        eval_every=pick("eval_every", tenth),
        eval_episodes=pick("eval_episodes", 10),
        final_eval_episodes=pick("final_eval_episodes", 100),
        checkpoint_every=pick("checkpoint_every", tenth),
        capture_video=bool(pick("capture_video", False)),
        processes=processes,
        check_env=bool(pick("check_env", True)),
        hyperparameters=hyper,
        sources=sources | derived,
        **_normalisation(choices, agent, hyper.get("gamma")),
        eval_deterministic=bool(pick("eval_deterministic", True)),
        stackable=stackable,
        compile=bool(pick("compile", False)),
        env_processes=env_processes,
        frames_per_step=task.frames_per_step,
    )


def _hyperparameters(
    choices: _Choices, agent: AgentSource, config_class: type[Any]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Their values, and where each came from."""
    file, fields = choices.file, dataclasses.fields(config_class)
    kept = file.get("hyperparameters", {}) if file.get("agent") in (None, agent.name) else {}
    stale = sorted(set(kept) - {field.name for field in fields})
    if stale:
        near = nearest(stale[0], [field.name for field in fields])
        raise Problem(f"--settings {choices.flags.settings}: {agent.name} has no hyperparameter {stale[0]!r}{near}")
    found = {field.name: choices.hyperparameter(field, kept, source_of(config_class, field)) for field in fields}
    values = {name: tuple(value) if isinstance(value, list) else value for name, (value, _) in found.items()}
    return values, {name: told for name, (_, told) in found.items()}


def _refuse_elsewhere(flags: argparse.Namespace, config_class: type[Any], task: _Task) -> None:
    """`BadArgument` where a flag sets a hyperparameter that is not used on the task's spaces."""
    observations, actions = task.observation_space, task.action_space
    lacks = {
        "vectors": "observations are images" if is_image(observations) else "",
        "Box observations": _no_box("observations", observations),
        "Box actions": _no_box("actions", actions),
    }
    for field in dataclasses.fields(config_class):
        lack = lacks.get(field.metadata.get("only") or "", "")
        if lack and getattr(flags, f"hyper_{field.name}") not in (None, field.default):
            raise BadArgument(f"--{field.name.replace('_', '-')} says nothing on {task.name}, whose {lack}")


def _no_box(what: str, space: gymnasium.Space[Any]) -> str:
    return "" if isinstance(space, gymnasium.spaces.Box) else f"{what} are {type(space).__name__}"


def _refuse_unused(flags: argparse.Namespace, config_class: type[Any], found: Mapping[str, Any], of_card: bool) -> None:
    """`BadArgument` where a flag sets a hyperparameter that says nothing beside the others.

    A card names them all, used or not, but for additions.
    """
    for field in dataclasses.fields(config_class):
        needed, *used = field.metadata.get("needs") or ("",)
        is_set = getattr(flags, f"hyper_{field.name}") not in (None, field.default)
        if not needed or not is_set or (of_card and not isinstance(field.metadata.get("addition"), str)):
            continue
        if (found[needed] not in used) if used else not found[needed]:
            flag, its = (f"--{name.replace('_', '-')}" for name in (field.name, needed))
            raise BadArgument(f"{flag} says nothing without {' '.join([its, ' or '.join(used)]).strip()}")


def _normalisation(choices: _Choices, agent: AgentSource, gamma: Any) -> dict[str, Any]:
    """The settings of how observations and rewards are normalised."""
    obs, reward = (bool(choices.pick(name, False)) for name in ("normalise_obs", "normalise_reward"))
    form = choices.pick("normalise_as", NORMALISERS[0])
    if form != NORMALISERS[0] and not (obs or reward):
        raise Problem(f"--normalise-as {form} needs --normalise-obs or --normalise-reward, or both")
    if reward and (isinstance(gamma, bool) or not isinstance(gamma, int | float)):
        what = f"--normalise-reward goes by discounted returns, and {agent.name} has no hyperparameter gamma, a number"
        raise Problem(f"{what}: name its discount so, or leave rewards as they are")
    return {"normalise_obs": obs, "normalise_reward": reward, "normalise_as": form}


def _processes(
    choices: _Choices,
    num_seeds: int,
    num_envs: int,
    device: str,
    agent: AgentSource,
    stackable: bool,
    source: EnvSource,
) -> tuple[int, int]:
    """How many processes train, and how many step environments.

    On the CPU the seeds are dealt to processes; a device trains all in one, beside which others step environments.
    """
    processes = min(choices.pick("processes", num_cores() if device == "cpu" else 1), num_seeds)
    if source.is_batched:
        if (choices.flags.env_processes or 1) > 1:
            raise Problem(f"--env-processes: {source.name} has a vector form, which the process that trains steps")
        return processes, 1
    alone = stackable and processes == 1
    pairs = num_seeds * num_envs // 2  # two sub-environments each, at least: to be asked takes time too
    beside = max(1, min(num_cores() - 1, pairs)) if alone and device != "cpu" else 1
    env_processes = choices.pick("env_processes", beside)
    if env_processes > 1 and not alone:
        why = "give --processes 1" if stackable else f"{agent.name} has a process for each"
        raise Problem(f"--env-processes is for agents whose seeds train in one process: {why}")
    return processes, env_processes


def _seeds(values: argparse.Namespace, saved: Mapping[str, Any]) -> tuple[int, ...]:
    if values.seeds is None and values.seed is None:
        return tuple(saved.get("seeds", range(DEFAULT_SEEDS)))
    if values.seeds is None:
        return (values.seed,)
    if isinstance(values.seeds, tuple):
        if values.seed is not None:
            raise Problem("--seed is the first of a number of seeds; with a list of seeds it says nothing")
        return values.seeds
    first = values.seed or 0
    if first + values.seeds - 1 > MAX_SEED:
        raise Problem(f"--seed {first} leaves no room for {values.seeds} seeds up to {MAX_SEED}")
    return tuple(range(first, first + values.seeds))


def _saved(file: str | None) -> dict[str, Any]:
    if file is None:
        return {}
    return settings_dict(read_settings(file, "--settings "), f"--settings {file}")
