"""One semantics for every form that an environment comes in, and its state as plain data."""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode

from rlrepro import checkpoint, snapshot
from rlrepro.agent import Setup
from rlrepro.contract import check_contract, check_wrappers
from rlrepro.envs.classic_control import CartPole
from rlrepro.errors import Problem, RunStopped
from rlrepro.group import is_out_of_memory
from rlrepro.plugins.environments import find_env
from rlrepro.plugins.importing import installed
from rlrepro.streams import env_seed
from rlrepro.trainer import RecordedEnv
from rlrepro.vector import (
    EnvBatch,
    EnvironmentFailed,
    SyncEnvBatch,
    VectorAsSingle,
    VectorEnv,
    check_actions,
    check_numbers,
    to_env,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*(out of date|precision lowered)")

Make = Callable[[], gym.Env[Any, Any]]
MODES = tuple(AutoresetMode)
OBSERVATION = Box(0, 10, (3,), np.float32)
ACTION = Discrete(2)


class Game:
    """An episode of 1 to 6 steps: odd ones are terminated, even ones truncated.

    Observations are its length, the step, and a number drawn in that step.
    """

    def __init__(self) -> None:
        self.rng = seeding.np_random(0)[0]
        self.length = self.count = 0

    def begin(self, seed: int | None) -> np.ndarray:
        if seed is not None:
            self.rng = seeding.np_random(seed)[0]
        self.length, self.count = int(self.rng.integers(1, 7)), 0
        return self.look()

    def look(self) -> np.ndarray:
        return np.array([self.length, self.count, self.rng.random()], np.float32)

    def move(self, action: int) -> tuple[np.ndarray, float, bool, bool]:
        assert self.count < self.length, "a step after the end"
        self.count += 1
        over, odd = self.count == self.length, self.length % 2 == 1
        return self.look(), 10.0 * self.count + action, over and odd, over and not odd


class SingleGame(gym.Env[np.ndarray, int]):
    observation_space, action_space = OBSERVATION, ACTION

    def __init__(self) -> None:
        self.game = Game()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        return self.game.begin(seed), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        return *self.game.move(int(action)), {}


class VectorGame(gym.vector.VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """Games side by side, in each of Gymnasium's autoreset modes."""

    def __init__(self, num_envs: int, mode: AutoresetMode) -> None:
        self.num_envs, self.metadata = num_envs, {"autoreset_mode": mode}
        self.single_observation_space, self.single_action_space = OBSERVATION, ACTION
        self.observation_space = gym.vector.utils.batch_space(OBSERVATION, num_envs)
        self.action_space = gym.vector.utils.batch_space(ACTION, num_envs)
        self.mode, self.games = mode, [Game() for _ in range(num_envs)]
        self.over = np.zeros(num_envs, bool)
        self.obs = np.zeros((num_envs, 3), np.float32)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        chosen = (options or {}).get("reset_mask", np.ones(self.num_envs, bool))
        seeds = seed if isinstance(seed, Sequence) else [None if seed is None else seed + i for i in range(100)]
        for i in np.flatnonzero(chosen):
            self.obs[i] = self.games[i].begin(seeds[i])
        self.over[chosen] = False
        return self.obs.copy(), {}

    def step(self, actions: np.ndarray) -> tuple[Any, ...]:
        num, info = self.num_envs, {}
        reward, terminated, truncated = np.zeros(num), np.zeros(num, bool), np.zeros(num, bool)
        for i, game in enumerate(self.games):
            if self.over[i] and self.mode == AutoresetMode.NEXT_STEP:
                self.obs[i] = game.begin(None)  # a step that only resets
            else:
                self.obs[i], reward[i], terminated[i], truncated[i] = game.move(int(actions[i]))
        self.over = terminated | truncated
        if self.mode == AutoresetMode.SAME_STEP and self.over.any():
            final = np.full(num, None, object)
            for i in np.flatnonzero(self.over):
                final[i] = self.obs[i].copy()
                self.obs[i] = self.games[i].begin(None)
            info = {"final_obs": final, "_final_obs": self.over.copy()}
        return self.obs.copy(), reward, terminated, truncated, info


@pytest.fixture(autouse=True)
def games() -> Iterator[None]:
    """`Game-<mode>-v0`: ids that have nothing but a vector form."""
    ids = [f"Game-{mode.name}-v0" for mode in MODES]
    for gym_id, mode in zip(ids, MODES, strict=True):
        gym.register(gym_id, vector_entry_point=VectorGame, kwargs={"mode": mode})
    yield
    for gym_id in ids:
        del gym.registry[gym_id]


def play(batch: EnvBatch, seeds: Sequence[int], num_envs: int, num_steps: int) -> dict[str, np.ndarray]:
    """Every field of the transitions `[T, S, N, ...]`, and `following`, the observations to act on next.

    The actions of a sub-environment depend on its seed and place alone, and leave a Box now and then.
    """
    env = VectorEnv(batch, seeds, num_envs)
    env.reset()
    return go_on(env, num_steps)


def go_on(env: VectorEnv, num_steps: int) -> dict[str, np.ndarray]:
    space, seeds, num_envs = env.action_space, env.seeds, env.num_envs
    rows: list[dict[str, np.ndarray]] = []
    for t in range(env.env_step // num_envs, env.env_step // num_envs + num_steps):
        rngs = [[np.random.default_rng((seed, n, t)) for n in range(num_envs)] for seed in seeds]
        if isinstance(space, Discrete):
            action = np.array([[rng.integers(space.n) for rng in row] for row in rngs])
        else:
            assert isinstance(space, Box)
            action = np.array([[1.5 * rng.uniform(space.low, space.high) for rng in row] for row in rngs], space.dtype)
        transition, following = env.step(action, {})
        rows.append({**transition._asdict(), "following": following})
    return {name: np.stack([row[name] for row in rows]) for name in rows[0] if name != "extras"}


def assert_same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    for name, values in one.items():
        assert values.dtype == other[name].dtype, name
        np.testing.assert_array_equal(values, other[name], name)


def of_seed(played: dict[str, np.ndarray], row: int) -> dict[str, np.ndarray]:
    return {name: values[:, row : row + 1] for name, values in played.items()}


# --- one semantics


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_every_autoreset_mode_gives_the_transitions_of_single_environments(mode: AutoresetMode) -> None:
    singles = play(SyncEnvBatch(SingleGame, 4), (3, 7), 2, 80)
    vector = play(find_env(f"Game-{mode.name}-v0").batch(4), (3, 7), 2, 80)
    assert_same(vector, singles)


@pytest.mark.parametrize("form", ["singles", *(mode.name for mode in MODES)])
def test_next_obs_is_the_end_of_the_episode_and_obs_the_beginning_of_the_one_after(form: str) -> None:
    batch = SyncEnvBatch(SingleGame, 4) if form == "singles" else find_env(f"Game-{form}-v0").batch(4)
    played = play(batch, (3, 7), 2, 80)
    length, count = played["next_obs"][..., 0], played["next_obs"][..., 1]
    ended = played["terminated"] | played["truncated"]
    assert ended.any((0, 1)).all()
    # Each transition is one move of one game, so none is a reset.
    np.testing.assert_array_equal(count, played["obs"][..., 1] + 1)
    np.testing.assert_array_equal(length, played["obs"][..., 0])
    np.testing.assert_array_equal(played["reward"], 10 * count + played["action"])
    np.testing.assert_array_equal(ended, count == length)
    np.testing.assert_array_equal(played["terminated"], ended & (length % 2 == 1))
    np.testing.assert_array_equal(played["following"][ended][:, 1], 0)
    np.testing.assert_array_equal(played["following"][~ended], played["next_obs"][~ended])
    np.testing.assert_array_equal(played["obs"][1:], played["following"][:-1])


class Parts(gym.Env[Any, int]):
    """Observations of several parts, drawn anew each step; five steps an episode."""

    action_space = gym.spaces.Discrete(2)
    SPACES: ClassVar[dict[str, gym.Space[Any]]] = {
        "tuple": gym.spaces.Tuple((gym.spaces.Discrete(3), gym.spaces.Discrete(9))),
        "dict": gym.spaces.Dict(a=gym.spaces.Box(-1, 1, (2,), np.float32), b=gym.spaces.Discrete(3)),
    }

    def __init__(self, kind: str) -> None:
        self.observation_space = self.SPACES[kind]

    def look(self) -> Any:
        draw = self.np_random
        if isinstance(self.observation_space, gym.spaces.Tuple):
            return int(draw.integers(3)), int(draw.integers(9))
        return {"a": draw.uniform(-1, 1, 2).astype(np.float32), "b": int(draw.integers(3))}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.count = 0
        return self.look(), {}

    def step(self, action: int) -> Any:
        self.count += 1
        return self.look(), 1.0, self.count == 5, False, {}


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
@pytest.mark.parametrize(("kind", "wrappers"), [("tuple", ()), ("dict", ("FlattenObservation",))])
def test_a_vector_environment_of_several_parts_is_that_of_single_ones(
    mode: AutoresetMode, kind: str, wrappers: tuple[str, ...]
) -> None:
    def vector(num_envs: int) -> Any:
        return gym.vector.SyncVectorEnv([lambda: Parts(kind)] * num_envs, autoreset_mode=mode)

    gym.register("Parts-v0", vector_entry_point=vector)
    try:
        check_contract(find_env("Parts-v0").make(), "Parts-v0")
        given = play(find_env("Parts-v0", {}, wrappers).batch(4), (3, 7), 2, 30)
        assert_same(given, play(find_env(f"{__name__}:Parts", {"kind": kind}, wrappers).batch(4), (3, 7), 2, 30))
    finally:
        del gym.registry["Parts-v0"]


def test_what_a_same_step_autoreset_began_is_taken_unless_a_seed_or_options_are_given() -> None:
    def ended() -> tuple[gym.Env[Any, Any], SingleGame]:
        """Two environments at the end of one and the same episode."""
        pair = (
            VectorAsSingle(lambda: VectorGame(1, AutoresetMode.SAME_STEP), gym.spec("Game-SAME_STEP-v0")),
            SingleGame(),
        )
        over = False
        for env in pair:
            env.reset(seed=5)
        while not over:
            (mine, *given), (other, *expected) = (env.step(1) for env in pair)
            np.testing.assert_array_equal(mine, other)
            assert given[:3] == expected[:3]
            over = given[1] or given[2]
        return pair

    vector, single = ended()
    begun = single.reset()[0]
    np.testing.assert_array_equal(vector.reset()[0], begun)
    vector, single = ended()
    np.testing.assert_array_equal(vector.reset(seed=9)[0], SingleGame().reset(seed=9)[0])
    vector, single = ended()
    single.reset()
    np.testing.assert_array_equal(vector.reset(options={"level": 2})[0], single.reset()[0])


def test_a_vector_environment_is_told_the_time_limit_of_its_id() -> None:
    class Limited(VectorGame):
        def __init__(self, num_envs: int, max_episode_steps: int) -> None:
            super().__init__(num_envs, AutoresetMode.DISABLED)
            self.limit = max_episode_steps

        def step(self, actions: np.ndarray) -> tuple[Any, ...]:
            obs, reward, _, _, info = super().step(actions)
            return obs, reward, np.zeros(1, bool), obs[:, 1] == self.limit, info

    gym.register("Limited-v0", vector_entry_point=Limited, max_episode_steps=1)
    try:
        assert play(find_env("Limited-v0").batch(1), (0,), 1, 5)["truncated"].all()
        assert find_env("Limited-v0", {}, ("TimeFraction",)).time_limit() == 1
    finally:
        del gym.registry["Limited-v0"]


@pytest.mark.parametrize("gym_id", installed("batched_envs"))
def test_the_batched_form_gives_the_transitions_of_single_environments(gym_id: str) -> None:
    source = find_env(gym_id, {"max_episode_steps": 37})
    assert not isinstance(source.batch(4), SyncEnvBatch)
    assert_same(play(source.batch(4), (3, 7), 2, 150), play(SyncEnvBatch(source.make, 4), (3, 7), 2, 150))


@pytest.mark.parametrize("wrappers", [(), ("FlattenObservation",)], ids=["batched", "singles"])
def test_a_time_limit_truncates_and_does_not_terminate(wrappers: tuple[str, ...]) -> None:
    source = find_env("Pendulum-v1", {"max_episode_steps": 7}, wrappers)
    assert source.is_batched == (not wrappers)
    played = play(source.batch(2), (5,), 2, 30)
    expected = np.broadcast_to((np.arange(30) % 7 == 6)[:, None, None], (30, 1, 2))
    np.testing.assert_array_equal(played["truncated"], expected)
    assert not played["terminated"].any()
    assert (played["following"][expected] != played["next_obs"][expected]).any(-1).all()


def test_an_end_at_the_time_limit_is_both_terminated_and_truncated() -> None:
    played = play(SyncEnvBatch(lambda: gym.wrappers.TimeLimit(SingleGame(), 5), 2), (3,), 2, 80)
    both = played["terminated"] & played["truncated"]
    np.testing.assert_array_equal(both, (played["next_obs"][..., :2] == 5).all(-1))
    assert both.any()


# --- actions


class Told(gym.Env[np.ndarray, Any]):
    """Keeps the actions that it is given."""

    observation_space = Box(-1, 1, (1,), np.float32)

    def __init__(self, action_space: gym.Space[Any]) -> None:
        self.action_space = action_space
        self.told: list[Any] = []

    def reset(self, **_: Any) -> tuple[np.ndarray, dict[str, Any]]:
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action), repr(action)
        self.told.append(action)
        return np.zeros(1, np.float32), 0.0, False, False, {}


def tell(space: gym.Space[Any], action: np.ndarray) -> tuple[list[Any], np.ndarray]:
    """What the environments were told of an action `[2, 1, ...]`, and what the transition keeps."""
    batch = SyncEnvBatch(partial(Told, space), 2)
    env = VectorEnv(batch, (0, 1), 1)
    env.reset()
    kept = env.step(action, {})[0].action
    return [one.told[0] for one in batch.envs], kept  # type: ignore[attr-defined]


class Lives(gym.Env[np.ndarray, Any]):
    """Each step pays 1. What to learn from: twice that, an end after step 2, and none when the game is over at 4."""

    observation_space, action_space = gym.spaces.Box(0, 9, (1,)), gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self.count = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> Any:
        self.count += 1
        obs, over = np.full(1, self.count, np.float32), self.count == 4
        return obs, 1.0, over, False, {"learn": (2.0, self.count == 2)}


def test_what_to_learn_from_is_told_apart_from_what_the_environment_did() -> None:
    env = VectorEnv(SyncEnvBatch(Lives, 1), (0,), 1)
    env.reset()
    own, learnt, obs = [], [], []
    for _ in range(5):
        transition, following = env.step(np.zeros((1, 1), np.int64), {})
        ended = env.ended is not None and bool(env.ended.any())
        own.append((float(env.reward[0, 0]), bool(env.terminated[0, 0]), bool(env.truncated[0, 0]), ended))
        told = transition.reward, transition.terminated, transition.truncated
        learnt.append(tuple(part[0, 0].item() for part in told))
        obs.append(float(following[0, 0, 0]))
    assert own == [(1.0, over, False, over) for over in (False, False, False, True, False)]
    # The game goes on after the end at 2. Its own end at 4 is not learnt, but no episode runs through it.
    ends = [(False, False), (True, False), (False, False), (False, True), (False, False)]
    assert learnt == [(2.0, *end) for end in ends]
    assert obs == [1.0, 2.0, 3.0, 0.0, 1.0]


def test_an_algorithm_with_its_own_loop_is_told_the_same() -> None:
    class Ledger:
        setup = Setup(gym.spaces.Box(0, 1), gym.spaces.Discrete(2), (0,), 1, 1000)

        def __init__(self) -> None:
            self.episodes: list[tuple[float, int, bool, bool]] = []

        def ended(self, index: int, *told: Any) -> None:
            self.episodes.append(told)

        def stepped(self) -> None: ...

    ledger = Ledger()
    env = RecordedEnv(Lives(), 0, ledger)  # type: ignore[arg-type]
    env.reset()
    learnt = [env.step(0)[1:4] for _ in range(2)]
    assert env.reset()[0][0] == 2.0  # the same game
    learnt += [env.step(0)[1:4] for _ in range(2)]
    assert env.reset()[0][0] == 0.0
    assert learnt == [(2.0, False, False), (2.0, True, False), (2.0, False, False), (2.0, False, True)]
    assert ledger.episodes == [(4.0, 4, True, False)]


def test_box_actions_are_clipped_for_the_environment_and_kept_as_chosen() -> None:
    space = Box(np.array([-1, -np.inf], np.float32), np.array([2, np.inf], np.float32))
    chosen = np.array([[[5, 1e9]], [[-3, 0.5]]], np.float32)
    told, kept = tell(space, chosen)
    np.testing.assert_array_equal(told, np.array([[2, 1e9], [-1, 0.5]], np.float32))
    np.testing.assert_array_equal(kept, [[[5, 1e9]], [[-3, 0.5]]])


def test_one_function_makes_an_agent_s_actions_the_environment_s() -> None:
    box = Box(np.array([-1, 0], np.float32), np.array([2, np.inf], np.float32))
    chosen = np.array([[5, -9], [-3, 0.5]], np.float32)
    for given in (chosen[0], chosen, chosen[None]):  # of one environment, or with axes before
        np.testing.assert_array_equal(to_env(given, box), np.clip(given, box.low, box.high))
    assert to_env(np.array(2), Discrete(3, start=-7)) == -5
    for kind, start in ((np.int8, 100), (np.uint8, -1)):  # 199 is no int8, and -1 no uint8
        assert to_env(np.array([0, 99], kind), Discrete(100, start=start)).tolist() == [start, 99 + start]
    few = gym.spaces.MultiDiscrete([2, 3], start=[1, 1])
    assert to_env(np.array([1, 3]), few).tolist() == [1, 3]  # these are counted as the space counts them


def test_actions_are_rounded_to_a_box_of_whole_numbers() -> None:
    found = to_env(np.array([[0.9], [1.6], [9.0]]), Box(0, 3, (1,), np.int32))
    assert (found.dtype, found.ravel().tolist()) == (np.int32, [1, 2, 3])


def test_discrete_actions_are_counted_from_the_start_of_the_space() -> None:
    told, kept = tell(Discrete(3, start=-7), np.array([[0], [2]]))
    assert told == [-7, -5]
    np.testing.assert_array_equal(kept, [[0], [2]])


@pytest.mark.parametrize("space", [gym.spaces.MultiDiscrete([2, 3]), gym.spaces.MultiBinary(2)], ids=str)
def test_other_action_spaces_do_not_stop_the_environment_from_being_built(space: gym.Space[Any]) -> None:
    assert VectorEnv(SyncEnvBatch(partial(Told, space), 1), (0,), 1).action_space == space


# --- streams

FORMS: dict[str, Callable[[int], EnvBatch]] = {
    "singles": partial(SyncEnvBatch, SingleGame),
    "batched": lambda num: find_env("CartPole-v1").batch(num),
    **{mode.name: lambda num, mode=mode: find_env(f"Game-{mode.name}-v0").batch(num) for mode in MODES},
}


@pytest.mark.parametrize("form", FORMS)
def test_a_seed_alone_and_among_others_sees_the_same_episodes(form: str) -> None:
    among = play(FORMS[form](6), (0, 3, 7), 2, 60)
    assert_same(play(FORMS[form](2), (3,), 2, 60), of_seed(among, 1))
    for row, column in ((0, 0), (1, 1), (2, 0)):
        assert (among["obs"][:, row, column] != among["obs"][:, 1, 0]).any(), "two sub-environments share a stream"


@pytest.mark.parametrize("form", FORMS)
def test_a_sub_environment_sees_the_same_episodes_however_many_its_seed_has(form: str) -> None:
    three = play(FORMS[form](3), (3,), 3, 60)
    one = play(FORMS[form](1), (3,), 1, 60)
    assert_same(one, {name: values[:, :, :1] for name, values in three.items()})


def test_the_stream_of_a_sub_environment_is_that_of_its_derived_seed() -> None:
    env = VectorEnv(SyncEnvBatch(SingleGame, 2), (3,), 2)
    expected = [SingleGame().reset(seed=env_seed(3, "env", n))[0] for n in range(2)]
    np.testing.assert_array_equal(env.reset()[0], expected)


def test_episodes_begun_anew_depend_on_the_seed_and_the_step_alone() -> None:
    def anew(seeds: Sequence[int], step: int) -> np.ndarray:
        env = VectorEnv(SyncEnvBatch(SingleGame, 2 * len(seeds)), seeds, 2)
        before = env.reset()
        env.begin_anew(step)
        assert (env.obs != before).any((1, 2)).all()
        return env.obs

    np.testing.assert_array_equal(anew((3,), 50)[0], anew((0, 3, 7), 50)[1])
    assert (anew((3,), 50) != anew((3,), 60)).any()


# --- failures


class Fragile(SingleGame):
    """Fails in the given way, if it is the one, in its second step or in the reset."""

    made = 0

    def __init__(self, which: int, how: str) -> None:
        super().__init__()
        self.how = how if Fragile.made == which else ""
        Fragile.made += 1
        self.steps = 0

    def reset(self, **options: Any) -> tuple[np.ndarray, dict[str, Any]]:
        if self.how == "reset":
            raise OSError("no licence\nsee the manual")
        if self.how == "bare":
            return super().reset(**options)[0]  # type: ignore[return-value]
        return super().reset(**options)

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        obs = np.array([6, self.steps, 0], np.float32)
        if self.steps == 2:
            if self.how == "step":
                raise ZeroDivisionError("float division by zero")
            if self.how == "exit":
                raise SystemExit(3)
            if self.how == "four":
                return obs, 0.0, False, {}  # type: ignore[return-value]
            if self.how == "six":
                return obs, 0.0, False, False, {}, {}  # type: ignore[return-value]
            if self.how == "nothing":
                obs = None  # type: ignore[assignment]
            if self.how == "no info":
                return obs, 0.0, False, False, None  # type: ignore[return-value]
            if self.how == "obs":
                obs[1] = np.inf
            if self.how == "shape":
                obs = np.zeros(4, np.float32)
            if self.how == "spread":  # NumPy would fill the row with it
                obs = np.ones(1, np.float32)
        given = {"reward": np.nan, "huge": -1e39, "none": None, "text": "much"}
        reward: Any = given.get(self.how, 0.0) if self.steps == 2 else 0.0
        return obs, reward, False, False, {}


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("reset", "raised OSError: no licence in reset"),
        ("step", "raised ZeroDivisionError: float division by zero in step"),
        ("exit", "raised SystemExit: 3 in step"),
        ("bare", "raised TypeError: (observation, info) is expected, not a ndarray in reset"),
        ("four", "raised ValueError: not enough values to unpack (expected 5, got 4) in step"),
        ("six", "raised ValueError: too many values to unpack (expected 5"),
        ("nothing", "gave an observation of shape [], not [3]"),
        ("no info", "raised TypeError: argument of type 'NoneType'"),
        ("shape", "gave an observation of shape [4], not [3] ("),
        ("spread", "gave an observation of shape [1], not [3] ("),
        ("reward", "gave the reward nan"),
        ("none", "gave the reward None"),
        ("text", "raised ValueError: could not convert string to float: 'much' in step"),
        ("huge", "gave the reward -1e+39, beyond 3.40282e+38 ("),
        ("obs", "gave an observation with NaN or infinity"),
    ],
)
def test_a_sub_environment_that_fails_is_named_with_its_seed_in_one_line(how: str, words: str) -> None:
    Fragile.made = 0
    env = VectorEnv(SyncEnvBatch(partial(Fragile, 3, how), 4), (3, 7), 2, "Fragile-v0")

    def run() -> None:
        env.reset()
        for _ in range(3):
            env.step(np.zeros((2, 2), int), {})

    with pytest.raises(RunStopped) as stopped:
        run()
    line = str(stopped.value)
    assert line.startswith("Fragile-v0 ")
    assert words in line
    assert line.endswith("(seed 7, sub-environment 1)")
    assert "\n" not in line
    assert env.env_step == (0 if how in ("reset", "bare") else 2)  # a step that failed does not count

    # An algorithm with its own loop is told the same, word for word.
    Fragile.made = 0
    setup = Setup(SingleGame.observation_space, SingleGame.action_space, (7,), 2, 1000)
    training = SimpleNamespace(setup=setup, name="Fragile-v0", stepped=lambda: None)
    alone = RecordedEnv(Fragile(0, how), 1, training)  # type: ignore[arg-type]

    def run_alone() -> None:
        alone.reset()
        for _ in range(2):
            alone.step(0)

    with pytest.raises(RunStopped) as stopped:
        run_alone()
    assert str(stopped.value) == line


