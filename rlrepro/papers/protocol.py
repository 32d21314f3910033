"""How a paper turns runs into one number: the protocol, as data, and the scoring that follows it.

Two numbers with one name are often two things: the last hundred training episodes, the last evaluation, the maximum
over time of the seeds' mean curve. A `Protocol` says which, `score` computes that and nothing else, and `refuse`
says why a number by one protocol is no answer to a claim by another.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rlrepro.errors import Problem, nearest

RETURNS = ("training", "evaluation")
QUANTITIES = ("return", "length")
POLICIES = ("deterministic", "stochastic", "not stated")
LATE = 0.1  #: of an evaluation, see `_when_due`
_LARGEST = 1e100  # return: the squares of larger ones are no numbers
STATISTICS = {
    "mean": "the mean of what counts, then over seeds",
    "max of seed mean": "the highest point of the mean curve over seeds (TD3, Table 1)",
    "mean of seed maxima": "the highest point of each seed's curve, then the mean over seeds",
    "one agent": "many episodes of one trained agent; nothing is said of other seeds",
    "other": "something that cannot be computed from returns; `note` says what",
}


@dataclasses.dataclass(frozen=True)
class Protocol:
    """What counts (which returns, which of them) and what is made of it.

    What counts are points: training episodes, or evaluations (each the mean of its episodes). Those after
    `after_step` and up to `to_step` are looked at (env steps; none given: the whole run), and of these the `last`.
    """

    returns: str  #: "training": episodes as they came; "evaluation": extra episodes of a fixed policy
    statistic: str = "mean"
    last: int | None = None  #: how many points count, the latest; None: all that the window holds
    after_step: int | None = None
    to_step: int | None = None
    policy: str = "not stated"  #: of the evaluations; training returns are always those of the exploring policy
    eval_every: int | None = None  #: env steps between evaluations
    eval_episodes: int | None = None  #: episodes of one evaluation
    discount: float = 1.0  #: of the return; 1: undiscounted
    of: str = "return"  #: of an episode: its return, or its length in env steps
    note: str = ""

    @staticmethod
    def from_table(table: Mapping[str, Any]) -> Protocol:
        """From a card or the book of published results. `Problem` where it names no protocol."""
        fields = {field.name: field for field in dataclasses.fields(Protocol)}
        for name in table:
            if name not in fields:
                raise Problem(f"a protocol has no {name!r}{nearest(name, fields)}")
        if "returns" not in table:
            raise Problem(f"a protocol needs `returns`: {' or '.join(RETURNS)}")
        choices = {"returns": RETURNS, "policy": POLICIES, "statistic": tuple(STATISTICS), "of": QUANTITIES}
        for name, value in table.items():
            if name in choices:
                if value not in choices[name]:
                    raise Problem(
                        f"{name} {value!r} is none of {', '.join(choices[name])}{nearest(value, choices[name])}"
                    )
            elif name == "discount":
                if type(value) not in (int, float) or not 0 < value <= 1:
                    raise Problem(f"discount {value!r} is not above 0 and at most 1")
            elif name == "note":
                if not isinstance(value, str):
                    raise Problem(f"note {value!r} is not a text")
            else:
                least = 0 if name == "after_step" else 1
                if type(value) is not int or value < least:
                    raise Problem(f"{name} {value!r} is not a whole number of at least {least}")
        protocol = Protocol(**table)
        protocol._check()
        return protocol

    def _check(self) -> None:
        if self.returns == "training" and self.statistic not in ("mean", "other"):
            raise Problem(f"{self.statistic!r} is a statistic of evaluations, not of training episodes")
        if self.returns == "training" and (self.eval_every or self.eval_episodes):
            raise Problem("a protocol of training returns has no evaluations: leave eval_every and eval_episodes out")
        if self.returns == "training" and self.policy == "deterministic":
            raise Problem("training returns are those of the exploring policy: leave policy out")
        chosen = [name for name in ("last", "after_step", "to_step", "eval_every") if getattr(self, name) is not None]
        if self.statistic == "one agent" and chosen:
            raise Problem(f"{chosen[0]} says nothing of 'one agent', which is the final evaluation: leave it out")
        if self.of == "length" and (self.returns != "training" or self.discount != 1):
            raise Problem("of 'length' is for training episodes, and knows no discount")
        if self.statistic == "other" and not self.note:
            raise Problem("the statistic 'other' needs a `note` that says what the number is")
        if None not in (self.after_step, self.to_step) and self.after_step >= self.to_step:  # type: ignore[operator]
            raise Problem(f"after_step {self.after_step} is not before to_step {self.to_step}")

    def to_table(self) -> dict[str, Any]:
        """The inverse of `from_table`: what differs from the defaults."""
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name == "returns" or getattr(self, field.name) != field.default
        }

    def scaled(self, scale: float) -> Protocol:
        """That of runs of a fraction of the steps."""
        if scale == 1:
            return self
        steps = {
            name: max(1, round(value * scale))
            for name in ("after_step", "to_step", "eval_every")
            if (value := getattr(self, name)) is not None
        }
        return dataclasses.replace(self, **steps)

    def is_one_sided(self, spread_kind: str | None) -> bool:
        """Whether a number with such a spread is of one published agent, which ours reach or do not."""
        return self.statistic == "one agent" or spread_kind == "over episodes"

    @property
    def can_score(self) -> str | None:
        """Why runs cannot be scored by this protocol, or None where they can."""
        if self.statistic == "other":
            return f"its protocol cannot be computed from returns ({self.note})"
        if self.discount != 1:
            return f"its returns are discounted by {self.discount:g} a step, and runs record undiscounted ones"
        return None

    def describe(self) -> str:
        """The protocol in words, for a table or a sentence."""
        if self.statistic == "other":
            return self.note
        points = "episodes" if self.returns == "training" else "evaluations"
        window = ""
        if self.after_step is not None and self.to_step is not None:
            window = f" between env steps {self.after_step:,} and {self.to_step:,}"
        elif self.to_step is not None:
            window = f" up to env step {self.to_step:,}"
        elif self.after_step is not None:
            window = f" after env step {self.after_step:,}"
        if self.last is None:
            chosen = f"all {points}"
        else:
            chosen = f"the last {self.last:,} {points}" if self.last > 1 else f"the last {points[:-1]}"
        policy = {"deterministic": "deterministic ", "stochastic": "stochastic ", "not stated": ""}[self.policy]
        detail = ", ".join(
            text
            for text in (
                f"every {self.eval_every:,} env steps" if self.eval_every else "",
                f"{self.eval_episodes:,} episodes each" if self.eval_episodes else "",
                f"discounted by {self.discount:g}" if self.discount != 1 else "",
            )
            if text
        )
        kind = f"{policy}{self.returns} {'return' if self.of == 'return' else 'episode length in steps'}"
        text = {
            "mean": f"{kind}, mean of {chosen}{window}",
            "max of seed mean": f"{kind}, maximum over time of the seeds' mean, {chosen}{window}",
            "mean of seed maxima": f"{kind}, mean of each seed's maximum, {chosen}{window}",
            "one agent": f"{kind} of one trained agent",
        }[self.statistic]
        return f"{text} ({detail})" if detail else text


def refuse(claimed: Protocol, scored: Protocol) -> str | None:
    """Why a number scored by one protocol is no answer to a claim by another; None where it is one."""
    for field in dataclasses.fields(Protocol):
        if field.name == "note":
            continue
        ours, theirs = getattr(scored, field.name), getattr(claimed, field.name)
        if field.name == "policy" and "not stated" in (ours, theirs):
            continue
        if ours != theirs:
            return (
                f"scored as {scored.describe()!r}, but the claim is {claimed.describe()!r} "
                f"({field.name}: {ours} against {theirs})"
            )
    return None


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
    diverged: bool = False  #: the policy that it ended with holds NaN or infinity

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


@dataclasses.dataclass(frozen=True)
class Score:
    """A protocol's number, and what each seed contributes to it."""

    protocol: Protocol
    per_seed: Mapping[int, float]  #: the seeds that have a value
    missing: Mapping[int, str]  #: the seeds that have none, and why: shown, never dropped
    at_step: int | None = None  #: where the maximum over time lies
    broken: frozenset[int] = frozenset()  #: those of `missing` that broke, or had a return that is not finite

    @property
    def values(self) -> np.ndarray:
        return np.array(list(self.per_seed.values()), np.float64)

    @property
    def mean(self) -> float:
        """The protocol's number; NaN where no seed has a value."""
        return float(self.values.mean()) if self.per_seed else math.nan

    @property
    def missing_text(self) -> str:
        """The seeds without a score and why, as "seed 3: it stopped at env step 900", three of them at most."""
        seeds = [f"seed {seed}: {why}" for seed, why in self.missing.items()]
        return "; ".join(seeds[:3]) + (f"; and {len(seeds) - 3} more" if len(seeds) > 3 else "")


