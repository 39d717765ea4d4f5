//! One config, the same limits: what a container may use doesn't depend on the version of cgroups or on who makes them.
//! The expectation is one table; every machine that runs the suite (version 1, both versions side by side, version 2,
//! systemd's driver) is held to it. A controller that the machine lacks is left out of the config, and named.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::cgroups::cgroups_of;
use crate::harness::{Case, Sandbox, cases, skip};

pub const CASES: &[Case] =
    cases![one_config_gives_the_same_limits_on_every_layout, what_is_limited_is_really_out_of_reach,];

const MIB: u64 = 1 << 20;

/// The controllers that a container can have here: those of a process in a fresh cgroup.
fn controllers() -> Vec<String> {
    let mut names = Vec::new();
    let own = fs::read_to_string("/proc/self/cgroup").expect("cgroup");
    names.extend(
        own.lines().filter_map(|line| line.split(':').nth(1)).flat_map(|list| list.split(',')).map(str::to_owned),
    );
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    let unified =
        mounts.lines().find_map(|line| line.contains(" - cgroup2 ").then(|| line.split(' ').nth(4)).flatten());
    if let Some(root) = unified {
        let list = fs::read_to_string(Path::new(root).join("cgroup.controllers")).unwrap_or_default();
        names.extend(list.split_whitespace().map(str::to_owned));
    }
    names
}

