"""DDPG, TD3 and SAC against Stable-Baselines3's own `train()`, from the same weights, batches and noise; discrete SAC
against float64 loops; and the mathematics that they share.

Three seeds run in one stack of ours; each has an SB3 model of its own. Every tensor is held to a relative error of
1e-5 over the tensor, as in test_against_sb3.py, whose helpers these are.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3 import DDPG as SB3DDPG
from stable_baselines3 import SAC as SB3SAC
from stable_baselines3 import TD3 as SB3TD3
from test_against_sb3 import SEEDS, as_stack, close, perturb, sb3_batch
from torch import nn

from rlrepro.agent import Setup, Transition, UnsupportedSpace
from rlrepro.agents import ddpg, sac, sac_discrete, td3
from rlrepro.distributions import OrnsteinUhlenbeck, SquashedGaussian, UnitBox
from rlrepro.networks import MLP, Constant, Ensemble, apart
from rlrepro.seeds import Adam, Stack, Streams
from rlrepro.targets import ensemble_error, soft_policy_value, soft_value

HIDDEN, BATCH, GAMMA, TAU, RATE = (40, 24), 64, 0.9, 0.05, 5e-4
OBS, ACTION = gymnasium.spaces.Box(-9, 9, (5,), np.float32), gymnasium.spaces.Box(-1, 1, (2,), np.float32)
MODELS = {"ddpg": SB3DDPG, "td3": SB3TD3, "sac": SB3SAC}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Spaces(gymnasium.Env):
    observation_space, action_space = OBS, ACTION

    def reset(self, **options: Any) -> Any:
        return np.zeros(5, np.float32), {}


def sb3_model(name: str, seed: int, **options: Any) -> Any:
    model = MODELS[name](
        "MlpPolicy",
        Spaces(),
        policy_kwargs={"net_arch": list(HIDDEN)},
        gamma=GAMMA,
        tau=TAU,
        buffer_size=10,
        seed=seed,
        device="cpu",
        **{"learning_rate": RATE, **options},
    )
    perturb(model.policy.parameters(), 0.1)  # targets and online networks are not the same
    for critic in (model.critic, model.critic_target):
        for network in critic.q_networks:
            network[-1].bias.data.add_(2.0)  # so that an actor's loss is no small difference of large numbers
    model._setup_learn(1000)
    if name == "sac":
        model.actor.action_dist.epsilon = 0.0  # their guard of a log; ours needs none
    return model


def linears(network: Any) -> list[nn.Linear]:
    return [layer for layer in network.modules() if isinstance(layer, nn.Linear)]


def named(prefix: str, layers: list[nn.Linear]) -> dict[str, nn.Linear]:
    return {f"{prefix}.{index}": layer for index, layer in enumerate(layers)}


class Gaussian(nn.Linear):
    """SB3's two heads as our one: the means, then log σ."""

    def __init__(self, actor: Any, get: Callable[[nn.Parameter], torch.Tensor]) -> None:
        nn.Module.__init__(self)
        for name in ("weight", "bias"):
            both = torch.cat([get(getattr(head, name)) for head in (actor.mu, actor.log_std)])
            setattr(self, name, nn.Parameter(both.clone()))


def value(parameter: nn.Parameter) -> torch.Tensor:
    return parameter.detach()


def layers(name: str, model: Any, get: Callable[[nn.Parameter], torch.Tensor]) -> dict[str, dict[str, nn.Linear]]:
    """SB3's layers under the names of ours, by stack."""

    def taken(prefix: str, network: Any) -> dict[str, nn.Linear]:
        return named(prefix, linears(network))

    def critics(critic: Any) -> dict[str, nn.Linear]:
        if name == "ddpg":
            return taken("critic", critic.qf0)
        return {**taken("critics.0", critic.qf0), **taken("critics.1", critic.qf1)}

    found = {"critic": critics(model.critic), "target_critic": critics(model.critic_target)}
    if name == "sac":
        return found | {"actor": {**taken("actor", model.actor.latent_pi), "actor.2": Gaussian(model.actor, get)}}
    return found | {"actor": taken("actor", model.actor), "target_actor": taken("actor", model.actor_target)}


