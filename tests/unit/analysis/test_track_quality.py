import numpy as np
import pandas as pd
import pytest

from napari_rvae import InputError, link_sites, track_quality
from napari_rvae.analysis.track_quality import movie_drift
from napari_rvae.tables import make_sites

BOND = 10.0


def _movie(points, shifts, rng, keep=None):
    frame = np.repeat(np.arange(len(shifts)), len(points))
    here = np.tile(points, (len(shifts), 1)) + np.repeat(shifts, len(points), axis=0)
    here = here + rng.normal(0, 0.2, here.shape)
    keep = np.ones(len(frame), bool) if keep is None else keep(frame)
    return make_sites(frame=frame[keep], y=here[keep, 0], x=here[keep, 1])


def test_drift_is_read_from_the_tracks(honeycomb, rng):
    shifts = np.cumsum(rng.normal(0, 1, (8, 2)), axis=0)
    drift = movie_drift(link_sites(_movie(honeycomb(150, BOND), shifts, rng)))
    assert np.abs(drift[["drift_y", "drift_x"]].to_numpy() - (shifts - shifts[0])).max() < 0.15


def test_every_place_is_counted_once(honeycomb, rng):
    points = honeycomb(150, BOND)
    lost = np.arange(len(points)) == 5

    def keep(frame):
        place = np.tile(np.arange(len(points)), 6)
        return ~((lost[place] & (frame >= 4)) | ((place == 9) & (frame == 2)))

    quality = track_quality(link_sites(_movie(points, np.zeros((6, 2)), rng, keep)))
    assert quality["n_sites"].tolist() == [len(points) - n for n in (0, 0, 1, 0, 1, 1)]
    assert quality["n_new"].tolist() == [len(points), 0, 0, 0, 0, 0]
    assert quality["n_missing"].tolist() == [0, 0, 1, 0, 0, 0]
    assert quality["n_ended"].tolist() == [0, 0, 0, 0, 1, 0]
    assert (quality["n_linked"] + quality["n_new"] == quality["n_sites"]).all()
    assert quality["spread"].iloc[1:].between(0.2, 0.5).all()
    assert not quality["ambiguous"].any()


@pytest.mark.parametrize(("jump", "is_ambiguous"), [(0.5, False), (0.8, True)])
def test_a_large_change_of_drift_is_called_ambiguous(honeycomb, rng, jump, is_ambiguous):
    """A honeycomb repeats after 1.73 bonds: from 0.69 on, the other way is nearly as likely."""
    shifts = np.array([[0, 0], [0.1, 0], [0.2, 0], [0.2 + jump, 0]]) * BOND
    quality = track_quality(link_sites(_movie(honeycomb(200, BOND), shifts, rng)))
    assert quality["ambiguous"].tolist() == [False, False, False, is_ambiguous]


def test_a_drift_from_the_images_decides(honeycomb, rng):
    points = honeycomb(200, BOND)
    shifts = np.array([[0, 0], [1.5, 0.0], [3.0, 0.0]]) * BOND
    table = _movie(points, shifts, rng)
    drift = pd.DataFrame({"frame": range(3), "y": shifts[:, 0] + 0.5, "x": 0.0})
    told = link_sites(table, drift=drift)
    assert np.allclose(movie_drift(told)["drift_y"], shifts[:, 0], atol=0.3)
    assert np.abs(movie_drift(link_sites(table))["drift_y"] - shifts[:, 0]).max() > BOND
    with pytest.raises(InputError, match="measure_drift"):
        link_sites(table, drift=drift.drop(columns="y"))


def test_odd_tables(rng):
    with pytest.raises(InputError, match="lattice_track_id"):
        track_quality(make_sites(frame=0, y=[0.0], x=[0.0]))
    alone = link_sites(make_sites(frame=[0, 1], y=[5.0, 5.0], x=[5.0, 5.0]))
    assert track_quality(alone)["n_linked"].tolist() == [0, 0]
    assert list(track_quality(alone.iloc[:0]).columns) == list(track_quality(alone).columns)
