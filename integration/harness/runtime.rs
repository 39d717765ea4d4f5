//! Calls of the runtime under test: built like a command line, bounded in time, with everything that came out of them.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::sandbox::{Sandbox, runtime_path};
use super::sys::{Pidfd, wait_readable};

/// No call of a runtime may take longer; a hang is a failure and not the end of the suite.
pub const LIMIT: Duration = Duration::from_secs(30);

/// Which runtime is under test, by the first word of its `--version`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    Corten,
    Runc,
    Crun,
    Other,
}

impl Flavour {
    pub fn under_test() -> Flavour {
        static FLAVOUR: OnceLock<Flavour> = OnceLock::new();
        *FLAVOUR.get_or_init(|| {
            if std::env::var_os("CORTEN_UNDER_TEST").is_none() {
                return Flavour::Corten;
            }
            let output = Command::new(runtime_path()).arg("--version").output().expect("ask the runtime's version");
            match String::from_utf8_lossy(&output.stdout).split_whitespace().next() {
                Some("corten") => Flavour::Corten,
                Some("runc") => Flavour::Runc,
                Some("crun") => Flavour::Crun,
                _ => Flavour::Other,
            }
        })
    }
}

/// One call: `GLOBALS VERB FLAGS ID`, with `--root` of the sandbox in front, and with the words of `CORTEN_TEST_FLAGS`:
/// `--systemd-cgroup` runs the whole suite with that driver.
pub struct Call<'a> {
    sandbox: &'a Sandbox,
    wrapper: Vec<OsString>,
    program: PathBuf,
    globals: Vec<OsString>,
    words: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    cwd: PathBuf,
    log: Option<PathBuf>,
    group: bool,
}

/// Whether systemd makes the control groups in this run of the suite. Its paths have another form.
pub fn by_systemd() -> bool {
    flags_of_all_calls().iter().any(|flag| flag == "--systemd-cgroup")
}

/// The words of `CORTEN_TEST_FLAGS`.
pub fn flags_of_all_calls() -> Vec<OsString> {
    let flags = std::env::var("CORTEN_TEST_FLAGS").unwrap_or_default();
    flags.split_whitespace().map(OsString::from).collect()
}

/// What a call left: exit code (128 + number for a signal), output, and the log file if one was asked for.
///
/// A `create`d container inherits the files behind `stdout` and `stderr`; [`super::Container::output`] reads them later.
#[derive(Debug)]
pub struct Output {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    pub log: String,
    pub stdout_path: PathBuf,
    pub line: String,
}

