"""The Latents widget in a real viewer: colours, legend, layers, files, and whatever goes wrong."""

import math
import threading

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("napari")

from napari.components import ViewerModel
from napari.layers import Image, Labels, Points, Vectors
from qtpy.compat import isalive
from qtpy.QtWidgets import QApplication, QFileDialog, QMessageBox

import napari_rvae.layers
import napari_rvae.runs
from napari_rvae import (
    CropConfig,
    DetectConfig,
    Units,
    add_layers,
    color_points,
    image_layer,
    load_run,
    points_layer,
    run_layers,
    save_run,
    sites_from_layer,
)
from napari_rvae._napari import latents_widget as texts
from napari_rvae._napari.columns import list_columns, usual_symmetry
from napari_rvae._napari.editing import watch_edits
from napari_rvae._napari.latents_widget import LatentsWidget
from napari_rvae._napari.words import NO_SITES
from napari_rvae._napari.workspace import Model, Workspace
from napari_rvae.analysis.maps import _Painter
from napari_rvae.layers import METADATA_KEY, legend
from napari_rvae.tables import concat_sites, make_sites

LONG = 30_000  # milliseconds: loading a model loads torch


#: For what needs no window: a viewer's model alone takes far less time.
no_window = pytest.mark.parametrize("viewer", ["model"], indirect=True)


@pytest.fixture
def viewer(request, make_napari_viewer):
    return ViewerModel() if hasattr(request, "param") else make_napari_viewer()


@pytest.fixture
def widget(qtbot, viewer):
    made = _open(viewer)
    if not hasattr(viewer, "window"):
        qtbot.addWidget(made)
    return made


def _open(viewer):
    made = LatentsWidget(viewer)
    if hasattr(viewer, "window"):  # a model has none
        viewer.window.add_dock_widget(made, area="right")
    return made


@pytest.fixture
def full(encoded):
    """Sites with every kind of column: numbers, angles, whole numbers and words."""
    number = np.arange(len(encoded))
    table = encoded.assign(
        unit=np.where(encoded["z0"].isna(), -1, number % 3),
        unit_probability=np.where(encoded["z0"].isna(), np.nan, 0.9),
        species=pd.Series(np.where(number % 9, "C", "Si"), dtype="str"),
    )
    return table.astype({"unit": "int64"})


@pytest.fixture
def image(viewer, movie):
    return add_layers(viewer, image_layer(movie))[0]


@pytest.fixture
def sites(viewer, image, movie, full):
    return add_layers(viewer, points_layer(full, movie, name="atoms"))[0]


@pytest.fixture
def trained(widget, model):
    """Use the trained model in the widget's viewer."""
    made = Model(model, CropConfig(), "graphene")
    widget.workspace.use_model(made)
    return made


def _record(layer):
    return layer.metadata[METADATA_KEY]


def _said(widget):
    return widget.workspace.status("latents")


def _idle(qtbot, widget):
    qtbot.waitUntil(lambda: widget.workspace.job("latents") is None, timeout=LONG)


def _settle(qtbot, widget):
    """Wait until everything that was put off is shown."""
    QApplication.processEvents()
    qtbot.waitUntil(lambda: not widget._soon.isActive())


# ---------------------------------------------------------------------- what is missing
@no_window
def test_nothing_there(widget):
    assert _said(widget).text == NO_SITES
    for made in (widget.map, widget.directions, widget.export, widget.save):
        assert not made.isEnabled()
    assert not widget.colours.column.isEnabled()
    assert widget.open.isEnabled()


@no_window
def test_sites_without_latents(viewer, widget, movie, found):
    add_layers(viewer, image_layer(movie), points_layer(found, movie))
    assert _said(widget).text == texts.NO_LATENTS
    widget.colours.column.choose("amplitude")
    text = _said(widget).text
    assert text == f"amplitude of {len(found):,} sites. {texts.NO_LATENTS}"


def test_points_of_the_users_own(viewer, widget):
    points = viewer.add_points(np.array([[0, 5, 5], [1, 6, 6]]))
    assert widget.sites.layer() is points
    assert _said(widget).text == texts.NO_COLUMNS
    widget.map.click()
    assert _said(widget).text == texts.NO_IMAGE
    widget.directions.click()
    assert _said(widget).text == texts.NO_ANGLE


@no_window
def test_sites_that_were_there_before(viewer, sites):
    color_points(sites, "lattice_angle", symmetry=2)
    widget = _open(viewer)
    assert widget.sites.layer() is sites
    assert widget.colours.column.column() == "lattice_angle"
    assert widget.colours.symmetry.value() == 2


# ---------------------------------------------------------------------- columns
def test_columns_are_in_a_sensible_order(full):
    groups = [[column.name for column in group] for group in list_columns(full)]
    assert groups[0] == ["z0", "z0_sd", "z1", "z1_sd"]
    assert groups[1] == ["lattice_angle", "angle", "angle_sd"]
    assert groups[2] == ["unit", "unit_probability", "kind", "species"]
    assert groups[3][:2] == ["amplitude", "snr"]
    assert groups[-1] == ["frame", "y", "x", "source"]
    assert all("site_id" not in group for group in groups)


