import dataclasses
import logging

import numpy as np
import pandas as pd
import pytest

from napari_rvae import (
    DetectConfig,
    Frames,
    detect_atoms,
    estimate_detection_time,
    iter_detect_atoms,
    measure_drift,
    simulate_graphene,
)
from napari_rvae.analysis.scores import detection_scores, match_sites
from napari_rvae.detect.images import FrameImages
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


# --------------------------------------------------------------------------- averages
@pytest.fixture(scope="module")
def faint():
    """Seven drifting frames of graphene with some three counts at the peak of an atom."""
    options = {"hole_end": 0.0, "hop_rate": 0.0, "row_noise": 0.0, "drift": 1.5, "dose": 200.0}
    return simulate_graphene(n_frames=7, size=192, seed=4, **options)


def test_averages_find_more_where_there_are_few_counts(faint):
    def score(found):
        truth = faint.sites.assign(source="")
        options = {"tolerance": 4.0, "border": 14.0, "frame_shape": (192, 192)}
        return detection_scores(found.assign(source=""), truth, **options)["f1"]

    single = detect_atoms(faint.frames)
    mean = detect_atoms(faint.frames, average_frames=5)
    assert score(mean) > 0.97 > score(single)
    assert mean.attrs == {"average_frames": 5}
    assert single.attrs == {}
    pairs = match_sites(mean.assign(source=""), faint.sites.assign(source=""), 4.0)
    where = ["y", "x"]
    gap = mean[where].to_numpy()[pairs[:, 0]] - faint.sites[where].to_numpy()[pairs[:, 1]]
    drift = measure_drift(faint.frames)[where].to_numpy()
    true = faint.fields["drift"] - faint.fields["drift"][0]
    for frame in range(7):
        # what is left is the error of the drift, not that of whole pixels
        here = mean["frame"].to_numpy()[pairs[:, 0]] == frame
        assert np.abs(np.median(gap[here], axis=0)).max() < 0.1 + np.abs(drift - true).max()


def test_the_mean_of_frames_moved_by_any_step_shows_the_atoms_where_they_are():
    points, _ = lattice(side=128)
    steps = np.array([[0.0, 0.0], [0.4, -1.3], [1.0, -2.6], [1.3, -3.4]])
    scenes = [draw(*(points + s).T, 400.0, side=128, seed=k) for k, s in enumerate(steps)]
    movie = Frames(np.stack([scene.frame for scene in scenes]))
    found = detect_atoms(movie, average_frames=3)
    for frame, scene in enumerate(scenes):
        here = found[found["frame"] == frame].assign(frame=0, source="")
        pairs = match_sites(here, scene.sites.assign(source=""), 3.0)
        where = ["y", "x"]
        gap = here[where].to_numpy()[pairs[:, 0]] - scene.sites[where].to_numpy()[pairs[:, 1]]
        assert np.abs(gap.mean(0)).max() < 0.08


def test_frames_that_are_left_out_are_in_no_mean(frames):
    movie = with_keep(frames, [True, True, False, True])
    images = FrameImages(movie, DetectConfig(average_frames=3, destripe=False), 0)
    assert images.n_frames == 3
    chosen = np.asarray(frames.data)[[0, 1, 3]]
    np.testing.assert_allclose(images.frame(1)[8:-8, 8:-8], chosen.mean(0)[8:-8, 8:-8])
    np.testing.assert_allclose(images.frame(0)[8:-8, 8:-8], chosen[:2].mean(0)[8:-8, 8:-8])


def test_missing_pixels_are_filled_by_other_frames_but_have_no_atoms(frames):
    data = np.asarray(frames.data, float)[[0, 1, 3]].copy()
    data[1, 40:80, 40:80], data[:, :10, :10] = np.nan, np.nan
    images = FrameImages(Frames(data), DetectConfig(average_frames=3, destripe=False), 0)
    missing = np.isnan(images.frame(1))
    assert missing[:8, :8].all()
    assert not missing[12:].any()
    found = detect_atoms(data, average_frames=3).query("frame == 1")
    assert len(found) > 20
    assert not (found["y"].between(40, 79) & found["x"].between(40, 79)).any()


def test_an_average_of_a_single_frame_is_that_frame(frames):
    one = frames.frame(0)
    plain, mean = detect_atoms(one), detect_atoms(one, average_frames=5)
    assert mean.equals(plain)


@pytest.mark.parametrize("width", [1, 3])
def test_some_frames_are_searched_as_in_the_whole_movie(frames, width):
    whole = list(iter_detect_atoms(frames, average_frames=width))
    some = list(iter_detect_atoms(frames, average_frames=width, numbers=(3, 1)))
    assert [table["frame"].unique().tolist() for table in some] == [[3], [1]]
    for table, number in zip(some, (3, 1), strict=True):
        pd.testing.assert_frame_equal(table, whole[number])


@pytest.mark.parametrize("numbers", [(4,), (-1,), (0, 99)])
def test_a_number_of_no_frame_is_refused(frames, numbers):
    with pytest.raises(InputError, match=r"There is no frame (4|-1|99): the movie has 4"):
        next(iter_detect_atoms(frames, numbers=numbers))


def test_the_estimate_is_the_time_of_one_frame_times_their_number(frames, monkeypatch):
    clock = iter([10.0, 13.0, 15.0])  # start, width known, one frame done
    monkeypatch.setattr("napari_rvae.detect.atoms.perf_counter", lambda: next(clock))
    assert estimate_detection_time(frames) == 3 + 4 * 2
    clock = iter([10.0, 13.0])
    assert estimate_detection_time(with_keep(frames, [False] * 4)) == 3
