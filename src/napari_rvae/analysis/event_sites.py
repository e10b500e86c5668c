"""The sites that belong to events and states of pathways."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_rvae.analysis.landscape import FilmStrip, film_strip
from napari_rvae.errors import InputError
from napari_rvae.tables import latent_names

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_rvae.analysis.explain import Model
    from napari_rvae.analysis.kinetics.results import Pathways
    from napari_rvae.crops import Crops

    Ids = NDArray[np.int64]

__all__ = ["event_film", "event_films", "event_sites", "followed_events", "state_sites"]


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
        if "source" in table and "source" in events:
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


def event_film(
    model: Model,
    table: pd.DataFrame,
    event: pd.DataFrame,
    crops: Crops | None = None,
    *,
    around: int = 3,
) -> tuple[FilmStrip, list[int]] | None:
    """Decode the pictures of an event's site from frame to frame, each beside its own crop.

    Parameters
    ----------
    model
        The model that made the latents.
    table
        Linked sites table with latents.
    event
        One row of ``pathways.events``.
    crops
        Crops of the sites, as far as they are there.
    around
        Frames before the change, and from it on.

    Returns
    -------
    tuple or None
        The film strip and the frame of each picture, turned as the site is in the frames; None
        where the site has latents in fewer than two of the frames.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from napari_rvae import RVAE, Crops
    >>> from napari_rvae.analysis.event_sites import event_film
    >>> images = np.random.default_rng(0).normal(size=(64, 1, 32, 32)).astype(np.float32)
    >>> crops = Crops(images=images, site_id=np.arange(64))
    >>> model = RVAE(epochs=1).fit(crops)
    >>> table = model.transform(crops).assign(frame=np.arange(64) // 8)
    >>> table = table.assign(track_id=np.arange(64) % 8, lattice_track_id=-1)
    >>> event = pd.DataFrame({"frame": [4], "tracked": "atom", "track_id": 2})
    >>> event_film(model, table, event.assign(lattice_track_id=-1), crops)[1]
    [1, 2, 3, 4, 5, 6]
    """
    sites = event_sites(table, event, before=around, after=around)
    rows = sites.merge(table, on=["site_id", "frame"], how="left")
    names = latent_names(rows)
    rows = rows.dropna(subset=names)
    if len(rows) < 2 or not names:
        return None
    strip = film_strip(
        model,
        rows[names].to_numpy(float),
        n=None,
        crops=crops,
        latents=rows,
        site_id=rows["site_id"].to_numpy(np.int64),
        angle=rows["angle"].to_numpy(float) if "angle" in rows else None,
    )
    return strip, rows["frame"].astype(int).tolist()


def event_films(
    model: Model,
    pathways: Pathways,
    table: pd.DataFrame,
    crops: Crops | None = None,
    *,
    most: int = 4,
) -> dict[str, FilmStrip]:
    """Film strips of the surest event of each kind of change, the most frequent kinds first.

    Parameters
    ----------
    model, table, crops
        As for :func:`event_film`.
    pathways
        What :func:`~napari_rvae.find_pathways` returned.
    most
        Most film strips.

    Returns
    -------
    dict
        Film strips by the change and the frames that they show.

    Examples
    --------
    >>> from napari_rvae import RVAE, Pathways
    >>> from napari_rvae.analysis.event_sites import event_films
    >>> event_films(RVAE(), Pathways(), None)
    {}
    """
    events = pathways.events
    ends = ["from_name", "to_name"]
    counts = events.groupby(ends, sort=True)["frame"].transform("size")
    order = events.assign(count=counts).sort_values(
        ["count", "probability", "n_sites"], ascending=False, kind="stable"
    )
    films: dict[str, FilmStrip] = {}
    for change in order.drop_duplicates(ends).index[:most]:
        made = event_film(model, table, events.loc[[change]], crops)
        if made is not None:
            strip, frames = made
            one, two = events.loc[change, ends]
            films[f"{one} to {two}, frames {frames[0]} to {frames[-1]}"] = strip
    return films
