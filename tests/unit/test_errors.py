import pytest

from napari_rvae import errors

ERRORS = [name for name in errors.__all__ if not name.endswith("Warning")]
WARNINGS = [name for name in errors.__all__ if name.endswith("Warning")]


@pytest.mark.parametrize("name", ERRORS)
def test_every_error_is_of_the_family(name):
    assert issubclass(getattr(errors, name), errors.NapariRvaeError)


@pytest.mark.parametrize("name", WARNINGS)
def test_every_warning_can_be_silenced_like_any_other(name):
    assert issubclass(getattr(errors, name), errors.NapariRvaeWarning)
    assert issubclass(getattr(errors, name), UserWarning)


@pytest.mark.parametrize(
    ("name", "builtin"),
    [
        ("InputError", ValueError),
        ("ReadError", OSError),
        ("ModelFileError", OSError),
        ("NotFittedError", RuntimeError),
    ],
)
def test_errors_are_caught_by_their_builtin_kind_too(name, builtin):
    assert issubclass(getattr(errors, name), builtin)


def test_the_message_is_kept_as_it_is():
    assert str(errors.ReadError("a.tif: cut short; copy it again.")) == (
        "a.tif: cut short; copy it again."
    )


def test_no_lattice_is_a_warning_and_no_error():
    assert issubclass(errors.NoLatticeWarning, UserWarning)
    assert not issubclass(errors.NoLatticeWarning, errors.NapariRvaeError)
