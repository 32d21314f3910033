"""A card's file read and checked: the card, or every fault in it by file, line and field."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import decimal
import math
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rlrepro.errors import Problem, nearest
from rlrepro.papers import toml_lines
from rlrepro.papers.card_tables import Absent, Fault, Reader, Table, is_id, is_json, is_number, is_url, kind_of, short
from rlrepro.papers.cards import (
    ABOUT,
    RULES,
    RUN_SETTINGS,
    Card,
    Claim,
    Environment,
    Implementation,
    Measurement,
    Order,
    Paper,
    Value,
)
from rlrepro.papers.measurements import find_measurement
from rlrepro.papers.protocol import Protocol
from rlrepro.papers.spreads import SPREADS, spread_faults

CARD_FORMAT = 1
SOURCE = re.compile(r"(paper|secondary|ours): \S|code: \S+@\S+")
_SOURCES = "'paper: Table 3', 'code: repository@commit path', 'secondary: where', or 'ours: why'"
_REQUIRED_RUN_SETTINGS = ("total_timesteps", "num_envs")
_OFF = "ours: off, as the card does not name it"  #: the source of an addition that a card does not name
# of an installed package, and of a checkout
_OWN = tuple(place / "experiments" for place in Path(__file__).resolve().parents[1:3])


def find_card(name: str) -> Path:
    """A card's file by its path, its folder, or the name of one that comes with the kit."""
    given = Path(name)
    try:
        for path in (given, given / "card.toml", *(folder / name / "card.toml" for folder in _OWN)):
            if path.is_file():
                return path
    except (OSError, ValueError):
        pass
    known = [path.parent.name for path in own_cards()]
    hint = nearest(name, known) or f" (with the kit come: {', '.join(known)})" * bool(known)
    raise Problem(f"there is no card {name}{hint}; `rlrepro card new` writes one")


def own_cards() -> list[Path]:
    """The files of the cards that come with the kit, by name."""
    return sorted(path for folder in _OWN for path in folder.glob("*/card.toml"))


def load_card(name: str) -> Card:
    """A card without faults; `Problem` names the first fault of any other."""
    file = find_card(name)
    card, faults = read_card(file)
    if card is None or faults:
        more = f" (and {len(faults) - 1} more: rlrepro card check {file})" if len(faults) > 1 else ""
        raise Problem(f"{faults[0]}{more}")
    return card


def read_card(file: Path) -> tuple[Card | None, list[Fault]]:
    """The card in a file, or its faults in the order of their lines."""
    shown = str(file)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise Problem(f"{file}: {error.strerror}") from None
    except UnicodeDecodeError:
        return None, [Fault(shown, 1, "the file", "is not text in UTF-8")]
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        at = re.search(r"line (\d+)", str(error))
        line = int(at.group(1)) if at else max(1, text.count("\n"))
        return None, [Fault(shown, line, "the file", f"is not TOML: {str(error).split(' (at ')[0]}")]
    except RecursionError:
        return None, [Fault(shown, 1, "the file", "is nested too deeply")]
    except ValueError as error:  # a whole number of thousands of digits
        return None, [Fault(shown, 1, "the file", f"holds a value that cannot be read: {' '.join(str(error).split())}")]
    reader = Reader(shown, toml_lines.line_numbers(text))
    card = _read(reader, values, file, text)
    faults = sorted(reader.faults, key=lambda fault: fault.line)
    return (None if faults else card), faults


_TOP = (
    "format",
    "paper",
    "environment",
    "implementation",
    "protocol",
    "measurement",
    "claim",
    "claim_defaults",
    "order",
    "compute",
    "deviations",
)


