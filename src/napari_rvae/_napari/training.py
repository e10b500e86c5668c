"""The work of the Train widget: train, go on, load, apply; and what becomes of the results.

Everything here works without the widget, which may be closed while the work goes on. The library
is imported inside the functions: torch in the worker's thread only, pandas and SciPy not before
they are needed, so that the widget opens at once.
"""

from __future__ import annotations

import dataclasses
import math
import time
import warnings
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_rvae._napari.checking import some_crops, start_checks
from napari_rvae._napari.jobs import Control, Outcome, Progress, Work
from napari_rvae._napari.layer_kinds import is_frames, made_from, record_of
from napari_rvae._napari.settings import read_preferences
from napari_rvae._napari.words import count
from napari_rvae._napari.workspace import Model, Workspace
from napari_rvae.config import CropConfig, RVAEConfig
from napari_rvae.errors import Cancelled, InputError

if TYPE_CHECKING:
    import pandas as pd

    from napari_rvae.crops import Crops
    from napari_rvae.frames import Frames
    from napari_rvae.vae import RVAE, FitProgress

__all__ = [
    "Inputs",
    "Live",
    "Result",
    "apply",
    "curves",
    "decoded_picture",
    "fixed_window",
    "grey_values",
    "image_of",
    "load",
    "resume",
    "run_folder",
    "show_loaded",
    "show_result",
    "take_inputs",
    "train",
]

#: Pictures along each side of the manifold.
_PICTURES = 5

#: The live manifold may take this share of a training's time.
_PICTURE_SHARE = 0.1

#: Progress of a training is told at most so often, in seconds; a pause or a stop waits as long.
_TELL_EVERY = 0.2

#: Sites of a frame that it takes to measure a neighbour distance.
_NEIGHBOURS = 3

#: Side of the window around a site on a wall, in pixels.
_WALL_WINDOW = 24.0

#: Sites encoded between two looks at whether to stop.
_CHUNK = 1000


@dataclass(frozen=True, eq=False)
class Inputs:
    """An image and its sites, as they are when the work begins.

    Attributes
    ----------
    frames
        The image.
    sites
        Sites table in the pixels of the image.
    layer
        The Points layer, which may change or go while the work is done.
    placed
        The same sites where the layer has them, which may lie otherwise than the image.
    lags
        Frame lags that the layers of a new training's crops stand for.
    images
        Where each image came from, for the script.
    """

    frames: Frames
    sites: pd.DataFrame
    layer: Any
    placed: pd.DataFrame
    lags: tuple[int, ...] = (0,)
    images: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, eq=False)
class Live:
    """What can be seen of a training while it runs.

    Attributes
    ----------
    losses
        Loss of each epoch so far.
    held_out
        The same of the crops that are not trained on; NaN where there are none.
    device
        Where it runs, in words.
    picture
        Grey values of the manifold, None before the first.
    """

    losses: tuple[float, ...]
    held_out: tuple[float, ...]
    device: str
    picture: NDArray[np.uint8] | None


@dataclass(frozen=True, eq=False)
class Result:
    """A model and what it says of the sites.

    Attributes
    ----------
    model
        The model, how its crops are cut, and its picture.
    latents
        Latents table of the sites that were encoded.
    n_windows
        Number of sites that have a whole window.
    text
        What was done, for the status line.
    sample
        Crops to check the model on; None where it is not to be checked.
    step
        What it takes to do it again, see :mod:`napari_rvae.layers.steps`.
    """

    model: Model
    latents: pd.DataFrame
    n_windows: int
    text: str
    sample: Crops | None = None
    step: dict[str, Any] = field(default_factory=dict)


