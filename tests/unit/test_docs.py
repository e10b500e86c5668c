"""What pages tell people to type: Python that can be read, names and options that are there.

``scripts/run_docs.py`` runs the code itself, which takes minutes.
"""

import ast
import importlib
import importlib.util
import inspect
import re
import shlex
import sys
from pathlib import Path

import pytest

import napari_rvae
from napari_rvae.cli import command
from napari_rvae.cli.options import normalise_flags

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "run_docs.py"

pytestmark = pytest.mark.skipif(not SCRIPT.is_file(), reason="runs in the source tree only")


def _load():
    spec = importlib.util.spec_from_file_location("run_docs", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["run_docs"] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


script = _load() if SCRIPT.is_file() else None
BLOCKS = [block for page in script.pages() for block in script.blocks(page)] if script else []
PYTHON = [block for block in BLOCKS if block.is_python]
LINES = [
    (f"{block.page.stem}:{block.line}", line.strip())
    for block in BLOCKS
    for line in block.text.splitlines()
    if line.strip().startswith("napari-rvae ")
]


def _called(tree):
    """Calls of this package's functions: the function, and the call."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("napari_rvae"):
            module = importlib.import_module(node.module)
            names |= {a.asname or a.name: getattr(module, a.name) for a in node.names}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        made = node.func
        if isinstance(made, ast.Name) and made.id in names:
            yield names[made.id], node
        elif isinstance(made, ast.Attribute) and ast.unparse(made.value) == "rvae":
            yield getattr(napari_rvae, made.attr), node


@pytest.mark.parametrize("block", PYTHON, ids=lambda block: f"{block.page.stem}:{block.line}")
def test_functions_and_options_of_python_blocks_are_there(block):
    for function, call in _called(ast.parse(block.text)):
        known = inspect.signature(function).parameters
        takes_any = any(p.kind is p.VAR_KEYWORD for p in known.values())
        given = {word.arg for word in call.keywords}
        if takes_any:  # options of a configuration: a misspelt one is an error there
            continue
        assert given <= set(known), f"{function.__name__} has no {given - set(known)}"


@pytest.mark.parametrize(("place", "line"), LINES, ids=[place for place, _ in LINES])
def test_command_lines_are_understood(place, line):
    plain = re.sub(r"\s{2,}.*|\[|\]|\.\.\.", "", line)  # what explains it, and what may be left out
    words = shlex.split(plain.replace("OPTION VALUE", "min_probability 0.5"))[1:]
    words = [word.replace("KEY", "min_snr") for word in words]
    arguments = command._parse(normalise_flags(words))
    assert arguments.name == words[0]


def test_there_is_something_to_look_at():
    assert len(PYTHON) > 50
    assert len(LINES) > 20
    pages = {page.stem for page in script.pages()}
    assert set(script.SCENES) <= pages
    assert {page for page, _ in script.STEPS} <= pages
