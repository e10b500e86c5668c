"""Draw the figures of the documentation: python scripts/figures_docs.py."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Arc

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from napari_rvae import Crops

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"

INK, GREY, BLUE, ORANGE, PAPER = "#1b2733", "#8a97a3", "#2b6cb0", "#d9661f", "#f4f6f8"

# A motif without symmetry, as offsets (dy, dx) from its centre, y down: a heavy atom to the right,
# two light ones that make a three-fold star with it, and one above that breaks the mirror.
HEAVY = np.array([[0.0, 1.0]])
LIGHT = np.array([[0.866, -0.5], [-0.866, -0.5]])
MARK = np.array([[-0.75, 0.55]])


def turn(offsets: NDArray[np.float64], angle: float) -> NDArray[np.float64]:
    """Turn offsets (dy, dx) by `angle`, in the sense of the conventions page."""
    dy, dx = offsets.T
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([dy * cos - dx * sin, dx * cos + dy * sin], axis=1)


def draw_motif(
    axes: Axes,
    y: float,
    x: float,
    angle: float,
    *,
    size: float = 1.0,
    faint: bool = False,
) -> None:
    """Draw the motif around (y, x), turned by `angle`."""
    alpha = 0.35 if faint else 1.0
    for offsets, colour, area in ((HEAVY, ORANGE, 300), (LIGHT, BLUE, 170), (MARK, INK, 60)):
        for dy, dx in turn(offsets, angle) * size:
            axes.plot([x, x + dx], [y, y + dy], color=GREY, lw=1.4 * size, zorder=1, alpha=alpha)
            axes.scatter(
                x + dx, y + dy, s=area * size**2, color=colour, zorder=3, alpha=alpha, lw=0
            )
    axes.scatter(x, y, s=90 * size**2, color=GREY, zorder=3, alpha=alpha, lw=0)


def draw_angle(axes: Axes, y: float, x: float, angle: float, label: str, *, radius: float) -> None:
    """Draw the zero direction, the arc up to `angle` with its arrow, and a label."""
    axes.plot([x, x + 1.5 * radius], [y, y], color=INK, lw=0.9, ls=(0, (4, 3)), zorder=2)
    # The y axis points down, so a counter-clockwise arc runs through negative angles of the data.
    axes.add_patch(
        Arc((x, y), 2 * radius, 2 * radius, theta1=-np.degrees(angle), theta2=0, color=INK, lw=1.4)
    )
    head, before = ((x + radius * np.cos(a), y - radius * np.sin(a)) for a in (angle, angle - 0.12))
    axes.annotate(
        "", head, before, arrowprops={"arrowstyle": "-|>", "color": INK, "shrinkA": 0, "shrinkB": 0}
    )
    middle = angle / 2
    axes.text(
        x + 1.2 * radius * np.cos(middle),
        y - 1.2 * radius * np.sin(middle),
        label,
        color=INK,
        fontsize=12,
        va="center",
    )


def draw_axes_mark(axes: Axes, y: float, x: float) -> None:
    """Draw the two axes of the frame, x to the right and y down."""
    style = {"arrowstyle": "-|>", "color": INK, "lw": 1.2, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", (x + 0.6, y), (x, y), arrowprops=style)
    axes.annotate("", (x, y + 0.6), (x, y), arrowprops=style)
    axes.text(x + 0.68, y, "x", va="center", fontsize=11, color=INK)
    axes.text(x, y + 0.72, "y", ha="center", va="top", fontsize=11, color=INK)


def prepare(axes: Axes, title: str, note: str) -> None:
    """Give a panel its frame, title and note."""
    axes.set(xlim=(-1.75, 1.75), ylim=(1.75, -1.75), aspect="equal", xticks=[], yticks=[])
    axes.set_facecolor(PAPER)
    for spine in axes.spines.values():
        spine.set_color("#c6ced6")
    axes.set_title(title, fontsize=12.5, color=INK, pad=8)
    axes.text(
        0.5, -0.04, note, transform=axes.transAxes, ha="center", va="top", fontsize=10.5, color=INK
    )


def angle_sense() -> Path:
    """Draw the sense of the angle and the gauge."""
    angle, gauge = np.radians(40.0), np.radians(60.0)
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12.6, 5.0))

    prepare(left, "canonical picture", "one picture for all sites of a kind")
    draw_motif(left, 0, 0, 0.0)
    draw_axes_mark(left, -1.5, -1.5)
    left.text(0.08, 1.42, "offset (dy, dx) = (0, 1)\nof the orange atom", fontsize=10.5, color=INK)
    left.annotate(
        "",
        (1.0, 0.2),
        (0.75, 1.1),
        arrowprops={"arrowstyle": "-", "color": GREY, "lw": 0.9},
    )

    prepare(
        middle,
        "in the frame: angle a = +40°",
        r"(dy cos a $-$ dx sin a,  dx cos a + dy sin a)"
        "\npositive a is counter-clockwise, as y points down",
    )
    draw_motif(middle, 0, 0, 0.0, faint=True)
    draw_motif(middle, 0, 0, angle)
    draw_angle(middle, 0, 0, angle, "a", radius=0.62)
    draw_axes_mark(middle, -1.5, -1.5)

    prepare(
        right,
        "the gauge: the same frame, said otherwise",
        "canonical picture turned by g = +60°:\nonly differences of angles mean something",
    )
    small = 0.5
    draw_motif(right, -0.75, -1.0, 0.0, size=small)
    draw_motif(right, -0.75, 1.0, angle, size=small)
    draw_motif(right, 0.85, -1.0, gauge, size=small)
    draw_motif(right, 0.85, 1.0, gauge + (angle - gauge), size=small)
    for y, label in ((-0.75, "a = +40°"), (0.85, r"a $-$ g = $-$20°")):
        right.annotate(
            "", (0.36, y), (-0.4, y), arrowprops={"arrowstyle": "-|>", "color": INK, "lw": 1.4}
        )
        right.text(0.0, y - 0.12, label, ha="center", va="bottom", fontsize=9.5, color=INK)
    for x, label in ((-1.0, "canonical"), (1.0, "in the frame")):
        right.text(x, -1.58, label, ha="center", va="center", fontsize=10.5, color=GREY)
    right.axhline(0.1, color="#c6ced6", lw=0.9)

    figure.subplots_adjust(left=0.01, right=0.99, top=0.92, bottom=0.13, wspace=0.05)
    path = IMAGES / "angle_sense.png"
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)
    return path


def wall_windows(seed: int = 0) -> Path:
    """Draw what a second and a third latent add, by the size of the window on a grid."""
    from napari_rvae import CropConfig, extract_crops, sample_grid, simulate_walls

    simulation = simulate_walls(n_frames=6, size=192, seed=seed, stripes=0)
    movie = simulation.fields["polarization"]
    movie = movie + 0.15 * np.random.default_rng(seed).normal(size=movie.shape)
    sides, more = (8, 16, 32, 64), []
    figure = plt.figure(figsize=(9.6, 3.6))
    left = figure.add_axes((0.03, 0.06, 0.34, 0.84))
    right = figure.add_axes((0.48, 0.17, 0.49, 0.73))
    left.imshow(movie[-1], cmap="PiYG", vmin=-1.3, vmax=1.3)
    left.set(xticks=[], yticks=[], title="a frame, and the four windows")
    for side in sides:
        config = CropConfig(window=side, pixels=min(max(side, 16), 32), subtract_mean=False)
        crops = extract_crops(movie, sample_grid(movie, step=8), config)
        rest = [_misfit(crops, number, seed) for number in (1, 2, 3)]
        more.append([100 * (1 - rest[1] / rest[0]), 100 * (1 - rest[2] / rest[1])])
        corner = (150 - side / 2, 62 - side / 2)
        left.add_patch(plt.Rectangle(corner, side, side, fill=False, ec=INK, lw=1.4))
    place = np.arange(len(sides))
    for number, (name, colour) in enumerate((("second", INK), ("third", GREY))):
        values = [each[number] for each in more]
        right.plot(place, values, "o-", color=colour, label=f"a {name} latent")
    right.set(
        xticks=place,
        xticklabels=[f"{side} px" for side in sides],
        xlabel="window",
        ylabel="share of the misfit that it takes (%)",
        ylim=(0, None),
    )
    right.legend(frameon=False)
    path = IMAGES / "wall-windows.png"
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)
    return path


def _misfit(crops: Crops, n_latents: int, seed: int) -> float:
    """Mean squared misfit within the disc of a model with so many latents."""
    from napari_rvae import RVAE

    model = RVAE(n_latents=n_latents, epochs=15, seed=seed, device="cpu").fit(crops)
    shown = model.reconstruct(crops)
    disc = np.abs(shown).sum((0, 1)) > 0
    return float(((crops.images - shown)[..., disc] ** 2).mean())


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    print(angle_sense())
    print(wall_windows())
