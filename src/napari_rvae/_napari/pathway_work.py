"""The work of the Pathways widget: find pathways, measure the landscape, draw tracks, export.

Everything here works without the widget, which may be closed while the work goes on.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from napari_rvae._napari.drawing import put_layer
from napari_rvae._napari.jobs import Control, Job, Outcome, Progress
from napari_rvae._napari.layer_kinds import record_of
from napari_rvae._napari.pathway_state import Found, Terrain, found_of, keep_found
from napari_rvae._napari.settings import read_preferences
from napari_rvae._napari.unit_state import UnitState, state_of
from napari_rvae._napari.unit_work import Inputs, cut_crops, model_of, take_inputs
from napari_rvae._napari.words import count
from napari_rvae._napari.workspace import Workspace
from napari_rvae.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from napari_rvae.analysis.kinetics.results import Pathways
    from napari_rvae.analysis.landscape import FilmStrip, LatentPath
    from napari_rvae.analysis.units import Units
    from napari_rvae.config import PathwayConfig
    from napari_rvae.crops import Crops

__all__ = [
    "AROUND",
    "draw_tracks",
    "event_strip",
    "start_export",
    "start_find",
    "start_open",
    "start_terrain",
    "track_columns",
    "way_between",
    "way_strip",
]

NO_UNITS = "These sites have no units yet: find them first (widget Units)."
NO_PATHWAYS = "There are no pathways yet: press Find pathways."
NO_MODEL = "There is no model of these latents: train or apply one, or open its run."
UNITS_BUSY = "The Units widget is at work: wait until it has finished."
GONE = "The layer of the sites is gone: the pathways were not kept."

#: Frames before an event, and from it on, that are shown of it.
AROUND = 3

#: Crops of each unit that are kept for film strips.
_KEPT_CROPS = 200


# ---------------------------------------------------------------------- find
def start_find(workspace: Workspace, layer: Any, image: Any, config: PathwayConfig) -> Job | None:
    """Find the pathways of a layer of sites, as :func:`napari_rvae.find_pathways` says.

    Parameters
    ----------
    workspace
        Where the job runs, and whose model is used, if it made the latents.
    layer
        Points layer with units; its sites are linked first, where they are not.
    image
        Image that the sites lie on: for times, doses and crops; or None.
    config
        Options.

    Raises
    ------
    InputError
        If there are no sites or no units, or another widget is at work on them.
    """
    inputs, units, state = _take(workspace, layer, image)

    def work(control: Control) -> Generator[Progress, None, Found]:
        yield Progress(0, 0, "looking at the sites")
        from napari_rvae import find_pathways
        from napari_rvae.device import limit_threads

        with limit_threads(read_preferences().n_threads):
            table = _with_units(_linked(inputs.table, control), units)
            pathways = find_pathways(
                table,
                config,
                units=units,
                frames_table=None if inputs.frames is None else inputs.frames.table,
                progress=control.ticker("following the tracks"),
            )
            found = yield from _gather(control, inputs, table, (units, state), pathways)
        found.config = config
        return found

    def then(found: Found, outcome: Outcome) -> None:
        _show(workspace, layer, found)
        workspace.say("pathways", _told(found, outcome), "warning" if outcome.warnings else "done")

    return workspace.start("pathways", "Finding pathways", work, then)


def start_open(workspace: Workspace, layer: Any, image: Any) -> Job | None:
    """Show the pathways of the run that a layer of sites is from, if there are any.

    Parameters
    ----------
    workspace, layer, image
        As for :func:`start_find`.

    Raises
    ------
    InputError
        If there are no sites or no units, or another widget is at work on them.
    """
    inputs, units, state = _take(workspace, layer, image)
    folder = record_of(layer).get("run")
    if folder is None:
        raise InputError(NO_PATHWAYS)

    def work(control: Control) -> Generator[Progress, None, Found | None]:
        yield Progress(0, 0, "reading the run")
        from napari_rvae.device import limit_threads
        from napari_rvae.runs import load_run

        with limit_threads(read_preferences().n_threads):
            run = load_run(folder)
            if run.pathways is None:
                return None
            table = _with_units(_linked(inputs.table, control), units)
            return (yield from _gather(control, inputs, table, (units, state), run.pathways))

    def then(found: Found | None, outcome: Outcome) -> None:
        if found is None:
            workspace.say("pathways", NO_PATHWAYS)
            return
        _show(workspace, layer, found)
        workspace.say("pathways", _told(found, outcome), "done")

    return workspace.start("pathways", "Opening the pathways", work, then)


def _take(workspace: Workspace, layer: Any, image: Any) -> tuple[Inputs, Units, UnitState | None]:
    """Sites and their units, as they are now."""
    from napari_rvae.layers import units_from_layer

    inputs, state = take_inputs(workspace, layer, image), state_of(layer)
    if workspace.job("units") is not None:
        raise InputError(UNITS_BUSY)
    units = units_from_layer(layer) if state is None else state.now.units
    if units is None:
        raise InputError(NO_UNITS)
    return inputs, units, state


def _linked(table: pd.DataFrame, control: Control) -> pd.DataFrame:
    """Sites with tracks; those that they have already stay."""
    from napari_rvae.analysis.tracks import link_sites

    if {"track_id", "lattice_track_id"} <= set(table):
        return table
    return link_sites(table, progress=control.ticker("linking sites"))


def _with_units(table: pd.DataFrame, units: Units) -> pd.DataFrame:
    from napari_rvae.tables import join_latents

    return join_latents(table, units.table[["site_id", "unit", "unit_probability"]])


def _gather(
    control: Control,
    inputs: Inputs,
    table: pd.DataFrame,
    units_and_state: tuple[Units, UnitState | None],
    pathways: Pathways,
) -> Generator[Progress, None, Found]:
    """Everything that pathways are shown with."""
    from napari_rvae import order_parameters, unit_cards

    units, state = units_and_state
    frames_table = None if inputs.frames is None else inputs.frames.table
    model, plan = model_of(inputs)
    crops = None
    if model is not None and plan is not None and inputs.frames is not None:
        crops = _kept(cut_crops(model, inputs.frames, table, plan, control), table, pathways)
    yield Progress(0, 0, "measuring the order parameters")
    order = order_parameters(table, frames_table=frames_table)
    if state is None:
        yield Progress(0, 0, f"drawing {count(len(units), 'unit')}")
        made = unit_cards(units, table, model=model, crops=crops, frames_table=frames_table)
        cards = tuple(sorted(made, key=lambda card: -card.count))
    else:
        cards = state.now.cards
    return Found(pathways, table, cards, order, model, crops)


def _kept(crops: Crops, table: pd.DataFrame, pathways: Pathways) -> Crops:
    """Crops of the sites about the events, and some of each unit; all would fill the memory."""
    from napari_rvae.analysis.event_sites import event_sites

    about = event_sites(table, pathways.events, before=AROUND, after=AROUND)["site_id"]
    known = table[table["site_id"].isin(crops.site_id)]
    some = known.groupby("unit")["site_id"].head(_KEPT_CROPS)
    chosen = {*about.tolist(), *some.tolist()}
    return crops.select([row for row, site in enumerate(crops.site_id.tolist()) if site in chosen])


def _show(workspace: Workspace, layer: Any, found: Found) -> None:
    """Put tracks and states into the layer, if it is still there, and remember the pathways."""
    viewer = workspace.viewer
    if viewer is None or all(layer is not there for there in viewer.layers):
        raise InputError(GONE)
    from napari_rvae.layers import show_pathways
    from napari_rvae.layers.steps import note_ways

    show_pathways(layer, found.pathways, found.table)
    keep_found(layer, found)
    if found.config is not None:  # those of a run have noted it already
        note_ways(layer, found.config.to_dict())


def _told(found: Found, outcome: Outcome) -> str:
    """Say what was found."""
    pathways = found.pathways
    kinds = pathways.states["tracked"].value_counts()
    parts = [count(len(pathways.events), "event")]
    parts += [
        f"{count(int(kinds[kind]), 'state')} of {kind}s"
        for kind in ("atom", "place")
        if kind in kinds
    ]
    if found.model is None:
        parts.append("no pictures, as the model of these latents is not there")
    parts.extend(outcome.warnings)
    return "; ".join(parts) + "."


# ---------------------------------------------------------------------- landscape
def start_terrain(workspace: Workspace, layer: Any) -> Job | None:
    """Measure the landscape of the sites and where the events lead over it.

    Parameters
    ----------
    workspace
        Where the job runs.
    layer
        Points layer whose pathways were found.

    Raises
    ------
    InputError
        If there are no pathways yet, or no model.
    """
    found = found_of(layer)
    if found is None:
        raise InputError(NO_PATHWAYS)
    model, table, pathways = found.model, found.table, found.pathways
    if model is None:
        raise InputError(NO_MODEL)
    if workspace.job("train") is not None:
        raise InputError("The Train widget is at work: wait until it has finished.")

    def work(control: Control) -> Generator[Progress, None, Terrain]:
        yield Progress(0, 0, "decoding pictures")
        from napari_rvae import latent_landscape, observed_passages
        from napari_rvae.analysis.event_sites import followed_events
        from napari_rvae.device import limit_threads

        with limit_threads(read_preferences().n_threads):
            landscape = latent_landscape(
                model,
                table,
                pose_free=model.config.rotation,
                progress=control.ticker("comparing pictures"),
            )
            yield Progress(0, 0, "following the events")
            events = followed_events(pathways)
            passages = observed_passages(
                model, landscape, table, events, before=AROUND, after=AROUND
            )
        return Terrain(landscape, passages)

    def then(terrain: Terrain, _outcome: Outcome) -> None:
        found.terrain = terrain
        sites = count(len(terrain.landscape.sites), "site")
        nodes = len(terrain.landscape.nodes)
        workspace.say("pathways", f"Landscape of {sites}, {nodes} of them its nodes.", "done")

    return workspace.start("pathways", "Measuring the landscape", work, then)


def way_between(found: Found, start: int, end: int) -> LatentPath | None:
    """Shortest way between two units, None where there is no landscape or no such way."""
    from napari_rvae import latent_path

    if found.terrain is None or start == end:
        return None
    known = set(found.terrain.landscape.nodes["unit"])
    return latent_path(found.terrain.landscape, start, end) if {start, end} <= known else None


def way_strip(found: Found, path: LatentPath, n: int) -> FilmStrip:
    """Pictures along a way, beside the crops nearest to them."""
    from napari_rvae import film_strip

    assert found.model is not None  # noqa: S101 - there was a landscape
    return film_strip(found.model, path, n=n, crops=found.crops, latents=found.table)


def event_strip(found: Found, label: int) -> tuple[FilmStrip, list[int]] | None:
    """Pictures of an event's site beside its crops, and their frames; None where not known."""
    from napari_rvae.analysis.event_sites import event_film

    if found.model is None:
        return None
    event = found.pathways.events.loc[[label]]
    return event_film(found.model, found.table, event, found.crops, around=AROUND)


