import dataclasses

import numpy as np
import pandas as pd
import pytest

from napari_rvae import (
    Cancelled,
    InputError,
    PathwayConfig,
    Pathways,
    Units,
    find_pathways,
    link_sites,
    load_run,
    save_run,
)
from napari_rvae.synthetic.readings import simulate_readings
from napari_rvae.tables import make_sites

#: Three states and one that absorbs; the way from 0 to 1 leads over 2.
CHAIN = np.array(
    [[0.93, 0.0, 0.06, 0.01], [0.0, 0.93, 0.06, 0.01], [0.08, 0.08, 0.83, 0.01], [0, 0, 0, 1.0]]
)


def _units(made):
    count = made.probabilities.shape[1] - 1
    summary = pd.DataFrame(
        {"unit": range(count), "name": [*"ABCDEF"[: count - 1], "host"], "count": 1}
    )
    return Units(made.sites[["site_id", "unit", "unit_probability"]], summary)


@pytest.fixture(scope="module")
def made():
    return simulate_readings(CHAIN, n_tracks=40, n_frames=60, seed=3)


@pytest.fixture(scope="module")
def found(made):
    clock = pd.DataFrame({"frame": range(60), "time": 0.5 * np.arange(60), "dose": 200.0})
    return find_pathways(
        made.sites, units=_units(made), frames_table=clock, split="off", n_samples=400
    )


def test_rates_are_the_planted_ones(found):
    rates = found.rates[found.rates["tracked"] == "atom"]
    true = CHAIN[rates["from_state"], rates["to_state"]]
    inside = (rates["rate_low"] <= true) & (true <= rates["rate_high"])
    assert inside.sum() >= 8  # of 9 at 95 %
    common = true > 0.05
    assert np.abs(np.log(rates["rate"] / true.clip(1e-6)))[common].max() < 0.5
    assert (rates.loc[common, "verdict"] == "rate").all()


def test_rates_are_told_per_second_and_per_dose(found):
    rates = found.rates[found.rates["tracked"] == "atom"]
    assert np.allclose(rates["rate_per_second"], 2 * rates["rate"])
    assert np.allclose(rates["rate_per_dose_high"], rates["rate_high"] / 200)
    assert np.allclose(rates["exposure_seconds"], rates["exposure"] / 2)


def test_states_are_read_better_than_they_were_given(made, found):
    sites = made.sites.merge(found.table, on="site_id")
    atoms = sites[sites["tracked"] == "atom"]
    assert (atoms["state"] == atoms["true_state"]).mean() > 0.985
    assert (atoms["unit"] == atoms["true_state"]).mean() < 0.98


def test_events_are_the_true_changes(made, found):
    track, step = np.nonzero(
        (made.states[:, 1:] != made.states[:, :-1]) & (made.states[:, :-1] >= 0)
    )
    true = {(int(t), int(s) + 1) for t, s in zip(track, step, strict=True)}
    base = int(made.sites["lattice_track_id"].max()) + 1
    events = found.events[found.events["tracked"] == "atom"]
    seen = list(zip(events["track_id"] - base, events["frame"], strict=True))
    near = [any((t, f + d) in true for d in (-1, 0, 1)) for t, f in seen]
    assert np.mean(near) > 0.9
    assert sum(near) > 0.8 * len(true)
    assert (events["probability"] >= 0.5).all()


def test_the_planted_route_is_named(found):
    way = found.routes[(found.routes["from_state"] == 0) & (found.routes["to_state"] == 1)]
    assert way["route"].iloc[0] == "A > C > B"
    assert way["share"].iloc[0] > 0.8
    gone = found.passages[found.passages["to_name"] == "gone"]
    assert np.allclose(gone["probability"], 1)
    assert (gone["frames"] > 30).all()


def test_summary_and_tests(made, found):
    value = found.summary.set_index(["tracked", "quantity"])["value"]
    sightings = made.sites.loc[made.sites["species"] == "Si", "track_id"].value_counts()
    assert value["atom", "tracks"] == (sightings >= 4).sum()
    assert 0.02 < value["atom", "missed"] < 0.09
    assert value["atom", "stickiness"] < 0.2
    assert set(found.tests["test"]) == {"halves", "halves, each rate", "cycles"}


def test_too_sure_probabilities_are_calibrated():
    made = simulate_readings(CHAIN, n_tracks=30, n_frames=50, sureness=3.0, seed=1)
    found = find_pathways(made.sites, units=_units(made), split="off", follow="atoms")
    value = found.summary.set_index("quantity")["value"]
    assert value["temperature"] < 0.8
    rates = found.rates.set_index(["from_state", "to_state"])
    assert rates.loc[(0, 1), "rate"] < 0.02  # hard labels would give 0.03


