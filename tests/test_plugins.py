"""Environments, agents and wrappers that are not ours join in every way that is promised, in real trainings."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.wrappers import TimeAwareObservation

from rlrepro.envs.classic_control import MountainCar
from rlrepro.errors import Problem
from rlrepro.papers.cards.parts import SOURCE
from rlrepro.parts import PARTS
from rlrepro.plugins.agents import AgentSource, find_agent, whole_agents
from rlrepro.plugins.environments import find_env
from rlrepro.plugins.importing import installed, passed_over
from rlrepro.plugins.wrappers import find_wrapper
from rlrepro.probe import Outcome
from rlrepro.seed_log import read_rows
from tests.conftest import Command, Runs, Site, forget

# Rewards are the action times a number; episodes last seven steps.
ENVIRONMENT = """
import gymnasium as gym
import numpy as np

class Theirs(gym.Env):
    observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)
    max_episode_steps = 7

    def __init__(self, pays=1.0):
        self.pays = pays

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.look(), {}

    def look(self):
        return self.np_random.uniform(-1, 1, 2).astype(np.float32)

    def step(self, action):
        return self.look(), float(self.pays * action), False, False, {}
"""
REGISTRATION = 'gym.register("Theirs-v0", entry_point=Theirs, max_episode_steps=7)\n'
NAMESPACED = 'gym.register("ours/Theirs-v0", entry_point=__name__ + ":Theirs", max_episode_steps=7)\n'
VECTOR_ONLY = """
class Vector(gym.vector.VectorEnv):
    metadata = {"autoreset_mode": gym.vector.AutoresetMode.DISABLED}

    def __init__(self, num_envs, max_episode_steps, pays=1.0):
        assert num_envs == 1
        self.num_envs, self.limit, self.one = 1, max_episode_steps, Theirs(pays)
        self.single_observation_space, self.single_action_space = Theirs.observation_space, Theirs.action_space

    def reset(self, *, seed=None, options=None):
        self.count = 0
        return self.one.reset(seed=seed)[0][None], {}

    def step(self, action):
        self.count += 1
        obs, reward, _, _, info = self.one.step(action[0])
        no = np.zeros(1, bool)
        return obs[None], np.array([reward]), no, no | (self.count == self.limit), info

gym.register("Theirs-v0", vector_entry_point=Vector, max_episode_steps=7)
"""

# Always takes the action of its hyperparameter, and learns nothing from a rollout of ten steps.
AGENT = """
import dataclasses
import numpy as np
import torch
from rlrepro.agent import hyper
from rlrepro.memory import Rollout

class Stubborn:
    @dataclasses.dataclass(frozen=True)
    class Config:
        choice: int = hyper(0, "the action that it takes", "ours", low=0, high=1)

    PRESETS = {"*": {"num_envs": 2, "source": "ours"}}

    def __init__(self, setup, config):
        self.choice = torch.full((setup.num_seeds, 1), config.choice)
        self.memory = Rollout(10)

    def act(self, obs, step):
        return self.predict(obs, None, True), {}

    def predict(self, obs, streams, deterministic):
        return np.repeat(self.choice.numpy(), obs.shape[1], 1)

    def update(self, batch, step):
        assert batch.obs.shape[1] == 10
        return {"losses/reward": batch.reward.mean((1, 2))}

    def get_state(self):
        return {}

    def set_state(self, state):
        pass

    def get_policy(self):
        return {"choice": self.choice}

    def set_policy(self, policy):
        self.choice.copy_(policy["choice"])
"""

WRAPPERS = """
import gymnasium as gym

class Plus(gym.RewardWrapper):
    def __init__(self, env, by):
        super().__init__(env)
        self.by = by

    def reward(self, reward):
        return reward + self.by

class Times(Plus):
    def reward(self, reward):
        return reward * self.by
