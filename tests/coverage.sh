#!/bin/sh
# Runs the tests of a build with --coverage and prints how many lines of each file they ran. Of core,
# data, nn and optim 98 % are wanted, of apps 95 %; files below have their missing lines listed.
# Usage: coverage.sh build/variant-coverage
build=$1
find "$build" -name '*.gcda' -delete
"$build/tests" >"$build/tests.log" 2>&1 || echo "tests fail: see $build/tests.log"
tail -n 1 "$build/tests.log"

# gcov's text has one line per source line: "count:number:text"; ##### is a line that never ran, and
# a dash stands where no code is. Headers and lines occur once for each object that has them.
find "$build/obj/core" "$build/obj/data" "$build/obj/nn" "$build/obj/optim" "$build/obj/apps" \
    -name '*.gcda' -exec gcov --stdout --relative-only {} + 2>/dev/null | sed 's/^ *//' | awk -F: '
    $2 ~ /^ *0$/ && $3 == "Source" { file = $4; next }
    file !~ /^(core|data|nn|optim|apps)\// { next }
    $1 ~ /^(#####|=====|[0-9]+\*?)$/ && $2 + 0 > 0 {
        key = file ":" $2 + 0
        if (!(key in ran)) { ran[key] = 0; all[file]++ }
        if ($1 ~ /^[0-9]/ && !ran[key]) { ran[key] = 1; good[file]++ }
    }
    function percent(n, of) { return of ? 100 * n / of : 0 }
    END {
        for (file in all) {
            folder = file ~ /^apps/ ? "apps" : "library"
            sum[folder] += all[file]
            hit[folder] += good[file]
            mark = folder == "apps" ? 95 : 98
            text = sprintf("%-28s %5d of %5d  %6.2f %%", file, good[file], all[file],
                           percent(good[file], all[file]))
            if (percent(good[file], all[file]) < mark) {
                text = text "  not:"
                for (line = 1; line < 2000; line++)
                    if ((file ":" line) in ran && !ran[file ":" line]) text = text " " line
            }
            print text | "sort"
        }
        close("sort")
        printf "core, data, nn, optim: %.2f %% of %d lines (98 wanted)\n",
               percent(hit["library"], sum["library"]), sum["library"]
        printf "apps: %.2f %% of %d lines (95 wanted)\n",
               percent(hit["apps"], sum["apps"]), sum["apps"]
        exit percent(hit["library"], sum["library"]) < 98 || percent(hit["apps"], sum["apps"]) < 95
    }'