def test_every_column_is_in_the_list():
    table = pd.DataFrame(columns=["z10", "z9", "mine", "normal_angle", "angle (deg)", "track_id"])
    names = [column.name for group in list_columns(table) for column in group]
    assert names == ["z9", "z10", "normal_angle", "track_id", "mine"]


def test_columns_have_units_and_tips(full):
    labels = {column.name: column for group in list_columns(full) for column in group}
    assert labels["angle"].label == "angle (deg)"
    assert labels["angle_sd"].label == "angle_sd (deg)"
    assert labels["y_sd"].label == "y_sd (px)"
    assert labels["z0"].label == "z0"
    assert "uncertain" in labels["z0_sd"].tip


def test_symmetry_of_folded_angles():
    angles = pd.DataFrame({"a": [-1.04, 1.04, np.nan], "b": [3.0, 0.1, 0.2], "c": np.nan})
    assert usual_symmetry(angles, "a") == 3
    assert usual_symmetry(angles, "b") == 1
    assert usual_symmetry(angles, "c") == 1


# ---------------------------------------------------------------------- colours
def test_each_column_in_turn(qtbot, viewer, widget, sites, full):
    choice = widget.colours.column
    assert set(choice.columns()) == set(full.columns) - {"site_id"}
    for column in [*choice.columns(), None, "z0", "lattice_angle", "unit", None, "unit", "z0"]:
        before = sites.face_color.copy()
        choice.choose(column)
        assert _said(widget).level == "info", column
        assert _record(sites).get("column") == column
        assert choice.column() == column
        constant = column is not None and full[column].nunique() < 2
        assert not np.array_equal(before, sites.face_color) or constant, column
        assert np.isfinite(sites.face_color).all()
        numbers = _record(sites).get("colours") == "continuous"
        assert widget.colours.range.isEnabled() == numbers
        assert not widget.colours.range.isHidden()  # the buttons below stay where they are
        assert widget.legend.isHidden() == (_record(sites).get("colours") != "categorical")
        _settle(qtbot, widget)
        assert _record(sites).get("column") == column


def test_limits_are_those_of_the_movie(viewer, widget, sites, full):
    widget.colours.column.choose("z0")
    limits = sites.face_contrast_limits
    assert limits == pytest.approx(np.nanpercentile(full["z0"], [1, 99]))
    colours = sites.face_color.copy()
    viewer.dims.set_current_step(0, 1)
    assert sites.face_contrast_limits == limits
    assert np.array_equal(colours, sites.face_color)
    assert sites.face_colorbar.visible
    widget.colours.column.choose("unit")
    assert not sites.face_colorbar.visible


@no_window
def test_range_is_set_and_found_again(qtbot, widget, sites):
    colours = widget.colours
    colours.column.choose("z0")
    found = sites.face_contrast_limits
    assert float(colours.low.text()) == pytest.approx(found[0], rel=1e-3)
    colours.low.setText("-1.5")
    colours.high.setText("2e0")
    colours.high.editingFinished.emit()
    assert sites.face_contrast_limits == (-1.5, 2.0)
    assert colours.high.text() == "2"
    colours.auto.click()
    assert sites.face_contrast_limits == found


@no_window
def test_range_that_was_only_looked_at_changes_nothing(widget, sites):
    widget.colours.column.choose("z0")
    found = sites.face_contrast_limits
    widget.colours.low.editingFinished.emit()
    assert sites.face_contrast_limits == found


@no_window
def test_a_range_the_wrong_way_round(widget, sites):
    widget.colours.column.choose("z0")
    found, low = sites.face_contrast_limits, widget.colours.low.text()
    widget.colours.set_range(3, 1)
    assert _said(widget).text == "Range 3 to 1: the first must be the smaller one."
    assert _said(widget).level == "error"
    assert sites.face_contrast_limits == found
    assert widget.colours.low.text() == low
    widget.colours.set_range(1, 3)
    assert _said(widget).level == "info"


@no_window
def test_angles_are_folded(widget, sites, full):
    assert usual_symmetry(full, "lattice_angle") == 3
    widget.colours.column.choose("lattice_angle")
    assert widget.colours.symmetry.value() == 3
    assert sites.face_contrast_limits == pytest.approx((-60, 60))
    assert _record(sites)["colours"] == "cyclic"
    before = sites.face_color.copy()
    widget.colours.symmetry.setValue(6)
    assert sites.face_contrast_limits == pytest.approx((-30, 30))
    assert not np.array_equal(before, sites.face_color)
    widget.colours.column.choose("angle")
    assert widget.colours.symmetry.value() == 1
    assert sites.face_contrast_limits == pytest.approx((-180, 180))
    widget.colours.column.choose("lattice_angle")
    assert widget.colours.symmetry.value() == 6


@no_window
def test_sites_at_the_border_are_counted(widget, sites, full):
    widget.colours.column.choose("z0")
    known = full["z0"].notna().sum()
    missing = len(full) - known
    assert _record(sites)["n_border"] == missing
    assert (
        _said(widget).text == f"z0 of {known:,} sites; {missing:,} border sites have none (grey)."
    )


