"""Saving a run, so that the folder always holds a whole one."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import secrets
import shutil
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from napari_rvae import __version__, config
from napari_rvae.errors import InputError, ModelFileError, NapariRvaeError, ReadError
from napari_rvae.io.csv_tables import column_types, csv_bytes
from napari_rvae.io.files import (
    TEMPORARY,
    read_json,
    sha256_of,
    sync_folder,
    write_atomic,
    write_json,
)
from napari_rvae.runs.describe import describe_frames
from napari_rvae.runs.layout import (
    FORMAT,
    FORMAT_VERSION,
    HASH,
    OURS,
    PATHWAYS,
    RUN_FILE,
    check_run_folder,
)
from napari_rvae.tables import validate_sites

if TYPE_CHECKING:
    import pandas as pd

    from napari_rvae.analysis.kinetics.results import Pathways
    from napari_rvae.analysis.units import UnitModel, Units
    from napari_rvae.analysis.units.sites import Evidence

__all__ = ["save_run"]

_PACKAGES = ("numpy", "scipy", "pandas", "scikit-image", "scikit-learn", "torch", "safetensors")


class _Model(Protocol):
    def save(self, folder: Path) -> object: ...


def save_run(
    folder: str | os.PathLike[str],
    *,
    frames: Any = None,
    sites: pd.DataFrame | None = None,
    model: _Model | None = None,
    units: Units | None = None,
    pathways: Pathways | None = None,
    configs: Iterable[config.Config] = (),
    steps: Iterable[Mapping[str, Any]] = (),
    overwrite: bool = False,
) -> Path:
    """Save a run; at every moment the folder holds the earlier run or the new one, whole.

    Parameters
    ----------
    folder
        Where to; made where it is missing. Other files in it (reports, metrics) stay.
    frames
        The input. It is described (name, shape, scale, a hash of some frames), not copied. Or the
        description itself, ``Run.frames`` of an earlier run.
    sites
        Sites table, with latents, tracks and units joined to it.
    model
        A trained :class:`napari_rvae.RVAE`.
    units
        What :func:`napari_rvae.find_units` returned.
    pathways
        What :func:`napari_rvae.find_pathways` returned.
    configs
        Options of the steps, one object a class.
    steps
        What was done, step by step, as :mod:`napari_rvae.layers.steps` describes it: from it,
        :func:`napari_rvae.analysis_script` does it again when the run is opened another day.
    overwrite
        Whether an earlier run in the folder may be replaced.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    InputError
        If the folder holds an earlier run and `overwrite` is False, or other things and no run;
        or if a table has a column that no file can hold.
    NotFittedError
        If the model is not trained.
    ModelFileError
        If the files cannot be written; what was there is unchanged.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from napari_rvae import load_run, save_run
    >>> from napari_rvae.tables import make_sites
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save = save_run(Path(folder) / "run", sites=make_sites(frame=0, y=[1.5], x=[2.5]))
    ...     load_run(save).sites["y"].tolist()
    [1.5]
    """
    folder = check_run_folder(folder, overwrite=overwrite)
    tables: dict[str, pd.DataFrame] = {}
    if sites is not None:
        tables["sites"] = validate_sites(sites)
    if units is not None:
        tables["units"], tables["unit_summary"] = units.table, units.summary
        if units.model is not None:
            tables["unit_environments"], tables["unit_tree"] = units.environments, units.tree
    if pathways is not None:
        tables |= {f"{PATHWAYS}{name}": part for name, part in pathways.tables().items()}
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "versions": _versions(),
        **_describe_configs(configs),
        "input": _description(frames),
        "steps": [dict(step) for step in steps],
    }
    contents = {name: (csv_bytes(table), column_types(table)) for name, table in tables.items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            manifest["files"] = {
                name: _put_table(folder, name, content, types)
                for name, (content, types) in contents.items()
            }
            if units is not None and units.model is not None:
                manifest["files"]["unit_arrays"] = _put_arrays(
                    folder, "unit_arrays", units.model, units.evidence
                )
            if model is not None:
                manifest["files"]["model"] = _put_model(folder, model)
            write_json(folder / RUN_FILE, manifest)
        finally:
            _sweep(folder)
    except OSError as error:
        # of a model, whose folder has another name until it is whole, what the system has said
        system = error.__cause__ if isinstance(error, NapariRvaeError) else error
        if not isinstance(system, OSError):
            raise
        raise ModelFileError(
            f"{folder}: the run cannot be saved ({system.strerror or system}); what was there is "
            "unchanged. Free some space or choose another folder."
        ) from error
    return folder


def _description(frames: Any) -> dict[str, Any] | None:
    if frames is None:
        return None
    return dict(frames) if isinstance(frames, Mapping) else describe_frames(frames)


def _versions() -> dict[str, str]:
    found = {"napari-rvae": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _describe_configs(configs: Iterable[config.Config]) -> dict[str, Any]:
    options: dict[str, dict[str, Any]] = {}
    for item in configs:
        name = type(item).__name__
        if not isinstance(item, config.Config):
            raise InputError(f"configs holds a {name}: give objects like DetectConfig().")
        if name in options:
            raise InputError(f"configs holds two objects of {name}: give one of each class.")
        options[name] = item.to_dict()
    seeds = {name: values["seed"] for name, values in options.items() if "seed" in values}
    return {"configs": options, "seed": seeds}


def _put_table(folder: Path, name: str, content: bytes, types: Mapping[str, str]) -> dict[str, Any]:
    """Write a table under a name that tells its content, and describe it."""
    return {**_put(folder, name, "csv", content), "columns": dict(types)}


def _put(folder: Path, name: str, suffix: str, content: bytes) -> dict[str, Any]:
    digest = hashlib.sha256(content).hexdigest()
    path = folder / f"{name}-{digest[:HASH]}.{suffix}"
    if not (path.is_file() and sha256_of(path) == digest):
        write_atomic(path, content)
    return {"name": path.name, "bytes": len(content), "sha256": digest}


def _put_arrays(
    folder: Path, name: str, model: UnitModel, evidence: Evidence | None
) -> dict[str, Any]:
    """Write what units are recognised by and edited with."""
    from safetensors.numpy import save

    arrays = {f"model.{key}": values for key, values in model.arrays().items()}
    if evidence is not None:
        own = evidence.arrays()
        arrays |= {f"evidence.{key}": np.ascontiguousarray(own[key]) for key in own}
    return _put(folder, name, "safetensors", save(arrays))


def _describe_files(folder: Path) -> dict[str, dict[str, Any]]:
    return {
        path.name: {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
        for path in sorted(folder.iterdir())
    }


def _put_model(folder: Path, model: _Model) -> dict[str, Any]:
    """Let the model save itself beside its final place, then rename the whole."""
    unfinished = folder / f".model.{secrets.token_hex(4)}{TEMPORARY}"
    unfinished.mkdir()
    model.save(unfinished)
    for path in unfinished.iterdir():
        with path.open("r+b") as file:
            os.fsync(file.fileno())
    sync_folder(unfinished)
    files = _describe_files(unfinished)
    text = "".join(f"{name} {entry['sha256']}\n" for name, entry in files.items())
    final = folder / f"model-{hashlib.sha256(text.encode()).hexdigest()[:HASH]}"
    if not (final.is_dir() and _describe_files(final) == files):
        if final.is_dir():  # damaged since: its name does not tell its content
            shutil.rmtree(final)
        os.replace(unfinished, final)  # noqa: PTH105  (crash tests stop it here, by this name)
        sync_folder(folder)
    return {"name": final.name, "files": files}


def _sweep(folder: Path) -> None:
    """Remove our files that run.json does not name: of replaced runs and broken-off saves."""
    named: set[str] = set()
    if os.path.lexists(folder / RUN_FILE):
        try:
            files = read_json(folder / RUN_FILE)["files"]
            named = {entry["name"] for entry in files.values()}
        except (ReadError, KeyError, TypeError, AttributeError):
            return  # nobody knows what is needed
    for path in list(folder.iterdir()):
        if OURS.fullmatch(path.name) and path.name not in named:
            with contextlib.suppress(OSError):  # another program may have it open
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()