def score(protocol: Protocol, histories: Sequence[History]) -> Score:
    """Score runs by a protocol. `Problem` where it cannot be computed, or a seed is there twice."""
    if protocol.can_score is not None:
        raise Problem(f"a claim cannot be scored: {protocol.can_score}")
    seeds = [history.seed for history in histories]
    twice = [seed for seed in seeds if seeds.count(seed) > 1]
    if twice:
        raise Problem(f"seed {twice[0]} is there twice: the same run must not count as two")
    points, missing, broken = _by_seed(protocol, histories)
    best = None
    if protocol.statistic == "max of seed mean":
        best, per_seed = _at_best_mean(points)
    else:
        over = np.max if protocol.statistic.endswith("maxima") else np.mean
        per_seed = {seed: float(over(one[:, 1])) for seed, one in points.items()}
    return Score(protocol, per_seed, missing, best, broken)


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
    return histories if protocol.of == "return" else [history.lengths() for history in histories]


def measured_score(protocol: Protocol, histories: Sequence[History]) -> Score:
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
    return Score(protocol, per_seed, missing)


def window(protocol: Protocol, histories: Sequence[History]) -> tuple[float, float] | None:
    """The first and the last env step of what counts, over all seeds that have a score; None where none has."""
    counted = [points for points, lack in (_counted(protocol, history) for history in histories) if not lack]
    steps = np.concatenate([points[:, 0] for points in counted]) if counted else np.empty(0)
    return (float(steps.min()), float(steps.max())) if len(steps) else None