@no_window
def test_every_change_colours_once(qtbot, monkeypatch, widget, sites):
    calls = []

    def counting(*args, **options):
        calls.append(args[1])
        color_points(*args, **options)

    monkeypatch.setattr(napari_rvae.layers, "color_points", counting)
    for column in ("z0", "unit", "lattice_angle", None):
        widget.colours.column.choose(column)
        _settle(qtbot, widget)
    widget.colours.column.choose("lattice_angle")
    widget.colours.symmetry.setValue(2)
    _settle(qtbot, widget)
    assert calls == ["z0", "unit", "lattice_angle", None, "lattice_angle", "lattice_angle"]


@no_window
def test_choosing_a_layer_changes_nothing(qtbot, viewer, widget, sites, movie, full):
    (other,) = add_layers(viewer, points_layer(full, movie, color_by="unit", name="other"))
    assert widget.sites.layer() is other
    colours = [layer.face_color.copy() for layer in (sites, other)]
    assert widget.colours.column.column() == "unit"
    widget.sites.choose(sites)
    assert widget.colours.column.column() is None
    _settle(qtbot, widget)
    for layer, before in zip((sites, other), colours, strict=True):
        assert np.array_equal(before, layer.face_color)


@no_window
def test_colours_that_others_set_are_shown(qtbot, widget, sites):
    color_points(sites, "angle", symmetry=4)
    qtbot.waitUntil(lambda: widget.colours.column.column() == "angle")
    assert widget.colours.symmetry.value() == 4
    color_points(sites, "z1", contrast_limits=(-3, 3))
    qtbot.waitUntil(lambda: widget.colours.column.column() == "z1")
    assert (widget.colours.low.text(), widget.colours.high.text()) == ("-3", "3")


@no_window
def test_new_columns_are_listed(qtbot, viewer, widget, movie, found, encoded):
    (layer,) = add_layers(viewer, points_layer(found, movie))
    assert "z0" not in widget.colours.column.columns()
    layer.features = encoded
    color_points(layer, "z0")
    qtbot.waitUntil(lambda: "z0" in widget.colours.column.columns())
    assert widget.colours.column.column() == "z0"
    assert "none (grey)" in _said(widget).text


# ---------------------------------------------------------------------- the legend
def _counts(widget):
    return {name: (here, total) for name, here, total in widget.legend.rows()}


def _expected(table, column, frame):
    here, total = table.loc[table["frame"] == frame, column].value_counts(), None
    total = table[column].value_counts()
    return {value: (f"{here.get(value, 0):,}", f"{count:,}") for value, count in total.items()}


def test_legend_counts_the_frame_and_the_movie(qtbot, viewer, widget, sites, full):
    widget.colours.column.choose("species")
    frame = viewer.dims.current_step[0]
    assert _counts(widget) == _expected(full, "species", frame)
    viewer.dims.set_current_step(0, 1 - frame)
    _settle(qtbot, widget)
    assert _counts(widget) == _expected(full, "species", 1 - frame)


@no_window
def test_legend_has_none_last_and_the_colours_of_the_points(widget, sites, full):
    widget.colours.column.choose("unit")
    rows = widget.legend.rows()
    assert [row[0] for row in rows] == ["unit 0", "unit 1", "unit 2", "none"]
    chip = widget.legend.table.item(1, 0).icon().pixmap(24, 24).toImage().pixelColor(12, 12)
    shown = sites.face_color[np.flatnonzero(full["unit"] == 1)[0]]
    assert np.allclose(chip.getRgbF()[:3], shown[:3], atol=0.01)


def test_legend_follows_edits(qtbot, viewer, widget, sites, full):
    watch_edits(viewer)
    widget.colours.column.choose("species")
    sites.selected_data = set(np.flatnonzero(full["species"] == "Si")[:2])
    sites.remove_selected()
    count = f"{(full['species'] == 'Si').sum() - 2:,}"
    qtbot.waitUntil(lambda: _counts(widget)["Si"][1] == count)
    sites.add([0, 50.0, 50.0])
    qtbot.waitUntil(lambda: _counts(widget).get("none", ("", ""))[1] == "1")


