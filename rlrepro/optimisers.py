"""Optimisers of a `Stack`: one step takes all seeds down their own gradients, and row s depends on seed s alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch.optim.adam import adam
from torch.optim.radam import radam

from rlrepro.errors import AgentFault, kind_of
from rlrepro.seeds import Stack

Rate = float | torch.Tensor  # a step size; a number on the device, inside of a CUDA graph


class Optimiser(Protocol):
    """What `descend` needs of one, and a checkpoint of an agent."""

    learning_rate: float
    gradient: torch.Tensor  #: that of its stack, `[S, P]`

    def step(self, learning_rate: Rate | None = None, active: Sequence[bool] | None = None) -> None:
        """One step with the gradients in the stack; `active` `[S]` leaves the other seeds as they are."""

    def get_state(self) -> dict[str, Any]:
        """What a resume needs, rows of seeds first."""

    def set_state(self, state: Mapping[str, Any]) -> None:
        """The inverse of `get_state`."""


class _Rows(NamedTuple):
    """What a step of Adam reads and changes: one tensor of all seeds `[S, P]`, or one a seed `[P]`, and its count."""

    parameters: list[torch.Tensor]
    gradients: list[torch.Tensor]
    first: list[torch.Tensor]
    second: list[torch.Tensor]
    counts: list[torch.Tensor]


class Adam:
    """Adam (Kingma & Ba, 2015) for S seeds: one over the whole matrix is S independent ones, since it is elementwise.

    `torch.optim.Adam`, fused; `weight_decay` w adds w θ to the gradient, that of w ‖θ‖²/2 in the loss. Where seeds may
    take different numbers of steps (PPO's target KL, whole episodes), `independent` gives each row its own step count,
    and `step(active=...)` leaves some of them out.

    PyTorch's functional form: to construct a `torch.optim.Optimizer` imports its compiler, seconds in every process.
    """

    FUSED = True  #: the kernel counts its steps on the device of the parameters, single operations on the host or CUDA

    def __init__(
        self,
        stack: Stack,
        learning_rate: float,
        eps: float = 1e-8,
        betas: tuple[float, float] = (0.9, 0.999),
        independent: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        matrix, self.gradient = stack.matrix.detach(), stack.gradient
        self.learning_rate, self._num_seeds, self._independent = learning_rate, len(matrix), independent
        self._eps, self._betas, self._weight_decay = eps, betas, weight_decay
        self._moments = torch.zeros_like(matrix), torch.zeros_like(matrix)
        count_on = matrix.device if self.FUSED or matrix.is_cuda else "cpu"
        self._count = torch.zeros(self._num_seeds if independent else 1, device=count_on)
        whole = matrix, stack.gradient, *self._moments
        self._rows = _Rows._make([*(list(one) if independent else [one] for one in whole), list(self._count)])

    @torch.no_grad()
    def step(self, learning_rate: Rate | None = None, active: Sequence[bool] | None = None) -> None:
        """One step with the gradients in the stack; `active` `[S]` leaves the other seeds as they are."""
        rows = self._rows
        if active is not None:
            if not self._independent:
                raise ValueError("Adam(independent=True) is what can leave seeds out")
            rows = _Rows._make([row for row, go in zip(part, active, strict=True) if go] for part in rows)
        if rows.parameters:
            self._step(rows, self.learning_rate if learning_rate is None else learning_rate)

    def _step(self, rows: _Rows, learning_rate: Rate) -> None:
        adam(
            rows.parameters, rows.gradients, rows.first, rows.second, [], rows.counts, fused=self.FUSED, foreach=False,
            amsgrad=False, maximize=False, lr=learning_rate, beta1=self._betas[0], beta2=self._betas[1],
            weight_decay=self._weight_decay, eps=self._eps,
        )  # fmt: skip

    def get_state(self) -> dict[str, Any]:
        """Moments `[S, P]` and step counts `[S]`."""
        first, second = self._moments
        return {"step": self._count.expand(self._num_seeds), "exp_avg": first, "exp_avg_sq": second}

    @torch.no_grad()
    def set_state(self, state: Mapping[str, Any]) -> None:
        self._count.copy_(torch.as_tensor(state["step"])[: len(self._count)])
        for moment, name in zip(self._moments, ("exp_avg", "exp_avg_sq"), strict=True):
            moment.copy_(torch.as_tensor(state[name]))


class SGD:
    """θ ← θ − η g for S seeds; `active` leaves some of them out. Without state."""

    def __init__(self, stack: Stack, learning_rate: float) -> None:
        self.learning_rate, self._matrix, self.gradient = learning_rate, stack.matrix.detach(), stack.gradient

    @torch.no_grad()
    def step(self, learning_rate: Rate | None = None, active: Sequence[bool] | None = None) -> None:
        """One step with the gradients in the stack; `active` `[S]` leaves the other seeds as they are."""
        rate: Any = self.learning_rate if learning_rate is None else learning_rate
        if active is None and isinstance(rate, torch.Tensor):
            self._matrix.sub_(self.gradient * rate)
            return
        if active is None:
            self._matrix.sub_(self.gradient, alpha=rate)
            return
        for row, gradient, go in zip(self._matrix, self.gradient, active, strict=True):
            if go:
                row.sub_(gradient, alpha=rate)

    def get_state(self) -> dict[str, Any]:
        return {}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """There is none."""


class RMSProp:
    """RMSProp (Tieleman & Hinton, 2012, "Lecture 6.5") for S seeds, elementwise: v ← α v + (1 − α) g², and then

    θ ← θ − η g / (√v + ε), v = 0 at first (`torch.optim.RMSprop`), or with `eps_inside`
    θ ← θ − η g / √(v + ε) (Mnih et al., 2016, Section 4), v = 1 at first (TensorFlow's).
    """

    def __init__(
        self, stack: Stack, learning_rate: float, eps: float = 1e-5, alpha: float = 0.99, eps_inside: bool = False
    ) -> None:
        self.learning_rate, self.eps, self.alpha, self.eps_inside = learning_rate, eps, alpha, eps_inside
        self._matrix, self.gradient = stack.matrix.detach(), stack.gradient
        self._mean_square = torch.full_like(self._matrix, float(eps_inside))

    @torch.no_grad()
    def step(self, learning_rate: Rate | None = None, active: Sequence[bool] | None = None) -> None:
        """One step with the gradients in the stack, of all seeds: it cannot leave any out."""
        if active is not None:
            raise ValueError("RMSProp steps all seeds")
        self._mean_square.mul_(self.alpha).addcmul_(self.gradient, self.gradient, value=1 - self.alpha)
        squares = self._mean_square
        root = squares.add(self.eps).sqrt_() if self.eps_inside else squares.sqrt().add_(self.eps)
        rate = self.learning_rate if learning_rate is None else learning_rate
        if isinstance(rate, torch.Tensor):
            self._matrix.sub_(root.reciprocal_().mul_(self.gradient).mul_(rate))
        else:
            self._matrix.addcdiv_(self.gradient, root, value=-rate)

    def get_state(self) -> dict[str, Any]:
        """The running mean of squares `[S, P]`."""
        return {"mean_square": self._mean_square}

    def set_state(self, state: Mapping[str, Any]) -> None:
        self._mean_square.copy_(torch.as_tensor(state["mean_square"]))


class RAdam(Adam):
    """Rectified Adam (Liu et al., 2020) for S seeds, by `torch.optim.RAdam`, whose state is the same as Adam's."""

    FUSED = False

    def _step(self, rows: _Rows, learning_rate: Rate) -> None:
        radam(
            rows.parameters, rows.gradients, rows.first, rows.second, rows.counts, foreach=False,
            capturable=self._count.is_cuda, lr=learning_rate,  # type: ignore[arg-type]  # or a tensor
            beta1=self._betas[0], beta2=self._betas[1],
            weight_decay=self._weight_decay, eps=self._eps,
        )  # fmt: skip


def clip_by_norm(gradient: torch.Tensor, max_norm: float) -> torch.Tensor:
    """Scale each seed's gradient `[S, P]` in place to a norm of at most `max_norm`; returns the norms `[S]` before."""
    norm = torch.linalg.vector_norm(gradient, dim=1)
    gradient.mul_((max_norm / (norm + 1e-6)).clamp_(max=1.0).unsqueeze(1))
    return norm


def loss_and_metrics(made: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """What an agent's `loss` gave; `AgentFault` where that is no pair, as which a tensor of two seeds would pass."""
    if not isinstance(made, tuple) or len(made) != 2:
        raise AgentFault(f"the agent's loss gives {kind_of(made)}, not a pair: losses [S], metrics")
    return made


def backpropagate(losses: Sequence[torch.Tensor], gradients: Sequence[torch.Tensor]) -> None:
    """The gradient of losses `[S]`, each seed's own, into the matrices `[S, P]` of the stacks that they depend on.

    `AgentFault` where a loss is of another shape: seeds that share one learn at a pace that hangs on their number.
    """
    for loss in losses:
        if loss.shape != gradients[0].shape[:1]:
            shape = f"a loss is of shape {list(loss.shape)}, not [S] = [{len(gradients[0])}]"
            raise AgentFault(f"{shape}: one of each seed")
    for gradient in gradients:
        gradient.zero_()
    first, *others = (loss.sum() for loss in losses)
    sum(others, first).backward()


def descend(
    loss: torch.Tensor,
    optimiser: Optimiser,
    learning_rate: Rate | None = None,
    max_norm: float = 0.0,
    active: Sequence[bool] | None = None,
) -> None:
    """One step of an optimiser down the gradient of losses `[S]`, each seed's own, clipped where `max_norm`.

    `active` `[S]` leaves the other seeds as they are, with an optimiser that can. Raises as `backpropagate` does.
    """
    backpropagate([loss], [optimiser.gradient])
    if max_norm:
        clip_by_norm(optimiser.gradient, max_norm)
    optimiser.step(learning_rate, active)
