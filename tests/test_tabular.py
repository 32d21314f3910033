"""Tabular and linear agents against plain loops in float64, numbers of the book, and the forward view."""

from __future__ import annotations

import math
from typing import Any

import gymnasium
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlrepro.agent import Setup, Transition, UnsupportedSpace
from rlrepro.plugins.agents import find_agent
from rlrepro.streams import Streams
from rlrepro.tabular import LastStep, States, expectation
from rlrepro.tiles import TileCoder
from tests.agreement import agree

STATES, ACTIONS = 4, 3


def agent(
    name: str, seeds: int = 2, space: gymnasium.Space[Any] | None = None, num_envs: int = 1, **config: Any
) -> Any:
    found = find_agent(name).load()
    space = space or gymnasium.spaces.Discrete(STATES)
    setup = Setup(space, gymnasium.spaces.Discrete(ACTIONS), tuple(range(seeds)), num_envs, 10**6)
    return found(setup, found.Config(**config))


def steps(count: int = 20, most: int = 3) -> Any:
    """Steps of two seeds with up to `most` sub-environments: state, action, reward, terminated, truncated of each."""
    one = st.tuples(
        st.integers(0, STATES - 1), st.integers(0, ACTIONS - 1), st.floats(-3, 3), st.booleans(), st.booleans()
    )

    def of(num: int) -> Any:
        seed = st.tuples(*[one] * num)
        return st.lists(st.tuples(seed, seed), min_size=2, max_size=count)

    return st.integers(1, most).flatmap(of)


def num_envs(drawn: Any) -> int:
    return len(drawn[0][0])


def feed(learner: Any, drawn: Any, on_policy: bool) -> list[list[tuple[Any, ...]]]:
    """Run `learner` through the drawn steps of two seeds; what each learns from in turn: n, S, A, R, S', ends, A'."""
    told: list[list[tuple[Any, ...]]] = [[], []]
    columns = [[np.array([[one[at] for one in seed] for seed in pair]) for at in range(5)] for pair in drawn]
    state = columns[0][0]
    for now, following in zip(columns, [*columns[1:], columns[0]], strict=True):
        action, _ = learner.act(state, 0)
        if not on_policy:
            action = now[1]
        reward, terminated, truncated = now[2], now[3], now[4] & ~now[3]
        next_state = following[0]
        learner.memory.add(Transition(state, action, reward, next_state, terminated, truncated, {}))
        for batch in learner.memory.ready(0):
            learner.update(batch, 0)
        chosen = getattr(learner, "next_action", np.zeros(state.shape, int))
        for row, n in np.ndindex(state.shape):
            values = (state, action, reward, next_state, terminated, truncated, chosen)
            told[row].append((n, *(value[row, n].item() for value in values)))
        state = next_state
    return told


@pytest.mark.agrees("{name}", "a float64 loop")
@pytest.mark.parametrize("name", ["q_learning", "expected_sarsa", "sarsa"])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_one_step_updates_are_those_of_a_plain_loop(name: str, data: Any) -> None:
    drawn = data.draw(steps())
    config = {"step_size": 0.3, "step_size_decay": 0.5, "gamma": 0.9, "epsilon": 0.2, "initial_value": 0.5}
    learner = agent(name, num_envs=num_envs(drawn), **config)
    told = feed(learner, drawn, on_policy=name == "sarsa")
    for row, history in enumerate(told):
        q, visits = [[0.5] * ACTIONS for _ in range(STATES)], {}
        for _, state, action, reward, following, terminated, _, chosen in history:
            after = q[following]
            best = [a for a in range(ACTIONS) if after[a] == max(after)]
            policy = [0.2 / ACTIONS + (0.8 / len(best) if a in best else 0.0) for a in range(ACTIONS)]
            value = {
                "q_learning": max(after),
                "sarsa": after[chosen],
                "expected_sarsa": sum(p * v for p, v in zip(policy, after, strict=True)),
            }[name]
            visits[state, action] = visits.get((state, action), 0) + 1
            target = reward + (0.0 if terminated else 0.9 * value)
            q[state][action] += 0.3 / visits[state, action] ** 0.5 * (target - q[state][action])
        assert agree(learner.q[row], np.array(q), 1.0) < 1e-9


