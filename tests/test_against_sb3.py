"""PPO and DQN against Stable-Baselines3: one update by its code and one by ours, from the same weights and data.

Three seeds run in one stack of ours; each has an SB3 model of its own. Every tensor is held to a relative error of
1e-5: |a − b| ≤ 1e-5 · max |b| over the tensor, where b is SB3's, in float32.
"""

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from stable_baselines3 import DQN as SB3DQN
from stable_baselines3 import PPO as SB3PPO
from stable_baselines3.common.buffers import ReplayBufferSamples
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import nn

from rlrepro import loop, optimisers, targets
from rlrepro.agent import Setup, Transition
from rlrepro.agents import dqn, ppo
from rlrepro.plugins.environments import find_env
from rlrepro.seeds import Stack
from rlrepro.vector import VectorEnv
from tests.agreement import close

pytestmark = pytest.mark.usefixtures("one_thread")

SEEDS = (1, 2, 3)
NUM_ENVS, NUM_STEPS, NUM_MINIBATCHES = 4, 64, 4


class Recorded(gymnasium.Wrapper):
    """The environment, ended at random by either flag or both, with a record of every step."""

    def __init__(self, env: gymnasium.Env, seed: int) -> None:
        super().__init__(env)
        self.rng, self.steps = np.random.default_rng(seed), []

    def reset(self, **options: Any) -> Any:
        self.obs, info = self.env.reset(**options)
        return self.obs, info

    def step(self, action: Any) -> Any:
        next_obs, reward, terminated, truncated, info = self.env.step(action)
        chance = self.rng.random()
        terminated, truncated = terminated or chance < 0.1, truncated or 0.05 < chance < 0.15
        self.steps.append((self.obs, reward, next_obs, terminated, truncated))
        self.obs = next_obs
        return next_obs, reward, terminated, truncated, info


@torch.no_grad()
def perturb(parameters: Iterable[torch.Tensor], scale: float) -> None:
    for parameter in parameters:
        parameter.add_(scale * torch.randn_like(parameter))


def copy_layers(stack: Stack, row: int, layers: Mapping[str, nn.Linear]) -> None:
    """Take over SB3's layers as ours of one seed: `[in, out]`, the padding left as it is."""
    named = stack.named()
    for name, linear in layers.items():
        network, layer = name.split(".")
        fan_out, fan_in = linear.weight.shape
        named[f"{network}.weight_{layer}"][row, :fan_in, :fan_out] = linear.weight.detach().T
        named[f"{network}.bias_{layer}"][row, 0, :fan_out] = linear.bias.detach()


def compare_layers(
    what: str, stack: Stack, row: int, layers: Mapping[str, nn.Linear], get: Callable[[nn.Parameter], torch.Tensor]
) -> None:
    named = stack.named()
    for name, linear in layers.items():
        network, layer = name.split(".")
        weight, bias = named[f"{network}.weight_{layer}"][row], named[f"{network}.bias_{layer}"][row, 0]
        fan_out, fan_in = linear.weight.shape
        close(f"{what} of {name}'s weight, seed {row}", weight[:fan_in, :fan_out], get(linear.weight).T)
        close(f"{what} of {name}'s bias, seed {row}", bias[:fan_out], get(linear.bias))
        for padding in (weight[fan_in:], weight[:, fan_out:], bias[fan_out:]):
            assert not padding.any(), f"{what} of {name} has numbers in its padding"


def as_stack(like: Stack, matrix: torch.Tensor) -> Stack:
    """A gradient as a stack, so that it is cut up as the parameters are."""
    other = like.target_copy()
    other.load(matrix)
    return other


class Gradients:
    """What both codes' clipping saw: every gradient and norm before it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, module: Any) -> None:
        self.ours: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []  # before, norms, after
        self.theirs: list[tuple[dict[nn.Parameter, torch.Tensor], torch.Tensor, float]] = []  # before, norms
        clip, torch_clip = module.clip_by_norm, nn.utils.clip_grad_norm_

        def clip_by_norm(gradient: torch.Tensor, max_norm: float) -> torch.Tensor:
            before = gradient.clone()
            norms = clip(gradient, max_norm)
            self.ours.append((before, norms.clone(), gradient.clone()))
            return norms

        def clip_grad_norm_(parameters: Any, max_norm: float) -> torch.Tensor:
            parameters = list(parameters)
            before = {one: one.grad.clone() for one in parameters if one.grad is not None}
            norm = torch_clip(parameters, max_norm)
            self.theirs.append((before, norm, math.sqrt(sum(one.grad.square().sum().item() for one in before))))
            return norm

        monkeypatch.setattr(module, "clip_by_norm", clip_by_norm)
        monkeypatch.setattr(nn.utils, "clip_grad_norm_", clip_grad_norm_)

    def compare(self, stack: Stack, row: int, layers: Mapping[str, nn.Linear]) -> None:
        """Our only gradient of the seed in `row` with SB3's only one."""
        ((before, norms, after),), ((theirs, norm, clipped),) = self.ours, self.theirs
        compare_layers("gradient", as_stack(stack, before), row, layers, theirs.__getitem__)
        close(f"norm, seed {row}", norms[row], norm)
        close(f"clipped norm, seed {row}", after[row].norm(), clipped)


