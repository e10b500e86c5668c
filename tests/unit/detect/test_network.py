"""The network of the detection: its shipped weights, what it sees, what it must not care about."""

import hashlib
import json
from importlib import resources

import numpy as np
import pytest
import torch

from napari_rvae.detect import network
from napari_rvae.detect.network import (
    NETWORK_SIGMA,
    AtomNetwork,
    load_network,
    network_from,
    network_input,
    rescaled,
    see,
)
from napari_rvae.errors import ModelFileError
from napari_rvae.synthetic.specimens import SIMULATOR_VERSION
from scenes import SIGMA, SPACING, draw

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def about():
    text = (resources.files("napari_rvae.detect") / "network.json").read_text(encoding="utf-8")
    return json.loads(text)


@pytest.fixture(scope="module")
def content():
    return (resources.files("napari_rvae.detect") / "network.safetensors").read_bytes()


class TestWeights:
    def test_they_are_what_the_description_says(self, about, content):
        assert hashlib.sha256(content).hexdigest() == about["sha256"]
        assert len(content) <= 500_000
        assert about["training"]["simulator_version"] == SIMULATOR_VERSION
        assert about["training"]["seed"] >= 0
        count = sum(p.numel() for p in load_network().parameters())
        assert count == about["parameters"] <= 100_000

    def test_damage_is_seen(self, about, content):
        flipped = bytes([*content[:-1], content[-1] ^ 1])
        with pytest.raises(ModelFileError, match=r"another hash.*install"):
            network_from(about, flipped)
        with pytest.raises(ModelFileError, match="another hash"):
            network_from([], content)
        other = b"no safetensors"
        wrong = {**about, "sha256": hashlib.sha256(other).hexdigest()}
        with pytest.raises(ModelFileError, match="damaged"):
            network_from(wrong, other)
        with pytest.raises(ModelFileError, match="damaged"):
            network_from({**about, "network": {"width": 8}}, content)
        with pytest.raises(ModelFileError, match="damaged"):
            network_from({k: v for k, v in about.items() if k != "network"}, content)

    def test_too_large_is_refused(self, about):
        large = bytes(600_000)
        with pytest.raises(ModelFileError, match="too large"):
            network_from({**about, "sha256": hashlib.sha256(large).hexdigest()}, large)

    def test_missing_files(self, monkeypatch):
        load_network.cache_clear()
        monkeypatch.setattr(network, "_WEIGHTS", "gone.safetensors")
        with pytest.raises(ModelFileError, match="install the package anew"):
            load_network()
        load_network.cache_clear()


class TestScale:
    @pytest.mark.parametrize("sigma", [0.8, 1.6, 2.9, 11.0])
    def test_sides_are_multiples_of_four(self, sigma, rng):
        image = rng.normal(size=(301, 170))
        small = rescaled(image, sigma).image
        assert [n % 4 for n in small.shape] == [0, 0]
        assert small.shape[0] == pytest.approx(301 * NETWORK_SIGMA / sigma, abs=2)

    @pytest.mark.parametrize("sigma", [0.9, 2.9, 7.0])
    def test_the_noise_that_is_left(self, sigma, rng):
        small, gain = rescaled(rng.normal(size=(400, 400)), sigma)
        assert small.std() == pytest.approx(gain, rel=0.05)

    def test_a_constant_stays(self):
        assert rescaled(np.full((50, 61), 7.0), 2.3).image == pytest.approx(7.0)

    def test_positions_are_kept(self):
        frame = draw([101.3], [57.8], 200.0).frame
        view = see(frame, SIGMA, CPU)
        row, column = np.unravel_index(view.chance.argmax(), view.chance.shape)
        y, x = view.in_frame(np.array([row]), np.array([column]))
        assert np.hypot(y - 101.3, x - 57.8) < 0.7 * SIGMA
        assert view.at(np.array([101.3]), np.array([57.8]))[0] == view.chance.max()


class TestAnswers:
    def test_atoms_and_nothing_else(self, bright):
        view = see(bright.frame, SIGMA, CPU)
        y, x = bright.sites[["y", "x"]].to_numpy().T
        inner = (np.minimum(y, x) > SPACING) & (np.maximum(y, x) < 223 - SPACING)
        assert (view.at(y, x)[inner] > 0.5).mean() > 0.99
        rng = np.random.default_rng(0)
        blank = see(rng.poisson(5.0, (224, 224)).astype(float), SIGMA, CPU)
        assert (blank.chance > 0.5).mean() < 5e-4

    @pytest.mark.parametrize("turn", [1, 2, 3])
    def test_turns_and_mirrors_turn_the_answer(self, bright, turn):
        image = bright.frame[:200, :140]
        plain = see(image, SIGMA, CPU).chance
        assert see(np.rot90(image, turn).copy(), SIGMA, CPU).chance == pytest.approx(
            np.rot90(plain, turn), abs=1e-3
        )
        assert see(image[:, ::-1].copy(), SIGMA, CPU).chance == pytest.approx(
            plain[:, ::-1], abs=1e-3
        )

    def test_units_and_offsets_do_not_matter(self, bright):
        unit = 3e-9
        plain = network_input(bright.frame, SIGMA, 3.0)
        other = network_input(unit * bright.frame + 1, SIGMA, unit * 3.0)
        assert other == pytest.approx(plain, abs=1e-3)

    def test_it_looks_at_the_surroundings_only(self):
        """Parts of a frame give what the whole does, away from their edges."""
        net = AtomNetwork(4).eval()
        frame = torch.randn(1, 2, 128, 128, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            whole, part = net(frame), net(frame[..., :96])
        assert whole[0, :, :48].numpy() == pytest.approx(part[0, :, :48].numpy(), abs=1e-4)

    def test_tiles_of_a_large_frame_are_seen_as_the_whole(self, bright, monkeypatch):
        image = bright.frame[:200, :]
        whole = see(image, SIGMA / 2, CPU).chance
        monkeypatch.setattr(network, "_TILE", 60)
        assert see(image, SIGMA / 2, CPU).chance == pytest.approx(whole, abs=1e-5)

    def test_norms_are_part_of_the_kernels_once_trained(self):
        net = AtomNetwork(4)
        frame = torch.randn(2, 2, 32, 32, generator=torch.Generator().manual_seed(0))
        net.train()
        for _ in range(3):
            net(frame)  # the norms see something
        net.eval()
        with torch.no_grad():
            joined = net.fine(frame)
            steps = frame
            for layer in net.fine:
                steps = layer(steps)
        assert joined.numpy() == pytest.approx(steps.numpy(), abs=1e-5)
