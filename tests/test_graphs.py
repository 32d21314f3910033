"""Captured methods, by a graph of the CPU's own: it remembers a function and calls it again on the memory it was given.

What a GPU's graph adds to that is looked at in test_cuda.py, where there is one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from test_device import built, cases, learns_once, transitions
from torch.utils._pytree import tree_map

from rlrepro import graphs
from rlrepro.streams import SteadyStreams, Streams

NUM_UPDATES = graphs.WARM_UP + 4


def graph_of(agent: Any) -> type[graphs.Graph]:
    """Graphs whose capture leaves no trace in the agent's parameters and optimisers, as that of a GPU."""

    class OnHost:
        captured = 0

        def capture(self, function: Callable[[], Any]) -> Any:
            OnHost.captured += 1
            self.function, self.grad = function, torch.is_grad_enabled()
            held = tree_map(lambda leaf: leaf.clone() if isinstance(leaf, torch.Tensor) else leaf, agent.get_state())
            self.out = function()
            agent.set_state(tree_map(lambda leaf: leaf.numpy() if isinstance(leaf, torch.Tensor) else leaf, held))
            return self.out

        def buffer(self, like: torch.Tensor) -> torch.Tensor:
            return torch.empty_like(like)

        def wait(self) -> None:
            """Nothing goes on after a replay."""

        def replay(self) -> None:
            inside = getattr(agent, agent.GRAPHED[0])._inside  # a GPU's replay calls no methods
            inside.now = True
            with torch.set_grad_enabled(self.grad):
                again = self.function()[1]
            inside.now = False
            for mine, new in zip(self.out[1], again, strict=True):
                mine.copy_(new)

    return OnHost


@pytest.mark.parametrize("kind", [list, tuple])
def test_what_is_given_back_stays_whatever_holds_it(kind: type[Any]) -> None:
    class Graph:
        """The memory of the capture is written to again by each replay."""

        def capture(self, function: Callable[[], Any]) -> Any:
            self.function, self.out = function, function()
            return self.out

        def buffer(self, like: torch.Tensor) -> torch.Tensor:
            return torch.empty_like(like)

        def replay(self) -> None:
            for mine, new in zip(self.out[1], self.function()[1], strict=True):
                mine.copy_(new)

        def wait(self) -> None:
            """Nothing goes on after a replay."""

    doubled = graphs.Graphed(lambda x: kind([2 * x]), "cpu", print, graph=Graph)
    given = [doubled(torch.tensor([float(number)])) for number in range(graphs.WARM_UP + 4)]
    assert [type(one) for one in given] == [kind] * len(given)
    assert [one[0].item() for one in given] == [2.0 * number for number in range(len(given))]


IMAGES = "dqn-discrete-image", "ppo-discrete-image"  # of the agents' methods nothing else depends on the observation
GRAPHED = [
    case for case in cases() if hasattr(case.values[0], "GRAPHED") and (case.id in IMAGES or "vector" in case.id)
]


@pytest.mark.parametrize(("agent_class", "observation", "action"), GRAPHED)
def test_a_captured_update_is_the_update(agent_class: Any, observation: Any, action: Any) -> None:
    plain, captured = (built(agent_class, observation, action) for _ in range(2))
    graph, told = graph_of(captured), list[str]()
    graphs.capture(captured, "cpu", told.append, graph)
    learnt = replayed = 0
    for transition, step in transitions(plain):
        np.testing.assert_allclose(captured.act(transition.obs, step)[0], transition.action, rtol=1e-3, atol=1e-3)
        for agent in (plain, captured):
            agent.memory.add(transition)
        for ours, theirs in zip(captured.memory.ready(step), plain.memory.ready(step), strict=True):
            metrics, expected = captured.update(ours, step), plain.update(theirs, step)
            assert metrics.keys() == expected.keys()
            for tag, value in expected.items():
                torch.testing.assert_close(metrics[tag], value, rtol=1e-3, atol=1e-4, equal_nan=True, msg=tag)
            learnt += 1
            replayed += graph.captured > 0
        if replayed >= (3 if learns_once(plain) else 1) or learnt >= NUM_UPDATES:
            break
    assert not told
    assert graph.captured > 0
    for name, value in plain.get_policy().items():
        torch.testing.assert_close(captured.get_policy()[name], value, rtol=1e-3, atol=1e-4, msg=name)


