"""Files that are whole or not there: atomic writes, safe JSON, hashes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import secrets
import tempfile
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from napari_rvae.errors import InputError, ReadError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "FIGURES",
    "TEMPORARY",
    "check_writable",
    "read_json",
    "sha256_of",
    "sync_folder",
    "write_atomic",
    "write_figure",
    "write_json",
    "write_output",
]

#: How the names of temporary files end; they begin with a dot.
TEMPORARY = ".tmp"

#: Kinds of files that a figure can be.
FIGURES = (".png", ".svg", ".pdf")

#: No JSON file of ours comes near this size.
_MAX_JSON_BYTES = 64 * 2**20


def sync_folder(folder: str | os.PathLike[str]) -> None:
    """Have the system store the names in a folder, so that a new file survives a power cut."""
    if os.name != "posix":  # elsewhere a folder cannot be opened
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomic(
    path: str | os.PathLike[str], content: bytes | Callable[[BinaryIO], object]
) -> Path:
    """Write a file so that, whatever happens, the old or the new one is there, whole.

    Parameters
    ----------
    path
        Where to write; its folder must be there.
    content
        The bytes, or a function that writes them to the open binary file that it is given.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    OSError
        If the system refuses: no such folder, no permission, the disk is full.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from napari_rvae.io import write_atomic
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_atomic(Path(folder) / "a.txt", b"whole").read_bytes()
    b'whole'
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{TEMPORARY}")
    try:
        with temporary.open("xb") as file:
            if callable(content):
                content(file)
            else:
                file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)  # noqa: PTH105  (crash tests stop it here, by this name)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
    return path


def check_writable(folder: str | os.PathLike[str]) -> None:
    """Check, before long work whose result goes there, that files can be written into a folder.

    The folder and a file in it are made, and taken away again. (What the system says of its rights
    is not enough: a disk may be mounted for reading only.)

    Parameters
    ----------
    folder
        The folder, which need not be there.

    Raises
    ------
    InputError
        If it cannot be made, or takes no file.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from napari_rvae.io import check_writable
    >>> with tempfile.TemporaryDirectory() as there:
    ...     check_writable(Path(there) / "new" / "run")
    ...     list(Path(there).iterdir())
    []
    """
    folder = Path(folder)
    new = [part for part in (folder, *folder.parents) if not part.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written ({error.strerror or error}): choose another folder."
        ) from None
    finally:
        with contextlib.suppress(OSError):
            for part in new:
                part.rmdir()


def write_output(
    path: str | os.PathLike[str], content: bytes | Callable[[BinaryIO], object]
) -> Path:
    """Write a file that somebody has asked for by its name: a table, a figure, a movie.

    Parameters
    ----------
    path, content
        See :func:`write_atomic`.

    Raises
    ------
    InputError
        If the system refuses; what was there is unchanged.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from napari_rvae.io import write_output
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_output(Path(folder) / "a.csv", b"site_id").name
    'a.csv'
    """
    try:
        return write_atomic(path, content)
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({error.strerror or error}): give another name or folder."
        ) from error


def write_figure(path: str | os.PathLike[str], figure: Figure, *, dpi: float = 120.0) -> Path:
    """Write a figure of Matplotlib that somebody has asked for, whole or not at all.

    Parameters
    ----------
    path
        See :func:`write_atomic`; its suffix says what is written: .png, .svg or .pdf. No date is
        written: the same picture or PDF gives the same file on another day.
    figure
        The figure; its own background is kept.
    dpi
        Pixels per inch of pictures.

    Raises
    ------
    InputError
        If the suffix is another one, or the system refuses; what was there is unchanged.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from matplotlib.figure import Figure
    >>> from napari_rvae.io import write_figure
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_figure(Path(folder) / "empty.svg", Figure()).name
    'empty.svg'
    """
    suffix, content = Path(path).suffix.lower(), BytesIO()
    if suffix not in FIGURES:
        raise InputError(
            f"{Path(path).name}: figures are written as {', '.join(FIGURES)}; choose one of these."
        )
    date = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(suffix)
    colour = figure.get_facecolor()
    figure.savefig(content, format=suffix[1:], dpi=dpi, facecolor=colour, metadata=date)
    return write_output(path, content.getvalue())


def _plain(value: Any) -> Any:
    """Return `value` made of what JSON has; numbers that are not finite become None."""
    if hasattr(value, "tolist"):  # NumPy numbers and arrays
        value = value.tolist()
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        wrong = [key for key in value if not isinstance(key, str)]
        if wrong:
            raise InputError(f"JSON cannot hold the key {wrong[0]!r}: use text for keys.")
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    raise InputError(
        f"JSON cannot hold a {type(value).__name__}: give numbers, text, lists and dictionaries."
    )


def write_json(path: str | os.PathLike[str], obj: Any) -> Path:
    """Write an object as JSON, atomically.

    Parameters
    ----------
    path
        Where to write.
    obj
        Dictionaries with text keys, lists, tuples, text, numbers, NumPy numbers and arrays, None.
        JSON has no NaN and no infinity: they are written as null.

    Raises
    ------
    InputError
        If the object holds something that JSON cannot.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from napari_rvae.io import read_json, write_json
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     read_json(write_json(Path(folder) / "a.json", {"rate": float("nan")}))
    {'rate': None}
    """
    text = json.dumps(_plain(obj), indent=2, ensure_ascii=False, allow_nan=False)
    return write_atomic(path, (text + "\n").encode("utf-8", "backslashreplace"))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a dictionary of the pairs; a repeated key is an error."""
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} is there twice")
    return found


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON number")


def read_json(path: str | os.PathLike[str], *, max_bytes: int = _MAX_JSON_BYTES) -> Any:
    """Read a JSON file, strictly: repeated keys, NaN and oversized files are refused.

    Parameters
    ----------
    path
        The file.
    max_bytes
        The largest size that is read.

    Raises
    ------
    ReadError
        If the file is missing, too large, or no JSON.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            raw = file.read(max_bytes + 1)
    except FileNotFoundError:
        raise ReadError(f"{path} is not there: check the name.") from None
    except OSError as error:
        raise ReadError(f"{path} cannot be read ({error.strerror}): check the file.") from None
    if len(raw) > max_bytes:
        raise ReadError(f"{path.name} is larger than {max_bytes} bytes: it is none of our files.")
    try:
        return json.loads(raw, object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ReadError(f"{path.name} is no valid JSON ({reason}): mend or replace it.") from None


def sha256_of(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file's content, 64 hexadecimal characters.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from napari_rvae.io import sha256_of, write_atomic
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     sha256_of(write_atomic(Path(folder) / "a", b""))[:8]
    'e3b0c442'
    """
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
