"""The scale of an image from a known distance, and of all that lies on it with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QComboBox, QDoubleSpinBox, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from napari_rvae._napari.forms import FIELD_WIDTH, LABEL_WIDTH, leave_wheel
from napari_rvae._napari.jobs import Control, Job, Outcome, Progress
from napari_rvae._napari.layer_kinds import is_frames, made_from, record_of
from napari_rvae._napari.panel import button
from napari_rvae._napari.words import pixel
from napari_rvae._napari.workspace import Workspace
from napari_rvae.errors import InputError

if TYPE_CHECKING:
    from napari_rvae.frames import Frames

__all__ = ["ScaleForm", "start_scaling"]

#: Units of a distance on the screen, and their names in the library.
UNITS = {"pm": "pm", "Å": "angstrom", "nm": "nm"}

SYMBOLS = {name: symbol for symbol, name in UNITS.items()}

_TIP = (
    "Distance between nearest neighbours that is known from the crystal, such as 142 pm in "
    "graphene or 276 pm between the columns of SrTiO3 along [001].\nThe size of a pixel follows: "
    "this distance over the one measured on the atoms, over all pairs of near neighbours, so that "
    "noise and distortion average out."
)


class ScaleForm(QWidget):
    """A known distance with its unit, and the button that sets the scale by it."""

    def __init__(self, on_set: Callable[[], Any]) -> None:
        super().__init__()
        self.value = QDoubleSpinBox()
        self.value.setRange(0.0, 1e6)
        self.value.setDecimals(3)
        self.value.setValue(0.0)
        self.value.setSpecialValueText("not given")
        self.unit = QComboBox()
        self.unit.addItems(list(UNITS))
        for widget in (self.value, self.unit):
            widget.setToolTip(_TIP)
            leave_wheel(widget)
        self.value.setMinimumWidth(FIELD_WIDTH - 30)
        label = QLabel("Known distance")
        label.setToolTip(_TIP)
        label.setMinimumWidth(LABEL_WIDTH)
        self.button = button(
            "Set scale",
            "Set the scale of the image, and of all layers that lie on it, by this distance",
            on_set,
        )
        row = QHBoxLayout()
        row.addWidget(label)
        row.addWidget(self.value, 1)
        row.addWidget(self.unit)
        last = QHBoxLayout()
        last.addStretch(1)
        last.addWidget(self.button)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(row)
        column.addLayout(last)

    @property
    def distance(self) -> tuple[float, str]:
        """The known distance, and the library's name of its unit."""
        return self.value.value(), UNITS[self.unit.currentText()]


def start_scaling(
    workspace: Workspace, image: Any, sites: Any, distance: float, unit: str
) -> Job | None:
    """Set the scale of an image by the known distance between its atoms.

    Parameters
    ----------
    workspace
        Where the job runs.
    image
        Image layer.
    sites
        Points layer of its atoms, None where there is none.
    distance, unit
        What is known of their distance.

    Raises
    ------
    InputError
        If there are no atoms, or the image cannot be taken for frames.
    """
    from napari_rvae.layers import frames_from_layer, sites_from_layer

    if distance <= 0:
        raise InputError("Give the distance between neighbours that you know first.")
    if sites is None:
        raise InputError("There are no atoms to set the scale by: detect them first.")
    frames, table = frames_from_layer(image), sites_from_layer(sites, image)

    def work(_control: Control) -> Generator[Progress, None, Frames]:
        yield Progress(0, 0, "measuring the distance")
        from napari_rvae.frames import set_scale

        return set_scale(frames, table, neighbour_distance=distance, unit=unit)

    def then(scaled: Frames, _outcome: Outcome) -> None:
        px = distance / math.sqrt(math.prod(scaled.pixel_size))
        how = f"{distance:g} {SYMBOLS[unit]} are {px:.1f} px, over all near neighbours"
        _apply(workspace, image, frames, scaled, how)

    return workspace.start("detect", "Setting the scale", work, then)


def _apply(workspace: Workspace, image: Any, before: Frames, now: Frames, how: str) -> None:
    """Give the image and what lies on it the new scale, and leave the view where it is."""
    from napari_rvae.layers import rescale_layer

    viewer = workspace.viewer
    factor = now.pixel_size[1] / before.pixel_size[1]
    ours = [layer for layer in viewer.layers if _lies_on(layer, image)]
    old_units = image.units[-2:]
    for layer in ours:
        rescale_layer(layer, factor, now.units[-1])
    camera = viewer.scene.camera
    camera.center = (camera.center[0], *(value * factor for value in camera.center[1:]))
    camera.zoom = camera.zoom / factor
    viewer.canvas.overlays.scale_bar.visible = True
    known = pixel(before)
    text = f"Scale set: {pixel(now)} a pixel ({how})."
    text += f" It was {known}." if known else " There was none before."
    others = [item.name for item in viewer.layers if item.units[-2:] == old_units]
    if others and old_units != image.units[-2:]:
        text += f" {others[0]!r} has none yet." if not known else f" {others[0]!r} keeps its scale."
    workspace.say("detect", text, "done")


def _lies_on(layer: Any, image: Any) -> bool:
    """Whether a layer is the image, or was made from it or drawn over it in its pixels."""
    if layer is image:
        return True
    same = layer.units[-2:] == image.units[-2:] and all(
        math.isclose(a, b) for a, b in zip(layer.scale[-2:], image.scale[-2:], strict=True)
    )
    if is_frames(layer):  # another channel of the same movie, but not another movie
        name = record_of(layer).get("frames")
        alike = bool(name) and name == record_of(image).get("frames")
        return same and alike and layer.data.shape == image.data.shape
    return made_from(layer, image) if record_of(layer) else same
