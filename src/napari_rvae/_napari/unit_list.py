"""The list of unit cards: one row for each unit; click to choose, double click to rename."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import (
    QAbstractListModel,
    QEvent,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    QRect,
    QRectF,
    QSize,
    Qt,
    Signal,
)
from qtpy.QtGui import QColor, QFont, QMouseEvent, QPainter, QPaintEvent, QPalette, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QLineEdit,
    QListView,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QWidget,
)

from napari_rvae._napari.unit_painting import (
    paint_motif,
    paint_picture,
    paint_shares,
    picture_pixmap,
)

if TYPE_CHECKING:
    from napari_rvae.analysis.cards import UnitCard

    Index = QModelIndex | QPersistentModelIndex

__all__ = ["UnitList"]

EMPTY = "A card of each unit: picture, mean crop, atoms, share"

#: Where a row of the list keeps its card and its pixmaps.
_CARD, _PIXMAPS = int(Qt.ItemDataRole.UserRole), int(Qt.ItemDataRole.UserRole) + 1

#: Colour of what is doubtful, on dark ground and on light.
_WARNINGS = ("#e08a00", "#8a4b00")

#: Lengths of a card in pixels of the screen.
_PAD, _STRIPE, _SIDE, _GAP, _LINE = 5, 5, 58, 5, 17
_HEIGHT = 2 * _PAD + _LINE + _SIDE + _LINE + 4


class _Cards(QAbstractListModel):
    """Cards as rows; a row's text is its name."""

    renamed = Signal(int, str)

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.cards: tuple[UnitCard, ...] = ()
        self._pixmaps: list[tuple[QPixmap, QPixmap]] = []
        self.can_rename = True

    def show_cards(self, cards: Sequence[UnitCard]) -> None:
        self.beginResetModel()
        self.cards = tuple(cards)
        self._pixmaps = [(picture_pixmap(c.decoded), picture_pixmap(c.mean_crop)) for c in cards]
        self.endResetModel()

    def rowCount(self, _parent: Index | None = None) -> int:  # noqa: N802 - Qt's name
        return len(self.cards)

    def data(self, index: Index, role: int = int(Qt.ItemDataRole.DisplayRole)) -> Any:
        card = self.cards[index.row()]
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.EditRole):
            return card.name
        if role == Qt.ItemDataRole.ToolTipRole:
            return _tip(card)
        return {_CARD: card, _PIXMAPS: self._pixmaps[index.row()]}.get(role)

    def setData(self, index: Index, value: Any, _role: int = 2) -> bool:  # noqa: N802 - Qt's name
        card, name = self.cards[index.row()], " ".join(str(value).split())
        if name and name != card.name:
            self.renamed.emit(card.unit, name)
        return False  # the name changes when the library has taken it

    def flags(self, _index: Index) -> Qt.ItemFlag:
        plain = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable
        return plain | Qt.ItemFlag.ItemIsEditable if self.can_rename else plain


def _tip(card: UnitCard) -> str:
    """What the card says in words, and the figures behind it."""
    lines = [card.caption.replace(". ", ".\n")]
    known = {order: d for order, d in card.deviations.items() if math.isfinite(d)}
    if known:
        listed = ", ".join(f"{order}-fold {d:.2f}" for order, d in known.items())
        lines.append(f"Deviation from symmetry (px of the crops): {listed}.")
    if card.starts.total:
        shared = f"{100 * card.stability:.0f} %"
        lines.append(f"On average, other starts share {shared} of the sites of either.")
    if card.n_crops:
        lines.append(f"The mean crop is of {card.n_crops:,} sites.")
    lines.append("Double click: another name.")
    return "\n".join(lines)


