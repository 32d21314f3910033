"""The functions behind the book's printed numbers: against closed forms, and against plain loops of one seed."""

from __future__ import annotations

import itertools
import math
from typing import Any

import gymnasium
import gymnasium.envs.toy_text.taxi as taxi
import numpy as np
import pytest

from rlrepro.envs.bandits import TenArmedTestbed
from rlrepro.envs.finite import AccessControl, best_values, policy_values
from rlrepro.envs.short_corridor import true_value
from rlrepro.experiments import exact, sutton_barto
from rlrepro.papers.cards.measurements import find_measurement
from rlrepro.plugins.agents import find_agent
from rlrepro.plugins.env_source import EnvSource
from rlrepro.plugins.environments import find_env
from rlrepro.plugins.importing import installed
from rlrepro.unrecorded import train_agent


def test_every_installed_function_is_one() -> None:
    for name in installed("measurements"):
        assert find_measurement(name).function.__name__ == name


# --- computed


def test_steps_of_the_shortest_and_of_the_random_way() -> None:
    maze, windy = find_env("DynaMaze-v0"), find_env("WindyGridworld-v0")
    assert exact.fewest_steps(maze, 0.0) == pytest.approx(14)
    assert exact.fewest_steps(windy, 0.0) == pytest.approx(15)
    # With ε = 1 the best policy is the random one.
    assert exact.fewest_steps(maze, 1.0) == pytest.approx(exact.random_policy_steps(maze), rel=1e-8)
    assert 14 < exact.fewest_steps(maze, 0.1) < 17


def test_the_random_way_by_walking_it() -> None:
    env, generator, steps = find_env("DynaMaze-v0").make().unwrapped, np.random.default_rng(3), []
    for _ in range(250):
        env.reset()
        steps.append(next(n for n in itertools.count(1) if env.step(generator.integers(4))[2]))
    expected = exact.random_policy_steps(find_env("DynaMaze-v0"))
    assert expected == pytest.approx(868.7, abs=0.1)
    assert np.mean(steps) == pytest.approx(expected, abs=4 * np.std(steps) / math.sqrt(len(steps)))


def test_the_clock_s_best_return() -> None:
    lake = find_env("FrozenLake-v1")
    assert exact.best_return(lake, 5) == 0  # the goal is six steps away
    # Three ways of six steps avoid the holes; where two of them part, one action hopes for both directions.
    assert exact.best_return(lake, 6) == pytest.approx(3 / 3**6)
    assert exact.best_return(lake, 100) == pytest.approx(0.7442, abs=5e-5)
    endless = exact.best_return(lake, 20_000)
    task = exact.Stated(lake)
    assert endless == pytest.approx(float(task.begins @ best_values(task, 1.0).max(1)), abs=1e-6)


def test_taxi_s_printed_optimum_is_of_its_old_map(monkeypatch: pytest.MonkeyPatch) -> None:
    assert exact.best_return(find_env("Taxi-v4"), 200) == pytest.approx(7.93)
    monkeypatch.setattr(taxi, "MAP", [*taxi.MAP[:2], "| : : : : |", *taxi.MAP[3:]])
    assert exact.best_return(find_env("Taxi-v4"), 200) == pytest.approx(8.46, abs=0.005)


@pytest.mark.parametrize("p", [0.05, 0.4, 2 - math.sqrt(2), 0.95])
def test_the_corridor_as_its_closed_form(p: float) -> None:
    assert exact.corridor_value(find_env("ShortCorridor-v0"), p) == pytest.approx(true_value(p), rel=1e-10)


def test_the_corridor_s_best_policy() -> None:
    env = find_env("ShortCorridor-v0")
    assert exact.corridor_best_probability(env) == pytest.approx(2 - math.sqrt(2), abs=1e-6)
    assert exact.corridor_best_value(env) == pytest.approx(-6 - 4 * math.sqrt(2), abs=1e-9)


def test_the_best_of_normal_arms() -> None:
    assert exact.best_arm(1) == pytest.approx(0, abs=1e-9)
    assert exact.best_arm(2) == pytest.approx(1 / math.sqrt(math.pi), rel=1e-7)
    assert exact.best_arm(10) == pytest.approx(1.53875, abs=1e-5)


