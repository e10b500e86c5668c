"""Detection in a viewer: the work for the thread, and what becomes of its result."""

from __future__ import annotations

import json
import math
from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari.layers import Layer

from napari_rvae._napari.jobs import Control, Job, Outcome, Progress
from napari_rvae._napari.layer_kinds import METADATA_KEY, kind_of, made_from, record_of
from napari_rvae._napari.settings import read_preferences
from napari_rvae._napari.workspace import Workspace
from napari_rvae.config import DetectConfig
from napari_rvae.errors import Cancelled

if TYPE_CHECKING:
    import pandas as pd

    from napari_rvae.frames import Frames
    from napari_rvae.layers import LayerTuple

__all__ = [
    "Detected",
    "Target",
    "capture",
    "current_frame",
    "describe",
    "frame_table",
    "go_to_frame",
    "outline",
    "sites_of",
    "start_detection",
    "start_preview",
    "start_quality",
]

#: Name and kind of the layer that shows the atoms of one frame until all are there.
PREVIEW = "preview"

#: Columns of a frame that are measured on the picture; the layer's metadata keep them.
QUALITY = "quality"


@dataclass(frozen=True, eq=False)
class Target:
    """Where to look for atoms: captured from the layers, which the thread must not touch."""

    image: Any
    frames: Frames
    region: Any
    config: DetectConfig
    name: str


@dataclass(frozen=True, eq=False)
class Detected:
    """What was found, ready to be shown; nothing if there are no atoms.

    Attributes
    ----------
    layer
        Data, options and kind of the layer.
    text
        How many atoms, and how far apart.
    done
        Number of frames; fewer than there are if the user stopped it.
    """

    layer: LayerTuple | None
    text: str
    done: int


def capture(image: Any, region: Any, config: DetectConfig) -> Target:
    """Take what detection needs from the layers.

    Parameters
    ----------
    image
        Image layer.
    region
        Shapes or Labels layer, None for the whole frame.
    config
        Options.

    Raises
    ------
    InputError
        If the image cannot be taken for frames, or the region does not fit it.
    """
    from napari_rvae.layers import frames_from_layer, region_from_layer  # load pandas and SciPy

    frames = frames_from_layer(image)
    mask = None if region is None else region_from_layer(region, image)
    return Target(image, frames, mask, config, f"atoms of {image.name}")


# ---------------------------------------------------------------------- the movie
def start_detection(workspace: Workspace, target: Target) -> Job | None:
    """Look for atoms in all frames; they become a layer, whatever happens to the widget."""
    threads = read_preferences().n_threads

    def work(control: Control) -> Generator[Progress, None, Detected]:
        return (yield from _detect(target, threads, control))

    def then(found: Detected, outcome: Outcome) -> None:
        _show(workspace, target, found, outcome)

    return workspace.start("detect", "Detecting atoms", work, then)


def _detect(target: Target, threads: int, control: Control) -> Generator[Progress, None, Detected]:
    total = target.frames.n_frames
    yield Progress(0, total, "starting")
    from napari_rvae.detect import iter_detect_atoms  # loads torch
    from napari_rvae.device import limit_threads
    from napari_rvae.tables import concat_sites

    yield Progress(0, total, f"frame 1 of {total}")
    tables: list[pd.DataFrame] = []
    if not control.stopped:
        with limit_threads(threads):
            for table in iter_detect_atoms(target.frames, target.config, region=target.region):
                tables.append(table)
                yield Progress(len(tables), total, f"frame {len(tables)} of {total}")
                if control.stopped:
                    break
    if not tables:
        raise Cancelled("Detection was stopped before the first frame was done.")
    return _ready(concat_sites(*tables), target, len(tables))


def _ready(sites: pd.DataFrame, target: Target, done: int) -> Detected:
    """Make all that can be made in the thread."""
    from napari_rvae.layers import points_layer

    if not len(sites):
        return Detected(None, _nothing(target, done), done)
    data, options, kind = points_layer(sites, target.frames, name=target.name)
    record = options["metadata"][METADATA_KEY]
    record["config"] = target.config.to_dict()
    text = describe(sites, target.frames, done, record.get("n_border", 0))
    return Detected((data, options, kind), text, done)


