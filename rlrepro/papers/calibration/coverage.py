"""What the committed simulation says of intervals: `rlrepro calibrate` wrote it, and pages look it up."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any

from rlrepro.papers.stats import CONFIDENCE

TOLERATED = 0.015  #: an interval's coverage may lie this far from 95 %


@cache
def committed() -> dict[str, Any]:
    """What the command wrote for this version: `--json`, kept with the package."""
    return json.loads(resources.files("rlrepro.papers.calibration").joinpath("calibration.json").read_text("utf-8"))


def coverage_note(kind: str, seeds: int) -> str | None:
    """What a report says beside an interval whose coverage at that many seeds is not 95 ± 1.5 %; None where it is.

    `kind` is mean, difference, band (of our mean's distance from a printed "about"), iqm, mean of tasks, median of
    tasks, optimality gap, profile, improvement or acceptance. The simulated number of seeds is the nearest that is not
    above `seeds` (the fewest for fewer).
    """
    found = committed()["coverage"].get(kind)
    if not found:
        return f"the coverage of the interval ({kind}) was not simulated"
    simulated = sorted(int(n) for n in found)
    at = max((n for n in simulated if n <= seeds), default=simulated[0])
    low, high = found[str(at)]
    if max(CONFIDENCE - low, high - CONFIDENCE) <= TOLERATED:
        return None
    rare = [row["mean covered"] for row in committed().get("rare", ()) if kind == "mean" and row["seeds"] == at]
    failing = f", {_span(min(rare), max(rare))} % where one seed in ten or twenty fails" if rare else ""
    return f"its coverage at {at} seeds was {_span(low, high)} % in simulation{failing}"


def _span(low: float, high: float) -> str:
    ends = dict.fromkeys(f"{100 * end:.0f}" for end in (low, high))
    return "–".join(ends)
