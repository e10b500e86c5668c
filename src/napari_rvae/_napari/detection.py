"""Detection in a viewer: the work for the thread, and what becomes of its result."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Layer

from napari_rvae._napari.editing import put_state
from napari_rvae._napari.frame_quality import QUALITY
from napari_rvae._napari.jobs import Control, Job, Outcome, Progress
from napari_rvae._napari.layer_kinds import METADATA_KEY, kind_of, made_from, record_of
from napari_rvae._napari.settings import read_preferences
from napari_rvae._napari.some_frames import Part, pick_frames, pick_region, with_scale
from napari_rvae._napari.words import count, count_sites, describe, enumerate_frames
from napari_rvae._napari.workspace import Workspace
from napari_rvae.config import DetectConfig
from napari_rvae.errors import Cancelled

if TYPE_CHECKING:
    import pandas as pd

    from napari_rvae.frames import Frames
    from napari_rvae.layers import LayerTuple
    from napari_rvae.layers.history import SitesState

__all__ = [
    "PREVIEW",
    "Detected",
    "Target",
    "capture",
    "current_frame",
    "find_atoms",
    "go_to_frame",
    "in_view",
    "nothing_found",
    "ready",
    "remove_preview",
    "sites_of",
    "start_detection",
]

#: Name and kind of the layer that shows the atoms of one frame until all are there.
PREVIEW = "preview"

#: More frames without atoms are counted, not named.
_MOST_NAMED = 6


@dataclass(frozen=True, eq=False)
class Target:
    """Where to look for atoms: captured from the layers, which the thread must not touch.

    Attributes
    ----------
    image
        Image layer.
    frames
        Its frames.
    region
        Where to look, None for everywhere.
    config
        Options.
    numbers
        Frames to look at, in order; None for all.
    keep_edited
        Whether what a hand has done in these frames stays.
    part
        Part of the frames to look at, None for all.
    """

    image: Any
    frames: Frames
    region: Any
    config: DetectConfig
    numbers: tuple[int, ...] | None = None
    keep_edited: bool = True
    part: Part | None = None

    @property
    def looked_at(self) -> tuple[int, ...]:
        """Numbers of the frames to look at."""
        return tuple(range(self.frames.n_frames)) if self.numbers is None else self.numbers


@dataclass(frozen=True, eq=False)
class Detected:
    """What was found, ready to be shown; no layer if there are no atoms.

    Attributes
    ----------
    layer
        Data, options and kind of the layer.
    sites
        Table of the atoms.
    text
        How many atoms, and how far apart.
    done
        Number of frames; fewer than there are if the user stopped it.
    """

    layer: LayerTuple | None
    sites: pd.DataFrame
    text: str
    done: int


def capture(
    image: Any,
    region: Any,
    config: DetectConfig,
    *,
    numbers: Sequence[int] | None = None,
    keep_edited: bool = True,
) -> Target:
    """Take what detection needs from the layers.

    Parameters
    ----------
    image
        Image layer.
    region
        Shapes or Labels layer, None for the whole frame.
    config
        Options.
    numbers
        Frames to look at, None for all.
    keep_edited
        Whether what a hand has done in these frames stays.

    Raises
    ------
    InputError
        If the image cannot be taken for frames, or the region does not fit it.
    """
    from napari_rvae.layers import frames_from_layer, region_from_layer  # load pandas and SciPy

    frames = frames_from_layer(image)
    mask = None if region is None else region_from_layer(region, image)
    some = None if numbers is None else tuple(numbers)
    return Target(image, frames, mask, config, some, keep_edited)


# ---------------------------------------------------------------------- in the thread
def start_detection(workspace: Workspace, target: Target) -> Job | None:
    """Look for atoms in all or some frames; they become a layer, or part of the one there is."""
    threads = read_preferences().n_threads

    def work(control: Control) -> Generator[Progress, None, Detected]:
        tables = yield from find_atoms(target, threads, control)
        if not tables:
            raise Cancelled("Detection was stopped before the first frame was done.")
        if target.config.classify:
            yield Progress(len(tables), len(tables), "species and vacancies")
        return ready(put_together(tables, target), target, len(tables))

    def then(found: Detected, outcome: Outcome) -> None:
        _show(workspace, target, found, outcome)

    return workspace.start("detect", "Detecting atoms", work, then)


def find_atoms(
    target: Target, threads: int, control: Control
) -> Generator[Progress, None, list[pd.DataFrame]]:
    """Look for atoms frame by frame; the value is a table for each frame that was done."""
    total = len(target.looked_at)
    yield Progress(0, total, "starting")
    from napari_rvae.detect import iter_detect_atoms  # loads torch
    from napari_rvae.device import limit_threads

    tables: list[pd.DataFrame] = []
    looked_at = control.ticker("looking at the whole movie")
    with limit_threads(threads):
        frames, region, config = target.frames, target.region, target.config
        numbers = target.numbers
        if numbers is not None:
            yield Progress(0, total, "measuring the scale")
            config = with_scale(target.image, frames, config, progress=looked_at)
            if config.average_frames == 1:  # else the means need the frames beside
                frames, region = pick_frames(frames, numbers), pick_region(region, numbers)
                numbers = None
            if target.part is not None:
                frames = target.part.of_movie(frames)
                region = None if region is None else target.part.of(region)
        yield Progress(0, total, f"frame 1 of {total}")
        if control.stopped:
            return tables
        steps = iter_detect_atoms(
            frames, config, region=region, numbers=numbers, progress=looked_at
        )
        for number, table in zip(target.looked_at, steps, strict=True):
            found = table if target.part is None else target.part.in_frame(table)
            tables.append(found.assign(frame=number))
            yield Progress(len(tables), total, f"frame {len(tables)} of {total}")
            if control.stopped:
                break
    return tables


def put_together(tables: Sequence[pd.DataFrame], target: Target) -> pd.DataFrame:
    """One table of the sites of all frames, classified if that is asked for."""
    from napari_rvae.tables import concat_sites

    sites = concat_sites(*tables)
    if target.config.classify and len(sites):
        from napari_rvae.detect import classify_atoms  # loads torch

        sites = concat_sites(classify_atoms(sites, target.frames, region=target.region))
    return sites


def ready(sites: pd.DataFrame, target: Target, done: int) -> Detected:
    """Make all that can be made in the thread of the sites of so many frames."""
    from napari_rvae.layers import points_layer

    if not len(sites):
        return Detected(None, sites, nothing_found(target), done)
    name = f"atoms of {target.image.name}"
    color_by = "species" if target.config.classify and "species" in sites else None
    data, options, kind = points_layer(sites, target.frames, name=name, color_by=color_by)
    record = options["metadata"][METADATA_KEY]
    record["config"] = target.config.to_dict()
    step = {"step": "detect", "config": record["config"], "threads": read_preferences().n_threads}
    record["steps"] = [step if target.region is None else {**step, "region": True}]
    text = describe(sites, target.frames, done, record.get("n_border", 0))
    text += _without_atoms(sites, target.looked_at[:done])
    return Detected((data, options, kind), sites, text, done)


def _without_atoms(sites: pd.DataFrame, numbers: Sequence[int]) -> str:
    """Name the frames that have no atoms, such as those that hold no values; "" if all have."""
    empty = sorted(set(numbers) - set(sites["frame"].tolist()))
    if not empty:
        return ""
    few = len(empty) <= _MOST_NAMED
    return f" None in {enumerate_frames(empty) if few else count(len(empty), 'frame')}."


def nothing_found(target: Target) -> str:
    """Say that there are no atoms, and what to try."""
    numbers, other = target.looked_at, "bright" if target.config.contrast == "dark" else "dark"
    where = count(len(numbers), "frame") if target.numbers is None else enumerate_frames(numbers)
    where += "" if target.region is None else " of the region"
    return (
        f"No atoms in {where}: try {other} contrast, "
        "a lower least signal/noise, or say how far neighbours are apart."
    )


# ---------------------------------------------------------------------- what becomes of it
def _show(workspace: Workspace, target: Target, found: Detected, outcome: Outcome) -> None:
    """Add what was found, unless it would take away more than it gives."""
    viewer, total = workspace.viewer, len(target.looked_at)
    remove_preview(viewer)
    earlier = [layer for layer in viewer.layers if _made_from(layer, target.image)]
    stopped = f"Stopped: {found.done} of {count(total, 'frame')}. " if found.done < total else ""
    if earlier and (stopped or (found.layer is None and target.numbers is not None)):
        left = "The atoms found earlier are still there."
        text = f"{stopped or found.text} {left}".replace("  ", " ")
        workspace.say("detect", text, "info" if stopped else "warning")
    elif earlier and found.layer is not None and _renewable(earlier[-1], target):
        _renew(workspace, target, found, earlier[-1], outcome)
    elif found.layer is None:
        text = " ".join((f"{stopped}{found.text}", *outcome.warnings))
        workspace.say("detect", text, "warning")
    else:
        made = Layer.create(*found.layer)
        note = _add(workspace.viewer, target, made, earlier)
        notes = [f"{stopped}{found.text}", *outcome.warnings, *note]
        level = "warning" if stopped or len(notes) > 1 else "done"
        workspace.say("detect", " ".join(notes), level)


def _add(viewer: Any, target: Target, layer: Layer, earlier: list[Any]) -> list[str]:
    """Add a layer, in place of an earlier one that is worth no more; return what to say of it."""
    record = record_of(layer)
    record["image"] = str(target.image.unique_id)
    if earlier and QUALITY in record_of(earlier[-1]):  # of the image, not of the atoms
        record[QUALITY] = record_of(earlier[-1])[QUALITY]
    replaced = next((old for old in reversed(earlier) if not _worth_keeping(old)), None)
    _put(viewer, layer, replaced)
    notes = []
    if earlier and replaced is None:
        notes.append(f"{earlier[-1].name!r} has latents, and is kept beside these.")
    if target.image not in viewer.layers:
        notes.append("The image was removed meanwhile.")
    return notes


def _renewable(layer: Any, target: Target) -> bool:
    """Whether only a part of a layer is found anew: some frames, or all around the hand's work."""
    from napari_rvae.tables import latent_names

    by_hand = bool(record_of(layer).get("edited")) and not latent_names(layer.features)
    return target.numbers is not None or by_hand


