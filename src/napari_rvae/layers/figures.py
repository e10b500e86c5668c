"""Coloured sites over their frames -> figures at print size, and movies."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_rvae.errors import Cancelled, InputError
from napari_rvae.io import FIGURES, write_figure, write_output
from napari_rvae.layers.colours import legend
from napari_rvae.layers.place import record_of
from napari_rvae.layers.plotted import colour_bar, plotted_colours
from napari_rvae.layers.read import frames_from_layer, sites_from_layer

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL.Image import Image

    from napari_rvae.frames import Frames

__all__ = [
    "frame_figure",
    "name_colours",
    "save_frame_figure",
    "save_movie",
    "writable",
]

_MOVIES = (".gif", ".tif", ".tiff", ".png")

_MM = 25.4

#: Height below the frame for a colour bar, in mm.
_BAR_MM = 14.0

#: Size of the letters of a legend, height of its lines and width of a letter, in points.
_LETTERS, _LINE, _LETTER = 6.0, 9.0, 3.4

#: A legend has at most so many names.
_MOST_NAMES = 12

#: Length of a scale bar, as a share of the frame at most.
_LONGEST_BAR = 0.3


def frame_figure(layer: Any, image: Any, *, frame: int = 0, width_mm: float = 85.0) -> Figure:
    """Draw one frame with its coloured sites, as the viewer shows them.

    Parameters
    ----------
    layer
        Points layer of sites: colours, hidden points, contrast limits and legend are its own.
    image
        Image layer that they lie on, with its black and white.
    frame
        Number of the frame.
    width_mm
        Width of the figure in mm; 85 is one column of most journals, 170 is two.

    Returns
    -------
    Figure
        Of Matplotlib, with a scale bar where the size of a pixel is known, and a colour bar or a
        legend with the counts of the frame below.

    Raises
    ------
    InputError
        If there are no sites or no such frame, or the width is no length.

    Examples
    --------
    >>> import numpy as np
    >>> from napari.components import ViewerModel
    >>> from napari_rvae import add_layers, frame_figure, image_layer, points_layer
    >>> from napari_rvae.tables import make_sites
    >>> frames = np.random.default_rng(0).random((16, 16))
    >>> sites = make_sites(frame=0, y=[4.0, 9.0], x=[5.0, 9.0], z0=[0.0, 1.0])
    >>> made = image_layer(frames), points_layer(sites, frames, color_by="z0")
    >>> image, points = add_layers(ViewerModel(), *made)
    >>> round(25.4 * frame_figure(points, image).get_figwidth())
    85
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    frames, rows = frames_from_layer(image), _rows(layer, image, frame)
    if not 0 <= frame < frames.n_frames:
        raise InputError(f"There is no frame {frame}: there are {frames.n_frames}.")
    if not (math.isfinite(width_mm) and 10 <= width_mm <= 1000):
        raise InputError(f"width_mm = {width_mm}: give 10 to 1000.")
    height, width = frames.frame_shape
    inches = width_mm / _MM
    high = inches * height / width * frames.pixel_aspect
    names = _names(layer, rows)
    below = _room(layer, names, inches)
    figure = Figure(figsize=(inches, high + below), facecolor="white")
    FigureCanvasAgg(figure)
    top = high / (high + below)
    axes = figure.add_axes((0.0, 1 - top, 1.0, top))
    low, high = image.contrast_limits
    axes.imshow(frames.frame(frame), cmap="gray", vmin=low, vmax=high, aspect=frames.pixel_aspect)
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5), xticks=[], yticks=[])
    axes.axis("off")
    _dots(axes, layer, image, rows, inches)
    _scale_bar(axes, frames)
    if names:
        _name(figure, names, 1 - top)
    elif record_of(layer).get("column") is not None:
        _add_bar(figure, layer, 1 - top)
    return figure


def _rows(layer: Any, image: Any, frame: int) -> Any:
    """Numbers of the points of a frame that are shown."""
    sites = sites_from_layer(layer, image)
    if not len(sites):
        raise InputError(f"Layer {layer.name!r} holds no sites: there is nothing to draw.")
    return np.flatnonzero((sites["frame"] == frame).to_numpy() & np.asarray(layer.shown))


def _dots(axes: Axes, layer: Any, image: Any, rows: Any, inches: float) -> None:
    """Draw the sites in their colours and sizes."""
    sites = sites_from_layer(layer, image).iloc[rows]
    per_pixel = 72 * inches / frames_from_layer(image).frame_shape[1]
    shrink = float(layer.scale[-1]) / float(image.scale[-1])
    across = np.asarray(layer.size, float)[rows] * per_pixel * shrink
    colours = plotted_colours(layer)[rows] / 255
    axes.scatter(sites["x"], sites["y"], s=across**2, c=colours, linewidths=0)


