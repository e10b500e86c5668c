"""Whether atoms are bright or dark on their background, from the frames themselves."""

from __future__ import annotations

import logging
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from napari_rvae.config import DetectConfig
from napari_rvae.detect.binning import binned_whole
from napari_rvae.detect.peaks import local_maxima
from napari_rvae.detect.sampling import Sample, middle, spread
from napari_rvae.preprocess.noise import robust_sd

__all__ = ["Skew", "atom_skew", "choose_sign", "is_sixfold"]

_LOG = logging.getLogger(__name__)

#: The skewness is measured on so many frames, on a part of this side in pixels or, of wide atoms,
#: on more.
_FRAMES, _SIDE = 3, 512

#: Dark atoms are believed from this skewness on, this many times above its standard error.
_LEAST_SKEW, _SURE = 0.15, 4.0

#: Frames are binned until an atom's image is about so many pixels wide, or up to twice as many.
_BINNED_SIGMA = 1.1

#: Widths of the two Gaussians between which structure counts, in widths of an atom.
_FINE, _SLOW = 0.8, 2.5

#: The frame is cut into so many parts along each side to tell how sure its skew is.
_PARTS = 6


#: Each part is so many widths of an atom wide at least: the grain of a support is not atoms.
_ROOM = 6.0

#: Parts with less structure than this share of what the fuller ones have show no atoms.
_FILLED = 0.25


class Skew(NamedTuple):
    """Skewness of what a frame shows at the scale of its atoms, free of the noise's own.

    Parameters
    ----------
    value
        Positive for bright spots on a darker ground.
    sd
        Its standard error, from the scatter over parts of the frame; infinite where nothing
        is seen.
    """

    value: float
    sd: float


def _thirds(image: NDArray[np.float64], sigma: float) -> list[NDArray[np.float64]]:
    """Three pictures of the same specimen, each from a third of the pixels of a frame.

    Their noise is independent, so that it drops out of the mean of their product.
    """
    diagonal = np.add.outer(*(np.arange(n) for n in image.shape)) % 3
    parts = []
    for number in range(3):
        mask = (diagonal == number).astype(float)
        fine, slow = (
            ndimage.gaussian_filter(image * mask, width * sigma)
            / ndimage.gaussian_filter(mask, width * sigma)
            for width in (_FINE, _SLOW)
        )
        parts.append(fine - slow)
    return parts


def atom_skew(image: NDArray[np.float64], sigma: float) -> Skew:
    """Measure whether the spots of a frame are bright or dark.

    Parameters
    ----------
    image
        One frame (Y, X) without NaN.
    sigma
        Width (standard deviation) of an atom's image in pixels.

    Returns
    -------
    Skew
        Third moment by the second to the power of 1.5, both without noise; the middle one of
        the parts of the frame.
    """
    binning = max(1, int(sigma / _BINNED_SIGMA))
    small = binned_whole(image, binning)
    width = sigma / binning
    if min(small.shape) < _PARTS * max(3.0, _ROOM * width):
        return Skew(0.0, math.inf)
    a, b, c = _thirds(small - small.mean(), max(width, 1.2))
    second, third = (_tile_means(v) for v in ((a * b + b * c + a * c) / 3, a * b * c))
    filled = second > _FILLED * np.quantile(second, 0.75)
    if not (second[filled] > 0).all() or filled.sum() < _PARTS:
        return Skew(0.0, math.inf)
    # the middle part: one bright dopant outweighs hundreds of atoms in a third moment
    skew = third[filled] / second[filled] ** 1.5
    return Skew(float(np.median(skew)), max(1.25 * robust_sd(skew), 1e-9) / math.sqrt(skew.size))


def _tile_means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    rows = np.array_split(values, _PARTS, axis=0)
    return np.array([part.mean() for row in rows for part in np.array_split(row, _PARTS, axis=1)])


def is_sixfold(image: NDArray[np.float64], sigma: float) -> bool:
    """Whether the bright spots of a frame have six equal neighbours each.

    The holes of a blurred honeycomb do, and no picture tells them from dark atoms.
    """
    binning = max(1, int(sigma / _BINNED_SIGMA))
    small, width = binned_whole(image, binning), sigma / binning
    if min(small.shape) < 3 * _PARTS:
        return False
    smooth = ndimage.gaussian_filter(small, width) - ndimage.gaussian_filter(small, 4 * width)
    y, x, height = local_maxima(smooth, 1.5 * width)
    clear = height > 0.4 * np.quantile(height, 0.9) if height.size else np.zeros(0, bool)
    points = np.stack([y, x], 1)[clear]
    if len(points) < 12:
        return False
    distance, index = (np.asarray(part) for part in cKDTree(points).query(points, 7))
    step = points[index[:, 1:]] - points[:, None]
    angle = np.arctan2(step[..., 0], step[..., 1])
    order = np.abs(np.exp(6j * angle).mean(1))
    even = distance[:, 6] < 1.4 * distance[:, 1]
    return bool(np.mean(even & (order > 0.6)) > 0.4)


def _may_be_bright(image: NDArray[np.float64], sigma: float) -> bool:
    """Whether a frame with dark spots can be one of bright atoms all the same."""
    finer = (atom_skew(image, sigma / 2**k) for k in range(1, 5) if sigma > 2**k)
    return is_sixfold(-image, sigma) or any(skew.value > _SURE * skew.sd for skew in finer)


def choose_sign(sample: Sample, config: DetectConfig) -> float:
    """1 for bright atoms, -1 for dark ones; measured where the options leave it open.

    Bright is what most detectors show, so dark asks for proof: spots that are dark far beyond
    chance, nothing bright at a finer scale, and no pattern that a blurred honeycomb of bright
    atoms would show as well.

    Parameters
    ----------
    sample
        Some frames of the movie.
    config
        Options; "bright" and "dark" need no look.

    Returns
    -------
    float
        Factor that makes the atoms bright.
    """
    if config.contrast != "auto":
        return -1.0 if config.contrast == "dark" else 1.0
    seen = []
    for number in spread(len(sample.images), _FRAMES):
        image = sample.images[number]
        sigma = config.sigma or sample.blobs[number].sigma
        if math.isfinite(sigma):
            part = middle(image, max(_SIDE, math.ceil(1.5 * _PARTS * _ROOM * sigma)))
            skew = atom_skew(part, sigma)
            seen.append((skew, skew.value < 0 and _may_be_bright(part, sigma)))
    if not seen:
        return 1.0
    weight = np.array([1 / max(skew.sd, 1e-6) ** 2 for skew, _ in seen])
    if not weight.sum() > 0:
        return 1.0
    value = float(np.average([skew.value for skew, _ in seen], weights=weight))
    doubtful = np.mean([other for _, other in seen]) >= 0.5
    dark = value < -_LEAST_SKEW and value * math.sqrt(weight.sum()) < -_SURE and not doubtful
    _LOG.info("atoms are %s (skewness %.2f)", "dark" if dark else "bright", value)
    return -1.0 if dark else 1.0
