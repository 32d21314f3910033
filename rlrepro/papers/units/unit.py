"""What a card's claims need: one unit for each implementation or measurement on each environment."""

from __future__ import annotations

import dataclasses
import fnmatch
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rlrepro.errors import Problem, nearest
from rlrepro.papers.book.published import load_traps
from rlrepro.papers.cards.card import RUN_SETTINGS, Card, Claim, Environment, Order
from rlrepro.papers.protocol import Protocol
from rlrepro.plugins import own_code
from rlrepro.plugins.agents import find_agent
from rlrepro.plugins.env_source import EnvSource
from rlrepro.plugins.environments import find_env
from rlrepro.request import Request, parse_train
from rlrepro.settings import Settings

#: episodes of the last evaluation where no claim asks for any
_FINAL_EPISODES = 10
#: and for the claims of one agent that do not say how many
_ONE_AGENT_EPISODES = 100


@dataclasses.dataclass(frozen=True)
class Unit:
    """One implementation on one environment, and what its evaluations have to be."""

    name: str
    implementation: str
    environment: str
    protocols: tuple[Protocol, ...]
    claims: tuple[str, ...]  #: ids of the claims that it answers
    is_measured: bool = False  #: `implementation` names a measurement: a function, and nothing is trained


def choose(card: Card, patterns: Sequence[str]) -> tuple[tuple[Claim, ...], tuple[Order, ...]]:
    """The claims whose ids are named, `*` and `?` allowed; none named: all. `Problem` where a name fits none."""
    ids = [claim.id for claim in card.claims] + [order.id for order in card.orders]
    for pattern in patterns:
        if not fnmatch.filter(ids, pattern):
            raise Problem(f"{card.file} has no claim {pattern!r}{nearest(pattern, ids)} (claims: {', '.join(ids)})")
    wanted = {one for one in ids if not patterns or any(fnmatch.fnmatchcase(one, p) for p in patterns)}
    return tuple(c for c in card.claims if c.id in wanted), tuple(o for o in card.orders if o.id in wanted)


def unit_name(implementation: str, environment: str) -> str:
    """The name of a unit, also of its files."""
    return "".join(c if c.isalnum() or c in "._-" else "-" for c in f"{implementation}-{environment}")


def units_of(card: Card, claims: Sequence[Claim], orders: Sequence[Order]) -> list[Unit]:
    """The units that answer these claims, in the order of the card. `Problem` where two ask for other evaluations."""
    wanted: dict[tuple[str, str], list[tuple[str, Protocol]]] = {}
    measured: dict[tuple[str, str], list[str]] = {}
    for claim in claims:
        if claim.measurement:
            measured.setdefault((claim.measurement, claim.environments[0]), []).append(claim.id)
            continue
        for environment in claim.environments:
            wanted.setdefault((claim.implementation, environment), []).append(
                (claim.id, card.protocols[claim.protocol])
            )
    for order in orders:
        for implementation in (order.better, order.worse):
            for environment in order.environments:
                wanted.setdefault((implementation, environment), []).append((order.id, card.protocols[order.protocol]))
    units = []
    for (implementation, environment), asked in wanted.items():
        _check_evaluations(implementation, environment, asked)
        protocols, ids = tuple(protocol for _, protocol in asked), tuple(dict.fromkeys(one for one, _ in asked))
        units.append(Unit(unit_name(implementation, environment), implementation, environment, protocols, ids))
    for (measurement, environment), claimed in measured.items():
        name = unit_name(measurement, environment)
        units.append(Unit(name, measurement, environment, (), tuple(claimed), is_measured=True))
    names = [unit.name for unit in units]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise Problem(f"{card.file}: two implementations or environments have names alike ({twice}); rename one")
    return units


def units_that_answer(card: Card, claims: Sequence[Claim], orders: Sequence[Order]) -> list[Unit]:
    """Those of all the card's units that these claims rest on.

    What is run for a claim depends on the others that share its runs, asked for or not.
    """
    wanted = {claim.id for claim in claims} | {order.id for order in orders}
    return [unit for unit in units_of(card, card.claims, card.orders) if wanted & set(unit.claims)]


def _check_evaluations(implementation: str, environment: str, asked: Sequence[tuple[str, Protocol]]) -> None:
    evaluated = [(name, p) for name, p in asked if p.returns == "evaluation"]
    for (first_name, first), (name, protocol) in itertools.combinations(evaluated, 2):
        curves = "one agent" not in (first.statistic, protocol.statistic)
        for field in ("eval_every", "eval_episodes", "policy") if curves else ("eval_episodes", "policy"):
            if field == "policy" and "not stated" in (first.policy, protocol.policy):
                continue
            if getattr(protocol, field) != getattr(first, field):
                ways = [getattr(one, field) for one in (first, protocol)]
                both = " and ".join("not stated" if way is None else str(way) for way in ways)
                raise Problem(
                    f"claims {first_name} and {name} want {implementation} on {environment} evaluated in two ways "
                    f"({field}: {both}); give each an implementation of its own (like = makes it short)"
                )


