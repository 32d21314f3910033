"""Rainbow (Hessel et al., 2018, arXiv:1710.02298): six extensions of DQN in one agent.

- distributional (Bellemare et al., 2017): each action's return has probabilities p_i on atoms z_i
  (`rlrepro.action_values.CategoricalActionValues`);
- n-step, double, target network: a* = argmax_a' Q(s_n, a'), and m = ΦT̂Z_target(s_n, a*), the projection of
  Σ_{k<n} γ^k r_k + γ^n z_j onto the atoms          ("The Integrated Agent"; the sums: `rlrepro.n_step.NStep`,
  the projection: `rlrepro.targets.categorical_projection`);
- the loss is KL(m ‖ p(s, a)), and transitions are drawn in proportion to (KL + 10⁻⁶)^ω, weighted by (N P)^−β, divided
  by the batch's largest (Schaul et al., 2016, Algorithm 1), β rising to 1 over the run (their Section 3.4;
  `rlrepro.prioritised.PrioritisedReplay`);
- dueling: p_i(s, a) ∝ exp(v_i(s) + a_i(s, a) − mean_a' a_i(s, a'))     ("The Integrated Agent")
- noisy layers instead of ε-greedy (Fortunato et al., 2018): each sub-environment acts by a sample of the noise of its
  own, and each loss draws three, for p(s, a), for the choice of a*, and for its value
  (`rlrepro.value_networks.ValueNetwork`, which has the dueling streams too).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import torch

from rlrepro.action_values import CategoricalActionValues
from rlrepro.agent import Setup, Transition, hyper
from rlrepro.n_step import NStep
from rlrepro.sources import CLEANRL
from rlrepro.streams import Streams
from rlrepro.targets import categorical_projection
from rlrepro.value_networks import ValueNetwork, of_action

CLIPPING = "secondary: Wang et al. (2016), 4.2"


class Rainbow(CategoricalActionValues):
    """Rainbow for Discrete actions, on vectors (dense layers) or images (a CNN).

    Its loss draws noise, so that it is neither one of `LOSSES` nor in `GRAPHED`.
    """

    STATE = ("layer_noise",)

    @dataclasses.dataclass(frozen=True)
    class Config:
        learning_rate: float = hyper(5e-4, "Adam's step size", "ours: CartPole-v1 (the paper: 6.25e-5)", low=0)
        gamma: float = hyper(0.99, "discount factor", "paper: appendix, as DQN", low=0, high=1)
        num_steps: int = hyper(3, "rewards in a target (n)", "paper: Table 1", low=1)
        num_atoms: int = hyper(51, "atoms of a distribution", "paper: Table 1", low=2)
        v_min: float = hyper(-100.0, "smallest atom", f"{CLEANRL}/c51.py (the paper: -10)")
        v_max: float = hyper(100.0, "largest atom", f"{CLEANRL}/c51.py (the paper: 10)")
        buffer_size: int = hyper(50_000, "transitions kept per seed", "ours: CartPole-v1 (the paper: 1e6)", low=1)
        batch_size: int = hyper(32, "transitions of a batch", "paper: as DQN", low=1)
        learning_starts: int = hyper(
            1_000,
            "env steps before learning, of random actions",
            "ours: CartPole-v1 (the paper: 20e3, acting by its noisy nets)",
            low=0,
        )
        train_every: int = hyper(4, "env steps between gradient steps", "paper: as DQN", low=1)
        target_every: int = hyper(
            500, "env steps between target copies", "ours: CartPole-v1 (the paper: 8e3, 32e3 frames)", low=1
        )
        omega: float = hyper(0.5, "exponent of the priorities (ω)", "paper: Table 1", low=0)
        beta: float = hyper(0.4, "initial exponent of the weights, which ends at 1", "paper: Table 1", low=0, high=1)
        sigma: float = hyper(
            0.5, "initial σ of the noise, divided by √fan_in; 0: none, and no exploration", "paper: Table 1", low=0
        )
        max_grad_norm: float = hyper(
            10.0, "largest norm of a seed's gradient; 0: no limit", f"{CLIPPING} (the paper: none)", low=0
        )
        adam_eps: float = hyper(1.5e-4, "Adam's ε", "paper: Table 1", low=1e-12)
        hidden: tuple[int, ...] = hyper((128, 128), "hidden layers", "ours: CartPole-v1", low=1, only="vectors")

    PRESETS = {"*": {"num_envs": 1, "total_timesteps": 200_000, "source": "ours: CartPole-v1"}}

    PROBE = {
        "num_envs": 1, "total_timesteps": 2_000, "learning_rate": 2e-3, "buffer_size": 1_000, "batch_size": 32,
        "learning_starts": 100, "train_every": 4, "target_every": 40, "hidden": (32, 32), "num_atoms": 51,
        "v_min": -2.5, "v_max": 2.5, "num_steps": 1,
    }  # fmt: skip

    def __init__(self, setup: Setup, config: Config) -> None:
        super().__init__(setup, config)
        self.network = ValueNetwork(
            setup.observation_space,
            config.hidden,
            self.num_actions,
            config.num_atoms,
            dueling=True,
            sigma=config.sigma,
        )
        self._build(self.network, config.adam_eps)
        self.layer_noise = Streams(setup.seeds, "noise")  # what the losses draw their noise from
        self.prioritised_replay = self._prioritised_replay(config.omega, config.beta)
        self.memory = NStep(self.prioritised_replay, config.num_steps, config.gamma)

    def _draw(self, noise: Streams, samples: int) -> dict[str, torch.Tensor]:
        return self.network.draw(noise, self.setup.device, samples)

    def act(self, obs: np.ndarray, step: int) -> tuple[np.ndarray, Mapping[str, np.ndarray]]:
        """Greedy for a sample of the noise each; uniformly random before learning starts."""
        if step < self.config.learning_starts:
            return self.exploration.integers(self.num_actions, obs.shape[1]), {}
        return self._greedy_on_host(obs, self.exploration), {}

    def predict(self, obs: np.ndarray, streams: Streams, deterministic: bool) -> np.ndarray:
        """Greedy for the mean weights, or for a sample of the noise each."""
        return self._greedy_on_host(obs, None if deterministic else streams)

    def loss(self, batch: Transition) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The loss `[S]` of a batch, and its metrics with each transition's `error` `[S, B]`, its KL."""
        config = self.config
        with torch.no_grad():
            probs = self.log_probs(self.online, batch.next_obs, self.layer_noise).exp()
            best = self.expected(probs).argmax(-1)  # a*, double: the online network's choice
            next_probs = of_action(self.log_probs(self.target, batch.next_obs, self.layer_noise), best).exp()
            discount = batch.extras["discount"] * (~batch.terminated)  # γ^n, or 0
            projected = categorical_projection(next_probs, batch.reward, discount, config.v_min, config.v_max)
            negative_entropy = torch.xlogy(projected, projected).sum(-1)
        log_probs = of_action(self.log_probs(self.online, batch.obs, self.layer_noise), batch.action)
        kl = negative_entropy - (projected * log_probs).sum(-1)
        loss = (kl * batch.extras["weight"]).mean(1)
        kl = kl.detach().clamp(min=0.0)  # what rounding leaves below
        q_values = self.expected(log_probs.detach().exp())
        return loss, {"losses/loss": loss.detach(), "losses/q_values": q_values.mean(1), "error": kl}
