"""Models of the published engine, trained once a session."""

import copy

import numpy as np
import pytest

from napari_rvae import RVAE, RVAEConfig


def small(**options):
    """A model that trains in no time."""
    usual = {"epochs": 3, "hidden": 16, "batch_size": 10, "pixel_share": 0.1, "shifts": False}
    return RVAE(RVAEConfig.published(**(usual | options)), device="cpu")


@pytest.fixture(scope="session")
def pixel_model():
    """`small`, for tests that want their own model."""
    return small


@pytest.fixture(scope="session")
def turned_sample(sample):
    """Crops of two motifs turned by up to 46 degrees, which this engine learns reliably."""
    angle = np.random.default_rng(0).uniform(-0.8, 0.8, 400)
    return sample("motif", 400, angle=angle)


@pytest.fixture(scope="session")
def learned(turned_sample):
    """A model that found their angles; do not train it further."""
    config = {
        "epochs": 40,
        "hidden": 32,
        "batch_size": 20,
        "learning_rate": 3e-3,
        "pixel_share": 1 / 16,
        "angle_prior_sd": 1.0,
        "seed": 1,
    }
    return small(**config).fit(turned_sample.crops)


@pytest.fixture(scope="session")
def quick_pixel(few):
    """A model that went through three epochs, with shifts; do not train it further."""
    return small(shifts=True, learning_rate=1e-3).fit(few)


@pytest.fixture
def fresh_pixel(quick_pixel):
    """A copy of `quick_pixel` that a test may change."""
    return copy.deepcopy(quick_pixel)
