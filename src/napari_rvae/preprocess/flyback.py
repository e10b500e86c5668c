"""Columns that the fly-back of the probe has spoilt, at the start of the rows."""

from __future__ import annotations

import math
import warnings

import numpy as np
from numpy.typing import NDArray

__all__ = ["flyback_columns"]

#: The fly-back ends within this share of the row; what goes on for longer is the specimen.
_LONGEST = 0.125

#: Columns behind this share of the row tell what is usual.
_USUAL = 0.25

#: What is farther outside the usual range, in units of that range, is spoilt.
_BEYOND = 0.5

#: And so many standard errors: the range of few columns of noise is narrow by chance now and then.
_SURE = 4.0

_LEAST_SIDE = 32


def flyback_columns(image: NDArray[np.float64]) -> int:
    """Count the columns at the start of the rows that the probe's fly-back has spoilt.

    While the probe still settles, rows begin too bright or too dark, smeared along the row, or
    shaken. So the columns' means, the spread along them, and their differences from the next
    column are compared with those of the rest of the frame, whose whole range they must leave by
    half of it, and by four standard errors: a lattice, a ramp or an edge of the specimen are no
    fly-back.

    Parameters
    ----------
    image
        One frame (Y, X); NaN pixels are left out, and columns of NaN alone count as spoilt.

    Returns
    -------
    int
        Up to the last one that stands out: 0 where there are none, where they are more than an
        eighth of the row, and for frames of less than 32 pixels along a side.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae.preprocess import flyback_columns
    >>> frame = np.random.default_rng(0).normal(100, 5, (128, 128))
    >>> flyback_columns(frame)
    0
    >>> frame[:, :5] += [60, 45, 34, 25, 19]
    >>> flyback_columns(frame)
    5
    """
    if min(image.shape) < _LEAST_SIDE:
        return 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # columns of NaN alone
        mean, spread = np.nanmean(image, axis=0), np.nanstd(image, axis=0)
        step = np.nanstd(np.diff(image, axis=1), axis=0)
    features = np.stack([mean[:-1], spread[:-1], step])
    usual = features[:, int(_USUAL * features.shape[1]) :]
    if not np.isfinite(usual).any(1).all():
        return 0
    low, high = np.nanmin(usual, 1, keepdims=True), np.nanmax(usual, 1, keepdims=True)
    margin = np.maximum(_BEYOND * (high - low), _SURE * _standard_errors(usual, len(image)))
    spoilt = ~((features >= low - margin) & (features <= high + margin)).all(0)
    where = np.flatnonzero(spoilt[: int(_USUAL * spoilt.size)])
    count = int(where[-1]) + 1 if where.size else 0
    return count if count <= _LONGEST * image.shape[1] else 0


def _standard_errors(features: NDArray[np.float64], n_rows: int) -> NDArray[np.float64]:
    """Standard errors (3, 1) of a column's mean, spread and step, as of independent pixels."""
    _, spread, step = np.nanmedian(features, axis=1).tolist()
    alone = np.array([[spread], [spread / math.sqrt(2)], [step / math.sqrt(2)]])
    return np.asarray(alone / math.sqrt(n_rows))