"""


def returns(run: Path, seed: int = 0) -> set[tuple[float, int]]:
    """The returns and lengths of all episodes of a seed, there being some."""
    rows = list(read_rows(run / f"seeds/{seed}/episodes.csv"))
    assert len(rows) >= 3
    return {(float(row["episode_return"]), int(row["episode_length"])) for row in rows}


def write(file: Path, *sources: str) -> Path:
    file.write_text("".join(sources), encoding="utf-8")
    return file


# --- environments

BY_PACKAGE: dict[str, tuple[str, str, dict[str, str]]] = {
    "package:Id-v0": (ENVIRONMENT + REGISTRATION, "theirs:Theirs-v0", {}),
    "package:namespace/Id-v0": (ENVIRONMENT + NAMESPACED, "theirs:ours/Theirs-v0", {}),
    "package:Id-v0, vector form only": (ENVIRONMENT + VECTOR_ONLY, "theirs:Theirs-v0", {}),
    "package:Class": (ENVIRONMENT, "theirs:Theirs", {}),
    "entry point": (ENVIRONMENT, "Theirs-v7", {"Theirs-v7": "theirs:Theirs"}),
}
BY_FILE: dict[str, tuple[str, str]] = {
    "file.py:Class": (ENVIRONMENT, ":Theirs"),
    "file.py:Id-v0": (ENVIRONMENT + REGISTRATION, ":Theirs-v0"),
    "file.py, one class": (ENVIRONMENT, ""),
    "file.py, one id": (ENVIRONMENT + "\nclass Other(Theirs): ...\n" + REGISTRATION, ""),
}


@pytest.mark.parametrize("way", BY_PACKAGE)
def test_an_environment_of_an_installed_package_trains(way: str, site: Site, runs: Runs) -> None:
    source, name, points = BY_PACKAGE[way]
    site.install("theirs", source, {"rlrepro.envs": points})
    run = runs.finish("r", "--env", name, "--env-kwargs", "pays=0", "--agent", "random", "--seed", "0")
    assert returns(run) == {(0.0, 7)}


@pytest.mark.parametrize("way", BY_FILE)
def test_an_environment_in_a_file_trains_and_resumes_from_another_folder(
    way: str, site: Site, runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, suffix = BY_FILE[way]
    write(tmp_path / "theirs.py", source)
    monkeypatch.chdir(tmp_path)
    run = runs.finish("r", "--env", f"theirs.py{suffix}", "--env-kwargs", "pays=0", "--agent", "random", "--seed", "0",
                      "--checkpoint-every", "40")  # fmt: skip
    assert returns(run) == {(0.0, 7)}
    before = (run / "seeds/0/episodes.csv").read_bytes()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    unfinish(run)
    assert runs.resume("r").status == 0
    assert (run / "seeds/0/episodes.csv").read_bytes() == before


def unfinish(run: Path) -> None:
    """As if the run had been killed after its last checkpoint but one."""
    sorted(run.glob("seeds/0/checkpoints/*.safetensors"))[-1].unlink()
    text = (run / "run.json").read_text().replace('"finished"', '"running"')
    (run / "run.json").write_text(text)


def test_the_id_of_an_installed_package_is_answered_with_how_to_write_it(site: Site, command: Command) -> None:
    """Gymnasium 1 no longer imports the packages that register ids: their name must stand before the id."""
    site.install("theirs", ENVIRONMENT + REGISTRATION)
    assert "theirs:Theirs-v0" in command("train", "--env", "Theirs-v0").problem


def test_a_file_with_several_environments_says_which_there_are(site: Site, tmp_path: Path, command: Command) -> None:
    file = write(tmp_path / "two.py", ENVIRONMENT, "class Other(Theirs): ...\n")
    problem = command("train", "--env", file).problem
    assert "which environment?" in problem
    assert "Theirs, Other" in problem
    assert "it holds no environment" in command("train", "--env", write(tmp_path / "none.py", "x = 1\n")).problem


@pytest.mark.parametrize("way", ["entry point", "file.py:Class"])
def test_worker_processes_find_what_is_not_ours(way: str, site: Site, runs: Runs, tmp_path: Path) -> None:
    name = f"{write(tmp_path / 'theirs_too.py', ENVIRONMENT)}:Theirs"
    if way == "entry point":
        site.install("theirs", ENVIRONMENT + AGENT, {"rlrepro.envs": {"Theirs-v7": "theirs:Theirs"}})
        name = "Theirs-v7"
    else:
        site.install("theirs", AGENT)
    run = runs.finish("r", "--env", name, "--agent", "theirs:Stubborn", "--choice", "1", "--seeds", "2",
                      "--processes", "2")  # fmt: skip
    assert returns(run, 0) == returns(run, 1) == {(7.0, 7)}


# --- agents


@pytest.mark.parametrize("way", ["entry point", "package:Class", "file.py:Class"])
def test_an_agent_that_is_not_ours_trains_with_its_hyperparameters_and_is_evaluated(
    way: str, site: Site, runs: Runs, tmp_path: Path
) -> None:
    name = f"{write(tmp_path / 'stubborn.py', AGENT)}:Stubborn"
    if way != "file.py:Class":
        site.install("theirs", AGENT, {"rlrepro.agents": {"stubborn": "theirs:Stubborn"}})
        name = "stubborn" if way == "entry point" else "theirs:Stubborn"
    env = f"{write(tmp_path / 'env.py', ENVIRONMENT)}:Theirs"
    run = runs.finish("r", "--env", env, "--agent", name, "--choice", "1", "--seeds", "2")
    assert returns(run, 0) == returns(run, 1) == {(7.0, 7)}
    metrics = [row for row in read_rows(run / "seeds/1/metrics.csv") if row["metric"] == "losses/reward"]
    assert {row["value"] for row in metrics} == {"1"}
    outcome = runs.command("evaluate", run, "--episodes", "3")
    assert (outcome.status, outcome.err) == (0, "")
    assert "7.00" in outcome.out
    assert "did you mean '--choice'?" in runs.begin("x", "--agent", name, "--choise", "1").problem
    assert "2 is not from 0 to 1" in runs.begin("x", "--agent", name, "--choice", "2").problem
    assert runs.left() == ["r"]


@pytest.mark.parametrize("limit", [None, -1])
def test_a_class_without_its_time_limit(limit: int | None, tmp_path: Path) -> None:
    name = f"{write(tmp_path / 'env.py', ENVIRONMENT)}:Theirs"
    env = find_env(name, {"max_episode_steps": limit}).make()
    env.reset(seed=0)
    assert not any(env.step(0)[3] for _ in range(20))


ACT = "return self.predict(obs, None, True), {}"
BASE = """
    @dataclasses.dataclass(frozen=True)
    class Base:
        rate: float = hyper(0.1, "a rate", "ours")

