"""`rlrepro card new|check|diff`: begin a card, find its faults, and see how two cards differ."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rlrepro.agent import help_of
from rlrepro.checkpoint import make_folder, write_whole
from rlrepro.errors import BadArgument, Problem, count_of
from rlrepro.flags import Parser
from rlrepro.papers import toml_lines
from rlrepro.papers.cards.card import Card, Claim, Order
from rlrepro.papers.cards.parts import SOURCE
from rlrepro.papers.cards.reader import CARD_FORMAT, find_card, load_card, read_card
from rlrepro.papers.pages.rows import unlike_text
from rlrepro.papers.protocol import POLICIES, STATISTICS
from rlrepro.papers.spreads import SPREADS
from rlrepro.papers.toml_tables import Reader
from rlrepro.papers.units.unit import Unit
from rlrepro.plugins import own_code

UNCHECKED = "ours: the agent's default, not checked against the paper"


def main(arguments: Sequence[str]) -> int:
    """`rlrepro card`; the exit status."""
    parser = Parser(prog="rlrepro card", description="Begin a card, find its faults, or see how two cards differ.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="new|check|diff", parser_class=Parser)
    new = commands.add_parser(
        "new", help="write a commented skeleton of a card", description=(skeleton.__doc__ or "").partition("\n")[0]
    )
    new.add_argument("--agent", default="ppo", metavar="AGENT", help="as python -m rlrepro.train takes it (ppo)")
    new.add_argument("--env", default="CartPole-v1", metavar="ENV", help="likewise (CartPole-v1)")
    new.add_argument("--env-kwargs", action="append", metavar="K=V,…", help="likewise; may be repeated")
    new.add_argument("--wrapper", action="append", default=[], metavar="WRAPPER", help="likewise; may be repeated")
    new.add_argument("--into", type=Path, metavar="FILE", help="where to write it (standard output)")
    check = commands.add_parser("check", help="name every fault of cards with its line")
    check.add_argument("cards", nargs="+", metavar="CARD", help="a card.toml, its folder, or a card of the kit")
    diff = commands.add_parser("diff", help="show how two cards differ, field by field")
    diff.add_argument("cards", nargs=2, metavar="CARD", help="a card.toml, its folder, or a card of the kit")
    asked = parser.parse_args(arguments)
    return {"new": _new, "check": _check, "diff": _diff}[asked.command](asked)


# --- new


def _new(asked: argparse.Namespace) -> int:
    given = asked.agent, asked.env, asked.env_kwargs or [], asked.wrapper
    if asked.into is None:
        print(skeleton(*given, is_served=True), end="")
        return 0
    into = asked.into / "card.toml" if asked.into.is_dir() else asked.into
    if into.exists():
        raise Problem(f"{into} is there already; choose another --into")
    text = skeleton(*given, into.parent, is_served=True)
    make_folder(into.parent)
    write_whole(into, text.encode())
    print(f"{into}: fill in what is marked TODO, then: rlrepro card check {shlex.quote(str(into))}")
    return 0


def skeleton(
    agent: str,
    env: str,
    env_kwargs: Sequence[str] = (),
    wrappers: Sequence[str] = (),
    folder: Path = Path(),
    is_served: bool = False,
) -> str:
    """A commented card for an agent on an environment; what is left to fill in is marked TODO, and is a fault.

    All are as the flags of training take them. Files are named from the card's `folder`. `Problem` where the agent
    cannot serve the environment although it has to (`is_served`).
    """
    from rlrepro.plugins.agents import find_agent
    from rlrepro.request import Request, parse_train

    arguments = ["--agent", agent, "--env", env, "--seeds", "0,", *(f"--wrapper={one}" for one in wrappers)]
    asked = parse_train([*arguments, *(f"--env-kwargs={one}" for one in env_kwargs)])
    assert isinstance(asked, Request)
    settings = asked.settings
    if is_served:
        from rlrepro.group import check_serves

        check_serves(settings)
    named_from_there = functools.partial(own_code.to_folder, folder=Path(os.path.abspath(folder)))
    config_class, _, _ = find_agent(settings.agent).description()
    helps = {field.name: help_of(field) for field in dataclasses.fields(config_class)}
    groups: dict[str, list[tuple[str, Any, str]]] = {}
    for name, value in settings.hyperparameters.items():
        source = _source(settings.sources[name], own_code.file_of(agent) is None)
        groups.setdefault(source, []).append((name, value, helps.get(name, "")))
    ours = groups.pop(UNCHECKED, [])
    first = [
        ("total_timesteps", settings.total_timesteps, "env steps of each seed"),
        ("num_envs", settings.num_envs, "sub-environments of each seed"),
    ]
    task = re.sub(r"[^\w.+@=() -]", "-", env.rsplit("/", 1)[-1])
    name = re.sub(r"[^\w-]", "-", agent.rsplit(":", 1)[-1]).lower()
    hyperparameters = "\n".join(
        _group(name, source, rows) for source, rows in [*groups.items(), (UNCHECKED, [*first, *ours])]
    )
    return _SKELETON.format(
        format=CARD_FORMAT,
        task=_toml(task),
        task_key=_key(task),
        env=_toml(named_from_there(settings.env)),
        made="".join(
            f"{key} = {_toml(value)}\n"
            for key, value in (
                ("kwargs", settings.env_kwargs),
                ("wrappers", [named_from_there(one) for one in settings.wrappers]),
            )
            if value
        ),
        name=_toml(name),
        key=_key(name),
        agent=_toml(named_from_there(settings.agent)),
        hyperparameters=hyperparameters,
        spreads="\n".join(f"#   {_toml(kind)}: {text}" for kind, text in SPREADS.items()),
        order=f"{name}-is-better",
        statistics="\n".join(f"#   {_toml(kind)}: {text}" for kind, text in STATISTICS.items()),
        policies=", ".join(map(_toml, POLICIES)),
    )


def _source(text: str, is_installed: bool) -> str:
    """Where a default came from, where that is in the form that cards want."""
    preset = re.fullmatch(r"preset \S+ \((.*)\)", text)
    text = preset.group(1) if preset else text
    if base := re.match(r"of (\w+): ", text):  # of an agent that this one builds on
        text = text.removeprefix(base[0])
        if text.startswith("paper: "):
            return f"secondary: the paper of {base[1]}, {text.removeprefix('paper: ')}"
    if is_installed and text.startswith("paper: "):  # the agent's, which need not be the card's
        return f"secondary: the agent's own paper, {text.removeprefix('paper: ')}"
    return text if SOURCE.match(text) else UNCHECKED


def _group(implementation: str, source: str, rows: Sequence[tuple[str, Any, str]]) -> str:
    values = [f"{name} = {_toml(value)}" for name, value, _ in rows]
    width = max(map(len, values))
    lines = [f"{value:<{width}}  # {note}" if note else value for value, (_, _, note) in zip(values, rows, strict=True)]
    header = f"[implementation.{_key(implementation)}.hyperparameters.{_toml(source)}]"
    return "\n".join([header, *lines, ""])


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _toml(name)


def _toml(value: Any) -> str:
    if value is None:
        raise Problem("a card cannot say None: leave that argument out (-1 of max_episode_steps is none, too)")
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{_key(name)} = {_toml(one)}' for name, one in value.items())} }}"
    if type(value) is int and value >= 10_000:
        return f"{value:_}"
    return repr(value)


_SKELETON = """\
# A card: what a paper claims, how it does it, and on what. `rlrepro card check` names what is still to be filled in.
format = {format}
# What is done otherwise than in the paper, a sentence each:
deviations = []

