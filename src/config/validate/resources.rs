//! `linux.resources`: what no version of cgroups could take. Whether this host's controllers take the rest is seen when
//! they are planned.

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxDeviceCgroup, LinuxDeviceType, LinuxMemory, LinuxResources};

use super::Findings;
use crate::field::Field;

/// Each rule is held against all before it, and version 1 has them in a table of majors and minors: this bounds the time.
const MOST_RULES: usize = 1024;

pub(super) fn check(resources: &LinuxResources, at: &Field, found: &mut Findings) {
    let rules = resources.devices().as_deref().unwrap_or_default();
    if rules.len() > MOST_RULES {
        let why = format!("has {} rules; corten takes {MOST_RULES}", rules.len());
        found.refuse(at.key("devices"), why, "a rule without minor is about every device of its major");
    }
    for (i, rule) in rules.iter().enumerate() {
        device_rule(rule, i, &at.key("devices").index(i), found);
    }
    if let Some(memory) = resources.memory() {
        check_memory(memory, &at.key("memory"), found);
    }
    if let Some(cpu) = resources.cpu() {
        check_cpu(cpu, &at.key("cpu"), found);
    }
    if let Some(block_io) = resources.block_io() {
        check_block_io(block_io, &at.key("blockIO"), found);
    }
    for (i, limit) in resources.hugepage_limits().iter().flatten().enumerate() {
        let at = at.key("hugepageLimits").index(i);
        // The size becomes part of a file's name.
        if !is_page_size(limit.page_size()) {
            let why = format!("must be a size such as 2MB, not {:?}", limit.page_size());
            found.refuse(
                at.key("pageSize"),
                why,
                "a number and KB, MB or GB, as in the names below /sys/kernel/mm/hugepages",
            );
        }
        match limit.limit() {
            0 => found.require(at.key("limit")),
            limit if limit < 0 => {
                found.refuse(at.key("limit"), format!("must not be negative, but is {limit}"), "it counts bytes")
            }
            _ => {}
        }
    }
    for (i, priority) in resources.network().iter().flat_map(|network| network.priorities()).flatten().enumerate() {
        if priority.name().is_empty() || priority.name().contains(char::is_whitespace) {
            let why = format!("{:?} is no name of a network interface", priority.name());
            found.refuse(at.key("network").key("priorities").index(i).key("name"), why, "`ip link` shows the names");
        }
    }
    for key in resources.unified().iter().flat_map(|unified| unified.keys()) {
        if key.is_empty() || key.contains('/') || matches!(key.as_str(), "." | "..") {
            let why = format!("{key:?} is not the name of a file in a cgroup");
            found.refuse(at.key("unified").key(key), why, "write it like memory.high, without a path");
        }
    }
}

fn device_rule(rule: &LinuxDeviceCgroup, index: usize, at: &Field, found: &mut Findings) {
    let access = rule.access().as_deref().unwrap_or_default();
    let hint = "any of r (read), w (write) and m (mknod)";
    if access.is_empty() {
        found.refuse(at.key("access"), format!("device access at {index} field cannot be empty"), hint);
    } else if !access.bytes().all(|b| b"rwm".contains(&b)) {
        found.refuse(at.key("access"), format!("must be made of r, w and m, not {access:?}"), hint);
    }
    if let Some(typ) = rule.typ().filter(|typ| matches!(typ, LinuxDeviceType::U | LinuxDeviceType::P)) {
        let why = format!("must be a, c or b, not {:?}", typ.as_str());
        found.refuse(at.key("type"), why, "an unbuffered device is a character device; a pipe needs no rule");
    }
    for (name, number) in [("major", rule.major()), ("minor", rule.minor())] {
        // -1 is a common way to write "any".
        if let Some(number) = number.filter(|number| !(-1..=i64::from(u32::MAX)).contains(number)) {
            found.refuse(at.key(name), format!("{number} is no device number"), "leave it away for any number");
        }
    }
}