def _scale_bar(axes: Axes, frames: Frames) -> None:
    """Draw a bar of a round length, where the size of a pixel is known."""
    unit = frames.units[-1]
    if unit == "pixel":
        return
    height, width = frames.frame_shape
    longest = _LONGEST_BAR * width * frames.pixel_size[1]
    power = 10.0 ** math.floor(math.log10(longest))
    length = max(step * power for step in (1, 2, 5) if step * power <= longest)
    left, right = 0.04 * width, 0.04 * width + length / frames.pixel_size[1]
    axes.plot([left, right], [0.96 * height] * 2, color="black", linewidth=4.5)
    axes.plot([left, right], [0.96 * height] * 2, color="white", linewidth=2.5)
    text = axes.text((left + right) / 2, 0.945 * height, f"{length:g} {unit}", color="white")
    text.set(fontsize=7, ha="center", va="bottom")
    from matplotlib.patheffects import withStroke

    text.set_path_effects([withStroke(linewidth=1.5, foreground="black")])


def _names(layer: Any, rows: Any) -> list[tuple[str, str]]:
    """Categories of a frame that are shown, as (name with its count, colour)."""
    record = record_of(layer)
    if record.get("colours") != "categorical":
        return []
    values = layer.features[record["column"]].iloc[rows]
    hidden = record.get("hidden", ())
    known = [e for e in legend(layer) if e.value is not None and e.value not in hidden]
    return [
        (f"{entry.name} ({int((values == entry.value).sum()):,})", entry.colour)
        for entry in known[:_MOST_NAMES]
    ]


def _room(layer: Any, names: list[tuple[str, str]], inches: float) -> float:
    """Height below the frame, in inches, for what the colours mean."""
    if names:
        lines = math.ceil(len(names) / _columns(names, inches))
        return (lines + 1) * _LINE / 72
    return 0.0 if record_of(layer).get("column") is None else _BAR_MM / _MM


def _columns(names: list[tuple[str, str]], inches: float) -> int:
    """How many names fit beside one another."""
    widest = max(len(name) for name, _ in names) + 4
    return min(len(names), max(1, int(72 * inches / (widest * _LETTER))))


def _add_bar(figure: Figure, layer: Any, below: float) -> None:
    """Draw the colour bar of numbers below the frame."""
    record = record_of(layer)
    bar = colour_bar(layer, record["column"])
    if bar is None:
        return
    table, (low, high) = bar
    axes = figure.add_axes((0.2, 0.62 * below, 0.6, 0.22 * below))
    axes.imshow(table[None], aspect="auto", extent=(low, high, 0, 1))
    axes.set(yticks=[])
    axes.tick_params(labelsize=6, length=2, width=0.5, pad=1)
    axes.set_xlabel(str(record.get("feature", record["column"])), fontsize=7, labelpad=1)


def _name(figure: Figure, names: list[tuple[str, str]], below: float) -> None:
    """Name the colours below the frame."""
    name_colours(
        figure,
        names,
        size=4,
        loc="center",
        bbox_to_anchor=(0.0, 0.0, 1.0, below),
        ncols=_columns(names, float(figure.get_figwidth())),
        fontsize=_LETTERS,
        labelspacing=0.2,
    )


def name_colours(
    figure: Figure, names: Sequence[tuple[str, str]], *, size: float, **options: Any
) -> None:
    """Name colours by discs of a size in points: pairs of a name and its colour.

    The options are those of Matplotlib's legends.
    """
    from matplotlib.lines import Line2D

    discs = [
        Line2D([], [], linestyle="", marker="o", markersize=size, color=colour)
        for _, colour in names
    ]
    figure.legend(
        discs,
        [name for name, _ in names],
        frameon=False,
        handletextpad=0.1,
        columnspacing=0.8,
        **options,
    )


# ---------------------------------------------------------------------- files
def save_frame_figure(
    layer: Any,
    image: Any,
    path: str | os.PathLike[str],
    *,
    frame: int = 0,
    width_mm: float = 85.0,
    dpi: float = 300.0,
    overwrite: bool = False,
) -> Path:
    """Write what :func:`frame_figure` draws to a file, at print size.

    Parameters
    ----------
    layer, image, frame, width_mm
        See :func:`frame_figure`.
    path
        The file: .png, .svg or .pdf.
    dpi
        Pixels per inch of a picture.
    overwrite
        Whether a file that is there may be replaced.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        See :func:`frame_figure`; or if the suffix is another one, or the file is there
        already or cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from napari.components import ViewerModel
    >>> from napari_rvae import add_layers, image_layer, points_layer, save_frame_figure
    >>> from napari_rvae.tables import make_sites
    >>> frames = np.random.default_rng(0).random((16, 16))
    >>> made = image_layer(frames), points_layer(make_sites(frame=0, y=[4.0], x=[5.0]), frames)
    >>> image, points = add_layers(ViewerModel(), *made)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_frame_figure(points, image, Path(folder) / "frame.svg").name
    'frame.svg'
    """
    target = writable(path, FIGURES, overwrite=overwrite)
    figure = frame_figure(layer, image, frame=frame, width_mm=width_mm)
    return write_figure(target, figure, dpi=dpi)


