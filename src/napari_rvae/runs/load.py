"""Loading a run: every file is checked against its hash."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_rvae import config
from napari_rvae.errors import InputError, ModelFileError, ReadError
from napari_rvae.io.csv_tables import read_table
from napari_rvae.io.files import read_json, sha256_of
from napari_rvae.runs.layout import FORMAT, FORMAT_VERSION, PATHWAYS, RUN_FILE, TABLES
from napari_rvae.runs.run import Run

if TYPE_CHECKING:
    import pandas as pd

    from napari_rvae.analysis.kinetics.results import Pathways
    from napari_rvae.analysis.units import Units

__all__ = ["load_run"]

#: No file of a run comes near this size.
_MAX_BYTES = 4 * 2**30

#: A name inside the folder, on every system.
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def load_run(folder: str | os.PathLike[str]) -> Run:
    """Load a run; every file is checked against its hash, and no input is opened.

    Parameters
    ----------
    folder
        The folder of the run, or its ``run.json``.

    Returns
    -------
    Run
        Tables and options; the model is loaded when :meth:`Run.load_model` is called.

    Raises
    ------
    ModelFileError
        If the folder is no run, was made by a newer version, or something in it is missing or
        damaged; one line that names it.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from napari_rvae import DetectConfig, load_run, save_run
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save = save_run(Path(folder) / "run", configs=[DetectConfig(min_snr=6.0)])
    ...     load_run(save).configs["DetectConfig"].min_snr
    6.0
    """
    folder = Path(folder)
    folder = folder.parent if folder.name == RUN_FILE else folder
    if not folder.is_dir():
        raise ModelFileError(f"{folder} is not there: check the name of the run.")
    if not os.path.lexists(folder / RUN_FILE):
        raise ModelFileError(f"{folder} is no run: it holds no {RUN_FILE}.")
    try:
        manifest = read_json(folder / RUN_FILE)
        loader = _loader_of(manifest, folder)
        return loader(folder, manifest)
    except ModelFileError:
        raise
    except (ReadError, InputError) as error:
        raise ModelFileError(f"{folder}: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise ModelFileError(
            f"{folder}: {RUN_FILE} is damaged ({reason}); take it from a copy or run again."
        ) from error


def _loader_of(manifest: Any, folder: Path) -> Callable[[Path, dict[str, Any]], Run]:
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ModelFileError(f"{folder} is no run: its {RUN_FILE} is of another program.")
    version = manifest.get("format_version")
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise ModelFileError(
            f"{folder} was made by a newer napari-rvae (format {version}, this one reads up to "
            f"{FORMAT_VERSION}): update the package."
        )
    if isinstance(version, bool) or version not in _LOADERS:
        raise ModelFileError(f"{folder}: {RUN_FILE} is damaged: it has format {version!r}.")
    return _LOADERS[version]


def _load_version_1(folder: Path, manifest: dict[str, Any]) -> Run:
    files, tables = manifest["files"], {}
    if not isinstance(files, dict):
        raise TypeError("the list of files is no object")
    for name in files:
        if name in TABLES or name.startswith(PATHWAYS):
            path = _checked(folder, files[name]["name"], files[name])
            tables[name] = read_table(path, files[name]["columns"])
    if "model" in files:
        name = _plain_name(files["model"]["name"])
        for inner, entry in files["model"]["files"].items():
            _checked(folder / name, inner, entry)
    units = None
    if "units" in tables:
        units = _load_units(folder, files, tables)
    ways = {
        name.removeprefix(PATHWAYS): table
        for name, table in tables.items()
        if name.startswith(PATHWAYS)
    }
    return Run(
        folder=folder,
        sites=tables.get("sites"),
        units=units,
        pathways=_pathways(ways) if ways else None,
        configs={k: _config(folder, k, values) for k, values in manifest["configs"].items()},
        frames=manifest["input"],
        manifest=manifest,
    )


def _load_units(folder: Path, files: dict[str, Any], tables: dict[str, pd.DataFrame]) -> Units:
    """Units with what they can be edited with and recognised by, where the run has it."""
    from napari_rvae.analysis.units import UnitModel, Units
    from napari_rvae.analysis.units.sites import Evidence

    if "unit_arrays" not in files:  # of a version that kept none
        return Units(table=tables["units"], summary=tables["unit_summary"])
    from safetensors import SafetensorError
    from safetensors.numpy import load

    path = _checked(folder, files["unit_arrays"]["name"], files["unit_arrays"])
    parts: dict[str, dict[str, Any]] = {"model": {}, "evidence": {}}
    try:
        for name, values in load(path.read_bytes()).items():
            owner, _, key = name.partition(".")
            parts[owner][key] = values
    except SafetensorError as error:
        raise ModelFileError(f"{path} is damaged ({error}): save the run anew.") from None
    return Units(
        table=tables["units"],
        summary=tables["unit_summary"],
        environments=tables["unit_environments"],
        tree=tables["unit_tree"],
        model=UnitModel.from_arrays(parts["model"]),
        evidence=Evidence.from_arrays(parts["evidence"]) if parts["evidence"] else None,
    )


def _pathways(found: dict[str, pd.DataFrame]) -> Pathways:
    from napari_rvae.analysis.kinetics.results import COLUMNS, Pathways

    # a later version may have more tables
    return Pathways(**{name: table for name, table in found.items() if name in COLUMNS})


#: Every version of the format that was ever written.
_LOADERS: dict[Any, Callable[[Path, dict[str, Any]], Run]] = {1: _load_version_1}


def _plain_name(name: str) -> str:
    if not _PLAIN_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no plain file name")
    return name


def _checked(folder: Path, name: str, entry: Mapping[str, Any]) -> Path:
    """Return the path of a file of the run, after checking that it is the one that was saved."""
    path = folder / _plain_name(name)
    if not path.is_file():
        raise ModelFileError(f"{folder} lacks {name}: take it from a copy or run again.")
    size = path.stat().st_size
    if size != entry["bytes"] or size > _MAX_BYTES or sha256_of(path) != entry["sha256"]:
        raise ModelFileError(
            f"{folder}: {name} is not what was saved (its size or hash differs): take it from a "
            "copy or run again."
        )
    return path


def _config(folder: Path, name: str, values: dict[str, Any]) -> config.Config:
    kind = getattr(config, name, None)
    if kind is config.Config or not (isinstance(kind, type) and issubclass(kind, config.Config)):
        raise ModelFileError(
            f"{folder}: {RUN_FILE} names unknown options {name!r}: update the package."
        )
    return kind.from_dict(values)