def _read(reader: Reader, values: Mapping[str, Any], file: Path, text: str) -> Card | None:
    top = Table(reader, values, (), _TOP)
    if values.get("format") != CARD_FORMAT or type(values.get("format")) is not int:
        top.fault("format", f"should be {CARD_FORMAT}: the form of this card")
    paper = _paper(reader, values.get("paper"), "paper" in values)
    environments = {name: _environment(reader, name, v) for name, v in _named(reader, values, "environment")}
    implementations = _implementations(reader, values)
    protocols = {name: _protocol(reader, name, v) for name, v in _named(reader, values, "protocol")}
    measurements = _measurements(reader, values)
    parts = _Parts(environments, implementations, protocols, measurements)
    claims = list(_claims(reader, values, parts))
    orders = list(_orders(reader, values, environments, implementations, protocols))
    if not claims and not orders and not reader.faults:
        top.fault("claim", "is missing: a card needs at least one [[claim]]")
    seen: set[str] = set()
    everything: list[tuple[str, int, Claim | Order]] = [("claim", *claim) for claim in claims]
    everything += [("order", *order) for order in orders]
    for kind, index, one in everything:
        if one.id in seen:
            reader.fault((kind, index, "id"), f"{one.id!r} is there twice")
        seen.add(one.id)
    compute = Table(reader, values.get("compute", {}), ("compute",), ("stated",))
    stated = compute.text("stated", "what the paper says of its hardware and hours", "not stated")
    deviations = top.texts("deviations")
    if reader.faults or paper is None:
        return None
    name = file.resolve().parent.name if file.name == "card.toml" else file.stem
    return Card(
        name,
        file,
        text,
        paper,
        environments,
        {k: v for k, v in implementations.items() if v is not None},
        {k: v for k, v in protocols.items() if v is not None},
        tuple(claim for _, claim in claims),
        tuple(order for _, order in orders),
        stated,
        deviations,
        {k: v for k, v in measurements.items() if v is not None},
    )


def _named(reader: Reader, values: Mapping[str, Any], kind: str) -> Iterator[tuple[str, Any]]:
    tables = values.get(kind, {})
    if not isinstance(tables, dict):
        reader.fault((kind,), f"is a {kind_of(tables)}: name each one, as in [{kind}.first]")
        return
    for name, table in tables.items():
        if not re.fullmatch(r"[\w.+@=() -]{1,80}", name):
            reader.fault((kind, name), "a name is of letters, digits and . _ + @ = ( ) -")
        elif isinstance(table, dict):
            yield name, table
        else:
            reader.fault((kind, name), f"is a {kind_of(table)}, and should be a table: [{kind}.{name}]")


def _paper(reader: Reader, values: Any, is_there: bool) -> Paper | None:
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


def _environment(reader: Reader, name: str, values: Any) -> Environment:
    table = Table(reader, values, ("environment", name), [f.name for f in dataclasses.fields(Environment)][1:])
    paper = table.text("paper", "the id and version that the paper used") or name
    run = table.text("run", "the environment that runs here, as --env takes it", paper) or paper
    differs = table.text("differs", "what differs between the paper's environment and the one that runs", "")
    if paper != run and not differs.strip():
        table.fault("differs", f'is missing: what differs between {paper} and {run} ("nothing" is an answer)')
    kwargs = table.get("kwargs", is_json, "a table of arguments: numbers, texts, truth values, lists", {})
    wrappers = table.texts("wrappers", "a list of wrappers, as --wrapper takes them")
    for field, names in (("run", (run,)), ("wrappers", wrappers)):
        try:
            for one in names:
                reader.whole(one)
        except Problem as problem:
            table.fault(field, str(problem))
    random, best = table.number("random", default=None), table.number("best", default=None)
    if (random is None) != (best is None):
        table.fault("best" if best is None else "random", "is missing: a normalised score needs both random and best")
    elif random is not None and random == best:
        table.fault("best", "equals random: no score can be normalised by them")
    return Environment(name, paper, run, differs, kwargs, wrappers, random, best)


def _protocol(reader: Reader, name: str, values: Any) -> Protocol | None:
    try:
        return Protocol.from_table(values)
    except Problem as problem:
        word = next((key for key in values if f"'{key}'" in str(problem) or str(problem).startswith(f"{key} ")), "")
        reader.fault(("protocol", name, word) if word else ("protocol", name), str(problem))
    return None


