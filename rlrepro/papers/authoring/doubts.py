"""What a card says that is likelier a slip than meant: `rlrepro card check` warns of it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

from rlrepro.papers.book.published import base_name, load_book
from rlrepro.papers.cards.card import Card, Claim, Environment, Implementation
from rlrepro.papers.stats import power
from rlrepro.papers.units.results import Results
from rlrepro.papers.verdicts.verdict import judge, reported

FAR = 0.5  #: of the way from random to best: a number that lies so far outside is doubted
LATE_START = 0.2  #: of a run: learning that starts later is likelier a budget that was cut than meant
UNSEEN = 0.5  #: of a run: where what comes after is looked at by no claim, the run is likelier too long than meant
#: what becomes a deviation over seeds by their number alone
_OF_SO_MANY = {"population sd": "spread", "standard error": "standard error", "interval 95": "interval"}


def doubts(card: Card) -> Iterator[str]:
    """A line for each."""
    for of in _DOUBTS:
        yield from of(card)


def _unused(card: Card) -> Iterator[str]:
    for kind, names in card.unused.items():
        if names:
            yield f"no claim uses {kind}{'s' * (len(names) > 1)} {', '.join(names)}"


def _exchanged(card: Card) -> Iterator[str]:
    for name, environment in card.environments.items():
        if environment.random is not None and environment.best is not None and environment.random > environment.best:
            yield f"{name}: random {environment.random:g} is above best {environment.best:g}: were they exchanged?"


def _budgets(card: Card) -> Iterator[str]:
    """Runs that learn late or not at all, or go on long after what is claimed of them."""
    for name, one in card.implementations.items():
        total = _whole(one, "total_timesteps")
        starts, envs, steps = (_whole(one, key) for key in ("learning_starts", "num_envs", "num_steps"))
        if total and starts and starts > LATE_START * total:
            yield f"{name}: it learns nothing before env step {starts:,} of {total:,}"
        if total and envs and steps and envs * steps > total:
            yield f"{name}: it learns nothing: an update takes {envs * steps:,} env steps, and a run has {total:,}"
        looked_at = [card.protocols[claim.protocol] for claim in card.claims if claim.implementation == name]
        looked_at += [card.protocols[o.protocol] for o in card.orders if name in (o.better, o.worse)]
        last = max((protocol.to_step or math.inf for protocol in looked_at), default=math.inf)
        if total and last < UNSEEN * total:
            yield f"{name}: no claim looks at what comes after env step {last:,} of {total:,}"


def _whole(implementation: Implementation, name: str) -> int | None:
    one = implementation.hyperparameters.get(name)
    return one.value if one is not None and type(one.value) is int else None


def _too_short_for_steps(card: Card) -> Iterator[str]:
    for claim in (claim for claim in card.claims if card.protocol_of(claim).of == "steps"):
        end = card.protocol_of(claim).to_step or _whole(card.implementations[claim.implementation], "total_timesteps")
        if end is not None and end <= claim.reported + claim.margin:
            yield (
                f"claim {claim.id}: {end:,} env steps are looked at, and {claim.reported:,.10g} reported: a seed that "
                "is slower than the paper's cannot be told from one that never gets there"
            )


def _spreads(card: Card) -> Iterator[str]:
    """Spreads that count for nothing."""
    for claim in card.claims:
        if claim.rule or claim.spread is None:
            continue
        if claim.spread_kind != "over episodes" and card.protocol_of(claim).is_one_sided(claim.spread_kind):
            yield f"claim {claim.id}: its protocol is of one agent, so that the spread over seeds counts for nothing"
            continue
        if claim.seeds is None and claim.spread_kind in _OF_SO_MANY:
            what = _OF_SO_MANY[claim.spread_kind]
            yield f"claim {claim.id}: its {what} counts for nothing without its number of seeds"


def _never_equal(card: Card) -> Iterator[str]:
    """Numbers without a spread, of so few seeds that nothing can reproduce them."""
    for claim in card.claims:
        if claim.rule or card.is_computed(claim) or card.protocol_of(claim).is_one_sided(claim.spread_kind):
            continue
        theirs = reported(claim)
        if theirs.sample_sd is None and not power.can_be_equal(theirs, claim.margin):
            yield f"claim {claim.id}: {power.NEVER_EQUAL}"


def _counted_twice(card: Card) -> Iterator[str]:
    """One number of one run under two ids: each has its share of the correction, and of the scoreboard."""
    for one, other in itertools.combinations(card.claims, 2):
        if _number(one) == _number(other):
            yield f"claims {one.id} and {other.id} are one number of the same runs: it counts twice"


def _number(claim: Claim) -> tuple[Any, ...]:
    of = claim.implementation, claim.measurement, claim.environments, claim.protocol, claim.aggregate
    return *of, claim.reported, claim.values, claim.rule


def _unlike_the_book(card: Card) -> Iterator[str]:
    """Where a claim and the published number that it names say different things."""
    for claim in (claim for claim in card.claims if claim.published):
        row = load_book().get(claim.published)
        papers = [card.environments[name].paper for name in claim.environments]
        if base_name(row.env) not in map(base_name, papers):
            yield f"claim {claim.id}: it is of {', '.join(papers)}, and {row.id} of {row.env}"
        spread = (row.high - row.low) / 2 if row.low is not None and row.high is not None else row.spread
        told = (
            ("reported", claim.reported, row.mean),
            ("spread", claim.spread, spread),
            ("seeds", claim.seeds, row.seeds),
        )
        for field, mine, theirs in told:
            if mine is not None and theirs is not None and not math.isclose(mine, theirs, rel_tol=1e-3):
                yield f"claim {claim.id}: {field} {mine:.10g}, and {row.id} has {theirs:.10g}"
        if None not in (claim.spread, spread) and claim.spread_kind != row.spread_kind:
            yield f"claim {claim.id}: its spread is a {claim.spread_kind}, and that of {row.id} {row.spread_kind}"


def _of_returns(card: Card) -> Iterator[str]:
    """Numbers that a random policy has too, or that lie far from any that a policy has."""
    for verdict in judge(card, Results(1.0, {})).verdicts:
        claim = verdict.claim
        if not isinstance(claim, Claim) or claim.measurement or card.protocols[claim.protocol].of != "return":
            continue
        environment = card.environments[claim.environments[0]]
        if claim.less_is_better:
            yield f"claim {claim.id}: less_is_better, though its number is a return: is it meant?"
        if verdict.is_control:
            yield (
                f"claim {claim.id}: a random policy's return, {environment.random:g}, would do too: to be reproduced "
                "is not to have learnt"
            )
        yield from _far_off(claim, environment)


def _far_off(claim: Claim, environment: Environment) -> Iterator[str]:
    if claim.aggregate:
        place, score = "the scores 0 (random) to 1 (best)", claim.reported
    elif environment.random is not None:
        place = f"{environment.name}'s random {environment.random:g} to best {environment.best:g}"
        score = environment.normalised_score(claim.reported)
    else:
        return
    if not -FAR <= score <= 1 + FAR:
        yield f"claim {claim.id}: reported {claim.reported:g} lies far outside {place}"


_DOUBTS: tuple[Callable[[Card], Iterator[str]], ...] = (
    _unused, _exchanged, _budgets, _too_short_for_steps, _spreads, _never_equal, _counted_twice, _of_returns,
    _unlike_the_book,
)  # fmt: skip
