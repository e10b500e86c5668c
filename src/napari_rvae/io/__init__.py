"""Files -> frames, and the safe writing of files.

Every format is read lazily, and whatever is wrong with a file is one line of
:class:`~napari_rvae.errors.ReadError`.
"""

from __future__ import annotations

from napari_rvae.io.export import export_table
from napari_rvae.io.files import (
    FIGURES,
    check_writable,
    read_json,
    sha256_of,
    write_atomic,
    write_figure,
    write_json,
    write_output,
)
from napari_rvae.io.micrographs import MICROGRAPHS
from napari_rvae.io.read import SUFFIXES, read_frames

__all__ = [
    "FIGURES",
    "MICROGRAPHS",
    "SUFFIXES",
    "check_writable",
    "export_table",
    "read_frames",
    "read_json",
    "sha256_of",
    "write_atomic",
    "write_figure",
    "write_json",
    "write_output",
]
