import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from napari_rvae import (
    Frames,
    concat_sites,
    detect_atoms,
    iter_detect_atoms,
    measured_config,
    neighbour_distance,
)
from napari_rvae.analysis.scores import cramer_rao_bound, match_sites
from napari_rvae.config import DetectConfig
from napari_rvae.errors import Cancelled, InputError, NoLatticeWarning
from napari_rvae.tables import ATOM_COLUMNS, SITE_COLUMNS, validate_sites
from scenes import SIDE, SIGMA, SPACING, draw, lattice, simulated


def places(table):
    return table[["y", "x"]].to_numpy()


def gap(points, place):
    """Distance from a place to the nearest of some points."""
    return np.hypot(*(np.asarray(points) - place).T).min()


def middle_atom(points):
    return int(np.argmin(np.hypot(*(points - SIDE / 2).T)))


def same(left, right, *, unit=1.0, offset=0.0):
    """Whether two tables hold the same atoms, the second in another unit."""
    assert len(left) == len(right)
    assert places(left) == pytest.approx(places(right), abs=2e-3)
    assert unit * left["amplitude"].to_numpy() == pytest.approx(
        right["amplitude"].to_numpy(), rel=5e-3
    )
    want = unit * left["background"].to_numpy() + offset
    assert right["background"].to_numpy() == pytest.approx(
        want, abs=0.02 * unit * left["amplitude"].max()
    )


@pytest.fixture(scope="module")
def found(bright):
    return detect_atoms(bright.frame)


@pytest.fixture(scope="module")
def movie():
    """Three frames of the same atoms."""
    points, _ = lattice(side=128)
    return np.stack([draw(*points.T, 60.0, side=128, seed=s).frame for s in range(3)])


