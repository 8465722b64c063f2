#!/bin/sh
# Feeds damaged files to a reader: sh tests/fuzz/run.sh idx|safetensors|config [runs]. Needs clang.
set -eu
folder=build/fuzz/corpus-$1
mkdir -p "$folder"
clang++ -std=c++20 -g -O1 -I. -fsanitize=fuzzer,address,undefined "tests/fuzz/$1_fuzz.cpp" \
    data/file.cpp data/idx.cpp data/json.cpp data/safetensors.cpp core/*.cpp -lopenblas \
    -o "build/fuzz/$1"
"build/fuzz/$1" -runs="${2:-1000000}" -max_len=4096 "$folder" "tests/fuzz/seeds/$1"
