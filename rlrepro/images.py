"""Which observations are images; without torch, which what reads a command line need not import."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

GRID = 24  #: the longest side of a grid; a screen has longer ones


def is_small(shape: tuple[int, ...]) -> bool:
    """Whether an image is one of a grid, such as MinAtar's 10 × 10, not of a screen."""
    return sorted(shape)[1] <= GRID


def is_image(space: gymnasium.Space[Any]) -> bool:
    """Whether observations are images: three axes of uint8 or bool, or a small grid's planes of floats in [0, 1]."""
    if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 3:
        return False
    if np.issubdtype(space.dtype, np.floating):
        return is_small(space.shape) and bool(space.low.min() >= 0 and space.high.max() <= 1)
    return space.dtype in (np.uint8, np.bool_)
