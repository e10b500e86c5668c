"""Runs: a folder that holds the tables, the model and the options of an analysis.

``run.json`` names every other file with its SHA-256 and is replaced last; the other files carry
a part of their hash in their names and are never overwritten. So, whatever happens in the middle
of a save, the folder holds the earlier run or the new one, whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import platform
import re
import secrets
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from napari_rvae import __version__, config
from napari_rvae.errors import InputError, ModelFileError, NapariRvaeError, ReadError
from napari_rvae.frames import Frames, as_frames
from napari_rvae.io.csv_tables import column_types, csv_bytes, read_table
from napari_rvae.io.files import (
    TEMPORARY,
    read_json,
    sha256_of,
    sync_folder,
    write_atomic,
    write_json,
)
from napari_rvae.tables import validate_sites

if TYPE_CHECKING:
    import pandas as pd

    from napari_rvae.analysis.kinetics.results import Pathways
    from napari_rvae.analysis.units import UnitModel, Units
    from napari_rvae.analysis.units.sites import Evidence
    from napari_rvae.vae import RVAE

__all__ = ["Run", "check_run_folder", "describe_frames", "load_run", "save_run"]

_logger = logging.getLogger(__name__)

_FORMAT = "napari-rvae run"
_FORMAT_VERSION = 1
_RUN_FILE = "run.json"

#: No file of a run comes near this size.
_MAX_BYTES = 4 * 2**30

#: Characters of the hash in a name.
_HASH = 12

#: Names of the files and folders that a run makes beside run.json, unfinished ones included.
_OURS = re.compile(
    rf"(sites|units|unit_summary|unit_environments|unit_tree|pathways_\w+)-[0-9a-f]{{{_HASH}}}\.csv"
    rf"|unit_arrays-[0-9a-f]{{{_HASH}}}\.safetensors"
    rf"|model-[0-9a-f]{{{_HASH}}}"
    rf"|\.(sites|units|unit_summary|unit_environments|unit_tree|unit_arrays|pathways_\w+|model|run)"
    rf"[-.\w]*\{TEMPORARY}"
)

#: A name inside the folder, on every system.
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")

#: Names of the tables, and what those of the pathways begin with.
_TABLES = ("sites", "units", "unit_summary", "unit_environments", "unit_tree")
_PATHWAYS = "pathways_"

_PACKAGES = ("numpy", "scipy", "pandas", "scikit-image", "scikit-learn", "torch", "safetensors")


class _Model(Protocol):
    def save(self, folder: Path) -> object: ...


@dataclass(frozen=True, eq=False)
class Run:
    """A run as it was loaded; the input it was made from is described, not opened.

    Parameters
    ----------
    folder
        Where it was loaded from.
    sites
        Sites table with everything that was joined to it, or None.
    units
        Structural units, or None.
    configs
        Options of the steps, by the names of their classes.
    frames
        Description of the input, see :func:`describe_frames`, or None.
    manifest
        All of ``run.json``.
    pathways
        Events and rates, or None.
    """

    folder: Path
    sites: pd.DataFrame | None
    units: Units | None
    configs: Mapping[str, config.Config]
    frames: Mapping[str, Any] | None
    manifest: Mapping[str, Any]
    pathways: Pathways | None = None

    @property
    def has_model(self) -> bool:
        """Whether there is a model to load."""
        return "model" in self.manifest["files"]

    def placement_frames(self) -> Frames | None:
        """Frames of the input's shape, scale, units and name, empty and without memory.

        Returns
        -------
        Frames
            What layers can be placed on while the input is not at hand; None where the run does
            not describe one.

        Raises
        ------
        ModelFileError
            If the description is damaged.
        """
        if self.frames is None:
            return None
        try:
            return Frames(
                np.broadcast_to(np.uint8(0), tuple(self.frames["shape"])),
                axis_labels=tuple(self.frames["axis_labels"]),
                scale=tuple(self.frames["scale"]),
                units=tuple(self.frames["units"]),
                channels=tuple(self.frames["channels"]),
                name=str(self.frames["name"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ModelFileError(
                f"{self.folder}: {_RUN_FILE} does not describe its input ({error}); take it from a "
                "copy or run again."
            ) from None

    def check_frames(self, frames: Frames) -> None:
        """Raise InputError if frames are not those that the run was made from.

        Shape and hash are compared, where the run knows them.
        """
        if self.frames is None:
            return
        shape, known = tuple(self.frames["shape"]), self.frames.get("sha256")
        if shape != frames.shape:
            raise InputError(
                f"The movie is of shape {frames.shape}, that of the run of {shape}: give the movie "
                "that the run was made from."
            )
        if known is not None and describe_frames(frames)["sha256"] not in {known, None}:
            raise InputError(
                f"The movie {frames.name!r} shows something else than that of the run, "
                f"{self.frames.get('name')!r}: give the movie that the run was made from."
            )

    def load_model(self, device: str = "auto") -> RVAE:
        """Load the model.

        Parameters
        ----------
        device
            Where it will compute, see :class:`napari_rvae.RVAE`.

        Raises
        ------
        ModelFileError
            If the run has no model, or it was damaged after the run was loaded.
        """
        if not self.has_model:
            raise ModelFileError(f"{self.folder} holds no model: it was saved without one.")
        from napari_rvae.vae import RVAE

        return RVAE.load(self.folder / self.manifest["files"]["model"]["name"], device=device)


def describe_frames(frames: Any) -> dict[str, Any]:
    """Describe frames so that they can be recognised, without where they are.

    Parameters
    ----------
    frames
        Frames or an array-like, see :func:`napari_rvae.as_frames`.

    Returns
    -------
    dict
        ``name``, ``shape``, ``dtype``, ``axis_labels``, ``scale``, ``units``, ``channels``,
        ``hashed_frames`` (the first, the middle and the last) and their ``sha256``, which does not
        depend on the file format; None where they cannot be read any more.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae.runs import describe_frames
    >>> describe_frames(np.zeros((5, 64, 48)))["hashed_frames"]
    [0, 2, 4]
    """
    frames = as_frames(frames)
    chosen = sorted({0, frames.n_frames // 2, frames.n_frames - 1})
    return {
        "name": frames.name,
        "shape": list(frames.shape),
        "dtype": str(frames.dtype),
        "axis_labels": list(frames.axis_labels),
        "scale": list(frames.scale),
        "units": list(frames.units),
        "channels": list(frames.channels),
        "hashed_frames": chosen,
        "sha256": _hash_frames(frames, chosen),
    }


def _hash_frames(frames: Frames, chosen: list[int]) -> str | None:
    digest = hashlib.sha256()
    try:
        for index in chosen:
            for channel in range(frames.n_channels):
                image = frames.frame(index, channel)
                digest.update(image.astype("<f8").tobytes())
    except (NapariRvaeError, OSError) as error:
        # results must not be lost because the input is gone meanwhile
        _logger.warning("The run is saved without a hash of its input: %s", error)
        return None
    return digest.hexdigest()


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
    if os.path.lexists(folder / _RUN_FILE):
        if not overwrite:
            raise InputError(
                f"{folder} already holds a run: give another folder, or overwrite=True."
            )
        if not _is_our_run(folder):
            raise InputError(
                f"{folder} holds a {_RUN_FILE} that is none of ours or damaged: "
                "give another folder, or remove it."
            )
        return folder
    others = [
        item.name
        for item in folder.iterdir()
        if not item.name.startswith(".") and not _OURS.fullmatch(item.name)
    ]
    if others:
        raise InputError(
            f"{folder} holds other things ({min(others)}) and no run: give a new or empty folder."
        )
    return folder


def _is_our_run(folder: Path) -> bool:
    try:
        manifest = read_json(folder / _RUN_FILE)
    except ReadError:
        return False
    return isinstance(manifest, dict) and manifest.get("format") == _FORMAT


def save_run(
    folder: str | os.PathLike[str],
    *,
    frames: Any = None,
    sites: pd.DataFrame | None = None,
    model: _Model | None = None,
    units: Units | None = None,
    pathways: Pathways | None = None,
    configs: Iterable[config.Config] = (),
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
        tables |= {f"{_PATHWAYS}{name}": part for name, part in pathways.tables().items()}
    manifest: dict[str, Any] = {
        "format": _FORMAT,
        "format_version": _FORMAT_VERSION,
        "versions": _versions(),
        **_describe_configs(configs),
        "input": _description(frames),
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
            write_json(folder / _RUN_FILE, manifest)
        finally:
            _sweep(folder)
    except NapariRvaeError:
        raise
    except OSError as error:
        raise ModelFileError(
            f"{folder}: the run cannot be saved ({error.strerror or error}); what was there is "
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
    path = folder / f"{name}-{digest[:_HASH]}.{suffix}"
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
    final = folder / f"model-{hashlib.sha256(text.encode()).hexdigest()[:_HASH]}"
    if not (final.is_dir() and _describe_files(final) == files):
        if final.is_dir():  # damaged since: its name does not tell its content
            shutil.rmtree(final)
        os.replace(unfinished, final)  # noqa: PTH105  (crash tests stop it here, by this name)
        sync_folder(folder)
    return {"name": final.name, "files": files}


def _sweep(folder: Path) -> None:
    """Remove our files that run.json does not name: of replaced runs and broken-off saves."""
    named: set[str] = set()
    if os.path.lexists(folder / _RUN_FILE):
        try:
            files = read_json(folder / _RUN_FILE)["files"]
            named = {entry["name"] for entry in files.values()}
        except (ReadError, KeyError, TypeError, AttributeError):
            return  # nobody knows what is needed
    for path in list(folder.iterdir()):
        if _OURS.fullmatch(path.name) and path.name not in named:
            with contextlib.suppress(OSError):  # another program may have it open
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()


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
    folder = folder.parent if folder.name == _RUN_FILE else folder
    if not folder.is_dir():
        raise ModelFileError(f"{folder} is not there: check the name of the run.")
    if not os.path.lexists(folder / _RUN_FILE):
        raise ModelFileError(f"{folder} is no run: it holds no {_RUN_FILE}.")
    try:
        manifest = read_json(folder / _RUN_FILE)
        loader = _loader_of(manifest, folder)
        return loader(folder, manifest)
    except ModelFileError:
        raise
    except (ReadError, InputError) as error:
        raise ModelFileError(f"{folder}: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise ModelFileError(
            f"{folder}: {_RUN_FILE} is damaged ({reason}); take it from a copy or run again."
        ) from error


def _loader_of(manifest: Any, folder: Path) -> Callable[[Path, dict[str, Any]], Run]:
    if not isinstance(manifest, dict) or manifest.get("format") != _FORMAT:
        raise ModelFileError(f"{folder} is no run: its {_RUN_FILE} is of another program.")
    version = manifest.get("format_version")
    if isinstance(version, int) and version > _FORMAT_VERSION:
        raise ModelFileError(
            f"{folder} was made by a newer napari-rvae (format {version}, this one reads up to "
            f"{_FORMAT_VERSION}): update the package."
        )
    if isinstance(version, bool) or version not in _LOADERS:
        raise ModelFileError(f"{folder}: {_RUN_FILE} is damaged: it has format {version!r}.")
    return _LOADERS[version]


def _load_version_1(folder: Path, manifest: dict[str, Any]) -> Run:
    files, tables = manifest["files"], {}
    if not isinstance(files, dict):
        raise TypeError("the list of files is no object")
    for name in files:
        if name in _TABLES or name.startswith(_PATHWAYS):
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
        name.removeprefix(_PATHWAYS): table
        for name, table in tables.items()
        if name.startswith(_PATHWAYS)
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
            f"{folder}: {_RUN_FILE} names unknown options {name!r}: update the package."
        )
    return kind.from_dict(values)
