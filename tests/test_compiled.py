"""--compile: which form of a loss trains, what is said of it, and that the trial leaves no trace."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from rlrepro import cli, compiled
from rlrepro.agent import Setup
from rlrepro.compiled import try_losses
from rlrepro.networks import MLP
from rlrepro.optimisers import Adam, descend
from rlrepro.plugins.agents import find_agent
from rlrepro.plugins.importing import installed
from rlrepro.record import RunFolder
from rlrepro.seeds import Stack

SLOW = 0.004  # seconds: what a loss takes that is told to dawdle
QRDQN = ["--agent", "qrdqn", "--env", "CartPole-v1", "--seeds", "2", "--processes", "1", "--total-timesteps", "300",
         "--learning-starts", "64", "--train-every", "4", "--batch-size", "32", "--hidden", "16,16", "--num-quantiles",
         "11", "--final-eval-episodes", "2"]  # fmt: skip


class Regression:
    """Two seeds that regress on a batch, with a loss that dawdles unless it is called by another name."""

    LOSSES = ("loss",)

    def __init__(self, dawdles: float = 0.0) -> None:
        self.stack, self.dawdles = Stack((0, 1), net=MLP((3, 8, 1), "tanh")), dawdles
        self.optimiser = Adam(self.stack, 1e-2)

    def loss(self, x: torch.Tensor, scale: float = 1.0) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        time.sleep(self.dawdles)
        return scale * self.stack.net(x)[..., 0].square().mean(1), {"x": x}


X = torch.randn(2, 16, 3, generator=torch.Generator().manual_seed(0))


def tried(monkeypatch: pytest.MonkeyPatch, agent: Any, other: Callable[[Any], Any]) -> tuple[Any, list[str]]:
    """What the first call of the loss gives where torch.compile gives `other(loss)`, and what is said."""
    monkeypatch.setattr(torch, "compile", other)
    said: list[str] = []
    try_losses(agent, "mine", said.append)
    return agent.loss(X, scale=2.0), said


def test_a_faster_form_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    agent, quick = Regression(SLOW), Regression()
    quick.stack = agent.stack
    (loss, extras), said = tried(monkeypatch, agent, lambda loss: quick.loss)
    assert agent.loss.compiled == quick.loss
    assert len(said) == 1
    assert said[0].startswith("--compile: mine's loss is ")
    assert "times as fast compiled" in said[0]
    assert "as it is" not in said[0]
    assert torch.equal(loss, quick.loss(X, scale=2.0)[0])
    assert extras["x"] is X


def test_a_form_that_is_no_faster_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    agent, slow = Regression(), Regression(SLOW)
    slow.stack, plain = agent.stack, agent.loss
    _, said = tried(monkeypatch, agent, lambda loss: slow.loss)
    assert agent.loss == plain
    assert said[0].endswith(": it trains as it is")
    agent.loss(X)
    assert len(said) == 1, "it is tried once"


@pytest.mark.parametrize("wrong", [lambda loss: 1.01 * loss, lambda loss: loss.detach() + 0.0 * loss])
def test_a_faster_form_with_other_gradients_does_not(monkeypatch: pytest.MonkeyPatch, wrong: Any) -> None:
    agent, quick = Regression(SLOW), Regression()
    quick.stack, plain = agent.stack, agent.loss

    def other(*args: Any, **options: Any) -> Any:
        loss, extras = quick.loss(*args, **options)
        return wrong(loss), extras

    _, said = tried(monkeypatch, agent, lambda loss: other)
    assert agent.loss == plain
    assert said == ["--compile: mine's loss has other gradients compiled: it trains as it is"]


def test_batches_of_another_size_than_the_one_that_was_tried_are_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    agent, quick = Regression(SLOW), Regression()
    quick.stack, calls = agent.stack, []

    def counted(x: torch.Tensor, scale: float = 1.0) -> Any:
        calls.append(x.shape)
        return quick.loss(x, scale)

    tried(monkeypatch, agent, lambda loss: counted)
    calls.clear()
    agent.loss(X)
    assert calls == [X.shape]
    agent.loss(X[:, :5])
    assert calls == [X.shape]


def test_a_loss_that_is_not_finite_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = Regression()
    with torch.no_grad():
        agent.stack.matrix.fill_(torch.nan)
    (loss, _), said = tried(monkeypatch, agent, lambda loss: loss)
    assert loss.isnan().all()
    assert said == ["--compile: mine's loss is not finite and cannot be tried: it trains as it is"]


def test_ppo_names_no_loss_whose_clip_range_is_another_each_time() -> None:
    space, action_space = gymnasium.spaces.Box(-1, 1, (3,)), gymnasium.spaces.Discrete(2)
    setup = Setup(space, action_space, (0, 1), num_envs=4, total_timesteps=1_000)
    ppo: Any = find_agent("ppo").load()
    assert ppo(setup, ppo.Config()).LOSSES == ("loss",)
    assert ppo(setup, ppo.Config(anneal_clip=True)).LOSSES == ()


def test_what_torch_cannot_compile_trains_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **options: Any) -> Any:
        raise RuntimeError("no compiler\nsecond line")

    agent = Regression()
    (loss, _), said = tried(monkeypatch, agent, lambda loss: fail)
    assert torch.equal(loss, Regression().loss(X, scale=2.0)[0])
    assert len(said) == 1
    assert said[0].startswith("--compile: mine's loss cannot be compiled here (RuntimeError: no compiler")
    assert "\n" not in said[0]


def test_the_trial_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    tried_one, plain = Regression(), Regression()
    tried(monkeypatch, tried_one, lambda loss: loss)
    assert not tried_one.stack.gradient.any()
    for agent in (tried_one, plain):
        for _ in range(3):
            descend(agent.loss(X)[0], agent.optimiser)
    assert torch.equal(tried_one.stack.matrix, plain.stack.matrix)


def test_an_agent_without_losses_is_told_of() -> None:
    said: list[str] = []
    try_losses(object(), "sarsa", said.append)
    assert said == ["--compile: sarsa names no loss that torch may compile, as it is set"]


def policies(folder: Path) -> list[bytes]:
    return [RunFolder(folder).policy(seed).read_bytes() for seed in (0, 1)]


def test_a_run_whose_losses_stay_as_they_are_is_the_run_without_the_flag(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch, "compile", lambda loss: loss)
    monkeypatch.setattr(compiled, "PAYS", 1e9)
    for name, flags in (("plain", []), ("compile", ["--compile"])):
        assert cli.main(["train", *QRDQN, "--run-dir", str(tmp_path), "--name", name, *flags]) == 0
    assert policies(tmp_path / "plain") == policies(tmp_path / "compile")
    assert capsys.readouterr().out.count("note: --compile: qrdqn's loss") == 1


def with_losses() -> list[str]:
    return [name for name in sorted(installed("agents")) if getattr(find_agent(name).load(), "LOSSES", ())]


@pytest.mark.parametrize("name", with_losses())
def test_losses_to_compile_are_methods_that_draw_no_random_numbers(name: str) -> None:
    """A compiler may take a number that was drawn for a constant, and every batch would meet it again."""
    agent_class: Any = find_agent(name).load()
    for loss in agent_class.LOSSES:
        text = inspect.getsource(getattr(agent_class, loss))
        assert not any(
            word in text for word in ("noise", ".normal(", ".uniform(", ".integers(", "draw", "Streams", "rand")
        )


@pytest.mark.slow
def test_torch_compiles_qrdqn_s_loss_to_the_same_gradients(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compiled, "PAYS", 0.0)
    assert cli.main(["train", *QRDQN, "--run-dir", str(tmp_path), "--name", "r", "--compile"]) == 0
    out = capsys.readouterr().out
    assert "note: --compile: qrdqn's loss is " in out
    assert "as it is" not in out
    assert all(np.frombuffer(policy, np.uint8).any() for policy in policies(tmp_path / "r"))
