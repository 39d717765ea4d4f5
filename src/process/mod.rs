//! The process that a container runs: its properties, the launch that brings it about, and the two stages of its init.
//!
//! `plan.rs` is pure. `launch.rs` is the host's side of a start, `init.rs` the child's; they talk through `sync.rs` and
//! see the same memory in `page.rs`.

pub mod adopt;
pub mod apply;
pub mod capabilities;
pub mod console;
pub mod cwd;
pub mod environment;
pub mod executable;
pub mod foreground;
pub mod handover;
pub mod hooks;
pub mod init;
pub mod labels;
pub mod launch;
pub mod locate;
pub mod milestone;
pub mod notify;
pub mod page;
pub mod plan;
mod prepare;
pub mod report;
pub mod scheduler;
pub mod seccomp;
pub mod start_hook;
pub mod steps;
pub mod sync;

use std::ffi::CString;
use std::path::PathBuf;

use crate::slots::Slot;
use crate::sys::property::SchedAttr;

/// Sets of capabilities as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CapabilitySets {
    pub effective: u64,
    pub permitted: u64,
    pub inheritable: u64,
}

/// How the host gets at the listener of a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announce {
    /// There is none.
    Nothing,
    /// The child says its number by one write(2), and the host takes a copy out of the child (pidfd_getfd(2)).
    Number,
    /// The child sends it by one sendmsg(2): what is left for a host that may not look into the child.
    Descriptor,
}

