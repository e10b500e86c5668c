"""Fixtures and settings for all tests."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from napari_rvae.synthetic import simulate_graphene, simulate_perovskite

os.environ.setdefault("MPLBACKEND", "Agg")  # figures need no screen
# joblib complains where it cannot count physical cores, and warnings are errors here
os.environ.setdefault("LOKY_MAX_CPU_COUNT", str(os.cpu_count() or 1))

# Timings vary on shared machines; a failing example is printed, so no folder is needed.
settings.register_profile("napari_rvae", deadline=None, database=None, max_examples=50)
settings.load_profile("napari_rvae")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def graphene():
    """Four frames of graphene with everything in them; do not change it."""
    return simulate_graphene(n_frames=4, size=384, seed=1)


@pytest.fixture(scope="session")
def perovskite():
    """One frame of a polarised perovskite; do not change it."""
    return simulate_perovskite(size=256, polarization=0.1, seed=1)


@pytest.fixture(scope="session")
def data_folder():
    """Folder with real data, which the variable NAPARI_RVAE_DATA names."""
    name = os.environ.get("NAPARI_RVAE_DATA")
    if not name:
        pytest.skip("NAPARI_RVAE_DATA names no folder with real data")
    return Path(name)
