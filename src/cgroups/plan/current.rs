//! What a container's cgroups hold already, as far as the order of new values depends on it. Plain data; read by
//! [`probe`](crate::cgroups::current::probe).

/// The values before a change. `None` is no limit, or no such file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Current {
    /// Bytes.
    pub memory_limit: Option<u64>,
    /// Version 1: memory and swap together; version 2: swap alone. Bytes.
    pub memory_swap: Option<u64>,
    /// Bytes in use.
    pub memory_usage: u64,
    /// Version 1: the OOM killer is off.
    pub oom_killer_disabled: bool,
    /// Microseconds.
    pub cpu_quota: Option<u64>,
    /// Microseconds.
    pub cpu_period: u64,
    /// Microseconds.
    pub cpu_burst: u64,
    /// Version 1, microseconds.
    pub realtime_period: u64,
    /// All tasks are SCHED_IDLE.
    pub cpu_idle: bool,
}

impl Current {
    /// A cgroup that has just been made: nothing is limited, and the periods are the kernel's (kernel/sched/core.c).
    pub const fn fresh() -> Current {
        Current {
            memory_limit: None,
            memory_swap: None,
            memory_usage: 0,
            oom_killer_disabled: false,
            cpu_quota: None,
            cpu_period: 100_000,
            cpu_burst: 0,
            realtime_period: 1_000_000,
            cpu_idle: false,
        }
    }
}

impl Default for Current {
    fn default() -> Current {
        Current::fresh()
    }
}
