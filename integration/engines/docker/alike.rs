//! A container of the runtime beside one that runc makes for the same daemon: what can be seen inside is the same, but for a few lines that are told here.

use crate::scenario::{Scenario, World, scenarios};

pub const SCENARIOS: &[Scenario] = scenarios![containers_look_alike_whatever_the_runtime];

/// What a program finds: of itself, of what is mounted, of devices, of its limits.
const LOOK: &str = r"
    echo '# status'; grep -E '^(Umask|Uid|Gid|Groups|NoNewPrivs|Seccomp|Cap|CoreDumping|SigIgn|SigBlk|Speculation)' /proc/self/status
    echo '# limits'; cat /proc/self/limits
    echo '# process'; cat /proc/self/oom_score_adj /proc/self/coredump_filter /proc/self/personality /proc/1/cmdline | tr '\0' ' '
    ps -o pid,ppid,pgid,sid,tty,args | head -n 2; pwd
    echo '# environment'; tr '\0' '\n' </proc/1/environ
    echo '# mounts'; cut -d' ' -f4- /proc/self/mountinfo
    echo '# places'; stat -c '%n %A %u %g %t,%T' / /* /dev/* /dev/pts/* /proc/kcore /proc/keys /sys/fs/cgroup/*
    for link in /dev/*; do [ ! -L $link ] || readlink $link; done
    echo '# groups'; cat /proc/self/cgroup
    for file in devices/devices.list memory/memory.limit_in_bytes memory/memory.soft_limit_in_bytes memory/memory.memsw.limit_in_bytes \
        memory/memory.swappiness memory/memory.oom_control cpu/cpu.shares cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us pids/pids.max \
        cpuset/cpuset.cpus cpuset/cpuset.mems blkio/blkio.throttle.read_bps_device \
        memory.max memory.low memory.swap.max cpu.max cpu.weight pids.max cpuset.cpus; do
        [ ! -e /sys/fs/cgroup/$file ] || { echo $file; sort /sys/fs/cgroup/$file; }
    done
    echo '# kernel'; cat /proc/sys/kernel/hostname /proc/sys/kernel/domainname /proc/sys/kernel/shmmax /proc/sys/net/ipv4/ip_forward \
        /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/net/ipv4/ping_group_range
    ls /sys/class/net
";

const KINDS: &[&[&str]] = &[
    &[],
    &["-t", "-u", "alice", "--group-add", "777", "-w", "/tmp"],
    &["--read-only", "--tmpfs", "/scratch:size=1m", "--init"],
    &[
        "-m",
        "64m",
        "--memory-reservation",
        "32m",
        "--cpus",
        "0.5",
        "--cpu-shares",
        "300",
        "--cpuset-cpus",
        "0",
        "--pids-limit",
        "55",
    ],
    &["--cap-drop", "ALL", "--cap-add", "CHOWN", "--security-opt", "no-new-privileges", "--oom-score-adj", "400"],
    &["--security-opt", "systempaths=unconfined", "--security-opt", "seccomp=unconfined", "--cgroupns", "host"],
    &["--cgroupns", "private", "--network", "none", "--ipc", "private", "--shm-size", "2m", "--ulimit", "core=5:6"],
    &[
        "-v",
        "/var/tmp:/data:ro",
        "-v",
        "/etc/hostname:/etc/deep/er/name",
        "--mount",
        "type=tmpfs,dst=/t,tmpfs-mode=1700",
    ],
    &["--device", "/dev/fuse:/dev/other:r", "--device-cgroup-rule", "c 42:* rm", "--sysctl", "kernel.shmmax=1000000"],
    &["--pid", "host", "--uts", "host", "--network", "host", "--ipc", "host"],
];

fn containers_look_alike_whatever_the_runtime(world: &World) {
    let mut different = String::new();
    for flags in KINDS {
        let seen = |runtime| {
            let fixed = ["--runtime", runtime, "--hostname", "alike"];
            let fixed = if flags.contains(&"--uts") { &fixed[..2] } else { &fixed[..] };
            // The host's processes are not the runtime's matter.
            let look = if flags.contains(&"--pid") {
                LOOK.replace("ps -o", "true -o").replace("/proc/1/", "/proc/$$/")
            } else {
                LOOK.to_owned()
            };
            let said = world.run(&[fixed, flags].concat(), &look);
            plain(&format!("{}{}", said.stdout, said.stderr))
        };
        let (own, other) = (seen(&world.runtime), seen("other"));
        let without = |these: &[String], those: &[String]| {
            these.iter().filter(|line| !those.contains(line)).cloned().collect::<Vec<_>>()
        };
        let (missing, more) = (without(&other, &own), without(&own, &other));
        if own != other {
            different += &format!("{flags:?}:\n  runc alone: {missing:#?}\n  {} alone: {more:#?}\n", world.runtime);
        }
    }
    assert!(different.is_empty(), "{different}");
}

/// What corten does otherwise on purpose, and shows.
fn is_meant(line: &str) -> bool {
    // The unified hierarchy of a hybrid machine is mounted as well, and what hides a directory is smaller.
    line.contains("/sys/fs/cgroup/unified")
        || line.ends_with(" - tmpfs tmpfs ro")
        || line.ends_with(",nr_inodes=1,mode=755")
}

/// Without what is another for each container: ids, numbers of mounts, directories of layers.
fn plain(text: &str) -> Vec<String> {
    let word = |word: &str| {
        let word = word.trim_end_matches('\r');
        let id = |part: &str| part.len() >= 26 && part.chars().all(|c| c.is_ascii_alphanumeric());
        // What a hierarchy without controllers is mounted from has no meaning.
        if word == "systemd" {
            return "cgroup".to_owned();
        }
        if word.starts_with("rw,lowerdir=") || word.starts_with("ro,lowerdir=") {
            return "layers".to_owned();
        }
        if let Some((key @ ("master" | "shared"), _)) = word.split_once(':') {
            return key.to_owned();
        }
        word.split('/').map(|part| if id(part) { "ID" } else { part }).collect::<Vec<_>>().join("/")
    };
    // The config asks for a read-only mount, of which runc forgets the directory of the hierarchies. Its sysfs is read-only as a
    // file system too, and 1.1.15 cuts the root off from the host's mounts (1.1.5 leaves it a slave, as corten does).
    let same = |line: &str| match line {
        "/ /sys/fs/cgroup ro,nosuid,nodev,noexec,relatime - tmpfs tmpfs rw,mode=755" => line.replacen("ro,", "rw,", 1),
        // One of the C library's own signals, which runc leaves ignored.
        "SigIgn:\t0000000080000000" => "SigIgn:\t0000000000000000".to_owned(),
        "/ /sys ro,nosuid,nodev,noexec,relatime - sysfs sysfs rw" => line.replace("sysfs rw", "sysfs ro"),
        line => line
            .replace("/ / rw,relatime master ", "/ / rw,relatime ")
            .replace("/ / ro,relatime master ", "/ / ro,relatime "),
    };
    let lines = text.lines().map(|line| same(&line.split(' ').map(word).collect::<Vec<_>>().join(" ")));
    let mut lines: Vec<String> = lines.filter(|line| !is_meant(line)).collect();
    lines.sort();
    lines
}
