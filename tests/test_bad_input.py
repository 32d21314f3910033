"""Whatever goes wrong is told in one line, and nothing that was done is lost."""

from __future__ import annotations

import argparse
import copy
import errno
import fcntl
import itertools
import json
import os
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from rlrepro import checkpoint, circumstances
from rlrepro.errors import Problem
from rlrepro.flags import train_parser
from rlrepro.plugins.agents import find_agent
from rlrepro.record import RunFolder
from rlrepro.recorder import checkpoint_path
from rlrepro.request import Request, ResumeRequest, parse_train
from rlrepro.settings import Settings
from tests.conftest import BRIEF, Command, Outcome, Runs, Site

# Its `at`-th step goes wrong in the way `how`, once: not where the file `marker` says that it has.
TROUBLE = """
import os
import signal
from pathlib import Path
import gymnasium as gym
import numpy as np

class Trouble(gym.Env):
    observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)
    max_episode_steps = 15
    made = furthest = 0

    def __init__(self, at=60, how="", marker="", made=0, number=signal.SIGINT):
        Trouble.made += 1
        self.at, self.how, self.marker, self.count = at, how, marker, 0
        if Trouble.made == made:
            os.kill(os.getpid(), number)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if self.how == "reset" and self.goes_wrong():
            raise ConnectionError("the simulator\\nis not there")
        if self.how == "evaluation" and self.count == 0 and Trouble.furthest >= self.at and self.goes_wrong():
            raise ConnectionError("the simulator\\nis gone")  # an environment made after training began
        self.state = self.np_random.normal(size=2).astype(np.float32)
        return self.state.copy(), {}

    def goes_wrong(self):
        if os.path.exists(self.marker):
            return False
        if self.marker:
            Path(self.marker).touch()
        return True

    def step(self, action):
        self.count += 1
        Trouble.furthest = max(Trouble.furthest, self.count * (self.how == "evaluation"))
        self.state = (self.state * 0.9 + self.np_random.normal(size=2) + action).astype(np.float32)
        obs, reward = self.state.copy(), float(self.state[0])
        if self.count == self.at and self.how not in ("", "evaluation") and self.goes_wrong():
            if self.how == "raise":
                raise ConnectionError("the simulator\\nfell over")
            if self.how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.how == "reward":
                reward = float("nan")
            if self.how == "observation":
                obs[1] = np.nan
        return obs, reward, bool(reward > 4), False, {}
"""
PPO = ("--agent", "ppo", "--num-steps", "20", "--num-envs", "2", "--num-epochs", "1", "--num-minibatches", "2")
DQN = ("--agent", "dqn", "--hidden", "8", "--learning-starts", "50", "--num-envs", "1")


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).resolve().parent.parent)


@pytest.fixture
def trouble(tmp_path: Path, site: Site) -> Callable[..., list[str]]:
    """The flags of a troublesome environment."""
    file = tmp_path / "trouble.py"
    file.write_text(TROUBLE, encoding="utf-8")

    def flags(**kwargs: Any) -> list[str]:
        return ["--env", f"{file}:Trouble", "--env-kwargs", json.dumps(kwargs)]

    return flags


def kept(run: Path) -> dict[str, bytes]:
    """What of a run must be the same, however often it was stopped."""
    names = ("episodes.csv", "evaluations.csv", "policy.safetensors")
    found = {str(f.relative_to(run)): f.read_bytes() for name in names for f in run.glob(f"seeds/*/{name}")}
    assert len(found) >= 3
    return found


def all_files(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file() and f.name != ".lock"}


def unfinished(runs: Runs, name: str = "r", *arguments: str) -> Path:
    """A run of two seeds as a power cut would leave it: checkpoints at 100 and 120 of 120 steps, not finished."""
    run = runs.finish(name, "--seeds", "2", "--checkpoint-every", "20", *(arguments or PPO))
    text = (run / "run.json").read_text()
    (run / "run.json").write_text(text.replace('"finished"', '"running"'))
    return run


def way_on(problem: str) -> list[str]:
    """The arguments of the command that a line ends with."""
    before, _, hint = problem.partition("; go on with: python -m rlrepro.train ")
    assert before
    return shlex.split(hint)


