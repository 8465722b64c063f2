#!/bin/sh
# Installs the packages that slimgrad needs, and those named as arguments, on Debian and Ubuntu.
# Does nothing when they are there.
set -eu

needed="g++ libopenblas-dev doctest-dev libstb-dev nlohmann-json3-dev python3 python3-numpy curl
        ca-certificates $*"

if ! command -v apt-get >/dev/null; then
    echo "make deps knows Debian and Ubuntu only. Install by hand: a C++20 compiler, OpenBLAS with"
    echo "cblas.h, doctest, stb (as stb/stb_image.h), nlohmann-json, Python 3 with numpy, and curl;"
    echo "for MPI=1 also Open MPI with its mpicxx."
    echo "With Homebrew (untried): brew install make openblas doctest nlohmann-json numpy"
    echo "then stb_image.h from github.com/nothings/stb into \$(brew --prefix)/include/stb, and gmake"
    exit 1
fi

missing=""
for package in $needed; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
        missing="$missing $package"
done
[ -n "$missing" ] || exit 0

as_root=""
[ "$(id -u)" = 0 ] || as_root="sudo"
echo "installing:$missing"
$as_root apt-get update -qq
# shellcheck disable=SC2086  # the list is meant to be split
LC_ALL=C apt-get install --assume-no --no-install-recommends $missing 2>/dev/null |
    grep -E '^(Need to get|After this)' || true
echo "this takes about a minute"
# shellcheck disable=SC2086
DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null
