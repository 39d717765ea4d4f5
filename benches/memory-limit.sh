#!/bin/bash
# memory-limit.sh RUNTIME...   the smallest memory limit under which a runtime runs /bin/true five times out of five.
#
# Control groups v1 only (memory.limit_in_bytes counts pages one by one; on v2 the figure would mean something else).
# It runs itself again inside layout.sh. A runtime that doesn't apply linux.resources.memory shows the lower bound, 4 KiB.
set -eu -o pipefail
here=$(cd "$(dirname "$0")" && pwd)
[ $# -gt 0 ] || { sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 2; }
[ "$(id -u)" = 0 ] || { echo "memory-limit.sh: must be root" >&2; exit 1; }

if [ "${1}" != --inside ]; then
    name=corten-bench-$$
    work=$(mktemp -d "${TMPDIR:-/var/tmp}/$name.XXXXXX")
    mkdir "$work/state"
    job=
    # shellcheck disable=SC2154
    trap 'code=$?; trap "" INT TERM HUP; [ -z "$job" ] || { kill -KILL "$job" && wait "$job"; } 2>/dev/null
          find /sys/fs/cgroup -depth -type d -name "*$name*" -exec rmdir {} + 2>/dev/null
          rm -rf --one-file-system "$work"; exit $code' EXIT
    trap 'exit 130' INT TERM HUP
    "$here/bundles.sh" "$work" "/$name-c1"
    "$here/layout.sh" v1 "$work/state" "$0" --inside "$work" "$name" "$@" &
    job=$!
    wait "$job"
    job=
    exit 0
fi
work=$2 name=$3
shift 3

works() { # RUNTIME PAGES
    local bundle=$work/a-true try
    jq --argjson limit $(($2 * 4096)) '.linux.resources = {memory: {limit: $limit}}' "$work/unlimited.json" > "$bundle/config.json"
    for try in 1 2 3 4 5; do
        why=$(timeout -s KILL 5 "$1" --root "$work/state/root" run --bundle "$bundle" "$name-$try" 2>&1 </dev/null) && continue
        why=${why%%$'\n'*}
        "$1" --root "$work/state/root" delete --force "$name-$try" >/dev/null 2>&1 </dev/null || true
        return 1
    done
}

cp "$work/a-true/config.json" "$work/unlimited.json"
for runtime in "$@"; do
    low=0 high=16384 reason=
    if ! works "$runtime" $high; then
        echo "$(basename "$runtime"): fails even with 64 MiB: $why"
        continue
    fi
    while [ $((high - low)) -gt 1 ] && [ $(((high - low) * 100)) -gt $high ]; do
        middle=$(((low + high) / 2))
        if works "$runtime" $middle; then high=$middle; else low=$middle reason=$why; fi
    done
    printf '%-12s works with %6d KiB; with %6d KiB: %s\n' "$(basename "$runtime")" $((high * 4)) $((low * 4)) "${reason:0:160}"
done
