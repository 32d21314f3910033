"""The probes: right agents solve them, and each wrong one fails those that its fault can spoil, and no other."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import ANY

import gymnasium
import numpy as np
import pytest
import torch

from rlrepro import snapshot
from rlrepro.agent import Transition
from rlrepro.agents.a2c import A2C
from rlrepro.agents.differential_sarsa import DifferentialSarsa
from rlrepro.agents.dqn import DQN
from rlrepro.agents.ppo import PPO
from rlrepro.agents.q_learning import QLearning
from rlrepro.agents.random import Random
from rlrepro.agents.sac_discrete import SACDiscrete
from rlrepro.contract import check_contract
from rlrepro.plugins.agents import find_agent
from rlrepro.plugins.environments import find_env
from rlrepro.plugins.importing import installed
from rlrepro.probe import Outcome, preset, probe, probes, read
from tests.conftest import Command

pytestmark = pytest.mark.usefixtures("one_thread")

OF_VALUES = ["ProbeValue-v0", "ProbeObservation-v0", "ProbeDiscount-v0", "ProbeTermination-v0", "ProbeTruncation-v0"]
OF_RETURNS = ["ProbeAction-v0", "ProbeCredit-v0", "ProbeContinuous-v0", "ProbeImage-v0"]


@pytest.mark.parametrize("name", probes())
def test_a_probe_keeps_the_contract_and_its_state(name: str) -> None:
    source = find_env(name)
    check_contract(source.make(), name)
    assert snapshot.can_restore(source.make) is None
    assert source.make().unwrapped.isolates


def test_the_answers_are_those_of_the_tasks() -> None:
    """The discounted rewards that follow each observation asked for; a truncated episode is gone on with."""
    for name in OF_VALUES:
        env: Any = find_env(name).make().unwrapped
        for asked, answer in zip(env.asked, env.answer(), strict=True):
            seen = env.reset(seed=0)[0][0]
            for _ in range(60):
                if seen == asked:
                    break
                following, _, over, _, _ = env.step(0)
                seen = (env.reset()[0] if over else following)[0]
            value, weight, over = 0.0, 1.0, False
            for _ in range(60):
                if not over:
                    _, reward, over, _, _ = env.step(0)
                    value, weight = value + weight * reward, weight * env.discount
            assert value == pytest.approx(answer), (name, asked)


def test_only_the_best_policy_reaches_what_counts_as_solved() -> None:
    def mean_return(name: str, policy: Callable[[float], int]) -> float:
        env: Any = find_env(name).make().unwrapped
        totals = []
        for seed in range(20):
            seen, over, total = env.reset(seed=seed)[0], False, 0.0
            while not over:
                seen, reward, over, _, _ = env.step(policy(float(seen[0])))
                total += reward
            totals.append(total)
        return float(np.mean(totals))

    policies: dict[str, Callable[[float], int]] = {
        "second": lambda seen: 1,
        "first": lambda seen: 0,
        "seen": lambda seen: int(seen > 0),
        "not": lambda seen: int(seen < 0),
    }
    for name, best in (("ProbeAction-v0", {"seen"}), ("ProbeCredit-v0", {"second"})):
        env: Any = find_env(name).make().unwrapped
        reached = {word: mean_return(name, policy) for word, policy in policies.items()}
        assert {word for word, mean in reached.items() if mean >= env.solved_at} == best
        assert reached[best.pop()] == env.best_return
    env = find_env("ProbeContinuous-v0").make().unwrapped
    for number, solved in ((0.5, True), (0.4, True), (0.0, False), (1.0, False)):
        env.reset()
        assert (env.step(np.array([number]))[1] >= env.solved_at) == solved
    env = find_env("ProbeImage-v0").make().unwrapped
    picture, _ = env.reset(seed=0)
    assert env.step(int(picture[0, -1, 0] == 255))[1] == 1.0


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("ProbeValue-v0", [0.0]),
        ("ProbeObservation-v0", [0.0, 0.0]),
        ("ProbeDiscount-v0", [1.0, 1.0]),  # γ = 1
        ("ProbeDiscount-v0", [0.0, 0.0]),  # nothing learnt
        ("ProbeTermination-v0", [2.0]),  # 1 / (1 − γ): bootstrapped beyond the end
        ("ProbeTruncation-v0", [1.0]),  # the clock's end taken for the task's
        ("ProbeTruncation-v0", [4 / 3]),  # 1 / (1 − γ²): from the next episode's first observation
    ],
)
def test_values_of_the_faults_it_is_for_are_beyond_a_probe_s_tolerance(name: str, wrong: list[float]) -> None:
    task: Any = find_env(name).make().unwrapped
    assert task.error(np.array([task.answer(), wrong])).tolist()[0] == 0.0
    assert task.error(np.array([task.answer(), wrong])).tolist()[1] > task.tolerance


def test_policies_of_another_weight_of_the_entropy_are_beyond_the_tolerance() -> None:
    task: Any = find_env("ProbeEntropy-v0").make().unwrapped
    for share in (0.0, 1.0, 0.982, 0.731):  # σ(4) of half the weight, σ(1) of twice as much
        assert abs(share - task.best_return) > task.tolerance
    assert [task.step(action)[1] for action in (0, 1)] == [0.0, 1.0]


@pytest.mark.parametrize("name", ["ProbeObservation-v0", "ProbeAction-v0", "ProbeImage-v0"])
def test_a_probe_begins_either_way_alike(name: str) -> None:
    task: Any = find_env(name).make().unwrapped
    states = []
    for episode in range(400):
        task.reset(seed=None if episode else 0)
        states.append(task.state)
    low, high = sorted(set(states))
    assert (low, high) == ((0.0, 1.0) if name == "ProbeImage-v0" else (-1.0, 1.0))
    assert 160 < states.count(high) < 240  # 4 standard errors


def test_a_positive_number_is_the_second_action_and_one_near_a_half_pays_most() -> None:
    choice: Any = find_env("ProbeAction-v0", {"continuous": True}).make().unwrapped
    for state, number, paid in ((1.0, 0.1, 1.0), (1.0, -0.1, 0.0), (-1.0, 0.1, 0.0), (-1.0, -0.1, 1.0)):
        choice.reset()
        choice.state = state
        assert choice.step(np.array([number], np.float32))[1] == paid
    number: Any = find_env("ProbeContinuous-v0").make().unwrapped
    assert [number.step(np.array([a]))[1] for a in (0.5, 0.0, 1.0, -0.5)] == [1.0, 0.75, 0.75, 0.0]


def test_the_white_half_of_an_image_is_the_action_that_pays() -> None:
    task: Any = find_env("ProbeImage-v0").make().unwrapped
    for half in (0, 1):
        white = np.arange(36) // 18 == half
        for action in (0, 1):
            task.state = float(half)
            picture = task._obs()[..., 0]
            assert (picture == 255 * white).all()
            assert task.step(action)[1] == float(action == half)


@pytest.mark.parametrize("name", OF_VALUES)
def test_dqn_solves(name: str) -> None:
    assert probe(DQN, name, (0, 1)).solved


@pytest.mark.parametrize("name", ["ProbeObservation-v0", "ProbeTruncation-v0", "ProbeContinuous-v0"])
def test_ppo_solves(name: str) -> None:
    assert probe(PPO, name, (0,)).solved


LEARNING = sorted(installed("agents").keys() - {"random"})
COMMITTED = read(Path(__file__).resolve().parent.parent / "docs" / "probes.json")


@pytest.mark.parametrize("agent", LEARNING)
@pytest.mark.parametrize("name", ["ProbeAction-v0", "ProbeCredit-v0"])
def test_every_agent_finds_the_better_action_and_what_it_leads_to(agent: str, name: str) -> None:
    """With a quarter or half of the env steps of its PROBE; `make slow` shows that what is committed is solved."""
    assert COMMITTED[agent][name]
    agent_class = find_agent(agent).load()
    own = getattr(agent_class, "PROBE", {}).get("total_timesteps")
    for less in [{"total_timesteps": own // part} for part in (4, 2)] if own else [{}]:
        found = probe(agent_class, name, (5,), less)
        if found.solved:
            break
    assert found.solved, found.told


@pytest.mark.slow
@pytest.mark.parametrize("agent", [*LEARNING, "random"])
def test_every_probe_that_applies_is_solved_as_the_docs_have_it(agent: str) -> None:
    outcomes = [probe(find_agent(agent).load(), name) for name in probes()]
    assert {one.probe: one.solved for one in outcomes} == COMMITTED[agent]
    assert False not in COMMITTED[agent].values()


HALF_OF_DQN_S = {"total_timesteps": (DQN.PROBE or {})["total_timesteps"] // 2}


class ThroughTermination(DQN):
    """Bootstraps from what follows an end."""

    def loss(self, batch: Transition) -> Any:
        return super().loss(batch._replace(terminated=torch.zeros_like(batch.terminated)))


class NotThroughTruncation(DQN):
    """Takes the clock's end for the task's."""

    def loss(self, batch: Transition) -> Any:
        return super().loss(batch._replace(terminated=batch.terminated | batch.truncated))


class Blind(DQN):
    """Sees zeros."""

    def inputs(self, obs: torch.Tensor) -> torch.Tensor:
        return super().inputs(torch.zeros_like(obs))


class WrongGamma(DQN):
    """Discounts by γ²."""

    def __init__(self, setup: Any, config: Any) -> None:
        super().__init__(setup, dataclasses.replace(config, gamma=config.gamma**2))


class NeverLearns(DQN):
    def update(self, batch: Transition, step: int) -> Any:
        return {}


@pytest.mark.parametrize(
    ("wrong", "fails"),
    [
        (ThroughTermination, {"ProbeTermination-v0"}),
        (NotThroughTruncation, {"ProbeTruncation-v0"}),
        (Blind, {"ProbeObservation-v0", "ProbeDiscount-v0", "ProbeTruncation-v0"}),  # each asks for two values
        (WrongGamma, {"ProbeDiscount-v0", "ProbeTruncation-v0"}),  # both answers have γ in them
    ],
)
def test_a_wrong_agent_fails_what_its_fault_spoils_and_nothing_else(wrong: type[Any], fails: set[str]) -> None:
    outcomes = {name: probe(wrong, name, (0,), HALF_OF_DQN_S) for name in OF_VALUES}
    assert {name for name, one in outcomes.items() if not one.solved} == fails
    assert all(one.told.startswith("values ") for one in outcomes.values())  # and not that it raised


class EntropyLost(A2C):
    """Its bonus has the wrong sign."""

    def __init__(self, setup: Any, config: Any) -> None:
        super().__init__(setup, dataclasses.replace(config, entropy_coef=-config.entropy_coef))


class EntropyTwice(SACDiscrete):
    def __init__(self, setup: Any, config: Any) -> None:
        super().__init__(setup, dataclasses.replace(config, alpha_init=2 * config.alpha_init))


@pytest.mark.parametrize(("right", "wrong"), [(A2C, EntropyLost), (SACDiscrete, EntropyTwice)])
def test_the_weight_of_an_entropy(right: type[Any], wrong: type[Any]) -> None:
    assert [probe(one, "ProbeEntropy-v0", (0,)).solved for one in (right, wrong)] == [True, False]
    assert all(probe(wrong, name, (0,)).solved for name in ("ProbeAction-v0", "ProbeCredit-v0"))
    task: Any = find_env("ProbeEntropy-v0").make().unwrapped
    assert task.best_return == pytest.approx(1 / (1 + np.exp(-1 / 0.5)), abs=1e-4)


class OwnProbed(DQN):
    PROBES = {"Own": {"learning_rate": 1e-3}}


class Misspelt(DQN):
    PROBES = {"ProbeEntrpy-v0": {"learning_rate": 1e-3}}


class AsTexts(DQN):
    PROBE = {**(DQN.PROBE or {}), "total_timesteps": 2e3, "hidden": [32]}


class Huge(DQN):
    PROBE = {**(DQN.PROBE or {}), "gamma": 99}


class NoneOfThem(DQN):
    PROBES = None


def test_what_is_set_for_some_probes_is_looked_at() -> None:
    assert "did you mean 'ProbeEntropy-v0'?" in probe(Misspelt, "ProbeValue-v0", (0,)).told
    assert probe(NoneOfThem, "ProbeEntropy-v0", (0,)).told == "its PROBES has no hyperparameters for it"
    assert probe(AsTexts, "ProbeAction-v0", (0,)).solved  # 2e3 is as many as 2000, as it is for training
    refused = probe(Huge, "ProbeAction-v0", (0,))
    assert (refused.solved, refused.told) == (False, "its PROBE: gamma: 99 is not from 0 to 1")


class Told(DQN):
    """Says what it is given, and goes no further."""

    PRESETS = {"*": {"learning_rate": 0.1, "batch_size": 7}, "Discrete": {"learning_rate": 0.2, "tau": 0.5}}
    PROBE = {"batch_size": 5, "tau": 0.25, "target_every": 11}
    PROBES = {"ProbeEntropy-v0": {"target_every": 12, "train_every": 3}}

    def __init__(self, setup: Any, config: Any) -> None:
        raise RuntimeError(
            f"{config.learning_rate}, {config.tau}, {config.batch_size}, {config.target_every}, {config.train_every}"
        )


def test_of_several_values_the_more_special_one_is_taken() -> None:
    """Presets for all, for the kind of actions, of probes, of this probe, and what the command gives."""
    assert "0.2, 0.25, 5, 11, 10" in probe(Told, "ProbeAction-v0", (0,)).told
    assert "0.2, 0.25, 5, 12, 3" in probe(Told, "ProbeEntropy-v0", (0,)).told
    assert "0.2, 0.25, 5, 12, 4" in probe(Told, "ProbeEntropy-v0", (0,), {"train_every": 4}).told
    for space, rate in ((gymnasium.spaces.Discrete(2), 0.2), (gymnasium.spaces.Box(-1, 1), 0.1)):
        config, values = preset(Told, space, {"batch_size": 3})
        assert (config.learning_rate, config.batch_size, values["batch_size"]) == (rate, 3, 3)


def test_every_seed_must_solve_a_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    for off, solved, told in ((0.0, True, "values 1.00 of 1"), (1.5, False, "values 1.50 of 1 (failed by seed 5)")):
        trained = SimpleNamespace(value_of=lambda obs, off=off: np.array([[1.0], [1.0 + off], [1.0]]))
        monkeypatch.setattr("rlrepro.probe._trained", lambda *_, trained=trained: trained)
        found = probe(QLearning, "ProbeValue-v0", (4, 5, 6))
        assert (found.solved, found.told) == (solved, told)


def test_of_several_agents_each_must_solve_every_probe(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    for agents in (["q_learning", "dqn"], ["dqn", "q_learning"]):
        monkeypatch.setattr("rlrepro.probe.whole_agents", lambda agents=agents: (agents, []))
        for wrong, status in (("Neither", 0), ("QLearning", 1), ("DQN", 1)):
            monkeypatch.setattr(
                "rlrepro.probe.probe", lambda one, name, *_, wrong=wrong: Outcome(name, "", one.__name__ != wrong, "")
            )
            assert command("probe", "--agent", "all", "--env", "ProbeValue-v0").status == status


class Reversed(DQN):
    """Goes up its error."""

    def loss(self, batch: Transition) -> Any:
        loss, *rest = super().loss(batch)
        return -loss, *rest


def test_a_probe_of_ones_own(command: Command, tmp_path: Path) -> None:
    """That of the docs sees an error gone up, which the two steps of the kit's credit take back."""
    page = (Path(__file__).resolve().parent.parent / "docs" / "environments.md").read_text()
    (source,) = re.findall(r'```python title="further.py"\n(.*?)```', page, re.DOTALL)
    file = tmp_path / "further.py"
    file.write_text(source)
    own = f"{file}:Further"
    assert command("probe", "--agent", "dqn", "--env", own, "--seeds", "2").status == 0
    for name in (own, "ProbeValue-v0"):
        found = probe(Reversed, name, (0,))
        assert (found.solved, found.told.split()[0]) == (False, "values" if name == "ProbeValue-v0" else "return")
    (tmp_path / "empty.py").write_text("from rlrepro.envs.probe import Probe\nclass Empty(Probe):\n    pass\n")
    assert "its `isolates` is empty" in command("probe", "--env", f"{tmp_path / 'empty.py'}:Empty").problem
    sampled = "from rlrepro.envs.probe import Probe\nclass Own(Probe):\n    isolates = 'all'\n    sampled = True\n"
    (tmp_path / "own.py").write_text(sampled)
    assert probe(OwnProbed, f"{tmp_path / 'own.py'}:Own", (0,)).solved  # by the name of its class
    kept = command("probe", "--env", own, "--write", tmp_path / "kept.json").problem
    assert f"{own} is none of them" in kept
    plain = "gymnasium.envs.classic_control:CartPoleEnv"
    assert f"{plain} is no probe: it has no isolates and no" in command("probe", "--env", plain).problem