fn check_memory(memory: &LinuxMemory, at: &Field, found: &mut Findings) {
    let (limit, swap) = (memory.limit().unwrap_or(0), memory.swap().unwrap_or(0));
    if limit > 0 && swap > 0 && swap < limit {
        let why = format!("memory+swap limit {swap} must not be below the memory limit {limit}");
        found.refuse(
            at.key("swap"),
            why,
            "swap counts memory and swap together; set it to the memory limit for no swap",
        );
    }
    if let Some(swappiness) = memory.swappiness().filter(|swappiness| *swappiness > 200) {
        let why = format!("must be from 0 to 200, not {swappiness}");
        found.refuse(at.key("swappiness"), why, "kernels before 5.8 take at most 100");
    }
}

fn check_cpu(cpu: &LinuxCpu, at: &Field, found: &mut Findings) {
    let period = cpu.period().unwrap_or(0);
    if period != 0 && !(1_000..=1_000_000).contains(&period) {
        let why = format!("must be from 1000 to 1000000 microseconds, not {period}");
        found.refuse(at.key("period"), why, "100000 is the usual period");
    }
    let quota = cpu.quota().unwrap_or(0);
    if (1..1_000).contains(&quota) {
        let why = format!("must be at least 1000 microseconds, not {quota}");
        found.refuse(at.key("quota"), why, "lengthen quota and period together; -1 means no limit");
    }
    if let Some(burst) = cpu.burst().filter(|burst| quota > 0 && *burst > quota as u64) {
        let why = format!("must not be above the quota {quota}, but is {burst}");
        found.refuse(at.key("burst"), why, "lower the burst or raise the quota");
    }
    if let Some(idle) = cpu.idle().filter(|idle| !matches!(idle, 0 | 1)) {
        found.refuse(at.key("idle"), format!("must be 0 or 1, not {idle}"), "1 makes all tasks SCHED_IDLE");
    }
    for (name, list) in [("cpus", cpu.cpus()), ("mems", cpu.mems())] {
        if let Some(list) = list.as_deref().filter(|list| !list.bytes().all(|b| b"0123456789-,:/ ".contains(&b))) {
            let why = format!("must be a list of numbers and ranges, not {list:?}");
            found.refuse(at.key(name), why, "write it like \"0-3,7\", see cpuset(7)");
        }
    }
}

fn check_block_io(block_io: &LinuxBlockIo, at: &Field, found: &mut Findings) {
    // 0 is how engines write "not set".
    let weight = |value: Option<u16>, field: Field, found: &mut Findings| {
        if let Some(value) = value.filter(|value| *value != 0 && !(10..=1000).contains(value)) {
            found.refuse(field, format!("must be from 10 to 1000, not {value}"), "500 is the usual weight");
        }
    };
    weight(block_io.weight(), at.key("weight"), found);
    weight(block_io.leaf_weight(), at.key("leafWeight"), found);
    for (i, device) in block_io.weight_device().iter().flatten().enumerate() {
        let at = at.key("weightDevice").index(i);
        weight(device.weight(), at.key("weight"), found);
        weight(device.leaf_weight(), at.key("leafWeight"), found);
        numbers(device.major(), device.minor(), &at, found);
    }
    let throttles = [
        ("throttleReadBpsDevice", block_io.throttle_read_bps_device()),
        ("throttleWriteBpsDevice", block_io.throttle_write_bps_device()),
        ("throttleReadIOPSDevice", block_io.throttle_read_iops_device()),
        ("throttleWriteIOPSDevice", block_io.throttle_write_iops_device()),
    ];
    for (name, devices) in throttles {
        for (i, device) in devices.iter().flatten().enumerate() {
            let at = at.key(name).index(i);
            numbers(device.major(), device.minor(), &at, found);
            // 0 is no limit; a forgotten one must not become none.
            if device.rate() == 0 {
                found.require(at.key("rate"));
            }
        }
    }
}

/// The model takes an absent number for 0.
fn numbers(major: i64, minor: i64, at: &Field, found: &mut Findings) {
    for (name, number) in [("major", major), ("minor", minor)] {
        if number == 0 {
            found.require(at.key(name));
        }
    }
}

/// `64KB`, `2MB`, `1GB`: a number without leading zeros and a unit.
fn is_page_size(size: &str) -> bool {
    let number = ["KB", "MB", "GB"].iter().find_map(|unit| size.strip_suffix(unit));
    number.is_some_and(|number| {
        !number.is_empty() && !number.starts_with('0') && number.bytes().all(|b| b.is_ascii_digit())
    })
}