class TestTruth:
    @pytest.mark.parametrize("kind", ["honeycomb", "perovskite"])
    @pytest.mark.parametrize(("counts", "least"), [(100, 0.99), (15, 0.985), (4, 0.93)])
    def test_atoms_are_found_at_every_dose(self, kind, counts, least):
        scene = simulated(kind, counts, seed=counts)
        scores = scene.scores(detect_atoms(scene.frame))
        assert scores["f1"] >= least

    @pytest.mark.parametrize("kind", ["honeycomb", "perovskite"])
    def test_positions_come_near_the_bound(self, kind):
        points, sublattice = lattice(kind)
        height = 100 * (np.where(sublattice == 1, 0.45, 1.0) if kind == "perovskite" else 1)
        scene = draw(*points.T, height, seed=5)
        found = detect_atoms(scene.frame)
        pairs = match_sites(found, scene.sites, 3.0)
        true = places(scene.sites)
        inner = ((true > 15) & (true < SIDE - 16)).all(axis=1)
        pairs = pairs[inner[pairs[:, 1]]]
        error = places(found)[pairs[:, 0]] - true[pairs[:, 1]]
        bound = cramer_rao_bound(scene.sites, scene.expected, 0.0, rows=pairs[:, 1])
        assert np.sqrt((error**2).mean() / (bound**2).mean()) < 1.3
        sd = found[["y_sd", "x_sd"]].to_numpy()[pairs[:, 0]]
        assert 0.8 < np.sqrt((error**2).mean() / (sd**2).mean()) < 1.3

    @pytest.mark.parametrize("counts", [100.0, 15.0])
    def test_the_width_in_a_close_packed_lattice(self, counts):
        steps = np.arange(-40, 41)
        grid = np.stack(np.meshgrid(steps, steps, indexing="ij"), -1).reshape(-1, 2)
        points = grid @ (SPACING * np.array([[1, 0], [0.5, np.sqrt(0.75)]])) + SIDE / 2
        near = ((points > -3 * SIGMA) & (points < SIDE + 3 * SIGMA)).all(axis=1)
        found = detect_atoms(draw(*points[near].T, counts, background=0.1 * counts, seed=7).frame)
        assert found["sigma"].median() == pytest.approx(SIGMA, rel=0.06)
        assert found["amplitude"].median() == pytest.approx(counts, rel=0.06)

    def test_the_width_and_the_heights(self, found):
        assert found["sigma"].median() == pytest.approx(SIGMA, rel=0.06)
        assert found["amplitude"].median() == pytest.approx(60, rel=0.05)
        assert found["background"].median() == pytest.approx(5, abs=3)
        assert neighbour_distance(found) == pytest.approx(SPACING, rel=0.03)
        assert found["lattice_support"].median() > 0.9

    def test_a_vacancy_stays_empty(self):
        for kind in ("honeycomb", "perovskite"):
            points, _ = lattice(kind)
            missing = middle_atom(points)
            for counts in (60.0, 8.0):
                scene = draw(*np.delete(points, missing, 0).T, counts, seed=3)
                found = places(detect_atoms(scene.frame))
                assert gap(found, points[missing]) > 0.6 * SPACING

    def test_a_bright_dopant_hides_no_neighbour(self):
        points, _ = lattice()
        dopant = middle_atom(points)
        height = np.full(len(points), 40.0)
        height[dopant] = 200.0
        scene = draw(*points.T, height, seed=4)
        found = detect_atoms(scene.frame)
        near = points[np.hypot(*(points - points[dopant]).T) < 1.1 * SPACING]
        assert len(near) == 4
        assert max(gap(places(found), place) for place in near) < 1
        assert found["amplitude"].max() == pytest.approx(200, rel=0.15)

    def test_the_middle_of_a_ring_stays_empty(self, found, bright):
        true = places(bright.sites)
        inner = places(found)
        inner = inner[((inner > SPACING) & (inner < SIDE - 1 - SPACING)).all(axis=1)]
        assert max(gap(true, place) for place in inner) < 0.3 * SPACING

    def test_atoms_at_a_grain_boundary_are_kept(self):
        left, _ = lattice(angle=0.1)
        right, _ = lattice(angle=0.5, origin=(3.0, 1.0))
        left, right = left[left[:, 1] < SIDE / 2], right[right[:, 1] >= SIDE / 2]
        far = [gap(left, place) > 0.75 * SPACING for place in right]
        points = np.concatenate([left, right[far]])
        scene = draw(*points.T, 60.0, seed=6)
        found = places(detect_atoms(scene.frame))
        boundary = scene.sites[(scene.sites["x"] - SIDE / 2).abs() < 1.5 * SPACING]
        hit = [gap(found, place) < 0.3 * SPACING for place in places(boundary)]
        assert np.mean(hit) > 0.95

    def test_an_adatom_off_the_lattice_is_kept(self):
        points, _ = lattice()
        keep = np.hypot(*(points - SIDE / 2).T) > 3 * SPACING
        lone = np.full(2, SIDE / 2)
        scene = draw(*np.vstack([points[keep], lone]).T, 60.0, seed=7)
        assert gap(places(detect_atoms(scene.frame)), lone) < 1


class TestInvariance:
    def test_dark_atoms_are_bright_ones_negated(self, found, bright):
        dark = detect_atoms(100.0 - bright.frame, contrast="dark")
        assert len(dark) == len(found)
        assert places(dark) == pytest.approx(places(found), abs=2e-3)
        assert (dark["amplitude"] > 0).all()
        assert dark["background"].median() == pytest.approx(
            100 - found["background"].median(), abs=1
        )

    @pytest.mark.parametrize(
        ("unit", "offset"),
        [(1e6, 0.0), (1e-6, 0.0), (1e-20, 0.0), (1.0, 3e4), (1.0, -1e3), (1e30, 0.0)],
    )
    def test_units_and_offsets_do_not_matter(self, found, bright, unit, offset):
        same(found, detect_atoms(unit * bright.frame + offset), unit=unit, offset=offset)

    @pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, np.uint16])
    def test_types_do_not_matter(self, found, bright, dtype):
        same(found, detect_atoms(bright.frame.astype(dtype)))

    def test_a_frame_of_bools_is_searched(self, bright):
        table = detect_atoms(bright.frame > 30)
        assert bright.scores(table)["f1"] > 0.9

    @settings(max_examples=4)
    @given(st.integers(-15, 15), st.integers(-15, 15))
    @example(11, 1)  # here the shifts of rows are just about sure
    def test_a_shifted_frame_has_shifted_atoms(self, down, right):
        points, _ = lattice(side=160)
        scene = draw(*points.T, 60.0, side=160)
        moved = np.roll(scene.frame, (down, right), axis=(0, 1))
        options = {"sigma": SIGMA, "neighbour_distance": SPACING}
        here, there = (places(detect_atoms(f, **options)) for f in (scene.frame, moved))
        inner = here[((here > 30) & (here < 130)).all(axis=1)] + [down, right]
        assert max(gap(there, place) for place in inner) < 0.1

    @pytest.mark.parametrize("turn", [1, 2, 3])
    def test_a_turned_frame_has_turned_atoms(self, found, bright, turn):
        turned = places(detect_atoms(np.rot90(bright.frame, turn)))
        points = places(found)
        for _ in range(turn):  # (y, x) -> (SIDE - 1 - x, y)
            points = np.stack([SIDE - 1 - points[:, 1], points[:, 0]], axis=1)
        assert max(gap(turned, place) for place in points) < 0.1

    @pytest.mark.parametrize("axis", [0, 1])
    def test_a_flipped_frame_has_flipped_atoms(self, found, bright, axis):
        flipped = places(detect_atoms(np.flip(bright.frame, axis)))
        points = places(found).copy()
        points[:, axis] = SIDE - 1 - points[:, axis]
        assert len(flipped) == len(points)
        assert max(gap(flipped, place) for place in points) < 0.1

    def test_the_same_twice(self, found, bright):
        pd.testing.assert_frame_equal(detect_atoms(bright.frame.copy()), found)


