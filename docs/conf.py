"""Sphinx configuration. The pages build, and can be read, without a network connection."""

from __future__ import annotations

import ast
import dataclasses
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.writers.html5 import HTML5Translator

project = "napari-rvae"
author = "napari-rvae developers"
copyright = f"2026, {author}"
release = version = metadata.version("napari-rvae")

extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc"]
exclude_patterns = ["_build"]
default_role = "literal"  # `name` in docstrings is a parameter

autosummary_generate = False  # the pages are written below, one per module
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_type_aliases = {"ArrayLike": "ArrayLike"}  # else spelt out over several lines
python_maximum_signature_line_length = 80
numpydoc_class_members_toctree = False
numpydoc_show_class_members = False

html_theme = "pydata_sphinx_theme"
html_title = "napari-rvae"
html_show_sourcelink = False
html_theme_options = {
    "navigation_with_keys": False,
    "show_prev_next": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}

# ------------------------------------------------------------------ API reference
_DOCS = Path(__file__).parent
_STUB = _DOCS.parent / "src" / "napari_rvae" / "__init__.pyi"


def _public_names() -> dict[str, list[str]]:
    """Read the public names from the stub, by the module that they are defined in."""
    names: dict[str, list[str]] = {}
    for node in ast.parse(_STUB.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module:
            step = node.module.partition(".")[0]
            found = [alias.asname or alias.name for alias in node.names]
            names.setdefault(step, []).extend(n for n in found if not n.startswith("_"))
    return {step: found for step, found in names.items() if found}


def _module_page(step: str, names: list[str]) -> str:
    import napari_rvae

    lines = [step, "=" * len(step), "", ".. currentmodule:: napari_rvae", ""]
    for name in names:
        thing = getattr(napari_rvae, name)
        if isinstance(thing, type) and issubclass(thing, Exception):
            lines += [f".. autoexception:: {name}", "   :show-inheritance:", ""]
        elif isinstance(thing, type):
            lines += [f".. autoclass:: {name}", "   :members:", ""]
        elif callable(thing):
            lines += [f".. autofunction:: {name}", ""]
        else:
            lines += [f".. autodata:: {name}", ""]
    return "\n".join(lines)


def _contents(names: dict[str, list[str]]) -> str:
    lines = [".. toctree::", "   :hidden:", ""]
    lines += [f"   generated/{step}" for step in names]
    lines += ["", ".. currentmodule:: napari_rvae", ""]
    for step, found in names.items():
        lines += [f".. rubric:: :doc:`{step} <generated/{step}>`", "", ".. autosummary::", ""]
        lines += [f"   {name}" for name in found] + [""]
    return "\n".join(lines)


def _write(path: Path, text: str) -> None:
    # Unchanged pages keep their date, so that Sphinx does not build them again.
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def write_api_pages() -> None:
    """Write one page per module from the stub, and the list of them."""
    folder = _DOCS / "api" / "generated"
    folder.mkdir(exist_ok=True)
    names = _public_names()
    for old in folder.glob("*.rst"):
        if old.stem not in names:
            old.unlink()
    for step, found in names.items():
        _write(folder / f"{step}.rst", _module_page(step, found))
    _write(folder / "contents.txt", _contents(names))


def _list_options(
    _app: Sphinx, _what: str, _name: str, thing: object, _options: object, lines: list[str]
) -> None:
    """Describe the fields of a configuration with the help texts that they carry."""
    from napari_rvae.config import Config

    if not (isinstance(thing, type) and issubclass(thing, Config)):
        return
    lines += ["", "Parameters", "----------"]
    for item in dataclasses.fields(thing):
        meta = item.metadata
        notes = [f"in {meta['unit']}"] if meta["unit"] else []
        if meta["choices"]:
            notes.append("one of " + ", ".join(meta["choices"]))
        if meta["low"] is not None:
            notes.append(f"at least {meta['low']:g}")
        if meta["high"] is not None:
            notes.append(f"at most {meta['high']:g}")
        text = meta["help"] + (f" ({'; '.join(notes)})" if notes else "")
        lines += [item.name, f"    {text}"]
    lines.append("")


def _plain_signature(
    _app: Sphinx,
    _what: str,
    _name: str,
    _thing: object,
    _options: object,
    signature: str | None,
    returns: str | None,
) -> tuple[str | None, str | None]:
    """Write "..." for defaults made by a factory: "<factory>" is no Python."""
    return signature and signature.replace("<factory>", "..."), returns


# -------------------------------------------------------------------------- maths
# Formulas become MathML while building: the usual renderer would load a script from the network
# whenever a page is opened.
def _visit_math(self: HTML5Translator, node: nodes.math) -> None:
    self.body.append(tex2mathml(node.astext(), as_block=False))
    raise nodes.SkipNode


def _visit_math_block(self: HTML5Translator, node: nodes.math_block) -> None:
    self.body.append(f'<div class="math">{tex2mathml(node.astext(), as_block=True)}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Add what this file brings along."""
    app.add_html_math_renderer("mathml", (_visit_math, None), (_visit_math_block, None))
    app.config.html_math_renderer = "mathml"  # type: ignore[attr-defined]
    # Before numpydoc (priority 500) reads the docstring.
    app.connect("autodoc-process-docstring", _list_options, priority=100)
    app.connect("autodoc-process-signature", _plain_signature)
    write_api_pages()
