"""`rlrepro rules --agent NAME`: does an agent keep the rules that every result here rests on?

It is trained for a short while, several times: twice with the same seeds, one seed alone, and once stopped and resumed.
What is compared is all its state, bit for bit. The flags are those of training; hyperparameters that none names are
those of the class's `PROBE`, where it has one, so that it learns soon.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import random
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from rlrepro import checkpoint, loop, snapshot, worker
from rlrepro.agent import Metrics, Policy, owns_loop
from rlrepro.contract import check_run
from rlrepro.errors import Problem, close_quietly, one_line, place_of
from rlrepro.flags import Parser
from rlrepro.group import Group
from rlrepro.plugins.agents import find_agent
from rlrepro.plugins.environments import find_env
from rlrepro.plugins.own_code import shown
from rlrepro.probe import check_probe
from rlrepro.request import Request, parse_train
from rlrepro.seeds import learnt_stacks
from rlrepro.settings import Settings
from rlrepro.streams import Streams

SEEDS, TIMESTEPS = 3, 2_000  #: where no flag says otherwise
EPISODES = 3


@dataclasses.dataclass(frozen=True)
class Rule:
    """One rule and whether it is kept."""

    name: str
    kept: bool | None  #: None: it does not apply
    told: str = ""  #: why not, or what was compared


class _Broken(Exception):
    """What breaks a rule, in words."""


class _Inapplicable(Exception):
    """Why a rule does not apply, in words."""


class _Training:
    """An agent with its environments, and what it has done so far; what the loop tells of it, it is told."""

    due = 1 << 62

    def __init__(self, settings: Settings, seeds: tuple[int, ...]) -> None:
        """`Problem` where the agent cannot be built."""
        self.settings, self.seeds = settings, seeds
        source = find_env(settings.env, settings.env_kwargs, settings.wrappers)
        self.evaluated = source.batch(len(seeds) * EPISODES)
        batch = source.batch(len(seeds) * settings.num_envs, kept=True)
        try:
            self.group = Group(settings, batch, seeds)
        except Problem:
            raise
        except (Exception, SystemExit) as error:
            raise Problem(f"{settings.agent} raised {one_line(error)}{place_of(error)} when it was built") from error
        self.group.env.check_every = 1  # every action: here speed does not matter
        self.step = self.updates = 0
        self.first_parameters: dict[str, np.ndarray] = {}  #: of the agent alone, without a normaliser's
        self.first_stacks: dict[str, torch.Tensor] = {}  #: the matrices that are learnt, by the agent's names
        self.met_reward = False  #: one that is not 0
        self.episodes: list[list[tuple[int, float]]] = [[] for _ in seeds]
        self.trained: dict[int, Any] = {}  #: every seed's `row` at the end of the training
        self.drawn_from: list[str] = []  #: the generators that are nobody's own

    def train(self, until: int) -> None:
        """`_Broken` where acting changes what was observed, which a memory keeps."""
        if self.step == 0:
            self.group.env.reset()
        agent = self.group.agent
        act = agent.act

        def watched(obs: np.ndarray, step: int) -> Any:
            before = obs.copy()
            self.met_reward |= bool(self.group.env.reward.any())  # of the step before
            acted = act(obs, step)
            if obs.tobytes() != before.tobytes():
                raise _Broken("act changes the observations that it is given, and the memory keeps those: take a copy")
            return acted

        agent.act = watched  # type: ignore[method-assign]
        generators = _global_generators()
        try:
            loop.train(agent, self.group.env, until, self, self.group.counter, self.step)
        finally:
            agent.act = act  # type: ignore[method-assign]
        self.drawn_from += [name for name, state in _global_generators().items() if state != generators[name]]
        self.step = until

    def close(self) -> None:
        close_quietly(self.group.env)
        close_quietly(self.evaluated)

    def updated(self, metrics: Metrics) -> None:
        self.updates += 1
        loop.check_metrics(metrics, len(self.seeds))

    def ended(self, env_step: int, episodes: list[loop.Episode]) -> None:
        for one in episodes:
            self.episodes[one.row].append((env_step, one.episode_return))

    def tick(self, env_step: int) -> None: ...

    def row(self, seed: int) -> Any:
        """What one seed has learnt and lived through, as it would be read from a file."""
        row = self.seeds.index(seed)
        return checkpoint.as_loaded({**checkpoint.split(self.group.get_state(), row), "episodes": self.episodes[row]})


def main(arguments: Sequence[str]) -> int:
    """`rlrepro rules`; 0 where every rule that applies is kept."""
    Parser(
        prog="rlrepro rules",
        usage="rlrepro rules [--agent AGENT] [--env ENV] [any flag of python -m rlrepro.train]",
        description="Train an agent for a short while, twice with the same seeds, one seed alone, and once stopped and "
        f"resumed: is all its state the same, bit for bit? ({SEEDS} seeds, {TIMESTEPS:,} env steps)",
    ).parse_known_args(arguments)
    named = {argument.partition("=")[0] for argument in arguments}
    if "--resume" in named:
        raise Problem("--resume is for training; rlrepro rules trains anew (--settings FILE takes a run's settings)")
    given = list(arguments)
    if not named & {"--seeds", "--seed", "--settings"}:
        given += ["--seeds", str(SEEDS)]
    asked = parse_train(given)
    assert isinstance(asked, Request)
    settings = asked.settings if "--settings" in named else _with_probe_hyperparameters(asked.settings, named)
    if "--total-timesteps" not in named:
        settings = dataclasses.replace(settings, total_timesteps=max(TIMESTEPS, 2 * settings.num_envs))
    outcomes = check(settings)
    _show(settings, outcomes)
    return int(any(one.kept is False for one in outcomes))


def _with_probe_hyperparameters(settings: Settings, named: Collection[str]) -> Settings:
    """With what the agent's `PROBE` says of the settings that no flag named."""
    agent_class = find_agent(settings.agent).load()
    check_probe(agent_class)
    values = dict(getattr(agent_class, "PROBE", None) or {})
    num_envs = settings.num_envs if "--num-envs" in named else values.get("num_envs", settings.num_envs)
    chosen = {name: one for name, one in values.items() if settings.sources.get(name, "flag") != "flag"}
    return dataclasses.replace(settings, num_envs=num_envs, hyperparameters={**settings.hyperparameters, **chosen})


