"""Claim by claim: was it reproduced? Plain data in, plain data out: a card and its results become a `Judgement`."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from rlrepro.errors import Problem, count_of
from rlrepro.papers import aggregates, power, stats
from rlrepro.papers.cards import Card, Claim, Environment, Order
from rlrepro.papers.protocol import Protocol, Score, measured_score, refuse, score
from rlrepro.papers.results import Results, UnitResults
from rlrepro.papers.units import (
    Unit,
    differences,
    measured_settings,
    settings_of,
    shared,
    stated,
    unit_name,
    unit_of,
    units_of,
)

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
_EFFECTS = {"below": "count against it", "above": "count against it", "reproduced": "count for it"}
_CONTROL = "A control: a random policy's return lies within the margin too, so that to be equal is not to have learnt."
_LOOSE = "The best return known lies within the margin too: to be equal is to have solved the task, by whatever agent."


@dataclasses.dataclass(frozen=True)
class Verdict:
    """One claim's answer, with everything that it was made of."""

    claim: Claim | Order
    word: str  #: one of `WORDS`
    kind: str  #: "equivalence", "one-sided", "order", or the rule of a printed number
    why: str  #: in a sentence
    score: Score | None = None
    test: stats.ClaimTest | stats.Acceptance | stats.OrderTest | stats.ComputedTest | None = None
    decision: stats.Decision | None = None  #: p-values after Holm's correction
    interval: stats.Estimate | None = None  #: of our mean
    seeds_needed: power.SeedsNeeded | None = None
    notes: tuple[str, ...] = ()
    is_control: bool = False  #: a random policy's return lies within the margin too
    is_loose: bool = False  #: the best return known lies within the margin too

    @property
    def means(self) -> str:
        """What *reproduced* means of this claim."""
        return REPRODUCED.get(self.kind, REPRODUCED["rule"])

    @property
    def qualified(self) -> str:
        """What a *reproduced* rests on beside the data, or ""."""
        return self.test.assumed if isinstance(self.test, stats.ClaimTest) else ""


@dataclasses.dataclass(frozen=True)
class Aggregate:
    """One agent over a card's tasks: normalised scores (0: random, 1: best), with intervals."""

    agent: str
    tasks: tuple[str, ...]
    scores: tuple[tuple[float, ...], ...]  #: one tuple a task, a value a seed
    estimates: Mapping[str, stats.Estimate]
    thresholds: tuple[float, ...]
    profile: tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Improvement:
    """The probability that a run of `better` beats one of `worse` on the tasks that both have."""

    better: str
    worse: str
    tasks: tuple[str, ...]
    estimate: stats.Estimate


@dataclasses.dataclass(frozen=True)
class Judgement:
    """Everything that a report says."""

    card: Card
    results: Results
    verdicts: tuple[Verdict, ...]
    aggregates: tuple[Aggregate, ...]
    improvements: tuple[Improvement, ...]
    notes: tuple[str, ...]  #: of the runs as a whole

    @property
    def scale(self) -> float:
        """At which its claims were run; 1 where functions alone measure them, whatever the results say."""
        return self.results.scale if any(is_scaled(verdict.claim) for verdict in self.verdicts) else 1.0

    def count(self, word: str) -> int:
        return sum(verdict.word == word for verdict in self.verdicts)


def judge(card: Card, results: Results) -> Judgement:
    """The verdicts of all claims, Holm-corrected over those that a test decides, run or not. Deterministic."""
    notes = list(_check(card, results))
    claims = [_score_claim(card, claim, results) for claim in card.claims]
    orders = [_score_order(card, order, results) for order in card.orders]
    verdicts = _decide([*claims, *orders], card.num_tested, results.scale)
    missing = sorted(
        {(unit, h.seed, h.stopped) for unit, one in results.units.items() for h in one.histories if h.stopped}
    )
    notes += [f"{unit}: seed {seed} did not finish: {why}" for unit, seed, why in missing]
    over_tasks, improvements, left_out = _aggregates(card, results)
    return Judgement(card, results, tuple(verdicts), over_tasks, improvements, (*notes, *left_out))


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


# --- claims


@dataclasses.dataclass(frozen=True)
class _Open:
    """A claim that was scored and tested, before the correction over all."""

    claim: Claim | Order
    kind: str
    score: Score | None = None
    test: Any = None
    lack: str = ""  #: why it cannot be decided
    notes: tuple[str, ...] = ()
    is_control: bool = False
    is_loose: bool = False
    confirmed: str = "below"  #: the word that the seeds without a score would confirm; "": none
    was_run: bool = True


