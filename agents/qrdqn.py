"""QR-DQN (Dabney, Rowland, Bellemare & Munos, 2018, arXiv:1710.10044), Algorithm 1.

The network gives each action N equally likely returns θ_i(s, a), the quantiles at τ̂_i = (2i − 1) / 2N:

    Q(s, a) = Σ_i θ_i(s, a) / N,    a* = argmax_a' Q_target(s', a'),    T θ_j = r + γ θ_target,j(s', a*)
    loss = Σ_i E_j[ |τ̂_i − 1{u_ij < 0}| L_κ(u_ij) ],  u_ij = T θ_j − θ_i(s, a)      (Algorithm 1 with eq. 10)
    L_κ(u) = ½ u² where |u| ≤ κ, else κ (|u| − ½ κ)                                  (eq. 9)

(`rlrepro.targets.quantile_huber`). Replay, ε-greedy and when the target network follows are DQN's
(`rlrepro.action_values.TargetedActionValues`, `rlrepro.off_policy.TargetClock`). The setting `tau` is the weight by
which the target network follows, as everywhere here, not a quantile's fraction.
"""

from __future__ import annotations

import dataclasses

import torch

from rlrepro.action_values import TargetedActionValues
from rlrepro.agent import Setup, Transition, hyper
from rlrepro.seeds import Stack
from rlrepro.sources import CLEANRL
from rlrepro.targets import quantile_huber, td_target
from rlrepro.value_networks import of_action, value_network

CODE = f"{CLEANRL}/dqn.py"


class QRDQN(TargetedActionValues):
    """QR-DQN for Discrete actions, on vectors (an MLP) or images (a CNN)."""

    LOSSES = ("loss",)
    GRAPHED = ("gradient_step", "q_values")

    @dataclasses.dataclass(frozen=True)
    class Config:
        learning_rate: float = hyper(5e-4, "Adam's step size", "ours: CartPole-v1 (the paper: 5e-5)", low=0)
        gamma: float = hyper(0.99, "discount factor", "paper: on Atari 2600", low=0, high=1)
        num_quantiles: int = hyper(50, "quantiles of a distribution (N)", "ours: speed (the paper: 200)", low=1)
        kappa: float = hyper(1.0, "where the quantile Huber loss turns linear; 0: |u|", "paper: on Atari 2600", low=0)
        buffer_size: int = hyper(10_000, "transitions kept per seed", CODE, low=1)
        batch_size: int = hyper(128, "transitions of a batch", f"{CODE} (the paper: 32)", low=1)
        learning_starts: int = hyper(
            10_000, "env steps of random actions before learning", f"{CODE} (which acts by ε meanwhile)", low=0
        )
        train_every: int = hyper(10, "env steps between gradient steps", CODE, low=1)
        gradient_steps: int = hyper(1, "gradient steps each time", "secondary: Mnih et al. (2015), Algorithm 1", low=1)
        target_every: int = hyper(500, "env steps between updates of the target network", CODE, low=1)
        tau: float = hyper(1.0, "weight of the online parameters in the target", "paper: on Atari 2600", low=0, high=1)
        epsilon_start: float = hyper(1.0, "initial ε", "paper: as DQN", low=0, high=1)
        epsilon_end: float = hyper(0.05, "final ε", f"{CODE} (the paper: 0.01)", low=0, high=1)
        exploration_fraction: float = hyper(0.5, "fraction of the run in which ε falls", CODE, low=0, high=1)
        max_grad_norm: float = hyper(0.0, "largest norm of a seed's gradient; 0: no limit", "paper: none", low=0)
        adam_eps: float = hyper(0.01 / 32, "Adam's ε", "paper: on Atari 2600, at its batch of 32", low=1e-12)
        hidden: tuple[int, ...] = hyper((120, 84), "units of the hidden layers", CODE, low=1, only="vectors")

    PRESETS = {"*": {"num_envs": 1, "total_timesteps": 500_000, "source": CODE}}

    PROBE = {
        "num_envs": 1, "total_timesteps": 2_000, "learning_rate": 2e-3, "buffer_size": 1_000, "batch_size": 32,
        "learning_starts": 100, "train_every": 4, "target_every": 40, "hidden": (32, 32), "num_quantiles": 11,
    }  # fmt: skip

    def __init__(self, setup: Setup, config: Config) -> None:
        super().__init__(setup, config)
        network = value_network(setup.observation_space, config.hidden, self.num_actions, config.num_quantiles)
        self._build(network, config.adam_eps)
        self.memory = self._replay()

    def quantiles(self, stack: Stack, obs: torch.Tensor) -> torch.Tensor:
        """θ_i(s, a), `[S, B, num_actions, num_quantiles]`."""
        return stack.q(self.inputs(obs)).unflatten(-1, (self.num_actions, -1))

    def q_values(self, obs: torch.Tensor) -> torch.Tensor:
        """Q(s, a): the mean of the quantiles."""
        return self.quantiles(self.online, obs).mean(-1)

    def loss(self, batch: Transition) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The loss `[S]` of a batch, and its metrics: Algorithm 1."""
        with torch.no_grad():
            next_quantiles = self.quantiles(self.target, batch.next_obs)
            best = next_quantiles.mean(-1).argmax(-1)  # a*
            next_quantiles = of_action(next_quantiles, best)
            reward, terminated = batch.reward.unsqueeze(-1), batch.terminated.unsqueeze(-1)
            target = td_target(reward, next_quantiles, terminated, self.config.gamma)  # T θ_j
        quantiles = of_action(self.quantiles(self.online, batch.obs), batch.action)
        loss = quantile_huber(quantiles, target, self.config.kappa).mean(1)
        return loss, {"losses/loss": loss.detach(), "losses/q_values": quantiles.detach().mean((1, 2))}
