//! The runner: two processes, so that the suite can prove at its end that nothing is left.
//!
//! The outer one, the *guard*, gives the suite a mount namespace of its own, becomes the reaper of every orphan (so a
//! detached container's end is seen at once), starts itself again as the inner one, which runs the tests, and
//! afterwards compares mounts, processes, files and control groups with what was there before.

use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use nix::errno::Errno;
use nix::mount::MsFlags;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::sandbox::{Sandbox, cgroups_below};

/// One test: a sentence as its name, and whether it needs root.
#[derive(Clone, Copy)]
pub struct Case {
    pub name: &'static str,
    pub run: fn(&Sandbox),
    pub root: bool,
}

/// Tells the inner process where its files go, and that it is the inner one.
const DIR: &str = "CORTEN_SUITE_DIR";

/// The panic payload that means "can't be answered here".
struct Skip(String);

/// Leaves the running test and counts it as skipped, for this reason.
pub fn skip(reason: impl Into<String>) -> ! {
    panic_any(Skip(reason.into()))
}

/// Runs the suite: `files` are the test files' names with their tests.
pub fn main(files: &[(&'static str, &'static [Case])]) -> ExitCode {
    match std::env::var_os(DIR) {
        Some(dir) => run_tests(files, Path::new(&dir)),
        None => guard(),
    }
}

thread_local! {
    /// Message and place of this thread's last panic.
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

type Skipped = Arc<Mutex<BTreeMap<String, Vec<String>>>>;

fn run_tests(files: &[(&'static str, &'static [Case])], dir: &Path) -> ExitCode {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        PANIC.set(format!("{place}: {}", payload_text(info.payload())));
    }));
    let skipped = Skipped::default();
    let mut trials = Vec::new();
    let wanted = wanted_files();
    for (file, cases) in files.iter().filter(|(file, _)| wanted.is_empty() || wanted.iter().any(|name| name == file)) {
        for case in *cases {
            let name = format!("{file}::{}", case.name);
            let (dir, skipped, case) = (dir.to_owned(), skipped.clone(), *case);
            trials.push(Trial::ignorable_test(name.clone(), move || run_case(&name, case, &dir, &skipped)));
        }
    }
    let mut arguments = Arguments::from_args();
    // Containers spend their time in the kernel; more threads than processors only make time-outs likelier.
    arguments.test_threads = arguments.test_threads.or(Some(2));
    let conclusion = libtest_mimic::run(&arguments, trials);
    let skipped = skipped.lock().unwrap_or_else(|e| e.into_inner());
    for (reason, names) in skipped.iter() {
        println!("skipped {} because {reason}: {}", names.len(), names.join(", "));
    }
    conclusion.exit_code()
}

