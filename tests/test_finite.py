"""The book's small tasks: their moves by hand, their values by dynamic programming against the book's numbers."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from rlrepro import snapshot
from rlrepro.envs.bandits import MaximisationBias, TenArmedTestbed
from rlrepro.envs.finite import (
    DOWN,
    LEFT,
    RIGHT,
    UP,
    AccessControl,
    DynaMaze,
    FiniteMDP,
    Gridworld,
    RandomWalk,
    WindyGridworld,
    best_average,
    best_values,
    model,
    policy_values,
)
from rlrepro.envs.short_corridor import true_value
from rlrepro.plugins.environments import find_env

FINITE = [AccessControl, DynaMaze, Gridworld, RandomWalk, WindyGridworld]
NAMES = [f"{cls.__name__}-v0" for cls in [*FINITE, MaximisationBias, TenArmedTestbed]]


def walk(env: FiniteMDP, actions: list[int], width: int) -> list[tuple[int, int]]:
    """The cells that actions lead to from the start."""
    env.reset(seed=0)
    return [divmod(int(env.step(action)[0]), width) for action in actions]


def uniform(env: FiniteMDP) -> np.ndarray:
    follows, _ = model(env)
    return np.full(follows.shape[:2], 1 / follows.shape[1])


@pytest.mark.parametrize("name", NAMES)
def test_keeps_gymnasium_s_contract_and_restores(name: str) -> None:
    source = find_env(name)
    check_env(source.make().unwrapped, skip_render_check=True)
    assert snapshot.can_restore(source.make) is None


@pytest.mark.parametrize("cls", FINITE)
def test_probabilities_sum_to_one(cls: type[FiniteMDP]) -> None:
    env = cls()
    for state in range(env.observation_space.n):
        for action in range(env.action_space.n):
            found = env.outcomes(state, action)
            assert sum(one.probability for one in found) == pytest.approx(1, abs=1e-12)
            assert all(env.observation_space.contains(one.state) for one in found)


@pytest.mark.parametrize(
    ("name", "kwargs", "starts", "limit"),
    [
        ("AccessControl-v0", {}, range(40, 44), 10_000),  # ten servers free, any customer
        ("DynaMaze-v0", {}, [18], 10_000),
        ("Gridworld-v0", {}, range(25), 100),
        ("MaximisationBias-v0", {}, [0], None),
        ("RandomWalk-v0", {}, [2], 10_000),
        ("RandomWalk-v0", {"length": 19}, [9], 10_000),
        ("TenArmedTestbed-v0", {}, [0], 1000),
        ("WindyGridworld-v0", {}, [30], 10_000),
    ],
)
def test_episodes_begin_in_every_start_alike_and_are_as_long_as_is_said(
    name: str, kwargs: dict[str, Any], starts: Sequence[int], limit: int | None
) -> None:
    source, count = find_env(name, kwargs), 2500
    env = source.make()
    found = Counter(int(env.reset(seed=None if episode else 0)[0]) for episode in range(count))
    assert set(found) == set(starts)
    chance = 1 / len(starts)
    assert max(abs(found[one] - count * chance) for one in starts) <= 4.5 * math.sqrt(count * chance * (1 - chance))
    assert source.time_limit() == limit


def test_steps_are_drawn_by_the_probabilities() -> None:
    env, count = AccessControl(), 20_000
    state, drawn = 2 * 4 + 3, np.zeros(44)  # 2 servers free, a customer who pays 8
    env.reset(seed=3)
    for _ in range(count):
        env.state = state
        following, reward, *_ = env.step(1)
        assert reward == 8
        drawn[following] += 1
    expected = model(env)[0][state, 1]
    sure = expected > 0.002
    error = np.sqrt(expected * (1 - expected) / count)
    assert (abs(drawn / count - expected)[sure] < 5 * error[sure]).all()
    assert drawn[expected == 0].sum() == 0


def test_the_gridworld_is_cut_after_100_steps() -> None:
    env = find_env("Gridworld-v0").make()
    env.reset(seed=0)
    assert [env.step(UP)[2:4] for _ in range(100)] == [(False, False)] * 99 + [(False, True)]


def test_the_wind_blows() -> None:
    moves = [RIGHT] * 9 + [DOWN] * 4 + [LEFT] * 2
    cells = [(3, 1), (3, 2), (3, 3), (2, 4), (1, 5), (0, 6), (0, 7), (0, 8), (0, 9)]
    cells += [(1, 9), (2, 9), (3, 9), (4, 9), (4, 8), (3, 7)]
    env = WindyGridworld()
    assert walk(env, moves, 10) == cells
    env.set_state(env.get_state() | {"state": 48})
    assert env.step(LEFT)[1:4] == (-1.0, True, False)


def test_the_windy_gridworld_s_shortest_way_has_15_steps() -> None:
    values = best_values(WindyGridworld(), 1.0).max(1)
    assert values[30] == -15
    assert values[48] == -1


def test_walls_of_the_maze() -> None:
    cells = walk(DynaMaze(), [LEFT, RIGHT, RIGHT, UP, UP, UP, DOWN, DOWN, DOWN, DOWN, DOWN], 9)
    assert cells == [(2, 0), (2, 1), (2, 1), (1, 1), (0, 1), (0, 1), (1, 1), (2, 1), (3, 1), (4, 1), (5, 1)]
    env = DynaMaze()
    env.reset()
    env.set_state(env.get_state() | {"state": 17})
    assert env.step(UP)[:4] == (8, 1.0, True, False)


def test_the_maze_s_shortest_way_has_14_steps() -> None:
    assert best_values(DynaMaze(), 0.95).max(1)[18] == pytest.approx(0.95**13, abs=1e-12)


def test_gridworld_of_figure_3_2() -> None:
    env = Gridworld()
    expected = """3.3 8.8 4.4 5.3 1.5  1.5 3.0 2.3 1.9 0.5  0.1 0.7 0.7 0.4 -0.4
                  -1.0 -0.4 -0.4 -0.6 -1.2  -1.9 -1.3 -1.2 -1.4 -2.0"""
    values = policy_values(env, uniform(env), 0.9)
    np.testing.assert_allclose(values, np.array(expected.split(), float), rtol=0, atol=0.05)


def test_gridworld_of_figure_3_5() -> None:
    expected = """22.0 24.4 22.0 19.4 17.5  19.8 22.0 19.8 17.8 16.0  17.8 19.8 17.8 16.0 14.4
                  16.0 17.8 16.0 14.4 13.0  14.4 16.0 14.4 13.0 11.7"""
    values = best_values(Gridworld(), 0.9).max(1)
    np.testing.assert_allclose(values, np.array(expected.split(), float), rtol=0, atol=0.05)
    assert values[1] == pytest.approx(10 / (1 - 0.9**5), abs=1e-9)  # +10 every fifth step


def test_random_walk_of_example_6_2() -> None:
    five = RandomWalk()
    np.testing.assert_allclose(policy_values(five, uniform(five), 1.0), np.arange(1, 6) / 6, atol=1e-12)
    long = RandomWalk(length=19, left=-1.0)
    np.testing.assert_allclose(policy_values(long, uniform(long), 1.0), np.arange(-9, 10) / 10, atol=1e-12)
    for length in (4, -1):
        with pytest.raises(ValueError, match=f"odd, .* not {length}"):
            RandomWalk(length=length)


def test_access_control_s_average_rewards() -> None:
    env = AccessControl()
    env.reset(seed=0)
    env.state = 3  # no server is free: to accept is to reject
    assert env.step(1)[1] == 0.0
    assert env.outcomes(3, 0) == env.outcomes(3, 1)
    assert env.outcomes(7, 1)[0].probability == pytest.approx(0.94**10 / 4)  # the server just given may free itself
    follows, rewards = model(env)
    assert (best_average(env), best_average(env, 0.1)) == pytest.approx((2.748, 2.647), abs=5e-4)
    everyone = _gain(follows[:, 1], rewards[:, 1])
    assert (
        everyone < best_average(env, epsilon=0.1) < best_average(env) < 0.25 * (8 + 4) + 0.1 * 2
    )  # 0.6 servers a step
    assert best_average(env, epsilon=1.0) == pytest.approx(_gain(follows.mean(1), rewards.mean(1)), abs=1e-8)


def _gain(chain: np.ndarray, rewards: np.ndarray) -> float:
    """The average reward of one policy, from its stationary distribution."""
    return float(np.linalg.matrix_power(chain, 4000)[0] @ rewards)


def test_maximisation_bias_moves() -> None:
    env = MaximisationBias()
    env.reset(seed=0)
    assert env.step(5)[:4] == (0, 0.0, True, False)
    draws = []
    for action in range(2000):
        env.reset()
        assert env.step(action % 5)[:4] == (1, 0.0, False, False)
        _, reward, terminated, _, _ = env.step(action % 10)
        assert terminated
        draws.append(reward)
    assert np.mean(draws) == pytest.approx(-0.1, abs=4 / math.sqrt(2000))
    assert np.std(draws) == pytest.approx(1.0, abs=0.07)
    for actions in (0, 3):
        with pytest.raises(ValueError, match=f"even, half of them left, not {actions}"):
            MaximisationBias(actions)


@pytest.mark.parametrize("actions", [0, 5, -2])
def test_as_many_actions_lead_left_as_right_or_none_do(actions: int) -> None:
    with pytest.raises(ValueError, match=f"actions must be even, half of them left, not {actions}"):
        MaximisationBias(actions)


def test_the_testbed_s_best_arm_pays_1_54() -> None:
    x = np.linspace(-8, 8, 20_001)
    density = np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
    below = np.cumsum(density) * (x[1] - x[0])
    exact = float((x * 10 * density * below**9).sum() * (x[1] - x[0]))
    assert exact == pytest.approx(1.54, abs=0.005)
    env = TenArmedTestbed()
    best = []
    for seed in range(2000):
        env.reset(seed=seed)
        best.append(env.values.max())
    assert np.mean(best) == pytest.approx(exact, abs=4 * np.std(best) / math.sqrt(2000))
    rewards = [env.step(int(env.values.argmax()))[1] for _ in range(2000)]
    assert np.mean(rewards) == pytest.approx(env.values.max(), abs=4 / math.sqrt(2000))
    assert np.std(rewards) == pytest.approx(1.0, abs=0.07)
    assert env.step(int(env.values.argmax()))[4] == {"is_best": True}
    assert env.step(int(env.values.argmin()))[4] == {"is_best": False}


def test_the_book_s_numbers_of_the_short_corridor() -> None:
    p = 2 - math.sqrt(2)
    assert round(p, 2) == 0.59
    assert math.ceil(true_value(p) * 10) / 10 == -11.6
    assert true_value(0.95) < -44
    assert true_value(0.05) < -82


CARDS = [(value, 4 / 13 if value == 10 else 1 / 13) for value in range(1, 11)]


def _total(hard: int, has_ace: bool) -> int:
    return hard + 10 if has_ace and hard <= 11 else hard


@functools.cache
def _dealer(hard: int, has_ace: bool, player: int) -> float:
    """The player's expected reward once the dealer, who sticks at 17, plays."""
    total = _total(hard, has_ace)
    if total > 21:
        return 1.0
    if total >= 17:
        return float(np.sign(player - total))
    return sum(p * _dealer(hard + card, has_ace or card == 1, player) for card, p in CARDS)


