import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from napari_rvae.vae.basis import DiscFunctions, SteerableBasis, noise_spectrum
from napari_rvae.vae.pose import rotate

BAND = 0.6


@pytest.fixture(scope="module")
def blobs(picture):
    """Offsets of atoms within the disc (N, A, 2), and their noise-free pictures (N, 1, S, S)."""
    rng = np.random.default_rng(3)
    radius, phi = 8.5 * np.sqrt(rng.random((300, 4))), rng.uniform(0, 2 * math.pi, (300, 4))
    offsets = np.stack([radius * np.sin(phi), radius * np.cos(phi)], -1)
    images = np.stack([picture(o, sigma=1.9) for o in offsets])[:, None]
    return offsets, images.astype(np.float32)


@pytest.fixture(scope="module")
def basis(blobs):
    return SteerableBasis.fit(blobs[1], band_limit=BAND)


def project(basis, images):
    stack = np.asarray(images, np.float32).reshape(-1, 1, basis.pixels, basis.pixels)
    return basis.project(torch.from_numpy(stack))


@pytest.mark.parametrize("pixels", [16, 31, 32, 48])
def test_disc_functions_are_orthonormal_on_the_pixels(pixels):
    disc = DiscFunctions(pixels, BAND * math.pi)
    values = disc.sample() @ disc.orthonormaliser()
    exists = np.linalg.norm(values, axis=0) > 0.5
    gram = values[:, exists].T @ values[:, exists]
    np.testing.assert_allclose(gram, np.eye(exists.sum()), atol=1e-5)
    # all but the sines of order 0, which are nothing
    assert exists.sum() == 2 * len(disc.orders) - sum(order == 0 for order, _ in disc.orders)
    assert np.abs(values[:, ~exists]).max() < 1e-6


def test_the_learned_basis_is_orthonormal(basis):
    exists = basis.mask.flatten().bool()
    weights = basis.weights[:, exists]
    np.testing.assert_allclose(weights.T @ weights, np.eye(int(exists.sum())), atol=1e-5)
    assert basis.n_real == exists.sum()
    assert not basis.weights[:, ~exists].any()


def test_the_band_limit_holds_and_follows_the_native_pixels(blobs):
    disc = DiscFunctions(32, BAND * math.pi)
    assert max(zero for _, zero in disc.orders) / disc.radius <= BAND * math.pi
    fine = SteerableBasis.fit(blobs[1], band_limit=BAND, native_pixel=1.0)
    coarse = SteerableBasis.fit(blobs[1], band_limit=BAND, native_pixel=2.0)
    assert coarse.n_orders < fine.n_orders
    finer = SteerableBasis.fit(blobs[1], band_limit=BAND, native_pixel=0.5)
    assert finer.n_real == fine.n_real


def test_projecting_and_drawing_gives_the_picture_back(basis, blobs):
    back = basis.to_images(project(basis, blobs[1])).numpy()
    error = np.linalg.norm(back - blobs[1]) / np.linalg.norm(blobs[1])
    assert error < 0.05


@pytest.mark.parametrize("angle", [-2.9, -0.7, 0.01, 0.5, math.pi / 2, 2.0])
def test_turning_atoms_is_turning_coefficients(basis, blobs, picture, turned, angle):
    """The sense is the design's: turned the other way, the error would be of order one."""
    offsets, images = blobs[0][:40], blobs[1][:40]
    truth = project(basis, np.stack([picture(turned(o, angle), sigma=1.9) for o in offsets]))
    turned_coefficients = rotate(project(basis, images), torch.full((40,), angle))
    error = torch.linalg.vector_norm(truth - turned_coefficients) / torch.linalg.vector_norm(truth)
    assert float(error) < 0.03


def test_the_wrong_sense_is_noticed(basis, blobs, picture, turned):
    truth = project(basis, np.stack([picture(turned(o, 0.7), sigma=1.9) for o in blobs[0][:40]]))
    wrong = rotate(project(basis, blobs[1][:40]), torch.full((40,), -0.7))
    assert torch.linalg.vector_norm(truth - wrong) > 0.5 * torch.linalg.vector_norm(truth)


@given(st.integers(0, 299), st.floats(-1.5, 1.5), st.floats(-1.5, 1.5))
def test_slopes_are_finite_differences(basis, blobs, picture, y, by_y, by_x):
    """Moving the window by +d sees the atoms at -d."""
    offsets = blobs[0][y] * 0.8

    def seen(dy, dx):
        return project(basis, picture(offsets - [by_y + dy, by_x + dx], sigma=1.9))

    slopes = basis.slopes(
        torch.from_numpy(picture(offsets - [by_y, by_x], sigma=1.9).astype(np.float32))[None, None]
    )
    size = torch.linalg.vector_norm(slopes)
    h = 0.25
    for axis, (dy, dx) in enumerate([(h, 0), (0, h)]):
        difference = (seen(dy, dx) - seen(-dy, -dx)) / (2 * h)
        assert torch.linalg.vector_norm(slopes[:, axis] - difference) < 0.08 * size


