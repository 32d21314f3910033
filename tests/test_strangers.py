"""Environments of strangers: what they hold, begin with, take and give, and nothing lost or wrong by it."""

from __future__ import annotations

import collections
import importlib
import json
import threading
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import safetensors
import safetensors.numpy
from gymnasium.spaces import Box, Discrete, MultiDiscrete

from rlrepro import checkpoint, train
from rlrepro.agent import Setup, UnsupportedSpace
from rlrepro.agents.ppo import PPO
from rlrepro.agents.random import Random
from rlrepro.agents.sb3 import ALGORITHMS
from rlrepro.contract import check_contract, check_state
from rlrepro.errors import Interrupted, Problem
from rlrepro.n_step import NStep
from rlrepro.networks import MLP
from rlrepro.plugins.agents import find_agent
from rlrepro.plugins.environments import find_env
from rlrepro.plugins.wrappers import full_name
from rlrepro.record import RunFolder
from rlrepro.replay import Replay
from rlrepro.request import Request, parse_train
from rlrepro.seeds import Stack
from rlrepro.stateful import Stateful, forgotten
from rlrepro.streams import Streams
from tests.conftest import Command, Runs

STRANGERS = """
import gymnasium as gym
import numpy as np

class Plain(gym.Env):
    observation_space = gym.spaces.Box(-9, 9, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)
    max_episode_steps = 10

    def __init__(self, **kwargs):
        self.kwargs, self.t = kwargs, 0

    def reset(self, **kwargs):
        super().reset(seed=kwargs.get("seed"))
        self.t = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.t += 1
        return np.array([self.np_random.random()], np.float32), self.reward(), False, self.over(), {}

    def reward(self):
        return 1.0

    def over(self):
        return False

class Few(Plain):
    "A process holds a handful of them."
    alive = 0

    def __init__(self):
        super().__init__()
        if Few.alive >= 6:
            raise OSError(24, "Too many open files")
        Few.alive += 1

    def close(self):
        Few.alive -= 1

class Clock(Plain):
    "Counts in an attribute that others draw with."
    max_episode_steps = None

    def reset(self, **kwargs):
        self.clock = 0
        return super().reset(**kwargs)

    def over(self):
        self.clock += 1
        return self.clock >= 50

class Lazy(Plain):
    "Comes to hold an object."
    max_episode_steps = None
    last = None

    def over(self):
        if self.t >= 50:
            self.last = type("Summary", (), {})()
        return self.t >= 50

class Own(Lazy):
    "Gives its state itself, the object too."
    def get_state(self):
        return {"t": self.t, "last": self.last, "stream": self.np_random.bit_generator.state}

    def set_state(self, state):
        self.t, self.last = state["t"], state["last"]
        self.np_random.bit_generator.state = state["stream"]

class Hole(Plain):
    "Some day the observation of a reset is no number."
    def reset(self, **kwargs):
        obs, info = super().reset(**kwargs)
        self.resets = getattr(self, "resets", 0) + 1
        if self.resets > 20:
            obs[0] = np.nan
        return obs, info

class Pays(Plain):
    def reward(self):
        return float(self.kwargs["pays"][self.t - 1])

class Half(gym.RewardWrapper):
    def reward(self, reward):
        return reward / 2
"""


@pytest.fixture
def strangers(tmp_path: Path) -> Path:
    file = tmp_path / "strangers.py"
    file.write_text(STRANGERS)
    return file


def returns(folder: Path, seed: int = 0) -> list[float]:
    lines = (folder / "seeds" / str(seed) / "episodes.csv").read_text().splitlines()
    return [float(line.split(",")[2]) for line in lines[1:]]


# --- nothing is lost


def test_an_evaluation_that_cannot_make_its_environments_loses_no_training(strangers: Path, runs: Runs) -> None:
    """Training needs four of them, the final evaluation more than there can be."""
    outcome = runs.begin("few", "--env", f"{strangers}:Few", "--agent", "random", "--seeds", "1",
                         "--final-eval-episodes", "20")  # fmt: skip
    assert outcome.status == 1
    assert "Too many open files (evaluation)" in outcome.problem
    assert "go on with: python -m rlrepro.train --resume" in outcome.problem
    assert list((runs.folder / "few").glob("seeds/0/checkpoints/step-000000000120.safetensors"))


