"""How far each piece of a wall moves to the next frame, along its normal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from napari_rvae import tables
from napari_rvae.errors import InputError
from napari_rvae.frames import as_frames

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["wall_motion"]

#: Sites of the next frame that are looked at for each site.
_NEAREST = 48

#: Cosine of the angle between the normals of a wall and of itself a frame later, at least.
_ALIGNED = 0.3

#: A site of the next frame stands for the wall up to so many spacings of the sites beside it.
_REACH = 1.5


class _Wall(NamedTuple):
    """Sites of one kind of wall in one frame."""

    rows: NDArray[np.int64]  # of the table
    point: Array  # (N, 2)
    normal: Array  # (N, 2): dy, dx
    bend: Array  # (N,): 1/px, positive towards the normal
    polar: bool


def wall_motion(sites: pd.DataFrame, frames: Any = None, *, max_step: float = 20.0) -> pd.DataFrame:
    """Signed displacement of walls from each frame to the next, along their normal.

    From each site a line is drawn along the normal; where the wall of the same kind in the next
    frame, continued between its sites with its curvature, crosses this line nearest to the site,
    the site's piece of wall is taken to be. A wall whose polar normal points the other way is
    another wall.

    Parameters
    ----------
    sites
        Sites along walls, with ``normal_angle`` and, where they have it, ``normal_period``,
        ``curvature`` and ``wall_type``. Drift of the specimen counts as motion: take it off first
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
        second, NaN without times. NaN in the last frame and where no wall is within reach.

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


def _wall(table: pd.DataFrame, rows: NDArray[np.int64]) -> _Wall:
    part = table.iloc[rows]
    angle = part["normal_angle"].to_numpy(float)
    good = np.isfinite(part[["y", "x", "normal_angle"]].to_numpy(float)).all(1)
    bend = part["curvature"].to_numpy(float) if "curvature" in part else np.zeros(rows.size)
    period = part["normal_period"] if "normal_period" in part else pd.Series([2 * math.pi])
    return _Wall(
        rows[good],
        part[["y", "x"]].to_numpy(float)[good],
        np.stack([-np.sin(angle), np.cos(angle)], 1)[good],
        np.nan_to_num(bend[good]),
        not (period < 1.5 * math.pi).any(),
    )


def _steps(wall: _Wall, later: _Wall, most: float) -> Array:
    """Displacement (N,) of the sites of a wall; NaN where it is not found again."""
    if len(later.point) < 2 or not len(wall.point):
        return np.full(len(wall.point), np.nan)
    tree = cKDTree(later.point)
    spacing = float(np.median(np.asarray(tree.query(later.point, 2)[0])[:, 1]))
    count = min(_NEAREST, len(later.point))
    near = np.reshape(tree.query(wall.point, count)[1], (len(wall.point), count))
    normal = later.normal[near]  # (N, K, 2)
    aligned = (normal * wall.normal[:, None]).sum(2)
    usable = (aligned if wall.polar else np.abs(aligned)) > _ALIGNED
    aligned = np.where(np.abs(aligned) < _ALIGNED, 1.0, aligned)
    offset = later.point[near] - wall.point[:, None]
    step = (offset * normal).sum(2) / aligned
    for _ in range(2):  # the wall bends between its sites and the line
        aside = step[..., None] * wall.normal[:, None] - offset
        along = aside[..., 0] * -normal[..., 1] + aside[..., 1] * normal[..., 0]
        sag = later.bend[near] * np.clip(along, -2 * spacing, 2 * spacing) ** 2 / 2
        step = ((offset * normal).sum(2) + sag) / aligned
    usable &= (np.abs(along) <= _REACH * spacing) & (np.abs(step) <= most)
    size = np.where(usable, np.abs(step), np.inf)
    best = size.argmin(1)
    first = np.take_along_axis(step, best[:, None], 1)
    # all sites of the wall that is nearest, those beside the line the most
    weight = np.exp(-0.5 * (along / (0.5 * spacing)) ** 2) + 1e-6
    weight = np.where(usable & (np.abs(step - first) < 2 * spacing), weight, 0.0)
    total = weight.sum(1)
    mean = (weight * np.where(weight > 0, step, 0.0)).sum(1) / np.maximum(total, 1e-12)
    return np.where(np.isfinite(size.min(1)) & (total > 0), mean, np.nan)
