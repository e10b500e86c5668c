import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from napari_rvae import classify_atoms, detect_atoms, link_sites, read_frames
from napari_rvae.analysis.scores import match_sites
from napari_rvae.errors import Cancelled, InputError
from napari_rvae.synthetic.lattice import rotated
from napari_rvae.tables import SPECIES_COLUMNS, concat_sites, make_sites, validate_sites
from scenes import SIDE, SIGMA, SPACING, draw, lattice, simulated

#: Cells (in neighbour distances) and places in them of lattices of many kinds.
LATTICES = {
    "square": ([[1, 0], [0, 1]], [[0, 0]]),
    "hexagonal": ([[1, 0], [0.5, 0.75**0.5]], [[0, 0]]),
    "rectangular": ([[1, 0], [0, 1.6]], [[0, 0]]),
    "honeycomb": ([[3**0.5, 0], [0.75**0.5, 1.5]], [[0, 0], [1 / 3, 1 / 3]]),
    "dumbbells": ([[4.0, 0], [2.0, 1.41]], [[0, 0], [0.25, 0]]),
    "kagome": ([[2, 0], [1, 3**0.5]], [[0, 0], [0.5, 0], [0, 0.5]]),
    "three of four": ([[2, 0], [0, 2]], [[0, 0], [0.5, 0], [0, 0.5]]),
}


def crystal(kind, *, angle=0.3, side=300.0, strain=None, noise=0.3, missing=0.02, seed=0):
    """Positions (N, 2) and sublattice (N,) of a crystal with missing atoms."""
    cell, places = (np.array(part, float) for part in LATTICES[kind])
    grid = np.stack(np.meshgrid(*[np.arange(-60, 60)] * 2, indexing="ij"), -1).reshape(-1, 1, 2)
    points = rotated(((grid + places) @ cell * SPACING).reshape(-1, 2), angle)
    points = points @ (np.eye(2) if strain is None else np.asarray(strain)) + side / 2
    label = np.tile(np.arange(len(places)), len(grid))
    rng = np.random.default_rng(seed)
    keep = ((points > 0) & (points < side)).all(axis=1) & (rng.random(len(points)) > missing)
    points = points[keep] + rng.normal(0, noise, (keep.sum(), 2))
    return points, label[keep]


def table(points, label, *, amplitude=None, snr=30.0, frame=0):
    height = np.full(len(points), 100.0) if amplitude is None else np.asarray(amplitude)
    return make_sites(
        frame=frame,
        y=points[:, 0],
        x=points[:, 1],
        amplitude=height,
        snr=np.full(len(points), snr),
        true=label,
    )


def agreement(found):
    """Share of the atoms whose sublattice is the true one, under the best naming."""
    counts = pd.crosstab(found["true"], found["sublattice"].where(found["sublattice"] >= 0))
    assert counts.shape[1] == found["true"].nunique()
    assert counts.to_numpy().argmax(axis=1).tolist() == list(
        dict.fromkeys(counts.to_numpy().argmax(axis=1))
    )
    return counts.to_numpy().max(axis=1).sum() / len(found)


