"""Proximal policy optimisation (Schulman et al., 2017, arXiv:1707.06347), Algorithm 1 with the clipped surrogate.

N actors collect T steps each; then K epochs of minibatches maximise

    L = E[ min(r A, clip(r, 1 − ε, 1 + ε) A) − c₁ (V − V_target)² + c₂ H ]        (eq. 7 and 9)

with r = π(a|s) / π_old(a|s), A the advantages (GAE, eq. 11 and 12: `rlrepro.targets.gae`), V_target = A + V_old, and
the policy's entropy H; log π and H are `rlrepro.distributions`'. The first term is `rlrepro.targets.clipped_surrogate`.
`value_coef` weighs half the squared error: it is 2 c₁. A truncated episode is bootstrapped from the observation at
which it was cut, unless `truncated_as_terminated`, as in code from before Gymnasium told the two apart, and in
CleanRL's still.

The details that the paper leaves open follow Huang et al. (2022), "The 37 Implementation Details of Proximal Policy
Optimization"; its four details outside the 37 are cited as "auxiliary". By default the value loss is clipped too
(`rlrepro.targets.clipped_value_error`), which is one of the 37 and changes eq. 9.
"""

from __future__ import annotations

import dataclasses

import torch

from rlrepro import targets
from rlrepro.actor_critic import ActorCritic
from rlrepro.agent import Metrics, Setup, Transition, hyper
from rlrepro.memory import Rollout, epochs, minibatch_size, refuse_no_deviation
from rlrepro.optimisers import Adam, descend
from rlrepro.schedules import annealed
from rlrepro.sources import CLEANRL, DETAIL, ZOO
from rlrepro.streams import Streams


