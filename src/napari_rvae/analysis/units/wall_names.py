"""Names of units whose sites lie along domain walls."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from napari_rvae import tables
from napari_rvae.analysis.appearance import unused_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from napari_rvae.analysis.units.result import Units

    Array = NDArray[np.float64]
    Mask = NDArray[np.bool_]

__all__ = ["are_walls", "wall_unit_names"]

#: A unit is named by what so large a share of its sites is.
_MOST = 0.6
#: Walls of another type, or another wall at an angle, so near to a site make it a junction, in px.
_JUNCTION = 6.0
#: A wall is bent where its radius is below so many px.
_RADIUS = 25.0
#: So near to the end of its wall, in spacings of the sites, a site is at the end; walls whose ends
#: are so near to each other are closed, in spacings, too.
_END, _CLOSED = 1.6, 2.0


def are_walls(table: pd.DataFrame) -> bool:
    """Whether all sites lie along walls of known types."""
    return bool(len(table)) and "wall_type" in table and bool((table["kind"] == "wall").all())


def wall_unit_names(
    units: Units, table: pd.DataFrame, known: Mapping[int, str] | None = None
) -> dict[int, str]:
    """Name of each unit of walls, such as "straight 180-degree wall" or "junction".

    A unit is named by what most of its sites are: junctions of walls, ends, and otherwise the type
    of the wall and how it bends: straight, or by the sign of the curvature, "bent to +" where the
    centre of the bend lies on the positive side.

    Parameters
    ----------
    units
        Units, as they were found.
    table
        The sites table, in the order of the units' table.
    known
        Units that have a name already, which they keep.

    Returns
    -------
    dict
        The name of each unit, by its number, in the order of the summary.
    """
    known = known or {}
    facts = _facts(table)
    number = units.table["unit"].to_numpy(np.int64)
    names: dict[int, str] = {}
    for unit in (int(one) for one in units.summary["unit"]):
        taken = [*known.values(), *names.values()]
        names[unit] = known.get(unit) or unused_name(_name(facts[number == unit]), taken)
    return names


def _name(facts: pd.DataFrame) -> str:
    """Name by the facts of a unit's sites."""
    share = facts.mean()
    if share["junction"] >= _MOST:
        return "junction of walls"
    if share["end"] >= _MOST:
        return "end of a wall"
    if share["ferroelastic"] >= _MOST:
        return "ferroelastic wall"
    kind = "180-degree wall" if share["ferroelastic"] <= 1 - _MOST else "walls of both types"
    for column, words in (
        ("straight", "straight "),
        ("plus", "bent to +, "),
        ("minus", "bent to -, "),
    ):
        if share[column] >= _MOST:
            return f"{words}{kind}" if column == "straight" else f"{kind}, {words[:-2]}"
    return f"{kind}, bent" if share["straight"] < 1 - _MOST else kind


def _facts(table: pd.DataFrame) -> pd.DataFrame:
    """What each site is, as 0 and 1."""
    bend = np.nan_to_num(table["curvature"].to_numpy(float)) if "curvature" in table else 0.0
    bend = np.broadcast_to(bend, len(table))
    polar = (table["wall_type"] == "180").to_numpy(bool)
    end, junction = np.zeros((2, len(table)), bool)
    for _, _, rows in tables.group_rows(table):
        here = table.iloc[rows]
        junction[rows] = _near_other(here)
        end[rows] = _at_end(here)
    return pd.DataFrame(
        {
            "junction": junction,
            "end": end & ~junction,
            "ferroelastic": ~polar,
            "straight": np.abs(bend) < 1 / _RADIUS,
            "plus": bend >= 1 / _RADIUS,
            "minus": bend <= -1 / _RADIUS,
        }
    ).astype(float)


def _near_other(here: pd.DataFrame) -> Mask:
    """Which sites (N,) of a frame are near a wall of another type."""
    points, kind = here[["y", "x"]].to_numpy(float), here["wall_type"].to_numpy(str)
    near = np.zeros(len(here), bool)
    for one in np.unique(kind):
        mine = kind == one
        others = points[~mine]
        if len(others):
            near[mine] = np.asarray(cKDTree(others).query(points[mine])[0]) <= _JUNCTION
    return near


def _at_end(here: pd.DataFrame) -> Mask:
    """Which sites (N,) of a frame are at the end of a wall that is not closed."""
    found = np.zeros(len(here), bool)
    if "wall_id" not in here or "wall_position" not in here:
        return found
    points, along = here[["y", "x"]].to_numpy(float), here["wall_position"].to_numpy(float)
    wall = here["wall_id"].to_numpy()
    for number in np.unique(wall):
        rows = np.flatnonzero(wall == number)
        if rows.size < 4:
            continue
        rows = rows[np.argsort(along[rows])]
        step = float(np.median(np.diff(along[rows])))
        if np.hypot(*(points[rows[0]] - points[rows[-1]])) < _CLOSED * step:
            continue
        place = along[rows]
        found[rows] = np.minimum(place - place[0], place[-1] - place) < _END * step
    return found