"""
ODD_AGENTS: dict[str, tuple[str, str]] = {
    "no Config": (AGENT.replace("class Config", "class Settings"), "Config"),
    "no update": (AGENT.replace("def update", "def learn"), "update"),
    "Config is no dataclass": (
        AGENT.replace("    @dataclasses.dataclass(frozen=True)\n", ""),
        "its Config is not a dataclass: write @dataclasses.dataclass(frozen=True) above it",
    ),
    "a Config that forgets it below another": (
        AGENT.replace("class Config:", "class Config(Base):").replace(
            "    @dataclasses.dataclass(frozen=True)\n", BASE
        ),
        "its Config sets 'choice', which would be no hyperparameter: write choice: TYPE = hyper(…)",
    ),
    "a default of a base's that no type stands by": (
        AGENT.replace("class Config:", "class Config(Base):")
        .replace("choice: int", "rate = 0.5; choice: int")
        .replace("    @dataclasses.dataclass(frozen=True)\n", f"{BASE}    @dataclasses.dataclass(frozen=True)\n"),
        "its Config sets 'rate', which would be no hyperparameter",
    ),
    "a hyperparameter without a default": (AGENT.replace('choice: int = hyper(0, "', "choice: int #"), "choice"),
    "a hyperparameter named like a flag": (AGENT.replace("choice: int", "num_envs: int"), "--num-envs"),
    "an addition to none of its hyperparameters": (
        AGENT.replace("low=0, high=1)", "low=0, high=1, addition='choise')"),
        "'choice' needs 'choise', which is none of its hyperparameters; did you mean 'choice'?",
    ),
    "a hyperparameter of no such spaces": (
        AGENT.replace("low=0, high=1)", "low=0, high=1, only='vector')"),
        "'choice' is of 'vector' only; expected vectors, Box observations, Box actions; did you mean 'vectors'?",
    ),
    "a preset for no hyperparameter": (AGENT.replace('{"num_envs": 2,', '{"choise": 1,'), "choise"),
    "a file that cannot be imported": ("import nothing_of_this_name\n" + AGENT, "nothing_of_this_name"),
    "a file that is no Python": ("class (\n" + AGENT, "SyntaxError"),
    "no get_policy": (AGENT.replace("def get_policy", "def policy"), "has no get_policy; see docs/write-an-agent.md"),
    "a default of another kind": (
        AGENT.replace("hyper(0,", "hyper(0.5,"),
        "hyperparameter 'choice' is declared as int, and its default is 0.5",
    ),
    "a misspelt class": (
        AGENT.replace("class Stubborn", "class Stuborn"),
        "odd.py has no 'Stubborn'; did you mean 'Stuborn'?",
    ),
    "actions without an axis": (
        AGENT.replace("obs.shape[1], 1)", "obs.shape[1], 1).ravel()"),
        "the agent's act gives actions of shape [2], not [1, 2]: [S, N, ...] for Discrete(2)",
    ),
    "actions that are no whole numbers": (
        AGENT.replace("self.choice.numpy()", "self.choice.numpy() * 1.0"),
        "the agent's act gives actions of float64, not whole numbers, for Discrete(2)",
    ),
    "actions that there are not": (
        AGENT.replace("self.choice.numpy()", "self.choice.numpy() + 2"),
        "the agent's act gives the action 2, which is not in Discrete(2)",
    ),
    "actions as tensors": (
        AGENT.replace("return np.repeat(", "return torch.from_numpy(np.repeat(").replace(
            "obs.shape[1], 1)", "obs.shape[1], 1))"
        ),
        "the agent's act gives a Tensor, not a NumPy array [1, 2]",
    ),
    "actions that stand alone": (
        AGENT.replace(ACT, "return self.predict(obs, None, True)"),
        "the agent's act gives a ndarray, not a pair: actions [S, N, ...], extras ({}: none)",
    ),
    "actions with too much beside them": (
        AGENT.replace(ACT, "return self.predict(obs, None, True), {}, {}"),
        "the agent's act gives 3 values, not a pair",
    ),
    "extras that are nothing": (
        AGENT.replace(ACT, "return self.predict(obs, None, True), None"),
        "the agent's act gives NoneType beside its actions, not extras by name ({}: none)",
    ),
    "extras without the axes": (
        AGENT.replace(ACT, "return self.predict(obs, None, True), {'v': obs[0]}"),
        "the agent's act gives the extra 'v' as shape [2, ",
    ),
    "an extra by the name of a field": (
        AGENT.replace(ACT, "return self.predict(obs, None, True), {'reward': obs[..., 0]}"),
        "the agent's act gives an extra named 'reward', which is a field of every transition: rename it",
    ),
    "state without the seeds": (
        AGENT.replace(
            "def get_state(self):\n        return {}", "def get_state(self):\n        return {'seen': np.zeros(5)}"
        ),
        "agent.seen has the shape [5], and its first axis is not the 1 seeds",
    ),
    "a policy without the seeds": (
        AGENT.replace('return {"choice": self.choice}', 'return {"choice": self.choice.repeat(3, 1)}'),
        "the policy of {agent}.choice has the shape [3, 1], and its first axis is not the 1 seeds",
    ),
    "no policy": (
        AGENT.replace('return {"choice": self.choice}', "return None"),
        "get_policy() of {agent} gives a NoneType, not parameters by name: arrays [S, ...]",
    ),
    "no memory": (
        AGENT.replace("self.memory = Rollout(10)", "self.rollout = Rollout(10)"),
        "{agent} sets no self.memory when it is made; see docs/write-an-agent.md",
    ),
    "a constructor that raises": (
        AGENT.replace("self.memory = Rollout(10)", "raise KeyError('the network\\nis missing')"),
        "the network",
    ),
}


@pytest.mark.parametrize("case", ODD_AGENTS)
def test_an_agent_that_breaks_its_contract_is_refused_and_no_run_is_left(
    case: str, runs: Runs, site: Site, tmp_path: Path
) -> None:
    source, word = ODD_AGENTS[case]
    agent = f"{write(tmp_path / 'odd.py', source)}:Stubborn"
    problem = runs.begin("r", "--agent", agent, "--seed", "0").problem
    assert word.replace("{agent}", agent) in problem
    assert "resume" not in problem
    assert runs.left() == []


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("self.choice = torch.full", "the policies in {run} do not fit {agent} (KeyError: 'broke', odd.py:"),
        ('self.choice.copy_(policy["choice"])', "the policies in {run} do not fit {agent} (KeyError: 'broke', odd.py:"),
        ("return np.repeat(self.choice", "odd.py:Stubborn raised KeyError: 'broke', odd.py:"),
    ],
    ids=["__init__", "set_policy", "predict"],
)
def test_what_an_agent_raises_when_it_is_evaluated_is_one_line(
    place: str, words: str, runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks = "[] if 'BROKEN' not in os.environ else {}['broke']\n        "
    agent = f"{write(tmp_path / 'odd.py', 'import os' + AGENT.replace(place, breaks + place))}:Stubborn"
    run = runs.finish("r", "--agent", agent, "--seed", "0")
    assert runs.command("evaluate", run, "--episodes", "2").status == 0
    monkeypatch.setenv("BROKEN", "1")
    outcome = runs.command("evaluate", run, "--episodes", "2")
    assert outcome.problem.startswith(words.format(run=run, agent=agent))
    assert outcome.status == 2


def test_observations_without_a_number_are_refused(runs: Runs, tmp_path: Path) -> None:
    source = ENVIRONMENT.replace("class Theirs", "class Old")
    source += """
class Theirs(gym.Env):
    observation_space = gym.spaces.Box(0, 1, (0,))
    action_space = gym.spaces.Discrete(2)
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(0, np.float32), {}
    def step(self, action):
        return np.zeros(0, np.float32), 1.0, True, False, {}
"""
    env = f"{write(tmp_path / 'env.py', source)}:Theirs"
    problem = runs.begin("r", "--env", env, "--agent", "random").problem
    assert f"random cannot serve {env}: its observations, [0], are empty" in problem


def test_a_folder_is_no_file(runs: Runs, tmp_path: Path) -> None:
    (tmp_path / "walk.py").mkdir()
    problem = runs.begin("r", "--env", f"{tmp_path}/walk.py:Walk").problem
    assert f"there is no file {tmp_path}/walk.py" in problem
    assert "did you mean" not in problem


def test_an_update_that_gives_nothing_is_refused(runs: Runs, tmp_path: Path) -> None:
    source = AGENT.replace('return {"losses/reward"', 'return None and {"losses/reward"')
    assert source != AGENT
    problem = runs.begin("r", "--agent", f"{write(tmp_path / 'odd.py', source)}:Stubborn", "--seed", "0").problem
    assert "the agent's update gives NoneType, not metrics by tag (an empty dict for none)" in problem


def test_an_error_below_an_agent_of_ones_own_names_its_line(runs: Runs, tmp_path: Path) -> None:
    source = """
from rlrepro.agents.dqn import DQN

class Wide(DQN):
    def q_values(self, obs):
        return super().q_values(obs.repeat(1, 1, 2))
"""
    agent = f"{write(tmp_path / 'wide.py', source)}:Wide"
    problem = runs.begin("r", "--agent", agent, "--total-timesteps", "300", "--learning-starts", "100").problem
    assert re.search(r"\(wide\.py:6 → \w+\.py:\d+; the traceback is in ", problem)


def test_a_metric_of_all_seeds_together_is_refused(runs: Runs, tmp_path: Path) -> None:
    source = AGENT.replace("batch.reward.mean((1, 2))", "batch.reward.mean()")
    problem = runs.begin("r", "--agent", f"{write(tmp_path / 'odd.py', source)}:Stubborn", "--seed", "0").problem
    assert "the agent's update gives the metric 'losses/reward' of shape [], not [1]: [S]" in problem
    begun_anew = f"begin it anew: python -m rlrepro.train --settings {runs.folder}/r/settings.json"
    assert problem.endswith(f"; once its code is mended, {begun_anew}")  # a resume would come to it again


def test_values_and_losses_of_another_shape_are_refused(runs: Runs, tmp_path: Path) -> None:
    source = """
from rlrepro.agents.dqn import DQN

class Mean(DQN):
    def next_value(self, batch):
        return super().next_value(batch).mean(-1, keepdim=True)