class Sums:
    """A method that adds its arguments up, in place and as what it gives back."""

    GRAPHED = ("add",)

    def __init__(self) -> None:
        self.total, self.runs = torch.zeros(2), 0

    def add(self, one: torch.Tensor, weight: float, *, twice: bool = False) -> dict[str, torch.Tensor]:
        self.runs += 1
        self.total += weight * one * (2 if twice else 1)
        return {"total": self.total.clone(), "one": one * 1, "count": torch.tensor([3])}

    def get_state(self) -> dict[str, Any]:
        return {"total": self.total}

    def set_state(self, state: dict[str, Any]) -> None:
        self.total.copy_(torch.from_numpy(state["total"]))


def test_arguments_of_each_call_are_met_and_what_was_given_back_stays() -> None:
    sums = Sums()
    graph = graph_of(sums)
    graphs.capture(sums, "cpu", pytest.fail, graph)
    expected, given = torch.zeros(2), []
    for call in range(8):
        one, weight = torch.tensor([call, 10.0]), 0.5 + call // 2
        given.append((sums.add(one, weight), expected := expected + weight * one, one))
    for out, total, one in given:
        assert torch.equal(out["total"], total)
        assert torch.equal(out["one"], one)
        assert out["count"].tolist() == [3]
    assert graph.captured == 1


def test_calls_of_other_shapes_and_flags_are_captured_apart() -> None:
    sums = Sums()
    graph = graph_of(sums)
    graphs.capture(sums, "cpu", pytest.fail, graph)
    for _ in range(graphs.WARM_UP + 2):
        for twice in (False, True):
            sums.add(torch.ones(2), 1.0, twice=twice)
            sums.add(torch.ones(1), 1.0, twice=twice)
    assert sums.total.tolist() == [6.0 * (graphs.WARM_UP + 2)] * 2
    assert graph.captured == 4


def test_a_lasting_tensor_is_read_where_it_is_and_another_one_is_another_kind() -> None:
    sums, first, second = Sums(), graphs.lasting(torch.ones(2)), graphs.lasting(torch.zeros(2))
    graph = graph_of(sums)
    graphs.capture(sums, "cpu", pytest.fail, graph)
    for call in range(graphs.WARM_UP + 3):
        first.fill_(call)
        sums.add(first, 1.0)
        sums.add(second, 1.0)
    assert sums.total.tolist() == [sum(range(graphs.WARM_UP + 3))] * 2
    assert second.tolist() == [0.0, 0.0]
    assert graph.captured == 2


def test_what_cannot_be_captured_runs_as_it_is_and_one_line_says_so() -> None:
    class Refuses:
        def capture(self, function: Any) -> Any:
            raise RuntimeError("operation not permitted when stream is capturing")

        def buffer(self, like: torch.Tensor) -> torch.Tensor:
            return torch.empty_like(like)

        def replay(self) -> None:
            pytest.fail("nothing was captured")

        def wait(self) -> None:
            """There is nothing."""

    sums, told = Sums(), list[str]()
    graphs.capture(sums, "cpu", told.append, Refuses)
    for _ in range(6):
        sums.add(torch.ones(2), 1.0)
    assert sums.total.tolist() == [6.0, 6.0]
    (line,) = told
    assert line.startswith("add cannot be a CUDA graph (")
    assert "not permitted" in line


def test_kinds_without_end_are_not_all_captured() -> None:
    sums = Sums()
    graph = graph_of(sums)
    graphs.capture(sums, "cpu", pytest.fail, graph)
    for _ in range(graphs.WARM_UP + 2):
        for width in range(graphs.MOST_KINDS + 5):
            sums.total = torch.zeros(width)
            sums.add(torch.ones(width), 1.0)
    assert graph.captured == graphs.MOST_KINDS


@pytest.mark.parametrize("cut", [0, 1, 217, 218, 219, 500])
def test_steady_streams_give_the_numbers_of_streams_whenever_they_are_saved(cut: int) -> None:
    seeds, shape = (3, 11), (100, 6)
    plain, steady = Streams(seeds, "noise"), SteadyStreams(seeds, "noise")
    for _ in range(cut):
        assert np.array_equal(steady.normal(*shape), plain.normal(*shape))
    again = SteadyStreams(seeds, "noise")
    again.normal(*shape)
    again.set_state(steady.get_state())
    as_plain = Streams(seeds, "noise")
    as_plain.set_state(steady.get_state())
    for _ in range(400):
        expected = plain.normal(*shape)
        for streams in (steady, again, as_plain):
            assert np.array_equal(streams.normal(*shape), expected)


def test_steady_streams_refuse_another_kind_of_draw() -> None:
    streams = SteadyStreams((3,), "noise")
    streams.normal(4)
    with pytest.raises(ValueError, match="one kind"):
        streams.uniform(4)
