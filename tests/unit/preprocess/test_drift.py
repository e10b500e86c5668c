import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_rvae import Frames, measure_drift, simulate_graphene, simulate_perovskite
from napari_rvae.errors import Cancelled, InputError

#: A crystal in which nothing tells one period from the next.
PERFECT = {
    "grains": 1,
    "hole_end": 0.0,
    "vacancies": 0.0,
    "si3": 0.0,
    "si4": 0.0,
    "stone_wales": 0,
    "disorder": 0.0,
    "contamination": 0.0,
}


def moved(**options):
    """Measured drift of graphene without a growing hole, and its largest errors by frame."""
    movie = simulate_graphene(
        **({"n_frames": 6, "size": 256, "seed": 2, "hole_end": 0.0} | options)
    )
    table = measure_drift(movie.frames)
    true = movie.fields["drift"] - movie.fields["drift"][0]
    return table, np.abs(table[["y", "x"]].to_numpy() - true).max(1)


@pytest.mark.parametrize("drift", [0.0, 0.3, 2.0, 8.0])
def test_the_drift_of_a_movie(drift):
    """Eight pixels a frame are more than half a period (7 px) of the lattice."""
    table, error = moved(drift=drift)
    assert table.columns.tolist() == ["frame", "y", "x", "ambiguous"]
    assert table["ambiguous"].dtype == bool
    assert not table["ambiguous"].any()
    assert error.max() < 0.2


def test_a_growing_hole():
    _, error = moved(drift=2.0, hole_end=None)
    assert error.max() < 0.6


def test_errors_do_not_add_up():
    _, error = moved(drift=2.0, n_frames=20)
    assert error[-5:].max() < 0.3


@pytest.mark.parametrize("options", [{"dose": 200.0}, {"row_noise": 5.0}, {"background_ramp": 1.0}])
def test_few_counts_row_noise_and_ramps(options):
    table, error = moved(drift=2.0, **options)
    assert not table["ambiguous"].any()
    assert error.max() < 0.6


@pytest.mark.parametrize("dose", [200.0, 2000.0])
def test_a_perfect_lattice_is_ambiguous_and_followed_by_the_nearest_step(dose):
    table, error = moved(drift=2.0, dose=dose, **PERFECT)
    assert table["ambiguous"].tolist() == [False] + [True] * 5
    assert error.max() < 0.5


def test_two_sublattices():
    movie = simulate_perovskite(n_frames=4, size=256, drift=3.0, seed=1)
    true = movie.fields["drift"] - movie.fields["drift"][0]
    table = measure_drift(movie.frames)
    assert table[["y", "x"]].to_numpy() == pytest.approx(true, abs=0.15)


@given(st.integers(-20, 20), st.integers(-20, 20), st.integers(0, 2**32 - 1))
@example(0, -20, 878)
@settings(max_examples=25)
def test_any_picture_moved_by_any_whole_step(y, x, seed):
    picture = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(160, 144)), 2.0)
    movie = np.stack([picture[24:-24, 24:-24], picture[24 - y : 136 - y, 24 - x : 120 - x]])
    table = measure_drift(movie)
    assert table.loc[1, ["y", "x"]].to_numpy(float) == pytest.approx([y, x], abs=0.1)
    assert not table["ambiguous"].any()


def test_frames_that_show_nothing_do_not_move(rng):
    movie = simulate_graphene(n_frames=5, size=256, drift=2.0, seed=1)
    data = np.asarray(movie.frames.data, float).copy()
    data[2], data[3] = np.nan, rng.poisson(data[0].mean(), data[3].shape)
    table = measure_drift(data)
    assert table["ambiguous"].tolist() == [False, False, True, True, False]
    assert (table.loc[[2, 3], ["y", "x"]] == table.loc[1, ["y", "x"]]).all(axis=None)
    true = movie.fields["drift"][4] - movie.fields["drift"][0]
    assert table.loc[4, ["y", "x"]].to_numpy(float) == pytest.approx(true, abs=0.3)


@pytest.mark.parametrize("shape", [(8, 8), (3, 8, 9), (3, 64, 64), (2, 1, 40, 40)])
def test_noise_and_constants_do_not_move(shape, rng):
    for data in (rng.normal(size=shape), np.full(shape, 7.0)):
        table = measure_drift(data)
        assert (table[["y", "x"]] == 0).all(axis=None)
        assert table["ambiguous"].iloc[1:].all()


def test_a_channel_is_chosen_and_progress_can_stop(rng):
    movie = simulate_graphene(n_frames=3, size=128, drift=2.0, seed=1).frames
    both = Frames(np.stack([np.zeros(movie.shape), movie.data], 1), channels=("dark", "adf"))
    assert measure_drift(both, channel="adf").equals(measure_drift(movie))
    with pytest.raises(InputError, match="no channel"):
        measure_drift(both, channel="bf")
    with pytest.raises(Cancelled, match="2 of 3"):
        measure_drift(movie, progress=lambda done, total: done < 2)
