import dataclasses
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_rvae import RVAE, Cancelled, Crops, InputError, UnitConfig, join_latents
from napari_rvae.analysis.appearance import unit_names
from napari_rvae.analysis.tracks import link_sites
from napari_rvae.analysis.units import Units, apply_units, find_units
from napari_rvae.analysis.units.surroundings import bonds_of, environment_names
from napari_rvae.tables import concat_sites, make_sites
from strategies import sites_tables

N_FEATURES = 40


def _features(sites, label, rng, *, noise=0.15, spread=1.0):
    """Rotation-invariant features: a centre for each label, a common factor, and noise."""
    centres = np.random.default_rng(7).normal(0, spread, (label.max() + 1, N_FEATURES))
    factor = rng.normal(0, 0.3, len(label))[:, None] * np.linspace(-1, 1, N_FEATURES)
    values = centres[label] + factor + rng.normal(0, noise, (len(label), N_FEATURES))
    table = pd.DataFrame(values, columns=[f"f{i}" for i in range(N_FEATURES)])
    table.insert(0, "site_id", sites["site_id"].to_numpy())
    return table


@pytest.fixture
def crystal(honeycomb, rng):
    """A crystal in six frames: host, bright atoms, places beside a gap; columns label, features."""
    points = honeycomb(260, 10.0)
    label = np.zeros(len(points), int)
    tree = np.hypot(*(points[:, None] - points[None]).transpose(2, 0, 1))
    chosen = rng.choice(np.flatnonzero((np.abs(points - 130) < 100).all(1)), 24, replace=False)
    gaps, bright = chosen[:8], chosen[8:]
    label[bright] = 1
    label[((tree[gaps] > 1) & (tree[gaps] < 11)).any(0) & (label == 0)] = 2
    kept = np.setdiff1d(np.arange(len(points)), gaps)
    frame = np.repeat(np.arange(6), kept.size)
    y, x = (np.tile(points[kept, axis], 6) + rng.normal(0, 0.2, frame.size) for axis in (0, 1))
    label = np.tile(label[kept], 6)
    amplitude = np.where(label == 1, 3.0, 1.0) * rng.normal(1, 0.08, frame.size)
    sites = make_sites(frame=frame, y=y, x=x, label=label, amplitude=amplitude)
    return link_sites(sites), _features(sites, sites["label"].to_numpy(), rng)


@pytest.fixture
def perovskite_like(rng):
    """Two sublattices, half the sites each, told apart by brightness and by the features."""
    y, x = 10.0 * np.indices((24, 24)).reshape(2, -1)
    label = ((y + x) / 10 % 2).astype(int)
    amplitude = np.where(label == 1, 2.0, 1.0) * rng.normal(1, 0.05, label.size)
    sites = make_sites(frame=0, y=y, x=x, label=label, amplitude=amplitude)
    return sites, _features(sites, sites["label"].to_numpy(), rng)


def _recall(units, sites, label):
    """Best share of a label's sites that one unit holds, where it is that unit's main label."""
    table = pd.crosstab(sites["label"], units.table.set_index("site_id")["unit"].to_numpy())
    own = table.loc[label, table.idxmax() == label]
    return own.sum() / table.loc[label].sum()


def test_planted_units_are_found_and_named(crystal):
    sites, features = crystal
    units = find_units(sites.sort_values("site_id"), features=features)
    assert all(_recall(units, sites, label) > 0.95 for label in (0, 1, 2))
    assert units.names[0] == "host"
    assert any(name.startswith("bright, 3 neighbours") for name in units.names.values())
    assert "beside vacancy" in units.names.values()
    blind = find_units(sites, features=features, geometry=False)
    assert any(name.startswith("2 neighbours") for name in blind.names.values())
    assert units.summary["relative_amplitude"].iloc[0] == 1


