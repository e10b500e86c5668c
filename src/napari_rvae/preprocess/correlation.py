"""Correlated noise: how alike the noise of pixels beside each other is."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from napari_rvae.preprocess.noise import fill_missing

__all__ = [
    "MAX_LAG",
    "UNKNOWN_NOISE",
    "NoiseCorrelation",
    "common_correlation",
    "noise_correlation",
]

#: Correlations are measured up to so many pixels.
MAX_LAG = 4

#: The band of frequencies is cut into so many cells, in each of which the median counts.
_CELLS = 16

#: Cycles per pixel across the direction looked at from which there is noise alone. An atom's
#: image of 1.5 px (standard deviation) has fallen to 2 % there.
_NOISE_ONLY = 0.3

#: Mean over median of the power of normal noise.
_MEDIAN = math.log(2)

#: Standard error of a correlation, times the root of the number of frequencies: of a median, and
#: of a window that makes neighbouring frequencies alike.
_SD = 2.7

#: Noise is correlated where a correlation exceeds this, and so many standard errors.
_LEAST, _SURE = 0.05, 4.0

#: Noise below this share of the frame's own spread is rounding.
_NOTHING = 1e-3


class NoiseCorrelation(NamedTuple):
    """Correlation of the noise between pixels 1, 2, ... apart along each axis.

    Parameters
    ----------
    along_y, along_x
        (MAX_LAG,); NaN where there is no noise to measure.
    sd
        Standard deviation of the noise of a pixel, in the units of the frame.
    error
        Standard error of each correlation.
    """

    along_y: NDArray[np.float64]
    along_x: NDArray[np.float64]
    sd: float
    error: float

    def autocorrelation(self) -> NDArray[np.float64]:
        """On the grid of the frame (2 K + 1, 2 K + 1), 1 in the middle."""
        lines = [np.r_[part[::-1], 1.0, part] for part in (self.along_y, self.along_x)]
        return np.outer(*lines)


#: Of pictures whose noise cannot be measured.
UNKNOWN_NOISE = NoiseCorrelation(
    np.full(MAX_LAG, np.nan), np.full(MAX_LAG, np.nan), math.nan, math.nan
)


def noise_correlation(image: NDArray[np.float64]) -> NoiseCorrelation:
    """Measure how noise is correlated, beneath whatever the frame shows.

    The power of a frame at frequencies too high along y for any atom is noise. Its medians in
    cells of the frequency along x, on which offsets of rows have no influence, are the spectrum
    of the noise along x, and the transform of that its correlation; likewise along y. The
    correlation of pixels (dy, dx) apart is taken for the product of both, as for noise that was
    blurred, interpolated, or read by a slow detector.

    Jitter of the scan counts as noise along x. Where atoms are narrower than 1.5 px (standard
    deviation), the picture itself counts in part.

    Parameters
    ----------
    image
        One frame (Y, X); NaN pixels take the median.

    Returns
    -------
    NoiseCorrelation
        NaN for frames without noise, and for those below 32 px along a side.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy import ndimage
    >>> from napari_rvae.preprocess.correlation import noise_correlation
    >>> white = np.random.default_rng(0).normal(size=(256, 256))
    >>> blurred = ndimage.uniform_filter1d(white, 2, axis=1)
    >>> bool(abs(noise_correlation(blurred).along_x[0] - 0.5) < 0.05)
    True
    """
    full = fill_missing(image)
    full = full - np.median(full)
    spread = float(np.abs(full).max())
    if min(image.shape) < 2 * _CELLS or spread == 0:
        return UNKNOWN_NOISE
    full = full / spread
    window = np.outer(*(np.hanning(n + 2)[1:-1] for n in full.shape))
    power = np.abs(fft.fft2(full * window)) ** 2 / (window**2).sum()
    (along_x, number), (along_y, _) = _spectrum(power), _spectrum(power.T)
    high = [np.abs(fft.fftfreq(n)) >= _NOISE_ONLY for n in power.shape]
    corner = float(np.median(power[np.ix_(*high)])) / _MEDIAN
    if not corner > 0 or corner < (_NOTHING * full.std()) ** 2:
        return UNKNOWN_NOISE
    return NoiseCorrelation(
        _lags(along_y),
        _lags(along_x),
        spread * math.sqrt(along_y.mean() * along_x.mean() / corner),
        _SD / math.sqrt(number),
    )


def common_correlation(frames: list[NoiseCorrelation]) -> NoiseCorrelation | None:
    """Mean correlation of the noise of several frames; None where it is white or unknown."""
    known = [one for one in frames if math.isfinite(one.sd)]
    if not known:
        return None
    along_y = np.mean([one.along_y for one in known], axis=0)
    along_x = np.mean([one.along_x for one in known], axis=0)
    error = float(np.median([one.error for one in known])) / math.sqrt(len(known))
    if np.abs([along_y, along_x]).max() <= max(_LEAST, _SURE * error):
        return None
    sd = float(np.median([one.sd for one in known]))
    return NoiseCorrelation(along_y, along_x, sd, error)


def _spectrum(power: NDArray[np.float64]) -> tuple[NDArray[np.float64], int]:
    """Spectrum of the noise along the second axis (_CELLS,), from how many frequencies."""
    rows = np.abs(fft.fftfreq(power.shape[0])) >= _NOISE_ONLY
    cell = np.rint(fft.fftfreq(power.shape[1]) * _CELLS).astype(int) % _CELLS
    noise = power[rows]
    medians = [np.median(noise[:, cell == number]) for number in range(_CELLS)]
    return np.array(medians) / _MEDIAN, noise.size


def _lags(spectrum: NDArray[np.float64]) -> NDArray[np.float64]:
    covariance = fft.ifft(spectrum).real
    return np.asarray(covariance[1 : MAX_LAG + 1] / covariance[0])
