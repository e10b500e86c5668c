"""A unit has one colour: in layers, on cards, in every figure, given or not."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from napari_rvae import Frames, Pathways, Units, map_layer, points_layer, unit_cards
from napari_rvae.analysis.network import pathway_network
from napari_rvae.figures import time_figure
from napari_rvae.figures.networks import network_figure, order_figure
from napari_rvae.figures.page import make_page, theme_of
from napari_rvae.figures.pathway_page import _draw_shares as draw_shares
from napari_rvae.figures.units import shares_figure
from napari_rvae.layers.colours import legend_of
from napari_rvae.tables import make_sites

#: Numbers with gaps, as edits leave them, the most common first.
UNITS = [0, 3, 7]


def hexes(colours):
    return [to_hex(colour) for colour in colours]


@pytest.fixture(params=["given", "by number"])
def case(request):
    """Sites, their units, and the colours of these."""
    y, x = 10.0 * np.indices((6, 10)).reshape(2, -1)
    sites = make_sites(frame=np.repeat([0, 1], 60), y=np.tile(y, 2), x=np.tile(x, 2))
    unit = np.tile(np.repeat(UNITS, [40, 5, 15]), 2)
    table = sites[["site_id"]].assign(unit=unit, unit_probability=1.0)
    summary = pd.DataFrame({"unit": UNITS, "name": ["host", "Si", "edge"], "count": [80, 10, 30]})
    if request.param == "given":
        summary["color"] = ["#112233", "#aa0000", "#00bb00"]
    units = Units(table, summary)
    return sites.assign(unit=unit), units, units.colors


def test_cards_and_shares(case):
    sites, units, colors = case
    cards = unit_cards(units, sites)
    assert [card.color for card in cards] == [colors[card.unit] for card in cards]
    lines = shares_figure(cards, with_host=True).axes[0].lines
    assert {to_hex(line.get_color()) for line in lines} == set(colors.values())


def test_the_page_of_a_run(case):
    sites, units, colors = case
    frames = Frames(np.zeros((2, 60, 100), np.float32))
    for known in (units, None):
        legend = make_page(frames, sites, model=None, units=known, frame=0, theme="light").units
        wanted = colors if known is not None else Units(units.table, units.summary[
            ["unit", "name", "count"]]).colors  # fmt: skip
        assert dict(zip(legend["unit"], legend["colour"], strict=True)) == wanted


def test_layers(case):
    sites, units, colors = case
    frames = Frames(np.zeros((2, 60, 100), np.float32))
    given = colors if "color" in units.summary else None
    entries = legend_of(sites, "unit", colors=given)
    assert {e.value: e.colour for e in entries if e.value is not None} == colors
    _, points, _ = points_layer(sites, frames, color_by="unit", colors=given)
    assert points["face_color"]["categorical_colormap"]["colormap"] == colors
    _, areas, _ = map_layer(sites, "unit", frames, colors=given)
    colormap = areas["colormap"]
    assert [colormap[unit + 1] for unit in UNITS] == [colors[unit] for unit in UNITS]


def test_figures_over_time(case):
    sites, units, colors = case
    given = colors if "color" in units.summary else {}
    axes = time_figure(sites, groups="unit", colors=given).axes[-1]
    drawn = {line.get_label(): to_hex(line.get_color()) for line in axes.lines}
    assert {drawn[str(unit)] for unit in (3, 7)} == {colors[3], colors[7]}
    order = pd.DataFrame({"frame": [0, 1] * 3, "source": "", "dose": np.nan, "time": np.nan})
    order["name"] = np.repeat([f"unit {unit}" for unit in UNITS], 2)
    order = order.assign(value=0.3, low=0.2, high=0.4, n=9)
    named = {f"unit {unit}": colour for unit, colour in given.items()}
    lines = order_figure(order, ["unit 7", "unit 3"], colors=named).axes[0].lines
    assert hexes(line.get_color() for line in lines) == [colors[7], colors[3]]
    panel = time_figure(sites, groups="unit").axes[-1]
    draw_shares(panel, order, unit_cards(units, sites) if given else [], theme_of("light"))
    shown = {to_hex(line.get_color()) for line in panel.lines}
    assert {colors[3], colors[7]} <= shown


def test_the_network(case):
    sites, units, colors = case
    states = pd.DataFrame({"state": [0, 1, 2], "tracked": "atom", "name": ["a", "b", "c"]})
    states = states.assign(unit=UNITS, angle=np.nan, expected=10.0)
    cards = unit_cards(units, sites) if "color" in units.summary else []
    network = pathway_network(Pathways(states=states))
    discs = network_figure(network, cards).axes[0].patches
    rims = {to_hex(disc.get_edgecolor()) for disc in discs}
    assert set(colors.values()) <= rims