def check(settings: Settings) -> list[Rule]:
    """Every rule, for an agent with these settings. `Problem` where it owns its loop, or the environment is unsound."""
    if owns_loop(find_agent(settings.agent).load()):
        raise Problem(f"{settings.agent} owns its loop: these rules are for agents of the common one")
    if settings.compile:
        raise Problem("rlrepro rules compares bits, and --compile changes them: leave it out")
    check_run(settings)
    worker.use_device(settings.device)
    config_class = find_agent(settings.agent).load().Config
    seeds = settings.seeds if settings.stackable else settings.seeds[:1]
    with _reads_of(config_class) as read, contextlib.closing(_Training(settings, seeds)) as whole:
        learns, *others = _check(whole)
    unread = [field.name for field in dataclasses.fields(config_class) if field.name not in read]
    if unread and learns.kept:
        told = f"{learns.told}; hyperparameters that nothing read with these settings: {', '.join(unread)}"
        learns = dataclasses.replace(learns, told=told)
    return [learns, *others]


@contextlib.contextmanager
def _reads_of(config_class: Any) -> Iterator[set[str]]:
    """The names of attributes that are read of its instances meanwhile."""
    read: set[str] = set()
    own = vars(config_class).get("__getattribute__")
    plain = config_class.__getattribute__

    def noted(self: object, name: str) -> Any:
        reader = sys._getframe(1)
        if reader.f_code.co_name != "__repr__" and reader.f_globals.get("__name__") != "dataclasses":
            read.add(name)  # to show or copy them all is to read none
        return plain(self, name)

    config_class.__getattribute__ = noted
    try:
        yield read
    finally:
        if own is None:
            del config_class.__getattribute__
        else:
            config_class.__getattribute__ = own


def _check(whole: _Training) -> list[Rule]:
    learns = _rule("it learns", lambda: _learns(whole))
    if learns.kept is False:
        return [learns]
    first = _rule("state has the seeds first", lambda: _has_seeds_first(whole))
    if not first.kept:
        return [learns, first]
    whole.trained = {seed: whole.row(seed) for seed in whole.seeds}  # with which each later rule compares
    rules: dict[str, Callable[[_Training], str]] = {
        "what it learns changes the policy": _changes,
        "the same seeds learn the same": _is_deterministic,
        "a seed learns the same alone": _is_independent,
        "an evaluation changes nothing": _evaluates_untouched,
        "the policy that is kept acts the same": _keeps_policy,
        "a resume goes on exactly": _resumes,
    }
    return [learns, first, *(_rule(name, functools.partial(test, whole)) for name, test in rules.items())]


def _global_generators() -> dict[str, bytes]:
    """The state of each generator that all code shares."""
    numpys: Any = np.random.get_state()
    return {
        "torch's": torch.get_rng_state().numpy().tobytes(),
        "NumPy's": numpys[1].tobytes() + bytes(str(numpys[2:]), "ascii"),
        "Python's": repr(random.getstate()).encode(),
    }


def _rule(name: str, test: Callable[[], str]) -> Rule:
    try:
        return Rule(name, True, test())
    except _Inapplicable as why:
        return Rule(name, None, str(why))
    except (_Broken, Problem) as why:
        return Rule(name, False, str(why))
    except (Exception, SystemExit) as error:
        return Rule(name, False, f"it raised {one_line(error)}{place_of(error)}")


