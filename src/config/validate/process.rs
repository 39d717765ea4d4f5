//! `process`: what is run, as whom, with which limits (config.md, "Process").

use std::collections::HashMap;

use oci_spec::runtime::{IOPriorityClass, LinuxIdMapping, LinuxNamespaceType, PosixRlimit, Process};

use super::{Facts, Findings, Origin, ids, labels, list, scheduler};
use crate::field::Field;

/// CPU numbers are below this on any kernel (CONFIG_NR_CPUS).
const HIGHEST_CPU: u32 = 8191;

pub(super) fn check(facts: &Facts, found: &mut Findings) {
    let Some(process) = facts.spec.process() else { return };
    let at = Field::at("/process");
    rules(process, &at, found);
    check_surroundings(facts, found);
}

/// The rules that the container and the host set.
pub(super) fn check_surroundings(facts: &Facts, found: &mut Findings) {
    let Some(process) = facts.spec.process() else { return };
    user(facts, process, found);
    scheduler::with_cpuset(facts, process, found);
}

/// The rules that need nothing but the process itself; `at` is where it stands in its file.
pub(super) fn rules(process: &Process, at: &Field, found: &mut Findings) {
    if process.args().as_ref().is_none_or(Vec::is_empty) {
        let hint = "name the program to run and its arguments, for example [\"/bin/sh\"]";
        found.refuse(at.key("args"), "args must not be empty", hint);
    }
    let cwd = process.cwd().to_string_lossy();
    if cwd.is_empty() {
        found.refuse(at.key("cwd"), "Cwd property must not be empty", "name the working directory, for example \"/\"");
    } else if !cwd.starts_with('/') {
        let hint = format!("write the path from the container's root, for example \"/{cwd}\"");
        found.refuse(at.key("cwd"), format!("Cwd must be an absolute path, not {cwd:?}"), hint);
    }
    environment(process.env(), &at.key("env"), found);
    labels::of_process(process, at, found);
    rlimits(process.rlimits().as_deref().unwrap_or_default(), &at.key("rlimits"), found);
    if let Some(adj) = process.oom_score_adj().filter(|adj| !(-1000..=1000).contains(adj)) {
        let why = format!("must be from -1000 to 1000, not {adj}");
        found.refuse(at.key("oomScoreAdj"), why, "see proc_pid_oom_score_adj(5)");
    }
    if let Some(umask) = process.user().umask().filter(|umask| *umask > 0o777) {
        let why = format!("must be at most 0777 (511), not 0{umask:o} ({umask})");
        found.refuse(at.key("user").key("umask"), why, "JSON has no octal numbers: 0022 is 18");
    }
    if let Some(size) = process.console_size().filter(|_| process.terminal() == Some(true)) {
        for (name, cells) in [("height", size.height()), ("width", size.width())] {
            if cells > u64::from(u16::MAX) {
                let why = format!("must be at most 65535, not {cells}");
                found.refuse(at.key("consoleSize").key(name), why, "a terminal counts its cells in 16 bits");
            }
        }
    }
    if let Some(scheduler) = process.scheduler() {
        scheduler::check(scheduler, &at.key("scheduler"), found);
    }
    if let Some(priority) = process.io_priority() {
        let at = at.key("ioPriority");
        // The model takes an absent class for this one.
        if priority.class() == IOPriorityClass::IoprioClassBe {
            found.require(at.key("class"));
        }
        if !(0..=7).contains(&priority.priority()) {
            let why = format!("must be from 0 to 7, not {}", priority.priority());
            found.refuse(at.key("priority"), why, "0 is the highest priority, see ioprio_set(2)");
        }
    }
    if let Some(affinity) = process.exec_cpu_affinity() {
        for (name, cpus) in [("initial", affinity.initial()), ("final", affinity.cpu_affinity_final())] {
            if let Some(Err(why)) = cpus.as_deref().map(|cpus| list::ranges(cpus, HIGHEST_CPU)) {
                let why = format!("must be a list of CPUs: {why}");
                found.refuse(at.key("execCPUAffinity").key(name), why, "write it like \"0-3,7\"");
            }
        }
    }
}

