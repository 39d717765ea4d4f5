#!/bin/bash
# podman.sh CALLER [ARGUMENT...]   what lane.sh runs in the machine, as root: Podman's scenarios with runc and with corten, as
# CALLER (root or tester). Arguments go to the driver (integration/engines/).
set -eu
caller=$1
shift
bash /mnt/share/image.sh / /usr/share/engines/image.tar
install -m 755 /mnt/share/corten /usr/local/bin/corten
install -m 755 /mnt/share/suite /usr/local/bin/engines
# Where a pod's resolver asks; nobody answers.
echo nameserver 127.0.0.1 >/etc/resolv.conf
ulimit -n 65536
case $caller in
root) exec env TMPDIR=/var/tmp CORTEN_TEST_SCALE=20 engines --here --engine podman-systemd "$@" ;;
*) exec as-user env TMPDIR=/var/tmp CORTEN_TEST_SCALE=20 engines --here --engine podman-rootless "$@" ;;
esac