def test_the_tables_are_whole_and_agree(crystal):
    sites, features = crystal
    units = find_units(sites, features=features.iloc[:-100])
    table, summary = units.table, units.summary
    assert table.dtypes.astype(str).tolist() == ["int64", "int64", "float64", "int64", "float64"]
    assert len(table) == len(sites)
    known = table[table["unit"] >= 0]
    assert len(table) - len(known) == 100
    assert table.loc[table["unit"] < 0, "unit_probability"].isna().all()
    assert known["unit_probability"].between(0, 1).all()
    assert summary["unit"].tolist() == list(range(len(units)))
    assert summary["name"].is_unique
    assert summary["count"].tolist() == known["unit"].value_counts().sort_index().tolist()
    assert summary["share"].sum() == pytest.approx(1)
    assert summary["count"].iloc[1:].is_monotonic_decreasing
    assert summary["n_places"].le(summary["count"]).all()
    assert join_latents(sites, table)["unit"].dtype == "int64"


def test_saved_tables_make_the_same_units(crystal, tmp_path):
    sites, features = crystal
    units = find_units(sites, features=features)
    for name, table in (("table", units.table), ("summary", units.summary)):
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    again = Units(*(pd.read_csv(tmp_path / f"{name}.csv") for name in ("table", "summary")))
    assert again.names == units.names
    with pytest.raises(InputError, match="lacks the column unit_probability"):
        Units(units.table.drop(columns="unit_probability"), units.summary)
    with pytest.raises(InputError, match="lacks the unit 0"):
        Units(units.table, units.summary.iloc[1:])


def test_the_same_seed_and_any_order_of_rows_give_the_same(crystal):
    sites, features = crystal
    first = find_units(sites, features=features, seed=3).table.set_index("site_id")
    mixed = find_units(
        sites.sample(frac=1, random_state=1), features=features.sample(frac=1, random_state=2),
        seed=3,
    )  # fmt: skip
    pd.testing.assert_frame_equal(first, mixed.table.set_index("site_id").loc[first.index])


def test_a_movie_that_is_not_linked_is_linked(crystal):
    sites, features = crystal
    linked = find_units(sites, features=features)
    plain = sites.drop(columns=["track_id", "lattice_track_id"])
    found = find_units(plain, features=features)
    assert np.array_equal(found.table["unit"], linked.table["unit"])
    assert found.summary["n_places"].tolist() == linked.summary["n_places"].tolist()
    walls = find_units(plain.assign(kind="wall"), features=features)  # they move: no places
    assert walls.summary["n_places"].tolist() == walls.summary["count"].tolist()


def test_rows_come_in_the_order_of_the_sites(crystal):
    sites, features = crystal
    mixed = sites.sample(frac=1, random_state=1)
    found = find_units(mixed, features=features)
    assert found.table["site_id"].tolist() == mixed["site_id"].tolist()


@pytest.mark.parametrize("seed", range(3))
def test_a_pristine_lattice_is_one_unit(honeycomb, seed):
    rng = np.random.default_rng(seed)
    y, x = honeycomb(300, 10.0).T
    sites = make_sites(frame=0, y=y, x=x, amplitude=rng.normal(1, 0.1, y.size))
    units = find_units(sites, features=_features(sites, np.zeros(y.size, int), rng))
    assert units.names == {0: "host"}
    assert units.table["unit"].eq(0).all()


@pytest.mark.parametrize("phases", [1, 2])
def test_a_ramp_of_thickness_makes_no_unit_and_hides_no_phase(honeycomb, rng, phases):
    """Features know how thick it is, by the noise at least; a step is another phase."""
    y, x = honeycomb(300, 10.0).T
    thickness = 0.5 + x / 300
    label = np.where(y > 160, phases - 1, 0)
    amplitude = thickness * np.where(label, 1.5, 1.0) * rng.normal(1, 0.08, y.size)
    sites = make_sites(frame=0, y=y, x=x, label=label, amplitude=amplitude)
    features = _features(sites, sites["label"].to_numpy(), rng)
    for column in features.columns[1:11]:
        features[column] += 3 * sites["x"].to_numpy() / 300
    units = find_units(sites, features=features)
    assert len(units) == phases
    assert all(_recall(units, sites, number) > 0.95 for number in range(phases))


