"""Environments whose state is the actions of their episode: Box2D's LunarLander, MiniGrid's grids."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from rlrepro import checkpoint, recorder, replayed, snapshot
from rlrepro.plugins.environments import find_env
from rlrepro.replayed import Replayed, can_replay
from rlrepro.seed_log import read_rows
from tests.conftest import Runs

pytestmark = pytest.mark.usefixtures("one_thread")

Make = Callable[[], gym.Env[Any, Any]]
REPLAYED = {
    "LunarLander-v3": (),
    "LunarLanderContinuous-v3": (),
    "minigrid:MiniGrid-DoorKey-5x5-v0": ("GridFlat",),
    "minigrid:MiniGrid-Dynamic-Obstacles-6x6-v0": ("GridFlat",),
}


class Engine:
    """Something that is no plain data."""

    def __init__(self, place: float) -> None:
        self.place = place


class Pushed(gym.Env[Any, Any]):
    """Where it is an engine knows, which every reset makes anew."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (1,), np.float64)
    action_space = gym.spaces.Discrete(3)
    engine: Engine

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.begin()
        return np.array([self.engine.place]), {}

    def begin(self) -> None:
        self.engine = Engine(self.np_random.normal())

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.engine.place += (action - 1) * self.np_random.random()
        return np.array([self.engine.place]), 0.0, bool(abs(self.engine.place) > 3), False, {}


def go_on(env: gym.Env[Any, Any], num_steps: int, seed: int) -> list[Any]:
    env.action_space.seed(seed)
    met: list[Any] = []
    for _ in range(num_steps):
        obs, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        met.append((np.asarray(obs).tobytes(), float(reward), terminated, truncated))
        if terminated or truncated:
            met.append(np.asarray(env.reset()[0]).tobytes())
    return met


@pytest.mark.parametrize("name", REPLAYED)
def test_a_copy_goes_on_like_the_original_after_many_episodes(name: str) -> None:
    source = find_env(name, {}, REPLAYED[name])
    assert source.why_not_plain is not None
    assert source.is_replayed
    for seed in range(3):
        first, second = source.make_kept(), source.make_kept()
        first.reset(seed=seed)
        go_on(first, 900 + 411 * seed, seed)
        state = checkpoint.as_loaded(snapshot.take(first))
        assert len(state[0]["actions"]) > 0, "in the middle of an episode"
        second.reset(seed=5)
        snapshot.put_back(second, state)
        assert go_on(second, 600, 9) == go_on(first, 600, 9)


