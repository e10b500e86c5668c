"""Frames of a movie, and parts of one frame, searched side by side in threads."""

import numpy as np
import pandas as pd
import pytest
import torch

from napari_rvae import detect_atoms, iter_detect_atoms
from napari_rvae.detect.network import see
from napari_rvae.device import limit_threads
from napari_rvae.errors import Cancelled
from scenes import SIGMA, SPACING, draw, lattice
from threads import torch_threads

FRAMES = 6
TOLD = {"sigma": SIGMA, "neighbour_distance": SPACING}


@pytest.fixture
def three_threads():
    with torch_threads(3):
        yield


@pytest.fixture(scope="module")
def movie():
    points, _ = lattice(side=128)
    frames = [draw(*points.T, 60.0, side=128, seed=seed).frame for seed in range(FRAMES)]
    return np.stack(frames).astype(np.float32)


class Watched:
    """An array that notes which of its frames were read, and fails at one."""

    def __init__(self, frames, broken=None):
        self.frames, self.broken, self.read = frames, broken, []
        self.shape, self.ndim, self.dtype = frames.shape, frames.ndim, frames.dtype

    def __getitem__(self, key):
        number = key[0] if isinstance(key, tuple) else key
        self.read.append(number)
        if number == self.broken:
            raise OSError("the disk is gone")
        return self.frames[key]


@pytest.mark.parametrize("options", [{}, {"average_frames": 3}], ids=["frames", "means"])
def test_the_number_of_threads_does_not_matter(movie, three_threads, options):
    side_by_side = detect_atoms(movie, **TOLD, **options)
    with limit_threads(1):
        alone = detect_atoms(movie, **TOLD, **options)
    pd.testing.assert_frame_equal(side_by_side, alone)
    assert sorted(set(alone["frame"])) == list(range(FRAMES))


def test_nor_does_it_for_a_single_frame(three_threads):
    points, _ = lattice(side=420)
    frame = draw(*points.T, 60.0, side=420).frame  # several batches of atoms, parts of lattice
    side_by_side = detect_atoms(frame, **TOLD)
    with limit_threads(1):
        pd.testing.assert_frame_equal(side_by_side, detect_atoms(frame, **TOLD))


def test_nor_does_it_for_the_network(three_threads, rng):
    noise = rng.normal(size=(700, 600))
    side_by_side = see(noise, 1.6, torch.device("cpu")).chance
    with limit_threads(1):
        assert np.array_equal(side_by_side, see(noise, 1.6, torch.device("cpu")).chance)


def test_progress_is_told_frame_by_frame(movie, three_threads):
    told = []
    detect_atoms(movie, **TOLD, progress=lambda done, total: told.append((done, total)))
    assert told == [(done, FRAMES) for done in range(1, FRAMES + 1)]


def test_frames_are_read_a_few_before_they_are_needed(movie, three_threads):
    frames = Watched(np.concatenate([movie] * 4))
    tables = iter_detect_atoms(frames, contrast="bright", **TOLD)
    next(tables)
    assert max(frames.read) <= 4
    tables.close()
    assert max(frames.read) <= 4


def test_a_cancelled_search_ends(movie, three_threads):
    frames = Watched(np.concatenate([movie] * 4))
    with pytest.raises(Cancelled, match="after 2 of 24"):
        detect_atoms(frames, contrast="bright", **TOLD, progress=lambda done, _total: done < 2)
    assert max(frames.read) <= 6


def test_an_error_while_reading_is_told(movie, three_threads):
    frames, found = Watched(movie, broken=4), []
    with pytest.raises(Exception, match="disk is gone"):
        found.extend(iter_detect_atoms(frames, contrast="bright", **TOLD))
    assert len(found) <= 4
