"""Turn and move pictures: from the frame to the canonical picture, and back."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_rvae.crops.vectors import turn_components
from napari_rvae.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]
    Pictures = NDArray[np.float32]

__all__ = ["align_crops", "as_pictures", "find_turns", "place_pictures"]

#: Directions that are tried, and how often the mean is made anew.
_DIRECTIONS, _ROUNDS = 120, 3


def align_crops(
    images: ArrayLike,
    angle: ArrayLike,
    shift: ArrayLike = (0.0, 0.0),
    *,
    vectors: Sequence[tuple[int, int]] = (),
) -> Pictures:
    """Turn crops back by their angle, about their shifted centre.

    Parameters
    ----------
    images
        Crops (M, C, S, S).
    angle
        Angles, radians, one or (M,): those of a latents table.
    shift
        Where the centres lie, (y, x) in pixels of the grid, (2,) or (M, 2).
    vectors
        Channels that are the y and x components of a vector, which turns as well:
        ``crops.vectors``.

    Returns
    -------
    ndarray of float32 (M, C, S, S)
        By cubic interpolation; NaN beyond the edge of the crop.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae.analysis.poses import align_crops
    >>> right = np.zeros((1, 1, 5, 5))
    >>> right[0, 0, 2, 4] = 1
    >>> int(align_crops(right, np.pi / 2)[0, 0, 4, 2])  # below, by a quarter turn back
    1
    """
    values = as_pictures(images)
    turns, shifts = _poses(len(values), angle, shift)
    matrices = [_turn(a) for a in turns]
    return turn_components(_sampled(values, matrices, list(shifts), math.nan), -turns, vectors)


def place_pictures(
    pictures: ArrayLike,
    angle: ArrayLike,
    shift: ArrayLike = (0.0, 0.0),
    *,
    vectors: Sequence[tuple[int, int]] = (),
) -> Pictures:
    """Turn canonical pictures by angles and move them: the inverse of :func:`align_crops`.

    Parameters
    ----------
    pictures
        Pictures (M, C, S, S).
    angle
        Angles, radians, one or (M,); an offset (dy, dx) goes to (dy cos a - dx sin a,
        dx cos a + dy sin a), y down.
    shift
        Where the centres go to, (y, x) in pixels of the grid, (2,) or (M, 2).
    vectors
        Channels that are the y and x components of a vector, which turns as well.

    Returns
    -------
    ndarray of float32 (M, C, S, S)
        By cubic interpolation; what comes from beyond the edge repeats the edge.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae.analysis.poses import place_pictures
    >>> right = np.zeros((1, 1, 5, 5))
    >>> right[0, 0, 2, 4] = 1
    >>> int(place_pictures(right, np.pi / 2)[0, 0, 0, 2])  # above
    1
    """
    values = as_pictures(pictures)
    turns, shifts = _poses(len(values), angle, shift)
    matrices = [_turn(-a) for a in turns]
    offsets = [-matrix @ move for matrix, move in zip(matrices, shifts, strict=True)]
    return turn_components(_sampled(values, matrices, offsets, None), turns, vectors)


def find_turns(images: ArrayLike) -> Array:
    """Angles that lay crops on one another, where no model knows them.

    Parameters
    ----------
    images
        Crops (M, C, S, S) of one kind of surroundings; those with NaN get NaN.

    Returns
    -------
    ndarray (M,)
        Radians in (-pi, pi], in steps of 3 degrees, for :func:`align_crops`: those that match the
        mean of the turned crops best, which is made anew three times. The zero means nothing.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae.analysis.poses import find_turns, place_pictures
    >>> picture = np.random.default_rng(0).normal(size=(1, 1, 9, 9)).repeat(3, 0)
    >>> turns = find_turns(place_pictures(picture, [0.0, np.pi / 2, np.pi]))
    >>> np.round(np.degrees(turns - turns[0])).tolist()
    [0.0, 90.0, 180.0]
    """
    values = as_pictures(images)
    turns = np.full(len(values), np.nan)
    good = np.isfinite(values).all(axis=(1, 2, 3))
    if not good.any():
        return turns
    spectra = _polar_spectra(values[good])  # (M, rings, orders)
    strength = np.abs(spectra)
    # the start is the crop that is most like the others, whatever way each lies
    start = int(np.argmin(((strength - strength.mean(0)) ** 2).sum((1, 2))))
    mean, orders = spectra[start], np.arange(spectra.shape[-1])
    found = np.zeros(len(spectra))
    for _ in range(_ROUNDS):
        match = np.fft.irfft((spectra * mean.conj()).sum(1), _DIRECTIONS)
        found = match.argmax(1) * (2 * math.pi / _DIRECTIONS)
        mean = (spectra * np.exp(1j * found[:, None] * orders)[:, None]).mean(0)
    turns[good] = np.pi - (np.pi - found) % (2 * np.pi)
    return turns


def _polar_spectra(values: Array) -> NDArray[np.complex128]:
    """Angular Fourier coefficients on rings about the middle (M, C * R, K), weighted by area."""
    side = values.shape[-1]
    middle = (side - 1) / 2
    radius = np.arange(1.0, middle + 1e-9)
    phi = np.arange(_DIRECTIONS) * (2 * math.pi / _DIRECTIONS)
    y, x = middle - radius[:, None] * np.sin(phi), middle + radius[:, None] * np.cos(phi)
    rings = [
        ndimage.map_coordinates(channel, (y, x), order=1, mode="nearest")
        for channel in values.reshape(-1, side, side)
    ]
    weighted = np.stack(rings) * np.sqrt(radius)[:, None]
    spectra = np.fft.rfft(weighted, axis=-1)
    return spectra.reshape(len(values), -1, spectra.shape[-1])


def _sampled(
    values: Array, matrices: list[Array], offsets: list[Array], outside: float | None
) -> Pictures:
    """Pictures whose value at o is that of the given ones at matrix @ o + offset."""
    middle = (values.shape[-1] - 1) / 2
    out = np.empty(values.shape, np.float32)
    for picture, matrix, offset, target in zip(values, matrices, offsets, out, strict=True):
        start = middle - matrix @ np.full(2, middle) + offset
        for channel, place in zip(picture, target, strict=True):
            place[:] = ndimage.affine_transform(
                channel,
                matrix,
                start,
                order=3,
                mode="nearest" if outside is None else "constant",
                cval=0.0 if outside is None else outside,
            )
    return out


def _turn(angle: float) -> Array:
    """Matrix that turns offsets (dy, dx), y down, counter-clockwise on the screen."""
    c, s = math.cos(angle), math.sin(angle)
    return np.round(np.array([[c, -s], [s, c]]), 12)  # a quarter turn hits the pixels


def _poses(count: int, angle: ArrayLike, shift: ArrayLike) -> tuple[Array, Array]:
    try:
        return (
            np.broadcast_to(np.asarray(angle, float), (count,)),
            np.broadcast_to(np.asarray(shift, float), (count, 2)),
        )
    except ValueError:
        raise InputError(
            f"There are {count} pictures: give as many angles and shifts (y, x), or one."
        ) from None


def as_pictures(pictures: ArrayLike) -> Array:
    """Pictures (M, C, S, S) as floats; InputError for another shape."""
    values = np.asarray(pictures, float)
    if values.ndim != 4 or values.shape[2] != values.shape[3]:
        raise InputError(f"Pictures of shape {values.shape}: give (M, C, S, S).")
    return values