class PPO(ActorCritic):
    """PPO for Discrete and Box actions, on vectors (two MLPs) or images (one CNN with two heads)."""

    LOSSES: tuple[str, ...] = ("loss",)
    GRAPHED = ("gradient_step", "outputs")
    STATE = ("optimiser", "order")

    @dataclasses.dataclass(frozen=True)
    class Config:
        learning_rate: float = hyper(2.5e-4, "Adam's step size", "paper: Table 5", low=0)
        anneal: bool = hyper(True, "learning rate falls linearly to 0", "paper: Table 5 (α)")
        anneal_clip: bool = hyper(
            False, "clip range falls linearly to 0 too", f"{DETAIL} 1 of the auxiliary; true: paper: Table 5 (ε × α)"
        )
        num_steps: int = hyper(128, "steps of a rollout (T)", "paper: Table 5", low=1)
        num_epochs: int = hyper(4, "passes over a rollout (K)", f"{CLEANRL}/ppo.py (the paper: 3)", low=1)
        num_minibatches: int = hyper(4, "minibatches of a pass", f"{CLEANRL}/ppo.py", low=1)
        gamma: float = hyper(0.99, "discount factor", "paper: Table 5", low=0, high=1)
        gae_lambda: float = hyper(0.95, "λ of the advantage estimates", "paper: Table 5", low=0, high=1)
        clip_range: float = hyper(0.2, "ε of the clipped surrogate (Table 5: 0.1)", "paper: Section 6.1", low=0)
        entropy_coef: float = hyper(0.01, "weight of the entropy bonus (c₂)", "paper: Table 5", low=0)
        value_coef: float = hyper(
            0.5, "weight of the value loss, half the squared error (2 c₁)", f"{CLEANRL}/ppo.py (the paper: 2)", low=0
        )
        max_grad_norm: float = hyper(0.5, "largest norm of a seed's gradient; 0: no limit", f"{DETAIL} 11", low=0)
        normalise_advantage: bool = hyper(True, "advantages of a minibatch to mean 0, std 1", f"{DETAIL} 7")
        clip_value_loss: bool = hyper(True, "clip the value loss too; NOT the paper's", f"{DETAIL} 9")
        truncated_as_terminated: bool = hyper(
            False, "an episode that was cut is not bootstrapped", f"ours: it is; true: {CLEANRL}/ppo.py", addition=True
        )
        target_kl: float = hyper(
            0.0,
            "end the epochs once an epoch's last minibatch has more KL than this; 0: never",
            f"{DETAIL} 3 of the auxiliary",
            low=0,
        )
        hidden: tuple[int, ...] = hyper(
            (64, 64), "units of the hidden layers", "paper: Section 6.1", low=1, only="vectors"
        )
        activation: str = hyper(
            "tanh", "between layers", "paper: Section 6.1", choices=("tanh", "relu"), only="vectors"
        )
        first_weights: str = hyper(
            "orthogonal", "how weights are drawn", f"{DETAIL} 2", choices=("orthogonal", "uniform", "xavier")
        )
        log_std_init: float = hyper(
            0.0, "initial log standard deviation", f"{DETAIL} 2 of continuous actions", only="Box actions"
        )
        adam_eps: float = hyper(1e-5, "Adam's ε", f"{DETAIL} 3", low=1e-12)

    PRESETS = {
        "*": {"num_envs": 4, "total_timesteps": 400_000, "source": "ours: CartPole-v1 and Acrobot-v1 within a minute"},
        "Box": {
            "num_envs": 1, "total_timesteps": 1_000_000, "num_steps": 2048, "num_epochs": 10, "num_minibatches": 32,
            "learning_rate": 3e-4, "entropy_coef": 0.0, "clip_value_loss": False, "anneal": False,
            "source": "paper: Table 3 and Section 6.1",
        },
        "Pendulum-v1": {
            "num_envs": 4, "total_timesteps": 200_000, "num_steps": 1024, "num_minibatches": 64, "gamma": 0.9,
            "learning_rate": 1e-3, "value_coef": 1.0,
            "source": f"{ZOO}/ppo.yml, without its gSDE; twice its budget",
        },
    }  # fmt: skip

    PROBE = {
        "num_envs": 4, "total_timesteps": 4_000, "num_steps": 16, "learning_rate": 5e-3, "anneal": True,
        "num_minibatches": 4,
    }  # fmt: skip
    PROBES = {"ProbeEntropy-v0": {"entropy_coef": 0.5, "normalise_advantage": False, "num_steps": 64}}

    def __init__(self, setup: Setup, config: Config) -> None:
        super().__init__(setup, config.hidden, config.activation, config.first_weights, config.log_std_init)
        self.config = config
        self.batch_size = setup.num_envs * config.num_steps
        self.minibatch_size = minibatch_size(self.batch_size, config.num_minibatches)
        if config.normalise_advantage:
            remedy = "fewer --num-minibatches, or --no-normalise-advantage"
            refuse_no_deviation(self.minibatch_size, "minibatch", remedy)
        self.optimiser = Adam(self.stack, config.learning_rate, eps=config.adam_eps, independent=config.target_kl > 0)
        self.order = Streams(setup.seeds, "minibatches")
        if config.anneal_clip:
            self.LOSSES = ()  # torch would compile anew for each clip range
        self.memory = Rollout(config.num_steps, setup.device)

    def update(self, batch: Transition, step: int) -> Metrics:
        """K epochs of minibatches on one rollout `[S, T, N, ...]`."""
        config = self.config
        if config.truncated_as_terminated:
            batch = batch._replace(terminated=batch.terminated | batch.truncated)
        rate, clip_range = config.learning_rate, config.clip_range
        if config.anneal:
            rate = annealed(rate, self.setup, config.num_steps, step)
        if config.anneal_clip:
            clip_range = annealed(clip_range, self.setup, config.num_steps, step)
        inputs = self.inputs(batch.obs.flatten(1, 2))
        action = batch.action.flatten(1, 2)
        with torch.no_grad():  # the parameters are those that acted
            outputs, old_value = self.policy_and_value(inputs)
            old_log_prob, _ = self.policy.log_prob_and_entropy(outputs, action)
            advantage = self.advantage(batch, old_value, config.gamma, config.gae_lambda)
            value_target = advantage + old_value

        active = [True] * len(inputs)
        parts: dict[str, torch.Tensor] = {}
        rollout = (inputs, action, old_log_prob, advantage, value_target, old_value)
        for epoch in epochs(self.order, config.num_epochs, self.minibatch_size, *rollout):
            going = tuple(active) if config.target_kl else None
            for minibatch in epoch:
                latest = self.gradient_step(*minibatch, learning_rate=rate, clip_range=clip_range, active=going)
                parts = latest if all(active) else _of_active(active, latest, parts)
            if config.target_kl:
                kl = targets.approx_kl(parts["log_ratio"]).tolist()
                active = [go and one <= config.target_kl for go, one in zip(active, kl, strict=True)]
                if not any(active):
                    break
        log_ratio = parts.pop("log_ratio")
        return {
            **{f"losses/{name}": part for name, part in parts.items()},  # like the next two: of the last minibatch
            "losses/approx_kl": targets.approx_kl(log_ratio),
            "losses/clipfrac": targets.clip_fraction(log_ratio, clip_range),
            "losses/explained_variance": targets.explained_variance(old_value, value_target),
            "charts/learning_rate": torch.full((len(inputs),), rate),
            "charts/clip_range": torch.full((len(inputs),), clip_range),
        }

    def gradient_step(
        self, *minibatch: torch.Tensor, learning_rate: float, clip_range: float, active: tuple[bool, ...] | None
    ) -> dict[str, torch.Tensor]:
        """One step of the `active` seeds, or of all, down the gradient of `loss`; the parts of that."""
        loss, parts = self.loss(*minibatch, clip_range=clip_range)
        descend(loss, self.optimiser, learning_rate, self.config.max_grad_norm, active)
        return {name: part.detach() for name, part in parts.items()}

    def loss(
        self,
        inputs: torch.Tensor,
        action: torch.Tensor,
        old_log_prob: torch.Tensor,
        advantage: torch.Tensor,
        value_target: torch.Tensor,
        old_value: torch.Tensor,
        *,
        clip_range: float,
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The loss `[S]` of one minibatch `[S, B, ...]` (eq. 9 with its sign flipped), and its parts."""
        config = self.config
        outputs, value = self.policy_and_value(inputs)
        log_prob, entropy = self.policy.log_prob_and_entropy(outputs, action)
        if config.normalise_advantage:
            advantage = targets.normalised(advantage)
        log_ratio = log_prob - old_log_prob
        policy_loss = -targets.clipped_surrogate(log_ratio, advantage, clip_range)  # eq. 7
        if config.clip_value_loss:
            value_loss = 0.5 * targets.clipped_value_error(value, old_value, value_target, clip_range)
        else:
            value_loss = 0.5 * (value - value_target).square().mean(1)
        mean_entropy = entropy.mean(1)
        loss = policy_loss + config.value_coef * value_loss - config.entropy_coef * mean_entropy
        parts = {"policy_loss": policy_loss, "value_loss": value_loss, "entropy": mean_entropy, "log_ratio": log_ratio}
        return loss, parts


def _of_active(
    active: list[bool], latest: dict[str, torch.Tensor], parts: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """The parts of each seed's own last minibatch: a seed that has ended its epochs keeps those it had."""
    go = torch.tensor(active, device=latest["log_ratio"].device)
    return {name: torch.where(go.view(-1, *[1] * (part.dim() - 1)), part, parts[name]) for name, part in latest.items()}
