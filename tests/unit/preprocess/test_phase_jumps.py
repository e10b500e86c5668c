import warnings

import numpy as np
import pytest

from napari_rvae import PhaseJumpWarning, detect_walls, signed_response, simulate_walls
from napari_rvae.preprocess.phase_jumps import find_phase_jumps, without_phase_jumps


def scan_of(polarization, seed=0, noise=0.15, background=0.3j):
    """Complex scan of a polarization (Y, X)."""
    parts = np.random.default_rng(seed).normal(size=(2, *polarization.shape))
    return polarization + background + noise * (parts[0] + 1j * parts[1])


def disc(side=96):
    y, x = np.indices((side, side))
    return np.tanh((25 - np.hypot(y - 50, x - 40)) / 3)


def turned(scan, row, column, degrees, *, forward=True):
    """The scan after a jump in the middle of a row, which is scanned in either direction."""
    late = np.arange(scan.size).reshape(scan.shape) >= row * scan.shape[1] + column
    if not forward:
        late[row] = np.arange(scan.shape[1]) < column
    return np.where(late, scan * np.exp(1j * np.radians(degrees)), scan)


@pytest.mark.parametrize("degrees", [-50, 90, 115, 180])
@pytest.mark.parametrize(("column", "forward"), [(0, True), (37, True), (60, False)])
def test_a_jump_is_found_to_the_pixel_and_turned_back(degrees, column, forward):
    scan = scan_of(disc())
    (jump,) = find_phase_jumps(turned(scan, 45, column, degrees, forward=forward))
    assert jump.angle == pytest.approx(np.radians(degrees), abs=0.1) or degrees == 180
    back = without_phase_jumps(turned(scan, 45, column, degrees, forward=forward), [jump])
    off = np.angle(
        back * scan.conj() * np.exp(-1j * np.angle((back[60:] * scan[60:].conj()).sum()))
    )
    assert (np.abs(off) > np.radians(20)).sum() <= 4


def test_several_jumps():
    scan = scan_of(disc())
    twice = turned(turned(scan, 30, 10, 70), 70, 80, -100)
    jumps = find_phase_jumps(twice)
    assert [jump.row for jump in jumps] == [30, 70]
    back = without_phase_jumps(twice, jumps)
    assert np.median(np.abs(np.angle(back * scan.conj()))) < 0.05


def test_walls_noise_drift_and_uneasy_rows_are_no_jumps():
    rng = np.random.default_rng(1)
    y = np.indices((96, 96))[0]
    soft, sharp = np.tanh((y - 48) / 3), np.where(y < 48, 1.0, -1.0)
    one = np.ones((96, 96))
    uneasy = np.exp(1j * rng.normal(0, 0.3, (96, 1)))
    drift = np.exp(1j * np.pi * y / 96)
    noise = rng.normal(size=(96, 96)) + 1j * rng.normal(size=(96, 96))
    passing = np.where(np.isin(y, (40, 41)), np.exp(1.2j), 1.0)  # two rows only
    for scan in (
        scan_of(soft), scan_of(sharp), scan_of(sharp, background=0.0), scan_of(one),
        scan_of(disc()) * uneasy, scan_of(disc()) * drift, scan_of(disc()) * passing, noise,
        np.full((96, 96), np.nan + 0j), np.zeros((4, 4), complex),
    ):  # fmt: skip
        assert find_phase_jumps(scan) == []


def test_walls_of_a_scan_with_a_jump_are_those_without_it():
    frames = simulate_walls(n_frames=2, size=128, seed=3).frames
    data = np.asarray(frames.data)[:, :2].astype(float)
    with warnings.catch_warnings():
        warnings.simplefilter("error", PhaseJumpWarning)
        plain = detect_walls(data)
    jumped = data.copy()
    jumped[1, 1, 64:] += 90
    with pytest.warns(
        PhaseJumpWarning, match=r"'channel 1' jumps by \d+ degrees in row 6\d of f.* 1"
    ):
        response = signed_response(jumped)
    with pytest.warns(PhaseJumpWarning):
        walls = detect_walls(jumped)
    assert response.table["domains"].tolist() == [2, 2]
    assert abs(len(walls) - len(plain)) <= 0.03 * len(plain)


def test_one_domain_with_a_jump_is_one_domain():
    frames = simulate_walls(n_frames=1, size=96, seed=2, domains=0, nucleations=0).frames
    data = np.asarray(frames.data)[:, :2].astype(float)
    data[:, 1, 40:] -= 90
    with pytest.warns(PhaseJumpWarning):
        assert signed_response(data).table["domains"].tolist() == [1]
