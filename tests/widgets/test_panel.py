"""Parts of the dock widgets: choices that follow the viewer, progress, the status line."""

import threading

import numpy as np
import pytest

pytest.importorskip("napari")

from napari.components import ViewerModel
from napari.layers import Image, Points
from qtpy.compat import isalive
from qtpy.QtWidgets import QLabel

from napari_rvae._napari.jobs import Progress, time_left
from napari_rvae._napari.panel import (
    JobPanel,
    LayerChoice,
    StatusLine,
    StepWidget,
    button,
)
from napari_rvae._napari.workspace import Workspace
from napari_rvae.errors import InputError

PICTURE = np.zeros((16, 16))


def _is_image(layer):
    return isinstance(layer, Image)


@pytest.fixture
def viewer():
    return ViewerModel()


@pytest.fixture
def choice(qtbot, viewer):
    made = LayerChoice(viewer.layers, _is_image)
    qtbot.addWidget(made)
    return made


def _names(choice):
    return [choice.itemText(i) for i in range(choice.count())]


# ---------------------------------------------------------------------- LayerChoice
def test_choice_is_empty_in_an_empty_viewer(choice):
    assert choice.layer() is None
    assert choice.count() == 0
    assert choice.placeholderText()


def test_choice_takes_what_is_there_already(qtbot, viewer):
    image = viewer.add_image(PICTURE)
    made = LayerChoice(viewer.layers, _is_image)
    qtbot.addWidget(made)
    assert made.layer() is image


def test_a_layer_that_comes_is_chosen_and_told(qtbot, viewer, choice):
    with qtbot.waitSignal(choice.chosen, timeout=1000):
        image = viewer.add_image(PICTURE, name="first")
    assert choice.layer() is image
    second = viewer.add_image(PICTURE, name="second")
    assert choice.layer() is second
    assert _names(choice) == ["first", "second"]


def test_a_layer_that_comes_hidden_is_not_chosen_beside_one_that_is_seen(viewer, choice):
    alone = viewer.add_image(PICTURE, name="alone", visible=False)
    assert choice.layer() is alone
    seen = viewer.add_image(PICTURE, name="amplitude")
    viewer.add_image(PICTURE, name="phase", visible=False)
    assert choice.layer() is seen
    assert _names(choice) == ["alone", "amplitude", "phase"]


def test_layers_of_another_kind_do_not_disturb(qtbot, viewer, choice):
    image = viewer.add_image(PICTURE)
    with qtbot.assertNotEmitted(choice.chosen):
        viewer.add_points(np.zeros((1, 2)))
    assert choice.layer() is image
    assert choice.count() == 1


def test_removing_another_layer_keeps_the_choice(viewer, choice):
    first = viewer.add_image(PICTURE)
    second = viewer.add_image(PICTURE)
    choice.choose(first)
    viewer.layers.remove(second)
    assert choice.layer() is first


def test_removing_the_chosen_layer_chooses_another_and_then_none(qtbot, viewer, choice):
    first = viewer.add_image(PICTURE)
    second = viewer.add_image(PICTURE)
    with qtbot.waitSignal(choice.chosen, timeout=1000):
        viewer.layers.remove(second)
    assert choice.layer() is first
    with qtbot.waitSignal(choice.chosen, timeout=1000):
        viewer.layers.remove(first)
    assert choice.layer() is None


def test_renaming_and_reordering_keep_the_choice(qtbot, viewer, choice):
    first = viewer.add_image(PICTURE, name="first")
    viewer.add_image(PICTURE, name="second")
    choice.choose(first)
    with qtbot.assertNotEmitted(choice.chosen):
        first.name = "renamed"
        viewer.layers.move(0, 2)
    assert choice.layer() is first
    assert sorted(_names(choice)) == ["renamed", "second"]


def test_none_can_be_a_choice(qtbot, viewer):
    made = LayerChoice(viewer.layers, _is_image, empty="whole frame")
    qtbot.addWidget(made)
    image = viewer.add_image(PICTURE)
    assert made.layer() is None  # nobody asked for a region
    made.choose(image)
    assert made.layer() is image
    viewer.layers.remove(image)
    assert made.layer() is None
    assert _names(made) == ["whole frame"]


def test_choosing_a_stranger_is_refused(choice):
    with pytest.raises(InputError, match="not among the layers"):
        choice.choose(Points(np.zeros((1, 2))))


def test_a_choice_that_no_longer_follows(viewer, choice):
    choice.disconnect_layers()
    viewer.add_image(PICTURE)
    assert choice.layer() is None


# ---------------------------------------------------------------------- JobPanel
class _Gate:
    """Work of ten steps that waits until it is let through."""

    def __init__(self):
        self.passes = threading.Semaphore(0)

    def __call__(self, control):
        for done in range(1, 11):
            while not self.passes.acquire(timeout=0.01):
                if control.stopped:
                    return done
            yield Progress(done, 10, f"frame {done} of 10")
            if control.stopped:
                return done
        return 10


@pytest.fixture
def gate():
    return _Gate()


@pytest.fixture
def workspace(qtbot, viewer):
    made = Workspace.of(viewer)
    yield made
    for job in made.jobs.values():
        job.stop()
    qtbot.waitUntil(lambda: not made.jobs)


@pytest.fixture
def panel(qtbot, workspace):
    made = JobPanel(workspace, "detect")
    qtbot.addWidget(made)
    workspace.job_changed.connect(lambda _step: made.follow())
    return made


def _ignore(_value, _outcome):
    pass


def test_panel_is_hidden_while_nothing_is_done(panel):
    assert panel.isHidden()


