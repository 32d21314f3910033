"""Tests and corrections as libraries have them: Welch's, the two one-sided ones, Holm's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from rlrepro.errors import Problem
from rlrepro.papers.stats.values import CONFIDENCE, Array, Number, Values, as_values, mean_of, sd_of


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
    return welch_from_summary(mean_of(x), sd_of(x), len(x), mean_of(y), sd_of(y), len(y))


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
