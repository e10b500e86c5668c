import numpy as np
import pytest

from napari_rvae import Cancelled, InputError, compare_windows, detect_atoms, simulate_graphene
from napari_rvae.figures import windows_figure


@pytest.fixture(scope="module")
def movie():
    return simulate_graphene(n_frames=2, size=224, seed=0).frames


@pytest.fixture(scope="module")
def sites(movie):
    return detect_atoms(movie)


@pytest.fixture(scope="module")
def compared(movie, sites):
    return compare_windows(movie, sites, (3.5, 2.3, 5.0), epochs=5, device="cpu", n_pictures=3)


def test_all_windows_are_of_the_same_sites_the_smallest_first(compared):
    assert compared.summary["window_nd"].tolist() == [2.3, 3.5, 5.0]
    assert compared.summary["n_crops"].nunique() == 1
    ids = [table["site_id"].tolist() for table in compared.latents]
    assert ids[0] == ids[1] == ids[2]
    assert np.allclose(compared.summary["window_px"] / compared.summary["window_nd"], 14, rtol=0.05)


def test_every_two_windows_are_correlated(compared):
    table = compared.correlations
    assert table[["window_nd", "other_nd"]].to_numpy().tolist() == [
        [2.3, 3.5],
        [2.3, 5.0],
        [3.5, 5.0],
    ]
    assert table["mean"].between(-1, 1).all()
    assert (table["largest"] >= table["mean"]).all()


def test_what_is_new_is_a_share_and_all_of_it_in_the_smallest(compared):
    summary = compared.summary
    assert summary["new"][0] == pytest.approx(1.0)
    assert summary[["new", "noise"]].stack().between(0, 1).all()
    assert len(compared.sentences) == 2
    assert [len(part) for part in compared.pictures] == [3, 3, 3]


def test_it_is_drawn(compared):
    figure = windows_figure(compared)
    assert len(figure.axes) == 1 + 9
    texts = [text.get_text() for text in figure.texts]
    assert any(text.startswith("5.0 neighbour distances") for text in texts)


def test_what_cannot_be_compared_is_said_in_one_line(movie, sites):
    with pytest.raises(InputError, match="two or more"):
        compare_windows(movie, sites, (3.5,))
    with pytest.raises(InputError, match="60 are the least"):
        compare_windows(movie, sites, (2.3, 14.0))
    with pytest.raises(Cancelled):
        compare_windows(
            movie, sites, (2.3, 3.5), epochs=1, device="cpu", progress=lambda done, total: False
        )
