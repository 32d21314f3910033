"""A card's claims and orders, each checked against what it refers to."""

from __future__ import annotations

import dataclasses
import decimal
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from rlrepro.errors import Problem, count_of, nearest
from rlrepro.papers import toml_lines
from rlrepro.papers.cards.card import ABOUT, RULES, Claim, Environment, Implementation, Measurement, Order
from rlrepro.papers.protocol import Protocol
from rlrepro.papers.scoring import LATE
from rlrepro.papers.spreads import SPREADS, spread_faults
from rlrepro.papers.toml_tables import Absent, Reader, Table, is_id, is_number, listed


@dataclasses.dataclass(frozen=True)
class Parts:
    """What the claims of a card refer to, by name; None: it has a fault of its own."""

    environments: dict[str, Environment]
    implementations: Mapping[str, Implementation | None]
    protocols: Mapping[str, Protocol | None]
    measurements: Mapping[str, Measurement | None]


def read_claims(reader: Reader, values: Mapping[str, Any], parts: Parts) -> Iterator[tuple[toml_lines.Path, Claim]]:
    """The claims that can be made, each with its place in the file."""
    known = ["environment", "low", "high", *(field.name for field in dataclasses.fields(Claim))]
    defaults = values.get("claim_defaults", {})
    Table(reader, defaults, ("claim_defaults",), known)
    for one, path in listed(reader, values, "claim"):
        merged = {**(defaults if isinstance(defaults, dict) else {}), **one}
        claim = _claim(Table(reader, merged, path, known), one, parts)
        if claim is not None:
            yield path, claim


def _claim(table: Table, own: Mapping[str, Any], parts: Parts) -> Claim | None:
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
    spread = _spread(table, kind, reported, per_seed)
    if seeds == 1 and spread and kind in _OF_SEEDS:
        table.fault("seeds", f"is 1, and one seed has no {kind}")
    published, note = table.text("published", default=""), table.text("note", default="")
    known = parts.protocols.get(protocol or "")
    of_steps = known is not None and known.of == "steps"
    less_is_better = table.get("less_is_better", lambda v: isinstance(v, bool), "true or false", of_steps)
    _check_published(table, published)
    _check_aggregate(table, names, aggregate, measurement, parts.environments)
    _check_protocol(table, known, [parts.implementations.get(implementation or "")])
    is_one_sided = known is not None and known.is_one_sided(kind)
    if known is not None and is_one_sided and known.of == "length":
        table.fault("protocol", "of lengths is not known which is better: an agent cannot reach one")
    if known is not None and is_one_sided and of_steps:
        table.fault("spread_kind", "is of an agent's episodes, and env steps to a threshold are a number of each seed")
    elif of_steps and less_is_better is False:
        table.fault("less_is_better", "is true of env steps to a threshold")
    if aggregate and known is not None and known.of != "return":
        table.fault("aggregate", f"is of returns, by what a random and the best policy get: not of {known.of!r}")
    if less_is_better and is_one_sided and not of_steps:
        table.fault("less_is_better", "is of a mean over seeds: an agent reaches a number by no less than it")
    if rule and not measurement and (aggregate or is_one_sided):
        table.fault("rule", "is for a mean over seeds, or a number that a function measures")
    elif rule and (unsaid := [field for field in ("spread", "low", "high", "per_seed") if field in table.values]):
        table.fault(unsaid[0], f"says how sure the paper is, and by rule = {rule!r} its number counts as it is printed")
    if of_steps and reported is not None and reported < 0:
        table.fault("reported", f"is {reported:g} env steps: expected 0 or more")
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


def _whose(table: Table, own: Mapping[str, Any], parts: Parts) -> tuple[Any, Any, Any]:
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
        if abs(mean - reported) > 0.01 * max(abs(mean), abs(reported)) + 0.5 * 10.0 ** -_decimals(reported):
            table.fault("per_seed", f"has the mean {mean:g}, but reported = {reported:g}")
    return len(values) or seeds, values


#: by the kind of a spread over seeds, what it is of `values`
_OF_SEEDS: Mapping[str, Callable[[np.ndarray], float]] = {
    "sample sd": lambda values: float(values.std(ddof=1)),
    "population sd": lambda values: float(values.std()),
    "standard error": lambda values: float(values.std(ddof=1)) / math.sqrt(len(values)),
}


