"""Tile coding (Sutton & Barto, 2nd ed., section 9.5.4): a point as the one tile of each tiling that holds it."""

from __future__ import annotations

import numpy as np


class TileCoder:
    """`num_tilings` grids of `num_tiles` tiles a dimension over a box, each grid displaced from the one before.

    The tiles are so wide that every grid covers the box: (high − low) / (num_tiles − (K − 1) / K) for K tilings. The
    book's Example 10.1 has tiles of (high − low) / num_tiles, and one more a dimension where a grid is displaced.
    Tiling i lies (K − 1 − i (2d + 1) mod K) / K tiles below the box in dimension d: displacement vectors of the first
    odd numbers (Miller & Glanz, 1996).
    """

    def __init__(self, low: np.ndarray, high: np.ndarray, num_tilings: int, num_tiles: int) -> None:
        self.low, self.high = np.asarray(low, np.float64).ravel(), np.asarray(high, np.float64).ravel()
        if not (np.isfinite(self.low).all() and np.isfinite(self.high).all() and (self.low < self.high).all()):
            raise ValueError("tiles need finite bounds, low < high")
        self.num_tilings, self.num_tiles = num_tilings, num_tiles
        dims = np.arange(len(self.low))
        if (np.gcd(2 * dims + 1, num_tilings) > 1).any() and num_tilings > 1:
            raise ValueError(f"{num_tilings} tilings coincide in some of {len(dims)} dimensions; take a power of two")
        self.num_features = num_tilings * num_tiles ** len(dims)
        self.width = (self.high - self.low) / (num_tiles - (num_tilings - 1) / num_tilings)
        tiling = np.arange(num_tilings)[:, None]
        self.offset = (num_tilings - 1 - tiling * (2 * dims + 1) % num_tilings) / num_tilings  # [K, D], in tiles
        self._strides = num_tiles**dims
        self._first = tiling[:, 0] * num_tiles ** len(dims)

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """The features `[..., K]`, int64, that are 1 at `points` `[..., D]`; points outside count as on the edge."""
        tiles = (np.clip(points, self.low, self.high) - self.low) / self.width
        cells = np.floor(tiles[..., None, :] + self.offset).astype(np.int64)
        np.minimum(cells, self.num_tiles - 1, out=cells)
        return cells @ self._strides + self._first
