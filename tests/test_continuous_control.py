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
from rlrepro.optimisers import Adam
from rlrepro.seeds import Stack
from rlrepro.streams import Streams
from rlrepro.targets import ensemble_error, soft_policy_value, soft_value

pytestmark = pytest.mark.usefixtures("one_thread")

HIDDEN, BATCH, GAMMA, TAU, RATE = (40, 24), 64, 0.9, 0.05, 5e-4
OBS, ACTION = gymnasium.spaces.Box(-9, 9, (5,), np.float32), gymnasium.spaces.Box(-1, 1, (2,), np.float32)
MODELS = {"ddpg": SB3DDPG, "td3": SB3TD3, "sac": SB3SAC}


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
        model.actor.log_std.bias.data.sub_(1.0)  # their log(1 − tanh² u) is rough in float32 where |u| is large
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
        stream = {"td3": "target_noise", "sac": "action_noise"}.get(name)
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


@pytest.mark.agrees("{name}", "Stable-Baselines3")
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


# --- What they share


@pytest.mark.parametrize("bounded_by", ["clamp", "tanh"])
def test_a_squashed_gaussian_is_torch_s_transformed_normal(bounded_by: str) -> None:
    """log π by torch.distributions in float64, gradients by its autograd, also where log σ is out of its range."""
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(3, 50, 6, generator=generator)
    outputs[..., 3:] *= 2.0
    noise = torch.randn(3, 50, 3, generator=generator)
    weight_action, weight_log_prob = torch.randn(3, 50, 3, generator=generator), torch.randn(3, 50, generator=generator)
    policy = SquashedGaussian(3, (-3.0, 1.0), bounded_by)

    ours = outputs.clone().requires_grad_()
    action, log_prob = policy.sample_and_log_prob(ours, noise)
    ((action * weight_action).sum() + (log_prob * weight_log_prob).sum()).backward()

    theirs = outputs.double().requires_grad_()
    mean, raw = theirs.split(3, -1)
    log_std = raw.clamp(-3, 1) if bounded_by == "clamp" else -3 + 2 * (torch.tanh(raw) + 1)
    transform = torch.distributions.TanhTransform(cache_size=1)
    normal = torch.distributions.Normal(mean, log_std.exp())
    squashed = torch.distributions.TransformedDistribution(normal, [transform])
    expected = transform(mean + log_std.exp() * noise)
    expected_log_prob = squashed.log_prob(expected).sum(-1)
    ((expected * weight_action).sum() + (expected_log_prob * weight_log_prob).sum()).backward()
    close("action", action, expected)
    close("log π", log_prob, expected_log_prob)
    assert ours.grad is not None
    assert theirs.grad is not None
    close("gradient", ours.grad, theirs.grad)
    assert ((raw < -3) | (raw > 1)).any(), "some log σ lie outside"


def test_the_density_of_a_squashed_gaussian_integrates_to_one() -> None:
    mean, log_std = 0.7, -0.4
    edges = torch.linspace(-1, 1, 20_001, dtype=torch.float64)
    middle = (edges[1:] + edges[:-1]) / 2
    noise = ((torch.atanh(middle) - mean) / math.exp(log_std)).float()[None, :, None]
    outputs = torch.tensor([mean, log_std]).expand(1, len(middle), 2)
    action, log_prob = SquashedGaussian(1).sample_and_log_prob(outputs, noise)
    close("action", action[0, :, 0], middle)
    assert (log_prob.double().exp() * (edges[1] - edges[0])).sum().item() == pytest.approx(1, abs=1e-4)


def test_a_squashed_gaussian_is_finite_far_out() -> None:
    """tanh² u is 1 in float32 there; log π goes on: for u = 30, −½ε² − log σ − ½ log 2π − 2 (log 2 − 30)."""
    outputs = torch.tensor([30.0, 0.0]).view(1, 1, 2).requires_grad_()
    _, log_prob = SquashedGaussian(1).sample_and_log_prob(outputs, torch.zeros(1, 1, 1))
    assert log_prob.item() == pytest.approx(-0.5 * math.log(2 * math.pi) + 60 - 2 * math.log(2), rel=1e-6)
    log_prob.sum().backward()
    assert outputs.grad is not None
    assert outputs.grad.tolist() == [[[2.0, -1.0]]]


def test_the_host_s_samples_are_those_that_are_differentiated(monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = torch.randn(2, 4, 6)
    noise = np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32)
    streams = Streams((0, 1), "test")
    monkeypatch.setattr(streams, "normal", lambda *shape: noise)
    for bounded_by in ("clamp", "tanh"):
        policy = SquashedGaussian(3, (-1.0, 0.5), bounded_by)
        action, _ = policy.sample_and_log_prob(outputs, torch.from_numpy(noise))
        close("action", policy.sample(outputs.numpy(), streams), action)
    close("mode", policy.mode(outputs.numpy()), outputs[..., :3].tanh())


