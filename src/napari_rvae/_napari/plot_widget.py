"""The Latent plot: two columns against each other, linked with the points in the viewer."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from qtpy.QtCore import QRectF, QSize, Qt, QTimer
from qtpy.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QFrame,
    QHBoxLayout,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from napari_rvae._napari import editing
from napari_rvae._napari.class_list import ClassList
from napari_rvae._napari.columns import ColumnChoice, list_columns, number_columns
from napari_rvae._napari.layer_kinds import METADATA_KEY, record_of
from napari_rvae._napari.panel import button
from napari_rvae._napari.place_panel import PlacePanel
from napari_rvae._napari.plot_canvas import PlotCanvas, Plotted, Tool
from napari_rvae._napari.sites_step import SitesStep
from napari_rvae._napari.taking_away import ask_figure
from napari_rvae._napari.words import NO_SITES, count

if TYPE_CHECKING:
    from napari_rvae.analysis.plane import LatentPlane
    from napari_rvae.layers.selection import How

__all__ = ["PlotWidget"]

NO_COLUMNS = "These points have no columns to plot: detect atoms first (widget Detect)."
NO_VALUES = "No site has a value of both columns."
NO_PLANE = "Choose two latents for the axes to see what the model shows under the mouse."
NO_MODEL = "Load or train a model to see what it shows under the mouse (widget Train)."
HOVER = "Move the mouse over the plot to see what the model shows there."
AS_IN_VIEWER = "as in viewer"

#: Widths of what stands left and right of the plot, at least and at most, in pixels of the screen.
_LEFT, _RIGHT = (198, 226), (152, 214)

#: Width of the choice of sites, at least.
_CHOICE = 90

#: Sites that a click takes at most this far from it, in pixels of the screen.
_NEAR = 9.0

#: Axes to begin with, the best first, where the sites have both columns.
_USUAL_AXES = (("z0", "z1"), ("amplitude", "snr"), ("curvature", "strength"))

#: A click on a grid of pictures takes so many sites that look most like the picture.
_NEAREST = 30

_TOOLS: dict[Tool, tuple[str, str]] = {
    "lasso": ("Lasso", "Draw round sites to select them; Shift adds, Ctrl takes out"),
    "box": ("Box", "Drag a rectangle round sites; Shift adds, Ctrl takes out"),
    "move": ("Move", "Drag the view (the right button does it with any tool); the wheel zooms"),
}


class PlotWidget(SitesStep):
    """Choose sites in the plane of two columns, name them, see what the model shows there.

    Parameters
    ----------
    napari_viewer
        The viewer; napari fills it in by the parameter's name.
    """

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__(
            napari_viewer,
            "plot",
            sites_tip="Points that were detected",
            image_tip="Image that the sites lie on",
        )
        self.inputs.setRowVisible(self.image, False)  # noqa: FBT003 - Qt's own
        self._shown: tuple[Any, ...] = ()
        self._stale = True
        self._seen = np.zeros(0, bool)  # which points are not hidden
        self._axes: tuple[Any, ...] = ()
        self._plane: tuple[Any, LatentPlane | None] = (None, None)
        self.canvas = PlotCanvas()
        self.across, self.up = ColumnChoice(none=None), ColumnChoice(none=None)
        self.color = ColumnChoice(none=AS_IN_VIEWER)
        self.only_frame = QCheckBox("only this frame")
        self.only_frame.setToolTip("Ask about the sites of the frame that the slider shows")
        self.classes = ClassList(self.name_selection)
        self.place = PlacePanel()
        self._lay_out()
        self._connect()
        self.refresh()

    # ------------------------------------------------------------------ layout
    def _lay_out(self) -> None:
        """Put choices left, the plot in the middle, classes and pictures right."""
        for label, box, tip in (
            ("x", self.across, "Column that grows to the right"),
            ("y", self.up, "Column that grows upwards"),
            ("Colour", self.color, "What the colour of a point shows"),
        ):
            self.add_input(label, box, tip)
            box.setMinimumContentsLength(7)
            self.inputs.labelForField(box).setMinimumWidth(0)
        self.sites.setMinimumWidth(_CHOICE)
        form = cast("QWidget", self.inputs.parentWidget())
        self.body.removeWidget(form)
        self.figure = button(
            "Figure…",
            "Write the plot as it is shown, at the width of a column (85 mm): PNG, SVG or PDF",
            self._ask_figure,
        )
        left, choices = _side(*_LEFT)
        choices.addWidget(form)
        choices.addLayout(self._tool_row())
        choices.addWidget(self.only_frame)
        choices.addLayout(self._button_row())
        choices.addWidget(self.figure)
        choices.addWidget(self.status)
        choices.addStretch(1)
        right, found = _side(*_RIGHT)
        found.addWidget(self.classes, 1)
        found.addWidget(self.place)
        row = QHBoxLayout()
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(left, 1)
        row.addWidget(self.canvas, 4)
        row.addWidget(right, 1)
        self.body.setContentsMargins(6, 4, 6, 4)
        self.body.addLayout(row, 1)

    def _tool_row(self) -> QHBoxLayout:
        self.tools: dict[Tool, QPushButton] = {}
        row, group = QHBoxLayout(), QButtonGroup(self)
        for tool, (text, tip) in _TOOLS.items():
            made = button(text, tip, partial(self.canvas.set_tool, tool))
            made.setCheckable(True)
            made.setChecked(tool == self.canvas.tool)
            group.addButton(made)
            row.addWidget(made)
            self.tools[tool] = made
        return row

    def _button_row(self) -> QHBoxLayout:
        row = QHBoxLayout()
        self.whole = button("All", "Show all of the points (double click)", self.canvas.go_home)
        self.back = button("Undo", "Take back the last step (Ctrl+Z)", partial(self.step_back))
        self.again = button(
            "Redo", "Do again what was taken back (Ctrl+Shift+Z)", partial(self.step_forward)
        )
        for made in (self.whole, self.back, self.again):
            row.addWidget(made)
        return row

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Size for the dock below the canvas."""
        return QSize(940, 290)

    def _connect(self) -> None:
        self.follow_choices()
        self._soon.setInterval(30)
        self.listen(self.viewer.dims.events.current_step, self._on_frame)
        for box in (self.across, self.up, self.color):
            box.chosen.connect(self._on_columns)
        self.only_frame.toggled.connect(self.refresh)
        self.canvas.lassoed.connect(lambda at, how: self.select(polygon=at, how=how))
        self.canvas.boxed.connect(lambda at, how: self.select(box=at, how=how))
        self.canvas.clicked.connect(self._on_click)
        self.canvas.undo_asked.connect(
            lambda back: self.step_back() if back else self.step_forward()
        )
        self.classes.recalled.connect(self.select_class)
        self.place.ground_chosen.connect(self.show_grid)
        # only the newest place of the mouse is decoded
        self._hover: Any = None
        self._decode = QTimer(self)
        self._decode.setSingleShot(True)
        self._decode.timeout.connect(self._show_place)
        self.canvas.hovered.connect(self._on_hover)

    # ------------------------------------------------------------------ what is done
    def show_columns(self, x: str, y: str, color: str | None = None) -> None:
        """Plot two columns against each other, coloured by a third."""
        self.refresh()  # columns that have just come are in the lists then
        for box, name in ((self.across, x), (self.up, y), (self.color, color)):
            box.blockSignals(True)  # noqa: FBT003 - Qt's own
            box.choose(name)
            box.blockSignals(False)  # noqa: FBT003
        self._on_columns()

    def select(self, *, how: str = "replace", **part: Any) -> None:
        """Select the sites in a part of the plane, as :func:`napari_rvae.select_sites` says.

        Parameters
        ----------
        how
            "replace", "add" or "remove".
        part
            ``polygon``, ``box`` or ``near``, in the values that the plot shows.
        """

        def choose() -> None:
            from napari_rvae import select_sites

            layer, frame = self.sites.layer(), self._frame()
            axes = cast("str", self.across.column()), cast("str", self.up.column())
            shown = np.asarray(layer.shown, bool)
            seen = layer.features if shown.all() else layer.features[shown]
            sites = select_sites(seen, *axes, **part, frame=frame, in_degrees=True)
            editing.select(layer, sites, how=cast("How", how))
            self._tell_selected(layer)

        self.attempt(choose)

    def _on_click(self, place: tuple[float, float], how: str) -> None:
        """Select the site that was clicked; nothing beside all of them selects nothing."""
        width, height = self.canvas.view.pixel_size()
        plotted = self.canvas.plotted
        if plotted is None:
            return
        if self.place.grid_kind() and self._latents() is not None:
            self.select(near=place, n=_NEAREST, how=how)
            return
        x, y = plotted.points.x[plotted.here], plotted.points.y[plotted.here]
        if np.hypot((x - place[0]) / width, (y - place[1]) / height).min(initial=np.inf) <= _NEAR:
            self.select(near=place, unit_lengths=(width, height), how=how)
        elif how == "replace":
            layer = self.sites.layer()
            self.attempt(lambda: editing.select(layer, []))
            self._tell_selected(layer)

    def name_selection(self, name: str) -> None:
        """Give the selected sites a class, as :func:`napari_rvae.name_selection` says."""

        def give() -> None:
            layer = self._need_sites()
            number = editing.name_selected(layer, name)
            text = f"are now {name!r}" if name else "have no class now"
            self.say(f"{count(number, 'site')} {text}; colour by class to see it.", "done")
            self.classes.name.clear()

        self.attempt(give)

    def select_class(self, name: str, how: str = "replace") -> None:
        """Select the sites of a class."""

        def recall() -> None:
            from napari_rvae.analysis.selection import CLASS

            layer = self._need_sites()
            chosen = layer.features.loc[layer.features[CLASS] == name, "site_id"]
            editing.select(layer, chosen, how=cast("How", how))
            self._tell_selected(layer)

        self.attempt(recall)

    def step_back(self) -> None:
        """Take back the last selection, class or edit."""
        self._step(editing.undo, "Undone")

    def step_forward(self) -> None:
        """Do again what was taken back."""
        self._step(editing.redo, "Done again")

    def save_figure(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the plot as it is shown, as :func:`napari_rvae.save_plot_figure` says."""

        def save() -> None:
            from napari_rvae import save_plot_figure

            view = self.canvas.view
            axes = cast("str", self.across.column()), cast("str", self.up.column())
            file = save_plot_figure(
                self._need_sites(),
                *axes,
                path,
                color=self.color.column(),
                frame=self._frame(),
                x_ends=view.x_ends,
                y_ends=view.y_ends,
                overwrite=overwrite,
            )
            self.say(f"Figure of the plot, 85 mm wide, in {file}", "done")

        self.attempt(save)

    def _ask_figure(self) -> None:
        ask_figure(self, "plot.png", self.save_figure)

    def _step(self, step: Any, words: str) -> None:
        text = self.attempt(lambda: step(self._need_sites()))
        if text:
            self.say(f"{words}: {text}.", "done")
        self.refresh()

    def _need_sites(self) -> Any:
        from napari_rvae.errors import InputError

        layer = self.sites.layer()
        if layer is None:
            raise InputError(NO_SITES)
        return layer

    def _tell_selected(self, layer: Any) -> None:
        self._show_steps(layer)
        number = len(layer.selected_data)
        self.say(f"{count(number, 'site')} selected.", "done" if number else "info")

    # ------------------------------------------------------------------ what is shown
    def refresh(self) -> None:
        """Show the layer's columns, points and selection, or say what is missing."""
        layer = self.sites.layer()
        self._follow(layer)
        self._show_choices(layer)
        names = self.across.column(), self.up.column()
        usable = layer is not None and "site_id" in layer.features and None not in names
        text = NO_SITES if layer is None else NO_COLUMNS
        if usable:
            self._show_points(layer)
            shown = self.canvas.plotted
            text = "" if shown is not None and len(shown.points) else NO_VALUES
        if text:
            self._shown = ()
            self.canvas.show_plot(None, text)
        others = (self.whole, self.only_frame, self.figure, self.classes)
        for part in (*self.tools.values(), *others):
            part.setEnabled(not text)
        self._show_classes(layer if usable else None)
        self._show_steps(layer)
        self._show_plane_state()

    def _show_choices(self, layer: Any) -> None:
        """List the columns, and choose those that were shown last, or the first two."""
        numbers = [] if layer is None else number_columns(layer.features)
        known = [column.name for group in numbers for column in group]
        kept = record_of(layer).get("plot") or {}
        first = known[0] if known else None
        second = known[1] if len(known) > 1 else first
        for usual in _USUAL_AXES:
            if set(usual) <= set(known):
                first, second = usual
                break
        for box, name, default in ((self.across, "x", first), (self.up, "y", second)):
            wanted = kept.get(name)
            box.show_columns(numbers, wanted if wanted in known else default)
        groups = [] if layer is None else list_columns(layer.features)
        names = [column.name for group in groups for column in group]
        wanted = kept.get("color")
        self.color.show_columns(groups, wanted if wanted in names else None)

    def _show_points(self, layer: Any) -> None:
        """Show points, colours and frame, as far as they have changed."""
        from napari_rvae.analysis.scatter import plot_range, scatter_of
        from napari_rvae.layers import density_colours, plot_key, plotted_colours

        x, y, color = (box.column() for box in (self.across, self.up, self.color))
        frame = self._frame()
        key = (layer.features, x, y, color, frame)
        same = len(key) == len(self._shown) and all(
            one is two or (isinstance(one, (str, int)) and one == two)
            for one, two in zip(key, self._shown, strict=True)
        )
        if not same or self._stale:
            self._shown, self._stale = key, False
            features = layer.features
            self._seen = np.array(layer.shown, bool)
            points = scatter_of(features, str(x), str(y))
            ends = plot_range(points.x), plot_range(points.y)
            points = points.take(self._seen[points.row])
            here = np.ones(len(points), bool)
            if frame is not None:
                here = features["frame"].to_numpy()[points.row] == frame
            self.canvas.show_plot(
                Plotted(
                    points,
                    plotted_colours(layer, color)[points.row],
                    here,
                    self.across.currentText(),
                    self.up.currentText(),
                    density_colours(),
                    plot_key(layer, color, rows=points.row[here]),
                )
            )
            if self._axes != (layer, x, y):
                self._axes = (layer, x, y)
                self.canvas.set_home(*ends)
                self.show_grid()
        self._show_selected(layer)

    def _show_selected(self, layer: Any) -> None:
        """Ring the points that are selected in the viewer."""
        plotted = self.canvas.plotted
        if plotted is not None:
            chosen = np.zeros(len(layer.data), bool)
            rows = np.fromiter(layer.selected_data, np.int64, len(layer.selected_data))
            chosen[rows[rows < len(chosen)]] = True
            within = plotted.points.row < len(chosen)
            ringed = np.flatnonzero(within)[chosen[plotted.points.row[within]]]
            self.canvas.show_selected(ringed)

    def _show_classes(self, layer: Any) -> None:
        entries: list[Any] = []
        if layer is not None:  # not before: the library takes longer than opening a widget may
            from napari_rvae.analysis.selection import CLASS
            from napari_rvae.layers import legend_of

        if layer is not None and CLASS in layer.features:
            entries = [entry for entry in legend_of(layer.features, CLASS) if entry.value]
        self.classes.show_classes(entries)

    def _show_steps(self, layer: Any) -> None:
        """Say on the buttons' tips what can be undone."""
        history = editing.history_of(layer)
        for made, text in (
            (self.back, "" if history is None else history.undo_text),
            (self.again, "" if history is None else history.redo_text),
        ):
            made.setEnabled(bool(text))
            made.setToolTip(
                f"{made.text()}: {text}" if text else f"Nothing to {made.text().lower()}"
            )

    def _frame(self) -> int | None:
        """Frame that is asked about, None for all."""
        layer = self.sites.layer()
        if layer is None or layer.ndim != 3 or not self.only_frame.isChecked():
            return None
        frame = layer.world_to_data(self.viewer.dims.point)[0]
        return round(float(frame))

    # ------------------------------------------------------------------ the plane
    def _latents(self) -> tuple[int, int] | None:
        """Numbers of the two latents that are the axes, None where these are something else."""
        names = self.across.column() or "", self.up.column() or ""
        if all(name[:1] == "z" and name[1:].isdigit() for name in names):
            return int(names[0][1:]), int(names[1][1:])
        return None

    def plane(self) -> LatentPlane | None:
        """The plane that is shown, None where the axes are no latents of the model in use."""
        layer, dims, model = self.sites.layer(), self._latents(), self.workspace.model
        if layer is None or dims is None or model is None or self.workspace.job("train"):
            return None
        key = (layer.features, dims, model)
        known = self._plane[0]
        if known is None or known[0] is not key[0] or known[1] != dims or known[2] is not model:
            from napari_rvae import latent_plane
            from napari_rvae.tables import latent_names

            made = None
            if len(latent_names(layer.features)) == model.rvae.n_latents_:
                made = self.attempt(lambda: latent_plane(model.rvae, layer.features, dims))
            self._plane = (key, made)
        return self._plane[1]

    def show_grid(self) -> None:
        """Show the grid of decoded pictures that is chosen below the points, or none."""
        plane, kind = self.plane(), self.place.grid_kind()
        if plane is None or not kind:
            self.canvas.show_ground(None)
            return
        grid = self.attempt(lambda: plane.grid(of=cast("Literal['prior', 'data']", kind)))
        if grid is not None:
            (left, right), (bottom, top) = grid.x_ends, grid.y_ends
            place = QRectF(left, bottom, right - left, top - bottom)
            self.canvas.show_ground(grid.pixels(), place)

    def _show_plane_state(self) -> None:
        """Say what is missing to decode, and drop a grid of another model."""
        plane = self.plane()
        self.place.ground.setEnabled(plane is not None)
        if plane is None:
            self.place.show_text(NO_MODEL if self._latents() is not None else NO_PLANE)
            self.canvas.show_ground(None)
        elif self.place.upright.values is None:
            self.place.show_text(HOVER)

    def _on_hover(self, place: tuple[float, float]) -> None:
        self._hover = place
        if not self._decode.isActive():
            self._decode.start(0)

    def _show_place(self) -> None:
        """Decode what lies under the mouse."""
        plane = self.plane()
        if plane is not None and self._hover is not None:
            names = str(self.across.column()), str(self.up.column())
            self.place.show_place(plane.decode(*self._hover), names, self._hover)

    # ------------------------------------------------------------------ events
    def _on_columns(self) -> None:
        """Remember the choice in the layer, and show it."""
        layer = self.sites.layer()
        if layer is not None:
            record = layer.metadata.setdefault(METADATA_KEY, {})
            boxes = {"x": self.across, "y": self.up, "color": self.color}
            record["plot"] = {name: box.column() for name, box in boxes.items()}
        self.attempt(self.refresh)

    def _on_frame(self, _event: Any = None) -> None:
        if self.only_frame.isChecked():
            self._soon.start()

    def _on_colours(self, _event: Any = None) -> None:
        self._stale = True
        self._soon.start()

    def _on_shown(self, _event: Any = None) -> None:
        """Notice that points have been hidden or shown; napari tells of every slice alike."""
        layer = self.sites.layer()
        if layer is not None and not np.array_equal(layer.shown, self._seen):
            self._on_colours()

    def _on_selected(self, *_change: Any) -> None:
        layer = self.sites.layer()
        if layer is not None:
            self._show_selected(layer)
            self._show_steps(layer)

    def _watched(self, layer: Any) -> list[tuple[Any, Any]]:
        return [
            (layer.events.features, self._refresh_soon),
            (layer.events.data, self._refresh_soon),
            (layer.events.face_color, self._on_colours),
            (layer.events.set_data, self._on_shown),
            (layer.selected_data.events.items_changed, self._on_selected),
        ]


def _side(least: int, most: int) -> tuple[QWidget, QVBoxLayout]:
    """Part of the widget beside the plot, which scrolls by itself, and what it holds."""
    made, inner = QScrollArea(), QWidget()
    made.setWidgetResizable(True)
    made.setFrameShape(QFrame.Shape.NoFrame)
    made.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    made.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    made.setMinimumWidth(least)
    made.setMaximumWidth(most)
    made.setWidget(inner)
    column = QVBoxLayout(inner)
    column.setContentsMargins(0, 0, 0, 0)
    column.setSpacing(5)
    return made, column
