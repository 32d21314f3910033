"""Normalised observations and rewards: against VecNormalize, by hand, to the byte, and as evaluation meets them."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
import signal
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from test_run import PPO, in_a_fork, outcome, run, whole_state

from rlrepro import checkpoint, loop, train
from rlrepro.normalise import Moments, NormalisedEnv, NormalisedPolicy, Statistics
from rlrepro.plugins.environments import find_env
from rlrepro.record import RunFolder
from rlrepro.recorder import checkpoint_path
from rlrepro.request import Request, parse_train
from rlrepro.seed_log import read_rows
from rlrepro.settings import Settings
from rlrepro.streams import Streams, env_seed
from rlrepro.trained import load_policy
from rlrepro.vector import EnvBatch, SyncEnvBatch
from tests.conftest import BRIEF, Command, Runs

BOTH = ("--normalise-obs", "--normalise-reward")
NORMALISED = (*PPO, "--env", "Pendulum-v1", *BOTH)


def close(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


# --- against VecNormalize


@pytest.mark.parametrize(("env_id", "num_envs", "gamma"), [("CartPole-v1", 4, 0.99), ("Pendulum-v1", 3, 0.9)])
def test_every_step_of_every_seed_is_vec_normalize_s(env_id: str, num_envs: int, gamma: float) -> None:
    seeds = (3, 7)
    batch = find_env(env_id).batch(len(seeds) * num_envs)
    ours = NormalisedEnv(Statistics(len(seeds), num_envs, batch.observation_space.shape, gamma), batch, seeds, num_envs)
    theirs = []
    for seed in seeds:
        inner = DummyVecEnv([functools.partial(gym.make, env_id) for _ in range(num_envs)])
        inner._seeds = [env_seed(seed, "env", n) for n in range(num_envs)]  # which the first reset takes
        theirs.append(VecNormalize(inner, gamma=gamma))
    close(ours.reset(), [env.reset() for env in theirs])
    rng, num_ended = np.random.default_rng(0), 0
    for _ in range(450):
        shape = (len(seeds), num_envs)
        action = rng.integers(2, size=shape) if env_id == "CartPole-v1" else rng.uniform(-2, 2, (*shape, 1))
        before = ours.obs.copy()
        transition, obs = ours.step(action.astype(np.int64 if env_id == "CartPole-v1" else np.float32), {})
        assert np.array_equal(transition.obs, before), "what was acted on"
        for row, env in enumerate(theirs):
            expected, reward, dones, infos = env.step(transition.action[row])
            close(obs[row], expected)
            close(transition.reward[row], reward)
            close(ours.reward[row], env.get_original_reward())
            assert np.array_equal(transition.terminated[row] | transition.truncated[row], dones)
            num_ended += dones.sum()
            for n in range(num_envs):
                close(transition.next_obs[row, n], infos[n].get("terminal_observation", expected[n]))
            assert ours.statistics.obs is not None
            assert ours.statistics.returns is not None
            for moments, rms in ((ours.statistics.obs, env.obs_rms), (ours.statistics.returns, env.ret_rms)):
                close(moments.mean[row], rms.mean)
                close(moments.var[row], rms.var)
                assert moments.count[row].item() == rms.count
    assert num_ended > 10
    assert transition.obs.dtype == obs.dtype == transition.next_obs.dtype == np.float32


# --- against Gymnasium's wrappers, each around one sub-environment


@pytest.mark.parametrize(("env_id", "limit"), [("CartPole-v1", 12), ("Pendulum-v1", 40)])
def test_every_step_of_every_seed_is_that_of_gymnasium_s_wrappers(env_id: str, limit: int) -> None:
    def roughly(found: Any, expected: Any) -> None:
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)  # their statistics are in float32

    seeds, gamma = (3, 7), 0.97
    source = find_env(env_id, {"max_episode_steps": limit})
    batch = source.batch(len(seeds))
    statistics = Statistics(len(seeds), 1, batch.observation_space.shape, gamma, "gymnasium")
    ours = NormalisedEnv(statistics, batch, seeds, 1)
    theirs = [
        gym.wrappers.NormalizeReward(
            gym.wrappers.NormalizeObservation(gym.make(env_id, max_episode_steps=limit)), gamma=gamma
        )
        for _ in seeds
    ]
    first = ours.reset()
    for row, env in enumerate(theirs):
        roughly(first[row, 0], np.clip(env.reset(seed=env_seed(seeds[row], "env", 0))[0], -10, 10))

    rng, ends = np.random.default_rng(0), {"terminated": 0, "truncated": 0}
    for _ in range(400):
        discrete = env_id == "CartPole-v1"
        action = rng.integers(2, size=(2, 1)) if discrete else rng.uniform(-2, 2, (2, 1, 1)).astype(np.float32)
        transition, obs = ours.step(action, {})
        for row, env in enumerate(theirs):
            expected, reward, terminated, truncated, _ = env.step(action[row, 0])
            roughly(transition.next_obs[row, 0], np.clip(expected, -10, 10))
            roughly(transition.reward[row, 0], np.clip(reward, -10, 10))
            if terminated or truncated:
                expected = env.reset()[0]
            roughly(obs[row, 0], np.clip(expected, -10, 10))
            ends["terminated"] += terminated
            ends["truncated"] += truncated
    assert ends["truncated"] >= 20
    assert (ends["terminated"] > 0) == discrete


def test_several_sub_environments_share_what_gymnasium_s_rules_count() -> None:
    """Two of them: 1 and 5, then 2 and 6, where the second ends and begins again at 9."""
    statistics = Statistics(1, 2, (1,), None, "gymnasium")
    statistics.begin(np.array([[[1.0], [5.0]]]))
    ended = np.array([[False, True]])
    next_obs, obs = statistics.observations(np.array([[[2.0], [6.0]]]), np.array([[[2.0], [9.0]]]), ended)

    def by(values: list[float], x: float) -> float:
        count = len(values) + 1e-4
        mean = sum(values) / count
        return (x - mean) / np.sqrt((1e-4 + sum(v * v for v in values)) / count - mean**2 + 1e-8)

    close(next_obs.ravel(), [by([1, 5, 2, 6], 2), by([1, 5, 2, 6], 6)])
    close(obs.ravel(), [by([1, 5, 2, 6], 2), by([1, 5, 2, 6, 9], 9)])


def test_seeds_count_apart_where_gymnasium_s_rules_count_more_of_one() -> None:
    together, alone = (Statistics(num, 1, (2,), 0.9, "gymnasium") for num in (2, 1))
    rng = np.random.default_rng(1)
    for step in range(30):
        obs, following, reward = rng.normal(size=(2, 1, 2)), rng.normal(size=(2, 1, 2)), rng.normal(size=(2, 1))
        ended = np.array([[step % 3 == 0], [step % 4 == 0]])
        seen = [
            (*one.observations(obs[:n], following[:n], ended[:n]), one.reward(reward[:n], ended[:n], ended[:n]))
            for one, n in ((together, 2), (alone, 1))
        ]
        for both, first in zip(*seen, strict=True):
            assert np.array_equal(both[:1], first)


@pytest.mark.parametrize("normaliser", ["vecnormalize", "gymnasium"])
def test_whenever_it_is_restored_it_is_seen_as_it_was(normaliser: str) -> None:
    seeds, num_envs = (3, 7), 3

    def made() -> NormalisedEnv:
        batch = find_env("CartPole-v1").batch(len(seeds) * num_envs)
        return NormalisedEnv(Statistics(2, num_envs, (4,), 0.99, normaliser), batch, seeds, num_envs)

    env, rng = made(), np.random.default_rng(0)
    env.reset()
    for _ in range(80):
        env.step(rng.integers(2, size=(2, num_envs)), {})
        state = {**env.get_state(), "statistics": env.statistics.get_state()}
        kept = checkpoint.join([checkpoint.as_loaded(checkpoint.split(state, row)) for row in range(2)])
        again = made()
        again.statistics.set_state(kept["statistics"])
        again.set_state(kept)
        assert np.array_equal(again.obs, env.obs)


# --- by hand


class Ladder(gym.Env[Any, Any]):
    """Observation and reward are 10, 20, 40; there it ends."""

    observation_space = gym.spaces.Box(-100, 100, (1,), np.float64)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self.at = 10.0
        return np.array([self.at]), {}

    def step(self, action: int) -> Any:
        self.at *= 2
        return np.array([self.at]), self.at, self.at == 40, False, {}


def test_the_last_observation_of_an_episode_is_normalised_and_not_counted() -> None:
    """One sub-environment: 10, 20, (40) 10. The counts are 1e-4 of a mean 0 and a variance 1, and then 10, 20, 10."""
    env = NormalisedEnv(Statistics(1, 1, (1,), 0.5), SyncEnvBatch(Ladder, 1), (0,), 1)
    first = env.reset()
    env.step(np.zeros((1, 1), np.int64), {})
    transition, obs = env.step(np.zeros((1, 1), np.int64), {})
    count = 3 + 1e-4
    mean = 40 / count
    var = (1e-4 + 10**2 + 20**2 + 10**2) / count - mean**2
    close(transition.next_obs, [[[(40 - mean) / np.sqrt(var + 1e-8)]]])
    close(obs, [[[(10 - mean) / np.sqrt(var + 1e-8)]]])
    close(first, [[[(10 - 10 / (1 + 1e-4)) / np.sqrt((1e-4 + 10**2) / (1 + 1e-4) - (10 / (1 + 1e-4)) ** 2)]]])
    # discounted returns: 20, then 0.5 · 20 + 40 = 50
    mean = 70 / (2 + 1e-4)
    var = (1e-4 + 20**2 + 50**2) / (2 + 1e-4) - mean**2
    close(transition.reward, [[40 / np.sqrt(var + 1e-8)]])
    assert env.reward.item() == 40
    # and the episode that follows begins at 0: 20 again
    transition, _ = env.step(np.zeros((1, 1), np.int64), {})
    mean = 90 / (3 + 1e-4)
    var = (1e-4 + 20**2 + 50**2 + 20**2) / (3 + 1e-4) - mean**2
    close(transition.reward, [[20 / np.sqrt(var + 1e-8)]])
    assert env.statistics.running.item() == 20
    env.begin_anew(3)
    assert env.statistics.running.item() == 0


class Lives(Ladder):
    """A reward of 1 a step to learn from; in each episode of six steps a life is lost after three."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self.t = 0
        return np.array([0.0]), {}

    def step(self, action: int) -> Any:
        self.t += 1
        return np.array([self.t]), 10.0, self.t == 6, False, {"learn": (1.0, self.t in (3, 6))}


