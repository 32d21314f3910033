"""Statistics of a claim: is the measured mean the reported one, within a margin?

Plain tests (Welch, two one-sided tests) are here as libraries have them. They fail at few seeds when returns are
capped, bimodal or skewed: where all of five seeds happen to agree, their variance is near zero and anything is
certain. What a verdict uses is `claim_test`, whose variances are guarded; `rlrepro calibrate` simulates both.

`measured` values are one number a seed, `[S]`. Every difference is measured − reported. NaN is a `Problem`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, cast

import numpy as np
import numpy.typing as npt
from scipy import special

from rlrepro.errors import Problem, nearest
from rlrepro.papers.spreads import SPREADS

Array = npt.NDArray[np.float64]
Values = Sequence[float] | Array
Number = float | Array

ALPHA = 0.05
CONFIDENCE = 0.95
# With 30 % of seeds failing, five seeds all look alike with probability 17 %, ten with 3 %.
MIN_SEEDS = 10
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

KINDS = tuple(kind for kind in SPREADS if kind != "unknown")  #: the kinds of spread that a test can count


# --- what a paper printed


@dataclass(frozen=True)
class Spread:
    """The sample standard deviation over seeds, None where unknown, and how it came about."""

    sd: float | None
    note: str = ""


@dataclass(frozen=True)
class Reported:
    """A published number over `seeds` seeds (None: not stated). `kind` is one of `KINDS` and says what `spread` is.

    An asymmetrical 95 % interval is given by `low` and `high` in place of `spread`. Where every seed's value was
    published, `per_seed` stands over mean, spread and seeds.
    """

    mean: float
    spread: float | None = None
    kind: str = "none"
    seeds: int | None = None
    per_seed: tuple[float, ...] | None = None
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise Problem(
                f"kind of spread {self.kind!r} is unknown{nearest(self.kind, KINDS)} (one of {', '.join(KINDS)})"
            )
        if not math.isfinite(self.mean):
            raise Problem(f"the reported mean is {self.mean}; expected a finite number")
        if self.spread is not None and (self.spread < 0 or math.isinf(self.spread)):
            raise Problem(f"the reported spread is {self.spread}; expected a number from 0 up")
        if self.seeds is not None and self.seeds < 1:
            raise Problem(f"the reported number of seeds is {self.seeds}; expected 1 or more")
        if self.per_seed is not None:
            object.__setattr__(self, "per_seed", tuple(float(value) for value in self.per_seed))
            if len(self.per_seed) == 0 or not np.isfinite(self.per_seed).all():
                raise Problem("the reported per-seed values hold NaN or infinity, or none; expected finite numbers")
            if self.seeds not in (None, len(self.per_seed)):
                raise Problem(f"{len(self.per_seed)} per-seed values are reported, but {self.seeds} seeds")
        if (self.low is None) != (self.high is None):
            raise Problem("an interval needs both low and high")
        if self.low is not None and self.high is not None:
            if self.kind != "interval 95":
                raise Problem(f"low and high belong to kind 'interval 95', not to {self.kind!r}")
            if not self.low <= self.mean <= self.high or not math.isfinite(self.high - self.low):
                raise Problem(
                    f"the reported mean {self.mean:g} lies outside its interval {self.low:g} to {self.high:g}"
                )

    @property
    def num_seeds(self) -> int | None:
        return len(self.per_seed) if self.per_seed is not None else self.seeds

    @property
    def center(self) -> float:
        """The mean that is tested: that of the per-seed values where they were published."""
        return float(np.mean(self.per_seed)) if self.per_seed is not None else self.mean

    @property
    def sample_sd(self) -> float | None:
        return self.sample_spread().sd

    def sample_spread(self) -> Spread:
        """The sample standard deviation over seeds from whatever was printed.

        Population sd × √(n / (n − 1)); standard error × √n; half an interval over its t quantile, × √n.
        """
        seeds = self.num_seeds
        if self.per_seed is not None and seeds is not None and seeds > 1:
            note = "the paper's per-seed values were used"
            scale = max(abs(self.mean), float(np.ptp(self.per_seed)))
            if abs(self.center - self.mean) > 0.005 * scale:
                note += f"; their mean is {self.center:g}, not the {self.mean:g} printed"
            return Spread(float(np.std(self.per_seed, ddof=1)), note)
        if seeds == 1:
            return Spread(None, "the paper has one seed, which shows no spread over seeds")
        if self.kind == "over episodes":
            return Spread(None, "the paper's spread is over the episodes of one agent, which says nothing of seeds")
        spread = self.spread
        if self.low is not None and self.high is not None:
            spread = (self.high - self.low) / 2
        if self.kind == "none" or spread is None or math.isnan(spread):
            return Spread(None, "the paper does not print a spread over seeds")
        if spread == 0:
            return Spread(0.0, "the paper prints a spread of zero")
        if self.kind == "sample sd":
            return Spread(spread)
        if seeds is None:
            return Spread(None, f"the paper prints a {self.kind} without its number of seeds")
        if self.kind == "population sd":
            return Spread(spread * math.sqrt(seeds / (seeds - 1)), "population sd × √(n / (n − 1))")
        if self.kind == "standard error":
            return Spread(spread * math.sqrt(seeds), "standard error × √n")
        quantile = float(special.stdtrit(seeds - 1, 0.5 + CONFIDENCE / 2))
        return Spread(spread / quantile * math.sqrt(seeds), "half the 95 % interval / t quantile × √n")


# --- plain tests, as libraries have them


@dataclass(frozen=True)
class Welch:
    """Welch's t test. `p_above` is one-sided, against "x is not above y"; `p_below` the contrary."""

    difference: float
    se: float
    df: float
    p_difference: float
    p_above: float
    p_below: float

    @property
    def half_width(self) -> float:
        """Half of the 95 % interval of the difference."""
        return float(special.stdtrit(self.df, 0.5 + CONFIDENCE / 2)) * self.se


