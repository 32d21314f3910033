"""Values that change over a run, as functions of the env step."""

from __future__ import annotations

from rlrepro.agent import Setup


def linear(start: float, end: float, num_steps: float, step: float) -> float:
    """From `start` at step 0 to `end` at `num_steps` and after it."""
    if step >= num_steps:
        return end
    return start + (end - start) * (step / num_steps)


def annealed(start: float, setup: Setup, num_steps: int, step: int) -> float:
    """`start` falling to 0 over the run, for the update at `step`: as it was when its rollout of `num_steps` began.

    So the first update has the whole of it (Huang et al., 2022, "The 37 Implementation Details", detail 4).
    Stable-Baselines3 counts the rollout's own steps first: its update k has what our update k + 1 has, and its last 0.
    """
    began = step + setup.num_envs - setup.num_envs * num_steps  # `step` leaves out the rollout's last step
    return linear(start, 0.0, setup.total_timesteps, began)
