"""Acceptance against one published agent, which is one draw: do enough of our seeds reach it?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from scipy import special

from rlrepro.errors import Problem
from rlrepro.papers.stats.reported import Reported
from rlrepro.papers.stats.values import ALPHA, CONFIDENCE, MIN_SEEDS, Values, as_values

LEAST_SHARE = 0.05  #: of our seeds, that must reach a published agent


@dataclass(frozen=True)
class Acceptance:
    """`reached` of `seeds` came up to the published agent less the tolerance, `outright` of them to it without.

    `low`–`high` is Clopper–Pearson's interval of the `share`.
    """

    threshold: float
    reached: int
    outright: int
    seeds: int
    share: float
    low: float
    high: float
    p_below: float
    p_accepted: float
    verdict: Literal["accepted", "below", "inconclusive"]
    note: str = ""


def acceptance(measured: Values, reported: Reported | float, tolerance: float = 0.0) -> Acceptance:
    """One-sided acceptance against a single tuned published agent: does a share of `LEAST_SHARE` or more reach it?

    *below*: if that agent is one more draw from our distribution, its rank among ours is uniform, and the chance that
    no more than k of n reach it is (1 + k) / (n + 1), at most `ALPHA` (of 19 seeds none, of 39 one at most).
    *accepted*: were the share less, k or more of n would reach it with a chance of at most `ALPHA`, by the exact
    binomial test (of 10 seeds 3, of 20 four); never with fewer than `MIN_SEEDS`. Else *inconclusive*.
    """
    x = as_values(measured, "measured", 1)
    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise Problem(f"the tolerance is {tolerance}; expected a number from 0 up")
    published = reported.center if isinstance(reported, Reported) else float(reported)
    threshold = published - tolerance
    if not math.isfinite(threshold):
        raise Problem("the published return is NaN or infinite; expected a finite number")
    k, n = int((x >= threshold).sum()), len(x)
    p_below, p_accepted = (1 + k) / (n + 1), chance_of_so_many(k, n)
    verdict: Literal["accepted", "below", "inconclusive"] = "inconclusive"
    note = ""
    if p_below <= ALPHA:
        verdict = "below"
        if k:
            note = f"{k} of {n} seeds reach it: within our agent's reach, but too few do for it to be one of ours."
    elif p_accepted <= ALPHA and n >= MIN_SEEDS:
        verdict = "accepted"
    elif p_accepted <= ALPHA:
        note = f"{k} of {n} seeds reach it; to be reproduced takes at least {MIN_SEEDS} seeds."
    elif k:
        note = f"{k} of {n} seeds reach it: too few to show that one in {1 / LEAST_SHARE:.0f} does."
    else:
        note = f"None reaches it; {math.ceil(1 / ALPHA) - 1} seeds, none of them reaching it, would be below."
    low, high = share_interval(k, n)
    outright = int((x >= published).sum())
    return Acceptance(threshold, k, outright, n, k / n, low, high, p_below, p_accepted, verdict, note)


def chance_of_so_many(k: int, n: int) -> float:
    """That k or more of n draws reach what each reaches with a chance of `LEAST_SHARE`: the binomial's upper tail."""
    return float(special.betainc(k, n - k + 1, LEAST_SHARE)) if k else 1.0


def share_interval(k: int, n: int) -> tuple[float, float]:
    """Clopper and Pearson's exact interval (1934) of a share, k of n."""
    tail = (1 - CONFIDENCE) / 2
    low = 0.0 if k == 0 else float(special.betaincinv(k, n - k + 1, tail))
    high = 1.0 if k == n else float(special.betaincinv(k + 1, n - k, 1 - tail))
    return low, high
