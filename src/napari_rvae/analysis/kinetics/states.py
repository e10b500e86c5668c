"""States: units, those of dopants divided by the class of their lattice angle."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_rvae.analysis.kinetics.divisions import Divide
from napari_rvae.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_rvae.analysis.units import Units

    Array = NDArray[np.float64]
    Ids = NDArray[np.int64]
    Mask = NDArray[np.bool_]

__all__ = ["States", "choose_states", "merge_states", "unit_probabilities"]

#: A state is kept if it is the most probable one at so many sightings, and at this share of them.
_MIN_EXPECTED, _MIN_SHARE = 5.0, 0.005


@dataclass(frozen=True, eq=False)
class States:
    """States of the tracks of one kind, and how probable each is at each row.

    Parameters
    ----------
    table
        ``state``, ``name``, ``unit`` (-1: several, or none), ``angle`` (radians, NaN: all),
        ``expected`` number of sightings.
    probability
        Of each state but the last (R, U); NaN where nothing is known. The last state is never seen.
    """

    table: pd.DataFrame
    probability: Array

    @property
    def names(self) -> dict[int, str]:
        """Name of each state."""
        return dict(enumerate(self.table["name"].astype(str)))


def merge_states(states: States, into: dict[int, int]) -> States:
    """Let some states be part of others.

    Parameters
    ----------
    states
        The states.
    into
        The state that each of some others becomes part of; none of these goes on.
    """
    chance = states.probability.copy()
    for old, new in into.items():
        chance[:, new] += chance[:, old]
    kept = [number for number in range(chance.shape[1]) if number not in into]
    expected = states.table["expected"].to_numpy(float).copy()
    for old, new in into.items():
        expected[new] += expected[old]
    table = states.table.assign(expected=expected)
    table = table.drop(index=list(into)).reset_index(drop=True)
    return States(table.assign(state=np.arange(len(table))), chance[:, kept])


def unit_probabilities(
    table: pd.DataFrame, units: Units | None, given: pd.DataFrame | None = None
) -> tuple[Ids, Array]:
    """Units (U,), and the probability of each at each row (R, U), NaN where there is none.

    What was given (``site_id`` and one column a unit, whose name ends in its number) is taken, else
    ``units.probabilities`` where the units know them. Else the site has its unit with
    ``unit_probability``, and the rest is spread evenly over the others.
    """
    if given is None and units is not None:
        given = units.probabilities
    if given is not None:
        return _given_probabilities(table, given)
    source = table if units is None else units.table
    missing = [name for name in ("site_id", "unit") if name not in source]
    if missing:
        raise InputError(
            "The sites have no units: give units=find_units(...), or join its table to the sites."
        )
    position = pd.Index(source["site_id"]).get_indexer(table["site_id"])
    unit = np.where(position >= 0, source["unit"].to_numpy(np.int64)[position], -1)
    sure = np.ones(len(source))
    if "unit_probability" in source:
        sure = source["unit_probability"].to_numpy(float)
    sure = np.where(position >= 0, sure[position], np.nan)
    known = (unit >= 0) & np.isfinite(sure)
    numbers = np.unique(unit[unit >= 0])
    out = np.full((len(table), len(numbers)), np.nan)
    others = max(len(numbers) - 1, 1)
    out[known] = ((1 - sure[known]) / others)[:, None]
    out[known, np.searchsorted(numbers, unit[known])] = sure[known]
    return numbers.astype(np.int64), out


def _given_probabilities(table: pd.DataFrame, given: pd.DataFrame) -> tuple[Ids, Array]:
    if "site_id" not in given or given["site_id"].duplicated().any():
        raise InputError("The units' probabilities need a column 'site_id' without duplicates.")
    columns = [name for name in given.columns if re.search(r"\d+$", str(name))]
    numbers = np.array([int(re.findall(r"\d+$", str(name))[0]) for name in columns], np.int64)
    position = pd.Index(given["site_id"]).get_indexer(table["site_id"])
    out = given[columns].to_numpy(float)[position]
    out[position < 0] = np.nan
    total = np.nansum(out, axis=1, keepdims=True)
    return numbers, np.where(total > 0, out / np.where(total > 0, total, 1), np.nan)


def choose_states(
    units: Ids,
    probability: Array,
    rows: Mask,
    names: dict[int, str],
    *,
    divide: Divide | None,
    max_states: int,
    hidden: str,
) -> States:
    """Choose the states of some rows.

    Parameters
    ----------
    units
        Numbers of the units (U,).
    probability
        Of each unit (R, U).
    rows
        Rows (R,) that are sightings of these tracks.
    names
        Names of the units.
    divide
        Divides a unit into states, see :mod:`~napari_rvae.analysis.kinetics.divisions`; None: not.
    max_states
        Most states, the hidden one not counted.
    hidden
        Name of the last state.
    """
    parts: list[tuple[int, str, float, Array]] = []
    for column, unit in enumerate(units):
        share = probability[:, column]
        name = names.get(int(unit), f"unit {unit}")
        divided = [] if divide is None else divide(share, rows)
        parts.extend(
            (int(unit), f"{name} {label}", angle, share * p) for label, angle, p in divided
        )
        if not divided:
            parts.append((int(unit), name, math.nan, share))
    expected, leads = _weights([part[3] for part in parts], rows)
    least = max(_MIN_EXPECTED, _MIN_SHARE * leads.sum())
    good = leads >= least
    most = np.argsort(-expected, kind="stable")
    good[[k for k in most if good[k]][max_states:]] = False
    if parts and not good.any():
        good[most[0]] = True
    chosen = [part for part, keep in zip(parts, good, strict=True) if keep]
    if leads[~good].sum() >= least:
        rest = np.sum([part[3] for part, keep in zip(parts, good, strict=True) if not keep], axis=0)
        chosen.append((-1, "other", math.nan, rest))
    values = [part[3] for part in chosen]
    out = np.stack(values, axis=1) if values else np.empty((len(probability), 0))
    sums = out.sum(axis=1, keepdims=True)
    # where what is left out takes nearly all, nothing is known of the states
    out = np.where(sums > 0.05, out / np.where(sums > 0.05, sums, 1.0), np.nan)
    table = pd.DataFrame(
        {
            "state": np.arange(len(chosen) + 1),
            "name": [*(part[1] for part in chosen), hidden],
            "unit": np.array([*(part[0] for part in chosen), -1], np.int64),
            "angle": [*(part[2] for part in chosen), math.nan],
            "expected": [*(float(np.nansum(part[3][rows])) for part in chosen), math.nan],
        }
    )
    return States(table=table, probability=out)


def _weights(values: list[Array], rows: Mask) -> tuple[Array, Array]:
    """Sightings (P,) at which each state is expected, and at which it is the most probable."""
    if not values:
        return np.empty(0), np.empty(0)
    chance = np.stack(values, axis=1)[rows]
    chance = chance[np.isfinite(chance).all(axis=1)]
    leads = np.bincount(chance.argmax(axis=1), minlength=len(values)).astype(float)
    return chance.sum(axis=0), leads
