"""How points and directions look: border, vacancies, faint arms."""

import json

import numpy as np
import pytest

from napari_rvae import CropConfig, Frames, add_layers, extract_crops, points_layer, vectors_layer
from napari_rvae.layers import METADATA_KEY, PointStyle, VectorStyle
from napari_rvae.tables import make_sites


def _grey(layer):
    return np.isclose(layer.face_color[:, :3], 0x60 / 255).all(axis=1)


@pytest.mark.parametrize("window", [None, 12.0])
def test_sites_that_get_no_crop_are_grey(viewer, window):
    rng = np.random.default_rng(0)
    frames = Frames(rng.normal(size=(2, 96, 80)))
    y, x = (index.ravel() * 7.0 + 3 for index in np.indices((13, 11)))
    sites = make_sites(frame=np.repeat([0, 1], y.size), y=np.tile(y, 2), x=np.tile(x, 2))
    sites[["y", "x"]] += rng.normal(0, 1.0, (len(sites), 2))
    (layer,) = add_layers(viewer, points_layer(sites, frames, window=window))
    cut = set(extract_crops(frames, sites, window=window).site_id)
    assert np.array_equal(_grey(layer), [site not in cut for site in sites["site_id"]])
    record = layer.metadata[METADATA_KEY]
    assert record["n_border"] == _grey(layer).sum() > 0
    assert json.loads(json.dumps(record))["frame_shape"] == [96, 80]


def test_without_frames_nobody_knows_the_border(viewer, sites):
    (layer,) = add_layers(viewer, points_layer(sites))
    assert not _grey(layer).any()
    assert "n_border" not in layer.metadata[METADATA_KEY]


def test_a_lone_site_has_no_window(viewer, movie, sites):
    (layer,) = add_layers(viewer, points_layer(sites.iloc[:1], movie))
    assert not _grey(layer).any()
    assert add_layers(viewer, points_layer(sites.iloc[:1], movie, window=20.0))
    assert CropConfig().window is None


def test_vacancies_at_the_border_stay_rings(viewer, movie, sites):
    sites.loc[[0, 22], "kind"] = "vacancy"
    (layer,) = add_layers(viewer, points_layer(sites, movie, window=20.0))
    assert [str(layer.symbol[i]) for i in (0, 1, 22)] == ["ring", "disc", "ring"]
    assert _grey(layer)[[0, 22]].tolist() == [True, False]


def test_the_border_shows_in_the_rim_too(viewer, movie, sites):
    style = PointStyle(missing_border_colour="#ff0000")
    (layer,) = add_layers(viewer, points_layer(sites, movie, window=20.0, style=style))
    assert np.array_equal(layer.border_color[:, 0] == 1, _grey(layer))
    (layer,) = add_layers(viewer, points_layer(sites, movie, color_by="z0", style=style))
    assert not (layer.border_color[:, 0] == 1).any()


def test_directions_are_told_in_degrees(viewer, movie, sites):
    (layer,) = add_layers(viewer, vectors_layer(sites, movie, symmetry=2))
    told = layer.features["angle (deg)"].to_numpy()
    assert np.abs(told).max() <= 180
    arms = np.degrees(np.arctan2(-layer.data[:, 1, -2], layer.data[:, 1, -1]))
    assert np.allclose(np.exp(1j * np.radians(told)), np.exp(1j * np.radians(arms)))


def test_the_faintest_arms_can_be_seen(sites):
    opacity = vectors_layer(sites)[1]["edge_color"][:, 3]
    assert opacity.min() == pytest.approx(VectorStyle().faintest)
    assert opacity.min() >= 0.25
