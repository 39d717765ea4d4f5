#!/bin/bash
# test.sh [GROUP...]   everything a change must pass, in order of cost; goes on after a failure.
#
# The groups are lint, unit, integration, conformance, fuzz, engines, vm-fast and vm-full; without any, all of them. The last
# two are the integration suite in virtual machines, each lane a check of its own (integration/vm/).
#
# It ends with what each check came to, what was left out and why, the failed tests with what they said, for who sees only
# the end of a log, and as its last line the totals over all runners: `corten: N passed, N failed, N skipped`. Passed are
# tests alone, so the number is what the runners printed. A check that breaks without a failed test (format, clippy, a
# build, something left behind) counts as one failure, a check that can't run here (no clippy, not root) as one skip. Exit
# code 0 only when nothing failed.
set -u -o pipefail
cd "$(dirname "$0")/.." || exit 1
cargo=scripts/cargo.sh
out=$(mktemp)
trap 'rm -f "$out"' EXIT
[ $# -gt 0 ] || set -- lint unit integration conformance fuzz engines vm-fast vm-full
summary=() skipped=() failures=()
passed=0 failed=0 skips=0

# What the runners printed, as "PASSED FAILED SKIPPED". A unit test can't tell its runner that it was skipped, so it
# says so in a line that --show-output brings here.
count() {
    awk '/^test result: / { passed += $4; failed += $6; skipped += $8 }
        /^skipped: / && !seen[$0]++ { passed--; skipped++ }
        END { print passed + 0, failed + 0, skipped + 0 }' "$out"
}

# The failed tests of what was printed, each with the first lines of its message; without one, the last lines of all.
failures() {
    awk '/^test .* \.\.\. FAILED/ { failed = 1 }
        /^failures:$/ { inside = failed; lines = 0; next }
        inside && /^---- / { sub(/^---- /, ""); sub(/( stdout)? ----$/, ""); print; lines = 8; next }
        inside && lines > 0 && NF { print "    " $0; lines-- }
        /^test result: / { inside = 0 }
        END { exit !failed }' "$out" || tail -n 8 "$out" | sed 's/^/    /'
}

check() { # NAME COMMAND...: runs a check, adds its tests to the totals and keeps its result in words
    local name=$1 begun=$SECONDS good=yes p f s
    shift
    printf '\n== %s: %s\n' "$name" "$*"
    "$@" 2>&1 </dev/null | tee "$out" || good=
    read -r p f s < <(count)
    [ -n "$good" ] || [ "$f" != 0 ] || f=1
    passed=$((passed + p)) failed=$((failed + f)) skips=$((skips + s))
    local word=ok numbers=
    [ -n "$good" ] || word=FAILED
    [ $((p + f + s)) -le 1 ] || numbers=", $p passed, $f failed, $s skipped"
    summary+=("$(printf '%-22s %s%s, %d s' "$name" "$word" "$numbers" $((SECONDS - begun)))")
    [ "$word" = ok ] || failures+=("$name: $(failures)")
    while read -r line; do skipped+=("$name: $line"); done < <(sed -n 's/^skipped:\{0,1\} //p' "$out" | sort -u)
}

skip() { # NAME REASON
    printf '\n== %s: NOT RUN: %s\n' "$1" "$2"
    skips=$((skips + 1))
    summary+=("$(printf '%-22s NOT RUN' "$1")")
    skipped+=("$1: $2")
}

lint() {
    if "$cargo" fmt --version >/dev/null 2>&1; then
        check format "$cargo" fmt --check
    else
        skip format "rustfmt is not installed"
    fi
    if "$cargo" clippy --version >/dev/null 2>&1; then
        check clippy "$cargo" clippy --locked --all-targets -- -D warnings
    else
        skip clippy "clippy is not installed"
    fi
}

unit() {
    check 'unit tests' "$cargo" test --locked --no-fail-fast --lib --bins --test invariants --test golden_plans \
        --test plan_properties --test seccomp_verdicts --test conformance_report --test engines_verdict -- --show-output
}

integration() {
    if [ "$(id -u)" = 0 ]; then
        check 'integration tests' "$cargo" test --locked --test integration
        if integration/ordinary-user.sh --possible >"$out"; then
            check 'the same, not as root' integration/ordinary-user.sh
        else
            skip 'the same, not as root' "$(tail -n 1 "$out")"
        fi
    else
        skip 'integration tests' 'they need root'
    fi
}

conformance() { # corten alone, held to the list of known failures
    local code=0
    scripts/setup.sh conformance </dev/null 2>&1 || true
    oci-conformance/programs.sh 2>&1 </dev/null | tee "$out" || code=$?
    case $code in
    0) ;;
    77)
        skip 'conformance' "$(tail -n 1 "$out")"
        return
        ;;
    *)
        check 'conformance' oci-conformance/programs.sh
        return
        ;;
    esac
    "$cargo" test --locked --quiet --test conformance -- --possible >"$out" </dev/null || code=$?
    case $code in
    77) skip 'conformance' "$(tail -n 1 "$out")" ;;
    *) check 'conformance' "$cargo" test --locked --test conformance ;;
    esac
}

