"""The command line from end to end: simulated movies, files of every kind, and bad ones."""

import json
import math
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tifffile
from skimage import io as images

from napari_rvae import load_run, simulate_graphene
from napari_rvae.cli import main
from napari_rvae.cli.demo import METRICS

pytestmark = pytest.mark.e2e

QUICK = ["--device", "cpu", "--rvae.epochs", "3"]


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")  # main() would leave it set


# ---------------------------------------------------------------- demo


def test_the_demo_finds_its_own_truth(tmp_path, capsys):
    folder = tmp_path / "demo"
    argv = ["demo", "--frames", "4", "--size", "256", "--rvae.epochs", "8", "--device", "cpu"]
    assert main([*argv, "--seed", "1", "--out", str(folder)]) == 0
    out, err = capsys.readouterr()
    assert not err
    metrics = json.loads((folder / "metrics.json").read_text())
    assert list(metrics)[: len(METRICS)] == list(METRICS)
    assert all(name in out for name in METRICS)
    assert "self-checks of the model" in out
    assert metrics["check_angle"] < 1
    assert metrics["check_turn_spread"] < 0.1
    assert metrics["check_pose_leak"] < 0.05
    assert all(name.startswith("check_") for name in list(metrics)[len(METRICS) :])
    assert min(metrics[f"detection_{name}"] for name in ("precision", "recall", "f1")) > 0.97
    assert 0.9 < metrics["position_rmse_over_crb"] < 1.6
    assert metrics["sublattice_accuracy"] > 0.95
    assert metrics["angle_error_deg"] < 4
    assert metrics["latent_knn_recall"] > 0.5
    assert 0 < metrics["unit_macro_f1"] <= 1
    assert -1 <= metrics["unit_ari"] <= 1
    assert metrics["n_units"] >= 1
    assert 0 < metrics["seconds"] < 90
    assert (folder / "report.png").read_bytes().startswith(b"\x89PNG")
    run = load_run(folder)
    assert {"z0", "angle", "lattice_angle", "unit", "track_id"} <= set(run.sites.columns)
    assert run.load_model("cpu").is_fitted


def test_the_model_of_a_run_is_checked_again_with_the_same_result(movie, tmp_path, capsys):
    path, folder = tmp_path / "movie.npy", tmp_path / "results"
    np.save(path, movie)
    assert main(["run", str(path), "--out", str(folder), *QUICK]) == 0
    title = "self-checks of the model"
    first = capsys.readouterr().out.split(title)[1].split("written")[0]
    assert main(["check", str(folder), str(path), "--device", "cpu"]) == 0
    out, err = capsys.readouterr()
    assert not err
    assert out.split(title)[1].strip() == first.strip()


