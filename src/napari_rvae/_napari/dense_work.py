"""Latents at every place of an image, computed in a thread, as layers over it."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any

from napari.layers import Layer

from napari_rvae._napari.jobs import Control, Job, Outcome, Progress
from napari_rvae._napari.layer_kinds import METADATA_KEY, is_frames, record_of
from napari_rvae._napari.settings import read_preferences
from napari_rvae._napari.words import count
from napari_rvae._napari.workspace import Model, Workspace
from napari_rvae.errors import Cancelled, InputError

if TYPE_CHECKING:
    from napari_rvae.frames import Frames
    from napari_rvae.layers import LayerTuple

__all__ = ["STRIDE", "frames_of_model", "start_dense"]

#: Pixels from one encoded place to the next; what lies between is interpolated.
STRIDE = 4


def frames_of_model(model: Model | None, image: Any, layers: Sequence[Any]) -> Frames:
    """Frames with the channels that a model wants: the image, and others by their names.

    Parameters
    ----------
    model
        The model; None wants the image alone.
    image
        Image layer of the first channel.
    layers
        The viewer's layers, among which the others are looked for.

    Raises
    ------
    InputError
        If a channel has no layer.
    """
    from napari_rvae.layers import frames_from_layer, frames_from_layers
    from napari_rvae.preprocess.wall_mask import measured_channels

    names = () if model is None else measured_channels(model.rvae.channels_)
    if len(names) < 2:
        return frames_from_layer(image)
    chosen = [image]
    for name in names[1:]:
        images = (layer for layer in reversed(layers) if is_frames(layer) and layer is not image)
        found = next((x for x in images if name in (record_of(x).get("channel"), x.name)), None)
        if found is None:
            raise InputError(f"The model wants the channel {name!r}: open an image of that name.")
        chosen.append(found)
    return frames_from_layers(chosen, names)


def start_dense(
    workspace: Workspace, sites: Any, image: Any, columns: Sequence[str], symmetry: int
) -> Job | None:
    """Encode a window at every few pixels of all frames; the pictures become layers.

    Parameters
    ----------
    workspace
        Whose model, and where the job runs.
    sites
        Points layer, whose walls are drawn where the model wants them; or None.
    image
        Image layer.
    columns
        Columns to draw.
    symmetry
        Order of the symmetry of angles.

    Raises
    ------
    InputError
        If there is no model or image, or the Train widget is at work.
    """
    from napari_rvae.layers import sites_from_layer

    model = workspace.model
    if model is None:
        raise InputError("There is no model yet: train or load one first (widget Train).")
    if image is None:
        raise InputError("There is no image: open the movie that the sites lie on.")
    if workspace.job("train") is not None:
        raise InputError("The Train widget is at work: wait until it has finished.")
    movie = frames_of_model(model, image, list(workspace.viewer.layers))
    walls = None
    if sites is not None and "wall_type" in sites.features:
        walls = sites_from_layer(sites, image)
    threads = read_preferences().n_threads

    def work(control: Control) -> Generator[Progress, None, list[LayerTuple]]:
        yield Progress(0, movie.n_frames, "encoding frames")
        from napari_rvae.device import limit_threads
        from napari_rvae.layers import latent_image_layers

        with limit_threads(threads):
            made = latent_image_layers(
                model.rvae, movie, columns, stride=STRIDE, symmetry=symmetry, walls=walls
            )
            return (yield from _computed(control, made, movie.n_frames))

    def then(made: list[LayerTuple], outcome: Outcome) -> None:
        for layer in made:
            _put(workspace.viewer, layer, model.key)
        text = f"{' and '.join(columns)} at every place of {count(movie.n_frames, 'frame')}."
        level = "warning" if outcome.warnings else "done"
        workspace.say("latents", " ".join((text, *outcome.warnings)), level)

    return workspace.start("latents", "Encoding every place", work, then)


def _computed(
    control: Control, made: Sequence[LayerTuple], n_frames: int
) -> Generator[Progress, None, list[LayerTuple]]:
    """Layers with their pictures in memory, computed frame by frame."""
    import numpy as np

    pictures = [np.full(data.shape, np.nan, np.float32) for data, _, _ in made]
    for frame in range(n_frames):
        if control.stopped:
            raise Cancelled(f"Stopped after {frame} of {n_frames} frames.")
        for picture, (data, _, _) in zip(pictures, made, strict=True):
            here = (frame,) if picture.ndim == 3 else ()
            picture[here] = np.asarray(data[here])
        yield Progress(frame + 1, n_frames, "encoding frames")
    return [(p, look, kind) for p, (_, look, kind) in zip(pictures, made, strict=True)]


def _put(viewer: Any, made: LayerTuple, key: Any) -> None:
    """Add a picture below the points, in place of the one of its name that was drawn before."""
    data, options, kind = made
    options["metadata"][METADATA_KEY].update(dense=True, model=key)
    layer = Layer.create(data, options, kind)
    place = len(viewer.layers)
    for number, other in enumerate(viewer.layers):
        if record_of(other).get("kind") == "sites":
            place = min(place, number)
    for number, other in enumerate(list(viewer.layers)):
        if record_of(other).get("dense") and other.name == layer.name:
            viewer.layers.remove(other)
            place -= number < place
    viewer.layers.insert(max(place, 0), layer)
