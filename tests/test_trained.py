"""What a run learnt, used from Python: the same episodes as `rlrepro evaluate`, action by action."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
import safetensors.numpy
from test_run import PPO, run

from rlrepro import cli, evaluate
from rlrepro.errors import Problem
from rlrepro.evaluate import evaluate_run
from rlrepro.record import RunFolder
from rlrepro.streams import env_seed
from rlrepro.trained import Trained, load
from tests.conftest import BRIEF, Command, Runs

CASES = {
    "ppo, Discrete": (*PPO, "--env", "CartPole-v1"),
    "ppo, normalised": (*PPO, "--env", "Pendulum-v1", "--normalise-obs"),
    "td3": ("--agent", "td3", "--env", "Pendulum-v1", "--hidden", "16", "--learning-starts", "64"),
    "a table": ("--agent", "q_learning", "--env", "FrozenLake-v1"),
    "a Tuple of observations": ("--agent", "q_learning", "--env", "Blackjack-v1"),
    "sb3": ("--agent", "sb3:a2c", "--env", "CartPole-v1"),
}


def played(policy: Trained, episode: int, salt: int = 0) -> float:
    env = policy.make_env()
    obs, _ = env.reset(seed=env_seed(policy.seed, "fresh", salt, episode))
    episode_return, over = 0.0, False
    while not over:
        action = policy.act(obs)
        assert env.action_space.contains(action)
        obs, reward, terminated, truncated, _ = env.step(action)
        episode_return, over = episode_return + float(reward), terminated or truncated
    return episode_return


@pytest.mark.parametrize("case", CASES)
def test_it_plays_the_episodes_of_an_evaluation(case: str, tmp_path: Path) -> None:
    path = run(tmp_path / "run", *CASES[case], *BRIEF, "--seeds", "4,7")
    _, settings = RunFolder.open(path)
    returns, _ = evaluate_run(path, settings, 3, True, 0)
    for row, seed in enumerate(settings.seeds):
        policy = load(path, seed)
        assert [played(policy, e) for e in range(3)] == pytest.approx(returns[row].tolist(), rel=1e-5)


def test_one_observation_or_several(tmp_path: Path) -> None:
    path = run(tmp_path / "run", *PPO, "--env", "Pendulum-v1", *BRIEF, "--seeds", "3")
    policy = load(str(path))
    assert policy.seed == 0
    several = np.stack([policy.observation_space.sample() for _ in range(5)])
    actions = policy.act(several)
    assert actions.shape == (5, 1)
    for obs, action in zip(several, actions, strict=True):
        np.testing.assert_allclose(policy.act(obs), action, rtol=1e-5)
        assert (policy.act(obs.tolist()) == policy.act(obs)).all()
    explored = {policy.act(several[0], deterministic=False).item() for _ in range(5)}
    assert len(explored) == 5
    with pytest.raises(ValueError, match=r"observations of shape \(2,\), where one has \(3,\)"):
        policy.act(np.zeros(2))


def test_an_action_of_discrete_is_the_environments_own(tmp_path: Path) -> None:
    """A plain number, counted from the space's start."""
    file = tmp_path / "late.py"
    file.write_text(
        "import gymnasium, numpy\n"
        "class Late(gymnasium.Env):\n"
        "    observation_space = gymnasium.spaces.Box(0, 1, (1,))\n"
        "    action_space = gymnasium.spaces.Discrete(2, start=5)\n"
        "    def reset(self, seed=None, options=None):\n"
        "        super().reset(seed=seed)\n"
        "        self.steps = 0\n"
        "        return numpy.zeros(1, numpy.float32), {}\n"
        "    def step(self, action):\n"
        "        assert action in (5, 6)\n"
        "        self.steps += 1\n"
        "        return numpy.zeros(1, numpy.float32), 1.0, False, self.steps == 4, {}\n"
    )
    path = run(tmp_path / "run", *PPO, "--env", f"{file}:Late", *BRIEF, "--seeds", "2")
    policy = load(path, 1)
    action = policy.act([0.0])
    assert type(action) is int
    assert action in (5, 6)
    assert isinstance(policy.make_env(), gymnasium.Env)
    about = RunFolder(path).read_json("run.json")
    RunFolder(path).write_json("run.json", {**about, "code": dict.fromkeys(about["code"], "0" * 64)})
    with pytest.warns(UserWarning, match="late.py was changed since"):
        load(path)


@pytest.mark.parametrize("columns", ["1", "20", "80"])
def test_the_table_of_an_evaluation_can_be_read(
    columns: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a narrow terminal too; below the seeds stand their means, of which the lowest and highest are no episodes'."""
    path = run(tmp_path / "run", *CASES["a table"], *BRIEF, "--seeds", "2")
    capsys.readouterr()
    monkeypatch.setenv("COLUMNS", columns)
    assert cli.main(["evaluate", str(path), "--episodes", "3"]) == 0
    shown = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in shown.splitlines() if line.startswith("│")]
    returns = json.loads(next(path.glob("evaluation-*.json")).read_text())["episode_returns"]
    one, two = returns["0"], returns["1"]
    assert rows[0][:2] == ["0", f"{np.mean(one):.2f}"]
    assert rows[1][3:5] == [f"{min(two):.2f}", f"{max(two):.2f}"]
    means = sorted([np.mean(one), np.mean(two)])
    assert rows[2][1] == f"{np.mean(means):.2f}"
    assert rows[2][3:5] == [f"{mean:.2f}" for mean in means]
    assert " ".join(row[0] for row in rows[2:]).strip() == "seed means"


