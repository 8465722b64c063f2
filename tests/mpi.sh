#!/bin/sh
# Tests build/mnist_mpi: sh tests/mpi.sh PROGRAM. Ends with "N passed, N failed".
#
# The program is one of REAL=double, whose parameters agree to about 1e-15 however many ranks share
# the batches. In float they mostly agree to 1e-5, but not when rounding brings an activation to the
# other side of relu's zero: Adam makes a whole step of the smallest gradient.
set -u
program=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# mpirun refuses root, wants a core for each rank, and has the ranks spin on it while they wait.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_mpi_yield_when_idle=1
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_hwloc_base_binding_policy=none
passed=0 failed=0

check() {  # what must hold, command that finds out ...
    what=$1
    shift
    if "$@"; then passed=$((passed + 1)); echo "passed  $what"
    else failed=$((failed + 1)); echo "FAILED  $what"; fi
}

run() {  # ranks, folder to save to, options ...
    ranks=$1 name=$2
    shift 2
    timeout 300 mpirun -n "$ranks" "$program" --save "$folder/$name" "$@" \
        >"$folder/$name.log" 2>&1 || cat "$folder/$name.log"
}

same() {  # two files in the folder: the same tensors, with numbers that differ by at most 1e-9
    python3 - "$folder/$1" "$folder/$2" <<'END'
import array, sys
def read(path):
    data = open(path, "rb").read()
    numbers = 8 + int.from_bytes(data[:8], "little")
    return data[:numbers], array.array("d", data[numbers:])
(tensors, x), (others, y) = map(read, sys.argv[1:])
difference = max(abs(a - b) for a, b in zip(x, y))
print(f"        {len(x)} numbers, largest difference {difference:.2g}")
sys.exit(not (b'"F64"' in tensors and tensors == others and difference <= 1e-9))
END
}

# ---- two ranks are one with the same batches ----------------------------------------------------

run 1 base --steps 50 --seed 5
base=$folder/base/full.safetensors
for method in full lora dora; do
    set -- --method $method --steps 50 --batch-size 65
    run 1 one "$@" --base "$base"
    # Rank 0 has the base and the seed; rank 1 must get them from there. Of 65 images it takes 33.
    timeout 300 mpirun -n 1 "$program" "$@" --base "$base" --save "$folder/two" : \
        -n 1 "$program" "$@" --seed 9 >"$folder/two.log" 2>&1
    check "$method: 2 ranks, 50 steps, are 1 rank" \
        same one/$method.safetensors two/$method.safetensors
done
run 1 one --steps 5 --batch-size 2
run 3 three --steps 5 --batch-size 2
check "3 ranks share 2 images" same one/full.safetensors three/full.safetensors

run 2 stopped --steps 5 --batch-size 65
run 1 on --steps 9 --batch-size 65 --resume "$folder/stopped/full.checkpoint"
run 1 nine --steps 9 --batch-size 65
check "stopped within an epoch and resumed with fewer ranks" \
    same on/full.safetensors nine/full.safetensors

# ---- what travels -------------------------------------------------------------------------------

sends() {  # method, bytes: announced, and then sent
    run 2 "$1" --method "$1" --steps 1
    grep -q "^$1: $2 bytes of gradients per step$" "$folder/$1.log" &&
        grep -q "^step 1 .* ms and $2 bytes per step$" "$folder/$1.log"
}
check "full: 136,074 gradients travel" sends full $((136074 * 8))
check "lora: 6,248 gradients travel" sends lora $((6248 * 8))
check "dora: 7,416 gradients travel" sends dora $((7416 * 8))

# ---- a rank that dies, or fails -----------------------------------------------------------------

set -- --batch-size 6999 --epochs
# shellcheck disable=SC2016  # the ranks expand it; exec keeps the process that it names
timeout 300 mpirun -n 2 sh -c 'echo $$ >"$0.$OMPI_COMM_WORLD_RANK"; exec "$@"' "$folder/pid" \
    "$program" "$@" 1000 --save "$folder/killed" >"$folder/killed.log" 2>&1 &
job=$!
until [ -e "$folder/killed/full.checkpoint" ] || ! kill -0 $job 2>/dev/null; do sleep 0.05; done
kill -9 "$(cat "$folder/pid.1")"
wait $job
status=$?
check "kill -9 of rank 1 ends mpirun with a status" [ $status != 0 -a $status != 124 ]
check "mpirun says so" grep -q "rank 1 .*signal 9 (Killed)" "$folder/killed.log"
is_gone() { ! grep -q '^State:.[RSDT]' "/proc/$1/status" 2>/dev/null; }  # or waits to be reaped
check "rank 0 is gone too" is_gone "$(cat "$folder/pid.0")"
run 1 whole "$@" 8
run 2 resumed "$@" 8 --resume "$folder/killed/full.checkpoint"
check "resumed from the checkpoint, it ends as a run that nobody killed" \
    same whole/full.safetensors resumed/full.safetensors

timeout 300 mpirun -n 1 "$program" --epochs 1000 : -n 1 "$program" --data nowhere \
    >"$folder/fails.log" 2>&1
check "an error of rank 1 ends all" [ $? = 1 ]
check "it is told" grep -q "rank 1: nowhere: there is no such folder" "$folder/fails.log"
timeout 300 mpirun -n 2 "$program" --lr high >"$folder/option.log" 2>&1
check "an error of every rank ends all" [ $? = 1 ]
check "it is told once" [ "$(grep -c 'rank [01]: --lr: got "high"' "$folder/option.log")" = 1 ]

# ---- ranks that disagree ------------------------------------------------------------------------

differs() {  # option, value on rank 1
    timeout 60 mpirun -n 1 "$program" --steps 3 : -n 1 "$program" --steps 3 "$1" "$2" \
        >"$folder/differs.log" 2>&1
    [ $? = 1 ] && grep -q "rank 0: $1: rank 1 has $2, rank 0 has" "$folder/differs.log"
}
check "another --lr on rank 1 is one sentence" differs --lr 0.5
check "another --method on rank 1 is one sentence" differs --method lora
check "other --steps on rank 1 are one sentence" differs --steps 7
check "other --epochs on rank 1 are one sentence" differs --epochs 2
check "another --batch-size on rank 1 is one sentence" differs --batch-size 32

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
