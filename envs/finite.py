"""Finite Markov decision processes of Sutton & Barto, 2nd ed., and their exact values by dynamic programming.

Each states its model once, in `outcomes`: what `step` draws from and what the values are computed from. Observations
are the states' numbers. Actions of the gridworlds: 0 up, 1 down, 2 left, 3 right; a cell (row, column) is the state
row × width + column, rows from the top.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import numpy.typing as npt

Action = int | np.integer[Any]
Floats = npt.NDArray[np.float64]

UP, DOWN, LEFT, RIGHT = range(4)
MOVES = {UP: (-1, 0), DOWN: (1, 0), LEFT: (0, -1), RIGHT: (0, 1)}


class Outcome(NamedTuple):
    """What may come of an action."""

    probability: float
    reward: float
    state: int  #: the next one; where `terminated`, the one to show last
    terminated: bool = False


class FiniteMDP(gym.Env[np.int64, Action]):
    """Draws from `outcomes`. A subclass gives it, `starts`, and the numbers of states and actions."""

    metadata = {"render_modes": []}
    max_episode_steps: int | None = None

    def __init__(self, num_states: int, num_actions: int) -> None:
        self.observation_space = gym.spaces.Discrete(num_states)
        self.action_space = gym.spaces.Discrete(num_actions)
        self.state = 0
        self._known: dict[tuple[int, int], tuple[list[Outcome], Floats]] = {}

    def starts(self) -> Iterable[int]:
        """The states that episodes begin in, each as likely as the others."""
        raise NotImplementedError

    def outcomes(self, state: int, action: int) -> list[Outcome]:
        raise NotImplementedError

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.int64, dict[str, Any]]:
        super().reset(seed=seed)
        starts = list(self.starts())
        self.state = starts[int(self.np_random.integers(len(starts)))] if len(starts) > 1 else starts[0]
        return np.int64(self.state), {}

    def step(self, action: Action) -> tuple[np.int64, float, bool, bool, dict[str, Any]]:
        pair = self.state, int(action)
        if pair not in self._known:
            found = self.outcomes(*pair)
            self._known[pair] = found, np.cumsum([one.probability for one in found])
        found, reached = self._known[pair]
        which = 0
        if len(found) > 1:
            which = min(int(np.searchsorted(reached, self.np_random.random(), side="right")), len(found) - 1)
        _, reward, self.state, terminated = found[which]
        return np.int64(self.state), reward, terminated, False, {}

    def get_state(self) -> dict[str, Any]:
        """All that an episode and its random stream are."""
        return {"state": self.state, "np_random": self.np_random.bit_generator.state}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restore what `get_state` gave."""
        self.state = state["state"]
        self.np_random.bit_generator.state = state["np_random"]


class WindyGridworld(FiniteMDP):
    """Example 6.5: 7 × 10 cells, −1 a step to the goal; the wind of the column one is in pushes up as one moves."""

    max_episode_steps = 10_000  # the book has no limit; greedy evaluation needs one
    shape = 7, 10
    wind = 0, 0, 0, 1, 1, 1, 2, 2, 1, 0
    start, goal = (3, 0), (3, 7)

    def __init__(self) -> None:
        super().__init__(self.shape[0] * self.shape[1], len(MOVES))

    def starts(self) -> list[int]:
        return [self.start[0] * self.shape[1] + self.start[1]]

    def outcomes(self, state: int, action: int) -> list[Outcome]:
        row, column = divmod(state, self.shape[1])
        down, right = MOVES[action]
        row = min(max(row + down - self.wind[column], 0), self.shape[0] - 1)
        column = min(max(column + right, 0), self.shape[1] - 1)
        return [Outcome(1.0, -1.0, row * self.shape[1] + column, (row, column) == self.goal)]


class DynaMaze(FiniteMDP):
    """Example 8.1: 6 × 9 cells with walls, +1 at the goal and 0 elsewhere. The shortest way has 14 steps."""

    max_episode_steps = 10_000  # the book has no limit; greedy evaluation needs one
    maze = (
        ".......#G",
        "..#....#.",
        "S.#....#.",
        "..#......",
        ".....#...",
        ".........",
    )

    def __init__(self) -> None:
        self._width = len(self.maze[0])
        super().__init__(len(self.maze) * self._width, len(MOVES))

    def starts(self) -> list[int]:
        return ["".join(self.maze).index("S")]

    def outcomes(self, state: int, action: int) -> list[Outcome]:
        row, column = divmod(state, self._width)
        down, right = MOVES[action]
        to_row, to_column = row + down, column + right
        if 0 <= to_row < len(self.maze) and 0 <= to_column < self._width and self.maze[to_row][to_column] != "#":
            row, column = to_row, to_column
        is_goal = self.maze[row][column] == "G"
        return [Outcome(1.0, float(is_goal), row * self._width + column, is_goal)]


