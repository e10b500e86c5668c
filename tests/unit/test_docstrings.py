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
