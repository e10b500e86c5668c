import numpy as np
import pytest

from napari_rvae.errors import InputError
from napari_rvae.preprocess import stabilise_variance
from napari_rvae.preprocess.noise import NoiseCurve, noise_curve
from napari_rvae.preprocess.variance import common_curve
from napari_rvae.render import render_gaussians


@pytest.fixture(scope="module")
def atoms():
    y, x = (grid.ravel() * 14.0 for grid in np.mgrid[:18, :18])
    return render_gaussians(y, x, 1.0, 3.0, (240, 240))


@pytest.mark.parametrize(("gain", "offset", "readout"), [(1, 0, 0), (0.2, 50, 0), (3, -20, 12)])
def test_the_noise_becomes_the_same_everywhere(gain, offset, readout, rng):
    """Counts of 20, 60 and 200, seen through gain, offset and readout noise."""
    counts = np.repeat([[20.0], [60.0], [200.0]], 40_000, axis=1)
    frame = gain * rng.poisson(counts) + offset + rng.normal(0, readout or 1e-9, counts.shape)
    curve = NoiseCurve(gain, readout**2 - gain * offset)
    level = 60 * gain + offset
    out = stabilise_variance(frame, curve, level=level)
    usual = np.sqrt(curve.gain * level + curve.floor)
    np.testing.assert_allclose(out.std(1), usual, rtol=0.02)
    assert out[1].mean() == pytest.approx(level, abs=0.1 * usual)
    assert (np.diff(out.mean(1)) > 0).all()


def test_values_below_the_offset_and_missing_ones(rng):
    frame = rng.poisson(3.0, (30, 30)) - 50.0
    frame[0, 0] = np.nan
    out = stabilise_variance(frame, NoiseCurve(1.0, 0.0), level=3.0)
    assert np.isnan(out[0, 0])
    assert np.isfinite(out).sum() == 899


@pytest.mark.parametrize(("curve", "level"), [((0.0, 1.0), 5.0), ((1.0, 0.0), -9.0)])
def test_what_cannot_be_stabilised(curve, level):
    with pytest.raises(InputError):
        stabilise_variance(np.ones((8, 8)), NoiseCurve(*curve), level=level)


def test_a_gain_is_known_where_the_noise_grows_along_a_line(atoms, rng):
    counts = rng.poisson(5 + 80 * atoms)
    assert noise_curve(0.3 * counts + 40).is_known
    assert noise_curve(counts + rng.normal(0, 5, atoms.shape)).is_known
    for contrast in (0, 5, 20, 100):
        assert not noise_curve(contrast * atoms + rng.normal(size=atoms.shape)).is_known
    assert not noise_curve(100 * atoms).is_known
    assert not noise_curve(np.full((32, 32), 7.0)).is_known


def test_a_movie_s_gain_is_that_of_most_of_its_frames():
    known, other = NoiseCurve(2.0, 1.0, 0.1, 3.0), NoiseCurve(4.0, 3.0, 0.1, 3.0)
    unknown = NoiseCurve(0.0, 1.0)
    assert common_curve([known, other, unknown])[:2] == (3.0, 2.0)
    assert common_curve([known, unknown, unknown]) is None
    assert common_curve([]) is None
