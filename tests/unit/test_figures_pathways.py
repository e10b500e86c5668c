"""Figures of pathways and landscapes, and the network that they draw."""

import math

import numpy as np
import pandas as pd
import pytest

from napari_rvae import Crops, InputError, Pathways, film_strip, latent_landscape, latent_path
from napari_rvae.analysis.cards import UnitCard
from napari_rvae.analysis.network import pathway_network
from napari_rvae.figures import export_pathways, pathways_figure, save_figure
from napari_rvae.figures.landscapes import film_figure, landscape_figure, landscape_targets
from napari_rvae.figures.networks import (
    network_figure,
    network_targets,
    node_radius,
    order_figure,
    order_targets,
)
from napari_rvae.figures.pathway_files import default_quantities


def make_pathways(count=3, **changes):
    """States 0, 1, ..., the last one never seen; 0 -> 1 often, 1 -> 0 now and then, 1 -> 2 once."""
    states = pd.DataFrame({"state": range(count), "tracked": "atom"})
    states["name"] = [f"kind {k}" for k in range(count)]
    states["unit"] = [*range(count - 1), -1]
    states["angle"] = np.nan
    states["expected"] = [*(30.0 / (k + 1) for k in range(count - 1)), np.nan]
    rows = []
    seen = {(0, 1): (20.0, "rate"), (1, 0): (5.0, "order of magnitude")}
    seen[1, count - 1] = (1.0, "upper limit")
    for one in range(count - 1):
        for two in range(count):
            if one != two:
                n, verdict = seen.get((one, two), (0.0, "upper limit"))
                rate = (n + 0.5) / 1000
                ends = {"from_state": one, "to_state": two, "n_transitions": n, "verdict": verdict}
                rows.append(ends | {"rate": rate, "rate_low": rate / 2, "rate_high": 2 * rate})
    rates = pd.DataFrame(rows).assign(tracked="atom")
    for name in ("rate_per_second", "rate_per_dose"):
        for end in ("", "_low", "_high"):
            rates[f"{name}{end}"] = np.nan
    names = states["name"].to_numpy()
    rates["from_name"], rates["to_name"] = names[rates["from_state"]], names[rates["to_state"]]
    for name in ("n_events", "exposure", "exposure_seconds", "exposure_dose"):
        rates[name] = 100.0
    events = pd.DataFrame({"frame": [3, 7], "y": [5.0, 9.0], "x": [6.0, 8.0], "source": ""})
    events = events.assign(tracked="atom", track_id=[4, 5], lattice_track_id=-1, n_sites=1.0)
    events = events.assign(from_state=[0, 1], to_state=[1, 0], probability=0.9)
    events = events.assign(from_name=["kind 0", "kind 1"], to_name=["kind 1", "kind 0"])
    return Pathways(**({"states": states, "rates": rates, "events": events} | changes))


def make_cards(count=2):
    line = np.arange(24) - 11.5
    picture = np.exp(-(line[:, None] ** 2 + line**2) / 8).astype(np.float32)
    return [
        UnitCard(k, f"kind {k}", "#e69f00", count=9, share=0.5, decoded=picture)
        for k in range(count)
    ]


# ----------------------------------------------------------------------------- network
def test_network_tells_rates_as_well_as_they_are_known():
    network = pathway_network(make_pathways())
    edges = network.edges.set_index(["from_state", "to_state"])
    assert edges.loc[(0, 1), "text"] == "0.021 (0.01 to 0.041)"
    assert edges.loc[(1, 0), "text"] == "about 0.0055 (0.0027 to 0.011)"
    assert edges.loc[(1, 2), "text"] == "< 0.003"
    assert edges["n_events"].tolist() == [1, 1, 0]
    assert (network.unseen, network.left_out, network.alone) == (1, 0, 0)
    assert network.nodes["share"].sum() == pytest.approx(1)
    assert np.hypot(network.nodes["y"], network.nodes["x"]).to_numpy() == pytest.approx(1)
    assert network.nodes["y"][0] == pytest.approx(1)  # the first state stands on top


def test_small_rates_are_written_with_a_power_of_ten():
    pathways = make_pathways()
    rates = pathways.rates.assign(
        rate_per_dose=2.5e-6, rate_per_dose_low=1e-6, rate_per_dose_high=4e-6
    )
    network = pathway_network(make_pathways(rates=rates), per="dose")
    assert network.edges["text"][0] == "2.5·10⁻⁶ (1.0·10⁻⁶ to 4.0·10⁻⁶)"
    assert network.per == "per e/Å²"


def test_crowded_networks_leave_out_what_stands_alone():
    network = pathway_network(make_pathways(12))
    assert network.nodes["state"].tolist() == [0, 1, 11]
    assert network.alone == 9
    assert len(pathway_network(make_pathways(), most=1).edges) == 1


def test_network_says_what_is_missing():
    with pytest.raises(InputError, match="no states of places"):
        pathway_network(make_pathways(), tracked="place")
    with pytest.raises(InputError, match="no rate per s: choose per frame"):
        pathway_network(make_pathways(), per="second")


