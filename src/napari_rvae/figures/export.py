"""Everything that there is to say of units, as files: figures and tables."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pandas as pd

from napari_rvae.figures.files import write_files
from napari_rvae.figures.trees import tree_figure
from napari_rvae.figures.units import cards_figure, shares_figure

if TYPE_CHECKING:
    from napari_rvae.analysis.cards import UnitCard
    from napari_rvae.analysis.units import Units

__all__ = ["export_units"]


def export_units(
    folder: str | os.PathLike[str],
    units: Units,
    cards: Sequence[UnitCard],
    *,
    suffix: Literal[".png", ".svg", ".pdf"] = ".png",
    theme: Literal["light", "dark"] = "light",
    overwrite: bool = False,
) -> list[Path]:
    """Write the cards, the shares and the tree of units as figures, and their tables as CSV.

    Parameters
    ----------
    folder
        Where to; made where it is missing.
    units
        What :func:`~napari_rvae.find_units` returned.
    cards
        What :func:`~napari_rvae.unit_cards` returned for them.
    suffix
        Kind of the figures.
    theme
        "light" for print, "dark" for the screen.
    overwrite
        Whether files of the same names may be replaced.

    Returns
    -------
    list of Path
        ``units``, ``unit_shares`` and, where there is a tree, ``unit_tree`` as figures;
        ``units.csv`` (the summary and the captions), ``unit_shares.csv``, ``unit_neighbours.csv``
        and ``unit_sites.csv``.

    Raises
    ------
    InputError
        If there are no units, a file is there already, or the folder cannot be made.

    Examples
    --------
    >>> import tempfile
    >>> import pandas as pd
    >>> from napari_rvae import Units, unit_cards
    >>> from napari_rvae.figures import export_units
    >>> from napari_rvae.tables import make_sites
    >>> sites = make_sites(frame=0, y=[5.0, 5.0, 5.0], x=[10.0, 20.0, 30.0])
    >>> table = sites[["site_id"]].assign(unit=[0, 1, 0], unit_probability=1.0)
    >>> summary = pd.DataFrame({"unit": [0, 1], "name": ["end", "middle"], "count": [2, 1]})
    >>> units = Units(table, summary)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     [path.name for path in export_units(folder, units, unit_cards(units, sites))][:2]
    ['units.png', 'unit_shares.png']
    """
    figures = {"units": cards_figure(cards, theme=theme)}
    figures["unit_shares"] = shares_figure(cards, theme=theme)
    if len(units.environments) > 1 and len(units.tree):
        figures["unit_tree"] = tree_figure(units, theme=theme)
    captions = pd.DataFrame(
        {"unit": [card.unit for card in cards], "caption": [card.caption for card in cards]}
    )
    tables = {
        "units": units.summary.merge(captions, on="unit", how="left"),
        "unit_shares": _gathered(cards, "shares"),
        "unit_neighbours": _gathered(cards, "beside"),
        "unit_sites": units.table,
    }
    return write_files(Path(folder), figures, tables, suffix, overwrite=overwrite)


def _gathered(cards: Sequence[UnitCard], name: str) -> pd.DataFrame:
    """One table of all cards, with the number and the name of the unit each row is of."""
    parts = []
    for card in cards:
        part: pd.DataFrame = getattr(card, name)
        if len(part):
            named = part.rename(columns={"unit": "beside", "name": "beside_name"})
            parts.append(named.assign(unit=card.unit, name=card.name))
    if not parts:
        return pd.DataFrame({"unit": [], "name": []})
    gathered: pd.DataFrame = pd.concat(parts, ignore_index=True)
    others = [column for column in gathered.columns if column not in ("unit", "name")]
    return gathered.reindex(columns=["unit", "name", *others])