def test_where_no_latent_is_in_use_there_is_one_unit_and_the_log_says_so(rng, caplog):
    """Features of noise have valleys; a model that uses no latent has found nothing."""
    y, x = 12.0 * np.indices((20, 20)).reshape(2, -1)
    sites = make_sites(frame=0, y=y, x=x, kind="grid", z0=rng.normal(0, 0.03, y.size), z0_sd=1.0)
    features = _features(sites, rng.integers(0, 4, y.size), rng)
    assert find_units(sites, features=features).names == {0: "host"}
    assert "No latent is in use" in caplog.text
    used = sites.assign(z0=rng.normal(0, 1, y.size), z0_sd=0.5)
    assert len(find_units(used, features=features)) == 4
    atoms = sites.assign(kind="atom", amplitude=1.0)  # these have looks to go by
    caplog.clear()
    find_units(atoms, features=features)
    assert "No latent is in use" not in caplog.text


def test_surroundings_of_host_like_atoms_are_host(honeycomb, rng):
    y, x = honeycomb(300, 10.0).T
    label = (rng.random(y.size) < 0.2).astype(int)  # seen by the features, not by the atom
    sites = make_sites(frame=0, y=y, x=x, label=label, amplitude=rng.normal(1, 0.1, y.size))
    inside = sites[(sites[["y", "x"]] > 20).all(axis=1) & (sites[["y", "x"]] < 280).all(axis=1)]
    features = _features(sites, sites["label"].to_numpy(), rng)
    features = features[features["site_id"].isin(inside["site_id"])]
    assert find_units(sites, features=features).names == {0: "host"}
    blind = find_units(sites.drop(columns="amplitude"), features=features)
    assert len(blind) > 1  # without brightness nobody knows what the atoms are


def test_two_sublattices_are_two_hosts(perovskite_like):
    sites, features = perovskite_like
    units = find_units(sites, features=features)
    assert sorted(units.names.values()) == ["bright host", "dim host"]
    assert all(_recall(units, sites, label) == 1 for label in (0, 1))
    blind = find_units(sites.drop(columns="amplitude"), features=features)
    assert len(blind) == 2


def test_many_rare_kinds_together_are_no_host(honeycomb, rng):
    """A quarter of the sites, but of five kinds: what they look like is no measure of anything."""
    y, x = honeycomb(400, 10.0).T
    label = np.where(rng.random(y.size) < 0.25, rng.integers(1, 6, y.size), 0)
    amplitude = (1 + 0.5 * label) * rng.normal(1, 0.05, y.size)
    sites = make_sites(frame=0, y=y, x=x, label=label, amplitude=amplitude)
    features = _features(sites, sites["label"].to_numpy(), rng)
    apart = sites["label"].to_numpy() > 0
    features.loc[apart, "f0"] += 30  # a valley between the host and all others
    units = find_units(sites, features=features)
    assert units.summary["is_host"].sum() == 1
    assert len(units) == 6


def test_features_that_fall_in_two_by_noise_are_one_host(honeycomb, rng):
    y, x = honeycomb(300, 10.0).T
    sites = make_sites(frame=0, y=y, x=x, amplitude=rng.normal(1, 0.1, y.size))
    features = _features(sites, rng.integers(0, 2, y.size), rng)
    assert len(find_units(sites, features=features)) == 1


def test_features_that_halve_the_noise_of_the_amplitude_are_one_host(honeycomb, rng):
    """Features know the brightness of a crop, noise included, and may fall in two along it."""
    y, x = honeycomb(300, 10.0).T
    amplitude = rng.normal(1, 0.1, y.size)
    sites = make_sites(frame=0, y=y, x=x, amplitude=amplitude, label=(amplitude > 1).astype(int))
    features = _features(sites, sites["label"].to_numpy(), rng)
    assert len(find_units(sites, features=features)) == 1


