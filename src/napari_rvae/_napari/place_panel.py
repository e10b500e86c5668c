"""What the model shows under the mouse in the plane of two latents."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from napari_rvae._napari.forms import leave_wheel
from napari_rvae._napari.picture import Picture

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_rvae.analysis.plane import DecodedPlace

__all__ = ["PlacePanel"]

#: Side of a picture in pixels of the screen.
_SIDE = 88

#: What can lie below the points.
_GROUNDS = {"no pictures": "", "prior grid": "prior", "data's own grid": "data"}


class PlacePanel(QWidget):
    """Two decoded pictures, upright and turned, and the choice of a grid of them."""

    ground_chosen = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.ground = QComboBox()
        self.ground.addItems(list(_GROUNDS))
        self.ground.setToolTip(
            "Decoded pictures below the points: over the prior (other latents 0), or over the data "
            "(the mean latents of the sites in each cell)"
        )
        self.ground.setMinimumWidth(100)  # its longest text would widen the panel
        leave_wheel(self.ground)
        self.ground.currentIndexChanged.connect(self.ground_chosen)
        self.upright, self.turned = Picture(widest=_SIDE), Picture(widest=_SIDE)
        self.upright.setToolTip("Decoded, upright: the same for all angles")
        self.turned.setToolTip("Decoded, turned like the site nearest to the mouse")
        for picture in (self.upright, self.turned):
            picture.setMinimumWidth(64)
        self.caption = QLabel()
        self.caption.setWordWrap(True)
        self.caption.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.caption.setMinimumHeight(3 * self.caption.fontMetrics().height())
        row = QHBoxLayout()
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.upright)
        row.addWidget(self.turned)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.ground)
        column.addLayout(row)
        column.addWidget(self.caption)
        self._limits: tuple[float, float] | None = None

    def grid_kind(self) -> str:
        """Which grid is wanted: "prior", "data", or "" for none."""
        return _GROUNDS[self.ground.currentText()]

    def show_place(self, place: DecodedPlace, names: tuple[str, str], values: Any) -> None:
        """Show what was decoded at a place.

        Parameters
        ----------
        place
            The pictures.
        names, values
            The two latents.
        """
        low, high = float(place.canonical[0].min()), float(place.canonical[0].max())
        for picture, shown in ((self.upright, place.canonical), (self.turned, place.turned)):
            picture.show_values(_grey(shown[0], low, high))
        angle = "no angle"
        if math.isfinite(place.angle):
            angle = f"angle {math.degrees(place.angle):.1f}\N{DEGREE SIGN}"
        at = ", ".join(f"{name} = {value:.3g}" for name, value in zip(names, values, strict=True))
        self.caption.setText(f"{at}\nnearest: site {place.site_id}, {angle}")

    def show_text(self, text: str) -> None:
        """Show a line instead of pictures."""
        for picture in (self.upright, self.turned):
            picture.show_values(None)
        self.caption.setText(text)


def _grey(values: NDArray[np.float32], low: float, high: float) -> NDArray[np.uint8]:
    """Grey values between two ends."""
    share = np.clip((values - low) / max(high - low, 1e-12), 0, 1)
    return np.asarray(np.rint(255 * share), np.uint8)
