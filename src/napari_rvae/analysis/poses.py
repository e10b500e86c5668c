"""Turn and move pictures: from the frame to the canonical picture, and back."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_rvae.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]
    Pictures = NDArray[np.float32]

__all__ = ["align_crops", "as_pictures", "place_pictures"]


def align_crops(images: ArrayLike, angle: ArrayLike, shift: ArrayLike = (0.0, 0.0)) -> Pictures:
    """Turn crops back by their angle, about their shifted centre.

    Parameters
    ----------
    images
        Crops (M, C, S, S).
    angle
        Angles, radians, one or (M,): those of a latents table.
    shift
        Where the centres lie, (y, x) in pixels of the grid, (2,) or (M, 2).

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
    return _sampled(values, matrices, list(shifts), math.nan)


def place_pictures(
    pictures: ArrayLike, angle: ArrayLike, shift: ArrayLike = (0.0, 0.0)
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
    return _sampled(values, matrices, offsets, None)


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
