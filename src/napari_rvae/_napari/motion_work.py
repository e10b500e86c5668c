"""Walls in motion in a viewer: displacements of the sites, residence, and pinning centres."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari.layers import Layer

from napari_rvae._napari.jobs import Control, Job, Outcome, Progress
from napari_rvae._napari.layer_kinds import METADATA_KEY, kind_of, record_of
from napari_rvae._napari.settings import read_preferences
from napari_rvae._napari.words import count
from napari_rvae._napari.workspace import Workspace
from napari_rvae.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from napari_rvae.layers import LayerTuple

__all__ = ["moving_walls", "start_motion"]

#: Ends of the colours of residence: walls pass at once, and at a third of their usual speed.
_RESIDENCE = (0.0, 3.0)

#: Columns that the sites get.
_COLUMNS = ("displacement", "speed")


@dataclass(frozen=True, eq=False)
class _Motion:
    """What was found: a table with a row for each site, layers, and words."""

    moved: pd.DataFrame
    layers: list[LayerTuple]
    text: str


def moving_walls(viewer: Any) -> tuple[Any, Any] | None:
    """Response and sites of the newest walls of several frames, None where there are none."""
    images = {str(layer.unique_id): layer for layer in viewer.layers}
    for points in reversed(viewer.layers):
        record = record_of(points)
        if kind_of(points) == "sites" and "walls_of" in record:
            image = images.get(record.get("image", ""))
            if image is not None and image.ndim == 3 and image.data.shape[0] > 1:
                return image, points
    return None


def start_motion(workspace: Workspace) -> Job | None:
    """Follow the walls from frame to frame; sites get columns, residence and centres are layers.

    Raises
    ------
    InputError
        If no walls were found in several frames.
    """
    from napari_rvae.layers import frames_from_layer, sites_from_layer

    found = moving_walls(workspace.viewer)
    if found is None:
        raise InputError("There are no walls of several frames: press Detect walls first.")
    image, points = found
    response, sites = frames_from_layer(image), sites_from_layer(points, image)
    signed = "polarization_turn" not in sites
    threads = read_preferences().n_threads

    def work(_control: Control) -> Generator[Progress, None, _Motion]:
        yield Progress(0, 0, "following the walls")
        from napari_rvae.analysis.walls import pinning_centres, residence_map, wall_motion
        from napari_rvae.device import limit_threads
        from napari_rvae.layers import ImageStyle, image_layer, pinning_layer

        with limit_threads(threads):
            moved = wall_motion(sites, response)
            text = f"Median displacement {moved['displacement'].abs().median():.2f} px."
            if not signed:
                return _Motion(moved, [], f"{text} A vector has no sign that switches.")
            yield Progress(0, 0, "looking for pinning centres")
            try:
                residence, centres = residence_map(response), pinning_centres(response)
            except InputError as error:  # too few frames, or nothing moves
                return _Motion(moved, [], f"{text} {error}")
        picture = image_layer(
            residence,
            response,
            contrast_limits=_RESIDENCE,
            name="residence (1: usual speed)",
            style=ImageStyle(colormap="magma"),
        )
        rings = pinning_layer(centres, response)
        text = f"{text} {count(len(centres), 'pinning centre')}."
        return _Motion(moved, [picture, rings], text)

    def then(found: _Motion, outcome: Outcome) -> None:
        _show(workspace, points, found, outcome)

    return workspace.start("detect", "Following walls", work, then)


def _show(workspace: Workspace, points: Any, found: _Motion, outcome: Outcome) -> None:
    """Give the sites their columns, and add the layers in place of earlier ones of these walls."""
    viewer = workspace.viewer
    if points in viewer.layers:
        moved = found.moved.set_index("site_id").reindex(points.features["site_id"])
        columns = {name: moved[name].to_numpy() for name in _COLUMNS if moved[name].notna().any()}
        points.features = points.features.drop(columns=list(_COLUMNS), errors="ignore").assign(
            **columns
        )
    mark = str(points.unique_id)
    for data, options, kind in found.layers:
        options["metadata"][METADATA_KEY]["motion_of"] = mark
        layer = Layer.create(data, options, kind)
        for earlier in list(viewer.layers):
            if record_of(earlier).get("motion_of") == mark and kind_of(earlier) == kind_of(layer):
                viewer.layers.remove(earlier)
        below = viewer.layers.index(points) if points in viewer.layers else len(viewer.layers)
        viewer.layers.insert(below if kind == "image" else len(viewer.layers), layer)
    level = "warning" if outcome.warnings else "done"
    workspace.say("detect", " ".join((found.text, *outcome.warnings)), level)
