"""The report page and its export."""

import math
import subprocess
import sys
from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection, QuadMesh

from napari_rvae.errors import InputError
from napari_rvae.figures import page, plots, report_figure, save_figure
from napari_rvae.frames import Frames
from napari_rvae.render import render_gaussians
from napari_rvae.tables import make_sites
from napari_rvae.vae.checks import Check, ModelChecks

N_FRAMES, SIDE, STEP = 3, 96, 12
UNIT_NAMES = ["host", "edge", "dopant"]


@pytest.fixture(scope="module")
def sites():
    y, x = (g.ravel() for g in np.mgrid[6:SIDE:STEP, 6:SIDE:STEP])
    random = np.random.default_rng(0)
    size = N_FRAMES * y.size
    table = make_sites(
        frame=np.repeat(np.arange(N_FRAMES), y.size),
        y=np.tile(y, N_FRAMES),
        x=np.tile(x, N_FRAMES),
        z0=random.normal(0, 1, size),
        z1=random.normal(0, 1, size),
        lattice_angle=random.uniform(-1, 1, size),
    )
    table["z0"] += table["frame"]  # limits of one frame would differ from the movie's
    return table


@pytest.fixture(scope="module")
def frames(sites):
    first = sites[sites["frame"] == 0]
    picture = render_gaussians(first["y"], first["x"], 50.0, 3.0, (SIDE, SIDE))
    return Frames(
        np.stack([picture] * N_FRAMES),
        scale=(1.0, 0.02, 0.02),
        units=("s", "nm", "nm"),
        name="lattice",
    )


@pytest.fixture
def units(sites):
    unit = np.arange(len(sites)) % 3
    table = pd.DataFrame({"site_id": sites["site_id"], "unit": unit})
    count = np.bincount(unit)
    return SimpleNamespace(
        table=table,
        summary=pd.DataFrame({"unit": range(3), "name": UNIT_NAMES, "count": count}),
        colors={},
    )


class StandIn:
    """What the report asks of a trained model."""

    device_ = "cpu"
    n_latents_ = 2
    history_ = [  # noqa: RUF012
        SimpleNamespace(epoch=k, loss=9.0 - k, held_out_loss=math.nan) for k in range(1, 6)
    ]

    def inverse_transform(self, z):
        return np.asarray(z)[:, :1, None, None] * np.ones((1, 1, 16, 16))

    def manifold(self, n=9, *, dims):
        return np.arange(n * n, dtype=float).reshape(n, n, 1, 1, 1) * np.ones((1, 16, 16))


@pytest.fixture
def full(frames, sites, units):
    metrics = {"detection_f1": 0.98765, "rare_class_recall": math.nan, "n_units": 3}
    return report_figure(frames, sites, model=StandIn(), units=units, metrics=metrics, seconds=61.4)


def titles(figure):
    return [axes.get_title(loc="left") for axes in figure.axes if axes.get_title(loc="left")]


def texts(figure):
    inside = [t for axes in figure.axes for t in (*axes.texts, axes.xaxis.label, axes.title)]
    return " | ".join(t.get_text() for t in (*figure.texts, *inside))


def panel(figure, title):
    return next(axes for axes in figure.axes if axes.get_title(loc="left") == title)


def dots(axes):
    return [c for c in axes.collections if isinstance(c, PathCollection)]


def test_the_page_has_all_its_panels(full):
    assert titles(full) == [
        "Sites in frame 1",
        "Lattice angle",
        "Latent z0",
        "Latent z1",
        "Structural units",
        "Manifold of decoded crops",
        "Training",
        "Latent plane",
        "Angles",
        "Share of the units",
        "Against the known truth",
    ]


def test_the_page_says_what_where_and_how_long(full):
    said = texts(full)
    for part in ("lattice", "3 frames of 96 x 96 px", "0.02 nm per px", "192 sites", "cpu", "61 s"):
        assert part in said
    assert "12.0 px (0.24 nm)" in said
    assert "64 atoms" in said


def test_the_held_out_loss_is_a_second_curve_with_a_name(frames, sites):
    model = StandIn()
    (line,) = panel(report_figure(frames, sites, model=model), "Training").lines
    assert line.get_ydata().tolist() == [8, 7, 6, 5, 4]
    model.history_ = [
        SimpleNamespace(epoch=k, loss=9.0 - k, held_out_loss=10.0 - k) for k in range(1, 6)
    ]
    axes = panel(report_figure(frames, sites, model=model), "Training")
    assert [line.get_ydata()[0] for line in axes.lines] == [8, 9]
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["training", "held out"]


