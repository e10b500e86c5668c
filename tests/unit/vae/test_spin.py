"""Vectors in the plane turn as vectors, in the basis and in both engines."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from napari_rvae import RVAE, Crops, InputError
from napari_rvae.crops.vectors import turn_components, vector_pairs
from napari_rvae.tables import fold_angle, latent_names
from napari_rvae.vae.basis import SteerableBasis
from napari_rvae.vae.measures import turn_pictures
from napari_rvae.vae.pose import rotate

LAYERS = ("response", "lateral response y", "lateral response x")
SIDE = 24


def scenes(count, seed, noise=0.05):
    """Crops about a domain wall that lies anyhow, the polarization along it or across it."""
    rng = np.random.default_rng(seed)
    line = np.arange(SIDE) - (SIDE - 1) / 2
    y, x = np.meshgrid(line, line, indexing="ij")
    angle, share = rng.uniform(-np.pi, np.pi, count), rng.uniform(-1, 1, count)
    images = np.empty((count, 3, SIDE, SIDE), np.float32)
    for picture, a, part in zip(images, angle, share, strict=True):
        wall = np.tanh((x * math.cos(a) - y * math.sin(a)) / 3)
        along, across = part * wall, math.sqrt(1 - part**2) * np.exp(-((3 * (1 - wall**2)) ** 2))
        picture[0] = wall
        picture[1] = along * -math.sin(a) + across * math.cos(a)
        picture[2] = along * math.cos(a) + across * math.sin(a)
    images += noise * rng.normal(size=images.shape)
    return Crops(images=images, site_id=np.arange(count), channels=LAYERS), angle, share


@pytest.fixture(scope="module")
def crops():
    return scenes(600, 0)[0]


@pytest.fixture(scope="module")
def model(crops):
    return RVAE(epochs=8, seed=0, device="cpu").fit(crops)


def quarter_turned(crops, *, components):
    """Crops turned by a quarter, on the pixels; counter-clockwise on the screen."""
    images = np.rot90(crops.images, 1, axes=(2, 3)).copy()
    if components:
        images = turn_components(images, math.pi / 2, crops.vectors)
    return dataclasses.replace(crops, images=images)


def test_pairs_are_told_by_their_names():
    assert vector_pairs(LAYERS) == ((1, 2),)
    lags = (*LAYERS, *(f"{name} (-1 frames)" for name in LAYERS))
    assert vector_pairs(lags) == ((1, 2), (4, 5))
    assert vector_pairs(("lateral response", "response x", "response y")) == ()
    assert vector_pairs(("lateral response x", "lateral response y (-1 frames)")) == ()


def test_coefficients_turn_by_their_order(crops):
    images = crops.images[:40]
    basis = SteerableBasis.fit(crops.images, band_limit=0.6, vectors=crops.vectors)
    before = basis.project(torch.from_numpy(images))
    after = basis.project(torch.from_numpy(quarter_turned(crops, components=True).images[:40]))
    turned = rotate(before, torch.full((40,), math.pi / 2))
    assert float((after - turned).abs().max()) < 1e-4 * float(before.abs().max())
    plain = SteerableBasis.fit(crops.images, band_limit=0.6)
    before = plain.project(torch.from_numpy(images))
    after = plain.project(torch.from_numpy(quarter_turned(crops, components=True).images[:40]))
    missed = (after - rotate(before, torch.full((40,), math.pi / 2))).abs().max()
    assert float(missed) > 0.1 * float(before.abs().max())


def test_a_basis_without_vectors_is_what_it_was(crops):
    some = crops.images[:, :1]
    one, two = (SteerableBasis.fit(some, band_limit=0.6, vectors=v) for v in ((), ()))
    assert torch.equal(one.weights, two.weights)
    gram = one.weights.T @ one.weights
    exists = torch.diag(gram) > 0
    assert float((gram[exists][:, exists] - torch.eye(int(exists.sum()))).abs().max()) < 1e-4


def test_functions_with_vectors_stay_orthonormal(crops):
    basis = SteerableBasis.fit(crops.images, band_limit=0.6, vectors=crops.vectors)
    gram = basis.weights.T @ basis.weights
    exists = torch.diag(gram) > 0
    assert float((gram[exists][:, exists] - torch.eye(int(exists.sum()))).abs().max()) < 1e-4


def test_a_turned_scan_has_the_same_latents_and_a_turned_angle(model, crops):
    before = model.transform(crops)
    z = latent_names(before)
    after = model.transform(quarter_turned(crops, components=True))
    spread = before[z].std()
    # features grow like cube roots: rounding shows where one is about zero
    assert float(((after[z] - before[z]).abs() / spread).to_numpy().mean()) < 1e-2
    off = fold_angle(after["angle"] - before["angle"] - math.pi / 2, 1)
    assert np.quantile(np.abs(off), 0.95) < 1e-2
    # a picture that is turned without its vectors is another one
    wrong = model.transform(quarter_turned(crops, components=False))
    assert float(((wrong[z] - before[z]).abs() / spread).to_numpy().mean()) > 0.2


def test_latents_tell_vectors_along_a_wall_from_those_across(model):
    crops, angle, share = scenes(300, 5)
    table = model.transform(crops)
    z = np.c_[table[latent_names(table)].to_numpy(), np.ones(300)]
    fit = z @ np.linalg.lstsq(z, share, rcond=None)[0]
    assert np.corrcoef(fit, share)[0, 1] > 0.9
    off = fold_angle(table["angle"].to_numpy() - angle, 1)
    middle = np.angle(np.exp(1j * off).mean())
    assert np.median(np.abs(fold_angle(off - middle, 1))) < math.radians(4)


def test_decoded_pictures_show_vectors_in_the_frame_of_the_crop(model, crops):
    table = model.transform(crops)
    shown = model.reconstruct(crops)
    line = np.arange(SIDE) - (SIDE - 1) / 2
    inside = np.hypot(line[:, None], line) < SIDE / 2 - 2
    error = (shown - crops.images)[..., inside]
    assert float((error**2).mean()) < 0.1 * float((crops.images[..., inside] ** 2).mean())
    z = table[latent_names(table)].to_numpy()[:5]
    upright, turned = (model.inverse_transform(z, angle=a) for a in (0.0, 1.0))
    by_hand = turn_pictures(upright, 1.0, crops.vectors)
    assert float(np.abs(turned - by_hand)[..., inside].max()) < 0.1


def test_a_saved_model_knows_its_vectors(model, crops, tmp_path):
    model.save(tmp_path / "model")
    again = RVAE.load(tmp_path / "model", device="cpu")
    some = crops.select(np.arange(20))
    assert again.transform(some)["angle"].to_numpy() == pytest.approx(
        model.transform(some)["angle"]
    )


def test_the_published_engine_turns_vectors_with_its_pictures(crops):
    model = RVAE(decoder="pixel", epochs=1, hidden=16, seed=0, device="cpu").fit(crops)
    z = np.zeros((1, model.config.n_latents))
    upright, turned = (model.inverse_transform(z, angle=a) for a in (0.0, math.pi / 2))
    by_hand = turn_components(np.rot90(upright, 1, axes=(2, 3)).copy(), math.pi / 2, ((1, 2),))
    assert turned == pytest.approx(by_hand, abs=1e-4)


def test_one_component_alone_is_refused():
    images = np.random.default_rng(0).normal(size=(20, 2, SIDE, SIDE)).astype(np.float32)
    lone = Crops(images=images, site_id=np.arange(20), channels=("response", "lateral response x"))
    with pytest.raises(InputError, match="add the other one"):
        RVAE(epochs=1, device="cpu").fit(lone)
    RVAE(epochs=1, rotation=False, device="cpu").fit(lone)