def test_white_noise_stays_white(basis):
    noise = torch.randn(4000, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    coefficients = basis.project(noise)[:, basis.mask.bool()]
    covariance = torch.cov(coefficients.T)
    assert torch.linalg.matrix_norm(covariance - torch.eye(len(covariance)), 2) < 0.5
    assert float(covariance.diag().mean()) == pytest.approx(1, abs=0.02)


@pytest.fixture(scope="module")
def blurred():
    """White noise that was blurred by 1 px, (4000, 1, 32, 32), and its autocorrelation."""
    rng = np.random.default_rng(4)
    noise = ndimage.gaussian_filter(rng.normal(size=(4000, 32, 32)), (0, 1, 1), mode="wrap")
    line = np.arange(-4, 5)
    return noise[:, None].astype(np.float32), np.exp(-0.25 * (line[:, None] ** 2 + line**2))


def test_white_noise_has_a_flat_spectrum():
    white = np.zeros((9, 9))
    white[4, 4] = 1
    np.testing.assert_allclose(noise_spectrum(white, np.linspace(0, 3, 7)), 1)


def test_the_spectrum_of_blurred_noise(blurred):
    """A blur by s pixels leaves exp(-s^2 k^2) of the power, 4 pi s^2 of it at frequency 0."""
    k = np.linspace(0, 1.6, 9)
    expected = 4 * math.pi * np.exp(-(k**2))
    np.testing.assert_allclose(noise_spectrum(blurred[1], k), expected, rtol=0.05, atol=0.05)


def test_correlated_noise_is_whitened(blobs, blurred):
    noise, correlation = blurred
    size = 0.3 / noise.std()
    crops = np.concatenate([blobs[1]] * 10)[:3000] + size * noise[:3000]
    told = SteerableBasis.fit(crops, band_limit=BAND, noise_correlation=correlation)
    untold = SteerableBasis.fit(crops, band_limit=BAND)
    uneven = {}
    for name, basis in (("told", told), ("untold", untold)):
        coefficients = basis.project(torch.from_numpy(size * noise))[:, basis.mask.bool()]
        variance = coefficients.var(0)
        uneven[name] = float(variance.max() / variance.min())
    assert uneven["told"] < 1.6
    assert uneven["untold"] > 5
    assert told.noise2 == pytest.approx(0.09, rel=0.15)  # that of a pixel


def test_whitened_coefficients_give_the_picture_back(blobs, blurred):
    basis = SteerableBasis.fit(blobs[1], band_limit=BAND, noise_correlation=blurred[1])
    exists = basis.mask.flatten().bool()
    product = basis.weights[:, exists].T @ basis.pictures[:, exists]
    np.testing.assert_allclose(product, np.eye(int(exists.sum())), atol=1e-5)
    images = torch.from_numpy(blobs[1][:20])
    found = basis.to_images(basis.project(images))
    disc = DiscFunctions(32, 1.0).inside.reshape(32, 32)
    rest = ((found - images)[:, 0, disc] ** 2).mean() / (images[:, 0, disc] ** 2).mean()
    assert float(rest) < 0.01
    assert basis.kept_share > 0.98


def test_the_noise_level_is_found(blobs):
    rng = np.random.default_rng(0)
    noisy = blobs[1] + rng.normal(0, 0.2, blobs[1].shape).astype(np.float32)
    assert SteerableBasis.fit(noisy, band_limit=BAND).noise2 == pytest.approx(0.04, rel=0.15)


def test_pure_noise_leaves_a_small_basis_but_a_model():
    noise = np.random.default_rng(0).normal(0, 1, (2000, 1, 32, 32)).astype(np.float32)
    basis = SteerableBasis.fit(noise, band_limit=BAND)
    assert 1 <= basis.n_real < 228
    assert torch.isfinite(basis.weights).all()


def test_a_rare_class_keeps_its_low_orders(sample):
    """An eighth of the crops is off-centre by nature; its orders 1 and 2 must survive."""
    rng = np.random.default_rng(1)
    plain = sample("motif", 200).crops.images
    ring = np.tile(plain.mean(0), (1400, 1, 1, 1)) + rng.normal(0, 0.1, (1400, 1, 32, 32))
    basis = SteerableBasis.fit(np.concatenate([plain, ring.astype(np.float32)]), band_limit=BAND)
    exists = basis.mask[:, 0].sum(1)
    assert exists[1] > 0
    assert exists[2] > 0


def test_channels_share_one_basis(blobs):
    pair = np.concatenate([blobs[1], -2 * blobs[1]], 1)
    basis = SteerableBasis.fit(pair, band_limit=BAND)
    back = basis.to_images(basis.project(torch.from_numpy(pair))).numpy()
    assert basis.channels == 2
    assert np.linalg.norm(back - pair) < 0.05 * np.linalg.norm(pair)


def test_to_a_device_is_the_same_basis(basis, blobs):
    moved = basis.to(torch.device("cpu"))
    assert torch.equal(project(moved, blobs[1][:5]), project(basis, blobs[1][:5]))
    assert moved.noise2 == basis.noise2


@pytest.mark.parametrize("pixels", [24, 25, 32, 48, 64])
def test_the_basis_tells_how_good_it_is(pixels):
    images = crops_of_blobs(pixels)
    basis = SteerableBasis.fit(images, band_limit=0.6)
    assert 1 <= basis.condition < 100
    assert 0.5 < basis.disc_share <= 1
    assert 0.9 < basis.kept_share <= 1
    weights = basis.weights.numpy()[:, basis.mask.flatten().bool().numpy()].astype(float)
    np.testing.assert_allclose(weights.T @ weights, np.eye(weights.shape[1]), atol=1e-5)
    again = basis.to(torch.device("cpu"))
    assert again.numbers == basis.numbers


def crops_of_blobs(pixels, count=300):
    """Crops (N, 1, S, S) of three blobs at random places near the middle, with some noise."""
    rng = np.random.default_rng(pixels)
    line = np.arange(pixels) - (pixels - 1) / 2
    place = rng.normal(0, pixels / 8, (count, 3, 2))
    rows, columns = (
        np.exp(-0.5 * ((line - place[..., axis, None]) / (pixels / 12)) ** 2) for axis in (0, 1)
    )
    clean = np.einsum("naj,nai->nji", rows, columns)
    noisy = clean - clean.mean((1, 2), keepdims=True) + rng.normal(0, 0.05, clean.shape)
    return noisy[:, None].astype(np.float32)
