"""What a paper printed: a number, and a spread of some kind over some number of seeds."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from rlrepro.errors import Problem, nearest
from rlrepro.papers.spreads import SPREADS
from rlrepro.papers.stats.values import CONFIDENCE

KINDS = tuple(SPREADS)


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
        if self.kind == "unknown":
            return Spread(None, "the paper does not say of which kind its spread is")
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