def test_nor_does_one_before_the_first_checkpoint(strangers: Path, runs: Runs) -> None:
    outcome = runs.begin("few", "--env", f"{strangers}:Few", "--agent", "random", "--seeds", "1", "--eval-every", "60",
                         "--eval-episodes", "20", "--checkpoint-every", "0")  # fmt: skip
    assert outcome.status == 1
    assert "everything up to env step 60 is saved" in outcome.problem
    assert list((runs.folder / "few").glob("seeds/0/checkpoints/step-000000000060.safetensors"))


def test_ctrl_c_in_the_summary_leaves_the_run(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("rlrepro.progress.Board.summary", interrupted)
    folder = runs.finish("done", "--env", "CartPole-v1", "--agent", "random", "--seeds", "1")
    assert RunFolder(folder).read_json("run.json")["status"] == "finished"


def test_ctrl_c_after_the_last_step_leaves_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no handler of ours stands any more."""
    request = parse_train(["--env", "CartPole-v1", "--agent", "random", "--seeds", "1", "--total-timesteps", "100",
                           "--run-dir", str(tmp_path), "--name", "it", "--processes", "1"])  # fmt: skip

    def interrupted(folder: RunFolder, **values: Any) -> None:
        if values.get("status") == "finished":
            raise KeyboardInterrupt

    monkeypatch.setattr(RunFolder, "note", interrupted)
    with pytest.raises(Interrupted, match=r"interrupted; go on with: python -m rlrepro\.train --resume"):
        train.begin(request, ["test"], quiet=True)  # type: ignore[arg-type]
    assert (tmp_path / "it" / "seeds" / "0" / "policy.safetensors").exists()


@pytest.mark.parametrize("fault", ["of the disk", "of another version"])
def test_a_checkpoint_that_cannot_be_looked_at_is_not_damaged(
    fault: str, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = runs.finish("it", "--env", "CartPole-v1", "--agent", "random", "--seeds", "2", "--processes", "2")
    RunFolder(folder).note(status="interrupted")
    for path in folder.glob("seeds/*/evaluations.csv"):  # what a resume would cut
        path.write_text(path.read_text() + path.read_text().splitlines()[-1] + "\n")
    before = {path: path.read_bytes() for path in folder.rglob("*.*") if path.is_file() and path.suffix != ".json"}
    if fault == "of the disk":
        real = checkpoint.safetensors.safe_open

        def flaky(path: str, **how: Any) -> Any:
            if "seeds/1/" in path:
                raise OSError(24, "Too many open files")
            return real(path, **how)

        monkeypatch.setattr(checkpoint.safetensors, "safe_open", flaky)
        said = "cannot be read now ([Errno 24] Too many open files): nothing was changed"
    else:
        for path in folder.glob("seeds/*/checkpoints/*.safetensors"):
            with safetensors.safe_open(str(path), framework="numpy") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                metadata = file.metadata() | {"format": "rlrepro-checkpoint-99", "sha256": "summed otherwise"}
            path.write_bytes(safetensors.numpy.save(tensors, metadata))
        before |= {path: path.read_bytes() for path in folder.glob("seeds/*/checkpoints/*.safetensors")}
        said = "is a checkpoint of another version"
    assert said in runs.resume("it").problem
    assert {path: path.read_bytes() for path in before} == before


def test_two_runs_of_one_second_have_folders_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second takes the place between the look and the renaming."""
    request = parse_train(["--env", "CartPole-v1", "--agent", "random", "--seeds", "1", "--run-dir", str(tmp_path)])
    assert not isinstance(request, Path)
    first = RunFolder.create(tmp_path, "one", request.settings, ["test"])
    real = Path.rename

    def late(path: Path, target: Path) -> Path:
        if not target.exists() and not target.name.endswith("-2"):
            target.mkdir()
            (target / "run.json").write_text("{}")
        return real(path, target)

    monkeypatch.setattr(Path, "rename", late)
    second = RunFolder.create(tmp_path, None, request.settings, ["test"])
    assert second.path.name.endswith("-2")
    with pytest.raises(Problem, match="is there already"):
        RunFolder.create(tmp_path, first.path.name, request.settings, ["test"])


# --- the same task whatever way it is made


@pytest.mark.parametrize(
    ("text", "value"),
    [("false", False), ("true", True), ("True", True), ("null", None), ("none", "none"), ("'false'", "false")],
)
def test_constants_are_read_as_json_and_python_write_them(text: str, value: object, tmp_path: Path) -> None:
    """By a task whose argument may be anything, texts too."""
    (tmp_path / "lake.py").write_text(
        "from gymnasium.envs.toy_text import FrozenLakeEnv\n\n\nclass Lake(FrozenLakeEnv):\n"
        "    def __init__(self, is_slippery=None):\n        super().__init__()\n"
    )
    asked = parse_train(["--env", f"{tmp_path / 'lake.py'}:Lake", "--env-kwargs", f"is_slippery={text}"])
    assert asked.settings.env_kwargs == {"is_slippery": value}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("asked", "length"),
    [({}, 500), ({"max_episode_steps": None}, 500), ({"max_episode_steps": 7}, 7), ({"max_episode_steps": -1}, 600)],
)
def test_a_batch_has_the_time_limit_that_gymnasium_gives(asked: dict[str, Any], length: int) -> None:
    """Of Pendulum, which nothing but the clock ends."""
    registered = gym.spec("Pendulum-v1").max_episode_steps
    wanted = registered if length == 500 else length
    batch = find_env("Pendulum-v1", asked).batch(1)
    batch.reset(np.arange(1), [0])
    truncated = [bool(batch.step(np.zeros((1, 1), np.float32))[3][0]) for _ in range(600)]
    assert (truncated.index(True) + 1 if True in truncated else 600) == wanted


