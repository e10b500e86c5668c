"""Time of dense latent images of a scan of four channels, and how near strides come to every pixel.

    python benchmarks/dense.py [--size 256] [--quick]

Prints one line for each stride: CPU seconds, wall seconds, and the correlation of z0 with that of
a stride of one pixel where this was computed.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

from napari_rvae import RVAE, Frames, extract_crops, latent_image, sample_grid, simulate_walls


def four_channels(size: int, seed: int) -> Frames:
    """Two frames of amplitude, both parts of the response, and topography."""
    frames = simulate_walls(n_frames=2, size=size, seed=seed).frames
    data = np.asarray(frames.data, float)
    phase = np.radians(data[:, 1])
    response = data[:, 0] * np.exp(1j * phase)
    stack = np.stack([data[:, 0], response.real, response.imag, data[:, 2]], axis=1)
    return Frames(stack, channels=("amplitude", "real", "imaginary", "topography"))


def main() -> None:
    """Train on a grid, draw with several strides, print and write the times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=256, help="side of the scan in pixels")
    parser.add_argument("--window", type=float, default=24.0, help="side of the window in pixels")
    parser.add_argument("--quick", action="store_true", help="strides 8 and 4 only")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    options = parser.parse_args()
    movie = four_channels(options.size, 0)
    crops = extract_crops(movie, sample_grid(movie, step=6), window=options.window)
    model = RVAE(epochs=10, device="cpu").fit(crops)
    model.release()
    rows, exact = [], None
    for stride in (8, 4) if options.quick else (1, 2, 4, 8):
        image = latent_image(model, movie, ("z0", "angle"), stride=stride)
        cpu, wall = time.process_time(), time.perf_counter()
        z0 = image["z0"][0].compute()
        image["angle"][0].compute()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        exact = z0 if stride == 1 else exact
        same = float("nan")
        if exact is not None:
            both = np.isfinite(z0) & np.isfinite(exact)
            same = float(np.corrcoef(z0[both], exact[both])[0, 1])
        rows.append({"stride": stride, "cpu_s": cpu, "wall_s": wall, "correlation": same})
        print(f"stride {stride}: {cpu:.1f} CPU s, {wall:.1f} s, r = {same:.3f}")
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