def take_inputs(image: Any, points: Any, *, second: Any = None, earlier: int = 0) -> Inputs:
    """Take the image and the sites out of their layers.

    Points that the user has set get the features of sites, so that what is found of them later
    finds its point, whatever is deleted or added meanwhile.

    Parameters
    ----------
    image
        Image layer.
    points
        Layer of the sites.
    second
        Image layer of a further channel, or None.
    earlier
        Number of frames before that crops show, too.

    Raises
    ------
    InputError
        If one of them is missing, there are no sites, or some lie outside the image.
    """
    from napari_rvae.layers import frames_from_layer, frames_from_layers, sites_from_layer
    from napari_rvae.layers.origin import image_origin

    if image is None:
        raise InputError("There is no image: open one first.")
    if points is None:
        raise InputError("There are no sites: detect them first, or set points by hand.")
    sites = sites_from_layer(points, image)
    frames = frames_from_layer(image)
    if second is not None:
        if second is image:
            raise InputError(f"Both channels are {image.name!r}: choose another second one.")
        frames = frames_from_layers([image, second])
    if not len(sites):
        raise InputError(f"The layer {points.name!r} holds no points: detect sites first.")
    rows, columns = frames.frame_shape
    inside = sites["frame"].between(0, frames.n_frames - 1)
    inside &= sites["y"].between(-0.5, rows - 0.5) & sites["x"].between(-0.5, columns - 0.5)
    if not inside.all():
        raise InputError(
            f"{(~inside).sum():,} of {len(sites):,} sites lie outside the image {image.name!r}: "
            "choose the image that they were found in."
        )
    placed = sites_from_layer(points)
    if "site_id" not in points.features:
        points.features = placed
    images = tuple(image_origin(layer) for layer in (image, second) if layer is not None)
    return Inputs(frames, sites, points, placed, tuple(range(0, -earlier - 1, -1)), images)


def image_of(points: Any, layers: Any) -> Any:
    """Image that a layer of sites was made from, None if it is not there or nobody knows.

    Of several, such as the channels of a scan, one that is seen: the others are hidden because they
    are not what the sites lie on.
    """
    images = [layer for layer in layers if is_frames(layer)]
    made = [image for image in images if made_from(points, image)]
    seen = [image for image in made if image.visible]
    return (seen or made or [None])[-1]


def where_from(points: Any, image: Any) -> str:
    """Name of the movie that a layer of sites was made from, "" if it is this image or unknown."""
    return "" if made_from(points, image) else str(record_of(points).get("frames", ""))


def run_folder(points: Any) -> str:
    """Folder of the run that a layer of sites was opened from, "" if from none."""
    return str(record_of(points).get("run", ""))


# ---------------------------------------------------------------------- the work
def train(
    inputs: Inputs, crops: CropConfig, config: RVAEConfig, *, device: str, threads: int
) -> Work:
    """Train a model on the crops of the sites, and encode them; the value is a Result."""

    def work(control: Control) -> Generator[Progress, None, Result]:
        yield Progress(0, 0, "starting")
        from napari_rvae.device import choose_device, limit_threads
        from napari_rvae.vae import RVAE

        with limit_threads(threads):
            choose_device(device)  # that it is missing is said before the crops are cut
            cut = _cut(control, inputs, crops, inputs.lags)
            rvae = RVAE(config, device=device)
            live = yield from _fit(control, rvae, rvae.iter_fit(cut))
            model = Model(rvae, rvae.crop_config, inputs.frames.name, live.picture)
            return (yield from _finish(control, model, cut, live, crops, inputs.images))

    return work


def resume(inputs: Inputs, model: Model, epochs: int, *, threads: int) -> Work:
    """Go on with a training that was stopped, up to a number of epochs."""

    def work(control: Control) -> Generator[Progress, None, Result]:
        yield Progress(0, 0, "starting")
        from napari_rvae.device import limit_threads

        rvae = model.rvae
        done = len(rvae.history_)
        if epochs <= done:
            raise InputError(
                f"The model has {count(done, 'epoch')} already: ask for more than that."
            )
        with limit_threads(threads):
            cut = _cut(control, inputs, model.crops, rvae.lags_)
            steps = rvae.iter_fit(cut, resume=True, epochs=epochs)
            live = yield from _fit(control, rvae, steps)
            newer = Model(rvae, model.crops, model.name, live.picture)
            return (yield from _finish(control, newer, cut, live, model.crops, inputs.images))

    return work


