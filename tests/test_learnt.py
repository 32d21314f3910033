"""What is to be learnt of a step reaches the memory through wrappers that know nothing of it."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlrepro import learnt, snapshot
from rlrepro.agent import Transition
from rlrepro.contract import check_wrappers
from rlrepro.errors import Problem
from rlrepro.plugins.environments import find_env
from rlrepro.vector import VectorEnv
from tests.conftest import Runs


class Counting(gym.Env[np.ndarray, int]):
    """Step t of an episode pays t; it ends by itself after twelve, by the clock after ten."""

    observation_space, action_space = gym.spaces.Box(0, 99, (1,), np.float32), gym.spaces.Discrete(2)
    max_episode_steps = 10

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: int) -> Any:
        self.t += 1
        return np.full(1, self.t, np.float32), float(self.t), self.t == 12, False, {}


class Unlimited(Counting):
    max_episode_steps = None  # type: ignore[assignment]


class Early(gym.Wrapper[Any, Any, Any, Any]):
    """Ends an episode after `length` of its own steps."""

    def __init__(self, env: Any, length: int) -> None:
        super().__init__(env)
        self.length = length

    def reset(self, **kwargs: Any) -> Any:
        self.count = 0
        return super().reset(**kwargs)

    def step(self, action: Any) -> Any:
        obs, reward, terminated, truncated, info = super().step(action)
        self.count += 1
        return obs, reward, terminated or self.count == self.length, truncated, info


class Sevens(gym.Wrapper[Any, Any, Any, Any]):
    """What is to be learnt is 7 and no end, whatever is told within."""

    def step(self, action: Any) -> Any:
        obs, reward, terminated, truncated, info = super().step(action)
        return obs, reward, terminated, truncated, {**info, "learn": (7.0, False)}


class Lives(gym.Wrapper[Any, Any, Any, Any]):
    """An end to learn from at every fifth step of what it is around."""

    def step(self, action: Any) -> Any:
        obs, reward, terminated, truncated, info = super().step(action)
        return obs, reward, terminated, truncated, {**info, "learn": (reward, bool(terminated or obs[0] % 5 == 0))}


class Forgets(gym.Wrapper[Any, Any, Any, Any]):
    """Has an info of its own."""

    def step(self, action: Any) -> Any:
        return *super().step(action)[:4], {}


def own(name: str) -> str:
    return f"{__name__}:{name}"


def stepped(wrappers: tuple[str, ...], num: int, env: str = own("Counting")) -> tuple[VectorEnv, list[Transition]]:
    made = VectorEnv(find_env(env, {}, wrappers).batch(1), (0,), 1)
    made.reset()
    return made, [made.step(np.zeros((1, 1), np.int64), {})[0] for _ in range(num)]


def numbers(transitions: list[Transition], name: str) -> list[Any]:
    return [getattr(one, name).item() for one in transitions]


@pytest.mark.parametrize("repeat", ["RepeatAction(num_repeats=4)", "MaxAndSkipObservation(skip=4)"])
def test_the_sum_of_what_is_told_in_repeated_steps_is_learnt(repeat: str) -> None:
    """The library's wrappers hand on the info of the last one alone."""
    _, scaled = stepped(("ScaleReward(scale=0.5)", repeat), 3)
    assert numbers(scaled, "reward") == [0.5 * (1 + 2 + 3 + 4), 0.5 * (5 + 6 + 7 + 8), 0.5 * (9 + 10)]
    assert numbers(scaled, "truncated") == [False, False, True]
    _, delayed = stepped(("DelayedReward(every=3)", repeat), 3)
    assert numbers(delayed, "reward") == [1 + 2 + 3, 4 + 5 + 6, 7 + 8 + 9 + 10]
    _, lost = stepped((own("Lives"), repeat), 3)
    assert numbers(lost, "terminated") == [False, True, True]


def test_an_end_that_a_wrapper_further_out_adds_is_learnt() -> None:
    for within in ((), ("ScaleReward(scale=1.0)",), ("ScaleReward(scale=2.0)", "DelayedReward(every=1)")):
        env, transitions = stepped((*within, own("Early(length=3)")), 4)
        assert numbers(transitions, "terminated") == [False, False, True, False], within
        assert numbers(transitions, "truncated") == [False] * 4
        assert env.ended is None


def test_an_end_to_learn_from_does_not_hide_that_the_clock_ran_out() -> None:
    env, transitions = stepped((own("Lives"),), 10)
    assert numbers(transitions, "terminated") == [step in (5, 10) for step in range(1, 11)]
    assert numbers(transitions, "truncated") == [step == 10 for step in range(1, 11)]
    assert env.ended is not None


def test_what_the_last_wrapper_tells_stands() -> None:
    _, transitions = stepped(("ScaleReward(scale=0.5)", "RepeatAction(num_repeats=2)", own("Sevens")), 2)
    assert numbers(transitions, "reward") == [7.0, 7.0]
    env, transitions = stepped((own("Early(length=2)"), own("Sevens")), 2)
    assert (numbers(transitions, "terminated"), numbers(transitions, "truncated")) == ([False] * 2, [False, True])
    assert env.terminated.all()  # as it was; what is learnt was told
    _, transitions = stepped(("ScaleReward(scale=0.5)", own("Forgets")), 2)
    assert numbers(transitions, "reward") == [1.0, 2.0]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(["scale", "repeat", "early", "delay"]), max_size=4))
