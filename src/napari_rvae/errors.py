"""The errors and warnings a user can meet; each is one line: what, why, what to do."""

from __future__ import annotations

__all__ = [
    "Cancelled",
    "InputError",
    "ModelFileError",
    "NapariRvaeError",
    "NapariRvaeWarning",
    "NoLatticeWarning",
    "NoWallsWarning",
    "NotFittedError",
    "PhaseJumpWarning",
    "ReadError",
]


class NapariRvaeError(Exception):
    """Base of every error that this package raises on purpose."""


class InputError(NapariRvaeError, ValueError):
    """An argument, a table or an array is not what the function needs."""


class ReadError(NapariRvaeError, OSError):
    """A file cannot be read, or holds less than it promises."""


class NotFittedError(NapariRvaeError, RuntimeError):
    """A model is asked for a result before it was trained."""


class ModelFileError(NapariRvaeError, OSError):
    """A saved model or run is damaged, incomplete, or not one of ours."""


class Cancelled(NapariRvaeError):
    """The user stopped the work; nothing that existed before was changed."""


class NapariRvaeWarning(UserWarning):
    """Base of every warning that this package gives on purpose."""


class NoLatticeWarning(NapariRvaeWarning):
    """No crystal lattice was seen; what was found is returned all the same."""


class NoWallsWarning(NapariRvaeWarning):
    """No 180-degree domain wall was seen; the table has all columns all the same."""


class PhaseJumpWarning(NapariRvaeWarning):
    """The phase of a scan jumps in the middle of it; what follows was turned back."""
