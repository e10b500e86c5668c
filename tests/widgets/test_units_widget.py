"""The Units widget in a real viewer: find, name, merge, split, undo, examples, files, troubles."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("napari")

from napari.components import ViewerModel
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QFileDialog, QLineEdit

from napari_rvae import (
    CropConfig,
    Units,
    add_layers,
    extract_crops,
    find_units,
    image_layer,
    join_latents,
    load_run,
    points_layer,
    run_layers,
    save_run,
    show_units,
)
from napari_rvae._napari import unit_work, units_widget
from napari_rvae._napari.exporting import start_save
from napari_rvae._napari.sites_step import SOON
from napari_rvae._napari.unit_state import state_of
from napari_rvae._napari.units_widget import UnitsWidget
from napari_rvae._napari.words import NO_SITES, count
from napari_rvae._napari.workspace import Model
from napari_rvae.layers import METADATA_KEY, legend

LONG = 60_000  # milliseconds: finding units loads torch

#: For what needs no window: a viewer's model alone takes far less time.
no_window = pytest.mark.parametrize("viewer", ["model"], indirect=True)


@pytest.fixture
def viewer(request, make_napari_viewer):
    return ViewerModel() if hasattr(request, "param") else make_napari_viewer()


@pytest.fixture
def widget(qtbot, viewer):
    made = UnitsWidget(viewer)
    if hasattr(viewer, "window"):
        viewer.window.add_dock_widget(made, area="right")
    else:
        qtbot.addWidget(made)
        made.resize(330, 900)
        made.show()
    return made


@pytest.fixture(scope="session")
def units(movie, encoded, model):
    """Units of the movie's atoms; edits leave them as they are."""
    features = model.invariants(extract_crops(movie, encoded))
    return find_units(encoded, features=features, n_starts=1)


@pytest.fixture
def image(viewer, movie):
    return add_layers(viewer, image_layer(movie))[0]


@pytest.fixture
def sites(viewer, image, movie, encoded, widget, model):
    """Atoms with the latents of the model in use."""
    (layer,) = add_layers(viewer, points_layer(encoded, movie, name="atoms"))
    made = Model(model, CropConfig(), "graphene")
    widget.workspace.use_model(made)
    layer.metadata[METADATA_KEY]["model"] = made.key
    return layer


@pytest.fixture
def opened(qtbot, sites, widget, units):
    """The widget with the cards of units that the layer has got otherwise, and their tree."""
    show_units(sites, units)
    widget.attempt(widget.refresh)
    _idle(qtbot, widget)
    state = state_of(sites)
    # from a layer alone, units come without their tree
    step = type(state.now)("units found", units, state.now.cards)
    state.now = step
    widget.refresh()
    return widget


def _idle(qtbot, widget):
    qtbot.waitUntil(lambda: widget.workspace.job("units") is None, timeout=LONG)
    QApplication.processEvents()
    qtbot.waitUntil(lambda: not widget._soon.isActive())


def _said(widget):
    return widget.workspace.status("units")


def _names(layer):
    return state_of(layer).now.units.names


# ---------------------------------------------------------------------- what is missing
@no_window
def test_without_sites_it_says_what_comes_first(widget):
    assert _said(widget).text == NO_SITES
    assert not widget.find_button.isEnabled()
    assert not widget.cards.cards


@no_window
@pytest.mark.parametrize("latents", [{}, {"z0": np.nan, "z0_sd": np.nan}])
def test_without_latents_one_line_says_so(viewer, movie, found, widget, latents):
    add_layers(viewer, points_layer(found.assign(**latents), movie, name="atoms"))
    assert widget.find_units() is None
    assert _said(widget).text == unit_work.NO_LATENTS
    assert _said(widget).level == "error"


@no_window
def test_edits_before_there_are_units_are_told(sites, widget):
    assert _said(widget).text == units_widget.READY
    widget.merge_units([0, 1])
    assert _said(widget).text == unit_work.NO_UNITS
    widget.split_chosen()
    assert _said(widget).text == units_widget.ONE
    widget.undo_edit()
    assert _said(widget).text == unit_work.NO_UNITS


# ---------------------------------------------------------------------- find
@no_window
def test_find_units_draws_cards_and_colours(qtbot, sites, widget):
    widget.unit_config()
    for form in widget._forms:
        for name, value in {"n_starts": 0}.items():
            if name in form.fields:
                form.fields[name].set(value)
    qtbot.mouseClick(widget.find_button, Qt.MouseButton.LeftButton)
    _idle(qtbot, widget)
    assert _said(widget).level == "done", _said(widget).text
    assert "unit" in _said(widget).text
    cards = widget.cards.cards
    assert len(cards) == len(state_of(sites).now.units)
    assert cards[0].decoded is not None
    assert cards[0].mean_crop is not None
    assert legend(sites)[0].name == "host"
    assert state_of(sites).material.config.n_starts == 0
    before = _names(sites)
    widget.find_units()  # what is found again keeps its name
    _idle(qtbot, widget)
    assert _names(sites) == before
    assert widget.undo.isEnabled()