fuzz() { # the corpus, and a few seconds for each target
    local code=0
    scripts/setup.sh fuzz </dev/null 2>&1 || true
    fuzz/fuzz.sh possible >"$out" || code=$?
    case $code in
    0) check 'fuzzing' fuzz/fuzz.sh short ;;
    *) skip 'fuzzing' "$(tail -n 1 "$out")" ;;
    esac
}

engines() { # each an own check; where they can't be had, each is left out by name
    local engine code=0 list
    scripts/setup.sh engines </dev/null 2>&1 || true
    integration/engines/build.sh 2>&1 </dev/null | tee "$out" || code=$?
    list=$("$cargo" test --locked --quiet --test engines -- --engines) || {
        check engines "$cargo" test --locked --test engines --no-run
        return
    }
    for engine in $list; do
        case $code in
        0) check "engine $engine" "$cargo" test --locked --quiet --test engines -- --engine "$engine" ;;
        77) skip "engine $engine" "$(tail -n 1 "$out")" ;;
        *) check "engine $engine" integration/engines/build.sh ;;
        esac
    done
}

machines() { # SPEED: where they can't be built, each of their lanes is left out by name
    local lane code=0 begun=$SECONDS
    printf '\n== virtual machines: %s\n' "integration/vm/lane.sh prepare $1"
    integration/vm/lane.sh prepare "$1" 2>&1 </dev/null | tee "$out" || code=$?
    case $code in
    0) summary+=("$(printf '%-22s built, %d s' "machines ($1)" $((SECONDS - begun)))") ;;
    77)
        for lane in $(integration/vm/lane.sh list "$1"); do skip "vm $lane" "$(tail -n 1 "$out")"; done
        return
        ;;
    *) check "machines ($1)" false ;;
    esac
    for lane in $(integration/vm/lane.sh list "$1"); do check "vm $lane" integration/vm/lane.sh run "$lane"; done
}

for group in "$@"; do
    case $group in
    lint | unit | integration | conformance | fuzz | engines) "$group" ;;
    vm-fast | vm-full) machines "${group#vm-}" ;;
    *)
        echo "test.sh: unknown group: $group (lint, unit, integration, conformance, fuzz, engines, vm-fast and vm-full are known)" >&2
        exit 2
        ;;
    esac
done

printf '\n'
printf '%s\n' "${summary[@]}"
[ ${#skipped[@]} = 0 ] || printf 'skipped: %s\n' "${skipped[@]}"
[ ${#failures[@]} = 0 ] || printf '\nfailed: %s\n' "${failures[@]}"
printf '\ncorten: %d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skips"
[ "$failed" = 0 ]
