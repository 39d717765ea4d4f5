//! `linux.seccomp`: combinations that make no filter, or one that would stop its own container (config-linux.md,
//! "Seccomp").

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction, LinuxSyscall};

use super::{Facts, Findings};
use crate::field::Field;

/// The kernel takes 4096 instructions, of which a rule with a condition needs two or more, and profiles have a few hundred
/// rules. libseccomp's time grows with more than the square of them: 4000 can take ten seconds, 8000 a minute.
const MOST_RULES: usize = 2048;

pub(super) fn check(facts: &Facts, seccomp: &LinuxSeccomp, found: &mut Findings) {
    let at = Field::at("/linux/seccomp");
    errno_fits(seccomp.default_action(), seccomp.default_errno_ret(), at.key("defaultErrnoRet"), found);
    if seccomp.default_action() == LinuxSeccompAction::ScmpActNotify {
        let hint = "the container would wait for its agent before it runs: notify on single syscalls";
        found.refuse(at.key("defaultAction"), "SCMP_ACT_NOTIFY cannot be used as default action", hint);
    }
    if seccomp.listener_metadata().as_ref().is_some_and(|text| !text.is_empty()) && seccomp.listener_path().is_none() {
        let why = "must not be given without listenerPath";
        found.refuse(at.key("listenerMetadata"), why, "add listenerPath, or remove the metadata");
    }
    let rules_of =
        |entry: &LinuxSyscall| entry.names().len() * entry.args().as_ref().map_or(1, |args| args.len().max(1));
    let rules: usize = seccomp.syscalls().iter().flatten().map(rules_of).fold(0, usize::saturating_add);
    if rules > MOST_RULES {
        let why = format!("comes to {rules} rules (names, and for each its conditions); corten takes {MOST_RULES}");
        found.refuse(at.key("syscalls"), why, "leave out calls that the default action is right for");
    }
    let listens = seccomp.listener_path().is_some();
    for (i, syscall) in seccomp.syscalls().iter().flatten().enumerate() {
        let at = at.key("syscalls").index(i);
        errno_fits(syscall.action(), syscall.errno_ret(), at.key("errnoRet"), found);
        if syscall.names().is_empty() {
            found.refuse(at.key("names"), "must name at least one syscall", "remove the entry, or add a name");
        }
        if syscall.action() == LinuxSeccompAction::ScmpActNotify {
            // The one call by which the listener comes from the filtered child to corten: nobody could answer it yet.
            let taken = if facts.host.may_trace() { &["write"][..] } else { &["write", "sendmsg"] };
            for name in syscall.names().iter().filter(|name| taken.contains(&name.as_str())) {
                let why = format!("SCMP_ACT_NOTIFY cannot be used for the {name} syscall");
                found.refuse(
                    at.key("names"),
                    why,
                    "the agent gets its descriptor by this call: take it out of the list",
                );
            }
            if !listens {
                let why = "SCMP_ACT_NOTIFY needs linux.seccomp.listenerPath: nobody would answer";
                found.refuse(at.key("action"), why, "set listenerPath to the unix socket of a seccomp agent");
            }
        }
        for (j, argument) in syscall.args().iter().flatten().enumerate() {
            if argument.index() > 5 {
                let why = format!("must be from 0 to 5, not {}", argument.index());
                found.refuse(at.key("args").index(j).key("index"), why, "a syscall has six arguments");
            }
        }
    }
}

/// The largest errno that a filter can return (MAX_ERRNO in the kernel); a larger one would become this one.
const MAX_ERRNO: u32 = 4095;

fn errno_fits(action: LinuxSeccompAction, errno: Option<u32>, field: Field, found: &mut Findings) {
    use LinuxSeccompAction::{ScmpActErrno, ScmpActTrace};
    let largest = if action == ScmpActErrno { MAX_ERRNO } else { u16::MAX.into() };
    if let Some(number) = errno.filter(|number| *number > largest) {
        let why = format!("must be from 0 to {largest}, not {number}");
        found.refuse(field.clone(), why, "see errno(3) for the numbers");
    }
    if errno.is_some() && !matches!(action, ScmpActErrno | ScmpActTrace) {
        let why = format!("can't be used with {action}");
        found.refuse(field, why, "only SCMP_ACT_ERRNO and SCMP_ACT_TRACE return a number");
    }
}
