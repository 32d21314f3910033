"""C51: categorical DQN (Bellemare, Dabney & Munos, 2017, arXiv:1707.06887), Algorithm 1.

The network gives each action a distribution of returns on fixed atoms z_i, equally spaced in [v_min, v_max]:

    Z(s, a) = z_i with probability p_i(s, a) = exp θ_i(s, a) / Σ_j exp θ_j(s, a),   Q(s, a) = Σ_i z_i p_i(s, a)
    a* = argmax_a' Q_target(s', a')
    m = ΦT̂Z_target(s', a*), the atoms r + γ z_j projected onto the z_i          (eq. 7)
    loss = −Σ_i m_i log p_i(s, a)                                               (the cross-entropy term of the KL)
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
import torch

from rlrepro.agent import Metrics, Setup, Transition, UnsupportedSpace, hyper
from rlrepro.memory import Replay
from rlrepro.networks import features, is_image
from rlrepro.off_policy import TargetClock
from rlrepro.schedules import linear
from rlrepro.seeds import Adam, Stack, Streams, clip_by_norm
from rlrepro.targets import categorical_projection
from rlrepro.value_networks import value_network


class C51:
    """C51 for Discrete actions, on vectors (an MLP) or images (a CNN)."""

    @dataclasses.dataclass(frozen=True)
    class Config:
        learning_rate: float = hyper(2.5e-4, "Adam's step size", "code: CleanRL c51.py (the paper: same)", low=0)
        gamma: float = hyper(0.99, "discount factor", "code: CleanRL c51.py", low=0, high=1)
        num_atoms: int = hyper(101, "atoms of a distribution (N)", "code: CleanRL c51.py (the paper: 51)", low=2)
        v_min: float = hyper(-100.0, "smallest atom", "code: CleanRL c51.py (the paper: -10)")
        v_max: float = hyper(100.0, "largest atom", "code: CleanRL c51.py (the paper: 10)")
        buffer_size: int = hyper(10_000, "transitions kept per seed", "code: CleanRL c51.py", low=1)
        batch_size: int = hyper(128, "transitions of a batch", "code: CleanRL c51.py (the paper: 32)", low=1)
        learning_starts: int = hyper(10_000, "env steps before learning", "code: CleanRL c51.py", low=0)
        train_every: int = hyper(10, "env steps between gradient steps", "code: CleanRL c51.py", low=1)
        target_every: int = hyper(500, "env steps between copies to the target network", "code: CleanRL c51.py", low=1)
        epsilon_start: float = hyper(1.0, "first ε", "code: CleanRL c51.py", low=0, high=1)
        epsilon_end: float = hyper(0.05, "last ε", "code: CleanRL c51.py", low=0, high=1)
        exploration_fraction: float = hyper(
            0.5, "part of the run in which ε falls", "code: CleanRL c51.py", low=0, high=1
        )
        min_prob: float = hyper(
            1e-5, "probabilities enter the loss clipped to [this, 1 − this]; 0: as they are", "code: CleanRL c51.py",
            low=0, high=0.5,
        )  # fmt: skip
        max_grad_norm: float = hyper(0.0, "largest norm of a seed's gradient; 0: no limit", "paper: none", low=0)
        adam_eps: float = hyper(0.01 / 128, "Adam's ε", "code: CleanRL c51.py, 0.01 / batch size", low=1e-12)
        hidden: tuple[int, ...] = hyper((120, 84), "units of the hidden layers", "code: CleanRL c51.py", low=1)

    PRESETS = {"*": {"num_envs": 1, "total_timesteps": 500_000, "source": "code: CleanRL c51.py"}}

    PROBE = {
        "num_envs": 1, "total_timesteps": 2_000, "learning_rate": 2e-3, "buffer_size": 1_000, "batch_size": 32,
        "learning_starts": 100, "train_every": 4, "target_every": 40, "hidden": (32, 32), "num_atoms": 51,
        "v_min": -2.5, "v_max": 2.5,
    }  # fmt: skip

    def __init__(self, setup: Setup, config: Config) -> None:
        if not isinstance(setup.action_space, gymnasium.spaces.Discrete):
            raise UnsupportedSpace(f"Discrete actions, not {type(setup.action_space).__name__}")
        if config.v_min >= config.v_max:
            raise ValueError(f"--v-min {config.v_min:g} is not below --v-max {config.v_max:g}")
        self.config, self.setup = config, setup
        self.num_actions = int(setup.action_space.n)
        self.image = is_image(setup.observation_space)
        network = value_network(setup.observation_space, config.hidden, self.num_actions, config.num_atoms)
        self.online = Stack(setup.seeds, setup.device, q=network)
        self.target = self.online.lagged_copy()
        self.atoms = torch.linspace(config.v_min, config.v_max, config.num_atoms, device=setup.device)
        self.optimiser = Adam(self.online, config.learning_rate, eps=config.adam_eps)
        self.exploration = Streams(setup.seeds, "policy")
        self.memory = Replay(
            Streams(setup.seeds, "replay"),
            config.buffer_size,
            config.batch_size,
            config.learning_starts,
            config.train_every,
            device=setup.device,
        )
        self.clock = TargetClock(config, setup.num_envs)

    def log_probs(self, stack: Stack, obs: torch.Tensor) -> torch.Tensor:
        """log p_i(s, a), `[S, B, num_actions, num_atoms]`."""
        inputs = obs if self.image else features(self.setup.observation_space, obs)
        return torch.log_softmax(stack.q(inputs).unflatten(-1, (self.num_actions, -1)), -1)

    def greedy(self, probs: torch.Tensor) -> torch.Tensor:
        """argmax_a Σ_i z_i p_i(s, a), `[S, B]`."""
        return (probs * self.atoms).sum(-1).argmax(-1)

    def epsilon(self, step: int) -> float:
        config = self.config
        span = config.exploration_fraction * self.setup.total_timesteps
        return linear(config.epsilon_start, config.epsilon_end, span, step)

    def act(self, obs: np.ndarray, step: int) -> tuple[np.ndarray, Mapping[str, np.ndarray]]:
        """ε-greedy; uniformly random before learning starts."""
        epsilon = self.epsilon(step) if step >= self.config.learning_starts else 1.0
        return self._epsilon_greedy(obs, self.exploration, epsilon), {}

    def predict(self, obs: np.ndarray, streams: Streams, deterministic: bool) -> np.ndarray:
        """Greedy, or ε-greedy with the last ε."""
        return self._epsilon_greedy(obs, streams, 0.0 if deterministic else self.config.epsilon_end)

    def _epsilon_greedy(self, obs: np.ndarray, streams: Streams, epsilon: float) -> np.ndarray:
        if epsilon == 0.0:
            return self._greedy_on_host(obs)
        draw = streams.uniform(obs.shape[1]) / epsilon  # below 1 with probability ε, and then uniform
        explore = draw < 1.0
        random = (draw * self.num_actions).astype(np.int64)
        return random if explore.all() else np.where(explore, random, self._greedy_on_host(obs))

    @torch.no_grad()
    def _greedy_on_host(self, obs: np.ndarray) -> np.ndarray:
        return self.greedy(self.log_probs(self.online, torch.from_numpy(obs).to(self.setup.device)).exp()).cpu().numpy()

    @torch.no_grad()
    def value_of(self, obs: np.ndarray) -> np.ndarray:
        """max_a Q(s, a), `[S, B]`, for `rlrepro probe`."""
        probs = self.log_probs(self.online, torch.from_numpy(obs).to(self.setup.device)).exp()
        return (probs * self.atoms).sum(-1).amax(-1).cpu().numpy()

    def update(self, batch: Transition, step: int) -> Metrics:
        """One gradient step on a batch `[S, B, ...]`, and a copy to the target network when it is due."""
        loss, metrics = self.loss(batch)
        self.online.gradient.zero_()
        loss.sum().backward()
        if self.config.max_grad_norm:
            clip_by_norm(self.online.gradient, self.config.max_grad_norm)
        self.optimiser.step()
        self.clock.follow(self.target, self.online, step)
        return metrics

    def loss(self, batch: Transition) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The loss `[S]` of a batch, and its metrics: Algorithm 1."""
        config = self.config
        with torch.no_grad():
            next_probs = self.log_probs(self.target, batch.next_obs).exp()
            next_probs = _of_action(next_probs, self.greedy(next_probs))  # p(s', a*)
            discount = config.gamma * (~batch.terminated)
            projected = categorical_projection(next_probs, batch.reward, discount, config.v_min, config.v_max)
        log_probs = _of_action(self.log_probs(self.online, batch.obs), batch.action)
        clipped = log_probs
        if config.min_prob:
            clipped = log_probs.clamp(math.log(config.min_prob), math.log1p(-config.min_prob))
        loss = -(projected * clipped).sum(-1).mean(1)
        q_values = (log_probs.detach().exp() * self.atoms).sum(-1)
        return loss, {"losses/loss": loss.detach(), "losses/q_values": q_values.mean(1)}

    def get_state(self) -> dict[str, Any]:
        return {
            "online": self.online.matrix.detach(),
            "target": self.target.matrix,
            "adam": self.optimiser.get_state(),
            "exploration": self.exploration.get_state(),
            "target_period": self.clock.period,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        self.online.load(state["online"])
        self.target.load(state["target"])
        self.optimiser.set_state(state.get("adam", {}))
        self.exploration.set_state(state["exploration"])
        self.clock.period = state["target_period"]

    def get_policy(self) -> dict[str, torch.Tensor]:
        return self.online.named()

    def set_policy(self, policy: Mapping[str, torch.Tensor]) -> None:
        self.online.load_named(policy)


def _of_action(values: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
    """`[S, B, atoms]` of the actions `[S, B]` from `[S, B, num_actions, atoms]`."""
    index = action[..., None, None].expand(*action.shape, 1, values.shape[-1])
    return values.gather(-2, index).squeeze(-2)
