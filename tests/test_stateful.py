"""State made of the parts that classes name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from rlrepro import checkpoint
from rlrepro.networks import MLP
from rlrepro.optimisers import Adam
from rlrepro.seeds import Stack
from rlrepro.stateful import Stateful
from rlrepro.streams import Streams


class Base(Stateful):
    STATE: tuple[str, ...] = ("stack", "same_stack", "table")

    def __init__(self) -> None:
        self.stack = self.same_stack = Stack((3, 5), net=MLP((2, 4, 1)))
        self.table = np.zeros((2, 3))
        self.forgotten = 0


class Own(Base):
    STATE = ("optimiser", "nothing", "noise", "tables", "count", "latest")

    def __init__(self) -> None:
        super().__init__()
        self.optimiser = Adam(self.stack, 0.1)
        self.nothing = None
        self.noise = Streams((3, 5), "noise")
        self.tables = {"a": np.zeros((2, 2)), "b": torch.zeros(2), "of": 7}
        self.count, self.latest = 0, torch.zeros(2)

    def live(self) -> None:
        self.stack.gradient.normal_(generator=torch.Generator().manual_seed(1))
        self.optimiser.step()
        self.noise.uniform(3)
        self.table += 1.0
        self.tables["a"][0] = 2.0
        self.tables["b"] += 3.0
        self.tables["of"] = 8
        self.count, self.latest, self.forgotten = self.count + 1, self.latest + 4.0, 9


def through_a_file(state: Any) -> Any:
    return checkpoint.join([checkpoint.as_loaded(checkpoint.split(state, row)) for row in range(2)])


def test_what_is_named_by_a_class_and_its_bases_comes_back_and_nothing_else() -> None:
    one, other = Own(), Own()
    one.live()
    table, first = other.table, other.tables["a"]
    other.set_state(through_a_file(one.get_state()))
    assert list(one.get_state()) == ["stack", "table", "optimiser", "noise", "tables", "count", "latest"]
    assert other.forgotten == 0
    one.live()
    other.live()
    for mine, theirs in ((one.stack.matrix, other.stack.matrix), (one.latest, other.latest)):
        assert torch.equal(mine, theirs)
    assert np.array_equal(one.noise.uniform(3), other.noise.uniform(3))
    assert np.array_equal(one.table, other.table)
    assert (one.count, other.count, other.tables["of"]) == (2, 2, 8)
    assert torch.equal(one.tables["b"], other.tables["b"])
    assert other.table is table, "arrays keep their place, which others may have views of"
    assert other.tables["a"] is first


def test_a_part_that_a_state_lacks_is_named() -> None:
    state = {name: part for name, part in Own().get_state().items() if name != "noise"}
    with pytest.raises(KeyError, match="noise"):
        Own().set_state(state)


class Odd(Stateful):
    """Parts that came, grew, and changed their type; and one that cannot be set anew."""

    STATE = ("later", "grows", "table", "shape", "tensor", "fixed", "twice", "again")

    def __init__(self) -> None:
        self.later: Any = None
        self.grows: dict[str, Any] = {}
        self.table, self.shape, self.tensor = np.zeros(2, np.int64), np.zeros((2, 3)), torch.zeros(2)
        self._fixed = np.zeros(2)
        self.twice = self.again = np.zeros(2)

    @property
    def fixed(self) -> np.ndarray:
        return self._fixed


def test_nothing_is_lost_where_a_part_came_later_grew_or_has_another_shape_or_type() -> None:
    one, other = Odd(), Odd()
    one.later = np.array([1.0, 2.0])
    one.grows["x"] = np.array([3, 4])
    one.table, one.shape, one.tensor = np.array([0.75, 0.25]), np.ones((2, 1)), torch.ones(2, 3)
    one._fixed += 5.0
    one.twice += 6.0
    grows = other.grows
    assert list(one.get_state()) == ["later", "grows", "table", "shape", "tensor", "fixed", "twice"]
    other.set_state(through_a_file(one.get_state()))
    for name in ("later", "table", "shape", "fixed", "twice"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name
        assert getattr(one, name).dtype == getattr(other, name).dtype
    assert torch.equal(one.tensor, other.tensor)
    assert other.grows is grows
    assert np.array_equal(grows["x"], [3, 4])
    other.table += 1.0  # it may be written to
    assert other.again is other.twice
