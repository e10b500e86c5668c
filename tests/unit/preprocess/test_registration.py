import dataclasses

import numpy as np
import pytest
from scipy import ndimage

from napari_rvae import Frames, InputError, register_scans, signed_response, simulate_walls

SIDE = 96


@pytest.fixture(scope="module")
def scene():
    """A scene and its channels on a grid three times as fine."""
    movie = simulate_walls(n_frames=1, size=160, seed=4, lost_lines=0, noise=0.05)
    return movie.frames


def scan(scene: Frames, top: int, left: int, **changes) -> Frames:
    data = np.asarray(scene.data)[:, :, top : top + SIDE, left : left + SIDE]
    return dataclasses.replace(scene, data=data, **changes)


def test_shift_and_sign_of_a_repeated_scan(scene):
    again = scan(scene, 27, 33)
    turned = np.asarray(again.data).copy()
    turned[:, 1] = (turned[:, 1] + 140 + 180) % 360 - 180
    again = dataclasses.replace(again, data=turned)
    both = register_scans([scan(scene, 20, 40), again])
    assert both.shape == (2, 3, SIDE, SIDE)
    assert both.table["shift_y"].iloc[1] == pytest.approx(7, abs=0.25)
    assert both.table["shift_x"].iloc[1] == pytest.approx(-7, abs=0.25)
    assert both.table["match"].iloc[1] > 0.9
    response = signed_response(both)
    one, two = (response.frame(t) for t in (0, 1))
    known = np.isfinite(one) & np.isfinite(two)
    assert known.mean() == pytest.approx((89 / 96) ** 2, abs=0.02)
    assert np.corrcoef(one[known], two[known])[0, 1] > 0.95


def test_scans_of_other_sizes_are_resampled_by_their_scale(scene):
    first = scan(scene, 20, 20)
    data = np.asarray(scan(scene, 24, 20).data)
    half = ndimage.zoom(data[:, 2:], (1, 1, 0.5, 0.5), order=1, grid_mode=True, mode="nearest")
    coarse = Frames(
        half, channels=("topography",), scale=(1, 1, 20.0, 20.0), units=("s", "pixel", "nm", "nm")
    )
    fine = Frames(
        np.asarray(first.data)[:, 2:],
        channels=("topography",),
        scale=(1, 1, 10.0, 10.0),
        units=("s", "pixel", "nm", "nm"),
    )
    both = register_scans([fine, coarse])
    assert both.frame_shape == (SIDE, SIDE)
    assert both.table["shift_y"].iloc[1] == pytest.approx(4, abs=0.5)
    assert both.table["shift_x"].iloc[1] == pytest.approx(0, abs=0.5)


def test_what_cannot_be_registered_is_said(scene):
    one = scan(scene, 20, 20)
    with pytest.raises(InputError, match="two scans or more"):
        register_scans([one])
    with pytest.raises(InputError, match="are not those of the first scan"):
        register_scans([one, one.select_channel("amplitude")])
    noise = np.random.default_rng(0).normal(size=one.shape)
    with pytest.raises(InputError, match="does not match"):
        register_scans([one, dataclasses.replace(one, data=noise)], max_shift=1.0)
    with pytest.raises(InputError, match="give scans of one frame"):
        register_scans([np.zeros((2, 32, 32)), np.zeros((2, 32, 32))])
