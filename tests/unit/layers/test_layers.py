"""Layer tuples, and what napari's own viewer model makes of them (no Qt)."""

import json
import math

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import zarr

import napari_rvae
from napari_rvae import Frames, InputError, latent_map
from napari_rvae.analysis.appearance import UNIT_COLOURS
from napari_rvae.layers import (
    METADATA_KEY,
    ImageStyle,
    PointStyle,
    VectorStyle,
    add_layers,
    image_layer,
    manifold_layer,
    points_layer,
    tracks_layer,
    vectors_layer,
)
from napari_rvae.layers.styles import MISSING_COLOUR
from napari_rvae.tables import concat_sites, make_sites


@pytest.fixture
def sites():
    """Sites 8 px apart in three frames, with every column a user may colour by."""
    y, x = (index.ravel() * 8.0 + 4 for index in np.indices((8, 6)))
    n = 3 * y.size
    table = make_sites(
        frame=np.repeat([0, 1, 2], y.size),
        y=np.tile(y, 3),
        x=np.tile(x, 3),
        z0=np.linspace(-1, 1, n),
        angle=np.linspace(-3, 3, n),
        angle_sd=np.linspace(0, 2, n),
        unit=np.arange(n) % 4 - 1,
        species=np.where(np.arange(n) % 9, "C", "Si"),
        is_edge=np.arange(n) % 2 == 0,
        track_id=np.tile(np.arange(y.size), 3),
        lattice_track_id=np.tile(np.arange(y.size), 3),
    )
    table.loc[::7, ["z0", "angle", "angle_sd"]] = np.nan  # border sites have no latents
    table.loc[5, "kind"] = "vacancy"
    return table


def _rgb(colour):
    return [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]


@pytest.mark.parametrize(
    "column", [None, "z0", "angle", "unit", "species", "is_edge", "track_id", "kind"]
)
def test_points_can_be_coloured_by_any_column(viewer, movie, sites, column):
    (layer,) = add_layers(viewer, points_layer(sites, movie, color_by=column))
    assert layer.data.shape == (len(sites), 3)
    assert layer.data[:, 0].tolist() == sites["frame"].tolist()
    assert layer.features["site_id"].tolist() == sites["site_id"].tolist()
    assert np.isfinite(layer.face_color).all()
    assert (layer.face_color[:, 3] == 1).all()


def test_layers_lie_on_the_frames(viewer, movie, sites):
    layers = add_layers(
        viewer,
        image_layer(movie),
        points_layer(sites, movie),
        vectors_layer(sites, movie),
        tracks_layer(sites, movie),
        image_layer(latent_map(sites, "z0", movie), movie, name="z0"),
    )
    assert [layer.name for layer in layers] == [
        "movie", "sites", "angle (directions)", "atom tracks", "z0",
    ]  # fmt: skip
    for layer in layers:
        assert tuple(layer.scale) == movie.scale
        assert [str(unit) for unit in layer.units] == ["second", "nanometer", "nanometer"]
        assert layer.axis_labels == ("t", "y", "x")


def test_metadata_tell_where_a_layer_comes_from(movie, sites):
    tuples = [
        image_layer(movie),
        points_layer(sites, movie, color_by="angle", symmetry=3, source=""),
        vectors_layer(sites, movie, symmetry=3),
        tracks_layer(sites, movie),
        manifold_layer(np.zeros((2, 2, 1, 8, 8)), movie),
    ]
    for _, options, _ in tuples:
        provenance = options["metadata"][METADATA_KEY]
        assert json.loads(json.dumps(provenance))["version"] == napari_rvae.__version__
        assert provenance["frames"] == "movie"
    shown = tuples[1][1]["metadata"][METADATA_KEY]
    assert (shown["kind"], shown["column"], shown["symmetry"]) == ("sites", "angle", 3)


def test_sites_without_a_value_are_grey(viewer, sites):
    numbers, units = add_layers(
        viewer, points_layer(sites, color_by="z0"), points_layer(sites, color_by="unit")
    )
    grey = _rgb(MISSING_COLOUR)
    assert np.allclose(numbers.face_color[sites["z0"].isna()][:, :3], grey)
    assert not np.allclose(numbers.face_color[sites["z0"].notna()][:, :3], grey)
    assert np.allclose(units.face_color[sites["unit"] == -1][:, :3], grey)
    empty = points_layer(sites.assign(z0=np.nan), color_by="z0")
    assert np.allclose(add_layers(viewer, empty)[0].face_color[:, :3], grey)


