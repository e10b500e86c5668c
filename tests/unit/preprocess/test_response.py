import numpy as np
import pytest

from napari_rvae import Frames, InputError, signed_response, simulate_walls
from napari_rvae.preprocess.centres import two_centres
from napari_rvae.preprocess.channels import scan_channels


@pytest.fixture(scope="module")
def movie():
    return simulate_walls(n_frames=5, size=112, seed=1, lateral=True)


def bare(movie) -> np.ndarray:
    return np.asarray(movie.frames.data[:, :2])


def test_response_is_the_true_one_in_every_scan_whatever_its_offset(movie):
    response = signed_response(movie.frames)
    true = movie.fields["response"]
    for t in range(5):
        found = response.frame(t, "response") / 20
        assert np.corrcoef(found.ravel(), true[t].ravel())[0, 1] > 0.93
        # the background of 0.3 is gone: at a half-width of 3 px 0.06 moves a wall by 0.18 px
        assert abs(np.median(found - true[t])) < 0.06
        assert abs(np.median(response.frame(t, "quadrature"))) < 0.06 * 20
    assert response.table["domains"].tolist() == [2] * 5
    assert np.allclose(response.table["background"], 0.3, atol=0.1)
    assert response.metadata["channel_units"]["response"] == "pm"


@pytest.mark.parametrize("share", [0.02, 0.5])
@pytest.mark.parametrize("background", [0.0, 0.3j, -0.3])
def test_centres_do_not_depend_on_how_large_the_domains_are(share, background):
    y, x = np.indices((160, 160)) - 80.0
    disc = np.sqrt(share / np.pi) * 160 - np.hypot(y, x)
    found = two_centres((np.tanh(disc / 3) + background) * np.exp(0.7j))
    assert found.domains == 2
    assert found.share == pytest.approx(min(share, 1 - share), abs=0.01)
    assert abs(found.middle * np.exp(-0.7j) - background) < 0.02


def test_one_domain_is_told_and_noise_makes_no_second():
    movie = simulate_walls(n_frames=2, size=96, seed=2, domains=0, nucleations=0, noise=0.3)
    response = signed_response(movie.frames)
    assert response.table["domains"].tolist() == [1, 1]
    assert response.table["phase_gap"].isna().all()


def test_a_weak_second_phase_is_one_domain_that_responds_weakly_in_places():
    # amplitudes of 1 and 0.2 with opposite phase, as on a thick film
    x = np.linspace(-30, 30, 96)
    signal = np.tile(0.4 + 0.6 * np.tanh(x / 3), (96, 1)).astype(complex)
    assert two_centres(signal).domains == 1


def test_unequal_domains_tell_no_background():
    x = np.linspace(-30, 30, 96)
    signal = np.tile(np.where(x > 0, 1.0, 0.35) * np.tanh(x / 0.3), (96, 1)).astype(complex)
    found = two_centres(signal)
    assert found.domains == 2
    assert found.middle == pytest.approx(0.32, abs=0.03)
    weaker = np.where(signal.real < 0, 0.9 * signal, signal)
    assert two_centres(weaker).middle == 0


def test_a_scan_before_the_first_domain_takes_the_background_of_the_next():
    movie = simulate_walls(
        n_frames=8, size=112, domains=0, nucleations=6, nucleus=9, pinning=0, stripes=0, seed=3
    )
    response = signed_response(movie.frames)
    domains = response.table["domains"].to_numpy()
    assert domains[0] == 1
    assert domains[-1] == 2
    # it is negative as in the later scans, and at their level
    assert np.median(response.frame(0, 0)) == pytest.approx(-20, abs=3)


def test_radians_and_degrees_give_one_answer(movie):
    degrees, radians = bare(movie), bare(movie).copy()
    radians[:, 1] = np.radians(radians[:, 1])
    one, two = (signed_response(data).data for data in (degrees, radians))
    assert np.allclose(one, two, atol=1e-3)
    told = signed_response(radians, phase_unit="rad").data
    assert np.allclose(two, told, atol=1e-3)


@pytest.mark.parametrize("radius", [4.5, 6.0, 7.5])
def test_a_domain_that_is_nearly_all_wall_moves_no_background(radius):
    y, x = np.indices((96, 96)) - 47.3
    disc = np.tanh((radius - np.hypot(y, x)) / 2.5)
    found = two_centres((disc + 0.2 + 0.3j) * np.exp(0.7j))
    assert found.domains == 2
    assert abs(found.middle * np.exp(-0.7j) - (0.2 + 0.3j)) < 0.03