class TestSublattices:
    @pytest.mark.parametrize("kind", LATTICES)
    def test_of_lattices_of_many_kinds(self, kind):
        found = classify_atoms(table(*crystal(kind)), vacancies=False)
        assert agreement(found) > 0.99

    @pytest.mark.parametrize("strain", [[[1.05, 0.02], [0.03, 0.97]], [[1, 0.02], [0, 1]]])
    def test_under_strain_and_shear(self, strain):
        found = classify_atoms(table(*crystal("honeycomb", strain=strain)), vacancies=False)
        assert agreement(found) > 0.99

    def test_with_many_atoms_missing(self):
        found = classify_atoms(table(*crystal("honeycomb", missing=0.15)), vacancies=False)
        assert agreement(found) > 0.98

    @settings(max_examples=10)
    @given(angle=st.floats(0, 6.3), seed=st.integers(0, 100))
    def test_at_any_angle(self, angle, seed):
        found = classify_atoms(
            table(*crystal("honeycomb", angle=angle, side=180, seed=seed)), vacancies=False
        )
        assert agreement(found) > 0.98

    def test_brightness_tells_those_of_a_perovskite_apart(self, rng):
        points, label = lattice("perovskite")
        height = np.where(label == 0, 100.0, 45.0) * (1 + points[:, 0] / SIDE)
        height *= rng.normal(1, 0.1, len(points))
        found = classify_atoms(table(points, label, amplitude=height, snr=10), vacancies=False)
        on = found[found["sublattice"] >= 0]
        assert len(on) > 0.99 * len(found)
        assert (on["sublattice"] == on["true"]).mean() > 0.999  # the brightest is number 0
        assert (on["species"].str[0] == np.where(on["true"] == 0, "A", "B")).mean() > 0.999

    def test_rows_of_two_kinds(self, rng):
        points, _ = crystal("square", missing=0.0)
        back = rotated(points - 150, -0.3) / SPACING
        row = np.rint(back[:, 0]).astype(int) % 2
        height = np.where(row == 0, 100.0, 70.0) * rng.normal(1, 0.05, len(points))
        found = classify_atoms(table(points, row, amplitude=height, snr=20), vacancies=False)
        assert (found["sublattice"] == found["true"]).mean() > 0.99

    @pytest.mark.parametrize("share", [0.0, 0.03, 0.1])
    def test_dopants_split_no_sublattice(self, rng, share):
        points, label = crystal("honeycomb")
        height = 100 * np.where(rng.random(len(points)) < share, 4.0, 1.0)
        found = classify_atoms(table(points, label, amplitude=height), vacancies=False)
        assert agreement(found) > 0.99

    def test_keep_their_numbers_through_a_movie(self, rng):
        tables = []
        for frame in range(5):
            points, label = crystal("honeycomb", angle=0.5236 + rng.normal(0, 0.01), seed=frame)
            tables.append(table(points + rng.normal(0, 5, 2), label, frame=frame))
        found = classify_atoms(concat_sites(*tables), vacancies=False)
        assert agreement(found) > 0.99

    def test_of_two_grains(self, graphene):
        true = graphene.sites[graphene.sites["kind"] == "atom"]
        found = classify_atoms(true.drop(columns=["species", "track_id"]).rename(
            columns={"sublattice": "true"}), vacancies=False)  # fmt: skip
        known = found[(found["sublattice"] >= 0) & (found["true"] >= 0)]
        assert len(known) > 0.97 * len(found)
        for _, grain in known.groupby("grain"):
            same = (grain["sublattice"] == grain["true"]).mean()
            assert max(same, 1 - same) > 0.995

    def test_without_a_lattice_there_are_none(self, rng):
        atoms = table(rng.uniform(0, 300, (500, 2)), np.zeros(500, int))
        found = classify_atoms(atoms)
        assert len(found) == len(atoms)
        assert (found["sublattice"] == -1).mean() > 0.95
        assert found["species_probability"].isna().mean() > 0.95


@pytest.fixture(scope="module")
def doped():
    """Dopants 1.3 times as bright, some dimmer atoms, on a steep gradient of thickness."""
    rng = np.random.default_rng(1)
    points, label = crystal("honeycomb", side=500.0)
    kind = rng.choice([0, 1, 2], len(points), p=[0.96, 0.03, 0.01])
    host = 100 * (1 + points[:, 1] / 500)
    height = host * (np.array([1.0, 1.3, 0.6])[kind] + rng.normal(0, 0.06, len(points)))
    atoms = table(points, label, amplitude=height)
    atoms["snr"] = atoms["amplitude"] / (6 * (1 + atoms["x"] / 500))
    return atoms.assign(kind_of=kind[np.lexsort((points[:, 1], points[:, 0]))])


