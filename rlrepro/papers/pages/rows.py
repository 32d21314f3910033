"""A verdict as texts: a row of a table, in Markdown, on a terminal and on the page."""

from __future__ import annotations

import glob
import math
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rlrepro.errors import count_of
from rlrepro.papers import stats
from rlrepro.papers.calibration.coverage import coverage_note
from rlrepro.papers.cards.card import Card, Claim, Order
from rlrepro.papers.cards.reader import own_cards
from rlrepro.papers.spreads import SHORT
from rlrepro.papers.units.unit import unit_name, units_of
from rlrepro.papers.verdicts.verdict import WORDS, Judgement, Verdict

SYMBOLS = {"reproduced": "✓", "above": "▲", "below": "▼", "inconclusive": "?", "not comparable": "≠", "not run": "–"}


def number(value: float | None, decimals: int = 2) -> str:
    """For people: thousands parted, a true minus; "—" where there is none."""
    if value is None or math.isnan(value):
        return "—"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{value:.4g}" if abs(value) >= 1e9 else f"{value:,.{decimals}f}"
    return (text[1:] if re.fullmatch(r"-0(\.0*)?", text) else text).replace("-", "−")


def exact(value: float) -> str:
    """As the paper printed it."""
    return f"{value:.10g}".replace("-", "−")


def value_text(value: Any) -> str:
    """A hyperparameter's value, for people."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"{value:,}"
    return ", ".join(map(value_text, value)) if isinstance(value, tuple | list) else str(value)


def _side_text(value: Any) -> str:
    if value is None:
        return "none"
    return f"[{value_text(value)}]" if isinstance(value, tuple | list) else value_text(value)


def unlike_text(card: Card, order: Order) -> str:
    """In what the two sides of an order differ, for people: what it compares may be more than is meant."""
    rows = card.unlike(order)
    texts = [f"{name} ({' and '.join(map(_side_text, values))})" for name, *values in rows]
    return f"{order.better} and {order.worse} differ in {', '.join(texts) or 'nothing but their names'}"


def decimals_for(size: float) -> int:
    """Decimals that show differences of a hundredth of `size` (a margin); six are enough down to a millionth."""
    wanted = max(0, 2 - math.floor(math.log10(size)))
    return min(15, wanted) if wanted > 8 else min(6, wanted)


@dataclass(frozen=True)
class Row:
    """A verdict as a table shows it, in Markdown, on a terminal and on the page."""

    id: str
    environment: str
    reported: str
    spread: str  #: "± 6.12", or "" where none was printed
    spread_kind: str  #: what the spread is, and of how many seeds
    measured: str
    interval: str
    seeds: str
    margin: str
    word: str
    qualified: str
    why: str
    is_changed: bool = False  #: since results for it were first kept
    is_joined: bool = False  #: by seeds that came after others were judged

    @property
    def spread_text(self) -> str:
        """The spread with what it is."""
        return f"{self.spread} ({self.spread_kind})".strip() if self.spread_kind else self.spread


def row_of(card: Card, verdict: Verdict) -> Row:
    """The texts of one verdict's row."""
    claim = verdict.claim
    if isinstance(claim, Order):
        test = verdict.test
        measured = f"ahead on {test.wins} of {test.tasks}" if isinstance(test, stats.OrderTest) else "—"
        wanted = f"{claim.better} above {claim.worse} on at least {claim.at_least} of {len(claim.environments)}"
        where = listed(claim.environments)
        said = verdict.word, verdict.qualified, verdict.why, bool(verdict.changed), verdict.is_joined
        return Row(claim.id, where, wanted, "", "", measured, "", "", "", *said)
    decimals = decimals_for(claim.margin)
    spread = f"± {exact(claim.spread)}" if claim.spread is not None else ""
    unprinted = "printed seed by seed" if claim.per_seed else "no spread printed"
    about = [SHORT[claim.spread_kind] if claim.spread is not None else unprinted]
    if claim.seeds or not card.is_computed(claim):
        about.append(count_of(claim.seeds, "seed") if claim.seeds else "seeds not stated")
    if claim.rule:
        about[0] = {"exact": "to the last digit", "about": '"about"'}.get(claim.rule, claim.rule)
    more = f" and {len(claim.values) - 1} more" if claim.values else ""
    measured, interval, seeds = "—", "", ""
    if isinstance(verdict.test, stats.ComputedTest):
        test = verdict.test
        measured = number(test.measured[test.reported.index(claim.reported)], decimals)
        seeds = (
            "computed"
            if not more
            else f"computed; {len(test.measured) - len(test.outside)} of {len(test.measured)} agree"
        )
    if verdict.score is not None and len(verdict.score.values):
        measured = ("≥ " if verdict.score.least else "") + number(verdict.score.mean, decimals)
        if verdict.interval is not None and verdict.interval.low is not None:
            low, high = (number(end, decimals) for end in (verdict.interval.low, verdict.interval.high))
            interval = f"[{low}, ∞)" if verdict.score.least else f"[{low}, {high}]"
        seeds = count_of(len(verdict.score.values), "seed")
        if verdict.score.least:
            seeds += f", {len(verdict.score.least)} of which never reached it"
    if isinstance(verdict.test, stats.Acceptance):
        test = verdict.test
        seeds = f"{test.reached} of {seeds} reach it"
        if test.outright < test.reached:
            seeds += f" within {exact(claim.margin)}, {test.outright} outright"
    if verdict.score is not None and (lacking := len(verdict.score.missing) - len(verdict.score.least)):
        seeds = f"{seeds or 'no seed'}, {lacking} without a score"
    margin = {"one-sided": "− ", "at most": "", "at least": ""}.get(verdict.kind, "± ")
    return Row(
        id=claim.id,
        environment=listed(claim.environments) + (f" ({combined(claim)})" if claim.aggregate else ""),
        reported={"at most": "≤ ", "at least": "≥ ", "about": "~ "}.get(claim.rule, "") + exact(claim.reported) + more,
        spread=spread,
        spread_kind=", ".join(filter(None, about)),
        measured=measured,
        interval=interval,
        seeds=seeds,
        margin=margin and f"{margin}{exact(claim.margin)}",
        word=verdict.word,
        qualified=verdict.qualified if verdict.word == "reproduced" else "",
        why=verdict.why,
        is_changed=bool(verdict.changed),
        is_joined=verdict.is_joined,
    )