def test_whatever_stands_in_whatever_order_the_scaled_rewards_and_the_ends_are_learnt(layers: list[str]) -> None:
    """Scaling by 2 each time and paying at once: what is learnt is what is recorded, times the scales."""
    wrappers = {
        "scale": "ScaleReward(scale=2.0)",
        "repeat": "RepeatAction(num_repeats=2)",
        "early": own("Early(length=3)"),
        "delay": "DelayedReward(every=1)",
    }
    env, _ = stepped(tuple(wrappers[one] for one in layers), 0)
    for _ in range(8):
        transition, _ = env.step(np.zeros((1, 1), np.int64), {})
        assert transition.reward == env.reward * 2.0 ** layers.count("scale")
        assert transition.terminated == env.terminated
        assert transition.truncated == env.truncated


class Keeps(gym.Wrapper[Any, Any, Any, Any]):
    """Holds the step of what is within."""

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        self.inner_step = env.step

    def step(self, action: Any) -> Any:
        return self.inner_step(action)


class LooksAhead(gym.Wrapper[Any, Any, Any, Any]):
    """Tries the step on a copy, one of its own or one to the bottom."""

    def step(self, action: Any) -> Any:
        for copied in (copy.copy(self.env), copy.deepcopy(self.env), pickle.loads(pickle.dumps(self.env))):
            copied.step(action)
        return super().step(action)


def test_layers_are_what_they_were(tmp_path: Path) -> None:
    """Copies step themselves, what holds a step holds a method, and a long run holds no more than a short one."""
    source = find_env(own("Unlimited"), {}, (own("LooksAhead"), "ScaleReward(scale=0.5)", own("Keeps")))
    assert snapshot.can_restore(source.make) is None
    env = source.make()
    assert [type(layer).__name__ for layer in (env, env.env, env.unwrapped)] == ["Keeps", "ScaleReward", "Unlimited"]  # type: ignore[attr-defined]
    made = VectorEnv(source.batch(1), (0,), 1)
    made.reset()
    held = []
    for _ in range(3):
        transitions = [made.step(np.zeros((1, 1), np.int64), {})[0] for _ in range(12)]
        assert numbers(transitions, "reward") == [0.5 * n for n in range(1, 13)]
        assert numbers(transitions, "next_obs") == list(range(1, 13))
        layer, size = made.batch.envs[0], 0  # type: ignore[attr-defined]
        while True:
            size += sum(len(value) for value in vars(layer).values() if isinstance(value, tuple | list))
            assert learnt.KEPT not in vars(layer)
            if not isinstance(layer, gym.Wrapper):
                break
            layer = layer.env
        held.append(size)
    assert held[0] == held[1] == held[2]


class TellsOf(gym.Wrapper[Any, Any, Any, Any]):
    def __init__(self, env: Any, what: Any) -> None:
        super().__init__(env)
        self.what = what

    def step(self, action: Any) -> Any:
        *given, info = super().step(action)
        return *given, {**info, "learn": (float(self.what), False) if isinstance(self.what, str) else self.what}


def test_what_is_told_is_looked_at_as_a_reward_is(runs: Runs, tmp_path: Path) -> None:
    with pytest.raises(Problem, match=r"wrapper Odd .*info\[\"learn\"\] is 3\.0, not a pair \(reward, terminated\)"):
        check_wrappers([Counting, lambda: TellsOf(Counting(), 3.0)], ["Odd"])
    odd = runs.begin(
        "odd", "--env", own("Counting"), "--wrapper", own("TellsOf(what=1.5)"), "--agent", "random", "--no-check-env"
    )
    assert 'Counting raised TypeError: info["learn"] is 1.5, not a pair (reward, terminated) in step' in odd.problem
    large = runs.begin("large", "--env", own("Counting"), "--wrapper", own("TellsOf(what='1e39')"), "--agent", "dqn")
    assert "Counting gave the reward 1e+39, beyond 3.40282e+38 to learn from (seed 0," in large.problem
    nan = runs.begin("nan", "--env", own("Counting"), "--wrapper", own("TellsOf(what='nan')"), "--agent", "dqn")
    assert "Counting gave the reward nan to learn from (seed 0, sub-environment 0)" in nan.problem
    peer = ("--agent", "sb3:dqn", "--learning-starts", "5", "--seed", "0")
    theirs = runs.begin("peer", "--env", own("Counting"), "--wrapper", own("TellsOf(what='nan')"), *peer)
    assert "gave the reward nan to learn from" in theirs.problem
    told = "--env", own("Counting"), "--wrapper", own("TellsOf(what=1.5)"), "--no-check-env"
    said = 'Counting raised TypeError: info["learn"] is 1.5, not a pair (reward, terminated) in step'
    assert said in runs.begin("theirs", *told, *peer).problem
