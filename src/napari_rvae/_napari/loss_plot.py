"""The loss of a training, as a small plot that grows."""

from __future__ import annotations

import math
from collections.abc import Sequence

from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

__all__ = ["LossPlot", "loss_range", "round_ticks"]

#: Colours of the curves; they read on napari's light and dark backgrounds alike.
_CURVE, _HELD_OUT = "#2f8fd0", "#d08700"

#: Space between the parts of the plot, in pixels.
_GAP = 4.0

_TITLE = "loss (nats per crop)"


def round_ticks(low: float, high: float, most: int, *, whole: bool = False) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) from `low` to `high`.

    Parameters
    ----------
    low, high
        Ends of the axis.
    most
        There are at most so many, or one more where both ends are round; more where only one
        round number would lie within the ends, as an axis with one number has no scale.
    whole
        Whole numbers only.
    """
    rough = (high - low) / most
    if not (math.isfinite(rough) and rough > 0):
        return [low]
    power = 10.0 ** math.floor(math.log10(rough))
    steps = [f * power for f in (0.5, 1.0, 2.0, 5.0, 10.0)]
    wide = next(i for i, step in enumerate(steps) if step >= rough * (1 - 1e-9))
    ticks: list[float] = []
    for fine in (steps[wide], steps[wide - 1]):
        step = max(1.0, fine) if whole else fine
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        ticks = [number * step for number in range(first, last + 1)]
        if len(ticks) > 1:
            break
    return ticks


def loss_range(*curves: Sequence[float]) -> tuple[float, float]:
    """Ends of the axis of the losses of one or more curves.

    The first epochs, in which the loss falls by orders of magnitude, would flatten all the rest;
    they run out at the top.
    """
    late = [
        loss
        for losses in curves
        for loss in losses[len(losses) // 10 + (len(losses) > 3) :]
        if math.isfinite(loss)
    ]
    if not late:
        return 0.0, 1.0
    low, high = min(late), max(late)
    margin = 0.08 * (high - low) or max(0.5, 0.05 * abs(low))
    return low - margin, high + margin


class LossPlot(QWidget):
    """Plot of the loss against the epoch; colours and font are those of napari's theme."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: tuple[float, ...] = ()
        self.held_out: tuple[float, ...] = ()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setToolTip(
            "Mean loss of each epoch: how far the decoded pictures are from the crops, and what "
            "the latents cost. It falls and levels off; then more epochs gain little. Held out are "
            "crops that are not trained on: where their loss rises again, noise is learned, and "
            "the model of the epoch where it was lowest is kept."
        )

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Size that it is made for."""
        return QSize(300, 140)

    def minimumSizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """As narrow as the dock may be."""
        return QSize(180, 140)

    def show_losses(self, losses: Sequence[float], held_out: Sequence[float] = ()) -> None:
        """Show the loss of each epoch from the first, and that of the held-out crops.

        Parameters
        ----------
        losses
            Of the crops that are trained on.
        held_out
            Of those that are not; NaN or nothing where there are none.
        """
        new = tuple(float(loss) for loss in losses), tuple(float(loss) for loss in held_out)
        if new != (self.losses, self.held_out):
            self.losses, self.held_out = new
            self.update()

    # ------------------------------------------------------------------ drawing
    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 - Qt's name
        """Draw the axes and the curve."""
        del event
        with QPainter(self) as painter:
            font = self.font()
            font.setPointSizeF(max(6.5, 0.9 * font.pointSizeF()))
            painter.setFont(font)
            self._draw(painter)

    def _draw(self, painter: QPainter) -> None:
        text = painter.fontMetrics()
        curves = _known(self.losses), _known(self.held_out)
        low, high = loss_range(self.losses, self.held_out)
        last = max(2, len(self.losses))
        levels = round_ticks(low, high, 5)
        left = max(text.horizontalAdvance(_number(level)) for level in levels) + 2 * _GAP
        right = text.horizontalAdvance(_number(last)) / 2 + _GAP
        line = float(text.height())
        box = QRectF(left, line + _GAP, self.width() - left - right, 0.0)
        box.setBottom(self.height() - 2 * line - _GAP)
        painter.setPen(self.palette().windowText().color())
        painter.drawText(QPointF(_GAP, line - _GAP / 2), _TITLE)
        below = QRectF(box.left(), self.height() - line, box.width(), line)
        painter.drawText(below, Qt.AlignmentFlag.AlignCenter, "epoch")

        def place(epoch: float, loss: float) -> QPointF:
            x = box.left() + (epoch - 1) / (last - 1) * box.width()
            return QPointF(x, box.bottom() - (loss - low) / (high - low) * box.height())

        for level in levels:
            _draw_level(painter, box, place(1, level).y(), _number(level))
        for epoch in round_ticks(1, last, max(2, int(box.width() / 45)), whole=True):
            if epoch >= 1:
                _draw_tick(painter, box, place(epoch, low).x(), _number(epoch))
        painter.drawLine(box.bottomLeft(), box.bottomRight())
        for known, colour in zip(curves, (_CURVE, _HELD_OUT), strict=True):
            _draw_curve(painter, box, [place(epoch, loss) for epoch, loss in known], colour)
        if curves[1]:  # one curve alone needs no name
            ground = self.palette().window().color()
            _draw_names(painter, box, {"training": _CURVE, "held out": _HELD_OUT}, ground)


def _known(losses: Sequence[float]) -> list[tuple[int, float]]:
    """Epochs, from 1, and losses that are numbers."""
    return [(n, loss) for n, loss in enumerate(losses, start=1) if math.isfinite(loss)]


def _draw_level(painter: QPainter, box: QRectF, y: float, number: str) -> None:
    """Draw a number beside the box, and a faint line at its height."""
    pen = painter.pen()
    faint = pen.color()
    faint.setAlphaF(0.2)
    painter.setPen(faint)
    painter.drawLine(QPointF(box.left(), y), QPointF(box.right(), y))
    painter.setPen(pen)
    line = painter.fontMetrics().height()
    beside = QRectF(0.0, y - line / 2, box.left() - _GAP, line)
    painter.drawText(beside, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, number)


def _draw_tick(painter: QPainter, box: QRectF, x: float, number: str) -> None:
    """Draw a number below the box, and a tick."""
    painter.drawLine(QPointF(x, box.bottom()), QPointF(x, box.bottom() + _GAP))
    below = QRectF(x - 30, box.bottom() + _GAP, 60, painter.fontMetrics().height())
    painter.drawText(below, Qt.AlignmentFlag.AlignCenter, number)


def _draw_curve(painter: QPainter, box: QRectF, points: list[QPointF], colour: str) -> None:
    if not points:
        return
    painter.save()
    # the axes are drawn without, so that they are sharp
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setClipRect(box.adjusted(-3, 0, 3, 3))
    painter.setPen(QPen(QColor(colour), 1.8))
    painter.drawPolyline(QPolygonF(points))
    painter.setBrush(QColor(colour))
    painter.drawEllipse(points[-1], 2.2, 2.2)
    painter.restore()


def _draw_names(painter: QPainter, box: QRectF, names: dict[str, str], ground: QColor) -> None:
    """Draw the names of the curves in their colours, in the corner that curves leave first.

    No line of the axes strikes them through.
    """
    painter.save()
    text = painter.fontMetrics()
    line, wide = text.height(), max(text.horizontalAdvance(name) for name in names)
    left = box.right() - wide - _GAP
    painter.fillRect(QRectF(left, box.top() - 1, wide + _GAP, len(names) * line + 1), ground)
    for number, (name, colour) in enumerate(names.items()):
        painter.setPen(QColor(colour))
        row = QRectF(box.left(), box.top() + number * line, box.width(), line)
        painter.drawText(row, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, name)
    painter.restore()


def _number(value: float) -> str:
    """Write a number of an axis."""
    return f"{value:.6g}"