def test_blackjack_where_nothing_is_drawn() -> None:
    """Who sticks from 13 on has what the dealer's final sums make of 13: he wins where the dealer goes bust alone."""
    generator, wins = np.random.default_rng(5), []
    for _ in range(20_000):
        cards = [2]
        while True:
            total = sum(cards) + (10 if 1 in cards and sum(cards) <= 11 else 0)
            if total >= 17:
                break
            cards.append(min(int(generator.integers(1, 14)), 10))
        wins.append(1.0 if total > 21 else -1.0)
    stuck = exact.blackjack_value(2, 13, True, 13)
    assert stuck == pytest.approx(np.mean(wins), abs=4 * np.std(wins) / math.sqrt(len(wins)))
    assert exact.blackjack_value(2, 13, True, 20) > stuck
    assert exact.blackjack_value(2, 13, True, 20) == pytest.approx(-0.27720, abs=1e-5)


def test_values_of_the_random_policy_are_those_of_finite() -> None:
    source = find_env("Gridworld-v0")
    task: Any = source.make().unwrapped
    expected = policy_values(task, np.full((25, 4), 0.25), 0.9)
    np.testing.assert_array_equal(exact.random_policy_values(source, 0.9), expected)


# --- sampled

SMALL: dict[str, tuple[str, dict[str, Any]]] = {
    "bandit_reward": ("TenArmedTestbed-v0", {"epsilon": 0.1, "initial_value": 0.0, "steps": 60, "last": 20}),
    "bandit_best_share": ("TenArmedTestbed-v0", {"epsilon": 0.2, "initial_value": 0.0, "steps": 60, "last": 40}),
    "left_excess": ("MaximisationBias-v0", {
        "step_size": 0.1, "gamma": 1.0, "epsilon": 0.1, "initial_value": 0.0, "episodes": 60, "last": 20}),
    "episodes_to_best": ("DynaMaze-v0", {
        "planning_steps": 1, "step_size": 0.1, "gamma": 0.95, "epsilon": 0.1, "initial_value": 0.0, "repetitions": 2,
        "times": 9.0, "steps": 2500}),
    "learned_average": ("AccessControl-v0", {
        "step_size": 0.01, "average_step_size": 0.01, "epsilon": 0.1, "initial_value": 0.0, "steps": 300}),
}  # fmt: skip


@pytest.mark.parametrize("name", SMALL)
def test_a_seed_s_number_is_the_same_alone_and_among_others(name: str) -> None:
    env, values = SMALL[name]
    function = find_measurement(name).function
    seeds = (4, 0, 7, 2, *range(10, 18))  # so many that they are not all alike by chance
    together = function(seeds, find_env(env), **values)
    alone = [function((seed,), find_env(env), **values)[0] for seed in seeds[:4]]
    np.testing.assert_array_equal(together[:4], alone)
    assert np.unique(together).size > 1  # NaN is one


def test_sample_averages_by_a_plain_loop() -> None:
    """Each problem replayed: with the rewards that came, sample averages choose what was chosen, ties aside."""
    seen: list[tuple[np.ndarray, np.ndarray]] = []
    config = {"step_size": 1.0, "step_size_decay": 1.0, "gamma": 0.0, "epsilon": 0.0, "initial_value": 0.0}
    train_agent(
        find_agent("q_learning").load(), config, find_env("TenArmedTestbed-v0"), range(20), 80,
        after=lambda agent, step: seen.append((step.action[:, 0].copy(), step.reward[:, 0].copy())),
    )  # fmt: skip
    for row in range(20):
        total, count = np.zeros(10), np.zeros(10)
        for action, reward in seen:
            mean = total / np.maximum(count, 1)
            assert mean[action[row]] == pytest.approx(mean.max(), abs=1e-12)
            total[action[row]] += reward[row]
            count[action[row]] += 1


@pytest.mark.parametrize(("epsilon", "initial_value"), [(0.0, 5.0), (0.3, 0.0)])
def test_numbers_of_bandits_are_those_of_their_last_steps(epsilon: float, initial_value: float) -> None:
    """Problems that watch themselves: what was paid, whether by the best arm, and how often not by the best guess."""
    made: list[Any] = []

    class Watched(TenArmedTestbed):
        def __init__(self) -> None:
            super().__init__()
            made.append(self)
            self.seen: list[tuple[int, float, bool]] = []

        def step(self, action: Any) -> Any:
            told = super().step(action)
            self.seen.append((int(action), told[1], bool(self.values[action] == max(self.values))))
            return told

    values = {"epsilon": epsilon, "initial_value": initial_value, "steps": 60, "last": 20}
    for name, column in (("bandit_reward", 1), ("bandit_best_share", 2)):
        made.clear()
        found = find_measurement(name).function(range(40), EnvSource("Watched", Watched, None, {}, ()), **values)
        seen = [one.seen for one in made if one.seen]
        assert [len(steps) for steps in seen] == [60] * 40
        np.testing.assert_allclose(found, [sum(step[column] for step in steps[40:]) / 20 for steps in seen], atol=1e-12)
    explored, chances = 0, []
    for steps in seen:
        total, count = np.zeros(10), np.zeros(10)
        for action, reward, _ in steps:
            mean = np.where(count > 0, total / np.maximum(count, 1), initial_value)
            best = mean >= mean.max() - 1e-12
            explored += not best[action]
            chances.append(epsilon * (1 - best.mean()))
            total[action] += reward
            count[action] += 1
    error = math.sqrt(sum(p * (1 - p) for p in chances))
    assert explored == pytest.approx(sum(chances), abs=4 * error)


