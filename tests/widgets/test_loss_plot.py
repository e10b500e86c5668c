"""The plot of the loss and the picture of the manifold."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from qtpy.QtGui import QColor, QPalette

pytest.importorskip("napari")

from napari_rvae._napari.loss_plot import LossPlot, loss_range, round_ticks
from napari_rvae._napari.picture import Picture


@given(
    low=st.floats(-1e6, 1e6),
    width=st.floats(1e-3, 1e6),
    most=st.integers(2, 10),
    whole=st.booleans(),
)
def test_ticks_are_round_equally_far_apart_and_within_the_axis(low, width, most, whole):
    high = low + width
    ticks = round_ticks(low, high, most, whole=whole)
    assert len(ticks) <= max(most + 1, 5)
    assert whole or len(ticks) >= 2
    assert all(low - 1e-6 * width <= tick <= high + 1e-6 * width for tick in ticks)
    steps = np.diff(ticks)
    if len(steps):
        digits = f"{steps[0]:.0e}"[0]
        assert digits in "125"
        assert np.allclose(steps, steps[0], rtol=1e-3)
    if whole:
        assert all(math.isclose(tick, round(tick), abs_tol=1e-6) for tick in ticks)


def test_a_narrow_axis_has_two_ticks():
    assert round_ticks(-2.5, 2.3, 2) == [-2.0, 0.0, 2.0]


def test_an_axis_without_length_has_one_tick():
    assert round_ticks(3.0, 3.0, 5) == [3.0]


@given(st.lists(st.floats(-1e6, 1e6) | st.just(math.nan), max_size=50))
def test_the_axis_holds_the_newest_loss_and_is_never_empty(losses):
    low, high = loss_range(losses)
    assert low < high
    if losses and math.isfinite(losses[-1]):
        assert low <= losses[-1] <= high


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50),
    st.lists(st.floats(-1e6, 1e6) | st.just(math.nan), max_size=50),
)
def test_the_axis_holds_the_newest_losses_of_both_curves(losses, held_out):
    low, high = loss_range(losses, held_out)
    for curve in (losses, held_out):
        if curve and math.isfinite(curve[-1]):
            assert low <= curve[-1] <= high


def test_the_first_epoch_does_not_flatten_the_rest():
    _, high = loss_range([10_000.0, *np.linspace(200, 100, 20)])
    assert high < 250


def _ink(widget):
    """Share of the pixels that are not background."""
    picture = widget.grab().toImage()
    background = picture.pixelColor(picture.width() - 1, 0)
    points = [(x, y) for x in range(picture.width()) for y in range(picture.height())]
    return sum(picture.pixelColor(x, y) != background for x, y in points) / len(points)


@pytest.mark.parametrize("losses", [(), (5.0,), (5.0, 4.0), (math.nan,), tuple(range(40, 0, -1))])
def test_the_plot_draws_whatever_there_is(qtbot, losses):
    plot = LossPlot()
    qtbot.addWidget(plot)
    plot.resize(300, 140)
    plot.show_losses(losses)
    assert plot.losses == losses or math.isnan(losses[0])
    assert 0.01 < _ink(plot) < 0.3


def _colours(plot):
    """Colours of the plot's pixels."""
    picture = plot.grab().toImage()
    size = picture.width(), picture.height()
    return {picture.pixelColor(x, y).name() for x in range(size[0]) for y in range(size[1])}


def _near(colour, colours):
    """Whether some of the colours look like one (a screen may have 16 bits)."""
    wanted = QColor(colour)
    return any(
        max(
            abs(wanted.red() - seen.red()),
            abs(wanted.green() - seen.green()),
            abs(wanted.blue() - seen.blue()),
        )
        < 10
        for seen in map(QColor, colours)
    )


def test_the_held_out_loss_is_a_second_curve_in_the_same_axes(qtbot):
    plot = LossPlot()
    qtbot.addWidget(plot)
    plot.resize(300, 140)
    losses = tuple(range(40, 0, -1))
    for nothing in ((), (math.nan,) * 40):
        plot.show_losses(losses, nothing)
        assert not _near("#d08700", _colours(plot))
    plot.show_losses(losses, tuple(loss + 3.0 for loss in losses))
    assert plot.held_out[-1] == 4.0
    assert _near("#d08700", _colours(plot))
    assert _near("#2f8fd0", _colours(plot))
    assert 0.01 < _ink(plot) < 0.3


def test_the_plot_takes_the_colours_of_its_theme(qtbot):
    plot = LossPlot()
    qtbot.addWidget(plot)
    plot.resize(300, 140)
    plot.show()
    for colour in ("#ff0000", "#00ff00"):
        palette = QPalette()
        palette.setColor(QPalette.ColorRole.WindowText, QColor(colour))
        plot.setPalette(palette)
        picture = plot.grab().toImage()
        seen = [picture.pixelColor(150, y).name() for y in range(picture.height())]
        assert colour in seen


def test_the_picture_keeps_its_proportions(qtbot):
    picture = Picture(widest=200)
    qtbot.addWidget(picture)
    picture.resize(300, 10)
    picture.show()
    picture.show_values(np.full((40, 80), 255, np.uint8))
    assert picture.height() == 100
    picture.resize(100, picture.height())
    assert picture.height() == 50


def test_the_picture_shows_its_grey_values(qtbot):
    picture = Picture(widest=200)
    qtbot.addWidget(picture)
    picture.resize(200, 10)
    values = np.zeros((8, 8), np.uint8)
    values[:, 4:] = 200
    picture.show_values(values)
    image = picture.grab().toImage()
    assert image.pixelColor(20, 100).red() == 0
    assert image.pixelColor(180, 100).red() == pytest.approx(200, abs=8)  # a screen of 16 bits


def test_no_picture_takes_no_room(qtbot):
    picture = Picture()
    qtbot.addWidget(picture)
    picture.show_values(np.zeros((4, 4), np.uint8))
    picture.show_values(None)
    assert picture.height() == 0
    assert picture.values is None
