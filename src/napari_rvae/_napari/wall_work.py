"""Domain walls in a viewer: the work for the thread, and what becomes of its result."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari.layers import Layer

from napari_rvae._napari.jobs import Control, Job, Outcome, Progress
from napari_rvae._napari.layer_kinds import METADATA_KEY, kind_of, record_of
from napari_rvae._napari.settings import read_preferences
from napari_rvae._napari.words import count
from napari_rvae._napari.workspace import Workspace
from napari_rvae.config import WallConfig
from napari_rvae.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from napari_rvae.frames import Frames
    from napari_rvae.layers import LayerTuple

__all__ = ["WallTarget", "capture_scan", "channel_of", "first_of", "start_walls"]


@dataclass(frozen=True, eq=False)
class WallTarget:
    """Where to look for walls: captured from the layers, which the thread must not touch.

    Attributes
    ----------
    image
        Image layer of the amplitude.
    frames
        Amplitude, phase and, where it is chosen, topography.
    region
        Where to look, None for everywhere.
    config
        Options.
    origins
        Where amplitude and phase came from.
    """

    image: Any
    frames: Frames
    region: Any
    config: WallConfig
    origins: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, eq=False)
class _Walls:
    """What was found, as layers, and in words."""

    responses: list[LayerTuple]
    lines: LayerTuple | None
    sites: LayerTuple | None
    text: str


def capture_scan(
    amplitude: Any,
    phase: Any,
    height: Any,
    region: Any,
    config: WallConfig,
    *,
    images: Sequence[Any] = (),
) -> WallTarget:
    """Take what the detection of walls needs from the layers.

    Of a vector the lateral components are those of `images` that are named so.

    Raises
    ------
    InputError
        If the layers are not of one movie, two of them are the same, the region does not fit, or
        there are no lateral components of a vector.
    """
    from napari_rvae.layers import frames_from_layers, region_from_layer
    from napari_rvae.layers.origin import image_origin

    lateral = "lateral " if config.modality == "lateral" else ""
    scan = {f"{lateral}amplitude": amplitude, f"{lateral}phase": phase}
    if config.modality == "vector":
        scan |= _lateral_layers(images)
    signals = list(scan.items())
    if height is not None:
        scan["topography"] = height
    frames = frames_from_layers(list(scan.values()), tuple(scan))
    mask = None if region is None else region_from_layer(region, amplitude)
    origins = tuple({**image_origin(layer), "as": name} for name, layer in signals)
    return WallTarget(amplitude, frames, mask, config, origins)


def _lateral_layers(images: Sequence[Any]) -> dict[str, Any]:
    """Layers of both lateral components, or of the only one, by the names of their channels."""
    for axes in (("y ", "x "), ("",)):
        names = [f"lateral {axis}{part}" for axis in axes for part in ("amplitude", "phase")]
        found = {name: first_of(images, name) for name in names}
        if all(layer is not None for layer in found.values()):
            return found
    raise InputError(
        "A vector needs layers named 'lateral y amplitude', 'lateral y phase', and those of x (or "
        "'lateral amplitude' and 'lateral phase'): open them, or choose another modality."
    )


def start_walls(workspace: Workspace, target: WallTarget) -> Job | None:
    """Look for walls in all frames; the signed response and the sites become layers."""
    threads = read_preferences().n_threads

    def work(control: Control) -> Generator[Progress, None, _Walls]:
        yield Progress(0, target.frames.n_frames, "the sign of the response")
        from napari_rvae.detect import detect_walls  # loads torch
        from napari_rvae.device import limit_threads
        from napari_rvae.preprocess import signed_response

        config = target.config
        with limit_threads(threads):
            response = signed_response(
                target.frames, modality=config.modality, phase_unit=config.phase_unit
            )
            sites = detect_walls(
                target.frames,
                config,
                region=target.region,
                progress=control.ticker("walls"),
            )
        return _ready(target, response, sites)

    def then(found: _Walls, outcome: Outcome) -> None:
        _show(workspace, target, found, outcome)

    return workspace.start("detect", "Detecting walls", work, then)


def _ready(target: WallTarget, response: Frames, sites: pd.DataFrame) -> _Walls:
    """Make all that can be made in the thread."""
    from napari_rvae.layers import ImageStyle, image_layer, points_layer, walls_layer

    movie = target.frames.name
    pictures = []
    for channel, name in enumerate(response.channels):
        if "response" not in name:
            continue
        largest = float(abs(response.frame(0, channel)).max())
        picture = image_layer(
            response,
            channel=channel,
            contrast_limits=(-largest, largest),
            name=f"{name} of {movie}",
            style=ImageStyle(colormap="PiYG"),
        )
        picture[1]["metadata"][METADATA_KEY]["response"] = {
            "of": list(target.origins),
            "modality": target.config.modality,
            "phase_unit": target.config.phase_unit,
        }
        pictures.append(picture)
    if not len(sites):
        return _Walls(pictures, None, None, "No walls.")
    lines = walls_layer(sites, response, name=f"walls of {movie}")
    points = points_layer(sites, response, name=f"wall sites of {movie}")
    step = {"step": "walls", "config": target.config.to_dict()}
    record = points[1]["metadata"][METADATA_KEY]
    record["config"] = step["config"]
    record["steps"] = [step if target.region is None else {**step, "region": True}]
    return _Walls(pictures, lines, points, _text(sites, target.frames))


def _text(sites: pd.DataFrame, frames: Frames) -> str:
    """Say how many walls of which type there are."""
    parts = []
    for kind, here in sites.groupby("wall_type", sort=True):
        walls = here[["frame", "wall_id"]].drop_duplicates()
        name = f"{kind}-degree" if str(kind).isdigit() else str(kind)
        parts.append(f"{count(len(walls), f'{name} wall')} ({count(len(here), 'site')})")
    return f"{', '.join(parts)} in {count(frames.n_frames, 'frame')}."


def _show(workspace: Workspace, target: WallTarget, found: _Walls, outcome: Outcome) -> None:
    """Add the response and the sites, in place of what an earlier search left."""
    viewer = workspace.viewer
    marks = {"walls_of": str(target.image.unique_id)}
    marks_of = [{**marks, "response_of": str(made[1]["name"])} for made in found.responses]
    images = [
        _put(viewer, Layer.create(*made), own)
        for made, own in zip(found.responses, marks_of, strict=True)
    ]
    marks["image"] = str(images[0].unique_id)
    for made in (found.lines, found.sites):
        if made is not None:
            _put(viewer, Layer.create(*made), marks)
    text = " ".join((found.text, *outcome.warnings))
    workspace.say("detect", text, "warning" if outcome.warnings else "done")


def _put(viewer: Any, layer: Layer, marks: dict[str, str]) -> Layer:
    """Add a layer in place of the one of an earlier search, unless a model or hand used it."""
    record_of(layer).update(marks)
    for earlier in list(viewer.layers):
        if _replaced_by(earlier, layer):
            viewer.layers.remove(earlier)
    return viewer.add_layer(layer)


def _replaced_by(earlier: Any, layer: Layer) -> bool:
    from napari_rvae.tables import latent_names

    old, new = record_of(earlier), record_of(layer)
    alike = kind_of(earlier) == kind_of(layer) and all(
        old.get(key) == new.get(key) for key in ("walls_of", "response_of")
    )
    if not alike or kind_of(earlier) != "sites":
        return alike
    return not (old.get("edited") or latent_names(earlier.features))


def channel_of(layer: Any) -> str:
    """What an image is called, the channel that it shows and its name, in small letters."""
    return f"{record_of(layer).get('channel', '')} {layer.name}".lower()


def first_of(layers: Sequence[Any], *words: str) -> Any:
    """Newest layer whose channel is named by one of some words, None where there is none."""
    fitting = [layer for layer in layers if any(word in channel_of(layer) for word in words)]
    return fitting[-1] if fitting else None
