"""What a card's claims refer to: its paper, environments, protocols, implementations and measurements, each checked."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import re
from collections.abc import Mapping, Sequence
from typing import Any

from rlrepro.errors import Problem, nearest
from rlrepro.papers import toml_lines
from rlrepro.papers.cards.card import RUN_SETTINGS, Environment, Implementation, Measurement, Paper, Value
from rlrepro.papers.cards.measurements import find_measurement
from rlrepro.papers.protocol import Protocol
from rlrepro.papers.toml_tables import Absent, Reader, Table, is_json, is_url, named, short
from rlrepro.plugins.importing import existing_file
from rlrepro.plugins.own_code import file_of

SOURCE = re.compile(r"(paper|secondary|ours): \S|code: \S+@\S+")
_SOURCES = "'paper: Table 3', 'code: repository@commit path', 'secondary: where', or 'ours: why'"
_REQUIRED_RUN_SETTINGS = ("total_timesteps", "num_envs")
_OFF = "ours: off, as the card does not name it"  #: the source of an addition that a card does not name


def read_paper(reader: Reader, values: Any, is_there: bool) -> Paper | None:
    if not is_there:
        reader.fault(("paper",), "is missing: [paper] with title, authors, year, url")
        return None
    table = Table(reader, values, ("paper",), [f.name for f in dataclasses.fields(Paper)])
    latest = datetime.date.today().year + 1
    title, authors = table.text("title", "the paper's title"), table.text("authors", "its authors")
    year = table.get("year", lambda v: type(v) is int and 1900 <= v <= latest, f"a year from 1900 to {latest}")
    url = table.get("url", is_url, "an address that begins with https:// or http://")
    summary = table.text("summary", "what the paper claims, in a sentence or two", "")
    if None in (title, authors, year, url):
        return None
    return Paper(title, authors, year, url, summary)


def read_environment(reader: Reader, name: str, values: Any) -> Environment:
    table = Table(reader, values, ("environment", name), [f.name for f in dataclasses.fields(Environment)][1:])
    paper = table.text("paper", "the id and version that the paper used") or name
    run = table.text("run", "the environment that runs here, as --env takes it", paper) or paper
    differs = table.text("differs", "what differs between the paper's environment and the one that runs", "")
    unexplained = paper != run and not differs.strip()
    if unexplained:
        table.fault("differs", f'is missing: what differs between {paper} and {run} ("nothing" is an answer)')
    kwargs = table.get("kwargs", is_json, "a table of arguments: numbers, texts, truth values, lists", {})
    wrappers = table.texts("wrappers", "a list of wrappers, as --wrapper takes them")
    for field, names in (("run", (run,)), ("wrappers", wrappers)):
        try:
            for one in names:
                file = file_of(reader.whole(one))
                if unexplained and file is not None:  # else `rlrepro card check` looks for it
                    existing_file(file)
        except Problem as problem:
            table.fault(field, str(problem))
    random, best = table.number("random", default=None), table.number("best", default=None)
    if (random is None) != (best is None):
        table.fault("best" if best is None else "random", "is missing: a normalised score needs both random and best")
    elif random is not None and random == best:
        table.fault("best", "equals random: no score can be normalised by them")
    return Environment(name, paper, run, differs, kwargs, wrappers, random, best)


def read_protocol(reader: Reader, name: str, values: Any) -> Protocol | None:
    try:
        return Protocol.from_table(values)
    except Problem as problem:
        word = next((key for key in values if f"'{key}'" in str(problem) or str(problem).startswith(f"{key} ")), "")
        reader.fault(("protocol", name, word) if word else ("protocol", name), str(problem))
    return None


def read_implementations(reader: Reader, values: Mapping[str, Any]) -> dict[str, Implementation | None]:
    found: dict[str, Implementation | None] = {}
    stated: dict[str, tuple[str, _Stated]] = {}
    for name, one in named(reader, values, "implementation"):
        path: toml_lines.Path = ("implementation", name)
        table = Table(reader, one, path, ("agent", "like", "without", "hyperparameters"))
        like = table.one_of("like", list(stated), None)
        base_agent, base = stated.get(like or "", ("", {}))
        agent = table.text("agent", "an agent, as --agent takes it", base_agent or Absent)
        merged = _merged(reader, table, like, base, _sourced(reader, one, path))
        if agent is None:
            found[name] = None
            continue
        stated[name] = (agent, merged)
        found[name] = _checked(reader, name, agent, merged, table, like or "")
    return found


#: hyperparameters, each with the place where it stands
_Stated = dict[str, tuple[Value, toml_lines.Path]]


def _merged(reader: Reader, table: Table, like: str | None, base: _Stated, own: Mapping[str, Value]) -> _Stated:
    """What one like another takes over, without what it says, and its own."""
    without = table.texts("without", "a list of hyperparameters that are not taken over")
    if without and "like" not in table.values:
        table.fault("without", "leaves nothing out where there is no `like`")
    for key in without if like else ():
        if key not in base:
            table.fault("without", f"{like} has no hyperparameter {key!r}{nearest(key, base)}")
        elif key in own:
            table.fault("without", f"{key!r} is given here, which takes the place of {like}'s: name it once")
    places = {key: (*table.path, "hyperparameters", value.source, key) for key, value in own.items()}
    kept = {key: value for key, value in base.items() if key not in without}
    return {**kept, **{key: (value, places[key]) for key, value in own.items()}}


def _fault(reader: Reader, path: toml_lines.Path, place: toml_lines.Path, text: str, way: str = "") -> None:
    """A fault of a hyperparameter of `path` that stands at `place`, which may be in what `path` is like."""
    if place[:2] == path:
        reader.fault(place, text)
    else:
        reader.fault((*path, "like"), f"{text}; it is {place[1]}'s, line {reader.line(place)}{way}")


def _leave_out(key: str) -> str:
    return f'; without = ["{key}"] leaves it out'


def _lacking(reader: Reader, path: toml_lines.Path, name: str, missing: Sequence[str], like: str) -> None:
    """The fault of hyperparameters that are not there."""
    listed = ", ".join(missing[:6]) + (f" and {len(missing) - 6} more" if len(missing) > 6 else "")
    reader.fault(
        (*path, "hyperparameters"), f"{name} also needs {listed}, each under its source{_of(reader, path, like)}"
    )


def _of(reader: Reader, path: toml_lines.Path, like: str) -> str:
    """What `path` is like, for a fault that may be mended there."""
    return f"; it is like {like}, line {reader.line((path[0], like))}" if like else ""


def _sourced(reader: Reader, one: Mapping[str, Any], path: toml_lines.Path) -> dict[str, Value]:
    """The hyperparameters of an implementation or a measurement, each with its source."""
    own: dict[str, Value] = {}
    groups = Table(
        reader,
        one.get("hyperparameters", {}),
        (*path, "hyperparameters"),
        list(one.get("hyperparameters", {})) if isinstance(one.get("hyperparameters", {}), dict) else ("source",),
    ).values
    for source, group in groups.items():
        place = (*path, "hyperparameters", source)
        if not isinstance(group, dict):
            reader.fault(place, f"has no source: group hyperparameters under where they were read, as {_SOURCES}")
            continue
        if not SOURCE.match(source):
            reader.fault(place, f"{short(source)} is no source: it is {_SOURCES}")
        for key, value in group.items():
            if key in own:
                reader.fault((*place, key), f"is given twice, by {own[key].source!r} too")
            own[key] = Value(tuple(value) if isinstance(value, list) else value, source)
    return own


def read_measurements(reader: Reader, values: Mapping[str, Any]) -> dict[str, Measurement | None]:
    from rlrepro.plugins.agents import find_agent

    found: dict[str, Measurement | None] = {}
    stated: dict[str, tuple[str, str, _Stated]] = {}
    for name, one in named(reader, values, "measurement"):
        path: toml_lines.Path = ("measurement", name)
        table = Table(reader, one, path, ("function", "agent", "what", "like", "without", "seeds", "hyperparameters"))
        like = table.one_of("like", list(stated), None)
        base_function, base_agent, base = stated.get(like or "", ("", "", {}))
        function = table.text(
            "function", "a function: of an entry point, or package.module:name", base_function or Absent
        )
        agent = table.text("agent", "the agent whose number it is", base_agent)
        what = table.text("what", "what it measures, in words")
        seeds = table.count("seeds", "a whole number of at least 1", None)
        merged = _merged(reader, table, like, base, _sourced(reader, one, path))
        found[name] = None
        if function is None:
            continue
        stated[name] = (function, agent, merged)
        try:
            if agent:
                find_agent(reader.whole(agent))
        except Problem as problem:
            table.fault("agent", str(problem))
        try:
            source = find_measurement(reader.whole(function))
        except Problem as problem:
            given = "function" in one
            table.fault("function" if given else "like", f"{problem}{'' if given else _of(reader, path, like or '')}")
            continue
        for key, (value, place) in merged.items():
            if key not in source.parameters:
                near = nearest(key, source.parameters)
                _fault(reader, path, place, f"{function} has no hyperparameter {key!r}{near}", _leave_out(key))
            elif not _fits(value.value, source.parameters[key]):
                _fault(reader, path, place, f"{short(value.value)} is no {source.parameters[key]}")
        missing = [key for key in source.parameters if key not in merged]
        if missing:
            _lacking(reader, path, function, missing, like or "")
        if seeds is not None and not source.takes_seeds:
            table.fault("seeds", f"{function} computes its number and takes no seeds: leave it out")
        if what is not None:
            values_of = {key: value for key, (value, _) in merged.items()}
            found[name] = Measurement(name, function, what, values_of, source.takes_seeds, seeds, agent, like or "")
    return found


def _fits(value: Any, annotation: str) -> bool:
    """Whether a value may be given where a function says what it takes; what it does not say is not checked."""
    kinds: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "str": (str,), "bool": (bool,)}
    return annotation not in kinds or type(value) in kinds[annotation]


def _checked(
    reader: Reader,
    name: str,
    agent: str,
    stated: _Stated,
    table: Table,
    like: str,
) -> Implementation | None:
    """The implementation, where every hyperparameter of its agent is there, known and valid."""
    from rlrepro.flags import train_parser
    from rlrepro.plugins.agents import find_agent
    from rlrepro.settings import card_value

    path = table.path
    try:
        source = find_agent(reader.whole(agent))
        config_class, presets, _ = source.description()
        parser = train_parser(source, config_class, presets)
    except Problem as problem:
        own = "agent" in table.values
        table.fault("agent" if own else "like", f"{problem}{'' if own else _of(reader, path, like)}")
        return None
    fields = {field.name: field for field in dataclasses.fields(config_class)}
    values = {key: value for key, (value, _) in stated.items()}
    read = dict(values)
    for key, (value, place) in stated.items():
        if key not in fields and key not in RUN_SETTINGS:
            near = nearest(key, [*fields, *RUN_SETTINGS])
            _fault(reader, path, place, f"{agent} has no hyperparameter {key!r}{near}", _leave_out(key))
            continue
        try:
            read[key] = dataclasses.replace(value, value=card_value(parser, key, value.value, key in RUN_SETTINGS))
        except argparse.ArgumentTypeError as error:
            _fault(reader, path, place, str(error))
    off = {
        key: Value(field.default, _OFF)
        for key, field in fields.items()
        if (switch := field.metadata.get("addition")) and (switch is True or not _is_on(values, str(switch)))
    }
    values = {**off, **read}
    missing = [key for key in (*_REQUIRED_RUN_SETTINGS, *fields) if key not in values]
    if missing:
        _lacking(reader, path, agent, missing, like)
    return Implementation(name, agent, dict(values), like)


def _is_on(values: Mapping[str, Value], switch: str) -> bool:
    return switch in values and bool(values[switch].value)