def _implementations(reader: Reader, values: Mapping[str, Any]) -> dict[str, Implementation | None]:
    found: dict[str, Implementation | None] = {}
    stated: dict[str, tuple[str, dict[str, Value]]] = {}
    for name, one in _named(reader, values, "implementation"):
        path: toml_lines.Path = ("implementation", name)
        table = Table(reader, one, path, ("agent", "like", "hyperparameters"))
        like = table.one_of("like", list(stated), None)
        base_agent, base = stated.get(like or "", ("", {}))
        agent = table.text("agent", "an agent, as --agent takes it", base_agent or Absent)
        own = _sourced(reader, one, path)
        merged = {**base, **own}
        if agent is None:
            found[name] = None
            continue
        stated[name] = (agent, merged)
        places = {key: (*path, "hyperparameters", value.source, key) for key, value in own.items()}
        found[name] = _checked(reader, name, agent, merged, path, places)
    return found


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


def _measurements(reader: Reader, values: Mapping[str, Any]) -> dict[str, Measurement | None]:
    from rlrepro.plugins import find_agent

    found: dict[str, Measurement | None] = {}
    stated: dict[str, tuple[str, str, dict[str, Value]]] = {}
    for name, one in _named(reader, values, "measurement"):
        path: toml_lines.Path = ("measurement", name)
        table = Table(reader, one, path, ("function", "agent", "what", "like", "seeds", "hyperparameters"))
        like = table.one_of("like", list(stated), None)
        base_function, base_agent, base = stated.get(like or "", ("", "", {}))
        function = table.text(
            "function", "a function: of an entry point, or package.module:name", base_function or Absent
        )
        agent = table.text("agent", "the agent whose number it is", base_agent)
        what = table.text("what", "what it measures, in words")
        seeds = table.count("seeds", "a whole number of at least 1", None)
        own = _sourced(reader, one, path)
        found[name] = None
        if function is None:
            continue
        stated[name] = (function, agent, {**base, **own})
        try:
            if agent:
                find_agent(reader.whole(agent))
        except Problem as problem:
            table.fault("agent", str(problem))
        try:
            source = find_measurement(reader.whole(function))
        except Problem as problem:
            table.fault("function" if "function" in one else "like", str(problem))
            continue
        merged = {**base, **own}
        for key, value in merged.items():
            place = (*path, "hyperparameters", value.source, key) if key in own else path
            if key not in source.parameters:
                reader.fault(place, f"{function} has no hyperparameter {key!r}{nearest(key, source.parameters)}")
            elif not _fits(value.value, source.parameters[key]):
                reader.fault(place, f"{short(value.value)} is no {source.parameters[key]}")
        missing = [key for key in source.parameters if key not in merged]
        if missing:
            reader.fault(
                (*path, "hyperparameters"), f"{function} also needs {', '.join(missing)}, each under its source"
            )
        if seeds is not None and not source.takes_seeds:
            table.fault("seeds", f"{function} computes its number and takes no seeds: leave it out")
        if what is not None:
            found[name] = Measurement(name, function, what, merged, source.takes_seeds, seeds, agent)
    return found


def _fits(value: Any, annotation: str) -> bool:
    """Whether a value may be given where a function says what it takes; what it does not say is not checked."""
    kinds: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "str": (str,), "bool": (bool,)}
    return annotation not in kinds or type(value) in kinds[annotation]