@no_window
def test_legend_follows_new_categories(qtbot, widget, sites):
    widget.colours.column.choose("species")
    words = sites.features["species"].where(sites.features["frame"] == 0, "B")
    sites.features = sites.features.assign(species=words)
    qtbot.waitUntil(lambda: "B" in _counts(widget))
    for entry in legend(sites):
        rows = (sites.features["species"] == entry.value).to_numpy()
        rgb = [int(entry.colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        assert np.allclose(sites.face_color[rows, :3], rgb, atol=0.01)


@no_window
def test_names_of_units_are_in_the_legend(viewer, widget, movie, full):
    names = {0: "host", 1: "vacancy, 3 neighbours", 2: "bright"}
    add_layers(viewer, points_layer(full, movie, color_by="unit", categories=names))
    assert [row[0] for row in widget.legend.rows()] == [*names.values(), "none"]


@no_window
def test_one_image_has_one_count(viewer, widget, movie, full):
    still = full[full["frame"] == 0]
    frame = napari_rvae.Frames(movie.frame(0), name="one")
    add_layers(viewer, image_layer(frame), points_layer(still, frame, color_by="unit"))
    assert widget.legend.table.isColumnHidden(1)
    assert sum(int(row[2]) for row in widget.legend.rows()) == len(still)


# ---------------------------------------------------------------------- layers
def _of_type(viewer, kind):
    return [layer for layer in viewer.layers if type(layer) is kind]


def test_directions(viewer, widget, sites, image, full):
    widget.colours.column.choose("z0")
    viewer.layers.selection = {sites}
    widget.directions.click()
    (arms,) = _of_type(viewer, Vectors)
    known = full["lattice_angle"].notna().sum()
    assert len(arms.data) == 3 * known
    assert _said(widget).text == f"Directions: lattice_angle of {known:,} sites, 3 arms each."
    assert list(viewer.layers) == [image, arms, sites]
    assert list(viewer.layers.selection) == [sites]
    np.testing.assert_allclose(arms.scale, image.scale)
    assert arms.units == image.units
    first = sites.data[np.flatnonzero(full["lattice_angle"].notna())[0]]
    np.testing.assert_allclose(arms.data[0, 0], first)


def test_directions_are_updated_and_not_piled_up(viewer, widget, sites, image):
    widget.directions.click()
    (arms,) = _of_type(viewer, Vectors)
    arms.opacity, arms.visible = 0.4, False
    widget.colours.column.choose("angle")
    widget.directions.click()
    (arms,) = _of_type(viewer, Vectors)
    assert arms.name == "angle (directions)"
    assert _record(arms)["column"] == "angle"
    assert (arms.opacity, arms.visible) == (0.4, True)
    count = len(arms.data)
    widget.colours.symmetry.setValue(4)
    (arms,) = _of_type(viewer, Vectors)
    assert len(arms.data) == 4 * count
    assert list(viewer.layers) == [image, arms, sites]


@no_window
def test_names_that_the_user_gave_stay(viewer, widget, sites):
    widget.directions.click()
    _of_type(viewer, Vectors)[0].name = "mine"
    for column in ("angle", "lattice_angle"):
        widget.colours.column.choose(column)
        widget.directions.click()
        (arms,) = _of_type(viewer, Vectors)
        assert arms.name == "mine"


@no_window
def test_directions_that_were_deleted_are_drawn_anew(viewer, widget, sites):
    widget.directions.click()
    viewer.layers.remove(_of_type(viewer, Vectors)[0])
    widget.colours.symmetry.setValue(2)
    assert _of_type(viewer, Vectors) == []
    widget.directions.click()
    assert len(_of_type(viewer, Vectors)) == 1


@no_window
def test_each_layer_of_sites_has_its_own_directions(viewer, widget, sites, movie, full):
    widget.directions.click()
    (other,) = add_layers(viewer, points_layer(full, movie, name="other"))
    widget.directions.click()
    assert len(_of_type(viewer, Vectors)) == 2
    widget.sites.choose(sites)
    widget.directions.click()
    assert len(_of_type(viewer, Vectors)) == 2
    assert other in viewer.layers


def test_map_is_drawn_frame_by_frame(monkeypatch, viewer, widget, sites, image):
    drawn = []
    paint = _Painter.paint

    def spy(self, frame):
        drawn.append(frame)
        return paint(self, frame)

    monkeypatch.setattr(_Painter, "paint", spy)
    viewer.dims.set_current_step(0, 1)
    widget.colours.column.choose("z0")
    widget.map.click()
    assert set(drawn) == {1}
    (layer,) = [layer for layer in _of_type(viewer, Image) if layer is not image]
    assert list(viewer.layers) == [image, layer, sites]
    assert layer.contrast_limits == pytest.approx(list(sites.face_contrast_limits))
    np.testing.assert_allclose(layer.scale, image.scale)
    viewer.dims.set_current_step(0, 0)
    assert set(drawn) == {0, 1}


def test_map_is_updated_and_follows_the_range(viewer, widget, sites, image):
    widget.colours.column.choose("z0")
    widget.map.click()
    (layer,) = [layer for layer in _of_type(viewer, Image) if layer is not image]
    widget.colours.set_range(-1, 1)
    assert layer.contrast_limits == [-1, 1]
    widget.colours.column.choose("lattice_angle")
    assert _record(layer)["column"] == "z0"
    widget.map.click()
    (layer,) = [layer for layer in _of_type(viewer, Image) if layer is not image]
    assert _record(layer)["column"] == "lattice_angle"
    assert layer.contrast_limits == pytest.approx([-60, 60])
    widget.colours.symmetry.setValue(6)
    (layer,) = [layer for layer in _of_type(viewer, Image) if layer is not image]
    assert layer.contrast_limits == pytest.approx([-30, 30])


def test_map_of_categories_takes_the_place_of_one_of_numbers(viewer, widget, sites, image):
    for column in ("z0", "unit", "z0", "unit"):
        widget.colours.column.choose(column)
        widget.map.click()
        assert _said(widget).level == "done"
        assert len(viewer.layers) == 3
    (areas,) = _of_type(viewer, Labels)
    assert list(viewer.layers) == [image, areas, sites]


@no_window
def test_map_lies_below_the_directions(viewer, widget, sites, image):
    widget.colours.column.choose("z0")
    widget.map.click()
    widget.directions.click()
    kinds = [type(layer) for layer in viewer.layers]
    assert kinds == [Image, Image, Vectors, Points]


@no_window
def test_drawn_layers_are_no_inputs(viewer, widget, sites, image, trained, qtbot):
    widget.colours.column.choose("z0")
    widget.map.click()
    widget.decode_pictures()
    _idle(qtbot, widget)
    widget.pictures.draw.click()
    assert widget.image.layer() is image
    assert widget.image.count() == 1


@no_window
def test_the_image_is_the_one_the_sites_were_made_from(viewer, widget, sites, image):
    other = viewer.add_image(np.zeros((2, 64, 64)), name="other")
    assert widget.image.layer() is image
    widget.image.choose(other)
    widget.image.activated.emit(widget.image.currentIndex())
    viewer.add_image(np.zeros((2, 64, 64)), name="third")
    widget.image.choose(other)
    viewer.add_shapes()
    assert widget.image.layer() is other


# ---------------------------------------------------------------------- decoded pictures
def test_pictures_of_the_model_in_use(qtbot, viewer, widget, sites, image, trained):
    assert widget.pictures.decode.isEnabled()
    assert widget.pictures.draw.isHidden()
    assert widget.pictures.picture.values is None
    widget.pictures.decode.click()
    assert not widget.pictures.decode.isEnabled()
    _idle(qtbot, widget)
    assert widget.pictures.picture.values.shape == (9 * 32, 9 * 32)
    assert widget.pictures.caption.text() == "graphene: z0 grows to the right, z1 upwards"
    widget.pictures.draw.click()
    layer = next(layer for layer in viewer.layers if layer.name == "decoded pictures")
    assert layer.data.shape == (9 * 32, 9 * 32)
    right_edge = image.data_to_world((0, 0, 192))[-1]
    assert layer.data_to_world((0, 0))[-1] > right_edge
    widget.pictures.up.setCurrentIndex(0)
    widget.pictures.decode.click()
    _idle(qtbot, widget)
    assert widget.pictures.caption.text().endswith("z0 grows to the right, z0 upwards")
    widget.pictures.draw.click()
    assert sum(layer.name == "decoded pictures" for layer in viewer.layers) == 1


@no_window
def test_pictures_need_a_model(widget, sites):
    assert not widget.pictures.decode.isEnabled()
    widget.decode_pictures()
    assert _said(widget).text.startswith("There is no model yet")
    widget.draw_pictures()
    assert _said(widget).text.startswith("There are no pictures yet")


@no_window
def test_pictures_wait_for_a_training(widget, sites, trained):
    widget.workspace.jobs["train"] = object()
    widget.decode_pictures()
    assert _said(widget).text.startswith("The Train widget is at work")
    del widget.workspace.jobs["train"]


@pytest.fixture
def run(tmp_path, movie, full, model):
    """A run with everything in it, made without the viewer."""
    summary = pd.DataFrame({"unit": [0, 1, 2], "name": ["host", "edge", "other"], "count": 1})
    units = Units(full[["site_id", "unit", "unit_probability"]], summary)
    configs = [DetectConfig(min_snr=4.0), CropConfig(), model.config]
    folder = tmp_path / "run"
    return save_run(folder, frames=movie, sites=full, model=model, units=units, configs=configs)


@no_window
def test_pictures_of_the_run_that_sites_are_from(qtbot, viewer, widget, run, movie):
    add_layers(viewer, *run_layers(load_run(run), movie))
    assert widget.workspace.model is None
    assert widget.pictures.decode.isEnabled()
    widget.pictures.decode.click()
    _idle(qtbot, widget)
    assert widget.workspace.model.name == "run"
    assert widget.pictures.picture.values is not None


@no_window
def test_a_run_without_its_model(qtbot, viewer, widget, run, movie):
    add_layers(viewer, *run_layers(load_run(run), movie))
    for path in run.glob("model-*/*"):
        path.unlink()
    widget.decode_pictures()
    _idle(qtbot, widget)
    assert _said(widget).level == "error"
    assert "\n" not in _said(widget).text
    assert widget.pictures.decode.isEnabled()


# ---------------------------------------------------------------------- files
@no_window
def test_export(qtbot, widget, sites, full, tmp_path):
    path = tmp_path / "sites.csv"
    widget.colours.column.choose("angle")  # whose copy in degrees is no column of its own
    assert widget.export_table(path) is not None
    assert not widget.export.isEnabled()
    _idle(qtbot, widget)
    assert _said(widget).text == f"Exported {len(full):,} sites to {path}"
    table = pd.read_csv(path)
    assert table["z0"].tolist() == pytest.approx(full["z0"].tolist(), nan_ok=True)
    assert np.allclose(table["y_nm"], full["y"] * sites.scale[-2])
    assert table["angle_deg"].notna().sum() == full["angle"].notna().sum()
    assert "angle (deg)" not in table
    assert table["time_s"].nunique() == 2
    assert widget.export.isEnabled()


@no_window
def test_export_replaces_nothing_unasked(qtbot, widget, sites, tmp_path):
    path = tmp_path / "sites.csv"
    path.write_text("precious")
    widget.export_table(path)
    _idle(qtbot, widget)
    assert "already there" in _said(widget).text
    assert _said(widget).level == "error"
    assert path.read_text() == "precious"
    widget.export_table(path, overwrite=True)
    _idle(qtbot, widget)
    assert _said(widget).level == "done"


@no_window
def test_export_without_image(qtbot, viewer, widget, sites, image, tmp_path):
    viewer.layers.remove(image)
    widget.export_table(tmp_path / "sites.csv")
    _idle(qtbot, widget)
    assert "y_nm" not in pd.read_csv(tmp_path / "sites.csv")


@no_window
def test_export_asks_for_a_name(qtbot, monkeypatch, widget, sites, tmp_path):
    answers = [str(tmp_path / "mine"), ""]
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (answers.pop(0), ""))
    widget.export.click()
    _idle(qtbot, widget)
    assert (tmp_path / "mine.csv").exists()
    widget.export.click()
    assert widget.workspace.job("latents") is None


def test_save_and_open_gives_the_same_table(qtbot, viewer, widget, sites, trained, tmp_path):
    widget.colours.column.choose("angle")
    _record(sites)["model"] = trained.key  # as a training notes it
    before = sites_from_layer(sites)
    widget.save_run(tmp_path / "run")
    _idle(qtbot, widget)
    assert _said(widget).text == f"Saved {len(before):,} sites to {tmp_path / 'run'}"
    saved = load_run(tmp_path / "run")
    pd.testing.assert_frame_equal(saved.sites, before)
    assert saved.has_model
    assert saved.configs["RVAEConfig"] == trained.rvae.config
    assert saved.configs["CropConfig"] == trained.crops
    assert saved.frames["shape"] == list(viewer.layers[0].data.shape)
    widget.open_run(tmp_path / "run")
    _idle(qtbot, widget)
    opened = widget.sites.layer()
    assert opened is not sites
    pd.testing.assert_frame_equal(sites_from_layer(opened), before)
    np.testing.assert_allclose(opened.scale, sites.scale)


@no_window
def test_a_model_that_did_not_make_the_latents_is_not_saved(
    qtbot, widget, sites, trained, tmp_path
):
    _record(sites)["model"] = "another one's"
    widget.save_run(tmp_path / "run")
    _idle(qtbot, widget)
    assert "no model" in _said(widget).text
    assert not load_run(tmp_path / "run").has_model


@no_window
def test_save_asks_before_it_replaces_a_run(qtbot, monkeypatch, widget, sites, tmp_path):
    folder = tmp_path / "run"
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(folder))
    folder.mkdir()
    widget.save.click()
    _idle(qtbot, widget)
    assert "no model" in _said(widget).text
    first = (folder / "run.json").read_bytes()
    widget.save_run(folder)
    assert "already holds a run" in _said(widget).text
    answers = [QMessageBox.StandardButton.No, QMessageBox.StandardButton.Yes]
    monkeypatch.setattr(QMessageBox, "question", lambda *_: answers.pop(0))
    widget.colours.column.choose("z0")
    widget.save.click()
    assert widget.workspace.job("latents") is None
    assert (folder / "run.json").read_bytes() == first
    widget.save.click()
    _idle(qtbot, widget)
    assert _said(widget).level == "done"


