"""QR-DQN against sb3-contrib: one update by its code and one by ours, from the same weights and batch, to 1e-5."""

from typing import Any

import pytest
import torch
from sb3_contrib import QRDQN as SB3QRDQN
from test_against_sb3 import (
    BATCH,
    GAMMA,
    SEEDS,
    Gradients,
    close,
    compare_layers,
    copy_layers,
    dqn_batch,
    perturb,
    train_sb3,
)
from torch import nn

from rlrepro import optimisers
from rlrepro.agent import Setup
from rlrepro.agents import qrdqn

HIDDEN, QUANTILES, ACTIONS = (40, 24), 11, 2


def sb3_qrdqn(seed: int, **options: Any) -> SB3QRDQN:
    model = SB3QRDQN(
        "MlpPolicy",
        "CartPole-v1",
        policy_kwargs={"net_arch": list(HIDDEN), "n_quantiles": QUANTILES},
        learning_rate=5e-4,
        gamma=GAMMA,
        batch_size=BATCH,
        buffer_size=100,
        seed=seed,
        device="cpu",
        **options,
    )
    perturb(model.quantile_net_target.parameters(), 0.1)
    model._setup_learn(1000)
    return model


class Turned:
    """SB3's head gives a quantile's actions side by side, ours an action's quantiles: its rows in our order."""

    def __init__(self, linear: nn.Linear) -> None:
        self.linear = linear
        self.order = torch.arange(QUANTILES * ACTIONS).view(QUANTILES, ACTIONS).T.flatten()

    @property
    def weight(self) -> torch.Tensor:
        return self._turned(self.linear.weight)

    @property
    def bias(self) -> torch.Tensor:
        return self._turned(self.linear.bias)

    def _turned(self, parameter: nn.Parameter) -> torch.Tensor:
        turned = parameter.detach()[self.order]
        turned.grad = None if parameter.grad is None else parameter.grad[self.order]
        return turned


def layers(network: Any) -> dict[str, Any]:
    linear = [network.quantile_net[2 * layer] for layer in range(3)]
    return {"q.0": linear[0], "q.1": linear[1], "q.2": Turned(linear[2])}


def ours(models: list[SB3QRDQN], **options: Any) -> qrdqn.QRDQN:
    config = qrdqn.QRDQN.Config(
        gamma=GAMMA, hidden=HIDDEN, num_quantiles=QUANTILES, adam_eps=0.01 / BATCH, target_every=10**6, **options
    )
    agent = qrdqn.QRDQN(Setup(models[0].observation_space, models[0].action_space, SEEDS, 1, 10**6), config)
    for row, model in enumerate(models):
        copy_layers(agent.online, row, layers(model.quantile_net))
        copy_layers(agent.target, row, layers(model.quantile_net_target))
    return agent


@pytest.mark.agrees("qrdqn", "sb3-contrib")
@pytest.mark.parametrize("max_grad_norm", [0.5, 1000.0])
def test_qrdqn_has_sb3_contrib_s_loss_gradient_and_step(monkeypatch: pytest.MonkeyPatch, max_grad_norm: float) -> None:
    models = [sb3_qrdqn(seed, max_grad_norm=max_grad_norm) for seed in SEEDS]
    agent = ours(models, max_grad_norm=max_grad_norm)
    gradients = Gradients(monkeypatch, optimisers)
    batch = dqn_batch(0)
    metrics = agent.update(batch, 0)
    ((before, norms, _),) = gradients.ours
    gradient = agent.online.target_copy()
    gradient.load(before)
    for row, model in enumerate(models):
        gradients.theirs = []
        train_sb3(monkeypatch, model, batch, row)
        close("loss", metrics["losses/loss"][row], model.logger.name_to_value["train/loss"])
        ((theirs, norm, _),) = gradients.theirs
        for parameter, value in theirs.items():
            parameter.grad = value
        compare_layers("gradient", gradient, row, layers(model.quantile_net), lambda parameter: parameter.grad)
        close("norm", norms[row], norm)
        compare_layers("parameters", agent.online, row, layers(model.quantile_net), lambda parameter: parameter)


@pytest.mark.agrees("qrdqn", "sb3-contrib")
def test_qrdqn_has_sb3_contrib_s_parameters_after_many_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    models = [sb3_qrdqn(seed) for seed in SEEDS]
    agent = ours(models)
    for step in range(10):
        agent.update(dqn_batch(step), step)
        for row, model in enumerate(models):
            train_sb3(monkeypatch, model, dqn_batch(step), row)
    for row, model in enumerate(models):
        compare_layers("parameters", agent.online, row, layers(model.quantile_net), lambda parameter: parameter)
        compare_layers("target", agent.target, row, layers(model.quantile_net_target), lambda parameter: parameter)