def test_nodes_do_not_overlap():
    for count in range(2, 30):
        gap = 2 * math.sin(math.pi / count)
        assert 2 * node_radius(count) < gap


# ----------------------------------------------------------------------------- figures
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_network_is_drawn_with_pictures_and_dashed_limits(theme, tmp_path):
    states = make_pathways().states.assign(unit=[1, 1, -1], angle=[0.0, math.pi / 3, np.nan])
    pathways = make_pathways(states=states)
    figure = network_figure(pathway_network(pathways), make_cards(), theme=theme)
    (axes,) = figure.axes
    assert len(axes.images) == 2
    one, two = (np.asarray(image.get_array()) for image in axes.images)
    assert one.shape == two.shape
    assert {patch.get_linestyle() for patch in axes.patches} > {"-"}  # and dashed ones
    texts = [text.get_text() for text in axes.texts]
    assert "< 0.003" in texts
    assert any("dashed" in text for text in texts)
    assert save_figure(figure, tmp_path / "network.svg").stat().st_size > 1000


def test_states_of_one_unit_are_turned_by_their_angle():
    card = make_cards(1)[0]
    picture = np.zeros((24, 24), np.float32)
    picture[11:13, 16:20] = 1  # to the right
    card = UnitCard(0, "host", "#e69f00", count=9, share=1.0, decoded=picture)
    states = make_pathways().states.assign(unit=[0, 0, -1], angle=[0.1, 0.1 + math.pi / 2, np.nan])
    (axes,) = network_figure(pathway_network(make_pathways(states=states)), [card]).axes
    right, up = (np.asarray(image.get_array()) for image in axes.images)
    assert right[:, 12:].sum() > 5 * right[:, :12].sum()
    assert up[:12].sum() > 5 * abs(up[12:].sum())


def test_order_parameters_are_drawn_with_bands():
    order = pd.DataFrame({"frame": [0, 1, 2] * 3, "source": ""})
    order["name"] = np.repeat(["unit 0", "unit 1", "entropy of units"], 3)
    order = order.assign(value=0.5, low=0.4, high=0.6, n=9, dose=[1.0, 2.0, 3.0] * 3, time=np.nan)
    figure = order_figure(order, ["unit 0", "unit 1", "entropy of units"], against="dose")
    assert [len(axes.lines) for axes in figure.axes] == [2, 1]
    assert figure.axes[0].lines[0].get_ydata().tolist() == [50.0] * 3
    assert "dose" in figure.axes[-1].get_xlabel()
    with pytest.raises(InputError, match="know no time"):
        order_figure(order, ["unit 0"], against="time")
    with pytest.raises(InputError, match="no order parameter z9"):
        order_figure(order, ["z9"])


class Blob:
    """Two latents: place and brightness of an atom."""

    noise_sd_ = 0.1

    def inverse_transform(self, z, *, angle=0.0, shift=(0.0, 0.0)):
        z = np.atleast_2d(np.asarray(z, float))
        turn = np.broadcast_to(np.asarray(angle, float), len(z))
        line = np.arange(24) - 11.5
        y, x = -4 * z[:, 0] * np.sin(turn), 4 * z[:, 0] * np.cos(turn)
        spot = np.exp(-((line[:, None] - y[:, None, None]) ** 2) / 8)
        spot = spot * np.exp(-((line - x[:, None, None]) ** 2) / 8)
        return ((1 + z[:, 1, None, None]) * spot)[:, None].astype(np.float32)


@pytest.fixture(scope="module")
def landscape():
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.random((120, 2)), columns=["z0", "z1"])
    table = table.assign(site_id=np.arange(120), unit=(table["z0"] > 0.5).astype(int))
    return latent_landscape(Blob(), table, n_nodes=20)


@pytest.mark.parametrize("plane", [None, ("z0", "z1")])
def test_landscape_is_drawn_with_units_ways_and_passages(landscape, plane, tmp_path):
    path = latent_path(landscape, 0, 1)
    passages = landscape.sites.iloc[:3].assign(event=0)
    figure = landscape_figure(
        landscape, make_cards(), paths=[path], passages=passages, plane=plane, theme="dark"
    )
    axes = figure.axes[0]
    assert len(axes.lines) == 1 + 1 + 2
    assert len(axes.artists) == 2
    words = "of their squares" if plane is None else "mean nothing"
    assert words in figure.texts[0].get_text().replace("\n", " ")
    low, high = np.array([axes.get_xlim(), axes.get_ylim()]).T
    shown = landscape.sites[["p0", "p1"] if plane is None else list(plane)]
    assert ((shown > low) & (shown < high)).all(axis=None)
    save_figure(figure, tmp_path / "landscape.png")
    with pytest.raises(InputError, match="no coordinate z7"):
        landscape_figure(landscape, plane=("z0", "z7"))


