"""Numbers that Sutton & Barto's text gives of learning agents and that no return tells: one for each seed.

The agents are the kit's own, on its loop, all seeds of a call stacked in one: `rlrepro.measure.train_agent`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rlrepro.agent import Transition
from rlrepro.experiments.exact import Stated, fewest_steps
from rlrepro.measure import train_agent
from rlrepro.plugins import EnvSource, find_agent

Floats = npt.NDArray[np.float64]


def bandit_reward(
    seeds: Sequence[int], env: EnvSource, epsilon: float, initial_value: float, steps: int, last: int
) -> Floats:
    """The mean reward of the last of `steps` on one bandit problem a seed, by sample averages (2.1) and ε-greedily."""
    return _bandit(seeds, env, epsilon, initial_value, steps, last)[0]


def bandit_best_share(
    seeds: Sequence[int], env: EnvSource, epsilon: float, initial_value: float, steps: int, last: int
) -> Floats:
    """The share of the last of `steps` that take the best arm."""
    return _bandit(seeds, env, epsilon, initial_value, steps, last)[1]


def _bandit(
    seeds: Sequence[int], env: EnvSource, epsilon: float, initial_value: float, steps: int, last: int
) -> tuple[Floats, Floats]:
    # Q-learning without a future, of step size 1 / N(a), is the sample-average method.
    config = {"step_size": 1.0, "step_size_decay": 1.0, "gamma": 0.0}
    config |= {"epsilon": epsilon, "initial_value": initial_value}
    reward, share, seen = np.zeros(len(seeds)), np.zeros(len(seeds)), 0
    arms: list[Any] = []

    def made() -> Any:  # the problems are seen where they are made
        arms.append(env.make())
        return arms[-1]

    def after(agent: Any, transition: Transition) -> None:
        nonlocal seen
        if seen == 0:
            problems.extend(int(np.argmax(one.unwrapped.values)) for one in arms[-len(seeds) :])
        seen += 1
        if seen > steps - last:
            reward[:] += transition.reward[:, 0] / last
            share[:] += (transition.action[:, 0] == problems) / last

    problems: list[int] = []
    watched = EnvSource(env.name, lambda: made(), None, {}, ())
    train_agent(find_agent("q_learning").load(), config, watched, seeds, steps, after=after)
    return reward, share


def left_excess(
    seeds: Sequence[int], env: EnvSource, step_size: float, gamma: float, epsilon: float, initial_value: float,
    episodes: int, last: int,
) -> Floats:  # fmt: skip
    """Percentage points by which Q-learning goes left in A in the last of `episodes`, beyond the ε / 2 of the best.

    The task has as many actions in A as in B, the lower half of them left, where the book's A has two. Here all
    that are left share one value, and all that are right: A has two actions.
    """
    config = {"step_size": step_size, "gamma": gamma, "epsilon": epsilon, "initial_value": initial_value}
    begun, left = np.zeros(len(seeds), np.int64), np.zeros(len(seeds))

    def after(agent: Any, transition: Transition) -> None:
        in_a = transition.obs[:, 0] == 0
        begun[:] += in_a
        counted = in_a & (begun > episodes - last) & (begun <= episodes)
        left[:] += counted & (transition.action[:, 0] < agent.num_actions // 2)

    train_agent(two_actions_in_a(find_agent("q_learning").load()), config, env, seeds, 2 * episodes, after=after)
    return 100 * (left / last - epsilon / 2)


def two_actions_in_a(agent_class: type[Any]) -> type[Any]:
    """An agent of the maximisation-bias task for which all actions that are left in A are one, and all others."""

    class Tied(agent_class):  # type: ignore[misc]
        def update(self, batch: Transition, step: int) -> Any:
            metrics = super().update(batch, step)
            action, half = batch.action[:, 0], self.num_actions // 2
            learnt = self.q[self.rows, 0, action]
            for is_side, side in ((action < half, slice(None, half)), (action >= half, slice(half, None))):
                rows = self.rows[is_side & (batch.obs[:, 0] == 0)]
                self.q[rows, 0, side] = learnt[rows, None]
            return metrics

    return Tied


def episodes_to_best(
    seeds: Sequence[int], env: EnvSource, planning_steps: int, step_size: float, gamma: float, epsilon: float,
    initial_value: float, steps: int,
) -> Floats:  # fmt: skip
    """The first episode of Dyna-Q that begins with values whose greedy way is no longer than an ε-greedy best episode.

    That is the mean length of an episode of the best ε-greedy policy. NaN where `steps` do not get there.
    """
    config: dict[str, Any] = {"planning_steps": planning_steps, "step_size": step_size, "gamma": gamma}
    config |= {"epsilon": epsilon, "initial_value": initial_value}
    task, enough = Stated(env), fewest_steps(env, epsilon)
    episode, found = np.zeros(len(seeds), np.int64), np.full(len(seeds), np.nan)

    def before(agent: Any, obs: np.ndarray) -> None:
        begins = agent.memory.begins[:, 0]
        episode[:] += begins
        for row in np.flatnonzero(begins & np.isnan(found)):
            if greedy_steps(task, agent.q[row], int(obs[row, 0]), int(enough)) is not None:
                found[row] = episode[row]

    train_agent(find_agent("dyna_q").load(), config, env, seeds, steps, before=before)
    return found


def greedy_steps(task: Stated, q: Floats, state: int, most: int) -> int | None:
    """The steps of the greedy way to a deterministic task's end, the first of equal actions; None beyond `most`."""
    for taken in range(1, most + 1):
        (outcome,) = task.outcomes(state, int(q[state].argmax()))
        if outcome.terminated:
            return taken
        state = outcome.state
    return None


def learned_average(
    seeds: Sequence[int], env: EnvSource, step_size: float, average_step_size: float, epsilon: float,
    initial_value: float, steps: int,
) -> Floats:  # fmt: skip
    """The average reward that differential Sarsa has learnt after `steps`."""
    config = {"step_size": step_size, "average_step_size": average_step_size, "epsilon": epsilon}
    config |= {"initial_value": initial_value}
    agent = train_agent(find_agent("differential_sarsa").load(), config, env, seeds, steps)
    return np.array(agent.average_reward, np.float64)