@pytest.mark.agrees("sarsa", "a float64 loop")
@settings(max_examples=40, deadline=None)
@given(drawn=steps(), n=st.integers(2, 5), decay=st.sampled_from([0.0, 0.5]))
def test_n_step_sarsa_is_that_of_a_plain_loop(drawn: Any, n: int, decay: float) -> None:
    config = {"num_steps": n, "step_size": 0.3, "step_size_decay": decay, "gamma": 0.9, "epsilon": 0.2}
    learner = agent("sarsa", num_envs=num_envs(drawn), **config)
    for row, history in enumerate(feed(learner, drawn, on_policy=True)):
        q, visits = np.zeros((STATES, ACTIONS)), np.zeros((STATES, ACTIONS))
        episodes: list[list[tuple[int, int, float]]] = [[] for _ in range(num_envs(drawn))]
        for m, state, action, reward, following, terminated, truncated, chosen in history:
            episode = episodes[m]
            episode.append((state, action, reward))
            last = len(episode)
            ended = terminated or truncated
            for tau in range(max(0, last - n), last if ended else last - n + 1):
                target = sum(0.9 ** (i - tau) * episode[i][2] for i in range(tau, last))
                if not terminated:
                    target += 0.9 ** (last - tau) * q[following, chosen]
                s, a, _ = episode[tau]
                visits[s, a] += 1
                q[s, a] += 0.3 / visits[s, a] ** decay * (target - q[s, a])
            if ended:
                episode.clear()
        assert agree(learner.q[row], np.array(q), 1.0) < 1e-9


def test_n_step_sarsa_tells_the_mean_error_of_a_steps_updates() -> None:
    """Rewards of 8 and values of 0: an error over two steps is 16, over an episode's last one 8; NaN while it waits."""
    learner = agent("sarsa", seeds=3, num_steps=2, step_size=0.5, gamma=1.0)
    told = []
    for at, ended in ((0, [False, False, True]), (2, [False, True, False])):
        state, truncated = np.full((3, 1), at), np.zeros((3, 1), bool)
        action, _ = learner.act(state, 0)
        over = np.array(ended)[:, None]
        learner.memory.add(Transition(state, action, np.full((3, 1), 8.0), state + 1, over, truncated, {}))
        (batch,) = learner.memory.ready(0)
        told.append(learner.update(batch, 0)["losses/td_error"].numpy())
    np.testing.assert_array_equal(told, [[np.nan, np.nan, 8.0], [16.0, 12.0, np.nan]])


@pytest.mark.parametrize(
    "name", ["q_learning", "double_q_learning", "expected_sarsa", "sarsa", "sarsa_lambda", "dyna_q"]
)
def test_the_error_told_is_the_mean_over_sub_environments(name: str) -> None:
    """Values of 0 in two states of their own, rewards of 10 and 2: the mean is 6, whichever comes last."""
    learner = agent(name, seeds=1, num_envs=2, step_size=0.5)
    state, no = np.array([[0, 2]]), np.zeros((1, 2), bool)
    action, _ = learner.act(state, 0)
    learner.memory.add(Transition(state, action, np.array([[10.0, 2.0]]), state, ~no, no, {}))
    (batch,) = learner.memory.ready(0)
    assert learner.update(batch, 0)["losses/td_error"].tolist() == [6.0]


@pytest.mark.agrees("sarsa_lambda", "a float64 loop")
@pytest.mark.parametrize("traces", ["accumulating", "replacing", "dutch"])
@settings(max_examples=30, deadline=None)
@given(drawn=steps())
def test_sarsa_lambda_is_that_of_a_plain_loop(traces: str, drawn: Any) -> None:
    config = {"traces": traces, "step_size": 0.3, "trace_decay": 0.8, "gamma": 0.9, "epsilon": 0.2}
    learner = agent("sarsa_lambda", num_envs=num_envs(drawn), **config)
    for row, history in enumerate(feed(learner, drawn, on_policy=True)):
        w = np.zeros((ACTIONS, STATES))
        of_each = {n: (np.zeros_like(w), 0.0) for n in range(num_envs(drawn))}
        for n, state, action, reward, following, terminated, truncated, chosen in history:
            (z, old), x = of_each[n], np.zeros_like(w)
            x[action, state] = 1.0
            q, after = w[action, state], 0.0 if terminated else w[chosen, following]
            delta = reward + 0.9 * after - q
            if traces == "dutch":
                z = 0.72 * z + (1 - 0.3 * 0.72 * (z * x).sum()) * x
                w = w + 0.3 * (delta + q - old) * z - 0.3 * (q - old) * x
                old = after
            else:
                z = np.where(x == 1, 1.0, z) if traces == "replacing" else z + x
                w = w + 0.3 * delta * z
                z = 0.72 * z
            of_each[n] = (np.zeros_like(z), 0.0) if terminated or truncated else (z, old)
        assert agree(learner.w[row], np.array(w), 1.0) < 1e-9