@pytest.fixture
def stopped_at(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Trains a run to an env step, where Ctrl-C ends it: `stopped_at(step, name, *flags)`."""

    def train(step: int, name: str, *flags: str) -> Path:
        tick = recorder.Journal.tick

        def stopping(journal: Any, env_step: int) -> None:
            journal.stop_signal = 2 * (env_step >= step)
            tick(journal, env_step)

        with monkeypatch.context() as patched:
            patched.setattr(recorder.Journal, "tick", stopping)
            assert runs.begin(name, *flags).status == 130
        return runs.folder / name

    return train


@pytest.mark.parametrize("agent", ["dqn", "sb3:dqn"])
def test_a_run_that_was_stopped_ends_with_the_same_bytes(
    agent: str, runs: Runs, stopped_at: Callable[..., Path]
) -> None:
    flags = ("--agent", agent, "--env", "LunarLander-v3", "--seed", "3", "--total-timesteps", "420",
             "--learning-starts", "300", "--batch-size", "8", "--final-eval-episodes", "1", "--num-envs", "2",
             "--checkpoint-every", "100")  # fmt: skip
    whole = runs.finish("whole", *flags)
    stopped_at(250, "stopped", *flags)
    again = runs.resume("stopped")
    assert (again.status, again.err) == (0, "")
    assert "new episode" not in again.out
    assert "begins again" not in again.out

    def left(run: Path) -> list[bytes]:
        return [(run / "seeds/3" / name).read_bytes() for name in ("episodes.csv", "policy.safetensors")]

    assert left(runs.folder / "stopped") == left(whole)
    assert len(list(read_rows(whole / "seeds/3/episodes.csv"))) > 1


def other(**changed: Any) -> Make:
    """A class like Pushed, but for some of its members."""
    return type("Other", (Pushed,), changed)


def lives_on(env: Any) -> None:
    """The engine is the one of before, as the world of BipedalWalker."""
    if not hasattr(env, "engine"):
        env.engine = Engine(0)
    env.engine.place = env.np_random.normal()


def counts(env: Any) -> None:
    """Later episodes begin elsewhere."""
    env.episodes = getattr(env, "episodes", 0) + 1
    env.engine = Engine(env.np_random.normal() + env.episodes // 2)


def has_its_own(env: Any) -> None:
    """A generator that no seed reaches but the first."""
    env.engine = getattr(env, "engine", None) or Engine(0)
    env.engine = type("Second", (Engine,), {"own": getattr(env.engine, "own", None) or np.random.default_rng(3)})(0)
    env.engine.place = env.engine.own.normal()


COUNT = itertools.count()


TRIED: dict[str, tuple[Make, bool]] = {
    "engine made anew": (Pushed, True),
    "by a limit": (lambda: gym.wrappers.TimeLimit(Pushed(), 9), True),
    "stacked": (lambda: gym.wrappers.FrameStackObservation(Pushed(), 3), True),
    "an engine that lives on": (other(begin=lives_on), False),
    "another beginning each time": (other(begin=counts), False),
    "a generator of its own": (other(begin=has_its_own), False),
    "no seed": (other(begin=lambda env: setattr(env, "engine", Engine(np.random.normal()))), False),
    "statistics of all episodes": (lambda: gym.wrappers.NormalizeObservation(Pushed()), False),
    "a clock": (other(begin=lambda env: setattr(env, "engine", Engine(next(COUNT)))), False),
    "one that breaks": (other(step=None), False),
}  # fmt: skip


@pytest.mark.parametrize("name", TRIED)
def test_what_can_be_played_again(name: str) -> None:
    make, can = TRIED[name]
    assert snapshot.can_restore(make) is not None
    assert can_replay(make) is can


def test_what_does_not_come_to_where_it_was_is_refused() -> None:
    first, second = Replayed(Pushed()), Replayed(Pushed())
    first.reset(seed=1)
    go_on(first, 9, 1)
    state = checkpoint.as_loaded(first.get_state())
    second.reset(seed=0)
    second.set_state(state)
    assert second.get_state()["digest"] == state["digest"]
    for changed in ({"actions": state["actions"][:-1]}, {"seed": 2, "generator": None}):
        with pytest.raises(snapshot.Unrestorable, match="Pushed does not come to where it was by the actions"):
            second.set_state({**state, **changed})


def test_an_episode_with_too_many_actions_has_no_state_until_the_next_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replayed, "LONGEST", 5)
    env = Replayed(other(step=lambda env, action: (np.zeros(1), 0.0, False, False, {}))())
    with pytest.raises(snapshot.Unrestorable, match="it has not begun"):
        env.get_state()
    env.reset(seed=1)
    for _ in range(5):
        env.step(1)
    assert len(env.get_state()["actions"]) == 5
    env.step(1)
    with pytest.raises(snapshot.Unrestorable, match="Other gives no state: its episode is longer than 5 steps"):
        env.get_state()
    env.reset()
    assert len(env.get_state()["actions"]) == 0
    env.reset(options={"low": 0})
    with pytest.raises(snapshot.Unrestorable, match="its reset had options"):
        env.get_state()


def test_a_resume_that_does_not_come_to_where_it_was_begins_new_episodes_and_says_so(
    runs: Runs, stopped_at: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where another version of Box2D was installed meanwhile; a trainer's rollout cannot be cut so."""
    flags = ("--env", "LunarLander-v3", "--seed", "3", "--learning-starts", "60")
    stopped_at(80, "ours", *flags, "--agent", "dqn")
    stopped_at(80, "theirs", *flags, "--agent", "sb3:dqn")
    monkeypatch.setattr(Replayed, "_digest", lambda env: "elsewhere")
    what = "LunarLander does not come to where it was by the actions that it took"
    ours = runs.resume("ours")
    assert ours.status == 0
    assert f"new episodes begin at env step 80, as {what}: from here on it is not what it would have" in ours.out
    assert f"sb3:dqn as it is here cannot go on from it: Unrestorable: {what}; with" in runs.resume("theirs").problem
