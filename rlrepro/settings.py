"""The settings of a run: flags, presets and defaults resolved to one plain, saved whole.

What stands nearer wins: a flag, then a settings file, then the agent's preset for the environment's id, then its
preset for the kind of action space, then its preset for all, then the default. This module imports no torch.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from rlrepro.errors import Problem, nearest
from rlrepro.plugins import AgentSource, find_agent, find_env, installed

MAX_SEED = 2**32 - 1
MAX_STEPS = 10**12
DEFAULT_SEEDS = 5
SETTINGS_FORMAT = 1


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
    sources: Mapping[str, str]  #: where each hyperparameter's value came from

    def to_json(self) -> str:
        return json.dumps({"format": SETTINGS_FORMAT, **dataclasses.asdict(self)}, indent=2) + "\n"

    @staticmethod
    def from_json(text: str, place: str) -> Settings:
        values = _settings_dict(text, place)
        missing = {field.name for field in dataclasses.fields(Settings)} - set(values)
        if missing:
            raise Problem(f"{place} lacks {', '.join(sorted(missing))}")
        for name in ("seeds", "wrappers"):
            values[name] = tuple(values[name])
        values["hyperparameters"] = {k: tuple(v) if isinstance(v, list) else v
                                     for k, v in values["hyperparameters"].items()}
        return Settings(**values)

    def config(self, config_class: type[Any]) -> Any:
        """The agent's `Config` with these hyperparameters."""
        return config_class(**self.hyperparameters)

    def groups(self) -> list[tuple[int, ...]]:
        """The seeds of each process."""
        count = min(self.processes, len(self.seeds))
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
    run: Path
    seeds: tuple[int, ...]
    resume_step: int | None  #: the checkpoint to go on from; None begins at the start
    is_first: bool  #: the group that tells what concerns all


@dataclasses.dataclass(frozen=True)
class Request:
    """What a command line asks for."""

    settings: Settings
    run_dir: Path
    name: str | None


def parse_train(arguments: Sequence[str]) -> Request | Path:
    """The run that a command line asks for, or the folder of the run that it wants resumed."""
    first = _parser(None, add_help=False)
    known, _ = first.parse_known_args(arguments)
    if known.resume is not None:
        others = [a for i, a in enumerate(arguments) if a != "--resume" and arguments[i - 1 : i] != ["--resume"]
                  and not a.startswith("--resume=")]
        if others:
            raise Problem(f"--resume goes alone, since a run keeps its settings; leave out {others[0]}")
        return Path(known.resume)
    saved = _saved(known.settings)
    agent = find_agent(known.agent or saved.get("agent") or "ppo")
    config_class, presets, stackable = agent.description()
    parser = _parser(agent, config_class, presets)
    values, unknown = parser.parse_known_args(arguments)
    if unknown:
        flags = [flag for action in parser._actions for flag in action.option_strings]
        raise Problem(f"unknown argument {unknown[0]!r}{nearest(unknown[0].split('=')[0], flags)}")
    settings = _resolve(values, saved, agent, config_class, presets, stackable)
    return Request(settings, Path(values.run_dir), values.name)