def _renew(
    workspace: Workspace, target: Target, found: Detected, layer: Any, outcome: Outcome
) -> None:
    """Put what was found in the place of what was there in these frames; it can be undone."""
    from napari_rvae.layers.steps import note_step
    from napari_rvae.tables import latent_names

    state, record, numbers = _renewed(target, found, layer), record_of(layer), target.looked_at
    where = "all frames" if target.numbers is None else enumerate_frames(numbers)
    put_state(layer, state, name=f"detection in {where}")
    note_step(layer, "renew", frames=list(numbers), config=target.config.to_dict())
    sites = state.features
    record["next_site_id"] = max(record.get("next_site_id", 0), int(sites["site_id"].max()) + 1)

    here = sites[sites["frame"].isin(numbers)]
    text = f"{where[0].upper()}{where[1:]}: {count_sites(here)}"
    kept = int((here["edited"] == 1).sum()) if "edited" in here else 0
    notes = [f"{text}, {kept:,} of them set by hand." if kept else f"{text}."]
    if latent_names(sites):
        notes.append("New ones have no latents yet: use Apply on Train.")
    notes.extend(outcome.warnings)
    workspace.say("detect", " ".join(notes), "warning" if outcome.warnings else "done")


def _renewed(target: Target, found: Detected, layer: Any) -> SitesState:
    """State of a layer after some of its frames were looked at again."""
    from napari_rvae.layers import points_layer, renew_sites
    from napari_rvae.layers.undo import layer_state

    record, before, numbers = record_of(layer), layer_state(layer), target.looked_at
    deleted = record.get("deleted", [])
    sites = renew_sites(
        before.features,
        found.sites,
        numbers,
        deleted=deleted,
        keep_edited=target.keep_edited,
        next_id=record.get("next_site_id", 0),
    )
    if not target.keep_edited:
        deleted = [place for place in deleted if place[0] not in numbers]
    note = {"frames": list(numbers), "config": target.config.to_dict()}
    marks: dict[str, Any] = {"renewed": [*record.get("renewed", ()), note]}
    if deleted:
        marks["deleted"] = deleted
    if deleted or ("edited" in sites and bool((sites["edited"] == 1).any())):
        marks["edited"] = True
    drawn = Layer.create(*points_layer(sites, target.frames, window=record.get("window")))
    state = replace(layer_state(drawn), features=sites, marks=marks)
    return state.with_looks_of(before)


