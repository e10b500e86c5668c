"""The command that rebuilds the network's weights."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_rvae.detect.network import network_from

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "train_detector.py"

pytestmark = pytest.mark.skipif(not SCRIPT.is_file(), reason="runs in the source tree only")


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("train_detector", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def threads():
    """The script owns its process; here it must give the threads back."""
    count, state = torch.get_num_threads(), torch.get_rng_state()
    yield
    torch.set_num_threads(count)
    torch.set_rng_state(state)


def test_examples_fit_the_network(script):
    rng = np.random.default_rng(0)
    for _ in range(8):
        seen, target = script.example(rng)
        assert seen.shape == (2, script.SIDE, script.SIDE)
        assert target.shape == (script.SIDE, script.SIDE)
        assert 0 <= target.min() <= target.max() <= 1


def test_a_few_steps_write_weights_that_load(script, tmp_path, threads, monkeypatch, capsys):
    monkeypatch.setattr(script, "SIDE", 32)
    monkeypatch.setattr(script, "N_HELD_OUT", 8)
    for name in ("one", "two"):
        script.main(["--steps", "3", "--width", "4", "--out", str(tmp_path / name)])
    assert "held-out loss" in capsys.readouterr().out
    one, two = ((tmp_path / name / "network.safetensors").read_bytes() for name in ("one", "two"))
    assert one == two  # the same seed on the same machine
    about = json.loads((tmp_path / "one" / "network.json").read_text(encoding="utf-8"))
    assert about["training"]["steps"] == 3
    network = network_from(about, one)
    assert not network.training
    assert sum(p.numel() for p in network.parameters()) == about["parameters"]
