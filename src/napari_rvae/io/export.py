"""Sites tables for other programs: plain CSV with physical units."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_rvae.errors import InputError
from napari_rvae.frames import Frames, as_frames
from napari_rvae.io.files import write_output
from napari_rvae.io.scales import pixel_scale, seconds
from napari_rvae.tables import validate_sites

__all__ = ["export_table"]

#: Columns in radians.
_ANGLES = (
    *("angle", "angle_sd", "lattice_angle"),
    *("normal_angle", "normal_period", "polarization_turn"),
)

#: Columns in frame pixels, along y and along x.
_LENGTHS = (("y", "y_sd", "shift_y"), ("x", "x_sd", "shift_x"))

_NANOMETRES = {"pm": 1e-3, "angstrom": 0.1, "nm": 1.0, "um": 1e3}


def export_table(
    sites: pd.DataFrame,
    path: str | os.PathLike[str],
    *,
    frames: Any = None,
    overwrite: bool = False,
) -> Path:
    """Write a sites table for other programs: a spreadsheet, R, MATLAB; CSV, or Parquet.

    The file is for reading elsewhere; what is to be opened again here, :func:`save_run` saves.

    Parameters
    ----------
    sites
        Sites table with any further columns.
    path
        The file to write, .parquet for Parquet (which needs pyarrow) and CSV for any other
        suffix; its folder must be there.
    frames
        Frames that the sites lie on: they know the size of a pixel and the times.
    overwrite
        Whether a file that is there may be replaced.

    Returns
    -------
    Path
        The file. CSV is UTF-8, a comma between columns, one line a row, nothing where a value is
        missing. Beside the columns of the table it holds ``time_s`` (s, where the frames know
        the times), ``y_nm``, ``x_nm`` and likewise for standard deviations and shifts (nm, where
        the frames have a unit of length), and every angle in degrees (``angle_deg``, ...); they
        take the place of columns of those names.

    Raises
    ------
    InputError
        If the file is there already, or it cannot be written; if the table is no sites table; if
        `frames` are given and the table holds several sources.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from napari_rvae import Frames, export_table
    >>> from napari_rvae.tables import make_sites
    >>> frames = Frames(np.zeros((16, 16)), scale=(0.5, 0.5), units=("nm", "nm"))
    >>> sites = make_sites(frame=0, y=[5.0], x=[6.0])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = export_table(sites, Path(folder) / "sites.csv", frames=frames)
    ...     print(file.read_text())
    site_id,source,frame,y,y_nm,x,x_nm,kind
    0,,0,5.0,2.5,6.0,3.0,atom
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder: give the name of a file.")
    if os.path.lexists(path) and not overwrite:
        raise InputError(f"{path} is already there: give another name, or overwrite=True.")
    table = _with_units(validate_sites(sites), None if frames is None else as_frames(frames))
    content = _parquet(table) if path.suffix.lower() == ".parquet" else _csv(table)
    return write_output(path, content)


def _csv(table: pd.DataFrame) -> bytes:
    text = table.to_csv(index=False, na_rep="", lineterminator="\n")
    # a name that no encoding holds, such as that of a file, must not stop the export
    return text.encode("utf-8", "backslashreplace")


def _parquet(table: pd.DataFrame) -> bytes:
    try:
        return table.to_parquet(index=False)
    except ImportError:
        raise InputError(
            "Parquet needs pyarrow, which is not installed: pip install pyarrow, or write CSV."
        ) from None


def _with_units(sites: pd.DataFrame, frames: Frames | None) -> pd.DataFrame:
    """Table with its times, lengths and angles in usual units, each beside its own column."""
    beside: dict[str, tuple[str, NDArray[np.float64]]] = {
        name: (f"{name}_deg", np.degrees(sites[name].to_numpy(float)))
        for name in _ANGLES
        if name in sites
    }
    if frames is not None:
        names = sites["source"].unique()
        if len(names) > 1:
            raise InputError(
                f"The table holds {len(names)} sources, the frames are of one: "
                "export each source for itself, or leave the frames out."
            )
        times = _times(frames, sites["frame"].to_numpy())
        if times is not None:
            beside["frame"] = ("time_s", times)
        beside.update(_lengths(frames, sites))
    new = {label for label, _ in beside.values()}
    columns: dict[Any, Any] = {}
    for name in sites.columns:
        if name not in new:
            columns[name] = sites[name].to_numpy()
        if name in beside:
            label, values = beside[name]
            columns[label] = values
    return pd.DataFrame(columns)


def _times(frames: Frames, numbers: NDArray[Any]) -> NDArray[np.float64] | None:
    """Time in seconds at each of the frame numbers (N,), None where nobody knows it."""
    known = frames.table["time"].to_numpy(float)
    if not np.isfinite(known).any():
        step = seconds(frames.scale[0], frames.units[0]) if "t" in frames.axis_labels else None
        return None if step is None else numbers.astype(float) * step
    inside = (numbers >= 0) & (numbers < known.size)
    return np.where(inside, known[np.where(inside, numbers, 0)], np.nan)


def _lengths(frames: Frames, sites: pd.DataFrame) -> dict[str, tuple[str, NDArray[np.float64]]]:
    """Lengths in nanometres of the columns in pixels; empty without a unit of length."""
    scale = pixel_scale(*frames.pixel_size, *frames.units[-2:])
    if scale is None:
        return {}
    steps, unit = scale[:2], scale[2]
    return {
        name: (f"{name}_nm", sites[name].to_numpy(float) * (step * _NANOMETRES[unit]))
        for step, names in zip(steps, _LENGTHS, strict=True)
        for name in names
        if name in sites
    }
