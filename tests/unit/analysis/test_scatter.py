"""Two columns of a table against each other."""

import numpy as np
import pandas as pd
import pytest

from napari_rvae import InputError
from napari_rvae.analysis.scatter import (
    MAX_POINTS,
    bin_counts,
    density_counts,
    plot_range,
    plotted_values,
    scatter_of,
)


def test_only_what_has_both_values_is_a_point():
    table = pd.DataFrame({"z0": [0.0, np.nan, 2.0, 3.0], "z1": [1.0, 1.0, np.inf, 4.0]})
    points = scatter_of(table, "z0", "z1")
    assert points.row.tolist() == [0, 3]
    assert (points.n_missing, len(points), points.is_dense) == (2, 2, False)
    assert points.take(points.x > 1).row.tolist() == [3]


def test_many_points_are_a_density():
    table = pd.DataFrame({"z0": np.zeros(MAX_POINTS + 1)})
    assert scatter_of(table, "z0", "z0").is_dense


def test_values_as_they_are_shown():
    table = pd.DataFrame({"unit": [0, -1], "lattice_angle_sd": [0.1, 0.2], "kind": ["atom"] * 2})
    assert np.isnan(plotted_values(table, "unit")).tolist() == [False, True]
    assert plotted_values(table, "lattice_angle_sd")[0] == pytest.approx(np.degrees(0.1))
    assert plotted_values(table, "lattice_angle_sd", in_degrees=False)[0] == 0.1
    with pytest.raises(InputError, match="no numbers"):
        plotted_values(table, "kind")


def test_the_ends_of_an_axis_are_never_equal():
    assert plot_range([]) == (0.0, 1.0)
    low, high = plot_range([3.0, 3.0, np.nan])
    assert low < 3 < high
    many = np.r_[np.linspace(0, 1, 10_000), 1e9]  # one outlier does not flatten the rest
    assert plot_range(many)[1] < 2


def test_margins_and_density_count_the_same_points():
    rng = np.random.default_rng(0)
    points = scatter_of(
        pd.DataFrame({"a": rng.normal(size=500), "b": rng.normal(size=500)}), "a", "b"
    )
    ends = (-1.5, 1.5)
    inside = points.take((np.abs(points.x) <= 1.5) & (np.abs(points.y) <= 1.5))
    counts = density_counts(points, ends, ends, (6, 9))
    assert counts.shape == (6, 9)
    assert counts.sum(axis=0).tolist() == bin_counts(inside.x, ends, 9).tolist()
    assert counts[::-1].sum(axis=1).tolist() == bin_counts(inside.y, ends, 6).tolist()  # y is up
