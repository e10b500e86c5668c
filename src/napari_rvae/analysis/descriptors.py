"""What an atom looks like from its position and amplitude alone.

Neighbours, order and brightness (`site_descriptors`); rings, strain and off-centring beside them
(`describe_sites`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree
from scipy.special import expit

from napari_rvae import tables
from napari_rvae.analysis import bonds, strain
from napari_rvae.analysis.bonds import CUTOFF, LONGEST_BOND, RING_COLUMNS, SAME_ATOM
from napari_rvae.analysis.levels import slow_levels
from napari_rvae.analysis.strain import CAGE_COLUMNS, STRAIN_COLUMNS
from napari_rvae.blas import one_blas_thread
from napari_rvae.errors import Cancelled, InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "DESCRIPTOR_COLUMNS",
    "describe_sites",
    "neighbour_distances",
    "relative_amplitudes",
    "site_descriptors",
]

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

#: Column about the turn of the bonds, radians.
_TURNED = "misorientation"

#: Least typical amplitude of a frame, as a share of its largest one.
_LEAST_TYPICAL = 1e-12

#: Width of the cut-off: a neighbour near it counts in part, so that noise makes no jumps.
_SOFTNESS = 0.045


def site_descriptors(
    table: pd.DataFrame,
    neighbour_distance: float | None = None,
    *,
    progress: Callable[[int, int], bool | None] | None = None,
) -> pd.DataFrame:
    """Describe each site by its neighbours in the same frame and by its brightness.

    Parameters
    ----------
    table
        Sites table; vacancies are described, but are no one's neighbours.
    neighbour_distance
        Nearest-neighbour distance in pixels, for all sources; measured for each when left out.
    progress
        Called as ``progress(done, total)`` after each frame; False stops.

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
        - ``relative_amplitude``: amplitude divided by what varies slowly over the frame, as the
          thickness does, and then by the mean of the middle half of the frame's atoms, by
          amplitude. Steps between phases stay.

        A site without neighbours has psi 0 and no bond length (NaN); a site without a position has
        NaN throughout. Positions near the frame's edge lack neighbours beyond it.

    Raises
    ------
    InputError
        If the table is no sites table, or the distance is not positive.
    Cancelled
        If `progress` returned False.

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
    values = np.full((len(table), len(DESCRIPTOR_COLUMNS)), np.nan)
    values[:, -1] = relative_amplitudes(table)
    distances = neighbour_distances(table, neighbour_distance)
    groups = tables.group_rows(table)
    for done, (source, _, rows) in enumerate(groups, 1):
        known = np.isfinite(points[rows]).all(1)
        if math.isfinite(distances[source]):
            here = rows[known]
            values[here, :-1] = _surroundings(
                points[here] / distances[source], is_atom[here], values[here, -1]
            )
        if progress is not None and progress(done, len(groups)) is False:
            raise Cancelled("The description of the sites was stopped: nothing was written.")
    described = pd.DataFrame(values, columns=list(DESCRIPTOR_COLUMNS))
    described.insert(0, "site_id", table["site_id"].to_numpy(np.int64))
    return described