def _checked(
    reader: Reader,
    name: str,
    agent: str,
    values: Mapping[str, Value],
    path: toml_lines.Path,
    places: Mapping[str, toml_lines.Path],
) -> Implementation | None:
    """The implementation, where every hyperparameter of its agent is there, known and valid."""
    from rlrepro.flags import train_parser
    from rlrepro.plugins import find_agent
    from rlrepro.settings import value_of

    try:
        source = find_agent(reader.whole(agent))
        config_class, presets, _ = source.description()
        parser = train_parser(source, config_class, presets)
    except Problem as problem:
        reader.fault((*path, "agent"), str(problem))
        return None
    fields = {field.name: field for field in dataclasses.fields(config_class)}
    read = dict(values)
    for key, value in values.items():
        place = places.get(key, path)
        if key not in fields and key not in RUN_SETTINGS:
            reader.fault(place, f"{agent} has no hyperparameter {key!r}{nearest(key, [*fields, *RUN_SETTINGS])}")
            continue
        try:
            read[key] = dataclasses.replace(value, value=value_of(parser, key, value.value, key in RUN_SETTINGS))
        except argparse.ArgumentTypeError as error:
            reader.fault(place, str(error))
    off = {
        key: Value(field.default, _OFF)
        for key, field in fields.items()
        if (switch := field.metadata.get("addition")) and (switch is True or not _is_on(values, str(switch)))
    }
    values = {**off, **read}
    missing = [key for key in (*_REQUIRED_RUN_SETTINGS, *fields) if key not in values]
    if missing:
        listed = ", ".join(missing[:6]) + (f" and {len(missing) - 6} more" if len(missing) > 6 else "")
        reader.fault((*path, "hyperparameters"), f"{agent} also needs {listed}, each under its source")
    return Implementation(name, agent, dict(values))


def _is_on(values: Mapping[str, Value], switch: str) -> bool:
    return switch in values and bool(values[switch].value)


@dataclasses.dataclass(frozen=True)
class _Parts:
    """What the claims of a card refer to, by name; None: it has a fault of its own."""

    environments: dict[str, Environment]
    implementations: Mapping[str, Implementation | None]
    protocols: Mapping[str, Protocol | None]
    measurements: Mapping[str, Measurement | None]


def _claims(reader: Reader, values: Mapping[str, Any], parts: _Parts) -> Iterator[tuple[int, Claim]]:
    known = ["environment", "low", "high", *(field.name for field in dataclasses.fields(Claim))]
    defaults = values.get("claim_defaults", {})
    Table(reader, defaults, ("claim_defaults",), known)
    for index, (one, path) in enumerate(_listed(reader, values, "claim")):
        merged = {**(defaults if isinstance(defaults, dict) else {}), **one}
        claim = _claim(Table(reader, merged, path, known), one, parts)
        if claim is not None:
            yield index, claim


def _claim(table: Table, own: Mapping[str, Any], parts: _Parts) -> Claim | None:
    """One claim, of its table (the defaults in it) and its `own` fields; None where it cannot be made."""
    identity = table.get("id", is_id, "a short name of the claim, of letters, digits and . _ + @ = ( ) / : , -")
    implementation, protocol, measurement = _whose(table, own, parts)
    names = _environments(table, parts.environments)
    reported = table.number("reported", "the number that the paper prints")
    rule, printed, margin, margin_why = _rule(table, reported, parts.measurements.get(measurement or ""))
    where = table.text("where", "where in the paper: a table or figure")
    kind = table.one_of("spread_kind", list(SPREADS), "none")
    aggregate = "" if measurement else table.one_of("aggregate", ("mean", "median", "iqm"), "")
    seeds, per_seed = _per_seed(table, None if aggregate else reported)
    spread = _spread(table, kind, reported, bool(per_seed))
    published, note = table.text("published", default=""), table.text("note", default="")
    less_is_better = table.get("less_is_better", lambda v: isinstance(v, bool), "true or false", False)
    _check_published(table, published)
    _check_aggregate(table, names, aggregate, measurement, parts.environments)
    known = parts.protocols.get(protocol or "")
    _check_protocol(table, known, [parts.implementations.get(implementation or "")])
    is_one_sided = known is not None and known.is_one_sided(kind)
    if known is not None and is_one_sided and known.of == "length":
        table.fault("protocol", "of lengths is not known which is better: an agent cannot reach one")
    if less_is_better and is_one_sided:
        table.fault("less_is_better", "is of a mean over seeds: an agent reaches a number by no less than it")
    if rule and not measurement and (aggregate or is_one_sided):
        table.fault("rule", "is for a mean over seeds, or a number that a function measures")
    if measurement and kind == "over episodes":
        table.fault("spread_kind", "is of an agent's episodes: a function's number is no agent that others reach")
    needed = (identity, implementation, protocol, reported, margin, margin_why, where, kind, measurement, rule)
    if None in needed or not names:
        return None
    return Claim(
        id=identity,
        implementation=implementation,
        environments=names,
        protocol=protocol,
        reported=reported,
        margin=float(margin),
        margin_why=margin_why,
        where=where,
        spread=spread,
        spread_kind=kind,
        seeds=seeds,
        per_seed=per_seed,
        published=published,
        aggregate=aggregate,
        note=note,
        measurement=measurement,
        rule=rule,
        values=printed,
        less_is_better=bool(less_is_better),
    )


