#!/bin/sh
# Brings Fashion-MNIST, as Debian and Ubuntu package it, into a folder: fetch_fashion.sh [folder], by
# default data/fashion. The package is only unpacked there, not installed.
set -eu

folder=${1:-data/fashion}
package=dataset-fashion-mnist
names='train-images-idx3-ubyte train-labels-idx1-ubyte t10k-images-idx3-ubyte t10k-labels-idx1-ubyte'

complete=yes
for name in $names; do [ -s "$folder/$name" ] || complete=no; done
[ $complete = no ] || exit 0

mkdir -p "$folder"
temporary=$(mktemp -d "$folder/.fetch.XXXXXX")
trap 'rm -rf "$temporary"' EXIT
echo "fetching the package $package"
(cd "$temporary" && apt-get download -qq $package && dpkg-deb -x ./*.deb .) 2>"$temporary/errors" || {
    echo "fetch_fashion.sh: apt-get could not download $package:" "$(tail -n 1 "$temporary/errors")"
    echo "hint: apt-get update, or unpack the four .gz files of Fashion-MNIST into $folder by hand"
    exit 1
} >&2
for name in $names; do
    gunzip -c "$(find "$temporary" -name "$name.gz")" >"$temporary/$name"
    mv "$temporary/$name" "$folder/$name"
done
echo "Fashion-MNIST is in $folder"
