import math
import warnings

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial import cKDTree
from scipy.special import erf

from napari_rvae import (
    Cancelled,
    Frames,
    InputError,
    NoWallsWarning,
    detect_walls,
    find_junctions,
    fold_angle,
    signed_response,
    simulate_walls,
)
from napari_rvae.tables import WALL_COLUMNS, validate_sites


@pytest.fixture(scope="module")
def movie():
    return simulate_walls(n_frames=3, size=144, seed=1, spacing=0.5)


@pytest.fixture(scope="module")
def found(movie):
    return detect_walls(movie.frames, spacing=2.0)


def compared(true, found, kind):
    """Offsets along the normal, angle differences in degrees, shares of length found and right."""
    offset, turned, recall, precision = [], [], [], []
    for frame in sorted(true["frame"].unique()):
        one, two = (t[(t["frame"] == frame) & (t["wall_type"] == kind)] for t in (true, found))
        a, b = (t[["y", "x"]].to_numpy() for t in (one, two))
        gap, near = cKDTree(a).query(b)
        angle = one["normal_angle"].to_numpy()[near]
        normal = np.stack([-np.sin(angle), np.cos(angle)], axis=1)
        good = gap < 4
        offset.append((((b - a[near]) * normal).sum(axis=1))[good])
        order = 1 if kind == "180" else 2
        turned.append(np.degrees(fold_angle(two["normal_angle"] - angle, order))[good])
        precision.append(good)
        recall.append(cKDTree(b).query(a)[0] < 4)
    return [np.concatenate(part) for part in (offset, turned, recall, precision)]


def rms(values) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def test_polar_walls_are_where_they_are_and_point_from_minus_to_plus(movie, found):
    offset, turned, recall, precision = compared(movie.sites, found, "180")
    assert rms(offset) < 0.3
    assert rms(turned) < 2.5
    assert recall.mean() > 0.97
    assert precision.mean() > 0.97


def test_ferroelastic_walls_are_lines_across_domains(movie, found):
    offset, turned, recall, precision = compared(movie.sites, found, "ferroelastic")
    assert rms(offset) < 0.4
    assert rms(turned) < 1.0
    assert recall.mean() > 0.95
    assert precision.mean() > 0.95


def test_the_table_has_all_columns_and_is_valid(found):
    sites = validate_sites(found, need=WALL_COLUMNS)
    assert set(sites["kind"]) == {"wall"}
    polar = sites["wall_type"] == "180"
    assert (sites["normal_period"] == np.where(polar, 2 * math.pi, math.pi)).all()
    axes = sites.loc[~polar, "normal_angle"]
    assert axes.between(-math.pi / 2, math.pi / 2).all()
    assert sites["confidence"].between(0, 1).all()
    assert sites.attrs["domains"] == [2, 2, 2]


def test_spacing_is_the_step_along_a_wall(movie):
    sites = detect_walls(movie.frames, spacing=5.0, ferroelastic="off")
    for _, wall in sites.groupby(["frame", "wall_id"]):
        steps = np.diff(np.sort(wall["wall_position"]))
        assert abs(np.median(steps) - 5) < 0.8


@pytest.mark.parametrize("radius", [8.0, 20.0])
def test_curvature_of_a_disc_of_another_wall_model(radius):
    y, x = np.indices((96, 96)) - 47.3
    disc = erf((radius - np.hypot(y, x)) / 2.5)
    rng = np.random.default_rng(0)
    signal = disc + 0.2j + 0.1 * (rng.normal(size=disc.shape) + 1j * rng.normal(size=disc.shape))
    data = np.stack([np.abs(signal), np.degrees(np.angle(signal))])[None]
    sites = detect_walls(data, ferroelastic="off", spacing=2.0)
    assert np.median(sites["curvature"]) == pytest.approx(1 / radius, rel=0.2)
    found = np.hypot(sites["y"] - 47.3, sites["x"] - 47.3)
    assert found.mean() == pytest.approx(radius, abs=0.25)
    # normals point to the middle
    inward = np.arctan2(sites["y"] - 47.3, -(sites["x"] - 47.3))
    assert rms(fold_angle(sites["normal_angle"] - inward, 1)) < math.radians(5)


