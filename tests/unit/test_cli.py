"""The command line: its options, its exit codes, and what it writes and says."""

import json
import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import napari_rvae
from napari_rvae import config, errors, runs
from napari_rvae.analysis.halves import HalfVerdict
from napari_rvae.analysis.units import Units, find_units
from napari_rvae.cli import main, pipeline, viewer
from napari_rvae.cli.demo import METRICS, print_metrics
from napari_rvae.cli.options import STEPS, Options, normalise_flags, read_options
from napari_rvae.crops import Crops
from napari_rvae.layers import METADATA_KEY
from napari_rvae.synthetic.readings import simulate_readings
from napari_rvae.tables import make_sites
from napari_rvae.vae.checks import Check, ModelChecks


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")  # main() would leave it set


# ---------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (["--rvae.batch-size", "64"], ["--rvae.batch_size", "64"]),
        (["--rvae.batch_size=64"], ["--rvae.batch_size=64"]),
        (["--rvae.shifts", "movie.tif"], ["--rvae.shifts=true", "movie.tif"]),
        (["--rvae.shifts", "off"], ["--rvae.shifts", "off"]),
        (["--rvae.shifts"], ["--rvae.shifts=true"]),
        (["--no-rvae.shifts"], ["--rvae.shifts=false"]),
        (["--no-rvae.epochs"], ["--no-rvae.epochs"]),
        (["my-movie.v2.tif", "--out", "a-b.c"], ["my-movie.v2.tif", "--out", "a-b.c"]),
        (["--out=a-b.c/d", "--config", "x.json"], ["--out=a-b.c/d", "--config", "x.json"]),
    ],
)
def test_spellings_of_a_flag(given, wanted):
    assert normalise_flags(given) == wanted


def test_flags_win_over_the_file_and_the_file_over_the_defaults(tmp_path):
    file = tmp_path / "options.json"
    file.write_text(json.dumps({"detect": {"min_snr": 7}, "rvae": {"epochs": 3, "seed": 5}}))
    options = read_options({"rvae.epochs": 9, "movie": "x", "out": None}, file)
    assert options.detect == config.DetectConfig(min_snr=7)
    assert options.rvae == config.RVAEConfig(epochs=9, seed=5)
    assert options.units == config.UnitConfig()