@pytest.mark.parametrize(
    ("normaliser", "expected"),
    [("vecnormalize", [1, 1.5, 0, 1, 1.5, 0, 1]), ("gymnasium", [1, 1.5, 1, 1.5, 1.75, 1, 1.5])],
)
def test_discounted_rewards_end_where_what_is_learnt_from_ends(normaliser: str, expected: list[float]) -> None:
    """R of γ = 1/2: at a lost life too, as where Stable-Baselines3 is told of it as of an end."""
    statistics = Statistics(1, 1, None, 0.5, normaliser)
    env = NormalisedEnv(statistics, SyncEnvBatch(Lives, 1), (0,), 1)
    env.reset()
    found = []
    for _ in expected:
        env.step(np.zeros((1, 1), np.int64), {})
        found.append(statistics.running.item())
    assert found == expected


def test_an_agent_is_told_of_single_precision_and_of_no_bounds() -> None:
    """Whatever the environment's own are: those of what is normalised are others."""
    for what, space in (((1,), gym.spaces.Box(-np.inf, np.inf, (1,), np.float32)), (None, Ladder.observation_space)):
        env = NormalisedEnv(Statistics(1, 1, what, 0.5), SyncEnvBatch(Ladder, 1), (0,), 1)
        assert env.observation_space == space
        assert env.reset().dtype == env.step(np.zeros((1, 1), np.int64), {})[1].dtype == space.dtype


