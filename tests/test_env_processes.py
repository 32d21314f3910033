"""Environments in other processes: those of one process, number for number, and their ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlrepro import train
from rlrepro.env_processes import Asked, AsyncEnvBatch
from rlrepro.request import Request, parse_train
from rlrepro.vector import EnvironmentFailed, SyncEnvBatch
from tests.conftest import BRIEF, Runs

NUM = 5
TOLD = """
import gymnasium

class Told(gymnasium.Env):
    \"\"\"Learning is told another reward in every third step; it breaks where the action is 3.\"\"\"

    observation_space = gymnasium.spaces.Box(-9, 9, (2, 3), "float32")
    action_space = gymnasium.spaces.Discrete(4)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count = 0
        return self.obs(), {}

    def obs(self):
        return self.np_random.uniform(-1, 1, (2, 3)).astype("float32")

    def step(self, action):
        if action == 3:
            raise RuntimeError("out of order")
        self.count += 1
        told = {"learn": (-1.0, self.count % 2 == 0)} if self.count % 3 == 0 else {}
        return self.obs(), float(action), self.count >= 7, False, told


class Keeps(gymnasium.Env):
    \"\"\"Pays how far the action is from the one before, which it keeps as it was given.\"\"\"

    observation_space = gymnasium.spaces.Box(-9, 9, (1,), "float32")
    action_space = gymnasium.spaces.Box(-2, 2, (1,), "float32")

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.last = self.action_space.low
        return self.observation_space.high, {}

    def step(self, action):
        reward, self.last = float(abs(action - self.last).sum()), action
        return self.observation_space.high, reward, False, False, {}
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("told") / "told.py"
    file.write_text(TOLD)
    return f"{file}:Told"


@pytest.fixture(scope="module")
def batches(told: str) -> Iterator[dict[str, tuple[SyncEnvBatch, AsyncEnvBatch]]]:
    keeps = told.replace(":Told", ":Keeps")
    asked = {
        "told": Asked(told, {}, ()),
        "keeps": Asked(keeps, {}, ()),
        "pendulum": Asked("Pendulum-v1", {"g": 9.0}, ("FlattenObservation",)),
    }
    made = {name: (SyncEnvBatch(one.make, NUM), AsyncEnvBatch(one, NUM, 2)) for name, one in asked.items()}
    yield made
    for _, batch in made.values():
        batch.close()


def actions(name: str, rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 3, NUM) if name == "told" else rng.uniform(-2, 2, (NUM, 1)).astype(rng.choice(["f4", "f8"]))


@pytest.mark.parametrize("name", ["told", "keeps", "pendulum"])
def test_steps_resets_and_states_are_those_of_one_process(name: str, batches: Any) -> None:
    here, there = batches[name]
    rng = np.random.default_rng(0)
    assert (there.observation_space, there.action_space) == (here.observation_space, here.action_space)
    both = [batch.reset(np.arange(NUM), [10, 11, 12, 13, 14]) for batch in (here, there)]
    assert np.array_equal(*both)
    steps = []
    for step in range(40):
        action = actions(name, rng)
        active = None if step % 4 else rng.random(NUM) < 0.6
        one, other = (batch.step(action, active) for batch in (here, there))
        rows = np.ones(NUM, bool) if active is None else active
        for mine, theirs in zip(one, other, strict=True):
            assert mine.dtype == theirs.dtype
            assert np.array_equal(mine[rows], theirs[rows])
        assert (here.to_learn is None) == (there.to_learn is None)
        if here.to_learn is not None and there.to_learn is not None:
            for mine, theirs in zip(here.to_learn, there.to_learn, strict=True):
                assert np.array_equal(mine[rows], theirs[rows])
        steps.append((other, [part.copy() for part in other]))
        if step % 7 == 3:
            index = np.array([4, 0, 2])
            assert np.array_equal(*[batch.reset(index, [None, 5, None]) for batch in (here, there)])
        if step == 20:
            state = here.get_state(1)
            assert np.array_equal(there.set_state(4, state), here.set_state(4, there.get_state(1)))
    for given, kept in steps:  # nobody's later step changed it
        assert all(map(np.array_equal, given, kept))


def test_the_first_that_breaks_is_named_and_the_others_go_on(batches: Any) -> None:
    _, batch = batches["told"]
    batch.reset(np.arange(NUM), [0] * NUM)
    with pytest.raises(EnvironmentFailed, match="raised RuntimeError: out of order in step") as failure:
        batch.step(np.array([0, 0, 3, 0, 3]))
    assert failure.value.index == 2
    assert "RuntimeError: out of order" in str(failure.value.__cause__ or failure.value.__context__)
    batch.reset(np.arange(NUM), [0] * NUM)
    assert batch.step(np.ones(NUM, np.int64))[1].tolist() == [1.0] * NUM


