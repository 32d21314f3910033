"""Whole runs: seed invariance, determinism, and resume after SIGKILL, all to the byte."""

from __future__ import annotations

import csv
import functools
import itertools
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import traceback
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlrepro import checkpoint, cli, seed_log, train
from rlrepro.record import RunFolder
from rlrepro.recorder import checkpoint_path
from rlrepro.seed_log import read_rows
from tests.conftest import Runs, now_and_slow

PPO = ["--agent", "ppo", "--num-envs", "3", "--num-steps", "20", "--num-minibatches", "4", "--num-epochs", "2"]
DQN = ["--agent", "dqn", "--num-envs", "2", "--learning-starts", "64", "--train-every", "4", "--batch-size", "33",
       "--target-every", "60", "--buffer-size", "300", "--hidden", "50,24"]  # fmt: skip
SPLIT = ["--agent", "ppo_split", "--num-steps", "75", "--batch-size", "32", "--num-value-epochs", "3"]
A2C = ["--agent", "a2c", "--num-envs", "3", "--num-steps", "7"]
TRPO = ["--agent", "trpo", "--num-envs", "2", "--num-steps", "50", "--batch-size", "33", "--num-value-epochs", "2"]
REINFORCE = ["--agent", "reinforce", "--num-envs", "2", "--num-episodes", "2", "--learning-rate", "0.01"]
LEARNS = ["--num-envs", "2", "--learning-starts", "64", "--train-every", "4", "--batch-size", "33",
          "--buffer-size", "300", "--hidden", "50,26"]  # fmt: skip
OFF_POLICY = ["--learning-starts", "64", "--train-every", "4", "--batch-size", "33", "--buffer-size", "300",
              "--hidden", "50,24"]  # fmt: skip