class TestSpecies:
    def test_brighter_and_dimmer_atoms_are_named(self, doped):
        found = classify_atoms(doped, vacancies=False)
        for name, kind in (("A+", 1), ("A-", 2)):
            named, true = found["species"] == name, found["kind_of"] == kind
            assert (named & true).sum() >= 0.9 * true.sum()
            assert (named & ~true).sum() <= 0.1 * named.sum()

    def test_probabilities_are_those_of_being_right(self, doped):
        found = classify_atoms(doped, vacancies=False, false_discovery_rate=0.3)
        name = np.array(["A", "A+", "A-"])[found["kind_of"]]
        right, said = found["species"] == name, found["species_probability"]
        assert said.between(0, 1).all()
        unsure = said < 0.97
        assert unsure.sum() > 15
        assert right[unsure].mean() == pytest.approx(said[unsure].mean(), abs=0.2)
        assert right[~unsure].mean() == pytest.approx(said[~unsure].mean(), abs=0.01)

    def test_fewer_false_ones_if_asked(self, doped):
        many, few = (
            (classify_atoms(doped, vacancies=False, false_discovery_rate=rate)["species"] == "A+")
            for rate in (0.3, 0.001)
        )
        assert few.sum() < many.sum()
        assert (many | ~few).all()

    def test_hosts_alone_are_hosts(self, rng):
        for seed in range(3):
            points, label = crystal("honeycomb", side=400.0, seed=seed)
            height = rng.normal(100, 8, len(points))
            found = classify_atoms(table(points, label, amplitude=height, snr=12.5))
            assert not found["species"].str.contains("[+-]", regex=True).any()

    def test_long_tails_are_hosts_too(self, rng):
        points, label = crystal("honeycomb", side=600.0)
        height = 100 + 5 * rng.standard_t(4, len(points))
        found = classify_atoms(table(points, label, amplitude=height, snr=20))
        assert found["species"].str.contains("[+-]", regex=True).mean() < 0.004

    def test_all_sightings_of_an_atom_are_judged_together(self, rng):
        points, label = crystal("honeycomb")
        dopant = rng.random(len(points)) < 0.03
        tables = []
        for frame in range(9):
            height = np.where(dopant, 130.0, 100.0) + rng.normal(0, 15, len(points))
            tables.append(table(points, label, amplitude=height, snr=100 / 15, frame=frame))
            tables[-1]["dopant"] = dopant[np.lexsort((points[:, 1], points[:, 0]))]
        movie = concat_sites(*tables)
        recall = {}
        for name, sites in (("alone", movie), ("tracks", link_sites(movie))):
            named = classify_atoms(sites, vacancies=False)["species"] == "A+"
            recall[name] = (named & movie["dopant"]).sum() / movie["dopant"].sum()
            assert (named & ~movie["dopant"]).sum() <= 0.1 * max(named.sum(), 1)
        assert recall["alone"] < 0.5
        assert recall["tracks"] > 0.97

    def test_an_atom_between_the_places_is_off_the_lattice(self):
        points, label = crystal("honeycomb", missing=0.0, noise=0.1)
        middle = points[np.argmin(np.hypot(*(points - 150).T))]
        between = middle + 0.5 * SPACING * rotated(np.array([0.6, 0.8]), 0.0)
        found = classify_atoms(table(np.vstack([points, between]), np.append(label, -1)))
        strange = found[found["true"] == -1]
        assert strange["species"].tolist() == ["off lattice"]
        assert strange["kind"].tolist() == ["atom"]
        assert strange["sublattice"].tolist() == [-1]
        assert (found["species"] == "off lattice").sum() == 1

    def test_without_amplitudes_there_is_geometry_alone(self):
        points, label = crystal("honeycomb")
        atoms = make_sites(frame=0, y=points[:, 0], x=points[:, 1], true=label)
        found = classify_atoms(atoms)
        assert agreement(found[found["kind"] == "atom"]) > 0.99
        assert found["species_probability"].isna().all()
        assert (found["species"] == "").all()

    def test_an_atom_without_amplitude_has_a_place_but_no_species(self):
        points, label = crystal("honeycomb", missing=0.0)
        atoms = table(points, label)
        middle = int(np.argmin(np.hypot(*(points - 150).T)))
        atoms.loc[atoms["true"].index[middle], ["amplitude", "snr"]] = np.nan
        found = classify_atoms(atoms)
        by_hand = found["amplitude"].isna() & (found["kind"] == "atom")
        assert found.loc[by_hand, "species"].tolist() == [""]
        assert (found.loc[by_hand, "sublattice"] >= 0).all()
        assert set(found.loc[~by_hand & (found["kind"] == "atom"), "species"]) == {"A"}