# --- names and flags


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--env CartPole-v9", "unknown environment 'CartPole-v9'; did you mean 'CartPole-v1'?"),
        ("--env cartpole", "did you mean 'CartPole-v1'?"),
        ("--env Breakout-v5", "unknown environment 'Breakout-v5'; did you mean 'ALE/Breakout-v5'?"),
        ("--env pong", "unknown environment 'pong'; did you mean 'ALE/Pong-v5'?"),
        ("--env Asterix-v1", "unknown environment 'Asterix-v1'; did you mean 'MinAtar/Asterix-v1'?"),
        ("--env Nothing/Like-It-v0", "unknown environment 'Nothing/Like-It-v0'"),
        ("--env no_such_module:X-v0", "there is no module 'no_such_module'"),
        ("--env json:X-v0", "json neither registers nor defines 'X-v0'"),
        ("--env no/such.py:X", "there is no file"),
        ("--env tests/test_vector.py:SingelGame", "did you mean 'SingleGame'?"),
        ("--agent pppo", "unknown agent 'pppo'; did you mean 'ppo'? (installed: a2c, c51, ddpg, "),
        ("--agent DQN", "did you mean 'dqn'?"),
        ("--agent no_such_module:X", "there is no module 'no_such_module'"),
        ("--agent json:X", "json has no 'X'"),
        ("--agent no/such.py:X", "there is no file"),
        ("--agent tests/conftest.py", "which class of the file?"),
        ("--toal-timesteps 5", "unknown argument '--toal-timesteps'; did you mean '--total-timesteps'?"),
        ("--agent dqn --clip-range 0.1", "unknown argument '--clip-range'"),
        ("--learning_rate=0.1", "did you mean '--learning-rate'?"),
        ("CartPole-v1", "unknown argument 'CartPole-v1'"),
        ("--env", "--env: expected one argument"),
        ("--agent dnq", "unknown agent 'dnq'; did you mean 'dqn'?"),
        ("--no-ortho-init", "did you mean '--first-weights uniform'?"),
        ("--agent dqn --target-update-interval 5", "did you mean '--target-every'?"),
        ("--agent sac --env Pendulum-v1 --target-every 5", "did you mean '--target-delay'?"),
        ("--agent trpo --target-kl 0", "--target-kl: 0 is not from 1e-08 to 1e+30"),
        ("--agent trpo --kl-slack 0", "--kl-slack: 0 is not from 1e-08 to 1e+30"),
        ("--device gpu", "'gpu' is not cpu, cuda or cuda:N; did you mean 'cuda'?"),
        ("--agent dqn --alpha 0.5", "--alpha says nothing without --prioritised"),
        ("--agent dqn --no-prioritised --beta 0.5", "--beta says nothing without --prioritised"),
        ("--agent a2c --value-eps 1e-3", "--value-eps says nothing without --separate"),
        (
            "--agent a2c --optimiser adam --rms-alpha 0.9",
            "--rms-alpha says nothing without --optimiser rmsprop or rmsprop_tf",
        ),
        ("--agent ddpg --env Pendulum-v1 --noise-dt 0.01", "--noise-dt says nothing without --noise ou"),
        (
            "--agent ddpg --env Pendulum-v1 --action-fan-in own",
            "--action-fan-in says nothing without --action-layer second or both",
        ),
        ("--agent td3 --env Pendulum-v1 --output-bias fan_in", "--output-bias says nothing without --output-init"),
        (
            "--agent sac --env Pendulum-v1 --no-learn-alpha --target-entropy -2",
            "--target-entropy says nothing without --learn-alpha",
        ),
        (
            "--agent sb3:sac --env Pendulum-v1 --action-noise-std 0.2",
            "--action-noise-std says nothing without --action-noise normal or ou",
        ),
        (
            "--agent td3 --env Pendulum-v1 --target-noise 0 --target-noise-clip 0.3",
            "--target-noise-clip says nothing without --target-noise",
        ),
        ("--agent ppo --log-std-init -3", "--log-std-init says nothing on CartPole-v1, whose actions are Discrete"),
        ("--agent sb3:ppo --log-std-init -3", "--log-std-init says nothing on CartPole-v1, whose actions are Discrete"),
        (
            "--agent sarsa_lambda --env FrozenLake-v1 --num-tiles 4",
            "--num-tiles says nothing on FrozenLake-v1, whose observations are Discrete",
        ),
        (
            "--agent dqn --env ProbeImage-v0 --hidden 64,64",
            "--hidden says nothing on ProbeImage-v0, whose observations are images",
        ),
        ("--agent sb3:ppo --no-normalize-reward", "--normalize-reward says nothing without --normalize"),
        (
            "--agent reinforce --no-baseline --value-learning-rate 0.1",
            "--value-learning-rate says nothing without --baseline",
        ),
        ("--agent dqn --loss hubris", "'hubris' is none of huber, squared; did you mean 'huber'?"),
        ("--name ../up", "'../up' is not the name of one folder"),
        ("--name .", "is not the name of one folder"),
        (f"--name {'é' * 101}", "has 202 bytes; expected at most 200"),
        (f"--run-dir {'long' * 70}", "cannot be a path: File name too long"),
        ("--run-dir=", "--run-dir: '' is no path (that of the working folder is '.')"),
        ("--seeds=", "--seeds: '' names no seed"),
        ("--wrapper TimeLimt", "did you mean 'TimeLimit'?"),
        ("--wrapper TimeFraction(", "write its arguments as Name(key=value, key='text')"),
        ("--wrapper TimeLimit(max_episode_steps=ten)", "write its arguments as Name(key=value, key='text')"),
        (
            "--wrapper TimeLimit(max_episode_step=5)",
            "--wrapper: TimeLimit takes no argument 'max_episode_step'; did you mean 'max_episode_steps'? (it takes "
            "max_episode_steps)",
        ),
        ("--wrapper TimeFraction(x=2)", "--wrapper: TimeFraction takes no argument 'x' (it takes max_episode_steps)"),
        ("--wrapper mine.py", "which wrapper? write mine.py:Name"),
        ("--env-kwargs gravity", "'gravity' is not name=value"),
        ("--env-kwargs g=1,g=2", "'g=1,g=2' names g twice"),
        ("--env-kwargs g=1 --env-kwargs g=2", "--env-kwargs: g is given twice, as 1 and 2"),
        (
            "--env-kwargs g=1 render_mode=human",
            "unknown argument 'render_mode=human': --env-kwargs takes several values in one, as --env-kwargs "
            "g=1,render_mode=human",
        ),
        ("--env-kwargs gravitation=1", "CartPole-v1 takes no argument 'gravitation' (it takes sutton_barto_reward, "),
        ("--env-kwargs rendermode=1", "takes no argument 'rendermode'; did you mean 'render_mode'?"),
        ("--anneal yes", "unknown argument 'yes': --anneal takes no value (--no-anneal is its opposite)"),
        ("--anneal=yes", "--anneal/--no-anneal takes no value, and has 'yes'"),
        ("--no-check-env true", "unknown argument 'true': --no-check-env takes no value"),
        (
            "--seeds 0 1 2",
            "--seeds: 0 is not from 1 to 10,000; seed 0 alone is '0,', and three are '0,1,2'",
        ),
        ("--seeds=3 4 5", "unknown argument '4': --seeds takes several values in one, as --seeds 3,4,5"),
        ("--seeds 3 4 5", "unknown argument '4': --seeds takes several values in one, as --seeds 3,4,5"),
        (
            "--agent dqn --hidden 64 32",
            "unknown argument '32': --hidden takes several values in one, as --hidden 64,32",
        ),
        ("--normalise-obs --lr 3e-4", "unknown argument '--lr'; did you mean '--learning-rate'?"),
        ("--clip-coef 0.2", "unknown argument '--clip-coef'; did you mean '--clip-range'?"),
        ("--anneal-lr", "unknown argument '--anneal-lr'; did you mean '--anneal'?"),
        ("--norm-adv", "unknown argument '--norm-adv'; did you mean '--normalise-advantage'?"),
        ("--ent_coef 0.1", "unknown argument '--ent_coef'; did you mean '--entropy-coef'?"),
        ("--agent sac --env Pendulum-v1 --ent-coef 0.1", "'--ent-coef'; did you mean '--alpha-init'?"),
        ("--agent sac --env Pendulum-v1 --policy-lr 0.1", "'--policy-lr'; did you mean '--actor-learning-rate'?"),
        ("--agent td3 --env Pendulum-v1 --lr 0.1", "'--lr'; did you mean '--actor-learning-rate'?"),
        ("--agent sac --env Pendulum-v1 --alpha 0.1", "'--alpha'; did you mean '--alpha-init'?"),
        ("--clip-range-vf 0.1", "unknown argument '--clip-range-vf'; did you mean '--clip-value-loss'?"),
        ("--agent dqn --end-e 0.1", "unknown argument '--end-e'; did you mean '--epsilon-end'?"),
        ("--agent dqn --target-network-frequency 9", "did you mean '--target-every'?"),
        ("5 --seeds 5 --check-env", "unknown argument '5'"),
        ("--env-kwargs sutton_barto_reward=no", "sutton_barto_reward of CartPole-v1 is true or false, not 'no'"),
        ("--env Pendulum-v1 --env-kwargs g=abc", "Pendulum-v1 with g='abc' breaks the Gymnasium contract: TypeError"),
        ("--env HalfCheetah-v5 --env-kwargs frame_skip=abc", "frame_skip of HalfCheetah-v5 is a number, not 'abc'"),
        (
            "--env FrozenLake-v1 --env-kwargs is_slippery=off",
            "is_slippery of FrozenLake-v1 is true or false, not 'off'",
        ),
        ("--env FrozenLake-v1 --env-kwargs map_name=5x5", "FrozenLake-v1 with map_name='5x5' could not be made: KeyE"),
        ("--env tests/test_vector.py:SingleGame --env-kwargs sizes=2", "takes no argument 'sizes'"),
        ("--seeds 7-3", "--seeds: the range '7-3' falls: its first seed is above its last"),
        ("--seeds 2..4", "--seeds: '2..4' is no range of seeds; did you mean '2-4'?"),
        ("--seeds 0-9999,10000", "names 10,001 seeds, more than 10,000"),
        ("--seeds 0-10000", "the range '0-10000' has more than 10,000 seeds"),
        ("--seeds 0-4,3", "seed 3 stands twice in '0-4,3'"),
        ("--seeds 2-4-6", "--seeds: '2-4-6' is not a whole number"),
        ("--num-envs 8 --total-timesteps 4", "less than one step"),
        ("--agent ppo --num-envs 3 --num-steps 5", "do not divide"),
        ("--resume runs/none --seeds 3", "--resume goes alone"),
        ("--resume runs/none --processes two", "--processes: 'two' is not a whole number"),
        ("--resume", "--resume: expected one argument"),
        ("--settings no/such.json", "--settings no/such.json: No such file or directory"),
        ("--settings .", "--settings .: Is a directory"),
    ],
)
def test_a_wrong_word_is_named_with_the_nearest_right_one(flags: str, words: str, runs: Runs) -> None:
    where = () if "--resume" in flags or "--run-dir" in flags else ("--run-dir", str(runs.folder))
    arguments = [*flags.split(), *where]
    outcome = runs.command("train", *arguments)
    assert words in outcome.problem
    assert outcome.status == 2
    assert runs.left() == []


@pytest.mark.parametrize("flag", ["--batch-size", "--track", "--number"])
def test_a_flag_that_only_looks_like_another_is_not_offered_it(flag: str, runs: Runs) -> None:
    assert runs.command("train", flag, "1").problem.endswith(f"unknown argument {flag!r}")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trian"], "unknown command 'trian'; did you mean 'train'?"),
        (["list", "agent"], "cards, measurements, parts; did you mean 'agents'?"),
        (["list", "--all"], "unknown argument '--all'"),
        (["published", "traps", "all"], "unknown argument 'all'"),
        (["published", "--agnet", "ppo"], "unknown argument '--agnet'; did you mean '--agent'?"),
        (["score", "runs", "--as", "rn"], "tensorboard, csv; did you mean 'run'?"),
        (["score", "runs", "--clumn", "a=b"], "unknown argument '--clumn'; did you mean '--column'?"),
        (["compare", "a", "b", "--labls", "a"], "unknown argument '--labls'; did you mean '--labels'?"),
        (["card", "chek", "a"], "'chek' is none of new, check, diff; did you mean 'check'?"),
        (["card", "new", "--agnet", "ppo"], "unknown argument '--agnet'; did you mean '--agent'?"),
        (["reproduce", "a", "--claim", "b"], "unknown argument '--claim'; did you mean '--claims'?"),
        (["verify", "a", "--trst"], "unknown argument '--trst'; did you mean '--trust'?"),
        (["report", "a", "--zzz"], "unknown argument '--zzz'"),
        (["probe", "--sed", "3"], "unknown argument '--sed'; did you mean '--seeds'?"),
        (["probe", "--learnin-rate", "3"], "unknown argument '--learnin-rate'; did you mean '--learning-rate'?"),
        (["probe", "--total-timestep", "3"], "unknown argument '--total-timestep'; did you mean '--total-timesteps'?"),
        (["published", "--book", "no/such.jsonl"], "no/such.jsonl: No such file or directory"),
        (["proofs", "--probes", "no/such.json"], "there is no no/such.json"),
        (["rules", "--resume", "tests"], "--resume is for training; rlrepro rules trains anew"),
        (["evaluate"], "run"),
        (["evaluate", "no/such/run"], "there is no run folder no/such/run"),
        (["evaluate", "tests"], "tests is not a run folder"),
        (["evaluate", "pyproject.toml"], "pyproject.toml"),
        (["evaluate", "tests", "--episode", "3"], "--episode"),
        (["train", "--resume", "no/such/run"], "there is no run folder no/such/run"),
        (["train", "--resume", "tests"], "tests is not a run folder"),
        (["train", "--resume", "long" * 70], "long"),
        (["evaluate", "long" * 70], "long"),
    ],
)
def test_a_wrong_command_is_one_line(arguments: list[str], words: str, command: Command) -> None:
    outcome = command(*arguments)
    assert words in outcome.problem
    assert outcome.status == 2


