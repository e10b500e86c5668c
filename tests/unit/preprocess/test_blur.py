import numpy as np
import pytest

from napari_rvae.preprocess.blur import blob_contrast, blob_scale
from napari_rvae.render import render_gaussians


def blobs(sigma, *, order, rng, spacing=4.3, side=256):
    """Blobs on a square lattice or anywhere, `spacing` sigma apart."""
    step = spacing * sigma
    if order == "lattice":
        y, x = (grid.ravel() * step for grid in np.mgrid[: side / step, : side / step])
    else:
        y, x = rng.uniform(0, side, (2, int((side / step) ** 2 * 0.5)))
    return render_gaussians(y, x, 1.0, sigma, (side, side))


@pytest.mark.parametrize("sigma", [2.0, 3.5, 6.0])
@pytest.mark.parametrize("order", ["lattice", "random"])
def test_the_planted_width_is_found(sigma, order, rng):
    picture = blobs(sigma, order=order, rng=rng, spacing=6.0)
    noisy = picture + rng.normal(0, 0.3, picture.shape)
    assert blob_scale(noisy).sigma == pytest.approx(sigma, rel=0.15)


@pytest.mark.parametrize("sigma", [2.0, 3.5, 6.0])
def test_a_dense_lattice_looks_a_little_narrow(sigma, rng):
    picture = blobs(sigma, order="lattice", rng=rng)
    noisy = picture + rng.normal(0, 0.3, picture.shape)
    assert 0.7 * sigma < blob_scale(noisy).sigma < 1.05 * sigma


def test_the_width_is_in_pixels_whatever_the_unit_of_the_frame(rng):
    noisy = blobs(3.0, order="lattice", rng=rng) + rng.normal(0, 0.3, (256, 256))
    plain = blob_scale(noisy)
    for unit, offset in ((1e6, 0), (1e-9, 0), (1e30, 0), (1e-30, 0), (1.0, 500.0)):
        assert blob_scale(unit * noisy + offset) == pytest.approx(plain, rel=1e-3)


def test_row_noise_and_ramps_are_no_blobs(rng):
    picture = blobs(3.0, order="lattice", rng=rng)
    flawed = picture + rng.normal(0, 0.3, picture.shape) + rng.normal(0, 0.2, (256, 1))
    flawed += np.linspace(0, 5, 256)
    assert blob_scale(flawed).sigma == pytest.approx(blob_scale(picture).sigma, rel=0.15)


def test_noise_has_no_width():
    noise = [
        make(np.random.default_rng(seed))
        for seed in range(15)
        for make in (
            lambda rng: rng.normal(0, 1, (160, 160)),
            lambda rng: rng.poisson(5, (160, 160)).astype(float),
        )
    ]
    # chance makes a blob of a few
    assert np.mean([np.isnan(blob_scale(frame).sigma) for frame in noise]) > 0.85


def test_a_constant_frame_has_no_width():
    assert np.isnan(blob_scale(np.full((64, 64), 7.0)).sigma)
    assert np.isnan(blob_scale(np.zeros((8, 8))).valley)


@pytest.mark.parametrize("noise", [0.0, 0.3, 1.0])
def test_the_contrast_is_that_of_the_picture_without_noise(noise, rng):
    picture = blobs(3.0, order="lattice", rng=rng)
    noisy = picture + rng.normal(0, noise, picture.shape) + rng.normal(0, 0.2 * noise, (256, 1))
    noisy += np.linspace(0, 1, 256)
    assert blob_contrast(noisy) == pytest.approx(picture.std(), rel=0.12)
    noisy[:100, :100] = np.nan
    assert blob_contrast(noisy) == pytest.approx(picture.std(), rel=0.12)


def test_noise_and_constant_frames_have_no_contrast(rng):
    assert blob_contrast(rng.normal(0, 1, (256, 256))) < 0.15
    assert blob_contrast(np.full((64, 64), 1e30)) == 0
    assert blob_contrast(np.full((64, 64), np.nan)) == 0
