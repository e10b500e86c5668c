"""Sites on a regular grid, for pictures without atoms or for dense maps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from napari_rvae.errors import InputError
from napari_rvae.frames import as_frames, as_region
from napari_rvae.tables import make_sites

__all__ = ["sample_grid"]


def sample_grid(frames: Any, *, step: float, region: Any = None, source: str = "") -> pd.DataFrame:
    """Put sites on a square grid over every frame.

    Parameters
    ----------
    frames
        Frames or array-like (Y, X), (T, Y, X), (T, C, Y, X).
    step
        Distance between sites in pixels, 1 or more.
    region
        Bool (Y, X) or (T, Y, X), True where sites may lie.
    source
        Name of the movie; the frames' own name when empty.

    Returns
    -------
    DataFrame
        Sites table of kind "grid", centred in the frame.

    Raises
    ------
    InputError
        If the step is below one pixel or larger than the frame.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae import sample_grid
    >>> len(sample_grid(np.zeros((64, 64)), step=16))
    16
    """
    movie = as_frames(frames)
    rows, columns = movie.frame_shape
    if not 1 <= step <= min(rows, columns):
        raise InputError(f"step = {step}: choose from 1 to {min(rows, columns)} pixels.")
    mask = as_region(region, movie)
    lines = [(n - 1 - step * (n_steps := int((n - 1) // step))) / 2 + step * np.arange(n_steps + 1)
             for n in (rows, columns)]  # fmt: skip
    y, x = (axis.ravel() for axis in np.meshgrid(*lines, indexing="ij"))
    frame = np.repeat(np.arange(movie.n_frames), y.size)
    y, x = np.tile(y, movie.n_frames), np.tile(x, movie.n_frames)
    if mask is not None:
        where = (np.rint(y).astype(int), np.rint(x).astype(int))
        keep = mask[where] if mask.ndim == 2 else mask[(frame, *where)]
        frame, y, x = frame[keep], y[keep], x[keep]
    return make_sites(frame=frame, y=y, x=x, kind="grid", source=source or movie.name)