/// The entries of an environment: `NAME=value`.
pub(super) fn environment(env: &Option<Vec<String>>, at: &Field, found: &mut Findings) {
    for (i, entry) in env.iter().flatten().enumerate() {
        let why = match entry.find('=') {
            Some(0) => "invalid environment variable: name cannot be empty",
            Some(_) => continue,
            None => "invalid environment variable: missing '='",
        };
        found.refuse(at.index(i), why, "write it as NAME=value; the value may be empty");
    }
}

fn rlimits(rlimits: &[PosixRlimit], at: &Field, found: &mut Findings) {
    let mut first: HashMap<String, usize> = HashMap::new();
    for (i, rlimit) in rlimits.iter().enumerate() {
        let at = at.index(i);
        let name = rlimit.typ().to_string();
        if let Some(first) = first.get(&name) {
            let why = format!("{name} stands already in rlimits[{first}]");
            found.refuse(
                at.key("type"),
                why,
                "keep one entry: the spec wants an error where others let the last one win",
            );
        } else {
            first.insert(name, i);
        }
        if rlimit.soft() > rlimit.hard() {
            let why = format!("the soft limit {} is above the hard limit {}", rlimit.soft(), rlimit.hard());
            found.refuse(at.key("soft"), why, "lower the soft limit or raise the hard one, see setrlimit(2)");
        }
        for (name, value) in [("soft", rlimit.soft()), ("hard", rlimit.hard())] {
            if value == 0 {
                found.require(at.key(name));
            }
        }
    }
}

/// Ids that no mapping covers can't be taken on: setuid(2) fails with EINVAL.
fn user(facts: &Facts, process: &Process, found: &mut Findings) {
    let Some(linux) = facts.linux else { return };
    if facts.shares(LinuxNamespaceType::User) {
        return;
    }
    let user = process.user();
    let (uids, gids) = (linux.uid_mappings(), linux.gid_mappings());
    let mut check = |mappings: &Option<Vec<LinuxIdMapping>>, id: u32, field: Field, list: &str| {
        // A map that the kernel doesn't take is refused already; it would be searched for every id.
        let usable = |mappings: &&Vec<_>| (1..=ids::MOST_LINES).contains(&mappings.len());
        if mappings.as_ref().filter(usable).is_some_and(|mappings| !ids::is_mapped(mappings, id)) {
            let why = format!("{id} is not mapped in the container's user namespace");
            found.refuse(field, why, format!("add a range with the id to linux.{list}, or use one that is mapped"));
        }
    };
    check(uids, user.uid(), Field::at("/process/user/uid"), "uidMappings");
    check(gids, user.gid(), Field::at("/process/user/gid"), "gidMappings");
    let additional = user.additional_gids().as_deref().unwrap_or_default();
    for (i, gid) in additional.iter().enumerate() {
        check(gids, *gid, Field::item("/process/user/additionalGids", i, ""), "gidMappings");
    }
    // An unprivileged caller may map its own group only after setgroups(2) is denied in the namespace: dropping a group
    // could otherwise widen its rights (CVE-2014-8989).
    let own_group_only =
        matches!(gids.as_deref(), Some([only]) if only.size() == 1 && only.host_id() == facts.host.egid);
    let denied = facts.host.euid != 0 && facts.origin(LinuxNamespaceType::User) == Origin::New && own_group_only;
    if denied && !additional.is_empty() {
        let why = "setgroups is denied in a user namespace that maps only the caller's own group";
        let hint = "map more groups (newgidmap and /etc/subgid), or leave additionalGids away";
        found.refuse(Field::at("/process/user/additionalGids"), why, hint);
    }
}
