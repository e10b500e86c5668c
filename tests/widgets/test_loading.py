"""What is loaded behind an open widget: in order, in a thread, with the collector at rest."""

import gc
import sys

import pytest

pytest.importorskip("napari")

from napari_rvae._napari.loading import Loader, collection_paused, load_all


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """Make modules that note their names, and whether the collector was on, when loaded."""
    monkeypatch.syspath_prepend(tmp_path)
    names = ("rvae_first", "rvae_broken", "rvae_last")
    for name in names:
        wrong = "raise ImportError('a library is missing')" if name == "rvae_broken" else ""
        text = f"import gc, sys\nsys.rvae_log.append(({name!r}, gc.isenabled()))\n{wrong}\n"
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    monkeypatch.setattr(sys, "rvae_log", [], raising=False)
    yield names
    for name in names:
        sys.modules.pop(name, None)


def test_modules_are_loaded_in_order_while_the_collector_rests(qtbot, modules, caplog):
    # the thread that a widget of another test has left behind pauses the collector, too
    qtbot.waitUntil(lambda: not load_all().busy, timeout=60_000)
    loader = Loader(modules)
    assert not loader.has("rvae_first")
    loader.start()
    loader.start()  # nothing begins twice
    qtbot.waitUntil(lambda: not loader.busy)
    assert sys.rvae_log == [(name, False) for name in modules]
    assert gc.isenabled()
    assert all(loader.has(name) for name in modules)
    assert "rvae_broken cannot be loaded" in caplog.text
    loader.start()
    assert len(sys.rvae_log) == 3


def test_what_is_loaded_already_needs_no_thread():
    loader = Loader(["sys", "gc"])
    loader.start()
    assert loader.has("sys")
    assert not loader.busy


@pytest.mark.parametrize("on", [True, False])
def test_the_collector_is_as_it_was_afterwards(on):
    was = gc.isenabled()
    try:
        (gc.enable if on else gc.disable)()
        with collection_paused():
            assert not gc.isenabled()
        assert gc.isenabled() is on
        assert gc.get_freeze_count() == 0
    finally:
        (gc.enable if was else gc.disable)()