@pytest.mark.parametrize("normaliser", ["vecnormalize", "gymnasium"])
def test_discounted_rewards_begin_at_nothing_with_episodes_begun_anew(normaliser: str) -> None:
    statistics = Statistics(1, 1, None, 0.5, normaliser)
    env = NormalisedEnv(statistics, SyncEnvBatch(Lives, 1), (0,), 1)
    env.reset()
    found = []
    for step in range(4):
        if step == 2:
            env.begin_anew(step)
        env.step(np.zeros((1, 1), np.int64), {})
        found.append(statistics.running.item())
    assert found == [1, 1.5, 1, 1.5]


def test_what_lies_far_out_is_clipped_at_ten() -> None:
    statistics = Statistics(1, 1, (1,), 0.0)
    assert np.array_equal(statistics.normalised(np.array([[[-1e3], [9.0], [1e9]]])), [[[-10.0], [9.0], [10.0]]])
    assert statistics.returns is not None
    statistics.returns.count[:] = 1e12  # so that a reward leaves the variance where it is
    assert np.array_equal(statistics.reward(np.array([[1e3]]), *np.zeros((2, 1, 1), bool)), [[10.0]])


def test_the_rules_that_are_asked_for_are_used() -> None:
    space = gym.spaces.Box(-1, 1, (4,))
    flags = ["--env", "CartPole-v1", "--agent", "ppo", "--normalise-obs"]
    for rule, across in (("gymnasium", True), ("vecnormalize", False)):
        asked = parse_train([*flags, "--normalise-as", rule])
        assert isinstance(asked, Request)
        made = Statistics.of_settings(asked.settings, space, 1)
        assert made is not None
        assert made.across_episodes is across


