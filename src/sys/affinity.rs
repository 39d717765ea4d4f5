//! The CPUs that a process may run on.

use crate::fault::{Call, Effect};
use crate::sys::check_int;

/// The caller runs on these CPUs only, as far as its cpuset has them; a bit a CPU.
pub fn set(cpus: &[u64]) -> Effect {
    // SAFETY: the size is that of the live slice.
    check_int(unsafe { libc::sched_setaffinity(0, size_of_val(cpus), cpus.as_ptr().cast()) }, Call::Sched).map(drop)
}

/// Asks for every CPU: the kernel cuts the set down to those of the process's cpuset (sched_setaffinity(2)). Without
/// it a mask that the caller was given, by taskset(1) for example, would hold in the container too, and since Linux 6.2
/// even when its cpuset has none of those CPUs.
pub fn reset() -> Effect {
    // 8192 CPUs are the most that a kernel is built for.
    let all = [u64::MAX; 128];
    // SAFETY: the size is that of the live array.
    check_int(unsafe { libc::sched_setaffinity(0, size_of_val(&all), all.as_ptr().cast()) }, Call::Sched).map(drop)
}
