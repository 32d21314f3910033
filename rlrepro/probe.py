"""`rlrepro probe --agent NAME`: is an agent right where the answer is known?

An agent is trained on every probe environment that applies to it, in seconds. The hyperparameters are its defaults,
then its presets for all and for the probe's kind of actions, then what its class has in `PROBE` (also `num_envs` and
`total_timesteps`; None says that nothing is learnt), then what it has for this probe in `PROBES`,
`{probe: hyperparameters}`, then the probe's own γ as `gamma`. A probe of values asks the agent's method
`value_of(obs)`, `[S, B, ...]` to `[S, B]`, where it has one: the discounted return that the agent expects. One of
sampled returns applies to those agents alone that have hyperparameters for it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rlrepro.agent import UnsupportedSpace, owns_loop
from rlrepro.checkpoint import write_whole
from rlrepro.errors import Problem, close_quietly, count_of, named_seeds, nearest, one_line, place_of
from rlrepro.flags import Parser, about_unknown, add_hyperparameters, train_parser, whole_number
from rlrepro.plugins.agents import find_agent, whole_agents
from rlrepro.plugins.env_source import EnvSource
from rlrepro.plugins.environments import find_env
from rlrepro.plugins.importing import installed
from rlrepro.settings import taken

PREFIX = "Probe"
TIMESTEPS, NUM_ENVS = 8_000, 4  # where an agent says nothing
_SIZES = {"num_envs", "total_timesteps"}
EPISODES, SAMPLED_EPISODES = 20, 500


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How an agent did on a probe."""

    probe: str
    isolates: str
    solved: bool | None  #: None: it does not apply
    told: str  #: what was measured, or why it does not apply
    seconds: float = 0.0


def probes() -> list[str]:
    """The ids of the probes that are installed, easiest first."""
    values = ("Value", "Observation", "Discount", "Termination", "Truncation")
    order = (*values, "Action", "Credit", "Entropy", "Continuous", "Image")
    names = [name for name in installed("envs") if name.startswith(PREFIX) and name.endswith("-v0")]
    rank = {f"{PREFIX}{name}-v0": number for number, name in enumerate(order)}
    return sorted(names, key=lambda name: (rank.get(name, len(order)), name))


def main(arguments: Sequence[str]) -> int:
    """`rlrepro probe`; 0 where every probe that applies is solved."""
    parser = Parser(
        prog="rlrepro probe",
        description="Train an agent on tasks with known answers. Further flags are hyperparameters of the agent, "
        "--num-envs and --total-timesteps.",
    )
    add = parser.add_argument
    add("--agent", default="ppo", metavar="NAME", help="as python -m rlrepro.train takes it, or all (ppo)")
    add("--env", action="append", metavar="PROBE", help="only this probe, or one of your own; may be repeated")
    add("--seeds", type=whole_number(1, 100), default=3, metavar="N", help="how many seeds (3)")
    add("--write", type=Path, metavar="FILE", help="keep what was solved in FILE, for rlrepro proofs")
    asked, rest = parser.parse_known_args(arguments)
    given = _given(asked.agent, rest, parser) if rest else {}
    if given and asked.write is not None:
        raise Problem("--write keeps what agents do as they are: leave out their hyperparameters")
    chosen = asked.env or probes()
    for name in chosen:
        _check_is_probe(name)
    if asked.write is not None and (own := [name for name in chosen if name not in probes()]):
        raise Problem(f"--write keeps what the kit's own probes say, and {own[0]} is none of them; leave it out")
    if asked.write is not None:
        _check_writable(asked.write)
    kept = read(asked.write) if asked.write is not None else {}
    agents, broken = whole_agents() if asked.agent == "all" else ([asked.agent], [])
    for why in broken:
        print(f"rlrepro: {why}", file=sys.stderr)
    failed = bool(broken)
    for agent in agents:
        agent_class = find_agent(agent).load()
        outcomes = [probe(agent_class, name, tuple(range(asked.seeds)), given) for name in chosen]
        _show(agent, outcomes, asked.seeds)
        failed |= any(one.solved is False for one in outcomes)
        kept.setdefault(agent, {}).update({one.probe: one.solved for one in outcomes})
    if asked.write is not None:
        write_whole(asked.write, (json.dumps(kept, indent=1, sort_keys=True) + "\n").encode())
    return int(failed)


def _given(agent: str, arguments: Sequence[str], of_probe: Parser) -> dict[str, Any]:
    """Hyperparameters by their flags, as of training."""
    if agent == "all":
        raise Problem(f"unknown argument {arguments[0]!r}: hyperparameters go with one agent")
    source = find_agent(agent)
    config, _, _ = source.description()
    flags = train_parser(source, config)
    values, unknown = flags.parse_known_args(arguments)
    if unknown:  # beside those of a probe, what may have been meant is what goes with one
        add_hyperparameters(of_probe, config, {})
        for name in _SIZES:
            of_probe.add_argument("--" + name.replace("_", "-"))
        raise Problem(f"unknown argument {unknown[0]!r}{about_unknown(unknown[0], arguments, of_probe)}")
    named = {argument.partition("=")[0] for argument in arguments}
    for action in flags._actions:
        if action.dest.startswith("hyper_") or action.dest in _SIZES or named.isdisjoint(action.option_strings):
            continue
        raise Problem(f"{action.option_strings[0]} is no hyperparameter of {agent}, which is what goes with a probe")
    found = {name.removeprefix("hyper_"): value for name, value in vars(values).items() if value is not None}
    given = {name: found[name] for name in found if f"hyper_{name}" in vars(values) or name in _SIZES}
    if "gamma" in given:
        raise Problem("--gamma: γ is the probe's own, for which its answer is known")
    return given