def test_latents_serve_as_features(crystal):
    sites, features = crystal
    axes = np.linalg.svd(features.iloc[:, 1:] - features.iloc[:, 1:].mean())[2][:4]
    latents = pd.DataFrame(
        features.iloc[:, 1:].to_numpy() @ axes.T, columns=["z0", "z1", "z2", "z3"]
    )
    latents.insert(0, "site_id", features["site_id"])
    units = find_units(join_latents(sites, latents))
    assert all(_recall(units, sites, label) > 0.9 for label in (0, 1, 2))


def _star(order, angle):
    """Picture (24, 24) of an atom among `order` neighbours."""
    line = np.arange(24) - 11.5
    phi = angle + 2 * np.pi * np.arange(order) / order
    y, x = -8 * np.sin(phi), 8 * np.cos(phi)
    rows = np.exp(-0.5 * ((line - y[:, None]) / 1.8) ** 2)
    middle = np.exp(-0.5 * (line[:, None] ** 2 + line**2) / 1.8**2)
    return rows.T @ np.exp(-0.5 * ((line - x[:, None]) / 1.8) ** 2) + middle


def _stars(orders, rng):
    """Crops of atoms among so many neighbours, turned at random."""
    angles = rng.uniform(-np.pi, np.pi, len(orders))
    images = np.stack([_star(n, a) for n, a in zip(orders, angles, strict=True)])
    images += rng.normal(0, 0.1, images.shape) - images.mean((1, 2), keepdims=True)
    return images[:, None].astype(np.float32)


def test_a_model_tells_the_symmetry_of_each_unit(crystal, rng, monkeypatch):
    monkeypatch.setattr("napari_rvae.vae.training._LEAST_STEPS", 240)
    sites, features = crystal
    order = np.repeat([3, 4, 2], 100)  # of labels 0, 1, 2
    crops = Crops(images=_stars(order, rng), site_id=np.arange(300))
    model = RVAE(n_latents=2, epochs=12, hidden=48, device="cpu").fit(crops)
    few = np.concatenate([np.arange(20) + start for start in (0, 100, 200)])
    latents = model.transform(crops.select(few)).drop(columns="site_id")
    rows = 20 * sites["label"].to_numpy() + rng.integers(0, 20, len(sites))
    table = sites.join(latents.iloc[rows].reset_index(drop=True))
    units = find_units(table, features=features, model=model, pixel_pm=17.0)
    plain = find_units(table, features=features)
    assert units.summary[plain.summary.columns.tolist()].equals(plain.summary)
    of = dict(zip(units.summary["name"], units.summary["symmetry"], strict=True))
    assert of["host"] == "3-fold"
    assert next(value for name, value in of.items() if name.startswith("bright")) == "4-fold"
    assert units.summary["symmetry_order"].dtype == np.int64
    assert units.summary["deviation_3_pm"][0] < 10


def test_as_many_units_are_found_as_there_are(honeycomb, rng):
    y, x = honeycomb(400, 10.0).T
    for count in (2, 9, 16):
        label = np.where(rng.random(y.size) < 0.3, rng.integers(1, count, y.size), 0)
        amplitude = (1 + 0.5 * label) * rng.normal(1, 0.05, y.size)
        sites = make_sites(frame=0, y=y, x=x, label=label, amplitude=amplitude)
        units = find_units(sites, features=_features(sites, sites["label"].to_numpy(), rng))
        assert len(units) == count


