"""Pictures of structural units: decoded, and the mean of their crops, all turned alike."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from napari_rvae import tables
from napari_rvae.analysis.appearance import HOST_RATIO
from napari_rvae.analysis.explain import neighbour_direction
from napari_rvae.analysis.motif import Motif, central_height, locate_atoms
from napari_rvae.analysis.poses import align_crops, find_turns
from napari_rvae.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_rvae.analysis.explain import Model
    from napari_rvae.crops import Crops

    Array = NDArray[np.float64]
    Ids = NDArray[np.int64]
    Picture = NDArray[np.float32]

__all__ = ["NO_MEAN", "MeanCrop", "UnitPictures"]

#: Crops that a mean picture is made of: more make it no clearer, only slower.
_MOST_CROPS = 300
#: Logarithms of the heights of hosts of two brightnesses are further apart than that.
_APART = math.log(HOST_RATIO)


class MeanCrop(NamedTuple):
    """A mean crop (S, S), None where there is none, and how many crops it is made of."""

    picture: Picture | None
    n_crops: int


#: Of a unit without crops.
NO_MEAN = MeanCrop(None, 0)


class UnitPictures(NamedTuple):
    """Pictures of each unit by its number, and what they are measured in."""

    decoded: dict[int, Picture]
    means: dict[int, MeanCrop]
    spacing: float
    is_dark: bool
    has_angle: bool
    turns: dict[int, float]

    @classmethod
    def make(
        cls, sites: pd.DataFrame, summary: pd.DataFrame, model: Model | None, crops: Crops | None
    ) -> UnitPictures:
        """Decode and average; the first unit of the summary says what is up and what is bright."""
        units = [int(unit) for unit in summary["unit"]]
        spacing = _spacing(model, crops)
        # a baseline says 0 for the angle that it does not know, without an error
        has_angle = {"angle", "angle_sd"} <= set(sites) and bool(sites["angle_sd"].notna().any())
        z = {} if model is None else _median_latents(sites, units)
        plain = {} if model is None else _decoded(model, z, dict.fromkeys(z, 0.0))
        # one turn for all where the model has one gauge for all, else one for each
        turns = dict.fromkeys(units, 0.0)
        if has_angle and plain:
            turns = dict.fromkeys(units, _to_the_right(next(iter(plain.values())), spacing))
        elif plain:
            turns |= {unit: _to_the_right(picture, spacing) for unit, picture in plain.items()}
        decoded = {} if model is None else _decoded(model, z, turns)
        means = {} if crops is None else _means(sites, units, crops, turns if has_angle else None)
        if not plain and crops is not None:
            means = _upright(means, spacing)
        seen = [*decoded.values(), *(m.picture for m in means.values() if m.picture is not None)]
        return cls(
            decoded, means, spacing, bool(seen) and _is_dark(seen[0], spacing), has_angle, turns
        )

    def of(self, unit: int) -> Picture | None:
        """Picture of a unit: the decoded one, or the mean crop, or None.

        The pictures of a model that knows no angle mix all directions; its mean crops do not.
        """
        decoded, mean = self.decoded.get(unit), self.means.get(unit, NO_MEAN).picture
        best, other = (decoded, mean) if self.has_angle else (mean, decoded)
        return other if best is None else best

    def motif(
        self, unit: int, hosts: list[float], elements: Mapping[str, str] | None = None
    ) -> Motif | None:
        """Atoms and bonds of a unit's picture, None where there is no picture or no scale."""
        picture = self.of(unit)
        if picture is None or not self.spacing > 0:
            return None
        return locate_atoms(
            picture, self.spacing, hosts=hosts, is_dark=self.is_dark, elements=elements
        )

    def examples(self, here: pd.DataFrame, site_id: Ids, crops: Crops | None) -> Picture:
        """Crops (n, S, S) of some sites of a unit, turned like its picture where that is known.

        NaN where a site has no crop, and beyond the disc.
        """
        if crops is None:
            return np.empty((0, 0, 0), np.float32)
        made = np.full((len(site_id), crops.pixels, crops.pixels), np.nan, np.float32)
        rows = pd.Index(crops.site_id).get_indexer(pd.Index(site_id))
        chosen = here.set_index("site_id").loc[site_id[rows >= 0]]
        if not len(chosen):
            return made
        images = _shown(crops.read(rows[rows >= 0]), crops)
        if self.has_angle:
            turn = self.turns.get(int(chosen["unit"].iloc[0]), 0.0)
            angle = chosen["angle"].to_numpy(float) - turn
            known = np.isfinite(angle)
            images[~known] = np.nan
            images[known] = align_crops(images[known], angle[known], vectors=crops.vectors)
        made[rows >= 0] = [_in_disc(image[0]) for image in images]
        return made

    def hosts(self, summary: pd.DataFrame) -> list[float]:
        """Heights of the hosts' atoms in the pictures, the first unit's first.

        Hosts of one brightness, as their names go by it too, count once.
        """
        first = next(iter(summary["unit"]), -1)
        is_host = summary["is_host"] if "is_host" in summary else summary["unit"] == first
        named = is_host | summary["name"].astype(str).str.endswith("host")
        levels: list[list[float]] = []
        for unit in summary.loc[named, "unit"]:
            picture = self.of(int(unit))
            if picture is None or not self.spacing > 0:
                continue
            height = central_height(picture, self.spacing, is_dark=self.is_dark)
            if not height > 0:
                continue
            near = [one for one in levels if abs(math.log(height / one[0])) <= _APART]
            if near:
                near[0].append(height)
            else:
                levels.append([height])
        return [float(np.exp(np.mean(np.log(one)))) for one in levels]


