"""REINFORCE (Williams, 1992, Machine Learning 8), as in Sutton & Barto (2018), Sections 13.3 and 13.4.

After E whole episodes, for every step t of theirs,

    G_t = r_{t+1} + γ r_{t+2} + γ² r_{t+3} + …         (Sutton & Barto, eq. 3.8; `rlrepro.targets.discounted_return`)
    θ ← θ + α γ^t G_t ∇ ln π(a_t|s_t, θ)                                        (without a baseline: box of 13.3)
    θ ← θ + α γ^t (G_t − v(s_t, w)) ∇ ln π(a_t|s_t, θ)                          (with one: box of 13.4)
    w ← w + α_w (G_t − v(s_t, w)) ∇ v(s_t, w)

γ^t is left out unless `discount_gradient` is on: with it, late steps would hardly count.
The steps of an episode are summed and the parameters move once, as in Williams' eq. 11 (where one return weighs all
steps); the book's boxes move them at every step of the finished episode, which is the same to first order in α. Over
episodes it is the mean. The moves are those of `optimiser = sgd`; Adam, the default, takes the same gradients. ln π is
`rlrepro.distributions`'.

With several sub-environments an update comes in the middle of the others' episodes. Their first steps were taken with
older parameters, yet are learnt from as if with the new ones, without a correction: such episodes are a little
off-policy. One sub-environment a seed is the book's algorithm.

A truncated episode has no more rewards to sum. With a baseline the rest is v of its last successor; without one there
is nothing that could stand for it.
"""

from __future__ import annotations

import dataclasses

import torch

from rlrepro.actor_critic import ActorCritic
from rlrepro.agent import Metrics, Setup, Transition, hyper
from rlrepro.memory import Episodes
from rlrepro.networks import refuse_images
from rlrepro.optimisers import SGD, Adam, backpropagate
from rlrepro.seeds import Stack
from rlrepro.sources import TORCH
from rlrepro.targets import discounted_return

BOOK = "secondary: Sutton & Barto (2018), Sections 13.3 and 13.4"


class Reinforce(ActorCritic):
    """REINFORCE for Discrete and Box actions on vectors: an MLP for the policy, another for the baseline."""

    STATE = ("optimiser", "critic_optimiser")

    @dataclasses.dataclass(frozen=True)
    class Config:
        baseline: bool = hyper(True, "subtract v(s), learnt beside the policy", BOOK)
        num_episodes: int = hyper(1, "episodes of a seed between two updates (E)", BOOK, low=1)
        gamma: float = hyper(0.99, "discount factor", "ours: the book's figures have 1", low=0, high=1)
        discount_gradient: bool = hyper(
            False, "the factor γ^t of the gradient", f"ours: left out, as in later policy gradients; true: {BOOK}"
        )
        optimiser: str = hyper("adam", "of both networks", f"ours: networks; sgd: {BOOK}", choices=("adam", "sgd"))
        learning_rate: float = hyper(1e-3, "step size of the policy (α)", "ours: networks, with Adam", low=0)
        value_learning_rate: float = hyper(
            1e-3, "step size of the baseline (α_w)", "ours: networks, with Adam", low=0, needs=("baseline",)
        )
        hidden: tuple[int, ...] = hyper((64, 64), "units of the hidden layers; none: linear", "ours: PPO's", low=1)
        activation: str = hyper("tanh", "between layers", "ours: PPO's", choices=("tanh", "relu"))
        first_weights: str = hyper(
            "orthogonal", "how weights are drawn", "ours: PPO's", choices=("orthogonal", "uniform", "xavier")
        )
        log_std_init: float = hyper(0.0, "initial log standard deviation", "ours: PPO's", only="Box actions")
        adam_eps: float = hyper(1e-8, "Adam's ε", f"{TORCH}/adam.py", low=1e-12, needs=("optimiser", "adam"))

    PRESETS = {"*": {"num_envs": 1, "total_timesteps": 400_000, "source": "ours: the budget is PPO's"}}

    PROBE = {
        "num_envs": 4, "total_timesteps": 8_000, "num_episodes": 8, "hidden": (64,), "learning_rate": 5e-3,
        "value_learning_rate": 5e-3,
    }  # fmt: skip

    def __init__(self, setup: Setup, config: Config) -> None:
        refuse_images(setup.observation_space)
        networks = config.hidden, config.activation, config.first_weights, config.log_std_init
        super().__init__(setup, *networks, separate=True)
        self.config = config
        self.optimiser = self._optimiser(self.stack, config.learning_rate)
        self.critic_optimiser = self._optimiser(self.critic_stack, config.value_learning_rate)
        self.memory = Episodes(config.num_episodes, setup.device)

    def _optimiser(self, stack: Stack, learning_rate: float) -> Adam | SGD:
        if self.config.optimiser == "sgd":
            return SGD(stack, learning_rate)
        return Adam(stack, learning_rate, self.config.adam_eps, independent=True)

    def update(self, batch: Transition, step: int) -> Metrics:
        """One step on whole episodes `[S, E, T, ...]`; seeds that have none ready keep all they have."""
        ready = batch.extras["ready"]
        policy_loss, value_loss, metrics = self.loss(batch)
        backpropagate([policy_loss, value_loss], [self.stack.gradient, self.critic_stack.gradient])
        self.optimiser.step(active=ready.tolist())
        if self.config.baseline:
            self.critic_optimiser.step(active=ready.tolist())
        return {tag: value.where(ready, torch.nan) for tag, value in metrics.items()}

    def loss(self, batch: Transition) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
        """The losses `[S]` of the policy and of the baseline on episodes `[S, E, T, ...]`, and their metrics."""
        config, valid, shape = self.config, batch.extras["valid"], batch.reward.shape
        obs = self.inputs(batch.obs.flatten(1, 2))
        log_prob, entropy = self.policy.log_prob_and_entropy(self.policy_outputs(obs), batch.action.flatten(1, 2))
        value = self.value(obs).view(shape) if config.baseline else torch.zeros_like(batch.reward)
        delta = self.returns(batch) - value  # G_t − v(s_t)
        weight = valid / config.num_episodes  # the sum over steps, the mean over episodes
        if config.discount_gradient:
            discounted = weight * config.gamma ** torch.arange(shape[2], device=weight.device)
        else:
            discounted = weight
        policy_loss = -(discounted * delta.detach() * log_prob.view(shape)).flatten(1).sum(1)
        value_loss = 0.5 * (weight * delta.square()).flatten(1).sum(1)
        mean_entropy = (valid * entropy.view(shape)).flatten(1).sum(1).detach() / valid.flatten(1).sum(1)
        metrics = {"losses/policy_loss": policy_loss.detach(), "losses/entropy": mean_entropy}
        if config.baseline:
            metrics["losses/value_loss"] = value_loss.detach()
        return policy_loss, value_loss, metrics

    @torch.no_grad()
    def returns(self, batch: Transition) -> torch.Tensor:
        """G_t `[S, E, T]` (eq. 3.8); past an episode's end it says nothing."""
        reward = batch.reward
        if self.config.baseline:
            rest = self.value(self.inputs(batch.next_obs.flatten(1, 2))).view(reward.shape)
            reward = reward + self.config.gamma * rest * (batch.truncated & ~batch.terminated)
        ended = (batch.terminated | batch.truncated).transpose(1, 2)
        return discounted_return(reward.transpose(1, 2), ended, self.config.gamma).transpose(1, 2)
