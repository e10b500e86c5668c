"""What the colours of the Latent plot mean, drawn beside it: a bar, or names with counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QPointF, QRectF, Qt
from qtpy.QtGui import QColor, QFontMetricsF, QLinearGradient, QPainter

from napari_rvae._napari.loss_plot import round_ticks
from napari_rvae._napari.plot_frame import number

if TYPE_CHECKING:
    from napari_rvae.layers import PlotKey

__all__ = ["draw_key", "key_width"]

#: Width of a bar, diameter of a disc, and space between parts, in pixels of the screen.
_BAR, _DISC, _GAP = 10.0, 8.0, 5.0

#: A legend takes at most this share of the widget's width; longer names end in dots.
_MOST_SHARE = 0.3

#: Pixels of the screen between two numbers of the bar, at least.
_APART = 30.0


def key_width(text: QFontMetricsF, key: PlotKey | None, width: float) -> float:
    """Room that a key needs beside a plot, both in pixels of the screen; none where none is."""
    if key is None:
        return 0.0
    if key.bar is not None:
        numbers = (text.horizontalAdvance(number(value)) for value in _ticks(key, 5))
        return _BAR + max(numbers, default=0.0) + text.height() + 4 * _GAP
    names = [text.horizontalAdvance(line) for line in _lines(key)]
    widest = max([*names, text.horizontalAdvance(key.title) - _DISC - _GAP], default=0.0)
    return min(widest + _DISC + 3 * _GAP, _MOST_SHARE * width)


def draw_key(painter: QPainter, room: QRectF, key: PlotKey) -> None:
    """Draw a key.

    Parameters
    ----------
    painter
        Its pen is that of the text.
    room
        Where to, as wide as :func:`key_width` says.
    key
        What to draw.
    """
    painter.save()
    if key.bar is not None:
        _draw_bar(painter, room, key)
    else:
        _draw_names(painter, room, key)
    painter.restore()


def _ticks(key: PlotKey, most: int) -> list[float]:
    return round_ticks(*key.ends, most)


def _draw_bar(painter: QPainter, room: QRectF, key: PlotKey) -> None:
    """Draw the colours, the lowest at the bottom, with round numbers beside and the title."""
    assert key.bar is not None  # noqa: S101 - the caller has looked
    box = QRectF(room.left() + 2 * _GAP, room.top(), _BAR, room.height())
    colours = QLinearGradient(box.bottomLeft(), box.topLeft())
    for place in range(0, 256, 5):
        colours.setColorAt(place / 255, QColor(*(int(part) for part in key.bar[place])))
    painter.fillRect(box, colours)
    painter.drawRect(box)
    low, high = key.ends
    line = float(painter.fontMetrics().height())
    for value in _ticks(key, max(2, int(box.height() / _APART))):
        y = box.bottom() - (value - low) / (high - low) * box.height()
        painter.drawLine(QPointF(box.right(), y), QPointF(box.right() + 3, y))
        beside = QRectF(box.right() + _GAP, y - line / 2, room.right() - box.right(), line)
        flags = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
        painter.drawText(beside, flags, number(value))
    numbers = (painter.fontMetrics().horizontalAdvance(number(v)) for v in _ticks(key, 5))
    painter.translate(box.right() + 2 * _GAP + max(numbers, default=0) + line / 2, box.center().y())
    painter.rotate(-90)
    beside = QRectF(-box.height() / 2, -line / 2, box.height(), line)
    painter.drawText(beside, Qt.AlignmentFlag.AlignCenter, key.title)


def _lines(key: PlotKey) -> list[str]:
    return [f"{entry.name}  {entry.count:,}" for entry in key.entries]


def _draw_names(painter: QPainter, room: QRectF, key: PlotKey) -> None:
    """Draw the title, and a disc, a name and a count for each category, as far as there is room."""
    text = QFontMetricsF(painter.font())
    line, left = text.height() + 1.0, room.left() + 2 * _GAP
    fits = max(1, int(room.height() / line) - 1)
    lines = _lines(key)
    shown = len(lines) if len(lines) <= fits else fits - 1
    width = room.right() - left - _DISC - _GAP
    end = Qt.TextElideMode.ElideRight
    title = QRectF(left, room.top(), room.right() - left, line)
    flags = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
    painter.drawText(title, flags, text.elidedText(key.title, end, title.width()))
    pen = painter.pen()
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    for row, entry in enumerate(key.entries[:shown], start=1):
        top = room.top() + row * line
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(entry.colour))
        painter.drawEllipse(QRectF(left, top + (line - _DISC) / 2, _DISC, _DISC))
        painter.setPen(pen)
        place = QRectF(left + _DISC + _GAP, top, width, line)
        count = f"  {entry.count:,}"
        name = text.elidedText(entry.name, end, width - text.horizontalAdvance(count))
        painter.drawText(place, flags, name + count)
    if shown < len(lines):
        place = QRectF(left, room.top() + (shown + 1) * line, room.right() - left, line)
        painter.drawText(place, flags, f"… {len(lines) - shown} more")
