import math

import numpy as np
import pytest
from scipy.spatial import cKDTree

from napari_rvae.synthetic.lattice import grown_points
from napari_rvae.synthetic.specimens import plane_motif, random_specimen

SIDE, SIGMA = 80, 1.6


@pytest.fixture(scope="module")
def specimens():
    rng = np.random.default_rng(5)
    return [random_specimen(rng, SIGMA, SIDE) for _ in range(120)]


def test_the_same_seed_gives_the_same_frame():
    one, two = (random_specimen(np.random.default_rng(3), 2.2, 70) for _ in range(2))
    assert np.array_equal(one.image, two.image)
    assert np.array_equal(one.points, two.points)


def test_every_kind_occurs(specimens):
    counts = np.array([len(s.points) for s in specimens])
    assert 0.1 < (counts == 0).mean() < 0.35
    assert (counts > 200).any()
    assert ((counts > 0) & (counts < 10)).any()


def test_frames_are_finite(specimens):
    for image, points, sigma in specimens:
        assert image.shape == (SIDE, SIDE)
        assert np.isfinite(image).all()
        assert np.isfinite(points).all()
        assert sigma == SIGMA


def test_atoms_are_where_they_are_said_to_be():
    """On average, the frame is brighter on an atom than a third of a distance beside it."""
    rng = np.random.default_rng(1)
    contrast = []
    for _ in range(60):
        image, points, sigma = random_specimen(rng, 2.5, 90)
        inner = points[((points > 8) & (points < 81)).all(axis=1)]
        if len(inner) < 5:
            continue
        beside = inner + 1.6 * sigma * np.array([math.sin(1.0), math.cos(1.0)])
        on, off = (image[tuple(p.round().astype(int).T)] for p in (inner, beside))
        contrast.append((on.mean() - off.mean()) / image.std())
    assert np.mean(np.array(contrast) > 0) > 0.9


@pytest.mark.parametrize("seed", range(12))
def test_crystals_repeat_with_their_cell(seed):
    rng = np.random.default_rng(seed)
    motif, species = plane_motif(rng, 9.0)
    assert len(species) == len(motif.basis)
    assert set(species) == set(range(species.max() + 1))
    points = grown_points(motif, (0.3,), (200, 200), 40, rng).position
    points = np.unique(points.round(6), axis=0)  # a site may be drawn twice
    tree = cKDTree(points)
    assert tree.query(points, 2)[0][:, 1].min() == pytest.approx(9.0, abs=1e-5)
