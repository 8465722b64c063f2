#!/bin/sh
# Installs PyTorch and PEFT into build/venv, if need be, and runs the tests against them.
# Usage: run.sh [options for pytest]
venv=build/venv wanted=tests/peers/requirements.txt
if ! [ "$venv/installed" -nt "$wanted" ]; then
    echo "  install $wanted, into $venv"
    python3 -m venv "$venv" || {
        echo "test-peers: python3 cannot make virtual environments here." \
            "hint: apt-get install python3-venv"
        exit 1
    }
    "$venv/bin/pip" install --disable-pip-version-check -q -r "$wanted" 2>"$venv/errors" || {
        echo "test-peers: PyTorch and PEFT are missing, and pip cannot install them without a Python" \
            "package index. hint: pip's own words are in $venv/errors"
        exit 1
    }
    touch "$venv/installed"
fi
HF_HUB_OFFLINE=1 PYTHONDONTWRITEBYTECODE=1 exec "$venv/bin/python" -m pytest -q --disable-warnings \
    -p no:cacheprovider -o tmp_path_retention_policy=none tests/peers "$@"
