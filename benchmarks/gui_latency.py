"""How long the viewer freezes while a model is trained, and how long what a user does takes.

A timer asks for a turn of the event loop every 10 ms; a turn that comes late is a stall. It is
measured with the viewer idle, while atoms are detected, and while a model is trained on 10,000
crops with its loss and manifold shown live (``--parts training``); while the units and the pathways
of 100,000 sites in 100 frames are found (``pathways``); then, with 100,000 points, a frame step and
other colours (``points``); each widget is opened in a napari that has just started (``opening``);
and frames of 512 and 2048 px are previewed (``preview``), from the click to the circles: as soon as
the image is there, after five seconds in which the widget was open, and once more. Beside wall
times, which other programs on the machine lengthen, stands the CPU time of the viewer's thread:
what it would take at least on an idle machine (other threads, such as those that draw, are not
counted); and the load of the machine. Needs napari and a screen (or xvfb-run).

    OMP_NUM_THREADS=2 xvfb-run -a -s "-screen 0 1400x1000x24" python benchmarks/gui_latency.py
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import napari
import numpy as np
import pandas as pd
from qtpy.QtCore import QEventLoop, Qt, QTimer

from napari_rvae import add_layers, image_layer, points_layer, simulate_graphene
from napari_rvae.tables import make_sites

#: Time between two turns that are asked for, in milliseconds.
EVERY = 10

#: Bars: 95th percentile of the stalls while training, and time to open a widget.
MOST_STALL_MS = 80.0
MOST_LONGEST_MS = 300.0
MOST_OPENING_S = 0.3
MOST_STEP_S = 0.15
MOST_COLOURING_S = 0.3
MOST_PREVIEW_S = 1.0

PLUGIN = "napari-rvae"
PARTS = ("training", "pathways", "points", "opening", "preview")
WIDGETS = ("Detect", "Train", "Latents", "Units", "Pathways")

#: Points of the second part, and how many frames they lie in.
MANY, MANY_FRAMES = 100_000, 20

#: Sides of the frames that are previewed, in pixels.
PREVIEWED = (512, 2048)

#: How often each action is repeated; the median counts.
REPEATS = 5


@dataclass
class Turns:
    """Gaps between turns of the event loop, in milliseconds, while something goes on."""

    gaps: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    _last: float = 0.0
    _worked: float = 0.0

    def __post_init__(self) -> None:
        """Make the timer; it starts with :meth:`watch`."""
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.setInterval(EVERY)
        self._timer.timeout.connect(self._turn)

    def _turn(self) -> None:
        now, worked = time.perf_counter(), time.thread_time()
        self.gaps.append(1000 * (now - self._last))
        self.busy.append(1000 * (worked - self._worked))
        self._last, self._worked = now, worked

    def watch(self, going_on: Callable[[], bool], limit: float = 600.0) -> Row:
        """Run the event loop as long as something goes on, and tell how late the turns came."""
        loop, start, cpu = QEventLoop(), time.perf_counter(), time.process_time()
        check = QTimer()
        check.setInterval(50)

        def look() -> None:
            if not going_on() or time.perf_counter() - start > limit:
                loop.quit()

        check.timeout.connect(look)
        self._last, self._worked = time.perf_counter(), time.thread_time()
        self._timer.start()
        check.start()
        loop.exec()
        self._timer.stop()
        late = np.maximum(np.asarray(self.gaps) - EVERY, 0)
        return Row(
            p50_ms=float(np.percentile(late, 50)),
            p95_ms=float(np.percentile(late, 95)),
            p99_ms=float(np.percentile(late, 99)),
            longest_ms=float(late.max()),
            busy_p95_ms=float(np.percentile(self.busy, 95)),
            busy_longest_ms=float(np.max(self.busy)),
            frozen_share=float(late[late > 100].sum() / np.sum(self.gaps)),
            turns=len(late),
            seconds=time.perf_counter() - start,
            cpu_seconds=time.process_time() - cpu,
        )


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    p50_ms: float
    p95_ms: float
    p99_ms: float
    longest_ms: float
    busy_p95_ms: float
    busy_longest_ms: float
    frozen_share: float
    turns: int
    seconds: float
    cpu_seconds: float


#: Opens one widget in a napari that has not loaded anything of this package.
_COLD = """
import sys, time
import napari
from qtpy.QtTest import QTest
viewer = napari.Viewer(show=False)
viewer.window.show()
QTest.qWait(1000)
start, worked = time.perf_counter(), time.thread_time()
viewer.window.add_plugin_dock_widget(sys.argv[1], sys.argv[2])
print(time.perf_counter() - start, time.thread_time() - worked)
QTest.qWait(1000)
viewer.close()
"""


def cold_opening(name: str) -> tuple[float, float]:
    """Wall and CPU seconds to open a widget, the first one in a napari that has just started."""
    done = subprocess.run(  # noqa: S603 - this very Python
        [sys.executable, "-c", _COLD, PLUGIN, name], capture_output=True, text=True, check=True
    )
    wall, worked = done.stdout.splitlines()[-1].split()
    return float(wall), float(worked)


def many_points() -> dict[str, tuple[float, float]]:
    """Median wall and CPU seconds of a frame step, and of other colours, with many points."""
    import pandas as pd
    from qtpy.QtWidgets import QApplication

    from napari_rvae import color_points, points_layer
    from napari_rvae.tables import make_sites

    rng = np.random.default_rng(0)
    frame = np.repeat(np.arange(MANY_FRAMES), MANY // MANY_FRAMES)
    places = rng.uniform(0, 1024, (2, MANY))
    sites = make_sites(frame=frame, y=places[0], x=places[1])
    sites = sites.assign(
        z0=rng.normal(size=MANY), z1=rng.normal(size=MANY), unit=rng.integers(0, 6, MANY)
    )
    movie = np.zeros((MANY_FRAMES, 1024, 1024), np.float32)
    viewer = napari.Viewer(show=False)
    viewer.window.resize(1400, 1000)
    viewer.window.show()
    _, points = add_layers(
        viewer, image_layer(movie), points_layer(pd.DataFrame(sites), movie, color_by="z0")
    )
    viewer.window.add_plugin_dock_widget(PLUGIN, "Latents")
    Turns().watch(for_seconds(2.0))

    def timed(action: Callable[[int], object]) -> tuple[float, float]:
        seconds = []
        for number in range(REPEATS):
            start, worked = time.perf_counter(), time.thread_time()
            action(number)
            QApplication.processEvents()
            seconds.append((time.perf_counter() - start, time.thread_time() - worked))
            Turns().watch(for_seconds(0.3))
        wall, cpu = np.median(seconds, axis=0)
        return float(wall), float(cpu)

    found = {
        "frame step": timed(lambda n: viewer.dims.set_current_step(0, n + 1)),
        "numbers": timed(lambda n: color_points(points, f"z{(n + 1) % 2}")),
        "units": timed(lambda n: color_points(points, "unit" if n % 2 == 0 else "z0")),
    }
    viewer.close()
    return found


def previews() -> dict[str, tuple[float, float]]:
    """Median wall and CPU seconds from a click on Preview frame to its circles."""
    viewer = napari.Viewer(show=False)
    viewer.window.resize(1400, 1000)
    viewer.window.show()
    add_layers(viewer, image_layer(simulate_graphene(n_frames=3, size=128, seed=0).frames))
    detect = viewer.window.add_plugin_dock_widget(PLUGIN, "Detect")[1]
    Turns().watch(for_seconds(5.0))
    _clicked(detect)  # all is loaded, and drawn once
    found: dict[str, tuple[float, float]] = {}
    for size in PREVIEWED:
        frames = simulate_graphene(n_frames=3, size=size, seed=0).frames
        seconds: dict[str, list[tuple[float, float]]] = {"at once": [], "first": [], "again": []}
        for _ in range(3):
            for when, waiting in (("at once", 0.0), ("first", 5.0)):
                viewer.layers.clear()
                add_layers(viewer, image_layer(np.array(frames.data)))
                viewer.reset_view()
                Turns().watch(for_seconds(waiting))
                seconds[when].append(_clicked(detect))
            seconds["again"].append(_clicked(detect))
        print(detect.workspace.status("detect").text)
        for when, rows in seconds.items():
            wall, cpu = np.median(rows, axis=0)
            found[f"{size} px {when}"] = float(wall), float(cpu)
    viewer.close()
    return found


def _clicked(detect: Any) -> tuple[float, float]:
    """Wall and CPU seconds from a click on Preview frame until the circles can be seen."""
    from qtpy.QtWidgets import QApplication

    start, worked = time.perf_counter(), time.process_time()
    detect.preview.click()
    while detect.workspace.job("detect") is not None:
        QApplication.processEvents(QEventLoop.ProcessEventsFlag.WaitForMoreEvents)
    QApplication.processEvents()
    taken = time.perf_counter() - start, time.process_time() - worked
    Turns().watch(for_seconds(1.0))
    return taken


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--frames", type=int, default=13, help="512 px each (default: 13)")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument(
        "--sites", type=int, default=MANY, help=f"of units and pathways (default: {MANY:,})"
    )
    parser.add_argument("--out", type=Path, help="JSON file to write")
    options = parser.parse_args()

    load = os.getloadavg()[0]
    many = many_points() if "points" in options.parts else {}
    opening = {name: cold_opening(name) for name in WIDGETS} if "opening" in options.parts else {}
    previewed = previews() if "preview" in options.parts else {}
    rows = _stalls(options)
    _print_results(rows, opening, many)
    if previewed:
        listed = [f"{n} {s:.2f} s (CPU {c:.2f})" for n, (s, c) in previewed.items()]
        print(f"preview: {', '.join(listed)}")
    print(f"load of the machine (1 min): {load:.1f} before, {os.getloadavg()[0]:.1f} after")
    bars = _stall_bars(rows) | _time_bars(opening, many) | _preview_bars(previewed)
    for bar, holds in bars.items():
        print(f"{'holds' if holds else 'DOES NOT HOLD'}: {bar}")
    if options.out is not None:
        result = {
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "threads": os.environ.get("OMP_NUM_THREADS", ""),
            "rows": {name: asdict(row) for name, row in rows.items()},
            "opening_seconds": opening,
            "many_points_seconds": many,
            "preview_seconds": previewed,
            "load": [load, os.getloadavg()[0]],
            "bars": bars,
        }
        options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def _stalls(options: argparse.Namespace) -> dict[str, Row]:
    """Stalls of the event loop in each part that was asked for."""
    rows: dict[str, Row] = {}
    if not {"training", "pathways"} & set(options.parts):
        return rows
    viewer = napari.Viewer(show=False)
    viewer.window.resize(1400, 1000)
    viewer.window.show()
    Turns().watch(for_seconds(1.0))  # the window is drawn for the first time
    if "training" in options.parts:
        rows |= _detecting_and_training(viewer, options)
    if "pathways" in options.parts:
        rows |= _units_and_pathways(viewer, options.sites)
    viewer.close()
    return rows


def _print_results(rows: dict[str, Row], opening: dict[str, Any], many: dict[str, Any]) -> None:
    if rows:
        print(
            f"{'':<22}{'p50':>8}{'p95':>8}{'p99':>8}{'longest':>9}{'busy p95':>10}{'longest':>9}"
            "  ms late, ms of CPU in a turn; seconds, CPU"
        )
    for name, row in rows.items():
        print(
            f"{name:<22}{row.p50_ms:>8.1f}{row.p95_ms:>8.1f}{row.p99_ms:>8.1f}"
            f"{row.longest_ms:>9.0f}{row.busy_p95_ms:>10.1f}{row.busy_longest_ms:>9.0f}"
            f"{row.seconds:>12.1f}{row.cpu_seconds:>8.1f}"
        )
    if opening:
        listed = ", ".join(f"{n} {s:.2f} s (CPU {c:.2f})" for n, (s, c) in opening.items())
        print(f"\nopening, first time: {listed}")
    if many:
        listed = [f"{n} {1000 * s:.0f} ms (CPU {1000 * c:.0f})" for n, (s, c) in many.items()]
        print(f"with {MANY:,} points: {', '.join(listed)}")


def _stall_bars(rows: dict[str, Row]) -> dict[str, bool]:
    bars = {}
    for name in ("training", "units", "pathways"):
        if name in rows:
            row = rows[name]
            bars |= {
                f"{name}: stalls, p95 <= {MOST_STALL_MS:g} ms": row.p95_ms <= MOST_STALL_MS,
                f"{name}: longest stall <= {MOST_LONGEST_MS:g} ms": row.longest_ms
                <= MOST_LONGEST_MS,
                f"{name}: longest work in a turn <= {MOST_LONGEST_MS:g} ms": row.busy_longest_ms
                <= MOST_LONGEST_MS,
            }
    return bars


def _time_bars(opening: dict[str, Any], many: dict[str, Any]) -> dict[str, bool]:
    bars = {}
    for number, clock in enumerate(("wall", "CPU")):
        if many:
            colouring = max(many[name][number] for name in ("numbers", "units"))
            step = many["frame step"][number]
            bars[f"a frame step <= {MOST_STEP_S:g} s ({clock})"] = step <= MOST_STEP_S
            bars[f"other colours <= {MOST_COLOURING_S:g} s ({clock})"] = (
                colouring <= MOST_COLOURING_S
            )
        if opening:
            slowest = max(seconds[number] for seconds in opening.values())
            bars[f"every widget opens in < {MOST_OPENING_S:g} s ({clock})"] = (
                slowest < MOST_OPENING_S
            )
    return bars


def _preview_bars(previewed: dict[str, tuple[float, float]]) -> dict[str, bool]:
    """Previews of an open widget; one that is asked for at once waits for the scale."""
    bars = {}
    for number, clock in enumerate(("wall", "CPU")):
        usual = [s[number] for name, s in previewed.items() if not name.endswith("at once")]
        if usual:
            bars[f"a preview < {MOST_PREVIEW_S:g} s ({clock})"] = max(usual) < MOST_PREVIEW_S
    return bars


def _detecting_and_training(viewer: napari.Viewer, options: argparse.Namespace) -> dict[str, Row]:
    """Detect atoms and train a model in the viewer."""
    frames = simulate_graphene(n_frames=options.frames, size=512, seed=0).frames
    add_layers(viewer, image_layer(frames))
    widgets = {
        name: viewer.window.add_plugin_dock_widget(PLUGIN, name)[1] for name in ("Detect", "Train")
    }
    Turns().watch(for_seconds(1.0))
    rows = {"idle": Turns().watch(for_seconds(5.0))}
    workspace = widgets["Detect"].workspace
    widgets["Detect"].detect.click()
    rows["detecting"] = Turns().watch(lambda: workspace.job("detect") is not None)
    n_sites = sum(len(layer.data) for layer in viewer.layers if hasattr(layer, "face_color"))
    train = widgets["Train"]
    train.show_options(epochs=options.epochs)
    train.train_button.click()
    rows["training"] = Turns().watch(lambda: workspace.job("train") is not None)
    print(f"{n_sites:,} sites; {workspace.status('train').text}\n")
    return rows


def _units_and_pathways(viewer: napari.Viewer, n_sites: int) -> dict[str, Row]:
    """Find units and pathways of sites with latents, dopants that hop among them.

    Few sites first, so that the libraries are loaded and drawn with once.
    """
    units, pathways = (
        viewer.window.add_plugin_dock_widget(PLUGIN, name)[1] for name in ("Units", "Pathways")
    )
    workspace = units.workspace
    rows: dict[str, Row] = {}
    for size, when in ((10_000, "first "), (n_sites, "")):
        viewer.layers.clear()
        add_layers(viewer, points_layer(_changing_sites(size), name="sites"))
        Turns().watch(for_seconds(3.0))
        if not when:
            rows["idle, sites"] = Turns().watch(for_seconds(5.0))
        for name, button in (("units", units.find_button), ("pathways", pathways.find_button)):
            button.click()
            rows[f"{when}{name}"] = Turns().watch(lambda name=name: workspace.job(name) is not None)
            rows[f"{when}{name} shown"] = Turns().watch(for_seconds(3.0))
            print(workspace.status(name).text)
    return rows


def _changing_sites(n_sites: int, n_frames: int = 100) -> pd.DataFrame:
    """Sites of a square lattice with four latents; one in a hundred changes now and then."""
    rng = np.random.default_rng(0)
    side = int(np.ceil(np.sqrt(n_sites / n_frames)))
    y, x = 12.0 * np.indices((side, side)).reshape(2, -1)[:, : n_sites // n_frames]
    state = np.zeros((n_frames, y.size), np.int64)
    few = rng.permutation(y.size)[: y.size // 50]
    turns = rng.random((n_frames, few.size)) < 0.05
    state[:, few] = 1 + np.cumsum(turns, axis=0) % 2
    flat = state.ravel()
    middle = np.array([[0, 0, 0, 0], [6, 0, 0, 0], [0, 6, 0, 0]], float)
    latent = middle[flat] + rng.normal(0, 1, (flat.size, 4))
    return make_sites(
        frame=np.repeat(np.arange(n_frames), y.size),
        y=np.tile(y, n_frames) + rng.normal(0, 0.3, flat.size) + 30,
        x=np.tile(x, n_frames) + rng.normal(0, 0.3, flat.size) + 30,
        amplitude=np.where(flat > 0, 3.0, 1.0) * rng.normal(1, 0.05, flat.size),
        **{f"z{k}": latent[:, k] for k in range(4)},
        **{f"z{k}_sd": np.ones(flat.size) for k in range(4)},
    )


def for_seconds(seconds: float) -> Callable[[], bool]:
    end = time.perf_counter() + seconds
    return lambda: time.perf_counter() < end


if __name__ == "__main__":
    main()
