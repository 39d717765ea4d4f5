#!/bin/bash
# Builds what run.sh boots, out of Debian packages alone and without touching the host's own packages:
#
#   tools/            QEMU, virtiofsd and a C library, unpacked, not installed
#   root/, root.img   the machines' root file system: systemd, D-Bus, AppArmor, CRIU, peers of corten
#   k/KERNEL/         one kernel: vmlinux (or `linux`, the User-Mode Linux program), initrd.cpio, mods.img, config, version
#
# usage: build.sh [--kernel 6.1|6.12|sid|uml]... [--force] [--refresh] [--extra "PACKAGE..."]
#   --kernel   may be repeated; without it those that the lanes use: uml, 6.1 and 6.12
#   --force    build again what is up to date    --refresh   fetch the package lists again, and so newer packages
#   --extra    further packages for the root file system
# environment:
#   VM_OUT      where it goes (target/machines: it survives `cargo build`, not `make clean`)
#   VM_MIRROR, VM_SECMIRROR   Debian mirrors; the default is the one that the host's own apt uses
#   VM_KEYRING  the archive's keys               VM_FREE_MB  free space of the root file system (2048)
#
# Every part has a stamp made of its inputs, so a second run takes seconds. Needs root, an amd64 Debian, and the packages
# that `scripts/setup.sh vm` installs.
set -euo pipefail
here=$(cd "$(dirname "$(readlink -f "$0")")" && pwd)
# shellcheck source=integration/vm/where.sh
. "$here/where.sh"
# shellcheck source=integration/mirror.sh
. "$here/../mirror.sh"
suite=trixie # of the guest's user space and of QEMU

die() { echo "build.sh: $*" >&2; exit 1; }
say() { echo "build.sh: $*"; }

kernels=() force='' refresh='' extra=''
while [ $# -gt 0 ]; do
    case $1 in
    --kernel) kernels+=("$2"); shift ;;
    --extra) extra=$2; shift ;;
    --force) force=yes ;;
    --refresh) refresh=yes ;;
    -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "$0"; exit 0 ;;
    *) die "unknown argument $1" ;;
    esac
    shift