def test_places_and_directions_along_a_wall_that_bends_to_and_fro():
    y, x = np.indices((160, 160)).astype(float)

    def off(y):
        return 12 * np.sin(y / 16)

    steep = 12 / 16 * np.cos(y / 16)
    away = (x - 80 - off(y)) / np.sqrt(1 + steep**2)
    errors, places = [], []
    for seed in range(4):
        sites = detect_walls(
            scan_of(erf(away / 3.4) + 0.3j, seed, 0.2), ferroelastic="off", spacing=1.0
        )
        true = np.arctan2(12 / 16 * np.cos(sites["y"] / 16), 1.0)
        errors.append(fold_angle(sites["normal_angle"] - true, 2))
        places.append((sites["x"] - 80 - off(sites["y"])) * np.cos(true))
    assert math.degrees(rms(np.concatenate(errors))) < 1.25
    assert rms(np.concatenate(places)) < 0.115  # each point alone: 0.135


@pytest.mark.parametrize("radius", [6.0, 8.0, 12.0, 20.0])
def test_smoothing_does_not_shrink_a_disc(radius):
    y, x = np.indices((96, 96)) - 47.3
    off = []
    for seed in range(6):
        scan = scan_of(erf((radius - np.hypot(y, x)) / 2.5) + 0.2j, seed, 0.2)
        sites = detect_walls(scan, ferroelastic="off", spacing=1.0)
        off.append(np.hypot(sites["y"] - 47.3, sites["x"] - 47.3).mean() - radius)
    assert abs(np.mean(off)) < 0.05


@pytest.mark.parametrize("apart", [5.0, 8.0, 12.0])
def test_two_walls_that_are_near_to_each_other_are_where_they_are(apart):
    x = np.indices((96, 96))[1].astype(float)
    strip = np.tanh(np.maximum(apart / 2 - np.abs(x - 30.3), x - 65) / 3)
    off = []
    for seed in range(4):
        sites = detect_walls(scan_of(strip + 0.3j, seed, 0.15), ferroelastic="off", spacing=1.0)
        own = np.abs(sites.loc[sites["x"] < 50, "x"] - 30.3) - apart / 2
        assert len(own) > 180
        off.append(own.mean())
    assert abs(np.mean(off)) < 0.06


def test_walls_that_leave_the_frame_have_no_sites_outside():
    y, x = np.indices((64, 64)).astype(float)
    sites = detect_walls(scan_of(erf((x + 0.5 * y - 40) / 3) + 0.2j, 0, 0.2), spacing=1.0)
    places = sites[["y", "x"]].to_numpy()
    assert len(sites) > 50
    assert (places >= 0).all()
    assert (places <= 63).all()


def test_a_line_of_weaker_response_is_ferroelastic_and_an_axis():
    y, x = np.indices((96, 96)).astype(float)
    across = (x - 48) * math.cos(0.4) - (y - 48) * math.sin(0.4)
    level = 1 - 0.25 * (1 + np.tanh(across / 3))
    disc = np.tanh((14 - np.hypot(y - 70, x - 20)) / 3)
    rng = np.random.default_rng(1)
    signal = level * disc + 0.1 * (rng.normal(size=disc.shape) + 1j * rng.normal(size=disc.shape))
    data = np.stack([np.abs(signal), np.degrees(np.angle(signal))])[None]
    sites = detect_walls(data)
    line = sites[sites["wall_type"] == "ferroelastic"]
    distance = (line["x"] - 48) * math.cos(0.4) - (line["y"] - 48) * math.sin(0.4)
    assert rms(distance) < 0.7
    assert rms(fold_angle(line["normal_angle"] - 0.4, 2)) < math.radians(3)


def scan_of(signal, seed, noise=0.1):
    """Amplitude and phase of a signal with noise."""
    rng = np.random.default_rng(seed)
    parts = rng.normal(size=(2, *signal.shape))
    total = signal + noise * (parts[0] + 1j * parts[1])
    return np.stack([np.abs(total), np.degrees(np.angle(total))])[None]


def test_a_180_degree_wall_beside_a_ferroelastic_one_does_not_move_it():
    y, x = np.indices((128, 128)).astype(float)
    level = 1 - 0.25 * (1 + erf((x - 60) / 4))
    # it comes near, and crosses at an angle of 18 degrees near the bottom
    polar = erf((x - 20 - 0.33 * y) * math.cos(math.atan(0.33)) / 3.4)
    sites = detect_walls(scan_of(level * polar, 2), spacing=1.0)
    line = sites[sites["wall_type"] == "ferroelastic"]
    assert line["wall_id"].nunique() == 1
    assert np.ptp(line["y"]) > 115
    assert rms(line["x"] - 60) < 0.5
    assert rms(fold_angle(line["normal_angle"], 2)) < math.radians(1)


