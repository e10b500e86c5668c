import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from napari_rvae.analysis.units import Units
from napari_rvae.config import CropConfig, DetectConfig, RVAEConfig, UnitConfig
from napari_rvae.errors import InputError, ModelFileError, NotFittedError, ReadError
from napari_rvae.frames import Frames, as_frames
from napari_rvae.io import read_frames
from napari_rvae.runs import check_run_folder, describe_frames, load_run, save_run
from napari_rvae.tables import make_sites

posix = pytest.mark.skipif(os.name != "posix", reason="needs fork and kill")


class Model:
    """Saves itself as the real one does."""

    def __init__(self, weights=b"weights"):
        self.weights = weights

    def save(self, folder):
        (Path(folder) / "config.json").write_text('{"n_latents": 4}')
        (Path(folder) / "weights.safetensors").write_bytes(self.weights)


@pytest.fixture
def sites():
    table = make_sites(frame=[0, 0, 1], y=[1 / 3, 2, 3], x=[0.1, np.nan, 1e-300], source="a, b")
    table["track_id"] = np.array([0, -1, 2])
    table["z0"] = [0.1, np.nan, -np.inf]
    table["species"] = pd.Series(["Si", "", None], dtype="str")
    table["central"] = [True, False, True]
    return table


@pytest.fixture
def units(sites):
    table = pd.DataFrame(
        {"site_id": sites["site_id"], "unit": [0, -1, 0], "unit_probability": [1, np.nan, 0.7]}
    )
    summary = pd.DataFrame({"unit": [0], "name": ["host"], "count": [2], "share": [1.0]})
    return Units(table, summary)


@pytest.fixture
def frames():
    data = np.random.default_rng(0).normal(size=(5, 20, 30))
    return Frames(data, scale=(1, 0.02, 0.02), units=("pixel", "nm", "nm"), name="movie.tif")


@pytest.fixture
def run(tmp_path, sites, units, frames):
    """A whole run."""
    configs = [DetectConfig(min_snr=4.5), RVAEConfig(seed=3), UnitConfig()]
    return save_run(
        tmp_path / "run", frames=frames, sites=sites, model=Model(), units=units, configs=configs
    )


def _names(folder):
    return sorted(item.name for item in folder.iterdir())


def _one_line(caught, *parts):
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_everything_comes_back(run, sites, units, frames):
    loaded = load_run(run)
    assert loaded.folder == run
    assert_frame_equal(loaded.sites, sites, check_exact=True)
    assert_frame_equal(loaded.units.table, units.table, check_exact=True)
    assert_frame_equal(loaded.units.summary, units.summary, check_exact=True)
    assert loaded.configs == {
        "DetectConfig": DetectConfig(min_snr=4.5),
        "RVAEConfig": RVAEConfig(seed=3),
        "UnitConfig": UnitConfig(),
    }
    assert loaded.frames == describe_frames(frames)
    assert loaded.has_model
    assert load_run(run / "run.json").folder == run


def test_run_json_tells_what_the_folder_holds(run):
    manifest = json.loads((run / "run.json").read_text())
    assert manifest["format_version"] == 1
    assert manifest["seed"] == {"RVAEConfig": 3, "UnitConfig": 0}
    assert manifest["versions"]["napari-rvae"]
    assert manifest["versions"]["numpy"] == np.__version__
    assert _names(run) == sorted(
        ["run.json", *(entry["name"] for entry in manifest["files"].values())]
    )
    for entry in manifest["files"].values():
        for name, part in entry.get("files", {entry["name"]: entry}).items():
            folder = run / entry["name"] if "files" in entry else run
            raw = (folder / name).read_bytes()
            assert hashlib.sha256(raw).hexdigest() == part["sha256"]
    assert (
        manifest["files"]["sites"]["name"]
        == f"sites-{manifest['files']['sites']['sha256'][:12]}.csv"
    )
    assert str(run.parent) not in (run / "run.json").read_text()


def test_parts_may_be_left_out(tmp_path):
    loaded = load_run(save_run(tmp_path / "deep" / "run"))
    assert (loaded.sites, loaded.units, loaded.frames) == (None, None, None)
    assert loaded.configs == {}
    assert not loaded.has_model
    with pytest.raises(ModelFileError, match="no model") as caught:
        loaded.load_model()
    _one_line(caught, "run")