class Bare(DQN):
    def loss(self, batch):
        return super().loss(batch)[0]
"""
    file, brief = write(tmp_path / "odd.py", source), ("--total-timesteps", "300", "--learning-starts", "100")
    for name, text in (
        ("Mean", "values of successors are of shape [2, 1], not [2, 128]: one for each reward"),
        ("Bare", "the agent's loss gives a Tensor, not a pair: losses [S], metrics"),
    ):
        outcome = runs.begin(name, "--agent", f"{file}:{name}", "--seeds", "2", "--processes", "1", *brief)
        assert outcome.status == 1
        assert f"{text}; once its code is mended, begin it anew: " in outcome.problem
        assert "--resume" not in outcome.problem


def test_a_config_that_lacks_what_its_class_reads_is_told(runs: Runs, tmp_path: Path) -> None:
    source = """
import dataclasses
from rlrepro.agent import hyper
from rlrepro.agents.dqn import DQN

class Alone(DQN):
    PRESETS = {}

    @dataclasses.dataclass(frozen=True)
    class Config:
        gamma: float = hyper(0.9, "discount factor", "ours")
"""
    agent = f"{write(tmp_path / 'alone.py', source)}:Alone"
    problem = runs.begin("r", "--agent", agent, "--total-timesteps", "300", "--num-envs", "1").problem
    assert f"{agent}: its Config has no '" in problem
    assert "; extend that class's Config, or mend the name" in problem


def test_an_agent_that_calls_exit_is_no_end_of_a_run(runs: Runs, tmp_path: Path, command: Command) -> None:
    source = AGENT.replace('return {"losses/reward"', 'raise SystemExit(0)\n        return {"losses/reward"')
    assert source != AGENT
    agent = f"{write(tmp_path / 'odd.py', source)}:Stubborn"
    outcome = runs.begin("r", "--agent", agent, "--seeds", "2")
    assert outcome.status == 1
    assert outcome.problem.startswith("SystemExit: 0 (odd.py:")
    run = runs.folder / "r"
    begun_anew = f"begin it anew: python -m rlrepro.train --settings {run}/settings.json"
    assert f"; once its code is mended, {begun_anew} (with the code unchanged, go on with: " in outcome.problem
    assert outcome.problem.endswith(f"python -m rlrepro.train --resume {run})")
    rules = command("rules", "--agent", agent, "--total-timesteps", "100")
    assert rules.status == 1
    assert "it raised SystemExit: 0, odd.py:" in " ".join(rules.out.split())


@pytest.mark.parametrize(
    ("default", "words"),
    [
        (
            'hyper(7, "the action that it takes", "ours", low=0, high=1)',
            "has the default 7, outside its own bounds (0 to 1)",
        ),
        ('hyper(0, "the action that it takes", "")', "has an empty source"),
        (
            'hyper(0, "the action that it takes", "ours", choices=(1, 2))',
            "has the default 0, which is none of its choices",
        ),
    ],
)
def test_a_hyperparameter_that_contradicts_itself_is_refused(
    default: str, words: str, runs: Runs, tmp_path: Path
) -> None:
    source = AGENT.replace('hyper(0, "the action that it takes", "ours", low=0, high=1)', default)
    assert source != AGENT
    problem = runs.begin("r", "--agent", f"{write(tmp_path / 'odd.py', source)}:Stubborn", "--seed", "0").problem
    assert f"its hyperparameter 'choice' {words}" in problem


@pytest.mark.parametrize(
    ("choice", "preset", "bare"),
    [
        ("0", '"source": "ours"', "'choice'"),
        ('hyper(0, "the action that it takes", "ours")', "", "the preset '*'"),
        ("0", "", "'choice', the preset '*'"),
        ('hyper(0, "the action that it takes", "ours")', '"source": "ours"', ""),
    ],
)
def test_a_value_without_a_source_is_told(choice: str, preset: str, bare: str, runs: Runs, tmp_path: Path) -> None:
    source = AGENT.replace('hyper(0, "the action that it takes", "ours", low=0, high=1)', choice)
    source = source.replace('"source": "ours"}}', f"{preset}}}}}")
    agent = f"{write(tmp_path / 'odd.py', source)}:Stubborn"
    outcome = runs.begin("r", "--agent", agent, "--seed", "0")
    assert (outcome.status, outcome.err) == (0, "")
    told = [line for line in outcome.out.splitlines() if line.startswith("note: agent")]
    assert len(told) == bool(bare)
    assert not bare or told[0].startswith(f"note: agent {agent!r} gives no source of {bare} (made by hyper(…) ")


SHADOWING = """
import dataclasses
from rlrepro.agent import hyper
from rlrepro.agents.dqn import DQN

class Soft(DQN):
    @dataclasses.dataclass(frozen=True)
    class Config(DQN.Config):
        NAME: float = DEFAULT