def _put(viewer: Any, layer: Layer, replaced: Any) -> None:
    """Add a layer, in place of an earlier one if there is one."""
    if replaced is None:
        viewer.add_layer(layer)
        return
    position = viewer.layers.index(replaced)
    layer.name = replaced.name
    viewer.layers.remove(replaced)
    viewer.layers.insert(position, layer)


def _worth_keeping(layer: Any) -> bool:
    """Whether a hand or a model has put more into a layer than detection would bring back."""
    from napari_rvae.tables import latent_names

    return bool(record_of(layer).get("edited") or latent_names(layer.features))


def _made_from(layer: Any, image: Any) -> bool:
    """Whether detection made a layer from this very image, whatever it is called now."""
    return kind_of(layer) == "sites" and record_of(layer).get("image") == str(image.unique_id)


def remove_preview(viewer: Any) -> None:
    """Take a preview away."""
    for layer in [layer for layer in viewer.layers if kind_of(layer) == PREVIEW]:
        viewer.layers.remove(layer)


# ---------------------------------------------------------------------- the viewer
def sites_of(viewer: Any, image: Any) -> Any:
    """Newest layer of atoms of an image; of the same name, where a run was opened again."""
    if image is None:
        return None
    sites = [item for item in viewer.layers if kind_of(item) == "sites" and made_from(item, image)]
    # those that say which image it was come before those that know its name only
    return max(reversed(sites), key=lambda item: "image" in record_of(item), default=None)


def current_frame(viewer: Any, layer: Any) -> int:
    """Return the number of the frame that the viewer shows of an image."""
    if layer.ndim < 3:
        return 0
    at = layer.world_to_data(viewer.dims.point)[0]
    return int(min(max(round(at), 0), layer.data.shape[0] - 1))


def in_view(layer: Any) -> Part:
    """Return what the viewer shows of an image; all of it where nothing is drawn yet."""
    corners = np.asarray(layer.corner_pixels)[:, -2:]
    shape = layer.data[0].shape if layer.multiscale else layer.data.shape
    if layer.multiscale:  # they are those of the level that is shown
        corners = corners * layer.downsample_factors[layer.data_level][-2:]
    corners = np.clip(np.rint(corners).astype(int), 0, np.subtract(shape[-2:], 1))
    (top, left), (bottom, right) = corners.tolist()
    return Part(top, left, bottom + 1, right + 1)


def go_to_frame(viewer: Any, layer: Any, frame: int) -> None:
    """Show a frame of an image."""
    if layer.ndim < 3:
        return
    axis = viewer.dims.ndim - layer.ndim
    place = layer.data_to_world((frame, *(0.0,) * (layer.ndim - 1)))
    viewer.dims.set_point(axis, place[0])