def test_the_model_is_loaded_when_asked_for(run, monkeypatch):
    import napari_rvae.vae

    class Loader:
        @staticmethod
        def load(folder, device):
            return folder, device, _names(folder)

    monkeypatch.setattr(napari_rvae.vae, "RVAE", Loader, raising=False)
    folder, device, names = load_run(run).load_model(device="cpu")
    assert folder.parent == run
    assert device == "cpu"
    assert names == ["config.json", "weights.safetensors"]


def test_loading_needs_no_torch(run):
    code = f"import sys; from napari_rvae.runs import load_run; load_run({str(run)!r})"
    code += "; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_overwriting_replaces_and_sweeps(run, sites, units):
    (run / "report.html").write_text("an output")
    (run / "sites-notes.csv").write_text("the user's own")
    before = set(_names(run))
    with pytest.raises(InputError, match="already holds a run") as caught:
        save_run(run, sites=sites)
    _one_line(caught, "overwrite=True")
    assert set(_names(run)) == before
    save_run(run, sites=sites.assign(z0=1.0), model=Model(), overwrite=True)
    loaded = load_run(run)
    assert (loaded.sites["z0"] == 1).all()
    assert loaded.units is None
    kept = {"run.json", "report.html", "sites-notes.csv"}
    assert set(_names(run)) == kept | {e["name"] for e in loaded.manifest["files"].values()}
    assert {n for n in before if n.startswith("model")} <= set(_names(run))


def test_saving_the_same_twice_changes_nothing(run, sites, units, frames):
    first = {p: p.stat().st_mtime_ns for p in run.rglob("*") if p.is_file()}
    text = (run / "run.json").read_text()
    configs = load_run(run).configs.values()
    save_run(
        run, frames=frames, sites=sites, model=Model(), units=units, configs=configs, overwrite=True
    )
    assert (run / "run.json").read_text() == text
    now = {p: p.stat().st_mtime_ns for p in run.rglob("*") if p.is_file()}
    assert {p for p in first if now.get(p) != first[p]} == {run / "run.json"}


def test_folders_of_others_are_refused(tmp_path, sites):
    (tmp_path / "thesis.tex").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(InputError, match=r"thesis\.tex") as caught:
            save_run(tmp_path, sites=sites, overwrite=overwrite)
        _one_line(caught, str(tmp_path))
    (tmp_path / "run.json").write_text('{"name": "npm run"}')
    with pytest.raises(InputError, match="none of ours"):
        save_run(tmp_path, sites=sites, overwrite=True)
    with pytest.raises(InputError, match="no folder"):
        save_run(tmp_path / "thesis.tex", sites=sites)
    assert _names(tmp_path) == ["run.json", "thesis.tex"]


def test_check_writes_nothing(tmp_path):
    assert check_run_folder(tmp_path / "new") == tmp_path / "new"
    assert not (tmp_path / "new").exists()
    (tmp_path / ".DS_Store").write_text("")
    assert check_run_folder(str(tmp_path)) == tmp_path


def test_bad_arguments_leave_the_run(run, sites):
    before = _names(run)
    for wrong in (
        {"sites": sites.drop(columns="y")},
        {"sites": sites.assign(when=pd.Timestamp(2020, 1, 1))},
        {"configs": [DetectConfig(), DetectConfig()]},
        {"configs": [{"min_snr": 4}]},
        {"frames": np.zeros((2, 2))},
    ):
        with pytest.raises(InputError) as caught:
            save_run(run, overwrite=True, **wrong)
        _one_line(caught)
    assert _names(run) == before
    load_run(run)


def test_a_model_that_cannot_be_saved_leaves_the_run(run, sites):
    class Untrained:
        def save(self, folder):
            raise NotFittedError("The model is not trained: call fit first.")

    before = _names(run)
    with pytest.raises(NotFittedError):
        save_run(run, sites=sites.assign(z0=2.0), model=Untrained(), overwrite=True)
    assert _names(run) == before
    load_run(run)


def test_a_full_disk_is_one_line_and_leaves_the_run(run, sites, monkeypatch):
    before = _names(run)

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ModelFileError, match="No space left") as caught:
        save_run(run, sites=sites.assign(z0=2.0), model=Model(b"new"), overwrite=True)
    _one_line(caught, str(run), "unchanged")
    monkeypatch.undo()
    assert _names(run) == before
    load_run(run)