def test_a_box_is_scaled_to_its_bounds_and_back() -> None:
    low, high = np.array([[-2.0, 0.0], [1.0, -1.0]], np.float32), np.array([[2.0, 1.0], [5.0, -1.0]], np.float32)
    box = UnitBox(gymnasium.spaces.Box(low, high))
    unit = np.array([[[-1, -1, -1, -1], [1, 1, 1, 1], [0, 0.5, -0.5, 0]]], np.float32)
    action = box.scaled(unit)
    assert action[0].tolist() == [[[-2, 0], [1, -1]], [[2, 1], [5, -1]], [[0, 0.75], [2, -1]]]
    back = box.unit(torch.from_numpy(action))
    assert back.tolist() == [[[-1, -1, -1, 0], [1, 1, 1, 0], [0, 0.5, -0.5, 0]]], "0 where there is no choice"
    assert box.in_env_units(torch.from_numpy(unit)).tolist() == action.reshape(1, 3, 4).tolist()
    with pytest.raises(UnsupportedSpace, match="bounded Box actions"):
        UnitBox(gymnasium.spaces.Box(-np.inf, 1, (2,)))
    with pytest.raises(UnsupportedSpace, match="Box actions, not Discrete"):
        UnitBox(gymnasium.spaces.Discrete(2))
    with pytest.raises(UnsupportedSpace, match="a Box of floats as actions, not one of int32"):
        UnitBox(gymnasium.spaces.Box(0, 3, (2,), np.int32))


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_a_box_of_which_float32_tells_few_actions_apart_is_refused(kind: Any) -> None:
    unit = np.linspace(-1, 1, 1001, dtype=np.float32).reshape(1, -1, 1)
    for low, high in ((-1.0, 1.0), (100.0, 101.0), (-1000.0, -999.0), (5.0, 5.0)):
        box = UnitBox(gymnasium.spaces.Box(low, high, (1,), kind))
        assert len(np.unique(box.scaled(unit))) > (999 if high > low else 0)
    narrow = gymnasium.spaces.Box(-1e6 - 1, -1e6, (1,), kind)
    if kind is np.float32:
        UnitBox(narrow)  # which has no more to tell apart
        return
    with pytest.raises(UnsupportedSpace, match="float32 tells apart"):
        UnitBox(narrow)


def test_a_box_beyond_float32_is_refused() -> None:
    UnitBox(gymnasium.spaces.Box(-3e38, 3e38, (1,), np.float64))
    with pytest.raises(UnsupportedSpace, match="actions that float32 holds"):
        UnitBox(gymnasium.spaces.Box(-1e308, 1e308, (1,), np.float64))


def test_ornstein_uhlenbeck_noise_is_its_recursion_and_begins_anew() -> None:
    streams, same = Streams((3,), "noise"), Streams((3,), "noise")
    noise, x = OrnsteinUhlenbeck(0.3, 0.15, 0.25), np.zeros(2)
    for step in range(6):
        ended = np.array([[step == 3, False]]) if step else None
        if step == 3:
            x[0] = 0
        x = x - 0.15 * 0.25 * x + 0.3 * 0.5 * same.normal(2, 1)[0, :, 0]
        close("noise", noise.sample(streams, (1, 2, 1), ended)[0, :, 0], x)


def test_soft_values_and_errors_by_hand() -> None:
    q = torch.tensor([[[1.0, 5.0], [2.0, 3.0]]])  # two critics, two states
    log_prob, alpha = torch.tensor([[-1.0, 2.0]]), torch.tensor([[0.5]])
    assert soft_value(q, log_prob, alpha).tolist() == [[1.5, 2.0]]
    assert ensemble_error(q, torch.tensor([[0.0, 1.0]])).tolist() == [(1 + 16) / 2 + (4 + 4) / 2]
    probs = torch.tensor([[[0.25, 0.75]]])
    value, entropy = soft_policy_value(torch.tensor([[[4.0, 8.0]]]), probs.log(), alpha)
    assert entropy.item() == pytest.approx(-(0.25 * math.log(0.25) + 0.75 * math.log(0.75)))
    assert value.item() == pytest.approx(7 + 0.5 * entropy.item())


@pytest.mark.parametrize("late", ["first", "second", "both"])
def test_critics_that_meet_the_action_late_equal_a_float64_network(late: str) -> None:
    """Outputs of an ensemble, its gradients by parameters and by the input; one member alone; frozen ones."""
    torch.manual_seed(0)
    late_columns = 0 if late == "first" else 2
    network = MLP((5, 9, 7, 1), "relu", input_gradient=True, late=late_columns, early=late == "both")
    stack, x = Stack((1, 2, 3), q=Ensemble(network, 2)), torch.randn(3, 6, 5, requires_grad=True)
    weight = torch.randn(3, 2, 6, 1)
    out = stack.q(x)
    (out * weight).sum().backward()
    named_parameters = {name: value.double().requires_grad_() for name, value in stack.named().items()}
    x64 = x.detach().double().requires_grad_()
    early, members = 5 if late != "second" else 3, []
    for member in range(2):
        p = {name[4:]: value for name, value in named_parameters.items() if name.startswith(f"q.{member}.")}
        hidden = torch.relu(x64[..., :early] @ p["weight_0"][:, :early] + p["bias_0"])
        start = hidden.shape[-1]
        joined = hidden @ p["weight_1"][:, :start] + p["bias_1"]
        if late_columns:
            joined = joined + x64[..., -2:] @ p["weight_1"][:, start : start + 2]
        members.append((torch.relu(joined) @ p["weight_2"] + p["bias_2"])[..., :1])
    expected = torch.stack(members, 1)
    (expected * weight).sum().backward()
    close("output", out, expected)
    close("one member", stack.q.member(1, x), expected[:, 1])
    close("gradient by the input", x.grad, x64.grad)
    gradients = as_stack(stack, stack.gradient).named()
    for name, parameter in named_parameters.items():
        assert parameter.grad is not None
        close(f"gradient of {name}", gradients[name], parameter.grad)
    before = stack.gradient.clone()
    with stack.frozen():
        frozen = stack.q(x)
    frozen.sum().backward()
    assert torch.equal(stack.gradient, before), "a frozen stack has no gradient"
    assert stack.matrix.requires_grad


