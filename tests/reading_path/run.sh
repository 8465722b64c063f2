#!/bin/sh
# Prints which functions one training step of DoRA runs, with their lines, per file in the order of
# the README, and the code lines of the files that the README's reading order names.
# Usage: run.sh build/variant-coverage
build=$1
find "$build" -name '*.gcda' -delete
"$build/reading_path" || exit 1
# The reading order ends where the README says what comes then.
files=$(sed -n '/^\*\*Where to start/,/Then/p' README.md | grep -oE '`[a-z_]+/[a-z_/]+\.(h|cpp)`' | tr -d '`' |
    grep -vE '^(optim/trainer|apps/)')
find "$build/obj/core" "$build/obj/data" "$build/obj/nn" "$build/obj/optim" -name '*.gcda' \
    -exec gcov --stdout --json-format {} + 2>/dev/null | python3 tests/reading_path/count.py $files
