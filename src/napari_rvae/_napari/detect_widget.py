"""The Detect dock widget: image -> atoms as points, edits undone, scale, quality of the frames."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import (
    QApplication,
    QCheckBox,
    QComboBox,
    QHBoxLayout,
    QLabel,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_rvae._napari import detection, editing, preview
from napari_rvae._napari.forms import LABEL_WIDTH, ConfigForm, folded, leave_wheel, read_forms
from napari_rvae._napari.frame_quality import FrameTable, frame_table, start_quality
from napari_rvae._napari.grid_page import GridPage
from napari_rvae._napari.jobs import one_line
from napari_rvae._napari.layer_kinds import is_frames, is_region
from napari_rvae._napari.panel import StepWidget, button
from napari_rvae._napari.scaling import ScaleForm, start_scaling
from napari_rvae._napari.settings import read_preferences
from napari_rvae._napari.some_frames import measure_ahead
from napari_rvae._napari.walls_page import NO_SCAN, WallsPage
from napari_rvae._napari.words import outline
from napari_rvae.config import DetectConfig
from napari_rvae.errors import InputError

__all__ = ["DetectWidget"]

NO_IMAGE = "Open an image or a movie first (File > Open, or File > Open Sample)."

NO_ATOMS = "Detect atoms first: the table is kept with their layer."

#: When to change an option, where its own help does not say so.
ADVICE = {
    "contrast": (
        "Choose dark where atoms are darker than what lies between them, and the hollows are found "
        "in their place."
    ),
    "neighbour_distance": (
        "Give it where the status line reports a distance that cannot be right, such as that of "
        "every second atom."
    ),
    "sigma": "Give it where single atoms are taken for two, or two for one.",
    "min_snr": "Raise it if noise is taken for atoms, lower it if faint atoms are missed.",
    "min_lattice_snr": (
        "Lower it if faint atoms of the crystal are missed; single atoms beside it are not touched."
    ),
    "min_lattice_support": "Raise it if atoms appear in places that break the lattice.",
    "destripe": "Switch it off if the offsets of rows that are taken off belong to the specimen.",
    "classify": "It takes a lattice; the columns are under Colour by on Latents.",
    "average_frames": "Raise it if single frames show too little, and atoms stay where they are.",
    "min_quality": "Raise it to the quality (Frame quality, below) of frames that are no use.",
    "device": "A graphics card pays off for large frames with many thousands of atoms.",
}

#: What there is to look for.
ATOMS, WALLS, GRID = "Atoms", "Domain walls (PFM)", "Regular grid"

KIND_TIP = (
    "Atoms of an atomically resolved picture, domain walls of a piezoresponse force microscope, or "
    "a regular grid of sites where there is nothing to find"
)

#: What Detect looks at: all frames, the one that is shown, or a range of them.
ALL, SHOWN, RANGE = "all frames", "the shown frame", "a range"

#: Looks for atoms; it is loaded in a thread, after which the scale can be measured ahead.
ENGINE = "napari_rvae.detect.atoms"

#: Least width of a box for the number of a frame, in pixels.
_BOX = 64

#: A preview follows the options so many milliseconds after the last change.
_FOLLOW = 400


class DetectWidget(StepWidget):
    """Find the atoms of an image or a movie, and mend them by hand.

    Parameters
    ----------
    napari_viewer
        The viewer; napari fills it in by the parameter's name.
    """

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__(napari_viewer, "detect")
        self._seen: Any = None
        self._measured: Callable[[], Any] = lambda: None
        self._hinted = ""
        self._sites: Any = None
        self._previewed: tuple[int, ...] = ()
        self._kind_chosen = False
        self.kind = QComboBox()
        self.kind.addItems([ATOMS, WALLS, GRID])
        self.kind.currentIndexChanged.connect(self._show_kind)
        self.kind.activated.connect(self._on_kind_chosen)
        leave_wheel(self.kind)
        self.add_input("Look for", self.kind, KIND_TIP)
        self.image = self.add_layer_choice("Image", is_frames, tip="Image or movie to look at")
        self.region = self.add_layer_choice(
            "Region",
            is_region,
            empty="whole frame",
            tip="Shapes or Labels layer: look for atoms inside the shapes, or where labels are",
        )
        self._add_atoms()
        self.walls, self.grid = WallsPage(self), GridPage(self)
        self.body.addWidget(self.walls)
        self.body.addWidget(self.grid)
        self.add_job_panel()
        self._add_edits()
        self.scale = ScaleForm(self._set_scale)
        self.known = folded("Scale from a known distance", self.scale)
        self.body.addWidget(self.known)
        self._add_quality()
        self.body.addStretch(1)
        self._connect()
        self.walls.pick()
        self.listen(self.viewer.layers.events.inserted, self._suggest_kind)
        self._suggest_kind()
        self._show_kind()
        self._show_first()

    # ------------------------------------------------------------------ building
    def _add_atoms(self) -> None:
        """Add the page that finds atoms: options, what is looked at, on trial and for good."""
        self.plain = ConfigForm(DetectConfig, advice=ADVICE)
        self.advanced = ConfigForm(DetectConfig, advanced=True, advice=ADVICE)
        self.keep_options(self.plain, self.advanced)
        self.atoms = QWidget()
        page = QVBoxLayout(self.atoms)
        page.setContentsMargins(0, 0, 0, 0)
        page.addWidget(self.plain)
        page.addWidget(folded("Advanced", self.advanced))
        self._add_trials(page)
        self._add_range(page)
        self.body.addWidget(self.atoms)

    def _add_trials(self, page: QVBoxLayout) -> None:
        """Add the buttons that find atoms on trial."""
        self.preview = button(
            "Preview frame",
            "Find the atoms of the frame that is shown now, or of the middle of the view if it is "
            "large. The circles follow the options above",
            self._preview,
        )
        self.trial = button(
            "Try on 3 frames",
            "Find the atoms of the first, the middle and the last frame: do the options suit the "
            "whole movie?",
            self._try,
        )
        self.add_row(self.preview, self.trial, to=page)

    def _add_range(self, page: QVBoxLayout) -> None:
        """Add the choice of frames, and the button that finds their atoms."""
        self.which = QComboBox()
        self.which.addItems([ALL, SHOWN, RANGE])
        self.first, self.last = QSpinBox(), QSpinBox()
        for widget in (self.which, self.first, self.last):
            leave_wheel(widget)
            widget.setMinimumWidth(_BOX)
            widget.setToolTip(
                "Frames in which Detect atoms looks, numbered as on the slider. Atoms of other "
                "frames stay as they are"
            )
        self.look_in, self.start, self.to = QLabel("Look in"), QLabel("From frame"), QLabel("to")
        for parts in ((self.look_in, self.which), (self.start, self.first, self.to, self.last)):
            row = QHBoxLayout()
            row.setContentsMargins(0, 0, 0, 0)
            for part in parts:
                row.addWidget(part, 0 if isinstance(part, QLabel) else 1)
            page.addLayout(row)
        self.look_in.setMinimumWidth(LABEL_WIDTH)
        self.detect = button(
            "Detect atoms", "Find the atoms of these frames", self._detect, primary=True
        )
        self.add_row(self.detect, to=page)
        self.which.currentIndexChanged.connect(self._show_range)

    def _add_edits(self) -> None:
        """Add what concerns points that are set, moved and deleted by hand."""
        self.keep = QCheckBox("Keep edits")
        self.keep.setChecked(True)
        self.keep.setToolTip(
            "When frames are looked at again, atoms that you have set or moved stay, and those "
            "that you have deleted stay away. Off: these frames are found anew; Undo brings your "
            "edits back"
        )
        self.undo = button("Undo", "Nothing to undo", self._take_back)
        self.redo = button("Redo", "Nothing to redo", self._do_again)
        self.add_row(self.keep, self.undo, self.redo)

    def _add_quality(self) -> None:
        """Add the table of frames, folded."""
        self.table = FrameTable()
        self.table.chosen.connect(self._go_to)
        self.measure = button("Measure", "Measure noise and blur of the frames", self._measure)
        self.copy = button("Copy", "Copy the table, for a spreadsheet", self._copy)
        content = QWidget()
        column = QVBoxLayout(content)
        column.setContentsMargins(0, 0, 0, 0)
        self.no_atoms = QLabel(NO_ATOMS)
        self.no_atoms.setWordWrap(True)
        column.addWidget(self.no_atoms)
        column.addWidget(self.table)
        row = QHBoxLayout()
        row.addStretch(1)
        row.addWidget(self.measure)
        row.addWidget(self.copy)
        column.addLayout(row)
        self.section = folded("Frame quality", content, on_open=self._open_quality)
        self.body.addWidget(self.section)

    def _connect(self) -> None:
        # many events come in a row, and are looked at once for all
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(100)
        self._soon.timeout.connect(self._look)
        layers = self.viewer.layers
        self._loaded_soon = QTimer(self)
        self._loaded_soon.setSingleShot(True)
        self._loaded_soon.setInterval(200)
        self._loaded_soon.timeout.connect(self._look)
        for event in (
            layers.events.inserted,
            layers.events.removed,
            layers.selection.events.active,
        ):
            self.listen(event, self._look_soon)
        self.listen(self.viewer.dims.events.current_step, self._mark)
        self._undo.append(lambda: self._follow(None))
        self._again = QTimer(self)
        self._again.setSingleShot(True)
        self._again.setInterval(_FOLLOW)
        self._again.timeout.connect(self._preview_again)
        for form in (self.plain, self.advanced):
            form.changed.connect(self._again.start)

    def _on_kind_chosen(self, _number: int) -> None:
        self._kind_chosen = True

    def _suggest_kind(self, _event: Any = None) -> None:
        """Look for walls in scans of a force microscope, unless the user has chosen."""
        if not self._kind_chosen and self.walls.is_scan():
            self.kind.setCurrentText(WALLS)

    def _show_kind(self, _number: int = 0) -> None:
        """Show what belongs to the sites that are looked for."""
        atoms = self.kind.currentText() == ATOMS
        for part in (self.atoms, self.known, self.section):
            part.setVisible(atoms)
        self.walls.setVisible(self.kind.currentText() == WALLS)
        self.grid.setVisible(self.kind.currentText() == GRID)
        for part in (self.image, self.inputs.labelForField(self.image)):
            part.setVisible(self.kind.currentText() != WALLS)
        if self.status.plain_text == self._hinted:
            self._hint()

    def _show_first(self) -> None:
        """Show what was said last, or what is missing."""
        last = self.workspace.status("detect")
        if last.text and self.image.layer() is not None:
            self._seen = self.image.layer()
            self.status.show_text(last.text, last.level)
        else:
            self._hint()
        self.refresh()

    def on_library(self) -> None:
        """Say of the image what could not be said before."""
        super().on_library()
        if self.status.plain_text == self._hinted:
            self._hint()
        self.refresh()

    def showEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Look at the image once the widget can be seen."""
        super().showEvent(event)
        self._look_soon()

    def _measure_ahead(self, image: Any, frames: Any) -> None:
        """Measure the scale of an image that is looked at, before a button asks for it."""
        busy = self.workspace.job("detect") is not None
        atoms = self.kind.currentText() == ATOMS
        if frames is None or busy or not atoms or not self.isVisible():
            return
        if image is self._measured():
            return
        if not self._loader.has(ENGINE):
            self._loaded_soon.start()
            return
        self._measured = weakref.ref(image)
        try:
            config = read_forms(DetectConfig, self.plain, self.advanced)
        except InputError:  # the button says so
            return
        threads = read_preferences().n_threads
        work = image, frames, config, threads
        threading.Thread(target=measure_ahead, args=work, name="napari-rvae scale").start()

    # ------------------------------------------------------------------ state
    def refresh(self) -> None:
        """Enable what is possible now, and say what is missing."""
        image, busy = self.image.layer(), self.workspace.job("detect") is not None
        possible = image is not None and not busy and not self._state(image)[1]
        for made in (self.preview, self.trial, self.detect):
            made.setEnabled(possible)
        self.walls.refresh(busy=busy)
        self.grid.refresh(possible=possible)
        self._show_range()
        if image is not self._seen and not busy:
            self._hint()
        self._seen = image
        self._look_soon()

    def _state(self, image: Any) -> tuple[Any, str]:
        """Frames of an image, and what is wrong with it; neither while that is not known."""
        if image is None or not self.library_loaded:
            return None, ""
        from napari_rvae.layers import frames_from_layer

        try:
            return frames_from_layer(image), ""
        except InputError as error:
            return None, one_line(error)

    def _hint(self) -> None:
        """Say what is missing, or that nothing is; this widget says it, not the workspace."""
        image = self.image.layer()
        frames, problem = self._state(image)
        if image is None:
            text, level = NO_SCAN if self.kind.currentText() == WALLS else NO_IMAGE, "info"
        elif problem:
            text, level = problem, "warning"
        else:
            text, level = "" if frames is None else f"Ready: {outline(frames)}.", "info"
        self._hinted = text
        self.status.show_text(text, level)

    def _show_range(self, _number: int = 0) -> None:
        """Show what there is to choose from: nothing for one image."""
        image = self.image.layer()
        n_frames = 1 if image is None or image.ndim < 3 else int(image.data.shape[0])
        many, ranged = n_frames > 1, self.which.currentText() == RANGE
        choice: tuple[QWidget, ...] = (self.look_in, self.which, self.trial)
        ends: tuple[QWidget, ...] = (self.start, self.first, self.to, self.last)
        for part in choice:
            part.setVisible(many)
        for part in ends:
            part.setVisible(many and ranged)
        untouched = self.last.value() == self.last.maximum()
        for box in (self.first, self.last):
            box.setMaximum(n_frames - 1)
        if untouched:
            self.last.setValue(n_frames - 1)

    # ------------------------------------------------------------------ what the buttons do
    def _target(self, numbers: tuple[int, ...] | None) -> detection.Target:
        config = read_forms(DetectConfig, self.plain, self.advanced)
        return detection.capture(
            self.image.layer(),
            self.region.layer(),
            config,
            numbers=numbers,
            keep_edited=self.keep.isChecked(),
        )

    def _numbers(self) -> tuple[int, ...] | None:
        """Frames that are asked for, None for all."""
        image, asked = self.image.layer(), self.which.currentText()
        if image.ndim < 3 or asked == ALL:
            return None
        if asked == SHOWN:
            return (detection.current_frame(self.viewer, image),)
        first, last = self.first.value(), self.last.value()
        if first > last:
            raise InputError(f"The range from {first} to {last} is empty: turn it round.")
        return tuple(range(first, last + 1))

    def _detect(self) -> None:
        self.attempt(
            lambda: detection.start_detection(self.workspace, self._target(self._numbers()))
        )

    def _preview(self) -> None:
        self._show_preview((detection.current_frame(self.viewer, self.image.layer()),))

    def _try(self) -> None:
        self._show_preview(preview.trial_frames(int(self.image.layer().data.shape[0])))

    def _show_preview(self, numbers: tuple[int, ...]) -> None:
        self._again.stop()  # this one has the options of now
        self._previewed = numbers
        view = detection.in_view(self.image.layer()) if len(numbers) == 1 else None
        self.attempt(lambda: preview.start_preview(self.workspace, self._target(numbers), view))

    def _preview_again(self) -> None:
        """Let a preview that is shown follow the options."""
        image = self.image.layer()
        if image is None or not preview.has_preview(self.viewer):
            return
        if self.workspace.job("detect") is not None:
            self._again.start()
        elif self._previewed and max(self._previewed) < (
            image.data.shape[0] if image.ndim > 2 else 1
        ):
            self._show_preview(self._previewed)

    def _take_back(self) -> None:
        self._step(editing.undo, "Undone")

    def _do_again(self) -> None:
        self._step(editing.redo, "Done again")

    def _step(self, step: Any, word: str) -> None:
        text = self.attempt(lambda: step(self._edited_layer()))
        if text:
            self.say(f"{word}: {text}.")
        self._look()

    def sites_layer(self) -> Any:
        """Newest layer of atoms of the image, None where there is none."""
        return detection.sites_of(self.viewer, self.image.layer())

    def _edited_layer(self) -> Any:
        """Layer whose edits the buttons are for: the selected one, or that of the image."""
        active = self.viewer.layers.selection.active
        return active if editing.history_of(active) is not None else self._sites

    def _set_scale(self) -> None:
        image = self.image.layer()
        if image is None:
            self.say(NO_IMAGE, "error")
            return
        self.attempt(
            lambda: start_scaling(
                self.workspace,
                image,
                detection.sites_of(self.viewer, image),
                *self.scale.distance,
            )
        )

    def _measure(self) -> None:
        image, sites = self.image.layer(), self._sites
        if image is not None and sites is not None:
            self.attempt(lambda: start_quality(self.workspace, image, sites))

    def _copy(self) -> None:
        clipboard = QApplication.clipboard()
        clipboard.setText(self.table.shown.to_csv(sep="\t", index=False))

    # ------------------------------------------------------------------ the frames
    def _open_quality(self) -> None:
        self._look()
        if not self.table.measured:
            self._measure()

    def _look_soon(self, _event: Any = None) -> None:
        self._soon.start()

    def _look(self) -> None:
        """Show what there is to undo, and what is known of the frames."""
        image, before = self.image.layer(), self._sites
        frames, _ = self._state(image)
        self._follow(None if frames is None else detection.sites_of(self.viewer, image))
        self._show_edits()
        self._fill(frames, new=self._sites is not None and self._sites is not before)
        self._measure_ahead(image, frames)

    def _show_edits(self) -> None:
        history = editing.history_of(self._edited_layer())
        for made, text, what, keys in (
            (self.undo, "" if history is None else history.undo_text, "Undo", "Ctrl+Z"),
            (self.redo, "" if history is None else history.redo_text, "Do again", "Ctrl+Shift+Z"),
        ):
            made.setEnabled(bool(text) and self.workspace.job("detect") is None)
            made.setToolTip(
                f"{what}: {text}\n{keys} with the layer of atoms selected"
                if text
                else "Points that you add (key 2), move (key 3, drag) or delete (Delete)"
            )

    def _fill(self, frames: Any, *, new: bool) -> None:
        """Show what is known of the frames, where anybody sees it."""
        if not self.section.isExpanded():
            return
        sites = self._sites
        known = sites is not None and frames is not None
        self.table.show_frames(frame_table(sites, frames.n_frames) if known else None)
        self.no_atoms.setVisible(sites is None)
        self.table.setVisible(sites is not None)
        busy = self.workspace.job("detect") is not None
        self.measure.setEnabled(sites is not None and not busy)
        self.copy.setEnabled(sites is not None)
        self._mark()
        if new and not busy and not self.table.measured and self.isVisible():
            self._measure()

    def _follow(self, sites: Any) -> None:
        """Look anew when the atoms are edited."""
        if sites is self._sites:
            return
        if self._sites is not None:
            self._sites.events.features.disconnect(self._look_soon)
        if sites is not None:
            sites.events.features.connect(self._look_soon)
        self._sites = sites

    def _mark(self, _event: Any = None) -> None:
        """Mark the frame that the viewer shows."""
        if self.section.isExpanded() and self.image.layer() is not None:
            self.table.mark(detection.current_frame(self.viewer, self.image.layer()))

    def _go_to(self, frame: int) -> None:
        if self.image.layer() is not None:
            detection.go_to_frame(self.viewer, self.image.layer(), frame)
