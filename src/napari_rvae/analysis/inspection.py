"""Everything that is known of one site: pictures, angle, symmetry, latents, its track."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_rvae import tables
from napari_rvae.analysis.explain import SiteViews, view_sites
from napari_rvae.analysis.recut import cut_as_trained
from napari_rvae.config import CropConfig
from napari_rvae.errors import InputError
from napari_rvae.frames import as_frames
from napari_rvae.io.scales import pixel_scale
from napari_rvae.vae.symmetry import decoded_symmetry

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_rvae.crops import Crops
    from napari_rvae.frames import Frames
    from napari_rvae.vae import RVAE

    Array = NDArray[np.float64]

__all__ = ["SiteInspection", "inspect_site", "site_track"]

#: Columns that follow a site through the frames, the one to trust first.
_TRACKS = ("track_id", "lattice_track_id")

_PICOMETRES = {"pm": 1.0, "angstrom": 1e2, "nm": 1e3, "um": 1e6}


@dataclass(frozen=True, eq=False)
class SiteInspection:
    """What is known of one site.

    Attributes
    ----------
    site
        Its row of the table.
    views
        Crop, aligned crop, reconstruction and residual of this one site.
    angle
        Centres (G,) of equal parts of the circle, radians.
    angle_share
        Share (G,) of the posterior of its angle in each.
    symmetry
        One row of :func:`~napari_rvae.decoded_symmetry`, for its latents and their errors.
    latents
        ``latent``, ``value``, ``sd`` of each, and ``low``, ``high``: where nine in ten of all
        sites lie.
    track
        See :func:`site_track`.
    """

    site: pd.Series[Any]
    views: SiteViews
    angle: Array
    angle_share: Array
    symmetry: pd.Series[Any]
    latents: pd.DataFrame
    track: pd.DataFrame


def inspect_site(
    model: RVAE,
    frames: Any,
    table: pd.DataFrame,
    site_id: int,
    config: CropConfig | None = None,
    *,
    parts: int = 180,
) -> SiteInspection:
    """Look at one site as closely as model and frames allow.

    Parameters
    ----------
    model
        A trained model.
    frames
        Frames or array-like of the movie that the site lies on.
    table
        Sites table of that movie, with all its sites: they tell how large the window is and how
        bright the host.
    site_id
        Which site.
    config
        How crops were cut for the model; as the model remembers it, if left out.
    parts
        Equal parts of the circle for the posterior of the angle.

    Returns
    -------
    SiteInspection
        Crop, aligned crop, reconstruction and residual, the angle's posterior, the symmetry of
        the decoded picture, latents with their errors, and the track.

    Raises
    ------
    NotFittedError
        Before the training.
    InputError
        If there is no such site, or its window leaves the frame.

    Examples
    --------
    >>> from napari_rvae import RVAE, detect_atoms, extract_crops, inspect_site, simulate_graphene
    >>> frames = simulate_graphene(n_frames=1, size=128).frames
    >>> sites = detect_atoms(frames)
    >>> crops = extract_crops(frames, sites)
    >>> model = RVAE(epochs=1).fit(crops)
    >>> found = inspect_site(model, frames, sites, int(crops.site_id[0]))
    >>> found.views.residual.shape, len(found.angle_share), len(found.latents)
    ((1, 1, 32, 32), 180, 4)
    """
    sites = tables.validate_sites(table)
    rows = sites[sites["site_id"] == site_id]
    if rows.empty:
        raise InputError(f"The table has no site {site_id}.")
    movie, site = as_frames(frames), rows.iloc[0]
    crops = _crop_of(model, movie, sites, site, config or model.crop_config)
    views = view_sites(model, crops)
    names = tables.latent_names(views.latents)
    z = views.latents[names].to_numpy(float)
    sd = views.latents[[f"{name}_sd" for name in names]].to_numpy(float)
    pixel_pm = _pixel_pm(movie) * crops.window_px / crops.pixels
    symmetry = decoded_symmetry(
        model, z, z_sd=sd, pixel_pm=pixel_pm if math.isfinite(pixel_pm) else None
    )
    return SiteInspection(
        site=site,
        views=views,
        angle=-math.pi + 2 * math.pi * np.arange(parts) / parts,
        angle_share=model.angle_posterior(crops, parts=parts)[0],
        symmetry=symmetry.iloc[0],
        latents=_latents(names, z[0], sd[0], sites),
        track=site_track(sites, site_id),
    )


def _crop_of(
    model: RVAE, movie: Frames, sites: pd.DataFrame, site: pd.Series[Any], config: CropConfig
) -> Crops:
    """Crop of one site, cut among those of its frames; the window is that of the whole movie."""
    window = config.window
    if window is None:
        window = config.window_nd * tables.neighbour_distance(sites)
    near = sites["frame"].isin([site["frame"] + lag for lag in model.lags_])
    here = sites[near & (sites["source"] == site["source"])]
    wide = None if not math.isfinite(window) else window
    crops = cut_as_trained(model, movie, here, config, window=wide)
    rows = np.flatnonzero(crops.site_id == site["site_id"])
    if not rows.size:
        raise InputError(
            f"Site {site['site_id']} has no crop: its window leaves the frame, or an earlier frame "
            "that the model wants is not there."
        )
    return crops.select(rows)


def _latents(names: list[str], z: Array, sd: Array, sites: pd.DataFrame) -> pd.DataFrame:
    """Latents of a site beside those of all sites."""
    ends = np.full((len(names), 2), np.nan)
    for number, name in enumerate(names):
        if name in sites and sites[name].notna().any():
            ends[number] = np.nanpercentile(sites[name].to_numpy(float), (5, 95))
    return pd.DataFrame(
        {"latent": names, "value": z, "sd": sd, "low": ends[:, 0], "high": ends[:, 1]}
    )


def site_track(table: pd.DataFrame, site_id: int) -> pd.DataFrame:
    """Sightings of one site through the frames.

    Parameters
    ----------
    table
        Sites table, after :func:`~napari_rvae.link_sites`.
    site_id
        Which site.

    Returns
    -------
    DataFrame
        Rows of the table with its ``track_id``, or, where it has none, with its
        ``lattice_track_id``, by frame; its own row alone where it has neither.
        ``attrs["column"]`` names the column, "" for none.

    Raises
    ------
    InputError
        If there is no such site.

    Examples
    --------
    >>> from napari_rvae import site_track
    >>> from napari_rvae.tables import make_sites
    >>> track = [0, 1, 0]
    >>> sites = make_sites(frame=[0, 0, 1], y=[1.0, 9.0, 1.0], x=[1.0] * 3, lattice_track_id=track)
    >>> site_track(sites, 2)["site_id"].tolist()
    [0, 2]
    """
    rows = table[table["site_id"] == site_id]
    if rows.empty:
        raise InputError(f"The table has no site {site_id}.")
    column = next((name for name in _TRACKS if name in table and rows[name].iloc[0] >= 0), "")
    found = rows
    if column:
        found = table[(table[column] == rows[column].iloc[0])].sort_values("frame", kind="stable")
    found = found.reset_index(drop=True)
    found.attrs["column"] = column
    return found


def _pixel_pm(movie: Frames) -> float:
    """Size of a pixel in pm, NaN where the frames have no unit of length."""
    scale = pixel_scale(*movie.pixel_size, *movie.units[-2:])
    if scale is None:
        return math.nan
    return _PICOMETRES[scale[2]] * math.sqrt(scale[0] * scale[1])
