"""Sites chosen in a plot of two columns, and classes that a person gives to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_rvae.analysis.scatter import plotted_values
from napari_rvae.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["CLASS", "count_classes", "label_sites", "select_sites"]

#: Column of the classes that a person gives.
CLASS = "class"


def select_sites(
    table: pd.DataFrame,
    x: str,
    y: str,
    *,
    polygon: ArrayLike | None = None,
    box: ArrayLike | None = None,
    near: ArrayLike | None = None,
    n: int = 1,
    unit_lengths: tuple[float, float] | None = None,
    frame: int | None = None,
    in_degrees: bool = False,
) -> NDArray[np.int64]:
    """Sites whose points lie in a part of the plane of two columns.

    Parameters
    ----------
    table
        Sites table, or the features of a layer.
    x, y
        Columns of numbers: the axes of the plane.
    polygon
        Corners (V, 2) as (x, y) of a lasso; it closes by itself.
    box
        Two opposite corners (2, 2) of a rectangle, its rim included.
    near
        Place (x, y), to which the nearest sites are wanted.
    n
        How many of them.
    unit_lengths
        What counts as one step along x and along y when distances are measured; the standard
        deviations of the two columns, if left out.
    frame
        Sites of this frame only.
    in_degrees
        Whether places are in degrees where a column is an angle, as in plots; radians otherwise.

    Returns
    -------
    ndarray of shape (M,)
        Their ``site_id``, in the order of the table, or the nearest first. Sites without one of
        the two values are never chosen.

    Raises
    ------
    InputError
        If a column is missing or holds no numbers, or not exactly one of `polygon`, `box` and
        `near` is given.

    Examples
    --------
    >>> from napari_rvae import select_sites
    >>> from napari_rvae.tables import make_sites
    >>> z0, z1 = [0.0, 1.0, 5.0], [0.0, 0.0, 0.0]
    >>> sites = make_sites(frame=0, y=[1.0, 2.0, 3.0], x=[1.0, 1.0, 1.0], z0=z0, z1=z1)
    >>> select_sites(sites, "z0", "z1", box=[(-1, -1), (2, 1)]).tolist()
    [0, 1]
    >>> select_sites(sites, "z0", "z1", near=(4, 0)).tolist()
    [2]
    """
    given = [
        name
        for name, value in (("polygon", polygon), ("box", box), ("near", near))
        if value is not None
    ]
    if len(given) != 1:
        raise InputError(f"{len(given)} of polygon, box and near are given: give one of them.")
    if "site_id" not in table:
        raise InputError("The table lacks the column site_id: give a sites table.")
    points = np.stack([plotted_values(table, name, in_degrees=in_degrees) for name in (x, y)], 1)
    asked = np.isfinite(points).all(axis=1)
    if frame is not None:
        if "frame" not in table:
            raise InputError("The table lacks the column frame: give a sites table.")
        asked &= table["frame"].to_numpy() == frame
    rows = np.flatnonzero(asked)
    if polygon is not None:
        rows = rows[_in_polygon(points[rows], _corners(polygon, "polygon", 3))]
    elif box is not None:
        low, high = np.sort(_corners(box, "box", 2)[:2], axis=0)
        rows = rows[((points[rows] >= low) & (points[rows] <= high)).all(axis=1)]
    else:
        place = np.asarray(near, float)
        if place.shape != (2,):
            raise InputError("near: give one place (x, y).")
        rows = rows[_nearest(points[rows], place, n, unit_lengths)]
    return table["site_id"].to_numpy(np.int64)[rows]


def _corners(places: ArrayLike, name: str, least: int) -> NDArray[np.float64]:
    """Corners (V, 2), after the checks."""
    corners = np.asarray(places, float)
    if corners.ndim != 2 or corners.shape[1] != 2 or len(corners) < least:
        raise InputError(f"{name} of shape {corners.shape}: give {least} corners (x, y) or more.")
    return corners


def _in_polygon(points: NDArray[np.float64], corners: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which points (M, 2) lie in a polygon; only those in its box are looked at closely."""
    from skimage.measure import points_in_poly

    inside = ((points >= corners.min(0)) & (points <= corners.max(0))).all(axis=1)
    # in steps of the polygon's own size: latents and pixels differ by orders of magnitude
    size = np.ptp(corners, axis=0)
    size[size == 0] = 1.0
    near = np.flatnonzero(inside)
    inside[near] = points_in_poly((points[near] - corners[0]) / size, (corners - corners[0]) / size)
    return np.asarray(inside)


