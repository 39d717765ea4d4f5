#!/bin/bash
# fuzz.sh possible|replay|short|long [TARGET...]
#
# possible says whether it can be done here. replay takes the corpus alone; short runs each fuzz target for a few seconds as
# well; long for FUZZ_SECONDS (600), growing the corpus in fuzz/target/found, which isn't committed.
#
# The targets are those of fuzz/Cargo.toml, each with a sanitizer of addresses. Each counts as two tests, its corpus and its
# run, and says how often it was executed. Exit code 0 only when nothing was found; what was found lies in fuzz/artifacts.
# On a machine without what it takes, exit code 77 and the reason.
set -u -o pipefail
cd "$(dirname "$0")/.." || exit 1
mode=${1:-short}
[ $# = 0 ] || shift
[ $# -gt 0 ] || set -- $(sed -n '/^\[\[bin\]\]/,/^path/s/^name = "\(.*\)"/\1/p' fuzz/Cargo.toml)

lacks() {
    echo "$1"
    exit 77
}
scripts/cargo.sh fuzz --version >/dev/null 2>&1 || lacks 'cargo-fuzz is not installed (scripts/setup.sh fuzz)'
command -v c++ >/dev/null 2>&1 || lacks 'there is no C++ compiler for libFuzzer (scripts/setup.sh fuzz)'
[ "$mode" != possible ] || exit 0
# A sanitizer takes unstable flags; of a stable compiler they are asked in this way.
export RUSTC_BOOTSTRAP=1
triple=$(uname -m)-unknown-linux-gnu
[ -e "$(rustc --print sysroot 2>/dev/null)/lib/rustlib/$triple/lib/"librustc-*_rt.asan.a ] 2>/dev/null && sanitizer=address || sanitizer=none
scripts/cargo.sh fuzz build --sanitizer "$sanitizer" --codegen-units 16 || exit 1

case $mode in
replay) seconds=0 ;;
short) seconds=8 ;;
long) seconds=${FUZZ_SECONDS:-600} ;;
*)
    echo "fuzz.sh: unknown mode: $mode (replay, short and long are known)" >&2
    exit 2
    ;;
esac

# An input may take a second on a busy machine and no more memory than a small one; a deadly one is kept.
# What is freed is kept from use for a while; with less of it than usual the figure for memory is that of the work.
export ASAN_OPTIONS=${ASAN_OPTIONS:-quarantine_size_mb=32}
limits=(-timeout=20 -rss_limit_mb=1024 -max_len=65536 -print_final_stats=1 -dict=fuzz/spec.dict)
mkdir -p fuzz/artifacts fuzz/target/found
log=$(mktemp)
scratch=$(mktemp -d)
trap 'rm -rf "$log" "$scratch"' EXIT
passed=0 failed=0

judge() { # WHAT TARGET: the outcome of the run whose exit code is in $code
    if [ "$code" = 0 ]; then
        passed=$((passed + 1))
        printf 'fuzz %-16s %s: %s executions, at most %s MB\n' "$2" "$1" "$(stat_of number_of_executed_units)" "$(stat_of peak_rss_mb)"
    else
        failed=$((failed + 1))
        printf 'fuzz %-16s %s: FAILED\n' "$2" "$1"
        grep -a -m 1 -A 2 'panicked at' "$log" || true
        tail -n 5 "$log"
    fi
}
stat_of() { sed -n "s/^stat::$1: *//p" "$log"; }

for target; do
    program=${CARGO_TARGET_DIR:-fuzz/target}/$triple/release/$target
    corpus=(fuzz/corpus/"$target")
    case $target in config_plan) corpus+=(integration/fixtures/recorded) ;; esac
    flags=("${limits[@]}" -artifact_prefix="fuzz/artifacts/$target-")
    code=0
    "$program" -runs=0 "${flags[@]}" "${corpus[@]}" >"$log" 2>&1 </dev/null || code=$?
    judge corpus "$target"
    [ "$seconds" != 0 ] || continue
    found=$scratch/$target
    [ "$mode" != long ] || found=fuzz/target/found/$target
    mkdir -p "$found"
    code=0
    "$program" -max_total_time="$seconds" "${flags[@]}" "$found" "${corpus[@]}" >"$log" 2>&1 </dev/null || code=$?
    judge "$seconds s" "$target"
done
[ "$failed" = 0 ] && word=ok || word=FAILED
echo "test result: $word. $passed passed; $failed failed; 0 ignored"
[ "$failed" = 0 ]