def test_what_occurs_at_too_few_places_is_no_unit(honeycomb, rng):
    y, x = honeycomb(300, 10.0).T
    label = np.zeros(y.size, int)
    few = rng.choice(np.flatnonzero((np.abs([y - 150, x - 150]) < 100).all(0)), 6, replace=False)
    label[few[:3]], label[few[3:]] = 1, 2  # three bright sites, three that look like the host
    amplitude = np.where(label == 1, 3.0, 1.0) * rng.normal(1, 0.03, y.size)
    sites = make_sites(frame=0, y=y, x=x, label=label, amplitude=amplitude)
    features = _features(sites, sites["label"].to_numpy(), rng)
    units = find_units(sites, features=features)
    assert units.names == {0: "host"}
    unit = units.table["unit"].to_numpy()
    assert (unit[sites["label"] == 1] == -1).all()
    assert (unit[sites["label"] != 1] == 0).all()
    more = find_units(sites, features=features, min_places=3)
    assert _recall(more, sites, 1) == 1
    assert more.summary["n_places"].min() >= 3


@pytest.mark.parametrize("n_frames", [1, 4])
def test_a_class_of_three_in_a_thousand_is_kept(n_frames):
    rng = np.random.default_rng(n_frames)
    y, x = 10.0 * np.indices((45, 45)).reshape(2, -1)
    label = np.zeros(y.size, int)
    label[rng.choice(y.size, round(0.003 * y.size), replace=False)] = 1
    frame, label = np.repeat(np.arange(n_frames), y.size), np.tile(label, n_frames)
    sites = make_sites(
        frame=frame, y=np.tile(y, n_frames), x=np.tile(x, n_frames), label=label,
        lattice_track_id=np.tile(np.arange(y.size), n_frames),
        amplitude=(1 + 0.6 * label) * rng.normal(1, 0.05, label.size),
    )  # fmt: skip
    units = find_units(sites, features=_features(sites, sites["label"].to_numpy(), rng))
    assert len(units) == 2
    assert _recall(units, sites, 1) == 1


def test_an_environment_that_no_site_belongs_to_has_a_name_too(crystal):
    sites, features = crystal
    units = find_units(sites, features=features)
    none = units.environments.iloc[[-1]].assign(environment=len(units.environments), count=0)
    finer = pd.concat([units.environments, none], ignore_index=True)
    names = environment_names(
        dataclasses.replace(units, environments=finer), sites, bonds_of(sites)
    )
    assert len(set(names)) == len(finer)


def test_vacancies_are_a_unit_of_their_own(crystal, rng):
    sites, _ = crystal
    gaps = sites[sites["label"] == 1].index
    sites = sites.assign(amplitude=sites["amplitude"].where(sites["label"] != 1))
    sites.loc[gaps, "kind"] = "vacancy"
    features = _features(sites, sites["label"].to_numpy(), rng)
    units = find_units(sites, features=features)
    assert "vacancy, 3 neighbours" in units.names.values()


def test_sites_that_are_no_atoms_have_plain_names(rng):
    y, x = 4.0 * np.indices((20, 20)).reshape(2, -1)
    label = (y > 60).astype(int)
    sites = make_sites(frame=0, y=y, x=x, label=label, kind="grid")
    units = find_units(sites, features=_features(sites, sites["label"].to_numpy(), rng))
    assert units.names == {0: "host", 1: "unit 1"}


def test_sources_of_different_magnification_go_together(crystal):
    sites, features = crystal
    far = sites.assign(source="far", y=3 * sites["y"], x=3 * sites["x"])
    both = concat_sites(sites.assign(source="a"), far)
    both = link_sites(both)
    values = pd.concat([features, features]).drop(columns="site_id")  # sorted alike
    double = values.assign(site_id=np.arange(len(both)))
    units = find_units(both, features=double)
    assert all(_recall(units, both, label) > 0.95 for label in (0, 1, 2))


def test_features_that_say_nothing_give_the_host(crystal, caplog):
    sites, features = crystal
    constant = features.assign(**dict.fromkeys(features.columns[1:], 2.5))
    assert find_units(sites, features=constant, geometry=False).names == {0: "host"}
    assert find_units(sites, features=constant).names == {0: "host", 1: "beside vacancy"}
    nothing = features.assign(**dict.fromkeys(features.columns[1:], np.nan))
    units = find_units(sites, features=nothing)
    assert "and so there are no units: join" in caplog.text
    assert len(units) == 0
    assert units.table["unit"].eq(-1).all()
    assert units.summary["count"].dtype == "int64"