def test_going_left_by_the_book_s_two_actions() -> None:
    """Q-learning with two actions in A, one update at a time, is what the tied values are."""
    seen: list[tuple[int, int, float, int, bool]] = []

    def after(agent: Any, step: Any) -> None:
        values = (step.obs, step.action, step.reward, step.next_obs, step.terminated)
        seen.append(tuple(one[0, 0].item() for one in values))  # type: ignore[arg-type]

    tied = sutton_barto.two_actions_in_a(find_agent("q_learning").load())
    config = {"step_size": 0.1, "gamma": 1.0, "epsilon": 0.5, "initial_value": 0.0}
    agent = train_agent(tied, config, find_env("MaximisationBias-v0"), (3,), 500, after=after)
    a, b = np.zeros(2), np.zeros(10)  # left and right; B
    for state, action, reward, following, terminated in seen:
        if state == 1:
            b[action] += 0.1 * (reward - b[action])
        else:
            side = int(action >= 5)
            a[side] += 0.1 * (reward + (0.0 if terminated else b.max()) - a[side])
            assert terminated == (side == 1)
            assert following == (side == 0)
    np.testing.assert_allclose(agent.q[0, 0], np.repeat(a, 5), atol=1e-12)
    np.testing.assert_allclose(agent.q[0, 1], b, atol=1e-12)
    assert a[0] != 0


def test_untied_values_would_be_another_task() -> None:
    """The wrong way: with ten values in A, each left is learnt a fifth as often."""
    plain = train_agent(
        find_agent("q_learning").load(), {"step_size": 0.1, "gamma": 1.0, "epsilon": 0.5},
        find_env("MaximisationBias-v0"), (3,), 500,
    )  # fmt: skip
    assert len(set(plain.q[0, 0, :5].tolist())) > 1


@pytest.mark.parametrize(("epsilon", "seeds"), [(0.1, 600), (0.6, 300)])
def test_how_often_left_is_gone_by_another_simulation(epsilon: float, seeds: int) -> None:
    """The book's MDP with two actions in A, simulated without any of the kit.

    With the larger ε a share depends more on it than on what was learnt: half as much of it would be 12 points more.
    """
    generator, n, episodes = np.random.default_rng(1), 3000, 60
    a, b, rows, left = np.zeros((n, 2)), np.zeros((n, 10)), np.arange(n), np.zeros(n)
    for episode in range(episodes):
        equal = a[:, 0] == a[:, 1]
        side = np.where(equal, generator.integers(2, size=n), a[:, 1] > a[:, 0]).astype(int)
        side = np.where(generator.random(n) < epsilon, generator.integers(2, size=n), side)
        best = np.where(b == b.max(1, keepdims=True), generator.random(b.shape), -1).argmax(1)
        action = np.where(generator.random(n) < epsilon, generator.integers(10, size=n), best)
        goes = rows[side == 0]
        left[goes] += episode >= episodes - 20
        a[goes, 0] += 0.1 * (b[goes].max(1) - a[goes, 0])
        b[goes, action[goes]] += 0.1 * (generator.normal(-0.1, 1.0, len(goes)) - b[goes, action[goes]])
    env, values = SMALL["left_excess"]
    ours = sutton_barto.left_excess(range(seeds), find_env(env), **{**values, "epsilon": epsilon})
    theirs = 100 * (left / 20 - epsilon / 2)
    error = math.hypot(ours.std() / seeds**0.5, theirs.std() / n**0.5)
    assert ours.mean() == pytest.approx(theirs.mean(), abs=4 * error)


