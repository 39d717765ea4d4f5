//! Runs hooks from the host side: all kinds but startContainer, which the init runs itself. Used while a container is
//! made (`process/launch`), started and deleted (`container/`).
//!
//! A hook gets the container's state on stdin, its output is kept up to a bound and drained beyond it, and its end is
//! awaited by poll on the pipes and a pidfd: no threads, no sleeps.

pub mod plan;

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::Signal;
use nix::unistd;
use serde::Serialize;

pub use self::plan::{Hook, Hooks, Kind};
use crate::error::{Error, Result};
use crate::fault::{self, Trouble};
use crate::sys::spawn::{self, Child, End, Join, Spawn, With};

/// How much of a hook's stdout and stderr an error message keeps, in bytes each.
const KEPT: usize = 4096;
/// How often to look after a hook on a kernel that can't tell when it has ended (no pidfd, before 5.3).
const BLIND: Duration = Duration::from_millis(20);
/// How long a hook may go on without the init that it is run for. A forced `delete` waits for this.
const GRACE: Duration = Duration::from_secs(2);

/// What a hook reads on stdin: the state of runtime-spec (runtime.md, "State") and the root that crun adds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StateJson {
    pub oci_version: String,
    pub id: String,
    pub status: &'static str,
    /// As the runtime sees it; a hook in the container's pid namespace is given the number that holds there.
    pub pid: i32,
    /// The rootfs as an absolute path.
    pub root: String,
    pub bundle: String,
    pub annotations: BTreeMap<String, String>,
}

