"""Sites of events and states."""

import numpy as np
import pandas as pd
import pytest

from napari_rvae import Crops, InputError, Pathways
from napari_rvae.analysis.event_sites import (
    event_film,
    event_films,
    event_sites,
    followed_events,
    state_sites,
)
from napari_rvae.tables import make_sites


def test_sites_of_events_are_those_of_their_tracks():
    sites = make_sites(frame=np.arange(4).repeat(2), y=[5.0, 9.0] * 4, x=[5.0] * 8)
    sites["track_id"] = np.where(sites["y"] == 5, 3, 4)
    sites["lattice_track_id"] = np.where(sites["y"] == 5, 7, 8)
    events = pd.DataFrame({"source": "", "frame": [2, 1], "tracked": ["atom", "place"]}, [5, 6])
    events = events.assign(track_id=[3, -1], lattice_track_id=[-1, 8])
    found = event_sites(sites, events, before=2, after=1)
    assert found["event"].tolist() == [5, 5, 5, 6, 6]
    assert found["frame"].tolist() == [0, 1, 2, 0, 1]
    places = sites.set_index("site_id").loc[found["site_id"], "y"]
    assert places.tolist() == [5, 5, 5, 9, 9]
    assert event_sites(sites, events.iloc[:0]).empty
    with pytest.raises(InputError, match="lack the column lattice_track_id"):
        event_sites(sites.drop(columns="lattice_track_id"), events)


def test_states_and_tracks_of_pathways():
    table = pd.DataFrame({"site_id": [1, 2, 3], "tracked": ["atom", "place", "atom"]})
    table = table.assign(state=[0, 0, 1], state_probability=0.9)
    events = pd.DataFrame({"frame": [1, 2], "y": 1.0, "x": 1.0, "source": ""})
    events = events.assign(tracked=["atom", "place"], track_id=[4, -1], lattice_track_id=[-1, 9])
    events = events.assign(from_state=0, to_state=1, from_name="a", to_name="b")
    pathways = Pathways(table=table, events=events.assign(probability=1.0, n_sites=1.0))
    assert state_sites(pathways, "atom", [0, 1]).tolist() == [1, 3]
    assert state_sites(pathways, "place", [1]).size == 0
    assert followed_events(pathways)["track"].tolist() == [4, 9]


class Blob:
    """One latent: the height of an atom."""

    noise_sd_ = 0.1

    def inverse_transform(self, z, *, angle=0.0, shift=(0.0, 0.0)):
        line = np.arange(24) - 11.5
        spot = np.exp(-(line[:, None] ** 2 + line**2) / 8)
        return (np.atleast_2d(z)[:, :1, None, None] * spot).astype(np.float32)


def test_films_of_events_show_their_own_sites_frame_by_frame():
    table = make_sites(frame=np.arange(8), y=[5.0] * 8, x=[5.0] * 8, z0=[1.0] * 4 + [2.0] * 4)
    table = table.assign(track_id=3, lattice_track_id=3, angle=0.0, shift_y=0.0, shift_x=0.0)
    events = pd.DataFrame({"source": "", "frame": [4, 4], "tracked": "atom", "track_id": [3, 9]})
    events = events.assign(y=5.0, x=5.0, lattice_track_id=-1, from_state=0, to_state=1, n_sites=1.0)
    events = events.assign(from_name="low", to_name=["high", "higher"], probability=[0.8, 0.9])
    crops = Crops(
        images=Blob().inverse_transform(table[["z0"]]), site_id=table["site_id"].to_numpy()
    )
    strip, frames = event_film(Blob(), table, events.iloc[[0]], crops, around=2)
    assert frames == [2, 3, 4, 5]
    assert strip.nearest["site_id"].tolist() == table["site_id"][2:6].tolist()
    assert np.nanmax(np.abs(strip.crops - strip.pictures)) < 1e-3
    assert event_film(Blob(), table, events.iloc[[1]]) is None
    films = event_films(Blob(), Pathways(events=events), table, crops)
    assert list(films) == ["low to high, frames 1 to 6"]