def apply(inputs: Inputs, model: Model, *, window: float | None, threads: int) -> Work:
    """Encode sites with a model that is there; the value is a Result.

    The window is that of the model, in neighbour distances, unless it is given in pixels.
    """
    crops = model.crops if window is None else dataclasses.replace(model.crops, window=window)

    def work(control: Control) -> Generator[Progress, None, Result]:
        yield Progress(0, 0, "starting")
        from napari_rvae.device import limit_threads

        with limit_threads(threads):
            cut = _cut(control, inputs, crops, model.rvae.lags_)
            latents = yield from _encode(control, model.rvae, cut, None)
            if control.stopped:
                raise Cancelled("Encoding was stopped.")
            step = {"step": "apply", "model": model.folder, "threads": threads}
            step |= {} if window is None else {"window": window}
            return Result(model, latents, len(cut), f"by the model {model.name!r}", step=step)

    return work


def load(path: str | Path, *, device: str, threads: int) -> Work:
    """Load the model of a folder, or of a run's folder; the value is a Model."""
    folder = Path(path)
    folder = folder.parent if folder.suffix == ".json" else folder

    def work(control: Control) -> Generator[Progress, None, Model]:
        yield Progress(0, 0, "loading the model")
        from napari_rvae.device import limit_threads
        from napari_rvae.runs import load_run
        from napari_rvae.vae import RVAE

        with limit_threads(threads):
            plan: Any = None
            if (folder / "run.json").exists():
                run = load_run(folder)
                rvae, plan = run.load_model(device), run.configs.get("CropConfig")
            else:
                rvae = RVAE.load(folder, device=device)
            plan = plan if isinstance(plan, CropConfig) else rvae.crop_config
            home = folder.resolve()
            model = Model(rvae, plan, home.name, decoded_picture(rvae), folder=str(home))
        if control.stopped:
            raise Cancelled("Loading was stopped.")
        return model

    return work


def fixed_window(layer: Any) -> float | None:
    """Side of the window in pixels that suits sites without neighbours, None for atoms.

    Parameters
    ----------
    layer
        Layer of sites, or None.
    """
    if layer is None or "kind" not in layer.features:
        return None
    kinds = set(layer.features["kind"].unique())
    if not kinds or not kinds <= {"wall", "grid"}:
        return None
    return max(8.0, 2.0 * float(record_of(layer).get("grid_step", _WALL_WINDOW / 2)))


def _cut(control: Control, inputs: Inputs, config: CropConfig, lags: tuple[int, ...]) -> Crops:
    """Cut the crops; that no site has one is an error."""
    from napari_rvae.crops import extract_crops

    if config.window is None and inputs.sites["frame"].value_counts().max() < _NEIGHBOURS:
        raise InputError(
            f"{count(len(inputs.sites), 'site')}, fewer than three in every frame, cannot tell how "
            "far neighbours are apart: give the window in pixels (Advanced > Fixed window)."
        )
    crops = extract_crops(
        inputs.frames, inputs.sites, config, lags=lags, progress=control.ticker("cutting crops")
    )
    if not len(crops):
        raise InputError(
            f"None of the {count(len(inputs.sites), 'site')} has a whole window of "
            f"{crops.window_px:.0f} px in the image: make the window smaller."
        )
    return crops


def _fit(
    control: Control, rvae: RVAE, steps: Iterator[FitProgress]
) -> Generator[Progress, None, Live]:
    """Train to the end or to a stop, telling how it goes; the model is usable afterwards."""
    worked = drawing = drawn = 0.0
    pictures, told, live = 0, -math.inf, Live((), (), "", None)
    for seconds, progress in _timed(steps):
        worked += seconds
        # the first as soon as there is something to see, one more half-way at any price
        due = drawing + drawn <= _PICTURE_SHARE * worked or (
            pictures < 2 and progress.fraction >= 0.5
        )
        if due and progress.epoch > 0 and not control.stopped:
            began = time.monotonic()
            live = dataclasses.replace(live, picture=decoded_picture(rvae))
            drawn = time.monotonic() - began
            drawing, pictures = drawing + drawn, pictures + 1
        if control.stopped:
            break
        if time.monotonic() - told > _TELL_EVERY:
            live = Live(*curves(rvae), rvae.device_, live.picture)
            yield Progress(progress.fraction, 1.0, _message(progress), live)
            told = time.monotonic()
    if not rvae.history_:
        raise Cancelled("The training was stopped in its first epoch.")
    yield Progress(0, 0, "aligning the pictures", live)
    return Live(*curves(rvae), rvae.device_, decoded_picture(rvae))


