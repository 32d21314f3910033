"""Runs of any origin against each other by one protocol, and beside published numbers: what is compared and tested."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from rlrepro.errors import Problem
from rlrepro.papers import stats
from rlrepro.papers.book.beside import barred, comparable, of_versions, telling_wrappers
from rlrepro.papers.book.published import BOOK, Published, load_book, unversioned
from rlrepro.papers.compare.score import LAST_EPISODES, score_group
from rlrepro.papers.importers import SAME_LENGTH, Group, apart
from rlrepro.papers.protocol import Protocol
from rlrepro.papers.scoring import Score, first_reached
from rlrepro.papers.stats import aggregates
from rlrepro.plugins import own_code


@dataclasses.dataclass(frozen=True)
class Side:
    """One group in a comparison."""

    label: str
    group: Group
    score: Score
    interval: stats.Estimate | None  #: 95 % t interval of the mean
    sd: float | None  #: sample standard deviation over seeds
    iqm: float | None
    reached: dict[int, int | None] | None = None  #: env step at which each seed reached the threshold; None: never


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two groups, tested. The difference is `a` − `b`."""

    a: str
    b: str
    difference: float
    low: float | None  #: 95 % interval of the difference, guarded
    high: float | None
    p: float | None  #: two-sided; None where there is no spread over seeds to test with, or the side ahead lost seeds
    improvement: stats.Estimate  #: the probability that a seed of `a` beats one of `b`
    p_holm: float | None = None  #: over all pairs of the comparison
    is_barred: bool = False  #: not tested, since the side ahead lost seeds: it counts in that correction with a p of 1
    note: str = ""


@dataclasses.dataclass(frozen=True)
class PublishedNumber:
    """A row of the book of published results, and what it reports, as tests take it."""

    row: Published
    reported: stats.Reported

    @property
    def label(self) -> str:
        return f"{self.row.algorithm}, {self.row.label}"

    @property
    def steps(self) -> int | None:
        """Env steps of its runs; None: not stated, or frames."""
        return None if self.row.frames else self.row.steps


