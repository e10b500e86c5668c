"""A Points layer of sites <-> its states: edits are settled and noted, undone and done again."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_rvae.layers.edits import new_site, settle_layer
from napari_rvae.layers.history import EditHistory, SitesState
from napari_rvae.layers.place import METADATA_KEY, record_of
from napari_rvae.layers.selection import How, name_selection, select_points, selected_sites

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike

__all__ = ["LayerHistory", "layer_state", "restore_layer"]

#: What the metadata note of edits and of frames that were looked at again.
_MARKS = ("edited", "deleted", "renewed")

#: How each point looks; colours only where no column gives them.
_LOOKS = ("size", "symbol", "border_width", "shown", "face_color", "border_color")


def layer_state(layer: Any) -> SitesState:
    """Take the present state of a Points layer; later edits do not change it.

    Parameters
    ----------
    layer
        Points layer of sites.
    """
    record = record_of(layer)
    return SitesState(
        data=np.array(layer.data),
        features=layer.features.copy(),
        looks={name: np.array(getattr(layer, name)) for name in _LOOKS},
        marks={name: copy.deepcopy(record[name]) for name in _MARKS if name in record},
        selected=tuple(selected_sites(layer).tolist()) if "site_id" in layer.features else (),
    )


def restore_layer(layer: Any, state: SitesState) -> None:
    """Give a Points layer the points, features and looks of a state.

    Points that a column colours are coloured by what the column says of them now.

    Parameters
    ----------
    layer
        Points layer of sites.
    state
        What it shall show. Numbers of sites that were given once are not given again.
    """
    layer.selected_data = set()
    layer.data = state.data.copy()
    if len(state) or layer.face_color_mode == "direct":  # napari cannot colour no points anew
        layer.features = state.features
        layer.feature_defaults = new_site(state.features)
    with layer.block_update_properties():
        for name in _LOOKS:
            by_column = getattr(layer, f"{name}_mode", "direct") != "direct"
            if len(state) and not by_column:
                setattr(layer, name, state.looks[name].copy())
    record = layer.metadata[METADATA_KEY]
    for name in _MARKS:
        record.pop(name, None)
    record.update(copy.deepcopy(dict(state.marks)))
    layer.refresh()
    if state.selected:
        select_points(layer, state.selected)


class LayerHistory:
    """The edits of one layer of sites.

    Parameters
    ----------
    layer
        Points layer of :func:`~napari_rvae.points_layer`; it is held weakly.

    Examples
    --------
    >>> from napari.components import ViewerModel
    >>> from napari_rvae import add_layers, points_layer
    >>> from napari_rvae.layers.undo import LayerHistory
    >>> from napari_rvae.tables import make_sites
    >>> (layer,) = add_layers(ViewerModel(), points_layer(make_sites(frame=0, y=[1.0], x=[2.0])))
    >>> history = LayerHistory(layer)
    >>> layer.add([7.0, 8.0])
    >>> history.settle(), history.undo_text
    (True, '1 site added')
    >>> history.undo(), layer.data.tolist()
    ('1 site added', [[1.0, 2.0]])
    """

    def __init__(self, layer: Any) -> None:
        self._layer: Callable[[], Any] = weakref.ref(layer)
        self._edits = EditHistory()
        self._state = layer_state(layer)

    @property
    def undo_text(self) -> str:
        """What :meth:`undo` would take back, "" for nothing."""
        return self._edits.undo_text

    @property
    def redo_text(self) -> str:
        """What :meth:`redo` would do again, "" for nothing."""
        return self._edits.redo_text

    def expect(self) -> None:
        """Take the layer as it is now for the state before the next edit.

        What was done to it since the last one, such as other colours, is no edit.
        """
        self._state = layer_state(self._layer())

    def settle(self) -> bool:
        """Make the features true after an edit, and note what it was.

        Returns
        -------
        bool
            Whether anything has changed.
        """
        layer, before = self._layer(), self._state
        changed = settle_layer(layer)
        if "site_id" not in layer.features or "site_id" not in before.features:
            return changed  # somebody has put other features in their place
        record, deleted = record_of(layer), _deleted(before.features, layer.features)
        if deleted:
            record["deleted"] = [*record.get("deleted", ()), *deleted]
        if changed or deleted:
            record["edited"] = True
        self._state = layer_state(layer)
        return self._edits.record(before, self._state) or changed

    def replace(self, state: SitesState, *, name: str) -> bool:
        """Give the layer another state, as one edit of a name, which can be undone."""
        layer = self._layer()
        before = layer_state(layer)
        restore_layer(layer, state)
        self._state = layer_state(layer)
        return self._edits.record(before, self._state, name=name)

    def select(self, site_id: ArrayLike, *, how: How = "replace", name: str = "") -> bool:
        """Select sites, as one step that can be undone.

        Parameters
        ----------
        site_id, how
            See :func:`~napari_rvae.select_points`.
        name
            What to call it; the number of sites that are selected then, if left out.

        Returns
        -------
        bool
            Whether other sites are selected now.
        """
        layer = self._layer()
        before = layer_state(layer)
        number = select_points(layer, site_id, how=how)
        self._state = replace(before, selected=tuple(selected_sites(layer).tolist()))
        text = name or f"{number:,} {'site' if number == 1 else 'sites'} selected"
        return self._edits.record_selection(before, self._state, name=text)

    def name_selection(self, name: str) -> int:
        """Give the selected sites a class, see :func:`~napari_rvae.name_selection`; one step."""
        layer = self._layer()
        before = layer_state(layer)
        number = name_selection(layer, name)
        self._state = layer_state(layer)
        sites = f"{number:,} {'site' if number == 1 else 'sites'}"
        text = f"{sites} named {name.strip()!r}" if name.strip() else f"{sites} without a class"
        self._edits.record(before, self._state, name=text)
        return number

    def undo(self) -> str:
        """Take the newest edit back, and say what it was.

        Raises
        ------
        InputError
            If there is nothing to undo, or the sites have been changed by other means.
        """
        text, now = self.undo_text, layer_state(self._layer())
        self._show(now, self._edits.undo(now))
        return text

    def redo(self) -> str:
        """Do again what was undone last, and say what it is; see :meth:`undo`."""
        text, now = self.redo_text, layer_state(self._layer())
        self._show(now, self._edits.redo(now))
        return text

    def _show(self, now: SitesState, state: SitesState) -> None:
        layer = self._layer()
        if state.data is now.data:  # other sites are selected, nothing else
            select_points(layer, np.asarray(state.selected, np.int64))
        else:
            restore_layer(layer, state)
        self._state = layer_state(layer)


def _deleted(before: pd.DataFrame, now: pd.DataFrame) -> list[list[float]]:
    """Places (frame, y, x) of the sites that are there no more."""
    gone = before[~before["site_id"].isin(now["site_id"])]
    return [[float(value) for value in row] for row in gone[["frame", "y", "x"]].to_numpy()]
