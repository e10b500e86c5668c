"""Cards of units as figures."""

import numpy as np
import pandas as pd
import pytest

from napari_rvae import Units
from napari_rvae.analysis.cards import UnitCard
from napari_rvae.analysis.motif import locate_atoms
from napari_rvae.errors import InputError
from napari_rvae.figures import (
    card_figure,
    cards_figure,
    export_units,
    save_figure,
    shares_figure,
    tree_figure,
)
from napari_rvae.render import render_gaussians

FRAMES = 4


def _shares(values):
    return pd.DataFrame(
        {
            "source": "",
            "frame": range(FRAMES),
            "count": 5,
            "share": values,
            "share_sd": 0.01,
            "dose": 10.0,
        }
    )


@pytest.fixture
def cards():
    y, x = np.array([15.5, 15.5, 15.5]), np.array([15.5, 24.5, 6.5])
    picture = render_gaussians(y, x, np.array([3.0, 1.0, 1.0]), 2.0, (32, 32))
    motif = locate_atoms(picture, 9.0, hosts=[1.0], elements={"A": "C", "A+": "Si"})
    host = UnitCard(
        unit=0,
        name="host",
        color="#9db8d2",
        count=90,
        share=0.9,
        decoded=picture,
        mean_crop=picture,
        motif=motif,
        spacing=9.0,
        shares=_shares([0.9] * FRAMES),
        caption="A with two A. 90 sites (90 %).",
    )
    plain = UnitCard(4, "edge", "#e69f00", 10, 0.1, shares=_shares([0.1, 0.1, 0.1, 0.4]))
    return [host, plain]


def _texts(figure):
    inside = [text for axes in figure.axes for text in (*axes.texts, axes.title)]
    return [text.get_text() for text in (*figure.texts, *inside)]


def test_a_card_shows_pictures_atoms_share_and_words(cards):
    figure = card_figure(cards[0])
    assert [axes.get_title() for axes in figure.axes] == [
        "decoded",
        "mean crop",
        "atoms",
        "share per frame",
    ]
    said = _texts(figure)
    for part in ("host", "Si", "C"):
        assert part in said
    assert any("90 sites" in text for text in said)


def test_a_sheet_holds_all_cards_and_leaves_out_what_is_not_there(cards):
    figure = cards_figure(cards, theme="dark", title="Units of a movie")
    said = _texts(figure)
    assert "Units of a movie" in said
    assert "edge" in said
    assert len(figure.axes) == 5  # four of the host, the share of the other
    assert cards_figure(cards * 5).get_size_inches()[1] > figure.get_size_inches()[1]


def test_shares_are_drawn_in_the_units_colours_without_the_largest(cards):
    axes = shares_figure(cards).axes[0]
    (line,) = axes.lines
    assert line.get_ydata().tolist() == [10, 10, 10, 40]
    assert line.get_color() == "#e69f00"
    assert len(shares_figure(cards, with_host=True).axes[0].lines) == 2


def test_the_dose_is_summed_and_a_time_that_is_not_known_is_said(cards):
    axes = shares_figure(cards, against="dose").axes[0]
    assert axes.lines[0].get_xdata().tolist() == [10, 20, 30, 40]
    with pytest.raises(InputError, match="know no time"):
        shares_figure(cards, against="time")


def test_a_single_frame_is_a_bar_and_a_point(cards):
    one = [UnitCard(0, "host", "#9db8d2", 9, 1.0, shares=_shares([1.0] * FRAMES).head(1))]
    assert len(card_figure(one[0]).axes[0].patches) == 1
    assert shares_figure(one).axes[0].lines


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_figures_become_files(cards, tmp_path, suffix):
    path = save_figure(cards_figure(cards), tmp_path / f"units{suffix}")
    assert path.stat().st_size > 5000


def test_nothing_to_draw_and_unknown_themes_are_said(cards):
    with pytest.raises(InputError, match="no units"):
        cards_figure([])
    with pytest.raises(InputError, match="no units"):
        shares_figure([])
    with pytest.raises(InputError, match="theme"):
        card_figure(cards[0], theme="blue")


