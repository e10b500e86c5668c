"""The width of the atoms where they are too few, or too hidden, for the autocorrelation.

The network looks at a frame at one scale after the other. At the right one it sees atoms, and fits
of these are as wide as the scale says.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from napari_rvae.detect.binning import bin_variance, binned_whole
from napari_rvae.detect.fit import fit_atoms
from napari_rvae.detect.network import see
from napari_rvae.detect.peaks import blob_filter, local_maxima
from napari_rvae.detect.sampling import middle, rows_agree
from napari_rvae.preprocess.noise import noise_curve, noise_level, robust_sd

__all__ = ["survey_scale"]

#: Widths that are tried: from this one on in pixels, each so many times the one before; and the
#: largest as a share of the frame's side.
_FIRST, _RATIO, _LARGEST = 0.8, 1.3, 1 / 24

#: The network looks at the middle of a frame, so many widths wide.
_PART = 256.0

#: It sees an atom from this chance on; the fit of one is this clear and as wide as was tried,
#: within this factor; fewer of them prove nothing.
_CHANCE, _CLEAR, _AS_WIDE, _FEWEST = 0.5, 6.0, 1.3, 3

#: Many atoms are this share of the most that are seen at any width.
_MANY = 0.3

#: Atoms are few below this number for each square of their width.
_SPARSE = 0.01

#: An atom's image is fitted in pixels of which its width is about this many.
_FIT_SIGMA = 2.2


def survey_scale(image: NDArray[np.float64], measured: float, device: torch.device) -> float:
    """Find the width of the atoms' images.

    Smooth structure shows nothing that is narrow, but from afar the grain of a support, or
    clusters, can look as atoms do. So of the widths at which many atoms are seen the least counts.

    Parameters
    ----------
    image
        One frame (Y, X) without NaN; atoms are bright.
    measured
        What another way has measured; it stays where no narrower atoms are seen. NaN for none.
    device
        Where to compute.

    Returns
    -------
    float
        Standard deviation in pixels; `measured` where at no scale three atoms are seen.
    """
    tried = [_FIRST]
    while tried[-1] * _RATIO <= min(image.shape) * _LARGEST:
        tried.append(tried[-1] * _RATIO)
    seen = [_look(image, sigma, device) for sigma in tried]
    scores = np.array([score for score, _ in seen])
    if not scores.any():
        return measured
    narrowest = int(np.flatnonzero(scores >= _MANY * scores.max())[0])
    best = narrowest + int(scores[narrowest : narrowest + 3].argmax())
    return measured if tried[best] > measured / _AS_WIDE else seen[best][1]


def _look(image: NDArray[np.float64], sigma: float, device: torch.device) -> tuple[float, float]:
    """Sum of the chances of the atoms that are as wide as `sigma`, and their median width."""
    part = middle(image, math.ceil(_PART * sigma))
    view = see(part, sigma, device)
    row, column, chance = local_maxima(view.chance, 1.5)
    row, column, chance = (v[chance > _CHANCE] for v in (row, column, chance))
    if chance.size < _FEWEST:
        return 0.0, math.nan
    y, x = view.in_frame(row, column)
    binning = max(1, int(sigma / _FIT_SIGMA))
    small, wide = binned_whole(part, binning), sigma / binning
    y, x = (
        np.clip((p + 0.5) / binning - 0.5, 0, n - 1)
        for p, n in zip((y, x), small.shape, strict=True)
    )
    excess = _noise_excess(small, wide) if chance.size < _SPARSE * small.size / wide**2 else 1.0
    if not rows_agree(small, wide):
        return 0.0, math.nan
    variance = noise_curve(small).variance(ndimage.gaussian_filter(small, wide))
    fit = fit_atoms(small, variance, y, x, wide, free_sigma=True, device=device)
    width = binning * np.sqrt(np.maximum(fit.sigma**2 - bin_variance(binning), 0.05))
    good = (fit.snr >= _CLEAR * excess) & (np.abs(np.log(width / sigma)) <= math.log(_AS_WIDE))
    if good.sum() < _FEWEST:
        return 0.0, math.nan
    return float(chance[good].sum()), float(np.median(width[good]))


def _noise_excess(image: NDArray[np.float64], sigma: float) -> float:
    """By how much the noise at the scale of an atom exceeds white noise; atoms are to be few."""
    filtered, left = blob_filter(image, sigma, noise_level(image), density=0.05 / sigma**2)
    return max(1.0, robust_sd(filtered) / max(left, 1e-30))
