#!/bin/sh
# Fetches two texts in the public domain: fetch_text.sh [folder], by default data/text.
#     kjv.txt     the King James Bible, 4.1 MB, one verse per line
#     devil.txt   Ambrose Bierce's "The Devil's Dictionary", 360 KB
# They are taken out of Debian packages, which are downloaded and unpacked but not installed. Only
# files with the right SHA-256 sum are put there. `make text` runs it.
set -eu

folder=${1:-data/text}
sums='b5c4940bcfeee072c0935b5200d0f9d88a00a0199cb0961d16133458fcdfae5d  kjv.txt
d25b7997c0581fb71b567b1844ef8e988f59c54e7285cb02e9e51524ec538eab  devil.txt'
packages='bible-kjv-text bible-kjv dict-devil'

# are_right FOLDER: are both files there, with the right sums?
are_right() {
    [ -d "$1" ] && (cd "$1" && echo "$sums" | sha256sum --check --status 2>/dev/null)
}

give_up() {
    {
        echo "fetch_text.sh: $1"
        echo "Any two texts of your own will do: build/gpt --text FILE --adapt FILE"
        echo "By hand: take the texts out of the Debian packages $packages, as this script does."
    } >&2
    exit 1
}

are_right "$folder" && exit 0
for tool in apt-get dpkg sha256sum; do
    command -v $tool >/dev/null || give_up "needs $tool, which only Debian and its relatives have"
done

mkdir -p "$folder"
temporary=$(mktemp -d "$folder/.fetch.XXXXXX")
trap 'rm -rf "$temporary"' EXIT
trap 'exit 1' HUP INT TERM
temporary=$(cd "$temporary" && pwd)

echo "fetching $packages with apt-get download"
(cd "$temporary" && apt-get download -q $packages >log 2>&1) || {
    tail -3 "$temporary/log" >&2
    give_up "apt-get download failed. hint: is there a network? Try apt-get update first"
}
for package in "$temporary"/*.deb; do
    dpkg -x "$package" "$temporary/unpacked"
done

# One verse per line, without its "Ge1:1 ".
cd "$temporary/unpacked/usr/lib"
../bin/bible -f 'gen1:1-rev22:21' </dev/null | cut -d' ' -f2- >"$temporary/kjv.txt"
# From the first entry on, without the front matter.
gunzip -c <../share/dictd/devil.dict.dz | sed -n '/^ABASEMENT/,$p' >"$temporary/devil.txt"
cd "$OLDPWD"

are_right "$temporary" || give_up "the packages hold other texts than expected (wrong SHA-256 sums)"
mv -f "$temporary/kjv.txt" "$temporary/devil.txt" "$folder"
echo "the texts are in $folder"