@dataclasses.dataclass(frozen=True)
class Beside:
    """A group beside a published number, scored by that number's protocol."""

    number: PublishedNumber
    label: str
    score: Score | None  #: None where they cannot be compared
    why: str = ""  #: why not
    test: stats.PairTest | stats.ClaimTest | stats.Acceptance | None = (
        None  #: None where there is no spread to test with
    )
    p_holm: float | None = None
    caveats: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Panel:
    """All groups of one environment."""

    env: str
    protocol: Protocol | None  #: None where there is none that all can be scored by
    sides: tuple[Side, ...]
    pairs: tuple[Pair, ...]
    beside: tuple[Beside, ...]
    notes: tuple[str, ...]

    @property
    def title(self) -> str:
        return self.env or "environment not stated"


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Everything that is shown and written."""

    panels: tuple[Panel, ...]
    threshold: float | None = None


def published_number(identity: str, book: Path = BOOK) -> PublishedNumber:
    """A row of a book of published results. `Problem` where there is none of that id."""
    row = load_book(book).get(identity)
    ends = (row.low, row.high) if row.spread_kind == "interval 95" else (None, None)
    return PublishedNumber(
        row, stats.Reported(row.mean, row.spread, row.spread_kind, row.seeds, row.per_seed or None, *ends)
    )


# --- comparing


def compare(
    groups: Sequence[Group],
    protocol: Protocol | None = None,
    published: Sequence[PublishedNumber] = (),
    threshold: float | None = None,
) -> Comparison:
    """Compare groups, environment by environment. Deterministic.

    Without a protocol: the last hundred training episodes where all have episodes, else the last evaluation. Holm's
    correction runs over all pairs, and over all published numbers.
    """
    known = list(dict.fromkeys(group.env for group in groups if group.env))
    only = known[0] if len(known) == 1 else ""
    panels: dict[str, list[tuple[str, Group]]] = {}
    for group, label in zip(groups, _labels(groups, only), strict=True):
        panels.setdefault(group.env or only, []).append((label, group))
    made = [
        _panel(env, members, protocol, [one for one in published if env in _meant(one, panels)], threshold)
        for env, members in panels.items()
    ]
    return Comparison(tuple(_holm(made)), threshold)


def _meant(one: PublishedNumber, envs: Iterable[str]) -> list[str]:
    """The environments that a published number is held against: its own, else its other versions, else all."""
    exact = [env for env in envs if env in (one.row.env, "")]
    versions = [env for env in envs if unversioned(env) == unversioned(one.row.env)]
    return exact or versions or list(envs)


def _labels(groups: Sequence[Group], only: str) -> list[str]:
    """Names that differ within an environment, with their source if need be; groups that state none are on `only`."""
    labels = []
    for group in groups:
        alike = [other for other in groups if (other.name, other.env or only) == (group.name, group.env or only)]
        sources = list(dict.fromkeys(other.source for other in alike))
        own = apart(sources)[sources.index(group.source)]
        labels.append(group.name if len(alike) == 1 else f"{group.name} ({own})")
    return labels


def _panel(
    env: str,
    members: Sequence[tuple[str, Group]],
    protocol: Protocol | None,
    published: Sequence[PublishedNumber],
    threshold: float | None,
) -> Panel:
    notes = [note for _, group in members for note in group.notes]
    notes += [
        f"{label} does not say its environment: it is taken for {env}." for label, g in members if env and not g.env
    ]
    chosen = protocol or _default(members)
    beside = [_beside(one, label, group) for one in published for label, group in members]
    if chosen is None:
        why = "A training return is no evaluation"
        if any(_only_final(group) for _, group in members):
            why = "Runs are compared by training returns or evaluations, a final evaluation with --published alone"
        notes.append(f"Not compared: {_holdings(members)}. {why}; rlrepro score shows each alone.")
        return Panel(env, None, (), (), tuple(beside), tuple(dict.fromkeys(notes)))
    sides = []
    for label, group in members:
        if not group.has(chosen.returns):
            but = ", but a final evaluation only" if _only_final(group) else ""
            notes.append(f"{label} is not compared: it has no {chosen.returns} returns{but}.")
            continue
        try:
            sides.append(_side(label, group, chosen, threshold))
        except Problem as problem:
            notes.append(f"{label} is not compared: {problem}.")
    for side in sides:
        if side.score.missing:
            notes.append(f"{side.label}: no score of {side.score.missing_text}.")
    notes += _too_short(sides, chosen)
    notes += _differences([(side.label, side.group) for side in sides if side.score.per_seed], chosen)
    if chosen.statistic == "max of seed mean" and len(sides) > 1:
        notes.append("A maximum over time is chosen by luck too, and more so with few seeds: its tests are optimistic.")
    scored = [side for side in sides if len(side.score.per_seed)]
    pairs = [_pair(a, b) for a, b in itertools.combinations(scored, 2)]
    notes += [pair.note for pair in pairs if pair.note]
    return Panel(env, chosen, tuple(sides), tuple(pairs), tuple(beside), tuple(dict.fromkeys(notes)))


def _default(members: Sequence[tuple[str, Group]]) -> Protocol | None:
    """By what all can be scored that have returns at all; what functions measured has none."""
    scored = [one for one in members if one[1].has("training") or one[1].has("evaluation")]
    members = scored or members
    if all(group.has("training") for _, group in members):
        return Protocol("training", last=LAST_EPISODES)
    if all(group.has("evaluation") for _, group in members):
        return Protocol("evaluation", last=1)
    return None


def _too_short(sides: Sequence[Side], protocol: Protocol) -> list[str]:
    """How many points every whole seed has, where that is fewer than the protocol wants."""
    if protocol.last is None or any(side.group.running and protocol.returns == "training" for side in sides):
        return []
    one = dataclasses.replace(protocol, statistic="mean", last=1)
    counts = []
    for side in sides:
        whole = score_group(side.group, one).per_seed
        for history in side.group.histories:
            steps = history.points(protocol.returns)[:, 0]
            if history.seed in whole:
                after = -1 if protocol.after_step is None else protocol.after_step
                counts.append(int(((steps > after) & (steps <= (protocol.to_step or math.inf))).sum()))
    if not counts or min(counts) >= protocol.last:
        return []
    points = "episodes" if protocol.returns == "training" else "evaluations"
    return [f"The seed with the fewest {points} has {min(counts)}: --last {min(counts)} helps."]


def _holdings(members: Sequence[tuple[str, Group]]) -> str:
    said = []
    for label, group in members:
        kinds = [name for name in ("training", "evaluation") if group.has(name)]
        returns = f"{' and '.join(kinds) or 'no'} returns" + (" only" if len(kinds) == 1 else "")
        said.append(f"{label} has {'a final evaluation only' if _only_final(group) else returns}")
    return ", ".join(said)


def _only_final(group: Group) -> bool:
    return any(len(h.final) for h in group.histories) and not (group.has("training") or group.has("evaluation"))


def _differences(members: Sequence[tuple[str, Group]], protocol: Protocol) -> list[str]:
    """What differs between the sources beside the agent."""
    notes = []
    steps = {label: group.steps for label, group in members}
    if steps and protocol.to_step is None and min(steps.values()) < (1 - SAME_LENGTH) * max(steps.values()):
        told = ", ".join(f"{label} {count:,}" for label, count in steps.items())
        reached = min(h.steps for _, group in members for h in group.histories if not h.stopped)  # by every whole seed
        notes.append(f"They ran for different numbers of env steps ({told}): --to-step {reached} helps.")
    made = {label: _made(group) for label, group in members if group.settings}
    if len(set(made.values())) > 1:
        told = ", ".join(f"{label} {text}" for label, text in made.items())
        notes.append(f"They were not on the same environment, and differ by that too: {told}.")
    how = {label: group.evaluation for label, group in members if group.evaluation}
    if protocol.returns == "evaluation" and len(set(how.values())) > 1:
        notes.append(f"Their evaluations differ: {'; '.join(f'{label} {text}' for label, text in how.items())}.")
    running = [label for label, group in members if group.running and protocol.returns == "training"]
    if running and len(running) < len(members):
        notes.append(f"Of {', '.join(running)}, the last running mean that was logged stands for its episodes.")
    return notes


def _made(group: Group) -> str:
    """How a group's environment was made, beside its id."""
    ways: dict[str, None] = {}
    for one in group.settings:
        parts = [f"in {_short(wrapper)}" for wrapper in telling_wrappers(one)]
        if one.env_kwargs:
            kwargs = ", ".join(f"{name} = {value!r}" for name, value in sorted(one.env_kwargs.items()))
            parts.insert(0, f"with {kwargs}")
        ways[" ".join(parts)] = None
    return " or ".join(way or "as it is" for way in ways)


