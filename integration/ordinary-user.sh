#!/bin/bash
# ordinary-user.sh [ARGUMENT...]   runs the integration suite on this machine as an ordinary user; arguments go to the suite: a
# test's name, --list ... It takes root to become that user.
# ordinary-user.sh --possible      says what is missing here, with exit code 77
#
# The user, with his subordinate ids and his home, exists in a private mount namespace alone: an overlay on /etc names
# him, and everything that he writes is in a tmpfs. Nothing of him is left on the machine.
set -euo pipefail
here=$(cd "$(dirname "$(readlink -f "$0")")" && pwd)
top=$(dirname "$here")
name=corten-test id=59999
subordinate=$name:5000000:65536

# In the private mount namespace, as root. Makes the user, and goes on as him.
inside() { # DIRECTORY CORTEN SUITE ARGUMENT...
    local dir=$1 corten=$2 suite=$3 file
    shift 3
    mount -t tmpfs -o mode=755 ordinary-user "$dir"
    mkdir "$dir/etc" "$dir/work" "$dir/built"
    cp "$corten" "$dir/built/corten"
    cp "$suite" "$dir/built/suite"
    cp -r "$here/fixtures" "$dir/built/"
    chmod -R a+rX "$dir/built"
    mount -t overlay -o "lowerdir=/etc,upperdir=$dir/etc,workdir=$dir/work" ordinary-user /etc
    echo "$name:x:$id:$id::$dir/home:/bin/sh" >>/etc/passwd
    echo "$name:x:$id:" >>/etc/group
    for file in /etc/subuid /etc/subgid; do echo "$subordinate" >>"$file"; done
    chmod a+r /etc/passwd /etc/group /etc/subuid /etc/subgid
    for file in home run tmp; do install -d -m 700 -o $id -g $id "$dir/$file"; done
    # The suite looks where it was told at build time to look: for a user whom a directory on the way keeps out, that
    # directory is covered and holds copies.
    reach "$corten" "$dir/built/corten"
    reach "$here/fixtures" "$dir/built/fixtures"
    cd "$dir/home"
    exec setpriv --reuid=$id --regid=$id --clear-groups env -i HOME="$dir/home" USER=$name LOGNAME=$name SHELL=/bin/sh \
        LANG=C.UTF-8 PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin XDG_RUNTIME_DIR="$dir/run" TMPDIR="$dir/tmp" \
        ${CORTEN_TEST_SCALE:+CORTEN_TEST_SCALE="$CORTEN_TEST_SCALE"} "$dir/built/suite" "$@"
}

reach() { # PLACE COPY
    local at=/ part
    local -a parts
    IFS=/ read -ra parts <<<"${1#/}"
    if setpriv --reuid=$id --regid=$id --clear-groups test -r "$1"; then return; fi
    for part in "${parts[@]}"; do
        at=${at%/}/$part
        if ! setpriv --reuid=$id --regid=$id --clear-groups test -x "$at"; then break; fi
    done
    if [ -d "$at" ]; then mount -t tmpfs -o mode=755 ordinary-user "$at"; fi
    mkdir -p "$(dirname "$1")"
    cp -r "$2" "$1"
}

if [ "${1:-}" = --inside ]; then
    shift
    inside "$@"
fi

impossible() { echo "$*"; exit 77; }
[ "$(id -u)" = 0 ] || impossible "becoming an ordinary user takes root"
for program in setpriv unshare; do
    command -v $program >/dev/null || impossible "$program is missing (package util-linux)"
done
for program in newuidmap newgidmap; do
    command -v $program >/dev/null || impossible "$program is missing (package uidmap)"
done
grep -qw overlay /proc/filesystems || modprobe -q overlay || impossible "this kernel has no overlay"
[ "${1:-}" != --possible ] || exit 0
# shellcheck source=integration/stage.sh
. "$here/stage.sh"
dir=$(mktemp -d /var/tmp/ordinary-user.XXXXXX)
trap 'rm -rf "$dir"' EXIT
chmod 755 "$dir"
"$top/scripts/cargo.sh" test --locked --quiet --no-run --message-format=json --test integration >"$dir/messages"
suite=$(executable integration <"$dir/messages")
corten=$(executable corten <"$dir/messages")
if [ ! -x "$suite" ] || [ ! -x "$corten" ]; then
    echo "ordinary-user.sh: cargo names no suite or no binary" >&2
    exit 1
fi
unshare --mount --propagation private "$0" --inside "$dir" "$corten" "$suite" "$@"