def unit_of(claim: Claim) -> str:
    """The name of the unit that answers a claim on one environment."""
    return unit_name(claim.measurement or claim.implementation, claim.environments[0])


def seeds_of(card: Card, unit: Unit, asked: Sequence[int]) -> tuple[int, ...]:
    """The seeds of a unit where these are asked for: a measurement may say how many make its number."""
    if not unit.is_measured:
        return tuple(asked)
    measurement = card.measurements[unit.implementation]
    if not measurement.takes_seeds:
        return (0,)
    return tuple(asked) if measurement.seeds is None else tuple(range(measurement.seeds))


def measured_settings(card: Card, unit: Unit) -> dict[str, Any]:
    """What a measurement is made of, as `shared` has it of a run."""
    measurement, environment = card.measurements[unit.implementation], card.environments[unit.environment]
    values = measurement.hyperparameters
    made = {
        "function": measurement.function,
        "env": environment.run,
        "env_kwargs": dict(environment.kwargs),
        "wrappers": list(environment.wrappers),
        "hyperparameters": {name: one.value for name, one in values.items()},
        "sources": {name: one.source for name, one in values.items()},
    }
    return dict(json.loads(json.dumps(made)))


#: what says where a claim stands, or explains it, and decides nothing
_WORDS = ("id", "margin_why", "where", "published", "note")


def claimed(card: Card, unit: Unit) -> dict[str, dict[str, Any]]:
    """What decides each claim that a unit answers, by its id: kept with results, it tells of a change after them."""
    made: dict[str, dict[str, Any]] = {}
    ids = [one.claims for one in units_of(card, card.claims, card.orders) if one.name == unit.name]  # chosen or not
    everything: list[Claim | Order] = [*card.claims, *card.orders]
    for one in everything:
        if one.id not in ids[0]:
            continue
        fields = dataclasses.fields(one)
        terms = {f.name: getattr(one, f.name) for f in fields if f.name not in _WORDS}
        terms = {f.name: terms[f.name] for f in fields if f.name in terms and terms[f.name] != f.default}
        terms["protocol"] = card.protocol_of(one).to_table()
        if isinstance(one, Claim) and one.aggregate:
            ends = [card.environments[name] for name in one.environments]
            terms["scores"] = {environment.name: [environment.random, environment.best] for environment in ends}
        elif isinstance(one, Claim) and not one.measurement:  # within whose margin a verdict shows less
            environment = card.environments[one.environments[0]]
            terms |= {"random": environment.random, "best": environment.best}
        made[one.id] = json.loads(json.dumps(terms))
    return made


def check_unit(card: Card, unit: Unit) -> None:
    """`Problem` where it cannot run here, or its agent cannot serve its environment: both are made, for one seed."""
    if unit.is_measured:
        env_of(card, unit.environment).check_arguments()
        return
    from rlrepro.group import check_serves

    check_serves(settings_of(card, unit, (0,)))


def env_of(card: Card, environment: str) -> EnvSource:
    """The environment that runs for one of the card's. `Problem` where it is not here."""
    one = card.environments[environment]
    return find_env(card.whole(one.run), one.kwargs, tuple(map(card.whole, one.wrappers)))


def settings_of(card: Card, unit: Unit, seeds: Sequence[int], scale: float = 1.0) -> Settings:
    """The settings of a unit's run: those of the card, resolved as the command line would, with the card's sources."""
    implementation, environment = card.implementations[unit.implementation], card.environments[unit.environment]
    named = ["--env", card.whole(environment.run), "--agent", card.whole(implementation.agent)]
    arguments = [*named, "--seeds", "".join(f"{s}," for s in seeds)]
    values = {name: one.value for name, one in implementation.hyperparameters.items()}
    values["total_timesteps"] = _scaled(values, scale)
    for name, value in values.items():
        arguments += _flag(name, value)
    if environment.kwargs:
        arguments += ["--env-kwargs", json.dumps(dict(environment.kwargs))]
    for wrapper in environment.wrappers:
        arguments += ["--wrapper", card.whole(wrapper)]
    for name, value in _evaluation(unit, scale).items():
        arguments += _flag(name, value)
    asked = parse_train(arguments, of_card=True)
    assert isinstance(asked, Request)
    sources = {name: implementation.hyperparameters[name].source for name in asked.settings.hyperparameters}
    return dataclasses.replace(asked.settings, sources=sources)


def stated(card: Card, unit: Unit, found: Mapping[str, Any], scale: float = 1.0) -> dict[str, Any]:
    """What a card says of a unit's settings without a look at its environment: of those that `found` has too."""
    implementation, environment = card.implementations[unit.implementation], card.environments[unit.environment]
    values = {
        name: list(one.value) if isinstance(one.value, tuple) else one.value
        for name, one in implementation.hyperparameters.items()
    }
    values["total_timesteps"] = _scaled(values, scale)
    return {
        "agent": implementation.agent,
        "env": environment.run,
        "env_kwargs": dict(environment.kwargs),
        "wrappers": [card.whole(wrapper) for wrapper in environment.wrappers],
        **_evaluation(unit, scale),
        **{name: value for name, value in values.items() if name in RUN_SETTINGS},
        "hyperparameters": {name: value for name, value in values.items() if name in found["hyperparameters"]},
    }


