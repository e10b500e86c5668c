"""The list of events: sortable, a row each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import (
    QAbstractTableModel,
    QItemSelectionModel,
    QModelIndex,
    QSortFilterProxyModel,
    Qt,
    Signal,
)
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableView

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["EventList"]

#: Title, column, what it means, and the width in pixels (0: what is left).
_COLUMNS = (
    ("frame", "frame", "The first frame after the change", 50),
    ("from", "from_name", "State before", 0),
    ("to", "to_name", "State after", 0),
    ("p", "probability", "Probability that the change took place", 36),
    ("n", "n_sites", "Number of sites that changed with it", 30),
)

#: Rows that are in sight, and the height of one in pixels.
_ROWS, _HEIGHT = 9, 22


class _Events(QAbstractTableModel):
    """Events as Qt wants them."""

    def __init__(self, parent: QTableView) -> None:
        super().__init__(parent)
        self.rows: list[tuple[Any, ...]] = []
        self.labels: list[int] = []

    def show_events(self, events: pd.DataFrame) -> None:
        self.beginResetModel()
        names = [name for _, name, _, _ in _COLUMNS]
        self.rows = list(events[names].itertuples(index=False, name=None))
        self.labels = [int(label) for label in events.index]
        self.endResetModel()

    def rowCount(self, parent: Any = None) -> int:  # noqa: N802 - Qt's name
        return 0 if parent is not None and parent.isValid() else len(self.rows)

    def columnCount(self, _parent: Any = None) -> int:  # noqa: N802 - Qt's name
        return len(_COLUMNS)

    def data(self, index: Any, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        value = self.rows[index.row()][index.column()]
        name = _COLUMNS[index.column()][1]
        if role == Qt.ItemDataRole.UserRole:  # what is sorted by
            return value
        if role == Qt.ItemDataRole.TextAlignmentRole and not isinstance(value, str):
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        if role == Qt.ItemDataRole.ToolTipRole and isinstance(value, str):
            return value
        if role == Qt.ItemDataRole.DisplayRole:
            if name == "probability":
                return f"{value:.2f}"
            return value if isinstance(value, str) else f"{value:g}"
        return None

    def headerData(  # noqa: N802 - Qt's name
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        if orientation != Qt.Orientation.Horizontal:
            return None
        title, _, tip, _ = _COLUMNS[section]
        if role == Qt.ItemDataRole.DisplayRole:
            return title
        return tip if role == Qt.ItemDataRole.ToolTipRole else None


class EventList(QTableView):
    """A table of events; one is chosen by a click or with the arrow keys."""

    chosen = Signal(int)  # label of the event

    def __init__(self) -> None:
        super().__init__()
        # as children, so that Qt takes them down in its own order
        self._events = _Events(self)
        self._sorted = QSortFilterProxyModel(self)
        self._sorted.setSourceModel(self._events)
        self._sorted.setSortRole(Qt.ItemDataRole.UserRole)
        self.setModel(self._sorted)
        self.setSortingEnabled(True)
        self.sortByColumn(0, Qt.SortOrder.AscendingOrder)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setWordWrap(False)
        rows, columns = self.verticalHeader(), self.horizontalHeader()
        rows.hide()
        rows.setDefaultSectionSize(_HEIGHT)
        columns.setMinimumSectionSize(28)
        mode = QHeaderView.ResizeMode
        for number, (*_, width) in enumerate(_COLUMNS):
            columns.setSectionResizeMode(number, mode.Fixed if width else mode.Stretch)
            if width:
                self.setColumnWidth(number, width)
        self.setMinimumHeight((_ROWS + 1) * _HEIGHT + 8)
        self.selectionModel().currentRowChanged.connect(self._on_row)

    def show_events(self, events: pd.DataFrame) -> None:
        """Show some of ``pathways.events``, with the labels of their rows."""
        self._events.show_events(events)

    def labels(self) -> list[int]:
        """Labels of the events in the order that is shown."""
        return [
            self._events.labels[self._sorted.mapToSource(self._sorted.index(row, 0)).row()]
            for row in range(self._sorted.rowCount())
        ]

    def choose(self, label: int) -> None:
        """Choose an event, as a click on it does."""
        row = self.labels().index(label)
        flags = QItemSelectionModel.SelectionFlag
        self.selectionModel().setCurrentIndex(
            self._sorted.index(row, 0), flags.ClearAndSelect | flags.Rows
        )

    def chosen_label(self) -> int | None:
        """Label of the chosen event, None for none."""
        index = self.currentIndex()
        if not index.isValid():
            return None
        return self._events.labels[self._sorted.mapToSource(index).row()]

    def _on_row(self, _now: QModelIndex, _before: QModelIndex) -> None:
        label = self.chosen_label()
        if label is not None:
            self.chosen.emit(label)
