#!/bin/bash
# programs.sh   builds runtime-tools' validation programs into target/conformance, with what they need beside them.
#
# The module is pinned by go.mod and go.sum beside this script; nothing of it is copied into the repository. What lies in
# target/conformance of that version already is left alone. Needs Go 1.21 or later (Debian: golang-go).
set -eu -o pipefail
here=$(cd "$(dirname "$0")" && pwd)
target=${CARGO_TARGET_DIR:-target}
case $target in /*) ;; *) target=$here/../$target ;; esac
out=$target/conformance
module=github.com/opencontainers/runtime-tools

PATH=$PATH:/usr/local/go/bin
if ! command -v go >/dev/null; then
    echo "programs.sh: no Go toolchain: install one (Debian: golang-go)" >&2
    exit 77
fi
version=$(go env GOVERSION)
if [ "$(printf '%s\n' go1.21 "$version" | sort -V | head -n 1)" != go1.21 ]; then
    echo "programs.sh: runtime-tools needs Go 1.21 or later, and this is $version" >&2
    exit 77
fi
cd "$here"
# What the programs are made of: another version of anything is another build.
made=$(cat go.mod go.sum "$(basename "$0")" | sha256sum; go version)
if [ -e "$out/made" ] && [ "$(cat "$out/made")" = "$made" ]; then
    exit 0
fi

# Go's own names for machines, as the programs use them.
export CGO_ENABLED=0 GOFLAGS="${GOFLAGS:-} -mod=readonly"
machine=$(go env GOARCH)
go mod download $module
go mod verify >/dev/null
source=$(go list -m -f '{{.Dir}}' $module)
if [ ! -e "$source/rootfs-$machine.tar.gz" ]; then
    echo "programs.sh: runtime-tools has no root file system for $machine" >&2
    exit 77
fi
rm -rf "$out/programs" "$out/made"
mkdir -p "$out/programs"
go build -trimpath -ldflags '-s -w' -o "$out/programs/" $module/validation/...
# Static, because it runs in the container.
go build -trimpath -ldflags '-s -w' -o "$out/runtimetest" $module/cmd/runtimetest
install -m 0644 "$source/rootfs-$machine.tar.gz" "$out/rootfs-$machine.tar.gz"
printf '%s\n' "$made" >"$out/made"
echo "programs.sh: $(find "$out/programs" -type f | wc -l) programs in $out/programs"
