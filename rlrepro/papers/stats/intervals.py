"""95 % intervals of a mean over seeds, of a number and of a curve."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from rlrepro.errors import Problem
from rlrepro.papers.stats.values import CONFIDENCE, Array, Values, as_values, mean_of, sd_of


@dataclass(frozen=True)
class Estimate:
    """A number and its 95 % interval; None where one seed gives none."""

    value: float
    low: float | None
    high: float | None
    note: str = ""


def mean_interval(measured: Values) -> Estimate:
    """The mean over seeds with its t interval."""
    x = as_values(measured, "measured", 1)
    mean, n = mean_of(x), len(x)
    if n == 1:
        return Estimate(mean, None, None, "one seed has no interval")
    half = float(special.stdtrit(n - 1, 0.5 + CONFIDENCE / 2)) * sd_of(x) / math.sqrt(n)
    note = f"all {n} seeds gave the same: the interval has no width, and says nothing of rarer outcomes"
    return Estimate(mean, mean - half, mean + half, "" if half > 0 else note)


def mean_band(curves: npt.ArrayLike) -> tuple[Array, Array, Array]:
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
        half = special.stdtrit(np.maximum(n - 1, 1), 0.5 + CONFIDENCE / 2) * np.sqrt(variance / n)
    half = np.where(n > 1, half, np.nan)
    return mean, mean - half, mean + half
