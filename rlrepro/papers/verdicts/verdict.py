"""Claim by claim: was it reproduced? Plain data in, plain data out: a card and its results become a `Judgement`."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from rlrepro.errors import DIVERGED, Problem, count_of, named_seeds
from rlrepro.papers import stats
from rlrepro.papers.cards.card import Card, Claim, Order
from rlrepro.papers.protocol import Protocol, refuse
from rlrepro.papers.scoring import NOT_RUN, History, Score, measured_score, score
from rlrepro.papers.stats import aggregates, power
from rlrepro.papers.units.results import Results, UnitResults
from rlrepro.papers.units.unit import (
    Unit,
    claimed,
    differences,
    measured_settings,
    settings_of,
    shared,
    stated,
    unit_name,
    unit_of,
    units_of,
)
from rlrepro.papers.verdicts import card_aggregates

WORDS = {
    "reproduced": "equal to the paper's number within the margin",
    "above": "better than the paper's number",
    "below": "worse than the paper's number",
    "inconclusive": "the runs do not decide it",
    "not comparable": "run at a smaller scale than the paper's",
    "not run": "no runs yet",
}
#: what *reproduced* means, by the kind of the verdict; any rule of a printed number has the last
REPRODUCED = {
    "equivalence": "equal within a margin",
    "one-sided": f"reached by one seed in {1 / stats.LEAST_SHARE:.0f} or more",
    "order": "ahead as claimed",
    "rule": "by the rule of a printed number",
}
#: beyond so many seeds, none is listed: the results have them
MOST_LISTED = 200
Test = stats.ClaimTest | stats.Acceptance | stats.OrderTest | stats.ComputedTest
_EFFECTS = {"below": "count against it", "above": "count against it", "reproduced": "count for it"}
_CONTROL = "A control: a random policy's return would do too, so that to be reproduced is not to have learnt."
_AT_LEAST = "Seeds that never reached the threshold count with the env steps that they had, fewer than they would need."
_LOOSE = "The best return known lies within the margin too: to be equal is to have solved the task, by whatever agent."


@dataclasses.dataclass(frozen=True)
class Verdict:
    """One claim's answer, with everything that it was made of."""

    claim: Claim | Order
    word: str  #: one of `WORDS`
    kind: str  #: "equivalence", "one-sided", "order", or the rule of a printed number
    why: str  #: in a sentence
    score: Score | None = None
    test: Test | None = None
    decision: stats.Decision | None = None  #: p-values after Holm's correction
    interval: stats.Estimate | None = None  #: of our mean
    seeds_needed: power.SeedsNeeded | None = None
    alone: str = ""  #: where it is open: the word that these seeds gave it, were it the card's only claim
    notes: tuple[str, ...] = ()
    is_control: bool = False  #: a random policy's return would do too
    is_loose: bool = False  #: the best return known lies within the margin too
    changed: str = ""  #: how it differs from what was claimed when results were first kept; `why` says it too
    is_early: bool = False  #: fewer seeds were run, on a side, than any *reproduced* takes
    is_lacking: bool = False  #: whether seeds that it rests on have no score
    is_held: bool = False  #: whether results keep what was claimed then, so that a change is known
    is_joined: bool = False  #: whether seeds came after others were judged; `why` says how many

    @property
    def means(self) -> str:
        """What *reproduced* means of this claim."""
        return REPRODUCED.get(self.kind, REPRODUCED["rule"])

    @property
    def qualified(self) -> str:
        """What a *reproduced* rests on beside the data, or ""."""
        return self.test.assumed if isinstance(self.test, stats.ClaimTest) else ""


