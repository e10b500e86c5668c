"""Order parameters over a movie: latents, shares of units, their entropy, with honest bands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.stats import t as student

from napari_rvae import tables
from napari_rvae.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_rvae.analysis.units import Units

    Array = NDArray[np.float64]

__all__ = ["ENTROPY", "order_parameters"]

#: Name of the entropy among the order parameters.
ENTROPY = "entropy of units"

#: A frame is divided into so many blocks along each axis; windows of neighbours overlap, so that
#: single sites would count for more than they are worth.
_BLOCKS = 4

#: Probability that a band holds the true value.
_LEVEL = 0.95


def order_parameters(
    table: pd.DataFrame,
    columns: Sequence[str] | None = None,
    *,
    units: Units | None = None,
    frames_table: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Follow means of columns, shares of units and their entropy from frame to frame.

    Parameters
    ----------
    table
        Sites table with latents, units, or other numbers.
    columns
        Columns to take the mean of; the latents, if left out. Angles have no mean.
    units
        What :func:`~napari_rvae.find_units` returned; the table's own ``unit`` otherwise.
    frames_table
        ``Frames.table``: adds ``time``, and ``dose`` summed over the frames, where it has them.

    Returns
    -------
    DataFrame
        One row for each frame (of each source) and quantity: ``source``, ``frame``, ``name`` ("z0",
        "unit 0", "entropy of units", ...), ``value``, ``low``, ``high`` (95 % band of its change
        against the mean over the movie; of one frame, of the value itself; NaN where all sites lie
        in one part of the frame), ``n`` sites; ``time`` and ``dose``.

    Raises
    ------
    InputError
        If a column is missing or holds no numbers, or there is nothing to follow.

    Notes
    -----
    The band comes from leaving out one of 4 x 4 parts of the frame at a time (jackknife), with
    Student's t: sites near each other share most of their windows, so that a standard error over
    single sites is too small. What differs between the parts in all frames alike is taken out, as
    it is no change. The entropy is that of the shares in nats: 0 where all sites belong
    to one unit.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae import order_parameters
    >>> from napari_rvae.tables import make_sites
    >>> y, x = 10.0 * np.indices((8, 8)).reshape(2, -1)
    >>> sites = make_sites(frame=0, y=y, x=x, z0=np.arange(64.0))
    >>> order_parameters(sites)[["name", "value"]].values.tolist()
    [['z0', 31.5]]
    """
    table = tables.validate_sites(table)
    if units is not None:
        table = tables.join_latents(
            table.drop(columns="unit", errors="ignore"), units.table[["site_id", "unit"]]
        )
    names = list(tables.latent_names(table) if columns is None else columns)
    missing = [name for name in names if name not in table or table[name].dtype.kind not in "fiub"]
    if missing:
        raise InputError(f"{', '.join(missing)}: no column of numbers of that name.")
    numbers = np.unique(table.loc[table["unit"] >= 0, "unit"]) if "unit" in table else np.array([])
    if not names and not numbers.size:
        raise InputError("There are neither latents nor units to follow: train a model first.")
    parts = [
        _of_source(table[table["source"] == source], names, numbers).assign(source=source)
        for source in dict.fromkeys(sorted(table["source"]))
    ]
    order = ["source", "frame", "name", "value", "low", "high", "n"]
    found = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=order)
    return _clocked(found[order], frames_table)


def _of_source(sites: pd.DataFrame, names: list[str], units: NDArray[np.int64]) -> pd.DataFrame:
    """Quantities of one movie with their bands."""
    frames, at = np.unique(sites["frame"].to_numpy(np.int64), return_inverse=True)
    cell = at * _BLOCKS**2 + _blocks(sites)
    shape = (len(frames), _BLOCKS**2)

    def summed(rows: NDArray[np.bool_], values: Array | None = None) -> Array:
        weights = None if values is None else values[rows]
        sums = np.bincount(cell[rows], weights, minlength=shape[0] * shape[1])
        return np.asarray(sums.astype(float).reshape(shape))

    found = []
    for name in names:
        values = sites[name].to_numpy(float)
        good = np.isfinite(values)
        found.append(_band(name, summed(good, values)[..., None], summed(good), _first))
    if units.size:
        unit = sites["unit"].to_numpy()
        counts = summed(unit >= 0)
        per = np.stack([summed(unit == one) for one in units], 2)
        for number, one in enumerate(units):
            share = per[..., number : number + 1]
            found.append(_band(f"unit {one}", share, counts, _first, high=1.0))
        found.append(_band(ENTROPY, per, counts, _entropy))
    return pd.concat([part.assign(frame=frames) for part in found], ignore_index=True)


def _blocks(sites: pd.DataFrame) -> NDArray[np.intp]:
    """Part of the frame (N,) that each site lies in."""
    number = np.zeros(len(sites), np.intp)
    for name in ("y", "x"):
        place = sites[name].to_numpy(float)
        low, high = np.nanmin(place), np.nanmax(place)
        share = (place - low) / max(high - low, np.finfo(float).tiny)
        number = number * _BLOCKS + np.clip(np.nan_to_num(share) * _BLOCKS, 0, _BLOCKS - 1).astype(
            np.intp
        )
    return number


def _first(shares: Array) -> Array:
    return shares[..., 0]


def _entropy(shares: Array) -> Array:
    """Entropy of shares (..., U) in nats."""
    return np.asarray(-(shares * np.log(np.where(shares > 0, shares, 1.0))).sum(-1))


def _band(
    name: str,
    sums: Array,
    counts: Array,
    statistic: Callable[[Array], Array],
    *,
    high: float = np.inf,
) -> pd.DataFrame:
    """Statistic of sums (T, B, K) over counts (T, B) in each frame, and its band."""
    used = counts.sum(0) > 0
    sums, counts = sums[:, used], counts[:, used]
    parts, total = int(used.sum()), counts.sum(1)
    value = statistic(_ratio(sums.sum(1), total))
    without = statistic(_ratio(sums.sum(1, keepdims=True) - sums, total[:, None] - counts))
    reach = np.full(len(value), np.nan)
    if parts > 1:
        if len(value) > 1:  # what a part has in all frames is its level, and no change
            without = without - np.nanmean(without, axis=0)
        spread = (without - without.mean(1, keepdims=True)) ** 2
        reach = np.sqrt((parts - 1) / parts * spread.sum(1))
        reach *= float(student.ppf(0.5 + _LEVEL / 2, parts - 1))
    lowest = -np.inf if statistic is _first and not np.isfinite(high) else 0.0
    return pd.DataFrame(
        {
            "name": name,
            "value": value,
            "low": np.maximum(value - reach, lowest),
            "high": np.minimum(value + reach, high),
            "n": total.astype(np.int64),
        }
    )


def _ratio(sums: Array, counts: Array) -> Array:
    """Sums (..., K) over counts (...); NaN where nothing was counted."""
    return np.asarray(sums / np.where(counts > 0, counts, np.nan)[..., None])


def _clocked(found: pd.DataFrame, frames_table: pd.DataFrame | None) -> pd.DataFrame:
    """Add time, and the dose summed over the frames."""
    if frames_table is None or "frame" not in frames_table:
        return found
    clock = frames_table.drop_duplicates("frame").sort_values("frame")
    columns = {"frame": clock["frame"].to_numpy()}
    if "time" in clock:
        columns["time"] = clock["time"].to_numpy(float)
    if "dose" in clock:
        columns["dose"] = clock["dose"].to_numpy(float).cumsum()
    return found.merge(pd.DataFrame(columns), on="frame", how="left")