class TestMovies:
    @pytest.mark.parametrize(
        ("options", "looks"),
        [({}, 1), ({"min_quality": 0.01}, 2), ({"average_frames": 2, "min_quality": 0.01}, 3)],
    )
    def test_progress_counts_the_looks_before_the_search(self, movie, options, looks):
        told = []
        detect_atoms(movie, **options, progress=lambda *step: told.append(step))
        total = looks * len(movie)
        assert told == [(done, total) for done in range(1, total + 1)]

    @pytest.mark.parametrize("options", [{"min_quality": 0.1}, {"average_frames": 2}])
    def test_a_look_before_the_search_can_be_cancelled(self, movie, options):
        for function in (detect_atoms, measured_config):
            with pytest.raises(Cancelled):
                function(movie, **options, progress=lambda done, _total: done < 2)

    def test_the_table_is_a_sites_table(self, movie):
        table = validate_sites(detect_atoms(movie, source="a"), need=ATOM_COLUMNS)
        assert table.columns.tolist() == [*SITE_COLUMNS, *ATOM_COLUMNS]
        assert table.dtypes.astype(str).to_dict() == {
            **SITE_COLUMNS,
            **dict.fromkeys(ATOM_COLUMNS, "float64"),
        }
        assert table["site_id"].tolist() == list(range(len(table)))
        assert table.equals(table.sort_values(["source", "frame", "y", "x"]))
        assert set(table["kind"]) == {"atom"}
        assert set(table["source"]) == {"a"}
        assert sorted(set(table["frame"])) == [0, 1, 2]

    def test_the_source_is_the_name_of_the_frames(self, movie):
        frames = Frames(movie[0], name="movie.tif")
        assert set(detect_atoms(frames)["source"]) == {"movie.tif"}
        assert set(detect_atoms(frames, source="b")["source"]) == {"b"}

    def test_frame_by_frame_is_the_same(self, movie):
        parts = list(iter_detect_atoms(movie))
        assert [set(part["frame"]) for part in parts] == [{0}, {1}, {2}]
        pd.testing.assert_frame_equal(concat_sites(*parts), detect_atoms(movie))

    def test_a_channel_is_chosen(self, movie):
        both = np.stack([np.zeros_like(movie), movie], axis=1)
        want = detect_atoms(movie)
        pd.testing.assert_frame_equal(detect_atoms(both, channel=1), want)
        named = Frames(both, channels=("bf", "adf"))
        pd.testing.assert_frame_equal(detect_atoms(named, channel="adf"), want)
        with pytest.raises(InputError, match="no channel"):
            detect_atoms(named, channel="haadf")

    def test_progress_is_told(self, movie):
        calls = []
        detect_atoms(movie, progress=lambda done, total: calls.append((done, total)))
        assert calls == [(1, 3), (2, 3), (3, 3)]

    def test_progress_can_cancel(self, movie):
        calls = []

        def stop(done, total):
            calls.append(done)
            return done < 2

        with pytest.raises(Cancelled, match="2 of 3"):
            detect_atoms(movie, progress=stop)
        assert calls == [1, 2]

    def test_a_region_for_all_frames_or_for_each(self, movie):
        region = np.zeros(movie.shape[1:], bool)
        region[:, 60:] = True
        table = detect_atoms(movie, region=region)
        assert table["x"].min() >= 59.5
        everything = detect_atoms(movie)
        assert len(table) == (everything["x"].round() >= 60).sum()
        each = np.stack([region, ~region, region & False])
        table = detect_atoms(movie, region=each)
        assert table[table["frame"] == 0]["x"].min() >= 59.5
        assert table[table["frame"] == 1]["x"].max() <= 59.5
        assert not (table["frame"] == 2).any()
        with pytest.raises(InputError, match="region"):
            detect_atoms(movie, region=region[:50])

    def test_a_blank_frame_among_others_has_no_atoms(self, movie):
        noise = np.random.default_rng(1).poisson(20, movie.shape[1:]).astype(float)
        table = detect_atoms(np.stack([movie[0], np.full_like(noise, np.nan), noise, movie[1]]))
        count = table["frame"].value_counts()
        assert count.get(1, 0) == 0
        assert count.get(2, 0) <= 0.03 * count[0]


