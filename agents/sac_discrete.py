"""Soft actor-critic for discrete action settings (Christodoulou, 2019, arXiv:1910.07207), Algorithm 1.

Critics and actor give a number for every action, so that expectations over actions are sums:

    V(s) = π(s)ᵀ [min_m Q_m(s) − α log π(s)]                                             (eq. 10)
    J_Q = ½ E[(Q_m(s, a) − (r + γ V'(s')))²]                                             (eq. 4)
    J(α) = E[π(s)ᵀ [−α (log π(s) + H̄)]]                                                  (eq. 11)
    J_π = E[π(s)ᵀ [α log π(s) − min_m Q_m(s)]]                                           (eq. 12)
    Q' ← τ Q + (1 − τ) Q'                                                                (Algorithm 1)

The minimum of two critics in eq. 10 and 12 is the paper's, of Algorithm 1's two; V' is 0 where an episode terminated.
By default the targets are copied (τ = 1) every 8,000 env steps, as in CleanRL. J(α) has log α for the factor α, as the
author's code (`AUTHOR`); `alpha_loss = alpha` is eq. 11, which CleanRL has. Weights start uniform in ±1/√fan_in, where
the paper's and CleanRL's are He's. CleanRL averages over actions where these equations sum, which divides its losses of
actor and temperature by |A|, and does not halve J_Q; the author's code averages the actor's loss likewise, and its V'
is of one sampled action. V is `rlrepro.targets.soft_policy_value`'s.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np
import torch

from rlrepro.agent import Metrics, Setup, Transition, hyper
from rlrepro.distributions import Categorical
from rlrepro.graphs import on_host
from rlrepro.networks import Ensemble
from rlrepro.off_policy import OffPolicy, TargetClock, Temperature
from rlrepro.optimisers import Adam, descend
from rlrepro.seeds import Stack
from rlrepro.sources import CLEANRL, TORCH
from rlrepro.streams import Streams
from rlrepro.targets import ensemble_error, soft_policy_value, td_target
from rlrepro.value_networks import of_action, value_network

PAPER = "paper: Table 2"
CODE = f"{CLEANRL}/sac_atari.py"
AUTHOR = "code: p-christ/Deep-Reinforcement-Learning-Algorithms-with-PyTorch@039ea22 agents/actor_critic_agents"


class SACDiscrete(OffPolicy):
    """SAC for Discrete actions, on vectors (MLPs) or images (CNNs)."""

    STATE = (
        "critic", "target_critic", "temperature", "actor_optimiser", "critic_optimiser", "alpha_optimiser", "clock",
    )  # fmt: skip

    @dataclasses.dataclass(frozen=True)
    class Config:
        actor_learning_rate: float = hyper(3e-4, "step size of the actor's Adam", PAPER, low=0)
        critic_learning_rate: float = hyper(3e-4, "step size of the critics'", PAPER, low=0)
        alpha_learning_rate: float = hyper(3e-4, "step size of the temperature's", PAPER, low=0, needs=("learn_alpha",))
        gamma: float = hyper(0.99, "discount factor", PAPER, low=0, high=1)
        tau: float = hyper(1.0, "weight of the online parameters in the targets", CODE, low=0, high=1)
        target_every: int = hyper(8000, "env, not gradient, steps between target updates", f"{PAPER}; {CODE}", low=1)
        buffer_size: int = hyper(1_000_000, "transitions kept per seed", PAPER, low=1)
        batch_size: int = hyper(64, "transitions of a batch", PAPER, low=1)
        learning_starts: int = hyper(20_000, "env steps before learning, of random actions", PAPER, low=0)
        train_every: int = hyper(4, "env steps between learning phases", PAPER, low=1)
        gradient_steps: int = hyper(1, "gradient steps each time", PAPER, low=1)
        learn_alpha: bool = hyper(True, "adjust the temperature; if not, it stays alpha_init", "paper: eq. 11")
        alpha_loss: str = hyper(
            "log_alpha", "what J(α) weighs H(π) − H̄ by", f"{AUTHOR}/SAC.py; alpha: paper: eq. 11, {CODE}",
            choices=("log_alpha", "alpha"), addition=True, needs=("learn_alpha",),
        )  # fmt: skip
        alpha_init: float = hyper(1.0, "initial temperature", CODE, low=1e-8)
        target_entropy_scale: float = hyper(
            0.98, "H̄ as a fraction of the largest entropy, log |A|", f"{PAPER}; 0.89: {CODE}", low=0, high=1,
            needs=("learn_alpha",),
        )  # fmt: skip
        adam_eps: float = hyper(1e-8, "Adam's ε", f"{TORCH}/adam.py; 1e-4: {CODE}", low=1e-12)
        hidden: tuple[int, ...] = hyper(
            (256, 256), "units of the hidden layers", "ours: as of SAC", low=1, only="vectors"
        )

    PRESETS = {
        "*": {"num_envs": 1, "total_timesteps": 100_000, "source": "paper: Table 1 (scores after 100,000 steps)"},
        "CartPole-v1": {
            "total_timesteps": 50_000,
            "actor_learning_rate": 1e-3,
            "critic_learning_rate": 1e-3,
            "alpha_learning_rate": 1e-3,
            "tau": 0.005,
            "target_every": 1,
            "learning_starts": 1000,
            "train_every": 1,
            "target_entropy_scale": 0.5,
            "hidden": (64, 64),
            "source": "ours: the paper has Atari alone",
        },
    }

    PROBE = {
        "num_envs": 1, "total_timesteps": 2_000, "buffer_size": 2_000, "batch_size": 32, "learning_starts": 100,
        "train_every": 4, "tau": 0.05, "target_every": 1, "hidden": (32, 32), "actor_learning_rate": 2e-3,
        "critic_learning_rate": 5e-3, "learn_alpha": False, "alpha_init": 1e-3,
    }  # fmt: skip
    PROBES = {"ProbeEntropy-v0": {"alpha_init": 0.5}}

    def __init__(self, setup: Setup, config: Config) -> None:
        super().__init__(setup, config)
        self.policy = Categorical(setup.action_space)
        network = value_network(setup.observation_space, config.hidden, self.policy.num_actions)
        self.actor = Stack(setup.seeds, setup.device, actor=network)
        self.critic = Stack(setup.seeds, setup.device, critics=Ensemble(network, 2))
        self.target_critic = self.critic.target_copy()
        self.temperature = Temperature(setup, config.alpha_init)
        self.actor_optimiser = Adam(self.actor, config.actor_learning_rate, eps=config.adam_eps)
        self.critic_optimiser = Adam(self.critic, config.critic_learning_rate, eps=config.adam_eps)
        self.alpha_optimiser = Adam(self.temperature, config.alpha_learning_rate, eps=config.adam_eps)
        self.target_entropy = config.target_entropy_scale * math.log(self.policy.num_actions)
        self.clock = TargetClock(config)

    def act(self, obs: np.ndarray, step: int) -> tuple[np.ndarray, Mapping[str, np.ndarray]]:
        """a ~ π(s); uniformly random before learning starts."""
        if step < self.config.learning_starts:
            return self.exploration.integers(self.policy.num_actions, obs.shape[1]), {}
        return self.predict(obs, self.exploration, deterministic=False), {}

    def predict(self, obs: np.ndarray, streams: Streams, deterministic: bool) -> np.ndarray:
        """The likeliest action, or a sample."""
        logits = on_host(self.outputs, obs, self.setup.device)
        return self.policy.mode(logits) if deterministic else self.policy.sample(logits, streams)

    def outputs(self, obs: torch.Tensor) -> torch.Tensor:
        """The logits of π(·|s), `[S, B, num_actions]`."""
        return self.actor.actor(self.inputs(obs))

    @torch.no_grad()
    def value_of(self, obs: np.ndarray) -> np.ndarray:
        """max_a min_m Q_m(s, a), `[S, B]`, for `rlrepro probe`."""
        return self.critic.critics(self._on_device(obs)).amin(1).amax(-1).cpu().numpy()

    def update(self, batch: Transition, step: int) -> Metrics:
        """One gradient step of the critics on a batch `[S, B, ...]`, of the actor, of α, and the targets when due."""
        metrics = self.gradient_step(batch)
        self.clock.follow(self.target_critic, self.critic, step)
        return metrics

    def gradient_step(self, batch: Transition) -> dict[str, torch.Tensor]:
        """Of the critics, of the actor and of α."""
        critic_loss, q = self.critic_loss(batch)
        descend(critic_loss, self.critic_optimiser)
        actor_loss, entropy = self.actor_loss(self.inputs(batch.obs))
        descend(actor_loss, self.actor_optimiser)
        if self.config.learn_alpha:
            descend(self.alpha_loss(entropy.detach()), self.alpha_optimiser)
        return {
            "losses/critic_loss": critic_loss.detach(),
            "losses/actor_loss": actor_loss.detach(),
            "losses/q_values": q.detach()[:, 0].mean(1),
            "losses/entropy": entropy.detach().mean(1),
            "charts/alpha": self.temperature.alpha[:, 0],
        }

    def critic_loss(self, batch: Transition) -> tuple[torch.Tensor, torch.Tensor]:
        """½ Σ_m E[(Q_m(s, a) − y)²] `[S]` (eq. 4), and Q(s, a) `[S, 2, B]`."""
        with torch.no_grad():
            next_inputs = self.inputs(batch.next_obs)
            next_log_probs = torch.log_softmax(self.actor.actor(next_inputs), -1)
            next_q = self.target_critic.critics(next_inputs).amin(1)
            next_value, _ = soft_policy_value(next_q, next_log_probs, self.temperature.alpha)  # eq. 10
            target = td_target(batch.reward, next_value, batch.terminated, self.config.gamma)
        q = of_action(self.critic.critics(self.inputs(batch.obs)), batch.action.unsqueeze(1).expand(-1, 2, -1))
        return 0.5 * ensemble_error(q, target), q

    def actor_loss(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """E[πᵀ (α log π − min_m Q_m)] `[S]` (eq. 12), and the entropy `[S, B]`."""
        with torch.no_grad():
            q = self.critic.critics(inputs).amin(1)
        log_probs = torch.log_softmax(self.actor.actor(inputs), -1)
        value, entropy = soft_policy_value(q, log_probs, self.temperature.alpha)  # πᵀ (min Q − α log π)
        return -value.mean(1), entropy

    def alpha_loss(self, entropy: torch.Tensor) -> torch.Tensor:
        """α E[H(π) − H̄] `[S]` (eq. 11), or with log α in α's place: the same zero, other steps."""
        return self.temperature.weight(self.config.alpha_loss) * (entropy.mean(1) - self.target_entropy)
