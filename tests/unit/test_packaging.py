"""What the package promises as a whole: safe sources, a whole wheel, a cheap import."""

import ast
import json
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

import napari_rvae

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "napari_rvae"
MODULES = sorted(SOURCE.rglob("*.py"))

needs_sources = pytest.mark.skipif(not SOURCE.is_dir(), reason="runs in the source tree only")

# Modules that run code from files, unpack archives, or open connections.
BANNED_IMPORTS = {
    *("pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"),
    *("yaml", "ruamel", "tarfile"),
    *("urllib", "urllib3", "requests", "httpx", "aiohttp", "http", "ftplib", "socket", "pooch"),
}
# Calls by their dotted end: `np.random.seed` is found as `numpy.random.seed`, too.
BANNED_CALLS = {
    "torch.load": "runs code from the file; use safetensors",
    "torch.save": "writes a pickle; use safetensors",
    "pd.read_pickle": "runs code from the file",
    "pandas.read_pickle": "runs code from the file",
    "random.seed": "sets a global seed",
    "torch.seed": "sets a global seed",
    "manual_seed_all": "sets a global seed",
    "torch.manual_seed": "sets a global seed",
    "set_num_threads": "changes the thread count of the process",
    "set_num_interop_threads": "changes the thread count of the process",
    "set_default_dtype": "changes a setting of the process",
    "use_deterministic_algorithms": "changes a setting of the process",
    "os.putenv": "changes the environment",
    "environ.setdefault": "changes the environment",
    "environ.update": "changes the environment",
    "extractall": "unpacks an archive",
    "unpack_archive": "unpacks an archive",
}
BANNED_BUILTINS = {"eval", "exec", "compile", "__import__"}
# The command line prints, and sets up the process that it owns.
COMMAND_LINE_MAY = {"changes the environment", "changes the thread count of the process"}


@needs_sources
def test_the_list_of_the_plugins_modules_is_whole():
    listed = ast.get_docstring(ast.parse((SOURCE / "_napari" / "__init__.py").read_text()))
    modules = {path.stem for path in (SOURCE / "_napari").glob("[a-z]*.py")}
    assert set(re.findall(r"`(\w+)`", listed)) == modules