def _short(wrapper: str) -> str:
    """A wrapper without the folder of its file, which may have been moved."""
    file = own_code.file_of(wrapper)
    return wrapper if file is None else f"{Path(file).name}{wrapper[len(file) :]}"


def _side(label: str, group: Group, protocol: Protocol, threshold: float | None) -> Side:
    scored = score_group(group, protocol)
    values = scored.values
    reached = None
    if threshold is not None:
        reached = samples_to_threshold(group, protocol, threshold)
    if not len(values):
        return Side(label, group, scored, None, None, None, reached)
    sd = float(values.std(ddof=1)) if len(values) > 1 else None
    return Side(label, group, scored, stats.mean_interval(values), sd, float(aggregates.iqm([values])), reached)


def samples_to_threshold(group: Group, protocol: Protocol, threshold: float) -> dict[int, int | None]:
    """Of each seed, the first env step at which the mean of the last k points reached `threshold`; None: never.

    k is the protocol's `last` of training episodes (a hundred where it has none), and one evaluation. What lies beyond
    the protocol's `to_step` does not count.
    """
    count = (protocol.last or LAST_EPISODES) if protocol.returns == "training" and not group.running else 1
    reached: dict[int, int | None] = {}
    for history in group.histories:
        points = history.points(protocol.returns)
        points = points[points[:, 0] <= (protocol.to_step or math.inf)]
        if protocol.returns == "training":
            points = points[points[:, 0] >= group.full_from.get(history.seed, 0.0)]
        first = first_reached(points[:, 1], threshold, count)
        reached[history.seed] = None if first is None else int(points[first, 0])
    return reached


