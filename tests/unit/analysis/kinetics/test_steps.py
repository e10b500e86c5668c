"""Classes of angles, events, rates of places, passages and tests, each with a known answer."""

import math

import numpy as np
import pandas as pd
import pytest

from napari_rvae.analysis.kinetics.divisions import angle_classes, angle_period, by_sublattice
from napari_rvae.analysis.kinetics.events import merge_changes
from napari_rvae.analysis.kinetics.passages import (
    first_passages,
    observed_routes,
    stationary_quantities,
)
from napari_rvae.analysis.kinetics.rates import place_rates
from napari_rvae.analysis.kinetics.tests import _cycles, _halves

NAMES = dict(enumerate("ABCD"))


@pytest.mark.parametrize("middle", [[0.3], [-0.5, 0.547], [-1.0, 0.05], [-0.9, -0.2, 0.5]])
def test_classes_of_angles_are_found(rng, middle):
    period = 2 * math.pi / 3
    angle = np.repeat(middle, 60) + rng.normal(0, 0.08, 60 * len(middle))
    stray = rng.uniform(-period / 2, period / 2, 4)
    angle = np.concatenate([angle, stray]) + period / 2
    angle = angle % period - period / 2
    found, _, weight = angle_classes(angle, period, 3)
    assert len(found) == len(middle)
    apart = (np.sort(found) - np.sort(middle) + period / 2) % period - period / 2
    assert np.abs(apart).max() < 0.06
    assert weight.sum() == pytest.approx(1)


def test_angles_that_fit_equally_well_are_no_sublattices(rng):
    """Two-fold surroundings: the host's three-fold picture fits at two angles 30 degrees apart."""
    angle = rng.choice([-0.13, 0.37], 120) + rng.normal(0, 0.05, 120)
    assert len(angle_classes(angle, 2 * math.pi / 3, 2)[0]) == 1


def test_one_broad_class_is_not_cut(rng):
    found, _, _ = angle_classes(rng.normal(0, 0.4, 300), 2 * math.pi, 4)
    assert len(found) == 1


def test_the_period_is_read_from_the_range():
    assert angle_period(np.array([-1.04, 1.0, np.nan])) == pytest.approx(2 * math.pi / 3)
    assert angle_period(np.array([3.0, -1.0])) == pytest.approx(2 * math.pi)
    assert angle_period(np.array([np.nan])) == pytest.approx(2 * math.pi)


def test_sublattices_divide_a_unit():
    sublattice = np.repeat([0, 1, -1], 10)
    share, rows = np.ones(30), np.ones(30, bool)
    one, two = by_sublattice(sublattice)(share, rows)
    assert one.probability[0] > 0.95
    assert two.probability[0] < 0.05
    assert one.probability[-1] == 0.5
    assert by_sublattice(np.zeros(30, np.int64))(share, rows) == []


def _change(frame, y, x, track, ends=(0, 1), unseen=0):
    return ("", frame, float(y), float(x), track, *ends, 0.9, unseen)


def test_one_event_of_all_its_neighbours():
    places = [_change(5, y, x, 10 + k) for k, (y, x) in enumerate([(0, 0), (0, 1), (1, 0), (6, 6)])]
    events, changes = merge_changes([], places, radius=2.2, min_sites=3)
    assert events[["frame", "n_sites", "tracked"]].to_numpy().tolist() == [[5, 3.0, "place"]]
    assert len(changes) == 3
    assert len(set(changes["event"])) == 1


def test_changes_beside_a_dopant_belong_to_its_event():
    atoms = [_change(5, 0, 0, 1), _change(5, 1, 0, 2)]
    places = [_change(6, 0, 1, 10), _change(4, 1, 1, 11), _change(9, 0, 1, 12)]
    events, changes = merge_changes(atoms, places, radius=2.2, min_sites=1)
    assert events["tracked"].tolist() == ["atom", "atom", "place"]
    assert events["n_sites"].sum() == 5
    assert len(changes) == 1


def test_a_chain_of_changes_is_no_single_event():
    """An edge that recedes frame after frame: every frame is an event of its own."""
    places = [_change(t, 0, 0.1 * k, 10 * t + k) for t in range(0, 9, 2) for k in range(3)]
    events, _ = merge_changes([], places, radius=2.2, min_sites=3)
    assert events["frame"].tolist() == [0, 2, 4, 6, 8]


def test_an_atom_that_is_lost_for_good_needs_no_neighbours():
    kept, _ = merge_changes([], [_change(5, 0, 0, 1, unseen=8)], radius=2.2, min_sites=3)
    dropped, _ = merge_changes([], [_change(5, 0, 0, 1, unseen=3)], radius=2.2, min_sites=3)
    assert (len(kept), len(dropped)) == (1, 0)


def test_nothing_changes():
    events, changes = merge_changes([], [], radius=2.2, min_sites=3)
    assert not len(events)
    assert not len(place_rates(changes, np.zeros(2), 0.95))


