"""The guarded tests of a claim's mean: against a paper's seeds, a band, a bound."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
import numpy.typing as npt
from scipy import special

from rlrepro.errors import Problem
from rlrepro.papers.stats.plain import equivalence_p, one_sided, welch_se
from rlrepro.papers.stats.reported import Reported
from rlrepro.papers.stats.values import (
    ALPHA,
    CONFIDENCE,
    MIN_SEEDS,
    Array,
    Values,
    as_values,
    capital,
    mean_of,
    sd_of,
    sentence,
)

# By how much the smaller variance counts, at none at all, in the larger: see `guarded_se`.
LOAN, LOAN_OF_MANY = 4.0, 2.0
# The part of a margin whose square the guarded test adds to either variance.
IMAGINED = 0.5
# A spread that the paper does not print is taken for this many times ours, and this many margins at least: twice
# ours, which would do for normal returns, is too little where ten capped seeds show none.
ASSUMED_SPREAD = 3.0
ASSUMED_LEAST = 1.25
# A number of seeds that the paper does not print.
ASSUMED_SEEDS = 1


@dataclass(frozen=True)
class ClaimTest:
    """One claim, tested. Differences are measured − reported.

    `low`–`high` is the 95 % interval of the difference, `low_90`–`high_90` the 90 % one: the claim is equivalent at 5 %
    just when that lies inside ± margin and the test does not abstain. `p_above` is one-sided, for "ours is above" (of a
    band: above its upper end).
    `used_*` are the guarded standard deviations; `reported_sd` is None where unknown. `assumed` is what had to be
    assumed, "" if nothing.
    """

    measured_seeds: int
    reported_seeds: int | None
    margin: float
    difference: float
    low: float
    high: float
    low_90: float
    high_90: float
    p_equivalence: float
    p_difference: float
    p_above: float
    p_below: float
    se: float
    df: float
    measured_sd: float | None
    reported_sd: float | None
    used_measured_sd: float
    used_reported_sd: float
    notes: tuple[str, ...] = ()
    assumed: str = ""

    @property
    def direction(self) -> Literal["above", "below"]:
        return "above" if self.difference > 0 else "below"


def guarded_se(
    var_x: npt.ArrayLike, n_x: int, var_y: npt.ArrayLike | None, n_y: int, margin: npt.ArrayLike
) -> tuple[Array, Array, Array, Array]:
    """Standard error of the difference, its degrees of freedom, and the two guarded variances, elementwise.

    The guards, each of which `rlrepro calibrate` shows to be needed:

    1. The smaller variance counts as 4 s_other² − 3 s²: once the other where they are equal, twice the other in
       standard deviations where it is none at all. A few seeds show too little spread by chance, above all where they
       all met the same one of two modes. Ours over `MIN_SEEDS` or more, of which that is seldom true, counts as
       2 s_other² − s².
    2. Each variance grows by the square of `IMAGINED` margins, of a whole one where ours has fewer than `MIN_SEEDS`:
       where neither side shows any spread nothing is certain all the same. It is no estimate, and costs no degrees of
       freedom.
    3. A paper's spread that is unknown (`var_y` None) counts as `ASSUMED_SPREAD` times ours, and as `ASSUMED_LEAST`
       margins at least.
    4. Degrees of freedom are Satterthwaite's, of two parts: what is lent rests on the seeds that lend it, as their own
       variance does. Where ours has fewer than `MIN_SEEDS` they are those of the larger variance, on which both rest,
       at most ours, and those of what is estimated alone: where the paper's spread is far smaller, or its seeds are
       many, Satterthwaite's would take what our few seeds show for known.
    """
    var_x = np.asarray(var_x, float)
    df_x = max(n_x - 1, 1)
    df_y = n_y - 1 if n_y > 1 else df_x
    margin = np.asarray(margin, float)
    floor = (margin * (IMAGINED if n_x >= MIN_SEEDS else 1)) ** 2
    if var_y is None:
        used_x, used_y = var_x + floor, np.maximum(ASSUMED_SPREAD**2 * var_x, (ASSUMED_LEAST * margin) ** 2)
        se = np.sqrt(used_x / n_x + used_y / n_y)
        return se, np.full_like(se, df_x), used_x, used_y
    var_y = np.asarray(var_y, float)
    loan = LOAN_OF_MANY if n_x >= MIN_SEEDS else LOAN
    lent_to_x, lent_to_y = loan * np.maximum(var_y - var_x, 0), LOAN * np.maximum(var_x - var_y, 0)
    seen_x, seen_y = var_x + lent_to_x, var_y + lent_to_y
    rests_on_x, rests_on_y = var_x / n_x + lent_to_y / n_y, var_y / n_y + lent_to_x / n_x
    se, df = welch_se(rests_on_x, df_x, 1, rests_on_y, df_y, 1)
    whole = np.square(se) + floor * (1 / n_x + 1 / n_y)
    share = np.divide(np.square(se), whole, out=np.ones_like(whole), where=whole > 0)  # that is estimated
    df = df / np.maximum(np.square(share), 1e-9)
    if n_x < MIN_SEEDS:
        df = np.where(var_x < var_y, min(df_x, df_y), df_x).astype(float)
    return np.sqrt(whole), df, seen_x + floor, seen_y + floor


def _check_margin(margin: float) -> None:
    if not (math.isfinite(margin) and margin > 0):
        raise Problem(f"the margin is {margin}; expected a number above 0")


def claim_test(measured: Values, reported: Reported, margin: float) -> ClaimTest:
    """Test one claim: equivalence within ± margin and difference, by the guarded t test of `guarded_se`."""
    x = as_values(measured, "measured", 1)
    _check_margin(margin)
    n, spread, notes, assumed = len(x), reported.sample_spread(), [], []
    if spread.note:
        notes.append(sentence(spread.note))
    m = reported.num_seeds
    if m is None:
        m = ASSUMED_SEEDS
        assumed.append(f"the paper's number of seeds is unknown: taken for {ASSUMED_SEEDS}")
    sd, measured_sd = spread.sd, sd_of(x) if n > 1 else None
    difference, abstains = mean_of(x) - reported.center, n < MIN_SEEDS
    if abstains:
        notes.append(f"{n} measured seed{'s' * (n > 1)}: reproduced needs at least {MIN_SEEDS}.")
    if measured_sd == 0:
        notes.append(f"All {n} measured seeds gave the same: {'1' if abstains else IMAGINED} of a margin is counted.")
    if sd is None:
        assumed.append(
            f"the paper's standard deviation over seeds is unknown: taken for {ASSUMED_SPREAD:g} times ours"
            f" ({ASSUMED_LEAST:g} margins at least)"
        )
    if 1 < m < MIN_SEEDS:
        notes.append(
            f"Were 30 % of the paper's seeds to fail, its {m} would not show it with probability {0.7**m:.0%}: "
            "no test can see that."
        )
    if measured_sd is None and sd is not None:
        notes.append("One measured seed shows no spread: the paper's is taken for it, and nothing is decided.")
    if measured_sd is None and sd is None:
        notes.append("Neither side has a spread over seeds: nothing can be concluded.")
        se, df, used_x, used_y = math.inf, 1.0, math.inf, math.inf
    elif measured_sd is None:
        variance = cast(float, sd) ** 2 + margin**2
        se, df = math.sqrt(variance * (1 + 1 / m)), float(max(m - 1, 1))
        used_x = used_y = variance
    else:
        guarded = guarded_se(measured_sd**2, n, None if sd is None else sd**2, m, margin)
        se, df, used_x, used_y = (float(value) for value in guarded)
        if sd is not None and max(measured_sd, sd) > 2 * min(measured_sd, sd):
            small, large = ("our", "the paper's") if measured_sd < sd else ("the paper's", "our")
            notes.append(
                f"{capital(small)} spread is less than half {large if large != 'our' else 'ours'}: "
                "it may have missed a mode by chance, and is counted for more."
            )
        if sd is None and n < MIN_SEEDS:
            notes.append(f"The paper's spread is unknown: above or below, too, needs at least {MIN_SEEDS} seeds.")
    above, below = (float(p) for p in one_sided(difference, se, df))
    equal = float(equivalence_p(difference, se, df, margin))
    different = min(1.0, 2 * min(above, below))
    if (sd is None and abstains) or n == 1:
        above = below = different = 1.0
    half, half_90 = (float(special.stdtrit(df, level)) * se for level in (0.5 + CONFIDENCE / 2, 1 - ALPHA))
    return ClaimTest(
        measured_seeds=n, reported_seeds=reported.num_seeds,
        margin=margin, difference=difference, low=difference - half, high=difference + half,
        low_90=difference - half_90, high_90=difference + half_90,
        p_equivalence=1.0 if abstains else equal, p_difference=different, p_above=above, p_below=below,
        se=se, df=df, measured_sd=measured_sd, reported_sd=sd,
        used_measured_sd=math.sqrt(used_x), used_reported_sd=math.sqrt(used_y),
        notes=tuple(notes), assumed="; ".join(assumed),
    )  # fmt: skip


def band_test(measured: Values, reported: float, margin: float) -> ClaimTest:
    """Does our mean lie in the band `reported` ± `margin` that "about" stands for?

    One-sample t tests with the second guard of `guarded_se` on our variance: no paper's spread can lend to it. The band
    is all the room that the printed number has: it is read as a round number, not as a sample of its own. So ours is
    above or below where its mean lies beyond an end of the band.
    """
    return _one_sample(measured, reported, margin, "")


def bound_test(measured: Values, bound: float, rule: str, margin: float) -> ClaimTest:
    """Does our mean keep a printed bound, "at most" or "at least" that? Its contrary is that it lies beyond.

    One-sided t tests with the second guard of `guarded_se`, of which `margin` is the scale: half a unit of the last
    printed digit. With ten seeds of skewed or capped returns they err in up to a fifth of cases (`rlrepro calibrate`):
    nothing but our seeds tells of a spread.
    """
    return _one_sample(measured, bound, margin, rule)


def _one_sample(measured: Values, reported: float, margin: float, rule: str) -> ClaimTest:
    x = as_values(measured, "measured", 1)
    _check_margin(margin)
    n, notes = len(x), []
    difference, abstains, sd = mean_of(x) - reported, n < MIN_SEEDS, sd_of(x) if n > 1 else None
    if abstains:
        notes.append(f"{n} measured seed{'s' * (n > 1)}: a verdict needs at least {MIN_SEEDS}.")
    if sd == 0:
        notes.append(
            f"All {n} measured seeds gave the same: {'1' if abstains else IMAGINED} of a margin is counted. "
            f"Of what one seed in ten would do, {n} show nothing in {0.9**n:.0%} of cases."
        )
    se, df, used = (float(value) for value in one_sample_se(math.inf if sd is None else sd**2, n, margin))
    if rule:
        above, below = (float(p) for p in one_sided(difference, se, df))
        equal, different = (below, above) if rule == "at most" else (above, below)
    else:
        above, below = (float(one_sided(difference - end, se, df)[side]) for side, end in enumerate((margin, -margin)))
        equal, different = float(equivalence_p(difference, se, df, margin)), min(1.0, 2 * min(above, below))
    if abstains:
        above = below = equal = different = 1.0
    half, half_90 = (float(special.stdtrit(df, level)) * se for level in (0.5 + CONFIDENCE / 2, 1 - ALPHA))
    return ClaimTest(
        measured_seeds=n, reported_seeds=None,
        margin=margin, difference=difference, low=difference - half, high=difference + half,
        low_90=difference - half_90, high_90=difference + half_90,
        p_equivalence=equal, p_difference=different, p_above=above, p_below=below,
        se=se, df=df, measured_sd=sd, reported_sd=None, used_measured_sd=math.sqrt(used), used_reported_sd=0.0,
        notes=tuple(notes),
    )  # fmt: skip


def one_sample_se(var_x: npt.ArrayLike, n: int, margin: float) -> tuple[Array, int, Array]:
    """Standard error, degrees of freedom and the variance used, of n seeds of ours with these sample variances.

    A share of the margin is counted with our spread; it is no estimate, but lends no degrees of freedom here.
    """
    used = np.asarray(var_x) + (margin * (1 if n < MIN_SEEDS else IMAGINED)) ** 2
    return np.sqrt(used / n), max(n - 1, 1), used
