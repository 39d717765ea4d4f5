#!/bin/bash
# build.sh [--force]   makes target/engines, the machine that the engines run on: Debian packages alone, nothing installed here
#
#   root/        the machine's root file system: Podman, buildah, containerd, Docker, runc, and what they call
#   root/usr/share/engines/image.tar   the image that every scenario starts from: busybox and a few users
#   root/usr/share/engines/image-oci.tar   the same as an OCI layout, with one beside it whose program holds a pod's namespaces
#   root/usr/local/bin/crictl   built from its Go module by crictl/build.sh; where that can't be, the engine cri is skipped
#
# Needs root, a Debian mirror in reach, and what `scripts/setup.sh engines` installs. Exit code 77: it can't be done here. A stamp
# of the inputs makes a second run quick.
# environment: ENGINES_OUT (target/engines), ENGINES_MIRROR (the one that the host's own apt uses), ENGINES_KEYRING
set -euo pipefail
here=$(cd "$(dirname "$(readlink -f "$0")")" && pwd)
target=${CARGO_TARGET_DIR:-target}
case $target in /*) ;; *) target=$here/../../$target ;; esac
out=${ENGINES_OUT:-$target/engines}
suite=trixie

unable() { echo "build.sh: $*"; exit 77; }
# shellcheck source=integration/mirror.sh
. "$here/../mirror.sh"

[ "$(id -u)" = 0 ] || unable "only root can build a root file system"
command -v mmdebstrap >/dev/null || unable "mmdebstrap is missing: scripts/setup.sh engines installs what is needed"
mirror=${ENGINES_MIRROR:-$(mirror_of_host)}
[ -n "$mirror" ] || unable "no Debian mirror found below /etc/apt; set ENGINES_MIRROR"
keyring=${ENGINES_KEYRING:-/usr/share/keyrings/debian-archive-keyring.gpg}
[ -e "$keyring" ] || unable "$keyring is missing (package debian-archive-keyring); or set ENGINES_KEYRING"

engines=podman,buildah,conmon,containerd,docker.io,docker-cli,docker-buildx
# What they call: networks, storage, user namespaces, an init for containers, checkpoints.
below=runc,crun,containernetworking-plugins,netavark,aardvark-dns,iptables,nftables,iproute2,fuse-overlayfs,uidmap,catatonit,tini,criu
# What the scenarios call.
tools=busybox-static,bsdutils,ca-certificates,jq,procps,docker-registry

mkdir -p "$out"
exec 9>"$out/.lock"
flock 9
stamp=$(printf '%s\n' "$suite $mirror $engines $below $tools" | cat - "$0" "$here/image.sh" "$here/layout.sh" | sha256sum | cut -d' ' -f1)
# It has a stamp of its own.
crictl() {
    if "$here/crictl/build.sh" "$out"; then
        cmp -s "$out/crictl" "$out/root/usr/local/bin/crictl" || install "$out/crictl" "$out/root/usr/local/bin/crictl"
    else
        rm -f "$out/root/usr/local/bin/crictl"
    fi
}
if [ "${1:-}" != --force ] && [ "$(cat "$out/.stamp" 2>/dev/null)" = "$stamp" ]; then
    crictl
    exit 0
fi
rm -rf "$out/.stamp" "$out/root"
echo "build.sh: engines of $suite"
mmdebstrap -q --mode=root --variant=minbase --include="$engines,$below,$tools" --aptopt='Acquire::Languages "none"' \
    --aptopt='Acquire::Check-Valid-Until "false"' --aptopt='APT::Install-Recommends "false"' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
    "$suite" "$out/root" "deb [signed-by=$keyring] $mirror $suite main" || unable "the packages can't be fetched or unpacked"
rm -rf "$out/root/var/cache/apt" "$out/root/var/lib/apt/lists"

"$here/image.sh" "$out/root" "$out/root/usr/share/engines/image.tar"
"$here/layout.sh" "$out/root/usr/share/engines/image.tar" "$out/root/usr/share/engines/image-oci.tar"
crictl
chroot "$out/root" dpkg-query -W -f '${Package} ${Version}\n' >"$out/root.manifest"
echo "$stamp" >"$out/.stamp"
echo "build.sh: $(du -sh "$out/root" | cut -f1) in $out/root"
