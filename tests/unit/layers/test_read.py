"""Layers -> frames, regions, sites."""

import json

import dask.array as da
import numpy as np
import pytest
import zarr
from hypothesis import given
from napari.layers import Image, Labels, Points, Shapes, Tracks

from napari_rvae import (
    Frames,
    InputError,
    frames_from_layer,
    image_layer,
    map_layer,
    points_layer,
    region_from_layer,
    set_scale,
    sites_from_layer,
    vectors_layer,
)
from napari_rvae.layers import METADATA_KEY, add_layers, rescale_layer
from napari_rvae.layers.place import placement
from napari_rvae.tables import make_sites
from strategies import movies


def _image(frames, **options):
    data, made, _ = image_layer(frames)
    return Image(data, **made | options)


# ---------------------------------------------------------------- frames
@given(movies())
def test_frames_come_back_from_their_layer(frames):
    if frames.n_channels > 1 or "c" in frames.axis_labels:
        frames = frames.select_channel(0)
    back = frames_from_layer(_image(frames))
    assert back.axis_labels == frames.axis_labels
    assert back.scale == frames.scale
    assert back.units == frames.units
    assert back.shape == frames.shape
    assert np.array_equal(back.frame(0), frames.frame(0), equal_nan=True)


def test_name_units_and_table_of_the_frames_survive(movie):
    table = movie.table.assign(time=[0.0, np.nan, 4.0], keep=[True, False, True])
    frames = Frames(
        movie.data, scale=movie.scale, units=("frame", "nm", "nm"), table=table, name="movie.h5"
    )
    image = _image(frames, name="renamed")
    json.dumps(image.metadata[METADATA_KEY], allow_nan=False)
    back = frames_from_layer(image)
    assert back.name == "movie.h5"
    assert back.units == frames.units
    assert back.table["time"].to_numpy()[[0, 2]].tolist() == [0, 4]
    assert back.table["time"].isna().tolist() == [False, True, False]
    assert back.table["keep"].tolist() == [True, False, True]
    assert back.table["dose"].isna().all()


def test_what_was_noted_does_not_hold_for_other_data(viewer, movie):
    (image,) = add_layers(viewer, image_layer(movie))
    image.data = np.zeros((64, 48))
    assert frames_from_layer(image).name == image.name == "movie"
    image.name = "other"
    assert frames_from_layer(image).name == "other"


@pytest.mark.parametrize("kind", ["numpy", "dask", "zarr", "levels"])
def test_any_image_is_taken_lazily(kind):
    data = np.arange(4 * 16 * 24.0).reshape(4, 16, 24)
    lazy = {
        "numpy": lambda: data,
        "dask": lambda: da.from_array(data, chunks=(1, 16, 24)),
        "zarr": lambda: zarr.array(data, chunks=(1, 16, 24)),
        "levels": lambda: [data, data[:, ::2, ::2]],
    }[kind]()
    frames = frames_from_layer(Image(lazy, name="mine", multiscale=kind == "levels"))
    assert type(frames.data) is type(lazy if kind != "levels" else data)
    assert frames.axis_labels == ("t", "y", "x")
    assert frames.units == ("pixel",) * 3
    assert frames.name == "mine"
    assert frames.frame(2)[3, 4] == data[2, 3, 4]


def test_one_image_has_no_time():
    frames = frames_from_layer(Image(np.zeros((16, 24)), scale=(0.1, 0.2), units="angstrom"))
    assert frames.axis_labels == ("y", "x")
    assert frames.pixel_size == (0.1, 0.2)
    assert frames.units == ("angstrom", "angstrom")
    assert frames.metadata == {}


@pytest.mark.parametrize(
    "place",
    [
        {"scale": (2.0, -0.02, 0.02)},
        {"translate": (0.0, 3.0, -1.0)},
        {"rotate": 30.0},
        {"affine": np.diag([1.0, 2.0, 2.0, 1.0])},
    ],
)
def test_layers_lie_where_a_moved_image_lies(viewer, sites, place):
    image = viewer.add_image(np.zeros((3, 64, 48)), **{"scale": (2.0, 0.02, 0.02)} | place)
    frames = frames_from_layer(image)
    assert frames.scale == (2.0, 0.02, 0.02)
    made = add_layers(
        viewer, points_layer(sites, frames), vectors_layer(sites, frames), image_layer(frames)
    )
    for layer in made:
        for point in ((0, 0, 0), (2, 10, 20)):
            assert np.allclose(layer.data_to_world(point), image.data_to_world(point))


def test_an_impossible_scale_is_a_pixel():
    class Layer(Image):
        scale = np.array([np.nan, 0.1])

    frames = frames_from_layer(Layer(np.zeros((16, 16)), units="nm"))
    assert frames.scale == (1.0, 0.1)
    assert frames.units == ("pixel", "nm")


