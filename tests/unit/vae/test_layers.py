"""Crops of several layers: channels of different units and noise, frames before and after."""

import dataclasses
import math

import numpy as np
import pytest

from napari_rvae import RVAE, Crops, InputError, check_model
from napari_rvae.vae.basis import SteerableBasis, layer_noise_power


def layered(sample, count=300, *, noise=(0.05, 0.05), units=(1.0, 1.0), seed=0, empty=()):
    """Motifs seen in two channels, each with a noise (in shares of its spread) and a unit."""
    made = sample("motif", count, seed=seed, counts=1e6, channels=len(noise))
    images, rng = made.crops.images.astype(float), np.random.default_rng(seed + 50)
    spreads = images.std(axis=(0, 2, 3))
    for layer, (level, unit) in enumerate(zip(noise, units, strict=True)):
        if layer in empty:
            images[:, layer] = 0
        images[:, layer] += level * spreads[layer] * rng.normal(size=images[:, layer].shape)
        images[:, layer] *= unit
    crops = dataclasses.replace(made.crops, images=images.astype(np.float32), channels=())
    return dataclasses.replace(made, crops=crops)


def angle_error(model, made):
    """Median error of the angle in radians, the gauge of each class taken off."""
    table = model.transform(made.crops)
    errors = []
    for label in (0, 1):
        rows = made.label == label
        off = np.exp(1j * (table["angle"].to_numpy()[rows] - made.angle[rows]))
        errors.append(np.abs(np.angle(off / off.mean())))
    return float(np.median(np.concatenate(errors)))


def test_noise_of_each_channel(sample):
    made = layered(sample, noise=(0.1, 2.0))
    found = layer_noise_power(made.crops.images, band_limit=0.6)
    clean = layered(sample, noise=(0.0, 0.0)).crops.images
    expected = [(level * clean[:, c].std()) ** 2 for c, level in enumerate((0.1, 2.0))]
    np.testing.assert_allclose(found, expected, rtol=0.15)


def test_a_layer_of_noise_does_not_drown_the_other(sample, trained):
    made = layered(sample, 240, noise=(0.1, 5.0), units=(1.0, 1e9), empty=(1,))
    model = trained(made.crops, epochs=4)
    assert angle_error(model, made) < math.radians(3)


def test_layers_share_a_unit_of_noise(sample):
    crops = layered(sample, 64, noise=(0.3, 1.0), units=(1.0, 1e-6)).crops
    model = RVAE(n_latents=2, epochs=1, hidden=16, device="cpu").fit(crops)
    spread = crops.images.std(axis=(0, 2, 3), keepdims=True)
    noise = np.sqrt(layer_noise_power(crops.images / spread, band_limit=model.config.band_limit))
    noise *= spread.ravel()
    scale = model._trained.scale
    assert scale[1] / scale[0] == pytest.approx(noise[1] / noise[0], rel=0.01)
    scaled = crops.images / scale[:, None, None]
    assert float((scaled.std(axis=(0, 2, 3)) ** 2).mean()) == pytest.approx(1, rel=0.01)
    assert model.noise_sd_[1] / model.noise_sd_[0] == pytest.approx(scale[1] / scale[0])


def test_a_layer_without_noise_counts_as_nearly_clean(sample):
    crops = layered(sample, 64, noise=(0.0, 1.0)).crops
    model = RVAE(n_latents=2, epochs=1, hidden=16, device="cpu").fit(crops)
    spread = crops.images.std(axis=(0, 2, 3))
    ratio = (model._trained.scale / spread)[1] / (model._trained.scale / spread)[0]
    assert 5 < ratio < 11  # noise of a tenth of the spread is the least


def test_a_drawn_layer_counts_as_if_its_noise_were_as_large_as_itself(sample):
    crops = layered(sample, 64, noise=(0.3, 0.0)).crops
    crops = dataclasses.replace(crops, layer_noise=np.array([0.3, 0.0]))
    model = RVAE(n_latents=2, epochs=1, hidden=16, device="cpu").fit(crops)
    spread = crops.images.std(axis=(0, 2, 3))
    first, drawn = model._trained.scale / spread
    power = layer_noise_power(crops.images / spread[:, None, None], band_limit=0.6)
    assert drawn / first == pytest.approx(1 / math.sqrt(power[0]), rel=0.02)