class TestOptions:
    def test_measured_values_can_be_given(self, found, bright):
        given_both = detect_atoms(bright.frame, sigma=SIGMA, neighbour_distance=SPACING)
        assert given_both["sigma"].to_numpy() == pytest.approx(SIGMA)
        assert len(given_both) == pytest.approx(len(found), abs=3)
        config = DetectConfig(sigma=2.5)
        assert detect_atoms(bright.frame, config)["sigma"].to_numpy() == pytest.approx(2.5)
        override = detect_atoms(bright.frame, config, sigma=3.0)
        assert override["sigma"].to_numpy() == pytest.approx(3.0)

    @pytest.mark.filterwarnings("ignore::napari_rvae.errors.NoLatticeWarning")
    def test_a_higher_threshold_finds_no_more(self, bright):
        points = bright.sites.sample(40, random_state=1)
        scene = draw(points["y"], points["x"], 12.0)
        low, high = (
            detect_atoms(scene.frame, sigma=SIGMA, neighbour_distance=SPACING, min_snr=snr)
            for snr in (5.0, 12.0)
        )
        assert set(map(tuple, places(high))) <= set(map(tuple, places(low)))

    def test_a_misspelt_option_is_an_error_at_once(self, bright):
        with pytest.raises(TypeError, match="min_snrr"):
            detect_atoms(bright.frame, min_snrr=4)
        with pytest.raises(InputError, match="sigma"):
            detect_atoms(bright.frame, sigma=-1.0)


