import numpy as np
import pandas as pd
import pytest

from napari_rvae import detect_walls, load_run, simulate_walls
from napari_rvae.cli import main


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """A movie of two scans, amplitude and phase."""
    movie = simulate_walls(n_frames=2, size=112, seed=1)
    path = tmp_path_factory.mktemp("scan") / "scan.npy"
    np.save(path, np.asarray(movie.frames.data)[:, :2])
    return path


def test_walls_are_told_and_written(scan, tmp_path, capsys):
    out = tmp_path / "walls"
    assert main(["walls", str(scan), "--walls.spacing", "3", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "domains" in said
    run = load_run(out)
    assert run.configs["WallConfig"].spacing == 3.0
    direct = detect_walls(np.load(scan), spacing=3.0)
    assert len(run.sites) == len(direct)
    assert set(run.sites["wall_type"]) == {"180", "ferroelastic"}
    assert {"normal_angle_deg", "wall_type"} & set(pd.read_csv(out / "walls.csv"))
    assert (out / "junctions.csv").is_file()
    assert main(["walls", str(scan), "--out", str(out)]) == 1
    assert "--overwrite" in capsys.readouterr().err


def test_of_a_movie_it_tells_what_moves_and_what_holds(tmp_path, capsys):
    movie = simulate_walls(n_frames=12, size=96, seed=1)
    path, out = tmp_path / "movie.npy", tmp_path / "walls"
    np.save(path, np.asarray(movie.frames.data)[:, :2])
    assert main(["walls", str(path), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "median displacement" in said
    assert "pinning centre" in said
    assert np.isfinite(load_run(out).sites["displacement"]).mean() > 0.5
    assert "displacement" in pd.read_csv(out / "walls.csv")
    tables = {name: pd.read_csv(out / f"{name}.csv") for name in ("switched_area", "pinning")}
    assert len(tables["switched_area"]) == 12
    assert {"y", "x", "strength", "released"} <= set(tables["pinning"])
    assert {"frame", "sign"} <= set(pd.read_csv(out / "new_domains.csv"))
    np.save(path, np.asarray(movie.frames.data)[:2, :2])
    assert main(["walls", str(path), "--out", str(out), "--overwrite"]) == 0
    assert (out / "switched_area.csv").is_file()
    assert not (out / "pinning.csv").exists()  # it was of the earlier run


def test_windows_around_walls_are_trained_on(scan, tmp_path, capsys):
    out = tmp_path / "walls"
    flags = ["--window", "20", "--rvae.epochs", "2", "--device", "cpu", "--out", str(out)]
    assert main(["walls", str(scan), *flags]) == 0
    run = load_run(out)
    assert run.has_model
    assert np.isfinite(run.sites["z0"]).mean() > 0.5
    assert "unit 0" in capsys.readouterr().out


def test_a_run_of_walls_is_told_and_checked_with_its_scans(scan, tmp_path, capsys):
    first, second = tmp_path / "first.npy", tmp_path / "second.npy"
    for path, frame in zip((first, second), np.load(scan), strict=True):
        np.save(path, frame[None])
    out, scans = tmp_path / "walls", [str(first), str(second)]
    flags = ["--channels", "0,1", "--window", "20", "--rvae.epochs", "1", "--device", "cpu"]
    assert main(["walls", *scans, *flags, "--out", str(out)]) == 0
    again = [str(out), *scans, "--channel", "0,1"]
    assert main(["units", *again, "--out", str(tmp_path / "cards")]) == 0
    assert "cutting crops" in capsys.readouterr().out
    assert (tmp_path / "cards" / "units.png").is_file()
    assert main(["check", *again, "--device", "cpu"]) == 0
    assert "self-checks" in capsys.readouterr().out
    assert main(["check", str(out), str(first), "--channel", "0,1"]) == 1
    assert "of the run" in capsys.readouterr().err
    assert main(["walls", *scans, "--channels", "0,1", "--out", str(tmp_path / "plain")]) == 0
    assert main(["units", str(tmp_path / "plain")]) == 1
    assert "walls --window" in capsys.readouterr().err


def test_walls_of_a_vector(tmp_path, capsys):
    movie = simulate_walls(n_frames=1, size=112, seed=1, in_plane="neel").frames
    path, out = tmp_path / "scan.npy", tmp_path / "walls"
    np.save(path, np.asarray(movie.select_channel("amplitude").data))
    assert main(["walls", str(path), "--walls.modality", "vector"]) == 1
    lateral = simulate_walls(n_frames=1, size=112, seed=1, lateral=True).frames
    np.save(path, np.asarray(lateral.data))
    flags = ["--channels", "0,1,2,3", "--walls.modality", "vector", "--out", str(out)]
    flags += ["--window", "20", "--rvae.epochs", "1", "--rvae.rotation", "false"]
    assert main(["walls", str(path), *flags, "--device", "cpu"]) == 0
    assert "90-degree walls" in capsys.readouterr().out
    run = load_run(out)
    assert "180" in set(run.sites["wall_type"])
    assert "polarization_turn_deg" in pd.read_csv(out / "walls.csv")


def test_several_scans_are_registered(scan, tmp_path, capsys):
    data = np.load(scan)
    paths = [tmp_path / f"{k}.npy" for k in range(2)]
    for k, path in enumerate(paths):
        np.save(path, data[:1, :, k : 100 + k, 2 * k : 100 + 2 * k])
    assert main(["walls", *map(str, paths)]) == 0
    assert "1.npy: moved by (" in capsys.readouterr().out


def test_wrong_channels_and_options_are_one_line(scan, tmp_path, capsys):
    assert main(["walls", str(scan), "--channels", "amplitude,phase"]) == 1
    assert "no channel 'amplitude'" in capsys.readouterr().err
    assert main(["walls", str(scan), "--walls.spacing", "0"]) == 2
    assert "WallConfig.spacing" in capsys.readouterr().err
    plain = tmp_path / "plain.npy"
    np.save(plain, np.random.default_rng(0).normal(size=(3, 64, 64)))
    assert main(["walls", str(plain)]) == 1
    assert "no amplitude or phase" in capsys.readouterr().err


def test_one_domain_is_said(tmp_path, capsys):
    movie = simulate_walls(n_frames=1, size=96, seed=4, domains=0, nucleations=0, stripes=0)
    np.save(tmp_path / "one.npy", np.asarray(movie.frames.data)[:, :2])
    assert main(["walls", str(tmp_path / "one.npy")]) == 0
    said = capsys.readouterr()
    assert "No 180-degree walls here: every scan has one domain only" in said.err
    assert "0 sites" in said.out


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--rvae.epochs", "3"], "--rvae.epochs needs --window"),
        (["--window", "20", "--crop.window_nd", "4"], "--crop.window_nd"),
    ],
)
def test_options_that_would_do_nothing_are_wrong_usage(flags, said, capsys):
    assert main(["walls", "scan.npy", *flags]) == 2
    assert said in capsys.readouterr().err