def test_columns_that_repeat_or_say_nothing_do_no_harm(crystal):
    sites, features = crystal
    more = features.assign(copy=features["f0"], constant=1.0, empty=np.nan, huge=1e30)
    more.loc[3, "f1"] = np.inf
    units = find_units(sites, features=more)
    assert units.table["unit"].eq(-1).sum() == 1
    assert _recall(units, sites, 1) > 0.95


@pytest.mark.parametrize("count", [0, 1, 2, 5, 30])
def test_few_sites_are_no_trouble(crystal, count):
    sites, features = crystal
    units = find_units(sites.iloc[:count], features=features)
    assert len(units.table) == count
    assert len(units) == min(count, 1)


def test_progress_counts_steps_and_stops(crystal):
    sites, features = crystal
    seen = []
    find_units(sites, features=features, progress=lambda done, total: seen.append((done, total)))
    assert list(dict.fromkeys(seen)) == [(done, 8) for done in range(9)]
    assert seen == sorted(seen)
    assert len(seen) > 100  # within the steps, too
    with pytest.raises(Cancelled):
        find_units(sites, features=features, progress=lambda done, _: done < 2)
    with pytest.raises(Cancelled):
        find_units(sites, features=features, progress=lambda _done, _total: False)


def test_applying_counts_steps_and_stops(crystal):
    sites, features = crystal
    units = find_units(sites, features=features)
    seen = []
    moved = apply_units(
        units, sites, features=features, progress=lambda done, total: seen.append((done, total))
    )
    assert list(dict.fromkeys(seen)) == [(done, 3) for done in range(4)]
    assert seen == sorted(seen)
    pd.testing.assert_frame_equal(
        moved.table, apply_units(units, sites, features=features).table, check_exact=True
    )
    for stop in (0, 1, 2, 3):
        with pytest.raises(Cancelled):
            apply_units(
                units, sites, features=features, progress=lambda done, _, stop=stop: done < stop
            )


def test_wrong_input_is_named(crystal):
    sites, features = crystal
    with pytest.raises(InputError, match="no latents"):
        find_units(sites)
    with pytest.raises(InputError, match="site_id"):
        find_units(sites, features=features.drop(columns="site_id"))
    with pytest.raises(InputError, match="hold no numbers"):
        find_units(sites, features=features.assign(word="a"))
    with pytest.raises(InputError, match="do not belong"):
        find_units(sites, features=features.assign(site_id=features["site_id"] + 10**6))
    with pytest.raises(TypeError):
        find_units(sites, features=features, n_units=3)
    with pytest.raises(InputError, match="out of range"):
        find_units(sites, UnitConfig(), features=features, min_places=0)


def test_twenty_thousand_sites_take_seconds(rng):
    side = 32
    y, x = 10.0 * np.indices((side, side)).reshape(2, -1)
    frame = np.repeat(np.arange(20), y.size)
    label = np.where(rng.random(frame.size) < 0.2, rng.integers(1, 12, frame.size), 0)
    sites = make_sites(
        frame=frame, y=np.tile(y, 20), x=np.tile(x, 20), label=label,
        amplitude=rng.normal(1, 0.1, frame.size),
    )  # fmt: skip
    values = rng.normal(0, 1, (frame.size, 300)) + 3 * (sites["label"].to_numpy()[:, None] > 0)
    features = pd.DataFrame(values)
    features.insert(0, "site_id", sites["site_id"])
    start = time.process_time()
    find_units(sites, features=features)
    assert time.process_time() - start < 20  # 10 on an idle machine


