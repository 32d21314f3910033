"""Values that change over a run, as functions of the env step."""

from __future__ import annotations


def linear(start: float, end: float, num_steps: float, step: float) -> float:
    """From `start` at step 0 to `end` at `num_steps` and after it."""
    if step >= num_steps:
        return end
    return start + (end - start) * (step / num_steps)
