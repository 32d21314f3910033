"""Deep Q-networks (Mnih et al., 2015, Nature 518), Algorithm 1; optionally double, n-step,
dueling and prioritised.

Acts ε-greedily, keeps transitions in a replay memory, and minimises E[(y − Q(s, a))²], or its Huber form, with

    y = r + γ max_a' Q_target(s', a')                               (the paper's target)
    y = r + γ Q_target(s', argmax_a' Q(s', a'))                     (double: van Hasselt et al., 2016)
    y = Σ_{k<n} γ^k r_k + γ^n max_a' Q_target(s_n, a')              (n-step: Hessel et al., 2018, eq. 2)

and the sum of rewards alone where an episode terminates within the n steps; n-step targets are not corrected for the
policy that has changed since (`rlrepro.n_step.NStep` makes the sums and γ^n). ε falls linearly from the first step on
(`rlrepro.action_values.ActionValues.epsilon`); until `learning_starts` actions are random, as in the paper (CleanRL's
follow ε from the start). `rlrepro.replay.Replay.ready` says when it learns, `rlrepro.off_policy.TargetClock` when
Q_target follows.

Dueling: Q(s, a) = V(s) + A(s, a) − mean_a' A(s, a') (Wang et al., 2016, eq. 9, without their scaling of gradients;
`rlrepro.value_networks`). Prioritised: transitions are drawn in proportion to (|y − Q| + 10⁻⁶)^α, by the metric `error`
of `loss`, and the loss of each is weighted by (N P)^−β, divided by the batch's largest (Schaul et al., 2016,
Algorithm 1; `rlrepro.prioritised.PrioritisedReplay`). Rainbow, with all of these and more, is an agent of its own.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch.nn import functional

from rlrepro.action_values import TargetedActionValues
from rlrepro.agent import Memory, Setup, Transition, hyper
from rlrepro.n_step import NStep
from rlrepro.sources import CLEANRL
from rlrepro.streams import Streams
from rlrepro.targets import td_target
from rlrepro.value_networks import of_action, value_network

CODE = f"{CLEANRL}/dqn.py"
SCHAUL = "secondary: Schaul et al. (2016), Algorithm 1 and Section 4"


class DQN(TargetedActionValues):
    """DQN for Discrete actions, on vectors (an MLP) or images (a CNN)."""

    LOSSES = ("loss",)
    GRAPHED = ("gradient_step", "q_values")

    @dataclasses.dataclass(frozen=True)
    class Config:
        learning_rate: float = hyper(2.5e-4, "Adam's step size", f"{CODE} (the paper: RMSProp's)", low=0)
        gamma: float = hyper(0.99, "discount factor", "paper: Extended Data Table 1", low=0, high=1)
        buffer_size: int = hyper(10_000, "transitions kept per seed", f"{CODE} (the paper: 1e6)", low=1)
        batch_size: int = hyper(128, "transitions of a batch", f"{CODE} (the paper: 32)", low=1)
        learning_starts: int = hyper(
            10_000, "env steps before learning, of random actions", f"{CODE} (the paper: 5e4 frames)", low=0
        )
        train_every: int = hyper(10, "env steps between gradient steps", f"{CODE} (the paper: 4)", low=1)
        gradient_steps: int = hyper(1, "gradient steps each time", "paper: Algorithm 1", low=1)
        target_every: int = hyper(500, "env steps between target updates", f"{CODE} (the paper: 1e4 updates)", low=1)
        tau: float = hyper(1.0, "weight of the online parameters in the target", "paper: Algorithm 1", low=0, high=1)
        epsilon_start: float = hyper(1.0, "initial ε", "paper: Extended Data Table 1", low=0, high=1)
        epsilon_end: float = hyper(0.05, "final ε", f"{CODE} (the paper: 0.1)", low=0, high=1)
        exploration_fraction: float = hyper(
            0.5, "fraction of the run in which ε falls", f"{CODE} (the paper: 1e6 frames)", low=0, high=1
        )
        loss: str = hyper(
            "squared", "of u = y − Q: u², or ½ u² up to |u| = 1 and |u| − ½ beyond",
            f"{CODE} (the paper clips u to ±1: huber)", choices=("huber", "squared"),
        )  # fmt: skip
        double: bool = hyper(
            False, "the online network chooses the target's action", "secondary: van Hasselt et al. (2016)"
        )
        epsilon_eval: float = hyper(
            0.0, "ε of evaluations that are not deterministic; 0: the last ε",
            "ours: as it explores last (the paper: 0.05)", low=0, high=1, addition=True,
        )  # fmt: skip
        max_grad_norm: float = hyper(0.0, "largest norm of a seed's gradient; 0: no limit", "paper: none", low=0)
        hidden: tuple[int, ...] = hyper((120, 84), "units of the hidden layers", CODE, low=1, only="vectors")
        dueling: bool = hyper(
            False, "a value and an advantage stream", "secondary: Wang et al. (2016), eq. 9", addition=True
        )
        num_steps: int = hyper(
            1, "rewards in a target (n)", "secondary: Hessel et al. (2018), eq. 2", low=1, addition=True
        )
        prioritised: bool = hyper(False, "draw what was mispredicted more often", SCHAUL, addition=True)
        alpha: float = hyper(0.6, "prioritised: exponent of |δ|", SCHAUL, low=0, addition="prioritised")
        beta: float = hyper(
            0.4, "prioritised: initial β, which ends at 1", SCHAUL, low=0, high=1, addition="prioritised"
        )

    PRESETS = {"*": {"num_envs": 1, "total_timesteps": 500_000, "source": CODE}}

    PROBE = {
        "num_envs": 1, "total_timesteps": 2_000, "learning_rate": 2e-3, "buffer_size": 1_000, "batch_size": 32,
        "learning_starts": 100, "train_every": 4, "target_every": 40, "hidden": (32, 32),
    }  # fmt: skip

    def __init__(self, setup: Setup, config: Config) -> None:
        super().__init__(setup, config)
        space = setup.observation_space
        self._build(value_network(space, config.hidden, self.num_actions, dueling=config.dueling))
        if config.prioritised:
            self.prioritised_replay = self._prioritised_replay(config.alpha, config.beta)
        replay = self.prioritised_replay or self._replay()
        self.memory: Memory = NStep(replay, config.num_steps, config.gamma) if config.num_steps > 1 else replay

    def predict(self, obs: np.ndarray, streams: Streams, deterministic: bool) -> np.ndarray:
        """Greedy, or ε-greedy with the ε of evaluations."""
        epsilon = self.config.epsilon_eval or self.config.epsilon_end
        return self._epsilon_greedy(obs, streams, 0.0 if deterministic else epsilon)

    def next_value(self, batch: Transition) -> torch.Tensor:
        """max_a Q'(s', a), or Q'(s', argmax_a Q(s', a)) where it is `double`, `[S, B]`."""
        next_q = self.target.q(self.inputs(batch.next_obs))
        if self.config.double:
            return of_action(next_q, self.q_values(batch.next_obs).argmax(-1))
        return next_q.amax(-1)

    def loss(self, batch: Transition) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The loss `[S]` of a batch, and its metrics with the `error` `[S, B]`."""
        with torch.no_grad():
            discount = batch.extras.get("discount", self.config.gamma)  # γ^n
            target = td_target(batch.reward, self.next_value(batch), batch.terminated, discount)
        q = of_action(self.q_values(batch.obs), batch.action)
        regress = functional.smooth_l1_loss if self.config.loss == "huber" else functional.mse_loss
        losses = regress(q, target, reduction="none")
        if "weight" in batch.extras:
            losses = losses * batch.extras["weight"]
        loss, q = losses.mean(1), q.detach()
        return loss, {"losses/td_loss": loss.detach(), "losses/q_values": q.mean(1), "error": q - target}
