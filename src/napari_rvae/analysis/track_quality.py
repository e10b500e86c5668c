"""How good tracks are, and the drift that they tell."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from napari_rvae import tables

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Ids = NDArray[np.int64]

__all__ = ["movie_drift", "track_quality"]

#: A drift that changes by more than this share of the lattice's period could be another one.
_AMBIGUOUS = 0.4
#: Translations of a lattice are looked for up to this length in neighbour distances, with this
#: tolerance; one of them takes this share of the sites to others.
_LONGEST, _TOLERANCE, _TAKES = 2.3, 0.15, 0.65
#: So many sites of a frame are enough for that.
_SITES = 1500


def track_quality(table: pd.DataFrame) -> pd.DataFrame:
    """Say frame by frame how well the sites were linked.

    Parameters
    ----------
    table
        Sites table after :func:`~napari_rvae.link_sites`.

    Returns
    -------
    DataFrame
        One row for each frame that has sites: ``source``, ``frame``; ``n_sites``; ``n_linked``,
        those whose place was seen before; ``n_new``, those whose place was not; ``n_missing``,
        places seen before and after this frame but not in it; ``n_ended``, places not seen again
        after the frame before; ``n_moved``, dopants that changed their place; ``spread``, median
        distance in pixels of the linked sites from where the common drift leads; ``drift_y``,
        ``drift_x`` in pixels since the first frame; ``ambiguous`` (bool): the drift changed by more
        than 0.4 periods of the lattice since the frame before, so that it may be wrong by a whole
        period. In the first step it is the drift itself that counts.

    Raises
    ------
    InputError
        If the sites are not linked.

    Notes
    -----
    A perfect lattice that drifts by a whole period between two frames looks as if it stood still:
    no table can say so. :func:`~napari_rvae.measure_drift` looks at what does not repeat.

    Examples
    --------
    >>> from napari_rvae import link_sites, track_quality
    >>> from napari_rvae.tables import make_sites
    >>> sites = make_sites(
    ...     frame=[0, 0, 0, 1, 1, 1], y=[5.0] * 6, x=[10.0, 20.0, 30.0, 12.0, 22.0, 32.0]
    ... )
    >>> track_quality(link_sites(sites))["n_linked"].tolist()
    [0, 3]
    """
    table = tables.validate_sites(table, need=["lattice_track_id", "track_id"])
    drift = movie_drift(table)
    parts = [
        _quality(part, drift[drift["source"] == source])
        for source, part in table.groupby("source", sort=True)
    ]
    if not parts:
        names = ["n_sites", "n_linked", "n_new", "n_missing", "n_ended", "n_moved", "spread"]
        return drift.reindex(columns=["source", "frame", *names, "drift_y", "drift_x", "ambiguous"])
    return pd.concat(parts, ignore_index=True)


def _quality(part: pd.DataFrame, drift: pd.DataFrame) -> pd.DataFrame:
    """Quality of the frames of one source."""
    frames = drift["frame"].to_numpy(np.int64)
    which = np.searchsorted(frames, part["frame"])
    path = drift[["drift_y", "drift_x"]].to_numpy(float)
    place = part["lattice_track_id"].to_numpy(np.int64)
    linked = place >= 0
    span = pd.DataFrame({"place": place[linked], "at": which[linked]}).groupby("place")["at"]
    first, last = span.min().to_numpy(), span.max().to_numpy()
    count = len(frames)
    seen = np.bincount(which[linked], minlength=count)
    new = np.bincount(first, minlength=count)
    ended = np.bincount(last + 1, minlength=count + 1)[:count]
    alive = np.cumsum(new - ended)
    return pd.DataFrame(
        {
            "source": drift["source"].to_numpy(),
            "frame": frames,
            "n_sites": np.bincount(which, minlength=count),
            "n_linked": seen - new,
            "n_new": new,
            "n_missing": alive - seen,
            "n_ended": ended,
            "n_moved": _moved(part, which, count),
            "spread": _spread(part, which, path),
            "drift_y": path[:, 0],
            "drift_x": path[:, 1],
            "ambiguous": _ambiguous(part, path),
        }
    )


def _moved(part: pd.DataFrame, which: Ids, count: int) -> Ids:
    """Atoms (T,) that are at another place than when they were last seen."""
    order = np.lexsort((which, part["track_id"].to_numpy()))
    atom = part["track_id"].to_numpy(np.int64)[order]
    place = part["lattice_track_id"].to_numpy(np.int64)[order]
    moves = (atom[1:] == atom[:-1]) & (atom[1:] >= 0) & (place[1:] != place[:-1])
    return np.bincount(which[order][1:][moves], minlength=count).astype(np.int64)


def _spread(part: pd.DataFrame, which: Ids, path: Array) -> Array:
    """Median distance (T,) of linked sites from where the drift leads, NaN where there is none."""
    order = np.lexsort((which, part["lattice_track_id"].to_numpy()))
    place = part["lattice_track_id"].to_numpy(np.int64)[order]
    points = part[["y", "x"]].to_numpy(float)[order] - path[which[order]]
    follows = (place[1:] == place[:-1]) & (place[1:] >= 0)
    way = np.hypot(*(points[1:] - points[:-1])[follows].T)
    medians = pd.Series(way).groupby(which[order][1:][follows]).median()
    return medians.reindex(range(len(path))).to_numpy(float)


def _ambiguous(part: pd.DataFrame, path: Array) -> NDArray[np.bool_]:
    """Frames (T,) whose drift changed by too much of a period to be sure of it."""
    out = np.zeros(len(path), bool)
    steps = np.diff(path, axis=0)
    if not len(steps):
        return out
    change = np.diff(steps, axis=0, prepend=np.zeros((1, 2)))
    period = _period(part)
    out[1:] = np.hypot(*change.T) > _AMBIGUOUS * period if math.isfinite(period) else False
    return out


def _period(part: pd.DataFrame) -> float:
    """Length in pixels of the shortest translation of the lattice; NaN where there is none."""
    distance = tables.neighbour_distance(part)
    first = part[part["frame"] == part["frame"].min()]
    points = first[["y", "x"]].to_numpy(float)
    points = points[np.isfinite(points).all(axis=1)]
    if not math.isfinite(distance) or len(points) < 3:
        return math.nan
    # the middle of the frame: translations do not lead out of it
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    inner = points[np.argsort(np.abs(points - middle).max(axis=1))[:_SITES]]
    reach = np.abs(inner - middle).max() - _LONGEST * distance
    inner = inner[np.abs(inner - middle).max(axis=1) <= max(reach, 0)]
    if len(inner) < 3:
        return math.nan
    tree = cKDTree(points)
    best = math.nan
    for other in inner[: min(len(inner), 12)]:
        near = tree.query_ball_point(other, _LONGEST * distance)
        for vector in points[near] - other:
            length = math.hypot(*vector)
            if length < 0.5 * distance or length >= (best if math.isfinite(best) else math.inf):
                continue
            hit = np.asarray(tree.query(inner + vector)[0]) < _TOLERANCE * distance
            if hit.mean() > _TAKES:
                best = length
    return best


def movie_drift(table: pd.DataFrame) -> pd.DataFrame:
    """Drift of linked sites: the median way of the places from frame to frame.

    Parameters
    ----------
    table
        Sites table with ``lattice_track_id``.

    Returns
    -------
    DataFrame
        ``source``, ``frame``, ``drift_y`` and ``drift_x`` in pixels since the first frame of the
        source, one row for each frame that has sites.

    Examples
    --------
    >>> from napari_rvae.analysis.track_quality import movie_drift
    >>> from napari_rvae.tables import make_sites
    >>> sites = make_sites(frame=[0, 1], y=[5.0, 5.0], x=[10.0, 12.0], lattice_track_id=[0, 0])
    >>> movie_drift(sites)["drift_x"].tolist()
    [0.0, 2.0]
    """
    table = tables.validate_sites(table, need=["lattice_track_id"])
    parts = [pd.DataFrame({"source": pd.Series(dtype="str"), "frame": pd.Series(dtype="int64")})]
    for source, part in table.groupby("source", sort=True):
        frames = np.unique(part["frame"].to_numpy(np.int64))
        path = np.zeros((len(frames), 2))
        linked = part[part["lattice_track_id"] >= 0].sort_values(["lattice_track_id", "frame"])
        which = np.searchsorted(frames, linked["frame"])
        track = linked["lattice_track_id"].to_numpy()
        points = linked[["y", "x"]].to_numpy(float)
        follows = (track[1:] == track[:-1]) & (which[1:] == which[:-1] + 1)
        way = pd.DataFrame((points[1:] - points[:-1])[follows]).groupby(which[1:][follows])
        steps = way.median().reindex(range(len(frames))).fillna(0.0)
        path[:] = np.cumsum(steps.to_numpy(float).reshape(-1, 2), axis=0)
        parts.append(
            pd.DataFrame(
                {"source": source, "frame": frames, "drift_y": path[:, 0], "drift_x": path[:, 1]}
            )
        )
    return pd.concat(parts, ignore_index=True)