def _whose(table: Table, own: Mapping[str, Any], parts: _Parts) -> tuple[Any, Any, Any]:
    """A claim's implementation and protocol, or its measurement; "" is none, None has a fault."""
    measurement = table.one_of("measurement", list(parts.measurements), "")
    if measurement == "":
        return (
            table.one_of("implementation", list(parts.implementations)),
            table.one_of("protocol", list(parts.protocols)),
            measurement,
        )
    for field in ("implementation", "protocol", "aggregate"):
        if field in own:
            table.fault(field, "is there beside `measurement`, a function: one of the two")
    return "", "", measurement


def _per_seed(table: Table, reported: float | None) -> tuple[int | None, tuple[float, ...]]:
    """How many seeds a number has, and each one's value where published: their mean is what is `reported`."""
    seeds = table.count("seeds", "a whole number of at least 1", None)
    given = table.get("per_seed", lambda v: isinstance(v, list) and all(map(is_number, v)), "a list of numbers", [])
    values = tuple(map(float, given))
    if values and seeds is not None and len(values) != seeds:
        table.fault("per_seed", f"has {len(values)} values, but seeds = {seeds}")
    if values and reported is not None:
        mean = math.fsum(values) / len(values)
        if abs(mean - reported) > 0.01 * max(abs(mean), abs(reported), 1e-9) + 0.01:
            table.fault("per_seed", f"has the mean {mean:g}, but reported = {reported:g}")
    return len(values) or seeds, values


def _spread(table: Table, kind: str | None, reported: float | None, has_per_seed: bool) -> float | None:
    """A claim's spread as it is given, or half the width of its interval from `low` to `high`."""
    spread = table.number("spread", "a number, at least 0", None, low=0.0)
    low, high = (table.number(end, "an end of the 95 % interval", None) for end in ("low", "high"))
    given = {"spread": spread, "low": low, "high": high}
    if kind is None or any(name in table.values and value is None for name, value in given.items()):
        return None  # it has a fault already
    for field, text in spread_faults(kind, reported, spread, low, high, has_per_seed):
        table.fault(field, text)
    return spread if None in (low, high) else (high - low) / 2


def _check_aggregate(
    table: Table, names: Sequence[str], aggregate: str | None, measurement: str | None,
    environments: Mapping[str, Environment],
) -> None:  # fmt: skip
    if len(names) > 1 and measurement:
        table.fault("environments", "a function measures on one environment")
    elif len(names) > 1 and not aggregate:
        table.fault("aggregate", "is missing: how several environments become one number: mean, median or iqm")
    for name in names if aggregate else ():
        if environments[name].random is None:
            table.fault("aggregate", f"environment {name} needs random and best, to normalise its score")


