"""How many sites each structural unit has, frame by frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_rvae import tables
from napari_rvae.analysis.order import order_parameters
from napari_rvae.errors import InputError

if TYPE_CHECKING:
    from napari_rvae.analysis.units import Units

__all__ = ["count_units", "group_shares", "join_units"]


def join_units(units: Units, table: pd.DataFrame) -> pd.DataFrame:
    """Join units to their sites.

    Raises
    ------
    InputError
        If they are of other sites.
    """
    sites = tables.join_latents(table, units.table)
    if len(units.table) and not units.table["site_id"].isin(table["site_id"]).any():
        raise InputError("No site_id of the units is in the table: they do not belong together.")
    return sites


def count_units(
    units: Units, table: pd.DataFrame, frames_table: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Sites of each unit in each frame.

    Parameters
    ----------
    units
        What :func:`~napari_rvae.find_units` returned.
    table
        The sites table.
    frames_table
        ``frames.table``: adds ``time`` and ``dose`` where it has them.

    Returns
    -------
    DataFrame
        One row for each unit and frame (of each source), also where there is none of it:
        ``unit``, ``source``, ``frame``, ``count``, ``share`` of the frame's sites that have a
        unit, ``low`` and ``high``, the 95 % band of its change against the mean over the movie
        (:func:`~napari_rvae.order_parameters`; sites near each other share most of their windows,
        so a binomial error is too small; NaN where it is not known), and ``share_sd``, a quarter of
        the width of this band, half a site at least; the binomial one where there is no band.

    Raises
    ------
    InputError
        If the units are of other sites.

    Examples
    --------
    >>> import pandas as pd
    >>> from napari_rvae import Units
    >>> from napari_rvae.analysis.shares import count_units
    >>> from napari_rvae.tables import make_sites
    >>> sites = make_sites(frame=[0, 0, 1, 1], y=[1.0, 2.0, 1.0, 2.0], x=[1.0] * 4)
    >>> table = sites[["site_id"]].assign(unit=[0, 0, 0, 1], unit_probability=1.0)
    >>> summary = pd.DataFrame({"unit": [0, 1], "name": ["host", "edge"], "count": [3, 1]})
    >>> count_units(Units(table, summary), sites)["share"].tolist()
    [1.0, 0.5, 0.0, 0.5]
    """
    sites = join_units(units, table)
    known = sites[sites["unit"] >= 0]
    numbers = units.summary[["unit"]].astype("int64")
    every = numbers.merge(known[["source", "frame"]].drop_duplicates(), how="cross")
    keys = ["unit", "source", "frame"]
    counts = known.groupby(keys).size().rename("count").reset_index()
    found = every.merge(counts, on=keys, how="left").fillna({"count": 0}).astype({"count": "int64"})
    all_sites = found.groupby(["source", "frame"])["count"].transform("sum").to_numpy(float)
    found["share"] = found["count"] / all_sites
    smooth = (found["count"] + 0.5) / (all_sites + 1)
    binomial = np.sqrt(smooth * (1 - smooth) / np.maximum(all_sites, 1))
    if len(known):
        keys = ["source", "frame", "unit"]
        found = found.merge(_bands(units, table), on=keys, how="left", validate="one_to_one")
    else:
        found = found.assign(low=np.nan, high=np.nan)
    band = (found["high"] - found["low"]) / 4
    found["share_sd"] = np.maximum(band.fillna(binomial), 0.5 / np.maximum(all_sites, 1))
    if frames_table is not None:
        extra = [name for name in ("time", "dose") if name in frames_table]
        found = found.merge(frames_table[["frame", *extra]], on="frame", how="left")
    return found


def group_shares(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """Share of each group of sites in every frame, by a column that the table has.

    Parameters
    ----------
    table
        Sites table of one movie.
    column
        Whole numbers or words, such as "unit" or "class"; -1 and "" stand for none.

    Returns
    -------
    DataFrame
        One row for each frame (its index), one column for each group: shares, 0 to 1, of the
        frame's sites. Whole numbers: of those that have a group, as in :func:`count_units`, since
        -1 is not known; words: of all, since "" belongs to none.

    Raises
    ------
    InputError
        If the column is missing.

    Examples
    --------
    >>> from napari_rvae.analysis.shares import group_shares
    >>> from napari_rvae.tables import make_sites
    >>> sites = make_sites(frame=[0, 0, 1, 1], y=[1.0] * 4, x=[1.0, 2.0] * 2, unit=[0, 0, 0, 1])
    >>> group_shares(sites, "unit").to_numpy().tolist()
    [[1.0, 0.0], [0.5, 0.5]]
    """
    if column not in table:
        raise InputError(f"The sites table lacks the column {column}.")
    known = table[table[column].notna() & ~table[column].isin([-1, ""])]
    counts = pd.crosstab(known["frame"], known[column]).reindex(np.unique(table["frame"]))
    of = known if table[column].dtype.kind in "iu" else table
    return counts.div(of.groupby("frame").size(), axis=0).fillna(0.0)


def _bands(units: Units, table: pd.DataFrame) -> pd.DataFrame:
    """95 % band of the share of each unit in each frame."""
    found = order_parameters(table, [], units=units)
    found = found[found["name"].str.fullmatch(r"unit \d+")]
    unit = found["name"].str.removeprefix("unit ").astype("int64")
    return found[["source", "frame", "low", "high"]].assign(unit=unit)
