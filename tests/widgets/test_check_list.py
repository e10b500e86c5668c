"""The verdicts under the loss plot."""

import pytest

pytest.importorskip("napari")

from superqt import QCollapsible

from napari_rvae._napari.check_list import CheckList
from napari_rvae._napari.panel import StatusLine
from napari_rvae.vae.checks import Check, ModelChecks

ANGLE = Check("angle", 0.5, None, "degrees", "good", "The angle was learnt.")
LEAK = Check("pose_leak", 0.4, (0.3, 0.5), "", "bad", "It leaks <much>.", "Train longer.")
RAMP = Check("position", 0.9, None, "", "warn", "z1 follows x.", "Look at its map.")
DIM = Check("contrast", None, None, "", "info", "Nobody knows.")
USED = Check("active", 2.0, None, "latents", "good", "2 of 2 latents are in use.")


@pytest.fixture
def listed(qtbot):
    widget = CheckList()
    qtbot.addWidget(widget)
    widget.show()
    return widget


def in_view(widget):
    """Lines that can be read without unfolding anything."""
    folded = {
        line
        for fold in widget.findChildren(QCollapsible)
        if not fold.isExpanded()
        for line in fold.findChildren(StatusLine)
    }
    return [line.plain_text for line in widget.lines if line not in folded]


def test_the_serious_ones_come_first_and_the_rest_is_folded(listed):
    listed.show_checks(ModelChecks((ANGLE, DIM, RAMP, USED, LEAK), 9))
    assert in_view(listed) == ["It leaks <much>.", "z1 follows x.", "The angle was learnt."]
    (fold,) = listed.findChildren(QCollapsible)
    assert fold.text() == "2 more checks"
    fold.expand(animate=False)
    assert in_view(listed)[3:] == ["Nobody knows.", "2 of 2 latents are in use."]


def test_signs_show_the_level_and_tooltips_the_figure_and_advice(listed):
    listed.show_checks(ModelChecks((LEAK, RAMP, ANGLE), 9))
    leak, ramp, angle = listed.lines
    for line, sign in ((leak, "✕"), (ramp, "⚠"), (angle, "✓")):
        assert sign in line.text()
    assert leak.toolTip() == "pose leak: 0.4 (0.3 to 0.5)\nTrain longer."
    assert angle.toolTip() == "angle: 0.5 degrees"
    assert "&lt;much&gt;" in leak.text()
    assert not listed.findChildren(QCollapsible)


def test_other_checks_take_the_place_of_the_earlier_ones(listed, qtbot):
    listed.show_checks(ModelChecks((LEAK, USED), 9))
    listed.show_checks(ModelChecks((USED,), 9))
    qtbot.waitUntil(lambda: len(listed.findChildren(QCollapsible)) == 1)
    assert [line.plain_text for line in listed.lines] == [USED.text]
    assert listed.findChildren(QCollapsible)[0].text() == "1 check"
    listed.show_checks(None)
    assert listed.isHidden()
    assert listed.lines == []
