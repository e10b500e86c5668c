# Shared by demo.sh and test.sh, which source it from the repository root.
# Run by itself, `sh scripts/setup.sh packages` prints the Debian packages that the tests need.

# Qt's own libraries and a virtual screen: drawing needs a real X server, and none of this
# comes with the Python packages. (Names as on Debian 12; later releases have them too.)
qt_packages="xvfb xauth libegl1 libgl1 libdbus-1-3 libfontconfig1 libglib2.0-0 \
libxkbcommon-x11-0 libxcb-cursor0 libxcb-icccm4 libxcb-keysyms1 libxcb-shape0 libxcb-xkb1"

say() { printf '%s\n' "-- $*"; }
die() { printf '%s\n' "error: $*" >&2; exit 1; }

# Install Debian packages, or say which line to run.
apt_install() {
    line="apt-get update && apt-get install -y --no-install-recommends $*"
    command -v apt-get >/dev/null 2>&1 ||
        die "missing from this system: $* (Debian's names). Install them, then run this again."
    [ "$(id -u)" -eq 0 ] ||
        die "missing from this system: $*. As root, run: $line"
    say "installing from the system's packages: $*"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq || die "apt-get update failed; the line was: $line"
    # shellcheck disable=SC2086,SC2048
    apt-get install -y -qq --no-install-recommends $* >/dev/null ||
        die "apt-get failed; the line was: $line"
}

# Is $1 a Python of version 3.11 or later that runs? (Names of version managers may not.)
python_ok() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

# Set $python. The user's own python3 comes before versioned names: it is the one that an
# active environment, or a CPU build of torch, belongs to.
find_python() {
    python=
    if [ -n "${PYTHON:-}" ]; then
        python_ok "$PYTHON" || die "PYTHON=$PYTHON is not a Python 3.11 or later that runs."
        python=$PYTHON
        return 0
    fi
    for candidate in python3 python3.13 python3.12 python3.11; do
        if python_ok "$candidate"; then
            python=$candidate
            return 0
        fi
    done
    return 1
}

# Debian ships Python without the part of venv that installs pip.
can_make_venv() { "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; }

# A .venv is used again if its Python runs, is not too old, has pip, and has not been moved:
# the scripts in a moved one start another Python or none.
venv_ok() {
    python_ok "$root/.venv/bin/python" &&
        "$root/.venv/bin/python" -m pip --version >/dev/null 2>&1 &&
        grep -qF "$root/.venv/bin/" "$root/.venv/bin/pip" 2>/dev/null
}

make_venv() {
    if venv_ok; then
        return 0
    fi
    if ! find_python; then
        apt_install python3 python3-venv
        find_python || die "this system's python3 is older than 3.11." \
            "Install a newer one and name it: PYTHON=/path/to/python3.13 sh scripts/demo.sh"
    fi
    if ! can_make_venv; then
        version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        apt_install "python$version-venv"
        can_make_venv || die "$python cannot make virtual environments (no ensurepip)." \
            "Name another Python: PYTHON=/path/to/python3 sh scripts/demo.sh"
    fi
    say "making .venv with $("$python" --version)"
    # --clear: what is there, if anything, does not work.
    "$python" -m venv --clear "$root/.venv"
}

# pip 21.3 is the first that can install a pyproject.toml package in place.
check_pip() {
    "$root/.venv/bin/python" - <<'END' || "$root/.venv/bin/python" -m pip install --upgrade pip
import sys
import pip
sys.exit(tuple(int(n) for n in pip.__version__.split(".")[:2]) < (21, 3))
END
}

# A torch that the user put into .venv is kept if the package can use it: print the
# constraints with its version in place of ours.
constraints() {
    "$root/.venv/bin/python" - <<'END'
import re
from importlib import metadata

try:
    # "2.13.0+cpu" is the version "2.13.0" of another origin.
    torch = metadata.version("torch").partition("+")[0]
except metadata.PackageNotFoundError:
    torch = ""
wanted = re.search(r'"torch>=([\d.]+)"', open("pyproject.toml").read()).group(1)


def numbers(version):
    return [int(n) for n in re.findall(r"\d+", version)[:2]]


if torch and numbers(torch) < numbers(wanted):
    torch = ""
for line in open("constraints.txt"):
    print("torch==" + torch if torch and line.startswith("torch==") else line.rstrip("\n"))
END
}

# What was installed, and from which requirements.
stamp_text() {
    cat pyproject.toml constraints.txt | cksum
}
stamp_holds() {
    [ -f "$root/.venv/.napari-rvae-$1" ] &&
        [ "$(cat "$root/.venv/.napari-rvae-$1")" = "$(stamp_text)" ]
}

# install NAME REQUIREMENT: the package in place, unless .venv has it already.
# The tests' set holds everything that the demo's does.
install() {
    make_venv
    if stamp_holds "$1" || stamp_holds test; then
        say "using .venv as it is"
        return 0
    fi
    check_pip
    say "installing $2 into .venv (some minutes the first time)"
    constraints >"$root/.venv/constraints.txt"
    "$root/.venv/bin/python" -m pip install --disable-pip-version-check \
        -c "$root/.venv/constraints.txt" -e "$2"
    stamp_text >"$root/.venv/.napari-rvae-$1"
}

# The tests need Qt's libraries and Xvfb. Ask for what is used, not for package names, so that
# systems with other packages pass too.
missing_qt_libraries() {
    command -v Xvfb >/dev/null 2>&1 || { echo Xvfb; return; }
    "$root/.venv/bin/python" - <<'END'
import ctypes
import sys

if sys.platform == "linux":
    for name in (
        "libEGL.so.1", "libGL.so.1", "libdbus-1.so.3", "libfontconfig.so.1",
        "libglib-2.0.so.0", "libxkbcommon-x11.so.0", "libxcb-cursor.so.0",
        "libxcb-icccm.so.4", "libxcb-keysyms.so.1", "libxcb-shape.so.0", "libxcb-xkb.so.1",
    ):
        try:
            ctypes.CDLL(name)
        except OSError:
            print(name)
            break
END
}
install_qt_libraries() {
    [ "$(uname -s)" = Linux ] || return 0 # elsewhere Qt draws on the system's own screen
    [ -n "$(missing_qt_libraries)" ] || return 0
    # shellcheck disable=SC2086
    apt_install $qt_packages
}

if [ "${1:-}" = packages ] && [ "$(basename -- "$0")" = setup.sh ]; then
    printf '%s\n' "$qt_packages"
fi
