"""Runs scored by a protocol: what each seed did, and the one number that the protocol makes of it, and no other."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from rlrepro.errors import Problem
from rlrepro.papers.protocol import Protocol

NOT_RUN = "it has not run yet"  #: why a planned seed has no score
LATE = 0.1  #: of an evaluation, see `_when_due`; of a run's end, see `History.taken`
_LARGEST = 1e100  # return: the squares of larger ones are no numbers


@dataclasses.dataclass(frozen=True)
class History:
    """What one seed did: every training episode and every evaluation, in the order of env steps."""

    seed: int
    episodes: np.ndarray  #: `[n, 2]`: env step at its end, undiscounted return
    evaluations: np.ndarray  #: `[m, 2]`: env step, mean return of its episodes
    final: np.ndarray  #: `[k]`: the returns of the final evaluation's episodes; empty where there was none
    steps: int  #: env steps trained
    stopped: str = ""  #: why it stopped early; empty where it is finished
    broke: bool = False  #: it stopped early, and not from outside: what it trained with came to a bad end
    measured: np.ndarray = dataclasses.field(default_factory=lambda: np.empty(0))  #: `[k]`: what a function measured
    #: with one sub-environment: env steps at which an episode began that does not follow on the one before, as where a
    #: resume could not restore the environment
    gaps: tuple[int, ...] = ()
    diverged: bool = False  #: networks that it ended with hold NaN or infinity
    taken: int = 0  #: env steps that it took where these were far more than `steps`: what came after is left out

    @property
    def taken_text(self) -> str:
        """Of one that took far more env steps than were asked for."""
        return f"took {self.taken:,} env steps, and what came after {self.steps:,} is left out"

    def points(self, returns: str) -> np.ndarray:
        return self.episodes if returns == "training" else self.evaluations

    def lengths(self) -> History:
        """The same with each episode's length in place of its return, told by where it ended: of one sub-environment.

        Its episodes follow one another, but at the `gaps`.
        """
        ends = self.episodes[:, 0]
        begins = np.concatenate([[0.0], ends[:-1]])
        begins[np.searchsorted(ends, self.gaps, side="right")] = self.gaps
        return dataclasses.replace(self, episodes=np.column_stack([ends, ends - begins]))

    def iterations(self, num_steps: int) -> History:
        """The same with iterations in place of episodes, told by where they ended: of one sub-environment.

        An iteration is whole episodes until they have `num_steps` env steps or more, and its return is their mean.
        """
        points: list[tuple[float, float]] = []
        first, taken = 0, 0.0
        for last, length in enumerate(self.lengths().episodes[:, 1]):
            taken += length
            if taken >= num_steps:
                points.append((self.episodes[last, 0], self.episodes[first : last + 1, 1].mean()))
                first, taken = last + 1, 0.0
        return dataclasses.replace(self, episodes=np.array(points, np.float64).reshape(-1, 2))


@dataclasses.dataclass(frozen=True)
class Score:
    """A protocol's number, and what each seed contributes to it."""

    protocol: Protocol
    per_seed: Mapping[int, float]  #: the seeds that have a value
    missing: Mapping[int, str]  #: the seeds that have none, and why: shown, never dropped
    at_step: int | None = None  #: where the maximum over time lies
    #: those of `missing` that are as bad as can be: they broke, had a return that is not finite, never reached it
    broken: frozenset[int] = frozenset()
    #: of those that never reached a threshold: the env steps that they had, fewer than they would have taken
    least: Mapping[int, float] = dataclasses.field(default_factory=dict)

    @property
    def values(self) -> np.ndarray:
        """`[k]`, of the seeds that have a value, or one that it is larger than."""
        return np.array([*self.per_seed.values(), *self.least.values()], np.float64)

    @property
    def mean(self) -> float:
        """The protocol's number, or one that it is larger than; NaN where no seed has a value."""
        return float(self.values.mean()) if len(self.values) else math.nan

    @property
    def missing_text(self) -> str:
        """The seeds without a score and why, as "seed 3: it stopped at env step 900", three of them at most."""
        seeds = [f"seed {seed}: {why}" for seed, why in self.missing.items() if why != NOT_RUN]
        planned = len(self.per_seed) + len(self.missing)
        waiting = [f"{planned - self.num_run} of {planned} seeds have not run yet"] if planned > self.num_run else []
        return "; ".join(waiting + seeds[:3]) + (f"; and {len(seeds) - 3} more" if len(seeds) > 3 else "")

    @property
    def num_run(self) -> int:
        """How many seeds were run, with a score or without."""
        return len(self.per_seed) + sum(why != NOT_RUN for why in self.missing.values())