def lines_of(steps, *, first_seed=0):
    """Lengths of ferroelastic walls in scans of one domain whose level steps by so much at 60."""
    x = np.indices((128, 128))[1].astype(float)
    scans = [
        scan_of(1 - step * (1 + erf((x - 60) / 4)) / 2, first_seed + k, 0.15)[0]
        for k, step in enumerate(steps)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoWallsWarning)
        sites = detect_walls(np.stack(scans), spacing=1.0)
    assert rms(sites["x"] - 60) < 1 if len(sites) else True
    return [int((sites["frame"] == t).sum()) for t in range(len(steps))]


def test_a_line_that_stands_in_one_scan_is_found_in_those_before_and_after():
    faint = 0.15  # the least step is 0.2
    assert lines_of([faint, faint, faint]) == [0, 0, 0]
    assert min(lines_of([faint, faint, 0.4, faint])) > 115
    # where it is gone it is not found, nor beyond
    one, two, three = lines_of([0.4, 0.0, faint])
    assert one > 115
    assert (two, three) == (0, 0)


def test_a_line_between_nuclei_that_hide_most_of_it_is_found():
    y, x = np.indices((128, 128)).astype(float)
    level = 1 - 0.2 * (1 + np.tanh((x - 64) / 3))
    away = np.max(
        [
            9 - np.hypot(y - at, x - 64 - side)
            for at, side in ((10, 14), (30, -13), (52, 12), (75, -14), (98, 14), (120, -12))
        ],
        axis=0,
    )
    line = detect_walls(scan_of(level * np.tanh(away / 3) + 0.2j, 5), spacing=1.0)
    line = line[line["wall_type"] == "ferroelastic"]
    assert np.ptp(line["y"]) > 115
    assert rms(line["x"] - 64) < 0.7


@pytest.mark.parametrize("seed", [3, 4, 6])
def test_domains_that_respond_unequally_make_no_ferroelastic_walls(seed):
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(size=(160, 160)), 12)
    away = ndimage.distance_transform_edt(field > 0) - ndimage.distance_transform_edt(field <= 0)
    wall = erf(away / 3)
    texture = ndimage.gaussian_filter(rng.normal(size=(160, 160)), 3)
    signal = wall * (1 - 0.15 * wall) * (1 + 0.06 * texture / texture.std())
    assert set(detect_walls(scan_of(signal, seed, 0.12))["wall_type"]) == {"180"}


def test_a_line_in_pieces_is_one_wall_where_noise_is_strong():
    movie = simulate_walls(n_frames=1, size=192, seed=545, noise=0.3, spacing=0.5)
    sites = detect_walls(movie.frames, spacing=1.0)
    lines = [wall[["y", "x"]].to_numpy() for _, wall in
             sites[sites["wall_type"] == "ferroelastic"].groupby("wall_id")]  # fmt: skip
    assert len(lines) >= 4
    for number, line in enumerate(lines):
        for other in lines[:number]:
            assert (cKDTree(other).query(line)[0] < 4).mean() < 0.3


@pytest.mark.parametrize("seed", [1022, 1037])
def test_necks_between_domains_that_nearly_touch_are_no_ferroelastic_walls(seed):
    movie = simulate_walls(
        n_frames=2, size=192, seed=seed, stripes=0, domains=10, nucleations=6, spacing=0.5
    )
    assert set(detect_walls(movie.frames)["wall_type"]) == {"180"}


@pytest.mark.parametrize(("seed", "noise"), [(205, 0.3), (207, 0.3), (201, 0.15)])
def test_scans_without_stripes_have_no_ferroelastic_walls(seed, noise):
    movie = simulate_walls(n_frames=2, size=192, seed=seed, stripes=0, noise=noise)
    assert set(detect_walls(movie.frames)["wall_type"]) == {"180"}


@pytest.mark.parametrize("seed", [11, 12])
def test_pieces_of_noise_that_shrink_to_nothing_are_no_walls(seed):
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(96, 96)), 8)
    scan = scan_of(erf(2 * field / field.std()), seed, 0.3)
    sites = detect_walls(scan, min_length=2.0, min_step=0.05)
    assert "180" in set(sites["wall_type"])


