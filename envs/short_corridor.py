"""The short corridor with switched actions: Sutton & Barto, 2nd ed., Example 13.1.

Three states in a row, then the goal. Right is right and left is left, except in the second state, where they
are swapped; left in the first state stays there. Every step costs 1. All states look the same, so a policy is
one number, p = P(right), and the best one is stochastic. From the start its value is

    v(p) = −2 (2 − p) / (p (1 − p)),

greatest at p = 2 − √2 ≈ 0.586 with v = −(6 + 4√2) ≈ −11.66. Near-greedy policies do badly: the ε-greedy
ones with ε = 0.1 have v(0.95) ≈ −44 and v(0.05) ≈ −82.
"""

from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

Obs = npt.NDArray[np.float32]

LEFT, RIGHT = 0, 1
GOAL = 3
SWAPPED = 1


def true_value(p_right: float) -> float:
    """The undiscounted value of the start under a policy that goes right with probability `p_right`.

    Minus infinity for the two deterministic policies, which never arrive.
    """
    if not 0 <= p_right <= 1:
        raise ValueError(f"p_right must be a probability, not {p_right}")
    if p_right in (0, 1):
        return -float("inf")
    return -2 * (2 - p_right) / (p_right * (1 - p_right))


class ShortCorridor(gym.Env[Obs, int | np.integer[Any]]):
    """Observations are always `[1.0]`. Actions: 0 left, 1 right. Rewards: −1 a step."""

    metadata = {"render_modes": ["ansi"], "render_fps": 4}
    max_episode_steps = 1000

    def __init__(self, render_mode: str | None = None) -> None:
        self.observation_space = gym.spaces.Box(0.0, 1.0, (1,), np.float32)
        self.action_space = gym.spaces.Discrete(2)
        self.render_mode = render_mode
        self.position = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Obs, dict[str, Any]]:
        super().reset(seed=seed)
        self.position = 0
        return np.ones(1, np.float32), {}

    def step(self, action: int | np.integer[Any]) -> tuple[Obs, float, bool, bool, dict[str, Any]]:
        move = 1 if action == RIGHT else -1
        if self.position == SWAPPED:
            move = -move
        self.position = max(self.position + move, 0)
        return np.ones(1, np.float32), -1.0, self.position == GOAL, False, {}

    def render(self) -> str | None:
        """A line such as "[ ][x][ ] G" in mode "ansi"."""
        if self.render_mode != "ansi":
            return None
        cells = "".join("[x]" if state == self.position else "[ ]" for state in range(GOAL))
        return f"{cells} {'x' if self.position == GOAL else 'G'}"

    def get_state(self) -> dict[str, Any]:
        """All that an episode is: nothing here draws at random."""
        return {"position": self.position}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restore what `get_state` gave."""
        self.position = state["position"]
