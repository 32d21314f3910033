"""CUDA graphs: on a CUDA device, an agent's methods of many small kernels as one launch each.

An agent names in `GRAPHED` methods that are functions of their arguments and of what lies on the device (parameters,
moments): they draw no random numbers, ask for no value, and change nothing else of the agent. The first calls of each
kind run as they are, then one is captured, and from there on replayed: the same kernels on the same numbers, but that
a float comes as a float32.

Tensors and floats among the arguments may differ from call to call, the rest makes calls of another kind; so do other
shapes. What is given back is a copy, and stays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import torch

from rlrepro.errors import one_line
from rlrepro.upload import Upload

WARM_UP = 3  # calls of each kind before the one that is captured: kernels are loaded and libraries set up by them
MOST_KINDS = 16  # graphs of a method; calls of further kinds run as they are

Tell = Callable[[str], None]


def capture(agent: Any, device: str, tell: Tell, graph: type[Graph] | None = None) -> None:
    """Have the methods that the agent names in `GRAPHED` captured; `tell` is given a line where one cannot be.

    `graph` is what captures them, `CudaGraph` unless another is given.
    """
    inside = _Inside()
    for name in getattr(agent, "GRAPHED", ()):
        setattr(agent, name, Graphed(getattr(agent, name), torch.device(device), tell, inside, graph or CudaGraph))


class Graph(Protocol):
    """`capture` runs a function without doing what it does and gives what it gives; `replay` does it, in place."""

    def capture(self, function: Callable[[], Any]) -> Any: ...

    def replay(self) -> None: ...


class _Inside:
    """Whether one of the agent's methods is being run, from inside which the others are plain calls."""

    now = False


class Graphed:
    """A method that is captured at the call after the first few of its kind, and replayed from then on."""

    def __init__(
        self, method: Callable[..., Any], device: torch.device, tell: Tell, inside: _Inside, graph: type[Graph]
    ) -> None:
        self.method, self._device, self._tell, self._inside, self._graph = method, device, tell, inside, graph
        self._upload = Upload(device)
        self._calls: dict[Any, int | _Captured] = {}
        self._gave_up = False

    def __call__(self, *args: Any, **options: Any) -> Any:
        if self._inside.now or self._gave_up:
            return self.method(*args, **options)
        inputs: list[torch.Tensor | float] = []
        kind = torch.is_grad_enabled(), _kind((args, options), inputs)
        known = self._calls.get(kind, 0)
        if isinstance(known, _Captured):
            return known.replay(inputs)
        if known < WARM_UP and len(self._calls) < MOST_KINDS:
            self._calls[kind] = known + 1
        self._inside.now = True
        try:
            if known < WARM_UP:
                return self.method(*args, **options)
            try:
                captured = self._calls[kind] = self._captured(args, options, inputs)
            except RuntimeError as error:  # what is captured is not run: nothing was done yet
                self._gave_up = True
                name = getattr(self.method, "__name__", "a method").replace("_", " ")
                self._tell(f"{name} cannot be a CUDA graph ({one_line(error)}): its kernels are launched one by one")
                return self.method(*args, **options)
        finally:
            self._inside.now = False
        return captured.replay(inputs)

    def _captured(self, args: Any, options: Any, inputs: list[torch.Tensor | float]) -> _Captured:
        places = [_place_for(one, self._device) for one in inputs]
        return _Captured(self.method, args, options, places, inputs, self._upload, self._graph())


class CudaGraph:
    """Kernels that are recorded once and launched together."""

    def __init__(self) -> None:
        self._graph = torch.cuda.CUDAGraph()

    def capture(self, function: Callable[[], Any]) -> Any:
        with torch.cuda.graph(self._graph):
            return function()

    def replay(self) -> None:
        self._graph.replay()


class _Place(NamedTuple):
    """Where a tensor that is given back lies, in the stacks of tensors of equal shape."""

    stack: int
    row: int