def score(protocol: Protocol, histories: Sequence[History], planned: Sequence[int] = ()) -> Score:
    """Score runs by a protocol; `planned` seeds without a history have no score.

    `Problem` where it cannot be computed, or a seed is there twice.
    """
    if protocol.can_score is not None:
        raise Problem(f"a claim cannot be scored: {protocol.can_score}")
    seeds = [history.seed for history in histories]
    twice = [seed for seed in seeds if seeds.count(seed) > 1]
    if twice:
        raise Problem(f"seed {twice[0]} is there twice: the same run must not count as two")
    if protocol.of == "steps":
        return _with_planned(_steps_score(protocol, histories), planned)
    points, missing, broken = _by_seed(protocol, histories)
    best = None
    if protocol.statistic == "max of seed mean":
        best, per_seed = _at_best_mean(points)
    else:
        over = np.max if protocol.statistic.endswith("maxima") else np.mean
        per_seed = {seed: float(over(one[:, 1])) for seed, one in points.items()}
    return _with_planned(Score(protocol, per_seed, missing, best, broken), planned)


def _with_planned(scored: Score, planned: Sequence[int]) -> Score:
    """The same, in which planned seeds that have not run are missing."""
    waiting = dict.fromkeys((seed for seed in planned if seed not in scored.per_seed), NOT_RUN)
    return dataclasses.replace(scored, missing={**waiting, **scored.missing})


def _steps_score(protocol: Protocol, histories: Sequence[History]) -> Score:
    """The env steps that each seed took to the threshold, or those that it had: then they are too few."""
    assert protocol.threshold is not None
    assert protocol.last is not None
    per_seed: dict[int, float] = {}
    missing: dict[int, str] = {}
    least: dict[int, float] = {}
    for history in sorted(histories, key=lambda h: h.seed):
        points = history.points(protocol.returns)
        steps = _due(protocol, points)
        inside = steps <= (protocol.to_step or math.inf)
        first = first_reached(points[inside, 1], protocol.threshold, protocol.last)
        if first is not None:
            per_seed[history.seed] = float(steps[inside][first])
        elif lack := _too_short(protocol, history):
            missing[history.seed] = f"{lack}, before it reached {protocol.threshold:g}"
        elif protocol.returns == "evaluation" and not inside.any():
            missing[history.seed] = "it has no evaluation that counts"
        else:
            end = protocol.to_step or history.steps
            missing[history.seed] = f"it had not reached {protocol.threshold:g} at env step {end:,}"
            least[history.seed] = float(end)
    broken = {history.seed for history in histories if history.broke} & set(missing)
    return Score(protocol, per_seed, missing, broken=frozenset(broken | set(least)), least=least)


def first_reached(values: np.ndarray, threshold: float, count: int) -> int | None:
    """Index of the first of `values` `[n]` at which the mean of it and the count − 1 before is `threshold` or more.

    Of what has diverged none is; of equal values as large as the threshold their mean is, whatever it is rounded to.
    """
    with np.errstate(invalid="ignore"):
        finite = np.where(np.abs(values) <= _LARGEST, values, np.nan)
        reached = np.flatnonzero(trailing_mean(finite, count) >= threshold - 1e-12 * abs(threshold))
    return int(reached[0]) if len(reached) else None


def trailing_mean(values: np.ndarray, count: int) -> np.ndarray:
    """`[n]`: the mean of each value and the count − 1 before it; NaN where there are fewer."""
    if len(values) < count:
        return np.full(len(values), np.nan)
    if count == 1:
        return np.asarray(values, float)
    means = np.lib.stride_tricks.sliding_window_view(values, count).mean(1)
    return np.concatenate([np.full(count - 1, np.nan), means])


def _by_seed(
    protocol: Protocol, histories: Sequence[History]
) -> tuple[dict[int, np.ndarray], dict[int, str], frozenset[int]]:
    """The points `[k, 2]` that count of each seed that has a score; why each other has none; which of those broke."""
    found: dict[int, np.ndarray] = {}
    missing: dict[int, str] = {}
    broken = {history.seed for history in histories if history.broke}
    for history in sorted(looked_at(protocol, histories), key=lambda h: h.seed):
        points, lack = _counted(protocol, history)
        returns = points[:, 1]
        diverged = ~(np.abs(returns) <= _LARGEST)  # NaN too
        if not lack and diverged.any():
            lack = f"its return is {returns[diverged][0]:g}"
            broken.add(history.seed)
        if lack:
            missing[history.seed] = lack
        else:
            found[history.seed] = points
    return found, missing, frozenset(broken & set(missing))


def _at_best_mean(points: Mapping[int, np.ndarray]) -> tuple[int | None, dict[int, float]]:
    """The env step at which the mean over seeds is highest, and each seed's value there."""
    if not points:
        return None, {}
    curves = list(points.values())
    steps = curves[0][:, 0]
    if any(not np.array_equal(curve[:, 0], steps) for curve in curves):
        raise Problem("the seeds were not evaluated at the same env steps: there is no mean curve over seeds")
    best = int(np.argmax(np.mean([curve[:, 1] for curve in curves], axis=0)))
    return int(steps[best]), {seed: float(curve[best, 1]) for seed, curve in points.items()}


