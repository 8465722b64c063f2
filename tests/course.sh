#!/bin/sh
# Tests the exercises: untouched, each must fail with a message that leads to the reader's line;
# with each answer of tests/course in the place of the reader's part, it must pass, or fail with the
# words that the answer's "says" lines expect. A wrong answer is code, or a "change" of the right one
# in sed's language. `make test-course` calls it; ONLY=04 tests one exercise.
cd "$(dirname "$0")/.." || exit 1
out=$BUILD/test-course

# try NAME NUMBER SOURCE STATUS WORDS...: compiles, runs, and compares. The words are lines.
try() {
    program=$out/$1.$2
    if ! $CXX $FLAGS "$3" "$BUILD"/obj/apps/exercises/*.o "$BUILD/libslimgrad.a" -lopenblas \
        -o "$program" >"$program.log" 2>&1; then
        echo "FAIL $1, answer $2: it does not compile, see $program.log"
        return
    fi
    OPENBLAS_NUM_THREADS=1 timeout 60 "$program" >"$program.log" 2>&1
    status=$?
    if [ $status != "$4" ]; then
        echo "FAIL $1, answer $2 ($3): expected exit status $4, got $status"
        sed 's/^/     /' "$program.log"
        return
    fi
    echo "$5" | while IFS= read -r words; do
        grep -qF -e "$words" "$program.log" || {
            echo "FAIL $1, answer $2 ($3): expected the words: $words"
            sed 's/^/     /' "$program.log"
        }
    done >"$program.failed"
    if [ -s "$program.failed" ]; then cat "$program.failed"; else echo "ok $1, answer $2"; fi
}

if [ "$1" = one ]; then
    name=$2 exercise=apps/exercises/$2.cpp answers=tests/course/$2.cpp number=${2%%_*}
    [ "$(wc -l <"$exercise")" -le 60 ] || echo "FAIL $name: more than 60 lines"
    [ "$(grep -c '^// answer: ' "$answers")" -ge 4 ] || echo "FAIL $name: too few answers"
    grep -q "^== $number$" apps/exercises/hints.txt || echo "FAIL $name: no hint"
    line=$(grep -n TO_WRITE "$exercise" | head -n 1 | cut -d: -f1)
    words=$(sed -n 's,^// untouched: ,,p' "$answers")
    try "$name" 0 "$exercise" 1 "${words:-$exercise:$line: not written yet: }
hint: make hint-$number"
    count=$(grep -c '^// answer: ' "$answers")
    k=0
    while [ $((k += 1)) -le "$count" ]; do
        answer=$out/$name.$k.answer
        awk -v k=$k '/^\/\/ answer: / { at++ } at == k' "$answers" >"$answer"
        sed -n 's,^// change: ,,p' "$answer" >"$answer.sed"
        if [ -s "$answer.sed" ]; then  # the first answer, which is right, with these changes
            sed -f "$answer.sed" "$out/$name.1.answer" | sed 1d >>"$answer"
        fi
        awk -v answer="$answer" '
            /^\/\/ ---- your part/ { print; while ((getline line < answer) > 0) print line; skip = 1 }
            /^\/\/ ---- the check/ { skip = 0 }
            !skip' "$exercise" >"$out/${name}_$k.cpp"
        if head -n 1 "$answer" | grep -q '^// answer: right'; then
            try "$name" $k "$out/${name}_$k.cpp" 0 "exercise $number: passed. "
        else
            try "$name" $k "$out/${name}_$k.cpp" 1 "$(sed -n 's,^// says: ,,p' "$answer")"
        fi
    done
    exit
fi

mkdir -p "$out"
sh data/fetch_mnist.sh data/mnist || exit 1
ls apps/exercises/${ONLY:-}*_*.cpp | sed 's,.*/,,; s,\.cpp$,,' |
    xargs -P "${JOBS:-2}" -n 1 sh tests/course.sh one >"$out/results"
# Each lesson in gdb, where its header says that it stops.
for lesson in $(command -v gdb >/dev/null && ls apps/lessons/${ONLY:-}*_*.cpp); do
    name=$(basename "$lesson" .cpp)
    stop=$(sed -n 's/.*stops in \(.*\))/\1/p' "$lesson")
    gdb -batch -nx -iex 'set auto-load local-gdbinit off' -x .gdbinit -ex "break $stop" -ex run \
        "$BUILD/gdb/$name" >"$out/$name.gdb" 2>&1
    if grep -q '^Breakpoint 1\(.1\)\?, ' "$out/$name.gdb"; then echo "ok $name in gdb"
    else echo "FAIL $name in gdb: it does not stop in $stop, see $out/$name.gdb"; fi
done >>"$out/results"
grep -v '^ok' "$out/results"
failed=$(grep -c ^FAIL "$out/results")
echo "$(grep -c ^ok "$out/results") passed, $failed failed"
[ "$failed" = 0 ]
