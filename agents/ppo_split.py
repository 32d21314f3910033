"""Proximal policy optimisation (Schulman et al., 2017, arXiv:1707.06347) with a separate phase for the critic.

The objectives of the paper's eq. 9 are not added up: after a rollout the critic regresses on its targets, and then the
policy maximises

    E[ min(r A, clip(r, 1 − ε, 1 + ε) A) ] + c₂ H                                     (eq. 7, and the entropy of eq. 9)

each with an Adam of its own, its own number of epochs, and minibatches of the same size. Advantages and targets are
of the critic before its fit, by GAE (`rlrepro.targets.gae`), and the advantages are normalised once, over the whole
rollout. log π and H are `rlrepro.distributions`'. The two phases are MushroomRL's (D'Eramo et al., 2021), and the
defaults those of its benchmark.
"""

from __future__ import annotations

import dataclasses

import torch

from rlrepro.actor_critic import ActorCritic
from rlrepro.agent import Metrics, Setup, Transition, hyper
from rlrepro.memory import Rollout, epochs, refuse_no_deviation
from rlrepro.networks import refuse_images
from rlrepro.optimisers import Adam, descend
from rlrepro.sources import MUSHROOM, MUSHROOM_LIBRARY, TORCH
from rlrepro.streams import Streams
from rlrepro.targets import approx_kl, clip_fraction, clipped_surrogate, explained_variance, normalised

BUILDER = f"{MUSHROOM} PPOBuilder.default"
NETWORK = f"{MUSHROOM} TRPONetwork"
ENVIRONMENT = f"{MUSHROOM} cfg/env/Pendulum-v0.yaml"
LIBRARY = f"{MUSHROOM_LIBRARY}/ppo.py"


class PPOSplit(ActorCritic):
    """PPO for Discrete and Box actions on vectors: two MLPs, the critic fitted first, then the policy."""

    LOSSES = ("policy_loss",)
    GRAPHED = ("fit_value", "improve", "outputs")
    STATE = ("optimiser", "critic_optimiser", "order")

    @dataclasses.dataclass(frozen=True)
    class Config:
        learning_rate: float = hyper(3e-4, "step size of the policy's Adam", BUILDER, low=0)
        value_learning_rate: float = hyper(3e-4, "step size of the critic's Adam", BUILDER, low=0)
        num_steps: int = hyper(3000, "steps of a rollout (T)", BUILDER, low=1)
        num_epochs: int = hyper(4, "the policy's passes over a rollout (K)", BUILDER, low=1)
        num_value_epochs: int = hyper(10, "the critic's passes over a rollout", LIBRARY, low=1)
        batch_size: int = hyper(64, "transitions of a minibatch; a pass's last may be smaller", BUILDER, low=1)
        gamma: float = hyper(0.99, "discount factor", ENVIRONMENT, low=0, high=1)
        gae_lambda: float = hyper(0.95, "λ of the advantage estimates", BUILDER, low=0, high=1)
        clip_range: float = hyper(0.2, "ε of the clipped surrogate", BUILDER, low=0)
        entropy_coef: float = hyper(0.0, "weight of the entropy bonus (c₂)", BUILDER, low=0)
        hidden: tuple[int, ...] = hyper((32, 32), "units of the hidden layers", NETWORK, low=1)
        activation: str = hyper("relu", "between the layers", NETWORK, choices=("relu", "tanh"))
        log_std_init: float = hyper(0.0, "initial log standard deviation", BUILDER, only="Box actions")
        adam_eps: float = hyper(1e-8, "Adam's ε", f"{TORCH}/adam.py", low=1e-12)

    PRESETS = {"*": {"num_envs": 1, "total_timesteps": 300_000, "source": ENVIRONMENT}}

    PROBE = {
        "num_envs": 4, "total_timesteps": 8_000, "num_steps": 16, "batch_size": 16, "learning_rate": 1e-3,
        "value_learning_rate": 5e-3,
    }  # fmt: skip
    # Advantages are divided by their deviation, √(p (1 − p)) of 0s and 1s: 0.324 at the answer, p = sigmoid(−2).
    PROBES = {"ProbeEntropy-v0": {"entropy_coef": 0.5 / 0.324, "num_steps": 64, "learning_rate": 3e-3}}

    def __init__(self, setup: Setup, config: Config) -> None:
        refuse_images(setup.observation_space)
        refuse_no_deviation(setup.num_envs * config.num_steps, "rollout", "more --num-steps")
        networks = config.hidden, config.activation, "xavier", config.log_std_init
        super().__init__(setup, *networks, separate=True)
        self.config = config
        self.optimiser = Adam(self.stack, config.learning_rate, eps=config.adam_eps)
        self.critic_optimiser = Adam(self.critic_stack, config.value_learning_rate, eps=config.adam_eps)
        self.order = Streams(setup.seeds, "minibatches")
        self.memory = Rollout(config.num_steps, setup.device)

    def update(self, batch: Transition, step: int) -> Metrics:
        """Fit the critic to one rollout `[S, T, N, ...]`, then improve the policy on it."""
        config = self.config
        inputs, action = self.inputs(batch.obs.flatten(1, 2)), batch.action.flatten(1, 2)
        with torch.no_grad():  # the parameters are those that acted
            old_log_prob, _ = self.policy.log_prob_and_entropy(self.policy_outputs(inputs), action)
            value = self.value(inputs)
            advantage = self.advantage(batch, value, config.gamma, config.gae_lambda)
            value_target = advantage + value
            advantage = normalised(advantage)

        for epoch in epochs(self.order, config.num_value_epochs, config.batch_size, inputs, value_target):
            for some_inputs, some_target in epoch:
                value_loss = self.fit_value(some_inputs, some_target)
        rollout = inputs, action, old_log_prob, advantage
        for epoch in epochs(self.order, config.num_epochs, config.batch_size, *rollout):
            for minibatch in epoch:
                policy_loss, entropy, log_ratio = self.improve(*minibatch)

        return {
            "losses/policy_loss": policy_loss,  # like all but the last: of the last minibatch
            "losses/value_loss": value_loss,
            "losses/entropy": entropy,
            "losses/approx_kl": approx_kl(log_ratio),
            "losses/clipfrac": clip_fraction(log_ratio, config.clip_range),
            "losses/explained_variance": explained_variance(value, value_target),
        }

    def fit_value(self, inputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """One step of the critic on a minibatch `[S, B, ...]`; its loss, E[(V(s) − target)²] `[S]`."""
        value_loss = (self.value(inputs) - target).square().mean(1)
        descend(value_loss, self.critic_optimiser)
        return value_loss.detach()

    def improve(self, *minibatch: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """One step of the policy; what `policy_loss` gives."""
        policy_loss, entropy, log_ratio = self.policy_loss(*minibatch)
        descend(policy_loss - self.config.entropy_coef * entropy, self.optimiser)
        return policy_loss.detach(), entropy.detach(), log_ratio.detach()

    def policy_loss(
        self, inputs: torch.Tensor, action: torch.Tensor, old_log_prob: torch.Tensor, advantage: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Of one minibatch `[S, B, ...]`: the clipped surrogate with its sign turned and the entropy `[S]`, log r."""
        log_prob, entropy = self.policy.log_prob_and_entropy(self.policy_outputs(inputs), action)
        log_ratio = log_prob - old_log_prob
        return -clipped_surrogate(log_ratio, advantage, self.config.clip_range), entropy.mean(1), log_ratio