def test_only_what_is_asked_for_is_normalised() -> None:
    values = np.full((2, 3, 4), 5.0), np.full((2, 3), 5.0)
    rewards, observations = Statistics(2, 3, None, 0.9), Statistics(2, 3, (4,), None)
    none = np.zeros((2, 3), bool)
    assert rewards.observations(values[0], values[0], None)[0] is values[0]
    assert not np.array_equal(rewards.reward(values[1], none, none), values[1])
    assert not np.array_equal(observations.observations(values[0], values[0], None)[0], values[0])
    assert observations.reward(values[1], none, none) is values[1]
    assert (rewards.named(), set(observations.named())) == ({}, {"normalise/obs_mean", "normalise/obs_var"})


@settings(max_examples=60, deadline=None)
@given(
    num_seeds=st.integers(1, 5),
    num_envs=st.integers(1, 140),
    shape=st.sampled_from([(), (1,), (3,), (17,), (2, 2)]),
    transposed=st.booleans(),
    dtype=st.sampled_from([np.float32, np.float64]),
    seed=st.integers(0, 999),
)
def test_moments_are_those_of_all_values_and_a_seed_s_are_its_own_to_the_bit(
    num_seeds: int, num_envs: int, shape: tuple[int, ...], transposed: bool, dtype: Any, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    batches = [rng.normal(3, 2, (num_seeds, num_envs, *shape)).astype(dtype) for _ in range(4)]
    if transposed:  # as a vector form may hold them: the axis of sub-environments last in memory
        batches = [
            np.moveaxis(np.ascontiguousarray(np.moveaxis(b, (0, 1), (-2, -1))), (-2, -1), (0, 1)) for b in batches
        ]
    together = Moments(num_seeds, shape)
    alone = [Moments(1, shape) for _ in range(num_seeds)]
    for batch in batches:
        together.update(batch)
        for row, one in enumerate(alone):
            one.update(batch[row : row + 1].copy())
    values, prior = np.concatenate(batches, 1).astype(np.float64), 1e-4
    count = values.shape[1] + prior
    mean = values.sum(1) / count
    np.testing.assert_allclose(together.mean, mean, rtol=1e-12, atol=1e-12)
    var = (prior * (1 + mean**2) + np.square(values - mean[:, None]).sum(1)) / count
    np.testing.assert_allclose(together.var, var, rtol=1e-10, atol=1e-12)
    for row, one in enumerate(alone):
        assert one.mean.tobytes() == together.mean[row].tobytes()
        assert one.var.tobytes() == together.var[row].tobytes()


# --- resuming, exactly

OPAQUE = """
import gymnasium
class World:
    pass
class Opaque(gymnasium.Wrapper):
    def __init__(self, env):
        super().__init__(env)
        self.world = World()
"""


def killed_at(folder: Path, step: int, arguments: list[str]) -> None:
    """A run killed when the checkpoint of this step has just been written."""

    def work() -> None:
        real = checkpoint.save

        def save_and_die(path: Path, *rest: Any) -> None:
            real(path, *rest)
            if path == checkpoint_path(RunFolder(folder), 1, step):
                os.kill(os.getpid(), signal.SIGKILL)

        checkpoint.save = save_and_die  # type: ignore[assignment]
        train.main([*arguments, "--run-dir", str(folder.parent), "--name", folder.name])

    _, status = os.waitpid(in_a_fork(work), 0)
    assert os.WIFSIGNALED(status)


@pytest.mark.parametrize(
    ("env", "normaliser"),
    [("Pendulum-v1", "vecnormalize"), ("CartPole-v1", "gymnasium")],  # whose episodes end apart
)
def test_a_run_goes_on_with_its_statistics_to_the_byte(env: str, normaliser: str, tmp_path: Path) -> None:
    arguments = [*NORMALISED, *BRIEF, "--seeds", "2", "--total-timesteps", "1500", "--checkpoint-every", "400"]
    arguments += ["--env", env, "--normalise-as", normaliser]
    whole = run(tmp_path / "whole", *arguments)
    killed_at(tmp_path / "killed", 801, arguments)  # in an episode and in a rollout
    assert train.main(["--resume", str(tmp_path / "killed")]) == 0
    for seed in range(2):
        assert outcome(tmp_path / "killed", seed) == outcome(whole, seed)
        assert whole_state(tmp_path / "killed", seed) == whole_state(whole, seed)


def test_where_the_environment_cannot_be_restored_its_statistics_are(tmp_path: Path) -> None:
    (tmp_path / "opaque.py").write_text(OPAQUE)
    arguments = [*NORMALISED, *BRIEF, "--seeds", "2", "--total-timesteps", "900", "--checkpoint-every", "300",
                 "--wrapper", f"{tmp_path / 'opaque.py'}:Opaque"]  # fmt: skip
    killed_at(tmp_path / "killed", 300, arguments)
    assert train.main(["--resume", str(tmp_path / "killed")]) == 0
    state, _ = checkpoint.load(checkpoint_path(RunFolder(tmp_path / "killed"), 1, 900))
    assert state["env"] is None
    # 3 sub-environments: each env step, and the first observations of the beginning and of the resume
    assert state["normalise"]["obs"]["count"] == pytest.approx(1e-4 + 900 + 3 + 3)
    assert state["normalise"]["returns"]["count"] == pytest.approx(1e-4 + 900)


# --- records and evaluation


BLIND = """
import dataclasses

from rlrepro.agent import hyper
from rlrepro.agents.random import Random


class Blind(Random):
    @dataclasses.dataclass(frozen=True)
    class Config:
        gamma: float = hyper(0.99, "discount factor of the returns by which rewards are normalised", "ours")
"""


def test_what_is_recorded_are_the_environment_s_own_returns(tmp_path: Path) -> None:
    """An agent that looks at nothing plays the same episodes either way."""
    (tmp_path / "blind.py").write_text(BLIND)
    brief = (
        "--agent",
        f"{tmp_path}/blind.py:Blind",
        "--env",
        "Pendulum-v1",
        *BRIEF,
        "--seeds",
        "2",
        "--total-timesteps",
        "900",
    )
    plain, ours = run(tmp_path / "plain", *brief), run(tmp_path / "ours", *brief, *BOTH)
    for seed in range(2):
        for name in ("episodes.csv", "evaluations.csv"):
            assert outcome(ours, seed)[name] == outcome(plain, seed)[name]
    returns = [float(row["episode_return"]) for row in read_rows(plain / "seeds/0/episodes.csv")]
    assert len(returns) == 4
    assert max(returns) < -500


def final_returns(folder: Path, seed: int) -> list[float]:
    rows = read_rows(folder / "seeds" / str(seed) / "evaluations.csv")
    return [float(row["episode_return"]) for row in rows if row["env_step"].endswith("final")]


def replayed(folder: Path, deterministic: bool = True, trained: bool = True) -> np.ndarray:
    """The last evaluation again `[S, E]`, by what the run left behind; `trained`: behind its statistics."""
    run_folder, found = RunFolder.open(folder)
    batch: EnvBatch = find_env(found.env).batch(2 * 5)
    policy = load_policy(run_folder, found, found.seeds, batch)
    if not trained:
        assert isinstance(policy, NormalisedPolicy)
        policy = policy.policy
    return loop.evaluate(policy, batch, found.seeds, 5, deterministic, ("final evaluation",)).episode_return


def test_a_finished_run_is_evaluated_by_its_trained_statistics(tmp_path: Path, command: Command) -> None:
    folder = run(tmp_path / "r", *NORMALISED, *BRIEF, "--seeds", "2", "--final-eval-episodes", "5", "--total-timesteps",
                 "2000", "--checkpoint-every", "500")  # fmt: skip
    returns = [final_returns(folder, seed) for seed in range(2)]
    assert replayed(folder).tolist() == returns
    assert replayed(folder, trained=False).tolist() != returns
    # they are those of the last checkpoint
    run_folder, found = RunFolder.open(folder)
    policy = load_policy(run_folder, found, (1,), find_env(found.env).batch(1))
    state, _ = checkpoint.load(checkpoint_path(run_folder, 1, 2001))
    moments = state["normalise"]["obs"]
    assert isinstance(policy, NormalisedPolicy)
    held = policy.statistics.obs
    assert held is not None
    assert (held.mean[0].tolist(), held.var[0].tolist()) == (moments["mean"].tolist(), moments["var"].tolist())
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert command("evaluate", folder, "--episodes", "3", "--capture-video").status == 0
    assert all(path.read_bytes() == content for path, content in before.items()), "evaluation changes nothing"
    assert len(list((folder / "videos").glob("*.mp4"))) == 2


def test_a_policy_is_shown_clipped_standard_scores() -> None:
    shown = []

    class Looking:
        def predict(self, obs: np.ndarray, streams: Streams, deterministic: bool) -> np.ndarray:
            shown.append(obs)
            return np.zeros(obs.shape[:2], np.int64)

        def get_policy(self) -> dict[str, np.ndarray]:
            return {}

        def set_policy(self, policy: object) -> None: ...

    mean, var = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[4.0, 1.0], [1.0, 0.25]])
    obs = np.array([[[5.0, 2.0]], [[2.0, 400.0]]])
    statistics = Statistics(2, 1, (2,), None)
    assert statistics.obs is not None
    statistics.obs.mean, statistics.obs.var = mean, var
    NormalisedPolicy(Looking(), statistics).predict(obs, Streams((0, 1)), True)
    close(shown[0], [[[2.0, 0.0]], [[-1.0, 10.0]]])
    assert shown[0].dtype == np.float32