def welch(x: Values, y: Values) -> Welch:
    """Welch's two-sample t test (Welch, 1947), x − y; as SciPy's `ttest_ind(equal_var=False)`."""
    x, y = as_values(x, "x", 2), as_values(y, "y", 2)
    return welch_from_summary(_mean(x), _sd(x), len(x), _mean(y), _sd(y), len(y))


def welch_from_summary(mean_x: float, sd_x: float, n_x: int, mean_y: float, sd_y: float, n_y: int) -> Welch:
    """Welch's test from means and sample standard deviations; as SciPy's `ttest_ind_from_stats`."""
    se, df = welch_se(sd_x**2, n_x - 1, n_x, sd_y**2, n_y - 1, n_y)
    difference = mean_x - mean_y
    above, below = (float(p) for p in one_sided(difference, se, df))
    return Welch(difference, float(se), float(df), min(1.0, 2 * min(above, below)), above, below)


def welch_se(var_x: Number, df_x: Number, n_x: Number, var_y: Number, df_y: Number, n_y: Number) -> tuple[Array, Array]:
    """Standard error of a difference of means and Satterthwaite's degrees of freedom, elementwise."""
    of_x, of_y = np.asarray(var_x / n_x, float), np.asarray(var_y / n_y, float)
    squared = of_x + of_y
    largest = np.maximum(np.maximum(of_x, of_y), np.finfo(float).tiny)  # scaled, so that squares do not vanish
    df = (squared / largest) ** 2 / np.maximum((of_x / largest) ** 2 / df_x + (of_y / largest) ** 2 / df_y, 1e-300)
    return np.sqrt(squared), np.where(squared > 0, df, np.asarray(df_x + df_y, float))


def one_sided(difference: Number, se: Number, df: Number) -> tuple[Array, Array]:
    """p against "not above zero" and against "not below zero"; with no standard error 0, 1, or ½ at zero."""
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(np.asarray(se) > 0, np.divide(difference, se), np.sign(difference) * np.inf)
    t = np.where(np.isnan(t), 0.0, t)
    return special.stdtr(df, -t), special.stdtr(df, t)


