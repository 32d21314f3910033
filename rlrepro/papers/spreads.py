"""The kinds of spread that a printed number may have, by the words that cards and the book use."""

from __future__ import annotations

from collections.abc import Iterator

SPREADS = {
    "population sd": "standard deviation over seeds, divided by n (NumPy's default)",
    "sample sd": "standard deviation over seeds, divided by n − 1",
    "standard error": "standard error of the mean over seeds",
    "interval 95": "95 % interval of the mean over seeds: half its width, or low and high",
    "over episodes": "standard deviation over the episodes of one agent: says nothing of seeds",
    "unknown": "printed, and not said what it is",
    "none": "not printed",
}

#: in a row of a table
SHORT = {
    **{kind: kind for kind in SPREADS},
    "interval 95": "half a 95 % interval",
    "over episodes": "sd over episodes of one agent",
    "unknown": "of an unknown kind",
    "none": "",
}


def spread_faults(
    kind: str, mean: float | None, spread: float | None, low: float | None, high: float | None, has_per_seed: bool
) -> Iterator[tuple[str, str]]:
    """Field and fault where a printed number's spread, its interval's ends and their kind do not go together."""
    if kind == "none" and spread is not None:
        yield "spread_kind", f"is missing: what is ± {spread:g}? one of {', '.join(list(SPREADS)[:-1])}"
    if kind != "none" and (spread, low, high) == (None, None, None) and not has_per_seed:
        yield "spread", f"is missing: a number of the kind {kind!r}" + ", or low and high" * (kind == "interval 95")
    if low is None and high is None:
        return
    if kind != "interval 95":
        yield "high" if low is None else "low", f"is an end of an 'interval 95', but spread_kind = {kind!r}"
        return
    if spread is not None:
        yield "spread", "is there beside low and high: half the interval's width, or its two ends"
    if low is None or high is None:
        yield "low" if low is None else "high", "is missing: an interval has both low and high"
    elif mean is not None and not low <= mean <= high:
        yield "low", f"the interval {low:g} to {high:g} does not hold the {mean:g} that is reported"