def test_a_folder_of_runs_is_answered_with_a_run_in_it(runs: Runs) -> None:
    run = runs.finish("the-run", "--agent", "random", "--seed", "0")
    for command in (("train", "--resume"), ("evaluate",)):
        assert f"did you mean {str(run)!r}?" in runs.command(*command, runs.folder).problem
        assert f"did you mean {str(run)!r}?" in runs.command(*command, runs.folder / "the-rum").problem


def test_a_part_of_a_run_is_answered_with_the_run(runs: Runs) -> None:
    run = runs.finish("the-run", "--agent", "random", "--seed", "0")
    for part in ("settings.json", "seeds", "seeds/0/episodes.csv"):
        for command in (("train", "--resume"), ("evaluate",)):
            said = runs.command(*command, run / part).problem
            assert f"{part} is no run folder, but part of one; did you mean {str(run)!r}?" in said


def test_a_name_that_is_taken_is_resumed_only_where_it_is_a_run(runs: Runs) -> None:
    run = runs.finish("the-run", "--agent", "random", "--seed", "0")
    (runs.folder / "empty").mkdir()
    assert f"choose another --name, or --resume {run}" in runs.begin("the-run", "--agent", "random").problem
    assert runs.begin("empty", "--agent", "random").problem.endswith("choose another --name")


def test_a_run_without_its_settings_is_named(runs: Runs) -> None:
    run = runs.finish("the-run", "--agent", "random", "--seed", "0")
    (run / "settings.json").unlink()
    for command in ("compare", "score", "evaluate"):
        assert f"{run} is not a run folder: it has no settings.json" in runs.command(command, run).problem


