//! The report: everything a process can see of its own confinement, as one JSON value.
//!
//! Each part is read on its own, and a part that can't be read (a container without /proc, a masked file) is `null`
//! rather than an error: what can't be seen is an answer too.

use std::fs;
use std::os::unix::fs::MetadataExt;

use nix::sys::resource::{Resource, getrlimit};
use nix::unistd;
use serde_json::{Map, Value, json};

use super::files::kind;
use super::terminal::standard_terminals;
use crate::sys::inspect;

/// Reads the whole report. Keys follow config.json where it has a word for the thing.
pub(super) fn collect() -> Value {
    let names = inspect::names();
    let scheduler = inspect::scheduler().map(|s| {
        json!({"policy": policy_name(s.policy), "nice": s.nice, "priority": s.priority, "flags": s.flags,
               "runtime": s.runtime, "deadline": s.deadline, "period": s.period})
    });
    json!({
        "pid": unistd::getpid().as_raw(),
        "ppid": unistd::getppid().as_raw(),
        "session": unistd::getsid(None).map(|p| p.as_raw()).ok(),
        "user": user(),
        "hostname": names.hostname,
        "domainname": names.domainname,
        "machine": names.machine,
        "kernel": names.release,
        "namespaces": namespaces(),
        "uidMappings": id_map("uid_map"),
        "gidMappings": id_map("gid_map"),
        "setgroups": line("/proc/self/setgroups"),
        "mounts": mounts(),
        "capabilities": capabilities(),
        "noNewPrivileges": nix::sys::prctl::get_no_new_privs().ok(),
        "seccomp": inspect::seccomp_mode(),
        "rlimits": rlimits(),
        "cwd": std::env::current_dir().ok().map(|p| p.to_string_lossy().into_owned()),
        "args": std::env::args_os().map(|a| a.to_string_lossy().into_owned()).collect::<Vec<_>>(),
        "env": environment(),
        "fds": descriptors(),
        "oomScoreAdj": line("/proc/self/oom_score_adj").and_then(|l| l.parse::<i64>().ok()),
        "personality": inspect::personality(),
        "scheduler": scheduler,
        "ioPriority": inspect::io_priority().map(|(class, level)| json!({"class": io_class(class), "priority": level})),
        "memoryPolicy": inspect::memory_policy().map(|(mode, nodes)| json!({"mode": memory_mode(mode), "nodes": nodes})),
        "keyring": inspect::session_keyring().and_then(|d| d.rsplit(';').next().map(str::to_owned)),
        "terminals": standard_terminals(),
        "windowSize": inspect::window_size(std::io::stdin()),
        "dumpable": nix::sys::prctl::get_dumpable().ok(),
        "boottime": inspect::clock_seconds(libc::CLOCK_BOOTTIME),
        "monotonic": inspect::clock_seconds(libc::CLOCK_MONOTONIC),
        "signals": signals(),
        "devices": devices(),
        "interfaces": interfaces(),
        "cgroups": lines("/proc/self/cgroup"),
        "procs": processes(),
    })
}

fn line(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim_end().to_owned())
}

fn lines(path: &str) -> Option<Vec<String>> {
    fs::read_to_string(path).ok().map(|text| text.lines().map(str::to_owned).collect())
}

fn user() -> Value {
    // umask can only be read by setting it; this process has one thread and puts it back at once.
    let umask = nix::sys::stat::umask(nix::sys::stat::Mode::empty());
    nix::sys::stat::umask(umask);
    let uid = unistd::getresuid().ok().map(|r| [r.real.as_raw(), r.effective.as_raw(), r.saved.as_raw()]);
    let gid = unistd::getresgid().ok().map(|r| [r.real.as_raw(), r.effective.as_raw(), r.saved.as_raw()]);
    let groups = unistd::getgroups().ok().map(|all| all.iter().map(|g| g.as_raw()).collect::<Vec<_>>());
    json!({"uid": unistd::geteuid().as_raw(), "gid": unistd::getegid().as_raw(), "uids": uid, "gids": gid,
           "additionalGids": groups, "umask": umask.bits()})
}

fn namespaces() -> Value {
    const KINDS: &[&str] = &["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"];
    let read = |kind: &str| fs::read_link(format!("/proc/self/ns/{kind}")).ok();
    let found: Map<String, Value> = KINDS
        .iter()
        .filter_map(|&kind| Some((kind.to_owned(), read(kind)?.to_string_lossy().into_owned().into())))
        .collect();
    if found.is_empty() { Value::Null } else { found.into() }
}

