"""Decoded pictures across two latents: in the dock, and as a layer beside the image.

The work goes on without the widget, which may be closed meanwhile.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from napari_rvae._napari import training
from napari_rvae._napari.drawing import put_layer
from napari_rvae._napari.forms import leave_wheel
from napari_rvae._napari.jobs import Control, Job, Outcome, Progress
from napari_rvae._napari.layer_kinds import record_of
from napari_rvae._napari.panel import button
from napari_rvae._napari.picture import Picture
from napari_rvae._napari.settings import read_preferences
from napari_rvae._napari.workspace import Model, Workspace
from napari_rvae.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_rvae.vae import RVAE

__all__ = ["Manifold", "ManifoldPanel", "draw_manifold", "manifold_of", "start_manifold"]

#: Pictures along each side.
_PICTURES = 9

#: Width of all pictures together in pixels of the screen: 9 of 32 pixels fit.
_WIDEST = 288

_AXIS_WIDTH = 58


@dataclass(frozen=True, eq=False)
class Manifold:
    """Decoded pictures over two latents of a model.

    Attributes
    ----------
    pictures
        Array (n, n, C, S, S).
    dims
        Numbers of the latents: the first grows to the right, the second upwards.
    grey
        Grey values (n S, n S) of them.
    """

    pictures: NDArray[np.float32]
    dims: tuple[int, int]
    grey: NDArray[np.uint8]


#: The pictures that were decoded last, by model.
_MANIFOLDS: weakref.WeakKeyDictionary[Model, Manifold] = weakref.WeakKeyDictionary()


def manifold_of(model: Model | None) -> Manifold | None:
    """Pictures that were decoded last, None before."""
    return None if model is None else _MANIFOLDS.get(model)


def start_manifold(workspace: Workspace, sites: Any, dims: tuple[int, int]) -> Job | None:
    """Decode pictures across two latents of the model in use, or of the run that sites are from.

    Parameters
    ----------
    workspace
        Whose model, and where the job runs.
    sites
        Points layer; the model is loaded from its run where there is none yet.
    dims
        Numbers of the two latents.

    Raises
    ------
    InputError
        If there is no model, or it is at work.
    """
    model, folder = workspace.model, record_of(sites).get("run")
    if model is None and folder is None:
        raise InputError("There is no model yet: train or load one first (widget Train).")
    if workspace.job("train") is not None:
        raise InputError("The Train widget is at work: wait until it has finished.")
    preferences = read_preferences()
    loading = training.load(str(folder), device=preferences.device, threads=preferences.n_threads)

    def work(control: Control) -> Generator[Progress, None, tuple[Model, Manifold]]:
        decoded = model if model is not None else (yield from loading(control))
        yield Progress(0, 0, "decoding pictures")
        from napari_rvae.device import limit_threads

        with limit_threads(preferences.n_threads):
            return decoded, _decode(decoded.rvae, dims)

    def then(value: tuple[Model, Manifold], _outcome: Outcome) -> None:
        decoded, manifold = value
        if model is None and workspace.model is None:
            workspace.use_model(decoded)
            workspace.say("train", f"The model of {decoded.name!r} is in use.", "done")
        if workspace.model is decoded:
            _MANIFOLDS[decoded] = manifold
            workspace.say("latents", f"Pictures of {decoded.name} are decoded.", "done")

    return workspace.start("latents", "Decoding pictures", work, then)


def _decode(rvae: RVAE, dims: tuple[int, int]) -> Manifold:
    """Pictures of a model, which may have fewer latents than were asked for."""
    last = rvae.n_latents_ - 1
    dims = (min(dims[0], last), min(dims[1], last))
    pictures = rvae.manifold(_PICTURES, dims=dims)
    return Manifold(pictures, dims, training.grey_values(pictures))


def draw_manifold(viewer: Any, image: Any, manifold: Manifold) -> Any:
    """Show decoded pictures beside the image, as :func:`napari_rvae.manifold_layer` says.

    Parameters
    ----------
    viewer
        The viewer, or its model.
    image
        Image layer; None places them at the origin.
    manifold
        What was decoded.

    Returns
    -------
    Layer
        The new layer, or the one that was there before.
    """
    from napari_rvae.layers import frames_from_layer, manifold_layer

    frames = None if image is None else frames_from_layer(image)
    made = manifold_layer(manifold.pictures, frames, name="decoded pictures")
    return put_layer(viewer, viewer, image, made)


class ManifoldPanel(QWidget):
    """Choice of two latents, and the pictures of the model in use.

    Parameters
    ----------
    decode, draw
        What the two buttons do.
    """

    def __init__(self, decode: Callable[[], Any], draw: Callable[[], Any]) -> None:
        super().__init__()
        self.across, self.up = QComboBox(), QComboBox()
        self.to = QLabel("and")
        for box in (self.across, self.up):
            leave_wheel(box)
            box.setMinimumWidth(_AXIS_WIDTH)
            box.setToolTip("What the pictures vary: the first to the right, the second upwards")
        self.decode = button("Decode", "Show what the model sees across two latents", decode)
        self.picture = Picture(widest=_WIDEST)
        self.caption = QLabel()
        self.caption.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.caption.setWordWrap(True)
        self.draw = button("Show beside the image", "Add the pictures as a layer", draw)
        row = QHBoxLayout()
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(QLabel("Pictures"))
        for widget in (self.across, self.to, self.up):
            row.addWidget(widget)
        row.addWidget(self.decode, 1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(row)
        for part in (self.picture, self.caption, self.draw):
            column.addWidget(part)

    def dims(self) -> tuple[int, int]:
        """Numbers of the two latents; the first two while nobody knows how many there are."""
        if not self.across.count():
            return 0, 1
        return self.across.currentIndex(), self.up.currentIndex()

    def show_model(self, model: Model | None, *, can_decode: bool) -> None:
        """Show the latents of a model and the pictures of it that there are."""
        count = 0 if model is None else model.rvae.n_latents_
        if count != self.across.count():
            for number, box in enumerate((self.across, self.up)):
                box.clear()
                box.addItems([f"z{k}" for k in range(count)])
                box.setCurrentIndex(min(number, count - 1))
        for box in (self.across, self.up):
            box.setVisible(count > 1)
        self.to.setVisible(count > 1)
        self.decode.setEnabled(can_decode)
        manifold = manifold_of(model)
        grey, dims = None if model is None else model.picture, (0, min(1, count - 1))
        if manifold is not None:
            grey, dims = manifold.grey, manifold.dims
        self.picture.show_values(grey)
        self.picture.setVisible(grey is not None)
        self.caption.setVisible(grey is not None)
        self.draw.setVisible(manifold is not None)
        if model is not None:
            self.caption.setText(f"{model.name}: z{dims[0]} grows to the right, z{dims[1]} upwards")
