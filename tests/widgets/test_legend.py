"""The legend of categories."""

import pytest

pytest.importorskip("napari")

from napari_rvae._napari.legend import MOST_ENTRIES, Legend
from napari_rvae.layers import LegendEntry


@pytest.fixture
def legend(qtbot):
    made = Legend()
    qtbot.addWidget(made)
    return made


def _entries(count):
    named = [LegendEntry(k, f"unit {k}", "#e69f00", 1000 + k) for k in range(count)]
    return [*named, LegendEntry(None, "none", "#606060", 7)]


def test_names_colours_and_counts(legend):
    legend.show_entries(_entries(2), [LegendEntry(1, "unit 1", "#e69f00", 3)], title="unit")
    assert legend.rows() == [
        ("unit 0", "0", "1,000"),
        ("unit 1", "3", "1,001"),
        ("none", "0", "7"),
    ]
    icon = legend.table.item(0, 0).icon().pixmap(24, 24).toImage()
    assert icon.pixelColor(icon.width() // 2, icon.height() // 2).name() == "#e69f00"
    headings = [legend.table.horizontalHeaderItem(k).text() for k in range(3)]
    assert headings == ["unit", "frame", "movie"]


def test_counts_of_another_frame(legend):
    entries = _entries(2)
    legend.show_entries(entries, [])
    legend.show_entries(entries, [LegendEntry(None, "none", "#606060", 5)])
    assert [row[1] for row in legend.rows()] == ["0", "0", "5"]


def test_one_image_has_one_count(legend):
    legend.show_entries(_entries(2))
    assert legend.table.isColumnHidden(1)
    assert legend.table.horizontalHeaderItem(2).text() == "sites"
    legend.show_entries(_entries(2), [])
    assert not legend.table.isColumnHidden(1)


def test_a_long_legend_scrolls(legend):
    heights = []
    for count in (5, 19, 60):
        legend.show_entries(_entries(count))
        heights.append(legend.table.height())
    assert heights[0] < heights[1] == heights[2]
    assert legend.table.rowCount() == 61


def test_too_long_a_legend_is_counted(legend):
    legend.show_entries(_entries(MOST_ENTRIES), [])
    assert legend.table.isHidden()
    assert legend.rows() == []
    assert legend.note.text().startswith("201 values: too many")
    legend.show_entries(_entries(2), [])
    assert legend.note.isHidden()
    assert len(legend.rows()) == 3


def test_without_categories_there_is_nothing_to_see(legend):
    legend.show_entries(_entries(2))
    assert not legend.isHidden()
    legend.show_entries(())
    assert legend.isHidden()


def test_boxes_switch_categories_off_and_on(qtbot):
    legend = Legend()
    qtbot.addWidget(legend)
    entries = [LegendEntry(0, "host", "#9cb8d8", 3), LegendEntry(None, "none", "#606060", 1)]
    said = []
    legend.switched.connect(said.append)
    legend.show_entries(entries, hidden=[0])
    assert legend.hidden() == [0]
    assert not said  # the user has switched nothing
    legend.switch(0, on=True)
    legend.switch(None, on=False)
    assert said == [[], [None]]
    legend.show_entries(entries, hidden=said[-1])
    assert legend.hidden() == [None]