# --- PPO

ENVS = {"CartPole-v1": "discrete", "Pendulum-v1": "continuous"}
OPTIONS = {"learning_rate": 3e-4, "gamma": 0.97, "gae_lambda": 0.9, "clip_range": 0.1, "max_grad_norm": 0.5}
ENTROPY_COEF, VALUE_COEF = 0.01, 0.25  # SB3's value loss lacks our factor ½: its coefficient is half of ours


def sb3_ppo(env: str, seed: int, num_epochs: int, num_minibatches: int, **options: Any) -> SB3PPO:
    """A model whose own `collect_rollouts` has filled its buffer."""
    envs = DummyVecEnv(
        [lambda n=n: Recorded(gymnasium.make(env), seed=10 * seed + n) for n in range(NUM_ENVS)]  # type: ignore[misc]
    )
    model = SB3PPO(
        "MlpPolicy",
        envs,
        n_steps=NUM_STEPS,
        batch_size=NUM_STEPS * NUM_ENVS // num_minibatches,
        n_epochs=num_epochs,
        ent_coef=ENTROPY_COEF,
        vf_coef=VALUE_COEF,
        seed=seed,
        device="cpu",
        **OPTIONS | options,
    )
    perturb(model.policy.parameters(), 0.1)  # away from the start's zero biases and near-uniform policy
    _, callback = model._setup_learn(NUM_STEPS * NUM_ENVS)
    model.collect_rollouts(envs, callback, model.rollout_buffer, NUM_STEPS)
    return model


def ppo_layers(model: SB3PPO) -> dict[str, nn.Linear]:
    policy, layers = model.policy, {}
    of_network = {
        "actor": [*policy.mlp_extractor.policy_net, policy.action_net],
        "critic": [*policy.mlp_extractor.value_net, policy.value_net],
    }
    for name, modules in of_network.items():
        linears = [module for module in modules if isinstance(module, nn.Linear)]
        layers |= {f"{name}.{n}": linear for n, linear in enumerate(linears)}
    return layers


def our_ppo(models: list[SB3PPO], num_epochs: int, num_minibatches: int, **options: Any) -> ppo.PPO:
    space = models[0].observation_space, models[0].action_space
    config = ppo.PPO.Config(
        num_steps=NUM_STEPS,
        num_epochs=num_epochs,
        num_minibatches=num_minibatches,
        anneal=False,
        entropy_coef=ENTROPY_COEF,
        value_coef=2 * VALUE_COEF,
        clip_value_loss=False,
        **OPTIONS | options,
    )
    agent = ppo.PPO(Setup(*space, SEEDS, NUM_ENVS, 10**6), config)
    for row, model in enumerate(models):
        copy_layers(agent.stack, row, ppo_layers(model))
        if hasattr(model.policy, "log_std"):
            agent.stack.named()["log_std.value"][row, 0] = model.policy.log_std.detach()
    return agent


def compare_ppo(agent: ppo.PPO, row: int, model: SB3PPO) -> None:
    compare_layers("parameters", agent.stack, row, ppo_layers(model), lambda parameter: parameter)
    if hasattr(model.policy, "log_std"):
        close(f"log σ, seed {row}", agent.stack.named()["log_std.value"][row, 0], model.policy.log_std)


def feed(agent: ppo.PPO, models: list[SB3PPO]) -> Transition:
    """The steps that SB3 took, through our memory."""
    for t in range(NUM_STEPS):
        actions = np.stack([model.rollout_buffer.actions[t] for model in models])
        if isinstance(models[0].action_space, gymnasium.spaces.Discrete):
            actions = actions[..., 0]
        steps = [[env.steps[t] for env in model.env.envs] for model in models]
        obs, reward, next_obs, terminated, truncated = (
            np.array([[step[field] for step in envs] for envs in steps]) for field in range(5)
        )
        agent.memory.add(Transition(obs, actions, reward, next_obs, terminated, truncated, {}))
    (batch,) = agent.memory.ready(0)
    ended = batch.terminated, batch.truncated & ~batch.terminated, batch.terminated & batch.truncated
    assert all(flags.any(1).any(1).all() for flags in ended), "every seed meets ends of every kind"
    return batch