# ---------------------------------------------------------------------- layers and files
def track_columns(layer: Any) -> list[str]:
    """Columns of a layer's features that tracks can be coloured by."""
    if layer is None:
        return []
    hidden = ("site_id", "source", "kind")
    return [
        str(name)
        for name, kind in layer.features.dtypes.items()
        if kind.kind in "fiub" and str(name) not in hidden
    ]


def draw_tracks(
    workspace: Workspace, layer: Any, image: Any, tracked: Literal["atom", "place"], column: str
) -> Any:
    """Draw the tracks of a layer's sites, as :func:`napari_rvae.tracks_layer` says.

    Parameters
    ----------
    workspace
        Whose viewer.
    layer
        Points layer of linked sites.
    image
        Image that they lie on, or None.
    tracked
        Tracks of atoms, or of places of the lattice.
    column
        What to colour by.

    Returns
    -------
    Layer
        The new layer, or the one that showed tracks before.

    Raises
    ------
    InputError
        If the sites are not linked, or the column holds no numbers.
    """
    from napari_rvae.layers import frames_from_layer, sites_from_layer, tracks_layer

    made = tracks_layer(
        sites_from_layer(layer, image),
        None if image is None else frames_from_layer(image),
        column="track_id" if tracked == "atom" else "lattice_track_id",
        color_by=column,
    )
    return put_layer(workspace.viewer, layer, image, made)