CHECKS = ModelChecks(
    (
        Check("angle", 0.5, None, "degrees", "good", "The angle was learnt."),
        Check("pose_leak", 0.4, (0.3, 0.5), "", "bad", "It leaks " + "a lot " * 60 + "."),
        Check("contrast", None, None, "", "info", "Nobody knows."),
    ),
    100,
)


def test_verdicts_stand_below_the_page_the_most_serious_first(frames, sites, full, tmp_path):
    figure = report_figure(frames, sites, model=StandIn(), checks=CHECKS)
    main, strip = figure.subfigs
    said = [text.get_text() for text in strip.texts]
    assert said[0] == "Self-checks of the model"
    assert said[1::3] == ["\N{MULTIPLICATION X}", "\N{BULLET}", "\N{CHECK MARK}"]
    assert said[2].startswith("It leaks a lot")
    assert said[2].count("\n") == 1
    assert said[3::3] == ["0.4 (0.3 to 0.5)", "", "0.5 degrees"]
    # the page itself is the same
    plain = report_figure(frames, sites, model=StandIn())
    assert titles(figure) == titles(plain)
    assert [t.get_text() for t in main.texts] == [t.get_text() for t in plain.texts]
    assert figure.get_size_inches()[1] > plain.get_size_inches()[1] == 10
    box = panel(figure, "Training").get_window_extent()
    assert box.height == pytest.approx(panel(plain, "Training").get_window_extent().height)
    save_figure(figure, tmp_path / "a.png", dpi=30)
    # no line runs into its figure or out of the strip
    canvas = figure.canvas.get_renderer()
    for text in strip.texts:
        assert strip.bbox.contains(*text.get_window_extent(canvas).p0)
    assert strip.texts[2].get_window_extent(canvas).x1 < strip.texts[3].get_window_extent(canvas).x0


def test_metrics_are_listed_and_missing_ones_dashed(full):
    shown = [t.get_text() for t in panel(full, "Against the known truth").texts]
    assert shown == ["detection f1", "0.988", "rare class recall", "-", "n units", "3"]


def test_each_unit_has_a_card_and_a_legend_entry(full):
    assert all(f"{k}  {name}\n64" in texts(full) for k, name in enumerate(UNIT_NAMES))
    legend = panel(full, "Structural units").get_legend()
    assert [t.get_text() for t in legend.get_texts()] == ["0  host", "1  edge", "2  dopant"]


def test_units_have_the_same_colour_everywhere(full):
    lines = {line.get_color() for line in panel(full, "Share of the units").lines}
    handles = panel(full, "Structural units").get_legend().legend_handles
    assert lines == {handle.get_color() for handle in handles[1:]}


@pytest.mark.parametrize("number", range(N_FRAMES))
def test_the_limits_of_a_latent_hold_for_the_whole_movie(frames, sites, number):
    figure = report_figure(frames, sites, frame=number)
    norm = dots(panel(figure, "Latent z0"))[1].norm
    assert (norm.vmin, norm.vmax) == tuple(np.percentile(sites["z0"], (1, 99)))


def test_sites_without_latents_are_rings(frames, sites):
    some = sites.copy()
    some.loc[some["frame"] == 1, "z0"] = np.where(np.arange(64) < 10, np.nan, 0.5)
    rings, coloured = dots(panel(report_figure(frames, some), "Latent z0"))
    assert len(rings.get_offsets()) == 10
    assert len(coloured.get_offsets()) == 54


def test_panels_without_data_are_left_out(frames, sites):
    bare = sites.drop(columns=["z0", "z1", "lattice_angle"])
    assert titles(report_figure(frames, bare)) == ["Sites in frame 1"]
    assert titles(report_figure(frames, bare.iloc[:0])) == ["Sites in frame 1"]
    nothing = sites.assign(z0=np.nan, z1=np.nan, lattice_angle=np.nan)
    assert titles(report_figure(frames, nothing)) == ["Sites in frame 1"]


def test_a_unit_column_is_enough_for_units(frames, sites):
    figure = report_figure(frames, sites.assign(unit=np.arange(len(sites)) % 2))
    legend = panel(figure, "Structural units").get_legend()
    assert [t.get_text() for t in legend.get_texts()] == ["0  unit 0", "1  unit 1"]


def test_one_frame_gets_bars_instead_of_lines(frames, sites):
    one = sites[sites["frame"] == 0].assign(unit=0)
    one.loc[one["site_id"] < 5, "unit"] = 1
    axes = panel(report_figure(frames.data[0], one), "Share of the units")
    assert not axes.lines
    assert len(axes.patches) == 1


