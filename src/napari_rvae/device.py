"""Where the tensors live and how many threads compute: the one place that chooses both."""

from __future__ import annotations

import gc
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TypeVar

import torch

from napari_rvae.blas import one_blas_thread
from napari_rvae.errors import InputError

__all__ = [
    "bands",
    "choose_device",
    "describe_device",
    "do_side_by_side",
    "is_out_of_memory",
    "limit_threads",
    "release_memory",
    "side_by_side",
    "small_steps",
    "thread_count",
    "to_device",
]

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")

#: What is worked on side by side holds so many bytes together, unless one alone holds more.
_MEMORY = 2**31

#: One thread at a time may change its number of threads: see :func:`_set_own_threads`.
_CHANGE = threading.Lock()

#: Most threads side by side. With every operation Python's lock goes from thread to thread, and
#: beyond four the waiting costs more than they do (measured on 16 cores).
_MOST_THREADS = 4


class _Crew(threading.local):
    """Threads that the calling thread has at its side in :func:`small_steps`."""

    size: int = 0  # with the calling thread; 0 outside such a block
    pool: ThreadPoolExecutor | None = None


_CREW = _Crew()


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


def release_memory(device: torch.device) -> None:
    """Give the memory that a device keeps in reserve back to others; the CPU keeps none.

    Only what nothing refers to any more is given back, so drop the tensors first.
    """
    if device.type == "cpu":
        return
    gc.collect()  # tensors in reference cycles, such as those of a traceback
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


@contextmanager
def limit_threads(count: int | None) -> Iterator[None]:
    """Compute with at most so many CPU threads inside the block.

    Holds for what torch computes on the CPU, and for the calling thread alone: other threads
    keep their number, and threads that begin meanwhile get the usual one. The number from
    before comes back with the end of the block, however it ends. A generator that is dropped
    inside the block, and closed by another thread, changes nothing in that other thread. NumPy's
    own threads can only be limited for the whole process, so they are left alone here.

    Parameters
    ----------
    count
        Most threads, 1 or more; None or 0 limits nothing. It never raises the number.

    Raises
    ------
    InputError
        If `count` is negative.

    Examples
    --------
    >>> import torch
    >>> from napari_rvae.device import limit_threads
    >>> with limit_threads(1):
    ...     torch.get_num_threads()
    1
    """
    if count is not None and count < 0:
        raise InputError(f"{count} threads are too few: give 1 or more, or 0 for no limit.")
    with _CHANGE:  # a thread that begins with torch here must not begin with a changed number
        earlier = torch.get_num_threads()
    if not count or count >= earlier:
        yield
        return
    owner = threading.get_ident()
    _set_own_threads(count)
    try:
        yield
    finally:
        if threading.get_ident() == owner:
            _set_own_threads(earlier)


def _set_own_threads(count: int) -> None:
    """Set the calling thread's number of threads, and leave what other threads begin with.

    torch keeps two numbers: the calling thread's own, and one that every thread begins with.
    It sets both at once, so a thread that ends at once puts the second one back.
    """
    with _CHANGE, ThreadPoolExecutor(1) as beginner:
        torch.get_num_threads()  # the first call in a thread takes the usual number
        usual = beginner.submit(torch.get_num_threads).result()
        torch.set_num_threads(count)
        beginner.submit(torch.set_num_threads, usual).result()


def thread_count() -> int:
    """How many CPU threads the calling thread may compute with: see :func:`limit_threads`."""
    if _CREW.size:
        return _CREW.size
    with _CHANGE:
        return torch.get_num_threads()


@contextmanager
def small_steps() -> Iterator[None]:
    """Do many small operations inside the block, one thread each.

    torch splits every operation between threads that wait for each other. Small ones take longer
    so, and on a busy machine ten times as long. Inside the block the calling thread and those of
    :func:`side_by_side` compute with one thread each, and the latter are kept from call to call.
    NumPy's linear algebra has one thread, too: see :func:`napari_rvae.blas.one_blas_thread`.

    Examples
    --------
    >>> import torch
    >>> from napari_rvae.device import side_by_side, small_steps
    >>> with small_steps():
    ...     counts = list(side_by_side(lambda _: torch.get_num_threads(), range(3)))
    >>> counts
    [1, 1, 1]
    """
    if _CREW.size:
        yield
        return
    size = min(thread_count(), _MOST_THREADS)
    pool = ThreadPoolExecutor(size, initializer=_join_crew) if size > 1 else None
    with limit_threads(1), one_blas_thread():
        _CREW.size, _CREW.pool = size, pool
        try:
            yield
        finally:
            _CREW.size, _CREW.pool = 0, None
            if pool is not None:
                pool.shutdown()


def _join_crew() -> None:
    """Begin a thread that computes alone, what it does side by side too."""
    _set_own_threads(1)
    _CREW.size = 1


def bands(count: int, size: int = 256) -> list[slice]:
    """Rows of a picture, some at a time: what :func:`side_by_side` may work on.

    Parameters
    ----------
    count
        Number of rows.
    size
        Rows in a part, whatever the number of threads, so that the answer does not depend on it.

    Examples
    --------
    >>> from napari_rvae.device import bands
    >>> bands(300)
    [slice(0, 256, None), slice(256, 300, None)]
    """
    return [slice(k, min(k + size, count)) for k in range(0, count, size)]


def do_side_by_side(work: Callable[[_Item], None], items: Sequence[_Item]) -> None:
    """Do some work with every item for what it changes: :func:`side_by_side` without answers.

    Examples
    --------
    >>> from napari_rvae.device import bands, do_side_by_side
    >>> rows = [0] * 4
    >>> do_side_by_side(lambda part: rows.__setitem__(part, [1, 1]), bands(4, 2))
    >>> rows
    [1, 1, 1, 1]
    """
    for _ in side_by_side(work, items, most=len(items) or None):
        pass


def side_by_side(
    function: Callable[[_Item], _Answer],
    items: Iterable[_Item],
    *,
    most: int | None = None,
    item_bytes: int = 0,
) -> Iterator[_Answer]:
    """Apply a function to one item after the other, several at a time in threads.

    There are as many threads as the caller may compute with (:func:`thread_count`), but four at
    most, and less where the items are few or large; in each, torch has its share of them. With one
    thread nothing but a loop is left. Items are taken by the calling thread, a few before they are
    needed.

    Parameters
    ----------
    function
        What to do. It must not touch what another call of it touches.
    items
        What to do it with.
    most
        Number of items, or another limit of the threads.
    item_bytes
        Memory that the work on one item takes: all that is worked on at a time stays within 2 GiB,
        or is one item.

    Yields
    ------
    object
        The answers, in the order of the items. What a call raises is raised in its turn; then, and
        when the iterator is closed, no further item is begun, and those begun are waited for.

    Examples
    --------
    >>> from napari_rvae.device import side_by_side
    >>> list(side_by_side(abs, [-3, -2, -1]))
    [3, 2, 1]
    """
    threads = min(thread_count(), _MOST_THREADS)
    workers = min(threads, most or threads, max(1, _MEMORY // max(item_bytes, 1)))
    if workers <= 1:
        yield from map(function, items)
        return
    pool = _CREW.pool or ThreadPoolExecutor(
        workers, initializer=_set_own_threads, initargs=(threads // workers,)
    )
    begun: deque[Future[_Answer]] = deque()
    try:
        for item in items:
            begun.append(pool.submit(function, item))
            if len(begun) > workers:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        if pool is _CREW.pool:
            wait([future for future in begun if not future.cancel()])
        else:
            pool.shutdown(cancel_futures=True)
