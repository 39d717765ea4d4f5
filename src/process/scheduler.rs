//! Scheduler, I/O priority, memory policy, personality and resource limits: words of config.json to the kernel's
//! numbers. Pure.

use oci_spec::runtime::{
    IOPriorityClass, LinuxIOPriority, LinuxMemoryPolicy, LinuxPersonality, LinuxPersonalityDomain, LinuxSchedulerFlag,
    LinuxSchedulerPolicy, MemoryPolicyFlagType, MemoryPolicyModeType, PosixRlimitType, Scheduler,
};

use crate::process::Op;
use crate::sys::property::SchedAttr;

/// sched_setattr(2)'s arguments.
pub fn plan_scheduler(scheduler: &Scheduler) -> Op {
    let (policy, number) = match scheduler.policy() {
        LinuxSchedulerPolicy::SchedOther => ("SCHED_OTHER", 0),
        LinuxSchedulerPolicy::SchedFifo => ("SCHED_FIFO", 1),
        LinuxSchedulerPolicy::SchedRr => ("SCHED_RR", 2),
        LinuxSchedulerPolicy::SchedBatch => ("SCHED_BATCH", 3),
        LinuxSchedulerPolicy::SchedIso => ("SCHED_ISO", 4),
        LinuxSchedulerPolicy::SchedIdle => ("SCHED_IDLE", 5),
        LinuxSchedulerPolicy::SchedDeadline => ("SCHED_DEADLINE", 6),
    };
    // linux/sched.h
    let bit = |flag: &LinuxSchedulerFlag| match flag {
        LinuxSchedulerFlag::SchedResetOnFork => 0x01,
        LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
        LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
        LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
        LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
        LinuxSchedulerFlag::SchedFlagUtilClampMin => 0x20,
        LinuxSchedulerFlag::SchedFlagUtilClampMax => 0x40,
    };
    let attr = SchedAttr {
        policy: number,
        flags: scheduler.flags().iter().flatten().map(bit).fold(0, |bits, bit| bits | bit),
        nice: scheduler.nice().unwrap_or(0),
        priority: scheduler.priority().unwrap_or(0).max(0) as u32,
        runtime: scheduler.runtime().unwrap_or(0),
        deadline: scheduler.deadline().unwrap_or(0),
        period: scheduler.period().unwrap_or(0),
        ..SchedAttr::default()
    };
    Op::Scheduler { attr, policy }
}

/// ioprio_set(2): class and data in one number.
pub fn plan_io_priority(priority: &LinuxIOPriority) -> Op {
    let (class, number) = match priority.class() {
        IOPriorityClass::IoprioClassRt => ("IOPRIO_CLASS_RT", 1),
        IOPriorityClass::IoprioClassBe => ("IOPRIO_CLASS_BE", 2),
        IOPriorityClass::IoprioClassIdle => ("IOPRIO_CLASS_IDLE", 3),
    };
    Op::IoPriority { value: number << 13 | (priority.priority() as i32 & 0x1fff), class }
}

/// personality(2): the execution domains that the spec knows.
pub fn plan_personality(personality: &LinuxPersonality) -> Op {
    let (domain, persona) = match personality.domain() {
        LinuxPersonalityDomain::PerLinux => ("LINUX", 0),
        LinuxPersonalityDomain::PerLinux32 => ("LINUX32", 8),
    };
    Op::Personality { persona, domain }
}

/// Modes of set_mempolicy(2) by the spec's names; `features` prints the first column.
pub const MEMORY_MODES: [(&str, i32); 7] = [
    ("MPOL_DEFAULT", 0),
    ("MPOL_PREFERRED", 1),
    ("MPOL_BIND", 2),
    ("MPOL_INTERLEAVE", 3),
    ("MPOL_LOCAL", 4),
    ("MPOL_PREFERRED_MANY", 5),
    ("MPOL_WEIGHTED_INTERLEAVE", 6),
];

/// Mode flags of set_mempolicy(2) by the spec's names.
pub const MEMORY_FLAGS: [(&str, i32); 3] =
    [("MPOL_F_STATIC_NODES", 1 << 15), ("MPOL_F_RELATIVE_NODES", 1 << 14), ("MPOL_F_NUMA_BALANCING", 1 << 13)];