def _counted(protocol: Protocol, history: History) -> tuple[np.ndarray, str]:
    """The points `[k, 2]` that count, and why the seed has no score, or ""."""
    kind = "episode" if protocol.returns == "training" else "evaluation"
    if protocol.statistic == "one agent":
        points = np.column_stack([np.full(len(history.final), history.steps), history.final])
        if history.stopped:
            return points, f"it stopped at env step {history.steps:,} ({history.stopped})"
        return points, "" if len(points) else "it has no final evaluation"
    points = history.points(protocol.returns)
    if history.steps < (protocol.to_step or 0) or (history.stopped and protocol.to_step is None):
        return points, f"it stopped at env step {history.steps:,}" + (history.stopped and f" ({history.stopped})")
    steps = _when_due(points[:, 0], protocol.eval_every) if protocol.eval_every else points[:, 0]
    inside = np.ones(len(points), bool)
    if protocol.to_step is not None:
        inside &= steps <= protocol.to_step
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


def _when_due(steps: np.ndarray, every: int) -> np.ndarray:
    """The env steps of evaluations, those that were due a little earlier at the multiple of `every`.

    An evaluation stands at the end of the step of all sub-environments in which it was due: it is the first at or after
    the multiple, and less than `LATE` of the way to the next.
    """
    due = steps // every * every
    before = np.concatenate([[-1.0], steps[:-1]])
    return np.where((before < due) & (steps - due < LATE * every), due, steps)