def test_the_colour_of_a_unit_follows_from_its_number(viewer, sites):
    few = sites[sites["unit"] != 0]
    for table in (sites, few):
        (layer,) = add_layers(viewer, points_layer(table, color_by="unit"))
        for unit in (1, 2):
            colours = layer.face_color[(table["unit"] == unit).to_numpy(), :3]
            assert np.allclose(colours, _rgb(UNIT_COLOURS[unit]))


def test_new_features_recolour_the_points(viewer, sites):
    (layer,) = add_layers(viewer, points_layer(sites, color_by="z0", contrast_limits=(0, 1)))
    before = layer.face_color.copy()
    layer.features = layer.features.assign(z0=layer.features["z0"] / 2)
    assert layer.face_contrast_limits == (0, 1)
    assert not np.array_equal(before, layer.face_color)


def test_contrast_limits_are_robust_and_never_empty(sites):
    sites.loc[3, "z0"] = 1e6
    limits = points_layer(sites, color_by="z0")[1]["face_color"]["contrast_limits"]
    assert -1 < limits[0] < limits[1] < 10
    for constant in (0.0, -5.0, 1e30):
        options = points_layer(sites.assign(z0=constant), color_by="z0")[1]
        low, high = options["face_color"]["contrast_limits"]
        assert low < constant < high


def test_angles_are_coloured_round_the_circle(viewer, sites):
    step = 2 * math.pi / 3
    turned = sites.assign(angle=sites["angle"] + step)
    layers = add_layers(
        viewer, *(points_layer(t, color_by="angle", symmetry=3) for t in (sites, turned))
    )
    assert np.allclose(layers[0].face_color, layers[1].face_color, atol=0.05)
    assert np.allclose(layers[0].face_contrast_limits, np.degrees([-step / 2, step / 2]))
    ends = sites.iloc[:48].assign(angle=np.where(np.arange(48) % 2, 3.14159, -3.14159))
    (layer,) = add_layers(viewer, points_layer(ends, color_by="angle"))
    assert np.ptp(layer.face_color, axis=0).max() < 0.1


def test_vacancies_are_rings(viewer, sites):
    (layer,) = add_layers(viewer, points_layer(sites))
    symbols = [str(symbol) for symbol in layer.symbol]
    assert symbols.count("ring") == 1
    assert symbols[5] == "ring"


def test_sizes_follow_the_neighbour_distance(sites):
    assert points_layer(sites)[1]["size"] == pytest.approx(4.0)
    style = PointStyle(size=1.0, colour="#ff0000")
    options = points_layer(sites, style=style)[1]
    assert options["size"] == pytest.approx(8.0)
    assert options["face_color"] == "#ff0000"


def test_sites_along_a_wall_are_a_chain(viewer):
    sites = make_sites(frame=0, y=[5.0, 5.0, 5.0], x=[6.0, 9.0, 12.0], kind="wall")
    (layer,) = add_layers(viewer, points_layer(sites))
    np.testing.assert_allclose(layer.size, 2.25)
    assert layer.current_size == pytest.approx(2.25)


@pytest.mark.parametrize("count", [0, 1])
def test_hardly_any_sites_make_a_layer(viewer, movie, sites, count):
    few = sites.iloc[:count]
    for column in ("z0", "unit", "species"):
        (layer,) = add_layers(viewer, points_layer(few, movie, color_by=column))
        assert layer.data.shape == (count, 3)
    (arrows,) = add_layers(viewer, vectors_layer(few, movie))
    assert len(arrows.data) == 0  # the first has no angle


def test_sites_without_a_position_are_left_out(viewer, movie, sites):
    sites.loc[2, "y"] = np.nan
    data, options, _ = points_layer(sites, movie)
    assert len(data) == len(options["features"]) == len(sites) - 1


@pytest.mark.parametrize("given", [True, False])
def test_one_image_has_points_of_two_coordinates(viewer, sites, given):
    image = np.zeros((64, 48))
    still = sites[sites["frame"] == 0]
    frames = image if given else None
    layers = add_layers(
        viewer,
        image_layer(image),
        points_layer(still, frames, color_by="z0"),
        vectors_layer(still, frames, symmetry=2),
    )
    assert [layer.ndim for layer in layers] == [2, 2, 2]
    with pytest.raises(InputError, match="link a movie"):
        tracks_layer(still, image)