fn id_map(file: &str) -> Option<Vec<Vec<u64>>> {
    let rows = lines(&format!("/proc/self/{file}"))?;
    Some(rows.iter().map(|row| row.split_whitespace().filter_map(|n| n.parse().ok()).collect()).collect())
}

/// Octal escapes of mountinfo (`\040`) as characters.
fn unescape(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.get(..3).and_then(|code| u8::from_str_radix(code, 8).ok()) {
            Some(byte) => {
                out.push(byte as char);
                out.push_str(&part[3..]);
            }
            None => {
                out.push('\\');
                out.push_str(part);
            }
        }
    }
    out
}

/// One line of mountinfo (proc_pid_mountinfo(5)).
fn mount(line: &str) -> Option<Value> {
    let (left, right) = line.split_once(" - ")?;
    let left: Vec<&str> = left.split(' ').collect();
    let right: Vec<&str> = right.split(' ').collect();
    let options = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
    Some(json!({
        "root": unescape(left.get(3)?),
        "destination": unescape(left.get(4)?),
        "options": options(left.get(5)?),
        "propagation": left.get(6..).unwrap_or_default(),
        "type": right.first()?,
        "source": unescape(right.get(1)?),
        "super": options(right.get(2)?),
    }))
}

fn mounts() -> Option<Vec<Value>> {
    Some(lines("/proc/self/mountinfo")?.iter().filter_map(|line| mount(line)).collect())
}

fn capability_names(bits: u64) -> Vec<String> {
    let mut all: Vec<_> = caps::all().into_iter().filter(|cap| bits & cap.bitmask() != 0).collect();
    all.sort_by_key(|cap| cap.index());
    all.iter().map(ToString::to_string).collect()
}

fn capabilities() -> Value {
    let sets = inspect::capability_sets();
    json!({
        "bounding": capability_names(sets.bounding),
        "effective": capability_names(sets.effective),
        "inheritable": capability_names(sets.inheritable),
        "permitted": capability_names(sets.permitted),
        "ambient": capability_names(sets.ambient),
    })
}

fn rlimits() -> Value {
    const KINDS: &[(&str, Resource)] = &[
        ("RLIMIT_AS", Resource::RLIMIT_AS),
        ("RLIMIT_CORE", Resource::RLIMIT_CORE),
        ("RLIMIT_CPU", Resource::RLIMIT_CPU),
        ("RLIMIT_DATA", Resource::RLIMIT_DATA),
        ("RLIMIT_FSIZE", Resource::RLIMIT_FSIZE),
        ("RLIMIT_LOCKS", Resource::RLIMIT_LOCKS),
        ("RLIMIT_MEMLOCK", Resource::RLIMIT_MEMLOCK),
        ("RLIMIT_MSGQUEUE", Resource::RLIMIT_MSGQUEUE),
        ("RLIMIT_NICE", Resource::RLIMIT_NICE),
        ("RLIMIT_NOFILE", Resource::RLIMIT_NOFILE),
        ("RLIMIT_NPROC", Resource::RLIMIT_NPROC),
        ("RLIMIT_RSS", Resource::RLIMIT_RSS),
        ("RLIMIT_RTPRIO", Resource::RLIMIT_RTPRIO),
        ("RLIMIT_RTTIME", Resource::RLIMIT_RTTIME),
        ("RLIMIT_SIGPENDING", Resource::RLIMIT_SIGPENDING),
        ("RLIMIT_STACK", Resource::RLIMIT_STACK),
    ];
    let read = |&(name, kind): &(&str, Resource)| {
        getrlimit(kind).ok().map(|(soft, hard)| (name.to_owned(), json!({"soft": soft, "hard": hard})))
    };
    KINDS.iter().filter_map(read).collect::<Map<_, _>>().into()
}

fn environment() -> Vec<String> {
    std::env::vars_os().map(|(k, v)| format!("{}={}", k.to_string_lossy(), v.to_string_lossy())).collect()
}

/// Open descriptors with what stands behind them; the one that reads the directory is left out.
fn descriptors() -> Option<Map<String, Value>> {
    let mut open = Map::new();
    let own = format!("/proc/{}/fd", unistd::getpid());
    for item in fs::read_dir("/proc/self/fd").ok()?.flatten() {
        if let Ok(target) = fs::read_link(item.path()) {
            let target = target.to_string_lossy().into_owned();
            if target != own {
                open.insert(item.file_name().to_string_lossy().into_owned(), target.into());
            }
        }
    }
    Some(open)
}

fn policy_name(policy: u32) -> String {
    const NAMES: &[&str] =
        &["SCHED_OTHER", "SCHED_FIFO", "SCHED_RR", "SCHED_BATCH", "", "SCHED_IDLE", "SCHED_DEADLINE"];
    NAMES.get(policy as usize).map_or_else(|| policy.to_string(), |name| (*name).to_owned())
}

