"""Twin delayed deep deterministic policy gradient (Fujimoto et al., 2018, arXiv:1802.09477), Algorithm 1.

Two critics regress on the smaller of two target values at a noisy target action,

    ã = clip(μ'(s') + clip(N(0, σ̃), −c, c), −1, 1)                    (eq. 14; the outer clip: the authors' code)
    y = r + γ min_m Q'_m(s', ã)                                                          (eq. 10)

and every d-th time the actor follows

    ∇_θ J = E[ ∇_a Q_1(s, a)|_{a = μ(s)} ∇_θ μ(s) ]                                      (eq. 1)

and the targets move: θ' ← τ θ + (1 − τ) θ'. MushroomRL's targets move at every update of the critics,
which is `target_delay = 1`. Actions are uniformly random at the start, then a = clip(μ(s) + N(0, σ), −1, 1)
(`rlrepro.off_policy.BoxActions.act`). μ(s) = tanh of the actor's outputs is
`rlrepro.off_policy.DeterministicPolicy.policy`, Q_m(s, a) `BoxActions.q`, y is `rlrepro.targets.td_target`'s, the sum
of both critics' errors `ensemble_error`'s.

Networks act in [-1, 1], and noise is in these units; the memory keeps the environment's actions. The critic meets them
in [-1, 1] too, or, with `critic_units = env`, as the environment does.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from rlrepro.agent import Metrics, Setup, Transition, hyper
from rlrepro.networks import Ensemble
from rlrepro.off_policy import DeterministicPolicy
from rlrepro.optimisers import descend
from rlrepro.sources import MUSHROOM, MUSHROOM_LIBRARY, SB3, SB3_OFF_POLICY, ZOO
from rlrepro.streams import Streams, streams_for
from rlrepro.targets import ensemble_error, td_target

AUTHORS = "code: sfujim/TD3@34770cc"
BUILDER = f"{MUSHROOM} TD3Builder.default"


class TD3(DeterministicPolicy):
    """TD3 for bounded Box actions, on vectors."""

    STATE = ("target_noise",)

    @dataclasses.dataclass(frozen=True)
    class Config:
        actor_learning_rate: float = hyper(1e-3, "the actor's step size", f"paper: Section 6.1; 3e-4: {AUTHORS}", low=0)
        critic_learning_rate: float = hyper(
            1e-3, "the critics' step size", f"paper: Section 6.1; 3e-4: {AUTHORS}", low=0
        )
        anneal: bool = hyper(False, "step sizes fall linearly to 0", f"{SB3}/td3/td3.py; true: rl-zoo3's lin_")
        gamma: float = hyper(0.99, "discount factor", AUTHORS, low=0, high=1)
        tau: float = hyper(0.005, "weight of the online parameters in the targets", "paper: Section 6.1", low=0, high=1)
        buffer_size: int = hyper(
            1_000_000, "transitions kept per seed", "paper: Section 6.1, the entire history", low=1
        )
        batch_size: int = hyper(100, "transitions of a batch", f"paper: Section 6.1; 256: {AUTHORS}", low=1)
        learning_starts: int = hyper(
            10_000,
            "env steps before learning",
            f"ours: as many as the paper's random steps on HalfCheetah and Ant (the paper: 0); 25 000: {AUTHORS}",
            low=0,
        )
        random_start: bool = hyper(
            True, "before that, uniformly random actions", f"{AUTHORS} (the paper: random_steps, learning at once)"
        )
        random_steps: int = hyper(
            0, "env steps of random actions, if learning starts sooner",
            "ours: the start's alone (the paper: 1 000, on HalfCheetah and Ant 10 000)", low=0, addition=True,
        )  # fmt: skip
        train_every: int = hyper(1, "env steps between learning phases", "paper: Section 6.1", low=1)
        gradient_steps: int = hyper(1, "gradient steps each time", "paper: Algorithm 1", low=1)
        policy_delay: int = hyper(2, "critic updates for one of actor and targets (d)", "paper: Section 6.1", low=1)
        target_delay: int = hyper(
            0, "critic updates for one of the targets; 0: d", f"paper: Algorithm 1; 1: {MUSHROOM_LIBRARY}/ddpg.py",
            low=0, addition=True,
        )  # fmt: skip
        exploration_noise: float = hyper(
            0.1, "standard deviation of the noise on actions (σ)", "paper: Section 6.1", low=0
        )
        target_noise: float = hyper(
            0.2, "standard deviation of the noise on target actions (σ̃)", "paper: Section 6.1", low=0
        )
        target_noise_clip: float = hyper(
            0.5, "largest such noise (c)", "paper: Section 6.1", low=0, needs=("target_noise",)
        )
        hidden: tuple[int, ...] = hyper((400, 300), "hidden layers", f"paper: Section 6.1; 256, 256: {AUTHORS}", low=1)
        action_layer: str = hyper(
            "first", "layers of the critics that see the action; past the first its weights start by its own fan-in",
            f"paper: Section 6.1; both: {BUILDER}", choices=("first", "second", "both"),
        )  # fmt: skip
        output_init: float = hyper(
            0.0, "last layers start uniform in ± this; 0: ±1/√fan_in", f"paper: none; 0.003: {BUILDER}", low=0
        )
        output_bias: str = hyper(
            "weights", "with output_init: last biases start as their weights do, or in ±1/√fan_in",
            f"paper: none; fan_in: {BUILDER}", choices=("weights", "fan_in"), addition=True, needs=("output_init",),
        )  # fmt: skip
        critic_units: str = hyper(
            "unit", "units of the actions that critics see", f"{SB3_OFF_POLICY}; env: {AUTHORS}",
            choices=("unit", "env"),
        )  # fmt: skip

    PRESETS = {
        "*": {"num_envs": 1, "total_timesteps": 1_000_000, "source": "paper: Section 6.1"},
        "Pendulum-v1": {
            "total_timesteps": 20_000,
            "gamma": 0.98,
            "buffer_size": 200_000,
            "learning_starts": 10_000,
            "batch_size": 256,
            "source": f"{ZOO}/td3.yml, and Stable-Baselines3's batch size",
        },
    }

    PROBE = {
        "num_envs": 1, "total_timesteps": 2_000, "buffer_size": 2_000, "batch_size": 32, "learning_starts": 100,
        "random_start": True, "train_every": 2, "tau": 0.05, "hidden": (32, 32), "actor_learning_rate": 2e-3,
        "critic_learning_rate": 5e-3,
    }  # fmt: skip

    def __init__(self, setup: Setup, config: Config) -> None:
        super().__init__(setup, config)
        self._build({"actor": self._actor_network()}, {"critics": Ensemble(self._critic_network(own_fan_in=True), 2)})
        self.target_noise = streams_for(setup.device, setup.seeds, "target policy")

    def predict(self, obs: np.ndarray, streams: Streams, deterministic: bool) -> np.ndarray:
        """μ(s), or as it explores: μ(s) + N(0, σ²), cut off at the bounds."""
        return self.box.scaled(
            self._greedy(obs) if deterministic else self._noisy(obs, streams, self.config.exploration_noise)
        )

    @torch.no_grad()
    def value_of(self, obs: np.ndarray) -> np.ndarray:
        """Q_1(s, μ(s)), `[S, B]`, for `rlrepro probe`."""
        inputs = self._on_device(obs)
        return self.q(self.critic, inputs, self.policy(self.actor, inputs))[:, 0].cpu().numpy()

    def update(self, batch: Transition, step: int) -> Metrics:
        """One gradient step of the critics on a batch `[S, B, ...]`.

        The actor's comes with every `policy_delay`-th, the targets' with every `target_delay`-th (0: with the actor's).
        """
        config = self.config
        self.num_updates += 1
        noise = torch.from_numpy(self.target_noise.normal(batch.reward.shape[1], self.box.num_actions))
        improve = self.num_updates % config.policy_delay == 0
        follow = self.num_updates % (config.target_delay or config.policy_delay) == 0
        return self._complete(
            self.gradient_step(batch, noise, self._fraction_left(step), improve=improve, follow=follow)
        )

    def gradient_step(
        self, batch: Transition, noise: torch.Tensor, fraction_left: float, *, improve: bool, follow: bool
    ) -> dict[str, torch.Tensor]:
        """A step of the critics, of the actor, where it is to `improve`, and of the targets, where they `follow`."""
        config = self.config
        loss, q = self.critic_loss(batch, noise)
        descend(loss, self.critic_optimiser, fraction_left * config.critic_learning_rate)
        metrics = {"losses/critic_loss": loss.detach(), "losses/q_values": q.detach()[:, 0].mean(1)}
        if improve:
            actor_loss = self.actor_loss(self.inputs(batch.obs))
            descend(actor_loss, self.actor_optimiser, fraction_left * config.actor_learning_rate)
            metrics["losses/actor_loss"] = actor_loss.detach()
        if follow:
            self.target_critic.polyak_update(self.critic, config.tau)
            self.target_actor.polyak_update(self.actor, config.tau)
        return metrics

    def critic_loss(self, batch: Transition, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Σ_m E[(Q_m(s, a) − y)²] `[S]`, and Q `[S, 2, B]`; `noise` on a' is standard normal, `[S, B, A]`."""
        config, next_inputs = self.config, self.inputs(batch.next_obs)
        with torch.no_grad():
            limit = config.target_noise_clip
            clipped = (config.target_noise * noise.to(next_inputs.device)).clamp_(-limit, limit)
            next_action = (self.policy(self.target_actor, next_inputs) + clipped).clamp_(-1.0, 1.0)  # eq. 14
            next_q = self.q(self.target_critic, next_inputs, next_action)
            target = td_target(batch.reward, next_q.amin(1), batch.terminated, config.gamma)  # eq. 10
        q = self.q(self.critic, self.inputs(batch.obs), self.box.unit(batch.action))
        return ensemble_error(q, target), q

    def actor_loss(self, inputs: torch.Tensor) -> torch.Tensor:
        """−E[Q_1(s, μ(s))] `[S]`: its gradient is eq. 1 with its sign flipped."""
        with self.critic.frozen():
            pairs = self._pairs(inputs, self.policy(self.actor, inputs))
            return -self.critic.critics.member(0, pairs)[..., 0].mean(1)
