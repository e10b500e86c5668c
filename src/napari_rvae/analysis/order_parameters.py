"""Order parameters over time or dose: latents, shares of units and their entropy, with bands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.special import xlogy
from scipy.stats import t as student

from napari_rvae import tables
from napari_rvae.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_rvae.analysis.units import Units

    Array = NDArray[np.float64]
    Ids = NDArray[np.int64]

__all__ = ["order_parameters", "unit_shares"]

#: A frame is cut into so many blocks along each side.
_SIDE = 4
_CLOCK = ("time", "dose", "total_dose")


def unit_shares(
    table: pd.DataFrame,
    units: Units | None = None,
    *,
    frames_table: pd.DataFrame | None = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """Share of each unit in each frame, with a band.

    Parameters
    ----------
    table
        Sites table, with ``unit`` unless `units` is given.
    units
        What :func:`~napari_rvae.find_units` returned.
    frames_table
        ``Frames.table``: ``frame``, ``time``, ``dose``.
    level
        Probability that a band holds the share of a larger field of view in the same state.

    Returns
    -------
    DataFrame
        ``source``, ``frame``, ``time``, ``dose``, ``total_dose`` up to the end of the frame (NaN
        where unknown), ``unit``, ``name``, ``share`` of the frame's sites that have a unit,
        ``share_low``, ``share_high`` and ``n_sites``.

    Notes
    -----
    See :func:`order_parameters` for the bands.

    Examples
    --------
    >>> from napari_rvae import unit_shares
    >>> from napari_rvae.tables import make_sites
    >>> sites = make_sites(frame=0, y=[0.0, 9.0, 18.0, 27.0], x=[0.0] * 4, unit=[0, 0, 0, 1])
    >>> unit_shares(sites)["share"].tolist()
    [0.75, 0.25]
    """
    table, numbers, names = _with_units(table, units)
    values = _indicators(table["unit"].to_numpy(np.int64), numbers)
    parts = []
    for source, frames, rows in _movies(table):
        mean, low, high, count = _bands(table.iloc[rows], values[rows], level)
        for k, number in enumerate(numbers):
            parts.append(
                pd.DataFrame(
                    {
                        "source": source,
                        "frame": frames,
                        "unit": number,
                        "name": names.get(int(number), f"unit {number}"),
                        "share": mean[:, k],
                        "share_low": np.clip(low[:, k], 0, 1),
                        "share_high": np.clip(high[:, k], 0, 1),
                        "n_sites": count[:, k],
                    }
                )
            )
    columns = ["unit", "name", "share", "share_low", "share_high", "n_sites"]
    return _timed(parts, columns, frames_table, ["source", "frame", "unit"])


def order_parameters(
    table: pd.DataFrame,
    columns: Sequence[str] | None = None,
    *,
    units: Units | None = None,
    frames_table: pd.DataFrame | None = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """Means over each frame of latents or other columns, and the entropy of the units.

    Parameters
    ----------
    table
        Sites table.
    columns
        Columns of numbers; by default the latents ``z0``, ``z1``, ...
    units
        What :func:`~napari_rvae.find_units` returned; or the table's column ``unit`` is taken.
    frames_table
        ``Frames.table``: ``frame``, ``time``, ``dose``.
    level
        Probability that a band holds the value of a larger field of view in the same state.

    Returns
    -------
    DataFrame
        ``source``, ``frame``, ``time``, ``dose``, ``total_dose``, ``quantity`` (the column, or
        "entropy"), ``value``, ``value_low``, ``value_high``, ``n_sites``. The entropy is that of
        the shares of the units, in nats.

    Raises
    ------
    InputError
        If a column is missing or holds no numbers, or there is neither a latent nor a unit.

    Notes
    -----
    Neighbouring sites share pixels and surroundings, so that their number says too much. Each frame
    is cut into 4 x 4 blocks; the band is that of Student's t over a jackknife that leaves out one
    block at a time. It is NaN where fewer than two blocks hold a site. It says how well a frame
    stands for the specimen around it, not how well a model knows its latents; frames show the same
    sites again and again, so that their bands are not independent.

    Examples
    --------
    >>> from napari_rvae import order_parameters
    >>> from napari_rvae.tables import make_sites
    >>> sites = make_sites(frame=[0, 0, 1, 1], y=[0.0, 9.0, 0.0, 9.0], x=[0.0] * 4, z0=[1, 3, 2, 4])
    >>> order_parameters(sites)["value"].tolist()
    [2.0, 3.0]
    """
    table = tables.validate_sites(table)
    columns = tables.latent_names(table) if columns is None else list(columns)
    wrong = [name for name in columns if name not in table or table[name].dtype.kind not in "fiub"]
    if wrong:
        named = ", ".join(wrong)
        raise InputError(f"The sites table has no numbers in {named}: name other columns.")
    has_units = units is not None or "unit" in table
    if not columns and not has_units:
        raise InputError("The sites have neither latents nor units: join them, or name columns.")
    values = table[columns].to_numpy(float)
    values = np.where(np.isfinite(values), values, np.nan)
    shares = np.empty((len(table), 0))
    if has_units:
        with_units, numbers, _ = _with_units(table, units)
        shares = _indicators(with_units["unit"].to_numpy(np.int64), numbers)
    parts = []
    for source, frames, rows in _movies(table):
        part = table.iloc[rows]
        found = _bands(part, values[rows], level)
        if has_units:
            entropy = _bands(part, shares[rows], level, entropy=True)
            pairs = zip(found, entropy, strict=True)
            found = tuple(np.concatenate(both, axis=1) for both in pairs)  # type: ignore[assignment]
        for k, name in enumerate([*columns, *(["entropy"] if has_units else [])]):
            mean, low, high, count = (item[:, k] for item in found)
            one = {"value": mean, "value_low": low, "value_high": high, "n_sites": count}
            parts.append(pd.DataFrame({"source": source, "frame": frames, "quantity": name, **one}))
    names = ["quantity", "value", "value_low", "value_high", "n_sites"]
    return _timed(parts, names, frames_table, ["source", "quantity", "frame"])


def _with_units(
    table: pd.DataFrame, units: Units | None
) -> tuple[pd.DataFrame, Ids, dict[int, str]]:
    """Sites with a column ``unit``, the numbers of the units, and their names."""
    table = tables.validate_sites(table)
    names: dict[int, str] = {}
    if units is not None:
        table, names = tables.join_latents(table, units.table[["site_id", "unit"]]), units.names
    elif "unit" not in table:
        raise InputError("The sites have no units: give units=find_units(...).")
    numbers = np.unique(table["unit"].to_numpy(np.int64))
    return table, numbers[numbers >= 0], names


def _indicators(unit: Ids, numbers: Ids) -> Array:
    """1 for the unit of each site (R, U), 0 for the others; NaN for a site without one."""
    return np.where((unit >= 0)[:, None], np.equal(unit[:, None], numbers), np.nan)


def _movies(table: pd.DataFrame) -> list[tuple[str, Ids, Ids]]:
    """Sources, their frames and their rows."""
    groups = table.groupby("source", sort=True).indices if len(table) else {}
    frame = table["frame"].to_numpy(np.int64)
    return [
        (str(source), np.unique(frame[rows]), np.asarray(rows, np.int64))
        for source, rows in groups.items()
    ]


def _bands(
    part: pd.DataFrame, values: Array, level: float, *, entropy: bool = False
) -> tuple[Array, Array, Array, Array]:
    """Means (T, Q), lower and upper ends, and numbers of values; or those of the entropy (T, 1)."""
    frames, which = np.unique(part["frame"].to_numpy(np.int64), return_inverse=True)
    cell = which * _SIDE**2 + _blocks(part, which, len(frames))
    shape = (len(frames), _SIDE**2, values.shape[1])
    known = np.isfinite(values)
    sums, counts = (
        np.zeros((shape[0] * shape[1], shape[2])),
        np.zeros((shape[0] * shape[1], shape[2])),
    )
    np.add.at(sums, cell, np.where(known, values, 0.0))
    np.add.at(counts, cell, known)
    sums, counts = sums.reshape(shape), counts.reshape(shape)
    total, number = sums.sum(axis=1), counts.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / number
        left_out = (total[:, None] - sums) / (number[:, None] - counts)
    if entropy:
        mean, left_out = _entropy(mean), _entropy(left_out)
        counts, number = counts[..., :1], number[..., :1]
    filled = (counts > 0) & np.isfinite(left_out)
    blocks = filled.sum(axis=1)
    there = np.where(filled, left_out, 0.0)
    middle = there.sum(axis=1) / np.maximum(blocks, 1)
    spread = (np.where(filled, left_out - middle[:, None], 0.0) ** 2).sum(axis=1)
    error = np.sqrt(spread * (blocks - 1) / np.maximum(blocks, 1))
    reach = student.ppf((1 + level) / 2, np.maximum(blocks - 1, 1)) * error
    reach = np.where(blocks > 1, reach, np.nan)
    return mean, mean - reach, mean + reach, number


def _entropy(shares: Array) -> Array:
    """Entropy (..., 1) of shares (..., U) in nats."""
    return np.asarray(-xlogy(shares, shares).sum(axis=-1, keepdims=True))


def _blocks(part: pd.DataFrame, which: Ids, n_frames: int) -> Ids:
    """Block (R,) of each site in its frame; sites without a position are in the first."""
    block = np.zeros(len(part), np.int64)
    for name in ("y", "x"):
        place = part[name].to_numpy(float)
        known = np.isfinite(place)
        low, high = np.full(n_frames, np.inf), np.full(n_frames, -np.inf)
        np.minimum.at(low, which[known], place[known])
        np.maximum.at(high, which[known], place[known])
        size = np.where(high > low, high - low, 1.0)
        share = np.where(known, (np.nan_to_num(place) - low[which]) / size[which], 0.0)
        block = block * _SIDE + np.clip((share * _SIDE).astype(np.int64), 0, _SIDE - 1)
    return block


def _timed(
    parts: list[pd.DataFrame],
    columns: list[str],
    frames_table: pd.DataFrame | None,
    order: list[str],
) -> pd.DataFrame:
    """Put the parts together and add time and dose of the frames."""
    names = ["source", "frame", *_CLOCK, *columns]
    if not parts:
        return pd.DataFrame(columns=names)
    table = pd.concat(parts, ignore_index=True)
    clock = pd.DataFrame(columns=["frame", *_CLOCK], dtype=float)
    if frames_table is not None and "frame" in frames_table:
        clock = frames_table.drop_duplicates("frame").sort_values("frame")
        if "dose" in clock:
            clock = clock.assign(total_dose=clock["dose"].cumsum())
        clock = clock.reindex(columns=["frame", *_CLOCK])
    clock = clock.set_index("frame")
    for name in _CLOCK:
        table[name] = table["frame"].map(clock[name]).astype(float)
    ordered: pd.DataFrame = table[names].sort_values(order, ignore_index=True)
    return ordered
