"""Atoms in frames: found without labels, fitted below a pixel, weak ones checked by lattice."""

from __future__ import annotations

import dataclasses
import logging
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import ndimage

from napari_rvae.config import DetectConfig
from napari_rvae.detect.classify import classify_atoms
from napari_rvae.detect.contrast import choose_sign
from napari_rvae.detect.fit import AtomFit
from napari_rvae.detect.images import FrameImages, without_rows_beside
from napari_rvae.detect.sampling import Sample, plain_image
from napari_rvae.detect.scale import measure_scale
from napari_rvae.detect.search import AtomScale, FrameSearch
from napari_rvae.device import choose_device, side_by_side, small_steps
from napari_rvae.errors import Cancelled, InputError, NoLatticeWarning
from napari_rvae.frames import Frames, as_frames, as_region
from napari_rvae.preprocess.rows import destripe
from napari_rvae.tables import ATOM_COLUMNS, concat_sites, make_sites

__all__ = [
    "detect_atoms",
    "estimate_detection_time",
    "iter_detect_atoms",
    "measured_config",
]

_LOG = logging.getLogger(__name__)

#: Atoms are looked for anew so many times at most, as the offsets of rows become known better.
_REPEATS = 2

#: Memory that the search of a frame takes for each pixel of it, at most: 117 bytes were measured in
#: a frame of 4096 px with atoms 12 px apart.
_PIXEL_BYTES = 140


def detect_atoms(
    frames: Any,
    config: DetectConfig | None = None,
    *,
    region: Any = None,
    progress: Callable[[int, int], bool | None] | None = None,
    source: str = "",
    channel: int | str = 0,
    **overrides: Any,
) -> pd.DataFrame:
    """Find the atoms in every frame, without labels and without settings.

    Whether atoms are bright, and how wide, is measured on the movie; candidates are the maxima of
    a Wiener filter for blobs of that width; all are fitted together, neighbours subtracted; a
    weak one stays if the lattice around it expects it, and a small network can refute any. Where
    there is no lattice, an atom must stand 1.2 times ``min_snr`` above the noise. Frames lose the
    offsets of their rows first, if any are measured (:func:`~napari_rvae.preprocess.destripe`).

    Frames whose flag "keep" in the frames table is False have no atoms, nor have those below
    ``min_quality`` (:func:`~napari_rvae.analyse_frames`). With ``average_frames``, each frame is
    replaced by the mean of so many about it, drift removed by whole pixels
    (:func:`~napari_rvae.measure_drift`); then the atoms are those of that mean, and their positions
    those in the frame. ``table.attrs["average_frames"]`` says so.

    Parameters
    ----------
    frames
        Frames or array-like (Y, X), (T, Y, X), (T, C, Y, X).
    config
        Options; the defaults when left out.
    region
        Bool (Y, X) or (T, Y, X), True where atoms may lie.
    progress
        Called with (steps done, steps in all); returning False cancels. A step is a frame; with
        ``min_quality`` and ``average_frames`` each frame is looked at once more before.
    source
        Name of the movie in the table; the frames' own name when empty.
    channel
        Number or name of the channel to look at.
    **overrides
        Single options, such as ``min_snr=4``.

    Returns
    -------
    DataFrame
        Sites table of kind "atom" with ``amplitude`` and ``background`` (units of the frames),
        ``sigma`` (one for the movie; in a frame with an elliptical probe its mean), ``y_sd``,
        ``x_sd`` (pixels), ``snr`` (amplitude over its standard deviation), and ``lattice_support``
        (0 to 1, NaN where there is no lattice). With ``classify=True`` also sublattices, species
        and vacancies: see :func:`classify_atoms`.

    Raises
    ------
    InputError
        If the frames or options are not usable.
    Cancelled
        If `progress` returned False.

    Warns
    -----
    NoLatticeWarning
        If nothing like a lattice was seen; what was found is returned all the same. And if no
        frame was left to search.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae import detect_atoms
    >>> from napari_rvae.render import render_gaussians
    >>> y, x = (g.ravel() for g in np.mgrid[10:90:12, 10:90:12])
    >>> frame = render_gaussians(y, x, 50.0, 2.5, (96, 96))
    >>> frame += np.random.default_rng(0).normal(0, 1, frame.shape)
    >>> len(detect_atoms(frame)) == len(y)
    True
    """
    movie = as_frames(frames)
    config = dataclasses.replace(config or DetectConfig(), **overrides)
    tables, before = [], movie.n_frames * _looks_before(config)
    done, total = 0, before + movie.n_frames

    def looked_at(_done: int, _total: int) -> bool | None:
        nonlocal done
        done += 1
        return None if progress is None else progress(done, total)

    steps = iter_detect_atoms(
        movie, config, region=region, source=source, channel=channel, progress=looked_at
    )
    for number, table in enumerate(steps, start=1):
        tables.append(table)
        if progress is not None and progress(before + number, total) is False:
            raise Cancelled(f"Detection was stopped after {number} of {movie.n_frames} frames.")
    sites = concat_sites(*tables)
    if config.classify:
        sites = concat_sites(classify_atoms(sites, movie, channel=channel, region=region))
    sites.attrs = tables[0].attrs
    return sites


