"""A2C and TRPO against Stable-Baselines3 and sb3-contrib, one `train()` of theirs and one update of ours; REINFORCE.

As in test_against_sb3.py: from the same weights and rollout, three seeds in one stack of ours with a model each of
theirs, every tensor to a relative error of 1e-5 of its largest number. TRPO's step is compared in float64: in float32
conjugate gradient magnifies rounding, in either code.
"""

import warnings
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from sb3_contrib import TRPO as SB3TRPO
from sb3_contrib.common import utils as sb3_contrib_utils
from sb3_contrib.trpo import trpo as sb3_trpo_module
from stable_baselines3 import A2C as SB3A2C
from stable_baselines3.common import policies as sb3_policies
from stable_baselines3.common.sb2_compat.rmsprop_tf_like import RMSpropTFLike
from stable_baselines3.common.vec_env import DummyVecEnv
from test_against_sb3 import (
    ENVS,
    NUM_ENVS,
    NUM_STEPS,
    SEEDS,
    Gradients,
    Recorded,
    as_stack,
    close,
    compare_layers,
    copy_layers,
    feed,
    perturb,
    ppo_layers,
)
from torch import nn

from rlrepro.actor_critic import ActorCritic
from rlrepro.agent import Setup, Transition, UnsupportedSpace
from rlrepro.agents import a2c, reinforce, trpo
from rlrepro.conjugate_gradient import conjugate_gradient
from rlrepro.distributions import policy_for
from rlrepro.errors import AgentFault
from rlrepro.networks import MLP, Constant
from rlrepro.seeds import Stack

pytestmark = pytest.mark.usefixtures("one_thread")

OPTIONS: dict[str, Any] = {"learning_rate": 3e-3, "gamma": 0.97, "gae_lambda": 0.9}


def collected(algorithm: Any, env: str, seed: int, **options: Any) -> Any:
    """A model whose own `collect_rollouts` has filled its buffer."""
    envs = DummyVecEnv(
        [lambda n=n: Recorded(gymnasium.make(env), seed=10 * seed + n) for n in range(NUM_ENVS)]  # type: ignore[misc]
    )
    model = algorithm("MlpPolicy", envs, n_steps=NUM_STEPS, seed=seed, device="cpu", **OPTIONS | options)
    torch.manual_seed(seed)
    perturb(model.policy.parameters(), 0.1)  # away from the start's zero biases and near-uniform policy
    model.policy.action_net.bias.data.add_(0.3)  # one number for Pendulum, and not one near 0: errors are relative
    _, callback = model._setup_learn(NUM_STEPS * NUM_ENVS)
    model.collect_rollouts(envs, callback, model.rollout_buffer, NUM_STEPS)
    return model


def layers(model: Any, *networks: str) -> dict[str, nn.Linear]:
    return {name: layer for name, layer in ppo_layers(model).items() if name.split(".")[0] in networks}


def copy_weights(agent: ActorCritic, models: list[Any]) -> None:
    for row, model in enumerate(models):
        for stack, network in ((agent.stack, "actor"), (agent.critic_stack, "critic")):
            copy_layers(stack, row, layers(model, network))
        if hasattr(model.policy, "log_std"):
            agent.stack.named()["log_std.value"][row, 0] = model.policy.log_std.detach()


def compare_weights(agent: ActorCritic, row: int, model: Any) -> None:
    for stack, network in ((agent.stack, "actor"), (agent.critic_stack, "critic")):
        compare_layers("parameters", stack, row, layers(model, network), lambda parameter: parameter)
    if hasattr(model.policy, "log_std"):
        close(f"log σ, seed {row}", agent.stack.named()["log_std.value"][row, 0], model.policy.log_std)


# --- A2C

TF_LIKE = {"optimizer_class": RMSpropTFLike, "optimizer_kwargs": {"alpha": 0.99, "eps": 1e-5}}
OPTIMISERS: dict[str, dict[str, Any]] = {
    "rmsprop": {},
    "rmsprop_tf": {"use_rms_prop": False, "policy_kwargs": TF_LIKE},
    "adam": {"use_rms_prop": False},
}


def our_a2c(models: list[Any], **options: Any) -> a2c.A2C:
    config = a2c.A2C.Config(num_steps=NUM_STEPS, entropy_coef=0.02, value_coef=0.3, **OPTIONS | options)
    spaces = models[0].observation_space, models[0].action_space
    agent = a2c.A2C(Setup(*spaces, SEEDS, NUM_ENVS, 10**6), config)
    copy_weights(agent, models)
    return agent


