import dataclasses
import logging

import numpy as np
import pytest

from napari_rvae import DetectConfig, Frames, detect_atoms, iter_detect_atoms
from napari_rvae.errors import InputError, NoLatticeWarning
from scenes import draw, lattice


@pytest.fixture(scope="module")
def frames():
    """Four frames of the same atoms; the third shows noise alone."""
    points, _ = lattice(side=128)
    movie = np.stack([draw(*points.T, 60.0, side=128, seed=s).frame for s in range(4)])
    movie[2] = np.random.default_rng(0).poisson(movie[0].mean(), movie[2].shape)
    return Frames(movie)


def with_keep(frames, keep):
    return dataclasses.replace(frames, table=frames.table.assign(keep=keep))


def test_frames_that_are_not_kept_have_no_atoms(frames, caplog):
    every = detect_atoms(frames)
    with caplog.at_level(logging.INFO):
        some = detect_atoms(with_keep(frames, [True, False, False, np.nan]))
    assert some["frame"].unique().tolist() == [0, 3]
    assert "2 of 4 frames left out" in caplog.text
    assert len(some) == pytest.approx(every["frame"].isin([0, 3]).sum(), abs=2)
    tables = list(iter_detect_atoms(with_keep(frames, [False, True, False, True])))
    assert [len(table) > 0 for table in tables] == [False, True, False, True]
    assert all(table.columns.tolist() == some.columns.tolist() for table in tables)


def test_frames_of_low_quality_have_no_atoms(frames, caplog):
    with caplog.at_level(logging.INFO):
        found = detect_atoms(frames, min_quality=0.5)
    assert found["frame"].unique().tolist() == [0, 1, 3]
    assert "1 of 4 frames left out: quality below 0.5" in caplog.text
    dark = dataclasses.replace(frames, data=100 - np.asarray(frames.data))
    assert 2 not in detect_atoms(dark, min_quality=0.5, contrast="dark")["frame"].unique()


@pytest.mark.parametrize("options", [{"min_quality": 0.5}, {}])
def test_a_movie_without_a_frame_to_search_gives_an_empty_table(frames, options):
    movie = Frames(frames.frame(2)) if options else with_keep(frames, [False] * 4)
    with pytest.warns(NoLatticeWarning, match="no frame was searched"):
        found = detect_atoms(movie, **options)
    assert found.empty
    assert "lattice_support" in found


@pytest.mark.parametrize("value", [-0.1, 1.5, np.nan])
def test_a_quality_is_a_share(value):
    with pytest.raises(InputError, match="min_quality"):
        DetectConfig(min_quality=value)
