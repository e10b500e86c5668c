"""What stands beside the sites: bonds, the turn between neighbours, names of environments."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_rvae import tables
from napari_rvae.analysis.appearance import NEXT_TO, unused_name
from napari_rvae.analysis.bonds import bonded_pairs
from napari_rvae.analysis.descriptors import neighbour_distances
from napari_rvae.analysis.strain import bond_symmetry, misorientations

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_rvae.analysis.units.result import Units
    from napari_rvae.analysis.units.sites import Evidence

    Ids = NDArray[np.int64]

__all__ = ["bonds_of", "environment_names", "turns_of"]

#: A neighbour is named if so many of it stand beside the mean site, and a species if so large a
#: share of the sites knows theirs.
_NAMED, _KNOWN = 0.5, 0.5


def environment_names(units: Units, table: pd.DataFrame, bonds: Ids) -> list[str]:
    """Name of each environment: that of its unit, and what its atoms stand beside.

    With ``species`` as "C beside Si" or "C beside 2 Si", else by the neighbours' units, such as
    "host, next to edge"; neighbours of the most frequent species, in hosts, or in the same unit are
    not named. What cannot be told apart so is numbered.

    Parameters
    ----------
    units
        Units, as they were found.
    table
        The sites table, in the order of the units' table.
    bonds
        Pairs of its rows (M, 2) that are bonded.
    """
    finer = units.environments
    of_unit = [units.names[int(unit)] for unit in finer["unit"]]
    is_host = units.summary.set_index("unit")["is_host"]
    number = units.table["environment"].to_numpy(np.int64)
    species, others = _labels(units, table)
    beside = _beside(bonds, others, number, len(finer))
    names: list[str] = []
    for environment, base, unit in zip(finer["environment"], of_unit, finer["unit"], strict=True):
        own = pd.Series(species[number == environment])
        own = own[own != ""]
        found = {label: count for label, count in beside[environment].items() if label != base}
        name = base
        if len(own) and found:
            words = [f"{count} {label}" if count > 1 else label for label, count in found.items()]
            name = f"{own.mode().iloc[0]} beside {' and '.join(words)}"
            name = name if is_host[unit] else f"{base}: {name}"
        elif found:
            name = f"{base}{NEXT_TO}{' and '.join(found)}"
        names.append(unused_name(name, names))
    return names


def _labels(units: Units, table: pd.DataFrame) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
    """Species (N,) of each site, "" where unknown, and what it is called as a neighbour.

    The latter is "" for what need not be named.
    """
    species = np.full(len(table), "", object)
    if "species" in table:
        species = table["species"].fillna("").to_numpy(object).astype(str).astype(object)
    if np.mean(species != "") >= _KNOWN:
        usual = pd.Series(species[species != ""]).mode().iloc[0]
        return species, np.where(species == usual, "", species)
    quiet = units.summary.loc[units.summary["is_host"], "unit"]
    unit = units.table["unit"]
    names = unit.map(units.names).fillna("").where(~unit.isin(quiet), "")
    return np.full(len(table), "", object), names.to_numpy(object)


def bonds_of(table: pd.DataFrame, tick: Callable[[], None] | None = None) -> Ids:
    """Pairs of rows (M, 2) of a sites table that are bonded, in all frames.

    `tick` is called for each frame; it may raise.
    """
    points = table[["y", "x"]].to_numpy(float)
    is_atom = (table["kind"] == "atom").to_numpy()
    distances = neighbour_distances(table, None)
    pairs = [np.zeros((0, 2), np.int64)]
    for source, _, rows in tables.group_rows(table):
        if tick is not None:
            tick()
        here = rows[np.isfinite(points[rows]).all(axis=1)]
        if math.isfinite(distances[source]) and distances[source] > 0 and len(here) > 1:
            pairs.append(here[bonded_pairs(points[here] / distances[source], is_atom[here])])
    return np.concatenate(pairs)


def turns_of(table: pd.DataFrame, sites: Evidence, bonds: Ids) -> NDArray[np.float64]:
    """Misorientation (N,) of the sites of a table in radians; NaN without bonds (M, 2)."""
    points = table[["y", "x"]].to_numpy(float)
    order = sites.central[:, 1:7]  # psi1 to psi6
    return misorientations(points, bonds, bond_symmetry(order))


def _beside(
    bonds: Ids, label: NDArray[np.object_], environment: Ids, n_environments: int
) -> list[dict[str, int]]:
    """How many neighbours of each label a site of each environment has, most frequent first."""
    both = np.concatenate([bonds, bonds[:, ::-1]])
    found = pd.DataFrame({"environment": environment[both[:, 0]], "label": label[both[:, 1]]})
    found = found[(found["label"] != "") & (found["environment"] >= 0)]
    counts = found.value_counts().reset_index()
    size = np.bincount(environment[environment >= 0], minlength=n_environments)  # some have none
    counts["per_site"] = counts["count"] / size[counts["environment"]]
    counts = counts[counts["per_site"] >= _NAMED]
    numbers, labels = counts["environment"].tolist(), counts["label"].tolist()
    beside: list[dict[str, int]] = [{} for _ in size]
    for number, name, many in zip(numbers, labels, counts["per_site"], strict=True):
        beside[number][str(name)] = max(round(float(many)), 1)
    return beside
