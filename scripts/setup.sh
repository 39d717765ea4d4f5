#!/bin/sh
# setup.sh build|test|conformance|runtimes|fuzz|engines|vm|bench...   installs what is missing of the packages that building,
# testing (here, by runtime-tools' programs, beside other runtimes, by fuzzing, below engines, in virtual machines) or
# measuring needs.
#
# Each need is checked by looking for the thing itself (a program, a library, a toolchain of the right version), so the
# script is quick when nothing is missing, and a machine that got its tools in another way is left alone. Packages are
# installed with apt-get and only by root; anyone else is told which packages to install. What a part of the tests can do
# without (a Go that is new enough, cargo-fuzz) is no failure: the tests leave that part out by name.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
machine=$(uname -m)
missing=

need() { # PACKAGE COMMAND...: the package is missing when the command fails
    package=$1
    shift
    "$@" >/dev/null 2>&1 || missing="$missing $package"
}

has_static_libc() { [ -e "$(gcc -print-file-name=libc.a)" ] && [ -e /usr/include/stdio.h ]; }
has_static_libseccomp() { [ -e "${LIBSECCOMP_LIB_PATH:-/usr/lib/$machine-linux-gnu}/libseccomp.a" ]; }
has_static_busybox() { busybox true && ! ldd "$(command -v busybox)"; }

# Whether a version is one that oci-conformance/go.mod can be built with.
go_is_enough() { [ "$(printf '%s\n' "$go_wanted" "$1" | sort -V | head -n 1)" = "$go_wanted" ]; }
go_wanted=$(sed -n 's/^go //p' "$here/../oci-conformance/go.mod")
has_go() {
    have=$(PATH="$PATH:/usr/local/go/bin" go env GOVERSION 2>/dev/null) && go_is_enough "${have#go}"
}

# The name of Debian's toolchain: Debian 13 has a new enough `rustc`; Debian 12's own is too old, but its security
# archive carries the toolchain that browsers are built with, as `rustc-web`. Programs have the usual names in both.
toolchain=
find_toolchain() {
    want=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$here/../Cargo.toml")
    for suffix in '' -web; do
        offered=$(apt-cache policy "rustc$suffix" 2>/dev/null | sed -n 's/^ *Candidate: //p')
        case $offered in '' | '(none)') continue ;; esac
        if dpkg --compare-versions "$offered" ge "$want"; then
            case $suffix in
            '') toolchain='rustc cargo' lint='rustfmt rust-clippy' ;;
            *) toolchain='rustc-web cargo-web' lint='rustfmt-web rust-web-clippy' ;;
            esac
            return 0
        fi
    done
    return 1
}

rust_missing=
lint_missing=
fuzz_missing=
go_missing=
for purpose in "$@"; do
    case $purpose in
    build)
        need gcc gcc --version
        need libc6-dev has_static_libc
        need libseccomp-dev has_static_libseccomp
        need ca-certificates test -e /etc/ssl/certs/ca-certificates.crt
        "$here/cargo.sh" --version >/dev/null 2>&1 || rust_missing=yes
        ;;
    test)
        need busybox-static has_static_busybox
        need uidmap command -v newuidmap
        need iproute2 command -v ip
        # The manual pages and the completions are tried with what reads them; groff comes with man.
        need man-db command -v man
        need zsh command -v zsh
        need fish command -v fish
        # A toolchain that isn't Debian's brings its own rustfmt and clippy, or goes without: see test.sh.
        if [ -n "$rust_missing" ] || [ -e /usr/bin/cargo ]; then
            "$here/cargo.sh" fmt --version >/dev/null 2>&1 && "$here/cargo.sh" clippy --version >/dev/null 2>&1 || lint_missing=yes
        fi
        ;;
    conformance)
        has_go || go_missing=yes
        ;;
    runtimes)
        need runc runc --version
        need crun crun --version
        ;;
    fuzz)
        need g++ c++ --version
        # From crates.io, so it needs no root; without it the fuzzers are left out by name.
        "$here/cargo.sh" fuzz --version >/dev/null 2>&1 || fuzz_missing=yes
        ;;
    vm)
        need mmdebstrap mmdebstrap --version
        need debian-archive-keyring test -e "${VM_KEYRING:-/usr/share/keyrings/debian-archive-keyring.gpg}"
        need e2fsprogs command -v mke2fs
        need xz-utils xz --version
        need zstd zstd --version
        need lz4 lz4 --version
        need cpio cpio --version
        need python3 python3 --version
        need util-linux command -v unshare
        ;;
    engines)
        has_go || go_missing=yes
        need mmdebstrap mmdebstrap --version
        need debian-archive-keyring test -e "${ENGINES_KEYRING:-/usr/share/keyrings/debian-archive-keyring.gpg}"
        need util-linux command -v flock
        ;;
    bench)
        need busybox-static has_static_busybox
        need jq jq --version
        need runc runc --version
        need crun crun --version
        ;;
    *)
        echo "setup.sh: unknown purpose: $purpose (build, test, conformance, runtimes, fuzz, engines, vm and bench are known)" >&2
        exit 2
        ;;
    esac
