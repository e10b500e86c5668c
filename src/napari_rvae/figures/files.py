"""Figures and tables into one folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from napari_rvae.errors import InputError
from napari_rvae.figures.report import save_figure
from napari_rvae.io import write_output

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["write_files"]


def write_files(
    folder: Path,
    figures: Mapping[str, Figure],
    tables: Mapping[str, pd.DataFrame],
    suffix: str,
    *,
    overwrite: bool,
) -> list[Path]:
    """Write figures and, as CSV, tables under their names; none if one of them may not be.

    Raises
    ------
    InputError
        If a file is there already and must stay, or the folder cannot be made.
    """
    paths = [folder / f"{name}{suffix}" for name in figures]
    files = [folder / f"{name}.csv" for name in tables]
    taken = [path for path in (*paths, *files) if path.exists()]
    if taken and not overwrite:
        raise InputError(f"{taken[0]} is there already: give another folder, or overwrite=True.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder} cannot be made ({error.strerror}): choose another folder."
        ) from None
    for path, figure in zip(paths, figures.values(), strict=True):
        save_figure(figure, path)
    for path, table in zip(files, tables.values(), strict=True):
        write_output(path, table.to_csv(index=False, lineterminator="\n").encode())
    return [*paths, *files]
