"""A run that was loaded -> layers."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from napari_rvae import tables
from napari_rvae.errors import InputError, NapariRvaeWarning
from napari_rvae.frames import Frames, as_frames
from napari_rvae.layers.directions import vectors_layer
from napari_rvae.layers.images import image_layer
from napari_rvae.layers.place import METADATA_KEY, LayerTuple
from napari_rvae.layers.sites import points_layer

if TYPE_CHECKING:
    import pandas as pd

    from napari_rvae.analysis.units import Units
    from napari_rvae.runs import Run

__all__ = ["run_layers"]


def run_layers(run: Run, frames: Any = None) -> list[LayerTuple]:
    """Make the layers of a run: image, points and, hidden, directions.

    Parameters
    ----------
    run
        What :func:`~napari_rvae.load_run` returned.
    frames
        The movie that it was made from, which makes the image layer. Without it the layers lie
        where the run says that the movie was.

    Returns
    -------
    list
        The image if there are frames; then, for each source, points named after it ("sites of
        graphene"), coloured by unit, z0 or nothing, whichever there is, and the directions of
        ``lattice_angle`` or ``angle``, which are not visible at first. The metadata of all carry
        the folder as ``run``.

    Raises
    ------
    InputError
        If the frames differ in shape from those of the run, or it holds nothing to show.

    Warns
    -----
    NapariRvaeWarning
        If the frames have the shape of the run's but other values.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from napari_rvae import load_run, run_layers, save_run
    >>> from napari_rvae.tables import make_sites
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save = save_run(Path(folder) / "run", sites=make_sites(frame=0, y=[1.5], x=[2.5]))
    ...     [kind for _, _, kind in run_layers(load_run(save))]
    ['points']
    """
    movie = None if frames is None else as_frames(frames)
    if movie is not None:
        _check_frames(movie, run)
    place = movie if movie is not None else run.placement_frames()
    layers = [] if movie is None else _channels(movie)
    if run.sites is not None:
        sites = run.sites
        if run.units is not None:
            sites = tables.join_latents(sites, run.units.table)
        sources = [str(source) for source in sites["source"].unique()] or [""]
        for source in sources:
            # the run describes one movie
            alone = len(sources) == 1 or place is None or place.name == source
            prefix = f"{source} " if len(sources) > 1 else ""
            layers += _source_layers(sites, source, place if alone else None, run.units, prefix)
    if not layers:
        raise InputError(f"{run.folder} holds no sites: give the movie too, or detect sites again.")
    folder = str(run.folder.resolve())
    one_source = run.sites is not None and run.sites["source"].nunique() < 2
    for _, options, kind in layers:
        options["metadata"][METADATA_KEY]["run"] = folder
        if kind == "points" and one_source and run.steps:
            options["metadata"][METADATA_KEY]["steps"] = run.steps
    return layers


def _check_frames(movie: Frames, run: Run) -> None:
    """Compare the frames with what the run noted of its input."""
    from napari_rvae.runs import describe_frames

    noted = run.frames
    if noted is None:
        return
    if list(movie.shape) != list(noted["shape"]):
        raise InputError(
            f"The frames are of shape {movie.shape}, those of the run of {tuple(noted['shape'])}: "
            "give the movie that the run was made from."
        )
    digest = describe_frames(movie)["sha256"]
    if digest and noted["sha256"] and digest != noted["sha256"]:
        warnings.warn(
            f"The frames have the shape of those of {run.folder.name} but other values: "
            "check that it is the same movie.",
            NapariRvaeWarning,
            stacklevel=3,
        )


def _channels(movie: Frames) -> list[LayerTuple]:
    """An image layer for each channel, the first one visible."""
    layers = [image_layer(movie, channel=i) for i in range(movie.n_channels)]
    for _, options, _ in layers[1:]:
        options["visible"] = False
    return layers


def _sites_name(source: str, place: Frames | None) -> str:
    """What to call the sites: by their movie, as they are whatever they are coloured by."""
    movie = source or ("" if place is None else place.name)
    return f"sites of {movie}" if movie else "sites"


def _source_layers(
    sites: pd.DataFrame,
    source: str,
    place: Frames | None,
    units: Units | None,
    prefix: str,
) -> list[LayerTuple]:
    """Points and directions of one source."""
    here = sites[sites["source"] == source]
    shown = next((name for name in ("unit", "z0") if name in here), None)
    layers = [
        points_layer(
            here,
            place,
            color_by=shown,
            categories=None if units is None or shown != "unit" else units.names,
            colors=None if units is None or shown != "unit" else units.colors,
            name=_sites_name(source, place),
        )
    ]
    for column in ("lattice_angle", "angle"):
        if column in here and here[column].notna().any():
            arms = vectors_layer(here, place, column=column, name=f"{prefix}{column} (directions)")
            arms[1]["visible"] = False
            return [*layers, arms]
    return layers