def test_every_step_has_a_configuration():
    assert list(STEPS) == list(Options.__dataclass_fields__)
    assert all(type(getattr(Options(), step)) is kind for step, kind in STEPS.items())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"detekt": {}}', "no step detekt"),
        ('{"detect": {"snr": 3}}', "no option snr"),
        ('{"detect": {"min_snr": 1e9}}', "out of range"),
        ('{"detect": {"min_snr": "4"}}', "not of type float"),
        ('{"detect": 4}', "detect must be an object"),
        ("[1]", "must hold an object"),
        ("{", "no valid JSON"),
    ],
)
def test_a_wrong_file_is_one_line(content, said, tmp_path, capsys):
    file = tmp_path / "options.json"
    file.write_text(content)
    assert main(["run", "movie.npy", "--config", str(file)]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("napari-rvae: ")
    assert said in err


def test_a_missing_file_is_one_line(capsys):
    assert main(["run", "movie.npy", "--config", "nowhere.json"]) == 1
    assert "nowhere.json is not there" in capsys.readouterr().err


# ---------------------------------------------------------------- help and usage


@pytest.mark.parametrize(
    "argv", [["--help"], ["run", "--help"], ["demo", "-h"], ["view", "-h"], ["check", "-h"]]
)
def test_help_teaches(argv, capsys):
    assert main(argv) == 0
    out, err = capsys.readouterr()
    assert not err
    assert f"napari-rvae {argv[0]} " in out or "napari-rvae demo" in out
    assert "examples:" in out or argv == ["--help"]


def test_help_shows_every_option_with_its_unit_and_range(capsys):
    main(["run", "--help-all"])
    out = " ".join(capsys.readouterr().out.split())
    for step, kind in STEPS.items():
        assert all(f"--{step}.{item.name} " in out for item in fields(kind))
    assert "(px; 2 or more; default: none)" in out
    assert "bright|dark" in out
    main(["run", "--help"])
    assert "--rvae.learning_rate" not in capsys.readouterr().out


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"napari-rvae {napari_rvae.__version__}\n"


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "COMMAND"),
        (["walk"], "walk"),
        (["run"], "MOVIE"),
        (["run", "a.npy", "b.npy"], "b.npy"),
        (["run", "a.npy", "--rvae.epochs", "many"], "'many' is no whole number"),
        (["run", "a.npy", "--rvae.epochs", "2.5"], "'2.5' is no whole number"),
        (["run", "a.npy", "--rvae.shifts=maybe"], "neither true nor false"),
        (["run", "a.npy", "--rvae.shifts", "maybe"], "--rvae.shifts: 'maybe' is neither true nor"),
        (["run", "a.npy", "b.npy", "--rvae.shifts"], "unrecognized arguments: b.npy"),
        (["run", "a.npy", "--detect.min_snr", "0"], "out of range"),
        (["run", "a.npy", "--detect.min_snr", "nan"], "NaN"),
        (["run", "a.npy", "--detect.contrast", "grey"], "auto, bright, dark"),
        (["run", "a.npy", "--detect.snr", "4"], "--detect.snr 4; did you mean --detect.min_snr?"),
        (
            ["run", "a.npy", "--train.epochs", "4"],
            "did you mean --rvae.epochs? (see napari-rvae run",
        ),
        (
            ["check", "run", "a.npy", "--halves"],
            "unrecognized arguments: --halves (see napari-rvae c",
        ),
        (["run", "a.npy", "--no-rvae.epochs"], "--no-rvae.epochs"),
        (["run", "a.npy", "--rvae.epochs", "none"], "no whole number"),
        (["demo", "--seed", "x"], "--seed"),
        (["view"], "RUN"),
        (["run", "movie.tif", "other.tif"], "other.tif"),
        (["view", "run", "--view"], "--view"),
        (["check", "run"], "MOVIE"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(argv, said, capsys):
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.count("\n") == 1
    assert err.startswith("napari-rvae: ")
    assert said in err
    assert "--help" in err


def test_help_and_version_load_nothing_heavy():
    code = (
        "import sys\n"
        "from napari_rvae.cli import main\n"
        "for argv in (['--version'], ['run', '-h'], ['view', '-h'], ['check', '-h']): main(argv)\n"
        "heavy = {'torch', 'numpy', 'pandas', 'scipy', 'matplotlib', 'napari', 'tqdm'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize(("given", "wanted"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_the_wait_policy_is_set_unless_the_user_did(given, wanted, monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY")
    if given:
        monkeypatch.setenv("OMP_WAIT_POLICY", given)
    main(["--version"])
    assert os.environ["OMP_WAIT_POLICY"] == wanted


# ---------------------------------------------------------------- the way, with stand-ins


class StandIn:
    """What the way asks of a model."""

    calls = None
    device_ = "cpu"
    history_ = ()
    n_latents_ = 4

    def __init__(self, options, *, device):
        self.config, self.device = options, device

    def fit(self, crops, *, callback):
        self.calls.fit = (self.config, self.device, len(crops))
        callback(SimpleNamespace(epoch=self.config.epochs))
        return self

    def transform(self, crops):
        table = pd.DataFrame({"site_id": crops.site_id, "angle": 0.1})
        return table.assign(**{f"z{k}": 0.5 for k in range(self.n_latents_)})

    def manifold(self, n, *, dims):
        return np.zeros((n, n, 1, 8, 8))

    def inverse_transform(self, z, *, angle=0.0):
        return np.zeros((len(z), 1, 8, 8))

    def invariants(self, crops):
        return pd.DataFrame({"site_id": crops.site_id, "f0": 1.0})


CHECKS = ModelChecks(
    (
        Check("angle", 0.25, None, "degrees", "good", "The angle was learnt."),
        Check("pose_leak", 0.5, (0.4, 0.6), "", "bad", "The latents leak.", "Train longer."),
        Check("contrast", None, None, "", "info", "Nobody knows.", "Ask."),
    ),
    25,
)


@pytest.fixture
def stand_ins(monkeypatch):
    """Put quick stand-ins in the place of the steps; return what they were called with."""
    calls = SimpleNamespace(fit=None, saved=None, crops=None, detect=None, error=None, checked=None)
    y, x = (g.ravel() for g in np.mgrid[8.0:60:12, 8.0:60:12])
    sites = make_sites(frame=0, y=y, x=x, source="movie")

    def detect_atoms(_frames, options, *, progress):
        calls.detect = options
        progress(1, 1)
        return sites

    def extract_crops(_frames, table, options, *, progress, window=None, channels=None, lags=(0,)):
        assert window is None
        assert channels is None
        assert lags == (0,)
        calls.crops = options
        progress(1, 1)
        return Crops(images=np.zeros((len(table), 1, 8, 8)), site_id=table["site_id"].to_numpy())

    def find_units(table, _options, *, features, progress):
        if calls.error is not None:
            raise calls.error
        progress(4, 4)
        assert len(features) == len(table)
        table = table[["site_id"]].assign(unit=0, unit_probability=1.0)
        summary = pd.DataFrame({"unit": [0], "name": ["host"], "count": [len(table)]})
        return napari_rvae.Units(table=table, summary=summary.assign(share=1.0))

    def save_run(folder, **given):
        calls.saved = given
        folder.mkdir(exist_ok=True)
        (folder / "run.json").write_text("{}")

    quality = pd.DataFrame({"frame": [0], "noise_sd": [1.0], "blur": [2.0]})
    fakes = {
        "analyse_frames": lambda _frames: quality,
        "detect_atoms": detect_atoms,
        "link_sites": lambda table, _options, *, progress: table.assign(
            lattice_track_id=progress(1, 1) or 0, track_id=0
        ),
        "extract_crops": extract_crops,
        "RVAE": StandIn,
        "find_units": find_units,
        "save_run": save_run,
    }

    def check_model(_model, crops, *, other=None, progress):
        calls.checked = (len(crops), other)
        progress(1, 1)
        return CHECKS

    monkeypatch.setattr("napari_rvae.vae.checks.check_model", check_model)
    monkeypatch.setattr("napari_rvae.analysis.recut.extract_crops", extract_crops)
    monkeypatch.setattr(StandIn, "calls", calls)
    for name, fake in fakes.items():
        monkeypatch.setitem(vars(napari_rvae), name, fake)
    return calls


@pytest.fixture
def movie(tmp_path):
    path = tmp_path / "movie.npy"
    np.save(path, np.random.default_rng(0).normal(size=(64, 64)))
    return str(path)


def test_options_reach_their_steps(stand_ins, movie, capsys):
    argv = ["--rvae.epochs", "7", "--detect.sigma=2.5", "--crop.window-nd", "2", "--rvae.shifts"]
    assert main(["run", *argv, movie, "--device", "cpu"]) == 0
    assert stand_ins.fit == (config.RVAEConfig(epochs=7, shifts=True), "cpu", 25)
    assert stand_ins.detect == config.DetectConfig(sigma=2.5)
    assert stand_ins.crops == config.CropConfig(window_nd=2)
    assert not capsys.readouterr().err


def test_a_known_distance_sets_the_scale(stand_ins, movie, monkeypatch, capsys):
    y, x = (index.ravel() * 8.0 + 4 for index in np.indices((3, 3)))
    found = make_sites(frame=0, y=y, x=x)
    monkeypatch.setitem(vars(napari_rvae), "detect_atoms", lambda *_, **__: found)
    assert main(["run", movie, "--neighbour-distance-nm", "0.16"]) == 0
    assert "each 0.02 nm" in capsys.readouterr().out
    assert main(["run", movie]) == 0
    assert "of unknown size" in capsys.readouterr().out


@pytest.mark.parametrize("distance", ["0", "-0.142", "nan", "inf"])
def test_a_distance_that_is_none_is_refused_before_the_work(stand_ins, movie, capsys, distance):
    assert main(["run", movie, f"--neighbour-distance-nm={distance}"]) == 1
    seen = capsys.readouterr()
    assert f"The distance {float(distance):g} is no length" in seen.err
    assert "finding atoms" not in seen.out + seen.err


def test_vacancies_are_counted(stand_ins, movie, monkeypatch, capsys):
    y, x = (index.ravel() * 8.0 + 4 for index in np.indices((3, 3)))
    kind = np.where(np.arange(9) == 4, "vacancy", "atom")
    found = make_sites(frame=0, y=y, x=x).assign(kind=kind)
    monkeypatch.setitem(vars(napari_rvae), "detect_atoms", lambda *_, **__: found)
    assert main(["run", movie]) == 0
    assert "9 (1 of them vacancies), nearest" in capsys.readouterr().out


def test_without_a_folder_nothing_is_written_and_that_is_said(stand_ins, movie, tmp_path, capsys):
    assert main(["run", movie]) == 0
    out = capsys.readouterr().out
    assert stand_ins.saved is None
    assert [p.name for p in tmp_path.iterdir()] == ["movie.npy"]
    assert "nothing was written" in out
    assert "25, nearest neighbours 12.00 px apart" in out
    assert "host" in out


def test_a_run_is_written_with_its_report_and_its_checks(stand_ins, movie, tmp_path, capsys):
    folder = tmp_path / "results"
    assert main(["run", movie, "--out", str(folder), "--overwrite"]) == 0
    names = ["metrics.json", "report.png", "run.json", "units.png"]
    assert sorted(p.name for p in folder.iterdir()) == names
    assert json.loads((folder / "metrics.json").read_text()) == {
        "check_angle": 0.25,
        "check_pose_leak": 0.5,
        "check_contrast": None,
    }
    assert stand_ins.saved["overwrite"] is True
    assert [type(c) for c in stand_ins.saved["configs"]] == list(STEPS.values())
    assert {"z0", "unit", "lattice_track_id"} <= set(stand_ins.saved["sites"].columns)
    assert stand_ins.saved["pathways"] is None  # nothing changes in one frame
    assert str(folder) in capsys.readouterr().out


def test_a_finished_run_is_not_replaced_unasked(stand_ins, movie, tmp_path, capsys):
    assert main(["run", movie, "--out", movie]) == 1
    assert "is no folder" in capsys.readouterr().err
    assert main(["run", movie, "--out", str(tmp_path)]) == 1
    assert "holds other things" in capsys.readouterr().err
    (tmp_path / "run.json").write_text("{}")
    assert main(["run", movie, "--out", str(tmp_path)]) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert stand_ins.fit is None


def test_metrics_of_an_earlier_run_do_not_stay(stand_ins, movie, tmp_path):
    folder = tmp_path / "results"
    main(["run", movie, "--out", str(folder)])
    stale = folder / "metrics.json"
    stale.write_text('{"unit_ari": 1.0}')
    (folder / "run.json").write_text('{"format": "napari-rvae run"}')
    assert main(["run", movie, "--out", str(folder), "--overwrite"]) == 0
    assert "unit_ari" not in json.loads(stale.read_text())


def test_verdicts_are_printed_the_most_serious_first_with_advice(stand_ins, movie, capsys):
    assert main(["run", movie]) == 0
    lines = capsys.readouterr().out.splitlines()
    start = lines.index("self-checks of the model, on 25 crops")
    assert lines[start + 1 : start + 5] == [
        "  BAD   The latents leak.",
        "        Train longer.",
        "  -     Nobody knows.",
        "  ok    The angle was learnt.",
    ]


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (errors.InputError("This is wrong: do that."), 1, "This is wrong: do that."),
        (errors.Cancelled("Stopped."), 1, "Stopped."),
        (KeyboardInterrupt(), 130, "stopped"),
        (ValueError("odd\nthing"), 1, "unexpected ValueError: odd thing (--debug"),
        (OSError(28, "No space left on device", "/x/run.json"), 1, "No space left on device"),
        (MemoryError(), 1, "MemoryError"),
    ],
)
def test_errors_are_one_line(stand_ins, movie, capsys, *, error, code, said):
    stand_ins.error = error
    assert main(["run", movie]) == code
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert said in err
    assert "Traceback" not in err


