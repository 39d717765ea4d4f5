#!/bin/bash
# bench.sh RUNTIME...   times the verbs of OCI runtimes side by side and prints medians, ratios and peak memory.
#
# RUNTIME is `floor` (the kernel's floor, see floor.c), a program, or NAME=PROGRAM OPTIONS. The first one is compared
# with every other. Needs root, gcc, jq, busybox-static. Read README.md here for what the rows mean. Environment:
#   CONFIGS="n a"       bundles (bundles.sh)            REST="0 60"   ms of rest before each command: 0 is hot, 60 cold
#   N=30  WARM=2        iterations, warming-up          MODE=         host, v1 or v2 (layout.sh); found out when empty
#   PART=yes            also print what control groups add to a run
#   RAW=FILE            also keep what lifecycle.c printed (minima, 90th percentiles, CPU time)
set -eu -o pipefail
here=$(cd "$(dirname "$0")" && pwd)
: "${CONFIGS=n a}" "${REST:=0 60}" "${N:=30}" "${WARM:=2}" "${MODE:=}" "${RAW:=/dev/null}" "${PART:=yes}"
[ $# -gt 0 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }
[ "$(id -u)" = 0 ] || { echo "bench.sh: must be root" >&2; exit 1; }

name=corten-bench-$$
work=$(mktemp -d "${TMPDIR:-/var/tmp}/$name.XXXXXX")
job=

# Hierarchies as the host has them mounted. Every cgroup that a run makes carries our name and pid, so removing them
# can't hit anyone else's.
hierarchies=$(awk '$0 ~ / - cgroup2? / { print $5 }' /proc/self/mountinfo)
remove_cgroups() {
    local left tries
    for tries in 1 2 3 4 5 6 7 8 9 10; do
        # shellcheck disable=SC2086
        left=$(find $hierarchies -depth -type d -name "*$name*" 2>/dev/null) || true
        [ -n "$left" ] || return 0
        while read -r dir; do find "$dir" -depth -type d -exec rmdir {} + 2>/dev/null || true; done <<< "$left"
        sleep 0.2
    done
    echo "bench.sh: these control groups could not be removed: $left" >&2
}
clean_up() {
    local code=$?
    trap '' INT TERM HUP
    # layout.sh's --kill-child: with this process dies its whole pid namespace.
    [ -z "$job" ] || { kill -KILL "$job" && wait "$job"; } 2>/dev/null || true
    remove_cgroups
    rm -rf --one-file-system "$work"
    exit "$code"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

if [ -z "$MODE" ]; then
    if [ -e /sys/fs/cgroup/cgroup.controllers ]; then MODE=host; else MODE=v1; fi
fi
layout=v1
if [ "$MODE" = v2 ] || [ -e /sys/fs/cgroup/cgroup.controllers ]; then layout=v2; fi

for program in lifecycle floor; do
    gcc -O2 -Wall -Wno-format-truncation -static -o "$work/$program" "$here/$program.c"
done

# NAME=COMMAND for lifecycle.c. crun can be told to leave cgroups alone, which makes it comparable on bundle n.
runtimes=() names=()
for argument in "$@"; do
    case $argument in
    floor) argument="floor=$work/floor" ;;
    *=*) ;;
    *) argument="$(basename "$argument")=$argument" ;;
    esac
    program=${argument#*=}
    if ! command -v "${program%% *}" >/dev/null; then
        echo "bench.sh: no such runtime, left out: $program" >&2
        continue
    fi
    runtimes+=("$argument")
    names+=("${argument%%=*}")
done
[ ${#runtimes[@]} -gt 0 ] || { echo "bench.sh: no runtime is left" >&2; exit 1; }

# A parent for our cgroups: cpuset needs its lists before a child can be used.
while read -r dir; do
    mkdir "$dir/$name" 2>/dev/null || continue
    if [ -e "$dir/cpuset.mems" ] && [ ! -e "$dir/cgroup.controllers" ]; then
        cat "$dir/cpuset.cpus" > "$dir/$name/cpuset.cpus"
        cat "$dir/cpuset.mems" > "$dir/$name/cpuset.mems"
    fi
done <<< "$hierarchies"
"$here/bundles.sh" "$work" "/$name/c1"
mkdir "$work/state"

echo "$(nproc) CPUs, $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), kernel $(uname -r), cgroup $layout, load $(cut -d' ' -f1-3 /proc/loadavg)"
for argument in "${runtimes[@]}"; do
    program=${argument#*=}
    [ "${argument%%=*}" = floor ] || echo "${argument%%=*}: $("${program%% *}" --version 2>/dev/null | head -n 2 | tr '\n' ' ')"
done

for config in $CONFIGS; do
    for rest in $REST; do
        chosen=()
        for argument in "${runtimes[@]}"; do
            if [ "$config" = n ] && [[ ${argument#*=} =~ (^|/)(crun|corten)$ ]]; then argument="$argument --cgroup-manager=disabled"; fi
            if [ "${argument%%=*}" = floor ] && [ "$config" != n ] && { [ "$config" != a ] || [ "$layout" = v2 ]; }; then continue; fi
            chosen+=("$argument")
        done
        "$here/layout.sh" "$MODE" "$work/state" "$work/lifecycle" -n "$N" -w "$WARM" -p "$rest" -t "$work/$config-true" \
            -s "$work/$config-sleep" -r "$work/state" -i "$name" "${chosen[@]}" > "$work/out" &
        job=$!
        wait "$job"
        job=
        { echo "# config $config, rest $rest"; cat "$work/out"; } >> "$RAW"
        awk -f "$here/table.awk" -v config="$config" -v rest="$rest" -v n="$N" -v layout="$layout" -v names="${names[*]}" "$work/out"
        remove_cgroups_of_runs=$(find $hierarchies -mindepth 2 -depth -type d -path "*$name/*" 2>/dev/null) || true
        [ -z "$remove_cgroups_of_runs" ] || xargs -r rmdir <<< "$remove_cgroups_of_runs" 2>/dev/null || true
    done
done

# What control groups add: the same bundle run with them and without, in turns. runc has no flag for it and can only be
# kept from them by a host that has none to write to, so its second figure comes from a second measurement.
measure() { # REST MODE NAME=COMMAND...: medians of a run, as "NAME MS" lines
    local rest=$1 mode=$2
    shift 2
    "$here/layout.sh" "$mode" "$work/state" "$work/lifecycle" -n "$N" -w "$WARM" -p "$rest" -t "$work/n-true" -s "$work/n-sleep" \
        -r "$work/state" -i "$name" "$@" > "$work/out" &
    job=$!
    wait "$job"
    job=
    { echo "# cgroup part, rest $rest, layout $mode"; cat "$work/out"; } >> "$RAW"
    awk -F '\t' '$1 == "time" && $2 == "run" { print $3, $6 }' "$work/out"
}
if [ "$PART" = yes ]; then
    here_too=() elsewhere=()
    for argument in "${runtimes[@]}"; do
        program=${argument#*=}
        case ${program%% *} in
        */floor) ;;
        runc | */runc) here_too+=("$argument") elsewhere+=("${argument%%=*}/none=$program --rootless=true") ;;
        *) here_too+=("$argument" "${argument%%=*}/none=$program --cgroup-manager=disabled") ;;
        esac
    done
    for rest in $REST; do
        measure "$rest" "$MODE" "${here_too[@]}" > "$work/part"
        [ ${#elsewhere[@]} = 0 ] || measure "$rest" none "${elsewhere[@]}" >> "$work/part"
        printf '\ncontrol groups in a run of true, ms, %s (config n)\n%-16s %10s %10s %10s\n' \
            "$([ "$rest" = 0 ] && echo hot || echo "cold, rests $rest ms")" runtime with without 'the part'
        awk '{ ms[$1] = $2 } END { for (name in ms) if (name !~ /\/none$/ && (name "/none") in ms)
            printf "%-16s %10.2f %10.2f %10.2f\n", name, ms[name], ms[name "/none"], ms[name] - ms[name "/none"] }' "$work/part" |
            sort -k 4 -n
    done
fi
cat <<TXT

Milliseconds, medians of the whole process from outside; cold rests before every command, as a real machine does.
A ratio below 1 means that ${names[0]} is faster. "-": see the note below that table. Peak memory can't show less than
the harness's own size.
In config n no resources are asked for; corten and crun are told --cgroup-manager=disabled, runc has no such flag and still
makes and joins a cgroup. Where the part of control groups is shown, all three make and join them without limits.
TXT
