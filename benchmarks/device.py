"""What a GPU saves, and whether it gives the same answer as the CPU: python benchmarks/device.py.

Every piece of work is done on the CPU and on the other device, in one process and one after the
other: atoms of a large frame, training of both engines and reading latents on crops of a movie,
and a latent image. The first run on a device, which loads its libraries, is not counted.

    python benchmarks/device.py --device cuda [--threads 8] [--out device.json]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from dense import four_channels
from rvae import write_report

from napari_rvae import (
    RVAE,
    Crops,
    detect_atoms,
    extract_crops,
    latent_image,
    sample_grid,
    simulate_graphene,
)
from napari_rvae.analysis.scores import match_sites
from napari_rvae.device import choose_device, describe_device, limit_threads

if TYPE_CHECKING:
    from collections.abc import Callable

#: Sites that both devices found are the same within so many pixels.
TOLERANCE = 3.0


@dataclass(frozen=True)
class Row:
    """One piece of work on both devices; seconds of wall time, CPU seconds of the process."""

    work: str
    cpu_wall: float
    cpu_cpu: float
    device_wall: float
    device_cpu: float
    agreement: str


def timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """Answer, wall seconds and CPU seconds of some work."""
    cpu, wall = time.process_time(), time.perf_counter()
    answer = work()  # the answers are arrays of NumPy, so nothing of them is still to be computed
    return answer, time.perf_counter() - wall, time.process_time() - cpu


def compare(
    work: str,
    do: Callable[[str], Any],
    device: str,
    agree: Callable[[Any, Any], str],
) -> Row:
    """Do a piece of work on both devices."""
    one, cpu_wall, cpu_cpu = timed(lambda: do("cpu"))
    other, wall, cpu = timed(lambda: do(device))
    row = Row(work, cpu_wall, cpu_cpu, wall, cpu, agree(one, other))
    print(
        f"{row.work:<34}{row.cpu_wall:>9.2f}{row.cpu_cpu:>10.2f}{row.device_wall:>10.2f}"
        f"{row.device_cpu:>10.2f}{row.cpu_wall / row.device_wall:>8.1f}  {row.agreement}",
        flush=True,
    )
    return row


def same_sites(one: Any, other: Any) -> str:
    """Share of the sites that both have, and how far apart these are."""
    pairs = match_sites(other, one, TOLERANCE)
    yx = ["y", "x"]
    apart = other[yx].to_numpy()[pairs[:, 0]] - one[yx].to_numpy()[pairs[:, 1]]
    worst = float(np.abs(apart).max()) if len(apart) else float("nan")
    return f"{len(one)} and {len(other)} sites, {len(pairs)} shared, at most {worst:.4f} px apart"


def same_values(one: Any, other: Any) -> str:
    """Differences over the spread of the values, and the largest, where two codes fit as well."""
    good = np.isfinite(one) & np.isfinite(other)
    apart = np.abs(one[good] - other[good]) / one[good].std()
    most, all_of_them = np.quantile(apart, (0.999, 1.0))
    return f"999 of 1000 within {most:.1e} of their spread, all within {all_of_them:.1e}"


def same_quality(one: RVAE, other: RVAE) -> str:
    """Losses of the last epochs: two trainings with other roundings are never the same."""
    return f"losses {one.history_[-1].loss:.3f} and {other.history_[-1].loss:.3f}"


def crops_of(n_frames: int) -> Crops:
    """Crops of a movie, about 2000 each frame."""
    movie = simulate_graphene(n_frames=n_frames, size=512, seed=0)
    return extract_crops(movie.frames, movie.sites)


def reading(crops: Crops, device: str) -> list[tuple[str, Callable[[str], Any]]]:
    """What one model, loaded on each device, is asked for."""
    with tempfile.TemporaryDirectory() as folder:
        RVAE(device="cpu", seed=0, epochs=5).fit(crops).save(folder)
        crop_model = {where: RVAE.load(folder, where) for where in ("cpu", device)}
    scan = four_channels(256, 0)
    window = extract_crops(scan, sample_grid(scan, step=6), window=24.0)
    with tempfile.TemporaryDirectory() as folder:
        RVAE(device="cpu", seed=0, epochs=5).fit(window).save(folder)
        scan_model = {where: RVAE.load(folder, where) for where in ("cpu", device)}

    def latents(where: str) -> Any:
        return crop_model[where].transform(crops)["z0"].to_numpy()

    def dense(where: str) -> Any:
        return latent_image(scan_model[where], scan, ("z0",), stride=2)["z0"][0].compute()

    return [("latents of these crops", latents), ("a latent image, stride 2", dense)]


def rows(options: argparse.Namespace) -> list[Row]:
    """All pieces of work."""
    large = simulate_graphene(n_frames=1, size=options.size, seed=1).frames
    crops = crops_of(options.frames)
    device = options.device
    print(f"{len(crops)} crops of {crops.pixels} px")

    def detect(where: str) -> Any:
        return detect_atoms(large, device=where)

    def train(**config: Any) -> Callable[[str], RVAE]:
        return lambda where: RVAE(device=where, seed=0, **config).fit(crops)

    warm = simulate_graphene(n_frames=1, size=192, seed=2)
    small = extract_crops(warm.frames, warm.sites)
    for engine in ("steerable", "pixel"):
        RVAE(device=device, decoder=engine, epochs=2).fit(small)
    detect_atoms(warm.frames, device=device)

    title = f"atoms of {options.size} x {options.size} px"
    result = [compare(title, detect, device, same_sites)]
    result.append(compare("steerable training", train(), device, same_quality))
    few = train(decoder="pixel", epochs=options.epochs)
    result.append(compare(f"pixel training, {options.epochs} epochs", few, device, same_quality))
    result += [compare(*work, device, same_values) for work in reading(crops, device)]
    return result


def main() -> None:
    """Run, print and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1 or mps (default: cuda)")
    parser.add_argument("--threads", type=int, help="most CPU threads (default: all)")
    parser.add_argument("--size", type=int, default=2048, help="side of the frame in pixels")
    parser.add_argument("--frames", type=int, default=20, help="frames of the movie of crops")
    parser.add_argument("--epochs", type=int, default=3, help="epochs of the pixel engine")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    options = parser.parse_args()
    device = describe_device(choose_device(options.device))
    print(f"CPU with {options.threads or 'all'} threads, and {device}")
    with limit_threads(options.threads):
        write_report(options.out, rows(options), device=device)


if __name__ == "__main__":
    main()
