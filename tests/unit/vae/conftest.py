"""Crops with known angle, class and position, and models trained on them once a session."""

import copy
import math
from dataclasses import dataclass

import numpy as np
import pytest

from napari_rvae import RVAE, Crops

PIXELS = 32
BOND = 32 / 3.5
SIGMA = 2.1

#: Offsets (dy, dx) of two motifs without symmetry; they are not mirror images of each other.
MOTIFS = (
    ((0, 0), (0, 7), (6, -4), (-10, 1), (8, 8)),
    ((0, 0), (0, 8), (8, 1), (-2, -8), (-10, 6)),
)


def turn(offsets, angle):
    """Where offsets (..., 2) as (dy, dx) lie after a turn, by the package's convention."""
    dy, dx = offsets[..., 0], offsets[..., 1]
    c, s = np.cos(angle), np.sin(angle)
    return np.stack([dy * c - dx * s, dx * c + dy * s], -1)


def draw(offsets, peak=1.0, pixels=PIXELS, sigma=SIGMA):
    """Picture (S, S) of Gaussians at offsets (A, 2) from the centre."""
    line = np.arange(pixels) - (pixels - 1) / 2
    offsets = np.asarray(offsets, float)
    rows = np.exp(-0.5 * ((line - offsets[:, :1]) / sigma) ** 2)
    columns = np.exp(-0.5 * ((line - offsets[:, 1:]) / sigma) ** 2)
    return np.einsum("a,ay,ax->yx", np.broadcast_to(peak, len(offsets)), rows, columns)


def honeycomb(reach=40.0):
    """Sites (A, 2) of a honeycomb about one of them, which has a neighbour straight below."""
    line = np.arange(-9, 10)
    one = (
        line[:, None, None] * np.array([0, math.sqrt(3)])
        + line[None, :, None] * np.array([1.5, math.sqrt(0.75)])
    ).reshape(-1, 2)
    sites = BOND * np.concatenate([one, one + np.array([1, 0])])
    distance = np.linalg.norm(sites, axis=1)
    order = np.argsort(distance, kind="stable")
    return sites[order][distance[order] < reach]


@dataclass(frozen=True, eq=False)
class Sample:
    crops: Crops
    clean: np.ndarray
    label: np.ndarray
    angle: np.ndarray
    shift: np.ndarray


def make_sample(kind, count, *, seed=0, counts=60.0, worst_shift=0.0, channels=1, angle=None):
    """Crops of two classes turned at random: "motif", or "honeycomb" (bulk, and C beside Si)."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, count)
    drawn = rng.uniform(-math.pi, math.pi, count)
    angle = drawn if angle is None else np.broadcast_to(angle, count)
    shift = rng.uniform(-worst_shift, worst_shift, (count, 2))
    clean = np.empty((count, channels, PIXELS, PIXELS))
    sites = honeycomb()
    for i in range(count):
        if kind == "motif":
            offsets, peak = np.array(MOTIFS[label[i]], float), np.array([1, 0.7, 0.6, 0.8, 0.6])
        else:
            offsets, peak = sites, np.full(len(sites), 0.5)
            peak[1] = (0.5, 1.0)[label[i]]
        placed = turn(offsets, angle[i]) + shift[i]
        clean[i, 0] = draw(placed, peak)
        if channels == 2:  # the second sees the first atom only, and another one, dimmer
            clean[i, 1] = 0.3 * draw(placed[[0, 3]])
    images = rng.poisson((clean + 0.1) * counts) / counts
    mean = images.mean((2, 3), keepdims=True)
    crops = Crops(
        images=(images - mean).astype(np.float32),
        site_id=np.arange(100, 100 + count),
        window_nd=3.5,
    )
    return Sample(crops, clean - clean.mean((2, 3), keepdims=True), label, angle, shift)


def train(crops, **options):
    """A model that is good enough for these easy crops, in fewer steps than usual."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("napari_rvae.vae.training._LEAST_STEPS", 240)
        return RVAE(n_latents=2, device="cpu", **options).fit(crops)


@pytest.fixture(scope="session")
def trained():
    """`train`, for tests that want their own model."""
    return train


@pytest.fixture(scope="session")
def sample():
    """`make_sample`, for tests that want their own crops."""
    return make_sample


@pytest.fixture(scope="session")
def picture():
    """`draw`, for tests that want their own pictures."""
    return draw


@pytest.fixture(scope="session")
def turned():
    """`turn`: the package's convention for angles, written out once more."""
    return turn


@pytest.fixture(scope="session")
def motif_sample():
    return make_sample("motif", 600)


@pytest.fixture(scope="session")
def motif_model(motif_sample):
    """A model of motifs; do not train it further."""
    return train(motif_sample.crops, epochs=12)


@pytest.fixture(scope="session")
def lattice_model():
    """A model of the honeycomb; do not train it further."""
    return train(make_sample("honeycomb", 600).crops, epochs=12)


@pytest.fixture(scope="session")
def few():
    """Forty crops, trained on in no time: with a single batch an epoch."""
    return make_sample("motif", 40).crops


@pytest.fixture(scope="session")
def quick(few):
    """A model that went through three epochs; do not train it further."""
    return RVAE(n_latents=2, epochs=3, hidden=16, device="cpu").fit(few)


@pytest.fixture
def fresh(quick):
    """A copy of `quick` that a test may change."""
    return copy.deepcopy(quick)