@pytest.mark.agrees("a2c", "Stable-Baselines3")
@pytest.mark.parametrize("env", ENVS, ids=ENVS.get)
@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_a2c_has_sb3_s_loss_gradient_and_parameters(monkeypatch: pytest.MonkeyPatch, env: str, optimiser: str) -> None:
    normalise = optimiser == "adam"
    theirs = {"ent_coef": 0.02, "vf_coef": 0.3, "normalize_advantage": normalise, **OPTIMISERS[optimiser]}
    models = [collected(SB3A2C, env, seed, **theirs) for seed in SEEDS]
    agent = our_a2c(models, optimiser=optimiser, normalise_advantage=normalise)
    gradients = Gradients(monkeypatch, a2c)
    metrics = agent.update(feed(agent, models), 0)  # type: ignore[arg-type]
    for row, model in enumerate(models):
        gradients.theirs = []
        model.train()
        logged = model.logger.name_to_value
        # normalised advantages have mean 0 and deviation 1: their mean is measured against 1
        scale = 1.0 if normalise else None
        close("policy loss", metrics["losses/policy_loss"][row], logged["train/policy_loss"], scale)
        close("value loss", metrics["losses/value_loss"][row], logged["train/value_loss"])
        close("entropy", -metrics["losses/entropy"][row], logged["train/entropy_loss"])
        explained = 1 - metrics["losses/explained_variance"][row]
        close("unexplained variance", explained, 1 - logged["train/explained_variance"])
        gradients.compare(agent.stack, row, ppo_layers(model))
        compare_weights(agent, row, model)


def test_a2c_with_lambda_1_regresses_on_n_step_returns() -> None:
    """Algorithm S3 by hand: R from the last step back, V of the successor where the clock ran out."""
    agent = a2c.A2C(Setup(gymnasium.spaces.Box(-9, 9, (2,)), gymnasium.spaces.Discrete(2), (1,), 1, 100),
                    a2c.A2C.Config(num_steps=4, gamma=0.5))  # fmt: skip
    with torch.no_grad():
        for parameter in agent.stack.named().values():
            parameter.zero_()
        agent.stack.named()["critic.bias_2"][0, 0, 0] = 8.0  # V = 8 everywhere
    obs = torch.zeros(1, 4, 1, 2)
    flags = torch.tensor([[[False], [True], [False], [False]]])  # the second step is terminal
    reward = torch.tensor([[[1.0], [2.0], [3.0], [4.0]]])
    for truncated, last in ((torch.zeros_like(flags), 8.0), (flags.roll(1, 1), 8.0)):
        batch = Transition(obs, torch.zeros(1, 4, 1, dtype=torch.long), reward, obs, flags, truncated, {})
        third = 3 + 0.5 * last if truncated.any() else 3 + 0.5 * (4 + 0.5 * last)
        returns = torch.tensor([1 + 0.5 * 2, 2, third, 4 + 0.5 * last])
        _, metrics = agent.loss(batch)
        close("value loss", metrics["losses/value_loss"][0], (returns - 8).square().mean())
        close("policy loss", metrics["losses/policy_loss"][0], -np.log(0.5) * (returns - 8).mean())


def test_a2c_with_separate_optimisers_is_two_learners() -> None:
    """As MushroomRL's: the policy's gradient alone is clipped, each RMSprop has its own step size and ε.

    Half of the run is over, and with it half of both step sizes.
    """
    spaces = gymnasium.spaces.Box(-9, 9, (3,)), gymnasium.spaces.Box(-1, 1, (2,))
    options = {"separate": True, "optimiser": "rmsprop", "max_grad_norm": 0.1, "eps": 3e-3, "entropy_coef": 0.01,
               "value_coef": 1.0, "value_learning_rate": 2e-3, "first_weights": "xavier", "anneal": True,
               "rms_alpha": 0.9}  # fmt: skip
    agent = a2c.A2C(Setup(*spaces, SEEDS, NUM_ENVS, 10**6), a2c.A2C.Config(num_steps=8, **options))
    rng, shape = np.random.default_rng(0), (len(SEEDS), 8, NUM_ENVS)
    obs, next_obs = (torch.from_numpy(rng.standard_normal((*shape, 3), np.float32)) for _ in range(2))
    action = torch.from_numpy(rng.standard_normal((*shape, 2), np.float32))
    ends = torch.from_numpy(rng.random(shape) < 0.1)
    reward = torch.from_numpy(rng.standard_normal(shape, np.float32))
    batch = Transition(obs, action, reward, next_obs, ends, torch.zeros_like(ends), {})
    stacks = agent.stack, agent.critic_stack
    before = [stack.matrix.detach().clone() for stack in stacks]
    agent.loss(batch)[0].sum().backward()
    gradients = [stack.gradient.clone() for stack in stacks]
    metrics = agent.update(batch, 500_000 + 7 * NUM_ENVS)  # the env steps before the rollout's last
    close("learning rate", metrics["charts/learning_rate"], torch.full((len(SEEDS),), 3.5e-4))
    norm = gradients[0].norm(dim=1, keepdim=True)
    assert (norm > 0.1).all()
    gradients[0] *= 0.1 / (norm + 1e-6)
    for stack, start, gradient, rate, eps in zip(stacks, before, gradients, (3.5e-4, 1e-3), (3e-3, 1e-5), strict=True):
        step = rate * gradient / ((0.1 * gradient.square()).sqrt() + eps)
        close("parameters", stack.matrix, start - step)
    assert set(agent.get_policy()) == set(agent.stack.named())