def _scaled(values: Mapping[str, Any], scale: float) -> int:
    """The env steps of a run, fewer by `scale`."""
    if scale == 1.0:
        return int(values["total_timesteps"])
    return max(int(values["num_envs"]), round(values["total_timesteps"] * scale))


def env_warnings(card: Card, units: Sequence[Unit]) -> list[str]:
    """What is known to spoil comparisons on the environments of these units, each line once."""
    return list(
        dict.fromkeys(
            f"{unit.environment}: {text}" for unit in units for text in known_traps(card.environments[unit.environment])
        )
    )


def known_traps(one: Environment) -> list[str]:
    """What is known to spoil a comparison on an environment of a card."""
    return load_traps().warnings(one.paper, one.run, one.kwargs, one.wrappers)


def _evaluation(unit: Unit, scale: float) -> dict[str, Any]:
    """The settings of evaluations that a unit's protocols ask for."""
    evaluated = [p for p in unit.protocols if p.returns == "evaluation"]
    curves = [p for p in evaluated if p.statistic != "one agent"]
    single = [p.eval_episodes or _ONE_AGENT_EPISODES for p in evaluated if p.statistic == "one agent"]
    every = max(1, round((curves[0].eval_every or 0) * scale)) if curves else 0
    episodes = curves[0].eval_episodes if curves else None
    asked = {"eval_every": every, "final_eval_episodes": max(single) if single else episodes or _FINAL_EPISODES}
    if episodes:
        asked["eval_episodes"] = episodes
    if any(p.policy == "stochastic" for p in evaluated):
        asked["eval_deterministic"] = False
    return asked


def _flag(name: str, value: Any) -> list[str]:
    flag = "--" + name.replace("_", "-")
    if isinstance(value, bool):
        return [flag if value else "--no-" + flag.removeprefix("--")]
    return [flag, ",".join(map(str, value)) if isinstance(value, tuple) else str(value)]


def shared(settings: Settings, folder: Path | None = None) -> dict[str, Any]:
    """What runs of one unit must have in common: everything but seeds and how they are spread over processes.

    Code that lies in `folder`, the card's, is named from there.
    """
    values = json.loads(settings.to_json())
    if folder is not None:
        values |= {name: own_code.to_folder(values[name], folder) for name in ("agent", "env")}
        values["wrappers"] = [own_code.to_folder(one, folder) for one in values["wrappers"]]
    for name in (
        "seeds",
        "processes",
        "env_processes",
        "checkpoint_every",
        "log_every",
        "capture_video",
        "check_env",
        "device",
    ):
        values.pop(name)
    return dict(values)


def unshared(values: Mapping[str, Any], seeds: Sequence[int]) -> Settings | None:
    """The settings behind what `shared` kept, with stand-ins for what it dropped.

    None for a measurement, or where a setting is lacking that has no default.
    """
    if "function" in values:
        return None
    rest = {"processes": 1, "checkpoint_every": 0, "log_every": 0, "capture_video": False, "check_env": False}
    fields = {field.name for field in dataclasses.fields(Settings)}
    known = {name: value for name, value in values.items() if name in fields}
    known |= {name: tuple(value) for name, value in known.items() if isinstance(value, list)}
    try:
        return Settings(**{**rest, "device": "cpu", **known, "seeds": tuple(seeds)})
    except TypeError:  # older than a setting that has no default
        return None


def differences(wanted: Mapping[str, Any], found: Mapping[str, Any], folder: Path) -> Iterator[tuple[str, Any, Any]]:
    """`(setting, wanted, found)` where runs that are there were made with other settings, both by `shared`.

    Where they say nothing of a setting they are older than it: they did what its default does now.
    """
    defaults = {one.name: one.default for one in dataclasses.fields(Settings)}
    for name, value in wanted.items():
        if name in ("agent", "env", "function") and own_code.is_same_name(value, str(found.get(name, value))):
            continue
        told = name in ("sources", "frames_per_step")  # and not chosen
        if told or (name == "stackable" and name not in found):
            continue
        if name not in found:
            default = defaults.get(name, dataclasses.MISSING)
            if value != default:
                yield name, value, None if default is dataclasses.MISSING else default
            continue
        if name == "wrappers" and len(value) == len(found[name]):
            if not all(map(own_code.is_same_name, value, found[name])):
                yield name, value, found[name]
            continue
        if name != "hyperparameters" or "function" in wanted:
            if value != found[name]:
                yield name, value, found[name]
            continue
        agent = own_code.from_folder(str(wanted["agent"]), folder)
        fields = find_agent(agent).description()[0].__dataclass_fields__
        for key in {**value, **found[name]}:
            default = fields[key].default if key in fields else None
            default = list(default) if isinstance(default, tuple) else default
            ours, theirs = value.get(key, default), found[name].get(key, default)
            if ours != theirs:
                yield f"{name}.{key}", ours, theirs
