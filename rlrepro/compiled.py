"""`--compile`: losses through torch.compile, where that pays.

An agent names in `LOSSES` its methods that torch may compile. At its first call each of them is tried on what it was
called with, as it is and compiled, forwards and backwards in turn. What is faster trains, and one line says so. A
compiled loss whose gradients are not those of the loss as it is does not train.

What is compiled rounds otherwise, and which of the two is faster is a measurement: with `--compile` a run is not the
same to the bit beside other seeds or when it is resumed.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from rlrepro.errors import one_line
from rlrepro.seeds import Stack

PAYS = 1.1  # times as fast, and not less, for a compiled loss to train
_ROUNDS, _TURN = 7, 0.02  # rounds in which the two take turns, and the seconds that a turn lasts
_TOLERANCE = 1e-4  # of the largest gradient

Tell = Callable[[str], None]
Loss = Callable[..., Any]


def try_losses(agent: Any, name: str, tell: Tell) -> None:
    """Have each of the agent's losses tried at its first call; `tell` is given one line for each."""
    if not getattr(agent, "LOSSES", ()):
        tell(f"--compile: {name} names no loss that torch may compile, as it is set")
    for loss in getattr(agent, "LOSSES", ()):
        setattr(agent, loss, _Trial(agent, loss, f"{name}'s {loss.replace('_', ' ')}", tell))


class _Trial:
    """A loss until its first call, which puts the better form in its place."""

    def __init__(self, agent: Any, attribute: str, title: str, tell: Tell) -> None:
        self.agent, self.attribute, self.title, self.tell = agent, attribute, title, tell
        self.plain: Loss = getattr(agent, attribute)
        self.stacks = [value for value in vars(agent).values() if isinstance(value, Stack)]

    def __call__(self, *args: Any, **options: Any) -> Any:
        chosen, line = self._choose(lambda loss: _alone(loss(*args, **options)), _size(args))
        self._forget()
        self.tell(f"--compile: {line}")
        setattr(self.agent, self.attribute, chosen)
        return chosen(*args, **options)

    def _choose(self, call: Callable[[Loss], torch.Tensor], size: torch.Size) -> tuple[Loss, str]:
        """The form to train with, and what there is to say of it."""
        as_it_is = "it trains as it is"
        expected = self._gradients(call, self.plain)
        if not all(part.isfinite().all() for part in expected):
            return self.plain, f"{self.title} is not finite and cannot be tried: {as_it_is}"
        began = time.perf_counter()
        try:
            compiled: Loss = torch.compile(self.plain)
            found = self._gradients(call, compiled)
        except Exception as error:  # torch's compiler has many kinds of them, and none may stop a run
            return self.plain, f"{self.title} cannot be compiled here ({one_line(error)}): {as_it_is}"
        took = time.perf_counter() - began
        if not all(map(_close, found, expected)):
            return self.plain, f"{self.title} has other gradients compiled: {as_it_is}"
        plain, quick = _seconds(lambda: _run(call(self.plain)), lambda: _run(call(compiled)))
        said = f"{self.title} is {plain / quick:.1f} times as fast compiled (which took {took:.0f} s)"
        if plain / quick < PAYS:
            return self.plain, f"{said}: {as_it_is}"
        return _OfSize(self.plain, compiled, size), said

    def _gradients(self, call: Callable[[Loss], torch.Tensor], loss: Loss) -> list[torch.Tensor]:
        """The loss `[S]`, and the gradient of each stack."""
        self._forget()
        value = call(loss)
        _run(value)
        return [value.detach(), *(stack.gradient.clone() for stack in self.stacks)]

    def _forget(self) -> None:
        for stack in self.stacks:
            stack.gradient.zero_()


class _OfSize:
    """The compiled form for batches of the size that was tried; others, as a last minibatch, would be compiled anew."""

    def __init__(self, plain: Loss, compiled: Loss, size: torch.Size) -> None:
        self.plain, self.compiled, self.size = plain, compiled, size

    def __call__(self, *args: Any, **options: Any) -> Any:
        loss = self.compiled if _size(args) == self.size else self.plain
        return loss(*args, **options)


def _size(args: tuple[Any, ...]) -> torch.Size:
    """The size of a loss's batch: of a `Transition`'s rewards, or of the first of its tensors."""
    size: torch.Size = getattr(args[0], "reward", args[0]).shape
    return size


def _alone(value: Any) -> torch.Tensor:
    """The loss `[S]`, where it comes with metrics."""
    loss: torch.Tensor = value[0] if isinstance(value, tuple) else value
    return loss


def _run(loss: torch.Tensor) -> None:
    loss.sum().backward()
    if loss.is_cuda:
        torch.cuda.synchronize()


def _close(found: torch.Tensor, expected: torch.Tensor) -> bool:
    largest = float(expected.abs().max()) if expected.numel() else 0.0
    return torch.allclose(found, expected, rtol=0.0, atol=_TOLERANCE * largest)


def _seconds(*sides: Callable[[], None]) -> list[float]:
    """What each side takes: medians over rounds in which they take turns."""
    times: list[list[float]] = [[] for _ in sides]
    for _ in range(_ROUNDS):
        for side, found in zip(sides, times, strict=True):
            began, count = time.perf_counter(), 0
            while (spent := time.perf_counter() - began) < _TURN or not count:
                side()
                count += 1
            found.append(spent / count)
    return [statistics.median(found) for found in times]
