"""C51: categorical DQN (Bellemare, Dabney & Munos, 2017, arXiv:1707.06887), Algorithm 1.

The network gives each action a distribution of returns on fixed atoms z_i, equally spaced in [v_min, v_max]:

    Z(s, a) = z_i with probability p_i(s, a) = exp θ_i(s, a) / Σ_j exp θ_j(s, a),   Q(s, a) = Σ_i z_i p_i(s, a)
    a* = argmax_a' Q_target(s', a')
    m = ΦT̂Z_target(s', a*), the atoms r + γ z_j projected onto the z_i          (eq. 7)
    loss = −Σ_i m_i log p_i(s, a)                                               (the cross-entropy term of the KL)

log p and Q are `rlrepro.action_values.CategoricalActionValues`', the projection is
`rlrepro.targets.categorical_projection`. The targets are of a network that lags, as in DQN, on which the paper builds
(Section 5): replay, ε-greedy and when that network follows (`rlrepro.off_policy.TargetClock`) are DQN's. As in CleanRL,
the loss clips probabilities, and one that is clipped gets no gradient; `min_prob` 0 is the paper's.
"""

from __future__ import annotations

import dataclasses
import math

import torch

from rlrepro.action_values import CategoricalActionValues
from rlrepro.agent import Setup, Transition, hyper
from rlrepro.sources import CLEANRL
from rlrepro.targets import categorical_projection
from rlrepro.value_networks import of_action, value_network

CODE = f"{CLEANRL}/c51.py"


class C51(CategoricalActionValues):
    """C51 for Discrete actions, on vectors (an MLP) or images (a CNN)."""

    LOSSES = ("loss",)
    GRAPHED = ("gradient_step", "q_values")

    @dataclasses.dataclass(frozen=True)
    class Config:
        learning_rate: float = hyper(2.5e-4, "Adam's step size", f"{CODE} (the paper: same)", low=0)
        gamma: float = hyper(0.99, "discount factor", CODE, low=0, high=1)
        num_atoms: int = hyper(101, "atoms of a distribution (N)", f"{CODE} (the paper: 51)", low=2)
        v_min: float = hyper(-100.0, "smallest atom", f"{CODE} (the paper: -10)")
        v_max: float = hyper(100.0, "largest atom", f"{CODE} (the paper: 10)")
        buffer_size: int = hyper(10_000, "transitions kept per seed", f"{CODE} (the paper: 1 000 000)", low=1)
        batch_size: int = hyper(128, "transitions of a batch", f"{CODE} (the paper: 32)", low=1)
        learning_starts: int = hyper(
            10_000,
            "env steps of random actions before learning",
            f"{CODE} (which acts by ε meanwhile; the paper, as DQN: 50 000)",
            low=0,
        )
        train_every: int = hyper(10, "env steps between gradient steps", f"{CODE} (the paper: 4)", low=1)
        target_every: int = hyper(500, "env steps between copies to the target network", CODE, low=1)
        epsilon_start: float = hyper(1.0, "initial ε", CODE, low=0, high=1)
        epsilon_end: float = hyper(0.05, "final ε", f"{CODE} (the paper: 0.01)", low=0, high=1)
        exploration_fraction: float = hyper(0.5, "fraction of the run in which ε falls", CODE, low=0, high=1)
        min_prob: float = hyper(
            1e-5, "probabilities enter the loss clipped to [this, 1 − this]; 0: as they are", CODE,
            low=0, high=0.5,
        )  # fmt: skip
        max_grad_norm: float = hyper(0.0, "largest norm of a seed's gradient; 0: no limit", "paper: none", low=0)
        adam_eps: float = hyper(
            0.01 / 128, "Adam's ε, whatever the batch size", f"{CODE}, 0.01 / its 128 (the paper: 0.01 / 32)", low=1e-12
        )
        hidden: tuple[int, ...] = hyper((120, 84), "units of the hidden layers", CODE, low=1, only="vectors")

    PRESETS = {"*": {"num_envs": 1, "total_timesteps": 500_000, "source": CODE}}

    PROBE = {
        "num_envs": 1, "total_timesteps": 2_000, "learning_rate": 2e-3, "buffer_size": 1_000, "batch_size": 32,
        "learning_starts": 100, "train_every": 4, "target_every": 40, "hidden": (32, 32), "num_atoms": 51,
        "v_min": -2.5, "v_max": 2.5,
    }  # fmt: skip

    def __init__(self, setup: Setup, config: Config) -> None:
        super().__init__(setup, config)
        network = value_network(setup.observation_space, config.hidden, self.num_actions, config.num_atoms)
        self._build(network, config.adam_eps)
        self.memory = self._replay()

    def loss(self, batch: Transition) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The loss `[S]` of a batch, and its metrics: Algorithm 1."""
        config = self.config
        with torch.no_grad():
            next_probs = self.log_probs(self.target, batch.next_obs).exp()
            next_probs = of_action(next_probs, self.expected(next_probs).argmax(-1))  # p(s', a*)
            discount = config.gamma * (~batch.terminated)
            m = categorical_projection(next_probs, batch.reward, discount, config.v_min, config.v_max)
        log_probs = of_action(self.log_probs(self.online, batch.obs), batch.action)
        clipped = log_probs
        if config.min_prob:
            clipped = log_probs.clamp(math.log(config.min_prob), math.log1p(-config.min_prob))
        loss = -(m * clipped).sum(-1).mean(1)
        q_values = self.expected(log_probs.detach().exp())
        return loss, {"losses/loss": loss.detach(), "losses/q_values": q_values.mean(1)}
