"""The Detect dock widget: image -> atoms as points, and how good each frame is."""

from __future__ import annotations

import math
from typing import Any

from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QApplication,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_rvae._napari import detection
from napari_rvae._napari.forms import ConfigForm, folded, read_forms
from napari_rvae._napari.jobs import one_line
from napari_rvae._napari.layer_kinds import is_frames, is_region
from napari_rvae._napari.panel import StepWidget, button
from napari_rvae.config import DetectConfig
from napari_rvae.errors import InputError

__all__ = ["DetectWidget"]

NO_IMAGE = "Open an image or a movie first (File > Open, or File > Open Sample)."

NO_ATOMS = "Detect atoms first: the table is kept with their layer."

#: Columns of the table of frames: name in the data, heading, how it is written, what it is.
COLUMNS = (
    ("frame", "frame", "{:.0f}", "Number of the frame, from 0 like the slider"),
    ("atoms", "atoms", "{:,.0f}", "Atoms in the frame"),
    ("noise_sd", "noise", "", "Standard deviation of the white noise, in the image's units"),
    ("blur", "blur\n(px)", "{:.2f}", "Width (standard deviation) of an atom's image"),
    ("quality", "quality\n(0 to 1)", "{:.2f}", "How well atoms can be seen and located"),
)

NUMBERS = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter


class DetectWidget(StepWidget):
    """Find the atoms of an image or a movie.

    Parameters
    ----------
    napari_viewer
        The viewer; napari fills it in by the parameter's name.
    """

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__(napari_viewer, "detect")
        self._seen: Any = None
        self._hinted = ""
        self._sites: Any = None
        self.image = self.add_layer_choice("Image", is_frames, tip="Image or movie to look at")
        self.region = self.add_layer_choice(
            "Region",
            is_region,
            empty="whole frame",
            tip="Shapes or Labels layer: look for atoms inside the shapes, or where labels are",
        )
        self.plain = ConfigForm(DetectConfig)
        self.advanced = ConfigForm(DetectConfig, advanced=True)
        self.body.addWidget(self.plain)
        self.body.addWidget(folded("Advanced", self.advanced))
        self.preview = button(
            "Preview frame", "Find the atoms of the frame that is shown now", self._preview
        )
        self.detect = button(
            "Detect atoms", "Find the atoms of all frames", self._detect, primary=True
        )
        self.add_row(self.preview, self.detect)
        self.add_job_panel()
        self._add_quality()
        self.body.addStretch(1)
        self._show_first()

    # ------------------------------------------------------------------ building
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
        # many events come in a row, and the table is filled once for all
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(100)
        self._soon.timeout.connect(self._fill)
        for event in (self.viewer.layers.events.inserted, self.viewer.layers.events.removed):
            self.listen(event, self._fill_soon)
        self.listen(self.viewer.dims.events.current_step, self._mark)
        self._undo.append(lambda: self._follow(None))

    def _show_first(self) -> None:
        """Show what was said last, or what is missing."""
        last = self.workspace.status("detect")
        if last.text and self.image.layer() is not None:
            self._seen = self.image.layer()
            self.status.show_text(last.text, last.level)
        else:
            self._hint()
        self.refresh()

    def on_library(self, module: Any) -> None:
        """Say of the image what could not be said before."""
        super().on_library(module)
        if self.status.plain_text == self._hinted:
            self._hint()
        self.refresh()

    # ------------------------------------------------------------------ state
    def refresh(self) -> None:
        """Enable what is possible now, and say what is missing."""
        image, busy = self.image.layer(), self.workspace.job("detect") is not None
        possible = image is not None and not busy and not self._state(image)[1]
        self.preview.setEnabled(possible)
        self.detect.setEnabled(possible)
        if image is not self._seen and not busy:
            self._hint()
        self._seen = image
        self._fill_soon()

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
            text, level = NO_IMAGE, "info"
        elif problem:
            text, level = problem, "warning"
        else:
            text, level = "" if frames is None else f"Ready: {detection.outline(frames)}.", "info"
        self._hinted = text
        self.status.show_text(text, level)

    # ------------------------------------------------------------------ what the buttons do
    def _target(self) -> detection.Target:
        config = read_forms(DetectConfig, self.plain, self.advanced)
        return detection.capture(self.image.layer(), self.region.layer(), config)

    def _detect(self) -> None:
        self.attempt(lambda: detection.start_detection(self.workspace, self._target()))

    def _preview(self) -> None:
        frame = detection.current_frame(self.viewer, self.image.layer())
        self.attempt(lambda: detection.start_preview(self.workspace, self._target(), frame))

    def _measure(self) -> None:
        image, sites = self.image.layer(), self._sites
        if image is not None and sites is not None:
            self.attempt(lambda: detection.start_quality(self.workspace, image, sites))

    def _copy(self) -> None:
        clipboard = QApplication.clipboard()
        clipboard.setText(self.table.shown.to_csv(sep="\t", index=False))

    # ------------------------------------------------------------------ the frames
    def _open_quality(self) -> None:
        self._fill()
        if not self.table.measured:
            self._measure()

    def _fill_soon(self, _event: Any = None) -> None:
        self._soon.start()

    def _fill(self) -> None:
        """Show what is known of the frames, where anybody sees it."""
        if not self.section.isExpanded():
            return
        image, before = self.image.layer(), self._sites
        frames, _ = self._state(image)
        sites = None if frames is None else detection.sites_of(self.viewer, image)
        self._follow(sites)
        if sites is None or frames is None:
            self.table.show_frames(None)
        else:
            self.table.show_frames(detection.frame_table(sites, frames.n_frames))
        self.no_atoms.setVisible(sites is None)
        self.table.setVisible(sites is not None)
        busy = self.workspace.job("detect") is not None
        self.measure.setEnabled(sites is not None and not busy)
        self.copy.setEnabled(sites is not None)
        self._mark()
        new = sites is not None and sites is not before
        if new and not busy and not self.table.measured and self.isVisible():
            self._measure()

    def _follow(self, sites: Any) -> None:
        """Count the atoms anew when they are edited."""
        if sites is self._sites:
            return
        if self._sites is not None:
            self._sites.events.features.disconnect(self._fill_soon)
        if sites is not None:
            sites.events.features.connect(self._fill_soon)
        self._sites = sites

    def _mark(self, _event: Any = None) -> None:
        """Mark the frame that the viewer shows."""
        if self.section.isExpanded() and self.image.layer() is not None:
            self.table.mark(detection.current_frame(self.viewer, self.image.layer()))

    def _go_to(self, frame: int) -> None:
        if self.image.layer() is not None:
            detection.go_to_frame(self.viewer, self.image.layer(), frame)