@settings(max_examples=25)
@given(sites_tables(max_rows=30), st.integers(0, 5))
def test_any_table_gets_units(table, seed):
    rng = np.random.default_rng(seed)
    latents = rng.normal(size=(len(table), 2))
    latents[rng.random(len(table)) < 0.2] = np.nan
    units = find_units(table.assign(z0=latents[:, 0], z1=latents[:, 1]), min_places=1)
    assert units.table["site_id"].tolist() == table["site_id"].tolist()
    assert units.table["unit"].between(-1, len(units) - 1).all()
    assert units.table["unit_probability"].isna().equals(units.table["unit"] == -1)


def test_hosts_of_like_brightness_share_a_name():
    central = np.ones((4, 10))
    central[:, -1] = 1.0, 3.7, 4.1, 1.25
    names = unit_names(central, np.array(["atom"] * 4), [0, 1, 2, 3])
    assert names == ["dim host", "bright host", "bright host", "dim host"]
    central[:, -1] = 1.0, 1.1, 1.2, 1.3
    names = unit_names(central, np.array(["atom"] * 4), [0, 1, 2, 3])
    assert names == ["host"] * 4


def test_another_movie_s_unknown_atoms_have_no_unit_and_are_counted(crystal, caplog):
    sites, features = crystal
    known = (sites["label"] != 1).to_numpy()
    units = find_units(sites[known], features=features)
    other = apply_units(units, sites, features=features)
    unit = other.table["unit"].to_numpy()
    assert (unit[~known] == -1).all()
    assert np.isnan(other.table["unit_probability"].to_numpy()[~known]).all()
    assert (unit[known] >= 0).all()
    assert f"{(~known).sum()} of {len(sites)} sites" in caplog.text
    caplog.clear()
    apply_units(units, sites[known], features=features)
    assert not caplog.text


def test_atoms_that_only_the_features_call_strange_keep_their_unit(crystal, rng):
    sites, features = crystal
    units = find_units(sites, features=features)
    names = features.columns[1:]
    noisy = features.assign(**dict(features[names] + rng.normal(0, 0.5, (len(sites), len(names)))))
    found = apply_units(units, sites, features=noisy)
    assert units.model is not None
    values = noisy[list(units.model.space.columns)].to_numpy()
    _, beyond = units.model.recognise(values, sites["lattice_track_id"].to_numpy())
    assert beyond.mean() > 0.5
    assert (found.table["unit"] >= 0).mean() > 0.97


def test_crops_that_the_model_does_not_know_have_no_unit(crystal, rng, caplog):
    """Such as those of an inverted movie: their atoms look the same by position and brightness."""
    sites, features = crystal
    units = find_units(sites, features=features)
    names = features.columns[1:]
    noisy = features.assign(**dict(features[names] + rng.normal(0, 1, (len(sites), len(names)))))
    known = apply_units(units, sites.assign(residual=1.5), features=noisy)
    lost = apply_units(units, sites.assign(residual=10.0), features=noisy)
    assert "describes these crops badly (median residual 10.0" in caplog.text
    assert (known.table["unit"] >= 0).mean() > 0.9
    assert (lost.table["unit"] == -1).mean() > 0.9
    same = apply_units(units, sites.assign(residual=10.0), features=features)
    assert (same.table["unit"] >= 0).mean() > 0.99


def test_crops_without_features_are_counted_in_the_log(crystal, caplog):
    sites, features = crystal
    some = features.iloc[:200]
    units = find_units(sites, features=some)
    assert "have no features" not in caplog.text  # the table does not say which are crops
    crops = sites.assign(z0=np.where(sites["site_id"] % 2 == 0, 0.3, np.nan))
    again = find_units(crops, features=some)
    missing = ~crops.loc[crops["z0"].notna(), "site_id"].isin(some["site_id"])
    assert f"{missing.sum()} of the {len(missing)} crops with latents have no" in caplog.text
    assert again.table["unit"].tolist() == units.table["unit"].tolist()
    caplog.clear()
    find_units(crops, features=features)
    apply_units(units, crops, features=features)
    assert "have no features" not in caplog.text