@pytest.mark.parametrize("limit", [0, -2, 1.5, True])
def test_no_time_limit_of_nothing(limit: object) -> None:
    with pytest.raises(Problem, match="max_episode_steps"):
        find_env("CartPole-v1", {"max_episode_steps": limit}).batch(1)


def test_arguments_are_what_a_resumed_run_has(strangers: Path, runs: Runs) -> None:
    env = f"{strangers}:Pays"
    asked = parse_train(["--env", env, "--env-kwargs", f"pays=({','.join('123456789')},1)"])
    assert asked.settings.env_kwargs == {"pays": [1, 2, 3, 4, 5, 6, 7, 8, 9, 1]}  # type: ignore[union-attr]
    refused = runs.begin("it", "--env", env, "--env-kwargs", "pays={0: 1.0}")
    assert "--env-kwargs pays: {0: 1.0} is not made of numbers, texts, lists" in refused.problem


def test_a_wrapper_s_file_is_kept_by_its_whole_path(
    strangers: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(strangers.parent)
    folder = runs.finish("it", "--env", f"{strangers}:Plain", "--agent", "random", "--wrapper", "strangers.py:Half",
                         "--seeds", "1")  # fmt: skip
    assert json.loads((folder / "settings.json").read_text())["wrappers"] == [f"{strangers}:Half"]
    (strangers.parent / "elsewhere").mkdir()
    monkeypatch.chdir(strangers.parent / "elsewhere")
    assert runs.command("evaluate", folder).status == 0
    copy = strangers.parent / "a (copy)"
    copy.mkdir()
    (copy / "strangers.py").write_text(STRANGERS)
    monkeypatch.chdir(copy)
    assert full_name("strangers.py:Half(a=1)") == f"{copy}/strangers.py:Half(a=1)"
    assert find_env("CartPole-v1", {}, (full_name("strangers.py:Half"),)).make().step is not None


# --- what they hold


def test_a_counter_called_clock_is_restored(strangers: Path, runs: Runs) -> None:
    """Of an episode of 50 steps half is played at the checkpoint."""
    made = find_env(f"{strangers}:Clock").make
    env, again = made(), made()
    from rlrepro import snapshot

    env.reset(seed=1)
    again.reset(seed=2)
    for _ in range(30):
        env.step(0)
    snapshot.put_back(again, checkpoint.as_loaded(snapshot.take(env)))
    ended = [again.step(0)[3] for _ in range(20)]
    assert ended == [False] * 19 + [True]


@pytest.mark.parametrize("kind", ["Lazy", "Own"])
def test_an_environment_that_comes_to_hold_an_object_goes_on(kind: str, strangers: Path, runs: Runs) -> None:
    outcome = runs.begin("it", "--env", f"{strangers}:{kind}", "--agent", "random", "--seeds", "1", "--num-envs", "1",
                         "--total-timesteps", "400", "--checkpoint-every", "100")  # fmt: skip
    assert outcome.status == 0
    assert "a resume begins new episodes" in " ".join((outcome.out + outcome.err).split())
    assert list((runs.folder / "it").glob("seeds/0/checkpoints/step-*"))


def test_a_reset_that_gives_no_number_is_the_environment_s_fault(strangers: Path, runs: Runs) -> None:
    outcome = runs.begin("it", "--env", f"{strangers}:Hole", "--agent", "ppo", "--num-steps", "8", "--num-minibatches",
                         "1", "--seeds", "1", "--num-envs", "1", "--total-timesteps", "400")  # fmt: skip
    assert outcome.status == 1
    assert "gave an observation with NaN or infinity" in outcome.problem


def test_reset_may_take_its_seed_by_keywords(strangers: Path) -> None:
    check_contract(find_env(f"{strangers}:Plain").make(), "Plain")


# --- spaces


@pytest.mark.parametrize(("low", "high", "kind"), [(0, 1, np.int64), (-2, 2, np.int32), (-128, 127, np.int8)])
def test_random_takes_each_whole_number_as_often(low: int, high: int, kind: Any) -> None:
    setup = Setup(Box(-1, 1, (2,), np.float32), Box(low, high, (3,), kind), (0,), 1, 100)
    agent = Random(setup, Random.Config())
    drawn = agent.predict(np.zeros((1, 1000, 2), np.float32), Streams((0,), "test"), False)
    counts = collections.Counter(drawn.ravel().tolist())
    assert sorted(counts) == list(range(low, high + 1))
    expected = 3000 / (high - low + 1)
    assert max(abs(count - expected) for count in counts.values()) < 6 * np.sqrt(expected)


def test_random_is_uniform_between_the_bounds_of_each_number() -> None:
    low, high = np.array([-1.0, 10.0], np.float32), np.array([3.0, 11.0], np.float32)
    agent = Random(Setup(Box(-1, 1, (2,), np.float32), Box(low, high), (0, 1), 1, 100), Random.Config())
    drawn = np.sort(agent.predict(np.zeros((2, 1000, 2), np.float32), Streams((0, 1), "test"), False), 1)
    assert (drawn.dtype, drawn.shape) == (np.float32, (2, 1000, 2))
    assert ((low <= drawn) & (drawn <= high)).all()
    even = np.linspace(low, high, 1000)
    assert (np.abs(drawn - even) < 0.06 * (high - low)).all()  # Kolmogorov's bound is 0.06 at 1 in 1,000


class Scalar(gym.Env):  # type: ignore[type-arg]
    """Its actions are numbers, not arrays of one."""

    observation_space = Box(-1, 1, (1,), np.float32)
    action_space = Box(-2, 1, (), np.float32)
    max_episode_steps = 10

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        assert np.shape(action) == ()
        return np.zeros(1, np.float32), -(float(action) ** 2), False, False, {}


@pytest.mark.parametrize("agent", ["ppo", "a2c", "sac", "td3", "ddpg", "trpo", "reinforce"])
def test_actions_that_are_numbers(agent: str, runs: Runs) -> None:
    off_policy = ("--learning-starts", "20") if agent in ("sac", "td3", "ddpg") else ()
    short = {"ppo": ("--num-steps", "8", "--num-minibatches", "1"), "trpo": ("--num-steps", "8")}.get(agent, ())
    runs.finish("it", "--env", f"{__name__}:Scalar", "--agent", agent, "--seeds", "1", "--total-timesteps", "60",
                *off_policy, *short)  # fmt: skip


class Odd(gym.Env):  # type: ignore[type-arg]
    """Observations and actions that count from elsewhere, or actions of half floats; it takes no others."""

    max_episode_steps = 12

    def __init__(self, start: int | None = None) -> None:
        self.start = start
        self.observation_space = Box(-1, 1, (1,), np.float32) if start is None else Discrete(4, start=start)
        self.action_space = Box(-2, 3, (2,), np.float16) if start is None else Discrete(2, start=start)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self.look(), {}

    def look(self) -> Any:
        if self.start is None:
            return self.np_random.uniform(-1, 1, 1).astype(np.float32)
        return np.int64(self.start + self.np_random.integers(4))

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action), (action, action.dtype)
        return self.look(), float(np.sum(action)), bool(self.np_random.random() < 0.2), False, {}