def test_the_first_episode_is_the_same_for_every_n() -> None:
    config = {"step_size": 0.1, "gamma": 0.95, "epsilon": 0.1, "initial_value": 0.0}
    env, agent_class = find_env("DynaMaze-v0"), find_agent("dyna_q").load()
    lengths = [
        sutton_barto.episode_lengths(range(6), env, agent_class, {**config, "planning_steps": n}, 2500) for n in (0, 5)
    ]
    np.testing.assert_array_equal(lengths[0][:, 0], lengths[1][:, 0])
    assert np.isfinite(lengths[0][:, 0]).any()
    assert np.nanmean(lengths[1][:, 1]) < np.nanmean(lengths[0][:, 1]) / 2  # planning shows in the second


def test_lengths_are_those_of_the_first_episodes() -> None:
    """Of 1, 2, 3, … steps, by the task's end and by its clock in turn; NaN where the steps do not reach the end."""

    class Longer(gymnasium.Env[np.int64, int]):
        observation_space, action_space = gymnasium.spaces.Discrete(1), gymnasium.spaces.Discrete(2)
        episodes = 0

        def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
            super().reset(seed=seed)
            self.episodes += 1
            self.left = self.episodes
            return np.int64(0), {}

        def step(self, action: int) -> Any:
            self.left -= 1
            is_over, is_even = self.left == 0, self.episodes % 2 == 0
            return np.int64(0), 0.0, is_over and not is_even, is_over and is_even, {}

    env, agent_class = EnvSource("Longer", Longer, None, {}, ()), find_agent("q_learning").load()
    for steps, expected in ((9, [1, 2, 3, np.nan]), (10, [1, 2, 3, 4]), (21, [1, 2, 3, 4])):
        found = sutton_barto.episode_lengths(range(2), env, agent_class, {}, steps, 4)
        np.testing.assert_array_equal(found, [expected] * 2)


def test_a_curve_is_on_its_floor_when_its_mean_is(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = np.array([[900.0, 20, 90, 20], [800, 50, 12, 22], [700, 20, 20, 20], [700, 20, 20, np.nan]])
    asked: list[list[int]] = []

    def episode_lengths(runs: list[int], *_: Any) -> np.ndarray:
        asked.append(runs)
        return lengths

    monkeypatch.setattr(sutton_barto, "episode_lengths", episode_lengths)
    values: dict[str, Any] = {**SMALL["episodes_to_best"][1], "times": 2.0}  # 31.6
    found = sutton_barto.episodes_to_best((0, 1), find_env("DynaMaze-v0"), **values)
    assert found.tolist() == [4, 2]
    assert asked == [[0, 1, 2, 3]]  # no repetition of a seed is another's
    lengths[3] = np.nan
    assert np.isnan(sutton_barto.episodes_to_best((0, 1), find_env("DynaMaze-v0"), **values)[1])


def test_an_average_reward_is_what_the_agent_holds() -> None:
    env, values = SMALL["learned_average"]
    long = {**values, "steps": 3_000}
    found = sutton_barto.learned_average((0, 1), find_env(env), **long)
    assert ((found > 1.0) & (found < 4.0)).all()


def test_an_average_reward_is_that_of_a_plain_loop() -> None:
    """A queue that watches itself; of the last step's A' it sees nothing, so that there are two averages."""
    made: list[Any] = []

    class Watched(AccessControl):
        def __init__(self) -> None:
            super().__init__()
            made.append(self)
            self.seen: list[tuple[int, int, float, int]] = []

        def step(self, action: Any) -> Any:
            before = int(self.state)
            told = super().step(action)
            self.seen.append((before, int(action), told[1], int(self.state)))
            return told

    values = {"step_size": 0.05, "average_step_size": 0.02, "epsilon": 0.3, "initial_value": 1.0, "steps": 400}
    found = sutton_barto.learned_average(range(5), EnvSource("Watched", Watched, None, {}, ()), **values)
    explored, chances = 0, 0
    for row, seen in enumerate(one.seen for one in made if one.seen):
        q, average = np.full((44, 2), 1.0), 0.0
        for (state, action, reward, following), (_, chosen, _, _) in itertools.pairwise(seen):
            explored += q[following, chosen] < q[following].max()
            chances += q[following, 0] != q[following, 1]
            delta = reward - average + q[following, chosen] - q[state, action]
            average += 0.02 * delta
            q[state, action] += 0.05 * delta
        state, action, reward, following = seen[-1]
        either = average + 0.02 * (reward - average + q[following] - q[state, action])
        assert abs(either - found[row]).min() < 1e-9
    assert explored == pytest.approx(0.15 * chances, abs=4 * math.sqrt(0.15 * 0.85 * chances))
