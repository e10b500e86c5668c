"""Jobs: progress, pause, stop, errors and warnings of work in a thread."""

import threading
import time
import warnings

import pytest

pytest.importorskip("napari")

from napari_rvae._napari.jobs import Job, Progress
from napari_rvae.errors import Cancelled, InputError, NoLatticeWarning


def _finish(qtbot, job, *, timeout=5000):
    with qtbot.waitSignal(job.finished, timeout=timeout) as heard:
        job.start()
    return heard.args[0]


def test_value_comes_back_and_progress_is_seen(qtbot):
    def work(_control):
        yield Progress(1, 2, "half")
        yield Progress(2, 2, "whole")
        return threading.current_thread().name

    job = Job("counting", work)
    seen = []
    job.progressed.connect(seen.append)
    outcome = _finish(qtbot, job)
    assert [p.message for p in seen] == ["half", "whole"]
    assert outcome.value != threading.main_thread().name
    assert not job.running
    assert job.last.message == "whole"


def test_error_is_one_line(qtbot):
    def work(_control):
        yield Progress(0, 0, "trying")
        raise InputError("The thing\nis wrong: mend it.")

    assert _finish(qtbot, Job("trying", work)).error == "The thing is wrong: mend it."


def test_unexpected_error_is_one_line_too(qtbot):
    def work(_control):
        yield Progress(0, 0, "trying")
        raise KeyError("lost")

    error = _finish(qtbot, Job("trying", work)).error
    assert error.startswith("Unexpected KeyError")
    assert "\n" not in error


def test_warnings_come_with_the_outcome(qtbot):
    def work(_control):
        yield Progress(0, 0, "looking")
        warnings.warn("no lattice", NoLatticeWarning, stacklevel=1)
        warnings.warn("no lattice", NoLatticeWarning, stacklevel=1)
        warnings.warn("divide by zero", RuntimeWarning, stacklevel=1)
        warnings.warn("constrained_layout not applied", UserWarning, stacklevel=1)

    assert _finish(qtbot, Job("looking", work)).warnings == ("no lattice",)


def test_stop_reaches_a_callback(qtbot):
    def work(control):
        tick = control.ticker("counting")
        for number in range(10_000):
            if not tick(number, 10_000):
                raise Cancelled("stopped")
            time.sleep(0.001)
        yield Progress(1, 1, "done")

    job = Job("counting", work)
    with qtbot.waitSignal(job.finished, timeout=5000) as heard:
        with qtbot.waitSignal(job.progressed):
            job.start()
        job.stop()
    assert heard.args[0].cancelled


def test_stop_before_the_start(qtbot):
    def work(control):
        yield Progress(0, 1, "starting")
        if control.stopped:
            raise Cancelled("stopped")
        return 1

    job = Job("counting", work)
    job.stop()
    assert _finish(qtbot, job).cancelled


def test_pause_holds_the_work(qtbot):
    count = []

    def work(control):
        while len(count) < 1000 and not control.stopped:
            count.append(1)
            yield Progress(len(count), 1000, "counting")
            time.sleep(0.001)
        return len(count)

    job = Job("counting", work)
    job.start()
    qtbot.waitUntil(lambda: len(count) > 3)
    job.pause(on=True)
    qtbot.wait(100)
    held, seconds = len(count), job.seconds
    qtbot.wait(150)
    assert len(count) == held
    assert job.seconds == pytest.approx(seconds)
    job.pause(on=False)
    qtbot.waitUntil(lambda: len(count) > held)
    with qtbot.waitSignal(job.finished):
        job.stop()


def test_a_paused_job_can_be_stopped(qtbot):
    def work(control):
        while not control.stopped:
            yield Progress(0, 0, "waiting")
            time.sleep(0.001)
        return "ended"

    job = Job("waiting", work)
    job.start()
    job.pause(on=True)
    with qtbot.waitSignal(job.finished) as heard:
        job.stop()
    assert heard.args[0].value == "ended"


def test_abandoned_work_ends_at_its_next_step(qtbot):
    going = threading.Event()

    def work(_control):
        while True:
            going.set()
            yield Progress(0, 0, "going on for ever")
            time.sleep(0.001)

    job = Job("for ever", work)
    job.start()
    qtbot.waitUntil(going.is_set)
    with qtbot.waitSignal(job.finished) as heard:
        job.abandon()
    assert heard.args[0].cancelled
