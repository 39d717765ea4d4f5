#!/bin/bash
# build.sh DIR   builds crictl into DIR, static, from the module that go.mod and go.sum beside this script pin.
#
# What lies there of the same sources already is left alone. Needs Go 1.24 or later (Debian: golang-go) and, the first time, the
# module. Exit code 77: it can't be done here.
set -eu -o pipefail
dir=$(realpath "$1")
cd "$(dirname "$(readlink -f "$0")")"
unable() { echo "crictl/build.sh: $*" >&2; exit 77; }

PATH=$PATH:/usr/local/go/bin
command -v go >/dev/null || unable "no Go toolchain: install one (Debian: golang-go)"
# The toolchain that is here: none is fetched for the sake of a newer line in go.mod.
export GOTOOLCHAIN=local CGO_ENABLED=0 GOFLAGS="${GOFLAGS:-} -mod=readonly"
wanted=go$(sed -n 's/^go //p' go.mod)
version=$(go env GOVERSION)
[ "$(printf '%s\n' "$wanted" "$version" | sort -V | head -n 1)" = "$wanted" ] || unable "crictl needs $wanted or later, and this is $version"
module=sigs.k8s.io/cri-tools
made=$(cat go.mod go.sum "$(basename "$0")" | sha256sum; echo "$version")
if [ -e "$dir/crictl" ] && [ "$(cat "$dir/.crictl" 2>/dev/null)" = "$made" ]; then
    exit 0
fi
rm -f "$dir/crictl" "$dir/.crictl"
go build -trimpath -ldflags "-s -w -X $module/pkg/version.Version=$(go list -m -f '{{.Version}}' $module)" \
    -o "$dir/crictl" $module/cmd/crictl || unable "$module can't be fetched or built"
printf '%s\n' "$made" >"$dir/.crictl"
echo "crictl/build.sh: $("$dir/crictl" --version)"
