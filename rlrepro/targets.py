"""Value targets as pure functions, each citing its equation.

Shapes: rewards and the ends of episodes are `[S, T, N]`; time is axis 1. `next_value` is the value of the true
successor, so a truncated episode is bootstrapped by it and a terminated one is not.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from rlrepro.errors import AgentFault


def gae(
    reward: torch.Tensor,
    value: torch.Tensor,
    next_value: torch.Tensor,
    terminated: torch.Tensor,
    truncated: torch.Tensor,
    gamma: float,
    gae_lambda: float,
) -> torch.Tensor:
    """Generalised advantage estimates (Schulman et al., 2016, eq. 16), `[S, T, N]`.

    δ_t = r_t + γ (1 − terminated_t) V(s'_t) − V(s_t) and A_t = δ_t + γ λ (1 − ended_t) A_{t+1}, where an episode
    ended by either flag: nothing flows back over its end, but only termination has no successor value.
    """
    discount = gamma * (~terminated)
    delta = torch.addcmul(reward - value, discount, next_value)
    carry = (gamma * gae_lambda) * (~(terminated | truncated))
    return _backward_sum(delta, carry)


def discounted_return(reward: torch.Tensor, ended: torch.Tensor, gamma: float) -> torch.Tensor:
    """G_t = r_t + γ (1 − ended_t) G_{t+1} (Sutton & Barto, 2018, eq. 3.9), `[S, T, N]`; r_t is their R_{t+1}."""
    return _backward_sum(reward, gamma * ~ended)


def normalised(advantage: torch.Tensor) -> torch.Tensor:
    """Advantages `[S, B]` to each seed's mean 0 and deviation 1 (Huang et al., 2022, detail 7)."""
    std, mean = torch.std_mean(advantage, 1, keepdim=True)
    return (advantage - mean) / (std + 1e-8)


def clipped_surrogate(log_ratio: torch.Tensor, advantage: torch.Tensor, clip_range: float) -> torch.Tensor:
    """PPO's objective (Schulman et al., 2017, eq. 7) to be maximised, `[S]` from `[S, B]`.

    E[min(r A, clip(r, 1 − ε, 1 + ε) A)] with r = exp(log_ratio). Its gradient is written out: A r where the first
    term is the smaller one, and nothing where the clipped one is.
    """
    return _ClippedSurrogate.apply(log_ratio, advantage, clip_range)


class _ClippedSurrogate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, log_ratio: torch.Tensor, advantage: torch.Tensor, clip_range: float) -> torch.Tensor:
        ratio = log_ratio.exp()
        gain = ratio * advantage
        clipped = ratio.clamp_(1 - clip_range, 1 + clip_range).mul_(advantage)
        ctx.save_for_backward(gain, gain <= clipped)
        return torch.minimum(gain, clipped).mean(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, delta: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        gain, open_ = ctx.saved_tensors
        return (gain * open_).mul_((delta / gain.shape[1]).unsqueeze(1)), None, None


def clipped_value_error(
    value: torch.Tensor, old_value: torch.Tensor, value_target: torch.Tensor, clip_range: float
) -> torch.Tensor:
    """E[max((V − V_target)², (clip(V, V_old ± ε) − V_target)²)], `[S]` from `[S, B]`.

    Not in the PPO paper: from OpenAI's baselines (Huang et al., 2022, detail 9). Its gradient is written out:
    2 (V − V_target) where the first term is the larger one or nothing is clipped, and nothing elsewhere.
    """
    return _ClippedValueError.apply(value, old_value, value_target, clip_range)


class _ClippedValueError(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, value: torch.Tensor, old_value: torch.Tensor, value_target: torch.Tensor, clip_range: float
    ) -> torch.Tensor:
        error = value - value_target
        moved = value - old_value
        near = moved.clamp(-clip_range, clip_range)
        near_error = near.add(old_value).sub_(value_target)
        free, held = error.square(), near_error.square_()
        ctx.save_for_backward(error, (free > held).logical_or_(near == moved))
        return torch.maximum(free, held).mean(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, delta: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        error, open_ = ctx.saved_tensors
        return (error * open_).mul_((delta * (2.0 / error.shape[1])).unsqueeze(1)), None, None, None


def td_target(
    reward: torch.Tensor, next_value: torch.Tensor, terminated: torch.Tensor, gamma: float | torch.Tensor
) -> torch.Tensor:
    """r + γ (1 − terminated) V(s'): the one-step target (Sutton & Barto, 2018, eq. 6.2), any shape.

    With an n-step `reward` and γ^n as a tensor of its shape, the n-step target (eq. 7.1). Where the rewards have an
    axis of one, each may have several values, as quantiles. `AgentFault` where they have none of their own: a mean over
    the batch would be added to all.
    """
    axes = zip(reward.shape, next_value.shape, strict=False)
    if reward.dim() != next_value.dim() or any(rewards not in (1, values) for rewards, values in axes):
        shapes = f"{list(next_value.shape)}, not {list(reward.shape)}"
        raise AgentFault(f"values of successors are of shape {shapes}: one for each reward")
    return torch.addcmul(reward, gamma * (~terminated), next_value)


def soft_value(q: torch.Tensor, log_prob: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
    """V(s) = min_m Q_m(s, a) − α log π(a|s) `[S, B]`, a ~ π (Haarnoja et al., 2018, arXiv:1812.05905, eq. 3).

    `q` `[S, M, B]` of M critics, `log_prob` `[S, B]`, `alpha` `[S, 1]`.
    """
    return torch.addcmul(q.amin(1), alpha, log_prob, value=-1)


def soft_policy_value(
    q: torch.Tensor, log_probs: torch.Tensor, alpha: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """V(s) = πᵀ(Q − α log π) and the entropy H = −πᵀ log π, `[S, B]` (Christodoulou, 2019, eq. 10).

    `q` and `log_probs` `[S, B, A]` of all actions, `alpha` `[S, 1]`.
    """
    probs = log_probs.exp()
    entropy = -(probs * log_probs).sum(-1)
    return torch.addcmul((probs * q).sum(-1), alpha, entropy), entropy


def ensemble_error(q: torch.Tensor, value_target: torch.Tensor) -> torch.Tensor:
    """Σ_m E[(Q_m − y)²] `[S]` of M critics `[S, M, B]` that regress on one target `[S, B]`."""
    return (q - value_target.unsqueeze(1)).square().mean(2).sum(1)


def lambda_return(
    reward: torch.Tensor,
    next_value: torch.Tensor,
    terminated: torch.Tensor,
    truncated: torch.Tensor,
    gamma: float,
    td_lambda: float,
) -> torch.Tensor:
    """λ-returns (Sutton & Barto, 2018, eq. 12.18), `[S, T, N]`.

    G_t = r_t + γ (1 − terminated_t) [(1 − λ_t) V(s'_t) + λ_t G_{t+1}], λ_t = λ within an episode and 0 at its end
    and at the last step, where V(s'_t) stands alone.
    """
    discount = gamma * (~terminated)
    inside = td_lambda * (~(terminated | truncated)).to(reward.dtype)
    inside[:, -1] = 0.0
    return _backward_sum(torch.addcmul(reward, discount * (1.0 - inside), next_value), discount * inside)


def categorical_projection(
    probs: torch.Tensor, reward: torch.Tensor, discount: torch.Tensor, v_min: float, v_max: float
) -> torch.Tensor:
    """ΦT̂Z (Bellemare et al., 2017, eq. 7 and Algorithm 1), `[..., atoms]` from probabilities `[..., atoms]`.

    Each atom z_j moves to T̂z_j = clip(r + discount · z_j, v_min, v_max), with `reward` and `discount` (γ, or γ^n; 0
    where terminated) `[...]`; its probability goes to the two atoms beside that place, in proportion to nearness.
    """
    num_atoms = probs.shape[-1]
    spacing = (v_max - v_min) / (num_atoms - 1)
    atoms = torch.linspace(v_min, v_max, num_atoms, device=probs.device)
    moved = (discount.unsqueeze(-1) * atoms).add_(reward.unsqueeze(-1)).clamp_(v_min, v_max)
    place = moved.sub_(v_min).div_(spacing).clamp_(0, num_atoms - 1)  # b_j
    lower = place.floor().clamp_(max=num_atoms - 2)
    upper_part = place.sub_(lower).mul_(probs)  # where b_j is whole, all of it goes to one atom
    index = lower.long()
    projected = torch.zeros_like(probs).scatter_add_(-1, index, probs - upper_part)
    return projected.scatter_add_(-1, index.add_(1), upper_part)


def quantile_huber(quantiles: torch.Tensor, target: torch.Tensor, kappa: float = 1.0) -> torch.Tensor:
    """The quantile Huber loss (Dabney et al., 2018, Algorithm 1 with eq. 9 and 10), `[S, B]`.

    Σ_i E_j[ |τ̂_i − 1{u_ij < 0}| L_κ(u_ij) ] with u_ij = target_j − θ_i and τ̂_i = (2i − 1) / 2N, for `quantiles` θ
    `[S, B, N]` and `target` `[S, B, M]`; with κ = 0, |u| for L_κ (eq. 8). Its gradient is written out:
    ∂/∂θ_i = −E_j[ |τ̂_i − 1{u_ij < 0}| clip(u_ij, −κ, κ) ], with sign(u_ij) for the clip where κ = 0.
    """
    return _QuantileHuber.apply(quantiles, target, kappa)


_IN_CACHE = 160_000  # numbers; four of 200 × 200 measured best, twice as fast as all at once


class _QuantileHuber(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, quantiles: torch.Tensor, target: torch.Tensor, kappa: float) -> torch.Tensor:
        if quantiles.device.type == "cpu":  # a few transitions at a time: their N · M numbers stay in the cache
            rows = max(1, _IN_CACHE // (quantiles.shape[-1] * target.shape[-1]))
            flat = quantiles.flatten(0, 1).split(rows), target.flatten(0, 1).split(rows)
            parts = [_pairwise(*one, kappa) for one in zip(*flat, strict=True)]
            loss, slope = (torch.cat(part).unflatten(0, quantiles.shape[:2]) for part in zip(*parts, strict=True))
        else:
            loss, slope = _pairwise(quantiles, target, kappa)
        ctx.save_for_backward(slope)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, delta: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (slope,) = ctx.saved_tensors
        return slope * -delta.unsqueeze(-1), None, None


def _pairwise(quantiles: torch.Tensor, target: torch.Tensor, kappa: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The loss `[..., B]` and its slope `[..., B, N]`, −∂/∂θ.

    With c = clip(u, −κ, κ), which is L_κ'(u), L_κ(u) = c (u − c/2): both follow from c, in place.
    """
    count = quantiles.shape[-1]
    tau = (torch.arange(count, dtype=quantiles.dtype, device=quantiles.device).unsqueeze(-1) + 0.5) / count
    error = target.unsqueeze(-2) - quantiles.unsqueeze(-1)  # u, [..., B, N, M]
    weight = (tau - (error < 0).to(error.dtype)).abs_()
    slope = error.clamp(-kappa, kappa) if kappa else error.sign()  # c; of |u| for κ = 0
    rest = error.sub_(0.5 * slope) if kappa else error
    slope.mul_(weight)
    slopes = slope.mean(-1)
    return slope.mul_(rest).mean(-1).sum(-1), slopes


def _backward_sum(term: torch.Tensor, carry: torch.Tensor) -> torch.Tensor:
    """x_t = term_t + carry_t x_{t+1} along axis 1, x = 0 past the end."""
    terms, carries = term.unbind(1), carry.unbind(1)
    out = [terms[-1]]
    for t in range(len(terms) - 2, -1, -1):
        out.append(torch.addcmul(terms[t], carries[t], out[-1]))
    out.reverse()
    return torch.stack(out, 1)


@torch.no_grad()
def explained_variance(value: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """1 − Var(target − value) / Var(target) of `[S, B]`, `[S]`: 1 where values are right, NaN of targets all alike."""
    spread = target.var(1, correction=0)
    return torch.where(spread > 0, 1 - (target - value).var(1, correction=0) / spread, torch.nan)


@torch.no_grad()
def approx_kl(log_ratio: torch.Tensor) -> torch.Tensor:
    """KL(old ‖ new) `[S]` estimated by E[(r − 1) − log r] (Schulman, 2020, "Approximating KL divergence")."""
    return (log_ratio.exp() - 1 - log_ratio).mean(1)


def clip_fraction(log_ratio: torch.Tensor, clip_range: float) -> torch.Tensor:
    """Share `[S]` of transitions whose ratio r is outside of 1 ± `clip_range`."""
    return ((log_ratio.exp() - 1).abs() > clip_range).float().mean(1)
