"""The Pathways dock widget: which unit turns into which, when, where, how fast, by which way."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, cast

from qtpy.QtWidgets import QComboBox, QFileDialog, QLabel, QMessageBox, QTabWidget, QWidget

from napari_rvae._napari import pathway_work
from napari_rvae._napari.flying import fly_to_site
from napari_rvae._napari.forms import ConfigForm, folded, leave_wheel, read_forms
from napari_rvae._napari.jobs import Job
from napari_rvae._napari.layer_kinds import record_of
from napari_rvae._napari.panel import button
from napari_rvae._napari.pathway_pages import (
    EventPage,
    LandscapePage,
    NetworkPage,
    TimePage,
)
from napari_rvae._napari.pathway_state import Found, found_of
from napari_rvae._napari.sites_step import SitesStep
from napari_rvae._napari.unit_work import has_units
from napari_rvae._napari.words import NO_SITES, count
from napari_rvae.config import PathwayConfig
from napari_rvae.errors import InputError

if TYPE_CHECKING:
    from napari_rvae.analysis.landscape import LatentPath

__all__ = ["PathwaysWidget"]

BUSY = "This widget is at work: wait until it has finished."
READY = "Press Find pathways: it takes some seconds for 100,000 sites."

#: Selecting more points than this makes the viewer slow.
_MOST_SELECTED = 20_000


class PathwaysWidget(SitesStep):
    """Find events, rates and ways between units, and follow them in the movie.

    Parameters
    ----------
    napari_viewer
        The viewer; napari fills it in by the parameter's name.
    """

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__(
            napari_viewer,
            "pathways",
            sites_tip="Points with units",
            image_tip="Image that the sites lie on: for crops, times and doses",
        )
        self._opened: Any = None  # layer whose run was looked into
        self._shown: Found | None = None
        self._add_buttons()
        self._add_pages()
        self._add_tracks()
        self._connect()
        self._on_sites()
        self.refresh()
        if self.workspace.job("pathways") is not None:
            self._on_status("pathways")

    # ------------------------------------------------------------------ parts
    def _add_buttons(self) -> None:
        self.find_button = button(
            "Find pathways",
            "Follow the sites through the movie (they are linked first, where they are not): "
            "events, rates with intervals, routes",
            self.find_pathways,
            primary=True,
        )
        self.body.addWidget(self.find_button)
        self._forms = ConfigForm(PathwayConfig), ConfigForm(PathwayConfig, advanced=True)
        self.keep_options(*self._forms)
        self.body.addWidget(folded("Advanced", *self._forms))
        self.add_job_panel()
        self.job_panel.pause.hide()  # nothing here takes long

    def _add_pages(self) -> None:
        self.network = NetworkPage()
        self.events = EventPage()
        self.time = TimePage()
        self.landscape = LandscapePage(self.measure_landscape)
        self.pages = QTabWidget()
        self.pages.setUsesScrollButtons(False)
        for title, page, tip in (
            ("Network", self.network, "States, and how fast they turn into each other"),
            ("Events", self.events, "What happened, when and where"),
            ("Time", self.time, "Shares of units and order parameters over the movie"),
            (
                "Landscape",
                self.landscape,
                "Decoded pictures: where sites are, and the ways between",
            ),
        ):
            number = self.pages.addTab(page, title)
            self.pages.setTabToolTip(number, tip)
        self.blank = QWidget()  # keeps what stands above together where there are no pages yet
        for part in (self.pages, self.blank):
            self.body.addWidget(part, 1)

    def _add_tracks(self) -> None:
        self.track_kind, self.track_column = QComboBox(), QComboBox()
        self.track_kind.addItems(["atoms", "places"])
        for box in (self.track_kind, self.track_column):
            leave_wheel(box)
            box.setMinimumWidth(60)
            box.setMinimumContentsLength(6)
            box.setSizeAdjustPolicy(
                QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
            )
        self.track_kind.setToolTip("Tracks of dopant atoms, or of places of the lattice")
        self.track_column.setToolTip("What the tracks are coloured by")
        self.tracks = button("Draw tracks", "Draw the tracks as a layer", self.draw_tracks)
        self.export = button(
            "Export…", "Write all figures and tables into a folder", self._ask_export
        )
        self.add_row(QLabel("Tracks of"), self.track_kind, QLabel("by"), self.track_column)
        self.add_row(self.tracks, self.export)

    def _connect(self) -> None:
        self.follow_choices()
        self.listen(self.viewer.dims.events.current_step, self._on_frame)
        self.network.state_chosen.connect(self.select_state)
        self.network.rate_chosen.connect(self.select_rate)
        self.events.list.chosen.connect(self.go_to_event)
        self.events.all_wanted.connect(self._show_all_events)
        self.time.frame_chosen.connect(self.go_to_frame)
        self.landscape.site_chosen.connect(self.go_to_site)
        for page in (self.network, self.events, self.time, self.landscape):
            page.failed.connect(lambda text: self.say(text, "error"))

    # ------------------------------------------------------------------ what the buttons do
    def pathway_config(self) -> PathwayConfig:
        """Options, as the forms show them."""
        return read_forms(PathwayConfig, *self._forms)

    def find_pathways(self) -> Job | None:
        """Find the pathways of the chosen sites, in a thread."""
        return self._begin(
            lambda: pathway_work.start_find(
                self.workspace, self.sites.layer(), self.image.layer(), self.pathway_config()
            )
        )

    def measure_landscape(self) -> Job | None:
        """Measure the landscape of the sites, in a thread."""
        return self._begin(lambda: pathway_work.start_terrain(self.workspace, self.sites.layer()))

    def draw_tracks(self) -> None:
        """Draw the tracks of atoms or places, coloured by a column."""

        def draw() -> None:
            layer = self.sites.layer()
            if layer is None:
                raise InputError(NO_SITES)
            kind: Literal["atom", "place"] = (
                "atom" if self.track_kind.currentIndex() == 0 else "place"
            )
            column = self.track_column.currentText()
            made = pathway_work.draw_tracks(self.workspace, layer, self.image.layer(), kind, column)
            number = len(set(made.data[:, 0]))
            self.say(f"Tracks of {count(number, kind)}, coloured by {column}.", "done")

        self.attempt(draw)

    def export_pathways(
        self,
        folder: str | os.PathLike[str],
        *,
        suffix: Literal[".png", ".svg", ".pdf"] = ".png",
        overwrite: bool = False,
    ) -> Job | None:
        """Write all figures and tables into a folder, in a thread."""
        path = self.landscape.path()
        paths: tuple[LatentPath, ...] = () if path is None else (path,)
        return self._begin(
            lambda: pathway_work.start_export(
                self.workspace,
                self.sites.layer(),
                folder,
                paths=paths,
                suffix=suffix,
                overwrite=overwrite,
            )
        )

    def _begin(self, start: Callable[[], Job | None]) -> Job | None:
        """Start a job; what speaks against it becomes a line under the buttons."""

        def begin() -> Job | None:
            if self.workspace.job("pathways") is not None:
                raise InputError(BUSY)
            return start()

        return cast("Job | None", self.attempt(begin))

    def _ask_export(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder for figures and tables")
        if not folder:
            return
        there = any(os.scandir(folder))
        if there:
            question = f"Replace files of the same names in {folder}?"
            answer = QMessageBox.question(self, "Export pathways", question)
            if answer != QMessageBox.StandardButton.Yes:
                return
        self.export_pathways(folder, overwrite=there)

    # ------------------------------------------------------------------ what the user chooses
    def select_state(self, tracked: str, state: int) -> None:
        """Select the sites of a state."""

        def select() -> None:
            from napari_rvae.analysis.event_sites import state_sites

            found = self._found()
            sites = state_sites(found.pathways, tracked, [state])
            self._select(sites.tolist())
            self.say(f"{count(sites.size, 'site')} in this state.")

        self.attempt(select)

    def select_rate(self, tracked: str, from_state: int, to_state: int) -> None:
        """Show the events of one change, and select their sites."""

        def select() -> None:
            from napari_rvae.analysis.event_sites import event_sites

            found = self._found()
            events = found.pathways.events
            mine = events["tracked"] == tracked
            mine &= (events["from_state"] == from_state) & (events["to_state"] == to_state)
            self.events.show_some(events[mine])
            self._select(event_sites(found.table, events[mine])["site_id"].tolist())
            where = "" if not mine.any() else ", listed under Events"
            rate = self.network.rate_text(from_state, to_state)
            self.say(f"{rate}{count(int(mine.sum()), 'event')} of this change{where}.")

        self.attempt(select)

    def go_to_event(self, label: int) -> None:
        """Show an event in the viewer, and its film strip."""

        def go() -> None:
            from napari_rvae.analysis.event_sites import event_sites

            found, layer = self._found(), self.sites.layer()
            event = found.pathways.events.loc[[label]]
            sites = event_sites(found.table, event)
            self.events.show_event(found, label)
            there = sites[sites["frame"] >= event["frame"].iloc[0]]
            nearest = [*there["site_id"].tolist(), *sites["site_id"].tolist()[::-1]]
            if not any(fly_to_site(self.viewer, layer, site) for site in nearest):
                raise InputError("The sites of this event are not there any more.")

        self.attempt(go)

    def go_to_frame(self, frame: int) -> None:
        """Set the frame slider."""
        layer = self.sites.layer()
        if layer is None or layer.ndim < 3:
            return
        place = layer.data_to_world((frame, *[0.0] * (layer.ndim - 1)))
        self.viewer.dims.set_point(self.viewer.dims.ndim - layer.ndim, place[0])

    def _select(self, site_ids: list[int]) -> None:
        from napari_rvae.layers.units import rows_of_sites

        layer = self.sites.layer()
        rows = rows_of_sites(layer, site_ids)
        layer.selected_data = {int(row) for row in rows[:_MOST_SELECTED]}
        if rows.size:
            self.viewer.layers.selection.active = layer

    def _found(self) -> Found:
        found = found_of(self.sites.layer())
        if found is None:
            raise InputError(pathway_work.NO_PATHWAYS)
        return found

    def _show_all_events(self) -> None:
        if self._shown is not None:
            self.events.show_some(self._shown.pathways.events)

    def _on_frame(self, _event: Any = None) -> None:
        layer = self._layer
        if layer is not None and layer.ndim == 3:
            self.time.view.mark(round(layer.world_to_data(self.viewer.dims.point)[0]))

    # ------------------------------------------------------------------ state
    def refresh(self) -> None:
        """Show the pathways of the chosen layer, enable what is possible, say what is missing."""
        layer = self.sites.layer()
        self._follow(layer)
        found, busy = found_of(layer), self.workspace.job("pathways") is not None
        if found is not self._shown:
            self._shown = found
            for page in (self.network, self.events, self.time):
                page.show_found(found)
            self._on_frame()
        self.landscape.show_found(found)
        self.landscape.measure.setEnabled(found is not None and not busy)
        self.pages.setVisible(found is not None)
        self.blank.setVisible(found is None)
        self.find_button.setEnabled(layer is not None and not busy)
        self._show_columns(layer)
        for part in (self.track_kind, self.track_column, self.tracks):
            part.setEnabled(found is not None)
        self.export.setEnabled(found is not None and not busy)
        text = self._description(layer, found)
        if text != self._described:
            self._described = text
            if text and not busy:
                self.say(text)
        self._open_run(layer, found)

    def _show_columns(self, layer: Any) -> None:
        names = pathway_work.track_columns(layer)
        shown = [self.track_column.itemText(k) for k in range(self.track_column.count())]
        if names != shown:
            before = self.track_column.currentText() or "state"
            self.track_column.clear()
            self.track_column.addItems(names)
            self.track_column.setCurrentText(before if before in names else "state")

    def _description(self, layer: Any, found: Found | None) -> str:
        """What is missing, or what comes next; nothing while there are pathways."""
        if layer is None:
            return NO_SITES
        if found is not None:
            return ""
        return READY if has_units(layer) else pathway_work.NO_UNITS

    def _open_run(self, layer: Any, found: Found | None) -> None:
        """Show the pathways that came with a run, once."""
        if found is not None or layer is None or self._opened is layer or not self.library_loaded:
            return
        jobs = [self.workspace.job(step) for step in ("pathways", "units", "train")]
        if "run" in record_of(layer) and has_units(layer) and not any(jobs):
            self._opened = layer
            self._begin(lambda: pathway_work.start_open(self.workspace, layer, self.image.layer()))

    def on_library(self) -> None:
        """Show what had to wait for the library."""
        super().on_library()
        self.attempt(self.refresh)

    def _on_job(self, step: str) -> None:
        super()._on_job(step)
        if step in ("units", "train") and self.workspace.job("pathways") is None:
            self._refresh_soon()
