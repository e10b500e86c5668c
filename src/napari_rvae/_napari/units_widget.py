"""The Units dock widget: which building blocks there are, how sure that is, what to call them."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Literal

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QFileDialog, QLabel, QLineEdit, QMessageBox, QSlider

from napari_rvae._napari import unit_work
from napari_rvae._napari.check_list import HalvesList
from napari_rvae._napari.forms import ConfigForm, folded, leave_wheel, read_forms
from napari_rvae._napari.jobs import Job
from napari_rvae._napari.layer_kinds import METADATA_KEY, record_of
from napari_rvae._napari.panel import button
from napari_rvae._napari.sites_step import SOON, SitesStep
from napari_rvae._napari.unit_examples import UnitExamples
from napari_rvae._napari.unit_list import UnitList
from napari_rvae._napari.unit_state import UnitState, state_of
from napari_rvae._napari.words import NO_SITES, count, listed
from napari_rvae.config import UnitConfig
from napari_rvae.errors import InputError

__all__ = ["UnitsWidget"]

BUSY = "This widget is at work: wait until it has finished."
READY = "Press Find units: it takes some seconds for each 10,000 sites."
TWO = "Choose two cards or more to merge (Ctrl and click)."
ONE = "Choose one card to split."
FIXED = "These units come without their tree: find them again to merge or split them."

#: Selecting more points than this makes the viewer slow: then those of the frame are selected.
_MOST_SELECTED = 20_000

#: Between the rows, in pixels of the screen: less than elsewhere, so that a laptop shows a card
#: with all its words.
_SPACING = 6

#: Least width of the buttons that stand four in a row, in pixels of the screen.
_NARROW = 48


class UnitsWidget(SitesStep):
    """Find structural units, see a card of each, and merge, split and name them.

    Parameters
    ----------
    napari_viewer
        The viewer; napari fills it in by the parameter's name.
    """

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__(
            napari_viewer,
            "units",
            sites_tip="Points with latents",
            image_tip="Image that the sites lie on: for crops, lengths and times",
        )
        self._selected: frozenset[int] = frozenset()  # points that are known to be selected
        self._by_card = False  # whether a card has selected them
        self._opened: Any = None  # features whose cards were asked for
        self.body.setSpacing(_SPACING)
        self._add_elements()
        self._add_buttons()
        self._add_cards()
        self._connect()
        self._on_sites()
        self.refresh()
        if self.workspace.job("units") is not None:
            self._on_status("units")

    # ------------------------------------------------------------------ parts
    def _add_elements(self) -> None:
        self.elements = QLineEdit()
        self.elements.setPlaceholderText("A = C, A+ = Si")
        self.elements.editingFinished.connect(self._on_elements)
        self.add_input(
            "Atoms",
            self.elements,
            "What to call the atoms by their brightness:\nA is the (brightest) host, B the next "
            "one, A+ what is brighter than A, A- what is dimmer.",
        )
        self.inputs.labelForField(self.elements).setMinimumWidth(0)

    def _add_buttons(self) -> None:
        self.find_button = button(
            "Find units",
            "Group the sites by their surroundings, without labels; units that are found again "
            "keep their number, name and colour",
            self.find_units,
            primary=True,
        )
        self.real = button(
            "Is it real?",
            "Train on two halves of the data apart: do both find the same units, angles and "
            "latents? Takes two to three times as long as the training",
            self.ask_if_real,
        )
        self.add_row(self.find_button, self.real)
        self._forms = ConfigForm(UnitConfig), ConfigForm(UnitConfig, advanced=True)
        self.keep_options(*self._forms)
        self.body.addWidget(folded("Advanced", *self._forms))
        self.add_job_panel()
        self.verdicts = HalvesList()
        self.body.addWidget(self.verdicts)
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setTracking(False)
        self.slider.setPageStep(1)
        leave_wheel(self.slider)
        self.slider.setToolTip("Merge and split along the tree: fewer units to the left")
        self.slider.valueChanged.connect(self._on_slider)
        self.slider.sliderMoved.connect(self._show_number)
        self.number = QLabel()
        self.number.setMinimumWidth(56)
        self.undo = button("Undo", "", self.undo_edit)
        self.redo = button("Redo", "", self.redo_edit)
        self.merge = button("Merge", TWO, self.merge_chosen)
        self.split = button("Split", ONE, self.split_chosen)
        self.colour = button("Colour", "Colour the sites by their unit", self.colour_by_unit)
        self.export = button(
            "Export…", "Write cards, shares and tree as figures, and the tables", self._ask_export
        )
        rows = (self.undo, self.redo), (self.merge, self.split, self.colour, self.export)
        for made in (*rows[0], *rows[1]):
            made.setMinimumWidth(_NARROW)  # or four of them would widen the dock
        self.add_row(self.number, self.slider, *rows[0])
        self.add_row(*rows[1])

    def _add_cards(self) -> None:
        self.cards = UnitList()
        self.body.addWidget(self.cards, 1)
        self.examples = UnitExamples()
        self.body.addWidget(self.examples)

    def _connect(self) -> None:
        self.follow_choices()
        self._pointed = QTimer(self)
        self._pointed.setSingleShot(True)
        self._pointed.setInterval(SOON)
        self._pointed.timeout.connect(self._on_points)
        self.cards.chosen.connect(self._on_chosen)
        self.cards.renamed.connect(self.rename)
        self.examples.wanted.connect(self.go_to_site)

    # ------------------------------------------------------------------ what the buttons do
    def unit_config(self) -> UnitConfig:
        """Options, as the forms show them."""
        return read_forms(UnitConfig, *self._forms)

    def find_units(self) -> Job | None:
        """Find the units of the chosen sites, in a thread."""
        return self._begin(
            lambda: unit_work.start_find(
                self.workspace, self.sites.layer(), self.image.layer(), self.unit_config()
            )
        )

    def ask_if_real(self) -> Job | None:
        """Train on two halves of the data apart, in a thread, and show what both agree on."""
        return self._begin(
            lambda: unit_work.start_halves(
                self.workspace, self.sites.layer(), self.image.layer(), self.unit_config()
            )
        )

    def merge_chosen(self) -> Job | None:
        """Make one unit of those whose cards are chosen."""
        return self.merge_units(self.cards.units())

    def merge_units(self, units: list[int]) -> Job | None:
        """Make one unit of several, in a thread."""
        if len(units) < 2:
            self.say(TWO, "warning")
            return None
        few = len(units) < 3
        merged = listed(self._names(units)) if few else count(len(units), "unit")
        return self._edit("merge_units", units, text=f"{merged} merged")

    def split_chosen(self) -> Job | None:
        """Split the unit whose card is chosen."""
        chosen = self.cards.units()
        if len(chosen) != 1:
            self.say(ONE, "warning")
            return None
        return self.split_unit(chosen[0])

    def split_unit(self, unit: int) -> Job | None:
        """Split a unit into the environments that it was merged of, in a thread."""
        return self._edit("split_unit", unit, text=f"{self._names([unit])[0]} split")

    def rename(self, unit: int, name: str) -> Job | None:
        """Give a unit another name."""
        text = f"{self._names([unit])[0]} renamed {name!r}"
        return self._edit("rename_unit", unit, name, text=text)

    def cut(self, n_units: int) -> Job | None:
        """Move along the tree of mergers until so many units are left, in a thread."""
        return self._edit("cut_units", n_units, text=f"cut at {count(n_units, 'unit')}")

    def undo_edit(self) -> None:
        """Undo the newest edit of the units."""
        self.attempt(lambda: unit_work.step_back(self.workspace, self.sites.layer()))
        self.refresh()

    def redo_edit(self) -> None:
        """Do again what was undone last."""
        self.attempt(lambda: unit_work.step_forward(self.workspace, self.sites.layer()))
        self.refresh()

    def colour_by_unit(self) -> None:
        """Colour the sites by their unit."""

        def colour() -> None:
            from napari_rvae.layers import color_points

            color_points(self.sites.layer(), "unit")

        self.attempt(colour)

    def export_units(
        self,
        folder: str | os.PathLike[str],
        *,
        suffix: Literal[".png", ".svg", ".pdf"] = ".png",
        overwrite: bool = False,
    ) -> Job | None:
        """Write figures and tables of the units, in a thread."""
        return self._begin(
            lambda: unit_work.start_export(
                self.workspace, self.sites.layer(), folder, suffix=suffix, overwrite=overwrite
            )
        )

    def _begin(self, start: Callable[[], Job | None]) -> Job | None:
        """Start a job; what speaks against it becomes a line under the buttons."""

        def begin() -> Job | None:
            if self.workspace.job("units") is not None:
                raise InputError(BUSY)
            return start()

        job: Job | None = self.attempt(begin)
        return job

    def _edit(self, function: str, *arguments: Any, text: str) -> Job | None:
        return self._begin(
            lambda: unit_work.start_edit(
                self.workspace, self.sites.layer(), function, arguments, text
            )
        )

    def _names(self, units: list[int]) -> list[str]:
        state = state_of(self.sites.layer())
        known = {} if state is None else state.now.units.names
        return [repr(known.get(unit, f"unit {unit}")) for unit in units]

    def _ask_export(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder for figures and tables")
        if not folder:
            return
        there = any(os.scandir(folder))
        if there:
            question = f"Replace files of the same names in {folder}?"
            answer = QMessageBox.question(self, "Export units", question)
            if answer != QMessageBox.StandardButton.Yes:
                return
        self.export_units(folder, overwrite=there)

    # ------------------------------------------------------------------ what the user chooses
    def _on_chosen(self) -> None:
        """Show the chosen unit's words and examples, and select its sites."""
        self._show_chosen()
        self.attempt(lambda: self._select(self.cards.units()))

    def _show_chosen(self) -> None:
        chosen = self.cards.chosen_cards()
        self.examples.show_card(chosen[0] if len(chosen) == 1 else None)
        self.cards.show_chosen()
        self._enable(state_of(self._layer))

    def _on_points(self) -> None:
        """Choose the cards of the points that the user has selected in the viewer."""

        def choose() -> None:
            from napari_rvae.layers.units import units_of_points

            rows = frozenset(self._layer.selected_data)
            if rows != self._selected and len(rows) <= _MOST_SELECTED:
                self._selected, self._by_card = rows, False
                self.cards.blockSignals(True)  # noqa: FBT003 - the points are selected already
                self.cards.choose(units_of_points(self._layer, rows))
                self.cards.blockSignals(False)  # noqa: FBT003
                self._show_chosen()

        if self._layer is not None and self.cards.cards:
            self.attempt(choose)

    def _select(self, units: list[int]) -> None:
        from napari_rvae.layers.units import points_of

        layer = self.sites.layer()
        if layer is None:
            return
        rows = points_of(layer, units)
        if rows.size > _MOST_SELECTED and layer.ndim == 3:
            frame = round(layer.world_to_data(self.viewer.dims.point)[0])
            rows = points_of(layer, units, frame=frame)
        self._selected = frozenset(int(row) for row in rows[:_MOST_SELECTED])
        self._by_card = True
        layer.selected_data = set(self._selected)
        if rows.size:
            self.viewer.layers.selection.active = layer

    def _on_slider(self, value: int) -> None:
        state = state_of(self.sites.layer())
        if state is None or value == unit_work.count_present(state.now.units):
            return
        if self.cut(value) is None:
            self.refresh()

    def _show_number(self, value: int) -> None:
        self.number.setText(count(value, "unit"))

    def _on_elements(self) -> None:
        """Call the atoms by other names."""
        layer, text = self.sites.layer(), self.elements.text().strip()
        if layer is None or text == record_of(layer).get("elements", ""):
            return

        def take() -> None:
            from napari_rvae.analysis.motif import parse_elements

            parse_elements(text)
            layer.metadata.setdefault(METADATA_KEY, {"kind": "sites"})["elements"] = text
            if state_of(layer) is not None:
                self._edit("", text="atoms named")

        self.attempt(take)

    # ------------------------------------------------------------------ state
    def refresh(self) -> None:
        """Show the units of the chosen layer, enable what is possible, and say what is missing."""
        layer = self.sites.layer()
        self._follow(layer)
        state = state_of(layer)
        before = self.cards.cards
        self.cards.show_cards(() if state is None else state.now.cards)
        if self._by_card and self.cards.cards != before and self.cards.units():
            self._select(self.cards.units())  # an edit may have given it other sites
        chosen = self.cards.chosen_cards()
        self.examples.setVisible(state is not None)
        self.examples.make_room(self.cards.cards)
        self.examples.show_card(chosen[0] if len(chosen) == 1 else None)
        self.verdicts.show_lines(record_of(layer).get("halves", ()))
        self._show_slider(state)
        self._enable(state)
        if not self.elements.hasFocus():
            self.elements.setText(str(record_of(layer).get("elements", "")))
        text = self._description(layer, state)
        if text != self._described:
            self._described = text
            if self.workspace.job("units") is None and text:
                self.say(text)
        self._open_cards(layer, state)

    def _show_slider(self, state: UnitState | None) -> None:
        """Show how far the units are merged along their tree."""
        units = None if state is None else state.now.units
        known = units is not None and len(units.tree) > 0
        for part in (self.number, self.slider):
            part.setVisible(bool(known))
        if units is None or not known:
            return
        shown = unit_work.count_present(units)
        self.slider.blockSignals(True)  # noqa: FBT003 - Qt's own
        self.slider.setRange(*unit_work.cut_range(units))
        self.slider.setValue(shown)
        self.slider.blockSignals(False)  # noqa: FBT003
        self._show_number(shown)

    def _enable(self, state: UnitState | None) -> None:
        """Enable what is possible now."""
        layer, busy = self.sites.layer(), self.workspace.job("units") is not None
        free = state is not None and not busy
        fixed = state is not None and state.now.units.evidence is None
        for made in (self.find_button, self.real):
            made.setEnabled(layer is not None and not busy)
        chosen = len(self.cards.units())
        for made, possible, tip in (
            (self.merge, chosen > 1, TWO),
            (self.split, chosen == 1, ONE),
        ):
            made.setEnabled(free and not fixed and possible)
            made.setToolTip(FIXED if fixed else tip)
        self.slider.setEnabled(free and not fixed)
        undo = "" if state is None else state.undo_text
        redo = "" if state is None else state.redo_text
        self.undo.setEnabled(free and bool(undo))
        self.redo.setEnabled(free and bool(redo))
        self.undo.setToolTip(f"Undo: {undo}" if undo else "Nothing to undo")
        self.redo.setToolTip(f"Do again: {redo}" if redo else "Nothing to do again")
        self.colour.setEnabled(unit_work.has_units(layer))
        self.export.setEnabled(free)

    def _description(self, layer: Any, state: UnitState | None) -> str:
        """What is missing, or what comes next; nothing while there are units."""
        if layer is None:
            return NO_SITES
        if state is not None or unit_work.has_units(layer):
            return ""
        if not any(str(name) == "z0" for name in layer.features):
            return unit_work.NO_LATENTS
        return READY

    def _open_cards(self, layer: Any, state: UnitState | None) -> None:
        """Draw the cards of units that came with the layer, once."""
        if state is not None or not unit_work.has_units(layer) or not self.library_loaded:
            return
        if self.workspace.job("units") is not None or self.workspace.job("train") is not None:
            return
        if self._opened is not layer:
            self._opened = layer
            self._begin(lambda: unit_work.start_open(self.workspace, layer, self.image.layer()))

    def on_library(self) -> None:
        """Draw the cards that had to wait for the library."""
        super().on_library()
        self.attempt(self.refresh)

    def _watched(self, layer: Any) -> list[tuple[Any, Any]]:
        pointed = layer.selected_data.events.items_changed
        return [(layer.events.features, self._refresh_soon), (pointed, self._points_soon)]

    def _on_followed(self, _layer: Any) -> None:
        self._selected, self._by_card = frozenset(), False

    def _points_soon(self, *_changes: Any) -> None:
        self._pointed.start()