def test_truth_values_are_covered_by_tiles_as_bytes_are() -> None:
    """Four of them are a small Box like any other; the planes of an image are too many."""
    agent_class = find_agent("sarsa_lambda").load()

    def features(kind: Any) -> np.ndarray:
        space = gymnasium.spaces.Box(0, 1, (4,), kind)
        learner = agent_class(Setup(space, gymnasium.spaces.Discrete(2), (0,), 1, 10), agent_class.Config())
        return learner.features(np.array([[[0, 1, 1, 0]]], kind))

    np.testing.assert_array_equal(features(np.bool_), features(np.uint8))
    planes = gymnasium.spaces.Box(0, 1, (10, 10, 4), np.bool_)
    seven = gymnasium.spaces.Box(0, 1, (7,))  # 2,097,152 tiles, but eight times
    for space, power in ((planes, 400), (seven, 7)):
        with pytest.raises(UnsupportedSpace, match=rf"a Box of few dimensions, .*: 8 × 8\^{power} weights"):
            agent_class(Setup(space, gymnasium.spaces.Discrete(2), (0,), 1, 10), agent_class.Config())


@pytest.mark.agrees("double_q_learning", "a float64 loop")
@settings(max_examples=30, deadline=None)
@given(drawn=steps(), decay=st.sampled_from([0.0, 0.8]))
def test_double_q_learning_is_that_of_a_plain_loop(drawn: Any, decay: float) -> None:
    """Each table counts its own updates of a pair (van Hasselt, 2010, Section 4)."""
    config = {"step_size": 0.3, "step_size_decay": decay, "gamma": 0.9, "epsilon": 0.2}
    learner = agent("double_q_learning", num_envs=num_envs(drawn), **config)
    coins, toss = [], learner.coin.uniform

    def uniform(*shape: int) -> np.ndarray:
        coins.append(toss(*shape))
        return coins[-1]

    learner.coin.uniform = uniform
    # Ties are drawn among; values that are never equal leave the choice to them.
    learner.both += np.random.default_rng(0).normal(size=learner.both.shape)
    begun = learner.both.copy()
    told = feed(learner, drawn, on_policy=False)
    for row, history in enumerate(told):
        q, visits = begun[:, row].copy(), np.zeros((2, STATES, ACTIONS))
        for coin, (_, state, action, reward, following, terminated, _, _) in zip(coins, history, strict=True):
            mine = 1 if coin[row] < 0.5 else 0
            best = max(range(ACTIONS), key=lambda a: q[mine, following, a])
            target = reward + (0.0 if terminated else 0.9 * q[1 - mine, following, best])
            visits[mine, state, action] += 1
            alpha = 0.3 / visits[mine, state, action] ** decay
            q[mine, state, action] += alpha * (target - q[mine, state, action])
        assert agree(learner.both[:, row], q, 1.0) < 1e-9
        seen = {(state, action) for _, state, action, *_ in history}
        for pair in seen:
            assert learner.q[row][pair] == pytest.approx(q[:, *pair].mean(), abs=1e-9)


LINEAR = [
    "q_learning", "double_q_learning", "expected_sarsa", "sarsa", "sarsa_lambda", "differential_sarsa", "dyna_q",
]  # fmt: skip
ON_POLICY = ["sarsa", "sarsa_lambda", "differential_sarsa"]
CROWD = {"seeds": 40, "num_envs": 500}


def holding(values: np.ndarray, name: str, num_envs: int = CROWD["num_envs"], **config: Any) -> tuple[Any, np.ndarray]:
    """An agent with `values` `[S, states, actions]`, and states `[S, N]` for it to be asked about."""
    learner = agent(name, len(values), num_envs=num_envs, step_size=0.0, **config)
    learner.set_policy({"w": values.swapaxes(1, 2)} if name == "sarsa_lambda" else {"q": values})
    if name == "double_q_learning":
        learner.both[...] = values
    return learner, np.random.default_rng(1).integers(0, STATES, (len(values), num_envs))


def assert_shares(found: np.ndarray, expected: list[float]) -> None:
    """The shares of 0, 1, … among numbers, within four standard errors."""
    shares, p = np.bincount(found.ravel(), minlength=len(expected)) / found.size, np.array(expected)
    assert (abs(shares - p) <= 4 * np.sqrt(p * (1 - p) / found.size)).all(), shares


