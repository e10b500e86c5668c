"""A frame that many tests look at."""

import pytest

from scenes import draw, lattice


@pytest.fixture(scope="session")
def bright():
    """A honeycomb of equal atoms, 60 counts high; do not change it."""
    points, _ = lattice()
    return draw(*points.T, 60.0)