def _spread(table: Table, kind: str | None, reported: float | None, per_seed: Sequence[float]) -> float | None:
    """A claim's spread as it is given, or half the width of its interval from `low` to `high`."""
    spread = table.number("spread", "a number, at least 0", None, low=0.0)
    low, high = (table.number(end, "an end of the 95 % interval", None) for end in ("low", "high"))
    given = {"spread": spread, "low": low, "high": high}
    if kind is None or any(name in table.values and value is None for name, value in given.items()):
        return None  # it has a fault already
    for field, text in spread_faults(kind, reported, spread, low, high, bool(per_seed)):
        table.fault(field, text)
    if spread is not None and kind in _OF_SEEDS and len(per_seed) > 1:
        own = _OF_SEEDS[kind](np.array(per_seed))
        rounding = 0.5 * (10.0 ** -_decimals(spread) + 10.0 ** -max(map(_decimals, per_seed)))
        if abs(own - spread) > 0.01 * max(own, spread) + rounding:
            table.fault("per_seed", f"has the {kind} {own:g}, but spread = {spread:g}")
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
    own_why = _HALF if rule == "exact" else Absent
    why = table.text("margin_why", "why that margin", Absent if needed else own_why if margin is not None else "")
    if rule and reported is not None and "margin" not in table.values:
        if rule == "about" and len(set(map(abs, values))) > 1:
            table.fault("margin", 'is missing: "about" is a part of each number, and these are of several sizes')
            return rule, values, None, None
        margin, why = _own_margin(rule, values or (reported,))
        if margin == 0:
            table.fault("margin", 'is missing: "about 0" has no size of its own')
    return rule, values, margin, why


_HALF = "half a unit of the last printed digit"


def _own_margin(rule: str, printed: Sequence[float]) -> tuple[float, str]:
    """The margin that a rule has where the card gives none, and why."""
    if rule == "about":
        return ABOUT * abs(printed[0]), f'"about": ± {ABOUT:.0%} of the number'
    half = 0.5 * 10.0 ** -max(map(_decimals, printed))
    return half, _HALF if rule == "exact" else f"{_HALF}, for the guards; a bound has none"


def _decimals(value: float) -> int:
    """Decimals of a number as it is printed shortest."""
    text = repr(value)
    return -int(decimal.Decimal(text).normalize().as_tuple().exponent) if value != int(value) else 0


def read_orders(reader: Reader, values: Mapping[str, Any], parts: Parts) -> Iterator[tuple[toml_lines.Path, Order]]:
    """The orders that can be made, each with its place in the file."""
    implementations, protocols = parts.implementations, parts.protocols
    for one, path in listed(reader, values, "order"):
        table = Table(reader, one, path, ["environment", *(field.name for field in dataclasses.fields(Order))])
        identity = table.get("id", is_id, "a short name of the claim, of letters, digits and . _ + @ = ( ) / : , -")
        better = table.one_of("better", list(implementations))
        worse = table.one_of("worse", list(implementations))
        protocol = table.one_of("protocol", list(protocols))
        names = _environments(table, parts.environments)
        several = one.get("environments")
        alone = Absent if isinstance(several, list) and len(several) > 1 else 1
        at_least = table.count("at_least", "a whole number of tasks, at least 1", alone)
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
            yield path, Order(identity, better, worse, names, at_least, protocol, where, note)


def _check_published(table: Table, published: str | None) -> None:
    from rlrepro.papers.book.published import load_book

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
        if (protocol.of == "length" or protocol.iteration) and envs is not None and envs.value != 1:
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
    faults = (_fault_of_steps(protocol, implementation) for implementation in implementations if implementation)
    for fault in dict.fromkeys(filter(None, faults)):
        table.fault("protocol", fault)


def _fault_of_steps(protocol: Protocol, implementation: Implementation) -> str:
    """Why a run of so many env steps has not what a protocol counts, or ""."""
    total, every = implementation.hyperparameters.get("total_timesteps"), protocol.eval_every
    if total is None or type(total.value) is not int:
        return ""
    end, begin = protocol.to_step or total.value, protocol.after_step or 0
    if end > total.value or begin >= total.value:
        return f"looks beyond the {total.value:,} env steps that are trained"
    if every and end % every:
        return f"evaluates every {every:,} env steps, and never at env step {end:,}, where it ends"
    if every and (late := _latest(implementation, every)) >= LATE * every:
        return f"evaluates every {every:,} env steps, up to {late} late by so many num_envs"
    last = protocol.last or 1
    if every and last > (there := end // every - begin // every):
        return f"counts {last:,} evaluations, and there are {there:,}"
    if protocol.returns == "training" and last * (protocol.iteration or 1) > end - begin:
        what = "iteration" if protocol.iteration else "episode"
        return f"counts {count_of(last, what)}, more than {end - begin:,} env steps have"
    return ""


def _latest(implementation: Implementation | None, every: int) -> int:
    """How many env steps late an evaluation may be, which waits for a step of all sub-environments."""
    envs = implementation.hyperparameters.get("num_envs") if implementation is not None else None
    number = envs.value if envs is not None and type(envs.value) is int else 1
    return number - math.gcd(number, every)


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
                text, meant, hint = str(problem).split(" (")[0].split("; an id")[0].partition("; did you mean")
                own = nearest(name, environments, 0.7) or meant + hint or nearest(name, environments)
                table.fault("environment", text + own)
                return ()
            environments[name] = Environment(name, name, name)
    if len(set(names)) < len(names):
        table.fault("environments", "names one twice")
    return names


def _known_env(name: str) -> None:
    from rlrepro.plugins.environments import find_env

    if not name.strip():
        raise Problem("'' is no environment")
    if ".py" in name or ":" in name:  # would run it
        raise Problem(f"{name!r} needs a table: [environment.NAME] with paper and run")
    find_env(name)
