"""Values at sites -> pictures over the frames."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.interpolate import LinearNDInterpolator
from scipy.spatial import QhullError, cKDTree

from napari_rvae import tables
from napari_rvae.errors import InputError
from napari_rvae.frames import as_frames

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

__all__ = ["ANGLE_COLUMNS", "latent_map"]

#: Columns that are directions: the mean of 179 and -179 degrees is 180, not 0.
ANGLE_COLUMNS = ("angle", "lattice_angle", "normal_angle")


def latent_map(
    sites: pd.DataFrame,
    column: str,
    frames: Any,
    *,
    frame: int | None = None,
    source: str | None = None,
    symmetry: int | None = None,
    reach: float = 1.2,
    neighbour_distance: float | None = None,
    lazy: bool = False,
) -> Any:
    """Draw a column of the sites as a picture over the frames.

    Numbers are interpolated linearly between the sites, angles on the circle; whole numbers
    (units, tracks) take the value of the nearest site. Sites without a value are left out.

    Parameters
    ----------
    sites
        Sites table with `column`.
    column
        Name of a column of numbers. For ``angle``, ``lattice_angle`` and ``normal_angle`` the
        values are directions in radians.
    frames
        What the picture lies over: Frames, an array-like of shape (Y, X), (T, Y, X) or
        (T, C, Y, X), or such a shape as a tuple.
    frame
        Draw this frame only.
    source
        Draw the sites of this source; needed where the table holds several.
    symmetry
        Order n of the symmetry of an angle: it is interpolated on n times the angle and returned
        in (-pi/n, pi/n]. 1 for the columns named above; any number makes a column an angle.
    reach
        Pixels farther than this from every site are NaN; in neighbour distances. A little more
        than 1, the distance of the middle of a honeycomb's ring from its atoms.
    neighbour_distance
        Nearest-neighbour distance in pixels; measured when left out.
    lazy
        Return a dask array with one frame a chunk, computed when it is looked at.

    Returns
    -------
    ndarray or dask array, float32
        (T, Y, X), or (Y, X) for one image or one frame. NaN where there is no site.

    Raises
    ------
    InputError
        If the column is missing or holds no numbers, if the table holds several sources and none
        is named, if no neighbour distance can be measured, or if there is no such frame.

    Examples
    --------
    >>> from napari_rvae import latent_map
    >>> from napari_rvae.tables import make_sites
    >>> sites = make_sites(frame=0, y=[2, 2, 8, 8], x=[2, 8, 2, 8], z0=[0.0, 1.0, 0.0, 1.0])
    >>> picture = latent_map(sites, "z0", (11, 11))
    >>> picture.shape, float(picture[5, 5])
    ((11, 11), 0.5)
    """
    n_frames, shape = _picture_shape(frames)
    if symmetry is None and column in ANGLE_COLUMNS:
        symmetry = 1
    painter = _Painter(
        _one_source(sites, column, source), column, shape, symmetry, reach, neighbour_distance
    )
    if frame is not None:
        if not 0 <= frame < (n_frames or 1):
            raise InputError(f"There is no frame {frame}: there are {n_frames or 1}.")
        numbers = [frame]
    else:
        numbers = list(range(n_frames or 1))
    single = frame is not None or n_frames is None
    if lazy:
        return _lazy_stack(painter, numbers, single=single)
    if single:
        return painter.paint(numbers[0])
    stack = np.empty((len(numbers), *shape), np.float32)
    for number in numbers:
        stack[number] = painter.paint(number)
    return stack


def _picture_shape(frames: Any) -> tuple[int | None, tuple[int, int]]:
    """Number of frames (None for one image) and shape of a frame."""
    if isinstance(frames, tuple) and all(isinstance(n, (int, np.integer)) for n in frames):
        if len(frames) not in (2, 3, 4) or min(frames) < 1:
            raise InputError(f"{frames} is no shape: give (Y, X), (T, Y, X) or (T, C, Y, X).")
        rows, columns = frames[-2:]
        return (None if len(frames) == 2 else int(frames[0])), (int(rows), int(columns))
    movie = as_frames(frames)
    return (movie.n_frames if "t" in movie.axis_labels else None), movie.frame_shape


def _one_source(sites: pd.DataFrame, column: str, source: str | None) -> pd.DataFrame:
    """Sites of one source, after the checks."""
    sites = tables.validate_sites(sites, need=[column])
    if sites[column].dtype.kind not in "fiub":
        raise InputError(
            f"Column {column!r} is of type {sites[column].dtype}: a map needs numbers."
        )
    names = sites["source"].unique()
    if source is not None:
        if source not in names:
            raise InputError(f"There is no source {source!r}: there are {', '.join(names)}.")
        return sites[sites["source"] == source]
    if len(names) > 1:
        raise InputError(f"The table holds {len(names)} sources: name one, source={names[0]!r}.")
    return sites


class _Painter:
    """Draws one frame at a time."""

    def __init__(
        self,
        sites: pd.DataFrame,
        column: str,
        shape: tuple[int, int],
        symmetry: int | None,
        reach: float,
        neighbour_distance: float | None,
    ) -> None:
        if symmetry is not None and symmetry < 1:
            raise InputError(f"symmetry = {symmetry}: the order of a symmetry is 1 or more.")
        distance = neighbour_distance
        if distance is None:
            distance = tables.neighbour_distance(sites)
            if not math.isfinite(distance) and len(sites):
                raise InputError(
                    "No frame has three sites, so the neighbour distance is unknown: "
                    "give neighbour_distance."
                )
        self.shape, self._symmetry = shape, symmetry
        self._reach = reach * distance
        self._nearest = sites[column].dtype.kind in "iub" and symmetry is None
        values = sites[column].to_numpy(float)
        if sites[column].dtype.kind == "i" and symmetry is None:
            values = np.where(values == -1, np.nan, values)  # -1 = none
        self._points = sites[["y", "x"]].to_numpy(float)
        self._values = values
        self._rows = {frame: rows for _, frame, rows in tables.group_rows(sites)}

    def paint(self, frame: int) -> NDArray[np.float32]:
        """Picture (Y, X) of one frame."""
        picture = np.full(self.shape, np.nan, np.float32)
        rows = self._rows.get(frame, np.empty(0, np.int64))
        known = np.isfinite(self._points[rows]).all(1)
        if not self._nearest:  # a site without a number is a gap to bridge, not a place of its own
            known &= np.isfinite(self._values[rows])
        points, values = self._points[rows[known]], self._values[rows[known]]
        if not len(points):
            return picture
        pixels = np.moveaxis(np.indices(self.shape), 0, -1).reshape(-1, 2)
        found = cKDTree(points).query(pixels, distance_upper_bound=self._reach)
        distance, nearest = map(np.asarray, found)
        near = np.isfinite(distance)
        pixels, nearest = pixels[near], nearest[near]
        if self._nearest:
            drawn = values[nearest]
        elif self._symmetry is None:
            drawn = _interpolate(points, values[:, None], pixels, nearest)[:, 0]
        else:
            n = self._symmetry
            arrows = np.stack([np.cos(n * values), np.sin(n * values)], axis=1)
            arrows = _interpolate(points, arrows, pixels, nearest)
            drawn = tables.fold_angle(np.arctan2(arrows[:, 1], arrows[:, 0]) / n, n)
        picture.reshape(-1)[near] = drawn
        return picture


def _interpolate(
    points: NDArray[np.float64],
    values: NDArray[np.float64],
    pixels: NDArray[np.int64],
    nearest: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Values (P, K) at the pixels (P, 2); beyond the outermost sites those of the nearest."""
    drawn = values[nearest]
    try:
        between = LinearNDInterpolator(points, values)(pixels)
    except (QhullError, ValueError):  # fewer than three sites, or all on one line
        return drawn
    return np.where(np.isfinite(between), between, drawn)


def _lazy_stack(painter: _Painter, numbers: list[int], *, single: bool) -> Any:
    """Dask array of the pictures, one frame a chunk."""
    import dask
    import dask.array as da

    draw = dask.delayed(painter.paint, pure=False)
    pictures = [
        da.from_delayed(draw(number), shape=painter.shape, dtype=np.float32) for number in numbers
    ]
    return pictures[0] if single else da.stack(pictures)