def same_order(monkeypatch: pytest.MonkeyPatch, agent: ppo.PPO, num_epochs: int) -> list[Iterator[np.ndarray]]:
    """Our minibatches in an order of our choice; gives, for each seed, what `np.random.permutation` is to say."""
    order = agent.order.permutations(num_epochs, agent.batch_size)
    monkeypatch.setattr(agent.order, "permutations", lambda count, length: order)
    step, env = order // NUM_ENVS, order % NUM_ENVS
    return [iter(row) for row in env * NUM_STEPS + step]  # SB3 flattens a rollout env by env, we step by step


@pytest.fixture
def updated(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """One update on the same rollout by each: models, agent, our metrics, and the rollout's targets by both."""

    def update(
        env: str,
        num_epochs: int,
        num_minibatches: int,
        normalise: bool = True,
        step: int = 0,
        only_theirs: Mapping[str, Any] = {},
        only_ours: Mapping[str, Any] = {},
        **options: Any,
    ) -> Any:
        theirs = {"normalize_advantage": normalise, **only_theirs}
        ours = {"normalise_advantage": normalise, **only_ours}
        models = [sb3_ppo(env, seed, num_epochs, num_minibatches, **options, **theirs) for seed in SEEDS]
        agent = our_ppo(models, num_epochs, num_minibatches, **{**options, **ours})
        batch = feed(agent, models)
        their_targets = [(model.rollout_buffer.advantages, model.rollout_buffer.returns) for model in models]
        our_targets = []
        epochs = ppo.epochs

        def spy(orders: Any, num: int, size: int, *rollout: torch.Tensor) -> Any:
            our_targets.append(rollout[3:5])
            return epochs(orders, num, size, *rollout)

        monkeypatch.setattr(ppo, "epochs", spy)
        orders = same_order(monkeypatch, agent, num_epochs)
        metrics = agent.update(batch, step)
        for model, order in zip(models, orders, strict=True):
            monkeypatch.setattr(np.random, "permutation", lambda n, order=order: next(order))
            model.train()
            assert next(order, None) is None, "both made every pass"
        return models, agent, metrics, our_targets[0], their_targets

    return update


@pytest.mark.parametrize("env", ENVS, ids=ENVS.get)
@pytest.mark.agrees("ppo", "Stable-Baselines3")
def test_ppo_has_sb3_s_advantages_and_returns(updated: Callable[..., Any], env: str) -> None:
    models, _, metrics, ours, theirs = updated(env, 1, 1)
    for row, model in enumerate(models):
        for name, mine, expected in zip(("advantages", "returns"), ours, theirs[row], strict=True):
            close(f"{name}, seed {row}", mine[row].view(NUM_STEPS, NUM_ENVS), expected)
        unexplained = 1 - model.logger.name_to_value["train/explained_variance"]
        close("unexplained variance", 1 - metrics["losses/explained_variance"][row], unexplained)


@pytest.mark.parametrize("env", ENVS, ids=ENVS.get)
@pytest.mark.parametrize("normalise", [True, False], ids=["normalised advantages", "plain advantages"])
@pytest.mark.parametrize("max_grad_norm", [0.01, 1000.0], ids=["clipped gradient", "whole gradient"])
@pytest.mark.agrees("ppo", "Stable-Baselines3")
def test_ppo_has_sb3_s_loss_gradient_and_step_on_one_minibatch(
    monkeypatch: pytest.MonkeyPatch, env: str, max_grad_norm: float, normalise: bool
) -> None:
    """On parameters that are no longer those that acted, so that ratios are on every side of the clip range."""
    theirs, ours = {"normalize_advantage": normalise}, {"normalise_advantage": normalise}
    models = [sb3_ppo(env, seed, 1, 1, max_grad_norm=max_grad_norm, **theirs) for seed in SEEDS]
    for model in models:
        perturb(model.policy.parameters(), 0.05)
    agent = our_ppo(models, 1, 1, max_grad_norm=max_grad_norm, **ours)
    batch = feed(agent, models)
    old = {
        name: torch.from_numpy(np.stack([getattr(model.rollout_buffer, name) for model in models])).flatten(1)
        for name in ("log_probs", "advantages", "returns", "values")
    }
    flat_obs, flat_action = batch.obs.flatten(1, 2), batch.action.flatten(1, 2)
    loss, parts = agent.loss(flat_obs, flat_action, *old.values(), clip_range=agent.config.clip_range)
    gradients = Gradients(monkeypatch, optimisers)
    loss.sum().backward()
    optimisers.clip_by_norm(agent.stack.gradient, max_grad_norm)
    agent.optimiser.step()
    monkeypatch.setattr(np.random, "permutation", np.arange)
    for row, model in enumerate(models):
        gradients.theirs = []
        model.train()
        logged = model.logger.name_to_value
        assert 0 < logged["train/clip_fraction"] < 1
        # normalised advantages have mean 0 and deviation 1: their mean is measured against 1
        close(
            "policy loss", parts["policy_loss"][row], logged["train/policy_gradient_loss"], 1.0 if normalise else None
        )
        close("value loss", 2 * parts["value_loss"][row], logged["train/value_loss"])
        close("entropy", -parts["entropy"][row], logged["train/entropy_loss"])
        close("loss", loss[row], logged["train/loss"])
        close("approximate KL", targets.approx_kl(parts["log_ratio"])[row], logged["train/approx_kl"])
        gradients.compare(agent.stack, row, ppo_layers(model))
        compare_ppo(agent, row, model)
        if hasattr(model.policy, "log_std"):
            log_std = as_stack(agent.stack, gradients.ours[0][0]).named()["log_std.value"][row, 0]
            close("gradient of log σ", log_std, gradients.theirs[0][0][model.policy.log_std])


@pytest.mark.parametrize("env", ENVS, ids=ENVS.get)
@pytest.mark.parametrize("normalise", [True, False], ids=["normalised advantages", "plain advantages"])
@pytest.mark.agrees("ppo", "Stable-Baselines3")
def test_ppo_has_sb3_s_parameters_after_a_whole_update(updated: Callable[..., Any], env: str, normalise: bool) -> None:
    options = {"normalise": normalise, "learning_rate": 3e-3, "clip_range": 0.03}
    models, agent, metrics, _, _ = updated(env, 4, NUM_MINIBATCHES, **options)
    assert (metrics["losses/clipfrac"] > 0).all(), "the surrogate was clipped in every seed"
    for row, model in enumerate(models):
        compare_ppo(agent, row, model)


@pytest.mark.parametrize("hidden", [(9,), (9, 7, 20)], ids=["one layer", "three layers"])
@pytest.mark.agrees("ppo", "Stable-Baselines3")
def test_ppo_of_other_depths_has_sb3_s_parameters_after_a_whole_update(
    updated: Callable[..., Any], hidden: tuple[int, ...]
) -> None:
    layers = {"only_theirs": {"policy_kwargs": {"net_arch": list(hidden)}}, "only_ours": {"hidden": hidden}}
    models, agent, *_ = updated("CartPole-v1", 2, NUM_MINIBATCHES, **layers)
    assert len(ppo_layers(models[0])) == 2 * (len(hidden) + 1)
    for row, model in enumerate(models):
        compare_ppo(agent, row, model)


@pytest.mark.parametrize("env", ENVS, ids=ENVS.get)
@pytest.mark.agrees("ppo", "Stable-Baselines3")
def test_ppo_with_relu_has_sb3_s_parameters_after_a_whole_update(updated: Callable[..., Any], env: str) -> None:
    relu = {"only_theirs": {"policy_kwargs": {"activation_fn": nn.ReLU}}, "only_ours": {"activation": "relu"}}
    models, agent, *_ = updated(env, 2, NUM_MINIBATCHES, **relu)
    for row, model in enumerate(models):
        compare_ppo(agent, row, model)


@pytest.mark.agrees("ppo", "Stable-Baselines3")
def test_ppo_with_half_of_its_run_done_has_sb3_s_update_with_half_the_clip_range(updated: Callable[..., Any]) -> None:
    half = {"step": 500_000 + NUM_STEPS * NUM_ENVS - NUM_ENVS, "only_ours": {"clip_range": 0.06, "anneal_clip": True}}
    models, agent, metrics, *_ = updated("CartPole-v1", 4, NUM_MINIBATCHES, learning_rate=3e-3, clip_range=0.03, **half)
    assert (metrics["losses/clipfrac"] > 0).all()
    close("clip range", metrics["charts/clip_range"], torch.full((len(SEEDS),), 0.03))
    for row, model in enumerate(models):
        compare_ppo(agent, row, model)


class Metrics(dict[str, list[float]]):
    """A `loop.Listener` of the first seed's metrics."""

    due = 10**9

    def updated(self, metrics: Mapping[str, torch.Tensor]) -> None:
        for name, value in metrics.items():
            self.setdefault(name, []).append(value[0].item())

    def ended(self, env_step: int, episodes: Any) -> None: ...

    def tick(self, env_step: int) -> None: ...


def test_ppo_anneals_as_sb3_does_one_rollout_later() -> None:
    """SB3's linear schedules count the steps of a rollout before the update on it, ours (CleanRL's) do not."""
    rates, clips, num_rollouts = [], [], 6
    total = num_rollouts * NUM_ENVS * 16
    envs = DummyVecEnv([lambda: gymnasium.make("CartPole-v1")] * NUM_ENVS)
    model = SB3PPO("MlpPolicy", envs, lambda left: 1e-3 * left, 16, 64, 1, clip_range=lambda left: 0.3 * left)
    train = model.train

    def spy() -> None:
        train()
        rates.append(model.logger.name_to_value["train/learning_rate"])
        clips.append(model.logger.name_to_value["train/clip_range"])

    model.train = spy  # type: ignore[method-assign]
    model.learn(total)
    batch = find_env("CartPole-v1").batch(len(SEEDS) * NUM_ENVS)
    env = VectorEnv(batch, SEEDS, NUM_ENVS)
    config = ppo.PPO.Config(1e-3, num_steps=16, num_minibatches=1, num_epochs=1, clip_range=0.3, anneal_clip=True)
    agent = ppo.PPO(Setup(batch.observation_space, batch.action_space, SEEDS, NUM_ENVS, total), config)
    env.reset()
    ours = Metrics()
    loop.train(agent, env, total, ours, loop.EpisodeCounter(len(SEEDS), NUM_ENVS))
    assert len(clips) == num_rollouts
    assert ours["charts/clip_range"] == pytest.approx([0.3, *clips[:-1]], rel=1e-6)
    assert ours["charts/learning_rate"] == pytest.approx([1e-3, *rates[:-1]], rel=1e-6)
    assert clips[-1] == rates[-1] == 0.0


def test_the_clipped_value_loss_has_the_annealed_clip_range_too() -> None:
    generator = torch.Generator().manual_seed(0)
    spaces = gymnasium.spaces.Box(-1, 1, (3,)), gymnasium.spaces.Box(-1, 1, (2,))
    obs, action = torch.randn(3, 8, 3, generator=generator), torch.randn(3, 8, 2, generator=generator)
    rest = [torch.randn(3, 8, generator=generator) for _ in range(4)]
    found = []
    for clip_range, given in ((0.5, 0.1), (0.1, 0.1), (0.5, 0.5)):
        agent = ppo.PPO(Setup(*spaces, SEEDS, 1, 1000), ppo.PPO.Config(num_steps=8, clip_range=clip_range))
        found.append(agent.loss(obs, action, *rest, clip_range=given)[1])
    for name in ("policy_loss", "value_loss"):
        assert torch.equal(found[0][name], found[1][name])
        assert not torch.equal(found[0][name], found[2][name])


@pytest.mark.parametrize("as_terminated", [True, False])
def test_ppo_s_advantages_at_a_truncation_are_those_of_a_plain_loop(
    as_terminated: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As code has it that knows one kind of end: nothing comes after it. Else V of the true successor does."""
    spaces, (steps, envs) = (gymnasium.spaces.Box(-9, 9, (2,)), gymnasium.spaces.Discrete(2)), (8, 3)
    options: dict[str, Any] = {"num_steps": steps, "num_minibatches": 1, "num_epochs": 1, "normalise_advantage": False}
    config = ppo.PPO.Config(**options, gamma=0.9, gae_lambda=0.8, truncated_as_terminated=as_terminated)
    agent = ppo.PPO(Setup(*spaces, SEEDS, envs, 10_000), config)
    generator = torch.Generator().manual_seed(1)
    shape = len(SEEDS), steps, envs
    obs, next_obs = torch.randn(2, *shape, 2, generator=generator)
    terminated, truncated = torch.rand(2, *shape, generator=generator) < 0.2
    reward, action = torch.randn(shape, generator=generator), torch.randint(2, shape, generator=generator)
    value, after = (agent.value(x.flatten(1, 2)).detach().view(shape).double().numpy() for x in (obs, next_obs))
    ends = (terminated | truncated).numpy()
    gone = ends if as_terminated else terminated.numpy()
    expected, following = np.zeros(shape), np.zeros((len(SEEDS), envs))
    for t in reversed(range(steps)):
        delta = reward[:, t].double().numpy() + 0.9 * ~gone[:, t] * after[:, t] - value[:, t]
        following = expected[:, t] = delta + 0.9 * 0.8 * ~ends[:, t] * following

    met = []
    real = agent.loss
    monkeypatch.setattr(agent, "loss", lambda *parts, **options: met.append(parts) or real(*parts, **options))
    agent.update(Transition(obs, action, reward, next_obs, terminated, truncated, {}), 0)
    seen, _, _, advantage, value_target, _ = met[0]
    for row in range(len(SEEDS)):
        place = [(obs[row].flatten(0, 1) == one).all(1).nonzero().item() for one in seen[row]]
        np.testing.assert_allclose(advantage[row], expected[row].ravel()[place], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(value_target[row], (expected + value)[row].ravel()[place], rtol=1e-5, atol=1e-5)
    assert (truncated & ~terminated).any()


def test_ppo_starts_from_sb3_s_distributions() -> None:
    """log σ as asked for; without orthogonal weights, torch's uniform ones, biases too."""
    options = {"ortho_init": False, "log_std_init": -1.5}
    theirs = SB3PPO("MlpPolicy", "Pendulum-v1", policy_kwargs=options, seed=0, device="cpu")
    setup = Setup(theirs.observation_space, theirs.action_space, SEEDS, 1, 1000)
    ours = ppo.PPO(setup, ppo.PPO.Config(first_weights="uniform", log_std_init=-1.5))
    named = ours.stack.named()
    assert (named["log_std.value"][:, 0, :1] == -1.5).all()
    assert (theirs.policy.log_std == -1.5).all()
    for name, linear in ppo_layers(theirs).items():
        network, layer = name.split(".")
        fan_out, fan_in = linear.weight.shape
        for part, expected in (("weight", linear.weight), ("bias", linear.bias)):
            found = named[f"{network}.{part}_{layer}"][:, : fan_in if part == "weight" else 1, :fan_out]
            assert found.abs().max() <= 1 / math.sqrt(fan_in)
            assert expected.abs().max() <= 1 / math.sqrt(fan_in)
            if expected.numel() > 60:  # uniform: the variance is a third of the bound's square
                for values in (found, expected):
                    assert values.var().item() == pytest.approx(1 / (3 * fan_in), rel=0.35)


def test_a_seed_of_ppo_stops_after_the_epoch_in_which_its_divergence_passes_the_target(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two minibatches an epoch, of ratios that are the same everywhere: KL is e^x − 1 − x of their logarithm x."""
    spaces, target = (gymnasium.spaces.Box(-1, 1, (3,)), gymnasium.spaces.Discrete(2)), 0.01
    config = ppo.PPO.Config(num_steps=8, num_minibatches=2, num_epochs=5, target_kl=target)
    agent = ppo.PPO(Setup(*spaces, (1, 2, 3), 1, 1000), config)
    after_epoch = [(0.9, 1.1, 0.5), (1.1, 9.0, 0.99), (9.0, 9.0, 1.01)]  # in targets; of the stopped nothing is asked
    active: list[Any] = []

    def step(*minibatch: torch.Tensor, **named: Any) -> dict[str, torch.Tensor]:
        active.append(named["active"])
        kls = [target * kl for kl in after_epoch[(len(active) - 1) // 2]]
        log_ratio = [brentq(lambda x, kl=kl: math.exp(x) - 1 - x - kl, 0, 2) for kl in kls]
        return {"log_ratio": torch.tensor(log_ratio)[:, None].expand(3, 4)}

    monkeypatch.setattr(agent, "gradient_step", step)
    no = torch.zeros(3, 8, 1, dtype=torch.bool)
    obs, action = torch.zeros(3, 8, 1, 3), torch.zeros(3, 8, 1, dtype=torch.long)
    metrics = agent.update(Transition(obs, action, torch.zeros(3, 8, 1), obs, no, no, {}), 0)
    all_go, two, one = (True, True, True), (True, False, True), (False, False, True)
    assert active == [all_go, all_go, two, two, one, one]
    close("KL", metrics["losses/approx_kl"], target * torch.tensor([1.1, 1.1, 1.01]), 1.0)


def test_ppo_refuses_minibatches_of_one_transition() -> None:
    """The deviation of one advantage is not a number; SB3 refuses batches of one."""
    spaces = gymnasium.spaces.Box(-1, 1, (3,)), gymnasium.spaces.Discrete(2)
    config = ppo.PPO.Config(num_steps=4, num_minibatches=4, num_epochs=1)
    with pytest.raises(ValueError, match="one transition has no deviation"):
        ppo.PPO(Setup(*spaces, SEEDS, 1, 1000), config)


# --- DQN

HIDDEN, BATCH, GAMMA = (120, 84), 64, 0.9


def sb3_dqn(seed: int, **options: Any) -> SB3DQN:
    model = SB3DQN(
        "MlpPolicy",
        "CartPole-v1",
        policy_kwargs={"net_arch": list(HIDDEN)},
        gamma=GAMMA,
        buffer_size=100,
        seed=seed,
        device="cpu",
        **{"learning_rate": 5e-4, **options},
    )
    perturb(model.q_net_target.parameters(), 0.1)  # so that the two networks cannot be mistaken
    model._setup_learn(1000)
    return model


def dqn_layers(network: Any) -> dict[str, nn.Linear]:
    return {f"q.{layer}": network.q_net[2 * layer] for layer in range(3)}


SB3_DQN = {
    "learning_rate": 5e-4, "target_every": 10**6, "loss": "huber", "max_grad_norm": 10.0, "learning_starts": 0,
    "train_every": 1,
}  # fmt: skip


def our_dqn(models: list[SB3DQN], **options: Any) -> dqn.DQN:
    space = models[0].observation_space, models[0].action_space
    config = dqn.DQN.Config(gamma=GAMMA, hidden=HIDDEN, **{**SB3_DQN, **options})
    agent = dqn.DQN(Setup(*space, SEEDS, 1, 10**6), config)
    for row, model in enumerate(models):
        copy_layers(agent.online, row, dqn_layers(model.q_net))
        copy_layers(agent.target, row, dqn_layers(model.q_net_target))
    return agent


def dqn_batch(step: int, reward_scale: float = 3.0) -> Transition:
    """Errors on both sides of the Huber loss's bend; one in five transitions terminated, one in five truncated."""
    generator = torch.Generator().manual_seed(step)
    obs, next_obs = torch.randn(2, len(SEEDS), BATCH, 4, generator=generator)
    action = torch.randint(2, (len(SEEDS), BATCH), generator=generator)
    reward = reward_scale * torch.randn(len(SEEDS), BATCH, generator=generator)
    terminated, truncated = torch.rand(2, len(SEEDS), BATCH, generator=generator) < 0.2
    return Transition(obs, action, reward, next_obs, terminated, truncated, {})


def sb3_batch(batch: Transition, row: int) -> ReplayBufferSamples:
    """As SB3's buffer gives it: `dones` without the time-outs."""
    dones = batch.terminated[row].float()
    columns = (batch.action[row], batch.next_obs[row], dones, batch.reward[row])
    return ReplayBufferSamples(batch.obs[row], *(x.unsqueeze(1) if x.dim() == 1 else x for x in columns))


def train_sb3(monkeypatch: pytest.MonkeyPatch, model: SB3DQN, batch: Transition, row: int) -> None:
    monkeypatch.setattr(model.replay_buffer, "sample", lambda *_, **__: sb3_batch(batch, row))
    model.train(gradient_steps=1, batch_size=BATCH)


@pytest.mark.parametrize("max_grad_norm", [0.1, 10.0, 1000.0])
@pytest.mark.agrees("dqn", "Stable-Baselines3")
def test_dqn_has_sb3_s_target_loss_gradient_and_step(monkeypatch: pytest.MonkeyPatch, max_grad_norm: float) -> None:
    models = [sb3_dqn(seed, max_grad_norm=max_grad_norm) for seed in SEEDS]
    agent = our_dqn(models, max_grad_norm=max_grad_norm)
    gradients = Gradients(monkeypatch, optimisers)
    regressed = []
    huber = nn.functional.smooth_l1_loss

    def spy(q: torch.Tensor, target: torch.Tensor, **options: Any) -> torch.Tensor:
        regressed.append((q.detach(), target))
        return huber(q, target, **options)

    monkeypatch.setattr(nn.functional, "smooth_l1_loss", spy)
    batch = dqn_batch(0)
    metrics = agent.update(batch, 0)
    (q, target), *_ = regressed
    assert ((q - target).abs() < 1).any()
    assert ((q - target).abs() > 1).any()
    for row, model in enumerate(models):
        gradients.theirs = []
        train_sb3(monkeypatch, model, batch, row)
        close("Q", q[row], regressed[-1][0][:, 0])
        close("target", target[row], regressed[-1][1][:, 0])
        close("loss", metrics["losses/td_loss"][row], model.logger.name_to_value["train/loss"])
        gradients.compare(agent.online, row, dqn_layers(model.q_net))
        compare_layers("parameters", agent.online, row, dqn_layers(model.q_net), lambda parameter: parameter)


@pytest.mark.parametrize("tau", [1.0, 0.3])
@pytest.mark.agrees("dqn", "Stable-Baselines3")
def test_dqn_has_sb3_s_networks_after_many_steps_and_target_updates(
    monkeypatch: pytest.MonkeyPatch, tau: float
) -> None:
    models = [sb3_dqn(seed, tau=tau, target_update_interval=5) for seed in SEEDS]
    agent = our_dqn(models, tau=tau, target_every=5)
    for step in range(20):
        before = agent.target.matrix.clone()
        agent.update(dqn_batch(step), step)
        assert torch.equal(agent.target.matrix, before) == ((step + 1) % 5 != 0), "the target moves when it is due"
        for row, model in enumerate(models):
            train_sb3(monkeypatch, model, dqn_batch(step), row)
            model._on_step()
    for row, model in enumerate(models):
        for stack, network in ((agent.online, model.q_net), (agent.target, model.q_net_target)):
            compare_layers("parameters", stack, row, dqn_layers(network), lambda parameter: parameter)


@pytest.mark.agrees("dqn", "Stable-Baselines3")
def test_dqn_has_sb3_s_networks_where_the_target_is_copied_more_often_than_gradients_are_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As rl-zoo3 has it on CartPole: several gradient steps at a time, and a target copied between any two times."""
    models = [sb3_dqn(seed, target_update_interval=3) for seed in SEEDS]
    for model in models:
        model.q_net_target.load_state_dict(model.q_net.state_dict())
    agent = our_dqn(models, target_every=3, train_every=8, gradient_steps=4)
    for step in range(40):
        for model in models:
            model._on_step()
        if (step + 1) % 8 == 0:
            for gradient_step in range(4):
                batch = dqn_batch(100 * step + gradient_step)
                agent.update(batch, step)
                for row, model in enumerate(models):
                    train_sb3(monkeypatch, model, batch, row)
    for row, model in enumerate(models):
        compare_layers("parameters", agent.online, row, dqn_layers(model.q_net), lambda parameter: parameter)
        for _ in range(3):
            model._on_step()
        compare_layers("target", agent.target, row, dqn_layers(model.q_net_target), lambda parameter: parameter)


def q_values(stack: Stack, row: int, obs: np.ndarray) -> np.ndarray:
    """Q(s, ·) of one observation in float64, one unit at a time."""
    named, x = stack.named(), obs.astype(np.float64)
    for layer, width in enumerate((*HIDDEN, 2)):
        weight, bias = (named[f"q.{part}_{layer}"][row].detach().double().numpy() for part in ("weight", "bias"))
        units = [sum(x[i] * weight[i, j] for i in range(len(x))) + bias[0, j] for j in range(width)]
        x = np.array(units if layer == 2 else [max(0.0, unit) for unit in units])
    return x


@functools.cache
def looped() -> list[np.ndarray]:
    """Q' of the successors, Q of them, and Q of the observations, each `[S, B, 2]`, of the weights and batch below."""
    agent, batch = our_dqn([sb3_dqn(seed) for seed in SEEDS]), dqn_batch(0)
    asked = (agent.target, batch.next_obs), (agent.online, batch.next_obs), (agent.online, batch.obs)
    rows = range(len(SEEDS))
    return [np.array([[q_values(stack, row, one) for one in obs[row].numpy()] for row in rows]) for stack, obs in asked]


@pytest.mark.parametrize("double", [False, True], ids=["max", "double"])
@pytest.mark.parametrize("loss", ["huber", "squared"])
@pytest.mark.agrees("dqn", "a float64 loop")
def test_dqn_s_losses_equal_a_float64_loop(loss: str, double: bool) -> None:
    models = [sb3_dqn(seed) for seed in SEEDS]
    agent, batch = our_dqn(models, loss=loss, double=double), dqn_batch(0)
    found, _ = agent.loss(batch)
    chose_otherwise = 0
    for row in range(len(SEEDS)):
        total = 0.0
        for i in range(BATCH):
            next_q, online, present = (q[row, i] for q in looped())
            chose_otherwise += int(next_q.argmax() != online.argmax())
            next_value = next_q[online.argmax()] if double else next_q.max()
            target = batch.reward[row, i].item() + (0.0 if batch.terminated[row, i] else GAMMA * next_value)
            q = present[batch.action[row, i]]
            error = abs(q - target)
            total += error**2 if loss == "squared" else 0.5 * error**2 if error < 1 else error - 0.5
        close(f"loss, seed {row}", found[row], total / BATCH)
    assert chose_otherwise > 10, "the two networks often choose another action, so that max and double differ"


@pytest.mark.parametrize("double", [False, True], ids=["max", "double"])
@pytest.mark.parametrize("loss", ["huber", "squared"])
@pytest.mark.agrees("dqn", "a float64 loop")
def test_dqn_s_gradients_equal_float64_autograd(loss: str, double: bool) -> None:
    models = [sb3_dqn(seed) for seed in SEEDS]
    agent, batch = our_dqn(models, loss=loss, double=double), dqn_batch(0)
    agent.loss(batch)[0].sum().backward()
    gradient = as_stack(agent.online, agent.online.gradient)
    for row, model in enumerate(models):
        online, target_net = model.q_net.double(), model.q_net_target.double()
        with torch.no_grad():
            chooser = online if double else target_net
            best = chooser.q_net(batch.next_obs[row].double()).argmax(-1, keepdim=True)
            next_value = target_net.q_net(batch.next_obs[row].double()).gather(-1, best)[:, 0]
            target = batch.reward[row] + GAMMA * next_value * ~batch.terminated[row]
        error = online.q_net(batch.obs[row].double())[torch.arange(BATCH), batch.action[row]] - target
        bent = torch.where(error.abs() < 1, 0.5 * error**2, error.abs() - 0.5)
        (error**2 if loss == "squared" else bent).mean().backward()
        compare_layers("gradient", gradient, row, dqn_layers(model.q_net), lambda parameter: parameter.grad)
