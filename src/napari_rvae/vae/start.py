"""The beginning of a training: choose the crops, learn the basis, make the network.

Every function here works in pieces and yields between them, so that the caller stays answerable;
crops of one piece are worked off without a yield.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from napari_rvae.config import RVAEConfig
from napari_rvae.crops import Crops
from napari_rvae.errors import InputError
from napari_rvae.vae.basis import SteerableBasis, layer_noise_power
from napari_rvae.vae.engine import Started
from napari_rvae.vae.epochs import FitProgress
from napari_rvae.vae.model import SteerableVAE
from napari_rvae.vae.pictures import Pictures
from napari_rvae.vae.shifts import ShiftSearch
from napari_rvae.vae.splits import split_crops
from napari_rvae.vae.trained import CHUNK, TrainedModel
from napari_rvae.vae.training import Trainer

__all__ = ["Prepared", "number_of_latents", "prepare", "start_training", "waiting"]

#: The basis is taken from so many crops.
_BASIS_CROPS = 4000

#: Fewer crops than this are all trained on; more than this are not needed to test a training.
_WORTH_SPLITTING, _HELD_OUT_CROPS = 200, 1000

#: Noise of a layer below this share of its variance counts as so much: what no model describes
#: to the last per cent must not outweigh the other layers.
_LEAST_NOISE = 0.01

#: What was drawn, such as walls as lines, has no noise by which to weigh it beside what was
#: measured: it counts as if its noise were as large as itself. Its lines lie everywhere, and would
#: take all latents otherwise.
_DRAWN_NOISE = 1.0

#: Latents when nobody chooses: around atoms, and around sites without neighbours (walls, grids),
#: where the curvature of a wall and the place of another one in the window are more numbers than
#: four (see "The method and its limits").
_LATENTS, _WALL_LATENTS = 4, 6

#: Window in neighbour distances to assume where crops do not know theirs.
_USUAL_WINDOW = 3.5


class Prepared(NamedTuple):
    """What a training begins with, whatever the engine.

    Attributes
    ----------
    pictures
        The crops to train on, then those that are held out.
    n_training
        How many of them are trained on.
    basis
        The steerable basis, on the device.
    left_out
        Number of crops with NaN.
    """

    pictures: Pictures
    n_training: int
    basis: SteerableBasis
    left_out: int


def number_of_latents(config: RVAEConfig, crops: Crops) -> int:
    """Number of latents of a training on crops, whether it was chosen or is automatic."""
    if config.n_latents is not None:
        return config.n_latents
    cut_from_frames = bool(np.isfinite(crops.y).any())
    has_neighbours = math.isfinite(crops.window_nd)
    return _LATENTS if has_neighbours or not cut_from_frames else _WALL_LATENTS


def waiting(config: RVAEConfig) -> FitProgress:
    """Report of a training that is not there yet."""
    return FitProgress(0, config.epochs, 0.0, None, "preparing")


def prepare(
    crops: Crops, config: RVAEConfig, device: torch.device
) -> Generator[FitProgress, None, Prepared]:
    """Choose the crops of a training and learn their basis.

    Yields
    ------
    FitProgress
        Between pieces of the work; never for crops that fit into one piece.

    Raises
    ------
    InputError
        If there are fewer than eight usable crops, all are the same, or a layer is a component of
        a vector and the model is to turn it.
    """
    _check_components(crops, config)
    good = yield from _usable_crops(crops, waiting(config))
    training, held_out = _choose_rows(crops, good, config)
    basis, scale = _basis_of(crops, training, config)
    pictures = Pictures(crops, np.concatenate([training, held_out]), scale, device)
    return Prepared(pictures, training.size, basis.to(device), int((~good).sum()))


def start_training(
    crops: Crops, config: RVAEConfig, device: torch.device
) -> Generator[FitProgress, None, Started]:
    """Make all that a training of the steerable engine needs; see :func:`prepare`."""
    pictures, n_training, basis, left_out = yield from prepare(crops, config, device)
    if n_training > CHUNK:
        yield waiting(config)
    model = SteerableVAE(
        basis.mask.cpu(),
        number_of_latents(config, crops),
        config.hidden,
        torch.Generator().manual_seed(config.seed),
        rotation=config.rotation,
    ).to(device)
    search = _shift_search(crops, config, basis)
    noise = torch.Generator(device).manual_seed(config.seed + 1)
    trainer = Trainer(model, basis, pictures, n_training, config, search, noise)
    for _ in trainer.project():
        yield waiting(config)
    trainer.begin_model()
    trained = TrainedModel.of(
        crops, basis=basis, scale=pictures.scale, model=model, search=search, beta=config.beta
    )
    return Started(trainer, trained, left_out)


def _choose_rows(
    crops: Crops, good: NDArray[np.bool_], config: RVAEConfig
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows of the crops to train on, and of those that are held out, of the good ones (N,)."""
    usable = np.flatnonzero(good)
    if usable.size < 8:
        raise InputError(
            f"There are {usable.size} usable crops: 8 are the least, and hundreds are better."
        )
    share = config.held_out if usable.size >= _WORTH_SPLITTING else 0.0
    parts = split_crops(
        crops.select(usable) if usable.size < good.size else crops, share, seed=config.seed
    )
    random = np.random.default_rng(config.seed)
    training, held_out = (
        np.sort(random.permutation(usable[part])[:most])
        for part, most in zip(parts, (config.max_crops, _HELD_OUT_CROPS), strict=True)
    )
    return training, held_out