def _check_is_probe(name: str) -> None:
    """`Problem` where it is no probe: neither one of `probes` nor code of one's own that says what one has to say."""
    if name in probes():
        return
    if ":" not in name and not name.endswith(".py"):
        whose = f"({', '.join(probes())}; file.py:Class is one of your own)"
        raise Problem(f"no probe is called {name!r}{nearest(name, probes())} {whose}")
    env = find_env(name).make()
    task: Any = env.unwrapped
    close_quietly(env)
    wanted: tuple[str, ...] = ("solved_at", "best_return")
    if getattr(task, "asked", ()):
        wanted = ("answer", "error", "tolerance")
    elif getattr(task, "sampled", False):
        wanted = ("tolerance", "best_return")
    missing = [one for one in ("isolates", "discount", "asked", "sampled", *wanted) if not hasattr(task, one)]
    if not missing and not task.isolates:
        raise Problem(f"{name} says nothing of what it isolates: its `isolates` is empty")
    if missing:
        raise Problem(f"{name} is no probe: it has no {' and no '.join(missing)} (rlrepro.envs.probe.Probe has all)")


def _check_writable(file: Path) -> None:
    """`Problem` for what can be known before all that is to be kept was trained."""
    folder = file.parent
    if file.is_dir():
        raise Problem(f"--write {file}: it is a folder, not a file")
    if not folder.is_dir():
        raise Problem(f"--write {file}: there is no folder {folder}")
    if not os.access(folder, os.W_OK):
        raise Problem(f"--write {file}: nothing can be written in the folder {folder}")