# Many ends, none of them where a run or its rollouts end, and evaluations that take little.
SHORT_EPISODES = ["--env-kwargs", "max_episode_steps=37"]
CLIFF, WINDY, PENDULUM, ACROBOT, CAR, HILL = (
    ["--env", name, *SHORT_EPISODES]
    for name in ("CliffWalking-v1", "WindyGridworld-v0", "Pendulum-v1", "Acrobot-v1", "MountainCar-v0",
                 "MountainCarContinuous-v0")
)  # fmt: skip
CASES = {
    "ppo-discrete": [*PPO, "--env", "CartPole-v1"],
    "ppo-continuous": [*PPO, *PENDULUM],
    "ppo-target-kl": [*PPO, "--env", "CartPole-v1", "--target-kl", "0.0005", "--learning-rate", "0.003"],
    "ppo-odd-shapes": [*PPO, *ACROBOT, "--num-envs", "1", "--num-steps", "35", "--num-minibatches", "7",
                       "--hidden", "37,37"],
    "ppo-single-environments": [*PPO, "--env", "CartPole-v1", "--wrapper", "TimeFraction"],
    "dqn": [*DQN, "--env", "CartPole-v1"],
    "dqn-double-discrete-obs": [*DQN, *CLIFF, "--double", "--loss", "squared"],
    "ppo-normalised": [*PPO, *PENDULUM, "--normalise-obs", "--normalise-reward"],
    "ppo-split-continuous": [*SPLIT, *PENDULUM],
    "ppo-split-discrete": [*SPLIT, *ACROBOT, "--num-envs", "2", "--hidden", "37,10",
                           "--activation", "tanh", "--entropy-coef", "0.01"],
    "a2c-discrete": [*A2C, "--env", "CartPole-v1", "--hidden", "37,10"],
    "a2c-continuous": [*A2C, *PENDULUM, "--num-envs", "1", "--optimiser", "rmsprop", "--separate"],
    "a2c-normalised": [*A2C, *PENDULUM, "--normalise-obs", "--normalise-reward"],
    "trpo-discrete": [*TRPO, "--env", "CartPole-v1", "--target-kl", "0.5", "--line-search-steps", "2"],
    "trpo-continuous": [*TRPO, *PENDULUM, "--hidden", "37,10", "--activation", "relu", "--num-envs", "1"],
    "reinforce-discrete": [*REINFORCE, "--env", "CartPole-v1"],
    "reinforce-continuous": [*REINFORCE, *PENDULUM, "--no-baseline", "--num-episodes", "1"],
    "reinforce-sgd": [*REINFORCE, "--env", "ShortCorridor-v0", "--hidden", "", "--optimiser", "sgd"],
    "dqn-with-all": [*DQN, *ACROBOT, "--dueling", "--prioritised", "--num-steps", "3", "--double"],
    "c51": ["--agent", "c51", *LEARNS, "--env", "CartPole-v1", "--num-atoms", "21", "--target-every", "60"],
    "qrdqn": ["--agent", "qrdqn", *LEARNS, "--env", "CartPole-v1", "--num-quantiles", "11", "--gradient-steps", "2",
              "--tau", "0.3", "--target-every", "20"],
    "rainbow": ["--agent", "rainbow", *LEARNS, "--env", "CartPole-v1", "--num-atoms", "21", "--target-every", "60"],
    "pqn": ["--agent", "pqn", "--env", "CartPole-v1", "--num-envs", "3", "--num-steps", "20", "--hidden", "50,26"],
    "ddpg": ["--agent", "ddpg", *OFF_POLICY, *PENDULUM, "--num-envs", "2", "--noise", "ou",
             "--action-layer", "second", "--weight-decay", "0.01"],
    "td3": ["--agent", "td3", *OFF_POLICY, *HILL, "--action-layer", "both",
            "--critic-units", "env"],
    "sac": ["--agent", "sac", *OFF_POLICY, *PENDULUM, "--gradient-steps", "2", "--policy-delay", "2"],
    "sac-separate-std": ["--agent", "sac", *OFF_POLICY, *HILL, "--separate-std",
                         "--num-envs", "3", "--log-std-bound", "tanh", "--first-weights", "xavier",
                         "--alpha-loss", "alpha"],
    "sac-discrete": ["--agent", "sac_discrete", *OFF_POLICY, *ACROBOT, "--target-every", "60"],
    "random": ["--agent", "random", *PENDULUM],
    "q-learning": [*WINDY, "--agent", "q_learning", "--step-size-decay", "0.8"],
    "double-q-learning": [*WINDY, "--agent", "double_q_learning"],
    "sarsa": [*WINDY, "--agent", "sarsa"],
    "sarsa-n-step": [*WINDY, "--agent", "sarsa", "--num-steps", "4", "--num-envs", "2"],
    "expected-sarsa": [*WINDY, "--agent", "expected_sarsa"],
    "dyna-q": [*WINDY, "--agent", "dyna_q"],
    "differential-sarsa": [*WINDY, "--agent", "differential_sarsa"],
    "sarsa-lambda": ["--agent", "sarsa_lambda", *CAR, "--epsilon", "0.1", "--num-envs", "2"],
    "true-online-sarsa-lambda": ["--agent", "sarsa_lambda", *CAR, "--traces", "dutch"],
}  # fmt: skip
BRIEF = ["--total-timesteps", "600", "--eval-every", "0", "--final-eval-episodes", "2", "--log-every", "15",
         "--checkpoint-every", "300", "--processes", "1"]  # fmt: skip
# Memories of 300 transitions are full, and no rollout ends with the run.
BRIEFER = [*BRIEF, "--total-timesteps", "391", "--checkpoint-every", "200"]


def run(folder: Path, *arguments: str) -> Path:
    """A run that ends well; its folder."""
    assert train.main([*arguments, "--run-dir", str(folder.parent), "--name", folder.name]) == 0
    return folder


def outcome(run: Path, seed: int) -> dict[str, bytes]:
    """What of a seed's run is to be the same: episodes, evaluations, curves but the clock's, the final parameters."""
    folder = run / "seeds" / str(seed)
    names = ("episodes.csv", "evaluations.csv", "policy.safetensors")
    return {**{name: (folder / name).read_bytes() for name in names}, "metrics.csv": curves(folder)}