def _basis_of(
    crops: Crops, rows: NDArray[np.intp], config: RVAEConfig
) -> tuple[SteerableBasis, NDArray[np.float64]]:
    """Basis of some of the crops, and what each layer is divided by (C,).

    A single layer is divided by its standard deviation. Of several, each is divided by its noise,
    in which unit a misfit counts alike in all of them, so that a noisy layer does not drown the
    others, nor a drawn one those that were measured; the unit of all is then such that the mean
    variance of the layers is 1.
    """
    sample = np.sort(np.random.default_rng(config.seed).permutation(rows)[:_BASIS_CROPS])
    images = crops.read(sample)
    scale = _alike(_spread(crops, images), crops.vectors)
    images /= scale[:, None, None].astype(np.float32)
    options: dict[str, Any] = {
        "band_limit": config.band_limit,
        "native_pixel": crops.native_pixel,
        "noise_correlation": crops.noise_correlation,
    }
    if scale.size == 1:
        return SteerableBasis.fit(images, **options), scale
    power = np.maximum(layer_noise_power(images, **options), _LEAST_NOISE)
    drawn = crops.layer_noise == 0
    noise = np.sqrt(power if drawn.all() else np.where(drawn, _DRAWN_NOISE, power))
    noise = _alike(noise, crops.vectors)
    unit = math.sqrt(float((noise**-2).mean()))
    images /= (noise * unit)[:, None, None].astype(np.float32)
    options["vectors"] = crops.vectors if config.rotation else ()
    return SteerableBasis.fit(images, noise2=unit**-2, **options), scale * noise * unit


def _alike(sizes: NDArray[np.float64], vectors: Sequence[tuple[int, int]]) -> NDArray[np.float64]:
    """Sizes (C,) of which both components of a vector have the same, their quadratic mean."""
    same = sizes.copy()
    for pair in vectors:
        same[list(pair)] = np.sqrt((sizes[list(pair)] ** 2).mean())
    return same


def _spread(crops: Crops, images: NDArray[np.float32]) -> NDArray[np.float64]:
    """Standard deviation (C,) of each layer; InputError where it is zero."""
    scale: NDArray[np.float64] = images.std(axis=(0, 2, 3), dtype=np.float64)
    constant = [name for name, sd in zip(crops.channels, scale, strict=True) if not sd > 0]
    if len(constant) == scale.size:
        raise InputError("The crops hold one constant value: there is nothing to learn.")
    if constant:
        raise InputError(
            f"The layer {constant[0]!r} of the crops holds one constant value: leave it out, "
            "there is nothing to learn in it."
        )
    return scale


def _check_components(crops: Crops, config: RVAEConfig) -> None:
    """A lateral response alone is one component of a vector: a turned crop would show another."""
    paired = {number for pair in crops.vectors for number in pair}
    alone = [
        name
        for number, name in enumerate(crops.channels)
        if "lateral" in name.lower() and number not in paired
    ]
    if alone and config.rotation:
        raise InputError(
            f"The channel {alone[0]!r} is one component of a vector, which is another one in a "
            "turned crop: add the other one (as 'lateral response y' and 'lateral response x'), "
            "leave it out, or train with rotation = False."
        )


def _usable_crops(
    crops: Crops, report: FitProgress
) -> Generator[FitProgress, None, NDArray[np.bool_]]:
    """Which crops (N,) hold no NaN."""
    good: list[NDArray[np.bool_]] = []
    for images in crops.pieces(CHUNK):
        if good:
            yield report
        good.append(np.asarray(np.isfinite(images).all((1, 2, 3))))
    return np.concatenate(good or [np.zeros(0, bool)])


def _shift_search(crops: Crops, config: RVAEConfig, basis: SteerableBasis) -> ShiftSearch | None:
    if not config.shifts or config.max_shift_nd == 0:
        return None
    window = crops.window_nd if math.isfinite(crops.window_nd) else _USUAL_WINDOW
    limit = config.max_shift_nd * crops.pixels / window
    return ShiftSearch(basis, limit, limit / 2)