impl StateJson {
    /// One line, with its end; slashes stay as they are (shell hooks cut this text with sed).
    pub(crate) fn render_line(&self) -> Vec<u8> {
        // A struct of strings, integers and string keys always serialises; an empty line would fail in the hook.
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

/// Where hooks run.
#[derive(Clone, Copy, Debug)]
pub enum Place<'a> {
    /// In the runtime's namespaces, with the runtime's environment unless the hook has one. `None` stays where the
    /// caller stands. `init`: the init that they are run for, if it still matters.
    Runtime { cwd: Option<&'a Path>, init: Option<BorrowedFd<'a>> },
    /// In all namespaces of the init, before its root is pivoted (so that paths still mean the runtime's files), at
    /// the rootfs, with an empty environment unless the hook has one.
    ///
    /// `handed`: what the init has given of itself. Empty, it is opened below /proc, which takes root.
    Container { init: i32, pidfd: Option<BorrowedFd<'a>>, rootfs: &'a Path, handed: &'a [Handed] },
}

/// A namespace of the init by its CLONE_NEW* flag, or (0) its root.
#[derive(Debug)]
pub struct Handed {
    pub file: File,
    pub kind: i32,
}

/// What prestart hooks are told. They are older than the status "creating": the specification's first version had them called with a
/// container that is created, and calls them now after step 2 of the life cycle, where "creating" ends (runtime.md, State and
/// Lifecycle). Its conformance program asks for this. The hooks that came later are told that `create` hasn't finished, as by runc.
const PRESTART_STATUS: &str = "created";

/// Runs the hooks one after another; the first that fails ends the row with [`Error::Hook`].
pub fn run_hooks(kind: Kind, hooks: &[Hook], state: &StateJson, place: Place) -> Result<()> {
    if hooks.is_empty() {
        return Ok(());
    }
    let namespaces =
        probe_namespaces(place).map_err(|e| plain_failure(kind, 0, format!("find its namespaces: {e}")))?;
    let told = StateJson {
        pid: namespaces.pid_inside.unwrap_or(state.pid),
        status: if kind == Kind::Prestart { PRESTART_STATUS } else { state.status },
        ..state.clone()
    };
    let line = told.render_line();
    for (index, hook) in hooks.iter().enumerate() {
        run_hook(hook, &line, place, &namespaces).map_err(|failure| Error::Hook {
            kind: kind.name(),
            index,
            how: failure.how,
            stdout: failure.stdout,
            stderr: failure.stderr,
            field: kind.field(index),
        })?;
    }
    Ok(())
}

/// Runs one hook of a list; a failure has its number in the list.
pub fn run_one(kind: Kind, index: usize, hook: &Hook, state: &StateJson, place: Place) -> Result<()> {
    run_hooks(kind, std::slice::from_ref(hook), state, place).map_err(|error| match error {
        Error::Hook { kind: name, how, stdout, stderr, .. } => {
            Error::Hook { kind: name, index, how, stdout, stderr, field: kind.field(index) }
        }
        other => other,
    })
}

fn plain_failure(kind: Kind, index: usize, how: String) -> Error {
    Error::Hook {
        kind: kind.name(),
        index,
        how,
        stdout: String::new(),
        stderr: String::new(),
        field: kind.field(index),
    }
}

/// How a hook failed, and what it had written by then.
#[derive(Debug, Default)]
struct Failure {
    how: String,
    stdout: String,
    stderr: String,
}

impl From<String> for Failure {
    fn from(how: String) -> Failure {
        Failure { how, ..Failure::default() }
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Failure {
        format!("{}: {}", trouble.call.name(), fault::words(trouble.errno)).into()
    }
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Failure {
        fault::words(errno).to_owned().into()
    }
}

fn run_hook(hook: &Hook, state: &[u8], place: Place, namespaces: &Namespaces) -> Result<(), Failure> {
    let no_nul = |e: std::io::Error| Failure::from(format!("can't be passed on: {e}"));
    let c_string = |bytes: &[u8]| CString::new(bytes).map_err(|e| no_nul(e.into()));
    let path = c_string(hook.path.as_os_str().as_bytes())?;
    let argv = match hook.args.as_slice() {
        [] => spawn::strings([hook.path.as_os_str().as_bytes()]),
        args => spawn::strings(args.iter().map(String::as_bytes)),
    };
    let envp = match (&hook.env, place) {
        (Some(env), _) => spawn::strings(env.iter().map(String::as_bytes)),
        (None, Place::Runtime { .. }) => spawn::strings(own_environment()),
        (None, Place::Container { .. }) => spawn::strings::<&[u8]>([]),
    };
    let (argv, envp) = (argv.map_err(no_nul)?, envp.map_err(no_nul)?);
    let cwd = match place {
        Place::Runtime { cwd, .. } => cwd,
        Place::Container { rootfs, .. } => Some(rootfs),
    };
    let cwd = cwd.map(|cwd| c_string(cwd.as_os_str().as_bytes())).transpose()?;

    let stdin = filled_stdin(state)?;
    let (stdout, hook_stdout) = output_pipe()?;
    let (stderr, hook_stderr) = output_pipe()?;
    let files: Vec<_> = namespaces.files.iter().map(|(file, kind)| (file.as_fd(), *kind)).collect();
    let join = match place {
        Place::Container { pidfd, .. } => {
            let root = namespaces.root.as_ref().map(AsFd::as_fd);
            Some(Join { pidfd, namespaces: namespaces.kinds, files: &files, root })
        }
        Place::Runtime { .. } => None,
    };
    let child = spawn::spawn(&Spawn {
        path: &path,
        argv: &argv,
        envp: &envp,
        stdio: [stdin.as_fd(), hook_stdout.as_fd(), hook_stderr.as_fd()],
        cwd: cwd.as_deref(),
        join,
        with: With::default(),
    })
    .map_err(|trouble| format!("{}: {}: {}", hook.path.display(), trouble.call.name(), fault::words(trouble.errno)))?;
    drop((stdin, hook_stdout, hook_stderr));

    let mut output = [Output::new(stdout), Output::new(stderr)];
    let init = match place {
        Place::Runtime { init, .. } => init,
        Place::Container { pidfd, .. } => pidfd,
    };
    let how = match await_end(child, &mut output, hook.timeout, init)? {
        Awaited::Ended(End::Exited(0)) => return Ok(()),
        Awaited::Ended(End::Exited(code)) => format!("exit status {code}"),
        Awaited::Ended(End::Killed(signal)) => match Signal::try_from(signal) {
            Ok(name) => format!("killed by signal {signal} ({name})"),
            Err(_) => format!("killed by signal {signal}"),
        },
        Awaited::Late => format!("timed out after {} s and was killed", hook.timeout.unwrap_or_default()),
        Awaited::Alone => "killed because the container's init had ended".to_owned(),
    };
    let [stdout, stderr] = output.map(Output::into_text);
    Err(Failure { how, stdout, stderr })
}

fn own_environment() -> impl Iterator<Item = Vec<u8>> {
    std::env::vars_os().map(|(name, value)| {
        let mut entry = name.into_vec();
        entry.push(b'=');
        entry.extend_from_slice(value.as_bytes());
        entry
    })
}

/// The reading end of something that holds all the bytes already, so that nobody has to write while the hook runs: a
/// hook that doesn't read can neither block corten nor send it SIGPIPE. A pipe, or a memory file where a pipe is too
/// small for the annotations.
fn filled_stdin(bytes: &[u8]) -> Result<OwnedFd, Errno> {
    let (read, write) = unistd::pipe2(OFlag::O_CLOEXEC)?;
    let room = fcntl(&write, FcntlArg::F_GETPIPE_SZ)? as usize;
    let fits = bytes.len() <= room
        || i32::try_from(bytes.len()).is_ok_and(|size| fcntl(&write, FcntlArg::F_SETPIPE_SZ(size)).is_ok());
    if fits {
        File::from(write).write_all(bytes).map_err(|e| errno_of(&e))?;
        return Ok(read);
    }
    let mut file = File::from(memfd_create(c"state", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(bytes).map_err(|e| errno_of(&e))?;
    unistd::lseek(&file, 0, unistd::Whence::SeekSet)?;
    Ok(file.into())
}

fn errno_of(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

/// A pipe whose reading end never blocks: (ours, the hook's).
fn output_pipe() -> Result<(OwnedFd, OwnedFd), Errno> {
    let (read, write) = unistd::pipe2(OFlag::O_CLOEXEC)?;
    fcntl(&read, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok((read, write))
}

/// What a hook writes to one stream.
struct Output {
    /// `None` after its end.
    pipe: Option<OwnedFd>,
    kept: Vec<u8>,
}

impl Output {
    fn new(pipe: OwnedFd) -> Output {
        Output { pipe: Some(pipe), kept: Vec::new() }
    }

    /// Reads once, keeps what there is room for; says whether there may be more.
    fn drain(&mut self) -> bool {
        let Some(pipe) = &self.pipe else { return false };
        let mut buffer = [0; 16384];
        match unistd::read(pipe, &mut buffer) {
            Ok(0) => self.pipe = None,
            Ok(n) => {
                let room = KEPT - self.kept.len();
                self.kept.extend_from_slice(&buffer[..n.min(room)]);
                return true;
            }
            Err(Errno::EINTR) => return true,
            Err(Errno::EAGAIN) => {}
            Err(_) => self.pipe = None,
        }
        false
    }

    /// What is left when the hook has ended. Something that it left behind may write for ever: no further than `KEPT`.
    fn drain_rest(&mut self) {
        while self.kept.len() < KEPT && self.drain() {}
    }

    fn into_text(self) -> String {
        String::from_utf8_lossy(&self.kept).trim_end().to_owned()
    }
}

/// What became of a hook.
enum Awaited {
    Ended(End),
    /// Its time was over, and it was killed.
    Late,
    /// The init ended, the hook did not, and it was killed.
    Alone,
}

/// Waits for the hook and takes its output meanwhile. Once the init has ended the hook has nothing left to do: were it
/// waited for all the same, one that hangs would keep the container's lock from a forced `delete`.
fn await_end(
    mut child: Child,
    output: &mut [Output; 2],
    timeout: Option<u32>,
    mut init: Option<BorrowedFd>,
) -> Result<Awaited, Failure> {
    let mut over = Awaited::Late;
    let mut deadline = timeout.map(|s| Instant::now() + Duration::from_secs(s.into()));
    let end = loop {
        if let Some(end) = child.wait(false)? {
            break Awaited::Ended(end);
        }
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            child.kill_group();
            child.wait(true)?;
            break over;
        }
        let blind = child.pidfd().is_none().then_some(BLIND);
        let patience = [left, blind].into_iter().flatten().min();
        let mut polled: Vec<PollFd> = output.iter().filter_map(|o| o.pipe.as_ref()).map(poll_in).collect();
        polled.extend(child.pidfd().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        let last = polled.len();
        polled.extend(init.map(|init| PollFd::new(init, PollFlags::POLLIN)));
        match poll(&mut polled, poll_timeout(patience)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        if polled.get(last).is_some_and(|init| init.any().unwrap_or(false)) {
            init = None;
            let grace = Instant::now() + GRACE;
            if deadline.is_none_or(|deadline| deadline > grace) {
                (deadline, over) = (Some(grace), Awaited::Alone);
            }
        }
        for stream in output.iter_mut() {
            stream.drain();
        }
    };
    output.iter_mut().for_each(Output::drain_rest);
    Ok(end)
}

fn poll_in(fd: &OwnedFd) -> PollFd<'_> {
    PollFd::new(fd.as_fd(), PollFlags::POLLIN)
}

/// Rounded up, so that a poll doesn't spin through the last millisecond; what is too long is polled again.
fn poll_timeout(patience: Option<Duration>) -> PollTimeout {
    match patience {
        None => PollTimeout::NONE,
        Some(left) => PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX),
    }
}

/// The namespaces that a hook has to enter.
#[derive(Default)]
struct Namespaces {
    /// CLONE_NEW* bits.
    kinds: i32,
    /// One by one, in the order to join them.
    files: Vec<(File, i32)>,
    /// What `/` is to the init, when it has a mount namespace of its own.
    root: Option<File>,
    /// The init's number in its own pid namespace.
    pid_inside: Option<i32>,
}

/// Name below /proc/PID/ns and CLONE_NEW* bit. The user namespace stands last, as the real root joins it: with the
/// rights over everything else still in hand.
const NAMESPACES: [(&str, i32); 8] = [
    ("mnt", libc::CLONE_NEWNS),
    ("uts", libc::CLONE_NEWUTS),
    ("ipc", libc::CLONE_NEWIPC),
    ("net", libc::CLONE_NEWNET),
    ("pid", libc::CLONE_NEWPID),
    ("cgroup", libc::CLONE_NEWCGROUP),
    ("time", libc::CLONE_NEWTIME),
    ("user", libc::CLONE_NEWUSER),
];

/// Finds out which of the init's namespaces are not the caller's: joining the own user namespace is an error
/// (setns(2)), and joining the rest of one's own is needless.
fn probe_namespaces(place: Place) -> std::io::Result<Namespaces> {
    let Place::Container { init, handed, .. } = place else { return Ok(Namespaces::default()) };
    let open = |path: &str, kind: i32| match handed.iter().find(|handed| handed.kind == kind) {
        Some(handed) => handed.file.try_clone(),
        None => File::open(format!("/proc/{init}/{path}")),
    };
    let mut found = Namespaces::default();
    for (name, kind) in NAMESPACES {
        // A kernel without this kind of namespace has nothing to join.
        let Ok(own) = std::fs::metadata(format!("/proc/self/ns/{name}")) else { continue };
        let file = open(&format!("ns/{name}"), kind)?;
        let theirs = file.metadata()?;
        if (own.dev(), own.ino()) != (theirs.dev(), theirs.ino()) {
            found.kinds |= kind;
            found.files.push((file, kind));
        }
    }
    if found.kinds & libc::CLONE_NEWNS != 0 {
        found.root = Some(open("root", 0)?);
    }
    if !unistd::geteuid().is_root() {
        // Without privilege the rights over the rest come from the user namespace.
        found.files.rotate_right(usize::from(found.kinds & libc::CLONE_NEWUSER != 0));
    }
    found.pid_inside = innermost_pid(&std::fs::read_to_string(format!("/proc/{init}/status"))?);
    Ok(found)
}

/// The last number of the line `NSpid:` (proc_pid_status(5)).
fn innermost_pid(status: &str) -> Option<i32> {
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    line.split_whitespace().next_back()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> StateJson {
        StateJson {
            oci_version: "1.3.0".into(),
            id: "web".into(),
            status: "creating",
            pid: 42,
            root: "/b/rootfs".into(),
            bundle: "/b".into(),
            annotations: BTreeMap::from([("a/b".into(), "x y".into())]),
        }
    }

    fn shell(script: &str) -> Hook {
        Hook {
            path: "/bin/sh".into(),
            args: vec!["sh".into(), "-c".into(), script.into()],
            env: None,
            timeout: Some(60),
        }
    }

    fn run(hook: Hook) -> Result<()> {
        run_hooks(Kind::CreateRuntime, &[hook], &state(), Place::Runtime { cwd: None, init: None })
    }

    /// (how, stdout, stderr) of the failure.
    fn failure(result: Result<()>) -> (String, String, String) {
        match result {
            Err(Error::Hook { how, stdout, stderr, .. }) => (how, stdout, stderr),
            other => panic!("no failed hook: {other:?}"),
        }
    }

    #[test]
    fn the_state_arrives_as_one_line_with_plain_slashes() {
        let out = failure(run(shell("cat; exit 1"))).1;
        assert_eq!(
            out,
            r#"{"ociVersion":"1.3.0","id":"web","status":"creating","pid":42,"root":"/b/rootfs","bundle":"/b","annotations":{"a/b":"x y"}}"#
        );
        assert_eq!(failure(run(shell("wc -l; exit 1"))).1, "1");
    }

    #[test]
    fn a_failing_hook_is_named_with_its_output() {
        let hooks = [shell("true"), shell("echo out; echo err >&2; exit 3")];
        let error = run_hooks(Kind::Prestart, &hooks, &state(), Place::Runtime { cwd: None, init: None }).unwrap_err();
        assert_eq!(error.to_string(), "error running prestart hook #1: exit status 3, stdout: out, stderr: err");
        assert!(matches!(error, Error::Hook { field, .. } if field.pointer() == "/hooks/prestart/1"));
    }

    #[test]
    fn a_hook_killed_by_a_signal_says_which() {
        assert_eq!(failure(run(shell("kill -TERM $$"))).0, "killed by signal 15 (SIGTERM)");
    }

    #[test]
    fn a_hook_that_does_not_exist_names_the_call() {
        let hook = Hook { path: "/nonexistent/hook".into(), args: vec![], env: None, timeout: None };
        assert_eq!(failure(run(hook)).0, "/nonexistent/hook: execve: No such file or directory");
    }

    #[test]
    fn a_hook_that_takes_too_long_is_killed_with_its_children() {
        let hook = Hook { timeout: Some(1), ..shell("echo begun; sleep 600 & sleep 600") };
        let (how, stdout, _) = failure(run(hook));
        assert_eq!((how.as_str(), stdout.as_str()), ("timed out after 1 s and was killed", "begun"));
    }

    #[test]
    fn a_megabyte_on_both_streams_blocks_nobody_and_is_cut() {
        let script = "head -c 1000000 /dev/zero | tr '\\0' o; head -c 1000000 /dev/zero | tr '\\0' e >&2; exit 1";
        let (_, stdout, stderr) = failure(run(shell(script)));
        assert_eq!((stdout, stderr), ("o".repeat(KEPT), "e".repeat(KEPT)));
    }

    #[test]
    fn a_hook_need_not_read_its_stdin_however_large_the_state_is() {
        for size in [10, 100_000, 3_000_000] {
            let mut state = state();
            state.annotations.insert("big".into(), "x".repeat(size));
            let place = Place::Runtime { cwd: None, init: None };
            run_hooks(Kind::Poststop, &[shell("exec true")], &state, place).unwrap();
            let count = failure(run_hooks(Kind::Poststop, &[shell("wc -c; exit 1")], &state, place)).1;
            assert_eq!(count, state.render_line().len().to_string());
        }
    }

    #[test]
    fn what_a_hook_leaves_behind_does_not_hold_corten_up() {
        // The child keeps stdout open and goes on writing; it ends by SIGPIPE when corten closes its end.
        run(shell("yes & exit 0")).unwrap();
    }

    #[test]
    fn the_environment_is_the_hooks_own_or_the_runtimes() {
        let own = Hook {
            env: Some(vec!["ONLY=this".into()]),
            ..shell("/usr/bin/env | grep -v ^PWD= | grep -v ^_= ; exit 1")
        };
        assert_eq!(failure(run(own)).1, "ONLY=this");
        let inherited = failure(run(shell("echo $CARGO_PKG_NAME; exit 1"))).1;
        assert_eq!(inherited, std::env::var("CARGO_PKG_NAME").unwrap_or_default());
    }

    #[test]
    fn a_hook_of_the_runtime_starts_in_the_given_directory() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap();
        let place = Place::Runtime { cwd: Some(&path), init: None };
        let out = failure(run_hooks(Kind::Poststart, &[shell("pwd; exit 1")], &state(), place)).1;
        assert_eq!(out, path.to_str().unwrap());
    }

    #[test]
    fn a_path_alone_is_its_own_first_argument() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hook");
        std::fs::write(&path, "#!/bin/sh\necho $0 $#\nexit 1\n").unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let hook = Hook { path: path.clone(), args: vec![], env: None, timeout: None };
        assert_eq!(failure(run(hook)).1, format!("{} 0", path.display()));
    }

    #[test]
    fn a_nul_byte_is_an_error_and_no_panic() {
        let hook = Hook { args: vec!["a\0b".into()], ..shell("") };
        assert!(failure(run(hook)).0.starts_with("can't be passed on"));
    }

    #[test]
    fn the_innermost_pid_is_the_last_one() {
        assert_eq!(innermost_pid("Name:\tsh\nNSpid:\t811\t1\nThreads:\t1\n"), Some(1));
        assert_eq!(innermost_pid("NSpid:\t811\n"), Some(811));
        assert_eq!(innermost_pid("Name:\tsh\n"), None);
    }

    /// A process in namespaces of its own, with a user namespace or without; `None` where that isn't allowed.
    fn container(user: bool) -> Option<(std::process::Child, i32)> {
        let mut unshare = std::process::Command::new("unshare");
        unshare.args(["--mount", "--uts", "--pid", "--fork", "--kill-child"]);
        if user {
            unshare.args(["--user", "--map-root-user"]);
        }
        unshare.args(["sh", "-c", "hostname inside; echo $$; exec sleep 600"]);
        let mut child =
            unshare.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null()).spawn().ok()?;
        let mut text = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take()?), &mut text).ok()?;
        if text.is_empty() {
            child.wait().ok();
            return None;
        }
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).ok()?;
        Some((child, children.trim().parse().ok()?))
    }

