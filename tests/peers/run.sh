#!/bin/sh
# Runs the tests against PyTorch and PEFT. Usage: run.sh [options for pytest]
sh tests/peers/install.sh || exit 1
HF_HUB_OFFLINE=1 PYTHONDONTWRITEBYTECODE=1 exec build/venv/bin/python -m pytest -q --disable-warnings \
    -p no:cacheprovider -o tmp_path_retention_policy=none tests/peers "$@"