def test_film_strip_is_drawn_in_one_or_two_rows(landscape):
    path = latent_path(landscape, 0, 1)
    sites = landscape.sites.assign(angle=0.0, shift_y=0.0, shift_x=0.0)
    crops = Crops(
        images=Blob().inverse_transform(sites[["z0", "z1"]]), site_id=sites["site_id"].to_numpy()
    )
    strip = film_strip(Blob(), path, n=4, crops=crops, latents=sites)
    figure = film_figure(strip, title="there")
    assert len(figure.axes) == 8
    assert any(text.get_text().startswith("0\n±") for text in figure.texts)
    figure = film_figure(film_strip(Blob(), path, n=4), labels=["a", "b", "c", "d"], width=3.0)
    assert len(figure.axes) == 4
    assert "d" in [text.get_text() for text in figure.texts]


# ----------------------------------------------------------------------------- what can be clicked
def test_nodes_and_arrows_are_found_where_they_are_drawn():
    network = pathway_network(make_pathways())
    figure = network_figure(network, size=(4.0, 7.0))
    targets = network_targets(figure, network)
    nodes = targets[targets["state"] >= 0]
    assert nodes["state"].tolist() == [0, 1, 2]
    axes = figure.axes[0]
    stretch = max(patch.center[1] for patch in axes.patches if hasattr(patch, "center"))
    assert stretch > 1  # there is more room upwards
    for row, node in zip(nodes.itertuples(), network.nodes.itertuples(), strict=True):
        place = axes.transData.transform((node.x, stretch * node.y))
        assert row.x == pytest.approx(place[0] / 400)
        assert row.y == pytest.approx(1 - place[1] / 700)
    there = targets[(targets["from_state"] == 0) & (targets["to_state"] == 1)]
    back = targets[(targets["from_state"] == 1) & (targets["to_state"] == 0)]
    apart = np.hypot(there["x"].mean() - back["x"].mean(), there["y"].mean() - back["y"].mean())
    assert apart > 0.03  # two arrows, not one
    assert ((targets[["x", "y"]] > 0) & (targets[["x", "y"]] < 1)).all(axis=None)


def test_frames_and_sites_are_found_where_they_are_drawn(landscape):
    order = pd.DataFrame({"frame": [0, 1, 2], "source": "", "name": "z0"})
    figure = order_figure(order.assign(value=0.5, low=0.4, high=0.6, n=9), ["z0"])
    marks = order_targets(figure, [0, 1, 2])
    steps = np.diff(marks["x"])
    assert steps == pytest.approx(steps[0])
    assert 0 < marks["top"][0] < marks["bottom"][0] < 1
    figure = landscape_figure(landscape)
    targets = landscape_targets(figure, landscape.sites)
    assert targets["site_id"].tolist() == landscape.sites["site_id"].tolist()
    assert np.corrcoef(targets["x"], landscape.sites["p0"])[0, 1] > 0.999
    assert np.corrcoef(targets["y"], landscape.sites["p1"])[0, 1] < -0.999


def test_everything_is_exported(landscape, tmp_path):
    order = pd.DataFrame({"frame": [0, 1], "source": "", "name": "entropy of units"})
    files = export_pathways(
        tmp_path / "out",
        make_pathways(),
        make_cards(),
        order=order.assign(value=0.5, low=0.4, high=0.6, n=9),
        landscape=landscape,
        paths=[latent_path(landscape, 0, 1)],
        strips={"kind 0 to kind 1": film_strip(Blob(), [[0.0, 0.0], [1.0, 1.0]], n=3)},
        suffix=".svg",
    )
    names = {path.name for path in files}
    assert names >= {"network_atom.svg", "order_parameters.svg", "landscape.svg"}
    assert names >= {"film_kind_0_to_kind_1.svg", "pathways_events.csv", "landscape_sites.csv"}
    assert all(path.stat().st_size > 0 for path in files)
    with pytest.raises(InputError, match="is there already"):
        export_pathways(tmp_path / "out", make_pathways())


def test_shares_of_the_largest_unit_are_left_out():
    order = pd.DataFrame({"name": [f"unit {k}" for k in range(11)] + ["z0"]})
    order = order.assign(value=[0.5, *(0.1 - 0.001 * k for k in range(10)), 3.0])
    assert default_quantities(order, ()) == [*(f"unit {k}" for k in range(1, 9)), "z0"]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_page_of_pathways_has_all_that_is_there(landscape, theme, tmp_path):
    order = pd.DataFrame({"frame": [0, 1] * 2, "source": "", "name": ["unit 0", "unit 1"] * 2})
    order = order.sort_values("name").assign(value=[0.9, 0.8, 0.1, 0.2], low=0.1, high=0.2, n=9)
    notes = pd.DataFrame({"note": ["Rates of the two halves differ. " * 12, "No more."]})
    passages = landscape.sites.iloc[:3].assign(event=0)
    page = pathways_figure(
        make_pathways(notes=notes),
        make_cards(),
        order=order,
        landscape=landscape,
        passages=passages,
        strips={"there": film_strip(Blob(), [[0.0, 0.0], [1.0, 1.0]], n=5)},
        theme=theme,
    )
    texts = [text.get_text() for text in page.texts]
    for title in ("States of dopant atoms", "Landscape of decoded pictures", "Events so far"):
        assert title in texts
    assert texts[0] == "Transformation pathways"
    assert texts[-1].endswith("• No more.")
    save_figure(page, tmp_path / "page.png", dpi=50)
    assert len(pathways_figure(Pathways()).axes) == 0