    #[test]
    fn a_hook_of_the_container_runs_in_all_its_namespaces() {
        for user in [false, true] {
            let Some((mut outer, init)) = container(user) else {
                eprintln!(
                    "skipped: a_hook_of_the_container_runs_in_all_its_namespaces needs the right to make namespaces"
                );
                continue;
            };
            let pidfd = crate::sys::pidfd::open(init).unwrap();
            for pidfd in [Some(pidfd.as_fd()), None] {
                let place = Place::Container { init, pidfd, rootfs: Path::new("/usr"), handed: &[] };
                let script = "hostname; pwd; for n in user mnt uts ipc net pid; do readlink /proc/self/ns/$n; done; \
                              cut -d, -f4 ; env | grep -v ^PWD= | grep -v ^_=; id -u; exit 5";
                // procfs is the host's here, so /proc/self doesn't name a process of the other pid namespace.
                let script = script.replace("/proc/self/ns/$n", "/proc/thread-self/ns/$n 2>/dev/null || echo $n");
                let script = format!("PATH=/usr/bin:/bin; {script}");
                let (how, stdout, stderr) =
                    failure(run_hooks(Kind::CreateContainer, &[shell(&script)], &state(), place));
                assert_eq!(how, "exit status 5", "{stderr}");
                let lines: Vec<_> = stdout.lines().collect();
                assert_eq!(lines[..2], ["inside", "/usr"], "{stdout}");
                assert!(stdout.contains("\"pid\":1\n"), "{stdout}");
                assert_eq!(lines.last(), Some(&"0"), "root inside: {stdout}");
            }
            outer.kill().unwrap();
            outer.wait().unwrap();
        }
    }

