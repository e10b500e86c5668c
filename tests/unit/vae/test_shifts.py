import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_rvae import RVAE
from napari_rvae.errors import InputError
from napari_rvae.vae.model import SteerableVAE
from napari_rvae.vae.pose import rotate
from napari_rvae.vae.shifts import ShiftSearch, move, move_decoded, turn_offsets


@pytest.fixture(scope="module")
def shifted(sample):
    return sample("motif", 400, seed=1, worst_shift=1.4)


@pytest.fixture(scope="module")
def model(shifted, trained):
    return trained(shifted.crops, epochs=30, shifts=True)


@given(st.floats(-2, 2), st.floats(-2, 2))
def test_a_moved_window_sees_the_atoms_on_the_other_side(picture, dy, dx):
    offsets = np.array([[0.0, 0.0], [5.0, -3.0]])
    image = torch.from_numpy(picture(offsets))[None, None].float()
    seen = move(image, torch.tensor([[dy, dx]]))[0, 0].numpy()
    np.testing.assert_allclose(seen, picture(offsets - [dy, dx]), atol=0.03)


def test_a_window_that_does_not_move_sees_the_same(picture):
    image = torch.from_numpy(picture([[2.0, 3.0]]))[None, None].float()
    torch.testing.assert_close(move(image, torch.zeros(1, 2)), image, atol=1e-5, rtol=0)


def test_a_moved_basis_sees_what_a_moved_window_shows(model, shifted):
    """Moving the basis the other way is exact, for values and slopes, and cheaper."""
    search = model._trained.search
    images = torch.from_numpy(shifted.crops.read(np.arange(20)))
    starts = search.starts(images.device)
    assert len(search.moved_bases) == len(starts) == 7
    for start, basis in zip(starts, search.moved_bases, strict=True):
        seen = move(images, start.expand(len(images), 2))
        size = float(search.basis.project(seen).abs().max())
        for name in ("project", "slopes"):
            expected = getattr(search.basis, name)(seen)
            found = getattr(basis, name)(images)
            torch.testing.assert_close(found, expected, atol=1e-5 * size, rtol=0)


def test_of_the_training_that_finds_the_shifts_only_these_are_kept(few):
    model = RVAE(n_latents=2, epochs=3, hidden=16, shifts=True, device="cpu")
    messages, fractions = [], []
    for progress in model.iter_fit(few):
        messages.append(progress.message)
        fractions.append(progress.fraction)
        trainer = model._trainer
        if progress.message == "training" and progress.epoch == 0:
            new = SteerableVAE(
                trainer.basis.mask, 2, 16, torch.Generator().manual_seed(0)
            ).encoder.state_dict()
            for name, value in trainer.model.encoder.state_dict().items():
                assert torch.equal(value, new[name])
            assert float(trainer.shift.abs().max()) > 0
    assert messages.index("training") > messages.index("searching shifts")
    assert "searching shifts" not in messages[messages.index("training") :]
    assert np.all(np.diff(fractions) >= 0)
    assert [record.epoch for record in model.history_] == [1, 2, 3]


@given(st.floats(-4, 4), st.floats(-4, 4), st.floats(-4, 4))
def test_offsets_turn_by_the_packages_convention(turned, dy, dx, angle):
    found = turn_offsets(torch.tensor([[dy, dx]]), torch.tensor([angle]))[0].numpy()
    np.testing.assert_allclose(found, turned(np.array([dy, dx]), angle), atol=1e-5)


def test_planted_shifts_are_found(model, sample):
    """The canonical picture's centre is at the site plus the shift, up to a common offset."""
    test = sample("motif", 200, seed=2, worst_shift=1.4)
    table = model.transform(test.crops)
    found = table[["shift_y", "shift_x"]].to_numpy()
    for label in (0, 1):
        here = test.label == label
        # a canonical picture that is off centre is a matter of the gauge: it turns with the crop
        angle = torch.from_numpy(table["angle"].to_numpy()[here])
        rest = turn_offsets(torch.from_numpy(found[here] - test.shift[here]), -angle).numpy()
        assert np.linalg.norm(np.median(rest, axis=0)) < 0.5
        error = np.linalg.norm(rest - np.median(rest, axis=0), axis=1)
        assert np.median(error) < 0.2


def test_shifts_stay_within_the_bound(model, shifted):
    found = model.transform(shifted.crops)[["shift_y", "shift_x"]].to_numpy()
    limit = 0.25 * 32 / 3.5
    assert np.linalg.norm(found, axis=1).max() <= limit * 1.0001


def test_classes_and_angles_survive_the_shifts(model, sample):
    test = sample("motif", 200, seed=3, worst_shift=1.4)
    angle = model.transform(test.crops)["angle"].to_numpy()
    for label in (0, 1):
        difference = (angle - test.angle)[test.label == label]
        error = np.angle(np.exp(1j * (difference - np.angle(np.exp(1j * difference).mean()))))
        assert np.degrees(np.abs(error)).mean() < 3