"""


@pytest.mark.parametrize(
    ("name", "default", "is_told"),
    [
        ("tau", 'hyper(0.03, "entropy temperature", "paper: Table 1", low=0)', True),
        ("gamma", 'hyper(0.03, "discount factor", "paper: Table 1")', False),  # another value, and the same meaning
        ("tau", "0.03", False),
        ("temperature", 'hyper(0.03, "entropy temperature", "paper: Table 1", low=0)', False),
    ],
)
def test_a_hyperparameter_that_takes_another_s_place_in_the_base_is_told(
    name: str, default: str, is_told: bool, runs: Runs, tmp_path: Path
) -> None:
    agent = f"{write(tmp_path / 'soft.py', SHADOWING.replace('NAME', name).replace('DEFAULT', default))}:Soft"
    outcome = runs.begin("r", "--agent", agent, "--seed", "0")
    assert outcome.status == 0
    told = [line for line in outcome.out.splitlines() if line.startswith("note: agent") and "gives no" not in line]
    assert len(told) == is_told
    if is_told:
        clash = "its tau (entropy temperature) is DQN's too (weight of the online parameters in the target)"
        assert clash in told[0]


def test_a_metric_whose_name_would_break_a_table_is_refused(runs: Runs, tmp_path: Path) -> None:
    source = AGENT.replace('"losses/reward"', '"losses/a\\nb"')
    problem = runs.begin("r", "--agent", f"{write(tmp_path / 'odd.py', source)}:Stubborn", "--seed", "0").problem
    assert "the agent gives a metric called 'losses/a\\nb': expected a text without commas" in problem


@pytest.mark.parametrize("presets", ["[]", "{'*': []}"])
def test_presets_that_are_no_tables_are_refused(presets: str, runs: Runs, tmp_path: Path) -> None:
    source = AGENT.replace('{"*": {"num_envs": 2, "source": "ours"}}', presets)
    problem = runs.begin("r", "--agent", f"{write(tmp_path / 'odd.py', source)}:Stubborn", "--seed", "0").problem
    assert "its PRESETS are not a mapping of names to mappings of settings" in problem


@pytest.mark.parametrize("is_broken", [False, True])
def test_losses_that_are_no_numbers_are_divergence_where_the_policy_is_broken_too(
    is_broken: bool, runs: Runs, tmp_path: Path
) -> None:
    """NaN is also what an agent gives for a seed that had nothing to learn from."""
    source = AGENT.replace("batch.reward.mean((1, 2))", "batch.reward.mean((1, 2)) * float('nan')")
    if is_broken:
        source = source.replace('return {"choice": self.choice}', 'return {"choice": self.choice / 0.0 * 0.0}')
    outcome = runs.begin("r", "--agent", f"{write(tmp_path / 'odd.py', source)}:Stubborn", "--seeds", "2",
                         "--log-every", "20")  # fmt: skip
    assert outcome.out.count("the losses of seed 0 are not finite since env step 20: it diverged") == is_broken


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def X(env):\n    pass\n", "X around CartPole-v1 is a NoneType, not a gymnasium.Env"),
        ("class X:\n    def __init__(self, env):\n        pass\n", "X around CartPole-v1 is a X, not a gymnasium.Env"),
        (
            "import gymnasium\nclass X(gymnasium.Wrapper):\n    def __init__(self, env):\n        pass\n",
            "X around CartPole-v1 has no observation_space (AttributeError",
        ),
        ("def X(env):\n    raise OSError('no wheel')\n", "X around CartPole-v1 could not be made: OSError: no wheel"),
        ("class Y: ...\n", "odd.py has no 'X'"),
    ],
)
def test_what_is_no_wrapper_is_refused_in_one_line(source: str, words: str, runs: Runs, tmp_path: Path) -> None:
    wrapper = f"{write(tmp_path / 'odd.py', source)}:X"
    assert words in runs.begin("r", "--env", "CartPole-v1", "--agent", "random", "--wrapper", wrapper).problem
    assert runs.left() == []


def test_an_environment_without_a_space_is_refused_in_one_line(runs: Runs, tmp_path: Path) -> None:
    lacking = ENVIRONMENT.replace("    action_space = gym.spaces.Discrete(2)\n", "")
    assert lacking != ENVIRONMENT
    env = f"{write(tmp_path / 'odd.py', lacking)}:Theirs"
    assert f"{env} has no action_space (AttributeError" in runs.begin("r", "--env", env, "--agent", "random").problem
    assert runs.left() == []


@pytest.mark.parametrize("group", ["agents", "envs", "wrappers"])
@pytest.mark.parametrize(("value", "words"), [("missing_module:X", "missing_module"), ("theirs:Missing", "Missing")])
def test_an_entry_point_that_leads_nowhere_is_named(
    group: str, value: str, words: str, site: Site, command: Command
) -> None:
    site.install("theirs", "x = 1\n", {f"rlrepro.{group}": {"broken": value}})
    flag = {"agents": "--agent", "envs": "--env", "wrappers": "--wrapper"}[group]
    problem = command("train", flag, "broken", "--seed", "0").problem
    assert "broken" in problem
    assert words in problem


# --- wrappers


@pytest.mark.parametrize("way", ["entry point", "package:Class", "file.py:Class"])
def test_wrappers_that_are_not_ours_are_applied_the_innermost_first(
    way: str, site: Site, runs: Runs, tmp_path: Path
) -> None:
    plus, times = (f"{write(tmp_path / 'wrap.py', WRAPPERS)}:{name}" for name in ("Plus", "Times"))
    if way != "file.py:Class":
        site.install("theirs", WRAPPERS, {"rlrepro.wrappers": {"plus": "theirs:Plus", "times": "theirs:Times"}})
        plus, times = ("plus", "times") if way == "entry point" else ("theirs:Plus", "theirs:Times")
    env = ("--env", f"{write(tmp_path / 'env.py', ENVIRONMENT)}:Theirs", "--env-kwargs", "pays=0")
    brief = (*env, "--agent", "random", "--seed", "0")
    one = runs.finish("one", *brief, "--wrapper", f"{plus}(by=3)", "--wrapper", f"{times}(by=2)")
    assert returns(one) == {(7 * (0 + 3) * 2.0, 7)}
    other = runs.finish("other", *brief, "--wrapper", f"{times}(by=2)", "--wrapper", f"{plus}(by=3)")
    assert returns(other) == {(7 * (0 * 2 + 3.0), 7)}


def test_a_wrapper_of_gymnasium_is_applied_by_its_name_with_arguments(runs: Runs) -> None:
    run = runs.finish("r", "--env", "CartPole-v1", "--wrapper", "TimeLimit(max_episode_steps=3)",
                      "--wrapper", "FlattenObservation", "--agent", "random", "--seed", "0")  # fmt: skip
    assert returns(run) == {(3.0, 3)}


@pytest.mark.parametrize("wrapper", ["NormalizeObservation", "NormalizeReward", "FrameStackObservation(stack_size=2)"])
def test_wrappers_that_remember_train_and_resume_as_if_never_stopped(wrapper: str, runs: Runs) -> None:
    brief = ("--env", "CartPole-v1", "--wrapper", wrapper, "--agent", "ppo", "--num-steps", "8", "--num-envs", "2",
             "--seed", "0", "--checkpoint-every", "40")  # fmt: skip
    run = runs.finish("r", *brief)
    before = {name: (run / "seeds/0" / name).read_bytes() for name in ("episodes.csv", "policy.safetensors")}
    unfinish(run)
    assert runs.resume("r").status == 0
    assert {name: (run / "seeds/0" / name).read_bytes() for name in before} == before


@pytest.mark.parametrize(
    ("wrapper", "words"),
    [
        ("TimeLimt(max_episode_steps=3)", "did you mean 'TimeLimit'?"),
        ("TimeLimit(3)", "TimeLimit(3): write its arguments as Name(key=value, key='text')"),
        ("TimeLimit(max_episode_steps=3", "write its arguments as"),
        ("TimeLimit(max_episode_steps={[]: 3})", "write its arguments as"),
        ("TimeLimit(max_episode_steps=3, max_episode_steps=9)", "write its arguments as"),
        ("TimeLimit(**{'max_episode_steps': 3})", "write its arguments as"),
        ("TimeLimit(max_episode_steps=3)(max_episode_steps=9)", "write its arguments as"),
        ("TimeLimit", "max_episode_steps"),
        ("TimeLimit(steps=3)", "steps"),
        ("JaxToNumpy", "JaxToNumpy"),
        ("vector", "unknown wrapper 'vector' ("),
        ("json:Nothing", "Nothing"),
        ("no_such_module:Nothing", "no_such_module"),
    ],
)
def test_a_wrapper_that_cannot_be_is_refused(wrapper: str, words: str, runs: Runs) -> None:
    assert words in runs.begin("r", "--env", "CartPole-v1", "--agent", "random", "--wrapper", wrapper).problem
    assert runs.left() == []


def test_a_plug_in_is_recorded_and_another_in_its_place_is_told(site: Site, runs: Runs) -> None:
    wrapper = "import gymnasium\nclass Plus(gymnasium.RewardWrapper):\n    def reward(self, r):\n        return r + 1\n"
    site.install("theirs", wrapper, {"rlrepro.wrappers": {"plus": "theirs:Plus"}})
    brief = ("--env", "FrozenLake-v1", "--agent", "q_learning", "--seed", "0", "--wrapper", "plus")
    run = runs.finish("r", *brief)
    about = json.loads((run / "run.json").read_text())
    assert about["plug_ins"] == {"plus": "theirs:Plus of theirs 1.0"}
    assert list(about["code"]) == ["theirs"]
    assert (run / "code" / "theirs.py").read_text() == wrapper
    file, metadata = site.folder / "theirs.py", site.folder / "theirs-1.0.dist-info" / "METADATA"
    file.write_text(wrapper.replace("+ 1", "+ 100"))
    longer = ("train", "--resume", run, "--total-timesteps", "400")
    assert "theirs was changed since" in runs.command(*longer).problem
    assert "warning: theirs was changed since" in runs.command("evaluate", run, "--episodes", "2").err
    file.write_text(wrapper)
    metadata.write_text(metadata.read_text().replace("Version: 1.0", "Version: 2.0"))
    forget()
    told = f"plus was theirs:Plus of theirs 1.0 when {run} began, and is theirs:Plus of theirs 2.0"
    assert told in runs.command(*longer).problem
    assert f"warning: {told}" in runs.command("evaluate", run, "--episodes", "2").err


def test_a_namespace_and_a_vector_form_are_recorded_too(site: Site, runs: Runs) -> None:
    code = (
        "import gymnasium\n"
        "from rlrepro.envs.classic_control import CartPole\n"
        "class Form(CartPole):\n"
        "    registered_as = staticmethod(lambda: None)\n"
        "def register():\n"
        "    gymnasium.register('Theirs/Cart-v0', 'gymnasium.envs.classic_control:CartPoleEnv', max_episode_steps=9)\n"
    )
    groups = {"env_namespaces": {"Theirs": "theirs:register"}, "batched_envs": {"Theirs/Cart-v0": "theirs:Form"}}
    site.install("theirs", code, {f"rlrepro.{group}": points for group, points in groups.items()})
    try:
        run = runs.finish("r", "--env", "Theirs/Cart-v0", "--agent", "random", "--seed", "0")
    finally:
        gymnasium.registry.pop("Theirs/Cart-v0", None)
    about = json.loads((run / "run.json").read_text())
    assert about["plug_ins"] == {"Theirs/Cart-v0": "theirs:register of theirs 1.0 and theirs:Form of theirs 1.0"}
    assert (run / "code" / "theirs.py").read_text() == code


def test_a_plug_in_that_is_passed_over_is_told(site: Site, runs: Runs) -> None:
    site.install("theirs", "", {"rlrepro.agents": {"random": "theirs:Mine", "other": "theirs:Other"}})
    said = " ".join(runs.begin("r", "--env", "CartPole-v1", "--agent", "random", "--seed", "0").out.split())
    assert "random is the kit's, and not that of somebody else's by the same name: write theirs:Mine" in said
    assert (passed_over("other"), passed_over("ppo"), passed_over("TimeFraction")) == ([], [], [])


def test_a_plug_in_does_not_take_our_names_nor_gymnasiums(site: Site, command: Command) -> None:
    site.install(
        "theirs", "", {"rlrepro.agents": {"ppo": "theirs:Mine"}, "rlrepro.envs": {"CartPole-v1": "theirs:Env"}}
    )
    assert find_agent("ppo").load().__name__ == "PPO"
    problem = command("train", "--env", "CartPole-v1").problem
    assert problem == "CartPole-v1 is Gymnasium's, and an entry point of somebody else's: write theirs:Env"


def test_a_broken_plug_in_is_named_and_hides_nothing_else(site: Site, command: Command) -> None:
    broken = {"rlrepro.agent_families": {"odd": "gone:X"}, "rlrepro.env_namespaces": {"Odd": "gone:register"}}
    site.install("theirs", "class Outer:\n    class Inner:\n        pass", {
        **broken, "rlrepro.batched_envs": {"CliffWalking-v1": "theirs:gone"},
        "rlrepro.wrappers": {"nested": "theirs:Outer.Inner"}})  # fmt: skip
    outcome = command("list")
    assert outcome.status == 0
    assert outcome.out.count("could not be imported: ModuleNotFoundError: No module named 'gone'") == 2
    assert "CartPole-v1" in outcome.out
    assert "wrappers of Gymnasium:" in outcome.out
    problem = command("train", "--env", "CliffWalking-v1", "--agent", "q_learning").problem
    assert "the vector form of CliffWalking-v1 could not be imported: its entry point is theirs:gone" in problem
    assert find_wrapper("nested").__name__ == "Inner"


def test_a_broken_agent_is_left_out_and_hides_no_other(
    site: Site, command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    site.install("theirs", "x = 1", {"rlrepro.agents": {"broken": "theirs:Gone"}})
    page = tmp_path / "page.md"
    page.write_text("<!-- proofs -->\n<!-- end of proofs -->\n")
    before = page.read_text()
    written = command("proofs", "--write", page)
    assert written.status == 2
    assert "broken is left out: " in written.problem
    assert page.read_text() == before
    probed: list[str] = []
    monkeypatch.setattr("rlrepro.probe._show", lambda agent, *_: probed.append(agent))
    monkeypatch.setattr("rlrepro.probe.probe", lambda *_: Outcome("a", "b", True, ""))
    outcome = command("probe", "--agent", "all")
    assert outcome.status == 1
    assert "broken is left out: " in outcome.err
    assert "ppo" in probed
    names, told = whole_agents()
    assert names == [name for name in installed("agents") if name != "broken"]
    assert "ppo" in names
    assert len(told) == 1
    assert told[0].startswith("broken is left out: ")


# --- reading without importing


def described(source: AgentSource) -> dict[str, Any]:
    return comparable(*source.description())


def comparable(config: Any, presets: Any, stackable: Any) -> dict[str, Any]:
    fields = [(f.name, f.default, dict(f.metadata)) for f in dataclasses.fields(config)]
    return {"fields": fields, "presets": presets, "stackable": stackable}


def imported(source: AgentSource) -> dict[str, Any]:
    found = source.load()
    return comparable(found.Config, getattr(found, "PRESETS", {}), getattr(found, "stackable", True))


def test_our_agents_are_described_without_torch_as_they_are(tmp_path: Path) -> None:
    code = f"""
    import sys
    sys.path.insert(0, {str(Path(__file__).parent.parent)!r})
    from rlrepro.plugins.importing import installed
    from rlrepro.plugins.agents import find_agent
    from tests.test_plugins import described, imported
    sources = [find_agent(name) for name in installed("agents")]
    assert len(sources) >= 3
    read = [described(source) for source in sources]
    assert "torch" not in sys.modules
    assert read == [imported(source) for source in sources]
    assert "torch" in sys.modules
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", installed("agents"))
def test_every_value_of_our_agents_has_a_source_that_a_card_takes(name: str) -> None:
    config, presets, _ = find_agent(name).description()
    given = {field.name: field.metadata["source"] for field in dataclasses.fields(config)}
    given |= {f"preset {task}": preset["source"] for task, preset in presets.items()}
    assert {where: source for where, source in given.items() if not SOURCE.match(source)} == {}