@pytest.mark.parametrize(
    ("kind", "number", "words"),
    [
        (np.float64, -1e39, "1e+39, beyond 3.40282e+38"),
        (np.float32, np.inf, "NaN or infinity"),
        (np.float16, np.nan, "NaN or infinity"),
        (np.float16, -np.inf, "NaN or infinity"),
        (np.float32, np.finfo(np.float32).max, ""),  # as some say that there is no reading
    ],
)
def test_an_observation_that_float32_does_not_hold_is_refused(kind: Any, number: float, words: str) -> None:
    obs, reward = np.zeros((3, 2), kind), np.zeros(3)
    obs[1, 0] = number
    if not words:
        check_numbers(obs, reward)
        return
    with pytest.raises(EnvironmentFailed, match=re.escape(f"gave an observation with {words}")) as failure:
        check_numbers(obs, reward)
    assert failure.value.index == 1
    check_numbers(obs, reward, active=np.array([True, False, True]))
    check_numbers(np.zeros((3, 0), kind), np.full(3, 1e30))  # of which nothing is observed


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.float16])
def test_an_infinite_reward_of_any_type_is_refused(kind: Any) -> None:
    with pytest.raises(EnvironmentFailed, match="gave the reward inf") as failure:
        check_numbers(np.zeros((3, 2), np.float32), np.array([1, 2, np.inf], kind))
    assert failure.value.index == 2


