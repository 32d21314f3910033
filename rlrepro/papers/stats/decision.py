"""From tests to words: the verdicts of a card's claims, and numbers that nothing is left to a test of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from rlrepro.papers.stats.plain import holm
from rlrepro.papers.stats.values import ALPHA

Word = Literal["reproduced", "above", "below", "inconclusive"]

_ROUNDING = 1e-9  # of the arithmetic, relative to the margin
EPSILON = float(np.finfo(float).eps)


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


def decide(tests: Sequence[Tested], untested: int = 0) -> list[Decision]:
    """The verdicts over a card's claims, Holm-corrected for equivalence and for difference separately.

    *reproduced* where equivalence holds, even if the difference is significant: it is equal within the margin. Claims
    that are `untested` so far count with a p of 1, so that no verdict is lost where they are tested later.
    """
    others = [1.0] * untested
    equal = holm([*(test.p_equivalence for test in tests), *others])[: len(tests)]
    different = holm([*(test.p_difference for test in tests), *others])[: len(tests)]
    return [
        Decision("reproduced" if p <= ALPHA else test.direction if q <= ALPHA else "inconclusive", p, q)
        for test, p, q in zip(tests, equal, different, strict=True)
    ]


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
        allowed = (_ROUNDING * self.margin + 4 * EPSILON * abs(printed) for printed in self.reported)
        pairs = enumerate(zip(self.excesses, allowed, strict=True))
        return tuple(index for index, (excess, rounding) in pairs if not excess <= rounding)

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
