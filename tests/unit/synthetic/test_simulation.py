import numpy as np
import pytest

from napari_rvae.synthetic import Simulation, simulate_graphene
from napari_rvae.synthetic.simulation import true_sites


def part(y, species):
    n = len(y)
    return {
        "y": np.array(y, float),
        "x": np.zeros(n),
        "species": np.array(species),
        "sublattice": np.zeros(n, int),
        "environment": np.array(["bulk"] * n),
        "grain": np.zeros(n, int),
        "angle": np.zeros(n),
        "symmetry": np.full(n, 3),
        "amplitude": np.array(y, float),
        "sigma": np.ones(n),
        "track_id": np.arange(n),
    }


def test_rows_of_all_frames_stay_whole_when_they_are_sorted():
    table = true_sites([part([3.0, 1.0], ["C", ""]), part([2.0], ["Si"])])
    assert table["frame"].tolist() == [0, 0, 1]
    assert table["amplitude"].tolist() == table["y"].tolist() == [1.0, 3.0, 2.0]
    assert table["kind"].tolist() == ["vacancy", "atom", "atom"]
    assert table["species"].tolist() == ["", "C", "Si"]


def test_a_frame_without_sites_is_no_trouble():
    table = true_sites([part([], []), part([2.0], ["C"])])
    assert table["frame"].tolist() == [1]


def test_simulations_are_frozen_and_compared_by_identity():
    first, second = (simulate_graphene(n_frames=1, size=64) for _ in range(2))
    assert isinstance(first, Simulation)
    assert first != second
    with pytest.raises(AttributeError):
        first.sites = None
