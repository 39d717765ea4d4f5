#!/bin/bash
# image.sh ROOT TAR   makes the image that every scenario starts from, out of what a Debian root file system has
#
# busybox with its applets, setarch with its libraries (it makes a call that seccomp profiles tell apart by an argument), two users,
# and the directories that engines mount on.
set -euo pipefail
root=${1%/} tar=$2
image=$(mktemp -d)
trap 'rm -rf "$image"' EXIT
mkdir -p "$image"/{bin,dev,etc,proc,root,sys,tmp,var/tmp}
chmod 755 "$image"
chmod 1777 "$image/tmp" "$image/var/tmp"
cp "$root/usr/bin/busybox" "$image/bin/busybox"
for applet in $("$image/bin/busybox" --list); do [ "$applet" = busybox ] || ln -s busybox "$image/bin/$applet"; done
loader=$(cd "$root/" && echo lib64/ld-linux-*.so.*)
for file in usr/bin/setarch "$loader" "lib/$(uname -m)-linux-gnu/libc.so.6"; do
    install -D "$root/$file" "$image/$file"
done
printf '%s\n' root:x:0:0:root:/root:/bin/sh alice:x:1000:1000::/tmp:/bin/sh >"$image/etc/passwd"
printf '%s\n' root:x:0: alice:x:1000: audio:x:63:alice >"$image/etc/group"
mkdir -p "$(dirname "$tar")"
tar -C "$image" --owner=0 --group=0 --numeric-owner -cf "$tar" .
