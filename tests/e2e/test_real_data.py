"""Real frames, from the folder that NAPARI_RVAE_DATA names: the whole way without options."""

import os
from pathlib import Path

import numpy as np
import pytest

from napari_rvae import load_run, neighbour_distance
from napari_rvae.cli import main

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

DATA = os.environ.get("NAPARI_RVAE_DATA", "")
FILES = sorted(Path(DATA, "stem").glob("*.png")) if DATA else []

if not FILES:
    pytest.skip(
        "NAPARI_RVAE_DATA names no folder with stem/*.png: no real data to try",
        allow_module_level=True,
    )


@pytest.fixture(scope="module", params=FILES, ids=lambda path: path.stem)
def run(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("real") / request.param.stem
    assert main(["run", str(request.param), "--out", str(folder), "--device", "cpu"]) == 0
    return load_run(folder)


def test_the_atoms_form_a_crystal(run):
    distance = neighbour_distance(run.sites)
    assert 4 < distance < 100
    assert len(run.sites) > 50
    assert run.sites["lattice_support"].median() > 0.5


def test_most_atoms_have_latents_an_angle_and_a_unit(run):
    known = np.isfinite(run.sites["z0"])
    assert known.mean() > 0.4
    assert np.isfinite(run.sites.loc[known, "angle"]).all()
    assert (run.sites.loc[known, "unit"] >= 0).mean() > 0.9


def test_no_latent_is_a_ramp_over_the_frame(run):
    known = run.sites[np.isfinite(run.sites["z0"])]
    places = np.column_stack([np.ones(len(known)), known["y"], known["x"]])
    for name in [c for c in known if c[0] == "z" and c[1:].isdigit()]:
        z = known[name] - known[name].mean()
        left = z - places @ np.linalg.lstsq(places, z, rcond=None)[0]
        assert 1 - (left**2).sum() / (z**2).sum() < 0.5, f"{name} is a contrast ramp"


def test_the_dyscandate_sublattices_differ_in_brightness(run, request):
    if "dso" not in request.node.callspec.id:
        pytest.skip("another crystal")
    amplitude = run.sites["amplitude"].to_numpy()
    low, high = np.percentile(amplitude, (10, 90))
    assert high > 1.5 * low
