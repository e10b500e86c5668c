"""The training crops as an engine reads them: standardised, on the device, a piece at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from napari_rvae.crops import Crops
from napari_rvae.device import to_device

__all__ = ["Pictures"]


@dataclass(frozen=True, eq=False)
class Pictures:
    """Some of the crops. Nothing is kept of them but the numbers of their rows.

    Attributes
    ----------
    crops
        The crops, in memory or lazy.
    rows
        Which of them (N,).
    scale
        What each channel is divided by (C,).
    device
        Where the pictures go.
    """

    crops: Crops
    rows: NDArray[np.intp]
    scale: NDArray[np.float64]
    device: torch.device

    def __len__(self) -> int:
        """Return the number of pictures, N."""
        return int(self.rows.size)

    def pieces(self, size: int) -> Iterator[torch.Tensor]:
        """All pictures (n, C, S, S), in order, at most `size` at a time."""
        divisor = self.scale[:, None, None].astype(np.float32)
        for start in range(0, len(self), size):
            images = self.crops.read(self.rows[start : start + size]) / divisor
            yield to_device(torch.from_numpy(images), self.device)
