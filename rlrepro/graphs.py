"""CUDA graphs: on a CUDA device, a method of many small kernels as one launch.

An agent names in `GRAPHED` methods that are functions of their arguments and of what lies on the device (parameters,
moments): they draw no random numbers, ask for no value, and change nothing else of the agent. The first calls of each
kind run as they are, then one is captured, and from there on replayed: the same kernels on the same numbers. A float
comes as a tensor of the device.

Tensors and floats among the arguments may differ from call to call, the rest makes calls of another kind; so do other
shapes. Tensors of the host are brought to the device by the graph itself. What is given back is a copy, and stays.
"""

from __future__ import annotations

import gc
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from rlrepro.errors import one_line

WARM_UP = 3  # calls of each kind before the one that is captured: kernels are loaded and libraries set up by them
MOST_KINDS = 16  # graphs of a method; calls of further kinds run as they are

Tell = Callable[[str], None]
Method = Callable[..., Any]


class Graph(Protocol):
    """A function that is captured once, without doing what it does, and then replayed."""

    def capture(self, function: Callable[[], Any]) -> Any:
        """What the function gives; each replay writes there anew."""

    def buffer(self, like: torch.Tensor) -> torch.Tensor:
        """Memory of the host that a captured copy may read or write."""

    def replay(self) -> None:
        """Begin a replay."""

    def wait(self) -> None:
        """Until the last replay is over."""


class CudaGraph:
    """Kernels and copies that are launched together.

    Replays are counted, so that one wait for all of them is enough: to ask for each takes as long as to launch it. So
    all of a process are of one device and stream.
    """

    _begun = _over = 0  # replays of all graphs, which come in one order

    def __init__(self) -> None:
        self._graph, self._last = torch.cuda.CUDAGraph(), 0

    def capture(self, function: Callable[[], Any]) -> Any:
        gc.collect()
        was_on = gc.isenabled()
        gc.disable()  # to let go of an older graph in the midst of it would end the process
        try:
            with torch.cuda.graph(self._graph):
                return function()
        finally:
            if was_on:
                gc.enable()

    def buffer(self, like: torch.Tensor) -> torch.Tensor:
        return torch.empty(like.shape, dtype=like.dtype, pin_memory=True)

    def replay(self) -> None:
        self._graph.replay()
        CudaGraph._begun += 1
        self._last = CudaGraph._begun

    def wait(self) -> None:
        if self._last > CudaGraph._over:
            torch.cuda.current_stream().synchronize()
            CudaGraph._over = CudaGraph._begun


class Inside:
    """Whether one of an agent's methods is being run: from inside it, the others are plain calls."""

    now = False


def capture(agent: Any, device: str, tell: Tell, graph: type[Graph] = CudaGraph) -> None:
    """Have the methods that the agent names in `GRAPHED` captured; `tell` is given a line where one cannot be."""
    inside = Inside()
    for name in getattr(agent, "GRAPHED", ()):
        setattr(agent, name, Graphed(getattr(agent, name), device, tell, inside, graph))


def on_host(method: Method, array: np.ndarray, device: str) -> np.ndarray:
    """`method(tensor)`, one tensor, for an array of the host, as another; without gradient."""
    if isinstance(method, Graphed):
        return method.on_host(array)
    with torch.no_grad():
        out: np.ndarray = method(torch.from_numpy(array).to(device)).cpu().numpy()
    return out


class Graphed:
    """A method that is captured at the call after the first few of its kind, and replayed from then on."""

    def __init__(
        self,
        method: Method,
        device: str,
        tell: Tell = warnings.warn,
        inside: Inside | None = None,
        graph: type[Graph] = CudaGraph,
    ) -> None:
        self.method, self._device, self._tell, self._graph = method, torch.device(device), tell, graph
        self._inside = inside or Inside()
        self._calls: dict[Any, int | _Captured] = {}
        self._gave_up = False

    def __call__(self, *args: Any, **options: Any) -> Any:
        if self._inside.now:
            return self.method(*args, **options)
        inputs: list[torch.Tensor | float] = []
        kind = torch.is_grad_enabled(), _kind((args, options), inputs)

        def capture() -> _Captured:
            def function(own: Iterator[torch.Tensor]) -> Any:
                return self.method(*_replaced(args, own), **_replaced(options, own))

            return _Captured(function, inputs, self._device, self._graph())

        captured = None if self._gave_up else self._captured(kind, capture)
        if captured is not None:
            captured.replay(inputs)
            return captured.given()
        self._inside.now = True
        try:  # with floats as the graph will have them, so that nothing tells the one from the other
            own = iter(
                [one if isinstance(one, torch.Tensor) else torch.tensor(one, device=self._device) for one in inputs]
            )
            return self.method(*_replaced(args, own), **_replaced(options, own))
        finally:
            self._inside.now = False

    @torch.no_grad()
    def on_host(self, array: np.ndarray) -> np.ndarray:
        """`method(tensor)`, one tensor, for an array of the host, as another."""
        given = torch.from_numpy(array)
        if not (self._inside.now or self._gave_up):

            def capture() -> _Captured:
                like = self.method(given.to(self._device))
                return _Captured(lambda own: self.method(next(own)), [given], self._device, self._graph(), like)

            captured = self._captured((given.shape, given.dtype), capture)
            if captured is not None:
                captured.replay([given])
                return captured.on_host()
        out: np.ndarray = self.method(given.to(self._device)).cpu().numpy()
        return out

    def _captured(self, kind: Any, capture: Callable[[], _Captured]) -> _Captured | None:
        """The graph of a kind of call; None as long as it is to run as it is."""
        known = self._calls.get(kind, 0)
        if isinstance(known, _Captured):
            return known
        if known < WARM_UP:
            if known or len(self._calls) < MOST_KINDS:
                self._calls[kind] = known + 1
            return None
        self._inside.now = True
        try:
            captured = self._calls[kind] = capture()
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:  # what is captured is not run: nothing was done yet
            self._gave_up = True
            name = getattr(self.method, "__name__", "a method").replace("_", " ")
            self._tell(f"{name} cannot be a CUDA graph ({one_line(error)}): its kernels are launched one by one")
            return None
        finally:
            self._inside.now = False
        return captured


