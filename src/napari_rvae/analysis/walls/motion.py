"""How far each piece of a wall moves to the next frame, along its normal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_rvae import tables
from napari_rvae.analysis.walls.pieces import WallSites, crossings, spacing_of
from napari_rvae.errors import InputError
from napari_rvae.frames import as_frames

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["wall_motion"]

#: Cosine of the angle between the normals of a wall and of itself a frame later, at least.
_ALIGNED = 0.3

#: A line crosses its own wall so near to its site, in spacings.
_OWN = 0.01


def wall_motion(sites: pd.DataFrame, frames: Any = None, *, max_step: float = 20.0) -> pd.DataFrame:
    """Signed displacement of walls from each frame to the next, along their normal.

    From each site a line is drawn along the normal; where a wall of the same kind in the next
    frame, a smooth curve through its sites, crosses this line nearest to the site, the site's
    piece of wall is taken to be. A wall whose polar normal points the other way is another wall.
    No piece of wall passes another one: where one lies on the way, in this frame or in the next,
    as where walls merge, the site's piece is gone.

    Parameters
    ----------
    sites
        Sites along walls, with ``normal_angle`` and, where they have it, ``normal_period``,
        ``curvature``, ``wall_type`` and ``wall_id``, which says what sites hang together. Drift of
        the specimen counts as motion: take it off first
        (:func:`~napari_rvae.register_scans`).
    frames
        Frames that tell the times, for the speed. Of one source.
    max_step
        Largest displacement in pixels.

    Returns
    -------
    DataFrame
        One row for each site, in order: ``site_id``; ``displacement`` in px, positive where the
        wall moves the way its normal points, so that the + domain shrinks; ``speed`` in px per
        second, NaN without times. NaN in the last frame, where no wall is within reach, and where
        it is not certain which one it is.

    Raises
    ------
    InputError
        If the sites have no normals, or the frames fit none of them.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae import wall_motion
    >>> from napari_rvae.tables import make_sites
    >>> y = np.arange(0, 20, 2.0)
    >>> sites = make_sites(frame=np.repeat([0, 1], 10), y=np.r_[y, y], x=np.repeat([5.0, 6.5], 10),
    ...                    kind="wall", normal_angle=np.zeros(20))
    >>> wall_motion(sites)["displacement"][:3].round(6).tolist()
    [1.5, 1.5, 1.5]
    """
    table = tables.validate_sites(sites, need=["normal_angle"])
    if not max_step > 0:
        raise InputError(f"max_step = {max_step}: give pixels, more than 0.")
    times = _times(frames, table)
    moved, speed = np.full((2, len(table)), np.nan)
    kinds = table["wall_type"] if "wall_type" in table else pd.Series("", index=table.index)
    for kind in kinds.unique():
        chosen = np.flatnonzero((kinds == kind).to_numpy())
        walls = {
            (source, frame): _wall(table, chosen[rows])
            for source, frame, rows in tables.group_rows(table.iloc[chosen])
        }
        for (source, frame), wall in walls.items():
            later = walls.get((source, frame + 1))
            if later is not None:
                step = _steps(wall, later, max_step)
                moved[wall.rows] = step
                speed[wall.rows] = step / (times[frame + 1] - times[frame])
    return pd.DataFrame(
        {"site_id": table["site_id"].to_numpy(), "displacement": moved, "speed": speed}
    )


def _times(frames: Any, table: pd.DataFrame) -> dict[int, float]:
    """Time of every frame in seconds; NaN where it is not known."""
    numbers = range(int(table["frame"].max()) + 2 if len(table) else 1)
    if frames is None:
        return dict.fromkeys(numbers, math.nan)
    movie = as_frames(frames)
    if len(table) and int(table["frame"].max()) >= movie.n_frames:
        raise InputError(
            f"The sites lie in frames up to {table['frame'].max()}, but there are "
            f"{movie.n_frames} frames."
        )
    time = movie.table["time"].to_numpy(float)
    gaps = np.diff(time)
    if np.isfinite(gaps).any() and not (gaps[np.isfinite(gaps)] > 0).all():
        raise InputError("The times of the frames do not grow: correct the frames table.")
    return dict(enumerate(time))


def _wall(table: pd.DataFrame, rows: NDArray[np.int64]) -> WallSites:
    part = table.iloc[rows]
    angle = part["normal_angle"].to_numpy(float)
    good = np.isfinite(part[["y", "x", "normal_angle"]].to_numpy(float)).all(1)
    bend = part["curvature"].to_numpy(float) if "curvature" in part else np.zeros(rows.size)
    period = part["normal_period"] if "normal_period" in part else pd.Series([2 * math.pi])
    wall = part["wall_id"].to_numpy() if "wall_id" in part else np.zeros(rows.size)
    return WallSites(
        rows=rows[good],
        point=part[["y", "x"]].to_numpy(float)[good],
        normal=np.stack([-np.sin(angle), np.cos(angle)], 1)[good],
        bend=np.nan_to_num(bend[good]),
        wall=np.nan_to_num(np.asarray(wall, float)[good], nan=-1.0).astype(np.int64),
        polar=not (period < 1.5 * math.pi).any(),
    )


def _steps(wall: WallSites, later: WallSites, most: float) -> Array:
    """Displacement (N,) of the sites of a wall; NaN where it is not found again."""
    count = len(wall.point)
    step = np.full(count, np.nan)
    if len(later.point) < 2 or not count:
        return step
    then = crossings(wall, later, most)
    aligned = then.aligned if wall.polar else np.abs(then.aligned)
    same = np.flatnonzero(aligned > _ALIGNED)
    same = same[np.argsort(-np.abs(then.place[same]), kind="stable")]
    step[then.line[same]] = then.place[same]  # the nearest is written last
    step[_passes(step, then.line, then.place)] = np.nan
    if count > 1:
        now = crossings(wall, wall, most)
        other = np.abs(now.place) > _OWN * spacing_of(wall)
        step[_passes(step, now.line[other], now.place[other])] = np.nan
    return step


def _passes(step: Array, line: NDArray[np.int64], place: Array) -> NDArray[np.int64]:
    """Sites whose steps go further than a place at which their line crosses a wall."""
    way = step[line]
    return line[(place * way > 0) & (np.abs(place) < np.abs(way) * (1 - 1e-9))]