def test_evaluation_may_be_stochastic(tmp_path: Path, runs: Runs) -> None:
    arguments = (
        *PPO,
        "--env",
        "Pendulum-v1",
        *BRIEF,
        "--seeds",
        "2",
        "--final-eval-episodes",
        "5",
        "--eval-every",
        "60",
    )
    said = runs.begin("mode", *arguments)
    assert "fresh episodes, deterministic;" in said.out
    said = runs.begin("drawn", *arguments, "--no-eval-deterministic")
    assert "fresh episodes, stochastic;" in said.out
    mode, drawn = runs.folder / "mode", runs.folder / "drawn"
    assert RunFolder.open(drawn)[1] == dataclasses.replace(RunFolder.open(mode)[1], eval_deterministic=False)
    for seed in range(2):
        for name in ("episodes.csv", "policy.safetensors"):
            assert outcome(mode, seed)[name] == outcome(drawn, seed)[name], "training is the same"
        of_mode, of_drawn = (list(read_rows(one / f"seeds/{seed}/evaluations.csv")) for one in (mode, drawn))
        assert [row["env_step"] for row in of_mode] == [row["env_step"] for row in of_drawn]
        assert all(a["episode_return"] != b["episode_return"] for a, b in zip(of_mode, of_drawn, strict=True))
    assert replayed(mode, deterministic=True).tolist() == [final_returns(mode, seed) for seed in range(2)]
    assert replayed(drawn, deterministic=False).tolist() == [final_returns(drawn, seed) for seed in range(2)]


