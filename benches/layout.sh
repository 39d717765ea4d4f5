#!/bin/sh
# layout.sh MODE TMPFS COMMAND...   runs a command where it can neither disturb the host nor outlive this script.
#
# The command gets a mount namespace and a pid namespace of its own: whatever it leaves dies with it, and with this
# script. TMPFS becomes a tmpfs, because a state root lies on /run on a normal host. MODE is what it sees of cgroups:
#   host   the layout as it is
#   v1     the v1 hierarchies alone, bound into a fresh tmpfs: crun refuses a hybrid layout (v1 and `unified`)
#   none   nothing that could be used: a cgroup2 mount that is read-only (runc insists on some mount)
#   v2     a cgroup2 mount alone; its controllers are those that no v1 hierarchy holds
# Control groups themselves are the kernel's and not the namespace's: bench.sh removes those that it made.
set -eu
exec unshare --mount --pid --fork --kill-child --mount-proc --propagation private sh -eu -c '
    mode=$1 tmpfs=$2
    shift 2
    mount -t tmpfs -o mode=755 tmpfs "$tmpfs"
    case $mode in
    host) ;;
    v1)
        mount -t tmpfs -o mode=755 tmpfs /mnt
        for dir in /sys/fs/cgroup/*; do
            name=${dir##*/}
            [ "$name" != unified ] && mountpoint -q "$dir" || continue
            mkdir "/mnt/$name"
            mount --bind "$dir" "/mnt/$name"
        done
        umount -R /sys/fs/cgroup
        mount --move /mnt /sys/fs/cgroup
        ;;
    none)
        umount -R /sys/fs/cgroup
        mount -t cgroup2 cgroup2 /sys/fs/cgroup
        mount -o remount,bind,ro /sys/fs/cgroup
        ;;
    v2) mount -t cgroup2 cgroup2 /sys/fs/cgroup ;;
    *)
        echo "layout.sh: unknown mode: $mode" >&2
        exit 2
        ;;
    esac
    exec "$@"
' layout "$@"