def curves(folder: Path) -> bytes:
    """The metrics of a seed without wall times and rates."""
    _, *rows = csv.reader((folder / "metrics.csv").open())
    return repr([(step, tag, value) for step, _, tag, value in rows if tag not in ("charts/SPS", "time/fps")]).encode()


def whole_state(run: Path, seed: int) -> str:
    """The last checkpoint but for the record's own book-keeping: memory, moments, streams, environment."""
    path = sorted((run / "seeds" / str(seed) / "checkpoints").glob("*.safetensors"))[-1]
    state, _ = checkpoint.load(path)
    assert {"agent", "memory", "env", "counter"} <= state.keys()
    tensors: dict[str, np.ndarray] = {}
    tree = checkpoint._encode({name: part for name, part in state.items() if name != "record"}, tensors)
    return repr(tree) + repr({name: (array.dtype, array.tobytes()) for name, array in tensors.items()})


#: Of each agent one, and what its memory or its parameters have otherwise.
OF_EACH = (
    "ppo-continuous", "ppo-single-environments", "ppo-normalised", "ppo-split-discrete", "a2c-continuous",
    "trpo-discrete", "reinforce-discrete", "dqn", "dqn-with-all", "c51", "qrdqn", "rainbow", "pqn", "ddpg", "td3",
    "sac", "sac-discrete", "random", "q-learning", "double-q-learning", "sarsa-n-step", "expected-sarsa", "dyna-q",
    "differential-sarsa", "sarsa-lambda",
)  # fmt: skip


@pytest.mark.parametrize("case", now_and_slow(CASES, OF_EACH))
def test_a_seed_alone_and_among_ten_is_the_same_run(case: str, tmp_path: Path) -> None:
    among = run(tmp_path / "among", *CASES[case], *BRIEFER, "--seeds", "10")
    seed = 1 + zlib.crc32(case.encode()) % 9  # each of the places in some case
    alone = run(tmp_path / "alone", *CASES[case], *BRIEFER, "--seed", str(seed))
    assert outcome(alone, seed) == outcome(among, seed)
    assert whole_state(alone, seed) == whole_state(among, seed)
    assert outcome(among, 0) != outcome(among, seed)


def test_the_number_of_processes_changes_nothing(tmp_path: Path) -> None:
    one = run(tmp_path / "one", *CASES["ppo-discrete"], *BRIEF, "--seeds", "3")
    two = run(tmp_path / "two", *CASES["ppo-discrete"], *BRIEF, "--seeds", "3", "--processes", "2")
    for seed in range(3):
        assert outcome(one, seed) == outcome(two, seed)


@pytest.mark.parametrize("case", [
    "ppo-discrete", "ppo-continuous", "ppo-normalised", "ppo-split-continuous", "a2c-normalised", "trpo-continuous",
    "reinforce-discrete", "dqn", "sac",
])  # fmt: skip
def test_the_same_command_twice_gives_the_same_bytes_however_much_is_evaluated_and_logged(
    case: str, tmp_path: Path
) -> None:
    first = run(tmp_path / "first", *CASES[case], *BRIEFER, "--seeds", "2")
    again = run(tmp_path / "again", *CASES[case], *BRIEFER, "--seeds", "2")
    busy = run(tmp_path / "busy", *CASES[case], *BRIEFER, "--seeds", "2", "--eval-every", "100", "--eval-episodes", "3",
               "--log-every", "7", "--checkpoint-every", "50")  # fmt: skip
    for seed in range(2):
        assert outcome(first, seed) == outcome(again, seed)
        for name in ("episodes.csv", "policy.safetensors"):
            assert outcome(first, seed)[name] == outcome(busy, seed)[name]
        final = [row for row in read_rows(busy / "seeds" / str(seed) / "evaluations.csv") if "final" in row["env_step"]]
        assert final == list(read_rows(first / "seeds" / str(seed) / "evaluations.csv"))


# --- resuming