# --- bad input

WHOLE = """
import gymnasium, numpy as np
class Whole(gymnasium.Env):
    action_space = gymnasium.spaces.Discrete(2)
    def __init__(self, shape, dtype):
        self.observation_space = gymnasium.spaces.Box(0, 255, tuple(shape), np.dtype(dtype))
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(self.observation_space.shape, self.observation_space.dtype), {}
    def step(self, action):
        return self.reset()[0], 0.0, False, False, {}
"""


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ("CliffWalking-v1", "Discrete"),
        ("Blackjack-v1", "MultiDiscrete"),
        ("shape=[4],dtype='int64'", "a Box of int64"),
        ("shape=[40,40,3],dtype='uint8'", "a Box of uint8"),
    ],
)
def test_observations_that_are_no_floats_are_not_normalised(env: str, words: str, runs: Runs, tmp_path: Path) -> None:
    file = tmp_path / "whole.py"
    file.write_text(WHOLE)
    flags = ("--env", f"{file}:Whole", "--env-kwargs", env) if "=" in env else ("--env", env)
    problem = runs.begin("r", *PPO, *flags, "--normalise-obs").problem
    assert problem == f"--normalise-obs needs observations that are a Box of floats, not {words}; leave it out"
    assert runs.left() == []


def test_images_of_floats_are_not_normalised(runs: Runs, tmp_path: Path) -> None:
    """Beyond [0, 1] they would pass for vectors, and an MLP take them."""
    file = tmp_path / "planes.py"
    file.write_text(WHOLE.replace("Box(0, 255,", "Box(0, 1,"))
    flags = "--env", f"{file}:Whole", "--env-kwargs", "shape=[10,10,4],dtype='float32'"
    problem = runs.begin("r", *PPO, *flags, "--normalise-obs").problem
    assert problem.startswith("--normalise-obs needs vectors, not images")
    assert runs.left() == []