@no_window
def test_a_run_that_is_saved_again_keeps_names_and_options(qtbot, viewer, widget, run, movie):
    add_layers(viewer, *run_layers(load_run(run), movie))
    again = run.parent / "again"
    widget.save_run(again)
    _idle(qtbot, widget)
    first, second = load_run(run), load_run(again)
    pd.testing.assert_frame_equal(first.sites, second.sites, check_like=True)
    assert second.units.names == first.units.names
    assert second.configs == first.configs
    assert second.has_model


def test_open_asks_for_a_run(qtbot, monkeypatch, viewer, widget, run):
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(run / "run.json"), ""))
    widget.open.click()
    _idle(qtbot, widget)
    qtbot.waitUntil(lambda: widget.workspace.model is not None, timeout=LONG)
    assert widget.colours.column.column() == "unit"
    assert [row[0] for row in widget.legend.rows()] == ["host", "edge", "other", "none"]
    assert widget.directions.isEnabled()
    widget.directions.click()  # the run's own, which are hidden at first
    (arms,) = _of_type(viewer, Vectors)
    assert arms.visible


@no_window
def test_what_is_no_run(qtbot, viewer, widget, tmp_path):
    for path in (tmp_path, tmp_path / "missing", tmp_path / "run.json"):
        widget.open_run(path)
        _idle(qtbot, widget)
        assert _said(widget).level == "error"
        assert "\n" not in _said(widget).text
    assert len(viewer.layers) == 0
    assert widget.open.isEnabled()


