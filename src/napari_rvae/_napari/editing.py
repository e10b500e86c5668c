"""Sites edited by hand: whatever the user adds, deletes or moves, the table stays true."""

from __future__ import annotations

import copy
import logging
import weakref
from typing import Any

from napari.layers import Points
from napari.layers.base import ActionType
from napari.utils.notifications import show_warning

from napari_rvae._napari.jobs import one_line
from napari_rvae._napari.layer_kinds import METADATA_KEY, kind_of

__all__ = ["watch_edits"]

_LOG = logging.getLogger(__name__)

#: What napari tells after an edit; it tells ADDING and the like before it.
_EDITS = (ActionType.ADDED, ActionType.REMOVED, ActionType.CHANGED)

#: Number of points of each layer that is watched, -1 in the middle of an edit.
_COUNTS: weakref.WeakKeyDictionary[Points, int] = weakref.WeakKeyDictionary()


def watch_edits(viewer: Any) -> None:
    """Keep the features of a viewer's sites layers true, of those to come as well.

    Parameters
    ----------
    viewer
        The viewer, or its model. Watching it twice does no harm.
    """
    viewer.layers.events.inserted.connect(_on_inserted)
    for layer in viewer.layers:
        _watch(layer)


def _on_inserted(event: Any) -> None:
    layer = event.value
    if METADATA_KEY in layer.metadata:
        # napari lets the duplicate of a layer share its metadata, and a duplicate that is coloured
        # otherwise must not change the original's
        layer.metadata[METADATA_KEY] = copy.deepcopy(layer.metadata[METADATA_KEY])
    _watch(layer)


def _watch(layer: Any) -> None:
    if not isinstance(layer, Points) or layer in _COUNTS:
        return
    layer.events.data.connect(_on_data)
    layer.events.set_data.connect(_on_drawn)
    # it may have been edited before anybody looked
    _settle(layer)


def _on_data(event: Any) -> None:
    """Settle after an edit; napari tells of a drag when the mouse is let go."""
    if event.action in _EDITS:
        _settle(event.source, other_points=event.action != ActionType.CHANGED)
    else:
        _COUNTS[event.source] = -1


def _on_drawn(event: Any) -> None:
    """Settle after points were pasted: napari tells nothing of it, but draws them."""
    if _COUNTS.get(event.source, -1) not in (-1, len(event.source.data)):
        _settle(event.source)


def _settle(layer: Points, *, other_points: bool = False) -> None:
    """Make the features of a sites layer true, and remember that a hand was at work."""
    _COUNTS[layer] = len(layer.data)
    if kind_of(layer) != "sites":
        return
    from napari_rvae.layers import settle_layer  # loads pandas and SciPy

    try:
        changed = settle_layer(layer)
    except Exception as error:  # noqa: BLE001 - an edit must never end in a traceback
        _LOG.exception("The features of %s could not be settled", layer.name)
        show_warning(one_line(error))
        return
    if changed or other_points:
        layer.metadata[METADATA_KEY]["edited"] = True