def coverages(verdicts: Sequence[Verdict]) -> list[str]:
    """Where 95 % intervals of their means and differences are known to cover more or less, each said once."""
    scored = [(v, len(v.score.values)) for v in verdicts if v.score is not None and len(v.score.values) > 1]
    compared = {n for v, n in scored if isinstance(v.test, stats.ClaimTest) and v.kind == "equivalence"}
    kinds = (
        ("mean", "Interval of the mean", {n for _, n in scored}),
        ("difference", "Interval of the difference", compared),
    )
    notes = (
        f"{name}: {note}." for kind, name, seeds in kinds for n in sorted(seeds) if (note := coverage_note(kind, n))
    )
    return list(dict.fromkeys(notes))


def counts(judgement: Judgement) -> list[tuple[str, int]]:
    """How many claims came out how, in the order of `WORDS`, those with none left out."""
    return [(word, judgement.count(word)) for word in WORDS if judgement.count(word)]


def commands(judgement: Judgement, claim: str | None = None) -> list[str]:
    """The commands that run the card, or one claim of it, again: the seeds of all, then those of some claims alone.

    A claim of several tasks then has on each the seeds that any of them has.
    """
    card, results = judgement.card, judgement.results
    as_many = {
        unit_name(one.name, environment)  # of these the card says how many there are, or there is nothing to repeat
        for one in card.measurements.values()
        for environment in card.environments
        if one.seeds is not None or not one.takes_seeds
    }
    seeds, claims = {}, {}
    for unit in units_of(card, card.claims, card.orders):
        if unit.name in results.units and unit.name not in as_many and claim in (None, *unit.claims):
            seeds[unit.name] = frozenset({*results.units[unit.name].seeds, *results.units[unit.name].planned})
            claims[unit.name] = unit.claims if claim is None else (claim,)
    of_all = frozenset.intersection(*seeds.values()) if seeds else frozenset()
    more: dict[tuple[int, ...], dict[str, None]] = {}
    for name, its in seeds.items():
        if its > of_all:
            more.setdefault(tuple(sorted(its - of_all)), {}).update(dict.fromkeys(claims[name]))
    first = [_command(judgement, claim and [claim], sorted(of_all))] if of_all or not more else []
    return first + [_command(judgement, ids, its) for its, ids in more.items()]


def _command(judgement: Judgement, claims: Iterable[str] | None, seeds: Sequence[int]) -> str:
    parts = ["python", "-m", "rlrepro.reproduce", _card_name(judgement.card)]
    if claims is not None:
        parts += ["--claims", *map(glob.escape, claims)]
    if seeds:
        listed = ",".join(map(str, seeds)) + ("," if len(seeds) == 1 else "")
        parts += ["--seeds", str(len(seeds)) if list(seeds) == list(range(len(seeds))) else listed]
    if judgement.results.scale != 1:
        parts += ["--scale", repr(judgement.results.scale)]
    return shlex.join(parts)


def again(card: Card) -> str:
    """What stands before the commands."""
    beside = _card_name(card) != card.name
    return "Run it again, in the folder of this page; what is made goes to reproductions/" if beside else "Run it again"


def _card_name(card: Card) -> str:
    """What names it for a reader: the kit's own name, or the file that lies beside the page."""
    own = (path.read_text(encoding="utf-8") for path in own_cards() if path.parent.name == card.name)
    return card.name if card.text in own else "card.toml"


def combined(claim: Claim) -> str:
    return "IQM" if claim.aggregate == "iqm" else claim.aggregate


def listed(names: Sequence[str], most: int = 4) -> str:
    more = f" and {len(names) - most} more" if len(names) > most + 1 else ""
    return ", ".join(names[:most] if more else names) + more
