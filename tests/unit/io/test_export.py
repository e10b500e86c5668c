"""Tables for other programs: what a spreadsheet, R or MATLAB reads is what was there."""

import csv
import math
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given

from napari_rvae import concat_sites, export_table
from napari_rvae.analysis.maps import ANGLE_COLUMNS
from napari_rvae.errors import InputError
from napari_rvae.frames import Frames
from napari_rvae.tables import make_sites
from strategies import sites_tables


@pytest.fixture
def sites():
    """Three sites in two frames, with latents for two of them."""
    table = make_sites(
        frame=[0, 1, 1],
        y=[10.0, 20.0, 30.0],
        x=[1.0, 2.0, 3.0],
        amplitude=1.5,
        y_sd=0.1,
        x_sd=0.2,
        angle=[math.pi / 2, -math.pi / 3, np.nan],
        angle_sd=0.1,
        shift_y=0.5,
        shift_x=0.25,
        z0=[0.5, -0.5, np.nan],
        lattice_angle=[0.1, 0.2, np.nan],
        unit=[0, 3, -1],
        source="a movie, cut",
    )
    table.loc[2, "kind"] = "vacancy"
    return table


@pytest.fixture
def movie():
    return Frames(
        np.zeros((2, 64, 48)), scale=(0.5, 0.02, 0.03), units=("s", "nm", "nm"), name="movie"
    )


