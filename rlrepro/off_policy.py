"""What off-policy agents share beside their losses: when a target network follows, how they act, and their state."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from rlrepro.agent import Setup
from rlrepro.distributions import UnitBox
from rlrepro.graphs import on_host
from rlrepro.networks import (
    MLP,
    Constant,
    Initialiser,
    TakesObservations,
    apart,
    fan_in_uniform,
    is_image,
    num_features,
    refuse_images,
    uniform,
)
from rlrepro.optimisers import Adam
from rlrepro.replay import Replay
from rlrepro.schedules import linear
from rlrepro.seeds import Stack
from rlrepro.stateful import Stateful
from rlrepro.streams import Streams


class TargetClock(Stateful):
    """Moves a target network every `target_every` env steps: target ← (1 − τ) target + τ online.

    The env steps are those at which a learning phase is due: every `train_every`, `gradient_steps` at once. Where N
    sub-environments make several phases due in one step of the loop, each has the env step that it would have with one
    sub-environment, so that every gradient step meets the target that it would meet there.

    The target moves after the last gradient step of a phase. If k multiples of `target_every` have been passed since
    the phase before, or since learning started, these are k moves at once, of weight 1 − (1 − τ)^k.
    """

    STATE = ("period", "step", "count")

    def __init__(self, config: Any) -> None:
        """The config has `target_every`, `train_every`, `learning_starts`, and may have `tau`, `gradient_steps`."""
        self.target_every, self.train_every = config.target_every, config.train_every
        self.learning_starts = config.learning_starts
        self.gradient_steps, self.tau = getattr(config, "gradient_steps", 1), getattr(config, "tau", 1.0)
        self.period = -1  #: multiples of `target_every` passed so far, from the first learning phase on
        self.step, self.count = -1, 0  # of the loop, and the gradient steps in it

    def follow(self, target: Stack, online: Stack, step: int) -> None:
        """Called after every gradient step, in the loop's `step`: move the target where it is due."""
        self.count = self.count + 1 if step == self.step else 1
        self.step = step
        phases, left = divmod(self.count, self.gradient_steps)
        if left == 0 and (moves := self._moves(step, phases)):
            target.polyak_update(online, self.tau if moves == 1 else 1 - (1 - self.tau) ** moves)

    def _moves(self, step: int, phase: int) -> int:
        """How many are due after the `phase`-th learning phase, from 1, in the loop's `step`."""
        before = max(step, self.learning_starts) // self.train_every
        passed = (before + phase) * self.train_every // self.target_every
        if self.period < 0:  # till now the networks were the same; a memory of n-step returns is filled late
            begun = max(self.learning_starts, (before + phase - 1) * self.train_every)
            self.period = begun // self.target_every
        moves, self.period = passed - self.period, passed
        return moves


class OffPolicy(TakesObservations, Stateful):
    """An actor and critics that learn from a replay memory; an agent adds its networks and its update.

    The config has `buffer_size`, `batch_size`, `learning_starts`, `train_every` and `gradient_steps`.
    """

    STATE: tuple[str, ...] = ("actor", "exploration")
    GRAPHED = ("gradient_step", "outputs")
    actor: Stack

    def __init__(self, setup: Setup, config: Any) -> None:
        self.config, self.setup = config, setup
        self.image = is_image(setup.observation_space)
        self.exploration, replay = Streams(setup.seeds, "policy"), Streams(setup.seeds, "replay")
        times = config.learning_starts, config.train_every, config.gradient_steps
        self.memory = Replay(replay, config.buffer_size, config.batch_size, *times, setup.device)

    def outputs(self, obs: torch.Tensor) -> torch.Tensor:
        """What actions follow from, `[S, B, ...]`, for observations."""
        raise NotImplementedError

    def _on_device(self, obs: np.ndarray) -> torch.Tensor:
        return self.inputs(torch.from_numpy(obs).to(self.setup.device))

    def get_policy(self) -> dict[str, torch.Tensor]:
        return self.actor.named()

    def set_policy(self, policy: Mapping[str, torch.Tensor]) -> None:
        self.actor.load_named(policy)


class Temperature(Stack):
    """The temperature α of soft actor-critics, one a seed; its logarithm is what is learnt."""

    def __init__(self, setup: Setup, start: float) -> None:
        super().__init__(setup.seeds, setup.device, log_alpha=Constant(1, math.log(start)))

    @property
    def alpha(self) -> torch.Tensor:
        """α, `[S, 1]`: without gradient, a constant to the losses of critics and actor."""
        return self.log_alpha.parameters["value"][:, 0].exp()

    def log(self) -> torch.Tensor:
        """log α, `[S]`, with its gradient."""
        return self.log_alpha(self.matrix)[:, 0, 0]  # whatever the argument

    def weight(self, kind: str) -> torch.Tensor:
        """What J(α) weighs by, `[S]`, with its gradient: α, or, of `kind` "log_alpha", its logarithm."""
        return self.log() if kind == "log_alpha" else self.log().exp()


