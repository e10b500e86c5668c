"""Compares with AtomAI 0.8.1, the published rVAE, on the same crops in one run.

1. Agreement: ``decoder="pixel"`` is that rVAE. With AtomAI's own weights it must give AtomAI's
   loss, and trained from weights of its own, with the same settings for the same epochs, the
   same loss within a few percent (mean over the seeds). Crops are standardised for both, and a
   loss is half the sum of squared errors over all pixels, plus the divergence of the codes.
2. Cost and quality: a complete fit by the default engine, from raw crops and with everything
   counted, against one epoch of AtomAI; and what AtomAI finds in ten times our cost, as
   documented (the example of its class: crops as they are, batch 100, Adam 1e-4, angle prior
   pi / 2, shifts) and tuned (standardised, batch 32, Adam 1e-3, angle prior pi, and without
   shifts, as ours: the sites are known to 0.1 px). Crops and scores are those of ``rvae.py``;
   for 48 px the crops are resampled to a finer grid, as those of frames are. AtomAI's angle has
   the sense of this package, which every run checks, so that no score needs to try both.

AtomAI runs in an environment of its own, because it changes global seeds, needs other packages
and writes a file after every epoch (here into a temporary folder). It draws its first weights
from seed 0 whatever its seed is; here they are drawn anew from each seed, in the same way::

    python -m venv atomai-env
    atomai-env/bin/pip install torch==2.13.0  # a CPU build
    atomai-env/bin/pip install atomai==0.8.1 --no-deps
    atomai-env/bin/pip install six numpy scipy matplotlib pandas scikit-learn scikit-image \
        networkx opencv-python-headless progressbar2 gpytorch "mendeleev<=0.6.1"

torchvision, which would bring another torch, is replaced by a stub: AtomAI needs it only to lay
out pictures, and for three networks that are not used here.

    OMP_NUM_THREADS=1 python benchmarks/against_atomai.py --atomai-python atomai-env/bin/python
    OMP_NUM_THREADS=1 python benchmarks/against_atomai.py --quick
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import itertools
import json
import math
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # the same file runs in AtomAI's environment, which has no napari-rvae
    from rvae import Truth

    from napari_rvae import Crops

#: Bars: loss of ours over theirs; cost of our fit of so many crops over one epoch of theirs, by
#: the side of a crop.
WORST_AGREEMENT = 0.03
SAME_WEIGHTS = 1e-5
MOST_OF_AN_EPOCH, BAR_CROPS = {32: 0.5, 48: 0.25}, 10_000


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How AtomAI is trained."""

    epochs: int
    batch: int
    rate: float
    angle_prior: float
    shifts: bool
    latents: int
    seed: int
    cpu_seconds: float = math.inf  # stop after the epoch in which these are used up


# --------------------------------------------------------------------------- AtomAI's side
class _BudgetSpentError(Exception):
    """Ends a training of AtomAI's."""