class FrameTable(QTableWidget):
    """Table with a row for each frame; choosing one is choosing the frame."""

    chosen = Signal(int)

    def __init__(self) -> None:
        super().__init__(0, len(COLUMNS))
        self.shown: Any = None
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.verticalHeader().hide()
        self.setShowGrid(False)
        self.setFixedHeight(180)
        header = self.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        header.setHighlightSections(False)
        self.verticalHeader().setDefaultSectionSize(22)
        for column, (_, heading, _, tip) in enumerate(COLUMNS):
            item = QTableWidgetItem(heading)
            item.setToolTip(tip)
            item.setTextAlignment(NUMBERS)
            self.setHorizontalHeaderItem(column, item)
        self.currentCellChanged.connect(self._tell)

    @property
    def measured(self) -> bool:
        """Whether more is shown than the number of atoms."""
        return self.shown is not None and "noise_sd" in self.shown

    def show_frames(self, table: Any) -> None:
        """Show a table of :func:`~napari_rvae._napari.detection.frame_table`, None for nothing."""
        self.shown = table
        self.blockSignals(True)  # noqa: FBT003 - Qt's own
        self.setRowCount(0 if table is None else len(table))
        for column, (name, _, form, _) in enumerate(COLUMNS):
            values = (
                [] if table is None else table[name] if name in table else [math.nan] * len(table)
            )
            for row, value in enumerate(values):
                item = QTableWidgetItem(_written(value, form))
                item.setTextAlignment(NUMBERS)
                self.setItem(row, column, item)
        self.blockSignals(False)  # noqa: FBT003

    def mark(self, frame: int) -> None:
        """Mark the row of a frame."""
        if frame != self.currentRow() and frame < self.rowCount():
            self.blockSignals(True)  # noqa: FBT003
            self.setCurrentCell(frame, 0)
            self.blockSignals(False)  # noqa: FBT003

    def _tell(self, row: int, _column: int, before: int, _before_column: int) -> None:
        if row >= 0 and row != before:
            self.chosen.emit(row)


def _written(value: float, form: str) -> str:
    """Write a number in a form; in three digits, at least those before the point, without one."""
    if not math.isfinite(value):
        return "-"
    return (form or ("{:#.3g}" if abs(value) < 100 else "{:,.0f}")).format(value)
