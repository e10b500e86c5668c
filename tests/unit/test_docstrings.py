"""The examples in the docstrings of the public names run as they are printed."""

import doctest
import inspect

import pytest

import napari_rvae


@pytest.mark.parametrize("name", sorted(napari_rvae.__all__))
def test_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # for examples that write
    thing = getattr(napari_rvae, name)
    assert inspect.getdoc(thing), f"{name} has no docstring"
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    report = []
    for test in doctest.DocTestFinder(exclude_empty=True).find(thing, name):
        runner.run(test, out=report.append)
    assert runner.failures == 0, "".join(report)


@pytest.mark.parametrize("name", sorted(napari_rvae.__all__))
def test_every_public_name_has_an_example_or_names_what_makes_it(name):
    thing = getattr(napari_rvae, name)
    if isinstance(thing, type) and issubclass(thing, (Exception, Warning)):
        return
    said = inspect.getdoc(thing)
    roles = (":func:", ":meth:", ":class:")
    assert ">>>" in said or (isinstance(thing, type) and any(role in said for role in roles))