def iter_detect_atoms(
    frames: Any,
    config: DetectConfig | None = None,
    *,
    region: Any = None,
    numbers: Sequence[int] | None = None,
    source: str = "",
    channel: int | str = 0,
    progress: Callable[[int, int], bool | None] | None = None,
    **overrides: Any,
) -> Iterator[pd.DataFrame]:
    """Find the atoms frame by frame.

    Takes the same options as :func:`detect_atoms`, but classifies nothing: that takes the whole
    movie (:func:`classify_atoms`). With ``numbers`` only these frames are searched, in this order;
    what is measured, and averaged, is that of the whole movie. Several frames are searched at a
    time, as many as the calling thread may use CPU threads (``torch.get_num_threads()``) and as
    fit in 2 GiB together; the answer does not depend on their number. ``progress`` hears of the
    looks at the whole movie that ``min_quality`` and ``average_frames`` take before the first
    frame: it is called with (frames done, frames in all), and may return False to cancel.

    Yields
    ------
    DataFrame
        Sites table of one frame after the other, each numbered from 0 and empty for frames that
        are left out; put them together with :func:`concat_sites`.

    Raises
    ------
    InputError
        If the frames or options are not usable, or a number is that of no frame.
    Cancelled
        If `progress` returned False.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae import iter_detect_atoms, simulate_graphene
    >>> movie = simulate_graphene(n_frames=2, size=128).frames
    >>> [int(table["frame"].iloc[0]) for table in iter_detect_atoms(movie)]
    [0, 1]
    """
    movie = as_frames(frames)
    config = dataclasses.replace(config or DetectConfig(), **overrides)
    mask, number = as_region(region, movie), movie.channel_index(channel)
    wanted, device = _wanted(numbers, movie), choose_device(config.device)
    images = FrameImages(movie, config, number, progress=progress)
    searched = set(images.numbers) & set(wanted)
    if not searched:
        _warn_nothing_left(movie)
    sign, scale = _measured(images, config, number)
    _LOG.info("sigma %.2f px, neighbours %.2f px", scale.sigma, scale.spacing)
    any_lattice = False
    search = _Search(images, number, scale, device, sign)
    looks = (search.look(index) if index in searched else None for index in wanted)
    tables = side_by_side(
        search.table,
        looks,
        most=len(wanted),
        item_bytes=_PIXEL_BYTES * math.prod(movie.frame_shape),
    )
    for done, (index, found) in enumerate(zip(wanted, tables, strict=True), start=1):
        table = found.atoms
        here = mask if mask is None or mask.ndim == 2 else mask[index]
        table = table[_inside(table, here, found.missing)]
        any_lattice |= bool(table["lattice_support"].notna().any())
        if done == len(wanted) and searched and not any_lattice:
            _warn_no_lattice(movie, scale)
        sites = _as_sites(table, index, source or movie.name, sign)
        if config.average_frames > 1:
            sites.attrs["average_frames"] = config.average_frames
        yield sites


