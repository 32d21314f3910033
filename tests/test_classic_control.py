"""The batched forms against Gymnasium's single environments, byte by byte."""

import copy
import json
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from rlrepro.envs import classic_control as cc
from rlrepro.plugins.environments import find_env

Obs = np.ndarray
Policy = Callable[[np.random.Generator, Obs], np.ndarray]


def uniform(n: int, rng: np.random.Generator, obs: Obs) -> np.ndarray:
    return rng.integers(0, n, len(obs))


def box(high: float, rng: np.random.Generator, obs: Obs) -> np.ndarray:
    """Uniform actions beyond the bounds too, now and then at a bound or 0 exactly."""
    action = rng.uniform(-1.5 * high, 1.5 * high, (len(obs), 1)).astype(np.float32)
    exact = rng.random((len(obs), 1)) < 0.2
    return np.where(exact, rng.choice(np.array([-high, 0, high], np.float32), action.shape), action)


def upright(rng: np.random.Generator, obs: Obs) -> np.ndarray:
    """CartPole: balances to the time limit, mostly."""
    noise = rng.normal(0, 0.1, len(obs))
    return (obs[:, 2] + 0.5 * obs[:, 3] + 0.02 * obs[:, 0] + noise > 0).astype(np.int64)


def along(speed: int, rng: np.random.Generator, obs: Obs) -> np.ndarray:
    """Bang-bang with the speed in that column, sometimes against it: to the goal, over walls and limits."""
    right = (obs[:, speed] >= 0) ^ (rng.random(len(obs)) < 0.1)
    return np.where(right, 2, 0)


def along_box(high: float, speed: int, rng: np.random.Generator, obs: Obs) -> np.ndarray:
    force = (along(speed, rng, obs) - 1) * rng.uniform(0.5 * high, 1.5 * high, len(obs))
    return force.astype(np.float32)[:, None]


class Case:
    """An id, its batched class, options, and the policies that take it everywhere."""

    def __init__(self, id: str, form: type[cc.BatchedEnv], *policies: Policy, **options: Any) -> None:
        self.id, self.form, self.policies, self.options = id, form, policies, options

    def batch(self, num: int) -> cc.BatchedEnv:
        return self.form(num, gym.spec(self.id).max_episode_steps, **self.options)

    def single(self) -> gym.Env[Any, Any]:
        return gym.make(self.id, **self.options)


CASES = {
    "CartPole-v0": Case("CartPole-v0", cc.CartPole, partial(uniform, 2), upright),
    "CartPole-v1": Case("CartPole-v1", cc.CartPole, partial(uniform, 2), upright),
    "MountainCar-v0": Case("MountainCar-v0", cc.MountainCar, partial(uniform, 3), partial(along, 1)),
    "MountainCarContinuous-v0": Case(
        "MountainCarContinuous-v0", cc.MountainCarContinuous, partial(box, 1), partial(along_box, 1, 1)
    ),
    "Pendulum-v1": Case("Pendulum-v1", cc.Pendulum, partial(box, 2), partial(along_box, 2, 2)),
    "Acrobot-v1": Case("Acrobot-v1", cc.Acrobot, partial(uniform, 3), partial(along, 5), partial(along, 4)),
}
OPTIONS = {
    "Sutton & Barto's reward": Case(
        "CartPole-v1", cc.CartPole, *CASES["CartPole-v1"].policies, sutton_barto_reward=True
    ),
    "goal_velocity": Case("MountainCar-v0", cc.MountainCar, partial(along, 1), goal_velocity=0.03),
    "continuous goal_velocity": Case(
        "MountainCarContinuous-v0", cc.MountainCarContinuous, partial(along_box, 1, 1), goal_velocity=0.02
    ),
    "g": Case("Pendulum-v1", cc.Pendulum, partial(box, 2), g=9.81),
}
pytestmark = pytest.mark.filterwarnings("ignore:.*CartPole-v0 is out of date:DeprecationWarning")
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def state_of(env: gym.Env[Any, Any]) -> bytes:
    return np.array(env.unwrapped.state, np.float64).tobytes()