HEAD = """
import dataclasses
from dataclasses import dataclass
from rlrepro.agent import hyper
"""
CONFIG = """
    @dataclass(frozen=True)
    class Config:
        rate: float = hyper(0.5, "its rate", "paper", low=0, high=1)
        hidden: tuple[int, ...] = hyper((64, 64), "its layers", "paper")
        undocumented: int = 3
"""
PRESETS = """
    PRESETS: dict = {"*": {"rate": 0.1, "source": "ours"}}
    stackable = False
"""
METHODS = """
    def act(self, obs, step): ...
    def predict(self, obs, streams, deterministic): ...
    def update(self, batch, step): ...
    def get_state(self): ...
    def set_state(self, state): ...
    def get_policy(self): ...
    def set_policy(self, policy): ...
"""
PLAIN = "class Mine:" + CONFIG + PRESETS + METHODS
BASE = "class Base:" + PRESETS + METHODS
UNUSUAL: dict[str, str] = {
    "no presets": "class Mine:" + CONFIG + METHODS,
    "a constant of the module": "RATE = 0.25\n" + PLAIN.replace("hyper(0.5", "hyper(RATE"),
    "a config of another class": PLAIN.replace("Mine", "Other") + "class Mine(Other):\n    Config = Other.Config\n",
    "a config that inherits": "@dataclass(frozen=True)\nclass Base:\n    first: int = 1\n"
    + PLAIN.replace("class Config:", "class Config(Base):"),
    "presets of a base class": BASE + "class Mine(Base):" + CONFIG,
    "presets added to": PLAIN + '    PRESETS["Box"] = {"rate": 0.2}\n',
    "presets joined": PLAIN + '    PRESETS |= {"Box": {"rate": 0.2}}\n',
    "presets made in a loop": "class Mine:" + CONFIG + METHODS + '    PRESETS = {k: {} for k in ("Box", "Discrete")}\n',
    "presets in a condition": "class Mine:" + CONFIG + METHODS + "    if True:\n        stackable = False\n",
    "a class in a condition": "if True:\n" + textwrap.indent(PLAIN, "    "),
    "a class defined again": PLAIN + "class Mine:" + CONFIG + METHODS,
    "a hyper of its own": "def hyper(default, *_, **__):\n    return dataclasses.field(default=9.0)\n" + PLAIN,
    "presets added to below the class": PLAIN + 'Mine.PRESETS["Box"] = {"rate": 0.2}\n',
    "presets replaced below the class": PLAIN + 'Mine.PRESETS = {"Box": {"rate": 0.2}}\n',
    "presets changed by a function": "def change(cls):\n    cls.stackable = True\n\n" + PLAIN + "change(Mine)\n",
    "presets changed in a loop": PLAIN + 'for name in ("Box", "Discrete"):\n    Mine.PRESETS[name] = {"rate": 0.2}\n',
    "presets changed by another class": PLAIN + 'class Other:\n    Mine.PRESETS["Box"] = {"rate": 0.2}\n',
    "presets changed by another name": PLAIN + 'setattr(globals()["Mine"], "stackable", True)\n',
    "presets changed by a function that is not told": PLAIN + "def f():\n    Mine.stackable = True\n\nf()\n",
    "the class renamed": PLAIN + "Other = Mine\nOther.stackable = True\n",
    "a decorated class": "def change(cls):\n    cls.stackable = True\n    return cls\n\n@change\n" + PLAIN,
}


