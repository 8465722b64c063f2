#!/bin/sh
# Opens a lesson in gdb and stops where its header says. Usage: gdb.sh number program [gdb options]
lesson=$(ls apps/lessons/"$1"_*.cpp) program=$2
shift 2
exec gdb -q -iex 'set auto-load local-gdbinit off' -x .gdbinit \
    -ex "break $(sed -n 's/.*stops in \(.*\))/\1/p' "$lesson")" -ex run "$@" "$program"