def _with_broken(side: Side, worst: float) -> np.ndarray:
    """A side's scores, and `worst` for each seed whose training broke, where they are returns."""
    broken = len(side.score.broken) if side.score.protocol.of == "return" else 0
    return np.concatenate([side.score.values, np.full(broken, worst)])


def _pair(a: Side, b: Side) -> Pair:
    x, y = a.score.values, b.score.values
    worst = np.nextafter(min(x.min(), y.min()), -np.inf)
    all_a, all_b = _with_broken(a, worst), _with_broken(b, worst)
    improvement = aggregates.improvement_estimate([all_a], [all_b], np.random.default_rng(aggregates.BOOTSTRAP_SEED))
    if min(len(x), len(y)) < stats.MIN_SEEDS:  # the bootstrap of a few seeds is far too sure
        improvement = stats.Estimate(improvement.value, None, None)
    difference = float(x.mean() - y.mean())
    if min(len(x), len(y)) < 2:
        note = "A group of one seed is not tested: it shows no spread over seeds."
        return Pair(a.label, b.label, difference, None, None, None, improvement, note=note)
    test = stats.pair_test(x, y)
    ahead, lost = (a, len(all_a) - len(x)) if difference > 0 else (b, len(all_b) - len(y))
    if lost:
        note = (
            f"{a.label} and {b.label}: not tested, since {lost} of the seeds of {ahead.label} broke and the others are "
            "no fair sample; P(better) has them as the worst."
        )
        return Pair(a.label, b.label, difference, test.low, test.high, None, improvement, note=note, is_barred=True)
    note = ""
    if test.low is None and difference == 0:
        note = f"{a.label} and {b.label}: every seed of both has the same number."
    elif test.low is None:
        note = f"{a.label} and {b.label}: no spread over seeds; p is that of complete separation."
    elif test.too_few_to_tell:
        note = f"{a.label} and {b.label}: {_too_few(test, len(x), len(y))}."
    return Pair(a.label, b.label, difference, test.low, test.high, test.p, improvement, note=note)


def _too_few(test: stats.PairTest, n_x: int, n_y: int) -> str:
    return (
        f"{n_x} and {n_y} seeds are too few for a p below {test.least_p:.2g}, however far apart they lie; "
        "the interval, which leaves out 0, has no such floor"
    )


def _holm(panels: Sequence[Panel]) -> list[Panel]:
    """Holm's correction over all pairs, and over all tests against published numbers."""
    pairs = [pair for panel in panels for pair in panel.pairs]
    corrected = stats.holm([pair.p for pair in pairs if pair.p is not None] + [1.0 for pair in pairs if pair.is_barred])
    of_pairs = iter(corrected)
    found = [_difference_p(one) for panel in panels for one in panel.beside]
    of_published = iter(stats.holm([p for p in found if p is not None]))
    made = []
    for panel in panels:
        pairs = [p if p.p is None else dataclasses.replace(p, p_holm=next(of_pairs)) for p in panel.pairs]
        beside = [
            one if _difference_p(one) is None else dataclasses.replace(one, p_holm=next(of_published))
            for one in panel.beside
        ]
        made.append(dataclasses.replace(panel, pairs=tuple(pairs), beside=tuple(beside)))
    return made


def _difference_p(one: Beside) -> float | None:
    if isinstance(one.test, stats.PairTest):
        return one.test.p
    return one.test.p_difference if isinstance(one.test, stats.ClaimTest) else None


# --- published numbers


