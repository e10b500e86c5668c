"""What the dock widgets have in common that show sites and the image these lie on."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from qtpy.QtCore import QTimer

from napari_rvae._napari import training
from napari_rvae._napari.flying import fly_to_site
from napari_rvae._napari.layer_kinds import is_frames, is_sites
from napari_rvae._napari.panel import StepWidget
from napari_rvae._napari.workspace import Step
from napari_rvae.errors import InputError

__all__ = ["SOON", "SitesStep"]

#: Many events come in a row; what they change is shown once, so many milliseconds later.
SOON = 50


class SitesStep(StepWidget):
    """Base of the widgets that show sites: chooses these and their image, and follows changes.

    Parameters
    ----------
    napari_viewer
        The viewer; napari fills it in by the parameter's name.
    step
        Which step of the way the widget is for.
    sites_tip, image_tip
        What the tooltips of the two choices say.
    """

    def __init__(self, napari_viewer: Any, step: Step, *, sites_tip: str, image_tip: str) -> None:
        super().__init__(napari_viewer, step)
        self._layer: Any = None
        self._own_image = False
        self._described = ""
        self.sites = self.add_layer_choice("Sites", is_sites, tip=sites_tip)
        self.image = self.add_layer_choice("Image", is_frames, tip=image_tip)
        for choice in (self.sites, self.image):  # their names need the room of the labels
            self.inputs.labelForField(choice).setMinimumWidth(0)

    def follow_choices(self) -> None:
        """Begin to listen to what is chosen; to be called once the widget is built."""
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(SOON)
        self._soon.timeout.connect(partial(self.attempt, self.refresh))
        self.listen(self.viewer.layers.events.inserted, self._choose_image)
        self._undo.append(lambda: self._follow(None))
        self.image.activated.connect(self._on_image_picked)
        self.sites.chosen.connect(self._on_sites)

    def go_to_site(self, site_id: int) -> None:
        """Show a site in the viewer, and select it."""

        def go() -> None:
            if not fly_to_site(self.viewer, self.sites.layer(), site_id):
                raise InputError(f"Site {site_id} is not there any more.")

        self.attempt(go)

    def _watched(self, layer: Any) -> Iterable[tuple[Any, Any]]:
        """Events of a layer of sites, and what listens to each."""
        return [(layer.events.features, self._refresh_soon)]

    def _follow(self, layer: Any) -> None:
        """Listen to a layer's changes instead of the earlier one's."""
        if layer is self._layer:
            return
        for event, listener in () if self._layer is None else self._watched(self._layer):
            event.disconnect(listener)
        for event, listener in () if layer is None else self._watched(layer):
            event.connect(listener)
        self._layer = layer
        self._on_followed(layer)

    def _on_followed(self, layer: Any) -> None:
        """Do what is due when another layer is followed."""

    def _refresh_soon(self, _event: Any = None) -> None:
        self._soon.start()

    def _on_image_picked(self) -> None:
        self._own_image = True

    def _on_sites(self) -> None:
        self._own_image = False
        self._choose_image()

    def _choose_image(self, _event: Any = None) -> None:
        """Choose the image that the sites were made from, unless the user has chosen one."""
        layer = self.sites.layer()
        if layer is None or self._own_image:
            return
        image = training.image_of(layer, self.viewer.layers)
        if image is not None:
            self.image.choose(image)