def test_a_movie_of_one_frame_keeps_its_frame_axis(sites):
    still = sites[sites["frame"] == 0]
    assert points_layer(still, np.zeros((1, 64, 48)))[0].shape[1] == 3


def test_arms_point_as_the_convention_says(sites):
    one = sites.iloc[[1]].assign(angle=0.5)
    data = vectors_layer(one, np.zeros((3, 64, 48)))[0]
    start, arm = data[0]
    assert start.tolist() == one[["frame", "y", "x"]].iloc[0].tolist()
    # (dy, dx) = (0, 1) turned by a: (dy cos a - dx sin a, dx cos a + dy sin a)
    assert np.allclose(arm / np.hypot(*arm[1:]), [0, -math.sin(0.5), math.cos(0.5)])


def test_arms_keep_their_angle_on_pixels_that_are_not_square(sites):
    frames = Frames(np.zeros((3, 64, 48)), scale=(1.0, 0.04, 0.01), units=("s", "nm", "nm"))
    style = VectorStyle(length=0.5)
    arm = vectors_layer(sites.iloc[[1]].assign(angle=0.5), frames, style=style)[0][0, 1]
    physical = arm[1:] * [0.04, 0.01]
    assert np.allclose(math.atan2(-physical[0], physical[1]), 0.5)


def test_there_is_an_arm_for_each_equivalent_direction(sites):
    data, options, _ = vectors_layer(sites, symmetry=3)
    known = sites["angle"].notna().sum()
    assert len(data) == len(options["features"]) == len(options["edge_color"]) == 3 * known
    arms = np.arctan2(-data[:, 1, -2], data[:, 1, -1]).reshape(-1, 3)
    assert np.allclose(np.exp(3j * arms), np.exp(3j * arms[:, :1]))
    colours = options["edge_color"].reshape(-1, 3, 4)
    assert (colours == colours[:, :1]).all()


def test_directions_that_are_hardly_known_are_faint(sites):
    options = vectors_layer(sites)[1]
    deviation = sites["angle_sd"].dropna().to_numpy()
    opacity = options["edge_color"][:, 3]
    assert (np.diff(opacity[np.argsort(deviation)]) <= 0).all()
    assert opacity.max() > 0.95
    assert opacity.min() == pytest.approx(VectorStyle().faintest)
    unknown = vectors_layer(sites.drop(columns="angle_sd"))[1]
    assert (unknown["edge_color"][:, 3] == 1).all()


def test_tracks_leave_out_what_is_not_linked(viewer, movie, sites):
    sites.loc[sites["track_id"] == 3, "track_id"] = -1
    sites.loc[sites["site_id"].isin([4, 52]), "track_id"] = [900, 901]  # seen once
    sites.loc[100, "track_id"] = -1
    (layer,) = add_layers(viewer, tracks_layer(sites, movie))
    linked = sites.groupby("track_id").filter(lambda t: len(t) > 1 and t.name >= 0)
    assert len(layer.data) == len(linked)
    assert set(layer.data[:, 0]) == set(linked["track_id"])


def test_tracks_with_a_missing_value_stay_visible(viewer, movie, sites):
    options = tracks_layer(sites, movie, column="lattice_track_id", color_by="z0")
    (layer,) = add_layers(viewer, options)
    assert layer.color_by == "z0"
    assert layer.name == "lattice tracks"
    assert (np.asarray(layer.track_colors)[:, 3] > 0).all()


def test_tracks_need_links_and_numbers(sites):
    with pytest.raises(InputError, match="lacks the column track_id"):
        tracks_layer(sites.drop(columns="track_id"))
    with pytest.raises(InputError, match="No track_id has two sites"):
        tracks_layer(sites.assign(track_id=-1))
    with pytest.raises(InputError, match="holds no numbers"):
        tracks_layer(sites, color_by="species")


def test_several_sources_need_a_name(sites):
    both = concat_sites(sites.assign(source="a"), sites.assign(source="b"))
    for make in (points_layer, vectors_layer, tracks_layer):
        with pytest.raises(InputError, match="name one, source='a'"):
            make(both)
        assert len(make(both, source="b")[0])
    with pytest.raises(InputError, match="lacks the column z9"):
        points_layer(sites, color_by="z9")
    with pytest.raises(InputError, match="order of a symmetry"):
        vectors_layer(sites, symmetry=0)


