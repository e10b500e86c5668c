"""The window as a scale: what models of several windows have in common, and what is new in each."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd

from napari_rvae import tables
from napari_rvae.analysis.descriptors import neighbour_distances
from napari_rvae.analysis.scores import spatial_blocks
from napari_rvae.config import CropConfig, RVAEConfig
from napari_rvae.crops import extract_crops
from napari_rvae.errors import Cancelled, InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_rvae.crops import Crops
    from napari_rvae.vae import RVAE, EpochRecord

    Array = NDArray[np.float64]
    Ids = NDArray[np.int64]
    Pictures = NDArray[np.float32]

#: Told of (epochs done, epochs in all); returns False to cancel.
Progress: TypeAlias = Callable[[int, int], bool | None]

__all__ = ["WindowComparison", "compare_windows"]

#: Pixels of the crops' grid in a neighbour distance, as in the default window, and the limits.
_PIXELS_ND, _PIXELS = 9.0, (16, 64)

#: Epochs of each training, if they are not chosen: enough to compare, not to publish.
_EPOCHS = 15

#: Fewer common sites are not compared; their windows may be too large for the frame.
_FEWEST = 60

#: Neighbours that predict a latent, and width of the areas that are left out for it.
_NEIGHBOURS, _BLOCK_ND = 15, 6.0

#: A latent is in use when its posterior means hold this share of its variance.
_IN_USE = 0.1


@dataclass(frozen=True, eq=False)
class WindowComparison:
    """Models of several windows, on the same sites.

    Returned by :func:`~napari_rvae.compare_windows`.

    Attributes
    ----------
    summary
        One row for each window, the smallest first: ``window_nd`` (neighbour distances),
        ``window_px``, ``n_crops``, ``in_use`` (number of latents), ``new`` (share of the variance
        of the latents that those of all smaller windows do not predict; 1 for the smallest) and
        ``noise`` (share that is the posterior's own variance, which nothing could predict).
    correlations
        One row for each two windows: ``window_nd``, ``other_nd`` (px where the windows are in
        pixels), ``mean``, mean canonical
        correlation of the latents in use, and ``largest``.
    models
        The model of each window.
    latents
        Latents tables of the common sites, in the same order.
    pictures
        Decoded pictures (n, C, S, S) of each window along the direction that is newest in it.
    """

    summary: pd.DataFrame
    correlations: pd.DataFrame
    models: tuple[RVAE, ...]
    latents: tuple[pd.DataFrame, ...]
    pictures: tuple[Pictures, ...]

    @property
    def sentences(self) -> list[str]:
        """What each window adds, in words."""
        said = []
        for row in self.summary.to_dict("records")[1:]:
            more = max(row["new"] - row["noise"], 0.0)
            verb = "adds little to" if more < 0.15 else f"has {more:.0%} of its own beyond"
            side = f"{row['window_nd']:.1f} neighbour distances"
            if math.isnan(row["window_nd"]):
                side = f"{row['window_px']:g} px"
            said.append(f"A window of {side} {verb} smaller ones.")
        return said


def compare_windows(
    frames: Any,
    sites: pd.DataFrame,
    windows: Sequence[float] = (2.3, 3.5, 5.0, 7.0),
    *,
    config: RVAEConfig | None = None,
    crop_config: CropConfig | None = None,
    in_pixels: bool = False,
    max_crops: int = 4000,
    n_pictures: int = 5,
    device: str = "auto",
    progress: Progress | None = None,
    **overrides: Any,
) -> WindowComparison:
    """Train a model for each of several windows and compare what they see at the same sites.

    Parameters
    ----------
    frames
        Frames or array-like (Y, X), (T, Y, X), (T, C, Y, X).
    sites
        Sites table.
    windows
        Sides of the windows in neighbour distances (or pixels), two or more: from an atom and its
        neighbours (2.3) to rings and what surrounds them.
    config
        Options of the trainings; those by default with 15 epochs, when left out.
    crop_config
        Options of the crops; window and pixels are set for each window.
    in_pixels
        Windows are sides in frame pixels, as for sites along walls or on grids, whose distance
        from each other says nothing; ``window_nd`` is then NaN, and areas that are left out are as
        wide as the largest window.
    max_crops
        Train on so many crops at most, evenly taken.
    n_pictures
        Pictures along the newest direction of each window.
    device
        Where to train.
    progress
        Called as ``progress(done, total)`` after each epoch; False stops.
    **overrides
        Single options of :class:`~napari_rvae.RVAEConfig`, such as ``epochs=30``.

    Returns
    -------
    WindowComparison
        Of the sites that have a crop in every window.

    Raises
    ------
    InputError
        If there are fewer than two windows, or fewer than 60 sites fit the largest.
    Cancelled
        If `progress` returned False.

    Notes
    -----
    Canonical correlations are found on half of the sites and taken on the other. What is new in a
    window is what the 15 nearest neighbours in the latents of all smaller windows do not predict,
    asked at other areas than those that they are taken from. The newest direction is the first
    principal axis of what is left, in units of the posterior's standard deviation.

    Examples
    --------
    >>> from napari_rvae import compare_windows, detect_atoms, simulate_graphene
    >>> movie = simulate_graphene(n_frames=1, size=192).frames
    >>> found = compare_windows(movie, detect_atoms(movie), (2.3, 3.5), epochs=2)
    >>> found.summary["window_nd"].tolist()
    [2.3, 3.5]
    """
    from napari_rvae.vae import RVAE

    sides = sorted({float(side) for side in windows})
    if len(sides) < 2 or not all(math.isfinite(side) and side > 0 for side in sides):
        raise InputError(f"windows = {tuple(windows)}: give two or more, in {_unit(in_pixels)}.")
    options = dataclasses.replace(config or RVAEConfig(epochs=_EPOCHS), **overrides)
    cut = crop_config or CropConfig()
    crops = _common_crops(frames, sites, sides, cut, max_crops, in_pixels=in_pixels)
    models = []
    for number, part in enumerate(crops):
        model = RVAE(options, device=device)
        told = _Epochs(progress, number * options.epochs, len(sides) * options.epochs)
        model.fit(part, callback=told)
        model.release()
        models.append(model)
        if told.at(options.epochs) is False:  # also where the training ended early
            raise Cancelled("The comparison of windows was stopped: there is none.")
    latents = tuple(model.transform(part) for model, part in zip(models, crops, strict=True))
    block = _blocks(
        tables.validate_sites(sites), crops[0].site_id, sides[-1] if in_pixels else None
    )
    values = [_used(table) for table in latents]
    rows, pictures = [], []
    for number, part in enumerate(crops):
        rest, new, noise = _news(values[: number + 1], block)
        in_use = values[number][0].shape[1]
        side = math.nan if in_pixels else sides[number]
        rows.append((side, part.window_px, len(part), in_use, new, noise))
        near = _along_newest(latents[number], values[number], rest, n_pictures)
        pictures.append(models[number].inverse_transform(near))
    names = ["window_nd", "window_px", "n_crops", "in_use", "new", "noise"]
    return WindowComparison(
        pd.DataFrame(rows, columns=names),
        _correlations([value for value, _, _ in values], sides, options.seed),
        tuple(models),
        latents,
        tuple(pictures),
    )


def _news(values: list[tuple[Array, Array, list[int]]], block: Ids) -> tuple[Array, float, float]:
    """What the last window's latents hold that the others' do not predict, and two shares."""
    *smaller, (z, sd, _) = values
    known = np.concatenate([value for value, _, _ in smaller], axis=1) if smaller else z[:, :0]
    rest = z - _predicted(known, z, block)
    spread = max(float(z.var(axis=0).sum()), 1e-12)
    new = min(float((rest**2).mean(axis=0).sum()) / spread, 1.0)
    noise = min(float((sd**2).mean(axis=0).sum()) / spread, 1.0)
    return rest, new, noise


class _Epochs:
    """Tells of the epochs of one training among several."""

    def __init__(self, progress: Progress | None, done: int, total: int) -> None:
        self._progress, self._done, self._total = progress, done, total

    def __call__(self, record: EpochRecord) -> bool | None:
        return self.at(record.epoch)

    def at(self, epoch: int) -> bool | None:
        """Tell of an epoch; False means stop."""
        if self._progress is None:
            return None
        return self._progress(self._done + epoch, self._total)


def _common_crops(
    frames: Any,
    sites: pd.DataFrame,
    sides: list[float],
    config: CropConfig,
    max_crops: int,
    *,
    in_pixels: bool,
) -> list[Crops]:
    """Crops of each window, of the same sites in the same order."""
    table = tables.validate_sites(sites)
    found: list[Crops] = []
    for side in reversed(sides):  # the largest first: what fits it, fits all
        if in_pixels:
            pixels = int(np.clip(round(side), *_PIXELS))
            own = dataclasses.replace(config, window=side, pixels=pixels)
        else:
            pixels = int(np.clip(round(_PIXELS_ND * side), *_PIXELS))
            own = dataclasses.replace(config, window_nd=side, window=None, pixels=pixels)
        # all sites are needed for the neighbour distance, so they are chosen afterwards
        crops = extract_crops(frames, table, own)
        rows = np.arange(len(crops))
        if found:
            rows = np.flatnonzero(np.isin(crops.site_id, found[-1].site_id))
        elif len(crops) > max_crops:
            rows = np.unique(np.linspace(0, len(crops) - 1, max_crops).astype(np.int64))
        if len(rows) < _FEWEST:
            raise InputError(
                f"{len(rows)} sites have a whole window of {side:g} {_unit(in_pixels)} inside "
                f"the frame: {_FEWEST} are the least; leave the largest windows out."
            )
        found.append(crops.select(rows))
    common = found[-1].site_id
    return [
        part.select(pd.Index(part.site_id).get_indexer(pd.Index(common))) for part in found[::-1]
    ]


def _unit(in_pixels: bool) -> str:  # noqa: FBT001 - the unit of a side
    return "px" if in_pixels else "neighbour distances"


def _blocks(table: pd.DataFrame, ids: Ids, side: float | None) -> Ids:
    """Area (N,) that each common site lies in, of a side in px if it is given."""
    if side is not None:
        return spatial_blocks(table.set_index("site_id").loc[ids].reset_index(), side)
    distance = float(np.nanmedian(list(neighbour_distances(table, None).values())))
    return spatial_blocks(table.set_index("site_id").loc[ids].reset_index(), _BLOCK_ND * distance)


def _used(table: pd.DataFrame) -> tuple[Array, Array, list[int]]:
    """Latents in use (N, L) with their standard deviations, and their numbers."""
    names = tables.latent_names(table)
    z = table[names].to_numpy(float)
    sd = np.nan_to_num(table[[f"{name}_sd" for name in names]].to_numpy(float))
    share = z.var(axis=0) / np.maximum(z.var(axis=0) + (sd**2).mean(axis=0), 1e-12)
    used = np.flatnonzero(share >= _IN_USE)
    if not len(used):
        used = np.array([int(share.argmax())])
    return z[:, used], sd[:, used], used.tolist()


def _predicted(known: Array, wanted: Array, block: Ids) -> Array:
    """What the latents of smaller windows (N, K) predict of others (N, L), at other areas."""
    from sklearn.neighbors import KNeighborsRegressor

    if not known.shape[1]:
        return np.tile(wanted.mean(axis=0), (len(wanted), 1))
    scaled = (known - known.mean(axis=0)) / np.maximum(known.std(axis=0), 1e-12)
    part = np.random.default_rng(0).permutation(int(block.max()) + 1)[block] % 2
    guess = np.tile(wanted.mean(axis=0), (len(wanted), 1))
    for half in (0, 1):
        train, test = np.flatnonzero(part != half), np.flatnonzero(part == half)
        if len(train) >= _NEIGHBOURS and len(test):
            near = KNeighborsRegressor(_NEIGHBOURS).fit(scaled[train], wanted[train])
            guess[test] = near.predict(scaled[test])
    return guess


def _along_newest(
    table: pd.DataFrame,
    value: tuple[Array, Array, list[int]],
    rest: Array,
    n_pictures: int,
) -> Array:
    """Latents (n, L) along the direction in which a window differs most from smaller ones."""
    z, sd, used = value
    scale = np.maximum(np.sqrt((sd**2).mean(axis=0)), 1e-6 * np.maximum(z.std(axis=0), 1e-12))
    axis = np.linalg.svd((rest - rest.mean(axis=0)) / scale, full_matrices=False)[2][0] * scale
    middle = np.median(z, axis=0)
    direction = axis / np.linalg.norm(axis)
    low, high = np.quantile((rest - rest.mean(axis=0)) @ direction, [0.03, 0.97])
    every = np.tile(table[tables.latent_names(table)].median().to_numpy(float), (n_pictures, 1))
    every[:, used] = middle + np.linspace(float(low), float(high), n_pictures)[:, None] * direction
    return every


def _correlations(values: list[Array], sides: list[float], seed: int) -> pd.DataFrame:
    """Canonical correlations of every two windows."""
    from napari_rvae.vae.measures import canonical_correlations

    rows = []
    for i, one in enumerate(values):
        for j in range(i + 1, len(values)):
            found = canonical_correlations(one, values[j], np.random.default_rng(seed))
            rows.append((sides[i], sides[j], float(found.mean()), float(found.max())))
    return pd.DataFrame(rows, columns=["window_nd", "other_nd", "mean", "largest"])