def assert_explores(action: np.ndarray, first: np.ndarray, expected: list[float]) -> None:
    """The shares of actions, counted from `first`: of all, and where each of them is the first."""
    assert_shares((action - first) % ACTIONS, expected)
    for one in range(ACTIONS):
        assert_shares((action[first == one] - one) % ACTIONS, expected)


def turned(values: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Action values that begin at another action with each seed and state, and the action they begin at."""
    first = np.add.outer(np.arange(CROWD["seeds"]), np.arange(STATES)) % ACTIONS
    return np.array(values)[(np.arange(ACTIONS) - first[..., None]) % ACTIONS], first


@pytest.mark.parametrize("name", LINEAR)
@pytest.mark.parametrize(("values", "greedy"), [([2.0, 0.0, 1.0], [1.0, 0.0, 0.0]), ([0.0, 2.0, 2.0], [0.0, 0.5, 0.5])])
def test_actions_are_uniform_with_probability_epsilon_and_else_of_the_best(
    name: str, values: list[float], greedy: list[float]
) -> None:
    """Those taken, those of an evaluation and those drawn ahead; the second values have two that are best."""
    expected = [0.3 / ACTIONS + 0.7 * share for share in greedy]
    table, first = turned(values)
    learner, state = holding(table, name, epsilon=0.3)
    rows = np.arange(CROWD["seeds"])[:, None]
    taken, _ = learner.act(state, 0)
    assert_explores(taken, first[rows, state], expected)
    evaluated = learner.predict(state, Streams(range(CROWD["seeds"]), "evaluation"), deterministic=False)
    assert_explores(evaluated, first[rows, state], expected)
    if name in ON_POLICY:
        following, no = state[:, ::-1], np.zeros(state.shape, bool)
        learner.memory.add(Transition(state, taken, np.ones(state.shape), following, no, no, {}))
        (batch,) = learner.memory.ready(0)
        learner.update(batch, 0)
        assert_explores(learner.next_action, first[rows, following], expected)


@pytest.mark.parametrize("name", LINEAR)
def test_a_deterministic_evaluation_takes_the_first_of_the_best(name: str) -> None:
    values = np.random.default_rng(2).integers(0, 2, (CROWD["seeds"], STATES, ACTIONS)).astype(float)
    learner, state = holding(values, name, epsilon=0.3)
    found = learner.predict(state, Streams(range(CROWD["seeds"]), "evaluation"), deterministic=True)
    for row, n in np.ndindex(state.shape):
        of_each = values[row, state[row, n]].tolist()
        assert found[row, n] == of_each.index(max(of_each))


@pytest.mark.parametrize("name", ON_POLICY)
def test_the_action_drawn_ahead_is_taken_where_the_episode_goes_on(name: str) -> None:
    """Else one is drawn for the state that is seen: with ε = 0, the best of it."""
    table, first = turned([2.0, 0.0, 1.0])
    learner, state = holding(table, name, epsilon=0.0)
    taken, _ = learner.act(state, 0)
    following, rows = state[:, ::-1], np.arange(CROWD["seeds"])[:, None]
    ended, cut = np.random.default_rng(3).random((2, *state.shape)) < 0.3
    learner.memory.add(Transition(state, taken, np.ones(state.shape), following, ended, cut & ~ended, {}))
    (batch,) = learner.memory.ready(0)
    learner.update(batch, 0)
    seen = np.where(ended | cut, 3, following)
    learner.next_action = (first[rows, following] + 1) % ACTIONS  # the worst, which no draw is
    found, _ = learner.act(seen, 1)
    np.testing.assert_array_equal(found, np.where(ended | cut, first[rows, 3], learner.next_action))


def stepped(learner: Any, state: np.ndarray, reward: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
    """The actions taken in states that lead to themselves, and what is told of the update."""
    no = np.zeros(state.shape, bool)
    action, _ = learner.act(state, 0)
    learner.memory.add(Transition(state, action, reward, state, no, no, {}))
    (batch,) = learner.memory.ready(0)
    return action, {name: value.tolist() for name, value in learner.update(batch, 0).items()}


@pytest.mark.parametrize("name", LINEAR)
def test_values_told_are_those_of_the_first_state_seen(name: str) -> None:
    """Of sub-environment 0, at every update; but those of sarsa_lambda are of the actions taken."""
    values = np.random.default_rng(4).normal(size=(5, STATES, ACTIONS))
    learner, state = holding(values, name, num_envs=4, epsilon=0.3)
    rows = np.arange(5)[:, None]
    if learner.value_of is not None:
        np.testing.assert_array_equal(learner.value_of(state), values.max(-1)[rows, state])
    first = values[rows[:, 0], state[:, 0]]
    policy = 0.7 * first.max(-1) + 0.3 * first.mean(-1)
    for seen in (state, (state + 1) % STATES):
        action, told = stepped(learner, seen, np.ones(seen.shape))
        if name == "sarsa_lambda":
            np.testing.assert_allclose(told["losses/q_values"], values[rows, seen, action].mean(1), atol=1e-12)
        else:
            expected = policy if name == "expected_sarsa" else first.max(-1)
            np.testing.assert_allclose(told["values/first_state"], expected, atol=1e-12)


def test_the_average_reward_told_is_that_after_the_update() -> None:
    """Rewards of 10 and 2 in states of their own, values of 0: errors of 10 and 2 − 1, of which R̄ takes a tenth."""
    learner = agent("differential_sarsa", seeds=1, num_envs=2, step_size=0.0, average_step_size=0.1)
    _, told = stepped(learner, np.array([[0, 2]]), np.array([[10.0, 2.0]]))
    assert told["values/average_reward"] == pytest.approx([1.1])
    assert told["losses/td_error"] == pytest.approx([5.5])


@pytest.mark.parametrize("name", [name for name in LINEAR if name != "sarsa_lambda"])
def test_all_values_begin_as_they_are_told_to(name: str) -> None:
    """A reward of 1 and 0.8 times the 0.5 that follows are 0.9 more than 0.5; differences of values are worth 1."""
    gamma = {} if name == "differential_sarsa" else {"gamma": 0.8}
    learner = agent(name, seeds=1, initial_value=0.5, **gamma)
    _, told = stepped(learner, np.array([[2]]), np.ones((1, 1)))
    assert told["losses/td_error"] == pytest.approx([0.9 if gamma else 1.0])


def test_steps_that_wait_are_forgotten_where_a_run_is_cut() -> None:
    """The first of two steps waits for the second, which after the cut is of another episode."""
    learner = agent("sarsa", seeds=1, num_steps=2, step_size=0.5, gamma=1.0)
    reward, yes = np.full((1, 1), 8.0), np.ones((1, 1), bool)
    stepped(learner, np.array([[0]]), reward)
    learner.memory.cut()
    state = np.array([[2]])
    action, _ = learner.act(state, 1)
    learner.update(Transition(state, action, reward, state, yes, ~yes, {}), 1)
    expected = np.zeros((1, STATES, ACTIONS))
    expected[0, 2, action] = 4.0
    np.testing.assert_array_equal(learner.q, expected)


def test_traces_are_those_of_the_state_that_was_restored() -> None:
    """A trace of a half is left of state 0, and of a reward of 8 in state 1 half a half; none of state 3."""
    learner, other = (agent("sarsa_lambda", seeds=1, step_size=0.5, trace_decay=0.5, gamma=1.0) for _ in range(2))
    first, _ = stepped(learner, np.array([[0]]), np.zeros((1, 1)))
    stepped(other, np.array([[3]]), np.zeros((1, 1)))
    other.set_state(learner.get_state())
    second, _ = stepped(other, np.array([[1]]), np.full((1, 1), 8.0))
    expected = np.zeros((1, ACTIONS, STATES))
    expected[0, first, 0], expected[0, second, 1] = 2.0, 4.0
    np.testing.assert_array_equal(other.w, expected)


@pytest.mark.parametrize("tilings", [1, 2, 4, 16])
def test_a_step_with_tiles_is_the_step_size_whatever_their_number(tilings: int) -> None:
    """Values of 0 and a last reward of 8: a half of the way is 4."""
    space = gymnasium.spaces.Box(0.0, 1.0, (1,), np.float64)
    learner = agent("sarsa_lambda", seeds=1, space=space, step_size=0.5, num_tilings=tilings)
    obs, yes = np.full((1, 1, 1), 0.3), np.ones((1, 1), bool)
    action, _ = learner.act(obs, 0)
    learner.memory.add(Transition(obs, action, np.array([[8.0]]), obs, yes, ~yes, {}))
    (batch,) = learner.memory.ready(0)
    learner.update(batch, 0)
    expected = [4.0 if a == action else 0.0 for a in range(ACTIONS)]
    np.testing.assert_allclose(learner.q(learner.features(obs))[0, 0], expected, rtol=1e-12)


def test_double_q_learning_draws_among_the_best_of_the_table_that_learns() -> None:
    """One table has 1 twice, where the other has 8 and 4, which for its part asks for the 1 of its 8.

    From values of 0, errors are 8, 4 and 1 with probabilities ¼, ¼ and ½: 3.5 on average, of variance 8.25.
    """
    learner = agent("double_q_learning", **CROWD, step_size=0.0, gamma=1.0)
    learner.both[:, :, 1] = np.array([[0.0, 1.0, 1.0], [0.0, 8.0, 4.0]])[:, None]
    state, no = np.zeros((CROWD["seeds"], CROWD["num_envs"]), int), np.zeros((CROWD["seeds"], CROWD["num_envs"]), bool)
    learner.act(state, 0)
    told = learner.update(Transition(state, state, state * 0.0, state + 1, no, no, {}), 0)
    assert told["losses/td_error"].mean().item() == pytest.approx(3.5, abs=4 * math.sqrt(8.25 / state.size))


@pytest.mark.parametrize("name", ["q_learning", "double_q_learning", "sarsa", "dyna_q"])
def test_visits_are_kept_where_the_step_size_falls_with_them(name: str) -> None:
    constant, falling = (agent(name, step_size_decay=decay) for decay in (0.0, 0.5))
    assert not any(table.startswith("visits") for table in constant.tables)
    assert falling.tables["visits"].shape == constant.q.shape


@pytest.mark.agrees("dyna_q", "a float64 loop")
@settings(max_examples=20, deadline=None)
@given(drawn=steps(), planning=st.integers(0, 4))
def test_dyna_q_is_that_of_a_plain_loop(drawn: Any, planning: int) -> None:
    config = {"planning_steps": planning, "step_size": 0.3, "gamma": 0.9, "epsilon": 0.2}
    learner = agent("dyna_q", num_envs=num_envs(drawn), **config)
    draws, draw = [], learner.draws.uniform

    def uniform(*shape: int) -> np.ndarray:
        draws.append(draw(*shape))
        return draws[-1]

    learner.draws.uniform = uniform
    told = feed(learner, drawn, on_policy=False)
    assert [one.shape for one in draws] == [(2, planning)] * (len(told[0]) if planning else 0)
    for row, history in enumerate(told):
        q, model = np.zeros((STATES, ACTIONS)), {}

        def learn(state: int, action: int, q: np.ndarray = q, model: dict[Any, Any] = model) -> None:
            reward, following, terminated = model[state, action]
            target = reward + (0.0 if terminated else 0.9 * q[following].max())
            q[state, action] += 0.3 * (target - q[state, action])

        for time, (_, state, action, reward, following, terminated, _, _) in enumerate(history):
            model[state, action] = reward, following, terminated  # a pair keeps its place when it is seen again
            learn(state, action)
            for number in draws[time][row] if planning else ():
                learn(*list(model)[int(number * len(model))])
        assert agree(learner.q[row], q, 1.0) < 1e-9


@pytest.mark.agrees("differential_sarsa", "a float64 loop")
@settings(max_examples=30, deadline=None)
@given(drawn=steps())
def test_differential_sarsa_is_that_of_a_plain_loop(drawn: Any) -> None:
    config = {"step_size": 0.3, "average_step_size": 0.1, "epsilon": 0.2}
    learner = agent("differential_sarsa", num_envs=num_envs(drawn), **config)
    for row, history in enumerate(feed(learner, drawn, on_policy=True)):
        q, average = np.zeros((STATES, ACTIONS)), 0.0
        for _, state, action, reward, following, _, _, chosen in history:
            delta = reward - average + q[following, chosen] - q[state, action]
            average += 0.1 * delta
            q[state, action] += 0.3 * delta
        assert agree(learner.q[row], q, 1.0) < 1e-9
        assert learner.average_reward[row] == pytest.approx(average, abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(drawn=steps(12, most=1))
def test_true_online_is_the_online_forward_view(drawn: Any) -> None:
    """Section 12.4: with every step t all updates of the episode are made again, by returns that end at t."""
    lam, gamma, alpha = 0.8, 0.9, 0.3
    learner = agent("sarsa_lambda", traces="dutch", step_size=alpha, trace_decay=lam, gamma=gamma, epsilon=0.2)
    for row, history in enumerate(feed(learner, drawn, on_policy=True)):
        w = np.zeros((ACTIONS, STATES))  # before the present episode
        episode: list[Any] = []
        weights = [w]  # w_t that G_{t:h} bootstraps from, one a step of the episode
        for _, state, action, reward, following, terminated, truncated, chosen in history:
            episode.append((state, action, reward, following, terminated, chosen))
            horizon = len(episode)
            present = weights[0].copy()
            for k in range(horizon):
                s, a, *_ = episode[k]
                target = 0.0
                for n in range(1, horizon - k + 1):  # G_{k:k+n}
                    rewards = sum(gamma ** (i - k) * episode[i][2] for i in range(k, k + n))
                    _, _, _, then, ended, action_then = episode[k + n - 1]
                    value = 0.0 if ended else weights[k + n - 1][action_then, then]
                    share = lam ** (n - 1) * (1.0 if n == horizon - k else 1 - lam)
                    target += share * (rewards + gamma**n * value)
                present[a, s] += alpha * (target - present[a, s])
            weights.append(present)
            if terminated or truncated:
                episode, weights = [], [present]
        np.testing.assert_allclose(learner.w[row], weights[-1], rtol=1e-8, atol=1e-9)


def test_expected_values_share_the_greedy_part_among_equals() -> None:
    assert expectation(np.array([1.0, 3.0, 3.0, 0.0]), 0.2) == pytest.approx(0.05 * 7 + 0.8 * 3)


def test_states_of_several_numbers_are_counted_without_gaps() -> None:
    space = gymnasium.spaces.MultiDiscrete([3, 4, 2])
    found = States(space)
    grid = np.stack(np.meshgrid(*map(range, (3, 4, 2)), indexing="ij"), -1).reshape(1, -1, 3)
    assert found.num == 24
    assert sorted(found(grid)[0].tolist()) == list(range(24))
    with pytest.raises(UnsupportedSpace, match="at most 100,000,000 states, not 1,000,000,000,000"):
        States(gymnasium.spaces.MultiDiscrete([10] * 12))


@pytest.mark.parametrize(
    ("space", "observations"),
    [
        (gymnasium.spaces.Discrete(5, start=3), np.arange(3, 8)),
        (gymnasium.spaces.MultiDiscrete([2, 3], start=[4, -1]), [(4, -1), (4, 0), (4, 1), (5, -1), (5, 0), (5, 1)]),
        (gymnasium.spaces.MultiBinary((2, 1)), [((0,), (0,)), ((0,), (1,)), ((1,), (0,)), ((1,), (1,))]),
    ],
)
def test_states_are_counted_from_the_first(space: Any, observations: Any) -> None:
    found = States(space)
    assert found.num == len(observations)
    assert found(np.array(observations)[None]).tolist() == [list(range(found.num))]
    assert all(space.contains(np.array(one, space.dtype)[()]) for one in observations)


def test_a_hundred_million_states_are_the_most() -> None:
    assert States(gymnasium.spaces.Discrete(10**8)).num == 10**8
    with pytest.raises(UnsupportedSpace, match="not 100,000,001"):
        States(gymnasium.spaces.Discrete(10**8 + 1))


def test_the_last_step_is_learnt_from_once() -> None:
    """And the next begins an episode where it ended one, for whatever reason, or where the run was cut."""
    memory, obs = LastStep(1, 3), np.zeros((1, 3), int)
    assert memory.begins.tolist() == [[True] * 3]
    assert list(memory.ready(0)) == []
    ends, cut = np.array([[True, False, False]]), np.array([[False, True, False]])
    step = Transition(obs, obs, obs + 1.0, obs, ends, cut, {})
    memory.add(step)
    assert memory.begins.tolist() == [[True, True, False]]
    assert [one is step for one in memory.ready(0)] == [True]
    assert list(memory.ready(0)) == []
    memory.cut()
    assert memory.begins.tolist() == [[True] * 3]


@settings(max_examples=50, deadline=None)
@given(point=st.tuples(st.floats(-1.2, 0.6), st.floats(-0.07, 0.07)), tilings=st.sampled_from([1, 2, 4, 8, 10]))
def test_a_point_lies_in_one_tile_of_each_tiling(point: tuple[float, float], tilings: int) -> None:
    coder = TileCoder(np.array([-1.2, -0.07]), np.array([0.6, 0.07]), tilings, 5)
    found = coder(np.array(point))
    assert (found // 25 == np.arange(tilings)).all()
    nearer = coder(np.array(point) + coder.width / tilings / 2)
    assert (found != nearer).sum() <= 2  # at most one edge a dimension: displacements differ where K is prime to 3


@pytest.mark.parametrize(("tilings", "tiles", "dims"), [(1, 3, 2), (2, 4, 1), (4, 3, 2), (8, 5, 2), (8, 2, 3)])
def test_points_share_the_tiles_that_a_plain_loop_says(tilings: int, tiles: int, dims: int) -> None:
    """Tile widths are (high − low) / (tiles − (K − 1) / K); tiling i begins (K − 1 − i (2d + 1) mod K) / K below."""
    low, high = np.array([-1.2, -0.07, 5.0])[:dims], np.array([0.6, 0.07, 9.0])[:dims]
    corners = np.stack(np.meshgrid(*zip(low, high, strict=True)), -1).reshape(-1, dims)
    inside = low + np.random.default_rng(0).random((400, dims)) * (high - low)
    points = np.concatenate([inside, corners, corners * 3 - low - high])  # the last lie outside
    coder = TileCoder(low, high, tilings, tiles)
    numbers: dict[tuple[int, ...], set[int]] = {}
    for point, found in zip(points, coder(points).tolist(), strict=True):
        for i in range(tilings):
            cell = [i]
            for d in range(dims):
                width = (high[d] - low[d]) / (tiles - (tilings - 1) / tilings)
                below = (tilings - 1 - i * (2 * d + 1) % tilings) / tilings
                held = min(max(point[d], low[d]), high[d])
                cell.append(min(math.floor((held - low[d]) / width + below), tiles - 1))
            numbers.setdefault(tuple(cell), set()).add(found[i])
    assert all(len(of_cell) == 1 for of_cell in numbers.values())
    known = set.union(*numbers.values())
    assert len(known) == len(numbers)
    assert known <= set(range(coder.num_features))
    assert coder.num_features == tilings * tiles**dims


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.0), (1.0, 0.0), (-np.inf, 0.0), (0.0, np.inf), (np.nan, 1.0)])
def test_tiles_without_a_width_are_refused(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="finite bounds, low < high"):
        TileCoder(np.array([0.0, low]), np.array([1.0, high]), 4, 4)


@pytest.mark.parametrize(
    ("tilings", "dims", "refused"), [(8, 2, False), (10, 2, False), (9, 2, True), (10, 3, True), (1, 3, False)]
)
def test_tilings_that_coincide_are_refused(tilings: int, dims: int, refused: bool) -> None:
    """Displacements are 1, 3, 5, …: where the number of tilings has such a factor, some lie on others there."""
    if refused:
        with pytest.raises(ValueError, match="coincide in some"):
            TileCoder(np.zeros(dims), np.ones(dims), tilings, 4)
        return
    coder = TileCoder(np.zeros(dims), np.ones(dims), tilings, 4)
    for dim in range(dims):
        assert len(set(coder.offset[:, dim])) == tilings


@pytest.mark.parametrize(
    ("low", "high", "covered"),
    [
        (10, np.inf, (10, 16)),
        (-np.inf, -5, (-11, -5)),
        (0, np.inf, (0, 3)),
        (-np.inf, np.inf, (-3, 3)),
        (-2, 7, (-2, 7)),
        (0, 2e6, (0, 2e6)),
        (-3.4e38, 3.4e38, (-3, 3)),
        (4, 4, (4, 5)),
    ],
)
def test_tiles_cover_a_box_that_lacks_a_bound(low: float, high: float, covered: tuple[float, float]) -> None:
    space = gymnasium.spaces.Box(low, high, (1,))
    learner = find_agent("sarsa_lambda").load()
    made = learner(Setup(space, gymnasium.spaces.Discrete(2), (0,), 1, 100), learner.Config())
    assert (made.coder.low.item(), made.coder.high.item()) == covered


@pytest.mark.parametrize("kind", [np.int16, np.int32, np.int64, np.float16, np.float32, np.float64])
@pytest.mark.filterwarnings("error")
def test_tiles_tell_apart_the_points_of_every_type_without_bounds(kind: Any) -> None:
    """The largest and the smallest number of a type are no bounds."""
    space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), kind)
    coder = agent("sarsa_lambda", space=space).coder
    points = np.array([(-3, -3), (-1, 0), (0, 0), (1, -1), (2, 2)], np.float64)
    assert len({tuple(tiles) for tiles in coder(points).tolist()}) == 5
