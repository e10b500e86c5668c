"""Run the Python code of README.md and of the pages of docs as it is printed.

    python scripts/run_docs.py               all pages, some five minutes of one core
    python scripts/run_docs.py name-units    some pages, by their names

The blocks of a page run one after another in an empty folder. What a page takes for granted (a
movie, sites, a viewer with layers) is made first, by the functions at the end. No window is shown.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import io
import os
import re
import sys
import tempfile
import textwrap
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

#: How a literal block begins: a paragraph's end, or a directive with its language.
_LITERAL = re.compile(r"^(?P<indent> *)(?:\.\. code-block:: (?P<language>\w+)|(?!\.\. ).*::)$")


@dataclass(frozen=True)
class Block:
    """A block of code of a page, and the line that it begins at."""

    page: Path
    line: int
    text: str
    language: str

    @property
    def is_python(self) -> bool:
        """Whether it is Python: by its language, else because Python can read it."""
        if self.language:
            return self.language == "python"
        try:
            ast.parse(self.text)
        except SyntaxError:
            return False
        return True


def pages() -> list[Path]:
    """All pages that people read, README.md first."""
    docs = ROOT / "docs"
    written = [page for page in sorted(docs.rglob("*.rst")) if "generated" not in page.parts]
    return [ROOT / "README.md", *written]


def blocks(page: Path) -> list[Block]:
    """Blocks of code of a page, in their order."""
    lines = page.read_text(encoding="utf-8").splitlines()
    found = _fenced(lines) if page.suffix == ".md" else _indented(lines)
    return [Block(page, line, text, language) for line, text, language in found]


def _fenced(lines: list[str]) -> Iterator[tuple[int, str, str]]:
    start = None
    for number, line in enumerate(lines):
        if line.startswith("```"):
            if start is None:
                start = number
                continue
            yield start + 2, "\n".join(lines[start + 1 : number]), lines[start][3:]
            start = None


def _indented(lines: list[str]) -> Iterator[tuple[int, str, str]]:
    number = 0
    while number < len(lines):
        head = _LITERAL.match(lines[number].rstrip())
        number += 1
        if head is None:
            continue
        start = number
        least = len(head["indent"])
        while number < len(lines) and (not lines[number].strip() or _indent(lines[number]) > least):
            number += 1
        text = textwrap.dedent("\n".join(lines[start:number]))
        skipped = len(text) - len(text.lstrip("\n"))
        if text.strip():
            yield start + skipped + 1, text.strip("\n"), head["language"] or ""


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def run(page: Path) -> list[str]:
    """Run the blocks of a page in an empty folder; return what failed, one text each."""
    wanted = [block for block in blocks(page) if block.is_python]
    if not wanted:
        return []
    names: dict[str, Any] = {"__name__": "__main__"}
    failed, before = [], Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            SCENES.get(page.stem, lambda _names: None)(names)
            for block in wanted:
                # what one block prepares for the next by hand, in words
                STEPS.get((page.stem, wanted.index(block)), lambda _names: None)(names)
                began, where = time.process_time(), f"{page.name}, line {block.line}"
                try:
                    with contextlib.redirect_stdout(io.StringIO()):
                        exec(compile(block.text, where, "exec"), names)  # noqa: S102 - our pages
                except Exception:  # noqa: BLE001 - told with the others
                    failed.append(f"{where}:\n{traceback.format_exc()}")
                print(f"{where}: {time.process_time() - began:.1f} s", flush=True)
        finally:
            os.chdir(before)
    return failed


# ---------------------------------------------------------------------- what pages take for granted
def _movie_file(names: dict[str, Any]) -> None:
    """A movie in a file, and a viewer that knows the sample movies."""
    import tifffile
    from napari.components import ViewerModel
    from npe2 import PluginManager

    import napari_rvae as rvae

    PluginManager.instance().discover()
    names["viewer"] = ViewerModel()
    frames = rvae.simulate_graphene(n_frames=6, size=256).frames
    tifffile.imwrite("movie.tif", frames.data)


def _graphene(names: dict[str, Any]) -> None:
    _analysed(names, "graphene", {"n_frames": 8, "size": 384})


def _few_crops(names: dict[str, Any]) -> None:
    """Few of them, for an engine that takes its time."""
    import napari_rvae as rvae

    frames = rvae.simulate_graphene(n_frames=1, size=160).frames
    names["crops"] = rvae.extract_crops(frames, rvae.detect_atoms(frames))


def _hopping(names: dict[str, Any]) -> None:
    _analysed(names, "hopping", {"n_frames": 30, "size": 256})


def _analysed(names: dict[str, Any], movie: str, options: dict[str, Any]) -> None:
    """A movie with sites, a model and units, and its layers in a viewer."""
    from napari.components import ViewerModel

    import napari_rvae as rvae

    frames = getattr(rvae, f"simulate_{movie}")(**options).frames
    sites = rvae.link_sites(rvae.detect_atoms(frames, classify=movie == "hopping"))
    crops = rvae.extract_crops(frames, sites)
    model = rvae.RVAE(epochs=8).fit(crops)
    sites = rvae.join_latents(sites, model.transform(crops))
    units = rvae.find_units(sites, features=model.invariants(crops), model=model)
    sites = rvae.join_latents(sites, units.table)
    viewer = ViewerModel()
    atoms = rvae.points_layer(sites, frames, color_by="unit", name=f"atoms of {frames.name}")
    _, points = rvae.add_layers(viewer, rvae.image_layer(frames), atoms)
    whole = sites.dropna(subset=["z0"])
    names.update(frames=frames, sites=sites, crops=crops, model=model, units=units, rvae=rvae)
    names.update(viewer=viewer, points=points, site_id=int(whole["site_id"].iloc[len(whole) // 2]))


def _image(names: dict[str, Any]) -> None:
    """A viewer with a movie and nothing else."""
    from napari.components import ViewerModel

    import napari_rvae as rvae

    names["viewer"] = ViewerModel()
    frames = rvae.simulate_graphene(n_frames=4, size=256).frames
    rvae.add_layers(names["viewer"], rvae.image_layer(frames))


def _micrograph(_names: dict[str, Any]) -> None:
    """A movie in a file of an electron microscope."""
    import numpy as np
    from rsciio.emd import file_writer

    axes = [
        {"name": name, "size": size, "scale": 0.02, "offset": 0.0, "units": unit}
        | {"navigate": name == "t", "index_in_array": number, "_type": "UniformDataAxis"}
        for number, (name, size, unit) in enumerate(
            (("t", 3, "s"), ("y", 16, "nm"), ("x", 24, "nm"))
        )
    ]
    said = {"General": {"title": "HAADF"}, "Signal": {"signal_type": ""}}
    signal = {"data": np.zeros((3, 16, 24), np.uint16), "axes": axes, "metadata": said}
    empty = {"original_metadata": {}, "learning_results": {}, "attributes": {}}
    file_writer("movie.emd", signal | empty | {"package": "", "package_version": ""})


def _select_sites(names: dict[str, Any]) -> None:
    layers = names["viewer"].layers
    layers.selection.active = layers[-1]


def _draw_region(names: dict[str, Any]) -> None:
    viewer = names["viewer"]
    scale = viewer.layers["graphene"].scale[-2:]
    square = [[20, 20], [20, 200], [200, 200], [200, 20]]
    shapes = viewer.add_shapes([square], scale=scale, units=("nm", "nm"))
    viewer.layers.selection.active = shapes


#: What a page takes for granted, by its name.
SCENES: dict[str, Callable[[dict[str, Any]], None]] = {
    "README": _movie_file,
    "get-started": _movie_file,
    "open-files": _micrograph,
    "napari-console": _image,
    "mend-atoms": _graphene,
    "name-units": _graphene,
    "plot-and-select": _graphene,
    "published-rvae": _few_crops,
    "workspace": _graphene,
    "see-the-pathways": _hopping,
}

#: What is done by hand before a block, by the page and the number of the block.
STEPS: dict[tuple[str, int], Callable[[dict[str, Any]], None]] = {
    ("napari-console", 1): _select_sites,
    ("napari-console", 2): _draw_region,
}


def main() -> None:
    """Run the pages."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("pages", nargs="*", help="names of pages, such as name-units")
    wanted = parser.parse_args().pages
    unknown = set(wanted) - {page.stem for page in pages()}
    if unknown:
        parser.error(f"there is no page {', '.join(sorted(unknown))}")
    failed = [text for page in pages() if not wanted or page.stem in wanted for text in run(page)]
    print("\n".join(failed) or "all of it runs")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