def start_export(
    workspace: Workspace,
    layer: Any,
    folder: str | os.PathLike[str],
    *,
    paths: tuple[LatentPath, ...] = (),
    suffix: Literal[".png", ".svg", ".pdf"] = ".png",
    overwrite: bool = False,
) -> Job | None:
    """Write figures and tables, as :func:`napari_rvae.figures.export_pathways` says.

    Parameters
    ----------
    workspace, layer
        As for :func:`start_terrain`.
    folder
        Where to.
    paths
        Ways to draw over the landscape, with a film strip each.
    suffix
        Kind of the figures.
    overwrite
        Whether files of the same names may be replaced.

    Raises
    ------
    InputError
        If there are no pathways yet.
    """
    found = found_of(layer)
    if found is None:
        raise InputError(NO_PATHWAYS)
    terrain = found.terrain

    def work(_control: Control) -> Generator[Progress, None, list[Path]]:
        yield Progress(0, 0, "writing figures and tables")
        from napari_rvae.figures import export_pathways

        names = {card.unit: card.name for card in found.cards}
        strips = {
            f"{names.get(path.start, path.start)} to {names.get(path.end, path.end)}": way_strip(
                found, path, 9
            )
            for path in paths
        }
        return export_pathways(
            folder,
            found.pathways,
            found.cards,
            order=found.order,
            landscape=None if terrain is None else terrain.landscape,
            passages=None if terrain is None else terrain.passages,
            paths=paths,
            strips=strips,
            suffix=suffix,
            overwrite=overwrite,
        )

    def then(files: list[Path], _outcome: Outcome) -> None:
        workspace.say("pathways", f"Exported {count(len(files), 'file')} to {folder}", "done")

    return workspace.start("pathways", "Exporting the pathways", work, then)
