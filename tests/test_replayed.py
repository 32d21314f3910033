"""Environments whose state is the actions of their episode: Box2D's LunarLander, MiniGrid's grids."""

from __future__ import annotations

import dataclasses
import enum
import itertools
import textwrap
import weakref
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from rlrepro import checkpoint, recorder, replayed, snapshot
from rlrepro.plugins.environments import find_env
from rlrepro.replayed import Replayed
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

    def where(self) -> float:
        return self.place


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
        assert len(state[0]["actions"]["taken"]) > 0, "in the middle of an episode"
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


def begin_anew(env: Any) -> None:
    env.engine = Engine(env.np_random.normal())


def lives_on(env: Any) -> None:
    """The engine is the one of before, as the world of BipedalWalker."""
    if not hasattr(env, "engine"):
        env.engine = Engine(0)
    env.engine.place = env.np_random.normal()


def settles(env: Any) -> None:
    env.episodes = getattr(env, "episodes", 0) + 1
    if env.episodes < 3:
        env.engine = Engine(0)
    env.engine.place = env.np_random.normal()


def has_one_list_twice(env: Any) -> None:
    begin_anew(env)
    env.around = ([0], env.engine)
    env.one = env.two = [env.engine.place]


def counts(env: Any) -> None:
    """Later episodes begin elsewhere."""
    env.episodes = getattr(env, "episodes", 0) + 1
    env.engine = Engine(env.np_random.normal() + env.episodes // 2)


def has_its_own(env: Any) -> None:
    """A generator that no seed reaches but the first."""
    env.engine = getattr(env, "engine", None) or Engine(0)
    env.engine = type("Second", (Engine,), {"own": getattr(env.engine, "own", None) or np.random.default_rng(3)})(0)
    env.engine.place = env.engine.own.normal()


class Lingering(gym.Wrapper[Any, Any, Any, Any]):
    """What it shows after a reset is of the episode before, as MaxAndSkipObservation's screens are."""

    last: Any = 0.0

    def reset(self, **given: Any) -> Any:
        obs, info = self.env.reset(**given)
        return obs + self.last, info

    def step(self, action: Any) -> Any:
        obs, *rest = self.env.step(action)
        self.last = obs.copy()
        return obs, *rest


class Tally(gym.Wrapper[Any, Any, Any, Any]):
    """Its state is the list itself that it adds to."""

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        self.steps: list[int] = []

    def step(self, action: Any) -> Any:
        self.steps.append(len(self.steps))
        return self.env.step(action)

    def get_state(self) -> list[int]:
        return self.steps

    def set_state(self, state: list[int]) -> None:
        self.steps = list(state)


class Holder:
    """A new thing around an old one."""

    def __init__(self, held: Any) -> None:
        self.held = held


class Slot:
    __slots__ = ("held",)

    def __init__(self, held: Any) -> None:
        self.held = held


class Around(gym.Wrapper[Any, Any, Any, Any]):
    """A new holder of an old thing at each reset."""

    def __init__(self, env: Any, kept: Any) -> None:
        super().__init__(env)
        self.keep = lambda: kept

    def reset(self, **given: Any) -> Any:
        self.around = Holder(self.keep())
        return self.env.reset(**given)


@dataclasses.dataclass(frozen=True)
class Settings:
    size: int


def objects(one: Any) -> np.ndarray:
    array = np.empty(1, object)
    array[0] = one
    return array


def nested(depth: int) -> Any:
    return Holder(nested(depth - 1)) if depth else Holder(None)


def carries_on(env: Any) -> None:
    """The new engine knows how many there were."""
    number = getattr(getattr(env, "engine", None), "number", 0)
    env.engine = Engine(env.np_random.normal())
    env.engine.number = number + 1  # type: ignore[attr-defined]


def maps_once(env: Any) -> None:
    if not hasattr(env, "map"):
        env.map = float(env.np_random.normal())
    env.engine = Engine(env.map)


def looks_around(env: Any, **given: Any) -> tuple[np.ndarray, dict[str, Any]]:
    obs, info = Pushed.reset(env, **given)
    return obs + np.random.normal(), info


def holds_by_chance(make: Callable[[], Any]) -> Callable[[Any], None]:
    """In the engine, and nobody sees it."""

    def begin(env: Any) -> None:
        begin_anew(env)
        env.engine.held = make()

    return begin


def welcomes(env: Any) -> None:
    """Its first episode begins elsewhere, and where that is written it does not hold."""
    env.engine = Engine(env.np_random.normal() + (env not in WELCOMED))
    WELCOMED.add(env)


def closing(held: Any) -> Callable[[], Any]:
    return lambda: held


def keeps(kept: Any) -> Callable[[Any], None]:
    """A thing that lives on, and is no plain data, but never changes."""

    def begin(env: Any) -> None:
        env.kept = kept
        env.engine = Engine(env.np_random.normal())

    return begin


class Colour(enum.Enum):
    RED = object()


COUNT = itertools.count()
WELCOMED: weakref.WeakSet[Any] = weakref.WeakSet()
OLD = Engine(0)
ELSEWHERE = "replaying its actions: Other does not come to where it was by the actions that it took"
TRIED: dict[str, tuple[Make, str]] = {
    "engine made anew": (Pushed, ""),
    "by a limit": (lambda: gym.wrappers.TimeLimit(Pushed(), 9), ""),
    "stacked": (lambda: gym.wrappers.FrameStackObservation(Pushed(), 3), ""),
    "another beginning each time": (other(begin=counts), ""),
    "statistics of all episodes": (lambda: gym.wrappers.NormalizeObservation(Pushed()), ""),
    "what lingers": (lambda: Lingering(Pushed()), ""),
    "a state that goes on changing": (lambda: Tally(Pushed()), ""),
    "a list by two names beside one that is lost": (other(begin=has_one_list_twice), ""),
    "a member of an enum": (other(begin=keeps(Colour.RED)), ""),
    "a path": (other(begin=keeps(Path("here"))), ""),
    "a range": (other(begin=keeps(range(3))), ""),
    "an engine that lives on": (other(begin=lives_on), "Other.engine lives on over a reset"),
    "an engine that lives on from its second episode": (other(begin=settles), "Other.engine lives on over a reset"),
    "in a list made anew": (other(begin=lambda env: (begin_anew(env), setattr(env, "around", [OLD]))),
                            "Other.around lives on over a reset"),
    "in a table made anew": (other(begin=lambda env: (begin_anew(env), setattr(env, "around", {"x": (1, OLD)}))),
                             "Other.around lives on over a reset"),
    "in an object made anew": (other(begin=lambda env: (begin_anew(env), setattr(env, "around", Holder([OLD])))),
                               "Other.around lives on over a reset"),
    "in a function": (other(begin=lambda env: (begin_anew(env), setattr(env, "around", lambda: 3))), ""),
    "in what a function closes over": (other(begin=lambda env: (begin_anew(env), setattr(env, "around", closing(OLD)))),
                                       "Other.around lives on over a reset"),
    "as a function's object": (other(begin=lambda env: (begin_anew(env), setattr(env, "around", OLD.where))),
                               "Other.around lives on over a reset"),
    "as a function's argument": (other(begin=lambda env: (begin_anew(env), setattr(env, "around", partial(id, OLD)))),
                                 "Other.around lives on over a reset"),
    "in an array made anew": (other(begin=lambda env: (begin_anew(env), setattr(env, "around", objects(OLD)))),
                              "Other.around lives on over a reset"),
    "in a queue made anew": (other(begin=lambda env: (begin_anew(env), setattr(env, "around", deque([OLD])))),
                             "Other.around lives on over a reset"),
    "in a slot": (other(begin=lambda env: (begin_anew(env), setattr(env, "around", Slot(OLD)))),
                  "Other.around lives on over a reset"),
    "by default": (other(begin=lambda env: (begin_anew(env), setattr(env, "around", lambda one=OLD: one))),
                   "Other.around lives on over a reset"),
    "too deep": (other(begin=lambda env: (begin_anew(env), setattr(env, "around", nested(12)))),
                 "Other.around holds too much to be looked through"),
    "in the inner of two": (lambda: Around(Around(Pushed(), OLD), None), "Around.around lives on over a reset"),
    "carried on": (other(begin=carries_on), ELSEWHERE),
    "frozen settings": (other(begin=keeps(Settings(3))), ""),
    "statistics of episodes": (lambda: gym.wrappers.RecordEpisodeStatistics(Pushed()), ""),
    "made in the first reset alone": (other(begin=maps_once), ""),
    "a generator of its own": (other(begin=has_its_own),
                               ELSEWHERE),
    "no seed": (other(begin=lambda env: setattr(env, "engine", Engine(np.random.normal()))),
                ELSEWHERE),
    "a clock": (other(begin=lambda env: setattr(env, "engine", Engine(next(COUNT)))),
                ELSEWHERE),
    "a first look by chance": (other(reset=looks_around), ELSEWHERE),
    "a reward by chance": (other(step=lambda env, action: (np.zeros(1), np.random.normal(), False, False, {})),
                           ELSEWHERE),
    "a number by chance that nobody sees": (
        other(begin=lambda env: (begin_anew(env), setattr(env, "wind", np.random.normal()))), ELSEWHERE),
    "a generator by chance inside": (other(begin=holds_by_chance(np.random.default_rng)), ELSEWHERE),
    "an array by chance inside": (other(begin=holds_by_chance(lambda: np.random.normal(size=2))), ELSEWHERE),
    "a first episode that it does not know of": (other(begin=welcomes), ELSEWHERE),
    "one that breaks": (other(step=None), "replaying its actions: restoring it raised TypeError"),
}  # fmt: skip


@pytest.mark.parametrize("name", TRIED)
def test_what_can_be_played_again(name: str) -> None:
    make, why = TRIED[name]
    assert snapshot.can_restore(make) is not None
    assert (replayed.why_not(make) or "") == why


@pytest.mark.parametrize("name", [name for name, (_, why) in TRIED.items() if not why])
def test_it_comes_back_at_any_moment(name: str) -> None:
    """Of late episodes: at its reset, after a step, and later; also where actions are numbers of Python's."""
    make, _ = TRIED[name]
    for at, plain, is_first in itertools.product((0, 1, 2, 7), (False, True), (False, True)):
        first, second = Replayed(make()), Replayed(make())
        first.reset(seed=4)
        if not is_first:
            go_on(first, 60, at)
            first.reset()
        for _ in range(at):
            first.step(1 if plain else np.int64(1))
        second.reset(seed=0)
        second.set_state(checkpoint.as_loaded(first.get_state()))
        assert go_on(second, 80, 2) == go_on(first, 80, 2)


def test_an_action_comes_back_as_it_was_given() -> None:
    class Last(Pushed):
        def step(self, action: Any) -> Any:
            self.last = action
            return super().step(action)

    for action in (1, np.int64(1), np.array(1), np.int32(2)):
        first, second = Replayed(Last()), Replayed(Last())
        for env in (first, second):
            env.reset(seed=1)
        first.step(action)
        first.step(action)
        second.set_state(checkpoint.as_loaded(first.get_state()))
        assert type(second.unwrapped.last) is type(action)  # type: ignore[attr-defined]
    given = np.array(1)
    first, second = Replayed(Pushed()), Replayed(Pushed())
    for env in (first, second):
        env.reset(seed=1)
    for number in (2, 1, 0):
        given[...] = number  # as from a buffer that is written over
        first.step(given)
    second.set_state(checkpoint.as_loaded(first.get_state()))
    first.step(np.float32(1))
    with pytest.raises(snapshot.NotNow, match="its actions are not numbers or arrays of one kind"):
        first.get_state()


def test_tables_and_sets_filled_in_another_order_are_the_same() -> None:
    """As they are in another process, whose hashes of texts are others."""

    class Doors(Pushed):
        def begin(self) -> None:
            super().begin()
            self.doors = {name: [0] for name in NAMES}
            self.seen = set(NAMES)

    states = []
    for names in (["red", "green", "blue"], ["blue", "red", "green"]):
        NAMES[:] = names
        env = Replayed(Doors())
        env.reset(seed=1)
        states.append(env.get_state())
    assert states[0]["found"] == states[1]["found"]


NAMES: list[str] = []


def test_what_does_not_come_to_where_it_was_is_refused() -> None:
    first, second = Replayed(Pushed()), Replayed(Pushed())
    first.reset(seed=1)
    go_on(first, 9, 1)
    state = checkpoint.as_loaded(first.get_state())
    second.reset(seed=0)
    second.set_state(state)
    assert second.get_state()["found"] == state["found"]
    taken = state["actions"]["taken"]
    for changed in ({"actions": {"taken": taken[:-1], "kind": "scalar"}}, {"seed": 2}, {"met": ""}, {"found": ""}):
        with pytest.raises(snapshot.Unrestorable, match="Pushed does not come to where it was by the actions"):
            second.set_state({**state, **changed})
    broken = Replayed(other(step=None)())
    broken.reset(seed=0)
    with pytest.raises(snapshot.Unrestorable, match=r"Other raised TypeError: .* on its way again"):
        broken.set_state(state)


def test_an_episode_with_too_many_actions_has_no_state_until_the_next_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replayed, "LONGEST", 5)
    env = Replayed(other(step=lambda env, action: (np.zeros(1), 0.0, False, False, {}))())
    with pytest.raises(snapshot.NotNow, match="it has not begun"):
        env.get_state()
    env.reset(seed=1)
    for _ in range(5):
        env.step(1)
    assert len(env.get_state()["actions"]["taken"]) == 5
    env.step(1)
    with pytest.raises(snapshot.NotNow, match="Other gives no state now: its episode is longer than 5 steps"):
        env.get_state()
    env.reset()
    assert len(env.get_state()["actions"]["taken"]) == 0
    env.reset(options={"low": 0})
    with pytest.raises(snapshot.NotNow, match="its reset had options"):
        env.get_state()


