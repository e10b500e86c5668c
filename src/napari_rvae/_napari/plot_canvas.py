"""A plot of two columns that is drawn at once, however many points there are, and chosen in.

Points are painted by the library as pixels; Qt shows them and draws the rest.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from qtpy.QtCore import QEvent, QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import (
    QColor,
    QFontMetricsF,
    QImage,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QPolygonF,
    QResizeEvent,
    QWheelEvent,
)
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_rvae._napari.plot_frame import (
    MARGIN,
    PlotFrame,
    draw_axes,
    draw_margins,
    fit_box,
    ticks_of,
)
from napari_rvae._napari.plot_frame import number as number_text
from napari_rvae._napari.plot_legend import draw_key, key_width

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_rvae.analysis.scatter import Scatter
    from napari_rvae.layers import PlotKey

    Pixels = NDArray[np.uint8]

__all__ = ["PlotCanvas", "Plotted", "Tool"]

Tool = Literal["lasso", "box", "move"]

#: Radius of a point in pixels of the screen, and of the ring round one that is selected.
_RADIUS, _RING = 1.9, 3.6

#: Pixels are painted so many times finer than the screen's, and shown smoothly.
_FINER = 2.0

#: Colours that read on napari's light and dark backgrounds alike.
_SELECTED, _OTHERS = "#ff5a36", (128, 128, 128, 70)

#: Cells of a density, and bars of a histogram, are so many pixels of the screen wide.
_CELL, _BAR = 3, 6

#: A plot that is narrower has no room for a colour bar, or for a legend.
_BAR_FROM, _LEGEND_FROM = 220, 300

#: A press that moves less than this is a click.
_CLICK = 4.0


@dataclass(frozen=True, eq=False)
class Plotted:
    """What a plot shows.

    Attributes
    ----------
    points
        The sites.
    colours
        Colour (M, 4) of each, 0 to 255.
    here
        Which of them (M,) are asked about, such as those of one frame; the others are faint.
    x_label, y_label
        What the axes are.
    density
        Colours (256, 4) of a density, 0 to 255.
    key
        What the colours mean, None where nothing is coloured by.
    """

    points: Scatter
    colours: Pixels
    here: NDArray[np.bool_]
    x_label: str
    y_label: str
    density: Pixels
    key: PlotKey | None = None


class PlotCanvas(QWidget):
    """Shows points or their density, histograms at the margins, and what is selected."""

    lassoed = Signal(object, str)  # corners (V, 2) in values, and what becomes of the selection
    boxed = Signal(object, str)  # two corners (2, 2)
    clicked = Signal(object, str)  # (x, y)
    hovered = Signal(object)  # (x, y)
    left = Signal()
    undo_asked = Signal(bool)  # whether back

    def __init__(self) -> None:
        super().__init__()
        self.tool: Tool = "lasso"
        self.plotted: Plotted | None = None
        self.text = ""
        self.view = PlotFrame(QRectF(), (0.0, 1.0), (0.0, 1.0))
        self._home = ((0.0, 1.0), (0.0, 1.0))
        self._selected: Any = np.zeros(0, np.int64)
        self._ground: tuple[QImage, QRectF] | None = None
        self._layers: dict[str, Any] = {}
        self._drag: list[QPointF] = []
        self._button = Qt.MouseButton.NoButton
        self._line = 12.0
        self.setMouseTracking(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setCursor(Qt.CursorShape.CrossCursor)

    # ------------------------------------------------------------------ what is shown
    def show_plot(self, plotted: Plotted | None, text: str = "") -> None:
        """Show other points, or a text instead of them; the view stays."""
        self.plotted, self.text = plotted, text
        self._selected = np.zeros(0, np.int64)
        self._renew()

    def show_selected(self, rows: NDArray[np.int64]) -> None:
        """Ring some of the points, by their numbers in :attr:`Plotted.points`."""
        self._selected = rows
        self._layers.pop("selected", None)
        self.update()

    def show_ground(self, picture: Pixels | None, place: QRectF | None = None) -> None:
        """Show a picture (Y, X, 4) below the points, at a place in values (y upwards)."""
        self._ground = None
        if picture is not None and place is not None:
            self._ground = _image(picture), place
        self.update()

    def set_home(self, x_ends: tuple[float, float], y_ends: tuple[float, float]) -> None:
        """Set the view to go back to, and go there."""
        self._home = x_ends, y_ends
        self.go_home()

    def go_home(self) -> None:
        """Show all of the points."""
        self._look(replace(self.view, x_ends=self._home[0], y_ends=self._home[1]))

    def set_tool(self, tool: Tool) -> None:
        """Choose what a drag with the left button does."""
        self.tool = tool
        moving = Qt.CursorShape.OpenHandCursor
        self.setCursor(moving if tool == "move" else Qt.CursorShape.CrossCursor)

    def _look(self, view: PlotFrame) -> None:
        self.view = view
        self._renew()

    def _renew(self) -> None:
        """Forget what was painted."""
        self._layers.clear()
        self._fit()
        self.update()

    def _fit(self) -> None:
        """Find the room for the points beside the numbers."""
        text = self.fontMetrics()
        self._line = float(text.height())
        _, up = ticks_of(replace(self.view, box=QRectF(0, 0, self.width(), self.height())))
        usual = text.horizontalAdvance("-0.00")  # the box stays where it is in most views
        left = max((text.horizontalAdvance(number_text(value)) for value in up), default=usual)
        left = max(left, usual)
        right = key_width(QFontMetricsF(self.font()), self._key(), self.width())
        box = fit_box(self._line, self.width(), self.height(), float(left), right)
        self.view = replace(self.view, box=box)

    def _key(self) -> PlotKey | None:
        """What the colours mean; a narrow plot has no room for it, and a density none of them."""
        shown = self.plotted
        if shown is None or shown.key is None:
            return None
        if self.width() < (_LEGEND_FROM if shown.key.bar is None else _BAR_FROM):
            return None
        return None if shown.points.take(shown.here).is_dense else shown.key

    # ------------------------------------------------------------------ painting
    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Size that it is made for."""
        return QSize(420, 260)

    def minimumSizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """As small as can be read."""
        return QSize(190, 160)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 - Qt's name
        """Draw everything."""
        del event
        with QPainter(self) as painter:
            painter.setPen(self.palette().windowText().color())
            if self.plotted is None:
                flags = Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap
                painter.drawText(self.rect(), int(flags), self.text)
                return
            painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
            self._draw_points(painter)
            painter.setRenderHint(QPainter.RenderHint.Antialiasing)
            draw_margins(painter, self.view.box, *self._margins())
            painter.setRenderHint(QPainter.RenderHint.Antialiasing, on=False)
            draw_axes(painter, self.view, self.plotted.x_label, self.plotted.y_label)
            key, box = self._key(), self.view.box
            if key is not None:
                left = box.right() + MARGIN
                draw_key(painter, QRectF(left, box.top(), self.width() - left, box.height()), key)
            self._draw_drag(painter)

    def _draw_points(self, painter: QPainter) -> None:
        painter.save()
        painter.setClipRect(self.view.box)
        if self._ground is not None:
            ground, place = self._ground
            corners = (place.left(), place.bottom()), (place.right(), place.top())
            painter.drawImage(QRectF(*(self.view.on_screen(*at) for at in corners)), ground)
        for name in ("others", "here", "selected"):
            image = self._painted(name)
            if image is not None:
                painter.drawImage(self.view.box, image)
        painter.restore()

    def _painted(self, name: str) -> QImage | None:
        """Pixels of a part of the plot, painted when they are first asked for."""
        if name not in self._layers:
            made = getattr(self, f"_paint_{name}")()
            self._layers[name] = None if made is None else _image(made)
        found: QImage | None = self._layers[name]
        return found

    def _frame(self) -> dict[str, Any]:
        """Ends and size of the pixels that are painted."""
        finer = _FINER * self.devicePixelRatioF()
        size = self.view.box.height(), self.view.box.width()
        shape = tuple(max(2, round(side * finer)) for side in size)
        return {"x_ends": self.view.x_ends, "y_ends": self.view.y_ends, "shape": shape}

    def _paint_others(self) -> Pixels | None:
        shown = self.plotted
        if shown is None or shown.here.all():
            return None
        return self._discs(shown.points.take(~shown.here), np.array(_OTHERS, np.uint8), _RADIUS)

    def _paint_here(self) -> Pixels | None:
        shown = self.plotted
        if shown is None:
            return None
        points = shown.points.take(shown.here)
        if not points.is_dense:
            return self._discs(points, shown.colours[shown.here], _RADIUS)
        from napari_rvae.analysis.scatter import density_counts
        from napari_rvae.figures.raster import paint_density

        box = self.view.box
        cells = max(2, round(box.height() / _CELL)), max(2, round(box.width() / _CELL))
        counts = density_counts(points, self.view.x_ends, self.view.y_ends, cells)
        return paint_density(counts, shown.density)

    def _paint_selected(self) -> Pixels | None:
        shown = self.plotted
        if shown is None or not len(self._selected):
            return None
        rows = self._selected
        few = replace(
            shown.points, row=shown.points.row[rows], x=shown.points.x[rows], y=shown.points.y[rows]
        )
        ring = np.array(QColor(_SELECTED).getRgb(), np.uint8)
        below = self._discs(few, ring, _RING)
        above = self._discs(few, shown.colours[rows], _RADIUS)
        return np.where(above[..., 3:] > 0, above, below)

    def _discs(self, points: Scatter, colours: Pixels, radius: float) -> Pixels:
        from napari_rvae.figures.raster import paint_points

        finer = _FINER * self.devicePixelRatioF()
        return paint_points(points.x, points.y, colours, **self._frame(), radius=radius * finer)

    def _margins(self) -> tuple[list[int], list[int]]:
        """Histograms of what is asked about, over what is seen."""
        if "margins" not in self._layers:
            from napari_rvae.analysis.scatter import bin_counts

            assert self.plotted is not None  # noqa: S101 - the caller has looked
            points, box = self.plotted.points.take(self.plotted.here), self.view.box
            self._layers["margins"] = tuple(
                bin_counts(values, ends, max(4, int(size / _BAR))).tolist()
                for values, ends, size in (
                    (points.x, self.view.x_ends, box.width()),
                    (points.y, self.view.y_ends, box.height()),
                )
            )
        found: tuple[list[int], list[int]] = self._layers["margins"]
        return found

    def _draw_drag(self, painter: QPainter) -> None:
        """Draw the lasso or the rectangle that is being drawn."""
        if len(self._drag) < 2 or self._button != Qt.MouseButton.LeftButton or self.tool == "move":
            return
        colour = QColor(_SELECTED)
        painter.setPen(QPen(colour, 1.5))
        colour.setAlphaF(0.15)
        painter.setBrush(colour)
        painter.setClipRect(self.view.box)
        if self.tool == "lasso":
            painter.drawPolygon(QPolygonF(self._drag))
        else:
            painter.drawRect(QRectF(self._drag[0], self._drag[-1]).normalized())

    # ------------------------------------------------------------------ mouse and keys
    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802 - Qt's name
        """Begin a drag."""
        if self.plotted is not None and self._button == Qt.MouseButton.NoButton:
            self._button, self._drag = event.button(), [event.position()]

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802 - Qt's name
        """Go on with a drag, or tell what lies under the mouse."""
        if self.plotted is None:
            return
        place = event.position()
        if self._drag and self._moves():
            self._look(self.view.moved(self._drag[-1], place))
        if self._drag:
            self._drag.append(place)
            self.update()
        elif self.view.box.contains(place):
            self.hovered.emit(self.view.value_at(place))
        else:
            self.left.emit()

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:  # noqa: N802 - Qt's name
        """Tell what was drawn round."""
        if event.button() != self._button or not self._drag:
            return
        drag, moves, how = self._drag, self._moves(), _how(event)
        left = self._button == Qt.MouseButton.LeftButton
        self._drag, self._button = [], Qt.MouseButton.NoButton
        self.update()
        corners = np.array([self.view.value_at(place) for place in drag])
        far = max((place - drag[0]).manhattanLength() for place in drag)
        if far < _CLICK:
            if left and self.view.box.contains(drag[0]):
                self.clicked.emit(self.view.value_at(drag[0]), how)
        elif moves:
            return
        elif self.tool == "box":
            self.boxed.emit(corners[[0, -1]], how)
        elif len(corners) > 2:
            self.lassoed.emit(corners, how)

    def _moves(self) -> bool:
        """Whether the drag moves the view."""
        return self.tool == "move" or self._button != Qt.MouseButton.LeftButton

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:  # noqa: N802 - Qt's name
        """Show all of the points again."""
        del event
        self.go_home()

    def wheelEvent(self, event: QWheelEvent) -> None:  # noqa: N802 - Qt's name
        """Zoom about the mouse."""
        if self.plotted is not None:
            self._look(self.view.zoomed(event.position(), 1.2 ** (event.angleDelta().y() / 120)))
        event.accept()

    def leaveEvent(self, event: QEvent) -> None:  # noqa: N802 - Qt's name
        """Tell that the mouse is gone."""
        super().leaveEvent(event)
        self.left.emit()

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802 - Qt's name
        """Give up a drag, select nothing, go home, undo and redo."""
        control = bool(event.modifiers() & Qt.KeyboardModifier.ControlModifier)
        if event.key() == Qt.Key.Key_Escape and self._drag:
            self._drag, self._button = [], Qt.MouseButton.NoButton
            self.update()
        elif event.key() == Qt.Key.Key_Home:
            self.go_home()
        elif control and event.key() == Qt.Key.Key_Z:
            back = not event.modifiers() & Qt.KeyboardModifier.ShiftModifier
            self.undo_asked.emit(bool(back))
        else:
            super().keyPressEvent(event)

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802 - Qt's name
        """Paint anew in the new size."""
        super().resizeEvent(event)
        self._renew()

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802 - Qt's name
        """Follow the theme and the font."""
        super().changeEvent(event)
        if event.type() in (QEvent.Type.StyleChange, QEvent.Type.FontChange):
            self._renew()


def _how(event: QMouseEvent) -> str:
    """What becomes of the selection: Shift adds to it, Ctrl (Cmd) takes from it."""
    if event.modifiers() & Qt.KeyboardModifier.ShiftModifier:
        return "add"
    if event.modifiers() & Qt.KeyboardModifier.ControlModifier:
        return "remove"
    return "replace"


def _image(pixels: Pixels) -> QImage:
    """Image of pixels (Y, X, 4), with a copy of them."""
    height, width = pixels.shape[:2]
    plain = np.ascontiguousarray(pixels)
    return QImage(plain.data, width, height, 4 * width, QImage.Format.Format_RGBA8888).copy()
