"""How good each frame is: measured in a thread, kept with the sites, shown as a table."""

from __future__ import annotations

import json
import math
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

from napari_rvae._napari.jobs import Control, Job, Outcome, Progress
from napari_rvae._napari.layer_kinds import record_of
from napari_rvae._napari.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["QUALITY", "FrameTable", "frame_table", "start_quality"]

#: Where the layer's metadata keep what is measured on the pictures.
QUALITY = "quality"

#: Columns of the table of frames: name in the data, heading, how it is written, what it is.
COLUMNS = (
    ("frame", "frame", "{:.0f}", "Number of the frame, from 0 like the slider"),
    ("atoms", "atoms", "{:,.0f}", "Atoms in the frame"),
    ("noise_sd", "noise", "", "Standard deviation of the white noise, in the image's units"),
    ("blur", "blur\n(px)", "{:.2f}", "Width (standard deviation) of an atom's image"),
    ("quality", "quality\n(0 to 1)", "{:.2f}", "How well atoms can be seen and located"),
)

NUMBERS = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter


def start_quality(workspace: Workspace, image: Any, sites: Any) -> Job | None:
    """Measure noise and blur of the frames; a layer of sites keeps them in its metadata."""
    from napari_rvae.layers import frames_from_layer

    frames, before = frames_from_layer(image), workspace.status("detect")

    def work(control: Control) -> Generator[Progress, None, pd.DataFrame]:
        yield Progress(0, frames.n_frames, "noise and blur")
        from napari_rvae.preprocess import analyse_frames

        tick = control.ticker("noise and blur")
        return analyse_frames(frames, progress=tick)

    def then(table: pd.DataFrame, _outcome: Outcome) -> None:
        columns = [name for name in table if name != "frame"]
        stored = json.loads(table[columns].to_json(orient="split", index=False))
        record_of(sites)[QUALITY] = stored
        workspace.say("detect", before.text, before.level)

    return workspace.start("detect", "Measuring the frames", work, then)


def frame_table(sites: Any, n_frames: int) -> pd.DataFrame:
    """Table of the frames that a layer of sites lies on.

    Parameters
    ----------
    sites
        Points layer of atoms.
    n_frames
        Number of frames.

    Returns
    -------
    DataFrame
        A row a frame: ``frame``, ``atoms``, and the columns of
        :func:`~napari_rvae.analyse_frames` once they were measured.
    """
    import pandas as pd

    features = sites.features
    atoms = pd.Series(dtype=int)
    if {"kind", "frame"} <= set(features):  # somebody may have put other features in their place
        atoms = features.loc[features["kind"] == "atom", "frame"].value_counts()
    counts = atoms.reindex(range(n_frames), fill_value=0).to_numpy()
    table = pd.DataFrame({"frame": range(n_frames), "atoms": counts})
    stored = record_of(sites).get(QUALITY)
    if stored is None or len(stored["data"]) != n_frames:
        return table
    return table.join(pd.DataFrame(stored["data"], columns=stored["columns"], dtype=float))


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
        """Show a table of :func:`frame_table`, None for nothing."""
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