class Rooms(gym.Env[Any, int]):
    """Gives 2 (of bits 0), a valid observation, and then what it is told to."""

    action_space = Discrete(2)

    def __init__(self, space: gym.Space[Any], then: Any) -> None:
        self.observation_space, self.then = space, then

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        first = 0 if isinstance(self.observation_space, MultiBinary) else 2
        return np.full(self.observation_space.shape or (), first), {}

    def step(self, action: int) -> Any:
        return self.then, 0.0, False, False, {}


@pytest.mark.parametrize(
    ("space", "inside", "outside"),
    [
        (Discrete(5), [0, 4, np.int64(4)], [-1, 5, np.int64(-2), 2.5, np.float32(2), None, "2"]),
        (MultiBinary(2), [np.array([1, 0], np.int8)], [np.array([2, 0]), np.array([0.0, 1.0])]),
        (Discrete(5, start=2), [2, 6], [0, 1, 7]),
        (MultiDiscrete([3, 4]), [np.array([2, 3]), [0, 0]], [np.array([3, 0]), np.array([0, -1]), [0, 4]]),
        (MultiDiscrete([3, 4], start=[1, 2]), [np.array([3, 5])], [np.array([0, 2]), np.array([1, 6])]),
    ],
    ids=str,
)
def test_an_observation_that_stands_for_no_row_is_not_learnt(
    space: gym.Space[Any], inside: list[Any], outside: list[Any]
) -> None:
    """Later than the first checks of the contract; −1 would be learnt as the last row of a table."""
    for then in (*inside, *outside):  # a float would be cut to another row
        env = VectorEnv(SyncEnvBatch(partial(Rooms, space, then), 2), (3, 7), 1, "Rooms-v0")
        env.reset()
        if any(then is one for one in inside):
            transition, _ = env.step(np.zeros((2, 1), int), {})
            assert (transition.next_obs == then).all()
            continue
        with pytest.raises(RunStopped) as stopped:
            env.step(np.zeros((2, 1), int), {})
        line = f"Rooms-v0 gave the observation {np.asarray(then)}, which is not in {space} (seed 3, sub-environment 0)"
        assert str(stopped.value) == line