@pytest.mark.parametrize("separate", [False, True])
def test_a2c_refuses_a_loss_of_all_seeds_together(separate: bool) -> None:
    """Each seed's gradient would be divided by their number."""

    class Together(a2c.A2C):
        def loss(self, batch: Transition) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
            loss, metrics = super().loss(batch)
            return loss.mean() if self.together else loss, metrics

        together = False

    spaces = gymnasium.spaces.Box(-9, 9, (3,)), gymnasium.spaces.Discrete(3)
    agent = Together(Setup(*spaces, SEEDS, 1, 100), a2c.A2C.Config(num_steps=2, separate=separate))
    obs, shape = torch.ones(3, 2, 1, 3), (3, 2, 1)
    ends = torch.zeros(2, *shape, dtype=torch.bool)
    batch = Transition(obs, torch.zeros(shape, dtype=torch.int64), torch.ones(shape), obs, *ends, {})
    agent.update(batch, 0)
    agent.together = True
    with pytest.raises(AgentFault, match=r"a loss is of shape \[\], not \[S\] = \[3\]"):
        agent.update(batch, 0)


def test_a2c_on_images_learns_a_seed_alone_as_among_others() -> None:
    image, actions = gymnasium.spaces.Box(0, 255, (36, 36, 1), np.uint8), gymnasium.spaces.Discrete(3)

    def learnt(seeds: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
        agent = a2c.A2C(Setup(image, actions, seeds, 2, 100), a2c.A2C.Config(num_steps=3))
        fields = []
        for seed in seeds:
            rng = np.random.default_rng(seed)
            obs, next_obs = rng.integers(0, 255, (2, 3, 2, 36, 36, 1), np.uint8)
            ends = rng.random((2, 3, 2)) < 0.3
            fields.append((obs, rng.integers(0, 3, (3, 2)), rng.random((3, 2), np.float32), next_obs, *ends))
        start = agent.stack.matrix.detach().clone()
        agent.update(Transition(*(torch.from_numpy(np.stack(field)) for field in zip(*fields, strict=True)), {}), 0)
        return agent.stack.matrix.detach(), start

    every, start = learnt(SEEDS)
    assert (every != start).any(1).all()
    assert torch.equal(learnt(SEEDS[1:2])[0][0], every[1])
    setup = Setup(image, actions, SEEDS, 2, 100)
    with pytest.raises(UnsupportedSpace, match="where policy and value function are separate: on images they share"):
        a2c.A2C(setup, a2c.A2C.Config(separate=True))
    with pytest.raises(UnsupportedSpace, match="on images they share"):
        ActorCritic(setup, (8,), separate=True)


# --- TRPO


def sb3_trpo(env: str, seed: int, **options: Any) -> SB3TRPO:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a last minibatch that is smaller
        return collected(SB3TRPO, env, seed, batch_size=100, n_critic_updates=3, **options)


def our_trpo(models: list[Any], **options: Any) -> trpo.TRPO:
    config = trpo.TRPO.Config(
        num_steps=NUM_STEPS,
        batch_size=100,
        num_value_epochs=3,
        value_learning_rate=OPTIONS["learning_rate"],
        **{name: OPTIONS[name] for name in ("gamma", "gae_lambda")} | options,
    )
    spaces = models[0].observation_space, models[0].action_space
    agent = trpo.TRPO(Setup(*spaces, SEEDS, NUM_ENVS, 10**6), config)
    copy_weights(agent, models)
    return agent


@pytest.fixture
def _float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def begin_at_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    """sb3-contrib begins conjugate gradient at a little noise, ours at 0, as the paper."""
    monkeypatch.setattr(sb3_contrib_utils.th, "randn_like", torch.zeros_like)


@pytest.mark.agrees("trpo", "sb3-contrib")
@pytest.mark.parametrize("env", ENVS, ids=ENVS.get)
def test_trpo_has_sb3_contrib_s_parameters_after_a_whole_update(monkeypatch: pytest.MonkeyPatch, env: str) -> None:
    models = [sb3_trpo(env, seed, cg_damping=1.0) for seed in SEEDS]
    begin_at_zero(monkeypatch)
    agent = our_trpo(models, cg_damping=1.0)
    batch = feed(agent, models)  # type: ignore[arg-type]
    order = agent.order.permutations(3, NUM_STEPS * NUM_ENVS)
    monkeypatch.setattr(agent.order, "permutations", lambda count, length: order)
    metrics = agent.update(batch, 0)
    theirs = order % NUM_ENVS * NUM_STEPS + order // NUM_ENVS  # SB3 flattens a rollout env by env, we step by step
    for row, model in enumerate(models):
        orders = iter([np.arange(NUM_STEPS * NUM_ENVS), *theirs[row]])
        monkeypatch.setattr(np.random, "permutation", lambda n, orders=orders: next(orders))
        model.train()
        logged = model.logger.name_to_value
        assert logged["train/is_line_search_success"]
        close("surrogate", metrics["losses/surrogate"][row], logged["train/policy_objective"], 1.0)  # in advantages
        explained = 1 - metrics["losses/explained_variance"][row]
        close("unexplained variance", explained, 1 - logged["train/explained_variance"])
        compare_weights(agent, row, model)


# name: (sb3-contrib's options, ours, the lengths of step that the line search must have come to in some seed)
STEPS: dict[str, tuple[dict[str, Any], dict[str, Any], Callable[[torch.Tensor], bool]]] = {
    "longest": ({}, {}, lambda length: bool((length == 1).all())),
    "shortened": (
        {"target_kl": 0.3, "cg_damping": 0.01, "cg_max_steps": 5},
        {"target_kl": 0.3, "cg_damping": 0.01, "cg_steps": 5},
        lambda length: bool(((length > 0) & (length < 1)).any()),
    ),
    "none": (
        {"target_kl": 0.3, "cg_damping": 0.01, "cg_max_steps": 5, "line_search_max_iter": 1},
        {"target_kl": 0.3, "cg_damping": 0.01, "cg_steps": 5, "line_search_steps": 1},
        lambda length: bool((length == 0).any()),
    ),
    "fifty steps of conjugate gradient": (
        {"cg_max_steps": 50},
        {"cg_steps": 50},
        lambda length: True,
    ),
}


@pytest.mark.agrees("trpo", "sb3-contrib")
@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:invalid value")  # of its critic, which is not fitted
@pytest.mark.usefixtures("_float64")
@pytest.mark.parametrize("env", ENVS, ids=ENVS.get)
@pytest.mark.parametrize("case", STEPS)
def test_trpo_s_step_is_sb3_contrib_s_in_float64(monkeypatch: pytest.MonkeyPatch, env: str, case: str) -> None:
    theirs, ours, expected = STEPS[case]
    monkeypatch.setattr(sb3_policies, "preprocess_obs", lambda obs, *args, **options: obs)  # it makes a float32 of it
    # The paper's bound is of KL(old ‖ new), sb3-contrib's of KL(new ‖ old); their Hessians at θ_old are the same.
    divergence = sb3_trpo_module.kl_divergence
    monkeypatch.setattr(sb3_trpo_module, "kl_divergence", lambda new, old: divergence(old, new))
    torch.set_default_dtype(torch.float32)
    models = [sb3_trpo(env, seed, **theirs) for seed in SEEDS]
    torch.set_default_dtype(torch.float64)
    for model in models:
        model.policy.double()
        model.n_critic_updates = 0
    begin_at_zero(monkeypatch)
    agent = our_trpo(models, **ours)
    obs, action, advantage = ([] for _ in range(3))
    for model in models:
        buffer = model.rollout_buffer
        buffer.to_torch = lambda array, copy=True: torch.from_numpy(array).double()
        obs.append(torch.from_numpy(buffer.swap_and_flatten(buffer.observations)).double())
        action.append(torch.from_numpy(buffer.swap_and_flatten(buffer.actions)).double())
        advantages = torch.from_numpy(buffer.swap_and_flatten(buffer.advantages)).double()[:, 0]
        advantage.append((advantages - advantages.mean()) / (advantages.std() + 1e-8))
        with torch.no_grad():
            acted = action[-1][:, 0] if env == "CartPole-v1" else action[-1]
            log_prob = model.policy.get_distribution(obs[-1]).log_prob(acted)
        buffer.log_probs = log_prob.view(NUM_ENVS, NUM_STEPS).T.numpy()
    actions = torch.stack(action)[..., 0].long() if env == "CartPole-v1" else torch.stack(action)
    before = agent.stack.matrix.detach().clone()
    metrics = agent.improve(torch.stack(obs), actions, torch.stack(advantage))
    assert expected(metrics["losses/step_length"]), metrics["losses/step_length"]
    for row, model in enumerate(models):
        model.train()
        logged = model.logger.name_to_value
        close("surrogate", metrics["losses/surrogate"][row], logged["train/policy_objective"], 1.0)
        close("KL", metrics["losses/kl"][row], logged["train/kl_divergence_loss"], agent.config.target_kl)
        assert bool(metrics["losses/step_length"][row] > 0) == logged["train/is_line_search_success"]
        step = agent.stack.matrix[row] - before[row]
        scale = step.abs().max().item() or 1.0  # held to the step, not to the weights, which hardly move
        for name, linear in layers(model, "actor").items():
            network, layer = name.split(".")
            named = agent.stack.named()[f"{network}.weight_{layer}"][row, : linear.in_features, : linear.out_features]
            close(f"step of {name}, seed {row}", named, linear.weight.T, scale)
        if hasattr(model.policy, "log_std"):
            close("step of log σ", agent.stack.named()["log_std.value"][row, 0], model.policy.log_std, scale)


def test_the_line_search_takes_the_longest_step_that_is_better_and_within_the_bound() -> None:
    """Steps of 1, 1/2, 1/4 and 1/8, and a bound of 1.5 · 0.1: of KL divergences of 0.3 and 1.2 a step's length."""
    config = trpo.TRPO.Config(line_search_steps=4, line_search_factor=0.5, kl_slack=1.5, target_kl=0.1, hidden=(4,))
    agent = trpo.TRPO(Setup(gymnasium.spaces.Box(-9, 9, (2,)), gymnasium.spaces.Discrete(2), (1, 2, 3), 1, 100), config)
    old, per_step = agent.stack.matrix.detach().clone(), torch.tensor([0.3, 1.2, 0.0])

    def surrogate_and_kl() -> tuple[torch.Tensor, torch.Tensor]:
        length = (agent.stack.matrix.detach() - old)[:, 0]
        return torch.tensor([1.0, 1.0, -1.0]) * length, per_step * length  # the third seed's are never better

    found = agent._line_search(torch.ones_like(old), torch.zeros(3), surrogate_and_kl)
    lengths = torch.tensor([0.5, 0.125, 0.0])
    close("length", found["losses/step_length"], lengths)
    close("parameters", agent.stack.matrix.detach(), old + lengths[:, None])
    close("surrogate", found["losses/surrogate"], lengths)
    close("KL", found["losses/kl"], torch.tensor([0.15, 0.15, 0.0]))


def test_trpo_refuses_images_and_a_rollout_of_one_transition() -> None:
    image = gymnasium.spaces.Box(0, 255, (84, 84, 3), np.uint8)
    with pytest.raises(UnsupportedSpace, match="not images"):
        trpo.TRPO(Setup(image, gymnasium.spaces.Discrete(2), SEEDS, 1, 100), trpo.TRPO.Config())
    vector = gymnasium.spaces.Box(-1, 1, (2,))
    with pytest.raises(ValueError, match="one transition"):
        trpo.TRPO(Setup(vector, gymnasium.spaces.Discrete(2), SEEDS, 1, 100), trpo.TRPO.Config(num_steps=1))


# --- what the step is made of


@pytest.mark.usefixtures("_float64")
@pytest.mark.parametrize("space", [gymnasium.spaces.Discrete(4), gymnasium.spaces.Box(-1, 1, (3,))], ids=str)
def test_kl_and_fisher_are_torch_s_divergence_and_its_hessian(space: gymnasium.Space[Any]) -> None:
    policy, generator = policy_for(space), torch.Generator().manual_seed(0)
    width = 4 if isinstance(space, gymnasium.spaces.Discrete) else 6
    old, new, direction = torch.randn(3, 2, 5, width, generator=generator)

    def distribution(outputs: torch.Tensor) -> torch.distributions.Distribution:
        if width == 4:
            return torch.distributions.Categorical(logits=outputs)
        mean, log_std = outputs.split(3, -1)
        return torch.distributions.Independent(torch.distributions.Normal(mean, log_std.exp()), 1)

    close("KL", policy.kl(old, new), torch.distributions.kl_divergence(distribution(old), distribution(new)))
    assert (policy.kl(old, old) == 0).all()
    for row in old.flatten(0, 1)[:3]:
        hessian = torch.autograd.functional.hessian(
            lambda outputs, row=row: torch.distributions.kl_divergence(distribution(row), distribution(outputs)), row
        )
        close("Fisher", policy.fisher(row, direction[0, 0]), hessian @ direction[0, 0])


@pytest.mark.usefixtures("_float64")
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_a_linearised_network_is_its_jacobian(activation: str) -> None:
    """Against central differences, for a direction that moves every network of the stack."""
    stack = Stack((1, 2), mean=MLP((3, 6, 5, 2), activation), log_std=Constant(2))
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 7, 3, generator=generator)
    direction = torch.randn(stack.matrix.shape, generator=generator)
    start, h = stack.matrix.detach().clone(), 1e-6
    for bound in (stack.mean, stack.log_std):
        found = bound.network.linearised(bound, x)(direction)  # type: ignore[attr-defined]
        outputs = []
        for sign in (1, -1):
            stack.load(start + sign * h * direction)
            outputs.append(bound(x).detach().clone())
        stack.load(start)
        close("J v", found, (outputs[0] - outputs[1]) / (2 * h))


