"""Advantage actor-critic (Mnih et al., 2016, arXiv:1602.01783), Algorithm S3 with its actors in step (A2C).

N actors take t_max steps each, and then all of them learn by one gradient step on

    L = −E[ log π(a|s) (R − V(s)) ] − β E[ H(π(·|s)) ] + c E[ (R − V(s))² ]       (Section 4 and Algorithm S3)

where R, and R − V(s) in the first term, are constants. R is the return of the rest of the rollout, R ← r + γ R from its
last step back, begun with V of the state after it, or 0 where that was terminal; a truncated episode is bootstrapped
from its last observation. That is GAE (`rlrepro.targets.gae`) with λ = 1 plus V(s); a smaller λ is Stable-Baselines3's
addition. The actors of OpenAI's baselines (Dhariwal et al., 2017) wait for each other, so the gradient is of their
batch, once and with one RMSProp (`rlrepro.optimisers.RMSProp`), where the paper's actors share their squared gradients
and move the parameters each by itself. Means over the batch and c are theirs too: Algorithm S3 sums, and its c is 1.
log π and H are `rlrepro.distributions`'.
"""

from __future__ import annotations

import dataclasses

import torch

from rlrepro.actor_critic import ActorCritic
from rlrepro.agent import Metrics, Setup, Transition, hyper
from rlrepro.memory import Rollout, refuse_no_deviation
from rlrepro.optimisers import Adam, RMSProp, backpropagate, clip_by_norm, loss_and_metrics
from rlrepro.schedules import annealed
from rlrepro.seeds import Stack
from rlrepro.sources import MUSHROOM, SB3, SB3_POLICIES, ZOO
from rlrepro.targets import explained_variance, normalised

CODE = f"{SB3}/a2c/a2c.py"
PRESET = f"{ZOO}/a2c.yml"
BUILDER = f"{MUSHROOM} A2CBuilder.default"


