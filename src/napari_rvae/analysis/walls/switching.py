"""What has switched from frame to frame, and where new domains begin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import ndimage

from napari_rvae.errors import InputError
from napari_rvae.frames import as_frames

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_rvae.frames import Frames

    Array = NDArray[np.float64]

__all__ = ["nucleation_sites", "polarity", "switched_area"]

#: A new domain whose pixels lie so near to one of its sign in the frame before has grown from it.
_GROWN = 2


def polarity(response: Any, *, smooth: float) -> tuple[Frames, Array]:
    """Frames of a signed response, and the response (T, Y, X) smoothed, about -1 to 1.

    Parameters
    ----------
    response
        What :func:`~napari_rvae.signed_response` gives, or an array (T, Y, X) of a response with a
        sign; of several channels "response" or the first.
    smooth
        Standard deviation of the Gaussian in px.

    Raises
    ------
    InputError
        If the response is zero or missing everywhere, or `smooth` is negative.
    """
    if not smooth >= 0:
        raise InputError(f"smooth = {smooth}: give pixels, 0 or more.")
    movie = as_frames(response)
    channel = "response" if "response" in movie.channels else 0
    found = []
    for frame in range(movie.n_frames):
        image = movie.frame(frame, channel)
        known = np.isfinite(image).astype(float)
        weight = ndimage.gaussian_filter(known, smooth)
        values = ndimage.gaussian_filter(np.nan_to_num(image), smooth)
        found.append(np.where(known > 0, values / np.maximum(weight, 1e-6), np.nan))
    stack = np.stack(found)
    level = float(np.nanmedian(np.abs(stack))) if np.isfinite(stack).any() else 0.0
    if not level > 0:
        raise InputError("The response is zero or missing everywhere: there are no domains.")
    return movie, np.clip(stack / level, -1.0, 1.0)


def switched_area(response: Any, *, smooth: float = 1.0) -> pd.DataFrame:
    """Area of the positive domains in every frame, and what has switched since the one before.

    Parameters
    ----------
    response
        What :func:`~napari_rvae.signed_response` gives, or an array (T, Y, X).
    smooth
        Standard deviation of a Gaussian in px against noise.

    Returns
    -------
    DataFrame
        One row per frame: ``frame``; ``time``, s, and ``bias``, V, NaN where unknown; ``area`` of
        the positive domains in px^2; ``share`` of the frame, 0 to 1; ``switched_up`` and
        ``switched_down``, px^2 that turned positive and negative since the frame before, NaN in
        the first. Missing pixels count in neither.

    Raises
    ------
    InputError
        If the response is zero or missing everywhere.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae import switched_area
    >>> response = -np.ones((2, 32, 32))
    >>> response[0, :, :8] = response[1, :, :12] = 1
    >>> switched_area(response)["area"].round().tolist()
    [256.0, 384.0]
    """
    movie, sign = polarity(response, smooth=smooth)
    known = np.isfinite(sign)
    up = sign > 0
    both = known[1:] & known[:-1]
    nan = np.array([np.nan])
    area = up.sum((1, 2)).astype(float)
    return pd.DataFrame(
        {
            "frame": np.arange(movie.n_frames, dtype=np.int64),
            "time": movie.table["time"].to_numpy(float),
            "bias": movie.table["bias"].to_numpy(float),
            "area": area,
            "share": area / np.maximum(known.sum((1, 2)), 1),
            "switched_up": np.r_[nan, (up[1:] & ~up[:-1] & both).sum((1, 2))],
            "switched_down": np.r_[nan, (~up[1:] & up[:-1] & both).sum((1, 2))],
        }
    )


def nucleation_sites(
    response: Any, *, smooth: float = 1.0, least_radius: float = 3.0
) -> pd.DataFrame:
    """Domains that are there in one frame, with none of their sign at their place before.

    Parameters
    ----------
    response
        What :func:`~napari_rvae.signed_response` gives, or an array (T, Y, X).
    smooth
        Standard deviation of a Gaussian in px against noise.
    least_radius
        Smaller areas, as radius of a disc in px, are noise.

    Returns
    -------
    DataFrame
        One row per new domain: ``frame`` in which it is first seen, ``y``, ``x`` of its middle in
        px, ``area`` in px^2 there, ``sign`` 1 or -1, ``at_border`` (bool: it touches the edge of
        the frame, and may have grown in from outside).

    Raises
    ------
    InputError
        If the response is zero or missing everywhere.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae import nucleation_sites
    >>> response = -np.ones((2, 32, 32))
    >>> response[1, 10:21, 12:23] = 1
    >>> nucleation_sites(response)[["frame", "y", "x", "sign"]].round().to_numpy().tolist()
    [[1.0, 15.0, 17.0, 1.0]]
    """
    _, sign = polarity(response, smooth=smooth)
    rows = []
    for frame in range(1, len(sign)):
        for value in (1, -1):
            now, before = value * sign[frame] > 0, value * sign[frame - 1] > 0
            labels, count = ndimage.label(now)
            near = ndimage.binary_dilation(before | np.isnan(sign[frame - 1]), iterations=_GROWN)
            old = np.unique(labels[near])
            for number in np.setdiff1d(np.arange(1, count + 1), old):
                y, x = np.nonzero(labels == number)
                if y.size < np.pi * least_radius**2:
                    continue
                last = np.array(now.shape) - 1
                edge = bool(min(y.min(), x.min()) == 0 or y.max() == last[0] or x.max() == last[1])
                rows.append((frame, y.mean(), x.mean(), float(y.size), value, edge))
    names = ["frame", "y", "x", "area", "sign", "at_border"]
    table = pd.DataFrame(rows, columns=names)
    return table.astype(
        {
            "frame": "int64",
            "y": float,
            "x": float,
            "area": float,
            "sign": "int64",
            "at_border": bool,
        }
    )