def _atomai_model(side: int, settings: Settings) -> Any:
    """AtomAI's rVAE with first weights of the seed's own, telling the time of each epoch."""
    for name in ("torchvision", "torchvision.utils", "torchvision.models"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules["torchvision.utils"].make_grid = None  # type: ignore[attr-defined]
    for name in ("mobilenet_v2", "resnet50", "vgg16"):
        setattr(sys.modules["torchvision.models"], name, None)
    import torch
    from atomai.models import rVAE
    from atomai.utils import transform_coordinates

    # a turn by a takes the place (y, x) = (0, 1) of a crop to (sin a, cos a) of the canonical
    # picture; AtomAI's coordinates are (y, -x)
    turned = transform_coordinates(torch.tensor([[[0.0, -1.0]]]), torch.tensor([0.3]), 0)
    expected = torch.tensor([[[math.sin(0.3), -math.cos(0.3)]]])
    if not torch.allclose(turned, expected):
        raise SystemExit("AtomAI's angle has another sense than is said here.")

    class Timed(rVAE):  # type: ignore[misc, valid-type]
        cpu: list[float]

        def print_statistics(self, _: int) -> None:
            self.cpu.append(time.process_time())
            if self.cpu[-1] - self.cpu[0] > settings.cpu_seconds:
                raise _BudgetSpentError

    model = Timed((side, side), settings.latents, translation=settings.shifts, seed=settings.seed)
    torch.manual_seed(settings.seed)
    for net in (model.encoder_net, model.decoder_net):
        for layer in net.modules():
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()
    return model


def _atomai_losses(model: Any, images: NDArray[np.float32]) -> dict[str, Any]:
    """Loss of a batch at the first weights, with codes known exactly, and these weights."""
    import torch

    with torch.no_grad():
        model.encoder_net.fc12.bias -= 20.0  # no random part is left in the codes
        model.dx_prior, model.loss = 0.1, "mse"
        model.kdict_["phi_prior"] = 0.1
        loss = -float(model.forward_compute_elbo(torch.from_numpy(images), mode="eval"))
    nets = {"encoder": model.encoder_net, "decoder": model.decoder_net}
    weights = {
        f"{n}.{k}": v.numpy() for n, net in nets.items() for k, v in net.state_dict().items()
    }
    return {"loss": loss, **weights}


def atomai_worker(folder: Path) -> None:
    """Train AtomAI as the job in a folder says, and leave what was found there."""
    import torch

    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    settings = Settings(**job["settings"])
    arrays = np.load(folder / "crops.npz")
    images, test = arrays["images"], arrays["test"]
    model = _atomai_model(images.shape[-1], settings)
    if job["weights"]:
        np.savez(folder / "found.npz", **_atomai_losses(model, images))
        return
    model.cpu, wall = [time.process_time()], time.perf_counter()
    with contextlib.suppress(_BudgetSpentError):
        model.fit(
            images,
            training_cycles=settings.epochs,
            batch_size=settings.batch,
            rotation_prior=settings.angle_prior,
            filename=str(folder / "model"),
            optimizer=lambda parameters: torch.optim.Adam(parameters, lr=settings.rate),
        )
    wall = time.perf_counter() - wall
    codes = model.encode(test)[0]
    loss = -np.array(model.loss_history["train_loss"])
    first = 1 + 2 * int(settings.shifts)
    np.savez(
        folder / "found.npz",
        loss=loss,
        cpu=np.diff(model.cpu),
        wall=wall,
        angle=codes[:, 0],
        z=codes[:, first:],
    )


def ask_atomai(
    python: str,
    images: NDArray[np.float32],
    settings: Settings,
    *,
    test: NDArray[np.float32] | None = None,
    weights: bool = False,
) -> dict[str, NDArray[Any]]:
    """Let AtomAI train on pictures (N, S, S) in its own environment."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.savez(folder / "crops.npz", images=images, test=images[:20] if test is None else test)
        job = {"settings": dataclasses.asdict(settings), "weights": weights}
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        command = [python, str(Path(__file__).resolve()), "--worker", str(folder)]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode:
            raise SystemExit(f"AtomAI failed in {python}:\n{done.stderr}")
        return dict(np.load(folder / "found.npz"))


# --------------------------------------------------------------------------- crops
def make_crops(kind: str, count: int, side: int, seed: int, peak: float) -> tuple[Crops, Truth]:
    """Crops of `rvae.py`, resampled to a grid of another side."""
    from rvae import PIXELS, simulate
    from scipy import ndimage

    rng = np.random.default_rng([seed, count])
    shift = rng.normal(0, 0.1, (count, 2))
    crops, truth = simulate(kind, count, rng=rng, shift=shift, peak_counts=peak)
    if side == PIXELS:
        return crops, truth
    place = (np.arange(side) - (side - 1) / 2) * PIXELS / side + (PIXELS - 1) / 2
    where = np.stack(np.meshgrid(place, place, indexing="ij"))
    images = [ndimage.map_coordinates(image[0], where, mode="nearest") for image in crops.images]
    resampled = np.array(images, np.float32)[:, None]
    return dataclasses.replace(crops, images=resampled, window_px=float(PIXELS)), truth


def standardised(images: NDArray[np.float32], scale: float) -> NDArray[np.float32]:
    """Pictures (N, S, S) of crops (N, 1, S, S) as the package trains on them."""
    return np.ascontiguousarray(images[:, 0] / scale)


# --------------------------------------------------------------------------- 1. agreement
def loss_with_weights(found: dict[str, NDArray[Any]], images: NDArray[np.float32]) -> float:
    """Loss of ours with AtomAI's weights; its x axis points the other way."""
    import torch

    from napari_rvae.vae.pixel.model import PixelVAE

    weights = {k: torch.from_numpy(v) for k, v in found.items() if k != "loss"}
    latents = weights["decoder.coord_latent.fc_latent.weight"].shape[1]
    hidden = len(weights["decoder.out.weight"][0])
    seed = torch.Generator().manual_seed(0)
    model = PixelVAE(1, images.shape[-1], latents, hidden, seed).eval()
    last = {
        part: torch.cat([weights[f"encoder.fc11.{part}"], weights[f"encoder.fc12.{part}"]])
        for part in ("weight", "bias")
    }
    for part in last.values():
        part[2] *= -1  # mean of the shift along x
    mirrored = weights["decoder.coord_latent.fc_coord.weight"] * torch.tensor([1.0, -1.0])
    model.load_state_dict(
        {
            **{f"encoder.{k}": weights[f"encoder.dense.{k}"] for k in _layers(0, 2)},
            **{f"encoder.4.{k}": v for k, v in last.items()},
            "place.weight": mirrored,
            "place.bias": weights["decoder.coord_latent.fc_coord.bias"],
            "content.weight": weights["decoder.coord_latent.fc_latent.weight"],
            **{f"wide.{k}": weights[f"decoder.fc_decoder.{k}"] for k in _layers(0, 2)},
            **{f"out.{k}": weights[f"decoder.out.{k}"] for k in ("weight", "bias")},
        }
    )
    with torch.no_grad():
        return float(model.loss(torch.from_numpy(images[:, None]), beta=1.0, seed=seed).total)


def _layers(*numbers: int) -> list[str]:
    return [f"{n}.{part}" for n in numbers for part in ("weight", "bias")]


@dataclass(frozen=True)
class Agreement:
    """Losses of one setting after its epochs, one for each seed."""

    setting: str
    epochs: int
    first: float  # AtomAI's mean in the first epoch
    ours: list[float]
    theirs: list[float]

    @property
    def difference(self) -> float:
        """Of the means over the seeds, relative to theirs."""
        return float(np.mean(self.ours) / np.mean(self.theirs) - 1)


def agreement(options: argparse.Namespace) -> Iterator[tuple[str, bool, Any]]:
    """Compare losses; yields lines, whether they hold, and what to keep."""
    from napari_rvae import RVAE, RVAEConfig

    crops, _ = make_crops("motif", options.agreement_crops, 24, 0, options.peak)
    images = standardised(crops.images, float(crops.images.std(dtype=np.float64)))
    published = RVAEConfig.published(epochs=options.agreement_epochs)
    livelier = dataclasses.replace(published, learning_rate=1e-3, batch_size=32)
    wide = dataclasses.replace(livelier, angle_prior_sd=math.pi, shifts=False)
    found = ask_atomai(options.atomai_python, images, _settings(published, 0), weights=True)
    ours, theirs = loss_with_weights(found, images), float(found["loss"])
    holds = abs(ours / theirs - 1) <= SAME_WEIGHTS
    text = f"same weights, same crops: ours {ours:.4f}, AtomAI {theirs:.4f}"
    yield text, holds, {"ours": ours, "theirs": theirs}
    settings = {"published": published, "1e-3, batch 32": livelier, "prior pi, no shifts": wide}
    for name, config in settings.items():
        mine, his = [], []
        for seed in options.seeds:
            model = RVAE(config, seed=seed, device="cpu").fit(crops)
            mine.append([record.loss for record in model.history_])
            his.append(ask_atomai(options.atomai_python, images, _settings(config, seed))["loss"])
        row = Agreement(
            name,
            config.epochs,
            float(np.mean([loss[0] for loss in his])),
            [loss[-1] for loss in mine],
            [float(loss[-1]) for loss in his],
        )
        text = (
            f"{name}, {row.epochs} epochs: AtomAI {row.first:.1f} -> {np.mean(row.theirs):.1f} "
            f"(sd over seeds {np.std(row.theirs):.1f}), ours {np.mean(row.ours):.1f} "
            f"(sd {np.std(row.ours):.1f}): {100 * row.difference:+.2f} %"
        )
        yield text, abs(row.difference) <= WORST_AGREEMENT, dataclasses.asdict(row)


def _settings(config: Any, seed: int) -> Settings:
    """Give AtomAI the options of ours."""
    return Settings(
        epochs=config.epochs,
        batch=config.batch_size,
        rate=config.learning_rate,
        angle_prior=config.angle_prior_sd,
        shifts=config.shifts,
        latents=config.n_latents,
        seed=seed,
    )


# --------------------------------------------------------------------------- 2. cost and quality
@dataclass(frozen=True)
class Row:
    """One line of the table."""

    kind: str
    side: int
    seed: int
    who: str
    epochs: int
    cpu_s: float
    wall_s: float
    epoch_cpu_s: float
    ari: float
    neighbour_recall: float
    angle_error_deg: float
    factor_spearman: float


HEADER = (
    f"{'kind':<10}{'side':>5}{'seed':>5}  {'who':<18}{'epochs':>7}{'CPU s':>9}{'wall s':>9}"
    f"{'CPU s/epoch':>13}{'ARI':>7}{'5-NN':>7}{'angle':>8}{'factor':>8}"
)


def line_of(row: Row) -> str:
    """One row of the table as text."""
    return (
        f"{row.kind:<10}{row.side:>5}{row.seed:>5}  {row.who:<18}{row.epochs:>7}{row.cpu_s:>9.1f}"
        f"{row.wall_s:>9.1f}{row.epoch_cpu_s:>13.2f}{row.ari:>7.3f}{row.neighbour_recall:>7.3f}"
        f"{row.angle_error_deg:>8.2f}{row.factor_spearman:>8.3f}"
    )


def _scores(angle: NDArray[np.float64], z: NDArray[np.float64], truth: Truth) -> dict[str, float]:
    import rvae

    return {
        "ari": rvae.class_agreement(z, truth),
        "neighbour_recall": rvae.neighbour_recall(z, truth),
        "angle_error_deg": rvae.angle_error(angle, truth),
        "factor_spearman": rvae.factor_spearman(z, truth),
    }


def compare(kind: str, side: int, seed: int, options: argparse.Namespace) -> Iterator[Row]:
    """Ours, then AtomAI as documented and tuned, on the same crops."""
    from napari_rvae import RVAE

    crops, _ = make_crops(kind, options.crops, side, seed, options.peak)
    test, truth = make_crops(kind, 2000, side, seed + 1000, options.peak)
    cpu, wall = time.process_time(), time.perf_counter()
    model = RVAE(n_latents=options.latents, seed=seed, device="cpu").fit(crops)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    table = model.transform(test)
    z = table[[f"z{i}" for i in range(options.latents)]].to_numpy(float)
    scores = _scores(table["angle"].to_numpy(float), z, truth)
    about = {"kind": kind, "side": side, "seed": seed}
    epochs = len(model.history_)
    yield Row(
        **about,
        who="ours",
        epochs=epochs,
        cpu_s=cpu,
        wall_s=wall,
        epoch_cpu_s=cpu / epochs,
        **scores,
    )
    common = Settings(
        epochs=1000,
        batch=100,
        rate=1e-4,
        angle_prior=math.pi / 2,
        shifts=True,
        latents=options.latents,
        seed=seed,
        cpu_seconds=options.budget * cpu,
    )
    tuned = dataclasses.replace(common, batch=32, rate=1e-3, angle_prior=math.pi, shifts=False)
    scale = float(crops.images.std(dtype=np.float64))
    for who, settings, by in (("AtomAI documented", common, 1.0), ("AtomAI tuned", tuned, scale)):
        images, unseen = standardised(crops.images, by), standardised(test.images, by)
        found = ask_atomai(options.atomai_python, images, settings, test=unseen)
        yield Row(
            **about,
            who=who,
            epochs=len(found["cpu"]),
            cpu_s=float(found["cpu"].sum()),
            wall_s=float(found["wall"]),
            epoch_cpu_s=float(found["cpu"].mean()),
            **_scores(found["angle"].astype(float), found["z"].astype(float), truth),
        )


def cost_bars(rows: Sequence[Row], n_crops: int) -> Iterator[str]:
    """Cost of our whole fit over that of one epoch of AtomAI's, tuned or not, of every seed."""
    for side, most in MOST_OF_AN_EPOCH.items():
        ratios = []
        for ours in rows:
            if ours.who == "ours" and ours.side == side:
                same = (ours.kind, side, ours.seed)
                theirs = [r for r in rows if r.who != "ours" and (r.kind, r.side, r.seed) == same]
                ratios += [ours.cpu_s / r.epoch_cpu_s for r in theirs]
        if ratios:
            verdict = "holds" if max(ratios) <= most else "FAILS"
            yield (
                f"{verdict if n_crops == BAR_CROPS else 'told':<6} our whole fit costs "
                f"{min(ratios):.3f} to {max(ratios):.3f} of one AtomAI epoch at {side} px "
                f"(at most {most} of {BAR_CROPS} crops)"
            )


# --------------------------------------------------------------------------- command line
def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--atomai-python", default="atomai-env/bin/python")
    parser.add_argument("--quick", action="store_true", help="a minute: few crops, one seed, 32 px")
    parser.add_argument("--part", choices=("agreement", "cost", "both"), default="both")
    parser.add_argument("--seeds", type=_numbers, default=[0, 1, 2], help="such as 0,1,2")
    parser.add_argument("--kinds", default="motif", help="of crops for the cost, comma-separated")
    parser.add_argument("--sides", type=_numbers, default=[32, 48], help="of crops for the cost")
    parser.add_argument("--crops", type=int, default=10_000, help="for the cost")
    parser.add_argument("--latents", type=int, default=2)
    parser.add_argument(
        "--budget", type=float, default=10.0, help="what AtomAI may cost, in costs of our fit"
    )
    parser.add_argument("--peak", type=float, default=40.0, help="counts at the brightest peak")
    parser.add_argument("--agreement-crops", type=int, default=1000)
    parser.add_argument("--agreement-epochs", type=int, default=5)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.quick:
        options.seeds, options.sides = options.seeds[:1], options.sides[:1]
        options.crops = options.agreement_crops = 300
        options.agreement_epochs, options.budget = 2, 1.0
    return options


def _report_agreement(options: argparse.Namespace) -> list[Any]:
    kept = []
    for text, holds, found in agreement(options):
        kept.append(found)
        print(f"{'holds' if holds else 'FAILS':<6} {text}", flush=True)
    return kept


def _report_cost(options: argparse.Namespace) -> list[Any]:
    print(f"{options.crops} crops, {options.latents} latents; angle in degrees")
    print(HEADER)
    rows = []
    places = itertools.product(options.kinds.split(","), options.sides, options.seeds)
    for kind, side, seed in places:
        for row in compare(kind, side, seed, options):
            rows.append(row)
            print(line_of(row), flush=True)
    for text in cost_bars(rows, options.crops):
        print(text)
    return [dataclasses.asdict(row) for row in rows]


def main() -> None:
    options = _arguments()
    if options.worker:
        atomai_worker(options.worker)
        return
    from rvae import machine

    report: dict[str, Any] = {"machine": machine()}
    print(", ".join(f"{name} {value}" for name, value in report["machine"].items()))
    if options.part != "cost":
        report["agreement"] = _report_agreement(options)
    if options.part != "agreement":
        report["cost"] = _report_cost(options)
    if options.out:
        options.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
