import numpy as np

from napari_rvae import level_height
from napari_rvae.preprocess.levelling import lost_rows, mend_rows


def test_plane_and_rows_go_and_what_stands_on_them_stays():
    y, x = np.indices((64, 64))
    bump = 5.0 * np.exp(-((y - 30) ** 2 + (x - 20) ** 2) / 50)
    offset = np.random.default_rng(0).normal(size=(64, 1))
    levelled = level_height(0.3 * y - 0.2 * x + offset + bump)
    assert np.abs(levelled - bump).max() < 0.3
    whole = level_height(0.3 * y - 0.2 * x + bump, rows=False)
    assert np.abs(whole - bump).max() < 0.3


def test_missing_values_stay_missing():
    image = np.ones((16, 16))
    image[3] = np.nan
    assert np.isnan(level_height(image)).sum() == 16
    assert np.isnan(level_height(np.full((16, 16), np.nan))).all()


def test_lost_rows_are_flat_missing_or_repeated():
    image = np.random.default_rng(1).normal(size=(12, 20))
    image[2], image[5], image[8] = 0.0, np.nan, image[7]
    assert np.flatnonzero(lost_rows(image)).tolist() == [2, 5, 8]
    assert not lost_rows(np.zeros((5, 20))).any()


def test_rows_are_mended_between_and_at_the_edges():
    image = np.repeat(np.arange(6.0)[:, None], 4, axis=1)
    lost = np.array([True, False, True, True, False, True])
    assert mend_rows(image, lost)[:, 0].tolist() == [1.0, 1.0, 2.0, 3.0, 4.0, 4.0]
    assert mend_rows(image, np.zeros(6, bool)) is image


def test_a_gap_is_not_filled():
    image, lost = np.ones((12, 4)), np.zeros(12, bool)
    lost[[0, 1]] = lost[4:9] = True
    assert np.isnan(mend_rows(image, lost)).all(axis=1).tolist() == lost.tolist()
