"""Everything that there is to say of pathways, as files: figures and tables."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pandas as pd

from napari_rvae.analysis.network import pathway_network
from napari_rvae.figures.files import write_files
from napari_rvae.figures.landscapes import film_figure, landscape_figure
from napari_rvae.figures.networks import network_figure, order_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from napari_rvae.analysis.cards import UnitCard
    from napari_rvae.analysis.kinetics.results import Pathways
    from napari_rvae.analysis.landscape import FilmStrip, Landscape, LatentPath

__all__ = ["default_quantities", "export_pathways"]

#: Most units whose shares are drawn together.
_MOST_SHARES = 8


def export_pathways(
    folder: str | os.PathLike[str],
    pathways: Pathways,
    cards: Sequence[UnitCard] = (),
    *,
    order: pd.DataFrame | None = None,
    landscape: Landscape | None = None,
    paths: Sequence[LatentPath] = (),
    passages: pd.DataFrame | None = None,
    strips: Mapping[str, FilmStrip] | None = None,
    suffix: Literal[".png", ".svg", ".pdf"] = ".png",
    theme: Literal["light", "dark"] = "light",
    overwrite: bool = False,
) -> list[Path]:
    """Write pathways as figures, and their tables as CSV.

    Parameters
    ----------
    folder
        Where to; made where it is missing.
    pathways
        What :func:`~napari_rvae.find_pathways` returned.
    cards
        What :func:`~napari_rvae.unit_cards` returned: pictures, names and colours of the units.
    order
        What :func:`~napari_rvae.order_parameters` returned.
    landscape, paths, passages
        What :func:`~napari_rvae.latent_landscape`, :func:`~napari_rvae.latent_path` and
        :func:`~napari_rvae.observed_passages` returned.
    strips
        Film strips by their names, which become their titles and a part of the files' names.
    suffix
        Kind of the figures.
    theme
        "light" for print, "dark" for the screen.
    overwrite
        Whether files of the same names may be replaced.

    Returns
    -------
    list of Path
        The files: ``network_atom``, ``network_place``, ``order_parameters``, ``landscape``,
        ``film_...`` as figures, as far as they can be drawn; tables that are not empty as
        ``pathways_events.csv`` and so on.

    Raises
    ------
    InputError
        If a file is there already, or the folder cannot be made.

    Examples
    --------
    >>> import tempfile
    >>> import pandas as pd
    >>> from napari_rvae import Pathways
    >>> from napari_rvae.figures import export_pathways
    >>> pathways = Pathways(notes=pd.DataFrame({"note": ["No event was found."]}))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     [path.name for path in export_pathways(folder, pathways)]
    ['pathways_notes.csv']
    """
    figures: dict[str, Figure] = {}
    for tracked in dict.fromkeys(pathways.states["tracked"].astype(str)):
        network = pathway_network(pathways, tracked="atom" if tracked == "atom" else "place")
        figures[f"network_{tracked}"] = network_figure(network, cards, theme=theme)
    tables = {f"pathways_{name}": part for name, part in pathways.tables().items() if len(part)}
    if order is not None and len(order):
        figures["order_parameters"] = _order(order, cards, theme)
        tables["order_parameters"] = order
    if landscape is not None:
        figures["landscape"] = landscape_figure(
            landscape, cards, paths=paths, passages=passages, theme=theme
        )
        tables["landscape_sites"], tables["landscape_nodes"] = landscape.sites, landscape.nodes
    if passages is not None and len(passages):
        tables["passages_on_landscape"] = passages
    for name, strip in (strips or {}).items():
        figures[f"film_{_file_name(name)}"] = film_figure(strip, title=name, theme=theme)
    return write_files(Path(folder), figures, tables, suffix, overwrite=overwrite)


def _order(
    order: pd.DataFrame, cards: Sequence[UnitCard], theme: Literal["light", "dark"]
) -> Figure:
    shown = default_quantities(order, cards)
    return order_figure(
        order,
        shown,
        colors={f"unit {card.unit}": card.color for card in cards},
        labels={f"unit {card.unit}": card.name for card in cards},
        theme=theme,
        size=(8.0, 1.5 + 1.1 * len([name for name in shown if not name.startswith("unit ")])),
    )


def default_quantities(order: pd.DataFrame, cards: Sequence[UnitCard]) -> list[str]:
    """Order parameters worth a first look: shares of all units but the largest, and the others."""
    names = list(dict.fromkeys(order["name"].astype(str)))
    shares = [name for name in names if name.startswith("unit ")]
    means = order.groupby("name")["value"].mean()
    shares.sort(key=lambda name: -float(means[name]))
    known = {f"unit {card.unit}" for card in cards}
    few = [name for name in shares if name in known or not known]
    few = few[1 : _MOST_SHARES + 1] or few
    return [*few, *(name for name in names if name not in shares)]


def _file_name(text: str) -> str:
    kept = "".join(letter if letter.isalnum() else "_" for letter in text)
    return kept.strip("_") or "way"