def _rule(
    table: Table, reported: float | None, measurement: Measurement | None
) -> tuple[Any, tuple[float, ...], Any, Any]:
    """A claim's rule, all of its numbers, and its margin, which "exact" and bounds have from what is printed."""
    rule = table.one_of("rule", list(RULES), "")
    given = table.get("values", lambda v: isinstance(v, list) and all(map(is_number, v)), "a list of numbers", [])
    values = tuple(map(float, given))
    computed = measurement is not None and not measurement.takes_seeds
    is_known = measurement is not None or not table.values.get("measurement")  # else it has a fault of its own
    lacks_rule = computed and rule == ""
    if lacks_rule and measurement is not None:
        table.fault("rule", f"is missing, as {measurement.function} computes its number: one of {', '.join(RULES)}")
    if rule == "exact" and not computed and is_known:
        table.fault("rule", "'exact' is for what a function computes: over seeds nothing is; 'about' has a margin")
    if values and not computed and is_known:
        table.fault("values", "several numbers are for what a function computes")
    elif values and reported is not None and reported not in values:
        table.fault("values", f"should hold {reported:g}, which is reported")
    if rule in ("at most", "at least") and "margin" in table.values:
        table.fault("margin", f"a bound has none: ours is {rule} the number, or not")
        return rule, values, None, None
    needed = rule == "" and not lacks_rule
    wanted = "a number above 0: the difference that counts as none"
    margin = table.get("margin", lambda v: is_number(v) and v > 0, wanted, Absent if needed else None)
    why = table.text("margin_why", "why that margin", Absent if needed or margin is not None else "")
    if rule and reported is not None and "margin" not in table.values:
        if rule == "about" and len(set(map(abs, values))) > 1:
            table.fault("margin", 'is missing: "about" is a part of each number, and these are of several sizes')
            return rule, values, None, None
        margin, why = _own_margin(rule, values or (reported,))
        if margin == 0:
            table.fault("margin", 'is missing: "about 0" has no size of its own')
    return rule, values, margin, why


def _own_margin(rule: str, printed: Sequence[float]) -> tuple[float, str]:
    """The margin that a rule has where the card gives none, and why."""
    if rule == "about":
        return ABOUT * abs(printed[0]), f'"about": ± {ABOUT:.0%} of the number'
    half = 0.5 * 10.0 ** -max(map(_decimals, printed))
    return half, "half a unit of the last printed digit" + (
        "" if rule == "exact" else ", for the guards; a bound has none"
    )


def _decimals(value: float) -> int:
    """Decimals of a number as it is printed shortest."""
    text = repr(value)
    return -int(decimal.Decimal(text).normalize().as_tuple().exponent) if value != int(value) else 0


def _orders(
    reader: Reader,
    values: Mapping[str, Any],
    environments: dict[str, Environment],
    implementations: Mapping[str, Implementation | None],
    protocols: Mapping[str, Protocol | None],
) -> Iterator[tuple[int, Order]]:
    for index, (one, path) in enumerate(_listed(reader, values, "order")):
        table = Table(reader, one, path, ["environment", *(field.name for field in dataclasses.fields(Order))])
        identity = table.get("id", is_id, "a short name of the claim, of letters, digits and . _ + @ = ( ) / : , -")
        better = table.one_of("better", list(implementations))
        worse = table.one_of("worse", list(implementations))
        protocol = table.one_of("protocol", list(protocols))
        names = _environments(table, environments)
        at_least = table.count("at_least", "a whole number of tasks, at least 1")
        where, note = table.text("where", "where in the paper: a table or figure"), table.text("note", default="")
        if better is not None and better == worse:
            table.fault("worse", f"{worse!r} cannot beat itself")
        if protocol and (known := protocols.get(protocol)) and known.of == "length":
            table.fault("protocol", "of lengths is not known which is better: an order is of returns")
        if at_least is not None and at_least > len(names) > 0:
            table.fault("at_least", f"{at_least} is more than the {len(names)} environments")
        _check_protocol(
            table, protocols.get(protocol or ""), [implementations.get(side or "") for side in (better, worse)]
        )
        if None not in (identity, better, worse, protocol, at_least, where) and names:
            yield index, Order(identity, better, worse, names, at_least, protocol, where, note)


