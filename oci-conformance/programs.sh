#!/bin/bash
# programs.sh   builds runtime-tools' validation programs into target/conformance, with what they need beside them; and what
# judges documents: its oci-runtime-tool, and the JSON schemas of runtime-spec with the program that belongs to them.
#
# The module is pinned by go.mod and go.sum beside this script; nothing of it is copied into the repository. What lies in
# target/conformance of that version already is left alone. Needs Go 1.21 or later (Debian 13: golang-go). Exit code 77: what
# it is made with isn't to be had here, neither Go nor the modules; 1: something is wrong with them.
set -eu -o pipefail
here=$(cd "$(dirname "$0")" && pwd)
target=${CARGO_TARGET_DIR:-target}
top=$(dirname "$here")
case $target in /*) ;; *) target=$top/$target ;; esac
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
made=$(cat go.mod go.sum "$(basename "$0")" | sha256sum; go version; echo "$out")
if [ -e "$out/made" ] && [ "$(cat "$out/made")" = "$made" ]; then
    exit 0
fi

# Go's own names for machines, as the programs use them.
export CGO_ENABLED=0 GOFLAGS="${GOFLAGS:-} -mod=readonly"
machine=$(go env GOARCH)
spec=github.com/opencontainers/runtime-spec
# A module that isn't what go.sum says is no reason to leave anything out.
if ! said=$(go mod download 2>&1); then
    printf '%s\n' "$said" >&2
    case $said in *'SECURITY ERROR'* | *'checksum mismatch'* | *'missing go.sum entry'*) exit 1 ;; esac
    echo "programs.sh: the Go modules that oci-conformance/go.mod names can't be fetched" >&2
    exit 77
fi
go mod verify >/dev/null
source=$(go list -m -f '{{.Dir}}' $module)
schema=$(go list -m -f '{{.Dir}}' $spec)/schema
version=$(go list -m -f '{{.Version}}' $spec)
if [ ! -e "$source/rootfs-$machine.tar.gz" ]; then
    echo "programs.sh: runtime-tools has no root file system for $machine" >&2
    exit 77
fi
rm -rf "$out/programs" "$out/schema" "$out/made"
mkdir -p "$out/programs"
go build -trimpath -ldflags '-s -w' -o "$out/programs/" $module/validation/...
# Static, because it runs in the container.
go build -trimpath -ldflags '-s -w' -o "$out/runtimetest" $module/cmd/runtimetest
mkdir -p "$out/schema"
cp -R "$schema" "$out/schema/$version"
chmod -R u+w "$out/schema"
go build -trimpath -ldflags '-s -w' -o "$out/validate" $spec/schema
# It fetches the schema of the config's version from the network; here it is told where that one lies.
go build -trimpath -o "$out/oci-runtime-tool" \
    -ldflags "-s -w -X '$module/validate.configSchemaTemplate=file://$out/schema/v%s/config-schema.json'" \
    $module/cmd/oci-runtime-tool
install -m 0644 "$source/rootfs-$machine.tar.gz" "$out/rootfs-$machine.tar.gz"
printf '%s\n' "$made" >"$out/made"
echo "programs.sh: $(find "$out/programs" -type f | wc -l) programs in $out/programs"
