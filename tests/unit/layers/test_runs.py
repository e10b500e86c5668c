"""A run that was loaded, as layers."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from napari_rvae import Frames, InputError, ModelFileError, Units, load_run, run_layers, save_run
from napari_rvae.layers import METADATA_KEY, add_layers, legend
from napari_rvae.tables import concat_sites


@pytest.fixture
def units(sites):
    table = sites[["site_id", "unit"]].assign(unit_probability=0.5)
    summary = pd.DataFrame({"unit": [0, 1, 2], "name": ["host", "bright", "dim"], "count": 1})
    return Units(table, summary)


def _run(folder, **parts):
    return load_run(save_run(folder / "run", **parts))


def test_a_run_is_shown_on_its_movie(viewer, tmp_path, movie, sites, units):
    run = _run(tmp_path, frames=movie, sites=sites.drop(columns="unit"), units=units)
    layers = add_layers(viewer, *run_layers(run, movie))
    assert [layer.name for layer in layers] == ["movie", "sites of movie", "angle (directions)"]
    assert [layer.visible for layer in layers] == [True, True, False]
    assert [entry.name for entry in legend(layers[1])] == ["host", "bright", "dim", "none"]
    for layer in layers:
        record = layer.metadata[METADATA_KEY]
        assert json.loads(json.dumps(record))["run"] == str((tmp_path / "run").resolve())
        assert tuple(layer.scale) == movie.scale


def test_without_the_movie_the_layers_lie_where_it_was(viewer, tmp_path, movie, sites):
    run = _run(tmp_path, frames=movie, sites=sites)
    points, arms = add_layers(viewer, *run_layers(run))
    for layer in (points, arms):
        assert tuple(layer.scale) == movie.scale
        assert [str(unit) for unit in layer.units] == ["second", "nanometer", "nanometer"]
        assert layer.axis_labels == ("t", "y", "x")
    assert points.metadata[METADATA_KEY]["frames"] == "movie"
    assert points.metadata[METADATA_KEY]["n_border"] > 0


def test_the_frames_of_a_run_take_no_memory(tmp_path):
    big = Frames(np.broadcast_to(np.uint16(3), (2, 2, 16, 24)), channels=("a", "b"), name="big")
    run = _run(tmp_path, frames=big)
    frames = run.placement_frames()
    assert frames.shape == (2, 2, 16, 24)
    assert frames.channels == ("a", "b")
    assert frames.data.strides == (0, 0, 0, 0)
    assert dataclasses.replace(run, frames=None).placement_frames() is None
    for damage in ({"shape": [1]}, {"scale": "x"}, {"axis_labels": ["y"]}, {"shape": None}):
        damaged = dataclasses.replace(run, frames={**run.frames, **damage})
        with pytest.raises(ModelFileError, match="does not describe its input"):
            damaged.placement_frames()
    with pytest.raises(ModelFileError, match="does not describe its input"):
        dataclasses.replace(run, frames={}).placement_frames()


@pytest.mark.parametrize(
    ("dropped", "names"),
    [
        (["unit"], ["sites of movie", "angle (directions)"]),
        (["unit", "z0"], ["sites of movie", "angle (directions)"]),
        (["unit", "z0", "angle"], ["sites of movie"]),
    ],
)
def test_points_show_the_best_that_there_is(tmp_path, sites, dropped, names):
    run = _run(tmp_path, sites=sites.drop(columns=dropped))
    assert [options["name"] for _, options, _ in run_layers(run)] == names


def test_the_lattice_angle_is_the_better_direction(tmp_path, sites):
    run = _run(tmp_path, sites=sites.assign(lattice_angle=sites["angle"]))
    assert run_layers(run)[1][1]["name"] == "lattice_angle (directions)"
    run = _run(tmp_path / "2", sites=sites.assign(lattice_angle=np.nan))
    assert run_layers(run)[1][1]["name"] == "angle (directions)"


def test_each_source_has_layers_of_its_own(viewer, tmp_path, movie, sites):
    both = concat_sites(sites, sites.assign(source="other"))
    run = _run(tmp_path, frames=movie, sites=both)
    layers = add_layers(viewer, *run_layers(run))
    assert [layer.name for layer in layers] == [
        "sites of movie", "movie angle (directions)", "sites of other", "other angle (directions)",
    ]  # fmt: skip
    assert tuple(layers[0].scale) == movie.scale
    assert tuple(layers[2].scale) == (1, 1, 1)  # the run does not describe this movie
    assert len(layers[0].data) == len(sites)


def test_each_channel_of_the_movie_is_a_layer(tmp_path, sites):
    frames = Frames(np.zeros((3, 2, 64, 48)), channels=("a", "b"))
    layers = run_layers(_run(tmp_path, frames=frames, sites=sites), frames)
    assert [kind for _, _, kind in layers] == ["image", "image", "points", "vectors"]
    assert [options.get("visible", True) for _, options, _ in layers] == [True, False, True, False]


def test_other_frames_are_noticed(tmp_path, movie, sites):
    run = _run(tmp_path, frames=movie, sites=sites)
    with pytest.raises(InputError, match="are of shape"):
        run_layers(run, np.zeros((3, 64, 40)))
    with pytest.warns(UserWarning, match="but other values") as caught:
        run_layers(run, dataclasses.replace(movie, data=movie.data + 1))
    assert "\n" not in str(caught[0].message)
    assert caught[0].filename == __file__
    unknown = dataclasses.replace(run, frames={**run.frames, "sha256": None})
    assert len(run_layers(unknown, movie.data + 1)) == 3
    assert len(run_layers(dataclasses.replace(run, frames=None), movie)) == 3


def test_a_run_without_sites_shows_the_movie_or_nothing(tmp_path, movie):
    run = _run(tmp_path, frames=movie)
    assert [kind for _, _, kind in run_layers(run, movie)] == ["image"]
    with pytest.raises(InputError, match="holds no sites"):
        run_layers(run)


def test_an_empty_table_makes_an_empty_layer(viewer, tmp_path, movie, sites):
    run = _run(tmp_path, frames=movie, sites=sites.iloc[:0])
    (points,) = add_layers(viewer, *run_layers(run))
    assert points.data.shape == (0, 3)
