import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_rvae import detect_atoms
from napari_rvae.config import DetectConfig
from napari_rvae.detect.contrast import atom_skew, choose_sign, is_sixfold
from napari_rvae.detect.images import FrameImages
from napari_rvae.detect.sampling import Sample
from napari_rvae.frames import as_frames
from napari_rvae.render import render_gaussians
from scenes import SIDE, SIGMA, SPACING, draw, lattice, simulated


def sign(frame, contrast="auto"):
    config = DetectConfig(contrast=contrast)
    return choose_sign(Sample(FrameImages(as_frames(frame), config, 0), 0), config)


def sixfold(sigma=SIGMA):
    """A hexagonal lattice without noise."""
    steps = np.stack(np.meshgrid(*[np.arange(-20, 21)] * 2), -1).reshape(-1, 2)
    points = steps @ (SPACING * np.array([[1, 0], [0.5, np.sqrt(0.75)]])) + SIDE / 2
    return render_gaussians(*points.T, 60.0, sigma, (SIDE, SIDE)) + 5.0


@pytest.mark.parametrize("kind", ["honeycomb", "perovskite"])
@pytest.mark.parametrize("counts", [100, 15, 4])
def test_bright_and_dark_are_told_apart(kind, counts):
    frame = simulated(kind, counts, seed=1).frame
    assert sign(frame) == 1
    assert sign(-frame) == -1
    assert sign(-frame, "bright") == 1
    assert sign(frame, "dark") == -1


def test_dark_atoms_are_found_without_being_told(bright):
    found = detect_atoms(100.0 - bright.frame)
    assert bright.scores(found)["f1"] > 0.99
    assert (found["amplitude"] > 0).all()


def test_atoms_without_order():
    rng = np.random.default_rng(3)
    points = rng.uniform(0, SIDE, (90, 2))
    frame = draw(*points.T, 30.0).frame
    assert sign(frame) == 1
    assert sign(-frame) == -1


@pytest.mark.parametrize("seed", range(4))
def test_noise_is_bright(seed):
    rng = np.random.default_rng(seed)
    for frame in (rng.normal(size=(200, 200)), -rng.poisson(0.5, (200, 200)).astype(float)):
        assert sign(frame) == 1


def test_the_noise_has_no_say():
    """Poisson noise is skewed itself, the more so the fewer the counts."""
    rng = np.random.default_rng(0)
    waves = np.cos(np.arange(300)[:, None] / 3) + np.cos(np.arange(300) / 3)
    skew = atom_skew(rng.poisson(0.1 * (2 + waves)).astype(float), 3.0)
    assert abs(skew.value) < 4 * skew.sd


def test_a_pattern_that_both_could_make_is_bright():
    """Dark spots in a hexagonal lattice look as the holes of a blurred honeycomb do."""
    points, _ = lattice()
    blurred = render_gaussians(*points.T, 60.0, 0.4 * SPACING, (SIDE, SIDE)) + 5.0
    rng = np.random.default_rng(1)
    assert sign(rng.poisson(blurred)) == 1
    assert is_sixfold(-blurred, 0.3 * SPACING)
    assert not is_sixfold(draw(*points.T, 60.0).expected, SIGMA)
    assert sign(rng.poisson(70.0 - sixfold())) == 1
    assert sign(rng.poisson(70.0 - sixfold()), "dark") == -1


@settings(max_examples=5)
@given(st.floats(0.1, 1e4), st.floats(-1e4, 1e4))
def test_units_and_offsets_do_not_matter(bright, unit, offset):
    plain, other = (atom_skew(f, SIGMA) for f in (bright.frame, unit * bright.frame + offset))
    assert other.value == pytest.approx(plain.value, rel=1e-6)
    turned = atom_skew(-unit * bright.frame, SIGMA)
    assert turned.value == pytest.approx(-plain.value, rel=1e-6)


@pytest.mark.parametrize("shape", [(8, 8), (1, 300), (20, 9)])
def test_small_frames(shape):
    frame = np.random.default_rng(0).normal(size=shape)
    assert not np.isfinite(atom_skew(frame, 2.0).sd)
    assert not is_sixfold(frame, 2.0)