def _spacing(model: Model | None, crops: Crops | None) -> float:
    """Neighbour distance in pixels of the pictures; NaN where nobody knows."""
    if crops is not None and math.isfinite(crops.window_nd):
        return crops.pixels / crops.window_nd
    config = getattr(model, "crop_config", None)
    if config is None or config.window is not None:
        return math.nan
    return float(config.pixels / config.window_nd)


def _median_latents(sites: pd.DataFrame, units: list[int]) -> dict[int, Array]:
    names = tables.latent_names(sites)
    if not names:
        return {}
    known = sites[np.isfinite(sites[names].to_numpy(float)).all(axis=1)]
    medians = known.groupby("unit")[names].median()
    return {unit: medians.loc[unit].to_numpy(float) for unit in units if unit in medians.index}


def _decoded(model: Model, z: dict[int, Array], turns: dict[int, float]) -> dict[int, Picture]:
    """Decoded pictures, turned, first channel, NaN beyond the disc."""
    if not z:
        return {}
    angles = [turns[unit] for unit in z]
    made = np.asarray(model.inverse_transform(np.stack(list(z.values())), angle=angles), np.float32)
    return {unit: _in_disc(picture) for unit, picture in zip(z, made[:, 0], strict=True)}


def _in_disc(picture: Picture) -> Picture:
    middle = (len(picture) - 1) / 2
    line = np.arange(len(picture)) - middle
    outside = np.hypot(line[:, None], line) > middle + 0.5
    return np.where(outside, np.float32(math.nan), picture)


def _to_the_right(picture: Picture, spacing: float) -> float:
    """Turn that brings the brightest neighbour of a picture to the right; 0 if there is none."""
    try:
        return -neighbour_direction(np.nan_to_num(picture, nan=-math.inf), spacing)
    except InputError:
        return 0.0


def _means(
    sites: pd.DataFrame, units: list[int], crops: Crops, turns: dict[int, float] | None
) -> dict[int, MeanCrop]:
    """Mean aligned crops; `turns` is None where the sites have no angles."""
    place = pd.Index(crops.site_id)
    means = {}
    for unit in units:
        here = sites[sites["unit"] == unit]
        if turns is not None:
            here = here.dropna(subset=["angle"])
        if here["unit_probability"].notna().any():  # the surest show best what it is
            here = here.sort_values("unit_probability", ascending=False, kind="stable")
        rows = place.get_indexer(pd.Index(here["site_id"]))
        here, rows = here[rows >= 0].head(_MOST_CROPS), rows[rows >= 0][:_MOST_CROPS]
        images = crops.read(rows)
        whole = np.flatnonzero(np.isfinite(images).all(axis=(1, 2, 3)))
        here, images = here.iloc[whole], images[whole]
        if len(images):
            means[unit] = MeanCrop(_mean_of(images, here, crops, unit, turns), len(images))
    return means


def _mean_of(
    images: Picture, here: pd.DataFrame, crops: Crops, unit: int, turns: dict[int, float] | None
) -> Picture:
    """Mean (S, S) of crops that are turned back by their angles, or laid on one another."""
    shift: Any = (0.0, 0.0)
    if turns is None:
        angle = find_turns(images)
    else:
        angle = here["angle"].to_numpy(float) - turns[unit]
        shift = here[["shift_y", "shift_x"]].to_numpy(float) * crops.native_pixel
    aligned = align_crops(_shown(images, crops), angle, shift, vectors=crops.vectors)[:, 0]
    known = np.isfinite(aligned)
    total, number = np.where(known, aligned, 0).sum(axis=0), known.sum(axis=0)
    mean = np.where(number > 0, total / np.maximum(number, 1), math.nan)
    return _in_disc(mean.astype(np.float32))


def _shown(images: Picture, crops: Crops) -> Picture:
    """The first layer of crops, or all where that may be a component, which others turn into."""
    return images if crops.vectors else images[:, :1]


def _upright(means: dict[int, MeanCrop], spacing: float) -> dict[int, MeanCrop]:
    """Turn each mean crop so that its brightest neighbour lies to the right."""
    turned = {}
    for unit, mean in means.items():
        if mean.picture is None:
            continue
        back = -_to_the_right(mean.picture, spacing)
        flat = np.nan_to_num(mean.picture, nan=float(np.nanmedian(mean.picture)))
        turned[unit] = MeanCrop(_in_disc(align_crops(flat[None, None], back)[0, 0]), mean.n_crops)
    return turned


def _is_dark(picture: Picture, spacing: float) -> bool:
    """Whether the atom in the middle is darker than what is around it."""
    middle = (len(picture) - 1) / 2
    line = np.arange(len(picture)) - middle
    distance = np.hypot(line[:, None], line)
    if not spacing > 0:
        return False
    centre = np.nanmean(picture[distance < max(0.15 * spacing, 1.0)])
    around = np.nanmean(picture[(distance > 0.35 * spacing) & (distance < 0.65 * spacing)])
    return bool(centre < around)
