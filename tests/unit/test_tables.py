import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_rvae.errors import InputError
from napari_rvae.tables import (
    SITE_COLUMNS,
    bond_distance,
    concat_sites,
    distance_spread,
    fold_angle,
    group_rows,
    join_latents,
    latent_names,
    make_sites,
    neighbour_distance,
    validate_sites,
)
from strategies import angles, latents_tables, one_source_tables, orders, sites_tables


@given(one_source_tables())
def test_made_tables_are_sorted_numbered_and_typed(table):
    assert dict(table[list(SITE_COLUMNS)].dtypes.astype(str)) == SITE_COLUMNS
    assert table["site_id"].tolist() == list(range(len(table)))
    keys = list(zip(table["frame"], table["y"], table["x"], strict=True))
    assert keys == sorted(keys)
    assert validate_sites(table) is table


def test_further_columns_move_with_their_rows():
    table = make_sites(frame=[1, 0], y=[5.0, 6.0], x=0 * np.ones(2), name=["late", "early"])
    assert table["name"].tolist() == ["early", "late"]


def test_an_empty_table_has_all_columns():
    table = make_sites(frame=0, y=[], x=[])
    assert dict(table.dtypes.astype(str)) == SITE_COLUMNS
    assert group_rows(table) == []
    assert math.isnan(neighbour_distance(table))


def test_positions_of_unequal_number_are_refused():
    with pytest.raises(InputError):
        make_sites(frame=0, y=[1.0, 2.0], x=[1.0])


def test_frame_numbers_that_are_not_whole_are_refused():
    with pytest.raises(InputError):
        make_sites(frame=[0.5], y=[1.0], x=[1.0])


def test_an_unknown_kind_is_refused_at_once():
    with pytest.raises(InputError):
        make_sites(frame=0, y=[1.0], x=[1.0], kind="atoms")


def test_source_and_kind_may_be_left_out():
    table = make_sites(frame=0, y=[1.0], x=[2.0]).drop(columns=["source", "kind"])
    completed = validate_sites(table)
    assert completed.loc[0, ["source", "kind"]].tolist() == ["", "atom"]
    assert "kind" not in table


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"site_id": [0, 0]}, "duplicates"),
        ({"site_id": [0.0, 1.0]}, "whole numbers"),
        ({"frame": ["a", "b"]}, "'frame' is of type"),
        ({"y": ["a", "b"]}, "'y' is of type"),
        ({"kind": ["atom", "dog"]}, "dog"),
    ],
)
def test_a_wrong_column_is_named(change, message):
    table = make_sites(frame=0, y=[1.0, 2.0], x=[0.0, 0.0]).assign(**change)
    with pytest.raises(InputError, match=message):
        validate_sites(table)


def test_missing_columns_are_named():
    table = make_sites(frame=0, y=[1.0], x=[0.0])
    with pytest.raises(InputError, match="lacks the column x"):
        validate_sites(table.drop(columns="x"))
    with pytest.raises(InputError, match="lacks the column unit, z0"):
        validate_sites(table, need=("unit", "z0"))
    with pytest.raises(InputError, match="give a pandas DataFrame"):
        validate_sites([1, 2])


@given(sites_tables())
def test_groups_hold_every_row_once(table):
    groups = group_rows(table)
    rows = np.concatenate([rows for _, _, rows in groups] or [np.empty(0, int)])
    assert sorted(rows.tolist()) == list(range(len(table)))
    for source, frame, rows in groups:
        assert set(table["source"].iloc[rows]) == {source}
        assert set(table["frame"].iloc[rows]) == {frame}


def test_a_source_without_a_name_loses_no_rows():
    # an empty name comes back from a CSV file as NaN
    table = make_sites(frame=0, y=[0.0, 0.0, 0.0], x=[0.0, 5.0, 10.0])
    table["source"] = pd.Series([np.nan] * 3, dtype="str")
    table = validate_sites(table)
    assert sum(rows.size for _, _, rows in group_rows(table)) == 3


@given(st.data(), sites_tables())
def test_a_join_keeps_the_number_and_order_of_the_sites(data, table):
    latents = data.draw(latents_tables(table["site_id"]))
    joined = join_latents(table, latents)
    assert joined["site_id"].tolist() == table["site_id"].tolist()
    assert joined["y"].tolist() == table["y"].tolist()
    there = joined["site_id"].isin(latents["site_id"])
    assert (joined.loc[there, "z0"] == joined.loc[there, "site_id"]).all()
    assert joined.loc[~there, ["z0", "angle"]].isna().all(axis=None)
    assert joined["unit"].dtype == np.int64
    assert (joined.loc[~there, "unit"] == -1).all()


@given(st.data(), sites_tables())
def test_joining_twice_is_joining_once(data, table):
    latents = data.draw(latents_tables(table["site_id"]))
    once = join_latents(table, latents)
    pd.testing.assert_frame_equal(join_latents(once, latents), once)


def test_a_join_leaves_its_arguments_alone():
    table = make_sites(frame=0, y=[1.0], x=[0.0], z0=[7.0])
    latents = pd.DataFrame({"site_id": [0], "z0": [8.0]})
    assert join_latents(table, latents)["z0"].tolist() == [8.0]
    assert table["z0"].tolist() == [7.0]


@pytest.mark.parametrize("latents", [{"z0": [1.0]}, {"site_id": [0, 0], "z0": [1.0, 2.0]}])
def test_a_join_needs_unique_numbers(latents):
    with pytest.raises(InputError, match="site_id"):
        join_latents(make_sites(frame=0, y=[1.0], x=[0.0]), pd.DataFrame(latents))


