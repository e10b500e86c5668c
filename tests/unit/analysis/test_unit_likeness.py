"""Which groups of environments are one unit, with known truth."""

from __future__ import annotations

import numpy as np
import pytest

from napari_rvae.analysis.appearance import TOLERANCE
from napari_rvae.analysis.units.hosts import fit_hosts
from napari_rvae.analysis.units.likeness import Likeness
from napari_rvae.analysis.units.ring_codes import USUAL
from napari_rvae.analysis.units.sites import Evidence
from napari_rvae.analysis.units.stays import Stays

N_HOST, N_DEFECT = 200, 12
#: Row of an order parameter that tells atoms of the defect from the host's.
PSI4 = 4


def merged(
    pair=([1], [2]),
    *,
    loose=True,
    unstable=None,
    touching=1.0,
    bright=1.0,
    distorted=0.5,
    min_places=4,
    turn=None,
):
    """Cost of merging two of: a host, and the two halves of a row of distorted atoms in it.

    So large a share of the smaller half has a neighbour in the other; so far is the row turned
    against the host.
    """
    rng = np.random.default_rng(0)
    environment = np.repeat([0, 1, 2], [N_HOST, N_DEFECT, N_DEFECT + 4])
    count = len(environment)
    middle = np.array([[0.0, 0.0], [40.0, 0.0], [40.0, 40.0]])  # a valley between any two
    points = middle[environment] + rng.normal(size=(count, 2))
    central = np.zeros((count, 10))
    central[:, 0], central[:, 7:] = 3.0, 1.0
    central[environment > 0, PSI4] = distorted
    central[environment == 2, -1] = bright
    sites = Evidence(
        central=central,
        place=np.arange(count),
        frame=np.zeros(count, np.int64),
        kind=np.ones(count, np.int64),
        membership=np.zeros((count, 0)),
    )
    first = N_HOST + np.arange(round(touching * N_DEFECT))
    likeness = Likeness(
        Stays(np.arange(count), np.ones(count, np.int64), points),
        environment,
        fit_hosts(points, np.zeros(count, np.int64)),
        sites,
        np.full(3, USUAL),
        min_places=min_places,
        unstable=np.arange(3) == (-1 if unstable is None else unstable),
        loose=np.array([False, loose, False]),
        bonds=np.stack([first, first + N_DEFECT], axis=1),
        turn=None if turn is None else np.where(environment > 0, turn, 0.0),
    )
    return likeness(*pair)


def test_parts_of_a_defect_that_other_starts_cut_otherwise_are_one_unit():
    assert merged() < 1
    assert merged(touching=0.6) < 1


def test_a_small_part_that_other_starts_did_not_find_need_not_touch_the_other():
    assert merged(touching=0.4, unstable=1) < 1
    assert merged(touching=0.4, unstable=2) >= 1  # the larger part
    assert merged(touching=0.4, unstable=1, bright=3.0) >= 1


@pytest.mark.parametrize(
    "otherwise",
    [{"loose": False}, {"touching": 0.4}, {"bright": 3.0}],
    ids=["found again", "apart", "another element"],
)
def test_other_units_beside_each_other_stay_apart(otherwise):
    assert merged(**otherwise) >= 1


#: Distorted a little: by more than what is surely the host's, by less than what is surely not.
A_LITTLE = 0.8 * TOLERANCE[PSI4]


def test_slices_of_the_flank_of_a_defect_that_other_starts_cut_otherwise_are_the_host():
    assert merged(([0], [1]), distorted=A_LITTLE) < 1


@pytest.mark.parametrize(
    "otherwise",
    [{"loose": False}, {"distorted": 1.1 * TOLERANCE[PSI4]}, {"min_places": N_DEFECT + 1}],
    ids=["found again", "distorted", "irregular"],
)
def test_other_distorted_atoms_are_apart_from_the_host(otherwise):
    assert merged(([0], [1]), **({"distorted": A_LITTLE} | otherwise)) >= 1


@pytest.mark.parametrize(
    ("turn", "apart"), [(None, False), (0.0, False), (0.07, False), (0.1, True), (np.nan, False)]
)
def test_atoms_that_are_turned_against_their_neighbours_are_no_host(turn, apart):
    assert (merged(([0], [1]), distorted=0.0, turn=turn) >= 1) == apart
