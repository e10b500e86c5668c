"""The Time strip: a column's density and the shares of groups over the frames."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal, cast

from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QMouseEvent

from napari_rvae._napari.columns import ColumnChoice, list_columns, number_columns
from napari_rvae._napari.figure_view import Drawing, FigureView
from napari_rvae._napari.sites_step import SitesStep
from napari_rvae._napari.words import NO_SITES

if TYPE_CHECKING:
    import pandas as pd

    from napari_rvae.layers import LegendEntry

__all__ = ["TimeWidget"]

NO_MOVIE = "These sites lie in one frame: there is nothing to follow over time."
NO_COLUMNS = "These points have no columns to follow: detect atoms first (widget Detect)."

#: Width and height in pixels of the screen that the figure needs.
_LEAST = 400, 150

#: Columns that say where a site is, and not what it is.
_PLACES = ("frame", "y", "x", "source", "kind")


class _Strip(FigureView):
    """A figure in which a drag goes through the frames."""

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802 - Qt's name
        """Go on to the frame under the mouse."""
        if event.buttons() & Qt.MouseButton.LeftButton:
            self.mousePressEvent(event)


class TimeWidget(SitesStep):
    """Follows a column and groups of sites over the frames; its marker is the frame slider.

    Parameters
    ----------
    napari_viewer
        The viewer; napari fills it in by the parameter's name.
    """

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__(
            napari_viewer,
            "time",
            sites_tip="Points that were detected",
            image_tip="Image that the sites lie on",
        )
        self.inputs.setRowVisible(self.image, False)  # noqa: FBT003 - Qt's own
        self.column, self.groups = ColumnChoice("nothing"), ColumnChoice("nothing")
        for label, box, tip in (
            ("Density", self.column, "Column whose density is drawn against the frame"),
            ("Shares", self.groups, "Groups of sites whose shares are drawn against the frame"),
        ):
            box.setMinimumWidth(110)
            box.chosen.connect(self._on_columns)
            self.add_input(label, box, tip)
            self.inputs.labelForField(box).setMinimumWidth(0)
        self.view = _Strip(None, NO_SITES, least=_LEAST)
        self.view.setMinimumHeight(110)
        self.view.setToolTip("Click or drag to go to a frame")
        self.view.hit.connect(self._on_hit)
        self.view.failed.connect(partial(self.say, level="error"))
        self.body.setContentsMargins(6, 4, 6, 4)
        self.body.addWidget(self.view, 1)
        self.body.addWidget(self.status)
        self._shown: tuple[Any, ...] = ()
        self._chosen: dict[str, str | None] = {}
        self.follow_choices()
        self.listen(self.viewer.dims.events.current_step, self._on_frame)
        self.refresh()

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Size for the dock below the canvas."""
        return QSize(420, 290)

    def show_columns(self, column: str | None, groups: str | None = None) -> None:
        """Follow a column of numbers, and groups of sites, over the frames; None for neither."""
        self.refresh()  # columns that have just come are in the lists then
        for box, name in ((self.column, column), (self.groups, groups)):
            box.blockSignals(True)  # noqa: FBT003 - Qt's own
            box.choose(name)
            box.blockSignals(False)  # noqa: FBT003
        self._on_columns()

    def refresh(self) -> None:
        """Show the layer's columns over the frames, or say what is missing."""
        layer = self.sites.layer()
        self._follow(layer)
        self._show_choices(layer)
        column, groups = self.column.column(), self.groups.column()
        text = NO_SITES if layer is None else ""
        if layer is not None:
            if "frame" not in layer.features or not self.column.columns():
                text = NO_COLUMNS
            elif layer.features["frame"].nunique() < 2:
                text = NO_MOVIE
            elif column is None and groups is None:
                text = "Choose a column to follow over the frames."
        if text:
            self._shown = ()
            self.view.show_text(text)
            return
        shown = (layer.features, column, groups)
        if len(self._shown) != 3 or self._shown[0] is not shown[0] or self._shown != shown:
            self._shown = shown
            self._draw(layer, column, groups)
        self._on_frame()

    def _show_choices(self, layer: Any) -> None:
        """List the columns; at first the first latent, and the units or classes."""
        numbers = [] if layer is None else number_columns(layer.features)
        groups = [] if layer is None else _group_columns(layer.features)
        names = [column.name for group in groups for column in group]
        usual = next((name for name in ("unit", "class", "species") if name in names), None)
        first = numbers[0][0].name if numbers else None
        for box, listed, default in ((self.column, numbers, first), (self.groups, groups, usual)):
            known = [column.name for group in listed for column in group]
            kept = self._chosen.get("column" if box is self.column else "groups", default)
            box.show_columns(listed, kept if kept is None or kept in known else default)

    def _draw(self, layer: Any, column: str | None, groups: str | None) -> None:
        entries: list[LegendEntry] = []
        if groups is not None:
            from napari_rvae.layers import legend_of
            from napari_rvae.layers.colours import known_categories, known_colours
            from napari_rvae.layers.place import record_of

            record = record_of(layer)
            looks = known_categories(record, groups), known_colours(record, groups)
            entries = legend_of(layer.features, groups, *looks)
        self.view.show_drawing(partial(_drawing, layer.features, column, groups, entries))

    def _on_columns(self) -> None:
        self._chosen = {"column": self.column.column(), "groups": self.groups.column()}
        self.attempt(self.refresh)

    def _on_hit(self, row: int) -> None:
        drawing, layer = self.view.drawing, self.sites.layer()
        if drawing is not None and layer is not None and layer.ndim == 3:
            point = [0.0] * layer.ndim
            point[0] = float(list(drawing.marks)[row])
            self.viewer.dims.set_point(self.viewer.dims.ndim - 3, layer.data_to_world(point)[0])

    def _on_frame(self, _event: Any = None) -> None:
        layer = self.sites.layer()
        if layer is not None and layer.ndim == 3:
            self.view.mark(round(float(layer.world_to_data(self.viewer.dims.point)[0])))


def _group_columns(features: pd.DataFrame) -> list[Any]:
    """Columns of whole numbers or words that say what a site is, in groups."""
    found = [
        [
            column
            for column in group
            if features[column.name].dtype.kind != "f"
            and column.name not in _PLACES
            and not column.name.endswith("_id")
        ]
        for group in list_columns(features)
    ]
    return [group for group in found if group]


def _drawing(
    table: pd.DataFrame,
    column: str | None,
    groups: str | None,
    entries: list[LegendEntry],
    *place: Any,
) -> Drawing:
    """Draw the strip, in the thread of the figures."""
    import pandas as pd

    from napari_rvae.figures.time import time_figure, time_marks

    width, height, theme = place
    figure = time_figure(
        table,
        column,
        groups,
        labels={entry.value: entry.name for entry in entries},
        colors={entry.value: entry.colour for entry in entries},
        theme=cast("Literal['light', 'dark']", theme),
        size=(width, height),
    )
    marks, reach = time_marks(figure, table)
    return Drawing(figure, pd.DataFrame({"x": list(marks.values())}), marks, reach)
