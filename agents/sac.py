"""Soft actor-critic (Haarnoja et al., 2018, "Soft Actor-Critic Algorithms and Applications", arXiv:1812.05905),
Algorithm 1, with a learned temperature.

Two critics regress on the soft value of the next state, the actor follows the smaller of them, and the temperature
holds the policy's entropy at a target H̄:

    J_Q = ½ E[(Q_m(s, a) − (r + γ (min_m Q'_m(s', a') − α log π(a'|s'))))²]                (eq. 5 with eq. 3)
    J_π = E[α log π(a|s) − min_m Q_m(s, a)], a ~ π(·|s)                                    (eq. 9)
    J(α) = E[−α log π(a|s) − α H̄]                                                         (eq. 18)
    Q' ← τ Q + (1 − τ) Q'                                                                  (Algorithm 1)
    a = tanh(u), u = μ(s) + σ(s) ε, ε ~ N(0, 1)                                            (eq. 8, Appendix C)
    log π(a|s) = log N(u; μ, σ) − Σ_i log(1 − tanh² u_i)                                   (eq. 26)

By default J(α) has log α for the factor α (`alpha_loss`), as the authors' code at first (softlearning@01cd86e, which
has a V network still; @90247f2 has eq. 18's α, and draws actions anew for it, as CleanRL). The minimum of two critics
is Section 6's. An episode that terminated has no soft value after it, a truncated one has (`rlrepro.targets`:
`soft_value`, `td_target`). Dopamine's code values it at the mean action of an actor that follows slowly, as the targets
do (`target_action`). a and log π are `rlrepro.distributions.SquashedGaussian`'s; log α, which is what is learnt, from
the actor's own log π, is `rlrepro.off_policy.Temperature`'s. Q_m(s, a) and the uniformly random actions at the start
are `rlrepro.off_policy.BoxActions`'.

Networks act in [-1, 1], and log π is that of actions there (CleanRL's and Dopamine's is of the environment's, by which
the same policy's entropy is larger by the log of half the range, in each dimension); the memory keeps the environment's
actions. The critics meet them in [-1, 1] too, or, with `critic_units = env`, as the environment does.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from rlrepro.agent import Metrics, Setup, Transition, hyper
from rlrepro.distributions import SquashedGaussian
from rlrepro.graphs import on_host
from rlrepro.networks import MLP, Ensemble, initialisers, num_features
from rlrepro.off_policy import BoxActions, Temperature
from rlrepro.optimisers import Adam, descend
from rlrepro.seeds import Stack
from rlrepro.sources import CLEANRL, MUSHROOM, SB3, SB3_OFF_POLICY, SOFTLEARNING, ZOO
from rlrepro.streams import Streams, streams_for
from rlrepro.targets import ensemble_error, soft_value, td_target

PAPER = "paper: Table 1"
CODE = f"{CLEANRL}/sac_continuous_action.py"
POLICY = f"{SB3}/sac/policies.py"
BUILDER = f"{MUSHROOM} SACBuilder.default"
DOPAMINE = "code: google/dopamine@1dd1661 dopamine/jax/continuous_networks.py"
DOPAMINE_AGENT = "code: google/dopamine@0230876 dopamine/jax/agents/sac/sac_agent.py"


class SAC(BoxActions):
    """SAC for bounded Box actions, on vectors."""

    STATE = ("temperature", "alpha_optimiser", "action_noise")
    OF_ACTOR = ("losses/actor_loss", "losses/entropy")

    @dataclasses.dataclass(frozen=True)
    class Config:
        actor_learning_rate: float = hyper(3e-4, "step size of the actor's Adam", PAPER, low=0)
        critic_learning_rate: float = hyper(3e-4, "step size of the critics'", f"{PAPER}; 1e-3: {CODE}", low=0)
        alpha_learning_rate: float = hyper(3e-4, "step size of the temperature's", PAPER, low=0, needs=("learn_alpha",))
        anneal: bool = hyper(False, "step sizes fall linearly to 0", f"{SB3}/sac/sac.py; true: rl-zoo3's lin_")
        gamma: float = hyper(0.99, "discount factor", PAPER, low=0, high=1)
        tau: float = hyper(0.005, "weight of the online parameters in the targets", PAPER, low=0, high=1)
        buffer_size: int = hyper(1_000_000, "transitions kept per seed", PAPER, low=1)
        batch_size: int = hyper(256, "transitions of a batch", PAPER, low=1)
        learning_starts: int = hyper(10_000, "env steps before learning", f"{ZOO}/sac.yml; the paper names none", low=0)
        random_start: bool = hyper(True, "before that, uniformly random actions", SB3_OFF_POLICY)
        random_steps: int = hyper(
            0, "env steps of random actions, if learning starts sooner", "ours: off; Spinning Up's start_steps",
            low=0, addition=True,
        )  # fmt: skip
        train_every: int = hyper(1, "env steps between learning phases", "paper: Algorithm 1", low=1)
        gradient_steps: int = hyper(1, "gradient steps each time", PAPER, low=1)
        policy_delay: int = hyper(
            1, "d: every d critic updates, d updates of actor and α", f"paper: Algorithm 1; 2: {CODE}",
            low=1,
        )  # fmt: skip
        target_delay: int = hyper(1, "gradient steps between target updates", PAPER, low=1)
        target_action: str = hyper(
            "sample", "a' of the targets; slow_mean: the mean action of an actor that follows as the targets do",
            f"paper: eq. 3; slow_mean, with log π of a sample: {DOPAMINE_AGENT}", choices=("sample", "slow_mean"),
            addition=True,
        )  # fmt: skip
        learn_alpha: bool = hyper(True, "adjust the temperature; if not, it stays alpha_init", "paper: Section 5")
        alpha_init: float = hyper(1.0, "initial temperature", f"{SOFTLEARNING}, log α = 0", low=1e-8)
        alpha_loss: str = hyper(
            "log_alpha", "what J(α) weighs log π + H̄ by", f"{SOFTLEARNING}; alpha: paper: eq. 18",
            choices=("log_alpha", "alpha"), needs=("learn_alpha",),
        )  # fmt: skip
        target_entropy: float = hyper(
            -1.0, "H̄ for each dimension of the action in [-1, 1]", f"{PAPER}: −dim(A)", needs=("learn_alpha",)
        )
        log_std_range: tuple[float, ...] = hyper((-20.0, 2.0), "bounds of log σ", f"{POLICY}; −5, 2: {CODE}")
        log_std_bound: str = hyper(
            "clamp", "how log σ is kept in its bounds", f"{POLICY}; tanh: {CODE}", choices=("clamp", "tanh")
        )
        hidden: tuple[int, ...] = hyper((256, 256), "units of the hidden layers", PAPER, low=1)
        separate_std: bool = hyper(False, "log σ has a network of its own", f"{POLICY}; true: {BUILDER}")
        first_weights: str = hyper(
            "uniform", "how weights are drawn", f"{POLICY}; xavier: {BUILDER}; glorot, with biases of 0: {DOPAMINE}",
            choices=("uniform", "xavier", "glorot"),
        )  # fmt: skip
        critic_units: str = hyper(
            "unit", "units of the actions that critics see", f"{SB3_OFF_POLICY}; env: {BUILDER}",
            choices=("unit", "env"),
        )  # fmt: skip

    PRESETS = {
        "*": {"num_envs": 1, "total_timesteps": 1_000_000, "source": f"{ZOO}/sac.yml"},
        "Pendulum-v1": {
            "total_timesteps": 20_000, "learning_starts": 100, "actor_learning_rate": 1e-3,
            "critic_learning_rate": 1e-3, "alpha_learning_rate": 1e-3,
            "source": f"{ZOO}/sac.yml, and Stable-Baselines3's learning_starts",
        },
    }  # fmt: skip

    PROBE = {
        "num_envs": 1, "total_timesteps": 2_000, "buffer_size": 2_000, "batch_size": 32, "learning_starts": 100,
        "random_start": True, "train_every": 2, "tau": 0.05, "hidden": (32, 32), "actor_learning_rate": 2e-3,
        "critic_learning_rate": 5e-3, "learn_alpha": False, "alpha_init": 1e-3,
    }  # fmt: skip

    def __init__(self, setup: Setup, config: Config) -> None:
        super().__init__(setup, config)
        num_obs, num_actions = num_features(setup.observation_space), self.box.num_actions
        self.gaussian = SquashedGaussian(num_actions, config.log_std_range, config.log_std_bound)
        start = initialisers(config.first_weights, "relu", len(config.hidden))
        critic = MLP((num_obs + num_actions, *config.hidden, 1), "relu", start, input_gradient=True)
        outputs = {"mean": num_actions, "log_std": num_actions} if config.separate_std else {"actor": 2 * num_actions}
        networks = {name: MLP((num_obs, *config.hidden, out), "relu", start) for name, out in outputs.items()}
        self.slow_mean = config.target_action == "slow_mean"
        self._build(networks, {"critics": Ensemble(critic, 2)}, slow_actor=self.slow_mean)
        self.temperature = Temperature(setup, config.alpha_init)
        self.alpha_optimiser = Adam(self.temperature, config.alpha_learning_rate)
        self.target_entropy = config.target_entropy * num_actions
        self.action_noise = streams_for(setup.device, setup.seeds, "learning")

    def predict(self, obs: np.ndarray, streams: Streams, deterministic: bool) -> np.ndarray:
        """tanh(μ(s)), or a ~ π(·|s)."""
        outputs = on_host(self.outputs, obs, self.setup.device)
        return self.box.scaled(self.gaussian.mode(outputs) if deterministic else self.gaussian.sample(outputs, streams))

    @torch.no_grad()
    def value_of(self, obs: np.ndarray) -> np.ndarray:
        """Q_1(s, tanh μ(s)), `[S, B]`, for `rlrepro probe`."""
        inputs = self._on_device(obs)
        unit = torch.tanh(self.policy_outputs(inputs, self.actor)[..., : self.box.num_actions])
        return self.q(self.critic, inputs, unit)[:, 0].cpu().numpy()

    def outputs(self, obs: torch.Tensor) -> torch.Tensor:
        """`policy_outputs` for observations."""
        return self.policy_outputs(self.inputs(obs), self.actor)

    def policy_outputs(self, inputs: torch.Tensor, actor: Stack) -> torch.Tensor:
        """μ and log σ as the network gives it, unbounded, `[S, B, 2A]`."""
        if self.config.separate_std:
            return torch.cat([actor.mean(inputs), actor.log_std(inputs)], -1)
        return actor.actor(inputs)

    def update(self, batch: Transition, step: int) -> Metrics:
        """One gradient step of the critics on a batch `[S, B, ...]`, of the actor, of α, and the targets."""
        config = self.config
        self.num_updates += 1
        num_actor_updates = 0 if self.num_updates % config.policy_delay else config.policy_delay
        shape = batch.reward.shape[1], self.box.num_actions
        # One for the critics' targets, and one for each step of the actor: so many are taken.
        noise = [torch.from_numpy(self.action_noise.normal(*shape)) for _ in range(1 + num_actor_updates)]
        follow = self.num_updates % config.target_delay == 0
        return self._complete(self.gradient_step(batch, *noise, fraction_left=self._fraction_left(step), follow=follow))

    def gradient_step(
        self, batch: Transition, next_noise: torch.Tensor, *noise: torch.Tensor, fraction_left: float, follow: bool
    ) -> dict[str, torch.Tensor]:
        """A step of the critics, one of actor and α for each `noise`, and of the targets, where they `follow`."""
        config, inputs = self.config, self.inputs(batch.obs)
        loss, q = self.critic_loss(batch, next_noise)
        descend(loss, self.critic_optimiser, fraction_left * config.critic_learning_rate)
        metrics = {"losses/critic_loss": loss.detach(), "losses/q_values": q.detach()[:, 0].mean(1)}
        for actor_noise in noise:
            actor_loss, log_prob = self.actor_loss(inputs, actor_noise)
            descend(actor_loss, self.actor_optimiser, fraction_left * config.actor_learning_rate)
            metrics |= {"losses/actor_loss": actor_loss.detach(), "losses/entropy": -log_prob.mean(1)}
            if config.learn_alpha:
                descend(self.alpha_loss(log_prob), self.alpha_optimiser, fraction_left * config.alpha_learning_rate)
        if follow:
            self.target_critic.polyak_update(self.critic, config.tau)
            if self.slow_mean:
                self.target_actor.polyak_update(self.actor, config.tau)
        return metrics | {"charts/alpha": self.temperature.alpha[:, 0]}

    def critic_loss(self, batch: Transition, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """½ Σ_m E[(Q_m(s, a) − y)²] `[S]` (eq. 5), and Q `[S, 2, B]`; a' by standard normal `noise` `[S, B, A]`."""
        with torch.no_grad():
            next_inputs = self.inputs(batch.next_obs)
            outputs = self.policy_outputs(next_inputs, self.target_actor)
            next_action, next_log_prob = self.gaussian.sample_and_log_prob(outputs, noise.to(outputs.device))
            if self.slow_mean:
                next_action = torch.tanh(outputs[..., : self.box.num_actions])
            next_q = self.q(self.target_critic, next_inputs, next_action)
            next_value = soft_value(next_q, next_log_prob, self.temperature.alpha)
            target = td_target(batch.reward, next_value, batch.terminated, self.config.gamma)
        q = self.q(self.critic, self.inputs(batch.obs), self.box.unit(batch.action))
        return 0.5 * ensemble_error(q, target), q

    def actor_loss(self, inputs: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """E[α log π − min_m Q_m] `[S]` (eq. 9), and log π `[S, B]`; `noise` as for the critics."""
        outputs = self.policy_outputs(inputs, self.actor)
        action, log_prob = self.gaussian.sample_and_log_prob(outputs, noise.to(outputs.device))
        with self.critic.frozen():
            value = soft_value(self.q(self.critic, inputs, action), log_prob, self.temperature.alpha)  # min Q − α log π
        return -value.mean(1), log_prob.detach()

    def alpha_loss(self, log_prob: torch.Tensor) -> torch.Tensor:
        """−α E[log π + H̄] `[S]` (eq. 18), or with log α in α's place."""
        return -self.temperature.weight(self.config.alpha_loss) * (log_prob.mean(1) + self.target_entropy)
