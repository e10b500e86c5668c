"""Real frames, from the folder that NAPARI_RVAE_DATA names: the whole way without options."""

import os
from pathlib import Path

import numpy as np
import pytest

from napari_rvae import load_run, neighbour_distance
from napari_rvae.cli import main
from napari_rvae.tables import latent_names

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


def explained(z, prediction):
    """Share of the variance of z that a prediction explains."""
    return 1 - np.mean((z - prediction) ** 2) / np.var(z)


def test_no_latent_is_a_ramp_over_the_frame(run):
    """A ramp is spread evenly; two grains are two values, and may lie left and right."""
    known = run.sites[np.isfinite(run.sites["z0"])]
    places = np.column_stack([np.ones(len(known)), known["y"], known["x"]])
    for name in latent_names(known):
        z = known[name].to_numpy()
        ramp = explained(z, places @ np.linalg.lstsq(places, z, rcond=None)[0])
        high = z > (np.percentile(z, 10) + np.percentile(z, 90)) / 2
        levels = explained(z, np.where(high, z[high].mean(), z[~high].mean()))
        assert ramp < max(0.5, levels - 0.1), f"{name} is a contrast ramp"


def test_the_dysprosium_and_scandium_columns_differ_in_brightness(run, request):
    if "dso" not in request.node.callspec.id:
        pytest.skip("another crystal")
    amplitude = run.sites["amplitude"].to_numpy()
    low, high = np.percentile(amplitude, (10, 90))
    assert high > 1.5 * low