# --- contract


class Sound(gym.Env[np.ndarray, int]):
    observation_space: gym.Space[Any] = Box(-1, 1, (2,), np.float32)
    action_space: gym.Space[Any] = Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        return self.look(), {}

    def look(self) -> Any:
        return self.np_random.uniform(-1, 1, 2).astype(np.float32)

    def step(self, action: int) -> Any:
        return self.look(), 0.0, False, False, {}


def changed(**methods: Any) -> type[Sound]:
    return type("Changed", (Sound,), methods)


def ignoring_seeds(self: Sound, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
    return self.look(), {}


BROKEN: dict[str, tuple[type[gym.Env[Any, Any]], str]] = {
    "first observation outside the space": (
        changed(look=lambda self: np.full(2, 3, np.float32)),
        r"reset\b.*observation space",
    ),
    "later observation outside the space": (
        changed(step=lambda self, action: (np.full(2, 3, np.float32), 0.0, False, False, {})),
        r"step\b.*observation space",
    ),
    "first observation of another dtype": (changed(look=lambda self: np.zeros(2)), r"reset\b.*float64.*float32"),
    "later observation of another dtype": (
        changed(step=lambda self, action: (np.zeros(2), 0.0, False, False, {})),
        r"step\b.*float64.*float32",
    ),
    "later observation of another shape": (
        changed(step=lambda self, action: (np.zeros(3, np.float32), 0.0, False, False, {})),
        r"step\b.*\(3,\).*\(2,\)",
    ),
    "NaN in the first observation": (changed(look=lambda self: np.full(2, np.nan, np.float32)), r"reset\b.*NaN"),
    "reset without info": (changed(reset=lambda self, *, seed=None, options=None: self.look()), r"reset\b.*info"),
    "reset that takes no seed": (changed(reset=lambda self: (self.look(), {})), r"reset.*seed"),
    "reset that ignores the seed": (changed(reset=ignoring_seeds), r"reset\b.*seed"),
    "no step": (changed(step=gym.Env.step), r"no step\(\)"),
    "step with 4 values": (changed(step=lambda self, action: (self.look(), 0.0, False, {})), r"step\b.*\b5\b.*\b4\b"),
    "reward NaN": (
        changed(step=lambda self, action: (self.look(), float("nan"), False, False, {})),
        r"step\b.*reward.*nan",
    ),
    "reward that is text": (changed(step=lambda self, action: (self.look(), "1", False, False, {})), r"reward.*str"),
    "terminated that is no truth value": (
        changed(step=lambda self, action: (self.look(), 0.0, "no", False, {})),
        r"terminated.*(bool|str)",
    ),
    "step without info": (changed(step=lambda self, action: (self.look(), 0.0, False, False, None)), r"info.*step"),
    "no action space": (changed(action_space=None), "action space"),
    "no observation space": (changed(observation_space=None), "observation space"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_contract_is_refused_with_the_rule_named_in_one_line(case: str) -> None:
    form, rule = BROKEN[case]
    with pytest.raises(Problem, match=rule) as refused:
        check_contract(form(), "Mine-v0")
    assert str(refused.value).startswith("Mine-v0 breaks the Gymnasium contract: ")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "make",
    [
        Sound,
        SingleGame,
        lambda: gym.make("FrozenLake-v1"),
        lambda: gym.make("Blackjack-v1"),
        find_env("Pendulum-v1").make,
        *(lambda mode=mode: find_env(f"Game-{mode.name}-v0").make() for mode in MODES),
    ],
    ids=["sound", "game", "FrozenLake", "Blackjack", "Pendulum", *(mode.name for mode in MODES)],
)
def test_a_sound_environment_passes(make: Make) -> None:
    check_contract(make(), "Sound-v0")


class Around(gym.Wrapper[Any, Any, Any, Any]):
    pass


def around(**methods: Any) -> type[Around]:
    return type("Around", (Around,), methods)


def forgetting_seeds(self: Around, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
    return self.env.reset(options=options)


def transposed(self: Around, action: int) -> Any:
    return np.zeros(3, np.float32), *self.env.step(action)[1:]


WRONG_WRAPPERS: dict[str, tuple[type[Around], str]] = {
    "reset without info": (around(reset=lambda self, **kwargs: self.env.reset(**kwargs)[0]), "reset.*info.*ndarray"),
    "reset that takes no seed": (around(reset=lambda self: self.env.reset()), "takes no seed"),
    "reset that forgets the seed": (around(reset=forgetting_seeds), "same seed do not give the same observations"),
    "step with 4 values": (around(step=lambda self, action: self.env.step(action)[:4]), "5 values.* 4"),
    "floats where its space has whole numbers": (
        around(
            observation_space=gym.spaces.Box(0, 255, (2,), np.uint8),
            step=lambda self, action: (np.full(2, 0.5), *self.env.step(action)[1:]),
            reset=lambda self, **kwargs: (np.zeros(2, np.uint8), self.env.reset(**kwargs)[1]),
        ),
        r"step\(\) gives an observation of float64, not uint8",
    ),
    "another shape than its space's": (around(step=transposed), r"\(3,\), not \(2,\)"),
    "reward None": (around(step=lambda self, action: (self.env.step(action)[0], None, False, False, {})), "reward"),
    "one that raises": (around(step=lambda self, action: {}["lost"]), r"raises KeyError: 'lost', test_vector\.py:\d+"),
}


@pytest.mark.parametrize("case", WRONG_WRAPPERS)
def test_a_wrapper_that_breaks_the_contract_is_named(case: str) -> None:
    wrapper, rule = WRONG_WRAPPERS[case]
    inner = partial(gym.wrappers.TimeLimit, max_episode_steps=9)
    layers = [Sound, lambda: inner(Sound()), lambda: wrapper(inner(Sound()))]
    check_wrappers(layers[:2], ["TimeLimit"])
    with pytest.raises(Problem, match=rule) as refused:
        check_wrappers(layers, ["TimeLimit", "Mine"])
    assert str(refused.value).startswith("the wrapper Mine breaks the Gymnasium contract: ")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "name",
    [
        "NormalizeObservation", "NormalizeReward", "ClipAction", "RescaleAction(min_action=-1.0, max_action=1.0)",
        "FrameStackObservation(stack_size=4)", "FlattenObservation", "TimeFraction", "DelayedReward(every=5)",
    ],
)  # fmt: skip
def test_a_sound_wrapper_passes(name: str) -> None:
    bare, wrapped = find_env("Pendulum-v1"), find_env("Pendulum-v1", wrappers=(name,))
    check_wrappers([bare.make, wrapped.make], [name])


class Scaled(gym.ActionWrapper[Any, Any, Any]):
    """Makes its space anew each time that it is asked for."""

    @property
    def action_space(self) -> gym.Space[Any]:
        return Box(-1, 1, (1,), np.float32)

    def action(self, action: Any) -> Any:
        return 2 * action


def test_a_wrapper_that_makes_its_space_anew_passes() -> None:
    make = find_env("Pendulum-v1").make
    check_wrappers([make, lambda: Scaled(make())], ["Scaled"])


@pytest.mark.parametrize(
    ("space", "right", "wrong"),
    [
        (gym.spaces.MultiDiscrete([2, 3], start=[1, 1]), [1, 3], [0, 1]),
        (gym.spaces.MultiDiscrete([2, 3]), [1, 2], [2, 0]),
        (gym.spaces.MultiBinary(2), [1, 0], [2, 0]),
        (Discrete(3, start=5), 2, 3),
    ],
    ids=str,
)
def test_actions_are_held_against_their_space(space: gym.Space[Any], right: Any, wrong: Any) -> None:
    shape = (1, 1, *(space.shape or ()))
    check_actions(np.array([[right]]), shape, space, "act")
    with pytest.raises(Problem, match="the agent's act gives the action"):
        check_actions(np.array([[wrong]]), shape, space, "act")


def test_a_failure_after_an_action_that_is_not_finite_says_so() -> None:
    env = VectorEnv(find_env("Pendulum-v1").batch(2), (3, 7), 1, "Pendulum-v1")
    env.reset()
    with pytest.raises(RunStopped, match=r"reward nan, after an action with NaN or infinity \(seed 7"):
        env.step(np.array([[[0.0]], [[np.nan]]], np.float32), {})


# --- snapshots

PLAIN = ("FrozenLake-v1", "CliffWalking-v1", "Taxi-v4", "Pendulum-v1", "MountainCar-v0")
WRAPPED: dict[str, tuple[str, str]] = {
    wrapper.partition("(")[0]: (env, wrapper)
    for env, wrapper in (
        ("CartPole-v1", "TimeLimit(max_episode_steps=9)"),
        ("CartPole-v1", "FrameStackObservation(stack_size=3)"),
        ("CartPole-v1", "TimeAwareObservation"),
        ("CartPole-v1", "DelayObservation(delay=2)"),
        ("CartPole-v1", "StickyAction(repeat_action_probability=0.5)"),
        ("CartPole-v1", "RecordEpisodeStatistics"),
        ("CartPole-v1", "NormalizeObservation"),
        ("CartPole-v1", "NormalizeReward"),
        ("CartPole-v1", "TimeFraction"),
        ("CartPole-v1", "DelayedReward(every=3)"),
        ("Blackjack-v1", "FlattenObservation"),
        ("Pendulum-v1", "RescaleAction(min_action=-1.0,max_action=1.0)"),
    )
}


def assert_a_saved_copy_goes_on_alike(make: Make, folder: Path) -> None:
    """In the middle of an episode, by way of a checkpoint's file, for many steps and episodes."""
    assert snapshot.can_restore(make) is None
    first = VectorEnv(SyncEnvBatch(make, 2), (3,), 2)
    first.reset()
    go_on(first, 33)
    file = folder / "state.safetensors"
    checkpoint.save(file, checkpoint.split(first.get_state(), 0), {})
    after = go_on(first, 60)

    second = VectorEnv(SyncEnvBatch(make, 2), (3,), 2)
    second.reset()
    second.set_state(checkpoint.join([checkpoint.load(file)[0]]))
    second.env_step = 66
    assert_same(go_on(second, 60), after)


class Walk(Sound):
    """Its spaces are its class's, shared by all; where it goes depends on the actions."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self.place = 0
        return super().reset(seed=seed)

    def look(self) -> Any:
        return np.array([np.sin(self.place), self.np_random.uniform(-1, 1)], np.float32)

    def step(self, action: int) -> Any:
        self.place += int(action)
        return super().step(action)


def test_an_environment_whose_spaces_are_shared_is_restored(tmp_path: Path) -> None:
    assert_a_saved_copy_goes_on_alike(Walk, tmp_path)


@pytest.mark.parametrize("gym_id", PLAIN)
def test_a_plain_environment_is_restored_from_its_attributes(gym_id: str, tmp_path: Path) -> None:
    assert_a_saved_copy_goes_on_alike(lambda: gym.make(gym_id), tmp_path)


@pytest.mark.parametrize("case", WRAPPED)
def test_a_wrapper_is_restored_with_what_it_wraps(case: str, tmp_path: Path) -> None:
    env, wrapper = WRAPPED[case]
    assert_a_saved_copy_goes_on_alike(find_env(env, {}, (wrapper,)).make, tmp_path)


@pytest.mark.parametrize("gym_id", installed("batched_envs"))
def test_a_batched_form_is_restored_in_the_middle_of_its_episodes(gym_id: str) -> None:
    source = find_env(gym_id, {"max_episode_steps": 37})
    first, second = (VectorEnv(source.batch(4), (3, 7), 2) for _ in range(2))
    first.reset()
    go_on(first, 50)
    state = first.get_state()
    after = go_on(first, 60)
    second.set_state(state)
    second.env_step = 100
    assert_same(go_on(second, 60), after)


class Engine:
    """What no one can look into."""

    __slots__ = ("hidden",)

    def __init__(self) -> None:
        self.hidden = 0


class Holder(Sound):
    """An environment that goes on from a count that its engine keeps."""

    def __init__(self) -> None:
        self.engine = Engine()

    def look(self) -> Any:
        self.engine.hidden += 1
        return np.full(2, np.sin(self.engine.hidden), np.float32)


class Offering(Holder):
    """The same, but it gives the engine's count."""

    def get_state(self) -> Any:
        return {"hidden": self.engine.hidden}

    def set_state(self, state: Any) -> None:
        self.engine.hidden = state["hidden"]


class Opaque(Holder):
    """Gives its state as an object."""

    def get_state(self) -> Any:
        engine = Engine()
        engine.hidden = self.engine.hidden
        return engine

    def set_state(self, state: Any) -> None:
        self.engine.hidden = state.hidden


class Forgetful(Offering):
    """Gives less than all."""

    def get_state(self) -> Any:
        return {"hidden": self.engine.hidden // 10}


class Breaking(Offering):
    def set_state(self, state: Any) -> None:
        raise NotImplementedError


class Opponent:
    """What can be called and yet has a state."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> int:
        self.calls += 1
        return int(self.calls > 1000)


class Called(Sound):
    """Its functions are no state, its opponent is one."""

    def __init__(self, opponent: Any = len) -> None:
        self.rule, self.part, self.bound = (lambda x: x), partial(max, 0), self.look
        self.means, self.sine, self.kind, self.text = np.mean, np.sin, Sound, str.upper
        self.opponent = opponent


def test_what_can_be_called_and_has_a_state_is_no_function() -> None:
    assert snapshot.can_restore(Called) is None
    assert snapshot.can_restore(lambda: Called(Opponent())) == "Called.opponent is a Opponent"
    assert snapshot.can_restore(lambda: Called(Opponent().__call__)) == "Called.opponent is a method"
    assert snapshot.can_restore(lambda: Called(partial(max, Opponent()))) == "Called.opponent is a partial"


def test_an_environment_that_holds_an_object_cannot_be_restored_and_the_reason_names_it() -> None:
    assert snapshot.can_restore(Holder) == "Holder.engine is a Engine"
    assert snapshot.can_restore(lambda: gym.wrappers.TimeLimit(Holder(), 9)) == "Holder.engine is a Engine"
    with pytest.raises(snapshot.Unrestorable, match=r"Holder\.engine"):
        snapshot.take(Holder())


class Kinds(Sound):
    """Holds what is nearly plain, NumPy's scalars, texts, times and complex numbers, which must come back alike."""

    def __init__(self) -> None:
        self.total, self.name, self.day = np.float64(0.25), np.str_("queen"), np.datetime64("2026-11-23")
        self.flag, self.count, self.wave = np.bool_(True), np.int8(3), np.array([1 + 2j])

    def look(self) -> Any:
        self.total = np.float64(self.total + 0.1)
        return np.full(2, np.sin(self.total), np.float32)


class Bag(list[Any]):
    """A list with something more to it."""


def test_numpys_scalars_come_back_as_they_are(tmp_path: Path) -> None:
    assert_a_saved_copy_goes_on_alike(Kinds, tmp_path)
    env, other = Kinds(), Kinds()
    other.total, other.name, other.day, other.flag, other.count, other.wave = (None,) * 6  # type: ignore[assignment]
    snapshot.put_back(other, snapshot.take(env))
    for name in ("total", "name", "day", "flag", "count", "wave"):
        assert getattr(other, name) == getattr(env, name)
        assert type(getattr(other, name)) is type(getattr(env, name))


class Phase(enum.IntEnum):
    OPEN = 1


@pytest.mark.parametrize("thing", [Bag(), Phase.OPEN], ids=["list", "number"])
def test_what_is_more_than_plain_is_not_taken_for_it(thing: Any) -> None:
    """A member of an enum would come back as a number, which `is` not that member and has no name."""

    class Bagged(Sound):
        def __init__(self) -> None:
            self.bag = thing

    with pytest.raises(snapshot.Unrestorable, match=rf"Bagged\.bag is a {type(thing).__name__}"):
        snapshot.take(Bagged())


def test_an_environment_that_offers_its_state_is_restored_by_it(tmp_path: Path) -> None:
    assert_a_saved_copy_goes_on_alike(Offering, tmp_path)
    assert_a_saved_copy_goes_on_alike(lambda: gym.wrappers.TimeLimit(Offering(), 9), tmp_path)


def test_a_state_that_a_checkpoint_cannot_hold_is_found_out_before_training() -> None:
    reason = snapshot.can_restore(Opaque)
    assert reason is not None
    assert "Opaque" in reason
    assert "Engine" in reason


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (Forgetful, "a restored copy did not go on like the original"),
        (Breaking, "restoring it raised NotImplementedError"),
        (lambda: Sound() if next(TURNS) else Offering(), "restoring it raised"),
    ],
    ids=["forgets", "raises", "differs"],
)
def test_a_state_that_does_not_bring_the_environment_back_is_found_out(make: Make, reason: str) -> None:
    found = snapshot.can_restore(make)
    assert found is not None
    assert reason in found


TURNS = iter([True, False])


def test_a_state_taken_does_not_move_on_with_its_environment() -> None:
    env = find_env("CartPole-v1", {}, ("FrameStackObservation(stack_size=3)",)).make()
    env.reset(seed=1)
    state = snapshot.take(env)
    expected = [env.step(action)[0].tolist() for action in (0, 1, 1)]
    snapshot.put_back(env, state)
    assert [env.step(action)[0].tolist() for action in (0, 1, 1)] == expected
    snapshot.put_back(env, state)
    assert [env.step(action)[0].tolist() for action in (0, 1, 1)] == expected


def test_a_state_of_more_or_fewer_layers_is_refused() -> None:
    one, two = Sound(), gym.wrappers.TimeLimit(Sound(), 9)
    for env, other, said in ((one, two, "is of 2 layers, and it has 1"), (two, one, "is of 1 layers, and it has 2")):
        with pytest.raises(snapshot.Unrestorable, match=f"its state {said}"):
            snapshot.put_back(env, snapshot.take(other))


class Shared(gym.Env[Any, Any]):
    """Its generator, its track and what it remembers have two names each, as in many environments."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.rng = self.np_random
        self.track = np.zeros(1)
        self.memory = {"track": self.track, "steps": [0]}
        self.steps = self.memory["steps"]
        self.where = float(self.np_random.normal())
        return np.array([self.where, 0], np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.steps[0] += 1
        self.track += float(self.rng.normal()) + action
        count, place = self.memory["steps"][0], float(self.memory["track"][0])
        return np.array([self.where, place], np.float32), place, False, count >= 60, {}


@pytest.mark.parametrize("wrapped", [False, True])
def test_what_has_two_names_stays_one_thing(wrapped: bool) -> None:
    def make() -> gym.Env[Any, Any]:
        return gym.wrappers.TimeLimit(Shared(), 50) if wrapped else Shared()

    assert snapshot.can_restore(make) is None
    env, other = make(), make()
    env.reset(seed=3)
    env.step(1)
    other.reset(seed=4)
    snapshot.put_back(other, checkpoint.as_loaded(snapshot.take(env)))
    inner: Any = other.unwrapped
    assert inner.rng is inner.np_random
    assert inner.memory["track"] is inner.track
    assert inner.memory["steps"] is inner.steps
    for one in (env, other):
        one.step(0)
    assert env.reset()[0].tobytes() == other.reset()[0].tobytes()


def test_a_container_that_holds_itself_cannot_be_put_back() -> None:
    class Ring(Shared):
        def reset(self, **named: Any) -> tuple[np.ndarray, dict[str, Any]]:
            self.ring: list[Any] = [1]
            self.ring.append(self.ring)
            return super().reset(**named)

    assert snapshot.can_restore(Ring) == "it has a container that holds itself"


def test_a_trial_sees_that_the_next_episode_begins_otherwise() -> None:
    """What no attribute shows: a generator of the class's own."""

    class Hidden(Shared):
        __slots__ = ("own",)

        def reset(self, **named: Any) -> tuple[np.ndarray, dict[str, Any]]:
            obs, about = super().reset(**named)
            if named.get("seed") is not None:
                self.own = np.random.default_rng(named["seed"])
            return obs + np.float32(self.own.normal()), about

    assert snapshot.can_restore(Hidden) == "a restored copy did not begin its next episode like the original"


def test_a_type_error_inside_a_vector_form_is_told_and_an_argument_it_lacks_takes_gymnasium_s(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert isinstance(find_env("CartPole-v1").batch(2), CartPole)
    assert isinstance(find_env("CartPole-v1", {"render_mode": "rgb_array"}).batch(2), SyncEnvBatch)

    def broken(self: Any, num: int, max_episode_steps: int | None = None) -> None:
        raise TypeError("a bug")

    monkeypatch.setattr(CartPole, "__init__", broken)
    with pytest.raises(TypeError, match="a bug"):
        find_env("CartPole-v1").batch(2)


def test_an_environment_that_writes_into_its_action_changes_no_transition() -> None:
    class Greedy(gym.Env[Any, Any]):
        observation_space, action_space = Box(-1, 1, (2,), np.float32), MultiDiscrete([3, 3])

        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            return np.zeros(2, np.float32), {}

        def step(self, action: Any) -> Any:
            action += 100
            return np.zeros(2, np.float32), 0.0, False, False, {}

    env = VectorEnv(SyncEnvBatch(Greedy, 2), (0,), 2)
    env.reset()
    transition, _ = env.step(np.ones((1, 2, 2), np.int64), {})
    assert (transition.action == 1).all()


def test_environments_that_were_made_are_closed_where_another_cannot_be() -> None:
    open_ones: list[int] = []

    class Scarce(gym.Env[Any, Any]):
        def __init__(self) -> None:
            if len(open_ones) == 3:
                raise OSError("no more windows")
            open_ones.append(1)

        def close(self) -> None:
            open_ones.pop()

    with pytest.raises(OSError, match="no more windows"):
        SyncEnvBatch(Scarce, 5)
    assert not open_ones


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (MemoryError(), True),
        (RuntimeError("[enforce fail] not enough memory: you tried to allocate 8000000000000 bytes"), True),
        (TypeError("Overflow when unpacking long"), True),
        (RuntimeError("Storage size calculation overflowed with sizes=[4611686018427387904, 4]"), True),
        (RuntimeError("value cannot be converted to type at::Half without overflow"), False),
        (TypeError("EpisodicMemory.__init__() missing 1 required positional argument"), False),
        (RuntimeError("the memory module is not what it was"), False),
    ],
)
def test_what_does_not_fit_into_memory_is_told_by_what_allocation_says(error: Exception, is_memory: bool) -> None:
    assert is_out_of_memory(error) is is_memory
