"""Arrays to a device, without waiting for what it is doing."""

from __future__ import annotations

import collections

import numpy as np
import torch

_SLOTS = 4  # copies of one shape under way at once


class Upload:
    """Brings arrays of the host to a device in the order of its work; `upload(array)` is the tensor there.

    A copy from ordinary memory makes the host wait for all that the device has to do before. So on CUDA each goes
    through one of a few page-locked buffers, which is used again when its copy is done.
    """

    def __init__(self, device: str | torch.device) -> None:
        self._device = torch.device(device)
        self._slots = collections.defaultdict[tuple[torch.Size, torch.dtype], collections.deque[_Slot]](
            collections.deque
        )

    def __call__(self, array: np.ndarray | torch.Tensor) -> torch.Tensor:
        """A tensor on the device, of its own memory there."""
        given = torch.from_numpy(array) if isinstance(array, np.ndarray) else array
        if self._device.type != "cuda":
            return given.to(self._device)
        slot = self._slot(given)
        there = slot.host.to(self._device, non_blocking=True)
        slot.done.record()
        return there

    def into(self, place: torch.Tensor, array: torch.Tensor) -> None:
        """Copy to a tensor on the device."""
        if self._device.type != "cuda" or array.is_cuda:
            place.copy_(array)
            return
        slot = self._slot(array)
        place.copy_(slot.host, non_blocking=True)
        slot.done.record()

    def _slot(self, given: torch.Tensor) -> _Slot:
        """A page-locked buffer with these numbers: the one that was used longest ago."""
        slots = self._slots[given.shape, given.dtype]
        if len(slots) < _SLOTS:
            slots.append(_Slot(given))
        else:
            slots.rotate(-1)
        slots[-1].done.synchronize()
        slots[-1].host.copy_(given)
        return slots[-1]


class _Slot:
    def __init__(self, like: torch.Tensor) -> None:
        self.host = torch.empty(like.shape, dtype=like.dtype, pin_memory=True)
        self.done = torch.cuda.Event()