def test_a_plain_agent_is_described_without_running_its_file(
    tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)  # where it is there already, importing costs nothing
    plain = imported(find_agent(f"{write(tmp_path / 'plain.py', HEAD, PLAIN)}:Mine"))
    assert plain["presets"] == {"*": {"rate": 0.1, "source": "ours"}}
    below = 'TAGS = ("a", "b")\n\ndef helper(): ...\n\nclass Other: ...\n\nif __name__ == "__main__":\n    helper()\n'
    cannot_run = write(tmp_path / "cannot_run.py", HEAD, "import a_gigabyte_of_cuda\n", PLAIN, below)
    assert described(find_agent(f"{cannot_run}:Mine")) == plain


@pytest.mark.parametrize("case", UNUSUAL)
def test_an_unusual_agent_is_described_as_importing_it_does(
    case: str, tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    source = find_agent(f"{write(tmp_path / 'unusual.py', HEAD, UNUSUAL[case])}:Mine")
    assert described(source) == imported(source)


# --- list


def named(lines: Iterable[str]) -> set[str]:
    return {line.split()[0] for line in lines if line.startswith("  ")}


def test_list_names_all_that_is_installed(site: Site, command: Command) -> None:
    points = {group: {f"new-{group}": "theirs:X"} for group in ("rlrepro.agents", "rlrepro.envs", "rlrepro.wrappers")}
    site.install("theirs", "x = 1\n", points)
    outcome = command("list")
    assert (outcome.status, outcome.err) == (0, "")
    found = named(outcome.out.splitlines())
    assert {f"new-{group}" for group in points} <= found
    for group in ("agents", "envs", "wrappers", "batched_envs"):
        assert set(installed(group)) <= found
    assert {gym_id for gym_id in gymnasium.registry if "/" not in gym_id} <= found
    assert {"TimeLimit", "FrameStackObservation"} <= found
    assert "vector" not in found  # a module beside the wrappers
    batched = {line.split()[0] for line in outcome.out.splitlines() if "vector form" in line}
    assert batched == set(installed("batched_envs"))


@pytest.mark.parametrize(
    ("what", "inside", "outside"),
    [("agents", "ppo", "CartPole-v1"), ("envs", "CartPole-v1", "TimeLimit"), ("wrappers", "TimeLimit", "ppo")],
)
def test_list_names_one_kind_if_asked(what: str, inside: str, outside: str, command: Command) -> None:
    found = named(command("list", what).out.splitlines())
    assert inside in found
    assert outside not in found


def test_the_parts_of_agents_are_listed_with_their_arguments_and_are_those_of_the_docs(command: Command) -> None:
    shown = command("list", "parts").out
    assert "  gae(reward, value, next_value, terminated, truncated, gamma, gae_lambda)\n      Generalised adv" in shown
    assert not re.search(r"\n      \n", shown), "each says what it does"
    page = (Path(__file__).parents[1] / "docs/write-an-agent.md").read_text(encoding="utf-8")
    section = page.partition("## What there is to build with")[2].partition("\n## ")[0]
    assert set(re.findall(r"`(\w+)`", section)) == {name for names in PARTS.values() for name in names}


def test_list_of_something_else_is_one_line(command: Command) -> None:
    assert "'agent'" in command("list", "agent").problem


def test_list_into_a_pipe_that_is_closed_is_quiet() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    code = "import sys; from rlrepro.cli import main; sys.exit(main(['list']))"
    done = subprocess.run([sys.executable, "-c", code], stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert done.stderr == b""


@pytest.mark.parametrize("flag", ["--env", "--agent"])
@pytest.mark.parametrize("error", ["RuntimeError", "ValueError", "ImportError"])
def test_a_package_that_cannot_be_imported_says_why(flag: str, error: str, site: Site, runs: Runs) -> None:
    package = site.folder / "brokenpkg"
    package.mkdir()
    write(package / "__init__.py", f"raise {error}('the licence is missing')")
    write(package / "envs.py", "X = 1")
    problem = runs.begin("r", flag, "brokenpkg.envs:X").problem
    assert f"could not be imported: {error}: the licence is missing, __init__.py:1" in problem
    assert "there is no module 'brokenpkg.env'" not in problem
    (package / "__init__.py").write_text("")
    assert "there is no module 'brokenpkg.env'" in runs.begin("r", flag, "brokenpkg.env:X").problem


class FewArguments(MountainCar):
    """A vector form that knows none of the environment's own arguments."""

    def __init__(self, num: int, limit: int | None) -> None:
        super().__init__(num, limit)


class Misnamed:
    """A vector form that lacks a part, by a slip."""

    observation_space = action_space = gymnasium.spaces.Discrete(2)
    reset = step = get_state = set_state = None
    to_lern = None

    def __init__(self, num: int, limit: int | None) -> None:
        """As any."""


class NoLimit(MountainCar):
    def __init__(self, num: int) -> None:
        super().__init__(num, None)


class Mine(gymnasium.Env):  # type: ignore[type-arg]
    """Two steps of 100 each, by the name of another; or its own time limit."""

    observation_space = gymnasium.spaces.Box(-9, 9, (4,))
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, max_episode_steps: int = 3, **others: Any) -> None:
        self.limit = max_episode_steps

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.count = 0
        return np.zeros(4, np.float32), {}

    def step(self, action: Any) -> Any:
        self.count += 1
        return np.zeros(4, np.float32), 100.0, self.count == 2, self.count >= self.limit, {}


@pytest.mark.parametrize(
    ("name", "registration"),
    [
        ("CartPole-v1", {"entry_point": Mine}),
        ("Pendulum-v1", {"kwargs": {"g": 0.0}}),
        ("CartPole-v1", {"additional_wrappers": (TimeAwareObservation.wrapper_spec(),)}),
        ("MinAtar/Breakout-v1", {"kwargs": {"game": "asterix"}}),
    ],
    ids=["class", "arguments", "wrapper", "game"],
)
def test_an_id_that_somebody_registers_anew_is_no_more_ours(
    name: str, registration: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_env(name).is_batched
    spec = dataclasses.replace(gymnasium.spec(name), **registration)
    monkeypatch.setitem(gymnasium.registry, name, spec)
    source = find_env(name)
    assert not source.is_batched
    assert type(source.batch(1)).__name__ == "SyncEnvBatch"


def test_a_file_that_registers_a_known_id_anew_holds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(gymnasium.registry, "MountainCar-v0", gymnasium.spec("MountainCar-v0"))
    file = tmp_path / "anew.py"
    file.write_text(
        "import gymnasium\n"
        "point = 'gymnasium.envs.classic_control:MountainCarEnv'\n"
        "gymnasium.register('MountainCar-v0', point, max_episode_steps=7, kwargs={'goal_velocity': 1})\n"
    )
    with pytest.warns(UserWarning, match="Overriding environment"):
        source = find_env(str(file))
    assert (source.gym_id, source.is_batched, source.time_limit()) == ("MountainCar-v0", False, 7)
    assert source.make().unwrapped.goal_velocity == 1


@pytest.mark.parametrize(("limit", "own", "wrapped"), [(None, 3, None), (-1, 3, None), (1, 1, 1), (50, 50, 50)])
def test_a_class_that_takes_its_time_limit_gets_it(limit: int | None, own: int, wrapped: int | None) -> None:
    source = find_env(f"{__name__}:Mine", {} if limit is None else {"max_episode_steps": limit})
    assert source.make().unwrapped.limit == own  # type: ignore[attr-defined]
    assert source.time_limit() == wrapped


class Limited(Mine):
    @property
    def max_episode_steps(self) -> int:
        return self.limit


def test_a_time_limit_that_is_a_property_is_none_to_apply() -> None:
    assert type(find_env(f"{__name__}:Limited").make()) is Limited


def test_an_environment_is_batched_where_batch_says_so(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    form = importlib.metadata.EntryPoint("MountainCar-v0", f"{__name__}:FewArguments", "rlrepro.batched_envs")
    monkeypatch.setattr(
        "rlrepro.plugins.env_source.installed", lambda group: {form.name: form} if "batched" in group else {}
    )
    for kwargs, is_batched in (({}, True), ({"goal_velocity": 0.01}, False)):
        source = find_env("MountainCar-v0", kwargs)
        assert source.is_batched == is_batched == isinstance(source.batch(2), FewArguments)


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ("Misnamed", "has no to_learn; did you mean 'to_lern'?; see rlrepro.vector.EnvBatch"),
        ("NoLimit", "is to take (num, max_episode_steps): too many positional arguments"),
    ],
)
def test_a_vector_form_that_is_not_whole_is_named(form: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    point = importlib.metadata.EntryPoint("MountainCar-v0", f"{__name__}:{form}", "rlrepro.batched_envs")
    monkeypatch.setattr(
        "rlrepro.plugins.env_source.installed", lambda group: {point.name: point} if "batched" in group else {}
    )
    with pytest.raises(Problem) as problem:
        find_env("MountainCar-v0").batch(1)
    assert str(problem.value) == f"the vector form of MountainCar-v0, {point.value}, {words}"


REGISTERS = """
import gymnasium
class Walk(gymnasium.Env):
    pass
gymnasium.register("{name}", entry_point=Walk, max_episode_steps={limit})
"""


def test_a_file_holds_what_it_registered_each_time_and_whoever_else_registers_that_id(tmp_path: Path) -> None:
    first, second = tmp_path / "first.py", tmp_path / "second.py"
    first.write_text(REGISTERS.format(name="Walk/Twice-v0", limit=20))
    second.write_text(REGISTERS.format(name="Walk/Twice-v0", limit=7))

    def limit_of(name: str | Path) -> Any:
        spec = find_env(str(name)).factory().spec
        return spec.max_episode_steps if spec else None

    try:
        names = [find_env(str(first)).name for _ in range(2)]
        with pytest.warns(UserWarning, match="Overriding environment Walk/Twice-v0"):
            assert limit_of(second) == 7
        assert names == [f"{first}:Walk/Twice-v0"] * 2
        assert limit_of(first) == 20
        assert limit_of(f"{first}:Walk/Twice-v0") == 20
    finally:
        del gymnasium.registry["Walk/Twice-v0"]