def test_errors_that_persist_are_said():
    made = simulate_readings(CHAIN, n_tracks=30, n_frames=50, sticky=0.8, error=0.06, seed=1)
    found = find_pathways(made.sites, units=_units(made), split="off", follow="atoms")
    assert found.notes["note"].str.contains("misread for several frames").any()


def test_ageing_is_seen_and_forbids_equilibrium():
    calm = np.array([[0.99, 0.01, 0], [0.01, 0.99, 0], [0, 0, 1.0]])
    wild = np.array([[0.85, 0.15, 0], [0.15, 0.85, 0], [0, 0, 1.0]])
    made = simulate_readings(calm, second_half=wild, n_tracks=20, n_frames=60, seed=0)
    found = find_pathways(made.sites, units=_units(made), split="off", follow="atoms")
    assert found.tests["p_value"].iloc[0] < 0.01
    assert not len(found.stationary)
    assert found.notes["note"].str.contains("halves of the movie differ").any()


def test_equilibrium_where_the_test_allows_it():
    wild = np.array([[0.9, 0.1, 0], [0.2, 0.8, 0], [0, 0, 1.0]])
    made = simulate_readings(wild, n_tracks=30, n_frames=60, seed=0)
    found = find_pathways(made.sites, units=_units(made), split="off", follow="atoms")
    share = found.stationary[found.stationary["quantity"] == "share"].set_index("state")
    assert share.loc[0, "value_low"] < 2 / 3 < share.loc[0, "value_high"]


def test_states_that_nothing_joins_have_no_common_equilibrium():
    chain = np.eye(5)
    chain[:2, :2] = chain[2:4, 2:4] = [[0.9, 0.1], [0.1, 0.9]]
    made = simulate_readings(chain, error=0.002, missed=0.0, late=0.0, seed=3)
    found = find_pathways(
        made.sites, probabilities=made.probabilities, split="off", follow="atoms", n_samples=100
    )
    assert not len(found.stationary)
    (note,) = [note for note in found.notes["note"] if "joins" in note]
    assert "unit 0, unit 1 and unit 2, unit 3" in note


def test_the_order_of_the_rows_does_not_matter(made):
    mixed = made.sites.sample(frac=1, random_state=0)
    options = {"split": "off", "follow": "atoms", "n_samples": 100}
    one = find_pathways(made.sites, **options)
    two = find_pathways(mixed, **options)
    for name, table in one.tables().items():
        pd.testing.assert_frame_equal(table, two.tables()[name])


def test_a_hop_between_sublattices_is_an_event_of_one_unit(rng):
    """One unit, two classes of the lattice angle 60 degrees apart."""
    y, x = 10.0 * np.indices((9, 9)).reshape(2, -1)
    frame = np.repeat(np.arange(20), y.size)
    place = np.tile(np.arange(y.size), 20)
    silicon = place == np.where(frame < 10, 40, 41)
    angle = np.where(
        silicon, np.where(frame < 10, -0.5, 0.547), rng.choice([-0.5, 0.547], len(frame))
    )
    sites = make_sites(
        frame=frame,
        y=y[place] + rng.normal(0, 0.2, len(frame)),
        x=x[place] + rng.normal(0, 0.2, len(frame)),
        species=np.where(silicon, "Si", "C"),
        lattice_angle=angle + rng.normal(0, 0.08, len(frame)),
        unit=silicon.astype(int),
        unit_probability=0.99,
    )
    found = find_pathways(link_sites(sites))
    atoms = found.states[found.states["tracked"] == "atom"].iloc[:2]
    assert np.degrees(atoms["angle"].diff().iloc[1]) == pytest.approx(60, abs=4)
    assert (atoms["unit"] == 1).all()
    (event,) = found.events.to_dict("records")
    assert (event["tracked"], event["frame"]) == ("atom", 10)
    assert (event["from_state"], event["to_state"]) == (0, 1)
    assert abs(event["y"] - 40) < 2
    assert abs(event["x"] - 45) < 2


def test_progress_and_cancel(made):
    calls = []
    find_pathways(made.sites, follow="atoms", n_samples=100, progress=lambda *a: calls.append(a))
    assert calls[-1] == (6, 6)
    with pytest.raises(Cancelled, match="nothing was written"):
        find_pathways(made.sites, progress=lambda done, total: done < 1)


