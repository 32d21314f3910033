"""Tasks of Sutton & Barto, 2nd ed., with Gaussian rewards: the ten-armed testbed and the maximisation-bias MDP."""

from typing import Any

import gymnasium as gym
import numpy as np

Action = int | np.integer[Any]


class TenArmedTestbed(gym.Env[np.int64, Action]):
    """Section 2.3: arms whose values q*(a) are drawn from N(0, 1) with each episode; arm a pays N(q*(a), 1).

    An episode is one bandit problem of 1,000 steps, which the time limit ends. `info["is_best"]` tells whether the best
    arm was taken. Always the same observation, 0.
    """

    metadata = {"render_modes": []}
    max_episode_steps = 1000

    def __init__(self, arms: int = 10) -> None:
        self.observation_space = gym.spaces.Discrete(1)
        self.action_space = gym.spaces.Discrete(arms)
        self.values = np.zeros(arms)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.int64, dict[str, Any]]:
        super().reset(seed=seed)
        self.values = self.np_random.standard_normal(len(self.values))
        return np.int64(0), {}

    def step(self, action: Action) -> tuple[np.int64, float, bool, bool, dict[str, Any]]:
        reward = float(self.values[action] + self.np_random.standard_normal())
        return np.int64(0), reward, False, False, {"is_best": bool(action == self.values.argmax())}

    def get_state(self) -> dict[str, Any]:
        """All that an episode and its random stream are."""
        return {"values": self.values.copy(), "np_random": self.np_random.bit_generator.state}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restore what `get_state` gave."""
        self.values = np.array(state["values"])
        self.np_random.bit_generator.state = state["np_random"]


class MaximisationBias(gym.Env[np.int64, Action]):
    """Example 6.7: from A, right ends with 0, left leads to B for 0; from B all actions end with N(−0.1, 1).

    A space has as many actions everywhere. So the lower half of them is left in A and the upper half right: an ε-greedy
    policy that knows to go right goes left with probability ε / 2, as in the book, where A has two actions.
    """

    metadata = {"render_modes": []}

    def __init__(self, actions: int = 10) -> None:
        if actions < 2 or actions % 2:
            raise ValueError(f"actions must be even, half of them left, not {actions}")
        self.observation_space = gym.spaces.Discrete(2)  # A, B
        self.action_space = gym.spaces.Discrete(actions)
        self.actions = actions
        self.state = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.int64, dict[str, Any]]:
        super().reset(seed=seed)
        self.state = 0
        return np.int64(0), {}

    def step(self, action: Action) -> tuple[np.int64, float, bool, bool, dict[str, Any]]:
        if self.state == 1:
            return np.int64(1), float(self.np_random.normal(-0.1, 1.0)), True, False, {}
        self.state = int(action < self.actions // 2)
        return np.int64(self.state), 0.0, self.state == 0, False, {}

    def get_state(self) -> dict[str, Any]:
        """All that an episode and its random stream are."""
        return {"state": self.state, "np_random": self.np_random.bit_generator.state}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restore what `get_state` gave."""
        self.state = state["state"]
        self.np_random.bit_generator.state = state["np_random"]
