"""Values that change over a run, as functions of the env step."""

from __future__ import annotations


def rollout_began(step: int, num_envs: int, num_steps: int) -> int:
    """The env step at which a rollout of `num_steps` steps began, the last of which the loop counts as `step`."""
    return step + num_envs - num_envs * num_steps


def linear(start: float, end: float, num_steps: float, step: float) -> float:
    """From `start` at step 0 to `end` at `num_steps` and after it."""
    if step >= num_steps:
        return end
    return start + (end - start) * (step / num_steps)
