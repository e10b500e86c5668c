"""Variance stabilisation: make noise that grows with the signal the same everywhere."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_rvae.errors import InputError
from napari_rvae.preprocess.noise import NoiseCurve

__all__ = ["stabilise_variance"]


def stabilise_variance(
    image: NDArray[np.float64], curve: NoiseCurve, *, level: float
) -> NDArray[np.float64]:
    """Apply the generalised Anscombe transform, scaled to slope one at a level.

    With the variance gain x signal + floor, the noise of f(z) = 2 / gain x sqrt(gain z +
    3/8 gain^2 + floor) is nearly 1 wherever there are more than a few counts. M. Makitalo,
    A. Foi, IEEE Transactions on Image Processing 22, 91 (2013), eq. 2, where floor is the variance
    of the readout noise less gain x offset: neither has to be known by itself. Scaled here so that
    values about `level` keep their unit, and the noise is everywhere what it was there.

    Only for a gain that was measured on the frames (:attr:`NoiseCurve.is_known`): grey values of
    an 8-bit file are no counts. Not for probability maps or rendered atoms.

    Parameters
    ----------
    image
        One frame (Y, X), offsets of rows taken off; NaN stays.
    curve
        Its noise, as :func:`noise_curve` measures it.
    level
        Signal that stays as it is, such as the median of the movie.

    Returns
    -------
    ndarray of shape (Y, X)
        Values in the units of the frame.

    Raises
    ------
    InputError
        If the gain is not positive, or there is no noise at the level.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae.preprocess.noise import NoiseCurve
    >>> from napari_rvae.preprocess.variance import stabilise_variance
    >>> rng = np.random.default_rng(0)
    >>> frame = rng.poisson(np.repeat([[20.0], [80.0]], 10_000, axis=1)).astype(float)
    >>> stabilise_variance(frame, NoiseCurve(1.0, 0.0), level=50.0).std(axis=1).round(0)
    array([7., 7.])
    """
    if not curve.gain > 0:
        raise InputError("There is no gain: leave the variance as it is.")
    # with x the variance at a signal, f = 2 / gain sqrt(x), whose slope is 1 / sqrt(x)
    offset = 0.375 * curve.gain**2 + curve.floor
    usual = curve.gain * level + offset
    if not usual > 0:
        raise InputError(f"At the level {level:g} there is no noise: give a usual signal.")
    root = np.sqrt(np.maximum(curve.gain * image + offset, 0.0) / usual)
    return np.asarray(level + 2 * usual / curve.gain * (root - 1))


def common_curve(curves: list[NoiseCurve]) -> NoiseCurve | None:
    """Median noise of the frames of a movie; None where it is not known of most of them."""
    known = [curve for curve in curves if curve.is_known]
    if not known or 2 * len(known) < len(curves):
        return None
    gain, floor = np.median([(curve.gain, curve.floor) for curve in known], axis=0)
    return NoiseCurve(float(gain), float(floor))