def _nearest(
    points: NDArray[np.float64],
    place: NDArray[np.float64],
    n: int,
    unit_lengths: tuple[float, float] | None,
) -> NDArray[np.int64]:
    """Numbers of the points nearest to a place, the nearest first."""
    if n < 1:
        raise InputError(f"n = {n}: ask for one site or more.")
    if not len(points):
        return np.zeros(0, np.int64)
    steps = points.std(axis=0) if unit_lengths is None else np.asarray(unit_lengths, float)
    steps = np.where(steps > 0, steps, 1.0)
    away = (((points - place) / steps) ** 2).sum(axis=1)
    few = np.argpartition(away, min(n, len(away)) - 1)[:n]
    return np.asarray(few[np.argsort(away[few], kind="stable")], np.int64)


def label_sites(
    table: pd.DataFrame, site_id: ArrayLike, name: str, *, column: str = CLASS
) -> pd.DataFrame:
    """Give some sites a class; a site has one class at a time in a column.

    Parameters
    ----------
    table
        Sites table.
    site_id
        Numbers of the sites.
    name
        The class; "" takes the sites out of whatever class they are in.
    column
        Column of words that holds the classes; it is made if it is not there.

    Returns
    -------
    DataFrame
        The table with the column, "" for sites without a class.

    Raises
    ------
    InputError
        If a site is not in the table, or the column holds numbers.

    Examples
    --------
    >>> from napari_rvae import label_sites
    >>> from napari_rvae.tables import make_sites
    >>> sites = make_sites(frame=0, y=[1.0, 2.0, 3.0], x=[1.0, 1.0, 1.0])
    >>> label_sites(sites, [0, 2], "edge")["class"].tolist()
    ['edge', '', 'edge']
    """
    if "site_id" not in table:
        raise InputError("The table lacks the column site_id: give a sites table.")
    wanted = np.unique(np.asarray(site_id, np.int64))
    chosen = table["site_id"].isin(wanted).to_numpy()
    if int(chosen.sum()) < len(wanted):
        raise InputError(f"{len(wanted) - int(chosen.sum())} of the sites are not in the table.")
    classes = _classes(table, column)
    classes[chosen] = name.strip()
    return table.assign(**{column: pd.Series(classes, index=table.index, dtype="str")})


def _classes(table: pd.DataFrame, column: str) -> NDArray[np.object_]:
    """Class of each site, "" for none."""
    if column not in table:
        return np.full(len(table), "", object)
    if table[column].dtype.kind in "fiub":
        raise InputError(f"Column {column!r} holds numbers: choose another name for the classes.")
    return table[column].astype(object).where(table[column].notna(), "").to_numpy(copy=True)


def count_classes(table: pd.DataFrame, *, column: str = CLASS) -> pd.DataFrame:
    """Count the sites of each class.

    Parameters
    ----------
    table
        Sites table; none of its sites has a class where the column is missing.
    column
        Column of the classes.

    Returns
    -------
    DataFrame
        One row for each class by name: ``class``, ``count`` and ``share`` of all sites.

    Examples
    --------
    >>> from napari_rvae import count_classes, label_sites
    >>> from napari_rvae.tables import make_sites
    >>> sites = make_sites(frame=0, y=[1.0, 2.0, 3.0, 4.0], x=[1.0] * 4)
    >>> count_classes(label_sites(sites, [0, 2], "edge")).to_numpy().tolist()
    [['edge', 2, 0.5]]
    """
    counts = pd.Series(_classes(table, column), dtype="str").value_counts()
    counts = counts[counts.index != ""].sort_index()
    return pd.DataFrame(
        {
            "class": counts.index.astype("str"),
            "count": counts.to_numpy(np.int64),
            "share": counts.to_numpy(float) / max(len(table), 1),
        }
    )
