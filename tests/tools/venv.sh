#!/bin/sh
# Make a virtual environment: venv.sh PYTHON FOLDER. Says plainly what is missing if it cannot.
set -eu
python=$1
folder=$2

fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

recent() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

if ! recent "$python"; then
    found=
    for candidate in python3.14 python3.13 python3.12 python3.11; do
        if recent "$candidate"; then
            found=$candidate
            break
        fi
    done
    [ -n "$found" ] || fail \
        "gatewayd needs Python 3.11 or newer; '$python' is $("$python" --version 2>&1 || true)." \
        "Install one, or name it: make PYTHON=/path/to/python3.12 ..."
    python=$found
fi

# Debian ships python3 without the parts that make environments.
"$python" -c 'import venv, ensurepip' 2>/dev/null || fail \
    "'$python' cannot make a virtual environment: its venv and ensurepip modules are missing." \
    "On Debian or Ubuntu: apt-get install python3-venv" \
    "Or name another Python: make PYTHON=/path/to/python3.12 ..."

echo "making $folder with $("$python" --version)"
"$python" -m venv "$folder"