def _show(workspace: Workspace, target: Target, found: Detected, outcome: Outcome) -> None:
    """Add what was found, unless it would take away more than it gives."""
    viewer, total = workspace.viewer, target.frames.n_frames
    _remove_preview(viewer)
    earlier = [layer for layer in viewer.layers if _made_from(layer, target.image)]
    stopped = f"Stopped: {found.done} of {total} frames. " if found.done < total else ""
    if stopped and earlier:
        workspace.say("detect", f"{stopped}The atoms found earlier are still there.")
        return
    if found.layer is None:
        workspace.say("detect", f"{stopped}{found.text}", "warning")
        return

    layer = Layer.create(*found.layer)
    record = record_of(layer)
    record["image"] = str(target.image.unique_id)
    if earlier and QUALITY in record_of(earlier[-1]):  # of the image, not of the atoms
        record[QUALITY] = record_of(earlier[-1])[QUALITY]
    replaced = next((old for old in reversed(earlier) if not _worth_keeping(old)), None)
    _put(viewer, layer, replaced)
    notes = [*outcome.warnings]
    if earlier and replaced is None:
        notes.append(f"{earlier[-1].name!r} was changed since, and is kept beside these.")
    if target.image not in viewer.layers:
        notes.append("The image was removed meanwhile.")
    level = "warning" if notes or stopped else "done"
    workspace.say("detect", " ".join((f"{stopped}{found.text}", *notes)), level)


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


def _nothing(target: Target, n_frames: int) -> str:
    other = "bright" if target.config.contrast == "dark" else "dark"
    where = "" if target.region is None else " of the region"
    return (
        f"No atoms in {_count(n_frames, 'frame')}{where}: try {other} contrast, "
        "a lower least signal/noise, or give the neighbour distance."
    )


# ---------------------------------------------------------------------- one frame
def start_preview(workspace: Workspace, target: Target, frame: int) -> Job | None:
    """Look for atoms in one frame, and show them until the movie is done."""
    threads = read_preferences().n_threads

    def work(control: Control) -> Generator[Progress, None, Detected]:
        yield Progress(0, 0, f"frame {frame + 1}")
        from napari_rvae.detect import detect_atoms  # loads torch
        from napari_rvae.device import limit_threads

        one, region = _one_frame(target, frame)
        with limit_threads(threads):
            sites = detect_atoms(one, target.config, region=region)
        if control.stopped:
            raise Cancelled("The preview was stopped.")
        return _ready(sites.assign(frame=frame), target, 1)

    def then(found: Detected, outcome: Outcome) -> None:
        _show_preview(workspace, found, outcome)

    return workspace.start("detect", f"Preview of frame {frame + 1}", work, then)


def _one_frame(target: Target, frame: int) -> tuple[Frames, Any]:
    from napari_rvae.frames import Frames

    movie, region = target.frames, target.region
    picture = Frames(
        movie.frame(frame), scale=movie.pixel_size, units=movie.units[-2:], name=movie.name
    )
    return picture, region if region is None or region.ndim == 2 else region[frame]


def _show_preview(workspace: Workspace, found: Detected, outcome: Outcome) -> None:
    viewer = workspace.viewer
    _remove_preview(viewer)
    if found.layer is None:
        workspace.say("detect", found.text, "warning")
        return

    data, options, kind = found.layer
    options |= {"name": PREVIEW, "face_color": "transparent"}
    options |= {"border_color": "#f0e442", "border_width": 0.12}
    options["metadata"][METADATA_KEY]["kind"] = PREVIEW
    selected = set(viewer.layers.selection)
    viewer.add_layer(Layer.create(data, options, kind))
    viewer.layers.selection = selected  # the user goes on with what is at hand
    text = " ".join((f"Preview: {found.text}", *outcome.warnings))
    workspace.say("detect", text, "warning" if outcome.warnings else "info")


def _remove_preview(viewer: Any) -> None:
    for layer in [layer for layer in viewer.layers if kind_of(layer) == PREVIEW]:
        viewer.layers.remove(layer)


