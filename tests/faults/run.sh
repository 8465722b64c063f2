#!/bin/sh
# Saves while the system fails: each call of each kind in turn, then 500 times kill -9. Every time
# there must be one sentence and status 1, the old state must load, and no file may be left behind.
# Usage: run.sh LIBRARY COMPILER FLAGS ..., as `make faults` calls it.
set -e
archive=$1 build=$(dirname "$1")/faults kills=${KILLS:-500}
shift
mkdir -p "$build"
"$@" tests/faults/savers.cpp "$archive" -lopenblas -o "$build/savers"
gcc -shared -fPIC -Wall -Wextra tests/faults/failing_calls.c -ldl -o "$build/failing_calls.so"
savers=$build/savers library=$(realpath "$build/failing_calls.so")
set +e
export OPENBLAS_NUM_THREADS=1
scratch=$(mktemp -d) passed=0 failed=0
trap 'rm -rf "$scratch"' EXIT

ok() { passed=$((passed + 1)); }
bad() { failed=$((failed + 1)); echo "FAILED: $*"; }

# Saves with the n-th call failing. False when there is no n-th call.
save_with_fault() {  # saver call n
    rm -rf "$scratch/mark"
    LD_PRELOAD=$library FAULT_CALL=$2 FAULT_AT=$3 FAULT_FOLDER=$scratch/$1 \
        FAULT_MARK=$scratch/mark "$savers" "$1" save "$scratch/$1" 2 2>"$scratch/errors"
    status=$?
    [ -d "$scratch/mark" ]
}

for saver in model adapter; do
    folder=$scratch/$saver
    for call in write fsync rename open close short interrupted; do
        n=1
        while
            rm -rf "$folder" && mkdir "$folder" && "$savers" $saver save "$folder" 1
            before=$(ls "$folder")
            save_with_fault $saver $call $n
        do
            case $call in
                short | interrupted) want_status=0 want=2 want_lines=0 ;;
                *) want_status=1 want=1 want_lines=1 ;;
            esac
            name="save of the $saver, $call number $n"
            lines=$(wc -l <"$scratch/errors")
            loaded=$("$savers" $saver load "$folder" 2>&1)
            # The folder is closed when the new state is whole: no reason to take it back.
            [ "$call $status" = "close 0" ] && want_status=0 want=2 want_lines=0
            if [ $status != $want_status ]; then bad "$name: status $status"
            elif [ "$lines" != $want_lines ]; then bad "$name: said $lines lines"
            elif [ "$loaded" != $want ]; then bad "$name: then loads $loaded"
            elif [ "$(ls "$folder")" != "$before" ]; then bad "$name: leaves" $(ls "$folder")
            else ok; fi
            n=$((n + 1))
        done
        [ $n -gt 1 ] || bad "save of the $saver: no $call was seen"
        echo "save of the $saver: $((n - 1)) x $call"
    done
    if "$savers" $saver kill "$folder" "$kills"; then ok; else bad "$saver: kill -9"; fi
done
echo "$passed passed, $failed failed"
[ $failed = 0 ]
