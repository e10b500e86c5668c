"""What the tests in a real viewer share: a small movie, its atoms, and a trained model."""

import subprocess
import sys

import pytest

pytest.importorskip("napari")

from npe2 import PluginManifest

from napari_rvae import RVAE, detect_atoms, extract_crops, join_latents, simulate_graphene


@pytest.fixture
def plugin(plugin_settings, npe2pm):
    """Make this plugin known to napari, beside napari's own readers; no other one is."""
    for name in ("napari", "napari-rvae"):
        npe2pm.register(PluginManifest.from_distribution(name))


@pytest.fixture(scope="session")
def movie():
    """Two frames of graphene; do not change it."""
    return simulate_graphene(n_frames=2, size=192, seed=2).frames


@pytest.fixture(scope="session")
def found(movie):
    """Atoms of the movie, as detection returns them; copy before changing."""
    return detect_atoms(movie)


@pytest.fixture(scope="session")
def model(movie, found):
    """Model that was trained for a moment."""
    return RVAE(epochs=2, n_latents=2).fit(extract_crops(movie, found))


@pytest.fixture(scope="session")
def encoded(movie, found, model):
    """Atoms of the movie with their latents; copy before changing."""
    return join_latents(found, model.transform(extract_crops(movie, found)))


@pytest.fixture
def run_alone(tmp_path):
    """Run code in a process of its own, which must end well."""

    def run(code):
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    return run
