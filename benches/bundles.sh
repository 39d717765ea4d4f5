#!/bin/bash
# bundles.sh DIRECTORY CGROUP   makes the bundles that the benchmark runs: DIRECTORY/<config>-<program>
#
#   config n   what every runtime must do: six mounts, five namespaces, devices, masked paths, capabilities, a read-only
#              root. No resources, no cgroup mount, no cgroupsPath
#   config a   n + a cgroup path, device rules and the cgroup mount: what `spec` writes
#   config b   like a Docker container: a + seccomp profile, memory, cpu and pids limits, sysctls, three bind mounts
#   config s   a + Docker's default seccomp profile
#   config c   a + a cgroup namespace: what `spec` writes on a cgroup v2 host
#   program    true (ends at once) or sleep (waits to be killed)
#
# ociVersion is 1.0.2, which every packaged runtime accepts. The rootfs holds busybox alone.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=$1 cgroup=$2
busybox=$(command -v busybox)

mkdir -p "$out/host"
for file in resolv.conf hostname hosts; do echo '#' > "$out/host/$file"; done

a='.linux.cgroupsPath = $cgroup'
declare -A change=(
    [n]='del(.linux.resources) | .mounts |= map(select(.type != "cgroup"))'
    [a]="$a"
    [b]="$a"' | .root.readonly = false | .hostname = "a1b2c3d4e5f6" | .process.oomScoreAdj = 0
        | del(.process.noNewPrivileges, .process.rlimits)
        | (["CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID", "SETFCAP", "SETPCAP",
            "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE"] | map("CAP_" + .)) as $caps
        | .process.capabilities = {bounding: $caps, effective: $caps, permitted: $caps}
        | .process.env += ["HOSTNAME=a1b2c3d4e5f6", "HOME=/root"]
        | .mounts += (["resolv.conf", "hostname", "hosts"]
            | map({destination: ("/etc/" + .), type: "bind", source: ($host + "/" + .), options: ["rbind", "rprivate"]}))
        | .linux.maskedPaths += ["/proc/interrupts", "/sys/devices/virtual/powercap"]
        | .linux.sysctl = {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647"}
        | .linux.resources = {
            devices: ([{allow: false, access: "rwm"}]
                + ([[1, 5], [1, 3], [1, 9], [1, 8], [5, 0], [5, 1]] | map({allow: true, type: "c", major: .[0], minor: .[1], access: "rwm"}))
                + [{allow: false, type: "c", major: 10, minor: 229, access: "rwm"}]),
            memory: {limit: 268435456, reservation: 134217728}, cpu: {shares: 512, quota: 100000, period: 100000},
            pids: {limit: 100}}
        | .linux.seccomp = $seccomp[0]'
    [s]="$a"' | .linux.seccomp = $seccomp[0]'
    [c]="$a"' | .linux.namespaces += [{type: "cgroup"}]'
)
declare -A program=([true]='["/bin/true"]' [sleep]='["/bin/sleep", "1000"]')

for config in "${!change[@]}"; do
    for name in "${!program[@]}"; do
        bundle=$out/$config-$name
        mkdir -p "$bundle"/rootfs/{bin,dev,proc,sys,etc,tmp,root,usr,var}
        cp "$busybox" "$bundle/rootfs/bin/busybox"
        for applet in true sleep sh cat; do ln -f "$bundle/rootfs/bin/busybox" "$bundle/rootfs/bin/$applet"; done
        touch "$bundle"/rootfs/etc/{resolv.conf,hostname,hosts}
        jq --arg cgroup "$cgroup" --arg host "$out/host" --slurpfile seccomp "$here/config/seccomp-docker.json" \
            ".ociVersion = \"1.0.2\" | .hostname = \"bench\" | .process.terminal = false | .process.args = ${program[$name]} | ${change[$config]}" \
            "$here/config/base.json" > "$bundle/config.json"
    done
done
