"""Junctions of domain walls: where they meet or cross."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from napari_rvae.tables import fold_angle, group_rows, validate_sites

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["find_junctions"]

#: Walls that meet differ by this angle at least; parallel ones pass each other.
_MEETING = math.radians(20)


def find_junctions(sites: pd.DataFrame, *, radius: float = 6.0) -> pd.DataFrame:
    """Find the places where walls meet or cross.

    Parameters
    ----------
    sites
        Sites table of walls, as :func:`detect_walls` gives it.
    radius
        Walls that come so near to each other, in px, at an angle of 20 degrees or more, meet.

    Returns
    -------
    DataFrame
        ``source``, ``frame``, ``y``, ``x`` (where straight pieces of the two walls cross) and
        ``wall_types``, such as "180+ferroelastic", sorted by source, frame, y, x.

    Raises
    ------
    InputError
        If the columns of walls are missing.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae import find_junctions
    >>> from napari_rvae.tables import make_sites
    >>> along, middle = np.arange(0.0, 41.0, 4.0), np.full(11, 20.0)
    >>> walls = make_sites(
    ...     frame=0, y=[*along, *middle], x=[*middle, *along], kind="wall",
    ...     normal_angle=[0.0] * 11 + [np.pi / 2] * 11, wall_id=[0] * 11 + [1] * 11,
    ...     wall_type=["180"] * 11 + ["ferroelastic"] * 11)
    >>> find_junctions(walls)[["y", "x"]].to_numpy().tolist()
    [[20.0, 20.0]]
    """
    walls = validate_sites(sites, need=["normal_angle", "wall_type", "wall_id"])
    walls = walls[walls["kind"] == "wall"].reset_index(drop=True)
    found: list[tuple[str, int, float, float, str]] = []
    for source, frame, rows in group_rows(walls):
        here = walls.iloc[rows]
        for (y, x), types in _meetings(here, radius):
            found.append((source, frame, float(y), float(x), types))
    table = pd.DataFrame(sorted(found), columns=["source", "frame", "y", "x", "wall_types"])
    return table.astype(
        {"source": "str", "frame": "int64", "y": "float64", "x": "float64", "wall_types": "str"}
    )


def _meetings(here: pd.DataFrame, radius: float) -> list[tuple[Array, str]]:
    """Place and types of each junction of one frame."""
    points = here[["y", "x"]].to_numpy(float)
    if not len(points):
        return []
    pairs = cKDTree(points).query_pairs(radius, output_type="ndarray")
    wall, angle = here["wall_id"].to_numpy(), here["normal_angle"].to_numpy(float)
    one, two = pairs.T
    apart = np.abs(fold_angle(angle[one] - angle[two], 2))
    keep = (wall[one] != wall[two]) & (apart >= _MEETING)
    one, two = one[keep], two[keep]
    if not one.size:
        return []
    place = _crossing(points[one], points[two], angle[one], angle[two])
    middle = (points[one] + points[two]) / 2
    good = np.hypot(*(place - middle).T) <= radius
    place, one, two = place[good], one[good], two[good]
    if not one.size:
        return []
    near = cKDTree(place).query_pairs(radius, output_type="ndarray")
    graph = coo_matrix((np.ones(len(near)), near.T), shape=(len(place), len(place)))
    count, label = connected_components(graph, directed=False)
    types = here["wall_type"].to_numpy(str)
    return [
        (
            np.median(place[label == k], axis=0),
            "+".join(sorted({*types[one[label == k]], *types[two[label == k]]})),
        )
        for k in range(count)
    ]


def _crossing(one: Array, two: Array, first: Array, second: Array) -> Array:
    """Where lines through points (P, 2), with normals of these angles, cross."""
    normals = [np.stack([-np.sin(a), np.cos(a)], axis=1) for a in (first, second)]
    offsets = [(p * n).sum(axis=1) for p, n in zip((one, two), normals, strict=True)]
    (ay, ax), (by, bx) = (n.T for n in normals)
    area = ay * bx - ax * by
    y = (offsets[0] * bx - offsets[1] * ax) / area
    x = (ay * offsets[1] - by * offsets[0]) / area
    return np.stack([y, x], axis=1)