/// An effect on the process that becomes the container's. Where it runs is the list it stands in.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Host: open /proc and check that it is one, so that later writes can't be led elsewhere (CVE-2025-52881).
    OpenHostProc,
    /// Host: a descriptor that the caller wants kept is open.
    CheckInherited {
        first: u32,
        count: u32,
    },
    /// Host: connect to the socket that gets the terminal's master.
    ConnectConsole {
        path: PathBuf,
    },
    /// Host: the filter's program, out of the cache or compiled; before clone, so that no limit is in the way.
    PrepareFilter {
        filter: Box<seccomp::Filter>,
    },
    /// Host: connect to the socket of the agent that answers for the filter.
    ConnectAgent {
        path: PathBuf,
    },
    /// Load the filter for this process and all that come of it.
    LoadFilter {
        /// For seccomp(2).
        flags: u64,
        announce: Announce,
    },
    /// Raise a hard limit that is lower, while there is still the right to. Nothing becomes lower here: the container is
    /// not set up yet, and a few open files would not do for that.
    RaiseLimit {
        resource: u32,
        name: &'static str,
        hard: u64,
    },
    /// Host, at the mounted point: run a hook of this kind.
    Hook {
        kind: hooks::Kind,
        index: usize,
        hook: hooks::Hook,
    },
    /// Child or host: the badness that the OOM killer goes by (proc_pid_oom_score_adj(5)).
    OomScoreAdjust {
        value: i32,
        text: CString,
    },
    /// No ptrace and no /proc access by others until execve (CVE-2016-9962).
    Undumpable,
    /// Close what leads to the host: its /proc, and the pidfd of a container's init.
    CloseHost,
    /// Close stdio, which is the caller's: what only mounts something has no use for it.
    CloseStdio,
    /// Give the host a mount that is about to be attached, so that it can be taken off whatever happens to who attaches it.
    /// `held` keeps it here for the same purpose.
    AnnounceMount {
        mount: Slot,
        held: Slot,
    },
    /// Give the host what a createContainer hook enters, which an ordinary user's host process can't open by itself.
    HandOver,
    NewSession,
    SessionKeyring {
        name: CString,
    },
    /// Open a pty of the container's own devpts, send its master away, and make its other end stdio.
    Terminal {
        rows: u16,
        columns: u16,
        owner: u32,
    },
    Hostname {
        name: CString,
    },
    Domainname {
        name: CString,
    },
    /// Write a kernel parameter through the host's procfs, which shows the caller's namespaces (sysctl(5)).
    Sysctl {
        file: CString,
        value: CString,
    },
    /// The program runs under an AppArmor profile, from execve on; `text` is what the kernel is told.
    AppArmor {
        profile: String,
        text: CString,
    },
    /// The program runs with an SELinux label, from execve on.
    SelinuxExec {
        label: CString,
    },
    /// Keyrings get an SELinux label from here on.
    SelinuxKeyring {
        label: CString,
    },
    /// Keyrings get the label that they would have by themselves.
    SelinuxKeyringEnd,
    /// Run on these CPUs, a bit each; `words` is the list as it was given.
    Affinity {
        cpus: Vec<u64>,
        words: String,
    },
    NoNewPrivileges,
    Scheduler {
        attr: SchedAttr,
        policy: &'static str,
    },
    IoPriority {
        value: i32,
        class: &'static str,
    },
    Personality {
        persona: u32,
        domain: &'static str,
    },
    MemoryPolicy {
        mode: i32,
        nodes: Vec<u64>,
        words: String,
    },
    Limit {
        resource: u32,
        name: &'static str,
        soft: u64,
        hard: u64,
    },
    /// Make the working directory, and its parents, where it is missing.
    MakeCwd {
        path: CString,
    },
    /// Give stdio to the container's user, so that it can open /dev/stdout anew.
    OwnStdio {
        uid: u32,
    },
    /// Read HOME from the container's /etc/passwd.
    Home {
        uid: u32,
    },
    BoundingSet {
        keep: u64,
        last: u8,
    },
    KeepCapabilities {
        keep: bool,
    },
    Groups {
        gids: Vec<u32>,
    },
    Gid {
        gid: u32,
    },
    Uid {
        uid: u32,
    },
    Umask {
        mask: u32,
    },
    /// Enter the working directory; `first` tries with the rights of before the change of user.
    EnterCwd {
        path: CString,
        first: bool,
    },
    /// The working directory, if it has been entered, is inside the container (CVE-2024-21626). `early`: a seccomp filter
    /// that is loaded next may forbid getcwd(2).
    VerifyCwd {
        early: bool,
    },
    Capabilities {
        sets: CapabilitySets,
    },
    Ambient {
        set: u64,
        last: u8,
    },
    /// Find the program, so that its absence is an error of `create`.
    FindExecutable {
        arg0: String,
    },
    /// Nothing but stdio and the descriptors that the caller wants kept outlives this, and these slots, which are
    /// close-on-exec: the init may wait for `start` for years, and what it held of the host could be reached through
    /// its /proc/PID/fd (CVE-2016-9962, CVE-2024-21626).
    CloseDescriptors {
        from: u32,
        keep: [Slot; 3],
    },
    /// Run a startContainer hook in the container.
    StartHook {
        index: usize,
        path: CString,
    },
    /// An empty signal mask and default dispositions.
    ResetSignals,
    /// Become the program.
    Exec {
        arg0: String,
    },
    /// Host, on the child that has set itself up: write its pid to a file.
    WritePidFile {
        path: PathBuf,
    },
    /// Host, on the child that has set itself up: send a pidfd of it to a socket.
    SendPidfd {
        path: PathBuf,
    },
    /// Undo: remove the pid file.
    RemovePidFile {
        path: PathBuf,
    },
    /// Undo: kill the init and reap it.
    KillInit,
    /// Undo: remove the container's directory in the state root.
    RemoveRecord,
}

