#!/bin/bash
# inside.sh CALLER FLAGS WITHOUT SCALE [ARGUMENT...]   what lane.sh runs in the machine, as root: puts the suite where it was built
# to be, and starts it as CALLER (root or tester). FLAGS and WITHOUT, the suite's files that are left out, may be `-`: none.
# SCALE is how many of a crowd of containers this machine makes, in percent.
set -eu
caller=$1 flags=$2 without=$3 scale=$4
shift 4
binary='' manifest_dir=''
# shellcheck disable=SC1091 # made by lane.sh: the two of them
. /mnt/share/places
readable() { # every directory on the way down to a file, for a caller who isn't root
    local dir=$1
    while [ "$dir" != / ]; do
        chmod a+rx "$dir"
        dir=$(dirname "$dir")
    done
}

mkdir -p "$(dirname "$binary")" "$manifest_dir/integration"
cp /mnt/share/corten "$binary"
cp /mnt/share/suite "$(dirname "$binary")/suite"
cp -r /mnt/share/fixtures "$manifest_dir/integration/"
readable "$(dirname "$binary")"
readable "$manifest_dir/integration"
# Not /tmp, where systemd mounts a tmpfs that is nodev: a bundle there has devices that don't open.
mkdir -m 1777 /var/tmp/suite
set -- CORTEN_TEST_SCALE="$scale" TMPDIR=/var/tmp/suite "$(dirname "$binary")/suite" "$@"
[ "$flags" = - ] || set -- CORTEN_TEST_FLAGS="$flags" "$@"
[ "$without" = - ] || set -- CORTEN_TEST_WITHOUT="$without" "$@"
# A kernel that was booted with SELinux gets the suite's policy, and mounts its file system where libselinux looks for it.
if grep -q selinuxfs /proc/filesystems; then
    mountpoint -q /sys/fs/selinux || mount -t selinuxfs selinuxfs /sys/fs/selinux
    cat "$manifest_dir/integration/fixtures/selinux/policy" >/sys/fs/selinux/load
fi
# Without close_range (a test pretends so) descriptors are closed one by one up to this limit; a million system calls
# take seconds here.
ulimit -n 65536
[ "$caller" != root ] || exec env "$@"
# A cgroup with processes in it can't give controllers to its children, so the suite goes one further down; its
# containers' cgroups come beside it (cgroups(7), "no internal processes").
# shellcheck disable=SC2016 # expanded by the inner shell
exec as-user sh -ec '
    own=/sys/fs/cgroup$(sed -n "s/^0:://p" /proc/self/cgroup)
    mkdir "$own/suite"
    echo $$ >"$own/suite/cgroup.procs"
    exec env "$@"' sh "$@"