done
# The version that the fuzz targets were last run with; built for the machine itself, without this project's flags.
install_fuzz() {
    [ -n "$fuzz_missing" ] || return 0
    echo "setup.sh: installing cargo-fuzz"
    (cd / && CARGO_BUILD_TARGET= "$here/cargo.sh" install --quiet --locked cargo-fuzz --version 0.13.2) </dev/null
}
# Debian 12's Go is too old. Where none is to be had this says so, and programs.sh does.
install_go() {
    [ -n "$go_missing" ] || return 0
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
        echo "setup.sh: no Go $go_wanted or later here, and only root can install packages: left out"
        return 0
    fi
    # "2:1.24~2", of which the epoch is Debian's own.
    offered() { apt-cache policy golang-go 2>/dev/null | sed -n 's/^ *Candidate: \([0-9]*:\)*//p'; }
    offered=$(offered)
    if [ -z "$offered" ]; then
        apt-get update -qq </dev/null || true
        offered=$(offered)
    fi
    if [ -n "$offered" ] && [ "$offered" != '(none)' ] && go_is_enough "$offered"; then
        echo "setup.sh: installing: golang-go"
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends golang-go </dev/null ||
            echo "setup.sh: golang-go can't be installed: left out"
    else
        echo "setup.sh: the package sources offer no Go $go_wanted or later: left out"
    fi
}
[ -n "$missing$rust_missing$lint_missing" ] || {
    install_fuzz
    install_go
    exit
}

if ! command -v apt-get >/dev/null 2>&1; then
    echo "setup.sh: this machine has no apt-get; install by its own means:$missing${rust_missing:+ and a Rust toolchain}" >&2
    exit 1
fi
if [ "$(id -u)" != 0 ]; then
    [ -z "$rust_missing$lint_missing" ] || find_toolchain || true
    echo "setup.sh: packages are missing and only root can install them. Run as root:" >&2
    echo "    apt-get install$missing ${rust_missing:+${toolchain:-rustc cargo}} ${lint_missing:+${lint:-rustfmt rust-clippy}}" >&2
    exit 1
fi

export DEBIAN_FRONTEND=noninteractive
echo "setup.sh: installing:$missing${rust_missing:+ a Rust toolchain}${lint_missing:+ rustfmt clippy}"
apt-get update -qq </dev/null || echo "setup.sh: apt-get update failed; trying with the package lists that are there" >&2
if [ -n "$rust_missing$lint_missing" ]; then
    if find_toolchain; then
        missing="$missing ${rust_missing:+$toolchain}"
        [ -z "$lint_missing" ] || missing="$missing $lint"
    elif [ -n "$rust_missing" ]; then
        echo "setup.sh: the package sources offer no Rust toolchain that is new enough; install one with rustup (https://rustup.rs) and run this again" >&2
        exit 1
    fi
fi
# shellcheck disable=SC2086 # the list is meant to be split
apt-get install -y -qq --no-install-recommends $missing </dev/null
install_fuzz
install_go
