"""Latents around every pixel."""

import math
import threading

import numpy as np
import pytest

from napari_rvae import (
    RVAE,
    Frames,
    InputError,
    NotFittedError,
    extract_crops,
    latent_image,
    latent_image_layers,
    sample_grid,
)
from napari_rvae.analysis.dense import _between

SIDE, WINDOW = 72, 16


def stripes(n_frames=3):
    """Two channels: waves whose direction turns over the frame, and their square."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(float)
    rng = np.random.default_rng(0)
    movie = np.empty((n_frames, 2, SIDE, SIDE))
    for t in range(n_frames):
        wave = np.tanh(2 * np.sin(2 * math.pi * np.hypot(y + 10, x + 20 + 2 * t) / 18))
        movie[t] = wave, wave**2
    movie += 0.05 * rng.normal(size=movie.shape)
    return Frames(
        movie,
        channels=("response", "square"),
        scale=(1.0, 1.0, 2.5, 2.5),
        units=("s", "pixel", "nm", "nm"),
    )


@pytest.fixture(scope="module")
def movie():
    return stripes()


@pytest.fixture(scope="module")
def model(movie):
    crops = extract_crops(movie, sample_grid(movie, step=4), window=WINDOW, pixels=16, lags=(0, -1))
    return RVAE(n_latents=2, epochs=3, hidden=32, device="cpu").fit(crops)


def test_values_are_those_of_crops_cut_there(movie, model):
    pictures = latent_image(model, movie, ["z0", "angle", "residual"], stride=8)
    z0 = pictures["z0"]
    assert z0.shape == (3, SIDE, SIDE)
    assert z0.dtype == np.float32
    assert z0.chunks[0] == (1, 1, 1)
    assert np.isnan(z0[0].compute()).all()  # frame 0 has none before it
    one = np.asarray(z0[2])
    sites = sample_grid(movie, step=8).query("frame == 2")
    rows = np.flatnonzero(np.isfinite(one).any(1))
    assert WINDOW / 2 <= rows[0] <= WINDOW / 2 + 8
    places = rows[0] + 8 * np.arange((rows[-1] - rows[0]) // 8 + 1)
    y, x = (a.ravel() for a in np.meshgrid(places, places, indexing="ij"))
    sites = sites.iloc[: y.size].assign(y=y.astype(float), x=x.astype(float))
    crops = extract_crops(
        movie, sites, model.crop_config, lags=model.lags_, channels=model.channels_
    )
    table = model.transform(crops)
    assert len(table) == y.size
    for column, picture in pictures.items():
        found = np.asarray(picture[2])[y, x]
        off = np.exp(1j * found) - np.exp(1j * table[column].to_numpy())
        np.testing.assert_allclose(np.abs(off), 0, atol=1e-3)


def test_several_columns_encode_a_frame_once(movie, model, monkeypatch):
    calls, real = [], RVAE.transform

    def counted(self, crops):
        calls.append(threading.get_ident())
        return real(self, crops)

    monkeypatch.setattr(RVAE, "transform", counted)
    pictures = latent_image(model, movie, ("z0", "z1", "angle"), stride=16)
    assert not calls
    for picture in pictures.values():
        np.asarray(picture[1:])
    assert len(calls) == 2


def test_every_pixel(movie, model):
    small = movie.data[:, :, :40, :40]
    exact = np.asarray(latent_image(model, Frames(small, channels=movie.channels), "z0", stride=1))
    coarse = np.asarray(latent_image(model, Frames(small, channels=movie.channels), "z0", stride=4))
    both = np.isfinite(exact) & np.isfinite(coarse)
    assert both[1].sum() > 300
    assert np.corrcoef(exact[both], coarse[both])[0, 1] > 0.9


def test_angles_are_mixed_on_the_circle(movie, model):
    full, axis = (latent_image(model, movie, "angle", stride=4, symmetry=n)[1] for n in (1, 2))
    full, axis = np.asarray(full), np.asarray(axis)
    assert np.nanmax(np.abs(full)) <= math.pi + 1e-6
    assert np.nanmax(np.abs(axis)) <= math.pi / 2 + 1e-6
    places = np.flatnonzero(np.isfinite(axis).any(1))[::4]
    off = np.exp(2j * full[np.ix_(places, places)]) - np.exp(2j * axis[np.ix_(places, places)])
    np.testing.assert_allclose(np.abs(off), 0, atol=1e-3)


def test_between_places():
    grid = np.array([[0.0, 1.0], [2.0, np.nan]])
    found = _between(grid, np.array([3, 5]), np.array([2, 6]))
    assert found.shape == (3, 5)
    np.testing.assert_allclose(found[0], [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(found[:, 0], [0, 1, 2])
    assert np.isnan(found[1, 1])
    assert _between(grid[:1, :1], np.array([4]), np.array([4])).tolist() == [[0.0]]


def test_missing_pixels_and_regions_are_gaps(movie, model):
    data = np.array(movie.data)
    data[1, 1, 36, 36] = np.nan
    region = np.ones((SIDE, SIDE), bool)
    region[:, 50:] = False
    frames = Frames(data, channels=movie.channels)
    picture = np.asarray(latent_image(model, frames, "z0", stride=4, region=region)[1])
    assert np.isnan(picture[36, 36])
    assert np.isnan(picture[:, 50:]).all()
    assert np.isfinite(picture[20, 20])


def test_layers_have_the_scans_scale_and_cyclic_angles(movie, model):
    layers = latent_image_layers(model, movie, ("z0", "angle"), stride=8, symmetry=2)
    (z0, number, kind), (angle, cyclic, _) = layers
    assert kind == "image"
    assert z0.shape == angle.shape == (3, SIDE, SIDE)
    assert tuple(number["scale"])[-2:] == (2.5, 2.5)
    assert cyclic["contrast_limits"] == (-90.0, 90.0)
    assert cyclic["metadata"]["napari_rvae"]["colours"] == "cyclic"
    assert np.nanmax(np.abs(np.asarray(angle[1]))) <= 90
    low, high = number["contrast_limits"]
    assert low < float(np.nanmedian(np.asarray(z0[1]))) < high


def test_bad_requests(movie, model):
    with pytest.raises(InputError, match="no column 'z7'"):
        latent_image(model, movie, "z7")
    with pytest.raises(InputError, match="no channel 'square'"):
        latent_image(model, Frames(np.zeros((3, 2, SIDE, SIDE)), channels=("response", "b")), "z0")
    with pytest.raises(InputError, match="stride = 0"):
        latent_image(model, movie, "z0", stride=0)
    with pytest.raises(InputError, match="does not fit into a frame of 12 px"):
        latent_image(model, Frames(np.zeros((3, 2, 12, 12)), channels=movie.channels), "z0")
    with pytest.raises(NotFittedError):
        latent_image(RVAE(), movie, "z0")