def test_the_demo_without_a_folder_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "--frames", "1", "--size", "160", *QUICK]) == 0
    assert not list(tmp_path.iterdir())
    printed = {line.split()[0] for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert set(METRICS) <= printed


# ---------------------------------------------------------------- files


@pytest.fixture(scope="module")
def movie():
    """Two frames of about 130 atoms, in whole counts."""
    data = simulate_graphene(n_frames=2, size=160, grains=1, hole_end=0.0, seed=2).frames.data
    return np.clip(np.rint(data), 0, 255)


WRITERS = {
    "movie.npy": np.save,
    "movie.tif": lambda path, data: tifffile.imwrite(path, data.astype(np.uint16)),
    "movie.png": lambda path, data: images.imsave(
        path, data[0].astype(np.uint8), check_contrast=False
    ),
}


@pytest.mark.parametrize("name", WRITERS)
def test_files_of_every_kind_are_analysed(name, movie, tmp_path, capsys):
    path, folder = tmp_path / name, tmp_path / "results"
    WRITERS[name](path, movie)
    assert main(["run", str(path), "--out", str(folder), *QUICK]) == 0
    assert not capsys.readouterr().err
    assert (folder / "report.png").stat().st_size > 10_000
    metrics = json.loads((folder / "metrics.json").read_text())
    assert all(name.startswith("check_") for name in metrics)
    sites = load_run(folder).sites
    assert len(sites) > 80 * sites["frame"].nunique()
    assert np.isfinite(sites["z0"]).sum() > 20


def test_a_folder_of_images_and_a_second_run(movie, tmp_path, capsys):
    folder, out = tmp_path / "frames", tmp_path / "out"
    folder.mkdir()
    for number, frame in enumerate(movie):
        WRITERS["movie.png"](folder / f"{number}.png", [frame])
    argv = ["run", str(folder), "--out", str(out), *QUICK]
    assert main(argv) == 0
    assert load_run(out).sites["frame"].max() == 1
    assert main(argv) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert main([*argv, "--overwrite"]) == 0


@pytest.mark.parametrize("kind", ["bool", "uint8", "int64", "float16", "1e30", "negative", "holes"])
def test_odd_numbers_are_analysed_all_the_same(kind, movie, tmp_path, capsys):
    data = movie[0]
    odd = {
        "bool": data > data.mean() + 0.5 * data.std(),
        "uint8": data.astype(np.uint8),
        "int64": data.astype(np.int64) * 2**40,
        "float16": data.astype(np.float16),
        "1e30": data * 1e30,
        "negative": -1e-3 * (data.max() - data) - 5,
        "holes": np.where(np.hypot(*np.mgrid[-80:80, -80:80]) < 15, np.nan, data),
    }[kind]
    np.save(tmp_path / "odd.npy", odd)
    assert main(["run", str(tmp_path / "odd.npy"), *QUICK]) == 0
    assert not capsys.readouterr().err


# ---------------------------------------------------------------- bad input


def noise(shape, seed=0):
    return np.random.default_rng(seed).normal(100, 10, shape)


BAD = {
    "missing.npy": (None, "missing.npy"),
    "movie.xyz": (lambda path: path.write_bytes(b"what is this"), "movie.xyz"),
    "cut.npy": (lambda path: cut(np.save, path), "cut.npy"),
    "cut.tif": (lambda path: cut(tifffile.imwrite, path), "cut.tif"),
    "cut.png": (lambda path: cut(WRITERS["movie.png"], path), "cut.png"),
    "zero.npy": (lambda path: path.write_bytes(b""), "zero.npy"),
    "pickle.npy": (lambda path: np.save(path, np.array([{}]), allow_pickle=True), "pickle.npy"),
    "rgb.png": (
        lambda path: images.imsave(path, noise((64, 64, 3)).astype(np.uint8)),
        "colour",
    ),
    "nan.npy": (lambda path: np.save(path, np.full((2, 64, 64), np.nan)), "No atoms"),
    "constant.npy": (lambda path: np.save(path, np.full((64, 64), 7)), "No atoms"),
    "tiny.npy": (lambda path: np.save(path, noise((4, 4))), "too small"),
    "empty.npy": (lambda path: np.save(path, np.empty((0, 64, 64))), "empty"),
    "line.npy": (lambda path: np.save(path, noise(64)), "1 axes"),
    "volume.npy": (lambda path: np.save(path, noise((2, 2, 2, 64, 64))), "5 axes"),
    "complex.npy": (lambda path: np.save(path, noise((64, 64)) + 1j), "complex"),
    "text.npy": (lambda path: np.save(path, np.full((64, 64), "a")), "no numbers"),
    "noise.npy": (lambda path: np.save(path, noise((128, 128))), "No atoms"),
}


def cut(write, path):
    """Write a movie and lose the second half of the file."""
    write(path, noise((5, 64, 64)))  # not 4: an image of 4 channels
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_nothing_written(name, tmp_path, capsys):
    make, said = BAD[name]
    path, folder = tmp_path / name, tmp_path / "results"
    if make is not None:
        make(path)
    assert main(["run", str(path), "--out", str(folder), *QUICK]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert err.startswith("napari-rvae: ")
    assert said in err
    assert "unexpected" not in err
    assert not folder.exists()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--crop.window", "500"], "larger than the frame"),
        (["--crop.window_nd", "40"], "larger than the frame"),
        (["--channel", "HAADF"], "HAADF"),
        (["--device", "abacus"], "abacus"),
    ],
)
def test_options_that_do_not_fit_the_movie(flags, said, movie, tmp_path, capsys):
    np.save(tmp_path / "movie.npy", movie)
    assert main(["run", str(tmp_path / "movie.npy"), *QUICK, *flags]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert said in err


def test_fewer_crops_than_a_batch(movie, tmp_path, capsys):
    np.save(tmp_path / "few.npy", movie[0, :70, :70])
    assert main(["run", str(tmp_path / "few.npy"), *QUICK]) in (0, 1)
    assert "unexpected" not in capsys.readouterr().err


def test_the_metrics_of_the_demo_are_json_even_without_meaning(tmp_path):
    folder = tmp_path / "demo"
    assert main(["demo", "--frames", "1", "--size", "160", *QUICK, "--out", str(folder)]) == 0
    metrics = json.loads((folder / "metrics.json").read_text(), parse_constant=pytest.fail)
    assert all(value is None or math.isfinite(value) for value in metrics.values())


@pytest.fixture
def ctrl_c():
    """Let programs be interrupted, also where a shell in the background told us to ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_stops_with_one_line_and_nothing_written(tmp_path, ctrl_c):
    argv = ["demo", "--frames", "1", "--size", "160", "--rvae.epochs", "10000", "--out", "run"]
    with subprocess.Popen(
        [sys.executable, "-m", "napari_rvae.cli", *argv],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while "cutting crops" not in process.stdout.readline():
            assert process.poll() is None
        time.sleep(0.5)  # into the training
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    # interrupted inside an exec, as some imports have, Python ends itself by the signal: to a
    # shell that is 130 too
    assert process.returncode in (130, -signal.SIGINT)
    assert err == "napari-rvae: stopped; no file is half written.\n"
    assert not list(tmp_path.iterdir())
