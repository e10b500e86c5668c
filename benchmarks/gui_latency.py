"""How long the viewer freezes while a model is trained, and how long its widgets take to open.

A timer asks for a turn of the event loop every 10 ms; a turn that comes late is a stall. It is
measured with the viewer idle, while atoms are detected, and while a model is trained on 10,000
crops with its loss and manifold shown live; and, with ``--sites``, while the units and the pathways
of so many sites in 100 frames are found. Needs napari and a screen (or xvfb-run).

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

import napari
import numpy as np
import pandas as pd
from qtpy.QtCore import QEventLoop, Qt, QTimer

from napari_rvae import add_layers, image_layer, points_layer, simulate_graphene
from napari_rvae.tables import make_sites

#: Time between two turns that are asked for, in milliseconds.
EVERY = 10

#: Bars: 95th percentile of the stalls while training, and time to open a widget.
MOST_STALL_MS = 120.0
MOST_OPENING_S = 0.3
#: Bars while units and pathways are found.
MOST_UNITS_MS, LONGEST_UNITS_MS = 80.0, 300.0

PLUGIN = "napari-rvae"
WIDGETS = ("Detect", "Train", "Latents")


@dataclass
class Turns:
    """Gaps between turns of the event loop, in milliseconds, while something goes on."""

    gaps: list[float] = field(default_factory=list)
    _last: float = 0.0

    def __post_init__(self) -> None:
        """Make the timer; it starts with :meth:`watch`."""
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.setInterval(EVERY)
        self._timer.timeout.connect(self._turn)

    def _turn(self) -> None:
        now = time.perf_counter()
        self.gaps.append(1000 * (now - self._last))
        self._last = now

    def watch(self, going_on: Callable[[], bool], limit: float = 600.0) -> Row:
        """Run the event loop as long as something goes on, and tell how late the turns came."""
        loop, start, cpu = QEventLoop(), time.perf_counter(), time.process_time()
        check = QTimer()
        check.setInterval(50)

        def look() -> None:
            if not going_on() or time.perf_counter() - start > limit:
                loop.quit()

        check.timeout.connect(look)
        self._last = time.perf_counter()
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
start = time.perf_counter()
viewer.window.add_plugin_dock_widget(sys.argv[1], sys.argv[2])
print(time.perf_counter() - start)
QTest.qWait(1000)
viewer.close()
"""


def cold_opening(name: str) -> float:
    """Seconds to open a widget, the first of this plugin in a napari that has just started."""
    done = subprocess.run(  # noqa: S603 - this very Python
        [sys.executable, "-c", _COLD, PLUGIN, name], capture_output=True, text=True, check=True
    )
    return float(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--frames", type=int, default=13, help="512 px each (default: 13)")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument(
        "--sites", type=int, default=100_000, help="of units and pathways, in 100 frames; 0: none"
    )
    parser.add_argument("--only-pathways", action="store_true", help="no detection and training")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    options = parser.parse_args()

    opening = {} if options.only_pathways else {name: cold_opening(name) for name in WIDGETS}
    viewer = napari.Viewer(show=False)
    viewer.window.resize(1400, 1000)
    viewer.window.show()
    Turns().watch(_for(1.0))  # the window is drawn for the first time
    rows: dict[str, Row] = {}
    if not options.only_pathways:
        rows |= _detecting_and_training(viewer, options)
    if options.sites:
        rows |= _units_and_pathways(viewer, options.sites)

    print(f"{'':<16}{'p50':>8}{'p95':>8}{'p99':>8}{'longest':>9}  stalls in ms; seconds, CPU")
    for name, row in rows.items():
        print(
            f"{name:<16}{row.p50_ms:>8.1f}{row.p95_ms:>8.1f}{row.p99_ms:>8.1f}"
            f"{row.longest_ms:>9.0f}{row.seconds:>12.1f}{row.cpu_seconds:>8.1f}"
        )
    if opening:
        print("\nopening, first time: " + ", ".join(f"{n} {s:.2f} s" for n, s in opening.items()))
    bars = {}
    if opening:
        bars |= {
            f"stalls while training, p95 <= {MOST_STALL_MS:g} ms": rows["training"].p95_ms
            <= MOST_STALL_MS,
            f"every widget opens in < {MOST_OPENING_S:g} s": max(opening.values()) < MOST_OPENING_S,
        }
    for name in {"units", "pathways"} & set(rows):
        words = f"stalls of {name}, p95 <= {MOST_UNITS_MS:g} ms, all <= {LONGEST_UNITS_MS:g} ms"
        row = rows[name]
        bars[words] = row.p95_ms <= MOST_UNITS_MS and row.longest_ms <= LONGEST_UNITS_MS
    for bar, holds in bars.items():
        print(f"{'holds' if holds else 'DOES NOT HOLD'}: {bar}")
    if options.out is not None:
        result = {
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "threads": os.environ.get("OMP_NUM_THREADS", ""),
            "sites": options.sites,
            "rows": {name: asdict(row) for name, row in rows.items()},
            "opening_seconds": opening,
            "bars": bars,
        }
        options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    viewer.close()


def _detecting_and_training(viewer: napari.Viewer, options: argparse.Namespace) -> dict[str, Row]:
    """Detect atoms and train a model in the viewer."""
    frames = simulate_graphene(n_frames=options.frames, size=512, seed=0).frames
    add_layers(viewer, image_layer(frames))
    widgets = {
        name: viewer.window.add_plugin_dock_widget(PLUGIN, name)[1] for name in ("Detect", "Train")
    }
    Turns().watch(_for(1.0))
    rows = {"idle": Turns().watch(_for(5.0))}
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
    """Find units and pathways of sites with latents, dopants that hop among them."""
    viewer.layers.clear()
    add_layers(viewer, points_layer(_changing_sites(n_sites), name="sites"))
    units, pathways = (
        viewer.window.add_plugin_dock_widget(PLUGIN, name)[1] for name in ("Units", "Pathways")
    )
    workspace = units.workspace
    Turns().watch(_for(3.0))
    rows = {"with sites": Turns().watch(_for(5.0))}
    for name, button in (("units", units.find_button), ("pathways", pathways.find_button)):
        button.click()
        rows[name] = Turns().watch(lambda name=name: workspace.job(name) is not None)
        rows[f"{name} shown"] = Turns().watch(_for(3.0))
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


def _for(seconds: float) -> Callable[[], bool]:
    end = time.perf_counter() + seconds
    return lambda: time.perf_counter() < end


if __name__ == "__main__":
    main()