def test_layers_that_are_no_frames_are_refused(sites):
    with pytest.raises(InputError, match="'mine' is a Labels layer: choose an Image layer"):
        frames_from_layer(Labels(np.zeros((16, 16), int), name="mine"))
    with pytest.raises(InputError, match="in colours"):
        frames_from_layer(Image(np.zeros((16, 16, 3)), rgb=True))
    with pytest.raises(InputError, match="Split Stack"):
        frames_from_layer(Image(np.zeros((2, 2, 16, 16))))
    with pytest.raises(InputError, match="This is a dict"):
        frames_from_layer({})


# ---------------------------------------------------------------- regions
def _shapes(*pairs, **options):
    layer = Shapes(ndim=2, **options)
    for kind, corners in pairs:
        layer.add(np.array(corners, float), shape_type=kind)
    return layer


_BOX = [[4, 5], [4, 9], [10, 9], [10, 5]]


def test_the_inside_of_shapes_is_the_region():
    image = Image(np.zeros((32, 40)))
    box = region_from_layer(_shapes(("rectangle", _BOX)), image)
    expected = np.zeros((32, 40), bool)
    expected[4:11, 5:10] = True
    assert np.array_equal(box, expected)
    for kind in ("polygon", "path"):
        assert np.array_equal(region_from_layer(_shapes((kind, _BOX)), image), expected)
    both = _shapes(("rectangle", _BOX), ("line", [[0, 0], [31, 39]]), ("rectangle", _BOX))
    assert np.array_equal(region_from_layer(both, image), expected)


def test_an_ellipse_is_given_by_its_corners():
    box = [[5, 10], [5, 30], [25, 30], [25, 10]]
    region = region_from_layer(_shapes(("ellipse", box)), Image(np.zeros((32, 40))))
    y, x = np.indices(region.shape)
    radius = np.hypot(y - 15, x - 20)
    assert region[radius < 9.9].all()
    assert not region[radius > 10.1].any()


def test_shapes_of_all_frames_are_put_together():
    layer = Shapes(ndim=3)
    for frame in (0, 2):
        corners = np.insert(np.array(_BOX, float) + 10 * frame, 0, frame, axis=1)
        layer.add(corners, shape_type="polygon")
    region = region_from_layer(layer, Image(np.zeros((3, 40, 40))))
    assert region.shape == (40, 40)
    assert region[5, 6]
    assert region[25, 26]


def test_a_region_goes_through_the_world():
    image = Image(np.zeros((3, 40, 40)), scale=(1, 0.5, 0.5), translate=(0, 1, 1))
    # the world (2, 3) to (5, 5) is the pixels (2, 4) to (8, 8)
    corners = [[2, 3], [2, 5], [5, 5], [5, 3]]
    expected = np.zeros((40, 40), bool)
    expected[2:9, 4:9] = True
    assert np.array_equal(region_from_layer(_shapes(("rectangle", corners)), image), expected)
    turned = _shapes(("rectangle", np.array(corners) * 2), scale=(0.5, 0.5))
    assert np.array_equal(region_from_layer(turned, image), expected)


def test_a_region_that_is_empty_or_outside_is_refused():
    image = Image(np.zeros((32, 32)), name="image")
    with pytest.raises(InputError, match="is empty: draw a shape first"):
        region_from_layer(Shapes(ndim=2), image)
    with pytest.raises(InputError, match="covers nothing of 'image': draw a shape first"):
        region_from_layer(_shapes(("rectangle", np.array(_BOX) + 100)), image)
    with pytest.raises(InputError, match="paint a region first"):
        region_from_layer(Labels(np.zeros((32, 32), int)), image)
    with pytest.raises(InputError, match="choose a Shapes or Labels layer"):
        region_from_layer(image, image)
    with pytest.raises(InputError, match="choose an Image layer"):
        region_from_layer(_shapes(("rectangle", _BOX)), Points([[1, 2]]))
    with pytest.raises(InputError, match="has 4 axes"):
        region_from_layer(Labels(np.ones((2, 2, 32, 32), int)), image)


def test_labels_are_the_region_where_they_are_not_0():
    image = Image(np.zeros((3, 32, 24)))
    labels = np.zeros((3, 32, 24), np.uint8)
    labels[1, 3:5, 4:9] = 2
    once = region_from_layer(Labels(labels), image)
    assert np.array_equal(once, labels[1] > 0)  # painted on one frame is meant for all
    labels[2, 10, 10] = 1
    assert np.array_equal(region_from_layer(Labels(labels), image), labels > 0)
    assert np.array_equal(region_from_layer(Labels(labels[1]), image), labels[1] > 0)
    lazy = Labels(da.from_array(labels, chunks=(1, 32, 24)))
    assert np.array_equal(region_from_layer(lazy, image), labels > 0)
    union = region_from_layer(Labels(labels), Image(np.zeros((32, 24))))
    assert np.array_equal(union, (labels > 0).any(0))