def test_a_model_that_finds_no_space_is_told_as_the_run(run, sites):
    class Large(Model):
        def save(self, folder):
            full = OSError(28, "No space left on device")
            raise ModelFileError(f"{folder}: no space for the model.") from full

    with pytest.raises(ModelFileError, match="No space left") as caught:
        save_run(run, sites=sites.assign(z0=2.0), model=Large(b"new"), overwrite=True)
    _one_line(caught, str(run), "unchanged")
    assert ".tmp" not in str(caught.value)


@pytest.mark.parametrize("call", range(1, 4))
def test_a_failing_replace_leaves_the_run(run, sites, monkeypatch, call):
    old = load_run(run)
    replace, calls = os.replace, []

    def fail(*args):
        calls.append(args)
        if len(calls) == call:
            raise OSError(5, "Input/output error")
        return replace(*args)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(ModelFileError, match="Input/output"):
        save_run(run, sites=sites.assign(z0=2.0), model=Model(b"new"), overwrite=True)
    assert load_run(run).manifest == old.manifest
    assert _names(run) == sorted(["run.json", *(e["name"] for e in old.manifest["files"].values())])


def test_damaged_files_of_an_earlier_run_are_written_anew(run, sites):
    files = load_run(run).manifest["files"]
    (run / files["sites"]["name"]).write_text("damaged")
    (run / files["model"]["name"] / "weights.safetensors").write_text("damaged")
    save_run(run, sites=sites, model=Model(), overwrite=True)
    assert_frame_equal(load_run(run).sites, sites)


# Saves the runs 0, 1, 2, ... one over the other.
_SAVER = """
import sys, os
from pathlib import Path
import numpy as np
from napari_rvae.runs import load_run, save_run
from napari_rvae.tables import make_sites
class Model:
    def __init__(self, i): self.i = i
    def save(self, folder):
        (Path(folder) / "config.json").write_text(str(self.i))
        (Path(folder) / "weights.safetensors").write_bytes(bytes([self.i % 256]) * 20_000)
def save(i, folder):
    sites = make_sites(frame=0, y=np.full(500, float(i)), x=np.arange(500.0))
    save_run(folder, sites=sites, model=Model(i), overwrite=True)
def state(folder):
    run = load_run(folder)
    (value,) = set(run.sites["y"])
    text = (Path(folder) / run.manifest["files"]["model"]["name"] / "config.json").read_text()
    assert len(run.sites) == 500 and int(text) == value
    return int(value)
"""


@posix
def test_killed_at_every_step_the_run_is_the_old_or_the_new_one(tmp_path):
    script = (
        _SAVER
        + """
folder = sys.argv[1]
save(0, folder)
seen = []
for step in range(1, 200):
    child = os.fork()
    if not child:  # dies at the given step, with nothing tidied up
        left = [step]
        def dying(call):
            def wrapped(*args, **kwargs):
                left[0] -= 1
                if not left[0]:
                    os._exit(9)
                return call(*args, **kwargs)
            return wrapped
        for name in ("replace", "fsync", "unlink", "rmdir", "mkdir", "open"):
            setattr(os, name, dying(getattr(os, name)))
        save(seen[-1] + 1 if seen else 1, folder)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    seen.append(state(folder))
    if code == 0:
        break
    assert code == 9, code
print(step, sorted(set(seen)) == list(range(len(set(seen)))) or seen, seen[0], seen[-1])
names = sorted(os.listdir(folder))
assert len(names) == 3, names
"""
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, str(tmp_path / "run")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    steps, in_order, first, last = done.stdout.split()
    assert int(steps) > 10
    assert (in_order, first) == ("True", "0")
    assert int(last) > 0


@posix
def test_killed_at_any_moment_the_run_is_whole(tmp_path):
    script = (
        _SAVER
        + """
for i in range(1, 10**6):
    save(i, sys.argv[1])
    print(i, flush=True)
"""
    )
    folder = tmp_path / "run"
    check = _SAVER + "print(state(sys.argv[1]))"
    rng = np.random.default_rng(0)
    for _ in range(3):
        saver = subprocess.Popen(
            [sys.executable, "-c", script, str(folder)], stdout=subprocess.PIPE, text=True
        )
        with saver:
            assert saver.stdout.readline().strip() == "1"
            time.sleep(rng.uniform(0.05, 0.3))
            saver.kill()
            told = [1, *map(int, saver.stdout.read().split())]
        run = load_run(folder)
        (value,) = set(run.sites["y"])
        assert told[-1] <= value <= told[-1] + 1
    done = subprocess.run(
        [sys.executable, "-c", check, str(folder)], check=True, capture_output=True
    )
    assert float(done.stdout) == value
    save_run(folder, overwrite=True)  # what was broken off is swept
    assert _names(folder) == ["run.json"]


def test_a_first_save_that_broke_off_does_not_block_the_next(tmp_path, sites):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "sites-0123456789ab.csv").write_text("half")
    (folder / ".model.0123abcd.tmp").mkdir()
    (folder / ".run.json.0123abcd.tmp").write_text("{")
    save_run(folder, sites=sites)
    assert len(_names(folder)) == 2
    load_run(folder)