def split(name: str) -> tuple[str, str]:
    """`critics.1.0`, the member and the layer, as named() has them: `critics.1.weight_0`."""
    network, layer = name.rsplit(".", 1)
    return network, layer


def copy(stack: Stack, row: int, which: Mapping[str, nn.Linear]) -> None:
    for name, linear in which.items():
        network, layer = split(name)
        weight, bias = (stack.named()[f"{network}.{part}_{layer}"] for part in ("weight", "bias"))
        fan_out, fan_in = linear.weight.shape
        weight[row, :fan_in, :fan_out] = linear.weight.detach().T
        weight[row, fan_in:] = 0
        bias[row, 0, :fan_out] = linear.bias.detach()


def compare(what: str, stack: Stack, row: int, which: Mapping[str, nn.Linear], get: Callable[..., Any]) -> None:
    for name, linear in which.items():
        network, layer = split(name)
        weight, bias = (stack.named()[f"{network}.{part}_{layer}"][row] for part in ("weight", "bias"))
        fan_out, fan_in = linear.weight.shape
        theirs = value if isinstance(linear, Gaussian) else get
        close(f"{what} of {name}'s weight, seed {row}", weight[:fan_in, :fan_out], theirs(linear.weight).T)
        close(f"{what} of {name}'s bias, seed {row}", bias[0, :fan_out], theirs(linear.bias))
        for padding in (weight[fan_in:], weight[:, fan_out:], bias[0, fan_out:]):
            assert not padding.any(), f"{what} of {name} has numbers in its padding"


def our_agent(name: str, models: list[Any], **options: Any) -> Any:
    agent_class = {"ddpg": ddpg.DDPG, "td3": td3.TD3, "sac": sac.SAC}[name]
    rates = {"actor_learning_rate": RATE, "critic_learning_rate": RATE}
    if name == "sac":
        rates |= {"alpha_learning_rate": RATE}
    if name == "ddpg":
        rates |= {"action_layer": "first", "weight_decay": 0.0}
    config = agent_class.Config(gamma=GAMMA, tau=TAU, hidden=HIDDEN, buffer_size=10, **rates | options)
    agent = agent_class(Setup(OBS, ACTION, SEEDS, 1, 1000), config)
    for row, model in enumerate(models):
        for stack, which in layers(name, model, value).items():
            copy(getattr(agent, stack), row, which)
    return agent


def make_batch(seed: int) -> Transition:
    """One in five transitions terminated, one in five truncated."""
    generator = torch.Generator().manual_seed(seed)
    obs, next_obs = torch.randn(2, len(SEEDS), BATCH, 5, generator=generator)
    action = 2 * torch.rand(len(SEEDS), BATCH, 2, generator=generator) - 1
    reward = 3 * torch.randn(len(SEEDS), BATCH, generator=generator)
    terminated, truncated = torch.rand(2, len(SEEDS), BATCH, generator=generator) < 0.2
    return Transition(obs, action, reward, next_obs, terminated, truncated, {})