def _score_claim(card: Card, claim: Claim, results: Results) -> _Open:
    if card.is_computed(claim):
        return _compared(claim, results.units.get(unit_of(claim)))
    protocol = scaled(card.protocol_of(claim), results.scale)
    kind = claim.rule or "equivalence"
    kind = "one-sided" if protocol.is_one_sided(claim.spread_kind) else kind
    control, loose = (kind == "equivalence" and _meets(card, claim, end) for end in ("random", "best"))
    scored = _claim_score(card, claim, protocol, results)
    if scored is None:
        return _Open(claim, kind, was_run=False, is_control=control, is_loose=loose)
    if len(scored.per_seed) == 0:
        return _Open(claim, kind, scored, lack=f"no seed has a score ({scored.missing_text})")
    if kind == "one-sided":
        test: Any = stats.acceptance(scored.values, claim.reported, claim.margin)
    else:
        test = judge_score(claim, protocol, scored)
    notes = tuple(note for note, told in ((_CONTROL, control), (_LOOSE, loose)) if told)
    # a seed whose training broke is as bad as can be; one with too few episodes may be a good one, with long ones
    worst = protocol.of == "return" and not claim.measurement and scored.broken >= set(scored.missing)
    confirmed = _as_bad_as_can_be(claim) if worst else ""
    return _Open(claim, kind, scored, test, scored.missing_text, notes, control, loose, confirmed)


def _as_bad_as_can_be(claim: Claim) -> str:
    """The word that the worst of scores confirms; it lies within a bound that bad ones keep."""
    word, bound = ("above", "at least") if claim.less_is_better else ("below", "at most")
    return "reproduced" if claim.rule == bound else word


def _meets(card: Card, claim: Claim, end: Literal["random", "best"]) -> bool:
    """Whether a policy that has learnt nothing, or the best known, would meet the claim by its return."""
    if claim.aggregate or claim.measurement or card.protocols[claim.protocol].of != "return":
        return False
    value = getattr(card.environments[claim.environments[0]], end)
    return value is not None and abs(claim.reported - value) <= claim.margin


def _compared(claim: Claim, unit: UnitResults | None) -> _Open:
    """A claim of what is computed: there is nothing to test."""
    if unit is None:
        return _Open(claim, claim.rule, was_run=False)
    values = unit.histories[0].measured
    if len(values) != len(claim.printed):
        lack = f"{claim.measurement} computed {len(values)} numbers, and {len(claim.printed)} are printed"
        return _Open(claim, claim.rule, lack=lack)
    if not np.isfinite(values).all():
        return _Open(claim, claim.rule, lack=f"{claim.measurement} computed {values[~np.isfinite(values)][0]}")
    test = stats.ComputedTest(tuple(values.tolist()), claim.printed, claim.margin, claim.rule)
    return _Open(claim, claim.rule, test=test)


def _claim_score(card: Card, claim: Claim, protocol: Protocol, results: Results) -> Score | None:
    """A claim's score; of several environments, each seed's normalised scores become one. None: not run."""
    if claim.measurement:
        measured = results.units.get(unit_of(claim))
        return None if measured is None else measured_score(protocol, measured.histories)
    scores = {}
    for environment in claim.environments:
        unit = results.units.get(unit_name(claim.implementation, environment))
        if unit is None:
            return None
        scores[environment] = score(protocol, unit.histories)
    if not claim.aggregate:
        return scores[claim.environments[0]]
    per_seed, missing = {}, {}
    broken: set[int] = set()
    for seed in sorted({s for one in scores.values() for s in (*one.per_seed, *one.missing)}):
        lacks = [e for e, one in scores.items() if seed not in one.per_seed]
        if lacks:
            missing[seed] = f"no score on {lacks[0]}"
            broken |= {seed} if all(seed in scores[e].broken for e in lacks) else set()
            continue
        values = [normalise(card.environments[e], one.per_seed[seed]) for e, one in scores.items()]
        per_seed[seed] = aggregates.over_tasks(claim.aggregate, values)
    return Score(protocol, per_seed, missing, broken=frozenset(broken))


