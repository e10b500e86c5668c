"""The README's script for napari's console, word for word, in napari's own console."""

import re
from pathlib import Path

import pytest

pytest.importorskip("napari")
pytest.importorskip("napari_console")

README = Path(__file__).resolve().parents[2] / "README.md"

needs_readme = pytest.mark.skipif(not README.is_file(), reason="runs in the source tree only")


def _script():
    """Code block below the heading that speaks of the console."""
    text = README.read_text(encoding="utf-8").partition("napari's console")[2]
    return re.search(r"```python\n(.*?)```", text, re.DOTALL).group(1)


@needs_readme
def test_script_is_short():
    assert len([line for line in _script().splitlines() if line.strip()]) <= 10


@needs_readme
@pytest.mark.slow
@pytest.mark.enable_console
def test_script_runs_in_the_console(make_napari_viewer, plugin):
    viewer = make_napari_viewer(show=True)
    console = viewer.window._qt_viewer.console
    console.execute(_script(), hidden=True)
    names = console.shell.user_ns
    assert names["sites"]["z0"].notna().any()
    kinds = [layer._type_string for layer in viewer.layers]
    assert kinds == ["image", "points", "vectors"]
    image, points, vectors = viewer.layers
    assert len(points.data) == len(names["sites"])
    assert tuple(points.scale) == tuple(image.scale) == tuple(vectors.scale)
    assert points.features["z0"].tolist() == pytest.approx(
        names["sites"]["z0"].tolist(), nan_ok=True
    )