def test_the_table_has_the_deviations_of_a_sample_and_the_lengths_of_the_episodes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Returns 1, 3 of means 2, 6: deviations √2 of one seed's, √8 of the means."""
    monkeypatch.setenv("COLUMNS", "120")
    settings: Any = SimpleNamespace(agent="ppo", env="CartPole-v1", seeds=(4, 9))
    evaluate._show(settings, np.array([[1.0, 3.0], [6.0, 6.0]]), np.array([[10, 20], [31, 50]]), "deterministic")
    shown = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in shown.splitlines() if line.startswith("│")]
    assert rows == [
        ["4", "2.00", "1.41", "1.00", "3.00", "15.0"],
        ["9", "6.00", "0.00", "6.00", "6.00", "40.5"],
        ["seed means", "4.00", "2.83", "2.00", "6.00", "27.8"],
    ]


def test_the_salt_chooses_the_episodes_and_stochastic_lets_the_policy_explore(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """CartPole pays 1 a step, so that other first states and other actions are other returns."""
    path = run(tmp_path / "run", *CASES["ppo, Discrete"], *BRIEF, "--seed", "0")

    def returns(*flags: str) -> list[float]:
        before = set(path.glob("evaluation-*.json"))
        assert cli.main(["evaluate", str(path), "--episodes", "6", *flags]) == 0
        (file,) = set(path.glob("evaluation-*.json")) - before
        return json.loads(file.read_text())["episode_returns"]["0"]

    policy = load(path, 0)
    plain, salted, explored = returns(), returns("--salt", "3"), returns("--stochastic")
    assert plain == [played(policy, episode) for episode in range(6)]
    assert salted == [played(policy, episode, 3) for episode in range(6)] != plain
    assert explored != plain


def test_an_observation_that_there_is_not_is_refused(tmp_path: Path) -> None:
    path = run(tmp_path / "run", *PPO, "--env", "FrozenLake-v1", *BRIEF, "--seeds", "2")
    policy = load(path)
    assert len(policy.act([0, 15])) == 2
    with pytest.raises(ValueError, match=r"the observation 16 is none of Discrete\(16\)"):
        policy.act([0, 16])
    with pytest.raises(ValueError, match="the observation -1 is none of"):
        policy.act(-1)
    with pytest.raises(ValueError, match="no observation"):
        policy.act([])


def test_what_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="no run"):
        load(tmp_path / "nothing")
    path = run(tmp_path / "run", *PPO, "--env", "CartPole-v1", *BRIEF, "--seeds", "2")
    with pytest.raises(Problem, match=r"has no seed 7 \(seeds: 0, 1\)"):
        load(path, 7)
    RunFolder(path).policy(1).unlink()
    with pytest.raises(Problem, match=r"has no policy of seed 1, though it is finished: .* begin it anew: "):
        load(path, 1)
    RunFolder(path).note(status="interrupted")
    with pytest.raises(Problem, match=r"has no policy of seed 1 yet; finish it with: .* --resume"):
        load(path, 1)
    assert load(path).seed == 0


def test_a_policy_that_is_not_of_the_end_is_told(tmp_path: Path, command: Command) -> None:
    """As of a seed whose environment broke; another, that had ended before, is as it should be."""
    path = run(tmp_path / "run", *PPO, "--env", "CartPole-v1", *BRIEF, "--seeds", "2")
    assert "is not finished" not in command("evaluate", path, "--episodes", "2").err
    RunFolder(path).note(status="failed", reason="stopped at env step 30")
    RunFolder(path).sums(1).unlink()
    said = f"{path} is not finished (failed: stopped at env step 30): the policy of seed 1 is not that of its end"
    assert load(path, 0).seed == 0
    with pytest.warns(UserWarning, match=re.escape(said)):
        load(path, 1)
    outcome = command("evaluate", path, "--episodes", "3")
    assert (outcome.status, outcome.err.count(said)) == (0, 1)
    (file,) = path.glob("evaluation-*-3-0.json")
    assert json.loads(file.read_text())["finished"] is False


def test_a_policy_that_is_not_what_it_was_is_not_evaluated(tmp_path: Path, command: Command) -> None:
    path = run(tmp_path / "run", *PPO, "--env", "CartPole-v1", *BRIEF, "--seeds", "2")
    file = RunFolder(path).policy(1)
    tensors = safetensors.numpy.load_file(file)
    safetensors.numpy.save_file({name: -value for name, value in tensors.items()}, file)
    with pytest.raises(Problem, match=r"seeds/1/policy.safetensors is not what it was when seed 1 ended .* anew: "):
        load(path, 1)
    assert command("evaluate", path).status == 2
    assert load(path, 0).seed == 0


def test_what_cannot_be_written_down_is_not_played(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    run = runs.finish("r", "--agent", "random")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    monkeypatch.setattr("rlrepro.evaluate.evaluate_run", lambda *_: pytest.fail("it played"))
    assert "cannot be written to, and the episodes would be lost" in runs.command("evaluate", run).problem