def test_a_process_that_is_gone_is_told_by_its_first_environment(told: str) -> None:
    batch = AsyncEnvBatch(Asked(told, {}, ()), 4, 2)
    batch.reset(np.arange(4), [0] * 4)
    os.kill(batch._processes[1].pid, signal.SIGKILL)
    batch._processes[1].join()
    with pytest.raises(EnvironmentFailed, match="ended with the process that stepped it") as failure:
        batch.step(np.zeros(4, np.int64))
    assert failure.value.index == 2
    batch.close()
    assert not any(process.is_alive() for process in batch._processes)


def test_a_signal_to_all_processes_ends_none_of_those_with_environments(told: str) -> None:
    batch = AsyncEnvBatch(Asked(told, {}, ()), 4, 2)
    batch.reset(np.arange(4), [0] * 4)  # by then they do not listen
    for process in batch._processes:
        for number in (signal.SIGTERM, signal.SIGINT):
            os.kill(process.pid, number)
    assert batch.step(np.zeros(4, np.int64))[1].tolist() == [0.0] * 4
    batch.close()
    assert [process.exitcode for process in batch._processes] == [0, 0]


DIES = """
import os, signal, gymnasium

class Dies(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-9, 9, (1,), "float32")
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count = 0
        return self.observation_space.high, {}

    def step(self, action):
        self.count += 1
        if self.count == 100 and not os.path.exists(__file__ + ".died"):
            open(__file__ + ".died", "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.observation_space.high, 1.0, False, self.count >= 200, {}
"""


def test_a_run_whose_environments_die_keeps_what_it_learnt_and_goes_on(runs: Runs, tmp_path: Path) -> None:
    file = tmp_path / "dies.py"
    file.write_text(DIES)
    outcome = runs.begin("r", "--env", f"{file}:Dies", "--agent", "random", "--seeds", "4", "--processes", "1",
                         "--env-processes", "2", "--total-timesteps", "400", "--num-envs", "1", "--no-check-env",
                         "--final-eval-episodes", "1")  # fmt: skip
    assert "ended with the process that stepped it (seed " in outcome.problem
    assert "env step 99" in outcome.problem, outcome.problem
    assert runs.resume("r").status == 0


def test_a_run_is_the_same_to_the_byte_and_goes_on_in_other_processes(runs: Runs) -> None:
    brief = ["--env", "Pendulum-v1", "--wrapper", "FlattenObservation", "--agent", "ppo", "--num-steps", "32",
             "--num-epochs", "1", "--seeds", "3", "--processes", "1", "--total-timesteps", "1024",
             "--checkpoint-every", "256"]  # fmt: skip
    whole = runs.finish("whole", *brief)
    there = ["--run-dir", str(runs.folder), "--name", "spread", "--env-processes", "2"]
    subprocess.run([sys.executable, "-m", "rlrepro.train", *BRIEF, *brief, *there], check=True, capture_output=True)
    spread = runs.folder / "spread"

    def left(folder: Path) -> dict[str, bytes]:
        names = "episodes.csv", "evaluations.csv", "policy.safetensors"
        return {str(file.relative_to(folder)): file.read_bytes() for name in names for file in folder.rglob(name)}

    assert left(spread) == left(whole)
    assert left(whole)


def test_a_run_in_a_process_of_its_own_may_have_processes_of_environments(tmp_path: Path) -> None:
    """As `rlrepro reproduce` begins one after another had ended without a word."""
    flags = ["--env", "CartPole-v1", "--wrapper", "TimeFraction", "--agent", "random", "--seed", "0", "--num-envs", "2",
             "--env-processes", "2", "--total-timesteps", "40", "--final-eval-episodes", "1", "--no-check-env",
             "--run-dir", str(tmp_path), "--name", "r"]  # fmt: skip
    request = parse_train(flags)
    assert isinstance(request, Request)
    folder = train.begin(request, ["test"], quiet=True, in_subprocess=True)
    assert folder.is_finished


PARENT = """
import multiprocessing
import time

import gymnasium as gym
import numpy as np

class Parent(gym.Env):
    observation_space = gym.spaces.Box(0, 1, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)
    max_episode_steps = 5

    def __init__(self):
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(0.01,))
        child.start()
        child.join()

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        return np.zeros(1, np.float32), 1.0, False, False, {}
"""


def test_an_environment_with_a_process_of_its_own_may_be_stepped_in_another(runs: Runs, tmp_path: Path) -> None:
    file = tmp_path / "parent.py"
    file.write_text(PARENT, encoding="utf-8")
    brief = ("--env", f"{file}:Parent", "--agent", "random", "--seeds", "1", "--num-envs", "2", "--env-processes", "2")
    runs.finish("r", *brief)


def test_seeds_in_several_processes_have_no_processes_of_environments(runs: Runs) -> None:
    told = "--env", "Pendulum-v1", "--agent", "ppo", "--env-processes", "2"
    what = "--env-processes: Pendulum-v1 has a vector form, which the process that trains steps"
    assert what in runs.begin("r", *told).problem
    outcome = runs.begin("r", *told, "--processes", "2", "--wrapper", "FlattenObservation")
    assert "--env-processes is for agents whose seeds train in one process: give --processes 1" in outcome.problem
