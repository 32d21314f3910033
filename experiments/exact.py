"""Numbers of a text that are computed, not sampled: by dynamic programming on a finite task, by integration.

Each function gives a number or a row of them, and takes no seeds: `rlrepro.papers.cards.measurements`. Tasks are
those that state their model, in `outcomes` (`rlrepro.envs.finite`) or in a table `P` (Gymnasium's toy text).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from rlrepro.envs.finite import FiniteMDP, Outcome, best_values, model, policy_values, value_iteration
from rlrepro.plugins.env_source import EnvSource

Floats = npt.NDArray[np.float64]


class Stated(FiniteMDP):
    """A finite task by its model alone, with −1 a step in place of its rewards where steps are `counted`."""

    def __init__(self, env: EnvSource, counted: bool = False) -> None:
        made = env.make()
        task: Any = made.unwrapped
        super().__init__(int(task.observation_space.n), int(task.action_space.n))
        self._counted = counted
        self._outcomes: Callable[[int, int], Iterable[tuple[float, float, int, bool]]]
        if hasattr(task, "outcomes"):
            self._outcomes = task.outcomes
            self.begins = np.bincount(list(task.starts()), minlength=int(task.observation_space.n)) / len(
                list(task.starts())
            )
        else:
            table = task.P
            self._outcomes = lambda state, action: ((p, r, s, end) for p, s, r, end in table[state][action])
            self.begins = np.asarray(task.initial_state_distrib)
        made.close()

    def outcomes(self, state: int, action: int) -> list[Outcome]:
        found = [Outcome(float(p), float(r), int(s), bool(end)) for p, r, s, end in self._outcomes(state, action)]
        return [one._replace(reward=-1.0) for one in found] if self._counted else found

    @property
    def uniform(self) -> Floats:
        """The random policy, `[states, actions]`."""
        shape = model(self)[1].shape
        return np.full(shape, 1 / shape[1])


# --- finite tasks


def random_policy_values(env: EnvSource, gamma: float) -> Floats:
    """v_π of every state for the random policy: Bellman's equation solved."""
    task = Stated(env)
    return policy_values(task, task.uniform, gamma)


def best_state_values(env: EnvSource, gamma: float) -> Floats:
    """v* of every state, by value iteration."""
    return best_values(Stated(env), gamma).max(1)


def random_policy_steps(env: EnvSource) -> float:
    """The mean length of an episode of the random policy."""
    task = Stated(env, counted=True)
    return float(-task.begins @ policy_values(task, task.uniform, 1.0))


def fewest_steps(env: EnvSource, epsilon: float) -> float:
    """The mean length of an episode of the policy that is shortest among the ε-greedy ones (ε = 0: of all)."""
    task = Stated(env, counted=True)
    follows, rewards = model(task)

    def sweep(value: Floats) -> Floats:
        q = rewards + follows @ value
        return (1 - epsilon) * q.max(1) + epsilon * q.mean(1)

    return float(-task.begins @ value_iteration(sweep, np.zeros(len(rewards)), 1e-12))


def best_return(env: EnvSource, steps: int) -> float:
    """The highest mean return of an episode that is cut after `steps`, by backward induction: the clock may be seen."""
    task = Stated(env)
    follows, rewards = model(task)
    value = np.zeros(len(rewards))
    for _ in range(steps):
        value = (rewards + follows @ value).max(1)
    return float(task.begins @ value)


# --- Sutton & Barto's own


def best_arm(arms: int) -> float:
    """E max of `arms` standard normal values: ∫ x n φ(x) Φ(x)^(n − 1) dx."""
    x = np.linspace(-12.0, 12.0, 24_001)
    density = np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
    below = np.array([0.5 * math.erfc(-value / math.sqrt(2)) for value in x])
    return float(np.trapezoid(arms * x * density * below ** (arms - 1), x))


_CARDS = [(value, 4 / 13 if value == 10 else 1 / 13) for value in range(1, 11)]


def blackjack_value(dealer: int, total: int, usable_ace: bool, stick_from: int) -> float:
    """A state's value for who sticks from a sum on, with cards drawn with replacement; the dealer sticks at 17."""

    def worth(hard: int, has_ace: bool) -> int:
        return hard + 10 if has_ace and hard <= 11 else hard

    @functools.cache
    def dealt(hard: int, has_ace: bool, player: int) -> float:
        if worth(hard, has_ace) > 21:
            return 1.0
        if worth(hard, has_ace) >= 17:
            return float(np.sign(player - worth(hard, has_ace)))
        return sum(p * dealt(hard + card, has_ace or card == 1, player) for card, p in _CARDS)

    @functools.cache
    def played(hard: int, has_ace: bool) -> float:
        mine = worth(hard, has_ace)
        if mine > 21:
            return -1.0
        if mine >= stick_from:
            return sum(p * dealt(dealer + card, dealer == 1 or card == 1, mine) for card, p in _CARDS)
        return sum(p * played(hard + card, has_ace or card == 1) for card, p in _CARDS)

    return played(total - 10 if usable_ace else total, usable_ace)


def corridor_value(env: EnvSource, p_right: float) -> float:
    """The start's value in a corridor whose states look alike, going right with one probability; its steps taken."""
    task: Any = env.make().unwrapped
    cells: list[int] = [0]
    moves: dict[tuple[int, int], int | None] = {}
    for cell in cells:  # grows: what is reached is explored
        for action in (0, 1):
            task.reset(seed=0)
            task.set_state({"position": cell})
            _, reward, terminated, _, _ = task.step(action)
            assert reward == -1.0
            moves[cell, action] = None if terminated else task.position
            if not terminated and task.position not in cells:
                cells.append(task.position)
    follows = np.zeros((len(cells), len(cells)))
    for (cell, action), to in moves.items():
        if to is not None:
            follows[cells.index(cell), cells.index(to)] += p_right if action == 1 else 1 - p_right
    return float(np.linalg.solve(np.eye(len(cells)) - follows, np.full(len(cells), -1.0))[0])


def corridor_best_probability(env: EnvSource) -> float:
    """The probability of going right with the highest value, by golden section."""
    low, high, ratio = 0.01, 0.99, (math.sqrt(5) - 1) / 2
    while high - low > 1e-9:
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if corridor_value(env, left) < corridor_value(env, right):
            low = left
        else:
            high = right
    return (low + high) / 2


def corridor_best_value(env: EnvSource) -> float:
    """And that value."""
    return corridor_value(env, corridor_best_probability(env))
