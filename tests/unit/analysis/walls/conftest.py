"""Simulated movies of domains, shared by the tests of walls."""

import pytest

from napari_rvae import signed_response, simulate_walls


@pytest.fixture(scope="session")
def growth():
    """Domains that grow for 12 frames."""
    return simulate_walls(n_frames=12, size=160, seed=3)


@pytest.fixture(scope="session")
def response(growth):
    return signed_response(growth.frames)