def test_an_ensemble_has_its_stack_to_itself() -> None:
    stack = Stack((0, 1), q=Ensemble(MLP((3, 4, 1))), other=Constant(1))
    with pytest.raises(ValueError, match="only network of its Stack"):
        stack.q(torch.zeros(2, 5, 3))


def test_an_action_s_weights_can_start_by_a_fan_in_of_their_own() -> None:
    weight, bias = np.zeros((402, 300)), np.zeros(300)
    apart(2)(weight, bias, np.random.default_rng(0))
    assert np.abs(weight[:400]).max() == pytest.approx(1 / 20, rel=0.01)
    assert np.abs(weight[400:]).max() == pytest.approx(1 / math.sqrt(2), rel=0.05)
    assert np.abs(bias).max() == pytest.approx(1 / 20, rel=0.05)


def test_weight_decay_is_that_of_torch_s_adam() -> None:
    stack = Stack((0, 1), q=MLP((3, 4, 1)))
    parameter = nn.Parameter(stack.matrix.detach().clone())
    ours, theirs = Adam(stack, 0.01, weight_decay=0.1), torch.optim.Adam([parameter], 0.01)
    for _ in range(5):
        stack.gradient.copy_(torch.randn_like(stack.gradient))
        parameter.grad = stack.gradient + 0.1 * parameter.detach()  # of ½ · 0.1 ‖θ‖²
        ours.step()
        theirs.step()
    close("parameters", stack.matrix, parameter)


# --- The agents' own


def small(agent_class: Any, action_space: gymnasium.Space = ACTION, num_envs: int = 1, **options: Any) -> Any:
    config = agent_class.Config(hidden=(8, 8), batch_size=4, buffer_size=50, **options)
    return agent_class(Setup(OBS, action_space, SEEDS, num_envs, 1000), config)


AGENTS = {"ddpg": ddpg.DDPG, "td3": td3.TD3, "sac": sac.SAC}


@pytest.mark.parametrize(("output_bias", "largest"), [("weights", 3e-3), ("fan_in", 1 / math.sqrt(8))])
@pytest.mark.parametrize("name", ["ddpg", "td3"])
def test_last_biases_start_as_their_weights_or_by_the_fan_in(name: str, output_bias: str, largest: float) -> None:
    agent = small(AGENTS[name], output_init=3e-3, output_bias=output_bias)
    for stack in (agent.actor, agent.critic):
        last = {part.split(".")[-1]: values.abs().max() for part, values in stack.named().items()}
        assert 1e-3 < last["weight_2"] <= 3e-3
        assert largest / 8 < last["bias_2"] <= largest


@pytest.mark.parametrize(("first_weights", "gains"), [("xavier", (2**0.5, 2**0.5, 1.0)), ("glorot", (1.0, 1.0, 1.0))])
def test_sac_starts_as_each_source_has_it(first_weights: str, gains: tuple[float, ...]) -> None:
    config = sac.SAC.Config(hidden=(40, 24), batch_size=4, buffer_size=50, first_weights=first_weights)
    agent = sac.SAC(Setup(OBS, ACTION, range(100), 1, 1000), config)
    fans = {"actor": (5, 40, 24, 4), "critics.0": (7, 40, 24, 1)}
    for stack, (network, sizes) in zip((agent.actor, agent.critic), fans.items(), strict=True):
        for layer, gain in enumerate(gains):
            fan_in, fan_out = sizes[layer], sizes[layer + 1]
            weight = stack.named()[f"{network}.weight_{layer}"][:, :fan_in, :fan_out]
            bias = stack.named()[f"{network}.bias_{layer}"]
            assert weight.abs().max().item() == pytest.approx(gain * math.sqrt(6 / (fan_in + fan_out)), rel=2e-2)
            assert bool(bias.any()) == (first_weights == "xavier")


def noise_for(name: str) -> list[torch.Tensor]:
    """What the agent's critic loss takes beside the batch: the same each time."""
    return [] if name == "ddpg" else [torch.randn(3, BATCH, 2, generator=torch.Generator().manual_seed(5))]


