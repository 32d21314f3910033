"""TimeFraction and DelayedReward around Gymnasium's own environments."""

import copy
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st

from rlrepro.envs.wrappers import DelayedReward, ScaleReward, TimeFraction
from rlrepro.plugins.environments import find_env
from rlrepro.vector import SyncEnvBatch, VectorEnv


class Given(gym.Env[np.ndarray, int]):
    """Pays the rewards it is given, one a step, and then ends."""

    observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, rewards: list[float], truncates: bool = False) -> None:
        self.rewards, self.truncates, self.t = rewards, truncates, 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(2, np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.t += 1
        last = self.t == len(self.rewards)
        reward = self.rewards[self.t - 1]
        return np.zeros(2, np.float32), reward, last and not self.truncates, last and self.truncates, {}


def rewards_of(env: gym.Env[Any, Any]) -> list[float]:
    env.reset(seed=0)
    rewards, ended = [], False
    while not ended:
        _, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        rewards.append(float(reward))
        ended = terminated or truncated
    return rewards


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("id", ["CartPole-v1", "Pendulum-v1"])
@pytest.mark.parametrize("wrap", [TimeFraction, lambda env: DelayedReward(env, 5), lambda env: ScaleReward(env, 0.1)])
def test_keeps_gymnasium_s_contract(id: str, wrap: Any) -> None:
    check_env(wrap(gym.make(id)), skip_render_check=True)


@pytest.mark.parametrize("wrapped", ["TimeFraction", "DelayedReward(every=2)"])
def test_time_fraction_finds_the_limit_of_a_class_that_is_not_registered(wrapped: str) -> None:
    outside = () if wrapped == "TimeFraction" else ("TimeFraction",)
    env = find_env("ShortCorridor-v0", {"max_episode_steps": 40}, (wrapped, *outside)).make()
    assert env.get_wrapper_attr("limit") == 40
    assert find_env("ShortCorridor-v0", {}, ("TimeFraction",)).make().get_wrapper_attr("limit") == 1000
    with pytest.raises(ValueError, match="no time limit of its own"):
        TimeFraction(Given([1.0]))


def test_time_fraction_grows_to_one_and_starts_anew() -> None:
    env = TimeFraction(gym.make("Pendulum-v1"))
    for _ in range(2):
        obs, _ = env.reset(seed=3)
        fractions = [obs[-1]]
        truncated = False
        while not truncated:
            obs, _, _, truncated, _ = env.step(env.action_space.sample())
            assert obs in env.observation_space
            fractions.append(obs[-1])
        assert np.array_equal(fractions, (np.arange(201) / 200).astype(np.float32))


@pytest.mark.parametrize(
    ("wrappers", "length"),
    [
        (("TimeLimit(max_episode_steps=500)",), 200),
        (("TimeLimit(max_episode_steps=7)",), 7),
        (("RepeatAction(num_repeats=3)",), 67),
        (("MaxAndSkipObservation(skip=3)",), 67),
        (("RepeatAction(num_repeats=3)", "TimeLimit(max_episode_steps=50)"), 50),
        (("TimeLimit(max_episode_steps=10)", "RepeatAction(num_repeats=4)"), 3),
    ],
)
def test_the_time_limit_is_the_least_in_steps_of_the_whole(wrappers: tuple[str, ...], length: int) -> None:
    source = find_env("Pendulum-v1", {}, (*wrappers, "TimeFraction"))
    assert source.time_limit() == find_env("Pendulum-v1", {}, wrappers).time_limit() == length
    env = source.make()
    env.reset(seed=0)
    given = [env.step(env.action_space.sample()) for _ in range(length)]
    assert [truncated for *_, truncated, _ in given] == [False] * (length - 1) + [True]
    assert given[-1][0][-1] == 1.0
    assert given[-2][0][-1] < 1.0


def test_time_fraction_leaves_the_rest_of_the_observation() -> None:
    env, bare = TimeFraction(gym.make("CartPole-v1")), gym.make("CartPole-v1")
    box = env.observation_space
    assert isinstance(box, gym.spaces.Box)
    assert box.shape == (5,)
    assert box.dtype == np.float32
    assert (box.low[-1], box.high[-1]) == (0, 1)
    assert np.array_equal(box.high[:4], bare.observation_space.high)
    assert np.array_equal(env.reset(seed=1)[0][:4], bare.reset(seed=1)[0])
    assert np.array_equal(env.step(1)[0][:4], bare.step(1)[0])


def test_time_fraction_keeps_the_kind_of_its_floats() -> None:
    env = TimeFraction(gym.wrappers.DtypeObservation(gym.make("Pendulum-v1"), np.float64))
    obs, _ = env.reset(seed=0)
    assert (env.observation_space.dtype, obs.dtype) == (np.float64, np.float64)
    assert env.step(np.zeros(1, np.float32))[0] in env.observation_space


def test_time_fraction_with_a_limit_of_its_own() -> None:
    env = TimeFraction(Given([0.0] * 5), max_episode_steps=4)
    env.reset()
    assert [env.step(0)[0][-1] for _ in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]


def test_time_fraction_refuses_what_it_cannot_serve() -> None:
    with pytest.raises(ValueError, match="no time limit"):
        TimeFraction(Given([0.0]))
    with pytest.raises(ValueError, match="flat Box of floats"):
        TimeFraction(gym.wrappers.ReshapeObservation(gym.make("CartPole-v1"), (2, 2)))


@given(
    rewards=st.lists(st.integers(-9, 9).map(float), min_size=1, max_size=20),
    every=st.integers(1, 25),
    truncates=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_delayed_reward_pays_the_same_in_sums(rewards: list[float], every: int, truncates: bool) -> None:
    env = DelayedReward(Given(rewards, truncates), every)
    for _ in range(2):
        paid = rewards_of(env)
        for start in range(0, len(rewards), every):
            block = slice(start, start + every)
            assert paid[block] == [0.0] * (len(paid[block]) - 1) + [sum(rewards[block])]


@given(
    rewards=st.lists(st.integers(-9, 9).map(float), min_size=1, max_size=12),
    every=st.integers(1, 14),
    truncates=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_delayed_and_scaled_in_either_order_are_learnt_alike(rewards: list[float], every: int, truncates: bool) -> None:
    within = DelayedReward(ScaleReward(Given(rewards, truncates), 0.5), every)
    around = ScaleReward(DelayedReward(Given(rewards, truncates), every), 0.5)
    for _ in range(2):
        for env in (within, around):
            env.reset()
        for _ in rewards:
            (_, one, *_, info), (_, other, *_, info_around) = within.step(0), around.step(0)
            assert one == other
            assert info["learn"] == info_around["learn"] == (0.5 * one, info["learn"][1])


class TellsAtTimes(gym.Wrapper[Any, Any, Any, Any]):
    """What is to be learnt instead, of every third step alone."""

    def step(self, action: Any) -> Any:
        *outcome, info = super().step(action)
        self.count = getattr(self, "count", 0) + 1
        return *outcome, ({**info, "learn": (-1.0, False)} if self.count % 3 == 0 else info)


def test_steps_of_which_nothing_is_told_are_learnt_as_they_were() -> None:
    env = DelayedReward(TellsAtTimes(Given([1.0] * 8)), 4)
    env.reset()
    told = [env.step(0) for _ in range(8)]
    assert [reward for _, reward, *_ in told] == [0, 0, 0, 4, 0, 0, 0, 4]
    assert [info["learn"][0] for *_, info in told] == [0, 0, 0, 2, 0, 0, 0, 2]


def test_a_step_that_tells_nothing_is_not_learnt_as_the_one_before() -> None:
    batch = SyncEnvBatch(lambda: TellsAtTimes(Given([1.0] * 8)), 1)
    batch.reset(np.arange(1), [0])
    told = []
    for _ in range(4):
        batch.step(np.zeros(1, np.int64))
        told.append(batch.to_learn is not None)
    assert told == [False, False, True, False]


def test_what_is_learnt_is_paid_where_it_ends() -> None:
    env = DelayedReward(EndsInLearning(Given([1.0, 2.0, 4.0])), 2)
    env.reset()
    told = [env.step(0) for _ in range(3)]
    assert [reward for _, reward, *_ in told] == [0.0, 3.0, 4.0]
    assert [info["learn"] for *_, info in told] == [(7.0, True)] * 3


def test_delayed_reward_owes_nothing_after_a_reset() -> None:
    env = DelayedReward(Given([1.0, 2.0, 4.0, 8.0]), 3)
    env.reset()
    env.step(0)
    assert rewards_of(env) == [0.0, 0.0, 7.0, 8.0]
    env.reset()
    env.step(0)
    env.reset()
    assert [env.step(0)[4]["learn"][0] for _ in range(4)] == [0.0, 0.0, 7.0, 8.0]


def test_delayed_reward_pays_at_the_time_limit() -> None:
    paid = rewards_of(DelayedReward(gym.make("Pendulum-v1"), 10_000))
    assert paid[:-1] == [0.0] * 199
    assert paid[-1] < 0


def test_delayed_reward_refuses_no_steps() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        DelayedReward(gym.make("CartPole-v1"), 0)


def test_copies_go_on_by_themselves() -> None:
    env = DelayedReward(TimeFraction(gym.make("CartPole-v1")), 3)
    env.reset(seed=5)
    env.step(0)
    twin = copy.deepcopy(env)
    following = [env.step(1) for _ in range(4)]
    for obs, reward, *_ in following:
        again, paid, *_ = twin.step(1)
        assert np.array_equal(again, obs)
        assert paid == reward


def test_a_spec_remakes_the_wrapped_environment() -> None:
    env = DelayedReward(TimeFraction(gym.make("CartPole-v1"), 250), every=4)
    assert env.spec is not None
    remade = gym.make(env.spec)
    assert isinstance(remade, DelayedReward)
    assert remade.every == 4
    assert isinstance(remade.env, TimeFraction)
    assert remade.env.limit == 250


class EndsInLearning(gym.Wrapper[Any, Any, Any, Any]):
    """What is learnt of each step: a reward of 7, and an end."""

    def step(self, action: Any) -> Any:
        obs, reward, terminated, truncated, info = super().step(action)
        return obs, reward, terminated, truncated, {**info, "learn": (7.0, True), "mine": 1}


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=6), st.floats(1e-3, 1e3))
@settings(deadline=None)
def test_scaled_rewards_are_learnt_and_the_environment_s_own_are_paid(rewards: list[float], scale: float) -> None:
    env = ScaleReward(Given(rewards), scale)
    env.reset(seed=0)
    for number, own in enumerate(rewards, 1):
        _, reward, terminated, _, info = env.step(0)
        assert reward == own
        assert info["learn"] == (scale * own, number == len(rewards))
        assert terminated == (number == len(rewards))


def test_scaling_goes_on_from_what_a_wrapper_within_has_learnt() -> None:
    env = ScaleReward(EndsInLearning(gym.make("Pendulum-v1")), 0.5)
    env.reset(seed=0)
    _, reward, terminated, _, info = env.step(np.zeros(1, np.float32))
    assert info["learn"] == (3.5, True)
    assert info["mine"] == 1
    assert reward < 0
    assert not terminated


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_scales_that_are_none_are_refused(scale: float) -> None:
    with pytest.raises(ValueError, match="a finite number above 0"):
        ScaleReward(gym.make("CartPole-v1"), scale)


def test_an_agent_meets_the_scaled_reward_and_the_record_the_own() -> None:
    batch = find_env("Pendulum-v1", {}, ("ScaleReward(scale=0.1)",)).batch(4)
    env = VectorEnv(batch, (0, 1), 2)
    env.reset()
    for _ in range(5):
        transition, _ = env.step(np.ones((2, 2, 1), np.float32), {})
        assert np.array_equal(transition.reward, 0.1 * env.reward)
        assert (env.reward < 0).all()
    batch.close()
