"""Which crops are held out: never one that shares pixels with those trained on."""

import logging

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_rvae import Crops
from napari_rvae.errors import InputError
from napari_rvae.vae.splits import area_halves, split_crops

WINDOW = 8.0


def crops_at(frame, source=None, places=None, **options):
    """Crops of frames (N,), of sources (N,) and at places (N, 2) where these are given."""
    frame = np.asarray(frame)
    known = {} if places is None else {"y": places[:, 0], "x": places[:, 1]}
    return Crops(
        images=np.broadcast_to(np.float32(0), (len(frame), 1, 8, 8)),
        site_id=np.arange(len(frame)),
        frame=frame,
        source=np.array([] if source is None else source, str),
        window_px=WINDOW,
        **known,
        **options,
    )


def grid(side, step=2.0):
    """Places (N, 2) on a square of so many pixels."""
    line = np.arange(0, side, step)
    return np.stack(np.meshgrid(line, line, indexing="ij"), -1).reshape(-1, 2)


@st.composite
def any_crops(draw):
    """Crops of movies of any number of frames of any size, with positions or without."""
    count = draw(st.integers(0, 300))
    frame = draw(hnp.arrays(np.int64, count, elements=st.integers(0, draw(st.integers(0, 9)))))
    source = draw(hnp.arrays(np.int64, count, elements=st.integers(0, 1))).astype(str)
    seed = draw(st.integers(0, 99))
    places = np.random.default_rng(seed).uniform(0, 60, (count, 2))
    lags = draw(st.sampled_from([(0,), (0, -1)]))
    n_channels = len(lags)
    crops = crops_at(frame, source, places if draw(st.booleans()) else None)
    images = np.broadcast_to(np.float32(0), (count, n_channels, 8, 8))
    parts = ("images", "lags", "channels", "layer_noise")  # those that depend on the layers
    return Crops(
        **{k: v for k, v in vars(crops).items() if k not in parts},
        images=images,
        lags=lags,
    )


def overlap(crops, one, other):
    """Whether any crop of `one` shares pixels of a frame with one of `other`, by brute force."""
    same = crops.source[one][:, None] == crops.source[other]
    step = crops.frame[one][:, None] - crops.frame[other]
    lags = np.subtract.outer(crops.lags, crops.lags).ravel()
    same &= np.isin(step, lags)
    if np.isfinite(crops.y).all():
        for axis in (crops.y, crops.x):
            same &= np.abs(axis[one][:, None] - axis[other]) < crops.window_px
    return bool(same.any())


@given(crops=any_crops(), share=st.floats(0, 0.5), seed=st.integers(0, 5))
def test_a_split_is_honest_whatever_the_crops(crops, share, seed):
    training, held_out = split_crops(crops, share, seed=seed)
    assert not set(training) & set(held_out)
    assert len(training) >= min(len(crops), max(8, 0.4 * len(crops)))
    assert len(held_out) == 0 or len(held_out) >= 8
    for rows in (training, held_out):
        assert (np.diff(rows) > 0).all()
        assert rows.dtype == np.intp
    one_frame = len(set(zip(crops.source, crops.frame, strict=True))) == 1
    if len(held_out) and not (one_frame and np.isnan(crops.y).all()):
        assert not overlap(crops, training, held_out)
    if not len(held_out):
        assert len(training) == len(crops)
    again = split_crops(crops, share, seed=seed)
    assert all(np.array_equal(a, b) for a, b in zip((training, held_out), again, strict=True))


@given(
    n_frames=st.integers(8, 40),
    per_frame=st.integers(20, 60),
    share=st.floats(0.1, 0.5),
    seed=st.integers(0, 99),
)
def test_many_frames_are_held_out_whole_and_in_the_share(n_frames, per_frame, share, seed):
    crops = crops_at(np.repeat(np.arange(n_frames), per_frame))
    training, held_out = split_crops(crops, share, seed=seed)
    assert not set(crops.frame[training]) & set(crops.frame[held_out])
    assert len(training) + len(held_out) == len(crops)
    assert abs(len(held_out) / len(crops) - share) <= 0.5 / n_frames + 1e-9


def test_frames_of_the_same_number_in_two_movies_are_not_the_same():
    source = np.repeat(["a", "b"], 120)
    crops = crops_at(np.tile(np.repeat(np.arange(3), 40), 2), source)
    training, held_out = split_crops(crops, 0.2, seed=0)
    groups = [set(zip(crops.source[r], crops.frame[r], strict=True)) for r in (training, held_out)]
    assert len(groups[1]) == 1
    assert len(groups[0]) == 5