def test_a_jump_between_two_rows_is_no_wall():
    y, x = np.indices((96, 96)).astype(float)
    level = np.where(y < 50, 1.0, 0.6)
    disc = np.tanh((14 - np.hypot(y - 25, x - 25)) / 3)
    jump = detect_walls(scan_of(level * disc, 3))
    assert set(jump["wall_type"]) == {"180"}
    soft = detect_walls(scan_of((0.8 - 0.2 * np.tanh((y - 50) / 3)) * disc, 3))
    line = soft[soft["wall_type"] == "ferroelastic"]
    assert rms(line["y"] - 50) < 0.7
    assert len(line) >= 20


def test_kinks_of_the_height_without_a_step_of_the_response():
    movie = simulate_walls(
        n_frames=1, size=144, seed=3, stripe_level=1.0, stripe_slope=0.3, stripes=1, spacing=0.5
    )
    none = detect_walls(movie.frames)
    assert (none["wall_type"] == "180").mean() > 0.9
    sites = detect_walls(movie.frames, ferroelastic="kink")
    offset, turned, recall, precision = compared(movie.sites, sites, "ferroelastic")
    assert rms(offset) < 1.5
    assert recall.mean() > 0.8
    assert precision.mean() > 0.8
    assert rms(turned) < 6


def test_one_domain_is_an_answer():
    movie = simulate_walls(n_frames=2, size=96, seed=4, domains=0, nucleations=0, stripes=1)
    with pytest.warns(NoWallsWarning, match="every scan has one domain only"):
        sites = detect_walls(movie.frames)
    assert set(sites["wall_type"]) == {"ferroelastic"}
    assert set(WALL_COLUMNS) <= set(sites)
    plain = simulate_walls(n_frames=1, size=96, seed=4, domains=0, nucleations=0, stripes=0)
    with pytest.warns(NoWallsWarning):
        empty = detect_walls(plain.frames)
    assert not len(empty)
    assert set(WALL_COLUMNS) <= set(validate_sites(empty))


def test_noise_has_no_walls():
    rng = np.random.default_rng(5)
    noise = rng.normal(size=(96, 96)) + 1j * rng.normal(size=(96, 96))
    data = np.stack([np.abs(noise), np.degrees(np.angle(noise))])[None]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoWallsWarning)
        assert len(detect_walls(data)) < 20


def test_walls_of_a_response_that_is_given(movie, found):
    response = signed_response(movie.frames)
    again = detect_walls(response, spacing=2.0)
    assert again.drop(columns="source").equals(found.drop(columns="source"))


def test_region_progress_and_source(movie):
    region = np.zeros((144, 144), bool)
    region[:, :72] = True
    seen = []
    sites = detect_walls(
        movie.frames, region=region, source="a", progress=lambda *step: seen.append(step)
    )
    assert sites["x"].max() < 72
    assert set(sites["source"]) == {"a"}
    assert seen == [(1, 3), (2, 3), (3, 3)]
    with pytest.raises(Cancelled, match="after 1 of 3"):
        detect_walls(movie.frames, progress=lambda *_: False)


def test_a_lost_row_makes_no_wall(movie):
    data = np.asarray(movie.frames.data)[:1, :2].copy()
    whole = detect_walls(data)
    data[0, :, 60] = 0.0
    broken = detect_walls(data)
    assert abs(len(whole) - len(broken)) < 0.1 * len(whole)


def test_junctions_are_where_walls_cross(movie, found):
    true = movie.tables["junctions"]
    junctions = find_junctions(found)
    gaps = [
        cKDTree(junctions.loc[junctions["frame"] == t, ["y", "x"]]).query(
            true.loc[true["frame"] == t, ["y", "x"]]
        )[0]
        for t in range(3)
    ]
    assert np.median(np.concatenate(gaps)) < 1.5
    assert (np.concatenate(gaps) < 5).mean() > 0.7
    assert set(junctions["wall_types"]) <= {"180+ferroelastic", "180", "ferroelastic"}
    assert not len(find_junctions(found.iloc[:0]))


def test_bad_input_is_one_line(movie):
    with pytest.raises(InputError, match="no amplitude or phase"):
        detect_walls(np.zeros((2, 32, 32)))
    with pytest.raises(InputError, match="no topography"):
        detect_walls(np.asarray(movie.frames.data)[:, :2], ferroelastic="kink")
    with pytest.raises(TypeError):
        detect_walls(movie.frames, spacings=2)
    with pytest.raises(InputError, match="choose from"):
        detect_walls(movie.frames, spacing=0.0)
    renamed = Frames(np.asarray(movie.frames.data)[:1, :2], channels=("R", "theta"))
    with pytest.raises(InputError, match="channels R, theta"):
        detect_walls(renamed)
    assert len(detect_walls(renamed, channels=("R", "theta")))