impl<'a> Call<'a> {
    pub(super) fn new(sandbox: &'a Sandbox, words: impl IntoIterator<Item = &'a str>) -> Call<'a> {
        let root = sandbox.state_root().into_os_string();
        Call {
            sandbox,
            wrapper: Vec::new(),
            program: runtime_path(),
            globals: [OsString::from("--root"), root].into_iter().chain(flags_of_all_calls()).collect(),
            words: words.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            stdin: None,
            stdout: None,
            cwd: sandbox.dir().to_owned(),
            log: None,
            group: false,
        }
    }

    pub fn arg(mut self, word: impl AsRef<OsStr>) -> Self {
        self.words.push(word.as_ref().to_owned());
        self
    }

    pub fn args<S: AsRef<OsStr>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.words.extend(words.into_iter().map(|w| w.as_ref().to_owned()));
        self
    }

    /// A flag in front of the verb.
    pub fn global(mut self, words: &[&str]) -> Self {
        self.globals.extend(words.iter().map(Into::into));
        self
    }

    /// No flags in front of the verb, not even `--root`.
    pub fn bare(mut self) -> Self {
        self.globals.clear();
        self
    }

    /// `--log FILE --log-format FORMAT`; the file's content comes back in [`Output::log`].
    pub fn log(mut self, format: &str) -> Self {
        let path = self.sandbox.path(&format!("log-{}", self.sandbox.number()));
        self.globals.extend(["--log".into(), path.clone().into(), "--log-format".into(), format.into()]);
        self.log = Some(path);
        self
    }

    pub fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.env.push((key.into(), value.as_ref().to_owned()));
        self
    }

    pub fn stdin(mut self, fd: impl Into<OwnedFd>) -> Self {
        self.stdin = Some(fd.into());
        self
    }

    /// Text on stdin.
    pub fn input(self, text: &str) -> Self {
        let path = self.sandbox.path(&format!("stdin-{}", self.sandbox.number()));
        fs::write(&path, text).expect("write the input");
        self.stdin(File::open(path).expect("open the input"))
    }

    pub fn stdout(mut self, fd: impl Into<OwnedFd>) -> Self {
        self.stdout = Some(fd.into());
        self
    }

    pub fn current_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.cwd = dir.into();
        self
    }

    /// Runs the call under another program: `["setsid", "--ctty"]`, `["setpriv", "--reuid=1000"]`.
    pub fn under(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(Into::into).collect();
        self
    }

    /// Has a shell open extra descriptors first: `fds("3</etc/passwd 5</etc/group")`.
    pub fn fds(self, redirections: &str) -> Self {
        let script = format!("exec \"$@\" {redirections}");
        self.under(&["/bin/sh", "-c", &script, "sh"])
    }

    /// Uses the copy of the runtime that an ordinary user can reach.
    pub fn shared(mut self) -> Self {
        self.program = self.sandbox.shared_runtime();
        self
    }

    /// Uses this copy of the runtime.
    pub fn program(mut self, path: impl Into<PathBuf>) -> Self {
        self.program = path.into();
        self
    }

    /// Gives the call a process group of its own, so that a signal can be sent to it alone.
    pub fn own_group(mut self) -> Self {
        self.group = true;
        self
    }

    fn command(&mut self) -> Command {
        let mut words = std::mem::take(&mut self.wrapper);
        words.push(self.program.clone().into());
        words.append(&mut self.globals);
        words.append(&mut self.words);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").current_dir(&self.cwd);
        command.envs(self.env.drain(..)).stdin(self.stdin.take().map_or_else(Stdio::null, Stdio::from));
        if self.group {
            command.process_group(0);
        }
        command
    }

    /// Runs the call to its end.
    #[track_caller]
    pub fn output(mut self) -> Output {
        let number = self.sandbox.number();
        let (out, err) = (self.sandbox.path(&format!("out-{number}")), self.sandbox.path(&format!("err-{number}")));
        let mut command = self.command();
        let line = command_line(&command);
        match self.stdout.take() {
            Some(fd) => command.stdout(fd),
            None => command.stdout(File::create(&out).expect("make a file")),
        };
        command.stderr(File::create(&err).expect("make a file"));
        let child = command.spawn().unwrap_or_else(|e| panic!("start {line}: {e}"));
        drop(command);
        let status = wait_bounded(child).unwrap_or_else(|| panic!("{line} doesn't end: {}", read(&err)));
        let log = self.log.as_ref().map(read).unwrap_or_default();
        Output { code: code(status), stdout: read(&out), stderr: read(&err), log, stdout_path: out, line }
    }

    /// Starts the call; its standard output comes as lines unless it was sent elsewhere.
    #[track_caller]
    pub fn spawn(mut self) -> Running {
        let err = self.sandbox.path(&format!("err-{}", self.sandbox.number()));
        let (reader, writer) = pipe();
        let mut command = self.command();
        command.stdout(self.stdout.take().unwrap_or(writer)).stderr(File::create(&err).expect("make a file"));
        let line = command_line(&command);
        let child = command.spawn().unwrap_or_else(|e| panic!("start {line}: {e}"));
        drop(command);
        Running { child: Some(child), lines: Lines::new(reader), err, line }
    }
}

/// The command line for messages, without directory and environment.
fn command_line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

fn read(path: impl AsRef<std::path::Path>) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// A pipe, close-on-exec at both ends.
pub fn pipe() -> (OwnedFd, OwnedFd) {
    nix::unistd::pipe2(OFlag::O_CLOEXEC).expect("make a pipe")
}

/// Waits for the child's end; kills it and gives `None` when [`LIMIT`] passes.
fn wait_bounded(mut child: Child) -> Option<ExitStatus> {
    let pidfd = Pidfd::open(child.id() as i32).expect("the child is ours and not yet waited for");
    let in_time = pidfd.wait(LIMIT);
    if !in_time {
        let _ = child.kill();
    }
    let status = child.wait().expect("wait for the child");
    in_time.then_some(status)
}