class TestHardFrames:
    @pytest.mark.parametrize("noise", ["normal", "poisson"])
    def test_noise_gives_few_atoms_and_a_warning(self, noise):
        rng = np.random.default_rng(2)
        frames = rng.normal(0, 1, (3, 200, 200))
        if noise == "poisson":
            frames = rng.poisson(6, frames.shape)
        with pytest.warns(NoLatticeWarning, match="neighbour_distance"):
            table = detect_atoms(frames, source="noise")
        assert len(table) <= 3
        assert set(ATOM_COLUMNS) <= set(table.columns)

    def test_random_atoms_are_found_without_a_lattice(self):
        rng = np.random.default_rng(3)
        cells = np.stack(np.meshgrid(*[np.arange(6)] * 2), -1).reshape(-1, 2)
        points = 20 + 34 * cells + rng.uniform(-12, 12, (36, 2))
        scene = draw(*points[rng.random(36) < 0.8].T, 60.0)
        with pytest.warns(NoLatticeWarning):
            table = detect_atoms(scene.frame)
        assert scene.scores(table)["f1"] > 0.9
        assert table["lattice_support"].isna().all()

    @pytest.mark.parametrize("value", [1e3, 1e5, 1e30, -1e4])
    def test_hot_and_dead_pixels_hide_nothing(self, bright, rng, value):
        frame = bright.frame.copy()
        frame[tuple(rng.integers(0, SIDE, (2, 10)))] = value
        assert bright.scores(detect_atoms(frame))["f1"] > 0.98

    def test_missing_patches_are_left_alone(self, bright):
        frame = bright.frame.copy()
        frame[60:110, 90:150] = np.nan
        frame[:20] = np.inf
        table = detect_atoms(frame)
        row, column = places(table).round().astype(int).T
        assert np.isfinite(frame[row, column]).all()
        far = bright.sites.assign(
            y=bright.sites["y"].where(
                (bright.sites["y"] > 25)
                & ~(bright.sites["y"].between(55, 115) & bright.sites["x"].between(85, 155))
            )
        ).dropna()
        hit = [gap(places(table), place) < 0.3 * SPACING for place in places(far)]
        assert np.mean(hit) > 0.98

    @pytest.mark.parametrize("value", [0.0, 7.0, np.nan, np.inf, 1e30])
    def test_flat_frames_have_no_atoms(self, value):
        with pytest.warns(NoLatticeWarning):
            table = detect_atoms(np.full((2, 40, 50), value))
        assert len(table) == 0
        assert table.columns.tolist() == [*SITE_COLUMNS, *ATOM_COLUMNS]

    def test_flat_frames_with_a_known_scale(self):
        with pytest.warns(NoLatticeWarning):
            assert len(detect_atoms(np.zeros((40, 50)), sigma=2.0)) == 0

    @pytest.mark.parametrize("shape", [(0, 10), (5, 5), (3, 0, 40), (10,), (2, 2, 2, 20, 20)])
    def test_frames_that_are_none(self, shape):
        with pytest.raises(InputError):
            detect_atoms(np.zeros(shape))
        with pytest.raises(InputError, match="complex"):
            detect_atoms(np.zeros((20, 20), complex))


def _patterns(shape, rng):
    """Frames that nobody should hand in, and everybody does."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    spikes = np.zeros(shape)
    spikes[tuple(rng.integers(0, n, 5) for n in shape)] = 1.0
    noise = rng.normal(0, 1, shape)
    half = noise.copy()
    half[:, shape[1] // 2 :] = np.nan
    return {
        "spikes": spikes,
        "spikes on noise": 50 * spikes + noise,
        "huge spikes on noise": 1e30 * spikes + noise,
        "enormous spikes": 1e200 * spikes + noise,
        "negative spikes": noise - 1e12 * spikes,
        "one pixel": np.where((y == 3) & (x == 4), 1.0, 0.0),
        "gradient": y + 2 * x,
        "gradient with noise": 10 * y + noise,
        "rows": np.sin(y) + 0 * x,
        "columns": (x % 4 < 2).astype(float),
        "checkers": ((x + y) % 2).astype(float),
        "step": (x > shape[1] // 2).astype(float),
        "noise": noise,
        "faint noise": 1e-200 * noise,
        "offset": 1e15 + noise,
        "half missing": half,
        "scattered missing": np.where(rng.random(shape) < 0.5, np.nan, noise),
        "counts": rng.poisson(0.02, shape).astype(float),
    }


@pytest.mark.filterwarnings("ignore::napari_rvae.errors.NoLatticeWarning")
@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((8, 8), {}),
        ((8, 300), {"contrast": "dark"}),
        ((33, 57), {}),
        ((33, 57), {"sigma": 2.0}),
    ],
)
@pytest.mark.parametrize("name", sorted(_patterns((8, 8), np.random.default_rng(0))))
def test_strange_frames_give_a_table_and_no_other_warning(name, shape, options):
    frame = _patterns(shape, np.random.default_rng(1))[name]
    table = validate_sites(detect_atoms(frame, **options), need=ATOM_COLUMNS)
    numbers = table[["y", "x", "amplitude", "sigma", "background", "snr", "y_sd", "x_sd"]]
    assert np.isfinite(numbers.to_numpy()).all()
    assert table["y"].between(-0.5, shape[0] - 0.5).all()
    assert table["x"].between(-0.5, shape[1] - 0.5).all()