/// A whole block device, as `MAJOR:MINOR`.
fn disk() -> Option<(u64, u64)> {
    let mut disks: Vec<PathBuf> = fs::read_dir("/sys/block").ok()?.flatten().map(|entry| entry.path()).collect();
    disks.sort();
    let number = disks.iter().find_map(|disk| fs::read_to_string(disk.join("dev")).ok())?;
    let (major, minor) = number.trim().split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The resources for the controllers that there are, and what must be seen of them.
fn resources(has: impl Fn(&str) -> bool, missing: &mut Vec<&'static str>) -> (Value, BTreeMap<&'static str, String>) {
    let mut config = json!({"devices": [{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rwm"}]});
    let mut expected = BTreeMap::new();
    let mut want = |name: &'static str, value: &str| drop(expected.insert(name, value.to_owned()));
    if has("memory") {
        config["memory"] = json!({"limit": 64 * MIB, "reservation": 32 * MIB});
        want("memory.limit", &(64 * MIB).to_string());
        want("memory.reservation", &(32 * MIB).to_string());
    } else {
        missing.push("memory");
    }
    if has("cpu") {
        config["cpu"] = json!({"shares": 512, "quota": 50_000, "period": 100_000});
        want("cpu.weight", "59");
        want("cpu.bandwidth", "50000 of 100000");
    } else {
        missing.push("cpu");
    }
    if has("cpuset") {
        config["cpu"]["cpus"] = "0".into();
        config["cpu"]["mems"] = "0".into();
        want("cpuset.cpus", "0");
        want("cpuset.mems", "0");
    } else {
        missing.push("cpuset");
    }
    if has("pids") {
        config["pids"] = json!({"limit": 50});
        want("pids.limit", "50");
    } else {
        missing.push("pids");
    }
    match disk().filter(|_| has("io") || has("blkio")) {
        Some((major, minor)) => {
            let rate = |rate: u64| json!([{"major": major, "minor": minor, "rate": rate}]);
            config["blockIO"] = json!({"throttleReadBpsDevice": rate(MIB), "throttleWriteBpsDevice": rate(2 * MIB),
                "throttleReadIOPSDevice": rate(300), "throttleWriteIOPSDevice": rate(400)});
            want("io.max", &format!("{major}:{minor} rbps={MIB} wbps={} riops=300 wiops=400", 2 * MIB));
        }
        None => missing.push("block I/O"),
    }
    if has("hugetlb") && Path::new("/sys/kernel/mm/hugepages/hugepages-2048kB").exists() {
        config["hugepageLimits"] = json!([{"pageSize": "2MB", "limit": 4 * MIB}]);
        want("hugetlb.2MB", &(4 * MIB).to_string());
    } else {
        missing.push("hugetlb");
    }
    (config, expected)
}

/// What the kernel says, in words that don't depend on the version.
fn observed(pid: i32, names: &[&'static str]) -> BTreeMap<&'static str, String> {
    let cgroups = cgroups_of(pid);
    let read = |controllers: &[&str], files: &[&str]| {
        let dir = controllers
            .iter()
            .find_map(|name| cgroups.get(*name))
            .unwrap_or_else(|| panic!("{controllers:?} in {cgroups:?}"));
        let text = files.iter().find_map(|file| fs::read_to_string(dir.join(file)).ok());
        text.unwrap_or_else(|| panic!("none of {files:?} in {}", dir.display())).trim().to_owned()
    };
    let throttle = |file: &str| {
        read(&["blkio"], &[file]).split_whitespace().nth(1).map(str::to_owned).unwrap_or_else(|| "max".to_owned())
    };
    let of = |name: &'static str| match name {
        "memory.limit" => read(&["memory"], &["memory.limit_in_bytes", "memory.max"]),
        "memory.reservation" => read(&["memory"], &["memory.soft_limit_in_bytes", "memory.low"]),
        // 512 of 1024 shares are the weight 59 of 10000: config-linux.md leaves the conversion to the runtime, and all
        // have the same.
        "cpu.weight" => match read(&["cpu"], &["cpu.shares", "cpu.weight"]).as_str() {
            "512" | "59" => "59".to_owned(),
            other => other.to_owned(),
        },
        "cpu.bandwidth" if cgroups["cpu"].join("cpu.max").exists() => read(&["cpu"], &["cpu.max"]).replace(' ', " of "),
        "cpu.bandwidth" => {
            format!("{} of {}", read(&["cpu"], &["cpu.cfs_quota_us"]), read(&["cpu"], &["cpu.cfs_period_us"]))
        }
        "cpuset.cpus" => read(&["cpuset"], &["cpuset.cpus"]),
        "cpuset.mems" => read(&["cpuset"], &["cpuset.mems"]),
        "pids.limit" => read(&["pids"], &["pids.max"]),
        "io.max" if cgroups.contains_key("io") => read(&["io"], &["io.max"]),
        "io.max" => {
            let device = read(&["blkio"], &["blkio.throttle.read_bps_device"]);
            format!(
                "{} rbps={} wbps={} riops={} wiops={}",
                device.split_whitespace().next().unwrap_or_default(),
                throttle("blkio.throttle.read_bps_device"),
                throttle("blkio.throttle.write_bps_device"),
                throttle("blkio.throttle.read_iops_device"),
                throttle("blkio.throttle.write_iops_device"),
            )
        }
        "hugetlb.2MB" => read(&["hugetlb"], &["hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max"]),
        other => panic!("{other} can't be observed"),
    };
    names.iter().map(|name| (*name, of(name))).collect()
}

fn one_config_gives_the_same_limits_on_every_layout(sandbox: &Sandbox) {
    let here = controllers();
    let mut missing = Vec::new();
    let (resources, expected) = resources(|name| here.iter().any(|known| known == name), &mut missing);
    if expected.is_empty() {
        skip("no controller is here");
    }
    let bundle = sandbox.bundle().tool(["sleep", "1000"]).set("/linux/resources", resources).build();
    let container = sandbox.create(&bundle);
    // The pids limit is the last step of the set-up: the container is created when it holds.
    let names: Vec<&'static str> = expected.keys().copied().collect();
    assert_eq!(observed(container.pid(), &names), expected, "left out here: {missing:?}");
    container.start();
    container.stop();
}

/// The device rules of the same config, tried rather than read: a device that no rule and no default allows.
fn what_is_limited_is_really_out_of_reach(sandbox: &Sandbox) {
    let (major, minor) = disk().unwrap_or_else(|| skip("no block device is here"));
    let (resources, _) = resources(|_| false, &mut Vec::new());
    let bundle = sandbox
        .bundle()
        .busybox()
        .capabilities(&["CAP_MKNOD", "CAP_SYS_ADMIN"])
        .set("/linux/resources", resources)
        .args([
            "/bin/sh",
            "-c",
            &format!(
                "/bin/busybox mknod /dev/disk b {major} {minor} && echo made; cat /dev/disk >/dev/null && echo read; \
             /bin/busybox mknod /dev/allowed c 10 229 && (: < /dev/allowed) 2>&1; cat /dev/null && echo null"
            ),
        ])
        .build();
    let output = sandbox.run(&bundle);
    let text = &output.stdout;
    assert!(text.contains("made"), "the default list lets every node be made: {text}");
    assert!(!text.lines().any(|line| line == "read"), "the disk could be read: {text}");
    assert!(!text.contains("Operation not permitted"), "the rule allows 10:229: {text}");
    assert!(text.contains("null"), "{text}");
}