class TestVacancies:
    @pytest.mark.parametrize("kind", LATTICES)
    def test_are_the_missing_atoms(self, kind):
        full, label = crystal(kind, missing=0.0, noise=0.2)
        inner = np.flatnonzero(((full > 50) & (full < 250)).all(axis=1))
        gone = np.random.default_rng(2).choice(inner, 8, replace=False)
        found = classify_atoms(table(np.delete(full, gone, 0), np.delete(label, gone)))
        empty = found[found["kind"] == "vacancy"]
        wanted = make_sites(frame=0, y=full[gone, 0], x=full[gone, 1])
        assert len(match_sites(empty, wanted, 2.0)) == len(gone)
        assert len(empty) == len(gone)

    def test_lie_where_their_neighbours_say(self):
        full, label = crystal("honeycomb", missing=0.0, noise=0.3, side=600.0)
        gone = np.random.default_rng(2).random(len(full)) < 0.02
        found = classify_atoms(table(full[~gone], label[~gone]))
        empty = found[found["kind"] == "vacancy"].reset_index(drop=True)
        true = make_sites(frame=0, y=full[gone, 0], x=full[gone, 1])
        pairs = match_sites(empty, true, 2.0)
        assert len(pairs) >= 15
        error = empty[["y", "x"]].to_numpy()[pairs[:, 0]] - true[["y", "x"]].to_numpy()[pairs[:, 1]]
        assert error.std() < 0.5  # the missing atom's own disorder is 0.3
        names = dict(zip(found["true"], found["sublattice"], strict=False))
        wanted = [names[int(k)] for k in table(full[gone], label[gone])["true"].iloc[pairs[:, 1]]]
        assert empty["sublattice"].iloc[pairs[:, 0]].tolist() == wanted

    def test_are_none_beyond_an_edge_or_in_a_hole(self):
        points, label = crystal("honeycomb", missing=0.0, noise=0.2, side=400.0)
        hole = np.hypot(*(points - 150).T) > 50
        edge = (points @ rotated(np.array([0.0, 1.0]), 0.4)) < 330
        atoms = table(points[hole & edge], label[hole & edge])
        assert (classify_atoms(atoms)["kind"] == "vacancy").sum() == 0

    @pytest.mark.parametrize("counts", [100, 15])
    def test_of_a_frame_are_measured(self, counts):
        scene = simulated("perovskite", counts, seed=3)
        points, label = lattice("perovskite")
        host = np.where(label == 0, counts, 0.45 * counts)
        gone = np.random.default_rng(5).random(len(points)) < 0.03
        scene = draw(*points.T, np.where(gone, 0, host), background=0.1 * counts, seed=3)
        found = detect_atoms(scene.frame, classify=True)
        assert found["site_id"].tolist() == list(range(len(found)))
        empty = found[found["kind"] == "vacancy"]
        inner = gone & ((points > SPACING) & (points < SIDE - SPACING)).all(axis=1)
        true = make_sites(frame=0, y=points[inner, 0], x=points[inner, 1])
        assert len(match_sites(empty.assign(source=""), true, 3.0)) == inner.sum()
        assert len(empty) <= gone.sum()
        assert (empty["species_probability"] > 0.9).all()
        assert (empty["amplitude"].abs() < 0.3 * counts).all()
        assert empty["snr"].abs().max() < 5
        assert empty["sigma"].iloc[0] == pytest.approx(SIGMA, rel=0.1)

    def test_of_dark_atoms(self, bright):
        points, _ = lattice()
        gone = np.argmin(np.hypot(*(points - SIDE / 2).T))
        scene = draw(*np.delete(points, gone, 0).T, 60.0)
        found = detect_atoms(100 - scene.frame, contrast="dark", classify=True)
        empty = found[found["kind"] == "vacancy"]
        assert len(empty) == 1
        assert abs(empty["amplitude"].iloc[0]) < 12
        assert empty["background"].iloc[0] == pytest.approx(95, abs=4)

    def test_lie_in_the_region_and_on_pixels(self, bright):
        points, _ = lattice()
        gone = np.argsort(np.hypot(*(points - SIDE / 2).T))[[0, 5]]
        scene = draw(*np.delete(points, gone, 0).T, 60.0)
        sites = detect_atoms(scene.frame)
        row, column = np.rint(points[gone[0]]).astype(int)
        region = np.ones(scene.frame.shape, bool)
        region[row - 3 : row + 4, column - 3 : column + 4] = False
        holed = np.where(region, scene.frame, np.nan)
        number = [
            (classify_atoms(sites, *a, **k)["kind"] == "vacancy").sum()
            for a, k in (((scene.frame,), {}), ((scene.frame,), {"region": region}), ((holed,), {}))
        ]
        assert number == [2, 1, 1]

    def test_a_displaced_atom_leaves_no_vacancy(self):
        points, label = crystal("honeycomb", missing=0.0, noise=0.1)
        k = int(np.argmin(np.hypot(*(points - 150).T)))
        points[k] += 0.45 * SPACING * np.array([0.6, 0.8])
        assert (classify_atoms(table(points, label))["kind"] == "vacancy").sum() == 0

    def test_have_tracks_and_are_not_found_twice(self):
        full, label = crystal("honeycomb", missing=0.0, noise=0.2)
        k = int(np.argmin(np.hypot(*(full - 150).T)))
        left, names = np.delete(full, k, 0), np.delete(label, k)
        movie = concat_sites(table(full, label), *(table(left, names, frame=f) for f in (1, 2)))
        found = classify_atoms(movie)
        linked = link_sites(found)
        empty = linked[linked["kind"] == "vacancy"]
        assert empty["frame"].tolist() == [1, 2]
        assert len(set(empty["lattice_track_id"])) == 1
        assert (empty["track_id"] == -1).all()
        assert len(classify_atoms(found)) == len(found)


