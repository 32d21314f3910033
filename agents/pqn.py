"""PQN: a parallelised Q-network (Gallici et al., 2024, arXiv:2407.04811), Algorithm 1 with λ-returns.

No replay memory and no target network: N sub-environments act ε-greedily for T steps, and K epochs of minibatches
regress Q(s, a), a network with layer normalisation, on the λ-returns of the rollout, by rectified Adam:

    G_t = r_t + γ [(1 − λ) max_a' Q(s_{t+1}, a') + λ G_{t+1}],    G = r + γ max_a' Q(s', a') at the last step

(`rlrepro.targets.lambda_return`; the network is `rlrepro.value_networks.ValueNetwork`, ε-greedy and its schedule are
`rlrepro.action_values.ActionValues`'), with nothing after the step that terminates an episode. These are the returns of
Peng's Q(λ): exploratory actions do not cut them.

What the paper leaves open, and the defaults, follow CleanRL's pqn.py, but for two things: a truncated episode is
bootstrapped here, and no return flows from an episode into the one before it (`across_episodes` undoes both). Two more
are tiny: CleanRL's ε is one loop step further on, and its learning rate falls by the number of whole rollouts.
"""

from __future__ import annotations

import dataclasses
import math

import torch

from rlrepro.action_values import ActionValues
from rlrepro.agent import Metrics, Setup, Transition, hyper
from rlrepro.memory import Rollout, epochs, minibatch_size
from rlrepro.networks import fan_in_uniform, orthogonal
from rlrepro.optimisers import Adam, RAdam, descend, loss_and_metrics
from rlrepro.schedules import annealed
from rlrepro.seeds import Stack
from rlrepro.sources import CLEANRL
from rlrepro.streams import Streams
from rlrepro.targets import lambda_return
from rlrepro.value_networks import ValueNetwork, of_action

CODE = f"{CLEANRL}/pqn.py"


class PQN(ActionValues):
    """PQN for Discrete actions, on vectors (dense layers) or images (a CNN)."""

    LOSSES = ("loss",)
    GRAPHED = ("gradient_step", "q_values")
    STATE = ("order",)

    @dataclasses.dataclass(frozen=True)
    class Config:
        learning_rate: float = hyper(2.5e-4, "RAdam's step size", CODE, low=0)
        anneal: bool = hyper(True, "learning rate falls linearly to 0", CODE)
        num_steps: int = hyper(128, "steps of a rollout (T)", CODE, low=1)
        num_epochs: int = hyper(4, "passes over a rollout", CODE, low=1)
        num_minibatches: int = hyper(4, "minibatches of a pass", CODE, low=1)
        gamma: float = hyper(0.99, "discount factor", CODE, low=0, high=1)
        q_lambda: float = hyper(0.65, "λ of the returns", CODE, low=0, high=1)
        epsilon_start: float = hyper(1.0, "initial ε", CODE, low=0, high=1)
        epsilon_end: float = hyper(0.05, "final ε", CODE, low=0, high=1)
        exploration_fraction: float = hyper(0.5, "fraction of the run in which ε falls", CODE, low=0, high=1)
        max_grad_norm: float = hyper(10.0, "largest norm of a seed's gradient; 0: no limit", CODE, low=0)
        layer_norm: bool = hyper(True, "normalise every hidden layer", "paper: Section 3")
        optimiser: str = hyper("radam", "rectified Adam, or Adam", CODE, choices=("radam", "adam"))
        first_weights: str = hyper("orthogonal", "how weights are drawn", CODE, choices=("orthogonal", "uniform"))
        across_episodes: bool = hyper(
            False, "returns flow over ends, where nothing is bootstrapped", "paper: Algorithm 1 (CleanRL's code: true)"
        )
        hidden: tuple[int, ...] = hyper((120, 84), "units of the hidden layers", CODE, low=1, only="vectors")

    PRESETS = {"*": {"num_envs": 4, "total_timesteps": 500_000, "source": CODE}}

    PROBE = {"num_envs": 4, "total_timesteps": 8_000, "num_steps": 16, "learning_rate": 5e-3, "hidden": (32, 32)}

    def __init__(self, setup: Setup, config: Config) -> None:
        super().__init__(setup, config)
        self.batch_size = setup.num_envs * config.num_steps
        self.minibatch_size = minibatch_size(self.batch_size, config.num_minibatches)
        network = ValueNetwork(
            setup.observation_space,
            config.hidden,
            self.num_actions,
            layer_norm=config.layer_norm,
            initialiser=orthogonal(math.sqrt(2)) if config.first_weights == "orthogonal" else fan_in_uniform,
        )
        self.online = Stack(setup.seeds, setup.device, q=network)
        self.optimiser = (RAdam if config.optimiser == "radam" else Adam)(self.online, config.learning_rate)
        self.order = Streams(setup.seeds, "minibatches")
        self.memory = Rollout(config.num_steps, setup.device)

    def update(self, batch: Transition, step: int) -> Metrics:
        """K epochs of minibatches on one rollout `[S, T, N, ...]`."""
        config = self.config
        learning_rate = config.learning_rate
        if config.anneal:
            learning_rate = annealed(learning_rate, self.setup, config.num_steps, step)
        rollout = batch.obs.flatten(1, 2), batch.action.flatten(1, 2), self.returns(batch).flatten(1)
        for epoch in epochs(self.order, config.num_epochs, self.minibatch_size, *rollout):
            for minibatch in epoch:
                metrics = self.gradient_step(*minibatch, learning_rate=learning_rate)
        return metrics | self.rates(step) | {"charts/learning_rate": self._of_each_seed(learning_rate)}

    def gradient_step(self, *minibatch: torch.Tensor, learning_rate: float) -> dict[str, torch.Tensor]:
        """One step down the gradient of `loss`; its metrics."""
        loss, metrics = loss_and_metrics(self.loss(*minibatch))
        descend(loss, self.optimiser, learning_rate, self.config.max_grad_norm)
        return metrics

    @torch.no_grad()
    def returns(self, batch: Transition) -> torch.Tensor:
        """The λ-returns G `[S, T, N]` of a rollout; the parameters are those that acted."""
        config, terminated, truncated = self.config, batch.terminated, batch.truncated
        next_value = self.q_values(batch.next_obs.flatten(1, 2)).amax(-1).view(batch.reward.shape)
        if config.across_episodes:
            next_value = next_value * ~(terminated | truncated)
            terminated = truncated = torch.zeros_like(terminated)
        return lambda_return(batch.reward, next_value, terminated, truncated, config.gamma, config.q_lambda)

    def loss(
        self, obs: torch.Tensor, action: torch.Tensor, value_target: torch.Tensor
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The mean squared error `[S]` of a minibatch `[S, B, ...]`, and its metrics."""
        q = of_action(self.q_values(obs), action)
        loss = (q - value_target).square().mean(1)
        return loss, {"losses/td_loss": loss.detach(), "losses/q_values": q.detach().mean(1)}
