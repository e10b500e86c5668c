"""Names for what is selected: a field to type one, and the list of those that were given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QApplication,
    QHBoxLayout,
    QHeaderView,
    QLineEdit,
    QSizePolicy,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_rvae._napari.legend import chip, number_item
from napari_rvae._napari.panel import button

if TYPE_CHECKING:
    from napari_rvae.layers import LegendEntry

__all__ = ["ClassList"]


class ClassList(QWidget):
    """Names the selection, and selects what has a name.

    Parameters
    ----------
    name
        What the button does, given the name that was typed.
    """

    recalled = Signal(str, str)  # the class, and what becomes of the selection

    def __init__(self, name: Callable[[str], Any]) -> None:
        super().__init__()
        self.name = QLineEdit()
        self.name.setPlaceholderText("name of the selection")
        self.name.setToolTip(
            "A class for the selected sites: it becomes the column class, to colour by and to "
            "export. Empty takes them out of their class."
        )
        self.name.setMinimumWidth(64)
        self.give = button("Name", "Give the selected sites this class", self._give)
        self.name.returnPressed.connect(self._give)
        self._name = name
        row = QHBoxLayout()
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.name, 1)
        row.addWidget(self.give)
        self.table = QTableWidget(0, 2)
        self.table.setShowGrid(False)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.table.setToolTip("Click to select these sites; Shift adds them, Ctrl takes them out")
        self.table.verticalHeader().hide()
        self.table.horizontalHeader().hide()
        self.table.verticalHeader().setDefaultSectionSize(20)
        across = self.table.horizontalHeader()
        across.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        across.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.table.setMinimumHeight(44)
        self.table.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Ignored)
        self.table.itemClicked.connect(self._on_item)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(row)
        column.addWidget(self.table, 1)
        self._entries: tuple[LegendEntry, ...] = ()

    def show_classes(self, entries: Sequence[LegendEntry]) -> None:
        """List classes with their colours and counts."""
        if tuple(entries) == self._entries:
            return
        self._entries = tuple(entries)
        self.table.setRowCount(len(entries))
        for row, entry in enumerate(entries):
            self.table.setItem(row, 0, QTableWidgetItem(chip(entry.colour), entry.name))
            self.table.setItem(row, 1, number_item(entry.count))

    def rows(self) -> list[tuple[str, int]]:
        """Name and count of each class, as listed."""
        return [(entry.name, entry.count) for entry in self._entries]

    def _give(self) -> None:
        self._name(self.name.text().strip())

    def _on_item(self, item: QTableWidgetItem) -> None:
        keys = QApplication.keyboardModifiers()
        add, take = Qt.KeyboardModifier.ShiftModifier, Qt.KeyboardModifier.ControlModifier
        how = "add" if keys & add else "remove" if keys & take else "replace"
        self.recalled.emit(self._entries[item.row()].name, how)
