"""The Site inspector: everything that is known of the site that is selected."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, cast

from qtpy.QtCore import QSize
from qtpy.QtWidgets import QFormLayout

from napari_rvae._napari.dense_work import frames_of_model
from napari_rvae._napari.figure_view import Drawing, FigureView
from napari_rvae._napari.sites_step import SitesStep
from napari_rvae._napari.words import NO_SITES

if TYPE_CHECKING:
    import pandas as pd

    from napari_rvae._napari.workspace import Model
    from napari_rvae.analysis.inspection import SiteInspection

__all__ = ["InspectWidget"]

NO_SITE = "Select a site in the viewer, or click one in the Latent plot."
NO_IMAGE = "There is no image: open the movie that the sites lie on."
NO_MODEL = "Train a model, or load one, to see what it makes of a site (widget Train)."
LOOKING = "Looking at site {} …"
BUSY = "The Train widget is at work: sites are shown when it has finished."

#: Width and height in pixels of the screen that the figure needs.
_LEAST = 500, 150


@dataclass(eq=False)
class _Look:
    """A site as it is when it is chosen; what is found of it, once it was looked at."""

    model: Model
    frames: Any
    table: pd.DataFrame
    site_id: int
    found: list[SiteInspection] = field(default_factory=list)

    def inspection(self) -> SiteInspection:
        """Look at the site, the first time only."""
        if not self.found:
            from napari_rvae import inspect_site

            crops = self.model.crops
            one = inspect_site(self.model.rvae, self.frames, self.table, self.site_id, crops)
            self.found.append(one)
        return self.found[0]


class InspectWidget(SitesStep):
    """Shows crop, aligned crop, reconstruction, residual, angle, latents and track of a site.

    Parameters
    ----------
    napari_viewer
        The viewer; napari fills it in by the parameter's name.
    """

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__(
            napari_viewer,
            "inspect",
            sites_tip="Points that were detected: select one of them",
            image_tip="Image that the sites lie on",
        )
        self.inputs.setRowWrapPolicy(QFormLayout.RowWrapPolicy.DontWrapRows)
        self.view = FigureView(None, NO_SITES, least=_LEAST)
        self.view.setMinimumSize(256, 150)
        self.view.failed.connect(partial(self.say, level="error"))
        self.body.setContentsMargins(6, 4, 6, 4)
        self.body.addWidget(self.view, 1)
        self.body.addWidget(self.status)
        self._look: _Look | None = None
        self._shown: tuple[Any, ...] = ()
        self.follow_choices()
        self.workspace.job_changed.connect(self._refresh_soon)
        self.refresh()

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Size for the dock below the canvas."""
        return QSize(560, 290)

    @property
    def inspection(self) -> SiteInspection | None:
        """What is shown, None for nothing."""
        return self._look.found[0] if self._look is not None and self._look.found else None

    def refresh(self) -> None:
        """Show the site that is selected, or say what is missing."""
        layer = self.sites.layer()
        self._follow(layer)
        image, model = self.image.layer(), self.workspace.model
        text = NO_SITES if layer is None or "site_id" not in layer.features else ""
        row = None if text else self._row(layer)
        if not text:
            busy = self.workspace.job("train") is not None
            missing = (
                (image is None, NO_IMAGE),
                (busy, BUSY),
                (model is None, NO_MODEL),
                (row is None, NO_SITE),
            )
            text = next((words for lacks, words in missing if lacks), "")
        if text:
            self._look, self._shown = None, ()
            self.view.show_text(text)
            self.say("")
            return
        shown = (layer.features, image, model, row)
        same = bool(self._shown) and row == self._shown[3]
        if same and all(one is two for one, two in zip(shown[:3], self._shown[:3], strict=True)):
            return
        self._shown = shown
        self.attempt(lambda: self._show(layer, image, cast("Model", model), cast("int", row)))

    def _row(self, layer: Any) -> int | None:
        """Point that is selected, the last one where there are several."""
        chosen = [row for row in layer.selected_data if row < len(layer.data)]
        return int(chosen[-1]) if chosen else None

    def _show(self, layer: Any, image: Any, model: Model, row: int) -> None:
        from napari_rvae.layers import sites_from_layer

        site_id = int(layer.features["site_id"].iloc[row])
        frames = frames_of_model(model, image, self.viewer.layers)
        table = sites_from_layer(layer, image)
        self._look = _Look(model, frames, table, site_id)
        if self.view.drawing is None:  # the first look takes a moment
            self.view.show_text(LOOKING.format(site_id))
        self.view.show_drawing(partial(_drawing, self._look))
        frame = int(layer.features["frame"].iloc[row])
        self.say(f"Site {site_id} in frame {frame}.")

    def _watched(self, layer: Any) -> list[tuple[Any, Any]]:
        return [
            (layer.events.features, self._refresh_soon),
            (layer.selected_data.events.items_changed, self._on_selected),
        ]

    def _on_selected(self, *_change: Any) -> None:
        self._soon.start()


def _drawing(look: _Look, width: float, height: float, theme: str) -> Drawing:
    """Draw a site, in the thread of the figures."""
    from napari_rvae.figures import site_figure

    shown = cast("Literal['light', 'dark']", theme)
    return Drawing(site_figure(look.inspection(), theme=shown, size=(width, height)))
