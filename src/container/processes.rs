//! The processes of a container, for `ps`.

use std::collections::BTreeSet;
use std::fs;

use super::id::ContainerId;
use super::{Record, Store};
use crate::cgroups::members;
use crate::error::Result;

/// The pids of a container's processes in the caller's pid namespace, in ascending order; empty once it has stopped.
///
/// A container without control groups, as an ordinary user's may be, has nobody who counts its processes: those are taken that descend from its init
/// and, as far as it has a pid namespace of its own, those that were brought into it. A process that has left its
/// parent in a pid namespace that the container shares is not found then.
pub fn processes(store: &Store, id: &ContainerId) -> Result<Vec<i32>> {
    of(&store.load(id)?.1)
}

/// Those that don't descend from the init, as one of `exec` doesn't.
pub fn strangers(record: &Record) -> Result<Vec<i32>> {
    let Some(init) = record.init else { return Ok(Vec::new()) };
    let family = relatives(init.pid, false, &probe_all());
    Ok(of(record)?.into_iter().filter(|pid| !family.contains(pid)).collect())
}

fn of(record: &Record) -> Result<Vec<i32>> {
    let members = members::pids(&record.group)?;
    match record.init {
        // Where the init lives and the cgroup has nobody, `create` had to go without it.
        Some(init) if members.is_empty() && init.alive()? => {
            let namespace = probe(init.pid).map(|init| init.namespace).unwrap_or_default();
            let private = record.private_pid_namespace && namespace != own_namespace();
            Ok(relatives(init.pid, private, &probe_all()))
        }
        _ => Ok(members),
    }
}

/// What counts of a process.
#[derive(Clone, Debug)]
struct Process {
    pid: i32,
    parent: i32,
    /// What /proc/PID/ns/pid leads to; empty where the caller may not look.
    namespace: String,
}

/// The init, all that descend from it, and with `private` all that share its pid namespace, with their descendants.
fn relatives(init: i32, private: bool, all: &[Process]) -> Vec<i32> {
    let namespace = all.iter().find(|process| process.pid == init).map_or("", |init| &init.namespace);
    let inside = |process: &&Process| private && !namespace.is_empty() && process.namespace == namespace;
    let mut found: BTreeSet<i32> = all.iter().filter(inside).map(|process| process.pid).chain([init]).collect();
    loop {
        let children = all.iter().filter(|process| found.contains(&process.parent)).map(|process| process.pid);
        let children: Vec<i32> = children.filter(|pid| !found.contains(pid)).collect();
        if children.is_empty() {
            return found.into_iter().collect();
        }
        found.extend(children);
    }
}

fn own_namespace() -> String {
    probe(std::process::id() as i32).map(|own| own.namespace).unwrap_or_default()
}

fn probe_all() -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| probe(entry.file_name().to_str()?.parse().ok()?)).collect()
}

/// `None` for a process that has ended meanwhile.
fn probe(pid: i32) -> Option<Process> {
    let stat = String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/stat")).ok()?).into_owned();
    // The name may hold anything, parentheses as well (proc_pid_stat(5)).
    let mut after_name = stat.rsplit_once(") ")?.1.split(' ');
    let parent = after_name.nth(1)?.parse().ok()?;
    let namespace = fs::read_link(format!("/proc/{pid}/ns/pid")).unwrap_or_default();
    Some(Process { pid, parent, namespace: namespace.to_string_lossy().into_owned() })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Fixture, PROGRAM};
    use super::*;

    #[test]
    fn relatives_are_descendants_and_those_brought_in() {
        let process = |pid, parent, namespace: &str| Process { pid, parent, namespace: namespace.to_owned() };
        let all = [
            process(1, 0, "host"),
            process(10, 1, "c"),
            process(11, 10, "c"),
            // In a pid namespace below the container's.
            process(12, 11, "inner"),
            // By `exec`, from outside.
            process(20, 5, "c"),
            process(21, 20, "inner"),
            process(30, 1, "host"),
        ];
        assert_eq!(relatives(10, true, &all), [10, 11, 12, 20, 21]);
        assert_eq!(relatives(10, false, &all), [10, 11, 12]);
        assert_eq!(relatives(99, true, &all), [99], "an init that ended while we looked");
    }

    #[test]
    fn a_container_without_control_groups_has_its_init_and_none_of_the_hosts() {
        let mut fixture = Fixture::created(PROGRAM, |_| ());
        let store = fixture.store();
        let pid = store.load(&fixture.id).unwrap().1.init.unwrap().pid;
        let found = processes(&store, &fixture.id).unwrap();
        assert!(found.contains(&pid) && !found.contains(&(std::process::id() as i32)), "{pid}: {found:?}");
        super::super::kill::kill(&store, &fixture.id, "KILL", false).unwrap();
        fixture.init.wait(true).unwrap();
        assert_eq!(processes(&store, &fixture.id).unwrap(), [] as [i32; 0]);
    }
}
