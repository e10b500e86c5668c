"""The part of Detect for pictures without atoms: sites on a regular grid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.layers import Layer
from qtpy.QtWidgets import QDoubleSpinBox, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from napari_rvae._napari.forms import LABEL_WIDTH, leave_wheel
from napari_rvae._napari.layer_kinds import METADATA_KEY, kind_of, record_of
from napari_rvae._napari.panel import button
from napari_rvae._napari.words import count

if TYPE_CHECKING:
    from napari_rvae._napari.panel import StepWidget

__all__ = ["GridPage", "put_grid"]

#: Step of the grid at first, in pixels.
_STEP = 16.0

#: More sites than this make a viewer slow.
_MANY = 300_000

_TIP = "Distance between the sites; a site stands for the window around it"


class GridPage(QWidget):
    """Step of the grid, and the button that makes it.

    Parameters
    ----------
    step
        The widget that the page is part of: it has the choice of image and region.
    """

    def __init__(self, step: StepWidget) -> None:
        super().__init__()
        self._step = step
        self.spacing = QDoubleSpinBox()
        self.spacing.setDecimals(1)
        self.spacing.setRange(1.0, 10_000.0)
        self.spacing.setValue(_STEP)
        self.spacing.setToolTip(_TIP)
        leave_wheel(self.spacing)
        label = QLabel("Step (px)")
        label.setToolTip(_TIP)
        label.setMinimumWidth(LABEL_WIDTH)
        self.make = button(
            "Make grid", "Put sites on a square grid over every frame", self._make, primary=True
        )
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        row = QHBoxLayout()
        row.addWidget(label)
        row.addWidget(self.spacing, 1)
        column.addLayout(row)
        column.addWidget(self.make)

    def refresh(self, *, possible: bool) -> None:
        """Enable the button where there is an image to put sites on."""
        self.make.setEnabled(possible)

    def _make(self) -> None:
        step: Any = self._step
        text = step.attempt(
            lambda: put_grid(
                step.viewer, step.image.layer(), step.region.layer(), self.spacing.value()
            )
        )
        if text:
            step.say(text, "done")


def put_grid(viewer: Any, image: Any, region: Any, step: float) -> str:
    """Add a layer of sites on a grid over an image, in place of an earlier one without latents.

    Returns
    -------
    str
        What there is now.

    Raises
    ------
    InputError
        If the step does not suit the image, or the region does not fit it.
    """
    from napari_rvae.detect import sample_grid
    from napari_rvae.layers import frames_from_layer, points_layer, region_from_layer

    frames = frames_from_layer(image)
    mask = None if region is None else region_from_layer(region, image)
    sites = sample_grid(frames, step=step, region=mask)
    name = f"grid of {image.name}"
    data, options, kind = points_layer(sites, frames, name=name)
    record = options["metadata"][METADATA_KEY]
    record["image"], record["grid_step"] = str(image.unique_id), step
    noted = {"step": "grid", "spacing": step}
    record["steps"] = [noted if mask is None else {**noted, "region": True}]
    for layer in [layer for layer in viewer.layers if _replaceable(layer, record["image"])]:
        viewer.layers.remove(layer)
    viewer.add_layer(Layer.create(data, options, kind))
    text = f"{count(len(sites), 'site')} in {count(frames.n_frames, 'frame')}."
    if len(sites) > _MANY:
        text += " So many make the viewer slow: choose a larger step, or a region."
    return f"{text} Train on them with a fixed window (Train, Advanced)."


def _replaceable(layer: Any, image: str) -> bool:
    """Whether a layer is an earlier grid over the image that a new one brings back."""
    from napari_rvae.tables import latent_names

    record = record_of(layer)
    ours = kind_of(layer) == "sites" and "grid_step" in record and record.get("image") == image
    return ours and not (record.get("edited") or latent_names(layer.features))
