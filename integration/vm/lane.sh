#!/bin/bash
# The integration suite in virtual machines, and Podman with systemd. A lane is one machine, one way of control groups, one caller.
#
# usage: lane.sh list [fast|full]                  the lanes' names
#        lane.sh prepare [fast|full|LANE]...       builds what those lanes boot; exit code 77 where that isn't possible
#        lane.sh run LANE [ARGUMENT...]            runs a lane; arguments go to the suite: a test's name, --list ...
#
# VM_PROFILE is the cargo profile of suite and binary (vm, see Cargo.toml), VM_TIMEOUT a lane's limit in seconds (1500).
# The suite's output and exit code come out as they do on the host, its closing line included. `make test` runs every lane.
set -euo pipefail
here=$(cd "$(dirname "$(readlink -f "$0")")" && pwd)
# shellcheck source=integration/vm/where.sh
. "$here/where.sh"
# shellcheck source=integration/stage.sh
. "$here/../stage.sh"
die() { echo "lane.sh: $*" >&2; exit 1; }

# Speed, name, kernel, control groups, caller, what every call of the runtime gets in front, and the suite's files that
# are left out. The fast machines take the whole suite. An emulated one takes minutes for it: the oldest kernel does it
# once, because it shows a missing fallback; the others leave out what has nothing to do with control groups.
elsewhere=attacks_descriptors,attacks_entering,attacks_executable,attacks_links,attacks_procfs,attacks_races,exec_process,faults,features_spec,fixtures
elsewhere+=,golden,help,hooks,idmapped,invalid,labels,live_attacks,live_faults,live_forms,live_removal,locked,log,masks,mistakes
elsewhere+=,mounts,namespaces,netdevices,notify,pivot,process
elsewhere+=,rdt,rootless,seccomp,terminal
lanes() {
    cat <<E
fast uml-v2 uml v2 root - -
fast uml-systemd uml v2 root --systemd-cgroup -
fast uml-rootless uml v2 tester - -
fast uml-selinux uml v2 root - -
fast uml-podman uml v2 root - -
fast uml-podman-rootless uml v2 tester - -
full 6.1-v2 6.1 v2 root - -
full 6.12-v2 6.12 v2 root - $elsewhere
full 6.1-hybrid-systemd 6.1 hybrid root --systemd-cgroup $elsewhere
full 6.1-v1-systemd 6.1 v1 root --systemd-cgroup $elsewhere
E
}

# Those of a speed, or the one of a name.
chosen() { lanes | awk -v wanted="$1" '$1 == wanted || $2 == wanted'; }

prepare() {
    local kernels=() kernel word
    [ "$(id -u)" = 0 ] || { echo "virtual machines need root"; return 77; }
    for word in "$@"; do
        while read -r kernel; do kernels+=(--kernel "$kernel"); done < <(chosen "$word" | awk '!seen[$3]++ { print $3 }')
    done
    [ ${#kernels[@]} -gt 0 ] || die "no such lane: $*"
    if ! "$top/scripts/setup.sh" vm; then
        echo "the machines' building tools can't be installed"
        return 77
    fi
    if ! "$here/build.sh" "${kernels[@]}"; then
        echo "the machines can't be built (see above)"
        return 77
    fi
}

# Puts together what the machine gets to see as /mnt/share: binaries, fixtures, and the places where the suite was told
# at build time to look for them.
stage_suite() { # TEST SCRIPT...: the test target, and what the machine runs of ours
    local suite corten test=$1
    shift
    "$top/scripts/cargo.sh" test --locked --quiet --profile "${VM_PROFILE:-vm}" --no-run --message-format=json --test "$test" \
        >"$stage/messages"
    # Optimised a bit: see Cargo.toml.
    suite=$(executable "$test" <"$stage/messages")
    corten=$(executable corten <"$stage/messages")
    if [ ! -x "$suite" ] || [ ! -x "$corten" ]; then die "cargo names no suite or no binary"; fi
    mkdir "$stage/share"
    strip -o "$stage/share/suite" "$suite"
    strip -o "$stage/share/corten" "$corten"
    cp -r "$top/integration/fixtures" "$@" "$stage/share/"
    printf 'binary=%q\nmanifest_dir=%q\n' "$corten" "$top" >"$stage/share/places"
}

run() { # LANE ARGUMENT...
    local lane=$1 speed kernel cgroup caller flags without append=()
    shift
    read -r speed lane kernel cgroup caller flags without < <(chosen "$lane") || die "no such lane: $lane"
    [ -s "$out/k/$kernel/mods.img" ] || prepare "$lane" >&2
    # One module of the kind that has labels at a time; nothing but the labels is another matter with it.
    if [ "$lane" = uml-selinux ]; then
        append=(--append "apparmor=0 security=selinux")
        [ $# -gt 0 ] || set -- labels
    fi
    stage=$(mktemp -d "${TMPDIR:-/tmp}/lane.XXXXXX")
    trap 'rm -rf "$stage"' EXIT
    case $lane in
    uml-podman*)
        stage_suite engines "$here/podman.sh" "$top/integration/engines/image.sh"
        set -- bash /mnt/share/podman.sh "$caller" "$@"
        ;;
    *)
        stage_suite integration "$here/inside.sh"
        set -- bash /mnt/share/inside.sh "$caller" "$flags" "$without" "$([ "$speed" = fast ] && echo 30 || echo 10)" "$@"
        ;;
    esac
    "$here/run.sh" --kernel "$kernel" --cgroup "$cgroup" --share-ro "$stage/share" --timeout "${VM_TIMEOUT:-1500}" "${append[@]}" -- "$@"
}

case ${1:-} in
list) lanes | awk -v speed="${2:-}" 'speed == "" || $1 == speed { print $2 }' ;;
prepare)
    shift
    [ $# -gt 0 ] || set -- fast full
    prepare "$@"
    ;;
run)
    shift
    [ $# -gt 0 ] || die "run which lane? lane.sh list names them"
    run "$@"
    ;;
*)
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "$0" >&2
    exit 2
    ;;
esac
