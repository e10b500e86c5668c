"""Dopants: atoms of a rare species, or far brighter than the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Points = NDArray[np.float64]
    Ids = NDArray[np.int64]
    Mask = NDArray[np.bool_]

__all__ = ["dopant_rows", "find_dopants"]

#: A dopant is this many robust standard deviations and this many times above its frame's median.
_DOPANT_Z, _DOPANT_RATIO = 5.0, 1.3
#: A species, or a brightness, more common than this is no dopant but part of the crystal.
_MAX_DOPANT_SHARE = 0.1


def dopant_rows(table: pd.DataFrame) -> Mask:
    """Which sites (N,) are in the track of a dopant: one that is a dopant in most of its frames.

    Parameters
    ----------
    table
        Sites table with ``track_id``, of any number of sources.
    """
    is_dopant = np.zeros(len(table), bool)
    for rows in table.groupby("source", sort=True).indices.values():
        is_dopant[rows] = find_dopants(table.iloc[rows])[0] >= 0
    track = table["track_id"].to_numpy(np.int64)
    share = pd.Series(is_dopant, dtype=float).groupby(track).transform("mean").to_numpy()
    return np.asarray((track >= 0) & (share > 0.5))


def find_dopants(part: pd.DataFrame) -> tuple[Ids, Points]:
    """Find the dopants among the sites of one source.

    Parameters
    ----------
    part
        Sites of one source, with ``species`` or ``amplitude``.

    Returns
    -------
    tuple of ndarray
        Kind of dopant of each row (N,), -1 = none, and the logarithm of its amplitude (N,), NaN =
        none. Dopants are of a rare species, or far brighter than the median of their frame.

    Examples
    --------
    >>> from napari_rvae.analysis.dopants import find_dopants
    >>> from napari_rvae.tables import make_sites
    >>> names = ["C"] * 19 + ["Si"]
    >>> find_dopants(make_sites(frame=0, y=range(20), x=range(20), species=names))[0].tolist()[-2:]
    [-1, 1]
    """
    is_atom = (part["kind"] != "vacancy").to_numpy()
    amplitude = (
        part["amplitude"].to_numpy(float) if "amplitude" in part else np.full(len(part), np.nan)
    )
    amplitude = np.where(is_atom & (amplitude > 0), amplitude, np.nan)
    named = is_atom & (part["species"].fillna("") != "").to_numpy() if "species" in part else None
    if named is not None and named.any():
        code, names = pd.factorize(part["species"].where(named), sort=True)
        share = np.bincount(code[code >= 0], minlength=len(names)) / max((code >= 0).sum(), 1)
        rare = np.flatnonzero(share <= _MAX_DOPANT_SHARE)
        kind = np.where(np.isin(code, rare), code, -1)
    else:
        values = pd.Series(amplitude)
        frame = part["frame"].to_numpy()
        median = values.groupby(frame).transform("median")
        spread = 1.4826 * (values - median).abs().groupby(frame).transform("median")
        bright = values > np.maximum(median + _DOPANT_Z * spread, _DOPANT_RATIO * median)
        common = bright.sum() > _MAX_DOPANT_SHARE * max(is_atom.sum(), 1)
        kind = np.where(bright & (not common), 0, -1)
    return kind.astype(np.int64), np.log(amplitude)
