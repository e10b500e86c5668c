"""Where the sites of a unit stand: beside which others, at an edge; and which ones are typical."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from napari_rvae import tables
from napari_rvae.analysis.bonds import RING_COLUMNS, RING_SIZES, ring_counts
from napari_rvae.analysis.motif import bonded_pairs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Ids = NDArray[np.int64]

__all__ = [
    "LARGER",
    "open_sides",
    "site_rings",
    "stands_beside",
    "typical_rings",
    "typical_sites",
    "unsure_sites",
]

#: Stands for rings with more than 8 bonds, such as those around a missing atom.
LARGER = 9
#: The rings of a unit are those of this share of its sites at least.
_SHARE = 0.5

#: Atoms so near count for whether a site is open to one side, in neighbour distances: those
#: across a missing atom do, those across a gap do not.
_REACH = 2.25


def stands_beside(sites: pd.DataFrame, names: Mapping[int, str]) -> pd.DataFrame:
    """Count which units stand beside each unit.

    Parameters
    ----------
    sites
        Sites table with ``unit``.
    names
        Name of each unit.

    Returns
    -------
    DataFrame
        One row for each pair of units that occurs, the most frequent first: ``of``, the unit;
        ``unit`` and ``name`` of the other; ``share`` of the neighbours of the unit's sites, of
        those that have a unit; ``per_site``, their number for one site.

    Examples
    --------
    >>> from napari_rvae.analysis.stands import stands_beside
    >>> from napari_rvae.tables import make_sites
    >>> chain = make_sites(frame=0, y=[5.0, 5.0, 5.0], x=[10.0, 20.0, 30.0]).assign(unit=[0, 1, 0])
    >>> stands_beside(chain, {0: "end", 1: "middle"})["per_site"].tolist()
    [1.0, 2.0]
    """
    unit = sites["unit"].to_numpy(np.int64)
    pairs = [np.empty((0, 2), np.int64)]
    for rows, points in _frames(sites):
        pairs.append(rows[bonded_pairs(points)])
    both = np.concatenate(pairs)
    both = np.concatenate([both, both[:, ::-1]])
    found = pd.DataFrame({"of": unit[both[:, 0]], "unit": unit[both[:, 1]]})
    found = found[(found["of"] >= 0) & (found["unit"] >= 0)]
    counts = found.groupby(["of", "unit"]).size().rename("n").reset_index()
    total = counts.groupby("of")["n"].transform("sum")
    members = sites["unit"].value_counts()
    counts["name"] = [names.get(int(number), f"unit {number}") for number in counts["unit"]]
    counts["share"] = counts["n"] / total
    counts["per_site"] = counts["n"] / counts["of"].map(members)
    counts = counts.sort_values(["of", "n", "unit"], ascending=[True, False, True])
    return counts[["of", "unit", "name", "share", "per_site"]].reset_index(drop=True)


def open_sides(sites: pd.DataFrame, *, sample: int = 200) -> pd.Series[float]:
    """Widest angle around sites in which there is no atom within 2.25 neighbour distances.

    Parameters
    ----------
    sites
        Sites table.
    sample
        At most about so many sites of each unit are looked at, evenly over the table.

    Returns
    -------
    Series of float64
        Radians, 0 to 2 pi, with the index of the table; NaN for sites that are not looked at, for
        those so near the outermost sites of their frame that some atoms may lie beyond it, and
        where there are no distances.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae.analysis.stands import open_sides
    >>> from napari_rvae.tables import make_sites
    >>> y, x = np.indices((9, 9)).reshape(2, -1) * 10.0
    >>> sides = open_sides(make_sites(frame=0, y=y, x=x))
    >>> round(float(np.degrees(sides[40])), 1)  # in the middle
    26.6
    """
    widest = np.full(len(sites), math.nan)
    is_atom = (sites["kind"] != "vacancy").to_numpy()
    wanted = _some_of_each(sites, sample)
    for rows, points in _frames(sites):
        atoms = points[is_atom[rows]]
        inside = (points > points.min(0) + _REACH) & (points < points.max(0) - _REACH)
        inner = np.flatnonzero(inside.all(axis=1) & wanted[rows])
        if not inner.size or not len(atoms):
            continue
        near = cKDTree(atoms).query_ball_point(points[inner], _REACH)
        for row, others in zip(inner, near, strict=True):
            offset = atoms[others] - points[row]
            offset = offset[np.hypot(*offset.T) > 0.2]
            turns = np.sort(np.arctan2(-offset[:, 0], offset[:, 1]))
            gaps = np.diff(turns, append=turns[:1] + 2 * math.pi)
            widest[rows[row]] = gaps.max(initial=0.0) if len(turns) else 2 * math.pi
    return pd.Series(widest, index=sites.index)


def site_rings(sites: pd.DataFrame) -> pd.DataFrame:
    """Rings of bonds at each site.

    Parameters
    ----------
    sites
        Sites table. Columns of :func:`~napari_rvae.describe_sites` that are there are taken as
        they are.

    Returns
    -------
    DataFrame
        ``ring3`` to ``ring8``, ``ring_large`` and ``ring_open`` with the index of the table; NaN
        where positions or distances are not known.

    Examples
    --------
    >>> from napari_rvae.analysis.stands import site_rings
    >>> from napari_rvae.tables import make_sites
    >>> y, x = [0.0, 0.0, 9.0, 9.0], [0.0, 9.0, 0.0, 9.0]
    >>> site_rings(make_sites(frame=0, y=y, x=x))["ring4"].tolist()
    [1.0, 1.0, 1.0, 1.0]
    """
    names = list(RING_COLUMNS[1:])
    if set(names) <= set(sites):
        return sites[names]
    counts = np.full((len(sites), len(names)), np.nan)
    is_atom = (sites["kind"] != "vacancy").to_numpy()
    for rows, points in _frames(sites):
        counts[rows] = ring_counts(points, is_atom[rows])[:, 1:]
    return pd.DataFrame(counts, columns=names, index=sites.index)


def typical_rings(rings: pd.DataFrame) -> tuple[int, ...]:
    """Sizes of the rings at most sites of one unit, ascending; empty where there are no such.

    Sites that the outside touches are left out: nobody knows how many rings there would be.

    Examples
    --------
    >>> import pandas as pd
    >>> from napari_rvae.analysis.stands import typical_rings
    >>> counts = {f"ring{size}": [float(size in (5, 7))] * 3 for size in range(3, 9)}
    >>> typical_rings(pd.DataFrame({**counts, "ring_large": 0.0, "ring_open": 0.0}))
    (5, 7)
    """
    known = rings[(rings["ring_open"] == 0) & rings.notna().all(axis=1)]
    if 2 * len(known) < len(rings) or not len(known):
        return ()
    closed = known.drop(columns="ring_open").astype("int64")
    counts = closed.value_counts()
    if counts.iloc[0] < _SHARE * len(known):
        return ()
    sizes = [*RING_SIZES, LARGER]
    most = np.atleast_1d(np.asarray(counts.index[0], np.int64))
    return tuple(size for size, number in zip(sizes, most, strict=True) for _ in range(number))


def _some_of_each(sites: pd.DataFrame, sample: int) -> NDArray[np.bool_]:
    """Evenly spread rows of each unit (N,); all rows where there are no units."""
    if "unit" not in sites:
        return np.ones(len(sites), bool)
    groups = sites.groupby("unit")["unit"]
    step = np.maximum(1, groups.transform("size").to_numpy() // sample)
    return np.asarray(groups.cumcount().to_numpy() % step == 0)


def _frames(sites: pd.DataFrame) -> list[tuple[Ids, Array]]:
    """Rows of each frame and their positions in neighbour distances, where these are known."""
    points = sites[["y", "x"]].to_numpy(float)
    spacing: dict[str, float] = {}
    for source, part in sites.groupby("source"):
        spacing[str(source)] = tables.neighbour_distance(part)
    found = []
    for source, _, rows in tables.group_rows(sites):
        known = rows[np.isfinite(points[rows]).all(axis=1)]
        if known.size and spacing[source] > 0:
            found.append((known, points[known] / spacing[source]))
    return found


# ---------------------------------------------------------------------- examples
def typical_sites(here: pd.DataFrame, count: int) -> Ids:
    """Sites of one unit that are most like its middle: ``site_id`` of at most `count`.

    By the distance of the latents from their medians in median absolute deviations, or, without
    latents, by probability. Each is of another lattice site as long as there are others.
    """
    names = tables.latent_names(here)
    z = here[names].to_numpy(float)
    known = np.isfinite(z).all(axis=1)
    if names and known.any():
        here, z = here[known], z[known]
        apart = np.abs(z - np.median(z, axis=0))
        spread = np.median(apart, axis=0)
        far = (apart / np.where(spread > 0, spread, 1.0)) ** 2
        ranked = here.iloc[np.argsort(far.sum(axis=1), kind="stable")]
    else:
        ranked = here.sort_values("unit_probability", ascending=False, kind="stable")
    return _apart(ranked, count)


def unsure_sites(here: pd.DataFrame, count: int) -> Ids:
    """Sites of one unit with the lowest probability: ``site_id`` of at most `count`."""
    known = here.dropna(subset=["unit_probability"])
    return _apart(known.sort_values("unit_probability", kind="stable"), count)


def _apart(ranked: pd.DataFrame, count: int) -> Ids:
    """First rows, those of lattice sites that have come already last."""
    if "lattice_track_id" in ranked:
        track = ranked["lattice_track_id"]
        again = track.duplicated() & (track >= 0)
        ranked = pd.concat([ranked[~again], ranked[again]])
    return ranked["site_id"].to_numpy(np.int64)[:count]