def equivalence_p(difference: Number, se: Number, df: Number, margin: float) -> Array:
    """p of the two one-sided tests (Schuirmann, 1987) against |difference| ≥ margin, the larger, elementwise."""
    _, below = one_sided(np.abs(difference) - margin, se, df)
    return below


# --- the guarded test of a claim


@dataclass(frozen=True)
class ClaimTest:
    """One claim, tested. Differences are measured − reported.

    `low`–`high` is the 95 % interval of the difference, `low_90`–`high_90` the 90 % one: the claim is equivalent
    at 5 % just when that lies inside ± margin. `p_above` is one-sided, for "ours is above". `used_*` are the guarded
    standard deviations; `reported_sd` is None where unknown. `assumed` is what had to be assumed, "" if nothing.
    """

    measured_mean: float
    reported_mean: float
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

    1. The smaller variance counts as 4 s_other² − 3 s², with the other's degrees of freedom: once the other where
       they are equal, twice the other in standard deviations where it is none at all. A few seeds show too little
       spread by chance, above all where they all met the same one of two modes. Ours over `MIN_SEEDS` or more, of
       which that is seldom true, counts as 2 s_other² − s².
    2. Each variance grows by the square of `IMAGINED` margins, of a whole one where ours has fewer than `MIN_SEEDS`:
       where neither side shows any spread nothing is certain all the same. It is no estimate, and costs no degrees of
       freedom.
    3. A paper's spread that is unknown (`var_y` None) counts as `ASSUMED_SPREAD` times ours, and as `ASSUMED_LEAST`
       margins at least.
    4. Degrees of freedom are Satterthwaite's. Where ours has fewer than `MIN_SEEDS` they are those of the larger
       variance, on which both rest, at most ours, and those of what is estimated alone: where the paper's spread is far
       smaller, or its seeds are many, Satterthwaite's would take what our few seeds show for known.
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
    lent_x, lent_y = loan * var_y - (loan - 1) * var_x, LOAN * var_x - (LOAN - 1) * var_y
    seen_x, seen_y = np.maximum(var_x, lent_x), np.maximum(var_y, lent_y)
    rests_x, rests_y = np.where(lent_x > var_x, df_y, df_x), np.where(lent_y > var_y, df_x, df_y)
    se, df = welch_se(seen_x, rests_x, n_x, seen_y, rests_y, n_y)
    whole = np.square(se) + floor * (1 / n_x + 1 / n_y)
    share = np.divide(np.square(se), whole, out=np.ones_like(whole), where=whole > 0)  # that is estimated
    df = df / np.maximum(np.square(share), 1e-9)
    if n_x < MIN_SEEDS:
        df = np.where(var_x < var_y, min(df_x, df_y), df_x).astype(float)
    return np.sqrt(whole), df, seen_x + floor, seen_y + floor


def claim_test(measured: Values, reported: Reported, margin: float) -> ClaimTest:
    """Test one claim: equivalence within ± margin and difference, by the guarded t test of `guarded_se`."""
    x = as_values(measured, "measured", 1)
    if not (math.isfinite(margin) and margin > 0):
        raise Problem(f"the margin is {margin}; expected a number above 0")
    n, spread, notes, assumed = len(x), reported.sample_spread(), [], []
    if spread.note:
        notes.append(_sentence(spread.note))
    m = reported.num_seeds
    if m is None:
        m = ASSUMED_SEEDS
        assumed.append(f"the paper's number of seeds is unknown: taken for {ASSUMED_SEEDS}")
    sd, measured_sd = spread.sd, _sd(x) if n > 1 else None
    difference, abstains = _mean(x) - reported.center, n < MIN_SEEDS
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
        measured_mean=_mean(x), reported_mean=reported.center, measured_seeds=n, reported_seeds=reported.num_seeds,
        margin=margin, difference=difference, low=difference - half, high=difference + half,
        low_90=difference - half_90, high_90=difference + half_90,
        p_equivalence=1.0 if abstains else equal, p_difference=different, p_above=above, p_below=below,
        se=se, df=df, measured_sd=measured_sd, reported_sd=sd,
        used_measured_sd=math.sqrt(used_x), used_reported_sd=math.sqrt(used_y),
        notes=tuple(notes), assumed="; ".join(assumed),
    )  # fmt: skip


