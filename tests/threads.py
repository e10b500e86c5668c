"""Threads of torch for the time of a test."""

from contextlib import contextmanager

import torch


@contextmanager
def torch_threads(count):
    """Give torch so many threads within the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