def test_debug_shows_the_traceback_of_unknown_errors(stand_ins, movie, monkeypatch, capsys):
    monkeypatch.setitem(vars(napari_rvae), "RVAE", None)
    assert main(["run", movie, "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_movie_that_shows_nothing_is_told_as_such(tmp_path, capsys):
    np.save(tmp_path / "blank.npy", np.full((2, 64, 64), np.nan))
    assert main(["run", str(tmp_path / "blank.npy")]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert "No atoms were found in blank.npy: each frame holds one value or none" in said
    assert "min_snr" not in said


def test_no_atoms_are_one_line_without_the_warning(stand_ins, movie, monkeypatch, capsys):
    monkeypatch.setitem(vars(napari_rvae), "detect_atoms", lambda *_, **__: warned(0))
    assert main(["run", movie]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "No atoms were found in" in err
    assert "--detect.min_snr" in err


def warned(count):
    import warnings

    warnings.warn("No lattice.", errors.NoLatticeWarning, stacklevel=1)
    places = 12.0 * np.arange(count)
    return make_sites(frame=0, y=places, x=places)


def test_no_lattice_is_one_line_and_the_work_goes_on(stand_ins, movie, monkeypatch, capsys):
    monkeypatch.setitem(vars(napari_rvae), "detect_atoms", lambda *_, **__: warned(4))
    assert main(["run", movie]) == 0
    assert capsys.readouterr().err == "napari-rvae: warning: No lattice.\n"


def test_no_crop_inside_the_frame(stand_ins, movie, monkeypatch, capsys):
    none = Crops(images=np.zeros((0, 1, 8, 8)), site_id=np.empty(0, int))
    monkeypatch.setitem(vars(napari_rvae), "extract_crops", lambda *_, **__: none)
    assert main(["run", movie]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "smaller --crop.window_nd" in err


# ---------------------------------------------------------------- checking an earlier run


@pytest.fixture
def checked(stand_ins, tmp_path, movie, monkeypatch):
    """A saved run of the movie, its model a stand-in; the folder's name."""
    model = SimpleNamespace(
        crop_config=config.CropConfig(window_nd=2),
        config="options",
        channels_=("intensity",),
        lags_=(0,),
    )
    monkeypatch.setattr(runs.Run, "load_model", lambda _run, _device: model)
    sites = make_sites(frame=0, y=[8.0, 20.0], x=[8.0, 20.0])
    return str(runs.save_run(tmp_path / "saved", sites=sites, frames=np.load(movie)))


def test_the_model_of_an_earlier_run_is_checked(checked, stand_ins, movie, capsys):
    assert main(["check", checked, movie]) == 0
    out, err = capsys.readouterr()
    assert not err
    assert "  BAD   The latents leak.\n" in out
    assert stand_ins.checked == (2, None)
    assert stand_ins.crops == config.CropConfig(window_nd=2)


def test_two_runs_are_compared(checked, stand_ins, movie):
    assert main(["check", checked, movie, "--other", checked]) == 0
    assert stand_ins.checked[1] is not None


def test_halves_of_a_run_are_trained_apart_with_its_options(
    checked, stand_ins, movie, monkeypatch, capsys
):
    asked = []
    verdict = HalfVerdict("units", "agrees", 0.9, (0.8, 1.0), "All come back.")

    def split_half(crops, sites, options, *, unit_config, device, progress):
        asked.append((len(crops), len(sites), options, unit_config, device))
        progress(1, 1)
        return SimpleNamespace(answer="agrees", halves="odd and even frames", verdicts=(verdict,))

    # first: a lazily loaded name would otherwise be loaded, and put back, as the stand-in
    monkeypatch.setattr(napari_rvae, "split_half", split_half)
    monkeypatch.setattr("napari_rvae.analysis.halves.split_half", split_half)
    assert main(["check", checked, movie, "--split-half", "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    assert "is it real? two halves trained apart: agrees (odd and even frames)\n" in out
    assert "  units: agrees. All come back.\n" in out
    assert asked == [(2, 2, "options", None, "cpu")]


def test_a_run_that_cannot_be_halved_is_kept(stand_ins, movie, tmp_path, monkeypatch, capsys):
    def split_half(*_, **__):
        raise errors.InputError("The smaller half would have 3 crops.")

    monkeypatch.setattr(napari_rvae, "split_half", split_half)
    out = tmp_path / "kept"
    assert main(["run", movie, "--split-half", "--out", str(out)]) == 0
    assert (
        "is it real? cannot tell. The smaller half would have 3 crops." in capsys.readouterr().err
    )
    assert (out / "run.json").is_file()


def test_the_crops_of_the_run_are_cut_again(checked, stand_ins, movie, tmp_path):
    sites = make_sites(frame=0, y=[8.0, 20.0], x=[8.0, 20.0])
    mine = config.CropConfig(window_nd=3)
    folder = runs.save_run(tmp_path / "mine", sites=sites, configs=[mine])
    assert main(["check", str(folder), movie]) == 0
    assert stand_ins.crops == mine


def test_what_cannot_be_checked_is_one_line(checked, stand_ins, movie, tmp_path, capsys):
    small = tmp_path / "small.npy"
    np.save(small, np.zeros((48, 48)))
    empty = str(runs.save_run(tmp_path / "empty"))
    for argv, said in (
        ([checked, str(small)], "give the movie that the run was made from"),
        ([empty, movie], "holds no sites"),
        (["nowhere", movie], "nowhere is not there"),
        ([checked, "nowhere.tif"], "nowhere.tif"),
        ([checked, movie, "--other", "nowhere"], "nowhere is not there"),
    ):
        assert main(["check", *argv]) == 1
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        assert said in err
    assert stand_ins.checked is None


# ---------------------------------------------------------------- pathways


def test_pathways_of_a_run_are_found_and_kept_in_it(tmp_path, capsys):
    made = simulate_readings([[0.9, 0.1, 0], [0.2, 0.8, 0], [0, 0, 1]], n_tracks=8, n_frames=20)
    folder = runs.save_run(
        tmp_path / "run",
        frames=np.zeros((20, 64, 64), np.float32),
        sites=made.sites,
        configs=[config.TrackConfig(max_gap=1)],
    )
    assert main(["pathways", str(folder), "--pathways.split", "off"]) == 0
    said = capsys.readouterr().out
    assert "unit 0 > unit 1" in said
    assert "test of halves" in said
    run = runs.load_run(folder)
    assert len(run.pathways.events) > 5
    assert run.frames["shape"] == [20, 64, 64]
    assert run.configs["TrackConfig"].max_gap == 1
    assert run.configs["PathwayConfig"].split == "off"
    assert len(run.sites) == len(made.sites)


def test_pathways_need_sites_with_units(tmp_path, capsys):
    folder = runs.save_run(tmp_path / "run", configs=[config.TrackConfig()])
    assert main(["pathways", str(folder)]) == 1
    assert "holds no sites" in capsys.readouterr().err
    runs.save_run(folder, sites=make_sites(frame=0, y=[1.0], x=[1.0]), overwrite=True)
    assert main(["pathways", str(folder)]) == 1
    assert "find_units" in capsys.readouterr().err


# ---------------------------------------------------------------- the viewer, with a stand-in


@pytest.fixture
def shown(monkeypatch):
    """Scenes that would be opened in napari; nothing is asked of a screen."""
    scenes = []
    monkeypatch.setattr(viewer, "check_viewer", lambda: None)
    monkeypatch.setattr(viewer, "show_scene", scenes.append)
    return scenes


@pytest.fixture
def saved(tmp_path):
    sites = make_sites(frame=0, y=[8.0, 20.0], x=[8.0, 20.0])
    return str(napari_rvae.runs.save_run(tmp_path / "saved", sites=sites))


@pytest.mark.parametrize("name", [".", "run.json"])
def test_an_earlier_run_is_shown(shown, saved, name, capsys):
    assert main(["view", str(Path(saved, name))]) == 0
    (scene,) = shown
    ((points, options, kind),) = scene.layers
    assert (points.tolist(), kind) == ([[8.0, 8.0], [20.0, 20.0]], "points")
    assert options["metadata"][METADATA_KEY]["run"] == saved
    assert (str(scene.run.folder), scene.model) == (saved, None)
    assert capsys.readouterr().err == ""


def test_an_earlier_run_is_shown_over_its_movie(shown, saved, movie):
    assert main(["view", saved, movie]) == 0
    assert [kind for _, _, kind in shown[0].layers] == ["image", "points"]
    assert shown[0].layers[0][0].shape == (64, 64)


@pytest.mark.filterwarnings("default::UserWarning")  # as for a user
def test_another_movie_of_the_same_shape_is_warned_of(shown, tmp_path, movie, capsys):
    sites, other = make_sites(frame=0, y=[8.0], x=[8.0]), np.zeros((64, 64))
    folder = napari_rvae.runs.save_run(tmp_path / "saved", sites=sites, frames=other)
    assert main(["view", str(folder), movie]) == 0
    err = capsys.readouterr().err
    assert err.startswith("napari-rvae: warning: The frames have the shape")
    assert err.count("\n") == 1


def test_a_movie_of_another_shape_is_one_line(shown, tmp_path, movie, capsys):
    sites, other = make_sites(frame=0, y=[8.0], x=[8.0]), np.zeros((48, 64))
    folder = napari_rvae.runs.save_run(tmp_path / "saved", sites=sites, frames=other)
    assert main(["view", str(folder), movie]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "give the movie that the run was made from" in err
    assert shown == []


def test_a_channel_of_the_movie_is_taken(shown, saved, tmp_path):
    np.savez(tmp_path / "scan.npz", a=np.zeros((64, 64)), b=np.ones((64, 64)))
    assert main(["view", saved, str(tmp_path / "scan.npz"), "--channel", "b"]) == 0
    assert np.mean(shown[0].layers[0][0]) == 1


@pytest.mark.parametrize("argv", [["view", "nowhere"], ["view", "nowhere/run.json"]])
def test_no_run_to_view_is_one_line(shown, argv, capsys):
    assert main(argv) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "nowhere is not there" in err
    assert shown == []


def test_no_movie_to_view_is_one_line(shown, saved, capsys):
    assert main(["view", saved, "nowhere.tif"]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert shown == []


def test_a_result_that_was_not_written_is_shown(stand_ins, shown, movie):
    assert main(["run", movie, "--view", "--crop.window_nd", "2"]) == 0
    assert stand_ins.saved is None
    (scene,) = shown
    assert {"z0", "unit", "lattice_track_id"} <= set(scene.run.sites.columns)
    assert scene.run.configs["CropConfig"] == config.CropConfig(window_nd=2)
    assert scene.run.frames["shape"] == [64, 64]
    assert isinstance(scene.model, StandIn)
    assert [kind for _, _, kind in scene.layers] == ["image", "points", "vectors"]
    # there is no folder from which anything could be loaded
    assert not scene.run.has_model
    assert all("run" not in options["metadata"][METADATA_KEY] for _, options, _ in scene.layers)


def test_a_result_that_was_written_is_shown(stand_ins, shown, movie, tmp_path, monkeypatch):
    def save_run(folder, *, sites, frames, **_given):
        return saved_run(folder, sites=sites, frames=frames)

    saved_run = napari_rvae.runs.save_run
    monkeypatch.setitem(vars(napari_rvae), "save_run", save_run)
    folder = tmp_path / "results"
    assert main(["run", movie, "--view", "--out", str(folder)]) == 0
    (scene,) = shown
    assert scene.run.folder == folder
    assert isinstance(scene.model, StandIn)
    assert scene.layers[1][1]["metadata"][METADATA_KEY]["run"] == str(folder)


def test_nothing_is_shown_unasked_or_after_an_error(stand_ins, shown, movie):
    assert main(["run", movie]) == 0
    stand_ins.error = errors.InputError("This is wrong: do that.")
    assert main(["run", movie, "--view"]) == 1
    assert shown == []


def test_a_missing_viewer_is_told_before_the_work(stand_ins, movie, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "napari_rvae._napari.start", None)  # as without napari
    assert main(["run", movie, "--view"]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert 'pip install "napari-rvae[all]"' in err
    assert stand_ins.fit is None


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "stopped"),
        (errors.InputError("The movie is another one."), 1, "The movie is another one."),
    ],
)
def test_errors_of_the_viewer_are_one_line(shown, saved, monkeypatch, capsys, *, error, code, said):
    def fail(_scene):
        raise error

    monkeypatch.setattr(viewer, "show_scene", fail)
    assert main(["view", saved]) == code
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert said in err


# ---------------------------------------------------------------- progress


class Terminal:
    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text

    def flush(self):
        pass

    def isatty(self):
        return True


def test_a_terminal_sees_a_bar_for_each_step(stand_ins, movie, monkeypatch, capsys):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert main(["run", movie]) == 0
    for step in ("finding atoms", "training", "finding units"):
        assert f"{step:<18}100%" in terminal.text
    assert "training" not in capsys.readouterr().out


def test_a_batch_job_sees_a_line_for_each_step(stand_ins, movie, capsys):
    main(["run", movie])
    lines = capsys.readouterr().out.splitlines()
    assert [line[:18].strip() for line in lines[:8]] == [
        "analysing frames",
        "finding atoms",
        "linking sites",
        "cutting crops",
        "training",
        "encoding",
        "checking the model",
        "finding units",
    ]


def test_metrics_are_printed_aligned(capsys):
    print_metrics(dict.fromkeys(METRICS, 0.5) | {"rare_class_recall": float("nan")})
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.split()[0] for line in lines] == list(METRICS)
    assert len({len(line[:32].rstrip()) for line in lines}) == 1
    assert "nan" in lines[list(METRICS).index("rare_class_recall")]


def test_the_pipeline_is_public_to_benchmarks():
    assert callable(pipeline.analyse_movie)


# ---------------------------------------------------------------------- units of an earlier run
@pytest.fixture
def run_with_units(tmp_path):
    y, x = 10.0 * np.indices((8, 8)).reshape(2, -1)
    sites = make_sites(frame=0, y=y, x=x)
    unit = (np.arange(64) == 27).astype(int)
    table = sites[["site_id"]].assign(unit=unit, unit_probability=1.0)
    summary = pd.DataFrame({"unit": [0, 1], "name": ["host", "adatom"], "count": [63, 1]})
    return runs.save_run(tmp_path / "run", sites=sites, units=Units(table, summary))


def test_units_of_a_run_are_told_and_drawn(run_with_units, tmp_path, capsys):
    folder = tmp_path / "units"
    assert main(["units", str(run_with_units), "--out", str(folder), "--format", "svg"]) == 0
    said = capsys.readouterr().out
    assert "1  adatom" in said
    assert "Beside 'host' (100 %)" in said
    assert {"units.svg", "units.csv"} <= {path.name for path in folder.iterdir()}
    assert main(["units", str(run_with_units), "--out", str(folder), "--format", "svg"]) == 1
    assert "there already" in capsys.readouterr().err


def test_units_are_edited_and_saved_if_asked_to(tmp_path, capsys):
    y, x = 10.0 * np.indices((30, 30)).reshape(2, -1)
    z = np.random.default_rng(0).normal(size=900) + 20 * (y < 140)
    sites = make_sites(frame=0, y=y, x=x, z0=z)
    units = find_units(sites)
    folder = runs.save_run(
        tmp_path / "run",
        sites=napari_rvae.join_latents(sites, units.table),
        units=units,
        configs=[config.UnitConfig()],
    )
    edits = ["units", str(folder), "--merge", "0,1", "--rename", "0 = all of it"]
    assert main(edits) == 0
    assert "all of it" in capsys.readouterr().out
    assert len(runs.load_run(folder).units) == 2
    assert main([*edits, "--save"]) == 0
    assert "units written to" in capsys.readouterr().out
    again = runs.load_run(folder)
    assert again.units.names == {0: "all of it"}
    assert again.sites["unit"].eq(0).all()
    assert again.configs["UnitConfig"] == config.UnitConfig()
    assert main(["units", str(folder), "--split", "0", "--save"]) == 0
    assert len(runs.load_run(folder).units) == 2
    for edit in (["--merge", "a"], ["--rename", "0"], ["--merge", "0,7"], ["--split", "9"]):
        capsys.readouterr()
        assert main(["units", str(folder), *edit]) == 1
        assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_what_is_wrong_with_units_is_one_line(run_with_units, tmp_path, capsys):
    assert main(["units", str(run_with_units), "--elements", "carbon"]) == 1
    assert "A = C" in capsys.readouterr().err
    assert main(["units", str(run_with_units), "--cut", "3"]) == 1
    assert "find them again" in capsys.readouterr().err
    plain = runs.save_run(tmp_path / "plain", sites=make_sites(frame=0, y=[1.0], x=[1.0]))
    assert main(["units", str(plain)]) == 1
    assert "no units" in capsys.readouterr().err