done
[ ${#kernels[@]} -gt 0 ] || kernels=(uml 6.1 6.12)

[ "$(id -u)" = 0 ] || die "only root can build a root file system"
[ "$(uname -m)" = x86_64 ] || die "the kernels are amd64's, this machine is $(uname -m)"
for tool in mmdebstrap mke2fs xz zstd lz4 cpio python3 unshare flock; do
    command -v $tool >/dev/null || die "$tool is missing: scripts/setup.sh vm installs what is needed"
done
mirror=${VM_MIRROR:-$(mirror_of_host)}
[ -n "$mirror" ] || die "no Debian mirror found below /etc/apt; set VM_MIRROR"
security=${VM_SECMIRROR:-${mirror%/}-security}
keyring=${VM_KEYRING:-/usr/share/keyrings/debian-archive-keyring.gpg}
[ -e "$keyring" ] || die "$keyring is missing (package debian-archive-keyring); or set VM_KEYRING"

mkdir -p "$out/k" "$out/apt/lists/partial" "$out/apt/cache"
exec 9>"$out/.lock"
flock 9

# outdated NAME INPUTS: whether a part has to be made (again). Its stamp goes first, so that a part which breaks half
# way is made again next time; `made` puts it back.
outdated() {
    stamp=$(printf '%s' "$2" | sha256sum | cut -d' ' -f1)
    if [ -z "$force" ] && [ "$(cat "$out/.stamp-$1" 2>/dev/null)" = "$stamp" ]; then
        return 1
    fi
    rm -f "$out/.stamp-$1"
}
made() { echo "$stamp" >"$out/.stamp-$1"; }

# mkfs FOLDER IMAGE MEGABYTES: an ext4 image with the folder's content, without mounting anything
mkfs() {
    rm -f "$2"
    mke2fs -q -t ext4 -O ^has_journal -m 0 -E root_owner=0:0,lazy_itable_init=1 -d "$1" "$2" "$3M" >/dev/null
}
megabytes() { du -sm "$1" | cut -f1; }

# An apt of our own: other suites than the host's, and neither its sources nor its lists are touched. The archive's files
# may be past their Valid-Until on a mirror that lags; they are signed all the same.
signed="[signed-by=$keyring]"
cat >"$out/apt/sources.list" <<E
deb $signed $mirror bookworm main
deb $signed $security bookworm-security main
deb $signed $mirror trixie main
deb $signed $mirror sid main
E
apt=(-o "Dir::Etc::sourcelist=$out/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
    -o "Dir::State::lists=$out/apt/lists" -o "Dir::Cache=$out/apt/cache" -o Dir::State::status=/dev/null
    -o Acquire::Languages=none -o Acquire::Check-Valid-Until=false -o APT::Architecture=amd64 -o APT::Sandbox::User=root)
if [ -n "$refresh" ] || ! ls "$out"/apt/lists/*Packages* >/dev/null 2>&1; then
    say "package lists"
    apt-get "${apt[@]}" -qq update
fi
refreshed=${refresh:+$(date +%F)}

# packages VARIANT FOLDER PACKAGE,...: unpacks or installs packages of the suite into a new folder
packages() {
    rm -rf "$2"
    mmdebstrap -q --mode=root --variant="$1" --include="$3" --aptopt='Acquire::Languages "none"' \
        --aptopt='Acquire::Check-Valid-Until "false"' --aptopt='APT::Install-Recommends "false"' \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
        "$suite" "$2" "deb $signed $mirror $suite main"
}

# --- tools -----------------------------------------------------------------------------------------------------------
# QEMU is unpacked and never installed: installing it on an older Debian may remove packages that are there.
if outdated tools "$suite $mirror $refreshed 1"; then
    say "tools: QEMU and virtiofsd of $suite"
    packages extract "$out/tools" qemu-system-x86,virtiofsd
    ln -sfn usr/lib64 "$out/tools/lib64"
    ln -sfn usr/lib "$out/tools/lib"
    mkdir -p "$out/tools"/{proc,dev,tmp,host}
    made tools
fi

# --- root file system ------------------------------------------------------------------------------------------------
wanted="systemd systemd-sysv dbus dbus-user-session libpam-systemd libseccomp2 iproute2 apparmor uidmap kmod procps strace \
crun runc criu busybox-static jq python3-minimal iptables nftables bpftool psmisc libcap2-bin socat bats file libcriu2 \
slirp4netns fuse-overlayfs podman buildah conmon netavark aardvark-dns catatonit passt $extra"

# The job's programs, the units that start it, and what a machine that lives for seconds can do without.
furnish() { # FOLDER
    local root=$1 unit
    chroot "$root" useradd -m -u 1000 -s /bin/bash tester
    grep -q tester "$root/etc/subuid" || echo tester:100000:65536 | tee -a "$root/etc/subuid" >>"$root/etc/subgid"
    echo vm >"$root/etc/hostname"
    echo '127.0.0.1 localhost vm' >"$root/etc/hosts"
    echo 0123456789abcdef0123456789abcdef >"$root/etc/machine-id"
    rm -f "$root/etc/resolv.conf"
    : >"$root/etc/fstab"
    mkdir -p "$root/mnt/share" "$root/usr/lib/modules"
    install -m755 "$here/guest/vmrun" "$here/guest/vmrun-init" "$here/guest/as-user" "$root/usr/local/sbin/"
    install -m644 "$here/guest/vmrun.service" "$here/guest/vmrun.target" "$root/etc/systemd/system/"
    while read -r unit; do
        case $unit in '' | '#'*) ;; *) ln -sf /dev/null "$root/etc/systemd/system/$unit" ;; esac
    done <"$here/guest/masked"
    # Loading the distribution's AppArmor profiles costs 3 s in emulation. Abstractions, tunables and abi stay for tests.
    mkdir -p "$root/etc/apparmor.d.debian"
    find "$root/etc/apparmor.d" -maxdepth 1 -type f -exec mv -t "$root/etc/apparmor.d.debian" {} +
    mkdir -p "$root/etc/systemd/journald.conf.d" "$root/etc/systemd/system.conf.d" "$root/etc/systemd/system/user@.service.d"
    printf '[Journal]\nStorage=volatile\nRuntimeMaxUse=16M\n' >"$root/etc/systemd/journald.conf.d/vm.conf"
    printf '[Manager]\nDefaultTimeoutStopSec=10s\nStatusUnitFormat=name\n' >"$root/etc/systemd/system.conf.d/vm.conf"
    # Every controller for user sessions, as the documentation of rootless containers advises.
    printf '[Service]\nDelegate=cpu cpuset io memory pids\n' >"$root/etc/systemd/system/user@.service.d/delegate.conf"
    rm -rf "$root/var/cache/apt" "$root/var/lib/apt/lists"/* "$root/var/log"/*
    mkdir -p "$root/var/cache/apt/archives/partial"
    touch "$root/etc/.updated" "$root/var/.updated" # else systemd spends the boot on "updates are needed"
}

if outdated root "$suite $mirror $wanted $refreshed $(cat "$here"/guest/*) $(declare -f furnish)"; then
    say "root file system: $suite"
    # shellcheck disable=SC2086 # the list is meant to be split
    packages minbase "$out/root" "$(echo $wanted | tr ' ' ,)"
    furnish "$out/root"
    dpkg-query --admindir="$out/root/var/lib/dpkg" -W >"$out/root.manifest"
    mkfs "$out/root" "$out/root.img" $(($(megabytes "$out/root") + ${VM_FREE_MB:-2048}))
    made root
fi

# --- kernels ---------------------------------------------------------------------------------------------------------
# The modules go into an image of their own, so that the root file system doesn't depend on the kernel; those on the way
# to the disks go into the initramfs, in the order of their dependencies. They are unpacked here, not in the emulator.
modules_and_initrd() { # MODULE-FOLDER VERSION DESTINATION
    local modules=$1 version=$2 to=$3 initramfs=$3.tmp/initramfs name file
    find "$modules" -name '*.ko.xz' -print0 | xargs -0 -r -n 64 -P "$(nproc)" xz -d
    (
        # In a mount namespace of its own: an interrupted build leaves no mount behind.
        export root=$out/root modules version
        # shellcheck disable=SC2016 # expanded by the inner shell
        unshare --mount bash -ec 'mkdir -p "$root/usr/lib/modules/$version"
            mount --bind "$modules" "$root/usr/lib/modules/$version"
            chroot "$root" depmod "$version"'
        rmdir "$out/root/usr/lib/modules/$version"
    )
    mkfs "$(dirname "$modules")" "$to/mods.img" $(($(megabytes "$modules") * 115 / 100 + 16))
    mkdir -p "$initramfs"/{bin,mods,dev,proc,sys,root}
    cp "$out/root/usr/bin/busybox" "$initramfs/bin/"
    for name in sh mount umount insmod cat usleep cp mkdir switch_root poweroff; do
        ln -s busybox "$initramfs/bin/$name"
    done
    install -m755 "$here/guest/initramfs-init" "$initramfs/init"
    : >"$initramfs/mods.order"
    for name in virtio_pci virtio_blk virtio_console virtio-rng virtiofs overlay; do
        file=$(cd "$modules" && find kernel -name "$name.ko" | head -n 1)
        [ -n "$file" ] || continue # built in
        for file in $(sed -n "s|^$file: *||p" "$modules/modules.dep" | tr ' ' '\n' | tac) "$file"; do
            [ -e "$initramfs/mods/${file##*/}" ] || {
                cp "$modules/$file" "$initramfs/mods/"
                echo "${file##*/}" >>"$initramfs/mods.order"
            }
        done
    done
    (cd "$initramfs" && find . | LC_ALL=C sort | cpio -o -H newc --quiet) >"$to/initrd.cpio"
}

