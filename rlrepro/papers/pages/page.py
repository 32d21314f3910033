"""What a report's page says, as plain data for its template; and its figures."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rlrepro.errors import count_of
from rlrepro.papers import stats
from rlrepro.papers.calibration.coverage import coverage_note
from rlrepro.papers.cards.card import RULES, Card, Claim, Order, Value
from rlrepro.papers.pages import figures, provenance
from rlrepro.papers.pages.figures import Curve, Drawing, Mark
from rlrepro.papers.pages.rows import (
    SYMBOLS,
    Row,
    again,
    combined,
    commands,
    counts,
    coverages,
    decimals_for,
    exact,
    number,
    row_of,
    unlike_text,
    value_text,
)
from rlrepro.papers.protocol import Protocol
from rlrepro.papers.scoring import History, Score, looked_at, score, window
from rlrepro.papers.stats import aggregates
from rlrepro.papers.units.results import UnitResults
from rlrepro.papers.units.unit import unit_name
from rlrepro.papers.verdicts.verdict import (
    MOST_LISTED,
    WORDS,
    Judgement,
    Verdict,
    is_scaled,
    reported,
)

#: an aggregate's name: as `coverage_note` knows it, as the page does
_AGGREGATES = {
    "iqm": ("iqm", "IQM"),
    "mean": ("mean of tasks", "Mean"),
    "median": ("median of tasks", "Median"),
    "optimality gap": ("optimality gap", "Optimality gap"),
}
_NO_RETURNS = {"above": "higher than the paper's number", "below": "lower than the paper's number"}
#: beyond so many claims, the details of each are folded
_MANY = 40
#: beyond so many rows or tasks a figure says less than the table
_MOST_ROWS, _MOST_TASKS = 60, 12
#: of a protocol, on an axis
_QUANTITIES = {"return": "return", "length": "episode length", "steps": "env steps to the threshold"}


# --- the page


_Seed = tuple[str, str, str]  # seed, value, why it has none


@dataclass
class _Section:
    """One claim's part of the page."""

    anchor: str
    row: Row
    claim: Claim | Order
    protocol: str
    commands: list[str]
    figures: list[tuple[str, str]] = field(default_factory=list)  #: inline SVG and caption
    seeds: list[tuple[str, list[_Seed]]] = field(default_factory=list)  #: by task and side, "" where there is one
    statistics: list[tuple[str, str]] = field(default_factory=list)
    tasks: list[tuple[str, ...]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    heading: str = "Every seed and its score"


def render(judgement: Judgement, pdf: bool = False) -> tuple[str, dict[str, Drawing]]:
    """The page, and its figures by the names of their files, each as PDF too where asked for."""
    import jinja2

    made: dict[str, Drawing] = {}
    overview = _overview(judgement, made, pdf)
    sections = _sections(judgement, made, pdf)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("rlrepro.papers.pages"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    card = judgement.card
    context = {
        "card": card,
        "paper_url": card.paper.url if re.match(r"https?://", card.paper.url) else "",
        "counts": counts(judgement),
        "total": len(judgement.verdicts),
        "scale": judgement.scale,
        "unscaled": not all(is_scaled(verdict.claim) for verdict in judgement.verdicts),
        "sections": sections,
        "folded": len(sections) > _MANY,
        "overview": overview,
        "aggregates": _aggregates(judgement),
        "profiles": _profiles(judgement, made, pdf),
        "hyperparameters": _hyperparameters(card),
        "environments": [provenance.environment(card, name) for name in card.environments],
        "protocols": [(name, protocol.describe(), protocol.note) for name, protocol in card.protocols.items()]
        + [(name, measurement.what, "") for name, measurement in card.measurements.items()],
        "runs": provenance.runs(judgement.results),
        "makings": provenance.makings(judgement.results),
        "again": again(card),
        "commands": commands(judgement),
        "notes": judgement.notes,
        "coverages": coverages(judgement.verdicts),
        "words": _legend(judgement),
        "rules": [(rule, text) for rule, text in RULES.items() if any(c.rule == rule for c in card.claims)],
        "symbols": SYMBOLS,
        "alpha": stats.ALPHA,
        "guards": {
            "min_seeds": stats.MIN_SEEDS,
            "loan": stats.LOAN,
            "loan_of_many": stats.LOAN_OF_MANY,
            "imagined": stats.IMAGINED,
            "assumed_spread": stats.ASSUMED_SPREAD,
            "assumed_least": stats.ASSUMED_LEAST,
        },
    }
    return environment.get_template("report.html.j2").render(context), made


def _legend(judgement: Judgement) -> dict[str, str]:
    """What the words of this page mean, by the kinds of its claims."""
    means = dict.fromkeys(verdict.means for verdict in judgement.verdicts)
    words = {**WORDS, "reproduced": ", or ".join(means)} if means else dict(WORDS)
    card = judgement.card
    plain = any(claim.rule or claim.less_is_better or card.protocol_of(claim).of != "return" for claim in card.claims)
    return {**words, **_NO_RETURNS} if plain else words


def _sections(judgement: Judgement, made: dict[str, Drawing], pdf: bool) -> list[_Section]:
    sections = []
    for index, verdict in enumerate(judgement.verdicts, 1):
        claim = verdict.claim
        section = _Section(
            f"claim-{index}",
            row_of(judgement.card, verdict),
            claim,
            judgement.card.protocol_of(claim).describe(),
            commands(judgement, claim.id),
            notes=[*([claim.note] if claim.note else []), *_notes(verdict)],
        )
        drawer = _Drawer(judgement, made, _file_name(claim.id, made), section, pdf)
        if isinstance(claim, Order):
            _fill_order(drawer, claim, verdict)
        else:
            _fill_claim(drawer, claim, verdict)
        sections.append(section)
    return sections


def _notes(verdict: Verdict) -> list[str]:
    """The verdict's notes but that on the paper's spread, which stands beside its number."""
    known = _spread_note(verdict.claim).casefold() if isinstance(verdict.claim, Claim) else ""
    return [note for note in verdict.notes if not known or note.casefold().rstrip(".") != known]


def _spread_note(claim: Claim) -> str:
    if claim.rule:
        return ""
    return reported(claim).sample_spread().note


def _file_name(identity: str, taken: Collection[str]) -> str:
    """A name for a claim's figures that no other has, whatever the file system makes of capitals."""
    stem = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in identity).strip(".")[:80]
    stem = stem or "claim"
    name, index, lower = stem, 2, {other.lower() for other in taken}
    while {name.lower(), f"{name}-seeds".lower()} & lower:
        name, index = f"{stem}-{index}", index + 1
    return name


@dataclass(frozen=True)
class _Drawer:
    judgement: Judgement
    made: dict[str, Drawing]
    name: str
    section: _Section
    pdf: bool

    def add(self, suffix: str, paint: Callable[..., None], size: tuple[float, float], caption: str) -> None:
        name = self.name + suffix
        drawing = figures.draw(paint, size, name, self.pdf)
        self.made[name] = drawing
        self.section.figures.append((drawing.inline(caption), caption))


def _fill_claim(drawer: _Drawer, claim: Claim, verdict: Verdict) -> None:
    section, card, results = drawer.section, drawer.judgement.card, drawer.judgement.results
    decimals = decimals_for(claim.margin)
    if isinstance(verdict.test, stats.ComputedTest):
        _fill_computed(section, claim, verdict.test, decimals)
        return
    if verdict.score is not None and len(verdict.score.per_seed) > MOST_LISTED:
        section.heading = f"{count_of(len(verdict.score.per_seed), 'seed')}, each in results/"
        section.seeds = [("", _spread_rows(verdict.score, decimals))]
    elif verdict.score is not None:
        section.seeds = [(combined(claim) if claim.aggregate else "", _seed_rows(verdict.score, decimals))]
    section.statistics = _statistics(claim, verdict, decimals)
    if claim.measurement:
        if verdict.score is not None and verdict.interval is not None and len(verdict.score.per_seed) <= MOST_LISTED:
            paint = figures.strip(verdict.score.per_seed, verdict.interval, mark_of(claim, False), "what is measured")
            drawer.add("-seeds", paint, (5.2, 1.45), "What each seed gives, their mean, and the paper's number.")
        return
    units = [(e, results.units.get(unit_name(claim.implementation, e))) for e in claim.environments]
    there = {e: unit for e, unit in units if unit is not None and unit.histories}
    if len(there) < len(units):
        return
    mark = mark_of(claim, verdict.kind == "one-sided")
    protocol = card.protocols[claim.protocol].scaled(results.scale)
    if claim.aggregate:
        section.seeds += [
            (name, _seed_rows(score(protocol, unit.histories, unit.planned), None)) for name, unit in there.items()
        ]
    curve, label, what = _claim_curve(card, claim, protocol, there)
    quantity = "normalised score" if claim.aggregate else _QUANTITIES[protocol.of]
    if len(curve.x) and not np.isnan(curve.y).all():
        counted = None
        if not claim.aggregate and protocol.statistic != "one agent":
            counted = window(protocol, looked_at(protocol, next(iter(there.values())).histories))
            if verdict.score is not None and verdict.score.at_step is not None:
                counted = (verdict.score.at_step, verdict.score.at_step)
        caption = (
            f"{what} Thin: each of {count_of(len(curve.y), 'seed')}; thick: their mean with its pointwise 95 % "
            "t interval; dashed: the paper's number"
            + (", with its standard error over seeds" if mark.error is not None else "")
            + _shaded(mark, protocol.threshold is not None)
            + ("; shaded down: what the protocol counts." if counted else ".")
        )
        drawer.add("", figures.learning_curve(curve, mark, counted, label, protocol.threshold), (5.2, 3.0), caption)
    if verdict.score is not None and len(verdict.score.values) and verdict.interval is not None:
        values = {**verdict.score.per_seed, **verdict.score.least}
        paint = figures.strip(values, verdict.interval, mark, f"{quantity}, by the protocol")
        lacking, least = len(verdict.score.missing) - len(verdict.score.least), len(verdict.score.least)
        missing = f" {count_of(least, 'seed')} never reached it, at the end of what was trained." if least else ""
        missing += f" {count_of(lacking, 'seed')} without a score." if lacking else ""
        text = f"What each seed scores by the claim's protocol, their mean, and the paper's number.{missing}"
        drawer.add("-seeds", paint, (5.2, 1.45), text)


def _fill_computed(section: _Section, claim: Claim, test: stats.ComputedTest, decimals: int) -> None:
    section.heading = "Computed, and printed"
    section.seeds = [("", [
        ("" if len(test.measured) == 1 else f"{index + 1}:", f"{number(x, decimals)}, printed {exact(y)}",
         "differs" if index in test.outside else "")
        for index, (x, y) in enumerate(zip(test.measured, test.reported, strict=True))
    ])]  # fmt: skip
    section.statistics = [("Rule", f"{test.rule}: {RULES[test.rule]}")]
    if test.rule in ("exact", "about"):
        section.statistics.append(("Margin", f"{exact(claim.margin)}: {claim.margin_why}"))


def _spread_rows(scored: Score, decimals: int) -> list[_Seed]:
    """Of many seeds: the least, the quartiles and the most."""
    names = ("least", "first quartile", "median", "third quartile", "most")
    values = np.quantile(scored.values, (0, 0.25, 0.5, 0.75, 1))
    return [(name, number(float(value), decimals), "") for name, value in zip(names, values, strict=True)]


def _seed_rows(scored: Score, decimals: int | None) -> list[_Seed]:
    """Every seed's value, in the order of seeds; decimals None: by the values' own size."""
    if decimals is None:
        decimals = decimals_for(max([abs(v) / 10 for v in scored.per_seed.values() if v], default=1.0))
    rows = [(seed, number(value, decimals), "") for seed, value in scored.per_seed.items()]
    rows += [
        (seed, f"≥ {number(scored.least[seed], decimals)}" if seed in scored.least else "no score", why)
        for seed, why in scored.missing.items()
    ]
    return [(str(seed), value, why) for seed, value, why in sorted(rows)]


def _shaded(mark: Mark, has_threshold: bool) -> str:
    """What a caption says of the spans around the paper's number: a bound has none."""
    dotted, where = ("; dotted: the threshold", "at the number") if has_threshold else ("", "across")
    what = "the tolerance" if mark.one_sided else "± the margin"
    return dotted + (f"; shaded {where}: {what}, {exact(mark.margin)}" if mark.margin else "")


def mark_of(claim: Claim, one_sided: bool) -> Mark:
    """The paper's number as figures draw it; its own error where spread, its kind and the seeds are known."""
    theirs = reported(claim)
    if claim.rule:
        is_bound = claim.rule in ("at least", "at most")
        return Mark(claim.reported, None, None, 0.0 if is_bound else claim.margin, one_sided)
    sd, seeds = theirs.sample_sd, theirs.num_seeds
    if sd is None or seeds is None or seeds < 2 or one_sided:
        return Mark(claim.reported, None, None, claim.margin, one_sided)
    from scipy import special

    error = sd / math.sqrt(seeds)
    half = float(special.stdtrit(seeds - 1, 0.5 + stats.CONFIDENCE / 2)) * error
    return Mark(claim.reported, error, half, claim.margin)


def _claim_curve(
    card: Card, claim: Claim, protocol: Protocol, units: Mapping[str, UnitResults]
) -> tuple[Curve, str, str]:
    """The curve of a claim, the label of its axis, and what it is, in a sentence."""
    if not claim.aggregate:
        return _curve(next(iter(units.values())).histories, protocol)
    seeds = sorted({seed for unit in units.values() for seed in unit.seeds})
    grid = np.linspace(0.5, 99.5, 100)
    y = np.full((len(units), len(seeds), len(grid)), np.nan)
    for task, (name, unit) in enumerate(units.items()):
        curve, *_ = _curve(unit.histories, protocol)
        total = max((h.steps for h in unit.histories), default=1)
        for history, row in zip(unit.histories, curve.y, strict=True):
            known = ~np.isnan(row)
            if known.any():
                at = np.interp(grid, 100 * curve.x[known] / total, row[known], right=np.nan)
                y[task, seeds.index(history.seed)] = [card.environments[name].normalised_score(v) for v in at]
    together = [[aggregates.over_tasks(claim.aggregate, column) for column in y[:, s].T] for s in range(len(seeds))]
    text = f"Each seed's {combined(claim)} of normalised scores over {len(units)} environments."
    return Curve(grid, np.array(together, np.float64), "% of training"), "normalised score", text


def _curve(histories: Sequence[History], protocol: Protocol) -> tuple[Curve, str, str]:
    """What the protocol looks at over training, the label of its axis, and a sentence.

    These are training returns where no evaluations were made.
    """
    if protocol.returns == "evaluation" and any(len(h.evaluations) > 1 for h in histories):
        return figures.evaluation_curve(histories), "evaluation return", "Evaluation return."
    total = max((h.steps for h in histories), default=0)
    what = "Episode length in training" if protocol.of == "length" else "Training return"
    points = "episodes" if protocol.iteration is None else "iterations"
    label = _QUANTITIES["length"] if protocol.of == "length" else "training return"
    if not total or not any(len(h.episodes) for h in histories):
        return Curve(np.empty(0), np.empty((len(histories), 0))), label, f"{what}."
    curve = figures.training_curve(looked_at(protocol, histories), total)
    return curve, label, f"{what}: the mean of {points} in bins of {total / curve.bins:,.0f} env steps."


def _fill_order(drawer: _Drawer, claim: Order, verdict: Verdict) -> None:
    card, results, section = drawer.judgement.card, drawer.judgement.results, drawer.section
    protocol = card.protocols[claim.protocol].scaled(results.scale)
    pairs: list[tuple[str, Curve, Curve]] = []
    for name in claim.environments:
        units = [results.units.get(unit_name(side, name)) for side in (claim.better, claim.worse)]
        curves = []
        for side, unit in zip((claim.better, claim.worse), units, strict=True):
            if unit is not None:
                scored = score(protocol, unit.histories, unit.planned)
                section.seeds.append((f"{side} on {name}", _seed_rows(scored, None)))
                curves.append(_curve(unit.histories, protocol)[0])
        if len(curves) == 2 and all(len(curve.x) for curve in curves):
            pairs.append((name, curves[0], curves[1]))
    if isinstance(verdict.test, stats.OrderTest):
        section.statistics = _order_rows(verdict.test, verdict.decision)
        if protocol.of == "steps":
            section.statistics.append(
                ("Differences", "env steps that the first side needs less, where all seeds got there")
            )
        columns = (verdict.test.differences, verdict.test.p_above)
        section.tasks = [
            (name, f"{difference:,.4g}".replace("-", "−"), stats.p_text(p))
            for name, difference, p in zip(claim.environments, *columns, strict=True)
        ]
    section.statistics.append(("The sides", unlike_text(card, claim)))
    if pairs and len(claim.environments) <= _MOST_TASKS:
        kind = "training" if protocol.returns == "training" else "evaluation"
        height = 0.5 + (2.4 if len(pairs) == 1 else 1.7) * -(-len(pairs) // (1 if len(pairs) == 1 else 2))
        caption = f"{claim.better} and {claim.worse}: seeds thin, means thick, each with its pointwise 95 % t interval."
        paint = figures.order(pairs, claim.better, claim.worse, f"{kind} return", protocol.threshold)
        drawer.add("", paint, (5.2, height), caption)


def _order_rows(test: stats.OrderTest, decision: stats.Decision | None) -> list[tuple[str, str]]:
    return [
        ("Test", "one-sided guarded Welch tests (Welch, 1947), one a task, joined by partial conjunction "
         "(Benjamini and Heller, 2008)"),
        ("Ahead", f"on {test.wins} of {test.tasks} tasks; {test.at_least} claimed"),
        ("p that it holds", _p_pair(test.p_holds, decision.p_equivalence if decision else None)),
        ("p of its contrary", _p_pair(test.p_contrary, decision.p_difference if decision else None)),
    ]  # fmt: skip


# --- statistics


def _coverage_of_difference(rule: str, seeds: int) -> str | None:
    """That of `coverage_note`: by a rule the printed number has no spread, and the interval is one of our mean."""
    return coverage_note({"": "difference", "about": "band"}.get(rule, "mean"), seeds)


def _statistics(claim: Claim, verdict: Verdict, decimals: int) -> list[tuple[str, str]]:
    test = verdict.test
    rows: list[tuple[str, str]] = []
    if verdict.interval is not None and verdict.score is not None:
        rows.append(("Mean", _mean_text(verdict.interval, len(verdict.score.values), decimals)))
    if claim.rule:
        rows.append(("Rule", f"{claim.rule}: {RULES[claim.rule]}"))
    if isinstance(test, stats.Acceptance):
        rows += _acceptance_rows(test, decimals)
    elif isinstance(test, stats.ClaimTest):
        rows += _test_rows(test, verdict, decimals, _spread_note(claim), claim.rule)
    if verdict.seeds_needed is not None:
        needed = verdict.seeds_needed
        text = needed.note if needed.seeds is None else f"{needed.seeds:,}, for a power of {needed.power:.0%}"
        rows.append(("Seeds needed", f"{text}, if spread and difference are as they look"))
    about = "Scale" if claim.rule in ("at most", "at least") else "Margin"
    rows.append((about, f"{exact(claim.margin)}: {claim.margin_why}"))
    return rows


def _mean_text(interval: stats.Estimate, seeds: int, decimals: int) -> str:
    text = number(interval.value, decimals)
    if interval.low is not None:
        high = "∞)" if interval.high is None else f"{number(interval.high, decimals)}]"
        text += f", 95 % t interval [{number(interval.low, decimals)}, {high}"
    return _joined(text, interval.note, coverage_note("mean", seeds))


def _test_rows(
    test: stats.ClaimTest, verdict: Verdict, decimals: int, spread: str, rule: str = ""
) -> list[tuple[str, str]]:
    decision = verdict.decision
    tests = {
        "": "two one-sided t tests of equivalence (Schuirmann, 1987) and a t test of difference (Welch, 1947), "
        "with guarded variances and Satterthwaite's degrees of freedom "
        f"(with fewer than {stats.MIN_SEEDS} seeds of ours, at most ours)",
        "about": "two one-sided t tests that our mean lies in the band (Schuirmann, 1987) and t tests that it lies "
        "beyond either end, with a guarded variance",
    }
    bound = "one-sided t tests that our mean keeps the bound, and that it lies beyond, with a guarded variance"

    def n(value: float | None) -> str:
        return number(value, decimals)

    inside = "inside" if abs(test.low_90) < test.margin and abs(test.high_90) < test.margin else "not inside"
    abstains = " (too few seeds for a verdict)" * (test.measured_seeds < stats.MIN_SEEDS)
    whose = "unknown" if test.reported_sd is None else n(test.reported_sd)
    interval = [("90 % interval", f"[{n(test.low_90)}, {n(test.high_90)}]: {inside} ± {exact(test.margin)}{abstains}")]
    p_names = "p of equivalence", "p of difference"
    if rule in ("at most", "at least"):
        interval, p_names = [], ("p against it", "p for it")
    rows = [
        ("Test", tests.get(rule, bound)),
        ("Measured − reported", _joined(
            f"{n(test.difference)}, 95 % interval [{n(test.low)}, {n(test.high)}]",
            _coverage_of_difference(rule, test.measured_seeds))),
        *interval,
        (p_names[0], _p_pair(test.p_equivalence, decision.p_equivalence if decision else None)),
        (p_names[1], _p_pair(test.p_difference, decision.p_difference if decision else None)),
        ("Standard error", f"{n(test.se)}, with {number(test.df, 1)} degrees of freedom"),
        ("Our sd over seeds", f"{n(test.measured_sd)} as seen, {n(test.used_measured_sd)} as used; "
         f"{count_of(test.measured_seeds, 'seed')}"),
    ]  # fmt: skip
    if not rule:
        rows.append(
            (
                "The paper's sd",
                f"{whose}{f' ({spread})' if spread else ''}, {n(test.used_reported_sd)} as used; "
                + (count_of(test.reported_seeds, "seed") if test.reported_seeds else "number of seeds not stated"),
            )
        )
    if test.assumed:
        rows.append(("Assumed", test.assumed))
    return rows


def _acceptance_rows(test: stats.Acceptance, decimals: int) -> list[tuple[str, str]]:
    return [
        ("Test", f"one-sided: do 1 in {1 / stats.LEAST_SHARE:.0f} of our seeds or more reach that agent?"),
        ("Threshold", f"{number(test.threshold, decimals)}: the published return less the tolerance"),
        ("Reached by", f"{test.reached} of {test.seeds} seeds: {test.share:.0%}, two-sided 95 % interval "
         f"[{test.low:.0%}, {test.high:.0%}] (Clopper and Pearson, 1934)"
         + (f"; {test.outright} without the tolerance" if test.outright < test.reached else "")
         + (f"; {note}" if (note := coverage_note("acceptance", test.seeds)) else "")),
        ("p against fewer", f"{stats.p_text(test.p_accepted)}: so many or more, if one in "
         f"{1 / stats.LEAST_SHARE:.0f} did (binomial, one-sided)"),
        ("p of below", f"{stats.p_text(test.p_below)} = (1 + {test.reached}) / ({test.seeds} + 1), by rank"),
    ]  # fmt: skip


def _p_pair(raw: float, corrected: float | None) -> str:
    if corrected is None:
        return stats.p_text(raw)
    return f"{stats.p_text(raw)}; {stats.p_text(corrected)} after Holm's correction (1979)"


# --- the whole card


def _overview(judgement: Judgement, made: dict[str, Drawing], pdf: bool) -> str:
    rows = []
    for verdict in judgement.verdicts:
        test = verdict.test
        if verdict.kind in ("at most", "at least"):
            continue  # their margin measures nothing
        if isinstance(test, stats.ComputedTest):
            off = test.differences[test.worst] / test.margin
            rows.append((verdict.claim.id, off, off, off, verdict.word))
        if isinstance(test, stats.ClaimTest) and math.isfinite(test.se):
            value, low, high = (end / test.margin for end in (test.difference, test.low, test.high))
            if verdict.score is not None and verdict.score.least:
                high = value  # of which it is known that it is larger
            rows.append((verdict.claim.id, value, low, high, verdict.word))
    if not 1 < len(rows) <= _MOST_ROWS:
        return ""
    name = _file_name("overview", made)
    made[name] = figures.draw(figures.overview(rows), (5.2, 0.75 + 0.24 * len(rows)), name, pdf)
    return made[name].inline("Every claim's difference from the paper with its 95 % interval, in margins")


def _aggregates(judgement: Judgement) -> dict[str, Any]:
    rows = []
    for one in judgement.aggregates:
        seeds = sorted({len(values) for values in one.scores})
        estimates = [
            (_AGGREGATES[name][1], _estimate(estimate), coverage_note(_AGGREGATES[name][0], seeds[0]) or "")
            for name, estimate in one.estimates.items()
        ]
        counted = " to ".join(map(str, dict.fromkeys((seeds[0], seeds[-1]))))
        rows.append({"agent": one.agent, "tasks": ", ".join(one.tasks), "seeds": counted, "estimates": estimates})
    better = []
    for pair in judgement.improvements:
        fewest = min(len(v) for a in judgement.aggregates if a.agent in (pair.better, pair.worse) for v in a.scores)
        note = coverage_note("improvement", fewest) or ""
        better.append((pair.better, pair.worse, ", ".join(pair.tasks), _estimate(pair.estimate), note))
    fewest = min((len(values) for one in judgement.aggregates for values in one.scores), default=0)
    return {"rows": rows, "improvements": better, "profile_note": coverage_note("profile", fewest) or ""}


def _estimate(estimate: stats.Estimate) -> str:
    if estimate.low is None:
        return number(estimate.value, 3)
    return f"{number(estimate.value, 3)} [{number(estimate.low, 3)}, {number(estimate.high, 3)}]"


def _profiles(judgement: Judgement, made: dict[str, Drawing], pdf: bool) -> str:
    if not judgement.aggregates:
        return ""
    agents = [(one.agent, one.thresholds, one.profile) for one in judgement.aggregates]
    name = _file_name("profiles", made)
    made[name] = figures.draw(figures.profiles(agents), (5.2, 2.7), name, pdf)
    return made[name].inline("Performance profiles: the share of runs above each normalised score")


def _hyperparameters(card: Card) -> list[tuple[str, str, list[tuple[str, list[tuple[str, str]]]]]]:
    """Each implementation or measurement, its agent or function, and by source its hyperparameters."""
    made = []
    everything: list[tuple[str, str, Mapping[str, Value]]] = [
        (name, f"agent {one.agent}", one.hyperparameters) for name, one in card.implementations.items()
    ]
    everything += [(name, f"function {m.function}", m.hyperparameters) for name, m in card.measurements.items()]
    for name, what, values in everything:
        by_source: dict[str, list[tuple[str, str]]] = {}
        for key, value in values.items():
            by_source.setdefault(value.source, []).append((key, value_text(value.value)))
        made.append((name, what, list(by_source.items())))
    return made


def _joined(*texts: str | None) -> str:
    return "; ".join(text for text in texts if text)
