"""What a classifier reads from true positions when it is told the classes: a bound for units.

Classes of simulated graphene are named by a rule of the simulation, such as a bond that is off its
lattice vector by more than 0.12 neighbour distances. Neighbours, bonds, rings and strain of a site
and of its surroundings, on true positions without noise, tell them only so well. Trees are trained
on sheets of their own, with the classes as frequent as they are, or all counting the same ("even"),
which finds more of the rare ones and takes in more that is none.

    OMP_NUM_THREADS=1 python benchmarks/told.py --movies 0,1,2,3,4
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.spatial import cKDTree
from sklearn.ensemble import HistGradientBoostingClassifier

from napari_rvae import describe_sites, neighbour_distance, simulate_graphene
from napari_rvae.analysis.units.surroundings import bonds_of

Array = NDArray[np.float64]

#: Sheets that the trees learn from, and the first of their seeds.
SHEETS, FIRST = 30, 100_000
#: What depends on how the frame is turned, or says how sure another column is.
_TURNS = ("site_id", "off_centre_y", "off_centre_x", "off_centre_sd", "strain_yy", "strain_xx")
_TURNS += ("strain_xy",)
#: Neighbours whose distances are given, and steps over bonds that surroundings are averaged over.
_NEAREST, _STEPS = 12, 3


@dataclass(frozen=True)
class Told:
    """Recall and precision of a class, as frequent as it is, and with all classes made even."""

    name: str
    recall: float
    precision: float
    even_recall: float
    even_precision: float


def seen(sites: pd.DataFrame) -> Array:
    """What is measured (N, K) on the positions of one frame and around them."""
    points = sites[["y", "x"]].to_numpy(float) / neighbour_distance(sites)
    own = describe_sites(sites).drop(columns=list(_TURNS))
    turn = np.exp(6j * own.pop("lattice_rotation").to_numpy())
    distance = cKDTree(points).query(points, _NEAREST + 1)[0][:, 1:]
    bonds = bonds_of(sites)
    ends = np.concatenate([bonds, bonds[:, ::-1]]).T
    link = coo_array((np.ones(ends.shape[1]), tuple(ends)), shape=(len(points),) * 2).tocsr()
    number = np.maximum(link.sum(axis=1), 1.0)
    parts = [own.to_numpy(float), distance]
    around, turns = np.nan_to_num(parts[0]), np.nan_to_num(turn)
    for _ in range(_STEPS):
        around, turns = link @ around / number[:, None], link @ turns / number
        off = np.abs(np.angle(turns * np.conj(np.where(np.isfinite(turn), turn, 1.0))))
        parts += [around, np.abs(turns)[:, None], off[:, None]]
    return np.concatenate(parts, axis=1)


def sheet_of(sites: pd.DataFrame, frame: int) -> tuple[Array, NDArray[np.str_]]:
    """What is seen (N, K) of the atoms of a frame, and their classes (N,)."""
    own = sites[(sites["frame"] == frame) & (sites["kind"] == "atom")].reset_index(drop=True)
    return seen(own), own["environment"].to_numpy(str)


@cache
def sheets(size: int) -> list[tuple[Array, NDArray[np.str_]]]:
    """What is seen of sheets that no movie shows, and their classes."""
    return [
        sheet_of(simulate_graphene(n_frames=1, size=size, seed=FIRST + k).sites, 0)
        for k in range(SHEETS)
    ]


@cache
def trees(weight: Literal["balanced"] | None, size: int) -> HistGradientBoostingClassifier:
    """Trees that were told the classes of sheets of their own."""
    values, classes = (np.concatenate(part) for part in zip(*sheets(size), strict=True))
    model = HistGradientBoostingClassifier(max_iter=150, class_weight=weight, random_state=0)
    return model.fit(values, classes)


def told(sites: pd.DataFrame, name: str, size: int) -> Told:
    """Recall and precision of a class in the middle frame of a movie's true sites."""
    values, classes = sheet_of(sites, int(sites["frame"].max()) // 2)
    figures: list[float] = []
    for weight in (None, "balanced"):
        said = trees(weight, size).predict(values)
        right = float(((said == name) & (classes == name)).sum())
        figures += [
            right / max(float((classes == name).sum()), 1.0),
            right / max(float((said == name).sum()), 1.0),
        ]
    return Told(name, *figures)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--movies", default="0,1,2,3,4", help="comma-separated")
    parser.add_argument("--name", default="boundary", help="class")
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--size", type=int, default=512)
    options = parser.parse_args()
    print(f"{'movie':>5}{'recall':>9}{'precision':>11}{'recall, even':>14}{'precision, even':>17}")
    for movie in options.movies.split(","):
        movie_sites = simulate_graphene(
            n_frames=options.frames, size=options.size, seed=int(movie)
        ).sites
        found = told(movie_sites, options.name, options.size)
        print(f"{movie:>5}{found.recall:>9.3f}{found.precision:>11.3f}{found.even_recall:>14.3f}"
              f"{found.even_precision:>17.3f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
