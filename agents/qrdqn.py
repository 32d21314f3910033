"""QR-DQN (Dabney, Rowland, Bellemare & Munos, 2018, arXiv:1710.10044), Algorithm 1.

The network gives each action N equally likely returns θ_i(s, a), the quantiles at τ̂_i = (2i − 1) / 2N:

    Q(s, a) = Σ_i θ_i(s, a) / N,    a* = argmax_a' Q_target(s', a'),    T θ_j = r + γ θ_target,j(s', a*)
    loss = Σ_i E_j[ |τ̂_i − 1{u_ij < 0}| L_κ(u_ij) ],  u_ij = T θ_j − θ_i(s, a)      (eq. 9 and 10)
"""

from __future__ import annotations

import dataclasses
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
from rlrepro.targets import quantile_huber, td_target
from rlrepro.value_networks import value_network


class QRDQN:
    """QR-DQN for Discrete actions, on vectors (an MLP) or images (a CNN)."""

    @dataclasses.dataclass(frozen=True)
    class Config:
        learning_rate: float = hyper(5e-4, "Adam's step size", "ours: CartPole-v1 (the paper: 5e-5)", low=0)
        gamma: float = hyper(0.99, "discount factor", "paper: Section 5", low=0, high=1)
        num_quantiles: int = hyper(50, "quantiles of a distribution (N)", "ours: speed (the paper: 200)", low=1)
        kappa: float = hyper(1.0, "where the quantile Huber loss turns linear; 0: |u|", "paper: Section 5", low=0)
        buffer_size: int = hyper(10_000, "transitions kept per seed", "code: CleanRL dqn.py", low=1)
        batch_size: int = hyper(128, "transitions of a batch", "code: CleanRL dqn.py (the paper: 32)", low=1)
        learning_starts: int = hyper(10_000, "env steps before learning", "code: CleanRL dqn.py", low=0)
        train_every: int = hyper(10, "env steps between gradient steps", "code: CleanRL dqn.py", low=1)
        gradient_steps: int = hyper(1, "gradient steps each time", "paper: Algorithm 1", low=1)
        target_every: int = hyper(500, "env steps between updates of the target network", "code: CleanRL dqn.py", low=1)
        tau: float = hyper(1.0, "weight of the online parameters in the target", "paper: Section 5", low=0, high=1)
        epsilon_start: float = hyper(1.0, "first ε", "paper: as DQN", low=0, high=1)
        epsilon_end: float = hyper(0.05, "last ε", "code: CleanRL dqn.py (the paper: 0.01)", low=0, high=1)
        exploration_fraction: float = hyper(
            0.5, "part of the run in which ε falls", "code: CleanRL dqn.py", low=0, high=1
        )
        max_grad_norm: float = hyper(0.0, "largest norm of a seed's gradient; 0: no limit", "paper: none", low=0)
        adam_eps: float = hyper(0.01 / 32, "Adam's ε", "paper: Section 5", low=1e-12)
        hidden: tuple[int, ...] = hyper((120, 84), "units of the hidden layers", "code: CleanRL dqn.py", low=1)

    PRESETS = {"*": {"num_envs": 1, "total_timesteps": 500_000, "source": "code: CleanRL dqn.py"}}

    PROBE = {
        "num_envs": 1, "total_timesteps": 2_000, "learning_rate": 2e-3, "buffer_size": 1_000, "batch_size": 32,
        "learning_starts": 100, "train_every": 4, "target_every": 40, "hidden": (32, 32), "num_quantiles": 11,
    }  # fmt: skip

    def __init__(self, setup: Setup, config: Config) -> None:
        if not isinstance(setup.action_space, gymnasium.spaces.Discrete):
            raise UnsupportedSpace(f"Discrete actions, not {type(setup.action_space).__name__}")
        self.config, self.setup = config, setup
        self.num_actions = int(setup.action_space.n)
        self.image = is_image(setup.observation_space)
        network = value_network(setup.observation_space, config.hidden, self.num_actions, config.num_quantiles)
        self.online = Stack(setup.seeds, setup.device, q=network)
        self.target = self.online.lagged_copy()
        self.optimiser = Adam(self.online, config.learning_rate, eps=config.adam_eps)
        self.exploration = Streams(setup.seeds, "policy")
        self.memory = Replay(
            Streams(setup.seeds, "replay"),
            config.buffer_size,
            config.batch_size,
            config.learning_starts,
            config.train_every,
            config.gradient_steps,
            setup.device,
        )
        self.clock = TargetClock(config, setup.num_envs)

    def quantiles(self, stack: Stack, obs: torch.Tensor) -> torch.Tensor:
        """θ_i(s, a), `[S, B, num_actions, num_quantiles]`."""
        inputs = obs if self.image else features(self.setup.observation_space, obs)
        return stack.q(inputs).unflatten(-1, (self.num_actions, -1))

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
        quantiles = self.quantiles(self.online, torch.from_numpy(obs).to(self.setup.device))
        return quantiles.mean(-1).argmax(-1).cpu().numpy()

    @torch.no_grad()
    def value_of(self, obs: np.ndarray) -> np.ndarray:
        """max_a Q(s, a), `[S, B]`, for `rlrepro probe`."""
        return self.quantiles(self.online, torch.from_numpy(obs).to(self.setup.device)).mean(-1).amax(-1).cpu().numpy()

    def update(self, batch: Transition, step: int) -> Metrics:
        """One gradient step on a batch `[S, B, ...]`, and the target network when it is due.

        It is due after the last of the `gradient_steps` of the time in which a multiple of `target_every` was passed.
        """
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
        with torch.no_grad():
            next_quantiles = self.quantiles(self.target, batch.next_obs)
            best = next_quantiles.mean(-1).argmax(-1)  # a*
            next_quantiles = _of_action(next_quantiles, best)
            reward, terminated = batch.reward.unsqueeze(-1), batch.terminated.unsqueeze(-1)
            target = td_target(reward, next_quantiles, terminated, self.config.gamma)  # T θ_j
        quantiles = _of_action(self.quantiles(self.online, batch.obs), batch.action)
        loss = quantile_huber(quantiles, target, self.config.kappa).mean(1)
        return loss, {"losses/loss": loss.detach(), "losses/q_values": quantiles.detach().mean((1, 2))}

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
    """`[S, B, quantiles]` of the actions `[S, B]` from `[S, B, num_actions, quantiles]`."""
    index = action[..., None, None].expand(*action.shape, 1, values.shape[-1])
    return values.gather(-2, index).squeeze(-2)
