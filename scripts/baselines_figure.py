"""Draw the comparison of the published order: mixture of crops, plain VAE, rVAE.

    OMP_NUM_THREADS=1 python scripts/baselines_figure.py

Crops of a honeycomb with silicon, four units, each turned at random. A Gaussian mixture of the
crops makes sixteen classes of them; a variational autoencoder without and one with rotation make
latents. Below, crops and latents are cut into as many clusters as there are units by a Gaussian
mixture, and each bar shows how one unit's crops fall into them. Takes half a minute.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from sklearn.mixture import GaussianMixture

from napari_rvae import RVAE, Crops
from napari_rvae.analysis.baselines import CropGMM

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure
    from numpy.typing import NDArray

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"

INK, GREY = "#1b2733", "#5f6b76"
CLUSTERS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7")
UNITS = ("C in the bulk", "Si, three-fold", "Si, four-fold", "C beside Si")

PIXELS, WINDOW, SIGMA, COUNTS = 32, 3.5, 2.1, 40
BOND = PIXELS / WINDOW
CARBON, BACKGROUND, CENTRING = 0.45, 0.12, 0.1
CLASSES, TILES, SHOWN = 16, 6, 3


def scene(unit: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Offsets (A, 2) as (dy, dx) in px and peaks (A,) of a unit, its own atom first."""
    line = np.arange(-12, 13) * BOND
    cells = line[:, None, None] * np.array([0, math.sqrt(3)])
    cells = (cells + line[None, :, None] * np.array([1.5, math.sqrt(0.75)])).reshape(-1, 2)
    sites = np.concatenate([cells, cells + np.array([BOND, 0])])
    sites = sites[np.argsort(np.linalg.norm(sites, axis=1), kind="stable")][:80]
    peaks = np.full(len(sites), CARBON)
    name = UNITS[unit]
    if name == "Si, three-fold":
        sites[1:4] *= 1.14
        peaks[0] = 1.0
    elif name == "Si, four-fold":  # the silicon sits where a bond was
        sites = sites - sites[1] / 2
        apart = np.linalg.norm(sites, axis=1)
        ring = np.argsort(apart, kind="stable")[2:6]
        sites[ring] *= 1 + 0.14 * BOND / apart[ring, None]
        sites, peaks = np.delete(sites, 1, 0), np.delete(peaks, 1)
        sites[0], peaks[0] = 0.0, 1.0
    elif name == "C beside Si":
        peaks[1] = 1.0
        sites[1] *= 1.16
    return sites, peaks


def simulate(count: int, rng: np.random.Generator) -> tuple[Crops, NDArray[np.int64]]:
    """Crops with Poisson noise, less their mean, and the unit of each."""
    unit, angle = rng.integers(0, len(UNITS), count), rng.uniform(-math.pi, math.pi, count)
    line = np.arange(PIXELS) - (PIXELS - 1) / 2
    scenes = [scene(number) for number in range(len(UNITS))]
    images = np.empty((count, 1, PIXELS, PIXELS), np.float32)
    for image, number, a in zip(images[:, 0], unit, angle, strict=True):
        offsets, peaks = scenes[number]
        dy, dx = offsets.T
        y = dy * math.cos(a) - dx * math.sin(a) + rng.normal(0, CENTRING)
        x = dx * math.cos(a) + dy * math.sin(a) + rng.normal(0, CENTRING)
        rows = np.exp(-0.5 * ((line - y[:, None]) / SIGMA) ** 2)
        columns = np.exp(-0.5 * ((line - x[:, None]) / SIGMA) ** 2)
        clean = np.einsum("a,ay,ax->yx", peaks, rows, columns) + BACKGROUND
        image[:] = rng.poisson(clean * COUNTS) / COUNTS
    images -= images.mean(axis=(2, 3), keepdims=True)
    return Crops(images=images, site_id=np.arange(count), window_nd=WINDOW), unit


def clusters_of(model: RVAE, crops: Crops) -> NDArray[np.int64]:
    """Cluster of each crop (N,) in the latents, as many clusters as units."""
    z = model.transform(crops).filter(regex=r"^z\d+$").to_numpy()
    mixture = GaussianMixture(
        len(UNITS), n_init=20, init_params="k-means++", reg_covar=1e-3, random_state=0
    )
    return np.asarray(mixture.fit_predict(z), np.int64)