def test_rewards_are_normalised_whatever_the_observations(runs: Runs) -> None:
    flags = *PPO, "--env", "CliffWalking-v1", "--env-kwargs", "max_episode_steps=20", "--seeds", "1"
    plain, normalised = runs.finish("p", *flags), runs.finish("r", *flags, "--normalise-reward")
    learnt = [(folder / "seeds/0/policy.safetensors").read_bytes() for folder in (plain, normalised)]
    assert learnt[0] != learnt[1]


def test_policies_without_statistics_do_not_pass_for_normalised_ones(runs: Runs) -> None:
    folder = runs.finish("r", *PPO, "--seeds", "1")
    text = (folder / "settings.json").read_text()
    (folder / "settings.json").write_text(text.replace('"normalise_obs": false', '"normalise_obs": true'))
    assert "do not fit" in runs.command("evaluate", folder).problem


def test_wrappers_with_statistics_of_their_own_are_told_of_the_flags(runs: Runs) -> None:
    wrappers = ("--wrapper", "NormalizeObservation(epsilon=1e-6)", "--wrapper", "NormalizeReward")
    out = runs.begin("r", *PPO, *wrappers, "--seeds", "2").out
    assert [line.count("--normalise-obs") for line in out.splitlines() if "note: NormalizeObservation" in line] == [1]
    assert [line.count("--normalise-reward") for line in out.splitlines() if "note: NormalizeReward" in line] == [1]
    assert "note: NormalizeReward" in runs.begin("t", *PPO, "--wrapper", "gymnasium.wrappers:NormalizeReward").out
    assert "note: " not in runs.begin("s", *PPO, "--wrapper", "ClipReward(min_reward=-1)").out


def test_a_settings_file_from_before_these_settings_is_read_as_it_was(runs: Runs) -> None:
    folder = runs.finish("r", *PPO, "--seeds", "1")
    text = (folder / "settings.json").read_text()
    values = json.loads(text)
    for name in (
        "normalise_obs",
        "normalise_reward",
        "eval_deterministic",
        "stackable",
        "compile",
        "env_processes",
        "normalise_as",
        "frames_per_step",
    ):
        del values[name]
    old = json.dumps(values, indent=2) + "\n"
    was, now = Settings.from_json(old, "old"), Settings.from_json(text, "new")
    assert was == now
    # which a checkpoint of that time names
    assert was.digest() == now.digest() == hashlib.sha256(old.encode()).hexdigest()
    assert now.digest() != dataclasses.replace(now, normalise_obs=True).digest()
    assert (now.normalise_obs, now.normalise_reward, now.eval_deterministic) == (False, False, True)


def test_rewards_are_normalised_by_the_agent_s_own_discount_alone(runs: Runs) -> None:
    """An agent that has none, or calls it otherwise, is refused: 0.99 would be a guess."""
    asked = parse_train([*PPO, "--env", "Pendulum-v1", "--gamma", "0.9", "--normalise-reward"])
    assert isinstance(asked, Request)
    found = Statistics.of_settings(asked.settings, gym.spaces.Box(-1, 1, (3,)), 2)
    assert found is not None
    assert found.gamma == 0.9
    refused = runs.begin("r", "--agent", "random", "--env", "CartPole-v1", "--normalise-reward")
    assert "random has no hyperparameter gamma" in refused.problem
    assert runs.left() == []
