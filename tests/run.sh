#!/bin/sh
# Runs the given test programs and adds up their last lines: "N passed, N failed".
passed=0 failed=0 status=0
for program in "$@"; do
    echo "$program"
    "$program" >"$program.log" 2>&1 || status=1
    last=$(tail -n 1 "$program.log")
    case $last in
        *" passed, "*" failed")
            [ "$status" = 0 ] || cat "$program.log"
            passed=$((passed + ${last%% passed*}))
            rest=${last#* passed, }
            failed=$((failed + ${rest%% failed*})) ;;
        *)  # it died before it could count
            cat "$program.log"
            failed=$((failed + 1)) status=1 ;;
    esac
done
echo "$passed passed, $failed failed"
exit $status
