"""`--compile`: losses through torch.compile, where that pays.

An agent names in `LOSSES` its methods that torch may compile. At its first call each of them is tried on what it was
called with, as it is and compiled, forwards and backwards in turn. What is faster trains, and one line says so. A
compiled loss whose gradients are not those of the loss as it is does not train.

What is compiled rounds otherwise, and which of the two is faster is a measurement: with `--compile` a run is not the
same to the bit beside other seeds or when it is resumed.
"""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from rlrepro.errors import one_line
from rlrepro.seeds import Stack

PAYS = 1.1  # times as fast, and not less, for a compiled loss to train
_ROUNDS, _SECONDS = 7, 0.02  # rounds in which the two take turns, and how long each is run in one of them
_TOLERANCE = 1e-4  # of the largest gradient

Tell = Callable[[str], None]


def try_losses(agent: Any, name: str, tell: Tell) -> None:
    """Have each of the agent's losses tried at its first call; `tell` is given one line for each."""
    losses = getattr(agent, "LOSSES", ())
    if not losses:
        tell(f"--compile: {name} has no losses that torch could compile")
    for loss in losses:
        setattr(agent, loss, _Trial(agent, loss, f"{name}'s {loss.replace('_', ' ')}", tell))


class _Trial:
    """A loss until its first call, which puts the better form in its place."""

    def __init__(self, agent: Any, attribute: str, title: str, tell: Tell) -> None:
        self.agent, self.attribute, self.title, self.tell = agent, attribute, title, tell
        self.plain: Callable[..., Any] = getattr(agent, attribute)

    def __call__(self, *args: Any, **options: Any) -> Any:
        chosen, line = self._choose(functools.partial(_call, args=args, options=options))
        self.tell(f"--compile: {line}")
        setattr(self.agent, self.attribute, chosen)
        return chosen(*args, **options)

    def _choose(self, call: Callable[[Callable[..., Any]], torch.Tensor]) -> tuple[Callable[..., Any], str]:
        """The faster form, and what there is to say of it."""
        began = time.perf_counter()
        expected = self._gradients(self.plain, call)
        try:
            compiled = torch.compile(self.plain)
            found = self._gradients(compiled, call)
        except Exception as error:  # of torch's compiler there are many kinds, and none may stop a run
            return self.plain, f"{self.title} cannot be compiled here ({one_line(error)}): it trains as it is"
        took = time.perf_counter() - began
        if not all(_close(ours, theirs) for ours, theirs in zip(found, expected, strict=True)):
            return self.plain, f"{self.title} has other gradients compiled: it trains as it is"
        times = _compare(lambda: self._gradients(self.plain, call), lambda: self._gradients(compiled, call))
        ratio = times[0] / times[1]
        said = f"{self.title} is {ratio:.1f} times as fast compiled (which took {took:.0f} s)"
        return (compiled, said) if ratio >= PAYS else (self.plain, f"{said}: it trains as it is")

    def _gradients(self, loss: Callable[..., Any], call: Callable[[Callable[..., Any]], torch.Tensor]) -> list[Any]:
        """The loss `[S]`, and what it adds to the gradient of each stack, which is zero again afterwards."""
        stacks = [value for value in vars(self.agent).values() if isinstance(value, Stack)]
        for stack in stacks:
            stack.gradient.zero_()
        value = call(loss)
        value.sum().backward()
        gradients = [value.detach(), *(stack.gradient.clone() for stack in stacks)]
        for stack in stacks:
            stack.gradient.zero_()
        if value.is_cuda:
            torch.cuda.synchronize()
        return gradients


def _call(loss: Callable[..., Any], args: Any, options: Any) -> torch.Tensor:
    """The loss `[S]` alone, where it comes with metrics."""
    value = loss(*args, **options)
    return value[0] if isinstance(value, tuple) else value


def _close(found: torch.Tensor, expected: torch.Tensor) -> bool:
    largest = float(expected.abs().max()) if expected.numel() else 0.0
    return torch.allclose(found, expected, rtol=0.0, atol=_TOLERANCE * largest, equal_nan=True)


def _compare(*sides: Callable[[], Any]) -> list[float]:
    """Seconds that each side takes, medians over rounds in which they take turns."""
    times: list[list[float]] = [[] for _ in sides]
    for _ in range(_ROUNDS):
        for side, found in zip(sides, times, strict=True):
            began, count = time.perf_counter(), 0
            while (spent := time.perf_counter() - began) < _SECONDS or not count:
                side()
                count += 1
            found.append(spent / count)
    return [statistics.median(found) for found in times]