# ---------------------------------------------------------------------- the frames' quality
def start_quality(workspace: Workspace, image: Any, sites: Any) -> Job | None:
    """Measure noise and blur of the frames; a layer of sites keeps them in its metadata."""
    from napari_rvae.layers import frames_from_layer

    frames, before = frames_from_layer(image), workspace.status("detect")

    def work(control: Control) -> Generator[Progress, None, pd.DataFrame]:
        yield Progress(0, frames.n_frames, "noise and blur")
        from napari_rvae.preprocess import analyse_frames

        tick = control.ticker("noise and blur")
        return analyse_frames(frames, progress=tick)

    def then(table: pd.DataFrame, _outcome: Outcome) -> None:

        columns = [name for name in table if name != "frame"]
        stored = json.loads(table[columns].to_json(orient="split", index=False))
        record_of(sites)[QUALITY] = stored
        workspace.say("detect", before.text, before.level)

    return workspace.start("detect", "Measuring the frames", work, then)


def frame_table(sites: Any, n_frames: int) -> pd.DataFrame:
    """Table of the frames that a layer of sites lies on.

    Parameters
    ----------
    sites
        Points layer of atoms.
    n_frames
        Number of frames.

    Returns
    -------
    DataFrame
        A row a frame: ``frame``, ``atoms``, and the columns of
        :func:`~napari_rvae.analyse_frames` once they were measured.
    """
    import pandas as pd

    features = sites.features
    atoms = pd.Series(dtype=int)
    if {"kind", "frame"} <= set(features):  # somebody may have put other features in their place
        atoms = features.loc[features["kind"] == "atom", "frame"].value_counts()
    counts = atoms.reindex(range(n_frames), fill_value=0).to_numpy()
    table = pd.DataFrame({"frame": range(n_frames), "atoms": counts})
    stored = record_of(sites).get(QUALITY)
    if stored is None or len(stored["data"]) != n_frames:
        return table
    return table.join(pd.DataFrame(stored["data"], columns=stored["columns"], dtype=float))


def sites_of(viewer: Any, image: Any) -> Any:
    """Newest layer of atoms of an image; of the same name, where a run was opened again."""
    if image is None:
        return None
    sites = [item for item in viewer.layers if kind_of(item) == "sites" and made_from(item, image)]
    # those that say which image it was come before those that know its name only
    return max(reversed(sites), key=lambda item: "image" in record_of(item), default=None)


# ---------------------------------------------------------------------- the viewer's frame
def current_frame(viewer: Any, layer: Any) -> int:
    """Return the number of the frame that the viewer shows of an image."""
    if layer.ndim < 3:
        return 0
    at = layer.world_to_data(viewer.dims.point)[0]
    return int(min(max(round(at), 0), layer.data.shape[0] - 1))


def go_to_frame(viewer: Any, layer: Any, frame: int) -> None:
    """Show a frame of an image."""
    if layer.ndim < 3:
        return
    axis = viewer.dims.ndim - layer.ndim
    place = layer.data_to_world((frame, *(0.0,) * (layer.ndim - 1)))
    viewer.dims.set_point(axis, place[0])


# ---------------------------------------------------------------------- in words
def outline(frames: Frames) -> str:
    """Say how many frames there are, and how large."""
    rows, columns = frames.frame_shape
    pixel = physical_length(math.sqrt(math.prod(frames.pixel_size)), frames.units[-1])
    size = f"{_count(frames.n_frames, 'frame')} of {rows} x {columns} px"
    return f"{size}, {pixel} a pixel" if pixel else size


def describe(sites: pd.DataFrame, frames: Frames, n_frames: int, n_border: int) -> str:
    """Say how many atoms there are, and how far apart they are."""
    from napari_rvae.tables import neighbour_distance

    parts = [f"{_count(len(sites), 'atom')} in {_count(n_frames, 'frame')}"]
    distance = neighbour_distance(sites)
    if math.isfinite(distance):
        parts.append(f"neighbours {distance:.1f} px{_in_physical(distance, frames)} apart")
    if n_border:
        parts.append(f"{n_border:,} at the border")
    return ", ".join(parts) + "."


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _in_physical(distance: float, frames: Frames) -> str:
    """Return a length in pixels in physical units and brackets, "" where there are none."""
    length = physical_length(distance * math.sqrt(math.prod(frames.pixel_size)), frames.units[-1])
    return f" ({length})" if length else ""


def physical_length(value: float, unit: str) -> str:
    """Write a length with the prefix that suits it; "" if the unit is none of length."""
    from pint import Quantity, UndefinedUnitError

    try:
        length = Quantity(value, unit)
    except (UndefinedUnitError, ValueError):
        return ""
    if not length.check("[length]"):
        return ""
    return f"{length.to_compact():.3g~P}"
