"""Probe environments: the smallest tasks with a known answer, each of which one thing in an agent can spoil.

A probe is told by the agent's own value estimate (`asked` and `error`) or by the return of its policy
(`solved_at`). `discount` is the γ to probe with: 0 where nothing is to be bootstrapped. `rlrepro probe --agent NAME`
trains an agent on all of them. With `continuous=True` the action is a number, of which the sign may count, instead of
a choice; with `finite=True` the observation is a number of a state.
"""

from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

Obs = npt.NDArray[Any]
Values = npt.NDArray[np.floating[Any]]


class Probe(gym.Env[Obs, Any]):
    """An episode of one step with reward 1, always the same to look at. A subclass says what is otherwise."""

    isolates = ""  #: what a failure means, in a few words
    discount = 0.0
    asked: tuple[float, ...] = ()  #: observations whose values are asked for; none: the policy's return counts
    tolerance = 0.15
    solved_at = 0.95  #: the least mean return of a greedy policy
    best_return = 1.0
    sampled = False  #: the policy's own samples count, and miss `best_return` by `tolerance` at most, either way

    def __init__(self, continuous: bool = False, finite: bool = False) -> None:
        self.continuous, self.finite = continuous, finite
        self.observation_space: gym.spaces.Space[Any] = (
            gym.spaces.Discrete(3) if finite else gym.spaces.Box(-1.0, 1.0, (1,), np.float32)
        )
        self.action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32) if continuous else gym.spaces.Discrete(2)
        self.state = 0.0

    @classmethod
    def error(cls, values: Values) -> Values:
        """How far `values` `[S, len(asked)]` are from the answer, `[S]`."""
        return np.abs(values - np.array(cls.answer())).max(-1)

    @classmethod
    def answer(cls) -> list[float]:
        """The values of `asked`."""
        return [1.0]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Obs, dict[str, Any]]:
        super().reset(seed=seed)
        self.state = self._begin()
        return self._obs(), {}

    def step(self, action: Any) -> tuple[Obs, float, bool, bool, dict[str, Any]]:
        reward, terminated, truncated = self._move(action)
        return self._obs(), reward, terminated, truncated, {}

    def _begin(self) -> float:
        return 0.0

    def _move(self, action: Any) -> tuple[float, bool, bool]:
        return 1.0, True, False

    def _second(self, action: Any) -> bool:
        """Which of two: a positive number is the second."""
        return bool(action[0] > 0 if self.continuous else action == 1)

    def _seen(self) -> float:
        """What one sees: −1, 0 or 1."""
        return self.state

    def _obs(self) -> Any:
        return int(self._seen()) + 1 if self.finite else np.array([self._seen()], np.float32)

    def get_state(self) -> dict[str, Any]:
        return {"state": self.state, "random": self.np_random.bit_generator.state}

    def set_state(self, state: dict[str, Any]) -> None:
        self.state = state["state"]
        self.np_random.bit_generator.state = state["random"]


class Value(Probe):
    """v(0) = 1."""

    isolates = "the value of a constant"
    asked = (0.0,)


class Observation(Probe):
    """The reward is the observation, −1 or 1: v(±1) = ±1."""

    isolates = "dependence on the observation"
    asked = (-1.0, 1.0)

    @classmethod
    def answer(cls) -> list[float]:
        return [-1.0, 1.0]

    def _begin(self) -> float:
        return 1.0 if self.np_random.random() < 0.5 else -1.0

    def _move(self, action: Any) -> tuple[float, bool, bool]:
        return self.state, True, False


class Discount(Probe):
    """From −1 to 1 for nothing, and from there to the end for 1: v(−1) = γ v(1), as long as v(1) is above a half."""

    isolates = "discounting"
    discount = 0.5
    asked = (-1.0, 1.0)

    @classmethod
    def answer(cls) -> list[float]:
        return [cls.discount, 1.0]

    @classmethod
    def error(cls, values: Values) -> Values:
        off = np.abs(values[:, 0] - cls.discount * values[:, 1])
        return np.where(values[:, 1] > 0.5, off, np.inf)

    def _begin(self) -> float:
        return -1.0

    def _move(self, action: Any) -> tuple[float, bool, bool]:
        at_end, self.state = self.state > 0, 1.0
        return float(at_end), at_end, False