# --- Holm's correction and the verdict


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (Holm, 1979), in the order given."""
    p = np.asarray(p_values, float)
    if np.isnan(p).any() or (p < 0).any() or (p > 1).any():
        raise Problem("p-values lie between 0 and 1, and none is NaN")
    return [float(value) for value in holm_array(p)]


def holm_array(p: Array) -> Array:
    """Holm's correction over the last axis."""
    order = np.argsort(p, -1, kind="stable")
    steps = np.take_along_axis(p, order, -1) * np.arange(p.shape[-1], 0, -1)
    corrected = np.empty_like(p)
    np.put_along_axis(corrected, order, np.minimum(np.maximum.accumulate(steps, -1), 1), -1)
    return corrected


Word = Literal["reproduced", "above", "below", "inconclusive"]


class Tested(Protocol):
    """What `decide` reads: a `ClaimTest` or an `OrderTest`."""

    @property
    def p_equivalence(self) -> float: ...
    @property
    def p_difference(self) -> float: ...
    @property
    def direction(self) -> Literal["above", "below"]: ...


@dataclass(frozen=True)
class Decision:
    """A claim's verdict with its p-values after Holm's correction over the card."""

    verdict: Word
    p_equivalence: float
    p_difference: float


def decide(tests: Sequence[Tested], alpha: float = ALPHA) -> list[Decision]:
    """The verdicts over a card's claims, Holm-corrected for equivalence and for difference separately.

    *reproduced* where equivalence holds, even if the difference is significant: it is equal within the margin.
    """
    equal = holm([test.p_equivalence for test in tests])
    different = holm([test.p_difference for test in tests])
    return [
        Decision("reproduced" if p <= alpha else test.direction if q <= alpha else "inconclusive", p, q)
        for test, p, q in zip(tests, equal, different, strict=True)
    ]


# --- acceptance against one published agent


@dataclass(frozen=True)
class Acceptance:
    """`reached` of `seeds` came up to the published agent less the tolerance; `low`–`high` is Clopper–Pearson's."""

    threshold: float
    reached: int
    seeds: int
    share: float
    low: float
    high: float
    p_below: float
    p_accepted: float
    verdict: Literal["accepted", "below", "inconclusive"]
    note: str = ""


LEAST_SHARE = 0.05
"""The share of our seeds that must reach a published agent."""


def acceptance(
    measured: Values, reported: Reported | float, tolerance: float = 0.0, alpha: float = ALPHA
) -> Acceptance:
    """One-sided acceptance against a single tuned published agent: does a share of `LEAST_SHARE` or more reach it?

    *below*: if that agent is one more draw from our distribution, its rank among ours is uniform, and the chance that
    no more than k of n reach it is (1 + k) / (n + 1), which is at most alpha (of 19 seeds none, of 39 one at most).
    *accepted*: were the share less, k or more of n would reach it with a chance of at most alpha, by the exact binomial
    test (of 10 seeds 3, of 20 four); never with fewer than `MIN_SEEDS`. Else *inconclusive*.
    """
    x = as_values(measured, "measured", 1)
    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise Problem(f"the tolerance is {tolerance}; expected a number from 0 up")
    threshold = (reported.center if isinstance(reported, Reported) else float(reported)) - tolerance
    if not math.isfinite(threshold):
        raise Problem("the published return is NaN or infinite; expected a finite number")
    k, n = int((x >= threshold).sum()), len(x)
    p_below, p_accepted = (1 + k) / (n + 1), chance_of_so_many(k, n)
    verdict: Literal["accepted", "below", "inconclusive"] = "inconclusive"
    note = ""
    if p_below <= alpha:
        verdict = "below"
        if k:
            note = f"{k} of {n} seeds reach it: within our agent's reach, but too few do for it to be one of ours."
    elif p_accepted <= alpha and n >= MIN_SEEDS:
        verdict = "accepted"
    elif p_accepted <= alpha:
        note = f"{k} of {n} seeds reach it; to be reproduced takes at least {MIN_SEEDS} seeds."
    elif k:
        note = f"{k} of {n} seeds reach it: too few to show that one in {1 / LEAST_SHARE:.0f} does."
    else:
        note = f"None reaches it; {math.ceil(1 / alpha) - 1} seeds, none of them reaching it, would be below."
    low, high = share_interval(k, n)
    return Acceptance(threshold, k, n, k / n, low, high, p_below, p_accepted, verdict, note)


