"""What an atom looks like from its position and amplitude alone: neighbours, order, brightness."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree
from scipy.special import expit

from napari_rvae import tables
from napari_rvae.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["DESCRIPTOR_COLUMNS", "site_descriptors"]

#: Highest order of the bond-orientational order parameters.
_MAX_ORDER = 6
_PSI = tuple(f"psi{m}" for m in range(1, _MAX_ORDER + 1))

#: Columns of a descriptors table beside ``site_id``; all float64.
DESCRIPTOR_COLUMNS = (
    "coordination",
    *_PSI,
    "bond_length",
    "neighbour_amplitude",
    "relative_amplitude",
)

#: Between the first and the second shell of every common lattice, in nearest distances.
_CUTOFF = 1.28
#: Width of the cut-off: a neighbour near it counts in part, so that noise makes no jumps.
_SOFTNESS = 0.045
#: A large dopant keeps its neighbours this much farther away, in neighbour distances.
_LONGEST_BOND = 1.3
#: Nearer than this is the same atom found twice, not a neighbour.
_SAME_ATOM = 0.2


def site_descriptors(table: pd.DataFrame, neighbour_distance: float | None = None) -> pd.DataFrame:
    """Describe each site by its neighbours in the same frame and by its brightness.

    Parameters
    ----------
    table
        Sites table; vacancies are described, but are no one's neighbours.
    neighbour_distance
        Nearest-neighbour distance in pixels, for all sources; measured for each when left out.

    Returns
    -------
    DataFrame
        One row for each site, in order, all but ``site_id`` float64:

        - ``coordination``: number of neighbours, counted softly: atoms nearer than 1.28 times the
          shortest bond of either of the two (taken between 1 and 1.3 neighbour distances);
        - ``psi1`` to ``psi6``: modulus of the mean of exp(i m phi) over the neighbours, phi the
          direction of the bond (Nelson and Halperin, Phys. Rev. B 19, 2457 (1979)), 0 to 1;
        - ``bond_length``: mean distance of the neighbours, in neighbour distances;
        - ``neighbour_amplitude``: mean relative amplitude of the neighbours;
        - ``relative_amplitude``: amplitude divided by the mean of the middle half of the frame's
          atoms, by amplitude.

        A site without neighbours has psi 0 and no bond length (NaN); a site without a position has
        NaN throughout. Positions near the frame's edge lack neighbours beyond it.

    Raises
    ------
    InputError
        If the table is no sites table, or the distance is not positive.

    Examples
    --------
    >>> from napari_rvae.analysis.descriptors import site_descriptors
    >>> from napari_rvae.tables import make_sites
    >>> chain = make_sites(frame=0, y=[5.0, 5.0, 5.0], x=[10.0, 20.0, 30.0])
    >>> site_descriptors(chain)["coordination"].round().tolist()
    [1.0, 2.0, 1.0]
    """
    table = tables.validate_sites(table)
    if neighbour_distance is not None and not neighbour_distance > 0:
        raise InputError(
            f"neighbour_distance = {neighbour_distance} must be positive: give it in pixels."
        )
    points = table[["y", "x"]].to_numpy(float)
    is_atom = (table["kind"] != "vacancy").to_numpy()
    has_amplitude = "amplitude" in table
    amplitude = table["amplitude"].to_numpy(float) if has_amplitude else np.full(len(table), np.nan)
    values = np.full((len(table), len(DESCRIPTOR_COLUMNS)), np.nan)
    distances = _distance_of_each_source(table, neighbour_distance)
    for source, _, rows in tables.group_rows(table):
        relative = _relative(amplitude[rows], is_atom[rows])
        values[rows, -1] = relative
        known = np.isfinite(points[rows]).all(1)
        if math.isfinite(distances[source]):
            here = rows[known]
            values[here, :-1] = _surroundings(
                points[here] / distances[source], is_atom[here], relative[known]
            )
    described = pd.DataFrame(values, columns=list(DESCRIPTOR_COLUMNS))
    described.insert(0, "site_id", table["site_id"].to_numpy(np.int64))
    return described


def _distance_of_each_source(
    table: pd.DataFrame, neighbour_distance: float | None
) -> dict[str, float]:
    """Neighbour distance in pixels by source; NaN where it cannot be measured."""
    if neighbour_distance is not None:
        return {str(source): neighbour_distance for source in table["source"].unique()}
    atoms = table[table["kind"] != "vacancy"]
    distances = {str(source): math.nan for source in table["source"].unique()}
    for source, part in atoms.groupby("source", sort=True):
        distances[str(source)] = tables.neighbour_distance(part)
    return distances


def _relative(amplitude: NDArray[np.float64], is_atom: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Amplitudes of one frame, divided by the mean of the middle half of its atoms.

    The median would jump between the amplitudes of two sublattices from frame to frame.
    """
    known = np.sort(amplitude[is_atom & np.isfinite(amplitude)])
    cut = min(math.ceil(known.size / 4), (known.size - 1) // 2)
    typical = float(known[cut : known.size - cut].mean()) if known.size else math.nan
    return amplitude / typical if typical > 0 else np.full(amplitude.shape, np.nan)


def _surroundings(
    points: NDArray[np.float64], is_atom: NDArray[np.bool_], relative: NDArray[np.float64]
) -> NDArray[np.float64]:
    """All descriptors but the last (N, 9) of the points (N, 2) of one frame."""
    count = len(points)
    reach = _CUTOFF * _LONGEST_BOND + 5 * _SOFTNESS
    pairs = cKDTree(points).query_pairs(reach, output_type="ndarray") if count else np.empty((0, 2))
    both = np.concatenate([pairs, pairs[:, ::-1]]).astype(np.int64)
    here, there = both[is_atom[both[:, 1]]].T
    offset = points[there] - points[here]
    distance = np.hypot(offset[:, 0], offset[:, 1])
    apart = distance > _SAME_ATOM
    here, there, offset, distance = here[apart], there[apart], offset[apart], distance[apart]
    bond = np.full(count, np.inf)
    np.minimum.at(bond, here, distance)
    bond = np.clip(bond, 1.0, _LONGEST_BOND)
    cutoff = _CUTOFF * np.maximum(bond[here], bond[there])
    weight = expit((cutoff - distance) / _SOFTNESS)

    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        known = np.isfinite(values)
        total = np.bincount(here[known], (weight * values)[known], minlength=count)
        number = np.bincount(here[known], weight[known], minlength=count)
        # a lone far neighbour, hardly counted, says nothing
        return np.where(number > 0.3, total / np.maximum(number, 0.3), np.nan)

    phase = np.arctan2(offset[:, 0], offset[:, 1])
    order = [
        np.nan_to_num(np.hypot(mean(np.cos(m * phase)), mean(np.sin(m * phase))))
        for m in range(1, _MAX_ORDER + 1)
    ]
    number = np.bincount(here, weight, minlength=count)
    return np.stack([number, *order, mean(distance), mean(relative[there])], axis=1)