@no_window
def test_without_a_model_there_are_units_of_latents_and_a_word(
    qtbot, viewer, movie, encoded, widget
):
    (layer,) = add_layers(viewer, points_layer(encoded, movie, name="atoms"))
    widget.find_units()
    _idle(qtbot, widget)
    assert "no pictures" in _said(widget).text
    assert widget.cards.cards[0].decoded is None
    assert state_of(layer).now.units.names[0] == "host"


@no_window
def test_cancelling_changes_nothing(qtbot, sites, widget):
    job = widget.find_units()
    job.stop()
    _idle(qtbot, widget)
    assert "unit" not in sites.features
    assert state_of(sites) is None


@no_window
def test_a_layer_that_goes_meanwhile_is_told(qtbot, viewer, sites, widget):
    widget.find_units()
    viewer.layers.remove(sites)
    _idle(qtbot, widget)
    assert _said(widget).level in ("error", "info")


def _middle(cards, unit):
    """Middle of a unit's card in pixels of the list, scrolled into view."""
    row = next(row for row, card in enumerate(cards.cards) if card.unit == unit)
    index = cards.model().index(row, 0)
    cards.scrollTo(index)
    return cards.visualRect(index).center()


# ---------------------------------------------------------------------- edit
@no_window
def test_two_cards_are_merged_and_split_and_all_of_it_undone(qtbot, opened, sites, units):
    widget, first = opened, dict(units.names)
    one, other = list(first)[-2:]
    for unit, keys in (
        (one, Qt.KeyboardModifier.NoModifier),
        (other, Qt.KeyboardModifier.ControlModifier),
    ):
        place = _middle(widget.cards, unit)
        qtbot.mouseClick(widget.cards.viewport(), Qt.MouseButton.LeftButton, keys, place)
    assert sorted(widget.cards.units()) == sorted([one, other])
    qtbot.mouseClick(widget.merge, Qt.MouseButton.LeftButton)
    _idle(qtbot, widget)
    assert len(_names(sites)) == len(first) - 1, _said(widget).text
    kept = (set(first) & set(_names(sites))) & {one, other}
    widget.cards.choose(list(kept))
    qtbot.mouseClick(widget.split, Qt.MouseButton.LeftButton)
    _idle(qtbot, widget)
    assert len(_names(sites)) == len(first), _said(widget).text
    for _ in range(2):
        qtbot.mouseClick(widget.undo, Qt.MouseButton.LeftButton)
    assert _names(sites) == first
    assert not widget.undo.isEnabled()
    qtbot.mouseClick(widget.redo, Qt.MouseButton.LeftButton)
    assert len(_names(sites)) == len(first) - 1
    shown = sites.features["unit"]
    assert set(shown[shown >= 0]) == set(_names(sites))


@no_window
def test_a_double_click_renames_and_a_taken_name_is_refused(qtbot, opened, sites):
    widget, cards = opened, opened.cards
    unit = cards.cards[-1].unit

    def rename(text):
        place = _middle(cards, unit)
        qtbot.mouseClick(cards.viewport(), Qt.MouseButton.LeftButton, pos=place)
        qtbot.mouseDClick(cards.viewport(), Qt.MouseButton.LeftButton, pos=place)
        qtbot.waitUntil(lambda: cards.findChildren(QLineEdit) != [])
        (editor,) = cards.findChildren(QLineEdit)
        editor.setText(text)
        qtbot.keyClick(editor, Qt.Key.Key_Return)
        QApplication.processEvents()  # Qt takes the text a moment later
        _idle(qtbot, widget)

    rename("silicon")
    assert _names(sites)[unit] == "silicon"
    assert "silicon" in [entry.name for entry in legend(sites)]
    rename("host")
    assert _said(widget).level == "error"
    assert _names(sites)[unit] == "silicon"
    widget.undo_edit()
    assert _names(sites)[unit] != "silicon"


@no_window
def test_the_slider_goes_along_the_tree(qtbot, opened, sites, units):
    widget = opened
    assert widget.slider.maximum() == len(units.environments)
    assert widget.slider.value() == len(units)
    widget.slider.setValue(widget.slider.minimum())
    _idle(qtbot, widget)
    assert len(_names(sites)) == widget.slider.minimum()
    assert widget.number.text().startswith(str(widget.slider.minimum()))
    widget.undo_edit()
    assert widget.slider.value() == len(units)


