"""Observed passages: the latents of linked sites while they change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_rvae.analysis.landscape.density import Landscape
from napari_rvae.analysis.landscape.metric import PictureSpace
from napari_rvae.errors import InputError
from napari_rvae.tables import latent_names

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_rvae.analysis.explain import Model

    Array = NDArray[np.float64]

__all__ = ["observed_passages"]


def observed_passages(
    model: Model,
    landscape: Landscape,
    table: pd.DataFrame,
    events: pd.DataFrame,
    *,
    before: int = 3,
    after: int = 3,
) -> pd.DataFrame:
    """Where sites were on the landscape while they changed.

    Parameters
    ----------
    model
        The model that made the latents.
    landscape
        What :func:`~napari_rvae.latent_landscape` returned.
    table
        Sites with latents and the tracks of :func:`~napari_rvae.link_sites`.
    events
        The events to follow: ``frame`` (the first after the change) and ``track``; ``source`` and
        ``tracked`` ("atom": ``track_id``; "place": ``lattice_track_id``) where they are known.
    before, after
        Frames that are looked at before the change and from it on.

    Returns
    -------
    DataFrame
        One row for each sighting, in the order of the events and frames: ``event`` (label of its
        row in `events`), ``step`` (frames since the change, negative before it), ``site_id``,
        ``frame``, ``unit`` (-1 = none), ``node`` (nearest), ``distance`` to it, the coordinates
        ``p0``, ``p1``, ... of the view and the latents. Sightings without latents are left out.

    Raises
    ------
    InputError
        If a column is missing.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from napari_rvae import RVAE, Crops, latent_landscape, observed_passages
    >>> images = np.random.default_rng(0).normal(size=(64, 1, 32, 32)).astype(np.float32)
    >>> model = RVAE(epochs=1).fit(Crops(images=images, site_id=np.arange(64)))
    >>> table = model.transform(Crops(images=images, site_id=np.arange(64)))
    >>> table = table.assign(frame=np.arange(64) // 8, lattice_track_id=np.arange(64) % 8)
    >>> landscape = latent_landscape(model, table, n_nodes=5)
    >>> events = pd.DataFrame({"frame": [4], "track": [2]})
    >>> observed_passages(model, landscape, table, events, before=2, after=1)["frame"].tolist()
    [2, 3, 4]
    """
    names = latent_names(landscape.nodes)
    rows = _sightings(table, events, names, before, after)
    if rows.empty:
        return rows
    places = _places(model, landscape, rows[names].to_numpy(float))
    return pd.concat(
        [rows[rows.columns.difference(names, sort=False)], places, rows[names]], axis=1
    )


def _sightings(
    table: pd.DataFrame, events: pd.DataFrame, names: list[str], before: int, after: int
) -> pd.DataFrame:
    """Rows of the events' tracks about their frames."""
    tracked = (
        events["tracked"].astype(str)
        if "tracked" in events
        else pd.Series("place", index=events.index)
    )
    columns = tracked.map({"atom": "track_id", "place": "lattice_track_id"})
    _check(table, ["site_id", "frame", *names, *sorted(set(columns.dropna()))], "sites")
    _check(events, ["frame", "track"], "events")
    known = table.dropna(subset=names)
    unit = known["unit"] if "unit" in known else pd.Series(-1, index=known.index)
    known = known.assign(unit=unit.astype(np.int64))
    source = known["source"] if "source" in known and "source" in events else None
    parts = []
    for (label, event), column in zip(events.iterrows(), columns, strict=True):
        step = known["frame"] - event["frame"]
        mine = (known[column] == event["track"]) & (step >= -before) & (step < after)
        if source is not None:
            mine &= source == event["source"]
        own = known.loc[mine, ["site_id", "frame", "unit", *names]].sort_values("frame")
        own.insert(0, "event", label)
        own.insert(1, "step", own["frame"] - event["frame"])
        parts.append(own)
    empty = known.iloc[:0][["site_id", "frame", "unit", *names]].assign(event=0, step=0)
    return pd.concat(parts, ignore_index=True) if parts else empty


def _check(table: pd.DataFrame, names: list[str], what: str) -> None:
    missing = [name for name in names if name not in table]
    if missing:
        raise InputError(
            f"The {what} lack the column {', '.join(missing)}: link and encode the sites first."
        )


def _places(model: Model, landscape: Landscape, z: Array) -> pd.DataFrame:
    """Nearest node of latents (N, L), distance to it, and coordinates in the view."""
    count = len(landscape.nodes)
    space = PictureSpace.of(
        model,
        np.concatenate([landscape.node_latents, z]),
        landscape.noise,
        pose_free=landscape.pose_free,
    )
    distance = np.stack([space.to_all(number)[0] for number in range(count)], 1)
    between, here = distance[:count], distance[count:]
    axes = [name for name in ("p0", "p1", "p2") if name in landscape.nodes]
    at_nodes = landscape.nodes[axes].to_numpy(float)
    size = np.maximum((at_nodes**2).sum(0), np.finfo(float).tiny)
    at = -0.5 * (here**2 - (between**2).mean(0)) @ (at_nodes / size)
    nearest = here.argmin(1)
    return pd.DataFrame(
        {"node": nearest, "distance": here[np.arange(len(z)), nearest]}
        | dict(zip(axes, at.T, strict=True))
    )