def test_a_scale_bar_where_the_scale_is_known_else_pixels(frames, sites):
    known = panel(report_figure(frames, sites), "Sites in frame 1")
    assert any(t.get_text() == "0.5 nm" for t in known.texts)
    assert len(known.get_xticks()) == 0
    unknown = panel(report_figure(frames.data, sites), "Sites in frame 1")
    assert len(unknown.get_xticks()) > 2


def test_many_sites_become_a_density(frames, sites, monkeypatch):
    monkeypatch.setattr(plots, "MAX_SCATTER", 100)
    axes = panel(report_figure(frames, sites), "Latent plane")
    assert any(isinstance(c, QuadMesh) for c in axes.collections)
    assert not dots(axes)


@pytest.mark.parametrize(("widest", "order"), [(0.5, 6), (0.75, 4), (1.0, 3), (1.5, 2), (3.1, 1)])
def test_angles_are_shown_over_their_own_range(frames, sites, widest, order):
    angle = np.linspace(-widest, widest, len(sites))
    figure = report_figure(frames, sites.assign(lattice_angle=angle))
    assert panel(figure, "Angles").get_xlim() == pytest.approx((-180 / order, 180 / order))


def test_empty_frames_and_other_kinds_are_drawn(frames, sites):
    figure = report_figure(np.full((2, 64, 64), np.nan), sites.iloc[:0])
    assert "no sites in this frame" in texts(figure)
    mixed = sites.copy()
    mixed["kind"] = np.resize(["atom", "vacancy", "wall", "grid"], len(mixed))
    assert "16 vacancies" in texts(report_figure(frames, mixed))


def test_dark_and_light_differ_and_others_are_refused(frames, sites):
    light, dark = (report_figure(frames, sites, theme=name) for name in ("light", "dark"))
    assert sum(light.get_facecolor()[:3]) > 2.5
    assert sum(dark.get_facecolor()[:3]) < 0.5
    with pytest.raises(InputError, match="theme"):
        report_figure(frames, sites, theme="pink")


def test_wrong_frames_and_several_movies_are_refused(frames, sites):
    with pytest.raises(InputError, match="no frame 3"):
        report_figure(frames, sites, frame=3)
    two = sites.assign(source=np.where(sites["frame"] == 0, "a", "b"))
    with pytest.raises(InputError, match="several movies"):
        report_figure(frames, two)


def test_limits_are_never_equal():
    assert page.percentile_limits([np.nan, 2.0, 2.0], 1) == (1.5, 2.5)
    assert page.percentile_limits([], 1) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("name", "start"), [("a.png", b"\x89PNG"), ("b.PDF", b"%PDF"), ("c.svg", b"<?xml")]
)
def test_figures_are_written_and_repeat_themselves(frames, sites, tmp_path, name, start):
    figure = report_figure(frames, sites[sites["frame"] == 1], frame=1)
    path = save_figure(figure, tmp_path / name, dpi=40)
    first = path.read_bytes()
    assert first.startswith(start)
    assert len(list(tmp_path.iterdir())) == 1
    if not name.endswith("svg"):  # its ids are drawn at random
        assert save_figure(figure, path, dpi=40).read_bytes() == first


def test_a_failed_export_leaves_the_old_file(frames, sites, tmp_path, monkeypatch):
    figure = report_figure(frames, sites)
    path = tmp_path / "a.png"
    path.write_bytes(b"old")

    def fail(*_, **__):
        raise MemoryError

    monkeypatch.setattr(figure, "savefig", fail)
    with pytest.raises(MemoryError):
        save_figure(figure, path)
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_other_file_types_are_refused(full, tmp_path):
    with pytest.raises(InputError, match="written as"):
        save_figure(full, tmp_path / "page.jpg")
    assert not list(tmp_path.iterdir())


def test_no_setting_of_matplotlib_is_touched(full, tmp_path):
    before = dict(mpl.rcParams)
    save_figure(full, tmp_path / "a.png", dpi=30)
    assert dict(mpl.rcParams) == before


def test_neither_import_nor_drawing_loads_pyplot():
    code = (
        "import sys, numpy as np\n"
        "from napari_rvae.figures import report_figure\n"
        "assert 'matplotlib' not in sys.modules\n"
        "from napari_rvae.tables import make_sites\n"
        "places = np.array([9., 19, 29])\n"
        "sites = make_sites(frame=0, y=places, x=places, z0=places, z1=places)\n"
        "report_figure(np.eye(48), sites)\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