@dataclasses.dataclass(frozen=True)
class Judgement:
    """Everything that a report says."""

    card: Card
    results: Results
    verdicts: tuple[Verdict, ...]
    aggregates: tuple[card_aggregates.Aggregate, ...]
    improvements: tuple[card_aggregates.Improvement, ...]
    notes: tuple[str, ...]  #: of the runs as a whole

    @property
    def scale(self) -> float:
        """At which its claims were run; 1 where functions alone measure them, whatever the results say."""
        return self.results.scale if any(is_scaled(verdict.claim) for verdict in self.verdicts) else 1.0

    def count(self, word: str) -> int:
        return sum(verdict.word == word for verdict in self.verdicts)


def judge(card: Card, results: Results) -> Judgement:
    """The verdicts of all claims, Holm-corrected over those that a test decides, run or not. Deterministic.

    A claim that was taken off the card after its results still has its share of the correction.
    """
    dropped = _dropped(card, results)
    gone = (f"Claim {one} was on the card when results for it were kept, and no longer is." for one in sorted(dropped))
    notes = [*_check(card, results), *gone]
    claims = [_score_claim(card, claim, results) for claim in card.claims]
    orders = [_score_order(card, order, results) for order in card.orders]
    verdicts = []
    for one in _decide([*claims, *orders], card.num_tested, sum(dropped.values()), results.scale):
        changed, odd = _changed(card, one.claim, results), _odd_seeds(one.claim, results)
        joined, held = _joined(one.claim, results), _is_held(card, one.claim, results)
        why = "; ".join(filter(None, (one.why, *odd, *joined, changed)))
        verdicts.append(dataclasses.replace(one, why=why, changed=changed, is_held=held, is_joined=bool(joined)))
    missing = sorted(
        {(unit, h.seed, h.stopped) for unit, one in results.units.items() for h in one.histories if h.stopped}
    )
    notes += [f"{unit}: seed {seed} did not finish: {why}" for unit, seed, why in missing]
    notes += [
        f"{unit}: {named_seeds(one['seeds'])} broke, and went on when told to: {one['reason']}"
        for unit, found in results.units.items()
        for run in found.runs
        for one in run.get("mended", ())
    ]
    over_tasks, improvements, left_out = card_aggregates.of_agents(card, results)
    return Judgement(card, results, tuple(verdicts), over_tasks, improvements, (*notes, *left_out))


def _odd_seeds(claim: Claim | Order, results: Results) -> list[str]:
    """What is to be said of seeds that were scored, and are not as the others."""
    units = _units_of(claim, results)

    def told(is_so: Callable[[History], Any], what: str) -> str:
        seeds = {of: [str(h.seed) for h in unit.histories if is_so(h)] for of, unit in units.items()}
        return ", ".join(
            f"{count_of(len(its), 'seed')}{of} {what} ({', '.join(its)})" for of, its in seeds.items() if its
        )

    texts = {
        told(lambda h: h.diverged, "diverged"): DIVERGED,
        told(lambda h: h.taken, "took far more env steps"): "what came after those asked for is left out",
    }
    return [f"{seeds}: {text}" for seeds, text in texts.items() if seeds]


def _joined(claim: Claim | Order, results: Results) -> list[str]:
    """How many of its seeds were asked for once others had been judged."""
    units = _units_of(claim, results).items()
    return [
        f"{count_of(len(unit.added), 'seed')}{of} came after others were judged" for of, unit in units if unit.added
    ]


def _units_of(claim: Claim | Order, results: Results) -> dict[str, UnitResults]:
    """What was run of a claim's units, by " of NAME" where it has several."""
    sides = (claim.better, claim.worse) if isinstance(claim, Order) else (claim.implementation,)
    names = [unit_name(side, environment) for side in sides for environment in claim.environments]
    return {f" of {name}" * (len(names) > 1): results.units[name] for name in names if name in results.units}


def judge_score(claim: Claim, claimed: Protocol, scored: Score) -> stats.ClaimTest:
    """The test of one claim; `Problem` where the score was made by a protocol that is not the claim's own."""
    why = refuse(claimed, scored.protocol)
    if why is not None:
        raise Problem(f"claim {claim.id} cannot be judged by this score: {why}")
    if claim.rule == "about":
        return stats.band_test(scored.values, claim.reported, claim.margin)
    if claim.rule:
        return stats.bound_test(scored.values, claim.reported, claim.rule, claim.margin)
    return stats.claim_test(scored.values, reported(claim), claim.margin)


