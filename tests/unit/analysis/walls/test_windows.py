"""Windows in pixels, and walls drawn as a layer."""

import dataclasses
import math

import numpy as np
import pytest

from napari_rvae import (
    RVAE,
    CropConfig,
    InputError,
    add_wall_channel,
    compare_windows,
    extract_crops,
    sample_grid,
    simulate_walls,
    wall_mask,
)
from napari_rvae.figures.windows import windows_figure
from napari_rvae.tables import make_sites


@pytest.fixture(scope="module")
def polarization():
    """Domains without stripes, and some noise."""
    found = simulate_walls(n_frames=4, size=160, seed=0, stripes=0).fields["polarization"]
    return found + 0.15 * np.random.default_rng(0).normal(size=found.shape)


def _misfit(movie, side, n_latents):
    config = CropConfig(window=side, pixels=16, subtract_mean=False)
    crops = extract_crops(movie, sample_grid(movie, step=10), config)
    model = RVAE(n_latents=n_latents, epochs=15, device="cpu").fit(crops)
    shown = model.reconstruct(crops)
    disc = np.abs(shown).sum((0, 1)) > 0
    return ((crops.images - shown)[..., disc] ** 2).mean()


def test_small_windows_need_one_latent_and_large_ones_two(polarization):
    movie = polarization.astype(np.float32)
    taken = {side: 1 - _misfit(movie, side, 2) / _misfit(movie, side, 1) for side in (8, 48)}
    assert taken[8] < 0.02
    assert taken[48] > 0.05


def test_windows_in_pixels(polarization):
    found = compare_windows(
        polarization, sample_grid(polarization, step=12), (12, 32), in_pixels=True, epochs=1,
        max_crops=200, hidden=16, n_latents=2, device="cpu",
    )  # fmt: skip
    assert found.summary["window_px"].tolist() == [12, 32]
    assert found.summary["window_nd"].isna().all()
    assert found.sentences[0].startswith("A window of 32 px")
    words = " ".join(text.get_text() for text in windows_figure(found).texts)
    assert "12 px" in words
    with pytest.raises(InputError, match="give two or more, in px"):
        compare_windows(polarization, sample_grid(polarization, step=12), (12,), in_pixels=True)


def test_walls_are_drawn_where_they_are():
    x = np.arange(4.0, 60.0, 2.0)
    sites = make_sites(frame=1, y=20 + 0 * x, x=x, normal_angle=np.full(x.size, math.pi / 2))
    mask = wall_mask(sites, np.zeros((2, 64, 64)), width=1.5)
    assert mask.shape == (2, 64, 64)
    assert not mask[0].any()
    np.testing.assert_allclose(mask[1, 20, 6:56], 1, atol=0.01)
    np.testing.assert_allclose(mask[1, 23, 6:56], math.exp(-2), atol=0.01)
    assert mask[1, 40].max() == 0
    with pytest.raises(InputError, match="width = 0"):
        wall_mask(sites, np.zeros((2, 64, 64)), width=0)


def test_drawn_walls_are_a_layer_of_crops():
    movie = simulate_walls(n_frames=2, size=96, seed=1)
    both = add_wall_channel(movie.frames, movie.sites)
    assert both.channels == (*movie.frames.channels, "walls")
    assert both.scale == movie.frames.scale
    crops = extract_crops(both, movie.sites, window=16, pixels=16, channels=["walls"], lags=(0, -1))
    assert set(crops.frame) == {1}
    assert crops.left_out["no such frame"] == (movie.sites["frame"] == 0).sum()
    middle = crops.images[:, 0, 7:9, 7:9].mean()
    assert middle > crops.images[:, 0].mean() + 0.3
    one = dataclasses.replace(both.select_channel("walls"))
    assert add_wall_channel(one, movie.sites, name="again").channels == ("walls", "again")
    with pytest.raises(InputError, match="channel 'walls' already"):
        add_wall_channel(both, movie.sites)
