import numpy as np
import pandas as pd
import pytest
from napari.layers import Shapes

from napari_rvae import InputError, pinning_layer, simulate_walls, walls_layer


@pytest.fixture(scope="module")
def movie():
    return simulate_walls(n_frames=2, size=96, seed=1)


def test_a_path_for_each_wall_in_the_colour_of_its_type(movie):
    paths, options, kind = walls_layer(movie.sites, movie.frames)
    assert kind == "shapes"
    layer = Shapes(paths, **options)
    assert len(layer.data) == movie.sites.groupby(["frame", "wall_id"]).ngroups
    assert layer.scale.tolist() == [60.0, 10.0, 10.0]
    types = layer.features["wall_type"].to_numpy()
    colours = {kind: layer.edge_color[types == kind] for kind in set(types)}
    assert all(np.ptp(c, axis=0).max() == 0 for c in colours.values())
    assert not np.array_equal(colours["180"][0], colours["ferroelastic"][0])


def test_steps_of_a_path_are_those_of_the_sites_whatever_their_order(movie):
    shuffled = movie.sites.sample(frac=1, random_state=0)
    for path in walls_layer(shuffled, movie.frames)[0]:
        assert np.hypot(*np.diff(path[:, 1:], axis=0).T).max() < 6


def test_no_walls_and_no_columns(movie):
    paths, options, _ = walls_layer(movie.sites.iloc[:0], movie.frames)
    assert paths == []
    assert not len(Shapes(paths or None, **options, ndim=3).data)
    with pytest.raises(InputError, match="wall_position"):
        walls_layer(movie.sites.drop(columns="wall_position"))


def test_rings_lie_on_the_centres_in_all_frames(movie):
    centres = pd.DataFrame({"y": [4.0, 9.0], "x": [5.0, 7.0], "strength": [2.0, 1.0]})
    points, options, kind = pinning_layer(centres, movie.frames)
    assert kind == "points"
    np.testing.assert_array_equal(points, [[4, 5], [9, 7]])
    assert options["features"]["strength"].tolist() == [2, 1]
    assert options["scale"] == movie.frames.scale[-2:]
    assert options["metadata"]["napari_rvae"]["kind"] == "pinning"


def test_a_table_without_places_has_no_rings():
    with pytest.raises(InputError, match="no columns y and x"):
        pinning_layer(pd.DataFrame({"strength": [1.0]}))
