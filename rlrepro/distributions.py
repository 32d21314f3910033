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
from rlrepro.seeds import Streams


class Categorical:
    """A softmax over the actions of a Discrete space; the outputs are logits."""

    def __init__(self, space: gymnasium.spaces.Discrete) -> None:
        self.num_actions = int(space.n)

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
        self.num_actions = math.prod(space.shape)

    def sample(self, outputs: np.ndarray, streams: Streams) -> np.ndarray:
        mean, log_std = outputs[..., : self.num_actions], outputs[..., self.num_actions :]
        action = mean + np.exp(log_std) * streams.normal(*mean.shape[1:])
        return action.reshape(*action.shape[:-1], *self.shape)

    def mode(self, outputs: np.ndarray) -> np.ndarray:
        return outputs[..., : self.num_actions].reshape(*outputs.shape[:-1], *self.shape)

    def log_prob_and_entropy(self, outputs: torch.Tensor, action: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean, log_std = outputs.split(self.num_actions, -1)
        distance = (action.flatten(2) - mean) * torch.exp(-log_std)
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


def policy_for(space: gymnasium.Space[Any]) -> Categorical | DiagonalGaussian:
    """The family for an action space: Discrete or Box; `UnsupportedSpace` for others."""
    if isinstance(space, gymnasium.spaces.Discrete):
        return Categorical(space)
    if isinstance(space, gymnasium.spaces.Box) and np.issubdtype(space.dtype, np.floating):
        return DiagonalGaussian(space)
    raise UnsupportedSpace(f"Discrete or Box actions, not {type(space).__name__}")
