"""Tables: column names and types, validation, joins, distances and angles.

Tables are pandas DataFrames whose index means nothing; everything joins on ``site_id``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from napari_rvae.errors import InputError

if TYPE_CHECKING:
    from scipy.spatial import cKDTree

__all__ = [
    "ATOM_COLUMNS",
    "LATENT_COLUMNS",
    "OFF_LATTICE",
    "SITE_COLUMNS",
    "SITE_KINDS",
    "SPECIES_COLUMNS",
    "WALL_COLUMNS",
    "bond_distance",
    "concat_sites",
    "distance_spread",
    "fold_angle",
    "group_rows",
    "join_latents",
    "latent_grid",
    "latent_names",
    "latents_in_use",
    "make_sites",
    "neighbour_distance",
    "validate_sites",
]

#: Columns that every sites table has, with their types.
SITE_COLUMNS = {
    "site_id": "int64",
    "source": "str",
    "frame": "int64",
    "y": "float64",
    "x": "float64",
    "kind": "str",
}

#: Columns that atoms add, all float64.
ATOM_COLUMNS = (
    "amplitude",
    "sigma",
    "background",
    "snr",
    "y_sd",
    "x_sd",
    "lattice_support",
)

#: Columns of a latents table beside ``site_id`` and z0, z0_sd, z1, ...; all float64.
LATENT_COLUMNS = (
    "angle",
    "angle_sd",
    "shift_y",
    "shift_x",
    "other_mode",
    "residual",
    "lattice_angle",
)

#: Columns that the classification of atoms adds, with their types.
SPECIES_COLUMNS = {"sublattice": "int64", "species": "str", "species_probability": "float64"}

#: Columns that domain walls add, with their types; NaN, "" and -1 for other sites.
WALL_COLUMNS = {
    "normal_angle": "float64",
    "normal_period": "float64",
    "strength": "float64",
    "confidence": "float64",
    "wall_type": "str",
    "curvature": "float64",
    "wall_id": "int64",
    "wall_position": "float64",
}

#: Species of an atom that stands inside a crystal, but on no place of its lattice.
OFF_LATTICE = "off lattice"

#: A latent is in use when its posterior means hold this share of its variance.
_IN_USE = 0.1

#: What a site can be.
SITE_KINDS = ("atom", "vacancy", "wall", "grid")

#: Pairs up to so many nearest-neighbour distances are looked at; bonds are those within this share
#: of their own median, which settles in a few rounds. The next shell of the lattices that occur is
#: 15 % farther (fcc along [110]) or more.
_PAIRS, _BOND, _BOND_ROUNDS = 1.5, 0.06, 30

_ORDER = ["source", "frame", "y", "x"]


def make_sites(
    *,
    frame: ArrayLike,
    y: ArrayLike,
    x: ArrayLike,
    kind: str = "atom",
    source: str = "",
    **columns: ArrayLike,
) -> pd.DataFrame:
    """Make a sites table, sorted by (source, frame, y, x), with fresh ``site_id``.

    Parameters
    ----------
    frame
        Frame number (N,), or one for all.
    y, x
        Positions (N,) in pixels.
    kind
        What the sites are: "atom", "vacancy", "wall" or "grid".
    source
        Name of the movie that they come from.
    **columns
        Further columns (N,).

    Examples
    --------
    >>> from napari_rvae.tables import make_sites
    >>> make_sites(frame=0, y=[2.0, 1.0], x=[3.0, 4.0])["y"].tolist()
    [1.0, 2.0]
    """
    rows, cols = np.atleast_1d(np.asarray(y, float)), np.atleast_1d(np.asarray(x, float))
    if rows.shape != cols.shape or rows.ndim != 1:
        raise InputError(f"y and x have shapes {rows.shape} and {cols.shape}: give equal lists.")
    if kind not in SITE_KINDS:
        raise InputError(f"kind = {kind!r} is unknown: choose one of {', '.join(SITE_KINDS)}.")
    numbers = np.asarray(frame)
    if numbers.size and numbers.dtype.kind not in "iu":
        raise InputError(f"frame is of type {numbers.dtype}: give whole numbers.")
    table = pd.DataFrame(
        {
            "site_id": np.arange(rows.size, dtype=np.int64),
            "source": pd.Series([source] * rows.size, dtype="str"),
            "frame": np.broadcast_to(numbers.astype(np.int64), rows.shape),
            "y": rows,
            "x": cols,
            "kind": pd.Series([kind] * rows.size, dtype="str"),
        }
    )
    for name, values in columns.items():
        table[name] = np.asarray(values)
    return _sorted(table)


def _sorted(table: pd.DataFrame) -> pd.DataFrame:
    ordered: pd.DataFrame = table.sort_values(_ORDER, kind="stable", ignore_index=True)
    ordered["site_id"] = np.arange(len(ordered), dtype=np.int64)
    return ordered


def _filled(table: pd.DataFrame) -> pd.DataFrame:
    """Fill the text columns that may be left out; grouping would drop rows without a source."""
    for name, value in (("source", ""), ("kind", "atom")):
        if name not in table:
            table = table.assign(**{name: value})
        elif table[name].isna().any():
            table = table.assign(**{name: table[name].fillna(value)})
    return table


def validate_sites(table: Any, *, need: Iterable[str] = ()) -> pd.DataFrame:
    """Check a sites table and return it; say which column is wrong, and why.

    Parameters
    ----------
    table
        The table; ``source`` and ``kind`` may be left out and are filled with "" and "atom".
    need
        Further columns that must be there.

    Returns
    -------
    DataFrame
        The table itself, or a completed copy.

    Raises
    ------
    InputError
        If a column is missing, of the wrong type, or ``site_id`` is not unique.
    """
    if not isinstance(table, pd.DataFrame):
        raise InputError(f"The sites are a {type(table).__name__}: give a pandas DataFrame.")
    sites = _filled(table)
    missing = [name for name in (*SITE_COLUMNS, *need) if name not in sites]
    if missing:
        raise InputError(f"The sites table lacks the column {', '.join(missing)}.")
    for name in ("site_id", "frame"):
        if sites[name].dtype.kind not in "iu":
            raise InputError(f"Column {name!r} is of type {sites[name].dtype}: give whole numbers.")
    numbers = [name for name, kind in WALL_COLUMNS.items() if kind != "str" and name in sites]
    for name in ("y", "x", *numbers):
        if sites[name].dtype.kind not in "fiu":
            raise InputError(f"Column {name!r} is of type {sites[name].dtype}: give numbers.")
    if sites["site_id"].duplicated().any():
        raise InputError("Column 'site_id' has duplicates: number the sites (see concat_sites).")
    unknown = set(sites["kind"].unique()) - set(SITE_KINDS)
    if unknown:
        raise InputError(
            f"Column 'kind' holds {sorted(map(str, unknown))}: use {', '.join(SITE_KINDS)}."
        )
    return sites


def group_rows(table: pd.DataFrame) -> list[tuple[str, int, NDArray[np.int64]]]:
    """Row positions of each frame of each source, as (source, frame, rows), in order."""
    if not len(table):
        return []
    groups: dict[Any, Any] = dict(table.groupby(["source", "frame"], sort=True).indices)
    return [
        (str(source), int(frame), np.asarray(rows, np.int64))
        for (source, frame), rows in groups.items()
    ]


def neighbour_distance(sites: pd.DataFrame) -> float:
    """Nearest-neighbour distance of the sites.

    Parameters
    ----------
    sites
        Sites table of one source.

    Returns
    -------
    float
        Median over the frames of the median distance to the nearest other site, in pixels; NaN
        when no frame has three sites.

    Raises
    ------
    InputError
        If the table holds several sources: their pixels may differ in size.

    Examples
    --------
    >>> from napari_rvae import neighbour_distance
    >>> from napari_rvae.tables import make_sites
    >>> neighbour_distance(make_sites(frame=0, y=[0.0, 0.0, 0.0], x=[0.0, 5.0, 10.0]))
    5.0
    """
    medians = [np.median(distances) for distances in _nearest_distances(sites)]
    return float(np.median(medians)) if medians else math.nan


def distance_spread(sites: pd.DataFrame) -> float:
    """How much the distances to the nearest neighbour scatter: small in a lattice.

    Parameters
    ----------
    sites
        Sites table of one source.

    Returns
    -------
    float
        Median over the frames of the interquartile range over the median; NaN when no frame has
        three sites. Of points at random it is 0.77.

    Examples
    --------
    >>> from napari_rvae.tables import distance_spread, make_sites
    >>> distance_spread(make_sites(frame=0, y=[0.0, 0.0, 0.0], x=[0.0, 5.0, 10.0]))
    0.0
    """
    spreads = []
    for distances in _nearest_distances(sites):
        low, middle, high = np.percentile(distances, (25, 50, 75))
        spreads.append((high - low) / middle)
    return float(np.median(spreads)) if spreads else math.nan


def bond_distance(sites: pd.DataFrame) -> float:
    """Distance of neighbours, over all bonds and not only the shortest one of each site.

    Noise and distortion by the scan make the nearest of several neighbours nearer than they are on
    average; :func:`neighbour_distance` is low by that, in graphene of some percent noise by one to
    three percent. This is where the distances of pairs pile up next to it: the median of those
    within 6 % of that median.

    Parameters
    ----------
    sites
        Sites table of one source.

    Returns
    -------
    float
        Median over the frames, in pixels; NaN when no frame has three sites.

    Examples
    --------
    >>> from napari_rvae.tables import bond_distance, make_sites
    >>> bond_distance(make_sites(frame=0, y=[0.0, 0.0, 0.0], x=[0.0, 5.0, 10.25]))
    5.125
    """
    found = []
    for tree, nearest in _trees(sites):
        bond = float(np.median(nearest))
        pairs = tree.query_pairs(_PAIRS * bond, output_type="ndarray")
        ends = np.asarray(tree.data)[pairs]
        lengths = np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1)
        for _ in range(_BOND_ROUNDS):
            near = lengths[np.abs(lengths / bond - 1) < _BOND]
            if not near.size or np.median(near) == bond:
                break
            bond = float(np.median(near))
        found.append(bond)
    return float(np.median(found)) if found else math.nan


def _nearest_distances(sites: pd.DataFrame) -> list[NDArray[np.float64]]:
    """Distances of the sites to their nearest one, for each frame that has three."""
    return [nearest for _, nearest in _trees(sites)]


def _trees(sites: pd.DataFrame) -> list[tuple[cKDTree[None, None], NDArray[np.float64]]]:
    """Tree of the sites and distance of each to its nearest one, for each frame that has three."""
    sites = validate_sites(sites)
    if len(sites["source"].unique()) > 1:
        raise InputError("The table holds several sources: take the distance of one at a time.")
    from scipy.spatial import cKDTree as Tree  # takes 0.2 s to load, and few need it at once

    found = []
    for _, _, rows in group_rows(sites):
        points = sites[["y", "x"]].to_numpy(float)[rows]
        points = np.unique(points[np.isfinite(points).all(1)], axis=0)
        if len(points) >= 3:
            tree = Tree(points)
            found.append((tree, np.asarray(tree.query(points, 2)[0])[:, 1]))
    return found


def join_latents(sites: pd.DataFrame, latents: pd.DataFrame) -> pd.DataFrame:
    """Join latents to sites on ``site_id``; order and number of the sites stay.

    Parameters
    ----------
    sites
        Sites table.
    latents
        Any table with a ``site_id`` column: latents, units, tracks.

    Returns
    -------
    DataFrame
        The sites with the columns of `latents`, in place of their own of the same names; NaN where
        a site has none (-1 for whole numbers).

    Raises
    ------
    InputError
        If ``site_id`` is missing or not unique in either table.

    Examples
    --------
    >>> import pandas as pd
    >>> from napari_rvae import join_latents
    >>> from napari_rvae.tables import make_sites
    >>> sites = make_sites(frame=0, y=[0.0, 9.0], x=[0.0, 0.0])
    >>> join_latents(sites, pd.DataFrame({"site_id": [1], "z0": [0.5]}))["z0"].tolist()
    [nan, 0.5]
    """
    sites = validate_sites(sites)
    if "site_id" not in latents:
        raise InputError("The latents table lacks the column site_id.")
    if latents["site_id"].duplicated().any():
        raise InputError("Column 'site_id' of the latents has duplicates: join one row a site.")
    new = [name for name in latents.columns if name != "site_id"]
    kept = sites.drop(columns=[name for name in new if name in sites])
    joined = kept.merge(latents, on="site_id", how="left", sort=False, validate="1:1")
    for name in new:
        if latents[name].dtype.kind == "i":  # a whole number stays one, -1 = none
            joined[name] = joined[name].fillna(-1).astype(latents[name].dtype)
    return joined.reset_index(drop=True)


def concat_sites(*tables: pd.DataFrame) -> pd.DataFrame:
    """Put sites tables together, sorted, with new ``site_id``.

    Returns
    -------
    DataFrame
        All rows; a column that one table lacks is NaN there.

    Raises
    ------
    InputError
        If two tables share a source and a frame: their sites would be counted twice.

    Examples
    --------
    >>> from napari_rvae import concat_sites
    >>> from napari_rvae.tables import make_sites
    >>> a = make_sites(frame=0, y=[1.0], x=[1.0], source="a")
    >>> b = make_sites(frame=0, y=[2.0], x=[2.0], source="b")
    >>> concat_sites(a, b)["site_id"].tolist()
    [0, 1]
    """
    if not tables:
        raise InputError("There is no table to put together: give one or more.")
    checked = [validate_sites(table) for table in tables]
    seen: set[tuple[str, int]] = set()
    for table in checked:
        here = {(source, frame) for source, frame, _ in group_rows(table)}
        if seen & here:
            source, frame = min(seen & here)
            raise InputError(
                f"Frame {frame} of source {source!r} is in two tables: name the sources apart."
            )
        seen |= here
    filled = [table for table in checked if len(table)] or checked[:1]
    return _sorted(pd.concat(filled, ignore_index=True))


def fold_angle(angle: ArrayLike, n: int) -> NDArray[np.float64]:
    """Fold angles of n-fold symmetric things into (-pi/n, pi/n].

    Parameters
    ----------
    angle
        Angles in radians, any shape.
    n
        Order of the symmetry, 1 or more.

    Returns
    -------
    ndarray
        Folded angles in radians; NaN where an angle is not finite.

    Raises
    ------
    InputError
        If `n` is below 1.

    Examples
    --------
    >>> import math
    >>> from napari_rvae import fold_angle
    >>> round(float(fold_angle(math.radians(130), 3)), 4) == round(math.radians(10), 4)
    True
    """
    if n < 1:
        raise InputError(f"n = {n}: the order of a symmetry is 1 or more.")
    period = 2 * math.pi / n
    values = np.asarray(angle, dtype=float)
    values = np.where(np.isfinite(values), values, np.nan)
    folded = values - period * np.ceil(values / period - 0.5)
    # rounding can leave the open end: -pi/n and pi/n are the same direction
    return np.where(folded <= -period / 2, folded + period, folded)


def latent_grid(
    quantiles: NDArray[np.float64], n: int, dims: tuple[int, int]
) -> NDArray[np.float64]:
    """Latents (n, n, L) on a grid over two of them, the others at their median.

    Parameters
    ----------
    quantiles
        Quantiles 0, 1, ..., 100 % of the latents (101, L).
    n
        Places along each side, from the 5 to the 95 % quantile.
    dims
        The two latents: the first grows to the right, the second upwards.

    Raises
    ------
    InputError
        If there are no such latents.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae.tables import latent_grid
    >>> latent_grid(np.linspace(0, 100, 101)[:, None], 3, (0, 0))[0, :, 0].tolist()
    [5.0, 50.0, 95.0]
    """
    count = quantiles.shape[1]
    if not all(0 <= d < count for d in dims):
        raise InputError(f"dims = {dims}: choose from 0 to {count - 1}.")
    across, up = dims
    steps = np.linspace(quantiles[5], quantiles[95], n)
    z = np.tile(quantiles[50], (n, n, 1))
    z[:, :, across] = steps[:, across]
    if up != across:
        z[:, :, up] = steps[::-1, up, None]
    return z


def latent_names(table: pd.DataFrame) -> list[str]:
    """Names of the latent columns of a table, z0, z1, ... in order."""
    names = [str(c) for c in table.columns if re.fullmatch(r"z\d+", str(c))]
    return sorted(names, key=lambda name: int(name[1:]))


def latents_in_use(table: pd.DataFrame) -> NDArray[np.bool_]:
    """Which latents (L,) of a table their model uses.

    A latent is in use when its means hold a tenth or more of the sum of their variance and the mean
    variance that the model states; one without a stated error (``z0_sd``) counts as used.
    """
    names = latent_names(table)
    values = table[names].to_numpy(float)
    known = np.isfinite(values).all(axis=1)
    stated = [f"{name}_sd" for name in names]
    if not known.any() or not set(stated) <= set(table):
        return np.ones(len(names), bool)
    spread = values[known].var(axis=0)
    noise = np.mean(table[stated].to_numpy(float)[known] ** 2, axis=0)
    return np.asarray(spread >= _IN_USE * np.maximum(spread + noise, np.finfo(float).tiny))
