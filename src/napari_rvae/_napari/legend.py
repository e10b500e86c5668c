"""The legend of categories: a colour, a name and how many there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtGui import QColor, QIcon, QPainter, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QLabel,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

if TYPE_CHECKING:
    from napari_rvae.layers import LegendEntry

__all__ = ["Legend", "chip", "number_item"]

#: Rows that are shown without scrolling.
_ROWS = 20

#: A longer legend says nothing; colours repeat after some twenty.
MOST_ENTRIES = 200

_CHIP = 12
_MARGIN = 4


class Legend(QWidget):
    """Colour, name and counts of each category, the missing ones last; hidden while empty.

    The box of a category shows or hides its sites.
    """

    #: The user has switched categories off or on: the values that are off.
    switched = Signal(list)

    def __init__(self) -> None:
        super().__init__()
        self.table = QTableWidget(0, 3)
        self.table.setIconSize(QSize(_CHIP, _CHIP))
        self.table.setShowGrid(False)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.table.itemChanged.connect(self._tell)
        self.table.setAccessibleName("Legend")
        self.table.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        down, across = self.table.verticalHeader(), self.table.horizontalHeader()
        down.hide()
        down.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        down.setDefaultSectionSize(_CHIP + 2 * _MARGIN)
        across.setSectionsClickable(False)
        across.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        across.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.note = QLabel()
        self.note.setWordWrap(True)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.table)
        column.addWidget(self.note)
        self._entries: tuple[LegendEntry, ...] = ()
        self.show_entries(())

    def show_entries(
        self,
        entries: Sequence[LegendEntry],
        here: Sequence[LegendEntry] | None = None,
        *,
        title: str = "",
        hidden: Sequence[Any] = (),
    ) -> None:
        """Show a legend.

        Parameters
        ----------
        entries
            Of all frames.
        here
            Of the frame that is shown, for its counts; None where there is only one frame.
        title
            What the categories are.
        hidden
            Values of the categories that are switched off.
        """
        few = len(entries) <= MOST_ENTRIES
        if tuple(entries) != self._entries:
            self._entries = tuple(entries)
            self._fill(self._entries if few else ())
        self._check(hidden)
        self.note.setText(f"{len(entries):,} values: too many for a legend; colours repeat.")
        self.note.setVisible(not few)
        self.table.setVisible(few and bool(entries))
        self.setVisible(bool(entries))
        self.table.setHorizontalHeaderLabels([title, "frame", "sites" if here is None else "movie"])
        self.table.setColumnHidden(1, here is None)
        if here is not None and few:
            self._count(here)

    def _fill(self, entries: Sequence[LegendEntry]) -> None:
        """Make the rows anew."""
        self.table.blockSignals(True)  # noqa: FBT003 - nobody has switched anything
        self.table.setRowCount(len(entries))
        for row, entry in enumerate(entries):
            name = QTableWidgetItem(chip(entry.colour), entry.name)
            name.setToolTip(f"{entry.name}\nThe box shows or hides these sites")
            name.setFlags(name.flags() | Qt.ItemFlag.ItemIsUserCheckable)
            name.setCheckState(Qt.CheckState.Checked)
            self.table.setItem(row, 0, name)
            self.table.setItem(row, 2, number_item(entry.count))
        self.table.blockSignals(False)  # noqa: FBT003
        rows = min(len(entries), _ROWS) * self.table.verticalHeader().defaultSectionSize()
        header = self.table.horizontalHeader().sizeHint().height()
        self.table.setFixedHeight(rows + header + 2 * self.table.frameWidth())

    def _check(self, hidden: Sequence[Any]) -> None:
        """Show which categories are switched off."""
        self.table.blockSignals(True)  # noqa: FBT003 - Qt's own
        for row, entry in enumerate(self._entries[: self.table.rowCount()]):
            off = entry.value in hidden
            item = self.table.item(row, 0)
            if item is not None:
                item.setCheckState(Qt.CheckState.Unchecked if off else Qt.CheckState.Checked)
        self.table.blockSignals(False)  # noqa: FBT003

    def _tell(self, item: QTableWidgetItem) -> None:
        if item.column() == 0:
            self.switched.emit(self.hidden())

    def hidden(self) -> list[Any]:
        """Values of the categories that are switched off."""
        off = []
        for row, entry in enumerate(self._entries[: self.table.rowCount()]):
            item = self.table.item(row, 0)
            if item is not None and item.checkState() == Qt.CheckState.Unchecked:
                off.append(entry.value)
        return off

    def switch(self, value: Any, *, on: bool) -> None:
        """Show or hide a category, as its box does."""
        for row, entry in enumerate(self._entries[: self.table.rowCount()]):
            item = self.table.item(row, 0)
            if entry.value == value and item is not None:
                item.setCheckState(Qt.CheckState.Checked if on else Qt.CheckState.Unchecked)

    def _count(self, here: Sequence[LegendEntry]) -> None:
        """Show the counts of the frame."""
        counts = {entry.value: entry.count for entry in here}
        for row, entry in enumerate(self._entries):
            self.table.setItem(row, 1, number_item(counts.get(entry.value, 0)))

    def rows(self) -> list[tuple[str, str, str]]:
        """Name, count in this frame and count in all, as shown."""
        return [
            (self._text(row, 0), self._text(row, 1), self._text(row, 2))
            for row in range(self.table.rowCount())
        ]

    def _text(self, row: int, column: int) -> str:
        item = self.table.item(row, column)
        return "" if item is None else item.text()


def number_item(count: int) -> QTableWidgetItem:
    item = QTableWidgetItem(f"{count:,}")
    item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
    return item


def chip(colour: str) -> QIcon:
    """Disc of a colour, like the sites themselves."""
    pixmap = QPixmap(2 * _CHIP, 2 * _CHIP)  # sharp where a pixel of Qt's is two of the screen's
    pixmap.fill(Qt.GlobalColor.transparent)
    with QPainter(pixmap) as painter:
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(colour))
        painter.drawEllipse(1, 1, 2 * _CHIP - 2, 2 * _CHIP - 2)
    return QIcon(pixmap)
