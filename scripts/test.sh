#!/bin/bash
# test.sh   everything a change must pass, in order of cost; goes on after a failure and ends with one line.
#
# A check that can't run on this machine (no clippy, not root) is named in that last line: a green line that doesn't
# name it has run it. Exit code 0 only when nothing failed.
set -u -o pipefail
cd "$(dirname "$0")/.." || exit 1
cargo=scripts/cargo.sh
out=$(mktemp)
trap 'rm -f "$out"' EXIT
passed=() failed=() skipped=()
started=$SECONDS

check() { # NAME COMMAND...: runs a check and keeps its result; how many tests ran is read from what cargo prints
    local name=$1 count
    shift
    printf '\n== %s: %s\n' "$name" "$*"
    if "$@" 2>&1 </dev/null | tee "$out"; then
        count=$(sed -n 's/^test result: ok\. \([0-9]*\) passed.*/\1/p' "$out" | awk '{ n += $1 } END { if (NR) print n }')
        passed+=("$name${count:+ ($count)}")
    else
        failed+=("$name")
    fi
}

skip() { # NAME REASON
    printf '\n== %s: NOT RUN: %s\n' "$1" "$2"
    skipped+=("$1: $2")
}

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
check 'unit tests' "$cargo" test --locked --lib --bins --test invariants --test golden_plans --test plan_properties
if [ "$(id -u)" = 0 ]; then
    check 'integration tests' "$cargo" test --locked --test integration
else
    skip 'integration tests' 'they need root'
fi

join() { local IFS=,; echo "${*/#/ }"; }
line="corten:"
[ ${#failed[@]} = 0 ] || line="$line FAILED:$(join "${failed[@]}");"
[ ${#passed[@]} = 0 ] || line="$line passed:$(join "${passed[@]}");"
[ ${#skipped[@]} = 0 ] || line="$line NOT RUN:$(join "${skipped[@]}");"
printf '\n%s %d s\n' "$line" $((SECONDS - started))
[ ${#failed[@]} = 0 ]