def curves(rvae: RVAE) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Loss of each epoch: of the crops that are trained on, and of those held out."""
    history = rvae.history_
    return (
        tuple(record.loss for record in history),
        tuple(record.held_out_loss for record in history),
    )


def _timed(steps: Iterator[FitProgress]) -> Iterator[tuple[float, FitProgress]]:
    """Steps of an iterator, and the seconds that each took."""
    while True:
        began = time.monotonic()
        try:
            step = next(steps)
        except StopIteration:
            return
        yield time.monotonic() - began, step


def _message(progress: FitProgress) -> str:
    """Say where a training stands."""
    epoch = min(progress.epoch + 1, progress.n_epochs)
    text = f"epoch {epoch} of {progress.n_epochs}"
    if progress.record is not None:
        text += f", loss {progress.record.loss:.1f}"
    return text if progress.message in ("training", "done") else f"{text}, {progress.message}"


def decoded_picture(rvae: RVAE) -> NDArray[np.uint8]:
    """Grey values of decoded pictures; z0 grows to the right, z1 upwards."""
    from napari_rvae.device import small_steps

    dims = (0, min(1, rvae.n_latents_ - 1))
    with small_steps():
        return grey_values(rvae.manifold(_PICTURES, dims=dims))


def grey_values(pictures: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Grey values (n S, m S) of decoded pictures (n, m, C, S, S), as their layer shows them."""
    from napari_rvae.layers import manifold_layer

    mosaic, options, _ = manifold_layer(pictures)
    low, high = options["contrast_limits"]
    return np.asarray(255 * np.clip((mosaic - low) / (high - low), 0, 1), np.uint8)


def _finish(
    control: Control,
    model: Model,
    crops: Crops,
    live: Live,
    plan: CropConfig,
    images: Sequence[dict[str, Any]],
) -> Generator[Progress, None, Result]:
    """Encode the sites with the model as it is now, and tell what was done."""
    from napari_rvae.preprocess.wall_mask import measured_channels

    rvae = model.rvae
    latents = yield from _encode(control, rvae, crops, live)
    done, total = len(rvae.history_), rvae.config.epochs
    epochs = count(done, "epoch")
    if rvae.can_resume:
        epochs = f"stopped after {done} of {count(total, 'epoch')}"
    elif done < total:
        epochs = f"{done} of {count(total, 'epoch')} (then the held-out crops gained no more)"
    if not rvae.can_resume:
        rvae.release()  # there is nothing to go on with: the device's memory is given back
    text = f"{epochs} in {rvae.history_[-1].seconds:.0f} s on {rvae.device_}"
    step: dict[str, Any] = {
        "step": "train",
        "crops": plan.to_dict(),
        "model": rvae.config.to_dict(),
    }
    step |= {"epochs": done, "device": rvae.device_, "threads": read_preferences().n_threads}
    step |= {"stopped": True} if rvae.can_resume else {}
    step |= {"lags": list(rvae.lags_)} if rvae.lags_ != (0,) else {}
    if len(measured_channels(rvae.channels_)) > 1:
        step |= {"channels": list(rvae.channels_), "images": list(images)}
    sample = some_crops(crops, rvae.config.seed)
    return Result(model, latents, len(crops), text, sample, step)


def _encode(
    control: Control, rvae: RVAE, crops: Crops, live: Live | None
) -> Generator[Progress, None, pd.DataFrame]:
    """Latents of the crops; a stop that comes meanwhile keeps those that are done."""
    import pandas as pd

    parts: list[pd.DataFrame] = []
    was_stopped = control.stopped
    for start in range(0, len(crops), _CHUNK):
        if parts and control.stopped and not was_stopped:
            break
        yield Progress(start, len(crops), f"encoding {count(len(crops), 'site')}", live)
        rows = np.arange(start, min(start + _CHUNK, len(crops)))
        parts.append(rvae.transform(crops.select(rows)))
    return pd.concat(parts, ignore_index=True)