@no_window
def test_an_edit_selects_the_sites_that_a_chosen_card_has_now(qtbot, opened, sites, units):
    widget = opened
    widget.cards.choose([0])
    widget.slider.setValue(widget.slider.minimum())
    _idle(qtbot, widget)
    assert _said(widget).text == f"Cut at {count(widget.slider.minimum(), 'unit')}."
    assert sites.selected_data == set(np.flatnonzero(sites.features["unit"] == 0).tolist())
    row = int(np.flatnonzero(sites.features["unit"] == 0)[0])
    sites.selected_data = {row}  # by hand: edits leave it alone
    qtbot.wait(2 * SOON)
    widget.undo_edit()
    assert sites.selected_data == {row}


# ---------------------------------------------------------------------- look
@no_window
def test_a_card_selects_its_sites_and_an_example_is_flown_to(qtbot, viewer, opened, sites):
    widget = opened
    card = widget.cards.cards[-1]
    place = _middle(widget.cards, card.unit)
    qtbot.mouseClick(widget.cards.viewport(), Qt.MouseButton.LeftButton, pos=place)
    rows = np.flatnonzero(sites.features["unit"] == card.unit)
    assert sites.selected_data == set(rows.tolist())
    assert card.caption in widget.examples.caption.text()
    examples = widget.examples.typical
    assert examples.sites == card.typical.tolist()
    assert len(examples.shown) >= 4
    at = examples.place(len(examples.shown) - 1).center().toPoint()
    qtbot.mouseDClick(examples, Qt.MouseButton.LeftButton, pos=at)
    row = int(np.flatnonzero(sites.features["site_id"] == examples.shown[-1])[0])
    assert sites.selected_data == {row}
    assert viewer.dims.current_step[0] == sites.features["frame"][row]
    assert np.allclose(viewer.scene.camera.center[-2:], sites.data_to_world(sites.data[row])[-2:])
    widget.go_to_site(999_999)
    assert "not there any more" in _said(widget).text


@no_window
def test_a_card_its_examples_and_all_its_words_are_in_view_on_a_laptop(qtbot, opened, sites):
    widget = opened
    widget.resize(330, 682)  # what napari leaves of 768 lines
    QApplication.processEvents()
    before = widget.cards.geometry()
    for card in widget.cards.cards:
        widget.cards.choose([card.unit])
        QApplication.processEvents()
        assert widget.cards.geometry() == before  # a double click hits the same card twice
        words = widget.examples.caption
        assert words.height() >= words.heightForWidth(words.width())
        at = words.mapTo(widget, words.rect().bottomLeft())
        assert at.y() < widget.height()
    widget.cards.choose([])
    QApplication.processEvents()
    assert widget.cards.geometry() == before


@no_window
def test_points_that_are_selected_choose_their_card(qtbot, opened, sites):
    unit = opened.cards.cards[-1].unit
    row = int(np.flatnonzero(sites.features["unit"] == unit)[0])
    sites.selected_data = {row}
    qtbot.waitUntil(lambda: opened.cards.units() == [unit])
    assert sites.selected_data == {row}  # the card does not select the others in turn
    assert opened.examples.typical.sites
    sites.selected_data = set()
    qtbot.waitUntil(lambda: opened.cards.units() == [])


@no_window
def test_atoms_get_their_names(qtbot, opened, sites):
    widget = opened
    widget.elements.setText("A = C")
    widget.elements.editingFinished.emit()
    _idle(qtbot, widget)
    assert "C with" in widget.cards.cards[0].caption
    assert sites.metadata[METADATA_KEY]["elements"] == "A = C"
    assert not widget.undo.isEnabled()  # the units are the same
    widget.elements.setText("carbon")
    widget.elements.editingFinished.emit()
    assert "A = C, A+ = Si" in _said(widget).text


def test_colours_come_back_in_a_window_and_cards_are_painted(qtbot, opened, sites):
    from napari_rvae import color_points

    color_points(sites, "z0")
    opened.colour.click()
    assert sites.metadata[METADATA_KEY]["column"] == "unit"
    assert not opened.cards.grab().isNull()
    opened.cards.choose([opened.cards.cards[0].unit])
    assert not opened.grab().isNull()


