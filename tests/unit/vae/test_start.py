"""The beginning of a training, in pieces, and how many threads its steps are given."""

import dataclasses

import dask.array as da
import numpy as np
import pytest
import torch

from napari_rvae import RVAE
from napari_rvae.errors import InputError, NotFittedError
from napari_rvae.vae.training import Trainer
from threads import torch_threads


def small(**options):
    return RVAE(n_latents=2, hidden=16, device="cpu", **options)


@pytest.fixture
def pieces(monkeypatch):
    """Let twelve crops be a piece, so that forty are worked off in four."""
    monkeypatch.setattr("napari_rvae.vae.start.CHUNK", 12)
    monkeypatch.setattr("napari_rvae.vae.training._PROJECTED_CROPS", 12)


@pytest.mark.parametrize(
    ("place", "window_nd", "expected"),
    [(5.0, 3.5, 4), (5.0, np.nan, 6), (np.nan, np.nan, 4)],
    ids=["atoms", "walls", "pictures of one's own"],
)
def test_the_number_of_latents_is_automatic(few, place, window_nd, expected):
    where = np.full(len(few), place)
    crops = dataclasses.replace(few, y=where, x=where, window_nd=window_nd)
    model = RVAE(hidden=16, epochs=2, device="cpu")
    assert "automatic" in repr(model)
    next(progress for progress in model.iter_fit(crops) if progress.record is not None)
    assert (model.n_latents_, model.config.n_latents) == (expected, expected)
    for _ in model.iter_fit(crops, resume=True):
        pass
    assert len(model.history_) == 2
    assert f"z{expected - 1}" in model.transform(crops)


def test_a_chosen_number_of_latents_is_kept(few):
    model = small(epochs=1).fit(dataclasses.replace(few, y=np.ones(len(few))))
    assert model.n_latents_ == 2


@pytest.mark.parametrize("shifts", [False, True])
def test_many_crops_are_prepared_in_pieces(few, pieces, shifts):
    model = small(epochs=2, shifts=shifts)
    seen = []
    for progress in model.iter_fit(few):
        preparing = progress.message == "preparing"
        assert model.is_fitted is not preparing
        seen.append((preparing, progress.epoch, progress.fraction, progress.record))
    n_preparing = [preparing for preparing, *_ in seen].index(False)
    assert n_preparing == 3 + 1 + 3  # looked through, basis, projected
    assert seen[:n_preparing] == [(True, 0, 0.0, None)] * n_preparing
    assert not any(preparing for preparing, *_ in seen[n_preparing:])


def test_few_crops_are_prepared_at_once(few):
    assert next(small(epochs=1).iter_fit(few)).message == "training"


@pytest.mark.parametrize("lazy", [False, True])
def test_pieces_change_nothing(few, pieces, lazy, monkeypatch):
    images = da.from_array(few.images, chunks=(7, 1, 32, 32)) if lazy else few.images
    # Steps this small change nothing: longer ones would make a rounding of the start grow.
    in_pieces = small(epochs=3, learning_rate=1e-6).fit(dataclasses.replace(few, images=images))
    found = in_pieces.transform(few).to_numpy()
    monkeypatch.undo()
    whole = small(epochs=3, learning_rate=1e-6).fit(few)
    np.testing.assert_allclose(found, whole.transform(few).to_numpy(), rtol=1e-3, atol=1e-3)


def test_a_training_that_is_left_while_it_is_prepared_leaves_what_was_there(few, fresh, pieces):
    before = fresh.transform(few)
    steps = fresh.iter_fit(few.select(np.arange(30)))
    assert next(steps).message == "preparing"
    np.testing.assert_array_equal(fresh.transform(few), before)
    steps.close()
    np.testing.assert_array_equal(fresh.transform(few), before)
    steps = small().iter_fit(few)
    assert next(steps).message == "preparing"
    steps.close()


def test_a_model_is_not_fitted_while_its_first_training_is_prepared(few, pieces):
    model = small()
    next(model.iter_fit(few))
    with pytest.raises(NotFittedError):
        model.transform(few)
    assert not model.can_resume


def test_training_crops_are_the_same_whether_read_in_pieces_or_not(few, pieces, monkeypatch):
    in_pieces, whole = small(epochs=1, max_crops=21), small(epochs=1, max_crops=21)
    next(p for p in in_pieces.iter_fit(few) if p.message == "training")
    monkeypatch.undo()
    next(whole.iter_fit(few))
    one, other = in_pieces._trainer, whole._trainer
    assert one.n_training == len(one.pictures) == 21
    np.testing.assert_array_equal(one.pictures.rows, other.pictures.rows)
    torch.testing.assert_close(one.data, other.data)


def test_bad_crops_are_found_before_any_work(few, pieces):
    lost = dataclasses.replace(few, images=np.full_like(few.images, np.nan))
    with pytest.raises(InputError, match="There are 0 usable crops"):
        small().fit(lost)


# --------------------------------------------------------------------------- threads
@pytest.fixture
def two_threads():
    with torch_threads(2):
        yield


@pytest.mark.parametrize(("limit", "within"), [(1 << 30, 1), (1, 2)])
def test_small_steps_get_one_thread_and_the_caller_keeps_all(
    few, two_threads, monkeypatch, limit, within
):
    plain, seen = Trainer._try_step, []

    def spy(self, *args):
        seen.append(torch.get_num_threads())
        return plain(self, *args)

    monkeypatch.setattr(Trainer, "_try_step", spy)
    monkeypatch.setattr("napari_rvae.vae.training._WORTH_THREADS", limit)
    for _ in small(epochs=3).iter_fit(few):
        assert torch.get_num_threads() == 2
    assert set(seen) == {within}


def test_threads_come_back_when_a_step_fails(few, two_threads, monkeypatch):
    def fail(self, *_):
        raise ZeroDivisionError

    monkeypatch.setattr(Trainer, "_try_step", fail)
    with pytest.raises(ZeroDivisionError):
        small(epochs=1).fit(few)
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(("batch", "hidden", "limit"), [(256, 128, 1), (4096, 128, None)])
def test_only_large_steps_are_worth_several_threads(quick, batch, hidden, limit):
    trainer = dataclasses.replace(
        quick._trainer, config=dataclasses.replace(quick.config, hidden=hidden)
    )
    trainer.batch = batch
    assert trainer.threads == limit
    trainer.device = torch.device("meta")  # no CPU
    assert trainer.threads is None
