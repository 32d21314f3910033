"""Numbers that Sutton & Barto's text gives of learning agents and that no return tells: one for each seed.

The agents are the kit's own, on its loop, all seeds of a call stacked in one: `train_agent` of `rlrepro.unrecorded`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rlrepro.agent import Transition
from rlrepro.experiments.exact import fewest_steps
from rlrepro.plugins.agents import find_agent
from rlrepro.plugins.env_source import EnvSource
from rlrepro.unrecorded import train_agent

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

    class Tied(agent_class):
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
    initial_value: float, repetitions: int, times: float, steps: int,
) -> Floats:  # fmt: skip
    """The first episode at which Dyna-Q's curve is on its floor. A seed's curve is the mean of repetitions.

    The floor is so many `times` the mean length of an episode of the best ε-greedy policy. NaN where `steps` of a
    repetition do not get there.
    """
    config: dict[str, Any] = {"planning_steps": planning_steps, "step_size": step_size, "gamma": gamma}
    config |= {"epsilon": epsilon, "initial_value": initial_value}
    runs = [repetitions * seed + which for seed in seeds for which in range(repetitions)]
    lengths = episode_lengths(runs, env, find_agent("dyna_q").load(), config, steps)
    floor = times * fewest_steps(env, epsilon)
    found = np.full(len(seeds), np.nan)
    for row, curve in enumerate(lengths.reshape(len(seeds), repetitions, -1).mean(1)):
        reached = np.flatnonzero(curve <= floor)  # NaN from where a repetition has no more episodes
        if len(reached):
            found[row] = 1 + reached[0]
    return found


def episode_lengths(
    seeds: Sequence[int], env: EnvSource, agent_class: type[Any], config: dict[str, Any], steps: int, most: int = 100
) -> Floats:
    """The lengths of the first `most` episodes, `[S, most]`; NaN for those that `steps` do not end."""
    rows, lengths = np.arange(len(seeds)), np.full((len(seeds), most + 1), np.nan)
    episode, running = np.zeros(len(seeds), np.int64), np.zeros(len(seeds), np.int64)

    def after(agent: Any, transition: Transition) -> None:
        running[:] += 1
        ended = (transition.terminated | transition.truncated)[:, 0]
        lengths[rows[ended], np.minimum(episode[ended], most)] = running[ended]
        episode[ended] += 1
        running[ended] = 0

    train_agent(agent_class, config, env, seeds, steps, after=after)
    return lengths[:, :most]


def learned_average(
    seeds: Sequence[int], env: EnvSource, step_size: float, average_step_size: float, epsilon: float,
    initial_value: float, steps: int,
) -> Floats:  # fmt: skip
    """The average reward that differential Sarsa has learnt after `steps`."""
    config = {"step_size": step_size, "average_step_size": average_step_size, "epsilon": epsilon}
    config |= {"initial_value": initial_value}
    agent = train_agent(find_agent("differential_sarsa").load(), config, env, seeds, steps)
    return np.array(agent.average_reward, np.float64)
