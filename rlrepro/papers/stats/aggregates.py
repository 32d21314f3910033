"""Aggregates over tasks (Agarwal et al., 2021), with stratified bootstrap intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rlrepro.errors import Problem
from rlrepro.papers.stats import CONFIDENCE, Array, Estimate, Values, as_values

# A statistic of scores: one array a task, seeds on the last axis, any axes before it (bootstrap repetitions), which
# it keeps. A score is already normalised. A task weighs the same as any other, whatever its number of seeds.
Scores = Sequence[Array]

BOOTSTRAP_SEED = 20_260_101  # so that a page is the same each time


def iqm(scores: Scores) -> Array:
    """Interquartile mean: the mean of the middle half of all runs over all tasks.

    A run weighs 1 / (tasks × seeds of its task), and ⌊N / 4⌋ / N of the weight is cut off at either end, N runs in
    all: with equal numbers of seeds that is `scipy.stats.trim_mean(…, 0.25)`, which rliable uses.
    """
    runs = np.concatenate(list(scores), -1)
    total = runs.shape[-1]
    cut = total // 4
    sizes = [task.shape[-1] for task in scores]
    if len(set(sizes)) == 1:
        if cut:
            runs = np.partition(runs, (cut, total - cut - 1), -1)[..., cut : total - cut]
        return runs.mean(-1)
    weight = np.concatenate([np.full(size, 1 / (len(sizes) * size)) for size in sizes])
    order = np.argsort(runs, -1, kind="stable")
    ordered, weight = np.take_along_axis(runs, order, -1), weight[order]
    end = np.cumsum(weight, -1)
    kept = np.clip(np.minimum(end, 1 - cut / total) - np.maximum(end - weight, cut / total), 0, None)
    return (ordered * kept).sum(-1) / kept.sum(-1)


def over_tasks(kind: str, values: Values) -> float:
    """One seed's scores, one a task, as one number: their "mean", "median" or "iqm"; NaN where one of them is."""
    x = np.asarray(values, float)
    if np.isnan(x).any():
        return float("nan")
    combine: dict[str, Callable[[Array], Any]] = {"mean": np.mean, "median": np.median, "iqm": lambda one: iqm([one])}
    return float(combine[kind](x))


def mean_of_tasks(scores: Scores) -> Array:
    """Mean over tasks of the mean over seeds."""
    return np.stack([task.mean(-1) for task in scores], -1).mean(-1)


def median_of_tasks(scores: Scores) -> Array:
    """Median over tasks of the mean over seeds."""
    return np.median(np.stack([task.mean(-1) for task in scores], -1), -1)


def optimality_gap(scores: Scores, gamma: float = 1.0) -> Array:
    """By how much runs fall short of `gamma` on average; what is above it counts as `gamma`."""
    return gamma - mean_of_tasks([np.minimum(task, gamma) for task in scores])


def profile(scores: Scores, thresholds: npt.ArrayLike) -> Array:
    """Performance profile `[..., K]`: the share of runs that score above each of K thresholds."""
    tau = np.asarray(thresholds, float)[:, None]
    return np.mean([np.mean(task[..., None, :] > tau, -1) for task in scores], 0)


def improvement(x: Scores, y: Scores) -> Array:
    """Probability of improvement: P(a run of x beats one of y on a task), averaged over tasks; ties count half."""
    wins = []
    for of_x, of_y in zip(x, y, strict=True):
        left, right = of_x[..., :, None], of_y[..., None, :]
        wins.append((np.count_nonzero(left > right, (-2, -1)) + np.count_nonzero(left >= right, (-2, -1)))
                    / (2 * of_x.shape[-1] * of_y.shape[-1]))  # fmt: skip
    return np.mean(wins, 0)


def resample(scores: Scores, generator: np.random.Generator, repetitions: int) -> list[Array]:
    """Stratified bootstrap: seeds drawn again within each task, `[repetitions, n]` of every task."""
    return [task[generator.integers(task.shape[-1], size=(repetitions, task.shape[-1]))] for task in scores]


def bootstrap(
    statistic: Callable[..., Array], generator: np.random.Generator, *scores: Scores, repetitions: int = 2000
) -> tuple[Array, Array, Array]:
    """Value, low and high of `statistic(*scores)`: 95 % percentile intervals of the stratified bootstrap."""
    checked = [[as_values(task, "a task's scores", 1) for task in one] for one in scores]
    if not all(checked) or len({len(one) for one in checked}) != 1:
        raise Problem("scores are needed on at least one task, and on the same tasks")
    drawn = statistic(*(resample(one, generator, repetitions) for one in checked))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, (tail, 1 - tail), axis=0)
    return statistic(*checked), low, high


def aggregates(
    scores: Sequence[Values], generator: np.random.Generator, repetitions: int = 2000
) -> dict[str, Estimate]:
    """IQM, mean, median of task means and optimality gap, each with its interval; scores are normalised."""
    tasks = [np.asarray(task, float) for task in scores]
    statistics = {"iqm": iqm, "mean": mean_of_tasks, "median": median_of_tasks, "optimality gap": optimality_gap}
    found = {}
    for name, statistic in statistics.items():
        value, low, high = bootstrap(statistic, generator, tasks, repetitions=repetitions)
        found[name] = Estimate(float(value), float(low), float(high))
    return found


def profile_estimate(
    scores: Sequence[Values], thresholds: npt.ArrayLike, generator: np.random.Generator, repetitions: int = 2000
) -> tuple[Array, Array, Array]:
    """The performance profile with its pointwise interval: value, low and high, `[K]` each."""
    tasks = [np.asarray(task, float) for task in scores]
    return bootstrap(lambda runs: profile(runs, thresholds), generator, tasks, repetitions=repetitions)


def improvement_estimate(
    x: Sequence[Values], y: Sequence[Values], generator: np.random.Generator, repetitions: int = 2000
) -> Estimate:
    """The probability that a run of x beats one of y, with its interval."""
    tasks_x, tasks_y = ([np.asarray(task, float) for task in one] for one in (x, y))
    value, low, high = bootstrap(improvement, generator, tasks_x, tasks_y, repetitions=repetitions)
    return Estimate(float(value), float(low), float(high))