@given(one_source_tables(source="a"), one_source_tables(source="b"))
def test_tables_put_together_keep_every_row(first, second):
    both = concat_sites(first, second)
    assert both["site_id"].tolist() == list(range(len(first) + len(second)))
    for part in (first, second):
        again = both[both["source"].isin(part["source"])].reset_index(drop=True)
        if len(part):
            pd.testing.assert_frame_equal(
                again.drop(columns="site_id"), part.drop(columns="site_id")
            )


def test_the_same_frame_twice_is_refused():
    table = make_sites(frame=2, y=[1.0], x=[0.0], source="m")
    with pytest.raises(InputError, match="Frame 2 of source 'm'"):
        concat_sites(table, table)
    with pytest.raises(InputError, match="no table"):
        concat_sites()


def test_columns_of_one_table_are_nan_in_the_other():
    first = make_sites(frame=0, y=[1.0], x=[0.0], snr=[4.0])
    both = concat_sites(first, make_sites(frame=1, y=[1.0], x=[0.0]))
    assert both["snr"].isna().tolist() == [False, True]


@pytest.mark.parametrize("distance", [3.0, 14.5])
def test_neighbour_distance_is_the_median_over_frames(distance):
    y, x = distance * np.mgrid[:5, :5].reshape(2, -1)
    frames = [make_sites(frame=k, y=y, x=x) for k in range(3)]
    stray = make_sites(frame=3, y=[0.0, 0.0, 0.0], x=[0.0, 1.0, 2.0])
    assert neighbour_distance(concat_sites(*frames, stray)) == pytest.approx(distance)


def test_neighbour_distance_bears_twins_and_nan():
    table = make_sites(frame=0, y=[0, 0, 0, 0, np.nan], x=[0.0, 0.0, 7.0, 14.0, 3.0])
    assert neighbour_distance(table) == pytest.approx(7.0)


def test_distances_scatter_less_in_a_lattice_than_at_random():
    y, x = (index.ravel() * 10.0 for index in np.indices((12, 12)))
    rng = np.random.default_rng(0)
    shaken = make_sites(frame=0, y=y + rng.normal(0, 0.3, y.size), x=x + rng.normal(0, 0.3, y.size))
    anywhere = make_sites(frame=0, y=rng.random(500) * 120, x=rng.random(500) * 120)
    assert distance_spread(shaken) < 0.08
    assert distance_spread(anywhere) == pytest.approx(0.77, abs=0.1)
    assert math.isnan(distance_spread(anywhere[:2]))


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.04])
def test_the_bonds_of_a_noisy_lattice_are_as_long_as_they_are(noise):
    rows, columns = (index.ravel().astype(float) for index in np.indices((30, 30)))
    offsets = (np.zeros(2), np.array([0.0, 1.0]))  # honeycomb: y, x of the two sublattices
    places = np.concatenate(
        [np.stack([1.5 * rows, np.sqrt(3) * (columns + rows / 2)], 1) + o[::-1] for o in offsets]
    )
    places = 12.0 * (places + np.random.default_rng(0).normal(0, noise, places.shape))
    table = make_sites(frame=0, y=places[:, 0], x=places[:, 1])
    assert bond_distance(table) == pytest.approx(12.0, rel=0.012)
    if noise:
        assert neighbour_distance(table) < 11.8
    assert math.isnan(bond_distance(table[:2]))


def test_bonds_are_not_mixed_with_the_next_shell():
    rows, columns = (index.ravel().astype(float) for index in np.indices((30, 30)))
    # fcc along [110]: four neighbours at 0.612 a, two at 0.707 a
    places = 20.0 * np.stack([rows / 2, (columns + (rows % 2) / 2) / np.sqrt(2)], 1)
    places += np.random.default_rng(0).normal(0, 0.3, places.shape)
    table = make_sites(frame=0, y=places[:, 0], x=places[:, 1])
    assert bond_distance(table) == pytest.approx(20 * np.sqrt(3 / 8), rel=0.005)


def test_neighbour_distance_needs_one_source_and_three_sites():
    first, second = (make_sites(frame=0, y=[0.0], x=[0.0], source=s) for s in "ab")
    assert math.isnan(neighbour_distance(first))
    with pytest.raises(InputError, match="several sources"):
        neighbour_distance(concat_sites(first, second))


@given(angles, orders)
def test_folded_angles_lie_in_one_period_and_mean_the_same(angle, n):
    folded = float(fold_angle(angle, n))
    assert -math.pi / n < folded <= math.pi / n
    turns = (angle - folded) * n / (2 * math.pi)
    assert turns == pytest.approx(round(turns), abs=1e-9)


@given(angles, orders)
def test_folding_twice_is_folding_once(angle, n):
    once = fold_angle(angle, n)
    assert fold_angle(once, n) == once


@pytest.mark.parametrize("n", [1, 2, 3, 6])
def test_the_ends_of_the_period(n):
    assert fold_angle(math.pi / n, n) == pytest.approx(math.pi / n)
    assert fold_angle(-math.pi / n, n) == pytest.approx(math.pi / n)


def test_the_two_sublattices_of_graphene_are_sixty_degrees_apart():
    g = 0.1
    first, second = fold_angle([g, g + math.pi], 3)
    assert abs(fold_angle(first - second, 3)) == pytest.approx(math.pi / 3)


def test_nan_stays_nan_and_a_bad_order_is_refused():
    assert np.isnan(fold_angle([np.nan, 1.0], 2)).tolist() == [True, False]
    with pytest.raises(InputError, match="order"):
        fold_angle(0.0, 0)


def test_latent_names_are_in_order_of_number():
    table = pd.DataFrame(columns=["z10", "z2", "z0_sd", "zone", "z0"])
    assert latent_names(table) == ["z0", "z2", "z10"]
