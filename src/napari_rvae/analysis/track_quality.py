"""How good tracks are, and the drift that they tell."""

from __future__ import annotations

import numpy as np
import pandas as pd

from napari_rvae import tables

__all__ = ["movie_drift", "track_quality"]


def movie_drift(table: pd.DataFrame) -> pd.DataFrame:
    """Drift of linked sites: the median way of the places from frame to frame.

    Parameters
    ----------
    table
        Sites table with ``lattice_track_id``.

    Returns
    -------
    DataFrame
        ``source``, ``frame``, ``drift_y`` and ``drift_x`` in pixels since the first frame of the
        source, one row for each frame that has sites.

    Examples
    --------
    >>> from napari_rvae.analysis.track_quality import movie_drift
    >>> from napari_rvae.tables import make_sites
    >>> sites = make_sites(frame=[0, 1], y=[5.0, 5.0], x=[10.0, 12.0], lattice_track_id=[0, 0])
    >>> movie_drift(sites)["drift_x"].tolist()
    [0.0, 2.0]
    """
    table = tables.validate_sites(table, need=["lattice_track_id"])
    parts = [pd.DataFrame({"source": pd.Series(dtype="str"), "frame": pd.Series(dtype="int64")})]
    for source, part in table.groupby("source", sort=True):
        frames = np.unique(part["frame"].to_numpy(np.int64))
        path = np.zeros((len(frames), 2))
        linked = part[part["lattice_track_id"] >= 0].sort_values(["lattice_track_id", "frame"])
        which = np.searchsorted(frames, linked["frame"])
        track = linked["lattice_track_id"].to_numpy()
        points = linked[["y", "x"]].to_numpy(float)
        follows = (track[1:] == track[:-1]) & (which[1:] == which[:-1] + 1)
        way = pd.DataFrame((points[1:] - points[:-1])[follows]).groupby(which[1:][follows])
        steps = way.median().reindex(range(len(frames))).fillna(0.0)
        path[:] = np.cumsum(steps.to_numpy(float).reshape(-1, 2), axis=0)
        parts.append(
            pd.DataFrame(
                {"source": source, "frame": frames, "drift_y": path[:, 0], "drift_x": path[:, 1]}
            )
        )
    return pd.concat(parts, ignore_index=True)