@pytest.mark.parametrize("n_frames", [1, 3])
@pytest.mark.parametrize("share", [0.1, 0.3])
def test_of_few_frames_an_area_is_held_out_with_a_gap_of_a_window(n_frames, share):
    places = np.tile(grid(100), (n_frames, 1))
    crops = crops_at(np.repeat(np.arange(n_frames), 2500), places=places)
    for seed in range(4):
        training, held_out = split_crops(crops, share, seed=seed)
        assert len(held_out) / len(crops) == pytest.approx(share, abs=0.02)
        # one strip for all frames, and nothing else is lost but the gap beside it
        assert len(training) / len(crops) == pytest.approx(1 - share - WINDOW / 100, abs=0.03)
        for axis in range(2):
            inside, outside = places[held_out, axis], places[training, axis]
            if np.ptp(inside) < 90:
                assert max(inside.min() - outside.max(), outside.min() - inside.max()) >= WINDOW


def test_another_seed_holds_out_others():
    crops = crops_at(np.zeros(2500, int), places=grid(100))
    strips = {tuple(split_crops(crops, 0.1, seed=seed)[1][:5]) for seed in range(12)}
    assert len(strips) > 1


def test_a_sheared_window_needs_a_wider_gap():
    places = grid(100)
    sheared = crops_at(
        np.zeros(2500, int), places=places, distortion=np.array([[1.0, 0.5], [0.0, 1.0]])
    )
    upright = crops_at(np.zeros(2500, int), places=places)
    trained = [len(split_crops(c, 0.1, seed=0)[0]) for c in (sheared, upright)]
    assert trained[0] < trained[1]


def test_frames_beside_held_out_ones_are_left_out_where_crops_hold_both():
    frame = np.repeat(np.arange(20), 20)
    crops = Crops(
        images=np.zeros((400, 2, 8, 8), np.float32),
        site_id=np.arange(400),
        frame=frame,
        lags=(0, -1),
    )
    training, held_out = split_crops(crops, 0.05, seed=0)
    (taken,) = set(frame[held_out])
    assert not {taken - 1, taken, taken + 1} & set(frame[training])
    assert len(training) == 20 * (20 - len({taken - 1, taken, taken + 1} & set(range(20))))


@pytest.mark.parametrize(
    ("crops", "said", "count"),
    [
        (crops_at(np.repeat(np.arange(10), 20)), "whole frames, of 10", 20),
        (crops_at(np.zeros(2500, int), places=grid(100)), "an area, as there are 1 frames", 250),
        (crops_at(np.repeat([0, 1, 2], [80, 60, 60])), "the smallest frame", 60),
        (crops_at(np.zeros(200, int)), "drawn at random, as neither", 20),
        (crops_at(np.zeros(60, int)), "10% would be fewer than 8", 0),
        (crops_at(np.zeros(225, int), places=grid(30)[:225] / 3), "too few would be left", 0),
    ],
)
def test_the_log_tells_how_it_was_split_and_why(crops, said, count, caplog):
    with caplog.at_level(logging.INFO, "napari_rvae"):
        _, held_out = split_crops(crops, 0.1, seed=0)
    assert len(held_out) == pytest.approx(count, abs=5)
    (line,) = caplog.messages
    assert f"{len(held_out)} of {len(crops)} crops are held out: {said}" in line


def test_one_frame_with_most_of_the_crops_is_never_held_out():
    crops = crops_at(np.repeat(np.arange(6), [500, 20, 20, 20, 20, 20]))
    for seed in range(20):
        _, held_out = split_crops(crops, 0.1, seed=seed)
        assert 0 not in crops.frame[held_out]
        assert len(held_out) > 0


def test_nothing_is_held_out_unasked_and_the_log_is_silent(caplog):
    crops = crops_at(np.repeat(np.arange(10), 20))
    with caplog.at_level(logging.INFO, "napari_rvae"):
        training, held_out = split_crops(crops, 0.0, seed=0)
    assert (len(training), len(held_out)) == (200, 0)
    assert not caplog.messages


@pytest.mark.parametrize("share", [-0.1, 0.6, float("nan")])
def test_other_shares_are_refused(share):
    with pytest.raises(InputError, match=r"goes from 0 to 0\.5"):
        split_crops(crops_at(np.zeros(10, int)), share, seed=0)


@pytest.mark.parametrize("axis", [0, 1])
def test_halves_of_the_area_share_no_pixels(axis):
    places = np.concatenate([grid(60), grid(60) + 500])
    source = np.repeat(["a", "b"], 900)
    crops = crops_at(np.zeros(1800, int), source, places)
    one, other = area_halves(crops, axis=axis)
    assert not overlap(crops, one, other)
    assert len(one) + len(other) == pytest.approx(1800 * (1 - WINDOW / 60), rel=0.05)
    assert len(one) == pytest.approx(len(other), rel=0.1)
    for half in (one, other):
        assert set(source[half]) == {"a", "b"}


def test_there_are_no_halves_without_places_or_room():
    assert area_halves(crops_at(np.zeros(200, int)), axis=0) is None
    assert area_halves(crops_at(np.zeros(9, int), places=grid(6)), axis=0) is None
    assert area_halves(crops_at(np.zeros(0, int), places=np.zeros((0, 2))), axis=0) is None