@pytest.mark.parametrize("agent", ["ppo", "a2c", "sac", "trpo", "reinforce", "random"])
def test_actions_are_of_the_space_s_own_type(agent: str, runs: Runs) -> None:
    short = {"ppo": ("--num-steps", "8", "--num-minibatches", "1"), "trpo": ("--num-steps", "8")}.get(agent, ())
    learns = ("--learning-starts", "20") if agent == "sac" else ()
    runs.finish("it", "--env", f"{__name__}:Odd", "--agent", agent, "--seeds", "1", "--total-timesteps", "60",
                *learns, *short)  # fmt: skip


@pytest.mark.parametrize("start", [5, -9])
@pytest.mark.parametrize("agent", ["reinforce", "ppo", "dqn", "sarsa"])
def test_spaces_that_begin_elsewhere_than_at_0(agent: str, start: int, runs: Runs) -> None:
    short = {"ppo": ("--num-steps", "8", "--num-minibatches", "1"), "dqn": ("--learning-starts", "40")}.get(agent, ())
    runs.finish("it", "--env", f"{__name__}:Odd", "--env-kwargs", f"start={start}", "--agent", agent, "--seeds", "2",
                "--total-timesteps", "400", *short)  # fmt: skip


def test_stable_baselines3_takes_spaces_that_begin_at_0() -> None:
    setup = Setup(Box(-1, 1, (2,), np.float32), MultiDiscrete([3, 2]), (0,), 1, 100)
    ALGORITHMS["ppo"](setup, ALGORITHMS["ppo"].Config())
    for observations, actions in (
        (Box(-1, 1, (2,), np.float32), MultiDiscrete([3, 2], start=[1, 5])),
        (Discrete(3, start=1), Discrete(2)),
    ):
        with pytest.raises(UnsupportedSpace, match="that begin at 0"):
            ALGORITHMS["ppo"](Setup(observations, actions, (0,), 1, 100), ALGORITHMS["ppo"].Config())
    assert find_agent("sb3:ppo").name == "sb3:ppo"


