"""How many seeds decide a claim: the power of its guarded test."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import special

from rlrepro.errors import Problem
from rlrepro.papers.stats import (
    ALPHA,
    ASSUMED_SEEDS,
    ASSUMED_SPREAD,
    LOAN,
    MIN_SEEDS,
    Reported,
    guarded_se,
    one_sample_se,
)

POWER = 0.8
_MOST = 1_000_000


@dataclass(frozen=True)
class SeedsNeeded:
    """`seeds` of ours that give `power`, None where no number does; `note` says which and why."""

    seeds: int | None
    power: float
    note: str
    alone: int | None = None  #: where none does, and so many would without the correction for a card's other claims
    is_raised: bool = False  #: where none does: for that alone, that the paper's spread is raised beside our wider one


def seeds_needed(
    sd: float,
    reported: Reported | None,
    margin: float,
    difference: float = 0.0,
    test: Literal["equivalence", "difference"] = "equivalence",
    power: float = POWER,
    alpha: float = ALPHA,
    from_printed: bool = False,
) -> SeedsNeeded:
    """Seeds of ours for which a true `difference` is decided with the wanted power, given our spread `sd`.

    With the guards of `claim_test` and the paper's own uncertainty (`power_at`, which says what `from_printed` takes as
    given), or of `band_test` where nothing is `reported` but the number, by doubling and bisection. Holm's correction
    over k claims asks alpha / k of the first of them.
    """
    if not (math.isfinite(sd) and sd >= 0):
        raise Problem(f"the spread is {sd}; expected a number from 0 up")
    if not (math.isfinite(margin) and margin > 0):
        raise Problem(f"the margin is {margin}; expected a number above 0")
    if test == "equivalence" and abs(difference) >= margin:
        return SeedsNeeded(None, 0.0, "the difference is no smaller than the margin: no number of seeds makes it equal")
    if test == "difference" and abs(difference) <= (margin if reported is None else 0):
        return SeedsNeeded(None, 0.0, "there is no difference to be found")
    abstains = test == "equivalence" or reported is None or reported.sample_sd is None
    least = MIN_SEEDS if abstains else 2
    powers: dict[int, float] = {}

    def reached(n: int) -> bool:
        powers[n] = power_at(n, sd, reported, margin, difference, test, alpha, from_printed)
        return powers[n] >= power

    high = least
    while not reached(high):
        if high >= _MOST:
            if reported is None:
                return SeedsNeeded(None, max(powers.values()), "our mean lies too near an end of the band")
            theirs = reported.sample_sd
            is_raised = False
            open_ = "the paper's own uncertainty is too large"
            if theirs is None:
                open_ = "the paper's uncertainty, lent from our spread, is too large"
            elif theirs < sd:
                # with ours no wider than the paper's, which nothing then raises
                is_raised = power_at(_MOST, theirs, reported, margin, difference, test, alpha, from_printed) >= power
            if is_raised and theirs is not None:
                counted = math.sqrt(LOAN * sd**2 - (LOAN - 1) * theirs**2)
                open_ = f"the paper's spread of {theirs:,.4g} counts as up to {counted:,.4g} beside our {sd:,.4g}"
            why = f"no number of our seeds decides it: {open_}"
            return SeedsNeeded(None, max(powers.values()), why, is_raised=is_raised)
        high = min(2 * high, _MOST)
    low = max(high // 2, least - 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return SeedsNeeded(high, powers[high], f"{high} seeds" + ", the fewest that can decide" * (high == least))


def power_at(
    n: int,
    sd: float,
    reported: Reported | None,
    margin: float,
    difference: float = 0.0,
    test: Literal["equivalence", "difference"] = "equivalence",
    alpha: float = ALPHA,
    from_printed: bool = False,
) -> float:
    """Probability that the test decides at n seeds of ours, if returns are normal and spreads as they look.

    Given our sample variance the standard error is known and our mean independent of it, so that the probability is
    normal; it is averaged over the quantiles of that variance. The paper's spread is taken as printed. `difference` is
    that of our true mean from the paper's true one, of which its printed mean is a draw, or, `from_printed`, from the
    printed mean itself, which then does not vary; so it is where nothing else is `reported`.
    """
    quantiles = (np.arange(400) + 0.5) / 400
    var_x = sd**2 * 2 * special.gammaincinv((n - 1) / 2, quantiles) / (n - 1)
    of_paper = 0.0
    df: float | np.ndarray
    if reported is None:
        se, df, _ = one_sample_se(var_x, n, margin)
    else:
        m, reported_sd = reported.num_seeds or ASSUMED_SEEDS, reported.sample_sd
        se, df, *_ = guarded_se(var_x, n, None if reported_sd is None else reported_sd**2, m, margin)
        if not from_printed:
            of_paper = (ASSUMED_SPREAD * sd if reported_sd is None else reported_sd) ** 2 / m
    true_se = max(math.sqrt(sd**2 / n + of_paper), 1e-9 * margin)
    if test == "equivalence":
        room = np.maximum(margin - special.stdtrit(df, 1 - alpha) * se, 0)
        found = special.ndtr((room - difference) / true_se) - special.ndtr((-room - difference) / true_se)
    else:
        edge = special.stdtrit(df, 1 - alpha / 2) * se + (margin if reported is None else 0)  # of the band
        found = special.ndtr((-edge - difference) / true_se) + special.ndtr((difference - edge) / true_se)
    return float(found.mean())
