#!/bin/sh
# The course: course.sh ex 04 compiles and checks an exercise, course.sh hint 04 prints its hint,
# course.sh progress lists what is done. Call it by make, which builds the library and sets BUILD,
# CXX and FLAGS.
cd "$(dirname "$0")/../.." || exit 1
done=$BUILD/exercises

find_exercise() {
    exercise=$(ls apps/exercises/"$1"_*.cpp 2>/dev/null)
    [ -f "$exercise" ] && return
    echo "there is no exercise $1. hint: make course lists them"
    exit 1
}

case $1 in
ex)
    find_exercise "$2"
    mkdir -p "$done"
    rm -f "$done/$2.done"
    if grep -q data/mnist "$exercise"; then sh data/fetch_mnist.sh data/mnist || exit 1; fi
    $CXX $FLAGS "$exercise" "$BUILD"/obj/apps/exercises/*.o "$BUILD/libslimgrad.a" -lopenblas \
        -o "$done/$2" || exit 1
    OPENBLAS_NUM_THREADS=1 "$done/$2" || exit 1
    touch "$done/$2.done" ;;
hint)
    find_exercise "$2"
    awk -v number="$2" '/^== / { on = $2 == number; next } on' apps/exercises/hints.txt ;;
progress)
    for exercise in apps/exercises/*_*.cpp; do
        name=$(basename "$exercise" .cpp)
        mark=' '
        if [ "$done/${name%%_*}.done" -nt "$exercise" ]; then mark=x; fi
        echo "[$mark] ex-${name%%_*}  $(sed -n '1s/.*: \(.*\)\./\1/p' "$exercise")"
    done ;;
esac
