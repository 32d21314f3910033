"""Policies over an action space: how a network's outputs become actions and log-probabilities.

Sampling adds noise drawn by a seed's own stream to the outputs, on the host; probabilities are torch.
Shapes: outputs `[S, B, ...]`, log-probabilities and entropies `[S, B]`.
"""

from __future__ import annotations

import math
from typing import Any

import gymnasium
import numpy as np
import torch
from torch.autograd.function import once_differentiable

from rlrepro.agent import UnsupportedSpace
from rlrepro.stateful import Stateful
from rlrepro.streams import Streams


def num_discrete(space: gymnasium.Space[Any]) -> int:
    """The number of actions of a Discrete space; `UnsupportedSpace` for any other."""
    if not isinstance(space, gymnasium.spaces.Discrete):
        raise UnsupportedSpace(f"Discrete actions, not {type(space).__name__}")
    return int(space.n)


def _num_actions(space: gymnasium.spaces.Box) -> int:
    """A; `UnsupportedSpace` of a space without any."""
    if not (num := math.prod(space.shape)):
        raise UnsupportedSpace(f"Box actions of at least one number, not {space}")
    return num


RESCALED = "--wrapper 'RescaleAction(min_action=-1,max_action=1)'"


class Categorical:
    """A softmax over the actions of a Discrete space; the outputs are logits."""

    def __init__(self, space: gymnasium.Space[Any]) -> None:
        self.num_actions = self.num_outputs = num_discrete(space)

    def sample(self, logits: np.ndarray, streams: Streams) -> np.ndarray:
        """Gumbel-max (Gumbel, 1954): argmax of logits + noise."""
        return (logits + streams.gumbel(*logits.shape[1:])).argmax(-1)

    def mode(self, logits: np.ndarray) -> np.ndarray:
        return logits.argmax(-1)

    def log_prob_and_entropy(self, logits: torch.Tensor, action: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return _Categorical.apply(logits, action)

    def kl(self, old: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        """KL(old ‖ new) of the distributions of two outputs: Σ_a π_old (log π_old − log π_new)."""
        old_log_probs = torch.log_softmax(old, -1)
        return (old_log_probs.exp() * (old_log_probs - torch.log_softmax(new, -1))).sum(-1)

    def fisher(self, logits: torch.Tensor, direction: torch.Tensor) -> torch.Tensor:
        """The Fisher information with regard to the logits, diag(π) − π πᵀ, times `direction`."""
        probs = torch.softmax(logits, -1)
        return probs * (direction - (probs * direction).sum(-1, keepdim=True))


class _Categorical(torch.autograd.Function):
    """log π(a) and H, their gradients written out: ∂log π(a)/∂z = 1_a − π, ∂H/∂z = −π (log π + H)."""

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, action: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        log_probs = torch.log_softmax(logits, -1)
        probs = log_probs.exp()
        index = action.unsqueeze(-1)
        entropy = -(probs * log_probs).sum(-1)
        ctx.save_for_backward(log_probs, probs, index, entropy)
        return log_probs.gather(-1, index).squeeze(-1), entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_log_prob: torch.Tensor, d_entropy: torch.Tensor) -> tuple[torch.Tensor, None]:
        log_probs, probs, index, entropy = ctx.saved_tensors
        d_log_prob = d_log_prob.unsqueeze(-1)
        weight = (log_probs + entropy.unsqueeze(-1)).mul_(d_entropy.unsqueeze(-1)).add_(d_log_prob)
        return (probs * weight).neg_().scatter_add_(-1, index, d_log_prob), None


class DiagonalGaussian:
    """Independent normals for a Box space; the outputs are the means followed by the log standard deviations."""

    def __init__(self, space: gymnasium.spaces.Box) -> None:
        self.shape = space.shape
        self.num_actions = _num_actions(space)
        self.num_outputs = 2 * self.num_actions

    def sample(self, outputs: np.ndarray, streams: Streams) -> np.ndarray:
        mean, log_std = outputs[..., : self.num_actions], outputs[..., self.num_actions :]
        action = mean + np.exp(log_std) * streams.normal(*mean.shape[1:])
        return action.reshape(*action.shape[:-1], *self.shape)

    def mode(self, outputs: np.ndarray) -> np.ndarray:
        return outputs[..., : self.num_actions].reshape(*outputs.shape[:-1], *self.shape)

    def log_prob_and_entropy(self, outputs: torch.Tensor, action: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean, log_std = outputs.split(self.num_actions, -1)
        distance = (action.reshape(*action.shape[:2], -1) - mean) * torch.exp(-log_std)
        log_prob = (-0.5 * distance.square() - log_std).sum(-1) - 0.5 * math.log(2 * math.pi) * self.num_actions
        entropy = log_std.sum(-1) + 0.5 * math.log(2 * math.pi * math.e) * self.num_actions
        return log_prob, entropy.expand_as(log_prob)

    def kl(self, old: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        """KL(old ‖ new) of the distributions of two outputs: Σ log σ_new/σ_old + (σ_old² + Δμ²) / 2σ_new² − ½."""
        old_mean, old_log_std = old.split(self.num_actions, -1)
        mean, log_std = new.split(self.num_actions, -1)
        log_ratio = old_log_std - log_std
        distance = (old_mean - mean) * torch.exp(-log_std)
        return (0.5 * (torch.expm1(2 * log_ratio) + distance.square()) - log_ratio).sum(-1)

    def fisher(self, outputs: torch.Tensor, direction: torch.Tensor) -> torch.Tensor:
        """The Fisher information with regard to the outputs times `direction`: 1/σ² of the means, 2 of log σ."""
        _, log_std = outputs.split(self.num_actions, -1)
        mean_part, log_std_part = direction.split(self.num_actions, -1)
        return torch.cat([mean_part * torch.exp(-2 * log_std), 2 * log_std_part], -1)


def far_from_normal(space: gymnasium.Space[Any], log_std: float = 0.0) -> str:
    """What to say where N(0, σ²), near which a Gaussian policy begins, is far from the bounds of a Box, or "".

    Nine of ten actions would be clipped to them, or the range is more than three times that of ±3 σ.
    """
    if not isinstance(space, gymnasium.spaces.Box):
        return ""
    std = math.exp(min(max(log_std, -20.0), 20.0))
    for low, high in zip(space.low.ravel().tolist(), space.high.ravel().tolist(), strict=True):
        inside = (math.erf(high / std / math.sqrt(2)) - math.erf(low / std / math.sqrt(2))) / 2
        if low < high and (inside < 0.1 or 18 * std < high - low < math.inf):
            begun = f"actions in [{low:g}, {high:g}], where a policy begins near N(0, {std**2:g}), clipped to them"
            return begun + f" ({RESCALED} makes them [-1, 1])" * space.is_bounded()
    return ""


NARROW = 1e-4  #: half a range beside its distance from 0: float32 has 1,700 to 3,400 numbers in such a one


class UnitBox:
    """A bounded Box whose actions are [-1, 1]^A to the networks: means, noise and bounds are the same everywhere."""

    def __init__(self, space: gymnasium.Space[Any], device: str = "cpu") -> None:
        if not isinstance(space, gymnasium.spaces.Box):
            raise UnsupportedSpace(f"Box actions, not {type(space).__name__}")
        if not np.issubdtype(space.dtype, np.floating):
            raise UnsupportedSpace(f"a Box of floats as actions, not one of {space.dtype}")
        if not space.is_bounded():
            raise UnsupportedSpace(f"bounded Box actions, not {space}")
        self.shape, self.num_actions, self._dtype = space.shape, _num_actions(space), space.dtype
        low, high = space.low.astype(np.float64).reshape(-1), space.high.astype(np.float64).reshape(-1)
        middle, half = low / 2 + high / 2, high / 2 - low / 2
        if max(abs(low).max(), abs(high).max()) > np.finfo(np.float32).max:
            raise UnsupportedSpace(f"actions that float32 holds ({RESCALED} makes them so), not {space}")
        if space.dtype.itemsize > 4 and ((half > 0) & (half < NARROW * abs(middle))).any():
            raise UnsupportedSpace(f"actions that float32 tells apart ({RESCALED} makes them so), not {space}")
        self._middle, self._half = middle.astype(np.float32), half.astype(np.float32)
        per_unit = np.divide(1, self._half, out=np.zeros_like(self._half), where=self._half > 0)
        self._scale, self._per_unit = (torch.from_numpy(part).to(device) for part in (self._half, per_unit))
        self._offset = torch.from_numpy(-self._middle * per_unit).to(device)
        self._centre = torch.from_numpy(self._middle).to(device)

    def scaled(self, unit: np.ndarray) -> np.ndarray:
        """Actions of the space `[S, N, *shape]` for `[S, N, A]` in [-1, 1]."""
        action = self._middle + self._half * unit
        return action.reshape(*unit.shape[:2], *self.shape).astype(self._dtype, copy=False)

    def in_env_units(self, unit: torch.Tensor) -> torch.Tensor:
        """`scaled` for tensors `[S, B, A]`, differentiable."""
        return torch.addcmul(self._centre, unit, self._scale)

    def unit(self, action: torch.Tensor) -> torch.Tensor:
        """`[S, B, A]` in [-1, 1] of actions `[S, B, *shape]` of the space."""
        return torch.addcmul(self._offset, action.reshape(*action.shape[:2], -1), self._per_unit)

    def uniform(self, streams: Streams, num_envs: int) -> np.ndarray:
        """Uniformly random `[S, N, A]` in [-1, 1)."""
        return (2.0 * streams.uniform(num_envs, self.num_actions) - 1.0).astype(np.float32)


class SquashedGaussian:
    """a = tanh(u), u ~ N(μ, σ²), in [-1, 1]^A (Haarnoja et al., 2018, arXiv:1812.05905, Appendix C).

    The outputs are μ followed by log σ, which is kept in `log_std_range`: cut off there (`clamp`), or drawn into it by
    a tanh (`tanh`).
    """

    def __init__(
        self, num_actions: int, log_std_range: tuple[float, ...] = (-20.0, 2.0), bounded_by: str = "clamp"
    ) -> None:
        if len(log_std_range) != 2 or log_std_range[0] >= log_std_range[1]:
            raise ValueError("--log-std-range is two numbers, the lower one first")
        self.num_actions, self.bounded_by = num_actions, bounded_by
        self.low, self.high = log_std_range

    def sample(self, outputs: np.ndarray, streams: Streams) -> np.ndarray:
        mean, raw = outputs[..., : self.num_actions], outputs[..., self.num_actions :]
        if self.bounded_by == "tanh":
            log_std = self.low + 0.5 * (self.high - self.low) * (np.tanh(raw) + 1)
        else:
            log_std = np.clip(raw, self.low, self.high)
        return np.tanh(mean + np.exp(log_std) * streams.normal(*mean.shape[1:]))

    def mode(self, outputs: np.ndarray) -> np.ndarray:
        return np.tanh(outputs[..., : self.num_actions])

    def sample_and_log_prob(self, outputs: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """a = tanh(μ + σ ε) `[S, B, A]` for standard normal ε, and log π(a) `[S, B]`, both differentiable by outputs.

        log π(a) = Σ_i log N(u_i; μ_i, σ_i) − log(1 − tanh² u_i)  (eq. 26), with log(1 − tanh² u) =
        2 (log 2 − |u| − log(1 + exp(−2|u|))), which is exact where tanh² u is 1 in float32.
        """
        return _SquashedGaussian.apply(outputs, noise, self)


class _SquashedGaussian(torch.autograd.Function):
    """At given noise: ∂a/∂u = 1 − a², ∂log π/∂μ = 2a, ∂log π/∂log σ = 2a σε − 1 and ∂u/∂log σ = σε."""

    @staticmethod
    def forward(
        ctx: Any, outputs: torch.Tensor, noise: torch.Tensor, policy: SquashedGaussian
    ) -> tuple[torch.Tensor, torch.Tensor]:
        mean, raw = outputs.split(policy.num_actions, -1)
        if policy.bounded_by == "tanh":
            place, half = torch.tanh(raw), 0.5 * (policy.high - policy.low)
            log_std, slope = policy.low + half * (place + 1), half * (1 - place.square())
        else:
            log_std = raw.clamp(policy.low, policy.high)
            slope = (log_std == raw).to(raw.dtype)
        spread = log_std.exp().mul_(noise)
        u = mean + spread
        distance = u.abs()
        log_slope = torch.exp(-2.0 * distance).log1p_().add_(distance).sub_(math.log(2)).mul_(-2.0)
        each = noise.square().mul_(-0.5).sub_(log_std).sub_(log_slope)
        action = u.tanh_()
        ctx.save_for_backward(action, spread, slope)
        return action, each.sum(-1).sub_(0.5 * math.log(2 * math.pi) * policy.num_actions)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_action: torch.Tensor, d_log_prob: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        action, spread, slope = ctx.saved_tensors
        d_log_prob = d_log_prob.unsqueeze(-1)
        d_u = torch.addcmul(d_action, action, 2.0 * d_log_prob - d_action * action)
        return torch.cat([d_u, (d_u * spread).sub_(d_log_prob).mul_(slope)], -1), None, None


class GaussianNoise(Stateful):
    """Exploration: independent N(0, std²) at every step, `[S, N, A]`."""

    def __init__(self, std: float) -> None:
        self.std = std

    def sample(self, streams: Streams, shape: tuple[int, int, int], ended: np.ndarray | None) -> np.ndarray:
        return self.std * streams.normal(*shape[1:])


class OrnsteinUhlenbeck(Stateful):
    """Exploration: x ← x − θ x Δt + σ √Δt N(0, 1) (Uhlenbeck & Ornstein, 1930), from 0 at the start of an episode."""

    STATE = ("x",)

    def __init__(self, std: float, theta: float, dt: float) -> None:
        self.std, self.theta, self.dt = std, theta, dt
        self.x: np.ndarray | None = None

    def sample(self, streams: Streams, shape: tuple[int, int, int], ended: np.ndarray | None) -> np.ndarray:
        """`ended` `[S, N]`: the episodes that the last step ended; None where there was no step."""
        if self.x is None:
            self.x = np.zeros(shape, np.float32)
        if ended is not None:
            self.x = np.where(ended[..., None], 0.0, self.x)
        diffusion = (self.std * math.sqrt(self.dt)) * streams.normal(*shape[1:])
        self.x = self.x - (self.theta * self.dt) * self.x + diffusion
        return self.x


def policy_for(space: gymnasium.Space[Any]) -> Categorical | DiagonalGaussian:
    """The family for an action space: Discrete or Box; `UnsupportedSpace` for others."""
    if isinstance(space, gymnasium.spaces.Discrete):
        return Categorical(space)
    if isinstance(space, gymnasium.spaces.Box) and np.issubdtype(space.dtype, np.floating):
        return DiagonalGaussian(space)
    if isinstance(space, gymnasium.spaces.Box):
        raise UnsupportedSpace(f"Discrete actions or a Box of floats, not one of {space.dtype}")
    raise UnsupportedSpace(f"Discrete or Box actions, not {type(space).__name__}")
