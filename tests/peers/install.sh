#!/bin/sh
# Installs PyTorch, PEFT and what else the tests here need into build/venv, unless that is done.
# Usage: install.sh
venv=build/venv wanted=tests/peers/requirements.txt
[ "$venv/installed" -nt "$wanted" ] && exit 0
echo "  install $wanted, into $venv"
python3 -m venv "$venv" || {
    echo "test-peers: python3 cannot make virtual environments here. hint: apt-get install python3-venv"
    exit 1
}
"$venv/bin/pip" install --disable-pip-version-check -q -r "$wanted" 2>"$venv/errors" || {
    echo "test-peers: PyTorch and PEFT are missing, and pip cannot install them without a Python package" \
        "index. hint: pip's own words are in $venv/errors"
    exit 1
}
touch "$venv/installed"