def test_rates_of_places_know_that_neighbours_change_together():
    """Events change ten places at once: the interval is that of the events."""
    inside = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        n_events = rng.poisson(12)
        changes = pd.DataFrame(
            {"event": np.repeat(np.arange(n_events), 10), "from_state": 0, "to_state": 1}
        )
        rate = place_rates(changes, np.array([12_000.0, 0.0]), 0.95).iloc[0]
        assert rate["n_events"] == n_events
        inside.append(rate["rate_low"] <= 0.01 <= rate["rate_high"])
    assert np.mean(inside) > 0.88


def test_first_passages_of_a_chain_that_is_known():
    chain = np.array([[[0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [0, 0, 1.0]]])
    found = first_passages(chain, NAMES, 0.95).set_index(["from_state", "to_state"])
    assert found.loc[(0, 1), "probability"] == pytest.approx(0.6)
    assert found.loc[(0, 1), "frames"] == pytest.approx(2.0)
    assert found.loc[(0, 2), "probability"] == pytest.approx(1.0)
    exact = np.linalg.solve(np.eye(2) - chain[0, :2, :2], np.ones(2))
    assert found.loc[(0, 2), "frames"] == pytest.approx(exact[0])


def test_routes_leave_out_loops_and_unfinished_ways():
    states = np.array(
        [[[0, 0, 2, 3, 2, 1, 1], [0, 2, 2, 2, 2, 2, 2], [0, 1, 3, 3, 3, 3, 3]]], np.int8
    )
    found = observed_routes(states, np.array([7, 7, 1]), NAMES, 0.95)
    ways = found[(found["from_state"] == 0) & (found["to_state"] == 1)]
    assert ways["route"].tolist() == ["A > C > B"]
    assert ways["n"].tolist() == [1]


def test_equilibrium_of_a_chain_that_is_known():
    inner = np.array([[0.8, 0.2, 0.0], [0.1, 0.8, 0.1], [0.0, 0.4, 0.6]])
    chain = np.zeros((1, 4, 4))
    chain[0, :3, :3], chain[0, 3, 3] = inner, 1
    found = stationary_quantities(chain, NAMES, 0.95)
    share = found[found["quantity"] == "share"]["value"].to_numpy()
    assert np.allclose(share @ inner, share)
    committor = found[(found["quantity"] == "committor") & (found["state"] == 1)]
    one = committor[(committor["from_state"] == 0) & (committor["to_state"] == 2)]
    assert one["value"].iloc[0] == pytest.approx(0.5)
    flux = found[(found["quantity"] == "flux") & (found["from_state"] == 0)]
    to_last = flux[flux["to_state"] == 2]["value"].iloc[0]
    assert to_last == pytest.approx(share[0] * 0.2 * 0.5)


def _steps(rng, chain, n_tracks, n_frames=50):
    """Counts (K, K) of a chain whose last state is never reached."""
    states = np.zeros((n_tracks, n_frames), int)
    states[:, 0] = rng.integers(0, 3, n_tracks)
    for t in range(1, n_frames):
        steps = np.cumsum(chain, axis=1)[states[:, t - 1]]
        states[:, t] = (rng.random((n_tracks, 1)) > steps).sum(axis=1)
    code = 4 * states[:, :-1] + states[:, 1:]
    return np.bincount(code.ravel(), minlength=16).reshape(4, 4)


def _cycle(forward, backward):
    stay = 1 - forward - backward
    chain = [[stay, forward, backward], [backward, stay, forward], [forward, backward, stay]]
    return np.array(chain)


def test_a_sense_of_rotation_is_seen_and_none_is_no_alarm():
    calm, driven = _cycle(0.03, 0.03), _cycle(0.06, 0.015)
    values = {"calm": [], "driven": []}
    for seed in range(40):
        rng = np.random.default_rng(seed)
        for name, chain in (("calm", calm), ("driven", driven)):
            found = _cycles(_steps(rng, chain, 20)[None], rng, None)
            values[name].append(found["p_value"])
    assert (np.array(values["calm"]) < 0.05).mean() <= 0.15
    assert (np.array(values["driven"]) < 0.05).mean() > 0.9
    assert found["power"] > 0.3


def test_rates_that_double_are_seen_and_constant_ones_are_no_alarm():
    values = {1.0: [], 3.0: []}
    for seed in range(40):
        rng = np.random.default_rng(seed)
        for factor, found_so_far in values.items():
            early = _steps(rng, _cycle(0.02, 0.02), 20)
            late = _steps(rng, _cycle(0.02 * factor, 0.02 * factor), 20)
            found = _halves(np.stack([early, late])[None], rng, pooled=True)
            found_so_far.append(found["p_value"])
    assert (np.array(values[1.0]) < 0.05).mean() <= 0.15
    assert (np.array(values[3.0]) < 0.05).mean() > 0.9


def test_too_few_transitions_are_no_test(rng):
    counts = np.diag([50, 50, 50, 0])
    assert math.isnan(_cycles(counts[None], rng, None)["p_value"])
    found = _halves(np.stack([counts, counts])[None], rng, pooled=True)
    assert math.isnan(found["p_value"])
    assert found["power"] == 0
