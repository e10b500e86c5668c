"""How long the Latent plot takes for what the mouse asks of it, with 100,000 points.

From the end of a lasso (round a tenth, and round half of them) to the selection in the viewer and
its rings in the plot; a redraw while the view is moved; a frame step with "only this frame"; a
decoded picture; and the first opening of each widget below the canvas. Needs napari and a screen
(or xvfb-run).

    xvfb-run -a -s "-screen 0 1400x1000x24" python benchmarks/plot_latency.py
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import napari
import numpy as np
from gui_latency import PLUGIN, Turns, cold_opening, for_seconds
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest

from napari_rvae import (
    RVAE,
    CropConfig,
    add_layers,
    detect_atoms,
    extract_crops,
    points_layer,
    simulate_graphene,
)
from napari_rvae._napari.window import dock_below
from napari_rvae._napari.workspace import Model
from napari_rvae.tables import make_sites

NO_KEY = Qt.KeyboardModifier.NoModifier

#: Widgets below the canvas, and bars of the Latent plot in milliseconds.
LOOKS = ("Latent plot", "Site inspector", "Time strip")
PLOT_BARS = {
    "redraw": 100.0,
    "frame step": 150.0,
    "decode": 30.0,
    "lasso of a tenth": 300.0,
    "lasso of half": 300.0,
}
N_POINTS = 100_000


def _plot_viewer(n_points: int) -> tuple[napari.Viewer, Any]:
    """Open the Latent plot over points in 50 frames, with a model of their latents."""
    rng = np.random.default_rng(0)
    frames = simulate_graphene(n_frames=1, size=192, seed=2).frames
    crops = extract_crops(frames, detect_atoms(frames))
    model = RVAE(epochs=1).fit(crops)
    named = {name: rng.normal(size=n_points) for name in ("z0", "z1", "z2", "z3", "angle")}
    places = {name: rng.uniform(0, 500, n_points) for name in ("y", "x")}
    sites = make_sites(frame=np.arange(n_points) % 50, **places, **named)
    viewer = napari.Viewer(show=False)
    viewer.window.resize(1400, 1000)
    viewer.window.show()
    add_layers(viewer, points_layer(sites, color_by="z2"))
    dock, plot = viewer.window.add_plugin_dock_widget(PLUGIN, "Latent plot", tabify=False)
    dock_below(viewer, [dock])
    plot.workspace.use_model(Model(model, CropConfig(), "model"))
    Turns().watch(for_seconds(2.0))
    return viewer, plot


def measure_plot(repeats: int = 9) -> dict[str, dict[str, float]]:
    """Time the Latent plot does what the mouse asks for, in milliseconds of wall and of CPU."""
    viewer, plot = _plot_viewer(N_POINTS)
    canvas, box = plot.canvas, plot.canvas.view.box
    circle = 2 * np.pi * np.arange(200) / 200

    def at(x: float, y: float) -> QPoint:
        return QPoint(round(box.left() + x * box.width()), round(box.top() + y * box.height()))

    def lasso(number: int, size: float) -> Iterator[None]:
        middle = 0.46 + 0.01 * number
        rim = [at(middle + size * np.cos(t), 0.5 + size * np.sin(t)) for t in circle]
        QTest.mousePress(canvas, Qt.MouseButton.LeftButton, NO_KEY, rim[0])
        for place in rim[1:]:
            QTest.mouseMove(canvas, place)
        yield
        QTest.mouseRelease(canvas, Qt.MouseButton.LeftButton, NO_KEY, rim[-1])
        canvas.repaint()
        yield

    def redraw(number: int) -> Iterator[None]:
        yield
        canvas.set_home((-4 + 0.01 * number, 4), (-4, 4))
        canvas.repaint()
        yield

    def step(number: int) -> Iterator[None]:
        plot.only_frame.setChecked(True)
        yield
        viewer.dims.set_current_step(0, number)
        plot.refresh()
        canvas.repaint()
        yield
        plot.only_frame.setChecked(False)

    def decode(number: int) -> Iterator[None]:
        yield
        plot.canvas.hovered.emit((0.1 * number, 0.2))
        plot._show_place()  # noqa: SLF001 - the timer would wait for its turn
        plot.place.repaint()
        yield

    found = {}
    actions = (redraw, step, decode, partial(lasso, size=0.07), partial(lasso, size=0.18))
    for name, action in zip(PLOT_BARS, actions, strict=True):
        times = []
        for number in range(repeats):
            steps = action(number)
            next(steps)
            start = time.perf_counter(), time.process_time()
            next(steps)
            times.append((time.perf_counter() - start[0], time.process_time() - start[1]))
            next(steps, None)
            QTest.qWait(50)
        wall, cpu = 1000 * np.median(times, axis=0)
        most = 1000 * max(times)[0]
        found[name] = {"wall_ms": float(wall), "cpu_ms": float(cpu), "longest_ms": float(most)}
        found[name]["selected"] = len(plot.sites.layer().selected_data)
    viewer.close()
    return found


def main() -> None:
    """Measure the Latent plot, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, help="JSON file to write")
    options = parser.parse_args()
    opening = {name: cold_opening(name) for name in LOOKS}
    rows = measure_plot()
    print(f"{N_POINTS:,} points; median (longest) ms, CPU ms")
    for name, row in rows.items():
        print(
            f"{name:<20}{row['wall_ms']:>8.1f} ({row['longest_ms']:.0f}){row['cpu_ms']:>8.1f}"
            f"  bar {PLOT_BARS[name]:g}, {row['selected']:,} selected"
        )
    listed = ", ".join(f"{n} {wall:.2f} s (CPU {cpu:.2f})" for n, (wall, cpu) in opening.items())
    print(f"opening, first time: {listed}")
    if options.out is not None:
        result = {"rows": rows, "opening_seconds": opening}
        options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