def test_the_tree_of_mergers_has_a_leaf_for_each_environment():
    site_id = np.arange(12)
    environment = np.repeat([0, 1, 2, 3], 3)
    unit = np.array([0, 0, 5, 7])
    table = pd.DataFrame({"site_id": site_id, "unit": unit[environment], "unit_probability": 1.0})
    names = {"unit": [0, 5, 7], "name": ["host", "Si", "edge"], "count": [6, 3, 3]}
    summary = pd.DataFrame({**names, "color": ["#9db8d2", "#e69f00", "#0072b2"]})
    finer = ["bulk", "beside Si", "Si", "edge"]
    environments = pd.DataFrame({"environment": range(4), "unit": unit, "name": finer, "count": 3})
    tree = pd.DataFrame(
        {"node": [4, 5, 6], "first": [0, 2, 4], "second": [1, 3, 5], "cost": [0.1, 9.0, 99.0]}
    )
    figure = tree_figure(Units(table, summary, environments, tree), theme="dark")
    (axes,) = figure.axes
    assert [text.get_text().partition("  ")[0] for text in axes.texts] == finer
    leaves = [line for line in axes.lines if line.get_marker() == "o"]
    assert [line.get_color() for line in leaves] == ["#9db8d2", "#9db8d2", "#e69f00", "#0072b2"]
    with pytest.raises(InputError, match="no tree"):
        tree_figure(Units(table, summary))


def _tree_of(counts, unit):
    """Units of four environments, joined two and two."""
    table = pd.DataFrame({"site_id": [0], "unit": [unit[0]], "unit_probability": 1.0})
    summary = pd.DataFrame({"unit": sorted(set(unit))}).assign(count=1)
    summary["name"] = [f"unit {number}" for number in summary["unit"]]
    environments = pd.DataFrame({"environment": range(4), "unit": unit, "name": list("abcd")})
    tree = pd.DataFrame(
        {"node": [4, 5, 6], "first": [0, 2, 4], "second": [1, 3, 5], "cost": [0.1, 9.0, 99.0]}
    )
    figure = tree_figure(Units(table, summary, environments.assign(count=counts), tree))
    (axes,) = figure.axes
    dashed = [line for line in axes.lines if line.get_linestyle() == "--"]
    ticks = [int(label.get_text()) for label in axes.get_xticklabels()]
    leaves = [text.get_text().partition("  ")[0] for text in axes.texts]
    return leaves, ticks, [line.get_xdata()[0] for line in dashed]


def test_the_tree_of_mergers_has_no_leaf_without_sites():
    leaves, ticks, dashed = _tree_of([5, 0, 3, 2], [0, 0, 1, 2])
    assert leaves == ["a", "c", "d"]
    assert ticks == [3, 2, 1]
    assert dashed == [0.5]
    assert _tree_of([5, 0, 0, 2], [0, 0, 1, 2]) == (["a", "d"], [2, 1], [0.5])
    with pytest.raises(InputError, match="no tree"):
        _tree_of([5, 0, 0, 0], [0, 0, 1, 2])


def test_the_tree_of_mergers_is_not_cut_where_units_were_merged_by_hand():
    assert _tree_of([1, 1, 1, 1], [0, 0, 1, 2])[2] == [1.5]
    assert _tree_of([1, 1, 1, 1], [0, 0, 0, 0])[2] == [3.5]
    assert _tree_of([1, 1, 1, 1], [0, 1, 1, 2])[2] == []


def test_figures_and_tables_are_exported_and_nothing_is_replaced_unasked(cards, tmp_path):
    table = pd.DataFrame({"site_id": [0, 1], "unit": [0, 4], "unit_probability": 1.0})
    summary = pd.DataFrame({"unit": [0, 4], "name": ["host", "edge"], "count": [90, 10]})
    units = Units(table, summary)
    paths = export_units(tmp_path / "new", units, cards, suffix=".svg", theme="dark")
    assert [path.name for path in paths] == [
        "units.svg",
        "unit_shares.svg",
        "units.csv",
        "unit_shares.csv",
        "unit_neighbours.csv",
        "unit_sites.csv",
    ]
    assert pd.read_csv(paths[2])["caption"][0].startswith("A with two A")
    assert len(pd.read_csv(paths[3])) == 2 * FRAMES
    with pytest.raises(InputError, match="there already"):
        export_units(tmp_path / "new", units, cards, suffix=".svg")
    assert export_units(tmp_path / "new", units, cards, overwrite=True)