@pytest.mark.parametrize("kind", ["numpy", "dask", "zarr"])
def test_each_channel_is_a_layer_of_its_own_and_lazy(viewer, kind):
    data = np.stack([np.full((2, 16, 24), v) for v in (1.0, 5.0)], axis=1)
    data[0, :, 0, 0] = np.nan
    lazy = {
        "numpy": lambda: data,
        "dask": lambda: da.from_array(data, chunks=(1, 1, 16, 24)),
        "zarr": lambda: zarr.array(data, chunks=(1, 1, 16, 24)),
    }[kind]()
    frames = Frames(lazy, channels=("amplitude", "phase"), scale=(3, 1, 0.5, 0.5))
    (layer,) = add_layers(viewer, image_layer(frames, channel="phase"))
    assert layer.name == "phase"
    assert layer.data.shape == (2, 16, 24)
    assert isinstance(layer.data, da.Array) == (kind != "numpy")
    assert tuple(layer.scale) == (3, 0.5, 0.5)
    assert layer.contrast_limits == [4.5, 5.5]
    with pytest.raises(InputError, match="no channel"):
        image_layer(frames, channel="height")


@pytest.mark.parametrize("dtype", [bool, "uint8", "int64", "float32"])
def test_images_of_any_type_have_limits(viewer, dtype):
    for value in (0, 1):
        (layer,) = add_layers(viewer, image_layer(np.full((3, 16, 16), value, dtype)))
        low, high = layer.contrast_limits
        assert low < high
    nothing = np.full((3, 16, 16), np.nan)
    assert image_layer(nothing)[1]["contrast_limits"] == (0, 1)


def test_long_movies_are_sampled():
    reads = []

    class Counting:
        shape, dtype = (100, 16, 16), np.dtype(float)

        def __getitem__(self, key):
            reads.append(key)
            return np.zeros((16, 16))

    image_layer(Frames(Counting()))
    assert reads == [(0,), (24,), (49,), (74,), (99,)]


def test_units_that_napari_does_not_know_become_pixels(viewer, sites):
    frames = Frames(np.zeros((3, 64, 48)), units=("frame", "furlong", "nm"))
    image, points = add_layers(viewer, image_layer(frames), points_layer(sites, frames))
    assert [str(unit) for unit in points.units] == ["pixel", "pixel", "nanometer"]
    assert image.units == points.units


def test_the_manifold_is_a_mosaic_beside_the_frames(viewer, movie):
    pictures = np.arange(6)[:, None, None].reshape(2, 3, 1, 1, 1) * np.ones((2, 3, 1, 8, 8))
    data, options, kind = manifold_layer(pictures, movie)
    assert data.shape == (16, 24)
    assert data[::8, ::8].tolist() == [[0, 1, 2], [3, 4, 5]]
    (layer,) = add_layers(viewer, (data, options, kind))
    assert layer.scale[0] * 16 == pytest.approx(64 * 0.02)
    assert layer.translate[1] > 48 * 0.02
    for wrong in (np.zeros((2, 8, 8)), np.zeros((0, 2, 1, 8, 8))):
        with pytest.raises(InputError, match="have no channel 0"):
            manifold_layer(wrong)
    with pytest.raises(InputError, match="no channel 1"):
        manifold_layer(pictures, channel=1)


def test_a_style_changes_the_look(viewer, sites, movie):
    style = ImageStyle(colormap="magma", opacity=0.5)
    (layer,) = add_layers(viewer, image_layer(latent_map(sites, "z0", movie), movie, style=style))
    assert layer.colormap.name == "magma"
    assert layer.opacity == 0.5


def test_a_picture_over_one_image_cannot_have_frames():
    with pytest.raises(InputError, match="the image has none"):
        image_layer(np.zeros((3, 16, 16)), np.zeros((16, 16)))


def test_lazy_maps_make_lazy_layers(viewer, movie, sites):
    lazy = latent_map(sites, "z0", movie, lazy=True)
    (layer,) = add_layers(viewer, image_layer(lazy, movie, contrast_limits=(-1, 1)))
    assert isinstance(layer.data, da.Array)


def test_the_table_of_the_user_is_left_alone(sites):
    before = sites.copy()
    points_layer(sites, color_by="angle", symmetry=3)
    vectors_layer(sites)
    tracks_layer(sites)
    pd.testing.assert_frame_equal(sites, before)