def reported(claim: Claim) -> stats.Reported:
    """The paper's number as the statistics take it."""
    return stats.Reported(claim.reported, claim.spread, claim.spread_kind, claim.seeds, claim.per_seed or None)


def _check(card: Card, results: Results) -> list[str]:
    """`Problem` where results are not of this card; notes on what differs between runs."""
    units = units_of(card, card.claims, card.orders)
    others = sorted(set(results.units) - {unit.name for unit in units})
    notes = [f"The results hold {', '.join(others)}, which no claim of the card asks for."] if others else []
    versions: dict[str, set[str]] = {}
    for unit in units:
        found = results.units.get(unit.name)
        if found is None:
            continue
        _check_settings(card, unit, found, results.scale)
        for run in found.runs:
            for package, version in run.get("versions", {}).items():
                versions.setdefault(package, set()).add(version)
            for file, digest in (run.get("code") or {}).items():
                versions.setdefault(file, set()).add(str(digest)[:10])
            git = run.get("git") or {}
            if git.get("commit"):
                shown = str(git["commit"])[:10] + (" and uncommitted changes" if git.get("changed") else "")
                versions.setdefault("this code", set()).add(shown)
    for package, several in sorted(versions.items()):
        if len(several) > 1:
            notes.append(f"Runs of several versions of {package} stand side by side: {', '.join(sorted(several))}.")
    return notes


def _check_settings(card: Card, unit: Unit, found: UnitResults, scale: float) -> None:
    try:
        wanted = (
            measured_settings(card, unit)
            if unit.is_measured
            else shared(settings_of(card, unit, found.seeds or (0,), scale), card.folder)
        )
    except Problem:  # its environment is not installed here: what the card itself states is held against the runs
        wanted = stated(card, unit, found.settings, scale)
    for name, value, theirs in differences(wanted, found.settings, card.folder):
        raise Problem(
            f"the results of {unit.name} were run with {name} = {theirs!r}, but the card says {value!r}: "
            "run the card again"
        )


# --- what was claimed when results were first kept


def _is_held(card: Card, claim: Claim | Order, results: Results) -> bool:
    """Whether its results tell what was claimed when they were first kept: older ones do not."""
    names = [unit.name for unit in units_of(card, card.claims, card.orders) if claim.id in unit.claims]
    return any(results.units[name].claimed for name in names if name in results.units)


def _changed(card: Card, claim: Claim | Order, results: Results) -> str:
    """How a claim differs from what it was then; "" where it does not, or where no result tells."""
    told: dict[str, None] = {}
    for unit in units_of(card, card.claims, card.orders):
        found = results.units.get(unit.name)
        if found is None or not found.claimed or claim.id not in unit.claims:
            continue
        if claim.id not in found.claimed:
            return "claimed after results for it were kept"
        for name, was in _differing(found.claimed[claim.id], claimed(card, unit)[claim.id]):
            told[f"{name} was {_term(was)}"] = None
    return f"{', '.join(told)} when results for it were first kept" if told else ""