class Termination(Probe):
    """What follows an end looks like its beginning, but v(0) = 1: 1 / (1 − γ) has bootstrapped beyond the end."""

    isolates = "no bootstrapping through termination"
    discount = 0.5
    asked = (0.0,)


class Truncation(Probe):
    """From −1 to 1 for nothing; there each step pays 1, and only the clock ends the episode: v(1) = 1 / (1 − γ).

    An agent that takes the truncation for a termination says 1, one that bootstraps from the next episode's first
    observation 1 / (1 − γ²).
    """

    isolates = "bootstrapping through truncation"
    discount = 0.5
    asked = (1.0,)
    tolerance = 0.25

    @classmethod
    def answer(cls) -> list[float]:
        return [1 / (1 - cls.discount)]

    def _begin(self) -> float:
        return -1.0

    def _move(self, action: Any) -> tuple[float, bool, bool]:
        over, self.state = self.state > 0, 1.0
        return float(over), False, over


class Action(Probe):
    """Which of two actions pays 1 can be seen: the second at 1, the first at −1; the other pays nothing.

    Of continuous actions the positive ones are the second.
    """

    isolates = "choice of an action"

    def _begin(self) -> float:
        return 1.0 if self.np_random.random() < 0.5 else -1.0

    def _move(self, action: Any) -> tuple[float, bool, bool]:
        return float(self._second(action) == (self.state > 0)), True, False


class Credit(Probe):
    """The first action decides whether the second step, of which one can see it, pays 1 or −1."""

    isolates = "credit over two steps"
    discount = 0.9

    def _move(self, action: Any) -> tuple[float, bool, bool]:
        if self.state:
            return self.state, True, False
        self.state = 1.0 if self._second(action) else -1.0
        return 0.0, False, False


class Entropy(Probe):
    """The second of two actions pays 1, the first nothing; the policy's entropy has the weight τ = 1/2.

    The best policy is softmax(r / τ): it takes the second in σ(1 / τ) of the episodes, 0.88. Without the entropy, or
    with the wrong sign, it is 1 or 0; where the weight is half or twice as much, 0.98 or 0.73. An agent says in
    `PROBES` which hyperparameters give its entropy that weight.
    """

    isolates = "the weight of the entropy"
    sampled = True
    tolerance = 0.06
    best_return = 0.8808  # σ(2)

    def __init__(self, finite: bool = False) -> None:
        super().__init__(finite=finite)

    def _move(self, action: Any) -> tuple[float, bool, bool]:
        return float(self._second(action)), True, False


class Continuous(Probe):
    """A number is paid by how near it is to 0.5: 1 − (a − 0.5)²; 0 has 0.75."""

    isolates = "choice of a continuous action"

    def __init__(self) -> None:
        super().__init__(continuous=True)

    def _move(self, action: Any) -> tuple[float, bool, bool]:
        return 1.0 - (float(action[0]) - 0.5) ** 2, True, False


class Image(Probe):
    """A picture of 36 × 36 whose left or right half is white: that action pays 1."""

    isolates = "seeing an image"

    def __init__(self) -> None:
        super().__init__()
        self.observation_space = gym.spaces.Box(0, 255, (36, 36, 1), np.uint8)

    def _begin(self) -> float:
        return float(self.np_random.integers(2))

    def _move(self, action: Any) -> tuple[float, bool, bool]:
        return float(action == self.state), True, False

    def _obs(self) -> Any:
        picture = np.zeros((36, 36, 1), np.uint8)
        picture[:, 18 * int(self.state) : 18 + 18 * int(self.state)] = 255
        return picture
