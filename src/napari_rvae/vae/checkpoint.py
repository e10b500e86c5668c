"""A trained model as two files: config.json, and the weights that it names.

The weights carry characters of their hash in their name and are never overwritten; config.json is
replaced last. So a save that is broken off leaves the earlier model whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from napari_rvae.errors import ModelFileError
from napari_rvae.io.files import read_json, write_atomic, write_json

__all__ = ["CONFIG_FILE", "FORMAT_VERSION", "read_model", "write_model"]

#: 2: fixed features before the encoder, and a held-out loss. 1 was never released.
FORMAT_VERSION = 2
CONFIG_FILE = "config.json"

#: What the weights' file may be called.
_WEIGHTS = re.compile(r"weights-[0-9a-f]{12}\.safetensors")

#: No model of ours is larger; a file that is was not written here.
_MAX_BYTES = 1 << 30


def write_model(
    folder: str | os.PathLike[str], header: dict[str, Any], tensors: dict[str, torch.Tensor]
) -> None:
    """Write a model into a folder, in place of an earlier one."""
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        plain = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
        content = save(plain)
        digest = hashlib.sha256(content).hexdigest()
        name = f"weights-{digest[:12]}.safetensors"
        write_atomic(path / name, content)
        about = {
            "format": "napari-rvae model",
            "format_version": FORMAT_VERSION,
            **header,
            "shapes": {name: list(t.shape) for name, t in plain.items()},
            "weights": name,
            "sha256": digest,
        }
        write_json(path / CONFIG_FILE, about)
        for other in path.iterdir():
            if _WEIGHTS.fullmatch(other.name) and other.name != name:
                other.unlink()
    except OSError as error:
        raise ModelFileError(
            f"{path}: the model cannot be written ({error.strerror or error}): free some space or "
            "choose another folder."
        ) from error


def read_model(
    folder: str | os.PathLike[str],
) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Read what :func:`write_model` wrote, checking every name, shape and value."""
    path = Path(folder)
    header = _read_header(path)
    name = header.get("weights")
    if not isinstance(name, str) or not _WEIGHTS.fullmatch(name):
        raise ModelFileError(f"{path / CONFIG_FILE} names no file of weights.")
    weights = path / name
    try:
        if weights.stat().st_size > _MAX_BYTES:
            raise ModelFileError(f"{weights} is larger than any model of this package.")
        content = weights.read_bytes()
        tensors = load(content)
    except OSError as error:
        raise ModelFileError(f"{weights} cannot be read ({error.strerror}).") from None
    except (SafetensorError, ValueError) as error:
        raise ModelFileError(f"{weights} is damaged ({error}): save the model anew.") from None
    shapes = header.get("shapes")
    if not isinstance(shapes, dict) or {k: list(t.shape) for k, t in tensors.items()} != shapes:
        raise ModelFileError(f"{weights} does not fit {CONFIG_FILE}: they are of two models.")
    if hashlib.sha256(content).hexdigest() != header.get("sha256"):
        raise ModelFileError(
            f"{weights} is not the file that {CONFIG_FILE} tells of: it is damaged, or they are "
            "of two models."
        )
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ModelFileError(f"{weights}: {name} holds values that are not finite.")
    return header, tensors


def _read_header(path: Path) -> dict[str, Any]:
    config = path / CONFIG_FILE
    if not path.exists():
        raise ModelFileError(f"{path} is not there: it was moved or removed; open it where it is.")
    if not config.is_file():
        raise ModelFileError(f"{path} is no model folder: it has no {CONFIG_FILE}.")
    try:
        header = read_json(config)
    except (OSError, ValueError, json.JSONDecodeError) as error:
        raise ModelFileError(f"{config} cannot be read ({error}).") from None
    if not isinstance(header, dict) or header.get("format") != "napari-rvae model":
        raise ModelFileError(f"{config} describes no model of this package.")
    version = header.get("format_version")
    if version == 1:
        raise ModelFileError(
            f"{config} was written by a test version of this package, whose network was another: "
            "train the model anew."
        )
    if version != FORMAT_VERSION:
        raise ModelFileError(
            f"{config} has format version {version!r}; this package reads {FORMAT_VERSION}: "
            "update it."
        )
    return header
