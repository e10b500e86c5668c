"""Detect with a regular grid in place of atoms."""

import numpy as np
import pytest

pytest.importorskip("napari")

from napari.components import ViewerModel
from napari.layers import Shapes

from napari_rvae import add_layers, image_layer, sites_from_layer
from napari_rvae._napari.detect_widget import ATOMS, GRID, DetectWidget
from napari_rvae._napari.layer_kinds import kind_of
from napari_rvae._napari.train_widget import TrainWidget


@pytest.fixture
def viewer():
    return ViewerModel()


@pytest.fixture
def widget(qtbot, viewer):
    made = DetectWidget(viewer)
    qtbot.addWidget(made)
    made.show()
    made.kind.setCurrentText(GRID)
    return made


@pytest.fixture
def image(viewer):
    data = np.random.default_rng(0).normal(size=(3, 48, 64)).astype(np.float32)
    return add_layers(viewer, image_layer(data, name="scan"))[0]


def _grids(viewer):
    return [layer for layer in viewer.layers if kind_of(layer) == "sites"]


def test_the_page_takes_the_place_of_what_is_about_atoms(widget):
    assert widget.grid.isVisible()
    assert not widget.atoms.isVisible()
    assert not widget.section.isVisible()
    widget.kind.setCurrentText(ATOMS)
    assert widget.atoms.isVisible()
    assert not widget.grid.isVisible()


def test_without_an_image_there_is_nothing_to_press(widget, image, viewer, qtbot):
    qtbot.waitUntil(widget.grid.make.isEnabled)
    viewer.layers.remove(image)
    qtbot.waitUntil(lambda: not widget.grid.make.isEnabled())


def test_sites_lie_on_a_grid_and_a_new_one_takes_its_place(widget, image, viewer, qtbot):
    qtbot.waitUntil(widget.grid.make.isEnabled)
    widget.grid.make.click()
    (points,) = _grids(viewer)
    assert set(sites_from_layer(points)["kind"]) == {"grid"}
    assert len(points.data) == 3 * 3 * 4
    assert widget.status.plain_text.startswith("36 sites in 3 frames.")
    widget.grid.spacing.setValue(8)
    widget.grid.make.click()
    (points,) = _grids(viewer)
    assert len(points.data) == 3 * 6 * 8


def test_a_grid_that_a_model_has_seen_stays(widget, image, viewer, qtbot):
    qtbot.waitUntil(widget.grid.make.isEnabled)
    widget.grid.make.click()
    (points,) = _grids(viewer)
    points.features = points.features.assign(z0=0.0)
    widget.grid.make.click()
    assert len(_grids(viewer)) == 2


def test_train_gives_a_grid_a_window_in_pixels(widget, image, viewer, qtbot):
    train = TrainWidget(viewer)
    qtbot.addWidget(train)
    qtbot.waitUntil(widget.grid.make.isEnabled)
    widget.grid.spacing.setValue(12)
    widget.grid.make.click()
    assert train.crop_config().window == 24
    assert "24 px" in train.status.plain_text


def test_a_region_bounds_it_and_a_step_too_large_is_one_line(widget, image, viewer, qtbot):
    viewer.add_layer(Shapes([np.array([[0, 0], [0, 31], [47, 31], [47, 0]])], name="left"))
    widget.region.choose(viewer.layers["left"])
    qtbot.waitUntil(widget.grid.make.isEnabled)
    widget.grid.make.click()
    assert _grids(viewer)[0].data[:, 2].max() < 32
    widget.grid.spacing.setValue(500)
    widget.grid.make.click()
    assert "choose from 1 to 48 pixels" in widget.status.plain_text