/// The files that `CORTEN_TEST_FILES` names; none when all are meant.
fn wanted_files() -> Vec<String> {
    let names = std::env::var("CORTEN_TEST_FILES").unwrap_or_default();
    names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn run_case(name: &str, case: Case, dir: &Path, skipped: &Skipped) -> Result<Completion, Failed> {
    let skip = |reason: String| {
        let mut skipped = skipped.lock().unwrap_or_else(|e| e.into_inner());
        skipped.entry(reason.clone()).or_default().push(name.to_owned());
        Ok(Completion::ignored_with(reason))
    };
    if case.root && !nix::unistd::geteuid().is_root() {
        return skip("it needs root".to_owned());
    }
    let sandbox = Sandbox::new(dir, name);
    let outcome = catch_unwind(AssertUnwindSafe(|| (case.run)(&sandbox)));
    let message = PANIC.take();
    let left = catch_unwind(AssertUnwindSafe(|| sandbox.clean_up())).unwrap_or_else(|_| vec![PANIC.take()]);
    let left = left.join("\n  ");
    match outcome {
        Ok(()) if left.is_empty() => Ok(Completion::Completed),
        Ok(()) => Err(Failed::from(format!("left behind:\n  {left}"))),
        Err(payload) => match payload.downcast::<Skip>() {
            Ok(reason) if left.is_empty() => skip(reason.0),
            _ if left.is_empty() => Err(Failed::from(message)),
            _ => Err(Failed::from(format!("{message}\nleft behind:\n  {left}"))),
        },
    }
}

fn payload_text(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("(no message)").to_owned()
}

/// What must be the same before and after.
struct Surroundings {
    mounts: Vec<String>,
    cgroups: Vec<PathBuf>,
    /// Owner and mode of /dev/null, which is every call's stdin.
    null: Option<(u32, u32, u32)>,
}

impl Surroundings {
    fn look() -> Surroundings {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let cgroups = cgroups_below(Path::new("/sys/fs/cgroup"));
        let null = fs::metadata("/dev/null").ok().map(|meta| (meta.uid(), meta.gid(), meta.mode()));
        Surroundings { mounts: mounts.lines().map(str::to_owned).collect(), cgroups, null }
    }
}

fn directories(of: &Path) -> Vec<PathBuf> {
    let items = fs::read_dir(of).into_iter().flatten().flatten();
    items.filter(|item| item.file_type().is_ok_and(|t| t.is_dir())).map(|item| item.path()).collect()
}

fn guard() -> ExitCode {
    super::sys::keep_inherited_descriptors_away();
    nix::sys::prctl::set_child_subreaper(true).expect("become the reaper of orphans");
    let dir = tempfile::Builder::new().prefix("corten-suite-").tempdir().expect("make the suite's directory");
    fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("open the directory");
    if nix::unistd::geteuid().is_root() {
        own_mounts(dir.path()).expect("give the suite its own mount namespace");
    }
    let before = Surroundings::look();
    let inner = Command::new("/proc/self/exe").args(std::env::args_os().skip(1)).env(DIR, dir.path()).spawn();
    let inner = inner.expect("start the tests").id();
    let code = reap_until(inner);
    if std::env::args().any(|arg| arg == "--list") {
        return ExitCode::from(code);
    }
    let left = leftovers(&before, dir.path(), inner);
    if left.is_empty() {
        println!("left behind: nothing (mounts, processes, files and control groups are as before)\n");
        return ExitCode::from(code);
    }
    println!("left behind:\n  {}\n", left.join("\n  "));
    ExitCode::from(code.max(1))
}

/// A private mount namespace: what the tests mount never reaches the machine. Its /dev/null is a node of the suite's
/// own, because a runtime may give its stdin away (crun 1.8.1 does, in a user namespace). crun refuses a host that
/// mounts cgroup2 beside the v1 hierarchies, so that one is covered for it.
fn own_mounts(dir: &Path) -> nix::Result<()> {
    use nix::sys::stat::{Mode, SFlag, makedev, mknod};
    let none = None::<&str>;
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS)?;
    nix::mount::mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    let null = dir.join("null");
    mknod(&null, SFlag::S_IFCHR, Mode::empty(), makedev(1, 3))?;
    fs::set_permissions(&null, std::os::unix::fs::PermissionsExt::from_mode(0o666)).map_err(|_| Errno::EPERM)?;
    nix::mount::mount(Some(&null), "/dev/null", none, MsFlags::MS_BIND, none)?;
    let under_test = std::env::var("CORTEN_UNDER_TEST").unwrap_or_default();
    if under_test.ends_with("/crun") && Path::new("/sys/fs/cgroup/unified").exists() {
        nix::mount::mount(Some("none"), "/sys/fs/cgroup/unified", Some("tmpfs"), MsFlags::empty(), none)?;
    }
    Ok(())
}

/// Reaps every child, own or inherited, until `pid` has ended; returns its exit code.
fn reap_until(pid: u32) -> u8 {
    loop {
        match waitpid(None, None) {
            Ok(WaitStatus::Exited(ended, code)) if ended.as_raw() as u32 == pid => return code as u8,
            Ok(WaitStatus::Signaled(ended, signal, _)) if ended.as_raw() as u32 == pid => return 128 + signal as u8,
            Err(Errno::ECHILD) => return 1,
            _ => {}
        }
    }
}

/// Compares with before; processes that are just ending get a moment. `inner` is the pid that ran the tests.
fn leftovers(before: &Surroundings, dir: &Path, inner: u32) -> Vec<String> {
    let mut left = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Err(_) => break,
            Ok(WaitStatus::StillAlive) if Instant::now() > deadline => break,
            Ok(WaitStatus::StillAlive) => std::thread::sleep(Duration::from_millis(10)),
            Ok(_) => {}
        }
    }
    let children = fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    for pid in children.split_whitespace().filter_map(|pid| pid.parse().ok()) {
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default().replace('\0', " ");
        left.push(format!("process {pid}: {line}"));
        // A child of this very process (an orphan of the suite), so the pid can't be somebody else's.
        let _ = nix::sys::signal::kill(Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        let _ = waitpid(Pid::from_raw(pid), None);
    }
    let after = Surroundings::look();
    left.extend(after.mounts.iter().filter(|m| !before.mounts.contains(m)).map(|m| format!("mount {m}")));
    left.extend(before.mounts.iter().filter(|m| !after.mounts.contains(m)).map(|m| format!("lost mount {m}")));
    // Only names with an id that a sandbox gives (see `Sandbox::id`; a systemd unit has a prefix before it): other work
    // on the machine may make groups of its own meanwhile.
    let id = format!("ct-{inner}-");
    let ours = |path: &&PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().contains(&id));
    let new = after.cgroups.iter().filter(ours).filter(|c| !before.cgroups.contains(c));
    left.extend(new.map(|c| format!("control group {}", c.display())));
    if after.null != before.null {
        left.push(format!("/dev/null with owner and mode {:?} in place of {:?}", after.null, before.null));
    }
    let bin = dir.join("bin");
    let files = directories(dir).into_iter().filter(|path| *path != bin);
    left.extend(files.map(|path| format!("directory {}", path.display())));
    left
}
