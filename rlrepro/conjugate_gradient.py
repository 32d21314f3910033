"""Linear equations of all seeds at once, solved by products with their matrices alone."""

from __future__ import annotations

from collections.abc import Callable

import torch


def conjugate_gradient(
    product: Callable[[torch.Tensor], torch.Tensor], b: torch.Tensor, num_steps: int, tolerance: float
) -> torch.Tensor:
    """x with A x ≈ b `[S, P]` for each seed's own A, known by `product` (Hestenes & Stiefel, 1952), begun at 0.

    A seed whose squared residual is 0 or below `tolerance` goes no further.
    """
    x, residual, p = torch.zeros_like(b), b.clone(), b.clone()
    squared = dot(b, b)
    for _ in range(num_steps):
        active = (squared >= tolerance) & (squared > 0)
        if not active.any():
            break
        a_p = product(p)
        alpha = torch.where(active, squared / dot(p, a_p), 0.0).unsqueeze(1)
        x.addcmul_(alpha, p)
        residual.addcmul_(alpha, a_p, value=-1)
        now = dot(residual, residual)
        beta = torch.where(active, now / squared, 0.0).unsqueeze(1)
        p, squared = torch.addcmul(residual, beta, p), now
    return x


def dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """aᵀ b of each seed `[S]`."""
    return (a * b).sum(1)
