"""Detection on trial: what would be found in a few frames, before the whole movie is looked at."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import Any

from napari.layers import Layer

from napari_rvae._napari.detection import (
    PREVIEW,
    Detected,
    Target,
    find_atoms,
    nothing_found,
    put_together,
    ready,
    remove_preview,
)
from napari_rvae._napari.jobs import Control, Job, Outcome, Progress
from napari_rvae._napari.layer_kinds import METADATA_KEY, kind_of, record_of
from napari_rvae._napari.settings import read_preferences
from napari_rvae._napari.some_frames import Part, middle_part, with_scale
from napari_rvae._napari.words import describe_distance, enumerate_frames, listed
from napari_rvae._napari.workspace import Workspace
from napari_rvae.errors import Cancelled

__all__ = ["has_preview", "start_preview", "trial_frames"]


def trial_frames(n_frames: int) -> tuple[int, ...]:
    """Numbers of the first, the middle and the last of the frames."""
    return tuple(sorted({0, n_frames // 2, n_frames - 1}))


def has_preview(viewer: Any) -> bool:
    """Whether a preview is shown."""
    return any(kind_of(layer) == PREVIEW for layer in viewer.layers)


def start_preview(workspace: Workspace, target: Target, view: Part | None = None) -> Job | None:
    """Look for atoms in the chosen frames, and show them until the movie is done.

    Of large frames only what is in view is looked at, if that is given, or the middle of it.
    """
    threads, numbers = read_preferences().n_threads, target.numbers or (0,)

    def work(control: Control) -> Generator[Progress, None, Detected]:
        seen = target
        if view is not None:
            yield Progress(0, len(numbers), "measuring the scale")
            seen = replace(target, part=_part(target, view, threads, control))
        tables = yield from find_atoms(seen, threads, control)
        if len(tables) < len(numbers):
            raise Cancelled("The preview was stopped.")
        found = ready(put_together(tables, target), target, len(tables))
        counts = [f"{len(table):,}" for table in tables]
        return Detected(found.layer, found.sites, _text(found, seen, counts), found.done)

    def then(found: Detected, outcome: Outcome) -> None:
        _show(workspace, target, found, outcome)

    return workspace.start("detect", f"Preview of {enumerate_frames(numbers)}", work, then)


def _part(target: Target, view: Part, threads: int, control: Control) -> Part | None:
    """Return the part of large frames that is looked at."""
    from napari_rvae.device import limit_threads  # loads torch

    looked_at = control.ticker("looking at the whole movie")
    with limit_threads(threads):
        config = with_scale(target.image, target.frames, target.config, progress=looked_at)
    return middle_part(view, target.frames.frame_shape, config.neighbour_distance)


def _text(found: Detected, seen: Target, counts: list[str]) -> str:
    """Say how many atoms each frame has."""
    if found.layer is None:
        return nothing_found(seen)
    where = enumerate_frames(seen.numbers or (0,))
    if seen.part is not None:
        where += " ({} x {} px in the middle of the view)".format(*seen.part.shape)
    atoms = "atom" if counts == ["1"] else "atoms"
    apart = describe_distance(found.sites, seen.frames)
    text = f"Preview of {where}: {listed(counts)} {atoms}"
    return f"{text}, {apart}." if apart else f"{text}."


def _show(workspace: Workspace, target: Target, found: Detected, outcome: Outcome) -> None:
    viewer = workspace.viewer
    text = " ".join((found.text, *outcome.warnings))
    if found.layer is None:
        remove_preview(viewer)
        workspace.say("detect", text, "warning")
        return
    data, options, kind = found.layer
    options |= {"name": PREVIEW, "face_color": "transparent"}
    options |= {"border_color": "#f0e442", "border_width": 0.12}
    record = options["metadata"][METADATA_KEY]
    record |= {"kind": PREVIEW, "image": str(target.image.unique_id)}
    _put(viewer, Layer.create(data, options, kind))
    workspace.say("detect", text, "warning" if outcome.warnings else "info")


def _put(viewer: Any, layer: Layer) -> None:
    """Add a preview, or give its points to the one of the same image, which is much faster."""
    from napari_rvae.layers.undo import layer_state, restore_layer

    shown = [item for item in viewer.layers if kind_of(item) == PREVIEW]
    if len(shown) == 1 and record_of(shown[0])["image"] == record_of(layer)["image"]:
        restore_layer(shown[0], layer_state(layer))
        shown[0].metadata = layer.metadata
        return
    remove_preview(viewer)
    selected = set(viewer.layers.selection)
    viewer.add_layer(layer)
    viewer.layers.selection = selected  # the user goes on with what is at hand