class TestTable:
    def test_rows_and_columns_stay(self, rng):
        points, label = crystal("honeycomb")
        atoms = table(points, label).assign(odd=1).iloc[rng.permutation(len(points))]
        atoms["site_id"] += 1000
        found = classify_atoms(atoms)
        again = found.iloc[: len(atoms)]
        pd.testing.assert_frame_equal(
            again[atoms.columns], atoms.reset_index(drop=True), check_dtype=False
        )
        validate_sites(found, need=SPECIES_COLUMNS)
        for name, kind in SPECIES_COLUMNS.items():
            assert found[name].dtype == kind
        new = found.iloc[len(atoms) :]
        assert (new["kind"] == "vacancy").all()
        assert new["site_id"].min() > atoms["site_id"].max()

    @pytest.mark.parametrize("count", [0, 1, 5])
    def test_few_atoms(self, count):
        atoms = table(np.arange(2.0 * count).reshape(-1, 2), np.zeros(count, int))
        found = classify_atoms(atoms)
        assert len(found) == count
        assert set(SPECIES_COLUMNS) <= set(found)

    def test_missing_positions_and_other_kinds_are_left_alone(self):
        points, label = crystal("square", missing=0.0)
        atoms = table(points, label)
        atoms.loc[3, "y"] = np.nan
        atoms.loc[4, "kind"] = "grid"
        found = classify_atoms(atoms, vacancies=False)
        assert found["sublattice"].iloc[[3, 4]].tolist() == [-1, -1]
        assert (found["sublattice"].drop([3, 4]) == 0).all()

    def test_sources_are_told_apart(self):
        parts = [table(*crystal("square")).assign(source=name) for name in "ab"]
        both = classify_atoms(concat_sites(*parts))
        alone = classify_atoms(parts[1])
        assert (both["source"] == "b").sum() == len(alone)

    def test_all_does_not_depend_on_the_order_of_the_rows(self, rng):
        atoms = table(*crystal("honeycomb"))
        mixed = atoms.iloc[rng.permutation(len(atoms))]
        one, other = (classify_atoms(t).set_index("site_id") for t in (atoms, mixed))
        assert (one["sublattice"] == other["sublattice"].loc[one.index]).all()

    def test_errors(self, bright):
        atoms = table(*crystal("square"))
        with pytest.raises(InputError, match="several sources"):
            classify_atoms(concat_sites(*(atoms.assign(source=s) for s in "ab")), bright.frame)
        with pytest.raises(InputError, match="last frame"):
            classify_atoms(atoms.assign(frame=3), bright.frame)
        with pytest.raises(InputError, match="without frames"):
            classify_atoms(atoms, region=np.ones((8, 8), bool))
        with pytest.raises(Cancelled):
            classify_atoms(atoms, progress=lambda done, total: False)