SHORTER = ["--total-timesteps", "1500", "--checkpoint-every", "75"]  # for those that learn at every step
RESUMED = {
    "ppo": [*CASES["ppo-discrete"], "--seeds", "3"],
    "dqn": [*CASES["dqn"], "--seeds", "3"],
    "rainbow": [*CASES["rainbow"], "--seeds", "2", *SHORTER],
    "pqn": [*CASES["pqn"], "--seeds", "2", *SHORTER],
    "ppo-single-environments": [*CASES["ppo-single-environments"], "--seeds", "2", *SHORTER],
    "ppo-split": [*CASES["ppo-split-continuous"], "--seeds", "2"],
    "a2c": [*CASES["a2c-normalised"], "--seeds", "2"],
    "trpo": [*CASES["trpo-discrete"], "--seeds", "2"],
    "reinforce": [*CASES["reinforce-discrete"], "--seeds", "2"],
    "ddpg": [*CASES["ddpg"], "--seeds", "2", *SHORTER],
    "td3": [*CASES["td3"], "--seeds", "2", *SHORTER],
    "sac": [*CASES["sac"], "--seeds", "2", *SHORTER],
    "sac-discrete": [*CASES["sac-discrete"], "--seeds", "2", *SHORTER],
    "sarsa-n-step": [*CASES["sarsa-n-step"], "--seeds", "2", *SHORTER],
    "true-online-sarsa-lambda": [*CASES["true-online-sarsa-lambda"], "--seeds", "2"],
}
OFTEN = ["--total-timesteps", "3000", "--eval-every", "700", "--eval-episodes", "2", "--final-eval-episodes", "2",
         "--checkpoint-every", "150", "--log-every", "40", "--processes", "1"]  # fmt: skip