def same_states(batch: cc.BatchedEnv, singles: list[gym.Env[Any, Any]]) -> bool:
    return all(
        np.array(state["state"]).tobytes() == state_of(env)
        and state["np_random"] == env.unwrapped.np_random.bit_generator.state
        for env, state in zip(singles, map(batch.get_state, range(batch.num)), strict=True)
    )


def compare(case: Case, num: int, steps: int) -> tuple[int, int]:
    """Step both, reset what ends, assert equal bytes throughout; the counts of terminations, truncations."""
    batch, singles = case.batch(num), [case.single() for _ in range(num)]
    seeds: list[int | None] = [1000 + 17 * i for i in range(num)]
    obs = batch.reset(np.arange(num), seeds)
    first = np.stack([env.reset(seed=seed)[0] for env, seed in zip(singles, seeds, strict=True)])
    assert obs.tobytes() == first.tobytes()
    assert same_states(batch, singles)
    rng = np.random.default_rng(0)
    ends = np.zeros(2, int)
    for t in range(steps):
        action = case.policies[t * 6 // steps % len(case.policies)](rng, obs)
        results = batch.step(action)
        expected = [env.step(a) for env, a in zip(singles, action, strict=True)]
        for result, column, dtype in zip(
            results, list(zip(*expected, strict=True))[:4], ("f4", "f8", "?", "?"), strict=True
        ):
            assert result.dtype == np.dtype(dtype)
            assert result.tobytes() == np.array(column, dtype).tobytes(), f"step {t}"
        assert {o.dtype for o, *_ in expected} == {np.dtype("f4")}
        obs, _, terminated, truncated = results
        assert obs.shape == (num, *batch.observation_space.shape)
        ended = np.flatnonzero(terminated | truncated)
        if len(ended):
            ends += terminated.sum(), truncated.sum()
            assert same_states(batch, singles)
            obs[ended] = batch.reset(ended, [None] * len(ended))
            assert obs[ended].tobytes() == np.stack([singles[i].reset()[0] for i in ended]).tobytes()
        if t % 97 == 0:
            assert same_states(batch, singles)
    return int(ends[0]), int(ends[1])


@pytest.mark.parametrize("total", [48_000, pytest.param(100_000, marks=pytest.mark.slow)])
@each_case
def test_equals_gymnasium_over_many_steps(case: Case, total: int) -> None:
    terminations, truncations = compare(case, num=8, steps=total // 8)
    assert truncations
    assert terminations or case.form is cc.Pendulum


@pytest.mark.parametrize("num", [1, 2, 3, 7])
@each_case
def test_equals_gymnasium_at_odd_sizes(case: Case, num: int) -> None:
    compare(case, num, steps=650)


@pytest.mark.parametrize("case", OPTIONS.values(), ids=OPTIONS)
def test_equals_gymnasium_with_options(case: Case) -> None:
    terminations, _ = compare(case, num=4, steps=1000)
    assert terminations or case.form is cc.Pendulum


@each_case
def test_spaces_are_those_of_one_environment(case: Case) -> None:
    batch, single = case.batch(5), case.single()
    assert batch.observation_space == single.observation_space
    assert batch.action_space == single.action_space


@each_case
def test_a_sub_environment_is_the_same_alone_and_among_others(case: Case) -> None:
    """A stream shared by all would fail here: what the others draw at their resets would shift it."""
    many, one, lone = case.batch(8), case.batch(1), np.array([0])
    obs = many.reset(np.arange(8), list(range(8)))
    alone = one.reset(lone, [3])
    rng = np.random.default_rng(1)
    resets = 0
    for _ in range(450):
        action = case.policies[-1](rng, obs)
        obs, reward, terminated, truncated = many.step(action)
        alone, *rest = one.step(action[3:4])
        assert alone[0].tobytes() == obs[3].tobytes()
        assert [x[0] for x in rest] == [reward[3], terminated[3], truncated[3]]
        ended = np.flatnonzero(terminated | truncated | (rng.random(8) < 0.02))
        obs[ended] = many.reset(ended, [None] * len(ended))
        if 3 in ended:
            resets += 1
            alone = one.reset(lone, [None])
            assert alone[0].tobytes() == obs[3].tobytes()
    assert resets


@pytest.mark.parametrize("steps", [0, 1, 33])
@each_case
def test_state_goes_into_another_instance(case: Case, steps: int) -> None:
    here, there = case.batch(4), case.batch(3)
    rng = np.random.default_rng(2)
    obs = here.reset(np.arange(4), [5, 6, 7, 8])
    there.reset(np.arange(3), [1, 2, 3])
    for _ in range(7):  # so that the clocks differ
        there.step(case.policies[0](rng, there._observe(np.arange(3))))
    for _ in range(steps):
        obs, _, terminated, _ = here.step(case.policies[0](rng, obs))
        ended = np.flatnonzero(terminated)
        obs[ended] = here.reset(ended, [None] * len(ended))
    restored = there.set_state(1, json.loads(json.dumps(here.get_state(2))))
    assert restored.tobytes() == obs[2].tobytes()
    assert there.get_state(1) == here.get_state(2)
    for _ in range(1100):
        action = case.policies[0](rng, obs)
        obs, *rest = here.step(action)
        other, *others = there.step(action[[0, 2, 3]])
        assert other[1].tobytes() == obs[2].tobytes()
        assert [x[1] for x in others] == [x[2] for x in rest]
        ended = np.flatnonzero(rest[1] | rest[2])
        obs[ended] = here.reset(ended, [None] * len(ended))
        if 2 in ended:
            assert there.reset(np.array([1]), [None]).tobytes() == obs[2:3].tobytes()
        for i in (0, 2):
            if others[1][i] or others[2][i]:
                there.reset(np.array([i]), [None])


def test_what_has_no_stream_yet_has_none_where_it_is_restored() -> None:
    untouched, played = cc.CartPole(2, 500), cc.CartPole(2, 500)
    played.reset(np.arange(2), [0, 1])
    played.set_state(0, untouched.get_state(1))
    assert played.get_state(0) == untouched.get_state(1) == {"np_random": None, "elapsed": 0, "state": [0.0] * 4}
    assert played.get_state(1)["np_random"] is not None


@each_case
def test_a_restored_episode_is_truncated_on_time(case: Case) -> None:
    batch = case.batch(2)
    batch.reset(np.arange(2), [0, 1])
    state = batch.get_state(0)
    limit = gym.spec(case.id).max_episode_steps
    assert limit is not None
    batch.set_state(1, {**state, "elapsed": limit - 2})
    action = np.zeros((2, *batch.action_space.shape), batch.action_space.dtype)
    truncated = np.array([batch.step(action)[3] for _ in range(3)])
    assert truncated.tolist() == [[False, False], [False, True], [False, True]]


@each_case
def test_the_inactive_stand_still(case: Case) -> None:
    batch, reference = case.batch(3), case.batch(3)
    rng = np.random.default_rng(3)
    for env in (batch, reference):
        env.reset(np.arange(3), [1, 2, 3])
    active = np.array([True, False, True])
    for t in range(20):
        action = case.policies[0](rng, np.zeros((3, 6), np.float32))
        if t == 5:
            active = np.array([True, True, False])
        before = batch.get_state(int(np.flatnonzero(~active)[0]))
        batch.step(action, active)
        assert batch.get_state(int(np.flatnonzero(~active)[0])) == before
        if t >= 5:
            reference.step(action)
    assert batch.get_state(1)["elapsed"] == 15
    # Sub-environment 1 joined late: from then on it is what it would have been in another's company.
    assert batch.get_state(1) == reference.get_state(1)


@each_case
def test_results_are_new_arrays(case: Case) -> None:
    batch = case.batch(3)
    rng = np.random.default_rng(4)
    obs = batch.reset(np.arange(3), [1, 2, 3])
    results = batch.step(case.policies[0](rng, obs))
    copies = copy.deepcopy(results)
    for _ in range(3):
        later = batch.step(case.policies[0](rng, obs))
    batch.reset(np.arange(3), [None] * 3)
    for result, copied, other in zip(results, copies, later, strict=True):
        assert result.tobytes() == copied.tobytes()
        assert not np.shares_memory(result, other)
        assert result.flags.c_contiguous


def test_without_a_limit_nothing_is_truncated() -> None:
    batch = cc.Pendulum(2, None)
    batch.reset(np.arange(2), [0, 1])
    assert not any(batch.step(np.zeros((2, 1), np.float32))[3].any() for _ in range(300))


@pytest.mark.parametrize(
    ("form", "options"),
    [
        (cc.CartPole, {"gravity": 1.6}),
        (cc.CartPole, {"render_mode": "rgb_array"}),
        (cc.MountainCar, {"goal_velocity": np.float32(0.01)}),
        (cc.MountainCarContinuous, {"goal_velocity": "fast"}),
        (cc.MountainCarContinuous, {"goal_velocity": 0.070000001}),
        (cc.Pendulum, {"g": np.float64(9.81)}),
        (cc.Acrobot, {"torque_noise_max": 1.0}),
    ],
)
def test_options_it_does_not_serve_are_refused_and_gymnasium_s_form_takes_them(
    form: type[cc.BatchedEnv], options: dict[str, Any]
) -> None:
    with pytest.raises((TypeError, NotImplementedError)):
        form(2, 100, **options)
    gym_id = next(name for name, case in CASES.items() if case.form is form)
    assert not find_env(gym_id, options).is_batched


def test_seeds_are_checked_as_gymnasium_checks_them() -> None:
    batch = cc.CartPole(2, 500)
    with pytest.raises(gym.error.Error):
        batch.reset(np.arange(2), [0, -1])
    with pytest.raises(ValueError, match="zip"):
        batch.reset(np.arange(2), [0])


def test_unseeded_streams_differ() -> None:
    obs = cc.CartPole(2, 500).reset(np.arange(2), [None, None])
    assert obs[0].tobytes() != obs[1].tobytes()


def test_copies_are_refused() -> None:
    with pytest.raises(TypeError, match="get_state"):
        copy.deepcopy(cc.Acrobot(2, 500))


def test_where_arrays_round_otherwise_scalars_take_over() -> None:
    def careless(x: np.ndarray, out: np.ndarray) -> np.ndarray:
        return np.multiply(x, x + 1e-9, out)

    square = cc._bit_equal(careless, lambda x: x * x)
    x = np.random.default_rng(0).normal(size=(2, 5))
    out = np.empty((2, 5))
    square(x, out)
    assert out.tobytes() == (x * x).tobytes()
    assert cc._bit_equal(np.square, lambda x: x * x) is np.square


@each_case
def test_equals_gymnasium_where_scalars_take_over(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(x: np.ndarray, out: np.ndarray) -> np.ndarray:
        return np.add(x, 100.0, out)

    for name, scalar in {
        "_cos": np.cos,
        "_sin": np.sin,
        "_libm_cos": math.cos,
        "_pow2": lambda x: x**2,
    }.items():
        monkeypatch.setattr(cc, name, cc._bit_equal(wrong, scalar))
    compare(case, num=3, steps=300)


def test_squares_are_those_of_scalars() -> None:
    x = np.random.default_rng(5).uniform(-30, 30, 50_000)
    out = np.empty_like(x)
    cc._pow2(x, out)
    assert out.tolist() == [math.pow(value, 2) for value in x.tolist()]