class _CardPainter(QStyledItemDelegate):
    """Paints a card: name and count, decoded picture, mean crop, atoms, share, words."""

    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:  # noqa: N802
        del option, index
        return QSize(240, _HEIGHT)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        card: UnitCard = index.data(_CARD)
        decoded, mean = index.data(_PIXMAPS)
        box: QRect = option.rect.adjusted(0, 1, 0, -1)
        palette: QPalette = option.palette
        state: QStyle.StateFlag = option.state
        font: QFont = option.font
        ink = palette.color(QPalette.ColorRole.Text)
        chosen = bool(state & QStyle.StateFlag.State_Selected)
        paper = palette.color(QPalette.ColorRole.Base)
        painter.save()
        ground = QColor(ink)
        ground.setAlphaF(0.22 if chosen else 0.07)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(ground)
        painter.drawRoundedRect(QRectF(box), 3, 3)
        painter.setBrush(QColor(card.color))
        painter.drawRoundedRect(QRectF(box.left(), box.top(), _STRIPE, box.height()), 2, 2)
        inner = box.adjusted(_STRIPE + _PAD, _PAD, -_PAD, -_PAD)
        _paint_words(painter, inner, card, ink, font)
        left, top = float(inner.left()), float(inner.top() + _LINE)
        for pixmap in (decoded, mean):
            if not pixmap.isNull():
                paint_picture(painter, QRectF(left, top, _SIDE, _SIDE), pixmap)
                left += _SIDE + _GAP
        if card.motif is not None:
            paint_motif(painter, QRectF(left, top, _SIDE, _SIDE), card, ink, paper, font)
            left += _SIDE + _GAP
        wide = inner.right() - left
        if wide > _SIDE / 2:
            facts = _facts(card)
            plot = QRectF(left + 2, top + 6, wide - 2, _SIDE - 12 - 14 * len(facts))
            paint_shares(painter, plot, card, ink)
            _paint_facts(painter, QRectF(left, top, wide, _SIDE), facts, ink, font)
        painter.restore()

    def createEditor(  # noqa: N802 - Qt's name
        self, parent: QWidget, option: QStyleOptionViewItem, index: Index
    ) -> QWidget:
        del option, index
        return QLineEdit(parent)

    def updateEditorGeometry(  # noqa: N802 - Qt's name
        self, editor: QWidget, option: QStyleOptionViewItem, index: Index
    ) -> None:
        del index
        box: QRect = option.rect
        height = max(editor.sizeHint().height(), _LINE + 2)
        editor.setGeometry(
            box.left() + _STRIPE + 1, box.top() + 1, box.width() - _STRIPE - 2, height
        )


def _facts(card: UnitCard) -> list[tuple[str, bool]]:
    """Symmetry, and how often it was found again, in a word each; whether that is a warning."""
    symmetry = {"no symmetry": "asymmetric", "cannot tell": ""}.get(card.symmetry, card.symmetry)
    facts = [(symmetry, False)] if symmetry else []
    found, total = card.starts
    if total:
        facts.append((f"in {found or 'none'} of {total} starts", card.is_doubtful))
    elif math.isfinite(card.stability):
        facts.append((f"stable {100 * card.stability:.0f} %", card.is_doubtful))
    return facts


def _paint_words(painter: QPainter, inner: QRect, card: UnitCard, ink: QColor, font: QFont) -> None:
    """Name and count above the pictures, what it is in words below."""
    bold = QFont(font)
    bold.setBold(True)
    counted = f"{card.count:,} · {100 * card.share:.{1 if card.share < 0.1 else 0}f} %"
    painter.setPen(ink)
    painter.setFont(font)
    line = QRect(inner.left(), inner.top(), inner.width(), _LINE)
    room = painter.fontMetrics().horizontalAdvance(counted) + 8
    painter.drawText(line, int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignTop), counted)
    painter.setFont(bold)
    left = line.adjusted(0, 0, -room, 0)
    flags = int(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop)
    elide = Qt.TextElideMode.ElideRight
    painter.drawText(left, flags, painter.fontMetrics().elidedText(card.name, elide, left.width()))
    below = QRect(inner.left(), inner.bottom() - _LINE + 2, inner.width(), _LINE)
    painter.setFont(font)
    words = card.caption.partition(". ")[0]
    painter.drawText(below, flags, painter.fontMetrics().elidedText(words, elide, below.width()))