    #[test]
    fn a_hook_of_a_chrooted_runtime_sees_the_runtimes_files() {
        if !unistd::geteuid().is_root() {
            eprintln!("skipped: a_hook_of_a_chrooted_runtime_sees_the_runtimes_files needs root");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let script = "mount --bind / \"$1\"; mount -t tmpfs x \"$1/mnt\"; touch \"$1/mnt/mark\"; \
                      exec chroot \"$1\" sh -c 'echo there; exec sleep 600'";
        let mut init = std::process::Command::new("unshare")
            .args(["--mount", "sh", "-c", script, "sh"])
            .arg(dir.path())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut text = String::new();
        let mut stdout = std::io::BufReader::new(init.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut stdout, &mut text).unwrap();
        let pid = i32::try_from(init.id()).unwrap();
        let pidfd = crate::sys::pidfd::open(pid).unwrap();
        let place = Place::Container { init: pid, pidfd: Some(pidfd.as_fd()), rootfs: Path::new("/mnt"), handed: &[] };
        let hook = shell("PATH=/usr/bin:/bin; pwd; ls; exit 5");
        let (how, stdout, stderr) = failure(run_hooks(Kind::CreateContainer, &[hook], &state(), place));
        init.kill().unwrap();
        init.wait().unwrap();
        assert_eq!((text.trim(), how.as_str(), stdout.trim()), ("there", "exit status 5", "/mnt\nmark"), "{stderr}");
    }

    #[test]
    fn a_hook_of_the_container_can_time_out() {
        let Some((mut outer, init)) = container(false) else {
            eprintln!("skipped: a_hook_of_the_container_can_time_out needs the right to make namespaces");
            return;
        };
        let place = Place::Container { init, pidfd: None, rootfs: Path::new("/"), handed: &[] };
        let hook = Hook { timeout: Some(1), ..shell("PATH=/usr/bin:/bin; sleep 600") };
        let (how, ..) = failure(run_hooks(Kind::CreateContainer, &[hook], &state(), place));
        assert_eq!(how, "timed out after 1 s and was killed");
        outer.kill().unwrap();
        outer.wait().unwrap();
    }
}
