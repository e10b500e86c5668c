"""Small frames with known atoms, for the tests of the detection."""

import dataclasses
import math

import numpy as np
import pandas as pd

from napari_rvae.analysis.scores import detection_scores
from napari_rvae.render import render_gaussians
from napari_rvae.synthetic import simulate_graphene, simulate_perovskite
from napari_rvae.synthetic.lattice import honeycomb, rocksalt, rotated
from napari_rvae.tables import make_sites

SPACING, SIGMA, SIDE = 12.0, 2.9, 224


@dataclasses.dataclass(frozen=True)
class Scene:
    """A frame, what it would be without noise, and its atoms."""

    frame: np.ndarray
    expected: np.ndarray
    sites: pd.DataFrame

    def scores(self, found, *, border=SPACING):
        return detection_scores(
            found.assign(frame=0, source=""),
            self.sites,
            tolerance=0.3 * SPACING,
            border=border,
            frame_shape=self.frame.shape,
        )


def draw(y, x, amplitude, *, side=SIDE, background=5.0, seed=0):
    """Poisson counts of atoms at given places."""
    y, x = np.asarray(y, float), np.asarray(x, float)
    amplitude = np.broadcast_to(np.asarray(amplitude, float), y.shape)
    expected = render_gaussians(y, x, amplitude, SIGMA, (side, side)) + background
    inside = (y >= 0) & (x >= 0) & (y <= side - 1) & (x <= side - 1) & (amplitude > 0)
    sites = make_sites(
        frame=0,
        y=y[inside],
        x=x[inside],
        amplitude=amplitude[inside],
        sigma=np.full(inside.sum(), SIGMA),
    )
    frame = np.random.default_rng(seed).poisson(expected).astype(float)
    return Scene(frame, expected, sites)


def lattice(kind="honeycomb", *, angle=0.2, side=SIDE, origin=(0.3, 0.7)):
    """Positions (N, 2) and sublattice (N,) of a lattice that fills a frame and its surroundings."""
    motif = {"honeycomb": honeycomb, "perovskite": rocksalt}[kind](SPACING)
    steps = np.arange(-40, 41)
    grid = np.stack(np.meshgrid(steps, steps, indexing="ij"), -1).reshape(-1, 2) @ motif.cell
    points = rotated((grid[:, None] + motif.basis).reshape(-1, 2), angle) + side / 2
    points += np.asarray(origin)
    sublattice = np.tile([0, 1], len(grid))
    near = ((points > -3 * SIGMA) & (points < side + 3 * SIGMA)).all(axis=1)
    return points[near], sublattice[near]


def simulated(kind, counts, *, seed=0, side=SIDE):
    """A frame of the simulator, with jitter, shear and an uneven background."""
    scan = {
        "neighbour_distance": SPACING,
        "sigma": SIGMA,
        "dose": counts * 2 * math.pi * SIGMA**2,
        "background": 0.1 * counts,
        "contamination": 0.1,
        "jitter": 0.05,
        "shear": 0.02,
        "row_noise": 0.0,
        "size": side,
        "seed": seed,
    }
    if kind == "perovskite":
        simulation = simulate_perovskite(**scan)
    else:
        simulation = simulate_graphene(
            n_frames=1, grains=1, stone_wales=0, hole_end=0.0, si4=0.0, **scan
        )
    return Scene(
        np.asarray(simulation.frames.data[0], float),
        simulation.fields["expected"][0],
        simulation.sites.assign(source=""),
    )