class _Captured:
    """One kind of call: its graph, and the memory that this reads and writes."""

    def __init__(
        self,
        method: Callable[..., Any],
        args: tuple[Any, ...],
        options: Mapping[str, Any],
        places: list[torch.Tensor],
        inputs: list[torch.Tensor | float],
        upload: Upload,
        graph: Graph,
    ) -> None:
        self._places, self._floats = places, [math.nan] * len(places)
        self._upload = upload
        self._fill(inputs)
        mine = iter(places)
        args, options = _replaced(args, mine), _replaced(options, mine)

        def function() -> Any:
            stacks: dict[Any, list[torch.Tensor]] = {}
            form = _sorted_out(method(*args, **options), stacks)
            return form, [torch.stack(parts) for parts in stacks.values()]

        self._graph = graph
        self._form, self._stacks = graph.capture(function)

    def replay(self, inputs: list[torch.Tensor | float]) -> Any:
        self._fill(inputs)
        self._graph.replay()
        return _put_together(self._form, [stack.clone().unbind() for stack in self._stacks])

    def _fill(self, inputs: list[torch.Tensor | float]) -> None:
        for index, (mine, given) in enumerate(zip(self._places, inputs, strict=True)):
            if isinstance(given, torch.Tensor):
                if given is not mine:
                    self._upload.into(mine, given)
            elif given != self._floats[index]:
                self._floats[index] = given
                mine.fill_(given)


def lasting(tensor: torch.Tensor) -> torch.Tensor:
    """Mark a tensor that is handed out again and again, each time with other numbers: a graph reads it where it is."""
    tensor.is_lasting = True  # type: ignore[attr-defined]
    return tensor


def _place_for(one: torch.Tensor | float, device: torch.device) -> torch.Tensor:
    if not isinstance(one, torch.Tensor):
        return torch.empty((), device=device)
    return one if _is_lasting(one) else torch.empty_like(one, device=device)


def _is_lasting(tensor: torch.Tensor) -> bool:
    return getattr(tensor, "is_lasting", False)


def _kind(value: Any, inputs: list[torch.Tensor | float]) -> Any:
    """What two calls must have in common to be one graph; the tensors and floats of this one are added to `inputs`."""
    if isinstance(value, torch.Tensor):
        inputs.append(value)
        return value.shape, value.dtype, id(value) if _is_lasting(value) else None
    if isinstance(value, float):
        inputs.append(value)
        return float
    if isinstance(value, Mapping):
        return tuple((key, _kind(one, inputs)) for key, one in value.items())
    if isinstance(value, (list, tuple)):
        return tuple(_kind(one, inputs) for one in value)
    return value


def _replaced(value: Any, inputs: Iterator[torch.Tensor]) -> Any:
    """The same with other tensors and floats, in the order of `_kind`."""
    if isinstance(value, (torch.Tensor, float)):
        return next(inputs)
    if isinstance(value, Mapping):
        return {key: _replaced(one, inputs) for key, one in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*[_replaced(one, inputs) for one in value])
    if isinstance(value, (list, tuple)):
        return type(value)(_replaced(one, inputs) for one in value)
    return value


def _sorted_out(value: Any, stacks: dict[Any, list[torch.Tensor]]) -> Any:
    """What is given back, its tensors as places in stacks of those of one shape: few copies take less time."""
    if isinstance(value, torch.Tensor):
        stack = stacks.setdefault((value.shape, value.dtype), [])
        stack.append(value.detach())
        return _Place(list(stacks).index((value.shape, value.dtype)), len(stack) - 1)
    if isinstance(value, Mapping):
        return {key: _sorted_out(one, stacks) for key, one in value.items()}
    if isinstance(value, tuple):
        return tuple(_sorted_out(one, stacks) for one in value)
    return value


def _put_together(form: Any, stacks: list[tuple[torch.Tensor, ...]]) -> Any:
    if isinstance(form, _Place):
        return stacks[form.stack][form.row]
    if isinstance(form, Mapping):
        return {key: _put_together(one, stacks) for key, one in form.items()}
    if isinstance(form, tuple):
        return tuple(_put_together(one, stacks) for one in form)
    return form