def in_a_fork(work: Callable[[], object]) -> int:
    """A child that does `work` and exits 0; its process id. It begins with everything imported."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    return child


def start_or_resume(folder: Path, arguments: list[str]) -> None:
    """What a person types, again and again, until the run is finished."""
    if RunFolder(folder).read_json("run.json").get("status") == "finished":
        return
    if (folder / "settings.json").exists():
        assert train.main(["--resume", str(folder)]) == 0
    else:
        assert train.main([*arguments, "--run-dir", str(folder.parent), "--name", folder.name]) == 0


def seeds_of(folder: Path) -> list[int]:
    return sorted(int(path.name) for path in (folder / "seeds").iterdir())


FEW = ["--total-timesteps", "900", "--eval-every", "350", "--checkpoint-every", "75"]


#: Of a memory of rollouts, of transitions, of episodes and of none.
OF_EACH_MEMORY = ("ppo", "dqn", "ddpg", "reinforce", "true-online-sarsa-lambda")


@pytest.mark.parametrize("case", now_and_slow(RESUMED, OF_EACH_MEMORY))
@pytest.mark.parametrize(("kills", "length"), [(3, FEW), pytest.param(20, [], marks=pytest.mark.slow)])
def test_killed_at_random_moments_and_resumed_a_run_ends_with_the_same_bytes(
    kills: int, length: list[str], case: str, tmp_path: Path
) -> None:
    arguments = [*OFTEN, *RESUMED[case], *length]
    began = time.monotonic()
    whole = run(tmp_path / "whole", *arguments)
    lasted = time.monotonic() - began
    moments = random.Random(1)
    killed, saved, folder = 0, 0, tmp_path / "killed"
    for attempt in itertools.count():
        child = in_a_fork(functools.partial(start_or_resume, folder, arguments))
        if killed < kills or not saved:
            # Short spans at first: many kills must fit into one run, and each loses what was not checkpointed.
            span = max(0.25, 1.2 / kills) * lasted * (1 + max(0, killed - kills))
            time.sleep(moments.uniform(0.02, span))
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            killed += 1
            saved += any(folder.glob("seeds/*/checkpoints/*.safetensors"))
        elif killed < kills or not saved:  # it was finished before it could be killed: begin another
            assert status == 0
            assert [outcome(folder, seed) for seed in seeds_of(whole)] == [
                outcome(whole, seed) for seed in seeds_of(whole)
            ]
            folder = tmp_path / f"killed-{attempt}"
        else:
            assert status == 0
            break
    for seed in seeds_of(whole):
        assert outcome(folder, seed) == outcome(whole, seed)
        assert whole_state(folder, seed) == whole_state(whole, seed)


@pytest.mark.parametrize(
    ("case", "every"),
    [pytest.param("ppo", 1, marks=pytest.mark.slow), pytest.param("dqn", 1, marks=pytest.mark.slow), ("dqn", 3)],
)
def test_killed_inside_the_writing_of_a_checkpoint_a_run_ends_with_the_same_bytes(
    case: str, every: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [*OFTEN, *RESUMED[case], "--total-timesteps", "700"]
    whole = run(tmp_path / "whole", *arguments)

    def die_at(call: int, name: str) -> None:
        """Die in the call-th `os.<name>` of a checkpoint: before it is durable, named, or pruned."""
        real, count = getattr(os, name), itertools.count(1)

        def maybe(*args: object, **kwargs: object) -> object:
            if next(count) == call:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)

        monkeypatch.setattr(os, name, maybe)

    for name, call in [*(("fsync", n) for n in range(4, 40, 5)), *(("replace", n) for n in range(3, 15))][::every]:
        folder = tmp_path / f"{name}-{call}"

        def work(folder: Path = folder, name: str = name, call: int = call) -> None:
            die_at(call, name)
            start_or_resume(folder, arguments)

        _, status = os.waitpid(in_a_fork(work), 0)
        assert os.WIFSIGNALED(status), f"{name} was not called {call} times"
        _, status = os.waitpid(in_a_fork(lambda folder=folder: start_or_resume(folder, arguments)), 0)
        assert status == 0
        for seed in seeds_of(whole):
            assert outcome(folder, seed) == outcome(whole, seed)


# --- going on for longer

#: Learning rates, clip ranges or exploration that follow a schedule to the end of the run.
SCHEDULED = {
    "ppo-discrete", "ppo-target-kl", "ppo-odd-shapes", "ppo-single-environments", "dqn", "dqn-double-discrete-obs",
    "dqn-with-all", "c51", "qrdqn", "rainbow", "pqn", "a2c-continuous", "a2c-normalised",
}  # fmt: skip
LONGER = ["--eval-every", "100", "--eval-episodes", "2", "--checkpoint-every", "90", "--seeds", "2"]


UNSCHEDULED = sorted(CASES.keys() - SCHEDULED)


@pytest.mark.parametrize("case", now_and_slow(UNSCHEDULED, set(OF_EACH) & set(UNSCHEDULED)))
def test_a_run_made_longer_ends_with_the_bytes_of_one_that_was_so_long_from_its_start(
    case: str, tmp_path: Path
) -> None:
    whole = run(tmp_path / "whole", *CASES[case], *BRIEF, *LONGER)
    folder = run(tmp_path / "longer", *CASES[case], *BRIEF, *LONGER, "--total-timesteps", "300")
    assert outcome(folder, 0) != outcome(whole, 0)
    assert train.main(["--resume", str(folder), "--total-timesteps", "600"]) == 0
    for seed in range(2):
        assert outcome(folder, seed) == outcome(whole, seed)
        assert whole_state(folder, seed) == whole_state(whole, seed)


@pytest.mark.parametrize("case", sorted(SCHEDULED))
def test_a_run_whose_schedules_hang_on_its_length_is_not_made_longer(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run(tmp_path / "r", *CASES[case], *BRIEF, *LONGER, "--total-timesteps", "300")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert train.main(["--resume", str(folder), "--total-timesteps", "600"]) == 2
    said = capsys.readouterr().err
    assert "has asked how long its run would be" in said
    assert f"--settings {folder}/settings.json --total-timesteps 600" in said
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_lost_rows_stop_a_resume_and_it_says_how_to_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run(tmp_path / "r", *CASES["sac"], *BRIEF, *LONGER, "--total-timesteps", "300")
    file = folder / "seeds/1/metrics.csv"
    file.write_bytes(file.read_bytes()[:40])
    assert train.main(["--resume", str(folder), "--total-timesteps", "600"]) == 2
    said = capsys.readouterr().err
    assert f"{file} is shorter than its checkpoint says; rows were lost: put it back, or begin it anew: " in said
    RunFolder(folder).note(status="interrupted")
    assert train.main(["--resume", str(folder)]) == 2
    assert f"with {folder}/seeds/1 moved away a resume begins seed 1 at its start" in capsys.readouterr().err
    shutil.rmtree(folder / "seeds/1")
    before = outcome(folder, 0)
    assert train.main(["--resume", str(folder)]) == 0
    whole = run(tmp_path / "whole", *CASES["sac"], *BRIEF, *LONGER, "--total-timesteps", "300")
    assert outcome(folder, 0) == before
    assert outcome(folder, 1) == outcome(whole, 1)


@pytest.mark.parametrize("processes", ["1", "2"])
@pytest.mark.parametrize("lost", ["checkpoints", "checkpoints/step-*", "one"])
def test_a_finished_run_without_its_checkpoints_is_not_begun_anew(
    lost: str, processes: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """To make it longer would be to train it from its start, and to cut what it recorded."""
    folder = run(tmp_path / "r", *CASES["sac"], *BRIEF, *LONGER, "--total-timesteps", "300", "--processes", processes)
    for path in folder.glob("seeds/1/checkpoints/step-*" if lost == "one" else f"seeds/*/{lost}"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert train.main(["--resume", str(folder), "--total-timesteps", "600"]) == 2
    said = capsys.readouterr().err
    which = "seed 1" if lost == "one" else "seeds 0, 1"
    assert f"is finished, and has no whole checkpoint to go on from for {which}; begin it anew: " in said
    assert f"--settings {folder}/settings.json --total-timesteps 600" in said
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("lost", ["all", "of one seed"])
def test_a_stopped_run_without_its_checkpoints_says_which_seeds_begin_again(
    lost: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The others of its group go on from theirs, and all end as if never stopped."""
    whole = run(tmp_path / "whole", *CASES["sac"], *BRIEF, *LONGER, "--total-timesteps", "300")

    def work() -> None:
        real, count = checkpoint.save, itertools.count(1)

        def save_and_die(*args: object) -> None:
            real(*args)  # type: ignore[arg-type]
            if next(count) == 4:  # two of each seed
                os.kill(os.getpid(), signal.SIGKILL)

        checkpoint.save = save_and_die
        run(tmp_path / "r", *CASES["sac"], *BRIEF, *LONGER, "--total-timesteps", "300")

    os.waitpid(in_a_fork(work), 0)
    folder = RunFolder(tmp_path / "r")
    assert folder.read_json("run.json")["status"] == "running"
    for seed in (0, 1) if lost == "all" else (1,):
        shutil.rmtree(folder.checkpoints(seed))
    again = "seeds 0, 1" if lost == "all" else "seed 1"
    assert train.main(["--resume", str(folder)]) == 0
    said = capsys.readouterr().out
    assert re.search(rf"no whole checkpoint .* for {again}: begins again at the start, and cuts \d\d+ recorded", said)
    for seed in range(2):
        assert outcome(folder.path, seed) == outcome(whole, seed)
        assert whole_state(folder.path, seed) == whole_state(whole, seed)