def test_conjugate_gradient_solves_each_seed_s_own_equations_and_stops_there() -> None:
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(3, 8, 8, generator=generator, dtype=torch.float64)
    matrix = root @ root.mT + torch.eye(8)
    matrix[1] = torch.eye(8)  # solved in one step
    b = torch.randn(3, 8, generator=generator, dtype=torch.float64)
    b[2] = 0.0  # solved before the first
    found = conjugate_gradient(lambda v: (matrix @ v.unsqueeze(-1)).squeeze(-1), b, 20, 1e-20)
    close("x", found, torch.linalg.solve(matrix, b))
    alone = conjugate_gradient(lambda v: (matrix[:1] @ v.unsqueeze(-1)).squeeze(-1), b[:1], 20, 1e-20)
    assert torch.equal(found[:1], alone)
    assert not found[2].any()
    exact = conjugate_gradient(lambda v: 2 * v, b, 15, 0.0)  # whose residual is 0 after one step
    assert torch.equal(exact, b / 2)


# --- REINFORCE

REINFORCE_SPACES = {"discrete": gymnasium.spaces.Discrete(3), "box": gymnasium.spaces.Box(-1, 1, (2,))}


def reinforce_of(space: gymnasium.Space[Any], **options: Any) -> reinforce.Reinforce:
    config = reinforce.Reinforce.Config(**{"num_episodes": 2, "gamma": 0.9, "hidden": (5,)} | options)
    return reinforce.Reinforce(Setup(gymnasium.spaces.Box(-9, 9, (3,)), space, SEEDS, 1, 10**6), config)