def looked_at(protocol: Protocol, histories: Sequence[History]) -> Sequence[History]:
    """The histories with what the protocol looks at in the place of returns."""
    if protocol.iteration is not None:
        return [history.iterations(protocol.iteration) for history in histories]
    return [history.lengths() for history in histories] if protocol.of == "length" else histories


def measured_score(protocol: Protocol, histories: Sequence[History], planned: Sequence[int] = ()) -> Score:
    """What a function measured, one number a seed, as a score by a protocol that only says so in words."""
    per_seed: dict[int, float] = {}
    missing: dict[int, str] = {}
    for history in sorted(histories, key=lambda h: h.seed):
        found = history.measured
        if len(found) != 1:
            missing[history.seed] = f"it has {len(found)} numbers, not one" if len(found) else "it has no number"
        elif not math.isfinite(found[0]):
            missing[history.seed] = f"its number is {found[0]}"
        else:
            per_seed[history.seed] = float(found[0])
    return _with_planned(Score(protocol, per_seed, missing), planned)


def window(protocol: Protocol, histories: Sequence[History]) -> tuple[float, float] | None:
    """The first and the last env step of what counts, over all seeds that have a score; None where none has."""
    if protocol.of == "steps":
        steps = _steps_score(protocol, histories).values
        return (float(steps.min()), float(steps.max())) if len(steps) else None
    counted = [points for points, lack in (_counted(protocol, history) for history in histories) if not lack]
    steps = np.concatenate([points[:, 0] for points in counted]) if counted else np.empty(0)
    return (float(steps.min()), float(steps.max())) if len(steps) else None


def _counted(protocol: Protocol, history: History) -> tuple[np.ndarray, str]:
    """The points `[k, 2]` that count, and why the seed has no score, or ""."""
    kind = _kind(protocol)
    if protocol.statistic == "one agent":
        points = np.column_stack([np.full(len(history.final), history.steps), history.final])
        if history.stopped:
            return points, _stopped(history)
        late = f", as it took {history.taken:,} env steps of {history.steps:,}" if history.taken else ""
        return points, "" if len(points) else f"it has no final evaluation{late}"
    points = history.points(protocol.returns)
    if lack := _too_short(protocol, history):
        return points, lack
    steps = _due(protocol, points)
    inside = np.ones(len(points), bool)
    if protocol.to_step is not None:
        inside &= steps <= protocol.to_step
        if protocol.iteration is not None and len(points) < (wanted := protocol.to_step // protocol.iteration):
            return points, f"it has {len(points)} of {wanted} iterations"
        is_due = protocol.eval_every is not None and protocol.to_step % protocol.eval_every == 0
        if protocol.returns == "evaluation" and is_due and protocol.to_step not in steps:
            return points, f"it has no evaluation at env step {protocol.to_step:,}"
    if protocol.after_step is not None:
        inside &= steps > protocol.after_step
    elif protocol.returns == "evaluation" and protocol.last is None and protocol.statistic == "mean":
        inside &= points[:, 0] > 0  # the area under the curve is that of the trained agent
    points = points[inside]
    if protocol.last is not None:
        if len(points) < protocol.last:
            return points, f"it has {len(points)} of the {protocol.last} {kind}s that count"
        points = points[-protocol.last :]
    return points, "" if len(points) else f"it has no {kind} that counts"


def _kind(protocol: Protocol) -> str:
    if protocol.iteration is not None:
        return "iteration"
    return "episode" if protocol.returns == "training" else "evaluation"


def _too_short(protocol: Protocol, history: History) -> str:
    """Why a run does not hold all that the protocol looks at, or ""."""
    if history.steps < (protocol.to_step or 0) or (history.stopped and protocol.to_step is None):
        return _stopped(history)
    return ""


def _stopped(history: History) -> str:
    """Where a run stopped and why; of one without a record, why."""
    if history.steps == 0 and history.stopped:
        return history.stopped
    return f"it stopped at env step {history.steps:,}" + (history.stopped and f" ({history.stopped})")


def _due(protocol: Protocol, points: np.ndarray) -> np.ndarray:
    """The env steps `[k]` of points, evaluations and iterations at those where they were due."""
    if protocol.iteration is not None:
        return protocol.iteration * np.arange(1, len(points) + 1)
    return _when_due(points[:, 0], protocol.eval_every) if protocol.eval_every else points[:, 0]


def _when_due(steps: np.ndarray, every: int) -> np.ndarray:
    """The env steps of evaluations, those that were due a little earlier at the multiple of `every`.

    An evaluation stands at the end of the step of all sub-environments in which it was due: it is the first at or after
    the multiple, and less than `LATE` of the way to the next.
    """
    due = steps // every * every
    before = np.concatenate([[-1.0], steps[:-1]])
    return np.where((before < due) & (steps - due < LATE * every), due, steps)