def estimate_detection_time(
    frames: Any, config: DetectConfig | None = None, *, channel: int | str = 0, **overrides: Any
) -> float:
    """Estimate how long :func:`detect_atoms` will take, by a look at the middle frame.

    Parameters
    ----------
    frames
        Frames or array-like (Y, X), (T, Y, X), (T, C, Y, X).
    config
        Options; the defaults when left out.
    channel
        Number or name of the channel to look at.
    **overrides
        Single options, such as ``destripe=False``.

    Returns
    -------
    float
        Seconds for all frames, on this machine as busy as it is; what does not grow with their
        number (the width of an atom's image) is measured, and so is one frame.

    Examples
    --------
    >>> from napari_rvae import estimate_detection_time, simulate_graphene
    >>> movie = simulate_graphene(n_frames=2, size=128).frames
    >>> estimate_detection_time(movie) > 0
    True
    """
    movie = as_frames(frames)
    config = dataclasses.replace(config or DetectConfig(), **overrides)
    number, device = movie.channel_index(channel), choose_device(config.device)
    start = perf_counter()
    images = FrameImages(movie, config, number)
    sign, scale = _measured(images, config, number)
    ready = perf_counter()
    if not images.n_frames:
        return ready - start
    search = _Search(images, number, scale, device, sign)
    search.table(search.look(int(images.numbers[images.n_frames // 2])))
    return ready - start + images.n_frames * (perf_counter() - ready)


def measured_config(
    frames: Any,
    config: DetectConfig | None = None,
    *,
    channel: int | str = 0,
    progress: Callable[[int, int], bool | None] | None = None,
    **overrides: Any,
) -> DetectConfig:
    """Options with the movie's own contrast, width of an atom's image and neighbour distance.

    These are what :func:`detect_atoms` measures first. With them, some of the frames are looked at
    as the whole movie would be, without measuring again.

    Parameters
    ----------
    frames
        Frames or array-like (Y, X), (T, Y, X), (T, C, Y, X).
    config
        Options; the defaults when left out. What they give is not measured.
    channel
        Number or name of the channel to look at.
    progress
        Called with (frames done, frames in all) where ``min_quality`` or ``average_frames`` take a
        look at the whole movie; returning False cancels.
    **overrides
        Single options.

    Returns
    -------
    DetectConfig
        The same with ``contrast``, ``sigma`` and ``neighbour_distance``, the last two in pixels, as
        far as they could be measured.

    Raises
    ------
    InputError
        If the frames or options are not usable.
    Cancelled
        If `progress` returned False.

    Examples
    --------
    >>> from napari_rvae import measured_config, simulate_graphene
    >>> movie = simulate_graphene(n_frames=2, size=192).frames
    >>> found = measured_config(movie)
    >>> found.contrast, round(found.neighbour_distance)
    ('bright', 14)
    """
    movie = as_frames(frames)
    config = dataclasses.replace(config or DetectConfig(), **overrides)
    number = movie.channel_index(channel)
    images = FrameImages(movie, config, number, progress=progress)
    sign, scale = _measured(images, config, number)
    lowest = {item.name: item.metadata["low"] for item in dataclasses.fields(config)}

    def known(name: str, value: float) -> float | None:
        return value if value >= lowest[name] else None  # nor NaN

    return dataclasses.replace(
        config,
        contrast="dark" if sign < 0 else "bright",
        sigma=known("sigma", scale.sigma),
        neighbour_distance=known("neighbour_distance", scale.spacing),
    )


def _looks_before(config: DetectConfig) -> int:
    """How often the whole movie is looked at before the search."""
    return int(config.min_quality > 0) + int(config.average_frames > 1)


def _wanted(numbers: Sequence[int] | None, movie: Frames) -> list[int]:
    """Frames to search."""
    if numbers is None:
        return list(range(movie.n_frames))
    for number in numbers:
        if not 0 <= number < movie.n_frames:
            raise InputError(
                f"There is no frame {number}: the movie has {movie.n_frames}, counted from 0."
            )
    return [int(number) for number in numbers]


def _measured(images: FrameImages, config: DetectConfig, channel: int) -> tuple[float, AtomScale]:
    """Factor that makes the atoms bright, and the scale of the movie."""
    with small_steps():
        sample = Sample(images, channel)
        sign = choose_sign(sample, config)
        return sign, measure_scale(sample, config, sign)


def _warn_nothing_left(movie: Frames) -> None:
    warnings.warn(
        f"{movie.name or 'The frames'}: no frame was searched; set keep in the frames table, or "
        "lower min_quality.",
        NoLatticeWarning,
        stacklevel=3,
    )


def _warn_no_lattice(movie: Frames, scale: AtomScale) -> None:
    what = "no lattice was seen" if scale.known else "nothing like atoms was seen"
    warnings.warn(
        f"{movie.name or 'The frames'}: {what}; look at the points, and set neighbour_distance "
        "or sigma if atoms are there.",
        NoLatticeWarning,
        stacklevel=3,
    )


def _as_sites(table: pd.DataFrame, frame: int, source: str, sign: float) -> pd.DataFrame:
    sites = make_sites(frame=frame, y=table["y"].to_numpy(), x=table["x"].to_numpy(), source=source)
    order = np.lexsort((table["x"], table["y"]))  # as make_sites sorts
    for name in ATOM_COLUMNS:
        sites[name] = table[name].to_numpy()[order]
    sites["background"] *= sign
    return sites


class _Look(NamedTuple):
    """A frame that is searched, read; pictures (Y, X)."""

    image: NDArray[np.float64]
    plain: NDArray[np.float64] | None  # without the offsets of its rows, if that is known already
    mean: NDArray[np.float64] | None = None  # what is searched in its place
    offset: NDArray[np.float64] | None = None  # by how much (2,) atoms are elsewhere in that


class _Found(NamedTuple):
    """Atoms of a frame, and where its pixels are missing (Y, X)."""

    atoms: pd.DataFrame
    missing: NDArray[np.bool_]


class _Search:
    """The search in single frames: they are read one after the other, and searched side by side.

    Parameters
    ----------
    images
        The frames.
    channel
        Number of the channel to look at.
    scale, sign
        What was measured on the movie.
    device
        Where to compute.
    """

    def __init__(
        self,
        images: FrameImages,
        channel: int,
        scale: AtomScale,
        device: torch.device,
        sign: float,
    ) -> None:
        self.images, self.channel, self.scale = images, channel, scale
        self.device, self.sign = device, sign

    def look(self, frame: int) -> _Look:
        """Read a frame; what is averaged over several frames is made here, in their order."""
        image = self.images.movie.frame(frame, self.channel)
        index = int(np.searchsorted(self.images.numbers, frame))
        if self.images.config.average_frames == 1:
            return _Look(image, self.images.recent(index, self.channel))
        mean = self.images.frame(index, self.channel)
        return _Look(image, None, mean, self.images.offset(index))

    def table(self, look: _Look | None) -> _Found:
        """Atoms of a frame; none where it is not searched."""
        if look is None:
            return _Found(_empty(), np.zeros(self.images.movie.frame_shape, bool))
        with small_steps():
            found = self._atoms(look)
        missing = ~np.isfinite(look.image)
        if missing.any():  # a single missing pixel hides no atom
            missing = ndimage.uniform_filter(missing.astype(float), 3) > 0.5
        return _Found(found, missing)

    def _atoms(self, look: _Look) -> pd.DataFrame:
        """Atoms of a frame, or of what is searched in its place, where they are in the frame."""
        if look.mean is None:
            return self._detect_frame(look)
        found = _search(self.sign * look.mean, self.scale, self.images.config, self.device)
        found[["y", "x"]] -= look.offset
        return found

    def _detect_frame(self, look: _Look) -> pd.DataFrame:
        """Atoms of one frame; where they tell more of the offsets of rows, looked for anew."""
        config, plain = self.images.config, look.plain
        if plain is None:
            plain = destripe(look.image) if config.destripe else look.image
        found = self._without_rows(look.image, plain)
        for _ in range(_REPEATS if config.destripe else 0):
            better = without_rows_beside(look.image, plain, found)
            if better is None:
                break
            plain, found = better, self._without_rows(look.image, better)
        return found

    def _without_rows(self, image: NDArray[np.float64], plain: NDArray[np.float64]) -> pd.DataFrame:
        """Atoms of a frame from which the offsets of rows were taken, if that was done."""
        taken = None if plain is image else self.sign * _row_means(image - plain)
        config = self.images.config
        return _search(self.sign * plain, self.scale, config, self.device, taken)


def _row_means(picture: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean (Y,) of each row, NaN pixels left out; 0 where nothing is known."""
    known = np.isfinite(picture)
    return np.asarray(np.where(known, picture, 0.0).sum(1) / np.maximum(known.sum(1), 1))


def _search(
    image: NDArray[np.float64],
    scale: AtomScale,
    config: DetectConfig,
    device: torch.device,
    taken: NDArray[np.float64] | None = None,
) -> pd.DataFrame:
    """Atoms in one image, bright on dark, from whose rows offsets (Y,) were taken already."""
    plain = plain_image(image)
    if not scale.known or plain is None:
        return _empty()
    taken = taken if taken is None else taken / plain.unit
    search = FrameSearch(plain.values, scale, device, taken)
    fit = search.find()
    keep, support = search.judge(fit, config)
    table = _table(fit.select(keep), support[keep])
    table["amplitude"] *= plain.unit
    table["background"] = plain.unit * table["background"] + plain.level
    return table


def _inside(
    atoms: pd.DataFrame, region: NDArray[np.bool_] | None, missing: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Which positions lie in the frame, in the region, and not on missing pixels."""
    rows, columns = missing.shape
    y, x = atoms["y"].to_numpy(float), atoms["x"].to_numpy(float)
    keep = (y >= -0.5) & (x >= -0.5) & (y <= rows - 0.5) & (x <= columns - 0.5)
    row = np.clip(np.rint(y).astype(int), 0, rows - 1)
    column = np.clip(np.rint(x).astype(int), 0, columns - 1)
    keep &= ~missing[row, column]
    return np.asarray(keep if region is None else keep & region[row, column])


def _table(fit: AtomFit, support: NDArray[np.float64]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "y": fit.y,
            "x": fit.x,
            "amplitude": fit.amplitude,
            "sigma": fit.sigma,
            "background": fit.background,
            "snr": fit.snr,
            "y_sd": fit.y_sd,
            "x_sd": fit.x_sd,
            "lattice_support": support,
        }
    )


def _empty() -> pd.DataFrame:
    return pd.DataFrame({name: np.zeros(0) for name in ("y", "x", *ATOM_COLUMNS)})