# ---------------------------------------------------------------------- keep
@no_window
def test_a_run_brings_its_units_back_and_they_can_be_merged(
    qtbot, viewer, movie, encoded, units, model, widget, tmp_path
):
    table = join_latents(encoded, units.table)
    run = save_run(tmp_path / "run", frames=movie, sites=table, model=model, units=units)
    *_, points, _ = add_layers(viewer, *run_layers(load_run(run), movie))
    widget.sites.choose(points)
    qtbot.waitUntil(lambda: state_of(points) is not None, timeout=LONG)
    _idle(qtbot, widget)
    assert _names(points) == units.names
    assert widget.cards.cards[0].decoded is not None
    widget.merge_units(list(units.names)[-2:])
    _idle(qtbot, widget)
    assert len(_names(points)) == len(units) - 1
    start_save(widget.workspace, points, widget.image.layer(), tmp_path / "again")
    qtbot.waitUntil(lambda: widget.workspace.job("latents") is None, timeout=LONG)
    again = load_run(tmp_path / "again")
    assert again.units.names == _names(points)
    assert again.units.evidence is not None
    assert again.has_model


@no_window
def test_units_of_a_layer_alone_are_shown_but_not_merged(qtbot, sites, widget, units):
    show_units(sites, Units(units.table, units.summary))
    _idle(qtbot, widget)
    qtbot.waitUntil(lambda: state_of(sites) is not None, timeout=LONG)
    _idle(qtbot, widget)
    widget.cards.choose([card.unit for card in widget.cards.cards[:2]])
    assert not widget.merge.isEnabled()
    assert widget.merge.toolTip() == units_widget.FIXED
    assert not widget.slider.isVisibleTo(widget)


@no_window
def test_figures_and_tables_are_exported(qtbot, opened, tmp_path, monkeypatch):
    asked = staticmethod(lambda *_args, **_kw: str(tmp_path))
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", asked)
    opened.export.click()
    _idle(qtbot, opened)
    names = {path.name for path in tmp_path.iterdir()}
    assert {"units.png", "unit_shares.png", "unit_tree.png", "units.csv"} <= names
    assert _said(opened).level == "done"
    table = pd.read_csv(tmp_path / "units.csv")
    assert "caption" in table
    opened.export_units(tmp_path)
    _idle(qtbot, opened)
    assert "there already" in _said(opened).text


@no_window
def test_one_unit_has_a_card_and_nothing_to_split(qtbot, sites, widget, units):
    table = units.table[["site_id"]].assign(unit=0, unit_probability=1.0)
    summary = pd.DataFrame({"unit": [0], "name": ["host"], "count": [len(table)]})
    show_units(sites, Units(table, summary))
    qtbot.waitUntil(lambda: state_of(sites) is not None, timeout=LONG)
    _idle(qtbot, widget)
    (card,) = widget.cards.cards
    assert card.name == "host"
    widget.split_unit(0)
    _idle(qtbot, widget)
    assert "find them again" in _said(widget).text


def test_the_widget_closed_in_the_middle_leaves_the_units(qtbot, viewer, sites, widget):
    widget.find_units()
    workspace = widget.workspace
    viewer.window.remove_dock_widget(widget.parent())
    widget.deleteLater()
    qtbot.waitUntil(lambda: workspace.job("units") is None, timeout=LONG)
    assert state_of(sites) is not None
    again = UnitsWidget(viewer)
    qtbot.addWidget(again)
    assert again.cards.cards
    assert "unit" in workspace.status("units").text


@no_window
def test_is_it_real_is_answered_by_two_halves(qtbot, sites, widget, image):
    qtbot.mouseClick(widget.real, Qt.MouseButton.LeftButton)
    _idle(qtbot, widget)
    said = _said(widget).text
    assert said.startswith("Is it real? "), said
    assert sum(said.lower().count(result) for result in ("units", "angles", "latents")) == 3
    assert len(widget.verdicts.lines) == 3
    assert len(sites.metadata[METADATA_KEY]["halves"]) == 3
    other = UnitsWidget(widget.viewer)  # what was found stays with the layer
    qtbot.addWidget(other)
    assert len(other.verdicts.lines) == 3


def test_it_is_said_where_the_halves_found_another_number_of_units():
    def units(*counts):
        numbers = range(len(counts))
        table = pd.DataFrame({"site_id": [0], "unit": [0], "unit_probability": [1.0]})
        names = [f"unit {number}" for number in numbers]
        return Units(table, pd.DataFrame({"unit": numbers, "name": names, "count": counts}))

    def told(first, second, shown):
        halves = SimpleNamespace(units=(first, second))
        return unit_work._found_otherwise(halves, shown)

    two, three = units(9, 4), units(9, 4, 3)
    assert told(two, two, two) == ""
    assert told(two, two, three) == " (the halves found 2 each; here are 3)"
    assert told(two, three, three) == " (the halves found 2 and 3; here are 3)"
    assert told(units(9, 0, 4), two, two) == ""  # without sites it was not found


@no_window
def test_without_an_image_halves_cannot_be_trained(viewer, encoded, widget):
    add_layers(viewer, points_layer(encoded, name="atoms"))
    assert widget.ask_if_real() is None
    assert _said(widget).text == unit_work.NO_IMAGE
