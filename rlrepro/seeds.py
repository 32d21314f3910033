"""Seeds as an axis: the parameters of S networks as one matrix.

What holds for everything here: **row s depends on seed s alone**, bit for bit on the CPU with one torch thread,
however many seeds run beside it. First weights are drawn by the seed's own stream; rows of the parameter matrix are
padded to whole vector widths, so that no elementwise kernel meets one seed's numbers in another place than its own.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch

from rlrepro.errors import Problem
from rlrepro.streams import seed_sequence

ROW_MULTIPLE = 32  # floats: two AVX-512 vectors, the stride of torch's unrolled elementwise loops
_FEW = 16  # inputs of a seed for which NumPy's calls are cheaper than torch's


class Network(Protocol):
    """The shape of a network, without parameters: `Stack` gives it rows of a matrix."""

    def layout(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of each parameter, without the seed axis."""

    def initialise(self, parameters: Mapping[str, np.ndarray], generator: np.random.Generator) -> None:
        """Fill the parameters of one seed, in place."""

    def forward(self, bound: Bound, x: torch.Tensor) -> torch.Tensor:
        """`[S, B, ...]` to `[S, B, out]`."""


class Bound:
    """A network bound to its columns of a stack's matrix: `bound(x)` is its output for all seeds.

    `rows` and `gradient` `[R, P]` are what the parameters and their gradients are views of; `matrix` is the leaf whose
    `requires_grad` says whether they are learnt.
    """

    def __init__(
        self, network: Network, matrix: torch.Tensor, rows: torch.Tensor, gradient: torch.Tensor, offset: int = 0
    ) -> None:
        self.network, self.matrix = network, matrix
        self._rows, self._gradient, self._offset = rows, gradient, offset
        on_cpu = matrix.device.type == "cpu"
        self._by_numpy = _numpy_form(network) if on_cpu else None
        self._single: dict[int, Bound] = {}
        self._members: Bound | None = None
        self.parameters = self.views(rows)
        self.gradients = self.views(gradient)
        self.noise: Mapping[str, torch.Tensor] = {}  # what a noisy network perturbs its weights by; none: the means
        self.in_order = tuple(zip(self.parameters.values(), self.gradients.values(), strict=True))

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return self.network.forward(self, x)

    def on_host(self, x: np.ndarray) -> np.ndarray:
        """The output for an array of the host, without gradient.

        For the few inputs of a step NumPy takes half the time of torch, where the network has a form for it
        (`forward_on_host`) and its parameters lie on the CPU.
        """
        if self._by_numpy is not None and x.shape[1] <= _FEW:
            with np.errstate(all="ignore"):  # as torch: a policy that diverged is told of by its losses
                return self._by_numpy(self, np.ascontiguousarray(x))  # other layouts are summed in other orders
        with torch.no_grad():
            return self(torch.from_numpy(x).to(self.matrix.device, non_blocking=True)).cpu().numpy()

    @functools.cached_property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """The parameters in their order, NumPy's views of the same memory: on the CPU alone."""
        return tuple(parameter.numpy() for parameter in self.parameters.values())

    def views(self, matrix: torch.Tensor) -> dict[str, torch.Tensor]:
        """The network's columns of a matrix `[S, P]` like the stack's, as views in the parameters' shapes."""
        found, offset = {}, self._offset
        for name, shape in self.network.layout().items():
            found[name] = matrix[:, offset : offset + math.prod(shape)].unflatten(1, shape)
            offset += padded(math.prod(shape), ROW_MULTIPLE)
        return found

    def members(self, network: Network, count: int) -> Bound:
        """All `count` members of an ensemble of `network` as a stack of S · count rows: seed 0's first."""
        if self._members is None:
            if self._rows.shape[1] != count * width(network):
                raise ValueError("an ensemble must be the only network of its Stack, so that its members are rows")
            rows, gradient = (whole.view(len(whole) * count, -1) for whole in (self._rows, self._gradient))
            self._members = Bound(network, self.matrix, rows, gradient)
        return self._members

    def member(self, index: int, x: torch.Tensor) -> torch.Tensor:
        """The output of one member of an `Ensemble` alone, `[S, B, out]`."""
        if index not in self._single:
            network: Network = self.network.network  # type: ignore[attr-defined]
            offset = self._offset + index * width(network)
            self._single[index] = Bound(network, self.matrix, self._rows, self._gradient, offset)
        return self._single[index](x)

    def differentiable(self) -> dict[str, torch.Tensor]:
        """The parameters as tensors that autograd follows, for networks without a backward pass of their own."""
        if not (torch.is_grad_enabled() and self.matrix.requires_grad):
            return self.parameters
        return dict(zip(self.parameters, _Parameters.apply(self.matrix, self), strict=True))


def _numpy_form(network: Network) -> Callable[[Bound, np.ndarray], np.ndarray] | None:
    """Its `forward_on_host`, where that is of the class whose `forward` it has: else the two differ."""
    owner = next((kind for kind in type(network).__mro__ if "forward" in vars(kind)), object)
    return getattr(network, "forward_on_host", None) if "forward_on_host" in vars(owner) else None