impl Output {
    /// Asserts success.
    #[track_caller]
    pub fn ok(&self) -> &Output {
        assert_eq!(self.code, 0, "{}\nstdout: {}\nstderr: {}", self.line, self.stdout, self.stderr);
        self
    }

    /// Asserts a failure of the runtime (exit code 1) and gives what it said.
    #[track_caller]
    pub fn fails(&self) -> &str {
        assert_eq!(self.code, 1, "{}\nstdout: {}\nstderr: {}", self.line, self.stdout, self.stderr);
        &self.stderr
    }

    /// Asserts a failure that says each of these.
    #[track_caller]
    pub fn fails_with(&self, fragments: &[&str]) {
        // A text log escapes quotes.
        let text = self.fails().replace("\\\"", "\"");
        for fragment in fragments {
            assert!(text.contains(fragment), "{fragment:?} isn't in: {text}");
        }
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|e| panic!("{}: {e}: {:?} {:?}", self.line, self.stdout, self.stderr))
    }

    /// The last line of standard output as JSON, for a report that follows other tools.
    #[track_caller]
    pub fn json_last(&self) -> Value {
        let last = self.stdout.lines().last().unwrap_or_default();
        serde_json::from_str(last).unwrap_or_else(|e| panic!("{}: {e}: {:?} {:?}", self.line, self.stdout, self.stderr))
    }

    /// Standard output as lines.
    pub fn lines(&self) -> Vec<&str> {
        self.stdout.lines().collect()
    }
}

/// Lines from a descriptor, each waited for no longer than [`LIMIT`].
pub struct Lines {
    fd: OwnedFd,
    rest: Vec<u8>,
}

impl Lines {
    pub fn new(fd: OwnedFd) -> Lines {
        Lines { fd, rest: Vec::new() }
    }

    /// The next line without its end; `None` at the end of the stream.
    #[track_caller]
    pub fn next_line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.rest.iter().position(|&b| b == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Some(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            assert!(wait_readable(&self.fd, LIMIT), "no line comes; so far: {:?}", String::from_utf8_lossy(&self.rest));
            let mut chunk = [0; 4096];
            match nix::unistd::read(&self.fd, &mut chunk) {
                // A terminal whose other end is closed reads as EIO.
                Ok(0) | Err(nix::errno::Errno::EIO) if self.rest.is_empty() => return None,
                Ok(0) | Err(nix::errno::Errno::EIO) => self.rest.push(b'\n'),
                Ok(n) => self.rest.extend(&chunk[..n]),
                Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => panic!("read a line: {errno}"),
            }
        }
    }

    /// Reads until this line comes; a failure shows what came in its place.
    #[track_caller]
    pub fn expect_line(&mut self, wanted: &str) {
        let mut others = Vec::new();
        loop {
            self.seen(&others, wanted);
            match self.next_line() {
                Some(line) if line == wanted => return,
                Some(line) => others.push(line),
                None => panic!("the output ended without {wanted:?}: {others:?}"),
            }
        }
    }

    /// Waits for more output on the way to `wanted`.
    #[track_caller]
    fn seen(&self, others: &[String], wanted: &str) {
        let more = !self.rest.is_empty() || wait_readable(&self.fd, LIMIT);
        assert!(more, "{wanted:?} doesn't come, but: {others:?}");
    }
}

/// A call that is still running.
pub struct Running {
    child: Option<Child>,
    pub lines: Lines,
    err: PathBuf,
    line: String,
}

impl Running {
    pub fn pid(&self) -> i32 {
        self.child.as_ref().map_or(-1, |child| child.id() as i32)
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).expect("signal the runtime");
    }

    /// Waits for its end and gives the exit code.
    #[track_caller]
    pub fn wait(&mut self) -> i32 {
        let child = self.child.take().expect("waited for once");
        let status = wait_bounded(child).unwrap_or_else(|| panic!("{} doesn't end: {}", self.line, read(&self.err)));
        code(status)
    }

    pub fn stderr(&self) -> String {
        read(&self.err)
    }
}

/// A test that fails in the middle must not leave its runtime running.
impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