def _learns(whole: _Training) -> str:
    total = whole.settings.total_timesteps
    whole.first_parameters = _parameters(whole.group.agent)
    whole.first_stacks = {name: stack.matrix.detach().clone() for name, stack in learnt_stacks(whole.group.agent)}
    whole.train(total)
    if whole.updates == 0 and getattr(type(whole.group.agent), "PROBE", {}) is None:
        raise _Inapplicable("its PROBE is None: it learns nothing")
    if whole.updates == 0:
        raise _Broken(f"no update in {total:,} env steps: try more --total-timesteps, or let it learn sooner")
    for name, value in loop.as_arrays(whole.group.policy.get_policy()).items():
        if not np.isfinite(value).all():
            raise _Broken(f"the policy's {name} has NaN or infinity after {total:,} env steps: it diverged")
    return f"{whole.updates:,} updates in {total:,} env steps"


def _changes(whole: _Training) -> str:
    if whole.updates == 0 or not whole.first_parameters:
        raise _Inapplicable("it learns nothing" if whole.first_parameters else "it has no parameters")
    if _difference(whole.first_parameters, _parameters(whole.group.agent), "") is not None:
        stacks = dict(learnt_stacks(whole.group.agent))
        same = [name for name, first in whole.first_stacks.items() if torch.equal(first, stacks[name].matrix)]
        return f"but no parameter of {', '.join(same)} changed: is it meant to be learnt?" if same else ""
    if not whole.met_reward:
        raise _Inapplicable("no reward was met yet")
    raise _Broken("no parameter is another: is the optimiser's step taken? (Where steps are refused: more env steps)")


def _parameters(agent: Policy) -> dict[str, np.ndarray]:
    return {name: value.copy() for name, value in loop.as_arrays(agent.get_policy()).items()}


def _has_seeds_first(whole: _Training) -> str:
    state = whole.group.get_state()
    checkpoint.check_seeds(state, len(whole.seeds), "state")
    try:
        checkpoint.check_plain(state)
    except checkpoint.NotPlain as error:
        raise _Broken(str(error)) from None
    checkpoint.check_seeds(whole.group.policy.get_policy(), len(whole.seeds), "policy")
    return ""


def _is_deterministic(whole: _Training) -> str:
    with contextlib.closing(_Training(whole.settings, whole.seeds)) as again:
        again.train(whole.step)
        for seed in whole.seeds:
            _same(whole.trained[seed], again.row(seed), f"in a second run with the same seeds, seed {seed}'s", whole)
    return f"seeds {', '.join(map(str, whole.seeds))}, twice"


def _is_independent(whole: _Training) -> str:
    if len(whole.seeds) == 1:
        one = "it trains one seed a process" if not whole.settings.stackable else "one seed is asked for"
        raise _Inapplicable(one)
    seed = whole.seeds[-1]
    with contextlib.closing(_Training(whole.settings, (seed,))) as alone:
        alone.train(whole.step)
        _same(whole.trained[seed], alone.row(seed), f"of seed {seed} alone,", whole)
    return f"seed {seed} alone and among {len(whole.seeds)}"


def _evaluates_untouched(whole: _Training) -> str:
    for deterministic in (True, False):
        _evaluate(whole, whole.group.policy, deterministic)
    for seed in whole.seeds:
        _same(whole.trained[seed], whole.row(seed), f"after an evaluation, seed {seed}'s")
    return f"{2 * EPISODES} episodes a seed"


def _keeps_policy(whole: _Training) -> str:
    kept = {name: torch.as_tensor(value).clone() for name, value in whole.group.policy.get_policy().items()}
    with contextlib.closing(_Training(whole.settings, whole.seeds)) as other:
        other.group.policy.set_policy(kept)
        for deterministic in (True, False):
            mine, theirs = (_evaluate(whole, one.group.policy, deterministic) for one in (whole, other))
            if len(mine) != len(theirs) or not all(map(np.array_equal, mine, theirs)):
                kind = "greedy" if deterministic else "exploring"
                raise _Broken(f"a new agent that is given get_policy() does not act as the {kind} policy did")
    return ""


def _evaluate(whole: _Training, policy: Policy, deterministic: bool) -> list[np.ndarray]:
    """All actions of an evaluation: two policies that differ may well come to the same returns."""
    warning = loop.LongEpisodeWarning(lambda text: print(f"note: {text}", file=sys.stderr))
    actions, predict, own = [], policy.predict, vars(policy).get("predict")

    def watched(obs: np.ndarray, streams: Streams, deterministic: bool) -> np.ndarray:
        action = predict(obs, streams, deterministic)
        actions.append(np.array(action))
        return action  # as it is: the loop says what is wrong with it

    policy.predict = watched  # type: ignore[method-assign]
    try:
        loop.evaluate(policy, whole.evaluated, whole.seeds, EPISODES, deterministic, watch=warning)
    finally:
        if own is None:
            del policy.predict  # that of the class again
        else:
            policy.predict = own  # type: ignore[method-assign]
    return actions


