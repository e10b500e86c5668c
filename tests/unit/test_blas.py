"""Threads of linear algebra, which are the whole process's."""

import os
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest

from napari_rvae import blas
from napari_rvae.blas import one_blas_thread


class Library:
    """Stands for the library: its number of threads, and who changed it."""

    def __init__(self):
        self.threads, self.changed_by = 4, []

    @contextmanager
    def limits(self, number, user_api):
        assert user_api == "blas"
        before, self.threads = self.threads, number
        self.changed_by.append(threading.get_ident())
        try:
            yield
        finally:
            self.threads = before
            self.changed_by.append(threading.get_ident())


@pytest.fixture
def library(monkeypatch):
    library = Library()
    monkeypatch.setattr(blas, "threadpool_limits", library.limits)
    return library


def test_one_thread_within_and_the_others_afterwards(library):
    with one_blas_thread():
        assert library.threads == 1
        with one_blas_thread():
            assert library.threads == 1
        assert library.threads == 1
    assert library.threads == 4
    assert len(library.changed_by) == 2
    assert len(set(library.changed_by)) == 1  # another thread might not be let to


def test_they_return_after_an_error_in_a_decorated_function(library):
    @one_blas_thread()
    def work():
        assert library.threads == 1
        raise ValueError("work")

    for _ in range(2):
        with pytest.raises(ValueError, match="work"):
            work()
    assert library.threads == 4


def test_the_last_of_several_blocks_brings_them_back(library):
    begun, go = threading.Event(), threading.Event()

    def other():
        with one_blas_thread():
            begun.set()
            go.wait(20)

    thread = threading.Thread(target=other)
    with one_blas_thread():
        thread.start()
        begun.wait(20)
    assert library.threads == 1  # the other block goes on
    go.set()
    thread.join(20)
    assert library.threads == 4


def test_many_threads_leave_all_as_it_was(library):
    def work():
        for _ in range(30):
            with one_blas_thread():
                assert library.threads == 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert library.threads == 4
    assert library.changed_by[::2] == library.changed_by[1::2]


def test_a_limit_that_fails_stops_nothing(library, monkeypatch):
    monkeypatch.setattr(blas, "threadpool_limits", lambda *_, **__: 1 / 0)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    with one_blas_thread():
        pass
    with one_blas_thread():
        pass


def test_the_library_itself_is_limited():
    code = """
import numpy, scipy.linalg
from threadpoolctl import threadpool_info
from napari_rvae.blas import one_blas_thread
def most():
    rows = threadpool_info()
    return max([row["num_threads"] for row in rows if row["user_api"] == "blas"] or [1])
before = most()
with one_blas_thread():
    assert most() == 1
assert most() == before
"""
    two = {**os.environ, "OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"}
    subprocess.run([sys.executable, "-c", code], env=two, check=True, timeout=60)