def _beside(one: PublishedNumber, label: str, group: Group) -> Beside:
    """A group beside a published number, by that number's own protocol, or why not."""
    protocol, why, caveats = _common_protocol(one, group)
    if why:
        return Beside(one, label, None, why)
    try:
        scored = score_group(group, protocol)
    except Problem as problem:
        return Beside(one, label, None, str(problem))
    if scored.missing:
        caveats.append(f"no score of {scored.missing_text}")
    if not scored.per_seed:
        return Beside(one, label, None, scored.missing_text)
    values = scored.values
    sd, seeds = one.reported.sample_sd, one.reported.num_seeds or stats.ASSUMED_SEEDS
    test: stats.PairTest | stats.ClaimTest | stats.Acceptance | None
    if one.row.protocol.is_one_sided(one.reported.kind):
        test = stats.acceptance(values, one.reported)
        caveats += [test.note] if test.note else []
    elif max(float(np.ptp(values)), sd or 0.0) == 0:
        test = None
        caveats.append("neither side has a spread over seeds: not tested")
    elif sd is not None and min(seeds, len(values)) > 1:
        test = stats.pair_test_from_summary(values, one.reported.center, sd, seeds)
        caveats += [_too_few(test, len(values), seeds)] if test.too_few_to_tell else []
    else:  # the guards need a scale: no margin is claimed here, so it is too small to count
        test = stats.claim_test(values, one.reported, 1e-9 * max(1.0, abs(one.reported.mean)))
        caveats += [test.assumed] if test.assumed else []
    return Beside(one, label, scored, "", test, None, tuple(caveats))


def _common_protocol(one: PublishedNumber, group: Group) -> tuple[Protocol, str, list[str]]:
    """By what to score a group for a published number, why it cannot be, and what a reader must know."""
    if group.settings:
        found = [comparable(one.row, settings) for settings in group.settings]
        caveats = list(dict.fromkeys(caveat for each in found for caveat in each.caveats))
        milestones = [each.protocol for each in found if each.protocol.to_step is not None]  # of the longer runs
        protocol = (milestones or [found[0].protocol])[0]
        return protocol, next((each.reason for each in found if each.reason), ""), caveats
    protocol, caveats = one.row.protocol, []
    if bars := barred(one.row):
        return protocol, bars[0], []
    reason, caveat = of_versions(one.row.env, group.env or one.row.env)
    if reason:
        return protocol, reason, []
    if not group.env:
        caveat = f"the runs do not say their environment: taken for {one.row.env}"
    caveats += [caveat] if caveat else []
    if protocol.can_score is not None:
        return protocol, protocol.can_score, []
    if not group.has(protocol.returns) and protocol.statistic != "one agent":
        return protocol, f"it is of {protocol.returns} returns, and the runs have none", []
    if one.steps is None:
        caveats.append("the published number of env steps is not known")
    elif group.steps < (1 - SAME_LENGTH) * one.steps:
        return protocol, f"it is of {one.steps:,} env steps, the runs of {group.steps:,}", []
    elif group.steps > (1 + SAME_LENGTH) * one.steps and protocol.statistic == "one agent":
        return protocol, f"it is of one agent after {one.steps:,} env steps, the runs of {group.steps:,}", []
    elif group.steps > (1 + SAME_LENGTH) * one.steps and protocol.to_step is None:
        protocol = dataclasses.replace(protocol, to_step=one.steps)
        caveats.append(f"scored at env step {one.steps:,}")
    if protocol.returns == "evaluation":
        if other := _other_rhythm(protocol, group):
            return protocol, other, []
        caveats.append(f"evaluations of the runs: {group.evaluation or 'not known how'}")
    elif protocol.iteration is not None:
        caveats.append("the runs are taken for those of one sub-environment, whose episodes make its iterations")
    elif protocol.to_step and (1 - SAME_LENGTH) * protocol.to_step <= group.steps < protocol.to_step:
        protocol = dataclasses.replace(protocol, to_step=group.steps)  # a record ends with its last whole episode
    return protocol, "", caveats


def _other_rhythm(protocol: Protocol, group: Group) -> str:
    """Where a protocol counts more than one evaluation: that the group's are not as many, or ""."""
    if protocol.eval_every is None or protocol.last == 1 or protocol.statistic == "one agent":
        return ""
    between = [np.diff(history.evaluations[:, 0]) for history in group.histories if len(history.evaluations) > 1]
    every = float(np.median(np.concatenate(between))) if between else math.inf
    if abs(every - protocol.eval_every) <= SAME_LENGTH * protocol.eval_every:
        return ""
    ours = "the runs have one" if math.isinf(every) else f"the runs' every {every:,.0f}"
    return f"its evaluations are every {protocol.eval_every:,} env steps, {ours}"
