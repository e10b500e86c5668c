"""Many points and densities as pixels."""

import numpy as np

from napari_rvae.figures.raster import paint_density, paint_points

ENDS = {"x_ends": (0.0, 10.0), "y_ends": (0.0, 5.0)}


def test_a_disc_lies_at_its_place():
    colours = np.array([[1, 2, 3, 255], [9, 8, 7, 128]], np.uint8)
    picture = paint_points([1.0, 9.0], [4.5, 0.5], colours, **ENDS, shape=(50, 100), radius=3)
    assert picture[5, 10].tolist() == [1, 2, 3, 255]
    assert picture[45, 90].tolist() == [9, 8, 7, 128]
    rows, columns = np.nonzero(picture[:, :50, 3])
    assert np.hypot(rows - 5, columns - 10).max() == 3
    assert len(rows) == 29


def test_later_points_lie_on_top_and_one_colour_serves_all():
    red, blue = np.array([255, 0, 0, 255], np.uint8), np.array([0, 0, 255, 255], np.uint8)
    both = paint_points([5.0, 5.0], [2.5, 2.5], np.stack([red, blue]), **ENDS, shape=(10, 20))
    assert both[4, 10].tolist() == blue.tolist()
    all_red = paint_points([5.0, 1.0], [2.5, 2.5], red, **ENDS, shape=(10, 20), radius=0)
    assert (all_red[..., 3] > 0).sum() == 2


def test_what_lies_beyond_the_ends_is_cut_off():
    red = np.array([255, 0, 0, 255], np.uint8)
    x = [-0.01, 10.01, np.nan, np.inf, 1e30, -1e30, 5.0]
    picture = paint_points(x, [2.5] * 7, red, **ENDS, shape=(50, 100), radius=2)
    assert picture[:, :3, 3].any()  # half a disc
    assert picture[:, -3:, 3].any()
    assert not picture[:, 5:45, 3].any()
    assert paint_points([], [], red, **ENDS, shape=(4, 4)).sum() == 0


def test_a_density_is_transparent_where_nothing_is():
    colours = np.full((256, 4), 255, np.uint8)
    colours[:, 0] = np.arange(256)
    picture = paint_density(np.array([[0, 1], [10, 1000]]), colours)
    assert picture[0, 0].tolist() == [0, 0, 0, 0]
    assert picture[0, 1, 0] < picture[1, 0, 0] < picture[1, 1, 0] == 255
    assert paint_density(np.zeros((2, 2), np.int64), colours).sum() == 0
