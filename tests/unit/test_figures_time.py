"""A movie at a glance: density and shares over the frames, and where a marker goes."""

import numpy as np
import pandas as pd
import pytest

from napari_rvae import InputError, Units
from napari_rvae.analysis.shares import count_units, group_shares
from napari_rvae.figures import time_figure
from napari_rvae.figures.time import time_marks
from napari_rvae.tables import make_sites


@pytest.fixture
def sites():
    rng = np.random.default_rng(0)
    n = 300
    unit = rng.integers(-1, 3, n)
    return make_sites(
        frame=np.repeat(np.arange(6), n // 6) + 2,
        y=rng.uniform(0, 99, n),
        x=rng.uniform(0, 99, n),
        z0=rng.normal(size=n),
        unit=unit,
    ).assign(**{"class": pd.Series(np.where(unit == 1, "edge", ""), dtype="str")})


def test_shares_of_units_are_those_that_are_counted(sites):
    shares = group_shares(sites, "unit")
    table = sites[["site_id", "unit"]].assign(unit_probability=1.0)
    counts = table.loc[table["unit"] >= 0, "unit"].value_counts().sort_index()
    names = [f"unit {unit}" for unit in counts.index]
    summary = pd.DataFrame({"unit": counts.index, "name": names, "count": counts.to_numpy()})
    plain = sites.drop(columns=["unit", "class"])
    wanted = count_units(Units(table, summary), plain).pivot_table("share", "frame", "unit")
    assert shares.to_numpy() == pytest.approx(wanted.to_numpy())


def test_shares_of_words_are_of_all_sites(sites):
    shares = group_shares(sites, "class")
    assert shares.columns.tolist() == ["edge"]
    wanted = sites.groupby("frame")["class"].agg(lambda words: (words == "edge").mean())
    assert shares["edge"].to_numpy() == pytest.approx(wanted.to_numpy())
    assert group_shares(sites.assign(unit=-1), "unit").shape == (6, 0)
    with pytest.raises(InputError, match="lacks the column"):
        group_shares(sites, "species")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_marker_goes_to_the_middle_of_each_frame(sites, theme):
    figure = time_figure(sites, "z0", "unit", labels={1: "edge"}, theme=theme)
    assert len(figure.axes) == 2
    marks, (top, bottom) = time_marks(figure, sites)
    assert list(marks) == [2, 3, 4, 5, 6, 7]
    steps = np.diff(list(marks.values()))
    assert steps == pytest.approx(steps[0])
    assert 0 < top < bottom < 1
    box = figure.axes[0].get_position()
    assert marks[2] == pytest.approx(box.x0 + box.width / 12, abs=1e-6)


def test_one_panel_or_nothing(sites):
    assert len(time_figure(sites, groups="class").axes) == 1
    with pytest.raises(InputError, match="nothing to draw"):
        time_figure(sites)
    with pytest.raises(InputError, match="no numbers"):
        time_figure(sites, "kind")


@pytest.mark.filterwarnings("error")
def test_many_names_fit_beside_a_low_figure(sites):
    many = sites.assign(unit=np.arange(len(sites)) % 12)
    names = {unit: f"3 neighbours, other surroundings ({unit})" for unit in range(12)}
    figure = time_figure(many, "z0", "unit", labels=names, size=(4.0, 1.5))
    time_marks(figure, many)  # draws it; Matplotlib warns where panels have no room
    heights = [axes.get_position().height for axes in figure.axes]
    assert min(heights) > 0.25
