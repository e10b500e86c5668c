"""Adam of torch, without loading torch's compiler, which takes longer than a short training."""

from __future__ import annotations

import inspect

import torch

__all__ = ["Adam"]


class Adam(torch.optim.Adam):
    """What :class:`torch.optim.Adam` is, for code that nobody compiles.

    torch wraps the methods of its optimisers for its compiler, and loads the compiler (800 modules,
    a second of work) at the first call of one; without the wrapping the same work is done by the
    same code. Taken from D. P. Kingma, J. Ba, arXiv 1412.6980.
    """

    add_param_group = inspect.unwrap(torch.optim.Adam.add_param_group)
    zero_grad = inspect.unwrap(torch.optim.Adam.zero_grad)
    state_dict = inspect.unwrap(torch.optim.Adam.state_dict)
    load_state_dict = inspect.unwrap(torch.optim.Adam.load_state_dict)
    step = torch.no_grad()(inspect.unwrap(torch.optim.Adam.step))
