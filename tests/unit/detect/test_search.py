import numpy as np
import pytest
from scipy import ndimage

from napari_rvae import detect_atoms, measured_config
from napari_rvae.detect.binning import binned
from napari_rvae.render import render_gaussians
from scenes import SIGMA, SPACING, draw, lattice


class TestBinning:
    def test_means_over_squares(self, rng):
        image = rng.normal(size=(6, 9))
        want = image.reshape(2, 3, 3, 3).mean((1, 3))
        assert binned(image, 3) == pytest.approx(want)
        assert binned(image, 1) is image

    def test_lines_that_are_not_full(self):
        image = np.arange(35.0).reshape(5, 7)
        small = binned(image, 2)
        assert small.shape == (3, 4)
        assert small[0, 0] == image[:2, :2].mean()
        assert small[2, 0] == image[4, :2].mean()
        assert np.isnan(small[2, 3])  # a quarter of it is known

    def test_missing_pixels_are_left_out(self):
        image = np.ones((4, 4))
        image[0, 0] = np.nan
        image[2:, 2:] = np.nan
        assert binned(image, 2).tolist() == [[1.0, 1.0], [1.0, pytest.approx(np.nan, nan_ok=True)]]


@pytest.mark.parametrize("magnification", [1.7, 3.0])
def test_wide_atoms_are_found_in_coarser_pixels(magnification):
    """The same electrons in more pixels: the same atoms, as well placed, and as high."""
    side = round(140 * magnification)
    points, _ = lattice(side=140)
    y, x = (points * magnification).T
    height, sigma = 60.0 / magnification**2, SIGMA * magnification
    expected = render_gaussians(y, x, height, sigma, (side, side)) + 5.0 / magnification**2
    table = detect_atoms(np.random.default_rng(0).poisson(expected))
    found = table[["y", "x"]].to_numpy()
    inner = points[((points > SPACING) & (points < 139 - SPACING)).all(axis=1)] * magnification
    error = np.array([found[np.hypot(*(found - p).T).argmin()] - p for p in inner])
    assert np.hypot(*error.T).max() < 0.5 * sigma
    assert np.sqrt((error**2).mean()) < 0.06 * sigma
    assert abs(error.mean(0)).max() < 0.02 * sigma
    assert table["sigma"].iloc[0] == pytest.approx(sigma, rel=0.06)
    assert table["amplitude"].median() == pytest.approx(height, rel=0.06)


@pytest.mark.parametrize("seed", [0, 1])
def test_smoothed_noise_does_not_cut_atoms_in_two(seed):
    """A network sees the halves; where they are faint, the lattice is asked all the same."""
    rng = np.random.default_rng(seed)
    step = np.stack(np.meshgrid(np.arange(-2, 40), np.arange(-2, 40), indexing="ij"), -1)
    step = step.reshape(-1, 2) * 18.0 - 100
    turn = np.array([[np.cos(0.35), np.sin(0.35)], [-np.sin(0.35), np.cos(0.35)]])
    y, x = (step @ turn + [60, -60]).T
    inside = (y > 0) & (x > 0) & (y < 319) & (x < 319)
    frame = render_gaussians(y[inside], x[inside], 1.0, 4.0, (320, 320))
    noise = ndimage.gaussian_filter(rng.normal(size=frame.shape), (1.2, 2.0))
    found = detect_atoms(frame + 0.25 / noise.std() * noise)
    assert abs(len(found) / inside.sum() - 1) < 0.08  # 0.2 where halves are believed


def test_the_width_is_steady_at_low_dose():
    """The autocorrelation alone scatters by 2.5 % here, and faint atoms are lost with it."""
    widths = []
    for seed in range(4):
        points, sublattice = lattice("perovskite", angle=0.3 + 0.1 * seed, side=400)
        one = draw(*points.T, 4 * np.where(sublattice == 1, 0.45, 1), side=400, background=1)
        noise = np.random.default_rng(seed).normal(0, 0.5, one.frame.shape)
        widths.append(measured_config(one.frame + noise, contrast="bright").sigma / SIGMA)
    assert np.abs(np.array(widths) - 1).max() < 0.035
    assert np.std(widths) < 0.015