def played(agent: reinforce.Reinforce, number: int, seeds: tuple[int, ...] = SEEDS) -> list[Transition]:
    """The batches of steps in which each seed ends its episodes at times of its own."""
    rngs = [np.random.default_rng([seed, number]) for seed in seeds]
    batches = []
    for step in range(60):
        fields = []
        for rng in rngs:
            obs, next_obs = rng.standard_normal((2, 1, 3), np.float32)
            discrete = isinstance(agent.setup.action_space, gymnasium.spaces.Discrete)
            action = rng.integers(0, 3, 1) if discrete else rng.standard_normal((1, 2), np.float32)
            ends = rng.random(1) < 0.15, rng.random(1) < 0.15
            fields.append((obs, action, rng.standard_normal(1, np.float32), next_obs, *ends))
        agent.memory.add(Transition(*(np.stack(field) for field in zip(*fields, strict=True)), {}))
        batches += [Transition(*map(torch.clone, batch[:-1]), batch.extras) for batch in agent.memory.ready(step)]
    return batches


def plain(stack: Stack, network: str, row: int) -> nn.Sequential:
    """The same network of one seed in float64, by torch."""
    named, sizes = stack.named(), stack.networks[network].sizes  # type: ignore[attr-defined]
    modules: list[nn.Module] = []
    for layer, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        linear = nn.Linear(fan_in, fan_out, dtype=torch.float64)
        linear.weight.data = named[f"{network}.weight_{layer}"][row, :fan_in, :fan_out].T.double()
        linear.bias.data = named[f"{network}.bias_{layer}"][row, 0, :fan_out].double()
        modules += [linear, nn.Tanh()]
    return nn.Sequential(*modules[:-1])