def test_a_working_folder_that_is_gone_is_one_line(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    for arguments in (["list"], ["train"], ["probe"], ["score", "x"], ["card", "check", "x"], ["reproduce", "x"]):
        outcome = command(*arguments)
        assert outcome.status == 2
        assert "the working folder cannot be used (No such file or directory): cd to another" in outcome.problem


LATE = """
import gymnasium as gym
import numpy as np

class Late(gym.Env):
    observation_space = gym.spaces.Box(0, 1, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)
    max_episode_steps = 15

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.count += 1
        return np.array([RANDOM.random() if self.count > 3 else 0], np.float32), 1.0, False, False, {}
"""


def test_an_environment_that_begins_its_later_episodes_anyhow_is_told(runs: Runs, tmp_path: Path) -> None:
    """A generator of its own at each reset, from no seed but in the first, and episodes that a few steps do not end."""
    file = tmp_path / "late.py"
    text = LATE.replace("RANDOM", "self.own").replace("max_episode_steps = 15", "max_episode_steps = 100")
    again = "super().reset(seed=seed)\n        self.own = np.random.default_rng(seed)"
    file.write_text(
        text.replace("super().reset(seed=seed)", again).replace("np.zeros(1", "np.full(1, self.own.random()"),
        encoding="utf-8",
    )
    said = runs.begin("r", "--env", f"{file}:Late", "--agent", "random", "--seed", "0").out
    assert f"no run of {file}:Late can be repeated: two copies of it with one seed" in said


@pytest.mark.parametrize(("random", "is_told"), [("self.np_random", False), ("np.random", True)])
def test_an_environment_that_draws_from_elsewhere_is_told(
    random: str, is_told: bool, runs: Runs, tmp_path: Path
) -> None:
    """Two runs of one seed differ, and nothing else says why; Gymnasium's check looks at the first step alone."""
    file = tmp_path / "late.py"
    file.write_text(LATE.replace("RANDOM", random), encoding="utf-8")
    said = runs.begin("r", "--env", f"{file}:Late", "--agent", "random", "--seed", "0").out
    assert (f"no run of {file}:Late can be repeated: two copies of it with one seed" in said) is is_told
    assert "no time limit" not in said


# --- names of other tools


@pytest.mark.parametrize(
    ("flag", "ours"),
    [
        ("--steps", "--total-timesteps"),
        ("--n_timesteps", "--total-timesteps"),
        ("--lr=0.1", "--learning-rate"),
        ("--gpu", "--device cuda"),
        ("--n-envs", "--num-envs"),
        ("--algo", "--agent"),
        ("--logdir", "--run-dir"),
        ("--num-step", "--num-steps"),
        ("--hepl", "--he"),
    ],
)
def test_what_other_tools_call_a_flag_is_answered_with_ours(flag: str, ours: str, command: Command) -> None:
    problem = command("train", flag, "3").problem
    assert f"unknown argument {flag!r}" in problem
    assert (f"; did you mean {ours!r}?" in problem) is not ours.startswith("--he")


# --- numbers


def numeric_flags(agent: str) -> dict[str, str]:
    """Each flag that takes a number, with its metavar."""
    source = find_agent(agent)
    kinds = ("N", "STEPS", "SEED", "X", "N,N", "N|LIST")
    actions = train_parser(source, *source.description()[:2])._actions
    return {action.option_strings[0]: str(action.metavar) for action in actions if action.metavar in kinds}


@pytest.mark.parametrize("agent", ["ppo", "ppo_split", "dqn", "rainbow", "pqn"])
@pytest.mark.parametrize("form", ["two words", "one word"])
def test_no_flag_takes_what_is_not_a_number_of_its_range(agent: str, form: str) -> None:
    flags = numeric_flags(agent)
    assert len(flags) > 20
    for flag, kind in flags.items():
        wrong = ["abc", "nan", "inf", "-inf", "1e400", "-1", "-1e-3", "0x10", "1,5", "½", "1 2", "9" * 400]
        wrong += [] if kind == "X" else ["1.5", "1e18"]
        for value in wrong:
            if value == "1,5" and kind in ("N,N", "N|LIST"):
                continue
            if flag in ("--log-std-init", "--v-min", "--v-max") and value in ("-1", "-1e-3"):  # may be negative
                continue
            given = [flag, value] if form == "two words" else [f"{flag}={value}"]
            with pytest.raises(Problem) as refused:
                parse_train(["--agent", agent, *given])
            problem = str(refused.value)
            assert problem.startswith(f"{flag}: "), problem
            assert "expected one argument" not in problem, problem
            assert " is not " in problem, problem


def test_what_belongs_to_an_addition_may_stand_where_nobody_asked_for_it_now(tmp_path: Path) -> None:
    """A settings file that had switched it on, and the default by its flag, are no slips."""
    saved = settings_of(parse_train(["--agent", "dqn", "--prioritised", "--alpha", "0.9"]))
    (tmp_path / "settings.json").write_text(saved.to_json())
    again = settings_of(parse_train(["--settings", str(tmp_path / "settings.json"), "--no-prioritised"]))
    assert (again.hyperparameters["prioritised"], again.hyperparameters["alpha"]) == (False, 0.9)
    assert settings_of(parse_train(["--agent", "dqn", "--alpha", "0.6"])).hyperparameters["alpha"] == 0.6


@pytest.mark.parametrize(
    "flags",
    [
        "--agent a2c --separate --value-eps 1e-3 --rms-alpha 0.9",
        "--agent ddpg --env Pendulum-v1 --noise ou --noise-dt 0.01 --action-layer both --action-fan-in own",
        "--agent ddpg --env MountainCarContinuous-v0 --noise-dt 0.01 --output-bias fan_in",
        "--agent td3 --env Pendulum-v1 --output-init 0.003 --output-bias fan_in",
        "--agent sac_discrete --alpha-loss alpha --target-entropy-scale 0.5",
    ],
)
def test_what_needs_another_hyperparameter_is_taken_where_it_has_it(flags: str) -> None:
    given = flags.split()
    kept = settings_of(parse_train(given)).hyperparameters
    for flag, value in itertools.pairwise(given):
        if flag in ("--value-eps", "--rms-alpha", "--noise-dt", "--target-entropy-scale"):
            assert kept[flag[2:].replace("-", "_")] == float(value)
        elif flag in ("--action-fan-in", "--output-bias", "--alpha-loss"):
            assert kept[flag[2:].replace("-", "_")] == value


def settings_of(asked: Request | ResumeRequest) -> Settings:
    assert isinstance(asked, Request)
    return asked.settings


def smallest(agent: str) -> Iterator[tuple[str, str]]:
    source = find_agent(agent)
    actions = train_parser(source, *source.description()[:2])._actions
    for flag in numeric_flags(agent):
        action = next(action for action in actions if flag in action.option_strings)
        parse: Any = action.type
        if flag in ("--seeds", "--seed", "--total-timesteps", "--processes"):
            continue
        is_of_runs = not action.dest.startswith("hyper_") and flag != "--num-envs"
        if is_of_runs and agent not in ("ppo", "dqn"):  # one that learns from rollouts, one from a replay memory
            continue
        for value in ("0", "1"):
            try:
                parse(value)
            except argparse.ArgumentTypeError:
                continue
            yield flag, value
            break


TRAINED = {
    "ppo": ("--num-steps", "4"),
    "ppo_split": ("--num-steps", "4", "--batch-size", "3", "--hidden", "5"),
    "dqn": ("--learning-starts", "8", "--batch-size", "4", "--hidden", "5"),
    "rainbow": ("--learning-starts", "8", "--batch-size", "4", "--hidden", "5"),
    "pqn": ("--num-steps", "4", "--hidden", "5"),
}


#: whose smallest value does not go with the others of `TRAINED`
REFUSED = {
    ("ppo", "--num-envs"), ("ppo", "--num-steps"), ("pqn", "--num-steps"), ("dqn", "--alpha"), ("dqn", "--beta"),
}  # fmt: skip


def numbers(state: Any) -> Iterator[np.ndarray]:
    """Every array of a state."""
    if isinstance(state, Mapping):
        for part in state.values():
            yield from numbers(part)
    elif isinstance(state, np.ndarray):
        yield state


@pytest.mark.parametrize(("agent", "flag", "value"), [(a, *one) for a in TRAINED for one in smallest(a)])
def test_the_smallest_value_of_every_flag_trains_or_says_what_to_change(
    agent: str, flag: str, value: str, runs: Runs
) -> None:
    own = TRAINED[agent]
    outcome = runs.begin("r", "--agent", agent, "--num-envs", "2", *own, "--total-timesteps", "64", "--seed", "0",
                         "--log-every", "16", flag, value)  # fmt: skip
    assert bool(outcome.status) == ((agent, flag) in REFUSED)
    if outcome.status:
        assert "--" in outcome.problem  # what to change
        assert runs.left() == []
    else:
        assert outcome.err == ""
        state = checkpoint.load(sorted(runs.folder.glob("r/seeds/0/checkpoints/*"))[-1])[0]["agent"]
        arrays = list(numbers(state))
        assert sum(array.size for array in arrays) > 100
        assert all(np.isfinite(array).all() for array in arrays)


@pytest.mark.parametrize(
    "flags",
    ["--agent ppo --hidden 1e9,1e9", "--agent ppo --num-steps 1e12", "--agent dqn --hidden 1e9,1e9",
     "--agent dqn --buffer-size 1e12"],
)  # fmt: skip
def test_what_does_not_fit_into_memory_is_refused_before_training(flags: str, runs: Runs) -> None:
    problem = runs.begin("r", *flags.split(), "--seed", "0").problem
    assert "memory" in problem
    assert "traceback" not in problem
    assert runs.left() == []


@pytest.mark.parametrize("value", ["0", "-1", "abc", "1.5", "1e18", "inf"])
@pytest.mark.parametrize("flag", ["--episodes", "--salt"])
def test_the_numbers_of_evaluate_are_checked_like_those_of_train(flag: str, value: str, runs: Runs) -> None:
    run = runs.finish("r", "--agent", "random", "--seed", "0")
    if (flag, value) == ("--salt", "0"):
        assert runs.command("evaluate", run, flag, value, "--episodes", "1e0").status == 0
    else:
        assert flag in runs.command("evaluate", run, flag, value).problem


# --- what is not there


class Spaces(gym.Env[Any, Any]):
    """Any spaces."""

    def __init__(self, observation: gym.Space[Any], action: gym.Space[Any]) -> None:
        self.observation_space, self.action_space = observation, action
        observation.seed(0)
        self.obs = observation.sample()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return copy.deepcopy(self.obs), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return copy.deepcopy(self.obs), 0.0, False, False, {}


PLAIN = gym.spaces.Box(-1, 1, (2,), np.float32)
SPACES: dict[str, tuple[gym.Space[Any], gym.Space[Any]]] = {
    "MultiDiscrete actions": (PLAIN, gym.spaces.MultiDiscrete([2, 3])),
    "MultiBinary actions": (PLAIN, gym.spaces.MultiBinary(3)),
    "Tuple actions": (PLAIN, gym.spaces.Tuple([gym.spaces.Discrete(2)])),
    "Dict actions": (PLAIN, gym.spaces.Dict(a=gym.spaces.Discrete(2))),
    "Text actions": (PLAIN, gym.spaces.Text(3)),
    "Dict observations": (gym.spaces.Dict(a=PLAIN), gym.spaces.Discrete(2)),
    "Tuple observations": (gym.spaces.Tuple([PLAIN, PLAIN]), gym.spaces.Discrete(2)),
    "Text observations": (gym.spaces.Text(3), gym.spaces.Discrete(2)),
    "Sequence observations": (gym.spaces.Sequence(PLAIN), gym.spaces.Discrete(2)),
}


@pytest.mark.parametrize("agent", ["ppo", "ppo_split", "dqn", "c51", "qrdqn", "rainbow", "pqn", "random"])
@pytest.mark.parametrize("case", SPACES)
def test_spaces_that_an_agent_cannot_serve_are_named_and_no_run_is_left(case: str, agent: str, runs: Runs) -> None:
    gym.register("Spaces-v0", lambda: Spaces(*SPACES[case]), max_episode_steps=5)
    try:
        outcome = runs.begin("r", "--env", "Spaces-v0", "--agent", agent, "--seeds", "2")
    finally:
        del gym.registry["Spaces-v0"]
    problem = outcome.problem
    assert f"{agent} cannot serve Spaces-v0" in problem
    assert case.split()[0] in problem
    assert case.split()[1] in problem
    assert "resume" not in problem
    assert ("FlattenObservation" in problem) == (case.endswith("observations") and "Sequence" not in case)
    assert outcome.status == 2
    assert runs.left() == []


class Own(gym.Space[Any]):
    """A space that is none of Gymnasium's."""

    def __init__(self) -> None:
        super().__init__((2,), np.float32)

    def sample(self, mask: Any = None, probability: Any = None) -> Any:
        return np.zeros(2, np.float32)

    def contains(self, x: Any) -> bool:
        return True


def test_a_space_of_somebody_s_own_is_named(runs: Runs) -> None:
    gym.register("Spaces-v0", lambda: Spaces(Own(), gym.spaces.Discrete(2)), max_episode_steps=5)
    try:
        problem = runs.begin("r", "--env", "Spaces-v0", "--agent", "ppo", "--seed", "0", "--no-check-env").problem
    finally:
        del gym.registry["Spaces-v0"]
    assert problem.startswith("ppo cannot serve Spaces-v0: no agent takes Own observations (a --wrapper can")


@pytest.mark.parametrize("where", ["step", "__init__"])
def test_an_environment_that_calls_exit_is_told(where: str, runs: Runs, tmp_path: Path) -> None:
    source = "from gymnasium.envs.classic_control import CartPoleEnv\nclass Exits(CartPoleEnv):\n"
    (tmp_path / "exits.py").write_text(f"{source}    def {where}(self, *a, **k):\n        raise SystemExit(0)\n")
    problem = runs.begin("r", "--env", f"{tmp_path / 'exits.py'}:Exits", "--agent", "random", "--seed", "0").problem
    assert "SystemExit" in problem
    assert runs.left() == []


@pytest.mark.parametrize("agent", ["ppo", "a2c", "trpo", "reinforce"])
def test_a_box_of_whole_numbers_is_none_of_floats(agent: str, runs: Runs) -> None:
    gym.register("Spaces-v0", lambda: Spaces(PLAIN, gym.spaces.Box(0, 3, (2,), np.int64)), max_episode_steps=5)
    try:
        problem = runs.begin("r", "--env", "Spaces-v0", "--agent", agent, "--seed", "0").problem
    finally:
        del gym.registry["Spaces-v0"]
    assert problem == f"{agent} cannot serve Spaces-v0: it takes Discrete actions or a Box of floats, not one of int64"


def test_continuous_actions_are_none_of_dqn_s(runs: Runs) -> None:
    problem = runs.begin("r", "--env", "Pendulum-v1", "--agent", "dqn").problem
    assert problem == "dqn cannot serve Pendulum-v1: it takes Discrete actions, not Box"
    assert not runs.folder.exists()
    assert runs.left() == []


@pytest.mark.parametrize(
    ("env", "module", "extra"),
    [
        ("ALE/Breakout-v5", "ale_py", "atari"),
        ("HalfCheetah-v5", "mujoco", "mujoco"),
        ("LunarLander-v3", "Box2D", "box2d"),
        ("BipedalWalker-v3", "Box2D", "box2d"),
    ],
)
def test_an_extra_that_is_not_installed_is_named_with_its_pip_command(
    env: str, module: str, extra: str, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(sys.modules):
        if name.startswith((f"gymnasium.envs.{extra}", module)):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    expected = f"{env} needs the {extra!r} extra: pip install 'rlrepro[{extra}]'"
    assert runs.begin("r", "--env", env, "--agent", "random").problem == expected
    assert runs.left() == []


def test_the_old_mujoco_environments_are_not_promised_by_an_extra(runs: Runs, recwarn: pytest.WarningsRecorder) -> None:
    problem = runs.begin("r", "--env", "HalfCheetah-v3", "--agent", "random").problem
    assert "rlrepro[mujoco]" not in problem
    assert "HalfCheetah-v5" in problem
    assert [str(warning.message) for warning in recwarn] == []  # which would be more lines on stderr


def test_videos_without_the_extra_are_refused_before_training(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "moviepy", None)
    problem = runs.begin("r", "--agent", "random", "--seed", "0", "--capture-video").problem
    assert "pip install 'rlrepro[video]'" in problem
    assert runs.left() == []


def test_a_device_that_is_not_there_is_refused_and_the_run_that_has_it_stays(runs: Runs) -> None:
    outcome = runs.begin("r", "--agent", "ppo", "--seed", "0", "--device", "cuda:77")
    assert "--device cuda:77: " in outcome.problem
    assert runs.left() == []
    # A run from a machine with that device, stopped before its first checkpoint, is looked at here.
    run = unfinished(runs)
    for seed in range(2):
        shutil.rmtree(run / f"seeds/{seed}/checkpoints")
    settings = json.loads((run / "settings.json").read_text())
    (run / "settings.json").write_text(json.dumps({**settings, "device": "cuda:77"}))
    before = all_files(run)
    assert "cuda:77" in runs.resume("r").problem
    assert runs.left() == ["r"]
    for name in ("settings.json", "seeds/0/policy.safetensors"):
        assert all_files(run)[name] == before[name]


@pytest.mark.parametrize(
    "agent",
    ["random", "q_learning", "double_q_learning", "sarsa", "expected_sarsa", "dyna_q", "differential_sarsa",
     "sarsa_lambda"],
)  # fmt: skip
def test_a_device_is_refused_for_an_agent_that_computes_in_numpy(
    agent: str, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: pytest.fail("a device was looked for"))
    flags = "--env", "FrozenLake-v1", "--agent", agent, "--seeds", "2"
    outcome = runs.begin("r", *flags, "--device", "cuda")
    assert outcome.problem == f"--device cuda: {agent} computes in NumPy, on the CPU alone; use --device cpu"
    assert runs.left() == []
    assert settings_of(parse_train([*flags, "--device", "cpu"])).device == "cpu"


def test_a_policy_of_numpy_s_is_evaluated_on_no_device(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    run = runs.finish("r", "--agent", "random", "--seed", "0", *BRIEF)
    monkeypatch.setattr("torch.cuda.is_available", lambda: pytest.fail("a device was looked for"))
    assert runs.command("evaluate", run, "--device", "cuda:1").problem.startswith("--device cuda:1: random computes in")


def test_a_policy_trained_on_another_device_is_evaluated_on_this_one(runs: Runs) -> None:
    run = runs.finish("r", *PPO, "--seed", "0")
    settings = json.loads((run / "settings.json").read_text())
    (run / "settings.json").write_text(json.dumps({**settings, "device": "cuda:77"}))
    outcome = runs.command("evaluate", run, "--episodes", "2", "--device", "cpu")
    assert (outcome.status, outcome.err) == (0, "")


# --- settings files

WRONG_SETTINGS: list[tuple[str, Any]] = [
    ("env", 5), ("env", None), ("agent", []), ("seeds", "abc"), ("seeds", []), ("seeds", [0, 0]), ("seeds", [-1]),
    ("seeds", [1.5]), ("seeds", 3), ("total_timesteps", "many"), ("total_timesteps", 0), ("total_timesteps", 1.5),
    ("num_envs", 0), ("num_envs", None), ("device", "tpu"), ("device", 1), ("env_kwargs", [1]),
    ("wrappers", "TimeLimit"), ("wrappers", [1]), ("log_every", 0), ("eval_every", -1), ("eval_episodes", 0),
    ("final_eval_episodes", "10"),
    ("checkpoint_every", -1), ("processes", 0), ("capture_video", "no"), ("check_env", 2), ("hyperparameters", []),
    ("normalise_obs", 1), ("normalise_reward", "yes"), ("eval_deterministic", None), ("compile", 1),
    ("hyperparameters", {"gamma": "high"}), ("hyperparameters", {"gamma": 7}), ("hyperparameters", {"gamma": None}),
    ("hyperparameters", {"hidden": 1.5}), ("hyperparameters", {"hidden": 64}), ("hyperparameters", {"hidden": "64"}),
    ("hyperparameters", {"gama": 0.9}),
    ("sources", 3), ("unheard_of", 1),
]  # fmt: skip
GARBAGE: dict[str, bytes] = {
    "nothing": b"",
    "half": b'{"format": 1, "env": "Cart',
    "a list": b"[1, 2]",
    "a number": b"1",
    "another format": b'{"format": 99}',
    "no text": b"\xff\xfe\x00\x01",
    "deep": b'{"format":' + b"[" * 100_000,
}


@pytest.fixture
def whole_settings(command: Command, tmp_path: Path) -> dict[str, Any]:
    """The contents of a settings file that is in order."""
    folder = tmp_path / "whole"
    assert command("train", *BRIEF, *PPO, "--run-dir", folder, "--name", "w", "--total-timesteps", "32").status == 0
    return json.loads((folder / "w/settings.json").read_text())


def test_a_settings_file_with_a_wrong_value_is_refused_with_the_setting_named(
    runs: Runs, tmp_path: Path, whole_settings: dict[str, Any]
) -> None:
    accepted = []
    for name, value in WRONG_SETTINGS:
        file = tmp_path / "settings.json"
        wrong = {**whole_settings, name: value}
        if name == "hyperparameters" and isinstance(value, dict):
            wrong[name] = {**whole_settings[name], **value}
        file.write_text(json.dumps(wrong))
        try:
            outcome = runs.command("train", "--settings", file, "--run-dir", runs.folder)
            problem = outcome.problem
        except (Exception, pytest.fail.Exception) as error:
            accepted.append(f"{name} = {value!r}: {(str(error).splitlines() or [''])[-1]}")
            shutil.rmtree(runs.folder, ignore_errors=True)
            continue
        word = next(iter(value)) if isinstance(value, dict) else name.replace("_", "[-_]")
        if not any(part in problem for part in (word, word.replace("[-_]", "-"), word.replace("[-_]", "_"))):
            accepted.append(f"{name} = {value!r}: not named in {problem!r}")
        if outcome.status != 2 or runs.left():
            accepted.append(f"{name} = {value!r}: status {outcome.status}, left {runs.left()}")
            shutil.rmtree(runs.folder, ignore_errors=True)
    assert not accepted, "\n".join(accepted)


@pytest.mark.parametrize("case", GARBAGE)
def test_a_settings_file_that_is_none_is_refused(case: str, runs: Runs, tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    file.write_bytes(GARBAGE[case])
    assert str(file) in runs.command("train", "--settings", file, "--run-dir", runs.folder).problem
    assert runs.left() == []


@pytest.mark.parametrize("case", GARBAGE)
def test_a_run_whose_settings_are_damaged_is_left_as_it_is(case: str, runs: Runs) -> None:
    run = unfinished(runs)
    (run / "settings.json").write_bytes(GARBAGE[case])
    before = all_files(run)
    assert "settings.json" in runs.resume("r").problem
    assert "settings.json" in runs.command("evaluate", run).problem
    assert all_files(run) == before


# --- the environment


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("raise", "raised ConnectionError: the simulator in step, "),
        ("reward", "gave the reward nan"),
        ("observation", "gave an observation with NaN or infinity"),
    ],
)
@pytest.mark.parametrize("agent", [PPO, DQN], ids=["ppo", "dqn"])
def test_an_environment_that_fails_in_the_middle_stops_the_run_with_its_work_saved(
    agent: tuple[str, ...], how: str, words: str, trouble: Callable[..., list[str]], runs: Runs, tmp_path: Path
) -> None:
    marker = tmp_path / "it-has-failed"
    brief = (*agent, "--seeds", "2", "--total-timesteps", "240", "--num-envs", "2", "--checkpoint-every", "50")
    whole = runs.finish("whole", *trouble(), *brief)
    outcome = runs.begin("r", *trouble(how=how, marker=str(marker)), *brief)
    run = runs.folder / "r"
    assert words in outcome.problem
    kept = run / "rlrepro-error-seed-0.txt"  # of an exception there is more to be told than its line
    assert kept.exists() == (how == "raise")
    assert how != "raise" or "ConnectionError: the simulator" in kept.read_text()
    assert "(seed 0, sub-environment 0); everything up to env step 118 is saved; go on with: " in outcome.problem
    assert outcome.status == 1
    about = json.loads((run / "run.json").read_text())
    assert (about["status"], about["broke"]) == ("failed", [0, 1])
    for seed in (0, 1):
        rows = (run / f"seeds/{seed}/episodes.csv").read_text()
        expected = [line for line in (whole / f"seeds/{seed}/episodes.csv").read_text().splitlines(keepends=True)
                    if line.startswith("env_step") or int(line.split(",")[0]) <= 118]  # fmt: skip
        assert rows == "".join(expected)
        assert rows.count("\n") > 4
        assert checkpoint_path(RunFolder(run), seed, 118).exists()
    saved = (run / "seeds/1/episodes.csv").read_bytes()
    gone_on = runs.command("train", *way_on(outcome.problem))
    assert gone_on.status == 0
    assert "new episodes begin at env step 118, as the environments' state is lost" in " ".join(gone_on.out.split())
    (mended,) = json.loads((run / "run.json").read_text())["mended"]
    assert (mended["seeds"], words in mended["reason"]) == ([0, 1], True)
    assert (run / "seeds/1/episodes.csv").read_bytes().startswith(saved)
    last = (run / "seeds/1/episodes.csv").read_text().splitlines()[-1]
    assert 200 < int(last.split(",")[0]) <= 240


@pytest.mark.parametrize("checkpoint_every", ["50", "0"])
def test_an_environment_that_fails_in_an_evaluation_costs_neither_the_evaluation_nor_an_episode(
    checkpoint_every: str, trouble: Callable[..., list[str]], runs: Runs, tmp_path: Path
) -> None:
    brief = (*PPO, "--seeds", "2", "--total-timesteps", "240", "--checkpoint-every", checkpoint_every, "--eval-every",
             "40", "--eval-episodes", "2")  # fmt: skip
    whole = runs.finish("whole", *trouble(), *brief)
    outcome = runs.begin("r", *trouble(how="evaluation", at=45, marker=str(tmp_path / "gone")), *brief)
    assert "ConnectionError: the simulator in reset, trouble.py:" in outcome.problem
    assert "is saved, and a resume evaluates again; go on with: " in outcome.problem
    assert outcome.status == 1
    assert runs.command("train", *way_on(outcome.problem)).status == 0
    assert kept(runs.folder / "r") == kept(whole)


def test_an_environment_that_breaks_behind_a_checkpoint_is_got_past(
    trouble: Callable[..., list[str]], runs: Runs
) -> None:
    """It breaks each time that it comes there: a resume begins other episodes."""
    brief = (*PPO, "--seeds", "2", "--total-timesteps", "200", "--checkpoint-every", "118")
    outcome = runs.begin("r", *trouble(how="raise"), *brief)
    assert "everything up to env step 118 is saved; go on with: " in outcome.problem
    assert runs.command("train", *way_on(outcome.problem)).status == 0


def test_an_environment_that_never_works_leaves_no_run(trouble: Callable[..., list[str]], runs: Runs) -> None:
    for check in ("--check-env", "--no-check-env"):
        problem = runs.begin("r", *trouble(how="reset"), check, *PPO, "--seed", "0").problem
        assert "ConnectionError: the simulator" in problem
        assert "resume" not in problem
        assert runs.left() == []


def test_a_worker_process_that_is_killed_is_told_in_one_line_and_the_other_saves_its_work(
    trouble: Callable[..., list[str]], runs: Runs, tmp_path: Path
) -> None:
    brief = (*PPO, "--seeds", "2", "--total-timesteps", "800", "--checkpoint-every", "40", "--log-every", "200")
    whole = runs.finish("whole", *trouble(), *brief)
    marker = tmp_path / "it-was-killed"
    outcome = runs.begin("r", *trouble(how="kill", at=200, marker=str(marker)), *brief, "--processes", "2")
    assert "the process of seed" in outcome.problem
    assert "killed" in outcome.problem  # and not only a number
    assert outcome.status == 1
    assert RunFolder(runs.folder / "r").read_json("run.json")["broke"] == []
    assert runs.command("train", *way_on(outcome.problem)).status == 0
    assert kept(runs.folder / "r") == kept(whole)


# --- checkpoints of which the seeds have not all the same


def behind(runs: Runs) -> Path:
    """A run that was stopped between two checkpoints of one env step."""
    run = unfinished(runs)
    (run / "seeds/1/checkpoints/step-000000000120.safetensors").unlink()
    return run


def test_a_resume_that_never_begins_costs_no_checkpoint(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = runs.finish("whole", "--seeds", "2", "--checkpoint-every", "20", *PPO)
    before = all_files(behind(runs))

    def fails(*_: object, **__: object) -> None:
        raise Problem("there is no room")

    with monkeypatch.context() as patch:
        patch.setattr("rlrepro.worker.prepare", fails)
        assert runs.resume("r").problem == "there is no room"
    assert all_files(runs.folder / "r") == before
    with monkeypatch.context() as patch:  # killed at the same place: nothing puts anything back
        patch.setattr("rlrepro.resume.launch", fails)
        patch.setattr("rlrepro.record.RunFolder.put_back", lambda self: None)
        assert runs.resume("r").problem == "there is no room"
    outcome = runs.resume("r")
    assert "seeds 0, 1 go back to env step 100, the last with a whole checkpoint of each\n" in outcome.out
    assert outcome.status == 0
    assert kept(runs.folder / "r") == kept(whole)


def test_seeds_whose_environments_gave_their_state_keep_it_beside_one_whose_did_not(runs: Runs) -> None:
    whole = runs.finish("whole", "--seeds", "2", "--checkpoint-every", "50", *PPO)
    runs.finish("r", "--seeds", "2", "--checkpoint-every", "50", *PPO)
    run = runs.folder / "r"
    RunFolder(run).note(status="running")
    for seed in (0, 1):
        (run / f"seeds/{seed}/checkpoints/step-000000000120.safetensors").unlink()
    file = run / "seeds/1/checkpoints/step-000000000100.safetensors"
    state, about = checkpoint.load(file)
    checkpoint.save(file, {**state, "env": None}, {**about, "keeps_env": False})
    outcome = runs.resume("r")
    assert (outcome.status, outcome.err) == (0, "")
    for name in ("episodes.csv", "policy.safetensors"):
        assert (run / "seeds/0" / name).read_bytes() == (whole / "seeds/0" / name).read_bytes()
    with pytest.raises(ValueError, match="has a table where"):
        checkpoint.join([{"env": None}, {"env": {"count": 1}}])


# --- a full disk

GROWING = (*DQN, "--seeds", "2", "--total-timesteps", "1200", "--checkpoint-every", "100", "--log-every", "100")


def test_a_file_too_large_stops_the_run_and_a_resume_ends_as_if_never_stopped(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(circumstances, "_git", lambda *_: b"")  # a large diff is another test's
    whole = runs.finish("whole", *GROWING)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (85_000, hard))
    try:
        outcome = runs.begin("r", *GROWING)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert_resumed_to_the_same(outcome, runs, whole)


def assert_resumed_to_the_same(outcome: Outcome, runs: Runs, whole: Path) -> None:
    assert " could not be written: " in outcome.problem
    assert "make room and resume" in outcome.problem
    assert outcome.status == 1
    run = runs.folder / "r"
    assert RunFolder(run).read_json("run.json")["broke"] == []
    assert list(run.glob("seeds/0/checkpoints/step-*.safetensors"))
    assert not list(run.rglob("*.tmp"))
    assert runs.command("train", *way_on(outcome.problem)).status == 0
    assert kept(run) == kept(whole)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 200 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_stops_the_run_and_with_room_a_resume_ends_as_if_never_stopped(
    runs: Runs, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(circumstances, "_git", lambda *_: b"")
    whole = runs.finish("whole", *GROWING)
    small = Runs(small_disk, runs.command)
    outcome = small.begin("r", *GROWING)
    subprocess.run(["mount", "-o", "remount,size=10m", str(small_disk)], check=True)
    assert_resumed_to_the_same(outcome, small, whole)


def test_a_disk_that_is_full_at_the_start_leaves_no_run(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(circumstances, "_git", lambda *_: b"x" * 4000)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in (0, 1000, 3000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            outcome = runs.begin("r", "--agent", "random", "--seed", "0")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert "could not be written: File too large" in outcome.problem
        assert "resume" not in outcome.problem
        assert runs.left() == []


def test_a_run_folder_that_cannot_be_made_is_one_line(runs: Runs, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "inside", Path("/proc/nothing")):
        problem = runs.command("train", "--agent", "random", "--seed", "0", "--run-dir", place).problem
        assert str(place) in problem
        assert "resume" not in problem


def test_whichever_write_finds_the_disk_full_nothing_is_lost(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    brief = ("--agent", "random", "--num-envs", "2", "--seed", "0", "--total-timesteps", "48",
             "--checkpoint-every", "16", "--eval-every", "16", "--eval-episodes", "2", "--log-every", "16")  # fmt: skip
    whole = kept(runs.finish("whole", *brief))
    replace, left, stopped = os.replace, 0, 0

    def replace_some(*arguments: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(*arguments)

    monkeypatch.setattr(os, "replace", replace_some)
    for count in range(1, 100):
        left = count
        outcome = runs.begin(f"r{count}", *brief)
        if left > 0:
            break
        stopped += 1
        assert "No space left on device" in outcome.problem
        if runs.folder / f"r{count}" in runs.folder.iterdir():
            assert runs.resume(f"r{count}").status == 0, count
            assert kept(runs.folder / f"r{count}") == whole
        assert [name for name in runs.left() if name.startswith(".")] == []
    assert stopped >= 7  # run.json twice, settings.json, three checkpoints, the policy


# --- checkpoints

DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "a bit of the length": lambda data: bytes([data[0] ^ 1]) + data[1:],
    "a bit of the header": lambda data: data[:40] + bytes([data[40] ^ 4]) + data[41:],
    "a bit of a tensor": lambda data: data[:-100] + bytes([data[-100] ^ 16]) + data[-99:],
    "the last bit": lambda data: data[:-1] + bytes([data[-1] ^ 1]),
    "cut short": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "another file": lambda data: b"PK\3\4" + data,
    "longer": lambda data: data + b"\0",
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(case: str, runs: Runs) -> None:
    run = unfinished(runs)
    before = kept(run)
    newest = sorted(run.glob("seeds/1/checkpoints/*"))[-1]  # of one seed; its group goes back together
    newest.write_bytes(DAMAGE[case](newest.read_bytes()))
    outcome = runs.resume("r")
    assert outcome.status == 0
    assert outcome.err.count("\n") == 1
    assert outcome.err.startswith(f"rlrepro: {newest} ")
    assert kept(run) == before


def test_where_all_checkpoints_are_damaged_the_run_begins_again_and_ends_the_same(runs: Runs) -> None:
    run = unfinished(runs)
    before = kept(run)
    for path in run.glob("seeds/*/checkpoints/*"):
        path.write_bytes(b"")
    outcome = runs.resume("r")
    assert outcome.status == 0
    assert len(outcome.err.splitlines()) == 4
    assert all(line.startswith(f"rlrepro: {run}/seeds/") for line in outcome.err.splitlines())
    assert outcome.err.count("; there is none before it\n") == 2
    assert "no whole checkpoint to go on from for seeds 0, 1: begins again at the start, and cuts " in outcome.out
    assert kept(run) == before


def test_of_seeds_that_had_not_begun_nothing_is_said_to_be_lost(runs: Runs) -> None:
    run = unfinished(runs)
    for path in (*run.glob("seeds/*/checkpoints/*"), *run.glob("seeds/*/policy*"), *run.glob("seeds/*/SHA256SUMS")):
        path.unlink()
    for file in run.glob("seeds/*/*.csv"):
        file.write_text(file.read_text().partition("\n")[0] + "\n")
    outcome = runs.resume("r")
    assert (outcome.status, outcome.err) == (0, "")
    assert "seeds 0, 1 had not begun\n" in outcome.out
    assert "no whole checkpoint" not in outcome.out


def test_no_bit_of_a_checkpoint_can_flip_unseen(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    state = {"step": 3, "x": np.arange(3.0), "n": checkpoint.PerSeed([1, "a", None]), "f": np.float32([0.5])}
    checkpoint.save(path, state, {"env_step": 5, "agent": "dqn"})
    whole = path.read_bytes()
    expected = repr(checkpoint.load(path))
    for index in range(len(whole)):
        for bit in (0, 5):
            path.write_bytes(whole[:index] + bytes([whole[index] ^ 1 << bit]) + whole[index + 1 :])
            try:
                found = repr(checkpoint.load(path))
            except checkpoint.Damaged as damage:
                found = str(damage)
            assert found == expected or (found.startswith(f"{path} ") and "\n" not in found), (index, found)


def test_a_checkpoint_of_another_agent_is_refused_and_nothing_is_changed(runs: Runs) -> None:
    run, other = unfinished(runs), unfinished(runs, "other", *DQN)
    source, target = (sorted(one.glob("seeds/1/checkpoints/*"))[-1] for one in (other, run))
    target.write_bytes(source.read_bytes())
    before = all_files(run)
    problem = runs.resume("r").problem
    assert problem.startswith(f"{target} is a checkpoint of agent 'dqn', not 'ppo'")
    assert all_files(run) == before


@pytest.mark.parametrize(
    ("arguments", "word"),
    [((*PPO, "--seeds", "0,2"), "seed"), ((*PPO, "--env", "Acrobot-v1"), "env"), ((*PPO, "--hidden", "9"), "settings")],
)
def test_a_checkpoint_of_another_run_is_refused(arguments: tuple[str, ...], word: str, runs: Runs) -> None:
    run, other = unfinished(runs), unfinished(runs, "other", *arguments)
    source = sorted(other.glob("seeds/[12]/checkpoints/*"))[-1]
    target = sorted(run.glob("seeds/1/checkpoints/*"))[-1]
    target.write_bytes(source.read_bytes())
    before = all_files(run)
    problem = runs.resume("r").problem
    assert word in problem
    assert str(target) in problem
    assert all_files(run) == before


@pytest.mark.parametrize("damage", ["missing", "short"])
def test_rows_that_are_gone_are_not_passed_over(damage: str, runs: Runs) -> None:
    run = unfinished(runs)
    file = run / "seeds/1/episodes.csv"
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:30])
    assert f"{file} " in runs.resume("r").problem


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda file: file.unlink(), "has no policy of seed 1, though it is finished: put "),
        (lambda file: file.write_bytes(b""), "seeds/1/policy.safetensors is damaged ("),
        (lambda file: file.write_bytes(file.read_bytes()[:200]), "seeds/1/policy.safetensors is damaged ("),
        (
            lambda file: file.write_bytes((file.parent.parent / "0/policy.safetensors").read_bytes()[:-4]),
            "seeds/1/policy.safetensors is damaged (",
        ),
    ],
    ids=["missing", "empty", "cut short", "four bytes short"],
)
def test_a_damaged_policy_is_named(damage: Callable[[Path], Any], words: str, runs: Runs) -> None:
    run = runs.finish("r", *PPO, "--seeds", "2")
    damage(run / "seeds/1/policy.safetensors")
    if (run / "seeds/1/policy.safetensors").exists():
        assert "is not what it was when seed 1 ended" in runs.command("evaluate", run, "--episodes", "2").problem
        (run / "seeds/1/SHA256SUMS").unlink()
    assert words in runs.command("evaluate", run, "--episodes", "2").problem


def test_the_policy_of_another_agent_is_refused(runs: Runs) -> None:
    run, other = runs.finish("r", *PPO, "--seed", "0"), runs.finish("other", *DQN, "--seed", "0")
    policy = "seeds/0/policy.safetensors"
    (run / policy).write_bytes((other / policy).read_bytes())
    (run / "seeds/0/SHA256SUMS").unlink()
    problem = runs.command("evaluate", run, "--episodes", "2").problem
    assert "ppo" in problem
    assert str(run) in problem


def test_a_finished_run_is_not_resumed_and_says_what_else_to_do(runs: Runs) -> None:
    run = runs.finish("r", "--agent", "random", "--seed", "0")
    before = all_files(run)
    assert f"rlrepro evaluate {run}" in runs.resume("r").problem
    assert "is there already" in runs.begin("r", "--agent", "random").problem
    assert all_files(run) == before


def test_a_run_whose_circumstances_are_gone_is_not_gone_on_with(runs: Runs) -> None:
    """Nothing else says what code it began with, and whether it is finished; what it learnt can be scored."""
    run = unfinished(runs)
    held = (run / "run.json").read_bytes()
    (run / "run.json").unlink()
    before = all_files(run)
    problem = runs.resume("r").problem
    assert problem.startswith(f"{run} has no run.json, which says with what code it began and whether it is finished: ")
    assert problem.endswith(f"or begin it anew: python -m rlrepro.train --settings {run}/settings.json")
    assert all_files(run) == before
    outcome = runs.command("evaluate", run, "--episodes", "2")
    told = f"warning: {run} has no run.json: whether its code is as it was trained with cannot be known\n"
    assert (outcome.status, outcome.err) == (0, told)
    (run / "run.json").write_bytes(held)
    assert runs.resume("r").status == 0


def test_processes_that_step_environments_go_with_one_that_trains(runs: Runs) -> None:
    run = runs.finish("r", "--agent", "random", "--seeds", "2", "--env-processes", "2", "--wrapper", "TimeFraction")
    RunFolder(run).note(status="interrupted")
    before = all_files(run)
    problem = runs.command("train", "--resume", run, "--processes", "2").problem
    assert f"--processes 2: {run} steps its environments in 2 processes, which go with one that trains" in problem
    assert all_files(run) == before


# --- locks and signals


def test_a_run_that_another_process_writes_to_is_left_alone(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    run = unfinished(runs)
    monkeypatch.setattr(RunFolder.lock, "__defaults__", (0.1,))
    before = all_files(run)
    with open(run / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert f"another process is writing to {run}" in runs.resume("r").problem
    assert all_files(run) == before


def test_a_command_that_failed_holds_no_lock(
    trouble: Callable[..., list[str]], runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RunFolder.lock, "__defaults__", (0.1,))
    monkeypatch.setattr("conftest.gc.collect", lambda: 0)
    marker = str(tmp_path / "it-has-failed")
    brief = (*PPO, "--seed", "0", "--total-timesteps", "240")
    assert runs.begin("r", *trouble(how="raise", marker=marker), *brief).status == 1
    outcome = runs.resume("r")
    assert (outcome.status, outcome.err) == (0, "")


def start(*arguments: str | Path, **options: Any) -> subprocess.Popen[str]:
    """`python -m rlrepro.train ...` in a session of its own, without a terminal."""
    command = [sys.executable, "-m", "rlrepro.train", *map(str, arguments)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, text=True, start_new_session=True, env=env, **options)


def wait_for(found: Callable[[], Any], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not found():
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)


@pytest.mark.parametrize(
    ("number", "processes"),
    [
        pytest.param(signal.SIGINT, "1", id="SIGINT-1"),
        pytest.param(signal.SIGTERM, "2", id="SIGTERM-2", marks=pytest.mark.slow),
        pytest.param("SIGTERM to all", "2", id="SIGTERM to all-2"),
        pytest.param(signal.SIGINT, "2", id="SIGINT-2", marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, "1", id="SIGTERM-1", marks=pytest.mark.slow),
    ],
)
def test_an_interrupted_run_saves_a_checkpoint_and_resumes_to_the_same_bytes(
    processes: str, number: signal.Signals | str, runs: Runs
) -> None:
    brief = (*BRIEF, *PPO, "--seeds", "2", "--total-timesteps", "12000", "--checkpoint-every", "300",
             "--log-every", "1000", "--num-steps", "100", "--processes", processes)  # fmt: skip
    process = start(*brief, "--run-dir", runs.folder, "--name", "my run")
    run = runs.folder / "my run"
    wait_for(lambda: all(any(run.glob(f"seeds/{seed}/checkpoints/*")) for seed in (0, 1)), process)
    if number == signal.SIGTERM:
        process.send_signal(signal.SIGTERM)
    else:  # as a terminal does, or what ends a job on a cluster
        os.killpg(process.pid, signal.SIGINT if number == signal.SIGINT else signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    outcome = Outcome(process.returncode, out, err)
    assert outcome.status == 130
    assert outcome.problem.startswith("stopped at env step ")
    assert json.loads((run / "run.json").read_text())["status"] == "interrupted"
    arguments = way_on(outcome.problem)
    assert arguments == ["--resume", str(run)]
    assert runs.command("train", *arguments).status == 0
    assert kept(run) == kept(runs.finish("whole", *brief, "--processes", "1"))


def test_ctrl_c_in_the_last_evaluation_stops_it_at_once(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may never end by itself; all that was trained is saved, and a resume evaluates again."""
    from rlrepro import loop

    def interrupts(self: loop.LongEpisodeWarning, longest: int, seed: int) -> None:
        if longest == 5:
            os.kill(os.getpid(), signal.SIGINT)
        assert longest < 8, "it went on"

    brief = (*PPO, "--seeds", "2")
    with monkeypatch.context() as patch:
        patch.setattr(loop.LongEpisodeWarning, "__call__", interrupts)
        outcome = runs.begin("r", *brief)
    assert outcome.status == 130
    assert outcome.problem.startswith("stopped in the last evaluation, at env step 120; go on with: ")
    assert runs.resume("r").status == 0
    assert kept(runs.folder / "r") == kept(runs.finish("whole", *brief))


def test_ctrl_c_in_an_evaluation_between_updates_says_what_it_waits_for(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checkpoint comes after it: else a resumed run would lack it."""
    from rlrepro import loop

    def interrupts(self: loop.LongEpisodeWarning, longest: int, seed: int) -> None:
        if longest == 5:
            monkeypatch.undo()
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(loop.LongEpisodeWarning, "__call__", interrupts)
    brief = (*PPO, "--seeds", "2", "--eval-every", "50", "--eval-episodes", "2")
    outcome = runs.begin("r", *brief)
    assert outcome.status == 130
    assert outcome.out.count("stopping after the evaluation at env step 50; asked again, it stops at once") == 1
    assert outcome.problem.startswith("stopped at env step 50; go on with: ")
    assert runs.resume("r").status == 0
    assert kept(runs.folder / "r") == kept(runs.finish("whole", *brief))


@pytest.mark.parametrize("where", ["first", "after a checkpoint", "last"])
def test_sigterm_in_an_evaluation_that_does_not_end_is_not_kept_waiting(
    where: str, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scheduler kills what does not end: the run stops, with a checkpoint though none was due.

    No resume is advised, which would come to the same evaluation.
    """
    from rlrepro import loop

    class Asked(loop.LongEpisodeWarning):
        def __call__(self, longest: int, seed: int) -> None:
            super().__call__(longest, seed)
            if longest == 11:
                os.kill(os.getpid(), signal.SIGTERM)
            assert longest < 14, "it went on"

    every = ("--eval-every", "0" if where == "last" else "40", "--eval-episodes", "2")
    every = (*every, "--checkpoint-every", "30" if where == "after a checkpoint" else "0")
    brief = ("--env", "CliffWalking-v1", "--agent", "q_learning", "--seed", "0", "--total-timesteps", "80", *every)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "LONG_EPISODE", 10)
        patch.setattr(loop, "LongEpisodeWarning", Asked)
        outcome = runs.begin("r", *brief)
    assert outcome.status == 130
    assert "states no time limit: an evaluation ends only if its episodes do" in outcome.out
    run, stopped = runs.folder / "r", "stopped in an evaluation that did not end, at env step"
    again = "a resume would come to it again"
    anew = f"begin it anew: python -m rlrepro.train --settings {run}/settings.json --env-kwargs max_episode_steps=N"
    assert (
        outcome.problem
        == {
            "first": f"{stopped} 40; everything up to env step 40 is saved; {again}; {anew}",
            "after a checkpoint": f"{stopped} 40; everything up to env step 30 is saved; {again}; {anew}",
            "last": f"stopped in the last evaluation, which did not end, at env step 80; {again}; {anew}, or "
            f"score it exploring: rlrepro evaluate {run} --stochastic",
        }[where]
    )


@pytest.mark.parametrize(
    ("made", "number"),
    [(1, signal.SIGINT), (2, signal.SIGINT), (3, signal.SIGINT), (4, signal.SIGINT), (4, signal.SIGTERM)],
)
@pytest.mark.parametrize("again", [False, True])
def test_a_signal_before_training_began_is_one_line_and_leaves_no_run(
    made: int,
    number: signal.Signals,
    again: bool,
    trouble: Callable[..., list[str]],
    runs: Runs,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where it comes again and again while the run is cleared away."""
    remove = shutil.rmtree

    def pressed_again(path: Path, ignore_errors: bool) -> None:
        for one in (signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), one)
        remove(path, ignore_errors=ignore_errors)

    if again:
        monkeypatch.setattr("shutil.rmtree", pressed_again)
    brief = ("--agent", "random", "--seed", "0", "--total-timesteps", "4000")
    outcome = runs.begin("r", *trouble(made=made, number=number), *brief)
    assert "interrupted" in outcome.problem
    assert outcome.status == 130
    assert runs.left() == []


def test_a_run_whose_reader_is_gone_goes_on_to_its_end(runs: Runs) -> None:
    process = start(*BRIEF, "--agent", "random", "--seed", "0", "--total-timesteps", "20000", "--checkpoint-every", "0",
                    "--run-dir", runs.folder, "--name", "r")  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    process.wait(60)
    assert json.loads((runs.folder / "r/run.json").read_text())["status"] == "finished"
    assert len(kept(runs.folder / "r")) == 3