# ---------------------------------------------------------------- loading


def _edit(run, **changes):
    manifest = json.loads((run / "run.json").read_text())
    manifest.update(changes)
    (run / "run.json").write_text(json.dumps(manifest))


def test_what_is_no_run(tmp_path, run):
    with pytest.raises(ModelFileError, match="is not there") as caught:
        load_run(tmp_path / "none")
    _one_line(caught, "none")
    (tmp_path / "other").mkdir()
    with pytest.raises(ModelFileError, match="is no run") as caught:
        load_run(tmp_path / "other")
    _one_line(caught, "other")
    for text in ("[]", "{}", '{"format": "npm"}'):
        (run / "run.json").write_text(text)
        with pytest.raises(ModelFileError, match="is no run"):
            load_run(run)


def test_newer_and_unknown_versions(run):
    _edit(run, format_version=2)
    with pytest.raises(ModelFileError, match="newer napari-rvae") as caught:
        load_run(run)
    _one_line(caught, "update the package")
    for version in (0, "1", None, True, 1.5):
        _edit(run, format_version=version)
        with pytest.raises(ModelFileError, match="damaged"):
            load_run(run)


@pytest.mark.parametrize("text", ["", "{", '{"a": 1, "a": 2}', '{"a": NaN}', "\x00"])
def test_damaged_run_json_is_one_line(run, text):
    (run / "run.json").write_text(text)
    with pytest.raises(ModelFileError, match=r"run\.json") as caught:
        load_run(run)
    _one_line(caught, str(run))


@pytest.mark.parametrize(
    "changes",
    [
        {"files": None},
        {"files": []},
        {"files": {"sites": {}}},
        {"files": {"sites": None}},
        {"files": {"model": {"name": 3, "files": {}}}},
        {"configs": None},
        {"configs": {"DetectConfig": None}},
        {"configs": {"DetectConfig": {"min_snr": -1}}},
        {"configs": {"DetectConfig": {"magic": 1}}},
        {"configs": {"Config": {}}},
        {"configs": {"InputError": {}}},
        {"configs": {"json": {}}},
    ],
)
def test_odd_contents_are_one_line(run, changes):
    _edit(run, **changes)
    with pytest.raises(ModelFileError) as caught:
        load_run(run)
    _one_line(caught, str(run))


def test_missing_parts_are_one_line(run):
    whole = json.loads((run / "run.json").read_text())
    for key in ("files", "configs", "input"):
        (run / "run.json").write_text(json.dumps({k: v for k, v in whole.items() if k != key}))
        with pytest.raises(ModelFileError, match=key):
            load_run(run)


@pytest.mark.parametrize("kind", ["sites", "units", "unit_summary", "model"])
@pytest.mark.parametrize("damage", ["missing", "cut", "changed", "folder"])
def test_missing_and_damaged_files_are_named(run, kind, damage):
    entry = load_run(run).manifest["files"][kind]
    path = run / entry["name"]
    path = path / "weights.safetensors" if kind == "model" else path
    raw = path.read_bytes()
    if damage == "cut":
        path.write_bytes(raw[:-1])
    elif damage == "changed":
        path.write_bytes(bytes([raw[0] ^ 1]) + raw[1:])
    else:
        path.unlink()
        if damage == "folder":
            path.mkdir()
    with pytest.raises(ModelFileError) as caught:
        load_run(run)
    _one_line(caught, path.name, str(run))


