"""Figures of two columns: what their colours mean, and what is left out."""

import numpy as np
import pytest
from napari.components import ViewerModel

import napari_rvae as rvae
from napari_rvae.errors import InputError
from napari_rvae.layers import plot_key
from napari_rvae.layers.colours import column_label
from napari_rvae.tables import make_sites


@pytest.fixture
def layer():
    n = 40
    sites = make_sites(frame=np.arange(n) % 2, y=np.arange(n), x=np.arange(n))
    sites = sites.assign(
        z0=np.linspace(-1, 1, n), z1=0.5, angle=np.linspace(-3, 3, n), unit=np.arange(n) % 4 - 1
    )
    (layer,) = rvae.add_layers(ViewerModel(), rvae.points_layer(sites, color_by="z0"))
    return layer


@pytest.mark.parametrize(
    ("column", "label"),
    [
        ("z0", "z0"),
        ("sigma", "sigma (px)"),
        ("curvature", "curvature (1/px)"),
        ("angle", "angle (deg)"),
        ("angle_sd", "angle_sd (deg)"),
        ("misorientation", "misorientation (rad)"),
    ],
)
def test_columns_are_labelled_with_their_units(column, label):
    assert column_label(column) == label


def test_the_key_of_numbers_is_a_bar_with_its_ends(layer):
    key = plot_key(layer)
    assert key.title == "z0"
    assert key.bar.shape == (256, 4)
    assert key.ends[0] < -0.9 < 0.9 < key.ends[1] + 0.2
    assert not key.entries
    assert plot_key(layer, "angle").title == "angle (deg)"
    assert plot_key(layer, "y").title == "y (px)"
    rvae.color_points(layer, None)
    assert plot_key(layer) is None
    with pytest.raises(InputError, match="lacks the column"):
        plot_key(layer, "nothing")


def test_the_key_of_categories_counts_what_is_shown(layer):
    rvae.color_points(layer, "unit")
    assert [entry.count for entry in plot_key(layer).entries] == [10, 10, 10, 10]
    rvae.hide_categories(layer, [1])
    assert [entry.value for entry in plot_key(layer).entries] == [0, 2, None]
    some = plot_key(layer, rows=np.array([1, 3, 5]))  # none of them is without a unit
    assert [(entry.value, entry.count) for entry in some.entries] == [(0, 2), (2, 1)]


def test_hidden_points_are_not_drawn_and_selected_ones_are_ringed(layer):
    rvae.color_points(layer, "unit")
    rvae.hide_categories(layer, [0, None])
    rvae.select_points(layer, [2, 23])  # of frames 0 and 1
    figure = rvae.plot_figure(layer, "z0", "z1", frame=0)
    others, asked, ringed = (len(part.get_offsets()) for part in figure.axes[0].collections)
    assert (others, asked, ringed) == (10, 10, 1)
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["unit 1 (5)", "unit 2 (5)"]
    rvae.hide_categories(layer, [0, 1, 2, None])
    with pytest.raises(InputError, match="No site that is shown"):
        rvae.plot_figure(layer, "z0", "z1")


def test_many_points_are_a_density(layer, monkeypatch):
    monkeypatch.setattr("napari_rvae.analysis.scatter.MAX_POINTS", 30)
    figure = rvae.plot_figure(layer, "z0", "angle", y_ends=(-180, 180))
    assert len(figure.axes[0].images) == 1
    assert figure.axes[0].get_ylabel() == "angle (deg)"
    assert figure.axes[0].get_ylim() == (-180, 180)


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_every_kind_of_file_is_written_once(layer, tmp_path, suffix):
    file = rvae.save_plot_figure(layer, "z0", "z1", tmp_path / f"plot{suffix}", dpi=100)
    assert file.stat().st_size > 1000
    with pytest.raises(InputError, match="already there"):
        rvae.save_plot_figure(layer, "z0", "z1", file)
    with pytest.raises(InputError, match="choose one of"):
        rvae.save_plot_figure(layer, "z0", "z1", tmp_path / "plot.jpg")
    with pytest.raises(InputError, match="width_mm"):
        rvae.plot_figure(layer, "z0", "z1", width_mm=0)