@pytest.mark.agrees("reinforce", "a float64 loop")
@pytest.mark.parametrize(
    "space", [gymnasium.spaces.Discrete(3), gymnasium.spaces.Box(-1, 1, (2,))], ids=["discrete", "box"]
)
@pytest.mark.parametrize("baseline", [True, False], ids=["baseline", "none"])
@pytest.mark.parametrize("discounted", [True, False], ids=["discounted", "not discounted"])
def test_reinforce_s_gradient_is_the_book_s(space: gymnasium.Space[Any], baseline: bool, discounted: bool) -> None:
    """Equations 13.8 and 13.11, step by step in float64; batches in which some seeds have no episodes yet."""
    agent = reinforce_of(space, baseline=baseline, discount_gradient=discounted)
    torch.manual_seed(0)
    for view in [*agent.stack.named().values(), *agent.critic_stack.named().values()]:
        used = view != 0 if view.shape[1] > 1 else torch.ones_like(view, dtype=torch.bool)
        view.add_(0.3 * torch.randn_like(view) * used)
    seen: set[int] = set()
    for batch in played(agent, 0)[:8]:
        for stack in (agent.stack, agent.critic_stack):
            stack.gradient.zero_()
        policy_loss, value_loss, _ = agent.loss(batch)
        (policy_loss + value_loss).sum().backward()
        found, critic_found = (as_stack(stack, stack.gradient) for stack in (agent.stack, agent.critic_stack))
        for row in range(len(SEEDS)):
            if not batch.extras["ready"][row]:
                assert not agent.stack.gradient[row].any()
                assert not agent.critic_stack.gradient[row].any()
                continue
            seen.add(row)
            actor, critic = plain(agent.stack, "actor", row), plain(agent.critic_stack, "critic", row)
            log_std = None
            if "log_std" in agent.stack.networks:
                log_std = nn.Parameter(agent.stack.named()["log_std.value"][row, 0].double())
            for episode in range(2):
                length = int(batch.extras["valid"][row, episode].sum())
                G = 0.0
                if baseline and not batch.terminated[row, episode, length - 1]:
                    G = critic(batch.next_obs[row, episode, length - 1].double()).item()
                for t in reversed(range(length)):
                    G = batch.reward[row, episode, t].item() + 0.9 * G
                    obs, action = batch.obs[row, episode, t].double(), batch.action[row, episode, t]
                    value = critic(obs)[0] if baseline else torch.zeros(())
                    error = G - value.item()
                    policy = (torch.distributions.Categorical(logits=actor(obs)) if log_std is None else
                              torch.distributions.Normal(actor(obs), log_std.exp()))  # fmt: skip
                    factor = 0.9**t if discounted else 1.0
                    (-factor * error * policy.log_prob(action).sum() / 2).backward()
                    if baseline:
                        (-error * value / 2).backward()
            compare_plain(found, "actor", row, actor)
            if baseline:
                compare_plain(critic_found, "critic", row, critic)
            if log_std is not None:
                close("gradient of log σ", found.named()["log_std.value"][row, 0], log_std.grad)
    assert seen == set(range(len(SEEDS)))