def test_a_checkpoint_in_too_long_an_episode_is_told_and_the_next_ones_have_their_state(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    source = """
    import gymnasium as gym

    class Engine:
        t = 0

    class Long(gym.Env):
        observation_space, action_space = gym.spaces.Discrete(71), gym.spaces.Discrete(2)

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            self.engine = Engine()
            return 0, {}

        def step(self, action):
            self.engine.t += 1
            return self.engine.t, 0.0, False, self.engine.t == 70, {}
    """
    (tmp_path / "long.py").write_text(textwrap.dedent(source))
    monkeypatch.setattr(replayed, "LONGEST", 60)
    outcome = runs.begin("r", "--env", f"{tmp_path / 'long.py'}:Long", "--agent", "random", "--seed", "3",
                         "--num-envs", "1", "--checkpoint-every", "65", "--total-timesteps", "150")  # fmt: skip
    what = "Long gives no state now: its episode is longer than 60 steps"
    assert f"{what}: a resume from env step 65 begins new episodes\n" in outcome.out
    kept = [checkpoint.load(path) for path in sorted((runs.folder / "r/seeds/3/checkpoints").iterdir())]
    assert [(about["env_step"], about["keeps_env"], state["env"] is not None) for state, about in kept] == [
        (130, True, True), (150, True, True)]  # fmt: skip


def test_a_resume_that_does_not_come_to_where_it_was_begins_new_episodes_and_says_so(
    runs: Runs, stopped_at: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where another version of Box2D was installed meanwhile; a trainer's rollout cannot be cut so."""
    flags = ("--env", "LunarLander-v3", "--seed", "3", "--learning-starts", "60")
    stopped_at(80, "ours", *flags, "--agent", "dqn")
    stopped_at(80, "theirs", *flags, "--agent", "sb3:dqn")
    monkeypatch.setattr(Replayed, "_found", lambda env: "elsewhere")
    what = "LunarLander does not come to where it was by the actions that it took"
    ours = runs.resume("ours")
    assert ours.status == 0
    assert f"new episodes begin at env step 80, as {what}: from here on it is not what it would have" in ours.out
    assert f"sb3:dqn as it is here cannot go on from it: {what}; with" in runs.resume("theirs").problem