class SameNoise:
    """Standard normal noise that both codes draw: ours for all seeds, then theirs for one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, agent: Any, name: str) -> None:
        self.drawn: list[torch.Tensor] = []
        self.generator = torch.Generator().manual_seed(7)
        self.order: list[int] = []
        stream = {"td3": "target_noise", "sac": "noise"}.get(name)
        if stream:
            monkeypatch.setattr(getattr(agent, stream), "normal", self.ours)
        monkeypatch.setattr(torch.Tensor, "normal_", lambda it, mean, std: it.copy_(mean + std * self.theirs()))
        monkeypatch.setattr(torch.distributions.Normal, "rsample", lambda it: it.loc + it.scale * self.theirs())

    def ours(self, *shape: int) -> np.ndarray:
        self.drawn.append(torch.randn(len(SEEDS), *shape, generator=self.generator))
        return self.drawn[-1].numpy()

    def theirs(self) -> torch.Tensor:
        return self.drawn[self.order.pop(0)][self.row]

    def begin(self, row: int, order: list[int]) -> None:
        self.row, self.order = row, order


def recorded(monkeypatch: pytest.MonkeyPatch, agent: Any) -> dict[str, torch.Tensor]:
    """The gradient that each of our Adams met last."""
    met: dict[str, torch.Tensor] = {}
    for name in ("actor", "critic"):
        stack, optimiser = getattr(agent, name), getattr(agent, f"{name}_optimiser")

        def spy(*args: Any, name: str = name, stack: Stack = stack, step: Any = optimiser.step) -> None:
            met[name] = stack.gradient.clone()
            step(*args)

        monkeypatch.setattr(optimiser, "step", spy)
    return met


def their_gradients(model: Any) -> dict[nn.Parameter, torch.Tensor]:
    """The gradients that each of SB3's Adams met last: those of its actor's loss go into its critics too."""
    met: dict[nn.Parameter, torch.Tensor] = {}
    for network in (model.actor, model.critic):

        def spy(optimiser: Any, *_: Any) -> None:
            met.update({one: one.grad.clone() for one in optimiser.param_groups[0]["params"]})

        network.optimizer.register_step_pre_hook(spy)
    return met


@pytest.mark.parametrize(
    ("name", "theirs", "ours"),
    [
        ("ddpg", {}, {}),
        ("td3", {"target_policy_noise": 0.3, "target_noise_clip": 0.4},
         {"target_noise": 0.3, "target_noise_clip": 0.4}),
        ("sac", {}, {}),
        ("sac", {"ent_coef": "auto_0.3", "target_entropy": -0.5}, {"alpha_init": 0.3, "target_entropy": -0.25}),
        ("sac", {"ent_coef": 0.2}, {"learn_alpha": False, "alpha_init": 0.2}),
    ],
    ids=["ddpg", "td3", "sac", "sac, other target", "sac, fixed temperature"],
)  # fmt: skip
def test_losses_gradients_and_weights_are_sb3_s_over_four_updates(
    monkeypatch: pytest.MonkeyPatch, name: str, theirs: dict[str, Any], ours: dict[str, Any]
) -> None:
    models = [sb3_model(name, seed, **theirs) for seed in SEEDS]
    agent = our_agent(name, models, **ours)
    noise, met = SameNoise(monkeypatch, agent, name), recorded(monkeypatch, agent)
    theirs_met = [their_gradients(model) for model in models]
    for update in range(4):
        batch, before = make_batch(update), agent.target_critic.matrix.clone()
        noise.drawn.clear()
        metrics = agent.update(batch, update)
        moved = name != "td3" or update % 2 == 1
        assert torch.equal(agent.target_critic.matrix, before) != moved, "targets move when the actor does"
        for row, model in enumerate(models):
            # We draw a' for the critics first, SB3's SAC a for the actor.
            noise.begin(row, {"ddpg": [0], "td3": [0], "sac": [1, 0]}[name])
            if name == "ddpg":
                noise.drawn = [torch.zeros(len(SEEDS), BATCH, 2)]
            model.replay_buffer.sample = lambda *_, row=row, batch=batch, **__: sb3_batch(batch, row)
            model.train(gradient_steps=1, batch_size=BATCH)
            logged = model.logger.name_to_value
            close("critic loss", metrics["losses/critic_loss"][row], logged["train/critic_loss"])
            if moved:
                close("actor loss", metrics["losses/actor_loss"][row], logged["train/actor_loss"])
            if name == "sac" and model.log_ent_coef is not None:
                close("log α", agent.temperature.named()["log_alpha.value"][row, 0], model.log_ent_coef)
            for stack in ("critic", "actor") if moved else ("critic",):
                gradient = theirs_met[row].__getitem__
                which = layers(name, model, gradient)[stack]
                compare("gradient", as_stack(getattr(agent, stack), met[stack]), row, which, gradient)
            for stack, which in layers(name, model, value).items():
                compare(f"{stack}: parameters", getattr(agent, stack), row, which, value)
