"""Walls drawn as a picture, to be a layer of crops."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from napari_rvae import tables
from napari_rvae.errors import InputError
from napari_rvae.frames import Frames, as_frames

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["DRAWN", "add_wall_channel", "draw_walls", "measured_channels", "wall_mask"]

#: The channel of walls that are drawn.
DRAWN = "walls"

#: Points that are drawn for each site along its wall, over so many spacings.
_POINTS, _SPAN = 9, 1.2


def measured_channels(names: Iterable[str]) -> tuple[str, ...]:
    """Those of some channels that were measured: drawn walls are no image."""
    return tuple(name for name in names if name != DRAWN)


def wall_mask(sites: pd.DataFrame, frames: Any, *, width: float = 1.5) -> NDArray[np.float32]:
    """Draw walls as lines over the frames.

    Parameters
    ----------
    sites
        Sites along walls with ``normal_angle``, of one source; those of one ``wall_type`` only, to
        draw the others not.
    frames
        What they lie over.
    width
        Standard deviation of a line across the wall in px.

    Returns
    -------
    ndarray of shape (T, Y, X), float32
        1 on a wall, falling to 0 beside it.

    Raises
    ------
    InputError
        If the sites have no normals, or the width is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae import wall_mask
    >>> from napari_rvae.tables import make_sites
    >>> sites = make_sites(frame=0, y=[4.0, 8.0], x=[8.0, 8.0], normal_angle=np.zeros(2))
    >>> wall_mask(sites, np.zeros((16, 16)))[0, 6, [0, 8]].round(1).tolist()
    [0.0, 1.0]
    """
    table = tables.validate_sites(sites, need=["normal_angle"])
    movie = as_frames(frames)
    if not width > 0:
        raise InputError(f"width = {width}: give pixels, more than 0.")
    drawn = np.zeros((movie.n_frames, *movie.frame_shape), np.float32)
    for _, frame, rows in tables.group_rows(table):
        if 0 <= frame < movie.n_frames:
            drawn[frame] = draw_walls(table.iloc[rows], movie.frame_shape, width=width)
    return drawn


def draw_walls(
    sites: pd.DataFrame, shape: tuple[int, int], *, width: float = 1.5
) -> NDArray[np.float32]:
    """Draw the walls of one frame as lines (Y, X), as :func:`wall_mask` does.

    Parameters
    ----------
    sites
        Sites along the walls of one frame, with ``normal_angle``.
    shape
        Rows and columns (Y, X) of the picture.
    width
        Standard deviation of a line across the wall in px.
    """
    points, angle = sites[["y", "x"]].to_numpy(float), sites["normal_angle"].to_numpy(float)
    good = np.isfinite(points).all(1) & np.isfinite(angle)
    if not good.any():
        return np.zeros(shape, np.float32)
    points, angle = points[good], angle[good]
    near = np.asarray(cKDTree(points).query(points, min(2, len(points)))[0])
    step = float(np.median(near.reshape(len(points), -1)[:, -1]))
    along = np.stack([np.cos(angle), np.sin(angle)], 1)[:, None]
    steps = np.linspace(-0.5, 0.5, _POINTS) * _SPAN * step
    line = (points[:, None] + steps[:, None] * along).reshape(-1, 2)
    pixels = np.moveaxis(np.indices(shape), 0, -1).reshape(-1, 2)
    distance = cKDTree(line).query(pixels, distance_upper_bound=5 * width)[0]
    value = np.exp(-0.5 * (np.minimum(distance, 5 * width) / width) ** 2)
    value[~np.isfinite(distance)] = 0
    return np.asarray(value.reshape(shape), np.float32)


def add_wall_channel(
    frames: Any, sites: pd.DataFrame, *, name: str = DRAWN, width: float = 1.5
) -> Frames:
    """Add the walls, drawn as lines, to the frames as a further channel.

    :func:`~napari_rvae.extract_crops` draws the ferroelastic walls of its sites by itself; this is
    for grids, whose sites lie on no wall. In crops, the channel "walls" fades away from the site.

    Parameters
    ----------
    frames
        Frames (T, C, Y, X), or array-like.
    sites, width
        As of :func:`wall_mask`.
    name
        Name of the channel.

    Returns
    -------
    Frames
        The same frames with one channel more.

    Raises
    ------
    InputError
        If there is such a channel, or :func:`wall_mask` finds something wrong.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae import add_wall_channel
    >>> from napari_rvae.tables import make_sites
    >>> sites = make_sites(frame=0, y=[4.0, 8.0], x=[8.0, 8.0], normal_angle=np.zeros(2))
    >>> add_wall_channel(np.zeros((1, 16, 16)), sites).channels
    ('intensity', 'walls')
    """
    import dask.array as da

    movie = as_frames(frames)
    if name in movie.channels:
        raise InputError(f"There is a channel {name!r} already: give another name.")
    mask = da.from_array(wall_mask(sites, movie, width=width), chunks=(1, *movie.frame_shape))
    stack = movie.data if hasattr(movie.data, "dask") else da.from_array(movie.data, chunks="auto")
    if "t" not in movie.axis_labels:
        mask = mask[0]
    axis = 1 if "t" in movie.axis_labels else 0
    if "c" not in movie.axis_labels:
        stack = da.expand_dims(stack, axis)
    labels = tuple(a for a in ("t", "c", "y", "x") if a == "c" or a in movie.axis_labels)
    scale = dict(zip(movie.axis_labels, movie.scale, strict=True))
    units = dict(zip(movie.axis_labels, movie.units, strict=True))
    return dataclasses.replace(
        movie,
        data=da.concatenate([stack.astype(np.float32), da.expand_dims(mask, axis)], axis=axis),
        axis_labels=labels,
        scale=tuple(scale.get(a, 1.0) for a in labels),
        units=tuple(units.get(a, "pixel") for a in labels),
        channels=(*movie.channels, name),
    )
