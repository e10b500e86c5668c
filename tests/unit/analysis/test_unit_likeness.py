"""Which groups of environments are one unit, with known truth."""

from __future__ import annotations

import numpy as np
import pytest

from napari_rvae.analysis.units.hosts import fit_hosts
from napari_rvae.analysis.units.likeness import Likeness
from napari_rvae.analysis.units.rings import USUAL
from napari_rvae.analysis.units.sites import Evidence
from napari_rvae.analysis.units.stays import Stays

N_HOST, N_DEFECT = 200, 12
#: Row of an order parameter that tells atoms of the defect from the host's.
PSI4 = 4


def cost(*, loose=True, touching=1.0, bright=1.0):
    """Cost of merging the two halves of a row of distorted atoms in a host.

    So large a share of the smaller half has a neighbour in the other.
    """
    rng = np.random.default_rng(0)
    environment = np.repeat([0, 1, 2], [N_HOST, N_DEFECT, N_DEFECT + 4])
    count = len(environment)
    middle = np.array([[0.0, 0.0], [40.0, 0.0], [40.0, 40.0]])  # a valley between any two
    points = middle[environment] + rng.normal(size=(count, 2))
    central = np.zeros((count, 10))
    central[:, 0], central[:, 7:] = 3.0, 1.0
    central[environment > 0, PSI4] = 0.5
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
        min_places=4,
        loose=np.array([False, loose, False]),
        bonds=np.stack([first, first + N_DEFECT], axis=1),
    )
    return likeness([1], [2])


def test_parts_of_a_defect_that_other_starts_cut_otherwise_are_one_unit():
    assert cost() < 1
    assert cost(touching=0.6) < 1


@pytest.mark.parametrize(
    "otherwise",
    [{"loose": False}, {"touching": 0.4}, {"bright": 3.0}],
    ids=["found again", "apart", "another element"],
)
def test_other_units_beside_each_other_stay_apart(otherwise):
    assert cost(**otherwise) >= 1
