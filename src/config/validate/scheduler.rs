//! `process.scheduler`: what sched_setattr(2) takes, policy by policy (sched(7)).

use oci_spec::runtime::{LinuxSchedulerPolicy, Process, Scheduler};

use super::{Facts, Findings};
use crate::field::Field;

/// The shortest runtime of SCHED_DEADLINE, in nanoseconds (kernel: DL_SCALE).
const SHORTEST_RUNTIME: u64 = 1024;

pub(super) fn check(scheduler: &Scheduler, at: &Field, found: &mut Findings) {
    use LinuxSchedulerPolicy::{SchedDeadline, SchedFifo, SchedIso, SchedRr};
    let policy = scheduler.policy();
    if *policy == SchedIso {
        found.refuse(
            at.key("policy"),
            "SCHED_ISO is reserved: Linux doesn't implement it",
            "use SCHED_BATCH or SCHED_OTHER",
        );
    }
    if let Some(nice) = scheduler.nice().filter(|nice| !(-20..=19).contains(nice)) {
        found.refuse(at.key("nice"), format!("must be from -20 to 19, not {nice}"), "-20 is the highest priority");
    }
    let priority = scheduler.priority().unwrap_or(0);
    if matches!(policy, SchedFifo | SchedRr) {
        if !(1..=99).contains(&priority) {
            let why = format!("must be from 1 to 99 for {policy}, not {priority}");
            found.refuse(at.key("priority"), why, "99 is the highest priority");
        }
    } else if priority != 0 {
        let why = format!("can only be given for SCHED_FIFO and SCHED_RR, not for {policy}");
        found.refuse(at.key("priority"), why, "remove it, or use nice for SCHED_OTHER and SCHED_BATCH");
    }
    let times = [("runtime", scheduler.runtime()), ("deadline", scheduler.deadline()), ("period", scheduler.period())];
    if *policy == SchedDeadline {
        deadline(times.map(|(_, time)| time.unwrap_or(0)), at, found);
    } else {
        for (name, _) in times.iter().filter(|(_, time)| time.unwrap_or(0) != 0) {
            let why = format!("can only be given for SCHED_DEADLINE, not for {policy}");
            found.refuse(at.key(name), why, "remove it, or use SCHED_DEADLINE");
        }
    }
}

/// The kernel wants 1024 <= runtime <= deadline <= period; a period of 0 stands for the deadline.
fn deadline([runtime, deadline, period]: [u64; 3], at: &Field, found: &mut Findings) {
    let hint = "the kernel wants 1024 <= runtime <= deadline <= period, in nanoseconds";
    if runtime < SHORTEST_RUNTIME {
        found.refuse(at.key("runtime"), format!("must be at least 1024 nanoseconds, not {runtime}"), hint);
    }
    if deadline < runtime || deadline == 0 {
        found.refuse(at.key("deadline"), format!("{deadline} must not be below the runtime {runtime}"), hint);
    }
    if period != 0 && period < deadline {
        found.refuse(at.key("period"), format!("{period} must not be below the deadline {deadline}"), hint);
    }
}

/// A deadline task must be free to run on every CPU: the kernel refuses it in a cpuset that narrows them.
pub(super) fn with_cpuset(facts: &Facts, process: &Process, found: &mut Findings) {
    let deadline = process.scheduler().as_ref().is_some_and(|s| *s.policy() == LinuxSchedulerPolicy::SchedDeadline);
    let resources = facts.linux.and_then(|linux| linux.resources().as_ref());
    let cpus = resources.and_then(|resources| resources.cpu().as_ref()).and_then(|cpu| cpu.cpus().as_deref());
    if deadline && cpus.is_some_and(|cpus| !cpus.is_empty()) {
        found.refuse(
            Field::at("/process/scheduler"),
            "process scheduler can't be used together with AllowedCPUs",
            "remove linux.resources.cpu.cpus, or use another policy than SCHED_DEADLINE",
        );
    }
}
