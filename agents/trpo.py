"""Trust region policy optimisation (Schulman et al., 2015, arXiv:1502.05477), Sections 5, 6 and Appendix C.

After a rollout the policy takes one step that maximises

    L(θ) = E[ π_θ(a|s) / π_old(a|s) A ]   subject to   D(θ) = E[ KL(π_old(·|s) ‖ π_θ(·|s)) ] ≤ δ        (eq. 14)

(eq. 14 with A in place of Q, and samples of π_old) in the direction x of F x = g, where g = ∇L and F is the Hessian of
D, both at θ_old. The direction comes by conjugate gradient (`rlrepro.conjugate_gradient`) from products F v alone; the
longest step is β x with β = √(2 δ / xᵀ F x) (Appendix C), which a line search shortens until L is better and D within
its bound. F is the mean of Jᵀ M J, with J the Jacobian of the distribution's parameters
(`rlrepro.actor_critic.ActorCritic.linearised_policy`) and M their Fisher information (Appendix C.1;
`rlrepro.distributions`, which has log π and the KL too): D's exact Hessian, since the KL's gradient by the
distribution's parameters is 0 at θ_old. As in sb3-contrib, F is damped: `cg_damping` is added to its diagonal, in the
direction and in xᵀ F x, so that steps are shorter than the paper's; 0 is the paper's F. The line search bounds D, where
sb3-contrib's bounds KL(π_θ ‖ π_old), with the same Hessian at θ_old.

The advantages are by GAE (Schulman et al., 2016; `rlrepro.targets.gae`) and all samples make F, where the paper sums
rewards and makes F of a part of the samples. The critic is then fitted to its targets by Adam in minibatches, as
in sb3-contrib and MushroomRL. Every seed has its own direction, its own number of steps, and its own line search.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch

from rlrepro.actor_critic import ActorCritic
from rlrepro.agent import Metrics, Setup, Transition, hyper
from rlrepro.conjugate_gradient import conjugate_gradient, dot
from rlrepro.memory import Rollout, epochs, refuse_no_deviation
from rlrepro.networks import refuse_images
from rlrepro.optimisers import Adam, descend
from rlrepro.sources import SB3_CONTRIB, SB3_POLICIES, ZOO
from rlrepro.streams import Streams
from rlrepro.targets import explained_variance, normalised

CODE = f"{SB3_CONTRIB}/trpo/trpo.py"
PRESET = f"{ZOO}/trpo.yml"


class TRPO(ActorCritic):
    """TRPO for Discrete and Box actions on vectors: two MLPs, learnt apart."""

    STATE = ("critic_optimiser", "order")

    @dataclasses.dataclass(frozen=True)
    class Config:
        num_steps: int = hyper(2048, "steps of a rollout (T)", CODE, low=1)
        gamma: float = hyper(0.99, "discount factor", "paper: Table 2", low=0, high=1)
        gae_lambda: float = hyper(0.95, "λ of the advantage estimates", CODE, low=0, high=1)
        normalise_advantage: bool = hyper(True, "advantages of a rollout to mean 0, std 1", CODE)
        target_kl: float = hyper(0.01, "bound of the mean KL divergence (δ)", "paper: Table 2", low=1e-8)
        cg_steps: int = hyper(15, "most steps of conjugate gradient", f"{CODE} (the paper: 10)", low=1)
        cg_damping: float = hyper(0.1, "added to the diagonal of F", CODE, low=0)
        cg_tolerance: float = hyper(
            1e-10,
            "conjugate gradient ends where the residual's square is less",
            f"{SB3_CONTRIB}/common/utils.py",
            low=0,
        )
        line_search_steps: int = hyper(10, "steps that the line search tries", CODE, low=1)
        line_search_factor: float = hyper(
            0.8, "factor from each step of the line search to the next", CODE, low=0, high=1
        )
        kl_slack: float = hyper(
            1.0, "the line search's bound of D, as a multiple of δ", "paper: Appendix C (MushroomRL: 1.5)", low=1e-8
        )
        value_learning_rate: float = hyper(1e-3, "step size of the critic's Adam", CODE, low=0)
        num_value_epochs: int = hyper(10, "the critic's passes over a rollout", CODE, low=1)
        batch_size: int = hyper(128, "transitions of a minibatch of the critic's", CODE, low=1)
        adam_eps: float = hyper(1e-5, "Adam's ε", SB3_POLICIES, low=1e-12)
        hidden: tuple[int, ...] = hyper((64, 64), "units of the hidden layers", SB3_POLICIES, low=1)
        activation: str = hyper("tanh", "between layers", SB3_POLICIES, choices=("tanh", "relu"))
        first_weights: str = hyper(
            "orthogonal", "how weights are drawn", SB3_POLICIES, choices=("orthogonal", "uniform", "xavier")
        )
        log_std_init: float = hyper(0.0, "initial log standard deviation", SB3_POLICIES, only="Box actions")

    PRESETS = {
        "*": {
            "num_envs": 2, "num_steps": 1024, "total_timesteps": 400_000,
            "source": f"{PRESET}: Acrobot's and MountainCar's, there with --normalise-obs --normalise-reward, and "
            "MountainCar's with 20 epochs of the critic; the budget is PPO's",
        },
        "Box": {"num_envs": 1, "num_steps": 2048, "total_timesteps": 1_000_000, "source": CODE},
        "CartPole-v1": {
            "num_steps": 512, "batch_size": 512, "cg_damping": 1e-3, "gae_lambda": 0.98, "num_value_epochs": 20,
            "total_timesteps": 100_000, "source": PRESET,
        },
        "Pendulum-v1": {
            "num_envs": 2, "num_steps": 1024, "gamma": 0.9, "num_value_epochs": 15, "total_timesteps": 200_000,
            "source": f"{PRESET}, without its gSDE; twice its budget",
        },
    }  # fmt: skip

    PROBE = {"num_envs": 4, "total_timesteps": 4_000, "num_steps": 16, "batch_size": 16, "value_learning_rate": 5e-3}

    def __init__(self, setup: Setup, config: Config) -> None:
        refuse_images(setup.observation_space)
        if config.normalise_advantage:
            remedy = "more --num-steps, or --no-normalise-advantage"
            refuse_no_deviation(setup.num_envs * config.num_steps, "rollout", remedy)
        networks = config.hidden, config.activation, config.first_weights, config.log_std_init
        super().__init__(setup, *networks, separate=True)
        self.config = config
        self.critic_optimiser = Adam(self.critic_stack, config.value_learning_rate, config.adam_eps)
        self.order = Streams(setup.seeds, "minibatches")
        self.memory = Rollout(config.num_steps, setup.device)

    def update(self, batch: Transition, step: int) -> Metrics:
        """One step of the policy on a rollout `[S, T, N, ...]`, and the fit of its critic."""
        config = self.config
        inputs, action = self.inputs(batch.obs.flatten(1, 2)), batch.action.flatten(1, 2)
        with torch.no_grad():
            value = self.value(inputs)
            advantage = self.advantage(batch, value, config.gamma, config.gae_lambda)
            value_target = advantage + value
            if config.normalise_advantage:
                advantage = normalised(advantage)
        metrics = self.improve(inputs, action, advantage)
        for epoch in epochs(self.order, config.num_value_epochs, config.batch_size, inputs, value_target):
            for some_inputs, some_target in epoch:
                value_loss = (self.value(some_inputs) - some_target).square().mean(1)
                descend(value_loss, self.critic_optimiser)
        explained = explained_variance(value, value_target)
        return {**metrics, "losses/value_loss": value_loss.detach(), "losses/explained_variance": explained}

    def improve(self, inputs: torch.Tensor, action: torch.Tensor, advantage: torch.Tensor) -> Metrics:
        """The step of the policy on transitions `[S, B, ...]`; its metrics."""
        config, gradient = self.config, self.stack.gradient
        outputs = self.policy_outputs(inputs)
        log_prob, entropy = self.policy.log_prob_and_entropy(outputs, action)
        old_outputs, old_log_prob = outputs.detach(), log_prob.detach()

        def surrogate_and_kl() -> tuple[torch.Tensor, torch.Tensor]:
            """L and D of eq. 14 `[S]`, by the parameters as they are."""
            now = self.policy_outputs(inputs)
            new_log_prob, _ = self.policy.log_prob_and_entropy(now, action)
            return _surrogate(new_log_prob, old_log_prob, advantage), self.policy.kl(old_outputs, now).mean(1)

        surrogate = _surrogate(log_prob, old_log_prob, advantage)  # L at θ_old
        gradient.zero_()
        surrogate.sum().backward(retain_graph=True)
        g = gradient.clone()
        jacobian = self.linearised_policy(inputs)

        def damped_fisher_product(v: torch.Tensor) -> torch.Tensor:
            """F v = E[Jᵀ M J v], damped."""
            with torch.no_grad():
                moved = self.policy.fisher(old_outputs, jacobian(v)) / inputs.shape[1]
            gradient.zero_()
            outputs.backward(moved, retain_graph=True)  # Jᵀ of it, into the gradient
            return torch.add(gradient, v, alpha=config.cg_damping)

        # F x = g
        x = conjugate_gradient(damped_fisher_product, g, config.cg_steps, config.cg_tolerance)
        curvature = dot(x, damped_fisher_product(x))  # xᵀ F x
        beta = torch.where(curvature > 0, (2 * config.target_kl / curvature).sqrt(), 0.0)
        before = surrogate.detach()
        found = self._line_search(beta.unsqueeze(1) * x, before, surrogate_and_kl)
        return {**found, "losses/surrogate_before": before, "losses/entropy": entropy.detach().mean(1)}

    @torch.no_grad()
    def _line_search(
        self,
        full_step: torch.Tensor,
        before: torch.Tensor,
        surrogate_and_kl: Callable[[], tuple[torch.Tensor, torch.Tensor]],
    ) -> dict[str, torch.Tensor]:
        """Take `full_step` `[S, P]`, or the first of ever shorter ones that is better and within the bound, or none."""
        config, matrix = self.config, self.stack.matrix.detach()
        old = matrix.clone()
        accepted = torch.zeros(len(old), dtype=torch.bool, device=old.device)
        length = torch.zeros_like(before)
        for tried in range(config.line_search_steps):
            scale = config.line_search_factor**tried
            length = torch.where(accepted, length, scale)  # an accepted seed stays, and is computed again
            matrix.copy_(torch.addcmul(old, length.unsqueeze(1), full_step))
            surrogate, kl = surrogate_and_kl()
            accepted = (surrogate > before) & (kl <= config.kl_slack * config.target_kl)
            if accepted.all():
                break
        matrix.copy_(torch.where(accepted.unsqueeze(1), matrix, old))
        return {
            "losses/surrogate": torch.where(accepted, surrogate, before),
            "losses/kl": torch.where(accepted, kl, 0.0),
            "losses/step_length": torch.where(accepted, length, 0.0),
        }


def _surrogate(log_prob: torch.Tensor, old_log_prob: torch.Tensor, advantage: torch.Tensor) -> torch.Tensor:
    """L = E[π(a|s) / π_old(a|s) · A] `[S]` (eq. 14)."""
    return ((log_prob - old_log_prob).exp() * advantage).mean(1)