class BoxActions(OffPolicy):
    """For bounded Box actions, on vectors: networks act in [-1, 1], and the memory keeps the environment's actions.

    The config has `random_start`, `random_steps`, `anneal`, `critic_units` and the step sizes of actor and critic too.
    A subclass calls `_build` with its networks.
    """

    STATE: tuple[str, ...] = (
        "critic", "target_actor", "target_critic", "actor_optimiser", "critic_optimiser", "num_updates", "of_actor",
    )  # fmt: skip
    OF_ACTOR: tuple[str, ...] = ("losses/actor_loss",)  #: metrics of updates with a step of the actor

    def __init__(self, setup: Setup, config: Any) -> None:
        refuse_images(setup.observation_space)
        self.box = UnitBox(setup.action_space, setup.device)
        super().__init__(setup, config)
        self.num_updates = 0
        self.of_actor = {name: torch.full((setup.num_seeds,), torch.nan, device=setup.device) for name in self.OF_ACTOR}

    def _build(
        self, actor: Mapping[str, Any], critic: Mapping[str, Any], weight_decay: float = 0.0, slow_actor: bool = True
    ) -> None:
        """Actor and critic of these networks, the copies that lag, and an Adam each; `weight_decay` is the critic's."""
        setup, config = self.setup, self.config
        self.actor, self.critic = (Stack(setup.seeds, setup.device, **networks) for networks in (actor, critic))
        self.target_actor = self.actor.target_copy() if slow_actor else self.actor
        self.target_critic = self.critic.target_copy()
        self.actor_optimiser = Adam(self.actor, config.actor_learning_rate)
        self.critic_optimiser = Adam(self.critic, config.critic_learning_rate, weight_decay=weight_decay)

    def _complete(self, metrics: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Those of an update; where it has none of the actor's, with those of the last that had."""
        metrics = self.of_actor | metrics
        self.of_actor = {name: metrics[name] for name in self.of_actor}
        return metrics

    def act(self, obs: np.ndarray, step: int) -> tuple[np.ndarray, Mapping[str, np.ndarray]]:
        """As the policy explores; uniformly random for the first `random_steps`, or until learning starts."""
        config = self.config
        if step < max(config.random_steps, config.learning_starts if config.random_start else 0):
            return self.box.scaled(self.box.uniform(self.exploration, obs.shape[1])), {}
        return self.explore(obs), {}

    def explore(self, obs: np.ndarray) -> np.ndarray:
        """Actions `[S, N, ...]` of the policy that learns: where a subclass says nothing else, as it predicts."""
        return self.predict(obs, self.exploration, deterministic=False)

    def predict(self, obs: np.ndarray, streams: Streams, deterministic: bool) -> np.ndarray:
        raise NotImplementedError

    def _pairs(self, inputs: torch.Tensor, unit: torch.Tensor) -> torch.Tensor:
        """(s, a) as critics see them, of actions in [-1, 1]."""
        return torch.cat([inputs, self.box.in_env_units(unit) if self.config.critic_units == "env" else unit], -1)

    def q(self, critic: Stack, inputs: torch.Tensor, unit: torch.Tensor) -> torch.Tensor:
        """Q_m(s, a) `[S, M, B]` of actions in [-1, 1], by the M networks of the stack's `Ensemble` `critics`."""
        return critic.critics(self._pairs(inputs, unit))[..., 0]

    def _fraction_left(self, step: int) -> float:
        """The fraction of the step sizes that annealing leaves."""
        return linear(1.0, 0.0, self.setup.total_timesteps, step) if self.config.anneal else 1.0


class DeterministicPolicy(BoxActions):
    """μ(s) = tanh(actor(s)) and the copies of actor and critic that lag, as in DDPG and TD3.

    The config has `hidden`, `action_layer`, `output_init` and `output_bias` too.
    """

    def _actor_network(self) -> MLP:
        sizes = num_features(self.setup.observation_space), *self.config.hidden, self.box.num_actions
        return MLP(sizes, "relu", self._first_weights(fan_in_uniform))

    def _critic_network(self, own_fan_in: bool) -> MLP:
        """Q(s, a), the action in the layers that the config says; `own_fan_in`: where it is late, see `apart`."""
        config, num_actions = self.config, self.box.num_actions
        if config.action_layer != "first" and len(config.hidden) < 2:
            raise ValueError(f"--action-layer {config.action_layer} needs two layers in --hidden")
        sizes = num_features(self.setup.observation_space) + num_actions, *config.hidden, 1
        late = 0 if config.action_layer == "first" else num_actions
        weights = self._first_weights(apart(late) if late and own_fan_in else fan_in_uniform)
        early = config.action_layer == "both"
        return MLP(sizes, "relu", weights, input_gradient=True, late=late, early=early)

    def _first_weights(self, second: Initialiser) -> list[Initialiser]:
        """Of every layer: `second` of the second one, `output_init` and `output_bias` of the last."""
        config = self.config
        last = uniform(config.output_init, config.output_bias == "fan_in") if config.output_init else fan_in_uniform
        hidden: list[Initialiser] = [fan_in_uniform] * len(config.hidden)
        if len(hidden) > 1:
            hidden[1] = second
        return [*hidden, last]

    def policy(self, actor: Stack, inputs: torch.Tensor) -> torch.Tensor:
        """μ(s) in [-1, 1], `[S, B, A]`."""
        return torch.tanh(actor.actor(inputs))

    def outputs(self, obs: torch.Tensor) -> torch.Tensor:
        """μ(s) in [-1, 1]."""
        return self.policy(self.actor, self.inputs(obs))

    def _greedy(self, obs: np.ndarray) -> np.ndarray:
        return on_host(self.outputs, obs, self.setup.device)

    def _noisy(self, obs: np.ndarray, streams: Streams, std: float) -> np.ndarray:
        """μ(s) + N(0, std²), cut off at the bounds, in [-1, 1]."""
        unit = self._greedy(obs)
        return np.clip(unit + std * streams.normal(*unit.shape[1:]), -1.0, 1.0)


__all__ = ["BoxActions", "DeterministicPolicy", "OffPolicy", "TargetClock", "Temperature"]
