"""Ratios to the host, their mixture, and names."""

import numpy as np
import pytest
from scipy import stats

from napari_rvae.detect.species import HostRatio, Odd, name_odd, odd_atoms, ratio_to_host


def hosts(rng, count=3000, noise=0.06):
    """Positions of a square lattice and noisy heights of hosts, in a gradient of thickness."""
    side = int(np.sqrt(count))
    points = 10.0 * np.stack(np.divmod(np.arange(side**2), side), 1)
    height = 50 * (1 + points[:, 0] / (20 * side))
    return points, height * rng.normal(1, noise, side**2), noise * height


class TestRatios:
    def test_an_atom_is_not_compared_with_itself(self, rng):
        points, height, noise = hosts(rng)
        seen = ratio_to_host(points, height, noise)
        brighter = height.copy()
        brighter[1500] *= 1.02
        again = ratio_to_host(points, brighter, noise)
        assert again.ratio[1500] / seen.ratio[1500] == pytest.approx(1.02)

    def test_hosts_scatter_as_their_noise_says(self):
        """Not less, and without long tails: those would be taken for dopants."""
        spread, tails = [], []
        for seed in range(4):
            points, height, noise = hosts(np.random.default_rng(seed))
            seen = ratio_to_host(points, height, noise)
            z = (seen.ratio - 1) / seen.host_sd
            spread.append(z.std())
            tails.append(stats.kurtosis(z))
        assert np.mean(spread) == pytest.approx(1, abs=0.03)
        assert abs(np.mean(tails)) < 0.1

    @pytest.mark.parametrize("count", [3, 4, 7, 12])
    def test_few_atoms_are_compared_with_all_the_others(self, count, rng):
        points, height = rng.uniform(0, 50, (count, 2)), rng.uniform(1, 2, count)
        seen = ratio_to_host(points, height, np.full(count, 0.1))
        for k in range(count):
            others = np.delete(height, k)
            medians = [np.median(np.delete(height, [k, j])) for j in range(count) if j != k]
            host = np.mean([np.median(others), *medians])
            assert seen.ratio[k] == pytest.approx(height[k] / host)


class TestNames:
    def test_all_hosts_share_one_rate_of_errors(self):
        """Where one host's dopants are sure, more of the other's may be wrong."""
        sure = Odd(np.array([1.0] * 9 + [0.0] * 50), np.zeros(59))
        doubtful = Odd(np.zeros(30), np.array([0.7] + [0.1] * 29))
        apart = name_odd([doubtful], 0.05)[0]
        together = name_odd([sure, doubtful], 0.05)
        assert not apart.any()
        assert together[0].sum() == 9
        assert together[1].tolist() == [-1] + [0] * 29

    def test_the_expected_share_of_errors_is_the_nearest_to_the_rate(self):
        likely = Odd(np.array([1.0] * 9 + [0.6, 0.2]), np.zeros(11))  # errors: 0 to 0.04, 0.11
        assert name_odd([likely], 0.05)[0].sum() == 10
        likely = Odd(np.array([1.0] * 5 + [0.65, 0.55]), np.zeros(7))  # 0, 0.058, 0.114
        assert name_odd([likely], 0.05)[0].sum() == 6
        assert name_odd([Odd(np.array([0.94]), np.zeros(1))], 0.05)[0].sum() == 0

    @pytest.mark.parametrize("freedom", [4, 200])
    def test_hosts_with_and_without_tails_are_hosts(self, freedom):
        named = total = 0
        for seed in range(8):
            z = np.random.default_rng(seed).standard_t(freedom, 1900)
            seen = HostRatio(1 + 0.05 * z, *(np.full(1900, 0.05) for _ in range(2)))
            named += int(np.abs(name_odd([odd_atoms(seen, least_contrast=0.1)], 0.05)[0]).sum())
            total += 1900
        assert named <= 0.001 * total

    def test_rare_faint_dopants_are_found_beside_sure_ones(self):
        """Four standard deviations above 3400 hosts, 0.3 %; other dopants are sure."""
        found = wrong = there = 0
        sure = Odd(np.ones(12), np.zeros(12))
        for seed in range(24):
            rng = np.random.default_rng(seed)
            dopant = rng.random(3400) < 0.003
            ratio = np.where(dopant, 1.3, 1.0) + rng.normal(0, 0.0756, 3400)
            own = 0.0756 * np.sqrt(np.maximum(1 + 0.4 * (ratio - 1), 0.5))
            odd = odd_atoms(HostRatio(ratio, own, np.full(3400, 0.0756)), least_contrast=0.1)
            named = name_odd([sure, odd], 0.05)[1] > 0
            found, there = found + int((named & dopant).sum()), there + int(dopant.sum())
            wrong += int((named & ~dopant).sum())
        assert found >= 0.6 * there
        assert wrong <= 0.055 * (found + wrong + 24 * 12)

    def test_no_host_has_no_names(self):
        assert name_odd([], 0.05) == []

    def test_dopants_are_as_likely_as_they_are_right(self):
        """3 % dopants five standard deviations above the host, 0.3 % and none at all."""
        rng = np.random.default_rng(0)
        for share, least in ((0.03, 0.9), (0.003, 0.75), (0.0, 0.0)):
            true = rng.random(20_000) < share
            ratio = rng.normal(np.where(true, 1.3, 1.0), 0.06)
            sd = np.full(true.size, 0.07)  # overrated, as it may be
            odd = odd_atoms(HostRatio(ratio, sd, sd), least_contrast=0.1)
            named = name_odd([odd], 0.05)[0] == 1
            assert (named & true).sum() >= least * true.sum()
            assert (named & ~true).sum() <= 0.1 * named.sum()
            assert odd.brighter.sum() == pytest.approx(true.sum(), abs=5 + 0.1 * true.sum())
