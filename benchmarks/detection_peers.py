"""Other finders of atoms, for ``detection.py``: scikit-image, trackpy, photutils and atomap.

They run in an environment of their own::

    python -m venv peers-env
    peers-env/bin/pip install scikit-image==0.26.0 trackpy==0.7 photutils==3.0.0 atomap==0.4.2

Each is told the true width of an atom and the true neighbour distance, and gets its best threshold
(and the best of a few values of its second option) for every frame: that of the largest F1 against
the truth. What it found with it is then fitted, where the package has a fit, and timed:

- scikit-image: ``blob_log``, which gives whole pixels;
- trackpy: ``locate``, least mass and diameter of the features;
- photutils: ``DAOStarFinder``, then ``PSFPhotometry`` with a Gaussian, one atom at a time;
- atomap: ``get_atom_positions``, least distance, relative threshold and a blur beforehand, then
  ``Sublattice`` with its refinements by centre of mass and by 2-D Gaussians.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

Floats = NDArray[np.float64]

#: Thresholds tried, as shares of the largest value that the finder can have; finders that take
#: counts of something else get quantiles of what they found.
SHARES = np.geomspace(0.01, 0.8, 24)


@dataclass(frozen=True, eq=False)
class Scene:
    """A frame, its true atoms (N, 2), and what the finders are told."""

    image: Floats
    true: Floats
    sigma: float
    spacing: float
    tolerance: float  # px

    def f1(self, found: Floats) -> float:
        """F1 away from the rim, each found atom and true atom used once."""
        if not len(found):
            return 0.0
        gap, number = cKDTree(self.true).query(found, distance_upper_bound=self.tolerance)
        order = np.argsort(gap)[: int(np.isfinite(gap).sum())]
        taken, first = np.unique(np.asarray(number)[order], return_index=True)
        right, seen = np.zeros(len(found), bool), np.zeros(len(self.true), bool)
        right[order[first]] = True
        seen[taken] = True
        inside = self.inside(self.true)
        hits, missed = int((seen & inside).sum()), int((~seen & inside).sum())
        false = int((~right & self.inside(found)).sum())
        return 2 * hits / (2 * hits + missed + false)

    def inside(self, points: Floats) -> NDArray[np.bool_]:
        """Which points (N, 2) are a neighbour distance away from the rim."""
        limit = np.array(self.image.shape) - 1 - self.spacing
        return np.asarray(((points >= self.spacing) & (points <= limit)).all(axis=1))

    def best(self, find: Callable[..., Floats], options: Iterable[tuple[Any, ...]]) -> Any:
        """The options with which `find` gives the largest F1."""
        return max(options, key=lambda option: self.f1(find(*option)))


class Found(NamedTuple):
    """Positions (N, 2), CPU seconds, and the options that were best."""

    position: Floats
    cpu: float
    options: str


def timed(find: Callable[..., Floats], options: tuple[Any, ...], name: str) -> Found:
    """Run a finder with its best options once more."""
    begun = time.process_time()
    position = find(*options)
    text = ", ".join(f"{option:.3g}" for option in options)
    return Found(position, time.process_time() - begun, f"{name}: {text}")


# --------------------------------------------------------------------------- the finders
def blob_log(scene: Scene) -> Found:
    """scikit-image."""
    from skimage import feature

    def find(share: float) -> Floats:
        blobs = feature.blob_log(
            scene.image,
            min_sigma=0.8 * scene.sigma,
            max_sigma=1.3 * scene.sigma,
            num_sigma=5,
            threshold=None,
            threshold_rel=share,
        )
        return np.asarray(blobs[:, :2], float)

    return timed(find, scene.best(find, ((share,) for share in SHARES)), "threshold_rel")


def trackpy(scene: Scene) -> Found:
    """Trackpy: the mass decides, so that one search serves all thresholds."""
    import trackpy as tp

    def locate(diameter: int, mass: float) -> Any:
        return tp.locate(
            scene.image, diameter, minmass=mass, separation=0.6 * scene.spacing, engine="python"
        )

    def find(diameter: int, mass: float) -> Floats:
        return np.asarray(locate(diameter, mass)[["y", "x"]], float)

    best, most = (0, 0.0), -1.0
    for wide in (2.0, 3.0, 4.0):
        diameter = 2 * round(wide * scene.sigma / 2) + 1
        features = locate(diameter, 0.0)
        places, masses = np.asarray(features[["y", "x"]], float), features["mass"].to_numpy()
        for mass in np.quantile(masses, np.linspace(0, 0.98, 100)) if masses.size else ():
            if (score := scene.f1(places[masses >= mass])) > most:
                best, most = (diameter, float(mass)), score
    return timed(find, best, "diameter, minmass")


def photutils(scene: Scene) -> Found:
    """Photutils: finder with the best threshold, then a fit of each atom."""
    from astropy.table import Table
    from photutils.detection import DAOStarFinder
    from photutils.psf import CircularGaussianPSF, PSFPhotometry

    image = scene.image - np.median(scene.image)
    fwhm, anything = 2.3548 * scene.sigma, 1e9
    highest = float(ndimage.gaussian_filter(image, scene.sigma).max())

    def find(threshold: float) -> Floats:
        finder = DAOStarFinder(
            threshold,
            fwhm,
            min_separation=0.5 * scene.spacing,
            sharpness_range=(-anything, anything),  # meant for cosmic rays
            roundness_range=(-anything, anything),
        )
        table = finder(image)
        if table is None:
            return np.empty((0, 2))
        return np.column_stack([table["y_centroid"], table["x_centroid"]])

    def fitted(threshold: float) -> Floats:
        start = find(threshold)
        side = 2 * round(1.5 * scene.sigma) + 1
        fit = PSFPhotometry(
            CircularGaussianPSF(fwhm=fwhm), side, aperture_radius=scene.sigma, xy_bounds=scene.sigma
        )
        table = fit(image, init_params=Table({"x": start[:, 1], "y": start[:, 0]}))
        return np.column_stack([table["y_fit"], table["x_fit"]])

    best = scene.best(find, ((highest * share,) for share in SHARES))
    return timed(fitted, best, "threshold")


def atomap(scene: Scene) -> Found:
    """Atomap: peaks, then its usual two refinements."""
    import atomap.api as am
    import hyperspy.api as hs

    def find(separation: int, share: float, blur: float) -> Floats:
        picture = ndimage.gaussian_filter(scene.image, blur) if blur else scene.image
        frame = hs.signals.Signal2D(picture - picture.min())
        return np.asarray(am.get_atom_positions(frame, separation, threshold_rel=share))[:, ::-1]

    def refined(separation: int, share: float, blur: float) -> Floats:
        places = find(separation, share, blur)[:, ::-1].tolist()
        lattice = am.Sublattice(places, image=scene.image - scene.image.min())
        lattice.find_nearest_neighbors()
        lattice.refine_atom_positions_using_center_of_mass(show_progressbar=False)
        lattice.refine_atom_positions_using_2d_gaussian(show_progressbar=False)
        return np.column_stack([lattice.y_position, lattice.x_position])

    separations = sorted({max(2, round(share * scene.spacing)) for share in (0.4, 0.6)})
    blurs = (0.0, 0.5 * scene.sigma, scene.sigma)
    options = itertools.product(separations, SHARES[::2], blurs)
    return timed(refined, scene.best(find, options), "separation, threshold_rel, blur")


FINDERS: dict[str, Callable[[Scene], Found]] = {
    "blob_log": blob_log,
    "trackpy": trackpy,
    "photutils": photutils,
    "atomap": atomap,
}


# --------------------------------------------------------------------------- between environments
def worker(folder: Path) -> None:
    """Let the finders see the frame in a folder, and leave there what they found."""
    warnings.simplefilter("ignore")
    told = json.loads((folder / "told.json").read_text(encoding="utf-8"))
    frame = np.load(folder / "frame.npz")
    scene = Scene(frame["image"].astype(float), frame["true"], **told["scene"])
    found = {name: FINDERS[name](scene) for name in told["finders"]}
    arrays: dict[str, Any] = {name: part.position for name, part in found.items()}
    np.savez(folder / "found.npz", **arrays)
    about = {name: {"cpu": part.cpu, "options": part.options} for name, part in found.items()}
    (folder / "about.json").write_text(json.dumps(about), encoding="utf-8")


def ask_peers(
    python: str,
    image: NDArray[np.float32],
    true: Floats,
    *,
    finders: Iterable[str] = tuple(FINDERS),
    **told: float,
) -> dict[str, Found]:
    """Let the finders look at a frame (Y, X) with true atoms (N, 2), in their own environment."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.savez(folder / "frame.npz", image=image, true=true)
        job = json.dumps({"finders": list(finders), "scene": told})
        (folder / "told.json").write_text(job, encoding="utf-8")
        command = [python, str(Path(__file__).resolve()), str(folder)]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode:
            raise SystemExit(f"The peers failed in {python}:\n{done.stderr}")
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        arrays = np.load(folder / "found.npz")
        return {peer: Found(arrays[peer], **facts) for peer, facts in about.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Run as a worker of detection.py.")
    parser.add_argument("folder", type=Path)
    worker(parser.parse_args().folder)
