"""One row per frame: how noisy, blurred and distorted, how good."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_rvae.errors import Cancelled
from napari_rvae.frames import as_frames
from napari_rvae.preprocess.blur import blob_contrast, blob_ellipse, blob_scale
from napari_rvae.preprocess.correlation import noise_correlation
from napari_rvae.preprocess.distortion import blob_distortion
from napari_rvae.preprocess.flyback import flyback_columns
from napari_rvae.preprocess.noise import (
    drop_spikes,
    fill_missing,
    noise_curve,
    noise_level,
    row_noise,
)

__all__ = ["analyse_frames"]

#: A blob that stands this many times above the noise is seen without doubt.
_SURE = 5.0

#: Frames of less than this share of the movie's median quality are not worth keeping.
_LEAST_SHARE = 1 / 3

_DISTORTION = ("distortion_yy", "distortion_yx", "distortion_xy", "distortion_xx")


def analyse_frames(
    frames: Any,
    *,
    channel: int | str = 0,
    progress: Callable[[int, int], bool | None] | None = None,
) -> pd.DataFrame:
    """Measure noise, blur, distortion and quality of every frame.

    The quality, from 0 to 1, is the product of four shares, each 1 at most:

    - how far a typical blob (an atom) stands above the noise: 1 from five times upwards, falling
      with the square below, as far as 0 for noise alone and for blank frames;
    - contrast over noise, row noise included, as a share of the movie's median: where atoms can
      be located half as well as usual, it is 0.5;
    - the movie's median blur over the frame's, squared, as the height of an atom goes; 0 for a
      frame without blobs in a movie with blobs;
    - pixels that are not missing.

    The medians are those of the frames in which something is seen. A movie of one frame has the
    first and the last share only.

    A frame is suggested to be kept (``keep``) if its quality is a third of the movie's median or
    more: there, atoms are located three times worse than usual. The median is that of the frames
    with a quality above 0; frames of quality 0 are not worth keeping. The suggestion changes
    nothing by itself: detection leaves out the frames whose flag "keep" in ``Frames.table`` is
    False, and those below the option ``min_quality``.

    Parameters
    ----------
    frames
        Frames or array-like (Y, X), (T, Y, X), (T, C, Y, X).
    channel
        Which channel to look at.
    progress
        Called with (frames done, frames in all); returning False cancels.

    Returns
    -------
    DataFrame
        One row per frame: ``frame``; ``noise_sd``, white noise in the frame's units; ``gain``,
        growth of the noise variance per unit of signal (counts: 1); ``offset`` and
        ``readout_noise``, see below; ``row_noise_sd``, offset of single rows in the frame's
        units; ``noise_lag_y``, ``noise_lag_x``, correlation of the noise of adjacent pixels
        (white: 0; see :func:`~napari_rvae.preprocess.noise_correlation`), NaN without noise and
        below 32 px; ``contrast``, standard deviation of what the frame shows, in its units,
        without noise and slow background; ``blur``, standard deviation of an atom's image in
        pixels, NaN where there are no blobs; ``ellipticity``, by how much more it is along its
        longer axis than across, as a share (0: round), and ``ellipse_angle``: that axis points
        along (dy, dx) = (-sin, cos) of it, in radians in (-pi/2, pi/2]; ``distortion_yy``,
        ``distortion_yx``, ``distortion_xy``, ``distortion_xx``, what the scan does to offsets: one
        of (dy, dx) in the specimen appears at (yy dy + yx dx, xy dy + xx dx); ``stretch``, how much
        longer that makes the lattice along one direction than across, as a share, and
        ``stretch_sd``, its standard error; ``flyback_columns``, number of spoilt columns at the
        start of the rows; ``missing``, share of NaN pixels; ``quality``; ``keep`` (bool).

        The distortion is that of the lattice of maxima
        (:func:`~napari_rvae.preprocess.lattice_distortion`, with its limits), NaN where there is
        no lattice of three-, four- or sixfold symmetry; pixels that are not square are in it where
        the frames know it. The ellipse includes what the distortion does to it. Neighbours that
        are near bias it: on a lattice with atoms 5 widths apart, 0.20 is measured as 0.21 to 0.26.

        The noise of a frame tells the variance at signal zero, gain x offset taken from that of
        the readout, and not both. Where the gain is known
        (:attr:`~napari_rvae.preprocess.noise.NoiseCurve.is_known`), the one that alone would
        explain it is given, in the frame's units, and the other is NaN: the readout's standard
        deviation were the offset 0, or the signal without electrons were the readout silent.

    Raises
    ------
    Cancelled
        If `progress` returned False.

    Examples
    --------
    >>> from napari_rvae import analyse_frames, simulate_graphene
    >>> movie = simulate_graphene(n_frames=3, size=128).frames.data[:].copy()
    >>> movie[1] = 7
    >>> analyse_frames(movie)["quality"].round(1).tolist()
    [1.0, 0.0, 1.0]
    """
    movie = as_frames(frames)
    aspect = movie.pixel_aspect if movie.units[-2] == movie.units[-1] else 1.0
    rows = []
    for index in range(movie.n_frames):
        rows.append({"frame": index, **_measure(movie.frame(index, channel), aspect)})
        done = index + 1
        if progress is not None and progress(done, movie.n_frames) is False:
            raise Cancelled(f"Analysing was stopped after {done} of {movie.n_frames} frames.")
    table = pd.DataFrame(rows)
    table["quality"] = _quality(table)
    table["keep"] = _worth_keeping(table["quality"].to_numpy())
    return table


def _measure(image: NDArray[np.float64], aspect: float) -> dict[str, float]:
    """Everything about one frame (Y, X) that needs no other."""
    missing = float(np.isnan(image).mean())
    clean = image if missing == 1 else drop_spikes(image)
    full = fill_missing(clean)
    curve, correlation = noise_curve(full), noise_correlation(full)
    known, positive = curve.is_known, curve.floor >= 0
    blob = blob_scale(full)
    ellipse = blob_ellipse(full, blob)
    distortion = blob_distortion(full, blob.sigma, pixel_aspect=aspect)
    matrix = distortion.matrix if math.isfinite(distortion.stretch) else np.full((2, 2), math.nan)
    return {
        "noise_sd": noise_level(image),
        "gain": curve.gain,
        "offset": -curve.floor / curve.gain if known and not positive else math.nan,
        "readout_noise": math.sqrt(curve.floor) if known and positive else math.nan,
        "row_noise_sd": row_noise(image),
        "noise_lag_y": float(correlation.along_y[0]),
        "noise_lag_x": float(correlation.along_x[0]),
        "contrast": blob_contrast(clean),
        "blur": blob.sigma,
        "ellipticity": ellipse.ellipticity,
        "ellipse_angle": ellipse.angle,
        **dict(zip(_DISTORTION, matrix.ravel().tolist(), strict=True)),
        "stretch": distortion.stretch,
        "stretch_sd": distortion.stretch_sd,
        "flyback_columns": flyback_columns(image),
        "missing": missing,
    }


def _worth_keeping(quality: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which frames (T,) to keep, from their quality against the movie's."""
    seen = quality > 0
    if not seen.any():
        return seen
    return np.asarray(seen & (quality >= _LEAST_SHARE * np.median(quality[seen])))


def _quality(table: pd.DataFrame) -> NDArray[np.float64]:
    """Quality (T,) of frames from what was measured on them."""
    columns = table[["noise_sd", "row_noise_sd", "contrast", "blur", "missing"]]
    white, rows, contrast, blur, missing = columns.to_numpy(np.float64).T
    noise = np.hypot(white, rows)
    clarity = contrast / np.maximum(noise, 1e-6 * contrast + 1e-300)  # no noise: very clear
    # of a blob as high as the contrast, all pixels together (matched filter)
    height = clarity * math.sqrt(4 * math.pi) * np.where(np.isnan(blur), 1.0, blur)
    visible = np.minimum(1.0, (height / _SURE) ** 2)
    quality: NDArray[np.float64] = visible * (1 - missing)
    seen = visible > 0.25
    if len(table) == 1 or not seen.any():
        return quality
    quality *= np.minimum(1.0, clarity / np.median(clarity[seen]))
    if np.isfinite(blur[seen]).mean() > 0.5:
        quality *= np.nan_to_num(np.minimum(1.0, np.nanmedian(blur[seen]) / blur)) ** 2
    return quality