@pytest.mark.parametrize("name", AGENTS)
def test_targets_are_bootstrapped_through_truncation_alone(name: str) -> None:
    """The gradient of a batch changes with next_obs where a transition was truncated, not where it was terminated."""
    agent = small(AGENTS[name])
    batch, yes, no = make_batch(0), torch.ones(3, BATCH, dtype=torch.bool), torch.zeros(3, BATCH, dtype=torch.bool)

    def loss(terminated: torch.Tensor, truncated: torch.Tensor, next_obs: torch.Tensor) -> torch.Tensor:
        batch_so = batch._replace(terminated=terminated, truncated=truncated, next_obs=next_obs)
        return agent.critic_loss(batch_so, *noise_for(name))[0]

    moved = batch.next_obs + 1
    running = loss(no, no, batch.next_obs)
    assert torch.equal(loss(no, yes, batch.next_obs), running)
    assert not torch.equal(loss(no, yes, moved), running)
    assert torch.equal(loss(yes, no, moved), loss(yes, no, batch.next_obs))


@pytest.mark.parametrize("name", AGENTS)
def test_critics_meet_the_action_in_the_units_asked_for(name: str) -> None:
    """With bounds of ±2, `env` doubles it: as `unit` does with the action's weights of the first layer doubled."""
    space, batch = gymnasium.spaces.Box(-2, 2, (2,), np.float32), make_batch(0)
    batch = batch._replace(action=2 * batch.action)
    options = {"action_layer": "first"} if name == "ddpg" else {}
    unit, env = (small(AGENTS[name], space, critic_units=units, **options) for units in ("unit", "env"))
    for stack in (unit.critic, unit.target_critic):
        for parameter, weights in stack.named().items():
            if parameter.endswith("weight_0"):
                weights[:, 5:7] *= 2
    close("critic loss", *(agent.critic_loss(batch, *noise_for(name))[0] for agent in (env, unit)))


@pytest.mark.parametrize("first", [{"random_start": True, "learning_starts": 1000},
                                   {"random_start": False, "learning_starts": 300, "random_steps": 1000}])  # fmt: skip