@pytest.mark.parametrize("baseline", [True, False], ids=["baseline", "none"])
def test_reinforce_s_metrics_are_sums_over_an_episode_and_the_mean_entropy_of_a_step(baseline: bool) -> None:
    agent = reinforce_of(gymnasium.spaces.Discrete(3), baseline=baseline)
    agent.stack.matrix.detach().mul_(3.0)
    (batch, *_) = played(agent, 0)
    _, _, metrics = agent.loss(batch)
    for row in np.flatnonzero(batch.extras["ready"]):
        actor, critic = plain(agent.stack, "actor", row), plain(agent.critic_stack, "critic", row)
        entropies, policy_loss, value_loss = [], 0.0, 0.0
        for episode in range(2):
            length = int(batch.extras["valid"][row, episode].sum())
            G = 0.0
            if baseline and not batch.terminated[row, episode, length - 1]:
                G = critic(batch.next_obs[row, episode, length - 1].double()).item()
            for t in reversed(range(length)):
                G = batch.reward[row, episode, t].item() + 0.9 * G
                obs = batch.obs[row, episode, t].double()
                probs = torch.softmax(actor(obs), -1).tolist()
                error = G - (critic(obs).item() if baseline else 0.0)
                entropies.append(-sum(p * np.log(p) for p in probs))
                policy_loss -= error * np.log(probs[int(batch.action[row, episode, t])]) / 2
                value_loss += error**2 / 4
        expected = {"policy_loss": policy_loss, "entropy": np.mean(entropies)}
        expected |= {"value_loss": value_loss} if baseline else {}
        assert {tag: value[row].item() for tag, value in metrics.items()} == {
            f"losses/{tag}": pytest.approx(value, rel=1e-4) for tag, value in expected.items()
        }