def test_labels_of_another_scale_and_size_are_looked_up():
    image = Image(np.zeros((4, 32, 32)), scale=(1, 0.5, 0.5))
    labels = np.zeros((2, 8, 8), int)
    labels[0, :4] = labels[1, :, 2] = 1
    region = region_from_layer(Labels(labels, scale=(2, 1, 1)), image)
    assert region.shape == (4, 32, 32)
    assert region[0, :7, :15].all()
    assert not region[0, 9:].any()
    assert np.flatnonzero(region[2, 0]).tolist() == [3, 4, 5]  # the world 1.5, 2, 2.5


def test_a_map_of_units_can_be_a_region(viewer, movie, sites):
    image, areas = add_layers(
        viewer, image_layer(movie), map_layer(sites.assign(unit=0), "unit", movie)
    )
    assert region_from_layer(areas, image).shape == movie.shape


# ---------------------------------------------------------------- sites
def test_sites_come_back_from_their_layer(viewer, movie, sites):
    for column, symmetry in ((None, 1), ("z0", 1), ("angle", 3), ("unit", 1)):
        (layer,) = add_layers(
            viewer, points_layer(sites, movie, color_by=column, symmetry=symmetry)
        )
        assert sites_from_layer(layer).equals(sites)


def test_sites_from_a_layer_hold_the_hand_edits(viewer, movie, sites):
    (layer,) = add_layers(viewer, points_layer(sites, movie))
    layer.add([2, 7.5, 8.5])
    layer.remove([0])
    table = sites_from_layer(layer)
    assert table["site_id"].tolist() == list(range(1, len(sites) + 1))
    assert table["y"].iloc[-1] == 7.5
    assert len(layer.features) == len(table)
    assert layer.features["site_id"].iloc[-1] == -1  # the layer is left as it is


def test_points_of_the_user_are_atoms(movie):
    points = Points([[1.2, 5, 9], [0, 4, 3]], name="by hand", features={"size": [2.5, 3.5]})
    table = sites_from_layer(points)
    assert table["frame"].tolist() == [1, 0]
    assert table["y"].tolist() == [5, 4]
    assert table["source"].unique().tolist() == ["by hand"]
    assert table["kind"].unique().tolist() == ["atom"]
    assert table["size"].tolist() == [2.5, 3.5]
    assert table["site_id"].dtype == np.int64
    assert sites_from_layer(points, _image(movie))["source"].unique().tolist() == ["movie"]
    still = sites_from_layer(Points([[5.0, 6.0]]))
    assert still[["frame", "y", "x"]].to_numpy().tolist() == [[0, 5, 6]]
    assert len(sites_from_layer(Points(ndim=2))) == 0


def test_points_that_lie_otherwise_are_given_in_pixels_of_the_image(movie):
    image = _image(movie)
    points = Points([[2.0, 0.1, 0.2], [4.0, 0.3, 0.4]])  # in the world: 2 s, 0.02 nm a pixel
    table = sites_from_layer(points, image)
    assert table["frame"].tolist() == [1, 2]
    assert np.allclose(table[["y", "x"]], [[5, 10], [15, 20]])


def test_layers_that_hold_no_sites_are_refused():
    with pytest.raises(InputError, match="is a Tracks layer: choose a Points layer"):
        sites_from_layer(Tracks([[0, 0, 1, 2], [0, 1, 1, 2]]))
    with pytest.raises(InputError, match="4 coordinates"):
        sites_from_layer(Points([[0, 0, 1, 2]]))


def test_a_layer_that_is_rescaled_gives_frames_as_set_scale_does():
    image = Image(
        np.zeros((2, 64, 48)),
        scale=(3, 2, 2),
        translate=(1, 5, -4),
        rotate=20,
        units=("s", "nm", "nm"),
        name="turned",
    )
    y, x = (index.ravel() * 8.0 for index in np.indices((6, 5)))
    sites = make_sites(frame=0, y=y, x=x)
    wanted = set_scale(frames_from_layer(image), sites, neighbour_distance=160.0, unit="pm")
    points = Points(sites[["frame", "y", "x"]], **placement(frames_from_layer(image), 3))
    for layer in (image, points):
        rescale_layer(layer, wanted.pixel_size[1] / 2, "pm")
    now = frames_from_layer(image)
    assert now.units == wanted.units == ("s", "pm", "pm")
    np.testing.assert_allclose(now.scale, wanted.scale)
    np.testing.assert_allclose(now.metadata["affine"], wanted.metadata["affine"])
    np.testing.assert_allclose(points.data_to_world((0, 3, 4)), image.data_to_world((0, 3, 4)))


def test_an_image_of_ours_that_is_rescaled_keeps_what_else_it_knows(movie):
    data, options, _ = image_layer(movie)
    image = Image(data, **options)
    rescale_layer(image, 10.0, "angstrom")
    now = frames_from_layer(image)
    assert now.units == ("s", "angstrom", "angstrom")
    assert now.pixel_size == pytest.approx((0.2, 0.2))
