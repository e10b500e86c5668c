"""What the colour bars on the canvas show: the names of their columns above them."""

from __future__ import annotations

import weakref
from functools import partial
from typing import Any

from napari.components.overlays import TextOverlay
from qtpy.QtCore import QTimer

from napari_rvae._napari.layer_kinds import record_of
from napari_rvae._napari.window import is_closed

__all__ = ["BAR_NAMES", "name_bars"]

#: Key of the text among the overlays of the canvas.
BAR_NAMES = "napari_rvae_bars"


def name_bars(viewer: Any) -> None:
    """Write the column that is shown above napari's colour bars, from now on.

    Parameters
    ----------
    viewer
        The viewer. Its own text overlay is left alone; what lies in the upper right corner of the
        canvas is stacked, or a long name would push the bars into the picture.
    """
    overlays = getattr(getattr(viewer, "canvas", None), "overlays", None)
    if overlays is None:
        return
    viewer.canvas.overlay_tiling.top_right = "vertical"
    text = overlays[BAR_NAMES] = TextOverlay(position="top_right", visible=False, box=True)
    soon = QTimer()  # one change of the colours comes as several events
    soon.setSingleShot(True)
    soon.setInterval(0)
    soon.timeout.connect(partial(_show_names, weakref.ref(viewer), text))

    def start(_event: Any = None) -> None:
        soon.start()

    def follow(layer: Any) -> None:
        watched = [getattr(layer.events, name, None) for name in ("visible", "face_color")]
        watched += [bar.events.visible for bar in _bars(layer)]
        for event in watched:
            if event is not None:
                event.connect(start)

    def on_inserted(event: Any) -> None:
        follow(event.value)
        start()

    for layer in viewer.layers:
        follow(layer)
    viewer.layers.events.inserted.connect(on_inserted)
    viewer.layers.events.removed.connect(start)
    viewer.layers.events.reordered.connect(start)
    start()


def _bars(layer: Any) -> list[Any]:
    """Colour bars that a layer has, shown or not."""
    bars = (getattr(layer, name, None) for name in ("face_colorbar", "colorbar"))
    return [bar for bar in bars if bar is not None]


def _show_names(known: weakref.ref[Any], text: TextOverlay) -> None:
    viewer = known()
    if viewer is None or is_closed(viewer):
        return
    names: list[str] = []
    for layer in reversed(viewer.layers):  # as the bars stand, from the top
        if layer.visible and any(bar.visible for bar in _bars(layer)):
            name = _name(record_of(layer))
            if name and name not in names:
                names.append(name)
    words = ", ".join(names)
    if text.text != words:
        text.text = words
    if text.visible != bool(words):
        text.visible = bool(words)


def _name(record: dict[str, Any]) -> str:
    """Column that a layer of ours shows, with its unit; nothing for other layers."""
    if record.get("column") is None:
        return ""
    from napari_rvae.layers.colours import column_label

    return column_label(str(record["column"]))