/// The memory policy; a node list that can't be read gives no nodes, and validation has refused it before.
pub fn plan_memory_policy(policy: &LinuxMemoryPolicy) -> Op {
    let (name, number) = MEMORY_MODES[match policy.mode() {
        MemoryPolicyModeType::MpolDefault => 0,
        MemoryPolicyModeType::MpolPreferred => 1,
        MemoryPolicyModeType::MpolBind => 2,
        MemoryPolicyModeType::MpolInterleave => 3,
        MemoryPolicyModeType::MpolLocal => 4,
        MemoryPolicyModeType::MpolPreferredMany => 5,
        MemoryPolicyModeType::MpolWeightedInterleave => 6,
    }];
    let flag = |flag: &MemoryPolicyFlagType| {
        MEMORY_FLAGS[match flag {
            MemoryPolicyFlagType::MpolFStaticNodes => 0,
            MemoryPolicyFlagType::MpolFRelativeNodes => 1,
            MemoryPolicyFlagType::MpolFNumaBalancing => 2,
        }]
        .1
    };
    let mode = policy.flags().iter().flatten().map(flag).fold(number, |mode, flag| mode | flag);
    let list = policy.nodes().as_deref().unwrap_or_default();
    Op::MemoryPolicy { mode, nodes: node_mask(list).unwrap_or_default(), words: format!("{name} {list}") }
}

/// The CPUs of a list such as `0-3,7`.
pub fn plan_affinity(list: &str) -> Op {
    Op::Affinity { cpus: bit_mask(list, CPUS).unwrap_or_default(), words: list.to_owned() }
}

/// The most CPUs that a kernel is built for (CONFIG_NR_CPUS).
const CPUS: u32 = 8192;

/// The highest node that a list may name: the kernel's own limit is 1 << CONFIG_NODES_SHIFT, 10 at most.
const NODES: u32 = 1024;

/// The bit mask of a list of nodes; `None` when it is no list. An empty list is an empty mask.
pub fn node_mask(list: &str) -> Option<Vec<u64>> {
    bit_mask(list, NODES)
}

/// The bit mask of a list such as `0-3,7` of numbers below `end`.
fn bit_mask(list: &str, end: u32) -> Option<Vec<u64>> {
    let mut mask = Vec::new();
    for part in list.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if first > last || last >= end {
            return None;
        }
        for number in first..=last {
            let word = number as usize / 64;
            if mask.len() <= word {
                mask.resize(word + 1, 0u64);
            }
            mask[word] |= 1 << (number % 64);
        }
    }
    Some(mask)
}

/// The kernel's number and the name of a resource limit (getrlimit(2)).
pub fn rlimit(typ: PosixRlimitType) -> (u32, &'static str) {
    let (number, name) = match typ {
        PosixRlimitType::RlimitCpu => (libc::RLIMIT_CPU, "RLIMIT_CPU"),
        PosixRlimitType::RlimitFsize => (libc::RLIMIT_FSIZE, "RLIMIT_FSIZE"),
        PosixRlimitType::RlimitData => (libc::RLIMIT_DATA, "RLIMIT_DATA"),
        PosixRlimitType::RlimitStack => (libc::RLIMIT_STACK, "RLIMIT_STACK"),
        PosixRlimitType::RlimitCore => (libc::RLIMIT_CORE, "RLIMIT_CORE"),
        PosixRlimitType::RlimitRss => (libc::RLIMIT_RSS, "RLIMIT_RSS"),
        PosixRlimitType::RlimitNproc => (libc::RLIMIT_NPROC, "RLIMIT_NPROC"),
        PosixRlimitType::RlimitNofile => (libc::RLIMIT_NOFILE, "RLIMIT_NOFILE"),
        PosixRlimitType::RlimitMemlock => (libc::RLIMIT_MEMLOCK, "RLIMIT_MEMLOCK"),
        PosixRlimitType::RlimitAs => (libc::RLIMIT_AS, "RLIMIT_AS"),
        PosixRlimitType::RlimitLocks => (libc::RLIMIT_LOCKS, "RLIMIT_LOCKS"),
        PosixRlimitType::RlimitSigpending => (libc::RLIMIT_SIGPENDING, "RLIMIT_SIGPENDING"),
        PosixRlimitType::RlimitMsgqueue => (libc::RLIMIT_MSGQUEUE, "RLIMIT_MSGQUEUE"),
        PosixRlimitType::RlimitNice => (libc::RLIMIT_NICE, "RLIMIT_NICE"),
        PosixRlimitType::RlimitRtprio => (libc::RLIMIT_RTPRIO, "RLIMIT_RTPRIO"),
        PosixRlimitType::RlimitRttime => (libc::RLIMIT_RTTIME, "RLIMIT_RTTIME"),
    };
    (number, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_list_is_read_in_every_form_and_nothing_else_is() {
        assert_eq!(node_mask("0-3,7"), Some(vec![0b1000_1111]));
        assert_eq!(node_mask("64"), Some(vec![0, 1]));
        assert_eq!(node_mask(""), Some(vec![]));
        for bad in ["x", "3-1", "1024", "-", "0-", "1,,x"] {
            assert_eq!(node_mask(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_io_priority_holds_its_class_in_the_upper_bits() {
        let idle: LinuxIOPriority =
            serde_json::from_value(serde_json::json!({"class": "IOPRIO_CLASS_IDLE", "priority": 7})).unwrap();
        assert_eq!(plan_io_priority(&idle), Op::IoPriority { value: 3 << 13 | 7, class: "IOPRIO_CLASS_IDLE" });
    }
}