[paper]
title = ""  # TODO
authors = ""  # TODO
year = 0  # TODO
url = ""  # TODO: https://…
summary = ""

[compute]
stated = "not stated"  # what the paper says of its hardware and hours

# ---- on what: the task of the paper, and what runs in its place

[environment.{task_key}]
paper = {env}  # the id and version that the paper used
run = {env}
{made}# differs = "…"  # needed where the two are not the same
# random = 0.0  # returns of a random and of the best policy: 0 and 1 of the normalised score
# best = 1.0

# ---- how: every hyperparameter, grouped under where it was read:
#   "paper: Table 3", "code: repository@commit path", "secondary: where", "ours: why"
# What stands here are the agent's defaults, with the agent's own sources: check each against the paper at hand. Two
# implementations that are compared want the same values wherever the paper does not say otherwise: `like = {name}` in
# [implementation.OTHER] takes these over, and changes what it names; `without = ["…"]` leaves out what another agent
# does not have.

[implementation.{key}]
agent = {agent}

{hyperparameters}
# ---- what is claimed

[protocol.training]
returns = "training"  # or "evaluation": extra episodes of a fixed policy
last = 100  # the last so many episodes (or evaluations) count
# statistic =
{statistics}
# of = "steps"  # and threshold = 475.0: the env steps until the mean of the last so many first reached it
# of an evaluation also: eval_every (env steps), eval_episodes, policy = one of
#   {policies}