def compare_plain(gradient: Stack, network: str, row: int, module: nn.Sequential) -> None:
    linears = [one for one in module if isinstance(one, nn.Linear)]
    # One number, as the bias of the baseline, may cancel to nearly nothing: held to the network's largest gradient.
    scale = max(parameter.grad.abs().max().item() for parameter in module.parameters())
    for layer, linear in enumerate(linears):
        weight = gradient.named()[f"{network}.weight_{layer}"][row, : linear.in_features, : linear.out_features]
        bias = gradient.named()[f"{network}.bias_{layer}"][row, 0, : linear.out_features]
        close(f"gradient of {network}'s weight {layer}", weight, linear.weight.grad.T, scale)
        close(f"gradient of {network}'s bias {layer}", bias, linear.bias.grad, scale)


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_a_seed_of_reinforce_learns_alone_as_among_others(optimiser: str) -> None:
    """Seeds end their episodes at different times: what one has learnt depends on its own episodes alone."""

    def learnt(seeds: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
        setup = Setup(gymnasium.spaces.Box(-9, 9, (3,)), gymnasium.spaces.Discrete(3), seeds, 1, 10**6)
        config = reinforce.Reinforce.Config(optimiser=optimiser, learning_rate=0.01, value_learning_rate=0.1)
        agent = reinforce.Reinforce(setup, config)
        start = agent.stack.matrix.detach().clone()
        for batch in played(agent, 1, seeds):
            agent.update(batch, 0)
        assert (agent.stack.matrix.detach() != start).any(1).all()
        return agent.stack.matrix.detach(), agent.critic_stack.matrix.detach()

    every = learnt(SEEDS)
    for row, seed in enumerate(SEEDS):
        for mine, among in zip(learnt((seed,)), every, strict=True):
            assert torch.equal(mine[0], among[row])


@pytest.mark.parametrize("part", [0, 1], ids=["policy", "baseline"])
def test_reinforce_refuses_a_loss_of_all_seeds_together(part: int) -> None:
    class Together(reinforce.Reinforce):
        def loss(self, batch: Transition) -> Any:
            made = list(super().loss(batch))
            made[part] = made[part].mean()
            return tuple(made)

    agent = reinforce_of(gymnasium.spaces.Discrete(3))
    batch = played(agent, 0)[0]
    agent.update(batch, 0)
    agent.__class__ = Together
    with pytest.raises(AgentFault, match=r"a loss is of shape \[\], not \[S\] = \[3\]"):
        agent.update(batch, 0)


def test_reinforce_with_sgd_takes_the_book_s_step_by_hand() -> None:
    """One state, a linear softmax of two actions with all preferences 0: ∇ ln π(a) = 1_a − ½ for the bias of each."""
    setup = Setup(gymnasium.spaces.Box(0, 1, (1,)), gymnasium.spaces.Discrete(2), (1,), 1, 100)
    options = {"baseline": False, "gamma": 0.5, "hidden": (), "optimiser": "sgd", "learning_rate": 0.1,
               "discount_gradient": True}  # fmt: skip
    agent = reinforce.Reinforce(setup, reinforce.Reinforce.Config(**options))
    agent.stack.load(torch.zeros_like(agent.stack.matrix))
    zero = np.zeros((1, 1, 1), np.float32)
    for action, reward, terminated in ((0, 1.0, False), (1, 4.0, True)):
        flags = np.array([[terminated]]), np.array([[False]])
        agent.memory.add(Transition(zero, np.array([[action]]), np.array([[reward]]), zero, *flags, {}))
    (batch,) = agent.memory.ready(1)
    agent.update(batch, 1)
    # G = 3, 4; γ^t = 1, ½: α (3 · (½, −½) + ½ · 4 · (−½, ½))
    close("bias", agent.stack.named()["actor.bias_0"][0, 0, :2], torch.tensor([0.05, -0.05]))


def test_a_seed_of_reinforce_without_whole_episodes_takes_no_part_a_resume_between() -> None:
    """It has no metrics of that update, and keeps its parameters to the bit."""
    agent = reinforce_of(gymnasium.spaces.Discrete(3))
    batches = played(agent, 0)
    some = next(i for i in range(6, len(batches)) if not batches[i].extras["ready"].all())
    for batch in batches[:some]:
        agent.update(batch, 0)
    again = reinforce_of(gymnasium.spaces.Discrete(3))
    again.set_state(agent.get_state())
    ready, before = batches[some].extras["ready"], agent.stack.matrix.detach().clone()
    metrics, resumed = agent.update(batches[some], 0), again.update(batches[some], 0)
    for tag, value in metrics.items():
        assert torch.equal(value.isnan(), ~ready)
        torch.testing.assert_close(resumed[tag], value, rtol=0, atol=0, equal_nan=True)
    assert torch.equal((agent.stack.matrix == before).all(1), ~ready)
