"""The process's own random generators, Python's, NumPy's and torch's, which scripts and libraries draw from."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch


def get_generators() -> dict[str, Any]:
    """Their state, as a checkpoint holds it."""
    version, numbers, gauss = random.getstate()
    kind, key, *rest = np.random.get_state()
    state = {"python": [version, list(numbers), gauss], "numpy": [kind, np.asarray(key), *rest]}
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return {**state, "torch": torch.get_rng_state(), "cuda": cuda}


def set_generators(state: Mapping[str, Any]) -> None:
    """The inverse of `get_generators`."""
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    np.random.set_state(tuple(state["numpy"]))
    torch.set_rng_state(torch.as_tensor(state["torch"]))
    if cuda := [torch.as_tensor(one) for one in state["cuda"]]:
        torch.cuda.set_rng_state_all(cuda)


@contextlib.contextmanager
def generators_kept() -> Iterator[None]:
    """They are afterwards as before."""
    state = get_generators()
    try:
        yield
    finally:
        set_generators(state)
