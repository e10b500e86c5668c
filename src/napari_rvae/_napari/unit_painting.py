"""Pictures, atoms and shares of units, painted small."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QPointF, QRectF, Qt
from qtpy.QtGui import QColor, QFont, QImage, QPainter, QPainterPath, QPen, QPixmap, QPolygonF

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_rvae.analysis.cards import UnitCard
    from napari_rvae.analysis.motif import Motif

__all__ = ["paint_motif", "paint_picture", "paint_shares", "picture_pixmap"]

#: Radius of an atom in neighbour distances, and how it grows with brightness.
_RADIUS, _GROWTH, _LARGEST = 0.3, 0.2, 0.4
#: Height of the letters in radii of the atom, by how many there are.
_LETTER = {1: 1.5, 2: 1.25, 3: 0.9}
#: So many neighbour distances beyond the neighbours are shown: where the next bonds begin.
_BEYOND = 0.45
#: Lines on light ground are darker than their unit, in per cent.
_DARKER = 150
#: So many per cent of a picture are black, and as many white.
_PERCENT = 0.5


def picture_pixmap(picture: NDArray[np.float32] | None) -> QPixmap:
    """Pixmap of a picture (S, S) in grey, transparent where it is NaN; null for None."""
    if picture is None or not np.isfinite(picture).any():
        return QPixmap()
    from napari_rvae.figures.page import percentile_limits

    known = np.isfinite(picture)
    low, high = percentile_limits(picture, _PERCENT)
    grey = np.clip((picture - low) / (high - low), 0, 1)
    grey = np.where(known, 255 * grey, np.median(255 * grey[known])).astype(np.uint8)
    side = grey.shape[0]
    image = QImage(
        np.ascontiguousarray(grey).data, side, side, side, QImage.Format.Format_Grayscale8
    )
    return QPixmap.fromImage(image.copy())


def paint_picture(painter: QPainter, box: QRectF, pixmap: QPixmap) -> None:
    """Paint a picture as the disc that a crop is known in."""
    if pixmap.isNull():
        return
    painter.save()
    disc = QPainterPath()
    disc.addEllipse(box)
    painter.setClipPath(disc)
    painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
    painter.drawPixmap(box, pixmap, QRectF(pixmap.rect()))
    painter.restore()


def paint_motif(
    painter: QPainter, box: QRectF, card: UnitCard, ink: QColor, paper: QColor, font: QFont
) -> None:
    """Paint the central atom of a card, its neighbours, and where their bonds lead."""
    motif = card.motif
    if motif is None:
        return
    near = motif.offset[motif.neighbours]
    reach = max(float(np.hypot(*near.T).max(initial=0.0)), 1.0)
    scale = box.width() / 2 / (reach + _BEYOND)
    centre = box.center()
    places = [QPointF(centre.x() + scale * x, centre.y() + scale * y) for y, x in motif.offset]
    faint = QColor(ink)
    faint.setAlphaF(0.45)
    painter.save()
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    disc = QPainterPath()
    disc.addEllipse(box)
    painter.setClipPath(disc)
    painter.setPen(QPen(faint, 1.6))
    for one, other in motif.bonds:
        painter.drawLine(places[one], places[other])
    if not motif.has_centre:
        painter.setPen(QPen(QColor(card.color), 1.6, Qt.PenStyle.DashLine))
        painter.drawEllipse(centre, _RADIUS * scale, _RADIUS * scale)
    _paint_atoms(painter, motif, places, scale, (ink, faint, paper, QColor(card.color)), font)
    painter.restore()


def _paint_atoms(
    painter: QPainter,
    motif: Motif,
    places: list[QPointF],
    scale: float,
    colors: tuple[QColor, QColor, QColor, QColor],
    font: QFont,
) -> None:
    ink, faint, paper, rim = colors
    near = set(motif.neighbours.tolist()) | ({0} if motif.has_centre else set())
    small = QFont(font)
    small.setBold(True)
    for number, place in enumerate(places):
        grown = _RADIUS * max(float(motif.amplitude[number]), 0.2) ** _GROWTH
        radius = min(grown, _LARGEST) * scale
        central = number == 0 and motif.has_centre
        painter.setPen(QPen(rim, 2.2) if central else Qt.PenStyle.NoPen)
        painter.setBrush(ink if number in near else faint)
        painter.drawEllipse(place, radius, radius)
        if number in near:
            text = motif.label[number]
            small.setPixelSize(
                max(6, round(radius * (1.5 if len(text) < 2 else 1.25 if len(text) < 3 else 0.9)))
            )
            painter.setFont(small)
            painter.setPen(paper)
            disc = QRectF(place.x() - radius, place.y() - radius, 2 * radius, 2 * radius)
            painter.drawText(disc, Qt.AlignmentFlag.AlignCenter, text)


def paint_shares(painter: QPainter, box: QRectF, card: UnitCard, ink: QColor) -> None:
    """Paint the share over the frames as a line above the ground, nothing for one frame."""
    shares: Any = card.shares
    if not len(shares):
        return
    values = shares.loc[shares["source"] == shares["source"].iloc[0], "share"].to_numpy(float)
    if len(values) < 2:
        return
    top = max(float(np.nanmax(values)), 1e-9)
    xs = np.linspace(box.left(), box.right(), len(values))
    ys = box.bottom() - np.nan_to_num(values) / top * box.height()
    line = [QPointF(x, y) for x, y in zip(xs, ys, strict=True)]
    ground = QColor(ink)
    ground.setAlphaF(0.3)
    color, area = QColor(card.color), QColor(card.color)
    area.setAlphaF(0.25)
    if ink.lightnessF() < 0.5:  # a pale line would not be seen on light ground
        color, area = color.darker(_DARKER), color
        area.setAlphaF(0.5)
    painter.save()
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(area)
    painter.drawPolygon(QPolygonF([box.bottomLeft(), *line, box.bottomRight()]))
    painter.setPen(QPen(ground, 1.0))
    painter.drawLine(box.bottomLeft(), box.bottomRight())
    painter.setPen(QPen(color, 1.6))
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.drawPolyline(QPolygonF(line))
    painter.restore()
