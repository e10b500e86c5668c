"""Atoms and bonds of a unit as a drawing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from napari_rvae.analysis.motif import Motif
    from napari_rvae.figures.page import Theme

__all__ = ["draw_motif"]

#: Radius of an atom as bright as the host, in neighbour distances; brighter ones grow slowly.
_RADIUS = 0.2
_LARGEST = 0.33


def draw_motif(
    axes: Axes, motif: Motif, look: Theme, *, color: str = "#7d848e", reach: float = 1.75
) -> None:
    """Draw atoms as discs with their class of brightness, bonds as lines.

    Parameters
    ----------
    axes
        Where to.
    motif
        What :func:`~napari_rvae.analysis.motif.locate_atoms` returned.
    look
        Colours of the page.
    color
        Of the rim of the central atom, or of the ring where there is none.
    reach
        Half the width that is shown, in neighbour distances.
    """
    from matplotlib.collections import LineCollection
    from matplotlib.patches import Circle

    places = motif.offset[:, ::-1] * np.array([1, -1])  # x to the right, up is up
    axes.add_collection(
        LineCollection(list(places[motif.bonds]), colors=look.faint, linewidths=1.2)
    )
    first = set(motif.neighbours.tolist()) | ({0} if motif.has_centre else set())
    for number, (place, height) in enumerate(zip(places, motif.amplitude, strict=True)):
        radius = min(_RADIUS * max(float(height), 0.2) ** 0.35, _LARGEST)
        central = number == 0 and motif.has_centre
        disc = Circle((place[0], place[1]), radius, zorder=2)
        near = number in first
        disc.set(
            facecolor=look.ink if near else look.faint,
            alpha=1.0 if near else 0.55,
            edgecolor=color if central else look.paper,
            linewidth=2.2 if central else 0.6,
        )
        axes.add_patch(disc)
        if near:
            text = axes.text(
                place[0], place[1], motif.label[number], color=look.paper, weight="bold"
            )
            size = 7.0 if len(motif.label[number]) < 3 else 5.0
            text.set(ha="center", va="center", zorder=3, fontsize=size)
    if not motif.has_centre:
        ring = Circle((0, 0), _RADIUS, fill=False, linestyle="--", edgecolor=color, linewidth=1.5)
        axes.add_patch(ring)
    wide = reach + _RADIUS
    axes.set(xlim=(-wide, wide), ylim=(-wide, wide), aspect="equal")
    axes.set_axis_off()
