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
    detect_walls,
    extract_crops,
    latent_image,
    sample_grid,
    signed_response,
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


@pytest.fixture(scope="module")
def scans():
    """A movie with ferroelastic walls, its response, and its sites."""
    movie = simulate_walls(n_frames=2, size=96, seed=1)
    return signed_response(movie.frames).select_channel("response"), detect_walls(movie.frames)


def test_ferroelastic_walls_are_drawn_unasked_and_fade_away_from_the_site(scans):
    response, sites = scans
    crops = extract_crops(response, sites, window=24)
    assert crops.channels == ("response", "walls")
    assert crops.layer_noise[1] == 0
    assert crops.kept_means == ("response", "walls")
    of_walls = sites.set_index("site_id")["wall_type"].loc[crops.site_id] == "ferroelastic"
    middle = crops.images[:, 1, 15:17, 15:17].mean((1, 2))
    assert middle[of_walls].min() > 0.8
    assert crops.images[:, 1, 0].max() < 0.05
    polar = sites[sites["wall_type"] == "180"].reset_index(drop=True)
    assert extract_crops(response, polar, window=24).channels == ("response",)
    assert extract_crops(response, sites, CropConfig(walls="off", window=24)).channels == (
        "response",
    )
    assert extract_crops(response, sites, window=24, channels=["response"]).channels == (
        "response",
    )


def test_means_are_kept_channel_by_channel(scans):
    response, sites = scans
    plain = CropConfig(window=24, keep_mean="", walls="off")
    lost = extract_crops(response, sites, plain)
    kept = extract_crops(response, sites, dataclasses.replace(plain, keep_mean=" response"))
    assert (lost.kept_means, kept.kept_means) == ((), ("response",))
    np.testing.assert_allclose(
        kept.images.mean((2, 3)) - lost.images.mean((2, 3)), kept.mean[:, None], atol=0.05
    )


def test_a_model_cuts_again_what_it_was_trained_on(scans, tmp_path):
    response, sites = scans
    crops = extract_crops(response, sites, window=24, pixels=16)
    model = RVAE(n_latents=2, epochs=1, hidden=16, device="cpu").fit(crops)
    model.save(tmp_path / "model")
    again = RVAE.load(tmp_path / "model", device="cpu")
    assert again.crop_config.keep_mean == "response, walls"
    polar = sites[sites["wall_type"] == "180"].reset_index(drop=True)
    other = extract_crops(response, polar, again.crop_config, window=24)
    assert other.channels == crops.channels  # with nothing drawn
    assert len(again.transform(other)) == len(other)
    with pytest.raises(InputError, match="give the sites along the walls"):
        latent_image(again, response, "z0")
    picture = latent_image(again, response, "z0", stride=24, walls=sites)
    assert np.isfinite(picture[0, 48, 48].compute())


def test_one_component_of_a_vector_is_not_turned():
    movie = simulate_walls(n_frames=1, size=96, seed=1, lateral=True)
    sideways = signed_response(movie.frames, modality="lateral")
    assert sideways.channels == ("lateral response", "lateral quadrature")
    both = signed_response(movie.frames, modality="vector")
    for frames, channels in ((sideways, [0]), (both, ["response", "lateral response"])):
        crops = extract_crops(frames, movie.sites, window=24, pixels=16, channels=channels)
        with pytest.raises(InputError, match="one component of a vector"):
            RVAE(epochs=1, device="cpu").fit(crops)
        options = {"n_latents": 2, "epochs": 1, "hidden": 16, "device": "cpu"}
        assert RVAE(rotation=False, **options).fit(crops).is_fitted
