"""The frame of a plot: where values lie on the screen, axes with round numbers, and margins."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from qtpy.QtCore import QPointF, QRectF, Qt
from qtpy.QtGui import QColor, QPainter, QPolygonF

from napari_rvae._napari.loss_plot import round_ticks

__all__ = ["MARGIN", "PlotFrame", "draw_axes", "draw_margins", "fit_box"]

#: Height of the histograms at the margins, and space between the parts, in pixels of the screen.
MARGIN, _GAP = 30.0, 4.0

#: Pixels of the screen between two numbers of an axis, across and up.
_ACROSS, _UP = 60.0, 32.0

Ends = tuple[float, float]


@dataclass(frozen=True)
class PlotFrame:
    """Box on the screen, and the values at its ends.

    Attributes
    ----------
    box
        Pixels of the screen, from the upper left.
    x_ends, y_ends
        Values at its left and right, and at its bottom and top.
    """

    box: QRectF
    x_ends: Ends
    y_ends: Ends

    def on_screen(self, x: float, y: float) -> QPointF:
        """Place of a value on the screen."""
        along = (x - self.x_ends[0]) / (self.x_ends[1] - self.x_ends[0])
        up = (y - self.y_ends[0]) / (self.y_ends[1] - self.y_ends[0])
        return QPointF(
            self.box.left() + along * self.box.width(), self.box.bottom() - up * self.box.height()
        )

    def value_at(self, place: QPointF) -> tuple[float, float]:
        """Values at a place on the screen."""
        along = (place.x() - self.box.left()) / max(self.box.width(), 1.0)
        up = (self.box.bottom() - place.y()) / max(self.box.height(), 1.0)
        return (
            self.x_ends[0] + along * (self.x_ends[1] - self.x_ends[0]),
            self.y_ends[0] + up * (self.y_ends[1] - self.y_ends[0]),
        )

    def pixel_size(self) -> tuple[float, float]:
        """How much of x and of y a pixel of the screen stands for."""
        return (
            (self.x_ends[1] - self.x_ends[0]) / max(self.box.width(), 1.0),
            (self.y_ends[1] - self.y_ends[0]) / max(self.box.height(), 1.0),
        )

    def zoomed(self, place: QPointF, factor: float) -> PlotFrame:
        """Return the frame in which one place stays and all else moves away from it."""
        x, y = self.value_at(place)
        return replace(
            self,
            x_ends=_shrunk(self.x_ends, x, factor),
            y_ends=_shrunk(self.y_ends, y, factor),
        )

    def moved(self, start: QPointF, end: QPointF) -> PlotFrame:
        """Return the frame after a drag from one place on the screen to another."""
        (x0, y0), (x1, y1) = self.value_at(start), self.value_at(end)
        return replace(
            self,
            x_ends=(self.x_ends[0] + x0 - x1, self.x_ends[1] + x0 - x1),
            y_ends=(self.y_ends[0] + y0 - y1, self.y_ends[1] + y0 - y1),
        )


def _shrunk(ends: Ends, about: float, factor: float) -> Ends:
    """Ends about a value, not so near that numbers run out of digits."""
    low, high = about + (ends[0] - about) / factor, about + (ends[1] - about) / factor
    too_near = high - low <= 1e-9 * max(abs(low), abs(high), 1e-300)
    return ends if too_near or not math.isfinite(high - low) else (low, high)


def fit_box(
    painter_height: float, width: float, height: float, left: float, right: float = 0.0
) -> QRectF:
    """Box of a plot in a widget, with room for numbers and titles and for the margins.

    Parameters
    ----------
    painter_height
        Height of a line of text.
    width, height
        Of the widget.
    left
        Room for the numbers of the axis that goes up.
    right
        Room for what the colours mean.
    """
    line = painter_height
    box = QRectF(left + line + 2 * _GAP, MARGIN + _GAP, 0.0, 0.0)
    box.setRight(max(box.left() + 10, width - MARGIN - 2 * _GAP - right))
    box.setBottom(max(box.top() + 10, height - 2 * line - 2 * _GAP))
    return box


def ticks_of(frame: PlotFrame) -> tuple[list[float], list[float]]:
    """Round numbers across and up that fit the frame."""
    box = frame.box
    return (
        round_ticks(*frame.x_ends, max(2, int(box.width() / _ACROSS))),
        round_ticks(*frame.y_ends, max(2, int(box.height() / _UP))),
    )


def draw_axes(painter: QPainter, frame: PlotFrame, x_label: str, y_label: str) -> None:
    """Draw the box, its numbers, and what they are."""
    box, line = frame.box, float(painter.fontMetrics().height())
    across, up = ticks_of(frame)
    painter.drawRect(box)
    for value in across:
        x = frame.on_screen(value, 0.0).x()
        painter.drawLine(QPointF(x, box.bottom()), QPointF(x, box.bottom() + _GAP))
        below = QRectF(x - 40, box.bottom() + _GAP, 80, line)
        painter.drawText(below, Qt.AlignmentFlag.AlignCenter, number(value))
    for value in up:
        y = frame.on_screen(0.0, value).y()
        painter.drawLine(QPointF(box.left() - _GAP, y), QPointF(box.left(), y))
        beside = QRectF(0.0, y - line / 2, box.left() - 1.5 * _GAP, line)
        flags = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        painter.drawText(beside, flags, number(value))
    below = QRectF(box.left(), box.bottom() + _GAP + line, box.width(), line)
    painter.drawText(below, Qt.AlignmentFlag.AlignCenter, x_label)
    painter.save()
    painter.translate(line / 2 + 1, box.center().y())
    painter.rotate(-90)
    beside = QRectF(-box.height() / 2, -line / 2, box.height(), line)
    painter.drawText(beside, Qt.AlignmentFlag.AlignCenter, y_label)
    painter.restore()


def draw_margins(
    painter: QPainter, box: QRectF, across: Sequence[float], up: Sequence[float]
) -> None:
    """Draw histograms above and right of the box; heights are shares of the tallest bar."""
    colour = QColor(painter.pen().color())
    colour.setAlphaF(0.45)
    painter.save()
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(colour)

    def above(share: float, height: float) -> QPointF:
        return QPointF(box.left() + share * box.width(), box.top() - 1 - height * MARGIN)

    def beside(share: float, height: float) -> QPointF:
        return QPointF(box.right() + 1 + height * MARGIN, box.bottom() - share * box.height())

    for counts, place in ((across, above), (up, beside)):
        painter.drawPolygon(_steps(counts, place))
    painter.restore()


def _steps(counts: Sequence[float], place: Callable[[float, float], QPointF]) -> QPolygonF:
    """Outline of a histogram."""
    most = max(counts, default=0) or 1
    corners = [place(0.0, 0.0)]
    for n, count in enumerate(counts):
        corners += [place(edge / len(counts), count / most) for edge in (n, n + 1)]
    return QPolygonF([*corners, place(1.0, 0.0)])


def number(value: float) -> str:
    """Write a number of an axis."""
    return f"{0.0 if abs(value) < 1e-12 else value:.5g}"