def read(file: Path) -> dict[str, dict[str, bool | None]]:
    """What `--write` kept, `{agent: {probe: solved, or None where it does not apply}}`; empty without the file."""
    if not file.exists():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return {str(agent): {str(name): solved for name, solved in of.items()} for agent, of in found.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise Problem(f"{file} is no record of probes: {error}") from None


def probe(
    agent_class: type[Any], name: str, seeds: tuple[int, ...] = (0, 1, 2), given: Mapping[str, Any] | None = None
) -> Outcome:
    """Train an agent on one probe and ask it; `given` hyperparameters go first. One that raises has not solved it."""
    source = find_env(name)
    env = source.make()
    task: Any = env.unwrapped
    close_quietly(env)
    try:
        return _probe(agent_class, name, task, seeds, given or {})
    except (Exception, SystemExit) as error:
        text = str(error) if isinstance(error, Problem) else f"it raised {one_line(error)}{place_of(error)}"
        return Outcome(name, task.isolates, False, text)


def _probe(agent_class: type[Any], name: str, task: Any, seeds: tuple[int, ...], given: Mapping[str, Any]) -> Outcome:
    def outcome(solved: bool | None, told: str, began: float | None = None) -> Outcome:
        return Outcome(name, task.isolates, solved, told, 0.0 if began is None else time.perf_counter() - began)

    if owns_loop(agent_class):
        return outcome(None, "it owns its loop")
    if getattr(agent_class, "PROBE", {}) is None:
        return outcome(None, "it learns nothing")
    check_probe(agent_class)
    if task.asked and getattr(agent_class, "value_of", None) is None:
        return outcome(None, "it has no value_of(obs)")
    names = {field.name for field in dataclasses.fields(agent_class.Config)}
    if task.asked and task.discount and "gamma" not in names:
        return outcome(None, "it has no hyperparameter gamma")
    of_this = type(task).__name__ if name not in probes() else name
    own = _as_flags(agent_class, _of_some(agent_class).get(of_this, {}), f"PROBES, of {of_this}")
    if task.sampled and not own:
        return outcome(None, "its PROBES has no hyperparameters for it")
    own = {**own, **given, "gamma": task.discount}
    began, refused = time.perf_counter(), ""
    groups = [seeds] if getattr(agent_class, "stackable", True) else [(seed,) for seed in seeds]
    for source in _forms(name, task):
        try:
            agents = [_trained(agent_class, source, group, own) for group in groups]
            break
        except UnsupportedSpace as error:
            refused = refused or f"it takes {error}"
    else:
        return outcome(None, refused)
    if task.asked:
        finite = source.kwargs.get("finite", False)
        asked = np.array(task.asked, np.int64) + 1 if finite else np.array(task.asked, np.float32)[:, None]
        values = np.concatenate(
            [agent.value_of(np.stack([asked] * len(group))) for agent, group in zip(agents, groups, strict=True)]
        )
        solved = task.error(values) <= task.tolerance
        wanted = ", ".join(f"{value:g}" for value in task.answer())
        told = f"values {', '.join(f'{value:.2f}' for value in values.mean(0))} of {wanted}"
    else:
        returns = np.concatenate(
            [_mean_return(agent, source, group, task.sampled) for agent, group in zip(agents, groups, strict=True)]
        )
        off = np.abs(returns - task.best_return)
        solved = off <= task.tolerance if task.sampled else returns >= task.solved_at
        told = f"return {returns.mean():.2f} of {task.best_return:g}"
    if not solved.all():
        told += f" (failed by {named_seeds([s for s, good in zip(seeds, solved, strict=True) if not good])})"
    return outcome(bool(solved.all()), told, began)


def check_probe(agent_class: type[Any]) -> None:
    """`Problem` where its `PROBE` or `PROBES` sets what is no setting of it."""
    known = {field.name for field in dataclasses.fields(agent_class.Config)} | _SIZES
    of_some = _of_some(agent_class)
    for name in of_some:
        if name.startswith(PREFIX) and name not in probes():
            raise Problem(f"its PROBES names {name!r}, which is no probe{nearest(name, probes())}")
    for where, values in (("PROBE", getattr(agent_class, "PROBE", None) or {}), *of_some.items()):
        for name in values:
            if name not in known:
                whose = where if where == "PROBE" else f"PROBES, of {where},"
                raise Problem(f"its {whose} sets {name!r}, which is no setting{nearest(name, known)}")


def _of_some(agent_class: type[Any]) -> Mapping[str, Mapping[str, Any]]:
    """Hyperparameters for some probes: by id, of one's own by the name of its class."""
    return getattr(agent_class, "PROBES", None) or {}


def _as_flags(agent_class: type[Any], values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """An agent's values as the flags of training take them, which make 1000 of `1e3`."""
    parser = train_parser(None, add_help=False)
    add_hyperparameters(parser, agent_class.Config, {})
    return {**values, **taken(parser, values, f"its {where}")}


def preset(agent_class: type[Any], action: Any, further: Mapping[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
    """A config with the agent's presets for an action space, then what of `further` it has; all the values."""
    presets = getattr(agent_class, "PRESETS", {})
    chosen = {key: presets.get(key, {}) for key in ("*", type(action).__name__)}
    of_all, of_kind = (_as_flags(agent_class, values, f"preset {key!r}") for key, values in chosen.items())
    values = {**of_all, **of_kind, **(further or {})}
    names = {field.name for field in dataclasses.fields(agent_class.Config)}
    return agent_class.Config(**{name: value for name, value in values.items() if name in names}), values


def _mean_return(agent: Any, source: EnvSource, seeds: tuple[int, ...], sampled: bool) -> np.ndarray:
    """Of the greedy policy, or of one that draws its actions, `[S]`."""
    from rlrepro.loop import evaluate, evaluation_slots

    episodes = SAMPLED_EPISODES if sampled else EPISODES
    batch = source.batch(len(seeds) * evaluation_slots(episodes))
    try:
        return evaluate(agent, batch, seeds, episodes, not sampled).episode_return.mean(1)
    finally:
        close_quietly(batch)


def _forms(name: str, task: Any) -> list[EnvSource]:
    """The forms of a probe, of which an agent gets the first that it can serve."""
    taken = inspect.signature(task.__init__).parameters
    forms: list[dict[str, Any]] = [{}, *({form: True} for form in ("continuous", "finite") if form in taken)]
    return [find_env(name, form) for form in forms]


def _trained(agent_class: type[Any], source: EnvSource, seeds: tuple[int, ...], own: Mapping[str, Any]) -> Any:
    """An agent after its training on a probe that has hyperparameters of its `own`."""
    from rlrepro.unrecorded import train_agent
    from rlrepro.worker import use_device

    use_device("cpu")
    sizes = {"num_envs": NUM_ENVS, "total_timesteps": TIMESTEPS}
    further = {**sizes, **_as_flags(agent_class, getattr(agent_class, "PROBE", {}), "PROBE"), **own}
    with contextlib.closing(source.make()) as env:
        config, values = preset(agent_class, env.action_space, further)
    steps, num_envs = values["total_timesteps"], values["num_envs"]
    return train_agent(agent_class, config, source, seeds, steps, num_envs=num_envs)


def _show(agent: str, outcomes: Sequence[Outcome], seeds: int) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE, title=Text(f"{agent}: {count_of(seeds, 'seed')}, all of which must solve a probe"))
    for column in ("probe", "isolates", "", "measured"):
        table.add_column(column, overflow="fold")
    for one in outcomes:
        word, style = {True: ("solved", "green"), False: ("NOT solved", "red"), None: ("does not apply", "dim")}[
            one.solved
        ]
        took = f" ({one.seconds:.1f} s)" if one.seconds else ""
        table.add_row(one.probe, one.isolates, Text(word, style=style), Text(one.told + took))
    Console(highlight=False).print(table)