def test_tracks_and_units_are_asked_for():
    sites = make_sites(frame=0, y=[0.0, 9.0], x=[0.0, 0.0])
    with pytest.raises(InputError, match="link_sites"):
        find_pathways(sites)
    with pytest.raises(InputError, match="find_units"):
        find_pathways(sites.assign(track_id=0, lattice_track_id=0))
    with pytest.raises(TypeError):
        find_pathways(sites, no_such_option=1)


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (lambda t: t[t["frame"] == 0], "one frame"),
        (lambda t: t.assign(unit=-1, unit_probability=np.nan), "No site has a unit"),
        (lambda t: t.assign(unit=0), "one unit"),
        (lambda t: t.assign(track_id=-1, lattice_track_id=-1), "No site is in a track"),
        (lambda t: t[t["species"] == "C"], "no tracks of dopants"),
        (lambda t: t.iloc[:0], "no sites"),
        (lambda t: t.groupby("frame").head(2), "fewer than three"),
        (lambda t: t[t["species"] == "C"], "No event was found"),
    ],
)
def test_odd_input_is_said_in_one_line(made, change, note):
    table = change(made.sites[made.sites["frame"] < 12])
    found = find_pathways(table, n_samples=100)
    assert found.notes["note"].str.contains(note).any()
    for name, part in found.tables().items():
        assert isinstance(part, pd.DataFrame), name


def test_a_run_keeps_pathways(tmp_path, made, found):
    folder = save_run(tmp_path / "run", sites=made.sites, pathways=found)
    back = load_run(folder).pathways
    for name, table in found.tables().items():
        pd.testing.assert_frame_equal(table, back.tables()[name])
    save_run(folder, pathways=Pathways(), overwrite=True)
    assert not len(load_run(folder).pathways.events)
    save_run(folder, sites=made.sites, overwrite=True)
    assert load_run(folder).pathways is None
    assert not list(folder.glob("pathways*"))


def test_a_missing_column_is_named(found):
    with pytest.raises(InputError, match="rates lack the column verdict"):
        dataclasses.replace(found, rates=found.rates.drop(columns="verdict"))


def test_options_are_checked():
    with pytest.raises(InputError, match="follow"):
        PathwayConfig(follow="nobody")


def test_units_that_take_turns_are_one_state(rng):
    """Two readings of the same surroundings, the second one in every fifth frame at random."""
    y, x = 10.0 * np.indices((9, 9)).reshape(2, -1)
    frame = np.repeat(np.arange(30), y.size)
    place = np.tile(np.arange(y.size), 30)
    odd = place % 9 < 3
    turn = rng.random((30, 27)) < 0.2  # the same for three neighbours
    row = np.where(odd, place // 9, 0)
    unit = np.where(odd, 1 + turn[frame, row], 0)
    sites = make_sites(
        frame=frame,
        y=y[place] + rng.normal(0, 0.2, len(frame)),
        x=x[place] + rng.normal(0, 0.2, len(frame)),
        lattice_track_id=place,
        track_id=place,
        unit=unit,
        unit_probability=0.999,
    )
    found = find_pathways(sites)
    assert not len(found.events)
    assert found.states["unit"].tolist() == [0, 1, -1]
    assert found.notes["note"].str.contains("'unit 2' lasts less than two frames").any()


def test_probabilities_of_every_unit_say_more_than_the_best_one(made, found):
    options = {"units": _units(made), "split": "off", "n_samples": 100, "seed": 1}
    full = find_pathways(made.sites, probabilities=made.probabilities, **options)
    rates = full.rates.set_index(["tracked", "from_name", "to_name"])["rate"]
    assert rates["atom", "A", "C"] == pytest.approx(0.06, abs=0.025)
    twice = made.probabilities.assign(site_id=0)
    with pytest.raises(InputError, match="'site_id' without duplicates"):
        find_pathways(made.sites, probabilities=twice, **options)


def test_tracks_that_begin_inside_may_be_the_rest_of_broken_ones(made):
    whole = made.sites
    dopant = whole["species"] == "Si"
    few = np.unique(whole.loc[dopant, "track_id"])[:4]
    late = dopant & whole["track_id"].isin(few) & (whole["frame"] >= 20)
    fresh = int(whole["track_id"].max()) + 1
    broken = whole.assign(track_id=np.where(late, whole["track_id"] + fresh, whole["track_id"]))
    options = {"probabilities": made.probabilities, "split": "off", "follow": "atoms"}
    before, after = (
        find_pathways(table, n_samples=100, **options).summary.set_index("quantity")["value"]
        for table in (whole, broken)
    )
    begun = after["begun inside the frames"] - before["begun inside the frames"]
    assert 1 <= begun <= 4
    assert after["loss without breaks"] <= before["loss without breaks"] + 0.003
