"""Examples of one unit: crops of its typical and of its least sure sites."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QRectF, QSize, Qt, Signal
from qtpy.QtGui import (
    QColor,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPalette,
    QPen,
    QPixmap,
    QResizeEvent,
)
from qtpy.QtWidgets import QGridLayout, QLabel, QSizePolicy, QToolTip, QVBoxLayout, QWidget

from napari_rvae._napari.unit_painting import paint_picture, picture_pixmap

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_rvae.analysis.cards import UnitCard

__all__ = ["Examples", "UnitExamples"]

#: Side of an example and the gap between two, in pixels of the screen.
_SIDE, _GAP = 36, 2
#: Most lines of the words that are shown; the tooltip has them all.
_LINES = 9

HINT = (
    "Click a card: its sites are selected, and what it is and examples appear here. "
    "Ctrl and click chooses several, a double click gives another name."
)


class Examples(QWidget):
    """A row of crops, as many as there is room for; a double click asks to go to the site."""

    wanted = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self.sites: list[int] = []
        self._pixmaps: list[QPixmap] = []
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setCursor(Qt.CursorShape.PointingHandCursor)

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """One row of a few pictures."""
        return QSize(3 * (_SIDE + _GAP), _SIDE)

    @property
    def shown(self) -> list[int]:
        """The sites that there is room for."""
        return self.sites[: max((self.width() + _GAP) // (_SIDE + _GAP), 1)]

    def show_sites(
        self,
        sites: NDArray[np.int64] | Sequence[int],
        crops: NDArray[np.float32] | Sequence[Any],
    ) -> None:
        """Show sites with their crops (n, S, S), or by a ring where there are none."""
        self.sites = [int(site) for site in sites]
        pictures: list[Any] = list(crops) if len(crops) == len(sites) else [None] * len(sites)
        self._pixmaps = [picture_pixmap(picture) for picture in pictures]
        self.update()

    def place(self, number: int) -> QRectF:
        """Where an example is painted."""
        return QRectF(number * (_SIDE + _GAP), 0, _SIDE, _SIDE)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 - Qt's name
        """Paint the crops."""
        del event
        ink = QColor(self.palette().color(QPalette.ColorRole.WindowText))
        ink.setAlphaF(0.4)
        with QPainter(self) as painter:
            painter.setRenderHint(QPainter.RenderHint.Antialiasing)
            painter.setPen(QPen(ink, 1.0))
            for number, pixmap in enumerate(self._pixmaps[: len(self.shown)]):
                if pixmap.isNull():
                    painter.drawEllipse(self.place(number).adjusted(1, 1, -1, -1))
                else:
                    paint_picture(painter, self.place(number), pixmap)

    def _at(self, x: float) -> int | None:
        number = int(x // (_SIDE + _GAP))
        shown = self.shown
        return shown[number] if 0 <= number < len(shown) else None

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:  # noqa: N802 - Qt's name
        """Ask to go to the site."""
        site = self._at(event.position().x())
        if site is not None:
            self.wanted.emit(site)

    def event(self, event: QEvent) -> bool:
        """Say which site it is under the pointer."""
        if event.type() == QEvent.Type.ToolTip:
            site = self._at(event.pos().x())  # type: ignore[attr-defined]
            if site is not None:
                text = f"Site {site}. Double click: go there."
                QToolTip.showText(event.globalPos(), text, self)  # type: ignore[attr-defined]
                return True
        return super().event(event)


class UnitExamples(QWidget):
    """Examples of a chosen unit, and what it is in words; a hint while none is chosen.

    It is as tall without a unit as with any of them: the list above must not move between the two
    clicks of a double click.
    """

    wanted = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self.caption, self.hint, self._ruler = QLabel(), QLabel(HINT), QLabel(self)
        self.caption.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.typical, self.unsure = Examples(), Examples()
        self._captions: tuple[str, ...] = ()
        self._shown = QWidget()
        column, rows, pictures = QVBoxLayout(self), QVBoxLayout(self._shown), QGridLayout()
        for layout in (column, rows, pictures):
            layout.setContentsMargins(0, 0, 0, 0)
            layout.setSpacing(3)
        pictures.setHorizontalSpacing(8)
        labels = QLabel("Typical sites"), QLabel("Least sure sites")
        for at, (label, row) in enumerate(zip(labels, (self.typical, self.unsure), strict=True)):
            pictures.addWidget(label, 0, at)
            pictures.addWidget(row, 1, at)
            pictures.setColumnStretch(at, 1)
            row.wanted.connect(self.wanted)
        # pictures first: the words are long, and half of them stand on the card
        rows.addLayout(pictures)
        rows.addWidget(self.caption)
        for text in (self.hint, self.caption, self._ruler):
            text.setWordWrap(True)
            text.setAlignment(Qt.AlignmentFlag.AlignTop)
        self._ruler.hide()
        column.addWidget(self.hint)
        column.addWidget(self._shown)
        column.addStretch(1)
        self.show_card(None)

    def make_room(self, cards: Sequence[UnitCard]) -> None:
        """Be tall enough for the words of any of some cards."""
        self._captions = tuple(card.caption for card in cards)
        self._fit()

    def show_card(self, card: UnitCard | None) -> None:
        """Show one unit's examples and words, a hint for None."""
        self.hint.setVisible(card is None)
        self._shown.setVisible(card is not None)
        self.caption.setText("" if card is None else card.caption)
        self.caption.setToolTip("" if card is None else card.caption.replace(". ", ".\n"))
        if card is None:
            for row in (self.typical, self.unsure):
                row.show_sites((), ())
        else:
            self.typical.show_sites(card.typical, card.typical_crops)
            self.unsure.show_sites(card.unsure, card.unsure_crops)
        self._fit()

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802 - Qt's name
        """Lines break elsewhere at another width."""
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        """Give the words as much height as the longest of them need."""
        most = _LINES * self.caption.fontMetrics().lineSpacing()
        tall = 0
        for words in {self.caption.text(), *self._captions}:
            self._ruler.setText(words)
            tall = max(tall, self._ruler.heightForWidth(self.width()))
        self.caption.setFixedHeight(min(tall, most))
        self.setFixedHeight(self._shown.sizeHint().height())
