import dataclasses

import numpy as np
import pandas as pd
import pytest

from napari_rvae import (
    InputError,
    UnitModel,
    Units,
    apply_units,
    cut_units,
    find_units,
    load_run,
    merge_units,
    rename_unit,
    save_run,
    split_unit,
)
from napari_rvae.analysis.units.edit import cut_range
from napari_rvae.tables import make_sites

N_KINDS = 6


def _movie(honeycomb, seed, n_frames=4):
    """Sites of a lattice with five kinds of bright atoms, and features that tell them."""
    rng = np.random.default_rng(seed)
    points = honeycomb(260, 10.0)
    kind = np.where(rng.random(len(points)) < 0.35, rng.integers(1, N_KINDS, len(points)), 0)
    kind, frame = np.tile(kind, n_frames), np.repeat(np.arange(n_frames), len(points))
    y, x = (np.tile(points[:, axis], n_frames) for axis in (0, 1))
    amplitude = (1 + 0.6 * kind) * rng.normal(1, 0.03, kind.size)
    place = np.tile(np.arange(len(points)), n_frames)
    sites = make_sites(
        frame=frame, y=y, x=x, kind="atom", label=kind, amplitude=amplitude, lattice_track_id=place
    )
    centres = np.random.default_rng(3).normal(0, 1, (N_KINDS, 30))
    values = centres[sites["label"]] + rng.normal(0, 0.15, (len(sites), 30))
    features = pd.DataFrame(values, columns=[f"f{i}" for i in range(30)])
    features.insert(0, "site_id", sites["site_id"])
    return sites, features


@pytest.fixture
def movie(honeycomb):
    return _movie(honeycomb, 0)


@pytest.fixture
def units(movie):
    sites, features = movie
    return find_units(sites, features=features)


def _check(units):
    """Tables that belong together."""
    table, summary, finer = units.table, units.summary, units.environments
    known = table[table["unit"] >= 0]
    counts = known["unit"].value_counts().reindex(summary["unit"], fill_value=0)
    assert counts.tolist() == summary["count"].tolist()
    counts = known["environment"].value_counts().reindex(finer["environment"], fill_value=0)
    assert counts.tolist() == finer["count"].tolist()
    of = dict(zip(finer["environment"], finer["unit"], strict=True))
    assert known["environment"].map(of).tolist() == known["unit"].tolist()
    assert (known["unit_probability"] >= known["environment_probability"] - 1e-9).all()
    assert known["unit_probability"].between(0, 1).all()
    assert summary["name"].is_unique
    assert finer["name"].is_unique
    assert summary["color"].str.fullmatch("#[0-9a-f]{6}").all()
    assert summary["stability"].between(0, 1).all()


def test_units_have_two_levels_and_a_tree(units):
    _check(units)
    tree, n = units.tree, len(units.environments)
    assert tree["cost"].is_monotonic_increasing
    assert tree["node"].tolist() == list(range(n, n + len(tree)))
    assert tree["n_groups"].tolist() == list(range(n - 1, n - 1 - len(tree), -1))
    assert tree["n_groups"].iloc[-1] == units.summary["is_host"].sum()
    assert (tree[["first", "second"]].to_numpy() < tree[["node"]].to_numpy()).all()


def test_units_are_told_in_one_line(units):
    line = repr(units)
    assert "\n" not in line
    assert line.startswith(f"Units({N_KINDS} in ")
    assert all(repr(name) in line for name in units.names.values())


def test_kinds_that_are_found_again_from_every_start_are_stable(units):
    assert len(units) == N_KINDS
    assert (units.summary["stability"] > 0.9).all()


def test_merging_keeps_the_largest_and_leaves_the_old_as_it_was(units):
    before = units.table.copy()
    small, smaller = units.summary["unit"].iloc[[2, 4]]
    merged = merge_units(units, [smaller, small])
    _check(merged)
    pd.testing.assert_frame_equal(units.table, before)
    assert len(merged) == len(units) - 1
    assert merged.names == {k: v for k, v in units.names.items() if k != smaller}
    assert merged.colors == {k: v for k, v in units.colors.items() if k != smaller}
    moved = units.table["unit"].isin([small, smaller])
    assert (merged.table.loc[moved, "unit"] == small).all()
    assert merged.table.loc[~moved].equals(units.table.loc[~moved])