# ---------------------------------------------------------------------- what goes wrong
def test_layer_that_is_deleted_while_it_is_shown(qtbot, viewer, widget, sites):
    widget.colours.column.choose("unit")
    viewer.layers.remove(sites)
    assert _said(widget).text == NO_SITES
    assert widget.legend.isHidden()
    _settle(qtbot, widget)
    sites.features = sites.features.assign(unit=0)  # nobody listens any more
    assert not widget._soon.isActive()
    for action in (widget.draw_map, widget.draw_directions):
        action()
        assert _said(widget).text == NO_SITES


def test_column_that_vanished(qtbot, widget, sites):
    widget.colours.column.choose("unit")
    with pytest.warns(RuntimeWarning, match="property used for"):
        sites.features = sites.features.drop(columns="unit")
    qtbot.waitUntil(lambda: "unit" not in widget.colours.column.columns())
    assert _said(widget).text.startswith("The column unit is gone.")
    assert _said(widget).level == "warning"
    assert widget.colours.column.column() is None
    assert widget.legend.isHidden()
    widget.colours.column.choose("z0")
    assert _said(widget).text.startswith("z0 of")


@pytest.mark.parametrize("column", ["z0", "angle", "unit", "species"])
def test_column_without_any_value(viewer, widget, movie, full, column):
    nothing = {"z0": np.nan, "angle": np.nan, "unit": -1, "species": ""}[column]
    add_layers(viewer, image_layer(movie), points_layer(full.assign(**{column: nothing}), movie))
    widget.colours.column.choose(column)
    assert _said(widget).text == f"No site has a value of {column}."
    for made in (widget.map, widget.directions):
        made.click()
        assert "\n" not in _said(widget).text