@pytest.mark.parametrize("name", AGENTS)
def test_the_first_actions_are_uniform_over_the_box(
    name: str, first: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = small(AGENTS[name], gymnasium.spaces.Box(-2, 4, (2,), np.float32), 100, **first)
    monkeypatch.setattr(agent, "inputs", lambda obs: 1 / 0)  # the policy is not asked
    actions = np.stack([agent.act(np.zeros((3, 100, 5), np.float32), step)[0] for step in range(0, 1000, 100)])
    assert actions.min() == pytest.approx(-2, abs=0.02)
    assert actions.max() == pytest.approx(4, abs=0.02)
    assert actions.mean() == pytest.approx(1, abs=0.1)
    with pytest.raises(ZeroDivisionError):  # then the policy's own
        agent.act(np.zeros((3, 100, 5), np.float32), 1000)


def test_td3_s_actor_learns_from_the_first_critic_alone() -> None:
    agent, obs = small(td3.TD3), make_batch(0).obs
    agent.actor_loss(obs).sum().backward()
    assert not agent.critic.gradient.any()
    before = agent.actor.gradient.clone()
    for name, weights in agent.critic.named().items():
        if name.startswith("critics.1"):
            weights.normal_()
    agent.actor.gradient.zero_()
    agent.actor_loss(obs).sum().backward()
    assert torch.equal(agent.actor.gradient, before)


@pytest.mark.parametrize("name", AGENTS)
def test_a_delayed_actor_waits(name: str) -> None:
    agent = small(AGENTS[name], policy_delay=3)
    for update in range(1, 7):
        before = agent.actor.matrix.detach().clone()
        metrics = agent.update(make_batch(update), update)
        assert torch.equal(agent.actor.matrix, before) == (update % 3 != 0)
        assert metrics["losses/actor_loss"].isnan().all() == (update < 3), "no loss before the first update"


def steps_taken(monkeypatch: pytest.MonkeyPatch, agent: Any) -> dict[str, list[float]]:
    """The step sizes of each optimiser's steps, as they come."""
    taken: dict[str, list[float]] = {}
    for name in ("critic", "actor", "alpha"):
        if (optimiser := getattr(agent, f"{name}_optimiser", None)) is not None:
            taken[name] = []

            def spy(rate: Any = None, *_: Any, name: str = name, own: float = optimiser.learning_rate) -> None:
                taken[name].append(own if rate is None else float(rate))

            monkeypatch.setattr(optimiser, "step", spy)
    return taken


@pytest.mark.parametrize(("anneal", "left"), [(False, 1.0), (True, 0.75)])
@pytest.mark.parametrize("name", AGENTS)
def test_each_step_size_is_its_own_and_falls_where_it_is_to(
    name: str, anneal: bool, left: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quarter of 1,000 env steps is over."""
    rates = {"critic": 1e-3, "actor": 2e-3} | ({"alpha": 3e-3} if name == "sac" else {})
    options = {f"{one}_learning_rate": rate for one, rate in rates.items()}
    agent = small(AGENTS[name], policy_delay=1, anneal=anneal, **options)
    taken = steps_taken(monkeypatch, agent)
    agent.update(make_batch(0), 250)
    assert taken == {one: [pytest.approx(left * rate)] for one, rate in rates.items()}


def test_sac_s_delayed_actor_and_temperature_catch_up(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = small(sac.SAC, policy_delay=3)
    taken = steps_taken(monkeypatch, agent)
    for update in range(7):
        agent.update(make_batch(update), update)
        caught_up = (update + 1) // 3 * 3
        assert {name: len(steps) for name, steps in taken.items()} == {
            "critic": update + 1, "actor": caught_up, "alpha": caught_up,
        }  # fmt: skip


@pytest.mark.parametrize(("gradient_steps", "train_every"), [(1, 1), (3, 2)])
@pytest.mark.parametrize("name", [*AGENTS, "sac_discrete"])
def test_so_many_gradient_steps_come_each_time(name: str, gradient_steps: int, train_every: int) -> None:
    kind, space = AGENTS.get(name, sac_discrete.SACDiscrete), ACTION
    if name not in AGENTS:
        space = gymnasium.spaces.Discrete(2)
    timing = {"gradient_steps": gradient_steps, "train_every": train_every, "learning_starts": 4}
    agent, over = small(kind, space, **timing), np.zeros((len(SEEDS), 1), bool)
    obs, action = np.zeros((len(SEEDS), 1, 5), np.float32), np.zeros((len(SEEDS), 1, *space.shape), space.dtype)
    due = []
    for step in range(10):
        agent.memory.add(Transition(obs, action, over.astype(float), obs, over, over, {}))
        due.append(len(list(agent.memory.ready(step))))
    first = [step for step in range(4, 10) if (step + 1) % train_every == 0]
    assert due == [gradient_steps if step in first else 0 for step in range(10)]


def test_sac_s_slow_mean_is_the_mean_action_of_an_actor_that_follows() -> None:
    """Dopamine's target: r + γ (min Q'(s', tanh μ'(s')) − α log π'(a'|s')), π' of the slow actor, a' its sample."""
    agent, batch, (noise,) = (
        small(sac.SAC, target_action="slow_mean", gamma=GAMMA, tau=0.25),
        make_batch(0),
        noise_for("sac"),
    )
    present = agent.actor.matrix.detach().clone()
    perturb([agent.target_actor.matrix, agent.target_critic.matrix], 0.1)
    outputs = agent.policy_outputs(batch.next_obs, agent.target_actor).detach()
    _, log_prob = agent.gaussian.sample_and_log_prob(outputs, noise)
    pairs = torch.cat([batch.next_obs, torch.tanh(outputs[..., :2])], -1)
    value = agent.target_critic.critics(pairs)[..., 0].amin(1) - log_prob  # α is 1
    y = batch.reward + GAMMA * (~batch.terminated) * value
    q = agent.critic.critics(torch.cat([batch.obs, batch.action], -1))[..., 0]
    close("critic loss", agent.critic_loss(batch, noise)[0], 0.5 * (q - y.unsqueeze(1)).square().mean(2).sum(1))
    assert not torch.equal(agent.target_actor.matrix, present)
    slow = agent.target_actor.matrix.detach().clone()
    agent.update(batch, 0)
    torch.testing.assert_close(agent.target_actor.matrix, 0.75 * slow + 0.25 * agent.actor.matrix)
    paper = small(sac.SAC)
    assert paper.target_actor is paper.actor
    assert "target_actor" in agent.get_state()
    assert "target_actor" not in paper.get_state(), "the same actor is kept once"


def test_sac_adjusts_its_temperature_towards_the_target_entropy() -> None:
    """Eq. 18: α falls where the entropy is above its target, and rises where it is below; by hand for either loss."""
    log_prob = torch.tensor([[-1.0, -5.0], [3.0, 5.0], [2.0, 2.0]])  # entropies 3, −4 and −2; the target is −2
    for alpha_loss, factor in (("log_alpha", 1.0), ("alpha", 0.5)):
        agent = small(sac.SAC, alpha_loss=alpha_loss, alpha_init=0.5)
        agent.alpha_loss(log_prob).sum().backward()
        assert agent.temperature.gradient[:, 0].tolist() == pytest.approx([5 * factor, -2 * factor, 0.0])


# --- Discrete SAC


def rows(stack: Stack, network: str, row: int, obs: torch.Tensor) -> np.ndarray:
    """The outputs of one observation in float64, one unit at a time."""
    x = obs.double().numpy()
    parameters, count = stack.named(), 3
    for layer in range(count):
        weight, bias = (
            parameters[f"{network}.{part}_{layer}"][row].detach().double().numpy() for part in ("weight", "bias")
        )
        units = [sum(x[i] * weight[i, j] for i in range(len(x))) + bias[0, j] for j in range(weight.shape[1])]
        x = np.array([unit if layer == count - 1 else max(0.0, unit) for unit in units])
    return x[:3]


@pytest.mark.agrees("sac_discrete", "a float64 loop")
def test_discrete_sac_s_losses_equal_float64_loops() -> None:
    agent = small(sac_discrete.SACDiscrete, gymnasium.spaces.Discrete(3), gamma=GAMMA, alpha_init=0.3)
    for stack in (agent.actor, agent.critic, agent.target_critic):
        perturb([stack.matrix.detach()], 0.3)
    batch = make_batch(0)
    batch = Transition(*(field[:, :8] for field in batch[:-1]), {})._replace(
        action=torch.randint(3, (3, 8), generator=torch.Generator().manual_seed(0))
    )
    critic_loss, _ = agent.critic_loss(batch)
    actor_loss, entropy = agent.actor_loss(batch.obs)
    alpha_loss = agent.alpha_loss(entropy.detach())

    def policy(row: int, obs: torch.Tensor) -> np.ndarray:
        logits = rows(agent.actor, "actor", row, obs)
        return np.exp(logits) / np.exp(logits).sum()

    for row in range(len(SEEDS)):
        totals = np.zeros(3)
        for i in range(8):
            obs, next_obs = batch.obs[row, i], batch.next_obs[row, i]
            pi = policy(row, next_obs)
            next_q = np.minimum(*(rows(agent.target_critic, f"critics.{m}", row, next_obs) for m in range(2)))
            value = sum(pi[a] * (next_q[a] - 0.3 * math.log(pi[a])) for a in range(3))
            y = batch.reward[row, i].item() + (0 if batch.terminated[row, i] else GAMMA * value)
            q = [rows(agent.critic, f"critics.{m}", row, obs) for m in range(2)]
            totals[0] += sum(0.5 * (q[m][batch.action[row, i]] - y) ** 2 for m in range(2))
            pi = policy(row, obs)
            totals[1] += sum(pi[a] * (0.3 * math.log(pi[a]) - min(q[0][a], q[1][a])) for a in range(3))
            totals[2] += sum(pi[a] * -math.log(0.3) * (math.log(pi[a]) + 0.98 * math.log(3)) for a in range(3))
        for name, found, total in zip("Qπα", (critic_loss, actor_loss, alpha_loss), totals / 8, strict=True):
            close(f"J({name}), seed {row}", found[row], total, scale=max(1.0, abs(total)))


@pytest.mark.agrees("sac_discrete", "a float64 loop")
def test_discrete_sac_s_gradients_equal_float64_autograd() -> None:
    agent = small(sac_discrete.SACDiscrete, gymnasium.spaces.Discrete(3), gamma=GAMMA, alpha_init=0.3)
    perturb([agent.actor.matrix.detach(), agent.critic.matrix.detach()], 0.3)
    obs = make_batch(0).obs
    agent.actor_loss(obs)[0].sum().backward()
    assert not agent.critic.gradient.any()
    p = {name: value.double().requires_grad_() for name, value in agent.actor.named().items()}
    x = obs.double()
    for layer in range(3):
        x = x @ p[f"actor.weight_{layer}"] + p[f"actor.bias_{layer}"]
        x = torch.relu(x) if layer < 2 else x[..., :3]
    q = agent.critic.critics(obs).detach().double().amin(1)
    log_pi = torch.log_softmax(x, -1)
    (log_pi.exp() * (0.3 * log_pi - q)).sum(-1).mean(1).sum().backward()
    found = as_stack(agent.actor, agent.actor.gradient).named()
    for name, parameter in p.items():
        assert parameter.grad is not None
        close(f"gradient of {name}", found[name], parameter.grad)


@pytest.mark.agrees("sac_discrete", "PyTorch's modules")
@pytest.mark.parametrize("alpha_loss", ["log_alpha", "alpha"])
def test_discrete_sac_s_updates_equal_those_of_plain_modules(alpha_loss: str) -> None:
    """Five steps of both critics, the actor, log α and the targets, in float64."""
    torch.manual_seed(0)
    rates = dict.fromkeys(("actor_learning_rate", "critic_learning_rate", "alpha_learning_rate"), 0.01)
    often = {"target_every": 1, "train_every": 1, "learning_starts": 0, "tau": 0.1}
    options: dict[str, Any] = {**rates, **often, "adam_eps": 1e-4, "alpha_init": 0.3, "target_entropy_scale": 0.5}
    options["alpha_loss"] = alpha_loss
    agent = small(sac_discrete.SACDiscrete, gymnasium.spaces.Discrete(3), gamma=GAMMA, **options)
    num_obs = OBS.shape[0]

    def network() -> nn.Sequential:
        return nn.Sequential(nn.Linear(num_obs, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)).double()

    def parameters(stack: Stack, name: str, row: int, model: nn.Sequential) -> Iterator[tuple[Any, Any]]:
        for layer, dense in enumerate(model[::2]):
            fan_out, fan_in = dense.weight.shape
            yield stack.named()[f"{name}.weight_{layer}"][row, :fan_in, :fan_out], dense.weight.detach().T
            yield stack.named()[f"{name}.bias_{layer}"][row, 0, :fan_out], dense.bias.detach()

    perturb([agent.target_critic.matrix.detach()], 0.1)
    stacks = {
        "actor": (agent.actor, "actor"),
        **{f"critic {m}": (agent.critic, f"critics.{m}") for m in range(2)},
        **{f"target {m}": (agent.target_critic, f"critics.{m}") for m in range(2)},
    }
    models = [{what: network() for what in stacks} for _ in SEEDS]
    logs = [torch.tensor(math.log(0.3), dtype=torch.float64, requires_grad=True) for _ in SEEDS]
    optimisers = []
    for row, nets in enumerate(models):
        for what, (stack, name) in stacks.items():
            for mine, theirs in parameters(stack, name, row, nets[what]):
                theirs.copy_(mine)
        both = [*nets["critic 0"].parameters(), *nets["critic 1"].parameters()]
        groups = both, list(nets["actor"].parameters()), [logs[row]]
        optimisers.append([torch.optim.Adam(group, 0.01, eps=1e-4) for group in groups])

    def descend(optimiser: torch.optim.Adam, loss: torch.Tensor) -> None:
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    for step in range(5):
        batch = make_batch(step)
        action = torch.randint(3, batch.reward.shape, generator=torch.Generator().manual_seed(step))
        agent.update(batch._replace(action=action), step)
        for row, nets in enumerate(models):
            obs, next_obs = batch.obs[row].double(), batch.next_obs[row].double()
            alpha = logs[row].exp().item()
            with torch.no_grad():
                log_pi = nets["actor"](next_obs).log_softmax(-1)
                least = torch.minimum(nets["target 0"](next_obs), nets["target 1"](next_obs))
                following = (log_pi.exp() * (least - alpha * log_pi)).sum(-1)
                y = batch.reward[row].double() + GAMMA * following * ~batch.terminated[row]
            taken = [nets[f"critic {m}"](obs).gather(1, action[row, :, None])[:, 0] for m in range(2)]
            descend(optimisers[row][0], sum(0.5 * nn.functional.mse_loss(q, y) for q in taken))  # type: ignore[arg-type]
            log_pi = nets["actor"](obs).log_softmax(-1)
            with torch.no_grad():
                least = torch.minimum(nets["critic 0"](obs), nets["critic 1"](obs))
            descend(optimisers[row][1], (log_pi.exp() * (alpha * log_pi - least)).sum(-1).mean())
            entropy = -(log_pi.exp() * log_pi).sum(-1).detach()
            weight = logs[row] if alpha_loss == "log_alpha" else logs[row].exp()
            descend(optimisers[row][2], weight * (entropy.mean() - 0.5 * math.log(3)))
            for m in range(2):
                pairs = zip(nets[f"target {m}"].parameters(), nets[f"critic {m}"].parameters(), strict=True)
                for old, new in pairs:
                    old.data.lerp_(new.data, 0.1)
            close("α", agent.temperature.alpha[row, 0], logs[row].exp())
            for what, (stack, name) in stacks.items():
                for mine, theirs in parameters(stack, name, row, nets[what]):
                    close(f"{what} after {step + 1}", mine, theirs)


def test_discrete_sac_s_targets_are_copied_when_due() -> None:
    timing = {"target_every": 4, "train_every": 1, "gradient_steps": 2, "learning_starts": 0}
    agent = small(sac_discrete.SACDiscrete, gymnasium.spaces.Discrete(3), **timing)
    due = []
    for step in range(12):
        for _ in range(2):
            before = agent.target_critic.matrix.clone()
            batch = make_batch(step)
            agent.update(batch._replace(action=torch.zeros(3, BATCH, dtype=torch.long)), step)
            due.append(not torch.equal(agent.target_critic.matrix, before))
    assert [index for index, moved in enumerate(due) if moved] == [7, 15, 23], "after the last gradient step of a time"


@pytest.mark.parametrize(
    ("name", "target_delay", "moves"),
    [
        ("td3", 0, [False, False, True]),
        ("td3", 1, [True] * 3),
        ("td3", 2, [False, True, False]),
        ("sac", 1, [True] * 3),
        ("sac", 2, [False, True, False]),
    ],
)
def test_targets_move_with_the_actor_or_on_their_own(name: str, target_delay: int, moves: list[bool]) -> None:
    agent = small(AGENTS[name], policy_delay=3, target_delay=target_delay, tau=0.1)
    moved = []
    for update in range(3):
        before = agent.target_critic.matrix.clone()
        agent.update(make_batch(update), update)
        moved.append(not torch.equal(agent.target_critic.matrix, before))
        if moved[-1]:
            close("target", agent.target_critic.matrix, 0.9 * before + 0.1 * agent.critic.matrix.detach())
    assert moved == moves


def deterministic(kind: Any, **options: Any) -> Any:
    """A TD3 or DDPG whose policy is μ = tanh(bias) of the given `pinned`, everywhere."""
    space = gymnasium.spaces.Box(-1, 1, (3,), np.float32)
    pinned = options.pop("pinned")
    agent = kind(Setup(space, gymnasium.spaces.Box(-2, 2, (2,), np.float32), SEEDS, 1, 1000), kind.Config(**options))
    for stack in (agent.actor, agent.target_actor):
        last = stack.actor.network.num_layers - 1
        with torch.no_grad():
            stack.actor.parameters[f"weight_{last}"].zero_()
            stack.actor.parameters[f"bias_{last}"].fill_(pinned)
    return agent


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (td3.TD3, {"exploration_noise": 0.1}),
        (ddpg.DDPG, {"noise": "gaussian", "noise_std": 0.1}),
        (ddpg.DDPG, {"noise": "ou", "noise_std": 0.1, "noise_theta": 0.7}),  # its first step begins at 0
    ],
    ids=["td3", "ddpg, gaussian", "ddpg, ou"],
)
def test_it_explores_by_the_standard_deviation_that_is_asked_for(kind: Any, options: dict[str, Any]) -> None:
    """0.1 of half the range, which is 2 here; in an evaluation that is not deterministic too; never beyond the box."""
    options = {**options, "hidden": (8, 8)}
    agent, obs = deterministic(kind, **options, pinned=0.0), np.zeros((len(SEEDS), 20_000, 3), np.float32)
    for acted in (agent.explore(obs), agent.predict(obs, Streams(SEEDS, "evaluation"), deterministic=False)):
        np.testing.assert_allclose(acted.std((1, 2)), 0.2, rtol=0.02)
        np.testing.assert_allclose(acted.mean((1, 2)), 0.0, atol=0.005)
    assert not agent.predict(obs, Streams(SEEDS, "evaluation"), deterministic=True).any()
    at_bound = deterministic(kind, **options, pinned=20.0)
    assert at_bound.explore(obs).max() == 2.0


def test_the_process_of_ddpg_s_noise_begins_anew_where_an_episode_ended() -> None:
    """θ = 0 and σ = 0.1: the noise of a sub-environment adds up from episode to episode's end."""
    agent = deterministic(ddpg.DDPG, noise="ou", noise_std=0.1, noise_theta=0.0, pinned=0.0)
    drawn, x = Streams(SEEDS, "policy"), np.zeros((len(SEEDS), 2, 2))
    obs, no = np.zeros((len(SEEDS), 2, 3), np.float32), np.zeros((len(SEEDS), 2), bool)
    for step in range(6):
        action = agent.explore(obs)
        if step == 3:
            x[:, 1] = 0  # the second sub-environment's episode ended in the step before
        x = x + 0.1 * drawn.normal(2, 2)
        close("noise", action, 2 * x)
        over = no.copy()
        over[:, 1] = step == 2
        agent.memory.add(Transition(obs, action, np.zeros(no.shape), obs, no, over, {}))


def test_ddpg_s_critic_has_the_weight_decay_of_its_section_7() -> None:
    for decay in (0.0, 0.01, 0.2):
        agent = small(ddpg.DDPG, weight_decay=decay)
        before = agent.critic.matrix.detach().clone()
        agent.critic.gradient.zero_()
        agent.critic_optimiser.step()  # Adam's first step is η g / |g|, and g is w θ alone
        moved = (agent.critic.matrix.detach() - before)[before.abs() > 1e-3]
        assert moved.abs().max().item() == pytest.approx(1e-3 if decay else 0.0, rel=1e-3)
        assert not agent.actor_optimiser._weight_decay


@pytest.mark.parametrize(
    ("kind", "options", "largest"),
    [
        (td3.TD3, {"action_layer": "second"}, 1 / math.sqrt(2)),
        (ddpg.DDPG, {"action_layer": "second", "action_fan_in": "own"}, 1 / math.sqrt(2)),
        (ddpg.DDPG, {"action_layer": "second", "action_fan_in": "joint"}, 1 / math.sqrt(402)),
    ],
    ids=["td3", "ddpg, own", "ddpg, joint"],
)
def test_weights_of_a_late_action_start_by_the_fan_in_asked_for(
    kind: Any, options: dict[str, Any], largest: float
) -> None:
    agent = kind(Setup(OBS, ACTION, SEEDS, 1, 1000), kind.Config(hidden=(400, 300), buffer_size=5, **options))
    ends = ("critic.weight_1", "critics.0.weight_1")
    (second,) = (weight for name, weight in agent.critic.named().items() if name.endswith(ends))
    assert second[:, 400:402].abs().max().item() == pytest.approx(largest, rel=0.05)


def test_td3_s_smoothed_target_actions_stay_within_the_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eq. 14: with μ = 1 noise of ±0.5 at most leaves [0.5, 1], and not 1.5."""
    agent = deterministic(td3.TD3, pinned=20.0)
    batch = Transition(
        *(torch.zeros(len(SEEDS), 500, *shape) for shape in ((3,), (2,), (), (3,))),
        torch.zeros(len(SEEDS), 500, dtype=torch.bool), torch.zeros(len(SEEDS), 500, dtype=torch.bool), {},
    )  # fmt: skip
    seen: list[torch.Tensor] = []
    q = agent.q

    def spied(critic: Stack, obs: torch.Tensor, unit: torch.Tensor) -> torch.Tensor:
        seen.append(unit)
        return q(critic, obs, unit)

    monkeypatch.setattr(agent, "q", spied)
    agent.critic_loss(batch, 10 * torch.randn(len(SEEDS), 500, 2, generator=torch.Generator().manual_seed(1)))
    assert seen[0].max() == 1.0
    assert seen[0].min() == pytest.approx(0.5)