def test_splitting_undoes_a_merger(units):
    merged = merge_units(units, [1, 2, 3])
    split = split_unit(merged, 1)
    _check(split)
    assert len(split) == len(merged) + 1
    assert split.names[1] == units.names[1]
    whole = set(units.table.groupby("unit")["site_id"].agg(frozenset))
    for _ in range(2):
        groups = split.table.groupby("unit")["site_id"].agg(frozenset)
        mixed = [unit for unit, sites in groups.items() if sites not in whole]
        split = split_unit(split, mixed[0]) if mixed else split
    assert set(split.table.groupby("unit")["site_id"].agg(frozenset)) == whole
    single = units.environments.groupby("unit").size()
    with pytest.raises(InputError, match="single environment"):
        split_unit(units, int(single[single == 1].index[0]))


def test_a_name_by_hand_stays(units):
    named = rename_unit(units, 2, "  Si with three C ")
    assert named.names[2] == "Si with three C"
    assert named.colors == units.colors
    assert merge_units(named, [3, 4]).names[2] == "Si with three C"
    assert cut_units(named, len(units)).names[2] == "Si with three C"
    with pytest.raises(InputError, match="of its own"):
        rename_unit(named, 1, "Si with three C")
    with pytest.raises(InputError, match="at least"):
        rename_unit(named, 1, "  ")
    with pytest.raises(InputError, match="no unit 99"):
        rename_unit(named, 99, "x")


def test_environments_are_called_by_the_new_name(units):
    called = [
        "host",
        "edge (2), next to host",
        "edge, next to gap and edge (2)",
        "gap: C beside Si",
    ]
    called += ["edge (2), next to gap (2)", "host (2), next to edge and gap"]
    number = dict(zip(units.names, ["host", "edge", "edge (2)", "gap", "x", "y"], strict=True))
    finer = pd.DataFrame(
        {"environment": range(6), "unit": [0, 1, 1, 3, 2, 0], "name": called, "count": 1}
    )
    old = dataclasses.replace(
        units, summary=units.summary.assign(name=list(number.values())), environments=finer
    )

    def after(unit, name):
        return rename_unit(old, unit, name).environments["name"].tolist()

    # the second environment of "edge" is no "edge (2)", which is a unit of its own
    assert after(2, "rim") == [*called[:2], "edge, next to gap and rim", called[3],
                               "rim, next to gap (2)", called[5]]  # fmt: skip
    assert after(1, "rim")[1:3] == ["rim (2), next to host", "rim, next to gap and edge (2)"]
    assert after(1, "rim")[5] == "host (2), next to rim and gap"
    assert after(3, "hole")[2:5] == ["edge, next to hole and edge (2)", "hole: C beside Si",
                                     "edge (2), next to hole (2)"]  # fmt: skip
    assert after(0, "C")[::5] == ["C", "C (2), next to edge and gap"]
    assert old.environments["name"].tolist() == called


def test_cutting_leaves_no_unit_without_sites(units, honeycomb):
    sites, features = _movie(honeycomb, 1, n_frames=2)
    few = sites["label"].to_numpy() < 3
    there = apply_units(units, sites[few], features=features)
    present = there.environments["count"] > 0
    fewest, most = cut_range(there)
    assert (fewest, most) == (1, present.sum())
    assert most < len(there.environments)
    for n_units in range(fewest, most + 1):
        cut = cut_units(there, n_units)
        _check(cut)
        assert len(cut) == n_units
        assert (cut.summary["count"] > 0).all()
    assert cut_range(units) == (1, len(units.environments))


@pytest.mark.parametrize("n_units", [1, 2, 4, 6, 100])
def test_cutting_moves_along_the_tree(units, n_units):
    cut = cut_units(units, n_units)
    _check(cut)
    n_environments = len(units.environments)
    assert len(cut) == min(max(n_units, n_environments - len(units.tree)), n_environments)
    for unit, name in cut.names.items():
        if unit in units.names:
            assert name == units.names[unit]
    back = cut_units(cut, len(units))
    assert back.table["unit"].nunique() == len(units)


def test_units_are_recognised_in_another_movie(units, honeycomb):
    named = rename_unit(merge_units(units, [4, 5]), 1, "first")
    sites, features = _movie(honeycomb, 1, n_frames=2)
    applied = apply_units(named, sites, features=features)
    _check(applied)
    assert applied.names == named.names
    assert applied.colors == named.colors
    truth = pd.crosstab(applied.table["unit"], sites["label"].to_numpy())
    assert (truth.max(axis=1) == truth.sum(axis=1)).drop(4, errors="ignore").all()
    only = sites["label"].to_numpy() == 0
    alone = apply_units(named, sites[only], features=features)
    assert alone.names == named.names
    assert alone.summary["count"].tolist()[1:] == [0] * (len(named) - 1)
    with pytest.raises(InputError, match="same model"):
        apply_units(named, sites, features=features.rename(columns={"f0": "g0"}))