def _differing(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """What is not as it was, and what that was; the fields of tables by themselves."""
    for name in {**then, **now}:
        was, has = then.get(name), now.get(name)
        if isinstance(was, dict) and isinstance(has, dict):
            yield from ((f"{name}.{field}", value) for field, value in _differing(was, has))
        elif was != has:
            yield name, was


def _term(value: Any) -> str:
    if value is None:
        return "not given"
    return f"{value:.10g}" if isinstance(value, float) else json.dumps(value, ensure_ascii=False)


def _dropped(card: Card, results: Results) -> dict[str, bool]:
    """The claims that were on the card when results for them were first kept and no longer are: was each tested?"""
    ids = {claim.id for claim in card.claims} | {order.id for order in card.orders}
    kept = {key: terms for unit in results.units.values() for key, terms in unit.claimed.items()}
    return {key: _was_tested(terms) for key, terms in kept.items() if key not in ids}


def _was_tested(terms: Mapping[str, Any]) -> bool:
    """`Card.is_tested` of a claim that is known by what was kept of it alone."""
    if terms.get("rule") == "exact":  # computed; by another rule it may be, and has its share
        return False
    return not Protocol.from_table(terms["protocol"]).is_one_sided(terms.get("spread_kind"))


# --- claims


@dataclasses.dataclass(frozen=True)
class _Scored:
    """A claim that was scored and tested, before the correction over all."""

    claim: Claim | Order
    kind: str
    score: Score | None = None
    test: Test | None = None
    lack: str = ""  #: why it cannot be decided
    notes: tuple[str, ...] = ()
    is_control: bool = False
    is_loose: bool = False
    confirmed: str = "below"  #: the word that the seeds without a score would confirm; "": none
    was_run: bool = True
    num_seeds: int = stats.MIN_SEEDS  #: that were run, the fewest of a side; of what is computed enough


def _score_claim(card: Card, claim: Claim, results: Results) -> _Scored:
    if card.is_computed(claim):
        return _compared(claim, results.units.get(unit_of(claim)))
    protocol = card.protocol_of(claim).scaled(results.scale)
    kind = claim.rule or "equivalence"
    kind = "one-sided" if protocol.is_one_sided(claim.spread_kind) else kind
    control, loose = _meets(card, claim, kind, "random"), kind == "equivalence" and _meets(card, claim, kind, "best")
    scored = _claim_score(card, claim, protocol, results)
    if scored is None:
        return _Scored(claim, kind, was_run=False, is_control=control, is_loose=loose)
    if len(scored.values) == 0:
        return _Scored(claim, kind, scored, lack=f"no seed has a score ({scored.missing_text})")
    if kind == "one-sided":
        test: Test = stats.acceptance(scored.values, claim.reported, claim.margin)
    else:
        test = judge_score(claim, protocol, scored)
    notes = tuple(
        note for note, told in ((_CONTROL, control), (_LOOSE, loose), (_AT_LEAST, bool(scored.least))) if told
    )
    if lack := _still_to_measure(card, claim, scored):
        return _Scored(claim, kind, scored, test, lack, notes, control, loose, confirmed="", num_seeds=scored.num_run)
    # a seed whose training broke is as bad as can be; one with too few episodes may be a good one, with long ones
    worst = protocol.of != "length" and not claim.measurement and scored.broken >= set(scored.missing)
    confirmed = _as_bad_as_can_be(claim) if worst else ""
    lack = scored.missing_text
    return _Scored(claim, kind, scored, test, lack, notes, control, loose, confirmed, num_seeds=scored.num_run)


def _still_to_measure(card: Card, claim: Claim, scored: Score) -> str:
    """How many seeds a number still lacks that is the mean of so many, or ""."""
    wanted = card.measurements[claim.measurement].seeds if claim.measurement else None
    there = scored.num_run
    return f"{there:,} of the {wanted:,} that make its number were measured" if there < (wanted or 0) else ""


def _as_bad_as_can_be(claim: Claim) -> str:
    """The word that the worst of scores confirms; it lies within a bound that bad ones keep."""
    word, bound = ("above", "at least") if claim.less_is_better else ("below", "at most")
    return "reproduced" if claim.rule == bound else word


def _meets(card: Card, claim: Claim, kind: str, end: Literal["random", "best"]) -> bool:
    """Whether a policy that has learnt nothing, or the best known, would meet the claim by its return."""
    if claim.aggregate or claim.measurement or card.protocols[claim.protocol].of != "return":
        return False
    value = getattr(card.environments[claim.environments[0]], end)
    if value is None:
        return False
    if kind == "at most":
        return bool(value <= claim.reported)
    if kind in ("at least", "one-sided"):
        return bool(value >= claim.reported - (claim.margin if kind == "one-sided" else 0))
    return bool(abs(claim.reported - value) <= claim.margin)


def _compared(claim: Claim, unit: UnitResults | None) -> _Scored:
    """A claim of what is computed: there is nothing to test."""
    if unit is None:
        return _Scored(claim, claim.rule, was_run=False)
    values = unit.histories[0].measured
    if len(values) != len(claim.printed):
        lack = f"{claim.measurement} computed {len(values)} numbers, and {len(claim.printed)} are printed"
        return _Scored(claim, claim.rule, lack=lack)
    if not np.isfinite(values).all():
        return _Scored(claim, claim.rule, lack=f"{claim.measurement} computed {values[~np.isfinite(values)][0]}")
    test = stats.ComputedTest(tuple(values.tolist()), claim.printed, claim.margin, claim.rule)
    return _Scored(claim, claim.rule, test=test)


def _claim_score(card: Card, claim: Claim, protocol: Protocol, results: Results) -> Score | None:
    """A claim's score; of several environments, each seed's normalised scores become one. None: not run."""
    if claim.measurement:
        measured = results.units.get(unit_of(claim))
        return None if measured is None else measured_score(protocol, measured.histories, measured.planned)
    scores = {}
    for environment in claim.environments:
        unit = results.units.get(unit_name(claim.implementation, environment))
        if unit is None:
            return None
        scores[environment] = score(protocol, unit.histories, unit.planned)
    if not claim.aggregate:
        return scores[claim.environments[0]]
    per_seed, missing = {}, {}
    broken: set[int] = set()
    for seed in sorted({s for one in scores.values() for s in (*one.per_seed, *one.missing)}):
        lacks = [e for e, one in scores.items() if seed not in one.per_seed]
        if lacks:
            waits = any(scores[e].missing.get(seed) == NOT_RUN for e in lacks)
            missing[seed] = NOT_RUN if waits else f"no score on {lacks[0]}"
            broken |= {seed} if all(seed in scores[e].broken for e in lacks) else set()
            continue
        values = [card.environments[e].normalised_score(one.per_seed[seed]) for e, one in scores.items()]
        per_seed[seed] = aggregates.over_tasks(claim.aggregate, values)
    return Score(protocol, per_seed, missing, broken=frozenset(broken))


def _score_order(card: Card, order: Order, results: Results) -> _Scored:
    protocol = card.protocols[order.protocol].scaled(results.scale)
    sides: list[list[np.ndarray]] = []
    lacks: dict[str, str] = {}
    are_broken, has_least, num_seeds = True, False, stats.MIN_SEEDS
    for implementation in (order.better, order.worse):
        scores = {}
        for environment in order.environments:
            unit = results.units.get(unit_name(implementation, environment))
            if unit is None:
                return _Scored(order, "order", was_run=False)
            scores[environment] = score(protocol, unit.histories, unit.planned)
        sides.append([-one.values if protocol.of == "steps" else one.values for one in scores.values()])
        has_least |= any(one.least for one in scores.values())
        num_seeds = min(num_seeds, *(one.num_run for one in scores.values()))
        missing = [f"{implementation} on {e}, {one.missing_text}" for e, one in scores.items() if one.missing]
        if missing:
            lacks[implementation] = "; ".join(missing)
            are_broken &= all(one.broken >= set(one.missing) for one in scores.values())
    lack = "; ".join(lacks.values())
    if any(len(values) < 2 for side in sides for values in side):
        few = "an order needs at least two seeds with a score of each"
        return _Scored(order, "order", lack=f"{few} ({lack})" if lack else few)
    # the broken seeds of one side speak for the other
    confirmed = "" if len(lacks) != 1 or not are_broken else "below" if order.better in lacks else "reproduced"
    test = stats.order_test(sides[0], sides[1], order.at_least)
    notes = (_AT_LEAST,) if has_least else ()
    return _Scored(order, "order", None, test, lack, notes, confirmed=confirmed, num_seeds=num_seeds)


class _Family(NamedTuple):
    """The claims of a card that share the error by Holm's correction."""

    size: int
    dropped: int  #: of these, how many are on the card no longer
    equal: int  #: of these, how many were shown to be equal so far: the next step has so many fewer to share with
    different: int

    @property
    def told(self) -> str:
        """How many the correction counts."""
        return f"{self.size}{f' ({self.dropped} taken off it)' if self.dropped else ''}"


def _decide(scored: Sequence[_Scored], there: int, dropped: int, scale: float) -> list[Verdict]:
    tests = {one.claim.id: one.test for one in scored if isinstance(one.test, stats.ClaimTest | stats.OrderTest)}
    size = there + dropped
    decisions = stats.decide(list(tests.values()), size - len(tests))
    by_claim = dict(zip(tests, decisions, strict=True))
    equal = sum(decision.p_equivalence <= stats.ALPHA for decision in decisions)
    different = sum(decision.p_difference <= stats.ALPHA for decision in decisions)
    return [
        _verdict(one, by_claim.get(one.claim.id), _Family(size, dropped, equal, different), scale) for one in scored
    ]


class _Said(NamedTuple):
    """What a test says of a claim."""

    word: str
    why: str
    notes: tuple[str, ...] = ()
    seeds_needed: power.SeedsNeeded | None = None
    alone: str = ""


def _verdict(one: _Scored, decision: stats.Decision | None, family: _Family, scale: float) -> Verdict:
    interval = stats.mean_interval(one.score.values) if one.score is not None and len(one.score.values) else None
    if interval is not None and one.score is not None and one.score.least:
        interval = dataclasses.replace(interval, high=None)
    made = Verdict(
        one.claim,
        "not run",
        one.kind,
        "no runs yet",
        one.score,
        one.test,
        decision,
        interval,
        is_control=one.is_control,
        is_loose=one.is_loose,
        is_early=one.num_seeds < stats.MIN_SEEDS,
        is_lacking=bool(one.lack),
    )
    if not one.was_run:
        return made
    scale = scale if is_scaled(one.claim) else 1.0
    said = _said(one, decision, family, scale)
    word, why = said.word, said.why
    if one.lack and one.test is not None:
        word, why = _with_lacking_seeds(one, word, why)
    if made.is_early and word in ("above", "below"):
        why = f"{why}; decided by fewer than {stats.MIN_SEEDS} seeds"
    if scale != 1:
        word, why = "not comparable", f"run at {scale:g} of the paper's steps; {why}"
    notes = tuple(dict.fromkeys((*one.notes, *said.notes)))
    return dataclasses.replace(made, word=word, why=why, notes=notes, seeds_needed=said.seeds_needed, alone=said.alone)


def _said(one: _Scored, decision: stats.Decision | None, family: _Family, scale: float) -> _Said:
    if one.test is None:
        return _Said("inconclusive", one.lack)
    if isinstance(one.test, stats.Acceptance):
        return _accepted(one.test)
    if isinstance(one.test, stats.ComputedTest):
        return _Said(one.test.verdict, _as_printed(one.test))
    assert decision is not None
    if isinstance(one.test, stats.OrderTest):
        return _ordered(one.test, decision)
    return _of_mean(one, one.test, decision, family, scale)


def _of_mean(one: _Scored, test: stats.ClaimTest, decision: stats.Decision, family: _Family, scale: float) -> _Said:
    assert isinstance(one.claim, Claim)
    said = _Said(decision.verdict, _sentence(test, decision, one.claim.rule), test.notes)
    if one.score is not None and one.score.least and said.word != one.confirmed:
        return said._replace(why=_too_few_steps(one.score))
    if said.word != "inconclusive" or scale != 1:
        return said
    why, needed, alone = [said.why], _needed(one.claim, test, family), stats.decide([test])[0].verdict
    if needed is not None:
        why.append(_needs(needed, test.measured_seeds))
    is_open = alone == "inconclusive" or bool(one.lack)
    if not is_open:
        why.append(f"{alone} if it were the card's only claim: the correction for {family.told} leaves it open")
    return said._replace(why="; ".join(why), seeds_needed=needed, alone="" if is_open else alone)


def _with_lacking_seeds(one: _Scored, word: str, why: str) -> tuple[str, str]:
    """A verdict stands against seeds that have no score only where the worst that they can be would confirm it."""
    effect = _EFFECTS.get(one.confirmed, "leave it open")
    return word if word == one.confirmed else "inconclusive", f"{why}; seeds without a score {effect} ({one.lack})"


def _too_few_steps(score: Score) -> str:
    """Why seeds that never reached a threshold leave a claim open."""
    count = f"{len(score.least)} of {len(score.values)} seeds"
    return f"{count} never reached {score.protocol.threshold:g}, and what they had decides nothing: train for longer"


def is_scaled(claim: Claim | Order) -> bool:
    """Whether `--scale` makes its runs shorter: a function measures as it always does."""
    return isinstance(claim, Order) or not claim.measurement


def _as_printed(test: stats.ComputedTest) -> str:
    """What came of a comparison, in a sentence without its full stop."""
    return _in_words(test).replace("-", "−")


def _digits(value: float, margin: float) -> str:
    """A computed number with the digits that a margin asks for, six at least."""
    wanted = math.log10(abs(value) / margin) + 2 if value and margin else 0
    return f"{value:.{min(15, max(6, math.ceil(wanted)))}g}"


def _in_words(test: stats.ComputedTest) -> str:
    count, worst = len(test.measured), test.worst
    first, furthest_off = (_digits(test.measured[index], test.margin) for index in (0, worst))
    wanted = {"exact": "as printed", "about": f"within ± {test.margin:g} of"}.get(test.rule, test.rule)
    if count > 1:
        inside = f"{count - len(test.outside)} of {count} numbers are {wanted}" + " those printed" * (
            test.rule != "exact"
        )
        furthest = f"number {worst + 1}, is {furthest_off}, printed {_digits(test.reported[worst], test.margin)}"
        return f"{inside}; the furthest off, {furthest}"
    off = f"{first} is computed"
    if test.rule == "exact":
        return f"{off}, which {'rounds' if not test.outside else 'does not round'} to the number printed"
    if test.rule == "about":
        return f"{off}, {'within' if not test.outside else 'not within'} ± {test.margin:g} of the number printed"
    return f"{off}, {'' if not test.outside else 'not '}{test.rule} the number printed"


def _sentence(test: stats.ClaimTest, decision: stats.Decision, rule: str = "") -> str:
    few = ""
    if test.measured_seeds < stats.MIN_SEEDS and decision.verdict == "inconclusive":
        few = f"{count_of(test.measured_seeds, 'seed')} of ours: a verdict needs {stats.MIN_SEEDS}"
    if few and (rule or test.p_difference == 1.0):  # nothing was tested
        return few
    if rule in ("at most", "at least"):
        kept = {"reproduced": f"{rule} that", "inconclusive": f"neither {rule} that nor beyond it for sure"}
        p = decision.p_difference if decision.verdict in ("above", "below") else decision.p_equivalence
        return f"{kept.get(decision.verdict, f'beyond the bound by {abs(test.difference):.4g}')} ({_p(p)})"
    if decision.verdict == "reproduced":
        text = f"equal within ± {test.margin:g} ({_p(decision.p_equivalence)})"
        return f"{text}, if {test.assumed}" if test.assumed else text
    if decision.verdict in ("above", "below"):
        return f"{abs(test.difference):.4g} {decision.verdict} the paper ({_p(decision.p_difference)})"
    if few:
        shown = f"by {count_of(test.measured_seeds, 'seed')}; to be equal, {stats.MIN_SEEDS} are needed"
        return f"not different ({_p(decision.p_difference)}) {shown}"
    return (
        f"neither equal within ± {test.margin:g} ({_p(decision.p_equivalence)}) "
        f"nor different ({_p(decision.p_difference)})"
    )


def _needed(claim: Claim, test: stats.ClaimTest, family: _Family) -> power.SeedsNeeded | None:
    """Seeds by which either test would decide it if the difference is as it looks, at Holm's next step.

    Where none would, the note says what leaves it open: the correction, without which some would; the guards of the
    test, or both; or the paper's own uncertainty. Where to do without either would decide it, the correction is named.
    """
    if test.measured_sd is None or claim.rule in ("at most", "at least"):
        return None
    sd, theirs = test.measured_sd, None if claim.rule else reported(claim)

    def by(kind: Literal["equivalence", "difference"], alpha: float) -> power.SeedsNeeded:
        return power.seeds_needed(sd, theirs, claim.margin, test.difference, kind, alpha=alpha, from_printed=True)

    def fewest(*alphas: float) -> power.SeedsNeeded:
        either = by("equivalence", alphas[0]), by("difference", alphas[1])
        far = abs(test.difference) >= test.margin  # where neither decides, the one that could says why
        blamed = max((either[far], either[not far]), key=lambda one: one.open_by == "guards")
        enough = (one for one in either if one.seeds is not None)
        return min(enough, key=lambda one: one.seeds or 0, default=blamed)

    needed = fewest(*(stats.ALPHA / (family.size - done) for done in (family.equal, family.different)))
    if needed.seeds is not None or family.size == 1:
        return needed
    alone = fewest(stats.ALPHA, stats.ALPHA)
    note = f"no number of our seeds decides it among the card's {family.told} claims as the others stand"
    if alone.seeds is not None:
        return dataclasses.replace(needed, note=f"{note}, {alone.seeds:,} would if it were alone", open_by="correction")
    if needed.open_by == "paper" and alone.open_by == "guards":
        note += ", and the guards of the test leave it open if it were alone"
        return dataclasses.replace(needed, note=note, open_by="guards and correction")
    return needed


def _needs(needed: power.SeedsNeeded, have: int) -> str:
    if needed.seeds is None:
        return needed.note
    if needed.seeds <= have:
        return f"a second set of {needed.seeds} seeds would decide it four times in five"
    return f"about {needed.seeds:,} seeds would decide it"


def _accepted(test: stats.Acceptance) -> _Said:
    word = {"accepted": "reproduced", "below": "below", "inconclusive": "inconclusive"}[test.verdict]
    reach = f"{test.reached} of {test.seeds} seeds reach the published agent ({test.threshold:.5g} with the tolerance)"
    why = reach + (f", {test.outright} without it" if test.outright < test.reached else "")
    return _Said(word, why, (test.note,) if test.note else ())


def _ordered(test: stats.OrderTest, decision: stats.Decision) -> _Said:
    told = _p(decision.p_difference if decision.verdict == "below" else decision.p_equivalence)
    if test.fewest < stats.MIN_SEEDS and decision.verdict == "inconclusive":
        told = f"{count_of(test.fewest, 'seed')} on a side: to be shown, {stats.MIN_SEEDS} are needed"
    elif decision.verdict == "inconclusive":
        told = f"{told}, of the contrary {_p(decision.p_difference)}"
    if test.tasks == 1:
        (ahead,) = test.differences
        size = f"{abs(ahead):,.0f}" if abs(ahead) >= 1000 else f"{abs(ahead):.4g}"
        why = f"{'ahead' if ahead > 0 else 'behind'} by {size} ({told})" if ahead else f"level ({told})"
    else:
        why = f"ahead on {test.wins} of {test.tasks} tasks, {test.at_least} claimed ({told})"
    return _Said(decision.verdict, why, test.notes)


def _p(p: float) -> str:
    text = stats.p_text(p)
    return f"p {text}" if text.startswith("<") else f"p = {text}"
