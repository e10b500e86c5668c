"""Draw the pictures of the README and the documentation: python scripts/screenshots.py.

Runs the demonstration and keeps its report, reduced to the size of a page.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from PIL import Image

from napari_rvae.cli import main as napari_rvae

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"

#: Wide enough to read on a page, small enough for a repository.
WIDTH = 1200


def report() -> None:
    """Save the demonstration's report as docs/images/report.png."""
    with tempfile.TemporaryDirectory() as folder:
        code = napari_rvae(["demo", "--out", folder])
        if code:
            sys.exit(code)
        with Image.open(Path(folder) / "report.png") as page:
            height = round(page.height * WIDTH / page.width)
            small = page.convert("RGB").resize((WIDTH, height), Image.Resampling.LANCZOS)
            small.save(IMAGES / "report.png", optimize=True)


if __name__ == "__main__":
    report()
