#!/bin/sh
# Runs the given test programs at the same time and adds up their last lines: "N passed, N failed".
passed=0 failed=0 status=0
trap 'kill 0' INT  # a shell lets programs in the background ignore Ctrl-C
for program in "$@"; do
    echo "$program"
    { "$program" >"$program.log" 2>&1; echo $? >"$program.status"; } &
done
wait
for program in "$@"; do
    [ "$(cat "$program.status")" = 0 ] || status=1 bad=$program
    last=$(tail -n 1 "$program.log")
    case $last in
        *" passed, "*" failed")
            [ "$bad" = "$program" ] && cat "$program.log"
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
