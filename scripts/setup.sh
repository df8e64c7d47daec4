#!/bin/sh
# Make .venv from pinned wheels: Python 3.11+ and its venv module are all it needs.
set -eu
for python in "${PYTHON:-}" python3 python3.14 python3.13 python3.12 python3.11; do
    [ -n "$python" ] && command -v "$python" >/dev/null 2>&1 || continue
    if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        found=$python
        break
    fi
done
if [ -z "${found:-}" ]; then
    echo "make setup: no Python 3.11 or newer found (set PYTHON=/path/to/python3.11)" >&2
    exit 1
fi
if ! "$found" -c 'import ensurepip, venv' 2>/dev/null; then
    echo "make setup: $found lacks its venv module (on Debian: apt install python3-venv)" >&2
    exit 1
fi
echo "setting up .venv with $("$found" --version) ..." >&2
[ -x .venv/bin/python ] && .venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
    || "$found" -m venv --clear .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check --only-binary :all: \
    -c constraints.txt -e '.[dev]'
