"""One site with all that is known of it."""

import dataclasses

import numpy as np
import pytest

from napari_rvae import (
    RVAE,
    Crops,
    InputError,
    detect_atoms,
    detect_walls,
    extract_crops,
    inspect_site,
    join_latents,
    signed_response,
    simulate_graphene,
    simulate_walls,
    site_track,
)
from napari_rvae.figures import save_figure, site_figure
from napari_rvae.tables import make_sites


@pytest.fixture(scope="module")
def made():
    """Frames, sites with latents, crops and the model of them."""
    frames = simulate_graphene(n_frames=2, size=160, seed=3).frames
    sites = detect_atoms(frames)
    crops = extract_crops(frames, sites)
    model = RVAE(epochs=3, n_latents=2).fit(crops)
    return frames, join_latents(sites, model.transform(crops)), crops, model


def test_it_is_what_the_table_says(made):
    frames, sites, crops, model = made
    site_id = int(crops.site_id[len(crops) // 2])
    found = inspect_site(model, frames, sites, site_id)
    row = sites.set_index("site_id").loc[site_id]
    assert found.site["site_id"] == site_id
    assert found.latents["latent"].tolist() == ["z0", "z1"]
    # the scan's distortion is measured in its own frame alone, hence no closer
    assert found.latents["value"].to_numpy() == pytest.approx(
        row[["z0", "z1"]].to_numpy(float), abs=0.3
    )
    assert (found.latents["low"] < found.latents["high"]).all()
    assert (found.latents["sd"] > 0).all()
    crop = crops.images[list(crops.site_id).index(site_id)]
    assert np.corrcoef(found.views.crop.ravel(), crop.ravel())[0, 1] > 0.99
    assert found.symmetry["verdict"]
    assert found.track["site_id"].tolist() == [site_id]
    assert found.track.attrs["column"] == ""


def test_the_posterior_peaks_at_the_angle(made):
    _, _, crops, model = made
    few = crops.select(np.arange(0, len(crops), 20))
    table = model.transform(few)
    shares = model.angle_posterior(few, parts=360)
    assert shares.shape == (len(few), 360)
    assert shares.sum(axis=1) == pytest.approx(1, abs=1e-4)
    best = -np.pi + 2 * np.pi * shares.argmax(axis=1) / 360
    away = np.angle(np.exp(1j * (best - table["angle"].to_numpy())))
    assert np.abs(away).max() <= 1.01 * np.pi / 360 + 1e-3
    with pytest.raises(InputError, match="one part"):
        model.angle_posterior(few, parts=0)


def test_a_picture_that_repeats_has_several_peaks():
    line = np.arange(32) - 15.5
    y, x = np.meshgrid(line, line, indexing="ij")
    turns = np.random.default_rng(0).uniform(0, 2 * np.pi, 200)
    spots = [
        sum(
            np.exp(
                -((x - 9 * np.cos(t + k * np.pi)) ** 2 + (y + 9 * np.sin(t + k * np.pi)) ** 2) / 8
            )
            for k in range(2)
        )
        for t in turns
    ]
    noise = np.random.default_rng(1).normal(0, 0.05, (200, 32, 32))
    images = (np.array(spots) + noise)[:, None].astype(np.float32)
    crops = Crops(images=images, site_id=np.arange(200))
    model = RVAE(epochs=3, n_latents=1).fit(crops)
    shares = model.angle_posterior(crops.select(np.arange(40)), parts=180)
    opposite = np.roll(shares, 90, axis=1)
    # two peaks, half a turn apart; how the posterior is divided between them, the noise decides
    both = np.minimum(shares, opposite).sum(axis=1)
    assert np.median(both) > 0.1
    assert (shares > 0.01).sum(axis=1).max() < 40


@pytest.mark.parametrize("options", [{"decoder": "pixel"}, {"rotation": False}])
def test_other_models_tell_their_angle_too(made, options):
    _, _, crops, _ = made
    few = crops.select(np.arange(40))
    model = RVAE(epochs=1, n_latents=2, **options).fit(few)
    shares = model.angle_posterior(few.select([0, 7]), parts=90)
    assert shares.sum(axis=1) == pytest.approx(1, abs=1e-3)
    best = -np.pi + 2 * np.pi * shares.argmax(axis=1) / 90
    away = np.angle(np.exp(1j * (best - model.transform(few)["angle"].to_numpy()[[0, 7]])))
    assert np.abs(away).max() <= 1.01 * np.pi / 90


def test_crops_with_nan_have_no_posterior(made):
    _, _, crops, model = made
    images = np.array(crops.images[:2])
    images[1, 0, 5, 5] = np.nan
    broken = Crops(images=images, site_id=np.arange(2), window_px=crops.window_px)
    assert np.isnan(model.angle_posterior(broken)).all(axis=1).tolist() == [False, True]


def test_sites_that_cannot_be_inspected(made):
    frames, sites, crops, model = made
    with pytest.raises(InputError, match="no site"):
        inspect_site(model, frames, sites, 10**6)
    border = sites.loc[~sites["site_id"].isin(crops.site_id), "site_id"].iloc[0]
    with pytest.raises(InputError, match="has no crop"):
        inspect_site(model, frames, sites, int(border))


def test_a_track_takes_the_better_of_two_links():
    sites = make_sites(
        frame=[0, 1, 2, 0, 1],
        y=[1.0, 1.0, 1.0, 9.0, 9.0],
        x=[1.0] * 5,
        track_id=[4, -1, 4, -1, -1],
        lattice_track_id=[0, 0, 0, 1, 1],
    )
    ids = sites["site_id"].to_numpy()
    moved = sites[sites["track_id"] == 4]["site_id"].tolist()
    found = site_track(sites, moved[0])
    assert (found["site_id"].tolist(), found.attrs["column"]) == (moved, "track_id")
    place = site_track(sites, int(ids[sites["track_id"] == -1][0]))
    assert (len(place), place.attrs["column"]) == (2, "lattice_track_id")
    with pytest.raises(InputError, match="no site"):
        site_track(sites, 99)


@pytest.mark.parametrize(("size", "theme"), [((9, 2.5), "dark"), ((3, 7), "light")])
def test_a_figure_wide_or_tall(made, tmp_path, size, theme):
    frames, sites, crops, model = made
    found = inspect_site(model, frames, sites, int(crops.site_id[0]))
    figure = site_figure(found, theme=theme, size=size)
    assert len(figure.axes) == 7
    assert save_figure(figure, tmp_path / "site.png").stat().st_size > 5000


def test_a_site_of_a_model_of_walls_with_earlier_frames():
    simulation = simulate_walls(n_frames=4, size=96, seed=1)
    movie = signed_response(simulation.frames).select_channel("response")
    walls = detect_walls(simulation.frames)
    crops = extract_crops(movie, walls, window=24, lags=(0, -1))
    assert crops.channels[:2] == ("response", "walls")
    model = RVAE(epochs=2, n_latents=2, seed=0).fit(crops)
    row = len(crops) // 2
    plain = dataclasses.replace(movie, channels=("any name",))
    found = inspect_site(model, plain, walls, int(crops.site_id[row]))
    assert found.views.crop.shape[1] == crops.images.shape[1] == 4
    assert found.views.crop[0] == pytest.approx(crops.images[row], abs=1e-4)
    with pytest.raises(InputError, match="frame that the model wants is not there"):
        inspect_site(model, plain, walls, int(walls.query("frame == 0")["site_id"].iloc[0]))
    both = extract_crops(signed_response(simulation.frames), walls, window=24)
    with pytest.raises(InputError, match="which these frames lack"):
        inspect_site(RVAE(epochs=1).fit(both), movie, walls, int(both.site_id[0]))