[[claim]]
id = {name}
implementation = {name}
environment = {task}
protocol = "training"
reported = ""  # TODO: the number that the paper prints
margin = ""  # TODO: the difference that counts as none, in units of the return
margin_why = ""  # TODO
where = ""  # TODO: a table or figure
# seeds = 5  # leave out what the paper does not say
# spread = 1.5
# spread_kind =
{spreads}
# per_seed = [1.0, 2.0]  # where the paper gives every seed's value

# Where the paper says that one is better than another, and that is the claim:
# [[order]]
# id = "{order}"
# better = {name}
# worse = "OTHER"  # another [implementation.OTHER]
# environments = [{task}]
# at_least = 1  # on how many of them
# protocol = "training"
# where = ""
"""


# --- check


def _check(asked: argparse.Namespace) -> int:
    from rlrepro.papers.authoring.doubts import doubts
    from rlrepro.papers.units.unit import check_unit, env_warnings, units_of

    status = 0
    for name in asked.cards:
        file = find_card(name)
        card, faults = read_card(file)
        for fault in faults:
            print(fault)
        if card is None:
            status = 1
            continue
        try:
            units = units_of(card, card.claims, card.orders)
        except Problem as problem:
            print(problem if str(problem).startswith(str(file)) else f"{file}: {problem}")
            status = 1
            continue
        notes, stray = [], []
        for unit in units:
            try:
                check_unit(card, unit)
            except BadArgument as problem:
                stray.append(_stray(card, unit, str(problem)))
            except Problem as problem:
                notes.append(f"{unit.name} cannot run here: {problem}")
        status |= bool(stray)
        claims = len(card.claims) + len(card.orders)
        runs = sum(not unit.is_measured for unit in units)
        measured = f", {count_of(len(units) - runs, 'measurement')}" if runs < len(units) else ""
        for line in dict.fromkeys(stray):
            print(line)
        if not stray:
            print(f"{file}: no faults: {count_of(claims, 'claim')}, {count_of(runs, 'run')} of each seed{measured}")
        for warning in (*env_warnings(card, units), *doubts(card)):
            print(f"  warning: {warning}")
        for order in card.orders:
            print(f"  note: order {order.id}: {unlike_text(card, order)}")
        for note in notes:
            print(f"  note: {note}")
    return status


def _stray(card: Card, unit: Unit, problem: str) -> str:
    """A fault of what the card gives its environment, with its line; of anything else, with the run that it spoils."""
    flag, _, text = problem.partition(": ")
    field = {"--env-kwargs": "kwargs", "--wrapper": "wrappers"}.get(flag)
    if field is None:
        return f"{card.file}: {unit.name}: {problem}"
    reader = Reader(str(card.file), toml_lines.line_numbers(card.text))
    reader.fault(("environment", unit.environment, field), text)
    return str(reader.faults[0])


# --- diff


def _diff(asked: argparse.Namespace) -> int:
    one, other = (load_card(name) for name in asked.cards)
    names = (one.name, other.name) if one.name != other.name else (str(one.file), str(other.file))
    rows = list(differences(one, other))
    console = Console(highlight=False)
    if not rows:
        console.print(f"{names[0]} and {names[1]} say the same", markup=False, soft_wrap=True)
        return 0
    table = Table(box=box.SIMPLE, show_lines=False, pad_edge=False)
    table.add_column("", ratio=3, overflow="fold")
    for name in names:
        table.add_column(Text(name), ratio=4, overflow="fold")
    section = ""
    sources: dict[str, str] = {}
    for place, field, left, right in rows:
        left, right = (_marked(text, sources) for text in (left, right))
        if place != section:
            table.add_section()
            table.add_row(Text(place, style="bold"))
            section = place
        table.add_row(Text(f"  {field}"), Text(left), Text(right))
    console.print(table)
    for source, mark in sources.items():
        console.print(f"[{mark}] {source}", markup=False, soft_wrap=True)
    return 0


def _marked(text: str, sources: dict[str, str]) -> str:
    """A value with a mark in place of its source, which is told once, below."""
    value, newline, source = text.partition(_FROM)
    if not newline:
        return text
    mark = sources.setdefault(source, str(len(sources) + 1))
    return f"{value} [{mark}]"


_FROM = "\nfrom "
_ABSENT = "–"


def differences(one: Card, other: Card) -> Iterator[tuple[str, str, str, str]]:
    """Section, field, and what each of two cards says there, wherever they say different things.

    Implementations are paired by name; where each card has one, these two, whatever their names.
    """
    left, right = _sections(one), _sections(other)
    lone = [list(card.implementations) for card in (one, other)]
    if len(lone[0]) == len(lone[1]) == 1 and lone[0] != lone[1]:
        title = f"implementation {lone[0][0]} / {lone[1][0]}"
        for sections, names in ((left, lone[0]), (right, lone[1])):
            old = f"implementation {names[0]}"
            for key in list(sections):  # in its place
                sections[title if key == old else key] = sections.pop(key)
    for place in {**left, **right}:
        if place not in left or place not in right:
            there = "in this card alone"
            yield place, "", there if place in left else _ABSENT, there if place in right else _ABSENT
            continue
        for field in {**left[place], **right[place]}:
            mine, theirs = left[place].get(field, _ABSENT), right[place].get(field, _ABSENT)
            if mine != theirs:
                yield place, field, mine, theirs


def _sections(card: Card) -> dict[str, dict[str, str]]:
    """Everything that a card says, as texts."""
    sections = {"paper": _texts(dataclasses.asdict(card.paper))}
    for name, environment in card.environments.items():
        sections[f"environment {name}"] = _texts(dataclasses.asdict(environment), "name")
    for name, implementation in card.implementations.items():
        own = {"agent": implementation.agent}
        own |= {k: f"{_toml_any(v.value)}{_FROM}{v.source}" for k, v in implementation.hyperparameters.items()}
        sections[f"implementation {name}"] = own
    for name, protocol in card.protocols.items():
        sections[f"protocol {name}"] = _texts(protocol.to_table())
    for name, measurement in card.measurements.items():
        own = _texts(dataclasses.asdict(measurement), "name", "hyperparameters", "takes_seeds", "like")
        own |= {k: f"{_toml_any(v.value)}{_FROM}{v.source}" for k, v in measurement.hyperparameters.items()}
        sections[f"measurement {name}"] = own
    everything: list[Claim | Order] = [*card.claims, *card.orders]
    for one in everything:
        sections[f"claim {one.id}"] = _texts(dataclasses.asdict(one), "id")
    sections["compute"] = {"stated": card.compute}
    sections["deviations"] = {str(number): text for number, text in enumerate(card.deviations, 1)}
    return sections


def _texts(values: Mapping[str, Any], *without: str) -> dict[str, str]:
    absent: tuple[Any, ...] = (None, "", (), {})
    return {k: _toml_any(v) for k, v in values.items() if k not in without and v not in absent}


def _toml_any(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value) if isinstance(value, dict) else _toml(value)
