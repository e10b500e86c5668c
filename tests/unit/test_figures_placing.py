"""Names and rates of a network cover nothing, however small it is drawn."""

import itertools

import numpy as np
import pandas as pd
import pytest

from napari_rvae import Pathways
from napari_rvae.analysis.network import pathway_network
from napari_rvae.figures.networks import network_figure

NAMES = (
    *("host", "3 neighbours, distorted", "4 neighbours, bright (2)", "2 neighbours"),
    *("beside vacancy, 3 neighbours", "5 neighbours, distorted", "edge", "gone"),
)


def _network(count):
    names = [*NAMES[: count - 1], "gone"]
    states = pd.DataFrame({"tracked": "atom", "state": range(count), "name": names})
    states["unit"] = [*range(count - 1), -1]
    states["angle"], states["expected"] = np.nan, np.linspace(900.0, 30, count)
    rows = [
        {
            "tracked": "atom",
            "from_state": a,
            "to_state": b,
            "from_name": names[a],
            "to_name": names[b],
            "rate": 0.001 * (1 + a + 3 * b),
            "n_transitions": 2.0 + (5 * a + 7 * b) % 40,
            "verdict": "rate",
        }
        for a, b in itertools.permutations(range(count), 2)
        if a < count - 1
    ]
    rates = pd.DataFrame(rows)
    rates["rate_low"], rates["rate_high"] = rates["rate"] / 2, rates["rate"] * 2
    complete = Pathways().rates.columns
    return pathway_network(Pathways(states=states, rates=rates.reindex(columns=complete)))


@pytest.mark.parametrize("size", [(3.2, 3.2), (3.3, 4.6), (8.0, 7.0)])
@pytest.mark.parametrize("count", [2, 4, 6, 8])
def test_words_cover_neither_each_other_nor_nodes(count, size):
    figure = network_figure(_network(count), size=size)
    (axes,) = figure.axes
    whole = axes.get_window_extent()
    words = [text for text in axes.texts if text.get_text() not in {"", "∅"}]
    boxes = [text.get_window_extent() for text in words if text.get_ha() == "center"]
    assert len(boxes) >= count
    for one, two in itertools.combinations(boxes, 2):
        shared = one.width + two.width - (max(one.x1, two.x1) - min(one.x0, two.x0))
        above = one.height + two.height - (max(one.y1, two.y1) - min(one.y0, two.y0))
        assert min(shared, above) <= 0.5
    discs = [patch.get_window_extent() for patch in axes.patches if patch.get_zorder() == 4]
    assert len(discs) == count
    for box, disc in itertools.product(boxes, discs):
        middle = np.array([(disc.x0 + disc.x1) / 2, (disc.y0 + disc.y1) / 2])
        nearest = np.clip(middle, [box.x0, box.y0], [box.x1, box.y1])
        assert np.hypot(*(nearest - middle)) >= 0.48 * disc.width - 1
    assert all(box.x0 >= whole.x0 - 1 and box.x1 <= whole.x1 + 1 for box in boxes)


def test_rates_without_room_are_counted():
    network = _network(8)
    figure = network_figure(network, size=(3.2, 3.2))
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert any("no room here" in text for text in texts)
    assert not any(
        "no room here" in text.get_text() for text in network_figure(_network(2)).axes[0].texts
    )