def save_movie(
    layer: Any,
    image: Any,
    path: str | os.PathLike[str],
    *,
    frames: Iterable[int] | None = None,
    seconds: float = 0.2,
    pixels: int = 800,
    progress: Callable[[int, int], bool] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write the frames with their coloured sites as a movie.

    Parameters
    ----------
    layer, image
        See :func:`frame_figure`.
    path
        The file: .gif; .tif (a page a frame); or .png, which stands for a series: ``name.png``
        becomes ``name-0000.png``, ``name-0001.png``, ...
    frames
        Numbers of the frames; all when left out.
    seconds
        How long each frame is shown.
    pixels
        Width of the movie.
    progress
        Called with how many frames are done, and in all; False ends it.
    overwrite
        Whether files that are there may be replaced.

    Returns
    -------
    Path
        The file; of a series, the first one.

    Raises
    ------
    InputError
        See :func:`frame_figure`; or if the suffix is another one, or a file is there
        already or cannot be written.
    Cancelled
        If `progress` said so; nothing is written.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from napari.components import ViewerModel
    >>> from napari_rvae import add_layers, image_layer, points_layer, save_movie
    >>> from napari_rvae.tables import make_sites
    >>> movie = np.random.default_rng(0).random((3, 16, 16))
    >>> sites = make_sites(frame=[0, 1, 2], y=[4.0] * 3, x=[5.0] * 3)
    >>> image, points = add_layers(ViewerModel(), image_layer(movie), points_layer(sites, movie))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_movie(points, image, Path(folder) / "movie.gif", pixels=100).name
    'movie.gif'
    """
    target = writable(path, _MOVIES, overwrite=overwrite)
    chosen = list(range(frames_from_layer(image).n_frames) if frames is None else frames)
    if not chosen:
        raise InputError("There is no frame to write: give some.")
    names = [target.with_name(f"{target.stem}-{number:04d}.png") for number in chosen]
    if target.suffix.lower() == ".png":
        for name in names:
            writable(name, _MOVIES, overwrite=overwrite)
    pictures = []
    for done, number in enumerate(chosen):
        if progress is not None and not progress(done, len(chosen)):
            raise Cancelled("The movie was stopped: nothing was written.")
        pictures.append(_picture(layer, image, number, pixels))
    if target.suffix.lower() != ".png":
        return write_output(target, _encoded(pictures, target.suffix.lower(), seconds))
    for name, picture in zip(names, pictures, strict=True):
        write_output(name, _encoded([picture], ".png", seconds))
    return names[0]


def _picture(layer: Any, image: Any, frame: int, pixels: int) -> Image:
    """One frame as a picture in colours."""
    from PIL import Image

    width = 120.0
    figure = frame_figure(layer, image, frame=frame, width_mm=width)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=pixels / (width / _MM))
    content.seek(0)
    with Image.open(content) as drawn:
        return drawn.convert("RGB")


def _encoded(pictures: list[Image], suffix: str, seconds: float) -> bytes:
    """Bytes of a file of some pictures."""
    content = io.BytesIO()
    more = {} if suffix == ".png" else {"save_all": True, "append_images": pictures[1:]}
    if suffix == ".gif":
        more |= {"duration": max(20, round(1000 * seconds)), "loop": 0}
    kind = {".gif": "GIF", ".png": "PNG"}.get(suffix, "TIFF")
    pictures[0].save(content, format=kind, **more)
    return content.getvalue()


def writable(path: str | os.PathLike[str], suffixes: tuple[str, ...], *, overwrite: bool) -> Path:
    """Path of a file that may be written."""
    target = Path(path)
    if target.suffix.lower() not in suffixes:
        raise InputError(f"{target.name}: choose one of {', '.join(suffixes)}.")
    if not target.parent.is_dir():  # said now, and not when all frames are drawn
        raise InputError(f"{target}: there is no such folder; choose one that is there.")
    if os.path.lexists(target) and not overwrite:
        raise InputError(f"{target} is already there: give another name, or overwrite=True.")
    return target
