"""The sites that belong to events and states of pathways."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_rvae.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_rvae.analysis.kinetics.results import Pathways

    Ids = NDArray[np.int64]

__all__ = ["event_sites", "followed_events", "state_sites"]


def followed_events(pathways: Pathways) -> pd.DataFrame:
    """Events with one column ``track``, as :func:`~napari_rvae.observed_passages` takes them.

    Parameters
    ----------
    pathways
        What :func:`~napari_rvae.find_pathways` returned.

    Returns
    -------
    DataFrame
        ``pathways.events`` with ``track``: ``track_id`` of atoms, ``lattice_track_id`` of places.

    Examples
    --------
    >>> from napari_rvae import Pathways
    >>> from napari_rvae.analysis.event_sites import followed_events
    >>> "track" in followed_events(Pathways())
    True
    """
    events = pathways.events
    is_atom = events["tracked"] == "atom"
    return events.assign(track=events["track_id"].where(is_atom, events["lattice_track_id"]))


def event_sites(
    table: pd.DataFrame, events: pd.DataFrame, *, before: int = 1, after: int = 1
) -> pd.DataFrame:
    """Sites of the tracks of events, about the time of the change.

    Parameters
    ----------
    table
        Sites table after :func:`~napari_rvae.link_sites`.
    events
        Some of ``pathways.events``.
    before, after
        Frames before the change and from it on.

    Returns
    -------
    DataFrame
        ``event`` (label of its row), ``site_id``, ``frame``; in the order of the events and frames.

    Raises
    ------
    InputError
        If the table has no tracks.

    Examples
    --------
    >>> import pandas as pd
    >>> from napari_rvae.analysis.event_sites import event_sites
    >>> from napari_rvae.tables import make_sites
    >>> sites = make_sites(frame=[0, 1, 2], y=[5.0] * 3, x=[5.0] * 3, track_id=7)
    >>> event = {"frame": [1], "tracked": "atom", "track_id": 7, "lattice_track_id": -1}
    >>> event_sites(sites, pd.DataFrame(event).assign(source=""))["frame"].tolist()
    [0, 1]
    """
    columns = {"atom": "track_id", "place": "lattice_track_id"}
    needed = {columns[str(kind)] for kind in events["tracked"]}
    missing = sorted(needed - set(table))
    if missing:
        raise InputError(f"The sites lack the column {', '.join(missing)}: link them (link_sites).")
    parts = []
    for label, event in events.iterrows():
        column = columns[str(event["tracked"])]
        step = table["frame"] - event["frame"]
        mine = (table[column] == event[column]) & (step >= -before) & (step < after)
        if "source" in table:
            mine &= table["source"] == event["source"]
        own = table.loc[mine, ["site_id", "frame"]].sort_values("frame")
        parts.append(own.assign(event=label))
    empty = table.iloc[:0][["site_id", "frame"]].assign(event=0)
    found = pd.concat(parts, ignore_index=True) if parts else empty
    return found[["event", "site_id", "frame"]]


def state_sites(pathways: Pathways, tracked: str, states: Iterable[int]) -> Ids:
    """Numbers of the sites (N,) that are most probably in some states.

    Parameters
    ----------
    pathways
        What :func:`~napari_rvae.find_pathways` returned.
    tracked
        "atom" or "place": whose states.
    states
        Numbers of the states.

    Examples
    --------
    >>> from napari_rvae import Pathways
    >>> from napari_rvae.analysis.event_sites import state_sites
    >>> state_sites(Pathways(), "atom", [0]).size
    0
    """
    table = pathways.table
    chosen = (table["tracked"] == tracked) & table["state"].isin(list(states))
    return table.loc[chosen, "site_id"].to_numpy(np.int64)