def _resumes(whole: _Training) -> str:
    with (
        contextlib.closing(_Training(whole.settings, whole.seeds)) as first,
        contextlib.closing(_Training(whole.settings, whole.seeds)) as second,
    ):
        return _resumes_by(whole, first, second)


def _resumes_by(whole: _Training, first: _Training, second: _Training) -> str:
    """One is stopped half-way, and the other goes on with its state."""
    num_envs = whole.settings.num_envs
    half = max(1, whole.step // 2 // num_envs) * num_envs
    if half >= whole.step:
        raise _Inapplicable(f"{whole.step:,} env steps are one step of {num_envs:,} sub-environments")
    first.train(half)
    try:
        env = first.group.env.get_state()
        checkpoint.check_plain(env)
    except (snapshot.Unrestorable, checkpoint.NotPlain) as why:
        raise _Inapplicable(f"the environment cannot give its state ({why})") from None
    state = {**first.group.get_state(), "env": env}
    kept = checkpoint.join([checkpoint.as_loaded(checkpoint.split(state, row)) for row in range(len(whole.seeds))])
    second.group.set_state(kept)
    unsaved = _unsaved(first.group.agent, second.group.agent)  # now: later all of it may differ
    second.group.go_on(half, kept["env"])
    second.step = half
    second.episodes = [list(one) for one in first.episodes]
    second.train(whole.step)
    for seed in whole.seeds:
        whose = f"after a stop at env step {half:,}, seed {seed}'s"
        _same(whole.trained[seed], second.row(seed), whose, whole, unsaved)
    return f"stopped at env step {half:,}"


def _unsaved(agent: Any, resumed: Any) -> list[str]:
    """The attributes that an agent has and one that was given its state has otherwise, and that no `STATE` names."""
    named = {name for kind in type(agent).__mro__ for name in vars(kind).get("STATE", ())}
    found = []
    for name, part in vars(agent).items():
        if name in named or name == "memory":  # whose state is its own
            continue
        with contextlib.suppress(Exception):  # a hint: what cannot be compared is passed over
            mine, theirs = (checkpoint.as_loaded(_state_of(one)) for one in (part, vars(resumed).get(name)))
            if _difference(mine, theirs, "") is not None:
                found.append(name)
    return found


def _state_of(part: Any) -> Any:
    if isinstance(part, list | tuple):
        return [_state_of(one) for one in part]
    if isinstance(part, Mapping):
        return {str(name): _state_of(one) for name, one in part.items()}
    return part.get_state() if hasattr(part, "get_state") else part


def _same(one: Any, other: Any, whose: str, whole: _Training | None = None, unsaved: Sequence[str] = ()) -> None:
    """`_Broken` naming the first part of the state that is not the same to the bit, and what may be why."""
    path = _difference(one, other, "")
    if path is not None:
        drawn = dict.fromkeys(whole.drawn_from) if whole else {}
        why = f" (something drew from {' and '.join(drawn)} global generator, not from Streams)" if drawn else ""
        if unsaved:
            why += f" (no STATE names {' and '.join(unsaved)}, of which a resumed agent has another)"
        raise _Broken(f"{whose} {path.strip('.') or 'state'} is another{why}")


def _difference(one: Any, other: Any, path: str) -> str | None:
    if isinstance(one, checkpoint.PerSeed) and isinstance(other, checkpoint.PerSeed):
        return _difference(one.item, other.item, path)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        if one.keys() != other.keys():
            return path
        found = (_difference(one[key], other[key], f"{path}.{key}") for key in one)
        return next((place for place in found if place is not None), None)
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        same = one.shape == other.shape and one.dtype == other.dtype and one.tobytes() == other.tobytes()
        return None if same else path
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return next((p for i, (a, b) in pairs if (p := _difference(a, b, f"{path}[{i}]")) is not None), None)
    return None if one == other or (one != one and other != other) else path


def _show(settings: Settings, outcomes: Sequence[Rule]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE, title=Text(f"{shown(settings.agent)} on {shown(settings.env)}"))
    for column in ("rule", "", ""):
        table.add_column(column, overflow="fold")
    words = {True: ("kept", "green"), False: ("BROKEN", "red"), None: ("does not apply", "dim")}
    for one in outcomes:
        word, style = words[one.kept]
        table.add_row(one.name, Text(word, style=style), Text(one.told))
    Console(highlight=False).print(table)
