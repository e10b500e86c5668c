"""Undo and redo of edits: what each edit changed, and the exact way back.

Nothing here knows of a viewer; :mod:`napari_rvae.layers.undo` takes the states from layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_rvae.errors import InputError
from napari_rvae.layers.edits import missing_value

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = NDArray[np.int64]

__all__ = ["EditHistory", "SitesState"]

#: Edits that can be undone; each holds only the rows that it changed.
_LIMIT = 500


@dataclass(frozen=True, eq=False)
class SitesState:
    """Sites as they are at one moment.

    Parameters
    ----------
    data
        Points (N, 2) or (N, 3).
    features
        Sites table (N rows).
    looks
        Further arrays with one row for each point (N, ...), such as sizes and colours.
    marks
        What is noted of the whole, such as which sites were deleted; compared and restored as one.
    selected
        Numbers of the sites that are selected, ascending. It comes back with the rest, but is no
        edit by itself.
    """

    data: NDArray[Any]
    features: pd.DataFrame
    looks: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    marks: Mapping[str, Any] = field(default_factory=dict)
    selected: tuple[int, ...] = ()

    def __len__(self) -> int:
        """Return the number of points."""
        return len(self.data)

    def take(self, rows: Rows) -> SitesState:
        """Return some of the points."""
        return SitesState(
            self.data[rows],
            self.features.iloc[rows],
            {name: values[rows] for name, values in self.looks.items()},
            self.marks,
            self.selected,
        )

    def with_looks_of(self, other: SitesState) -> SitesState:
        """Return the same state, in which the sites of another one look as they do there."""
        known = pd.Index(other.features["site_id"]).get_indexer(self.features["site_id"])
        here, there = np.flatnonzero(known >= 0), known[known >= 0]
        looks = {name: values.copy() for name, values in self.looks.items()}
        for name, values in looks.items():
            values[here] = other.looks[name][there]
        return replace(self, looks=looks)


@dataclass(frozen=True, eq=False)
class _Side:
    """What an edit did to one of its two sides: the state before it, or the state after it.

    ``state`` are the rows that only this side has, at the row numbers ``at``; ``columns`` are the
    columns that only this side has, with all their rows; ``order`` are the names of all columns.
    """

    state: SitesState
    at: Rows
    columns: pd.DataFrame
    order: tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class _Edit:
    """Difference of two states."""

    before: _Side
    after: _Side
    name: str = ""

    @property
    def empty(self) -> bool:
        """Whether both states are the same."""
        return not self.changes_rows and self.before.state.marks == self.after.state.marks

    @property
    def changes_rows(self) -> bool:
        """Whether any row or column differs."""
        return any(side.at.size or side.columns.shape[1] for side in (self.before, self.after))

    @property
    def text(self) -> str:
        """What was done, in words."""
        if self.name:
            return self.name
        left, came = (set(side.state.features["site_id"]) for side in (self.before, self.after))
        counts = {
            "added": len(came - left),
            "deleted": len(left - came),
            "changed": len(left & came),
        }
        parts = [f"{n:,} {what}" for what, n in counts.items() if n]
        if not parts:
            return "nothing"
        number, what = parts[0].split()
        noun = "site" if number == "1" else "sites"
        return ", ".join((f"{number} {noun} {what}", *parts[1:]))


class EditHistory:
    """What was done to a table of sites, for undo and redo.

    Only the rows and columns that an edit has changed are kept, so that a history of hundreds of
    edits of a large table stays small.

    Parameters
    ----------
    limit
        Number of edits that can be undone; the oldest are forgotten.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae.layers.history import EditHistory, SitesState
    >>> from napari_rvae.tables import make_sites
    >>> one = SitesState(np.array([[1.0, 2.0]]), make_sites(frame=0, y=[1.0], x=[2.0]))
    >>> none = one.take(np.arange(0))
    >>> history = EditHistory()
    >>> history.record(one, none), history.undo_text
    (True, '1 site deleted')
    >>> history.undo(none).features["x"].tolist()
    [2.0]
    """

    def __init__(self, *, limit: int = _LIMIT) -> None:
        self._limit = limit
        self._done: list[_Edit] = []
        self._undone: list[_Edit] = []

    @property
    def undo_text(self) -> str:
        """What :meth:`undo` would take back, "" for nothing."""
        return self._done[-1].text if self._done else ""

    @property
    def redo_text(self) -> str:
        """What :meth:`redo` would do again, "" for nothing."""
        return self._undone[-1].text if self._undone else ""

    def record(self, before: SitesState, after: SitesState, *, name: str = "") -> bool:
        """Note an edit; what was undone cannot be done again then.

        Parameters
        ----------
        before, after
            The two states.
        name
            What to call it; the number of sites added, deleted and changed when left out.

        Returns
        -------
        bool
            Whether anything has changed.
        """
        edit = replace(_difference(before, after), name=name)
        if edit.empty:
            return False
        self._note(edit)
        return True

    def record_selection(self, before: SitesState, after: SitesState, *, name: str) -> bool:
        """Note that other sites were selected, nothing else being changed.

        Parameters
        ----------
        before, after
            The two states.
        name
            What to call it.

        Returns
        -------
        bool
            Whether other sites are selected.
        """
        if before.selected == after.selected:
            return False
        nothing = np.zeros(0, np.int64)
        one, other = (
            _Side(state.take(nothing), nothing, pd.DataFrame(index=state.features.index), ())
            for state in (before, after)
        )
        self._note(_Edit(one, other, name))
        return True

    def _note(self, edit: _Edit) -> None:
        self._done.append(edit)
        del self._done[: -self._limit]
        self._undone.clear()

    def undo(self, now: SitesState) -> SitesState:
        """Return the state before the newest edit.

        Parameters
        ----------
        now
            The present state: that after the edit. Columns that have come or gone since, such as
            one to colour by, stay as they are now; in rows that come back they have no value.

        Raises
        ------
        InputError
            If there is nothing to undo, or the sites have been changed by other means.
        """
        if not self._done:
            raise InputError("There is no edit to undo.")
        edit = self._done[-1]
        state = _turned(now, edit, edit.after, edit.before)
        self._undone.append(self._done.pop())
        return state

    def redo(self, now: SitesState) -> SitesState:
        """Return the state after the edit that was undone last; see :meth:`undo`."""
        if not self._undone:
            raise InputError("There is no edit to do again.")
        edit = self._undone[-1]
        state = _turned(now, edit, edit.before, edit.after)
        self._done.append(self._undone.pop())
        return state

    def clear(self) -> None:
        """Forget all edits."""
        self._done.clear()
        self._undone.clear()


# ---------------------------------------------------------------------- two states -> an edit
def _difference(before: SitesState, after: SitesState) -> _Edit:
    """Rows and columns in which two states differ."""
    rows_before, rows_after = _common_rows(before, after)
    shared = [
        name
        for name in before.features.columns
        if name in after.features and before.features[name].dtype == after.features[name].dtype
    ]
    same = (before.data[rows_before] == after.data[rows_after]).all(axis=1)
    for name in shared:
        same &= _equal(before.features[name], after.features[name], rows_before, rows_after)
    for name, values in before.looks.items():
        alike = values[rows_before] == after.looks[name][rows_after]
        same &= alike.all(axis=tuple(range(1, alike.ndim)))
    return _Edit(
        _side(before, rows_before[same], shared),
        _side(after, rows_after[same], shared),
    )


def _common_rows(before: SitesState, after: SitesState) -> tuple[Rows, Rows]:
    """Row numbers of the sites that both states have, if these are in one order; else none."""
    first, second = (pd.Index(state.features["site_id"]) for state in (before, after))
    nothing = np.zeros(0, np.int64)
    if (
        first.has_duplicates
        or second.has_duplicates
        or before.data.shape[1:] != after.data.shape[1:]
    ):
        return nothing, nothing
    where = first.get_indexer(second).astype(np.int64)
    rows_after = np.flatnonzero(where >= 0)
    rows_before = where[rows_after]
    if (np.diff(rows_before) < 0).any():
        return nothing, nothing
    return rows_before, rows_after


def _equal(
    one: pd.Series[Any], other: pd.Series[Any], rows: Rows, others: Rows
) -> NDArray[np.bool_]:
    """Where two columns of one type hold the same value, or none both."""
    if one.dtype.kind in "biuf":
        left, right = one.to_numpy()[rows], other.to_numpy()[others]
        return np.asarray((left == right) | (np.isnan(left) & np.isnan(right)))
    words, others_words = (
        column.astype(object).to_numpy()[at] for column, at in ((one, rows), (other, others))
    )
    alike = (words == others_words) | (pd.isna(words) & pd.isna(others_words))
    return np.asarray(alike, bool)


def _side(state: SitesState, same: Rows, shared: list[Any]) -> _Side:
    at = _others(same, len(state))
    columns = state.features.drop(columns=shared).copy()
    own = state.take(at)
    own = replace(own, features=own.features[shared].copy())
    return _Side(own, at, columns, tuple(state.features.columns))


def _others(rows: Rows, count: int) -> Rows:
    """All row numbers below a count but these."""
    chosen = np.ones(count, bool)
    chosen[rows] = False
    return np.flatnonzero(chosen)


# ---------------------------------------------------------------------- an edit, done or undone
def _turned(now: SitesState, edit: _Edit, gone: _Side, come: _Side) -> SitesState:
    """State on the other side of an edit; the rows themselves where the edit has changed none."""
    if not edit.changes_rows:
        return replace(now, marks=come.state.marks, selected=come.state.selected)
    return _exchange(now, gone, come)


def _exchange(now: SitesState, gone: _Side, come: _Side) -> SitesState:
    """State in which the rows and columns of one side have taken the place of the other's."""
    ids = now.features["site_id"].to_numpy() if "site_id" in now.features else np.zeros(0)
    expected = gone.state.features["site_id"].to_numpy()
    if (gone.at >= len(now)).any() or not np.array_equal(ids[gone.at], expected):
        raise InputError("The sites were changed by other means since: this edit cannot be undone.")
    kept = _others(gone.at, len(now))
    n_rows = len(kept) + len(come.at)
    fresh = np.zeros(n_rows, bool)
    fresh[come.at] = True
    order = np.empty(n_rows, np.int64)  # of the rows: first those kept, then those that come
    order[~fresh], order[fresh] = np.arange(len(kept)), len(kept) + np.arange(len(come.at))
    features = now.features.drop(columns=[name for name in gone.columns if name in now.features])
    features = _joined_table(features.iloc[kept], come.state.features).iloc[order]
    features = features.reset_index(drop=True)
    for name in come.columns:
        if len(come.columns) == n_rows:
            features[name] = come.columns[name].reset_index(drop=True)
    if set(come.order) == set(features.columns):
        features = features[list(come.order)]
    looks = {
        name: np.concatenate([values[kept], come.state.looks[name]])[order]
        for name, values in now.looks.items()
    }
    data = np.concatenate([now.data[kept], come.state.data])[order]
    return SitesState(data, features, looks, come.state.marks, come.state.selected)


def _joined_table(kept: pd.DataFrame, come: pd.DataFrame) -> pd.DataFrame:
    """Rows of two tables, with the columns of the first."""
    if not len(come):
        return kept
    columns = {
        name: come[name]
        if name in come
        else pd.Series([missing_value(kept[name])] * len(come), index=come.index)
        for name in kept
    }
    come = pd.DataFrame(columns).astype(kept.dtypes.to_dict())
    return pd.concat([kept, come]) if len(kept) else come
