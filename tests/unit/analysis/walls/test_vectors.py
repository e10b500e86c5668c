"""Polarization in the plane, from the simulated scan to the latents."""

import dataclasses
import math

import numpy as np
import pytest

from napari_rvae import (
    RVAE,
    CropConfig,
    detect_walls,
    extract_crops,
    latent_image,
    signed_response,
    simulate_walls,
)
from napari_rvae.crops.vectors import turn_components
from napari_rvae.tables import fold_angle, latent_names

PLAN = CropConfig(window=20, pixels=20, walls="off")
CHANNELS = ("response", "lateral response y", "lateral response x")


@pytest.fixture(scope="module")
def movie():
    return simulate_walls(n_frames=3, size=112, seed=2, in_plane="neel")


@pytest.fixture(scope="module")
def response(movie):
    found = signed_response(movie.frames, modality="vector")
    data = np.stack([found.data[:, found.channel_index(name)] for name in CHANNELS], axis=1)
    return dataclasses.replace(found, data=data, channels=CHANNELS)


@pytest.fixture(scope="module")
def crops(movie, response):
    return extract_crops(response, movie.sites, PLAN)


@pytest.fixture(scope="module")
def model(crops):
    return RVAE(epochs=4, n_latents=3, seed=0, device="cpu").fit(crops)


def test_the_plane_keeps_the_length_of_the_polarization(movie):
    up, (y, x) = movie.fields["response"], movie.fields["in_plane"].swapaxes(0, 1)
    length = np.hypot(up, np.hypot(y, x))
    assert np.median(length) == pytest.approx(1, abs=0.01)
    assert length.max() < 1.5  # where a wall crosses a stripe


@pytest.mark.parametrize(("kind", "turned"), [("neel", 0.0), ("bloch", math.pi / 2)])
def test_walls_turn_along_or_across_themselves(kind, turned):
    movie = simulate_walls(n_frames=1, size=112, seed=2, in_plane=kind, stripes=0)
    walls = movie.sites[movie.sites["wall_type"] == "180"]
    row, column = walls[["y", "x"]].round().astype(int).to_numpy().T
    y, x = movie.fields["in_plane"][0][:, row, column]
    off = fold_angle(np.arctan2(-y, x) - walls["normal_angle"].to_numpy() - turned, 1)
    assert np.median(np.abs(off)) < math.radians(5)


def test_both_components_have_one_sign_and_one_size(movie, response):
    true = movie.fields["in_plane"]
    slopes = []
    for frame in range(3):
        for axis in (0, 1):
            found = response.data[frame, 1 + axis]
            known = np.isfinite(found)
            slopes.append(np.polyfit(true[frame, axis][known], found[known], 1)[0])
    assert np.ptp(np.sign(slopes)) == 0
    assert np.abs(slopes) == pytest.approx(20, rel=0.05)


def test_crops_keep_the_mean_of_vectors_and_know_them(crops):
    assert crops.vectors == ((1, 2),)
    assert crops.kept_means == CHANNELS


def test_a_turned_scan_has_the_same_latents(movie, response, crops, model):
    before = model.transform(crops)
    z = latent_names(before)
    frames = np.rot90(np.nan_to_num(np.asarray(response.data)), 1, axes=(2, 3)).copy()
    turned = turn_components(frames.copy(), math.pi / 2, ((1, 2),))
    sites = movie.sites.assign(y=111 - movie.sites["x"], x=movie.sites["y"])
    differences = []
    for data in (turned, frames):
        again = extract_crops(dataclasses.replace(response, data=data), sites, PLAN)
        after = model.transform(again).set_index("site_id").loc[before["site_id"]]
        change = (after[z].to_numpy() - before[z].to_numpy()) / before[z].std().to_numpy()
        differences.append(float(np.mean(np.abs(change))))
        if data is turned:
            off = fold_angle(after["angle"].to_numpy() - before["angle"] - math.pi / 2, 1)
            assert np.median(np.abs(off)) < math.radians(1)
    assert differences[0] < 0.02
    assert differences[1] > 0.1


def test_every_place_is_encoded(response, model):
    picture = latent_image(model, response, "z0", stride=16)
    assert np.isfinite(picture[0].compute()[40:70, 40:70]).all()


def test_crops_along_walls_of_a_vector_hold_it(movie):
    response = signed_response(movie.frames, modality="vector")
    sites = detect_walls(response, modality="vector")
    assert set(sites["wall_type"]) <= {"180", "90"}
    names = [name for name in response.channels if "response" in name]
    crops = extract_crops(response, sites, window=24, channels=names)
    assert crops.vectors
    assert set(detect_walls(movie.frames)["wall_type"]) == {"180", "ferroelastic"}
