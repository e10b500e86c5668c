"""The beginning of a training: choose the crops, learn the basis, make the network.

Every function here works in pieces and yields between them, so that the caller stays answerable;
crops of one piece are worked off without a yield.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from napari_rvae.config import RVAEConfig
from napari_rvae.crops import Crops
from napari_rvae.device import to_device
from napari_rvae.errors import InputError
from napari_rvae.vae.basis import SteerableBasis
from napari_rvae.vae.model import SteerableVAE
from napari_rvae.vae.shifts import ShiftSearch
from napari_rvae.vae.trained import CHUNK, TrainedModel
from napari_rvae.vae.training import FitProgress, Trainer

__all__ = ["Start", "start_training"]

#: The basis is learned from so many crops.
_BASIS_CROPS = 4000

#: Window in neighbour distances to assume where crops do not know theirs.
_USUAL_WINDOW = 3.5


class Start(NamedTuple):
    """A training before its first step, the model it trains, and how many crops hold NaN."""

    trainer: Trainer
    trained: TrainedModel
    left_out: int


def start_training(
    crops: Crops, config: RVAEConfig, device: torch.device
) -> Generator[FitProgress, None, Start]:
    """Make all that a training needs.

    Yields
    ------
    FitProgress
        Between pieces of the work; never for crops that fit into one piece.

    Raises
    ------
    InputError
        If there are fewer than eight usable crops, or all are the same.
    """
    waiting = FitProgress(0, config.epochs, 0.0, None, "preparing")
    good = yield from _usable(crops, waiting)
    images = yield from _read(crops, _draw(good, config), waiting)
    large = len(images) > CHUNK
    scale = images.std(axis=(0, 2, 3), dtype=np.float64)
    if not (scale > 0).all():
        raise InputError("The crops hold one constant value: there is nothing to learn.")
    images /= scale[:, None, None].astype(np.float32)
    if large:
        yield waiting
    basis = SteerableBasis.fit(
        images[:_BASIS_CROPS], band_limit=config.band_limit, native_pixel=crops.native_pixel
    ).to(device)
    if large:
        yield waiting
    model = SteerableVAE(
        basis.mask.cpu(),
        config.n_latents,
        config.hidden,
        torch.Generator().manual_seed(config.seed),
    ).to(device)
    search = _shift_search(crops, config, basis)
    tensor = to_device(torch.from_numpy(images), device)
    noise = torch.Generator(device).manual_seed(config.seed + 1)
    trainer = Trainer(model, basis, tensor, config, search, noise)
    for _ in trainer.project():
        yield waiting
    model.start_from(trainer.data, _typical(trainer.data, basis), basis.noise2)
    trained = TrainedModel.untrained(model, basis, scale, search, crops)
    return Start(trainer, trained, int((~good).sum()))


def _usable(crops: Crops, waiting: FitProgress) -> Generator[FitProgress, None, NDArray[np.bool_]]:
    """Which crops (N,) hold no NaN."""
    good = np.zeros(len(crops), bool)
    for start in range(0, len(crops), CHUNK):
        if start:
            yield waiting
        part = slice(start, start + CHUNK)
        good[part] = np.isfinite(crops.read(part)).all((1, 2, 3))
    return good


def _draw(good: NDArray[np.bool_], config: RVAEConfig) -> NDArray[np.intp]:
    """Rows of the crops to train on, in random order."""
    rows = np.flatnonzero(good)
    if rows.size < 8:
        raise InputError(
            f"There are {rows.size} usable crops: 8 are the least, and hundreds are better."
        )
    return np.random.default_rng(config.seed).permutation(rows)[: config.max_crops]


def _read(
    crops: Crops, rows: NDArray[np.intp], waiting: FitProgress
) -> Generator[FitProgress, None, NDArray[np.float32]]:
    """Images (n, C, S, S) of some rows, each part of a lazy array computed once."""
    images = np.empty((rows.size, *crops.images.shape[1:]), np.float32)
    for start in range(0, len(crops), CHUNK):
        if start:
            yield waiting
        here = np.flatnonzero((rows >= start) & (rows < start + CHUNK))
        if here.size:
            images[here] = crops.read(rows[here])
    return images


def _shift_search(crops: Crops, config: RVAEConfig, basis: SteerableBasis) -> ShiftSearch | None:
    if not config.shifts or config.max_shift_nd == 0:
        return None
    window = crops.window_nd if math.isfinite(crops.window_nd) else _USUAL_WINDOW
    limit = config.max_shift_nd * crops.pixels / window
    return ShiftSearch(basis, limit, limit / 2)


def _typical(data: torch.Tensor, basis: SteerableBasis) -> torch.Tensor:
    """A crop (M, 2, K) near the middle of all, and well centred (little of order 1)."""
    part = data[:2000]
    size = (part[:, :, 0] ** 2 + part[:, :, 1] ** 2 + basis.noise2).sqrt()
    middle = size.median(0).values
    far = ((size - middle) / (size.std(0) + 1e-3) * basis.mask[:, 0]).flatten(1).norm(dim=1)
    far = far / math.sqrt(basis.n_real)
    if size.shape[1] > 1:
        off = size[:, 1].norm(dim=1)
        far = far + 2 * off / off.median()
    return part[far.argmin()]