def _paint_facts(
    painter: QPainter, box: QRectF, facts: Sequence[tuple[str, bool]], ink: QColor, font: QFont
) -> None:
    small = QFont(font)
    small.setPointSizeF(max(6.0, 0.85 * font.pointSizeF()))
    painter.setFont(small)
    faint = QColor(ink)
    faint.setAlphaF(0.75)
    warning = QColor(_WARNINGS[ink.lightnessF() < 0.5])
    for number, (text, is_warning) in enumerate(reversed(facts)):
        painter.setPen(warning if is_warning else faint)
        line = QRectF(box.left(), box.bottom() - 14 * (number + 1), box.width(), 14)
        painter.drawText(line, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, text)


class UnitList(QListView):
    """Cards of units.

    Signals
    -------
    chosen
        The selection has changed.
    renamed
        A unit's number and the name that was typed for it.
    """

    chosen = Signal()
    renamed = Signal(int, str)

    def __init__(self) -> None:
        super().__init__()
        self._model = _Cards(self)
        self._model.renamed.connect(self.renamed)
        self.setModel(self._model)
        self.setItemDelegate(_CardPainter(self))
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setEditTriggers(
            QAbstractItemView.EditTrigger.DoubleClicked
            | QAbstractItemView.EditTrigger.EditKeyPressed
        )
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setUniformItemSizes(True)
        self.setMinimumHeight(2 * _HEIGHT + 4)
        self.setResizeMode(QListView.ResizeMode.Adjust)
        self.selectionModel().selectionChanged.connect(lambda *_: self.chosen.emit())

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Two cards; more where there is room."""
        return QSize(240, self.minimumHeight())

    @property
    def cards(self) -> tuple[UnitCard, ...]:
        """The cards that are shown."""
        return self._model.cards

    def show_cards(self, cards: Sequence[UnitCard], *, can_rename: bool = True) -> None:
        """Show cards; those that were chosen stay so, as far as they are still there."""
        self._model.can_rename = can_rename
        if tuple(cards) == self._model.cards:
            return
        kept = self.units()
        at = self.verticalScrollBar().value()
        self.blockSignals(True)  # noqa: FBT003 - Qt's own
        self._model.show_cards(cards)
        self.choose([unit for unit in kept if any(card.unit == unit for card in cards)])
        self.blockSignals(False)  # noqa: FBT003
        self.verticalScrollBar().setValue(at)
        if self.units() != kept:
            self.chosen.emit()

    def units(self) -> list[int]:
        """Numbers of the units that are chosen, in the order of the list."""
        rows = sorted(index.row() for index in self.selectionModel().selectedIndexes())
        return [self._model.cards[row].unit for row in rows]

    def chosen_cards(self) -> list[UnitCard]:
        """Cards that are chosen."""
        chosen = self.units()
        return [card for card in self._model.cards if card.unit in chosen]

    def choose(self, units: Sequence[int]) -> None:
        """Choose units, as clicks on their cards would."""
        selection = self.selectionModel()
        selection.clearSelection()
        for row, card in enumerate(self._model.cards):
            if card.unit in units:
                selection.select(self._model.index(row), selection.SelectionFlag.Select)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 - Qt's name
        """Say what will be here while there are no cards."""
        super().paintEvent(event)
        if self._model.cards:
            return
        faint = QColor(self.palette().color(QPalette.ColorRole.Text))
        faint.setAlphaF(0.6)
        with QPainter(self.viewport()) as painter:
            painter.setPen(faint)
            box = self.viewport().rect().adjusted(12, 12, -12, -12)
            flags = int(Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignTop)
            painter.drawText(box, flags | int(Qt.TextFlag.TextWordWrap), EMPTY)

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802 - Qt's name
        """Choose nothing by a click beside the cards."""
        if not self.indexAt(event.pos()).isValid():
            self.clearSelection()
        super().mousePressEvent(event)

    def show_chosen(self) -> None:
        """Scroll to the first of the cards that are chosen."""
        rows = sorted(index.row() for index in self.selectionModel().selectedIndexes())
        if rows:
            self.scrollTo(self._model.index(rows[0]))

    def event(self, event: QEvent) -> bool:
        """Repaint when the theme has changed."""
        if event.type() == QEvent.Type.PaletteChange:
            self.viewport().update()
        return super().event(event)