def chance_of_so_many(k: int, n: int, share: float = LEAST_SHARE) -> float:
    """That k or more of n draws reach what each reaches with a chance of `share`: the binomial's upper tail."""
    return float(special.betainc(k, n - k + 1, share)) if k else 1.0


def share_interval(k: int, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Clopper and Pearson's exact interval (1934) of a share, k of n."""
    tail = (1 - confidence) / 2
    low = 0.0 if k == 0 else float(special.betaincinv(k, n - k + 1, tail))
    high = 1.0 if k == n else float(special.betaincinv(k + 1, n - k, 1 - tail))
    return low, high


# --- numbers of a text: computed ones, bands and bounds

_ROUNDING = 1e-9  # of the arithmetic, relative to the printed number, or to the margin where that is smaller


@dataclass(frozen=True)
class ComputedTest:
    """What was computed and not sampled, beside what is printed, number by number: nothing is left to a test.

    By rule "exact" or "about" each lies within ± margin of the printed one ("exact": half a unit of its last digit);
    by "at most" and "at least" none lies beyond it.
    """

    measured: tuple[float, ...]
    reported: tuple[float, ...]
    margin: float
    rule: str

    @property
    def differences(self) -> tuple[float, ...]:
        return tuple(x - y for x, y in zip(self.measured, self.reported, strict=True))

    @property
    def excesses(self) -> tuple[float, ...]:
        """How far each lies beyond what its rule allows; negative within."""
        excess = {"at most": lambda d: d, "at least": lambda d: -d}.get(self.rule, lambda d: abs(d) - self.margin)
        return tuple(map(excess, self.differences))

    @property
    def outside(self) -> tuple[int, ...]:
        """Which are not as printed, from 0."""
        pairs = enumerate(zip(self.excesses, self.reported, strict=True))
        return tuple(index for index, (e, printed) in pairs if not e <= _ROUNDING * max(self.margin, abs(printed)))

    @property
    def worst(self) -> int:
        """Which is furthest off."""
        return int(np.argmax(self.excesses))

    @property
    def verdict(self) -> Word:
        if not self.outside:
            return "reproduced"
        furthest = max(self.outside, key=lambda index: self.excesses[index])
        return "above" if self.differences[furthest] > 0 else "below"


def band_test(measured: Values, reported: float, margin: float) -> ClaimTest:
    """Does our mean lie in the band `reported` ± `margin` that "about" stands for?

    One-sample t tests with the second guard of `guarded_se` on our variance: no paper's spread can lend to it. The band
    is all the room that the printed number has: it is read as a round number, not as a sample of its own.
    """
    return _one_sample(measured, reported, margin, "")


def bound_test(measured: Values, bound: float, rule: str, margin: float) -> ClaimTest:
    """Does our mean keep a printed bound, "at most" or "at least" that? Its contrary is that it lies beyond.

    One-sided t tests with the second guard of `guarded_se`, of which `margin` is the scale. With ten seeds of skewed or
    capped returns they err in up to a fifth of cases (`rlrepro calibrate`): nothing but our seeds tells of a spread.
    """
    return _one_sample(measured, bound, margin, rule)


def _one_sample(measured: Values, reported: float, margin: float, rule: str) -> ClaimTest:
    x = as_values(measured, "measured", 1)
    if not (math.isfinite(margin) and margin > 0):
        raise Problem(f"the margin is {margin}; expected a number above 0")
    n, notes = len(x), []
    difference, abstains, sd = _mean(x) - reported, n < MIN_SEEDS, _sd(x) if n > 1 else None
    if abstains:
        notes.append(f"{n} measured seed{'s' * (n > 1)}: a verdict needs at least {MIN_SEEDS}.")
    if sd == 0:
        notes.append(
            f"All {n} measured seeds gave the same: {'1' if abstains else IMAGINED} of a margin is counted. "
            f"Of what one seed in ten would do, {n} show nothing in {0.9**n:.0%} of cases."
        )
    used = math.inf if sd is None else math.sqrt(sd**2 + (margin * (1 if abstains else IMAGINED)) ** 2)
    se, df = used / math.sqrt(n), float(max(n - 1, 1))
    above, below = (float(p) for p in one_sided(difference, se, df))
    if rule:
        equal, different = (below, above) if rule == "at most" else (above, below)
    else:
        equal, different = float(equivalence_p(difference, se, df, margin)), min(1.0, 2 * min(above, below))
    if abstains:
        above = below = equal = different = 1.0
    half, half_90 = (float(special.stdtrit(df, level)) * se for level in (0.5 + CONFIDENCE / 2, 1 - ALPHA))
    return ClaimTest(
        measured_mean=_mean(x), reported_mean=reported, measured_seeds=n, reported_seeds=None,
        margin=margin, difference=difference, low=difference - half, high=difference + half,
        low_90=difference - half_90, high_90=difference + half_90,
        p_equivalence=equal, p_difference=different, p_above=above, p_below=below,
        se=se, df=df, measured_sd=sd, reported_sd=None, used_measured_sd=used, used_reported_sd=0.0, notes=tuple(notes),
    )  # fmt: skip


# --- claims of order


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


@dataclass(frozen=True)
class PairTest:
    """Two groups of seeds, x and y: x − y with its 95 % interval, None where neither has any spread."""

    difference: float
    low: float | None
    high: float | None
    p_above: float  #: one-sided, for "x is above"
    p_below: float

    @property
    def p(self) -> float:
        """Two-sided."""
        return min(1.0, 2 * min(self.p_above, self.p_below))


def pair_test(x: Values, y: Values) -> PairTest:
    """The guarded Welch test of two groups of two seeds or more; the scale of the guards is the larger spread.

    Neither group is a paper's: each is guarded as ours against the other, and the more cautious counts, so that the
    order in which they are named changes nothing but the sign. No p is smaller than the share of all ways to deal out
    the seeds that separate them so: a few can have a small spread by chance beyond what any guard makes good.
    """
    x, y = as_values(x, "the first group", 2), as_values(y, "the second group", 2)
    difference = _mean(x) - _mean(y)
    above, below, half = (float(one) for one in pair_p(difference, _sd(x) ** 2, len(x), _sd(y) ** 2, len(y)))
    low, high = (difference - half, difference + half) if half > 0 else (None, None)
    return PairTest(difference, low, high, above, below)


def pair_p(
    difference: npt.ArrayLike, var_x: npt.ArrayLike, n_x: int, var_y: npt.ArrayLike, n_y: int
) -> tuple[Array, Array, Array]:
    """`pair_test` elementwise: p for "x is above" and for "below", and half of the 95 % interval."""
    difference, scale = np.asarray(difference, float), np.sqrt(np.maximum(var_x, var_y))
    sides = (var_x, n_x), (var_y, n_y)
    ways = [guarded_se(*ours, *theirs, scale)[:2] for ours, theirs in (sides, sides[::-1])]
    above, below = (np.maximum(*p) for p in zip(*(one_sided(difference, *way) for way in ways), strict=True))
    half = np.maximum(*(special.stdtrit(df, 0.5 + CONFIDENCE / 2) * se for se, df in ways))
    rarest = 1 / math.comb(n_x + n_y, n_x)
    return np.maximum(above, rarest), np.maximum(below, rarest), half


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
        partial_conjunction(p_below, tasks - at_least + 1), tuple(notes),
    )  # fmt: skip


