import math

import numpy as np
import pytest

from napari_rvae import InputError, simulate_walls
from napari_rvae.curves import field_at
from napari_rvae.tables import validate_sites


@pytest.fixture(scope="module")
def movie():
    return simulate_walls(n_frames=12, size=(96, 112), drift=0.3, lateral=True, seed=2)


def test_axes_channels_and_units(movie):
    frames = movie.frames
    assert frames.axis_labels == ("t", "c", "y", "x")
    assert frames.shape == (12, 5, 96, 112)
    assert frames.channels[:2] == ("amplitude", "phase")
    assert frames.metadata["channel_units"]["topography"] == "nm"
    assert frames.units[-1] == "nm"
    assert np.isfinite(frames.table[["time", "bias"]].to_numpy()).all()


def test_sites_lie_where_the_polarization_is_zero(movie):
    sites = validate_sites(movie.sites)
    assert set(sites["kind"]) == {"wall"}
    for frame, rows in sites[sites["wall_type"] == "180"].groupby("frame"):
        points = rows[["y", "x"]].to_numpy()
        values = field_at(movie.fields["polarization"][frame], points)
        # of a tanh of 3 px half-width: 0.06 is 0.2 px
        assert np.abs(values).max() < 0.08
        assert np.abs(values).mean() < 0.02


def test_normals_point_from_minus_to_plus(movie):
    rows = movie.sites[(movie.sites["wall_type"] == "180") & (movie.sites["frame"] == 3)]
    inner = rows[rows["y"].between(4, 91) & rows["x"].between(4, 107)]
    step = 2 * np.stack([-np.sin(inner["normal_angle"]), np.cos(inner["normal_angle"])], axis=1)
    place = inner[["y", "x"]].to_numpy()
    field = movie.fields["polarization"][3]
    assert (field_at(field, place + step) > 0.3).all()
    assert (field_at(field, place - step) < -0.3).all()
    assert (inner["normal_period"] == 2 * math.pi).all()


def test_ferroelastic_walls_are_axes_without_a_change_of_sign(movie):
    rows = movie.sites[movie.sites["wall_type"] == "ferroelastic"]
    assert (rows["normal_period"] == math.pi).all()
    assert rows["normal_angle"].between(-math.pi / 2, math.pi / 2).all()
    assert rows["normal_angle"].nunique() == 1


def test_curvature_is_positive_around_a_round_positive_domain():
    movie = simulate_walls(
        n_frames=2, size=96, domains=0, nucleations=1, pinning=0, stripes=0, nucleus=12, seed=1
    )
    assert movie.events[["frame", "radius"]].to_numpy().tolist() == [[1, 12.0]]
    assert not len(movie.sites[movie.sites["frame"] == 0])
    assert np.allclose(movie.sites["curvature"], 1 / 12, rtol=0.15)


def test_a_free_flat_wall_goes_at_the_stated_speed():
    movie = simulate_walls(
        n_frames=15, size=128, domains=1, nucleations=0, pinning=0, stripes=0, speed=1.0,
        tension=0.2, seed=3,
    )  # fmt: skip
    area = (movie.fields["polarization"] > 0).sum(axis=(1, 2))
    radius = np.sqrt(area / math.pi)
    # an early, round domain away from the border
    assert (radius[10] - radius[0]) / 10 == pytest.approx(1.0, abs=0.15)


def test_a_strong_centre_holds_the_wall_and_none_is_no_hindrance():
    options = {"n_frames": 25, "size": 112, "domains": 2, "nucleations": 0, "stripes": 0, "seed": 4}
    held = simulate_walls(pinning=6, pinning_strength=6.0, **options)
    free = simulate_walls(pinning=0, **options)
    centres = held.tables["pinning"]
    reached = centres[centres["first_frame"].between(0, 15)]
    assert len(reached) == 2
    y, x = (reached[name].round().to_numpy(int) for name in ("y", "x"))
    assert (held.fields["polarization"][-1][y, x] < -0.5).all()
    assert (free.fields["polarization"][-1][y, x] > 0.5).all()


def test_the_bias_turns_the_growth_round():
    movie = simulate_walls(
        n_frames=20, size=96, waveform="triangle", nucleations=0, pinning=0, seed=5
    )
    area = (movie.fields["polarization"] > 0).mean(axis=(1, 2))
    assert area.argmax() not in (0, 19)
    assert movie.frames.table["bias"].iloc[-1] == -5.0


def test_junctions_are_where_both_kinds_cross(movie):
    junctions = movie.tables["junctions"]
    assert len(junctions)
    for frame, rows in junctions.groupby("frame"):
        sites = movie.sites[movie.sites["frame"] == frame]
        for kind in ("180", "ferroelastic"):
            walls = sites.loc[sites["wall_type"] == kind, ["y", "x"]].to_numpy()
            gap = np.hypot(*(rows[["y", "x"]].to_numpy()[:, None] - walls).transpose(2, 0, 1))
            assert gap.min(axis=1).max() < 2.0


def test_phase_and_amplitude_tell_the_response_and_its_background():
    movie = simulate_walls(
        n_frames=3, size=64, noise=0, row_noise=0, background=0.3, lost_lines=0, seed=6
    )
    amplitude, phase = (movie.frames.data[:, k].astype(float) for k in (0, 1))
    signal = amplitude * np.exp(1j * (np.radians(phase) - movie.fields["offset"][:, None, None]))
    rest = signal / 20 - movie.fields["response"]
    assert np.allclose(np.abs(rest), 0.3, atol=1e-4)


def test_a_lost_row_is_zero_in_every_channel():
    movie = simulate_walls(n_frames=4, size=64, lost_lines=1.0, seed=7)
    for frame, row in enumerate(movie.fields["lost"]):
        assert (movie.frames.data[frame, :, row] == 0).all()


def test_one_seed_one_movie():
    one, two = (simulate_walls(n_frames=3, size=64, seed=8) for _ in range(2))
    assert np.array_equal(one.frames.data, two.frames.data)
    assert one.sites.equals(two.sites)
    # the scan has a stream of its own
    noisy = simulate_walls(n_frames=3, size=64, seed=8, noise=0.4)
    assert noisy.sites.equals(one.sites)


def test_misspelt_or_impossible_options():
    with pytest.raises(TypeError):
        simulate_walls(n_frames=1, size=64, noisy=0.1)
    with pytest.raises(InputError, match="half_width"):
        simulate_walls(n_frames=1, size=64, half_width=0.0)
    assert not len(simulate_walls(n_frames=1, size=64, domains=0, stripes=0).sites)