def scaled(protocol: Protocol, scale: float) -> Protocol:
    """The protocol of runs of a fraction of the steps."""
    if scale == 1:
        return protocol
    steps = {
        name: max(1, round(value * scale))
        for name in ("after_step", "to_step", "eval_every")
        if (value := getattr(protocol, name)) is not None
    }
    return dataclasses.replace(protocol, **steps)


def normalise(environment: Environment, value: float) -> float:
    """A return as a score: 0 for a random policy, 1 for the best known."""
    assert environment.random is not None
    assert environment.best is not None
    return (value - environment.random) / (environment.best - environment.random)


def _score_order(card: Card, order: Order, results: Results) -> _Open:
    protocol = scaled(card.protocols[order.protocol], results.scale)
    sides: list[list[np.ndarray]] = []
    lacks: dict[str, str] = {}
    are_broken = True
    for implementation in (order.better, order.worse):
        scores = {}
        for environment in order.environments:
            unit = results.units.get(unit_name(implementation, environment))
            if unit is None:
                return _Open(order, "order", was_run=False)
            scores[environment] = score(protocol, unit.histories)
        sides.append([one.values for one in scores.values()])
        missing = [f"{implementation} on {e}, {one.missing_text}" for e, one in scores.items() if one.missing]
        if missing:
            lacks[implementation] = "; ".join(missing)
            are_broken &= all(one.broken >= set(one.missing) for one in scores.values())
    lack = "; ".join(lacks.values())
    if any(len(values) < 2 for side in sides for values in side):
        few = "an order needs at least two seeds with a score of each"
        return _Open(order, "order", lack=f"{few} ({lack})" if lack else few)
    # the broken seeds of one side speak for the other
    confirmed = "" if len(lacks) != 1 or not are_broken else "below" if order.better in lacks else "reproduced"
    test = stats.order_test(sides[0], sides[1], order.at_least)
    return _Open(order, "order", None, test, lack, confirmed=confirmed)


class _Family(NamedTuple):
    """The claims of a card that share the error by Holm's correction."""

    size: int
    equal: int  #: of these, how many were shown to be equal so far: the next step has so many fewer to share with
    different: int


def _decide(opened: Sequence[_Open], size: int, scale: float) -> list[Verdict]:
    tested = [one for one in opened if isinstance(one.test, stats.ClaimTest | stats.OrderTest)]
    decisions = stats.decide([one.test for one in tested], size - len(tested))
    by_claim = dict(zip(map(id, tested), decisions, strict=True))
    equal, different = (
        sum(getattr(one, p) <= stats.ALPHA for one in decisions) for p in ("p_equivalence", "p_difference")
    )
    return [_verdict(one, by_claim.get(id(one)), _Family(size, equal, different), scale) for one in opened]


def _verdict(one: _Open, decision: stats.Decision | None, family: _Family, scale: float) -> Verdict:
    if not is_scaled(one.claim):
        scale = 1.0
    interval = stats.mean_interval(one.score.values) if one.score is not None and one.score.per_seed else None
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
    )
    if not one.was_run:
        return made
    if one.test is None:
        word, why = _at_scale("inconclusive", one.lack, scale)
        return dataclasses.replace(made, word=word, why=why)
    if isinstance(one.test, stats.Acceptance):
        word, why, notes = _accepted(one.test)
    elif isinstance(one.test, stats.ComputedTest):
        word, why, notes = one.test.verdict, _as_printed(one.test), []
    elif isinstance(one.test, stats.OrderTest):
        assert decision is not None
        word, why, notes = _ordered(one.test, decision)
    else:
        assert decision is not None
        assert isinstance(one.claim, Claim)
        word, why, notes = decision.verdict, _sentence(one.test, decision, one.claim.rule), list(one.test.notes)
        if word == "inconclusive" and scale == 1:
            needed = _needed(one.claim, one.test, family)
            made = dataclasses.replace(made, seeds_needed=needed)
            if needed is not None:
                why += f"; {_needs(needed, one.test.measured_seeds)}"
            alone = stats.decide([one.test])[0].verdict
            if alone != "inconclusive" and not one.lack:
                why += f"; {alone} if it were the card's only claim: the correction for {family.size} leaves it open"
    if one.lack:
        if word != one.confirmed:
            word = "inconclusive"
        effect = _EFFECTS.get(one.confirmed, "leave it open")
        why = f"{why}; seeds without a score {effect} ({one.lack})"
    word, why = _at_scale(word, why, scale)
    return dataclasses.replace(made, word=word, why=why, notes=tuple(dict.fromkeys((*one.notes, *notes))))