def test_hyperparameters_go_with_a_probe(command: Command, tmp_path: Path) -> None:
    one = ("probe", "--agent", "q_learning", "--env", "ProbeDiscount-v0", "--seeds", "2")
    assert command(*one).status == 0
    assert command(*one, "--step-size", "1e-9", "--total-timesteps", "60").status == 1
    for flags, words in {
        ("--gamma", "0.5"): "--gamma: γ is the probe's own",
        ("--step-sise", "1"): "unknown argument '--step-sise'; did you mean '--step-size'?",
        ("--compile",): "--compile is no hyperparameter of q_learning",
        ("--step-size", "1", "--write", str(tmp_path / "kept.json")): "--write keeps what agents do as they are",
    }.items():
        assert words in command(*one, *flags).problem
    assert "hyperparameters go with one agent" in command("probe", "--agent", "all", "--gamma", "1").problem


def test_what_never_learns_fails() -> None:
    for name in (*OF_VALUES, "ProbeAction-v0", "ProbeCredit-v0"):
        found = probe(NeverLearns, name, (0,), {"total_timesteps": 400})
        assert found.solved is False
        assert found.told.split()[0] in ("values", "return")


def test_what_does_not_apply_says_why(command: Command, tmp_path: Path) -> None:
    assert "it takes Discrete actions" in probe(DQN, "ProbeContinuous-v0").told
    assert probe(Random, "ProbeValue-v0").told == "it learns nothing"
    assert probe(DifferentialSarsa, "ProbeValue-v0").told == "it has no value_of(obs)"
    assert isinstance(find_env("ProbeValue-v0", {"continuous": True}).make().action_space, gymnasium.spaces.Box)
    assert "did you mean 'ProbeCredit-v0'?" in command("probe", "--env", "ProbeCredits-v0").problem