def test_reconstructions_lie_where_the_crops_do(model, sample):
    test = sample("motif", 50, seed=4, worst_shift=1.4)
    drawn = model.reconstruct(test.crops)
    inner = np.s_[:, :, 5:-5, 5:-5]
    assert np.corrcoef(drawn[inner].ravel(), test.clean[inner].ravel())[0, 1] > 0.95


def test_shifts_are_in_frame_pixels(model, shifted):
    """The same crops, said to be cut from a frame with twice the pixels."""
    crops = shifted.crops.select(np.arange(20))
    fine = model.transform(dataclasses.replace(crops, window_px=64.0))
    plain = model.transform(crops)
    np.testing.assert_allclose(fine["shift_y"], 2 * plain["shift_y"], rtol=1e-6)


def test_a_decoded_picture_goes_on_beyond_its_rim():
    """Its mirror image comes into view, so that what is even about the rim is continued."""
    line = torch.arange(32) - 15.5
    distance = torch.hypot(line[:, None], line[None, :])
    disc = (16.0 - distance).clamp(0, 1)
    far = torch.cos(math.pi * (distance - 15.5) / 8)
    seen = move_decoded((far * disc)[None, None], torch.tensor([[2.0, 0.0]]))[0, 0]
    moved = torch.hypot(line[:, None] + 2.0, line[None, :])
    expected = torch.cos(math.pi * (moved - 15.5) / 8)
    error = ((seen - expected) * (distance < 15)).abs()
    assert float(error.max()) < 0.3  # on the seam; a picture that ends is wrong by 1
    assert int((error > 0.05).sum()) <= 12
    assert float((seen * (distance > 16)).abs().max()) == 0


def test_a_decoded_picture_that_does_not_move_stays(picture):
    image = torch.from_numpy(picture([[2.0, 3.0]]))[None, None].float()
    line = torch.arange(image.shape[-1]) - (image.shape[-1] - 1) / 2
    image = image * (16.0 - torch.hypot(line[:, None], line[None, :])).clamp(0, 1)
    seen = move_decoded(image, torch.zeros(1, 2))
    torch.testing.assert_close(seen, image, atol=1e-4, rtol=0)


def test_beyond_the_edge_of_a_crop_the_model_is_asked(model, shifted):
    search, network = model._trained.search, model._trained.model
    images = torch.from_numpy(shifted.crops.read(np.arange(5)))
    latents, angle = torch.zeros(5, 2), torch.full((5,), 0.3)
    shift = torch.tensor([[2.0, 0.0]]).expand(5, 2)
    seen = search.see(network, images, shift, latents, angle)
    expected = search.basis.to_images(rotate(network.generate(latents), angle))
    torch.testing.assert_close(seen[:, :, 30:], expected[:, :, 30:])
    torch.testing.assert_close(seen[:, :, :30], move(images, shift)[:, :, :30])


def test_the_rim_of_shifted_crops_is_described_as_well(model, sample):
    """On the side that was shifted away the model learns from crops shifted the other way."""
    test = sample("motif", 200, seed=5, worst_shift=1.4)
    found = model.reconstruct(test.crops)[:, 0]
    error, noise = (
        np.square(p - test.clean[:, 0]).mean(0) for p in (found, test.crops.read()[:, 0])
    )
    line = np.arange(32) - 15.5
    distance = np.hypot(line[:, None], line)
    rim, middle = (distance > 13) & (distance < 15), distance < 13
    assert error[rim].mean() < 0.5 * noise[rim].mean()
    assert error[middle].mean() < 0.2 * noise[middle].mean()


def test_without_shifts_there_are_none(motif_model, motif_sample):
    table = motif_model.transform(motif_sample.crops.select(np.arange(9)))
    assert (table[["shift_y", "shift_x"]] == 0).all(axis=None)


def test_a_bound_of_zero_means_no_shifts(few):
    model = RVAE(n_latents=1, epochs=1, shifts=True, max_shift_nd=0.0, device="cpu").fit(few)
    assert (model.transform(few)["shift_y"] == 0).all()


def test_starts_lie_within_the_bound(model):
    search = model._trained.search
    assert isinstance(search, ShiftSearch)
    starts = search.starts(torch.device("cpu"))
    assert starts.shape == (7, 2)
    assert starts.norm(dim=1).max() <= search.limit
    assert search.limit == pytest.approx(0.25 * 32 / 3.5)


def test_the_bound_is_at_most_half_a_neighbour_distance():
    with pytest.raises(InputError, match="max_shift_nd"):
        RVAE(shifts=True, max_shift_nd=math.inf)
