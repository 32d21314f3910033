"""What policy-gradient agents share beside their updates: a policy and a value function, and how they act."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from rlrepro.agent import Setup, Transition, UnsupportedSpace, inherits
from rlrepro.distributions import DiagonalGaussian, policy_for
from rlrepro.graphs import on_host
from rlrepro.networks import (
    MLP,
    Constant,
    Network,
    TakesObservations,
    features_on_host,
    image_network,
    initialisers,
    is_image,
    num_features,
)
from rlrepro.seeds import Stack
from rlrepro.stateful import Stateful
from rlrepro.streams import Streams
from rlrepro.targets import gae


class ActorCritic(TakesObservations, Stateful):
    """A policy π and a value function V for Discrete and Box actions; an agent adds its memory and its update.

    On vectors they are two MLPs, `actor` and `critic`; on images one CNN with both heads, `shared`. A Box
    policy is Gaussian; its log standard deviation, `log_std`, is learnt and depends on no input.

    `stack` has all parameters of the policy. The value function's are there too, or in a stack of their own,
    `critic_stack`, where the two are `separate`: learnt by optimisers of their own. On images they cannot be.
    """

    STATE: tuple[str, ...] = ("stack", "critic_stack", "exploration")

    def __init__(
        self,
        setup: Setup,
        hidden: Sequence[int],
        activation: str = "tanh",
        first_weights: str = "orthogonal",
        log_std_init: float = 0.0,
        separate: bool = False,
    ) -> None:
        """`first_weights`: orthogonal, uniform or xavier. Raises `UnsupportedSpace` for spaces not served."""
        self.setup = setup
        self.policy = policy_for(setup.action_space)
        self.image = is_image(setup.observation_space)
        num_actions = self.policy.num_actions
        critic: dict[str, Network] = {}
        if self.image:
            if separate:
                raise UnsupportedSpace(
                    "observations that are vectors where policy and value function are separate: on images they share "
                    "a network"
                )
            if first_weights == "xavier":
                raise UnsupportedSpace("observations that are vectors for xavier weights, not images")
            heads = [(num_actions, 0.01), (1, 1.0)] if first_weights == "orthogonal" else None
            networks: dict[str, Network] = {"shared": image_network(setup.observation_space, num_actions + 1, heads)}
        else:
            sizes = num_features(setup.observation_space), *hidden
            first = [initialisers(first_weights, activation, len(hidden), head_gain) for head_gain in (0.01, 1.0)]
            networks = {"actor": MLP((*sizes, num_actions), activation, first[0])}
            critic = {"critic": MLP((*sizes, 1), activation, first[1])}
        log_std: dict[str, Network] = {}
        if isinstance(self.policy, DiagonalGaussian):
            log_std["log_std"] = Constant(num_actions, log_std_init)
        if separate:
            self.stack = Stack(setup.seeds, setup.device, **networks, **log_std)
            self.critic_stack = Stack(setup.seeds, setup.device, **critic)
        else:
            self.stack = self.critic_stack = Stack(setup.seeds, setup.device, **networks, **critic, **log_std)
        self.exploration = Streams(setup.seeds, "policy")
        names = "outputs", "inputs", "policy_outputs", "_with_log_std"
        self._by_numpy = inherits(self, ActorCritic, *names) and not self.image and setup.device == "cpu"

    def act(self, obs: np.ndarray, step: int) -> tuple[np.ndarray, Mapping[str, np.ndarray]]:
        return self.policy.sample(self._policy_on_host(obs), self.exploration), {}

    def predict(self, obs: np.ndarray, streams: Streams, deterministic: bool) -> np.ndarray:
        outputs = self._policy_on_host(obs)
        return self.policy.mode(outputs) if deterministic else self.policy.sample(outputs, streams)

    def _policy_on_host(self, obs: np.ndarray) -> np.ndarray:
        """`policy_outputs` for arrays of the host; a device is waited for once."""
        if not self._by_numpy:
            return on_host(self.outputs, obs, self.setup.device)
        # The same numbers, by NumPy, which takes half the time of a step.
        means = self.stack.actor.on_host(features_on_host(self.setup.observation_space, obs))
        if not isinstance(self.policy, DiagonalGaussian):
            return means
        log_std = self.stack.log_std.on_host(means)
        return np.concatenate([means, np.broadcast_to(log_std, means.shape)], -1)

    def outputs(self, obs: torch.Tensor) -> torch.Tensor:
        """`policy_outputs` for observations."""
        return self.policy_outputs(self.inputs(obs))

    def policy_outputs(self, inputs: torch.Tensor) -> torch.Tensor:
        """What the policy's distribution is made of, `[S, B, num_outputs]`: logits, or means and log std."""
        means = self.stack.shared(inputs)[..., :-1] if self.image else self.stack.actor(inputs)
        return self._with_log_std(means)

    def value(self, inputs: torch.Tensor) -> torch.Tensor:
        """V(s), `[S, B]`."""
        return (self.stack.shared(inputs) if self.image else self.critic_stack.critic(inputs))[..., -1]

    @torch.no_grad()
    def value_of(self, obs: np.ndarray) -> np.ndarray:
        """V(s), `[S, B]`, for `rlrepro probe`."""
        return self.value(self.inputs(torch.from_numpy(obs).to(self.setup.device))).cpu().numpy()

    def policy_and_value(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """`policy_outputs` and `value` at once."""
        if not self.image:
            return self.policy_outputs(inputs), self.value(inputs)
        both = self.stack.shared(inputs)
        return self._with_log_std(both[..., :-1]), both[..., -1]

    def _with_log_std(self, means: torch.Tensor) -> torch.Tensor:
        if not isinstance(self.policy, DiagonalGaussian):
            return means
        return torch.cat([means, self.stack.log_std(means).expand_as(means)], -1)

    def linearised_policy(self, inputs: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        """The Jacobian of `policy_outputs` by the parameters, on vectors: its product with a direction `[S, P]`."""
        mean = self.stack.actor.network.linearised(self.stack.actor, inputs)  # type: ignore[attr-defined]
        if not isinstance(self.policy, DiagonalGaussian):
            return mean
        log_std = self.stack.log_std.network.linearised(self.stack.log_std, inputs)  # type: ignore[attr-defined]

        def both(direction: torch.Tensor) -> torch.Tensor:
            moved = mean(direction)
            return torch.cat([moved, log_std(direction).expand_as(moved)], -1)

        return both

    @torch.no_grad()
    def advantage(self, batch: Transition, value: torch.Tensor, gamma: float, gae_lambda: float) -> torch.Tensor:
        """GAE of a rollout `[S, T, N, ...]` whose observations have `value`; both are `[S, T·N]`.

        All successors are valued, though most are the next step's observation: where an episode ended they are not, and
        a batch of those alone would have a shape, and so bits, that hang on which seeds are trained together.
        """
        shape, next_value = batch.reward.shape, self.value(self.inputs(batch.next_obs.flatten(1, 2)))
        values, ends = (value.view(shape), next_value.view(shape)), (batch.terminated, batch.truncated)
        return gae(batch.reward, *values, *ends, gamma, gae_lambda).flatten(1)

    def get_policy(self) -> dict[str, torch.Tensor]:
        return self.stack.named()

    def set_policy(self, policy: Mapping[str, torch.Tensor]) -> None:
        self.stack.load_named(policy)


__all__ = ["ActorCritic"]
