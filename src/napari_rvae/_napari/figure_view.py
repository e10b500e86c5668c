"""A figure of the library in a dock: drawn in a thread at the dock's width, and clickable."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QEvent, QObject, QPoint, QRect, QSize, Qt, QTimer, Signal
from qtpy.QtGui import QColor, QImage, QMouseEvent, QPainter, QPaintEvent, QPen, QResizeEvent
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_rvae._napari.jobs import explain

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["Drawing", "FigureView"]

#: Pixels of the screen for an inch of a figure.
_DPI = 100.0

#: A figure needs so many pixels of the screen each way; what is hidden in a tab may have fewer.
_SMALLEST = 60

#: A click hits what lies within so many pixels of the screen.
_NEAR = 14.0

#: The figure is drawn anew so many milliseconds after the width has changed.
_SOON = 150

#: All figures are drawn in one thread, as Matplotlib is not made for several.
_THREAD = ThreadPoolExecutor(max_workers=1, thread_name_prefix="figures")

_MARKER = "#ff5a36"


@dataclass(frozen=True, eq=False)
class Drawing:
    """A figure and what can be hit in it.

    Attributes
    ----------
    figure
        What is shown.
    targets
        Places that can be hit: ``x`` and, unless the whole height counts, ``y`` as shares of width
        and height from the upper left; ``radius`` as a share of the width where they have one.
    marks
        Share of the width of each frame that a marker can stand at, by its number; and how far the
        marker reaches down the figure.
    """

    figure: Figure
    targets: pd.DataFrame | None = None
    marks: dict[int, float] = field(default_factory=dict)
    reach: tuple[float, float] = (0.0, 1.0)


class _Messenger(QObject):
    """Brings what the thread has drawn to the views; it outlives all of them."""

    done = Signal(object, object)  # token, and the drawing and its pixels, or an exception


_MESSENGERS: list[_Messenger] = []


def _messenger() -> _Messenger:
    if not _MESSENGERS:
        _MESSENGERS.append(_Messenger())
    return _MESSENGERS[0]


class FigureView(QWidget):
    """Shows a figure as wide as itself.

    Parameters
    ----------
    shape
        Height over width; None fills whatever room there is.
    text
        What stands there while there is no figure.
    least
        Width and height in pixels of the screen that the figure is drawn for at least; a smaller
        widget shows it smaller, so that nothing in it overlaps.
    """

    hit = Signal(int)  # row of the targets
    drawn = Signal()
    failed = Signal(str)

    def __init__(
        self, shape: float | None, text: str = "", *, least: tuple[int, int] = (0, 0)
    ) -> None:
        super().__init__()
        self._least = least
        self._fills = shape is None
        self._shape, self._text = shape or 0.3, text
        self._make: Callable[[float, float, str], Drawing] | None = None
        self._image: QImage | None = None
        self.drawing: Drawing | None = None
        self._token: object = None  # of the figure that is being drawn
        self._theme = ""
        self._again = False
        self._drawing_of: Any = None
        self._mark: int | None = None
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(_SOON)
        self._soon.timeout.connect(self._draw)
        self._messenger = _messenger()
        self._messenger.done.connect(self._finish)  # Qt disconnects it when this widget goes
        across, up = QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed
        self.setSizePolicy(across, across if self._fills else up)
        self.setMinimumWidth(200)

    # ------------------------------------------------------------------ what is shown
    def show_drawing(self, make: Callable[[float, float, str], Drawing] | None) -> None:
        """Show another figure.

        Parameters
        ----------
        make
            Draws it, from width and height in inches and the theme ("light" or "dark"), in a
            thread; None shows nothing.
        """
        self._make = make
        if make is None:
            self._image, self.drawing = None, None
            self.update()
        else:
            self._soon.start(0)

    def show_text(self, text: str) -> None:
        """Show a text instead of a figure."""
        self._text = text
        self.show_drawing(None)

    def set_shape(self, shape: float) -> None:
        """Change height over width."""
        self._shape = shape
        self._fit_height()

    def mark(self, frame: int) -> None:
        """Put the marker at a frame."""
        self._mark = frame
        self.update()

    @property
    def is_busy(self) -> bool:
        """Whether a figure is being drawn, or about to be."""
        return self._token is not None or self._soon.isActive()

    def theme(self) -> str:
        """Which theme suits the viewer's."""
        return "dark" if self.palette().windowText().color().lightness() > 128 else "light"

    def _draw(self) -> None:
        height = self.height() if self._fills else self.width() * self._shape
        if self._make is None or min(self.width(), height) < _SMALLEST:
            return  # it is drawn when it is given room
        if self._token is not None:
            self._again = True
            return
        larger = max(1.0, self._least[0] / self.width(), self._least[1] / height)
        size = larger * self.width() / _DPI, larger * height / _DPI
        self._theme = self.theme()
        self._token = token = object()
        work = partial(_drawn, self._make, size, self._theme, self.devicePixelRatioF())
        _THREAD.submit(_tell, self._messenger, token, work)
        self._drawing_of = self._make

    def _finish(self, token: object, made: Any) -> None:
        if token is not self._token:
            return
        self._token = None
        if self._again or self._drawing_of is not self._make:
            self._again = False
            self._draw()
            return
        if isinstance(made, Exception):
            self.failed.emit(explain(made, "A figure could not be drawn"))
        else:
            self._show(*made)
        self.drawn.emit()

    def _show(self, drawing: Drawing, pixels: NDArray[np.uint8]) -> None:
        height, width = pixels.shape[:2]
        image = QImage(pixels.data, width, height, 4 * width, QImage.Format.Format_RGBA8888)
        self._image, self.drawing = image.copy(), drawing
        self._shape = height / width  # a film strip knows better how tall it is
        self._fit_height()
        self.update()

    # ------------------------------------------------------------------ Qt's own
    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Size that it is made for."""
        return QSize(300, round(300 * self._shape))

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802 - Qt's name
        """Draw anew in the new width."""
        super().resizeEvent(event)
        self._fit_height()
        old, new = event.oldSize(), event.size()
        changed = new != old if self._fills else new.width() != old.width()
        if changed and self._make is not None:
            self._soon.start(_SOON)

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802 - Qt's name
        """Follow the theme."""
        super().changeEvent(event)
        styled = event.type() in (QEvent.Type.StyleChange, QEvent.Type.PaletteChange)
        if styled and self._image is not None and self.theme() != self._theme:
            self._soon.start(_SOON)

    def _fit_height(self) -> None:
        if not self._fills:
            self.setFixedHeight(max(40, round(self.width() * self._shape)))

    def _place(self) -> QRect:
        """Where the figure is shown: everywhere, or not stretched until it is drawn anew."""
        whole = QRect(0, 0, self.width(), self.height())
        if self._image is None or not self._fills:
            return whole
        size = self._image.size().scaled(whole.size(), Qt.AspectRatioMode.KeepAspectRatio)
        near = abs(size.width() - whole.width()) + abs(size.height() - whole.height()) <= 2
        return whole if near else QRect(QPoint(0, 0), size)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 - Qt's name
        """Draw the figure and the marker."""
        del event
        with QPainter(self) as painter:
            if self._image is None:
                painter.setPen(self.palette().windowText().color())
                flags = Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap
                painter.drawText(self.rect(), int(flags), self._text)
                return
            painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
            place = self._place()
            painter.drawImage(place, self._image)
            marks = self.drawing.marks if self.drawing is not None else {}
            if self.drawing is not None and self._mark in marks:
                x = place.left() + round(marks[self._mark] * place.width())
                top, bottom = (
                    place.top() + round(share * place.height()) for share in self.drawing.reach
                )
                painter.setPen(QPen(QColor(_MARKER), 1.2))
                painter.drawLine(x, top, x, bottom)

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802 - Qt's name
        """Tell what was hit."""
        place = event.position()
        row = self.target_at(place.x(), place.y())
        if row is not None:
            self.hit.emit(row)

    def target_at(self, x: float, y: float) -> int | None:
        """Row of the target nearest to a place in pixels of the screen, or None."""
        targets = None if self.drawing is None else self.drawing.targets
        if targets is None or not len(targets):
            return None
        away = np.abs(targets["x"].to_numpy(float) * self.width() - x)
        if "y" in targets:
            away = np.hypot(away, targets["y"].to_numpy(float) * self.height() - y)
            if "radius" in targets:
                away = np.maximum(away - targets["radius"].to_numpy(float) * self.width(), 0)
        row = int(away.argmin())
        return row if away[row] <= _NEAR or "y" not in targets else None


def _drawn(
    make: Callable[[float, float, str], Drawing],
    size: tuple[float, float],
    theme: str,
    ratio: float,
) -> tuple[Drawing, NDArray[np.uint8]]:
    """Figure and its pixels (Y, X, 4)."""
    drawing = make(*size, theme)
    drawing.figure.set_dpi(_DPI * ratio)
    canvas: Any = drawing.figure.canvas
    canvas.draw()
    return drawing, np.asarray(canvas.buffer_rgba()).copy()


def _tell(messenger: _Messenger, token: object, work: Callable[[], Any]) -> None:
    """Do the work and tell what came of it."""
    try:
        made = work()
    except Exception as error:  # noqa: BLE001 - it becomes a line in the widget
        made = error
    messenger.done.emit(token, made)