def test_panel_shows_bar_message_and_time_left(qtbot, workspace, panel, gate):
    workspace.start("detect", "Counting", gate, _ignore)
    assert not panel.isHidden()
    assert panel.message.text() == "Counting"
    assert panel.bar.maximum() == 0  # nobody knows yet how much it is
    gate.passes.release(3)
    qtbot.waitUntil(lambda: panel.message.text().startswith("frame 3 of 10, "))
    assert panel.message.text().endswith("s left")
    assert (panel.bar.value(), panel.bar.maximum()) == (300, 1000)
    gate.passes.release(10)
    qtbot.waitUntil(panel.isHidden)


def test_panel_pauses_and_goes_on(qtbot, workspace, panel, gate):
    workspace.start("detect", "Counting", gate, _ignore)
    gate.passes.release(1)
    qtbot.waitUntil(lambda: panel.bar.value() == 100)
    panel.pause.click()
    assert panel.pause.text() == "Go on"
    assert panel.message.text().endswith("paused")
    gate.passes.release(9)
    qtbot.wait(150)
    assert not panel.isHidden()
    panel.pause.click()
    qtbot.waitUntil(panel.isHidden)


def test_panel_stops(qtbot, workspace, panel, gate):
    workspace.start("detect", "Counting", gate, _ignore)
    panel.stop.click()
    assert not panel.stop.isEnabled()
    assert "ending" in panel.message.text()
    qtbot.waitUntil(panel.isHidden)


def test_a_panel_opened_later_shows_the_job(qtbot, workspace, gate):
    workspace.start("detect", "Counting", gate, _ignore)
    gate.passes.release(2)
    qtbot.waitUntil(lambda: workspace.job("detect").last is not None)
    late = JobPanel(workspace, "detect")
    qtbot.addWidget(late)
    assert not late.isHidden()
    assert late.message.text().startswith("frame")


def test_a_panel_looks_at_its_own_step_only(qtbot, workspace, gate):
    workspace.start("detect", "Counting", gate, _ignore)
    other = JobPanel(workspace, "train")
    qtbot.addWidget(other)
    assert other.isHidden()


def test_a_second_job_of_a_step_does_not_start(workspace, gate):
    assert workspace.start("detect", "Counting", gate, _ignore) is not None
    assert workspace.start("detect", "Counting", gate, _ignore) is None


@pytest.mark.parametrize(("done", "left"), [(1, 90.0), (5, 10.0), (10, 0.0)])
def test_time_left_follows_the_pace(done, left):
    assert time_left(10.0, done, 10) == pytest.approx(left)


def test_time_left_is_not_known_at_the_start():
    assert np.isnan(time_left(3.0, 0, 10))


# ---------------------------------------------------------------------- StatusLine, StepWidget
def test_status_line_shows_plain_text(qtbot):
    line = StatusLine()
    qtbot.addWidget(line)
    line.show_text("1 < 2 & 3", "error")
    assert line.plain_text == "1 < 2 & 3"
    assert "&lt;" in line.text()  # a file's name cannot become markup
    line.show_text("")
    assert line.plain_text == ""


@pytest.mark.parametrize("level", ["info", "done", "warning", "error"])
def test_every_level_can_be_shown(qtbot, level):
    line = StatusLine()
    qtbot.addWidget(line)
    line.show_text("text", level)
    assert "text" in line.text()


def test_button_does_what_it_is_for(qtbot):
    pressed = []
    made = button("Do it", "Does it", lambda: pressed.append(1), primary=True)
    qtbot.addWidget(made)
    made.click()
    assert pressed == [1]
    assert made.toolTip() == "Does it"


class _Step(StepWidget):
    def __init__(self, viewer):
        super().__init__(viewer, "detect")
        self.refreshed = 0
        self.image = self.add_layer_choice("Image", _is_image, tip="a tip")
        self.add_job_panel()

    def refresh(self):
        self.refreshed += 1


@pytest.fixture
def step(qtbot, viewer):
    made = _Step(viewer)
    qtbot.addWidget(made)
    return made


def test_step_shows_what_the_workspace_says_of_it(step, workspace):
    workspace.say("detect", "three atoms", "done")
    workspace.say("train", "one epoch")
    assert step.status.plain_text == "three atoms"


def test_what_a_button_raises_becomes_a_line(step, workspace, caplog):
    def refuse():
        raise InputError("No image: open one.")

    step.attempt(refuse)
    assert workspace.status("detect").text == "No image: open one."
    assert workspace.status("detect").level == "error"
    step.attempt(lambda: 1 / 0)
    assert workspace.status("detect").text.startswith("Unexpected ZeroDivisionError")
    assert step.attempt(lambda: 7) == 7


def test_step_refreshes_when_a_layer_comes_and_a_job_ends(qtbot, step, viewer, workspace, gate):
    before = step.refreshed
    viewer.add_image(PICTURE)
    assert step.refreshed > before
    before = step.refreshed
    gate.passes.release(10)
    workspace.start("detect", "Counting", gate, _ignore)
    qtbot.waitUntil(lambda: workspace.job("detect") is None)
    assert step.refreshed >= before + 2


def test_labels_of_inputs_have_tips(step):
    assert any(label.toolTip() == "a tip" for label in step.findChildren(QLabel))


def test_a_step_that_is_gone_hears_nothing(qtbot, viewer, workspace):
    gone = _Step(viewer)
    gone.deleteLater()
    qtbot.waitUntil(lambda: not isalive(gone))
    viewer.add_image(PICTURE)  # "deleted C++ object" if anything were still connected
    workspace.say("detect", "to nobody")