def _read(path):
    """Rows as the plain reader of Python's library sees them."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_all_columns_are_there_with_units_beside_them(tmp_path, sites, movie):
    path = export_table(sites, tmp_path / "sites.csv", frames=movie)
    table = pd.read_csv(path)
    assert set(sites.columns) <= set(table.columns)
    for name in sites.columns:
        assert table[name].tolist() == pytest.approx(sites[name].tolist(), nan_ok=True)
    assert np.allclose(table["y_nm"], sites["y"] * 0.02)
    assert np.allclose(table["x_nm"], sites["x"] * 0.03)
    assert np.allclose(table["y_sd_nm"], 0.1 * 0.02)
    assert np.allclose(table["shift_x_nm"], 0.25 * 0.03)
    assert table["time_s"].tolist() == [0.0, 0.5, 0.5]
    assert table["angle_deg"].tolist()[:2] == pytest.approx([90, -60])
    assert np.isnan(table["angle_deg"][2])
    assert np.allclose(table["angle_sd_deg"], math.degrees(0.1))
    names = list(table.columns)
    for name, beside in (("y", "y_nm"), ("angle", "angle_deg"), ("frame", "time_s")):
        assert names.index(beside) == names.index(name) + 1


def test_every_angle_has_its_degrees(tmp_path, sites):
    for name in ANGLE_COLUMNS:
        sites[name] = 0.5
    table = pd.read_csv(export_table(sites, tmp_path / "sites.csv"))
    for name in ANGLE_COLUMNS:
        assert np.allclose(table[f"{name}_deg"], math.degrees(0.5))


def test_what_is_missing_is_empty(tmp_path, sites):
    sites["species"] = pd.Series(["C", None, "Si"], dtype="str")
    rows = _read(export_table(sites, tmp_path / "sites.csv"))
    assert rows[2]["z0"] == rows[2]["angle_deg"] == rows[1]["species"] == ""
    assert rows[2]["unit"] == "-1"
    assert rows[0]["source"] == "a movie, cut"


def test_without_frames_there_are_neither_lengths_nor_times(tmp_path, sites):
    names = _read(export_table(sites, tmp_path / "sites.csv"))[0].keys()
    assert not [name for name in names if name.endswith(("_nm", "_s"))]


@pytest.mark.parametrize(
    ("unit", "factor"),
    [
        *[("nm", 1.0), ("nanometer", 1.0), ("pm", 1e-3), ("angstrom", 0.1)],
        *[("Å", 0.1), ("um", 1e3), ("micrometer", 1e3)],
    ],
)
def test_any_unit_of_length_becomes_nanometres(tmp_path, sites, unit, factor):
    frames = Frames(np.zeros((2, 64, 48)), scale=(1, 2.0, 2.0), units=("frame", unit, unit))
    table = pd.read_csv(export_table(sites, tmp_path / "sites.csv", frames=frames))
    assert np.allclose(table["y_nm"], sites["y"] * 2 * factor)
    assert "time_s" not in table


def test_pixels_are_no_lengths(tmp_path, sites):
    names = _read(export_table(sites, tmp_path / "a.csv", frames=np.zeros((2, 64, 48))))[0]
    assert "y_nm" not in names
    assert "time_s" not in names


def test_the_times_of_the_frames_table_come_first(tmp_path, sites, movie):
    times = Frames(
        movie.data,
        scale=movie.scale,
        units=movie.units,
        table=movie.table.assign(time=[3.0, np.nan]),
    )
    late = sites.assign(frame=[0, 1, 7])  # a frame that the movie lacks
    table = pd.read_csv(export_table(late, tmp_path / "sites.csv", frames=times))
    assert table["time_s"][0] == 3.0
    assert table["time_s"][1:].isna().all()


def test_stale_units_are_replaced(tmp_path, sites, movie):
    stale = sites.assign(y_nm=-1.0, angle_deg=-1.0)
    table = pd.read_csv(export_table(stale, tmp_path / "sites.csv", frames=movie))
    assert np.allclose(table["y_nm"], sites["y"] * 0.02)
    assert table["angle_deg"][0] == pytest.approx(90)
    assert list(table.columns).count("y_nm") == 1


@given(table=sites_tables())
def test_numbers_keep_all_their_digits(tmp_path_factory, table):
    path = tmp_path_factory.getbasetemp() / "export.csv"
    export_table(table, path, overwrite=True)
    rows = _read(path)
    assert [int(row["site_id"]) for row in rows] == table["site_id"].tolist()
    for name in ("y", "x"):
        assert [float(row[name]) for row in rows] == table[name].tolist()


def test_nothing_is_replaced_unasked(tmp_path, sites):
    path = tmp_path / "sites.csv"
    path.write_text("precious")
    with pytest.raises(InputError, match="already there"):
        export_table(sites, path)
    assert path.read_text() == "precious"
    assert export_table(sites, str(path), overwrite=True) == path
    assert len(_read(path)) == 3
    assert [item.name for item in tmp_path.iterdir()] == ["sites.csv"]


def test_a_full_disk_leaves_what_was_there(tmp_path, sites, monkeypatch):
    path = tmp_path / "sites.csv"
    path.write_text("precious")

    def full(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(InputError, match="No space left"):
        export_table(sites, path, overwrite=True)
    assert path.read_text() == "precious"
    assert [item.name for item in tmp_path.iterdir()] == ["sites.csv"]


def test_odd_names_and_columns_are_written(tmp_path, sites):
    odd = sites.assign(note=['say "no"', "a\nb", "\u00fc\ud800"], flag=[True, False, True])
    path = export_table(odd, tmp_path / "s\u00e4tze.csv")
    rows = _read(path)
    assert [row["note"] for row in rows] == ['say "no"', "a\nb", "\u00fc\\ud800"]
    assert [row["flag"] for row in rows] == ["True", "False", "True"]


def test_an_empty_table_has_its_columns(tmp_path, sites, movie):
    path = export_table(sites.iloc[:0], tmp_path / "none.csv", frames=movie)
    assert path.read_text().startswith("site_id,source,frame,time_s,y,y_nm")


@pytest.mark.parametrize("case", ["missing", "folder", "table", "sources"])
def test_errors_are_one_line(tmp_path, sites, movie, case):
    both = concat_sites(sites.assign(source="a"), sites.assign(source="b"))
    given = {
        "missing": (sites, tmp_path / "missing" / "a.csv", "cannot be written"),
        "folder": (sites, tmp_path, "is a folder"),
        "table": (sites.drop(columns="frame"), tmp_path / "a.csv", "lacks the column frame"),
        "sources": (both, tmp_path / "a.csv", "holds 2 sources"),
    }
    table, path, message = given[case]
    with pytest.raises(InputError, match=message) as caught:
        export_table(table, path, frames=movie)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_several_sources_go_without_frames(tmp_path, sites):
    both = concat_sites(sites.assign(source="a"), sites.assign(source="b"))
    rows = _read(export_table(both, tmp_path / "both.csv"))
    assert {row["source"] for row in rows} == {"a", "b"}


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_a_dangling_link_is_there_too(tmp_path, sites):
    link = Path(tmp_path / "sites.csv")
    link.symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match="already there"):
        export_table(sites, link)