def test_a_table_whose_keys_are_no_texts_is_not_saved_as_another() -> None:
    for state in ({"a": {1: 2, "1": 3}}, {"a": [{"b": {(0, 1): 2.0}}]}, {None: 1}):
        with pytest.raises(checkpoint.NotPlain, match="texts as keys"):
            checkpoint.check_plain(state)


class Holding(Random):
    """Acts at random, and holds what it is told to."""

    def __init__(self, setup: Setup, held: Any) -> None:
        super().__init__(setup, Random.Config())
        self.held = held

    def get_state(self) -> dict[str, Any]:
        if self.held is None:
            raise AttributeError("not before the first step")
        return {**super().get_state(), "held": self.held}


@pytest.mark.parametrize(
    ("held", "words"),
    [
        ({1: 2}, "the state of mine: agent.held cannot be saved: a checkpoint holds tables with texts as keys, not 1"),
        (
            object(),
            "the state of mine: agent.held cannot be saved: a checkpoint holds arrays and plain data, not object",
        ),
        ({"a": {"b": {}}, "c": {"d": {1}}}, "mine: agent.held.c.d cannot be saved: a checkpoint .*, not set"),
        (np.zeros(5), "the state of mine: agent.held has the shape"),
        (np.zeros(2), None),
        (None, None),
    ],
)
def test_a_state_that_cannot_be_saved_is_known_before_training(held: Any, words: str | None) -> None:
    agent = Holding(Setup(Box(-1, 1, (1,), np.float32), Discrete(2), (0, 1), 1, 100), held)
    if words is None:
        check_state(agent, "mine", 2)
    else:
        with pytest.raises(Problem, match=words):
            check_state(agent, "mine", 2)


class Misspelt(PPO):
    """STATE names an attribute by another name than it has."""

    STATE = ("optimizer",)


class Nameless(Stateful):
    """Learns by what no STATE names, and holds one thing twice."""

    def __init__(self, setup: Setup, config: Any) -> None:
        self.stack = Stack(setup.seeds, setup.device, q=MLP((2, 2)))
        self.same = self.stack
        self.noise, self.space = Streams(setup.seeds, "policy"), setup.observation_space
        self.tables = {"0": Streams(setup.seeds, "learning"), "1": 3}
        self.of_tables = self.tables["0"]
        self.drawn = Streams(setup.seeds, "replay")
        self.behind = Replay(self.drawn, 100, 8, 50, 1)
        self.memory = NStep(self.behind, 3, 0.9)


class Named(Nameless):
    STATE = ("stack", "noise", "tables")


def test_a_state_with_a_name_that_is_none_is_known_before_training(runs: Runs) -> None:
    begun = runs.begin("a", "--agent", f"{__name__}:Misspelt", "--num-steps", "8")
    assert (begun.status, runs.left()) == (2, [])
    said = " ".join(begun.err.split())
    assert "Misspelt has no attribute 'optimizer', which its STATE names; did you mean 'optimiser'?" in said


