#!/bin/bash
# layout.sh TAR OUT   makes an archive of an OCI layout (image-spec, image-layout.md) with two images of one layer, the root file
# system TAR. `busybox` starts a shell; `pause` does nothing, as what holds the namespaces of a pod does.
set -eu -o pipefail
layout=$(mktemp -d)
trap 'rm -rf "$layout"' EXIT
mkdir -p "$layout/blobs/sha256"

# Takes a blob from stdin; prints the two properties by which it is found.
blob() {
    cat >"$layout/new"
    sum=$(sha256sum "$layout/new" | cut -d' ' -f1)
    printf '"digest": "sha256:%s", "size": %s' "$sum" "$(stat -c %s "$layout/new")"
    mv "$layout/new" "$layout/blobs/sha256/$sum"
}
type=application/vnd.oci.image
layer=$(blob <"$1")
diff=$(sha256sum "$1" | cut -d' ' -f1)
case $(uname -m) in x86_64) machine=amd64 ;; aarch64) machine=arm64 ;; *) machine=$(uname -m) ;; esac
# image NAME COMMAND: prints the image's entry in the index.
image() {
    config=$(printf '{"architecture": "%s", "os": "linux", "config": {"Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], "Cmd": %s},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:%s"]}}' "$machine" "$2" "$diff" | blob)
    manifest=$(printf '{"schemaVersion": 2, "mediaType": "%s.manifest.v1+json", "config": {"mediaType": "%s.config.v1+json", %s},
        "layers": [{"mediaType": "%s.layer.v1.tar", %s}]}' $type $type "$config" $type "$layer" | blob)
    printf '{"mediaType": "%s.manifest.v1+json", %s, "annotations": {"io.containerd.image.name": "127.0.0.1:5000/%s:latest",
        "org.opencontainers.image.ref.name": "latest"}}' $type "$manifest" "$1"
}
printf '{"imageLayoutVersion": "1.0.0"}' >"$layout/oci-layout"
printf '{"schemaVersion": 2, "manifests": [%s, %s]}' "$(image busybox '["sh"]')" "$(image pause '["sleep", "1000000"]')" \
    >"$layout/index.json"
tar -C "$layout" --owner=0 --group=0 --numeric-owner -cf "$2" oci-layout index.json blobs