/// The step as a sentence.
pub fn render(op: &Op) -> String {
    let text = |s: &CString| s.to_string_lossy().into_owned();
    match op {
        Op::OpenHostProc => "open the host's /proc".to_owned(),
        Op::CheckInherited { first, count } => match count {
            1 => format!("keep descriptor {first}"),
            _ => format!("keep descriptors {first}-{}", first.saturating_add(count.saturating_sub(1))),
        },
        Op::ConnectConsole { path } => format!("connect to the console socket {}", path.display()),
        Op::PrepareFilter { filter } => {
            let names: usize = filter.rules.iter().map(|rule| rule.names.len()).sum();
            format!("prepare the seccomp filter: {names} names, any other call: {}", filter.default.words())
        }
        Op::ConnectAgent { path } => format!("connect to the seccomp agent {}", path.display()),
        Op::LoadFilter { announce: Announce::Nothing, .. } => "load the seccomp filter".to_owned(),
        Op::LoadFilter { .. } => "load the seccomp filter and hand its listener over".to_owned(),
        Op::RaiseLimit { name, hard, .. } => format!("raise the hard limit {name} to {}", render_limit(*hard)),
        Op::Hook { kind, index, hook } => format!("run {} hook #{index} {}", kind.name(), hook.path.display()),
        Op::OomScoreAdjust { value, .. } => format!("set oom_score_adj to {value}"),
        Op::Undumpable => "forbid ptrace until execve".to_owned(),
        Op::CloseHost => "close what leads to the host".to_owned(),
        Op::CloseStdio => "close stdio".to_owned(),
        Op::AnnounceMount { .. } => "tell the host which mount comes next".to_owned(),
        Op::HandOver => "hand the namespaces over for the host's hooks".to_owned(),
        Op::NewSession => "start a new session".to_owned(),
        Op::SessionKeyring { name } => format!("join session keyring {}", text(name)),
        Op::Terminal { .. } => "set up the terminal".to_owned(),
        Op::Hostname { name } => format!("set hostname {}", text(name)),
        Op::Domainname { name } => format!("set domainname {}", text(name)),
        Op::Sysctl { file, value } => format!("write {:?} to /proc/{}", text(value), text(file)),
        Op::AppArmor { profile, .. } => format!("run the program under AppArmor profile {profile}"),
        Op::SelinuxExec { label } => format!("run the program with SELinux label {}", text(label)),
        Op::SelinuxKeyring { label } => format!("make keyrings with SELinux label {}", text(label)),
        Op::SelinuxKeyringEnd => "make keyrings without a label of their own".to_owned(),
        Op::Affinity { words, .. } => format!("run on CPUs {words}"),
        Op::NoNewPrivileges => "forbid new privileges".to_owned(),
        Op::Scheduler { policy, attr } => format!("set scheduler {policy} nice {}", attr.nice),
        Op::IoPriority { class, value } => format!("set I/O priority {class} {}", value & 0x1fff),
        Op::Personality { domain, .. } => format!("set personality {domain}"),
        Op::MemoryPolicy { words, .. } => format!("set memory policy {words}"),
        Op::Limit { name, soft, hard, .. } => {
            format!("set {name} to {} (hard {})", render_limit(*soft), render_limit(*hard))
        }
        Op::MakeCwd { path } => format!("make working directory {} if missing", text(path)),
        Op::OwnStdio { uid } => format!("give stdio to uid {uid}"),
        Op::Home { uid } => format!("read HOME of uid {uid} from /etc/passwd"),
        Op::BoundingSet { keep, .. } => format!("limit the bounding set to {}", capabilities::render_set(*keep)),
        Op::KeepCapabilities { keep: true } => "keep capabilities over the change of user".to_owned(),
        Op::KeepCapabilities { keep: false } => "stop keeping capabilities".to_owned(),
        Op::Groups { gids } => format!("set supplementary groups {gids:?}"),
        Op::Gid { gid } => format!("become gid {gid}"),
        Op::Uid { uid } => format!("become uid {uid}"),
        Op::Umask { mask } => format!("set umask {mask:04o}"),
        Op::EnterCwd { path, first: true } => format!("enter working directory {}", text(path)),
        Op::EnterCwd { path, first: false } => format!("enter working directory {} as the user", text(path)),
        Op::VerifyCwd { early: false } => "check that the working directory is inside the container".to_owned(),
        Op::VerifyCwd { early: true } => "check the working directory before a filter can forbid that".to_owned(),
        Op::Capabilities { sets } => format!("set capabilities to {}", capabilities::render_set(sets.effective)),
        Op::Ambient { set, .. } => format!("raise ambient capabilities {}", capabilities::render_set(*set)),
        Op::FindExecutable { arg0 } => format!("find {arg0}"),
        Op::CloseDescriptors { from, .. } => format!("close descriptors from {from} on"),
        Op::StartHook { index, path } => format!("run startContainer hook #{index} {}", text(path)),
        Op::ResetSignals => "reset signals".to_owned(),
        Op::Exec { arg0 } => format!("execute {arg0}"),
        Op::WritePidFile { path } => format!("write the pid file {}", path.display()),
        Op::SendPidfd { path } => format!("send the pidfd to {}", path.display()),
        Op::RemovePidFile { path } => format!("remove the pid file {}", path.display()),
        Op::KillInit => "kill the init".to_owned(),
        Op::RemoveRecord => "remove the container's state".to_owned(),
    }
}

fn render_limit(value: u64) -> String {
    if value == u64::MAX { "unlimited".to_owned() } else { value.to_string() }
}
