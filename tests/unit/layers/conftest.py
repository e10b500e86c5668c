"""A movie, its sites and a viewer without Qt."""

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_rvae import Frames
from napari_rvae.tables import make_sites


@pytest.fixture
def viewer():
    return ViewerModel()


@pytest.fixture
def movie():
    return Frames(
        np.random.default_rng(0).normal(10, 1, (3, 64, 48)),
        scale=(2.0, 0.02, 0.02),
        units=("s", "nm", "nm"),
        name="movie",
    )


@pytest.fixture
def sites():
    """Sites 8 px apart in three frames, with columns of every kind."""
    return table_of_sites()


def table_of_sites():
    y, x = (index.ravel() * 8.0 + 4 for index in np.indices((8, 6)))
    n = 3 * y.size
    table = make_sites(
        frame=np.repeat([0, 1, 2], y.size),
        y=np.tile(y, 3),
        x=np.tile(x, 3),
        source="movie",
        amplitude=np.linspace(1, 2, n),
        z0=np.linspace(-1, 1, n),
        angle=np.linspace(-3, 3, n),
        angle_sd=np.linspace(0, 2, n),
        unit=np.arange(n) % 4 - 1,
        species=np.where(np.arange(n) % 9, "C", "Si"),
        is_edge=np.arange(n) % 2 == 0,
    )
    table.loc[::7, ["z0", "angle", "angle_sd"]] = np.nan  # border sites have no latents
    return table
