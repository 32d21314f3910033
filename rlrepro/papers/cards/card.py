"""Cards: what a paper claims, how it does it, and on what, as TOML that a person writes by hand.

A card is data: nothing of it runs, but an agent that it names by file or module is imported. Files are named from the
card's folder, so that the two move together. `reader` reads it.
docs/read-a-paper.md says how to read a paper for its card; `rlrepro card new` writes an empty one.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rlrepro.papers.protocol import Protocol
from rlrepro.plugins import own_code

RULES = {
    "exact": "printed to the last digit: ours rounds to it",
    "about": '"about": ours lies within a band around it',
    "at most": "a bound: ours is not above it",
    "at least": "a bound: ours is not below it",
}
ABOUT = 0.05  #: the band of a number that a text calls "about", as a part of it
RUN_SETTINGS = ("total_timesteps", "num_envs", "normalise_obs", "normalise_reward", "normalise_as")


@dataclasses.dataclass(frozen=True)
class Paper:
    title: str
    authors: str
    year: int
    url: str
    summary: str = ""  #: what it claims, in a sentence or two


@dataclasses.dataclass(frozen=True)
class Environment:
    """A task of the paper, and what runs in its place."""

    name: str  #: on the card
    paper: str  #: the id and version that the paper used
    run: str  #: what runs here
    differs: str = ""  #: what differs between the two
    kwargs: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    wrappers: tuple[str, ...] = ()
    random: float | None = None  #: a random policy's return: 0 of the normalised score
    best: float | None = None  #: 1 of the normalised score

    def normalised_score(self, value: float) -> float:
        """A return as a score: 0 for a random policy, 1 for the best known."""
        assert self.random is not None
        assert self.best is not None
        return (value - self.random) / (self.best - self.random)


@dataclasses.dataclass(frozen=True)
class Value:
    """A hyperparameter and where it was read."""

    value: Any
    source: str


@dataclasses.dataclass(frozen=True)
class Implementation:
    """An agent with every hyperparameter, each with its source."""

    name: str
    agent: str
    hyperparameters: Mapping[str, Value]  #: `RUN_SETTINGS` among them
    like: str = ""  #: whose hyperparameters it took over


@dataclasses.dataclass(frozen=True)
class Measurement:
    """A function that measures numbers which are no returns of an agent, with every hyperparameter and its source."""

    name: str
    function: str  #: as `rlrepro.papers.cards.measurements.find_measurement` takes it
    what: str  #: what it measures, in words
    hyperparameters: Mapping[str, Value]
    takes_seeds: bool  #: False: it computes, and there is nothing to repeat
    seeds: int | None = None  #: how many make its number; None: as many as are asked for
    agent: str = ""  #: whose number it is, where it trains an agent: for `rlrepro proofs`
    like: str = ""  #: whose hyperparameters it took over

    @property
    def protocol(self) -> Protocol:
        """What it measures, as a protocol that says so in words."""
        return Protocol("training", "other", note=self.what)


@dataclasses.dataclass(frozen=True)
class Claim:
    """One number of the paper, or several that stand together."""

    id: str
    implementation: str  #: "" where a function measures it
    environments: tuple[str, ...]
    protocol: str  #: "" where a function measures it
    reported: float
    margin: float  #: what counts as equal, in units of the return
    margin_why: str
    where: str
    spread: float | None = None
    spread_kind: str = "none"
    seeds: int | None = None  #: None: the paper does not say
    per_seed: tuple[float, ...] = ()
    published: str = ""  #: id in the book of published results
    aggregate: str = ""  #: "mean", "median" or "iqm" of normalised scores over several environments
    note: str = ""
    measurement: str = ""
    rule: str = ""  #: how a printed number is judged: one of `RULES`; "": as a mean over seeds
    values: tuple[float, ...] = ()  #: where several are claimed at once; `reported` is one of them
    less_is_better: bool = False  #: as of an error, or of an episode's length: *above* is then worse than the paper's

    @property
    def printed(self) -> tuple[float, ...]:
        """All the numbers that it claims."""
        return self.values or (self.reported,)


@dataclasses.dataclass(frozen=True)
class Order:
    """ "A beats B on at least k of n tasks"."""

    id: str
    better: str
    worse: str
    environments: tuple[str, ...]
    at_least: int
    protocol: str
    where: str
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Card:
    name: str
    file: Path
    text: str
    paper: Paper
    environments: Mapping[str, Environment]
    implementations: Mapping[str, Implementation]
    protocols: Mapping[str, Protocol]
    claims: tuple[Claim, ...]
    orders: tuple[Order, ...]
    compute: str
    deviations: tuple[str, ...]
    measurements: Mapping[str, Measurement] = dataclasses.field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Where code of its own lies: a file that the card names is read from there."""
        return Path(os.path.abspath(self.file)).parent

    def whole(self, name: str) -> str:
        """An agent, an environment, a wrapper or a function that the card names, its file's path made whole."""
        return own_code.from_folder(name, self.folder)

    def is_as_asked(self, measurement: str) -> bool:
        """Whether a measurement takes as many seeds as are asked for: neither one alone nor a number of its own."""
        one = self.measurements[measurement]
        return one.takes_seeds and one.seeds is None

    @property
    def named(self) -> tuple[str, ...]:
        """The agents, functions, environments and wrappers that it names, which may be code of its own."""
        names = [one.agent for one in self.implementations.values()]
        names += [one.function for one in self.measurements.values()]
        for environment in self.environments.values():
            names += [environment.run, *environment.wrappers]
        return tuple(dict.fromkeys(names))

    def code(self, names: Iterable[str]) -> dict[str, bytes]:
        """The code that these of `named` are, by file (from the card's folder where it lies there) or by module."""
        found = own_code.sources(map(self.whole, names))
        return {own_code.to_folder(name, self.folder): data for name, data in found.items()}

    def protocol_of(self, claim: Claim | Order) -> Protocol:
        """How a claim's number is made."""
        if isinstance(claim, Claim) and claim.measurement:
            return self.measurements[claim.measurement].protocol
        return self.protocols[claim.protocol]

    def unlike(self, order: Order) -> list[tuple[str, Any, Any]]:
        """In what the two sides of an order differ: the setting, the better's, the worse's; None where it has none."""
        better, worse = (self.implementations[side] for side in (order.better, order.worse))
        sides = [
            {"agent": one.agent, **{k: v.value for k, v in one.hyperparameters.items()}} for one in (better, worse)
        ]
        names = {**sides[0], **sides[1]}
        rows = [(name, sides[0].get(name), sides[1].get(name)) for name in names]
        return [row for row in rows if row[1] != row[2]]

    @property
    def unused(self) -> dict[str, list[str]]:
        """What no claim refers to, by kind. What a used one is `like` is used."""
        claims: tuple[Claim | Order, ...] = (*self.claims, *self.orders)
        used: dict[str, set[str]] = {
            "environment": {name for one in claims for name in one.environments},
            "protocol": {one.protocol for one in claims},
            "implementation": {
                name
                for one in claims
                for name in ((one.implementation,) if isinstance(one, Claim) else (one.better, one.worse))
            },
            "measurement": {one.measurement for one in self.claims},
        }
        takers: dict[str, Mapping[str, Implementation | Measurement]] = {
            "implementation": self.implementations,
            "measurement": self.measurements,
        }
        for kind, those in takers.items():
            for name, one in reversed(list(those.items())):  # what it is like stands above it
                if name in used[kind]:
                    used[kind].add(one.like)
        there: dict[str, Iterable[str]] = {
            "environment": self.environments,
            "protocol": self.protocols,
            "implementation": self.implementations,
            "measurement": self.measurements,
        }
        return {kind: [name for name in names if name not in used[kind]] for kind, names in there.items()}

    def is_tested(self, claim: Claim | Order) -> bool:
        """Whether the correction over a card's claims counts it: not what is computed, nor one published agent."""
        if isinstance(claim, Order):
            return True
        return not self.is_computed(claim) and not self.protocol_of(claim).is_one_sided(claim.spread_kind)

    @property
    def num_tested(self) -> int:
        """How many claims share the error by that correction, whether they were run or not."""
        everything: tuple[Claim | Order, ...] = (*self.claims, *self.orders)
        return sum(map(self.is_tested, everything))

    def is_computed(self, claim: Claim | Order) -> bool:
        """Whether its number is computed, so that there is nothing to repeat."""
        return (
            isinstance(claim, Claim)
            and bool(claim.measurement)
            and (not self.measurements[claim.measurement].takes_seeds)
        )