@functools.cache
def _player(hard: int, has_ace: bool, dealer: int) -> float:
    """His expected reward where he sticks on 20 and 21."""
    total = _total(hard, has_ace)
    if total > 21:
        return -1.0
    if total >= 20:
        return sum(p * _dealer(dealer + card, dealer == 1 or card == 1, total) for card, p in CARDS)
    return sum(p * _player(hard + card, has_ace or card == 1, dealer) for card, p in CARDS)


def test_blackjack_s_value_of_example_5_4() -> None:
    exact = _player(3, True, 2)  # an ace and a two, the dealer shows a two
    assert exact == pytest.approx(-0.27726, abs=2e-4)
    env: Any = gym.make("Blackjack-v1", sab=True).unwrapped
    env.reset(seed=0)
    rewards = []
    for _ in range(2500):
        env.player, env.dealer = [1, 2], [2, int(env.np_random.choice([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10, 10, 10]))]
        done, total = False, 13
        while not done:
            (total, _, _), reward, done, _, _ = env.step(int(total < 20))
        rewards.append(reward)
    assert np.mean(rewards) == pytest.approx(exact, abs=4 * np.std(rewards) / 50)


def test_a_tuple_of_discretes_is_one_array() -> None:
    source = find_env("Blackjack-v1")
    env, plain = source.make(), gym.make("Blackjack-v1")
    assert env.observation_space == gym.spaces.MultiDiscrete([32, 11, 2])
    obs, expected = env.reset(seed=5)[0], plain.reset(seed=5)[0]
    assert obs.tolist() == list(expected)
    assert env.step(1)[0].tolist() == list(plain.step(1)[0])
    assert snapshot.can_restore(source.make) is None


def test_a_tuple_of_anything_else_stays() -> None:
    class Mixed(gym.Env[Any, Any]):
        observation_space = gym.spaces.Tuple((gym.spaces.Discrete(2), gym.spaces.Box(0, 1)))
        action_space = gym.spaces.Discrete(2)

    from rlrepro.plugins.env_source import EnvSource

    assert isinstance(EnvSource("Mixed", Mixed, None, {}, ()).make().observation_space, gym.spaces.Tuple)
