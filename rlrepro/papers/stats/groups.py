"""Groups of seeds against each other, none of them a paper's: a pair, and claims of order over tasks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import special

from rlrepro.errors import Problem
from rlrepro.papers.stats.claims import guarded_se
from rlrepro.papers.stats.plain import one_sided
from rlrepro.papers.stats.values import ALPHA, CONFIDENCE, MIN_SEEDS, Array, Values, as_values, mean_of, sd_of


@dataclass(frozen=True)
class PairTest:
    """Two groups of seeds, x and y: x − y with its 95 % interval, None where neither has any spread."""

    difference: float
    low: float | None
    high: float | None
    p_above: float  #: one-sided, for "x is above"
    p_below: float
    least_p: float  #: the smallest that `p` can be with so many seeds

    @property
    def p(self) -> float:
        """Two-sided."""
        return min(1.0, 2 * min(self.p_above, self.p_below))

    @property
    def too_few_to_tell(self) -> bool:
        """Whether the interval leaves out 0, and `p` is not significant because so few seeds cannot make it so."""
        apart = self.low is not None and self.high is not None and not self.low <= 0 <= self.high
        return apart and ALPHA <= self.least_p == self.p


def pair_test(x: Values, y: Values) -> PairTest:
    """The guarded Welch test of two groups of two seeds or more; the scale of the guards is the larger spread.

    Neither group is a paper's: each is guarded as ours against the other, and the more cautious counts, so that the
    order in which they are named changes nothing but the sign. No p is smaller than the share of all ways to deal out
    the seeds that separate them so: a few can have a small spread by chance beyond what any guard makes good.
    """
    y = as_values(y, "the second group", 2)
    return pair_test_from_summary(x, mean_of(y), sd_of(y), len(y))


def pair_test_from_summary(x: Values, mean_y: float, sd_y: float, n_y: int) -> PairTest:
    """`pair_test` where of the second group its mean, sample standard deviation and number of seeds are known."""
    x = as_values(x, "the first group", 2)
    difference = mean_of(x) - mean_y
    above, below, half = (float(one) for one in pair_p(difference, sd_of(x) ** 2, len(x), sd_y**2, n_y))
    low, high = (difference - half, difference + half) if half > 0 else (None, None)
    return PairTest(difference, low, high, above, below, min(1.0, 2 * rarest(len(x), n_y)))


def pair_p(
    difference: npt.ArrayLike, var_x: npt.ArrayLike, n_x: int, var_y: npt.ArrayLike, n_y: int
) -> tuple[Array, Array, Array]:
    """`pair_test` elementwise: p for "x is above" and for "below", and half of the 95 % interval."""
    difference, scale = np.asarray(difference, float), np.sqrt(np.maximum(var_x, var_y))
    sides = (var_x, n_x), (var_y, n_y)
    ways = [guarded_se(*ours, *theirs, scale)[:2] for ours, theirs in (sides, sides[::-1])]
    above, below = (np.maximum(*p) for p in zip(*(one_sided(difference, *way) for way in ways), strict=True))
    half = np.maximum(*(special.stdtrit(df, 0.5 + CONFIDENCE / 2) * se for se, df in ways))
    least = rarest(n_x, n_y)
    return np.maximum(above, least), np.maximum(below, least), half


def rarest(n_x: int, n_y: int) -> float:
    """The share of all ways to deal out the seeds of two groups that separate them: one-sided, no p is smaller."""
    return 1 / math.comb(n_x + n_y, n_x)


@dataclass(frozen=True)
class OrderTest:
    """The claim that A beats B on `at_least` of `tasks`: `p_holds` is small where it holds, `p_contrary` where not.

    `p_above` has, per task, the one-sided p for "A is above B"; `wins` counts the tasks where A's mean is higher.
    """

    tasks: int
    at_least: int
    wins: int
    differences: tuple[float, ...]
    p_above: tuple[float, ...]
    p_below: tuple[float, ...]
    p_holds: float
    p_contrary: float
    fewest: int  #: seeds of a side on a task
    notes: tuple[str, ...] = ()

    @property
    def p_equivalence(self) -> float:
        return self.p_holds

    @property
    def p_difference(self) -> float:
        return self.p_contrary

    @property
    def direction(self) -> Literal["above", "below"]:
        return "below"


def order_test(a: Sequence[Values], b: Sequence[Values], at_least: int) -> OrderTest:
    """Test a claim of order over tasks, by partial conjunction of one-sided guarded Welch tests.

    `a[t]` and `b[t]` hold task t's values over seeds. Its contrary is that B reaches A on more than tasks − at_least of
    them. With fewer than `MIN_SEEDS` seeds on any side nothing is shown to hold.
    """
    tasks = len(a)
    if tasks == 0 or len(b) != tasks:
        raise Problem(f"a claim of order compares the same tasks on both sides; got {tasks} and {len(b)}")
    if not 1 <= at_least <= tasks:
        raise Problem(f"at least {at_least} of {tasks} tasks; expected 1 to {tasks}")
    pairs = [pair_test(x, y) for x, y in zip(a, b, strict=True)]
    notes = [
        f"Task {task}: neither side has any spread; p is that of complete separation."
        for task, pair in enumerate(pairs, 1)
        if pair.low is None
    ]
    fewest = min(len(values) for values in (*a, *b))
    if fewest < MIN_SEEDS:
        notes.append(f"{fewest} seeds on a side: reproduced needs at least {MIN_SEEDS}.")
    p_above, p_below = tuple(pair.p_above for pair in pairs), tuple(pair.p_below for pair in pairs)
    return OrderTest(
        tasks, at_least, sum(pair.difference > 0 for pair in pairs), tuple(pair.difference for pair in pairs),
        p_above, p_below, partial_conjunction(p_above, at_least) if fewest >= MIN_SEEDS else 1.0,
        partial_conjunction(p_below, tasks - at_least + 1), fewest, tuple(notes),
    )  # fmt: skip


def partial_conjunction(p_values: Sequence[float], at_least: int) -> float:
    """p against "fewer than `at_least` of the n alternatives hold" (Benjamini and Heller, 2008, with Bonferroni).

    (n − k + 1) p_(k), made monotone in k; valid whatever the dependence.
    """
    p = np.sort(np.asarray(p_values, float))
    if not 1 <= at_least <= len(p) or np.isnan(p).any():
        raise Problem(f"at least {at_least} of {len(p)} p-values, none NaN; expected 1 to {len(p)}")
    return float(min(1.0, np.max((len(p) - np.arange(at_least)) * p[:at_least])))