class _Parameters(torch.autograd.Function):
    """The views of the matrix; their gradients are added to the views of the gradient matrix."""

    @staticmethod
    def forward(ctx: Any, matrix: torch.Tensor, bound: Bound) -> tuple[torch.Tensor, ...]:
        ctx.bound = bound
        return tuple(parameter.detach() for parameter in bound.parameters.values())

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[None, None]:
        for total, gradient in zip(ctx.bound.gradients.values(), gradients, strict=True):
            total.add_(gradient)
        return None, None


class Stack:
    """The parameters of some networks for S seeds: one matrix `[S, P]`, its gradient another.

    `Stack(seeds, device, actor=MLP(...), critic=MLP(...))` gives `stack.actor(x)`, `stack.critic(x)`. Clipping,
    Adam, a target update, a checkpoint and "seed 3's row" are one operation on `matrix`.
    """

    def __init__(self, seeds: Sequence[int], device: str = "cpu", **networks: Network) -> None:
        self._allocate(seeds, device, networks)
        for row, seed in enumerate(seeds):
            for name, network in networks.items():
                generator = np.random.Generator(np.random.PCG64(seed_sequence(seed, "parameters", name)))
                views = {key: value[row] for key, value in self._bound[name].parameters.items()}
                start = {key: np.zeros(tuple(view.shape), np.float32) for key, view in views.items()}
                network.initialise(start, generator)
                for key, view in views.items():
                    view.copy_(torch.from_numpy(start[key]))

    def _allocate(self, seeds: Sequence[int], device: str, networks: Mapping[str, Network]) -> None:
        """All parameters, as 0."""
        total = sum(width(network) for network in networks.values())
        self.networks, self._seeds, self._device = networks, tuple(seeds), device
        self.matrix = torch.zeros(len(seeds), total, device=device, requires_grad=True)
        self.gradient = torch.zeros(len(seeds), total, device=device)
        self._bound: dict[str, Bound] = {}
        if taken := [name for name in networks if hasattr(self, name)]:
            raise ValueError(f"a network cannot be named {taken[0]!r}: a Stack has that already")
        offset = 0
        for name, network in networks.items():
            self._bound[name] = Bound(network, self.matrix, self.matrix.detach(), self.gradient, offset)
            offset += width(network)

    def __getattr__(self, name: str) -> Bound:
        try:
            return self.__dict__["_bound"][name]
        except KeyError:
            raise AttributeError(name) from None

    def target_copy(self) -> Stack:
        """A copy that takes no gradient: a target network."""
        copy = Stack.__new__(Stack)  # without first weights: it takes over these
        copy._allocate(self._seeds, self._device, self.networks)
        copy.matrix.requires_grad_(False)
        copy.matrix.copy_(self.matrix.detach())
        return copy

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Inside, outputs are differentiated by what went in alone: no gradient of these parameters is computed."""
        learnt = self.matrix.requires_grad
        self.matrix.requires_grad_(False)
        try:
            yield
        finally:
            self.matrix.requires_grad_(learnt)

    @torch.no_grad()
    def polyak_update(self, online: Stack, tau: float) -> None:
        """The soft (Polyak) update of a target network: target ← (1 − τ) target + τ online; τ = 1 copies."""
        if tau == 1:
            self.matrix.copy_(online.matrix)
        else:
            self.matrix.lerp_(online.matrix, tau)

    @torch.no_grad()
    def load(self, matrix: torch.Tensor) -> None:
        """Take over every row of another matrix `[S, P]`."""
        self.matrix.copy_(torch.as_tensor(matrix))

    def get_state(self) -> dict[str, Any]:
        """The parameters `[S, P]`."""
        return {"parameters": self.matrix.detach()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        kept = tuple(state["parameters"].shape)
        if kept != tuple(self.matrix.shape):
            shapes = f"{list(kept)}, not {list(self.matrix.shape)}"
            raise Problem(f"parameters are of shape {shapes}: the checkpoint is of another network, or another version")
        self.load(state["parameters"])

    def named(self) -> dict[str, torch.Tensor]:
        """Every parameter as `network.name`, `[S, ...]`: views of the matrix, padding left out."""
        return {f"{net}.{name}": view for net, bound in self._bound.items() for name, view in bound.parameters.items()}

    @torch.no_grad()
    def load_named(self, parameters: Mapping[str, torch.Tensor]) -> None:
        """The inverse of `named`; `Problem` where a parameter is of another shape, as an earlier version's may be."""
        for name, view in self.named().items():
            if parameters[name].shape != view.shape:
                shapes = f"{list(parameters[name].shape)}, not {list(view.shape)}"
                raise Problem(f"the policy's {name} is of shape {shapes}: it is of another network, or another version")
            view.copy_(parameters[name])


def learnt_stacks(agent: object) -> list[tuple[str, Stack]]:
    """An agent's stacks that take gradients, so no target networks, each once, by the first name it has for it."""
    found: dict[int, tuple[str, Stack]] = {}
    for name, value in vars(agent).items():
        if isinstance(value, Stack) and value.matrix.requires_grad:
            found.setdefault(id(value), (name, value))
    return list(found.values())


def width(network: Network) -> int:
    """The columns that a network takes of a stack's matrix."""
    return sum(padded(math.prod(shape), ROW_MULTIPLE) for shape in network.layout().values())


def padded(count: int, multiple: int) -> int:
    """The next multiple."""
    return -(-count // multiple) * multiple
