"""One number a seed: checked, and its mean and spread to the bit where all are the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rlrepro.errors import Problem, count_of

Array = npt.NDArray[np.float64]
Values = Sequence[float] | Array
Number = float | Array

ALPHA = 0.05
CONFIDENCE = 0.95
# With 30 % of seeds failing, five seeds all look alike with probability 17 %, ten with 3 %.
MIN_SEEDS = 10


def as_values(values: Values, name: str, least: int) -> Array:
    """`[S]` in float64; NaN, infinity or too few are a `Problem`."""
    x = np.asarray(values, float)
    if x.ndim != 1:
        raise Problem(f"{name} has shape {list(x.shape)}; expected one value a seed")
    if len(x) < least:
        raise Problem(f"{name} has {count_of(len(x), 'seed')}; expected {least} or more")
    bad = np.flatnonzero(~np.isfinite(x))
    if len(bad):
        raise Problem(f"{name} holds {x[bad[0]]} (value {bad[0] + 1} of {len(x)}); expected finite numbers")
    return x


def mean_of(x: Array) -> float:
    return float(x[0]) if (x == x[0]).all() else float(x.mean())


def sd_of(x: Array) -> float:
    """Sample standard deviation; exactly 0 where all are the same."""
    return 0.0 if (x == x[0]).all() else float(x.std(ddof=1))


def p_text(p: float) -> str:
    """A p-value as a reader wants it."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def sentence(text: str) -> str:
    return capital(text).rstrip(".") + "."