def _resolve(
    values: argparse.Namespace,
    saved: Mapping[str, Any],
    agent: AgentSource,
    config_class: type[Any],
    presets: Mapping[str, Mapping[str, Any]],
    stackable: bool,
) -> Settings:
    env_name = values.env or saved.get("env") or "CartPole-v1"
    env_kwargs = values.env_kwargs if values.env_kwargs is not None else saved.get("env_kwargs", {})
    wrappers = tuple(values.wrapper if values.wrapper is not None else saved.get("wrappers", ()))
    source = find_env(env_name, env_kwargs, wrappers)
    probe = source.make()
    kind = type(probe.action_space).__name__
    probe.close()
    layers = [(key, presets[key]) for key in ("*", kind, source.gym_id or env_name) if key in presets]

    def pick(name: str, fallback: Any) -> Any:
        if getattr(values, name, None) is not None:
            return getattr(values, name)
        if name in saved:
            return saved[name]
        return next((preset[name] for _, preset in reversed(layers) if name in preset), fallback)

    hyperparameters: dict[str, Any] = {}
    sources: dict[str, str] = {}
    kept = saved.get("hyperparameters", {}) if saved.get("agent") in (None, agent.name) else {}
    for field in dataclasses.fields(config_class):
        name, given = field.name, getattr(values, f"hyper_{field.name}")
        chosen = next(((f"preset {key} ({preset.get('source', 'no source given')})", preset[name])
                       for key, preset in reversed(layers) if name in preset), None)
        if given is not None:
            sources[name], value = "flag", given
        elif name in kept:
            sources[name], value = saved.get("sources", {}).get(name, "settings file"), kept[name]
        elif chosen is not None:
            sources[name], value = chosen
        else:
            sources[name], value = field.metadata.get("source", "default"), field.default
        hyperparameters[name] = tuple(value) if isinstance(value, list) else value
    stale = set(kept) - set(hyperparameters)
    if stale:
        raise Problem(f"--settings {values.settings}: {agent.name} has no hyperparameter {sorted(stale)[0]!r}"
                      f"{nearest(sorted(stale)[0], hyperparameters)}")

    seeds = _seeds(values, saved)
    total, num_envs = pick("total_timesteps", 100_000), pick("num_envs", 1)
    if total < num_envs:
        raise Problem(f"--total-timesteps {total} is less than one step of --num-envs {num_envs} sub-environments")
    device = pick("device", "cpu")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    processes = pick("processes", min(cores, len(seeds)) if device == "cpu" else 1)
    tenth = max(num_envs, total // 10)
    return Settings(
        env=source.name,
        agent=agent.name,
        seeds=seeds,
        total_timesteps=total,
        num_envs=num_envs,
        device=device,
        env_kwargs=dict(env_kwargs),
        wrappers=wrappers,
        log_every=pick("log_every", max(num_envs, total // 200)),
        eval_every=pick("eval_every", tenth),
        eval_episodes=pick("eval_episodes", 10),
        final_eval_episodes=pick("final_eval_episodes", 100),
        checkpoint_every=pick("checkpoint_every", tenth),
        capture_video=bool(pick("capture_video", False)),
        processes=min(processes, len(seeds)) if stackable else len(seeds),
        check_env=bool(pick("check_env", True)),
        hyperparameters=hyperparameters,
        sources=sources,
    )


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


# ------------------------------------------------------------------------------------------------------ flags


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Problem(message.replace("argument ", "", 1))


def _parser(agent: AgentSource | None, config_class: type[Any] | None = None,
            presets: Mapping[str, Mapping[str, Any]] | None = None, add_help: bool = True) -> argparse.ArgumentParser:
    """The flags of `rlrepro train`; with an agent, its hyperparameters too."""
    width = min(110, shutil.get_terminal_size().columns)
    parser = _Parser(
        prog="python -m rlrepro.train",
        description="Train one agent on one environment, many seeds at once, and evaluate it.",
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=34, width=width),
        allow_abbrev=False,
        add_help=add_help,
    )
    run = parser.add_argument_group("run")
    add = run.add_argument
    add("--env", metavar="ENV", help="Gymnasium id, module:Id-v0, module:Class, or file.py:Class (CartPole-v1)")
    add("--agent", metavar="AGENT", help=f"{', '.join(installed('agents'))}, module:Class, or file.py:Class (ppo)")
    add("--seeds", type=_seed_list, metavar="N|LIST", help=f"how many seeds, or which: 10, or 0,3,7 ({DEFAULT_SEEDS})")
    add("--seed", type=_whole(0, MAX_SEED), metavar="SEED", help="one seed; with --seeds N, the first of them")
    add("--total-timesteps", type=_whole(1, MAX_STEPS), metavar="STEPS", help="env steps of each seed")
    add("--num-envs", type=_whole(1, 100_000), metavar="N", help="sub-environments of each seed")
    add("--device", type=_device, metavar="DEVICE", help="cpu, cuda or cuda:1 (cpu)")
    add("--processes", type=_whole(1, 1024), metavar="N", help="processes that the seeds are dealt to (one a core)")
    add("--env-kwargs", type=_kwargs, metavar="K=V,…", help="arguments of the environment, as g=9.8,continuous=True")
    add("--wrapper", action="append", metavar="WRAPPER", help="wrap the environment: Name, Name(k=v), module:Class, "
        "or file.py:Class; may be repeated, the innermost first")
    add("--check-env", action=argparse.BooleanOptionalAction, help="test the environment against Gymnasium's "
        "contract before training (on)")
    kept = parser.add_argument_group("what is kept")
    add = kept.add_argument
    add("--run-dir", default="runs", metavar="DIR", help="where run folders are made (runs)")
    add("--name", type=_name, metavar="NAME", help="name of the run folder (ENV-AGENT-TIME)")
    add("--log-every", type=_whole(1, MAX_STEPS), metavar="STEPS", help="env steps between points of the curves "
        "(a 200th)")
    add("--eval-every", type=_whole(0, MAX_STEPS), metavar="STEPS", help="env steps between evaluations; 0: only at "
        "the end (a tenth)")
    add("--eval-episodes", type=_whole(1, 100_000), metavar="N", help="episodes of an evaluation (10)")
    add("--final-eval-episodes", type=_whole(1, 100_000), metavar="N", help="episodes of the last evaluation (100)")
    add("--checkpoint-every", type=_whole(0, MAX_STEPS), metavar="STEPS", help="env steps between checkpoints; 0: "
        "only at the end (a tenth)")
    add("--capture-video", action=argparse.BooleanOptionalAction, help="record an episode of the first seed at each "
        "evaluation")
    again = parser.add_argument_group("again")
    add = again.add_argument
    add("--resume", metavar="RUN", help="go on with a run that was stopped, from its newest checkpoint")
    add("--settings", metavar="FILE", help="begin a new run from another's settings.json; flags change it")
    if agent is not None and config_class is not None:
        defaults = (presets or {}).get("*", {})
        group = parser.add_argument_group(f"hyperparameters of {agent.name}")
        for field in dataclasses.fields(config_class):
            _add_hyperparameter(group, field, defaults.get(field.name, field.default))
        if presets:
            lines = [f"  {key}: " + ", ".join(f"{k} = {v}" for k, v in preset.items() if k != "source")
                     + f"  [{preset.get('source', 'no source given')}]" for key, preset in presets.items()]
            parser.epilog = f"presets of {agent.name} (by environment id or kind of action space; * is for all):\n" \
                + "\n".join(lines)
    return parser


def _add_hyperparameter(group: Any, field: dataclasses.Field[Any], default: Any) -> None:
    meta = field.metadata
    flag = "--" + field.name.replace("_", "-")
    shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
    text = f"{meta.get('help', '')} ({shown}) [{meta.get('source', 'no source given')}]".replace("%", "%%")
    options: dict[str, Any] = {"dest": f"hyper_{field.name}", "help": text, "default": None}
    low, high = meta.get("low"), meta.get("high")
    if isinstance(default, bool):
        group.add_argument(flag, action=argparse.BooleanOptionalAction, **options)
    elif meta.get("choices"):
        group.add_argument(flag, type=_one_of(meta["choices"]), metavar="|".join(meta["choices"]), **options)
    elif isinstance(default, int):
        group.add_argument(flag, type=_whole(low if low is not None else -MAX_STEPS, high or MAX_STEPS), metavar="N",
                           **options)
    elif isinstance(default, float):
        group.add_argument(flag, type=_real(low, high), metavar="X", **options)
    elif isinstance(default, tuple):
        group.add_argument(flag, type=_whole_list(low), metavar="N,N", **options)
    else:
        group.add_argument(flag, metavar="TEXT", **options)


def _whole(low: float, high: float) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            value = int(text.replace("_", ""))
        except ValueError:
            try:
                real = float(text)
                value = int(real) if real == int(real) else None  # type: ignore[assignment]
            except (ValueError, OverflowError):
                value = None  # type: ignore[assignment]
        if value is None:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{value} is not from {int(low):,} to {int(high):,}")
        return value

    return parse


def _real(low: float | None, high: float | None) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
        lowest, highest = -1e30 if low is None else low, 1e30 if high is None else high
        if not lowest <= value <= highest:
            raise argparse.ArgumentTypeError(f"{text} is not from {lowest:g} to {highest:g}")
        return value

    return parse


def _whole_list(low: float | None) -> Callable[[str], tuple[int, ...]]:
    parse_one = _whole(low if low is not None else -MAX_STEPS, 10**9)
    return lambda text: tuple(parse_one(part) for part in text.split(","))


def _one_of(choices: tuple[str, ...]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(choices)}{nearest(text, choices)}")
        return text

    return parse


def _seed_list(text: str) -> int | tuple[int, ...]:
    if "," not in text:
        return _whole(1, 10_000)(text)
    seeds = tuple(_whole(0, MAX_SEED)(part) for part in text.split(",") if part.strip())
    twice = [seed for seed in seeds if seeds.count(seed) > 1]
    if twice:
        raise argparse.ArgumentTypeError(f"seed {twice[0]} stands twice in {text!r}")
    if not seeds:
        raise argparse.ArgumentTypeError(f"{text!r} names no seed")
    return seeds


def _kwargs(text: str) -> dict[str, Any]:
    """`a=1,b=True` or a JSON object."""
    if text.lstrip().startswith("{"):
        try:
            return dict(json.loads(text))
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not JSON") from None
    try:
        call = ast.parse(f"f({text})", mode="eval").body
        assert isinstance(call, ast.Call) and not call.args
        return {keyword.arg or "": _literal(keyword.value) for keyword in call.keywords}
    except (SyntaxError, ValueError, AssertionError):
        raise argparse.ArgumentTypeError(f"{text!r} is not name=value,name=value, nor JSON") from None


def _literal(node: ast.expr) -> Any:
    return node.id if isinstance(node, ast.Name) else ast.literal_eval(node)


def _device(text: str) -> str:
    if not re.fullmatch(r"cpu|cuda(:\d+)?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not cpu, cuda or cuda:N{nearest(text, ['cpu', 'cuda'])}")
    return text


def _name(text: str) -> str:
    if not re.fullmatch(r"[\w.@+=-][\w.@+= -]{0,150}", text) or text in (".", ".."):
        raise argparse.ArgumentTypeError(f"{text!r} is not the name of one folder (letters, digits, . _ - = + @)")
    return text


def _saved(file: str | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        text = Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise Problem(f"--settings {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Problem(f"--settings {file} is not a settings file") from None
    return _settings_dict(text, f"--settings {file}")


def _settings_dict(text: str, place: str) -> dict[str, Any]:
    try:
        values = json.loads(text)
    except ValueError as error:
        raise Problem(f"{place} is not a settings file: {error}") from None
    if not isinstance(values, dict) or values.pop("format", None) != SETTINGS_FORMAT:
        raise Problem(f"{place} is not a settings file of this version (format {SETTINGS_FORMAT})")
    known = [field.name for field in dataclasses.fields(Settings)]
    for name in values:
        if name not in known:
            raise Problem(f"{place}: unknown setting {name!r}{nearest(name, known)}")
    return values
