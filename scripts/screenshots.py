"""Draw the pictures of the README and the documentation: python scripts/screenshots.py.

Goes through the first tutorial in a real napari and keeps a picture of each step; with --report
also runs the demonstration and keeps its page. With --only-detect it goes as far as the atoms, and
mends them as the how-to page says; with --only-pathways it shows the pathways of silicon that hops.
Needs a screen, or

    xvfb-run -a -s "-screen 0 1400x1000x24" python scripts/screenshots.py
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"

#: Wide enough to read on a page, small enough for a repository.
WIDTH = 1200

#: Size of napari's window.
WINDOW = (1400, 1000)


def report(folder: Path) -> None:
    """Save the demonstration's report as report.png."""
    from napari_rvae.cli import main as napari_rvae

    with tempfile.TemporaryDirectory() as run:
        code = napari_rvae(["demo", "--out", run])
        if code:
            sys.exit(code)
        _shrink(Path(run) / "report.png", folder / "report.png")


def _shrink(source: Path, target: Path) -> None:
    with Image.open(source) as page:
        height = round(page.height * WIDTH / page.width)
        small = page.convert("RGB").resize((WIDTH, height), Image.Resampling.LANCZOS)
        small.save(target, quality=90, optimize=True)


class Tour:
    """The first tutorial, step by step, in a viewer of its own."""

    def __init__(self, folder: Path, theme: str, *, only_detect: bool) -> None:
        import napari
        from napari.settings import get_settings

        get_settings().appearance.theme = theme
        self.folder, self.only_detect = folder, only_detect
        self.viewer = napari.Viewer(show=False)
        self.viewer.window.show()
        self.wait()
        self.viewer.window.resize(*WINDOW)  # not before: napari remembers another size

    def wait(self, until: Callable[[], bool] | None = None, seconds: float = 600.0) -> None:
        """Let napari work until something is so, or for a moment."""
        from qtpy.QtTest import QTest

        end = time.monotonic() + seconds
        while until is not None and not until():
            if time.monotonic() > end:
                sys.exit("waited too long")
            QTest.qWait(50)
        QTest.qWait(600)

    def keep(self, name: str) -> None:
        """Keep a picture of the window."""
        self.wait()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "window.png"
            self.viewer.screenshot(str(path), canvas_only=False, flash=False)
            _shrink(path, self.folder / f"{name}.jpg")

    def lay_out(self, *, front: int = 0) -> None:
        """Open the workspace, and wait until all of it has taken its room."""
        from napari_rvae._napari.commands import open_workspace

        open_workspace(self.viewer, front=front)
        self.wait(seconds=10)
        self.wait()  # the canvas is fitted to what is left of the window

    def is_looking(self) -> bool:
        """Whether a widget below the canvas is still drawing."""
        docks = self.viewer.window.dock_widgets.values()
        views = [getattr(widget, "view", None) for widget in docks]
        return any(getattr(view, "is_busy", False) for view in views)

    def widget(self, number: int) -> Any:
        """Bring a tab of the workspace to the front, and return its widget."""
        docks = list(self.viewer.window.dock_widgets.values())
        dock_titles = ("Detect", "Train", "Latents", "Units")
        found = [w for w in docks if type(w).__name__ == f"{dock_titles[number]}Widget"]
        dock = found[0].parent()
        while not hasattr(dock, "raise_") or type(dock).__name__ != "QtViewerDockWidget":
            dock = dock.parent()
        dock.raise_()
        return found[0]

    def go(self) -> None:
        """Go through the tutorial."""
        viewer = self.viewer
        viewer.open_sample("napari-rvae", "graphene")
        viewer.dims.set_current_step(0, 4)
        self.lay_out()
        detect = self.widget(0)
        self.keep("tutorial-open")

        detect.preview.click()
        self.wait(lambda: detect.workspace.job("detect") is None)
        self.keep("tutorial-preview")
        detect.detect.click()
        self.wait(lambda: detect.workspace.job("detect") is None)
        self.keep("tutorial-detect")
        if self.only_detect:
            self.mend(detect)
            viewer.close()
            return

        train = self.widget(1)
        train.train_button.click()
        self.wait(train.picture.isVisible)
        self.wait(lambda: train.job_panel.bar.value() > 600)
        self.keep("tutorial-train")
        self.wait(lambda: train.workspace.job("train") is None)

        latents = self.widget(2)
        self.wait()
        latents.decode_pictures()
        self.wait(lambda: latents.workspace.job("latents") is None)
        self.keep("tutorial-latents")
        latents.color_by("lattice_angle")
        latents.colours.symmetry.setValue(3)
        latents.draw_directions()
        self.keep("tutorial-angle")
        viewer.scene.camera.zoom *= 2.5
        self.keep("workspace")
        self.name_units()
        viewer.close()

    def name_units(self) -> None:
        """Find units, choose a card, name the atoms, and go to an example."""
        for layer in self.viewer.layers:
            layer.visible = not layer.name.endswith("(directions)")
        self.viewer.reset_view()
        units = self.widget(3)
        units.find_button.click()
        self.wait(lambda: units.workspace.job("units") is None)
        self.keep("tutorial-units")
        units.elements.setText("A = C, A+ = Si")
        units.elements.editingFinished.emit()
        self.wait(lambda: units.workspace.job("units") is None)
        brightest = max(units.cards.cards, key=lambda card: card.motif.amplitude[0])
        units.cards.choose([brightest.unit])
        units.go_to_site(int(brightest.typical[0]))
        self.wait()
        self.wait(lambda: not self.is_looking())
        self.keep("units-card")

    def show_pathways(self) -> None:
        """Find the pathways of silicon that hops, and go through the pages of the widget."""
        import napari_rvae as rvae

        viewer, movie = self.viewer, rvae.simulate_hopping(n_frames=30, size=256)
        sites = rvae.link_sites(rvae.detect_atoms(movie.frames, classify=True))
        crops = rvae.extract_crops(movie.frames, sites)
        model = rvae.RVAE(epochs=20).fit(crops)
        sites = rvae.join_latents(sites, model.transform(crops))
        units = rvae.find_units(sites, features=model.invariants(crops), model=model)
        sites = rvae.join_latents(sites, units.table)
        with tempfile.TemporaryDirectory() as folder:
            options = {"sites": sites, "model": model, "units": units}
            rvae.save_run(Path(folder) / "run", frames=movie.frames, **options)
            run = rvae.load_run(Path(folder) / "run")
            rvae.add_layers(viewer, *rvae.run_layers(run, movie.frames))
            _, widget = viewer.window.add_plugin_dock_widget("napari-rvae", "Pathways")

            def idle() -> bool:
                views = (widget.network.view, widget.events.view, widget.time.view)
                views += (widget.landscape.view, widget.landscape.film)
                busy = any(view.is_busy for view in views)
                return widget.workspace.job("pathways") is None and not busy

            self.wait(idle)
            widget.find_pathways()
            self.wait(idle)
            self.keep("pathways-network")
            widget.pages.setCurrentWidget(widget.events)
            widget.events.list.choose(widget.events.list.labels()[len(movie.frames.table) // 10])
            self.wait(idle)
            self.keep("pathways-events")
            widget.pages.setCurrentWidget(widget.time)
            self.wait(idle)
            self.keep("pathways-time")
            widget.pages.setCurrentWidget(widget.landscape)
            widget.measure_landscape()
            self.wait(idle)
            self.wait(idle)
            self.keep("pathways-landscape")
        viewer.close()

    def show_walls(self) -> None:
        """Go through the tutorial of domain walls."""
        from napari_rvae._napari.detect_widget import WALLS

        viewer = self.viewer
        viewer.open_sample("napari-rvae", "walls")
        viewer.dims.set_current_step(0, 12)
        self.lay_out()
        detect = self.widget(0)
        detect.kind.setCurrentText(WALLS)
        self.keep("walls-open")
        detect.walls.detect.click()
        self.wait(lambda: detect.workspace.job("detect") is None)
        self.keep("walls-detect")

        train = self.widget(1)
        self.wait()
        self.keep("walls-train")
        train.train_button.click()
        self.wait(lambda: train.workspace.job("train") is None)
        latents = self.widget(2)
        self.wait()
        latents.color_by("z0")
        self.keep("walls-latents")
        latents.draw_everywhere()
        self.wait(lambda: latents.workspace.job("latents") is None)
        self.keep("walls-dense")
        for layer in viewer.layers:
            if layer.metadata.get("napari_rvae", {}).get("dense"):
                layer.visible = False
        self.widget(0).walls.motion.click()
        self.wait(lambda: detect.workspace.job("detect") is None)
        latents.color_by("displacement")
        self.keep("walls-motion")
        viewer.close()

    def look_around(self) -> None:
        """Choose sites in the Latent plot, name them, look at one of them, and at all over time."""
        import napari_rvae as rvae
        from napari_rvae._napari.workspace import Model

        viewer, movie = self.viewer, rvae.simulate_graphene(n_frames=8, size=256, seed=0)
        sites = rvae.link_sites(rvae.detect_atoms(movie.frames))
        crops = rvae.extract_crops(movie.frames, sites)
        model = rvae.RVAE(epochs=20).fit(crops)
        sites = rvae.join_latents(sites, model.transform(crops))
        units = rvae.find_units(sites, features=model.invariants(crops), model=model)
        sites = rvae.join_latents(sites, units.table)
        points = rvae.points_layer(sites, movie.frames, name="atoms")
        rvae.add_layers(viewer, rvae.image_layer(movie.frames), points)
        rvae.show_units(viewer.layers["atoms"], units)
        self.lay_out(front=2)
        found = {type(widget).__name__: widget for widget in viewer.window.dock_widgets.values()}
        plot, site, strip = (found[f"{name}Widget"] for name in ("Plot", "Inspect", "Time"))
        plot.workspace.use_model(Model(model, rvae.CropConfig(), "graphene"))

        def idle() -> bool:
            return not (site.view.is_busy or strip.view.is_busy)

        self.wait()
        self.draw_lasso(plot.canvas, plot.canvas.plotted.points)
        self.wait()
        self.wait(idle)
        plot.name_selection("my class")
        self.keep("plot-lasso")
        plot.place.ground.setCurrentIndex(2)
        plot.canvas.hovered.emit(plot.canvas.view.value_at(plot.canvas.view.box.center()))
        self.wait(idle)
        self.keep("plot-grid")
        dock = strip
        while type(dock).__name__ != "QtViewerDockWidget":
            dock = dock.parent()
        dock.raise_()
        self.wait(idle)
        self.keep("plot-time")
        viewer.close()

    def draw_lasso(self, canvas: Any, points: Any) -> None:
        """Draw round the lower left of the points, with the mouse."""
        import numpy as np
        from qtpy.QtCore import Qt
        from qtpy.QtTest import QTest

        x, y = np.percentile(points.x, (1, 30)), np.percentile(points.y, (1, 60))
        corners = [(x[0], y[0]), (x[1], y[0]), (x[1], y[1]), (x[0], y[1])]
        start, *rest = [canvas.view.on_screen(*corner).toPoint() for corner in corners]
        left, none = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
        QTest.mousePress(canvas, left, none, start)
        for place in rest:
            QTest.mouseMove(canvas, place)
        QTest.mouseRelease(canvas, left, none, rest[-1])

    def mend(self, detect: Any) -> None:
        """Set and delete atoms by hand, look at some frames again, and set the scale."""
        from superqt import QCollapsible

        viewer = self.viewer
        atoms = viewer.layers["atoms of graphene"]
        viewer.layers.selection.active = atoms
        rows, columns = viewer.layers["graphene"].data.shape[-2:]
        atoms.add([[4, 0.45 * rows, 0.5 * columns], [4, 0.55 * rows, 0.5 * columns]])
        atoms.selected_data = set(range(6))
        atoms.remove_selected()
        detect.which.setCurrentText("a range")
        detect.first.setValue(3)
        detect.last.setValue(5)
        detect.detect.click()
        self.wait(lambda: detect.workspace.job("detect") is None)
        for section in detect.findChildren(QCollapsible):
            if section.text().startswith("Scale"):
                section.expand(animate=False)
        detect.scale.value.setValue(142.0)
        self.keep("detect-again")
        detect.scale.button.click()
        self.wait(lambda: detect.workspace.job("detect") is None)
        self.keep("detect-scale")


def main() -> None:
    """Draw the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=IMAGES, help="folder for the pictures")
    parser.add_argument("--theme", choices=("dark", "light"), default="dark")
    parser.add_argument("--report", action="store_true", help="the demonstration's page, too")
    parser.add_argument(
        "--only-detect", action="store_true", help="the pictures of Detect alone, which are quick"
    )
    parser.add_argument(
        "--only-pathways", action="store_true", help="the pictures of the Pathways widget alone"
    )
    parser.add_argument(
        "--only-plot", action="store_true", help="the pictures of the widgets below the canvas"
    )
    parser.add_argument(
        "--only-walls", action="store_true", help="the pictures of domain walls alone"
    )
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.report:
        report(options.out)
    tour = Tour(options.out, options.theme, only_detect=options.only_detect)
    if options.only_pathways:
        tour.show_pathways()
    elif options.only_plot:
        tour.look_around()
    elif options.only_walls:
        tour.show_walls()
    else:
        tour.go()


if __name__ == "__main__":
    main()
