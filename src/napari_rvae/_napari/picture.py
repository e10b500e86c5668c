"""A picture of grey values in a widget, as wide as the widget."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QRect, QSize
from qtpy.QtGui import QImage, QPainter, QPaintEvent, QPixmap, QResizeEvent
from qtpy.QtWidgets import QSizePolicy, QWidget

__all__ = ["Picture"]


class Picture(QWidget):
    """Shows grey values 0 to 255, with square pixels, smoothly between them.

    Parameters
    ----------
    widest
        Largest width in pixels of the screen; a narrower widget shrinks the picture.
    """

    def __init__(self, widest: int = 200) -> None:
        super().__init__()
        self._widest = widest
        self._values: Any = None
        self._pixmap = QPixmap()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    @property
    def values(self) -> NDArray[np.uint8] | None:
        """What is shown (Y, X), None for nothing."""
        shown: NDArray[np.uint8] | None = self._values
        return shown

    def show_values(self, values: NDArray[np.uint8] | None) -> None:
        """Show grey values (Y, X); None shows nothing."""
        if values is self._values:
            return
        self._values = values
        self._pixmap = QPixmap() if values is None else _pixmap(values)
        self._fit_height()
        self.update()

    def _side(self) -> QSize:
        """Size of the picture at the widget's present width."""
        if self._pixmap.isNull():
            return QSize(0, 0)
        width = min(self.width(), self._widest)
        return QSize(width, round(width * self._pixmap.height() / self._pixmap.width()))

    def _fit_height(self) -> None:
        self.setFixedHeight(self._side().height())

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802 - Qt's name
        """Keep the picture's proportions."""
        super().resizeEvent(event)
        self._fit_height()

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 - Qt's name
        """Draw the picture in the middle."""
        del event
        if not self._pixmap.isNull():
            size = self._side()
            place = QRect((self.width() - size.width()) // 2, 0, size.width(), size.height())
            with QPainter(self) as painter:
                # a few screen pixels for each of the picture's: whole ones would be of two widths
                painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
                painter.drawPixmap(place, self._pixmap)


def _pixmap(values: NDArray[np.uint8]) -> QPixmap:
    """Pixmap of grey values, with a copy of them."""
    plain = np.ascontiguousarray(values, np.uint8)
    height, width = plain.shape
    image = QImage(plain.data, width, height, width, QImage.Format.Format_Grayscale8)
    return QPixmap.fromImage(image.copy())
