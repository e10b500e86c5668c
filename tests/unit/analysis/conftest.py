"""Lattices of known sites."""

import numpy as np
import pytest


def _honeycomb(size, bond):
    n = int(size / bond) + 4
    i, j = (index.ravel()[:, None] for index in np.mgrid[-n:n, -n:n])
    corner = i * [0, np.sqrt(3) * bond] + j * [1.5 * bond, np.sqrt(3) / 2 * bond]
    points = np.concatenate([corner, corner + np.array([bond, 0])])
    return points[((points >= 0) & (points < size)).all(1)]


@pytest.fixture(scope="session")
def honeycomb():
    """Make the sites (N, 2) of a honeycomb lattice in a square of a size, with a bond length."""
    return _honeycomb
