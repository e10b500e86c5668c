"""What a run is made of: the names of its files, and whether a folder may hold one."""

from __future__ import annotations

import os
import re
from pathlib import Path

from napari_rvae.errors import InputError, ReadError
from napari_rvae.io.files import TEMPORARY, read_json

__all__ = [
    "FORMAT",
    "FORMAT_VERSION",
    "HASH",
    "OURS",
    "PATHWAYS",
    "RUN_FILE",
    "TABLES",
    "check_run_folder",
]

FORMAT = "napari-rvae run"
FORMAT_VERSION = 1
RUN_FILE = "run.json"

#: Characters of the hash in a name.
HASH = 12

#: Names of the files and folders that a run makes beside run.json, unfinished ones included.
OURS = re.compile(
    rf"(sites|units|unit_summary|unit_environments|unit_tree|pathways_\w+)-[0-9a-f]{{{HASH}}}\.csv"
    rf"|unit_arrays-[0-9a-f]{{{HASH}}}\.safetensors"
    rf"|model-[0-9a-f]{{{HASH}}}"
    rf"|\.(sites|units|unit_summary|unit_environments|unit_tree|unit_arrays|pathways_\w+|model|run)"
    rf"[-.\w]*\{TEMPORARY}"
)

#: Names of the tables, and what those of the pathways begin with.
TABLES = ("sites", "units", "unit_summary", "unit_environments", "unit_tree")
PATHWAYS = "pathways_"


def check_run_folder(folder: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Check that a run may be saved in a folder, and return it; nothing is written.

    Parameters
    ----------
    folder
        The folder, which need not be there.
    overwrite
        Whether an earlier run in it may be replaced.

    Raises
    ------
    InputError
        If the folder holds a run that may not be replaced, or other things and no run.
    """
    folder = Path(folder)
    if not os.path.lexists(folder):
        return folder
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder: give the name of a folder for the run.")
    if os.path.lexists(folder / RUN_FILE):
        if not overwrite:
            raise InputError(
                f"{folder} already holds a run: give another folder, or overwrite=True."
            )
        if not _is_our_run(folder):
            raise InputError(
                f"{folder} holds a {RUN_FILE} that is none of ours or damaged: "
                "give another folder, or remove it."
            )
        return folder
    others = [
        item.name
        for item in folder.iterdir()
        if not item.name.startswith(".") and not OURS.fullmatch(item.name)
    ]
    if others:
        raise InputError(
            f"{folder} holds other things ({min(others)}) and no run: give a new or empty folder."
        )
    return folder


def _is_our_run(folder: Path) -> bool:
    try:
        manifest = read_json(folder / RUN_FILE)
    except ReadError:
        return False
    return isinstance(manifest, dict) and manifest.get("format") == FORMAT