@one_blas_thread()
def describe_sites(
    table: pd.DataFrame,
    neighbour_distance: float | None = None,
    *,
    reference: ArrayLike | None = None,
    progress: Callable[[int, int], bool | None] | None = None,
) -> pd.DataFrame:
    """Describe each site by what can be measured on positions: rings, strain, off-centring.

    Parameters
    ----------
    table
        Sites table. With ``sublattice`` (:func:`~napari_rvae.classify_atoms`) only neighbours on
        another one form the cage; with ``y_sd`` and ``x_sd`` its middle has an error.
    neighbour_distance
        Nearest-neighbour distance in pixels, for all sources; measured for each when left out.
    reference
        Two translations of the lattice without strain, [[dy, dx], [dy, dx]] in pixels; the median
        of the largest crystal of each source when left out. A strain that is the same everywhere,
        such as that of a slanted scan, then does not show.
    progress
        Called as ``progress(done, total)`` after each frame; False stops.

    Returns
    -------
    DataFrame
        One row for each site, in order, all but ``site_id`` float64: the columns of
        :func:`site_descriptors`, and

        - ``bonds``: number of neighbours, counted hard (see below);
        - ``ring3`` to ``ring8``: number of rings of that size at the site: faces of the bond
          graph, which is plane. ``ring_large``: of closed faces with more bonds, such as those
          around vacancies and holes. ``ring_open``: 1 where the outside touches the site, what
          the frame's edge cuts or a vacuum that reaches it; what rings there would be is not
          known. A vacancy has no bonds, and the face that it lies in;
        - ``strain_yy``, ``strain_xx``, ``strain_xy``: strain of the lattice about the site along
          the frame's axes, y down, against the reference turned to it, without dimension;
          ``dilatation``, yy + xx, the growth of the area; ``shear_strain``, half the difference
          of the two principal strains. These two do not change when the specimen is turned;
        - ``lattice_rotation``: turn of the lattice against the reference in radians,
          counter-clockwise on the screen, up to the lattice's symmetry;
        - ``misorientation``: mean angle in radians between the bonds of the site and those of each
          of its neighbours (kernel average misorientation): 0 in a lattice, large between grains;
        - ``off_centre_y``, ``off_centre_x``: position less the mean of the neighbours (of another
          sublattice, where these are known), in pixels; ``off_centre``, its length, and
          ``off_centre_sd``, the standard deviation along it.

        NaN where it cannot be told: strain without a lattice on all sides, or where a crystal has
        another lattice than the reference; off-centring where the cage lacks an atom.

    Raises
    ------
    InputError
        If the table is no sites table, the distance is not positive, or the reference spans no
        lattice.
    Cancelled
        If `progress` returned False.

    Notes
    -----
    Bonds are those of :func:`site_descriptors`, and longer ones up to 1.5 neighbour distances where
    no third atom is nearer to both than they are to each other. Faces are those of their Delaunay
    triangulation that no bond divides. The lattice's two translations are fitted, by least squares,
    to the atoms of the same place of the cell that are one translation away (up to eight). With F
    the gradient that takes the reference's translations to them, F = V R: the strain is V - 1, the
    rotation that of R. Where two sublattices stand on one finer lattice, as the columns of a
    perovskite along [001], that lattice is meant: moving one against the other does not change it.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae import describe_sites
    >>> from napari_rvae.tables import make_sites
    >>> y, x = 10.0 * np.indices((9, 9)).reshape(2, -1)
    >>> found = describe_sites(make_sites(frame=0, y=y, x=x))
    >>> found.loc[40, ["bonds", "ring4", "off_centre"]].tolist()
    [4.0, 4.0, 0.0]
    """
    table = tables.validate_sites(table)
    described = site_descriptors(table, neighbour_distance)
    lattice = strain.checked_reference(reference)
    distances = neighbour_distances(table, neighbour_distance)
    names = (*RING_COLUMNS, *STRAIN_COLUMNS, _TURNED, *CAGE_COLUMNS)
    symmetry = strain.bond_symmetry(described[list(_PSI)].to_numpy())
    values = np.full((len(table), len(names)), np.nan)
    groups, done = tables.group_rows(table), 0
    for source, distance in distances.items():
        frames = [rows for name, _, rows in groups if name == source]
        found = []
        for rows in frames:
            here, ring, bonded, local = _frame_geometry(table, rows, distance, symmetry)
            values[here, : len(RING_COLUMNS)] = ring
            values[here, -len(bonded.T) :] = bonded
            found.append((here, local))
            done += 1
            if progress is not None and progress(done, len(groups)) is False:
                raise Cancelled("The description of the sites was stopped: nothing was written.")
        base = lattice if lattice is not None else strain.mean_lattice([own for _, own in found])
        if base is not None:
            for here, local in found:
                own = slice(len(RING_COLUMNS), len(RING_COLUMNS) + len(STRAIN_COLUMNS))
                values[here, own] = strain.strain_of(local, base)
    return pd.concat([described, pd.DataFrame(values, columns=list(names))], axis=1)