def test_a_stopped_run_without_its_checkpoints_may_be_made_longer_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It begins again; when it was made longer, it had come further than its start."""
    case = [*CASES["sac"], *BRIEF, *LONGER]
    whole = run(tmp_path / "whole", *case, "--total-timesteps", "300")
    folder = RunFolder(run(tmp_path / "r", *case, "--total-timesteps", "200"))
    for longer, status in ((["--total-timesteps", "300"], 0), ([], 2)):
        folder.note(status="interrupted")
        for seed in range(2):
            shutil.rmtree(folder.checkpoints(seed))
        assert train.main(["--resume", str(folder), *longer]) == status
        for seed in range(2):
            assert outcome(folder.path, seed) == outcome(whole, seed)
    assert "was made longer, and has no whole checkpoint to go on from for seeds 0, 1; begin" in capsys.readouterr().err


@pytest.mark.parametrize(("before", "now"), [("1", "2"), ("2", "1")])
def test_a_run_goes_on_in_another_number_of_processes_to_the_same_bytes(
    before: str, now: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run(tmp_path / "r", *CASES["sac"], *BRIEF, *LONGER, "--total-timesteps", "300", "--processes", before)
    whole = shutil.copytree(folder, tmp_path / "whole")
    RunFolder(folder).note(status="running")
    (checkpoint_path(RunFolder(folder), 1, 300)).unlink()
    if before == "2":  # the processes were not equally far
        (checkpoint_path(RunFolder(folder), 0, 270)).unlink()
    capsys.readouterr()
    assert train.main(["--resume", str(folder), "--processes", now]) == 0
    assert re.search(rf"\n  processes +{now}\n", capsys.readouterr().out)
    for seed in range(2):
        assert outcome(folder, seed) == outcome(whole, seed)
        assert whole_state(folder, seed) == whole_state(whole, seed)
    assert (folder / "settings.json").read_bytes() == (whole / "settings.json").read_bytes()


def test_a_run_made_longer_may_be_killed_and_made_longer_again(tmp_path: Path) -> None:
    """From an end of which nothing is left but its checkpoint, and across the end that a stopped run was to have."""
    case = [*CASES["sac"], *BRIEF, *LONGER]
    whole = run(tmp_path / "whole", *case, "--total-timesteps", "900")
    folder = run(tmp_path / "r", *case, "--total-timesteps", "300")

    def die_after(calls: int) -> None:
        real, count = checkpoint.save, itertools.count(1)

        def maybe(*args: object) -> None:
            if next(count) > calls:
                os.kill(os.getpid(), signal.SIGKILL)
            real(*args)  # type: ignore[arg-type]

        checkpoint.save = maybe

    def die_at_the_cut() -> None:
        seed_log.SeedLog.cut = lambda *arguments: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign]
        train.main(["--resume", str(folder), "--total-timesteps", "600"])

    os.waitpid(in_a_fork(die_at_the_cut), 0)
    assert RunFolder(folder).read_json("run.json")["status"] == "running"
    for total, calls in ((600, 0), (600, 2), (900, 8)):

        def work(total: int = total, calls: int = calls) -> None:
            die_after(calls)
            train.main(["--resume", str(folder), "--total-timesteps", str(total)])

        os.waitpid(in_a_fork(work), 0)
        assert RunFolder(folder).read_json("run.json")["status"] != "finished"
    assert train.main(["--resume", str(folder)]) == 0
    for seed in range(2):
        assert outcome(folder, seed) == outcome(whole, seed)
        assert whole_state(folder, seed) == whole_state(whole, seed)
    assert sorted(RunFolder(folder).read_json("run.json")["lengths"].values()) == [300, 600]


@pytest.mark.parametrize("kills", [1, pytest.param(2, marks=pytest.mark.slow)])  # the second is of a resumed run
def test_the_real_command_with_two_processes_killed_and_resumed(kills: int, tmp_path: Path) -> None:
    """As a person meets it: the parent is killed, its workers end by themselves, and --resume goes on."""
    arguments = ["--env", "CartPole-v1", "--seeds", "3", "--total-timesteps", "8000", "--eval-every", "0",
                 "--final-eval-episodes", "2", "--checkpoint-every", "1000", "--processes", "2"]  # fmt: skip
    whole = run(tmp_path / "whole", *arguments)
    command = [sys.executable, "-m", "rlrepro.train"]
    folder = tmp_path / "killed"
    first = [*command, *arguments, "--run-dir", str(tmp_path), "--name", "killed"]
    for kill in range(kills):
        child = subprocess.Popen(first if kill == 0 else [*command, "--resume", str(folder)],
                                 stdout=subprocess.DEVNULL)  # fmt: skip
        wanted = (kill + 1) * 2000
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and child.poll() is None:
            steps = [int(p.stem.removeprefix("step-")) for p in folder.glob("seeds/*/checkpoints/step-*.safetensors")]
            if steps and max(steps) >= wanted:
                break
            time.sleep(0.02)
        assert child.poll() is None, "it ended before it could be killed"
        child.kill()
        child.wait()
    assert subprocess.run([*command, "--resume", str(folder)], check=False, stdout=subprocess.DEVNULL).returncode == 0
    for seed in range(3):
        assert outcome(folder, seed) == outcome(whole, seed)


def test_an_environment_that_cannot_give_its_state_says_so_and_resumes_with_new_episodes(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "opaque.py"
    file.write_text(
        "import gymnasium, numpy as np\n"
        "class World:\n    pass\n"
        "class Opaque(gymnasium.Env):\n"
        "    observation_space = gymnasium.spaces.Box(0, 100, (1,), np.float32)\n"
        "    action_space = gymnasium.spaces.Discrete(2)\n"
        "    world = None\n"
        "    def reset(self, *, seed=None, options=None):\n"
        "        super().reset(seed=seed)\n"
        "        self.world = self.world or World(); self.world.t = 0\n"
        "        return np.zeros(1, np.float32), {}\n"
        "    def step(self, action):\n"
        "        self.world.t += 1\n"
        "        return np.full(1, self.world.t, np.float32), 1.0, self.world.t == 90, False, {}\n"
    )
    arguments = [*PPO, "--env", f"{file}:Opaque", "--seeds", "2", *BRIEF, "--checkpoint-every", "50"]
    folder = tmp_path / "run"

    def interrupted() -> None:
        real = checkpoint.save

        def save_and_die(path: Path, *rest: object) -> None:
            real(path, *rest)  # type: ignore[arg-type]
            if path == checkpoint_path(RunFolder(folder), 1, 300):
                os.kill(os.getpid(), signal.SIGKILL)

        checkpoint.save = save_and_die  # type: ignore[assignment]
        train.main([*arguments, "--run-dir", str(tmp_path), "--name", "run"])

    _, status = os.waitpid(in_a_fork(interrupted), 0)
    assert os.WIFSIGNALED(status)
    capfd.readouterr()
    assert train.main(["--resume", str(folder)]) == 0
    said = capfd.readouterr().out
    assert said.count("a resume will begin a new episode") == 1
    assert "Opaque.world is a World; Opaque.world lives on over a reset" in said
    rows = list(read_rows(folder / "seeds" / "0" / "episodes.csv"))
    # Each of 3 sub-environments: one episode of 90 before step 300 (100 each), one from there on.
    assert [int(row["env_step"]) for row in rows] == [270] * 3 + [570] * 3
    assert all(float(row["episode_return"]) == 90 for row in rows)


def test_a_finished_run_is_filmed(tmp_path: Path) -> None:
    folder = run(tmp_path / "run", *CASES["ppo-discrete"], *BRIEF, "--seeds", "2")
    assert cli.main(["evaluate", str(folder), "--episodes", "2", "--capture-video"]) == 0
    films = sorted((folder / "videos").glob("*.mp4"))
    assert [film.name.split("-evaluation")[0] for film in films] == ["seed-0", "seed-1"]
    assert all(film.stat().st_size > 1000 for film in films)


def test_of_two_resumes_the_second_reads_the_settings_that_the_first_has_written(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it waited for the run, the other made it longer."""
    brief = ("--env", "FrozenLake-v1", "--agent", "q_learning", "--seed", "0")
    run = runs.finish("r", *brief, "--total-timesteps", "200")
    lock = RunFolder.lock

    def waits(self: RunFolder, *arguments: Any, **others: Any) -> None:
        monkeypatch.setattr(RunFolder, "lock", lock)
        assert runs.command("train", "--resume", run, "--total-timesteps", "400").status == 0
        lock(self, *arguments, **others)

    monkeypatch.setattr(RunFolder, "lock", waits)
    problem = runs.command("train", "--resume", run, "--total-timesteps", "300").problem
    assert "300 is less than the 400 that" in problem