fn io_class(class: u32) -> String {
    const NAMES: &[&str] = &["IOPRIO_CLASS_NONE", "IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE"];
    NAMES.get(class as usize).map_or_else(|| class.to_string(), |name| (*name).to_owned())
}

/// Mode and flags as the spec names them, joined by `|`.
fn memory_mode(mode: i32) -> String {
    const NAMES: &[&str] = &[
        "MPOL_DEFAULT",
        "MPOL_PREFERRED",
        "MPOL_BIND",
        "MPOL_INTERLEAVE",
        "MPOL_LOCAL",
        "MPOL_PREFERRED_MANY",
        "MPOL_WEIGHTED_INTERLEAVE",
    ];
    const FLAGS: &[(i32, &str)] =
        &[(1 << 15, "MPOL_F_STATIC_NODES"), (1 << 14, "MPOL_F_RELATIVE_NODES"), (1 << 13, "MPOL_F_NUMA_BALANCING")];
    let bare = mode & 0xff;
    let mut words = vec![NAMES.get(bare as usize).map_or_else(|| bare.to_string(), |name| (*name).to_owned())];
    words.extend(FLAGS.iter().filter(|(bit, _)| mode & bit != 0).map(|(_, name)| (*name).to_owned()));
    words.join("|")
}

/// Blocked and ignored signals as numbers. Rust's own start-up ignores SIGPIPE, so that one says nothing here.
fn signals() -> Option<Value> {
    let status = lines("/proc/self/status")?;
    let set = |key: &str| {
        let hex = status.iter().find_map(|line| line.strip_prefix(key))?;
        let bits = u64::from_str_radix(hex.trim(), 16).ok()?;
        Some((1..=64u32).filter(|n| bits >> (n - 1) & 1 == 1).collect::<Vec<_>>())
    };
    Some(json!({"blocked": set("SigBlk:"), "ignored": set("SigIgn:")}))
}

/// Everything directly in /dev.
fn devices() -> Option<Map<String, Value>> {
    let mut found = Map::new();
    for item in fs::read_dir("/dev").ok()?.flatten() {
        let Ok(meta) = fs::symlink_metadata(item.path()) else { continue };
        let target = fs::read_link(item.path()).ok().map(|t| t.to_string_lossy().into_owned());
        let device = json!({"kind": kind(meta.file_type()), "major": libc::major(meta.rdev()), "minor": libc::minor(meta.rdev()),
            "mode": meta.mode() & 0o7777, "uid": meta.uid(), "gid": meta.gid(), "target": target});
        found.insert(item.file_name().to_string_lossy().into_owned(), device);
    }
    Some(found)
}

/// Network interfaces and whether they are up.
fn interfaces() -> Option<Map<String, Value>> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    let table = lines("/proc/self/net/dev")?;
    let names = table.iter().skip(2).filter_map(|row| row.split(':').next()).map(str::trim);
    Some(names.map(|name| (name.to_owned(), json!(inspect::interface_is_up(&socket, name)))).collect())
}

/// Pids of the processes that can be seen.
fn processes() -> Option<Vec<i32>> {
    let pid = |item: fs::DirEntry| item.file_name().to_str()?.parse().ok();
    let mut pids: Vec<i32> = fs::read_dir("/proc").ok()?.flatten().filter_map(pid).collect();
    pids.sort_unstable();
    Some(pids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_sees_this_very_process() {
        let report = collect();
        assert_eq!(report["pid"], std::process::id());
        assert_eq!(report["cwd"], std::env::current_dir().unwrap().to_str().unwrap());
        assert!(report["mounts"].as_array().unwrap().iter().any(|m| m["destination"] == "/"));
        assert_eq!(report["devices"]["null"]["minor"], 3);
        assert_eq!(report["scheduler"]["policy"], "SCHED_OTHER");
    }

    #[test]
    fn a_line_of_mountinfo_is_taken_apart() {
        let mount =
            mount(r"36 35 98:0 /a\040b /mnt rw,noatime shared:1 master:2 - ext3 /dev/root rw,errors=continue").unwrap();
        assert_eq!(mount["root"], "/a b");
        assert_eq!(mount["propagation"], json!(["shared:1", "master:2"]));
        assert_eq!(mount["super"], json!(["rw", "errors=continue"]));
    }

    #[test]
    fn memory_policies_have_their_flags() {
        assert_eq!(memory_mode(3 | 1 << 15), "MPOL_INTERLEAVE|MPOL_F_STATIC_NODES");
        assert_eq!(memory_mode(0), "MPOL_DEFAULT");
    }
}