FAR = """
import gymnasium as gym
import numpy as np
from rlrepro.agents.ppo import PPO
from rlrepro.streams import Streams

class Far(gym.Env):
    observation_space = gym.spaces.Box(0, 255, (20, 20), np.uint8)
    action_space = gym.spaces.Box(100, 2000, (1,), np.float32)
    max_episode_steps = 10

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros((20, 20), np.uint8), {}

    def step(self, action):
        return np.zeros((20, 20), np.uint8), 1.0, False, False, {}

class Extra(PPO):
    def __init__(self, setup, config):
        super().__init__(setup, config)
        self.extra = Streams(setup.seeds, "learning")
"""


def test_what_will_not_do_is_noted_when_a_run_begins(runs: Runs, tmp_path: Path) -> None:
    file = tmp_path / "far.py"
    file.write_text(FAR)
    short = "--seeds", "2", "--num-steps", "16", "--num-minibatches", "2"
    told = " ".join(runs.begin("a", "--env", f"{file}:Far", "--agent", f"{file}:Extra", *short).out.split())
    assert f"no STATE of {file}:Extra names extra: a resume would begin with new ones" in told
    assert "takes actions in [100, 2000], where a policy begins near N(0, 1), clipped to them (--wrapper" in told
    assert "gives observations [20, 20] of uint8, which networks take for 400 numbers" in told
    whole = runs.begin("b", "--env", "Pendulum-v1", "--agent", "ppo", *short).out
    assert "evaluation" in whole
    assert not any(part in whole for part in ("STATE", "N(0, 1)", "of uint8"))


def test_what_no_state_names_is_told_before_training() -> None:
    spaces = Box(-1, 1, (2,), np.float32), Discrete(2)
    setup = Setup(*spaces, (0, 1), 1, 100)
    assert forgotten(Nameless(setup, None)) == ["stack", "same", "noise", "tables", "of_tables"]
    assert forgotten(Named(setup, None)) == []
    misnamed = Named(setup, None)
    del misnamed.noise  # of which a state that can be had later only says nothing yet
    assert forgotten(misnamed) == []
    assert forgotten(Holding(setup, np.zeros(2))) == []  # its get_state is its own


@pytest.mark.parametrize("in_subprocess", [False, True])
def test_a_thread_may_train(in_subprocess: bool, tmp_path: Path) -> None:
    """As in a notebook or a server: signals reach the main thread alone, which sets no handler for a run here."""
    flags = ("--env", "FrozenLake-v1", "--agent", "q_learning", "--seed", "0", "--total-timesteps", "200")
    request = parse_train([*flags, "--run-dir", str(tmp_path), "--name", "one"])
    assert isinstance(request, Request)
    ended: list[RunFolder] = []

    def work() -> None:
        ended.append(train.begin(request, ["test"], quiet=True, in_subprocess=in_subprocess))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(120)
    assert [folder.is_finished for folder in ended] == [True]


@pytest.mark.parametrize("places", [("launch._note_end",), ("train.launch", "resume.launch")])
def test_a_ctrl_c_after_the_end_takes_nothing_back(
    places: tuple[str, ...], command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes right after run.json says finished, or once all is told, of a new run and of one that was lengthened."""
    module, name = places[0].split(".")
    real = getattr(importlib.import_module(f"rlrepro.{module}"), name)

    def interrupted(*given: Any, **named: Any) -> None:
        real(*given, **named)
        raise KeyboardInterrupt

    folder = tmp_path / "one"
    new = ("--env", "FrozenLake-v1", "--agent", "q_learning", "--seeds", "1", "--processes", "1", "--total-timesteps")
    with monkeypatch.context() as patch:
        for place in places:
            patch.setattr(f"rlrepro.{place}", interrupted)
        command("train", *new, "600", "--run-dir", tmp_path, "--name", "one")
        command("train", "--resume", folder, "--total-timesteps", "1200")
    about = json.loads((folder / "run.json").read_text())
    assert about["status"] == "finished"
    assert json.loads((folder / "settings.json").read_text())["total_timesteps"] == 1200
    last = (folder / "seeds/0/episodes.csv").read_text().splitlines()[-1]
    assert int(last.split(",")[0]) > 1100
    assert command("train", "--resume", folder, "--total-timesteps", "1800").status == 0