def test_a_constant_layer_is_named(sample):
    crops = layered(sample, 40, noise=(0.1, 0.0), empty=(1,)).crops
    with pytest.raises(InputError, match="layer 'channel 1' of the crops holds one constant"):
        RVAE(epochs=1, device="cpu").fit(crops)


def test_the_noise_of_each_layer_is_whitened_by_its_own_correlation(sample):
    crops = layered(sample, 200, noise=(0.5, 0.5)).crops
    white = np.zeros((9, 9))
    white[4, 4] = 1
    line = np.array([0, 0, 0, 0.4, 1, 0.4, 0, 0, 0])
    both = np.stack([white, np.outer(line, line)])
    plain = SteerableBasis.fit(crops.images, band_limit=0.6)
    told = SteerableBasis.fit(crops.images, band_limit=0.6, noise_correlation=both)
    alike = SteerableBasis.fit(crops.images, band_limit=0.6, noise_correlation=both[[0, 0]])
    gram = (told.pictures.T @ told.weights)[told.mask.flatten() > 0][:, told.mask.flatten() > 0]
    np.testing.assert_allclose(gram.numpy(), np.eye(len(gram)), atol=0.02)
    np.testing.assert_allclose(alike.weights.numpy(), plain.weights.numpy(), atol=1e-5)
    with pytest.raises(InputError, match="noise_correlation must have one part for each of 2"):
        dataclasses.replace(crops, noise_correlation=both[[0, 0, 1]])


@pytest.mark.parametrize("decoder", ["steerable", "pixel"])
def test_both_engines_work_on_several_layers(sample, decoder, tmp_path):
    made = layered(sample, 48, noise=(0.1, 0.3))
    images = np.concatenate([made.crops.images] * 2, axis=1)[:, :, 8:24, 8:24]
    names = ("response", "height", "response (-1 frames)", "height (-1 frames)")
    crops = Crops(images=images, site_id=np.arange(48), channels=names, lags=(0, -1), window_px=24)
    assert crops.base_channels == ("response", "height")
    model = RVAE(n_latents=2, epochs=2, hidden=16, decoder=decoder, device="cpu").fit(crops)
    table = model.transform(crops)
    assert np.isfinite(table[["angle", "z0", "z1"]].to_numpy()).all()
    assert model.reconstruct(crops).shape == images.shape
    assert model.inverse_transform(np.zeros((3, 2))).shape == (3, 4, 16, 16)
    assert model.manifold(2).shape == (2, 2, 4, 16, 16)
    model.save(tmp_path / "model")
    again = RVAE.load(tmp_path / "model", device="cpu")
    assert (again.channels_, again.lags_) == (("response", "height"), (0, -1))
    assert again.crop_config.window == 24
    np.testing.assert_allclose(again.transform(crops)["z0"], table["z0"], atol=1e-5)
    assert len(check_model(model, crops).checks) > 3


def test_one_pose_for_all_layers(sample, trained):
    """Something that moves against the window from layer to layer is content, not pose."""
    made = layered(sample, 240, noise=(0.05, 0.05))
    lag = np.roll(made.crops.images[:, :1], 3, axis=2)  # moved along y of the frame, not turned
    stack = np.concatenate([made.crops.images[:, :1], lag], axis=1)
    crops = dataclasses.replace(made.crops, images=stack, channels=("a", "a (-1 frames)"))
    model = trained(dataclasses.replace(crops, lags=(0, -1)), epochs=4)
    shown = model.reconstruct(crops)
    first, second = shown[:, 0], shown[:, 1]
    # the second layer is not a copy of the first: what has moved is seen at its place
    assert np.corrcoef(second.ravel(), lag[:, 0].ravel())[0, 1] > 0.7
    assert np.corrcoef(second.ravel(), first.ravel())[0, 1] < 0.7