def test_a_new_search_finds_the_same_units_by_name(units, movie, honeycomb):
    sites, features = movie
    named = rename_unit(units, 3, "my unit")
    again = find_units(sites, features=features, seed=5, like=named)
    assert again.names == named.names
    assert again.colors == named.colors
    assert (again.table["unit"] == named.table["unit"]).mean() > 0.99
    others, values = _movie(honeycomb, 2)
    found = find_units(others, features=values, like=named)
    label = others["label"].to_numpy()[found.table["unit"] == 3]
    old = sites["label"].to_numpy()[named.table["unit"] == 3]
    assert set(label) == set(old)
    assert found.names[3] == "my unit"


def test_a_unit_that_is_new_gets_a_number_of_its_own(movie):
    sites, features = movie
    few = sites["label"].to_numpy() < 4
    old = find_units(sites, features=features[few])
    new = find_units(sites, features=features, like=old)
    assert set(old.names.items()) <= set(new.names.items())
    fresh = set(new.names) - set(old.names)
    assert fresh
    assert min(fresh) > max(old.names)
    assert len(set(new.colors.values())) == len(new)


def test_units_come_back_from_a_run(tmp_path, movie, units):
    sites, _ = movie
    units = rename_unit(units, 1, "mine")
    folder = save_run(tmp_path / "run", sites=sites, units=units)
    loaded = load_run(folder).units
    assert loaded.names[1] == "mine"
    for name in ("table", "environments", "tree"):
        pd.testing.assert_frame_equal(getattr(loaded, name), getattr(units, name))
    merged, before = merge_units(loaded, [2, 3]), merge_units(units, [2, 3])
    assert merged.table["unit"].equals(before.table["unit"])
    assert np.allclose(merged.table["unit_probability"], before.table["unit_probability"])
    save_run(folder, sites=sites, overwrite=True)
    assert load_run(folder).units is None
    assert not list(folder.glob("unit_*"))


def test_a_model_goes_to_arrays_and_back(units, movie):
    sites, features = movie
    arrays = units.model.arrays()
    same = dataclasses.replace(units, model=UnitModel.from_arrays(arrays))
    applied = apply_units(same, sites, features=features)
    assert (applied.table["unit"] == units.table["unit"]).mean() > 0.999
    with pytest.raises(InputError, match="no model of units"):
        UnitModel.from_arrays({"mean": arrays["mean"]})
    with pytest.raises(InputError, match="do not fit"):
        UnitModel.from_arrays({**arrays, "mean": arrays["mean"][:-1]})


def test_units_of_an_older_run_can_be_renamed_only():
    table = pd.DataFrame({"site_id": [0, 1], "unit": [0, 1], "unit_probability": [1.0, 1.0]})
    summary = pd.DataFrame({"unit": [0, 1], "name": ["host", "other"], "count": [1, 1]})
    old = Units(table, summary)
    assert rename_unit(old, 1, "mine").names == {0: "host", 1: "mine"}
    assert len(set(old.colors.values())) == 2
    for edit in (
        lambda: merge_units(old, [0, 1]),
        lambda: split_unit(old, 0),
        lambda: cut_units(old, 1),
        lambda: apply_units(old, make_sites(frame=0, y=[1.0], x=[1.0])),
    ):
        with pytest.raises(InputError, match="find them again"):
            edit()


def test_probabilities_of_all_units_go_with_edits(movie, units):
    merged = merge_units(units, [1, 2])
    for found in (units, merged):
        chances = found.probabilities.set_index("site_id")
        known = found.table[found.table["unit"] >= 0].set_index("site_id")
        assert chances.loc[known.index].sum(axis=1).to_numpy() == pytest.approx(1)
        best = chances.loc[known.index].max(axis=1).to_numpy()
        assert best == pytest.approx(known["unit_probability"].to_numpy())
        assert list(chances) == [f"unit_{unit}" for unit in found.summary["unit"]]
    without = movie[1].iloc[5:]
    assert find_units(movie[0], features=without).probabilities.iloc[:5, 1:].isna().all(axis=None)
    assert Units(units.table, units.summary).probabilities is None