def is_scaled(claim: Claim | Order) -> bool:
    """Whether `--scale` makes its runs shorter: a function measures as it always does."""
    return isinstance(claim, Order) or not claim.measurement


def _at_scale(word: str, why: str, scale: float) -> tuple[str, str]:
    return (word, why) if scale == 1 else ("not comparable", f"run at {scale:g} of the paper's steps; {why}")


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

    Where none would, but would if it were alone, the note says so: the correction leaves it open and not the paper.
    """
    if test.measured_sd is None or claim.rule in ("at most", "at least"):
        return None
    sd, theirs = test.measured_sd, None if claim.rule else reported(claim)

    def by(kind: Literal["equivalence", "difference"], alpha: float) -> power.SeedsNeeded:
        return power.seeds_needed(sd, theirs, claim.margin, test.difference, kind, alpha=alpha, from_printed=True)

    def fewest(*alphas: float) -> power.SeedsNeeded:
        either = by("equivalence", alphas[0]), by("difference", alphas[1])
        far = abs(test.difference) >= test.margin  # where neither decides, the one that could says why
        enough = (one for one in either if one.seeds is not None)
        return min(enough, key=lambda one: one.seeds or 0, default=either[far])

    needed = fewest(*(stats.ALPHA / (family.size - done) for done in (family.equal, family.different)))
    if needed.seeds is not None or family.size == 1:
        return needed
    alone = fewest(stats.ALPHA, stats.ALPHA).seeds
    if alone is None:
        return needed
    note = f"no number of our seeds decides it among the card's {family.size} claims, {alone:,} would if it were alone"
    return dataclasses.replace(needed, note=note, alone=alone)


def _needs(needed: power.SeedsNeeded, have: int) -> str:
    if needed.seeds is None:
        return needed.note
    if needed.seeds <= have:
        return f"a second set of {needed.seeds} seeds would decide it four times in five"
    return f"about {needed.seeds:,} seeds would decide it"


def _accepted(test: stats.Acceptance) -> tuple[str, str, list[str]]:
    word = {"accepted": "reproduced", "below": "below", "inconclusive": "inconclusive"}[test.verdict]
    reach = f"{test.reached} of {test.seeds} seeds reach the published agent ({test.threshold:.5g} with the tolerance)"
    why = reach + (f", {test.outright} without it" if test.outright < test.reached else "")
    return word, why, [test.note] if test.note else []


def _ordered(test: stats.OrderTest, decision: stats.Decision) -> tuple[str, str, list[str]]:
    told = _p(decision.p_equivalence)
    if test.fewest < stats.MIN_SEEDS:
        told = f"{count_of(test.fewest, 'seed')} on a side: to be shown, {stats.MIN_SEEDS} are needed"
    why = f"ahead on {test.wins} of {test.tasks} tasks, {test.at_least} claimed ({told})"
    return decision.verdict, why, list(test.notes)


def _p(p: float) -> str:
    text = p_text(p)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def p_text(p: float) -> str:
    """A p-value as a reader wants it."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


# --- aggregates


def _of_agents(card: Card) -> list[Claim]:
    return [claim for claim in card.claims if not claim.measurement]


def _names(card: Card) -> dict[str, str]:
    """What each implementation is called in the aggregates: its agent, where that says which."""
    where: dict[tuple[str, str], set[str]] = {}
    for claim in _of_agents(card):
        for environment in claim.environments:
            agent = card.implementations[claim.implementation].agent
            where.setdefault((agent, environment), set()).add(claim.implementation)
    twice = {agent for (agent, _), several in where.items() if len(several) > 1}
    return {name: name if one.agent in twice else one.agent for name, one in card.implementations.items()}


