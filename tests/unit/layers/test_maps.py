"""Columns as pictures over the frames."""

import dask.array as da
import numpy as np
import pytest
from napari.layers import Labels

from napari_rvae import Frames, InputError, add_layers, latent_map, map_layer
from napari_rvae.layers import METADATA_KEY, MapStyle, image_layer
from napari_rvae.tables import make_sites


@pytest.fixture
def no_drawing(monkeypatch):
    """Fail when a frame is drawn."""

    def paint(*_):
        raise AssertionError("a frame was drawn")

    monkeypatch.setattr("napari_rvae.analysis.maps._Painter.paint", paint)


def test_nothing_is_drawn_before_it_is_looked_at(no_drawing, movie, sites):
    for column in ("z0", "angle", "unit"):
        data, _, _ = map_layer(sites, column, movie)
        assert isinstance(data, da.Array)
        assert data.shape == movie.shape
        assert data.chunksize == (1, 64, 48)


def test_a_map_is_the_latent_map(viewer, movie, sites):
    data, options, kind = map_layer(sites, "z0", movie)
    assert kind == "image"
    assert np.array_equal(data.compute(), latent_map(sites, "z0", movie), equal_nan=True)
    low, high = options["contrast_limits"]
    assert -1 <= low < high <= 1
    (layer,) = add_layers(viewer, (data, options, kind))
    assert tuple(layer.scale) == movie.scale
    assert 0.3 < layer.opacity < 0.9
    assert layer.colorbar.visible
    assert layer.colormap.nan_color[3] == 0
    assert not add_layers(viewer, image_layer(movie))[0].colorbar.visible


@pytest.mark.parametrize(("symmetry", "half"), [(None, 180), (3, 60)])
def test_maps_of_angles_are_cyclic_and_in_degrees(viewer, movie, sites, symmetry, half):
    data, options, kind = map_layer(sites, "angle", movie, symmetry=symmetry)
    expected = np.degrees(latent_map(sites, "angle", movie, symmetry=symmetry))
    assert np.allclose(data.compute(), expected, equal_nan=True)
    assert data.dtype == np.float32
    assert options["contrast_limits"] == (-half, half)
    assert options["name"] == "angle map (deg)"
    (layer,) = add_layers(viewer, (data, options, kind))
    assert np.allclose(layer.colormap.colors[0], layer.colormap.colors[-1])


def test_maps_of_units_are_labels_in_the_colours_of_the_points(viewer, movie, sites):
    from napari_rvae.analysis.appearance import UNIT_COLOURS

    made = map_layer(sites, "unit", movie, categories={0: "host"})
    (layer,) = add_layers(viewer, made)
    assert isinstance(layer, Labels)
    drawn = np.nan_to_num(latent_map(sites, "unit", movie), nan=-1).astype(int)
    assert np.array_equal(np.asarray(layer.data), drawn + 1)
    for unit in range(3):
        rgb = [int(UNIT_COLOURS[unit][i : i + 2], 16) / 255 for i in (1, 3, 5)]
        assert np.allclose(layer.get_color(unit + 1)[:3], rgb)
    assert layer.get_color(0) is None or layer.get_color(0)[3] == 0
    assert layer.features["unit"].tolist() == ["host", "unit 1", "unit 2"]
    assert layer.features["index"].tolist() == [1, 2, 3]


def test_maps_of_words_are_labels_in_the_colours_of_the_points(viewer, movie, sites):
    from napari_rvae.layers.colours import legend_of

    words = np.array(["edge", "", "bulk"], object)[np.arange(len(sites)) % 3]
    named = sites.assign(**{"class": words})
    (layer,) = add_layers(viewer, map_layer(named, "class", movie))
    assert isinstance(layer, Labels)
    entries = [entry for entry in legend_of(named, "class") if entry.value is not None]
    assert layer.features["class"].tolist() == [entry.name for entry in entries] == ["bulk", "edge"]
    assert set(np.unique(np.asarray(layer.data))) == {0, 1, 2}
    for number, entry in enumerate(entries, start=1):
        rgb = [int(entry.colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        assert np.allclose(layer.get_color(number)[:3], rgb)


def test_words_take_the_place_around_their_sites(movie):
    table = make_sites(frame=0, y=[20, 20, 40], x=[10, 30, 20])
    words = table.assign(**{"class": ["left", "right", None]})
    drawn = np.asarray(map_layer(words, "class", movie)[0])[0]
    assert (drawn[20, 10], drawn[20, 30], drawn[40, 20]) == (1, 2, 0)


def test_one_image_has_one_map(viewer, sites):
    still = sites[sites["frame"] == 0]
    frames = Frames(np.zeros((64, 48)), name="still")
    for column in ("z0", "unit"):
        (layer,) = add_layers(viewer, map_layer(still, column, frames))
        assert layer.ndim == 2
        assert layer.metadata[METADATA_KEY]["kind"] == "map"
        assert layer.metadata[METADATA_KEY]["frames"] == "still"


def test_limits_name_and_style_can_be_given(movie, sites):
    style = MapStyle(colormap="magma", opacity=0.2)
    options = map_layer(sites, "z0", movie, contrast_limits=(0, 5), name="mine", style=style)[1]
    assert options["contrast_limits"] == (0, 5)
    assert options["name"] == "mine"
    assert options["opacity"] == 0.2
    assert options["colormap"]["name"].startswith("magma")


def test_what_cannot_be_drawn_is_said(movie, sites):
    for empty in (sites.assign(unit=-1), sites.assign(unit=np.nan), sites.assign(unit="")):
        with pytest.raises(InputError, match="holds no value"):
            map_layer(empty, "unit", movie)
    with pytest.raises(InputError, match="lacks the column z9"):
        map_layer(sites, "z9", movie)
    with pytest.raises(InputError, match="three sites"):
        map_layer(sites.iloc[:2], "z0", movie)
    both = sites.assign(source=np.where(sites["frame"] > 0, "a", "b"))
    with pytest.raises(InputError, match="name one"):
        map_layer(both, "z0", movie)
    assert map_layer(both, "z0", movie, source="a")[0].shape == movie.shape
