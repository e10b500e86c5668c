import pytest
import torch

from napari_rvae.device import choose_device, describe_device, is_out_of_memory, to_device
from napari_rvae.errors import InputError


@pytest.fixture
def no_accelerator(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.fixture
def one_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Big GPU")


def test_auto_is_the_cpu_without_an_accelerator(no_accelerator):
    assert choose_device() == torch.device("cpu")


def test_auto_is_cuda_where_there_is_one(one_gpu):
    assert choose_device("auto").type == "cuda"


def test_auto_passes_over_an_mps_that_cannot_multiply(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)

    def broken(*_args, **_options):
        raise RuntimeError("no bmm")

    monkeypatch.setattr(torch, "bmm", broken)
    assert choose_device("auto").type == "cpu"


def test_a_torch_device_is_taken_as_it_is():
    assert choose_device(torch.device("cpu")) == torch.device("cpu")


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "mps"])
def test_a_missing_device_is_one_clear_line(no_accelerator, name):
    with pytest.raises(InputError, match="choose auto or cpu"):
        choose_device(name)


@pytest.mark.parametrize("name", ["gpu", "", "cpu:x", "meta"])
def test_an_unknown_device_is_an_input_error(name):
    with pytest.raises(InputError, match="auto, cpu, cuda"):
        choose_device(name)


def test_a_gpu_that_is_not_there_is_counted(one_gpu):
    assert choose_device("cuda:0").index == 0
    with pytest.raises(InputError, match=r"no cuda:3.*1 CUDA"):
        choose_device("cuda:3")


def test_a_device_is_named_as_a_user_knows_it(one_gpu):
    assert describe_device(torch.device("cpu")) == "cpu"
    assert describe_device(torch.device("cuda")) == "cuda (Big GPU)"


def test_tensors_stay_on_the_cpu_without_a_copy():
    tensor = torch.ones(3)
    assert to_device(tensor, torch.device("cpu")) is tensor


def test_a_full_memory_is_told_from_other_errors():
    assert is_out_of_memory(torch.OutOfMemoryError("full"))
    assert is_out_of_memory(RuntimeError("MPS backend out of memory"))
    assert not is_out_of_memory(RuntimeError("shapes differ"))
    assert not is_out_of_memory(ValueError("out of memory"))