class TestRealFrames:
    def test_both_columns_of_dyscandate_are_told_apart(self, data_folder):
        frames = read_frames(data_folder / "stem" / "10_dso_8nm_none_none.png")
        found = classify_atoms(detect_atoms(frames), frames)
        on = found[found["sublattice"] >= 0]
        assert len(on) > 0.97 * len(found)
        letter = on["species"].str[0]
        height = on["amplitude"].groupby(letter).median().sort_index()
        assert height.iloc[0] > 2 * height.iloc[1]
        assert (letter == "A").mean() == pytest.approx(0.5, abs=0.05)

    def test_dumbbells_of_silicon_have_two_columns(self, data_folder):
        frames = read_frames(data_folder / "stem" / "Si110_5nmX25us_03_none_none.png")
        found = classify_atoms(detect_atoms(frames), frames)
        share = found["sublattice"].value_counts(normalize=True)
        assert share[0] == pytest.approx(0.5, abs=0.05)
        assert share[1] == pytest.approx(0.5, abs=0.05)

    def test_gold_has_one_sublattice(self, data_folder):
        frames = read_frames(data_folder / "stem" / "Grain_boundry_gold_512px.png")
        found = classify_atoms(detect_atoms(frames), frames)
        assert (found["sublattice"] == 0).mean() > 0.95
        assert (found["kind"] == "vacancy").sum() <= 3


@pytest.mark.parametrize("stated", [0.7, 1.0])  # of the atoms' own errors: it does not matter
def test_the_places_of_vacancies_are_as_sure_as_they_say(rng, stated):
    points, _ = lattice("perovskite", side=500)
    points = points[((points >= 0) & (points <= 499)).all(axis=1)]
    empty = rng.random(len(points)) < 0.03
    noise = np.array([0.4, 0.2])
    seen = points[~empty] + rng.normal(0, noise, (int((~empty).sum()), 2))
    sites = make_sites(frame=0, y=seen[:, 0], x=seen[:, 1])
    sites["y_sd"], sites["x_sd"] = stated * noise
    found = classify_atoms(sites)
    vacancies = found[found["kind"] == "vacancy"]
    tree = cKDTree(points[empty])
    distance, which = tree.query(vacancies[["y", "x"]])
    near = distance < 2
    assert near.sum() > 20
    miss = vacancies[["y", "x"]].to_numpy()[near] - points[empty][which[near]]
    ratio = (miss / vacancies[["y_sd", "x_sd"]].to_numpy()[near]).std(axis=0)
    assert (ratio > 0.7).all()
    assert (ratio < 1.4).all()