@pytest.mark.parametrize(
    "name", ["../secret.csv", "/etc/passwd", "..", ".", "", "a/b.csv", "a\\b.csv", "c:x", ".hidden"]
)
def test_names_cannot_leave_the_folder(run, tmp_path, name):
    (tmp_path / "secret.csv").write_text("a\n1\n")
    raw = (tmp_path / "secret.csv").read_bytes()
    entry = {
        "name": name,
        "bytes": len(raw),
        "sha256": hashlib.sha256(raw).hexdigest(),
        "columns": {"a": "int64"},
    }
    _edit(run, files={"sites": entry})
    with pytest.raises(ModelFileError, match="plain file name") as caught:
        load_run(run)
    _one_line(caught, str(run))
    _edit(run, files={"model": {"name": name, "files": {}}})
    with pytest.raises(ModelFileError, match="plain file name"):
        load_run(run)
    _edit(run, files={"model": {"name": "m", "files": {name: entry}}})
    with pytest.raises(ModelFileError, match="plain file name"):
        load_run(run)


@posix
def test_a_pipe_instead_of_a_file_does_not_hang(run):
    entry = load_run(run).manifest["files"]["sites"]
    (run / entry["name"]).unlink()
    os.mkfifo(run / entry["name"])
    with pytest.raises(ModelFileError, match="lacks"):
        load_run(run)


def test_tables_that_do_not_fit_together(run, units):
    manifest = load_run(run).manifest
    _edit(run, files={k: v for k, v in manifest["files"].items() if k != "unit_summary"})
    with pytest.raises(ModelFileError, match="unit_summary"):
        load_run(run)


# A run as version 1 of the format wrote it. Do not change it: such files are out there.
_VERSION_1 = {
    "run.json": """{
  "format": "napari-rvae run",
  "format_version": 1,
  "versions": {"napari-rvae": "0.1.0", "python": "3.11.7", "numpy": "2.4.6"},
  "configs": {"DetectConfig": {"contrast": "dark", "min_snr": 4.0}, "RVAEConfig": {"seed": 7}},
  "seed": {"RVAEConfig": 7},
  "input": {
    "name": "movie.tif", "shape": [2, 64, 64], "dtype": "uint16",
    "axis_labels": ["t", "y", "x"], "scale": [1.0, 0.02, 0.02], "units": ["pixel", "nm", "nm"],
    "channels": ["intensity"], "hashed_frames": [0, 1], "sha256": null
  },
  "files": {
    "sites": {
      "name": "sites-7cf6d5b2c3a1.csv", "bytes": BYTES0, "sha256": "HASH0",
      "columns": {"site_id": "int64", "source": "str", "frame": "int64", "y": "float64",
                  "x": "float64", "kind": "str", "z0": "float64", "species": "str",
                  "central": "bool"}
    },
    "units": {
      "name": "units-0a1b2c3d4e5f.csv", "bytes": BYTES1, "sha256": "HASH1",
      "columns": {"site_id": "int64", "unit": "int64", "unit_probability": "float64"}
    },
    "unit_summary": {
      "name": "unit_summary-aaaaaaaaaaaa.csv", "bytes": BYTES2, "sha256": "HASH2",
      "columns": {"unit": "int64", "name": "str", "count": "int64"}
    },
    "model": {
      "name": "model-bbbbbbbbbbbb",
      "files": {
        "config.json": {"bytes": BYTES3, "sha256": "HASH3"},
        "weights.safetensors": {"bytes": BYTES4, "sha256": "HASH4"}
      }
    }
  }
}
""",
    "sites-7cf6d5b2c3a1.csv": "site_id,source,frame,y,x,kind,z0,species,central\n"
    '0,"a, b",0,0.3333333333333333,1e-300,atom,nan,\\N,True\n'
    '1,"a, b",1,2.5,inf,atom,-0.1,,False\n'
    '2,\\\\server\\nline,1,2.5,3.0,atom,-0.1,"say ""Si""",False\n',
    "units-0a1b2c3d4e5f.csv": "site_id,unit,unit_probability\n0,0,0.7\n1,-1,nan\n2,0,1.0\n",
    "unit_summary-aaaaaaaaaaaa.csv": "unit,name,count\n0,host,2\n",
    "model-bbbbbbbbbbbb/config.json": "{}",
    "model-bbbbbbbbbbbb/weights.safetensors": "weights",
}


