"""Deep deterministic policy gradient (Lillicrap et al., 2016, arXiv:1509.02971), Algorithm 1.

The critic regresses on y = r + γ Q'(s', μ'(s')) (eq. 5, by the target networks of Section 3), the actor follows

    ∇_θ J = E[ ∇_a Q(s, a)|_{a = μ(s)} ∇_θ μ(s) ]                                        (eq. 6)

and after each step of the actor the targets move: θ' ← τ θ + (1 − τ) θ'. Exploration adds noise (eq. 7),
Ornstein–Uhlenbeck or Gaussian (`rlrepro.distributions`). The defaults are the paper's for low-dimensional observations,
without its batch normalisation; what it leaves open is marked "ours". μ(s) = tanh of the actor's outputs is
`rlrepro.off_policy.DeterministicPolicy.policy`. The first weights, within ±1/√fan_in and ±3e-3 in the last layers, and
the critic that meets the action in its second layer are that class's too. The L2 decay is `rlrepro.optimisers.Adam`'s
(Section 7).

Networks act in [-1, 1], and noise is in these units; the memory keeps the environment's actions. The critic meets them
in [-1, 1] too, or, with `critic_units = env`, as the environment does.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from rlrepro.agent import Metrics, Setup, Transition, hyper
from rlrepro.distributions import GaussianNoise, OrnsteinUhlenbeck
from rlrepro.off_policy import DeterministicPolicy
from rlrepro.optimisers import descend
from rlrepro.seeds import Stack
from rlrepro.sources import CLEANRL, MUSHROOM, SB3, SB3_OFF_POLICY, SB3_POLICIES, ZOO
from rlrepro.streams import Streams
from rlrepro.targets import td_target

PAPER = "paper: Section 7"
CODE = f"{CLEANRL}/ddpg_continuous_action.py"
BUILDER = f"{MUSHROOM} DDPGBuilder.default"


class DDPG(DeterministicPolicy):
    """DDPG for bounded Box actions, on vectors."""

    STATE = ("noise",)

    @dataclasses.dataclass(frozen=True)
    class Config:
        actor_learning_rate: float = hyper(1e-4, "step size of the actor's Adam", PAPER, low=0)
        critic_learning_rate: float = hyper(1e-3, "step size of the critic's Adam", PAPER, low=0)
        anneal: bool = hyper(False, "step sizes fall linearly to 0", f"{SB3}/ddpg/ddpg.py; true: rl-zoo3's lin_")
        weight_decay: float = hyper(1e-2, "L2 decay of the critic: w ‖θ‖²/2 in its loss", PAPER, low=0)
        gamma: float = hyper(0.99, "discount factor", PAPER, low=0, high=1)
        tau: float = hyper(0.001, "weight of the online parameters in the targets", PAPER, low=0, high=1)
        buffer_size: int = hyper(1_000_000, "transitions kept per seed", PAPER, low=1)
        batch_size: int = hyper(64, "transitions of a batch", PAPER, low=1)
        learning_starts: int = hyper(1000, "env steps before learning", "ours: the paper names none", low=0)
        random_start: bool = hyper(False, "before that, uniformly random actions", "paper: Algorithm 1 has none")
        random_steps: int = hyper(
            0, "env steps of random actions, if learning starts sooner", "paper: Algorithm 1 has none", low=0,
            addition=True,
        )  # fmt: skip
        train_every: int = hyper(1, "env steps between learning phases", "paper: Algorithm 1", low=1)
        gradient_steps: int = hyper(1, "gradient steps each time", "paper: Algorithm 1", low=1)
        policy_delay: int = hyper(
            1, "critic updates per update of actor and targets", f"paper: Algorithm 1; 2: {CODE}", low=1
        )
        noise: str = hyper("ou", "exploration", f"{PAPER}; gaussian: {CODE}", choices=("ou", "gaussian"))
        noise_std: float = hyper(0.2, "σ: the standard deviation of gaussian noise, the diffusion of ou", PAPER, low=0)
        noise_theta: float = hyper(0.15, "θ of the Ornstein–Uhlenbeck process", PAPER, low=0, needs=("noise", "ou"))
        noise_dt: float = hyper(
            1.0, "time step Δt of the Ornstein–Uhlenbeck process", f"ours: the paper names none; 0.01: {BUILDER}",
            low=0, needs=("noise", "ou"),
        )  # fmt: skip
        hidden: tuple[int, ...] = hyper((400, 300), "units of the hidden layers", PAPER, low=1)
        action_layer: str = hyper(
            "second", "layers of the critic that see the action", f"{PAPER}; first: {SB3_POLICIES}",
            choices=("first", "second", "both"),
        )  # fmt: skip
        action_fan_in: str = hyper(
            "joint", "of a late action: its weights start by the fan-in of the whole layer, or of the action alone",
            f"{PAPER}; own: {BUILDER}", choices=("joint", "own"), needs=("action_layer", "second", "both"),
        )  # fmt: skip
        output_init: float = hyper(3e-3, "last layers start uniform in ± this; 0: ±1/√fan_in", PAPER, low=0)
        output_bias: str = hyper(
            "weights", "with output_init: last biases start as their weights do, or in ±1/√fan_in",
            f"{PAPER}; fan_in: {BUILDER}", choices=("weights", "fan_in"), addition=True, needs=("output_init",),
        )  # fmt: skip
        critic_units: str = hyper(
            "unit", "units of the actions that the critic sees", f"{SB3_OFF_POLICY}; env: {BUILDER}",
            choices=("unit", "env"),
        )  # fmt: skip

    PRESETS = {
        "*": {
            "num_envs": 1,
            "total_timesteps": 1_000_000,
            "source": "ours: TD3's budget (the paper: up to 2.5 million)",
        },
        "Pendulum-v1": {
            "total_timesteps": 20_000,
            "actor_learning_rate": 1e-3,
            "critic_learning_rate": 1e-3,
            "weight_decay": 0.0,
            "gamma": 0.98,
            "tau": 0.005,
            "buffer_size": 200_000,
            "batch_size": 256,
            "learning_starts": 10_000,
            "random_start": True,
            "noise": "gaussian",
            "noise_std": 0.1,
            "action_layer": "first",
            "output_init": 0.0,
            "source": f"{ZOO}/ddpg.yml, the rest of Stable-Baselines3",
        },
    }

    PROBE = {
        "num_envs": 1, "total_timesteps": 4_000, "buffer_size": 4_000, "batch_size": 32, "learning_starts": 100,
        "random_start": True, "train_every": 2, "tau": 0.05, "hidden": (32, 32), "actor_learning_rate": 1e-3,
        "critic_learning_rate": 5e-3, "weight_decay": 0.0,
    }  # fmt: skip

    def __init__(self, setup: Setup, config: Config) -> None:
        super().__init__(setup, config)
        network = self._critic_network(own_fan_in=config.action_fan_in == "own")
        self._build({"actor": self._actor_network()}, {"critic": network}, config.weight_decay)
        self.noise = (
            OrnsteinUhlenbeck(config.noise_std, config.noise_theta, config.noise_dt)
            if config.noise == "ou"
            else GaussianNoise(config.noise_std)
        )

    def explore(self, obs: np.ndarray) -> np.ndarray:
        """μ(s) + noise (eq. 7), cut off at the bounds; the process of the noise begins anew with each episode."""
        unit = self._greedy(obs)
        begins = self.memory.ended  # the memory was told of the last step's ends
        noise = self.noise.sample(self.exploration, unit.shape, begins)
        return self.box.scaled(np.clip(unit + noise, -1.0, 1.0))

    def predict(self, obs: np.ndarray, streams: Streams, deterministic: bool) -> np.ndarray:
        """μ(s), or with independent noise of `noise_std` (with Δt = 1, OU's own standard deviation is larger)."""
        return self.box.scaled(self._greedy(obs) if deterministic else self._noisy(obs, streams, self.config.noise_std))

    @torch.no_grad()
    def value_of(self, obs: np.ndarray) -> np.ndarray:
        """Q(s, μ(s)), `[S, B]`, for `rlrepro probe`."""
        inputs = self._on_device(obs)
        return self.q(self.critic, inputs, self.policy(self.actor, inputs)).cpu().numpy()

    def q(self, critic: Stack, inputs: torch.Tensor, unit: torch.Tensor) -> torch.Tensor:
        """Q(s, a) `[S, B]` of actions in [-1, 1]."""
        return critic.critic(self._pairs(inputs, unit))[..., 0]

    def update(self, batch: Transition, step: int) -> Metrics:
        """One gradient step of the critic on a batch `[S, B, ...]`, then of the actor, then the targets."""
        self.num_updates += 1
        improve = self.num_updates % self.config.policy_delay == 0
        return self._complete(self.gradient_step(batch, self._fraction_left(step), improve=improve))

    def gradient_step(self, batch: Transition, fraction_left: float, *, improve: bool) -> dict[str, torch.Tensor]:
        """A step of the critic, and of the actor and the targets, where they are to `improve`."""
        config = self.config
        loss, q = self.critic_loss(batch)
        descend(loss, self.critic_optimiser, fraction_left * config.critic_learning_rate)
        metrics = {"losses/critic_loss": loss.detach(), "losses/q_values": q.detach().mean(1)}
        if improve:
            actor_loss = self.actor_loss(self.inputs(batch.obs))
            descend(actor_loss, self.actor_optimiser, fraction_left * config.actor_learning_rate)
            metrics["losses/actor_loss"] = actor_loss.detach()
            self.target_critic.polyak_update(self.critic, config.tau)
            self.target_actor.polyak_update(self.actor, config.tau)
        return metrics

    def critic_loss(self, batch: Transition) -> tuple[torch.Tensor, torch.Tensor]:
        """E[(Q(s, a) − y)²] `[S]` (eq. 4), and Q `[S, B]`."""
        with torch.no_grad():
            next_inputs = self.inputs(batch.next_obs)
            next_q = self.q(self.target_critic, next_inputs, self.policy(self.target_actor, next_inputs))
            target = td_target(batch.reward, next_q, batch.terminated, self.config.gamma)  # eq. 5
        q = self.q(self.critic, self.inputs(batch.obs), self.box.unit(batch.action))
        return (q - target).square().mean(1), q

    def actor_loss(self, inputs: torch.Tensor) -> torch.Tensor:
        """−E[Q(s, μ(s))] `[S]`: its gradient is eq. 6 with its sign flipped."""
        with self.critic.frozen():
            return -self.q(self.critic, inputs, self.policy(self.actor, inputs)).mean(1)