# ---------------------------------------------------------------------- what becomes of it
def show_result(workspace: Workspace, inputs: Inputs, result: Result, outcome: Outcome) -> None:
    """Join the latents to the sites as they are now, colour them, take the model and check it."""
    workspace.use_model(result.model)
    gone = all(layer is not inputs.layer for layer in workspace.viewer.layers)
    shown = _show_latents(workspace.viewer, inputs, result)
    n_latents = result.model.rvae.n_latents_
    parts = [f"{count(n_latents, 'latent')} of {count(shown, 'site')}, {result.text}"]
    if no_window := len(inputs.sites) - result.n_windows:
        have = "has" if no_window == 1 else "have"
        parts.append(f"{count(no_window, 'border site')} {have} no window")
    if left_out := result.n_windows - len(result.latents):
        were = "was" if left_out == 1 else "were"
        parts.append(f"{count(left_out, 'site')} {were} not encoded (use Apply)")
    if gone:
        parts.append("the sites were removed meanwhile, and are back with their latents")
    parts.extend(outcome.warnings)
    if result.sample is not None:
        start_checks(workspace, result.model.rvae, result.sample)
    workspace.say("train", "; ".join(parts), "warning" if outcome.warnings else "done")


def show_loaded(workspace: Workspace, model: Model, _outcome: Outcome) -> None:
    """Take a loaded model and say what it is."""
    workspace.use_model(model)
    rvae = model.rvae
    workspace.say(
        "train",
        f"Loaded {model.name!r}: {count(rvae.n_latents_, 'latent')}, "
        f"{count(len(rvae.history_), 'epoch')}, "
        f"window of {model.crops.window_nd:.3g} neighbour distances, on {rvae.device_}. "
        "Apply it to the sites of an image.",
        "done",
    )


def _show_latents(viewer: Any, inputs: Inputs, result: Result) -> int:
    """Join latents to the sites of the layer, or of a new one where it is gone; how many fit."""
    from napari_rvae.layers import add_layers, color_points, points_layer, sites_from_layer
    from napari_rvae.layers.steps import note_step
    from napari_rvae.tables import join_latents

    layer, latents = inputs.layer, result.latents
    if any(layer is there for there in viewer.layers):
        try:
            now = sites_from_layer(layer)
            fresh = _of_unmoved(latents, inputs.placed, now)
            joined = join_latents(_without_latents(now), fresh)
            with warnings.catch_warnings():
                # napari says so of a column of colours that goes; others come in a moment
                warnings.filterwarnings("ignore", "property used for")
                layer.features = joined
            color_points(layer, "z0")
            record_of(layer)["model"] = result.model.key
            note_step(layer, **result.step)
        except InputError:  # its features are no sites any more
            pass
        else:
            return int(joined["z0"].notna().sum())
    joined = join_latents(_without_latents(inputs.sites), latents)
    made = points_layer(joined, inputs.frames, color_by="z0", name=layer.name)
    (new,) = add_layers(viewer, made)
    # what detection and runs have noted is true of it, too
    kept = ("image", "config", "quality", "edited", "deleted", "run", "saved", "steps")
    record_of(new).update({key: value for key, value in record_of(layer).items() if key in kept})
    record_of(new)["model"] = result.model.key
    note_step(new, **result.step)
    return int(joined["z0"].notna().sum())


def _without_latents(sites: pd.DataFrame) -> pd.DataFrame:
    """Sites without the latents of an earlier model, which may have had more of them."""
    from napari_rvae.tables import LATENT_COLUMNS, latent_names

    names = latent_names(sites)
    old = {*names, *(f"{name}_sd" for name in names), *LATENT_COLUMNS}
    return sites.drop(columns=[name for name in sites if name in old])


def _of_unmoved(latents: pd.DataFrame, before: pd.DataFrame, now: pd.DataFrame) -> pd.DataFrame:
    """Latents of the sites that are where they were: those of moved ones are of another place."""
    place = ["site_id", "frame", "y", "x"]
    same = now[place].merge(before[place], on=place)["site_id"]
    return latents[latents["site_id"].isin(same)]
