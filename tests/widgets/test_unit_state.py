"""How units came about is noted in their layer, whether they were found here or opened."""

import pytest

pytest.importorskip("napari")

from napari.layers import Points

from napari_rvae._napari.unit_state import Material, Step, UnitState, keep_units
from napari_rvae.layers.steps import note_step, note_units, steps_of
from napari_rvae.tables import make_sites

FOUND = {"step": "units", "config": {}}
EDIT = {"step": "edit", "function": "merge_units", "arguments": [[0, 1]]}


@pytest.fixture
def layer():
    made = Points([[5, 5]])
    note_step(made, "detect", config={})
    return made


def _state(**done):
    return UnitState(Material(make_sites(frame=0, y=[5.0], x=[5.0])), Step("units", None, (), done))


def test_edits_follow_what_was_found(layer):
    state = _state(**FOUND)
    keep_units(layer, state)
    state.advance(Step("merged", None, (), EDIT))
    keep_units(layer, state)
    assert steps_of(layer)[1:] == [FOUND, EDIT]
    state.undo()
    keep_units(layer, state)
    assert steps_of(layer)[1:] == [FOUND]


def test_what_led_to_units_that_were_opened_stays(layer):
    note_units(layer, [FOUND])
    state = _state()
    keep_units(layer, state)
    state.advance(Step("merged", None, (), EDIT))
    keep_units(layer, state)
    keep_units(layer, state)
    assert steps_of(layer)[1:] == [FOUND, EDIT]
    state.undo()
    keep_units(layer, state)
    assert steps_of(layer)[1:] == [FOUND]