def test_the_command_tells_and_keeps_what_was_solved(command: Command, tmp_path: Path) -> None:
    kept = tmp_path / "probes.json"
    wrong = f"{Path(__file__)}:NeverLearns"
    few = "--env", "ProbeValue-v0", "--env", "ProbeContinuous-v0", "--seeds", "2", "--write", str(kept)
    done = command("probe", "--agent", wrong, *few)
    assert done.status == 1
    assert "does not apply" in done.out
    assert "NOT solved" in done.out
    assert command("probe", "--agent", "q_learning", *few).status == 0
    assert read(kept) == {
        wrong: {"ProbeValue-v0": False, "ProbeContinuous-v0": None},
        "q_learning": {"ProbeValue-v0": True, "ProbeContinuous-v0": None},
    }
    kept.write_text("[]")
    assert "is no record of probes" in command("probe", "--agent", "q_learning", *few).problem


@pytest.mark.parametrize(
    ("file", "words"), [("nowhere/probes.json", "there is no folder"), ("", "it is a folder, not a file")]
)
def test_where_nothing_can_be_kept_nothing_is_trained(
    file: str, words: str, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rlrepro.probe.probe", None)  # it would be called
    assert words in command("probe", "--agent", "q_learning", "--write", tmp_path / file).problem


def test_an_agent_that_cannot_be_stacked_is_trained_seed_by_seed() -> None:
    class Alone(DQN):
        stackable = False

        def __init__(self, setup: Any, config: Any) -> None:
            assert setup.num_seeds == 1
            super().__init__(setup, config)

    assert probe(Alone, "ProbeObservation-v0", (3, 4)) == dataclasses.replace(
        probe(DQN, "ProbeObservation-v0", (3, 4)), seconds=ANY
    )
