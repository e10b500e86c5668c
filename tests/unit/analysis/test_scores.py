"""Scores against a known truth."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import least_squares

from napari_rvae.analysis.scores import (
    MIN_CLASS_SITES,
    angle_error,
    balanced_knn_recall,
    cramer_rao_bound,
    detection_scores,
    match_sites,
    scored_classes,
    spatial_blocks,
    sublattice_accuracy,
    unit_scores,
)
from napari_rvae.errors import InputError
from napari_rvae.render import render_gaussians
from napari_rvae.tables import concat_sites, make_sites

SHAPE = (64, 64)
points = st.lists(st.tuples(st.floats(0, 40), st.floats(0, 40)), max_size=15)


def as_sites(places, **columns):
    pairs = np.asarray(places, float).reshape(-1, 2)
    return make_sites(frame=0, y=pairs[:, 0], x=pairs[:, 1], **columns)


# ---------------------------------------------------------------- matching


@given(found=points, true=points, tolerance=st.floats(0.1, 20))
def test_matches_are_one_to_one_within_the_tolerance_and_symmetric(found, true, tolerance):
    left, right = as_sites(found), as_sites(true)
    pairs = match_sites(left, right, tolerance)
    assert np.unique(pairs[:, 0]).size == np.unique(pairs[:, 1]).size == len(pairs)
    ends = [t[["y", "x"]].to_numpy()[pairs[:, k]] for k, t in enumerate((left, right))]
    distance = np.hypot(*(ends[0] - ends[1]).T)
    assert (distance <= tolerance * (1 + 1e-9)).all()
    assert (np.diff(distance) >= -1e-12).all()
    assert len(match_sites(right, left, tolerance)) == len(pairs)


def test_the_closest_pair_wins():
    found, true = as_sites([(10, 10), (10, 12)]), as_sites([(10, 11.8)])
    assert match_sites(found, true, 5).tolist() == [[1, 0]]


def test_sites_of_other_frames_and_sources_do_not_match():
    here = make_sites(frame=[0, 1], y=[1.0, 5.0], x=[1.0, 5.0], source="a")
    there = make_sites(frame=[0, 1], y=[5.0, 5.0], x=[5.0, 5.0], source="a")
    assert match_sites(here, there, 1).tolist() == [[1, 1]]
    assert len(match_sites(here, there.assign(source="b"), 1)) == 0


def test_sites_without_a_position_match_nothing():
    assert len(match_sites(as_sites([(np.nan, 1)]), as_sites([(1, 1)]), 50)) == 0


def test_a_tolerance_must_be_positive():
    with pytest.raises(InputError, match="tolerance"):
        match_sites(as_sites([]), as_sites([]), 0)


# ---------------------------------------------------------------- detection


def scores(found, true, border=5.0):
    return detection_scores(
        as_sites(found), as_sites(true), tolerance=3, border=border, frame_shape=SHAPE
    )


def test_misses_and_false_atoms_are_counted():
    result = scores([(20.5, 20), (40, 40), (50, 50)], [(20, 20), (30, 30)])
    assert result["precision"] == pytest.approx(1 / 3)
    assert result["recall"] == pytest.approx(1 / 2)
    assert result["f1"] == pytest.approx(0.4)
    assert result["rmse"] == pytest.approx(math.sqrt(0.125))


@pytest.mark.parametrize(("found_y", "true_y"), [(5.4, 4.6), (4.6, 5.4), (5.4, 5.6), (4.6, 4.5)])
def test_an_atom_at_the_limit_is_neither_missed_nor_false(found_y, true_y):
    result = scores([(30, 30), (found_y, 30)], [(30, 30), (true_y, 30)])
    assert (result["precision"], result["recall"], result["f1"]) == (1, 1, 1)


def test_only_atoms_are_scored():
    atoms = as_sites([(20, 20)])
    others = make_sites(frame=1, y=[30.0], x=[30.0], kind="vacancy")
    result = detection_scores(
        concat_sites(atoms, others), atoms, tolerance=3, border=5, frame_shape=SHAPE
    )
    assert result["f1"] == 1


def test_without_atoms_nothing_is_divided_by_zero():
    assert all(math.isnan(value) for value in scores([], []).values())
    result = scores([], [(20, 20)])
    assert result["recall"] == result["f1"] == 0
    assert math.isnan(result["precision"])


# ---------------------------------------------------------------- the bound


def two_atoms(distance, amplitude=(80.0, 60.0)):
    y, x = [32.0, 32.0], [32.0, 32.0 + distance]
    table = make_sites(frame=0, y=y, x=x, amplitude=amplitude, sigma=[2.5, 2.5])
    return table, render_gaussians(y, x, amplitude, 2.5, SHAPE) + 5.0


def test_the_bound_of_a_lone_atom_is_the_textbook_one():
    """Constant noise s: sd = s / (A sqrt(pi / 2)), Gaussian on a fine grid."""
    table = make_sites(frame=0, y=[32.0], x=[32.0], amplitude=[50.0], sigma=[3.0])
    bound = cramer_rao_bound(table, np.zeros(SHAPE), 2.0, reach=12.0)
    assert bound == pytest.approx(np.full((1, 2), 2.0 / (50 * math.sqrt(math.pi / 2))), rel=1e-3)


def test_an_unknown_neighbour_widens_the_bound_along_the_bond():
    near, counts = two_atoms(6.0)
    joint = cramer_rao_bound(near, counts, 1.0, reach=8.0)
    alone = cramer_rao_bound(near, counts, 1.0, reach=3.0)
    assert (joint[:, 1] > 1.1 * alone[:, 1]).all()
    assert (joint[:, 0] < 1.1 * alone[:, 0]).all()


def test_the_bound_is_what_a_weighted_joint_fit_reaches():
    table, counts = two_atoms(7.0)
    bound = cramer_rao_bound(table, counts, 1.0, rows=[0], reach=8.0)[0]
    random, noise = np.random.default_rng(1), np.sqrt(counts + 1.0)

    def residual(p, image):
        model = render_gaussians(p[0:4:2], p[1:4:2], p[4:6], 2.5, SHAPE) + p[6]
        return ((model - image) / noise).ravel()[1100:3000]

    start = np.array([32.0, 32.0, 32.0, 39.0, 80.0, 60.0, 5.0])
    fits = [
        least_squares(residual, start, args=(random.normal(counts, noise),)).x for _ in range(60)
    ]
    assert np.std(fits, axis=0)[:2] == pytest.approx(bound, rel=0.25)


def test_the_bound_of_what_is_not_seen_is_infinite():
    table, counts = two_atoms(7.0, amplitude=(80.0, 0.0))
    assert np.isinf(cramer_rao_bound(table, counts, 1.0, reach=5.0)[1]).all()
    away = make_sites(frame=0, y=[500.0], x=[500.0], amplitude=[9.0], sigma=[1.0])
    assert np.isinf(cramer_rao_bound(away, counts, 1.0, reach=5.0)).all()


def test_the_bound_takes_the_frame_of_each_site():
    table = make_sites(frame=[0, 1], y=32.0 * np.ones(2), x=32.0 * np.ones(2), amplitude=[50, 50.0],
                       sigma=[3.0, 3.0])  # fmt: skip
    expected = np.stack([np.full(SHAPE, 10.0), np.full(SHAPE, 40.0)])
    first, second = cramer_rao_bound(table, expected, 0.0, reach=9.0)
    assert second == pytest.approx(2 * first)


# ---------------------------------------------------------------- angles

angles = st.integers(0, 10_000).map(
    lambda seed: np.random.default_rng(seed).uniform(-np.pi, np.pi, 400)
)


@given(true=angles, n=st.sampled_from([1, 2, 3, 4, 6]), offset=st.floats(-10, 10))
def test_one_offset_and_the_symmetry_are_removed(true, n, offset):
    turned = true + offset + 2 * np.pi / n * np.arange(true.size)
    assert angle_error(turned, true, n) == pytest.approx(0, abs=1e-6)


@settings(max_examples=20)
@given(true=angles, n=st.sampled_from([1, 2, 3, 6]))
def test_a_mirrored_angle_scores_like_a_random_one(true, n):
    assert angle_error(-true, true, n) == pytest.approx(90 / n, rel=0.2)


def test_the_error_is_the_mean_in_degrees():
    true = np.zeros(4)
    assert angle_error(np.radians([2, -2, 4, -4]), true) == pytest.approx(3)


def test_each_group_has_its_own_offset_and_symmetry():
    true = np.random.default_rng(0).uniform(-3, 3, 100)
    group = np.repeat(["a", "b"], 50)
    given_angle = true + np.where(group == "a", 0.5, 2.0)
    assert angle_error(given_angle, true) > 20
    n = np.where(group == "a", 1, 3)
    assert angle_error(given_angle, true, n, groups=group) == pytest.approx(0, abs=1e-6)
    with pytest.raises(InputError, match="symmetry"):
        angle_error(given_angle, true, n)


def test_missing_angles_are_left_out():
    assert angle_error([0.1, np.nan], [0.1, 0.2]) == pytest.approx(0)
    assert math.isnan(angle_error([np.nan], [0.0]))


@settings(max_examples=30)
@given(seed=st.integers(0, 1000), offset=st.floats(-3, 3))
def test_sublattices_are_told_apart_in_every_grain(seed, offset):
    random = np.random.default_rng(seed)
    sublattice, grain = random.integers(0, 2, 300), random.integers(0, 3, 300)
    angle = offset + grain + np.pi / 3 * sublattice + 2 * np.pi / 3 * random.integers(0, 3, 300)
    angle = angle + random.normal(0, 0.05, 300)
    assert sublattice_accuracy(angle, sublattice, grain) == 1


def test_random_angles_tell_no_sublattice():
    random = np.random.default_rng(0)
    share = sublattice_accuracy(
        random.uniform(-3, 3, 2000), random.integers(0, 2, 2000), np.zeros(2000)
    )
    assert 0.5 <= share < 0.55


def test_sites_without_sublattice_or_angle_are_left_out():
    assert sublattice_accuracy([0, 1.05, np.nan, 2], [0, 1, 0, -1], [0, 0, 0, 0]) == 1
    assert math.isnan(sublattice_accuracy([np.nan], [0], [0]))


# ---------------------------------------------------------------- classes


def test_small_and_missing_classes_are_not_scored():
    classes = ["bulk"] * MIN_CLASS_SITES + ["hole"] * (MIN_CLASS_SITES - 1) + ["", None]
    assert scored_classes(classes).sum() == MIN_CLASS_SITES


def test_a_drifting_site_stays_in_its_block():
    steps = np.arange(10)
    sites = make_sites(frame=steps, y=60.0 + steps, x=10.0 + 0 * steps)
    assert np.unique(spatial_blocks(sites, 64)).size == 2
    assert np.unique(spatial_blocks(sites, 64, track=np.zeros(10, int))).size == 1
    assert np.unique(spatial_blocks(sites, 64, track=np.full(10, -1))).size == 2


def latents(separation, seed=0):
    random = np.random.default_rng(seed)
    classes = np.repeat(["bulk", "edge", "dopant"], [3000, 300, 60])
    centre = pd.Series(classes).map({"bulk": 0.0, "edge": 1.0, "dopant": 2.0}).to_numpy()
    z = random.normal(0, 1, (classes.size, 3))
    z[:, 0] += separation * centre
    return z, classes, random.integers(0, 40, classes.size)


def test_separate_classes_are_recalled_and_equal_ones_are_not():
    assert balanced_knn_recall(*latents(20)) == 1
    assert balanced_knn_recall(*latents(0)) == pytest.approx(1 / 3, abs=0.1)


def test_the_score_repeats_itself():
    assert balanced_knn_recall(*latents(2), seed=3) == balanced_knn_recall(*latents(2), seed=3)


def test_what_is_known_of_a_place_only_does_not_help():
    """A latent that names the place, not the class, is of no use in another place."""
    random = np.random.default_rng(0)
    blocks = np.repeat(np.arange(20), 50)
    classes = np.where(blocks % 2, "a", "b")
    place = random.permutation(20)[blocks][:, None] + random.normal(0, 0.01, (1000, 1))
    assert balanced_knn_recall(place, classes, blocks) < 0.8


def test_missing_latents_and_untestable_classes_are_left_out():
    z, classes, blocks = latents(20)
    z[::7] = np.nan
    blocks[classes == "dopant"] = 0
    assert balanced_knn_recall(z, classes, blocks) == 1
    assert math.isnan(balanced_knn_recall(z, ["bulk"] * len(z), blocks))


def test_perfect_units_score_one():
    classes = np.repeat(["bulk", "edge", "dopant"], [3000, 300, 30])
    units = pd.factorize(classes)[0]
    result = unit_scores(units, classes)
    assert result == {"unit_macro_f1": 1, "rare_class_recall": 1, "n_units": 3, "unit_ari": 1}


def test_one_unit_for_all_loses_the_rare_classes():
    classes = np.repeat(["bulk", "edge", "dopant"], [3000, 300, 30])
    result = unit_scores(np.zeros(classes.size, int), classes)
    assert result["rare_class_recall"] == 0
    assert result["unit_macro_f1"] < 0.4
    assert result["unit_ari"] == pytest.approx(0)


def test_sites_without_unit_and_small_classes_are_left_out():
    classes = np.repeat(["bulk", "edge", "odd"], [100, 100, 5])
    units = np.repeat([0, 1, 2], [100, 100, 5])
    units[:10] = -1
    result = unit_scores(units, classes)
    assert result["unit_macro_f1"] == 1
    assert result["n_units"] == 3
    assert math.isnan(result["rare_class_recall"])


def test_without_any_unit_the_scores_are_nan():
    result = unit_scores([-1] * 50, ["bulk"] * 50)
    assert result["n_units"] == 0
    assert math.isnan(result["unit_macro_f1"])
