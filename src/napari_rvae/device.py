"""Where the tensors live: the one place that chooses a device."""

from __future__ import annotations

import torch

from napari_rvae.errors import InputError

__all__ = ["choose_device", "describe_device", "is_out_of_memory", "to_device"]


def _mps_works() -> bool:
    """Whether Apple's backend is there and can do the one operation we could not do without."""
    if not torch.backends.mps.is_available():
        return False
    try:
        torch.bmm(torch.ones(1, 2, 2, device="mps"), torch.ones(1, 2, 2, device="mps"))
    except (RuntimeError, NotImplementedError):
        return False
    return True


def choose_device(name: str | torch.device = "auto") -> torch.device:
    """Return the device to compute on.

    Parameters
    ----------
    name
        "auto" takes CUDA, then MPS where it works, then the CPU; or a device's name such as
        "cpu", "cuda", "cuda:1", "mps".

    Raises
    ------
    InputError
        If the device is unknown or not on this machine.

    Examples
    --------
    >>> from napari_rvae.device import choose_device
    >>> choose_device("cpu").type
    'cpu'
    """
    if str(name) == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if _mps_works() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(
            f"There is no device {name!r}: choose auto, cpu, cuda, cuda:0 or mps."
        ) from None
    if device.type == "cuda":
        _require_cuda(device)
    elif device.type == "mps" and not _mps_works():
        raise InputError("This machine has no working MPS device: choose auto or cpu.")
    elif device.type not in ("cpu", "mps"):
        raise InputError(f"Device {name!r} is not supported: choose auto, cpu, cuda or mps.")
    return device


def _require_cuda(device: torch.device) -> None:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count == 0:
        raise InputError("This machine has no usable CUDA device: choose auto or cpu.")
    # torch leaves the index out at run time for plain "cuda"
    index: int | None = device.index
    if index is not None and index >= count:
        raise InputError(f"There is no {device}: this machine has {count} CUDA device(s).")


def describe_device(device: torch.device) -> str:
    """Name a device as a user would know it, such as "cuda (NVIDIA A100)" or "cpu"."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return device.type


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Move a tensor; to CUDA through pinned memory, so that the copy overlaps with work."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the device's memory is full."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "out of memory" in str(error).lower()
    )