def _aggregates(card: Card, results: Results) -> tuple[tuple[Aggregate, ...], tuple[Improvement, ...], list[str]]:
    """Normalised scores of each agent over those of the card's tasks that say what a random and the best policy get.

    Of several claims on one task the one that looks furthest into the run counts. Where one agent is on the card twice
    for a task, its implementations stand apart. A task of which a seed has no score is left out, and a note says so:
    those that survived would speak for all.
    """
    looked_at: set[str] = set()
    left_out: list[str] = []
    by_agent: dict[str, dict[str, np.ndarray]] = {}
    names = _names(card)
    for claim in sorted(_of_agents(card), key=lambda c: -(card.protocols[c.protocol].to_step or math.inf)):
        environment = card.environments[claim.environments[0]]
        name = unit_name(claim.implementation, environment.name)
        unit = results.units.get(name)
        if (
            unit is None
            or name in looked_at
            or claim.aggregate
            or environment.random is None
            or card.protocols[claim.protocol].of != "return"
        ):
            continue
        looked_at.add(name)
        scored = score(scaled(card.protocols[claim.protocol], results.scale), unit.histories)
        if scored.missing:
            left_out.append(f"{name} is in no aggregate: {scored.missing_text}.")
        elif scored.per_seed:
            tasks = by_agent.setdefault(names[claim.implementation], {})
            tasks.setdefault(environment.name, np.array([normalise(environment, v) for v in scored.values]))
    made = []
    for agent, tasks in by_agent.items():
        if any(len(values) < 2 for values in tasks.values()):
            continue
        scores = list(tasks.values())
        top = max(1.0, *(float(values.max()) for values in scores))
        thresholds = np.linspace(0.0, math.ceil(top * 10) / 10, 101)
        generator = np.random.default_rng(aggregates.BOOTSTRAP_SEED)
        estimates = aggregates.aggregates(scores, generator)
        profile = aggregates.profile_estimate(scores, thresholds, generator)
        made.append(
            Aggregate(agent, tuple(tasks), tuple(map(tuple, scores)), estimates, tuple(thresholds.tolist()), profile)
        )
    improvements = []
    for one, other in itertools.combinations(made, 2):
        common = [task for task in one.tasks if task in other.tasks]
        if not common:
            continue
        x, y = ([np.array(side.scores[side.tasks.index(task)]) for task in common] for side in (one, other))
        estimate = aggregates.improvement_estimate(x, y, np.random.default_rng(aggregates.BOOTSTRAP_SEED))
        improvements.append(Improvement(one.agent, other.agent, tuple(common), estimate))
    return tuple(made), tuple(improvements), left_out


# --- as JSON


def verdicts_json(judgement: Judgement) -> bytes:
    """The file verdicts.json."""
    return (json.dumps(as_json(judgement), indent=1, ensure_ascii=False) + "\n").encode()


def as_json(judgement: Judgement) -> dict[str, Any]:
    """The verdicts for other programs."""
    return {
        "format": 1,
        "card": judgement.card.name,
        "scale": judgement.scale,
        "verdicts": [_row(verdict) for verdict in judgement.verdicts],
        "notes": list(judgement.notes),
    }


def _row(verdict: Verdict) -> dict[str, Any]:
    row: dict[str, Any] = {"claim": verdict.claim.id, "verdict": verdict.word, "kind": verdict.kind, "why": verdict.why}
    if isinstance(verdict.claim, Claim):
        row |= {"reported": verdict.claim.reported, "margin": verdict.claim.margin}
        if verdict.claim.values:
            row["values"] = list(verdict.claim.values)
    if isinstance(verdict.test, stats.ComputedTest):
        row["measured"] = list(verdict.test.measured) if len(verdict.test.measured) > 1 else verdict.test.measured[0]
    if verdict.score is not None and verdict.score.per_seed:
        row["measured"] = verdict.score.mean
        if len(verdict.score.per_seed) <= MOST_LISTED:
            row["per_seed"] = {str(s): v for s, v in verdict.score.per_seed.items()}
        else:
            row["seeds"] = len(verdict.score.per_seed)
    if verdict.score is not None and verdict.score.missing:
        row["missing"] = {str(s): why for s, why in verdict.score.missing.items()}
    if verdict.is_control:
        row["control"] = True
    if verdict.qualified:
        row["assumed"] = verdict.qualified
    if isinstance(verdict.test, stats.ClaimTest) and verdict.decision is not None:
        row |= {
            "difference": verdict.test.difference,
            "interval_95": [end if math.isfinite(end) else None for end in (verdict.test.low, verdict.test.high)],
            "p_equivalence": verdict.test.p_equivalence,
            "p_difference": verdict.test.p_difference,
            "p_equivalence_holm": verdict.decision.p_equivalence,
            "p_difference_holm": verdict.decision.p_difference,
        }
    return row
