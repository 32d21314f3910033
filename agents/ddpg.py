"""Deep deterministic policy gradient (Lillicrap et al., 2016, arXiv:1509.02971), Algorithm 1.

The critic regresses on y = r + γ Q'(s', μ'(s')) (eq. 5), the actor follows

    ∇_θ J = E[ ∇_a Q(s, a)|_{a = μ(s)} ∇_θ μ(s) ]                                        (eq. 6)

and after each the targets move: θ' ← τ θ + (1 − τ) θ'. Exploration adds Ornstein–Uhlenbeck or Gaussian noise. The
defaults are those of the paper on low-dimensional observations, but for its batch normalisation.

Networks act in [-1, 1], and noise is in these units; the memory keeps the environment's actions. The critic meets them
in [-1, 1] too, or, with `critic_units = env`, as the environment does.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from rlrepro.agent import Metrics, Setup, Transition, UnsupportedSpace, hyper
from rlrepro.distributions import GaussianNoise, OrnsteinUhlenbeck, UnitBox
from rlrepro.memory import Replay
from rlrepro.networks import MLP, apart, fan_in_uniform, features, is_image, num_features, uniform
from rlrepro.schedules import linear
from rlrepro.seeds import Adam, Stack, Streams
from rlrepro.targets import td_target

PAPER = "paper: Section 7"
MUSHROOM = "code: MushroomRL/mushroom-rl-benchmark@a50c3974a59d6d0a3547136681efcfc7635ec74a DDPGBuilder.default"


class DDPG:
    """DDPG for bounded Box actions, on vectors."""

    @dataclasses.dataclass(frozen=True)
    class Config:
        actor_learning_rate: float = hyper(1e-4, "step size of the actor's Adam", PAPER, low=0)
        critic_learning_rate: float = hyper(1e-3, "step size of the critic's Adam", PAPER, low=0)
        anneal: bool = hyper(False, "step sizes fall linearly to 0", "code: rl-zoo3 lin_ schedules")
        weight_decay: float = hyper(1e-2, "L2 decay of the critic: w ‖θ‖²/2 in its loss", PAPER, low=0)
        gamma: float = hyper(0.99, "discount factor", PAPER, low=0, high=1)
        tau: float = hyper(0.001, "weight of the online parameters in the targets", PAPER, low=0, high=1)
        buffer_size: int = hyper(1_000_000, "transitions kept per seed", PAPER, low=1)
        batch_size: int = hyper(64, "transitions of a batch", PAPER, low=1)
        learning_starts: int = hyper(1000, "env steps before learning", "ours: the paper names none", low=0)
        random_start: bool = hyper(False, "before that, uniformly random actions", "paper: Algorithm 1 has none")
        train_every: int = hyper(1, "env steps between times of learning", "paper: Algorithm 1", low=1)
        gradient_steps: int = hyper(1, "gradient steps each time", "paper: Algorithm 1", low=1)
        policy_delay: int = hyper(
            1, "critic updates for one of actor and targets", "paper: Algorithm 1; 2: code: CleanRL", low=1
        )
        noise: str = hyper("ou", "exploration", f"{PAPER}; gaussian: code: CleanRL", choices=("ou", "gaussian"))
        noise_std: float = hyper(0.2, "its deviation (σ)", PAPER, low=0)
        noise_theta: float = hyper(0.15, "θ of the Ornstein–Uhlenbeck process", PAPER, low=0)
        noise_dt: float = hyper(1.0, "its time step Δt", f"ours: the paper names none; 0.01: {MUSHROOM}", low=0)
        hidden: tuple[int, ...] = hyper((400, 300), "units of the hidden layers", PAPER, low=1)
        action_layer: str = hyper(
            "second", "layers of the critic that see the action", f"{PAPER}; first: code: CleanRL, Stable-Baselines3",
            choices=("first", "second", "both"),
        )  # fmt: skip
        action_fan_in: str = hyper(
            "joint", "where it is late, its weights start by the fan-in of the layer or of the action alone",
            f"{PAPER}; own: {MUSHROOM}", choices=("joint", "own"),
        )  # fmt: skip
        output_init: float = hyper(3e-3, "last layers start uniform in ± this; 0: ±1/√fan_in", PAPER, low=0)
        critic_units: str = hyper(
            "unit", "units of the actions that the critic sees", f"code: Stable-Baselines3; env: {MUSHROOM}",
            choices=("unit", "env"),
        )  # fmt: skip

    PRESETS = {
        "*": {"num_envs": 1, "total_timesteps": 1_000_000, "source": "ours (the paper: up to 2.5 million)"},
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
            "source": "code: rl-zoo3 hyperparams/ddpg.yml, the rest of Stable-Baselines3",
        },
    }

    PROBE = {
        "num_envs": 1, "total_timesteps": 4_000, "buffer_size": 4_000, "batch_size": 32, "learning_starts": 100,
        "random_start": True, "train_every": 2, "tau": 0.05, "hidden": (32, 32), "actor_learning_rate": 1e-3,
        "critic_learning_rate": 5e-3, "weight_decay": 0.0,
    }  # fmt: skip

    def __init__(self, setup: Setup, config: Config) -> None:
        if is_image(setup.observation_space):
            raise UnsupportedSpace("observations that are vectors, not images")
        if config.action_layer != "first" and len(config.hidden) < 2:
            raise ValueError(f"--action-layer {config.action_layer} needs two layers in --hidden")
        self.config, self.setup = config, setup
        self.box = UnitBox(setup.action_space, setup.device)
        num_obs, num_actions = num_features(setup.observation_space), self.box.num_actions
        inner = [fan_in_uniform] * len(config.hidden)
        last = uniform(config.output_init) if config.output_init else fan_in_uniform
        late = 0 if config.action_layer == "first" else num_actions
        second = apart(late) if late and config.action_fan_in == "own" else fan_in_uniform
        critic = MLP(
            (num_obs + num_actions, *config.hidden, 1),
            "relu",
            [*inner[:1], second, *inner[2:], last] if len(inner) > 1 else [*inner, last],
            input_gradient=True,
            late=late,
            early=config.action_layer == "both",
        )
        actor = MLP((num_obs, *config.hidden, num_actions), "relu", [*inner, last])
        self.actor = Stack(setup.seeds, setup.device, actor=actor)
        self.critic = Stack(setup.seeds, setup.device, critic=critic)
        self.target_actor, self.target_critic = self.actor.lagged_copy(), self.critic.lagged_copy()
        self.actor_optimiser = Adam(self.actor, config.actor_learning_rate)
        self.critic_optimiser = Adam(self.critic, config.critic_learning_rate, weight_decay=config.weight_decay)
        self.exploration = Streams(setup.seeds, "policy")
        self.noise = (
            OrnsteinUhlenbeck(config.noise_std, config.noise_theta, config.noise_dt)
            if config.noise == "ou"
            else GaussianNoise(config.noise_std)
        )
        times = config.learning_starts, config.train_every, config.gradient_steps
        replay = Streams(setup.seeds, "replay")
        self.memory = Replay(replay, config.buffer_size, config.batch_size, *times, setup.device)
        self._num_updates = 0
        self._actor_loss = torch.zeros(setup.num_seeds, device=setup.device)  # of the last update that had one

    def act(self, obs: np.ndarray, step: int) -> tuple[np.ndarray, Mapping[str, np.ndarray]]:
        """μ(s) + noise, cut off at the bounds; the process of the noise begins anew with each episode."""
        if self.config.random_start and step < self.config.learning_starts:
            return self.box.scaled(self.box.uniform(self.exploration, obs.shape[1])), {}
        unit = self._greedy(obs)
        ended = self.memory.ended(obs.shape[1]) if self.config.noise == "ou" else None
        return self.box.scaled(np.clip(unit + self.noise.sample(self.exploration, unit.shape, ended), -1.0, 1.0)), {}

    def predict(self, obs: np.ndarray, streams: Streams, deterministic: bool) -> np.ndarray:
        """μ(s), or with independent noise of the exploration's deviation."""
        unit = self._greedy(obs)
        if not deterministic:
            unit = np.clip(unit + self.config.noise_std * streams.normal(*unit.shape[1:]), -1.0, 1.0)
        return self.box.scaled(unit)

    @torch.no_grad()
    def _greedy(self, obs: np.ndarray) -> np.ndarray:
        return self.policy(self.actor, self._inputs(torch.from_numpy(obs).to(self.setup.device))).cpu().numpy()

    @torch.no_grad()
    def value_of(self, obs: np.ndarray) -> np.ndarray:
        """Q(s, μ(s)), `[S, B]`, for `rlrepro probe`."""
        inputs = self._inputs(torch.from_numpy(obs).to(self.setup.device))
        return self.q(self.critic, inputs, self.policy(self.actor, inputs)).cpu().numpy()

    def _inputs(self, obs: torch.Tensor) -> torch.Tensor:
        return features(self.setup.observation_space, obs)

    def policy(self, actor: Stack, obs: torch.Tensor) -> torch.Tensor:
        """μ(s) in [-1, 1], `[S, B, A]`."""
        return torch.tanh(actor.actor(obs))

    def q(self, critic: Stack, obs: torch.Tensor, unit: torch.Tensor) -> torch.Tensor:
        """Q(s, a) `[S, B]` of actions in [-1, 1]."""
        action = self.box.in_env_units(unit) if self.config.critic_units == "env" else unit
        return critic.critic(torch.cat([obs, action], -1))[..., 0]

    def update(self, batch: Transition, step: int) -> Metrics:
        """One gradient step of the critic on a batch `[S, B, ...]`, then of the actor, then the targets."""
        config = self.config
        rate = linear(1.0, 0.0, self.setup.total_timesteps, step) if config.anneal else 1.0
        loss, q = self.critic_loss(batch)
        self.critic.gradient.zero_()
        loss.sum().backward()
        self.critic_optimiser.step(rate * config.critic_learning_rate)
        self._num_updates += 1
        if self._num_updates % config.policy_delay == 0:
            actor_loss = self.actor_loss(self._inputs(batch.obs))
            self.actor.gradient.zero_()
            actor_loss.sum().backward()
            self.actor_optimiser.step(rate * config.actor_learning_rate)
            self._actor_loss = actor_loss.detach()
            self.target_critic.track(self.critic, config.tau)
            self.target_actor.track(self.actor, config.tau)
        metrics = {"critic_loss": loss.detach(), "actor_loss": self._actor_loss, "q_values": q.detach().mean(1)}
        return {f"losses/{name}": value for name, value in metrics.items()}

    def critic_loss(self, batch: Transition) -> tuple[torch.Tensor, torch.Tensor]:
        """E[(Q(s, a) − y)²] `[S]`, and Q `[S, B]`."""
        with torch.no_grad():
            next_obs = self._inputs(batch.next_obs)
            next_q = self.q(self.target_critic, next_obs, self.policy(self.target_actor, next_obs))
            target = td_target(batch.reward, next_q, batch.terminated, self.config.gamma)  # eq. 5
        q = self.q(self.critic, self._inputs(batch.obs), self.box.unit(batch.action))
        return (q - target).square().mean(1), q

    def actor_loss(self, obs: torch.Tensor) -> torch.Tensor:
        """−E[Q(s, μ(s))] `[S]`: its gradient is eq. 6, the sign turned."""
        with self.critic.frozen():
            return -self.q(self.critic, obs, self.policy(self.actor, obs)).mean(1)

    def get_state(self) -> dict[str, Any]:
        return {
            **{name: getattr(self, name).matrix.detach() for name in _STACKS},
            **{name: getattr(self, name).get_state() for name in _PARTS},
            "num_updates": self._num_updates,
            "actor_loss": self._actor_loss,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        for name in _STACKS:
            getattr(self, name).load(state[name])
        for name in _PARTS:
            getattr(self, name).set_state(state.get(name, {}))
        self._num_updates = state["num_updates"]
        self._actor_loss = torch.as_tensor(state["actor_loss"]).to(self.setup.device)

    def get_policy(self) -> dict[str, torch.Tensor]:
        return self.actor.named()

    def set_policy(self, policy: Mapping[str, torch.Tensor]) -> None:
        self.actor.load_named(policy)


_STACKS = ("actor", "critic", "target_actor", "target_critic")
_PARTS = ("actor_optimiser", "critic_optimiser", "exploration", "noise")