def _frame_geometry(
    table: pd.DataFrame, rows: NDArray[np.int64], distance: float, symmetry: int
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], strain.LocalLattice]:
    """Known rows of one frame, their rings, misorientations and cages, and the local lattice."""
    points = table[["y", "x"]].to_numpy(float)[rows]
    known = np.isfinite(points).all(axis=1) & math.isfinite(distance)
    here, points = rows[known], points[known]
    is_atom = (table["kind"] != "vacancy").to_numpy()[here]
    ring = bonds.ring_counts(points / distance, is_atom)
    sd = np.full(points.shape, np.nan)
    if {"y_sd", "x_sd"} <= set(table):
        sd = table[["y_sd", "x_sd"]].to_numpy(float)[here]
    sublattice = table["sublattice"].to_numpy(np.int64)[here] if "sublattice" in table else None
    pairs = bonds.bonded_pairs(points / distance, is_atom)
    cage = strain.cage_offsets(points, sd, pairs, sublattice)
    turned = strain.misorientations(points, pairs, symmetry)
    local = strain.local_lattice(points[is_atom], distance)
    crystal = np.full(len(here), -1, np.int64)
    basis = np.full((len(here), 2, 2), np.nan)
    crystal[is_atom], basis[is_atom] = local.crystal, local.basis
    bonded = np.column_stack([turned, cage])
    return here, ring, bonded, strain.LocalLattice(crystal, basis)


def neighbour_distances(table: pd.DataFrame, neighbour_distance: float | None) -> dict[str, float]:
    """Neighbour distance in pixels by source; NaN where it cannot be measured."""
    if neighbour_distance is not None:
        return {str(source): neighbour_distance for source in table["source"].unique()}
    atoms = table[table["kind"] != "vacancy"]
    distances = {str(source): math.nan for source in table["source"].unique()}
    for source, part in atoms.groupby("source", sort=True):
        distances[str(source)] = tables.neighbour_distance(part)
    return distances


def relative_amplitudes(table: pd.DataFrame) -> NDArray[np.float64]:
    """Amplitude (N,) of each site relative to its frame's atoms; NaN where it is not known.

    What varies slowly over the frame is taken out first
    (:func:`~napari_rvae.analysis.levels.slow_levels`).
    """
    values = np.full(len(table), np.nan)
    if "amplitude" in table:
        amplitude = table["amplitude"].to_numpy(float)
        is_atom = (table["kind"] != "vacancy").to_numpy()
        amplitude = amplitude / slow_levels(table, amplitude)
        for _, _, rows in tables.group_rows(table):
            values[rows] = _relative(amplitude[rows], is_atom[rows])
    return values


def _relative(amplitude: NDArray[np.float64], is_atom: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Amplitudes of one frame, divided by the mean of the middle half of its atoms.

    The median would jump between the amplitudes of two sublattices from frame to frame.
    """
    known = np.sort(amplitude[is_atom & np.isfinite(amplitude)])
    cut = min(math.ceil(known.size / 4), (known.size - 1) // 2)
    typical = float(known[cut : known.size - cut].mean()) if known.size else math.nan
    largest = float(np.abs(amplitude[np.isfinite(amplitude)]).max(initial=0.0))
    # beside the others, next to nothing is no size to measure by
    usable = typical > _LEAST_TYPICAL * largest
    return amplitude / typical if usable else np.full(amplitude.shape, np.nan)


def _surroundings(
    points: NDArray[np.float64], is_atom: NDArray[np.bool_], relative: NDArray[np.float64]
) -> NDArray[np.float64]:
    """All descriptors but the last (N, 9) of the points (N, 2) of one frame."""
    count = len(points)
    reach = CUTOFF * LONGEST_BOND + 5 * _SOFTNESS
    pairs = cKDTree(points).query_pairs(reach, output_type="ndarray") if count else np.empty((0, 2))
    both = np.concatenate([pairs, pairs[:, ::-1]]).astype(np.int64)
    here, there = both[is_atom[both[:, 1]]].T
    offset = points[there] - points[here]
    distance = np.hypot(offset[:, 0], offset[:, 1])
    apart = distance > SAME_ATOM
    here, there, offset, distance = here[apart], there[apart], offset[apart], distance[apart]
    bond = np.full(count, np.inf)
    np.minimum.at(bond, here, distance)
    bond = np.clip(bond, 1.0, LONGEST_BOND)
    cutoff = CUTOFF * np.maximum(bond[here], bond[there])
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