class Gridworld(FiniteMDP):
    """Example 3.5: 5 × 5 cells without an end. From A all actions lead to A' for +10, from B to B' for +5.

    −1 for a step off the grid, which leads nowhere. Episodes begin anywhere and are cut after 100 steps.
    """

    max_episode_steps = 100
    size = 5
    jumps = {(0, 1): (10.0, (4, 1)), (0, 3): (5.0, (2, 3))}

    def __init__(self) -> None:
        super().__init__(self.size**2, len(MOVES))

    def starts(self) -> Iterable[int]:
        return range(self.size**2)

    def outcomes(self, state: int, action: int) -> list[Outcome]:
        cell = divmod(state, self.size)
        if cell in self.jumps:
            reward, (row, column) = self.jumps[cell]
        else:
            row, column = cell[0] + MOVES[action][0], cell[1] + MOVES[action][1]
            reward = 0.0
            if not (0 <= row < self.size and 0 <= column < self.size):
                reward, (row, column) = -1.0, cell
        return [Outcome(1.0, reward, row * self.size + column)]


class RandomWalk(FiniteMDP):
    """Example 6.2: from the middle of `length` states one step left or right, each with probability ½, to the ends.

    Left of the first state is the reward `left`, right of the last +1. There is nothing to decide: one action. Example
    7.1 has `length` 19 and `left` −1.
    """

    max_episode_steps = 10_000

    def __init__(self, length: int = 5, left: float = 0.0) -> None:
        if length < 1 or length % 2 == 0:
            raise ValueError(f"length must be odd, as the walk begins in the middle, not {length}")
        super().__init__(length, 1)
        self.length, self.left = length, left

    def starts(self) -> list[int]:
        return [self.length // 2]

    def outcomes(self, state: int, action: int) -> list[Outcome]:
        left = Outcome(0.5, 0.0, state - 1) if state else Outcome(0.5, self.left, state, True)
        if state == self.length - 1:
            return [left, Outcome(0.5, 1.0, state, True)]
        return [left, Outcome(0.5, 0.0, state + 1)]


class AccessControl(FiniteMDP):
    """Example 10.2: 10 servers, and a queue without end of customers of four priorities, who pay 1, 2, 4 or 8.

    Action 1 accepts the customer at the head, if a server is free, and 0 sends him away; then each server that is busy,
    one just given included, becomes free with probability 0.06, and the next customer comes. A continuing task: its
    measure is the average reward. The state is free servers × 4 + priority. Begins with all servers free.
    """

    max_episode_steps = 10_000  # as long as the histories need episodes; an average reward sees no end
    servers = 10
    pays = 1.0, 2.0, 4.0, 8.0
    freed = 0.06

    def __init__(self) -> None:
        super().__init__((self.servers + 1) * len(self.pays), 2)

    def starts(self) -> Iterable[int]:
        return range(self.servers * len(self.pays), (self.servers + 1) * len(self.pays))

    def outcomes(self, state: int, action: int) -> list[Outcome]:
        free, priority = divmod(state, len(self.pays))
        is_accepted = action == 1 and free > 0
        busy = self.servers - free + is_accepted
        reward = self.pays[priority] if is_accepted else 0.0
        found = []
        for back in range(busy + 1):
            chance = math.comb(busy, back) * self.freed**back * (1 - self.freed) ** (busy - back)
            for following in range(len(self.pays)):
                state_then = (self.servers - busy + back) * len(self.pays) + following
                found.append(Outcome(chance / len(self.pays), reward, state_then))
        return found


def model(env: FiniteMDP) -> tuple[Floats, Floats]:
    """Probabilities `[states, actions, states]` of going on to each state, and expected rewards `[states, actions]`."""
    num, actions = int(env.observation_space.n), int(env.action_space.n)  # type: ignore[attr-defined]
    follows, rewards = np.zeros((num, actions, num)), np.zeros((num, actions))
    for state in range(num):
        for action in range(actions):
            for probability, reward, following, terminated in env.outcomes(state, action):
                rewards[state, action] += probability * reward
                if not terminated:
                    follows[state, action, following] += probability
    return follows, rewards


def policy_values(env: FiniteMDP, policy: Floats, gamma: float) -> Floats:
    """v_π `[states]` of π(a|s) `[states, actions]`: Bellman's equation (3.14) solved. It must end, or γ be below 1."""
    follows, rewards = model(env)
    moves = np.einsum("sa,sat->st", policy, follows)
    return np.linalg.solve(np.eye(len(moves)) - gamma * moves, (policy * rewards).sum(1))


def best_values(env: FiniteMDP, gamma: float) -> Floats:
    """q* `[states, actions]` by value iteration (4.10), until no value changes by more than 1e-12."""
    follows, rewards = model(env)
    return value_iteration(lambda q: rewards + gamma * follows @ q.max(1), rewards, 1e-12)


def best_average(env: FiniteMDP, epsilon: float = 0.0, tolerance: float = 1e-10) -> float:
    """The highest average reward of a continuing task, by relative value iteration.

    With `epsilon`, the highest among policies that take a uniform action with that probability.
    """
    follows, rewards = model(env)

    def sweep(q: Floats) -> Floats:
        value = (1 - epsilon) * q.max(1) + epsilon * q.mean(1)
        return rewards + follows @ (value - value[0])

    q = value_iteration(sweep, rewards, tolerance)
    return float((1 - epsilon) * q[0].max() + epsilon * q[0].mean())


def value_iteration(sweep: Callable[[Floats], Floats], values: Floats, tolerance: float) -> Floats:
    """`sweep` over `values` again and again, until none changes by more than `tolerance`."""
    for _ in range(100_000):
        following = sweep(values)
        if np.abs(following - values).max() <= tolerance:
            return following
        values = following
    raise ValueError("the values do not settle")