def shares(cluster: NDArray[np.int64], unit: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of each unit's crops in each cluster (units, clusters)."""
    table = np.zeros((len(UNITS), cluster.max() + 1))
    np.add.at(table, (unit, cluster), 1)
    return table / table.sum(1, keepdims=True)


def effective(share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Number of clusters that a unit falls into (units,): exp of the entropy of its shares."""
    return np.asarray(np.exp(-(share * np.log(np.maximum(share, 1e-12))).sum(1)))


def draw_tiles(panel: Axes, pictures: NDArray[np.float64], title: str, note: str) -> None:
    """Pictures (n, n, S, S) edge to edge."""
    n, side = pictures.shape[0], pictures.shape[-1]
    line = np.arange(side) - (side - 1) / 2
    shown = pictures.copy()
    shown[..., np.hypot(line[:, None], line) > side / 2 - 0.5] = np.nan
    canvas = shown.transpose(0, 2, 1, 3).reshape(n * side, n * side)
    low, high = np.nanpercentile(canvas, [0.5, 99.7])
    colours = plt.get_cmap("gray").copy()
    colours.set_bad("white")
    panel.imshow(canvas, cmap=colours, vmin=low, vmax=high)
    panel.set(xticks=[], yticks=[])
    for spine in panel.spines.values():
        spine.set_visible(False)
    panel.set_title(title, fontsize=12.5, color=INK, pad=8)
    panel.set_xlabel(note, fontsize=9.5, color=GREY, labelpad=6)


def draw_bars(panel: Axes, share: NDArray[np.float64], *, named: bool) -> None:
    """One bar for each unit, cut into its clusters, the number of them behind it."""
    place = np.arange(len(UNITS))
    left = np.zeros(len(UNITS))
    for number, colour in zip(range(share.shape[1]), CLUSTERS, strict=True):
        panel.barh(
            place, share[:, number], left=left, color=colour, edgecolor="white", linewidth=0.8
        )
        left += share[:, number]
    for y, count in zip(place, effective(share), strict=True):
        panel.text(1.03, y, f"{count:.1f}", va="center", fontsize=10.5, color=INK)
    panel.set(xlim=(0, 1), ylim=(len(UNITS) - 0.4, -0.6), xticks=[0, 0.5, 1])
    panel.set_xticklabels(["0", "50", "100 %"], fontsize=9.5, color=GREY)
    panel.set_yticks(place, UNITS if named else [""] * len(UNITS), fontsize=10.5, color=INK)
    panel.tick_params(length=0)
    for spine in panel.spines.values():
        spine.set_visible(False)
    panel.set_xlabel("share of the unit's crops in each cluster", fontsize=9.5, color=GREY)


def draw_input(part: SubFigure, crops: Crops, unit: NDArray[np.int64]) -> None:
    """Draw some crops of each unit, a row a unit."""
    panels = part.subplots(len(UNITS), SHOWN, gridspec_kw={"wspace": 0.05, "hspace": 0.05})
    for number, row in enumerate(panels):
        for panel, crop in zip(row, crops.images[unit == number][:SHOWN, 0], strict=True):
            panel.imshow(crop, cmap="gray", vmin=-0.35, vmax=0.75)
            panel.set(xticks=[], yticks=[])
        row[0].set_ylabel(
            UNITS[number].replace(", ", ",\n"), fontsize=10, color=INK, rotation=0, ha="right",
            va="center", labelpad=6,
        )  # fmt: skip
    panels[0, SHOWN // 2].set_title("crops, turned at random", fontsize=12.5, color=INK, pad=8)
    panels[-1, SHOWN // 2].set_xlabel(
        f"{WINDOW} neighbour distances wide, {COUNTS} counts", fontsize=9.5, color=GREY, labelpad=6
    )


def draw(path: Path, *, count: int, seed: int) -> str:
    """Make the figure; return the number of clusters that each unit falls into."""
    crops, unit = simulate(count, np.random.default_rng(seed))
    classes = CropGMM(CLASSES, seed=seed).fit(crops)
    few = CropGMM(len(UNITS), seed=seed).fit(crops).transform(crops)["class"].to_numpy()
    models = [RVAE(seed=seed, device="cpu", rotation=on).fit(crops) for on in (False, True)]
    found = [shares(few, unit), *(shares(clusters_of(model, crops), unit) for model in models)]

    side = math.isqrt(CLASSES)
    means = classes.inverse_transform(np.eye(CLASSES))[:, 0].astype(float)
    tiles = [
        means.reshape(side, side, PIXELS, PIXELS),
        *(model.manifold(TILES)[:, :, 0].astype(float) for model in models),
    ]
    figure = plt.figure(figsize=(14.6, 5.9))
    parts = figure.subfigures(1, 2, width_ratios=[1.0, 2.5])
    draw_input(parts[0], crops, unit)
    parts[0].subplots_adjust(left=0.28, right=0.98, top=0.94, bottom=0.1)
    panels = parts[1].subplots(2, 3, gridspec_kw={"height_ratios": [2.9, 1.15]})
    titles = ("Gaussian mixture of the crops", "plain VAE", "rVAE")
    notes = (
        f"means of {CLASSES} classes, the largest first",
        "decoded over its two widest latents",
        "decoded over its two widest latents",
    )
    for column in range(3):
        draw_tiles(panels[0, column], tiles[column], titles[column], notes[column])
        draw_bars(panels[1, column], found[column], named=column == 0)
    parts[1].text(
        0.13,
        0.325,
        f"cut into {len(UNITS)} clusters, as many as there are units; behind each bar, how many of "
        "them its unit falls into",
        fontsize=11,
        color=INK,
    )
    parts[1].subplots_adjust(left=0.13, right=0.96, top=0.94, bottom=0.1, hspace=0.45, wspace=0.17)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)
    sixteen = shares(classes.transform(crops)["class"].to_numpy(), unit)
    lines = [f"{'clusters that each unit falls into':<36}{', '.join(UNITS)}"]
    for name, share in zip(
        (*titles, f"mixture of {CLASSES} classes"), (*found, sixteen), strict=True
    ):
        lines.append(f"{name:<36}{', '.join(f'{value:.1f}' for value in effective(share))}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--crops", type=int, default=2000, help="number of crops")
    parser.add_argument("--seed", type=int, default=0, help="start of the random numbers")
    parser.add_argument("--out", type=Path, default=IMAGES / "baselines.png", help="file to write")
    options = parser.parse_args()
    print(draw(options.out, count=options.crops, seed=options.seed))
    print(options.out)


if __name__ == "__main__":
    main()