def test_a_lost_row_is_mended(movie):
    data = bare(movie).copy()
    data[2, :, 50] = 0.0
    broken, whole = (signed_response(d).frame(2) for d in (data, bare(movie)))
    assert np.allclose(broken[:49], whole[:49], atol=1.5)
    assert np.abs(broken[50] - (broken[49] + broken[51]) / 2).max() < 1e-3


def test_missing_values_stay_and_an_empty_scan_is_left_out(movie):
    data = bare(movie).copy()
    data[1, :, :20] = np.nan
    data[3] = 5.0
    response = signed_response(data)
    assert np.isnan(response.frame(1)[:19]).all()
    assert np.isfinite(response.frame(1)[21:]).all()
    assert response.table["domains"].tolist() == [2, 2, 2, 0, 2]
    assert np.isnan(response.frame(3)).all()
    # the sign goes on over the gap
    assert np.nansum(response.frame(2) * response.frame(4)) > 0


def test_lateral_and_vector(movie):
    lateral = signed_response(movie.frames, modality="lateral")
    assert lateral.channels == ("lateral response", "lateral quadrature")
    vector = signed_response(movie.frames, modality="vector")
    assert vector.channels[2:] == ("lateral response", "lateral quadrature")
    assert np.array_equal(vector.data[:, :2], signed_response(movie.frames).data)
    # the stripes alone lie in the plane: the rest is background, which has a phase of its own
    polarization = movie.fields["polarization"]
    clear = np.abs(polarization) > 0.9
    level = np.clip(movie.fields["response"][clear] / polarization[clear], -1, 1)
    true = polarization[clear] * np.sqrt(1 - level**2)
    found = np.stack([vector.frame(t, "lateral response") for t in range(5)])[clear]
    assert abs(np.corrcoef(found, true)[0, 1]) > 0.75
    assert abs(np.corrcoef(lateral.data[:, 0][clear], true)[0, 1]) < 0.6
    assert abs(np.median(found[np.abs(true) < 0.05])) < 0.1 * 20


def test_opposite_domains_in_the_plane_are_centred_beside_a_vertical_response(movie):
    data = np.concatenate([movie.frames.data[:, :2], movie.frames.data[:, :2]], axis=1)
    names = [f"{kind}{part}" for kind in ("", "lateral ") for part in ("amplitude", "phase")]
    both = Frames(data, channels=tuple(names))
    vector = signed_response(both, modality="vector")
    assert np.array_equal(vector.data[:, 2:], signed_response(both, modality="lateral").data)


def test_channels_by_name():
    def found(*names, **options):
        frames = Frames(np.zeros((1, len(names), 16, 16)), channels=names)
        return tuple(scan_channels(frames, **options))

    asylum = ("HeightRetrace", "Amplitude1Retrace", "Amplitude2Retrace", "Phase1", "Phase2")
    assert found(*asylum) == (1, 3, 0)
    assert found(*asylum, channels=("Amplitude2Retrace", "Phase2")) == (2, 4, -1)
    nap = ("NapAmplitudeRetrace", "AmplitudeRetrace", "NapPhaseRetrace", "PhaseRetrace")
    assert found(*nap) == (1, 3, -1)
    assert found("amplitude", "phase", "lateral amplitude", "lateral phase", lateral=True)[:2] == (
        2,
        3,
    )


def test_what_is_missing_is_said(movie):
    height = movie.frames.select_channel("topography")
    with pytest.raises(InputError, match="no amplitude or phase among the channels topography"):
        signed_response(height)
    with pytest.raises(InputError, match=r"no lateral amplitude.* modality = 'vertical'"):
        signed_response(np.zeros((1, 2, 32, 32)), modality="lateral")
    with pytest.raises(InputError, match="constant or empty in every frame"):
        signed_response(np.ones((2, 2, 32, 32)))
    flat = np.asarray(movie.frames.data)[:, :2].copy()
    flat[:, 1] = 37.0
    with pytest.raises(InputError, match="amplitude and phase \\(channels\\)"):
        signed_response(flat)
    with pytest.raises(InputError, match="amplitude and phase may be exchanged"):
        signed_response(bare(movie)[:, ::-1])
    listed = Frames(bare(movie), metadata={"channel_units": ["m", "deg"]})
    with pytest.raises(InputError, match="give a dictionary of names and units"):
        signed_response(listed)
    with pytest.raises(InputError, match="modality = 'sideways'"):
        signed_response(movie.frames, modality="sideways")
    with pytest.raises(InputError, match="name amplitude and phase"):
        signed_response(movie.frames, channels=("amplitude",))