class _Captured:
    """One kind of call: its graph, and the memory that this reads and writes."""

    def __init__(
        self,
        function: Callable[[Iterator[torch.Tensor]], Any],
        inputs: list[torch.Tensor | float],
        device: torch.device,
        graph: Graph,
        like: torch.Tensor | None = None,
    ) -> None:
        """`function` is given the places of the inputs; what it gives goes to the host where it is `like` this."""
        self._graph, self._floats = graph, [math.nan] * len(inputs)
        self._places = [_place_for(one, device) for one in inputs]
        self._hosts = [
            graph.buffer(one) if isinstance(one, torch.Tensor) and _is_of_host(one) else None for one in inputs
        ]
        self._out = None if like is None else graph.buffer(like)
        self._fill(inputs)

        def whole() -> Any:
            for place, host in zip(self._places, self._hosts, strict=True):
                if host is not None:
                    place.copy_(host, non_blocking=True)
            stacks: dict[Any, list[torch.Tensor]] = {}
            given = function(iter(self._places))
            if self._out is not None:
                self._out.copy_(given, non_blocking=True)
                return None, []
            form = _sorted_out(given, stacks)
            return form, [torch.stack(parts) for parts in stacks.values()]

        self._form, self._stacks = graph.capture(whole)

    def replay(self, inputs: list[torch.Tensor | float]) -> None:
        if any(host is not None for host in self._hosts):
            self._graph.wait()  # it may still read what is to be written over
        self._fill(inputs)
        self._graph.replay()

    def given(self) -> Any:
        """What the last replay gives."""
        return _put_together(self._form, [stack.clone().unbind() for stack in self._stacks])

    def on_host(self) -> np.ndarray:
        """The same, where it goes to the host."""
        assert self._out is not None
        self._graph.wait()
        return self._out.numpy().copy()

    def _fill(self, inputs: list[torch.Tensor | float]) -> None:
        for index, (place, host, given) in enumerate(zip(self._places, self._hosts, inputs, strict=True)):
            if not isinstance(given, torch.Tensor):
                if given != self._floats[index]:
                    self._floats[index] = given
                    place.fill_(given)
            elif host is not None:
                host.copy_(given)
            elif given is not place:
                place.copy_(given)


class _Place(NamedTuple):
    """Where a tensor that is given back lies, in the stacks of tensors of equal shape."""

    stack: int
    row: int


def lasting(tensor: torch.Tensor) -> torch.Tensor:
    """Mark a tensor that is handed out again and again, each time with other numbers: a graph reads it where it is."""
    tensor.is_lasting = True  # type: ignore[attr-defined]
    return tensor


def _is_lasting(tensor: torch.Tensor) -> bool:
    return getattr(tensor, "is_lasting", False)


def _is_of_host(one: torch.Tensor) -> bool:
    return one.device.type == "cpu" and not _is_lasting(one)


def _place_for(one: torch.Tensor | float, device: torch.device) -> torch.Tensor:
    if not isinstance(one, torch.Tensor):
        return torch.empty((), device=device)
    return one if _is_lasting(one) else torch.empty_like(one, device=device)


def _kind(value: Any, inputs: list[torch.Tensor | float]) -> Any:
    """What two calls must have in common to be one graph; the tensors and floats of this one are added to `inputs`."""
    if isinstance(value, torch.Tensor):
        inputs.append(value)
        return value.shape, value.dtype, value.device.type, id(value) if _is_lasting(value) else None
    if isinstance(value, float):
        inputs.append(value)
        return float
    if isinstance(value, Mapping):
        return tuple((key, _kind(one, inputs)) for key, one in value.items())
    if isinstance(value, (list, tuple)):
        return tuple(_kind(one, inputs) for one in value)
    return value


def _replaced(value: Any, own: Iterator[torch.Tensor]) -> Any:
    """The same with other tensors and floats, in the order of `_kind`."""
    if isinstance(value, (torch.Tensor, float)):
        return next(own)
    if isinstance(value, Mapping):
        return {key: _replaced(one, own) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return _like(value, [_replaced(one, own) for one in value])
    return value


def _like(value: Any, items: list[Any]) -> Any:
    """A list, a tuple or a named tuple, as `value` is, of these items."""
    return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)


def _sorted_out(value: Any, stacks: dict[Any, list[torch.Tensor]]) -> Any:
    """What is given back, its tensors as places in stacks of those of one shape: few copies take less time."""
    if isinstance(value, torch.Tensor):
        stack = stacks.setdefault((value.shape, value.dtype), [])
        stack.append(value.detach())
        return _Place(list(stacks).index((value.shape, value.dtype)), len(stack) - 1)
    if isinstance(value, Mapping):
        return {key: _sorted_out(one, stacks) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return _like(value, [_sorted_out(one, stacks) for one in value])
    return value


def _put_together(form: Any, stacks: list[tuple[torch.Tensor, ...]]) -> Any:
    if isinstance(form, _Place):
        return stacks[form.stack][form.row]
    if isinstance(form, Mapping):
        return {key: _put_together(one, stacks) for key, one in form.items()}
    if isinstance(form, (list, tuple)):
        return _like(form, [_put_together(one, stacks) for one in form])
    return form