def test_version_1_loads(tmp_path):
    (tmp_path / "model-bbbbbbbbbbbb").mkdir()
    manifest, *others = _VERSION_1.items()
    text = manifest[1]
    for i, (name, content) in enumerate(others):
        (tmp_path / name).write_bytes(content.encode())
        text = text.replace(f"BYTES{i}", str(len(content.encode())))
        text = text.replace(f"HASH{i}", hashlib.sha256(content.encode()).hexdigest())
    (tmp_path / "run.json").write_text(text)
    loaded = load_run(tmp_path)
    expected = pd.DataFrame(
        {
            "site_id": [0, 1, 2],
            "source": ["a, b", "a, b", "\\server\nline"],
            "frame": [0, 1, 1],
            "y": [1 / 3, 2.5, 2.5],
            "x": [1e-300, np.inf, 3],
            "kind": ["atom"] * 3,
            "z0": [np.nan, -0.1, -0.1],
            "species": pd.Series([None, "", 'say "Si"'], dtype="str"),
            "central": [True, False, False],
        }
    )
    assert_frame_equal(loaded.sites, expected, check_exact=True)
    assert loaded.units.names == {0: "host"}
    assert loaded.configs["DetectConfig"] == DetectConfig(contrast="dark", min_snr=4.0)
    assert loaded.configs["RVAEConfig"].seed == 7
    assert loaded.frames["name"] == "movie.tif"
    assert loaded.has_model


# ---------------------------------------------------------------- the input


def test_frames_are_recognised_in_another_format(tmp_path, frames):
    np.save(tmp_path / "a.npy", frames.data)
    again = describe_frames(read_frames(tmp_path / "a.npy"))
    assert again["sha256"] == describe_frames(frames)["sha256"]
    assert again["name"] == "a.npy"
    assert str(tmp_path) not in json.dumps(again)
    changed = frames.data.copy()
    changed[2, 0, 0] += 1e-9
    assert describe_frames(changed)["sha256"] != again["sha256"]
    assert describe_frames(frames.data[0])["hashed_frames"] == [0]


def test_all_channels_count():
    data = np.zeros((1, 2, 20, 20))
    before = describe_frames(data)["sha256"]
    data[0, 1, 5, 5] = 1
    assert describe_frames(data)["sha256"] != before


def test_results_are_saved_when_the_input_is_gone(tmp_path, sites, caplog):
    folder = tmp_path / "frames"
    folder.mkdir()
    for i in range(3):
        np.save(folder / f"{i}.npy", np.zeros((20, 20)))
    frames = read_frames(folder)
    shutil.rmtree(folder)
    with pytest.raises(ReadError):
        frames.frame(0)
    with caplog.at_level(logging.WARNING):
        loaded = load_run(save_run(tmp_path / "run", frames=frames, sites=sites))
    assert loaded.frames["sha256"] is None
    assert "without a hash" in caplog.text


def test_every_config_comes_back(tmp_path):
    configs = (DetectConfig(sigma=2.5), CropConfig(window=30.0), RVAEConfig(beta=0.1), UnitConfig())
    loaded = load_run(save_run(tmp_path / "run", configs=iter(configs)))
    assert tuple(loaded.configs.values()) == configs


def test_a_run_knows_its_movie(tmp_path):
    counts = np.random.default_rng(0).poisson(50, (3, 16, 16))
    save_run(tmp_path / "run", frames=as_frames(counts))
    run = load_run(tmp_path / "run")
    run.check_frames(as_frames(counts))
    with pytest.raises(InputError, match="give the movie that the run was made from"):
        run.check_frames(as_frames(counts[:2]))
    with pytest.raises(InputError, match="shows something else than that of the run"):
        run.check_frames(as_frames(counts + 1))


def test_a_run_without_a_movie_takes_any(tmp_path):
    save_run(tmp_path / "run")
    load_run(tmp_path / "run").check_frames(as_frames(np.zeros((2, 8, 8))))