def _dotted(node: ast.expr) -> str:
    """Return "a.b.c" for the expression a.b.c, with "?" for what is not a name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return "?"


def _imports(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and not node.level:
        yield node.module or ""


def _faults_of_call(node: ast.Call, *, command_line: bool) -> Iterator[str]:
    name = _dotted(node.func)
    if isinstance(node.func, ast.Name):
        if name in BANNED_BUILTINS:
            yield f"{name}() runs code"
        if name == "print" and not command_line:
            yield "print() in the library"
    for banned, why in BANNED_CALLS.items():
        excused = command_line and why in COMMAND_LINE_MAY
        if (name == banned or name.endswith(f".{banned}")) and not excused:
            yield f"{name}() {why}"
    for keyword in node.keywords:
        is_false = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
        if keyword.arg == "allow_pickle" and not is_false:
            yield f"{name}(allow_pickle=...) runs code from the file"


def find_faults(source: str, *, command_line: bool = False) -> list[str]:
    """List what the text of a module does that the package promises not to do."""
    faults = []
    for node in ast.walk(ast.parse(source)):
        found = [f"imports {n}" for n in _imports(node) if n.partition(".")[0] in BANNED_IMPORTS]
        if isinstance(node, ast.Call):
            found += _faults_of_call(node, command_line=command_line)
        if isinstance(node, (ast.Assign, ast.Delete)) and not command_line:
            targets = [t.value for t in node.targets if isinstance(t, ast.Subscript)]
            if any(_dotted(t).endswith("environ") for t in targets):
                found.append("changes the environment")
        faults += [f"line {node.lineno}: {fault}" for fault in found]
    return faults


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from urllib.request import urlopen",
        "import yaml",
        "from tarfile import open",
        "torch.load(path)",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=flag)",
        "eval(text)",
        "exec(text)",
        "archive.extractall(folder)",
        "print(1)",
        "np.random.seed(0)",
        "random.seed(0)",
        "torch.manual_seed(0)",
        "torch.set_num_threads(2)",
        "os.environ['OMP_NUM_THREADS'] = '2'",
        "os.environ.setdefault('OMP_NUM_THREADS', '2')",
    ],
)
def test_faults_are_found(line):
    assert find_faults(line)


@pytest.mark.parametrize(
    "line",
    [
        "np.load(path, allow_pickle=False)",
        "model.eval()",
        "generator.manual_seed(0)",
        "re.compile('a')",
        "json.load(file)",
        "rng = np.random.default_rng(0)",
    ],
)
def test_what_is_harmless_is_not_a_fault(line):
    assert find_faults(line) == []


@needs_sources
@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(SOURCE).as_posix())
def test_source_keeps_the_promises(path):
    command_line = path.relative_to(SOURCE).parts[0] in {"cli", "cli.py"}
    faults = find_faults(path.read_text(encoding="utf-8"), command_line=command_line)
    if path == SOURCE / "device.py":  # limit_threads, for its block and its thread alone
        faults = [fault for fault in faults if " torch.set_num_threads() " not in fault]
    assert faults == []


@needs_sources
def test_module_names_say_what_they_are():
    vague = {"util", "utils", "helper", "helpers", "common", "misc"}
    assert [p for p in SOURCE.rglob("*") if p.stem.strip("_") in vague] == []


@needs_sources
def test_lists_of_public_names_agree():
    stub = ast.parse((SOURCE / "__init__.pyi").read_text(encoding="utf-8"))
    names = {
        alias.asname or alias.name
        for node in stub.body
        if isinstance(node, ast.ImportFrom) and node.level
        for alias in node.names
    }
    assert names <= set(dir(napari_rvae))
    for name in sorted(names):
        assert getattr(napari_rvae, name) is not None


@needs_sources
def test_versions_agree():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "version"
    ]
    headings = re.findall(
        r"^## \[(\S+)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    assert headings[0] == version
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"^version: (\S+)$", citation, flags=re.MULTILINE) == [version]
    assert napari_rvae.__version__ == version


@needs_sources
def test_constraints_pin_no_platform():
    pins = [
        line
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", pin) for pin in pins)
    assert not [pin for pin in pins if pin.lower().startswith(("nvidia", "triton", "napari-rvae"))]


@pytest.fixture(scope="module")
def manifest():
    npe2 = pytest.importorskip("npe2")
    return npe2.PluginManifest.from_file(Path(napari_rvae.__file__).with_name("napari.yaml"))


def test_manifest_is_valid(manifest):
    assert manifest.name == "napari-rvae"
    # napari would open widgets twice otherwise: it goes by the one in menus, the other in scripts
    assert manifest.display_name == manifest.name


def test_manifest_names_what_is_there(manifest):
    pytest.importorskip("napari")
    manifest.validate_imports()
    commands = {command.id for command in manifest.contributions.commands}
    named = [item.command for items in manifest.contributions.menus.values() for item in items]
    for kind in ("widgets", "readers", "sample_data"):
        named += [item.command for item in getattr(manifest.contributions, kind)]
    assert set(named) == commands


def test_preferences_are_those_that_are_read(manifest):
    """The two lists, of the manifest and of the code, with their defaults."""
    pytest.importorskip("napari")
    from napari_rvae._napari.settings import GROUP, PLUGIN, Preferences

    assert manifest.name == PLUGIN
    group = manifest.contributions.configurations[GROUP]
    assert {key: item.default for key, item in group.properties.items()} == asdict(Preferences())


def _run(command, **kwargs) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, **kwargs)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_import_loads_nothing_heavy():
    """The import budget: none of the slow libraries, counted in a process of its own."""
    script = "import json, sys, napari_rvae; print(json.dumps(sorted(sys.modules)))"
    loaded = {name.partition(".")[0] for name in json.loads(_run([sys.executable, "-c", script]))}
    heavy = {"torch", "napari", "qtpy", "magicgui", "pandas", "matplotlib", "sklearn", "skimage"}
    heavy |= {"PySide6", "PyQt6", "PyQt5", "vispy"}
    assert loaded & heavy == set()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Return a wheel built from the sources, with the build backend of this environment."""
    if not (ROOT / "pyproject.toml").is_file():
        pytest.skip("runs in the source tree only")
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    options = ["--no-build-isolation", "--no-deps", "--no-index", "-w", str(folder)]
    _run([*pip, "wheel", *options, str(ROOT)])
    (built,) = folder.glob("*.whl")
    return built


def test_wheel_is_whole(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for path in MODULES:
        assert path.relative_to(SOURCE.parent).as_posix() in names
    for name in ("__init__.pyi", "napari.yaml", "py.typed"):
        assert f"napari_rvae/{name}" in names
    (entry_points,) = (n for n in names if n.endswith(".dist-info/entry_points.txt"))
    text = zipfile.ZipFile(wheel).read(entry_points).decode()
    assert "napari-rvae = napari_rvae:napari.yaml" in text
    assert "napari-rvae = napari_rvae.cli:main" in text
    assert any(n.endswith("licenses/LICENSE") for n in names)
    # Only the package and its description.
    tops = {n.partition("/")[0] for n in names}
    assert len(tops) == 2
    assert not [n for n in names if "test" in n.partition("/")[2].split("/")[0]]


def test_wheel_works_in_a_fresh_environment(wheel, tmp_path):
    """Install the wheel alone, with the dependencies of this environment, and use it elsewhere."""
    home = tmp_path / "env"
    venv.create(home, with_pip=True, symlinks=os.name != "nt")
    scripts = home / ("Scripts" if os.name == "nt" else "bin")
    python = str(scripts / "python")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    pip = [python, "-m", "pip", "--disable-pip-version-check"]
    _run([*pip, "install", "--no-deps", "--no-index", str(wheel)], env=environment)
    # The libraries of this environment. A .pth file adds the folder only: the editable
    # napari-rvae in it comes after the installed one, and its own .pth file is not read.
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = Path(_run([python, "-c", ask], env=environment).strip())
    (packages / "zz_outer.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    script = "import napari_rvae as r; print(r.__file__); print(r.fold_angle(7.0, 1)); r.RVAE"
    where, angle = _run([python, "-c", script], cwd=elsewhere, env=environment).splitlines()
    assert Path(where).is_relative_to(packages)
    assert float(angle) == pytest.approx(7.0 - 2 * 3.141592653589793)
    command = scripts / "napari-rvae"
    assert "demo" in _run([str(command), "--help"], cwd=elsewhere, env=environment)