@pytest.mark.parametrize("value", [0.0, -5.0, 1e30])
def test_constant_column(viewer, widget, movie, full, value):
    add_layers(viewer, image_layer(movie), points_layer(full.assign(z0=value), movie))
    widget.colours.column.choose("z0")
    assert _said(widget).text == f"z0 of {len(full):,} sites, all the same."
    widget.map.click()
    assert _said(widget).level == "done"


@pytest.mark.parametrize("count", [0, 1])
def test_hardly_any_sites(viewer, widget, movie, full, count):
    rows = full[full["z0"].notna()].head(count)
    (layer,) = add_layers(viewer, image_layer(movie), points_layer(rows, movie))[1:]
    for column in widget.colours.column.columns():
        widget.colours.column.choose(column)
        assert "\n" not in _said(widget).text
        assert _said(widget).level == "info"
    assert len(layer.data) == count
    widget.directions.click()
    assert _said(widget).level == "done"
    widget.map.click()
    assert "three sites" in _said(widget).text


@no_window
def test_words_with_a_thousand_values(viewer, widget):
    many = make_sites(
        frame=0, y=np.arange(1000.0), x=np.arange(1000.0), note=[f"n{k}" for k in range(1000)]
    )
    add_layers(viewer, points_layer(many))
    widget.colours.column.choose("note")
    assert widget.legend.note.text().startswith("1,000 values: too many")
    assert _said(widget).text.startswith("note of 1,000 sites.")


@no_window
def test_words_make_a_map_of_areas(viewer, widget, sites):
    widget.colours.column.choose("species")
    widget.map.click()
    assert _said(widget).level == "done"
    assert isinstance(viewer.layers["species map"], Labels)
    widget.colours.column.choose(None)
    widget.map.click()
    assert _said(widget).text == texts.NO_COLUMN


def test_table_of_several_sources(qtbot, viewer, widget, movie, full, tmp_path):
    (layer,) = add_layers(viewer, image_layer(movie), points_layer(full, movie))[1:]
    both = concat_sites(full.iloc[::2].assign(source="a"), full.iloc[1::2].assign(source="b"))
    layer.data = both[["frame", "y", "x"]].to_numpy()
    layer.features = both
    widget.colours.column.choose("z0")
    assert _said(widget).level == "info"
    for action in (widget.draw_map, widget.draw_directions):
        action()
        assert "holds 2 sources" in _said(widget).text
    widget.export_table(tmp_path / "both.csv")
    _idle(qtbot, widget)
    assert "holds 2 sources" in _said(widget).text
    assert widget.export.isEnabled()


@no_window
def test_one_thing_at_a_time(qtbot, widget, sites, tmp_path):
    widget.export_table(tmp_path / "a.csv")
    widget.export_table(tmp_path / "b.csv")
    assert _said(widget).text == texts.BUSY
    _idle(qtbot, widget)
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


# ---------------------------------------------------------------------- closing, two viewers
class _Gate:
    """Holds a function of the library until it is let through."""

    def __init__(self, function):
        self.function, self.entered, self.passes = function, threading.Event(), threading.Event()

    def __call__(self, *args, **options):
        self.entered.set()
        self.passes.wait(20)
        return self.function(*args, **options)


