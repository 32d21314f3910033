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
    ASSUMED_LEAST,
    ASSUMED_SEEDS,
    ASSUMED_SPREAD,
    MIN_SEEDS,
    Reported,
    guarded_se,
    one_sample_se,
    welch_se,
)

POWER = 0.8
_MOST = 1_000_000
#: the paper's own uncertainty, the guards of the test, the correction for a card's other claims, or these two together
OpenBy = Literal["", "paper", "guards", "correction", "guards and correction"]


@dataclass(frozen=True)
class SeedsNeeded:
    """`seeds` of ours that give `power`, None where no number does; `note` says which and why."""

    seeds: int | None
    power: float
    note: str
    open_by: OpenBy = ""  #: where none does: what leaves it open; "": nothing but the difference itself
    open_why: str = ""  #: the same in words


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
            by: OpenBy = "paper"
            open_ = "the paper's own uncertainty is too large"
            if theirs is None:
                taken = max(ASSUMED_SPREAD * sd, ASSUMED_LEAST * margin)
                open_ = f"the paper's own spread, which is unknown and taken for {taken:,.4g}, is too large"
            elif power_at(_MOST, sd, reported, margin, difference, test, alpha, from_printed, plain=True) >= power:
                by = "guards"
                _, _, _, counted = guarded_se(sd**2, _MOST, theirs**2, reported.num_seeds or ASSUMED_SEEDS, margin)
                open_ = (
                    f"the test is guarded, and counts the paper's spread of {theirs:,.4g} as {math.sqrt(counted):,.4g}"
                )
            why = f"no number of our seeds decides it: {open_}"
            return SeedsNeeded(None, max(powers.values()), why, by, open_)
        high = min(2 * high, _MOST)
    low = max(high // 2, least - 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return SeedsNeeded(high, powers[high], f"{high} seeds" + ", the fewest that can decide" * (high == least))


#: said where not `can_be_equal`
NEVER_EQUAL = (
    "its spread over seeds is not known, nor enough seeds: no number of ours can show it equal, only different"
)


def can_be_equal(reported: Reported, margin: float) -> bool:
    """Whether any number of our seeds, spread as little as can be, shows a number without a known spread to be equal.

    What is taken for the paper's spread is then a share of the margin, and its own seeds decide; the correction for a
    card's other claims, whose last step is none, is left out.
    """
    return seeds_needed(0.0, reported, margin).seeds is not None


def power_at(
    n: int,
    sd: float,
    reported: Reported | None,
    margin: float,
    difference: float = 0.0,
    test: Literal["equivalence", "difference"] = "equivalence",
    alpha: float = ALPHA,
    from_printed: bool = False,
    plain: bool = False,
) -> float:
    """Probability that the test decides at n seeds of ours, if returns are normal and spreads as they look.

    Given our sample variance the standard error is known and our mean independent of it, so that the probability is
    normal; it is averaged over the quantiles of that variance. The paper's spread is taken as printed. `difference` is
    that of our true mean from the paper's true one, of which its printed mean is a draw, or, `from_printed`, from the
    printed mean itself, which then does not vary; so it is where nothing else is `reported`. `plain`: by Welch's
    variances, without the guards, where the paper's spread is known.
    """
    quantiles = (np.arange(400) + 0.5) / 400
    var_x = sd**2 * 2 * special.gammaincinv((n - 1) / 2, quantiles) / (n - 1)
    of_paper = 0.0
    df: float | np.ndarray
    if reported is None:
        se, df, _ = one_sample_se(var_x, n, margin)
    else:
        m, reported_sd = reported.num_seeds or ASSUMED_SEEDS, reported.sample_sd
        if plain and reported_sd is not None:
            se, df = welch_se(var_x, n - 1, n, reported_sd**2, m - 1 or n - 1, m)
        else:
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
