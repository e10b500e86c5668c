"""The panels beside the frames: manifold, training, latent plane, angles, shares, units."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_rvae.figures.page import (
    MAX_UNITS,
    Page,
    Panel,
    label_axes,
    percentile_limits,
)
from napari_rvae.tables import fold_angle

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from napari_rvae.vae import RVAE

__all__ = ["picture_panel", "plot_panels", "unit_pictures"]

#: Above this many points a scatter is a blot: show a density; below, draw a sample.
MAX_SCATTER, SCATTER_SAMPLE = 100_000, 20_000


def plot_panels(page: Page) -> list[tuple[str, Panel]]:
    """Choose the panels whose data are there, as (title, panel)."""
    panels: list[tuple[str, Panel]] = []
    if page.model is not None:
        panels.append(("Manifold of decoded crops", _manifold_panel(page.model)))
        panels.append(("Training", _loss_panel(page.model)))
    if len(page.latents) == 2:
        panels.append(("Latent plane", _plane_panel))
    if page.angle:
        panels.append(("Angles", _angle_panel))
    if len(page.units) > 1:
        panels.append(("Share of the units", _share_panel))
    return panels


def _manifold_panel(model: RVAE) -> Panel:
    def draw(axes: Axes, page: Page) -> None:
        names = page.latents or ("z0",)
        dims = int(names[0][1:]), int(names[-1][1:])
        tiles = np.asarray(model.manifold(9, dims=dims))[:, :, 0]  # (n, n, S, S)
        count, side = tiles.shape[0], tiles.shape[-1]
        picture = tiles.transpose(0, 2, 1, 3).reshape(count * side, count * side).astype(float)
        picture_panel(axes, picture, percentile_limits(picture, 0.5))
        axes.set_xlabel(f"{names[0]} →", color=page.theme.ink, fontsize=8.5, labelpad=3)
        axes.set_ylabel(f"{names[-1]} →", color=page.theme.ink, fontsize=8.5, labelpad=3)

    return draw


def picture_panel(axes: Axes, picture: NDArray[np.float64], limits: tuple[float, float]) -> None:
    """Show a decoded picture (Y, X) in grey, without ticks."""
    axes.imshow(picture, cmap="gray", vmin=limits[0], vmax=limits[1])
    axes.set(xticks=[], yticks=[])


def _loss_panel(model: RVAE) -> Panel:
    def draw(axes: Axes, page: Page) -> None:
        epochs = [record.epoch for record in model.history_]
        losses = [record.loss for record in model.history_]
        held_out = [record.held_out_loss for record in model.history_]
        axes.plot(epochs, losses, color=page.theme.accent, linewidth=1.4, label="training")
        if np.isfinite(held_out).any():
            axes.plot(epochs, held_out, color=page.theme.second, linewidth=1.4, label="held out")
            axes.legend(fontsize=8, labelcolor=page.theme.ink, frameon=False)
        axes.locator_params(axis="x", integer=True)
        label_axes(axes, page, "epoch", "loss (nats per crop)")

    return draw


def _plane_panel(axes: Axes, page: Page) -> None:
    names = list(page.latents)
    known = page.table.dropna(subset=names)
    ends = [percentile_limits(known[name], 0.1) for name in names]
    ranges = [(low - 0.05 * (high - low), high + 0.05 * (high - low)) for low, high in ends]
    if len(known) > MAX_SCATTER:
        _density(axes, [known[name].to_numpy(float) for name in names], ranges)
    else:
        sample = known.sample(min(len(known), SCATTER_SAMPLE), random_state=0)
        colours: Any = page.theme.accent
        if len(page.units):
            of_unit = dict(zip(page.units["unit"], page.units["colour"], strict=True))
            colours = sample["unit"].map(of_unit).fillna(page.theme.faint)
        first, second = (sample[name] for name in names)
        axes.scatter(first, second, c=colours, s=3, linewidths=0, alpha=0.7, rasterized=True)
    axes.set(xlim=ranges[0], ylim=ranges[1])
    label_axes(axes, page, *names)


def _density(
    axes: Axes, known: list[NDArray[np.float64]], ranges: list[tuple[float, float]]
) -> None:
    from matplotlib.colors import LogNorm

    counts, *edges = np.histogram2d(known[0], known[1], bins=160, range=ranges)
    shown = np.ma.masked_equal(counts.T, 0)
    axes.pcolormesh(*edges, shown, norm=LogNorm(), cmap="viridis", rasterized=True)


def _angle_panel(axes: Axes, page: Page) -> None:
    half = 180 / page.angle_order
    degrees = np.degrees(fold_angle(page.table[page.angle].dropna(), page.angle_order))
    axes.hist(degrees, bins=np.linspace(-half, half, 91).tolist(), color=page.theme.accent)
    axes.set(xlim=(-half, half), xticks=np.linspace(-half, half, 5))
    label_axes(axes, page, f"{page.angle.replace('_', ' ')} (degrees)", "sites")


def _share_panel(axes: Axes, page: Page) -> None:
    """Draw lines against the frame for every unit but the host; bars for a single frame."""
    others = page.units.iloc[1:MAX_UNITS]
    known = page.table[page.table["unit"] >= 0]
    shares = 100 * pd.crosstab(known["frame"], known["unit"], normalize="index")
    if len(shares) > 1:
        for unit, colour in zip(others["unit"], others["colour"], strict=True):
            axes.plot(shares.index, shares[unit], color=colour, linewidth=1.3)
        axes.locator_params(axis="x", integer=True)
        axes.set_ylim(bottom=0)
        label_axes(axes, page, "frame", "share of the sites (%)")
    else:
        places = np.arange(len(others))
        axes.barh(places, shares.iloc[0][others["unit"]], color=list(others["colour"]))
        axes.set_yticks(places, [str(unit) for unit in others["unit"]])
        axes.invert_yaxis()
        label_axes(axes, page, "share of the sites (%)", "unit")


def unit_pictures(page: Page, model: RVAE) -> NDArray[np.float64]:
    """Decode each unit at the median of its latents: pictures (U, S, S), first channel."""
    names = [f"z{k}" for k in range(model.n_latents_)]
    medians = page.table.groupby("unit")[names].median()
    z = medians.loc[page.units["unit"].head(MAX_UNITS)].to_numpy(float)
    decoded = np.asarray(model.inverse_transform(np.nan_to_num(z)), float)  # (U, C, S, S)
    return decoded[:, 0]