@pytest.fixture
def gate(monkeypatch):
    """Make a function wait, given the object and the name that it is known by."""
    made = []

    def hold(owner, name):
        made.append(_Gate(getattr(owner, name)))
        monkeypatch.setattr(owner, name, made[-1])
        return made[-1]

    yield hold
    for one in made:
        one.passes.set()


def _start(widget, what, gate, folder):
    """Start a job, and return its gate."""
    if what == "save":
        held = gate(napari_rvae.runs, "save_run")
        widget.save_run(folder / "run")
    else:
        held = gate(widget.workspace.model.rvae, "manifold")
        widget.decode_pictures()
    return held


@pytest.mark.parametrize("what", ["save", "decode"])
def test_widget_closed_during_the_work(qtbot, viewer, widget, sites, trained, gate, tmp_path, what):
    held, workspace = _start(widget, what, gate, tmp_path), widget.workspace
    qtbot.waitUntil(held.entered.is_set, timeout=LONG)
    viewer.window.remove_dock_widget(widget)
    widget.deleteLater()
    qtbot.waitUntil(lambda: not isalive(widget))
    again = _open(viewer)
    assert not again.job_panel.isHidden()
    assert not again.save.isEnabled()
    held.passes.set()
    qtbot.waitUntil(lambda: workspace.job("latents") is None, timeout=LONG)
    assert workspace.status("latents").level == "done"
    if what == "save":
        assert len(load_run(tmp_path / "run").sites) == len(sites.data)
    else:
        assert again.pictures.picture.values is not None
    sites.features = sites.features.assign(z0=0.0)  # the closed one does not listen
    viewer.dims.set_current_step(0, 1)


@pytest.mark.parametrize("what", ["save", "decode"])
def test_viewer_closed_during_the_work(
    qtbot, make_napari_viewer, movie, full, model, gate, tmp_path, what
):
    viewer = make_napari_viewer()
    widget = _open(viewer)
    add_layers(viewer, image_layer(movie), points_layer(full, movie))
    widget.workspace.use_model(Model(model, CropConfig(), "graphene"))
    held = _start(widget, what, gate, tmp_path)
    qtbot.waitUntil(held.entered.is_set, timeout=LONG)
    job = widget.workspace.job("latents")
    viewer.close()
    QApplication.processEvents()
    held.passes.set()
    qtbot.waitUntil(lambda: not job._worker.is_running, timeout=LONG)
    if what == "save":  # begun is done: a run is whole or not there
        assert len(load_run(tmp_path / "run").sites) == len(full)


def test_two_viewers_side_by_side(qtbot, make_napari_viewer, movie, full):
    pair = [_open(make_napari_viewer()) for _ in range(2)]
    layers = [
        add_layers(widget.viewer, image_layer(movie), points_layer(full, movie))[1]
        for widget in pair
    ]
    pair[0].colours.column.choose("z0")
    pair[1].colours.column.choose("unit")
    pair[0].directions.click()
    assert [_record(layer)["column"] for layer in layers] == ["z0", "unit"]
    assert [len(widget.viewer.layers) for widget in pair] == [3, 2]
    assert _said(pair[0]).text.startswith("Directions")
    assert _said(pair[1]).text.startswith("unit of")
    assert pair[0].legend.isHidden()
    assert not pair[1].legend.isHidden()
    assert Workspace.of(pair[0].viewer) is not Workspace.of(pair[1].viewer)


def test_everything_fits_into_the_dock(qtbot, widget, sites, trained):
    for column in ("z0", "lattice_angle", "unit", "species", None):
        widget.colours.column.choose(column)
        assert widget.minimumSizeHint().width() <= 320


_STORY = """
import sys
import napari
import numpy as np
from napari_rvae import add_layers, points_layer
from napari_rvae._napari import loading
from napari_rvae._napari.latents_widget import LatentsWidget
from napari_rvae.tables import make_sites

loading._LOADER = loading.Loader([loading.LIBRARY])  # its thread would load torch, too
viewer = napari.Viewer(show=False)
widget = LatentsWidget(viewer)
viewer.window.add_dock_widget(widget)
table = make_sites(frame=0, y=[1.0, 2.0, 9.0], x=[1.0, 5.0, 2.0], z0=1.0, angle=0.1, unit=1)
viewer.add_image(np.zeros((16, 16)))
add_layers(viewer, points_layer(table))
for column in ("z0", "angle", "unit"):
    widget.colours.column.choose(column)
    widget.map.click()
widget.directions.click()
assert len(viewer.layers) == 4, viewer.layers
assert "torch" not in sys.modules
viewer.close()
"""


def test_torch_stays_out_of_the_viewers_thread(run_alone):
    run_alone(_STORY)


@no_window
def test_angles_are_in_radians_in_the_table(widget, sites, full):
    widget.colours.column.choose("angle")
    assert sites_from_layer(sites)["angle"].abs().max() <= math.pi
    assert list(sites_from_layer(sites).columns) == list(full.columns)