# offered PACKAGE FIELD VERSION-PATTERN: a field of the first offer of a package whose version matches
offered() {
    apt-cache "${apt[@]}" show "$1" 2>/dev/null |
        awk -v RS= -v p="\nVersion: $3" '!n && $0 ~ p { print; n = 1 }' | sed -n "s/^$2: //p"
}

# An uncompressed kernel boots through PVH and spares the emulator the decompression.
decompress() { # VMLINUZ VMLINUX
    local payload=$1.payload
    # Where a bzImage's header says that the compressed kernel lies (Documentation/arch/x86/boot.rst, payload_offset)
    python3 - "$1" "$payload" <<'PY'
import struct, sys
image = open(sys.argv[1], 'rb').read()
start = ((image[0x1f1] or 4) + 1) * 512
offset, length = struct.unpack_from('<II', image, 0x248)
open(sys.argv[2], 'wb').write(image[start + offset:start + offset + length])
PY
    # The four bytes of size behind the stream make zstd and lz4 complain after they have written everything.
    case $(head -c4 "$payload" | od -An -tx1 | tr -d ' \n') in
    28b52ffd) zstd -dcq "$payload" >"$2" 2>/dev/null || : ;;
    fd377a58) xz -dc "$payload" >"$2" 2>/dev/null || : ;;
    02214c18) lz4 -dcq "$payload" >"$2" 2>/dev/null || : ;;
    esac
    rm -f "$payload"
    [ "$(head -c4 "$2" 2>/dev/null | od -An -c | tr -d ' ')" = '177ELF' ] || {
        rm -f "$2"
        say "$1 can't be decompressed here; run.sh boots it as it is"
    }
}

