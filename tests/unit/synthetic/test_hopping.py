import numpy as np
import pytest

from napari_rvae import InputError, simulate_hopping
from napari_rvae.synthetic.hopping import HoppingConfig


@pytest.fixture(scope="module")
def movie():
    return simulate_hopping(
        n_frames=12, size=256, n_silicon=6, hop=0.1, far_hop=0.05, to_four=0.1, from_four=0.1,
        loss=0.01, edge_loss=0.03, seed=2,
    )  # fmt: skip


def test_every_change_of_state_is_an_event(movie):
    states = movie.fields["states"]
    atom, step = np.nonzero(states[:, 1:] != states[:, :-1])
    seen = {(int(a), int(s) + 1) for a, s in zip(atom, step, strict=True)}
    events = movie.events[movie.events["atom"] >= 0]
    changed = events[events["from_state"] != events["to_state"]]
    assert set(zip(changed["atom"], changed["frame"], strict=True)) == seen
    assert len(seen) >= 5
    far = events[events["bonds"] == 2]
    assert (far["from_state"] == far["to_state"]).all()
    assert len(far) >= 1


def test_atoms_are_where_the_events_say(movie):
    silicon = movie.sites[movie.sites["species"] == "Si"]
    for event in movie.events[movie.events["atom"] >= 0].itertuples():
        if event.to_state == 3:
            continue
        here = silicon[silicon["frame"] == event.frame]
        near = np.hypot(here["y"] - event.y, here["x"] - event.x).min()
        assert near < 1.1 * 14 or not (20 < event.y < 236 and 20 < event.x < 236)


def test_states_are_those_of_the_sites(movie):
    states = movie.fields["states"]
    silicon = movie.sites[movie.sites["species"] == "Si"].copy()
    silicon["atom"] = silicon["track_id"] - silicon["track_id"].min()
    # an atom that was never in sight would shift the numbers
    true = states[silicon["atom"], silicon["frame"]]
    four = silicon["environment"] == "si4"
    assert (four == (true == 2)).all()
    assert (silicon.loc[~four, "sublattice"] == true[~four]).all()


def test_the_edge_recedes_and_nothing_hangs(movie):
    edge = movie.events[movie.events["atom"] == -1]
    assert len(edge) >= 1
    carbon = movie.sites[movie.sites["species"] == "C"].groupby("frame").size()
    assert carbon.iloc[-1] < carbon.iloc[0]


def test_a_static_movie_has_no_events():
    movie = simulate_hopping(
        n_frames=3, size=160, n_silicon=3, hop=0, far_hop=0, to_four=0, from_four=0, loss=0,
        edge_loss=0, seed=1,
    )  # fmt: skip
    assert not len(movie.events)
    assert (movie.fields["states"] == movie.fields["states"][:, :1]).all()


def test_seeds_and_options():
    one, two = (simulate_hopping(n_frames=2, size=128, n_silicon=2, seed=3) for _ in range(2))
    assert np.array_equal(one.frames.data, two.frames.data)
    with pytest.raises(TypeError):
        simulate_hopping(hops=0.1)
    with pytest.raises(InputError, match="hop"):
        HoppingConfig(hop=0.9)
    with pytest.raises(InputError, match="more than 1"):
        simulate_hopping(hop=0.3, to_four=0.3, loss=0.3, far_hop=0.2)
