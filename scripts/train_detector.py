"""Train the network of the detection: python scripts/train_detector.py.

Simulates the frames, trains on them, and writes the weights with their description into the
package. Everything follows from the seed: the same versions of Python, NumPy, SciPy and torch on
the same kind of processor give the same weights, bit by bit, when computed on one thread, as is
done here. Elsewhere the sums round differently and the weights differ slightly.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import save
from torch.nn.functional import binary_cross_entropy_with_logits

from napari_rvae.detect.network import NETWORK_SIGMA, AtomNetwork, network_input
from napari_rvae.preprocess.noise import noise_level
from napari_rvae.render import render_gaussians
from napari_rvae.synthetic.specimens import SIMULATOR_VERSION, random_specimen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

FOLDER = Path(__file__).resolve().parents[1] / "src" / "napari_rvae" / "detect"

#: Side of the frames at the network's scale, frames a step, and how often each frame is seen.
SIDE, BATCH, VIEWS = 64, 8, 3

#: The width that a frame is rescaled by is wrong by this factor at most: so is a measured one.
WRONG = 1.25

#: Width of the target's peaks at the network's scale, in pixels.
PEAK = 0.8

#: An error on an atom counts so many times as much.
WEIGHT = 6.0

#: Frames that no step sees, to tell how well the network does.
N_HELD_OUT = 64


class Example(NamedTuple):
    """What the network sees, and what it should say: (2, Y, X) and (Y, X)."""

    seen: NDArray[np.float32]
    target: NDArray[np.float32]


def example(rng: np.random.Generator) -> Example:
    """Simulate one frame."""
    sigma = math.exp(rng.uniform(math.log(0.9), math.log(4.2)))
    believed = sigma * math.exp(rng.uniform(-1, 1) * math.log(WRONG))
    side = max(16, round(SIDE * believed / NETWORK_SIGMA))
    specimen = random_specimen(rng, sigma, side)
    image = specimen.image.astype(float)
    seen = network_input(image, believed, noise_level(image))
    step = side / seen.shape[1]
    places = (specimen.points + 0.5) / step - 0.5
    shape = (seen.shape[1], seen.shape[2])
    target = render_gaussians(*places.T, 1.0, PEAK, shape).clip(0, 1).astype(np.float32)
    return Example(seen, target)


def batches(rng: np.random.Generator, steps: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Frames in groups; a frame comes back a few times, among others."""
    pool = [example(rng) for _ in range(8 * BATCH)]
    for _ in range(steps):
        for _ in range(max(1, BATCH // VIEWS)):
            pool[rng.integers(len(pool))] = example(rng)
        chosen = rng.choice(len(pool), BATCH, replace=False)
        yield stacked([pool[k] for k in chosen])


def stacked(examples: list[Example]) -> tuple[torch.Tensor, torch.Tensor]:
    seen, target = (np.stack([e[k] for e in examples]) for k in (0, 1))
    frames = torch.from_numpy(seen).contiguous(memory_format=torch.channels_last)
    return frames, torch.from_numpy(target)


def loss(network: AtomNetwork, seen: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    logits = network(seen)
    return binary_cross_entropy_with_logits(logits, target, weight=1 + (WEIGHT - 1) * target)


def train(seed: int, steps: int, width: int) -> tuple[AtomNetwork, list[float]]:
    """Train a network; the learning rate rises at first and then falls to zero."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    frames, others = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(2))
    network = AtomNetwork(width).to(memory_format=torch.channels_last)
    held_out = stacked([example(others) for _ in range(N_HELD_OUT)])
    optimizer = torch.optim.AdamW(network.parameters(), lr=4e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=4e-3, total_steps=steps, pct_start=0.1
    )
    history, begin = [], time.process_time()
    for number, (seen, target) in enumerate(batches(frames, steps), start=1):
        network.train()
        optimizer.zero_grad()
        value = loss(network, seen, target)
        value.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if number % 200 == 0 or number == steps:
            history.append(held_out_loss(network, held_out))
            passed = time.process_time() - begin
            print(f"step {number}: held-out loss {history[-1]:.5f}, {passed:.0f} CPU s", flush=True)
    return network, history


@torch.inference_mode()
def held_out_loss(network: AtomNetwork, frames: tuple[torch.Tensor, torch.Tensor]) -> float:
    network.eval()
    parts = zip(*(part.split(BATCH) for part in frames), strict=True)
    return float(np.mean([float(loss(network, *part)) for part in parts]))


def write(folder: Path, network: AtomNetwork, about: dict[str, Any]) -> None:
    """Write the weights and, beside them, what they are."""
    tensors = {name: t.detach().contiguous() for name, t in network.state_dict().items()}
    content = save(tensors)
    about = {
        "format": "napari-rvae detection network",
        "format_version": 1,
        **about,
        "parameters": sum(p.numel() for p in network.parameters()),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "network.safetensors").write_bytes(content)
    (folder / "network.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--width", type=int, default=12, help="channels at the finest scale")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the weights")
    options = parser.parse_args(arguments)
    network, history = train(options.seed, options.steps, options.width)
    about = {
        "network": {"width": options.width},
        "training": {
            "command": "python scripts/train_detector.py",
            "seed": options.seed,
            "steps": options.steps,
            "simulator_version": SIMULATOR_VERSION,
            "held_out_loss": history[-1],
            "versions": {"torch": torch.__version__, "numpy": np.__version__},
        },
    }
    write(options.out, network, about)


if __name__ == "__main__":
    main()