def _check_published(table: Table, published: str | None) -> None:
    from rlrepro.papers.published import load_book

    if published:
        try:
            load_book().get(published)
        except Problem as problem:
            table.fault("published", str(problem))


def _check_protocol(table: Table, protocol: Protocol | None, implementations: Sequence[Implementation | None]) -> None:
    """Faults where no run of these implementations could be scored by the protocol."""
    if protocol is None:
        return
    if protocol.can_score is not None:
        table.fault("protocol", f"the claim cannot be judged: {protocol.can_score}")
        return
    for implementation in implementations:
        envs = implementation.hyperparameters.get("num_envs") if implementation is not None else None
        if protocol.of == "length" and envs is not None and envs.value != 1:
            table.fault("protocol", f"counts episodes' lengths, which are known for num_envs = 1, not {envs.value}")
            return
    every = protocol.eval_every
    if (
        protocol.returns == "evaluation"
        and protocol.statistic != "one agent"
        and not (every and protocol.eval_episodes)
    ):
        table.fault("protocol", "needs eval_every (env steps between evaluations) and eval_episodes (of each)")
        return
    for implementation in implementations:
        total = implementation.hyperparameters.get("total_timesteps") if implementation is not None else None
        if total is None or type(total.value) is not int:
            continue
        end = protocol.to_step or total.value
        if end > total.value or (protocol.after_step or 0) >= total.value:
            table.fault("protocol", f"looks beyond the {total.value:,} env steps that are trained")
        elif every and (end % every or total.value % every):
            table.fault(
                "protocol", f"evaluates every {every:,} env steps, and never at env step {end:,}, where it ends"
            )
        elif every and (protocol.last or 1) > (there := end // every - (protocol.after_step or 0) // every):
            table.fault("protocol", f"counts {protocol.last or 1:,} evaluations, and there are {there:,}")


def _environments(table: Table, environments: dict[str, Environment]) -> tuple[str, ...]:
    """The names in `environment` or `environments`; one that the card does not describe is an id that runs as it is."""
    if "environment" in table.values and "environments" in table.values:
        table.fault("environment", "is there beside `environments`: one of the two")
    one = table.text("environment", "an environment of the card, or an id", None)
    names = (one,) if one else table.texts("environments", "a list of environments")
    if not names:
        given = next((field for field in ("environments", "environment") if field in table.values), None)
        if given is None:
            table.fault("environment", "is missing: an environment of the card, or an id")
        elif table.values[given] in ("", []):  # of anything else there is a fault already
            table.fault(given, "names none: an environment of the card, or an id")
    for name in names:
        if name not in environments:
            try:
                _known_env(name)
            except Problem as problem:
                text = str(problem).split(" (")[0].split("; an id")[0]
                hint = "" if "did you mean" in text else nearest(name, list(environments))
                table.fault("environment", text + hint)
                return ()
            environments[name] = Environment(name, name, name)
    if len(set(names)) < len(names):
        table.fault("environments", "names one twice")
    return names


def _known_env(name: str) -> None:
    from rlrepro.plugins import find_env

    if not name.strip():
        raise Problem("'' is no environment")
    if ".py" in name or ":" in name:  # would run it
        raise Problem(f"{name!r} needs a table: [environment.NAME] with paper and run")
    find_env(name)


def _listed(reader: Reader, values: Mapping[str, Any], kind: str) -> Iterator[tuple[dict[str, Any], toml_lines.Path]]:
    tables = values.get(kind, [])
    if not isinstance(tables, list):
        reader.fault((kind,), f"is a {kind_of(tables)}: write [[{kind}]], once for each")
        return
    for index, table in enumerate(tables):
        if not isinstance(table, dict):
            reader.fault((kind, index), f"is a {kind_of(table)}: write [[{kind}]], once for each")
        else:
            yield table, (kind, index)
