"""The Latents dock widget: see what was learnt on the movie, and take it away."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from napari_rvae._napari import drawing, exporting, manifold
from napari_rvae._napari.colouring import Colours
from napari_rvae._napari.dense_work import start_dense
from napari_rvae._napari.detection import current_frame
from napari_rvae._napari.jobs import Job
from napari_rvae._napari.layer_kinds import record_of
from napari_rvae._napari.legend import Legend
from napari_rvae._napari.manifold import ManifoldPanel
from napari_rvae._napari.panel import button
from napari_rvae._napari.sites_step import SitesStep
from napari_rvae._napari.taking_away import TakeAway, copy_script, start_figure, start_movie
from napari_rvae._napari.words import NO_SITES, count
from napari_rvae.errors import InputError

__all__ = ["LatentsWidget"]

NO_IMAGE = "There is no image: open the movie that the sites lie on."
NO_COLUMN = "Choose a column to colour by first."
NO_ANGLE = "These sites have no angle yet: train or apply a model (widget Train)."
NO_LATENTS = "These sites have no latents yet: train or apply a model (widget Train)."
NO_COLUMNS = "These points have no columns to colour by: detect atoms first (widget Detect)."
BUSY = "This widget is at work: wait until it has finished."


class LatentsWidget(SitesStep):
    """Colour sites by what was learnt, draw maps and directions, and save all of it.

    Parameters
    ----------
    napari_viewer
        The viewer; napari fills it in by the parameter's name.
    """

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__(
            napari_viewer,
            "latents",
            sites_tip="Points that were detected",
            image_tip="Image that the sites lie on: for maps, lengths and times",
        )
        self.colours = Colours(self.inputs, self.attempt)
        self._add_buttons()
        self.legend = Legend()
        self.legend.switched.connect(self.hide_categories)
        self.body.addWidget(self.legend)
        self.pictures = ManifoldPanel(self.decode_pictures, self.draw_pictures)
        self.body.addWidget(self.pictures)
        self.body.addStretch(1)
        self._connect()
        self._on_sites()
        self.refresh()
        if self.workspace.job("latents") is not None:
            self._on_status("latents")

    def _add_buttons(self) -> None:
        """Add what is drawn, what leads to files and back, and the status line."""
        self.map = button("Draw map", "Draw the column as a picture over the image", self.draw_map)
        self.directions = button(
            "Draw directions",
            "Draw the angle of each site as arms: the one that is shown, or lattice_angle",
            self.draw_directions,
        )
        self.add_row(self.map, self.directions)
        self.everywhere = button(
            "Image of every place",
            "Encode a window at every few pixels of the image with the present model, and draw the "
            "column: a latent or the angle, else z0",
            self.draw_everywhere,
        )
        self.add_row(self.everywhere)
        self.export = button(
            "Export table…", "Write the sites as a table for other programs", self._ask_export
        )
        self.save = button(
            "Save run…", "Save sites, model and options into a folder", self._ask_save
        )
        self.open = button("Open run…", "Open what was saved", self._ask_open)
        self.add_row(self.export, self.save, self.open)
        self.take_away = TakeAway(self.save_figure, self.save_movie, self.copy_script)
        self.body.addWidget(self.take_away)
        self.add_job_panel()
        self.job_panel.pause.hide()  # nothing here takes long

    def _connect(self) -> None:
        self.follow_choices()
        self.listen(self.viewer.dims.events.current_step, self._refresh_soon)
        self.colours.changed.connect(self._on_colours)
        self.colours.turned.connect(self._on_symmetry)

    # ------------------------------------------------------------------ colours
    def color_by(self, column: str | None, **options: Any) -> None:
        """Colour the chosen sites, see :meth:`Colours.color_by`."""
        self.colours.color_by(column, **options)

    def _on_colours(self, done: bool) -> None:  # noqa: FBT001 - of a signal
        """Show the new colours; a line that says what was wrong stays."""
        if done and record_of(self.sites.layer()).get("hidden"):
            self.hide_categories([])  # they were categories of another column
        if done:
            self._described = ""
        self.refresh()
        if done:
            self._update_map()

    def _on_symmetry(self) -> None:
        """Let the arms follow."""
        arms = self._drawn("directions")
        if arms is not None:
            self.draw_directions()
            self._drawn("directions").visible = arms.visible  # drawn anew, but not asked for

    # ------------------------------------------------------------------ layers
    def draw_map(self) -> None:
        """Draw the column that is shown as a picture over the image."""

        def draw() -> None:
            layer, image, column = self._need_sites(), self.image.layer(), self._column()
            if image is None:
                raise InputError(NO_IMAGE)
            if column is None:
                raise InputError(NO_COLUMN)
            drawing.draw_map(self.viewer, layer, image, column, **self.colours.look())
            self.say(f"Map of {column}: each frame is drawn when it is shown.", "done")

        self.attempt(draw)

    def draw_directions(self) -> None:
        """Draw the angle that is shown, or ``lattice_angle``, as arms."""

        def draw() -> None:
            layer, column = self._need_sites(), self.colours.angle()
            if column is None:
                raise InputError(NO_ANGLE)
            order = self.colours.order(column)
            made = drawing.draw_directions(self.viewer, layer, self.image.layer(), column, order)
            sites, arms = count(len(made.data) // order, "site"), f"{order} arms"
            arms = arms if order > 1 else "one arm"
            self.say(f"Directions: {column} of {sites}, {arms} each.", "done")

        self.attempt(draw)

    def draw_everywhere(self) -> Job | None:
        """Draw the latent or angle that is shown, else z0, at every place, in a thread."""
        from napari_rvae.tables import latent_names

        layer, column = self.sites.layer(), self._column()
        known = [] if layer is None else [*latent_names(layer.features), "angle"]
        column = column if column is not None and column in known else "z0"
        order = self.colours.order("angle") if layer is not None and "angle" in known else 1
        return self._begin(
            lambda: start_dense(self.workspace, layer, self.image.layer(), [column], order)
        )

    def _drawn(self, kind: str) -> Any:
        """Layer of a kind that was drawn for the chosen sites, or None."""
        layer = self.sites.layer()
        return None if layer is None else drawing.drawn_layer(self.viewer, layer, kind)

    def _update_map(self) -> None:
        """Let a map of the column that is shown follow the colours of the sites."""
        made = self._drawn("map")
        if made is None or record_of(made).get("column") != self._column():
            return
        look = self.colours.look()
        if "contrast_limits" in look:
            made.contrast_limits = look["contrast_limits"]
            record_of(made)["contrast_limits"] = look["contrast_limits"]
        elif look.get("symmetry") != record_of(made).get("symmetry"):
            self.draw_map()

    # ------------------------------------------------------------------ decoded pictures
    def decode_pictures(self) -> Job | None:
        """Decode pictures across two latents, in a thread."""
        dims = self.pictures.dims()
        return self._begin(
            lambda: manifold.start_manifold(self.workspace, self.sites.layer(), dims)
        )

    def draw_pictures(self) -> None:
        """Show the decoded pictures as a layer beside the image."""

        def draw() -> None:
            decoded = manifold.manifold_of(self.workspace.model)
            if decoded is None:
                raise InputError("There are no pictures yet: decode them first.")
            manifold.draw_manifold(self.viewer, self.image.layer(), decoded)
            self.say("The pictures lie right of the image; the home button shows both.", "done")

        self.attempt(draw)

    # ------------------------------------------------------------------ files
    def export_table(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Job | None:
        """Write the sites as a table for other programs, in a thread."""
        return self._begin(
            lambda: exporting.start_export(
                self.workspace, self._need_sites(), self.image.layer(), path, overwrite=overwrite
            )
        )

    def save_run(self, folder: str | os.PathLike[str], *, overwrite: bool = False) -> Job | None:
        """Save sites, model and options as a run, in a thread."""
        return self._begin(
            lambda: exporting.start_save(
                self.workspace, self._need_sites(), self.image.layer(), folder, overwrite=overwrite
            )
        )

    def open_run(self, path: str | os.PathLike[str]) -> Job | None:
        """Open a run, in a thread: its layers come into the viewer, its model into use."""
        return self._begin(lambda: exporting.start_open(self.workspace, path))

    def save_figure(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write the frame that is shown with its sites, at print size."""

        def save() -> None:
            layer, image = self._need_sites(), self.image.layer()
            frame = 0 if image is None else current_frame(self.viewer, image)
            start_figure(self.workspace, layer, image, path, frame=frame, overwrite=overwrite)

        self.attempt(save)

    def save_movie(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Job | None:
        """Write all frames with their sites, in a thread."""
        return self._begin(
            lambda: start_movie(
                self.workspace, self._need_sites(), self.image.layer(), path, overwrite=overwrite
            )
        )

    def copy_script(self) -> str | None:
        """Copy a script that does the analysis again; return it, None where there is none."""

        def copy() -> str:
            script = copy_script(self._need_sites(), self.image.layer())
            self.say("The script is on the clipboard: paste it into a file.", "done")
            return script

        script: str | None = self.attempt(copy)
        return script

    def hide_categories(self, values: list[Any]) -> None:
        """Hide the sites of some categories, and show all others."""

        def hide() -> None:
            from napari_rvae.layers import hide_categories

            hide_categories(self._need_sites(), values)

        self.attempt(hide)

    def _begin(self, start: Callable[[], Job | None]) -> Job | None:
        """Start a job; what speaks against it becomes a line under the buttons."""

        def begin() -> Job | None:
            if self.workspace.job("latents") is not None:
                raise InputError(BUSY)
            return start()

        job: Job | None = self.attempt(begin)
        return job

    def _ask_export(self) -> None:
        layer = self.sites.layer()
        asked = exporting.ask_export(self, "sites" if layer is None else layer.name)
        if asked is not None:
            self.export_table(asked[0], overwrite=asked[1])

    def _ask_save(self) -> None:
        asked = exporting.ask_save(self)
        if asked is not None:
            self.save_run(asked[0], overwrite=asked[1])

    def _ask_open(self) -> None:
        path = exporting.ask_open(self)
        if path is not None:
            self.open_run(path)

    # ------------------------------------------------------------------ state
    def refresh(self) -> None:
        """Show what the layer shows, enable what is possible now, and say what is missing."""
        layer, busy = self.sites.layer(), self.workspace.job("latents") is not None
        self._follow(layer)
        note = self.colours.mend()
        self.colours.show_colours()
        self._show_legend(layer)
        model = self.workspace.model
        has_model = model is not None or (layer is not None and "run" in record_of(layer))
        self.pictures.show_model(model, can_decode=has_model and not busy)
        for made in (self.map, self.directions):
            made.setEnabled(layer is not None)
        image = self.image.layer()
        self.everywhere.setEnabled(model is not None and image is not None and not busy)
        for made in (self.export, self.save):
            made.setEnabled(layer is not None and not busy)
        self.open.setEnabled(not busy)
        self.take_away.enable(sites=layer is not None, busy=busy)
        text = f"{note} {self._description(layer)}".strip()
        if text != self._described:
            self._described = text
            if not busy:
                self.say(text, "warning" if note else "info")

    def _description(self, layer: Any) -> str:
        """What is missing, and what is shown."""
        if layer is None:
            return NO_SITES
        if not self.colours.column.columns():
            return NO_COLUMNS
        from napari_rvae.tables import latent_names

        shown = self.colours.seen().text
        if not latent_names(layer.features):
            return f"{shown} {NO_LATENTS}".strip()
        return shown or f"{count(len(layer.data), 'site')}: choose a column to colour by."

    def _show_legend(self, layer: Any) -> None:
        """Show the categories, and how many of each there are in the frame."""
        if layer is None or record_of(layer).get("colours") != "categorical":
            self.legend.show_entries(())
            return
        here = None
        if layer.ndim == 3 and "frame" in layer.features:
            frame = round(layer.world_to_data(self.viewer.dims.point)[0])
            here = self.colours.here(frame)
        seen = self.colours.seen()
        hidden = record_of(layer).get("hidden", ())
        self.legend.show_entries(seen.entries, here, title=seen.column or "", hidden=hidden)

    def _need_sites(self) -> Any:
        layer = self.sites.layer()
        if layer is None:
            raise InputError(NO_SITES)
        return layer

    def _column(self) -> str | None:
        return self.colours.column.column()

    def _watched(self, layer: Any) -> list[tuple[Any, Any]]:
        events = (layer.events.features, layer.events.data, layer.events.face_color)
        return [(event, self._refresh_soon) for event in events]

    def _on_followed(self, layer: Any) -> None:
        self.colours.follow(layer)