debian_kernel() { # NAME VERSION-PATTERN
    local name=$1 to=$out/k/$1 tmp=$out/k/$1.tmp image parts version modules deb
    # The metapackage depends on the versioned one; sid splits that in three.
    image=$(offered linux-image-cloud-amd64 Depends "$2" | sed -n 's/.*\(linux-image-[0-9][^ ,]*\).*/\1/p')
    [ -n "$image" ] || die "the mirror offers no kernel $name"
    outdated "kernel-$name" "$image $(cat "$here/guest/initramfs-init") 1" || return 0
    say "kernel $name: $image"
    rm -rf "$to" "$tmp"
    mkdir -p "$tmp/deb" "$tmp/x" "$to"
    parts=$(apt-cache "${apt[@]}" depends --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces \
        --no-enhances "$image" | grep -oE 'linux-(base|binary|modules)-[0-9][^ ]*' | sort -u || :)
    # shellcheck disable=SC2086 # the list is meant to be split
    (cd "$tmp/deb" && apt-get "${apt[@]}" -qq download "$image" $parts)
    for deb in "$tmp"/deb/*.deb; do dpkg-deb -x "$deb" "$tmp/x"; done
    if [ -d "$tmp/x/lib/modules" ]; then
        mkdir -p "$tmp/x/usr/lib"
        mv "$tmp/x/lib/modules" "$tmp/x/usr/lib/"
    fi
    modules=$(echo "$tmp"/x/usr/lib/modules/*)
    version=${modules##*/}
    echo "$version" >"$to/version"
    mv "$(find "$tmp/x/boot" "$modules" -maxdepth 1 -name 'vmlinuz*' 2>/dev/null | head -n 1)" "$to/vmlinuz"
    mv "$(find "$tmp/x/boot" "$modules" -maxdepth 1 -name 'config*' 2>/dev/null | head -n 1)" "$to/config"
    rm -f "$modules"/{System.map,build,source}
    decompress "$to/vmlinuz" "$to/vmlinux"
    modules_and_initrd "$modules" "$version" "$to"
    rm -rf "$tmp"
    made "kernel-$name"
}

# User-Mode Linux is one program; it runs with the C library of tools/.
user_mode_linux() {
    local to=$out/k/uml tmp=$out/k/uml.tmp package version
    package=$(offered user-mode-linux Version '[7-9][.]')
    [ -n "$package" ] || die "the mirror offers no user-mode-linux"
    outdated kernel-uml "$package $(cat "$here/guest/initramfs-init") 1" || return 0
    say "kernel uml: user-mode-linux $package"
    rm -rf "$to" "$tmp"
    mkdir -p "$tmp/deb" "$to"
    (cd "$tmp/deb" && apt-get "${apt[@]}" -qq download "user-mode-linux=$package")
    dpkg-deb -x "$tmp"/deb/*.deb "$tmp/x"
    mv "$tmp/x/usr/bin/linux.uml" "$to/linux"
    gzip -dc "$tmp/x/usr/share/doc/user-mode-linux/config.gz" >"$to/config"
    version=$(basename "$tmp"/x/usr/lib/uml/modules/*)
    echo "$version" >"$to/version"
    modules_and_initrd "$tmp/x/usr/lib/uml/modules/$version" "$version" "$to"
    rm -rf "$tmp"
    made kernel-uml
}

for kernel in "${kernels[@]}"; do
    case $kernel in
    uml) user_mode_linux ;;
    6.1) debian_kernel 6.1 '6[.]1[.]' ;;
    6.12) debian_kernel 6.12 '6[.]12[.]' ;;
    sid) debian_kernel sid '[7-9][.]' ;;
    *) die "unknown kernel $kernel" ;;
    esac
done
for kernel in "${kernels[@]}"; do
    say "$kernel is Linux $(cat "$out/k/$kernel/version")"
done