def partial_conjunction(p_values: Sequence[float], at_least: int) -> float:
    """p against "fewer than `at_least` of the n alternatives hold" (Benjamini and Heller, 2008, with Bonferroni).

    (n − k + 1) p_(k), made monotone in k; valid whatever the dependence.
    """
    p = np.sort(np.asarray(p_values, float))
    if not 1 <= at_least <= len(p) or np.isnan(p).any():
        raise Problem(f"at least {at_least} of {len(p)} p-values, none NaN; expected 1 to {len(p)}")
    return float(min(1.0, np.max((len(p) - np.arange(at_least)) * p[:at_least])))


# --- intervals of a mean


@dataclass(frozen=True)
class Estimate:
    """A number and its 95 % interval; None where one seed gives none."""

    value: float
    low: float | None
    high: float | None
    note: str = ""


def mean_interval(measured: Values, confidence: float = CONFIDENCE) -> Estimate:
    """The mean over seeds with its t interval."""
    x = as_values(measured, "measured", 1)
    mean, n = _mean(x), len(x)
    if n == 1:
        return Estimate(mean, None, None, "one seed has no interval")
    half = float(special.stdtrit(n - 1, 0.5 + confidence / 2)) * _sd(x) / math.sqrt(n)
    note = f"all {n} seeds gave the same: the interval has no width, and says nothing of rarer outcomes"
    return Estimate(mean, mean - half, mean + half, "" if half > 0 else note)


