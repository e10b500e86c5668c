"""Sites edited by hand: the table stays true, and every edit can be undone."""

from __future__ import annotations

import copy
import logging
import weakref
from typing import TYPE_CHECKING, Any

from napari.layers import Points
from napari.layers.base import ActionType
from napari.utils.key_bindings import KeyCode, KeyMod
from napari.utils.notifications import show_warning

from napari_rvae._napari.jobs import one_line
from napari_rvae._napari.layer_kinds import METADATA_KEY, kind_of

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from napari_rvae.layers.history import SitesState
    from napari_rvae.layers.selection import How
    from napari_rvae.layers.undo import LayerHistory

__all__ = [
    "history_of",
    "name_selected",
    "put_state",
    "redo",
    "select",
    "undo",
    "watch_edits",
]

_LOG = logging.getLogger(__name__)

#: What napari tells after an edit; it tells ADDING and the like before it.
_EDITS = (ActionType.ADDED, ActionType.REMOVED, ActionType.CHANGED)

#: Number of points of each layer that is watched, -1 in the middle of an edit.
_COUNTS: weakref.WeakKeyDictionary[Points, int] = weakref.WeakKeyDictionary()

#: Edits of each layer of sites that is watched.
_HISTORIES: weakref.WeakKeyDictionary[Points, LayerHistory] = weakref.WeakKeyDictionary()

#: Layers that this module is changing, which is no edit by hand.
_BUSY: weakref.WeakSet[Points] = weakref.WeakSet()


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
    layer.events.features.connect(_on_features)
    # as on Labels; napari has nothing of the kind for points
    layer.bind_key(KeyMod.CtrlCmd | KeyCode.KeyZ, _undo_by_key)
    layer.bind_key(KeyMod.CtrlCmd | KeyMod.Shift | KeyCode.KeyZ, _redo_by_key)
    # it may have been edited before anybody looked
    _settle(layer)


def _on_data(event: Any) -> None:
    """Settle after an edit; napari tells of a drag when the mouse is let go."""
    layer = event.source
    if layer in _BUSY:
        return
    if event.action in _EDITS:
        _settle(layer)
    elif _COUNTS.get(layer) != -1:
        history = history_of(layer)
        if history is not None:
            history.expect()
        _COUNTS[layer] = -1


def _on_drawn(event: Any) -> None:
    """Settle after points were pasted: napari tells nothing of it, but draws them."""
    layer = event.source
    if layer not in _BUSY and _COUNTS.get(layer, -1) not in (-1, len(layer.data)):
        _settle(layer)


def _on_features(event: Any) -> None:
    """Take new columns, such as latents, for what was there before the next edit."""
    layer = event.source
    history = history_of(layer)
    if history is not None and layer not in _BUSY and _COUNTS.get(layer) == len(layer.data):
        history.expect()


def _settle(layer: Points) -> None:
    """Make the features of a sites layer true, and remember that a hand was at work."""
    _COUNTS[layer] = len(layer.data)
    if kind_of(layer) != "sites":
        return
    from napari_rvae.layers import settle_layer  # loads pandas and SciPy
    from napari_rvae.layers.undo import LayerHistory

    try:
        history = _HISTORIES.get(layer)
        if history is not None:
            with _Changing(layer):
                history.settle()
            return
        if settle_layer(layer):
            layer.metadata[METADATA_KEY]["edited"] = True
        _HISTORIES[layer] = LayerHistory(layer)
    except Exception as error:  # noqa: BLE001 - an edit must never end in a traceback
        _LOG.exception("The features of %s could not be settled", layer.name)
        show_warning(one_line(error))


# ---------------------------------------------------------------------- undo
def history_of(layer: Any) -> LayerHistory | None:
    """Return the edits of a layer of sites that is watched, None for any other layer."""
    return _HISTORIES.get(layer) if isinstance(layer, Points) else None


def undo(layer: Any) -> str:
    """Take the newest edit of a layer back, and say what it was; "" where there is none."""
    return _step(layer, back=True)


def redo(layer: Any) -> str:
    """Do again what was undone last, and say what it is; "" where there is nothing."""
    return _step(layer, back=False)


def _step(layer: Any, *, back: bool) -> str:
    history = history_of(layer)
    if history is None or not (history.undo_text if back else history.redo_text):
        return ""
    with _Changing(layer):
        return history.undo() if back else history.redo()


def put_state(layer: Any, state: SitesState, *, name: str) -> None:
    """Give a layer of sites other points, as one edit of a name, which can be undone."""
    from napari_rvae.layers.undo import restore_layer

    history = history_of(layer)
    with _Changing(layer):
        if history is None:
            restore_layer(layer, state)
        else:
            history.replace(state, name=name)


def select(layer: Any, site_id: ArrayLike, *, how: How = "replace", name: str = "") -> None:
    """Select sites of a layer, as a step that can be undone where the layer is watched."""
    from napari_rvae.layers import select_points

    history = history_of(layer)
    with _Changing(layer):
        if history is None:
            select_points(layer, site_id, how=how)
        else:
            history.select(site_id, how=how, name=name)


def name_selected(layer: Any, name: str) -> int:
    """Give the selected sites of a layer a class; can be undone where the layer is watched."""
    from napari_rvae.layers import name_selection

    history = history_of(layer)
    with _Changing(layer):
        return name_selection(layer, name) if history is None else history.name_selection(name)


class _Changing:
    """While this module changes a layer, what napari tells of it is no edit by hand."""

    def __init__(self, layer: Points) -> None:
        self._layer = layer

    def __enter__(self) -> None:
        _BUSY.add(self._layer)

    def __exit__(self, *_error: object) -> None:
        _BUSY.discard(self._layer)
        _COUNTS[self._layer] = len(self._layer.data)


def _undo_by_key(layer: Points) -> None:
    """Undo the last edit of the sites."""
    _guarded(undo, layer)


def _redo_by_key(layer: Points) -> None:
    """Do again what was undone."""
    _guarded(redo, layer)


def _guarded(step: Any, layer: Points) -> None:
    try:
        step(layer)
    except Exception as error:  # noqa: BLE001 - nothing may reach the user as a traceback
        show_warning(one_line(error))
