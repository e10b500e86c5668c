"""The exact test of detailed balance: what it draws, and how often it raises an alarm."""

import itertools
import math

import numpy as np
import pytest

from napari_rvae.analysis.kinetics.cycles import _draw, _mid_p, balance_test, find_cycles


def _net(counts, one, two, n_states):
    gain = np.zeros((*counts.shape[:-1], n_states))
    for pair, (a, b) in enumerate(zip(one, two, strict=True)):
        gain[..., a] -= counts[..., pair]
        gain[..., b] += counts[..., pair]
    return gain


def test_the_shortest_cycles_that_make_up_all_others():
    ring = np.roll(np.eye(5), 1, axis=1)
    assert len(find_cycles(ring)) == 1
    assert np.abs(find_cycles(ring).sense).sum() == 5
    full = find_cycles(np.ones((4, 4)))
    assert (len(full), full.rank) == (4, 3)
    chain = np.eye(4, k=1)
    assert len(find_cycles(chain)) == 0
    two_triangles = np.kron(np.eye(2), np.ones((3, 3)))
    assert find_cycles(two_triangles).rank == 2


@pytest.mark.parametrize("n_states", [3, 4])
def test_draws_keep_totals_and_net_gains(n_states, rng):
    counts = rng.poisson(4, (n_states, n_states))
    cycles = find_cycles(np.ones((n_states, n_states)))
    there = counts[cycles.one, cycles.two]
    total = there + counts[cycles.two, cycles.one]
    drawn = _draw(there, total, cycles, np.zeros(len(total)), rng)
    assert ((drawn >= 0) & (drawn <= total)).all()
    gains = _net(drawn, cycles.one, cycles.two, n_states)
    assert (gains == _net(there, cycles.one, cycles.two, n_states)).all()


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_draws_of_one_cycle_follow_their_exact_distribution(factor, rng):
    cycles = find_cycles(np.ones((3, 3)))
    there, total = np.array([3, 2, 4]), np.array([5, 6, 6])
    drive = math.log(factor) * cycles.sense[0]
    drawn = np.concatenate([_draw(there, total, cycles, drive, rng) for _ in range(25)])
    turns = (drawn - there) @ cycles.sense[0] // 3
    chance = {}
    for c in range(-6, 7):
        counts = there + c * cycles.sense[0]
        if ((counts >= 0) & (counts <= total)).all():
            ways = math.prod(math.comb(n, k) for n, k in zip(total, counts, strict=True))
            chance[c] = ways * factor ** (3 * c)
    whole = sum(chance.values())
    for c, expected in chance.items():
        assert (turns == c).mean() == pytest.approx(expected / whole, abs=0.03)
    assert set(turns) <= set(chance)


def test_mid_p_of_a_discrete_distribution():
    null = np.sort(np.repeat([0.0, 1.0, 2.0], [50, 30, 19]))
    assert _mid_p(null, np.array([2.0])) == pytest.approx(0.5 * 20 / 100)
    assert _mid_p(null, np.array([1.0])) == pytest.approx((19 + 0.5 * 31) / 100)
    assert _mid_p(null, np.array([-1.0])) == pytest.approx(99.5 / 100)


def test_few_transitions_of_several_cycles_raise_no_more_alarms_than_they_may(rng):
    # potentials differ and counts are small: a simulation from fitted chances is too sure there
    potential = np.array([0.0, 0.8, -0.6, 0.3])
    values = []
    for _ in range(60):
        counts = np.zeros((4, 4), int)
        for a, b in itertools.combinations(range(4), 2):
            total = rng.poisson(4)
            counts[a, b] = rng.binomial(total, 1 / (1 + math.exp(potential[a] - potential[b])))
            counts[b, a] = total - counts[a, b]
        cycles = find_cycles(counts)
        if len(cycles):
            value, power = balance_test(counts[None], cycles, rng, factor=2.0, alarm=0.05)
            values.append(value[0])
    assert (np.array(values) < 0.05).mean() <= 0.12
    assert np.mean(values) == pytest.approx(0.5, abs=0.12)
    assert 0 < power[0] < 1


def test_many_transitions_are_fast_and_a_drive_is_seen(rng):
    counts = np.array([[0, 4000, 2000], [2000, 0, 4000], [4000, 2000, 0]])
    cycles = find_cycles(counts)
    values, powers = balance_test(counts[None], cycles, rng, factor=2.0, alarm=0.05)
    assert values[0] < 0.01
    assert powers[0] == 1.0


def test_the_test_can_be_stopped(rng):
    def stop():
        raise KeyboardInterrupt

    counts = np.ones((3, 3), int)
    with pytest.raises(KeyboardInterrupt):
        balance_test(counts[None], find_cycles(counts), rng, factor=2.0, alarm=0.05, tick=stop)