class A2C(ActorCritic):
    """A2C for Discrete and Box actions, on vectors (two MLPs) or images (one CNN with two heads)."""

    LOSSES = ("loss",)
    GRAPHED = ("gradient_step", "outputs")
    STATE = ("optimiser", "critic_optimiser")

    @dataclasses.dataclass(frozen=True)
    class Config:
        learning_rate: float = hyper(7e-4, "the optimiser's step size (η)", CODE, low=0)
        anneal: bool = hyper(False, "learning rate falls linearly to 0", f"{CODE} (the paper: true)")
        num_steps: int = hyper(5, "steps of a rollout (t_max)", "paper: Section 8", low=1)
        gamma: float = hyper(0.99, "discount factor", "paper: Section 8", low=0, high=1)
        gae_lambda: float = hyper(1.0, "λ of the advantage estimates", "paper: Algorithm S3 (λ = 1)", low=0, high=1)
        entropy_coef: float = hyper(0.01, "weight of the entropy (β)", "paper: Section 8", low=0)
        value_coef: float = hyper(0.5, "weight of the value loss, not halved (c)", f"{CODE} (MushroomRL: 1)", low=0)
        max_grad_norm: float = hyper(0.5, "largest norm of a seed's gradient; 0: no limit", CODE, low=0)
        normalise_advantage: bool = hyper(False, "advantages of a rollout to mean 0, std 1", CODE)
        optimiser: str = hyper(
            "rmsprop_tf",
            "rmsprop_tf has its ε inside the root, and squares that begin at 1, as TensorFlow's",
            f"paper: Section 4, Optimization (ε; it names no first squares); rmsprop: {CODE}",
            choices=("rmsprop", "rmsprop_tf", "adam"),
        )
        eps: float = hyper(1e-5, "the optimiser's ε", CODE, low=1e-12)
        rms_alpha: float = hyper(
            0.99, "RMSProp's decay of squares (α)", "paper: Section 8", low=0, high=1,
            needs=("optimiser", "rmsprop", "rmsprop_tf"),
        )  # fmt: skip
        hidden: tuple[int, ...] = hyper((64, 64), "units of the hidden layers", SB3_POLICIES, low=1, only="vectors")
        activation: str = hyper("tanh", "between layers", SB3_POLICIES, choices=("tanh", "relu"), only="vectors")
        first_weights: str = hyper(
            "orthogonal", "how weights are drawn", SB3_POLICIES, choices=("orthogonal", "uniform", "xavier")
        )
        log_std_init: float = hyper(0.0, "initial log standard deviation", SB3_POLICIES, only="Box actions")
        separate: bool = hyper(
            False,
            "the critic has its own optimiser, its gradient no limit, and its loss still the weight c",
            f"{CODE} (MushroomRL: true)",
        )
        value_learning_rate: float = hyper(
            7e-4, "the critic's step size, where separate", BUILDER, low=0, needs=("separate",)
        )
        value_eps: float = hyper(
            1e-5, "ε of the critic's optimiser, where separate", BUILDER, low=1e-12, needs=("separate",)
        )

    PRESETS = {
        "*": {
            "num_envs": 8,
            "total_timesteps": 400_000,
            "source": f"{PRESET}: the envs of CartPole and LunarLander; the budget is PPO's",
        },
        "CartPole-v1": {"entropy_coef": 0.0, "optimiser": "rmsprop", "source": PRESET},
        "Box": {
            "total_timesteps": 1_000_000,
            "entropy_coef": 0.0,
            "optimiser": "rmsprop",
            "source": f"{CODE}; the budget is PPO's",
        },
        "Pendulum-v1": {
            "num_steps": 8,
            "anneal": True,
            "gamma": 0.9,
            "gae_lambda": 0.9,
            "value_coef": 0.4,
            "optimiser": "rmsprop",
            "source": f"{PRESET}, without its gSDE and what goes with it; give --normalise-obs --normalise-reward too",
        },
    }

    PROBE = {"num_envs": 4, "total_timesteps": 8_000, "learning_rate": 5e-3, "entropy_coef": 0.0, "hidden": (32, 32)}
    PROBES = {"ProbeEntropy-v0": {"entropy_coef": 0.5, "optimiser": "adam", "anneal": True, "num_steps": 8}}

    def __init__(self, setup: Setup, config: Config) -> None:
        if config.normalise_advantage:
            remedy = "more --num-steps, or --no-normalise-advantage"
            refuse_no_deviation(setup.num_envs * config.num_steps, "rollout", remedy)
        networks = config.hidden, config.activation, config.first_weights, config.log_std_init
        super().__init__(setup, *networks, separate=config.separate)
        self.config = config
        self.optimiser = self._optimiser(self.stack, config.learning_rate, config.eps)
        self.critic_optimiser = (
            self._optimiser(self.critic_stack, config.value_learning_rate, config.value_eps)
            if config.separate
            else None
        )
        self.memory = Rollout(config.num_steps, setup.device)

    def _optimiser(self, stack: Stack, learning_rate: float, eps: float) -> Adam | RMSProp:
        if self.config.optimiser == "adam":
            return Adam(stack, learning_rate, eps)
        return RMSProp(
            stack, learning_rate, eps, self.config.rms_alpha, eps_inside=self.config.optimiser == "rmsprop_tf"
        )

    def update(self, batch: Transition, step: int) -> Metrics:
        """One gradient step on a rollout `[S, T, N, ...]`."""
        config = self.config
        fraction_left = annealed(1.0, self.setup, config.num_steps, step) if config.anneal else 1.0
        metrics = self.gradient_step(batch, fraction_left)
        rate = torch.full((self.setup.num_seeds,), fraction_left * config.learning_rate)
        return {**metrics, "charts/learning_rate": rate}

    def gradient_step(self, batch: Transition, fraction_left: float) -> dict[str, torch.Tensor]:
        """One step of `fraction_left` of the step sizes."""
        config = self.config
        loss, metrics = loss_and_metrics(self.loss(batch))
        backpropagate([loss], [self.stack.gradient, self.critic_stack.gradient])
        if config.max_grad_norm:
            clip_by_norm(self.stack.gradient, config.max_grad_norm)
        self.optimiser.step(fraction_left * config.learning_rate)
        if self.critic_optimiser is not None:
            self.critic_optimiser.step(fraction_left * config.value_learning_rate)
        return metrics

    def loss(self, batch: Transition) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The loss `[S]` of a rollout `[S, T, N, ...]`, and its metrics."""
        config = self.config
        outputs, value = self.policy_and_value(self.inputs(batch.obs.flatten(1, 2)))
        log_prob, entropy = self.policy.log_prob_and_entropy(outputs, batch.action.flatten(1, 2))
        old_value = value.detach()
        advantage = self.advantage(batch, old_value, config.gamma, config.gae_lambda)
        value_target = advantage + old_value  # R, where λ is 1
        value_loss = (value_target - value).square().mean(1)
        if config.normalise_advantage:
            advantage = normalised(advantage)
        policy_loss, mean_entropy = -(log_prob * advantage).mean(1), entropy.mean(1)
        loss = policy_loss - config.entropy_coef * mean_entropy + config.value_coef * value_loss
        return loss, {
            "losses/policy_loss": policy_loss.detach(),
            "losses/value_loss": value_loss.detach(),
            "losses/entropy": mean_entropy.detach(),
            "losses/explained_variance": explained_variance(old_value, value_target),
        }