def mean_band(curves: npt.ArrayLike, confidence: float = CONFIDENCE) -> tuple[Array, Array, Array]:
    """Mean curve `[T]` with its pointwise t interval, low `[T]` and high `[T]`, from `[S, T]`.

    Seeds that have no value yet (NaN) are left out at that point; with fewer than two, its interval is NaN.
    """
    y = np.asarray(curves, float)
    if y.ndim != 2 or np.isinf(y).any():
        raise Problem(f"curves have shape {list(y.shape)} or infinite values; expected finite ones, [seeds, points]")
    known = ~np.isnan(y)
    n = known.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(known, y, 0).sum(0) / n
        variance = np.where(known, (y - mean) ** 2, 0).sum(0) / (n - 1)
        half = special.stdtrit(np.maximum(n - 1, 1), 0.5 + confidence / 2) * np.sqrt(variance / n)
    half = np.where(n > 1, half, np.nan)
    return mean, mean - half, mean + half


# --- small helpers


def as_values(values: Values, name: str, least: int) -> Array:
    """`[S]` in float64; NaN, infinity or too few are a `Problem`."""
    x = np.asarray(values, float)
    if x.ndim != 1:
        raise Problem(f"{name} has shape {list(x.shape)}; expected one value a seed")
    if len(x) < least:
        raise Problem(f"{name} has {len(x)} seed{'s' * (len(x) != 1)}; expected {least} or more")
    bad = np.flatnonzero(~np.isfinite(x))
    if len(bad):
        raise Problem(f"{name} holds {x[bad[0]]} (value {bad[0] + 1} of {len(x)}); expected finite numbers")
    return x


def _mean(x: Array) -> float:
    return float(x[0]) if (x == x[0]).all() else float(x.mean())


def _sd(x: Array) -> float:
    """Sample standard deviation; exactly 0 where all are the same."""
    return 0.0 if (x == x[0]).all() else float(x.std(ddof=1))


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _sentence(text: str) -> str:
    return capital(text).rstrip(".") + "."
