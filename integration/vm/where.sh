# Sourced by build.sh, run.sh and lane.sh, with `here` set: where the machines are built, as `out`.
# shellcheck shell=bash disable=SC2034,SC2154
top=$(cd "$here/../.." && pwd)
out=${VM_OUT:-${CARGO_TARGET_DIR:-$top/target}/machines}
case $out in /*) ;; *) out=$PWD/$out ;; esac
