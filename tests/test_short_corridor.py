"""The short corridor: its dynamics as read off `step`, and its values by dynamic programming."""

import math
from fractions import Fraction

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from rlrepro.envs.short_corridor import GOAL, LEFT, RIGHT, ShortCorridor, true_value

BEST = 2 - math.sqrt(2)


def transition(position: int, action: int) -> tuple[int, float, bool]:
    env = ShortCorridor()
    env.reset(seed=0)
    env.set_state({"position": position})
    _, reward, terminated, truncated, _ = env.step(action)
    assert not truncated
    return env.get_state()["position"], reward, terminated


def values_by_elimination(p: Fraction) -> list[Fraction]:
    """The three states' values under P(right) = p: (I − P) v = r solved exactly, with the model from `step`."""
    rows = []
    for state in range(GOAL):
        row = [Fraction(int(state == column)) for column in range(GOAL)] + [Fraction(0)]
        for action, probability in ((LEFT, 1 - p), (RIGHT, p)):
            following, reward, terminated = transition(state, action)
            row[GOAL] += probability * Fraction(reward)
            if not terminated:
                row[following] -= probability
        rows.append(row)
    for i in range(GOAL):
        rows[i] = [value / rows[i][i] for value in rows[i]]
        for j in range(GOAL):
            if j != i:
                rows[j] = [a - rows[j][i] * b for a, b in zip(rows[j], rows[i], strict=True)]
    return [row[GOAL] for row in rows]


def test_transitions_by_hand() -> None:
    moves = {(s, a): transition(s, a) for s in range(GOAL) for a in (LEFT, RIGHT)}
    assert moves == {
        (0, LEFT): (0, -1.0, False),
        (0, RIGHT): (1, -1.0, False),
        (1, LEFT): (2, -1.0, False),
        (1, RIGHT): (0, -1.0, False),
        (2, LEFT): (1, -1.0, False),
        (2, RIGHT): (GOAL, -1.0, True),
    }


@pytest.mark.parametrize("p", [Fraction(k, 20) for k in range(1, 20)] + [Fraction(1, 1000), Fraction(999, 1000)])
def test_true_value_is_dynamic_programming_s(p: Fraction) -> None:
    exact = values_by_elimination(p)[0]
    assert exact == -2 * (2 - p) / (p * (1 - p))
    assert true_value(float(p)) == pytest.approx(float(exact), rel=1e-12)


def test_the_best_policy_is_stochastic() -> None:
    assert true_value(BEST) == pytest.approx(-(6 + 4 * math.sqrt(2)), rel=1e-14)
    assert true_value(BEST) == pytest.approx(-11.6569, abs=1e-4)
    grid = np.linspace(0.001, 0.999, 9981)
    values = [true_value(p) for p in grid.tolist()]
    assert grid[np.argmax(values)] == pytest.approx(BEST, abs=1e-4)
    assert max(values) <= true_value(BEST)
    assert true_value(BEST - 1e-3) < true_value(BEST) > true_value(BEST + 1e-3)


def test_the_book_s_greedy_policies() -> None:
    assert true_value(0.95) == pytest.approx(-44.2, abs=0.1)
    assert true_value(0.05) == pytest.approx(-82.1, abs=0.1)
    assert true_value(0) == true_value(1) == -math.inf
    with pytest.raises(ValueError, match="probability"):
        true_value(1.5)


def test_returns_average_to_the_value() -> None:
    env, rng = ShortCorridor(), np.random.default_rng(0)
    returns = []
    for _ in range(2000):
        env.reset()
        total, terminated = 0.0, False
        while not terminated:
            _, reward, terminated, _, _ = env.step(int(rng.random() < BEST))
            total += reward
        returns.append(total)
    error = np.std(returns) / math.sqrt(len(returns))
    assert np.mean(returns) == pytest.approx(true_value(BEST), abs=4 * error)


def test_all_states_look_the_same() -> None:
    env = ShortCorridor()
    obs, _ = env.reset(seed=1)
    for action in (RIGHT, LEFT, LEFT, RIGHT):
        following, *_ = env.step(action)
        assert following.tobytes() == obs.tobytes() == np.ones(1, np.float32).tobytes()


@pytest.mark.filterwarnings("ignore:.*not having a spec")
def test_keeps_gymnasium_s_contract() -> None:
    check_env(ShortCorridor(render_mode="ansi"))
    env = gym.wrappers.TimeLimit(ShortCorridor(), ShortCorridor.max_episode_steps)
    env.reset(seed=0)
    truncated = [env.step(LEFT)[3] for _ in range(1000)]
    assert truncated == [False] * 999 + [True]


def test_draws_itself() -> None:
    env = ShortCorridor(render_mode="ansi")
    env.reset()
    pictures = [env.render()]
    for action in (RIGHT, LEFT, RIGHT):
        env.step(action)
        pictures.append(env.render())
    assert pictures == ["[x][ ][ ] G", "[ ][x][ ] G", "[ ][ ][x] G", "[ ][ ][ ] x"]
    assert ShortCorridor().render() is None
